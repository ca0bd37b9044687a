"""`make bench`: speed and memory of the built file beside a floor (the least a pipe can do), in one run.

    python benchmarks/run.py [--pipe FILE] …

Each pipe is measured in a process of its own against the same sandbox, so that ratios hold on any machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILT = ROOT / "openrouter_pipe.py"
FLOOR = ROOT / "benchmarks" / "floor_pipe.py"
MODELS = 400

# Row of the table: title, how to get it from a measurement, unit, and the bar for our own file.
ROWS = (
    ("load: compile, exec and Pipe()", lambda m: m["load"], "ms", 30.0),
    ("  of it exec and Pipe()", lambda m: m["exec"], "ms", 30.0),
    ("memory kept", lambda m: m["memory"], "MB", 4.0),
    (f"pipes() warm, {MODELS} models + {MODELS} variants", lambda m: m["warm"], "ms", 0.4),
    ("pipes() cold, above the bare GET, read and parsed", lambda m: m["cold"] - m["get"], "ms", 8.0),
)


def catalog() -> dict[str, object]:
    """A catalog of `MODELS` rows with the fields and sizes of real ones."""
    sample = json.loads((ROOT / "src" / "openrouter_sandbox" / "catalog.json").read_text(encoding="utf-8"))["data"]
    plain = [row for row in sample if ":" not in row["id"] and "text" in row["architecture"]["output_modalities"]]
    rows = [
        {**plain[number % len(plain)], "id": f"author-{number % 40}/model-{number}", "name": f"Author: Model {number}"}
        for number in range(MODELS)
    ]
    return {"data": rows}


def measure(pipe: Path, base_url: str) -> Mapping[str, float]:
    """The figures of one pipe file, from `measure.py`."""
    command = [sys.executable, str(ROOT / "benchmarks" / "measure.py"), str(pipe), base_url]
    figures: Mapping[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return figures


def table(measured: Mapping[str, Mapping[str, float]]) -> str:
    """The figures as a table: each pipe's value, and its ratio to the floor."""
    floor = measured["floor"]
    width = max(len(title) for title, *_ in ROWS)
    others = [name for name in measured if name != "floor"]
    lines = [f"{'':{width}}  {'floor':>12}" + "".join(f"{name[-20:]:>22}{'ratio':>8}" for name in others) + "     bar"]
    for title, value, unit, bar in ROWS:
        base = value(floor)
        cells = "".join(
            f"{value(measured[name]):>19.3f} {unit}{value(measured[name]) / max(base, 1e-6):>8.1f}" for name in others
        )
        lines.append(f"{title:{width}}  {base:>9.3f} {unit}{cells}  ≤ {bar:g} {unit}")
    return "\n".join(lines)


def main() -> None:
    """Start the sandbox, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipe", type=Path, action="append", default=[], help="another pipe file to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "catalog.json")
        rows.write_text(json.dumps(catalog()), encoding="utf-8")
        command = [sys.executable, "-m", "openrouter_sandbox", "--port", "0", "--catalog", str(rows)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as sandbox:
            try:
                assert sandbox.stdout is not None
                base_url = sandbox.stdout.readline().strip().rpartition(" ")[2]
                files = {"floor": FLOOR, "ours": BUILT, **{path.stem: path for path in options.pipe}}
                print(table({name: measure(path, base_url) for name, path in files.items()}))
            finally:
                sandbox.terminate()


if __name__ == "__main__":
    main()
