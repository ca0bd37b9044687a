"""Server-sent events: bytes in, the payload of each event out.

Standard: https://html.spec.whatwg.org/multipage/server-sent-events.html. Only `data` matters here: OpenRouter repeats the
event's type inside it. Comments (`: OPENROUTER PROCESSING`), other fields and events without any data are skipped.
"""

from __future__ import annotations

# An image in base64 may be some ten megabytes; more than this in one event is not an answer.
MAX_EVENT_BYTES = 64 * 1024 * 1024
_EMPTY_LINES = (b"", b"\r")


class EventTooLongError(ValueError):
    """One event grew past `MAX_EVENT_BYTES`."""


class SseDecoder:
    """An incremental decoder. However the bytes are cut, the payloads are the same; the work is linear in the input."""

    def __init__(self) -> None:
        # The pieces of the line that is not complete, the data lines of the event that is not, and the size of both.
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The payloads of the events that `chunk` completes. Raises `EventTooLongError`."""
        *lines, last = chunk.split(b"\n")
        payloads: list[bytes] = []
        if lines:
            lines[0] = b"".join((*self._line, lines[0]))
            self._line = []
        self._line.append(last)
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6 if line[5:6] == b" " else 5 :].removesuffix(b"\r"))
            elif self._data and line in _EMPTY_LINES:
                if payload := b"\n".join(self._data):
                    payloads.append(payload)
                self._data.clear()
        self._size = len(last) if lines and not self._data else self._size + len(chunk)
        if self._size > MAX_EVENT_BYTES:
            # Where lines brought no data, less is kept than came.
            self._size = sum(map(len, self._line)) + sum(map(len, self._data)) + 6 * len(self._data)
            if self._size > MAX_EVENT_BYTES:
                raise EventTooLongError
        return payloads

    def flush(self) -> list[bytes]:
        """The payload of an event whose closing empty line never came (some servers forget it)."""
        return self.feed(b"\n\n")
