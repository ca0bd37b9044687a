"""What can go wrong with an answer, and when: the tables."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any

from openrouter_sandbox import Rule

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n%b\r\n"
LAST_CHUNK = b"0\r\n\r\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head>\n\n<body>nginx</body></html>\n\n"
# More than a test lets one event, or a whole answer, have.
ROOM, TOO_MUCH = 100_000, 900_000
OTHER = "is not OpenRouter's API"
NO_API_BUT = f"{OTHER}: a web page came back. Check the valve BASE_URL."
NO_API = f"{OTHER}. Check the valve BASE_URL."
BROKE_OFF = "broke off before its end"


# --- What good answers are made of


@dataclass(frozen=True)
class Good:
    """The body of a good answer, cut where something can happen to it, and the text that has come by then."""

    kind: bytes
    pieces: dict[str, tuple[bytes, str]]
    body: bytes

    @classmethod
    def of(cls, body: bytes, streaming: bool) -> Good:
        if not streaming:
            cuts = {"first event": 0, "middle": len(body) // 2, "before the end": len(body) - 3}
            return cls(b"application/json", {name: (body[:cut], "") for name, cut in cuts.items()}, body)
        events = [event + b"\n\n" for event in body.split(b"\n\n")[:-1]]
        said = [text_of(event) for event in events]
        texts = [number for number, text in enumerate(said) if text]
        cuts = {"first event": 1, "middle": texts[len(texts) // 2], "before the end": texts[-1] + 1}
        pieces = {name: (b"".join(events[:cut]), "".join(said[:cut])) for name, cut in cuts.items()}
        return cls(b"text/event-stream", pieces, body)


def text_of(event: bytes) -> str:
    """The text that one event of the sandbox adds."""
    data = json.loads(event[6:]) if event.startswith(b"data: {") else {}
    if data.get("type") == "response.output_text.delta":
        return str(data["delta"])
    return "".join(choice["delta"].get("content") or "" for choice in data.get("choices", ()))


def chunked(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content) if content else b""


def error_event(endpoint: str, message: str, code: object = 502) -> bytes:
    """An error as each endpoint sends it in the middle of a stream."""
    error = {"code": code, "message": message}
    event = {"type": "error", "error": error} if endpoint == "responses" else {"choices": [], "error": error}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


# --- The table


@dataclass(frozen=True)
class Fault:
    """What comes after the good part: `content` of the body, then `wire`, which is outside of it.

    `then`: the body ends as it should, the connection is closed, cut, or nothing ever happens (hang). `stream` and `whole`
    are parts of the one error; None: there is none, and the rest of the answer comes after a pause.
    """

    stream: str | None = BROKE_OFF
    whole: str | None = BROKE_OFF
    content: bytes = b""
    wire: bytes = b""
    then: str = "end"
    gzip: bool = False

    def rule(self, good: Good, moment: str) -> Rule:
        before = good.pieces[moment][0]
        rest = good.body[len(before) :] if self.stream is None else b""
        if self.gzip:
            packer = zlib.compressobj(wbits=31)
            before = packer.compress(before) + packer.flush(zlib.Z_SYNC_FLUSH)
            rest = packer.compress(rest) + packer.flush() if rest else b""
        head = HEAD % (good.kind, b"Content-Encoding: gzip\r\n" if self.gzip else b"")
        end = LAST_CHUNK if self.then == "end" else b""
        pieces = [head + chunked(before), chunked(self.content) + self.wire + chunked(rest) + end]
        cut = 0 if self.then == "cut" else None
        return Rule(
            raw=pieces,
            pace_seconds=0.1 if self.stream is None else 0.02,
            hang=self.then == "hang",
            cut_after_events=cut,
        )


SILENT = "was silent for"
FAULTS = {
    "delay": Fault(None, None),
    "stall": Fault(SILENT, SILENT, then="hang"),
    "cut": Fault(then="cut"),
    "close": Fault(then="close"),
    "end": Fault(whole=NO_API),
    "garbage in the body": Fault(whole=NO_API, content=b"\x00\xff\xfe\x80 data\n\n"),
    # When it is noticed is aiohttp's business; with its C extension it is only at the limit.
    "garbage around it": Fault("Try again.", "Try again.", wire=b"\xff\xfezz\r\n\r\n", then="close"),
    "half an event": Fault(whole=OTHER, content=b'data: {"choices": [{"delta": {"content": "H', then="end"),
    "half an event, cut": Fault(content=b'data: {"type": "response.output_text.delta", "delta": "H', then="cut"),
    "half a character": Fault(whole=NO_API, content=b'data: {"choices": [{"delta": {"content": "\xf0\x9f'),
    "a page": Fault(whole=OTHER, content=PAGE),
    "an endless line": Fault("too large to show", "Check the valve BASE_URL", b"data: " + TOO_MUCH * b"x", then="hang"),
    "an endless event": Fault(
        "too large to show", "Check the valve BASE_URL", TOO_MUCH // 8 * b"data: x\n", then="hang"
    ),
    "gzip": Fault(None, None, gzip=True),
    "gzip, broken": Fault(content=1000 * b"\xff", gzip=True, then="close"),
    "gzip, cut": Fault(gzip=True, then="cut"),
}


ERROR: dict[str, Any] = {"code": 429, "message": "x", "metadata": {"provider_name": "Fireworks", "raw": "Slow down"}}
LIMITED = "Fireworks is rate-limiting openai/gpt-4o: x: Slow down."
UNREADABLE = {
    "empty": "",
    "bytes": b"\x00\xff\xfe",
    "list": "[]",
    "{}": "{}",
}
HALF_A_HEAD = b"HTTP/1.1 200 OK\r\nX-Told: sk-or-v1-secret123\r\nCont"
HEADERS: dict[str, tuple[Rule, str]] = {
    **{str(status): (Rule(status=status), "") for status in (400, 401, 402, 403, 404, 422, 429, 500, 503)},
    "a page": (Rule(status=502, body=PAGE), "a web page came back"),
    "elsewhere": (Rule(status=302, body=PAGE, headers={"Location": "https://example.com/"}), NO_API_BUT),
    "200, a page": (Rule(status=200, body=PAGE), NO_API_BUT),
    "200, words": (Rule(status=200, body="Welcome"), "is not OpenRouter's API: Welcome. Check the valve BASE_URL."),
    **{f"200, {name}": (Rule(status=200, body=body), NO_API) for name, body in UNREADABLE.items()},
    "200, an error": (Rule(status=200, body={"error": ERROR}), LIMITED),
    "200, its code is text": (Rule(status=200, body={"error": {**ERROR, "code": "rate_limit_exceeded"}}), LIMITED),
    "200, two errors": (Rule(status=200, body={"error": ERROR, "errors": [{"message": "y"}]}), LIMITED),
    "200, a list of errors": (Rule(status=429, body=json.dumps([{"error": ERROR}, {"error": ERROR}])), LIMITED),
    "stall": (Rule(raw=[b""], hang=True), SILENT),
    "stall half-way": (Rule(raw=[HALF_A_HEAD], hang=True), SILENT),
    "close": (Rule(raw=[HALF_A_HEAD]), "cannot be reached"),
    "cut": (Rule(raw=[HALF_A_HEAD], cut_after_events=0), "cannot be reached"),
    "garbage": (Rule(raw=[b"\x00\xff\xfe\r\n\r\n"]), "what came back is not HTTP"),
    "an endless line": (Rule(raw=[b"HTTP/1.1 200 OK\r\nX: " + TOO_MUCH * b"x"], hang=True), "not HTTP"),
    "endless headers": (Rule(raw=[b"HTTP/1.1 200 OK\r\n" + 10_000 * b"X: y\r\n"], hang=True), "not HTTP"),
    "gzip that is none": (
        Rule(status=200, body="garbage", headers={"Content-Encoding": "gzip"}),
        BROKE_OFF,
    ),
    "a refusal in gzip that is none": (Rule(status=503, body="x", headers={"Content-Encoding": "gzip"}), "No provider"),
    "a refusal cut short": (
        Rule(raw=[b"HTTP/1.1 429 Slow\r\nContent-Length: 99\r\n\r\n{"], cut_after_events=0),
        "OpenRouter is rate-limiting",
    ),
}
