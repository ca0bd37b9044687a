"""Reasoning: how much of it is asked for, and carrying it unchanged from one round of a conversation to the next.

Open WebUI keeps `reasoning_details` (the form of /chat/completions) with each answer and hands them back. On /responses the
same information is in `reasoning` items: `details_of` and `reasoning_items` are each other's inverse.
Source: OpenRouter docs, guides/best-practices/reasoning-tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from .catalog import Model

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
# Type of a detail → the field with its content, which streams in fragments.
_CONTENT_FIELDS = {"reasoning.text": "text", "reasoning.summary": "summary", "reasoning.encrypted": "data"}
# Open WebUI drops details of this format that have no signature; encrypted ones never have one, so they carry a stand-in.
_SIGNED_FORMAT = "anthropic-claude-v1"
_STAND_IN = "encrypted"


class ReasoningRequest(NamedTuple):
    """What to send as `reasoning` (None: nothing), whether to show what comes back, and whether the model is known to think."""

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
        sent = {"effort": lowest} if reasons or not enabled else None
        return ReasoningRequest(sent, enabled, reasons is True and lowest != "none")
    own = asked.get("reasoning")
    parameters: dict[str, Any] = dict(own) if isinstance(own, dict) else {}
    wanted = parameters.pop("effort", None)
    if wanted is None and "max_tokens" not in parameters:
        wanted = asked.get("reasoning_effort")
    if wanted is None and not parameters and default_effort != "default":
        wanted = default_effort
    effort = wanted.strip().lower() if isinstance(wanted, str) else ""
    if effort in EFFORTS:
        parameters["effort"] = nearest_effort(effort, model)
    off = parameters.get("effort") == "none" or parameters.get("enabled") is False
    return ReasoningRequest(parameters or None, True, reasons is True and not off)


def nearest_effort(effort: str, model: Model | None) -> str:
    """The listed effort closest to `effort`, the lower one of two; `none` stays allowed unless reasoning is mandatory."""
    listed = [known for known in EFFORTS[1:] if model is None or not model.efforts or known in model.efforts]
    if effort == "none" and not (model is not None and model.reasoning_mandatory):
        return "none"
    wanted = EFFORTS.index(effort)
    return min(listed, key=lambda known: (abs(EFFORTS.index(known) - wanted), EFFORTS.index(known)), default=effort)


class DetailsCollector:
    """Puts the fragments of streamed `reasoning_details` together: by index and type, or with the one before."""

    def __init__(self) -> None:
        self._details: list[dict[str, Any]] = []
        self._by_place: dict[tuple[object, object], dict[str, Any]] = {}

    def add(self, fragments: object) -> str:
        """Take the fragments of one event; returns the readable text that they add."""
        text = ""
        for fragment in fragments if isinstance(fragments, list) else [fragments]:
            if isinstance(fragment, dict) and fragment.get("type") in _CONTENT_FIELDS:
                text += self._add(fragment)
        return text

    def append(self, details: Iterable[Mapping[str, Any]]) -> None:
        """Take details that are complete."""
        self._details += [dict(detail) for detail in details]

    def result(self) -> list[dict[str, Any]]:
        """The whole details, in order, as Open WebUI keeps them: each with an index of its own."""
        details = []
        for index, detail in enumerate(self._details):
            stand_in = detail["type"] == "reasoning.encrypted" and detail.get("format") == _SIGNED_FORMAT
            details.append({**detail, **({"signature": _STAND_IN} if stand_in else {}), "index": index})
        return details

    def _add(self, fragment: Mapping[str, Any]) -> str:
        field = _CONTENT_FIELDS[fragment["type"]]
        new = fragment.get(field)
        new = new if isinstance(new, str) else ""
        known = self._known(fragment)
        if known is None:
            known = {key: value for key, value in fragment.items() if value is not None}
            self._details.append(known)
            if isinstance(fragment.get("index"), int):
                self._by_place[fragment["index"], fragment["type"]] = known
        else:
            before = known.get(field) or ""
            known.update({key: value for key, value in fragment.items() if value is not None and key != field})
            # Data is opaque and comes whole; one that is repeated is the same one.
            new = "" if field == "data" and new == before else new
            known[field] = before + new
        return new if field != "data" else ""

    def _known(self, fragment: Mapping[str, Any]) -> dict[str, Any] | None:
        """The detail that a fragment continues."""
        if isinstance(fragment.get("index"), int):
            known = self._by_place.get((fragment["index"], fragment["type"]))
        else:
            known = self._details[-1] if self._details and self._details[-1]["type"] == fragment["type"] else None
        ids = {known.get("id"), fragment.get("id")} - {None} if known else set()
        return known if len(ids) < 2 else None


def replayed_details(details: object) -> list[dict[str, Any]]:
    """The details of a message as they came from upstream: without what was added to keep them in Open WebUI."""
    replayed = []
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(detail.get("type"), str) and detail["type"].startswith("reasoning."):
            added = ("signature",) if detail["type"] == "reasoning.encrypted" else ()
            replayed.append({key: value for key, value in detail.items() if key not in added})
    return replayed


def details_of(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The details that stand for one `reasoning` item of /responses."""
    common = {key: item[key] for key in ("id", "format") if isinstance(item.get(key), str)}
    details: list[dict[str, Any]] = [
        {"type": "reasoning.summary", "summary": text, **common} for text in _texts_of(item.get("summary"))
    ]
    details += [{"type": "reasoning.text", "text": text, **common} for text in _texts_of(item.get("content"))]
    if isinstance(signature := item.get("signature"), str) and signature:
        if not details or details[-1]["type"] != "reasoning.text":
            details.append({"type": "reasoning.text", "text": "", **common})
        details[-1]["signature"] = signature
    if isinstance(data := item.get("encrypted_content"), str) and data:
        details.append({"type": "reasoning.encrypted", "data": data, **common})
    return details


def reasoning_items(details: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The `reasoning` items of /responses that stand for the details of one message; those that share an id are one item."""
    items: list[dict[str, Any]] = []
    for detail in details:
        item = items[-1] if items else None
        if item is None or not _continues(item, detail):
            item = {"type": "reasoning", "id": detail.get("id") or f"rs_{len(items)}", "summary": []}
            if isinstance(detail.get("format"), str):
                item["format"] = detail["format"]
            items.append(item)
        _put(item, detail)
    return items


def _continues(item: Mapping[str, Any], detail: Mapping[str, Any]) -> bool:
    """Whether a detail belongs to the item before it: the same id, and nothing there yet that exists only once."""
    if detail.get("id") != item["id"]:
        return False
    if detail.get("type") == "reasoning.encrypted":
        return "encrypted_content" not in item
    return not (detail.get("signature") and "signature" in item)


def _put(item: dict[str, Any], detail: Mapping[str, Any]) -> None:
    kind, text = detail.get("type"), detail.get(_CONTENT_FIELDS.get(str(detail.get("type")), ""))
    if kind == "reasoning.summary" and isinstance(text, str):
        item["summary"].append({"type": "summary_text", "text": text})
    elif kind == "reasoning.text":
        if text:
            item.setdefault("content", []).append({"type": "reasoning_text", "text": text})
        if detail.get("signature"):
            item["signature"] = detail["signature"]
    elif kind == "reasoning.encrypted":
        item["encrypted_content"] = text


def _texts_of(parts: object) -> list[str]:
    texts = (part.get("text") for part in parts if isinstance(part, dict)) if isinstance(parts, list) else ()
    return [text for text in texts if isinstance(text, str) and text]
