"""Choosing, spec section 3: `MODEL_ID` and the two filters."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_pipe.catalog import Catalog
from openrouter_pipe.errors import PipeError
from openrouter_pipe.model_ref import ModelRef
from openrouter_pipe.problems import MAX_ENTRIES, MAX_HINTS, split_entries
from openrouter_pipe.virtual_models import Published, Publishing

IDS = (
    "openai/gpt-4o",
    "openai/gpt-4o-2024-11-20",
    "openai/gpt-4o:extended",
    "openai/o3",
    "openai/gpt-4o:batch",
    "anthropic/claude-opus-4",
    "~anthropic/claude-opus-latest",
    "meta-llama/llama-3.3-70b-instruct",
    "meta-llama/llama-3.3-70b-instruct:free",
    "deepseek/deepseek-r1:free",
    "openrouter/auto",
    "x.ai/grok-4",
    "local-gpt",
)
VISIBLE = {row_id for row_id in IDS if row_id != "openai/gpt-4o:batch"}
CATALOG = Catalog.from_rows([{"id": row_id} for row_id in IDS])


def shown(model_id: str, catalog: Catalog = CATALOG, **valves: str) -> Published:
    return Published(catalog, Publishing(model_id, **valves))


def ids(published: Published) -> set[str]:
    return {entry.ref.api_id for entry in published.entries}


@pytest.mark.parametrize(
    "model_id",
    ["*", "", "   ", "auto", "AUTO", " auto \n", ",;\n,", "# nothing but a remark", "*,openai/o3", "**", "?*"],
)
def test_everything(model_id: str) -> None:
    published = shown(model_id)
    assert ids(published) == VISIBLE
    assert published.problems == ()


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [
        # Matched against the three spellings, in any case.
        ("openai/gpt-4o", {"openai/gpt-4o"}),
        ("openai.gpt-4o", {"openai/gpt-4o"}),
        ("gpt-4o", {"openai/gpt-4o"}),
        ("OpenAI/GPT-4o", {"openai/gpt-4o"}),
        ("gpt-4o:extended", {"openai/gpt-4o:extended"}),
        ("gpt*", {"openai/gpt-4o", "openai/gpt-4o-2024-11-20", "openai/gpt-4o:extended"}),
        ("GPT*", {"openai/gpt-4o", "openai/gpt-4o-2024-11-20", "openai/gpt-4o:extended"}),
        ("openai/*", {"openai/gpt-4o", "openai/gpt-4o-2024-11-20", "openai/gpt-4o:extended", "openai/o3"}),
        ("openai.*", {"openai/gpt-4o", "openai/gpt-4o-2024-11-20", "openai/gpt-4o:extended", "openai/o3"}),
        ("meta-llama/*", {"meta-llama/llama-3.3-70b-instruct", "meta-llama/llama-3.3-70b-instruct:free"}),
        ("*:free", {"meta-llama/llama-3.3-70b-instruct:free", "deepseek/deepseek-r1:free"}),
        ("o?", {"openai/o3"}),
        ("openai?o3", {"openai/o3"}),
        ("openai/gpt-4o?", set()),
        ("x.ai.grok-4", {"x.ai/grok-4"}),
        ("local-gpt", {"local-gpt"}),
        ("~anthropic/*", {"~anthropic/claude-opus-latest"}),
        ("*claude*", {"anthropic/claude-opus-4", "~anthropic/claude-opus-latest"}),
        # Separators, spaces, comments.
        ("o3,local-gpt", {"openai/o3", "local-gpt"}),
        ("o3;local-gpt", {"openai/o3", "local-gpt"}),
        ("o3\nlocal-gpt", {"openai/o3", "local-gpt"}),
        ("o3\r\nlocal-gpt\r\n", {"openai/o3", "local-gpt"}),
        (" o3 ,; \t local-gpt ,", {"openai/o3", "local-gpt"}),
        ("o3 # good, cheap; local-gpt\nlocal-gpt#me", {"openai/o3", "local-gpt"}),
        ("#o3\nlocal-gpt", {"local-gpt"}),
        # Excludes, wherever they stand.
        ("!openai/*", VISIBLE - {row_id for row_id in IDS if row_id.startswith("openai/")}),
        ("! openai/*", VISIBLE - {row_id for row_id in IDS if row_id.startswith("openai/")}),
        ("!OPENAI/*, !*:free,!local-gpt", {row_id for row_id in VISIBLE if not row_id.startswith("openai/")}
            - {"meta-llama/llama-3.3-70b-instruct:free", "deepseek/deepseek-r1:free", "local-gpt"}),
        ("openai/*,!gpt*", {"openai/o3"}),
        ("!gpt*,openai/*", {"openai/o3"}),
        ("o3,!o3", set()),
        ("!*", set()),
        ("!gpt-4o", VISIBLE - {"openai/gpt-4o"}),
        ("*,!*:free", {row_id for row_id in VISIBLE if not row_id.endswith(":free")}),
        # "auto" is everything, also beside excludes; as one of several it is the name of a model.
        ("auto,!openai/*", VISIBLE - {row_id for row_id in IDS if row_id.startswith("openai/")}),
        ("!openai/*;Auto", VISIBLE - {row_id for row_id in IDS if row_id.startswith("openai/")}),
        ("auto,o3", {"openrouter/auto", "openai/o3"}),
        ("openrouter/auto", {"openrouter/auto"}),
        # Batch rows cannot be called in a chat: only by their exact name.
        ("openai/gpt-4o:batch", {"openai/gpt-4o:batch"}),
        ("OpenAI.gpt-4o:Batch", {"openai/gpt-4o:batch"}),
        ("*,openai/gpt-4o:batch", set(IDS)),
        ("*:batch", set()),
        ("*,!openai/gpt-4o:batch", VISIBLE),
    ],
)  # fmt: skip
def test_chosen_models(model_id: str, expected: set[str]) -> None:
    assert ids(shown(model_id)) == expected


@pytest.mark.parametrize(
    ("model_id", "entry", "hint"),
    [
        ("gtp-4o", "gtp-4o", "openai/gpt-4o"),
        ("openai/gpt-4", "openai/gpt-4", "openai/gpt-4o"),
        ("opanai/*", "opanai/*", "openai/o3"),
        ("claude-opus", "claude-opus", "anthropic/claude-opus-4"),
        ("!openai/gtp-4o", "!openai/gtp-4o", "openai/gpt-4o"),
        ("openai", "openai", ""),
        ("*:batch", "*:batch", ""),
        ("!", "!", ""),
        ("[openai]", "[openai]", ""),
        ("😀", "😀", ""),
    ],
)
def test_a_pattern_that_matches_nothing_is_a_problem_with_a_hint(model_id: str, entry: str, hint: str) -> None:
    published = shown(f"local-gpt,{model_id}")
    assert ids(published) == {"local-gpt"}
    (problem,) = published.problems
    assert (problem.valve, problem.entry, problem.reason) == ("MODEL_ID", entry, "matches no model")
    assert hint in problem.hint
    assert ":batch" not in problem.hint


@pytest.mark.parametrize("model_id", ["gtp-4o", "no/such,also/not", "x" * 300, "x" * 1_000_000, "!*,gtp-4o"])
def test_a_typo_never_publishes_everything(model_id: str) -> None:
    published = shown(model_id)
    assert published.entries == ()
    assert published.problems


def test_an_exclude_that_matches_nothing_takes_nothing_away() -> None:
    published = shown("!gtp-4o")
    assert ids(published) == VISIBLE
    assert [problem.entry for problem in published.problems] == ["!gtp-4o"]


# Entries with a routing tag or a preset.


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [
        ("openai/gpt-4o:nitro", {"openai/gpt-4o:nitro"}),
        ("OPENAI.GPT-4o:Nitro", {"openai/gpt-4o:nitro"}),
        ("GPT-4o:nitro", {"openai/gpt-4o:nitro"}),
        ("gpt-4o@preset/x", {"openai/gpt-4o@preset/x"}),
        ("@preset/x,o3@preset/x,!@preset/x,!openai.o3@preset/x,o3", {"openai/o3"}),
        ("o3, openai/gpt-4o:nitro", {"openai/o3", "openai/gpt-4o:nitro"}),
        ("openai/gpt-4o,openai/gpt-4o:nitro", {"openai/gpt-4o", "openai/gpt-4o:nitro"}),
        ("@preset/x", {"@preset/x"}),
        ("openai/gpt-4o@preset/X", {"openai/gpt-4o@preset/X"}),
        ("deepseek/deepseek-r1:free:nitro", {"deepseek/deepseek-r1:free:nitro"}),
        ("*:free,openai/o3:floor", {"meta-llama/llama-3.3-70b-instruct:free", "deepseek/deepseek-r1:free", "openai/o3:floor"}),
        ("openai/gpt-4o*:nitro", {"openai/gpt-4o:nitro", "openai/gpt-4o-2024-11-20:nitro", "openai/gpt-4o:extended:nitro"}),
        # The base may be excluded by its own name; a pattern that matches the virtual model's name excludes that.
        ("*,!openai/gpt-4o,openai/gpt-4o:nitro", (VISIBLE - {"openai/gpt-4o"}) | {"openai/gpt-4o:nitro"}),
        ("openai/gpt-4o:nitro,!openai/gpt-4o:nitro,o3", {"openai/o3"}),
        ("openai/gpt-4o:nitro,o3:nitro,openai/o3:nitro,!openai/gpt*", {"openai/o3:nitro"}),
        ("openai/gpt-4o:nitro,openai/o3:floor,!*:nitro", {"openai/o3:floor"}),
        ("openai/gpt-4o@preset/x,openai/o3,!*@preset/*", {"openai/o3"}),
    ],
)  # fmt: skip
def test_entries_that_name_a_virtual_model(model_id: str, expected: set[str]) -> None:
    assert ids(shown(model_id)) == expected


def test_an_exclude_of_a_variant_that_nobody_has_is_reported() -> None:
    published = shown("!*:nitro,!*:floor", variant_models="openai/gpt-4o:nitro")
    assert ids(published) == VISIBLE
    assert [problem.entry for problem in published.problems if problem.valve == "MODEL_ID"] == ["!*:floor"]


# Filters.

PAID = {"prompt": "0.1", "completion": "0"}
ZERO = {"prompt": "0", "completion": "0"}
FILTER_ROWS: list[dict[str, Any]] = [
    {"id": "a/paid-tools", "pricing": PAID, "supported_parameters": ["tools"]},
    {"id": "a/paid", "pricing": PAID, "supported_parameters": ["seed"]},
    {"id": "a/zero-tools", "pricing": ZERO, "supported_parameters": ["tools"]},
    {"id": "a/tagged:free", "pricing": None, "supported_parameters": None},
    {"id": "a/unknown"},
    {"id": "openrouter/auto", "pricing": {"prompt": "-1"}, "architecture": {"tokenizer": "Router"}},
    {"id": "~a/latest", "pricing": PAID, "supported_parameters": []},
]
FILTERED = Catalog.from_rows(FILTER_ROWS)
ALL = {row["id"] for row in FILTER_ROWS}
FREE = {"a/zero-tools", "a/tagged:free"}
TOOLS = {"a/paid-tools", "a/zero-tools", "openrouter/auto", "~a/latest"}


@pytest.mark.parametrize("free", ["all", "only", "exclude"])
@pytest.mark.parametrize("tools", ["all", "only", "exclude"])
def test_filters(free: str, tools: str) -> None:
    expected = {"all": ALL, "only": FREE, "exclude": ALL - FREE}[free]
    expected = expected & {"all": ALL, "only": TOOLS, "exclude": ALL - TOOLS}[tools]
    assert ids(shown("*", FILTERED, free_filter=free, tools_filter=tools)) == expected


def test_filters_and_patterns_both_hold() -> None:
    assert ids(shown("a/*", FILTERED, tools_filter="only")) == {"a/paid-tools", "a/zero-tools", "~a/latest"} - {
        "~a/latest"
    }


# What is not published cannot be called.


@pytest.mark.parametrize(
    ("name", "valves", "named"),
    [
        ("openai/o3", {"model_id": "gpt*"}, "MODEL_ID"),
        ("openai/gpt-4o:batch", {}, "MODEL_ID"),
        ("openai/gpt-4o", {"model_id": "!gpt-4o"}, "MODEL_ID"),
        ("openai/gpt-4o:nitro", {"model_id": "o3", "variant_models": "openai/gpt-4o:nitro"}, "MODEL_ID"),
        ("openai/gpt-4o:nitro", {"model_id": "!*:nitro", "variant_models": "openai/gpt-4o:nitro"}, "MODEL_ID"),
        ("openai/gpt-4o:nitro", {}, "VARIANT_MODELS"),
        ("openai/gpt-4o:nitro", {"variant_models": "openai/gpt-4o:floor"}, "VARIANT_MODELS"),
        ("openai/gpt-4o@preset/x", {}, "VARIANT_MODELS"),
        ("@preset/x", {}, "VARIANT_MODELS"),
        ("openai/o3", {"free_filter": "only"}, "FREE_MODEL_FILTER"),
        ("deepseek/deepseek-r1:free", {"free_filter": "exclude"}, "FREE_MODEL_FILTER"),
        ("openai/o3", {"tools_filter": "only"}, "TOOL_CALLING_FILTER"),
        ("openai/o3:nitro", {"variant_models": "*:nitro", "tools_filter": "only"}, "TOOL_CALLING_FILTER"),
    ],
)
def test_what_is_not_published_is_refused_with_the_valve(name: str, valves: dict[str, str], named: str) -> None:
    published = Published(CATALOG, Publishing(**valves))
    with pytest.raises(PipeError) as refusal:
        published.refuse(ModelRef.from_api(name))
    assert f"the valve {named} leaves it out" in str(refusal.value)
    assert name in str(refusal.value)


def test_an_unknown_model_is_refused_with_the_closest_ones() -> None:
    with pytest.raises(PipeError, match=r"no model openai/gpt-4oo: did you mean openai/gpt-4o\b"):
        shown("*").refuse(ModelRef.from_api("openai/gpt-4oo"))


@pytest.mark.parametrize("model_id", ["*", "gpt*", "openai/gpt-4o:nitro,@preset/x"])
def test_what_is_published_is_not_refused(model_id: str) -> None:
    published = shown(model_id)
    for entry in published.entries:
        published.refuse(entry.ref)


# Hostile text.

WORD = (
    "".join(chr(34 + number % 90) for number in range(1_000_000)).replace(",", "x").replace(";", "y").replace("#", "z")
)
HOSTILE = {
    "one word of 1 MB": WORD,
    "1 MB of separators": ",;\n" * 333_333,
    "1 MB of spaces": " " * 1_000_000,
    "1 MB of entries": ",".join(f"word-{number}" for number in range(90_000)),
    "one entry 100,000 times": "nothing," * 100_000,
    "6,000 wildcards": ",".join(f"*w{number}*" for number in range(6_000)),
    "6,000 excluding wildcards": ",".join(f"!*w{number}*" for number in range(6_000)),
    "stars": ",".join("*" * length + "!" for length in range(1, 250)),
    "stars between letters": ",".join("*a" * 100 + f"{number}b" for number in range(300)),
    "question marks": ",".join("?" * length for length in range(1, 250)),
    "regex signs": r"(a+)+$,[a-z]*,.*,\d+,(?:x,^openai,a|b,{1},\,[!a],[]],((((,*+,(?P<a>x)",
    "emoji": "😀*,👩‍👩‍👧:nitro,é*",
    "control characters": "\x00\x1b[31m*,\x07,\u202e*,\ud800*,\u2028",
    "bangs": "!" * 200_000,
    "colons": ":" * 200_000 + "," + "a:" * 120,
    "comments": "#" * 500_000 + "\n#x\n" * 100_000,
}


SAYS_NOTHING = ("1 MB of separators", "1 MB of spaces", "comments")
ONLY_EXCLUDES = ("6,000 excluding wildcards", "bangs")


@pytest.mark.usefixtures("not_forever")
@pytest.mark.parametrize("valve", ["model_id", "variant_models"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_costs_a_moment_and_is_reported(kind: str, valve: str) -> None:
    published = Published(CATALOG, Publishing(**{valve: HOSTILE[kind]}))
    assert bool(published.problems) == (kind not in SAYS_NOTHING)
    assert len(published.problems) <= MAX_ENTRIES + 2
    for problem in published.problems[:200]:
        assert str(problem).isprintable()
        assert len(str(problem)) <= 500
    if valve == "variant_models" or kind in (*SAYS_NOTHING, *ONLY_EXCLUDES):
        assert ids(published) == VISIBLE
    elif kind != "question marks":
        assert published.entries == ()


@pytest.mark.usefixtures("not_forever")
def test_hints_are_worked_out_for_the_first_problems_only() -> None:
    typos = ",".join(f"openai/gpt-4o-{number}x" for number in range(200))
    for valves in ({"model_id": typos}, {"variant_models": typos.replace(",", ":nitro,")}):
        problems = Published(CATALOG, Publishing(**valves)).problems
        assert len(problems) == 200
        assert [problem for problem in problems[:-1] if "did you mean" in problem.hint] == list(problems[:MAX_HINTS])


def test_a_text_too_long_for_an_id_is_cut() -> None:
    entries = split_entries(f"{'x' * 256}, {'x' * 257}, {'x' * 1_000}y, {'y' * 1_000}z")
    assert entries == ("x" * 256, "y" * 256)


def test_too_many_entries_are_cut() -> None:
    assert split_entries(",".join(f"e{number}" for number in range(6_000))) == tuple(
        f"e{number}" for number in range(5_000)
    )


@pytest.mark.parametrize(
    "pattern", ["[a-z]*", "gpt-4[o]", "(openai)/gpt-4o", "openai/gpt.4o", "^openai/o3$", "o3|x", "[!x]*"]
)
def test_only_star_and_question_mark_are_wildcards(pattern: str) -> None:
    assert shown(pattern).entries == ()


@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from([*"*?!#,;:@/[]. \n", *IDS, "nitro", "free", "preset/"])).map("".join)
)
def test_no_text_breaks_the_list(text: str) -> None:
    published = Published(CATALOG, Publishing(text, text))
    assert len(published.by_webui_id) == len(published.entries)
    for problem in published.problems:
        assert problem.reason
        assert str(problem).isprintable()
