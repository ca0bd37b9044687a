"""`class Pipe`: what Open WebUI calls. Wiring only."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from functools import partial

from starlette.responses import StreamingResponse

from . import __version__
from .answer import SURPRISE, Answer, Emitter
from .catalog import UNKNOWN, Catalog, Model
from .catalog_store import CatalogStore
from .chunks import DONE, error_body, error_event
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
_KEY_SECONDS = 5.0
# How long a model's other endpoint is remembered.
_ENDPOINT_SECONDS = 3_600.0


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
        # What the list was made of, and the list.
        self._list: tuple[Published | None, Settings | None, list[dict[str, str]]] = (None, None, [])
        self._logged: tuple[Problem, ...] = ()
        self._endpoints: dict[str, tuple[Endpoint, float]] = {}
        self._errors: deque[tuple[float, str]] = deque(maxlen=_REMEMBERED_ERRORS)

    async def pipes(self) -> list[dict[str, str]]:
        """The models that Open WebUI lists: `id` (without the function id) and `name`. Never raises."""
        try:
            settings = self.valves
            published = await self._publish(settings, await self._store.catalog_for_list(settings))
            self._log_new(self._problems(settings, published))
            if published:
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
    ) -> StreamingResponse | JsonDict | str:
        """Answer one chat: a stream of `chat.completion.chunk` events, or one `chat.completion` object.

        The status model answers with a text, of which Open WebUI makes either.
        """
        user, task, streaming = __user__ or {}, __task__ or "", body.get("stream")
        try:
            webui_id = body["model"].partition(".")[2]
            if webui_id == _STATUS_ID:
                return await self._tell_status(user, task)
            secret = host_secret() or self.valves.API_KEY
            context = ChatContext(__chat_id__ or "", user.get("id", ""), secret, task)
            answer = await self._answer(body, webui_id, user, context, __event_emitter__, __metadata__ or {})
            if not streaming:
                return await answer.completion()
            return StreamingResponse(answer.events(), media_type="text/event-stream")
        except PipeError as error:
            message = str(error)
            self._note(message)
        except Exception:  # noqa: BLE001
            # Open WebUI would show the bare exception, or lose the message.
            log_surprise("A chat could not be started")
            message = SURPRISE
        if not streaming:
            return error_body(message)
        return StreamingResponse(iter((error_event(message), DONE)), media_type="text/event-stream")

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
        own, listing = user.get("valves") or UserValves(), self.valves
        settings = own.over(listing)
        if not settings.api_key:
            raise PipeError("No usable OpenRouter key is set. An admin can set the valve API_KEY of this function.")
        ref, model = await self._resolve(webui_id, listing, own.PREFERRED_VARIANT)
        rounds = shared_by_rounds(metadata)
        kinds = None if context.task else taken_kinds(model, settings)
        files, line = ({}, "") if kinds is None else await read_chat_files(kinds, metadata, context.user_id, rounds)
        body = {**body, "messages": with_files(body.get("messages"), files)} if files else body
        build = partial(build_request, body, ref, model, settings, context)

        def requests() -> Iterator[UpstreamRequest]:
            """The request, and the one for the other endpoint; that it was needed is remembered for a while."""
            served_on, until = self._endpoints.get(ref.api_id, (None, 0.0))
            request = build(served_on if time.monotonic() < until else None)
            log.debug(
                "endpoint: %s, api_model_id: %s, left out: %s",
                request.endpoint,
                request.body["model"],
                request.left_out,
            )
            yield request
            if settings.ENDPOINT == "auto":
                other: Endpoint = "responses" if request.endpoint == "chat_completions" else "chat_completions"
                self._endpoints[ref.api_id] = (other, time.monotonic() + _ENDPOINT_SECONDS)
                yield build(other)

        answer = Answer(self._transport, settings, requests(), body["model"], emit, rounds, self._note)
        await answer.show(line)
        return answer

    async def _resolve(self, webui_id: str, settings: Settings, preferred: str) -> tuple[ModelRef, Model]:
        """The model meant by an id, and its row. The published list decides where it is known; else the id is enough."""
        ref = ModelRef.from_webui(webui_id)
        if not any(ref):
            raise PipeError("No model is chosen. Choose one in the model selector.")
        published = await self._publish(settings, await self._store.catalog_for_chat(settings))
        listed = published.by_webui_id if published else {}
        entry = listed.get(ref.webui_id)
        if published and not entry:
            published.refuse(ref)
        if preferred != "none" and ref == ModelRef(ref.base):
            wanted = ref._replace(variants=(preferred,))
            if preferred in ROUTING_TAGS or wanted.webui_id in listed:
                ref, entry = wanted, listed.get(wanted.webui_id, entry)
        return ref, entry.model if entry else UNKNOWN

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
        if not catalog:
            return None
        publishing = settings.publishing
        # Once for all who ask at once.
        async with self._publishing:
            known = self._published
            if not known or known.catalog is not catalog or known.publishing != publishing:
                known = self._published = await asyncio.to_thread(Published, catalog, publishing)
            return known

    def _entries(self, published: Published | None, settings: Settings) -> list[dict[str, str]]:
        """The list, the status model last: Open WebUI opens a new chat with the first one."""
        if self._list[0] is not published or self._list[1] != settings:
            prefix, shown = settings.NAME_PREFIX, published.entries if published else ()
            entries = [{"id": entry.webui_id, "name": prefix + entry.name} for entry in shown]
            if settings.STATUS_MODEL:
                why = "ask it why" if settings.api_key else "set the valve API_KEY"
                status = "OpenRouter: Status" if published else f"OpenRouter: Status (no models: {why})"
                entries.append({"id": _STATUS_ID, "name": prefix + status})
            self._list = (published, settings, entries)
        return self._list[2]

    def _log_new(self, problems: tuple[Problem, ...]) -> None:
        told, rest = problems[:_MAX_LOGGED_PROBLEMS], len(problems) - _MAX_LOGGED_PROBLEMS
        if rest > 0:
            told += (Problem("", "", f"… and {rest} more problems"),)
        for problem in told:
            if problem not in self._logged:
                log.warning("%s", plain(str(problem)))
        self._logged = told
