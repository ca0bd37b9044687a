"""The least a pipe can do, as the yardstick: no names, no choice, no errors, no translation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from pydantic import BaseModel
from starlette.responses import StreamingResponse

SENT = ("messages", "stream", "tools")


class Pipe:
    """Lists the rows as they come, and hands on each line of an answer as it is."""

    class Valves(BaseModel):
        """Where to ask."""

        API_KEY: str = ""
        BASE_URL: str = ""
        VARIANT_MODELS: str = ""

    def __init__(self) -> None:
        self.valves = self.Valves()
        self._rows: list[dict[str, Any]] = []
        self._session: aiohttp.ClientSession | None = None

    async def pipes(self) -> list[dict[str, str]]:
        """Every row, and a copy of each where variants are asked for."""
        if not self._rows:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{self.valves.BASE_URL}/models/user", headers=self._headers()) as response,
            ):
                self._rows = (await response.json())["data"]
        tags = ("", ":nitro") if self.valves.VARIANT_MODELS else ("",)
        return [{"id": row["id"] + tag, "name": row["name"] + tag} for row in self._rows for tag in tags]

    async def pipe(self, body: dict[str, Any]) -> StreamingResponse:
        """A streamed answer of `/chat/completions`."""
        request = {key: body[key] for key in SENT if key in body} | {"model": body["model"].partition(".")[2]}
        return StreamingResponse(self._lines(request), media_type="text/event-stream")

    async def _lines(self, request: dict[str, Any]) -> AsyncIterator[bytes]:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        url = f"{self.valves.BASE_URL}/chat/completions"
        async with self._session.post(url, json=request, headers=self._headers()) as response:
            async for line in response.content:
                yield line

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.valves.API_KEY}"}
