"""Answers of `/responses`, streamed or whole, read into deltas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from .deltas import AnswerReader

# `/responses` name → chat name. Source: OpenRouter's OpenAPI document, Usage and ChatUsage.
_USAGE_NAMES = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
    "upstream_inference_input_cost": "upstream_inference_prompt_cost",
    "upstream_inference_output_cost": "upstream_inference_completions_cost",
}
_Place = tuple[str, Any, Any]
# Type of an output item → where it is shown.
_CHANNELS = {"message": "text", "reasoning": "reasoning"}
_INCOMPLETE_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}


class ResponsesReader(AnswerReader):
    """Reads `/responses` events. What of the `output` was not streamed is added when its item, or the answer, is done."""

    def __init__(self) -> None:
        super().__init__()
        # What was said where: (channel, item, part) → pieces. A channel is "text" or "reasoning".
        self._said: dict[_Place, list[str]] = {}
        # (channel, item) → the kind of event that tells it.
        self._kinds: dict[tuple[str, object], str] = {}
        self._latest: dict[str, _Place] = {}

    def read_whole(self, answer: Mapping[str, Any]) -> None:
        """Read a whole response object."""
        self._close({"response": answer})

    def _read_event(self, event: dict[str, Any]) -> None:
        handler = self._handlers.get(str(event.get("type")))
        if handler is not None:
            handler(self, event)
        elif "type" not in event and event.get("error"):
            self._refuse(event)

    def _text(self, event: Mapping[str, Any]) -> None:
        self._say(("text", _item_of(event), None), event)

    def _reasoning_text(self, event: Mapping[str, Any]) -> None:
        self._say(("reasoning", _item_of(event), event.get("content_index")), event)

    def _reasoning_summary(self, event: Mapping[str, Any]) -> None:
        self._say(("reasoning", _item_of(event), event.get("summary_index")), event)

    def _say(self, place: _Place, event: Mapping[str, Any]) -> None:
        channel, item, _ = place
        # A model may stream its reasoning and a summary of it: the first kind to come is shown, for each item.
        kind = str(event.get("type")) if channel == "reasoning" else ""
        delta = event.get("delta")
        if not isinstance(delta, str) or not delta or self._kinds.setdefault((channel, item), kind) != kind:
            return
        add = self._add_text if channel == "text" else self._add_reasoning
        if self._latest.get(channel, place) != place:
            add("\n\n")
        self._latest[channel] = place
        self._said.setdefault(place, []).append(delta)
        add(delta)

    def _item_done(self, event: Mapping[str, Any]) -> None:
        if isinstance(item := event.get("item"), dict):
            self._read_item(_item_of(event), item)

    def _read_item(self, index: object, item: Mapping[str, Any]) -> None:
        """Add an output item that no event has streamed, under this index or (it happens) another one."""
        channel = _CHANNELS.get(str(item.get("type")), "")
        if not channel or (channel, index) in self._kinds:
            return
        content, summary = _part_texts(item, "content"), _part_texts(item, "summary")
        whole = "".join(content)
        said = {"".join(pieces) for place, pieces in self._said.items() if place[0] == channel}
        if said.isdisjoint((whole, *content, *summary)):
            for number, text in enumerate([whole] if channel == "text" else content or summary):
                self._say((channel, index, number), {"delta": text})

    def _close(self, event: Mapping[str, Any]) -> None:
        response = event.get("response")
        if not isinstance(response, dict):
            return
        if isinstance(usage := response.get("usage"), dict):
            self.usage = chat_usage(usage)
        if response.get("error") or response.get("status") == "failed":
            self._refuse(event)
            return
        output = response.get("output")
        for index, item in enumerate(output if isinstance(output, list) else ()):
            if isinstance(item, dict):
                self._read_item(index, item)
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        self.finish_reason = _INCOMPLETE_REASONS.get(str(reason), "stop")
        self.done = True

    def _refuse(self, event: Mapping[str, Any]) -> None:
        response = event.get("response")
        if isinstance(response, dict):
            if isinstance(usage := response.get("usage"), dict):
                self.usage = chat_usage(usage)
            event = response
        error = event.get("error")
        if not error:
            error = {key: event[key] for key in ("code", "message") if key in event}
        if isinstance(error, dict) and "error_type" in event:
            error = {"error_type": event["error_type"], **error}
        self._fail(error)

    _handlers: ClassVar[dict[str, Callable[[ResponsesReader, Mapping[str, Any]], None]]] = {
        "response.output_text.delta": _text,
        "response.refusal.delta": _text,
        "response.reasoning_text.delta": _reasoning_text,
        "response.reasoning_summary_text.delta": _reasoning_summary,
        "response.output_item.done": _item_done,
        "response.completed": _close,
        "response.incomplete": _close,
        "response.failed": _refuse,
        "response.error": _refuse,
        "error": _refuse,
    }


def chat_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """A `/responses` usage object under the names that `/chat/completions` uses."""
    return {
        _USAGE_NAMES.get(key, key): chat_usage(value) if isinstance(value, dict) else value
        for key, value in usage.items()
    }


def _item_of(event: Mapping[str, Any]) -> Any:
    """Which output item an event belongs to. The index is reliable, the id is not: it may differ at the end."""
    return event.get("output_index", event.get("item_id"))


def _part_texts(item: Mapping[str, Any], key: str) -> list[str]:
    parts = item.get(key)
    texts = [
        part.get("text") or part.get("refusal")
        for part in (parts if isinstance(parts, list) else ())
        if isinstance(part, dict)
    ]
    return [text for text in texts if isinstance(text, str) and text]
