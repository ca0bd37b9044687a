"""The catalog, spec section 2: odd rows, what is unknown, what is left out, which row describes a name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_pipe.catalog import UNKNOWN, Catalog, Model, Preset, one_line, parse_model, parse_preset
from openrouter_pipe.model_ref import ModelRef

FULL: dict[str, Any] = {
    "id": "openai/gpt-4o",
    "canonical_slug": "openai/gpt-4o-2024-11-20",
    "name": "OpenAI: GPT-4o",
    "created": 1715558400,
    "description": "Omni.",
    "context_length": 128000,
    "architecture": {
        "modality": "text+image->text",
        "input_modalities": ["text", "image"],
        "output_modalities": ["text"],
        "tokenizer": "GPT",
        "instruct_type": None,
    },
    "pricing": {"prompt": "0.0000025", "completion": "0.00001", "discount": 0},
    "top_provider": {"context_length": 128000, "max_completion_tokens": 16384, "is_moderated": True},
    "per_request_limits": None,
    "supported_parameters": ["tools", "temperature"],
}


def read(**fields: Any) -> Model:
    model = parse_model({"id": "x/y", **fields})
    assert model is not None
    return model


def test_a_full_row() -> None:
    model = parse_model(FULL)
    assert model is not None
    assert (model.id, model.name, model.description) == ("openai/gpt-4o", "OpenAI: GPT-4o", "Omni.")
    assert model.context_length == 128000
    assert model.pricing == {"prompt": "0.0000025", "completion": "0.00001"}
    assert (model.input_modalities, model.output_modalities) == (("text", "image"), ("text",))
    assert model.supported_parameters == {"tools", "temperature"}


FIELDS = [name for name, kind in vars(Model).items() if isinstance(kind, property)]
WRONG: list[Any] = [None, True, 0, -1, 1.5, float("nan"), 10**30, "", "text", [], [None, 1, {}], {}, {"a": None}, b"x"]


@pytest.mark.parametrize("field", [key for key in FULL if key != "id"])
@pytest.mark.parametrize("value", WRONG)
def test_a_wrong_field_costs_no_row(field: str, value: Any) -> None:
    catalog = Catalog.from_rows([{**FULL, field: value}])
    assert list(catalog.models) == ["openai/gpt-4o"]
    assert catalog.left_out == 0
    for name in FIELDS:
        getattr(catalog.models["openai/gpt-4o"], name)


@pytest.mark.parametrize("field", [key for key in FULL if key != "id"])
def test_a_missing_field_costs_no_row(field: str) -> None:
    row = {key: value for key, value in FULL.items() if key != field}
    assert list(Catalog.from_rows([row]).models) == ["openai/gpt-4o"]


def test_an_id_alone_is_a_row_of_which_nothing_is_known() -> None:
    model = read()
    assert (model.id, model.name, model.description, model.context_length) == ("x/y", "x/y", "", None)
    assert (model.pricing, model.supported_parameters) == ({}, frozenset())
    assert (model.input_modalities, model.output_modalities, model.is_router) == ((), (), False)
    assert not read().is_free
    assert not read().has_tools


@pytest.mark.parametrize(
    ("value", "length"),
    [(8192, 8192), (None, None), (0, None), (-1, None), ("8192", None), ([], None), (10**400, None)],
)
def test_a_context_length_that_is_no_number_is_unknown(value: Any, length: int | None) -> None:
    assert read(context_length=value).context_length == length


@pytest.mark.parametrize("name", [None, "", "   ", "\n\t", 7, ["GPT"]])
def test_a_missing_name_is_the_id(name: Any) -> None:
    assert read(name=name).name == "x/y"


@pytest.mark.parametrize(
    "name", ["GPT\n4o", " GPT  4o ", "GPT\x004o", "GPT\u20284o", "GPT \x1b4o", "GPT\ud8004o", "\u202eGPT 4o"]
)
def test_a_name_is_one_printable_line(name: str) -> None:
    assert read(name=name).name == "GPT 4o"


def test_a_huge_name_is_cut() -> None:
    assert len(read(name="x" * 1_000_000).name) == 500


@pytest.mark.parametrize(
    "row",
    [
        None,
        [],
        "openai/gpt-4o",
        7,
        {},
        {"name": "no id"},
        *(
            {"id": value}
            for value in (None, "", 7, ["x/y"], "two words", "line\nbreak", "nul\x00", "\x1b[31m", "x" * 10**6)
        ),
        {"id": "\ud800"},
        {"id": "a\u00a0b"},
        {"id": "a\u202eb"},
        {"id": "x/y", "architecture": {"output_modalities": ["image"]}},
        {"id": "x/y", "architecture": {"output_modalities": ["embeddings"]}},
    ],
)
def test_what_has_no_usable_id_or_no_text_output_is_left_out_and_counted(row: Any) -> None:
    catalog = Catalog.from_rows([FULL, row, {"id": "a/b"}])
    assert list(catalog.models) == ["openai/gpt-4o", "a/b"]
    assert catalog.left_out == 1


@pytest.mark.parametrize("modalities", [None, [], ["text"], ["image", "text"], "text", {}])
def test_text_output_or_unknown_output_stays(modalities: Any) -> None:
    assert parse_model({"id": "x/y", "architecture": {"output_modalities": modalities}}) is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "id": JSON | st.sampled_from(["x/y", "x/y:free", "@preset/z", "a.b/c"]),
            **{key: JSON for key in FULL if key != "id"},
            "pricing": st.dictionaries(st.text(max_size=8), JSON, max_size=4),
        },
    )
    | JSON,
    max_size=6,
)


@given(ROWS)
def test_no_rows_break_the_catalog_and_each_is_kept_or_counted(rows: list[Any]) -> None:
    catalog = Catalog.from_rows(rows)
    for model in catalog.models.values():
        assert catalog.describe(model.ref) is model
        assert parse_model(model.row) == model
        assert isinstance(model.is_free, bool)
    named = {row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)}
    assert set(catalog.models) <= named
    assert len(catalog.models) + len(catalog.presets) + catalog.left_out <= len(rows)


def test_a_repeated_id_is_one_row() -> None:
    catalog = Catalog.from_rows([{"id": "x/y", "name": "first"}, {"id": "x/y", "name": "second"}])
    assert [model.name for model in catalog.models.values()] == ["first"]


@pytest.mark.parametrize(
    ("pricing", "known"),
    [
        ({"prompt": "0.1"}, {"prompt": "0.1"}),
        ({"prompt": 0}, {"prompt": "0"}),
        ({"prompt": 0.5}, {"prompt": "0.5"}),
        ({"prompt": "-1"}, {"prompt": "-1"}),
        *(
            ({"prompt": value}, {})
            for value in (None, "", "abc", "NaN", float("nan"), "inf", True, False, [], {}, 10**400, 10**5000)
        ),
        ({"prompt": "0", "discount": 0.5, "overrides": [{"prompt": "1"}]}, {"prompt": "0"}),
        (None, {}),
        ([], {}),
        ("0", {}),
    ],
)
def test_prices(pricing: Any, known: dict[str, str]) -> None:
    assert read(pricing=pricing).pricing == known


@pytest.mark.parametrize(
    ("model_id", "pricing", "free"),
    [
        ("x/y", {"prompt": "0", "completion": "0"}, True),
        ("x/y", {"prompt": "0", "completion": None}, True),
        ("x/y", {"prompt": "0.000", "request": 0}, True),
        ("x/y", {"prompt": "0", "completion": "0", "discount": 1}, True),
        ("x/y", {"prompt": "0", "completion": "0.1"}, False),
        ("x/y", {"prompt": "0", "completion": "0", "web_search": "0.01"}, False),
        ("x/y", {"prompt": "-1", "completion": "-1"}, False),
        ("x/y", {"prompt": "0", "completion": "-1"}, False),
        ("x/y", {}, False),
        ("x/y", None, False),
        ("x/y", {"prompt": "abc"}, False),
        ("x/y:free", None, True),
        ("x/y:free", {"prompt": "0.1"}, True),
        ("x/free", None, False),
    ],
)
def test_free_is_every_given_price_zero_or_the_tag(model_id: str, pricing: Any, free: bool) -> None:
    assert read(id=model_id, pricing=pricing).is_free is free


@pytest.mark.parametrize(
    ("model_id", "tokenizer", "parameters", "tools"),
    [
        ("x/y", "GPT", ["tools"], True),
        ("x/y", "GPT", ["temperature", "tool_choice"], False),
        ("x/y", "GPT", [], False),
        ("x/y", "GPT", None, False),
        ("x/y", "GPT", "tools", False),
        ("openrouter/auto", "Router", [], True),
        ("openrouter/auto", None, None, True),
        ("openrouter/auto", "Router", ["temperature"], False),
        ("openrouter/auto", "Router", ["tools"], True),
        ("~anthropic/claude-sonnet-latest", "Claude", [], True),
        ("~anthropic/claude-sonnet-latest", "Claude", ["temperature"], False),
    ],
)
def test_tools(model_id: str, tokenizer: Any, parameters: Any, tools: bool) -> None:
    model = read(id=model_id, architecture={"tokenizer": tokenizer}, supported_parameters=parameters)
    assert model.has_tools is tools


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("x/y", "x/y"),
        ("x/y:nitro", "x/y"),
        ("x/y:nitro:floor@preset/p", "x/y"),
        ("x/y@preset/p", "x/y"),
        ("x/y:free", "x/y:free"),
        ("x/y:free:nitro@preset/p", "x/y:free"),
        ("x/y:nitro:free", "x/y:free"),
        ("x/y:free:fast", "x/y:free"),
        ("x/y:thinking", "x/y"),
        ("x/y:thinking:online", "x/y"),
        ("x/y:fast", "x/y"),
        ("x/y-2024-11-20:nitro", "x/y-2024-11-20"),
        ("a/only:free:nitro", "a/only:free"),
        ("a/only", None),
        ("a/only:nitro", None),
        ("no/such", None),
        ("X/Y", None),
        ("@preset/p", None),
    ],
)
def test_the_row_that_describes_a_name(name: str, row: str | None) -> None:
    catalog = Catalog.from_rows([{"id": row_id} for row_id in ("x/y", "x/y:free", "x/y-2024-11-20", "a/only:free")])
    model = catalog.describe(ModelRef.from_api(name))
    assert (None if model is UNKNOWN else model.id) == row


def test_rows_named_preset_are_discovered_presets() -> None:
    catalog = Catalog.from_rows(
        [
            {"id": "@preset/mail", "name": "Mail writer", "description": "Writes mail."},
            {"id": "@preset/bare"},
            {"id": "@preset/mail", "name": "again"},
            {"id": "x/y@preset/bare"},
            FULL,
        ]
    )
    assert list(catalog.models) == ["openai/gpt-4o"]
    assert catalog.presets == (Preset("mail", "Mail writer", "Writes mail."), Preset("bare", "bare"))
    assert catalog.left_out == 0
    assert not catalog.knows_presets


def test_fetched_presets_replace_those_of_the_same_slug() -> None:
    catalog = Catalog.from_rows([{"id": "@preset/mail"}, FULL])
    fetched = Preset("mail", "Mail", "text", "openai/gpt-4o")
    known = catalog.with_presets((fetched,))
    assert known.presets == (fetched,)
    assert known.knows_presets
    assert known.models is catalog.models


@pytest.mark.parametrize(
    ("row", "preset"),
    [
        ({"slug": "a"}, Preset("a", "a")),
        ({"slug": "a", "name": None, "status": None, "description": None}, Preset("a", "a")),
        ({"slug": "A.b_c-1", "name": "My\nown", "status": "active"}, Preset("A.b_c-1", "My own")),
        ({"slug": "a", "designated_version": {"config": {"model": "x/y"}}}, Preset("a", "a", "", "x/y")),
        ({"slug": "a", "designated_version": {"config": {"models": [None, "x/y"]}}}, Preset("a", "a", "", "x/y")),
        ({"slug": "a", "designated_version": {"config": None}}, Preset("a", "a")),
        ({"slug": "a", "designated_version": {"config": {"models": "x/y", "model": 7}}}, Preset("a", "a")),
        *(({"slug": "a", "status": status}, None) for status in ("disabled", "archived", "", 7, False)),
        *(({"slug": slug}, None) for slug in (None, "", 7, "-a", "a b", "ä", "a/b", "a@preset/b", "x" * 10**6)),
        (None, None),
        ([], None),
        ("a", None),
        ({}, None),
    ],
)
def test_preset_rows(row: Any, preset: Preset | None) -> None:
    assert parse_preset(row) == preset


@given(st.text())
def test_one_line_is_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert line == line.strip()
    assert "  " not in line
