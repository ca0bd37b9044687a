"""A chat's files for a model that takes them itself: which go as they are, which as text, and in which message."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from typing import Any, NamedTuple

from .catalog import Model
from .codec import dicts, mapping
from .settings import Settings

# Of all files of a chat together: bytes before base64 adds a third, and characters.
MAX_FILE_BYTES = 25_000_000
MAX_FILE_TEXT = 400_000
_MAX_STATUS = 500
_CHAT_AUDIO = ("flac", "m4a", "ogg", "aac", "aiff")
# Ending of the name → the modality in the model's row, and the format (audio) or the content type.
# Source: OpenRouter docs, guides/overview/multimodal/{pdfs,audio,videos}.
_KINDS = {
    "pdf": ("file", "application/pdf"),
    **{ending: ("audio", ending) for ending in ("mp3", "wav", *_CHAT_AUDIO)},
    **{ending: ("video", f"video/{ending}") for ending in ("mp4", "mpeg", "mov", "webm")},
}


class ChatFile(NamedTuple):
    """A file of a chat, as found: a part for the model, or its text, or why it is not sent (`problem`)."""

    id: str
    name: str
    part: dict[str, Any] | None = None
    text: str = ""
    problem: str = ""


class FileRules(NamedTuple):
    """What a model takes as it is; `retrieved`: Open WebUI has put the text of the files into the messages already."""

    kinds: Mapping[str, tuple[str, str]]
    retrieved: bool

    def part(self, content_type: object, name: str, data: str) -> dict[str, Any] | None:
        """The part of a message that holds this file, `data` being base64; None: the model does not take it as it is."""
        declared = str(content_type or "")
        endings = (name.rpartition(".")[2].lower(), (mimetypes.guess_extension(declared) or "")[1:])
        modality, form = next((self.kinds[ending] for ending in endings if ending in self.kinds), ("", ""))
        # A browser takes TypeScript (.ts) for video, and a recording (.webm) can be audio alone.
        if declared.partition("/")[0] not in ("", "application", modality):
            return None
        url = f"data:{form};base64,{data}"
        parts: dict[str, dict[str, Any]] = {
            "file": {"type": "file", "file": {"filename": name, "file_data": url}},
            "audio": {"type": "input_audio", "input_audio": {"data": data, "format": form}},
            "video": {"type": "video_url", "video_url": {"url": url}},
        }
        return parts.get(modality)


def file_rules(model: Model | None, settings: Settings, metadata: object) -> FileRules | None:
    """What goes to the model as it is; None: all files are left to Open WebUI."""
    taken = model.input_modalities if model and settings.DIRECT_FILES == "supported" else ()
    # /responses knows two formats of audio. Source: OpenRouter's OpenAPI document, InputAudio.
    never = _CHAT_AUDIO if settings.ENDPOINT == "responses" else ()
    kinds = {ending: kind for ending, kind in _KINDS.items() if kind[0] in taken and ending not in never}
    row: object = metadata
    # The switch by which Open WebUI itself decides whether its retrieval runs.
    for key in ("model", "info", "meta", "capabilities"):
        row = mapping(row).get(key)
    return FileRules(kinds, bool(mapping(row).get("file_context", True))) if kinds else None


def wanted_files(items: object) -> dict[str, dict[str, Any]]:
    """Open WebUI's list of a chat's files by id, each once. Pictures are left out: they are in the messages already."""
    found: dict[str, dict[str, Any]] = {}
    for number, item in enumerate(dicts(items)):
        content_type = str(item.get("content_type") or "")
        is_picture = content_type.startswith("image/") and not content_type.startswith("image/svg")
        if item.get("type") not in ("image", "filesystem") and not is_picture:
            # What the web page calls the address of an upload is its id.
            found.setdefault(str(item.get("id") or item.get("url") or number), item)
    return found


def with_files(messages: object, files: list[ChatFile]) -> tuple[list[dict[str, Any]], str]:
    """A copy of the messages with the files, and one line about those that are not sent, or not as a whole.

    A file goes into the message that it came with, where Open WebUI names it there (`<attached_files>`), else into the
    first one: it has to stay where it is from turn to turn, or the provider's prompt cache is of no use.
    """
    copies = [dict(message) for message in dicts(messages)]
    users = [message for message in copies if message.get("role") == "user"]
    for message in users:
        content = message.get("content")
        message["content"] = [{"type": "text", "text": content}] if isinstance(content, str) else dicts(content)
    named = [" ".join(str(part.get("text")) for part in message["content"]) for message in users]
    troubles: list[str] = []
    room = MAX_FILE_TEXT
    for file in files if users else ():
        problem = file.problem
        if len(file.text) > room:
            problem = f"the texts of all files may have {MAX_FILE_TEXT:,} characters"
        text = f'<file name="{file.name}">\n{file.text[:room]}\n</file>'
        if problem:
            # Without a word the model would make the content up.
            troubles.append(f"{file.name} ({problem})")
            text += f"\n[Not all of this file is here: {problem}.]"
        room = max(0, room - len(file.text))
        at = next((number for number, text in enumerate(named) if f'id="{file.id}"' in text), 0)
        users[at]["content"].append(file.part or {"type": "text", "text": text})
    line = f"Not sent, or not as a whole: {'; '.join(troubles)}"
    return copies, line[:_MAX_STATUS] if troubles else ""


def has_chat_audio(messages: object) -> bool:
    """Whether a message holds audio in a format that only `/chat/completions` takes."""
    parts = (part for message in dicts(messages) for part in dicts(message.get("content")))
    return any(mapping(part.get("input_audio")).get("format") in _CHAT_AUDIO for part in parts)
