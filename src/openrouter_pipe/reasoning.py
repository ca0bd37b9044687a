"""Reasoning: how much of it is asked for, and carrying it unchanged from one round of a conversation to the next.

Open WebUI keeps `reasoning_details` (the form of /chat/completions) with each answer and hands them back. On /responses the
same information is in `reasoning` items: `details_of` and `reasoning_items` are each other's inverse.
Source: OpenRouter docs, guides/best-practices/reasoning-tokens.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .catalog import Model
from .codec import dicts

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
# The keys of `reasoning` that say how much.
_AMOUNTS = frozenset(("effort", "max_tokens", "enabled"))
# Type of a detail → the field with its content, which streams in fragments.
_CONTENT_FIELDS = {"reasoning.text": "text", "reasoning.summary": "summary", "reasoning.encrypted": "data"}
# Without these a detail would be refused. Source: OpenRouter's OpenAPI document, ReasoningDetailUnion.
_REQUIRED = {
    "reasoning.summary": ("summary",),
    "reasoning.encrypted": ("data",),
    "reasoning.server_tool_call": ("tool_name", "arguments", "result"),
}
_FIELD_TYPES: dict[str, Any] = {
    **dict.fromkeys(("text", "summary", "data", "id", "format", "signature"), str | None),
    "index": int,
}
# Open WebUI drops details of this format that have no signature; where one is not to be expected, a stand-in keeps them.
_SIGNED_FORMAT = "anthropic-claude-v1"
_STAND_IN = "not signed"


class ReasoningRequest(NamedTuple):
    """What to send as `reasoning` (None: nothing), whether to show what comes back, and whether the model is to think.

    Where it is not to be shown, `exclude` says so; only /chat/completions has that.
    """

    parameters: dict[str, Any] | None
    shown: bool
    expected: bool


def choose_reasoning(
    asked: Mapping[str, Any], model: Model | None, enabled: bool, default_effort: str, least: bool
) -> ReasoningRequest:
    """Decide from what was asked (`reasoning`, `reasoning_effort`), the row and the valves; `least` wants as little as can be.

    Not enabled (the admin's switch) means off: effort `none`, or where reasoning is mandatory the lowest effort, unseen.
    """
    reasons = model.reasons if model is not None else None
    if reasons is False:
        return ReasoningRequest(None, enabled, False)
    if not enabled or least:
        lowest = nearest_effort("none", model)
        # A model of which nothing is known might refuse it in a task, where nobody asked; the admin's switch is obeyed.
        hidden = {} if enabled else {"exclude": True}
        sent = {"effort": lowest, **hidden} if reasons or not enabled else None
        return ReasoningRequest(sent, enabled, reasons is True and lowest != "none")
    parameters = _asked_reasoning(asked, model)
    if _AMOUNTS.isdisjoint(parameters) and default_effort != "default":
        parameters["effort"] = nearest_effort(default_effort, model)
    off = parameters.get("effort") == "none" or parameters.get("enabled") is False
    shown = parameters.get("exclude") is not True and asked.get("include_reasoning") is not False
    wanted = reasons is True or not _AMOUNTS.isdisjoint(parameters)
    return ReasoningRequest(parameters or None, shown, wanted and not off)


def nearest_effort(effort: str, model: Model | None) -> str:
    """The listed effort closest to `effort`, the lower one of two; `none` stays allowed unless reasoning is mandatory."""
    mandatory = model is not None and model.reasoning_mandatory
    if effort == "none" and not mandatory:
        return "none"
    listed = [known for known in EFFORTS if model is not None and known in model.efforts]
    allowed = [known for known in listed if known != "none" or not mandatory] or EFFORTS[1:]
    wanted = EFFORTS.index(effort)
    return min(allowed, key=lambda known: (abs(EFFORTS.index(known) - wanted), EFFORTS.index(known)))


def _asked_reasoning(asked: Mapping[str, Any], model: Model | None) -> dict[str, Any]:
    """`reasoning` and `reasoning_effort` (free text in Open WebUI) as one; of two statements the more exact one holds."""
    own = asked.get("reasoning")
    parameters = {key: value for key, value in own.items() if value is not None} if isinstance(own, dict) else {}
    effort = _known_effort(parameters.pop("effort", None))
    if not effort and "max_tokens" not in parameters:
        effort = _known_effort(asked.get("reasoning_effort"))
    if parameters.get("enabled") is False and model is not None and model.reasoning_mandatory:
        del parameters["enabled"]
        effort = "none"
    if effort:
        parameters["effort"] = nearest_effort(effort, model)
    return parameters


def _known_effort(value: object) -> str:
    effort = value.strip().lower() if isinstance(value, str) else ""
    return effort if effort in EFFORTS else ""


class DetailsCollector:
    """Puts the fragments of streamed `reasoning_details` together: by index and type, or with the one before."""

    def __init__(self) -> None:
        self._details: list[dict[str, Any]] = []
        self._by_place: dict[tuple[int, str], dict[str, Any]] = {}
        # Where a reasoning item begins in the details.
        self._beginnings: set[int] = set()

    def add(self, fragments: object) -> str:
        """Take the fragments of one event; returns the readable text that they add."""
        text = ""
        for fragment in fragments if isinstance(fragments, list) else [fragments]:
            if isinstance(fragment, dict) and _is_detail(fragment):
                text += self._add(fragment)
        return text

    def add_whole(self, details: object) -> str:
        """Take the details of an answer that was not streamed; returns their readable text."""
        whole = [_sound(detail) for detail in filter(_is_detail, dicts(details))]
        self.append(whole)
        return "\n\n".join(filter(None, (detail.get("text") or detail.get("summary") for detail in whole)))

    def append(self, details: Iterable[Mapping[str, Any]]) -> None:
        """Take details that are complete; those of one call are one reasoning item."""
        self._beginnings.add(len(self._details))
        self._details += [dict(detail) for detail in details]

    def result(self) -> list[dict[str, Any]]:
        """The whole details, in order, as Open WebUI keeps them: each with an index of its own.

        Between two reasoning items an index is left out: that tells them apart where their ids do not.
        """
        details: list[dict[str, Any]] = []
        index = -1
        for place, detail in enumerate(self._details):
            index += 2 if place in self._beginnings and details else 1
            # A text without its signature is half a text; it would be refused upstream, so Open WebUI may drop it.
            kept = detail if detail["type"] == "reasoning.text" else _with_stand_in(detail)
            details.append({**kept, "index": index})
        return details

    def _add(self, fragment: Mapping[str, Any]) -> str:
        kind = fragment["type"]
        field = _CONTENT_FIELDS.get(kind, "")
        news = {key: value for key, value in _sound(fragment).items() if value is not None}
        content = news.get(field, "")
        known = self._known(news)
        if known is None:
            self._details.append(news)
            if "index" in news:
                self._by_place[news["index"], kind] = news
        else:
            before = known.get(field, "")
            known.update({key: value for key, value in news.items() if value != "" and key != field})
            # Data is opaque; data that is repeated is the same.
            if content and not (kind == "reasoning.encrypted" and content == before):
                known[field] = before + content
        return content if kind != "reasoning.encrypted" else ""

    def _known(self, fragment: Mapping[str, Any]) -> dict[str, Any] | None:
        """The detail that a fragment continues."""
        kind, index = fragment["type"], fragment.get("index")
        if kind not in _CONTENT_FIELDS:
            return next((detail for detail in self._details if detail == fragment), None)
        if index is not None:
            known = self._by_place.get((index, kind))
        elif kind == "reasoning.encrypted":
            known = next((detail for detail in self._details if detail.get("data") == fragment.get("data")), None)
        else:
            known = self._details[-1] if self._details and self._details[-1]["type"] == kind else None
            # What is signed is complete.
            known = None if known is not None and known.get("signature") else known
        ids = {known.get("id"), fragment.get("id")} - {None, ""} if known else set()
        return known if len(ids) < 2 else None


def replayed_details(details: object) -> list[dict[str, Any]]:
    """The details of a message as they came from upstream: without what was added to keep them in Open WebUI."""
    replayed = []
    for detail in filter(_is_detail, dicts(details)):
        whole = {key: value for key, value in _sound(detail).items() if (key, value) != ("signature", _STAND_IN)}
        if all(isinstance(whole.get(key), str) for key in _REQUIRED.get(whole["type"], ())):
            replayed.append(whole)
    return replayed


def details_of(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The details that stand for one `reasoning` item of /responses. An item without an id gets one: it needs it upstream."""
    common = {key: item[key] for key in ("id", "format") if isinstance(item.get(key), str) and item[key]}
    common.setdefault("id", f"rs_{uuid.uuid4().hex[:24]}")
    details: list[dict[str, Any]] = [
        {"type": "reasoning.summary", "summary": text, **common} for text in _texts_of(item.get("summary"))
    ]
    details += [{"type": "reasoning.text", "text": text, **common} for text in _texts_of(item.get("content"))]
    signature, data = item.get("signature"), item.get("encrypted_content")
    if isinstance(signature, str) and signature:
        if not details or details[-1]["type"] != "reasoning.text":
            details.append({"type": "reasoning.text", **common})
        details[-1]["signature"] = signature
    if isinstance(data, str) and data:
        details.append({"type": "reasoning.encrypted", "data": data, **common})
    # With its proof an item is complete, and none of it may get lost.
    return [_with_stand_in(detail) for detail in details] if signature or data else details


def reasoning_items(details: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The `reasoning` items of /responses that stand for the details of one message; those that share an id are one item.

    An item of which no detail has an id has none either.
    """
    items: list[dict[str, Any]] = []
    before: Mapping[str, Any] = {}
    for detail in details:
        if detail.get("type") not in _CONTENT_FIELDS:
            # A server tool's call has no place in such an item.
            continue
        if not items or not _continues(items[-1], before, detail):
            items.append({"type": "reasoning", "summary": []})
        _put(items[-1], detail)
        before = detail
    return items


def _is_detail(value: object) -> bool:
    kind = value.get("type") if isinstance(value, dict) else None
    return isinstance(kind, str) and kind.startswith("reasoning.")


def _sound(detail: Mapping[str, Any]) -> dict[str, Any]:
    """A detail without fields that make no sense."""
    return {key: value for key, value in detail.items() if isinstance(value, _FIELD_TYPES.get(key, object))}


def _with_stand_in(detail: dict[str, Any]) -> dict[str, Any]:
    needed = detail.get("format") == _SIGNED_FORMAT and not detail.get("signature")
    return {**detail, "signature": _STAND_IN} if needed else detail


def _continues(item: Mapping[str, Any], before: Mapping[str, Any], detail: Mapping[str, Any]) -> bool:
    """Whether a detail belongs to the item of the one before: the same id, and nothing there yet that exists only once.

    /chat/completions leaves ids out, of all details of an item or of all but the last one: then an item ends with its proof.
    """
    index = detail.get("index")
    if isinstance(index, int) and index - before.get("index", index) not in (0, 1):
        return False
    proof = (
        "encrypted_content"
        if detail["type"] == "reasoning.encrypted"
        else "signature"
        if detail.get("signature")
        else ""
    )
    if proof in item:
        return False
    if item.get("id") and detail.get("id"):
        return bool(item["id"] == detail["id"])
    return item.keys().isdisjoint(("signature", "encrypted_content"))


def _put(item: dict[str, Any], detail: Mapping[str, Any]) -> None:
    kind, text = detail["type"], detail.get(_CONTENT_FIELDS[detail["type"]])
    for key in ("id", "format"):
        if detail.get(key):
            item.setdefault(key, detail[key])
    if kind == "reasoning.summary":
        item["summary"].append({"type": "summary_text", "text": text})
    elif kind == "reasoning.text":
        if text is not None:
            item.setdefault("content", []).append({"type": "reasoning_text", "text": text})
        if detail.get("signature"):
            item["signature"] = detail["signature"]
    else:
        item["encrypted_content"] = text


def _texts_of(parts: object) -> list[str]:
    return [text for part in dicts(parts) if isinstance(text := part.get("text"), str)]
