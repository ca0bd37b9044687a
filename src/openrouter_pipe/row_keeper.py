"""Keeps the rows of the published models up to date, in the background and by one worker at a time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from .codec import JsonDict, JsonObject
from .icons import icons_for
from .model_rows import author_of, merge_row, row_fields
from .problems import log
from .settings import Settings
from .shared import shared_lock
from .transport import Transport
from .virtual_models import Published
from .webui import function_id_of, stored_row, stored_rows, write_row

_LIST_WAITS_FOR_ROWS_SECONDS = 1.0
_PAUSE_SECONDS = 30.0
_Work = tuple[Published, Settings]


class RowKeeper:
    """Writes rows when the list or the valves are not those that were written last."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._wanted: _Work | None = None
        self._done: _Work | None = None
        self._task: asyncio.Task[None] | None = None
        # By a clock that only runs forward.
        self._next_try = 0.0

    async def keep(self, pipe: object, published: Published, settings: Settings) -> None:
        """Start what there is to do. The list that a change of valves made new waits for it, 1 s at most."""
        before, function_id = self._wanted, function_id_of(pipe)
        if not settings.UPDATE_MODEL_METADATA:
            self._wanted = None
        # To compare two lists by what is in them would take long.
        elif before is None or before[0] is not published or before[1] != settings:
            self._wanted = (published, settings)
        if not self._wanted or self._wanted is self._done or not function_id:
            return
        if self._task is None and time.monotonic() >= self._next_try:
            self._task = asyncio.create_task(self._run(function_id))
        if self._task and before and before is not self._wanted and before[0].catalog is published.catalog:
            await asyncio.wait({self._task}, timeout=_LIST_WAITS_FOR_ROWS_SECONDS)

    async def _run(self, function_id: str) -> None:
        try:
            while (work := self._wanted) and work is not self._done:
                async with shared_lock("model-rows"):
                    await self._write(function_id, work)
        except Exception as error:  # noqa: BLE001 - a database fails in many ways, and nobody awaits this task
            log.warning("Rows of models could not be written: %s: %.300s", type(error).__name__, error)
            self._next_try = time.monotonic() + _PAUSE_SECONDS
        finally:
            self._task = None

    async def _write(self, function_id: str, work: _Work) -> None:
        """Write what differs, unless other work is wanted meanwhile."""
        published, settings = work
        icons = await icons_for(self._transport, map(author_of, published.entries), settings)
        stored = await stored_rows()
        failure: Exception | None = None
        for entry in published.entries:
            model_id = f"{function_id}.{entry.webui_id}"
            try:
                fields = row_fields(entry, settings, icons.get(author_of(entry)))
                if _change(fields, stored.get(model_id)):
                    # An admin may have saved it a moment ago.
                    row = await stored_row(model_id)
                    if change := _change(fields, row):
                        await write_row(model_id, row, *change, is_public=settings.NEW_MODEL_ACCESS == "public")
            except Exception as error:  # noqa: BLE001 - one row must not cost the others theirs
                failure = error
            await asyncio.sleep(0)
            if work is not self._wanted:
                return
        if failure:
            raise failure
        self._done = work


def _change(fields: JsonObject, row: Any) -> tuple[str, JsonDict] | None:
    """Name and `meta` that a row should get, if they differ; never for a workspace model that has this id."""
    if row is None:
        return merge_row(fields, "", {})
    return None if row.base_model_id else merge_row(fields, row.name, row.meta.model_dump())
