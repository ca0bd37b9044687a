"""Logos over HTTP: fetched once, kept, and an address that misbehaves."""

from __future__ import annotations

import asyncio
import json
import stat
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from openrouter_pipe import icons
from openrouter_pipe.icons import IconStore, monogram
from openrouter_pipe.settings import Settings
from openrouter_pipe.transport import Transport
from openrouter_sandbox import Rule, Sandbox

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOUR, DAY = 3600, 86_400
NOT_LOGOS = ["svg", "html", "empty", "huge", "bomb", "broken", "nothing", "elsewhere"]


class Clock(SimpleNamespace):
    """Stands in for the module `time`, so that a day is over at once."""

    def __init__(self) -> None:
        super().__init__(now=time.time())

    def time(self) -> float:
        return float(self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(icons, "time", made)
    return made


@pytest.fixture
def store() -> IconStore:
    return IconStore(Transport())


def asked(sandbox: Sandbox) -> list[str]:
    """The names of the logos that were asked for since the last time."""
    names = [request.path.removeprefix("/icons/").removesuffix(".png") for request in sandbox.received]
    sandbox.received.clear()
    return names


async def test_logos_in_colour_where_there_are_and_monograms_where_there_is_none(
    store: IconStore, sandbox: Sandbox, tmp_path: Path
) -> None:
    authors = ["openai", "google", "mistralai", "x-ai", "sao10k", "openrouter", "@preset"]
    found = await store.icons_for(authors, "brand", sandbox.icon_url, tmp_path)
    assert set(found) == set(authors)
    drawn = {author for author, icon in found.items() if icon == monogram(author)}
    assert drawn == {"sao10k"}
    assert found["openrouter"] == found["@preset"], "presets show OpenRouter's"
    assert len(set(found.values())) == 5, "two are black discs, two OpenRouter's"
    wanted = "openai-color openai google-color mistral-color xai-color xai sao10k-color sao10k openrouter-color"
    assert sorted(asked(sandbox)) == sorted(wanted.split())


async def test_each_is_fetched_once_whoever_asks_and_also_after_a_restart(
    store: IconStore, sandbox: Sandbox, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "folder"
    arguments = (["openai", "google", "gryphe"], "brand", sandbox.icon_url, folder)
    first, second = await asyncio.gather(store.icons_for(*arguments), store.icons_for(*arguments))
    assert first == second
    assert max(Counter(asked(sandbox)).values()) == 1
    assert await IconStore(Transport()).icons_for(*arguments) == first
    assert asked(sandbox) == []
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    await store.icons_for(["openai", "mistralai"], "brand", sandbox.icon_url, folder)
    assert asked(sandbox) == ["mistral-color"], "only the new one"


async def test_the_key_stays_at_home(sandbox: Sandbox, tmp_path: Path) -> None:
    transport = Transport()
    settings = Settings(API_KEY="sk-or-v1-secret", BASE_URL=sandbox.base_url)
    await transport.get_json(settings, "/key", 5)
    sandbox.received.clear()
    found = await IconStore(transport).icons_for(["openai", "moved"], "brand", sandbox.icon_url, tmp_path)
    assert found["openai"] == found["moved"] != monogram("openai")
    assert len(sandbox.received) == 5
    for request in sandbox.received:
        sent = {name.lower(): value for name, value in request.headers.items()}
        assert set(sent) <= {"host", "accept", "accept-encoding", "user-agent"}
        assert "secret" not in str(sent)


@pytest.mark.parametrize("name", NOT_LOGOS)
async def test_what_is_no_logo_becomes_a_monogram(store: IconStore, sandbox: Sandbox, name: str) -> None:
    found = await store.icons_for([name, "openai"], "brand", sandbox.icon_url, None)
    assert found[name] == monogram(name)
    assert found["openai"] != monogram("openai"), "the others are not harmed"


async def test_no_more_is_read_than_a_logo_may_have(sandbox: Sandbox) -> None:
    url = sandbox.icon_url.replace("{name}", "huge")
    length = len(sandbox.icons["huge"])
    assert await Transport().get_bytes(url, length - 1, 5) == (200, b"")
    assert await Transport().get_bytes(url, length, 5) == (200, sandbox.icons["huge"])
    endless = sandbox.icon_url.replace("{name}", "endless")
    assert await Transport().get_bytes(endless, 40, 10) == (200, b""), "the end is not waited for"


async def test_one_that_never_ends_is_given_up(
    store: IconStore, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(icons, "_ONE_FETCH_SECONDS", 0.2)
    found = await asyncio.wait_for(store.icons_for(["endless", "openai"], "brand", sandbox.icon_url, None), 5)
    assert found["endless"] == monogram("endless")
    assert found["openai"] != monogram("openai")


async def test_a_silent_host_is_not_asked_for_every_author(
    store: IconStore, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(icons, "_ONE_FETCH_SECONDS", 0.1)
    sandbox.rules.append(Rule(path="/icons/", delay_seconds=60))
    authors = [f"author{number}" for number in range(60)]
    found = await asyncio.wait_for(store.icons_for(authors, "brand", sandbox.icon_url, None), 3)
    assert found == {author: monogram(author) for author in authors}
    assert 1 <= len(asked(sandbox)) <= 4
    clock.now += HOUR - 1
    await store.icons_for(authors, "brand", sandbox.icon_url, None)
    assert asked(sandbox) == []


@pytest.mark.parametrize(("status", "seconds"), [(404, DAY), (500, HOUR), (403, HOUR), (429, HOUR)])
async def test_a_failure_is_remembered(
    store: IconStore, sandbox: Sandbox, tmp_path: Path, clock: Clock, status: int, seconds: int
) -> None:
    sandbox.rules.append(Rule(path="/icons/", status=status))
    arguments = (["openai"], "brand", sandbox.icon_url, tmp_path)
    assert await store.icons_for(*arguments) == {"openai": monogram("openai")}
    sandbox.rules.clear()
    sandbox.received.clear()
    clock.now += seconds - 1
    assert await store.icons_for(*arguments) == {"openai": monogram("openai")}
    assert await IconStore(Transport()).icons_for(*arguments) == {"openai": monogram("openai")}
    assert asked(sandbox) == []
    clock.now += 2
    assert await store.icons_for(*arguments) != {"openai": monogram("openai")}


async def test_a_logo_that_is_there_is_never_asked_for_again(
    store: IconStore, sandbox: Sandbox, tmp_path: Path, clock: Clock
) -> None:
    arguments = (["google"], "brand", sandbox.icon_url, tmp_path)
    before = await store.icons_for(*arguments)
    assert asked(sandbox) == ["google-color"]
    clock.now += 1000 * DAY
    assert await store.icons_for(*arguments) == before
    assert await IconStore(Transport()).icons_for(*arguments) == before
    assert asked(sandbox) == []


async def test_another_address_is_another_set(store: IconStore, sandbox: Sandbox, tmp_path: Path) -> None:
    mine = sandbox.icon_url
    first = await store.icons_for(["openai"], "brand", mine, tmp_path)
    same_for_all = mine.replace("{name}", "google-color")
    second = await store.icons_for(["openai", "sao10k"], "brand", same_for_all, tmp_path)
    assert second["openai"] == second["sao10k"] != first["openai"]
    assert await store.icons_for(["openai"], "brand", mine, tmp_path) == first
    assert asked(sandbox).count("openai") == 1, "the first is still on disk"


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
async def test_an_address_that_is_none_does_no_harm(store: IconStore, tmp_path: Path, template: str) -> None:
    assert await store.icons_for(["openai"], "brand", template, tmp_path) == {"openai": monogram("openai")}


@pytest.mark.parametrize("author", ["..", "", "a b", "日本", "%2e%2e", "{name}", "x" * 500, "\ud800"], ids=ascii)
async def test_an_odd_author_does_no_harm(store: IconStore, sandbox: Sandbox, author: str) -> None:
    assert await store.icons_for([author], "brand", sandbox.icon_url, None) == {author: monogram(author)}


async def test_monograms_need_no_network_and_no_disk(store: IconStore, sandbox: Sandbox, tmp_path: Path) -> None:
    found = await store.icons_for(iter(["openai", "google", "openai"]), "monogram", sandbox.icon_url, tmp_path / "none")
    assert found == {"openai": monogram("openai"), "google": monogram("google")}
    assert await store.icons_for(["openai"], "off", sandbox.icon_url, tmp_path / "none") == {}
    assert (asked(sandbox), list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize("stored", [b"", b"{", b"[]", b'{"google": 5}', b'{"google": ["x", "y"]}', b"\xff\x00"])
async def test_a_spoilt_file_is_replaced(sandbox: Sandbox, tmp_path: Path, stored: bytes) -> None:
    arguments = (["google"], "brand", sandbox.icon_url, tmp_path)
    good = await IconStore(Transport()).icons_for(*arguments)
    (file,) = tmp_path.iterdir()
    file.write_bytes(stored)
    assert await IconStore(Transport()).icons_for(*arguments) == good
    assert json.loads(file.read_bytes())["google"][0] == good["google"]
    assert list(tmp_path.iterdir()) == [file]


async def test_a_folder_that_cannot_be_written_costs_only_the_copy(
    store: IconStore, sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    found = await store.icons_for(["google"], "brand", sandbox.icon_url, in_the_way / "folder")
    assert found["google"] != monogram("google")
    assert "icons cannot be stored" in caplog.text
