"""One chat's answer: sends the request, reads what comes back, and writes it for Open WebUI."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import aclosing
from typing import Any

import aiohttp

from .chat_stream import ChatReader
from .chunks import DONE, ChunkWriter, error_body, error_event, merge_deltas
from .codec import parse_json
from .cost_line import Spent, cost_line
from .deltas import AnswerReader, Delta, ToolStatus
from .errors import BrokenAnswerError, PipeError, UpstreamError, read_failure
from .model_ref import ModelRef
from .parameters import Endpoint
from .problems import log
from .requests import ENDPOINT_PATHS, UpstreamRequest
from .responses_stream import ResponsesReader
from .settings import Settings
from .sse import EventTooLongError, SseDecoder
from .transport import Transport, connection_failed, read_body

_READERS: dict[Endpoint, type[AnswerReader]] = {"responses": ResponsesReader, "chat_completions": ChatReader}
# After the end was announced, the connection can be used again once the last bytes are read; they are not waited for longer.
_DRAIN_SECONDS = 0.1
# The usage may come after the end; a stream that is then left open is not waited for as long as one that is thinking.
_AFTER_END_SECONDS = 3.0
_EMPTY = {
    "length": "{model} used up its token limit before it wrote any text. Raise max_tokens or ask for less reasoning.",
    "content_filter": "The provider's content filter withheld the answer of {model}. Rephrase the message.",
}
SURPRISE = "The OpenRouter pipe met something it does not know. Open WebUI's log has the details. Try again."
# Where in Open WebUI's metadata of an answer, which all its tool rounds share, what they have used is kept.
_SPENT = "openrouter_pipe_spent"
_HIDDEN = "The reasoning is hidden."
_EMPTY_OTHERWISE = "{model} sent an empty answer. Try again, or choose another model."

# Server tool → what it is doing, what it has done.
_TOOL_WORDS = {
    "web_search_call": ("Searching the web", "Searched the web"),
    "openrouter:web_search": ("Searching the web", "Searched the web"),
    "openrouter:web_fetch": ("Reading a page", "Read a page"),
    "file_search_call": ("Searching files", "Searched files"),
    "openrouter:file_search": ("Searching files", "Searched files"),
    "code_interpreter_call": ("Running code", "Ran code"),
    "openrouter:code_interpreter": ("Running code", "Ran code"),
    "openrouter:image_generation": ("Making an image", "Made an image"),
}
Emitter = Callable[[dict[str, Any]], Awaitable[object]]


class Answer:
    """The answer to one request. Use `events` or `completion`, once. `model_id` is Open WebUI's name of the model.

    `emit` shows status lines in the chat (None: nobody looks), `shared` is the same for all tool rounds of the answer, and
    `note` takes what a person was told went wrong.
    """

    def __init__(
        self,
        transport: Transport,
        settings: Settings,
        request: UpstreamRequest,
        model_id: str,
        emit: Emitter | None,
        shared: MutableMapping[str, Any],
        note: Callable[[str], None],
    ) -> None:
        self._transport = transport
        self._settings = settings
        self._request = request
        self._api_id = str(request.body["model"])
        self._emit = emit
        self._shared = shared
        self._note = note
        # When the first and the latest piece came, by a clock that only runs forward.
        self._began = self._latest = 0.0
        # Server tools whose status line still says that they work, by place.
        self._working: dict[object, ToolStatus] = {}
        self._writer = ChunkWriter(model_id)
        self._reader = _READERS[request.endpoint]()

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The answer as server-sent events. An error is the last event before `[DONE]`; what was shown before stays."""
        try:
            async with aclosing(self._batches()) as batches:
                async for deltas in batches:
                    for delta in deltas:
                        yield self._writer.delta(delta)
            yield self._writer.finish(self._reader.finish_reason or "stop")
        except PipeError as error:
            self._note(str(error))
            yield error_event(str(error))
        except Exception:  # noqa: BLE001 - Open WebUI would lose what was already shown
            log.exception("An answer could not be read")
            yield error_event(SURPRISE)
        finally:
            await self._end_tools()
        await self._tell_cost()
        if self._reader.usage:
            yield self._writer.usage(self._reader.usage)
        yield DONE

    async def completion(self) -> dict[str, Any]:
        """The answer as one `chat.completion` object, or as an `error` object."""
        deltas: list[Delta] = []
        try:
            async with aclosing(self._batches()) as batches:
                async for batch in batches:
                    deltas += batch
        except PipeError as error:
            self._note(str(error))
            return error_body(str(error))
        except Exception:  # noqa: BLE001 - nothing may raise into Open WebUI
            log.exception("An answer could not be read")
            return error_body(SURPRISE)
        finally:
            await self._end_tools()
        await self._tell_cost()
        if self._request.is_task:
            # A task wants one text; a model that thought until its tokens were used up has at least said that.
            whole = merge_deltas(deltas)
            deltas = [Delta(text=whole.text or whole.reasoning)]
        return self._writer.completion(deltas, self._reader.finish_reason or "stop", self._reader.usage)

    async def _batches(self) -> AsyncGenerator[list[Delta], None]:
        """The deltas of each network read. Raises `PipeError` when the answer fails, breaks off or has nothing in it."""
        path = ENDPOINT_PATHS[self._request.endpoint]
        has_answer = shown = False
        async with (
            self._transport.post(self._settings, path, self._request.body, self._api_id) as response,
            aclosing(self._read(response)) as batches,
        ):
            async for deltas in batches:
                self._latest = time.monotonic()
                self._began = self._began or self._latest
                has_answer = has_answer or any(delta.has_answer for delta in deltas)
                await self._tell_tools()
                if visible := self._visible(deltas):
                    shown = True
                    yield visible
        if self._reader.error is not None:
            raise UpstreamError(read_failure(0, {"error": self._reader.error}), self._api_id)
        if not self._reader.ended:
            raise BrokenAnswerError(f"The answer of {self._api_id} broke off before its end. Try again.")
        reason = str(self._reader.finish_reason)
        if not has_answer and (not shown or (reason in _EMPTY and not self._request.is_task)):
            raise BrokenAnswerError(_EMPTY.get(reason, _EMPTY_OTHERWISE).format(model=self._api_id))
        if closing := self._visible(self._reader.close()):
            yield closing

    def _visible(self, deltas: list[Delta]) -> list[Delta]:
        """What of the deltas is shown: all, or all but the reasoning (which a task may need when there is nothing else)."""
        if self._request.shows_reasoning or (self._request.is_task and not self._request.body["stream"]):
            return deltas
        for delta in deltas:
            # With calls the next round must bring the details back, or some providers refuse it; they are kept, not shown.
            delta.details = delta.details if self._reader.has_calls else []
            delta.reasoning = _HIDDEN if delta.details else ""
        return [delta for delta in deltas if delta.has_answer or delta.annotations or delta.details]

    async def _tell_tools(self) -> None:
        """Show what server tools are doing."""
        statuses, self._reader.statuses = self._reader.statuses, []
        for place, status in statuses:
            self._working.pop(place, None)
            if not status.done:
                self._working[place] = status
            await self._show(_status_event(status))

    async def _end_tools(self) -> None:
        """A status that is never done would shimmer for ever, also after Stop or an error."""
        await self._tell_tools()
        failed = self._reader.error is not None or not self._reader.ended
        while self._working:
            _, status = self._working.popitem()
            await self._show(_status_event(status._replace(done=True, failed=failed)))

    async def _tell_cost(self) -> None:
        """Under the answer's last round, show what all its rounds have used."""
        spent = self._shared.get(_SPENT)
        spent = spent if isinstance(spent, Spent) else Spent()
        if self._reader.usage:
            self._shared[_SPENT] = spent = spent.plus(self._reader.usage, self._latest - self._began)
        if not self._settings.shows_cost or self._reader.has_calls:
            return
        asked = ModelRef.from_api(self._api_id)
        tier = self._request.body.get("service_tier")
        if line := cost_line(spent, self._reader.served, asked, self._request.model, tier):
            await self._show({"type": "status", "data": {"description": line, "done": True}})

    async def _show(self, event: dict[str, Any]) -> None:
        if self._emit is None or self._request.is_task:
            return
        try:
            await self._emit(event)
        except Exception as error:  # noqa: BLE001 - a status line that cannot be shown must not cost the answer
            log.debug("A status line could not be shown: %s", type(error).__name__)

    async def _read(self, response: aiohttp.ClientResponse) -> AsyncGenerator[list[Delta], None]:
        if response.content_type == "text/event-stream":
            async with aclosing(self._read_stream(response)) as batches:
                async for deltas in batches:
                    yield deltas
            return
        self._reader.read_whole(await self._whole(response))
        if deltas := self._reader.take():
            yield deltas

    async def _read_stream(self, response: aiohttp.ClientResponse) -> AsyncGenerator[list[Delta], None]:
        decoder = SseDecoder()
        clock = asyncio.get_running_loop().time
        interval = self._settings.stream_interval
        try:
            while not self._reader.done and (chunk := await self._next_bytes(response)):
                for payload in decoder.feed(chunk):
                    self._reader.feed(payload)
                deltas = self._reader.take()
                if deltas or self._reader.statuses:
                    began = clock()
                    yield deltas
                    # What arrives meanwhile waits in the buffer and leaves as one piece.
                    if interval and not self._reader.ended:
                        await asyncio.sleep(max(0.0, interval - (clock() - began)))
            for payload in decoder.flush():
                self._reader.feed(payload)
        except EventTooLongError:
            raise BrokenAnswerError(f"The answer of {self._api_id} holds a piece that is too large to show.") from None
        except TimeoutError as error:
            if self._reader.ended:
                return
            raise connection_failed(error, self._settings, self._settings.read_timeout) from None
        except (aiohttp.ClientError, OSError):
            # The reader knows whether the end had come already; if not, that is the error.
            return
        if deltas := self._reader.take():
            yield deltas
        await _drain(response)

    async def _next_bytes(self, response: aiohttp.ClientResponse) -> bytes:
        if not self._reader.ended:
            return await response.content.readany()
        async with asyncio.timeout(_AFTER_END_SECONDS):
            return await response.content.readany()

    async def _whole(self, response: aiohttp.ClientResponse) -> Mapping[str, Any]:
        """The body of an answer that is not a stream."""
        body = await read_body(response, self._settings, self._settings.read_timeout)
        try:
            answer = parse_json(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not {"choices", "output", "error"} & answer.keys():
            raise UpstreamError(read_failure(0, body), self._api_id)
        if answer.get("error"):
            raise UpstreamError(read_failure(0, answer), self._api_id)
        return answer


def _status_event(status: ToolStatus) -> dict[str, Any]:
    """The status line of a server tool, in the form that Open WebUI draws with its links."""
    name = status.tool.removeprefix("openrouter:").replace("_", " ")
    doing, did = _TOOL_WORDS.get(status.tool, (f"Using {name}", f"Used {name}"))
    words = f"{doing} failed" if status.failed else did if status.done else doing
    about = status.query or next(iter(status.urls), "")
    data: dict[str, Any] = {"description": f"{words}: {about}" if about else words, "done": status.done}
    if status.urls:
        data |= {"action": "web_search", "urls": list(status.urls), "query": status.query}
    return {"type": "status", "data": data}


async def _drain(response: aiohttp.ClientResponse) -> None:
    with contextlib.suppress(asyncio.TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while not response.content.at_eof():
                await response.content.readany()
