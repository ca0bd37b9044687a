"""The status line of an answer: what it cost, how much was read and written, how fast, and who served it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from .catalog import Model, one_line
from .codec import JsonObject, amount_of, dicts, mapping
from .model_ref import ROUTING_TAGS, ModelRef

# Shorter than this, the speed says more about the network than about the model.
_MIN_SECONDS = 0.2
# `-2024-11-20`, `-20250929`: a snapshot of the same model.
_DATE = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|20\d{6})$")
# Tiers that mean: nothing special.
_USUAL_TIERS = {"", "auto", "default", "standard"}


def add_usage(spent: dict[str, float], usage: JsonObject, seconds: float) -> None:
    """Add what one more round of an answer has used to what the others have, both under the names of /chat/completions.

    Also `seconds`, where they tell how fast it was, and how many tokens were written in them: `timed`.
    """
    # The last two names are ours: what upstream may call so is something else.
    told = {**usage, **mapping(usage.get("prompt_tokens_details")), "timed": None, "seconds": None}
    if seconds >= _MIN_SECONDS:
        told |= {"timed": usage.get("completion_tokens"), "seconds": seconds}
    for name, value in told.items():
        amount = amount_of(value)
        if amount is not None:
            spent[name] = spent.get(name, 0.0) + amount


def cost_line(spent: Mapping[str, float], served: JsonObject, asked: ModelRef, model: Model, tier: object) -> str:
    """The line, without what is unknown.

    `served`: what upstream said of the serving (`model`, `provider`, `service_tier`, `openrouter_metadata`); `tier`: the
    service tier that was asked for. Source: OpenRouter docs, guides/features/router-metadata.
    """
    endpoints = mapping(mapping(served.get("openrouter_metadata")).get("endpoints"))
    selected = (found.get("provider") for found in dicts(endpoints.get("available")) if found.get("selected"))
    provider = served.get("provider") or next(selected, None)
    cached = f" ({spent['cached_tokens']:,.0f} cached)" if spent.get("cached_tokens") else ""
    parts = (
        _other_model(served.get("model"), asked, model),
        _other_tier(served.get("service_tier"), tier),
        dollars(spent["cost"]) if "cost" in spent else "",
        f"{spent['prompt_tokens']:,.0f} in{cached}" if spent.get("prompt_tokens") else "",
        f"{spent['completion_tokens']:,.0f} out" if spent.get("completion_tokens") else "",
        f"{spent['timed'] / spent['seconds']:.0f} tok/s" if spent.get("timed") else "",
        one_line(provider)[:60],
    )
    return " · ".join(filter(None, parts))


def dollars(amount: float) -> str:
    """US dollars: two decimals from $1, four from $0.01, two significant digits below."""
    if amount <= 0:
        return "$0"
    decimals = 2 if amount >= 1 else 4 if amount >= 0.01 else min(1 - math.floor(math.log10(amount)), 12)
    return f"${amount:,.{decimals}f}"


def _other_model(answered: object, asked: ModelRef, model: Model) -> str:
    """A warning when another model answered than the chosen one; a router, an alias and a preset alone choose by themselves."""
    name = one_line(answered)[:120]
    if not name or not asked.base or asked.base.startswith(("openrouter/", "~")):
        return ""
    own = (asked.api_id, model.id, model.canonical_slug)
    if name in own or _plain_name(name) in map(_plain_name, own):
        return ""
    return f"⚠ answered by {name}, asked for {asked.api_id}"


def _plain_name(text: str) -> str:
    """The model's name without preset, routing tags and date."""
    ref = ModelRef.from_api(text.lower())
    return ":".join((_DATE.sub("", ref.base), *(tag for tag in ref.variants if tag not in ROUTING_TAGS)))


def _other_tier(served: object, asked: object) -> str:
    got, wanted = one_line(served)[:30], one_line(asked)[:30]
    if not got or got == wanted or {got, wanted} <= _USUAL_TIERS:
        return ""
    return f"service tier {got}" if wanted in _USUAL_TIERS else f"service tier {got}, asked for {wanted}"
