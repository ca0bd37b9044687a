"""The page of errors is what the code says."""

from __future__ import annotations

import error_page
import pytest


def test_the_page_is_current() -> None:
    assert error_page.PAGE.read_text(encoding="utf-8") == error_page.tables(), "python scripts/error_page.py"


def test_a_page_that_is_not_current_is_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(error_page, "tables", lambda: "something else")
    monkeypatch.setattr("sys.argv", ["error_page.py", "--check"])
    assert error_page.main() == 1
    assert "is not current" in capsys.readouterr().out
