"""Logos over HTTP: fetched once, kept, and an address that misbehaves."""

from __future__ import annotations

import asyncio
import json
import stat
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from openrouter_pipe import icons, shared
from openrouter_pipe.icons import icons_for, monogram
from openrouter_pipe.settings import Settings
from openrouter_pipe.transport import Transport
from openrouter_sandbox import Rule, Sandbox

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAY = 86_400
NOT_LOGOS = ["svg", "html", "empty", "huge", "bomb", "broken", "nothing", "elsewhere"]


class Clock(SimpleNamespace):
    """Stands in for the module `time`, so that a day is over at once."""

    def __init__(self) -> None:
        super().__init__(now=20_000 * DAY)

    def time(self) -> float:
        return float(self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(icons, "time", made)
    return made


async def found_for(authors: Iterable[str], kind: str, url: str, directory: Path | None) -> dict[str, str]:
    # Without a check of the address, which the valve does: here the odd ones are tried.
    settings = Settings(MODEL_ICONS=kind).model_copy(update={"ICON_URL": url})
    with pytest.MonkeyPatch.context() as host:
        host.setattr(shared, "data_directory", lambda: directory)
        return await icons_for(Transport(), authors, settings)


def asked(sandbox: Sandbox) -> list[str]:
    """The names of the logos that were asked for since the last time."""
    names = [request.path.removeprefix("/icons/").removesuffix(".png") for request in sandbox.received]
    sandbox.received.clear()
    return names


async def test_logos_in_colour_where_there_are_and_monograms_where_there_is_none(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    authors = ["openai", "google", "mistralai", "x-ai", "sao10k", "openrouter"]
    found = await found_for(authors, "brand", sandbox.icon_url, tmp_path)
    assert set(found) == set(authors)
    drawn = {author for author, icon in found.items() if icon == monogram(author)}
    assert drawn == {"sao10k"}
    assert len(set(found.values())) == 5, "two are black discs"
    wanted = "openai-color openai google-color mistral-color xai-color xai sao10k-color sao10k openrouter-color"
    assert sorted(asked(sandbox)) == sorted(wanted.split())


async def test_each_is_fetched_once_whichever_worker_asks(sandbox: Sandbox, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    arguments = (["openai", "google", "gryphe"], "brand", sandbox.icon_url, folder)
    first = await found_for(*arguments)
    assert max(Counter(asked(sandbox)).values()) == 1
    assert await found_for(*arguments) == first
    assert asked(sandbox) == []
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    await found_for(["openai", "mistralai"], "brand", sandbox.icon_url, folder)
    assert asked(sandbox) == ["mistral-color"], "only the new one"


async def test_the_key_stays_at_home(sandbox: Sandbox) -> None:
    transport = Transport()
    settings = Settings(API_KEY="sk-or-v1-secret", BASE_URL=sandbox.base_url)
    await transport.get_json(settings, "/key", 5)
    sandbox.received.clear()
    settings = settings.model_copy(update={"ICON_URL": sandbox.icon_url})
    found = await icons_for(transport, ["openai", "moved"], settings)
    assert found["openai"] == found["moved"] != monogram("openai")
    assert len(sandbox.received) == 5
    for request in sandbox.received:
        sent = {name.lower(): value for name, value in request.headers.items()}
        assert set(sent) <= {"host", "accept", "accept-encoding", "user-agent"}
        assert "secret" not in str(sent)


@pytest.mark.parametrize("name", NOT_LOGOS)
async def test_what_is_no_logo_becomes_a_monogram(sandbox: Sandbox, name: str) -> None:
    found = await found_for([name, "openai"], "brand", sandbox.icon_url, None)
    assert found[name] == monogram(name)
    assert found["openai"] != monogram("openai"), "the others are not harmed"


async def test_no_more_is_read_than_a_logo_may_have(sandbox: Sandbox) -> None:
    url = sandbox.icon_url.replace("{name}", "huge")
    length = len(sandbox.icons["huge"])
    assert await Transport().get_bytes(url, length - 1) == (200, b"")
    assert await Transport().get_bytes(url, length) == (200, sandbox.icons["huge"])
    endless = sandbox.icon_url.replace("{name}", "endless")
    assert await Transport().get_bytes(endless, 40) == (200, b""), "the end is not waited for"


async def test_one_that_never_ends_is_given_up(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icons, "_LOGO_SECONDS", 0.5)
    found = await asyncio.wait_for(found_for(["endless", "openai"], "brand", sandbox.icon_url, None), 5)
    assert found["endless"] == monogram("endless")
    assert found["openai"] != monogram("openai")


async def test_a_silent_host_is_not_waited_for_again_and_again(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(icons, "_LOGO_SECONDS", 0.1)
    sandbox.rules.append(Rule(path="/icons/", delay_seconds=60))
    authors = [f"author{number}" for number in range(60)]
    found = await asyncio.wait_for(found_for(authors, "brand", sandbox.icon_url, None), 3)
    assert found == {author: monogram(author) for author in authors}


async def test_what_is_not_there_is_asked_for_on_another_day(sandbox: Sandbox, tmp_path: Path, clock: Clock) -> None:
    arguments = (["google", "sao10k"], "brand", sandbox.icon_url, tmp_path)
    first = await found_for(*arguments)
    assert set(asked(sandbox)) == {"google-color", "sao10k-color", "sao10k"}
    clock.now += DAY - 1
    assert await found_for(*arguments) == first
    assert asked(sandbox) == []
    clock.now += 1
    assert await found_for(*arguments) == first
    assert set(asked(sandbox)) == {"sao10k-color", "sao10k"}


@pytest.mark.parametrize("status", [500, 403, 429])
async def test_a_host_that_gives_nothing_is_asked_on_another_day(
    sandbox: Sandbox, tmp_path: Path, clock: Clock, status: int
) -> None:
    sandbox.rules.append(Rule(path="/icons/", status=status))
    arguments = (["openai"], "brand", sandbox.icon_url, tmp_path)
    assert await found_for(*arguments) == {"openai": monogram("openai")}
    sandbox.rules.clear()
    asked(sandbox)
    assert await found_for(*arguments) == {"openai": monogram("openai")}
    assert asked(sandbox) == [], "who waits for the rows waits once a day for it"
    clock.now += DAY
    assert await found_for(*arguments) != {"openai": monogram("openai")}


async def test_one_failure_among_answers_is_asked_for_again(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.rules.append(Rule(path="/icons/openai", status=503))
    arguments = (["openai", "google"], "brand", sandbox.icon_url, tmp_path)
    assert (await found_for(*arguments))["openai"] == monogram("openai")
    sandbox.rules.clear()
    assert (await found_for(*arguments))["openai"] != monogram("openai")


async def test_a_logo_that_is_there_is_never_asked_for_again(sandbox: Sandbox, tmp_path: Path, clock: Clock) -> None:
    arguments = (["google"], "brand", sandbox.icon_url, tmp_path)
    before = await found_for(*arguments)
    assert asked(sandbox) == ["google-color"]
    clock.now += 1000 * DAY
    assert await found_for(*arguments) == before
    assert await found_for(*arguments) == before
    assert asked(sandbox) == []


async def test_another_address_is_another_set(sandbox: Sandbox, tmp_path: Path) -> None:
    first = await found_for(["openai"], "brand", sandbox.icon_url, tmp_path)
    same_for_all = sandbox.icon_url.replace("{name}", "google-color")
    second = await found_for(["openai", "sao10k"], "brand", same_for_all, tmp_path)
    assert second["openai"] == second["sao10k"] != first["openai"]


@pytest.mark.parametrize(
    "template",
    [
        "",
        "{name}",
        "ftp://example.com/{name}",
        "file:///etc/{name}",
        "http://",
        "http://127.0.0.1:1/{name}",
        "http://xn--/{name}",
        "\ud800",
    ],
)
async def test_an_address_that_is_none_does_no_harm(tmp_path: Path, template: str) -> None:
    assert await found_for(["openai"], "brand", template, tmp_path) == {"openai": monogram("openai")}


@pytest.mark.parametrize("author", ["..", "", "a b", "日本", "%2e%2e", "{name}", "x" * 500, "\ud800"], ids=ascii)
async def test_an_odd_author_does_no_harm(sandbox: Sandbox, author: str) -> None:
    assert await found_for([author], "brand", sandbox.icon_url, None) == {author: monogram(author)}


async def test_monograms_need_no_network_and_no_disk(sandbox: Sandbox, tmp_path: Path) -> None:
    found = await found_for(iter(["openai", "google", "openai"]), "monogram", sandbox.icon_url, tmp_path / "none")
    assert found == {"openai": monogram("openai"), "google": monogram("google")}
    assert await found_for(["openai"], "off", sandbox.icon_url, tmp_path / "none") == {}
    assert (asked(sandbox), list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize("stored", [b"", b"{", b"[]", b'{"google": 5}', b'{"address": "URL", "logos": 5}', b"\xff\x00"])
async def test_a_spoilt_file_is_replaced(sandbox: Sandbox, tmp_path: Path, stored: bytes) -> None:
    arguments = (["google"], "brand", sandbox.icon_url, tmp_path)
    good = await found_for(*arguments)
    (file,) = tmp_path.iterdir()
    file.write_bytes(stored.replace(b"URL", sandbox.icon_url.encode()))
    assert await found_for(*arguments) == good
    assert json.loads(file.read_bytes())["logos"] == good
    assert list(tmp_path.iterdir()) == [file]


async def test_a_folder_that_cannot_be_written_costs_only_the_copy(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    found = await found_for(["google"], "brand", sandbox.icon_url, in_the_way / "folder")
    assert found["google"] != monogram("google")
    assert "icons.json cannot be stored" in caplog.text
