"""One chat's request: which endpoint, and the JSON body. Tables say which parameter goes where."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from .catalog import Model
from .messages import chat_messages, has_cache_control, responses_input
from .model_ref import ModelRef, is_preset_slug
from .settings import Settings

Endpoint = Literal["responses", "chat_completions"]
ENDPOINT_PATHS: dict[Endpoint, str] = {"responses": "/responses", "chat_completions": "/chat/completions"}
_FIXED_ENDPOINTS: dict[str, Endpoint] = {"responses": "responses", "chat_completions": "chat_completions"}


class Parameter(NamedTuple):
    """Where one request field goes. Empty: that endpoint has no such field. `a.b` is field `b` of object `a`."""

    name: str
    chat: str
    responses: str
    # The entry of a row's `supported_parameters` that says the model takes it; empty: it does not depend on the model.
    needs: str = ""


def _same(*names: str) -> tuple[Parameter, ...]:
    return tuple(Parameter(name, name, name) for name in names)


# Source: OpenRouter's OpenAPI document, ChatRequest and ResponsesRequest; what is not listed here is Open WebUI's or Ollama's
# own and is not sent. Fields with no place on /responses send an `auto` request to /chat/completions.
PARAMETERS: tuple[Parameter, ...] = (
    *(Parameter(name, name, name, name) for name in ("temperature", "top_p", "top_k", "frequency_penalty")),
    *(Parameter(name, name, name, name) for name in ("presence_penalty", "top_logprobs")),
    *(Parameter(name, name, "", name) for name in ("min_p", "top_a", "repetition_penalty", "seed", "logit_bias")),
    *(Parameter(name, name, "", name) for name in ("logprobs", "prediction", "stop", "web_search_options")),
    Parameter("response_format", "response_format", "text.format", "response_format"),
    Parameter("verbosity", "verbosity", "text.verbosity", "verbosity"),
    Parameter("reasoning", "reasoning", "reasoning", "reasoning"),
    Parameter("reasoning_effort", "reasoning_effort", "reasoning.effort", "reasoning"),
    Parameter("include_reasoning", "include_reasoning", "-", "include_reasoning"),
    *_same(
        "provider", "models", "route", "plugins", "service_tier", "trace", "cache_control", "metadata", "session_id"
    ),
    *_same("user", "modalities", "image_config", "prompt_cache_key", "prompt_cache_options", "stop_server_tools_when"),
    Parameter("transforms", "transforms", ""),
    Parameter("audio", "audio", ""),
    Parameter("usage", "usage", "-"),
    Parameter("safety_identifier", "-", "safety_identifier"),
    Parameter("truncation", "-", "truncation"),
)
# "-" marks a field that an endpoint does not have and does not need: it is dropped there without a switch.
_NOT_NEEDED = "-"
_LENGTHS = ("max_tokens", "max_completion_tokens")


class ChatContext(NamedTuple):
    """Who asks, and in which chat; empty when unknown. `secret` keys the pseudonyms."""

    chat_id: str = ""
    user_id: str = ""
    secret: str = ""


class UpstreamRequest(NamedTuple):
    """A request ready to be sent, and the names of the fields that were left out of it."""

    endpoint: Endpoint
    body: dict[str, Any]
    left_out: tuple[str, ...]


def build_request(
    body: Mapping[str, Any], ref: ModelRef, model: Model | None, settings: Settings, context: ChatContext
) -> UpstreamRequest:
    """The request for one chat. `body` is what Open WebUI hands over and stays as it is; `model` None means unknown."""
    asked, unsupported = _asked_parameters(body, model)
    preset = preset_field(body.get("preset"))
    has_breakpoints = has_cache_control(body.get("messages"))
    endpoint = _endpoint(settings.endpoint, asked, preset, has_breakpoints)
    left_out = unsupported
    if endpoint == "responses" and has_breakpoints:
        left_out.append("cache_control in messages")
        has_breakpoints = False
    if ref.preset is not None and preset:
        left_out += ["preset"] if preset != ref.preset else []
        preset = ""
    elif endpoint == "responses" and preset:
        ref, preset = ModelRef(ref.base, ref.variants, preset), ""
    with_preset = bool(preset or ref.preset)
    asked |= _added_by_valves(asked, ref, settings, context, with_preset, has_breakpoints)
    request: dict[str, Any] = {"model": ref.api_id, "stream": bool(body.get("stream"))}
    left_out += _place(request, asked, endpoint)
    _place_length(request, body, model, endpoint, left_out)
    if endpoint == "responses":
        instructions, request["input"] = responses_input(body.get("messages"))
        if instructions:
            request["instructions"] = instructions
    else:
        request["messages"] = chat_messages(body.get("messages"))
        if preset:
            request["preset"] = f"@preset/{preset}"
    return UpstreamRequest(endpoint, request, tuple(left_out))


def preset_field(value: object) -> str:
    """The slug in a `preset` field (`slug` or `@preset/slug`); empty when there is none."""
    slug = value.strip().removeprefix("@preset/") if isinstance(value, str) else ""
    return slug if is_preset_slug(slug) else ""


def pseudonym(secret: str, text: str) -> str:
    """A stable stand-in for an id that cannot be traced back to it (HMAC-SHA256, 32 hex digits)."""
    return hmac.new(secret.encode(), text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]


def _asked_parameters(body: Mapping[str, Any], model: Model | None) -> tuple[dict[str, Any], list[str]]:
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
        if value is None or (parameter.needs and supported and parameter.needs not in supported):
            left_out.append(parameter.name)
        else:
            asked[parameter.name] = value
    # Upstream refuses two statements about the effort: the more exact one counts.
    if "reasoning_effort" in asked and {"effort", "max_tokens"} & asked.get("reasoning", {}).keys():
        del asked["reasoning_effort"]
        left_out.append("reasoning_effort")
    return asked, left_out


def _endpoint(wanted: str, asked: Mapping[str, Any], preset: str, has_breakpoints: bool) -> Endpoint:
    fixed = _FIXED_ENDPOINTS.get(wanted)
    if fixed is not None:
        return fixed
    only_chat = any(not parameter.responses and parameter.name in asked for parameter in PARAMETERS)
    audio = "audio" in asked.get("modalities", ())
    return "chat_completions" if only_chat or preset or audio or has_breakpoints else "responses"


def _place(request: dict[str, Any], asked: Mapping[str, Any], endpoint: Endpoint) -> list[str]:
    """Put the parameters where the endpoint has them; the names of those it has no place for, or not for all of them."""
    left_out = []
    for parameter in PARAMETERS:
        if parameter.name not in asked:
            continue
        place = parameter.responses if endpoint == "responses" else parameter.chat
        value = asked[parameter.name]
        if not place or place == _NOT_NEEDED:
            left_out.append(parameter.name)
            continue
        adapt = _FOR_RESPONSES.get(parameter.name) if endpoint == "responses" else None
        if adapt is not None:
            value = adapt(value)
            if len(value) < len(asked[parameter.name]):
                left_out.append(parameter.name)
            if not value:
                continue
        outer, dot, inner = place.partition(".")
        request[outer] = {**request.get(outer, {}), inner: value} if dot else value
    return left_out


def _place_length(
    request: dict[str, Any], body: Mapping[str, Any], model: Model | None, endpoint: Endpoint, left_out: list[str]
) -> None:
    """`max_tokens` and `max_completion_tokens` are one thing: the name that the row lists is sent."""
    given = next((name for name in reversed(_LENGTHS) if body.get(name) is not None), None)
    if given is None:
        return
    supported = model.supported_parameters if model else frozenset()
    name = next((name for name in (given, *_LENGTHS) if not supported or name in supported), None)
    if name is None:
        left_out.append(given)
    else:
        request["max_output_tokens" if endpoint == "responses" else name] = body[given]


def _added_by_valves(
    asked: Mapping[str, Any],
    ref: ModelRef,
    settings: Settings,
    context: ChatContext,
    with_preset: bool,
    has_breakpoints: bool,
) -> dict[str, Any]:
    """What the valves add. A preset's own settings would be overridden, so with one only privacy and identity are sent."""
    added: dict[str, Any] = {}
    own = asked.get("provider")
    provider = {
        **({} if with_preset else settings.provider),
        **(own if isinstance(own, dict) else {}),
        **settings.privacy,
    }
    if provider:
        added["provider"] = provider
    if context.chat_id and "session_id" not in asked:
        added["session_id"] = pseudonym(context.secret, context.chat_id)
    if settings.send_user_id and context.user_id and "user" not in asked:
        added["user"] = pseudonym(context.secret, context.user_id)
    if with_preset:
        return added
    if settings.fallback_models and "models" not in asked:
        added["models"] = list(dict.fromkeys((ref.api_id, *settings.fallback_models)))
    anthropic = ref.base.startswith(("anthropic/", "~anthropic/"))
    if settings.prompt_caching and anthropic and not has_breakpoints and "cache_control" not in asked:
        added["cache_control"] = {"type": "ephemeral"}
    if settings.context_compression != "default":
        plugin = {"id": "context-compression", "enabled": settings.context_compression == "on"}
        plugins = asked.get("plugins")
        plugins = plugins if isinstance(plugins, list) else []
        if not any(isinstance(other, dict) and other.get("id") == plugin["id"] for other in plugins):
            added["plugins"] = [*plugins, plugin]
    return added


def _logit_bias(value: object) -> dict[str, float] | None:
    """Open WebUI hands it over as text, `50256:-100, 198:5`."""
    if isinstance(value, dict):
        return value or None
    bias: dict[str, float] = {}
    for pair in value.split(",") if isinstance(value, str) else ():
        token, _, number = pair.partition(":")
        if not pair.strip():
            continue
        try:
            bias[str(int(token))] = max(-100.0, min(100.0, float(number)))
        except ValueError:
            return None
    return bias or None


def _not_empty(value: object) -> object:
    """An empty list or text would be refused."""
    return value or None


def _object(value: object) -> object:
    return value if isinstance(value, dict) and value else None


def _list_of_texts(value: object) -> object:
    texts = [text for text in value if isinstance(text, str)] if isinstance(value, list) else None
    return texts or None


def _effort(value: object) -> object:
    """Open WebUI has a text field for it."""
    return (value.strip().lower() or None) if isinstance(value, str) else None


def _text_format(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """`response_format` as `text.format`: the same without the nesting of the schema."""
    schema = value.get("json_schema")
    return {"type": value.get("type"), **schema} if isinstance(schema, dict) else value


_CONVERTERS: dict[str, Callable[[object], object]] = {
    "logit_bias": _logit_bias,
    "stop": _not_empty,
    "provider": _object,
    "response_format": _object,
    "reasoning": _object,
    "reasoning_effort": _effort,
    "modalities": _list_of_texts,
}
# What /responses has in another shape, or only in part.
_FOR_RESPONSES: dict[str, Callable[[Any], Any]] = {
    "response_format": _text_format,
    "reasoning": lambda value: {key: setting for key, setting in value.items() if key != "exclude"},
    "modalities": lambda value: [kind for kind in value if kind != "audio"],
}
