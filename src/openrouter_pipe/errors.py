"""What goes wrong, and the one line that a person reads.

PipeError                   its text is the line
├── SettingsError           a valve stands in the way
├── ConnectionFailedError   nothing came back: unreachable host, time-out
├── UpstreamError           OpenRouter or a provider refused, with a `Failure`
└── BrokenAnswerError       the answer stopped before its end, or had nothing in it
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from .catalog import one_line
from .codec import mapping, parse_json, texts

_MAX_LENGTH = 500
# What looks like a key by itself (of OpenRouter, of providers, in a header, a JSON web token), and a value with a digit in
# it behind a telling name.
_SECRETS = re.compile(
    r"""\b(?:sk|pk|rk|gsk|xai|hf|ghp)[-_][\w-]{6,}|\bAIza[\w-]{20,}
    |\bBearer\s+[^\s"',;}]{8,}|\bBasic\s+[\w+/]{12,}=*|\beyJ[\w-]{1,500}+\.[\w.-]+
    |\b(?:[\w-]{0,40}authorization|x-[\w-]{0,40}key|api[-_ ]?key(?:\ provided)?|(?:set-)?cookie|\w*secret|\w*token|\w*password)
    ["']?\s*[:=]\s*["']?(?:\w+\s+)?(?=[^\s"',;}]{0,200}\d)[^\s"',;}]{8,}""",
    re.IGNORECASE | re.VERBOSE,
)
# Where a stack trace begins, of Python or of JavaScript.
_STACK_TRACE = re.compile(r"Traceback \(most recent|^[ \t]*File \"|\sat (?:\S+ )?\(?\S+:\d+:\d+\)?", re.MULTILINE)


ANY_NUMBER = 1_000_000
# Statuses after which another attempt may help, and how often.
_RETRIES = {**dict.fromkeys((408, 429, 502, 503, 504, 524, 529), ANY_NUMBER), 500: 1}


class PipeError(Exception):
    """An error whose text is the line that a person reads. `max_retries`: how often another attempt may help."""

    max_retries = 0
    # Seconds until then, where upstream says so.
    retry_after: float | None = None

    def __init__(self, sentence: str) -> None:
        super().__init__(plain(sentence))

    @property
    def happened(self) -> str:
        """What happened, without what to do about it."""
        return str(self).partition(". ")[0]

    def after(self, tries: int) -> PipeError:
        """The error after so many attempts."""
        return type(self)(f"{self} Tried {tries} times.") if tries > 1 else self


class SettingsError(PipeError):
    """A valve stands in the way."""


class ConnectionFailedError(PipeError):
    """Nothing came back."""

    max_retries = ANY_NUMBER


class BrokenAnswerError(PipeError):
    """The answer stopped before its end."""

    def __init__(self, sentence: str, max_retries: int = 0) -> None:
        super().__init__(sentence)
        self.max_retries = max_retries


class Failure(NamedTuple):
    """An error as the upstream told it: the status that it means (0: unknown), and its `kind` in words.

    `retryable` and `retry_after` (seconds) are None where nothing was said of it.
    """

    status: int = 0
    message: str = ""
    reason: str = ""
    provider: str = ""
    kind: str = ""
    fallback_models: tuple[str, ...] = ()
    retryable: bool | None = None
    retry_after: float | None = None


class UpstreamError(PipeError):
    """OpenRouter or a provider refused, before the answer or in the middle of it."""

    def __init__(self, failure: Failure, model_id: str, tries: int = 1) -> None:
        super().__init__(sentence(failure, model_id, tries))
        self.failure = failure
        self.max_retries = (
            _RETRIES.get(failure.status, 0) if failure.retryable is None else failure.retryable * ANY_NUMBER
        )
        self.retry_after = failure.retry_after
        self._model_id = model_id

    def after(self, tries: int) -> PipeError:
        """The error after so many attempts."""
        return UpstreamError(self.failure, self._model_id, tries)


def retry_wait(error: PipeError, tries: int, max_retries: int, max_wait: float, chance: float) -> float:
    """Seconds to wait before another attempt after `tries` of them, endless when there is to be none.

    What upstream asks for is obeyed, or not waited for at all; else the pauses double. `chance` (0 to 1) spreads them, so
    that chats that failed together do not come back together.
    """
    if tries > min(max_retries, error.max_retries) or (error.retry_after or 0) > max_wait:
        return math.inf
    return min(2 ** (tries - 1), max_wait) * (1 + chance) / 2 if error.retry_after is None else error.retry_after


_ANOTHER = "Choose another model."
_AGAIN = "Try again in a moment, or choose another model."
_SHORTER = "Start a new chat, remove files, or choose a model with a longer context."
_SETTINGS = "Check the chat's parameters, or choose another model."
_PRIVACY = "Choose another model, or check the valve DATA_COLLECTION and openrouter.ai/settings/privacy."
_ROUTING = "Choose another model, or check the chat's parameters and the PROVIDER valves."
# Kind or status → (what happened, what to do). `{who}` is the provider or OpenRouter, `{model}` the model asked for.
# Source of the kinds: OpenRouter's docs (errors-and-debugging), ApiErrorType.
_SENTENCES: dict[int | str, tuple[str, str]] = {
    "model_not_found": ("{who} does not know the model {model}", _ANOTHER),
    "wrong_endpoint": ("{model} is not served on this endpoint", f"Set the valve ENDPOINT to auto. {_ANOTHER}"),
    "model_deprecated": ("{model} is no longer offered", _ANOTHER),
    "model_unavailable_upstream": ("No provider offers {model} now", _AGAIN),
    "capacity_exhausted": ("All capacity for {model} is in use", _AGAIN),
    "region_restricted": ("{model} is not offered in this region", _ANOTHER),
    "privacy_restricted": ("The privacy settings leave no provider for {model}", _PRIVACY),
    "constraint_filtered": ("The routing settings leave no provider for {model}", _ROUTING),
    "free_variant_ended": ("The free variant {model} is no longer offered", "Choose the model without :free."),
    **dict.fromkeys(
        ("context_length_exceeded", "token_limit_exceeded", "string_too_long", "max_tokens_exceeded"),
        ("The conversation is too long for {model}", _SHORTER),
    ),
    "not_an_api": ("What answered for {model} is not OpenRouter's API", "Check the valve BASE_URL."),
    400: ("{who} did not accept the request for {model}", _SETTINGS),
    401: ("{who} did not accept the API key", "Check the valve API_KEY."),
    402: ("The OpenRouter account or key has no credit left", "Add credits or raise the key's limit on openrouter.ai."),
    403: ("{who} refused the request for {model}", "Rephrase the message, or choose another model."),
    404: ("{who} has no endpoint for {model}", "Choose another model, or check privacy and routing settings."),
    413: ("The conversation is too large for {model}", _SHORTER),
    422: ("{who} could not process the request for {model}", _SETTINGS),
    429: ("{who} is rate-limiting {model}", _AGAIN),
    500: ("{who} had an internal error with {model}", _AGAIN),
    502: ("{who} gave no valid answer for {model}", _AGAIN),
    503: ("No provider is available for {model}", _AGAIN),
    529: ("{who} is overloaded and cannot answer for {model}", _AGAIN),
    **dict.fromkeys((408, 504, 524), ("{who} took too long for {model}", _AGAIN)),
    0: ("{who} reported an error for {model}", _AGAIN),
}
# (statuses, what the message says, kind): most errors still come without a kind.
_TOLD = (
    ((400, 413, 422), r"context.(length|window)|prompt is too long|too many .*tokens", "context_length_exceeded"),
    ((400, 404), r"not a valid model", "model_not_found"),
    ((400, 404, 405), r"\b(on|by|use|with) (the )?/?(api/v1/)?(chat/completions|responses)\b", "wrong_endpoint"),
    ((404,), r"data policy|privacy", "privacy_restricted"),
    ((404,), r"allowed providers|providers? (have|has) been ignored", "constraint_filtered"),
)
# Codes that are text: OpenRouter's ApiErrorType, and what providers send.
_CODES = {
    400: "invalid_request invalid_request_error invalid_prompt context_length_exceeded",
    401: "authentication authentication_error invalid_api_key",
    402: "payment_required insufficient_quota insufficient_credits",
    403: "permission_denied content_policy_violation refusal moderation",
    404: "not_found model_not_found",
    408: "timeout",
    413: "payload_too_large image_too_large",
    422: "unprocessable",
    429: "rate_limit_exceeded rate_limit_error",
    500: "server server_error internal_error internal_server_error",
    503: "provider_unavailable",
    529: "provider_overloaded overloaded_error overloaded",
}
_STATUSES = {code: status for status, codes in _CODES.items() for code in codes.split()}
# Where a message stands, the telling places first.
_ERROR_KEYS = ("message", "detail", "msg", "error")


def read_failure(status: int, body: object) -> Failure:
    """The error in a response body (bytes), an event or an `error` object, in any of the shapes that occur.

    Source: OpenRouter docs, api_reference/errors-and-debugging. `code` may be a number or text, `metadata.raw` JSON or text.
    """
    if isinstance(body, bytes):
        content = body
        try:
            body = parse_json(content)
        except ValueError:
            return _failure_of_text(_status_of(status), content.decode("utf-8", "replace"))
        if status < 400 and not mapping(body).keys() & set(_ERROR_KEYS):
            return Failure(kind="not_an_api")
    body = body[0] if isinstance(body, list) and body else body
    error = body.get("error") or body if isinstance(body, dict) else body
    message = _innermost(error)
    error = mapping(error)
    metadata, availability = mapping(error.get("metadata")), mapping(error.get("availability"))
    kinds = [*map(availability.get, ("code", "error_type")), metadata.get("error_type")]
    kinds += map(error.get, ("error_type", "code", "type"))
    codes = (status, error.get("code"), availability.get("http_status"), *kinds)
    status = next(filter(None, map(_status_of, codes)), 0)
    # Why moderation (`reasons`) or a guardrail (`patterns`) said no.
    refused = _cleaned([*texts(metadata.get("reasons")), *texts(metadata.get("patterns"))])
    constraint = mapping(availability.get("constraint")).get("detail")
    reason = _innermost(metadata.get("raw")) or ", ".join(refused[:10]) or _clean(constraint)
    retryable = availability.get("retryable")
    waits = (availability.get("retry_after"), *map(metadata.get, ("retry_after", "retry_after_seconds")))
    return Failure(
        status=status,
        message=message,
        reason="" if reason in message else reason,
        provider=_clean(metadata.get("provider_name"))[:60],
        kind=_kind(status, kinds, f"{message} {reason}"),
        fallback_models=_cleaned(texts(availability.get("fallback_models"))),
        retryable=retryable if isinstance(retryable, bool) else None,
        retry_after=next((float(wait) for wait in waits if isinstance(wait, (int, float)) and 0 <= wait < 1e9), None),
    )


def sentence(failure: Failure, model_id: str, tries: int = 1) -> str:
    """The line for a failure: what happened, who said it, why, and what to do."""
    happened, advice = _SENTENCES.get(failure.kind) or _SENTENCES.get(failure.status) or _SENTENCES[0]
    if failure.fallback_models:
        advice = f"Try {' or '.join(failure.fallback_models[:3])}."
    if failure.retry_after:
        advice = advice.replace("in a moment", f"in {_duration(failure.retry_after)}")
    line = happened.format(who=failure.provider or "OpenRouter", model=plain(model_id)[:120])
    if failure.status not in _SENTENCES:
        line = f"{line} ({failure.status})"
    if tries > 1:
        line = f"{line}; tried {tries} times"
    if said := ": ".join(part for part in (failure.message, failure.reason) if part):
        line = f"{line}: {said}"
    # What was said is the part that may be long: the advice has to survive the cut.
    room = _MAX_LENGTH - len(advice) - 2
    line = f"{line.rstrip('.')}." if len(line) <= room else f"{line[: room - 1]}…"
    return f"{line} {advice}"


def _duration(seconds: float) -> str:
    """`20 s`, `5 min`, `3 h`, rounded up."""
    size, unit = (3_600, "h") if seconds > 5_400 else (60, "min") if seconds > 90 else (1, "s")
    return f"{math.ceil(seconds / size)} {unit}"


def plain(text: str) -> str:
    """One line of at most 500 characters, without anything that looks like a key."""
    line = " ".join(_SECRETS.sub("…", text[:20_000]).split())
    return one_line(line if len(line) <= _MAX_LENGTH else f"{line[: _MAX_LENGTH - 1]}…")


def _failure_of_text(status: int, text: str) -> Failure:
    """The failure in a body that is not JSON: a web page, plain text, or what cannot be read (it is not shown)."""
    is_page = text.lstrip().startswith("<")
    can_be_read = not text.lstrip().startswith(("{", "[")) and "\ufffd" not in text[:500]
    message = "a web page came back" if is_page else _clean(text) if can_be_read else ""
    # Status 0 is an answer with a good status: an API would have sent JSON.
    return Failure(status, message, kind="not_an_api" if not status or (is_page and status in (404, 405)) else "")


def _kind(status: int, kinds: list[object], said: str) -> str:
    """The first kind that has a sentence, else the one that the message tells of."""
    known = (kind for kind in kinds if isinstance(kind, str) and kind in _SENTENCES)
    told = (kind for statuses, words, kind in _TOLD if status in statuses and re.search(words, said, re.IGNORECASE))
    return next(known, None) or next(told, "")


def _innermost(value: object, depth: int = 6) -> str:
    """The message somewhere inside: `metadata.raw` and `message` are text, often JSON with the true reason further in."""
    if isinstance(value, str):
        if depth and value.lstrip().startswith(("{", "[")):
            with suppress(ValueError):
                return _innermost(parse_json(value), depth - 1)
        return _clean(value)
    if isinstance(value, list):
        value = {"error": value[0]} if value else None
    if isinstance(value, dict) and depth:
        return next(filter(None, (_innermost(value.get(key), depth - 1) for key in _ERROR_KEYS)), "")
    return ""


def _clean(value: object) -> str:
    """One line without keys and stack traces; empty when it is not text."""
    if not isinstance(value, str):
        return ""
    text = _SECRETS.sub("…", value[:20_000])
    return one_line(_STACK_TRACE.split(text, maxsplit=1)[0]).rstrip(" :")


def _cleaned(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(filter(None, map(_clean, values)))


def _status_of(code: object) -> int:
    if isinstance(code, str) and code in _STATUSES:
        return _STATUSES[code]
    try:
        status = int(str(code)[:6])
    except ValueError:
        return 0
    return status if 400 <= status < 1000 else 0
