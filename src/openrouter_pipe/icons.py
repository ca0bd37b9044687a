"""A model's icon: its author's logo, fetched once by the server, or a monogram drawn here."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import io
import math
import re
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from .codec import mapping
from .settings import Settings
from .shared import read_shared, write_shared
from .transport import Transport

# Author -> logo, where that is not the author without hyphens.
_OTHER_NAMES = (
    "01-ai:yi allenai:ai2 amazon:nova arcee-ai:arcee bytedance-seed:bytedance ibm-granite:ibm inclusionai:antgroup "
    "meituan:longcat meta-llama:meta mistralai:mistral moonshotai:moonshot rekaai:reka stepfun-ai:stepfun "
    "thudm:chatglm xiaomi:xiaomimimo"
)
_LOGO_NAMES = dict(pair.split(":") for pair in _OTHER_NAMES.split())
# Drawn four times larger than shown: Pillow draws hard edges.
_SIZE = (256, 256)
_LOGO_SECONDS = 5.0


async def icons_for(transport: Transport, authors: Iterable[str], settings: Settings) -> dict[str, str]:
    """The icons of these authors, PNG data URLs. Fetches logos for 5 s at most."""
    if settings.MODEL_ICONS == "off":
        return {}
    names = {author: _LOGO_NAMES.get(author, author.replace("-", "")) for author in authors}
    logos = await _logos(transport, {*names.values()}, settings.ICON_URL) if settings.MODEL_ICONS == "brand" else {}
    return await asyncio.to_thread(lambda: {author: logos.get(names[author]) or monogram(author) for author in names})


async def _logos(transport: Transport, names: set[str], template: str) -> dict[str, str]:
    """The logos, by name, of this address. One that is not there (`""`) is asked for again on another day."""
    day = int(time.time() // 86_400)
    stored = await read_shared("icons.json")
    kept = mapping(stored.get("logos")) if stored.get("address") == template else {}
    logos = {name: icon for name, icon in kept.items() if icon or stored.get("day") == day}
    found: dict[str, str] = {}
    due = names - logos.keys()
    queue = iter(due)
    with suppress(TimeoutError):
        async with asyncio.timeout(_LOGO_SECONDS):
            await asyncio.gather(*(_fetch(transport, queue, template, found) for _ in range(4)))
    if due:
        # Where nobody answers, the rows do not wait again today.
        logos |= found or dict.fromkeys(due, "")
        await write_shared("icons.json", {"address": template, "day": day, "logos": logos})
    return logos


async def _fetch(transport: Transport, names: Iterator[str], template: str, logos: dict[str, str]) -> None:
    """Get logos, in colour if there is such a one. What gave no answer, or an error, is left out."""
    for name in names:
        for file in (f"{name}-color", name):
            url = template.replace("{name}", quote(file, errors="replace"))
            status, body = await transport.get_bytes(url, 512 * 1024)
            icon = await asyncio.to_thread(_logo_tile, body) if status == 200 else ""
            if icon:
                break
        if status in (200, 404):
            logos[name] = icon


def monogram(author: str) -> str:
    """One or two letters on the author's colour, as a PNG data URL."""
    first, *others = re.findall("[a-z0-9]+", author.lower()) or ["?"]
    letters = f"{first[0]}{others[0][0]}".upper() if others else first[:2].capitalize()
    hue = hashlib.sha256(ascii(author).encode()).digest()[0] * 360 // 256
    mark = _pillow("Image").new("RGBA", _SIZE)
    font = _pillow("ImageFont").load_default(128)
    _pillow("ImageDraw").Draw(mark).text((128, 128), letters, "white", font, anchor="mm")
    # Dark enough for white letters, whatever the hue.
    return _tile(mark, f"hsl({hue}, 65%, 28%)")


def _pillow(module: str) -> Any:
    # Not at the top: Pillow takes milliseconds to load.
    return importlib.import_module(f"PIL.{module}")


def _tile(mark: Any, colour: str) -> str:
    """`mark` in the middle of a rounded square, as a PNG data URL of about 1 kB: each model's row has one."""
    tile = _pillow("Image").new("RGBA", _SIZE)
    _pillow("ImageDraw").Draw(tile).rounded_rectangle((0, 0, 255, 255), 64, colour)
    tile.alpha_composite(mark, ((256 - mark.width) // 2, (256 - mark.height) // 2))
    file = io.BytesIO()
    tile.resize((64, 64)).quantize(64).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"


def _logo_tile(body: bytes) -> str:
    """A logo on white, which black ones need in a dark theme; empty where `body` is no PNG of a sane size."""
    try:
        # Opening reads no more than the size.
        logo = _pillow("Image").open(io.BytesIO(body), formats=["PNG"])
        if max(logo.size) > 2048:
            return ""
        logo = logo.convert("RGBA")
        # Nothing is left of a picture without a visible dot, which is an error below.
        logo = logo.crop(logo.getbbox() or (0, 0, 0, 0))
        # It fits the circle that Open WebUI cuts out.
        scale = 224 / math.hypot(*logo.size)
        return _tile(logo.resize([max(1, round(side * scale)) for side in logo.size]), "white")
    except Exception:  # noqa: BLE001 - a broken file makes Pillow raise whatever it likes
        return ""
