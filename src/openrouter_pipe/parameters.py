"""The parameters of a request: one table of where each goes, and which models take it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from .catalog import Model
from .codec import JsonDict, JsonObject, as_text, dicts, mapping, texts, without
from .model_ref import SLUG

Endpoint = Literal["responses", "chat_completions"]

# On both endpoints, and whatever the model.
_EVERYWHERE = (
    "max_tool_calls stop_server_tools_when provider models route plugins service_tier trace metadata session_id user "
    "modalities image_config cache_control prompt_cache_key prompt_cache_options"
)
# Name → the place on each endpoint (empty: none; `a.b` is field `b` of object `a`), and what has to be in a row's
# `supported_parameters` (one of these; empty: all models take it). `{}` is the name. What is not here is not sent.
# Source: OpenRouter's OpenAPI document, ChatRequest and ResponsesRequest.
PARAMETERS = {
    name: {"chat_completions": chat.format(name), "responses": responses.format(name), "needs": needs.format(name)}
    for names, chat, responses, needs in (
        ("temperature top_p top_k frequency_penalty presence_penalty top_logprobs", "{}", "{}", "{}"),
        ("min_p top_a repetition_penalty seed logit_bias logprobs prediction stop", "{}", "", "{}"),
        ("web_search_options include_reasoning", "{}", "", "{}"),
        ("max_tokens max_completion_tokens", "{}", "max_output_tokens", "{}"),
        ("response_format", "{}", "text.format", "response_format structured_outputs"),
        ("verbosity", "{}", "text.verbosity", "{}"),
        ("tools tool_choice parallel_tool_calls", "{}", "{}", "tools"),
        (_EVERYWHERE, "{}", "{}", ""),
        ("reasoning reasoning_effort", "reasoning", "reasoning", ""),
        ("preset transforms audio usage", "{}", "", ""),
        ("safety_identifier truncation", "", "{}", ""),
    )
    for name in names.split()
}
# Two names of one thing; which one a model takes its row says.
LENGTHS = ("max_tokens", "max_completion_tokens")
_CHOICES = ("auto", "none", "required")
# Server tools that /chat/completions refuses. Source: OpenRouter's OpenAPI document, ChatFunctionTool.
_RESPONSES_ONLY = ("openrouter:apply_patch", "openrouter:shell", "openrouter:tool_search")
# What sends a request to /chat/completions; an answer is as good without the two.
_CHAT_ONLY = {name for name, places in PARAMETERS.items() if not places["responses"]} - {"include_reasoning", "usage"}


def read_parameters(body: JsonObject, model: Model) -> JsonDict:
    """The parameters of the request that make sense and that the model takes."""
    supported = model.supported_parameters
    asked: JsonDict = {}
    if given := [name for name in LENGTHS if body.get(name) is not None]:
        # Under the name that the row lists.
        name = max((given[-1], *LENGTHS), key=supported.__contains__)
        body = {**body, **dict.fromkeys(LENGTHS), name: body[given[-1]]}
    for name in filter(PARAMETERS.__contains__, body):
        convert, needs = _CONVERTERS.get(name), PARAMETERS[name]["needs"].split()
        value = convert(body[name]) if convert else body[name]
        refused = supported and needs and supported.isdisjoint(needs)
        if value is not None and not refused:
            asked[name] = value
    return asked


def needs_chat(asked: JsonObject) -> bool:
    """Whether only /chat/completions has what they ask for."""
    return "audio" in asked.get("modalities", ()) or not _CHAT_ONLY.isdisjoint(asked)


def place_parameters(asked: JsonObject, endpoint: Endpoint) -> JsonDict:
    """The fields of the body, as far as the endpoint has a place for the parameters."""
    fields: JsonDict = {}
    for name, value in asked.items():
        outer, _, inner = PARAMETERS[name][endpoint].partition(".")
        if adapt := _ADAPTED[endpoint].get(name):
            # What is then empty would be refused.
            value = adapt(value) or None
        if outer and value is not None:
            fields[outer] = {**fields.get(outer, {}), inner: value} if inner else value
    if "tools" not in fields:
        # There is nothing to choose from.
        fields.pop("tool_choice", None)
        fields.pop("parallel_tool_calls", None)
    return fields


def left_out(body: JsonObject, fields: JsonObject, endpoint: Endpoint) -> tuple[str, ...]:
    """The names of the parameters in `body` that have not become one of the fields."""
    sent = {*fields, *(LENGTHS if not fields.keys().isdisjoint(LENGTHS) else ())}
    asked = [name for name in body if name in PARAMETERS and body[name] is not None]
    return tuple([name for name in asked if PARAMETERS[name][endpoint].partition(".")[0] not in sent])


def _logit_bias(value: object) -> dict[str, float] | None:
    """Open WebUI hands it over as text, `50256:-100, 198:5`."""
    if isinstance(value, dict):
        return value or None
    try:
        pairs = (pair.split(":") for pair in str(value).split(",") if pair.strip())
        return {str(int(token)): max(-100.0, min(100.0, float(weight))) for token, weight in pairs} or None
    except ValueError:
        return None


def _preset(value: object) -> str | None:
    """`slug` or `@preset/slug`."""
    slug = as_text(value).strip().removeprefix("@preset/")
    return f"@preset/{slug}" if SLUG.fullmatch(slug) else None


def _function_of(tool: JsonObject) -> JsonDict:
    """The function in a definition or a choice, nested (as Open WebUI sends it) or flat; empty when there is none."""
    function = mapping(tool.get("function", tool)) if tool.get("type") == "function" else {}
    known = ("name", "description", "parameters", "strict")
    return {key: function[key] for key in known if function.get(key) is not None}


def _for_chat(tool: JsonObject) -> JsonObject | None:
    """A definition or a choice as /chat/completions takes it; None when it has no place there."""
    if function := _function_of(tool):
        return {"type": "function", "function": function}
    kind = str(tool.get("type"))
    return tool if kind.startswith(("openrouter:", "web_search")) and kind not in _RESPONSES_ONLY else None


def _for_responses(tool: JsonObject) -> JsonObject | None:
    """The same for /responses, where a function is flat, and its `parameters` are required even where it has none."""
    if function := _function_of(tool):
        return {"type": "function", "parameters": None, **function}
    return None if tool.get("type") == "function" else tool


def _choice_for_responses(choice: object) -> object:
    # OpenRouter's own tools cannot be chosen there.
    tool = mapping(choice)
    own = str(tool.get("type")).startswith("openrouter:")
    return choice if choice in _CHOICES else None if own else without(_for_responses(tool), "parameters")


# What a parameter has to be. The effort is read with `reasoning`.
_CONVERTERS: dict[str, Callable[[Any], object]] = {
    "reasoning_effort": lambda value: None,
    "logit_bias": _logit_bias,
    "preset": _preset,
    "stop": lambda value: value or None,
    "modalities": lambda value: list(texts(value)) or None,
    "provider": mapping,
    "response_format": lambda value: mapping(value) or None,
}
# What an endpoint has in another shape, or only in part.
_ADAPTED: dict[Endpoint, dict[str, Callable[[Any], Any]]] = {
    "responses": {
        # The schema is not nested here.
        "response_format": lambda value: without({**value, **mapping(value.get("json_schema"))}, "json_schema"),
        "modalities": lambda value: [kind for kind in value if kind != "audio"],
        "tools": lambda value: list(filter(None, map(_for_responses, dicts(value)))),
        "tool_choice": _choice_for_responses,
        # Here it is sent, and then not shown.
        "reasoning": lambda value: without(value, "exclude"),
    },
    "chat_completions": {
        "tools": lambda value: list(filter(None, map(_for_chat, dicts(value)))),
        "tool_choice": lambda value: value if value in _CHOICES else _for_chat(mapping(value)),
        "reasoning": lambda value: without(value, "context", "mode"),
    },
}
