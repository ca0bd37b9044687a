"""Open WebUI's messages → what each endpoint takes, with the same meaning on either."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from .codec import dicts, dump_json
from .reasoning import reasoning_items, replayed_details

_SYSTEM_ROLES = ("system", "developer")
_KNOWN_ROLES = (*_SYSTEM_ROLES, "user", "assistant", "tool")
# What a role's message can hold; the rest follows in a message of the user.
# Source: OpenRouter's OpenAPI document, ChatSystemMessage and FunctionCallOutputItem.
_HOLDS = {"system": ("text",), "developer": ("text",), "tool": ("text", "image_url", "file")}
# Providers refuse a call without its result; a person who pressed Stop leaves such calls behind.
_NO_RESULT = "There is no result: the call was interrupted."
_DETAILS = ("auto", "low", "high", "original")
_FILE_KEYS = ("filename", "file_data", "file_id")


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
        return not (self.text or self.calls or self.details or self.has_media)

    @property
    def has_media(self) -> bool:
        """Whether there is more than text in the content."""
        return any(part["type"] != "text" for part in dicts(self.content))


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
    for number, item in enumerate(items):
        if item["type"] == "reasoning":
            # The id is required.
            item.setdefault("id", f"rs_{number}")
    text = "\n\n".join(text for text in instructions if text)
    if text and not items:
        # Without any input the request would be refused.
        return "", [{"type": "message", "role": "system", "content": [{"type": "input_text", "text": text}]}]
    return text, items


def has_cache_control(messages: object) -> bool:
    """Whether a message part carries its own `cache_control`, which only `/chat/completions` understands."""
    parts = (part for message in dicts(messages) for part in dicts(message.get("content")))
    return any(isinstance(part.get("cache_control"), dict) for part in parts)


def read_messages(messages: object) -> list[Message]:
    """The messages, made valid: an odd role becomes `user`, an assistant's or system message without anything in it is left
    out, and each tool call has an id of its own and is followed by its result."""
    read = list(_iter_messages(messages))
    conversation = _Conversation({call.id for message in read for call in message.calls})
    for message in read:
        conversation.add(message)
    conversation.end_round()
    return conversation.messages or [Message("user", "") for _ in read[:1]]


class _Conversation:
    """Messages in the making; a round is an assistant's calls and their results."""

    def __init__(self, given_ids: set[str]) -> None:
        self.messages: list[Message] = []
        self._given_ids = given_ids
        self._ids: set[str] = set()
        # The calls of this round that wait for their results: the id that was given, and the id in use.
        self._waiting: list[tuple[str, str]] = []
        # What came in between, for nothing may stand between a call and its results.
        self._strays: list[Message] = []

    def add(self, message: Message) -> None:
        """Add a message; what it cannot hold follows as the user's."""
        message, rest = _split(message)
        if message.role == "tool":
            self._add_result(message)
            self._strays += rest
            return
        self.end_round()
        if message.role == "assistant":
            message = message._replace(calls=tuple(self._with_own_id(call) for call in message.calls))
        if message.role == "user" or not message.is_empty:
            self.messages.append(message)
        self.messages += rest

    def end_round(self) -> None:
        """Calls that still wait get a result that says so."""
        self.messages += [Message("tool", _NO_RESULT, call_id=call_id) for _, call_id in self._waiting]
        self.messages += self._strays
        self._waiting, self._strays = [], []

    def _with_own_id(self, call: ToolCall) -> ToolCall:
        number, call_id = len(self._ids), call.id
        while not call_id or call_id in self._ids:
            call_id = f"call_{number}" if f"call_{number}" not in self._given_ids else ""
            number += 1
        self._ids.add(call_id)
        self._waiting.append((call.id, call_id))
        return call._replace(id=call_id)

    def _add_result(self, message: Message) -> None:
        """A tool's result, matched with a call that waits for one; without a call it is only text."""
        exact = (pair for pair in self._waiting if pair[0] == message.call_id)
        vague = (pair for pair in self._waiting if not (pair[0] and message.call_id))
        pair = next(exact, None) or next(vague, None)
        if pair is not None:
            self._waiting.remove(pair)
            self.messages.append(message._replace(call_id=pair[1]))
        elif not message.is_empty:
            self._strays.append(message._replace(role="user"))


def _split(message: Message) -> tuple[Message, list[Message]]:
    """A message with what its role can hold, and the rest."""
    held = _HOLDS.get(message.role)
    rest = [part for part in dicts(message.content) if held and part["type"] not in held]
    if not rest:
        return message, []
    kept = [part for part in dicts(message.content) if part not in rest]
    return message._replace(content=kept or ""), [Message("user", rest)]


def _iter_messages(messages: object) -> Iterator[Message]:
    for message in dicts(messages):
        role = message.get("role")
        role = role if role in _KNOWN_ROLES else "user"
        content = message.get("content") or message.get("refusal")
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
    """The calls of an assistant's message as they were given; the id may be missing."""
    for call in dicts(calls):
        function, call_id = call.get("function"), call.get("id")
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(function, dict) and isinstance(name, str) and name:
            arguments = function.get("arguments")
            text = arguments if isinstance(arguments, str) else dump_json(arguments or {}).decode()
            yield ToolCall(call_id if isinstance(call_id, str) else "", name, text or "{}")


def _assistant_items(message: Message) -> list[dict[str, Any]]:
    """Reasoning before the text and the calls that it led to."""
    items = reasoning_items(message.details)
    content = _input_parts(message.content) if message.has_media else message.text
    # Reasoning has to be followed by what it led to, even where that is nothing.
    if content or not message.calls:
        items.append({"type": "message", "role": "assistant", "content": content})
    items += [
        {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}
        for call in message.calls
    ]
    return items


def _input_parts(content: object) -> list[dict[str, Any]]:
    parts = [_RESPONSES_PARTS[part["type"]](part) for part in dicts(content)]
    return parts or [{"type": "input_text", "text": _text_of(content)}]


def _text_part(part: Mapping[str, Any]) -> dict[str, Any]:
    extras = {key: part[key] for key in ("prompt_cache_breakpoint",) if key in part}
    return {"type": "input_text", "text": part["text"], **extras}


def _image_part(part: Mapping[str, Any]) -> dict[str, Any]:
    image = part["image_url"]
    # `detail` is required here, optional in /chat/completions.
    return {"type": "input_image", "image_url": image["url"], "detail": image.get("detail", "auto")}


def _file_part(part: Mapping[str, Any]) -> dict[str, Any]:
    file = dict(part["file"])
    if file.get("file_data", "").startswith(("http://", "https://")):
        file["file_url"] = file.pop("file_data")
    return {"type": "input_file", **file}


def _audio_part(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": part["input_audio"]}


def _video_part(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "input_video", "video_url": part["video_url"]["url"]}


# Type of a part for /chat/completions → the same part for /responses.
_RESPONSES_PARTS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "text": _text_part,
    "image_url": _image_part,
    "file": _file_part,
    "input_audio": _audio_part,
    "video_url": _video_part,
}


def _image_of(part: Mapping[str, Any]) -> dict[str, Any] | None:
    image = _mapping_or_url(part.get("image_url"))
    detail = image.get("detail") or part.get("detail")
    known = {"detail": detail} if detail in _DETAILS else {}
    return {"image_url": {"url": image["url"], **known}} if _is_text(image.get("url")) else None


def _file_of(part: Mapping[str, Any]) -> dict[str, Any] | None:
    """A file; its address goes where /chat/completions has both addresses and data."""
    file = part.get("file", part)
    file = {key: value for key, value in file.items() if _is_text(value)} if isinstance(file, dict) else {}
    file.setdefault("file_data", file.get("file_url"))
    file = {key: file[key] for key in _FILE_KEYS if file.get(key)}
    return {"file": file} if file.keys() - {"filename"} else None


def _audio_of(part: Mapping[str, Any]) -> dict[str, Any] | None:
    audio = part.get("input_audio")
    known = (
        {key: audio[key] for key in ("data", "format") if _is_text(audio.get(key))} if isinstance(audio, dict) else {}
    )
    return {"input_audio": known} if len(known) == 2 else None


def _video_of(part: Mapping[str, Any]) -> dict[str, Any] | None:
    url = _mapping_or_url(part.get("video_url")).get("url")
    return {"video_url": {"url": url}} if _is_text(url) else None


_Reader = Callable[[Mapping[str, Any]], dict[str, Any] | None]
# Type of a part as it may come (Open WebUI hands over a tool's pictures in the form of /responses) → its type for
# /chat/completions, and what reads it; None: it makes no sense.
_KNOWN_PARTS: dict[object, tuple[str, _Reader]] = {
    **dict.fromkeys(("image_url", "input_image"), ("image_url", _image_of)),
    **dict.fromkeys(("file", "input_file"), ("file", _file_of)),
    **dict.fromkeys(("input_audio",), ("input_audio", _audio_of)),
    **dict.fromkeys(("video_url", "input_video"), ("video_url", _video_of)),
}


def _mapping_or_url(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {"url": value}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _text_of(content: object) -> str:
    """The text of a message's content, which is text, a list of parts, or nothing."""
    if isinstance(content, str):
        return content
    return "\n\n".join(part["text"] for part in _parts_of(content) if part["type"] == "text")


def _parts_of(content: object) -> list[dict[str, Any]]:
    """The parts that have a meaning, as /chat/completions has them. Of a part of another kind the text is kept."""
    parts = (_read_part(part) for part in content) if isinstance(content, list) else ()
    return [part for part in parts if part is not None]


def _read_part(part: object) -> dict[str, Any] | None:
    if not isinstance(part, dict):
        return {"type": "text", "text": part} if _is_text(part) else None
    kind, read = _KNOWN_PARTS.get(str(part.get("type")), ("", None))
    extras = {"cache_control": part["cache_control"]} if isinstance(part.get("cache_control"), dict) else {}
    if read is not None and (media := read(part)) is not None:
        return {"type": kind, **media, **extras}
    text = part.get("text") or part.get("refusal")
    if not _is_text(text):
        return None
    if isinstance(part.get("prompt_cache_breakpoint"), dict):
        extras["prompt_cache_breakpoint"] = part["prompt_cache_breakpoint"]
    return {"type": "text", "text": text, **extras}
