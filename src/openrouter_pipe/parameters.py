"""The parameters of a request: one table that says what each is called, where it goes, and which models take it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from .catalog import Model
from .codec import mapping, texts
from .model_ref import is_preset_slug
from .tools import chat_tool_choice, chat_tools, responses_tool_choice, responses_tools

Endpoint = Literal["responses", "chat_completions"]


class Parameter(NamedTuple):
    """Where one request field goes. Empty: that endpoint has no such field. `a.b` is field `b` of object `a`."""

    name: str
    chat: str
    responses: str
    # The entries of a row's `supported_parameters`, one of which says that the model takes it; none: all models do.
    needs: tuple[str, ...] = ()


def _rows(names: str, chat: str = "{}", responses: str = "{}", needs: str = "") -> list[Parameter]:
    """One row for each name, which `{}` stands for."""
    return [
        Parameter(name, chat.format(name), responses.format(name), tuple(needs.format(name).split()))
        for name in names.split()
    ]


# Source: OpenRouter's OpenAPI document, ChatRequest and ResponsesRequest; what is not listed here is Open WebUI's or Ollama's
# own and is not sent.
PARAMETERS = (
    *_rows("temperature top_p top_k frequency_penalty presence_penalty top_logprobs", needs="{}"),
    *_rows("min_p top_a repetition_penalty seed logit_bias logprobs prediction stop", responses="", needs="{}"),
    *_rows("web_search_options include_reasoning", responses="", needs="{}"),
    *_rows("max_tokens max_completion_tokens", responses="max_output_tokens", needs="{}"),
    *_rows("response_format", responses="text.format", needs="response_format structured_outputs"),
    *_rows("verbosity", responses="text.verbosity", needs="{}"),
    *_rows("tools tool_choice parallel_tool_calls", needs="tools"),
    *_rows("max_tool_calls stop_server_tools_when provider models route plugins service_tier trace cache_control"),
    *_rows("metadata session_id user modalities image_config prompt_cache_key prompt_cache_options reasoning"),
    *_rows("preset transforms audio usage", responses=""),
    *_rows("safety_identifier truncation", chat=""),
)
# Two names of one thing; which one a model takes its row says.
LENGTHS = ("max_tokens", "max_completion_tokens")
# What sends a request to /chat/completions; an answer is as good without the two.
_CHAT_ONLY = {parameter.name for parameter in PARAMETERS if not parameter.responses} - {"include_reasoning", "usage"}


def read_parameters(body: Mapping[str, Any], model: Model | None) -> tuple[dict[str, Any], list[str]]:
    """The parameters of the request that the model takes, and the names of those that are left out."""
    supported = model.supported_parameters if model else frozenset()
    asked: dict[str, Any] = {}
    left_out: list[str] = []
    if given := [name for name in LENGTHS if body.get(name) is not None]:
        name = next((name for name in (given[-1], *LENGTHS) if name in supported), given[-1])
        body = {**body, **dict.fromkeys(LENGTHS), name: body[given[-1]]}
    for parameter in PARAMETERS:
        value = body.get(parameter.name)
        if value is None:
            continue
        if convert := _CONVERTERS.get(parameter.name):
            value = convert(value)
        refused = supported and parameter.needs and supported.isdisjoint(parameter.needs)
        if value is None or refused:
            left_out.append(parameter.name)
        else:
            asked[parameter.name] = value
    return asked, left_out


def needs_chat(asked: Mapping[str, Any]) -> bool:
    """Whether the parameters need what only /chat/completions has."""
    return "audio" in asked.get("modalities", ()) or not _CHAT_ONLY.isdisjoint(asked)


def place_parameters(asked: Mapping[str, Any], endpoint: Endpoint) -> tuple[dict[str, Any], list[str]]:
    """The fields of the body, and the names of parameters that the endpoint has no place for, or not for all of them."""
    fields: dict[str, Any] = {}
    left_out: list[str] = []
    for parameter in PARAMETERS:
        if parameter.name not in asked:
            continue
        place = parameter.responses if endpoint == "responses" else parameter.chat
        value = asked[parameter.name]
        if not place:
            left_out.append(parameter.name)
            continue
        if adapt := _ADAPTED[endpoint].get(parameter.name):
            given, value = value, adapt(value)
            if not value or len(value) < len(given):
                left_out.append(parameter.name)
            if not value:
                continue
        outer, dot, inner = place.partition(".")
        fields[outer] = {**fields.get(outer, {}), inner: value} if dot else value
    if "tools" not in fields:
        # There is nothing to choose from.
        fields = {name: fields[name] for name in fields if name not in ("tool_choice", "parallel_tool_calls")}
    return fields, left_out


def _logit_bias(value: object) -> dict[str, float] | None:
    """Open WebUI hands it over as text, `50256:-100, 198:5`."""
    if isinstance(value, dict):
        return value or None
    try:
        pairs = (pair.split(":") for pair in str(value).split(",") if pair.strip())
        bias = {str(int(token)): float(weight) for token, weight in pairs}
    except ValueError:
        return None
    return {token: max(-100.0, min(100.0, weight)) for token, weight in bias.items()} or None


def _preset(value: object) -> str | None:
    """`slug` or `@preset/slug`."""
    slug = value.strip().removeprefix("@preset/") if isinstance(value, str) else ""
    return f"@preset/{slug}" if is_preset_slug(slug) else None


def _text_format(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """`response_format` as `text.format`: the same without the nesting of the schema."""
    schema = value.get("json_schema")
    return {"type": value.get("type"), **schema} if isinstance(schema, dict) else value


def _without(*keys: str) -> Callable[[Any], Any]:
    return lambda value: {key: value[key] for key in value if key not in keys}


# What a parameter has to be; an empty list or text would be refused.
_CONVERTERS: dict[str, Callable[[Any], object]] = {
    "logit_bias": _logit_bias,
    "preset": _preset,
    "stop": lambda value: value or None,
    "modalities": lambda value: list(texts(value)) or None,
    "provider": lambda value: mapping(value) or None,
    "response_format": lambda value: mapping(value) or None,
}
# What an endpoint has in another shape, or only in part.
_ADAPTED: dict[Endpoint, dict[str, Callable[[Any], Any]]] = {
    "responses": {
        "response_format": _text_format,
        "modalities": lambda value: [kind for kind in value if kind != "audio"],
        "tools": responses_tools,
        "tool_choice": responses_tool_choice,
        # Here it is sent, and then not shown.
        "reasoning": _without("exclude"),
    },
    "chat_completions": {
        "tools": chat_tools,
        "tool_choice": chat_tool_choice,
        "reasoning": _without("context", "mode"),
    },
}
