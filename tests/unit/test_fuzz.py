"""The fuzzer finds what is broken on purpose; a fuzzer that finds nothing proves nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz
import fuzz_targets
import pytest

from openrouter_pipe import errors, problems, sse

SCRIPTS = Path(fuzz.__file__).parent
# What stays of each thing that is fuzzed when it is broken: how to break it, and what the finding says.
BROKEN: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None], str]] = {
    "an event that is cut": ("sse", lambda patch: patch.setattr(sse.SseDecoder, "feed", whole_events), "instead of"),
    "a limit for the whole stream": (
        "sse",
        lambda patch: patch.setattr(sse.SseDecoder, "feed", counts_all),
        "not too long",
    ),
    "a key": ("errors", lambda patch: patch.setattr(errors, "_SECRETS", re.compile("(?!)")), "shows a key"),
    "a long line": ("errors", lambda patch: patch.setattr(errors, "plain", printable), "AssertionError"),
    "an odd line": ("errors", lambda patch: patch.setattr(errors, "one_line", str), "not printable"),
    "a lost message": (
        "messages",
        lambda patch: patch.setattr(fuzz_targets, "chat_messages", lambda given: TWO_AT_MOST(given)[:2]),
        "lost",
    ),
    "a changed message": (
        "messages",
        lambda patch: patch.setattr(fuzz_targets, "responses_input", forgetful),
        "what came in was changed",
    ),
    "an odd problem": ("valves", lambda patch: patch.setattr(problems, "one_line", str), "AssertionError"),
    "an exception": ("valves", lambda patch: patch.setattr(problems, "MAX_ENTRIES", "5"), "TypeError"),
}
TWO_AT_MOST = fuzz_targets.chat_messages
READ = fuzz_targets.responses_input
FEED = sse.SseDecoder.feed


def whole_events(decoder: sse.SseDecoder, chunk: bytes) -> list[bytes]:
    """A decoder that thinks that each chunk begins with a line."""
    decoder._line = []
    return FEED(decoder, chunk)


def counts_all(decoder: sse.SseDecoder, chunk: bytes) -> list[bytes]:
    """A decoder that never begins to count anew."""
    counted, decoder._size = decoder._size, 0
    payloads = FEED(decoder, chunk)
    decoder._size = counted + len(chunk)
    if decoder._size > sse.MAX_EVENT_BYTES:
        raise sse.EventTooLongError
    return payloads


def printable(text: str) -> str:
    """The text without a limit, and without what is odd."""
    return re.sub("[^ -~]", "?", text)


def forgetful(given: Any) -> Any:
    """A converter that takes something out of what it reads."""
    for message in given if isinstance(given, list) else ():
        if isinstance(message, dict):
            message.pop("tool_calls", None)
    return READ(given)


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_broken_is_found_and_can_be_made_again(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, break_it, told = BROKEN[broken]
    break_it(monkeypatch)
    found = fuzz.run_block(name, 1, 5_000).finding
    assert found is not None
    assert told in found.error
    again = fuzz.run_block(name, found.number, 1).finding
    assert again is not None
    assert again.case == found.case
    # What the error does not need was taken out.
    assert len(found.case) < 1_500


@pytest.mark.parametrize("name", fuzz_targets.TARGETS)
def test_what_is_not_broken_passes(name: str) -> None:
    done = fuzz.run_block(name, 0, 300)
    assert (done.finding, done.inputs, done.families) == (None, 300, 1)


def test_time_that_outgrows_the_input_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def quadratic(case: tuple[bytes, object, object]) -> None:
        for _ in range(len(case[0]) ** 2 // 400):
            pass

    target = fuzz_targets.TARGETS["sse"]._replace(check=quadratic, repeat=lambda _: lambda size: (b"a" * size, (), 0))
    monkeypatch.setitem(fuzz_targets.TARGETS, "sse", target)
    monkeypatch.setattr(fuzz, "NOISE_SECONDS", 0)
    found = fuzz.run_block("sse", 0, 1).finding
    assert found is not None
    assert "TooSlowError: 1, 2, 4, 8 times the input takes" in found.error


def test_an_input_that_never_ends_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(_case: object) -> None:
        while True:
            pass

    monkeypatch.setitem(fuzz_targets.TARGETS, "sse", fuzz_targets.TARGETS["sse"]._replace(check=endless))
    monkeypatch.setattr(fuzz, "TICK_SECONDS", 0.1)
    found = fuzz.run_block("sse", 1, 1).finding
    assert found is not None
    assert "still at work" in found.error


@pytest.mark.parametrize(
    ("check", "code", "told"),
    [
        ("lambda case: None", 0, r"seed 5\nsse +2,000 inputs in "),
        (
            "lambda case: 1 / (b'dat' not in case[0])",
            1,
            r"sse: ZeroDivisionError.*\n  input: \(b'dat', .*\n  again: make fuzz ARGS=",
        ),
        ("lambda case: os._exit(9)", 1, r"A process died. Again: make fuzz ARGS=\"sse --seed 5 --inputs 2000\""),
    ],
)
def test_the_command_tells_the_seed_and_ends_with_1(check: str, code: int, told: str, tmp_path: Path) -> None:
    program = f"""
import os, sys, fuzz
fuzz.TARGETS["sse"] = fuzz.TARGETS["sse"]._replace(check={check}, repeat=None)
sys.exit(fuzz.main(["sse", "--seed", "5", "--inputs", "2000"]))
"""
    paths = os.pathsep.join(map(str, (SCRIPTS, SCRIPTS.parent / "src")))
    command, environment = [sys.executable, "-c", program], {**os.environ, "PYTHONPATH": paths}
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == code, run.stderr
    assert re.search(told, run.stdout), run.stdout
