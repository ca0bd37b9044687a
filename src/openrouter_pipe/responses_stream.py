"""Answers of `/responses`, streamed or whole, read into deltas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, ClassVar

from .codec import dicts, mapping, texts, texts_in
from .deltas import AnswerReader, ToolStatus, index_of
from .reasoning import DetailsCollector, details_of

# `/responses` name → chat name. Source: OpenRouter's OpenAPI document, Usage and ChatUsage.
_USAGE_NAMES = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
    "upstream_inference_input_cost": "upstream_inference_prompt_cost",
    "upstream_inference_output_cost": "upstream_inference_completions_cost",
}
# The makers' own server tools; OpenRouter's have names of their own.
_NATIVE_TOOLS = ("web_search_call", "file_search_call", "code_interpreter_call")
_IMAGES = ("image_generation_call", "openrouter:image_generation")
_LINKS = ("https://", "http://")
_INCOMPLETE_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}


class ResponsesReader(AnswerReader):
    """Reads `/responses` events. What of the `output` was not streamed is added when its item, or the answer, is done."""

    def __init__(self) -> None:
        super().__init__()
        # The output items as far as they are known, by place: the index under which they were streamed.
        self._items: dict[object, Mapping[str, Any]] = {}
        # The items whose text was shown, and where the latest text and reasoning came from (item and part).
        self._shown: set[object] = set()
        self._latest: dict[str, tuple[object, object]] = {}
        self._reasoning_type = ""
        self._tools: dict[object, ToolStatus] = {}

    def read_whole(self, answer: Mapping[str, Any]) -> None:
        """Read a whole response object."""
        self._close({"response": answer})

    def _reasoning_details(self) -> list[dict[str, Any]]:
        collector = DetailsCollector()
        for item in self._items.values():
            if item.get("type") == "reasoning":
                collector.add_whole(details_of(item))
        return collector.result()

    def _read_event(self, event: dict[str, Any]) -> None:
        handler = self._handlers.get(str(event.get("type", "error" if event.get("error") else "")))
        if handler is not None:
            handler(self, event)

    def _text(self, event: Mapping[str, Any]) -> None:
        self._say("message", _place_in(event), None, event.get("delta"))

    def _reasoning(self, event: Mapping[str, Any]) -> None:
        # A model may stream its reasoning and a summary of it: the first to come is shown.
        self._reasoning_type = self._reasoning_type or event["type"]
        if event["type"] == self._reasoning_type:
            part = event.get("content_index", event.get("summary_index"))
            self._say("reasoning", _place_in(event), part, event.get("delta"))

    def _say(self, kind: str, place: object, part: object, text: object) -> None:
        """Add text of an item of this type; an empty line parts it from that of another item, or of another part."""
        if not isinstance(text, str) or not text:
            return
        add = self._add_text if kind == "message" else self._add_reasoning
        if self._latest.get(kind) != (place, part):
            if kind in self._latest:
                add("\n\n")
            self._latest[kind] = (place, part)
            self._shown.add(place)
            self._items.setdefault(place, {"type": kind})
        add(text)

    def _item(self, event: Mapping[str, Any]) -> None:
        done = event["type"] == "response.output_item.done"
        self._read_item(_place_in(event), mapping(event.get("item")), done)

    def _arguments(self, event: Mapping[str, Any]) -> None:
        whole = "arguments" in event
        arguments = event.get("arguments" if whole else "delta")
        self._add_call(_place_in(event), None, event.get("name"), arguments, whole=whole)

    def _annotation(self, event: Mapping[str, Any]) -> None:
        self._add_annotation(mapping(event.get("annotation")))

    def _note_tool(self, place: object, item: Mapping[str, Any], done: bool) -> None:
        """Tell what a server tool does, once when it begins and once when it is done."""
        # A page that is fetched stands beside the action, or there is none.
        action = {**item, **mapping(item.get("action"))}
        queries = texts([action.get("query"), *texts(action.get("queries"))])
        urls = (*texts([action.get("url")]), *texts_in(action.get("sources"), "url"))
        status = ToolStatus(
            str(item.get("type")),
            next(filter(None, queries), ""),
            tuple(dict.fromkeys(url for url in urls if url.startswith(_LINKS))),
            done,
            item.get("status") == "failed",
        )
        if status != self._tools.get(place):
            self._tools[place] = status
            self.statuses.append((place, status))

    def _read_item(self, place: object, item: Mapping[str, Any], done: bool) -> None:
        """Add what no event has streamed of an output item."""
        self._items[place] = item
        kind = item.get("type")
        if kind == "function_call":
            self._add_call(place, item.get("call_id"), item.get("name"), item.get("arguments"), whole=True)
        elif _is_server_tool(item):
            self._note_tool(place, item, done)
        if kind in _IMAGES:
            self._add_image(item.get("imageUrl") or item.get("result") or item.get("imageB64"))
        for part in dicts(item.get("content")):
            for annotation in dicts(part.get("annotations")):
                self._add_annotation(annotation)
        if not done or place in self._shown:
            return
        content = texts_in(item.get("content"), "text")
        if kind == "message":
            self._say(kind, place, None, "".join((*content, *texts_in(item.get("content"), "refusal"))))
        elif kind == "reasoning":
            for number, text in enumerate(content or texts_in(item.get("summary"), "text")):
                self._say(kind, place, number, text)

    def _close(self, event: Mapping[str, Any]) -> None:
        response = self._note(event)
        if response.get("error") or response.get("status") == "failed":
            self._refuse(event)
            return
        self._read_output(dicts(response.get("output")))
        reason = mapping(response.get("incomplete_details")).get("reason")
        self.finish_reason = _INCOMPLETE_REASONS.get(str(reason), "stop")
        self.done = True

    def _read_output(self, output: list[dict[str, Any]]) -> None:
        """Read the closing list. Indices and item ids may be others there than in the stream: a call is the one with its
        call id; of what else there is of a type, the first is the first that was streamed, and so on.
        """
        places: dict[str, list[object]] = {}
        for place, item in self._items.items():
            for key in _marks_of(item):
                places.setdefault(key, []).append(place)
        rest = {key: iter(found) for key, found in places.items()}
        taken: set[object] = set()
        for number, item in enumerate(output):
            likely = chain(*(rest.get(key, ()) for key in _marks_of(item)), [f"end {number}"])
            place = next(place for place in likely if place not in taken)
            taken.add(place)
            self._read_item(place, item, done=True)

    def _note(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """Keep what the response in an event (or a failure without one) tells beside its output; returns it."""
        response = mapping(event.get("response")) or event
        self._note_served(response)
        if isinstance(usage := response.get("usage"), dict):
            self.usage = chat_usage(usage)
        return response

    def _refuse(self, event: Mapping[str, Any]) -> None:
        failed = self._note(event)
        error = failed.get("error") or {key: failed[key] for key in ("code", "message") if key in failed}
        if isinstance(error, dict) and "error_type" in failed:
            error = {"error_type": failed["error_type"], **error}
        self._fail(error)

    _handlers: ClassVar[dict[str, Callable[[ResponsesReader, Mapping[str, Any]], object]]] = {
        "response.created": _note,
        "response.output_text.delta": _text,
        "response.refusal.delta": _text,
        "response.reasoning_text.delta": _reasoning,
        "response.reasoning_summary_text.delta": _reasoning,
        "response.output_item.added": _item,
        "response.output_item.done": _item,
        "response.function_call_arguments.delta": _arguments,
        "response.function_call_arguments.done": _arguments,
        "response.output_text.annotation.added": _annotation,
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


def _place_in(event: Mapping[str, Any]) -> int | None:
    """Which output item an event belongs to. The index is reliable, the item's id is not: it may differ at the end."""
    return index_of(event.get("output_index"))


def _marks_of(item: Mapping[str, Any]) -> list[str]:
    """What an item is known by in the closing list, the surest first."""
    return [str(item[key]) for key in ("call_id", "type") if item.get(key)]


def _is_server_tool(item: Mapping[str, Any]) -> bool:
    kind = str(item.get("type"))
    return kind in _NATIVE_TOOLS or kind.startswith("openrouter:")
