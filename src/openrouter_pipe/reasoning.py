"""Reasoning: how much is asked for, and carrying it unchanged from one round of a conversation to the next.

Open WebUI keeps `reasoning_details` (of /chat/completions) with each answer and hands them back. /responses has `reasoning`
items instead: `details_of` and `reasoning_items` are each other's inverse.
Source: OpenRouter docs, guides/best-practices/reasoning-tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

from .catalog import Model
from .codec import JsonDict, JsonObject, as_text, dicts, mapping, texts_in

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
# Type of a readable detail → its field; the list in a reasoning item of /responses, and the type there.
_READABLE = {
    "reasoning.summary": ("summary", "summary", "summary_text"),
    "reasoning.text": ("text", "content", "reasoning_text"),
}
# What a detail is kept for.
_CONTENTS = ("text", "summary", "data", "signature", "result")
# Open WebUI drops details of this format without a signature; where none is to be expected, a stand-in keeps them.
_SIGNED_FORMAT = "anthropic-claude-v1"
_STAND_IN = {"signature": "not signed"}


def choose_reasoning(
    asked: JsonObject, model: Model, enabled: bool, default_effort: str, least: bool
) -> tuple[JsonDict | None, bool, bool]:
    """What to send as `reasoning` (None: nothing), whether to show what comes back, and whether the model is to think.

    Decided from what was asked, the row and the valves; `least` wants as little as can be. Not `enabled` (the admin's
    switch): effort `none`, or where reasoning is mandatory the lowest effort, unseen.
    """
    reasons = model.reasons
    if reasons is False:
        return None, enabled, False
    if not enabled:
        asked = {"reasoning": {"effort": "none", "exclude": True}}
    elif least:
        # A model that may not reason might refuse what nobody has asked for.
        asked, default_effort = {"reasoning": {"effort": "none"}} if reasons else {}, "default"
    parameters = {key: value for key, value in mapping(asked.get("reasoning")).items() if value is not None}
    # The more exact statement holds; `reasoning_effort` is free text in Open WebUI.
    wanted = [parameters.pop("effort", None)]
    if "max_tokens" not in parameters:
        wanted.append(asked.get("reasoning_effort"))
        if "enabled" not in parameters:
            wanted.append(default_effort)
    efforts = [effort for value in wanted if (effort := as_text(value).strip().lower()) in EFFORTS]
    if parameters.get("enabled") is False and model.reasoning_mandatory:
        del parameters["enabled"]
        efforts = ["none"]
    if efforts:
        parameters["effort"] = nearest_effort(efforts[0], model)
    off = parameters.get("effort") == "none" or parameters.get("enabled") is False
    shown = parameters.get("exclude") is not True and asked.get("include_reasoning") is not False
    return parameters or None, shown, bool(reasons or parameters) and not off


def nearest_effort(effort: str, model: Model) -> str:
    """The closest effort that the row lists, the lower one of two; `none` is allowed unless reasoning is mandatory."""
    mandatory = model.reasoning_mandatory
    if effort == "none" and not mandatory:
        return effort
    listed = model.efforts
    allowed = [known for known in EFFORTS if known in listed and not (mandatory and known == "none")]
    return min(allowed or EFFORTS[1:], key=lambda known: abs(EFFORTS.index(known) - EFFORTS.index(effort)))


class DetailsCollector:
    """Puts streamed `reasoning_details` together, by index and type; opaque ones come whole."""

    def __init__(self) -> None:
        self.details: list[JsonDict] = []
        self._streaming: dict[tuple[int | None, str], JsonDict] = {}

    def add(self, details: object, whole: bool = False) -> str:
        """Take the fragments of one event, or the details of a `whole` answer; returns their readable text."""
        told: list[str] = []
        for detail in _valid_details(details):
            field = _READABLE.get(detail["type"], ("",))[0]
            place, text = (detail.get("index"), field), detail.get(field) or ""
            known = self._streaming.get(place)
            if known and field and not whole:
                known |= {key: value for key, value in detail.items() if value and key != field}
                known[field] = (known.get(field) or "") + text
            elif detail not in self.details:
                self._streaming[place] = known = dict(detail)
                self.details.append(known)
            told.append(text)
        return ("\n\n" if whole else "").join(filter(None, told))


def kept_details(details: Iterable[JsonDict]) -> list[JsonDict]:
    """The details that say something, as Open WebUI keeps them: each with an index of its own."""
    kept: list[JsonDict] = []
    for detail in _valid_details(list(details)):
        if any(map(detail.get, _CONTENTS)):
            # A text without its signature is half a text, and would be refused upstream: Open WebUI may drop it.
            never_signed = detail["type"] != "reasoning.text" and not detail.get("signature")
            stand_in = _STAND_IN if never_signed and detail.get("format") == _SIGNED_FORMAT else {}
            kept.append({**detail, **stand_in, "index": len(kept)})
    return kept


def replayed_details(details: object) -> list[JsonDict]:
    """The details of a message as they came from upstream."""
    return [
        {key: value for key, value in detail.items() if {key: value} != _STAND_IN} for detail in _valid_details(details)
    ]


def details_of(item: JsonObject) -> list[JsonDict]:
    """The details that stand for one `reasoning` item of /responses."""
    signature, data = item.get("signature"), item.get("encrypted_content")
    common = {key: item[key] for key in ("id", "format") if item.get(key)}
    if (signature or data) and common.get("format") == _SIGNED_FORMAT:
        # With its proof an item is complete, and none of it may get lost.
        common |= _STAND_IN
    details: list[JsonDict] = [
        {"type": kind, field: text, **common}
        for kind, (field, place, _) in _READABLE.items()
        for text in texts_in(item.get(place), "text")
    ]
    if signature:
        if not details or details[-1]["type"] != "reasoning.text":
            details.append({"type": "reasoning.text", **common})
        details[-1]["signature"] = signature
    if data:
        details.append({"type": "reasoning.encrypted", "data": data, **common})
    return details


def reasoning_items(details: Iterable[JsonObject]) -> list[JsonDict]:
    """The `reasoning` items of /responses for the details of one message; those that share an id are one item."""
    items: list[JsonDict] = []
    for detail in details:
        field, place, part = _READABLE.get(detail["type"], ("", "", ""))
        new = {key: detail[key] for key in ("id", "format", "signature") if detail.get(key)}
        if detail.get("data") is not None:
            new["encrypted_content"] = detail["data"]
        elif not field:
            # A server tool's call has no place in such an item.
            continue
        if not items or not _continues(items[-1], new):
            items.append({"type": "reasoning", "summary": []})
        items[-1].update(new)
        if detail.get(field) is not None:
            items[-1].setdefault(place, []).append({"type": part, "text": detail[field]})
    return items


def _valid_details(details: object) -> list[JsonDict]:
    """What of them is one of OpenRouter's details, with nothing of another type in it."""
    return [
        detail
        for detail in dicts(details)
        if str(detail.get("type")).startswith("reasoning.")
        and isinstance(detail.get("index"), int | None)
        and all(isinstance(detail.get(key), str | None) for key in (*_CONTENTS, "id", "format"))
    ]


def _continues(item: JsonObject, new: JsonObject) -> bool:
    """Whether `new` belongs to the item before: the same id, and no second proof."""
    # /chat/completions leaves ids out, of all details of an item or of all but the last: then an item ends with its proof.
    proofs = item.keys() & {"signature", "encrypted_content"}
    if "id" in item and "id" in new:
        return bool(item["id"] == new["id"]) and proofs.isdisjoint(new)
    return not proofs
