"""What the workers of one Open WebUI share: JSON files in its data directory, in its Redis as well where it has one; locks."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from .codec import dump_json, mapping, parse_json
from .problems import log
from .webui import data_directory, redis_client

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

_PREFIX = "openrouter_pipe:"
# A Redis that is down is asked again and again by its client, for much longer than a chat may wait.
_REDIS_SECONDS = 1.0
_KEPT_SECONDS = 30 * 86_400
# A worker that dies must not keep the others out for ever.
_LOCK_SECONDS = 120
_LOOK_AGAIN_SECONDS = 0.1
_Release = Callable[[], Awaitable[object]]


async def read_shared(name: str) -> Mapping[str, Any]:
    """The object kept under `name`; an empty one when there is none."""
    if client := redis_client():
        try:
            async with asyncio.timeout(_REDIS_SECONDS):
                content = await client.get(_PREFIX + name)
            if content:
                return await asyncio.to_thread(_parse, content)
        except Exception as error:  # noqa: BLE001 - Redis fails in many ways, and there is the disk
            log.debug("Redis cannot be read: %s", type(error).__name__)
    directory = data_directory()
    return await asyncio.to_thread(_read_file, directory / name) if directory else {}


async def write_shared(name: str, content: Mapping[str, Any]) -> None:
    """Keep `content` under `name`; what was there is replaced in one step. Files are readable by their user only."""
    text = await asyncio.to_thread(dump_json, content)
    if client := redis_client():
        try:
            async with asyncio.timeout(_REDIS_SECONDS):
                await client.set(_PREFIX + name, text, ex=_KEPT_SECONDS)
        except Exception as error:  # noqa: BLE001 - as above
            log.debug("Redis cannot be written: %s", type(error).__name__)
    if directory := data_directory():
        await asyncio.to_thread(_replace_file, directory / name, text)


@asynccontextmanager
async def shared_lock(name: str) -> AsyncIterator[None]:
    """Lets in one worker at a time; the others wait."""
    while (release := await _redis_lock(_PREFIX + name)) is None:  # noqa: ASYNC110 - the other one is another process
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    try:
        yield
    finally:
        await release()


async def _redis_lock(key: str) -> _Release | None:
    """What gives the lock back; None while another worker has it."""
    client, token = redis_client(), uuid.uuid4().hex
    if client is None:
        return _file_lock(key)

    async def release() -> None:
        with suppress(Exception):  # it runs out by itself
            if await client.get(key) in (token, token.encode()):
                await client.delete(key)

    try:
        async with asyncio.timeout(_REDIS_SECONDS):
            return release if await client.set(key, token, nx=True, ex=_LOCK_SECONDS) else None
    except Exception as error:  # noqa: BLE001 - as above
        log.debug("Redis cannot lock: %s", type(error).__name__)
        return _file_lock(key)


def _file_lock(key: str) -> _Release | None:
    """The same among the workers of one machine.

    Where files cannot be locked (Windows, some network disks) all get in: what they do has to bear that.
    """

    async def release() -> None:
        if file is not None:
            file.close()

    file, directory = None, data_directory()
    if fcntl is None or directory is None:
        return release
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (directory / f"{key.rpartition(':')[2]}.lock").open("wb")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if file is not None:
            file.close()
        return None
    except OSError:
        pass
    return release


def _parse(content: bytes | str) -> Mapping[str, Any]:
    with suppress(ValueError):
        return mapping(parse_json(content))
    return {}


def _read_file(path: Path) -> Mapping[str, Any]:
    with suppress(OSError):
        return _parse(path.read_bytes())
    return {}


def _replace_file(path: Path, content: bytes) -> None:
    part = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.touch(mode=0o600)
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        log.warning("%s cannot be stored in %s: %s", path.name, path.parent, error.strerror)
