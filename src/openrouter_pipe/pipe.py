"""`class Pipe`: what Open WebUI calls. Wiring only."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from functools import partial

from starlette.responses import StreamingResponse

from . import __version__
from .answer import SURPRISE, Answer, Emitter
from .catalog import Catalog, Model
from .catalog_store import CatalogStore
from .chunks import DONE, ChunkWriter, error_body, error_event
from .codec import JsonDict, JsonObject, mapping
from .direct_files import taken_kinds, with_files
from .errors import PipeError, plain
from .model_ref import ROUTING_TAGS, ModelRef
from .parameters import Endpoint
from .problems import Problem, log, log_surprise
from .requests import ChatContext, UpstreamRequest, build_request
from .row_keeper import RowKeeper
from .settings import Settings, UserValves
from .status_report import status_report
from .transport import Transport
from .virtual_models import Published
from .webui import host_secret, read_chat_files, shared_by_rounds

_MAX_LOGGED_PROBLEMS = 50
_REMEMBERED_ERRORS = 20
_STATUS_ID = "status"
_STATUS_NAME = "OpenRouter: Status"
_KEY_SECONDS = 5.0
# How long a model's other endpoint is remembered.
_ENDPOINT_SECONDS = 3_600.0
_SET_KEY = "no models: set the valve API_KEY"
_ASK = "no models: ask it why"


class Pipe:
    """OpenRouter in Open WebUI. One instance serves all chats of a worker, so it holds nothing of a single one."""

    Valves = Settings
    UserValves = UserValves

    def __init__(self) -> None:
        self.valves = Settings()
        self._transport = Transport()
        self._store = CatalogStore(self._transport)
        self._rows = RowKeeper(self._transport)
        self._published: Published | None = None
        self._publishing = asyncio.Lock()
        self._list: tuple[Published | None, object, list[dict[str, str]]] | None = None
        self._logged: frozenset[str] = frozenset()
        self._endpoints: dict[str, tuple[Endpoint, float]] = {}
        self._errors: deque[tuple[float, str]] = deque(maxlen=_REMEMBERED_ERRORS)

    async def pipes(self) -> list[dict[str, str]]:
        """The models that Open WebUI lists: `id` (without the function id) and `name`. Never raises."""
        try:
            settings = self.valves
            published = await self._publish(settings, await self._store.catalog_for_list(settings))
            self._log_new(self._problems(settings, published))
            if published is not None:
                await self._rows.keep(self, published, settings)
            return self._entries(published, settings)
        except Exception:  # noqa: BLE001
            # Open WebUI awaits every pipe's list in turn: this must not cost the others theirs.
            log_surprise("The list of models could not be made")
            return []

    async def pipe(
        self,
        body: JsonDict,
        __user__: JsonObject | None = None,
        __chat_id__: str | None = None,
        __task__: str | None = None,
        __event_emitter__: Emitter | None = None,
        __metadata__: JsonObject | None = None,
    ) -> StreamingResponse | JsonDict:
        """Answer one chat: a stream of `chat.completion.chunk` events, or one `chat.completion` object."""
        user, task, streaming = __user__ or {}, str(__task__ or ""), bool(body.get("stream"))
        webui_id = str(body.get("model")).partition(".")[2]
        try:
            if webui_id == _STATUS_ID:
                writer, report = ChunkWriter(str(body["model"])), {"content": await self._tell_status(user, task)}
                if streaming:
                    return _stream(writer.delta(report), writer.finish("stop"))
                return writer.completion([report], "stop", None)
            answer = await self._answer(
                body,
                webui_id,
                user,
                ChatContext(__chat_id__ or "", str(user.get("id") or ""), host_secret() or self.valves.API_KEY, task),
                __event_emitter__,
                __metadata__ or {},
            )
        except PipeError as error:
            self._note(str(error))
            return _error_answer(str(error), streaming)
        except Exception:  # noqa: BLE001
            # Open WebUI would show the bare exception, or lose the message.
            log_surprise("A chat could not be started")
            return _error_answer(SURPRISE, streaming)
        if streaming:
            return StreamingResponse(answer.events(), media_type="text/event-stream")
        return await answer.completion()

    async def _answer(
        self,
        body: JsonObject,
        webui_id: str,
        user: JsonObject,
        context: ChatContext,
        emit: Emitter | None,
        metadata: JsonObject,
    ) -> Answer:
        # The list and what may be called of it are the admin's, whoever asks.
        own, listing = user.get("valves"), self.valves
        own = own if isinstance(own, UserValves) else UserValves()
        settings = own.over(listing)
        if not settings.api_key:
            raise PipeError("No usable OpenRouter key is set. An admin can set the valve API_KEY of this function.")
        ref, model = await self._resolve(webui_id, listing, own.PREFERRED_VARIANT)
        rounds = shared_by_rounds(metadata)
        kinds = None if context.task else taken_kinds(model, settings)
        files, line = ({}, "") if kinds is None else await read_chat_files(kinds, metadata, context.user_id, rounds)
        body = {**body, "messages": with_files(body.get("messages"), files)} if files else body
        build = partial(build_request, body, ref, model, settings, context)
        request = build(self._served_on(ref.api_id))
        left_out = ", ".join(request.left_out) or "-"
        log.debug("endpoint: %s, api_model_id: %s, left out: %s", request.endpoint, request.body["model"], left_out)

        def rebuild() -> UpstreamRequest:
            other: Endpoint = "responses" if request.endpoint == "chat_completions" else "chat_completions"
            self._endpoints[ref.api_id] = (other, time.monotonic() + _ENDPOINT_SECONDS)
            return build(other)

        switch = rebuild if settings.ENDPOINT == "auto" else None
        answer = Answer(self._transport, settings, request, str(body["model"]), emit, rounds, self._note, switch)
        await answer.show(line)
        return answer

    def _served_on(self, api_id: str) -> Endpoint | None:
        """The endpoint that a model was found to need a while ago."""
        endpoint, until = self._endpoints.get(api_id, (None, 0.0))
        return endpoint if time.monotonic() < until else None

    async def _resolve(self, webui_id: str, settings: Settings, preferred: str) -> tuple[ModelRef, Model | None]:
        """The model meant by an id, and its row. The published list decides where it is known; else the id is enough."""
        ref = ModelRef.from_webui(webui_id)
        if not ref.base and ref.preset is None:
            raise PipeError("No model is chosen. Choose one in the model selector.")
        published = await self._publish(settings, await self._store.catalog_for_chat(settings))
        listed = published.by_webui_id if published else {}
        entry = listed.get(webui_id) or listed.get(ref.webui_id)
        if published is not None and entry is None:
            published.refuse(ref)
        ref = entry.ref if entry else ref
        if preferred != "none" and ref.base and not ref.variants and ref.preset is None:
            wanted = ref._replace(variants=(preferred,))
            if preferred in ROUTING_TAGS or wanted.webui_id in listed:
                ref, entry = wanted, listed.get(wanted.webui_id, entry)
        return ref, entry.model if entry else None

    async def _tell_status(self, user: JsonObject, task: str) -> str:
        if user.get("role") != "admin":
            raise PipeError("The status model answers admins only. Choose another model.")
        if task:
            # A title, tags: there is nothing to say about it.
            return "{}"
        settings = self.valves
        published = await self._publish(settings, await self._store.catalog_for_list(settings))
        key: JsonObject | str = "none"
        if settings.api_key:
            try:
                key = mapping(mapping(await self._transport.get_json(settings, "/key", _KEY_SECONDS)).get("data"))
            except PipeError as error:
                key = str(error)
        problems, at = self._problems(settings, published), self._store.fetched_at
        return status_report(__version__, key, published, at, problems, self._errors, time.time())

    def _problems(self, settings: Settings, published: Published | None) -> tuple[Problem, ...]:
        return (*settings.problems(), *self._store.problems(), *(published.problems if published else ()))

    def _note(self, error: str) -> None:
        self._errors.append((time.time(), error))

    async def _publish(self, settings: Settings, catalog: Catalog | None) -> Published | None:
        """The published list for these valves, made anew in a thread when something has changed."""
        publishing = settings.publishing
        # Once for all who ask at once.
        async with self._publishing:
            known = self._published
            if catalog and (known is None or known.catalog is not catalog or known.publishing != publishing):
                known = self._published = await asyncio.to_thread(Published, catalog, publishing)
        return known if catalog else None

    def _entries(self, published: Published | None, settings: Settings) -> list[dict[str, str]]:
        """The list, the status model last: Open WebUI opens a new chat with the first one."""
        status = _STATUS_NAME if published else f"{_STATUS_NAME} ({_ASK if settings.api_key else _SET_KEY})"
        style = (settings.NAME_PREFIX, settings.STATUS_MODEL, status)
        if self._list is None or self._list[0] is not published or self._list[1] != style:
            names = [(entry.webui_id, entry.name) for entry in published.entries] if published else []
            names += [(_STATUS_ID, status)] if settings.STATUS_MODEL else []
            entries = [{"id": webui_id, "name": settings.NAME_PREFIX + name} for webui_id, name in names]
            self._list = (published, style, entries)
        return self._list[2]

    def _log_new(self, problems: tuple[Problem, ...]) -> None:
        texts = [plain(str(problem)) for problem in problems[:_MAX_LOGGED_PROBLEMS]]
        if len(problems) > len(texts):
            texts.append(f"… and {len(problems) - len(texts)} more problems")
        for text in texts:
            if text not in self._logged:
                log.warning("%s", text)
        self._logged = frozenset(texts)


def _stream(*events: bytes) -> StreamingResponse:
    return StreamingResponse(iter((*events, DONE)), media_type="text/event-stream")


def _error_answer(message: str, streaming: bool) -> StreamingResponse | JsonDict:
    return _stream(error_event(message)) if streaming else error_body(message)
