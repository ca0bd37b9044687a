"""The one line a person reads: what happened, who said it, what to do; and never a key, a header or a stack trace."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_pipe.errors import ANY_NUMBER, PipeError, read_failure

FIXTURES = Path(__file__).resolve().parents[2].parent / "shared" / "fixtures"
MODEL = "openai/gpt-4o:nitro"
# Every advice is a sentence that begins with one of these.
ADVICE = re.compile(r"(?:Check|Choose|Try|Add|Rephrase|Start|Set) [^.]+")


def line(status: int, body: object, model: str = MODEL) -> str:
    """What a person reads of this answer; fails where no line may ever be so."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    text = str(read_failure(status, content, model))
    assert 0 < len(text) <= 500
    assert text.isprintable()
    assert ADVICE.search(text), text
    assert not re.search(r"\{(?:who|model)|None|\.\.|: \.|  ", text), text
    return text


def error(code: object = 400, message: object = "Reason", **more: object) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **more}}


# --- Every status has its sentence

STATUSES: dict[int, tuple[str, ...]] = {
    400: ("did not accept the request", MODEL),
    401: ("did not accept the API key", "API_KEY"),
    402: ("credit", "openrouter.ai"),
    403: ("refused", MODEL, "Rephrase"),
    404: ("no endpoint", MODEL, "privacy and routing"),
    408: ("took too long", MODEL),
    413: ("too long", MODEL, "new chat"),
    422: ("did not accept the request", MODEL),
    429: ("rate-limiting", MODEL, "Try again"),
    500: ("internal error", MODEL, "Try again"),
    502: ("no valid answer", MODEL, "Try again"),
    503: ("No provider is available", MODEL, "Try again"),
    504: ("took too long", MODEL, "Try again"),
    524: ("took too long", MODEL, "Try again"),
    529: ("overloaded", MODEL, "Try again"),
    418: ("(418)", MODEL),
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("form", ["http", "code", "code as text", "empty body", "flat"])
def test_each_status_says_what_who_and_what_to_do(status: int, form: str) -> None:
    said = {
        "http": lambda: line(status, error(status)),
        "code": lambda: line(200, error(status)),
        "code as text": lambda: line(0, error(str(status))),
        "empty body": lambda: line(status, b""),
        "flat": lambda: line(0, {"code": status, "message": "Reason", "type": "error"}),
    }[form]()
    assert all(part in said for part in STATUSES[status]), said
    assert ("Reason" in said) == (form != "empty body")


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ("rate_limit_exceeded", "rate-limiting"),
        ("server_error", "internal error"),
        ("invalid_api_key", "API key"),
        ("authentication", "API key"),
        ("insufficient_quota", "credit"),
        ("payment_required", "credit"),
        ("permission_denied", "refused"),
        ("content_policy_violation", "refused"),
        ("image_content_policy_violation", "refused"),
        ("provider_overloaded", "overloaded"),
        ("timeout", "too long"),
        ("context_length_exceeded", "too long for"),
        ("invalid_prompt", "did not accept"),
        ("something_new", "reported an error"),
        (None, "reported an error"),
        ([1], "reported an error"),
        (-5, "reported an error"),
        (10**30, "reported an error"),
    ],
)
def test_codes_that_are_no_status(code: object, part: str) -> None:
    assert part in line(200, error(code))


# OpenRouter's ApiErrorType, all of it.
ERROR_TYPES = {
    **dict.fromkeys(
        ("context_length_exceeded", "max_tokens_exceeded", "token_limit_exceeded", "string_too_long"), "too long for"
    ),
    **dict.fromkeys(("payload_too_large", "image_too_large"), "too long for"),
    **dict.fromkeys(("invalid_request", "invalid_prompt", "unprocessable"), "did not accept the request"),
    **dict.fromkeys(("permission_denied", "content_policy_violation", "refusal"), "refused"),
    "authentication": "API key",
    "payment_required": "credit",
    "not_found": "no endpoint",
    "rate_limit_exceeded": "rate-limiting",
    "provider_overloaded": "overloaded",
    "provider_unavailable": "no valid answer",
    "timeout": "took too long",
    "server": "internal error",
    # They have no status of their own: the code beside them holds.
    **dict.fromkeys(("invalid_image", "image_too_small", "unsupported_image_format"), "internal error"),
    **dict.fromkeys(("image_not_found", "image_download_failed"), "internal error"),
    **dict.fromkeys(("precondition_failed", "unmapped"), "internal error"),
}


@pytest.mark.parametrize("error_type", ERROR_TYPES)
def test_an_error_type_says_more_than_the_code_that_many_share(error_type: str) -> None:
    part = ERROR_TYPES[error_type]
    assert part in line(200, {"status": "failed", **error("server_error"), "error_type": error_type})
    assert part in line(200, error("server_error", error_type=error_type))
    assert part in line(200, error("server_error", metadata={"error_type": error_type}))
    assert part in line(200, error("server_error", error_type=error_type, metadata={"error_type": None}))
    # A number tells the status, whatever the name, or what the provider's number was.
    assert "rate-limiting" in line(200, error(429, metadata={"code": 400}))
    assert "rate-limiting" in line(200, error(429, metadata={"error_type": "server"}))


@pytest.mark.parametrize("key", ["code", "error_type"])
@pytest.mark.parametrize(
    ("status", "code", "parts"),
    [
        (400, "model_not_found", ("does not know the model",)),
        (400, "wrong_endpoint", ("ENDPOINT",)),
        (404, "no_endpoints", ("no endpoint",)),
        (404, "model_deprecated", ("is not offered",)),
        (404, "model_unavailable_upstream", ("is not offered",)),
        (429, "capacity_exhausted", ("overloaded", "Try again")),
        (503, "temporarily_unavailable", ("No provider is available", "Try again")),
        (403, "region_restricted", ("is not offered",)),
        (404, "privacy_restricted", ("privacy settings", "DATA_COLLECTION")),
        (404, "constraint_filtered", ("routing settings", "PROVIDER")),
        (404, "free_variant_ended", ("is not offered",)),
        (404, "something_new", ("no endpoint",)),
    ],
)
def test_availability(status: int, code: str, key: str, parts: tuple[str, ...]) -> None:
    availability = {key: code, "retryable": False, "requested_models": [MODEL], "docs_url": "https://x.test"}
    said = line(status, error(status, availability=availability))
    assert all(part in said for part in (*parts, MODEL, "Reason")), said
    fallbacks = ["openai/gpt-4o-mini", "x/y", "x/z", "x/fourth"]
    said = line(status, error(status, availability={**availability, "fallback_models": fallbacks}))
    assert said.endswith("Try openai/gpt-4o-mini or x/y or x/z.")
    blank = error(status, availability={**availability, "fallback_models": ["", " ", 5]})
    assert line(status, blank) == line(status, error(status, availability=availability))


@pytest.mark.parametrize(
    ("status", "message", "parts"),
    [
        (
            400,
            "This endpoint's maximum context length is 128000 tokens. However, you requested about 130012 tokens.",
            ("too long for", "128000", "130012", "new chat"),
        ),
        (400, "prompt is too long: 210000 tokens > 200000 maximum", ("too long for", "210000", "200000")),
        (404, "No endpoints found matching your data policy (Free model training).", ("privacy settings",)),
        (404, "No allowed providers are available for the selected model.", ("routing settings",)),
        (400, "openai/gpt-9 is not a valid model ID", ("does not know", "not a valid model ID")),
        (404, "No endpoints found that support tool use.", ("support tool use",)),
    ],
)
def test_what_only_the_message_tells(status: int, message: str, parts: tuple[str, ...]) -> None:
    said = line(status, error(status, message))
    assert all(part in said for part in parts), said


@pytest.mark.parametrize("said", [True, False, None, "yes", 1])
def test_whether_upstream_says_that_a_retry_may_help(said: object) -> None:
    for status, otherwise in ((404, 0), (429, ANY_NUMBER)):
        told = error(status, availability={"code": "no_endpoints", "retryable": said})
        retries = {True: ANY_NUMBER, False: 0}[said] if isinstance(said, bool) else otherwise
        assert read_failure(status, told, MODEL).max_retries == retries
        assert read_failure(status, error(status), MODEL).max_retries == otherwise


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({"availability": {"retry_after": 20}}, 20.0),
        ({"metadata": {"retry_after": 1.5}}, 1.5),
        ({"metadata": {"retry_after_seconds": 7}}, 7.0),
        ({"availability": {"retry_after": 20}, "metadata": {"retry_after": 7}}, 20.0),
        ({"availability": {"retry_after": None}, "metadata": {"retry_after": 7}}, 7.0),
        ({"availability": {"retry_after": 0}}, 0.0),
        *(({"availability": {"retry_after": odd}}, 0.0) for odd in (None, "soon", -1, float("nan"), 10**30, [5])),
        ({}, 0.0),
    ],
)
def test_after_how_many_seconds_upstream_says_that_a_retry_may_help(said: dict[str, Any], seconds: float) -> None:
    assert read_failure(429, error(429, **said), MODEL).retry_after == seconds
    assert read_failure(429, error(429, **said), MODEL, 3.0).retry_after == 3.0, "a header's word comes first"


# --- The provider's own reason


@pytest.mark.parametrize(
    "raw",
    [
        "Slow down, please.",
        '{"error": {"message": "Slow down, please.", "type": "x"}}',
        '{"error": "Slow down, please."}',
        '{"error": "Too Many Requests", "message": "Slow down, please."}',
        '{"message": "Slow down, please."}',
        '{"detail": "Slow down, please."}',
        '{"detail": [{"loc": ["body"], "msg": "Slow down, please."}]}',
        '[{"error": {"code": 429, "message": "Slow down, please."}}]',
        '{"error": {"message": "{\\"error\\": {\\"message\\": \\"Slow down, please.\\"}}"}}',
        {"error": {"message": "Slow down, please."}},
    ],
    ids=str,
)
def test_the_providers_reason_is_dug_out(raw: object) -> None:
    said = line(429, error(429, "Provider returned error", metadata={"provider_name": "Fireworks", "raw": raw}))
    assert said.startswith(f"Fireworks is rate-limiting {MODEL}: Provider returned error: Slow down, please. Try again")


@pytest.mark.parametrize("key", ["message", "detail", "msg"])
def test_the_error_itself_says_more_than_what_stands_beside_it(key: str) -> None:
    assert ": True reason. " in line(400, {key: "Request failed", **error(message="True reason")})
    assert ": True reason. " in line(400, {key: "True reason", "error": "Bad Request"})
    assert ": True reason. " in line(400, {key: "True reason", **error(message="")})


@pytest.mark.parametrize(
    "raw", [None, "", "{}", "[]", 5, {}, [], {"error": None}, "null", '{"a": 1}', [[[[]]]], "[" * 9999]
)
def test_a_raw_that_says_nothing(raw: object) -> None:
    said = line(502, error(502, "Provider returned error", metadata={"provider_name": None, "raw": raw}))
    assert said.startswith("OpenRouter gave no valid answer")


def test_moderation_names_its_reasons_and_not_the_persons_words() -> None:
    metadata = {
        "reasons": ["violence", "harassment"],
        "flagged_input": "my private words",
        "provider_name": "OpenAI",
        "model_slug": "openai/gpt-4o",
    }
    said = line(403, error(403, "Your input was flagged", metadata=metadata))
    assert said.startswith(f"OpenAI refused the request for {MODEL}: Your input was flagged: violence, harassment.")
    assert "private" not in said


def test_the_same_words_are_not_said_twice() -> None:
    said = line(429, error(429, "Slow down", metadata={"raw": "Slow down"}))
    assert said.count("Slow down") == 1


# --- Odd bodies


@pytest.mark.parametrize(
    ("status", "body", "parts"),
    [
        (
            502,
            b"<html><head><title>502 Bad\n Gateway</title></head><body><h1>x</h1></body></html>",
            ("web page",),
        ),
        (503, b"<!DOCTYPE html><html lang=en>no title", ("web page",)),
        (404, b"<html><title>Not Found</title></html>", ("BASE_URL", "web page")),
        (200, b"<html><title>Welcome</title></html>", ("BASE_URL", "web page")),
        (200, b"\x00\x01\xff\xfe garbage", ("BASE_URL",)),
        (500, b"\x00\x01\xff\xfe garbage", ("internal error",)),
        (500, b"upstream connect error", ("upstream connect error",)),
        *(
            (400, f"{start}seed' is required".encode(), (f": {start}seed' is",))
            for start in ("'", "(", "* ", "\u26a0 ")
        ),
        (429, b'{"error": {"mess', ("rate-limiting",)),
        (429, b'\xef\xbb\xbf{"error": {"message": "x"}}', ("rate-limiting openai/gpt-4o:nitro.",)),
        (429, b"[]", ("rate-limiting",)),
        (429, b'[{"error": {"message": "Slow down"}}]', ("Slow down",)),
        (429, b'"Slow down"', ("Slow down",)),
        (429, b'{"error": "Slow down"}', ("Slow down",)),
        (429, b'{"error": null, "message": "Slow down"}', ("Slow down",)),
        (429, b'{"message": "Slow down"}', ("Slow down",)),
        (429, b'{"detail": "Slow down"}', ("Slow down",)),
        (429, b"null", ("rate-limiting",)),
        (429, b'{"error": {"message": {"a": 1}, "metadata": [], "availability": 5}}', ("rate-limiting",)),
        (
            429,
            b'{"error": {"message": 5, "metadata": {"raw": 5, "reasons": "x", "provider_name": []}}}',
            ("OpenRouter",),
        ),
        (429, b"\xef\xbb\xbf \n", ("rate-limiting",)),
    ],
)
def test_bodies_of_any_kind(status: int, body: bytes, parts: tuple[str, ...]) -> None:
    said = line(status, body)
    assert all(part in said for part in parts), said
    assert "<" not in said
    assert "{" not in said


@pytest.mark.parametrize("size", [400, 490, 500, 600, 100_000, 2_000_000])
def test_a_long_message_is_cut_and_the_advice_stays(size: int) -> None:
    message = "wordy " * (size // 6)
    assert line(429, error(429, message)).endswith("Try again in a moment, or choose another model.")
    assert line(429, message.encode()).endswith("Try again in a moment, or choose another model.")


def test_a_long_model_name_leaves_room() -> None:
    assert "Slow down" in line(429, error(429, "Slow down"), model="x" * 5000)


# --- Never a key, a header, a stack trace

PLANTED = [
    "sk-or-v1-0123456789abcdef0123456789abcdef",
    "sk-ant-api03-AbCdEf_0123456789-xyz",
    "sk-proj-AbCdEf0123456789",
    "gsk_0123456789abcdefABCDEF",
    "xai-0123456789abcdefABCDEF",
    "AIzaSyA0123456789abcdefABCDEF0123456789",
    "Authorization: Bearer 0123456789abcdef",
    "authorization: Basic dXNlcjpwYXNzd29yZA==",
    '"Authorization": "Token 0123456789abcdef"',
    "x-api-key: 0123456789abcdef",
    "X-Goog-Api-Key=0123456789abcdef",
    "Set-Cookie: session=0123456789abcdef",
    "Incorrect API key provided: 0123456789abcdef",
    "api_key='0123456789abcdef'",
    "access_token=0123456789abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.0123456789abcdef",
]
TRACES = [
    'Traceback (most recent call last):\n  File "/srv/secret_place.py", line 3, in f\nValueError: 0123456789abcdef',
    "TypeError: x\n    at Object.run (/srv/secret_place.js:10:5)\n    at 0123456789abcdef (node:internal:1:2)",
    "Error\n    at /srv/secret_place.js:10:5",
]
LEAKS = ("0123456789", "AbCdEf", "secret_place", "Traceback", "dXNlcjpw", "eyJ")
PLACES = {
    "message": lambda text: error(500, text),
    "raw": lambda text: error(500, "Provider returned error", metadata={"raw": text}),
    "raw JSON": lambda text: error(500, "x", metadata={"raw": json.dumps({"error": {"message": text}})}),
    "plain text": lambda text: text.encode(),
    "error": lambda text: {"error": text},
    "detail": lambda text: {"detail": text},
    "reasons": lambda text: error(403, "x", metadata={"reasons": [text]}),
    "provider": lambda text: error(500, "x", metadata={"provider_name": text}),
    "fallbacks": lambda text: error(404, "x", availability={"code": "no_endpoints", "fallback_models": [text]}),
    "constraint": lambda text: error(404, "x", availability={"constraint": {"detail": text}}),
    "broken JSON": lambda text: json.dumps(error(500, text)).encode()[:-2],
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("planted", [*PLANTED, *TRACES])
def test_what_must_never_be_shown_is_not(place: str, planted: str) -> None:
    body = PLACES[place](f"Bad luck {planted} indeed")
    said = line(500, body)
    assert not any(leak in said for leak in LEAKS), said


@pytest.mark.parametrize("planted", PLANTED)
def test_no_error_of_the_pipe_itself_shows_a_key(planted: str) -> None:
    assert not any(leak in str(PipeError(f"Bad luck {planted} indeed")) for leak in LEAKS)


@given(st.sampled_from(PLANTED), st.text(max_size=600), st.text(max_size=50), st.sampled_from(list(PLACES)))
def test_no_key_is_shown_wherever_it_stands_in_the_text(planted: str, before: str, after: str, place: str) -> None:
    body = PLACES[place](f"{before} {planted} {after}".replace("<", "").replace("\\", ""))
    said = str(read_failure(500, body, MODEL))
    assert not any(leak in said for leak in ("0123456789", "AbCdEf", "dXNlcjpw")), said


@pytest.mark.parametrize(
    "harmless",
    [
        "You asked for 3000 tokens: too many",
        "skeleton-keys-of-words",
        "the basic plan has no access",
        "risk-free-trial",
    ],
)
def test_ordinary_words_are_kept(harmless: str) -> None:
    assert harmless in line(422, error(422, harmless))


KEYS = ["error", "message", "code", "metadata", "raw", "availability", "fallback_models", "reasons", "detail"]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
SHAPES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner))


@given(SHAPES, st.sampled_from([0, 200, 302, 400, 404, 500, 999]))
def test_no_shape_of_an_error_breaks_anything(body: object, status: int) -> None:
    text = str(read_failure(status, body, MODEL))
    assert 0 < len(text) <= 500


# --- Recordings and published examples, where they are

needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="../shared/fixtures is not here")
PUBLISHED = sorted(
    path for path in FIXTURES.glob("openapi_examples/post_*.json") if re.search(r"\.[45]\d\d\.", path.name)
)


@needs_fixtures
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.name)
def test_published_errors(path: Path) -> None:
    body = path.read_bytes()
    told = json.loads(body)["error"]
    said = line(told["code"], body)
    assert told["message"] in said
    assert said == line(200, body)
    for pattern in told.get("metadata", {}).get("patterns", []):
        assert pattern in said


@needs_fixtures
@pytest.mark.parametrize("path", sorted(FIXTURES.glob("real_errors/*.response.json")), ids=lambda path: path.name)
def test_recorded_errors(path: Path) -> None:
    told = json.loads(path.read_bytes())["error"]
    said = line(told["code"], path.read_bytes())
    assert said.startswith(f"{told['metadata']['provider_name']} ")
    assert told["metadata"]["raw"][:60] in said
