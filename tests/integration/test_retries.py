"""Another attempt: when, how often, after how long, and what the person is told meanwhile."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from integration.chats import text_and_error
from integration.faults import error_event
from polling import until

from openrouter_pipe.pipe import Pipe
from openrouter_pipe.settings import Settings
from openrouter_sandbox import Answer, Rule, Sandbox

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = "openai/gpt-4o"


class Chat:
    """A chat whose pauses are none at all, unless asked for."""

    def __init__(self, sandbox: Sandbox, endpoint: str = "auto", **valves: Any) -> None:
        defaults = {
            "API_KEY": "sk-or-v1-x",
            "BASE_URL": sandbox.base_url,
            "COST_DISPLAY": "off",
            "RETRY_MAX_WAIT_SECONDS": 0,
        }
        self.pipe = Pipe()
        self.pipe.valves = Settings(**{**defaults, "ENDPOINT": endpoint, **valves})
        self.sandbox = sandbox
        self.statuses: list[tuple[bool, str]] = []
        self.metadata = {"message_id": str(id(self))}

    async def emit(self, event: dict[str, Any]) -> None:
        self.statuses.append((event["data"]["done"], event["data"]["description"]))

    async def ask(self, streaming: bool = True, model: str = "openai.gpt-4o", **more: Any) -> tuple[str, str]:
        """Text and error."""
        body = {"model": f"x.{model}", "stream": streaming, "messages": [{"role": "user", "content": "Hi"}], **more}
        answer = await self.pipe.pipe(body, __event_emitter__=self.emit, __metadata__=dict(self.metadata))
        return await text_and_error(answer)

    @property
    def attempts(self) -> list[str]:
        return [call.path.removeprefix("/api/v1") for call in self.sandbox.received if isinstance(call.body, dict)]


def failing(endpoint: str, times: int | None = None, **rule: Any) -> Rule:
    return Rule(path=endpoint.replace("_", "/"), times=times, **rule)


FAILURES: dict[str, dict[str, Any]] = {
    **{str(status): {"status": status} for status in (408, 429, 502, 503, 504, 524, 529)},
    "cut before the first event": {"cut_after_events": 0},
    "200 with an error body": {"body": {"error": {"code": 503, "message": "Sorry"}}, "status": 200},
    "retryable, says upstream": {
        "status": 404,
        "body": {
            "error": {"code": 404, "message": "Sorry", "availability": {"code": "no_endpoints", "retryable": True}}
        },
    },
}


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("failure", FAILURES)
async def test_what_passes_by_is_tried_again(sandbox: Sandbox, endpoint: str, failure: str, streaming: bool) -> None:
    sandbox.rules.append(failing(endpoint, 2, **FAILURES[failure]))
    chat = Chat(sandbox, endpoint)
    text, error = await chat.ask(streaming)
    assert (bool(text), error) == (True, "")
    assert len(chat.attempts) == 3
    assert [done for done, _ in chat.statuses] == [False, True, False, True]
    assert all(line.endswith(". Trying again in 0 s.") for done, line in chat.statuses if not done)


@pytest.mark.parametrize("code", [429, "429", "rate_limit_exceeded", 502])
async def test_an_error_event_before_the_first_word_counts_as_well(
    sandbox: Sandbox, endpoint: str, code: object
) -> None:
    sandbox.rules.append(failing(endpoint, 1, events=[error_event(endpoint, "Sorry", code)]))
    chat = Chat(sandbox, endpoint)
    text, error = await chat.ask()
    assert (bool(text), error, len(chat.attempts)) == (True, "", 2)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(("error_type", "attempts"), [("provider_overloaded", 3), ("server", 2), ("authentication", 1)])
async def test_a_response_that_failed_is_tried_again_where_its_error_type_passes_by(
    sandbox: Sandbox, error_type: str, attempts: int, streaming: bool
) -> None:
    error = {"code": "server_error", "message": "Sorry"}
    failed = {"status": "failed", "output": [], "error": error, "error_type": error_type}
    event = json.dumps({"type": "response.failed", "response": failed})
    sandbox.rules.append(
        failing("responses", events=[f"data: {event}\n\n"]) if streaming else failing("responses", body=failed)
    )
    chat = Chat(sandbox, "responses")
    assert (await chat.ask(streaming))[0] == ""
    assert len(chat.attempts) == attempts


@pytest.mark.parametrize("streaming", [True, False])
async def test_it_is_given_up_after_so_many_attempts(sandbox: Sandbox, endpoint: str, streaming: bool) -> None:
    sandbox.rules.append(failing(endpoint, status=429))
    chat = Chat(sandbox, endpoint)
    text, error = await chat.ask(streaming)
    assert (text, len(chat.attempts)) == ("", 3)
    assert error.startswith(f"OpenRouter is rate-limiting {MODEL}: ")
    assert error.endswith("; tried 3 times. Try again in a moment, or choose another model.")


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (1, 2), (5, 6)])
async def test_how_often_is_a_valve(sandbox: Sandbox, retries: int, attempts: int) -> None:
    sandbox.rules.append(failing("responses", status=503))
    chat = Chat(sandbox, "responses", MAX_RETRIES=retries)
    _, error = await chat.ask()
    assert len(chat.attempts) == attempts
    assert ("tried" in error) == (attempts > 1)


@pytest.mark.parametrize(
    "rule",
    [
        *({"status": status} for status in (400, 401, 402, 403, 404, 413, 422)),
        {
            "status": 503,
            "body": {"error": {"code": 503, "message": "x", "availability": {"code": "y", "retryable": False}}},
        },
        {"answer": Answer(text="", reasoning="", finish_reason="length")},
        {"body": "<html>Log in</html>", "status": 200},
    ],
    ids=str,
)
async def test_what_stays_is_not_tried_again(sandbox: Sandbox, endpoint: str, rule: dict[str, Any]) -> None:
    sandbox.rules.append(failing(endpoint, **rule))
    chat = Chat(sandbox, endpoint)
    text, error = await chat.ask()
    assert (text, bool(error), len(chat.attempts), chat.statuses) == ("", True, 1, [])


@pytest.mark.parametrize("rule", [{"status": 500}, {"answer": Answer(text="", reasoning="")}], ids=["500", "empty"])
async def test_some_are_tried_again_once(sandbox: Sandbox, endpoint: str, rule: dict[str, Any]) -> None:
    sandbox.rules.append(failing(endpoint, **rule))
    chat = Chat(sandbox, endpoint)
    _, error = await chat.ask()
    assert len(chat.attempts) == 2
    assert "ried 2 times" in error


async def test_what_an_empty_attempt_cost_is_in_the_sum(sandbox: Sandbox, endpoint: str) -> None:
    sandbox.rules.append(failing(endpoint, 1, answer=Answer(text="", reasoning="")))
    chat = Chat(sandbox, endpoint, COST_DISPLAY="status")
    await chat.ask()
    twice = chat.statuses[-1][1]
    chat.metadata["message_id"] = "another"
    await chat.ask()
    assert tokens_in(twice) == 2 * tokens_in(chat.statuses[-1][1])


def tokens_in(line: str) -> int:
    return int(line.split(" in · ")[0].rpartition(" ")[2])


async def test_nothing_is_tried_again_once_a_word_was_shown(sandbox: Sandbox, endpoint: str) -> None:
    sandbox.rules.append(failing(endpoint, cut_after_events=8, answer=Answer(deltas=20)))
    chat = Chat(sandbox, endpoint)
    text, error = await chat.ask()
    assert text
    assert "broke off" in error
    assert len(chat.attempts) == 1


@pytest.mark.parametrize("form", ["header", "date", "availability"])
async def test_a_wait_that_upstream_asks_for_is_obeyed(sandbox: Sandbox, endpoint: str, form: str) -> None:
    rule: dict[str, Any] = {"status": 429}
    if form == "header":
        rule["headers"] = {"Retry-After": "1"}
    elif form == "date":
        rule["headers"] = {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)}
    else:
        availability = {"code": "capacity_exhausted", "retryable": True, "retry_after": 1}
        rule["body"] = {"error": {"code": 429, "message": "x", "availability": availability}}
    sandbox.rules.append(failing(endpoint, 1, **rule))
    chat = Chat(sandbox, endpoint, RETRY_MAX_WAIT_SECONDS=5)
    began = time.monotonic()
    text, _ = await chat.ask()
    assert text
    assert 0.9 < time.monotonic() - began < 4
    assert chat.statuses[0][1].endswith(("Trying again in 1 s.", "Trying again in 2 s."))


@pytest.mark.parametrize(
    ("wait", "words"),
    [
        ("31", "in 31 s"),
        ("600", "in 10 min"),
        ("7300", "in 3 h"),
        ("99999999999999", "in 2778 h"),
        ("1e400", "in 2778 h"),
    ],
)
async def test_a_longer_wait_is_named_at_once(sandbox: Sandbox, endpoint: str, wait: str, words: str) -> None:
    sandbox.rules.append(failing(endpoint, status=429, headers={"Retry-After": wait}))
    chat = Chat(sandbox, endpoint, RETRY_MAX_WAIT_SECONDS=30)
    _, error = await chat.ask()
    assert words in error
    assert error.endswith(", or choose another model.")
    assert len(chat.attempts) == 1


@pytest.mark.parametrize(
    "wait", ["soon", "-5", "nan", "", "Fri, 99 Foo 2026", "Mon, 1 Jan 99999999999999999999 00:00:00 GMT"]
)
async def test_an_odd_wait_is_none(sandbox: Sandbox, wait: str) -> None:
    sandbox.rules.append(failing("responses", 1, status=429, headers={"Retry-After": wait}))
    chat = Chat(sandbox, "responses")
    async with asyncio.timeout(5):
        text, error = await chat.ask()
    assert text or "rate-limiting" in error


async def test_there_is_a_limit_to_it_all(sandbox: Sandbox, endpoint: str) -> None:
    sandbox.rules.append(failing(endpoint, status=503, delay_seconds=0.6))
    chat = Chat(sandbox, endpoint, MAX_RETRIES=10, READ_TIMEOUT_SECONDS=1)
    await chat.ask()
    assert len(chat.attempts) == 2, "after a second in all, no further one begins"


async def test_stop_ends_the_waiting_at_once(sandbox: Sandbox, endpoint: str) -> None:
    sandbox.rules.append(failing(endpoint, status=429, headers={"Retry-After": "20"}))
    chat = Chat(sandbox, endpoint, RETRY_MAX_WAIT_SECONDS=30)
    asking = asyncio.create_task(chat.ask())
    await until(lambda: bool(chat.statuses))
    began = time.monotonic()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert time.monotonic() - began < 0.3
    assert chat.statuses[-1][0] is True, "nothing goes on shimmering"
    assert len(chat.attempts) == 1


async def test_an_unreachable_host_is_tried_again(sandbox: Sandbox) -> None:
    chat = Chat(sandbox, BASE_URL="http://127.0.0.1:9/api/v1")
    _, error = await chat.ask()
    assert "127.0.0.1:9 cannot be reached" in error
    assert "; tried 3 times. Check" in error
    assert len(chat.statuses) == 4


WRONG = {
    "error": {"code": 400, "message": "Wrong endpoint", "availability": {"code": "wrong_endpoint", "retryable": False}}
}
PLAIN = {"error": {"code": 404, "message": f"{MODEL} is only served on /chat/completions"}}


@pytest.mark.parametrize("body", [WRONG, PLAIN], ids=["code", "message"])
@pytest.mark.parametrize("streaming", [True, False])
async def test_the_other_endpoint_is_tried_and_remembered(
    sandbox: Sandbox, body: dict[str, Any], streaming: bool
) -> None:
    sandbox.rules.append(failing("responses", status=body["error"]["code"], body=body))
    chat = Chat(sandbox)
    for _ in range(2):
        text, error = await chat.ask(streaming)
        assert (bool(text), error) == (True, "")
    await chat.ask(model="openai.gpt-4o-mini")
    assert chat.attempts == [
        "/responses",
        "/chat/completions",
        "/chat/completions",
        "/responses",
        "/chat/completions",
    ], "for each model by itself"


async def test_both_endpoints_refusing_is_an_error(sandbox: Sandbox) -> None:
    sandbox.rules.append(Rule(path="responses", status=400, body=WRONG))
    sandbox.rules.append(Rule(path="chat/completions", status=400, body=WRONG))
    chat = Chat(sandbox)
    text, error = await chat.ask()
    assert (text, chat.attempts) == ("", ["/responses", "/chat/completions"])
    assert "not served on this endpoint" in error


async def test_a_fixed_endpoint_is_not_switched(sandbox: Sandbox, endpoint: str) -> None:
    sandbox.rules.append(failing(endpoint, status=400, body=WRONG))
    chat = Chat(sandbox, endpoint)
    _, error = await chat.ask()
    assert len(chat.attempts) == 1
    assert "ENDPOINT" in error
