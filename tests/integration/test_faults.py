"""Every fault at every moment of a chat: what was shown stays, one clear error, and the next chat is as if nothing had been.

A moment is how much of a good answer had come; a fault is what came then. What each test leaves behind is looked at by the
fixture `nothing_is_left_behind`: tasks, sessions, and anything of a chat in memory.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from integration.chats import TEXT, Told, ask, valves, works
from integration.faults import BROKE_OFF, FAULTS, HEADERS, SILENT, Fault, Good, error_event
from polling import until

from openrouter_pipe.pipe import Pipe
from openrouter_sandbox import Rule, Sandbox

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.usefixtures("nothing_is_left_behind", "short_limits"),
]


@pytest.mark.parametrize("moment", ["first event", "middle", "before the end"])
@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_in_the_answer(
    pipe: Pipe,
    sandbox: Sandbox,
    endpoint: str,
    streaming: bool,
    good: dict[tuple[str, bool], Good],
    name: str,
    moment: str,
) -> None:
    fault, answer = FAULTS[name], good[endpoint, streaming]
    sandbox.rules.append(fault.rule(answer, moment))
    told = await ask(pipe, streaming)
    expected = fault.stream if streaming else fault.whole
    if expected is None:
        assert (told.text, told.errors, told.finish_reason) == (TEXT, [], "stop")
    else:
        assert told.text == answer.pieces[moment][1]
        fails_once(told, expected)
    await recovers(pipe, sandbox, endpoint, streaming)


@pytest.mark.parametrize("then", ["end", "close", "hang"])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("moment", ["first event", "middle", "before the end"])
async def test_an_error_in_the_stream(
    pipe: Pipe, sandbox: Sandbox, endpoint: str, good: dict[tuple[str, bool], Good], moment: str, count: int, then: str
) -> None:
    content = b"".join(error_event(endpoint, f"Sorry {number}") for number in range(count))
    answer = good[endpoint, True]
    sandbox.rules.append(Fault(content=content, then=then).rule(answer, moment))
    told = await ask(pipe, True)
    assert told.text == answer.pieces[moment][1]
    fails_once(told, "OpenRouter gave no valid answer for openai/gpt-4o: Sorry 0. Try again")
    await recovers(pipe, sandbox, endpoint, True)


@pytest.mark.parametrize("what", ["the end", "an error", "garbage"])
async def test_what_came_before_a_break_is_read(
    pipe: Pipe, sandbox: Sandbox, endpoint: str, good: dict[tuple[str, bool], Good], what: str
) -> None:
    """Between two updates nobody reads: what comes then must not be lost with the connection."""
    pipe.valves = valves(sandbox, endpoint, STREAM_INTERVAL_MS=300)
    answer = good[endpoint, True]
    before, text = answer.pieces["middle"]
    rest = {"the end": answer.body[len(before) :], "an error": error_event(endpoint, "Sorry")}.get(what, b"")
    wire = b"\xff\xfezz\r\n\r\n" if what == "garbage" else b""
    sandbox.rules.append(Fault(content=rest, wire=wire, then="close").rule(answer, "middle"))
    told = await ask(pipe, True)
    if what == "the end":
        assert (told.text, told.errors, told.finish_reason) == (TEXT, [], "stop")
    else:
        assert told.text == text
        fails_once(told, "Sorry" if what == "an error" else BROKE_OFF)
    await recovers(pipe, sandbox, endpoint, True)


@pytest.mark.parametrize("name", HEADERS)
async def test_a_fault_at_the_headers(pipe: Pipe, sandbox: Sandbox, endpoint: str, streaming: bool, name: str) -> None:
    rule, expected = HEADERS[name]
    sandbox.rules.append(rule)
    told = await ask(pipe, streaming)
    assert told.text == ""
    fails_once(told, expected)
    await recovers(pipe, sandbox, endpoint, streaming)


@pytest.mark.parametrize("name", ["headers", "refusal"])
async def test_what_comes_drop_by_drop_has_an_end_too(
    pipe: Pipe, sandbox: Sandbox, endpoint: str, streaming: bool, name: str
) -> None:
    start = b"HTTP/1.1 429 Slow\r\n" + (b"X: " if name == "headers" else b"Content-Length: 9999\r\n\r\n")
    sandbox.rules.append(Rule(raw=[start, *(100 * [b"x"])], pace_seconds=0.1))
    fails_once(await ask(pipe, streaming), SILENT if name == "headers" else "rate-limiting")
    await recovers(pipe, sandbox, endpoint, streaming)


# --- Before there is a connection


@contextmanager
def nobody_accepts() -> Iterator[str]:
    """An address whose queue of connections is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        waiting = []
        for _ in range(3):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}/api/v1"
        for sock in waiting:
            sock.close()


@pytest.mark.parametrize("fault", ["refuse", "stall", "close", "garbage", "TLS"])
async def test_a_fault_at_connecting(pipe: Pipe, sandbox: Sandbox, endpoint: str, streaming: bool, fault: str) -> None:
    greetings = {"close": b"", "garbage": b"SSH-2.0-OpenSSH_9.6\r\n", "TLS": b"\x15\x03\x01\x00\x02\x02\x46"}
    expected = "did not answer within" if fault == "stall" else "cannot be reached"
    sandbox.hang_up()
    sandbox.greeting = greetings.get(fault)
    with nobody_accepts() as full:
        address = {"refuse": "http://127.0.0.1:1/api/v1", "stall": full}.get(fault, sandbox.base_url)
        pipe.valves = valves(sandbox, endpoint, BASE_URL=address)
        told = await ask(pipe, streaming)
    sandbox.greeting = None
    fails_once(told, expected)
    assert address[7:-7] in told.errors[0], "it names the host"
    await recovers(pipe, sandbox, endpoint, streaming)


async def test_a_connection_that_was_closed_in_the_pool_costs_nothing(
    pipe: Pipe, sandbox: Sandbox, endpoint: str, streaming: bool
) -> None:
    # It may be noticed only when the request is on its way.
    pipe.valves = valves(sandbox, endpoint, MAX_RETRIES=1, RETRY_MAX_WAIT_SECONDS=0)
    await works(pipe, sandbox, streaming)
    before = sandbox.connections
    sandbox.hang_up()
    await works(pipe, sandbox, streaming)
    assert sandbox.connections == before + 1


# --- All of them, again and again


async def test_faults_leave_no_socket_and_no_memory(
    pipe: Pipe, sandbox: Sandbox, endpoint: str, good: dict[tuple[str, bool], Good]
) -> None:
    async def round_of_faults() -> tuple[int, int]:
        for fault in FAULTS.values():
            if fault.then != "hang":
                sandbox.rules[:] = [fault.rule(good[endpoint, True], "middle")]
                await ask(pipe, True)
        for name in ("429", "a page", "close", "garbage", "gzip that is none"):
            sandbox.rules[:] = [HEADERS[name][0]]
            await ask(pipe, True)
        await works(pipe, sandbox, True)
        await until(lambda: sandbox.open_streams == 0)
        sandbox.received.clear()
        return len(list(Path("/proc/self/fd").iterdir())), sys.getallocatedblocks()

    await round_of_faults()
    sockets, memory = await round_of_faults()
    for _ in range(3):
        sockets_now, memory_now = await round_of_faults()
    assert sockets_now <= sockets + 2
    assert memory_now - memory < 3_000, "a chat has some thousand blocks"


# ---


def fails_once(told: Told, expected: str) -> None:
    """One error, which says what happened and what to do, in plain words."""
    assert len(told.errors) == 1, told
    (error,) = told.errors
    assert expected in error
    assert (told.finish_reason, "finish" in told.kinds) == (None, False)
    assert re.search(r"\. [A-Z][^.]+.*\.$", error), "what to do comes after what happened"
    assert not re.search(r"[<>\n]|Traceback|Error:|message=|None", error)


async def recovers(pipe: Pipe, sandbox: Sandbox, endpoint: str, streaming: bool) -> None:
    """The connection has been let go, and the next chat is answered."""
    await until(lambda: sandbox.open_streams == 0)
    pipe.valves = valves(sandbox, endpoint)
    await works(pipe, sandbox, streaming)
