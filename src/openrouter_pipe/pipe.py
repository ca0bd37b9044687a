"""`class Pipe`: what Open WebUI calls. Wiring only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.responses import StreamingResponse

from .answer import SURPRISE, Answer, Emitter
from .catalog import Catalog
from .catalog_store import CatalogStore
from .chunks import DONE, error_body, error_event
from .direct_files import file_rules
from .errors import PipeError, SettingsError
from .model_ref import ModelRef
from .problems import Problem, log
from .requests import ChatContext, build_request
from .row_keeper import RowKeeper
from .settings import Settings, Valves
from .transport import Transport
from .virtual_models import Published, Publishing, publish
from .webui import data_directory, host_secret, with_chat_files

_MAX_LOGGED_PROBLEMS = 50


class Pipe:
    """OpenRouter in Open WebUI. One instance serves all chats of a worker at once, so it holds nothing of a single one."""

    Valves = Valves

    def __init__(self) -> None:
        self.valves = Valves()
        self._transport = Transport()
        self._store = CatalogStore(self._transport)
        self._rows = RowKeeper()
        self._published: Published | None = None
        self._list: tuple[Published, str, list[dict[str, str]]] | None = None
        self._reported: tuple[Published | None, tuple[Problem, ...], frozenset[str]] = (None, (), frozenset())

    async def pipes(self) -> list[dict[str, str]]:
        """The models that Open WebUI lists: `id` (without the function id) and `name`. Never raises."""
        try:
            settings = Settings.from_valves(self.valves)
            catalog = await self._store.catalog_for_list(settings, data_directory())
            if catalog is None:
                self._report(None, (*settings.problems, *_why_nothing(settings), *self._store.problems()))
                return []
            published = await self._publish(catalog, settings.publishing)
            self._report(published, (*settings.problems, *self._store.problems()))
            await self._rows.keep(self, published, settings)
            return self._entries(published, settings.name_prefix)
        except Exception:  # noqa: BLE001
            # Open WebUI awaits every pipe's list in turn: whatever happens here must not cost the others theirs.
            log.exception("The list of models could not be made")
            return []

    async def pipe(
        self,
        body: dict[str, Any],
        __user__: Mapping[str, Any] | None = None,
        __chat_id__: str | None = None,
        __task__: str | None = None,
        __event_emitter__: Emitter | None = None,
        __metadata__: Mapping[str, Any] | None = None,
    ) -> StreamingResponse | dict[str, Any]:
        """Answer one chat: a stream of `chat.completion.chunk` events, or one `chat.completion` object."""
        streaming = bool(body.get("stream"))
        try:
            answer = await self._answer(
                body, __user__ or {}, __chat_id__ or "", str(__task__ or ""), __event_emitter__, __metadata__ or {}
            )
        except PipeError as error:
            return _error_answer(str(error), streaming)
        except Exception:  # noqa: BLE001
            # Nothing may raise into Open WebUI: it would show the bare exception, or lose the message.
            log.exception("A chat could not be started")
            return _error_answer(SURPRISE, streaming)
        if streaming:
            return StreamingResponse(answer.events(), media_type="text/event-stream")
        return await answer.completion()

    async def _answer(
        self,
        body: Mapping[str, Any],
        user: Mapping[str, Any],
        chat_id: str,
        task: str,
        emit: Emitter | None,
        metadata: Mapping[str, Any],
    ) -> Answer:
        settings = Settings.from_valves(self.valves)
        if not settings.api_key:
            raise SettingsError("No OpenRouter key is set. An admin can set the valve API_KEY of this function.")
        model_id = str(body.get("model"))
        ref, published = await self._resolve(model_id.partition(".")[2], settings)
        entry = published.by_webui_id.get(ref.webui_id) if published else None
        context = ChatContext(chat_id, str(user.get("id") or ""), host_secret() or settings.api_key, task)
        model = entry.model if entry else None
        rules = None if task else file_rules(model, settings, metadata)
        body = await with_chat_files(body, rules, metadata, context.user_id, emit)
        request = build_request(body, ref, model, settings, context)
        log.debug(
            "endpoint: %s, api_model_id: %s, left out: %s",
            request.endpoint,
            request.body["model"],
            ", ".join(request.left_out) or "-",
        )
        return Answer(self._transport, settings, request, model_id, emit)

    async def _resolve(self, webui_id: str, settings: Settings) -> tuple[ModelRef, Published | None]:
        """The model meant by an id. The published list decides where it is known; the id alone is enough where it is not."""
        ref = ModelRef.from_webui(webui_id)
        if not ref.base and ref.preset is None:
            raise SettingsError("No model is chosen. Choose one in the model selector.")
        catalog = await self._store.catalog_for_chat(settings, data_directory())
        if catalog is None:
            return ref, None
        published = await self._publish(catalog, settings.publishing)
        entry = published.by_webui_id.get(webui_id) or published.by_webui_id.get(ref.webui_id)
        if entry is None:
            published.refuse(ref)
        return entry.ref if entry else ref, published

    async def _publish(self, catalog: Catalog, publishing: Publishing) -> Published:
        """The published list for these valves, made anew (in a thread, it can be long) when something has changed."""
        published = self._published
        if published is None or published.catalog is not catalog or published.publishing != publishing:
            published = self._published = await asyncio.to_thread(publish, catalog, publishing)
        return published

    def _entries(self, published: Published, prefix: str) -> list[dict[str, str]]:
        if self._list is None or self._list[0] is not published or self._list[1] != prefix:
            entries = [{"id": entry.webui_id, "name": prefix + entry.name} for entry in published.entries]
            self._list = (published, prefix, entries)
        return self._list[2]

    def _report(self, published: Published | None, problems: tuple[Problem, ...]) -> None:
        """Log the problems that were not there at the last list."""
        last_published, last_problems, known = self._reported
        if published is last_published and problems == last_problems:
            return
        every = (*problems, *(published.problems if published else ()))
        texts = [str(problem) for problem in every[:_MAX_LOGGED_PROBLEMS]]
        if len(every) > len(texts):
            texts.append(f"… and {len(every) - len(texts)} more problems")
        for text in texts:
            if text not in known:
                log.warning("%s", text)
        self._reported = (published, problems, frozenset(texts))


def _error_answer(message: str, streaming: bool) -> StreamingResponse | dict[str, Any]:
    if streaming:
        return StreamingResponse(iter((error_event(message), DONE)), media_type="text/event-stream")
    return error_body(message)


def _why_nothing(settings: Settings) -> tuple[Problem, ...]:
    return () if settings.api_key else (Problem("API_KEY", "", "no key is set, so no models are listed"),)
