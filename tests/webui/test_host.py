"""The built file inside Open WebUI's own loader, model list and chat function (see `host_driver.py`)."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

NITRO = "openrouter_pipe.openai.gpt-4o:nitro"


def text_of(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


def chunks_of(parts: list[str]) -> list[dict[str, Any]]:
    """The JSON events of a stream; each item has to be exactly one event, for Open WebUI reads them item by item."""
    assert all(part.startswith("data: ") and part.endswith("\n\n") and part.count("\n") == 2 for part in parts)
    assert parts[-1] == "data: [DONE]\n\n"
    return [json.loads(part[6:]) for part in parts[:-1]]


def streamed_text(parts: list[str]) -> str:
    return "".join(
        choice["delta"].get("content", "") for chunk in chunks_of(parts) for choice in chunk.get("choices", ())
    )


@pytest.mark.parametrize("function_id", ["openrouter_pipe", "or2"])
def test_the_loader_takes_the_built_file(host: dict[str, Any], function_id: str) -> None:
    name, kind, frontmatter = host[f"loaded {function_id}"]
    assert (name, kind) == ("Pipe", "pipe")
    assert frontmatter["required_open_webui_version"] == "0.11.1"
    assert {"title", "author", "version", "license", "description"} <= frontmatter.keys()
    assert "requirements" not in frontmatter


@pytest.mark.parametrize("function_id", ["openrouter_pipe", "or2"])
def test_the_list_has_rows_and_virtual_models_under_the_function_id(host: dict[str, Any], function_id: str) -> None:
    names = {model_id: name for model_id, name in host["models"] if model_id.startswith(f"{function_id}.")}
    assert names[f"{function_id}.openai.gpt-4o"] == "OpenAI: GPT-4o"
    assert names[f"{function_id}.openai.gpt-4o:nitro"] == "OpenAI: GPT-4o Nitro"
    assert names[f"{function_id}.openai.gpt-4o:preset/email-copywriter"] == "OpenAI: GPT-4o Preset: email-copywriter"
    assert names[f"{function_id}.preset/support"] == "Preset: support"
    ids = [model_id for model_id, _ in host["models"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("step", "model", "endpoint"),
    [
        ("whole", "openai/gpt-4o:nitro", "/responses"),
        ("preset", "openai/gpt-4o@preset/email-copywriter", "/responses"),
        ("other id", "openai/gpt-4o:nitro", "/responses"),
        ("workspace", "openai/gpt-4o:nitro", "/responses"),
    ],
)
def test_a_whole_answer_tells_what_was_sent(host: dict[str, Any], step: str, model: str, endpoint: str) -> None:
    answer = host[step]
    assert answer["object"] == "chat.completion"
    assert f"endpoint: {endpoint}" in text_of(answer)
    assert f"model: {model.partition('@')[0]}" in text_of(answer)
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["prompt_tokens"] > 0
    assert answer["usage"]["cost"] > 0


def test_a_preset_on_a_model_is_applied(host: dict[str, Any]) -> None:
    assert "preset: email-copywriter (applied)" in text_of(host["preset"])


def test_a_workspace_model_brings_its_parameters_and_system_prompt(host: dict[str, Any]) -> None:
    assert "temperature=0.3" in text_of(host["workspace"])
    assert "You are kind." in text_of(host["workspace"])


@pytest.mark.parametrize(
    ("step", "model", "endpoint"),
    [("stream", "openai/gpt-4o:nitro", "/responses"), ("stream chat", "openai/gpt-4o", "/chat/completions")],
)
def test_a_streamed_answer(host: dict[str, Any], step: str, model: str, endpoint: str) -> None:
    chunks = chunks_of(host[step])
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    text = streamed_text(host[step])
    assert f"endpoint: {endpoint}" in text
    assert f"model: {model}" in text
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
    assert reasons == ["stop"]
    assert [chunk["usage"]["completion_tokens"] > 0 for chunk in chunks if "usage" in chunk] == [True]


def test_the_same_chat_streamed_or_not_has_the_same_text(host: dict[str, Any]) -> None:
    assert streamed_text(host["stream"]) == text_of(host["whole"])


def test_what_is_not_published_is_refused_with_the_valve(host: dict[str, Any]) -> None:
    message = host["unpublished whole"]["error"]["message"]
    assert "openai/gpt-4o:floor" in message
    assert "VARIANT_MODELS" in message
    assert chunks_of(host["unpublished stream"]) == [{"error": {"message": message}}]


@pytest.mark.parametrize(("garbage", "listed"), [("spaces", True), ("megabyte", False), ("control", False)])
def test_garbage_in_every_valve_leaves_a_working_pipe(host: dict[str, Any], garbage: str, listed: bool) -> None:
    count, answer = host[f"garbage {garbage}"]
    assert bool(count) is listed
    if listed:
        assert "Hello from the OpenRouter sandbox" in text_of(answer)
    else:
        # Patterns that match nothing publish nothing, and what is not published is refused by name.
        assert "MODEL_ID" in answer["error"]["message"]


def test_an_unusable_connection_is_a_clear_error(host: dict[str, Any]) -> None:
    count, answer = host["garbage connection"]
    assert count == 0
    assert "API_KEY" in answer["error"]["message"]


def test_problems_are_logged_once(host: dict[str, Any]) -> None:
    warnings = [line for line in host["log"].splitlines() if "MODEL_ID: matches no model: xxx" in line]
    assert len(warnings) == 1
    assert len(warnings[0]) < 1000


def test_the_log_names_the_api_model_but_no_key_and_no_content(host: dict[str, Any]) -> None:
    assert "api_model_id: openai/gpt-4o:nitro" in host["log"]
    ours = [line for line in host["log"].splitlines() if "[openrouter_pipe]" in line]
    assert ours
    assert not [line for line in ours if "sk-or-v1-test" in line or "Which model is this" in line]


def test_the_catalog_on_disk_is_private_and_holds_no_key(host: dict[str, Any]) -> None:
    folder = Path(host["data"], "openrouter_pipe")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = list(folder.glob("*.json"))
    assert len([file for file in files if file.name.startswith("catalog-")]) == 1
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "sk-or" not in file.read_text(encoding="utf-8")
