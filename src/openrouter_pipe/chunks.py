"""What leaves the pipe: `chat.completion.chunk` events, or one `chat.completion`."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable

from .codec import JsonDict, JsonObject, dump_json
from .deltas import Delta, merge_deltas

DONE = b"data: [DONE]\n\n"


class ChunkWriter:
    """Writes one answer. Each call gives exactly one complete event, as Open WebUI reads them one by one."""

    def __init__(self, model_id: str) -> None:
        self._envelope = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": model_id}

    def delta(self, delta: Delta) -> bytes:
        """The event for one delta."""
        return self._event([{"index": 0, "delta": delta, "finish_reason": None}])

    def finish(self, reason: str) -> bytes:
        """The event that ends the answer."""
        return self._event([{"index": 0, "delta": {}, "finish_reason": reason}])

    def usage(self, usage: JsonObject) -> bytes:
        """The usage event. Once for each upstream call: Open WebUI adds them up."""
        return self._event([], usage=usage)

    def completion(self, deltas: Iterable[Delta], reason: str, usage: JsonObject | None) -> JsonDict:
        """The answer as one `chat.completion` object."""
        message = {"role": "assistant", "content": "", **merge_deltas(deltas)}
        for call in message.get("tool_calls", ()):
            del call["index"]
        answer = {
            **self._envelope,
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        }
        return {**answer, "usage": dict(usage)} if usage else answer

    def _event(self, choices: list[JsonDict], **more: object) -> bytes:
        return b"data: %b\n\n" % dump_json(
            {**self._envelope, "object": "chat.completion.chunk", "choices": choices, **more}
        )


def error_body(message: str) -> JsonDict:
    """An error as Open WebUI shows it: without `choices`, or it would be overlooked."""
    return {"error": {"message": message}}


def error_event(message: str) -> bytes:
    """An error as one event of a stream."""
    return b"data: %b\n\n" % dump_json(error_body(message))
