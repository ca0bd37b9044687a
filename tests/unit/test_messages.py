"""Open WebUI's messages on either endpoint: the same meaning, and no text ever lost."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_pipe.messages import chat_messages, has_cache_control, responses_input
from openrouter_sandbox.validation import check_schema

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
    ([{"type": "input_text", "text": "from an API client"}], "from an API client"),
    ([{"type": "output_text", "text": "a"}, {"type": "text", "text": "b"}], "a|b"),
    ([{"type": "mystery", "text": "kept"}, {"type": "mystery", "data": 1}], "kept"),
    ([{"text": "no type"}], "no type"),
    ([{"type": ["list"], "text": "odd type"}], "odd type"),
    ([{"type": "text", "text": None}, {"type": "text"}, None, 5, {"text": "kept"}], "kept"),
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
def test_without_a_message_the_users_is_empty_since_a_request_without_any_is_refused(messages: object) -> None:
    assert chat_messages(messages) == [{"role": "user", "content": ""}]
    assert responses_input(messages) == ("", [{"type": "message", "role": "user", "content": [said("")]}])


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


# --- Parts that come in another form, or half

LINK = "https://x.test/a"
Part = dict[str, Any]
# (part, as /chat/completions takes it, as /responses takes it)
OTHER_FORMS: list[tuple[Part, Part, Part]] = [
    (
        {"type": "input_image", "image_url": PIXEL},
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
    ),
    (
        {"type": "image_url", "image_url": LINK},
        {"type": "image_url", "image_url": {"url": LINK}},
        {"type": "input_image", "image_url": LINK, "detail": "auto"},
    ),
    # /chat/completions takes an address as the data of a file, /responses has a field for it.
    (
        {"type": "file", "file": {"filename": "a.pdf", "file_data": LINK}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": LINK}},
        {"type": "input_file", "filename": "a.pdf", "file_url": LINK},
    ),
    (
        {"type": "file", "file": {"file_id": "f_1"}},
        {"type": "file", "file": {"file_id": "f_1"}},
        {"type": "input_file", "file_id": "f_1"},
    ),
    (
        {"type": "text", "text": "Hi", "prompt_cache_breakpoint": {"mode": "explicit"}, "id": 5},
        {"type": "text", "text": "Hi", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {**said("Hi"), "prompt_cache_breakpoint": {"mode": "explicit"}},
    ),
    # The picture makes no sense, the text does.
    ({"type": "image_url", "image_url": None, "text": "a cat"}, {"type": "text", "text": "a cat"}, said("a cat")),
]


@pytest.mark.parametrize(("part", "on_chat", "on_responses"), OTHER_FORMS, ids=str)
def test_parts_in_another_form(part: Part, on_chat: Part, on_responses: Part) -> None:
    messages = [{"role": "user", "content": [part]}]
    assert chat_messages(messages)[0]["content"] == [on_chat]
    assert responses_input(messages)[1][0]["content"] == [on_responses]


HALF_VALID: list[Part] = [
    *({"type": kind} for kind in ("image_url", "input_image", "file", "input_file", "input_audio", "video_url")),
    *({"type": "image_url", "image_url": odd} for odd in (None, 5, [], {}, {"url": None}, {"url": ["x"]})),
    *({"type": "file", "file": odd} for odd in (None, "x", [], {}, {"filename": "a.pdf"}, {"file_data": 5})),
    *({"type": "input_audio", "input_audio": odd} for odd in (None, "x", {}, {"data": "AA=="}, {"format": "mp3"})),
    *({"type": "video_url", "video_url": odd} for odd in (None, 5, {}, {"url": None})),
    {"type": "text", "text": ""},
]


@pytest.mark.parametrize("part", HALF_VALID, ids=str)
def test_half_a_part_is_none(part: Part) -> None:
    messages = [{"role": "user", "content": [part, {"type": "text", "text": "Hi"}]}]
    assert chat_messages(messages)[0]["content"] == [{"type": "text", "text": "Hi"}]
    assert responses_input(messages)[1][0]["content"] == [said("Hi")]


# --- Calls of tools and their results


def called(*calls: tuple[object, str], text: str = "", **more: object) -> Part:
    """An assistant's turn with these calls: (id, name)."""
    listed = [{"id": i, "type": "function", "function": {"name": name, "arguments": "{}"}} for i, name in calls]
    return {"role": "assistant", "content": text, "tool_calls": listed, **more}


def result(call_id: object, content: object) -> Part:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def rounds(messages: list[Part]) -> list[tuple[str, str]]:
    """What both endpoints are told, as (kind, text): a call by its name, a result as name=text."""
    chat = chat_messages(messages)
    told: list[tuple[str, str]] = []
    names: dict[str, str] = {}
    for message in chat:
        content = message["content"]
        text = content if isinstance(content, str) else "|".join(part.get("text", part["type"]) for part in content)
        if message["role"] == "tool":
            text = f"{names[message['tool_call_id']]}={text}"
        if text or not message.get("tool_calls"):
            told.append((message["role"], text))
        for call in message.get("tool_calls", ()):
            assert call["id"] not in names, "an id is used for two calls"
            names[call["id"]] = call["function"]["name"]
            told.append(("call", call["function"]["name"]))
    results = [message["tool_call_id"] for message in chat if message["role"] == "tool"]
    assert len(set(results)) == len(results), "a call has two results"
    assert plain(told) == plain(rounds_of_items(messages))
    return told


def plain(told: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Without the differences that mean nothing: how parts, and instructions in a row, are put together."""
    joined: list[tuple[str, str]] = []
    for role, text in told:
        role, text = role.replace("developer", "system"), text.replace("\n\n", "|")
        if role == "system" and joined and joined[-1][0] == "system":
            joined[-1] = ("system", f"{joined[-1][1]}|{text}")
        else:
            joined.append((role, text))
    return joined


def rounds_of_items(messages: list[Part]) -> list[tuple[str, str]]:
    kinds = {"input_image": "image_url", "input_file": "file", "input_video": "video_url"}

    def text_of(content: Any) -> str:
        if isinstance(content, str):
            return content
        return "|".join(part.get("text", kinds.get(part["type"], part["type"])) for part in content)

    instructions, items = responses_input(messages)
    told = [("system", instructions)] if instructions else []
    names: dict[str, str] = {}
    for item in items:
        if item["type"] == "function_call":
            names[item["call_id"]] = item["name"]
            told.append(("call", item["name"]))
        elif item["type"] == "function_call_output":
            told.append(("tool", f"{names[item['call_id']]}={text_of(item['output'])}"))
        elif item["type"] == "message":
            told.append((item["role"], text_of(item["content"])))
    return told


THOUGHT = [{"type": "reasoning.text", "text": "Hm", "id": "rs_1", "index": 0}]
VIDEO = {"type": "video_url", "video_url": {"url": LINK}}
NEXT = {"role": "user", "content": "Next"}
CONVERSATIONS: dict[str, tuple[list[Part], list[tuple[str, str]]]] = {
    "one call": ([called(("1", "a")), result("1", "A")], [("call", "a"), ("tool", "a=A")]),
    "text and two calls, results the other way round": (
        [called(("1", "a"), ("2", "b"), text="Wait"), result("2", "B"), result("1", "A"), NEXT],
        [("assistant", "Wait"), ("call", "a"), ("call", "b"), ("tool", "b=B"), ("tool", "a=A"), ("user", "Next")],
    ),
    "the same id in two turns": (
        [called(("1", "a")), result("1", "A"), called(("1", "b")), result("1", "B")],
        [("call", "a"), ("tool", "a=A"), ("call", "b"), ("tool", "b=B")],
    ),
    "calls that make no sense": (
        [
            {"role": "assistant", "content": "Hm", "tool_calls": [None, {}, {"id": "1", "function": {"name": ""}}]},
        ],
        [("assistant", "Hm")],
    ),
    "calls of a user are none": ([{**called(("1", "a")), "role": "user", "content": "Hi"}], [("user", "Hi")]),
    "pictures from a tool, as Open WebUI hands them over": (
        [
            called(("1", "a")),
            result("1", [{"type": "input_text", "text": ""}, {"type": "input_image", "image_url": PIXEL}]),
        ],
        [("call", "a"), ("tool", "a=image_url")],
    ),
    "only the user can show everything": (
        [
            *({"role": role, "content": [{"type": "text", "text": "A"}, VIDEO]} for role in ("system", "assistant")),
            called(("1", "a")),
            result("1", [VIDEO, {"type": "text", "text": "A"}]),
        ],
        [("system", "A"), ("assistant", "A"), ("call", "a"), ("tool", "a=A")],
    ),
    "a refusal": (
        [{"role": "assistant", "content": None, "refusal": "No."}, NEXT],
        [("assistant", "No."), ("user", "Next")],
    ),
    "an assistant who only thought": (
        [NEXT, {"role": "assistant", "content": "", "reasoning_details": THOUGHT}, NEXT],
        [("user", "Next"), ("assistant", ""), ("user", "Next")],
    ),
    "assistant and instructions without anything": (
        [{"role": "system", "content": ""}, {"role": "assistant", "content": None}, {"role": "assistant"}, NEXT],
        [("user", "Next")],
    ),
    "nothing but that": ([{"role": "system", "content": []}, {"role": "assistant"}], [("user", "")]),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversations_mean_the_same_on_both_endpoints(name: str) -> None:
    messages, expected = CONVERSATIONS[name]
    before = copy.deepcopy(messages)
    assert rounds(messages) == expected
    assert messages == before


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ({"a": [1, "ä"]}, '{"a":[1,"ä"]}'),
        *((nothing, "{}") for nothing in ("", None, {})),
        # Not JSON: the model wrote it, and is told what came of it.
        ('{"a": ', '{"a": '),
    ],
)
def test_arguments(arguments: object, sent: str) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "a", "arguments": arguments}}
    messages = [{"role": "assistant", "tool_calls": [call]}, result("1", "A")]
    assert chat_messages(messages)[0]["tool_calls"][0]["function"]["arguments"] == sent
    assert responses_input(messages)[1][0]["arguments"] == sent


def test_reasoning_comes_before_what_it_led_to() -> None:
    messages = [
        NEXT,
        called(("1", "a"), text="Wait", reasoning_details=THOUGHT),
        result("1", "A"),
        {"role": "assistant", "content": "Done", "reasoning_details": [{**THOUGHT[0], "id": "rs_2"}]},
        NEXT,
    ]
    _, items = responses_input(messages)
    assert [item.get("id") or item.get("role") or item["type"] for item in items] == [
        *("user", "rs_1", "assistant", "function_call", "function_call_output", "rs_2", "assistant", "user"),
    ]
    kept = [message.get("reasoning_details") for message in chat_messages(messages)]
    assert kept == [None, THOUGHT, None, [{**THOUGHT[0], "id": "rs_2"}], None]


def test_reasoning_is_an_assistants_only() -> None:
    assert chat_messages([{**NEXT, "reasoning_details": THOUGHT}]) == [NEXT]


def test_only_a_breakpoint_that_means_something_is_one() -> None:
    part = {"type": "text", "text": "Hi", "cache_control": None}
    assert not has_cache_control([{"role": "user", "content": [part]}])
    assert chat_messages([{"role": "user", "content": [part]}])[0]["content"] == [{"type": "text", "text": "Hi"}]


ODDITIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "x", "1", "text", "image_url", "file", "tool"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "text", "url"]), inner),
    max_leaves=3,
)
KEYS = ("type", "text", "image_url", "file", "input_audio", "video_url", "refusal")
ODD_PARTS = st.dictionaries(st.sampled_from(KEYS), ODDITIES, max_size=4) | ODDITIES
ODD_CALLS = st.dictionaries(st.sampled_from(["id", "function", "type"]), ODDITIES) | st.builds(
    lambda call_id, arguments: {"id": call_id, "function": {"name": "a", "arguments": arguments}}, ODDITIES, ODDITIES
)
ODD_MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]) | ODDITIES},
    optional={
        "content": ODDITIES | st.lists(ODD_PARTS, max_size=3),
        "tool_calls": ODDITIES | st.lists(ODD_CALLS, max_size=3),
        "tool_call_id": ODDITIES,
        "reasoning_details": ODDITIES,
        "refusal": ODDITIES,
    },
)


@given(st.lists(ODD_MESSAGES | ODDITIES, max_size=5))
def test_whatever_comes_in_makes_a_valid_request(messages: list[Any]) -> None:
    check_schema("ChatRequest", {"model": "a/b", "messages": chat_messages(messages)})
    check_schema("ResponsesRequest", {"model": "a/b", "input": responses_input(messages)[1]})


def test_an_id_that_is_used_once_is_kept() -> None:
    # Reasoning may refer to it.
    messages = [called(("", "a"), ("call_0", "b"), ("call_1", "c")), result("call_0", "B")]
    assert [call["id"] for call in chat_messages(messages)[0]["tool_calls"]][1:] == ["call_0", "call_1"]
