"""No key in anything that is written: every fault, and every place where a gateway may quote it, with a marked key."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import loguru
import pytest
from integration.chats import ENDPOINTS, MODEL
from integration.faults import FAULTS, HEADERS, Fault, Good, chunked, error_event
from polling import until

from openrouter_pipe import pipe as pipe_module
from openrouter_pipe.errors import PipeError
from openrouter_pipe.pipe import Pipe
from openrouter_pipe.requests import ChatContext
from openrouter_pipe.settings import Settings, UserValves
from openrouter_sandbox import Rule, Sandbox, account

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("short_limits")]

KEYS = {
    "looks like one": "sk-or-v1-MARKED0123456789abcdef",
    "does not": "plainsecretvalue",
    "has slashes": "plain/secret+value/MARKED==",
}
LIST = "/models/user"


class Witness:
    """A pipe with a key, and all that anybody gets to see of it: answers, status lines, lists, logs, files, errors."""

    def __init__(self, sandbox: Sandbox, endpoint: str, key: str, own: bool, files: Path) -> None:
        self.key, self.sandbox, self.files = key, sandbox, files
        valves = {"BASE_URL": sandbox.base_url, "ENDPOINT": endpoint, "STREAM_INTERVAL_MS": 0, "STATUS_MODEL": True}
        valves |= {"RETRY_MAX_WAIT_SECONDS": 0, "MAX_RETRIES": 1, "VARIANT_MODELS": "@preset/*"}
        self.pipe = Pipe()
        made = Settings(**valves, API_KEY="sk-or-v1-another-one" if own else key)
        self.pipe.valves = made.model_copy(update={"CONNECT_TIMEOUT_SECONDS": 0.3, "READ_TIMEOUT_SECONDS": 0.3})
        self.user = {"id": "u", "role": "admin", "valves": UserValves(API_KEY=key if own else "")}
        self.seen: list[tuple[str, object]] = []

    async def emit(self, event: dict[str, Any]) -> None:
        self.seen.append(("status line", event))

    async def look(self, *streaming: bool) -> None:
        """List the models, chat, and ask the status model."""
        self.seen.append(("list", await self.pipe.pipes()))
        for model, streams in [*((MODEL, streams) for streams in streaming), ("fn.status", False)]:
            body = {"model": model, "stream": streams, "messages": [{"role": "user", "content": "Hi"}]}
            answer = await self.pipe.pipe(body, self.user, "chat", None, self.emit, {})
            if isinstance(answer, dict | str):
                self.seen.append((f"answer of {model}", answer))
            else:
                self.seen += [(f"event of {model}", part) async for part in answer.body_iterator]
        await until(lambda: "_Account._run" not in str([task.get_coro() for task in asyncio.all_tasks()]))

    def search(self, errors: list[PipeError], log: str) -> None:
        """Nothing has the key in it."""
        self.seen.append(("log", log))
        self.seen += [(file.name, file.read_bytes()) for file in self.files.rglob("*") if file.is_file()]
        self.seen += [("repr", text) for text in reprs_from(self.pipe, self.user["valves"])]
        for error in errors:
            self.seen += [("an error's chain", text) for text in chain_of(error)]
        for where, text in self.seen:
            shown = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
            assert self.key not in shown.replace("\\", ""), where


def reprs_from(*roots: object) -> list[str]:
    """How the package's own objects that can be reached from these show themselves."""
    found: dict[int, object] = {}
    waiting = list(roots)
    while waiting:
        thing = waiting.pop()
        if id(thing) not in found and not isinstance(thing, (type, type(sys))):
            found[id(thing)] = thing
            is_ours = type(thing).__module__.startswith("openrouter_pipe")
            if is_ours or isinstance(thing, (dict, list, tuple, set)) or type(thing).__module__.startswith("aiohttp"):
                waiting += gc.get_referents(thing)
    ours = [thing for thing in found.values() if type(thing).__module__.startswith(("openrouter_pipe", "aiohttp"))]
    return [f"{thing!r} {thing}" for thing in ours]


def chain_of(error: BaseException) -> list[str]:
    """An error, and all that led to it."""
    texts: list[str] = []
    links: list[BaseException | None] = [error]
    while links:
        if link := links.pop():
            texts += [f"{link!r} {link} {vars(link)}", "".join(traceback.format_exception(link, chain=False))]
            links += [link.__cause__, link.__context__]
    return texts


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> list[PipeError]:
    """All errors of the pipe's own that were made."""
    made: list[PipeError] = []
    begin = PipeError.__init__

    def noted(self: PipeError, sentence: str, max_retries: int = 0) -> None:
        begin(self, sentence, max_retries)
        made.append(self)

    monkeypatch.setattr(PipeError, "__init__", noted)
    return made


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Open WebUI's data directory, and a sandbox that takes any key."""
    monkeypatch.setitem(sys.modules, "open_webui.env", SimpleNamespace(DATA_DIR=str(tmp_path)))
    monkeypatch.setattr(account, "check_key", lambda authorization: str(authorization))
    return tmp_path


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Everything that anybody logs."""
    caplog.set_level(logging.DEBUG)
    for name in ("aiohttp", "aiohttp.client", "aiohttp.internal", "asyncio", "openrouter_pipe"):
        caplog.set_level(logging.DEBUG, name)
    return caplog


@pytest.mark.parametrize("own", [False, True], ids=["admin's", "user's"])
async def test_no_fault_writes_the_key(
    sandbox: Sandbox,
    endpoint: str,
    good: dict[tuple[str, bool], Good],
    own: bool,
    files: Path,
    log: pytest.LogCaptureFixture,
    errors: list[PipeError],
) -> None:
    witness = Witness(sandbox, endpoint, KEYS["looks like one"], own, files)
    for streaming in (True, False):
        rules = [rule for rule, _ in HEADERS.values()]
        rules += [fault.rule(good[endpoint, streaming], "middle") for fault in FAULTS.values()]
        for rule in rules:
            rule.path, rule.used = ENDPOINTS[endpoint], 0
            sandbox.rules[:] = [rule]
            await witness.look(streaming)
    assert len(errors) > 50
    for error in errors:
        # Not what upstream sent, but what was sent to it: also where the values of variables are shown.
        with_values = traceback.TracebackException.from_exception(error, capture_locals=True)
        witness.seen.append(("the variables of an error", "".join(with_values.format())))
    witness.search(errors, log.text)


def in_json(text: str) -> str:
    """As PHP writes it."""
    return json.dumps(text).replace("/", "\\/")


def answers_with(key: str, endpoint: str) -> dict[str, Rule]:
    """Where a gateway may quote a key in the answer to a chat."""
    said = f"The key {key} is not known"
    head = "HTTP/1.1 {} \r\nContent-Type: application/json\r\n"
    body = f'{{"error": {{"code": 401, "message": {in_json(said)}}}}}'
    nested = {"code": 400, "message": "Provider returned error", "metadata": {"raw": body, "provider_name": key}}
    events = {
        "error": error_event(endpoint, said),
        "error as PHP writes it": error_event(endpoint, "KEY").replace(b"KEY", in_json(said)[1:-1].encode()),
        "who serves": json.dumps(
            {"provider": key, "model": key, "choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]}
            if endpoint == "chat_completions"
            else {"type": "response.completed", "response": {"model": key, "provider": key, "output": [
                {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
                {"type": "openrouter:web_search", "action": {"query": key}},
            ]}}
        ).join(("data: ", "\n\n")).encode(),
    }  # fmt: skip
    start = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(
        b":\n\n"
    )
    return {
        **{f"{status} in JSON": Rule(status=status, body=body) for status in (200, 401, 429)},
        "nested": Rule(status=400, body={"error": nested}),
        "text": Rule(status=401, body=said),
        "200 in text": Rule(status=200, body=said),
        "page": Rule(status=403, body=f"<html><title>{said}</title>{said}</html>"),
        "headers": Rule(status=429, headers={"Retry-After": key, "X-Key": key, "Location": key, "Set-Cookie": key}),
        "reason": Rule(raw=[f"HTTP/1.1 401 {said}\r\nContent-Length: 0\r\n\r\n"]),
        "status line": Rule(raw=[f"{said}\r\n\r\n"]),
        "bad header": Rule(raw=[f"{head.format(200)}{key} {key}\r\n\r\n"]),
        "half a head": Rule(raw=[f"{head.format(200)}X-Key: {key}\r\nX"]),
        "bad length": Rule(raw=[f"{head.format(200)}Content-Length: {key}\r\n\r\n"]),
        "bad encoding": Rule(raw=[f"{head.format(200)}Content-Encoding: gzip\r\nContent-Length: 99\r\n\r\n{said}"]),
        "bad chunk": Rule(raw=[start, f"{key}\r\n{key}\r\n\r\n"]),
        **{f"event: {name}": Fault(content=event).rule(Good(b"text/event-stream", {"": (b"", "")}, b""), "")
           for name, event in events.items()},
    }  # fmt: skip


@pytest.mark.parametrize("own", [False, True], ids=["admin's", "user's"])
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
async def test_a_key_that_a_gateway_quotes_goes_nowhere(
    sandbox: Sandbox,
    endpoint: str,
    key: str,
    own: bool,
    files: Path,
    log: pytest.LogCaptureFixture,
    errors: list[PipeError],
) -> None:
    witness = Witness(sandbox, endpoint, key, own, files)
    for name, rule in answers_with(key, endpoint).items():
        rule.path = ENDPOINTS[endpoint]
        sandbox.rules[:] = [rule]
        witness.seen.append(("", name))
        await witness.look(True, False)
    assert sandbox.received[-1].headers["Authorization"], "the key is in use"
    witness.search(errors, log.text)


def lists_with(key: str) -> dict[str, list[Rule]]:
    """Where a gateway may quote a key beside a chat: models, presets, the key's own page."""
    rows = [{"id": "a/b", "name": f"B {key}", "description": key, "supported_parameters": [key]}]
    return {
        "rows": [Rule(path=LIST, status=200, body={"data": rows})],
        "refused": [Rule(path=LIST, status=401, body={"error": {"message": key}})],
        "presets": [Rule(path="/presets", status=500, body={"error": {"message": key}})],
        "key": [Rule(path="/key", status=200, body={"data": {"label": key, "limit_reset": key}})],
        "no key": [Rule(path="/key", status=401, body=key)],
        "no JSON": [Rule(path=LIST, status=200, body=key)],
        "no HTTP": [Rule(path=LIST, raw=[f"{key}\r\n\r\n"]), Rule(path="/key", raw=[f"{key}\r\n\r\n"])],
    }


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("name", lists_with(""))
async def test_a_key_that_is_quoted_in_a_list_is_not_stored(
    sandbox: Sandbox, key: str, name: str, files: Path, log: pytest.LogCaptureFixture, errors: list[PipeError]
) -> None:
    witness = Witness(sandbox, "responses", key, False, files)
    sandbox.rules[:] = lists_with(key)[name]
    await witness.look()
    await witness.look()
    witness.search(errors, log.text)
    assert name != "rows" or list(files.rglob("catalog-*.json")), "the list was stored"


@pytest.mark.parametrize("valve", ["MODEL_ID", "VARIANT_MODELS", "HTTP_REFERER", "BASE_URL", "PROVIDER_ORDER"])
async def test_a_key_in_the_wrong_valve_is_not_logged(
    sandbox: Sandbox, valve: str, files: Path, log: pytest.LogCaptureFixture, errors: list[PipeError]
) -> None:
    key = KEYS["looks like one"]
    witness = Witness(sandbox, "responses", key, False, files)
    witness.pipe.valves = witness.pipe.valves.model_copy(update={valve: key})
    await witness.look(False)
    witness.seen = [(where, text) for where, text in witness.seen if where != "repr"]
    logged = log.text + str(witness.seen)
    assert key not in logged


class Diagnosing(logging.Handler):
    """How Open WebUI hands log lines to loguru, which may be set to show the values of variables."""

    def emit(self, record: logging.LogRecord) -> None:
        loguru.logger.opt(exception=record.exc_info).log(record.levelname, record.getMessage())


async def test_a_surprise_is_logged_without_the_values_of_variables(
    sandbox: Sandbox, endpoint: str, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("a surprise")

    lines: list[str] = []
    sink = loguru.logger.add(lambda message: lines.append(str(message)), diagnose=True, backtrace=True)
    handler = Diagnosing()
    logging.getLogger("openrouter_pipe").addHandler(handler)
    try:
        monkeypatch.setattr(pipe_module, "build_request", fail)
        witness = Witness(sandbox, endpoint, KEYS["looks like one"], True, files)
        # As Open WebUI has it in a variable of its own.
        params = {"__user__": {**witness.user, "email": "ada@example.com"}}
        await witness.pipe.pipe({"model": MODEL, "messages": [{"role": "user", "content": "A confession"}]}, **params)
    finally:
        logging.getLogger("openrouter_pipe").removeHandler(handler)
        loguru.logger.remove(sink)
    text = "".join(lines)
    assert "KeyError: 'a surprise'" in text
    assert [word for word in (witness.key, "A confession", "ada@example.com") if word in text] == []


async def test_what_keys_the_pseudonyms_is_not_shown() -> None:
    assert "s3cret" not in repr(ChatContext("chat", "user", "s3cret", "task"))


async def test_no_cookie_of_one_request_goes_along_with_another(sandbox: Sandbox, endpoint: str, files: Path) -> None:
    witness = Witness(sandbox, endpoint, KEYS["does not"], False, files)
    # Cookies of bare addresses are never kept.
    local = sandbox.base_url.replace(sandbox.host, "localhost")
    witness.pipe.valves = witness.pipe.valves.model_copy(update={"BASE_URL": local})
    sandbox.rules[:] = [Rule(path=ENDPOINTS[endpoint], status=402, headers={"Set-Cookie": "session=of-the-first"})]
    await witness.look(True, False)
    assert len(sandbox.received) > 2
    assert [call.headers["Cookie"] for call in sandbox.received if "Cookie" in call.headers] == []
