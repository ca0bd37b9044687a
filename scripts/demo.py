"""`make demo`: a real Open WebUI with the pipe in it, one question answered, and an address to open.

The upstream is the sandbox of this project, or the real OpenRouter when OPENROUTER_API_KEY is set. Data is kept in
`.cache/demo/`, so the next run is quick and finds its chats again. Ctrl-C ends all of it; with `--once` it ends by
itself after the answer.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from setup_env import step
from webui_server import OpenWebUI, OpenWebUIError, answer_text, free_port, port_is_free, signals_wait, stop_group

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / ".cache" / "demo"
BUILT = ROOT / "openrouter_pipe.py"
FUNCTION_ID = "openrouter_pipe"
MODEL = f"{FUNCTION_ID}.openai.gpt-4o:nitro"
QUESTION = "Hello! Which model are you, and how was this question sent to you?"
SANDBOX_KEY = "sk-or-v1-sandbox"
SANDBOX_VARIANTS = (
    "openai/gpt-4o:nitro, openai/gpt-4o@preset/email-copywriter, anthropic/claude-sonnet-4.5:exacto, @preset/*"
)
OPENROUTER_VARIANTS = "openai/gpt-4o:nitro, anthropic/claude-sonnet-4.5:exacto, @preset/*"  # presets: the account's own
SANDBOX_LIMIT = 30.0  # seconds until the sandbox says its address


class DemoError(Exception):
    """Something that ends the demo; the text says what, and what to do."""


def choose_port(asked: int | None) -> int:
    """The port for Open WebUI: the one asked for, else 8080, else a free one (0 asks for a free one)."""
    if asked == 0:
        return free_port()
    if asked is not None:
        if not port_is_free(asked):
            raise DemoError(f"port {asked} is taken: stop what listens there, or choose another: make demo PORT=8090")
        return asked
    if port_is_free(8080):
        return 8080
    port = free_port()
    print(f"Port 8080 is taken, so Open WebUI gets {port} (choose one: make demo PORT=8090)")
    return port


def valves(key: str, sandbox_url: str | None) -> dict[str, str]:
    """The valves to set: the sandbox's when there is one, else the real OpenRouter's with this key."""
    if sandbox_url:
        return {"API_KEY": SANDBOX_KEY, "BASE_URL": sandbox_url, "VARIANT_MODELS": SANDBOX_VARIANTS}
    return {"API_KEY": key, "VARIANT_MODELS": OPENROUTER_VARIANTS}


@contextlib.contextmanager
def only_demo(data: Path) -> Iterator[None]:
    """Hold the data directory, which two servers must not share."""
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)  # the valves in its database hold the key
    with (data / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"a demo runs already on {data}: stop it first") from None
        yield


class Sandbox:
    """The stand-in for OpenRouter, as a process of its own."""

    def __init__(self, data: Path) -> None:
        """Prepare; nothing runs until `start`."""
        self.log_path = data / "sandbox.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, limit: float = SANDBOX_LIMIT) -> str:
        """Start it, wait until it says its address and return that."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENROUTER_")}
        environment |= {"PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
        with self.log_path.open("wb") as log, signals_wait():
            self._process = subprocess.Popen(
                [sys.executable, "-m", "openrouter_sandbox", "--port", "0"],
                cwd=self.log_path.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if said := re.search(r"^OpenRouter sandbox: (\S+)$", self.log_path.read_text(), re.MULTILINE):
                return said[1]
            self.check()
            time.sleep(0.05)
        raise DemoError(f"the sandbox did not start within {limit:.0f} s: see {self.log_path}")

    def check(self) -> None:
        """Raise when it is dead."""
        if self._process and self._process.poll() is not None:
            lines = self.log_path.read_text().strip().splitlines() or ["it said nothing"]
            raise DemoError(f"the sandbox died: {lines[-1]} (see {self.log_path})")

    def stop(self) -> None:
        """End it with all its processes, if it runs."""
        if self._process:
            stop_group(self._process)


def install(webui: OpenWebUI, settings: dict[str, str]) -> list[str]:
    """Install the built file with these valves and return the ids of the models that it offers."""
    webui.sign_in()
    webui.install_function(FUNCTION_ID, "OpenRouter", BUILT.read_text(encoding="utf-8"))
    webui.set_valves(FUNCTION_ID, settings)
    listed = [str(model["id"]) for model in webui.models() if str(model["id"]).startswith(f"{FUNCTION_ID}.")]
    if MODEL not in listed:
        said = pipe_warning(webui.log_path.read_text(errors="replace"))
        raise DemoError(f"{MODEL} is not among the {len(listed)} models of the pipe. {said}(see {webui.log_path})")
    return listed


def pipe_warning(log: str) -> str:
    """The last thing that the pipe complained about in Open WebUI's log, or nothing."""
    said = re.findall(r"\| (?:WARNING|ERROR) +\| function_\S+ - (.+)", log)
    return f"It says: {said[-1].strip()} " if said else ""


def run(port: int | None, data: Path, key: str, *, once: bool) -> None:
    """The whole demo; returns when it is over, and leaves nothing behind however it ends."""
    if not BUILT.exists():
        raise DemoError(f"{BUILT.name} is not there: build it with `make bundle`")
    with contextlib.ExitStack() as house:
        house.enter_context(only_demo(data))
        port = choose_port(port)
        sandbox, sandbox_url = None, None
        if not key:
            with step("Starting the OpenRouter sandbox"):
                sandbox = Sandbox(data)
                house.callback(sandbox.stop)
                sandbox_url = sandbox.start()
        webui = OpenWebUI(data, port=port)
        house.callback(webui.stop)
        with step("Starting Open WebUI (the first time it prepares its database)"):
            webui.start()
        with step("Installing the pipe and listing its models"):
            listed = install(webui, valves(key, sandbox_url))
        with step(f"Asking {MODEL}"):
            answer = answer_text(webui.ask(MODEL, QUESTION))
        upstream = f"the sandbox, {sandbox_url}" if sandbox_url else "the real OpenRouter"
        print(f"\nQ: {QUESTION}\nA: {answer.strip()}\n\n{len(listed)} models are listed, from {upstream}.")
        if not once:
            print(invitation(webui.url), flush=True)
            stay(webui, sandbox)


def invitation(url: str) -> str:
    """The address to open, not to be overlooked."""
    lines = ["", "Open WebUI with the OpenRouter pipe is up. Open", "", f"    {url}", "", "Ctrl-C stops it.", ""]
    width = max(map(len, lines)) + 8
    return "\n".join(["", "=" * width, *(f"    {line}".rstrip() for line in lines), "=" * width, ""])


def stay(webui: OpenWebUI, sandbox: Sandbox | None) -> None:
    """Wait for Ctrl-C; raise when one of the servers dies."""
    while True:
        time.sleep(0.5)
        if not webui.is_running():
            raise DemoError(f"Open WebUI died: see {webui.log_path}")
        if sandbox:
            sandbox.check()


def interrupt(*_: object) -> None:
    """Turn a signal into `KeyboardInterrupt`, and the next ones into nothing: cleaning up takes a moment."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """Read the command line, run the demo, say in one line what went wrong."""
    parser = argparse.ArgumentParser(description="A real Open WebUI with the OpenRouter pipe in it.")
    given = os.environ.get("PORT") or None
    parser.add_argument("--port", type=int, default=given, help="for Open WebUI (PORT; 8080, 0 for any)")
    parser.add_argument("--once", action="store_true", help="stop after the answer")
    parser.add_argument("--data", type=Path, default=DATA, help="where Open WebUI keeps its data")
    options = parser.parse_args(arguments)
    key = os.environ.get("OPENROUTER_API_KEY", "").strip()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        run(options.port, options.data.resolve(), key, once=options.once)
    except (DemoError, OpenWebUIError) as error:
        text = str(error).replace(key, "[key]") if key else str(error)
        print(f"demo: {text}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
        return 130 if options.once else 0  # cut short, or ended as it should
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
