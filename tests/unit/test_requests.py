"""The body of one chat's request: which endpoint, which parameter where, and what the valves may add."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from openrouter_pipe.catalog import UNKNOWN, Model, parse_model
from openrouter_pipe.model_ref import ModelRef
from openrouter_pipe.requests import ChatContext, UpstreamRequest, build_request, pseudonym
from openrouter_pipe.settings import Settings

Body = dict[str, Any]
RESPONSES, CHAT = "responses", "chat_completions"
USER = [{"role": "user", "content": "Hi"}]
MARKED = [{"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]}]
EPHEMERAL = {"type": "ephemeral"}


def build(
    name: str = "openai/gpt-4o",
    model: Model = UNKNOWN,
    context: ChatContext | None = None,
    valves: Body | None = None,
    **body: object,
) -> UpstreamRequest:
    """A request for `name`; more words are fields of Open WebUI's body."""
    settings = Settings(**(valves or {}))
    assert [problem.valve for problem in settings.problems()] in ([], ["API_KEY"])
    whole = {"model": "fn.whatever", "messages": USER, **body}
    before = copy.deepcopy(whole)
    request = build_request(whole, ModelRef.from_api(name), model, settings, context or ChatContext())
    assert whole == before, "the incoming body was changed"
    return request


def row(*supported: str) -> Model:
    model = parse_model({"id": "openai/gpt-4o", "name": "GPT-4o", "supported_parameters": list(supported)})
    assert model is not None
    return model


# --- The shape


def test_a_plain_chat_on_responses() -> None:
    request = build(messages=[{"role": "system", "content": "Be brief."}, *USER], stream=True)
    assert request.endpoint == RESPONSES
    assert request.body == {
        "model": "openai/gpt-4o",
        "stream": True,
        "instructions": "Be brief.",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
    }
    assert request.left_out == ()


def test_a_plain_chat_on_chat_completions() -> None:
    request = build(valves={"ENDPOINT": CHAT})
    assert request.endpoint == CHAT
    assert request.body == {"model": "openai/gpt-4o", "stream": False, "messages": USER}


# --- Which endpoint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 0),
        ("logit_bias", "50256:-100"),
        ("logprobs", True),
        ("min_p", 0.1),
        ("top_a", 0.1),
        ("repetition_penalty", 1.1),
        ("stop", ["END"]),
        ("prediction", {"type": "content", "content": "x"}),
        ("audio", {"voice": "alloy", "format": "mp3"}),
        ("modalities", ["text", "audio"]),
        ("preset", "email"),
        ("messages", MARKED),
    ],
)
def test_what_only_chat_completions_can_do(name: str, value: object) -> None:
    assert build(**{name: value}).endpoint == CHAT
    fixed = build(valves={"ENDPOINT": RESPONSES}, **{name: value})
    assert fixed.endpoint == RESPONSES
    assert fixed.body.get(name) == (["text"] if name == "modalities" else None)
    assert "cache_control" not in str(fixed.body)
    assert "audio" not in str(fixed.body)
    if name == "preset":
        assert fixed.body["model"] == "openai/gpt-4o@preset/email"
    else:
        assert fixed.left_out == (() if name in ("messages", "modalities") else (name,))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.2),
        ("top_k", 5),
        ("modalities", ["text", "image"]),
        ("seed", None),
        ("stop", []),
        ("logit_bias", "nonsense"),
        ("preset", ""),
        ("preset", "not a slug!"),
        ("usage", {"include": True}),
        ("include_reasoning", True),
        ("num_ctx", 4096),
    ],
)
def test_what_responses_can_do_or_nobody(name: str, value: object) -> None:
    assert build(**{name: value}).endpoint == RESPONSES


def test_a_chat_only_parameter_that_the_model_lacks_does_not_switch() -> None:
    request = build(model=row("temperature"), seed=1)
    assert (request.endpoint, request.left_out) == (RESPONSES, ("seed",))


# --- The parameter table of openrouter_api.md §5: field → (value, place on chat, place on responses); None: no such place

OBJECT_SCHEMA = {"name": "answer", "strict": True, "schema": {"type": "object"}}
PLACES: dict[str, tuple[object, str | None, str | None]] = {
    "temperature": (0.5, "temperature", "temperature"),
    "top_p": (0.5, "top_p", "top_p"),
    "top_k": (5, "top_k", "top_k"),
    "frequency_penalty": (0.5, "frequency_penalty", "frequency_penalty"),
    "presence_penalty": (0.5, "presence_penalty", "presence_penalty"),
    "top_logprobs": (2, "top_logprobs", "top_logprobs"),
    "min_p": (0.1, "min_p", None),
    "top_a": (0.1, "top_a", None),
    "repetition_penalty": (1.1, "repetition_penalty", None),
    "seed": (0, "seed", None),
    "logprobs": (True, "logprobs", None),
    "prediction": ({"type": "content", "content": "x"}, "prediction", None),
    "stop": (["END"], "stop", None),
    "max_tokens": (9, "max_tokens", "max_output_tokens"),
    "max_completion_tokens": (9, "max_completion_tokens", "max_output_tokens"),
    "truncation": ("auto", None, "truncation"),
    "verbosity": ("low", "verbosity", "text.verbosity"),
    "response_format": ({"type": "json_object"}, "response_format", "text.format"),
    "reasoning": ({"effort": "low"}, "reasoning", "reasoning"),
    "reasoning_effort": ("low", "reasoning.effort", "reasoning.effort"),
    "include_reasoning": (False, "include_reasoning", None),
    "stop_server_tools_when": (
        [{"type": "step_count_is", "step_count": 1}],
        "stop_server_tools_when",
        "stop_server_tools_when",
    ),
    "models": (["a/b"], "models", "models"),
    "provider": ({"sort": "price"}, "provider", "provider"),
    "plugins": ([{"id": "web"}], "plugins", "plugins"),
    "service_tier": ("flex", "service_tier", "service_tier"),
    "route": ("fallback", "route", "route"),
    "transforms": (["middle-out"], "transforms", None),
    "modalities": (["text", "image"], "modalities", "modalities"),
    "image_config": ({"aspect_ratio": "1:1"}, "image_config", "image_config"),
    "audio": ({"voice": "alloy", "format": "mp3"}, "audio", None),
    "cache_control": (EPHEMERAL, "cache_control", "cache_control"),
    "prompt_cache_key": ("k", "prompt_cache_key", "prompt_cache_key"),
    "prompt_cache_options": ({"mode": "explicit"}, "prompt_cache_options", "prompt_cache_options"),
    "user": ("u", "user", "user"),
    "session_id": ("s", "session_id", "session_id"),
    "metadata": ({"a": "b"}, "metadata", "metadata"),
    "trace": ({"trace_id": "t"}, "trace", "trace"),
    "safety_identifier": ("u", None, "safety_identifier"),
    "usage": ({"include": True}, "usage", None),
    "web_search_options": ({}, "web_search_options", None),
}


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
@pytest.mark.parametrize("name", PLACES)
def test_each_parameter_goes_to_its_place(name: str, endpoint: str) -> None:
    value, on_chat, on_responses = PLACES[name]
    place = on_chat if endpoint == CHAT else on_responses
    request = build(valves={"ENDPOINT": endpoint}, **{name: value})
    plain = build(valves={"ENDPOINT": endpoint}).body
    # `include` comes with reasoning.
    added = {key: setting for key, setting in request.body.items() if key not in plain and key != "include"}
    if place is None:
        assert (added, request.left_out) == ({}, (name,))
        return
    outer, _, inner = place.partition(".")
    assert added == {outer: {inner: value} if inner else value}
    assert request.left_out == ()


@pytest.mark.parametrize(
    "name",
    [
        *(
            "num_ctx",
            "num_gpu",
            "keep_alive",
            "think",
            "format",
            "mirostat",
            "repeat_penalty",
            "num_thread",
            "num_keep",
        ),
        *("store", "previous_response_id", "background", "input", "prompt", "stream_options", "n", "debug", "text"),
        *("chat_id", "features", "files", "anything"),
    ],
)
@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_what_is_not_in_the_table_is_not_sent(name: str, endpoint: str) -> None:
    valves = {"ENDPOINT": endpoint}
    assert build(valves=valves, **{name: {"a": 1}}).body == build(valves=valves).body


def test_fields_of_one_object_share_it() -> None:
    given = {"response_format": {"type": "json_object"}, "verbosity": "low"}
    assert build(**given).body["text"] == {"format": {"type": "json_object"}, "verbosity": "low"}
    asked = build(reasoning={"summary": "auto"}, reasoning_effort=" High ")
    assert asked.body["reasoning"] == {"summary": "auto", "effort": "high"}


def test_a_json_schema_is_flat_on_responses() -> None:
    given = {"type": "json_schema", "json_schema": OBJECT_SCHEMA}
    request = build(response_format=given)
    assert request.body["text"]["format"] == {"type": "json_schema", **OBJECT_SCHEMA}
    assert request.left_out == ()
    assert build(valves={"ENDPOINT": CHAT}, response_format=given).body["response_format"] == given


@pytest.mark.parametrize("exact", [{"effort": "low"}, {"max_tokens": 2000}])
@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_of_two_statements_about_the_effort_one_is_sent(exact: Body, endpoint: str) -> None:
    request = build(valves={"ENDPOINT": endpoint}, reasoning=exact, reasoning_effort="high")
    assert request.body["reasoning"] == exact
    assert "reasoning_effort" not in request.body


def test_exclude_exists_on_chat_completions_only() -> None:
    asked = {"exclude": True, "effort": "low"}
    request = build(reasoning=asked)
    assert (request.body["reasoning"], request.shows_reasoning) == ({"effort": "low"}, False)
    assert "reasoning" not in build(reasoning={"exclude": True}).body
    on_chat = build(reasoning=asked, valves={"ENDPOINT": CHAT})
    assert (on_chat.body["reasoning"], on_chat.shows_reasoning) == (asked, False)


@pytest.mark.parametrize("value", ["", "  ", None, [], {}, 5])
@pytest.mark.parametrize(
    "name", ["provider", "response_format", "reasoning", "modalities", "reasoning_effort", "preset"]
)
def test_values_that_mean_nothing_are_not_sent(name: str, value: object) -> None:
    assert build(**{name: value}).body == build().body


# --- What the model supports


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k", "frequency_penalty", "verbosity", "response_format"])
def test_a_parameter_that_the_row_does_not_list_is_left_out(name: str) -> None:
    value = PLACES[name][0]
    assert build(model=row("max_tokens"), **{name: value}).left_out == (name,)
    assert build(model=row(name), **{name: value}).left_out == ()
    assert build(model=row(), **{name: value}).left_out == ()


@pytest.mark.parametrize("name", ["provider", "plugins", "models", "user", "metadata", "service_tier", "cache_control"])
def test_what_does_not_depend_on_the_model_always_goes(name: str) -> None:
    assert name in build(model=row("temperature"), **{name: PLACES[name][0]}).body


@pytest.mark.parametrize("name", ["reasoning", "reasoning_effort"])
def test_reasoning_needs_a_model_that_reasons(name: str) -> None:
    assert "reasoning" not in build(model=row("temperature"), **{name: PLACES[name][0]}).body
    assert "reasoning" in build(model=row("reasoning"), **{name: PLACES[name][0]}).body


@pytest.mark.parametrize(
    ("given", "supported", "sent"),
    [
        ("max_tokens", (), "max_tokens"),
        ("max_completion_tokens", (), "max_completion_tokens"),
        ("max_tokens", ("max_completion_tokens",), "max_completion_tokens"),
        ("max_completion_tokens", ("max_tokens",), "max_tokens"),
        ("max_tokens", ("max_tokens", "max_completion_tokens"), "max_tokens"),
        ("max_tokens", ("temperature",), None),
    ],
)
def test_the_length_goes_under_the_name_that_the_row_lists(
    given: str, supported: tuple[str, ...], sent: str | None
) -> None:
    lengths = {"max_tokens", "max_completion_tokens", "max_output_tokens"}
    on_chat = build(model=row(*supported), valves={"ENDPOINT": CHAT}, **{given: 9})
    assert lengths & on_chat.body.keys() == ({sent} if sent else set())
    on_responses = build(model=row(*supported), **{given: 9})
    assert lengths & on_responses.body.keys() == ({"max_output_tokens"} if sent else set())
    assert on_chat.left_out == on_responses.left_out == (() if sent else (given,))


def test_both_lengths_are_one() -> None:
    request = build(max_tokens=5, max_completion_tokens=9, valves={"ENDPOINT": CHAT})
    assert {"max_tokens", "max_completion_tokens"} & request.body.keys() == {"max_completion_tokens"}


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("50256:-100,198:5", {"50256": -100.0, "198": 5.0}),
        (" 50256 : -100 , ", {"50256": -100.0}),
        ("1:-500, 2:1e9", {"1": -100.0, "2": 100.0}),
        ({"50256": 1}, {"50256": 1}),
        *((junk, None) for junk in ("", "x", "1", "1:x", "a:1", "1:2:3", [], 5)),
    ],
)
def test_logit_bias_arrives_as_text(text: object, sent: object) -> None:
    assert build(logit_bias=text, valves={"ENDPOINT": CHAT}).body.get("logit_bias") == sent


# --- Presets


@pytest.mark.parametrize("field", ["email", "@preset/email", " email "])
def test_the_preset_field_in_the_form_that_works(field: str) -> None:
    request = build(preset=field)
    assert (request.endpoint, request.body["model"], request.body["preset"]) == (CHAT, "openai/gpt-4o", "@preset/email")
    folded = build(preset=field, valves={"ENDPOINT": RESPONSES})
    assert (folded.body["model"], "preset" in folded.body) == ("openai/gpt-4o@preset/email", False)


def test_a_preset_in_the_models_name_wins_over_the_field() -> None:
    request = build("openai/gpt-4o:nitro@preset/mine", preset="other", valves={"ENDPOINT": CHAT})
    assert request.body["model"] == "openai/gpt-4o:nitro@preset/mine"
    assert "preset" not in request.body
    assert request.left_out == ("preset",)


EAGER_VALVES: Body = {
    "PROVIDER_SORT": "price",
    "PROVIDER_ORDER": "a, b",
    "PROVIDER_ONLY": "a",
    "PROVIDER_IGNORE": "c",
    "ALLOW_FALLBACKS": False,
    "REQUIRE_PARAMETERS": True,
    "FALLBACK_MODELS": "x/y",
    "PROMPT_CACHING": True,
    "CONTEXT_COMPRESSION": "on",
    "DATA_COLLECTION": "deny",
    "SEND_USER_ID": True,
}
ALICE = ChatContext("chat-1", "user-1", "secret")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("anthropic/claude-sonnet-4.5@preset/x", {}),
        ("@preset/x", {}),
        ("anthropic/claude-sonnet-4.5", {"preset": "x"}),
    ],
)
@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_with_a_preset_only_privacy_and_identity_are_added(name: str, body: Body, endpoint: str) -> None:
    request = build(name, context=ALICE, valves={**EAGER_VALVES, "ENDPOINT": endpoint}, temperature=0.3, **body)
    content = {"model", "stream", "messages", "input", "preset"}
    assert {key: value for key, value in request.body.items() if key not in content} == {
        "temperature": 0.3,
        "provider": {"data_collection": "deny"},
        "session_id": pseudonym("secret", "chat-1"),
        "user": pseudonym("secret", "user-1"),
    }


def test_with_a_preset_what_was_asked_for_is_sent() -> None:
    request = build("@preset/x", valves=EAGER_VALVES, provider={"sort": "latency"}, models=["a/b"], max_tokens=5)
    assert request.body["provider"] == {"sort": "latency", "data_collection": "deny"}
    assert (request.body["models"], request.body["max_output_tokens"]) == (["a/b"], 5)


# --- Valves


def test_provider_valves() -> None:
    assert build(valves=EAGER_VALVES).body["provider"] == {
        "order": ["a", "b"],
        "only": ["a"],
        "ignore": ["c"],
        "sort": "price",
        "allow_fallbacks": False,
        "require_parameters": True,
        "data_collection": "deny",
    }
    assert "provider" not in build(valves={"DATA_COLLECTION": "default"}).body
    assert build(valves={"DATA_COLLECTION": "allow"}).body["provider"] == {"data_collection": "allow"}


def test_the_requests_provider_is_merged_key_by_key() -> None:
    own = {"sort": "latency", "quantizations": ["fp8"], "data_collection": "allow", "order": []}
    assert build(valves={"PROVIDER_SORT": "price", "PROVIDER_ONLY": "a"}, provider=own).body["provider"] == {
        "only": ["a"],
        **own,
    }


def test_privacy_cannot_be_overridden() -> None:
    denied = build(valves={"DATA_COLLECTION": "deny"}, provider={"data_collection": "allow", "sort": "price"})
    assert denied.body["provider"] == {"data_collection": "deny", "sort": "price"}
    settings = Settings(ZDR="enforce")
    body = {"messages": USER, "provider": {"zdr": False}}
    request = build_request(body, ModelRef.from_api("a/b@preset/x"), UNKNOWN, settings, ChatContext())
    assert request.body["provider"] == {"zdr": True}


def test_fallback_models_come_after_the_chosen_one() -> None:
    valves = {"FALLBACK_MODELS": "openai/gpt-4o-mini, openai/gpt-4o:nitro\nx/y, x/y"}
    assert build("openai/gpt-4o:nitro", valves=valves).body["models"] == [
        "openai/gpt-4o:nitro",
        "openai/gpt-4o-mini",
        "x/y",
    ]
    assert build(valves=valves, models=["a/b"]).body["models"] == ["a/b"]


@pytest.mark.parametrize(
    ("name", "cached"),
    [
        ("anthropic/claude-sonnet-4.5", True),
        ("~anthropic/claude-sonnet-latest", True),
        ("anthropic/claude-sonnet-4.5:floor", True),
        ("openai/gpt-4o", False),
        ("not-anthropic/model", False),
        ("@preset/anthropic", False),
    ],
)
@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_prompt_caching_is_for_anthropic_models(name: str, cached: bool, endpoint: str) -> None:
    assert build(name, valves={"ENDPOINT": endpoint}).body.get("cache_control") == (EPHEMERAL if cached else None)
    assert "cache_control" not in build(name, valves={"ENDPOINT": endpoint, "PROMPT_CACHING": False}).body


def test_prompt_caching_yields_to_what_the_request_says() -> None:
    name, hour = "anthropic/claude-sonnet-4.5", {"type": "ephemeral", "ttl": "1h"}
    assert build(name, cache_control=hour).body["cache_control"] == hour
    assert "cache_control" not in build(name, messages=MARKED).body
    # There the breakpoints cannot be sent, so the valve helps again.
    assert build(name, messages=MARKED, valves={"ENDPOINT": RESPONSES}).body["cache_control"] == EPHEMERAL


@pytest.mark.parametrize(("valve", "enabled"), [("on", True), ("off", False)])
def test_context_compression_joins_the_plugins(valve: str, enabled: bool) -> None:
    plugin, valves = {"id": "context-compression", "enabled": enabled}, {"CONTEXT_COMPRESSION": valve}
    assert build(valves=valves).body["plugins"] == [plugin]
    assert build(valves=valves, plugins=[{"id": "web"}]).body["plugins"] == [{"id": "web"}, plugin]
    own = [{"id": "context-compression", "enabled": not enabled}]
    assert build(valves=valves, plugins=own).body["plugins"] == own
    assert "plugins" not in build().body


# --- Identity


def test_session_and_user_are_pseudonyms() -> None:
    body = build(context=ALICE, valves={"SEND_USER_ID": True}).body
    assert "chat-1" not in str(body)
    assert "user-1" not in str(body)
    assert body["session_id"] != body["user"]
    assert body["session_id"] == build(context=ALICE).body["session_id"]
    assert body["session_id"] != build(context=ALICE._replace(chat_id="chat-2")).body["session_id"]
    assert body["session_id"] != build(context=ALICE._replace(secret="other")).body["session_id"]
    assert all(len(body[key]) <= 256 for key in ("session_id", "user"))


def test_identity_is_sent_only_where_known_and_wanted() -> None:
    assert "user" not in build(context=ALICE).body
    assert {"user", "session_id"}.isdisjoint(build(valves={"SEND_USER_ID": True}).body)
    own = build(context=ALICE, valves={"SEND_USER_ID": True}, session_id="mine", user="me").body
    assert (own["session_id"], own["user"]) == ("mine", "me")


# --- Tasks: titles, tags, follow-ups, …

TITLE = ChatContext("chat-1", "user-1", "secret", "title_generation")


def thinker(mandatory: bool, **more: object) -> Model:
    whole = {"id": "x/y", "supported_parameters": ["reasoning", "max_tokens", "tools"], **more}
    model = parse_model(whole | {"reasoning": {"mandatory": mandatory, "supported_efforts": ["high", "low"]}})
    assert model is not None
    return model


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_tasks_get_nothing_that_costs_without_need(endpoint: str) -> None:
    costly: Body = {
        "tools": [{"type": "function", "function": {"name": "now"}}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "plugins": [{"id": "web"}],
        "web_search_options": {},
        "modalities": ["image", "text"],
        "audio": {"voice": "alloy", "format": "mp3"},
    }
    valves = {"ENDPOINT": endpoint, "CONTEXT_COMPRESSION": "on"}
    paints = thinker(False, architecture={"output_modalities": ["text", "image"]})
    for model in (thinker(False), thinker(True), paints, row("temperature"), UNKNOWN):
        kept = build("x/y", model, TITLE, valves, temperature=0.1, **costly).body
        assert costly.keys() & kept.keys() == set()
        # Apart from what it costs it is a chat like any other.
        assert (kept["model"], kept["session_id"]) == ("x/y", pseudonym("secret", "chat-1"))
        assert kept.get("temperature") == (
            0.1 if model is UNKNOWN or "temperature" in model.supported_parameters else None
        )


def test_what_a_task_leaves_out_does_not_choose_the_endpoint() -> None:
    assert build(context=TITLE, audio={"voice": "alloy"}, modalities=["text", "audio"]).endpoint == RESPONSES


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("x/y:online", "x/y"),
        ("x/y:free:online", "x/y:free"),
        ("x/y:nitro", "x/y:nitro"),
        ("x/y:online@preset/z", "x/y@preset/z"),
        ("@preset/z", "@preset/z"),
    ],
)
def test_a_task_searches_the_web_in_no_form(name: str, sent: str) -> None:
    assert build(name, context=TITLE).body["model"] == sent
    assert build(name).body["model"] == name


@pytest.mark.parametrize(("endpoint", "field"), [(CHAT, "max_tokens"), (RESPONSES, "max_output_tokens")])
def test_reasoning_that_cannot_be_avoided_gets_room_in_tasks(endpoint: str, field: str) -> None:
    valves = {"ENDPOINT": endpoint}
    avoidable = build("x/y", thinker(False), TITLE, valves, max_tokens=4).body
    assert (avoidable[field], avoidable["reasoning"]) == (4, {"effort": "none"})
    mandatory = build("x/y", thinker(True), TITLE, valves, max_completion_tokens=4).body
    assert (mandatory[field], mandatory["reasoning"]) == (2004, {"effort": "low"})
    assert field not in build("x/y", thinker(True), TITLE, valves).body
    assert build("x/y", thinker(True), None, valves, max_tokens=4).body[field] == 4
    assert build("x/y", UNKNOWN, TITLE, valves, max_tokens=4).body[field] == 4
    # A custom parameter may be any text; upstream says what is wrong with it.
    assert build("x/y", thinker(True), TITLE, valves, max_completion_tokens="4k").body[field] == "4k"


# --- Pictures as answers


@pytest.mark.parametrize(
    ("outputs", "asked", "sent"),
    [
        (["image", "text"], None, ["image", "text"]),
        (["text", "image"], None, ["image", "text"]),
        (["text"], None, None),
        ([], None, None),
        (["image", "text"], ["text"], ["text"]),
    ],
)
@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
def test_a_model_that_paints_is_asked_to(outputs: list[str], asked: object, sent: object, endpoint: str) -> None:
    model = parse_model({"id": "x/y", "architecture": {"output_modalities": outputs}})
    given = {} if asked is None else {"modalities": asked}
    assert build("x/y", model, valves={"ENDPOINT": endpoint}, **given).body.get("modalities") == sent
    assert "modalities" not in build("x/y@preset/z", model, valves={"ENDPOINT": endpoint}).body


def test_a_router_that_could_paint_is_not_asked_to() -> None:
    model = parse_model({"id": "openrouter/auto-beta", "architecture": {"output_modalities": ["text", "image"]}})
    assert "modalities" not in build("openrouter/auto-beta", model).body


@pytest.mark.parametrize("name", ["~openai/gpt-latest", "openrouter/auto"])
def test_routers_are_believed_as_any_row_is(name: str) -> None:
    lists = parse_model({"id": name, "supported_parameters": ["tools"]})
    assert build(name, lists, temperature=0.5).left_out == ("temperature",)
    silent = parse_model({"id": name, "supported_parameters": []})
    assert build(name, silent, temperature=0.5).body["temperature"] == 0.5
