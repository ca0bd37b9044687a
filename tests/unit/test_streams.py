"""What the answers of both endpoints say, streamed and whole: everything once, and nothing that trips over odd shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from host_model import HostModel
from hypothesis import given
from hypothesis import strategies as st
from stream_events import (
    FIXTURES,
    PRIVATE,
    READERS,
    Event,
    both,
    chat,
    chunk,
    closing,
    message,
    reasoning,
    responses,
    stream_into,
    summary,
    text,
    thought,
    told,
)

from openrouter_pipe.chat_stream import ChatReader
from openrouter_pipe.chunks import ChunkWriter
from openrouter_pipe.deltas import AnswerReader, chat_usage, merge_deltas
from openrouter_pipe.responses_stream import ResponsesReader
from openrouter_pipe.sse import SseDecoder

# --- /chat/completions

CHAT_CASES: dict[str, tuple[list[Event], str, str]] = {
    "text": ([chunk(role="assistant", content="Hel"), chunk(content="lo")], "", "Hello"),
    "reasoning, then text": ([chunk(reasoning="Think", content=""), chunk(content="Hi")], "Think", "Hi"),
    "reasoning_content alone": ([chunk(reasoning_content="Think")], "Think", ""),
    "both names of the reasoning": ([chunk(reasoning="Think", reasoning_content="Think")], "Think", ""),
    "reasoning details repeat it": (
        [chunk(reasoning="Think", reasoning_details=[{"type": "reasoning.text", "text": "Think"}])],
        "Think",
        "",
    ),
    "reasoning null": ([chunk(reasoning=None, reasoning_content=None, content="Hi")], "", "Hi"),
    "refusal": ([chunk(content=None, refusal="I cannot.")], "", "I cannot."),
    "a list of parts": (
        [{"choices": [{"message": {"content": [{"type": "text", "text": "He"}, {"text": "y"}, {}, "x", None]}}]}],
        "",
        "Hey",
    ),
    "a whole message in the stream": ([{"choices": [{"message": {"content": "Hi"}}]}], "", "Hi"),
    "a summary beside the last delta": (
        [chunk(content="Hi"), {"choices": [{"delta": {}, "message": {"content": "Hi"}, "finish_reason": "stop"}]}],
        "",
        "Hi",
    ),
    "delta null": ([{"choices": [{"delta": None, "finish_reason": None}]}, chunk(content="Hi")], "", "Hi"),
    "no delta": ([{"choices": [{}]}, chunk(content="Hi")], "", "Hi"),
    "choices null": ([{"choices": None}, chunk(content="Hi")], "", "Hi"),
    "choices odd": ([{"choices": {"a": 1}}, {"choices": [None]}, {"choices": "x"}, chunk(content="Hi")], "", "Hi"),
    "content odd": ([chunk(content=5), chunk(content={"a": 1}), chunk(content="Hi")], "", "Hi"),
    "reasoning odd": ([chunk(reasoning=["x"], content="Hi")], "", "Hi"),
    "comments in JSON's place": ([chunk(content="Hi"), {}, {"debug": {}}], "", "Hi"),
}


@pytest.mark.parametrize("case", CHAT_CASES)
def test_chat_chunks(case: str) -> None:
    events, expected_reasoning, expected_text = CHAT_CASES[case]
    assert told(chat(*events)) == (expected_reasoning, expected_text)


@pytest.mark.parametrize("choices", [[], None, [{"index": 0, "delta": {}, "finish_reason": None}]])
def test_chat_usage_and_finish_reason_in_any_of_the_recorded_forms(choices: object) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost": 0.1}
    reader = chat(chunk(content="Hi"), chunk("length"), {"choices": choices, "usage": usage}, b"[DONE]")
    assert (reader.finish_reason, reader.usage, reader.done) == ("length", usage, True)


@pytest.mark.parametrize("usage", [None, [], "many", 7])
def test_chat_usage_that_is_none(usage: object) -> None:
    assert chat({**chunk(content="Hi"), "usage": usage}).usage is None


@pytest.mark.parametrize("finish", ["error", None])
@pytest.mark.parametrize("error", [{"code": 502, "message": "gone"}, "gone"])
def test_chat_error_beside_choices_keeps_the_text(finish: str | None, error: object) -> None:
    reader = chat(chunk(content="Half "), {**chunk(finish, content="a word"), "error": error})
    assert told(reader) == ("", "Half a word")
    assert reader.error is not None
    assert reader.error["message"] == "gone"
    assert reader.ended


def test_chat_finish_reason_error_alone_is_an_error() -> None:
    assert chat(chunk(content="Half"), chunk("error")).error is not None


# --- /responses

RESPONSES_CASES: dict[str, tuple[list[Event], str, str]] = {
    "text": ([text("Hel"), text("lo")], "", "Hello"),
    "text and its closing": ([text("Hello"), closing(message("Hello"))], "", "Hello"),
    "reasoning, text, closing": (
        [thought("Think"), text("Hi", 1), closing(reasoning(["Think"]), message("Hi"))],
        "Think",
        "Hi",
    ),
    "nothing was streamed": ([closing(reasoning(["Think"]), message("Hi"))], "Think", "Hi"),
    "one item was not streamed": ([text("Hi", 1), closing(reasoning(["Think"]), message("Hi"))], "Think", "Hi"),
    "other places at the end": ([thought("Think"), text("Hi", 1), closing(message("Hi"))], "Think", "Hi"),
    "no places at all": (
        [{"type": "response.output_text.delta", "delta": "Hi"}, closing(message("Hi"))],
        "",
        "Hi",
    ),
    "an item done without deltas": (
        [{"type": "response.output_item.done", "output_index": 0, "item": message("Hi")}, closing()],
        "",
        "Hi",
    ),
    "an item that was only announced": (
        [{"type": "response.output_item.added", "output_index": 0, "item": message()}, closing(message("Hi"))],
        "",
        "Hi",
    ),
    "an item done twice": (
        [{"type": "response.output_item.done", "output_index": 0, "item": message("Hi")}, closing(message("Hi"))],
        "",
        "Hi",
    ),
    "two messages": (
        [text("Let me see.", 0), text("It is 4.", 1), closing(message("Let me see."), message("It is 4."))],
        "",
        "Let me see.\n\nIt is 4.",
    ),
    "two reasoning kinds": (
        [thought("Long thought"), summary("Short"), text("Hi", 1), closing(reasoning(["Long thought"], ["Short"]))],
        "Long thought",
        "Hi",
    ),
    "two reasoning kinds, other places": ([summary("Short"), closing({}, reasoning(["Long"], ["Short"]))], "Short", ""),
    "summary parts": ([summary("One"), summary(" more"), summary("Two", 0, 1)], "One more\n\nTwo", ""),
    "summary of two parts, whole": ([closing(reasoning(summaries=["One", "Two"]))], "One\n\nTwo", ""),
    "two reasoning items": ([thought("One"), text("Hi", 1), thought("Two", 2)], "One\n\nTwo", "Hi"),
    "reasoning done after the message": (
        [
            thought("Think"),
            text("Hi", 1),
            {"type": "response.output_item.done", "output_index": 1, "item": message("Hi")},
            {"type": "response.output_item.done", "output_index": 0, "item": reasoning(["Think"])},
        ],
        "Think",
        "Hi",
    ),
    "a refusal": ([{"type": "response.refusal.delta", "output_index": 0, "delta": "No."}], "", "No."),
    "a refusal, whole": ([closing({"type": "message", "content": [{"type": "refusal", "refusal": "No."}]})], "", "No."),
    "odd shapes": (
        [
            {"type": "response.output_text.delta"},
            {"type": "response.output_text.delta", "delta": None, "output_index": [1]},
            {"type": "response.output_item.done", "item": None},
            {"type": "response.output_item.done", "item": {"type": "message", "content": None}},
            {"type": None},
            {"type": 5},
            {"type": ["x"]},
            {},
            text("Hi"),
            {"type": "response.completed"},
            {"type": "response.completed", "response": []},
            closing(None, 5, {"type": "message", "content": [None, {"text": 5}]}, {"type": "web_search_call"}),
        ],
        "",
        "Hi",
    ),
}


@pytest.mark.parametrize("case", RESPONSES_CASES)
def test_responses_events(case: str) -> None:
    events, expected_reasoning, expected_text = RESPONSES_CASES[case]
    assert told(responses(*events)) == (expected_reasoning, expected_text)


@pytest.mark.parametrize(
    ("closing_event", "finish_reason"),
    [
        (closing(), "stop"),
        (closing(kind="incomplete", incomplete_details={"reason": "max_output_tokens"}), "length"),
        (closing(kind="incomplete", incomplete_details={"reason": "content_filter"}), "content_filter"),
        (closing(kind="incomplete", incomplete_details=None), "stop"),
        (closing(kind="incomplete", incomplete_details={"reason": 5}), "stop"),
    ],
)
def test_responses_finish_reason(closing_event: Event, finish_reason: str) -> None:
    reader = responses(text("Hi"), closing_event)
    assert (reader.finish_reason, reader.error, reader.done) == (finish_reason, None, True)


def test_reasoning_that_closes_at_another_place_and_with_another_id_is_one() -> None:
    item = {**reasoning(["Think"]), "id": "rs_tmp_1", "encrypted_content": "x"}
    streamed = {"type": "response.output_item.done", "output_index": 1, "item": item}
    reader = responses(streamed, closing({**item, "id": "rs_tmp_2"}, message("Hi")))
    (details,) = [
        delta.get("reasoning_details", [])
        for delta in [*reader.take(), *reader.close()]
        if delta.get("reasoning_details", [])
    ]
    assert [detail.get("id") for detail in details] == ["rs_tmp_1", "rs_tmp_1"]


@pytest.mark.parametrize("output", [[], [message("Hi")]])
def test_reasoning_that_the_closing_list_leaves_out_is_kept(output: list[Event]) -> None:
    item = {**reasoning(["Think"]), "id": "rs_tmp_1", "encrypted_content": "x"}
    reader = responses({"type": "response.output_item.done", "output_index": 0, "item": item}, closing(*output))
    (details,) = [
        delta.get("reasoning_details", [])
        for delta in [*reader.take(), *reader.close()]
        if delta.get("reasoning_details", [])
    ]
    assert [detail["type"] for detail in details] == ["reasoning.text", "reasoning.encrypted"]


FAILURES: dict[str, Event] = {
    "failed": closing(kind="failed", error={"code": "server_error", "message": "gone"}),
    "flat": {"type": "error", "code": "server_error", "message": "gone", "param": None, "sequence_number": 1},
    "nested": {"type": "error", "error": {"code": "server_error", "message": "gone"}},
    "response.error": {"type": "response.error", "error": {"code": "server_error", "message": "gone"}},
    "a bare error object": {"error": {"code": "server_error", "message": "gone"}},
    "error as text": {"error": "gone"},
    "completed with an error": closing(error={"code": "server_error", "message": "gone"}),
}


@pytest.mark.parametrize("case", FAILURES)
def test_responses_failures_keep_the_text(case: str) -> None:
    reader = responses(text("Half"), FAILURES[case])
    assert told(reader) == ("", "Half")
    assert reader.error is not None
    assert reader.error["message"] == "gone"
    assert reader.ended


def test_a_failed_response_without_reason_is_an_error_and_its_usage_counts() -> None:
    reader = responses(text("Half"), closing(kind="failed", error=None, usage={"input_tokens": 3}))
    assert reader.error is not None
    assert reader.usage == {"prompt_tokens": 3}


def test_a_whole_response_that_failed_without_reason_is_an_error() -> None:
    reader = ResponsesReader()
    reader.read({"status": "failed", "error": None, "output": []})
    assert reader.error is not None


def test_usage_gets_the_chat_names_at_every_depth() -> None:
    assert chat_usage(
        {
            "input_tokens": 10,
            "output_tokens": 5,
            "total_tokens": 15,
            "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
            "output_tokens_details": {"reasoning_tokens": 3},
            "cost": 0.5,
            "is_byok": False,
            "cost_details": {
                "upstream_inference_cost": None,
                "upstream_inference_input_cost": 0.1,
                "upstream_inference_output_cost": 0.2,
            },
            "server_tool_use_details": {"web_search_requests": 1},
        }
    ) == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 3},
        "cost": 0.5,
        "is_byok": False,
        "cost_details": {
            "upstream_inference_cost": None,
            "upstream_inference_prompt_cost": 0.1,
            "upstream_inference_completions_cost": 0.2,
        },
        "server_tool_use_details": {"web_search_requests": 1},
    }


# --- both

METADATA = {"requested": "openai/gpt-4o:nitro", "endpoints": {"total": 3}}


@pytest.mark.parametrize("last", [{"usage": {"cost": 1}}, {"openrouter_metadata": METADATA}, {"error": {"code": 502}}])
def test_who_served_a_chat_is_told_by_its_first_and_last_chunks(last: Event) -> None:
    first = {**chunk(content="Hi"), "model": "openai/gpt-4o-2024-11-20", "provider": "Azure", "service_tier": None}
    served = {"model": "openai/gpt-4o-2024-11-20", "provider": "Azure"}
    assert chat(first, chunk(content="!")).served == served
    end = {**chunk("stop"), "service_tier": "priority", "openrouter_metadata": METADATA, **last}
    assert chat(first, chunk(content="!"), end).served == {
        **served,
        "service_tier": "priority",
        "openrouter_metadata": METADATA,
    }


@pytest.mark.parametrize("kind", ["completed", "incomplete", "failed"])
def test_who_served_a_response_is_told_when_it_begins_and_when_it_ends(kind: str) -> None:
    created = {"type": "response.created", "response": {"model": "openai/gpt-4o", "service_tier": "auto"}}
    assert responses(created).served == {"model": "openai/gpt-4o", "service_tier": "auto"}
    end = closing(message("Hi"), kind=kind, model="openai/gpt-4o-mini", service_tier=None, openrouter_metadata=METADATA)
    expected = {"model": "openai/gpt-4o-mini", "service_tier": "auto", "openrouter_metadata": METADATA}
    assert responses(created, text("Hi"), end).served == expected


@both
def test_who_served_a_whole_answer(endpoint: str) -> None:
    reader = READERS[endpoint]()
    served = {"model": "openai/gpt-4o", "provider": "Azure", "service_tier": "flex", "openrouter_metadata": METADATA}
    reader.read({**served, "id": "gen-1", "choices": [], "output": []})
    assert reader.served == served


def test_what_arrives_together_is_one_delta_for_each_field_and_is_given_once() -> None:
    reader = chat(chunk(reasoning="a"), chunk(reasoning="b"), chunk(content="c"), chunk(content="d"))
    assert reader.take() == [{"reasoning_content": "ab"}, {"content": "cd"}]
    assert reader.take() == []


def test_reasoning_after_text_stays_after_it() -> None:
    deltas = chat(chunk(content="a"), chunk(reasoning="b"), chunk(content="c")).take()
    assert deltas == [{"content": "a"}, {"reasoning_content": "b"}, {"content": "c"}]


@both
@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"null", b"[]", b"5", b'"text"', b"<html></html>", b"\xff\xfe\x00", b"[" * 100_000, b":", b"{}" * 3],
)
def test_garbage_adds_nothing_and_ends_nothing(endpoint: str, payload: bytes) -> None:
    reader = stream_into(READERS[endpoint](), [payload])
    assert (reader.take(), reader.usage, reader.error, reader.ended) == ([], None, None, False)


def delta_event(endpoint: str, json_text: bytes) -> bytes:
    head = (
        b'{"choices": [{"delta": {"content": '
        if endpoint == "chat"
        else b'{"type": "response.output_text.delta", "delta": '
    )
    return head + json_text + (b"}}]}" if endpoint == "chat" else b"}")


@both
@pytest.mark.parametrize(
    ("json_text", "shown"),
    [(rb'"a\ude00b"', "a?b"), (b'"a\xffb"', "a�b"), ('"日本 é"'.encode(), "日本 é"), (rb'"\ud83d\ude00"', "😀")],
)
def test_broken_characters_do_not_cost_the_rest(endpoint: str, json_text: bytes, shown: str) -> None:
    assert told(stream_into(READERS[endpoint](), [delta_event(endpoint, json_text)])) == ("", shown)


# --- What no upstream should send

ODD = st.sampled_from(
    [None, True, 0, -1, 1.5, "", "x", [], [None], [[]], {}, {"a": 1}, {"type": "x"}, "\ud83d", 10**30]
)
RICH: dict[str, list[Event]] = {
    "chat": [
        {
            **chunk(reasoning="a", reasoning_details=[{"type": "reasoning.text", "text": "a", "index": 0}]),
            "usage": {"cost": 1},
        },
        chunk(reasoning_details=[{"type": "reasoning.encrypted", "data": "b", "id": "c", "index": 1}], refusal="no"),
        chunk(content="d", tool_calls=[{"index": 0, "id": "e", "function": {"name": "f", "arguments": "{"}}]),
        chunk(
            content=[{"type": "text", "text": "g"}],
            images=[{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}],
        ),
        chunk(
            annotations=[{"type": "url_citation", "url_citation": {"url": "https://i", "title": "j"}}, {"type": "file"}]
        ),
        {"choices": [{"message": {"content": "k"}, "finish_reason": "stop"}]},
    ],
    "responses": [
        thought("a"),
        summary("b"),
        text("c", 1),
        {
            "type": "response.output_text.annotation.added",
            "annotation": {"type": "url_citation", "url": "https://d", "title": "e"},
        },
        {
            "type": "response.output_item.added",
            "output_index": 2,
            "item": {"type": "function_call", "call_id": "f", "name": "g"},
        },
        {"type": "response.function_call_arguments.delta", "output_index": 2, "item_id": "h", "delta": "{"},
        {"type": "response.function_call_arguments.done", "output_index": 2, "name": "g", "arguments": "{}"},
        {"type": "response.output_item.added", "output_index": 3, "item": {"type": "openrouter:web_search", "id": "i"}},
        closing(
            {**reasoning(["a"], ["b"]), "encrypted_content": "j", "signature": "k", "id": "l"},
            message("c"),
            {"type": "function_call", "call_id": "f", "name": "g", "arguments": "{}"},
            {
                "type": "openrouter:web_search",
                "action": {"query": "m", "queries": ["n"], "sources": [{"url": "https://o"}]},
            },
            {"type": "image_generation_call", "result": "cGl4"},
            usage={"input_tokens": 1, "input_tokens_details": {"cached_tokens": 0}},
            incomplete_details={"reason": "max_output_tokens"},
            error=None,
        ),
    ],
}


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places_in(one, (*path, key)))]


def with_odd(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    copied = value.copy()
    copied[path[0]] = with_odd(value[path[0]], path[1:], odd)
    return copied


@both
@given(st.data())
def test_an_odd_value_anywhere_costs_no_more_than_itself(endpoint: str, data: st.DataObject) -> None:
    events: list[Any] = RICH[endpoint]
    for _ in range(data.draw(st.integers(1, 3))):
        number = data.draw(st.integers(0, len(events) - 1))
        path = data.draw(st.sampled_from(places_in(events[number])))
        events = [*events[:number], with_odd(events[number], path, data.draw(ODD)), *events[number + 1 :]]
    reader = READERS[endpoint]()
    host, writer = HostModel(), ChunkWriter("m")
    # What Open WebUI cannot read costs it the whole chunk, so each event is one here.
    for event in events:
        for delta in stream_into(reader, [event]).take():
            host.read(writer.delta(delta))
    for delta in reader.close():
        host.read(writer.delta(delta))
    assert reader.usage is None or isinstance(reader.usage, dict)
    assert reader.finish_reason is None or isinstance(reader.finish_reason, str)
    whole = merge_deltas(stream_into(READERS[endpoint](), events).take())
    assert whole.get("content", "") == host.text


# --- Streamed equals whole

CONVERSATIONS = [("", "Hi"), ("Think", "Hi"), ("Think\n\nmore", "Zwei Wörter 😀"), ("Think", "")]


@pytest.mark.parametrize(("thoughts", "said"), CONVERSATIONS)
def test_chat_whole_equals_streamed(thoughts: str, said: str) -> None:
    usage = {"prompt_tokens": 1}
    reader = ChatReader()
    reader.read(
        {
            "choices": [{"message": {"content": said, "reasoning": thoughts or None}, "finish_reason": "length"}],
            "usage": usage,
        }
    )
    streamed = chat(
        *[chunk(reasoning=letter) for letter in thoughts],
        *[chunk(content=letter) for letter in said],
        chunk("length"),
        {"choices": [], "usage": usage},
    )
    assert told(reader) == told(streamed) == (thoughts, said)
    assert (reader.usage, reader.finish_reason) == (streamed.usage, streamed.finish_reason) == (usage, "length")


@pytest.mark.parametrize(("thoughts", "said"), CONVERSATIONS)
def test_responses_whole_equals_streamed(thoughts: str, said: str) -> None:
    parts = thoughts.split("\n\n") if thoughts else []
    items = [reasoning(summaries=parts)] * bool(parts) + [message(said)] * bool(said)
    end = closing(*items, usage={"input_tokens": 1})
    whole = ResponsesReader()
    whole.read(end["response"])
    streamed = responses(
        *[summary(letter, 0, number) for number, part in enumerate(parts) for letter in part],
        *[text(letter, int(bool(parts))) for letter in said],
        end,
    )
    assert told(whole) == told(streamed) == (thoughts, said)
    assert whole.usage == streamed.usage == {"prompt_tokens": 1}


# --- Recordings and published examples, where they are

needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason="../shared/fixtures is not here")


def payloads(path: Path) -> list[Any]:
    """The parsed events of a recording, read by hand."""
    lines = [line[6:] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def decoded(path: Path, reader: AnswerReader) -> AnswerReader:
    decoder = SseDecoder()
    return stream_into(reader, [*decoder.feed(path.read_bytes()), *decoder.flush()])


@needs_fixtures
@both
@pytest.mark.parametrize("path", sorted(FIXTURES.glob("openapi_examples/event.*.json")), ids=lambda path: path.name)
def test_published_events_are_harmless(endpoint: str, path: Path) -> None:
    event = json.loads(path.read_text(encoding="utf-8"))
    reader = stream_into(READERS[endpoint](), [event])
    failing = event["type"] in ("error", "response.failed")
    assert (reader.error is not None) == (failing if endpoint == "responses" else "error" in event)
    thoughts, said = told(reader)
    shown = {"response.output_text.delta", "response.refusal.delta", "response.output_item.done", "response.completed"}
    hidden = {"response.reasoning_text.delta", "response.reasoning_summary_text.delta"}
    assert bool(said) <= (event["type"] in shown)
    assert bool(thoughts) == (endpoint == "responses" and event["type"] in hidden)


@needs_fixtures
@pytest.mark.parametrize("path", sorted(FIXTURES.glob("real_chat/*.sse")), ids=lambda path: path.name)
def test_recorded_chat_streams(path: Path) -> None:
    events = payloads(path)
    deltas = [choice["delta"] for event in events for choice in event["choices"]]
    reader = decoded(path, ChatReader())
    kept_private = any(delta.get("reasoning_details") for delta in deltas)
    read = merge_deltas([*reader.take(), *reader.close()])
    assert (read.get("reasoning_content", ""), read.get("content", "")) == (
        "".join(delta.get("reasoning") or "" for delta in deltas) or PRIVATE * kept_private,
        "".join(delta.get("content") or "" for delta in deltas),
    )
    assert reader.usage == next(event["usage"] for event in events if event.get("usage"))
    assert reader.finish_reason == next(
        choice["finish_reason"] for event in events for choice in event["choices"] if choice["finish_reason"]
    )
    assert (reader.done, reader.error) == (True, None)


@needs_fixtures
@pytest.mark.parametrize("path", sorted(FIXTURES.glob("real_chat/*.response.json")), ids=lambda path: path.name)
def test_recorded_chat_answers(path: Path) -> None:
    answer = json.loads(path.read_text(encoding="utf-8"))
    reader = ChatReader()
    reader.read(answer)
    said = answer["choices"][0]["message"]
    assert told(reader) == (said.get("reasoning") or "", said["content"] or "")
    assert reader.usage == answer["usage"]
    assert reader.finish_reason == answer["choices"][0]["finish_reason"]


@needs_fixtures
@pytest.mark.parametrize("path", sorted(FIXTURES.glob("real_responses/*.sse")), ids=lambda path: path.name)
def test_recorded_responses_streams(path: Path) -> None:
    end = payloads(path)[-1]["response"]
    parts = {item["type"]: [part["text"] for part in item["content"]] for item in end["output"]}
    reader = decoded(path, ResponsesReader())
    assert told(reader) == ("".join(parts["reasoning"]), "".join(parts["message"]))
    assert reader.usage == chat_usage(end["usage"])
    assert reader.usage["prompt_tokens"] == end["usage"]["input_tokens"]
    assert (reader.done, reader.error, reader.finish_reason) == (True, None, "stop")
    whole = ResponsesReader()
    whole.read(end)
    assert told(whole) == ("".join(parts["reasoning"]), "".join(parts["message"]))


@needs_fixtures
@pytest.mark.parametrize("endpoint", ["chat_completions", "responses"])
def test_published_answers(endpoint: str) -> None:
    answer = json.loads((FIXTURES / "openapi_examples" / f"post_{endpoint}.200.json").read_text(encoding="utf-8"))
    reader: AnswerReader = ChatReader() if endpoint == "chat_completions" else ResponsesReader()
    reader.read(answer)
    assert told(reader)[1]
    assert reader.error is None
    assert reader.ended


def test_the_provider_beside_a_chat_error_is_named() -> None:
    reader = ChatReader()
    event = {"provider": "Fireworks", "error": {"code": 502, "message": "Gone"}, "choices": []}
    reader.feed(json.dumps(event).encode())
    assert reader.error == {"code": 502, "message": "Gone", "metadata": {"provider_name": "Fireworks"}}


def test_details_of_a_whole_answer_stay_apart() -> None:
    details = [
        {"type": "reasoning.summary", "summary": "First.", "id": "rs_1", "format": "openai-responses-v1", "index": 0},
        {"type": "reasoning.summary", "summary": "Second.", "id": "rs_1", "format": "openai-responses-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "AAA", "id": "rs_1", "format": "openai-responses-v1", "index": 0},
    ]
    reader = ChatReader()
    message = {"role": "assistant", "content": "Done.", "reasoning_details": details}
    reader.read({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    shown, kept = reader.take(), reader.close()
    assert shown[0].get("reasoning_content", "") == "First.\n\nSecond."
    assert [{**detail, "index": 0} for delta in kept for detail in delta.get("reasoning_details", [])] == details
    assert [detail["index"] for delta in kept for detail in delta.get("reasoning_details", [])] == [0, 1, 2]


@both
def test_private_reasoning_stands_above_the_call_that_it_led_to(endpoint: str) -> None:
    call = {"name": "now", "arguments": "{}"}
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    events: list[Event] = {
        "chat": [
            chunk(reasoning_details=[{"type": "reasoning.encrypted", "data": "x", "index": 0}]),
            chunk(tool_calls=[{"index": 0, "id": "a", "function": call}]),
        ],
        "responses": [
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {
                "type": "response.output_item.done",
                "output_index": 1,
                "item": {"type": "function_call", "call_id": "a", **call},
            },
        ],
    }[endpoint]
    reader, host, writer = stream_into(READERS[endpoint](), events), HostModel(), ChunkWriter("m")
    for delta in [*reader.take(), *reader.close()]:
        host.read(writer.delta(delta))
    assert [item["type"] for item in host.output] == ["reasoning", "function_call"]
    assert host.reasoning == PRIVATE
    assert [detail["data"] for detail in host.details] == ["x"]
