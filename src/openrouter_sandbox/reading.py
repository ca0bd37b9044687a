"""What a request says: the parts of a body that the sandbox tells back or counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Item = dict[str, Any]

# Part types of both endpoints -> the input modality that a catalog row names.
ATTACHMENTS = {
    "image_url": "image",
    "input_image": "image",
    "file": "file",
    "input_file": "file",
    "input_audio": "audio",
    "video_url": "video",
    "input_video": "video",
}
SYSTEM_ROLES = ("system", "developer")


@dataclass(frozen=True)
class Conversation:
    """`characters`: all text of the request, for the token estimate. `attachments`: (modality, count) pairs.

    `tool_calls`, `tool_results`: the ids of the calls made and of the calls answered.
    """

    last_user: str
    system: str
    attachments: tuple[tuple[str, int], ...]
    characters: int
    tool_calls: tuple[str, ...]
    tool_results: tuple[str, ...]


def read_conversation(body: Item) -> Conversation:
    """The conversation of a body of either endpoint."""
    items = list(conversation_items(body))
    users = [text_of(item) for item in items if item.get("role") == "user"]
    system = [body.get("instructions") or "", *(text_of(item) for item in items if item.get("role") in SYSTEM_ROLES)]
    kinds = Counter(ATTACHMENTS[part["type"]] for item in items for part in parts(item) if part["type"] in ATTACHMENTS)
    return Conversation(
        last_user=users[-1] if users else "",
        system="\n".join(filter(None, system)),
        attachments=tuple(sorted(kinds.items())),
        characters=sum(len(text_of(item)) for item in items) + len(body.get("instructions") or ""),
        tool_calls=tuple(call_id for item in items for call_id in calls_in(item)),
        tool_results=tuple(result for item in items if (result := result_in(item))),
    )


def conversation_items(body: Item) -> Iterator[Item]:
    """Messages, or input items; a plain string is one user message."""
    given = body.get("messages", body.get("input"))
    if isinstance(given, str):
        yield {"role": "user", "content": given}
    elif isinstance(given, list):
        yield from given


def calls_in(item: Item) -> list[str]:
    """Ids of the function calls of a chat message, or of an item that is one."""
    if item.get("type") == "function_call":
        return [item["call_id"]]
    return [call["id"] for call in item.get("tool_calls") or []]


def result_in(item: Item) -> str | None:
    """Id of the call that a message or item answers."""
    return item["call_id"] if item.get("type") == "function_call_output" else item.get("tool_call_id")


def parts(item: Item) -> list[Item]:
    """The content parts of a message, with a string as one text part."""
    content = item.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [part for part in content if "type" in part] if isinstance(content, list) else []


def text_of(item: Item) -> str:
    """All text of a message, tool calls and tool results included."""
    texts = [part["text"] for part in parts(item) if isinstance(part.get("text"), str)]
    texts += [item[key] for key in ("arguments", "output") if isinstance(item.get(key), str)]
    return "\n".join(texts)
