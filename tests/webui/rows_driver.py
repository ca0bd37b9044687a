"""Runs inside Open WebUI's own Python environment: what becomes of the models' rows in its database.

    python rows_driver.py BUILT_FILE             a story, told step by step
    python rows_driver.py BUILT_FILE GO_FILE     one of several workers, which begin when GO_FILE is there

Prints one JSON object on the last line of stdout. The story's database is the one that the workers go on with.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from openrouter_sandbox import Sandbox

FUNCTION = "or1"
SHARED = "or2"
MINI, GPT, NITRO, TEXT = (f"{FUNCTION}.{name}" for name in ("openai.mini", "openai.gpt", "openai.gpt:nitro", "x.text"))
# What the editor fills in when it saves a row (`DEFAULT_CAPABILITIES` of Open WebUI's page).
FILLED_IN = dict.fromkeys(
    [
        *("file_context", "vision", "file_upload", "web_search", "image_generation", "code_interpreter", "terminal"),
        *("citations", "status_updates", "memory", "builtin_tools"),
    ],
    True,
)


def catalog(**gpt: Any) -> list[dict[str, Any]]:
    row = {"context_length": 128_000, "pricing": {"prompt": "0.0000025", "completion": "0.00001"}}
    modalities = {"input_modalities": ["text", "image", "file"], "output_modalities": ["text"]}
    tools = {**row, "architecture": modalities, "supported_parameters": ["tools"]}
    text = {"input_modalities": ["text"], "output_modalities": ["text"]}
    return [
        {**tools, "id": "openai/gpt", "name": "OpenAI: GPT", "description": "A flagship.", **gpt},
        {**tools, "id": "openai/mini", "name": "OpenAI: Mini", "description": "Small."},
        {**row, "id": "x/text", "name": "X: Text", "architecture": text, "supported_parameters": ["top_p"]},
    ]


class Story:
    """Open WebUI with two accounts, the pipe in it, and a counter of what reaches the database."""

    def __init__(self, app: Any, source: str, sandbox: Sandbox) -> None:
        from fastapi import Request
        from open_webui.internal.db import async_engine
        from sqlalchemy import event

        self.app, self.source, self.sandbox = app, source, sandbox
        self.request = Request(
            {"type": "http", "app": app, "headers": [], "method": "GET", "path": "/", "query_string": b""}
        )
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host")
        self.statements: list[str] = []
        self.key = 0
        event.listen(async_engine.sync_engine, "before_cursor_execute", lambda *seen: self.statements.append(seen[2]))

    async def install(self, function_id: str, owner: str) -> None:
        from open_webui.models.functions import FunctionForm, FunctionMeta, Functions

        form = FunctionForm(id=function_id, name="OpenRouter", content=self.source, meta=FunctionMeta())
        await Functions.insert_new_function(owner, "pipe", form)
        await Functions.update_function_by_id(function_id, {"is_active": True})

    async def lists(self, function_id: str = FUNCTION, **valves: Any) -> None:
        """Set the valves, ask for the list of models, and wait until the rows are written. A new key is a new catalog."""
        from open_webui.functions import get_function_models
        from open_webui.models.functions import Functions

        connection = {"API_KEY": f"sk-or-v1-{self.key}", "BASE_URL": self.sandbox.base_url, "MODEL_ICONS": "off"}
        valves = {"VARIANT_MODELS": "openai/gpt:nitro, @preset/support", **connection, **valves}
        await Functions.update_function_valves_by_id(function_id, valves)
        await get_function_models(self.request)
        await self.settled(function_id)

    async def settled(self, function_id: str = FUNCTION) -> None:
        keeper = self.app.state.FUNCTIONS[function_id]._rows
        async with asyncio.timeout(30):
            while keeper._task:
                await asyncio.sleep(0.01)

    async def rest(self, token: str, method: str, path: str, body: Any = None) -> Any:
        answer = await self.client.request(
            method, path, json=body, headers={"Authorization": f"Bearer {token}"} if token else {}
        )
        answer.raise_for_status()
        return answer.json()

    async def edits(self, token: str, model_id: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Save a row as the editor does: all of it, with what is on by default filled in."""
        rows = await self.rest(token, "GET", "/api/v1/models/base")
        row = next(row for row in rows if row["id"] == model_id)
        row["meta"]["capabilities"] = {**FILLED_IN, **(row["meta"]["capabilities"] or {})}
        row["meta"]["voice_avatar"] = None
        change(row)
        body = {
            key: row[key] for key in ("id", "base_model_id", "name", "meta", "params", "access_grants", "is_active")
        }
        await self.rest(token, "POST", "/api/v1/models/model/update", body)

    async def rows(self, function_id: str = FUNCTION) -> dict[str, Any]:
        from open_webui.models.models import Models

        rows = {row.id: row.model_dump() for row in await Models.get_all_models()}
        return {row_id: row for row_id, row in rows.items() if row_id.startswith(f"{function_id}.")}

    async def history(self, function_id: str = FUNCTION) -> dict[str, int] | None:
        """How many versions each row has; None before Open WebUI 0.12, which keeps none."""
        from open_webui.internal.db import get_async_db_context
        from sqlalchemy import func, select

        try:
            from open_webui.models.model_history import ModelHistory
        except ModuleNotFoundError:
            return None
        async with get_async_db_context() as session:
            counts = select(ModelHistory.model_id, func.count()).group_by(ModelHistory.model_id)
            found = dict((await session.execute(counts)).tuples().all())
        return {row_id: count for row_id, count in found.items() if row_id.startswith(f"{function_id}.")}

    async def seen_by(self, token: str) -> list[str]:
        models = (await self.rest(token, "GET", "/api/models"))["data"]
        return sorted(model["id"] for model in models if model["id"].startswith(f"{FUNCTION}."))

    async def tell(self) -> dict[str, Any]:
        told: dict[str, Any] = {}
        account = {"name": "Ada", "email": "ada@example.com", "password": "a long one"}
        owner = await self.rest("", "POST", "/api/v1/auths/signup", account)
        admin = owner["token"]
        account = {"name": "Ulf", "email": "ulf@example.com", "password": "a long one", "role": "user"}
        user = (await self.rest(admin, "POST", "/api/v1/auths/add", account))["token"]
        told["owner"] = owner["id"]
        self.sandbox.catalog[:] = catalog()
        await self.install(FUNCTION, owner["id"])

        await self.lists(UPDATE_MODEL_METADATA=False)
        told["off"] = await self.rows()
        await self.lists()
        told["installed"] = await self.rows()
        told["seen before"] = await self.seen_by(user)
        read = {"principal_type": "user", "principal_id": "*", "permission": "read"}
        for model_id in (GPT, MINI):
            grant = {"id": model_id, "name": "x", "access_grants": [read]}
            await self.rest(admin, "POST", "/api/v1/models/model/access/update", grant)
        told["seen after"] = await self.seen_by(user)

        # A refreshed catalog that is the same.
        history = await self.history()
        self.key += 1
        await self.lists()
        pipe = self.app.state.FUNCTIONS[FUNCTION]
        pipe._rows._done = None
        self.statements.clear()
        await pipe.pipes()
        await self.settled()
        told["statements without a change"] = list(self.statements)
        told["history without a change"] = [history, await self.history()]

        # The admin renames one and describes another one; then everything changes upstream.
        await self.edits(admin, GPT, lambda row: row.update(name="Our GPT"))
        await self.edits(admin, MINI, lambda row: row["meta"].update(description="Ours."))
        await self.edits(admin, TEXT, lambda row: row["meta"].update(tags=[{"name": "Team"}]))
        await self.rest(admin, "POST", f"/api/v1/models/model/toggle?id={TEXT}")
        self.sandbox.catalog[:] = [
            {**row, "name": f"{row['name']} 2", "description": "Better.", "context_length": 200_000, "pricing": {}}
            for row in catalog(architecture={"input_modalities": ["text"], "output_modalities": ["text"]})
        ]
        self.key += 1
        await self.lists()
        told["changed upstream"] = await self.rows()

        # One leaves, and comes back.
        rows = list(self.sandbox.catalog)
        self.sandbox.catalog[:] = rows[:1]
        self.key += 1
        await self.lists()
        told["one left"] = [await self.rows(), await self.seen_by(user)]
        self.sandbox.catalog[:] = rows
        self.key += 1
        await self.lists()
        told["back again"] = [await self.rows(), await self.seen_by(user)]

        # Valves; the admin resets one row, which is made anew.
        await self.rest(admin, "POST", "/api/v1/models/model/delete", {"id": MINI})
        await self.lists(NAME_PREFIX="OR: ", DIRECT_FILES="supported", NEW_MODEL_ACCESS="public")
        told["valves"] = await self.rows()
        told["names listed"] = {
            model["id"]: model["name"] for model in (await self.rest(admin, "GET", "/api/models"))["data"]
        }
        history = await self.history()
        await self.lists(UPDATE_MODEL_METADATA=False)
        told["off again"] = [told["valves"], await self.rows(), history, await self.history()]

        # For the workers: a function whose rows are still to be written, 200 of them.
        await self.install(SHARED, "nobody-1")
        return told


async def work(story: Story, go: Path) -> dict[str, Any]:
    row = catalog()[0]
    story.sandbox.catalog[:] = [{**row, "id": f"maker/model-{number}"} for number in range(100)]
    (go.parent / f"ready-{time.time_ns()}").touch()
    async with asyncio.timeout(60):
        while not go.exists():
            await asyncio.sleep(0.01)
    began = time.monotonic()
    await story.lists(SHARED, VARIANT_MODELS="*:nitro")
    return {
        "seconds": time.monotonic() - began,
        "inserts": sum(statement.startswith("INSERT INTO model ") for statement in story.statements),
        "rows": await story.rows(SHARED),
        "history": await story.history(SHARED),
    }


async def main(built: str, go: str = "") -> dict[str, Any]:
    from open_webui.main import app

    async with Sandbox() as sandbox:
        story = Story(app, Path(built).read_text(encoding="utf-8"), sandbox)
        async with story.client:
            return await (work(story, Path(go)) if go else story.tell())


if __name__ == "__main__":
    outcome = asyncio.run(main(*sys.argv[1:]))
    print("\n" + json.dumps(outcome))
