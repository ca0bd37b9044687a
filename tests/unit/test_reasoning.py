"""Reasoning on its way through a conversation: what is asked for, what is kept, and what is handed in again unchanged."""

from __future__ import annotations

import ast
import copy
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_pipe.catalog import UNKNOWN, Model, parse_model
from openrouter_pipe.messages import chat_messages, responses_input
from openrouter_pipe.model_ref import ModelRef
from openrouter_pipe.reasoning import (
    EFFORTS,
    DetailsCollector,
    details_of,
    kept_details,
    nearest_effort,
    reasoning_items,
    replayed_details,
)
from openrouter_pipe.requests import ChatContext, UpstreamRequest, build_request
from openrouter_pipe.settings import Settings

Json = dict[str, Any]
CHAT, RESPONSES = "chat_completions", "responses"
CLAUDE, OPENAI, GEMINI = "anthropic-claude-v1", "openai-responses-v1", "google-gemini-v1"
INCLUDE = ["reasoning.encrypted_content"]

# --- Open WebUI's part: what it keeps of streamed details, and hands over in the next round


def merged(chunks: list[list[Json]]) -> list[Json]:
    """`merge_streamed_reasoning_details` of Open WebUI 0.12 (utils/middleware.py): by `index` alone; `text` and `summary`
    are put together, all else is overwritten."""
    kept: list[Json] = []
    for detail in [detail for chunk in chunks for detail in chunk]:
        index = detail.get("index")
        same = [known for known in kept if isinstance(index, int) and known.get("index") == index]
        if not same:
            kept.append(dict(detail))
            continue
        for key, value in detail.items():
            both = key in ("text", "summary") and isinstance(value, str) and isinstance(same[0].get(key), str)
            same[0][key] = same[0][key] + value if both else value
    return kept


def handed_over(kept: list[Json]) -> list[Json]:
    """`convert_output_to_messages` (utils/misc.py): Claude's details without a signature are dropped."""
    return [detail for detail in kept if detail.get("format") != CLAUDE or detail.get("signature")]


def stored(*chunks: list[Json]) -> list[Json]:
    """What comes back of details that left in these chunks; the database keeps JSON."""
    answer: list[Json] = json.loads(json.dumps(handed_over(merged(list(chunks)))))
    return answer


def host_code(module: str, names: tuple[str, ...], **known: Any) -> Callable[..., Any] | None:
    """The first of these functions as the installed Open WebUI has it, without importing all of Open WebUI."""
    package = importlib.util.find_spec("open_webui")
    if package is None or not package.submodule_search_locations:
        return None
    path = Path(package.submodule_search_locations[0], "utils", module)
    wanted = [
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name in names
    ]
    if len(wanted) < len(names):
        return None
    future = ast.parse("from __future__ import annotations").body
    exec(compile(ast.Module([*future, *wanted], []), str(path), "exec"), known)
    found: Callable[..., Any] = known[names[0]]
    return found


HOST_MERGE = host_code(
    "middleware.py",
    ("merge_streamed_reasoning_details", "append_to_text_field"),
    ENABLE_CHAT_RESPONSE_STREAM_INPLACE_APPEND=False,
)
HOST_REPLAY = host_code(
    "misc.py",
    (
        *("convert_output_to_messages", "reconcile_tool_pairs", "get_paired_tool_call_ids"),
        *("get_content_from_message", "get_provider_function"),
    ),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SOME_TEXT = TEXTS.filter(bool)
LOOSE_DETAILS = st.fixed_dictionaries(
    {"type": st.sampled_from(["reasoning.text", "reasoning.summary", "reasoning.encrypted"])},
    optional={
        "index": st.integers(0, 2),
        "text": SOME_TEXT,
        "summary": SOME_TEXT,
        "data": SOME_TEXT,
        "signature": TEXTS,
        "format": st.sampled_from([CLAUDE, OPENAI]),
    },
)


@pytest.mark.skipif(not (HOST_MERGE and HOST_REPLAY), reason="another Open WebUI, or none, is installed")
@given(st.lists(st.lists(LOOSE_DETAILS, max_size=3), max_size=4))
def test_the_copy_of_the_host_is_true(chunks: list[list[Json]]) -> None:
    assert HOST_MERGE is not None
    assert HOST_REPLAY is not None
    kept: list[Json] = []
    for chunk in chunks:
        HOST_MERGE(kept, chunk)
    assert merged(chunks) == kept
    output = [
        {"type": "reasoning", "content": [], "reasoning_details": kept},
        {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]},
    ]
    assert stored(*chunks) == HOST_REPLAY(output, raw=True)[0].get("reasoning_details", [])


# --- Items of /responses there and back


def parts(kind: str, least: int) -> st.SearchStrategy[list[Json]]:
    return st.lists(st.builds(lambda text: {"type": kind, "text": text}, SOME_TEXT), min_size=least, max_size=3)


ITEMS = st.fixed_dictionaries(
    {"type": st.just("reasoning"), "summary": parts("summary_text", 0), "id": st.uuids().map(str)},
    optional={
        "format": st.sampled_from([OPENAI, CLAUDE, GEMINI]),
        "content": parts("reasoning_text", 1),
        "signature": SOME_TEXT,
        "encrypted_content": SOME_TEXT,
    },
)


def worth_replaying(item: Json) -> bool:
    """Something is in it; and a thought of Claude without any proof is one that upstream refuses, so the host drops it."""
    proven = "signature" in item or "encrypted_content" in item
    return proven or ((bool(item["summary"]) or "content" in item) and item.get("format") != CLAUDE)


def kept(*items: Json) -> list[Json]:
    return kept_details([detail for item in items for detail in details_of(item)])


def round_trip(items: list[Json]) -> list[Json]:
    return reasoning_items(replayed_details(stored(kept(*items))))


@given(st.lists(ITEMS.filter(worth_replaying), max_size=4))
def test_items_come_back_as_they_were(items: list[Json]) -> None:
    before = copy.deepcopy(items)
    assert round_trip(items) == items == before


@given(st.lists(ITEMS, max_size=4))
def test_details_of_items_have_an_index_of_their_own(items: list[Json]) -> None:
    details = kept(*items)
    indices = [detail["index"] for detail in details]
    assert indices == sorted(set(indices))
    assert merged([details]) == details


def test_an_item_that_says_nothing_is_not_kept() -> None:
    nothing = {"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "encrypted_content": None}
    assert details_of(nothing) == details_of({}) == []
    assert round_trip([{"summary": "x", "signature": 5, "encrypted_content": ["x"]}]) == []


def test_a_signature_stays_where_chat_completions_has_it() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": [{"text": "Well"}], "signature": "s"}
    assert [(one["type"], one.get("signature")) for one in details_of(item)] == [
        ("reasoning.summary", None),
        ("reasoning.text", "s"),
    ]


def test_half_a_thought_of_claude_is_left_to_the_host_to_drop() -> None:
    cut = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"text": "Well"}], "format": CLAUDE}
    assert round_trip([cut]) == []


def test_a_whole_round_of_a_tool_conversation_on_responses() -> None:
    item = {
        "type": "reasoning",
        "id": "rs_1",
        "format": OPENAI,
        "summary": [{"type": "summary_text", "text": "One"}, {"type": "summary_text", "text": "Two"}],
        "encrypted_content": "gAAA",
    }
    call = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "user", "content": "When?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [call],
            "reasoning_details": stored(kept(item)),
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "12:00"},
    ]
    assert responses_input(messages)[1][1:] == [
        item,
        {"type": "function_call", "call_id": "call_1", "name": "now", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "12:00"},
    ]


# --- Details of /chat/completions, streamed in fragments


def detail(kind: str, content: str, **more: object) -> Json:
    field = {"text": "text", "summary": "summary", "encrypted": "data"}[kind]
    return {"type": f"reasoning.{kind}", field: content, **more}


def cut(data: st.DataObject, whole: Json) -> tuple[list[Json], list[Json]]:
    """The fragments of a detail, and those of them that may come late: the signature."""
    field = next((field for field in ("text", "summary") if field in whole), "")
    if not field:
        return [dict(whole)], []
    common = {key: value for key, value in whole.items() if key not in (field, "signature", "id")}
    content, places = whole[field], data.draw(st.lists(st.integers(0, len(whole[field])), max_size=3).map(sorted))
    pieces = [content[a:b] for a, b in zip([0, *places], [*places, len(content)], strict=True)]
    fragments = [{**common, field: piece} for piece in pieces]
    if "id" in whole:
        # In the first fragment, or in each of them.
        for fragment in fragments[: data.draw(st.sampled_from([1, len(fragments)]))]:
            fragment["id"] = whole["id"]
    empty: Json = data.draw(st.sampled_from([{}, {"signature": ""}, {"signature": None}]))
    fragments[0] = {**fragments[0], **empty}
    if "signature" not in whole:
        return fragments, []
    blank = data.draw(st.sampled_from([{}, {field: ""}, {field: None}]))
    return fragments, [{**common, **blank, "signature": whole["signature"]}]


def without_blank(details: list[Json]) -> list[Json]:
    return [
        {key: value for key, value in one.items() if key != "index" and (key != "signature" or value)}
        for one in details
    ]


KINDS = st.sampled_from(["text", "summary", "encrypted"])


@st.composite
def whole_details(draw: st.DrawFn) -> list[Json]:
    """Details: each with an index of its own, or one index for one of each kind."""
    together = draw(st.booleans())
    whole: list[Json] = []
    for number, kind in enumerate(draw(st.lists(KINDS, max_size=6))):
        one = detail(kind, draw(SOME_TEXT), format=draw(FORMATS))
        if kind == "text" and draw(st.booleans()):
            one["signature"] = draw(SOME_TEXT)
        last = [other["index"] for other in whole]
        kinds = {other["type"] for other in whole if other["index"] == last[-1]}
        one["index"] = last[-1] if together and last and one["type"] not in kinds else max(last, default=-1) + 1
        if draw(st.booleans()):
            one["id"] = f"id_{number}"
        whole.append(one)
    return whole


FORMATS = st.sampled_from([OPENAI, GEMINI, CLAUDE])


@given(whole_details(), st.data())
def test_fragments_become_whole_details(whole: list[Json], data: st.DataObject) -> None:
    early: list[Json] = []
    late: list[Json] = []
    for one in whole:
        fragments, signatures = cut(data, one)
        early += fragments
        (late if data.draw(st.booleans()) else early).extend(signatures)
    collector = DetailsCollector()
    told = ""
    for fragment in early + late:
        told += collector.add([fragment])
    result = kept_details(collector.details)
    assert [one["index"] for one in result] == list(range(len(whole)))
    assert told == "".join(one.get("text") or one.get("summary") or "" for one in whole)
    # Claude's half thoughts are the host's to drop; all else comes back in order, with nothing added.
    kept = [one for one in whole if not (one["format"] == CLAUDE and "text" in one and "signature" not in one)]
    back = replayed_details(stored(result))
    assert without_blank(back) == without_blank(kept)
    message = {"role": "assistant", "content": "Hi", "reasoning_details": stored(result)}
    assert chat_messages([message])[0].get("reasoning_details", []) == back


def collected(*fragments: Json) -> list[Json]:
    collector = DetailsCollector()
    collector.add(list(fragments))
    return [{key: value for key, value in one.items() if key != "index"} for one in kept_details(collector.details)]


def test_encrypted_data_is_whole_and_once() -> None:
    one, two = detail("encrypted", "xx"), detail("encrypted", "yy")
    assert collected(one, two, one) == [one, two]
    assert collected({**one, "index": 0}, {**one, "index": 0}) == [one]


def test_a_signature_is_not_undone_by_a_blank_one() -> None:
    assert collected(
        detail("text", "A", index=0, signature="1"), detail("text", "B", index=0, signature="", id="")
    ) == [detail("text", "AB", signature="1")]


def test_what_is_private_to_claude_survives_the_host_and_leaves_as_it_came() -> None:
    collector = DetailsCollector()
    redacted = detail("encrypted", "xx", format=CLAUDE, index=0)
    collector.add([redacted])
    assert handed_over(kept_details(collector.details))
    assert replayed_details(stored(kept_details(collector.details))) == [redacted]


SERVER_CALL = {
    "type": "reasoning.server_tool_call",
    "tool_name": "openrouter:fusion",
    "tool_call_id": "call_1",
    "arguments": "{}",
    "result": '{"status":"ok"}',
    "id": None,
}


def test_a_server_tools_call_is_kept_on_chat_and_has_no_place_on_responses() -> None:
    collector = DetailsCollector()
    assert collector.add([SERVER_CALL, detail("text", "Hm", index=0)]) == "Hm"
    collector.add([SERVER_CALL, {**SERVER_CALL, "result": "{}"}])
    details = replayed_details(stored(kept_details(collector.details)))
    assert [one["type"] for one in details].count("reasoning.server_tool_call") == 2
    assert details[0] == {**SERVER_CALL, "index": 0}
    [item] = reasoning_items(details)
    assert item["content"] == [{"type": "reasoning_text", "text": "Hm"}]
    assert reasoning_items([SERVER_CALL]) == []


# --- Details of /chat/completions on /responses


@pytest.mark.parametrize(
    ("details", "items"),
    [
        ([], 0),
        ([detail("summary", "a", id="x"), detail("summary", "b", id="x"), detail("encrypted", "c", id="x")], 1),
        ([detail("encrypted", "c", id="x"), detail("summary", "a", id="x")], 1),
        ([detail("summary", "a", id="x"), detail("summary", "b", id="y")], 2),
        # As streamed for OpenAI's models: only the proof has the id.
        ([detail("summary", "a", index=0), detail("encrypted", "c", id="x", index=0)], 1),
        ([detail("encrypted", "c", id="x"), detail("summary", "a"), detail("encrypted", "d", id="y")], 2),
        # Claude's blocks: each thought with its signature, a private one between them.
        ([detail("text", "a", signature="1"), detail("encrypted", "b"), detail("text", "c", signature="2")], 3),
        ([detail("encrypted", "a"), detail("encrypted", "b")], 2),
        ([detail("encrypted", "a", id="x"), detail("encrypted", "b", id="x")], 2),
    ],
)
def test_which_details_are_one_item(details: list[Json], items: int) -> None:
    found = reasoning_items(details)
    # Some gateways write out what is not there.
    assert reasoning_items([{"data": None, "signature": None, **one} for one in details]) == found
    assert len(found) == items
    said = [part["text"] for item in found for part in (*item["summary"], *item.get("content", ()))]
    assert said == [one.get("text") or one.get("summary") for one in details if "data" not in one]
    proofs = [item.get("encrypted_content") for item in found if "encrypted_content" in item]
    assert proofs == [one["data"] for one in details if "data" in one]


def test_items_without_an_id_get_one_that_is_used_once() -> None:
    thought = {"role": "assistant", "content": "Hi", "reasoning_details": [detail("text", "Hm")]}
    _, items = responses_input([thought, {"role": "user", "content": "And?"}, thought])
    ids = [item["id"] for item in items if item["type"] == "reasoning"]
    assert len(set(ids)) == len(ids) == 2
    # The beginning of a conversation stays the same, or nothing of it would be cached.
    assert responses_input([thought])[1] == items[:2]


# --- Nothing that comes in makes it fail

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda inner: st.lists(inner, max_size=2), max_leaves=3
)
HOSTILE = st.fixed_dictionaries(
    {"type": st.sampled_from(["reasoning.text", "reasoning.summary", "reasoning.encrypted", "reasoning.x"]) | ANYTHING},
    optional=dict.fromkeys(("text", "summary", "data", "id", "index", "format", "signature", "content"), ANYTHING),
)


@given(st.lists(st.lists(HOSTILE | ANYTHING, max_size=3) | ANYTHING, max_size=3))
def test_half_valid_details(chunks: list[Any]) -> None:
    collector = DetailsCollector()
    for chunk in chunks:
        assert isinstance(collector.add(chunk), str)
    for details in (kept_details(collector.details), *chunks):
        replayed = replayed_details(details)
        for item in reasoning_items(replayed):
            assert item.get("id", "x")
            assert isinstance(item.get("id", "x"), str)
            assert isinstance(item.get("encrypted_content"), str | None)
            assert all(isinstance(part["text"], str) for part in (*item["summary"], *item.get("content", ())))


@given(HOSTILE)
def test_half_valid_items(item: Json) -> None:
    for found in round_trip([{**item, "encrypted_content": item.get("data"), "type": "reasoning"}]):
        assert isinstance(found.get("id", ""), str)


# --- What is asked for


def row(reasoning: Json | None = None, *supported: str) -> Model:
    given_row = {"id": "a/b", "supported_parameters": [*supported, *(["reasoning"] if reasoning is not None else [])]}
    model = parse_model(given_row | ({"reasoning": reasoning} if reasoning else {}))
    assert model is not None
    return model


FREE = row({"mandatory": False, "supported_efforts": ["high", "medium", "low"]})
ALWAYS = row({"mandatory": True, "supported_efforts": ["high", "medium", "low"]})
ALWAYS_HIGH = row({"mandatory": True, "supported_efforts": ["xhigh", "high", "medium"]})
ALWAYS_ANY = row({"mandatory": True})
LISTS_NONE = row({"mandatory": False, "supported_efforts": ["high", "low", "none"]})
PLAIN = row(None, "temperature")
SILENT = row(None)


def build(model: Model, valves: Json, name: str = "a/b", task: str = "", **body: object) -> UpstreamRequest:
    whole = {"model": "fn.a.b", "messages": [{"role": "user", "content": "Hi"}], **body}
    return build_request(whole, ModelRef.from_api(name), model, Settings(**valves), ChatContext(task=task))


def effort(value: str) -> Json:
    return {"effort": value}


OFF, HIGH = {"ENABLE_REASONING": False}, {"REASONING_EFFORT": "high"}
# (row, valves, what the chat asks, preset, task) → (sent, shown, whether the model thinks as far as known)
ASKED: list[tuple[Model, Json, Json, str, str, Json | None, bool, bool]] = [
    # Nothing is asked: the model's default.
    (FREE, {}, {}, "", "", None, True, True),
    (ALWAYS, {}, {}, "", "", None, True, True),
    (PLAIN, {}, {}, "", "", None, True, False),
    (SILENT, {}, {}, "", "", None, True, False),
    (UNKNOWN, {}, {}, "", "", None, True, False),
    # As asked.
    (FREE, {}, {"reasoning_effort": "low"}, "", "", effort("low"), True, True),
    (FREE, {}, {"reasoning_effort": " Low\n"}, "", "", effort("low"), True, True),
    (FREE, {}, {"reasoning": effort("low")}, "", "", effort("low"), True, True),
    (FREE, {}, {"reasoning": {"max_tokens": 2000}}, "", "", {"max_tokens": 2000}, True, True),
    (FREE, {}, {"reasoning": {"enabled": True}}, "", "", {"enabled": True}, True, True),
    (FREE, {}, {"reasoning": {"enabled": False}}, "", "", {"enabled": False}, True, False),
    (FREE, {}, {"reasoning_effort": "none"}, "", "", effort("none"), True, False),
    (UNKNOWN, {}, {"reasoning_effort": "low"}, "", "", effort("low"), True, True),
    (UNKNOWN, {}, {"reasoning_effort": "none"}, "", "", effort("none"), True, False),
    (SILENT, {}, {"reasoning": {"max_tokens": 9}}, "", "", {"max_tokens": 9}, True, True),
    (PLAIN, {}, {"reasoning_effort": "low", "reasoning": effort("low")}, "", "", None, True, False),
    # The nearest effort that is listed, downwards on a tie; none unless mandatory.
    (FREE, {}, {"reasoning_effort": "max"}, "", "", effort("high"), True, True),
    (FREE, {}, {"reasoning_effort": "minimal"}, "", "", effort("low"), True, True),
    (FREE, {}, {"reasoning": effort("xhigh")}, "", "", effort("high"), True, True),
    (LISTS_NONE, {}, {"reasoning_effort": "medium"}, "", "", effort("low"), True, True),
    (LISTS_NONE, {}, {"reasoning_effort": "minimal"}, "", "", effort("none"), True, False),
    (ALWAYS, {}, {"reasoning_effort": "none"}, "", "", effort("low"), True, True),
    (ALWAYS, {}, {"reasoning": {"enabled": False}}, "", "", effort("low"), True, True),
    (ALWAYS_HIGH, {}, {"reasoning_effort": "none"}, "", "", effort("medium"), True, True),
    (ALWAYS_ANY, {}, {"reasoning_effort": "none"}, "", "", effort("minimal"), True, True),
    # The valve, where the chat does not say how much.
    (FREE, HIGH, {}, "", "", effort("high"), True, True),
    (FREE, {"REASONING_EFFORT": "none"}, {}, "", "", effort("none"), True, False),
    (ALWAYS, {"REASONING_EFFORT": "none"}, {}, "", "", effort("low"), True, True),
    (FREE, {"REASONING_EFFORT": "max"}, {}, "", "", effort("high"), True, True),
    (FREE, HIGH, {"reasoning_effort": ""}, "", "", effort("high"), True, True),
    (FREE, HIGH, {"reasoning_effort": "turbo"}, "", "", effort("high"), True, True),
    (FREE, HIGH, {"reasoning": {"summary": "auto"}}, "", "", {"summary": "auto", "effort": "high"}, True, True),
    (FREE, HIGH, {"reasoning": {"effort": None}}, "", "", effort("high"), True, True),
    (FREE, HIGH, {"reasoning_effort": "low"}, "", "", effort("low"), True, True),
    (FREE, HIGH, {"reasoning": {"max_tokens": 9}}, "", "", {"max_tokens": 9}, True, True),
    (FREE, HIGH, {"reasoning": {"enabled": False}}, "", "", {"enabled": False}, True, False),
    (PLAIN, HIGH, {}, "", "", None, True, False),
    # Two statements: the more exact one holds.
    (FREE, {}, {"reasoning": effort("low"), "reasoning_effort": "high"}, "", "", effort("low"), True, True),
    (FREE, {}, {"reasoning": {"max_tokens": 9}, "reasoning_effort": "high"}, "", "", {"max_tokens": 9}, True, True),
    # Not to be shown.
    (FREE, {}, {"reasoning": {"exclude": True}}, "", "", {"exclude": True}, False, True),
    (FREE, HIGH, {"reasoning": {"exclude": True}}, "", "", {"effort": "high", "exclude": True}, False, True),
    # The admin's switch wins over the request.
    (FREE, OFF, {}, "", "", {"effort": "none", "exclude": True}, False, False),
    (FREE, {**OFF, **HIGH}, {"reasoning_effort": "high"}, "", "", {"effort": "none", "exclude": True}, False, False),
    (FREE, OFF, {"reasoning": {"max_tokens": 9}}, "", "", {"effort": "none", "exclude": True}, False, False),
    (ALWAYS, OFF, {"reasoning_effort": "high"}, "", "", {"effort": "low", "exclude": True}, False, True),
    (ALWAYS_HIGH, OFF, {}, "", "", {"effort": "medium", "exclude": True}, False, True),
    (PLAIN, OFF, {"reasoning_effort": "high"}, "", "", None, False, False),
    (UNKNOWN, OFF, {}, "", "", {"effort": "none", "exclude": True}, False, False),
    # With a preset the valves are silent, what is asked is not.
    (FREE, {**OFF, **HIGH}, {}, "x", "", None, True, True),
    (FREE, {**OFF, **HIGH}, {"reasoning_effort": "low"}, "x", "", effort("low"), True, True),
    (UNKNOWN, {**OFF, **HIGH}, {}, "x", "", None, True, False),
    # Tasks: as little as the row allows, whatever is set.
    (FREE, HIGH, {"reasoning_effort": "high"}, "", "title_generation", effort("none"), True, False),
    (ALWAYS, HIGH, {"reasoning_effort": "high"}, "", "title_generation", effort("low"), True, True),
    (ALWAYS_HIGH, {}, {"reasoning": {"max_tokens": 9}}, "", "tags_generation", effort("medium"), True, True),
    (ALWAYS_ANY, {}, {}, "", "emoji_generation", effort("minimal"), True, True),
    (PLAIN, HIGH, {}, "", "title_generation", None, True, False),
    (UNKNOWN, HIGH, {}, "", "title_generation", None, True, False),
    (ALWAYS, OFF, {}, "", "title_generation", {"effort": "low", "exclude": True}, False, True),
]


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
@pytest.mark.parametrize("case", ASKED, ids=lambda case: str(case[1:5]))
def test_reasoning_as_asked_for(case: Any, endpoint: str) -> None:
    model, valves, body, preset, task, sent, shown, thinks = case
    name = f"a/b@preset/{preset}" if preset else "a/b"
    request = build(model, {**valves, "ENDPOINT": endpoint}, name, task, **body)
    if sent and endpoint == RESPONSES:
        sent = {key: value for key, value in sent.items() if key != "exclude"}
    assert request.body.get("reasoning") == (sent or None)
    assert "reasoning_effort" not in request.body
    assert request.shows_reasoning == shown
    assert request.body.get("include") == (INCLUDE if thinks and endpoint == RESPONSES else None)
    if model is PLAIN:
        assert set(body) - {"reasoning", "reasoning_effort"} <= set(request.left_out) | set(body)


@pytest.mark.parametrize("mandatory", [True, False])
@given(wanted=st.sampled_from(EFFORTS), listed=st.lists(st.sampled_from([*EFFORTS, "ultra"]), unique=True))
def test_the_nearest_effort(mandatory: bool, wanted: str, listed: list[str]) -> None:
    model = row({"mandatory": mandatory, "supported_efforts": listed})
    found = nearest_effort(wanted, model)
    if wanted == "none" and not mandatory:
        assert found == "none"
        return
    allowed = [name for name in EFFORTS if name in listed and not (mandatory and name == "none")]
    allowed = allowed or [name for name in EFFORTS if name != "none"]
    assert found in allowed
    rank = EFFORTS.index
    away = abs(rank(found) - rank(wanted))
    assert all(abs(rank(name) - rank(wanted)) >= away for name in allowed)
    assert all(rank(name) >= rank(found) for name in allowed if abs(rank(name) - rank(wanted)) == away)


@pytest.mark.parametrize("own", [{}, {"reasoning": {"effort": "low"}}])
def test_the_older_switch_means_the_same(own: Json) -> None:
    hidden = build(FREE, {}, include_reasoning=False, **own)
    assert not hidden.shows_reasoning
    assert build(UNKNOWN, {"ENDPOINT": CHAT}, include_reasoning=False).body["include_reasoning"] is False
    off = build(UNKNOWN, {**OFF, "ENDPOINT": CHAT}, include_reasoning=True)
    assert "include_reasoning" not in off.body


def test_settings_of_one_endpoint_stay_there() -> None:
    asked = {"effort": "low", "context": "all_turns", "mode": "pro", "summary": "auto"}
    assert build(FREE, {}, reasoning=asked).body["reasoning"] == asked
    on_chat = build(FREE, {"ENDPOINT": CHAT}, reasoning=asked)
    assert on_chat.body["reasoning"] == {"effort": "low", "summary": "auto"}


@pytest.mark.parametrize("value", [5, [], "high", {"effort": 5}, {"effort": ["low"]}, {"effort": "turbo"}, {"": None}])
def test_odd_requests(value: object) -> None:
    assert "reasoning" not in build(FREE, {}, reasoning=value).body
    assert "reasoning" not in build(FREE, {}, reasoning_effort=value if value != "high" else 5).body
