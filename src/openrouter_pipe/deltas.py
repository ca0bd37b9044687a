"""What an answer is made of, whatever the endpoint: a stream of `Delta`s, neighbours merged."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .codec import dump_json, parse_json
from .reasoning import DetailsCollector

_PRIVATE = "The provider keeps this reasoning private."
# Where a reasoning detail has what it is kept for.
_DETAIL_CONTENTS = ("text", "summary", "data", "signature", "result")
_SURROGATES = re.compile("[\ud800-\udfff]")


# How the base64 of a picture begins, for those that come without saying what they are.
_IMAGE_HEADS = {"iVBOR": "png", "/9j/": "jpeg", "R0lGO": "gif", "UklGR": "webp"}


@dataclass(slots=True)
class Delta:
    """A piece of the answer. In one delta the reasoning comes before the text; tool calls have deltas of their own,
    because Open WebUI reads the calls of a chunk first, and would show them above the text that led to them.
    """

    reasoning: str = ""
    text: str = ""
    # Fragments of tool calls, annotations, images and reasoning details, as a chat chunk's delta has them.
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    details: list[dict[str, Any]] = field(default_factory=list)

    @property
    def has_answer(self) -> bool:
        """Whether it brings something besides reasoning."""
        return bool(self.text or self.tool_calls or self.images)


class ToolStatus(NamedTuple):
    """A server tool at work: its type, what it looks for, and the pages that it found."""

    tool: str
    query: str = ""
    urls: tuple[str, ...] = ()
    done: bool = False
    failed: bool = False


@dataclass(slots=True)
class _Call:
    """One tool call: where upstream put it and what it called it, and what of it has come."""

    index: int
    place: object
    upstream_id: str
    name: str = ""
    arguments: str = ""

    def is_whole(self) -> bool:
        """Whether the arguments are a JSON object, to which nothing can be added."""
        return _object_in(self.arguments) is not None

    def is_part_of(self, name: str, arguments: str) -> bool:
        """Whether it can become the call that these say, which may be written with other spaces."""
        same = arguments.startswith(self.arguments) or (
            self.is_whole() and _object_in(arguments) == _object_in(self.arguments)
        )
        return same and (not self.name or not name or name == self.name)


class ToolCalls:
    """Puts the fragments of tool calls in order: each call gets an integer index and an id that no other one has.

    Providers repeat ids and indices, leave them out, or tell name and id late. `place` is where upstream says that a
    fragment belongs (None: it does not say).
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._at: dict[object, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._latest: _Call | None = None

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, place: object, call_id: object, name: object, arguments: object) -> dict[str, Any] | None:
        """Take a fragment; returns the fragment to send on, if it says something new."""
        call_id, name, arguments = _as_text(call_id), _as_text(name), _as_text(arguments)
        call = self._continued(place, call_id, name, arguments)
        if call is not None and name and name == call.name and arguments == call.arguments and call.is_whole():
            return None
        if call is not None:
            return self._extend(call, name, arguments)
        return self._begin(place, call_id, name, arguments) if call_id or name or arguments else None

    def complete(self, place: object, call_id: object, name: object, arguments: object) -> dict[str, Any] | None:
        """Take a whole call, parts of which may have come; returns the fragment that was missing."""
        call_id, name, arguments = _as_text(call_id), _as_text(name), _as_text(arguments)
        call = self._told(place, call_id, name, arguments)
        if call is None:
            return self._begin(place, call_id, name, arguments)
        rest = arguments[len(call.arguments) :] if arguments.startswith(call.arguments) else ""
        return self._extend(call, name, rest)

    def _continued(self, place: object, call_id: str, name: str, arguments: str) -> _Call | None:
        """The call that a fragment continues; None when it begins one."""
        call = self._latest if place is None else self._at.get(place)
        if call_id and (call is None or call.upstream_id not in ("", call_id)):
            same = self._by_id.get(call_id)
            if same is not None and (None in (place, same.place) or place == same.place):
                return same
            return None if name else call
        if call is None or (call_id and call.upstream_id):
            return call
        # Without ids, a second name at the same place, or one after whole arguments, is a second call.
        another = name and call.name and (name != call.name or (arguments and call.is_whole()))
        return None if another else self._named(call, call_id)

    def _told(self, place: object, call_id: str, name: str, arguments: str) -> _Call | None:
        """The call that a whole one repeats. The closing list may put it at another place."""
        call = self._at.get(place)
        if call is not None and call_id and call.upstream_id == call_id:
            return call
        here = [call] if call is not None and not (call_id and call.upstream_id) else []
        elsewhere = [known for known in self._calls if known.upstream_id == call_id]
        return next((known for known in here + elsewhere if known.is_part_of(name, arguments)), None)

    def _begin(self, place: object, call_id: str, name: str, arguments: str) -> dict[str, Any]:
        call = _Call(len(self._calls), place, call_id, name, arguments)
        unique = call_id if call_id and call_id not in self._by_id else f"call_{uuid.uuid4().hex[:24]}"
        self._calls.append(call)
        self._at[place] = self._by_id[unique] = self._latest = self._named(call, call_id)
        return {
            "index": call.index,
            "id": unique,
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        }

    def _named(self, call: _Call, call_id: str) -> _Call:
        if call_id:
            call.upstream_id = call_id
            self._by_id[call_id] = call
        return call

    def _extend(self, call: _Call, name: str, arguments: str) -> dict[str, Any] | None:
        named = {"name": name} if name and name != call.name else {}
        call.name = name or call.name
        call.arguments += arguments
        self._at[call.place] = self._latest = call
        return {"index": call.index, "function": {**named, "arguments": arguments}} if named or arguments else None


class AnswerReader:
    """Collects what upstream events add to one answer. Endpoints differ in `_read_event` only.

    Fed with event payloads; `take()` gives what has come since the last call, so that everything that arrived in one
    network read leaves as one piece.
    """

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] | None = None
        self.error: Mapping[str, Any] | None = None
        self.done = False
        # What server tools do, each with its place, in the order of events.
        self.statuses: list[tuple[object, ToolStatus]] = []
        self._deltas: list[Delta] = []
        self._half = ""
        self._details = DetailsCollector()
        self._reasoned = self._answering = False
        self._calls = ToolCalls()
        self._seen: set[str] = set()

    @property
    def ended(self) -> bool:
        """Whether upstream said that the answer is complete (or that it failed)."""
        return self.done or self.finish_reason is not None or self.error is not None

    @property
    def has_calls(self) -> bool:
        """Whether a tool was called, so that another round follows."""
        return bool(self._calls)

    def feed(self, payload: bytes) -> None:
        """Read one event. What is not JSON, or not of a known shape, adds nothing."""
        if payload.strip() == b"[DONE]":
            self.done = True
            return
        try:
            event = parse_json(payload)
        except ValueError:
            return
        if isinstance(event, dict):
            self._read_event(event)

    def take(self) -> list[Delta]:
        """The deltas since the last call."""
        deltas, self._deltas = self._deltas, []
        return deltas

    def close(self) -> list[Delta]:
        """What is left to say at the end: the reasoning details, once, for the next round to begin with."""
        if details := self._whole_details():
            self._tell_private()
            self._deltas.append(Delta(details=details))
        if self._calls and self.finish_reason in (None, "stop"):
            self.finish_reason = "tool_calls"
        return self.take()

    def read_whole(self, answer: Mapping[str, Any]) -> None:
        """Read an answer that did not come as a stream."""
        raise NotImplementedError

    def _read_event(self, event: dict[str, Any]) -> None:
        raise NotImplementedError

    def _fail(self, error: object) -> None:
        """The upstream gave up. Nothing worth waiting for comes after that."""
        self.error = error if isinstance(error, dict) else {"message": str(error)}
        self.done = True

    def _whole_details(self) -> list[dict[str, Any]]:
        """The reasoning details that have something in them, as far as they have come."""
        return [detail for detail in self._details.result() if any(detail.get(key) for key in _DETAIL_CONTENTS)]

    def _tell_private(self) -> None:
        """Open WebUI keeps details in a block of reasoning only; without a word in it, it would look broken."""
        if not self._reasoned and self._whole_details():
            self._add_reasoning(_PRIVATE)

    def _begin_answer(self) -> None:
        """Before the first word and the first call: reasoning that nobody may read is told of in its own place."""
        if not self._answering:
            self._answering = True
            self._tell_private()

    def _add_text(self, text: object) -> None:
        if isinstance(text, str) and text:
            self._begin_answer()
            last = self._last()
            if last.tool_calls:
                last = self._next()
            last.text += self._whole_characters(text)

    def _add_reasoning(self, text: object) -> None:
        if isinstance(text, str) and text:
            self._reasoned = True
            last = self._last()
            if last.text or last.tool_calls:
                last = self._next()
            last.reasoning += self._whole_characters(text)

    def _add_call(self, fragment: dict[str, Any] | None) -> None:
        """Send on what `ToolCalls` made of a fragment."""
        if fragment is None:
            return
        self._begin_answer()
        last = self._last()
        if last.text or last.reasoning:
            last = self._next()
        before = next((call for call in last.tool_calls if call["index"] == fragment["index"]), None)
        if before is None:
            last.tool_calls.append(fragment)
        else:
            arguments = before["function"]["arguments"] + fragment["function"]["arguments"]
            before["function"].update({**fragment["function"], "arguments": arguments})

    def _add_annotation(self, annotation: Mapping[str, Any]) -> None:
        """A source in the nested form of /chat/completions (or a parsed file, as it is), each one once."""
        source: object = dump_json(annotation)
        if annotation.get("type") == "url_citation":
            citation = annotation.get("url_citation", {key: annotation[key] for key in annotation if key != "type"})
            source = citation.get("url") if isinstance(citation, dict) else None
            if not isinstance(source, str) or not source:
                return
            # Open WebUI shows the title; an empty one would be a source without a name.
            annotation = {
                "type": "url_citation",
                "url_citation": {**citation, "title": citation.get("title") or source},
            }
        if self._is_new(f"source {source}"):
            self._last().annotations.append(dict(annotation))

    def _add_image(self, image: object) -> None:
        """A picture, each one once: an address, a data URL, or base64 without its head."""
        if not isinstance(image, str) or not image:
            return
        if not image.startswith(("data:", "http://", "https://")):
            kind = next((kind for head, kind in _IMAGE_HEADS.items() if image.startswith(head)), "png")
            image = f"data:image/{kind};base64,{image}"
        if self._is_new(f"image {image}"):
            index = sum(seen.startswith("image ") for seen in self._seen) - 1
            self._last().images.append({"type": "image_url", "image_url": {"url": image}, "index": index})

    def _is_new(self, what: str) -> bool:
        known = what in self._seen
        self._seen.add(what)
        return not known

    def _whole_characters(self, text: str) -> str:
        """`text` without half characters, which nobody could store: an emoji may arrive in two halves (UTF-16 surrogates)."""
        if text.isascii() and not self._half:
            return text
        text, self._half = self._half + text, ""
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _SURROGATES.search(text) else text

    def _last(self) -> Delta:
        return self._deltas[-1] if self._deltas else self._next()

    def _next(self) -> Delta:
        self._deltas.append(Delta())
        return self._deltas[-1]


def place_of(place: object) -> object:
    """Where something belongs, as a key; None for what cannot be one."""
    return place if isinstance(place, int | str) else None


def _object_in(text: str) -> dict[str, Any] | None:
    try:
        value = parse_json(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _as_text(value: object) -> str:
    """Arguments are JSON text; some providers send the object."""
    return value if isinstance(value, str) else dump_json(value).decode() if isinstance(value, dict | list) else ""
