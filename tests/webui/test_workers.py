"""Several workers of one Open WebUI, by processes of one server and by two servers: one fetches and writes, all know."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from polling import eventually
from webui.conftest import BUILT, SandboxControl
from webui_server import OpenWebUI, answer_text

FUNCTION = "openrouter_pipe"
NITRO = f"{FUNCTION}.openai.gpt-4o:nitro"


def install(server: OpenWebUI, sandbox: SandboxControl) -> None:
    server.install_function(FUNCTION, "OpenRouter", BUILT.read_text(encoding="utf-8"))
    configure(server, sandbox, "")


def configure(server: OpenWebUI, sandbox: SandboxControl, variants: str) -> None:
    valves = {
        "API_KEY": "sk-or-v1-test",
        "BASE_URL": sandbox.base_url,
        "MODEL_ICONS": "off",
        "VARIANT_MODELS": variants,
    }
    server.set_valves(FUNCTION, valves)


def fetches(sandbox: SandboxControl) -> int:
    return sum(request["path"].endswith(("/models", "/models/user")) for request in sandbox.requests())


def listed(server: OpenWebUI) -> frozenset[str]:
    """The list, asked for on a connection of its own, which any worker may get."""
    headers = {"Authorization": server.client.headers["Authorization"], "Connection": "close"}
    answer = httpx.get(f"{server.url}/api/models", headers=headers, timeout=60, trust_env=False)
    return frozenset(model["id"] for model in answer.json()["data"] if model["id"].startswith(FUNCTION))


def rows_and_versions(database: Path) -> tuple[int, int]:
    """How many models have a row, and how many versions of them were written."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        models = connection.execute("select count(*) from model").fetchone()[0]
        # Open WebUI keeps versions since 0.12.
        has_versions = connection.execute("select 1 from sqlite_master where name = 'model_history'").fetchone()
        versions = connection.execute("select count(*) from model_history").fetchone()[0] if has_versions else models
    return models, versions


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, sandbox_process: SandboxControl) -> Iterator[OpenWebUI]:
    with OpenWebUI(tmp_path_factory.mktemp("workers"), env={"UVICORN_WORKERS": "2"}) as running:
        running.sign_in()
        yield running


def test_of_two_workers_one_fetches_and_writes(server: OpenWebUI, sandbox: SandboxControl) -> None:
    install(server, sandbox)
    with ThreadPoolExecutor(8) as pool:
        lists = set(pool.map(listed, [server] * 24))
    (models,) = lists
    assert f"{FUNCTION}.openai.gpt-4o" in models
    assert fetches(sandbox) == 1
    assert server.log_path.read_text().count("Started server process") == 2

    database = server.data_dir / "webui.db"
    # The status model has no row.
    assert eventually(lambda: rows_and_versions(database)[0] == len(models) - 1), rows_and_versions(database)
    configure(server, sandbox, "openai/gpt-4o:nitro")
    with ThreadPoolExecutor(8) as pool:
        lists = set(pool.map(listed, [server] * 24))
    assert lists == {models | {NITRO}}, "each worker follows a change of the valves at once"
    assert eventually(lambda: rows_and_versions(database) == (len(models), len(models))), "each row written once"
    assert fetches(sandbox) == 1


@pytest.fixture(scope="module")
def two_servers(tmp_path_factory: pytest.TempPathFactory, redis_port: int) -> Iterator[tuple[OpenWebUI, OpenWebUI]]:
    """Two machines: folders of their own, one database, one Redis."""
    folder = tmp_path_factory.mktemp("cluster")
    redis = f"redis://127.0.0.1:{redis_port}/0"
    shared = {
        "DATABASE_URL": f"sqlite:///{folder / 'shared.db'}",
        "WEBUI_SECRET_KEY": "the same for both",
        "REDIS_URL": redis,
        "WEBSOCKET_MANAGER": "redis",
        "WEBSOCKET_REDIS_URL": redis,
    }
    with OpenWebUI(folder / "a", env=shared) as first:
        first.sign_in()
        with OpenWebUI(folder / "b", env=shared) as second:
            second.sign_in()
            yield first, second


def test_two_servers_share_the_catalog_by_redis(
    two_servers: tuple[OpenWebUI, OpenWebUI], sandbox: SandboxControl
) -> None:
    first, second = two_servers
    install(first, sandbox)
    models = listed(first)
    assert listed(second) == models
    assert fetches(sandbox) == 1, "the other one took it from Redis"
    configure(second, sandbox, "openai/gpt-4o:nitro")
    assert listed(first) == listed(second) == models | {NITRO}
    for server in two_servers:
        assert "sandbox" in answer_text(server.ask(NITRO, "Hello?"))
    database = first.data_dir.parent / "shared.db"
    assert eventually(lambda: rows_and_versions(database) == (len(models), len(models))), rows_and_versions(database)
    assert not list(second.data_dir.glob("openrouter_pipe/*.lock")), "it is Redis that lets one in"
