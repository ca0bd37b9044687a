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
_INCOMPLETE_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}


class ResponsesReader(AnswerReader):
    """Reads `/responses` events. The `output` of the closing event decides; what of it was not streamed is added."""

    def __init__(self) -> None:
        super().__init__()
        self._streamed: dict[object, str] = {}

    def read_whole(self, answer: Mapping[str, Any]) -> None:
        """Read a whole response object."""
        self._close({"response": answer})

    def _read_event(self, event: dict[str, Any]) -> None:
        handler = self._handlers.get(str(event.get("type")))
        if handler is not None:
            handler(self, event)
        elif "type" not in event and event.get("error"):
            self._fail(event)

    def _text(self, event: Mapping[str, Any]) -> None:
        self._streamed[event.get("output_index")] = "text"
        self._add_text(event.get("delta"))

    def _reasoning(self, event: Mapping[str, Any]) -> None:
        # A model may stream its reasoning and a summary of it: the first kind to come is shown, for each item.
        kind = str(event.get("type"))
        if self._streamed.setdefault(event.get("output_index"), kind) == kind:
            self._add_reasoning(event.get("delta"))

    def _summary_part(self, event: Mapping[str, Any]) -> None:
        if event.get("summary_index") and event.get("output_index") in self._streamed:
            self._add_reasoning("\n\n")

    def _close(self, event: Mapping[str, Any]) -> None:
        response = event.get("response")
        if not isinstance(response, dict):
            return
        if isinstance(usage := response.get("usage"), dict):
            self.usage = chat_usage(usage)
        if error := response.get("error"):
            self._fail({"error": error})
            return
        output = response.get("output")
        for index, item in enumerate(output if isinstance(output, list) else ()):
            if isinstance(item, dict) and index not in self._streamed:
                self._read_item(item)
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        self.finish_reason = _INCOMPLETE_REASONS.get(str(reason), "stop")

    def _read_item(self, item: Mapping[str, Any]) -> None:
        """Add an output item that no event has streamed."""
        if item.get("type") == "message":
            for part in _parts(item, "content"):
                self._add_text(part.get("text") or part.get("refusal"))
        elif item.get("type") == "reasoning":
            parts = _parts(item, "content") or _parts(item, "summary")
            self._add_reasoning("\n\n".join(text for part in parts if isinstance(text := part.get("text"), str)))

    def _fail(self, event: Mapping[str, Any]) -> None:
        response = event.get("response")
        error = (response.get("error") if isinstance(response, dict) else None) or event.get("error") or event
        self.error = error if isinstance(error, dict) else {"message": str(error)}

    _handlers: ClassVar[dict[str, Callable[[ResponsesReader, Mapping[str, Any]], None]]] = {
        "response.output_text.delta": _text,
        "response.refusal.delta": _text,
        "response.reasoning_text.delta": _reasoning,
        "response.reasoning_summary_text.delta": _reasoning,
        "response.reasoning_summary_part.added": _summary_part,
        "response.completed": _close,
        "response.incomplete": _close,
        "response.failed": _fail,
        "response.error": _fail,
        "error": _fail,
    }


def chat_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """A `/responses` usage object under the names that `/chat/completions` uses."""
    return {
        _USAGE_NAMES.get(key, key): chat_usage(value) if isinstance(value, dict) else value
        for key, value in usage.items()
    }


def _parts(item: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    parts = item.get(key)
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
