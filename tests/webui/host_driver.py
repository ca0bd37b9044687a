"""Runs inside Open WebUI's own Python environment, in a process of its own: loads the built file as the host does and asks it.

    python host_driver.py BUILT_FILE SANDBOX_URL

Uses Open WebUI's loader, model list and chat function themselves, with a database in `DATA_DIR`. Prints one JSON object on
the last line of stdout: what each step gave.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

VALVES = {
    "API_KEY": "sk-or-v1-test",
    "VARIANT_MODELS": "openai/gpt-4o:nitro, openai/gpt-4o@preset/email-copywriter, @preset/support",
    "STREAM_INTERVAL_MS": 0,
    "MODEL_ICONS": "monogram",
}
QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which model is this?"}]


async def main(source: str, base_url: str) -> dict[str, Any]:
    """All the steps, in order."""
    from fastapi import Request
    from open_webui.functions import generate_function_chat_completion, get_function_models
    from open_webui.main import app
    from open_webui.models.functions import FunctionForm, FunctionMeta, Functions
    from open_webui.models.models import ModelForm, ModelMeta, ModelParams, Models
    from open_webui.models.users import Users
    from open_webui.utils.plugin import load_function_module_by_id

    logging.getLogger("openrouter_pipe").setLevel(logging.DEBUG)
    admin = await Users.insert_new_user("admin-1", "Ada", "ada@example.com", role="admin")
    request = Request({"type": "http", "app": app, "headers": [], "method": "POST", "path": "/", "query_string": b""})
    results: dict[str, Any] = {}

    for function_id in ("openrouter_pipe", "or2"):
        instance, kind, frontmatter, *_ = await load_function_module_by_id(function_id, content=source)
        results[f"loaded {function_id}"] = [type(instance).__name__, kind, frontmatter]
        form = FunctionForm(id=function_id, name="OpenRouter", content=source, meta=FunctionMeta(manifest=frontmatter))
        await Functions.insert_new_function(admin.id, kind, form)
        await Functions.update_function_valves_by_id(function_id, {**VALVES, "BASE_URL": base_url})
        await Functions.update_function_by_id(function_id, {"is_active": True})

    results["models"] = [[model["id"], model["name"]] for model in await get_function_models(request)]

    params = ModelParams(temperature=0.3, system="You are kind.")
    workspace = ModelForm(
        id="kind-nitro",
        base_model_id="openrouter_pipe.openai.gpt-4o:nitro",
        name="Kind",
        meta=ModelMeta(),
        params=params,
    )
    await Models.insert_new_model(workspace, admin.id)

    async def ask(model: str, **body: Any) -> Any:
        form = {"model": model, "messages": QUESTION, "metadata": {"chat_id": "chat-1", "user_id": admin.id}, **body}
        answer = await generate_function_chat_completion(request, form, user=admin)
        if isinstance(answer, dict):
            return answer
        return [part.decode() if isinstance(part, bytes) else part async for part in answer.body_iterator]

    async def listed(function_id: str) -> int:
        """How many models it lists, beside the one that tells why there are none."""
        ids = [model["id"] for model in await get_function_models(request) if not model["id"].endswith(".status")]
        return sum(model_id.startswith(f"{function_id}.") for model_id in ids)

    results["whole"] = await ask("openrouter_pipe.openai.gpt-4o:nitro")
    results["stream"] = await ask("openrouter_pipe.openai.gpt-4o:nitro", stream=True)
    results["stream chat"] = await ask("openrouter_pipe.openai.gpt-4o", stream=True, seed=7)
    results["preset"] = await ask("openrouter_pipe.openai.gpt-4o:preset/email-copywriter")
    results["other id"] = await ask("or2.openai.gpt-4o:nitro")
    results["workspace"] = await ask("kind-nitro")
    results["unpublished whole"] = await ask("openrouter_pipe.openai.gpt-4o:floor")
    results["unpublished stream"] = await ask("openrouter_pipe.openai.gpt-4o:floor", stream=True)

    for name, garbage in (
        ("spaces", "  \n "),
        ("megabyte", "x" * 1_000_000),
        ("control", "\x00\x1b[31m\u202e🎉,;!#@:"),
    ):
        valves = {key: garbage for key in instance.Valves.model_fields if key not in ("API_KEY", "BASE_URL")}
        await Functions.update_function_valves_by_id(
            "or2", {**valves, "API_KEY": "sk-or-v1-test", "BASE_URL": base_url}
        )
        results[f"garbage {name}"] = [await listed("or2"), await ask("or2.openai.gpt-4o")]
    await Functions.update_function_valves_by_id("or2", {"API_KEY": "\x00 not a key é", "BASE_URL": "what is this?"})
    results["garbage connection"] = [await listed("or2"), await ask("or2.openai.gpt-4o")]
    return results


if __name__ == "__main__":
    outcome = asyncio.run(main(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2]))
    print("\n" + json.dumps(outcome))
