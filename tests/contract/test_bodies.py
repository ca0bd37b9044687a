"""Every body the builders make, over a generated matrix, against two independent judges.

The official SDK's models ignore unknown keys, so a body has to come out of them (validate → dump) as it went in. The sandbox's
schemas, made from OpenRouter's OpenAPI document, refuse unknown keys.
"""

from __future__ import annotations

from typing import Any

import openrouter.components as sdk
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openrouter_pipe.catalog import UNKNOWN, Model, parse_model
from openrouter_pipe.model_ref import ModelRef
from openrouter_pipe.parameters import PARAMETERS
from openrouter_pipe.requests import ChatContext, UpstreamRequest, build_request
from openrouter_pipe.settings import Settings
from openrouter_sandbox.validation import check_schema

# endpoint → (the SDK's model, the schema's name, keys that the API documents but this SDK's model does not have)
JUDGES: dict[str, tuple[Any, str, set[str]]] = {
    "chat_completions": (
        sdk.ChatRequest,
        "ChatRequest",
        {
            # documented outside of the OpenAPI document: presets, legacy routing and accounting, reasoning, web search
            *("preset", "route", "transforms", "usage", "include_reasoning", "web_search_options"),
            # audio output, verbosity and the limit of tool calls are in the guides only
            *("audio", "verbosity", "max_tool_calls"),
        },
    ),
    "responses": (sdk.ResponsesRequest, "ResponsesRequest", {"route"}),
}

# The guide "Reasoning Tokens" has them for chat, the SDK's ChatRequest does not.
NESTED_NOT_IN_SDK = {
    "chat_completions": (".reasoning.max_tokens", ".reasoning.enabled", ".reasoning.exclude"),
    "responses": (),
}

# --- The matrix

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
URLS = st.sampled_from(["https://x.test/a.png", "data:image/png;base64,iVBORw0KGgo="])
PARTS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, WORDS),
    st.builds(lambda text: {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}, WORDS),
    st.builds(lambda url: {"type": "image_url", "image_url": {"url": url}}, URLS),
    st.builds(lambda url: {"type": "image_url", "image_url": {"url": url, "detail": "high"}}, URLS),
    st.just({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}}),
    st.just({"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}}),
    st.just({"type": "video_url", "video_url": {"url": "https://x.test/a.mp4"}}),
    st.builds(lambda text: {"type": "mystery", "text": text}, WORDS),
    WORDS,
)
TOOL_PARTS = st.one_of(
    st.builds(lambda text: {"type": "input_text", "text": text}, WORDS),
    st.builds(lambda url: {"type": "input_image", "image_url": url}, URLS),
    PARTS,
)
TEXT_PARTS = st.lists(st.builds(lambda text: {"type": "text", "text": text}, WORDS), max_size=2)
MESSAGES = st.lists(
    st.one_of(
        st.builds(
            lambda content: {"role": "user", "content": content}, WORDS | st.none() | st.lists(PARTS, max_size=4)
        ),
        st.builds(lambda content: {"role": "assistant", "content": content}, WORDS | st.none() | TEXT_PARTS),
        st.builds(
            lambda role, content: {"role": role, "content": content},
            st.sampled_from(["system", "developer"]),
            WORDS | TEXT_PARTS,
        ),
        st.builds(lambda content: {"role": "narrator", "content": content, "id": "1", "files": []}, WORDS),
    ),
    min_size=1,
    max_size=5,
)


# --- Rounds with tools and reasoning

CALL_IDS = st.sampled_from(["call_0", "call_1", "call_2", "", None])
# The OpenAPI document's ReasoningDetailUnion, with fields that may be null.
DETAILS = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["rs_1", "rs_2", None]),
        "index": st.integers(0, 3),
        "format": st.sampled_from(["openai-responses-v1", "anthropic-claude-v1", "google-gemini-v1", "unknown", None]),
    },
).flatmap(
    lambda common: st.one_of(
        st.builds(lambda text: {"type": "reasoning.summary", "summary": text, **common}, WORDS),
        st.builds(lambda text: {"type": "reasoning.encrypted", "data": text, **common}, WORDS),
        st.builds(
            lambda text, signature: {"type": "reasoning.text", "text": text, "signature": signature, **common},
            WORDS | st.none(),
            WORDS | st.none(),
        ),
        st.just(
            {
                "type": "reasoning.server_tool_call",
                "tool_name": "openrouter:fusion",
                "tool_call_id": "c",
                "arguments": "{}",
                "result": "{}",
                **common,
            }
        ),
    )
)


@st.composite
def tool_rounds(draw: st.DrawFn) -> list[dict[str, Any]]:
    """An assistant's turn with calls and what came of them, as Open WebUI hands it over, or worse."""
    calls = draw(st.lists(st.tuples(CALL_IDS, st.sampled_from(["{}", '{"a": 1}', "", {"a": 1}])), max_size=3))
    turn = {
        "role": "assistant",
        "content": draw(WORDS),
        "reasoning_details": draw(st.lists(DETAILS, max_size=3)),
        "tool_calls": [
            {"id": call_id, "type": "function", "function": {"name": "now", "arguments": arguments}}
            for call_id, arguments in calls
        ],
    }
    results = [
        {"role": "tool", "tool_call_id": call_id, "content": draw(WORDS | st.lists(TOOL_PARTS, max_size=3))}
        for call_id in draw(st.permutations([call_id for call_id, _ in calls]))
    ]
    kept = draw(st.sampled_from([len(results), len(results), max(len(results) - 1, 0)]))
    stray = [{"role": "tool", "tool_call_id": "call_9", "content": draw(WORDS)}] if draw(st.booleans()) else []
    return [turn, *results[:kept], *stray]


CONVERSATIONS = st.lists(tool_rounds() | MESSAGES, min_size=1, max_size=3).map(
    lambda rounds: [message for messages in rounds for message in messages]
)
SHARE = st.floats(0, 1)
PROVIDERS = st.fixed_dictionaries(
    {},
    optional={
        "sort": st.sampled_from(["price", "throughput", {"by": "latency", "partition": "none"}]),
        "order": st.just(["anthropic"]),
        "zdr": st.booleans(),
        "data_collection": st.sampled_from(["allow", "deny"]),
        "quantizations": st.just(["fp8"]),
        "max_price": st.just({"prompt": "1"}),
    },
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.floats(0, 2),
    "top_p": SHARE,
    "top_k": st.integers(1, 100),
    "frequency_penalty": st.floats(-2, 2),
    "presence_penalty": st.floats(-2, 2),
    "top_logprobs": st.integers(0, 20),
    "min_p": SHARE,
    "top_a": SHARE,
    "repetition_penalty": st.floats(0.1, 2),
    "seed": st.integers(0, 2**31),
    "logit_bias": st.sampled_from(["50256:-100,198:5", "", "junk"]),
    "logprobs": st.booleans(),
    "tools": st.lists(
        st.sampled_from(
            [
                {"type": "function", "function": {"name": "now"}},
                {
                    "type": "function",
                    "function": {
                        "name": "add",
                        "description": "Adds.",
                        "parameters": {"type": "object", "properties": {"a": {"type": "number"}}},
                        "strict": True,
                    },
                },
                {"type": "openrouter:web_search"},
                {"type": "openrouter:datetime"},
                {"type": "openrouter:shell"},
                {"type": "web_search_preview"},
                {"type": "function", "name": "flat", "parameters": {"type": "object"}},
                {"type": "function", "function": {"name": "x", "strict": None, "parameters": None}},
                {"type": "function"},
            ]
        ),
        max_size=3,
    ),
    "tool_choice": st.sampled_from(
        [
            *("auto", "none", "required", "any", {"type": "function", "function": {"name": "now"}}),
            *({"type": "function", "name": "now"}, {"type": "openrouter:web_search"}, {"type": "web_search_preview"}),
        ]
    ),
    "parallel_tool_calls": st.booleans(),
    "max_tool_calls": st.integers(1, 30),
    "prediction": st.just({"type": "content", "content": "x"}),
    "stop": st.sampled_from([["END"], "END", [], ""]),
    "max_tokens": st.integers(16, 9999),
    "max_completion_tokens": st.integers(16, 9999),
    "truncation": st.just("auto"),
    "verbosity": st.sampled_from(["low", "medium", "high"]),
    "response_format": st.sampled_from(
        [
            {"type": "json_object"},
            {"type": "text"},
            {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": {"type": "object"}}},
        ]
    ),
    "reasoning": st.sampled_from(
        [
            *({"effort": "low"}, {"max_tokens": 2000}, {"enabled": True}, {"enabled": False}, {"summary": "auto"}),
            *(
                {"exclude": True},
                {"effort": "none", "exclude": True},
                {"effort": "low", "context": "auto", "mode": "pro"},
            ),
        ]
    ),
    "reasoning_effort": st.sampled_from(["low", "HIGH ", "", "none", "max"]),
    "include_reasoning": st.booleans(),
    "stop_server_tools_when": st.just([{"type": "step_count_is", "step_count": 3}]),
    "models": st.just(["openai/gpt-4o", "x/y"]),
    "provider": PROVIDERS,
    "plugins": st.sampled_from([[], [{"id": "web", "max_results": 3}], [{"id": "context-compression"}]]),
    "service_tier": st.sampled_from(["auto", "flex"]),
    "route": st.just("fallback"),
    "transforms": st.sampled_from([[], ["middle-out"]]),
    "modalities": st.sampled_from([["text"], ["text", "image"], ["text", "audio"], []]),
    "image_config": st.just({"aspect_ratio": "1:1"}),
    "audio": st.just({"voice": "alloy", "format": "mp3"}),
    "cache_control": st.sampled_from([{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}]),
    "prompt_cache_key": st.just("k"),
    "prompt_cache_options": st.just({"mode": "explicit", "ttl": "30m"}),
    "user": st.just("u"),
    "session_id": st.just("s"),
    "metadata": st.just({"a": "b"}),
    "trace": st.just({"trace_id": "t", "custom": "c"}),
    "safety_identifier": st.just("u"),
    "usage": st.just({"include": True}),
    "web_search_options": st.just({"search_context_size": "low"}),
    "preset": st.sampled_from(["email", "@preset/email", "", "not a slug"]),
    # Open WebUI's and Ollama's own: these must not get through.
    "num_ctx": st.just(4096),
    "stream_options": st.just({"include_usage": True}),
    "features": st.just({}),
}
VALVES = st.fixed_dictionaries(
    {},
    optional={
        "PROVIDER_SORT": st.sampled_from(["default", "price"]),
        "PROVIDER_ORDER": st.just("a, b"),
        "PROVIDER_ONLY": st.just("a"),
        "PROVIDER_IGNORE": st.just("c"),
        "ALLOW_FALLBACKS": st.booleans(),
        "REQUIRE_PARAMETERS": st.booleans(),
        "DATA_COLLECTION": st.sampled_from(["default", "allow", "deny"]),
        "ZDR": st.sampled_from(["off", "filter", "enforce"]),
        "FALLBACK_MODELS": st.just("x/y, x/z"),
        "PROMPT_CACHING": st.booleans(),
        "CONTEXT_COMPRESSION": st.sampled_from(["default", "on", "off"]),
        "SEND_USER_ID": st.booleans(),
        "ENABLE_REASONING": st.booleans(),
        "REASONING_EFFORT": st.sampled_from(["default", "none", "minimal", "high", "max"]),
    },
)
NAMES = st.sampled_from(
    [
        "openai/gpt-4o",
        "anthropic/claude-sonnet-4.5:floor",
        "~anthropic/claude-sonnet-latest",
        "x/y@preset/z",
        "@preset/z",
    ]
)
ROWS = st.sampled_from(
    [
        UNKNOWN,
        parse_model({"id": "a/b"}),
        parse_model({"id": "a/b", "supported_parameters": ["temperature", "max_tokens", "seed"]}),
        parse_model({"id": "a/b", "supported_parameters": ["reasoning", "max_completion_tokens", "verbosity"]}),
        *(
            parse_model({"id": "a/b", "supported_parameters": ["reasoning", "tools", "max_tokens"], "reasoning": block})
            for block in (
                {"mandatory": True, "supported_efforts": ["high", "medium"]},
                {"mandatory": False, "supported_efforts": ["high", "low", "none"], "default_enabled": True},
                {"mandatory": True},
            )
        ),
        parse_model({"id": "a/b", "architecture": {"output_modalities": ["text", "image"]}}),
    ]
)


def lost(sent: Any, kept: Any, path: str = "") -> list[str]:
    """The places where `kept` is not `sent`."""
    if isinstance(sent, dict) and isinstance(kept, dict):
        keys = sorted(sent.keys() | kept.keys())
        return [place for key in keys for place in lost(sent.get(key), kept.get(key), f"{path}.{key}")]
    if isinstance(sent, list) and isinstance(kept, list) and len(sent) == len(kept):
        return [
            place
            for index, pair in enumerate(zip(sent, kept, strict=True))
            for place in lost(*pair, f"{path}[{index}]")
        ]
    return [] if sent == kept else [f"{path}: {sent!r} became {kept!r}"]


def judge(request: UpstreamRequest) -> None:
    """Fails unless both judges take the body with nothing lost."""
    components, schema, not_in_sdk = JUDGES[request.endpoint]
    check_schema(schema, request.body)
    known = {key: value for key, value in request.body.items() if key not in not_in_sdk}
    dumped = components.model_validate(known).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert [place for place in lost(known, dumped) if not place.startswith(NESTED_NOT_IN_SDK[request.endpoint])] == []


def build(name: str, row: Model, valves: dict[str, Any], body: dict[str, Any], task: str = "") -> UpstreamRequest:
    return build_request(
        body,
        ModelRef.from_api(name),
        row,
        Settings(**valves),
        ChatContext("chat", "user", "secret", task),
    )


@pytest.mark.parametrize("endpoint", ["auto", *JUDGES])
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=NAMES,
    row=ROWS,
    valves=VALVES,
    messages=MESSAGES,
    stream=st.booleans(),
    parameters=st.lists(st.sampled_from(sorted(VALUES)), max_size=6, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: VALUES[name] for name in names})
    ),
)
def test_bodies(
    endpoint: str,
    name: str,
    row: Model,
    valves: dict[str, Any],
    messages: list[dict[str, Any]],
    stream: bool,
    parameters: dict[str, Any],
) -> None:
    body = {"model": "fn.x", "messages": messages, "stream": stream, **parameters}
    judge(build(name, row, {**valves, "ENDPOINT": endpoint}, body))


@pytest.mark.parametrize("endpoint", JUDGES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=NAMES,
    row=ROWS,
    valves=VALVES,
    messages=CONVERSATIONS,
    task=st.sampled_from(["", "", "title_generation"]),
    parameters=st.fixed_dictionaries(
        {},
        optional={
            name: VALUES[name] for name in ("tools", "tool_choice", "reasoning", "reasoning_effort", "max_tokens")
        },
    ),
)
def test_conversations_with_tools_and_reasoning(
    endpoint: str,
    name: str,
    row: Model,
    valves: dict[str, Any],
    messages: list[dict[str, Any]],
    task: str,
    parameters: dict[str, Any],
) -> None:
    body = {"messages": messages, **parameters}
    request = build(name, row, {**valves, "ENDPOINT": endpoint}, body, task)
    judge(request)
    assert request.body == build(name, row, {**valves, "ENDPOINT": endpoint}, body, task).body
    # Nothing of the reasoning is lost, save the calls of server tools, for which /responses has no place.
    given_details = [detail for message in messages for detail in message.get("reasoning_details", ())]
    sent = request.body.get("messages") or request.body["input"]
    if endpoint == "chat_completions":
        kept = [detail for message in sent for detail in message.get("reasoning_details", ())]
        assert kept == given_details
    else:
        assert words_of_items(sent) == words_of_details(given_details)


def words_of_details(details: list[dict[str, Any]]) -> list[tuple[str, str]]:
    words = ((field, detail.get(field)) for detail in details for field in ("summary", "text", "signature", "data"))
    return sorted((field, word) for field, word in words if word or (word == "" and field != "signature"))


def words_of_items(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    words: list[tuple[str, str]] = []
    for item in items:
        if item["type"] == "reasoning":
            words += [("summary", part["text"]) for part in item["summary"]]
            words += [("text", part["text"]) for part in item.get("content", ())]
            words += [("signature", item["signature"])] if "signature" in item else []
            words += [("data", item["encrypted_content"])] if "encrypted_content" in item else []
    return sorted(words)


@pytest.mark.parametrize("endpoint", JUDGES)
@pytest.mark.parametrize("name", VALUES)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_each_parameter_by_itself(endpoint: str, name: str, data: st.DataObject) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], name: data.draw(VALUES[name])}
    judge(build("openai/gpt-4o", UNKNOWN, {"ENDPOINT": endpoint}, body))


def test_the_matrix_knows_every_parameter() -> None:
    assert PARAMETERS.keys() <= VALUES.keys()


@pytest.mark.parametrize("endpoint", JUDGES)
def test_the_judges_can_say_no(endpoint: str) -> None:
    good = build("openai/gpt-4o", UNKNOWN, {"ENDPOINT": endpoint}, {"messages": [{"role": "user", "content": "Hi"}]})
    judge(good)
    components, _, _ = JUDGES[endpoint]
    wrong = {**good.body, "temprature": 1, "provider": {"sorts": "price"}}
    dumped = components.model_validate(wrong).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert len(lost(wrong, dumped)) == 2
