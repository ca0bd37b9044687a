"""Stored chats, the way the web page makes them: what Open WebUI keeps, and what the upstream receives."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from polling import eventually
from webui.conftest import BUILT, SandboxControl
from webui_server import OpenWebUI

FUNCTION = "talk"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOL = "get_current_timestamp"


class StoredChat:
    """One chat in Open WebUI's database, with messages sent as the page sends them."""

    def __init__(self, webui: OpenWebUI, model: str) -> None:
        self._webui = webui
        self._model = model if model.startswith("direct-") else f"{FUNCTION}.{model}"
        self.chat_id: str | None = None
        self._last: str | None = None
        self._files: list[dict[str, Any]] = []

    def start(self, text: str, files: Sequence[dict[str, Any]] = (), **body: Any) -> str:
        """Send a message with its files, and all files of the chat so far; returns the id of the answer to come."""
        self._files += files
        user_id, answer_id = str(uuid.uuid4()), str(uuid.uuid4())
        message = {
            "id": user_id,
            "parentId": self._last,
            "childrenIds": [answer_id],
            "role": "user",
            "content": text,
            "timestamp": int(time.time()),
            "models": [self._model],
            **({"files": list(files)} if files else {}),
        }
        form = {
            "model": self._model,
            "messages": [{"role": "user", "content": text}],
            "stream": True,
            "session_id": "page-1",
            "parent_id": self._last,
            "user_message": message,
            "message_ids": [{"model_id": self._model, "message_id": answer_id}],
            **({"files": self._files} if self._files else {}),
            **({"chat_id": self.chat_id} if self.chat_id else {}),
            **body,
        }
        told = self._webui.request("POST", "/api/chat/completions", form)
        self.chat_id = told["chat_id"]
        self._last = answer_id
        return answer_id

    def stored(self, answer_id: str) -> dict[str, Any]:
        """A message as the database has it now."""
        chat = self._webui.request("GET", f"/api/v1/chats/{self.chat_id}")["chat"]
        return dict(chat["history"]["messages"].get(answer_id) or {})

    def send(self, text: str, **body: Any) -> dict[str, Any]:
        """Send a message and wait for its stored answer."""
        answer_id = self.start(text, **body)
        eventually(lambda: self.stored(answer_id).get("done"), limit_seconds=20)
        return self.stored(answer_id)

    def stop(self) -> None:
        """Press Stop."""
        self._webui.request("POST", f"/api/tasks/chat/{self.chat_id}/stop")


@pytest.fixture(params=["responses", "chat_completions"])
def endpoint(request: pytest.FixtureRequest, webui: OpenWebUI, sandbox: SandboxControl) -> str:
    """The pipe installed and set to one endpoint."""
    webui.install_function(FUNCTION, "Talk", BUILT.read_text(encoding="utf-8"))
    valves = {"API_KEY": "sk-or-v1-test", "BASE_URL": sandbox.base_url, "MODEL_ICONS": "monogram"}
    webui.set_valves(FUNCTION, {**valves, "ENDPOINT": request.param})
    webui.models()
    sandbox.reset()
    return str(request.param)


def kinds(message: dict[str, Any]) -> list[str]:
    return [item["type"] for item in message["output"]]


def sent(request: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """What a request holds of one kind, by the name that /responses has for it."""
    body = request["body"]
    if "input" in body:
        return [item for item in body["input"] if item.get("type") == kind]
    if kind == "function_call":
        return [call for message in body["messages"] for call in message.get("tool_calls", ())]
    if kind == "function_call_output":
        return [message for message in body["messages"] if message["role"] == "tool"]
    return [detail for message in body["messages"] for detail in message.get("reasoning_details", ())]


def test_a_tool_is_called_and_its_result_goes_back(webui: OpenWebUI, sandbox: SandboxControl, endpoint: str) -> None:
    call = {"name": TOOL, "arguments": "{}", "id": "call_abc"}
    sandbox.rule(times=1, answer={"text": "", "reasoning": "I need the time.", "tool_calls": [call]})
    message = StoredChat(webui, "openai.gpt-5").send("What time is it?")
    assert [kind for kind in kinds(message) if kind != "reasoning"] == [
        "function_call",
        "function_call_output",
        "message",
    ]
    assert "Hello from the OpenRouter sandbox" in message["content"]
    first, second = sandbox.chats()
    names = [tool.get("name") or tool["function"]["name"] for tool in first["body"]["tools"]]
    assert TOOL in names, "Open WebUI's own tools are offered to the model"
    (called,) = sent(second, "function_call")
    (result,) = sent(second, "function_call_output")
    assert called.get("call_id", called.get("id")) == "call_abc"
    assert result.get("call_id", result.get("tool_call_id")) == "call_abc"
    assert "timestamp" in str(result)
    assert message["usage"]["cost"] > 0
    (line,) = [status["description"] for status in message["statusHistory"]]
    assert f" · {message['usage']['input_tokens']:,} in · " in line, "the sum of both rounds"
    assert message["usage"]["input_tokens"] > message["usage"]["prompt_tokens"]


def test_reasoning_comes_back_in_tool_rounds_and_in_later_turns(
    webui: OpenWebUI, sandbox: SandboxControl, endpoint: str
) -> None:
    call = {"name": TOOL, "arguments": "{}", "id": "call_abc"}
    sandbox.rule(times=1, answer={"text": "", "reasoning": "First I look at the clock.", "tool_calls": [call]})
    chat = StoredChat(webui, "openai.gpt-5")
    message = chat.send("What time is it?")
    assert kinds(message)[0] == "reasoning"
    assert "First I look at the clock." in str(message["output"][0])
    chat.send("And now?")
    _, second, third = sandbox.chats()
    kept = sent(second, "reasoning")
    assert "First I look at the clock." in str(kept)
    assert "encrypted" in str(kept), "what only the provider can read goes back as well"
    assert sent(third, "reasoning")[: len(kept)] == kept, "unmodified, in later turns too"


def test_a_picture_becomes_a_file_of_the_message(webui: OpenWebUI, sandbox: SandboxControl, endpoint: str) -> None:
    sandbox.rule(answer={"text": "Here it is.", "images": [f"data:image/png;base64,{PIXEL}"]})
    message = StoredChat(webui, "google.gemini-2.5-flash-image").send("Paint a dot.")
    assert message["content"] == "Here it is."
    assert [file["type"] for file in message["files"]] == ["image"]
    assert sandbox.chats()[0]["body"]["modalities"] == ["image", "text"]


def test_citations_become_sources_once(webui: OpenWebUI, sandbox: SandboxControl, endpoint: str) -> None:
    citation = {"url": "https://example.com/a", "title": "A page", "start_index": 0, "end_index": 3}
    sandbox.rule(answer={"text": "See there.", "annotations": [citation, citation]})
    message = StoredChat(webui, "openai.gpt-4o").send("Where?")
    assert [source["source"]["url"] for source in message["sources"]] == ["https://example.com/a"]


def test_an_error_in_the_middle_keeps_the_text(webui: OpenWebUI, sandbox: SandboxControl, endpoint: str) -> None:
    sandbox.rule(answer={"text": "So far so good", "error": {"code": 502, "message": "Provider disconnected"}})
    message = StoredChat(webui, "openai.gpt-4o").send("Go on.")
    assert message["content"] == "So far so good"
    assert "Provider disconnected" in str(message["error"])


def test_stop_closes_the_upstream(webui: OpenWebUI, sandbox: SandboxControl, endpoint: str) -> None:
    sandbox.rule(pace_seconds=0.05, answer={"deltas": 2000})
    chat = StoredChat(webui, "openai.gpt-4o")
    chat.start("Count.")
    assert eventually(lambda: sandbox.open_streams() == 1)
    chat.stop()
    began = time.monotonic()
    assert eventually(lambda: sandbox.open_streams() == 0, limit_seconds=5)
    assert time.monotonic() - began < 0.3


def test_stop_before_the_first_token(webui: OpenWebUI, sandbox: SandboxControl, endpoint: str) -> None:
    sandbox.rule(delay_seconds=20)
    chat = StoredChat(webui, "openai.gpt-4o")
    chat.start("Think.")
    assert eventually(lambda: len(sandbox.chats()) == 1)
    chat.stop()
    began = time.monotonic()
    assert eventually(lambda: sandbox.open_streams() == 0, limit_seconds=5)
    assert time.monotonic() - began < 0.3


def test_tasks_are_cheap(webui: OpenWebUI, sandbox: SandboxControl, endpoint: str) -> None:
    StoredChat(webui, "openai.gpt-5").send("Hi", background_tasks={"title_generation": True, "tags_generation": True})
    tasks = eventually(lambda: [chat for chat in sandbox.chats() if not chat["body"]["stream"]])
    for task in tasks:
        assert "tools" not in task["body"]
        assert task["body"]["reasoning"]["effort"] in ("none", "minimal")


def test_the_log_is_clean(webui: OpenWebUI) -> None:
    log = webui.log_path.read_text(encoding="utf-8")
    for trouble in ("Unclosed", "was never retrieved", "Task was destroyed", "sk-or-v1-test"):
        assert trouble not in log
