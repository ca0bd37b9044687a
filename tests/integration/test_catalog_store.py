"""The model list against a sandbox over HTTP: memory, disk, network, and an upstream that misbehaves."""

from __future__ import annotations

import asyncio
import json
import logging
import stat
import time
from functools import partial
from pathlib import Path
from typing import Any

import polling
import pytest
import pytest_asyncio
from integration.chats import left_tasks
from integration.faults import PAGE

from openrouter_pipe import catalog_store, pipe, shared, transport
from openrouter_sandbox import Rule, Sandbox

KEY = "sk-or-v1-test"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the pipe keeps its files in these tests."""
    folder = tmp_path / "data"
    monkeypatch.setattr(shared, "data_directory", lambda: folder)
    return folder


def new_pipe(sandbox: Sandbox, **valves: Any) -> pipe.Pipe:
    made = pipe.Pipe()
    made.valves = pipe.Pipe.Valves(**{"API_KEY": KEY, "BASE_URL": sandbox.base_url, "STATUS_MODEL": False, **valves})
    return made


async def ids(made: pipe.Pipe) -> list[str]:
    return [entry["id"] for entry in await made.pipes()]


until = partial(polling.until, seconds=5.0)


def raw(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def gets(sandbox: Sandbox, path: str) -> int:
    return sum(request.path.endswith(path) for request in sandbox.received)


ROW = {"id": "openai/gpt-4o", "name": "OpenAI: GPT-4o"}
BODIES: dict[str, tuple[Any, list[str]]] = {
    "rows": ({"data": [ROW]}, ["openai.gpt-4o"]),
    "a bare list": ([ROW], []),
    "odd rows among good ones": ({"data": [None, 1, {}, {"id": ""}, {"id": 5}, {"id": "a b"}, ROW]}, ["openai.gpt-4o"]),
    "the same row twice": ({"data": [ROW, ROW]}, ["openai.gpt-4o"]),
    "no rows": ({"data": []}, []),
    "no data": ({}, []),
    "data is an object": ({"data": {"id": "x"}}, []),
    "null": (b"null", []),
    "a number": (b"7", []),
    "empty": (b"", []),
    "HTML": (b"<html><title>Welcome</title></html>", []),
    "truncated JSON": (json.dumps({"data": [ROW]}).encode()[:-3], []),
    "a byte that is not UTF-8": (b'{"data": [{"id": "openai/gpt-4o", "name": "\xff"}]}', ["openai.gpt-4o"]),
    "deeply nested": (b"[" * 100_000, []),
}


@pytest.mark.parametrize("name", BODIES)
async def test_whatever_the_upstream_lists(name: str, caplog: pytest.LogCaptureFixture) -> None:
    body, expected = BODIES[name]
    async with Sandbox() as sandbox:
        sandbox.rules.append(Rule(path="/models", status=200, body=raw(body)))
        assert await ids(new_pipe(sandbox)) == expected
    if not expected:
        assert len(caplog.records) == 1, "the problem is reported, once"
        assert sandbox.base_url in caplog.text or "models" in caplog.text


async def test_twenty_thousand_rows_are_listed() -> None:
    rows = [{"id": f"author-{number % 50}/model-{number}", "name": f"Model {number}"} for number in range(20_000)]
    async with Sandbox(catalog=rows) as sandbox:
        assert len(set(await ids(new_pipe(sandbox, VARIANT_MODELS="author-7/*:nitro")))) == 20_400


@pytest.mark.parametrize("status", [404, 405])
async def test_without_a_list_for_the_key_the_whole_list_is_used(status: int) -> None:
    async with Sandbox() as sandbox:
        sandbox.rules.append(Rule(path="/models/user", status=status))
        assert "openai.gpt-4o" in await ids(new_pipe(sandbox))


@pytest.mark.parametrize(("status", "said"), [(401, "API_KEY"), (500, "internal error"), (503, "available")])
async def test_a_refusal_is_reported_and_not_asked_for_again_at_once(
    status: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Sandbox() as sandbox:
        sandbox.rules.append(Rule(path="/models", status=status))
        made = new_pipe(sandbox)
        for _ in range(5):
            assert await ids(made) == []
        assert gets(sandbox, "/models/user") == 1
    assert said in caplog.text
    assert KEY not in caplog.text


async def test_an_unreachable_upstream_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    async with Sandbox() as sandbox:
        made = new_pipe(sandbox)
    assert await ids(made) == []
    assert "cannot be reached" in caplog.text


async def test_the_first_list_waits_for_a_slow_upstream_only_so_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(catalog_store, "_LIST_WAITS_SECONDS", 0.2)
    async with Sandbox() as sandbox:
        sandbox.rules.append(Rule(path="/models", delay_seconds=30))
        made = new_pipe(sandbox)
        began = time.monotonic()
        for _ in range(20):
            assert await ids(made) == []
        assert time.monotonic() - began < 2
    assert "the models have not come within 0.2 s" in caplog.text


async def test_a_catalog_that_comes_later_than_a_list_waits_is_listed_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_store, "_LIST_WAITS_SECONDS", 0.1)
    async with Sandbox() as sandbox:
        sandbox.rules.append(Rule(path="/models", delay_seconds=0.5))
        made = new_pipe(sandbox)
        assert await ids(made) == []

        async def listed() -> list[str]:
            return await ids(made)

        assert "openai.gpt-4o" in await until(listed)
        assert gets(sandbox, "/models/user") == 1


async def test_many_lists_at_once_fetch_once() -> None:
    async with Sandbox() as sandbox:
        made = new_pipe(sandbox)
        lists = await asyncio.gather(*(ids(made) for _ in range(30)))
        assert all(found == lists[0] for found in lists)
        assert lists[0]
        assert gets(sandbox, "/models/user") == 1


async def test_no_key_asks_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with Sandbox() as sandbox:
        assert await ids(new_pipe(sandbox, API_KEY="")) == []
        assert sandbox.received == []
    assert "API_KEY" in caplog.text


@pytest.mark.parametrize("valves", [{"API_KEY": ""}, {"API_KEY": "no key"}, {"BASE_URL": "no address"}])
async def test_without_a_key_or_an_address_the_list_known_before_is_not_shown(valves: dict[str, str]) -> None:
    async with Sandbox() as sandbox:
        made = new_pipe(sandbox)
        assert await ids(made)
        made.valves = pipe.Pipe.Valves(
            **{"API_KEY": KEY, "BASE_URL": sandbox.base_url, "STATUS_MODEL": False, **valves}
        )
        assert await ids(made) == []


async def test_another_key_is_another_catalog(data: Path) -> None:
    async with Sandbox() as sandbox:
        made = new_pipe(sandbox)
        assert "openai.gpt-4o" in await ids(made)
        sandbox.catalog[:] = [ROW | {"id": "only/this"}]
        assert "openai.gpt-4o" in await ids(made), "from memory"
        made.valves = pipe.Pipe.Valves(API_KEY=f"{KEY}-2", BASE_URL=sandbox.base_url, STATUS_MODEL=False)
        assert await ids(made) == ["only.this"]

        async def both_stored() -> bool:
            return len(list(data.glob("*.json"))) == 2

        assert await until(both_stored)


# --- The copy on disk


async def test_the_copy_on_disk_answers_while_the_upstream_is_down(data: Path) -> None:
    async with Sandbox() as sandbox:
        before = await ids(new_pipe(sandbox))
        await until_stored(data)
        sandbox.rules.append(Rule(path="/models", status=500))
        assert await ids(new_pipe(sandbox)) == before
        assert gets(sandbox, "/models/user") == 1, "a fresh copy is not fetched again"


async def test_a_stale_copy_answers_at_once_and_is_refreshed_behind(data: Path) -> None:
    async with Sandbox() as sandbox:
        assert "openai.gpt-4o" in await ids(new_pipe(sandbox))
        file = await until_stored(data)
        file.write_text(json.dumps(json.loads(file.read_text()) | {"fetched_at": time.time() - 10_000}))
        sandbox.catalog[:] = [ROW | {"id": "only/this"}]
        sandbox.rules.append(Rule(path="/models", delay_seconds=0.3))
        made = new_pipe(sandbox)
        assert "openai.gpt-4o" in await ids(made)

        async def refreshed() -> bool:
            return await ids(made) == ["only.this"]

        assert await until(refreshed)


async def test_the_age_of_the_catalog_is_known(data: Path) -> None:
    async with Sandbox() as sandbox:
        began = time.time()
        made = new_pipe(sandbox)
        assert made._store.fetched_at == 0
        await ids(made)
        assert began <= (fetched_at := made._store.fetched_at) <= time.time()
        await until_stored(data)
        made = new_pipe(sandbox)
        await ids(made)
        assert made._store.fetched_at == fetched_at, "the copy on disk is as old as it was"
        made.valves = pipe.Pipe.Valves(API_KEY="", BASE_URL=sandbox.base_url)
        await ids(made)
        assert made._store.fetched_at == 0


async def test_a_refresh_that_fails_keeps_the_stale_copy(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Sandbox() as sandbox:
        before = await ids(new_pipe(sandbox))
        file = await until_stored(data)
        file.write_text(json.dumps(json.loads(file.read_text()) | {"fetched_at": 5}))
        sandbox.rules.append(Rule(path="/models", status=200, body={"data": []}))
        made = new_pipe(sandbox)
        assert await ids(made) == before

        async def reported() -> bool:
            assert await ids(made) == before
            return "sent no list of models" in caplog.text

        assert await until(reported)


async def test_the_copy_is_private_and_without_the_key(data: Path) -> None:
    async with Sandbox() as sandbox:
        await ids(new_pipe(sandbox))
        file = await until_stored(data)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert KEY not in file.read_text()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "{}", '{"rows": []}', '{"rows": 3}', '{"rows": [5], "presets": 7}', "\0"]
)
async def test_a_copy_that_cannot_be_used_is_fetched_anew(data: Path, content: str) -> None:
    async with Sandbox() as sandbox:
        before = await ids(new_pipe(sandbox))
        (await until_stored(data)).write_text(content)
        assert await ids(new_pipe(sandbox)) == before
        assert gets(sandbox, "/models/user") == 2


async def test_a_copy_that_could_not_be_read_once_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading takes a thread, and a busy machine may have none to give."""
    read = catalog_store.read_shared

    async def fail(_: str) -> Any:
        monkeypatch.setattr(catalog_store, "read_shared", read)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(catalog_store, "read_shared", fail)
    async with Sandbox() as sandbox:
        made = new_pipe(sandbox)
        for _ in range(2):
            assert "openai.gpt-4o" in await ids(made)


async def test_a_folder_that_cannot_be_written_costs_only_the_copy(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data.write_text("a file where the folder should be")
    async with Sandbox() as sandbox:
        assert "openai.gpt-4o" in await ids(new_pipe(sandbox))

        async def reported() -> bool:
            return "cannot be stored" in caplog.text

        assert await until(reported)


async def until_stored(data: Path) -> Path:
    async def stored() -> list[Path]:
        return list(data.glob("*.json")) if data.is_dir() else []

    (file,) = await until(stored)
    assert isinstance(file, Path)
    return file


# How the copies of earlier versions differ, and those of a later one may; `...`: a field is not there.
OTHER_FORMATS: dict[str, dict[str, Any]] = {
    "presets as objects": {
        "presets": [{"slug": "old", "name": "Old", "description": "", "model": None}],
        "knows_presets": ...,
    },
    "presets with more fields": {"presets": [["old", "Old", "", None, "active"]]},
    "presets with fewer fields": {"presets": [["old"]]},
    "rows by id": {"rows": {"old/model": ROW}},
    "rows with a list each": {"rows": [["old/model", "Old"]]},
    **{f"no {field}": {field: ...} for field in ("fetched_at", "rows", "presets", "left_out", "knows_presets")},
    "a date": {"fetched_at": "2026-08-19T10:00:00Z"},
}


@pytest.mark.parametrize("name", OTHER_FORMATS)
async def test_a_copy_in_another_format_is_fetched_anew_and_replaced(
    data: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    valves = {"VARIANT_MODELS": "@preset/*"}
    async with Sandbox(catalog=[ROW], presets=[preset_row("new")]) as sandbox:
        assert await until(lambda: preset_ids(new_pipe(sandbox, **valves)))
        file = await until_stored(data)
        current = json.loads(file.read_text())
        other = current | {"rows": [{"id": "old/model"}], "presets": [["old", "Old", "", None]]} | OTHER_FORMATS[name]
        content = {key: value for key, value in other.items() if value is not ...}
        file.write_text(json.dumps(content))
        sandbox.rules.append(Rule(path="/models", status=500))
        assert await ids(new_pipe(sandbox, **valves)) == []
        assert json.loads(file.read_text()) == content, "a refresh that fails leaves it alone"
        assert len(caplog.records) == 1
        assert "internal error" in caplog.text
        sandbox.rules.clear()
        made = new_pipe(sandbox, **valves)
        assert await until(lambda: preset_ids(made)) == ["preset/new"]
        assert await ids(made) == ["openai.gpt-4o", "preset/new"]

        async def replaced() -> bool:
            return json.loads(file.read_text()) | {"fetched_at": 0} == current | {"fetched_at": 0}

        assert await until(replaced)


# --- An upstream that flaps


class Clock:
    """The time that the pipe sees, moved on by hand: by the age of its catalog and by the event loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        ticks, wall = loop.time, time.time
        self.ahead = 0.0
        monkeypatch.setattr(loop, "time", lambda: ticks() + self.ahead)
        monkeypatch.setattr(catalog_store.time, "time", lambda: wall() + self.ahead)


@pytest_asyncio.fixture(loop_scope="module")
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


HALF = b'HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{"data": [{"id": "'
SILENCE = "was silent for 60 s"
NO_LIST = "sent no list of models"
NO_JSON = "no JSON came back"
# What comes instead of a good answer, and what is said of a list of models that comes so.
BAD_ANSWERS: dict[str, tuple[dict[str, Any], str]] = {
    "500": ({"status": 500}, "internal error"),
    "429": ({"status": 429}, "rate-limiting"),
    "cut": ({"raw": [b""], "cut_after_events": 0}, "closed the connection"),
    "cut half-way": ({"raw": [HALF], "cut_after_events": 0}, "broke off"),
    "garbage": ({"raw": [b"\x00\xff\xfe\r\n\r\n"]}, "not HTTP"),
    "a page": ({"status": 200, "body": PAGE}, NO_JSON),
    "half a list": ({"status": 200, "body": b'{"data": [{"id": "'}, NO_JSON),
    "nothing": ({"status": 200, "body": b""}, NO_JSON),
    "silence": ({"raw": [b""], "hang": True}, SILENCE),
    "silence half-way": ({"raw": [HALF], "hang": True}, SILENCE),
    "an empty list": ({"status": 200, "body": {"data": []}}, NO_LIST),
    "a list of nothing": ({"status": 200, "body": {"data": [None, {}, 5]}}, NO_LIST),
    "no list": ({"status": 200, "body": {"data": {"id": "x"}}}, NO_LIST),
    "200, an error": ({"status": 200, "body": {"error": {"code": 500, "message": "Sorry"}}}, NO_LIST),
}


class Flapping:
    """An upstream with one model and one preset, others in each good answer; and a pipe that lists them."""

    def __init__(self, sandbox: Sandbox, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sandbox, self.clock = sandbox, clock
        self.before = asyncio.all_tasks()
        self.count = self.silences = 0
        monkeypatch.setattr(catalog_store, "_LIST_WAITS_SECONDS", 0.1)
        for rows in ("catalog", "presets"):
            monkeypatch.setattr(sandbox, rows, [])
        self.pipe = self.worker()

    def worker(self) -> pipe.Pipe:
        """A worker that knows what is on disk. The preset is listed only while its model is known to be free."""
        return new_pipe(self.sandbox, ZDR="filter", FREE_MODEL_FILTER="only", VARIANT_MODELS="@preset/*")

    def is_good(self) -> list[str]:
        """From now on the answers are good, and new ones; returns the list that they make."""
        self.count += 1
        model, slug = f"good/{self.count}:free", f"p-{self.count}"
        self.sandbox.rules.clear()
        self.sandbox.catalog[:] = [ROW | {"id": model}]
        self.sandbox.presets[:] = [preset_row(slug, designated_version={"config": {"model": model}})]
        return [f"good.{self.count}:free", f"preset/{slug}"]

    def is_bad(self, place: str, answer: dict[str, Any]) -> None:
        """From now on this is answered there."""
        # The path of `/models?zdr=true` is a part of that of `/models/user`.
        other = {"path": "/models/user", "status": 200, "body": {"data": list(self.sandbox.catalog)}}
        self.silences = 0
        self.sandbox.rules[:] = [Rule(**other)] if place == "/models" else []
        self.sandbox.rules.append(Rule(path=place, **answer))

    async def list_after(self, seconds: float, made: pipe.Pipe | None = None) -> list[str]:
        """The list so many seconds later, once what began then has ended."""
        made = made or self.pipe
        self.clock.ahead += seconds
        await ids(made)
        await until(self.has_ended)
        return await ids(made)

    def has_ended(self) -> bool:
        """Whether no refresh is under way. When upstream has fallen silent, time flies."""
        silences = sum(rule.used for rule in self.sandbox.rules if rule.hang)
        if silences > self.silences:
            self.clock.ahead += 61
        self.silences = silences
        return not left_tasks(self.before)

    @property
    def requests(self) -> int:
        """How often a list of models was asked for."""
        return gets(self.sandbox, "/models/user")


@pytest_asyncio.fixture(loop_scope="module")
async def flapping(
    sandbox: Sandbox, clock: Clock, monkeypatch: pytest.MonkeyPatch, nothing_is_left_behind: None
) -> Flapping:
    return Flapping(sandbox, clock, monkeypatch)


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the pipe has logged since the last call."""
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return found


HOUR = 3_700


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_an_upstream_that_flaps_neither_costs_models_nor_is_told_of_twice(
    flapping: Flapping, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer, problem = BAD_ANSWERS[name]
    flapping.is_bad("/models/user", answer)
    assert await flapping.list_after(0) == []
    assert problem in logged(caplog)[-1]
    for _ in range(3):
        known = flapping.is_good()
        assert await flapping.list_after(HOUR) == known
        assert flapping.pipe._store.problems() == []
        flapping.is_bad("/models/user", answer)
        requests = flapping.requests
        for _ in range(3):
            assert await flapping.list_after(HOUR) == known
        # aiohttp asks once more itself where a connection is closed without an answer.
        assert flapping.requests == requests + (6 if name == "cut" else 3)
        assert [problem in line for line in logged(caplog)] == [True]
        assert await flapping.list_after(0, flapping.worker()) == known, "from the copy on disk"
        caplog.clear()


# An account may have no presets any more.
PARTS = [
    (place, name)
    for place in ("/models", "/presets", "/presets/p-")
    for name in BAD_ANSWERS
    if place != "/presets" or name not in ("an empty list", "a list of nothing")
]
# That there is no list of presets, or that one preset's page does not come, is nothing to complain about.
QUIET = ("no list", "200, an error")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("place", "name"), PARTS)
async def test_a_part_of_the_list_that_flaps_stays_as_well(
    flapping: Flapping, name: str, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        known = flapping.is_good()
        assert await flapping.list_after(HOUR) == known
        flapping.is_bad(place, BAD_ANSWERS[name][0])
        for _ in range(2):
            assert await flapping.list_after(HOUR) == known
        assert await flapping.list_after(HOUR, flapping.worker()) == known
    assert bool(logged(caplog)) == (place == "/models" or (place == "/presets" and name not in QUIET))


@pytest.mark.asyncio(loop_scope="module")
async def test_one_bad_answer_after_the_other_is_told_of_at_each_change(
    flapping: Flapping, caplog: pytest.LogCaptureFixture
) -> None:
    async def bad_answers_in_a_row() -> int:
        known = flapping.is_good()
        assert await flapping.list_after(HOUR) == known
        latest = ""
        for answer, problem in BAD_ANSWERS.values():
            flapping.is_bad("/models/user", answer)
            assert await flapping.list_after(HOUR) == known
            told = [problem in line for line in logged(caplog)]
            assert told == ([] if problem == latest else [True]), problem
            latest = problem
        flapping.is_bad("/models/user", {"status": 200, "body": {"data": flapping.sandbox.catalog}})
        return len(list(Path("/proc/self/fd").iterdir()))

    sockets = await bad_answers_in_a_row()
    for _ in range(3):
        assert await bad_answers_in_a_row() <= sockets + 2
    known = flapping.is_good()
    flapping.sandbox.rules[:] = [Rule(path="/models", delay_seconds=0.2)]
    assert await flapping.list_after(HOUR) == known, "late, but in time"
    assert (flapping.pipe._store.problems(), logged(caplog)) == ([], [])


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", ["500", "cut half-way", "an empty list"])
async def test_an_upstream_that_fails_is_asked_ever_more_rarely(flapping: Flapping, known: bool, name: str) -> None:
    if known:
        flapping.is_good()
        await flapping.list_after(0)
    flapping.clock.ahead += HOUR
    for _ in range(2):
        flapping.is_bad("/models/user", BAD_ANSWERS[name][0])
        requests = flapping.requests
        await flapping.list_after(0)
        for number, pause in enumerate((5, 10, 20, 40, 80, 160, 320, 600, 600, 600), 1):
            for seconds in (0, 0, pause - 2):
                await flapping.list_after(seconds)
                assert flapping.requests == requests + number
            await flapping.list_after(3)
            assert flapping.requests == requests + number + 1
        expected = flapping.is_good()
        assert await flapping.list_after(600) == expected
        requests = flapping.requests
        for _ in range(10):
            await flapping.list_after(300)
        assert flapping.requests == requests, "a good list is not asked for again within the hour"
        flapping.clock.ahead += HOUR


# --- Chats and the catalog


def question(model: str) -> dict[str, Any]:
    return {"model": f"any_name.{model}", "messages": [{"role": "user", "content": "Hi"}]}


async def test_a_workers_first_chat_does_not_wait_for_the_catalog() -> None:
    async with Sandbox() as sandbox:
        sandbox.rules.append(Rule(path="/models", delay_seconds=30))
        began = time.monotonic()
        answer = await new_pipe(sandbox).pipe(question("openai.gpt-4o:nitro:preset/email-copywriter"))
        assert time.monotonic() - began < 2
        assert isinstance(answer, dict)
        assert "preset: email-copywriter (applied)" in answer["choices"][0]["message"]["content"]
        (chat,) = [request for request in sandbox.received if request.method == "POST"]
        assert chat.body["model"] == "openai/gpt-4o:nitro@preset/email-copywriter"


@pytest.mark.parametrize(
    ("valves", "model", "valve"),
    [
        ({}, "openai.gpt-4o:nitro", "VARIANT_MODELS"),
        ({}, "preset/support", "VARIANT_MODELS"),
        ({"MODEL_ID": "anthropic/*"}, "openai.gpt-4o", "MODEL_ID"),
        ({"MODEL_ID": "anthropic/*", "VARIANT_MODELS": "openai/gpt-4o:nitro"}, "openai.gpt-4o:nitro", "MODEL_ID"),
        ({"FREE_MODEL_FILTER": "only"}, "openai.gpt-4o", "FREE_MODEL_FILTER"),
        ({"TOOL_CALLING_FILTER": "exclude"}, "openai.gpt-4o", "TOOL_CALLING_FILTER"),
        ({"ZDR": "filter"}, "deepseek.deepseek-r1", "ZDR"),
        ({"ZDR": "filter", "VARIANT_MODELS": "*:nitro"}, "deepseek.deepseek-r1:nitro", "ZDR"),
    ],
)
async def test_what_is_not_published_cannot_be_called(valves: dict[str, str], model: str, valve: str) -> None:
    async with Sandbox() as sandbox:
        made = new_pipe(sandbox, **valves)
        assert model not in await ids(made)
        answer = await made.pipe(question(model))
        assert isinstance(answer, dict)
        assert valve in answer["error"]["message"]
        assert not any(request.path.endswith("/responses") for request in sandbox.received)


@pytest.mark.parametrize(("zdr", "answers"), [("off", True), ("filter", True), ("enforce", False)])
async def test_zdr_enforced_holds_for_what_the_list_cannot_know(zdr: str, answers: bool) -> None:
    """A preset may name any model: only the request itself can keep it from an endpoint that stores what is sent."""
    async with Sandbox() as sandbox:
        sandbox.presets[:] = [preset_row("r1", designated_version={"config": {"model": "deepseek/deepseek-r1"}})]
        made = new_pipe(sandbox, VARIANT_MODELS="@preset/r1", ZDR=zdr)
        assert "preset/r1" in await ids(made)
        assert ("deepseek.deepseek-r1" in await ids(made)) is (zdr == "off")
        answer = await made.pipe(question("preset/r1"))
        assert isinstance(answer, dict)
        assert ("choices" in answer) is answers
        assert answers or "privacy" in answer["error"]["message"]


# --- Presets of the account


async def preset_ids(made: pipe.Pipe) -> list[str]:
    return [model_id for model_id in await ids(made) if model_id.startswith("preset/")]


def preset_row(slug: str, **more: Any) -> dict[str, Any]:
    return {"slug": slug, "name": slug, "status": "active", **more}


@pytest.mark.parametrize(
    "body",
    [
        {"data": [preset_row("one"), preset_row("two", status="disabled"), None, {}, {"slug": "no/slug"}]},
        {"data": [{"slug": "one"}]},
    ],
)
async def test_the_shapes_of_a_preset_list(body: Any) -> None:
    async with Sandbox() as sandbox:
        sandbox.rules.append(Rule(path="/presets/", status=404))
        sandbox.rules.append(Rule(path="/presets", status=200, body=raw(body)))
        made = new_pipe(sandbox, VARIANT_MODELS="@preset/*")
        assert await until(lambda: preset_ids(made)) == ["preset/one"]


async def test_all_pages_are_read() -> None:
    async with Sandbox() as sandbox:
        sandbox.presets[:] = [preset_row(f"p-{number:03}", designated_version=None) for number in range(230)]
        made = new_pipe(sandbox, VARIANT_MODELS="@preset/*")
        assert len(await until(lambda: preset_ids(made))) == 230


async def test_a_preset_is_described_by_the_model_it_names() -> None:
    async with Sandbox() as sandbox:
        made = new_pipe(sandbox, VARIANT_MODELS="@preset/*", FREE_MODEL_FILTER="only")
        sandbox.presets[:] = [
            preset_row("free-one", designated_version={"config": {"model": "deepseek/deepseek-r1:free"}}),
            preset_row("paid-one", designated_version={"config": {"model": "openai/gpt-4o"}}),
        ]
        assert await until(lambda: preset_ids(made)) == ["preset/free-one"]


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_gateway_without_presets_is_quiet(status: int, caplog: pytest.LogCaptureFixture) -> None:
    async with Sandbox() as sandbox:
        sandbox.rules.append(Rule(path="/presets", status=status))
        made = new_pipe(sandbox, VARIANT_MODELS="@preset/*, @preset/written")

        async def asked() -> bool:
            return "preset/written" in await ids(made) and gets(sandbox, "/presets") == 1

        assert await until(asked)
        assert await preset_ids(made) == ["preset/written"]
    assert caplog.records == []


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_that_may_not_list_presets_is_one_problem(status: int, caplog: pytest.LogCaptureFixture) -> None:
    async with Sandbox() as sandbox:
        sandbox.rules.append(Rule(path="/presets", status=status))
        made = new_pipe(sandbox, VARIANT_MODELS="@preset/*, openai/gpt-4o@preset/*, @preset/written")

        async def reported() -> bool:
            assert "preset/written" in await ids(made)
            return bool(caplog.records)

        assert await until(reported)
        await ids(made)
    assert len(caplog.records) == 1


async def test_a_key_that_may_not_list_presets_is_told_once_however_often_it_is_tried(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(catalog_store, "_LONGEST_PAUSE_SECONDS", 0.02)
    async with Sandbox() as sandbox:
        sandbox.rules.append(Rule(path="/presets", status=403, delay_seconds=0.05))
        made = new_pipe(sandbox, VARIANT_MODELS="@preset/*")

        async def tried_often() -> bool:
            assert await ids(made)
            return gets(sandbox, "/presets") >= 4

        assert await until(tried_often)
    assert len(caplog.records) == 1


async def test_a_preset_that_is_gone_leaves_the_list(data: Path) -> None:
    async with Sandbox() as sandbox:
        sandbox.catalog.append(ROW | {"id": "@preset/of-a-row", "name": "Of a row"})
        sandbox.presets[:] = [preset_row("kept"), preset_row("gone")]
        made = new_pipe(sandbox, VARIANT_MODELS="@preset/*")

        async def all_listed() -> bool:
            return sorted(await preset_ids(made)) == ["preset/gone", "preset/kept", "preset/of-a-row"]

        async def stored() -> list[Path]:
            return [file for file in data.glob("*.json") if '"gone"' in file.read_text()]

        assert await until(all_listed)
        (file,) = await until(stored)
        file.write_text(json.dumps(json.loads(file.read_text()) | {"fetched_at": 1}))
        sandbox.presets[:] = [preset_row("kept")]
        made = new_pipe(sandbox, VARIANT_MODELS="@preset/*")
        assert await all_listed(), "from the stale copy, the preset of a row too"

        async def one_left() -> bool:
            return sorted(await preset_ids(made)) == ["preset/kept", "preset/of-a-row"]

        assert await until(one_left)


async def test_slow_presets_do_not_hold_up_the_list() -> None:
    async with Sandbox() as sandbox:
        sandbox.rules.append(Rule(path="/presets", delay_seconds=30))
        began = time.monotonic()
        assert "openai.gpt-4o" in await ids(new_pipe(sandbox, VARIANT_MODELS="@preset/*"))
        assert time.monotonic() - began < 2


async def test_presets_survive_a_restart(data: Path) -> None:
    async with Sandbox() as sandbox:
        made = new_pipe(sandbox, VARIANT_MODELS="@preset/*")
        found = await until(lambda: preset_ids(made))
        file = await until_stored(data)

        async def stored() -> bool:
            return bool(json.loads(file.read_text())["presets"])

        assert await until(stored)
        sandbox.rules.append(Rule(path="", status=500))
        assert await preset_ids(new_pipe(sandbox, VARIANT_MODELS="@preset/*")) == found


async def test_nothing_asks_for_presets_when_no_wildcard_does() -> None:
    async with Sandbox() as sandbox:
        await ids(new_pipe(sandbox, VARIANT_MODELS="@preset/support, openai/gpt-4o@preset/x"))
        assert gets(sandbox, "/presets") == 0


async def test_a_dropped_pipe_leaves_nothing_open(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="asyncio")
    async with Sandbox() as sandbox:
        made = new_pipe(sandbox)
        await ids(made)
        del made

        async def closed() -> bool:
            return len(asyncio.all_tasks()) >= 1 and sandbox.connections == 1

        assert await until(closed)
    assert "Unclosed" not in caplog.text


@pytest.mark.asyncio(loop_scope="module")
async def test_the_proxy_of_the_environment_is_used(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    address = sandbox.base_url.removeprefix("http://").removesuffix("/api/v1")
    monkeypatch.setenv("http_proxy", f"http://jo:secret@{address}")
    monkeypatch.setenv("no_proxy", "other.test")
    assert len(await ids(new_pipe(sandbox, BASE_URL="http://openrouter.test/api/v1"))) > 1
    asked = sandbox.received[0].headers
    assert asked["Host"] == "openrouter.test"
    assert asked["Proxy-Authorization"].startswith("Basic ")
    assert asked["Authorization"] == f"Bearer {KEY}"


@pytest.mark.asyncio(loop_scope="module")
async def test_the_proxy_is_not_used_where_no_proxy_says_so(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    transport._proxy_for.cache_clear()
    assert len(await ids(new_pipe(sandbox))) > 1


@pytest.mark.asyncio(loop_scope="module")
async def test_a_netrc_does_not_matter(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login jo password secret", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    assert len(await ids(new_pipe(sandbox))) > 1
    assert sandbox.received[0].headers["Authorization"] == f"Bearer {KEY}"
