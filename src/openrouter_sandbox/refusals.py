"""What OpenRouter refuses beyond the shape of a body."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openrouter_sandbox.errors import ApiError, unavailable
from openrouter_sandbox.names import Row
from openrouter_sandbox.reading import Conversation

Body = dict[str, Any]

CHARACTERS_PER_TOKEN = 4
# Output modalities with an endpoint of their own; page "Errors and Debugging", `wrong_endpoint`.
OTHER_ENDPOINTS = {
    "embeddings": "/api/v1/embeddings",
    "rerank": "/api/v1/rerank",
    "speech": "/api/v1/audio/speech",
    "transcription": "/api/v1/audio/transcriptions",
    "video": "/api/v1/videos",
}
# File parsing makes documents work on every model; these three need a model that takes them.
NEEDED_INPUTS = ("image", "audio", "video")
# Authors whose models here have no endpoint with zero data retention.
NO_ZDR = ("deepseek/", "inflection/", "moonshotai/", "tngtech/")


def tokens(characters: int) -> int:
    """The sandbox's token: four characters, rounded up."""
    return -(-characters // CHARACTERS_PER_TOKEN)


def check_body(body: Body) -> None:
    """Refusals that need no catalog."""
    if not body.get("messages") and not body.get("input"):
        raise ApiError(400, "Invalid input at 'input': required")
    if body.get("previous_response_id") is not None:
        raise ApiError(400, "Invalid input at 'previous_response_id': the Responses API is stateless")
    reasoning = body.get("reasoning") or {}
    effort = reasoning.get("effort")
    if effort is not None and reasoning.get("max_tokens") is not None:
        raise ApiError(400, 'Only one of "reasoning.effort" and "reasoning.max_tokens" may be specified')
    flat = body.get("reasoning_effort")
    if effort is not None and flat is not None and effort != flat:
        raise ApiError(400, 'Conflicting values of "reasoning_effort" and "reasoning.effort"')


def check_tool_pairs(conversation: Conversation) -> None:
    """Every tool result answers a call before it and every call has its result, or the provider refuses.

    OpenRouter passes such conversations on; the texts are OpenAI's.
    """
    called, answered = conversation.tool_calls, conversation.tool_results
    for call_id in answered:
        if call_id not in called:
            raw = f"No tool call found for function call output with call_id {call_id}."
            raise ApiError(400, "Provider returned error", raw=raw)
    for call_id in called:
        if call_id not in answered:
            raise ApiError(400, "Provider returned error", raw=f"No tool output found for function call {call_id}.")


def modalities(row: Row, direction: str) -> list[str]:
    """`input_modalities` or `output_modalities` of a row; one that says nothing handles text."""
    return (row.get("architecture") or {}).get(direction) or ["text"]


def check_model(row: Row, parameters: Body, conversation: Conversation) -> None:
    """Refusals of one model; `parameters` with the preset's under the request's own."""
    for check in MODEL_CHECKS:
        check(row, parameters, conversation)


def text_endpoint(row: Row, parameters: Body, conversation: Conversation) -> None:
    outputs = modalities(row, "output_modalities")
    if {"text", "image"} & set(outputs):
        return
    path = OTHER_ENDPOINTS.get(outputs[0], "another endpoint")
    message = f"{row['id']} is not a text generation model. Use {path} instead."
    raise unavailable(400, message, code="wrong_endpoint", requested=[row["id"]])


def tool_support(row: Row, parameters: Body, conversation: Conversation) -> None:
    supported = row.get("supported_parameters")
    # An empty list says nothing: routers have one and pass tools on.
    if parameters.get("tools") and supported and "tools" not in supported:
        raise ApiError(404, "No endpoints found that support tool use. Try another model, or leave the tools out.")


def input_support(row: Row, parameters: Body, conversation: Conversation) -> None:
    accepted = modalities(row, "input_modalities")
    for kind, _ in conversation.attachments:
        if kind in NEEDED_INPUTS and kind not in accepted:
            raise ApiError(404, f"No endpoints found that support {kind} input")


def output_support(row: Row, parameters: Body, conversation: Conversation) -> None:
    wanted = parameters.get("modalities") or []
    if not set(wanted) <= set(modalities(row, "output_modalities")):
        raise ApiError(404, f"No endpoints found that support the requested output modalities: {', '.join(wanted)}")


def has_zdr(row: Row) -> bool:
    """Whether an endpoint with zero data retention serves a row. The catalog's rows do not tell; `?zdr=true` does."""
    return not row["id"].startswith(NO_ZDR)


def zero_data_retention(row: Row, parameters: Body, conversation: Conversation) -> None:
    if (parameters.get("provider") or {}).get("zdr") and not has_zdr(row):
        message = (
            f"No endpoints available for {row['id']} matching your guardrail restrictions and data policy "
            "(zero data retention). Configure: https://openrouter.ai/settings/privacy"
        )
        raise unavailable(404, message, code="privacy_restricted", requested=[row["id"]])


def reasoning_off(row: Row, parameters: Body, conversation: Conversation) -> None:
    reasoning = parameters.get("reasoning") or {}
    off = (reasoning.get("effort") or parameters.get("reasoning_effort")) == "none" or reasoning.get("enabled") is False
    # `~author/family-latest` maps "none" to something its target can do instead of refusing it.
    if off and (row.get("reasoning") or {}).get("mandatory") and not row["id"].startswith("~"):
        raise ApiError(400, "Reasoning is mandatory for this endpoint and cannot be disabled.")


def context_length(row: Row, parameters: Body, conversation: Conversation) -> None:
    limit, asked = row.get("context_length"), tokens(conversation.characters)
    if limit and asked > limit:
        raise ApiError(
            400,
            f"This endpoint's maximum context length is {limit} tokens. However, you requested about {asked} tokens. "
            "Please reduce the length of the input, or use the context-compression plugin.",
        )


MODEL_CHECKS: tuple[Callable[[Row, Body, Conversation], None], ...] = (
    text_endpoint,
    tool_support,
    input_support,
    output_support,
    zero_data_retention,
    reasoning_off,
    context_length,
)
