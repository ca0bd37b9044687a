"""Which of a chat's files go to a model as they are, as which part, and where."""

from __future__ import annotations

import contextvars
import copy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openrouter_pipe.catalog import UNKNOWN, parse_model
from openrouter_pipe.direct_files import (
    MAX_FILE_BYTES,
    MAX_FILE_TEXT,
    Kinds,
    file_kind,
    file_part,
    is_in_messages,
    taken_kinds,
    text_part,
    with_files,
)
from openrouter_pipe.model_ref import ModelRef
from openrouter_pipe.requests import ChatContext, build_request
from openrouter_pipe.settings import Settings
from openrouter_pipe.webui import read_chat_files, shared_by_rounds

DIRECT: dict[str, Any] = {"model": {"info": {"meta": {"capabilities": {"file_context": False}}}}}


def kinds(*modalities: str, **valves: str) -> Kinds | None:
    model = parse_model({"id": "a/b", "architecture": {"input_modalities": ["text", *modalities]}})
    return taken_kinds(model, Settings(**{"DIRECT_FILES": "supported", **valves}))


def taken(*modalities: str, **valves: str) -> Kinds:
    found = kinds(*modalities, **valves)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "content_type", "kind"),
    [
        ("a.PDF", "application/pdf", "file"),
        ("a.pdf", "application/octet-stream", "file"),
        ("a.pdf", None, "file"),
        ("a.pdf", "", "file"),
        ("a.mp3", "audio/mpeg", "input_audio"),
        ("memo.m4a", "audio/x-m4a", "input_audio"),
        ("a.mov", "video/quicktime", "video_url"),
        ("code.ts", "video/mp2t", None),
        ("Recording.webm", "audio/webm", None),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", None),
        ("pdf.txt", "text/plain", None),
        ("", {"odd": 1}, None),
    ],
)
def test_kinds_by_name_and_type(name: str, content_type: object, kind: str | None) -> None:
    found = file_kind(taken("file", "audio", "video"), name, content_type)
    assert (found and file_part(found, name, b"ABC")["type"]) == kind


def test_a_kind_that_the_row_does_not_list_is_not_sent() -> None:
    assert file_kind(taken("file"), "a.wav", "audio/wav") is None
    assert kinds("image") is None
    assert kinds("file", DIRECT_FILES="off") is None


def test_audio_that_only_chat_completions_takes_goes_there() -> None:
    assert file_kind(taken("audio", ENDPOINT="responses"), "a.m4a", "audio/x-m4a") is None
    kind = file_kind(taken("audio"), "a.m4a", "audio/x-m4a")
    assert kind
    messages = with_files([{"role": "user", "content": "Hi"}], {"1": file_part(kind, "a.m4a", b"ABC")})
    settings = Settings(API_KEY="k")
    for body, endpoint in (({"messages": messages}, "chat_completions"), ({"messages": messages[:0]}, "responses")):
        assert build_request(body, ModelRef("a/b"), UNKNOWN, settings, ChatContext()).endpoint == endpoint


def test_a_file_goes_where_it_is_named_else_to_the_first_message_and_nothing_else_changes() -> None:
    messages = [
        {"role": "system", "content": 'Be brief. id="2"'},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": [{"type": "text", "text": '<attached_files>\n<file type="file" id="2"/>'}]},
        {"role": "user", "content": 'Again: id="2"'},
    ]
    before = copy.deepcopy(messages)
    one, two = {"type": "file", "file": {"n": 1}}, {"type": "file", "file": {"n": 2}}
    placed = with_files(messages, {"1": one, "2": two})
    assert messages == before, "Open WebUI sends the same messages again in the next tool round"
    assert [message["content"][1:] for message in placed if message["role"] == "user"] == [[one], [two], []]
    assert placed[0] == before[0]


def test_a_long_text_is_cut() -> None:
    assert [text_part("a", "x" * length)[1] for length in (0, 1, MAX_FILE_TEXT, MAX_FILE_TEXT + 1)] == [0, 1, 1, 0]
    part, _ = text_part("a.txt", "x" * 2 * MAX_FILE_TEXT)
    assert part["text"].count("x" * 1000) == MAX_FILE_TEXT // 1000
    assert "Not all of this file is here" in part["text"]


@pytest.mark.parametrize("odd", [None, "files", 7, [None, 7, "x"], {"id": 1}])
async def test_what_is_no_list_has_none(odd: object) -> None:
    assert with_files(odd, {"1": {}}) == []
    assert await read_chat_files({}, {**DIRECT, "files": odd}, "ann", {}) == ({}, "")


def test_pictures_are_left_to_open_webui() -> None:
    assert is_in_messages({"type": "image", "id": "1"})
    assert is_in_messages({"type": "file", "id": "2", "content_type": "image/png"})
    assert not is_in_messages({"type": "file", "id": "4", "content_type": "image/svg+xml"})
    assert not is_in_messages({"type": "file", "id": "5", "content_type": None})


class Host:
    """What the pipe asks Open WebUI for: uploads by id, as long as they are readable, and how often it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder = folder
        self.records: dict[str, Any] = {}
        self.users = {"ann": SimpleNamespace(id="ann")}
        self.asked: list[dict[str, Any]] = []
        getters = {
            "models.users": SimpleNamespace(Users=SimpleNamespace(get_user_by_id=self.user)),
            "models.files": SimpleNamespace(Files=SimpleNamespace(get_file_by_id=self.record)),
            "storage.provider": SimpleNamespace(Storage=SimpleNamespace(get_file=str)),
            "retrieval.utils": self,
        }
        for name, module in getters.items():
            monkeypatch.setitem(sys.modules, f"open_webui.{name}", module)

    def add(self, name: str, data: bytes, text: str = "", size: int | None = None) -> dict[str, Any]:
        path = self.folder / name
        path.write_bytes(data)
        meta = {"size": len(data) if size is None else size}
        self.records[name] = SimpleNamespace(filename=name, path=str(path), meta=meta, data={"content": text})
        return {"type": "file", "id": name}

    async def user(self, user_id: str) -> Any:
        return self.users.get(user_id)

    async def record(self, file_id: str) -> Any:
        return self.records.get(file_id)

    async def get_sources_from_items(self, request: None, items: Any, *others: Any, **named: Any) -> Any:
        (item,) = items
        self.asked.append(item)
        if item.get("content") == "broken":
            raise RuntimeError("No database.")
        record = self.records.get(item.get("id"))
        texts = [record.data["content"]] if record else [item["content"]] if "content" in item else None
        return [{"document": texts}] if texts else []


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    return Host(monkeypatch, tmp_path)


async def test_a_model_that_is_not_known_yet_gets_the_text_where_nobody_else_sends_it(host: Host) -> None:
    files = [host.add("a.pdf", b"%PDF", "Extracted."), {"type": "note", "content": "Noted."}]
    unknown = taken_kinds(UNKNOWN, Settings(DIRECT_FILES="supported"))
    assert unknown == {}
    parts, line = await read_chat_files(unknown, {**DIRECT, "files": files}, "ann", {})
    assert [part["type"] for part in parts.values()] == ["text", "text"]
    assert "Extracted." in str(parts)
    assert "Noted." in str(parts)
    assert not line
    assert await read_chat_files({}, {"files": files}, "ann", {}) == ({}, ""), "its retrieval has"


@pytest.mark.parametrize("meta", [None, {"capabilities": None}, {"capabilities": {}}])
async def test_without_the_switch_only_what_open_webui_has_no_text_of_is_sent(host: Host, meta: object) -> None:
    files = [host.add("a.pdf", b"%PDF", "Extracted."), host.add("scan.pdf", b"%PDF"), {"type": "note", "content": "N"}]
    metadata = {"model": {"info": {"meta": meta}}, "files": files}
    parts, line = await read_chat_files(taken("file"), metadata, "ann", {})
    assert (list(parts), line) == (["scan.pdf"], "")


async def test_the_next_tool_round_has_what_was_read(host: Host) -> None:
    metadata = {**DIRECT, "files": [host.add("a.pdf", b"%PDF"), host.add("empty.txt", b"")]}
    rounds: dict[str, Any] = {}
    first, line = await read_chat_files(taken("file"), metadata, "ann", rounds)
    assert "empty.txt" in line
    host.records.clear()
    assert await read_chat_files(taken("file"), dict(metadata), "ann", rounds) == (first, ""), (
        "and it is not told twice"
    )


async def test_what_the_rounds_of_an_answer_share_is_that_answers_own() -> None:
    shared = shared_by_rounds({"message_id": "a"})
    shared["files"] = {}
    assert shared_by_rounds({"message_id": "a", "new": "copy"}) is shared
    assert shared_by_rounds({"message_id": "b"}) == {}, "of another answer, such as a subagent's"
    assert shared_by_rounds({"message_id": "a"}) is shared
    shared_by_rounds({})["files"] = {}
    assert shared_by_rounds({}) == {}, "API callers have no id"
    elsewhere = contextvars.Context().run(shared_by_rounds, {"message_id": "a"})
    assert elsewhere == {}, "another task's"


async def test_too_much_goes_as_text_and_each_failure_costs_one_file(host: Host) -> None:
    files = [
        {"type": "note", "id": "n", "name": "Note", "content": "broken"},
        host.add("a.pdf", b"%PDF", size=MAX_FILE_BYTES - 10),
        host.add("b.pdf", b"%PDF", "Extracted.", size=11),
        host.add("c.pdf", b"%PDF", size=10),
        {"type": "collection", "id": "handbook", "name": "Handbook", "content": "secret"},
    ]
    parts, line = await read_chat_files(taken("file"), {**DIRECT, "files": [*files, files[1]]}, "ann", {})
    assert [part["type"] for part in parts.values()] == ["text", "file", "text", "file", "text"]
    assert "Extracted." in parts["b.pdf"]["text"]
    assert "secret" not in str(parts)
    assert "whole: Note, Handbook." in line
    assert len(host.asked) == 4, "one is there twice, knowledge is not even looked for"


async def test_what_the_page_says_is_in_a_file_is_not_believed_and_nobody_reads_nothing(host: Host) -> None:
    claimed = {**host.add("a.txt", b"", "Text."), "file": {"data": {"content": "Claimed."}}, "collection_name": "x"}
    parts, _ = await read_chat_files(taken("file"), {**DIRECT, "files": [claimed]}, "ann", {})
    assert "Text." in str(parts)
    assert host.asked == [{"type": "file", "id": "a.txt", "context": "full"}]
    page = {"type": "text", "id": "p", "content": "secret"}
    parts, line = await read_chat_files(taken("file"), {**DIRECT, "files": [page]}, "gone", {})
    assert "secret" not in str(parts)
    assert line
