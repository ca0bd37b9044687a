"""The least a pipe can do, as the yardstick: one GET for the list, no names, no choice, no errors, no translation."""

from __future__ import annotations

from typing import Any

import aiohttp
from pydantic import BaseModel


class Pipe:
    """Lists the rows as they come."""

    class Valves(BaseModel):
        """Where to ask."""

        API_KEY: str = ""
        BASE_URL: str = ""
        VARIANT_MODELS: str = ""

    def __init__(self) -> None:
        self.valves = self.Valves()
        self._rows: list[dict[str, Any]] = []

    async def pipes(self) -> list[dict[str, str]]:
        """Every row, and a copy of each where variants are asked for."""
        if not self._rows:
            headers = {"Authorization": f"Bearer {self.valves.API_KEY}"}
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{self.valves.BASE_URL}/models/user", headers=headers) as response,
            ):
                self._rows = (await response.json())["data"]
        tags = ("", ":nitro") if self.valves.VARIANT_MODELS else ("",)
        return [{"id": row["id"] + tag, "name": row["name"] + tag} for row in self._rows for tag in tags]
