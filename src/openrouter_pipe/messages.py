"""Open WebUI's messages → what each endpoint takes, with the same meaning on either."""

from __future__ import annotations

from itertools import takewhile

from .codec import JsonDict, as_text, dicts, mapping, parts_of, without
from .reasoning import reasoning_items, replayed_details

_SYSTEM_ROLES = ("system", "developer")
# Role → the kinds of parts that its messages can hold.
# Source: OpenRouter's OpenAPI document, ChatSystemMessage and FunctionCallOutputItem.
_HOLDS = {
    **dict.fromkeys((*_SYSTEM_ROLES, "assistant"), ("text",)),
    "tool": ("text", "image_url", "file"),
    "user": ("text", "image_url", "file", "input_audio", "video_url"),
}


def chat_messages(messages: object) -> list[JsonDict]:
    """The messages for `/chat/completions`, made valid: an odd role is the user's, and who says nothing is left out.

    That each call has a result, and each result a call, is Open WebUI's work (`sanitize_tool_pairs`).
    """
    read = list(map(_read_message, dicts(messages)))
    # Some providers count their calls anew in each round, others refuse an id that comes twice.
    ids: dict[str, str] = {}
    for number, message in enumerate(read):
        for call in message.get("tool_calls", ()):
            ids[call["id"]] = call["id"] = f"{call['id']}_{number}" if call["id"] in ids else call["id"]
        if message["role"] == "tool":
            message["tool_call_id"] = ids.get(message["tool_call_id"], message["tool_call_id"])
    kept = [
        message
        for message in read
        if message["role"] == "user" or any(message[key] for key in message.keys() - {"role"})
    ]
    # Without any message the request would be refused.
    return kept or [{"role": "user", "content": ""}]


def responses_input(messages: object) -> tuple[str, list[JsonDict]]:
    """`instructions` (the system messages at the start) and the input items for `/responses`."""
    read = chat_messages(messages)
    # Without any input the request would be refused: the last message is input, whosever it is.
    leading = list(takewhile(lambda message: message["role"] in _SYSTEM_ROLES, read[:-1]))
    items = [item for message in read[len(leading) :] for item in _items_of(message)]
    for number, item in enumerate(items):
        if item["type"] == "reasoning":
            # The id is required.
            item.setdefault("id", f"rs_{number}")
    return "\n\n".join(_text_of(message["content"]) for message in leading), items


def has_cache_control(messages: object) -> bool:
    """Whether a part has its own `cache_control`, which only `/chat/completions` understands."""
    return any(part.get("cache_control") for part in parts_of(messages))


def _read_message(message: JsonDict) -> JsonDict:
    role = str(message.get("role"))
    role = role if role in _HOLDS else "user"
    content = message.get("content") or message.get("refusal")
    if not isinstance(content, str):
        parts = filter(None, map(_read_part, dicts(content)))
        content = [part for part in parts if part["type"] in _HOLDS[role]] or ""
    read: JsonDict = {"role": role, "content": content}
    if role == "tool":
        read["tool_call_id"] = as_text(message.get("tool_call_id"))
    if role == "assistant":
        calls = [call for call in map(_read_call, dicts(message.get("tool_calls"))) if call["function"]["name"]]
        details = replayed_details(message.get("reasoning_details"))
        read |= {"tool_calls": calls} if calls else {}
        read |= {"reasoning_details": details} if details else {}
    return read


def _read_call(call: JsonDict) -> JsonDict:
    function = mapping(call.get("function"))
    name, arguments = as_text(function.get("name")), as_text(function.get("arguments")) or "{}"
    return {"id": as_text(call.get("id")), "type": "function", "function": {"name": name, "arguments": arguments}}


def _read_part(part: JsonDict) -> JsonDict | None:
    """A part as /chat/completions has it, its type also the name of its field; of other kinds the text is kept."""
    match part:
        case {"type": "image_url" | "input_image", "image_url": str(url)}:
            # So Open WebUI hands over a tool's picture.
            known: JsonDict = {"type": "image_url", "image_url": {"url": url}}
        case (
            {"type": "image_url" as kind, "image_url": {"url": str()}}
            | {"type": "file" as kind, "file": {"file_data": str()} | {"file_id": str()}}
            | {"type": "input_audio" as kind, "input_audio": {"data": str(), "format": str()}}
            | {"type": "video_url" as kind, "video_url": {"url": str()}}
        ):
            known = {"type": kind, kind: part[kind]}
        case {"text": str(text)} if text:
            known = {"type": "text", "text": text}
        case _:
            return None
    marks = ("cache_control", "prompt_cache_breakpoint")
    return known | {key: part[key] for key in marks if part.get(key)}


def _items_of(message: JsonDict) -> list[JsonDict]:
    role, content = message["role"], message["content"]
    if role == "assistant":
        # Reasoning before the text and the calls that it led to.
        items = reasoning_items(message.get("reasoning_details", ()))
        calls = message.get("tool_calls", ())
        # Reasoning has to be followed by something, even where that is nothing.
        if content or not calls:
            items.append({"type": "message", "role": role, "content": _text_of(content)})
        return items + [{"type": "function_call", "call_id": call["id"], **call["function"]} for call in calls]
    if role == "tool":
        output = content if isinstance(content, str) else [_input_part(part) for part in content]
        return [{"type": "function_call_output", "call_id": message["tool_call_id"], "output": output}]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [{"type": "message", "role": role, "content": [_input_part(part) for part in parts]}]


def _input_part(part: JsonDict) -> JsonDict:
    value = part[part["type"]]
    match part["type"]:
        case "image_url":
            # `detail` is required here.
            return {"type": "input_image", "image_url": value["url"], "detail": value.get("detail") or "auto"}
        case "file":
            file = dict(value)
            if str(file.get("file_data")).startswith("http"):
                file["file_url"] = file.pop("file_data")
            return {"type": "input_file", **file}
        case "input_audio":
            return {"type": "input_audio", "input_audio": value}
        case "video_url":
            return {"type": "input_video", "video_url": value["url"]}
    return without(part, "cache_control") | {"type": "input_text"}


def _text_of(content: str | list[JsonDict]) -> str:
    return content if isinstance(content, str) else "\n\n".join(part["text"] for part in content)
