"""Answers of `/responses`, streamed or whole, read into deltas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from .codec import dicts
from .deltas import AnswerReader, ToolStatus, place_of
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
_Place = tuple[str, Any, Any]
# Type of an output item → where it is shown.
_CHANNELS = {"message": "text", "reasoning": "reasoning"}
# The makers' own server tools; OpenRouter's have names of their own.
_NATIVE_TOOLS = ("web_search_call", "file_search_call", "code_interpreter_call")
_IMAGES = ("image_generation_call", "openrouter:image_generation")
_LINKS = ("https://", "http://")
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
        # The latest state of each reasoning item and of each server tool, by place.
        self._reasoning_items: dict[object, dict[str, Any]] = {}
        self._tools: dict[object, ToolStatus] = {}

    def read_whole(self, answer: Mapping[str, Any]) -> None:
        """Read a whole response object."""
        self._close({"response": answer})

    def _whole_details(self) -> list[dict[str, Any]]:
        self._details = DetailsCollector()
        for item in self._reasoning_items.values():
            self._details.append(details_of(item))
        return super()._whole_details()

    def _read_event(self, event: dict[str, Any]) -> None:
        handler = self._handlers.get(str(event.get("type")))
        if handler is not None:
            handler(self, event)
        elif "type" not in event and event.get("error"):
            self._refuse(event)

    def _text(self, event: Mapping[str, Any]) -> None:
        self._say(("text", _item_of(event), None), event)

    def _reasoning_text(self, event: Mapping[str, Any]) -> None:
        self._say(("reasoning", _item_of(event), place_of(event.get("content_index"))), event)

    def _reasoning_summary(self, event: Mapping[str, Any]) -> None:
        self._say(("reasoning", _item_of(event), place_of(event.get("summary_index"))), event)

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

    def _item_added(self, event: Mapping[str, Any]) -> None:
        item = event.get("item")
        if not isinstance(item, dict):
            return
        place = _item_of(event)
        if item.get("type") == "function_call":
            self._add_call(self._calls.add(place, item.get("call_id"), item.get("name"), item.get("arguments")))
        elif _is_server_tool(item):
            self._note_tool(place, item, done=False)

    def _arguments(self, event: Mapping[str, Any]) -> None:
        self._add_call(self._calls.add(_item_of(event), None, None, event.get("delta")))

    def _whole_arguments(self, event: Mapping[str, Any]) -> None:
        self._add_call(self._calls.complete(_item_of(event), None, event.get("name"), event.get("arguments")))

    def _annotation(self, event: Mapping[str, Any]) -> None:
        if isinstance(annotation := event.get("annotation"), dict):
            self._add_annotation(annotation)

    def _note_tool(self, place: object, item: Mapping[str, Any], done: bool) -> None:
        """Tell what a server tool does, once when it begins and once when it is done."""
        action = item.get("action")
        # A page that is fetched stands beside the action, or there is none.
        action = {**item, **action} if isinstance(action, dict) else item
        queries = action.get("queries")
        asked = [action.get("query"), *(queries if isinstance(queries, list) else ())]
        found = [action.get("url"), *(source.get("url") for source in dicts(action.get("sources")))]
        status = ToolStatus(
            str(item.get("type")),
            next((query for query in asked if isinstance(query, str) and query), ""),
            tuple(dict.fromkeys(url for url in found if isinstance(url, str) and url.startswith(_LINKS))),
            done,
            item.get("status") == "failed",
        )
        if done and status in self._tools.values():
            return
        self._tools[place] = status
        self.statuses.append((place, status))

    def _item_done(self, event: Mapping[str, Any]) -> None:
        if isinstance(item := event.get("item"), dict):
            self._read_item(_item_of(event), item)

    def _read_item(self, index: object, item: Mapping[str, Any]) -> None:
        """Add what no event has streamed of an output item, under this index or (it happens) another one."""
        kind = item.get("type")
        if kind == "function_call":
            self._add_call(self._calls.complete(index, item.get("call_id"), item.get("name"), item.get("arguments")))
        elif kind == "reasoning":
            self._reasoning_items[index] = dict(item)
        elif kind == "message":
            for part in dicts(item.get("content")):
                for annotation in dicts(part.get("annotations")):
                    self._add_annotation(annotation)
        elif _is_server_tool(item):
            self._note_tool(index, item, done=True)
        if kind in _IMAGES:
            self._add_image(item.get("imageUrl") or item.get("result") or item.get("imageB64"))
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
        output = dicts(response.get("output"))
        if any(item.get("type") == "reasoning" for item in output):
            # The closing list is authoritative: ids and contents may differ from the streamed ones.
            self._reasoning_items.clear()
        for index, item in enumerate(output):
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
        "response.output_item.added": _item_added,
        "response.output_item.done": _item_done,
        "response.function_call_arguments.delta": _arguments,
        "response.function_call_arguments.done": _whole_arguments,
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


def _item_of(event: Mapping[str, Any]) -> object:
    """Which output item an event belongs to. The index is reliable, the id is not: it may differ at the end."""
    place = place_of(event.get("output_index"))
    if place is None:
        item = event.get("item")
        place = place_of(event.get("item_id") or (item.get("id") if isinstance(item, dict) else None))
    return place


def _is_server_tool(item: Mapping[str, Any]) -> bool:
    kind = str(item.get("type"))
    return kind in _NATIVE_TOOLS or kind.startswith("openrouter:")


def _part_texts(item: Mapping[str, Any], key: str) -> list[str]:
    texts = [part.get("text") or part.get("refusal") for part in dicts(item.get(key))]
    return [text for text in texts if isinstance(text, str) and text]
