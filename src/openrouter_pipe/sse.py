"""Server-sent events: bytes in, the payload of each event out.

Standard: https://html.spec.whatwg.org/multipage/server-sent-events.html. Only `data` matters here: OpenRouter repeats the
event's type inside it. Comments (`: OPENROUTER PROCESSING`), other fields and events without any data are skipped.
"""

from __future__ import annotations

# An image in base64 may be some ten megabytes; more than this in one event is not an answer.
MAX_EVENT_BYTES = 64 * 1024 * 1024


class EventTooLongError(ValueError):
    """One event grew past `MAX_EVENT_BYTES`."""


class SseDecoder:
    """An incremental decoder. However the bytes are cut, the payloads are the same; the work is linear in the input."""

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._line_size = 0
        self._data: list[bytes] = []
        self._data_size = 0
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The payloads of the events that `chunk` completes. Raises `EventTooLongError`."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *rest = chunk.split(b"\n")
        self._line.append(first)
        self._line_size += len(first)
        payloads: list[bytes] = []
        if rest:
            last = rest.pop()
            for line in (b"".join(self._line), *rest):
                self._read_line(line, payloads)
            self._line, self._line_size = [last], len(last)
        if self._line_size + self._data_size > MAX_EVENT_BYTES:
            raise EventTooLongError
        return payloads

    def flush(self) -> list[bytes]:
        """The payload of an event whose closing empty line never came (some servers forget it)."""
        return self.feed(b"\n\n")

    def _read_line(self, line: bytes, payloads: list[bytes]) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            self._data_size += len(line)
            if self._data_size > MAX_EVENT_BYTES:
                raise EventTooLongError
        elif not line and self._data:
            if payload := b"\n".join(self._data):
                payloads.append(payload)
            self._data, self._data_size = [], 0
