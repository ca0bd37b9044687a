"""Keeps the rows of the published models up to date, in the background and by one worker at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from .icons import icons_for
from .model_rows import author_of, merge_row, row_fields
from .problems import log
from .settings import Settings
from .shared import shared_lock
from .transport import Transport
from .virtual_models import Published
from .webui import ModelTable, function_id_of

_LIST_WAITS_FOR_ROWS_SECONDS = 1.0
_MAX_FAILED_ROWS = 10
_Work = tuple[Published, Settings]


class RowKeeper:
    """Writes rows when the list or the valves are not those that were written last."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._wanted: _Work | None = None
        self._done: _Work | None = None
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        # By the clock of the event loop.
        self._next_try = 0.0

    async def keep(self, pipe: object, published: Published, settings: Settings) -> None:
        """Start what there is to do. The list that a change of valves made new waits for it, 1 s at most."""
        work = (published, settings) if settings.UPDATE_MODEL_METADATA else None
        before, self._wanted = self._wanted, work
        function_id = function_id_of(pipe)
        if work is None or function_id is None or _is_same(work, self._done):
            return
        loop = asyncio.get_running_loop()
        if self._task is None and loop.time() >= self._next_try:
            self._task = loop.create_task(self._run(function_id))
        if self._task and before and before[0].catalog is published.catalog and not _is_same(work, before):
            await asyncio.wait({self._task}, timeout=_LIST_WAITS_FOR_ROWS_SECONDS)

    async def _run(self, function_id: str) -> None:
        try:
            while (work := self._wanted) and not _is_same(work, self._done):
                async with shared_lock("model-rows"):
                    await self._write(ModelTable(function_id), work)
            self._failures = 0
        except Exception as error:  # noqa: BLE001 - a database fails in many ways, and nobody awaits this task
            if not self._failures:
                log.warning("Rows of models could not be written: %s: %.300s", type(error).__name__, error)
            self._failures = min(self._failures + 1, 9)
            self._next_try = asyncio.get_running_loop().time() + 2**self._failures
        finally:
            self._task = None

    async def _write(self, table: ModelTable, work: _Work) -> None:
        """Write what differs, unless other work is wanted meanwhile."""
        published, settings = work
        authors = {author_of(entry) for entry in published.entries}
        icons = await icons_for(self._transport, authors, settings)
        stored = await table.rows()
        failed: list[Exception] = []
        for entry in published.entries:
            model_id = f"{table.function_id}.{entry.webui_id}"
            row = stored.get(model_id)
            fields = row_fields(
                entry, settings.NAME_PREFIX, settings.DIRECT_FILES == "supported", icons.get(author_of(entry))
            )
            try:
                # Read again before it is changed: an admin may have saved it a moment ago.
                if _change(fields, row) and (change := _change(fields, row and await table.row(model_id))):
                    await table.write(model_id, *change, is_public=settings.NEW_MODEL_ACCESS == "public")
            except Exception as error:  # noqa: BLE001 - one row must not cost the others theirs
                failed.append(error)
            await asyncio.sleep(0)
            if not _is_same(work, self._wanted):
                return
            if len(failed) >= _MAX_FAILED_ROWS:
                break
        if failed:
            raise failed[0]
        self._done = work


def _is_same(work: _Work, other: _Work | None) -> bool:
    # To compare two lists by what is in them would take long.
    return other is not None and work[0] is other[0] and work[1] == other[1]


def _change(fields: Mapping[str, Any], row: Any) -> tuple[Any, str, dict[str, Any]] | None:
    """A row with the name and `meta` that it should get, if those differ; never a workspace model that has this id."""
    if row and row.base_model_id:
        return None
    merged = merge_row(fields, row.name, row.meta.model_dump()) if row else merge_row(fields, "", {})
    return merged and (row, *merged)
