"""One chat's answer: sends the request, reads what comes back, and writes it for Open WebUI."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import aiohttp

from .chat_stream import ChatReader
from .chunks import DONE, ChunkWriter, error_body, error_event
from .codec import parse_json
from .deltas import AnswerReader, Delta
from .errors import BrokenAnswerError, PipeError, UpstreamError, read_failure
from .requests import ENDPOINT_PATHS, Endpoint, UpstreamRequest
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
_EMPTY_OTHERWISE = "{model} sent an empty answer. Try again, or choose another model."


class Answer:
    """The answer to one request. Use `events` or `completion`, once. `model_id` is Open WebUI's name of the model."""

    def __init__(self, transport: Transport, settings: Settings, request: UpstreamRequest, model_id: str) -> None:
        self._transport = transport
        self._settings = settings
        self._request = request
        self._api_id = str(request.body["model"])
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
            yield error_event(str(error))
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
            return error_body(str(error))
        return self._writer.completion(deltas, self._reader.finish_reason or "stop", self._reader.usage)

    async def _batches(self) -> AsyncGenerator[list[Delta], None]:
        """The deltas of each network read. Raises `PipeError` when the answer fails, breaks off or has nothing in it."""
        path = ENDPOINT_PATHS[self._request.endpoint]
        shown = False
        async with (
            self._transport.post(self._settings, path, self._request.body, self._api_id) as response,
            aclosing(self._read(response)) as batches,
        ):
            async for deltas in batches:
                shown = True
                yield deltas
        if self._reader.error is not None:
            raise UpstreamError(read_failure(0, {"error": self._reader.error}), self._api_id)
        if not self._reader.ended:
            raise BrokenAnswerError(f"The answer of {self._api_id} broke off before its end. Try again.")
        if not shown:
            template = _EMPTY.get(str(self._reader.finish_reason), _EMPTY_OTHERWISE)
            raise BrokenAnswerError(template.format(model=self._api_id))

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
                if deltas := self._reader.take():
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
            raise connection_failed(error, self._settings) from None
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
        body = await read_body(response, self._settings)
        try:
            answer = parse_json(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not {"choices", "output", "error"} & answer.keys():
            raise UpstreamError(read_failure(0, body), self._api_id)
        if answer.get("error"):
            raise UpstreamError(read_failure(0, answer), self._api_id)
        return answer


async def _drain(response: aiohttp.ClientResponse) -> None:
    with contextlib.suppress(asyncio.TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while not response.content.at_eof():
                await response.content.readany()
