"""The decoder of server-sent events, against the standard's own rules written down a second time, simply."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_pipe import sse
from openrouter_pipe.sse import EventTooLongError, SseDecoder

STREAM = (
    b": OPENROUTER PROCESSING\n\n"
    b'data: {"text": "a"}\n\n'
    b": between\n"
    b'event: message\nid: 7\nretry: 10\ndata:{"text": "\xc3\xa9\xf0\x9f\x98\x80"}\r\n\r\n'
    b"data: one\r\ndata: two\r\n\r\n"
    b"data:\n\n"
    b"data: :\n\n"
    b"data:  two spaces\n\n"
    b"data: first\r\n: comment inside\r\ndata: second\r\n\r\n"
    b"database: not data\ndata: [DONE]\n\n"
)
PAYLOADS = [
    b'{"text": "a"}',
    b'{"text": "\xc3\xa9\xf0\x9f\x98\x80"}',
    b"one\ntwo",
    b":",
    b" two spaces",
    b"first\nsecond",
    b"[DONE]",
]


def decode(*chunks: bytes) -> list[bytes]:
    decoder = SseDecoder()
    payloads = [payload for chunk in chunks for payload in decoder.feed(chunk)]
    return payloads + decoder.flush()


def oracle(stream: bytes) -> list[bytes]:
    """The standard's algorithm over complete input; the last event counts without its empty line too."""
    payloads: list[bytes] = []
    data: list[bytes] = []
    for line in [*re.split(rb"\r?\n", stream), b""]:
        field, _, value = line.partition(b":")
        if field == b"data" and b":" in line:
            data.append(value.removeprefix(b" "))
        if not line:
            if b"\n".join(data):
                payloads.append(b"\n".join(data))
            data = []
    return payloads


def test_every_kind_of_line_gives_its_payload() -> None:
    assert decode(STREAM) == PAYLOADS == oracle(STREAM)


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_one_cut_anywhere_changes_nothing(cut: int) -> None:
    assert decode(STREAM[:cut], STREAM[cut:]) == PAYLOADS


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])
def test_pieces_of_one_size_change_nothing(size: int) -> None:
    assert decode(*(STREAM[start : start + size] for start in range(0, len(STREAM), size))) == PAYLOADS


LINES = st.sampled_from(
    [b"data: x", b"data:", b"data:y", b"data: :", b": c", b"event: e", b"", b"", b"data", b"junk\xff"]
)
ENDS = st.sampled_from([b"\n", b"\r\n"])


@given(st.lists(st.tuples(LINES, ENDS), max_size=20), st.data())
def test_random_streams_in_random_pieces_follow_the_standard(
    lines: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    stream = b"".join(line + end for line, end in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert decode(*chunks) == oracle(stream)


def test_an_event_comes_out_as_soon_as_its_empty_line_is_there() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: a\n") == []
    assert decoder.feed(b"\ndata: b") == [b"a"]
    assert decoder.feed(b"\r\n\r") == []
    assert decoder.feed(b"\ndata: c\n\n") == [b"b", b"c"]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_an_event_without_its_empty_line_comes_with_the_flush(end: bytes) -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: a" + end) == []
    assert decoder.flush() == [b"a"]
    assert decoder.flush() == []


def seconds_for(megabytes: int) -> float:
    payload = b'{"image": "%b"}' % (b"A" * (megabytes * 1_000_000))
    stream = b"data: " + payload + b"\n\n"
    chunks = [stream[start : start + 4096] for start in range(0, len(stream), 4096)]
    began = time.perf_counter()
    assert decode(*chunks) == [payload]
    return time.perf_counter() - began


def test_a_large_event_takes_linear_time() -> None:
    # The best of three: the first one also waits for memory.
    small, large = (min(seconds_for(size) for _ in range(3)) for size in (1, 6))
    assert large < 36 * small / 2 + 0.05


@pytest.mark.parametrize("size", [1, 7, 50])
def test_an_event_past_the_limit_is_refused_and_one_below_it_is_not(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    allowed, too_long = b"data: " + b"A" * 990 + b"\n\n", b"data: " + b"A" * 1100 + b"\n\n"
    assert decode(*cut(allowed * 3, size)) == [b"A" * 990] * 3
    with pytest.raises(EventTooLongError):
        decode(*cut(too_long, size))


def test_many_lines_of_data_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    with pytest.raises(EventTooLongError):
        decode(*[b"data: 0123456789\n"] * 100)


def test_comments_for_ever_are_no_long_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    assert decode(*[b": keep-alive\n"] * 500, b"data: a\n\n") == [b"a"]
    assert decode(b"data: a\n", *[b": keep-alive\n"] * 500, b"\n") == [b"a"]


def test_a_long_comment_does_not_count_for_the_event_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    assert decode(b":" + b"a" * 700, b"\ndata: " + b"b" * 600 + b"\n", b"\n") == [b"b" * 600]


def cut(stream: bytes, size: int) -> list[bytes]:
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def test_events_that_are_cut_at_their_end_do_not_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    # Each read ends before the empty line, so that an event is always begun.
    assert decode(b"data: a\n", *[b"\ndata: a\n"] * 500) == [b"a"] * 501
