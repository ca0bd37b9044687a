"""A worker in a process of its own, for test_shared.py: writes or reads the copy in a folder until it is told to stop.

`python sharing_worker.py FOLDER write NAME [locked] [same-id]`, `python sharing_worker.py FOLDER read`
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

from openrouter_pipe import shared

COPY = "catalog-x.json"
# The copies of the two writers differ in length, so that a mixture of them is no copy.
ROWS = {"long": 20_000, "short": 3}
CHANGES = 60


def content(name: str, number: int) -> dict[str, object]:
    return {"writer": name, "rows": [number] * ROWS[name]}


async def write(folder: Path, name: str, locked: bool) -> None:
    number = 0
    while not (folder / "stop").exists():
        number += 1
        async with shared.shared_lock("catalog") if locked else nullcontext():
            # Fails where another one is inside.
            (folder / "inside").touch(exist_ok=not locked)
            await shared.write_shared(COPY, content(name, number))
            (folder / "inside").unlink(missing_ok=not locked)


async def read() -> None:
    """Read until so many changes by each writer were seen; what was read and is no whole copy is printed."""
    changes: Counter[str] = Counter()
    latest: object = None
    odd = []
    while min(changes[name] for name in ROWS) < CHANGES:
        copy = await shared.read_shared(COPY)
        rows = copy.get("rows") or [0]
        if copy != content(copy.get("writer", "short"), rows[0]):
            odd.append(str(copy)[:80])
        elif copy != latest:
            latest = copy
            changes[copy["writer"]] += 1
    print(json.dumps(odd))


if __name__ == "__main__":
    folder, role, *more = Path(sys.argv[1]), *sys.argv[2:]
    shared.data_directory = lambda: folder
    shared.LOOK_AGAIN_SECONDS = 0.001
    if "same-id" in more:
        os.getpid = lambda: 1
    asyncio.run(write(folder, more[0], "locked" in more) if role == "write" else read())
