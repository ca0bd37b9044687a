"""Open WebUI's messages → what each endpoint takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

_SYSTEM_ROLES = ("system", "developer")
_KNOWN_ROLES = (*_SYSTEM_ROLES, "user", "assistant")


def chat_messages(messages: object) -> list[dict[str, Any]]:
    """The messages for `/chat/completions`: the known fields; an odd role becomes `user`, so that its text is kept."""
    kept: list[dict[str, Any]] = []
    for role, message in _iter_messages(messages):
        content = message.get("content")
        kept.append({"role": role, "content": _parts_of(content) or _text_of(content)})
    return kept


def responses_input(messages: object) -> tuple[str, list[dict[str, Any]]]:
    """The messages for `/responses`: `instructions` (the system messages at the start) and the input items."""
    instructions: list[str] = []
    items: list[dict[str, Any]] = []
    for role, message in _iter_messages(messages):
        content = message.get("content")
        if role in _SYSTEM_ROLES and not items:
            instructions.append(_text_of(content))
        elif role == "assistant":
            if text := _text_of(content):
                items.append({"type": "message", "role": "assistant", "content": text})
        else:
            items.append({"type": "message", "role": role, "content": _input_parts(content)})
    text = "\n\n".join(text for text in instructions if text)
    if text and not items:
        # Without any input the request would be refused.
        return "", [{"type": "message", "role": "system", "content": [{"type": "input_text", "text": text}]}]
    return text, items


def has_cache_control(messages: object) -> bool:
    """Whether a message part carries its own `cache_control`, which only `/chat/completions` understands."""
    return any(
        "cache_control" in part for _, message in _iter_messages(messages) for part in _parts_of(message.get("content"))
    )


def _iter_messages(messages: object) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            role = message.get("role")
            yield (role if role in _KNOWN_ROLES else "user"), message


def _input_parts(content: object) -> list[dict[str, Any]]:
    parts = [_PARTS[part["type"]](part) for part in _parts_of(content)]
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
_PARTS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
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
    """The parts that have a meaning. Of a part of an unknown type the text is kept."""
    parts = []
    for part in content if isinstance(content, list) else ():
        kind = str(part.get("type")) if isinstance(part, dict) else ""
        text = part.get("text") if isinstance(part, dict) else part
        if kind in _PARTS and (kind != "text" or isinstance(text, str)):
            parts.append(part)
        elif isinstance(text, str):
            parts.append({"type": "text", "text": text})
    return parts
