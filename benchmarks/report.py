"""The measures with their bars, as one table, and the page of the docs."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from chats import CROWD, LONG, SHORT, SHORT_CHATS
from upstream import MODELS

Figures = Mapping[str, Mapping[str, float]]


class Measure(NamedTuple):
    """A row of the table: what is measured, its key in the figures, its unit, the bar for our own file (None: it is only
    shown), and the key and unit of what it is compared with."""

    title: str
    key: str
    unit: str
    bar: float | None
    base: str = ""
    base_unit: str = "ms"


MEASURES = (
    Measure("Loading: compile, exec and `Pipe()`", "load", "ms", 30),
    Measure("– of it exec and `Pipe()`", "exec", "ms", 30),
    Measure("– memory kept", "memory", "MB", 4),
    Measure(f"`pipes()`, {MODELS} models and {MODELS} variants, warm", "warm", "ms", 0.4),
    Measure("– cold, above the bare GET", "cold", "ms", 8, "get"),
    Measure("First token, above raw", "first", "ms", 0.5, "first_raw"),
    Measure(f"CPU of a chat of {SHORT} deltas", "short", "× raw", 1.5, "short_raw"),
    Measure(f"CPU per 1,000 deltas, flat out ({LONG:,} a chat)", "long", "× raw", 1.3, "long_raw"),
    Measure("– chunks out per delta in", "chunks", "", 1),
    Measure(f"{CROWD} chats at once, 20 ms between deltas: CPU", "crowd", "× raw", 1.5, "crowd_raw"),
    Measure("– memory, above raw", "crowd_memory", "MB", 8, "crowd_memory_raw", "MB"),
    Measure("– first token", "crowd_first", "× raw", None, "crowd_first_raw"),
    Measure(f"New TCP connections in {SHORT_CHATS} chats", "connections", "", 2),
    Measure("Open WebUI: CPU of a chat of 2,000 deltas, flat out", "webui_flat", "× own", 0.4, "webui_flat_own"),
    Measure("– of 500 deltas, one each 5 ms", "webui_paced", "× own", 0.7, "webui_paced_own"),
    Measure("– first token at the page", "webui_first", "× own", 1.1, "webui_first_own"),
)
PAGE = """# Performance

What the pipe adds to a chat, and to the list of models. `make bench` measures it anew, prints this table and writes this page;
`make bench ARGS=--quick` is rougher and writes nothing, and `ARGS="--pipe FILE"` measures another pipe file beside ours.

{table}

Measured on: {machine}.

- **ours** is `openrouter_pipe.py` with its default valves, **floor** the least that a pipe can do (`benchmarks/floor_pipe.py`:
  no names, no choice, no errors, every line handed on as it comes), **bar** what ours must reach; ✗ marks what does not.
- **raw** is a plain read of the same stream: the very request that the pipe sends, sent by aiohttp, and its answer read line by
  line without parsing any of it. **own** is Open WebUI's own OpenAI-compatible connection. The last column shows what either
  takes by itself, in the run of ours.
- All talk to the sandbox of this project, on the same machine; each pipe is measured in a process of its own. CPU is process
  time, and the ratios are medians of what was measured in turn: they hold on other machines, the milliseconds do not.
- A machine that is shared with others is faster and slower by the hour: a figure close to its bar is met in one run and missed
  in the next.
- Loading is what Python's compiler does with the whole file, once for each worker and each save. Raw reads bytes; ours also
  chooses the model and the endpoint, builds the request, reads each event as JSON and tells the cost, which is what a short
  chat shows most. With more than fifty chats at once each is updated less often ([architecture.md](architecture.md)).
- Memory of the chats at once is the most that the process took above what it had before, less what raw takes.
- Open WebUI is a real one; its chats are stored, and followed over the socket as its web page does. The CPU is that of its
  process until it is idle again. Ours costs less than its own connection because what arrives within `STREAM_INTERVAL_MS`
  leaves as one chunk, and chunks are what costs Open WebUI ([valves.md](valves.md)).
"""


def table(figures: Figures) -> str:
    """The figures as a Markdown table that can be read as it is."""
    names = list(figures)
    rows = [["measure", *names, "bar", "raw or own"]]
    rows += [
        [measure.title, *(cell(measure, name, figures[name]) for name in names), bar(measure), base(measure, figures)]
        for measure in MEASURES
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def cell(measure: Measure, name: str, figures: Mapping[str, float]) -> str:
    """One figure; ours is marked where it misses the bar."""
    if measure.key not in figures:
        return "–"
    value = figures[measure.key]
    misses = name == "ours" and measure.bar is not None and value > measure.bar
    return f"{number(value)} {measure.unit}".strip() + " ✗" * misses


def bar(measure: Measure) -> str:
    """What ours must reach."""
    return "" if measure.bar is None else f"≤ {measure.bar:g} {measure.unit}".strip()


def base(measure: Measure, figures: Figures) -> str:
    """What the measure is compared with."""
    value = figures["ours"].get(measure.base)
    return "" if value is None else f"{number(value)} {measure.base_unit}"


def number(value: float) -> str:
    """Three digits, more or less."""
    return f"{value:.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.2f}"


def machine() -> str:
    """The machine, in a few words."""
    models = [line for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if "model name" in line]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    version = importlib.metadata.version
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, "
        f"Open WebUI {version('open-webui')}, aiohttp {version('aiohttp')}"
    )
