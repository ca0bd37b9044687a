"""`python -m openrouter_sandbox --port N [--host HOST] [--catalog FILE]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from pathlib import Path

from openrouter_sandbox import Sandbox


async def serve(sandbox: Sandbox) -> None:
    """Run until SIGINT or SIGTERM."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with sandbox:
        print(f"OpenRouter sandbox: {sandbox.base_url}", flush=True)
        await stopped.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="openrouter_sandbox", description="A strict local stand-in for OpenRouter.")
    parser.add_argument("--port", type=int, required=True, help="0 for a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--catalog", type=Path, help='a recorded GET /models body: {"data": [...]}')
    arguments = parser.parse_args()
    catalog = json.loads(arguments.catalog.read_text(encoding="utf-8"))["data"] if arguments.catalog else None
    asyncio.run(serve(Sandbox(catalog, host=arguments.host, port=arguments.port)))


if __name__ == "__main__":
    main()
