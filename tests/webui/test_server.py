"""A real Open WebUI over HTTP: install, valves, the model list, chats."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from polling import eventually
from webui.conftest import BUILT, SandboxControl
from webui_server import COPY, OpenWebUI, answer_text

FUNCTION = "my_router"
PREFIX = f"{FUNCTION}."


@pytest.fixture
def pipe(webui: OpenWebUI, sandbox: SandboxControl) -> Callable[..., list[str]]:
    """Install the built file under a name of its own; call it with valves to get the ids that it lists."""
    webui.install_function(FUNCTION, "Router", BUILT.read_text(encoding="utf-8"))

    def configure(**valves: Any) -> list[str]:
        connection = {"API_KEY": "sk-or-v1-test", "BASE_URL": sandbox.base_url, "MODEL_ICONS": "monogram"}
        webui.set_valves(FUNCTION, {**connection, **valves})
        return listed(webui)

    configure()
    return configure


def listed(webui: OpenWebUI) -> list[str]:
    ids = [str(model["id"]) for model in webui.models() if model["id"] != f"{PREFIX}status"]
    return [model_id.removeprefix(PREFIX) for model_id in ids if model_id.startswith(PREFIX)]


def test_it_is_the_open_webui_that_was_chosen(webui: OpenWebUI) -> None:
    wanted = Path(os.environ[COPY]).name if COPY in os.environ else version("open-webui")
    assert webui.request("GET", "/api/version")["version"] == wanted


def test_a_valve_change_shows_at_the_next_list(pipe: Callable[..., list[str]]) -> None:
    assert "openai.gpt-4o:nitro" not in pipe()
    assert "openai.gpt-4o:nitro" in pipe(VARIANT_MODELS="openai/gpt-4o:nitro")
    assert pipe(MODEL_ID="openai/gpt-4o") == ["openai.gpt-4o"]
    assert pipe(MODEL_ID="openai/gpt-4o", NAME_PREFIX="OR: ") == ["openai.gpt-4o"]


def test_a_value_that_does_not_fit_is_kept_for_the_admin_to_see(
    webui: OpenWebUI, pipe: Callable[..., list[str]]
) -> None:
    assert "openai.gpt-4o" in pipe(MAX_RETRIES="many")
    assert webui.request("GET", f"/api/v1/functions/id/{FUNCTION}/valves")["MAX_RETRIES"] == "many"
    assert "MAX\\_RETRIES: Input should be" in answer_text(webui.ask(f"{PREFIX}status", "How are you?"))
    events = webui.ask_stream(f"{PREFIX}status", "How are you?")
    pieces = [choice["delta"].get("content", "") for event in events for choice in event["choices"]]
    assert "MAX\\_RETRIES: Input should be" in "".join(pieces)


def test_names_are_what_the_selector_shows(webui: OpenWebUI, pipe: Callable[..., list[str]]) -> None:
    pipe(MODEL_ID="openai/gpt-4o:nitro", NAME_PREFIX="OR: ")
    names = {model["id"]: model["name"] for model in webui.models()}
    assert names[f"{PREFIX}openai.gpt-4o:nitro"] == "OR: OpenAI: GPT-4o Nitro"


def test_presets_of_the_account_appear_without_delaying_the_list(
    webui: OpenWebUI, pipe: Callable[..., list[str]], sandbox: SandboxControl
) -> None:
    sandbox.rule(path="/presets", times=1, delay_seconds=1.0)
    pipe(VARIANT_MODELS="@preset/*", APP_TITLE="Ours")
    found = eventually(lambda: [model_id for model_id in listed(webui) if model_id.startswith("preset/")])
    assert "preset/email-copywriter" in found
    assert "preset/old-tone" not in found, "a disabled preset is not offered"


def test_a_chat_over_the_api(webui: OpenWebUI, pipe: Callable[..., list[str]], sandbox: SandboxControl) -> None:
    pipe(VARIANT_MODELS="openai/gpt-4o:nitro")
    answer = webui.ask(f"{PREFIX}openai.gpt-4o:nitro", "Hello?", temperature=0.5)
    assert "model: openai/gpt-4o:nitro" in answer_text(answer)
    assert answer["usage"]["cost"] > 0
    (request,) = sandbox.chats()
    assert request["path"].endswith("/responses")
    assert request["body"]["temperature"] == 0.5


def test_a_streamed_chat_over_the_api(webui: OpenWebUI, pipe: Callable[..., list[str]]) -> None:
    pipe(ENDPOINT="chat_completions")
    chunks = list(webui.ask_stream(f"{PREFIX}openai.gpt-4o", "Hello?"))
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ()))
    assert "endpoint: /chat/completions" in text
    assert [chunk["usage"]["total_tokens"] > 0 for chunk in chunks if chunk.get("usage")] == [True]
    reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
    assert reasons == ["stop"]


def test_a_refusal_is_one_plain_line(webui: OpenWebUI, pipe: Callable[..., list[str]], sandbox: SandboxControl) -> None:
    pipe()
    sandbox.rule(path="/responses", status=402)
    message = webui.ask(f"{PREFIX}openai.gpt-4o", "Hello?")["error"]["message"]
    assert "no credit left" in message
    assert "\n" not in message


def test_a_wrong_key_lists_nothing_and_a_right_one_recovers(pipe: Callable[..., list[str]]) -> None:
    assert pipe(API_KEY="sk-or-v1-invalid") == []
    assert "openai.gpt-4o" in pipe()


def test_an_upstream_that_went_away_leaves_the_list(
    webui: OpenWebUI, pipe: Callable[..., list[str]], sandbox: SandboxControl
) -> None:
    before = pipe()
    sandbox.rule(path="/models", status=500)
    assert listed(webui) == before


def test_updating_the_file_keeps_valves_and_models(webui: OpenWebUI, pipe: Callable[..., list[str]]) -> None:
    before = pipe(VARIANT_MODELS="openai/gpt-4o:nitro")
    webui.install_function(FUNCTION, "Router", BUILT.read_text(encoding="utf-8") + "\n# edited\n")
    assert listed(webui) == before
    assert "Hello from the OpenRouter sandbox" in answer_text(webui.ask(f"{PREFIX}openai.gpt-4o:nitro", "Hi"))


def test_the_log_has_no_tracebacks_and_no_warnings_of_ours(webui: OpenWebUI) -> None:
    log = webui.log_path.read_text(encoding="utf-8")
    assert "Unclosed" not in log
    assert "was never retrieved" not in log
    assert "sk-or-v1-test" not in log
    assert [
        line for line in log.splitlines() if "could not be made" in line or "Refreshing the catalog failed" in line
    ] == []
