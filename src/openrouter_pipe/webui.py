"""The only room that knows Open WebUI.

Its modules are looked up among those already loaded, never imported: inside Open WebUI they are there, and outside of it
(tests, tools) importing `open_webui.env` would end the process when no secret is configured.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .codec import mapping
from .direct_files import MAX_FILE_BYTES, ChatFile, FileRules, wanted_files, with_files
from .problems import log

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

_FILE_MODULES = ("models.users", "models.files", "utils.access_control.files", "storage.provider", "retrieval.utils")
_EVERYBODY = {"principal_type": "user", "principal_id": "*", "permission": "read"}


def data_directory() -> Path | None:
    """The folder for the pipe's files inside Open WebUI's data directory; None outside of Open WebUI."""
    directory = getattr(sys.modules.get("open_webui.env"), "DATA_DIR", None)
    return Path(directory) / "openrouter_pipe" if directory else None


def host_secret() -> str:
    """Open WebUI's own secret, which keys pseudonyms; empty outside of Open WebUI."""
    return str(getattr(sys.modules.get("open_webui.env"), "WEBUI_SECRET_KEY", None) or "")


def function_id_of(pipe: object) -> str | None:
    """The id under which Open WebUI runs this very instance; None where it does not (outside, or no longer)."""
    state = getattr(getattr(sys.modules.get("open_webui.main"), "app", None), "state", None)
    running = dict(getattr(state, "FUNCTIONS", None) or {})
    return next((str(function_id) for function_id, instance in running.items() if instance is pipe), None)


def worker_lock(name: str) -> contextlib.AbstractContextManager[object] | None:
    """Lets in one worker of this machine at a time; None while another one is in.

    Where files cannot be locked (Windows, some network disks) all get in: what they do has to bear that.
    """
    directory = data_directory()
    if fcntl is None or directory is None:
        return contextlib.nullcontext()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (directory / f"{name}.lock").open("wb")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError:
        return contextlib.nullcontext()
    return file


class ModelTable:
    """Open WebUI's rows of models, by its own `Models` (of 0.11.1 and of 0.12). Raises whatever the database does."""

    def __init__(self, function_id: str) -> None:
        self.function_id = function_id
        self._host: Any = sys.modules["open_webui.models.models"]
        self._owner = ""

    async def rows(self) -> dict[str, Any]:
        """All rows by id, read with two queries."""
        return {row.id: row for row in await self._host.Models.get_all_models()}

    async def row(self, model_id: str) -> Any:
        """One row as it is now, or None."""
        return await self._host.Models.get_model_by_id(model_id)

    async def write(self, model_id: str, row: Any, name: str, meta: Mapping[str, Any], is_public: bool) -> None:
        """Change name and `meta` of a row and nothing else; or add one (`row` is None)."""
        models, new_form = self._host.Models, self._host.ModelForm
        form = {"id": model_id, "name": name, "meta": meta, "params": row.params.model_dump() if row else {}}
        if row is None:
            self._owner = self._owner or await self._owner_id()
            form["access_grants"] = [_EVERYBODY] if is_public else []
            written = await models.insert_new_model(new_form(**form), self._owner)
        else:
            if "commit_message" not in new_form.model_fields:
                # Before 0.12 what is not named goes back to its default.
                form["is_active"] = row.is_active
            written = await models.update_model_by_id(model_id, new_form(**form))
        if written is None:
            raise LookupError(f"{model_id}: see the lines above")

    async def _owner_id(self) -> str:
        """Whose the rows are: the function's owner's, or an admin's when that account is gone."""
        functions, users = (sys.modules[f"open_webui.models.{name}"] for name in ("functions", "users"))
        function = await functions.Functions.get_function_by_id(self.function_id)
        user = await users.Users.get_user_by_id(function.user_id) if function else None
        return str((user or await users.Users.get_super_admin_user()).id)


async def with_chat_files(
    body: Mapping[str, Any], rules: FileRules | None, metadata: Mapping[str, Any], user_id: str, emit: Any
) -> Mapping[str, Any]:
    """`body` with those of the chat's files that are not left to Open WebUI; `metadata` is Open WebUI's. Never raises."""
    files = await _read_files(wanted_files(metadata.get("files")), user_id, rules) if rules else []
    if not files:
        return body
    messages, trouble = with_files(body.get("messages"), files)
    # Not once more in each of the answer's tool rounds.
    if trouble and emit and messages and messages[-1].get("role") != "tool":
        try:
            await emit({"type": "status", "data": {"description": trouble, "done": True}})
        except Exception as error:  # noqa: BLE001 - a status line that cannot be shown must not cost the answer
            log.debug("A status line could not be shown: %s", type(error).__name__)
    return {**body, "messages": messages}


async def _read_files(wanted: Mapping[str, dict[str, Any]], user_id: str, rules: FileRules) -> list[ChatFile]:
    """The files that the rules leave to the pipe, as far as this user may read them."""
    host: Any = [sys.modules.get(f"open_webui.{name}") for name in _FILE_MODULES]
    found: list[ChatFile] = []
    room = MAX_FILE_BYTES
    for file_id, item in wanted.items() if None not in host else ():
        file = ChatFile(file_id, str(item.get("name") or item.get("type") or "file")[:200])
        try:
            user = await host[0].Users.get_user_by_id(user_id)
            if item.get("type", "file") == "file":
                file, size = await _read_upload(file, user, rules, room, host)
                room -= size
            elif not rules.retrieved:
                file = await _read_text(file, item, user, host)
        except Exception:  # noqa: BLE001 - Open WebUI's database and storage raise errors of many libraries
            log.exception("A file of a chat could not be read")
            file = file._replace(problem="it could not be read")
        # What retrieval had is in the messages; the rest is then as it would be without the pipe.
        if file.part or not rules.retrieved:
            found.append(file)
    return found


async def _read_upload(file: ChatFile, user: Any, rules: FileRules, room: int, host: Any) -> tuple[ChatFile, int]:
    """A file of Open WebUI's storage, and how many bytes of it are sent."""
    _, files, access, storage, _ = host
    record = await files.Files.get_file_by_id(file.id)
    # The rule of Open WebUI's own route to a file's content.
    if not record or not (
        record.user_id == user.id or user.role == "admin" or await access.has_access_to_file(file.id, "read", user)
    ):
        return file._replace(problem="it is gone, or not yours to read"), 0
    meta, text = mapping(record.meta), str(mapping(record.data).get("content") or "")
    file = file._replace(name=record.filename[:200])
    if (rules.retrieved and text) or not rules.part(meta.get("content_type"), file.name, ""):
        return file._replace(text=text, problem="" if text else "there is no text in it"), 0
    data = await asyncio.to_thread(_read_stored, storage.Storage, record.path, meta.get("size"), room)
    if data is None:
        return file._replace(problem=f"all files together may have {MAX_FILE_BYTES // 1_000_000} MB"), 0
    part = rules.part(meta.get("content_type"), file.name, b64encode(data).decode())
    return file._replace(part=part), len(data)


def _read_stored(storage: Any, path: str, size: object, room: int) -> bytes | None:
    """The bytes of a file; None when there are more than `room`. Where it lies elsewhere, its whole is fetched first."""
    if isinstance(size, int) and size > room:
        return None
    with Path(storage.get_file(path)).open("rb") as file:
        data = file.read(room + 1)
    return data if len(data) <= room else None


async def _read_text(file: ChatFile, item: dict[str, Any], user: Any, host: Any) -> ChatFile:
    """The whole text of a page, a note, a chat, …, by Open WebUI's own means and access rules."""
    if item.get("type") in ("collection", "folder") and item.get("context") != "full":
        return file._replace(problem="this model reads files itself, knowledge is not searched for it")
    sources = await host[-1].get_sources_from_items(
        None, [dict(item)], [], None, 0, None, 0, 0.0, 0.0, False, full_context=True, user=user
    )
    text = "\n\n".join(str(text) for source in sources for text in source["document"] if text)
    return file._replace(text=text, problem="" if text else "there is no text in it")
