"""Every kind of conversation through the pipe, on both endpoints: the same result, complete and once, streamed or not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio
from host_model import HostModel
from polling import seconds_until, until
from starlette.responses import StreamingResponse

from openrouter_pipe.pipe import Pipe
from openrouter_pipe.settings import Settings
from openrouter_sandbox import Answer, Rule, Sandbox, ToolCall

pytestmark = pytest.mark.asyncio(loop_scope="module")

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
JPEG = "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQ=="
TEXT = "The answer is 42. Zwölf 😀!"
THOUGHT = "First this.\n\nThen that, says 思考."
WEATHER = ToolCall("weather", '{"city": "Zürich", "days": [1, 2]}', id="call_w1")
NOW = ToolCall("now", "{}", id="call_n1")
BERN = ToolCall("weather", '{"city": "Bern"}', id="call_w2")
CITED = {"url": "https://a.example/x", "title": "A", "content": "…", "start_index": 0, "end_index": 3}
ALSO = {"url": "https://b.example", "title": "", "start_index": 4, "end_index": 5}
PRIVATE = "The provider keeps this reasoning private."
Json = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_pipe(shared_sandbox: Sandbox) -> Pipe:
    """A pipe that knows the catalog."""
    made = Pipe()
    made.valves = valves(shared_sandbox, "auto")
    assert await made.pipes()
    return made


@pytest.fixture
def pipe(shared_pipe: Pipe, sandbox: Sandbox, endpoint: str) -> Pipe:
    shared_pipe.valves = valves(sandbox, endpoint)
    return shared_pipe


def valves(sandbox: Sandbox, endpoint: str, **more: object) -> Settings:
    return Settings(
        API_KEY="sk-or-v1-x",
        BASE_URL=sandbox.base_url,
        ENDPOINT=endpoint,
        STREAM_INTERVAL_MS=0,
        COST_DISPLAY="off",
        MAX_RETRIES=0,
        **more,
    )


def asked(model: str, messages: list[Json] | None = None, **body: Any) -> Json:
    return {"model": f"fn.{model}", "messages": messages or [{"role": "user", "content": "Hi"}], **body}


async def stream(
    pipe: Pipe, model: str, messages: list[Json] | None = None, emit: Any = None, **body: Any
) -> AsyncGenerator[bytes, None]:
    answer = await pipe.pipe(asked(model, messages, stream=True, **body), __chat_id__="chat", __event_emitter__=emit)
    assert isinstance(answer, StreamingResponse)
    return answer.body_iterator  # type: ignore[return-value]


async def ask(pipe: Pipe, model: str, messages: list[Json] | None = None, emit: Any = None, **body: Any) -> HostModel:
    """One streamed round, as Open WebUI stores it."""
    host = HostModel()
    async with asyncio.timeout(5):
        async for event in await stream(pipe, model, messages, emit, **body):
            host.read(event)
    assert host.ended
    return host


async def whole(pipe: Pipe, model: str, task: str | None = None, emit: Any = None, **body: Any) -> Json:
    async with asyncio.timeout(5):
        answer = await pipe.pipe(asked(model, stream=False, **body), __task__=task, __event_emitter__=emit)
    assert isinstance(answer, dict)
    return answer


def sse(*events: object) -> list[str]:
    return [f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n" for event in events]


# --- One answer, on both endpoints, streamed and whole

# name → (model, what is said, what of it differs from what arrives)
CONVERSATIONS: dict[str, tuple[str, Answer, Json]] = {
    "text": ("openai/gpt-4o", Answer(text=TEXT), {}),
    "cut by the limit": ("openai/gpt-4o", Answer(text=TEXT, finish_reason="length"), {"finish_reason": "length"}),
    "cut by the filter": (
        "openai/gpt-4o",
        Answer(text=TEXT, finish_reason="content_filter"),
        {"finish_reason": "content_filter"},
    ),
    "a call": ("openai/gpt-4o", Answer(tool_calls=(WEATHER,)), {}),
    "three calls": ("openai/gpt-4o", Answer(tool_calls=(WEATHER, NOW, BERN)), {}),
    "text and calls": ("openai/gpt-4o", Answer(text="Let me see.", tool_calls=(WEATHER, NOW)), {}),
    "calls with one id": (
        "openai/gpt-4o",
        Answer(tool_calls=(WEATHER, ToolCall("now", "{}", id=WEATHER.id))),
        {"ids": ["call_w1"]},
    ),
    "long arguments": ("openai/gpt-4o", Answer(tool_calls=(ToolCall("f", json.dumps({"a": "ü" * 5000}), id="x"),)), {}),
    "images": ("google/gemini-2.5-flash-image", Answer(text="Here.", images=(PIXEL, JPEG)), {}),
    "an image alone": ("google/gemini-2.5-flash-image", Answer(images=(PIXEL,)), {}),
    "an image twice": ("google/gemini-2.5-flash-image", Answer(images=(PIXEL, PIXEL)), {"images": [PIXEL]}),
    "an image without its head": (
        "google/gemini-2.5-flash-image",
        Answer(images=(JPEG.partition(",")[2],)),
        {"images": [JPEG]},
    ),
    "an image somewhere": ("google/gemini-2.5-flash-image", Answer(images=("https://a.example/i.png",)), {}),
    "sources": ("openai/gpt-4o", Answer(text=TEXT, annotations=(CITED, ALSO)), {}),
    "a source twice": ("openai/gpt-4o", Answer(text=TEXT, annotations=(CITED, ALSO, CITED)), {}),
    **{
        f"reasoning of {model}": (model, Answer(text=TEXT, reasoning=THOUGHT), {})
        for model in (
            *("openai/gpt-5", "openai/gpt-oss-120b", "anthropic/claude-opus-5", "deepseek/deepseek-r1"),
            *("google/gemini-2.5-pro", "x-ai/grok-4"),
        )
    },
    "reasoning and calls": ("anthropic/claude-opus-5", Answer(reasoning=THOUGHT, tool_calls=(WEATHER, NOW)), {}),
    "everything": (
        "google/gemini-3-pro-image",
        Answer(text=TEXT, reasoning=THOUGHT, tool_calls=(NOW,), images=(PIXEL,), annotations=(CITED,)),
        {},
    ),
}


def expected(answer: Answer, differs: Json) -> Json:
    urls = list(dict.fromkeys(note["url"] for note in answer.annotations))
    return {
        "text": answer.text or "",
        "reasoning": answer.reasoning or "",
        "calls": [(call.name, call.arguments) for call in answer.tool_calls],
        "ids": [call.id for call in answer.tool_calls],
        "images": list(answer.images),
        "sources": [(url, {CITED["url"]: "A"}.get(url, url)) for url in urls],
        "finish_reason": "tool_calls" if answer.tool_calls else "stop",
        "errors": [],
        **differs,
    }


def shown(host: HostModel, ids: int) -> Json:
    assert len(set(host.call_ids)) == len(host.call_ids)
    return {
        "text": host.text,
        "reasoning": host.reasoning,
        "calls": host.calls,
        "ids": host.call_ids[:ids],
        "images": host.images,
        "sources": [(source["url"], source["name"]) for source in host.sources],
        "finish_reason": host.finish_reason,
        "errors": host.errors,
    }


def as_stream(answer: Json) -> HostModel:
    """A whole answer read as a stream of one chunk: the content has to be the same."""
    host = HostModel()
    choice = answer["choices"][0]
    calls = [{**call, "index": index} for index, call in enumerate(choice["message"].get("tool_calls", ()))]
    delta = {**choice["message"], "tool_calls": calls}
    host.read(b"data: %b\n\n" % json.dumps({**answer, "choices": [{**choice, "delta": delta}]}).encode())
    return host


@pytest.mark.parametrize("chunk_bytes", [None, 7], ids=["in one read", "in pieces"])
@pytest.mark.parametrize("case", CONVERSATIONS)
async def test_an_answer_arrives_complete_and_once(
    pipe: Pipe, sandbox: Sandbox, case: str, chunk_bytes: int | None
) -> None:
    model, answer, differs = CONVERSATIONS[case]
    sandbox.rules.append(Rule(answer=answer, chunk_bytes=chunk_bytes))
    host = await ask(pipe, model)
    wanted = expected(answer, differs)
    assert shown(host, len(wanted["ids"])) == wanted
    kinds = [item["type"] for item in host.output]
    assert kinds == sorted(kinds, key=["reasoning", "message", "function_call"].index)
    (usage,) = host.usages
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert isinstance(usage["cost"], float)
    assert usage["completion_tokens_details"]["reasoning_tokens"] == -(-len(answer.reasoning or "") // 4)
    assert "upstream_inference_prompt_cost" in usage["cost_details"]


@pytest.mark.parametrize("case", CONVERSATIONS)
async def test_a_whole_answer_has_the_same_content(pipe: Pipe, sandbox: Sandbox, case: str) -> None:
    model, answer, differs = CONVERSATIONS[case]
    sandbox.rules.append(Rule(answer=answer))
    host, told = await ask(pipe, model), await whole(pipe, model)
    assert "index" not in str(told["choices"][0]["message"].get("tool_calls"))
    wanted = expected(answer, differs)
    assert shown(as_stream(told), len(wanted["ids"])) == wanted
    assert told["usage"].keys() == host.usages[0].keys()
    unnamed = [[{**detail, "id": None} for detail in one.details] for one in (as_stream(told), host)]
    assert unnamed[0] == unnamed[1]
    assert len(told["choices"]) == 1


async def test_the_reasoning_comes_before_the_text_and_both_before_the_details(pipe: Pipe, sandbox: Sandbox) -> None:
    sandbox.rules.append(Rule(answer=Answer(text=TEXT, reasoning=THOUGHT), pace_seconds=0.001))
    events = [
        json.loads(event[6:]) async for event in await stream(pipe, "anthropic/claude-opus-5") if b"[DONE]" not in event
    ]
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    keys = [key for delta in deltas for key in delta]
    assert keys.index("content") > max(place for place, key in enumerate(keys) if key == "reasoning_content")
    # Each chunk that carries details makes Open WebUI send the whole answer again.
    assert keys.count("reasoning_details") == 1
    assert keys[-1] == "reasoning_details"


@pytest.mark.parametrize("finish_reason", ["length", "content_filter"])
async def test_thinking_alone_that_was_cut_off_is_an_error_that_keeps_the_reasoning(
    pipe: Pipe, sandbox: Sandbox, finish_reason: str
) -> None:
    sandbox.rules.append(Rule(answer=Answer(text="", reasoning=THOUGHT, finish_reason=finish_reason)))
    host = await ask(pipe, "openai/gpt-5")
    assert host.reasoning == THOUGHT
    assert {"length": "token limit", "content_filter": "content filter"}[finish_reason] in host.errors[0]
    assert len(host.usages) == 1
    assert "error" in await whole(pipe, "openai/gpt-5")


async def test_calls_cut_off_by_the_limit_keep_the_reason(pipe: Pipe, sandbox: Sandbox) -> None:
    half = ToolCall("weather", '{"city": "Zü', id="a")
    sandbox.rules.append(Rule(answer=Answer(tool_calls=(half,), finish_reason="length")))
    host = await ask(pipe, "openai/gpt-4o")
    assert (host.calls, host.finish_reason, host.errors) == ([("weather", half.arguments)], "length", [])


REFUSALS = {
    "responses": sse(
        {"type": "response.refusal.delta", "output_index": 0, "content_index": 0, "delta": "I can"},
        {"type": "response.refusal.delta", "output_index": 0, "content_index": 0, "delta": "not."},
        {"type": "response.refusal.done", "output_index": 0, "content_index": 0, "refusal": "I cannot."},
        {
            "type": "response.completed",
            "response": {"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "I cannot."}]}]},
        },
    ),
    "chat_completions": sse(
        {"choices": [{"delta": {"content": None, "refusal": "I can"}}]},
        {"choices": [{"delta": {"content": None, "refusal": "not."}, "finish_reason": "stop"}]},
    ),
}


async def test_a_refusal_is_text(pipe: Pipe, sandbox: Sandbox, endpoint: str) -> None:
    sandbox.rules.append(Rule(events=REFUSALS[endpoint]))
    host = await ask(pipe, "openai/gpt-4o")
    assert (host.text, host.finish_reason, host.errors) == ("I cannot.", "stop", [])


async def test_hidden_reasoning_is_asked_for_as_little_as_can_be_and_not_shown(
    pipe: Pipe, sandbox: Sandbox, endpoint: str
) -> None:
    pipe.valves = valves(sandbox, endpoint, ENABLE_REASONING=False)
    sandbox.rules.append(Rule(answer=Answer(text=TEXT, reasoning=THOUGHT)))
    host = await ask(pipe, "openai/gpt-5")
    assert (host.text, host.reasoning, host.details) == (TEXT, "", [])
    assert sandbox.received[-1].body["reasoning"]["effort"] == "minimal"
    told = await whole(pipe, "openai/gpt-5")
    assert told["choices"][0]["message"] == {"role": "assistant", "content": TEXT}


async def test_reasoning_that_the_upstream_sends_all_the_same_is_hidden(
    pipe: Pipe, sandbox: Sandbox, endpoint: str
) -> None:
    pipe.valves = valves(sandbox, endpoint, ENABLE_REASONING=False)
    sandbox.rules.append(Rule(events=sse(*REASONING["anthropic"][endpoint])))
    host = await ask(pipe, "google/gemini-2.5-pro")
    # The next round needs it unchanged: Gemini 3 refuses a call without the signature that came with it.
    assert (host.reasoning, host.calls) == ("The reasoning is hidden.", [("weather", WEATHER.arguments)])
    assert without(host.details, "index", "id") == DETAILS["anthropic"]


# --- Two rounds: what round one returned comes back unchanged


def chat_events(*deltas: Json, calls: tuple[ToolCall, ...] = (WEATHER,)) -> list[Json]:
    called = [
        {
            "tool_calls": [
                {
                    "index": index,
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
            ]
        }
        for index, call in enumerate(calls)
    ]
    events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in (*deltas, *called)]
    return [*events, {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}]


def responses_events(*items: Json, calls: tuple[ToolCall, ...] = (WEATHER,)) -> list[Json]:
    called = [
        {
            "type": "function_call",
            "id": f"fc_{call.id}",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
        for call in calls
    ]
    output = [*items, *called]
    done = [
        {"type": "response.output_item.done", "output_index": index, "item": item} for index, item in enumerate(output)
    ]
    return [*done, {"type": "response.completed", "response": {"status": "completed", "output": output}}]


def fragments(*details: Json) -> list[Json]:
    return [{"content": "", "reasoning": None, "reasoning_details": [detail]} for detail in details]


CLAUDE = {"format": "anthropic-claude-v1"}
OPENAI = {"format": "openai-responses-v1"}
GEMINI = {"format": "google-gemini-v1"}
# name → the events of round one, for each endpoint.
REASONING: dict[str, dict[str, list[Json]]] = {
    "anthropic": {
        "chat_completions": chat_events(
            *fragments(
                {"type": "reasoning.text", "text": "", "signature": "", **CLAUDE, "index": 0},
                {"type": "reasoning.text", "text": "Hm, ", **CLAUDE, "index": 0},
                {"type": "reasoning.text", "text": "weather.", **CLAUDE, "index": 0},
                {"type": "reasoning.text", "signature": "c2ln", **CLAUDE, "index": 0},
            )
        ),
        "responses": responses_events(
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [],
                "content": [{"type": "reasoning_text", "text": "Hm, weather."}],
                "signature": "c2ln",
                **CLAUDE,
            }
        ),
    },
    "anthropic, redacted": {
        "chat_completions": chat_events(
            *fragments({"type": "reasoning.encrypted", "data": "cmVk", **CLAUDE, "index": 0})
        ),
        "responses": responses_events(
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "cmVk", **CLAUDE}
        ),
    },
    "anthropic, text and redacted": {
        "chat_completions": chat_events(
            *fragments(
                {"type": "reasoning.text", "text": "Hm.", **CLAUDE, "index": 0},
                {"type": "reasoning.text", "signature": "c2ln", **CLAUDE, "index": 0},
                {"type": "reasoning.encrypted", "data": "cmVk", **CLAUDE, "index": 1},
            )
        ),
        "responses": responses_events(
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [],
                "content": [{"type": "reasoning_text", "text": "Hm."}],
                "signature": "c2ln",
                **CLAUDE,
            },
            {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "cmVk", **CLAUDE},
        ),
    },
    "openai": {
        "chat_completions": chat_events(
            *fragments(
                {"type": "reasoning.summary", "summary": "**Hm**", **OPENAI, "index": 0},
                {"type": "reasoning.summary", "summary": "\n\nweather", **OPENAI, "index": 0},
                {"type": "reasoning.encrypted", "data": "Z0FB", "id": "rs_1", **OPENAI, "index": 0},
            )
        ),
        "responses": responses_events(
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "**Hm**"}, {"type": "summary_text", "text": "weather"}],
                "encrypted_content": "Z0FB",
                **OPENAI,
            }
        ),
    },
    "openai, encrypted only": {
        "chat_completions": chat_events(
            *fragments({"type": "reasoning.encrypted", "data": "Z0FB", "id": "rs_1", **OPENAI, "index": 0})
        ),
        "responses": responses_events(
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "Z0FB", **OPENAI}
        ),
    },
    "openai, two items": {
        "chat_completions": chat_events(
            *fragments(
                {"type": "reasoning.summary", "summary": "One", "id": "rs_1", **OPENAI, "index": 0},
                {"type": "reasoning.encrypted", "data": "QQ", "id": "rs_1", **OPENAI, "index": 1},
                {"type": "reasoning.summary", "summary": "Two", "id": "rs_2", **OPENAI, "index": 2},
                {"type": "reasoning.encrypted", "data": "Qg", "id": "rs_2", **OPENAI, "index": 3},
            )
        ),
        "responses": responses_events(
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "One"}],
                "encrypted_content": "QQ",
                **OPENAI,
            },
            {
                "type": "reasoning",
                "id": "rs_2",
                "summary": [{"type": "summary_text", "text": "Two"}],
                "encrypted_content": "Qg",
                **OPENAI,
            },
        ),
    },
    "gemini, encrypted after the call": {
        "chat_completions": [
            *chat_events()[:-1],
            *chat_events(
                *fragments({"type": "reasoning.encrypted", "data": "R2Vt", "id": "call_w1", **GEMINI, "index": 0}),
                calls=(),
            ),
        ],
        "responses": responses_events(
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "R2Vt", **GEMINI}
        ),
    },
    "open weights": {
        "chat_completions": chat_events(
            *fragments({"type": "reasoning.text", "text": "Hm.", "format": "unknown", "index": 0})
        ),
        "responses": responses_events(
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
        ),
    },
}
# What of the above is read by the person, and what the details are when the fragments are put together.
READ = {
    "anthropic": "Hm, weather.",
    "anthropic, text and redacted": "Hm.",
    "openai": "**Hm**\n\nweather",
    "openai, two items": {"chat_completions": "OneTwo", "responses": "One\n\nTwo"},
    "open weights": "Hm.",
}
DETAILS: dict[str, list[Json]] = {
    "anthropic": [{"type": "reasoning.text", "text": "Hm, weather.", "signature": "c2ln", **CLAUDE}],
    "anthropic, redacted": [{"type": "reasoning.encrypted", "data": "cmVk", **CLAUDE}],
    "anthropic, text and redacted": [
        {"type": "reasoning.text", "text": "Hm.", "signature": "c2ln", **CLAUDE},
        {"type": "reasoning.encrypted", "data": "cmVk", **CLAUDE},
    ],
    "openai": [
        {"type": "reasoning.summary", "summary": "**Hm**\n\nweather", **OPENAI},
        {"type": "reasoning.encrypted", "data": "Z0FB", "id": "rs_1", **OPENAI},
    ],
    "openai, encrypted only": [{"type": "reasoning.encrypted", "data": "Z0FB", "id": "rs_1", **OPENAI}],
    "openai, two items": [
        {"type": "reasoning.summary", "summary": "One", "id": "rs_1", **OPENAI},
        {"type": "reasoning.encrypted", "data": "QQ", "id": "rs_1", **OPENAI},
        {"type": "reasoning.summary", "summary": "Two", "id": "rs_2", **OPENAI},
        {"type": "reasoning.encrypted", "data": "Qg", "id": "rs_2", **OPENAI},
    ],
    "gemini, encrypted after the call": [{"type": "reasoning.encrypted", "data": "R2Vt", "id": "call_w1", **GEMINI}],
    "open weights": [{"type": "reasoning.text", "text": "Hm.", "format": "unknown"}],
}
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("weather", "now")
]
RESULTS = {"weather": "Sunny", "now": "12:00"}
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Weather?"}]


def without(details: list[Json], *keys: str) -> list[Json]:
    return [{key: value for key, value in detail.items() if key not in keys} for detail in details]


@pytest.mark.parametrize("case", REASONING)
async def test_round_two_brings_back_the_reasoning_of_round_one(
    pipe: Pipe, sandbox: Sandbox, endpoint: str, case: str
) -> None:
    sandbox.rules.append(Rule(events=sse(*REASONING[case][endpoint]), times=1))
    host = await ask(pipe, "openai/gpt-5", HELLO, tools=TOOLS)
    read = READ.get(case, PRIVATE)
    assert host.reasoning == (read[endpoint] if isinstance(read, dict) else read)
    assert [item["type"] for item in host.output if item["type"] == "reasoning"] == ["reasoning"]
    assert len({detail["index"] for detail in host.details}) == len(host.details)
    again = await ask(pipe, "openai/gpt-5", [*HELLO, *host.next_messages(RESULTS)], tools=TOOLS)
    assert again.errors == []
    body = sandbox.received[-1].body
    if endpoint == "chat_completions":
        _, _, said, result = body["messages"]
        assert without(said["reasoning_details"], "index") == DETAILS[case]
        assert [call["id"] for call in said["tool_calls"]] == ["call_w1"]
        assert said["tool_calls"][0]["function"] == {"name": "weather", "arguments": WEATHER.arguments}
        assert (result["role"], result["tool_call_id"], result["content"]) == ("tool", "call_w1", "Sunny")
        return
    returned = REASONING[case][endpoint][-1]["response"]["output"]
    *items, call, result = [item for item in body["input"] if item.get("role") != "user"]
    assert items == returned[:-1]
    assert (call["call_id"], call["name"], call["arguments"]) == ("call_w1", "weather", WEATHER.arguments)
    assert (result["type"], result["call_id"], result["output"]) == ("function_call_output", "call_w1", "Sunny")


MODELS = (
    "openai/gpt-5",
    "anthropic/claude-opus-5",
    "google/gemini-2.5-pro",
    "openai/gpt-oss-120b",
    "deepseek/deepseek-r1",
)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("said", ["", "Let me see."])
async def test_a_conversation_of_two_rounds_and_a_second_turn(
    pipe: Pipe, sandbox: Sandbox, endpoint: str, model: str, said: str
) -> None:
    calls = (WEATHER, NOW, BERN)
    sandbox.rules.append(Rule(answer=Answer(text=said, reasoning=THOUGHT, tool_calls=calls), times=1))
    sandbox.rules.append(Rule(answer=Answer(text="Sunny at noon.", reasoning="So."), times=1))
    first = await ask(pipe, model, HELLO, tools=TOOLS)
    assert (first.text, first.call_ids) == (said, [call.id for call in calls])
    messages = [*HELLO, *first.next_messages(RESULTS)]
    second = await ask(pipe, model, messages, tools=TOOLS)
    assert (second.text, second.errors, second.finish_reason) == ("Sunny at noon.", [], "stop")
    messages += [*second.next_messages({}), {"role": "user", "content": "Thanks"}]
    third = await ask(pipe, model, messages, tools=TOOLS)
    assert third.errors == []
    sent = sandbox.received[-1].body
    text = json.dumps(sent, ensure_ascii=False)
    for call in calls:
        assert text.count(json.dumps(call.arguments, ensure_ascii=False)) == 1
    # The reasoning of both rounds, once each, with what proves it where the provider gives a proof.
    for thought in (THOUGHT, "So."):
        assert text.count(json.dumps(thought, ensure_ascii=False)) == 1
    rounds = sent.get("input") or sent["messages"]
    proofs = [key for item in rounds for key in proof_keys(item)]
    assert len(proofs) == (0 if model == "deepseek/deepseek-r1" and endpoint == "chat_completions" else 2)


def proof_keys(item: Json) -> list[str]:
    """The signatures and encrypted contents of a message or an item."""
    details = [item, *item.get("reasoning_details", ())]
    return [key for detail in details for key in ("signature", "encrypted_content", "data") if detail.get(key)]


# --- Status lines while a server tool works

SEARCH: Json = {
    "type": "openrouter:web_search",
    "action": {
        "type": "search",
        "query": "weather Bern",
        "sources": [
            {"type": "url", "url": "https://a.example"},
            {"type": "url", "url": "https://b.example"},
            {"type": "url", "url": "https://a.example"},
        ],
    },
}
SERVER_TOOLS: dict[str, tuple[Json, str, list[str]]] = {
    "openrouter:web_search": (SEARCH, "Searched the web: weather Bern", ["https://a.example", "https://b.example"]),
    "web_search_call": (
        {**SEARCH, "type": "web_search_call"},
        "Searched the web: weather Bern",
        ["https://a.example", "https://b.example"],
    ),
    "queries": (
        {"type": "web_search_call", "action": {"type": "search", "queries": ["one", "two"]}},
        "Searched the web: one",
        [],
    ),
    "open_page": (
        {"type": "web_search_call", "action": {"type": "open_page", "url": "https://a.example"}},
        "Searched the web: https://a.example",
        ["https://a.example"],
    ),
    "no action": ({"type": "openrouter:web_search"}, "Searched the web", []),
    "web_fetch": (
        {"type": "openrouter:web_fetch", "url": "https://a.example", "httpStatus": 200},
        "Read a page: https://a.example",
        ["https://a.example"],
    ),
    "failed": (
        {"type": "openrouter:web_fetch", "url": "https://a.example", "status": "failed"},
        "Reading a page failed: https://a.example",
        ["https://a.example"],
    ),
    "not a link": ({"type": "openrouter:web_fetch", "url": "javascript:alert(1)"}, "Read a page", []),
    "a maker's own": ({"type": "code_interpreter_call", "code": "1"}, "Ran code", []),
    "a picture": ({"type": "image_generation_call"}, "Made an image", []),
    "another": ({"type": "openrouter:browser_use"}, "Used browser use", []),
    "odd": (
        {"type": "openrouter:web_search", "action": {"query": 5, "sources": [None, {"url": 5}]}},
        "Searched the web",
        [],
    ),
}


class Watcher:
    """An `__event_emitter__` that keeps what it was given."""

    def __init__(self, fails: bool = False) -> None:
        self.statuses: list[Json] = []
        self._fails = fails

    async def __call__(self, event: Json) -> None:
        assert event["type"] == "status"
        self.statuses.append(event["data"])
        if self._fails:
            raise RuntimeError("the page is gone")

    @property
    def told(self) -> list[tuple[str, bool]]:
        return [(status["description"], status["done"]) for status in self.statuses]


@pytest.fixture
def responses_pipe(shared_pipe: Pipe, sandbox: Sandbox) -> Pipe:
    shared_pipe.valves = valves(sandbox, "responses")
    return shared_pipe


@pytest.mark.parametrize("case", SERVER_TOOLS)
async def test_a_server_tool_is_told_of_while_it_works(responses_pipe: Pipe, sandbox: Sandbox, case: str) -> None:
    item, description, urls = SERVER_TOOLS[case]
    sandbox.rules.append(Rule(answer=Answer(text=TEXT, server_tools=(item,))))
    watcher = Watcher()
    host = await ask(responses_pipe, "openai/gpt-4o", emit=watcher)
    begun, ended = watcher.statuses
    assert (begun["done"], ended["done"], ended["description"]) == (False, True, description)
    assert ended.get("urls", []) == urls
    assert ("action" in ended) == bool(urls)
    assert (host.text, host.errors, host.finish_reason) == (TEXT, [], "stop")
    told = Watcher()
    await whole(responses_pipe, "openai/gpt-4o", emit=told)
    assert told.told == [(description, True)]


async def test_the_status_is_there_before_the_tool_is_done(responses_pipe: Pipe, sandbox: Sandbox) -> None:
    # created, in_progress, item added; then nothing.
    sandbox.rules.append(Rule(answer=Answer(text=TEXT, server_tools=(SEARCH,)), cut_after_events=3, hang=True))
    watcher = Watcher()
    reading = asyncio.ensure_future(ask(responses_pipe, "openai/gpt-4o", emit=watcher))
    await until(lambda: bool(watcher.statuses))
    assert watcher.told == [("Searching the web", False)]
    reading.cancel()
    await asyncio.wait([reading])
    # Stop: the line does not go on shimmering.
    assert [done for _, done in watcher.told] == [False, True]
    assert await seconds_until(lambda: sandbox.open_streams == 0) < 0.3


@pytest.mark.parametrize("how", ["cut", "error", "never done"])
async def test_the_status_ends_with_the_stream(responses_pipe: Pipe, sandbox: Sandbox, how: str) -> None:
    added = {
        "type": "response.output_item.added",
        "output_index": 0,
        "item": {"type": "openrouter:web_search", "id": "a"},
    }
    second = {
        "type": "response.output_item.added",
        "output_index": 1,
        "item": {"type": "openrouter:web_fetch", "id": "b"},
    }
    last: list[Json] = {
        "cut": [],
        "error": [{"type": "response.failed", "response": {"error": {"code": "server_error", "message": "Gone"}}}],
        "never done": [
            {"type": "response.output_text.delta", "output_index": 2, "delta": TEXT},
            {"type": "response.completed", "response": {"output": []}},
        ],
    }[how]
    sandbox.rules.append(Rule(events=sse(added, second, *last)))
    watcher = Watcher()
    host = await ask(responses_pipe, "openai/gpt-4o", emit=watcher)
    assert len(host.errors) == (how != "never done")
    assert [done for _, done in watcher.told] == [False, False, True, True]
    words = (
        {"Searched the web", "Read a page"}
        if how == "never done"
        else {"Searching the web failed", "Reading a page failed"}
    )
    assert {description for description, done in watcher.told if done} == words


async def test_two_tools_at_once_each_end(responses_pipe: Pipe, sandbox: Sandbox) -> None:
    tools = (SEARCH, {**SEARCH, "action": {**SEARCH["action"], "query": "weather Chur"}})
    sandbox.rules.append(Rule(answer=Answer(text=TEXT, server_tools=tools)))
    watcher = Watcher()
    await ask(responses_pipe, "openai/gpt-4o", emit=watcher)
    assert [description for description, done in watcher.told if done] == [
        "Searched the web: weather Bern",
        "Searched the web: weather Chur",
    ]
    assert len(watcher.told) == 4


async def test_a_page_that_cannot_show_a_status_costs_nothing(responses_pipe: Pipe, sandbox: Sandbox) -> None:
    sandbox.rules.append(Rule(answer=Answer(text=TEXT, server_tools=(SEARCH,))))
    watcher = Watcher(fails=True)
    host = await ask(responses_pipe, "openai/gpt-4o", emit=watcher)
    assert (host.text, host.errors, len(watcher.statuses)) == (TEXT, [], 2)


async def test_a_task_shows_no_status(responses_pipe: Pipe, sandbox: Sandbox) -> None:
    sandbox.rules.append(Rule(answer=Answer(text=TEXT, server_tools=(SEARCH,))))
    watcher = Watcher()
    told = await whole(responses_pipe, "openai/gpt-4o", task="title_generation", emit=watcher)
    assert (told["choices"][0]["message"]["content"], watcher.statuses) == (TEXT, [])


# --- Tasks


@pytest.mark.parametrize("model", [*MODELS, "openai/gpt-4o", "anthropic/claude-3.7-sonnet:thinking", "x-ai/grok-4"])
@pytest.mark.parametrize("enabled", [True, False])
async def test_a_task_gets_one_text(pipe: Pipe, sandbox: Sandbox, endpoint: str, model: str, enabled: bool) -> None:
    pipe.valves = valves(sandbox, endpoint, ENABLE_REASONING=enabled)
    sandbox.rules.append(Rule(answer=Answer(text='{"emoji": "😀"}')))
    told = await whole(pipe, model, task="emoji_generation", max_tokens=16, tools=TOOLS)
    (choice,) = told["choices"]
    assert choice["message"] == {"role": "assistant", "content": '{"emoji": "😀"}'}
    assert "tools" not in sandbox.received[-1].body


@pytest.mark.parametrize("finish_reason", ["stop", "length"])
@pytest.mark.parametrize("enabled", [True, False])
async def test_a_task_that_only_thought_has_said_that(
    pipe: Pipe, sandbox: Sandbox, endpoint: str, finish_reason: str, enabled: bool
) -> None:
    pipe.valves = valves(sandbox, endpoint, ENABLE_REASONING=enabled)
    # As if the upstream did not hide it: Open WebUI needs some text.
    body = {
        "responses": {
            "object": "response",
            "status": "completed",
            "output": [{"type": "reasoning", "content": [{"type": "reasoning_text", "text": THOUGHT}]}],
        },
        "chat_completions": {
            "choices": [{"message": {"content": None, "reasoning": THOUGHT}, "finish_reason": finish_reason}]
        },
    }[endpoint]
    sandbox.rules.append(Rule(body=body))
    told = await whole(pipe, "openai/gpt-5", task="title_generation", max_tokens=4)
    (choice,) = told["choices"]
    assert choice["message"] == {"role": "assistant", "content": THOUGHT}


async def test_a_task_without_an_answer_gets_the_error(pipe: Pipe, sandbox: Sandbox) -> None:
    sandbox.rules.append(Rule(status=402))
    told = await whole(pipe, "openai/gpt-5", task="title_generation")
    assert told.keys() == {"error"}


# --- Stop

STILL = {
    "before the first event": Rule(first_event_delay_seconds=30),
    "before the headers": Rule(delay_seconds=30),
    "in the reasoning": Rule(answer=Answer(text=TEXT, reasoning="word " * 200), cut_after_events=8, hang=True),
    "in the arguments": Rule(answer=Answer(tool_calls=(WEATHER, BERN)), cut_after_events=5, hang=True),
}


def left(before: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() - before if "src/openrouter_pipe/" in repr(task)]


@pytest.mark.parametrize("case", STILL)
@pytest.mark.parametrize("how", ["cancel", "close"])
async def test_stop_closes_the_upstream_at_once(pipe: Pipe, sandbox: Sandbox, case: str, how: str) -> None:
    before = asyncio.all_tasks()
    await until(lambda: sandbox.open_streams == 0)
    sandbox.rules.append(STILL[case])
    body = await stream(pipe, "anthropic/claude-opus-5")
    if not case.startswith("before") and how == "close":
        await anext(body)
    else:
        host = HostModel()

        async def read() -> None:
            async for event in body:
                host.read(event)

        reading = asyncio.ensure_future(read())
        await until(lambda: sandbox.open_streams == 1)
        if not case.startswith("before"):
            await until(lambda: bool(host.output))
        reading.cancel()
        await asyncio.wait([reading])
    await body.aclose()
    assert await seconds_until(lambda: sandbox.open_streams == 0) < 0.3
    assert left(before) == []
