"""Open WebUI's messages → what each endpoint takes, with the same meaning on either."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from .reasoning import reasoning_items, replayed_details

_SYSTEM_ROLES = ("system", "developer")
_KNOWN_ROLES = (*_SYSTEM_ROLES, "user", "assistant", "tool")
# Providers refuse a call without its result; a person who pressed Stop leaves such calls behind.
_NO_RESULT = "There is no result: the call was interrupted."


class ToolCall(NamedTuple):
    """One call of a tool by the model; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


class Message(NamedTuple):
    """A message, read: content as parts or text, and what only assistants (calls, details) and tools (call_id) have."""

    role: str
    content: list[dict[str, Any]] | str
    calls: tuple[ToolCall, ...] = ()
    details: tuple[dict[str, Any], ...] = ()
    call_id: str = ""

    @property
    def text(self) -> str:
        """The text of the content."""
        return _text_of(self.content)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        has_media = any(part["type"] != "text" for part in _dicts(self.content))
        return not (self.text or self.calls or self.details or has_media)


def chat_messages(messages: object) -> list[dict[str, Any]]:
    """The messages for `/chat/completions`."""
    kept: list[dict[str, Any]] = []
    for message in read_messages(messages):
        out: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.calls:
            out["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in message.calls
            ]
        if message.details:
            out["reasoning_details"] = list(message.details)
        if message.role == "tool":
            out["tool_call_id"] = message.call_id
        kept.append(out)
    return kept


def responses_input(messages: object) -> tuple[str, list[dict[str, Any]]]:
    """The messages for `/responses`: `instructions` (the system messages at the start) and the input items."""
    instructions: list[str] = []
    items: list[dict[str, Any]] = []
    for message in read_messages(messages):
        if message.role in _SYSTEM_ROLES and not items:
            instructions.append(message.text)
        elif message.role == "assistant":
            items += _assistant_items(message)
        elif message.role == "tool":
            output = message.content if isinstance(message.content, str) else _input_parts(message.content)
            items.append({"type": "function_call_output", "call_id": message.call_id, "output": output})
        else:
            items.append({"type": "message", "role": message.role, "content": _input_parts(message.content)})
    text = "\n\n".join(text for text in instructions if text)
    if text and not items:
        # Without any input the request would be refused.
        return "", [{"type": "message", "role": "system", "content": [{"type": "input_text", "text": text}]}]
    return text, items


def has_cache_control(messages: object) -> bool:
    """Whether a message part carries its own `cache_control`, which only `/chat/completions` understands."""
    return any("cache_control" in part for message in _dicts(messages) for part in _dicts(message.get("content")))


def read_messages(messages: object) -> list[Message]:
    """The messages, made valid: an odd role becomes `user`, an assistant's turn without anything in it is left out, and each
    tool call is followed by its result."""
    paired: list[Message] = []
    waiting: dict[str, None] = {}
    for message in _iter_messages(messages):
        if message.role == "tool":
            paired.append(_result(message, waiting))
            continue
        paired += _no_results(waiting)
        if message.role == "assistant" and message.is_empty:
            continue
        paired.append(message)
        waiting = dict.fromkeys(call.id for call in message.calls)
    paired += _no_results(waiting)
    return paired or [Message("user", "") for _ in list(_dicts(messages))[:1]]


def _result(message: Message, waiting: dict[str, None]) -> Message:
    """A tool's result, matched with a call that waits for one; without a call it is only text."""
    call_id = message.call_id or next(iter(waiting), "")
    if call_id not in waiting:
        return message._replace(role="user")
    del waiting[call_id]
    return message._replace(call_id=call_id)


def _no_results(waiting: dict[str, None]) -> list[Message]:
    results = [Message("tool", _NO_RESULT, call_id=call_id) for call_id in waiting]
    waiting.clear()
    return results


def _iter_messages(messages: object) -> Iterator[Message]:
    for message in _dicts(messages):
        role = message.get("role")
        role = role if role in _KNOWN_ROLES else "user"
        content = message.get("content")
        assistant = role == "assistant"
        call_id = message.get("tool_call_id")
        yield Message(
            role,
            _parts_of(content) or _text_of(content),
            tuple(_calls_of(message.get("tool_calls"))) if assistant else (),
            tuple(replayed_details(message.get("reasoning_details"))) if assistant else (),
            call_id if isinstance(call_id, str) else "",
        )


def _calls_of(calls: object) -> Iterator[ToolCall]:
    """The calls of an assistant's message, each with an id of its own."""
    seen: set[str] = set()
    for number, call in enumerate(_dicts(calls)):
        function = call.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str) or not name:
            continue
        call_id = call.get("id")
        if not isinstance(call_id, str) or not call_id or call_id in seen:
            call_id = f"call_{number}"
        seen.add(call_id)
        arguments = function.get("arguments")
        yield ToolCall(call_id, name, arguments if isinstance(arguments, str) and arguments else "{}")


def _assistant_items(message: Message) -> list[dict[str, Any]]:
    """Reasoning before the text and the calls that it led to."""
    items = reasoning_items(message.details)
    if text := message.text:
        items.append({"type": "message", "role": "assistant", "content": text})
    items += [
        {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}
        for call in message.calls
    ]
    return items


def _input_parts(content: object) -> list[dict[str, Any]]:
    parts = [_RESPONSES_PARTS[part["type"]](part) for part in _dicts(content)]
    return parts or [{"type": "input_text", "text": _text_of(content)}]


def _text_part(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "input_text", "text": _text_of(part.get("text"))}


def _image_part(part: Mapping[str, Any]) -> dict[str, Any]:
    image = _mapping_or_url(part.get("image_url"))
    # `detail` is required here, optional in /chat/completions.
    return {"type": "input_image", "image_url": image.get("url"), "detail": image.get("detail") or "auto"}


def _file_part(part: Mapping[str, Any]) -> dict[str, Any]:
    file = part.get("file")
    known = ("filename", "file_data", "file_url", "file_id")
    return {"type": "input_file", **{key: file[key] for key in known if isinstance(file, dict) and key in file}}


def _audio_part(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": part.get("input_audio")}


def _video_part(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "input_video", "video_url": _mapping_or_url(part.get("video_url")).get("url")}


# Type of a part in Open WebUI and /chat/completions → the same part for /responses.
_RESPONSES_PARTS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "text": _text_part,
    "image_url": _image_part,
    "file": _file_part,
    "input_audio": _audio_part,
    "video_url": _video_part,
}


def _mapping_or_url(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {"url": value}


def _text_of(content: object) -> str:
    """The text of a message's content, which is text, a list of parts, or nothing."""
    if isinstance(content, str):
        return content
    texts = [part["text"] for part in _parts_of(content) if isinstance(part.get("text"), str)]
    return "\n\n".join(texts)


def _parts_of(content: object) -> list[dict[str, Any]]:
    """The parts that have a meaning, as /chat/completions has them. Of a part of an unknown type the text is kept."""
    parts = []
    for part in content if isinstance(content, list) else ():
        kind = str(part.get("type")) if isinstance(part, dict) else ""
        text = part.get("text") if isinstance(part, dict) else part
        if kind in _RESPONSES_PARTS and (kind != "text" or isinstance(text, str)):
            parts.append(part)
        elif kind == "input_image":
            # Open WebUI hands over a tool's pictures in this form.
            parts.append({"type": "image_url", "image_url": {"url": part.get("image_url")}})
        elif isinstance(text, str):
            parts.append({"type": "text", "text": text})
    return parts


def _dicts(values: object) -> Iterable[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else ()
