"""The pictures: monograms, and logos on their tile."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from openrouter_pipe import icons
from openrouter_sandbox.icons import files

AUTHORS = [
    "openai",
    "sao10k",
    "black-forest-labs",
    "@preset",
    "a",
    "01-ai",
    "",
    "../..",
    "日本",
    "a" * 10_000,
    "\ud800",
]
ODD = ["svg", "html", "empty", "bomb", "broken", "nothing"]


def picture(icon: str) -> Any:
    """The icon as Open WebUI would show it: a small PNG, which is checked, decoded."""
    assert icon.startswith("data:image/png;base64,")
    assert len(icon) < 3000
    image = Image.open(io.BytesIO(base64.b64decode(icon.partition(",")[2], validate=True)))
    assert (image.format, image.size) == ("PNG", (64, 64))
    return image.convert("RGBA")


def png(mode: str, size: tuple[int, int], colour: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "PNG")
    return file.getvalue()


def outside_the_circle(image: Any) -> list[Any]:
    """The opaque pixels that Open WebUI, which shows a circle, cuts off."""
    dots = ((x, y) for x in range(64) for y in range(64) if (x - 31.5) ** 2 + (y - 31.5) ** 2 > 32**2)
    return [image.getpixel(dot) for dot in dots if image.getpixel(dot)[3] == 255]


@pytest.mark.parametrize("author", AUTHORS, ids=lambda author: ascii(author[:20]))
def test_a_monogram_is_white_letters_on_a_rounded_square_of_one_colour(author: str) -> None:
    image = picture(icons.monogram(author))
    assert [image.getpixel(corner)[3] for corner in ((0, 0), (63, 0), (0, 63), (63, 63))] == [0] * 4
    background = image.getpixel((32, 2))
    assert max(background[:3]) < 225
    assert any(min(image.getpixel((x, y))) > 240 for x in range(64) for y in range(64))
    # Only the background is left where the circle ends.
    assert all(abs(a - b) < 12 for dot in outside_the_circle(image) for a, b in zip(dot, background, strict=True))


def test_an_author_keeps_its_colour_which_is_readable_under_white() -> None:
    def light(part: int) -> float:
        return part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4

    authors = [f"author{number}" for number in range(40)]
    colours = [picture(icons.monogram(author)).getpixel((32, 2))[:3] for author in authors]
    for red, green, blue in colours:
        luminance = light(red) * 0.2126 + light(green) * 0.7152 + light(blue) * 0.0722
        assert 1.05 / (luminance + 0.05) > 4.5
    assert len(set(colours)) > 20
    assert icons.monogram("author0") == icons.monogram("author0")


def test_letters_tell_authors_of_one_colour_apart() -> None:
    every = {icons.monogram(author) for author in ("neversleep", "nex-agi", "nvidia", "n", "x-ai", "xiaomi", "x")}
    assert len(every) == 7


@pytest.mark.parametrize(
    ("mode", "size", "colour"),
    [
        ("RGBA", (640, 640), (255, 0, 0, 255)),
        ("RGBA", (2048, 4), (255, 0, 0, 255)),
        ("RGBA", (4, 2048), (255, 0, 0, 255)),
        ("RGB", (16, 16), (255, 0, 0)),
        ("P", (640, 300), 1),
        ("L", (100, 100), 10),
        ("LA", (1, 1), (10, 255)),
        ("1", (100, 100), 0),
    ],
    ids=str,
)
def test_a_logo_fits_the_circle_on_a_white_tile(mode: str, size: tuple[int, int], colour: Any) -> None:
    image = picture(icons._logo_tile(png(mode, size, colour)))
    assert image.getpixel((0, 0))[3] == 0
    assert min(image.getpixel((32, 3))) > 245
    assert min(image.getpixel((32, 32))[:3]) < 245, "the logo is in the middle"
    assert all(min(dot) > 245 for dot in outside_the_circle(image))


def test_the_empty_margin_of_a_logo_is_cut_off() -> None:
    small = Image.new("RGBA", (640, 640))
    small.paste((255, 0, 0, 255), (10, 10, 60, 60))
    file = io.BytesIO()
    small.save(file, "PNG")
    middle = picture(icons._logo_tile(file.getvalue())).getpixel((20, 20))
    assert middle == pytest.approx((255, 0, 0, 255), abs=8)


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_sound_png_is_no_logo(name: str) -> None:
    assert icons._logo_tile(files()[name]) == ""


def test_other_pictures_are_no_logos() -> None:
    for kind in ("JPEG", "GIF", "WEBP", "BMP", "ICO"):
        file = io.BytesIO()
        Image.new("RGB", (64, 64), "red").save(file, kind)
        assert icons._logo_tile(file.getvalue()) == "", kind
        assert icons._logo_tile(b"\x89PNG\r\n\x1a\n" + file.getvalue()) == "", kind


def test_a_picture_that_would_take_much_memory_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [png("1", size, 0) for size in ((2049, 1), (1, 2049), (6000, 6000))]
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("it was decoded"))
    assert [icons._logo_tile(body) for body in [*bodies, files()["bomb"]]] == [""] * 4


def test_pillow_is_not_loaded_before_an_icon_is_drawn() -> None:
    script = "import sys, openrouter_pipe.icons as i; a = 'PIL' in sys.modules; i.monogram('x'); print(a, 'PIL' in sys.modules)"
    source = Path(icons.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", script], cwd=source, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
