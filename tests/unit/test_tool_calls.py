"""Tool calls: whatever their ids, indices and pieces, each arrives once and whole, with an index and an id of its own."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_events import READERS, Event, both, chat, chunk, closing, responses, stream_into, text, thought

from openrouter_pipe.chunks import ChunkWriter
from openrouter_pipe.deltas import AnswerReader

ARGUMENTS = '{"city": "Zürich 😀", "days": [1, {"a": "}{"}], "note": "\\"q\\" \\u00e9"}'
CALLS = [("weather", ARGUMENTS), ("now", "{}"), ("weather", '{"city": "Bern"}')]
MISSING: Any = object()


def finished(reader: AnswerReader) -> list[tuple[str, str]]:
    """Name and arguments of each call, put together as Open WebUI does it, by index alone; checks what it relies on."""
    deltas = [*reader.take(), *reader.close()]
    found: dict[int, dict[str, Any]] = {}
    for delta in deltas:
        assert not (
            delta.get("tool_calls", [])
            and (delta.get("content", "") or delta.get("reasoning_content", "") or delta.get("reasoning_details", []))
        )
        for call in json.loads(json.dumps(delta.get("tool_calls", []))):
            assert type(call["index"]) is int
            if call["index"] not in found:
                assert call["id"]
                assert call["type"] == "function"
                found[call["index"]] = call
                continue
            known = found[call["index"]]["function"]
            known["name"] = call["function"].get("name") or known["name"]
            known["arguments"] += call["function"]["arguments"]
    assert list(found) == list(range(len(found)))
    assert len({call["id"] for call in found.values()}) == len(found)
    (choice,) = ChunkWriter("m").completion(deltas, "stop", None)["choices"]
    assert [call["function"] for call in choice["message"].get("tool_calls", ())] == [
        call["function"] for call in found.values()
    ]
    return [(call["function"]["name"], call["function"]["arguments"]) for call in found.values()]


def ids_of(reader: AnswerReader) -> list[str]:
    return [call["id"] for delta in reader.take() for call in delta.get("tool_calls", []) if "id" in call]


def fragment(index: Any = MISSING, call_id: Any = MISSING, name: Any = MISSING, arguments: Any = MISSING) -> Event:
    """A fragment of a call as /chat/completions sends it."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not MISSING}
    call = {key: value for key, value in (("index", index), ("id", call_id)) if value is not MISSING}
    return {**call, "type": "function", "function": function}


def in_chunks(*fragments: Event) -> list[Event]:
    return [chunk(tool_calls=[one]) for one in fragments]


def function_call(number: int = 0, **more: Any) -> Event:
    name, arguments = CALLS[number]
    item = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": name}
    return {**item, "arguments": arguments, "status": "completed", **more}


def added(item: Event, index: Any = 0) -> Event:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(item: Event, index: Any = 0) -> Event:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def arguments_delta(delta: Any, index: int = 0) -> Event:
    return {"type": "response.function_call_arguments.delta", "output_index": index, "item_id": "fc", "delta": delta}


def arguments_done(arguments: Any, index: int = 0, **more: Any) -> Event:
    return {"type": "response.function_call_arguments.done", "output_index": index, "arguments": arguments, **more}


@pytest.mark.parametrize("cut", range(len(ARGUMENTS) + 1))
def test_arguments_cut_anywhere(cut: int) -> None:
    head, tail = ARGUMENTS[:cut], ARGUMENTS[cut:]
    on_chat = chat(*in_chunks(fragment(0, "a", "weather", head), fragment(0, arguments=tail)), chunk("tool_calls"))
    begun = function_call(arguments="", status="in_progress")
    on_responses = responses(
        added(begun), arguments_delta(head), arguments_delta(tail), arguments_done(ARGUMENTS), closing(function_call())
    )
    assert finished(on_chat) == finished(on_responses) == [CALLS[0]]
    assert on_chat.finish_reason == on_responses.finish_reason == "tool_calls"


F, G, ARGS, MORE = "weather", "now", '{"city":"Bern"}', '{"zone":"CET"}'
FG = [(F, ARGS), (G, MORE)]
CALL_CASES: dict[str, tuple[list[Event], list[tuple[str, str]]]] = {
    "in one delta": (in_chunks(fragment(0, "a", F, ARGS)), [(F, ARGS)]),
    "two in one chunk": ([chunk(tool_calls=[fragment(0, "a", F, ARGS), fragment(1, "b", G, MORE)])], FG),
    "interleaved": (
        in_chunks(
            *(fragment(0, "a", F, ""), fragment(1, "b", G, ""), fragment(0, arguments=ARGS[:5])),
            *(fragment(1, arguments=MORE[:5]), fragment(0, arguments=ARGS[5:]), fragment(1, arguments=MORE[5:])),
        ),
        FG,
    ),
    "interleaved by ids alone": (
        in_chunks(
            *(fragment(MISSING, "a", F, ""), fragment(MISSING, "b", G, ""), fragment(MISSING, "a", arguments=ARGS[:5])),
            *(fragment(None, "b", arguments=MORE), fragment(None, "a", arguments=ARGS[5:])),
        ),
        FG,
    ),
    "one index, two ids": (in_chunks(fragment(0, "a", F, ARGS), fragment(0, "b", G, MORE)), FG),
    "no index, no ids": (in_chunks(fragment(name=F, arguments=ARGS), fragment(name=G, arguments=MORE)), FG),
    "no index, no ids, in one chunk": (
        [chunk(tool_calls=[fragment(name=F, arguments=ARGS), fragment(name=G, arguments=MORE)])],
        FG,
    ),
    "no index after the first": (in_chunks(fragment(0, "a", F, ARGS[:5]), fragment(arguments=ARGS[5:])), [(F, ARGS)]),
    "one id for two": (in_chunks(fragment(0, "a", F, ARGS), fragment(1, "a", G, MORE)), FG),
    "one id for two, in pieces": (
        in_chunks(
            *(fragment(0, "a", F, ""), fragment(1, "a", G, ""), fragment(0, "a", arguments=ARGS)),
            *(fragment(1, "a", arguments=MORE), fragment(1, "a", arguments="")),
        ),
        FG,
    ),
    "the id each time": (in_chunks(fragment(0, "a", F, ARGS[:5]), fragment(0, "a", "", ARGS[5:])), [(F, ARGS)]),
    "id and name each time": (in_chunks(fragment(0, "a", F, ARGS[:5]), fragment(0, "a", F, ARGS[5:])), [(F, ARGS)]),
    "the name each time": (in_chunks(fragment(0, "", F, ARGS[:5]), fragment(0, "", F, ARGS[5:])), [(F, ARGS)]),
    "a late name": (
        in_chunks(fragment(0, "a"), fragment(0, arguments=ARGS[:5]), fragment(0, None, F, ARGS[5:])),
        [(F, ARGS)],
    ),
    "a late id": (
        in_chunks(fragment(0, None, F, ARGS[:5]), fragment(0, "a", "", ARGS[5:]), fragment(1, "b", G, MORE)),
        FG,
    ),
    "an object": (in_chunks(fragment(0, "a", F, {"city": "Bern"})), [(F, ARGS)]),
    "an empty object": (in_chunks(fragment(0, "a", G, {})), [(G, "{}")]),
    "no arguments": (in_chunks(fragment(0, "a", G)), [(G, "")]),
    "arguments null, then some": (in_chunks(fragment(0, "a", F, None), fragment(0, arguments=ARGS)), [(F, ARGS)]),
    "indices that begin at 5": (in_chunks(fragment(5, "a", F, ARGS), fragment(9, "b", G, MORE)), FG),
    "odd indices": (
        in_chunks(fragment([1], "a", F, ARGS), fragment({"a": 1}, "b", G, MORE), fragment("x", "c", G, ARGS)),
        [*FG, (G, ARGS)],
    ),
    "odd shapes": (
        [chunk(tool_calls=[None, 5, {"function": None, "index": 0}, fragment(0, 7, F, ARGS)]), chunk(tool_calls={})],
        [(F, ARGS)],
    ),
    "beside text": ([chunk(content="Let me see.", tool_calls=[fragment(0, "a", F, ARGS)])], [(F, ARGS)]),
    "one id for two, told each time": (
        in_chunks(fragment(0, "a", F, ARGS), fragment(1, "a", G, MORE[:5]), fragment(1, "a", G, MORE[5:])),
        FG,
    ),
    "one id for two in a whole message": (
        [{"choices": [{"message": {"tool_calls": [fragment(call_id="a", name=F, arguments=ARGS)] * 2}}]}],
        [(F, ARGS)] * 2,
    ),
    "a whole message": (
        [
            {
                "choices": [
                    {"message": {"tool_calls": [fragment(MISSING, "a", F, ARGS), fragment(MISSING, "b", G, MORE)]}}
                ]
            }
        ],
        FG,
    ),
}


@pytest.mark.parametrize("case", CALL_CASES)
def test_chat_tool_calls(case: str) -> None:
    events, expected = CALL_CASES[case]
    assert finished(chat(*events)) == expected


RESPONSES_CALL_CASES: dict[str, tuple[list[Event], int]] = {
    "everything": (
        [
            added(function_call(arguments="")),
            arguments_delta(ARGUMENTS),
            arguments_done(ARGUMENTS),
            done(function_call()),
            closing(function_call()),
        ],
        1,
    ),
    "one delta": ([added(function_call(arguments="")), arguments_delta(ARGUMENTS)], 1),
    "arguments when added": ([added(function_call()), arguments_done(ARGUMENTS), done(function_call())], 1),
    "item.done alone": ([done(function_call())], 1),
    "added, then item.done": ([added(function_call(arguments="")), done(function_call())], 1),
    "closing alone": ([closing(function_call())], 1),
    "added, then closing": ([added(function_call(arguments="")), closing(function_call())], 1),
    "a part, then closing": (
        [added(function_call(arguments="")), arguments_delta(ARGUMENTS[:9]), closing(function_call())],
        1,
    ),
    "a late name, in the item": (
        [added(function_call(arguments="", name=None)), arguments_delta(ARGUMENTS), done(function_call())],
        1,
    ),
    "never added": ([arguments_delta(ARGUMENTS), done(function_call())], 1),
    "other places at the end": (
        [
            added(function_call(0, arguments=""), 1),
            arguments_delta(ARGUMENTS, 1),
            added(function_call(1, arguments=""), 2),
            arguments_done("{}", 2),
            closing(function_call(0), function_call(1)),
        ],
        2,
    ),
    "another order at the end": (
        [
            added(function_call(0, arguments=""), 0),
            done(function_call(1), 1),
            closing(function_call(1), function_call(0)),
        ],
        2,
    ),
    "another item id at the end": ([done(function_call(id="fc_tmp_1"), 1), closing(function_call(id="fc_tmp_2"))], 1),
    "interleaved": (
        [
            added(function_call(0, arguments=""), 0),
            added(function_call(1, arguments=""), 1),
            arguments_delta(ARGUMENTS[:9], 0),
            arguments_delta("{", 1),
            arguments_delta(ARGUMENTS[9:], 0),
            arguments_delta("}", 1),
            done(function_call(1), 1),
            done(function_call(0), 0),
            closing(function_call(0), function_call(1)),
        ],
        2,
    ),
    "one id for all": (
        [
            *[added(function_call(number, call_id="x", arguments=""), number) for number in range(3)],
            *[done(function_call(number, call_id="x"), number) for number in range(3)],
            closing(*[function_call(number, call_id="x") for number in range(3)]),
        ],
        3,
    ),
    "no ids": (
        [
            *[done(function_call(number, call_id=""), number) for number in range(3)],
            closing(*[function_call(number, call_id=None) for number in range(3)]),
        ],
        3,
    ),
    "no ids, other places at the end": (
        [
            *[done(function_call(number, call_id=""), number + 1) for number in range(3)],
            closing(*[function_call(number, call_id="") for number in range(3)]),
        ],
        3,
    ),
    "no places": (
        [
            {"type": "response.output_item.added", "item": function_call(arguments="")},
            {"type": "response.function_call_arguments.delta", "item_id": "fc_0", "delta": ARGUMENTS},
            {"type": "response.output_item.done", "item": function_call()},
            closing(function_call()),
        ],
        1,
    ),
    "odd shapes": (
        [
            arguments_delta(None),
            arguments_delta(5),
            arguments_delta("", [1]),
            added(function_call(), {}),
            closing(function_call()),
        ],
        1,
    ),
}


@pytest.mark.parametrize("case", RESPONSES_CALL_CASES)
def test_responses_tool_calls(case: str) -> None:
    events, count = RESPONSES_CALL_CASES[case]
    reader = responses(*events)
    assert finished(reader) == CALLS[:count]


@st.composite
def told_calls(draw: st.DrawFn) -> tuple[list[tuple[str, str]], list[list[str]], list[int]]:
    """Calls, the pieces of each one's arguments, and an order in which the pieces arrive."""
    calls = draw(
        st.lists(
            st.tuples(
                st.sampled_from([F, G]),
                st.dictionaries(st.text(max_size=3), st.text(max_size=5), max_size=3).map(json.dumps),
            ),
            min_size=1,
            max_size=4,
        )
    )
    pieces = []
    for _, arguments in calls:
        cuts = sorted(draw(st.lists(st.integers(0, len(arguments)), max_size=4)))
        edges = [0, *cuts, len(arguments)]
        pieces.append([arguments[start:end] for start, end in itertools.pairwise(edges)])
    order = draw(st.permutations([number for number, some in enumerate(pieces) for _ in some]))
    return calls, pieces, order


@given(told_calls(), st.sampled_from(["first", "each", "none", "same"]), st.booleans(), st.booleans())
def test_chat_calls_in_any_order_and_pieces(told: Any, ids: str, name_first: bool, one_read: bool) -> None:
    calls, pieces, order = told
    rest = [list(some) for some in pieces]
    fragments = [
        fragment(number, {"none": "", "same": "x"}.get(ids, f"id{number}"), name if name_first else MISSING, "")
        for number, (name, _) in enumerate(calls)
    ]
    for number in order:
        late = calls[number][0] if not name_first and len(rest[number]) == 1 else MISSING
        fragments.append(fragment(number, f"id{number}" if ids == "each" else MISSING, late, rest[number].pop(0)))
    events = [chunk(tool_calls=fragments)] if one_read else in_chunks(*fragments)
    found = finished(chat(*events, chunk("tool_calls")))
    # A call that was announced without a word begins with its first one.
    announced = name_first or ids != "none"
    assert (found if announced else sorted(found)) == (calls if announced else sorted(calls))


@given(told_calls(), st.lists(st.booleans(), min_size=3, max_size=3), st.integers(0, 2), st.booleans(), st.booleans())
def test_responses_calls_in_any_order_and_pieces(
    told: Any, tell: list[bool], shift: int, dropped: bool, named: bool
) -> None:
    calls, pieces, order = told
    items = [
        {"type": "function_call", "call_id": f"id{number}", "name": name, "arguments": arguments}
        for number, (name, arguments) in enumerate(calls)
    ]
    events = [
        added({**item, "name": item["name"] if named else "", "arguments": ""}, number + shift)
        for number, item in enumerate(items)
    ]
    rest = [list(some) for some in pieces]
    if tell[0]:
        # Without the last piece, the arguments are whole only further on.
        events += [
            arguments_delta(rest[number].pop(0), number + shift) for number in (order[:-1] if dropped else order)
        ]
    if tell[1]:
        events += [arguments_done(item["arguments"], number + shift) for number, item in enumerate(items)]
    if tell[2]:
        events += [done(item, number + shift) for number, item in enumerate(items)]
    assert finished(responses(*events, closing(*items))) == calls


@both
def test_an_id_that_upstream_gave_is_kept(endpoint: str) -> None:
    events = {
        "chat": in_chunks(
            fragment(0, "toolu_1", F, ARGS), fragment(1, "3sniiMddS", G, MORE), fragment(2, "toolu_1", G, MORE)
        ),
        "responses": [
            done(function_call(0, call_id="toolu_1"), 0),
            done(function_call(1, call_id="3sniiMddS"), 1),
            done(function_call(2, call_id="toolu_1"), 2),
        ],
    }[endpoint]
    ids = ids_of(stream_into(READERS[endpoint](), events))
    assert ids[:2] == ["toolu_1", "3sniiMddS"]
    assert len(set(ids)) == 3


@both
@pytest.mark.parametrize("finish", ["stop", None, "tool_calls"])
def test_the_finish_reason_of_calls(endpoint: str, finish: str | None) -> None:
    events = {
        "chat": [*in_chunks(fragment(0, "a", F, ARGS)), chunk(finish), b"[DONE]"],
        "responses": [closing(function_call())],
    }[endpoint]
    reader = stream_into(READERS[endpoint](), events)
    reader.close()
    assert reader.finish_reason == "tool_calls"


@both
@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_calls_that_were_cut_off_say_so(endpoint: str, reason: str) -> None:
    native = {"length": "max_output_tokens"}.get(reason, reason)
    events = {
        "chat": [*in_chunks(fragment(0, "a", F, ARGS[:4])), chunk(reason)],
        "responses": [
            added(function_call(arguments="")),
            arguments_delta(ARGS[:4]),
            closing(kind="incomplete", incomplete_details={"reason": native}),
        ],
    }[endpoint]
    reader = stream_into(READERS[endpoint](), events)
    assert finished(reader) == [(F, ARGS[:4])]
    assert reader.finish_reason == reason


@both
def test_reasoning_text_and_calls_that_arrive_together_leave_in_their_order(endpoint: str) -> None:
    # Open WebUI reads the calls of a chunk first: in one chunk they would stand above what led to them.
    events = {
        "chat": [
            chunk(reasoning="Hm."),
            chunk(content="Let me see."),
            *in_chunks(fragment(0, "a", F, ARGS)),
            chunk(content="Wait."),
        ],
        "responses": [
            thought("Hm."),
            text("Let me see.", 1),
            added(function_call(arguments=""), 2),
            arguments_delta(ARGS, 2),
            text("Wait.", 1),
        ],
    }[endpoint]
    deltas = stream_into(READERS[endpoint](), events).take()
    assert [
        (delta.get("reasoning_content", ""), delta.get("content", ""), bool(delta.get("tool_calls", [])))
        for delta in deltas
    ] == [
        ("Hm.", "", False),
        ("", "Let me see.", False),
        ("", "", True),
        ("", "Wait.", False),
    ]
