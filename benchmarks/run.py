"""`make bench`: what the built file costs, beside a floor (the least a pipe can do), as ratios that hold on any machine.

    python benchmarks/run.py [--quick] [--pipe FILE] …

A full run takes some minutes and writes docs/performance.md. Another pipe file is given its key and address by the valves
API_KEY and BASE_URL.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import webui
from report import PAGE, machine, table
from upstream import ROOT, ratio, sandbox

BUILT = ROOT / "openrouter_pipe.py"
FLOOR = ROOT / "benchmarks" / "floor_pipe.py"
PERFORMANCE = ROOT / "docs" / "performance.md"
ROUNDS, QUICK_ROUNDS = 7, 2


def child(script: str, *arguments: object) -> Mapping[str, float]:
    """What a measuring process of its own says."""
    command = [sys.executable, str(ROOT / "benchmarks" / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stderr[-2000:]}")
    figures: Mapping[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def medians(said: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each figure, over all processes that said it: how fast one is depends on where its memory happens to lie."""
    return {key: statistics.median(figures[key] for figures in said) for key in said[0]}


def crowds(path: Path, base_url: str, rounds: int) -> dict[str, float]:
    """Many chats at once, raw and pipe in turn, each time in new processes."""
    raw, pipe = [], []
    for _ in range(rounds):
        raw.append(child("chats.py", path, base_url, "raw", 1))
        pipe.append(child("chats.py", path, base_url, "pipe", 1))
    plain = medians(raw)
    return {
        "crowd": ratio([one["cpu"] for one in pipe], [one["cpu"] for one in raw]),
        "crowd_raw": plain["cpu"],
        "crowd_memory": medians(pipe)["memory"] - plain["memory"],
        "crowd_memory_raw": plain["memory"],
        "crowd_first": ratio([one["first"] for one in pipe], [one["first"] for one in raw]),
        "crowd_first_raw": plain["first"],
    }


def main() -> None:
    """Start the sandbox, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipe", type=Path, action="append", default=[], help="another pipe file to measure")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds instead of {ROUNDS}")
    options = parser.parse_args()
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    files = {"floor": FLOOR, "ours": BUILT, **{path.stem: path.resolve() for path in options.pipe}}
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, sandbox(Path(folder)) as base_url:
        for name, path in files.items():
            print(f"measuring {name} …", file=sys.stderr, flush=True)
            figures[name] = {
                **medians([child("measure.py", path, base_url) for _ in range(rounds)]),
                **child("chats.py", path, base_url, "turns", rounds),
                **crowds(path, base_url, rounds),
            }
        print("measuring in Open WebUI …", file=sys.stderr, flush=True)
        for name, found in webui.measure(files, base_url, Path(folder, "webui"), rounds).items():
            figures[name] |= found
    print(f"{table(figures)}\n{machine()}")
    if not options.quick and not options.pipe:
        PERFORMANCE.write_text(PAGE.format(table=table(figures), machine=machine()), encoding="utf-8")


if __name__ == "__main__":
    main()
