"""What goes wrong, and the one line that a person reads."""

from __future__ import annotations

import math
import re
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
BROKE_OFF = "The answer of {whose} broke off before its end. Try again."
# Statuses after which another attempt may help, and how often.
_RETRIES = {**dict.fromkeys((408, 429, 502, 503, 504, 524, 529), ANY_NUMBER), 500: 1}


class PipeError(Exception):
    """An error whose text is the line that a person reads. `max_retries`: how often another attempt may help."""

    # Seconds until then, where upstream says so.
    retry_after: float | None = None

    def __init__(self, sentence: str, max_retries: int = 0) -> None:
        super().__init__(plain(sentence))
        self.max_retries = max_retries

    @property
    def happened(self) -> str:
        """What happened, without what to do about it."""
        return str(self).partition(". ")[0]

    def after(self, tries: int) -> PipeError:
        """The same error, its text telling after how many attempts."""
        if tries > 1:
            self.args = (plain(str(self).replace(". ", f"; tried {tries} times. ", 1)),)
        return self


class Failure(NamedTuple):
    """An error as the upstream told it: the status that it means (0: unknown), and its `kind` in words.

    `retryable` and `retry_after` (seconds) are None where nothing was said of it.
    """

    status: int = 0
    said: str = ""
    provider: str = ""
    kind: str = ""
    fallback_models: tuple[str, ...] = ()
    retryable: bool | None = None
    retry_after: float | None = None


class UpstreamError(PipeError):
    """OpenRouter or a provider refused, before the answer or in the middle of it."""

    def __init__(self, failure: Failure, model_id: str) -> None:
        retries = _RETRIES.get(failure.status, 0) if failure.retryable is None else failure.retryable * ANY_NUMBER
        super().__init__(sentence(failure, model_id), retries)
        self.failure = failure
        self.retry_after = failure.retry_after


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
    **dict.fromkeys(
        ("model_deprecated", "model_unavailable_upstream", "region_restricted", "free_variant_ended"),
        ("{model} is not offered now", _ANOTHER),
    ),
    "privacy_restricted": ("The privacy settings leave no provider for {model}", _PRIVACY),
    "constraint_filtered": ("The routing settings leave no provider for {model}", _ROUTING),
    **dict.fromkeys(
        ("context_length_exceeded", "token_limit_exceeded", "string_too_long", "max_tokens_exceeded", 413),
        ("The conversation is too long for {model}", _SHORTER),
    ),
    "not_an_api": ("What answered for {model} is not OpenRouter's API", "Check the valve BASE_URL."),
    **dict.fromkeys((400, 422), ("{who} did not accept the request for {model}", _SETTINGS)),
    401: ("{who} did not accept the API key", "Check the valve API_KEY."),
    402: ("The OpenRouter account or key has no credit left", "Add credits or raise the key's limit on openrouter.ai."),
    403: ("{who} refused the request for {model}", "Rephrase the message, or choose another model."),
    404: ("{who} has no endpoint for {model}", "Choose another model, or check privacy and routing settings."),
    429: ("{who} is rate-limiting {model}", _AGAIN),
    500: ("{who} had an internal error with {model}", _AGAIN),
    502: ("{who} gave no valid answer for {model}", _AGAIN),
    503: ("No provider is available for {model}", _AGAIN),
    **dict.fromkeys((529, "capacity_exhausted"), ("{who} is overloaded and cannot answer for {model}", _AGAIN)),
    **dict.fromkeys((408, 504, 524), ("{who} took too long for {model}", _AGAIN)),
    0: ("{who} reported an error for {model}", _AGAIN),
}
# What the message says, for kinds that often come without their name, in refusals of these statuses.
_TOLD_STATUSES = (400, 404, 405, 413, 422)
_TOLD = {
    "context_length_exceeded": r"context.(length|window)|prompt is too long|too many .*tokens",
    "model_not_found": r"not a valid model",
    "wrong_endpoint": r"\b(on|by|use|with) (the )?/?(api/v1/)?(chat/completions|responses)\b",
    "privacy_restricted": r"data policy|privacy",
    "constraint_filtered": r"allowed providers|providers? (have|has) been ignored",
}
# Codes that are text: OpenRouter's ApiErrorType, and what providers send.
_CODES = {
    400: "invalid_request invalid_prompt",
    401: "authentication invalid_api_key",
    402: "payment_required insufficient_quota",
    403: "permission_denied content_policy_violation image_content_policy_violation refusal",
    404: "not_found",
    408: "timeout",
    413: "payload_too_large image_too_large",
    422: "unprocessable",
    429: "rate_limit_exceeded rate_limit_error",
    500: "server server_error internal_server_error",
    502: "provider_unavailable",
    529: "provider_overloaded overloaded_error",
}
_STATUSES = {code: status for status, codes in _CODES.items() for code in codes.split()}
# Where a message stands, the telling places first.
_ERROR_KEYS = ("message", "detail", "msg", "error")


def read_failure(status: int, body: object) -> Failure:
    """The error in a response body (bytes), an event or an `error` object, in any of the shapes that occur.

    Source: OpenRouter docs, errors-and-debugging and responses/error-handling.
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
    error = mapping(body).get("error") or body
    message = _innermost(error)
    body, error = mapping(body), mapping(error)
    metadata, availability = mapping(error.get("metadata")), mapping(error.get("availability"))
    code = error.get("code")
    types = [part.get("error_type") for part in (availability, metadata, error, body)]
    # Many errors of /responses are a "server_error".
    kinds = [availability.get("code"), *types, code, error.get("type")]
    codes = (status, isinstance(code, int) and code, availability.get("http_status"), *kinds)
    status = next(filter(None, map(_status_of, codes)), 0)
    # Why moderation or a guardrail said no.
    refused = ", ".join(texts(metadata.get("reasons")) + texts(metadata.get("patterns")))
    constraint = mapping(availability.get("constraint")).get("detail")
    reason = _innermost(metadata.get("raw")) or _clean(refused or constraint)
    said = message if reason in message else ": ".join(filter(None, (message, reason)))
    retryable = availability.get("retryable")
    waits = (availability.get("retry_after"), *map(metadata.get, ("retry_after", "retry_after_seconds")))
    return Failure(
        status=status,
        said=said,
        provider=_clean(metadata.get("provider_name"))[:60],
        kind=_kind(status, kinds, said),
        fallback_models=tuple(filter(None, map(_clean, texts(availability.get("fallback_models"))))),
        retryable=retryable if isinstance(retryable, bool) else None,
        retry_after=next((float(wait) for wait in waits if isinstance(wait, (int, float)) and 0 <= wait < 1e9), None),
    )


def sentence(failure: Failure, model_id: str) -> str:
    """The line for a failure: what happened, who said it, why, and what to do."""
    happened, advice = _SENTENCES.get(failure.kind) or _SENTENCES.get(failure.status) or _SENTENCES[0]
    if failure.fallback_models:
        advice = f"Try {' or '.join(failure.fallback_models[:3])}."
    if failure.retry_after:
        advice = advice.replace("in a moment", f"in {duration(failure.retry_after)}")
    line = happened.format(who=failure.provider or "OpenRouter", model=plain(model_id)[:120])
    if failure.status not in _SENTENCES:
        line = f"{line} ({failure.status})"
    if failure.said:
        line = f"{line}: {failure.said}"
    # The advice has to survive the cut, and how often it was tried.
    room = _MAX_LENGTH - len(advice) - 25
    line = f"{line.rstrip('.')}." if len(line) <= room else f"{line[: room - 1]}…"
    return f"{line} {advice}"


def duration(seconds: float) -> str:
    """`20 s`, `5 min`, `3 h`, rounded up."""
    size, unit = (3_600, "h") if seconds > 5_400 else (60, "min") if seconds > 90 else (1, "s")
    return f"{math.ceil(seconds / size)} {unit}"


def plain(text: str) -> str:
    """One printable line of at most 500 characters, without anything that looks like a key."""
    return one_line(_SECRETS.sub("…", text[:20_000]))


def _failure_of_text(status: int, text: str) -> Failure:
    """The failure in a body that is not JSON: a web page, plain text, or what cannot be read (it is not shown)."""
    is_page = text.lstrip().startswith("<")
    is_garbage = text.lstrip().startswith(("{", "[")) or "\ufffd" in text[:500]
    message = "a web page came back" if is_page else "" if is_garbage else _clean(text)
    # Status 0 is an answer with a good status: an API would have sent JSON.
    return Failure(status, message, kind="not_an_api" if not status or (is_page and status in (404, 405)) else "")


def _kind(status: int, kinds: list[object], said: str) -> str:
    """The first kind that has a sentence, else the one that the message tells of."""
    known = (kind for kind in kinds if isinstance(kind, str) and kind in _SENTENCES)
    told = (kind for kind, words in _TOLD.items() if status in _TOLD_STATUSES and re.search(words, said, re.IGNORECASE))
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
    """The same without stack traces; empty when it is not text."""
    text = value[:20_000] if isinstance(value, str) else ""
    return plain(_STACK_TRACE.split(text, maxsplit=1)[0]).rstrip(" :")


def _status_of(code: object) -> int:
    status = _STATUSES.get(str(code), str(code))
    return int(status) if re.fullmatch("[4-9][0-9]{2}", str(status)) else 0
