"""A chat's files for a model that takes them itself: which go as they are, which as text, and in which message."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping

from .catalog import UNKNOWN, Model
from .codec import JsonDict, JsonObject, dicts, mapping, parts_of
from .settings import Settings

# Of all files that go as they are together, before base64 adds a third; of the text of one file.
MAX_FILE_BYTES = 25_000_000
MAX_FILE_TEXT = 400_000
_CHAT_AUDIO = ("flac", "m4a", "ogg", "aac", "aiff")
# Ending of the name → the modality in the model's row, and the format (audio) or the content type.
# Source: OpenRouter docs, guides/overview/multimodal/{pdfs,audio,videos}.
_KINDS = {
    "pdf": ("file", "application/pdf"),
    **{ending: ("audio", ending) for ending in ("mp3", "wav", *_CHAT_AUDIO)},
    **{ending: ("video", f"video/{ending}") for ending in ("mp4", "mpeg", "mov", "webm")},
}
Kinds = Mapping[str, tuple[str, str]]


def taken_kinds(model: Model, settings: Settings) -> Kinds | None:
    """The endings of files that go to a model as they are; None: leave all to Open WebUI.

    Empty for an unknown model: its row may tell Open WebUI to leave the files alone, so their texts have to be sent.
    """
    inputs = model.input_modalities
    # /responses knows two formats of audio. Source: OpenRouter's OpenAPI document, InputAudio.
    never = _CHAT_AUDIO if settings.ENDPOINT == "responses" else ()
    kinds = {ending: kind for ending, kind in _KINDS.items() if kind[0] in inputs and ending not in never}
    return kinds if settings.DIRECT_FILES == "supported" and (kinds or model is UNKNOWN) else None


def file_kind(kinds: Kinds, name: str, content_type: object) -> tuple[str, str] | None:
    """Modality and format of a file that goes as it is."""
    kind = kinds.get(name.rpartition(".")[2].lower())
    # A recording (.webm) can be audio alone.
    return kind if kind and str(content_type or "application").startswith(("application", kind[0])) else None


def file_part(kind: tuple[str, str], name: str, data: bytes) -> JsonDict:
    """The part of a message that holds a file as it is."""
    modality, form = kind
    text = b64encode(data).decode()
    url = f"data:{form};base64,{text}"
    field, value = {
        "file": ("file", {"filename": name, "file_data": url}),
        "audio": ("input_audio", {"data": text, "format": form}),
        "video": ("video_url", {"url": url}),
    }[modality]
    return {"type": field, field: value}


def text_part(name: str, text: str) -> tuple[JsonDict, bool]:
    """The part of a message that holds a file's text, and whether that is all of it."""
    is_whole = 0 < len(text) <= MAX_FILE_TEXT
    # Without a word the model would make the content up.
    note = "" if is_whole else "\n[Not all of this file is here.]"
    return {"type": "text", "text": f'<file name="{name}">\n{text[:MAX_FILE_TEXT]}{note}\n</file>'}, is_whole


def is_in_messages(item: JsonObject) -> bool:
    """Whether an entry of the chat's files is a picture (or a folder of a terminal), which Open WebUI sends itself."""
    content_type = str(item.get("content_type"))
    is_picture = content_type.startswith("image/") and not content_type.startswith("image/svg")
    return is_picture or item.get("type") in ("image", "filesystem")


def with_files(messages: object, files: Mapping[str, JsonDict]) -> list[JsonDict]:
    """A copy of the messages with the files (part by id), each in the message that it came with, else in the first one.

    From turn to turn it has to stay where it is, or the provider's prompt cache is of no use.
    """
    copies = [dict(message) for message in dicts(messages)]
    users = [message for message in copies if message.get("role") == "user"]
    for message in users:
        content = message.get("content")
        message["content"] = [{"type": "text", "text": content}] if isinstance(content, str) else dicts(content)
    for file_id, part in files.items() if users else ():
        # Open WebUI names them at its start (`<attached_files>`).
        named = (message for message in users if f'id="{file_id}"' in str(message["content"][:1]))
        next(named, users[0])["content"].append(part)
    return copies


def has_chat_audio(messages: object) -> bool:
    """Whether a message holds audio in a format that only `/chat/completions` takes."""
    return any(mapping(part.get("input_audio")).get("format") in _CHAT_AUDIO for part in parts_of(messages))
