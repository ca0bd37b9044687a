"""Which of a chat's files go to a model as they are, as which part, and where."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from openrouter_pipe.catalog import parse_model
from openrouter_pipe.direct_files import (
    MAX_FILE_TEXT,
    ChatFile,
    FileRules,
    file_rules,
    wanted_files,
    with_files,
)
from openrouter_pipe.model_ref import ModelRef
from openrouter_pipe.requests import ChatContext, build_request
from openrouter_pipe.settings import Settings

DIRECT: dict[str, Any] = {"model": {"info": {"meta": {"capabilities": {"file_context": False}}}}}


def rules(*modalities: str, endpoint: str = "auto", metadata: object = DIRECT) -> FileRules | None:
    model = parse_model({"id": "a/b", "architecture": {"input_modalities": ["text", *modalities]}})
    settings = Settings(DIRECT_FILES="supported", ENDPOINT=endpoint)
    return file_rules(model, settings, metadata)


@pytest.mark.parametrize(
    ("name", "content_type", "kind"),
    [
        ("a.PDF", "application/pdf", "file"),
        ("a.pdf", "application/octet-stream", "file"),
        ("a.pdf", None, "file"),
        ("scan", "application/pdf", "file"),
        ("a.mp3", "audio/mpeg", "input_audio"),
        ("memo.m4a", "audio/x-m4a", "input_audio"),
        ("a.mov", "video/quicktime", "video_url"),
        ("code.ts", "video/mp2t", None),
        ("Recording.webm", "audio/webm", None),
        ("a.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", None),
        ("pdf.txt", "text/plain", None),
        ("notes.pdf", "text/plain", None),
        ("", {"odd": 1}, None),
    ],
)
def test_kinds_by_name_and_type(name: str, content_type: object, kind: str | None) -> None:
    known = rules("file", "audio", "video")
    assert known is not None
    part = known.part(content_type, name, "QUJD")
    assert (part and part["type"]) == kind


def test_a_kind_that_the_row_does_not_list_is_not_sent() -> None:
    known = rules("file")
    assert known is not None
    assert known.part("audio/wav", "a.wav", "") is None
    assert rules("image") is None
    assert file_rules(None, Settings(DIRECT_FILES="supported"), DIRECT) is None


@pytest.mark.parametrize("metadata", [{}, {"model": None}, {"model": {"info": {"meta": {"capabilities": None}}}}])
def test_without_the_switch_open_webui_has_retrieved(metadata: object) -> None:
    known = rules("file", metadata=metadata)
    assert known is not None
    assert known.retrieved


def test_audio_that_only_chat_completions_takes_goes_there() -> None:
    only_responses, any_endpoint = rules("audio", endpoint="responses"), rules("audio")
    assert only_responses is not None
    assert any_endpoint is not None
    assert only_responses.part("audio/x-m4a", "a.m4a", "QUJD") is None
    part = any_endpoint.part("audio/x-m4a", "a.m4a", "QUJD")
    messages, _ = with_files([{"role": "user", "content": "Hi"}], [ChatFile("1", "a.m4a", part)])
    settings = Settings(API_KEY="k")
    for body, endpoint in (({"messages": messages}, "chat_completions"), ({"messages": messages[:0]}, "responses")):
        assert build_request(body, ModelRef("a/b"), None, settings, ChatContext()).endpoint == endpoint


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
    placed, trouble = with_files(messages, [ChatFile("1", "a", one), ChatFile("2", "b", two)])
    assert messages == before, "Open WebUI sends the same messages again in the next tool round"
    assert [message["content"][1:] for message in placed if message["role"] == "user"] == [[one], [two], []]
    assert placed[0] == before[0]
    assert not trouble


def test_text_has_a_limit_for_all_files_together() -> None:
    files = [ChatFile(str(n), f"{n}.txt", text="x" * (MAX_FILE_TEXT // 2)) for n in range(3)]
    placed, trouble = with_files([{"role": "user", "content": ""}], [*files, ChatFile("4", "4.txt", text="y" * 50)])
    assert str(placed).count("x" * 1000) == MAX_FILE_TEXT // 1000
    assert "yyy" not in str(placed)
    assert "2.txt" in trouble
    assert "4.txt" in trouble
    assert "0.txt" not in trouble


@pytest.mark.parametrize("odd", [None, "files", 7, [None, 7, "x"], {"id": 1}])
def test_what_is_no_list_of_files_has_none(odd: object) -> None:
    assert wanted_files(odd) == {}
    assert with_files(odd, [ChatFile("1", "a")])[0] == []


def test_pictures_are_left_alone_and_doubles_count_once() -> None:
    files = [
        {"type": "image", "id": "1"},
        {"type": "file", "id": "2", "content_type": "image/png"},
        {"type": "file", "id": "3", "status": "uploaded"},
        {"type": "file", "url": "3"},
        {"type": "file", "id": "4", "content_type": "image/svg+xml"},
    ]
    assert list(wanted_files(files)) == ["3", "4"]
