"""The models' rows in Open WebUI's own database, while its catalog, its valves and its admin change (see `rows_driver.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from polling import eventually
from webui.conftest import BUILT, ROOT
from webui_server import OpenWebUI

MINI, GPT, NITRO, TEXT = (f"or1.{name}" for name in ("openai.mini", "openai.gpt", "openai.gpt:nitro", "x.text"))
PRESET = "or1.preset/support"
EVERYBODY = [("user", "*", "read")]


def driver(data: Path, *arguments: str) -> subprocess.Popen[str]:
    host = OpenWebUI(data, auth=True).environment()
    paths = os.pathsep.join(filter(None, (host.get("PYTHONPATH"), str(ROOT / "src"), str(ROOT / "scripts"))))
    environment = {**host, "FROM_INIT_PY": "true", "PYTHONPATH": paths}
    command = [sys.executable, str(Path(__file__).with_name("rows_driver.py")), str(BUILT), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd=data
    )


def outcome(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output[-3000:]
    told: dict[str, Any] = json.loads(next(line for line in reversed(output.splitlines()) if line.startswith("{")))
    return {**told, "log": output}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


@pytest.fixture(scope="module")
def story(data: Path) -> dict[str, Any]:
    return outcome(driver(data))


def grants(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(grant["principal_type"], grant["principal_id"], grant["permission"]) for grant in row["access_grants"]]


def test_each_published_model_gets_a_row_that_only_admins_see(story: dict[str, Any]) -> None:
    rows = story["installed"]
    assert set(rows) == {MINI, GPT, NITRO, TEXT, PRESET}
    assert {row["user_id"] for row in rows.values()} == {story["owner"]}
    assert [row["access_grants"] for row in rows.values()] == [[]] * 5
    assert all(row["is_active"] and row["base_model_id"] is None for row in rows.values())
    nitro = rows[NITRO]
    assert nitro["name"] == "OpenAI: GPT Nitro"
    assert nitro["meta"]["description"] == "128K context · $2.50 in, $10 out per million tokens\nA flagship."
    assert nitro["meta"]["tags"] == [{"name": "Nitro"}]
    assert nitro["meta"]["capabilities"] == {"usage": True, "vision": True}
    assert rows[TEXT]["meta"]["capabilities"] == {"usage": True, "vision": False, "builtin_tools": False}


def test_a_user_sees_a_model_once_it_is_shared(story: dict[str, Any]) -> None:
    assert story["seen before"] == []
    assert story["seen after"] == sorted([GPT, MINI])


def test_without_a_change_nothing_is_written_and_hardly_anything_read(story: dict[str, Any]) -> None:
    statements = story["statements without a change"]
    assert 1 <= len(statements) <= 2
    assert all(statement.startswith("SELECT") for statement in statements)
    before, after = story["history without a change"]
    assert before == after
    assert before in (dict.fromkeys((MINI, GPT, NITRO, TEXT, PRESET), 1), None)


def test_an_admins_edit_stays_and_all_else_follows_the_catalog(story: dict[str, Any]) -> None:
    rows = story["changed upstream"]
    assert {row_id: row["name"] for row_id, row in rows.items()} == {
        GPT: "Our GPT",
        NITRO: "OpenAI: GPT 2 Nitro",
        MINI: "OpenAI: Mini 2",
        TEXT: "X: Text 2",
        PRESET: "Preset: support",
    }
    descriptions = {row_id: row["meta"]["description"] for row_id, row in rows.items()}
    assert descriptions == {**dict.fromkeys((GPT, NITRO, TEXT), "200K context\nBetter."), MINI: "Ours.", PRESET: None}
    assert rows[TEXT]["meta"]["tags"] == [{"name": "Team"}]
    # The editor has filled in vision as well, among many: that was nobody's decision.
    assert [rows[row_id]["meta"]["capabilities"]["vision"] for row_id in (GPT, MINI, TEXT)] == [False, True, False]
    assert [row_id for row_id, row in rows.items() if not row["is_active"]] == [TEXT], "what is switched off stays off"
    assert grants(rows[GPT]) == EVERYBODY


def test_a_model_that_leaves_and_comes_back_is_what_it_was(story: dict[str, Any]) -> None:
    (left, seen), (back, seen_again) = story["one left"], story["back again"]
    assert seen == [GPT]
    assert seen_again == sorted([GPT, MINI])
    assert left == back == story["changed upstream"]


def test_valves_show_at_the_next_list(story: dict[str, Any]) -> None:
    rows = story["valves"]
    assert {row_id: row["name"] for row_id, row in rows.items()} == {
        GPT: "Our GPT",
        NITRO: "OR: OpenAI: GPT 2 Nitro",
        MINI: "OR: OpenAI: Mini 2",
        TEXT: "OR: X: Text 2",
        PRESET: "OR: Preset: support",
    }
    assert story["names listed"][NITRO] == "OR: OpenAI: GPT 2 Nitro"
    mini = rows[MINI]
    assert mini["meta"]["capabilities"]["file_context"] is False
    assert mini["meta"]["builtinTools"] == {"files": False}
    assert "builtinTools" not in rows[TEXT]["meta"]
    # The admin's reset of this row took its grants away: it is new again, the others are not.
    assert grants(mini) == EVERYBODY
    assert grants(rows[NITRO]) == []


def test_nothing_is_written_when_it_is_switched_off(story: dict[str, Any]) -> None:
    assert story["off"] == {}
    rows, rows_after, history, history_after = story["off again"]
    assert rows == rows_after
    assert history == history_after


def test_several_workers_that_begin_at_once_write_each_row_once(data: Path, story: dict[str, Any]) -> None:
    assert story
    go = data / "go"
    workers = [driver(data, str(go)) for _ in range(2)]
    assert eventually(lambda: len(list(data.glob("ready-*"))) == 2, 120)
    go.touch()
    found = [outcome(worker) for worker in workers]
    assert sorted(worker["inserts"] for worker in found) == [0, 200]
    for worker in found:
        assert len(worker["rows"]) == 200
        assert set((worker["history"] or {"": 1}).values()) == {1}
        assert {row["user_id"] for row in worker["rows"].values()} == {story["owner"]}, "the owner is gone: an admin"
        assert "could not be written" not in worker["log"]
