"""What an answer is made of, whatever the endpoint: a stream of deltas, neighbours of a field merged."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from .codec import JsonDict, JsonObject, as_text, mapping, parse_json
from .reasoning import kept_details

# A piece of the answer, as in a chat chunk. It has one field: of several Open WebUI would read the calls first, and show them
# above what led to them.
Delta = JsonDict
_PRIVATE = "The provider keeps this reasoning private."
# How the base64 of a picture begins, for those that come without saying what they are.
_IMAGE_KINDS = {"i": "png", "/": "jpeg", "R": "gif", "U": "webp"}
# `/responses` name → chat name. Source: OpenRouter's OpenAPI document, Usage and ChatUsage.
_USAGE_NAMES = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
    "upstream_inference_input_cost": "upstream_inference_prompt_cost",
    "upstream_inference_output_cost": "upstream_inference_completions_cost",
}
# What an answer tells about who gives it. Source: OpenRouter docs, router-metadata.
_SERVED = ("model", "provider", "service_tier", "openrouter_metadata")


class AnswerReader:
    """Collects what upstream events add to one answer, so that what arrived in one network read leaves together."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.usage: JsonDict | None = None
        self.error: JsonObject | None = None
        self.done = False
        # What server tools do: the place of an output item, the item, and whether it is done.
        self.statuses: list[tuple[object, JsonObject, bool]] = []
        # What of `_SERVED` upstream has told.
        self.served: JsonDict = {}
        # The calls by upstream's index and by id, the latest one also by neither: the index in what leaves, name and arguments.
        self._calls: dict[object, tuple[int, dict[str, str]]] = {}
        # What was not taken yet: fields, each with the values that came one after the other.
        self._fields: list[tuple[str, list[Any]]] = []
        self._reasoned = self._answered = False
        self._sources: set[str] = set()
        self._images: set[str] = set()

    @property
    def ended(self) -> bool:
        """Whether upstream said that the answer is complete, or failed."""
        return self.done or self.finish_reason is not None

    @property
    def has_calls(self) -> bool:
        """Whether a tool was called, so that another round follows."""
        return bool(self._calls)

    def feed(self, payload: bytes) -> None:
        """Read one event. What is not JSON, or not of a known shape, adds nothing, nor what comes after the end."""
        if self.done or payload.strip() == b"[DONE]":
            self.done = True
            return
        try:
            event = parse_json(payload)
        except ValueError:
            return
        if isinstance(event, dict):
            self.read(event)

    def take(self) -> list[Delta]:
        """The deltas since the last call."""
        fields, self._fields = self._fields, []
        return [{field: _joined(field, values)} for field, values in fields]

    def close(self) -> list[Delta]:
        """What is left to say at the end: the reasoning details, once, for the next round."""
        self._explain_silence()
        for detail in kept_details(self._details()):
            self._add("reasoning_details", detail)
        if self._calls and self.finish_reason in (None, "stop"):
            self.finish_reason = "tool_calls"
        return self.take()

    def read(self, event: JsonObject) -> None:
        """Read one event, or an answer that did not come as a stream."""
        raise NotImplementedError

    def _details(self) -> Iterable[JsonDict]:
        raise NotImplementedError

    def _fail(self, error: object) -> None:
        """The upstream gave up: nothing worth waiting for comes after that."""
        self.error = error if isinstance(error, dict) else {"message": str(error)}
        self.done = True

    def _note_served(self, source: JsonObject) -> None:
        """Keep what is told about who answers; the latest word holds."""
        self.served |= {key: source[key] for key in _SERVED if source.get(key)}

    def _note_usage(self, usage: object) -> None:
        if isinstance(usage, dict):
            self.usage = chat_usage(usage)

    def _explain_silence(self) -> None:
        """Give details without a readable word something to stand beside: Open WebUI keeps them in a block of reasoning."""
        self._answered = True
        if not self._reasoned and kept_details(self._details()):
            self._add_reasoning(_PRIVATE)

    def _add_text(self, text: object) -> None:
        if isinstance(text, str) and text:
            if not self._answered:
                self._explain_silence()
            self._add("content", text)

    def _add_reasoning(self, text: object) -> None:
        if isinstance(text, str) and text:
            self._reasoned = True
            self._add("reasoning_content", text)

    def _add_call(
        self, place: object, call_id: object, name: object, arguments: object, *, whole: bool = False
    ) -> None:
        """Add a fragment of a tool call, or a `whole` call of which parts may have come.

        `place` is upstream's index of the call. Without one (None), the id tells which it is; without either, it is the latest.
        """
        call_id, name, arguments = as_text(call_id), as_text(name), as_text(arguments)
        key = call_id if place is None else place
        call = self._calls.get(key)
        # Gateways to Gemini give all calls of an answer the same index.
        another = key == "" if not call_id else self._calls.get(call_id) is not call
        if call is None or (another and name and not whole):
            if not (call_id or name or arguments):
                return
            if not self._answered:
                self._explain_silence()
            # Providers repeat ids, or give none.
            unique = call_id if call_id and call_id not in self._calls else f"call_{secrets.token_hex(12)}"
            index, function = self._calls[""][0] + 1 if self._calls else 0, {"name": name, "arguments": arguments}
            self._calls |= dict.fromkeys((place, call_id, unique, ""), (index, function))
            self._add("tool_calls", {"index": index, "id": unique, "type": "function", "function": function.copy()})
        else:
            index, known = call
            if whole:
                arguments = arguments[len(known["arguments"]) :] if arguments.startswith(known["arguments"]) else ""
            # The name is sent once: clients join what they get of it.
            function = {"arguments": arguments} if known["name"] or not name else {"name": name, "arguments": arguments}
            if any(function.values()):
                known |= {key: known[key] + text for key, text in function.items()}
                self._add("tool_calls", {"index": index, "function": function})

    def _add_annotation(self, annotation: JsonObject) -> None:
        """A web page as a source, once, in the nested form of /chat/completions."""
        citation = mapping(annotation.get("url_citation", annotation))
        url = citation.get("url")
        if annotation.get("type") == "url_citation" and isinstance(url, str) and url and url not in self._sources:
            self._sources.add(url)
            # Open WebUI shows the title; an empty one would be a source without a name.
            citation = {**citation, "title": citation.get("title") or url}
            citation.pop("type", None)
            self._add("annotations", {"type": "url_citation", "url_citation": citation})

    def _add_image(self, image: object) -> None:
        """A picture, once: an address, a data URL, or base64 without its head."""
        if not isinstance(image, str) or not image:
            return
        if not image.startswith(("data:", "http://", "https://")):
            image = f"data:image/{_IMAGE_KINDS.get(image[0], 'png')};base64,{image}"
        if image not in self._images:
            self._add("images", {"type": "image_url", "image_url": {"url": image}, "index": len(self._images)})
            self._images.add(image)

    def _add(self, field: str, value: object) -> None:
        if not self._fields or self._fields[-1][0] != field:
            self._fields.append((field, []))
        self._fields[-1][1].append(value)


def chat_usage(usage: JsonObject) -> JsonDict:
    """A usage object of either endpoint under the names of `/chat/completions`."""
    return {
        _USAGE_NAMES.get(key, key): chat_usage(value) if isinstance(value, dict) else value
        for key, value in usage.items()
    }


def has_answer(delta: Delta) -> bool:
    """Whether it brings something besides reasoning."""
    return not delta.keys().isdisjoint(("content", "tool_calls", "images"))


def merge_deltas(deltas: Iterable[Delta]) -> Delta:
    """All deltas as one."""
    whole: dict[str, list[Any]] = {}
    for delta in deltas:
        for field, value in delta.items():
            whole.setdefault(field, []).extend([value] if isinstance(value, str) else value)
    return {field: _joined(field, values) for field, values in whole.items()}


def _joined(field: str, values: list[Any]) -> object:
    """The values of a field as one: texts joined, and the fragments of calls, which clients expect once in a chunk."""
    if field != "tool_calls":
        return "".join(values) if isinstance(values[0], str) else values
    calls: dict[int, JsonDict] = {}
    for fragment in values:
        call = calls.setdefault(fragment["index"], {**fragment, "function": {}})
        for key, text in fragment["function"].items():
            call["function"][key] = call["function"].get(key, "") + text
    return list(calls.values())


def index_of(source: JsonObject, key: str) -> int | None:
    """The index that upstream gives; None for what is none."""
    value = source.get(key)
    return value if isinstance(value, int) else None
