"""The parameters of a request: one table that says what each is called, where it goes, and which models take it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from .catalog import Model
from .codec import mapping, texts

Endpoint = Literal["responses", "chat_completions"]


class Parameter(NamedTuple):
    """Where one request field goes. Empty: that endpoint has no such field. `a.b` is field `b` of object `a`."""

    name: str
    chat: str
    responses: str
    # The entries of a row's `supported_parameters`, one of which says that the model takes it; none: all models do.
    needs: tuple[str, ...] = ()


def _sampling(*names: str, responses: bool = True) -> tuple[Parameter, ...]:
    return tuple(Parameter(name, name, name if responses else "", (name,)) for name in names)


def _same(*names: str) -> tuple[Parameter, ...]:
    return tuple(Parameter(name, name, name) for name in names)


# "-" marks a field that an endpoint does not have and does not need: it is dropped there without a switch.
_NOT_NEEDED = "-"
# Source: OpenRouter's OpenAPI document, ChatRequest and ResponsesRequest; what is not listed here is Open WebUI's or Ollama's
# own and is not sent. Fields with no place on /responses send an `auto` request to /chat/completions.
PARAMETERS: tuple[Parameter, ...] = (
    *_sampling("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "top_logprobs"),
    *_sampling("min_p", "top_a", "repetition_penalty", "seed", "logit_bias", responses=False),
    *_sampling("logprobs", "prediction", "stop", "web_search_options", responses=False),
    Parameter("response_format", "response_format", "text.format", ("response_format", "structured_outputs")),
    Parameter("verbosity", "verbosity", "text.verbosity", ("verbosity",)),
    Parameter("reasoning", "reasoning", "reasoning"),
    Parameter("include_reasoning", "include_reasoning", _NOT_NEEDED, ("include_reasoning",)),
    Parameter("tools", "tools", "tools", ("tools",)),
    Parameter("tool_choice", "tool_choice", "tool_choice", ("tools",)),
    Parameter("parallel_tool_calls", "parallel_tool_calls", "parallel_tool_calls", ("tools",)),
    *_same(
        "max_tool_calls", "stop_server_tools_when", "provider", "models", "route", "plugins", "service_tier", "trace"
    ),
    *_same("cache_control", "metadata", "session_id", "user", "modalities", "image_config"),
    *_same("prompt_cache_key", "prompt_cache_options"),
    Parameter("transforms", "transforms", ""),
    Parameter("audio", "audio", ""),
    Parameter("usage", "usage", _NOT_NEEDED),
    Parameter("safety_identifier", _NOT_NEEDED, "safety_identifier"),
    Parameter("truncation", _NOT_NEEDED, "truncation"),
)
_LENGTHS = ("max_tokens", "max_completion_tokens")


def read_parameters(body: Mapping[str, Any], model: Model | None) -> tuple[dict[str, Any], list[str]]:
    """The parameters of the request that the model takes, and the names of those that are left out."""
    supported = model.supported_parameters if model else frozenset()
    asked: dict[str, Any] = {}
    left_out: list[str] = []
    for parameter in PARAMETERS:
        value = body.get(parameter.name)
        if value is None:
            continue
        convert = _CONVERTERS.get(parameter.name)
        value = convert(value) if convert is not None else value
        refused = supported and parameter.needs and supported.isdisjoint(parameter.needs)
        if value is None or refused:
            left_out.append(parameter.name)
        else:
            asked[parameter.name] = value
    return asked, left_out


def needs_chat(asked: Mapping[str, Any]) -> bool:
    """Whether the parameters need what only /chat/completions has."""
    return "audio" in asked.get("modalities", ()) or any(
        not parameter.responses and parameter.name in asked for parameter in PARAMETERS
    )


def place_parameters(asked: Mapping[str, Any], endpoint: Endpoint) -> tuple[dict[str, Any], list[str]]:
    """The fields of the body, and the names of parameters that the endpoint has no place for, or not for all of them."""
    fields: dict[str, Any] = {}
    left_out: list[str] = []
    for parameter in PARAMETERS:
        if parameter.name not in asked:
            continue
        place = parameter.responses if endpoint == "responses" else parameter.chat
        value = asked[parameter.name]
        if not place or place == _NOT_NEEDED:
            left_out.append(parameter.name)
            continue
        if adapt := _ADAPTED[endpoint].get(parameter.name):
            value = adapt(value)
            if len(value) < len(asked[parameter.name]):
                left_out.append(parameter.name)
            if not value:
                continue
        outer, dot, inner = place.partition(".")
        fields[outer] = {**fields.get(outer, {}), inner: value} if dot else value
    return fields, left_out


def place_length(body: Mapping[str, Any], model: Model | None, endpoint: Endpoint) -> tuple[str, Any]:
    """`max_tokens` and `max_completion_tokens` are one thing: its name (the one that the row lists) and value.

    The name is empty where the model takes neither; the value is None where none was asked for.
    """
    given = next((name for name in reversed(_LENGTHS) if body.get(name) is not None), None)
    if given is None:
        return "", None
    supported = model.supported_parameters if model else frozenset()
    name = next((name for name in (given, *_LENGTHS) if not supported or name in supported), "")
    return ("max_output_tokens" if name and endpoint == "responses" else name), body[given]


def _logit_bias(value: object) -> dict[str, float] | None:
    """Open WebUI hands it over as text, `50256:-100, 198:5`."""
    if isinstance(value, dict):
        return value or None
    try:
        pairs = (pair.split(":") for pair in str(value).split(",") if pair.strip())
        bias = {str(int(token)): float(weight) for token, weight in pairs}
    except ValueError:
        return None
    if any(math.isnan(weight) for weight in bias.values()):
        return None
    return {token: max(-100.0, min(100.0, weight)) for token, weight in bias.items()} or None


def _object(value: object) -> object:
    return mapping(value) or None


def _text_format(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """`response_format` as `text.format`: the same without the nesting of the schema."""
    schema = value.get("json_schema")
    return {"type": value.get("type"), **schema} if isinstance(schema, dict) else value


# What a parameter has to be; an empty list or text would be refused.
_CONVERTERS: dict[str, Callable[[Any], object]] = {
    "logit_bias": _logit_bias,
    "stop": lambda value: value or None,
    "tools": lambda value: value or None,
    "provider": _object,
    "response_format": _object,
    "reasoning": _object,
    "modalities": lambda value: list(texts(value)) or None,
}
# What an endpoint has in another shape, or only in part.
_ADAPTED: dict[Endpoint, dict[str, Callable[[Any], Any]]] = {
    "responses": {
        "response_format": _text_format,
        "modalities": lambda value: [kind for kind in value if kind != "audio"],
    },
    "chat_completions": {
        "reasoning": lambda value: {key: value[key] for key in value if key not in ("context", "mode")},
    },
}
