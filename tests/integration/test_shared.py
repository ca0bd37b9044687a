"""Several workers of one Open WebUI: one fetches, the others follow; by files, and by Redis where there is one."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from integration.chats import left_tasks
from integration.sharing_worker import COPY, ROWS, content
from polling import until

from openrouter_pipe import shared
from openrouter_pipe.pipe import Pipe
from openrouter_pipe.settings import Settings
from openrouter_sandbox import Rule, Sandbox


@pytest.fixture(params=["files", "redis"])
async def host(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """What the workers share: a folder, or Redis alone (workers on several machines)."""
    if request.param == "files":
        monkeypatch.setattr(shared, "data_directory", lambda: tmp_path / "data")
        yield None
        return
    async with shared_redis(request.getfixturevalue("redis_port"), monkeypatch) as client:
        await client.flushall()
        yield client


@asynccontextmanager
async def shared_redis(port: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """The Redis at this port as Open WebUI's, until the pipe has nothing more to store."""
    client = redis.asyncio.Redis(port=port, decode_responses=True)
    monkeypatch.setattr(shared, "redis_client", lambda: client)
    try:
        yield client
    finally:
        await until(lambda: not left_tasks(set()))
        await client.aclose()


def worker(sandbox: Sandbox, **valves: Any) -> Pipe:
    made = Pipe()
    made.valves = Settings(API_KEY="sk-or-v1-x", BASE_URL=sandbox.base_url, STATUS_MODEL=False, **valves)
    return made


def fetches(sandbox: Sandbox) -> int:
    return sum("/models" in call.path for call in sandbox.received)


async def test_of_workers_that_start_together_one_fetches(host: Any) -> None:
    async with Sandbox() as sandbox:
        sandbox.rules.append(Rule(path="/models", delay_seconds=0.3))
        lists = await asyncio.gather(*(worker(sandbox).pipes() for _ in range(4)))
        assert fetches(sandbox) == 1
        assert lists[0]
        assert all(models == lists[0] for models in lists)


async def test_the_rows_are_the_other_workers_before_the_presets_are_here(host: Any) -> None:
    async with Sandbox() as sandbox:
        sandbox.rules.append(Rule(path="/presets", delay_seconds=3, times=1))
        first, second = (worker(sandbox, VARIANT_MODELS="@preset/*") for _ in range(2))
        began = time.monotonic()
        lists = await asyncio.gather(first.pipes(), second.pipes())
        assert time.monotonic() - began < 2.5
        assert lists[0]
        assert lists[0] == lists[1]

        async def lists_presets(pipe: Pipe) -> bool:
            return len(await pipe.pipes()) > len(lists[0])

        await until(lambda: lists_presets(first), 10)
        await until(lambda: lists_presets(second), 10)
        assert fetches(sandbox) == 1


async def test_a_refresh_by_one_worker_is_the_others_too(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_800_000_000.0]
    monkeypatch.setattr("openrouter_pipe.catalog_store.time.time", lambda: clock[0])
    async with Sandbox() as sandbox:
        first, second = worker(sandbox), worker(sandbox)
        assert await first.pipes() == await second.pipes()
        sandbox.catalog[:] = [row for row in sandbox.catalog if row["id"] == "openai/gpt-4o"]
        clock[0] += 4_000

        async def lists_one(pipe: Pipe) -> bool:
            return len(await pipe.pipes()) == 1

        await until(lambda: lists_one(first))
        await until(lambda: lists_one(second))
        assert fetches(sandbox) == 2


async def test_one_worker_is_let_in_at_a_time(host: Any) -> None:
    inside = most = 0

    async def work() -> None:
        nonlocal inside, most
        async with shared.shared_lock("x"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(5)))
    assert most == 1


async def test_a_worker_that_died_keeps_nobody_out_for_ever(redis_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_LOCK_SECONDS", 1)
    async with shared_redis(redis_port, monkeypatch) as client:
        await client.set("openrouter_pipe:x", "another worker", ex=1)
        async with asyncio.timeout(5), shared.shared_lock("x"):
            pass
        assert await client.get("openrouter_pipe:x") is None


async def test_without_its_redis_the_disk_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "data_directory", lambda: tmp_path / "data")
    async with shared_redis(9, monkeypatch), Sandbox() as sandbox:
        before = await worker(sandbox).pipes()
        assert before
        await until(lambda: bool(list((tmp_path / "data").glob("*.json"))))
        sandbox.rules.append(Rule(status=503))
        assert await worker(sandbox).pipes() == before


@pytest.mark.parametrize("odd", ["", "[]", "{", '{"rows": 5}', "\x00"])
async def test_an_odd_copy_in_redis_is_no_copy(redis_port: int, odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shared_redis(redis_port, monkeypatch) as client, Sandbox() as sandbox:
        await client.flushall()
        before = await worker(sandbox).pipes()
        await until(lambda: client.keys("openrouter_pipe:catalog-*"))
        for key in await client.keys("openrouter_pipe:catalog-*"):
            await client.set(key, odd)
        assert await worker(sandbox).pipes() == before
        assert fetches(sandbox) == 2


@pytest.mark.parametrize("how", [["locked"], [], ["same-id"]], ids=["locked", "no locks", "no locks, two containers"])
def test_processes_that_write_at_the_same_moment_leave_whole_copies(tmp_path: Path, how: list[str]) -> None:
    """Without locks all get in at once; in containers that share a folder, processes often have the same id."""
    (tmp_path / COPY).write_text(json.dumps(content("short", 0)))
    script = str(Path(__file__).with_name("sharing_worker.py"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, script, str(tmp_path), *arguments]
        return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    writers = [start("write", name, *how) for name in ROWS]
    reader = start("read")
    try:
        told = reader.communicate(timeout=60)
    finally:
        (tmp_path / "stop").touch()
        ends = [process.communicate(timeout=60) for process in writers]
        reader.kill()
    assert told == ("[]\n", ""), "each read is a whole copy"
    assert ends == 2 * [("", "")], "nobody complains"
    left = {file.name for file in tmp_path.iterdir()} - {"catalog.lock", "inside", "stop"}
    assert left == {COPY}


async def test_what_cannot_be_stored_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared, "data_directory", lambda: tmp_path)
    (tmp_path / COPY).mkdir()
    await shared.write_shared(COPY, content("short", 1))
    assert "cannot be stored" in caplog.text
    assert [file.name for file in tmp_path.iterdir()] == [COPY]
