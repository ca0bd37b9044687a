"""`python -m openrouter_sandbox`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"


async def start(*arguments):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "openrouter_sandbox", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_it_says_where_it_is_and_stops_when_told(session, tmp_path, stop):
    catalog = tmp_path / "models.json"
    catalog.write_text(json.dumps({"data": [{"id": "a/b", "name": "AB"}]}))
    process = await start("--port", "0", "--catalog", str(catalog))
    line = (await asyncio.wait_for(process.stdout.readline(), 10)).decode()
    assert line.startswith("OpenRouter sandbox: http://127.0.0.1:")
    assert line.endswith("/api/v1\n")
    async with session.get(line.split()[-1] + "/models") as reply:
        assert [row["id"] for row in (await reply.json())["data"]] == ["a/b"]
    process.send_signal(stop)
    rest, errors = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, rest, errors) == (0, b"", b"")


async def test_it_stops_with_a_stream_open(session):
    process = await start("--port", "0")
    url = (await asyncio.wait_for(process.stdout.readline(), 10)).decode().split()[-1]
    async with session.post(url.removesuffix("/api/v1") + "/sandbox/rules", json={"hang": True}) as reply:
        assert reply.status == 200
    body = {"model": "openai/gpt-4o", "input": "Hi", "stream": True}
    async with session.post(url + "/responses", json=body, headers={"Authorization": "Bearer sk-or-1"}) as reply:
        assert await reply.content.readline()
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(process.communicate(), 5)
    assert (process.returncode, errors) == (0, b"")
