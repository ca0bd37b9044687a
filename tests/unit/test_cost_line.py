"""The line under an answer."""

from __future__ import annotations

import math
from typing import Any

import pytest

from openrouter_pipe.catalog import UNKNOWN, Model, parse_model
from openrouter_pipe.cost_line import add_usage, cost_line, dollars
from openrouter_pipe.model_ref import ModelRef

USAGE = {
    "prompt_tokens": 1204,
    "completion_tokens": 350,
    "prompt_tokens_details": {"cached_tokens": 1024},
    "cost": 0.0123,
}


def spent(*rounds: tuple[dict[str, Any], float]) -> dict[str, float]:
    """What rounds with these usages and seconds have used."""
    whole: dict[str, float] = {}
    for usage, seconds in rounds:
        add_usage(whole, usage, seconds)
    return whole


def line(asked: str = "openai/gpt-4o", row: dict[str, Any] | None = None, tier: object = None, **served: object) -> str:
    model = (parse_model(row) if row else None) or UNKNOWN
    return cost_line(spent((USAGE, 350 / 82)), served, ModelRef.from_api(asked), model, tier)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0"),
        (12.345, "$12.35"),
        (1234.5, "$1,234.50"),
        (1, "$1.00"),
        (0.99, "$0.9900"),
        (0.0123, "$0.0123"),
        (0.01, "$0.0100"),
        (0.00123, "$0.0012"),
        (0.000_045_6, "$0.000046"),
        (1e-30, "$0.000000000000"),
    ],
)
def test_dollars_are_as_exact_as_they_are_small(amount: float, text: str) -> None:
    assert dollars(amount) == text


def test_the_whole_line() -> None:
    assert line(provider="Fireworks") == "$0.0123 · 1,204 in (1,024 cached) · 350 out · 82 tok/s · Fireworks"


def test_what_is_unknown_is_left_out() -> None:
    ref = ModelRef.from_api("a/b")
    assert cost_line({}, {}, ref, UNKNOWN, None) == ""
    assert cost_line(spent(({"prompt_tokens": 3}, 0)), {}, ref, UNKNOWN, None) == "3 in"
    assert cost_line(spent(({"completion_tokens": 3, "cost": 0}, 0.1)), {}, ref, UNKNOWN, None) == "$0 · 3 out"


@pytest.mark.parametrize("odd", [None, -5, math.nan, math.inf, [], {}, 10**400])
def test_odd_numbers_are_unknown(odd: object) -> None:
    usage = {
        "cost": odd,
        "prompt_tokens": odd,
        "completion_tokens": odd,
        "prompt_tokens_details": {"cached_tokens": odd},
    }
    assert spent((usage, 1.0)) == {"seconds": 1.0}
    assert cost_line(spent((usage, 1.0)), {"provider": odd, "model": odd}, ModelRef("a/b"), UNKNOWN, odd) == ""


def test_what_upstream_calls_as_the_pipe_does_is_something_else() -> None:
    odd = {"completion_tokens": 350, "prompt_tokens_details": {"timed": 4}, "seconds": 0, "timed": 4}
    assert cost_line(spent((odd, 0.1)), {}, ModelRef("a/b"), None, None) == "350 out"
    assert cost_line(spent((odd, 0.1), (odd, 3.5)), {}, ModelRef("a/b"), None, None) == "700 out · 100 tok/s"


def test_the_rounds_of_an_answer_are_added_up() -> None:
    whole = spent((USAGE, 2.0), (USAGE, 0.0), ({}, 1.0))
    names = ("cost", "prompt_tokens", "cached_tokens", "completion_tokens")
    assert [whole[name] for name in names] == [0.0246, 2408, 2048, 700]
    assert whole["timed"] / whole["seconds"] == pytest.approx(350 / 3), "a round that came in one piece has no speed"


def test_the_provider_comes_from_the_routing_metadata_where_the_answer_does_not_name_it() -> None:
    available = [{"provider": "Slow", "selected": False}, {"provider": "Fireworks", "selected": True}, "odd"]
    assert line(openrouter_metadata={"endpoints": {"available": available}}).endswith(" · Fireworks")
    assert line(openrouter_metadata={"endpoints": {"available": None}}).endswith(" tok/s")


ROW = {"id": "anthropic/claude-sonnet-4.5", "canonical_slug": "anthropic/claude-4.5-sonnet-20250929"}


@pytest.mark.parametrize(
    ("asked", "answered", "row"),
    [
        ("openai/gpt-4o", "openai/gpt-4o-2024-11-20", None),
        ("openai/gpt-4o:nitro", "openai/gpt-4o", None),
        ("openai/gpt-4o@preset/x", "openai/gpt-4o", None),
        ("deepseek/deepseek-r1:free:nitro", "deepseek/deepseek-r1:free", None),
        ("anthropic/claude-sonnet-4.5:nitro", "anthropic/claude-4.5-sonnet-20250929", ROW),
        ("anthropic/claude-sonnet-4.5", "anthropic/claude-4.5-sonnet", ROW),
        ("openrouter/auto", "openai/gpt-4o", None),
        ("~anthropic/claude-sonnet-latest", "anthropic/claude-sonnet-5", None),
        ("@preset/support", "openai/gpt-4o", None),
        ("openai/gpt-4o", None, None),
    ],
)
def test_the_same_model_under_another_name_is_no_news(asked: str, answered: object, row: dict[str, Any] | None) -> None:
    assert "⚠" not in line(asked, row, model=answered)


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("openai/gpt-4o", "openai/gpt-4o-mini"),
        ("deepseek/deepseek-r1:free", "deepseek/deepseek-r1"),
        ("openai/gpt-4o:nitro", "anthropic/claude-sonnet-4.5"),
    ],
)
def test_another_model_is_told_of_first(asked: str, answered: str) -> None:
    assert line(asked, model=answered).startswith(f"⚠ answered by {answered}, asked for {asked} · $")


@pytest.mark.parametrize(
    ("served", "asked", "text"),
    [
        ("priority", None, "service tier priority · "),
        ("default", "flex", "service tier default, asked for flex · "),
        ("flex", "flex", ""),
        ("default", "auto", ""),
        (None, "flex", ""),
        ("standard", None, ""),
    ],
)
def test_another_service_tier_is_named(served: object, asked: object, text: str) -> None:
    assert line(tier=asked, service_tier=served).startswith(f"{text}$0.0123")


def test_the_canonical_slug_of_a_row() -> None:
    model = parse_model(ROW)
    assert isinstance(model, Model)
    assert model.canonical_slug == ROW["canonical_slug"]
    plain = parse_model({"id": "a/b"})
    assert isinstance(plain, Model)
    assert plain.canonical_slug == "a/b"
