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
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Delta:
    """A piece of the answer. In one delta the reasoning comes before the text."""

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


class SearchStatus(NamedTuple):
    """A server tool at work: its name, what it looks for, the pages it found, and whether it is done."""

    tool: str
    query: str = ""
    urls: tuple[str, ...] = ()
    done: bool = False


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
        self.statuses: list[SearchStatus] = []
        self._deltas: list[Delta] = []
        self._half = ""
        self._details = DetailsCollector()
        self._reasoned = False
        # Where upstream put a call → its index in this answer, and the id that upstream gave it.
        self._calls: dict[object, tuple[int, str]] = {}
        self._call_ids: set[str] = set()
        self._seen: set[str] = set()

    @property
    def ended(self) -> bool:
        """Whether upstream said that the answer is complete (or that it failed)."""
        return self.done or self.finish_reason is not None or self.error is not None

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
        details = self._details.result()
        if details and self.error is None:
            if not self._reasoned:
                # Open WebUI keeps details in a block of reasoning only; without a word in it, it would look broken.
                self._add_reasoning(_PRIVATE)
            self._last().details = details
        if self._calls and self.finish_reason == "stop":
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

    def _add_text(self, text: object) -> None:
        if isinstance(text, str) and text:
            self._last().text += self._whole_characters(text)

    def _add_reasoning(self, text: object) -> None:
        if isinstance(text, str) and text:
            self._reasoned = True
            last = self._last()
            if last.text:
                last = Delta()
                self._deltas.append(last)
            last.reasoning += self._whole_characters(text)

    def _add_call(self, place: object, call_id: object = None, name: object = None, arguments: object = None) -> None:
        """Add a fragment of a tool call; `place` says which call it belongs to. Each call gets an id of its own."""
        call_id = call_id if isinstance(call_id, str) else ""
        arguments = arguments if isinstance(arguments, str) else dump_json(arguments).decode() if arguments else ""
        function = {**({"name": name} if isinstance(name, str) and name else {}), "arguments": arguments}
        known = self._calls.get(place)
        if known is None or (call_id and known[1] and call_id != known[1] and "name" in function):
            index = len(self._call_ids)
            unique = call_id if call_id and call_id not in self._call_ids else f"call_{uuid.uuid4().hex[:24]}"
            self._call_ids.add(unique)
            self._calls[place] = (index, call_id)
            call = {"index": index, "id": unique, "type": "function", "function": {"name": "", **function}}
            self._for_calls().append(call)
        elif arguments or "name" in function:
            self._continue_call(known[0], function)

    def _continue_call(self, index: int, function: dict[str, Any]) -> None:
        calls = self._for_calls()
        before = next((call for call in calls if call["index"] == index), None)
        if before is None:
            calls.append({"index": index, "function": function})
        else:
            arguments = before["function"]["arguments"] + function["arguments"]
            before["function"].update({**function, "arguments": arguments})

    def _for_calls(self) -> list[dict[str, Any]]:
        """Where calls are put: not beside reasoning or text that came before, since Open WebUI reads a chunk's calls first."""
        last = self._last()
        if last.reasoning or last.text:
            last = Delta()
            self._deltas.append(last)
        return last.tool_calls

    def _add_annotation(self, annotation: object) -> None:
        """A source (or a parsed file), each one once."""
        if isinstance(annotation, dict):
            citation = annotation.get("url_citation")
            source = citation.get("url") if isinstance(citation, dict) else dump_json(annotation).decode()
            if self._is_new(f"source {source}"):
                self._last().annotations.append(annotation)

    def _add_image(self, url: object) -> None:
        if isinstance(url, str) and url and self._is_new(f"image {url}"):
            index = sum(seen.startswith("image ") for seen in self._seen) - 1
            self._last().images.append({"type": "image_url", "image_url": {"url": url}, "index": index})

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
        if not self._deltas:
            self._deltas.append(Delta())
        return self._deltas[-1]


def dicts_of(values: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects in the list at `key`; none when it is not a list."""
    found = values.get(key)
    return [value for value in found if isinstance(value, dict)] if isinstance(found, list) else []
