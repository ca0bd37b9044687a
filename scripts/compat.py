#!/usr/bin/env python3
"""`make compat`: the tests of the host against other versions of Open WebUI than the environment has.

    compat.py                       all of `VERSIONS`
    compat.py 0.11.1 newest         these; `oldest` and `newest` are its ends
    compat.py oldest -- -k stop     what stands after `--` is for pytest

Each version is installed once, into `.cache/compat/<version>/`, with those of its own requirements that
`requirements-dev.txt` pins differently; what both have in common comes from `.venv`. The version that `.venv` has
needs no copy.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from setup_env import LEFT_OUT, REQUIREMENTS, ROOT, VENV, SetupError, normal, resolve, run_pip, step
from webui_server import COPY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# What a requirement of its own requires in turn, where `requirements-dev.txt` has none or too new a one.
_BEFORE_MCP_2 = ("httpx-sse==0.4.3", "multidict==6.9.1")
# Oldest first. A new release is one line: with nothing in it, unless that Open WebUI then misses something at its start.
VERSIONS: dict[str, tuple[str, ...]] = {
    "0.11.1": (*_BEFORE_MCP_2, "fonttools==4.68.0"),
    "0.11.4": _BEFORE_MCP_2,
    "0.12.0": _BEFORE_MCP_2,
    "0.12.4": (),
}
TESTS = "tests/webui"
COPIES = ROOT / ".cache" / "compat"


def chosen(words: Sequence[str]) -> list[str]:
    """The versions that are meant, oldest first, all when none is named; raise `SetupError` for an unknown one."""
    versions = list(VERSIONS)
    ends = {"oldest": versions[0], "newest": versions[-1]}
    wanted = {ends.get(word, word) for word in words} or set(versions)
    if unknown := sorted(wanted - set(versions)):
        raise SetupError(f"{unknown[0]} is not among {', '.join(versions)} (the table is in scripts/compat.py)")
    return [version for version in versions if version in wanted]


def differing(requires: Iterable[str], pins: Iterable[str]) -> list[str]:
    """Those lines of a package's `requires` (`name[extra]==version; condition`) that the pins do not fulfil."""
    kept = set(pins)
    found = []
    for line in requires:
        name, version = re.match(r"([\w.-]+)(?:\[.*?\])?\s*(?:==\s*([^\s;,]+))?", line).groups()  # type: ignore[union-attr]
        if "extra ==" not in line and normal(name) not in LEFT_OUT and f"{normal(name)}=={version}" not in kept:
            found.append(line)
    return found


def pins() -> list[str]:
    """The lines `name==version` of `requirements-dev.txt`."""
    return [line for line in REQUIREMENTS.read_text().splitlines() if "==" in line and not line.startswith("#")]


def copy_of(version: str) -> Path:
    """The folder with this Open WebUI, installed when it is not there or made for another environment."""
    folder = COPIES / version
    made_for = (REQUIREMENTS.read_text(), str(sys.version_info[:2]), *VERSIONS[version])
    stamp = hashlib.sha256("\0".join(made_for).encode()).hexdigest()
    if (folder / ".stamp").exists() and (folder / ".stamp").read_text() == stamp:
        return folder
    COPIES.mkdir(parents=True, exist_ok=True)
    host = f"open-webui=={version}"
    with step(f"Installing {host}"), tempfile.TemporaryDirectory(dir=COPIES) as new:
        (metadata,) = resolve([host], "--no-deps")
        packages = [host, *differing(metadata["requires_dist"], pins()), *VERSIONS[version]]
        options = ("--no-deps", "--no-input", "--no-compile", "--target", f"{new}/copy")
        run_pip(VENV / "bin/python", "install", *options, *packages)
        Path(new, "copy", ".stamp").write_text(stamp)
        shutil.rmtree(folder, ignore_errors=True)
        Path(new, "copy").rename(folder)
    return folder


def run_tests(version: str, words: Sequence[str]) -> bool:
    """Run the tests of the host against this version; whether all passed."""
    environment = {name: value for name, value in os.environ.items() if name != COPY}
    if f"open-webui=={version}" not in pins():
        environment[COPY] = str(copy_of(version))
    print(f"\n=== Open WebUI {version}", flush=True)
    return subprocess.run([sys.executable, "-m", "pytest", TESTS, *words], cwd=ROOT, env=environment).returncode == 0


def main(arguments: Sequence[str]) -> int:
    """Run the tests against each version; 0 when all passed."""
    split = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(prog="compat", description="Test against other versions of Open WebUI.")
    parser.add_argument("versions", nargs="*", help=f"{', '.join(VERSIONS)}, oldest, newest; all when none is named")
    parser.add_argument("--not-installed", action="store_true", help="leave out the version that `make test` runs")
    options = parser.parse_args(arguments[:split])
    outcomes = []
    try:
        for version in chosen(options.versions):
            if options.not_installed and f"open-webui=={version}" in pins():
                continue
            began = time.monotonic()
            passed = run_tests(version, arguments[split + 1 :])
            outcomes.append(
                (passed, f"Open WebUI {version}: {'passed' if passed else 'FAILED'}, {time.monotonic() - began:.0f} s")
            )
    except SetupError as error:
        print(f"compat: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("", *(line for _, line in outcomes), sep="\n")
    return 0 if all(passed for passed, _ in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
