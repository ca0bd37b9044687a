"""The cached catalog: memory, then what the workers share, then the network.

A stale copy beats a failure, and nobody waits for a refresh.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from typing import Any

from .catalog import Catalog, Preset, parse_preset
from .codec import JsonObject, dicts, mapping, texts_in
from .errors import PipeError, UpstreamError
from .problems import Problem, log_surprise
from .settings import Settings
from .shared import LOOK_AGAIN_SECONDS, read_shared, shared_lock, write_shared
from .transport import Transport

_LIST_WAITS_SECONDS = 5.0
# Storing the catalog can wait; what waits for the list cannot.
_STORE_AFTER_SECONDS = 0.05
_FETCH_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 600.0
_PRESETS_PER_PAGE = 100
_MAX_PRESETS = 2_000
_PRESETS_AT_ONCE = 4
# Of a gateway without such a path.
_NO_SUCH_PATH = (404, 405, 501)


class CatalogStore:
    """Keeps the catalog of the account in use. A change of `API_KEY` or `BASE_URL`, or whether ZDR matters, is another one."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._account = _Account(transport, "")

    @property
    def fetched_at(self) -> float:
        """When the catalog was fetched (Unix time); 0: never."""
        return self._account.fetched_at

    def problems(self) -> list[Problem]:
        """Why the catalog or the presets could not be fetched, as of now."""
        return [Problem("", "", self._account.problem)] if self._account.problem else []

    async def catalog_for_list(self, settings: Settings) -> Catalog | None:
        """The catalog for the model list. Waits for the network, 5 s at most, only when nothing at all is known."""
        catalog = await self.catalog_for_chat(settings)
        account = self._account
        if catalog is None and account.key:
            await account.wait()
        return account.catalog

    async def catalog_for_chat(self, settings: Settings) -> Catalog | None:
        """The catalog from memory or the shared copy, None when unknown. A refresh that is due starts in the background."""
        key = ""
        if settings.api_key and settings.base_url:
            text = f"{settings.base_url}\0{settings.api_key}\0{settings.publishing.zdr_only}"
            key = hashlib.sha256(text.encode()).hexdigest()[:16]
        if self._account.key != key:
            self._account = _Account(self._transport, key)
        account = self._account
        if key:
            if not account.reading.done():
                # Never raises: what keeps the copy from being read may have passed when it is fetched.
                await asyncio.wait({account.reading})
            account.refresh(settings)
        return account.catalog


class _Account:
    """What is known of one account, and its refresh: never two at once, with growing pauses after failures."""

    # As of the latest call.
    _settings: Settings

    def __init__(self, transport: Transport, key: str) -> None:
        self.key = key
        self.catalog: Catalog | None = None
        self.fetched_at = 0.0
        self.problem = ""
        self._transport = transport
        self._name = f"catalog-{key}.json"
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._pause = 0.0
        # By the clock of the event loop.
        self._next_try = 0.0

    @cached_property
    def reading(self) -> asyncio.Task[None]:
        """Takes the copy that an earlier run or another worker left, once."""
        return asyncio.create_task(self._take_copy())

    def refresh(self, settings: Settings) -> None:
        """Fetch in the background when that is due, unless it is under way or failed a moment ago."""
        self._settings, loop = settings, asyncio.get_running_loop()
        if self._is_due() and loop.time() >= self._next_try and (self._task is None or self._task.done()):
            self._tried.clear()
            self._task = loop.create_task(self._run())

    def _is_due(self) -> bool:
        known, age = self.catalog, time.time() - self.fetched_at
        has_all = known and (known.knows_presets or not self._settings.publishing.wants_presets)
        # A time in the future means that the clock was set back since: fetch again rather than never.
        return not (has_all and 0 <= age < self._settings.MODEL_CATALOG_REFRESH_SECONDS)

    async def _take_copy(self) -> None:
        """Take the shared copy, unless what is known is newer."""
        content = await read_shared(self._name)
        copy = await asyncio.to_thread(_catalog_in, content) if content else None
        if copy and copy[1] >= self.fetched_at:
            self.catalog, self.fetched_at = copy

    async def wait(self) -> None:
        """Wait until the rows are here or cannot be had; after 5 s nobody waits any more, and the refresh goes on."""
        try:
            async with asyncio.timeout(_LIST_WAITS_SECONDS):
                # Another worker's rows are here before its presets are.
                while not (self._tried.is_set() or self.catalog):
                    try:
                        await asyncio.wait_for(self._tried.wait(), LOOK_AGAIN_SECONDS)
                    except TimeoutError:
                        await self._take_copy()
        except TimeoutError:
            self._tried.set()
            late = f"the models have not come within {_LIST_WAITS_SECONDS:g} s; they are listed once they have"
            self.problem = self.problem or late

    async def _run(self) -> None:
        problem = ""
        try:
            async with shared_lock("catalog"):
                # Another worker may have been faster.
                await self._take_copy()
                if self._is_due():
                    await self._fetch()
        except PipeError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - nobody awaits this task: a surprise has to be told all the same
            log_surprise("Refreshing the catalog failed")
            problem = f"refreshing the catalog failed ({type(error).__name__})"
        self.problem = problem
        self._pause = min(2 * self._pause or _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS) if problem else 0.0
        self._next_try = asyncio.get_running_loop().time() + self._pause
        self._tried.set()

    async def _fetch(self) -> None:
        catalog = await self._fetch_rows()
        self.fetched_at = time.time()
        known = self.catalog or catalog
        # The presets of the last time stay until they are here anew.
        await self._keep(catalog.with_presets(known.presets) if known.knows_presets else catalog)
        if self._settings.publishing.wants_presets:
            await self._keep(catalog.with_presets(await self._fetch_presets(known.presets)))

    async def _keep(self, catalog: Catalog) -> None:
        if self.catalog is None:
            # What a list has waited for in vain is here now.
            self.problem = ""
        self.catalog = catalog
        self._tried.set()
        await asyncio.sleep(_STORE_AFTER_SECONDS)
        content = {
            "fetched_at": self.fetched_at,
            "rows": [model.row for model in catalog.models.values()],
            "presets": catalog.presets,
            "left_out": catalog.left_out,
            "knows_presets": catalog.knows_presets,
        }
        await write_shared(self._name, content)

    async def _get(self, path: str) -> Any:
        """The `data` of a GET, empty where it has none; None where there is no such path."""
        try:
            return mapping(await self._transport.get_json(self._settings, path, _FETCH_SECONDS)).get("data", ())
        except UpstreamError as error:
            if error.status in _NO_SUCH_PATH:
                return None
            raise

    async def _fetch_rows(self) -> Catalog:
        """The models that this key may use, and which of them have an endpoint with zero data retention, if that matters."""
        rows = await self._get("/models/user")
        if rows is None:
            rows = await self._get("/models")
        if self._settings.publishing.zdr_only:
            ids = {*texts_in(await self._get("/models?zdr=true"), "id")}
            rows = [{**row, "has_zdr": str(row.get("id")) in ids} for row in dicts(rows)]
        catalog = await asyncio.to_thread(Catalog.from_rows, dicts(rows))
        if not any(model.has_zdr for model in catalog.models.values()):
            where = self._settings.base_url
            raise PipeError(f"{where} sent no list of models that can be used. Check the valve BASE_URL.")
        return catalog

    async def _fetch_presets(self, known: Iterable[Preset]) -> Iterable[Preset]:
        """The active presets of the account, each with the model that its own page names; what does not come is as `known`."""
        rows: list[object] = []
        for offset in range(0, _MAX_PRESETS, _PRESETS_PER_PAGE):
            found = await self._get(f"/presets?offset={offset}&limit={_PRESETS_PER_PAGE}")
            if not isinstance(found, list):
                return known
            rows += found
            if len(found) < _PRESETS_PER_PAGE:
                break
        gate = asyncio.Semaphore(_PRESETS_AT_ONCE)
        models = {preset.slug: preset.model_id for preset in known}

        async def with_model(preset: Preset) -> Preset:
            page = None
            async with gate:
                with suppress(PipeError):
                    page = await self._get(f"/presets/{preset.slug}")
            return parse_preset(page) or preset._replace(model_id=models.get(preset.slug))

        return await asyncio.gather(*map(with_model, filter(None, map(parse_preset, rows))))


def _catalog_in(content: JsonObject) -> tuple[Catalog, float] | None:
    """The stored catalog and when it was fetched; None when it is no good copy."""
    with suppress(ValueError, KeyError, TypeError):
        models = Catalog.from_rows(content["rows"]).models
        presets = tuple(Preset(*row) for row in content["presets"])
        if models:
            return Catalog(models, presets, content["left_out"], content["knows_presets"]), float(content["fetched_at"])
    return None
