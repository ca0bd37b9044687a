"""What goes wrong, and the one line that a person reads."""

from __future__ import annotations

import math
import re

from .catalog import one_line
from .codec import amount_of, dicts, mapping, parse_json, texts

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
    retry_after = 0.0

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


class UpstreamError(PipeError):
    """OpenRouter or a provider refused, before the answer or in the middle of it.

    `status` is what that means (0: unknown), `kind` the same in words, `said` the reason given, `who` gave it;
    `retryable` is what upstream says of it, if that is true or false.
    """

    def __init__(
        self,
        model_id: str,
        status: int = 0,
        kind: str = "",
        said: str = "",
        who: str = "",
        fallback_models: tuple[str, ...] = (),
        retryable: object = None,
        retry_after: float = 0.0,
    ) -> None:
        sentence = _SENTENCES.get(kind) or _SENTENCES.get(status) or _SENTENCES[0]
        happened, _, advice = sentence.partition(". ")
        if fallback_models:
            advice = f"Try {' or '.join(fallback_models[:3])}."
        elif not advice:
            when = f"in {duration(retry_after)}" if retry_after else "in a moment"
            advice = f"Try again {when}, or choose another model."
        line = happened.format(who=who or "OpenRouter", model=plain(model_id)[:120])
        if status not in _SENTENCES:
            line = f"{line} ({status})"
        if said:
            line = f"{line}: {said}"
        # The advice has to survive the cut, and how often it was tried.
        room = _MAX_LENGTH - len(advice) - 25
        line = f"{line.rstrip('.')}." if len(line) <= room else f"{line[: room - 1]}…"
        max_retries = ANY_NUMBER if retryable is True else 0 if retryable is False else _RETRIES.get(status, 0)
        super().__init__(f"{line} {advice}", max_retries)
        self.status = status
        self.kind = kind
        self.retry_after = retry_after


def retry_wait(error: PipeError, tries: int, max_retries: int, max_wait: float, chance: float) -> float:
    """Seconds to wait before another attempt after `tries` of them, endless when there is to be none.

    What upstream asks for is obeyed, or not waited for at all; else the pauses double. `chance` (0 to 1) spreads them, so
    that chats that failed together do not come back together.
    """
    wait = error.retry_after or min(2 ** (tries - 1), max_wait) * (1 + chance) / 2
    return math.inf if wait > max_wait or tries > min(max_retries, error.max_retries) else wait


# Kinds and statuses → what happened, and what to do (nothing: try again). `{who}` is the provider or OpenRouter.
# Source of the kinds: OpenRouter's docs (errors-and-debugging), ApiErrorType.
_SENTENCES: dict[int | str, str] = {
    int(case) if case.isdigit() else case: sentence
    for cases, sentence in {
        "model_not_found": "{who} does not know the model {model}. Choose another model.",
        "wrong_endpoint": "{model} is not served on this endpoint. Set the valve ENDPOINT to auto. Choose another model.",
        "model_deprecated model_unavailable_upstream region_restricted free_variant_ended": (
            "{model} is not offered now. Choose another model."
        ),
        "privacy_restricted": (
            "The privacy settings leave no provider for {model}. Choose another model, or check the valve DATA_COLLECTION "
            "and openrouter.ai/settings/privacy."
        ),
        "constraint_filtered": (
            "The routing settings leave no provider for {model}. Choose another model, or check the chat's parameters and "
            "the PROVIDER valves."
        ),
        "context_length_exceeded token_limit_exceeded string_too_long max_tokens_exceeded 413": (
            "The conversation is too long for {model}. Start a new chat, remove files, or choose a model with a longer "
            "context."
        ),
        "not_an_api": "What answered for {model} is not OpenRouter's API. Check the valve BASE_URL.",
        "400 422": (
            "{who} did not accept the request for {model}. Check the chat's parameters, or choose another model."
        ),
        "401": "{who} did not accept the API key. Check the valve API_KEY.",
        "402": (
            "The OpenRouter account or key has no credit left. Add credits or raise the key's limit on openrouter.ai."
        ),
        "403": "{who} refused the request for {model}. Rephrase the message, or choose another model.",
        "404": "{who} has no endpoint for {model}. Choose another model, or check privacy and routing settings.",
        "429": "{who} is rate-limiting {model}",
        "500": "{who} had an internal error with {model}",
        "502": "{who} gave no valid answer for {model}",
        "503": "No provider is available for {model}",
        "529 capacity_exhausted": "{who} is overloaded and cannot answer for {model}",
        "408 504 524": "{who} took too long for {model}",
        "0": "{who} reported an error for {model}",
    }.items()
    for case in cases.split()
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
_STATUSES = {
    code: status
    for status, codes in {
        "400": "invalid_request invalid_prompt",
        "401": "authentication invalid_api_key",
        "402": "payment_required insufficient_quota",
        "403": "permission_denied content_policy_violation image_content_policy_violation refusal",
        "404": "not_found",
        "408": "timeout",
        "413": "payload_too_large image_too_large",
        "422": "unprocessable",
        "429": "rate_limit_exceeded rate_limit_error",
        "500": "server server_error internal_server_error",
        "502": "provider_unavailable",
        "529": "provider_overloaded overloaded_error",
    }.items()
    for code in codes.split()
}
# Where a message stands, the telling places first.
_ERROR_KEYS = ("message", "detail", "msg", "error")


def read_failure(status: int, body: object, model_id: str, retry_after: float = 0.0) -> UpstreamError:
    """The error in a response body (bytes), an event or an `error` object, in any of the shapes that occur.

    `retry_after`: the seconds that a header asks for. Source: OpenRouter docs, errors-and-debugging and
    responses/error-handling.
    """
    body = _content_of(status, body) if isinstance(body, bytes) else body
    # Some gateways send a list of errors.
    body = next(iter(dicts(body)), body)
    error = mapping(mapping(body).get("error") or body)
    # The further inside, the more it tells, unless that is null.
    parts = (body, error, error.get("metadata"), error.get("availability"))
    told = {key: value for part in parts for key, value in mapping(part).items() if value is not None}
    # Many errors of /responses have the code "server_error", and their type beside it.
    kinds = [told.get("error_type"), error.get("code"), told.get("code"), told.get("type")]
    codes = (status, *(code for code in kinds if isinstance(code, int)), told.get("http_status"), *kinds)
    status = next(filter(None, map(_status_of, codes)), 0)
    # Why moderation or a guardrail said no.
    refused = ", ".join(texts(told.get("reasons")) + texts(told.get("patterns")))
    message = _innermost(error) or _innermost(body)
    reason = _innermost(told.get("raw")) or _clean(refused or mapping(told.get("constraint")).get("detail"))
    said = message if reason in message else ": ".join(filter(None, (message, reason)))
    known = (kind for kind in texts(kinds) if kind in _SENTENCES)
    meant = (
        kind for kind, words in _TOLD.items() if status in _TOLD_STATUSES and re.search(words, said, re.IGNORECASE)
    )
    return UpstreamError(
        model_id,
        status,
        next(known, None) or next(meant, ""),
        said,
        who=_clean(told.get("provider_name"))[:60],
        fallback_models=tuple(filter(None, map(_clean, texts(told.get("fallback_models"))))),
        retryable=told.get("retryable"),
        retry_after=retry_after or amount_of(told.get("retry_after") or told.get("retry_after_seconds")) or 0.0,
    )


def duration(seconds: float) -> str:
    """`20 s`, `5 min`, `3 h`, rounded up."""
    size, unit = (3_600, "h") if seconds > 5_400 else (60, "min") if seconds > 90 else (1, "s")
    return f"{math.ceil(seconds / size)} {unit}"


def plain(text: str) -> str:
    """One printable line of at most 500 characters, without anything that looks like a key."""
    return one_line(_SECRETS.sub("…", text[:20_000]))


def _content_of(status: int, body: bytes) -> object:
    """A body as JSON. What is none becomes an error: a web page, plain text, or what cannot be read (it is not shown)."""
    try:
        content = parse_json(body)
        is_api = status >= 400 or not mapping(content).keys().isdisjoint(_ERROR_KEYS)
    except ValueError:
        text = body.decode("utf-8", "replace").lstrip()
        is_page, is_readable = text.startswith("<"), text[:1] not in "{[\ufeff" and "\ufffd" not in text
        content = {"message": "a web page came back" if is_page else text if is_readable else ""}
        is_api = status >= 400 and not (is_page and status in (404, 405))
    return content if is_api else {**mapping(content), "error_type": "not_an_api"}


def _innermost(value: object) -> str:
    """The message somewhere inside: `metadata.raw` and `message` are text, often JSON with the true reason further in."""
    for _ in range(6):
        if isinstance(value, dict):
            value = next(filter(None, map(value.get, _ERROR_KEYS)), None)
        elif isinstance(value, list):
            value = next(iter(value), None)
        elif isinstance(value, str) and value.lstrip().startswith(("{", "[")):
            try:
                value = parse_json(value)
            except ValueError:
                break
    return _clean(value)


def _clean(value: object) -> str:
    """The same without stack traces; empty when it is not text."""
    text = value[:20_000] if isinstance(value, str) else ""
    return plain(_STACK_TRACE.split(text, maxsplit=1)[0]).rstrip(" :")


def _status_of(code: object) -> int:
    status = _STATUSES.get(str(code), str(code))
    return int(status) if re.fullmatch("[4-9][0-9]{2}", status) else 0
