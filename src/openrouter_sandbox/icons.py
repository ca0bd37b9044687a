"""Logos for tests, and the odd things that an address of logos may answer with."""

from __future__ import annotations

import asyncio
import struct
import zlib

from aiohttp import web

PNG = b"\x89PNG\r\n\x1a\n"
ENDLESS_EVERY_SECONDS = 0.02


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def header(width: int, height: int) -> bytes:
    """The start of a PNG with colours and transparency."""
    return PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))


def disc(colour: tuple[int, int, int], side: int = 64) -> bytes:
    """A PNG: a disc of one colour on nothing."""
    middle = side / 2
    rows = bytearray()
    for y in range(side):
        inside = [(x - middle) ** 2 + (y - middle) ** 2 < middle**2 for x in range(side)]
        rows += b"\0" + b"".join(bytes((*colour, 255 * dot)) for dot in inside)
    return header(side, side) + chunk(b"IDAT", zlib.compress(bytes(rows))) + chunk(b"IEND", b"")


def files() -> dict[str, bytes]:
    """Name without `.png` -> content. The set is like the real one: a `-color` file for some, a plain one for all."""
    black = disc((0, 0, 0))
    return {
        **dict.fromkeys(("openai", "anthropic", "xai", "google", "mistral"), black),
        "google-color": disc((66, 133, 244)),
        "mistral-color": disc((250, 80, 15)),
        "openrouter-color": disc((100, 103, 242)),
        # What is no logo, or none to trust.
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "html": b"<!doctype html><title>Sign in</title>",
        "empty": b"",
        "huge": black[:-12] + chunk(b"tEXt", b"Comment\0" + bytes(600 * 1024)) + black[-12:],
        "bomb": header(60_000, 60_000) + chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b""),
        "broken": black[:200],
        "nothing": header(8, 8) + chunk(b"IDAT", zlib.compress(bytes(8 * 33))) + chunk(b"IEND", b""),
    }


async def serve(request: web.Request, name: str, logos: dict[str, bytes]) -> web.StreamResponse:
    """`/icons/{name}.png`. Strict: whoever sends a key here has sent it to a stranger."""
    if "Authorization" in request.headers:
        raise web.HTTPBadRequest(text="A key has no business here.")
    if name == "elsewhere":
        raise web.HTTPFound("file:///etc/hostname")
    if name == "moved":
        raise web.HTTPFound("/icons/openai.png")
    if name == "endless":
        return await endless(request)
    if name not in logos:
        raise web.HTTPNotFound(text="Not found: /" + name)
    return web.Response(body=logos[name], content_type="image/png")


async def endless(request: web.Request) -> web.StreamResponse:
    """A PNG that never ends, a byte at a time."""
    response = web.StreamResponse(headers={"Content-Type": "image/png"})
    await response.prepare(request)
    await response.write(header(64, 64))
    while True:
        await response.write(b"\0")
        await asyncio.sleep(ENDLESS_EVERY_SECONDS)
