"""Putting an answer on the wire at the pace, in the pieces and up to the point that a rule says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence

from aiohttp import web

from openrouter_sandbox.errors import status_body
from openrouter_sandbox.events import COMMENT, DONE
from openrouter_sandbox.rules import Rule

# Recorded streams have comments before the first event and now and then between two.
COMMENT_EVERY = 40
BLOCK_BYTES = 65_536


async def replaced(request: web.Request, rule: Rule) -> web.Response:
    """The plain HTTP answer of a rule with a status or a body; what is no HTTP is written here, and ends the handler."""
    if rule.raw is not None:
        raise await send_raw(request, rule)
    status = rule.status or 200
    body = status_body(status) if rule.body is None else rule.body
    if isinstance(body, dict):
        content, kind = json.dumps(body).encode(), "application/json"
    else:
        content = body.encode() if isinstance(body, str) else body
        kind = "text/html" if content.lstrip().startswith(b"<") else "text/plain"
    return web.Response(body=content, status=status, headers={"Content-Type": kind, **rule.headers})


def break_connection(request: web.Request) -> ConnectionResetError:
    """Close the socket with nothing said; to be raised, which ends the handler."""
    if request.transport is not None:
        request.transport.abort()
    return ConnectionResetError("cut by a rule")


async def send_raw(request: web.Request, rule: Rule) -> ConnectionResetError:
    """Write a rule's raw bytes and close, or cut, or hang; what is returned is to be raised, which ends the handler."""
    assert request.transport is not None
    for number, piece in enumerate(rule.raw or ()):
        await asyncio.sleep(rule.pace_seconds if number else 0)
        request.transport.write(piece.encode() if isinstance(piece, str) else piece)
    if rule.hang:
        await asyncio.Event().wait()
    if rule.cut_after_events is None:
        request.transport.close()
        return ConnectionResetError("closed by a rule")
    await flushed(request)
    return break_connection(request)


async def send_json(request: web.Request, body: object, headers: dict[str, str], rule: Rule) -> web.StreamResponse:
    """A whole JSON answer; page "Streaming": non-streaming answers wait for the last token."""
    if rule.cut_after_events is not None:
        raise break_connection(request)
    await asyncio.sleep(rule.first_event_delay_seconds)
    return web.json_response(body, headers={**headers, **rule.headers})


async def send_stream(
    request: web.Request, events: Sequence[bytes], headers: dict[str, str], rule: Rule
) -> web.StreamResponse:
    """The events, with comments and, unless cut or scripted, `[DONE]`."""
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache", **headers, **rule.headers}
    )
    await response.prepare(request)
    if rule.events is None:
        await response.write(COMMENT * 2)
    await wait(response, rule.first_event_delay_seconds, rule.keepalive_seconds)
    for number, block in enumerate(blocks(scripted(events, rule), rule)):
        if number and rule.pace_seconds:
            await wait(response, rule.pace_seconds, rule.keepalive_seconds)
        await response.write(block)
        if rule.chunk_bytes:
            await asyncio.sleep(0)  # lets a reader in this process see the piece by itself
    if rule.hang:
        await asyncio.Event().wait()
    if rule.cut_after_events is not None:
        await flushed(request)
        raise break_connection(request)
    await response.write_eof()
    return response


def scripted(events: Sequence[bytes], rule: Rule) -> list[bytes]:
    """The events that are to be sent, comments joined to the event after them."""
    if rule.events is not None:
        given = [event.encode() if isinstance(event, str) else event for event in rule.events]
        return given[: rule.cut_after_events]
    sent = [
        COMMENT + event if number and number % COMMENT_EVERY == 0 else event
        for number, event in enumerate(events[: rule.cut_after_events])
    ]
    return sent if rule.cut_after_events is not None or rule.hang else [*sent, DONE]


def blocks(events: list[bytes], rule: Rule) -> Iterator[bytes]:
    """What goes into one network write each: an event when paced, else as much as is sensible."""
    if rule.pace_seconds and not rule.chunk_bytes:
        yield from events
        return
    size = rule.chunk_bytes or BLOCK_BYTES
    whole = b"".join(events)
    for start in range(0, len(whole), size):
        yield whole[start : start + size]


async def wait(response: web.StreamResponse, seconds: float, keepalive: float | None) -> None:
    """Silence, or comments every `keepalive` seconds."""
    while keepalive and seconds > keepalive:
        await asyncio.sleep(keepalive)
        await response.write(COMMENT)
        seconds -= keepalive
    if seconds > 0:
        await asyncio.sleep(seconds)


async def flushed(request: web.Request) -> None:
    """Until the socket took what was written: an abort drops what is still in the buffer."""
    transport = request.transport
    while transport is not None and not transport.is_closing() and transport.get_write_buffer_size():  # noqa: ASYNC110 (asyncio has no event for it)
        await asyncio.sleep(0.001)
