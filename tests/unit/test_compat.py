"""`scripts/compat.py`: which versions are meant, and what a copy needs of its own."""

from __future__ import annotations

import compat
import pytest
from setup_env import SetupError


def test_versions_are_chosen_by_number_or_by_their_end() -> None:
    everything = list(compat.VERSIONS)
    assert compat.chosen([]) == everything
    assert compat.chosen(["newest", "oldest", everything[0]]) == [everything[0], everything[-1]]


def test_an_unknown_version_is_told_with_those_that_there_are() -> None:
    with pytest.raises(SetupError, match=r"0\.10\.0 is not among 0\.11\.1, "):
        compat.chosen(["0.10.0"])


def test_a_copy_has_of_its_own_what_is_pinned_differently() -> None:
    requires = [
        "accelerate==1.13.0",
        "aiohttp==3.13.5",
        "Brotli==1.2.1",
        "uvicorn[standard]==0.51.0; sys_platform != 'win32'",
        "nltk",
        "moto>=5 ; extra == 'all'",
    ]
    pins = ["aiohttp==3.14.5", "brotli==1.2.1", "uvicorn==0.54.0"]
    assert compat.differing(requires, pins) == ["aiohttp==3.13.5", requires[3], "nltk"]


def test_the_version_that_make_test_runs_needs_no_copy_and_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = next(pin for pin in compat.pins() if pin.startswith("open-webui==")).partition("==")[2]
    monkeypatch.setattr(compat, "VERSIONS", {"0.11.1": (), installed: ()})
    run: list[str] = []
    monkeypatch.setattr(compat, "run_tests", lambda version, _: run.append(version) or version != "0.11.1")
    assert compat.main(["--not-installed"]) == 1
    assert run == ["0.11.1"]
    assert compat.main(["newest"]) == 0
    assert run == ["0.11.1", installed]
