"""What makes the pipe at home in Open WebUI: the cost line, user valves, the status model."""

from __future__ import annotations

from typing import Any

import pytest
from integration.chats import text_and_error

from openrouter_pipe import answer
from openrouter_pipe.pipe import Pipe
from openrouter_pipe.settings import Settings, UserValves
from openrouter_sandbox import Answer, Rule, Sandbox, ToolCall

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN_KEY, OWN_KEY = "sk-or-v1-admin-0001", "sk-or-v1-own-0002"


class Chat:
    """One person's chats: keeps the status lines, and what all tool rounds of an answer share."""

    def __init__(self, sandbox: Sandbox, role: str = "user", own: dict[str, Any] | None = None, **valves: Any) -> None:
        self.pipe = Pipe()
        self.pipe.valves = Settings(**{"API_KEY": ADMIN_KEY, "BASE_URL": sandbox.base_url, **valves})
        self.user = {"id": "u1", "role": role, "valves": UserValves(**(own or {}))}
        self.statuses: list[str] = []
        self.metadata = {"message_id": str(id(self))}

    async def emit(self, event: dict[str, Any]) -> None:
        assert event["type"] == "status"
        assert event["data"]["done"] is True
        self.statuses.append(event["data"]["description"])

    async def ask(self, model: str = "openai.gpt-4o", streaming: bool = True, **more: Any) -> str:
        """The answer's text, or its error."""
        task = more.pop("task", None)
        body = {"model": f"x.{model}", "stream": streaming, "messages": [{"role": "user", "content": "Hi"}], **more}
        answered = await self.pipe.pipe(
            body, self.user, "chat", task, __event_emitter__=self.emit, __metadata__=dict(self.metadata)
        )
        return "".join(await text_and_error(answered))


def sent_by(sandbox: Sandbox) -> dict[str, Any]:
    """The body of the last chat."""
    return next(call.body for call in reversed(sandbox.received) if isinstance(call.body, dict))


@pytest.mark.parametrize("streaming", [True, False])
async def test_one_line_tells_cost_and_provider_under_the_answer(
    sandbox: Sandbox, endpoint: str, streaming: bool
) -> None:
    sandbox.rules.append(Rule(answer=Answer(text="Hello there.", provider="Fireworks")))
    chat = Chat(sandbox, ENDPOINT=endpoint)
    await chat.ask(streaming=streaming)
    (line,) = chat.statuses
    assert line.startswith("$0.0")
    assert " in · " in line
    assert line.endswith(" out · Fireworks"), "what came in one piece has no speed"


async def test_the_speed_of_a_stream_is_told(sandbox: Sandbox, endpoint: str) -> None:
    sandbox.rules.append(Rule(pace_seconds=0.02, answer=Answer(deltas=20)))
    chat = Chat(sandbox, ENDPOINT=endpoint)
    await chat.ask()
    assert " tok/s · " in chat.statuses[0]


async def test_the_tool_rounds_of_one_answer_are_one_sum(sandbox: Sandbox, endpoint: str) -> None:
    chat = Chat(sandbox, ENDPOINT=endpoint)
    sandbox.rules.append(
        Rule(path=endpoint.replace("_", "/"), times=1, answer=Answer(text="", tool_calls=(ToolCall("look", "{}"),)))
    )
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
    await chat.ask(tools=tools)
    assert chat.statuses == [], "the answer goes on after the tool"
    await chat.ask(tools=tools)
    (both,) = chat.statuses
    chat.metadata["message_id"] = "another"
    await chat.ask(tools=tools)
    assert tokens_in(both) > tokens_in(chat.statuses[1])


def tokens_in(line: str) -> int:
    return int(line.split(" in · ")[0].rpartition(" ")[2].replace(",", ""))


async def test_another_model_and_another_tier_are_told_of(sandbox: Sandbox, endpoint: str) -> None:
    sandbox.rules.append(Rule(answer=Answer(model="openai/gpt-4o-mini", service_tier="priority")))
    chat = Chat(sandbox, ENDPOINT=endpoint)
    await chat.ask()
    warning = "⚠ answered by openai/gpt-4o-mini, asked for openai/gpt-4o · service tier priority · $"
    assert chat.statuses[0].startswith(warning)


async def test_no_line_for_tasks_and_where_it_is_switched_off(sandbox: Sandbox, endpoint: str) -> None:
    for chat, task in (
        (Chat(sandbox, ENDPOINT=endpoint), "title_generation"),
        (Chat(sandbox, ENDPOINT=endpoint, COST_DISPLAY="off"), None),
        (Chat(sandbox, ENDPOINT=endpoint, own={"COST_DISPLAY": "off"}), None),
    ):
        await chat.ask(task=task)
        assert chat.statuses == []
    chat = Chat(sandbox, ENDPOINT=endpoint, COST_DISPLAY="off", own={"COST_DISPLAY": "status"})
    await chat.ask()
    assert len(chat.statuses) == 1, "here the user's choice wins"


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_line_that_cannot_be_made_costs_no_answer_its_end(
    sandbox: Sandbox, endpoint: str, streaming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(answer, "cost_line", fail)
    sandbox.rules.append(Rule(answer=Answer(text="All of it")))
    chat = Chat(sandbox, ENDPOINT=endpoint)
    assert await chat.ask(streaming=streaming) == "All of it"
    assert chat.statuses == []


async def test_an_error_after_the_text_keeps_the_text_and_needs_no_line(sandbox: Sandbox, endpoint: str) -> None:
    sandbox.rules.append(Rule(answer=Answer(text="So far", error={"code": 502, "message": "gone"})))
    chat = Chat(sandbox, ENDPOINT=endpoint)
    assert (await chat.ask()).startswith("So far")
    assert all("out" not in line for line in chat.statuses)


async def test_a_users_own_key_pays_for_their_chats_only(sandbox: Sandbox) -> None:
    chat = Chat(sandbox, own={"API_KEY": f" {OWN_KEY}\n"})
    await chat.pipe.pipes()
    await chat.ask()
    chat.user["valves"] = UserValves()
    await chat.ask()
    keys = {call.path.rpartition("/")[2]: call.headers["Authorization"] for call in sandbox.received[:-1]}
    assert keys == {"user": f"Bearer {ADMIN_KEY}", "responses": f"Bearer {OWN_KEY}"}
    assert sandbox.received[-1].headers["Authorization"] == f"Bearer {ADMIN_KEY}"


async def test_a_refused_own_key_is_in_no_message(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    key = "sk-or-v1-invalid-0003"
    chat = Chat(sandbox, role="admin", own={"API_KEY": key})
    assert "did not accept the API key" in await chat.ask()
    chat.user["valves"] = UserValves()
    assert key not in await chat.ask("status") + caplog.text + repr(chat.user)


@pytest.mark.parametrize(
    ("preferred", "model", "sent"),
    [
        ("nitro", "openai.gpt-4o", "openai/gpt-4o:nitro"),
        ("nitro", "openai.gpt-4o:floor", "openai/gpt-4o:floor"),
        ("nitro", "openai.gpt-4o:preset/email-copywriter", "openai/gpt-4o@preset/email-copywriter"),
        ("nitro", "preset/support", "@preset/support"),
        ("free", "deepseek.deepseek-r1", "deepseek/deepseek-r1:free"),
        ("free", "openai.gpt-4o", "openai/gpt-4o"),
        ("none", "openai.gpt-4o", "openai/gpt-4o"),
    ],
)
async def test_the_preferred_variant_is_put_on_models_without_one(
    sandbox: Sandbox, preferred: str, model: str, sent: str
) -> None:
    variants = "openai/gpt-4o:floor, openai/gpt-4o@preset/email-copywriter, @preset/support"
    chat = Chat(sandbox, own={"PREFERRED_VARIANT": preferred}, VARIANT_MODELS=variants)
    await chat.pipe.pipes()
    await chat.ask(model)
    assert sent_by(sandbox)["model"] == sent


async def test_what_the_admin_leaves_out_no_preference_brings_back(sandbox: Sandbox) -> None:
    chat = Chat(sandbox, own={"PREFERRED_VARIANT": "free"}, FREE_MODEL_FILTER="exclude")
    await chat.pipe.pipes()
    await chat.ask("deepseek.deepseek-r1")
    assert sent_by(sandbox)["model"] == "deepseek/deepseek-r1"


async def test_a_user_can_tighten_privacy_and_choose_effort_and_sort(sandbox: Sandbox) -> None:
    own = {"ZDR": True, "DATA_COLLECTION": "deny", "PROVIDER_SORT": "latency", "REASONING_EFFORT": "high"}
    chat = Chat(sandbox, own=own, DATA_COLLECTION="allow", PROVIDER_SORT="price")
    await chat.ask("openai.o3", provider={"zdr": False, "data_collection": "allow"})
    body = sent_by(sandbox)
    assert body["provider"] == {"zdr": True, "data_collection": "deny", "sort": "latency"}
    assert body["reasoning"] == {"effort": "high"}


async def test_a_user_cannot_loosen_privacy(sandbox: Sandbox) -> None:
    chat = Chat(sandbox, own={"ZDR": False, "DATA_COLLECTION": "allow"}, ZDR="enforce", DATA_COLLECTION="deny")
    await chat.ask()
    assert sent_by(sandbox)["provider"] == {"zdr": True, "data_collection": "deny"}


async def test_the_status_model_is_last_and_tells_admins(sandbox: Sandbox) -> None:
    chat = Chat(sandbox, role="admin", VARIANT_MODELS="opnai/gpt-4o:nitro", NAME_PREFIX="OR: ")
    listed = await chat.pipe.pipes()
    assert listed[-1] == {"id": "status", "name": "OR: OpenRouter: Status"}
    assert (await chat.ask("no.such-model")).startswith("OpenRouter's list has no model no/such-model")
    for streaming in (True, False):
        text = await chat.ask("status", streaming)
        for piece in (
            "used: $25.50 in all",
            "catalog fetched ",
            "did you mean openai/gpt-4o",
            "has no model no/",
        ):
            assert piece in text
        assert ADMIN_KEY not in text
    assert await chat.ask("status", False, task="title_generation") == "{}"
    assert chat.statuses == []


async def test_the_status_model_answers_admins_only(sandbox: Sandbox) -> None:
    chat = Chat(sandbox)
    for streaming in (True, False):
        assert await chat.ask("status", streaming) == "The status model answers admins only. Choose another model."
    assert [call.path for call in sandbox.received if "/key" in call.path] == []


async def test_without_a_key_the_name_of_the_status_model_says_what_to_do(sandbox: Sandbox) -> None:
    chat = Chat(sandbox, role="admin", API_KEY="")
    assert await chat.pipe.pipes() == [
        {"id": "status", "name": "OpenRouter: Status (no models: set the valve API_KEY)"}
    ]
    assert "no key is set" in await chat.ask("status")
    chat.pipe.valves = Settings(API_KEY="", STATUS_MODEL=False)
    assert await chat.pipe.pipes() == []


async def test_the_status_model_says_why_a_key_does_not_work(sandbox: Sandbox) -> None:
    chat = Chat(sandbox, role="admin", API_KEY="sk-or-v1-invalid")
    assert await chat.pipe.pipes() == [{"id": "status", "name": "OpenRouter: Status (no models: ask it why)"}]
    text = await chat.ask("status")
    assert text.count("did not accept the API key") == 2, "for the key itself and for the catalog"
