"""`VARIANT_MODELS`, spec section 4: what is published where, every kind of problem, and why something is missing."""

from __future__ import annotations

from typing import Any

import pytest

from openrouter_pipe.catalog import UNKNOWN, Catalog, Preset
from openrouter_pipe.errors import PipeError
from openrouter_pipe.model_ref import ModelRef
from openrouter_pipe.problems import MAX_ENTRIES, Problem
from openrouter_pipe.virtual_models import Published, Publishing


def catalog_of(*ids: str, presets: tuple[Preset, ...] | None = None, **fields: Any) -> Catalog:
    catalog = Catalog.from_rows([{"id": row_id, "supported_parameters": ["tools"], **fields} for row_id in ids])
    return catalog if presets is None else catalog.with_presets(presets)


CATALOG = catalog_of("openai/gpt-4o", "openai/gpt-4o:batch", "x/y", "x/y:free", "q/w", "q/w:thinking", "z/only:free")
BASE_IDS = ["openai/gpt-4o", "q/w", "q/w:thinking", "x/y", "x/y:free", "z/only:free"]


def shown(variant_models: str, model_id: str = "*", catalog: Catalog = CATALOG, **valves: str) -> Published:
    return Published(catalog, Publishing(model_id, variant_models, **valves))


def ids(published: Published) -> list[str]:
    return [entry.ref.api_id for entry in published.entries]


def added(published: Published) -> list[str]:
    return [name for name in ids(published) if name not in published.catalog.models]


# Problems.


@pytest.mark.parametrize(
    ("entry", "reason", "hint", "published"),
    [
        # Unknown base, with the closest ids.
        ("nonexistent/model:exacto", "Variant model base not found", "", None),
        ("openai/gtp-4o:nitro", "Variant model base not found", "did you mean openai/gpt-4o?", None),
        ("gtp-4o:nitro", "Variant model base not found", "did you mean openai/gpt-4o?", None),
        ("openai/gpt-4@preset/x", "Variant model base not found", "did you mean openai/gpt-4o?", None),
        ("z/only:nitro", "Variant model base not found", "did you mean z/only:free?", None),
        # Missing colon.
        ("openai/gpt-4o-nitro", "missing colon", "openai/gpt-4o:nitro", None),
        ("openai/gpt-4o", "missing colon", "openai/gpt-4o:nitro", None),
        # Two catalog tags.
        ("x/y:free:thinking", ":free and :thinking", "", None),
        ("x/y:nitro:beta:extended", ":beta and :extended", "", None),
        # A catalog tag the catalog does not have: published all the same.
        ("openai/gpt-4o:free", "the catalog has no openai/gpt-4o:free", "may refuse it", "openai/gpt-4o:free"),
        ("openai.GPT-4o:Beta", "the catalog has no openai/gpt-4o:beta", "may refuse it", "openai/gpt-4o:beta"),
        # An unknown tag: published.
        ("x/y:fast", "unknown variant :fast", "may refuse it", "x/y:fast"),
        ("x/y:best", "unknown variant :best", "may refuse it", "x/y:best"),
        ("x/y:nitor", "unknown variant :nitor", "may refuse it", "x/y:nitor"),
        ("x/y:free:fast", "unknown variant :fast", "may refuse it", "x/y:free:fast"),
        # A deprecated tag.
        ("x/y:online", ":online is deprecated", "may refuse it", "x/y:online"),
        ("x/y:thinking", ":thinking is deprecated", "may refuse it", "x/y:thinking"),
        ("x/y:extended", ":extended is deprecated", "may refuse it", "x/y:extended"),
        ("q/w:thinking:nitro", ":thinking is deprecated", "", "q/w:thinking:nitro"),
        # The same tags put on whatever a pattern finds.
        ("z/*:online", ":online is deprecated", "may refuse it", "z/only:free:online"),
        ("z/*:fast", "unknown variant :fast", "may refuse it", "z/only:free:fast"),
        # A bad slug.
        ("x/y@preset/", "not written like model:variant", "slugs dots", None),
        ("x/y@preset/é", "not written like model:variant", "slugs dots", None),
        ("@preset/-x", "not written like model:variant", "slugs dots", None),
        ("x/y@preset/a/b", "not written like model:variant", "slugs dots", None),
        ("x/y@preset/a@preset/b", "not written like model:variant", "slugs dots", None),
        ("x/y@preset/p:nitro", "not written like model:variant", "slugs dots", None),
        # `@slug` without `preset/`.
        ("x/y@mail", "@preset/slug", "", None),
        ("@mail", "@preset/slug", "", None),
        ("x/y@presets/mail", "@preset/slug", "", None),
        # What cannot mean anything.
        (":nitro", "Variant model base not found", "", None),
        (":nitro@preset/x", "Variant model base not found", "", None),
        ("x/y:", "not written like model:variant", "letters, digits", None),
        ("x/y:ni_tro", "not written like model:variant", "letters, digits", None),
        ("https://openrouter.ai/x/y", "not written like model:variant", "letters, digits", None),
        # Batch models cannot be called here.
        ("openai/gpt-4o:batch", "Variant model base not found", "", None),
        ("x/y:batch:nitro", "the catalog has no x/y:batch", "may refuse it", "x/y:batch:nitro"),
        # Wildcards that meet nothing.
        ("nope/*:nitro", "matches no selected model", "", None),
        ("*:extended", "matches no selected model", "", None),
    ],
)
def test_a_problem_names_the_entry_the_reason_and_what_to_do(
    entry: str, reason: str, hint: str, published: str | None
) -> None:
    # One bad entry never costs another.
    result = shown(f"x/y:floor,{entry};x/y:exacto")
    (problem,) = result.problems
    assert (problem.valve, problem.entry) == ("VARIANT_MODELS", entry)
    assert reason in problem.reason
    assert hint in problem.hint
    assert set(added(result)) == {"x/y:floor", "x/y:exacto"} | ({published} if published else set())


@pytest.mark.parametrize(
    "entry",
    [
        "x/y:nitro",
        "x/y:floor:exacto",
        "x/y:free",
        "q/w:thinking",
        "x/y:free:nitro",
        "z/only:free",
        "z/only:free:nitro",
        "z/only:nitro:free",
        "@preset/x",
        "x/y@preset/Some.Thing_1",
        "x.y:free:nitro@preset/x",
        "Y:nitro",
        "@preset/*",
        "x/y@preset/*",
        "*:free",
        "*:nitro",
    ],
)
def test_no_complaint(entry: str) -> None:
    assert shown(entry).problems == ()


def test_a_problem_reads_as_one_plain_line() -> None:
    (problem,) = shown("openai/gtp-4o:nitro").problems
    assert str(problem) == (
        "VARIANT_MODELS: Variant model base not found: openai/gtp-4o:nitro (did you mean openai/gpt-4o?)"
    )
    assert str(Problem("MODEL_ID", "a\x1b[31m\nb" + "x" * 500, "why")).isprintable()
    assert len(str(Problem("MODEL_ID", "x" * 5000, "why", "y" * 5000))) <= 500


# Order.


def test_the_list_is_sorted_by_name_whatever_its_case() -> None:
    rows = [
        {"id": f"a/{number}", "name": name} for number, name in enumerate(["beta", "Alpha", "alpha", "Ärger", "Zeta"])
    ]
    names = [entry.name for entry in shown("", catalog=Catalog.from_rows(rows)).entries]
    assert names == ["Alpha", "alpha", "beta", "Zeta", "Ärger"]


def test_virtual_models_follow_their_base_in_the_order_written() -> None:
    published = shown("x/y:nitro,@preset/b,q/w@preset/p,x/y:exacto,@preset/a,x/y:floor,x/y:free:nitro")
    assert ids(published) == [
        "openai/gpt-4o",
        "q/w",
        "q/w@preset/p",
        "q/w:thinking",
        "x/y",
        "x/y:nitro",
        "x/y:exacto",
        "x/y:floor",
        "x/y:free",
        "x/y:free:nitro",
        "z/only:free",
        "@preset/a",
        "@preset/b",
    ]


def test_without_its_own_row_in_the_list_a_virtual_model_follows_the_base() -> None:
    assert ids(shown("x/y:free:nitro,x/y:nitro", "x/y,q/w")) == ["q/w", "x/y", "x/y:free:nitro", "x/y:nitro"]


def test_a_row_that_only_a_variant_brings_carries_variants_too() -> None:
    assert ids(shown("x/y:free,x/y:free:nitro", "x/y")) == ["x/y", "x/y:free", "x/y:free:nitro"]


def test_without_any_row_in_the_list_a_virtual_model_stands_where_its_base_would() -> None:
    assert ids(shown("", "z/only:free,q/w,x/y:nitro")) == ["q/w", "x/y:nitro", "z/only:free"]


# Already there.


@pytest.mark.parametrize("text", ["x/y:free", "x.y:FREE", "x/y:free,*:free", "*:free", "*:free,x/y:free", "x/*:free"])
def test_a_row_of_the_catalog_is_not_listed_twice(text: str) -> None:
    published = shown(text)
    assert ids(published) == BASE_IDS
    assert published.problems == ()


@pytest.mark.parametrize(
    ("text", "once"),
    [
        ("x/y:nitro,x/y:nitro", "x/y:nitro"),
        ("x/y:nitro,X.Y:NITRO", "x/y:nitro"),
        ("x/y:free:nitro,x/y:nitro:free", "x/y:free:nitro"),
        ("x/y@preset/p,x.y@preset/p,y@preset/p", "x/y@preset/p"),
        ("@preset/p,@preset/p", "@preset/p"),
        ("openai/gpt-4o:nitro,openai/*:nitro", "openai/gpt-4o:nitro"),
    ],
)
def test_the_same_entry_twice_is_one(text: str, once: str) -> None:
    assert added(shown(text)) == [once]


def test_the_same_entry_in_both_valves_is_one() -> None:
    published = shown("x/y:nitro", "q/w,x/y:nitro")
    assert ids(published) == ["q/w", "x/y:nitro"]
    assert published.problems == ()


def test_preset_slugs_that_differ_in_case_are_two() -> None:
    assert added(shown("x/y@preset/p,x/y@preset/P")) == ["x/y@preset/p", "x/y@preset/P"]


# Wildcards.


@pytest.mark.parametrize(
    ("entry", "model_id", "expected"),
    [
        ("x/*:nitro", "*", ["x/y:nitro", "x/y:free:nitro"]),
        ("*:nitro", "x/y", ["x/y:nitro"]),
        ("*:nitro", "*:free", ["x/y:free:nitro", "z/only:free:nitro"]),
        ("*:nitro", "openai/gpt-4o:batch", []),
        ("*:free", "x/y", ["x/y:free"]),
        ("*:free", "q/w,x/y:free", ["x/y:free"]),
        ("*:free:floor", "x/y,q/w", ["x/y:free:floor"]),
        ("*:free:floor", "*:free", ["x/y:free:floor", "z/only:free:floor"]),
        ("?/y:nitro", "x/y,q/w", ["x/y:nitro"]),
        ("X.*:nitro", "x/y", ["x/y:nitro"]),
        ("*:nitro@preset/p", "x/y", ["x/y:nitro@preset/p"]),
    ],
)
def test_wildcards_stand_for_the_selected_models(entry: str, model_id: str, expected: list[str]) -> None:
    assert set(ids(shown(entry, model_id))) == {*ids(shown("", model_id)), *expected}


def test_batch_models_get_no_variants() -> None:
    for model_id, variants in (("*,openai/gpt-4o:batch", "*:nitro"), ("*:nitro", "")):
        assert not [name for name in ids(shown(variants, model_id)) if "batch" in name and "nitro" in name]


# Presets.

MAIL = Preset("mail", "Mail writer", "Writes mail.", "x/y:free")
CODE = Preset("Code", "a code reviewer")
WITH_PRESETS = CATALOG.with_presets((MAIL, CODE))


def test_discovered_presets_have_their_own_name_and_description() -> None:
    published = shown("@preset/*,q/w@preset/*", catalog=WITH_PRESETS)
    listed = {entry.ref.api_id: (entry.name, entry.description) for entry in published.entries}
    assert listed["@preset/mail"] == ("Preset: Mail writer", "Writes mail.")
    assert listed["q/w@preset/mail"] == ("q/w Preset: Mail writer", "Writes mail.")
    assert listed["@preset/Code"] == ("Preset: a code reviewer", "")
    assert published.problems == ()


def test_a_written_preset_is_named_by_its_slug() -> None:
    published = shown("@preset/mail,q/w@preset/mail,@preset/unheard-of", catalog=WITH_PRESETS)
    listed = {entry.ref.api_id: (entry.name, entry.description) for entry in published.entries}
    assert listed["@preset/mail"] == ("Preset: mail", "Writes mail.")
    assert listed["q/w@preset/mail"] == ("q/w Preset: mail", "Writes mail.")
    assert listed["@preset/unheard-of"] == ("Preset: unheard-of", "")


def test_presets_of_a_wildcard_come_by_name() -> None:
    assert added(shown("q/w@preset/*,@preset/*", catalog=WITH_PRESETS)) == [
        "q/w@preset/Code",
        "q/w@preset/mail",
        "@preset/Code",
        "@preset/mail",
    ]


def test_the_presets_own_model_describes_it() -> None:
    entries = {entry.ref.api_id: entry.model for entry in shown("@preset/*,q/w@preset/*", catalog=WITH_PRESETS).entries}
    assert entries["@preset/mail"] is CATALOG.models["x/y:free"]
    assert entries["@preset/Code"] is UNKNOWN
    # A base that is written describes the model, whatever the preset names.
    assert entries["q/w@preset/mail"] is CATALOG.models["q/w"]


@pytest.mark.parametrize("known", [(), None])
def test_without_presets_a_wildcard_is_quiet(known: tuple[Preset, ...] | None) -> None:
    catalog = CATALOG if known is None else CATALOG.with_presets(known)
    published = shown("@preset/*,x/y@preset/*,x/y@preset/mine", catalog=catalog)
    assert added(published) == ["x/y@preset/mine"]
    assert published.problems == ()


@pytest.mark.parametrize(
    ("model_id", "variant_models", "wanted"),
    [
        ("*", "@preset/*", True),
        ("*", "x/y @ preset / *", True),
        ("@preset/*", "", True),
        ("*", "x/y:nitro # not yet: @preset/*", False),
        ("#@preset/*\n*", "#one\n@preset/*", True),
        ("*", "@preset/mail", False),
        ("*", "x/*:nitro", False),
    ],
)
def test_presets_are_fetched_only_where_a_wildcard_asks(model_id: str, variant_models: str, wanted: bool) -> None:
    assert Publishing(model_id, variant_models).wants_presets is wanted


# Filters.

PRICED = Catalog.from_rows(
    [
        {"id": "a/paid", "pricing": {"prompt": "1"}, "supported_parameters": ["tools"]},
        {"id": "b/both", "pricing": {"prompt": "1"}, "supported_parameters": ["tools"]},
        {"id": "b/both:free", "pricing": {"prompt": "0"}, "supported_parameters": ["seed"]},
    ]
).with_presets(
    (Preset("dear", "dear", "", "a/paid"), Preset("cheap", "cheap", "", "b/both:free"), Preset("odd", "odd"))
)
FILTERED = "a/paid:nitro,a/paid:free,b/both:nitro,b/both:free:nitro,b/both@preset/p,@preset/*"


@pytest.mark.parametrize(
    ("valves", "expected"),
    [
        (
            {"free_filter": "only"},
            {"a/paid:free", "b/both:free:nitro", "@preset/cheap"},
        ),
        (
            {"free_filter": "exclude"},
            {"a/paid:nitro", "b/both:nitro", "b/both@preset/p", "@preset/dear", "@preset/odd"},
        ),
        (
            {"tools_filter": "only"},
            {"a/paid:nitro", "a/paid:free", "b/both:nitro", "b/both@preset/p", "@preset/dear", "@preset/odd"},
        ),
        ({"tools_filter": "exclude"}, {"b/both:free:nitro", "@preset/cheap"}),
        ({"free_filter": "only", "tools_filter": "only"}, {"a/paid:free"}),
    ],
)
def test_virtual_models_are_judged_by_the_row_that_describes_them(valves: dict[str, str], expected: set[str]) -> None:
    assert set(added(shown(FILTERED, catalog=PRICED, **valves))) == expected


@pytest.mark.parametrize(
    ("valves", "valve"),
    [
        ({"free_filter": "only"}, "FREE_MODEL_FILTER"),
        ({"tools_filter": "exclude"}, "TOOL_CALLING_FILTER"),
        ({"model_id": "b/*"}, "MODEL_ID"),
        ({"model_id": "!a/*"}, "MODEL_ID"),
    ],
)
def test_a_written_entry_that_a_valve_leaves_out_is_reported_and_refused(valves: dict[str, str], valve: str) -> None:
    published = Published(PRICED, Publishing(variant_models="a/paid:nitro", **valves))
    assert "a/paid:nitro" not in ids(published)
    (problem,) = published.problems
    assert problem.reason == f"left out by {valve}"
    with pytest.raises(PipeError, match=f"the valve {valve} leaves it out"):
        published.refuse(ModelRef.from_api("a/paid:nitro"))


def test_a_virtual_model_that_an_exclude_names_is_refused_and_no_problem() -> None:
    published = Published(PRICED, Publishing("!*:nitro", "a/paid:nitro,a/paid:floor"))
    assert added(published) == ["a/paid:floor"]
    assert published.problems == ()
    with pytest.raises(PipeError, match="the valve MODEL_ID leaves it out"):
        published.refuse(ModelRef.from_api("a/paid:nitro"))


def test_what_a_wildcard_brings_is_left_out_without_a_word() -> None:
    published = shown("*:nitro,@preset/*", catalog=PRICED, free_filter="only")
    assert added(published) == ["b/both:free:nitro", "@preset/cheap"]
    assert published.problems == ()


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [
        ("b/both", ["b/both", "b/both:free:nitro", "b/both:nitro"]),
        ("b/both:free", ["b/both:free", "b/both:free:nitro"]),
        ("b/both,!*:free", ["b/both", "b/both:free:nitro", "b/both:nitro"]),
        ("b/both,!*:free*", ["b/both", "b/both:nitro"]),
        ("!b/both", ["a/paid", "b/both:free", "b/both:free:nitro"]),
        ("a/paid", ["a/paid"]),
    ],
)
def test_a_base_that_is_left_out_takes_its_variants_along(model_id: str, expected: list[str]) -> None:
    assert ids(shown("b/both:free:nitro,b/both:nitro", model_id, PRICED)) == expected


# Presets that are not known yet.


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("@preset/new", True),
        ("x/y@preset/new", True),
        ("q/w@preset/new", True),
        ("openai/gpt-4o@preset/new", False),
        ("x/y:nitro@preset/new", False),
        ("x/y:nitro", False),
    ],
)
def test_until_presets_are_known_only_what_a_wildcard_may_bring_passes(name: str, passes: bool) -> None:
    ref = ModelRef.from_api(name)
    published = shown("@preset/*,x/*@preset/*,openai/*@preset/*", "x/*,q/*")
    if passes:
        published.refuse(ref)
    else:
        with pytest.raises(PipeError):
            published.refuse(ref)
    # Once they are known, an unknown preset is refused like any other model.
    with pytest.raises(PipeError, match=r"VARIANT_MODELS|MODEL_ID"):
        shown("@preset/*,x/*@preset/*", "x/*,q/*", CATALOG.with_presets((MAIL,))).refuse(ref)


# Other gateways and odd catalogs.


def test_ids_with_colons_of_their_own_can_carry_variants() -> None:
    published = shown("llama3:8b:nitro,gpt-4.1:floor,llama3:nitro", catalog=catalog_of("llama3:8b", "gpt-4.1"))
    assert ids(published) == ["gpt-4.1", "gpt-4.1:floor", "llama3:8b", "llama3:8b:nitro"]
    assert [problem.entry for problem in published.problems] == ["llama3:nitro"]
    assert [ModelRef.from_webui(entry.webui_id).api_id for entry in published.entries] == ids(published)


@pytest.mark.parametrize(
    "row_ids",
    [
        ("a/only:free",),
        ("a/b:fast",),
        ("a/b:nitro",),
        (":free",),
        ("@preset/ä",),
        ("a:B/c",),
        ("/",),
    ],
)
@pytest.mark.parametrize(
    "entry", ["*:nitro", "*:fast", "*:free", "*:free:fast", "*@preset/p", "*@preset/*", "a/*:t0:t1"]
)
def test_odd_rows_meet_wildcards(row_ids: tuple[str, ...], entry: str) -> None:
    published = shown(entry, catalog=catalog_of(*row_ids, presets=(MAIL,)))
    assert set(row_ids) <= set(ids(published))
    assert len(published.by_webui_id) == len(published.entries) == len(set(ids(published)))


# Absurd sizes.


@pytest.mark.usefixtures("not_forever")
@pytest.mark.parametrize("valves", [{}, {"free_filter": "only"}, {"model_id": "m/1*"}])
def test_wildcards_that_multiply_are_cut(valves: dict[str, str]) -> None:
    presets = tuple(Preset(f"p{number}", f"P {number}") for number in range(1_000))
    catalog = catalog_of(*(f"m/{number}" for number in range(5_000)), presets=presets)
    published = shown(",".join(f"*:t{number}@preset/*" for number in range(150)), catalog=catalog, **valves)
    assert len(added(published)) <= MAX_ENTRIES
    assert any("too many virtual models" in problem.reason for problem in published.problems)
    assert len(published.left_out) <= 100_000


def test_too_many_entries_are_cut_at_5000() -> None:
    catalog = catalog_of("x/y")
    published = shown(",".join(f"x/y@preset/p{number}" for number in range(5_001)), catalog=catalog)
    assert len(added(published)) == 5_000
