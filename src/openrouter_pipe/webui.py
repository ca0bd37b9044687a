"""The only room that knows Open WebUI.

Its modules are looked up among those already loaded, never imported: inside Open WebUI they are there, and outside of it
(tests, tools) importing `open_webui.env` would end the process when no secret is configured.
"""

from __future__ import annotations

import sys
from pathlib import Path


def data_directory() -> Path | None:
    """The folder for the pipe's files inside Open WebUI's data directory; None outside of Open WebUI."""
    directory = getattr(sys.modules.get("open_webui.env"), "DATA_DIR", None)
    return Path(directory) / "openrouter_pipe" if directory else None


def host_secret() -> str:
    """Open WebUI's own secret, which keys pseudonyms; empty outside of Open WebUI."""
    return str(getattr(sys.modules.get("open_webui.env"), "WEBUI_SECRET_KEY", None) or "")
