"""A sandbox and a real Open WebUI, each started once for these tests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from demo import Sandbox
from webui_server import OpenWebUI

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "openrouter_pipe.py"


class SandboxControl:
    """The running sandbox: its address, what it received, and rules for what comes next."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._client = httpx.Client(base_url=base_url.removesuffix("/api/v1"), trust_env=False)

    def requests(self) -> list[dict[str, Any]]:
        """The requests so far, in order: `path`, `headers`, `body`."""
        received: list[dict[str, Any]] = self._client.get("/sandbox/received").json()["received"]
        return received

    def chats(self) -> list[dict[str, Any]]:
        """The inference requests among them."""
        return [request for request in self.requests() if request["path"].endswith(("/responses", "/chat/completions"))]

    def open_streams(self) -> int:
        """How many answers it is writing or holding back right now."""
        return int(self._client.get("/sandbox/received").json()["open_streams"])

    def rule(self, **rule: Any) -> None:
        """Script what the next requests get."""
        self._client.post("/sandbox/rules", json=rule).raise_for_status()

    def reset(self) -> None:
        """Forget rules and requests."""
        self._client.delete("/sandbox/rules")
        self._client.delete("/sandbox/received")

    def close(self) -> None:
        """Close the connection to it."""
        self._client.close()


@pytest.fixture(scope="session")
def sandbox_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxControl]:
    process = Sandbox(tmp_path_factory.mktemp("sandbox"))
    try:
        control = SandboxControl(process.start())
        yield control
        control.close()
    finally:
        process.stop()


@pytest.fixture
def sandbox(sandbox_process: SandboxControl) -> SandboxControl:
    sandbox_process.reset()
    return sandbox_process


@pytest.fixture(scope="session")
def webui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenWebUI]:
    with OpenWebUI(tmp_path_factory.mktemp("webui")) as server:
        server.sign_in()
        yield server


@pytest.fixture(scope="session")
def host(sandbox_process: SandboxControl, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `host_driver.py` found, run once inside Open WebUI's own environment."""
    data = tmp_path_factory.mktemp("host")
    # FROM_INIT_PY is what `open-webui serve` sets: it tells where the files of the frontend lie.
    environment = {**OpenWebUI(data).environment(), "FROM_INIT_PY": "true"}
    driver = Path(__file__).with_name("host_driver.py")
    run = subprocess.run(
        [sys.executable, str(driver), str(BUILT), sandbox_process.base_url],
        capture_output=True,
        text=True,
        env=environment,
        cwd=data,
        timeout=180,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    results: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return {**results, "log": run.stdout + run.stderr, "data": data}
