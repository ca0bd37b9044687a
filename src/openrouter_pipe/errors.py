"""What goes wrong, and the one line that a person reads.

PipeError                   its text is the line
├── SettingsError           a valve stands in the way
├── ConnectionFailedError   nothing came back: unreachable host, time-out
├── UpstreamError           OpenRouter or a provider refused, with a `Failure`
└── BrokenAnswerError       the answer stopped before its end, or had nothing in it
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .catalog import one_line
from .codec import parse_json

_MAX_LENGTH = 500
_SECRETS = re.compile(r"\bsk-[\w-]{6,}|\bBearer\s+\S+", re.IGNORECASE)
_MAX_BODY = 1_000_000


class PipeError(Exception):
    """An error whose text is the line that a person reads: what happened, who said it, what to do."""

    def __init__(self, sentence: str) -> None:
        super().__init__(plain(sentence))


class SettingsError(PipeError):
    """A valve stands in the way of the chat."""


class ConnectionFailedError(PipeError):
    """The upstream could not be reached, or stayed silent for too long."""


class BrokenAnswerError(PipeError):
    """The answer stopped before its end, or there was none."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as the upstream told it. `status` is the HTTP status or the error's own code; 0 when neither is a number."""

    status: int = 0
    message: str = ""
    reason: str = ""
    provider: str = ""
    availability: str = ""
    fallback_models: tuple[str, ...] = ()


class UpstreamError(PipeError):
    """OpenRouter or a provider refused, before the answer or in the middle of it."""

    def __init__(self, failure: Failure, model_id: str) -> None:
        super().__init__(sentence(failure, model_id))
        self.failure = failure


# Status → (what happened, what to do). `{who}` is the provider or OpenRouter, `{model}` the model asked for.
_SENTENCES: dict[int, tuple[str, str]] = {
    400: ("{who} did not accept the request for {model}", ""),
    401: ("{who} did not accept the API key", "Check the valve API_KEY."),
    402: ("The OpenRouter account or key has no credit left", "Add credits or raise the key's limit on openrouter.ai."),
    403: ("{who} refused the request for {model}", ""),
    404: ("{who} has no endpoint for {model}", "Choose another model, or check privacy and routing settings."),
    408: ("{who} took too long", "Try again."),
    413: ("The conversation is too large for {model}", "Start a new chat or remove files."),
    422: ("{who} could not process the request for {model}", ""),
    429: ("{who} is rate-limiting {model}", "Try again in a moment, or choose another model."),
    500: ("{who} had an internal error", "Try again."),
    502: ("{who} gave no valid answer for {model}", "Try again, or choose another model."),
    503: ("No provider is available for {model}", "Try again later, or choose another model."),
    504: ("{who} took too long for {model}", "Try again, or choose another model."),
    524: ("{who} took too long for {model}", "Try again, or choose another model."),
    529: ("{who} is overloaded", "Try again in a moment, or choose another model."),
}
_OTHER = ("{who} reported an error for {model}", "")


def read_failure(status: int, body: object) -> Failure:
    """The error in a response body (bytes), an event or an `error` object, in any of the shapes that occur.

    Source: OpenRouter docs, api_reference/errors-and-debugging. `code` may be a number or text, `metadata.raw` JSON or text.
    """
    if isinstance(body, (bytes, bytearray)):
        body = _parse_body(bytes(body[:_MAX_BODY]))
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return Failure(status, message=one_line(error))
    metadata = _mapping(error.get("metadata"))
    availability = _mapping(error.get("availability"))
    message = one_line(error.get("message"))
    reason = _raw_reason(metadata.get("raw")) or _moderation_reasons(metadata)
    code = error.get("code", availability.get("http_status"))
    return Failure(
        status=status if status >= 400 else _status_of(code),
        message=message,
        reason="" if reason == message else reason,
        provider=one_line(metadata.get("provider_name")),
        availability=one_line(availability.get("code") or availability.get("error_type")),
        fallback_models=tuple(model for model in _list(availability.get("fallback_models")) if isinstance(model, str)),
    )


def sentence(failure: Failure, model_id: str) -> str:
    """The line for a failure: what happened, who said it, why, and what to do."""
    happened, advice = _SENTENCES.get(failure.status, _OTHER)
    if failure.availability == "model_not_found":
        happened, advice = "{who} does not know the model {model}", "Choose another model."
    said = ": ".join(part for part in (failure.message, failure.reason) if part)
    if failure.fallback_models:
        advice = f"Try {' or '.join(failure.fallback_models[:3])}."
    line = happened.format(who=failure.provider or "OpenRouter", model=model_id)
    if failure.status and failure.status not in _SENTENCES:
        line = f"{line} ({failure.status})"
    line = f"{line}: {said.rstrip('.')}." if said else f"{line}."
    # What was said is the part that may be long: the advice has to survive the cut.
    room = _MAX_LENGTH - len(advice) - 1
    line = line if len(line) <= room else f"{line[: room - 1]}…"
    return f"{line} {advice}".strip()


def plain(text: str) -> str:
    """One line of at most 500 characters, without anything that looks like a key."""
    line = " ".join(_SECRETS.sub("…", text).split())
    return line if len(line) <= _MAX_LENGTH else f"{line[: _MAX_LENGTH - 1]}…"


def _parse_body(body: bytes) -> object:
    try:
        return parse_json(body)
    except ValueError:
        text = body[:2000].decode("utf-8", "replace")
        if "<" in text and ">" in text:
            title = re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
            return f"a web page instead of an answer{f' ({title[1]})' if title else ''}"
        return text


def _raw_reason(raw: object) -> str:
    """The provider's own reason: `metadata.raw` is text, often JSON with the message somewhere inside."""
    if isinstance(raw, str):
        try:
            raw = parse_json(raw)
        except ValueError:
            return one_line(raw)
    while isinstance(raw, dict):
        inner = raw.get("error") or raw.get("message") or raw.get("detail")
        if inner is None or inner is raw:
            return ""
        raw = inner
    return one_line(raw)


def _moderation_reasons(metadata: Mapping[str, Any]) -> str:
    return ", ".join(reason for reason in _list(metadata.get("reasons")) if isinstance(reason, str))


def _status_of(code: object) -> int:
    try:
        return int(str(code)[:6])
    except ValueError:
        return {"rate_limit_exceeded": 429, "server_error": 500, "invalid_api_key": 401}.get(str(code), 0)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
