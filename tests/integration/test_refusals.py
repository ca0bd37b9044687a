"""Every error that upstream can tell of, wherever it can tell it: before the answer, inside it, or instead of it.

What a person reads is the same line at each of the `PLACES`, and in whichever of the `FORMS` the status is told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from integration.chats import ask

from openrouter_pipe.pipe import Pipe
from openrouter_sandbox import Rule, Sandbox

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("nothing_is_left_behind")]

FIXTURES = Path(__file__).resolve().parents[2].parent / "shared" / "fixtures" / "openapi_examples"
MODEL = "openai/gpt-4o"
Json = dict[str, Any]
# An error and what stands beside it → the event, or the body, that tells of it.
Shape = Callable[[Json, Json], Json]


# --- Where an error can stand


def chunk(finish: str | None, **delta: str) -> Json:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


EVENTS: dict[str, dict[str, Shape]] = {
    "chat_completions": {
        "finish_reason error": lambda error, beside: {**chunk("error", content=""), "error": error, **beside},
        "finish_reason null": lambda error, beside: {**chunk(None), "error": error, **beside},
        "no choices": lambda error, beside: {"choices": [], "error": error, **beside},
        "bare": lambda error, beside: {"error": error, **beside},
    },
    "responses": {
        "failed": lambda error, beside: {
            "type": "response.failed",
            "response": {"status": "failed", "output": [], "error": error, **beside},
        },
        "flat": lambda error, beside: {"type": "error", "param": None, "sequence_number": 2, **error, **beside},
        "nested": lambda error, beside: {"type": "error", "error": error, **beside},
        "response.error": lambda error, beside: {"type": "response.error", "error": error, **beside},
        "bare": lambda error, beside: {"error": error, **beside},
    },
}
INSTEAD: dict[str, Shape] = {
    "chat_completions": lambda error, beside: {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "error"}],
        "error": error,
        **beside,
    },
    "responses": lambda error, beside: {"status": "failed", "output": [], "error": error, **beside},
}
WORD: dict[str, Json] = {
    "chat_completions": chunk(None, content="Half"),
    "responses": {"type": "response.output_text.delta", "output_index": 0, "delta": "Half"},
}


def events(*items: Json) -> Rule:
    return Rule(events=[*(f"data: {json.dumps(item)}\n\n" for item in items), "data: [DONE]\n\n"])


def rule_at(endpoint: str, place: str, status: int, error: Json, beside: Json) -> Rule:
    """The rule of the sandbox that makes this error be told there."""
    kind, _, name = place.partition(", ")
    if kind == "status":
        return Rule(status=status, body={"error": error, **beside})
    if kind == "200":
        return Rule(status=200, body={"error": error, **beside})
    if kind == "instead":
        return Rule(status=200, body=INSTEAD[endpoint](error, beside))
    told = EVENTS[endpoint][name](error, beside)
    return events(told) if kind == "first" else events(WORD[endpoint], told)


PLACES = [
    (endpoint, place)
    for endpoint, names in EVENTS.items()
    for place in (
        *(f"{kind}, {how}" for kind in ("status", "200", "instead") for how in ("stream", "whole")),
        *(f"{kind}, {name}" for kind in ("first", "after a word") for name in names),
    )
]
each_place = pytest.mark.parametrize(("endpoint", "place"), PLACES)
Seen = tuple[str, list[str], str | None]


async def seen(pipe: Pipe, sandbox: Sandbox, rule: Rule, place: str) -> Seen:
    """What a person sees of such an answer."""
    sandbox.rules[:] = [rule]
    told = await ask(pipe, streaming=not place.endswith("whole"))
    return told.text, told.errors, told.finish_reason


def one_error(place: str, line: str) -> Seen:
    """The word that came before, and the error, once."""
    return "Half" if place.startswith("after a word") else "", [line], None


# --- Each status, in each form

AGAIN = "Try again in a moment, or choose another model."
ANOTHER = "Choose another model."
LONGER = "Start a new chat, remove files, or choose a model with a longer context."
REPHRASE = "Rephrase the message, or choose another model."
SETTINGS = "Check the chat's parameters, or choose another model."
# Status → OpenRouter's own message for it, its name as an `error_type`, and the line.
STATUSES: dict[int, tuple[str, str, str]] = {
    400: (
        "Invalid request parameters",
        "invalid_request",
        f"OpenRouter did not accept the request for {MODEL}: {{}}. {SETTINGS}",
    ),
    401: (
        "Missing Authentication header",
        "authentication",
        "OpenRouter did not accept the API key: {}. Check the valve API_KEY.",
    ),
    402: (
        "Insufficient credits. Add more using https://openrouter.ai/credits",
        "payment_required",
        "The OpenRouter account or key has no credit left: {}. Add credits or raise the key's limit on openrouter.ai.",
    ),
    403: (
        "Only management keys can perform this operation",
        "permission_denied",
        f"OpenRouter refused the request for {MODEL}: {{}}. {REPHRASE}",
    ),
    404: (
        "Resource not found",
        "not_found",
        f"OpenRouter has no endpoint for {MODEL}: {{}}. Choose another model, or check privacy and routing settings.",
    ),
    408: (
        "Operation timed out. Please try again later",
        "timeout",
        f"OpenRouter took too long for {MODEL}: {{}}. {AGAIN}",
    ),
    413: (
        "Request payload too large",
        "payload_too_large",
        f"The conversation is too long for {MODEL}: {{}}. {LONGER}",
    ),
    418: ("I'm a teapot", "", f"OpenRouter reported an error for {MODEL} (418): {{}}. {AGAIN}"),
    422: ("Invalid argument", "unprocessable", f"OpenRouter did not accept the request for {MODEL}: {{}}. {SETTINGS}"),
    429: ("Rate limit exceeded", "rate_limit_exceeded", f"OpenRouter is rate-limiting {MODEL}: {{}}. {AGAIN}"),
    500: ("Internal Server Error", "server", f"OpenRouter had an internal error with {MODEL}: {{}}. {AGAIN}"),
    502: (
        "Provider returned error",
        "provider_unavailable",
        f"OpenRouter gave no valid answer for {MODEL}: {{}}. {AGAIN}",
    ),
    503: ("Service temporarily unavailable", "", f"No provider is available for {MODEL}: {{}}. {AGAIN}"),
    504: ("Gateway Timeout", "", f"OpenRouter took too long for {MODEL}: {{}}. {AGAIN}"),
    524: ("Request timed out. Please try again later", "", f"OpenRouter took too long for {MODEL}: {{}}. {AGAIN}"),
    529: (
        "Provider returned error",
        "provider_overloaded",
        f"OpenRouter is overloaded and cannot answer for {MODEL}: {{}}. {AGAIN}",
    ),
}
# What of a status and its name stands in the error, and what beside it.
FORMS: dict[str, Callable[[int, str], tuple[Json, Json]]] = {
    "number": lambda status, name: ({"code": status}, {}),
    "text": lambda status, name: ({"code": str(status)}, {}),
    "name": lambda status, name: ({"code": name}, {}),
    "error_type beside": lambda status, name: ({"code": "server_error"}, {"error_type": name}),
    "error_type within": lambda status, name: ({"code": "server_error", "metadata": {"error_type": name}}, {}),
}
ALL_FORMS = [
    (endpoint, place, form)
    for endpoint, place in PLACES
    for form in FORMS
    # Only /responses has it beside the error, and its flat event has a code and a message only.
    if not (form == "error_type beside" and endpoint != "responses")
    and not (form == "error_type within" and place.endswith("flat"))
]


@pytest.mark.parametrize(("endpoint", "place", "form"), ALL_FORMS)
async def test_each_status(pipe: Pipe, sandbox: Sandbox, endpoint: str, place: str, form: str) -> None:
    lines, expected = {}, {}
    for status, (message, name, line) in STATUSES.items():
        if name or form in ("number", "text"):
            error, beside = FORMS[form](status, name)
            rule = rule_at(endpoint, place, status, {**error, "message": message}, beside)
            lines[status] = await seen(pipe, sandbox, rule, place)
            expected[status] = one_error(place, line.format(message))
    assert lines == expected


# --- Each shape

SAID = "No luck"


def line_of(status: int, said: str = SAID) -> str:
    return STATUSES[status][2].format(said)


def unavailable(status: int, code: str, line: str, **more: Any) -> tuple[int, Json, str]:
    told = {"code": code, "retryable": False, "requested_models": [MODEL], "docs_url": "https://openrouter.ai/docs"}
    return status, {"availability": {**told, **more}}, line


# A status, what the error has beside code and message, and the line.
SHAPES: dict[str, tuple[int, Json, str]] = {
    **{
        code: unavailable(status, code, f"{happened}: {SAID}. {advice}")
        for status, code, happened, advice in (
            (400, "model_not_found", f"OpenRouter does not know the model {MODEL}", ANOTHER),
            (
                400,
                "wrong_endpoint",
                f"{MODEL} is not served on this endpoint",
                f"Set the valve ENDPOINT to auto. {ANOTHER}",
            ),
            (404, "model_deprecated", f"{MODEL} is not offered now", ANOTHER),
            (404, "model_unavailable_upstream", f"{MODEL} is not offered now", ANOTHER),
            (403, "region_restricted", f"{MODEL} is not offered now", ANOTHER),
            (404, "free_variant_ended", f"{MODEL} is not offered now", ANOTHER),
            (
                404,
                "privacy_restricted",
                f"The privacy settings leave no provider for {MODEL}",
                "Choose another model, or check the valve DATA_COLLECTION and openrouter.ai/settings/privacy.",
            ),
        )
    },
    "no_endpoints": unavailable(404, "no_endpoints", line_of(404)),
    "fallbacks": unavailable(
        404,
        "no_endpoints",
        f"OpenRouter has no endpoint for {MODEL}: {SAID}. Try a/b or c/d.",
        fallback_models=["a/b", "c/d"],
    ),
    "capacity_exhausted": unavailable(
        429,
        "capacity_exhausted",
        f"OpenRouter is overloaded and cannot answer for {MODEL}: {SAID}. Try again in 20 s, or choose another model.",
        retryable=True,
        retry_after=20,
    ),
    "temporarily_unavailable": unavailable(503, "temporarily_unavailable", line_of(503), retryable=True),
    "constraint_filtered": unavailable(
        404,
        "constraint_filtered",
        f"The routing settings leave no provider for {MODEL}: {SAID}: only azure. "
        "Choose another model, or check the chat's parameters and the PROVIDER valves.",
        constraint={"field": "provider.only", "detail": "only azure"},
        excluded_by=["provider.only"],
        affected_providers=["openai"],
    ),
    "an unknown code": unavailable(404, "moved_to_mars", line_of(404)),
    "as the documentation's examples name it": (
        404,
        {"code": None, "availability": {"error_type": "moved_to_mars", "http_status": 404, "retryable": False}},
        line_of(404),
    ),
    "moderation": (
        403,
        {
            "metadata": {
                "reasons": ["violence", "harassment"],
                "flagged_input": "what the person wrote",
                "provider_name": "OpenAI",
                "model_slug": MODEL,
            }
        },
        f"OpenAI refused the request for {MODEL}: {SAID}: violence, harassment. {REPHRASE}",
    ),
    "guardrail": (
        403,
        {"metadata": {"patterns": ["ignore all previous instructions"]}},
        line_of(403, f"{SAID}: ignore all previous instructions"),
    ),
    **{
        f"raw {name}": (
            429,
            {"metadata": {"provider_name": "Fireworks", "raw": raw, "is_byok": False, "provider_code": "slow"}},
            f"Fireworks is rate-limiting {MODEL}: {SAID}: Slow down. {AGAIN}",
        )
        for name, raw in {
            "text": "Slow down",
            "JSON": '{"error": {"message": "Slow down", "type": "rate_limit_error"}}',
            "object": {"error": {"message": "Slow down"}},
        }.items()
    },
    **{
        kind: (400, {"metadata": {"error_type": kind}}, line_of(413))
        for kind in ("context_length_exceeded", "token_limit_exceeded", "max_tokens_exceeded", "string_too_long")
    },
    "a number that fits better than the name": (400, {"metadata": {"error_type": "image_too_large"}}, line_of(400)),
}


@pytest.mark.parametrize(("endpoint", "place"), [at for at in PLACES if not at[1].endswith("flat")])
async def test_each_shape(pipe: Pipe, sandbox: Sandbox, endpoint: str, place: str) -> None:
    lines, expected = {}, {}
    for shape, (status, more, line) in SHAPES.items():
        rule = rule_at(endpoint, place, status, {"code": status, "message": SAID, **more}, {})
        lines[shape], expected[shape] = await seen(pipe, sandbox, rule, place), one_error(place, line)
    assert lines == expected


# --- The published examples, where they are

needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="../shared/fixtures is not here")


@needs_fixtures
@each_place
async def test_each_published_error(pipe: Pipe, sandbox: Sandbox, endpoint: str, place: str) -> None:
    lines, expected = {}, {}
    for path in sorted(FIXTURES.glob(f"post_{endpoint}.*.json")):
        published = json.loads(path.read_bytes())
        error = published.pop("error", None)
        patterns = (error or {}).get("metadata", {}).get("patterns", [])
        if re.search(r"\.[45]\d\d\.", path.name) and not (patterns and place.endswith("flat")):
            rule = rule_at(endpoint, place, error["code"], error, published)
            lines[path.name] = await seen(pipe, sandbox, rule, place)
            said = ": ".join([error["message"].rstrip("."), *patterns])
            expected[path.name] = one_error(place, line_of(error["code"], said))
    assert lines == expected
    assert len(lines) >= 14


@needs_fixtures
@pytest.mark.parametrize("endpoint", ["responses"])
@pytest.mark.parametrize("place", ["first", "after a word"])
@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("error", line_of(429, "Rate limit exceeded. Please try again later")),
        ("response.failed", f"OpenRouter reported an error for {MODEL}. {AGAIN}"),
    ],
)
async def test_each_published_event(
    pipe: Pipe, sandbox: Sandbox, endpoint: str, place: str, name: str, line: str
) -> None:
    published = json.loads((FIXTURES / f"event.{name}.json").read_bytes())
    rule = events(published) if place == "first" else events(WORD[endpoint], published)
    assert await seen(pipe, sandbox, rule, place) == one_error(place, line)
