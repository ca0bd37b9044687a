"""One request sent upstream, and its answer read."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator

import aiohttp

from .chat_stream import ChatReader
from .codec import mapping, parse_json
from .deltas import AnswerReader, Delta
from .errors import ANY_NUMBER, BROKE_OFF, PipeError, read_failure
from .parameters import Endpoint
from .requests import ENDPOINT_PATHS, UpstreamRequest
from .responses_stream import ResponsesReader
from .settings import Settings
from .sse import EventTooLongError, SseDecoder
from .transport import BROKEN, Transport, connection_failed, key_forms, next_bytes, read_body, without_key

_READERS: dict[Endpoint, type[AnswerReader]] = {"responses": ResponsesReader, "chat_completions": ChatReader}
# How long the usage is waited for, which may come after the end; and the last bytes, which free the connection.
_AFTER_END_SECONDS = 3.0
_DRAIN_SECONDS = 0.1
# With more answers at once than this, each is updated less often: they share Open WebUI's one thread.
_CROWD = 50


class Attempt:
    """One request. `reader` knows what has come of its answer, `seconds` is how long it came."""

    def __init__(self, transport: Transport, settings: Settings, request: UpstreamRequest) -> None:
        self.reader = _READERS[request.endpoint]()
        self._transport = transport
        self._settings = settings
        self._request = request
        # Not a variable of a function: those may be shown with an error.
        self._key_forms = key_forms(settings)
        self._model_id = str(request.body["model"])
        self._decoder = SseDecoder()
        # By a clock that only runs forward, as is `_until`: when the rest is no longer waited for.
        self._began = self._latest = 0.0
        self._until = math.inf

    @property
    def seconds(self) -> float:
        """From the first piece of the answer to the latest."""
        return self._latest - self._began

    async def batches(self) -> AsyncGenerator[list[Delta], None]:
        """The deltas of each network read, of which there may be none. Raises `PipeError` when it fails or breaks off."""
        path = ENDPOINT_PATHS[self._request.endpoint]
        async with self._transport.send(self._settings, path, self._model_id, self._request.body) as response:
            if response.content_type == "text/event-stream":
                while await self._read_more(response):
                    if (deltas := self._take()) or self.reader.statuses:
                        began = time.monotonic()
                        yield deltas
                        # What arrives meanwhile waits in the buffer and leaves as one piece.
                        pause = self._settings.STREAM_INTERVAL_MS / 1000 * max(1.0, self._transport.running / _CROWD)
                        if pause and not self.reader.ended:
                            await asyncio.sleep(max(0.0, pause - (time.monotonic() - began)))
            else:
                await self._read_whole(response)
            yield self._take()
        if self.reader.error is not None:
            raise read_failure(0, {"error": self.reader.error}, self._model_id)
        if not self.reader.ended:
            raise PipeError(BROKE_OFF.format(whose=self._model_id), ANY_NUMBER)

    def _take(self) -> list[Delta]:
        if deltas := self.reader.take():
            self._latest = time.monotonic()
            self._began = self._began or self._latest
        return deltas

    async def _read_more(self, response: aiohttp.ClientResponse) -> bool:
        """Read what has come of a stream, or wait for it; whether more may come."""
        reader, silence = self.reader, float(self._settings.READ_TIMEOUT_SECONDS)
        if reader.ended:
            # In all: comments may go on.
            now = time.monotonic()
            self._until = min(self._until, now + (_DRAIN_SECONDS if reader.done else _AFTER_END_SECONDS))
            silence = self._until - now
        try:
            chunk = await next_bytes(response, silence)
            payloads = self._decoder.feed(chunk) if chunk else self._decoder.flush()
        except EventTooLongError:
            text = f"The answer of {self._model_id} holds a piece that is too large to show. Choose another model."
            raise PipeError(text) from None
        except TimeoutError as error:
            if not reader.ended:
                raise connection_failed(error, self._settings, silence) from None
            return False
        except BROKEN:
            # The reader knows whether the end had come already; if not, that is the error.
            return False
        for payload in payloads:
            reader.feed(without_key(payload, self._key_forms))
        return bool(chunk)

    async def _read_whole(self, response: aiohttp.ClientResponse) -> None:
        """Read an answer that is not a stream, and so complete."""
        body = await read_body(response, self._settings, self._settings.READ_TIMEOUT_SECONDS)
        try:
            answer = mapping(parse_json(body))
        except ValueError:
            answer = {}
        if answer.get("error") or not answer.keys() & {"choices", "output"}:
            raise read_failure(0, body, self._model_id)
        self.reader.read(answer)
        self.reader.done = True
