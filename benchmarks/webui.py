"""Measures chats in a real Open WebUI the way its web page has them: stored, and followed over the socket.

Each pipe is set against Open WebUI's own OpenAI-compatible connection to the same sandbox, in turn. CPU is that of Open
WebUI's process, all threads; times are milliseconds.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import socketio
from upstream import FIRST, KEY, ROOT, Upstream, ratio

sys.path.insert(0, str(ROOT / "scripts"))
from webui_server import OpenWebUI

OWN = "its own connection"
LIMIT = 60.0  # seconds for one chat
# Kind of chat: deltas, seconds between two of them, chats a round.
KINDS = {"webui_short": (20, 0.0, 5), "webui_flat": (2000, 0.0, 1), "webui_paced": (500, 0.005, 2)}


class Chat(NamedTuple):
    """CPU ms of the server until it was idle again, and ms from the question to the first delta at the page."""

    cpu: float
    first: float


class Page:
    """A signed-in web page: asks questions and follows the answers."""

    def __init__(self, webui: OpenWebUI, process: int) -> None:
        self._url, self._token = webui.url, str(webui.client.headers["Authorization"]).removeprefix("Bearer ")
        # The CPU clock of another process, as clock_getcpuclockid(3) makes it.
        self._clock = ~process << 3 | 2
        self._socket = socketio.AsyncClient()
        self._socket.on("events", self._event)
        self._http = aiohttp.ClientSession(headers={"Authorization": f"Bearer {self._token}"})
        self._answer_id, self._first = "", 0.0
        self._done = asyncio.Event()

    async def open(self) -> None:
        """Connect the socket."""
        token = {"token": self._token}
        await self._socket.connect(self._url, socketio_path="/ws/socket.io", transports=["websocket"], auth=token)
        await self._socket.emit("user-join", {"auth": token})

    async def close(self) -> None:
        """Leave."""
        await self._socket.disconnect()
        await self._http.close()

    async def chat(self, model: str) -> Chat:
        """A new chat with one question, until its answer is complete and the server idle."""
        message_id, self._answer_id, self._first = str(uuid.uuid4()), str(uuid.uuid4()), 0.0
        self._done.clear()
        message = {
            "id": message_id,
            "parentId": None,
            "childrenIds": [self._answer_id],
            "role": "user",
            "content": "Count.",
            "timestamp": int(time.time()),
            "models": [model],
        }
        form = {
            "model": model,
            "messages": [{"role": "user", "content": "Count."}],
            "stream": True,
            "session_id": self._socket.get_sid(),
            "parent_id": None,
            "user_message": message,
            "message_ids": [{"model_id": model, "message_id": self._answer_id}],
        }
        before = await self._idle()
        began = time.perf_counter()
        async with self._http.post(f"{self._url}/api/chat/completions", json=form) as response:
            response.raise_for_status()
            await response.read()
        async with asyncio.timeout(LIMIT):
            await self._done.wait()
        if not self._first:
            raise SystemExit(f"{model} did not answer: see Open WebUI's log")
        return Chat((await self._idle() - before) * 1e3, (self._first - began) * 1e3)

    def _event(self, event: Mapping[str, Any]) -> None:
        if event.get("message_id") != self._answer_id:
            return
        data = event["data"].get("data")
        if not self._first and FIRST.decode() in str(data):
            self._first = time.perf_counter()
        if isinstance(data, dict) and data.get("done") and event["data"]["type"] == "chat:completion":
            self._done.set()

    async def _idle(self) -> float:
        """CPU seconds of the server, once it has used next to none for a while."""
        spent = time.clock_gettime(self._clock)
        while True:
            await asyncio.sleep(0.1)
            before, spent = spent, time.clock_gettime(self._clock)
            if spent - before < 0.002:
                return spent


async def compare(
    page: Page, models: Mapping[str, str], upstream: Upstream, rounds: int
) -> dict[str, dict[str, float]]:
    """The figures of each pipe: medians over rounds in which all take their turn."""
    seen: dict[str, dict[str, list[Chat]]] = {name: {kind: [] for kind in KINDS} for name in models}
    for number in range(rounds + 1):
        for kind, (deltas, pace, count) in KINDS.items():
            upstream.answers(deltas, pace)
            for name, model in models.items():
                chats = [await page.chat(model) for _ in range(count if number else 1)]
                seen[name][kind] += chats if number else []  # the first round only warms up
    own = seen[OWN]
    return {name: figures(kinds, own) for name, kinds in seen.items() if name != OWN}


def figures(seen: Mapping[str, list[Chat]], own: Mapping[str, list[Chat]]) -> dict[str, float]:
    """CPU and the first delta as ratios to Open WebUI's own connection, beside that one's figures."""
    found = {}
    for kind in ("webui_flat", "webui_paced"):
        found[kind] = ratio([chat.cpu for chat in seen[kind]], [chat.cpu for chat in own[kind]])
        found[f"{kind}_own"] = statistics.median(chat.cpu for chat in own[kind])
    firsts, others = ([chat.first for chat in chats["webui_short"]] for chats in (seen, own))
    # Single chats differ too much for pairs.
    found["webui_first"] = statistics.median(firsts) / statistics.median(others)
    return found | {"webui_first_own": statistics.median(others)}


def measure(files: Mapping[str, Path], base_url: str, folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Start an Open WebUI, install the pipes, measure."""
    connection = {"ENABLE_OPENAI_API": "True", "OPENAI_API_BASE_URLS": base_url, "OPENAI_API_KEYS": KEY}
    with OpenWebUI(folder, env=connection) as webui:
        webui.sign_in()
        for name, path in files.items():
            webui.install_function(name, name, path.read_text(encoding="utf-8"))
            # Nothing else than the default, but for what the network would be needed for.
            webui.set_valves(name, {"API_KEY": KEY, "BASE_URL": base_url, "MODEL_ICONS": "off"})
        listed = [str(model["id"]) for model in webui.models()]
        models = {name: next(model for model in listed if model.startswith(f"{name}.")) for name in files}
        models[OWN] = next(model for model in listed if "/" in model and "." not in model)

        async def run() -> dict[str, dict[str, float]]:
            page = Page(webui, webui.process_id)
            await page.open()
            try:
                return await compare(page, models, Upstream(base_url), rounds)
            finally:
                await page.close()

        return asyncio.run(run())
