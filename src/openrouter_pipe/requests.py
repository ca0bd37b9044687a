"""One chat's request: which endpoint, and the JSON body."""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

from .catalog import Model
from .codec import JsonDict, JsonObject, dicts, texts_in, without
from .direct_files import has_chat_audio
from .messages import chat_messages, has_cache_control, responses_input
from .model_ref import ModelRef
from .parameters import LENGTHS, Endpoint, left_out, needs_chat, place_parameters, read_parameters
from .problems import split_entries
from .reasoning import choose_reasoning
from .settings import Settings

ENDPOINT_PATHS: dict[Endpoint, str] = {"responses": "/responses", "chat_completions": "/chat/completions"}
# What a title does not need, and what would cost money or time.
_NOT_FOR_TASKS = ("tools", "plugins", "web_search_options", "modalities", "audio")
_COMPRESSION = "context-compression"
# Open WebUI gives its tasks few tokens (an emoji: 4); reasoning that cannot be switched off would use them up.
_TASK_REASONING_TOKENS = 2_000


class ChatContext(NamedTuple):
    """Who asks, where, and for which task of Open WebUI; empty when unknown. `secret` keys the pseudonyms."""

    chat_id: str = ""
    user_id: str = ""
    secret: str = ""
    task: str = ""

    def __repr__(self) -> str:
        return f"ChatContext({self.chat_id!r}, {self.user_id!r}, task={self.task!r})"


class UpstreamRequest(NamedTuple):
    """A request ready to be sent, what was left out of it, and what becomes of the answer."""

    endpoint: Endpoint
    body: JsonDict
    left_out: tuple[str, ...]
    model: Model
    shows_reasoning: bool
    is_task: bool


def build_request(
    body: JsonObject,
    ref: ModelRef,
    model: Model,
    settings: Settings,
    context: ChatContext,
    served_on: Endpoint | None = None,
) -> UpstreamRequest:
    """The request for what Open WebUI hands over (`body`, which stays as it is).

    `served_on`: the only endpoint that is known to serve it.
    """
    is_task, messages = bool(context.task), body.get("messages")
    if is_task:
        body = without(body, *_NOT_FOR_TASKS)
        # `:online` is a plugin in the form of a variant.
        ref = ref._replace(variants=tuple([tag for tag in ref.variants if tag != "online"]))
    asked = read_parameters(body, model)
    has_breakpoints = has_cache_control(messages)
    wants_chat = has_breakpoints or needs_chat(asked) or has_chat_audio(messages)
    fixed = served_on if settings.ENDPOINT == "auto" else settings.ENDPOINT
    endpoint: Endpoint = fixed or ("chat_completions" if wants_chat else "responses")
    with_preset = ref.preset is not None or "preset" in asked
    if ref.preset is not None:
        asked.pop("preset", None)
    elif "preset" in asked and endpoint == "responses":
        ref = ModelRef.from_api(ref.api_id + asked.pop("preset"))
    enabled, effort, provider = settings.ENABLE_REASONING, settings.REASONING_EFFORT, settings.provider
    if with_preset:
        # What the valves add would override the preset's own settings.
        enabled, effort, provider = True, "default", {}
    else:
        _add_by_valves(asked, ref, model, settings, has_breakpoints and endpoint == "chat_completions", is_task)
    ids = {"session_id": context.chat_id, "user": context.user_id if settings.SEND_USER_ID else ""}
    for name, text in ids.items():
        if text:
            asked.setdefault(name, pseudonym(context.secret, text))
    provider = {**provider, **asked.get("provider", {}), **settings.privacy}
    reasoning, shown, thinks = choose_reasoning(body, model, enabled, effort, least=is_task)
    asked |= {"provider": provider or None, "reasoning": reasoning}
    if not shown and asked.get("include_reasoning"):
        del asked["include_reasoning"]
    if is_task and thinks:
        asked |= {name: asked[name] + _TASK_REASONING_TOKENS for name in LENGTHS if isinstance(asked.get(name), int)}
    fields = place_parameters(asked, endpoint)
    conversation = _conversation(messages, endpoint, thinks)
    whole = {"model": ref.api_id, "stream": bool(body.get("stream")), **fields, **conversation}
    return UpstreamRequest(endpoint, whole, left_out(body, fields, endpoint), model, shown, is_task)


def pseudonym(secret: str, text: str) -> str:
    """A stable stand-in for an id, not to be traced back to it."""
    return hmac.new(secret.encode(), text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]


def _conversation(messages: object, endpoint: Endpoint, thinks: bool) -> JsonDict:
    if endpoint == "chat_completions":
        return {"messages": chat_messages(messages)}
    instructions, items = responses_input(messages)
    fields: JsonDict = {"input": items}
    if instructions:
        fields["instructions"] = instructions
    if thinks:
        # The endpoint is stateless: what the model needs to go on thinking comes back encrypted, and is handed in again.
        fields["include"] = ["reasoning.encrypted_content"]
    return fields


def _add_by_valves(
    asked: JsonDict,
    ref: ModelRef,
    model: Model,
    settings: Settings,
    has_breakpoints: bool,
    is_task: bool,
) -> None:
    """Add what the request does not say."""
    if fallbacks := split_entries(settings.FALLBACK_MODELS):
        asked.setdefault("models", list(dict.fromkeys((ref.api_id, *fallbacks))))
    if settings.PROMPT_CACHING and not has_breakpoints and ref.base.startswith(("anthropic/", "~anthropic/")):
        asked.setdefault("cache_control", {"type": "ephemeral"})
    if is_task:
        return
    # A model that paints does so only when asked; one that does nothing else is not in the catalog.
    # Source: OpenRouter docs, guides/overview/multimodal/image-generation.
    if not model.is_router and "image" in model.output_modalities:
        asked.setdefault("modalities", ["image", "text"])
    plugins = dicts(asked.get("plugins"))
    if settings.CONTEXT_COMPRESSION != "default" and _COMPRESSION not in texts_in(plugins, "id"):
        asked["plugins"] = [*plugins, {"id": _COMPRESSION, "enabled": settings.CONTEXT_COMPRESSION == "on"}]
