"""A model's icon: its author's logo, fetched once by the server, or a monogram drawn here."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib
import io
import math
import re
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .codec import dump_json, mapping, parse_json
from .files import store_file
from .transport import Transport

# Author -> logo, where that is not the author without hyphens.
_LOGO_NAMES = dict(
    re.findall(
        r"(\S+):(\S+)",
        "01-ai:yi @preset:openrouter all-hands:openhands allenai:ai2 amazon:nova arcee-ai:arcee black-forest-labs:bfl "
        "bytedance-seed:bytedance cognitivecomputations:dolphin ibm-granite:ibm inclusionai:antgroup meituan:longcat "
        "meta-llama:meta mistralai:mistral moonshotai:moonshot rekaai:reka stepfun-ai:stepfun thudm:chatglm "
        "xiaomi:xiaomimimo",
    )
)
# Dark enough for white letters (contrast 4.9 and more).
_COLOURS = "b91c1cc2410cb453094d7c0f15803d0478570f766e0e74900369a11d4ed84338ca6d28d97e22cea21cafbe185d475569"
# Drawn four times larger than shown: Pillow draws hard edges. A mark fits the circle that Open WebUI cuts out.
_DRAWN, _MARK = 256, 224
_MAX_BYTES, _MAX_SIDE, _MAX_LOGOS = 512 * 1024, 2048, 1000
_ONE_FETCH_SECONDS = 5.0
_HOUR, _DAY = 3600, 86_400


class IconStore:
    """Keeps the logos in memory and on disk; one that could not be had is asked for again, but not soon."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._template: str | None = None
        # Logo -> its icon, or nothing, and the Unix time until which that is so.
        self._logos: dict[str, tuple[str, float]] = {}
        self._lock = asyncio.Lock()

    async def icons_for(
        self, authors: Iterable[str], kind: str, template: str, directory: Path | None
    ) -> dict[str, str]:
        """The icons of these authors, PNG data URLs; none without Pillow. Never raises; takes long while it fetches.

        Authors are what stands before the `/` of an API id, without `~`; the template is an address with `{name}`.
        """
        names = {author: _LOGO_NAMES.get(author) or author.replace("-", "") for author in authors if kind != "off"}
        logos = {}
        if kind == "brand":
            async with self._lock:
                await self._update(sorted({*names.values()})[:_MAX_LOGOS], template, directory)
                logos = {author: self._logos[name][0] for author, name in names.items() if name in self._logos}
        icons = await asyncio.to_thread(lambda: {author: logos.get(author) or monogram(author) for author in names})
        return {author: icon for author, icon in icons.items() if icon}

    async def _update(self, names: list[str], template: str, directory: Path | None) -> None:
        """Fetch the logos that are not there, unless that is known."""
        key = hashlib.sha256(ascii(template).encode()).hexdigest()[:16]
        path = directory / f"icons-{key}.json" if directory else None
        if template != self._template:
            self._logos = await asyncio.to_thread(_load_logos, path) if path else {}
            self._template = template
        now = time.time()
        # An icon is greater than "": it stays.
        due = [name for name in names if name not in self._logos or ("", now) > self._logos[name]]
        if due:
            self._logos |= dict.fromkeys(due, ("", now + _HOUR))
            rest = iter(due)
            await asyncio.gather(*(self._fetch(rest, template) for _ in range(4)))
            if path:
                await asyncio.to_thread(store_file, path, dump_json(self._logos), "icons")

    async def _fetch(self, names: Iterator[str], template: str) -> None:
        """Get logos, in colour if there is such a one, until there is no answer."""
        for name in names:
            icon = ""
            for file in (f"{name}-color", name):
                url = template.replace("{name}", quote(file, errors="replace"))
                status, body = await self._transport.get_bytes(url, _MAX_BYTES, _ONE_FETCH_SECONDS)
                if not status:
                    return
                if status == 200 and (icon := await asyncio.to_thread(_logo_tile, body)):
                    break
            if icon or status == 404:
                self._logos[name] = icon, time.time() + _DAY


@lru_cache(maxsize=1000)
def monogram(author: str) -> str:
    """One or two letters on the author's colour, as a PNG data URL; empty without Pillow."""
    words = re.findall("[a-z0-9]+", author.lower()) or ["?"]
    letters = words[0][0].upper() + (words[1][0].upper() if len(words) > 1 else words[0][1:2])
    at = hashlib.sha256(ascii(author).encode()).digest()[0] % 16 * 6
    try:
        mark = _pillow("Image").new("RGBA", (_DRAWN, _DRAWN))
        font = _pillow("ImageFont").load_default(_DRAWN // 2)
        _pillow("ImageDraw").Draw(mark).text((_DRAWN / 2, _DRAWN / 2), letters, "white", font, anchor="mm")
        return _tile(mark, f"#{_COLOURS[at : at + 6]}")
    except ImportError:
        return ""


def _pillow(module: str) -> Any:
    # Not at the top: Pillow takes milliseconds to load, and may be missing.
    return importlib.import_module(f"PIL.{module}")


def _tile(mark: Any, colour: str) -> str:
    """`mark` in the middle of a rounded square, as a PNG data URL of about 1 kB: each model's row has one."""
    tile = _pillow("Image").new("RGBA", (_DRAWN, _DRAWN))
    _pillow("ImageDraw").Draw(tile).rounded_rectangle((0, 0, _DRAWN - 1, _DRAWN - 1), _DRAWN // 4, colour)
    tile.alpha_composite(mark, ((_DRAWN - mark.width) // 2, (_DRAWN - mark.height) // 2))
    file = io.BytesIO()
    tile.resize((_DRAWN // 4, _DRAWN // 4)).quantize(64).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _logo_tile(body: bytes) -> str:
    """A logo on white, which black ones need in a dark theme; empty where `body` is no PNG of a sane size."""
    sides = int.from_bytes(body[16:20]), int.from_bytes(body[20:24])
    if body[:16] != b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" or max(sides) > _MAX_SIDE:
        return ""
    try:
        logo = _pillow("Image").open(io.BytesIO(body)).convert("RGBA")
        # Nothing is left of a picture without a visible dot, which is an error below.
        logo = logo.crop(logo.getchannel("A").getbbox() or (0, 0, 0, 0))
        scale = _MARK / math.hypot(*logo.size)
        return _tile(logo.resize([max(1, round(side * scale)) for side in logo.size]), "white")
    except Exception:  # noqa: BLE001 - a broken file makes Pillow raise whatever it likes
        return ""


def _load_logos(path: Path) -> dict[str, tuple[str, float]]:
    """What is stored, if it is sound."""
    try:
        stored = mapping(parse_json(path.read_bytes()))
        return {name: (str(icon), float(until)) for name, (icon, until) in stored.items()}
    except (OSError, ValueError, TypeError):
        return {}
