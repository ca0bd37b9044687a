"""Tool definitions and `tool_choice`: the shape of each endpoint, and nothing that makes no sense there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_pipe.catalog import UNKNOWN, Model, parse_model
from openrouter_pipe.model_ref import ModelRef
from openrouter_pipe.requests import ChatContext, UpstreamRequest, build_request
from openrouter_pipe.settings import Settings

Json = dict[str, Any]
CHAT, RESPONSES = "chat_completions", "responses"
ADD = {
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"a": {"type": "number"}}},
    "strict": True,
}
NESTED = {"type": "function", "function": ADD}
FLAT = {"type": "function", **ADD}


def build(endpoint: str, model: Model = UNKNOWN, task: str = "", **body: object) -> UpstreamRequest:
    whole = {"messages": [{"role": "user", "content": "Hi"}], **body}
    settings = Settings(ENDPOINT=endpoint)
    return build_request(whole, ModelRef.from_api("a/b"), model, settings, ChatContext(task=task))


# (definition, as /chat/completions takes it, as /responses takes it); None: there it has no place
DEFINITIONS: list[tuple[Json, Json | None, Json | None]] = [
    (NESTED, NESTED, FLAT),
    (FLAT, NESTED, FLAT),
    # What is missing stays missing; `parameters` is required on /responses, and may be null.
    (
        {"type": "function", "function": {"name": "now"}},
        {"type": "function", "function": {"name": "now"}},
        {"type": "function", "name": "now", "parameters": None},
    ),
    (
        {"type": "function", "function": {"name": "now", "description": None, "parameters": None, "strict": None}},
        {"type": "function", "function": {"name": "now"}},
        {"type": "function", "name": "now", "parameters": None},
    ),
    # Open WebUI's own fields.
    ({**NESTED, "function": {**ADD, "id": "1"}}, NESTED, FLAT),
    # Server tools.
    *(
        ({"type": f"openrouter:{name}"}, {"type": f"openrouter:{name}"}, {"type": f"openrouter:{name}"})
        for name in (
            *("web_search", "web_fetch", "datetime", "image_generation", "bash", "files", "fusion", "advisor"),
            *("subagent", "experimental__search_models", "of_next_year"),
        )
    ),
    (
        {"type": "openrouter:web_search", "parameters": {"max_results": 3}},
        {"type": "openrouter:web_search", "parameters": {"max_results": 3}},
        {"type": "openrouter:web_search", "parameters": {"max_results": 3}},
    ),
    *(
        ({"type": kind}, {"type": kind}, {"type": kind})
        for kind in ("web_search", "web_search_preview", "web_search_preview_2025_03_11", "web_search_2025_08_26")
    ),
    *(
        ({"type": kind}, None, {"type": kind})
        for kind in (
            *("openrouter:apply_patch", "openrouter:shell", "openrouter:tool_search", "local_shell", "mcp"),
            *("custom", "namespace", "file_search", "code_interpreter", "image_generation"),
        )
    ),
]


@pytest.mark.parametrize(("given_tool", "on_chat", "on_responses"), DEFINITIONS, ids=str)
def test_definitions(given_tool: Json, on_chat: Json | None, on_responses: Json | None) -> None:
    for endpoint, expected in ((CHAT, on_chat), (RESPONSES, on_responses)):
        assert build(endpoint, tools=[given_tool]).body.get("tools") == ([expected] if expected else None)


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_the_others_stay_and_keep_their_order(endpoint: str) -> None:
    tools = [NESTED, {"type": "openrouter:datetime"}, None, "x"]
    request = build(endpoint, tools=tools, tool_choice="auto", parallel_tool_calls=False)
    assert [tool["type"] for tool in request.body["tools"]] == ["function", "openrouter:datetime"]
    assert (request.body["tool_choice"], request.body["parallel_tool_calls"]) == ("auto", False)
    assert request.left_out == ()


NAMED = {"type": "function", "function": {"name": "add"}}
FLAT_NAMED = {"type": "function", "name": "add"}
CHOICES: list[tuple[object, object, object]] = [
    *((choice, choice, choice) for choice in ("auto", "none", "required")),
    (NAMED, NAMED, FLAT_NAMED),
    (FLAT_NAMED, NAMED, FLAT_NAMED),
    ({"type": "web_search_preview"}, {"type": "web_search_preview"}, {"type": "web_search_preview"}),
]


@pytest.mark.parametrize(("choice", "on_chat", "on_responses"), CHOICES, ids=str)
def test_tool_choice(choice: object, on_chat: object, on_responses: object) -> None:
    for endpoint, expected in ((CHAT, on_chat), (RESPONSES, on_responses)):
        request = build(endpoint, tools=[NESTED], tool_choice=choice)
        assert request.body.get("tool_choice") == expected
        assert request.left_out == (() if expected else ("tool_choice",))


# --- Models without tools

TOOLS: Json = {"tools": [NESTED], "tool_choice": "required", "parallel_tool_calls": True}


def row(name: str, *supported: str) -> Model:
    model = parse_model({"id": name, "supported_parameters": list(supported)})
    assert model is not None
    return model


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
@pytest.mark.parametrize(
    ("model", "kept"),
    [
        (row("a/b", "temperature"), False),
        # To choose among tools does not make a model that has them.
        (row("a/b", "tool_choice", "parallel_tool_calls"), False),
        (row("~a/b-latest", "temperature"), False),
        (row("a/b", "tools"), True),
        # Nothing listed: unknown, as with routers.
        (row("openrouter/auto"), True),
        (row("a/b"), True),
        (UNKNOWN, True),
    ],
)
def test_tools_need_a_model_that_takes_them(model: Model, kept: bool, endpoint: str) -> None:
    request = build(endpoint, model, **TOOLS)
    assert TOOLS.keys() & request.body.keys() == (TOOLS.keys() if kept else set())
    assert set(request.left_out) == (set() if kept else TOOLS.keys())


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
@pytest.mark.parametrize("tools", [None, [], "x", {}, [None]])
def test_without_a_tool_there_is_nothing_to_choose_from(tools: object, endpoint: str) -> None:
    request = build(endpoint, UNKNOWN, **{**TOOLS, "tools": tools})
    assert TOOLS.keys() & request.body.keys() == set()


# --- Structured outputs

SCHEMA = {"name": "a", "strict": True, "schema": {"type": "object"}}
FORMAT = {"type": "json_schema", "json_schema": SCHEMA}


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        (row("a/b", "structured_outputs"), True),
        (row("a/b", "response_format"), True),
        (row("a/b"), True),
        (UNKNOWN, True),
        (row("a/b", "temperature"), False),
    ],
)
def test_structured_outputs(model: Model, kept: bool) -> None:
    on_chat = build(CHAT, model, response_format=FORMAT)
    on_responses = build(RESPONSES, model, response_format=FORMAT)
    assert on_chat.body.get("response_format") == (FORMAT if kept else None)
    assert on_responses.body.get("text") == ({"format": {"type": "json_schema", **SCHEMA}} if kept else None)
    assert on_chat.left_out == on_responses.left_out == (() if kept else ("response_format",))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["function", "name", "now", "type", "mcp"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "function", "name", "parameters"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
@given(tools=ANYTHING, choice=ANYTHING)
def test_whatever_comes_in(endpoint: str, tools: object, choice: object) -> None:
    body = build(endpoint, tools=tools, tool_choice=choice).body
    assert body.get("tools") != []
    assert "tools" in body or "tool_choice" not in body
