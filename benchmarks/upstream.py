"""What all measurements share: the sandbox they talk to, how each tells it what to answer, and ratios."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
KEY = "sk-or-v1-bench"
MODELS = 400
# What the first delta of an answer says, on whatever endpoint and in whatever form.
FIRST = b"word0000"


def catalog() -> dict[str, object]:
    """A catalog of `MODELS` rows with the fields and sizes of real ones."""
    sample = json.loads((ROOT / "src" / "openrouter_sandbox" / "catalog.json").read_text(encoding="utf-8"))["data"]
    plain = [row for row in sample if ":" not in row["id"] and "text" in row["architecture"]["output_modalities"]]
    rows = [
        {**plain[number % len(plain)], "id": f"author-{number % 40}/model-{number}", "name": f"Author: Model {number}"}
        for number in range(MODELS)
    ]
    return {"data": rows}


@contextlib.contextmanager
def sandbox(folder: Path) -> Iterator[str]:
    """A sandbox in a process of its own; gives its address."""
    rows = folder / "catalog.json"
    rows.write_text(json.dumps(catalog()), encoding="utf-8")
    command = [sys.executable, "-m", "openrouter_sandbox", "--port", "0", "--catalog", str(rows)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip().rpartition(" ")[2]
        finally:
            process.terminate()


class Upstream:
    """The sandbox's control route."""

    def __init__(self, base_url: str) -> None:
        self._client = httpx.Client(base_url=base_url.removesuffix("/api/v1"), trust_env=False, timeout=60)
        self.received()  # a connection of its own, so that `connections` counts those of others from here on

    def answers(self, deltas: int, pace_seconds: float = 0.0) -> None:
        """From now on answers have so many deltas, so many seconds apart (0: as fast as they can be read)."""
        self._client.delete("/sandbox/rules")
        rule = {"pace_seconds": pace_seconds, "answer": {"deltas": deltas, "reasoning": ""}}
        self._client.post("/sandbox/rules", json=rule).raise_for_status()

    def received(self) -> dict[str, Any]:
        """What came since the last call, oldest first, and how many TCP connections there were in all."""
        told: dict[str, Any] = self._client.get("/sandbox/received").json()
        self._client.delete("/sandbox/received")
        return told


def ratio(ours: list[float], others: list[float]) -> float:
    """The median of the ratios of what was measured side by side."""
    return statistics.median(one / other for one, other in zip(ours, others, strict=True))
