"""What the workers of one Open WebUI share: JSON in its data directory, in its Redis as well where it has one; locks."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from .codec import JsonObject, dump_json, mapping, parse_json
from .problems import log
from .webui import data_directory, redis_client

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

# A worker that dies must not keep the others out for ever.
_LOCK_SECONDS = 120
LOOK_AGAIN_SECONDS = 0.1


async def read_shared(name: str) -> JsonObject:
    """The object kept under `name`; an empty one when there is none."""
    return await asyncio.to_thread(_parse_copy, await _redis("get", name), name)


async def write_shared(name: str, content: JsonObject) -> None:
    """Keep `content` under `name`; what was there is replaced in one step. Files are readable by their user only."""
    text = await asyncio.to_thread(dump_json, content)
    await _redis("set", name, text, ex=30 * 86_400)
    if directory := data_directory():
        await asyncio.to_thread(_replace_file, directory / name, text)


@asynccontextmanager
async def shared_lock(name: str) -> AsyncIterator[None]:
    """Lets in one worker at a time, of all machines or of this one; the others wait.

    Where files cannot be locked (Windows, some network disks) all get in: what they do has to bear that.
    """
    while (locked := await _redis("set", name, "locked", nx=True, ex=_LOCK_SECONDS)) is None:  # noqa: ASYNC110 - across processes
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
    try:
        with ExitStack() as held:
            while not (locked or _lock_file(name, held)):  # noqa: ASYNC110 - as above
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
            yield
    finally:
        await _redis("delete", name)


async def _redis(command: str, name: str, *values: object, **options: object) -> Any:
    """What Open WebUI's Redis answers; False where there is none, or no answer."""
    if client := redis_client():
        try:
            # A Redis that is down is tried again by its client for much longer than a chat may wait.
            async with asyncio.timeout(1):
                return await getattr(client, command)(f"openrouter_pipe:{name}", *values, **options)
        except Exception as error:  # noqa: BLE001 - Redis fails in many ways, and there is the disk
            log.debug("Redis: %s failed: %s", command, type(error).__name__)
    return False


def _lock_file(name: str, held: ExitStack) -> bool:
    """Lock a file, where that can be, until `held` is closed; false while another worker has it."""
    if fcntl and (directory := data_directory()):
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = held.enter_context((directory / f"{name}.lock").open("wb"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.close()
            return False
        except OSError:
            pass
    return True


def _parse_copy(content: bytes | str | None, name: str) -> JsonObject:
    with suppress(OSError, ValueError):
        if not content and (directory := data_directory()):
            content = (directory / name).read_bytes()
        return mapping(parse_json(content or b""))
    return {}


def _replace_file(path: Path, content: bytes) -> None:
    part = path.with_suffix(f".{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.touch(mode=0o600)
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        log.warning("%s cannot be stored in %s: %s", path.name, path.parent, error.strerror)
        with suppress(OSError):
            part.unlink()
