"""The only room that knows Open WebUI.

Its modules are looked up among those already loaded, never imported: inside Open WebUI they are there, and outside of it
(tests, tools) importing `open_webui.env` would end the process when no secret is configured.
"""

from __future__ import annotations

import asyncio
import sys
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

from .codec import JsonDict, JsonObject, dicts, mapping
from .direct_files import MAX_FILE_BYTES, Kinds, file_kind, file_part, is_in_messages, text_part
from .problems import log_surprise

_NOT_SENT = (
    "Not sent as a whole: {}. What you may read is sent: up to 25 MB of files, 400,000 characters of each text, and of "
    "knowledge what is set to “Using Entire Document”."
)
# By the id of the answer. Open WebUI makes an answer in one task, and hands over a new copy of its metadata in each tool round.
_ROUNDS: ContextVar[dict[str, JsonDict]] = ContextVar("openrouter_pipe_rounds")
_EVERYBODY = {"principal_type": "user", "principal_id": "*", "permission": "read"}


def data_directory() -> Path | None:
    """The folder for the pipe's files inside Open WebUI's data directory; None outside of Open WebUI."""
    directory = _loaded("env", "DATA_DIR")
    return Path(directory) / "openrouter_pipe" if directory else None


def host_secret() -> str:
    """Open WebUI's own secret, which keys pseudonyms; empty outside of Open WebUI."""
    return str(_loaded("env", "WEBUI_SECRET_KEY") or "")


def shared_by_rounds(metadata: JsonObject) -> JsonDict:
    """What the tool rounds of one answer keep for each other, by name; `metadata` is Open WebUI's."""
    answers = _ROUNDS.get(None)
    if answers is None:
        _ROUNDS.set(answers := {})
    message_id = str(metadata.get("message_id") or "")
    return answers.setdefault(message_id, {}) if message_id else {}


def redis_client() -> Any:
    """Open WebUI's own connection to Redis; None where it has none."""
    return _app_state("redis")


def function_id_of(pipe: object) -> str | None:
    """The id under which Open WebUI runs this very instance; None where it does not (outside, or no longer)."""
    running = dict(_app_state("FUNCTIONS") or {})
    return next((str(function_id) for function_id, instance in running.items() if instance is pipe), None)


def _app_state(name: str) -> Any:
    return getattr(getattr(_loaded("main", "app"), "state", None), name, None)


def _loaded(module: str, name: str) -> Any:
    """What Open WebUI has under this name; None outside of it."""
    return getattr(sys.modules.get(f"open_webui.{module}"), name, None)


async def stored_rows() -> JsonDict:
    """All rows of models by id, read with two queries. Raises whatever the database does, as do the next two."""
    return {row.id: row for row in await _loaded("models.models", "Models").get_all_models()}


async def stored_row(model_id: str) -> Any:
    """One of them as it is now, or None."""
    return await _loaded("models.models", "Models").get_model_by_id(model_id)


async def write_row(model_id: str, row: Any, name: str, meta: JsonObject, is_public: bool) -> None:
    """Change name and `meta` of a model's row and nothing else; or add one (`row` is None), which is an admin's."""
    models = _loaded("models.models", "Models")
    form = partial(_loaded("models.models", "ModelForm"), id=model_id, name=name, meta=meta)
    if row:
        # Before 0.12 what is not named goes back to its default.
        await models.update_model_by_id(model_id, form(params=row.params.model_dump(), is_active=row.is_active))
    else:
        owner = await _loaded("models.users", "Users").get_super_admin_user()
        grants = [_EVERYBODY] if is_public else []
        await models.insert_new_model(form(params={}, access_grants=grants), owner.id)


async def read_chat_files(kinds: Kinds, metadata: JsonObject, user_id: str, rounds: JsonDict) -> tuple[JsonDict, str]:
    """The chat's files that are not left to Open WebUI: their parts by id, and a line about what is not sent.

    `rounds` keeps what was read for the answer's next tool round. Never raises.
    """
    if "files" in rounds:
        return rounds["files"], ""
    row: object = metadata
    for key in ("model", "info", "meta", "capabilities"):
        row = mapping(row).get(key)
    # By the same switch Open WebUI has put the texts of the files into the messages, or has not.
    is_retrieved = mapping(row).get("file_context", True)
    parts: JsonDict = {}
    missing, room = [], MAX_FILE_BYTES
    for number, item in enumerate(dicts(metadata.get("files"))):
        # The address that the web page gives an upload is its id.
        file_id, is_upload = str(item.get("id") or item.get("url") or number), item.get("type", "file") == "file"
        if file_id in parts or is_in_messages(item) or (is_retrieved and not is_upload):
            continue
        name, text = str(item.get("name") or "file"), ""
        try:
            text, record = await _read_text(file_id, item, is_upload, user_id)
            if record:
                name, meta = record.filename, mapping(record.meta)
                kind, size = file_kind(kinds, name, meta.get("content_type")), meta.get("size") or 0
                if kind and size <= room and not (is_retrieved and text):
                    parts[file_id] = await asyncio.to_thread(_stored_part, kind, record)
                    room -= size
        except Exception:  # noqa: BLE001 - Open WebUI's database and storage raise errors of many libraries
            log_surprise("A file of a chat could not be read")
        if file_id not in parts and not is_retrieved:
            parts[file_id], is_whole = text_part(name, text)
            missing += [] if is_whole else [name]
    rounds["files"] = parts
    return parts, _NOT_SENT.format(", ".join(missing)[:300]) if missing else ""


async def _read_text(file_id: str, item: JsonDict, is_upload: bool, user_id: str) -> tuple[str, Any]:
    """The text of a file, a page, a note, …, as far as this user may read it; of an upload also its record."""
    user = await _loaded("models.users", "Users").get_user_by_id(user_id)
    # Without what the web page says is in it: so Open WebUI looks itself, and whether this user may.
    item = {"type": "file", "id": file_id, "context": "full"} if is_upload else dict(item)
    if not user or (item.get("type") in ("collection", "folder") and item.get("context") != "full"):
        return "", None
    get_sources = _loaded("retrieval.utils", "get_sources_from_items")
    sources = await get_sources(None, [item], [], None, 0, None, 0, 0.0, 0.0, False, full_context=True, user=user)
    text = "\n\n".join(str(text) for source in sources for text in source["document"] if text)
    return text, await _loaded("models.files", "Files").get_file_by_id(file_id) if is_upload and sources else None


def _stored_part(kind: tuple[str, str], record: Any) -> JsonDict:
    path = _loaded("storage.provider", "Storage").get_file(record.path)
    return file_part(kind, record.filename, Path(path).read_bytes())
