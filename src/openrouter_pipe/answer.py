"""One chat's answer: sends the request, reads what comes back, and writes it for Open WebUI."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager

from .attempt import Attempt
from .chunks import DONE, ChunkWriter, error_body, error_event
from .codec import JsonDict, JsonObject
from .cost_line import add_usage, cost_line
from .deltas import Delta, has_answer, merge_deltas
from .errors import PipeError, UpstreamError, retry_wait
from .model_ref import ModelRef
from .problems import log, log_surprise
from .requests import UpstreamRequest
from .responses_stream import tool_status
from .settings import Settings
from .transport import Transport

_EMPTY = {
    "length": "{model} used up its token limit before it wrote any text. Raise max_tokens or ask for less reasoning.",
    "content_filter": "The provider's content filter withheld the answer of {model}. Rephrase the message.",
}
SURPRISE = "The OpenRouter pipe met something it does not know. Open WebUI's log has the details. Try again."
# Stands in for reasoning that is not shown, where its details have to be kept.
_HIDDEN = {"reasoning_content": "The reasoning is hidden."}
_EMPTY_OTHERWISE = "{model} sent an empty answer. Try again, or choose another model."
Emitter = Callable[[JsonDict], Awaitable[object]]


class Answer:
    """The answer to one request. Use `events` or `completion`, once.

    `requests` gives the request, and then the one for the other endpoint, where there is a choice. `model_id` is Open
    WebUI's name of the model, `emit` shows status lines in the chat (None: nobody looks), `rounds` is the same for all tool
    rounds of the answer, `note` takes what a person was told went wrong.
    """

    def __init__(
        self,
        transport: Transport,
        settings: Settings,
        requests: Iterator[UpstreamRequest],
        model_id: str,
        emit: Emitter | None,
        rounds: JsonDict,
        note: Callable[[str], None],
    ) -> None:
        self._transport = transport
        self._settings = settings
        self._requests = requests
        self._request = next(requests)
        self._emit = emit
        self._rounds = rounds
        self._note = note
        self._error = ""
        # Server tools whose status line still says that they work, by place; empty: no longer.
        self._working: dict[object, JsonObject] = {}
        self._writer = ChunkWriter(model_id)

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The answer as server-sent events. An error is the last event before `[DONE]`; what was shown before stays."""
        async with self._ending(), aclosing(self._deltas()) as deltas:
            async for delta in deltas:
                yield self._writer.delta(delta)
        reason, usage = self._reader.finish_reason or "stop", self._reader.usage
        yield error_event(self._error) if self._error else self._writer.finish(reason)
        if usage:
            yield self._writer.usage(usage)
        yield DONE

    async def completion(self) -> JsonDict:
        """The answer as one `chat.completion` object, or as an `error` object."""
        async with self._ending(), aclosing(self._deltas()) as shown:
            deltas = [delta async for delta in shown]
        if self._error:
            return error_body(self._error)
        if self._request.is_task:
            # A task wants one text; a model that thought until its tokens were used up has at least said that.
            whole = merge_deltas(deltas)
            deltas = [{"content": whole.get("content") or whole.get("reasoning_content", "")}]
        return self._writer.completion(deltas, self._reader.finish_reason or "stop", self._reader.usage)

    @asynccontextmanager
    async def _ending(self) -> AsyncIterator[None]:
        """Makes of what is raised inside the line that a person reads, and shows the last status lines."""
        try:
            yield
        except PipeError as error:
            self._error = str(error)
            self._note(self._error)
        except Exception:  # noqa: BLE001 - Open WebUI would lose what was already shown
            log_surprise("An answer could not be read")
            self._error = SURPRISE
        finally:
            await self._end_tools()
        await self._tell_cost()

    async def _deltas(self) -> AsyncGenerator[Delta, None]:
        """The deltas to show, of the first attempt that shows any. Raises `PipeError` when there is none, or it breaks off."""
        started, tries = time.monotonic(), 1
        while True:
            attempt = Attempt(self._transport, self._settings, self._request)
            self._reader = attempt.reader
            answered = shown = False
            try:
                async with aclosing(attempt.batches()) as batches:
                    async for deltas in batches:
                        answered = answered or any(map(has_answer, deltas))
                        await self._tell_tools()
                        for delta in self._visible(deltas):
                            shown = True
                            yield delta
                self._refuse_nothing(answered, shown)
            except PipeError as error:
                if shown:
                    raise
                wrong = isinstance(error, UpstreamError) and error.kind == "wrong_endpoint"
                if wrong and (other := next(self._requests, None)):
                    self._request = other
                else:
                    await self._pause(error, tries, time.monotonic() - started)
                    tries += 1
            else:
                for delta in self._visible(self._reader.close()):
                    yield delta
                return
            finally:
                if usage := self._reader.usage:
                    add_usage(self._rounds.setdefault("spent", {}), usage, attempt.seconds)

    def _refuse_nothing(self, answered: bool, shown: bool) -> None:
        """Raise the `PipeError` for an answer with nothing in it, or one that was cut before its first word."""
        cut = _EMPTY.get(self._reader.finish_reason or "")
        if not answered and (not shown or (cut and not self._request.is_task)):
            raise PipeError((cut or _EMPTY_OTHERWISE).format(model=self._request.body["model"]), 0 if cut else 1)

    async def _pause(self, error: PipeError, tries: int, elapsed: float) -> None:
        """Tell the person who waits, and wait. Raises the error when another attempt would not help, or come too late."""
        settings, chance = self._settings, random.random()  # noqa: S311 - nothing to guess
        wait = retry_wait(error, tries, settings.MAX_RETRIES, settings.RETRY_MAX_WAIT_SECONDS, chance)
        if elapsed + wait > settings.READ_TIMEOUT_SECONDS:
            raise error.after(tries)
        try:
            await self.show(f"{error.happened}. Trying again in {math.ceil(wait)} s.", done=False)
            await asyncio.sleep(wait)
        finally:
            # Also after Stop: a status that is never done would shimmer for ever.
            await self.show(f"{error.happened}.")

    def _visible(self, deltas: list[Delta]) -> list[Delta]:
        """What of the deltas is shown: all, or all but the reasoning (which a task may need when there is nothing else)."""
        if self._request.shows_reasoning or (self._request.is_task and not self._request.body["stream"]):
            return deltas
        # With calls the next round must bring the details back, or some providers refuse it; they are kept, not shown.
        hidden = {"reasoning_content"} if self._reader.has_calls else {"reasoning_content", "reasoning_details"}
        return [
            _HIDDEN | delta if "reasoning_details" in delta else delta for delta in deltas if not hidden & delta.keys()
        ]

    async def _tell_tools(self) -> None:
        statuses, self._reader.statuses = self._reader.statuses, []
        for place, item, done in statuses:
            self._working[place] = {} if done else item
            await self.show(**tool_status(item, done))

    async def _end_tools(self) -> None:
        """A status that is never done would shimmer for ever, also after Stop or an error."""
        await self._tell_tools()
        failed = self._error or not self._reader.ended
        for item in filter(None, self._working.values()):
            await self.show(**tool_status({**item, "status": "failed"} if failed else item, done=True))

    async def _tell_cost(self) -> None:
        """After the answer's last round, show what all its rounds have used."""
        if self._settings.COST_DISPLAY == "off" or self._reader.has_calls:
            return
        request, spent = self._request, self._rounds.get("spent", {})
        asked, tier = ModelRef.from_api(request.body["model"]), request.body.get("service_tier")
        try:
            line = cost_line(spent, self._reader.served, asked, request.model, tier)
        except Exception:  # noqa: BLE001 - the answer is here, and must get its end
            log_surprise("The cost of an answer could not be told")
        else:
            await self.show(line)

    async def show(self, description: str, done: bool = True, **more: object) -> None:
        """Show a status line, unless it is empty; one that is not done shimmers."""
        if self._emit is None or self._request.is_task or not description:
            return
        try:
            await self._emit({"type": "status", "data": {"description": description, "done": done, **more}})
        except Exception as error:  # noqa: BLE001 - a status line that cannot be shown must not cost the answer
            log.debug("A status line could not be shown: %s", type(error).__name__)
