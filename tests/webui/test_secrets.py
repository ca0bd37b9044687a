"""Open WebUI's database and log after faults with a marked key: it is in the stored valves and nowhere else."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from webui.conftest import BUILT, SandboxControl
from webui.test_conversations import StoredChat
from webui_server import OpenWebUI

FUNCTION = "talk"
# The second one does not look like a key.
KEYS = ("sk-or-v1-MARKED-admin-0123456789", "sk-or-!MARKED!own")


def rows_with(database: Path, text: str) -> set[str]:
    """Table and column of every value that has `text` in it."""
    found = set()
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            cursor = connection.execute(f'SELECT * FROM "{table}"')
            columns = [column[0] for column in cursor.description]
            found |= {f"{table}.{column}" for row in cursor for column, value in zip(columns, row, strict=True)
                      if text in str(value)}  # fmt: skip
    connection.close()
    return found


def test_the_key_is_in_the_stored_valves_and_nowhere_else(webui: OpenWebUI, sandbox: SandboxControl) -> None:
    webui.install_function(FUNCTION, "Talk", BUILT.read_text(encoding="utf-8"))
    valves = {"API_KEY": KEYS[0], "BASE_URL": sandbox.base_url, "MODEL_ICONS": "monogram"}
    webui.set_valves(FUNCTION, {**valves, "MAX_RETRIES": 1, "RETRY_MAX_WAIT_SECONDS": 0, "MODEL_ID": f"*, {KEYS[0]}"})
    webui.models()
    for key in KEYS:
        own = {"API_KEY": key} if key == KEYS[1] else {}
        webui.request("POST", f"/api/v1/functions/id/{FUNCTION}/valves/user/update", own)
        said = f"No such key: {key}"
        for rule in (
            {"status": 429, "body": {"error": {"code": 429, "message": said}}, "headers": {"X-Key": key}},
            {"raw": [f"HTTP/1.1 {said}\r\n\r\n"]},
            {"raw": [f"HTTP/1.1 200 OK\r\nX-Key: {key}\r\nX"]},
            {"events": [f'data: {{"type": "error", "error": {{"code": 502, "message": "{said}"}}}}\n\n']},
        ):
            sandbox.reset()
            sandbox.rule(path="/responses", **rule)
            message = StoredChat(webui, "openai.gpt-4o").send("Hello?")
            assert message["error"], "the fault has arrived"
        assert sandbox.chats()[-1]["headers"]["Authorization"] == f"Bearer {key}"
        StoredChat(webui, "status").send("What is wrong?")
    webui.request("POST", f"/api/v1/functions/id/{FUNCTION}/valves/user/update", {})
    log = webui.log_path.read_text(encoding="utf-8")
    assert [key for key in KEYS if key in log] == []
    # Of the admin's key both that valve, and the one where it was pasted by mistake.
    assert rows_with(webui.data_dir / "webui.db", KEYS[0]) == {"function.valves"}
    assert rows_with(webui.data_dir / "webui.db", KEYS[1]) == set()
    files = [path for path in (webui.data_dir / "openrouter_pipe").rglob("*") if path.is_file()]
    assert [path for path in files for key in KEYS if key.encode() in path.read_bytes()] == []
