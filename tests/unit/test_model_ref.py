"""Names of models, spec section 1: both spellings, both ways, without loss."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from openrouter_pipe.model_ref import CATALOG_TAGS, ROUTING_TAGS, SLUG, ModelRef

TABLE = [
    # API form, id in Open WebUI, base, variants, preset
    ("openai/gpt-4o", "openai.gpt-4o", "openai/gpt-4o", (), None),
    ("openai/gpt-4o:nitro", "openai.gpt-4o:nitro", "openai/gpt-4o", ("nitro",), None),
    (
        "openai/gpt-4o@preset/email-copywriter",
        "openai.gpt-4o:preset/email-copywriter",
        "openai/gpt-4o",
        (),
        "email-copywriter",
    ),
    ("openai/gpt-4o:nitro@preset/x", "openai.gpt-4o:nitro:preset/x", "openai/gpt-4o", ("nitro",), "x"),
    ("@preset/x", "preset/x", "", (), "x"),
    # Only the first "/" becomes "."; dots, dates and "~" survive.
    ("openai/gpt-4o-2024-11-20", "openai.gpt-4o-2024-11-20", "openai/gpt-4o-2024-11-20", (), None),
    ("openai/gpt-4.1", "openai.gpt-4.1", "openai/gpt-4.1", (), None),
    (
        "~anthropic/claude-sonnet-latest",
        "~anthropic.claude-sonnet-latest",
        "~anthropic/claude-sonnet-latest",
        (),
        None,
    ),
    ("a/b/c.d:free", "a.b/c.d:free", "a/b/c.d", ("free",), None),
    ("x/y:free:nitro", "x.y:free:nitro", "x/y", ("free", "nitro"), None),
    # Other gateways have ids without an author.
    ("llama3:8b", "llama3:8b", "llama3", ("8b",), None),
    # Preset slugs keep their case and may hold dots and underscores.
    ("x/y@preset/My_Preset.v2", "x.y:preset/My_Preset.v2", "x/y", (), "My_Preset.v2"),
]


@pytest.mark.parametrize(("api_id", "webui_id", "base", "variants", "preset"), TABLE)
def test_table(api_id: str, webui_id: str, base: str, variants: tuple[str, ...], preset: str | None) -> None:
    ref = ModelRef(base, variants, preset)
    assert ModelRef.from_api(api_id) == ref
    assert ModelRef.from_webui(webui_id) == ref
    assert ref.api_id == api_id
    assert ref.webui_id == webui_id


# Names that "first slash to dot" would not bring back.
ODD_IDS = [
    "x.ai/grok-4",
    "a.b.c/d.e",
    "gpt-4.1",
    "gpt-4o",
    ".hidden/model",
    "/leading/slash",
    "//two",
    "preset/x",
    "preset.x",
    "preset/x@preset/x",
    "x/y:preset/z",
    "x/y:preset/z@preset/w",
    "@preset/a@preset/b",
    "@preset/",
    "@preset/ä",
    "x/y@preset/",
    "x/y@preset/-no-slug",
    ":free",
    ":free@preset/x",
    "x/y:Nitro",
    "x/y:Nitro:free",
    "x/y::free",
    "x/y:",
    "x/y:free:",
    "a:b/c:free",
    "x",
    ".",
    "/",
    ":",
    "@",
    "",
    "llama3:8b",
    "~a/b",
    "~/b",
    "a/b@c",
]


@pytest.mark.parametrize("api_id", ODD_IDS)
def test_odd_ids_survive(api_id: str) -> None:
    ref = ModelRef.from_api(api_id)
    assert ref.api_id == api_id
    assert ModelRef.from_webui(ref.webui_id) == ref


def test_odd_ids_stay_apart() -> None:
    assert len({ModelRef.from_api(api_id).webui_id for api_id in ODD_IDS}) == len(ODD_IDS)


# Texts out of the pieces that the grammar is made of find collisions that random text does not.
PIECES = st.sampled_from(
    ["/", ".", ":", "@", "~", "preset/", ":preset/", "@preset/", "openai", "gpt-4", "x", "A", "free", "nitro", "-", "_"]
)
IDS = st.one_of(st.lists(PIECES, max_size=9).map("".join), st.text(max_size=30))


@given(IDS)
def test_every_text_survives_both_spellings(text: str) -> None:
    ref = ModelRef.from_api(text)
    assert ref.api_id == text
    assert ModelRef.from_webui(ref.webui_id) == ref
    assert ModelRef.from_webui(ref.webui_id).api_id == text


@given(IDS, IDS)
@example("x.ai/grok", "x/ai.grok")
@example("x/y@preset/z", "x/y:preset/z")
@example("@preset/x", "preset/x")
@example("/x/y", "x/y")
def test_different_names_have_different_ids(one: str, other: str) -> None:
    same = ModelRef.from_api(one).webui_id == ModelRef.from_api(other).webui_id
    assert same == (one == other)


@given(st.lists(IDS, unique=True, max_size=200))
def test_no_two_of_many_names_share_an_id(names: list[str]) -> None:
    assert len({ModelRef.from_api(name).webui_id for name in names}) == len(names)


@given(IDS)
def test_any_id_from_open_webui_can_be_read(text: str) -> None:
    ref = ModelRef.from_webui(text)
    assert ModelRef.from_api(ref.api_id).api_id == ref.api_id


REFS = st.builds(
    ModelRef,
    st.from_regex(r"~?[a-z][a-z0-9-]{0,6}/[a-zA-Z0-9._-]{1,8}", fullmatch=True),
    st.lists(st.sampled_from((*ROUTING_TAGS, *CATALOG_TAGS, "fast")), max_size=3).map(tuple),
    st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True),
)


@given(REFS)
def test_ordinary_names_are_spelled_as_the_table_says(ref: ModelRef) -> None:
    tags = "".join(f":{tag}" for tag in ref.variants)
    assert ref.api_id == ref.base + tags + (f"@preset/{ref.preset}" if ref.preset else "")
    assert ref.webui_id == ref.base.replace("/", ".", 1) + tags + (f":preset/{ref.preset}" if ref.preset else "")
    assert ModelRef.from_api(ref.api_id) == ref == ModelRef.from_webui(ref.webui_id)


@pytest.mark.parametrize("api_id", [row[0] for row in TABLE if row[4] is None])
def test_openrouters_own_spelling_is_understood_as_an_id(api_id: str) -> None:
    """API callers type what OpenRouter's site shows."""
    assert ModelRef.from_webui(api_id) == ModelRef.from_api(api_id)


@pytest.mark.parametrize(
    ("api_id", "rows"),
    [
        ("x/y", ["x/y"]),
        ("x/y:nitro", ["x/y:nitro", "x/y"]),
        ("x/y:free", ["x/y:free", "x/y"]),
        ("x/y:free:nitro", ["x/y:free:nitro", "x/y:free", "x/y"]),
        ("x/y:nitro:free", ["x/y:nitro:free", "x/y:free", "x/y"]),
        ("x/y:free:fast@preset/z", ["x/y:free:fast", "x/y:free", "x/y"]),
        ("x/y@preset/z", ["x/y"]),
        ("@preset/z", []),
    ],
)
def test_rows_that_may_describe_a_name(api_id: str, rows: list[str]) -> None:
    assert list(ModelRef.from_api(api_id).row_ids) == rows


@given(st.text(max_size=8))
def test_slugs(text: str) -> None:
    assert bool(SLUG.fullmatch(text)) == bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text))


@pytest.mark.parametrize("text", [":a" * 300_000, ":A" * 300_000, "a/" * 300_000, "@preset/a" * 60_000, "." * 600_000])
@pytest.mark.usefixtures("not_forever")
def test_a_huge_text_is_read_in_one_go(text: str) -> None:
    ref = ModelRef.from_api(text)
    assert ref.api_id == text
    assert ModelRef.from_webui(ref.webui_id) == ref
    assert len(ref.row_ids) <= 4
