"""The only room that knows Open WebUI. Everything is looked up when needed: without the host the pipe still imports."""

from __future__ import annotations

from pathlib import Path


def data_directory() -> Path | None:
    """The folder for the pipe's files inside Open WebUI's data directory; None outside of Open WebUI."""
    try:
        from open_webui.env import DATA_DIR
    except ImportError:
        return None
    return Path(DATA_DIR) / "openrouter_pipe"


def host_secret() -> str:
    """Open WebUI's own secret, which keys pseudonyms; empty outside of Open WebUI."""
    try:
        from open_webui.env import WEBUI_SECRET_KEY
    except ImportError:
        return ""
    return str(WEBUI_SECRET_KEY or "")
