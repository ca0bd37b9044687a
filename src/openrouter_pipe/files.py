"""The pipe's own files: JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .codec import dump_json, mapping, parse_json
from .problems import log


def load_file(path: Path | None) -> Mapping[str, Any]:
    """The object in the file; an empty one when there is none."""
    try:
        return mapping(parse_json(path.read_bytes())) if path else {}
    except (OSError, ValueError):
        return {}


def store_file(path: Path | None, content: Mapping[str, Any], what: str) -> None:
    """Replace the file, which holds `what`, in one step; readable by its user only. A failure is logged."""
    if path is None:
        return
    part = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.touch(mode=0o600)
        part.write_bytes(dump_json(content))
        part.replace(path)
    except OSError as error:
        log.warning("The %s cannot be stored in %s: %s", what, path.parent, error.strerror)
