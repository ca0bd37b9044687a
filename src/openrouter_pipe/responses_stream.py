"""Answers of `/responses`, streamed or whole, read into deltas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from .deltas import AnswerReader, SearchStatus, dicts_of
from .reasoning import details_of

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
# Server tools that take a while, so that people are told.
_SEARCHES = ("web_search_call", "openrouter:web_search", "openrouter:web_fetch", "file_search_call")
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
        # Items that are complete (reasoning, calls, images, searches), by index and by what they are.
        self._reasoning_items: dict[object, dict[str, Any]] = {}
        self._with_arguments: set[object] = set()

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

    def _item_added(self, event: Mapping[str, Any]) -> None:
        item = event.get("item")
        if not isinstance(item, dict):
            return
        if item.get("type") == "function_call":
            self._add_call(_item_of(event), item.get("call_id"), item.get("name"))
        elif item.get("type") in _SEARCHES:
            self._note_search(item, done=False)

    def _arguments(self, event: Mapping[str, Any]) -> None:
        place = _item_of(event)
        whole = event.get("arguments")
        if isinstance(event.get("delta"), str):
            self._with_arguments.add(place)
            self._add_call(place, arguments=event["delta"])
        elif isinstance(whole, str) and place not in self._with_arguments:
            self._with_arguments.add(place)
            self._add_call(place, arguments=whole)

    def _annotation(self, event: Mapping[str, Any]) -> None:
        self._cite(event.get("annotation"))

    def _cite(self, annotation: object) -> None:
        """A citation in the nested form of /chat/completions."""
        if (
            isinstance(annotation, dict)
            and annotation.get("type") == "url_citation"
            and "url_citation" not in annotation
        ):
            citation = {key: value for key, value in annotation.items() if key != "type"}
            annotation = {"type": "url_citation", "url_citation": citation}
        self._add_annotation(annotation)

    def _note_search(self, item: Mapping[str, Any], done: bool) -> None:
        action = item.get("action")
        action = action if isinstance(action, dict) else {}
        sources = action.get("sources")
        found = (
            source.get("url") for source in (sources if isinstance(sources, list) else ()) if isinstance(source, dict)
        )
        urls = tuple(url for url in (action.get("url"), *found) if isinstance(url, str))
        query = action.get("query")
        status = SearchStatus(str(item.get("type")), query if isinstance(query, str) else "", urls, done)
        if self._is_new(f"status {item.get('id')} {status}"):
            self.statuses.append(status)

    def _item_done(self, event: Mapping[str, Any]) -> None:
        if isinstance(item := event.get("item"), dict):
            self._read_item(_item_of(event), item)

    def _read_item(self, index: object, item: Mapping[str, Any]) -> None:
        """Add what no event has streamed of an output item, under this index or (it happens) another one."""
        kind = item.get("type")
        if kind == "function_call":
            self._read_call(index, item)
        elif kind in ("image_generation_call", "openrouter:image_generation"):
            self._add_image(_image_url(item))
        elif kind in _SEARCHES:
            self._note_search(item, done=True)
        elif kind == "reasoning":
            self._reasoning_items[index] = dict(item)
        elif kind == "message":
            for part in dicts_of(item, "content"):
                for annotation in dicts_of(part, "annotations"):
                    self._cite(annotation)
        channel = _CHANNELS.get(str(item.get("type")), "")
        if not channel or (channel, index) in self._kinds:
            return
        content, summary = _part_texts(item, "content"), _part_texts(item, "summary")
        whole = "".join(content)
        said = {"".join(pieces) for place, pieces in self._said.items() if place[0] == channel}
        if said.isdisjoint((whole, *content, *summary)):
            for number, text in enumerate([whole] if channel == "text" else content or summary):
                self._say((channel, index, number), {"delta": text})

    def _read_call(self, index: object, item: Mapping[str, Any]) -> None:
        call_id = item.get("call_id")
        place = next((place for place, known in self._calls.items() if call_id and known[1] == call_id), index)
        arguments = None if place in self._with_arguments else item.get("arguments")
        self._with_arguments.add(place)
        self._add_call(place, call_id, item.get("name"), arguments)

    def _close(self, event: Mapping[str, Any]) -> None:
        response = event.get("response")
        if not isinstance(response, dict):
            return
        if isinstance(usage := response.get("usage"), dict):
            self.usage = chat_usage(usage)
        if response.get("error") or response.get("status") == "failed":
            self._refuse(event)
            return
        output = dicts_of(response, "output")
        if any(item.get("type") == "reasoning" for item in output):
            # The closing list is authoritative: ids and contents may differ from the streamed ones.
            self._reasoning_items.clear()
        for index, item in enumerate(output):
            self._read_item(index, item)
        for item in self._reasoning_items.values():
            self._details.append(details_of(item))
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


def _item_of(event: Mapping[str, Any]) -> Any:
    """Which output item an event belongs to. The index is reliable, the id is not: it may differ at the end."""
    return event.get("output_index", event.get("item_id"))


def _image_url(item: Mapping[str, Any]) -> str:
    """The picture of an item: an address, a data URL, or base64 without its head."""
    image = item.get("imageUrl") or item.get("result") or item.get("imageB64")
    if not isinstance(image, str) or not image:
        return ""
    if image.startswith(("data:", "http://", "https://")):
        return image
    return f"data:image/{item.get('output_format') or 'png'};base64,{image}"


def _part_texts(item: Mapping[str, Any], key: str) -> list[str]:
    texts = [part.get("text") or part.get("refusal") for part in dicts_of(item, key)]
    return [text for text in texts if isinstance(text, str) and text]
