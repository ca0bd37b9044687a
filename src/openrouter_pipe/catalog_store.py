"""The cached catalog: memory, then disk, then the network. A stale copy beats a failure, and nobody waits for a refresh."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
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
# What is stored: rows, the account's presets (None: not asked for), and when either was fetched.
_State = tuple[Catalog, tuple[Preset, ...] | None, float, float]
# Statuses of a gateway that has no such path; 401 and 403 mean that the key may not.
_NO_SUCH_PATH = (404, 405, 501)


class CatalogStore:
    """Keeps the catalog of the account in use. A change of `API_KEY` or `BASE_URL`, or whether ZDR matters, is another one."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._account: _Account | None = None

    async def catalog_for_list(self, settings: Settings, directory: Path | None) -> Catalog | None:
        """The catalog for the model list. Waits for the network, 5 s at most, only when nothing at all is known."""
        account = await self._account_of(settings, directory)
        if account is None:
            return None
        if account.catalog is None:
            await account.rows.wait(_LIST_WAITS_SECONDS)
        return account.catalog

    async def catalog_for_chat(self, settings: Settings, directory: Path | None) -> Catalog | None:
        """The catalog from memory or disk, None when unknown. A refresh that is due starts in the background."""
        account = await self._account_of(settings, directory)
        return account.catalog if account else None

    async def _account_of(self, settings: Settings, directory: Path | None) -> _Account | None:
        """What is known of the account in use, its refresh started if it is due; None without a key or an address."""
        if not settings.api_key or not settings.base_url:
            self._account = None
            return None
        zdr = settings.publishing.zdr_only
        key = hashlib.sha256(f"{settings.base_url}\0{settings.api_key}\0{zdr}".encode()).hexdigest()[:16]
        account = self._account
        if account is None or account.key != key:
            path = directory / f"catalog-{key}.json" if directory else None
            account = self._account = _Account(key, path)
        await account.read_disk()
        account.refresh(self._transport, settings)
        return account

    def problems(self) -> list[Problem]:
        """Why the catalog or the presets could not be fetched, as of now."""
        account = self._account
        jobs = (account.rows, account.presets) if account else ()
        return [job.problem for job in jobs if job.problem is not None]


class _Job:
    """One thing to fetch: never twice at once, and with growing pauses after failures."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.problem: Problem | None = None
        self._failures = 0
        self._next_try = 0.0
        self._started = 0.0

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` in the background, unless it runs already or failed a moment ago."""
        if self.task is None and time.monotonic() >= self._next_try:
            self._started = time.monotonic()
            self.task = asyncio.get_running_loop().create_task(self._run(work))

    async def wait(self, seconds: float) -> None:
        """Wait until the running work is done, or has run for so long; it goes on then."""
        if self.task is None:
            return
        await asyncio.wait({self.task}, timeout=max(0.0, self._started + seconds - time.monotonic()))
        if self.task is not None and self.problem is None:
            self.problem = Problem(
                "", "", f"the models have not come within {seconds:g} s; they are listed once they have"
            )

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
            self._failures, self.problem = 0, None
        except PipeError as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - nobody awaits this task: a surprise must not end refreshing for good
            log.exception("Refreshing the catalog failed")
            self._fail(f"refreshing the catalog failed ({type(error).__name__})")
        finally:
            self.task = None

    def _fail(self, reason: str) -> None:
        pause = min(_FIRST_PAUSE_SECONDS * 2**self._failures, _LONGEST_PAUSE_SECONDS)
        self._failures = min(self._failures + 1, 20)
        self._next_try = time.monotonic() + pause
        self.problem = Problem("", "", reason)


class _Account:
    """What is known of one account: its rows and presets, when they were fetched (Unix time, 0 = never)."""

    def __init__(self, key: str, path: Path | None) -> None:
        self.key = key
        self.catalog: Catalog | None = None
        self.rows = _Job()
        self.presets = _Job()
        self._path = path
        # The presets of the account; None until they were asked for.
        self._presets: tuple[Preset, ...] | None = None
        self._rows_at = 0.0
        self._presets_at = 0.0
        self._disk: asyncio.Task[None] | None = None
        self._saving = asyncio.Lock()

    async def read_disk(self) -> None:
        """Take the copy on disk, once; concurrent callers wait for the same read."""
        if self._disk is None:
            self._disk = asyncio.get_running_loop().create_task(self._read_copy())
        if not self._disk.done():
            await asyncio.wait({self._disk})

    def refresh(self, transport: Transport, settings: Settings) -> None:
        """Start what is due."""
        if self.catalog is None or _is_stale(self._rows_at, settings):
            self.rows.start(lambda: self._fetch_rows(transport, settings))
        if settings.publishing.wants_presets and _is_stale(self._presets_at, settings):
            self.presets.start(lambda: self._fetch_presets(transport, settings))

    async def _read_copy(self) -> None:
        if self._path is None:
            return
        stored = await asyncio.to_thread(_read_file, self._path)
        if stored is not None:
            self.catalog, self._presets, self._rows_at, self._presets_at = stored
            self._add_presets()

    async def _fetch_rows(self, transport: Transport, settings: Settings) -> None:
        if settings.publishing.zdr_only:
            rows, zdr_rows = await asyncio.gather(
                _get_rows(transport, settings), _get_list(transport, settings, "/models?zdr=true")
            )
            rows = _with_zdr(rows, zdr_rows)
        else:
            rows = await _get_rows(transport, settings)
        catalog = await asyncio.to_thread(Catalog.from_rows, rows)
        if not catalog.models:
            raise SettingsError(f"{settings.base_url} lists no models that can chat.")
        self.catalog, self._rows_at = catalog, time.time()
        self._add_presets()
        await self._save()

    async def _fetch_presets(self, transport: Transport, settings: Settings) -> None:
        self._presets = tuple(await _get_presets(transport, settings))
        self._presets_at = time.time()
        self._add_presets()
        await self._save()

    def _add_presets(self) -> None:
        if self.catalog is not None and self._presets is not None:
            self.catalog = self.catalog.with_presets(self._presets)

    async def _save(self) -> None:
        if self._path is None:
            return
        # One after the other, and what is known then: rows and presets may arrive together.
        async with self._saving:
            if self.catalog is not None:
                state = (self.catalog, self._presets, self._rows_at, self._presets_at)
                await asyncio.to_thread(_write_file, self._path, state)


def _is_stale(fetched_at: float, settings: Settings) -> bool:
    # A time in the future means that the clock was set back since: fetch again rather than never.
    return not 0 <= time.time() - fetched_at < settings.refresh_seconds


async def _get_rows(transport: Transport, settings: Settings) -> list[Any]:
    """The rows that this key may use; where that list is not known, all rows."""
    try:
        return await _get_list(transport, settings, "/models/user")
    except UpstreamError as error:
        if error.failure.status not in (404, 405):
            raise
    return await _get_list(transport, settings, "/models")


async def _get_list(transport: Transport, settings: Settings, path: str) -> list[Any]:
    answer = await transport.get_json(settings, path, _FETCH_SECONDS)
    rows = answer.get("data") if isinstance(answer, dict) else answer
    if not isinstance(rows, list):
        raise SettingsError(f"{settings.base_url} did not send a list of models. Check the valve BASE_URL.")
    return rows


def _with_zdr(rows: list[Any], zdr_rows: list[Any]) -> list[Any]:
    """The rows, each with whether it is also in the list of models that have an endpoint with zero data retention."""
    ids = {str(row.get("id")) for row in zdr_rows if isinstance(row, dict)}
    return [{**row, "has_zdr": str(row.get("id")) in ids} for row in rows if isinstance(row, dict)]


async def _get_presets(transport: Transport, settings: Settings) -> list[Preset]:
    """The active presets of the account, each with the model it names. A gateway without presets has none.

    Shapes: OpenRouter answers `{"data": […], "total_count": n}`, others `{"presets": […]}` or a bare list.
    """
    rows: list[Any] = []
    try:
        for _ in range(_MAX_PRESET_PAGES):
            path = f"/presets?offset={len(rows)}&limit={_PRESETS_PER_PAGE}"
            answer = await transport.get_json(settings, path, _FETCH_SECONDS)
            page = (answer.get("data") or answer.get("presets")) if isinstance(answer, dict) else answer
            page = page if isinstance(page, list) else []
            new = [row for row in page if row not in rows]
            rows += new
            total = answer.get("total_count") if isinstance(answer, dict) else None
            # A gateway that does not page sends the same list again: nothing new is the end as well.
            if not new or not isinstance(total, int) or len(rows) >= total:
                break
    except UpstreamError as error:
        if error.failure.status not in _NO_SUCH_PATH:
            raise
    active = [preset for preset in map(parse_preset, rows) if preset is not None]
    gate = asyncio.Semaphore(_PRESETS_AT_ONCE)
    return await asyncio.gather(*(_with_model(transport, settings, gate, preset) for preset in active))


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


def _read_file(path: Path) -> _State | None:
    """What is stored; None when there is no good copy."""
    try:
        stored = parse_json(path.read_bytes())
        if stored["format"] != _FORMAT:
            return None
        presets = [preset for preset in map(parse_preset, stored["presets"]) if preset is not None]
        catalog = Catalog.from_rows(stored["rows"], int(stored["left_out"]))
        rows_at, presets_at = float(stored["rows_at"]), float(stored["presets_at"])
        return (catalog, tuple(presets) if presets_at else None, rows_at, presets_at) if catalog.models else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("The stored catalog cannot be used: %s", type(error).__name__)
        return None


def _write_file(path: Path, state: _State) -> None:
    """Replace the stored catalog in one step; readable by its user only."""
    catalog, presets, rows_at, presets_at = state
    rows = [row.as_row() for row in catalog.models.values()] + [row.as_model_row() for row in catalog.row_presets]
    content = dump_json(
        {
            "format": _FORMAT,
            "rows_at": rows_at,
            "presets_at": presets_at,
            "left_out": catalog.left_out,
            "rows": rows,
            "presets": [preset.as_row() for preset in presets or ()],
        }
    )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(name).replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        log.warning("The catalog cannot be stored in %s: %s", path.parent, error.strerror)
