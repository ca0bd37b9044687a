"""One chat's request: which endpoint, and the JSON body."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, NamedTuple

from .catalog import Model
from .codec import mapping
from .direct_files import has_chat_audio
from .messages import chat_messages, has_cache_control, responses_input
from .model_ref import ModelRef, is_preset_slug
from .parameters import Endpoint, needs_chat, place_length, place_parameters, read_parameters
from .problems import split_entries
from .reasoning import ReasoningRequest, choose_reasoning
from .settings import Settings
from .tools import chat_tool_choice, chat_tools, responses_tool_choice, responses_tools

ENDPOINT_PATHS: dict[Endpoint, str] = {"responses": "/responses", "chat_completions": "/chat/completions"}
_FIXED_ENDPOINTS: dict[str, Endpoint] = {"responses": "responses", "chat_completions": "chat_completions"}
# What a title or a list of tags does not need, and what would cost money or time.
_NOT_FOR_TASKS = (
    *("tools", "tool_choice", "parallel_tool_calls", "max_tool_calls", "stop_server_tools_when"),
    *("plugins", "web_search_options", "modalities", "image_config", "audio", "include_reasoning"),
)
# `:online` is a plugin in the form of a variant.
_SEARCHING_VARIANT = "online"
# Open WebUI gives its tasks few tokens (an emoji: 4); reasoning that cannot be switched off would use them up.
_TASK_REASONING_TOKENS = 2_000


class ChatContext(NamedTuple):
    """Who asks, in which chat, and for which task of Open WebUI; empty when unknown. `secret` keys the pseudonyms."""

    chat_id: str = ""
    user_id: str = ""
    secret: str = ""
    task: str = ""


class UpstreamRequest(NamedTuple):
    """A request ready to be sent, the names of what was left out, the row of its model, and what becomes of the answer."""

    endpoint: Endpoint
    body: dict[str, Any]
    left_out: tuple[str, ...]
    model: Model | None = None
    shows_reasoning: bool = True
    is_task: bool = False


def build_request(
    body: Mapping[str, Any],
    ref: ModelRef,
    model: Model | None,
    settings: Settings,
    context: ChatContext,
    served_on: Endpoint | None = None,
) -> UpstreamRequest:
    """The request for one chat. `body` is what Open WebUI hands over and stays as it is; `model` None means unknown.

    `served_on`: the only endpoint that is known to serve the model.
    """
    if context.task:
        body, ref = _for_task(body, ref)
    asked, left_out = read_parameters(body, model)
    preset = preset_field(body.get("preset"))
    has_breakpoints = has_cache_control(body.get("messages"))
    fixed = _FIXED_ENDPOINTS.get(settings.ENDPOINT)
    wants_chat = needs_chat(asked) or bool(preset) or has_breakpoints or has_chat_audio(body.get("messages"))
    endpoint: Endpoint = fixed or served_on or ("chat_completions" if wants_chat else "responses")
    if endpoint == "responses" and has_breakpoints:
        left_out.append("cache_control in messages")
        has_breakpoints = False
    if ref.preset is not None and preset:
        left_out += ["preset"] if preset != ref.preset else []
        preset = ""
    elif endpoint == "responses" and preset:
        ref, preset = ModelRef(ref.base, ref.variants, preset), ""
    with_preset = bool(preset or ref.preset)
    reasoning = _reasoning(body, model, settings, endpoint, with_preset, bool(context.task))
    left_out += _place_reasoning(asked, body, reasoning)
    asked |= _added_by_valves(asked, ref, settings, context, with_preset, has_breakpoints)
    asked |= _image_output(asked, model, with_preset or bool(context.task))
    left_out += _adapt_tools(asked, endpoint)
    fields, nowhere = place_parameters(asked, endpoint)
    request = {"model": ref.api_id, "stream": bool(body.get("stream")), **fields}
    left_out += nowhere
    name, length = place_length(body, model, endpoint)
    if name:
        needed = context.task and reasoning.expected and isinstance(length, int)
        request[name] = length + _TASK_REASONING_TOKENS if needed else length
    elif length is not None:
        left_out.append("max_tokens")
    if endpoint == "responses":
        request |= _responses_conversation(body.get("messages"), reasoning)
    else:
        request["messages"] = chat_messages(body.get("messages"))
        request |= {"preset": f"@preset/{preset}"} if preset else {}
    return UpstreamRequest(endpoint, request, tuple(left_out), model, reasoning.shown, bool(context.task))


def preset_field(value: object) -> str:
    """The slug in a `preset` field (`slug` or `@preset/slug`); empty when there is none."""
    slug = value.strip().removeprefix("@preset/") if isinstance(value, str) else ""
    return slug if is_preset_slug(slug) else ""


def pseudonym(secret: str, text: str) -> str:
    """A stable stand-in for an id that cannot be traced back to it (HMAC-SHA256, 32 hex digits)."""
    return hmac.new(secret.encode(), text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]


def _responses_conversation(messages: object, reasoning: ReasoningRequest) -> dict[str, Any]:
    instructions, items = responses_input(messages)
    conversation: dict[str, Any] = {"input": items}
    if instructions:
        conversation["instructions"] = instructions
    if reasoning.expected:
        # The endpoint is stateless: what the model needs to go on thinking comes back encrypted, and is handed in again.
        conversation["include"] = ["reasoning.encrypted_content"]
    return conversation


def _for_task(body: Mapping[str, Any], ref: ModelRef) -> tuple[dict[str, Any], ModelRef]:
    """The request and the model without what a task does not need."""
    variants = tuple(tag for tag in ref.variants if tag != _SEARCHING_VARIANT)
    return {key: value for key, value in body.items() if key not in _NOT_FOR_TASKS}, ref._replace(variants=variants)


def _reasoning(
    body: Mapping[str, Any],
    model: Model | None,
    settings: Settings,
    endpoint: Endpoint,
    with_preset: bool,
    is_task: bool,
) -> ReasoningRequest:
    request = choose_reasoning(
        body,
        model,
        enabled=settings.ENABLE_REASONING or with_preset,
        default_effort="default" if with_preset else settings.REASONING_EFFORT,
        least=is_task,
    )
    if request.parameters and endpoint == "responses":
        # Here it is sent, and then not shown.
        kept = {key: value for key, value in request.parameters.items() if key != "exclude"}
        return request._replace(parameters=kept or None)
    return request


def _place_reasoning(asked: dict[str, Any], body: Mapping[str, Any], reasoning: ReasoningRequest) -> list[str]:
    """Put the reasoning to be asked for into `asked`; returns the names of what is left out."""
    asked.pop("reasoning", None)
    if not reasoning.shown and asked.get("include_reasoning"):
        del asked["include_reasoning"]
    if reasoning.parameters:
        asked["reasoning"] = reasoning.parameters
    elif reasoning.shown:
        return [key for key in ("reasoning", "reasoning_effort") if body.get(key) is not None]
    return []


def _adapt_tools(asked: dict[str, Any], endpoint: Endpoint) -> list[str]:
    """Give the tools the shape of the endpoint; without a tool there is nothing to choose from."""
    on_chat = endpoint == "chat_completions"
    tools, left_out = chat_tools(asked.get("tools")) if on_chat else responses_tools(asked.get("tools"))
    if tools:
        asked["tools"] = tools
        if "tool_choice" in asked:
            choice = (chat_tool_choice if on_chat else responses_tool_choice)(asked.pop("tool_choice"))
            asked |= {"tool_choice": choice} if choice else {}
            left_out += [] if choice else ["tool_choice"]
    else:
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            asked.pop(name, None)
    return left_out


def _image_output(asked: Mapping[str, Any], model: Model | None, not_wanted: bool) -> dict[str, Any]:
    """A model that paints does so only when asked; one that does nothing else is not in the catalog.

    Source: OpenRouter docs, guides/overview/multimodal/image-generation.
    """
    if not_wanted or model is None or model.is_router or "modalities" in asked:
        return {}
    return {"modalities": ["image", "text"]} if "image" in model.output_modalities else {}


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
    provider = {
        **({} if with_preset else settings.provider),
        **mapping(asked.get("provider")),
        **settings.privacy,
    }
    if provider:
        added["provider"] = provider
    if context.chat_id and "session_id" not in asked:
        added["session_id"] = pseudonym(context.secret, context.chat_id)
    if settings.SEND_USER_ID and context.user_id and "user" not in asked:
        added["user"] = pseudonym(context.secret, context.user_id)
    if with_preset:
        return added
    fallbacks, _ = split_entries("", settings.FALLBACK_MODELS)
    if fallbacks and "models" not in asked:
        added["models"] = list(dict.fromkeys((ref.api_id, *fallbacks)))
    anthropic = ref.base.startswith(("anthropic/", "~anthropic/"))
    if settings.PROMPT_CACHING and anthropic and not has_breakpoints and "cache_control" not in asked:
        added["cache_control"] = {"type": "ephemeral"}
    if settings.CONTEXT_COMPRESSION != "default" and not context.task:
        plugin = {"id": "context-compression", "enabled": settings.CONTEXT_COMPRESSION == "on"}
        plugins = asked.get("plugins")
        plugins = plugins if isinstance(plugins, list) else []
        if not any(isinstance(other, dict) and other.get("id") == plugin["id"] for other in plugins):
            added["plugins"] = [*plugins, plugin]
    return added
