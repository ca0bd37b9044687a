"""The cached catalog: memory, then disk, then the network. A stale copy beats a failure, and nobody waits for a refresh."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .catalog import Catalog, Preset, parse_preset
from .codec import dump_json, parse_json
from .errors import PipeError, SettingsError, UpstreamError
from .problems import Problem, log
from .settings import Settings
from .transport import Transport

_FORMAT = 1
_LIST_WAITS_SECONDS = 5.0
_FETCH_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 600.0
_PRESETS_PER_PAGE = 100
_MAX_PRESET_PAGES = 20
_PRESETS_AT_ONCE = 4
# Statuses of a gateway that has no such path; 401 and 403 mean that the key may not.
_NO_SUCH_PATH = (404, 405, 501)


class CatalogStore:
    """Keeps the catalog of the account in use. A change of `API_KEY` or `BASE_URL`, or whether ZDR matters, is another one."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._account: _Account | None = None

    async def catalog_for_list(self, settings: Settings, directory: Path | None) -> Catalog | None:
        """The catalog for the model list. Waits for the network, 5 s at most, only when nothing at all is known."""
        catalog = await self.catalog_for_chat(settings, directory)
        account = self._account
        if account is None or catalog is not None:
            return catalog
        await account.wait()
        return account.catalog

    async def catalog_for_chat(self, settings: Settings, directory: Path | None) -> Catalog | None:
        """The catalog from memory or disk, None when unknown. A refresh that is due starts in the background."""
        if not settings.api_key or not settings.base_url:
            self._account = None
            return None
        zdr = settings.publishing.zdr_only
        key = hashlib.sha256(f"{settings.base_url}\0{settings.api_key}\0{zdr}".encode()).hexdigest()[:16]
        account = self._account
        if account is None or account.key != key:
            account = self._account = _Account(key, directory / f"catalog-{key}.json" if directory else None)
        await account.read_disk()
        account.refresh(self._transport, settings)
        return account.catalog

    def problems(self) -> list[Problem]:
        """Why the catalog or the presets could not be fetched, as of now."""
        reason = self._account.problem if self._account else ""
        return [Problem("", "", reason)] if reason else []


class _Account:
    """What is known of one account, and its refresh: never two at once, and with growing pauses after failures."""

    def __init__(self, key: str, path: Path | None) -> None:
        self.key = key
        self.catalog: Catalog | None = None
        self.problem = ""
        self._path = path
        self._presets: tuple[Preset, ...] = ()
        # Unix time, 0 = never.
        self._rows_at = 0.0
        self._presets_at = 0.0
        self._reading = asyncio.Lock()
        self._is_read = False
        self._task: asyncio.Task[None] | None = None
        self._rows_tried = asyncio.Event()
        self._failures = 0
        # By the clock of the event loop.
        self._started = 0.0
        self._next_try = 0.0

    async def read_disk(self) -> None:
        """Take the copy on disk, once; concurrent callers wait for the same read."""
        async with self._reading:
            if not self._is_read and self._path is not None:
                await asyncio.to_thread(self._load, self._path)
            self._is_read = True

    def refresh(self, transport: Transport, settings: Settings) -> None:
        """Fetch in the background what is due, unless that runs already or failed a moment ago."""
        wants_presets = settings.publishing.wants_presets and _is_stale(self._presets_at, settings)
        wants_rows = self.catalog is None or _is_stale(self._rows_at, settings)
        loop = asyncio.get_running_loop()
        if self._task is None and (wants_rows or wants_presets) and loop.time() >= self._next_try:
            self._started = loop.time()
            self._rows_tried.clear()
            self._task = loop.create_task(self._run(transport, settings, wants_rows, wants_presets))

    async def wait(self) -> None:
        """Wait until the rows are here, or a refresh has tried for so long or failed; it goes on then."""
        try:
            async with asyncio.timeout_at(self._started + _LIST_WAITS_SECONDS):
                await self._rows_tried.wait()
        except TimeoutError:
            wait = f"{_LIST_WAITS_SECONDS:g} s"
            self.problem = self.problem or f"the models have not come within {wait}; they are listed once they have"

    async def _run(self, transport: Transport, settings: Settings, wants_rows: bool, wants_presets: bool) -> None:
        problem = ""
        try:
            if wants_rows:
                catalog = await _fetch_catalog(transport, settings)
                self._rows_at = time.time()
                await self._keep(catalog)
            if wants_presets and self.catalog is not None:
                self._presets = await _fetch_presets(transport, settings)
                self._presets_at = time.time()
                await self._keep(self.catalog)
        except PipeError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - nobody awaits this task: a surprise must not end refreshing for good
            log.exception("Refreshing the catalog failed")
            problem = f"refreshing the catalog failed ({type(error).__name__})"
        finally:
            self._task = None
            self._rows_tried.set()
        self.problem = problem
        pause = min(_FIRST_PAUSE_SECONDS * 2**self._failures, _LONGEST_PAUSE_SECONDS) if problem else 0.0
        self._next_try = asyncio.get_running_loop().time() + pause
        self._failures = min(self._failures + 1, 20) if problem else 0

    async def _keep(self, catalog: Catalog) -> None:
        """Show this catalog, with the presets of the account, and store it."""
        self.catalog = catalog.with_presets(self._presets) if self._presets_at else catalog
        self.problem = ""
        self._rows_tried.set()
        if self._path is not None:
            await asyncio.to_thread(self._store, self._path, self.catalog)

    def _load(self, path: Path) -> None:
        """Take what is stored, if there is a good copy."""
        try:
            stored = parse_json(path.read_bytes())
            if stored["format"] != _FORMAT:
                return
            catalog = Catalog.from_rows(stored["rows"], int(stored["left_out"]))
            presets = tuple(filter(None, map(parse_preset, stored["presets"])))
            rows_at, presets_at = float(stored["rows_at"]), float(stored["presets_at"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("The stored catalog cannot be used: %s", type(error).__name__)
            return
        if catalog.models:
            self._presets, self._rows_at, self._presets_at = presets, rows_at, presets_at
            self.catalog = catalog.with_presets(presets) if presets_at else catalog

    def _store(self, path: Path, catalog: Catalog) -> None:
        """Replace the stored catalog in one step; readable by its user only."""
        rows = [row.as_row() for row in catalog.models.values()] + [row.as_model_row() for row in catalog.row_presets]
        content = dump_json(
            {
                "format": _FORMAT,
                "rows_at": self._rows_at,
                "presets_at": self._presets_at,
                "left_out": catalog.left_out,
                "rows": rows,
                "presets": [preset.as_row() for preset in self._presets],
            }
        )
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                Path(name).replace(path)
            finally:
                # Still there when it could not be written or moved.
                Path(name).unlink(missing_ok=True)
        except OSError as error:
            log.warning("The catalog cannot be stored in %s: %s", path.parent, error.strerror)


def _is_stale(fetched_at: float, settings: Settings) -> bool:
    # A time in the future means that the clock was set back since: fetch again rather than never.
    return not 0 <= time.time() - fetched_at < settings.refresh_seconds


async def _get(transport: Transport, settings: Settings, path: str) -> Any:
    """The answer to a GET; None where there is no such path."""
    try:
        return await transport.get_json(settings, path, _FETCH_SECONDS)
    except UpstreamError as error:
        if error.failure.status not in _NO_SUCH_PATH:
            raise
    return None


async def _fetch_catalog(transport: Transport, settings: Settings) -> Catalog:
    """The models that this key may use, and which of them have an endpoint with zero data retention, if that matters."""
    zdr_only = settings.publishing.zdr_only
    paths = ("/models/user", "/models?zdr=true")[: 1 + zdr_only]
    answers = await asyncio.gather(*(_get(transport, settings, path) for path in paths))
    if answers[0] is None:
        answers[0] = await transport.get_json(settings, "/models", _FETCH_SECONDS)
    lists: list[Any] = [answer.get("data") if isinstance(answer, dict) else answer for answer in answers]
    if not all(isinstance(rows, list) for rows in lists):
        raise SettingsError(f"{settings.base_url} did not send a list of models. Check the valve BASE_URL.")
    rows = lists[0]
    if zdr_only:
        ids = {str(row.get("id")) for row in lists[1] if isinstance(row, dict)}
        rows = [{**row, "has_zdr": str(row.get("id")) in ids} for row in rows if isinstance(row, dict)]
    catalog = await asyncio.to_thread(Catalog.from_rows, rows)
    if not catalog.models:
        raise SettingsError(f"{settings.base_url} lists no models that can chat.")
    return catalog


async def _fetch_presets(transport: Transport, settings: Settings) -> tuple[Preset, ...]:
    """The active presets of the account, each with the model it names. A gateway without presets has none.

    Shapes: OpenRouter answers `{"data": […], "total_count": n}`, others `{"presets": […]}` or a bare list.
    """
    rows: list[Any] = []
    for _ in range(_MAX_PRESET_PAGES):
        answer = await _get(transport, settings, f"/presets?offset={len(rows)}&limit={_PRESETS_PER_PAGE}")
        total = answer.get("total_count") if isinstance(answer, dict) else None
        page = (answer.get("data") or answer.get("presets")) if isinstance(answer, dict) else answer
        new = [row for row in page if row not in rows] if isinstance(page, list) else []
        rows += new
        # A gateway that does not page sends the same list again: nothing new is the end as well.
        if not new or not isinstance(total, int) or len(rows) >= total:
            break
    gate = asyncio.Semaphore(_PRESETS_AT_ONCE)
    active = filter(None, map(parse_preset, rows))
    return tuple(await asyncio.gather(*(_with_model(transport, settings, gate, preset) for preset in active)))


async def _with_model(transport: Transport, settings: Settings, gate: asyncio.Semaphore, preset: Preset) -> Preset:
    """The preset with the model that its own page names; unchanged where there is no such page."""
    if preset.model_id:
        return preset
    async with gate:
        try:
            answer = await transport.get_json(settings, f"/presets/{quote(preset.slug)}", _FETCH_SECONDS)
        except PipeError:
            return preset
    row = (answer.get("data") or answer.get("preset") or answer) if isinstance(answer, dict) else None
    return parse_preset(row) or preset
