"""A real Open WebUI of one's own: started, driven over its REST API, and stopped without a trace.

    with OpenWebUI(data_dir) as webui:
        webui.sign_in()
        webui.install_function("openrouter_pipe", "OpenRouter", source)
        webui.set_valves("openrouter_pipe", {"API_KEY": "…"})
        print([model["id"] for model in webui.models()])
        print(webui.ask("openrouter_pipe.openai.gpt-4o", "Hello?"))

Everything it writes is in its data directory; nothing of the caller's environment reaches it but what is listed here.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

START_LIMIT = 180.0  # seconds until it must be healthy
STOP_LIMIT = 10.0  # seconds from SIGTERM to SIGKILL

# What is taken over from the environment: where programs are, and how to reach the world. Never keys or settings.
INHERITED = (
    *("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "USER"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
)
# A folder with another Open WebUI than the installed one (see `compat.py`); everything else comes from the environment.
COPY = "WEBUI_COPY"
LOOPBACK = "127.0.0.1,localhost"
SETTINGS = {
    # No downloads, no phoning home, and no embedding model of its own (so it runs without torch).
    "OFFLINE_MODE": "True",
    "HF_HUB_OFFLINE": "1",
    "RAG_EMBEDDING_ENGINE": "openai",
    "DO_NOT_TRACK": "true",
    "SCARF_NO_ANALYTICS": "true",
    "ANONYMIZED_TELEMETRY": "false",
    "ENABLE_VERSION_UPDATE_CHECK": "False",
    # No other models than those of the functions.
    "ENABLE_OLLAMA_API": "False",
    "ENABLE_OPENAI_API": "False",
    "ENABLE_EVALUATION_ARENA_MODELS": "False",
    "NO_PROXY": LOOPBACK,
    "no_proxy": LOOPBACK,
    "PYTHONUNBUFFERED": "1",
}
# The same as the `open-webui` command, which cannot be run by its path when the checkout was moved.
COMMAND = ("-c", "from open_webui import app; app()", "serve", "--host", "127.0.0.1", "--port")


class OpenWebUIError(Exception):
    """Open WebUI did not start, or refused a request; the text says what, in one line or with the end of its log."""


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Whether a server can listen on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextlib.contextmanager
def signals_wait() -> Iterator[None]:
    """Let signals take effect at the end of the block: one that raises while a process starts would lose track of it.

    Nothing changes outside the main thread, where signals never raise.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        for number in handlers:
            signal.signal(number, lambda caught, _: arrived.append(caught))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for late in arrived:
        signal.raise_signal(late)


def stop_group(process: subprocess.Popen[bytes], limit: float = STOP_LIMIT) -> None:
    """End a process and all that it started: SIGTERM to its group, SIGKILL to what is left after `limit` seconds.

    The process must have been started with `start_new_session=True`, so that its group is its own.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(limit)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class OpenWebUI:
    """One server with its own data directory. Requests raise `OpenWebUIError` when they are refused.

    `url`, `port`, `log_path` and `client` (an `httpx.Client` for this server, signed in after `sign_in`) are there for
    whatever the methods do not cover.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        auth: bool = False,
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        """Prepare; nothing runs until `start`. `auth` asks for a login, `env` is added to its environment."""
        self.data_dir = data_dir.resolve()
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = self.data_dir / "open-webui.log"
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)  # straight: it is on this machine
        self._auth = auth
        self._env = dict(env or {})
        self._python = python
        self._process: subprocess.Popen[bytes] | None = None

    # --- the process

    def start(self, limit: float = START_LIMIT) -> None:
        """Start it and wait until it answers; raise with the end of its log when it does not within `limit` seconds.

        It can be started again after `stop`, on the same port and data, still signed in.
        """
        if not port_is_free(self.port):
            raise OpenWebUIError(f"port {self.port} is taken")
        if self.client.is_closed:
            self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False, headers=self.client.headers)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        environment = self.environment()
        try:
            with self.log_path.open("wb") as log, signals_wait():
                self._process = subprocess.Popen(
                    [self._python, *COMMAND, str(self.port)],
                    cwd=self.data_dir,  # it looks for a `.env` where it runs
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._wait_until_healthy(time.monotonic() + limit)
        except BaseException:  # also Ctrl-C: whatever ends the wait, nothing stays behind
            self.stop()
            raise

    def stop(self) -> None:
        """End it with all its processes; may be called twice."""
        if self._process:
            stop_group(self._process)
            self._process = None
        self.client.close()

    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def process_id(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    def log_tail(self, lines: int = 25) -> str:
        """The end of its log."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> OpenWebUI:
        """Start it."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop it."""
        self.stop()

    def environment(self) -> dict[str, str]:
        """The whole environment of the server."""
        key_file = self.data_dir / "secret_key"
        if not key_file.exists():
            key_file.touch(mode=0o600)
            key_file.write_text(secrets.token_hex(32))
        return {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            **SETTINGS,
            **({"PYTHONPATH": os.environ[COPY]} if COPY in os.environ else {}),
            "DATA_DIR": str(self.data_dir),
            "STATIC_DIR": str(self.data_dir / "static"),  # else it writes into its own package
            "WEBUI_AUTH": str(self._auth),
            "WEBUI_SECRET_KEY": key_file.read_text(),
            "WEBUI_URL": self.url,
            "CORS_ALLOW_ORIGIN": f"{self.url};http://localhost:{self.port}",
            **self._env,
        }

    def _wait_until_healthy(self, deadline: float) -> None:
        """Poll `/health` until it answers; it does only when the start is complete."""
        while time.monotonic() < deadline:
            if not self.is_running():
                raise OpenWebUIError(f"Open WebUI ended while it started; its log ends with:\n{self.log_tail()}")
            with contextlib.suppress(httpx.TransportError):
                if self.client.get("/health", timeout=5).is_success:
                    return
            time.sleep(0.1)
        raise OpenWebUIError(f"Open WebUI was not up in time; its log ends with:\n{self.log_tail()}")

    # --- its REST API

    def request(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Send a request, return the decoded JSON; raise `OpenWebUIError` with the server's own words on a refusal."""
        try:
            response = self.client.request(method, path, json=body, **options)
        except httpx.TransportError as error:
            raise OpenWebUIError(f"{method} {path}: {error or type(error).__name__}") from error
        if not response.is_success:
            raise OpenWebUIError(f"{method} {path}: {response.status_code} {_detail(response)}")
        return response.json()

    def sign_in(self, email: str = "admin@localhost", password: str = "admin", name: str = "Admin") -> str:  # noqa: S107
        """Sign in and return the token. With `auth` a first account is created, which is the administrator's."""
        form = {"email": email, "password": password}
        try:
            answer = self.request("POST", "/api/v1/auths/signin", form)
        except OpenWebUIError:
            answer = self.request("POST", "/api/v1/auths/signup", {**form, "name": name})
        token: str = answer["token"]
        self.client.headers["Authorization"] = f"Bearer {token}"
        return token

    def install_function(self, function_id: str, name: str, source: str, description: str = "") -> dict[str, Any]:
        """Install this source as a function, or update the one of that id, and switch it on; return its row."""
        form = {"id": function_id, "name": name, "content": source, "meta": {"description": description}}
        path = f"/api/v1/functions/id/{function_id}"
        known = {row["id"] for row in self.request("GET", "/api/v1/functions/")}
        self.request("POST", f"{path}/update" if function_id in known else "/api/v1/functions/create", form)
        row: dict[str, Any] = self.request("GET", path)
        return row if row["is_active"] else self.request("POST", f"{path}/toggle")

    def set_valves(self, function_id: str, valves: Mapping[str, Any]) -> dict[str, Any]:
        """Set the function's valves to exactly these: what is not named goes back to its default."""
        stored: dict[str, Any] = self.request("POST", f"/api/v1/functions/id/{function_id}/valves/update", dict(valves))
        return stored

    def models(self, *, refresh: bool = True) -> list[dict[str, Any]]:
        """The models that this user can chat with."""
        path = "/api/models?refresh=true" if refresh else "/api/models"
        models: list[dict[str, Any]] = self.request("GET", path, timeout=120)["data"]
        return models

    def ask(self, model: str, chat: str | Sequence[Mapping[str, Any]], **body: Any) -> dict[str, Any]:
        """Ask a model a question (or the messages of a whole chat) without streaming; the answer is the whole body.

        A pipe's error is part of the answer (`{"error": …}`), as Open WebUI hands it out.
        """
        answer: dict[str, Any] = self.request("POST", "/api/chat/completions", _chat(model, chat, body, stream=False))
        return answer

    def ask_stream(self, model: str, chat: str | Sequence[Mapping[str, Any]], **body: Any) -> Iterator[dict[str, Any]]:
        """Ask with streaming: yield the decoded events, without the closing `[DONE]`."""
        form = _chat(model, chat, body, stream=True)
        with self.client.stream("POST", "/api/chat/completions", json=form) as response:
            if not response.is_success:
                response.read()
                raise OpenWebUIError(f"POST /api/chat/completions: {response.status_code} {_detail(response)}")
            for line in response.iter_lines():
                data = line.removeprefix("data:").strip()
                if line.startswith("data:") and data != "[DONE]":
                    yield json.loads(data)


def answer_text(answer: Mapping[str, Any]) -> str:
    """The text of an answer of `ask`; raise `OpenWebUIError` when it is an error instead."""
    try:
        text: str = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        error = answer.get("error", answer)
        detail = error.get("message") or error.get("detail") if isinstance(error, dict) else error
        raise OpenWebUIError(f"no answer: {detail or answer}") from None
    return text


def _chat(
    model: str, chat: str | Sequence[Mapping[str, Any]], body: Mapping[str, Any], *, stream: bool
) -> dict[str, Any]:
    """The body of a chat request."""
    messages = [{"role": "user", "content": chat}] if isinstance(chat, str) else [dict(message) for message in chat]
    return {"model": model, "messages": messages, "stream": stream, **body}


def _detail(response: httpx.Response) -> str:
    """What a refusal says, in one line."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.text
    return " ".join(str(detail).split())[:500]
