"""Open WebUI's messages on either endpoint: the same meaning, and no text ever lost."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from openrouter_pipe.messages import chat_messages, has_cache_control, responses_input

PIXEL = "data:image/png;base64,iVBORw0KGgo="


def said(text: str) -> dict[str, Any]:
    return {"type": "input_text", "text": text}


# One part as Open WebUI has it, and as /responses takes it. /chat/completions takes it as it is.
PARTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"type": "text", "text": "Hi"}, said("Hi")),
    (
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
    ),
    (
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "high"}},
        {"type": "input_image", "image_url": "https://x.test/a.png", "detail": "high"},
    ),
    (
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
    ),
    (
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}},
    ),
    (
        {"type": "video_url", "video_url": {"url": "https://x.test/a.mp4"}},
        {"type": "input_video", "video_url": "https://x.test/a.mp4"},
    ),
]


@pytest.mark.parametrize(("part", "expected"), PARTS, ids=lambda part: part["type"])
def test_each_kind_of_part(part: dict[str, Any], expected: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": [part]}]
    assert chat_messages(messages) == messages
    assert responses_input(messages) == ("", [{"type": "message", "role": "user", "content": [expected]}])


def test_a_conversation_keeps_its_order() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two"},
        {"role": "user", "content": "Three"},
    ]
    assert chat_messages(messages) == messages
    instructions, items = responses_input(messages)
    assert instructions == "Be brief."
    assert items == [
        {"type": "message", "role": "user", "content": [said("One")]},
        {"type": "message", "role": "assistant", "content": "Two"},
        {"type": "message", "role": "user", "content": [said("Three")]},
    ]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_system_messages_at_the_start_are_instructions_and_later_ones_keep_their_place(role: str) -> None:
    messages = [
        {"role": role, "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]},
        {"role": "system", "content": "C"},
        {"role": "user", "content": "Hi"},
        {"role": role, "content": "Now rhyme."},
    ]
    instructions, items = responses_input(messages)
    assert instructions == "A\n\nB\n\nC"
    assert [item["role"] for item in items] == ["user", role]
    assert items[1]["content"] == [said("Now rhyme.")]
    assert [message["role"] for message in chat_messages(messages)] == [role, "system", "user", role]


def test_a_system_message_alone_is_input_since_a_request_without_input_is_refused() -> None:
    assert responses_input([{"role": "system", "content": "Say hi."}]) == (
        "",
        [{"type": "message", "role": "system", "content": [said("Say hi.")]}],
    )


# Odd content, and the text that both endpoints must still get.
ODD: list[tuple[object, str]] = [
    (["plain", " text"], "plain|text"),
    ([{"type": "input_text", "text": "from an API client"}], "from an API client"),
    ([{"type": "output_text", "text": "a"}, {"type": "text", "text": "b"}], "a|b"),
    ([{"type": "mystery", "text": "kept"}, {"type": "mystery", "data": 1}], "kept"),
    ([{"text": "no type"}], "no type"),
    ([{"type": ["list"], "text": "odd type"}], "odd type"),
    ([{"type": "text", "text": None}, {"type": "text"}, None, 5, "kept"], "kept"),
    ([], ""),
    (None, ""),
    (5, ""),
    ({"a": 1}, ""),
    ("", ""),
]


def texts(content: object) -> str:
    if isinstance(content, str):
        return content
    assert isinstance(content, list)
    assert all(part["type"] in ("text", "input_text") for part in content)
    return "|".join(part["text"].strip() for part in content)


@pytest.mark.parametrize(("content", "expected"), ODD, ids=str)
def test_odd_content_keeps_its_text_and_nothing_else(content: object, expected: str) -> None:
    messages = [{"role": "user", "content": content}]
    assert texts(chat_messages(messages)[0]["content"]) == expected
    assert texts(responses_input(messages)[1][0]["content"]) == expected


@pytest.mark.parametrize("role", ["narrator", "", None, 5, ["x"]])
def test_an_odd_role_keeps_its_text_as_the_users(role: object) -> None:
    messages = [{"role": role, "content": "Once upon a time"}]
    assert chat_messages(messages) == [{"role": "user", "content": "Once upon a time"}]
    assert responses_input(messages)[1][0]["content"] == [said("Once upon a time")]


@pytest.mark.parametrize("messages", [None, [], "text", {"role": "user"}, [None, 5, "x"]])
def test_no_messages(messages: object) -> None:
    assert chat_messages(messages) == []
    assert responses_input(messages) == ("", [])


def test_open_webuis_own_fields_are_not_sent() -> None:
    messages = [{"role": "user", "content": "Hi", "id": "1", "timestamp": 5, "files": [{}], "models": ["a"]}]
    assert chat_messages(messages) == [{"role": "user", "content": "Hi"}]


def test_nothing_that_came_in_is_changed() -> None:
    messages = [{"role": "user", "content": [part for part, _ in PARTS]}, {"role": "assistant", "content": ["x"]}]
    before = copy.deepcopy(messages)
    chat_messages(messages)
    responses_input(messages)
    assert messages == before


@pytest.mark.parametrize("role", ["user", "system", "assistant"])
def test_cache_control_in_a_part_is_seen_and_kept_on_chat(role: str) -> None:
    part = {"type": "text", "text": "Long", "cache_control": {"type": "ephemeral"}}
    messages = [{"role": role, "content": [part]}]
    assert has_cache_control(messages)
    assert chat_messages(messages)[0]["content"] == [part]
    assert "cache_control" not in str(responses_input(messages))
    assert not has_cache_control([{"role": role, "content": "cache_control"}])
