"""`scripts/demo.py`: what it decides, and what it says when something is in the way. No Open WebUI is started here."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import demo
import pytest
import webui_server
from polling import eventually

KEY = "sk-or-v1-a-real-secret"


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that something listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


@pytest.fixture(autouse=True)
def _own_signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`demo.main` sets signal handlers, and reads the environment: keep both to itself."""
    for name in ("OPENROUTER_API_KEY", "PORT"):
        monkeypatch.delenv(name, raising=False)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


# --- valves


def test_the_sandbox_gets_its_own_key_and_address() -> None:
    settings = demo.valves("", "http://127.0.0.1:1/api/v1")
    assert settings["API_KEY"] == "sk-or-v1-sandbox"
    assert settings["BASE_URL"] == "http://127.0.0.1:1/api/v1"
    assert "openai/gpt-4o:nitro" in settings["VARIANT_MODELS"]
    assert "openai/gpt-4o@preset/email-copywriter" in settings["VARIANT_MODELS"]


def test_the_real_openrouter_gets_the_key_and_only_the_presets_of_the_account() -> None:
    settings = demo.valves(KEY, None)
    assert settings["API_KEY"] == KEY
    assert "BASE_URL" not in settings
    assert [entry for entry in settings["VARIANT_MODELS"].split(", ") if "@preset" in entry] == ["@preset/*"]


# --- ports


def test_a_taken_port_that_was_asked_for_is_an_error(taken_port: int) -> None:
    with pytest.raises(demo.DemoError, match=f"port {taken_port} is taken"):
        demo.choose_port(taken_port)


def test_without_a_wish_it_is_8080_or_a_free_one_with_a_note(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "port_is_free", lambda port: True)
    assert demo.choose_port(None) == 8080
    monkeypatch.setattr(demo, "port_is_free", lambda port: False)
    port = demo.choose_port(None)
    assert port != 8080
    assert f"8080 is taken, so Open WebUI gets {port}" in capsys.readouterr().out


# --- one line when something is in the way


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A built file, so that the demo gets past its first question; the folder is its data directory."""
    (tmp_path / "openrouter_pipe.py").touch()
    monkeypatch.setattr(demo, "BUILT", tmp_path / "openrouter_pipe.py")
    return tmp_path


def error_line(data: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the demo says on stderr when it fails; it must fail, with one line."""
    assert demo.main(["--once", "--data", str(data), *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("demo: ")
    return line


def test_no_built_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "BUILT", tmp_path / "openrouter_pipe.py")
    assert "make bundle" in error_line(tmp_path, capsys)


def test_port_taken(built: Path, taken_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"port {taken_port} is taken" in error_line(built, capsys, "--port", str(taken_port))


def test_port_from_the_environment(
    built: Path, taken_port: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", str(taken_port))
    assert f"port {taken_port} is taken" in error_line(built, capsys)


def test_two_demos_on_the_same_data(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with demo.only_demo(built):
        assert "a demo runs already" in error_line(built, capsys)


def test_the_sandbox_dies_at_once(
    built: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "ROOT", built)  # where there is no sandbox to start
    monkeypatch.setattr(sys, "executable", "/bin/false")
    line = error_line(built, capsys, "--port", "0")
    assert "the sandbox died" in line
    assert str(built / "sandbox.log") in line


def test_the_key_is_never_printed(
    built: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise demo.DemoError(f"401 for {KEY}")

    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    monkeypatch.setattr(demo, "choose_port", refuse)
    assert error_line(built, capsys) == "demo: 401 for [key]"


def test_what_the_pipe_complained_about_last_is_found_in_the_log() -> None:
    log = (
        "2026-01-01 | WARNING  | open_webui.main:x:1 - not the pipe\n"
        "2026-01-01 | WARNING  | function_openrouter_pipe_7d6d:_log:2 - first\n"
        "2026-01-01 | WARNING  | function_openrouter_pipe_7d6d:_log:2 - openrouter.ai cannot be reached.\n"
        "2026-01-01 | INFO     | function_openrouter_pipe_7d6d:_log:2 - nothing\n"
    )
    assert demo.pipe_warning(log) == "It says: openrouter.ai cannot be reached. "
    assert demo.pipe_warning("") == ""


# --- processes


def test_the_server_inherits_no_keys_and_no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENROUTER_API_KEY", "OPENAI_API_KEY", "DATABASE_URL", "REDIS_URL", "DATA_DIR"):
        monkeypatch.setenv(name, "leaked")
    command = "import json, os, sys; print(json.dumps(dict(os.environ))); sys.exit(3)"
    monkeypatch.setattr(webui_server, "COMMAND", ("-c", command))
    webui = webui_server.OpenWebUI(tmp_path / "data")
    with pytest.raises(webui_server.OpenWebUIError, match="ended while it started") as caught:
        webui.start()
    seen = str(caught.value)
    assert "leaked" not in seen
    assert '"OFFLINE_MODE": "True"' in seen
    assert f'"DATA_DIR": "{tmp_path / "data"}"' in seen


def test_a_server_that_never_answers_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = "import os, time; print('pid', os.getpid(), flush=True); time.sleep(600)"
    monkeypatch.setattr(webui_server, "COMMAND", ("-c", command))
    webui = webui_server.OpenWebUI(tmp_path)
    with pytest.raises(webui_server.OpenWebUIError, match="not up in time"):
        webui.start(limit=1)
    pid = int(webui.log_tail().split()[1])
    assert not alive(pid)


def test_a_signal_at_the_moment_of_the_start_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It raises where Python is between the start of the process and the line that keeps hold of it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(*arguments, **options))
        signal.raise_signal(signal.SIGTERM)
        return started[-1]

    monkeypatch.setattr(webui_server, "COMMAND", ("-c", "import time; time.sleep(600)"))
    monkeypatch.setattr(webui_server, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": start}))
    monkeypatch.setattr(demo, "subprocess", webui_server.subprocess)
    sandbox = demo.Sandbox(tmp_path)
    # A `with` that was never entered ends nothing.
    for begin, end in ((webui_server.OpenWebUI(tmp_path).__enter__, bool), (sandbox.start, sandbox.stop)):
        signal.signal(signal.SIGTERM, demo.interrupt)
        with pytest.raises(KeyboardInterrupt):
            begin()
        end()
        assert started[-1].poll() is not None
    assert len(started) == 2


def test_stopping_ends_children_that_ignore_sigterm(tmp_path: Path) -> None:
    child = (
        "import os, signal, time; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(600)"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", parent], stdout=out, start_new_session=True)
    assert eventually(lambda: (tmp_path / "out").read_text().endswith("\n"))
    pid = int((tmp_path / "out").read_text())
    assert alive(pid)
    webui_server.stop_group(process, limit=1)
    assert eventually(lambda: not alive(pid))
    assert process.returncode is not None
    webui_server.stop_group(process)  # a second time is harmless


def test_the_secret_key_stays_the_same_and_is_private(tmp_path: Path) -> None:
    first = webui_server.OpenWebUI(tmp_path).environment()
    second = webui_server.OpenWebUI(tmp_path).environment()
    assert first["WEBUI_SECRET_KEY"] == second["WEBUI_SECRET_KEY"]
    assert (tmp_path / "secret_key").stat().st_mode & 0o077 == 0


# --- answers


def test_an_error_instead_of_an_answer_is_raised_in_its_own_words() -> None:
    assert webui_server.answer_text({"choices": [{"message": {"content": "hi"}}]}) == "hi"
    for error in ({"error": {"message": "no credit"}}, {"error": {"detail": "no credit"}}, {"error": "no credit"}):
        with pytest.raises(webui_server.OpenWebUIError, match="no answer: no credit"):
            webui_server.answer_text(error)
