"""Answers of `/responses`, streamed or whole, read into deltas; the status lines of server tools."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from .codec import JsonDict, JsonObject, dicts, mapping, texts, texts_in
from .deltas import AnswerReader, index_of
from .reasoning import details_of

# Server tool → what it is doing, what it has done.
_TOOL_WORDS = {
    "web_search": ("Searching the web", "Searched the web"),
    "web_fetch": ("Reading a page", "Read a page"),
    "file_search": ("Searching files", "Searched files"),
    "code_interpreter": ("Running code", "Ran code"),
    "image_generation": ("Making an image", "Made an image"),
}
# Which output item an event belongs to. Its id may be another one at the end.
_PLACE = "output_index"
_LINKS = ("https://", "http://")
_INCOMPLETE_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}


class ResponsesReader(AnswerReader):
    """Reads `/responses` events. What of an item was not streamed is added when it is done."""

    def __init__(self) -> None:
        super().__init__()
        # What is known of the output items, by place: the index under which they were streamed.
        self._items: dict[object, JsonObject] = {}
        # The places of those that were streamed or are done.
        self._told: set[object] = set()
        # Where the latest text and reasoning came from: item and part.
        self._latest: dict[str, tuple[object, object]] = {}
        self._reasoning_type = ""

    def _details(self) -> Iterable[JsonDict]:
        return [
            detail for item in self._items.values() if item.get("type") == "reasoning" for detail in details_of(item)
        ]

    def read(self, event: JsonObject) -> None:
        """Read an event, or a whole response object: it says the same as the event that closes a stream."""
        kind = event.get("type")
        if kind is None:
            kind = "response.completed" if "output" in event else "error" if event.get("error") else ""
        if handler := self._handlers.get(str(kind)):
            handler(self, event)

    def _text(self, event: JsonObject) -> None:
        self._say("message", index_of(event, _PLACE), None, event.get("delta"))

    def _reasoning(self, event: JsonObject) -> None:
        # A model may stream its reasoning and a summary of it: the first to come is shown.
        self._reasoning_type = self._reasoning_type or event["type"]
        if event["type"] == self._reasoning_type:
            part = event.get("content_index", event.get("summary_index"))
            self._say("reasoning", index_of(event, _PLACE), part, event.get("delta"))

    def _say(self, kind: str, place: object, part: object, text: object) -> None:
        """Add text of an item of this type; an empty line parts it from that of another item or part."""
        if not isinstance(text, str) or not text:
            return
        add = self._add_text if kind == "message" else self._add_reasoning
        if self._latest.get(kind) != (place, part):
            if kind in self._latest:
                add("\n\n")
            self._latest[kind] = (place, part)
            self._told.add(place)
            self._items.setdefault(place, {"type": kind})
        add(text)

    def _item(self, event: JsonObject) -> None:
        done = event["type"] == "response.output_item.done"
        self._read_item(index_of(event, _PLACE), mapping(event.get("item")), done)

    def _arguments(self, event: JsonObject) -> None:
        self._add_call(index_of(event, _PLACE), None, None, event.get("delta"))

    def _annotation(self, event: JsonObject) -> None:
        self._add_annotation(mapping(event.get("annotation")))

    def _read_item(self, place: object, item: JsonObject, done: bool) -> None:
        """Add what no event has streamed of an output item."""
        self._items[place] = item
        kind, tool = item.get("type"), _server_tool(item)
        if kind == "function_call":
            self._add_call(place, item.get("call_id"), item.get("name"), item.get("arguments"), whole=True)
        if tool == "image_generation":
            self._add_image(item.get("imageUrl") or item.get("result") or item.get("imageB64"))
        for part in dicts(item.get("content")):
            for annotation in dicts(part.get("annotations")):
                self._add_annotation(annotation)
        if tool:
            self.statuses.append((place, item, done))
        if not done or place in self._told:
            return
        self._told.add(place)
        content = texts_in(item.get("content"), "text")
        if kind == "message":
            self._say(kind, place, None, "".join((*content, *texts_in(item.get("content"), "refusal"))))
        elif kind == "reasoning":
            for number, text in enumerate(content or texts_in(item.get("summary"), "text")):
                self._say(kind, place, number, text)

    def _close(self, event: JsonObject) -> None:
        response = self._note(event)
        if response.get("error") or response.get("status") == "failed":
            self._refuse(event)
            return
        # Indices and items' ids may be others here than in the stream: what was told of a type is all of it. Calls have ids
        # that stay, by which the rest of one is found.
        told, has_calls = {str(self._items[place].get("type")) for place in self._told}, self.has_calls
        for number, item in enumerate(dicts(response.get("output"))):
            if has_calls and item.get("type") == "function_call":
                self._read_item(None, item, done=True)
            elif str(item.get("type")) not in told:
                self._read_item(f"end {number}", item, done=True)
        reason = mapping(response.get("incomplete_details")).get("reason")
        self.finish_reason = _INCOMPLETE_REASONS.get(str(reason), "stop")
        self.done = True

    def _note(self, event: JsonObject) -> JsonObject:
        """Keep what the response in an event (or beside an error) tells beside its output; returns it."""
        response = mapping(event.get("response")) or event
        self._note_served(response)
        self._note_usage(response.get("usage"))
        return response

    def _refuse(self, event: JsonObject) -> None:
        failed = self._note(event)
        # What went wrong stands in the error, or beside it.
        beside = {key: failed[key] for key in ("error_type", "code", "message") if key in failed}
        error = failed.get("error") or {}
        self._fail({**beside, **error} if isinstance(error, dict) else error)

    _handlers: ClassVar[dict[str, Callable[[ResponsesReader, JsonObject], object]]] = {
        "response.created": _note,
        "response.output_text.delta": _text,
        "response.refusal.delta": _text,
        "response.reasoning_text.delta": _reasoning,
        "response.reasoning_summary_text.delta": _reasoning,
        "response.output_item.added": _item,
        "response.output_item.done": _item,
        "response.function_call_arguments.delta": _arguments,
        "response.output_text.annotation.added": _annotation,
        "response.completed": _close,
        "response.incomplete": _close,
        "response.failed": _refuse,
        "response.error": _refuse,
        "error": _refuse,
    }


def tool_status(item: JsonObject, done: bool) -> JsonDict:
    """The status line of a server tool at work, or done; Open WebUI draws it with its links."""
    tool = _server_tool(item)
    # A page that is fetched stands beside the action, or there is none.
    action = {**item, **mapping(item.get("action"))}
    queries = texts([action.get("query"), *texts(action.get("queries"))])
    found = texts([action.get("url"), *texts_in(action.get("sources"), "url")])
    urls = list(dict.fromkeys(url for url in found if url.startswith(_LINKS)))
    name = tool.replace("_", " ")
    doing, did = _TOOL_WORDS.get(tool, (f"Using {name}", f"Used {name}"))
    words = f"{doing} failed" if item.get("status") == "failed" else did if done else doing
    query = next(filter(None, queries), "")
    about = ": ".join(filter(None, (words, query or next(iter(urls), ""))))
    links = {"action": "web_search", "urls": urls, "query": query} if urls else {}
    return {"description": about, "done": done, **links}


def _server_tool(item: JsonObject) -> str:
    """The name of a server tool, OpenRouter's or the maker's own; empty for an item of another type."""
    kind = str(item.get("type"))
    name = kind.removeprefix("openrouter:").removesuffix("_call")
    return name if name in _TOOL_WORDS or kind.startswith("openrouter:") else ""
