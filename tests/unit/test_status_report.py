"""The status model's answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openrouter_pipe.catalog import Catalog, Preset
from openrouter_pipe.problems import Problem
from openrouter_pipe.status_report import status_report
from openrouter_pipe.virtual_models import Published, Publishing

GOLDEN = Path(__file__).with_name("golden") / "status_report.md"
NOW = 1_800_000_000.0
KEY = {
    "label": "sk-or-v1-0e6...1c96",
    "limit": 100,
    "limit_remaining": 74.5,
    "limit_reset": "monthly",
    "usage": 25.5,
    "usage_daily": 0.0123,
    "usage_monthly": 25.5,
}
TOOLS = {"supported_parameters": ["tools"]}
ROWS = [
    {"id": "openai/gpt-4o", "name": "OpenAI: GPT-4o", **TOOLS},
    {"id": "openai/gpt-4o-mini", "name": "OpenAI: GPT-4o-mini", **TOOLS},
    {"id": "anthropic/claude-sonnet-4.5", "name": "Anthropic: Claude Sonnet 4.5", **TOOLS},
    {"id": "x/toolless", "name": "X: Toolless", "supported_parameters": ["seed"]},
    {"id": "y/other", "name": "Y: Other", **TOOLS},
    {"id": "z/batched:batch", "name": "Z: Batched (batch)", **TOOLS},
    {"id": "z/painter", "architecture": {"output_modalities": ["image"]}},
]
VARIANTS = """
openai/gpt-4o:nitro           # fine
opnai/gpt-4o:nitro            # unknown base
openai/gpt-4o-nitro           # missing colon
openai/gpt-4o:free:extended   # two catalog tags
openai/gpt-4o:free            # a catalog tag that the catalog does not have
openai/gpt-4o:fast            # an unknown tag
openai/gpt-4o:batch
openai/gpt-4o@preset/not good!
openai/gpt-4o@preset/a,b:nitro@preset/-
openai/gpt-4o@support         # without preset/
openai/gpt-4o:online          # deprecated
y/other:nitro                 # its base is left out
x/toolless:nitro              # a filter leaves it out
nobody/*:nitro
@preset/*
"""


def report(**changes: Any) -> str:
    catalog = Catalog.from_rows(ROWS).with_presets(
        [Preset("support", "Customer *Support* (EU)", "", "openai/gpt-4o"), Preset("plain", "Plain")]
    )
    publishing = Publishing("openai/*, anthropic/*, x/*, gtp-4o*, z/*, !nobody/*", VARIANTS, "all", "only")
    published = Published(catalog, publishing)
    odd = Problem("REASONING_EFFORT", "", "the stored value does not fit", "the default is used")
    state: dict[str, Any] = {
        "version": "1.2.3",
        "key": KEY,
        "published": published,
        "fetched_at": NOW - 720,
        "problems": (odd, *published.problems),
        "errors": ((NOW - 90_000, "No key."), (NOW - 30, "Fireworks is rate-limiting openai/gpt-4o. Try again.")),
        "now": NOW,
    }
    return status_report(**{**state, **changes})


def test_the_report_with_one_problem_of_each_kind() -> None:
    assert report() == GOLDEN.read_text(encoding="utf-8").rstrip("\n")


def test_the_report_when_nothing_is_known() -> None:
    text = report(key="none", published=None, fetched_at=0.0, problems=(), errors=())
    assert text == (
        "**OpenRouter pipe 1.2.3**\n\n### Key\n- none\n\n### Models\n- no model is known yet\n\n"
        "### Problems\n- none\n\n### Last errors\n- none"
    )


@pytest.mark.parametrize(
    "odd", [{}, {"usage": "x", "limit": "x", "limit_remaining": None, "label": 5, "limit_reset": 5}]
)
def test_an_odd_key_answer_costs_nothing_else(odd: dict[str, object]) -> None:
    text = report(key=odd)
    assert "limit: none" in text
    assert "### Models" in text


def test_a_flood_is_cut_and_counted() -> None:
    text = report(problems=tuple(Problem("X", str(number), "odd") for number in range(500)))
    assert text.count("X: odd: ") == 100
    assert "more" in text


def test_what_others_wrote_cannot_draw_a_page_or_show_a_key() -> None:
    hostile = "[click](http://evil) <img src=x> **b** `code` sk-or-v1-abcdef0123456789"
    text = report(problems=(Problem("MODEL_ID", hostile, hostile, hostile),), errors=((NOW, hostile),))
    assert "sk-or-v1-abcdef" not in text
    assert "\\[click\\](http://evil) \\<img src=x\\> \\*\\*b\\*\\* \\`code\\`" in text
