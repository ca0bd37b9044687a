"""Writing the pipe's files."""

from __future__ import annotations

import os
from pathlib import Path

from .problems import log


def store_file(path: Path, content: bytes, what: str) -> None:
    """Replace the file, which holds `what`, in one step; readable by its user only. A failure is logged."""
    part = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.touch(mode=0o600)
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        log.warning("The %s cannot be stored in %s: %s", what, path.parent, error.strerror)
