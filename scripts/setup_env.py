#!/usr/bin/env python3
"""Make the development environment: `.venv` with what `requirements-dev.txt` pins.

`make setup` calls this with a Python that it found; only the standard library is used, and an old Python can still
parse it, to say that it is too old. Running it again costs a few
milliseconds when nothing changed. `setup_env.py pins` (`make pins`) resolves the pins anew and rewrites the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements-dev.txt"
OLDEST, TOO_NEW = (3, 11), (3, 13)  # Open WebUI's own limits

# What the pins are resolved from, besides everything that the chosen open-webui asks for.
HOST = "open-webui==0.12.*"
TOOLS = (
    "hatchling",
    "hypothesis",
    "jsonschema-rs",
    "mypy",
    "openrouter==1.3.84",
    "playwright",
    "pytest",
    "pytest-asyncio",
    "ruff",
    "async-timeout",  # for redis on Python 3.11.0 to 3.11.2: pip judges such conditions by the Python that runs it
)
LEFT_OUT = ("accelerate", "sentence-transformers")

HEADER = """\
# The development environment: Open WebUI as the real host to test against, and the tools. Linux, Python 3.11 and 3.12.
#
# Complete, so it is installed without a resolver: `pip install --no-deps -r requirements-dev.txt` (`make setup`).
# Left out: accelerate and sentence-transformers, which Open WebUI asks for, with torch and what else only they need:
# several gigabytes for local embeddings. Open WebUI starts without them when RAG_EMBEDDING_ENGINE=openai.
# Refreshed by `make pins`, which resolves the list at the top of scripts/setup_env.py anew and rewrites this file.
"""

NETWORK_SIGNS = (
    "Could not find a version",
    "No matching distribution",
    "Connection",
    "name resolution",
    "timed out",
    "Proxy",
    "SSLError",
)


class SetupError(Exception):
    """Something a person has to do; the text says what."""


class NetworkError(SetupError):
    """pip could not fetch something: nothing is half done."""


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """One line for one step: `title … 12 s`, counting while it runs when a person watches."""
    started = time.monotonic()
    finished = threading.Event()
    live = sys.stdout.isatty()

    def tick() -> None:
        while not finished.wait(1):
            sys.stdout.write(f"\r{title} … {time.monotonic() - started:.0f} s")
            sys.stdout.flush()

    sys.stdout.write(f"{title} …")
    sys.stdout.flush()
    ticker = threading.Thread(target=tick, daemon=True)
    if live:
        ticker.start()
    outcome = "failed after"
    try:
        yield
        outcome = ""
    finally:
        finished.set()
        if live:
            ticker.join()
        line = f"{title} … {outcome}".rstrip() + f" {time.monotonic() - started:.1f} s"
        sys.stdout.write(f"\r{line}\n" if live else f"{line[len(title) + 2 :]}\n")
        sys.stdout.flush()


def check_python(version: tuple[int, int]) -> None:
    """Raise `SetupError` when Open WebUI does not run on this Python."""
    if not OLDEST <= version < TOO_NEW:
        age = "old" if version < OLDEST else "new"
        raise SetupError(
            f"Python {version[0]}.{version[1]} is too {age}: this project needs Python 3.11 or 3.12 "
            "(Open WebUI's limits). Install one, or name it: make setup PYTHON=/path/to/python3.12"
        )


def fingerprint() -> str:
    """A hash over all that decides what is in the environment; kept in `.venv/.stamp`."""
    content = REQUIREMENTS.read_bytes() + b"\0" + str(ROOT).encode()
    return hashlib.sha256(content).hexdigest()


def readable_pip_error(output: str) -> str:
    """The lines of pip's output that say what went wrong."""
    noise = ("WARNING: Location", "ERROR: Ignored the following")
    lines = [line for line in output.splitlines() if line.strip() and not line.startswith(noise)]
    errors = [line for line in lines if "ERROR" in line or "error:" in line]
    return "\n".join(line[:300] for line in errors[-5:] or lines[-10:])


def run_pip(python: Path, *arguments: str) -> None:
    """Run pip quietly; raise `SetupError` with its own words when it fails."""
    command = [str(python), "-m", "pip", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        error = readable_pip_error(done.stdout)
        if any(sign in done.stdout for sign in NETWORK_SIGNS):
            hint = "Is the network there? pip could not fetch something. Run the same command again to go on."
            raise NetworkError(f"pip failed:\n{error}\n{hint}")
        raise SetupError(f"pip failed:\n{error}")


def venv_works() -> bool:
    """Whether `.venv` has a Python of a fitting version, with pip, and no installation died half way in it."""
    if (VENV / ".installing").exists():
        return False
    code = f"import sys, pip; sys.exit(not {OLDEST} <= sys.version_info[:2] < {TOO_NEW})"
    try:
        return subprocess.run([VENV / "bin/python", "-c", code], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def create_venv() -> None:
    """Make `.venv` from the Python that runs this script, throwing away what is there."""
    check_python(sys.version_info[:2])
    with step(f"Creating .venv with Python {sys.version_info[0]}.{sys.version_info[1]}"):
        command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        hint = " On Debian and Ubuntu: apt-get install python3-venv" if "ensurepip" in done.stdout else ""
        raise SetupError(f"could not create {VENV}: {done.stdout.strip()[-400:]}{hint}")


def install() -> None:
    """Install the pins, and put `src` on the environment's path."""
    marker = VENV / ".installing"  # stays when we are killed: then the environment is made anew
    marker.touch()
    count = sum("==" in line for line in REQUIREMENTS.read_text().splitlines())
    with step(f"Installing {count} packages (the first time takes a minute or two)"):
        try:
            run_pip(VENV / "bin/python", "install", "--no-deps", "--no-input", "-r", str(REQUIREMENTS))
        except NetworkError:  # pip fetches all before it installs any
            marker.unlink()
            raise
    packages = next(VENV.glob("lib/python3.*/site-packages"))
    (packages / "openrouter_pipe_src.pth").write_text(f"{ROOT / 'src'}\n")
    marker.unlink()


def setup() -> None:
    """Bring `.venv` up to date, whatever state it is in."""
    stamp = VENV / ".stamp"
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with (cache / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two `make`s at once: the second finds all done
        works = venv_works()
        if works and stamp.exists() and stamp.read_text() == fingerprint():
            return
        if not works:
            create_venv()
        stamp.unlink(missing_ok=True)
        install()
        stamp.write_text(fingerprint())


def resolve(wanted: list[str], *options: str) -> list[dict[str, Any]]:
    """What pip would install for `wanted`: the `metadata` objects of its report."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        # For the oldest Python that must do, whatever runs here; pip allows that for wheels and another target only.
        oldest = ["--python-version", f"{OLDEST[0]}.{OLDEST[1]}.0", "--only-binary", ":all:", "--target", folder]
        arguments = ["install", "--dry-run", "--ignore-installed", "--report", str(report), *oldest]
        run_pip(VENV / "bin/python", *arguments, *options, *wanted)
        return [entry["metadata"] for entry in json.loads(report.read_text())["install"]]


def rewrite_pins() -> None:
    """Resolve everything anew and rewrite `requirements-dev.txt`."""
    with step(f"Reading what {HOST} asks for"):
        (host,) = resolve([HOST], "--no-deps")
    asked = [line for line in host["requires_dist"] if "extra ==" not in line]
    kept = [line for line in asked if normal(re.split(r"[^\w.-]", line)[0]) not in LEFT_OUT]
    with step(f"Resolving {len(kept)} + {len(TOOLS)} requirements"):
        found = [*resolve([*kept, *TOOLS]), host]
    pins = sorted(f"{normal(entry['name'])}=={entry['version']}" for entry in found)
    REQUIREMENTS.write_text(HEADER + "\n" + "\n".join(pins) + "\n")
    print(f"{REQUIREMENTS.name}: {len(pins)} pins, open-webui {host['version']}. Now: make setup lint test")


def normal(name: str) -> str:
    """A package's name as the index writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main(arguments: list[str]) -> int:
    """Set up, or refresh the pins; 0 when all went well."""
    if arguments not in ([], ["pins"]):
        print(f"setup: unknown argument: {' '.join(arguments)} (there is only `pins`)", file=sys.stderr)
        return 2
    try:
        setup()
        if arguments:
            rewrite_pins()
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
