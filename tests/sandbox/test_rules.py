"""Scripted behaviour, disconnects and the control route."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import pytest

from openrouter_sandbox import Answer, Rule, server

KEY = {"Authorization": "Bearer sk-or-v1-test"}
STREAM = {"model": "openai/gpt-4o", "input": "Hi", "stream": True}


def post(session, sandbox, body=STREAM, path="/responses"):
    return session.post(sandbox.base_url + path, json=body, headers=KEY)


async def read(response):
    """(what could be read, whether the end was proper)."""
    got = b""
    try:
        async for piece in response.content.iter_any():
            got += piece
    except aiohttp.ClientPayloadError:
        return got, False
    return got, True


async def closed(sandbox, within=0.25):
    """Whether no stream is open any more after at most so many seconds."""
    deadline = time.monotonic() + within
    while sandbox.open_streams and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    return sandbox.open_streams == 0


async def test_a_status_with_its_usual_body(ask, respond, sandbox):
    sandbox.rules.append(Rule(status=429, headers={"Retry-After": "7"}))
    reply = await respond()
    assert (reply.status, reply.headers["Retry-After"]) == (429, "7")
    assert reply.json == {"error": {"message": "Rate limit exceeded", "code": 429}}
    assert (await ask("/models")).status == 429


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ({"error": {"code": "bad"}}, "application/json", '{"error": {"code": "bad"}}'),
        ("<html>gateway</html>", "text/html", "<html>gateway</html>"),
        (b"plain", "text/plain", "plain"),
    ],
)
async def test_a_body_of_ones_own(chat, sandbox, body, kind, text):
    sandbox.rules.append(Rule(body=body))
    reply = await chat(stream=True)
    assert (reply.status, reply.text) == (200, text)
    assert reply.headers["Content-Type"].startswith(kind)


async def test_which_requests_a_rule_is_for(ask, chat, respond, sandbox):
    sandbox.rules += [
        Rule(path="/chat/", model="openai/gpt-4o:nitro", status=529),
        Rule(path="/responses", times=2, status=503),
    ]
    assert (await chat()).status == 200
    assert (await chat(model="openai/gpt-4o:nitro")).status == 529
    assert [(await respond()).status for _ in range(3)] == [503, 503, 200]
    assert (await ask("/key")).status == 200


async def test_a_rule_does_not_excuse_a_wrong_request(ask, respond, sandbox):
    sandbox.rules.append(Rule(body="fine", times=1))
    assert (await respond(temprature=1)).status == 400
    assert (await ask("/key", headers={})).status == 401
    assert (await respond()).text == "fine"


async def test_waiting(session, sandbox):
    sandbox.rules.append(Rule(delay_seconds=0.1, first_event_delay_seconds=0.4, answer=Answer(text="x")))
    started = time.monotonic()
    async with post(session, sandbox) as response:
        headers_after = time.monotonic() - started
        assert (await response.content.readline()).startswith(b": OPENROUTER")
        comment_after = time.monotonic() - started
        await read(response)
    assert 0.1 <= headers_after <= comment_after < 0.4
    assert time.monotonic() - started >= 0.5


async def test_pace(session, sandbox):
    sandbox.rules.append(Rule(pace_seconds=0.01, answer=Answer(deltas=20)))
    started = time.monotonic()
    async with post(session, sandbox) as response:
        arrivals = [time.monotonic() - started async for _ in response.content.iter_any()]
    assert arrivals[-1] > 0.2
    assert len(arrivals) > 15


async def test_comments_while_waiting(session, sandbox):
    sandbox.rules.append(Rule(first_event_delay_seconds=0.1, keepalive_seconds=0.02, answer=Answer(text="x")))
    async with post(session, sandbox) as response:
        got, _ = await read(response)
    assert got.split(b"data: ")[0].count(b": OPENROUTER PROCESSING") >= 5


@pytest.mark.parametrize("count", [0, 3, 7])
async def test_a_cut_stream(session, sandbox, count, caplog):
    sandbox.rules.append(Rule(cut_after_events=count, answer=Answer(deltas=50)))
    async with post(session, sandbox) as response:
        got, proper = await read(response)
    assert (got.count(b"data: "), proper) == (count, False)
    assert await closed(sandbox)
    assert caplog.records == []


async def test_a_long_stream_is_cut_after_everything_before_arrived(session, sandbox):
    sandbox.rules.append(Rule(cut_after_events=20_000, answer=Answer(deltas=30_000)))
    async with post(session, sandbox) as response:
        got, proper = await read(response)
    assert (got.count(b"data: "), proper) == (20_000, False)


async def test_a_cut_without_a_stream(session, sandbox):
    sandbox.rules.append(Rule(cut_after_events=0))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        async with post(session, sandbox, STREAM | {"stream": False}):
            pass


async def test_small_writes_give_the_same_stream(session, sandbox):
    sandbox.rules.append(Rule(chunk_bytes=5, answer=Answer(text="grüße " * 20)))
    async with post(session, sandbox) as response:
        pieces = [piece async for piece in response.content.iter_any()]
    whole = b"".join(pieces)
    assert whole.endswith(b"data: [DONE]\n\n")
    assert "grüße ".encode() in whole
    assert len(pieces) > 100


async def test_events_as_they_are(session, sandbox):
    sandbox.rules.append(Rule(events=[": hello\n\n", b"data: {broken\n\n", "data: \xe4\n"]))
    async with post(session, sandbox) as response:
        assert await read(response) == (": hello\n\ndata: {broken\n\ndata: \xe4\n".encode(), True)


RAW = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nfirst"


@pytest.mark.parametrize("more", [{}, {"cut_after_events": 0}], ids=["closed", "cut"])
@pytest.mark.parametrize("path", ["/responses", "/key"])
async def test_bytes_without_http_around_them(session, sandbox, path, more, caplog):
    sandbox.rules.append(Rule(raw=[RAW, "last"], pace_seconds=0.1, times=1, **more))
    sandbox.rules.append(Rule(raw=[RAW], **more))
    method = "GET" if path == "/key" else "POST"
    for expected in ((b"firstlast", True), (b"first", False)):
        async with session.request(method, sandbox.base_url + path, json=STREAM, headers=KEY) as response:
            assert await read(response) == expected
    assert await closed(sandbox)
    assert caplog.records == []


async def test_a_server_that_speaks_first(sandbox):
    sandbox.greeting = b"SSH-2.0-x\r\n"
    reader, writer = await asyncio.open_connection(sandbox.host, sandbox.port)
    assert await reader.read() == b"SSH-2.0-x\r\n"
    writer.close()


async def test_hanging_up(session, sandbox):
    idle, writer = await asyncio.open_connection(sandbox.host, sandbox.port)
    sandbox.rules.append(Rule(hang=True))
    async with post(session, sandbox) as response:
        sandbox.hang_up()
        assert (await read(response))[1] is False
    assert await idle.read() == b""
    assert await closed(sandbox)
    writer.close()


@pytest.mark.parametrize(
    "rule",
    [
        Rule(delay_seconds=60),
        Rule(raw=[RAW + b"\n"], hang=True),
        Rule(first_event_delay_seconds=60),
        Rule(pace_seconds=60),
        Rule(hang=True),
        Rule(events=["data: {}\n\n"], hang=True),
        Rule(pace_seconds=0.001, answer=Answer(deltas=50_000)),
        Rule(answer=Answer(deltas=500_000)),
    ],
    ids=lambda rule: ",".join(key for key, value in vars(rule).items() if value and key != "usage_form"),
)
async def test_a_disconnect_is_noticed(session, sandbox, rule, caplog):
    sandbox.rules.append(rule)

    async def ask():
        async with post(session, sandbox) as response:
            await response.content.readline()
            await asyncio.sleep(60)

    asking = asyncio.create_task(ask())
    await asyncio.sleep(0.2)
    assert sandbox.open_streams == 1
    asking.cancel()
    assert await closed(sandbox)
    assert caplog.records == []


async def test_connections_are_reused(session, sandbox):
    for _ in range(3):
        async with post(session, sandbox) as response:
            await read(response)
    assert sandbox.connections == 1


async def test_a_thousand_streams_at_once(sandbox):
    sandbox.rules.append(Rule(first_event_delay_seconds=0.5, answer=Answer(text="x")))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one():
            async with post(session, sandbox) as response:
                return (await read(response))[0].endswith(b"data: [DONE]\n\n")

        streams = [asyncio.create_task(one()) for _ in range(1000)]
        most = 0
        while not all(stream.done() for stream in streams):
            most = max(most, sandbox.open_streams)
            await asyncio.sleep(0.01)
        assert all([await stream for stream in streams])
    assert most > 500
    assert sandbox.open_streams == 0


async def test_control_route(session, sandbox, respond):
    control = sandbox.base_url.removesuffix("/api/v1") + "/sandbox"
    rules = [{"path": "/responses", "times": 1, "status": 503}, {"answer": {"text": "Scripted", "deltas": 2}}]
    async with session.post(control + "/rules", json=rules) as reply:
        assert (reply.status, await reply.json()) == (200, {"rules": 2})
    assert (await respond()).status == 503
    assert "Scripted" in (await respond()).text
    async with session.get(control + "/received") as reply:
        body = await reply.json()
        assert [item["body"]["input"] for item in body["received"]] == ["Hi there", "Hi there"]
        assert body["open_streams"] == 0
    async with session.delete(control + "/received"), session.delete(control + "/rules"):
        pass
    assert (sandbox.received, sandbox.rules) == ([], [])


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'"x"',
        b'{"statsu": 500}',
        b'{"used": 1}',
        b'{"usage_form": "x"}',
        b'{"answer": {"txt": ""}}',
        b'{"answer": {"tool_calls": [{"title": "x"}]}}',
    ],
)
async def test_control_route_refuses_what_it_does_not_know(session, sandbox, body):
    control = sandbox.base_url.removesuffix("/api/v1") + "/sandbox/rules"
    async with session.post(control, data=body) as reply:
        assert reply.status == 400
        assert (await reply.json())["error"]
    assert sandbox.rules == []


async def test_control_route_is_for_this_computer_only(session, sandbox, monkeypatch):
    monkeypatch.setattr(server, "LOOPBACK", ())
    async with session.get(sandbox.base_url.removesuffix("/api/v1") + "/sandbox/received") as reply:
        assert reply.status == 403
