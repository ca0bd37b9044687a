"""The recorded catalog of May 2025 (321 models): names, choosing and filters against an oracle written from the spec."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from openrouter_pipe.catalog import Catalog
from openrouter_pipe.model_ref import CATALOG_TAGS, ROUTING_TAGS, ModelRef
from openrouter_pipe.virtual_models import Published, Publishing

RECORDED = Path(__file__).resolve().parents[2].parent / "shared/fixtures/real_catalog/models_full_2025-05.json"
pytestmark = pytest.mark.skipif(not RECORDED.is_file(), reason=f"no recorded catalog at {RECORDED}")
SUFFIXES = ("", *(f":{tag}" for tag in (*ROUTING_TAGS, *CATALOG_TAGS)), "@preset/Mail-1.0", ":nitro@preset/Mail-1.0")
SNAPSHOTS = ("openai/gpt-4o", "openai/gpt-4o-2024-05-13", "openai/gpt-4o-2024-08-06", "openai/gpt-4o-2024-11-20")


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in json.loads(RECORDED.read_text())["data"]}


@pytest.fixture(scope="module")
def catalog(rows: dict[str, dict[str, Any]]) -> Catalog:
    return Catalog.from_rows(rows.values())


def test_every_row_is_read(rows: dict[str, dict[str, Any]], catalog: Catalog) -> None:
    assert list(catalog.models) == list(rows)
    assert len(rows) == 321
    assert catalog.left_out == 0


def test_every_id_with_every_suffix_survives_and_none_collide(rows: dict[str, dict[str, Any]]) -> None:
    names = {f"{row_id}{suffix}" for row_id in rows for suffix in SUFFIXES}
    spelled = {}
    for name in names:
        ref = ModelRef.from_api(name)
        assert ref.api_id == name
        assert ModelRef.from_webui(ref.webui_id) == ref
        # A plain rule on this catalog, where no author has a dot: the first "/" is a ".", "@" before a preset is ":".
        assert ref.webui_id == name.replace("/", ".", 1).replace("@preset/", ":preset/")
        spelled[ref.webui_id] = name
    assert len(spelled) == len(names)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_name_is_described_by_the_right_row(
    rows: dict[str, dict[str, Any]], catalog: Catalog, suffix: str
) -> None:
    for row_id in rows:
        name = f"{row_id}{suffix}"
        # The spec's words: drop the preset and the routing tags, keep the catalog tag; that row if it exists, else the base.
        base, *tags = name.partition("@")[0].split(":")
        kept = ":".join((base, *(tag for tag in tags if tag in CATALOG_TAGS)))
        expected = kept if kept in rows else base if base in rows else None
        model = catalog.describe(ModelRef.from_api(name))
        if len([tag for tag in tags if tag in CATALOG_TAGS]) < 2:
            assert (model.id if model else None) == expected


def wildcard(pattern: str, text: str) -> bool:
    regex = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern.lower())
    return re.fullmatch(regex, text.lower(), re.DOTALL) is not None


def chosen(rows: dict[str, dict[str, Any]], model_id: str) -> set[str]:
    """Spec 3, word by word, for patterns without comments."""
    entries = [entry.strip() for entry in re.split("[,;\n]", model_id) if entry.strip()]
    excludes = [entry[1:] for entry in entries if entry.startswith("!")]
    includes = [entry for entry in entries if not entry.startswith("!")] or ["*"]

    def matches(row_id: str, patterns: list[str]) -> bool:
        spellings = (row_id, row_id.replace("/", ".", 1), row_id.partition("/")[2])
        return any(wildcard(pattern, spelling) for pattern in patterns for spelling in spellings)

    return {row_id for row_id in rows if matches(row_id, includes) and not matches(row_id, excludes)}


def plain_name(row: dict[str, Any]) -> str:
    """Some recorded names end in a space."""
    return " ".join(row["name"].split())


def is_free(row: dict[str, Any]) -> bool:
    return row["id"].endswith(":free") or all(float(price) == 0 for price in row["pricing"].values())


def has_tools(row: dict[str, Any]) -> bool:
    parameters = row["supported_parameters"]
    return "tools" in parameters or (row["id"] == "openrouter/auto" and not parameters)


PATTERNS = (
    "*",
    "gpt*",
    "openai/*",
    "*:free",
    "!openai/*",
    "!*:free,!*:beta",
    "openai/gpt-4o",
    "openai/gpt-4o,anthropic/claude-opus-4",
    "gpt*,!*-mini*",
    "meta-llama/*;qwen/*\nmistralai/*",
    "anthropic.claude-opus-4",
    "Claude-Opus-4",
    "*-2024-??-??",
    "gtp-4o",
    "gtp-4o,openai/o1",
)


@pytest.mark.parametrize("free", ["all", "only", "exclude"])
@pytest.mark.parametrize("tools", ["all", "only", "exclude"])
@pytest.mark.parametrize("model_id", PATTERNS)
def test_exactly_the_models_that_the_spec_says(
    rows: dict[str, dict[str, Any]], catalog: Catalog, model_id: str, free: str, tools: str
) -> None:
    expected = {
        row_id
        for row_id in chosen(rows, model_id)
        if free == "all" or is_free(rows[row_id]) == (free == "only")
        if tools == "all" or has_tools(rows[row_id]) == (tools == "only")
    }
    published = Published(catalog, Publishing(model_id, "", free, tools))
    assert [entry.ref.api_id for entry in published.entries] == sorted(
        expected, key=lambda row_id: (plain_name(rows[row_id]).casefold(), row_id)
    )
    assert [entry.name for entry in published.entries] == [
        plain_name(rows[entry.ref.api_id]) for entry in published.entries
    ]
    assert [problem.entry for problem in published.problems] == (["gtp-4o"] if "gtp-4o" in model_id else [])


def test_the_counts_that_everybody_knows(catalog: Catalog) -> None:
    def count(*valves: str) -> int:
        return len(Published(catalog, Publishing(*valves)).entries)

    assert count() == 321
    assert count("*:free") == 68
    assert count("*", "", "only") == 69
    assert count("gtp-4o") == 0
    # `*:free` as variants: every model that has such a row; all are there already.
    assert count("*", "*:free") == 321
    # Only those of the 68 whose base is selected, when the `:free` rows themselves are not.
    assert count("!*:free", "*:free") == 253


def test_a_typo_gets_the_closest_id(catalog: Catalog) -> None:
    (problem,) = Published(catalog, Publishing("openai/gtp-4o")).problems
    assert "did you mean openai/gpt-4o" in problem.hint


@pytest.mark.parametrize("model_id", ["*", "gpt*", "openai/*", "*:free", "!anthropic/*"])
def test_every_wildcard_at_once_gives_no_id_twice(catalog: Catalog, model_id: str) -> None:
    variants = ",".join(
        ["*:free", *(f"*:{tag}" for tag in ROUTING_TAGS), "*:free:nitro", "*@preset/p", "*:nitro@preset/p"]
    )
    published = Published(catalog, Publishing(model_id, variants))
    ids = [entry.webui_id for entry in published.entries]
    assert len(set(ids)) == len(ids) == len(published.by_webui_id)
    assert len(ids) > 5 * len(Published(catalog, Publishing(model_id)).entries)
    for entry in published.entries:
        assert ModelRef.from_webui(entry.webui_id) == entry.ref
        assert entry.model is not None
        assert entry.name.startswith(entry.model.name)


def test_each_of_400_variants_follows_its_base(rows: dict[str, dict[str, Any]], catalog: Catalog) -> None:
    published = Published(catalog, Publishing("*", "*:nitro"))
    ids = [entry.ref.api_id for entry in published.entries]
    assert ids[1::2] == [f"{row_id}:nitro" for row_id in ids[::2]]
    assert set(ids[::2]) == set(rows)


def test_gpt_4o_and_its_snapshots_each_send_themselves(catalog: Catalog) -> None:
    variants = ",".join(f"{row_id}{suffix}" for row_id in SNAPSHOTS for suffix in (":nitro", "@preset/p"))
    published = Published(catalog, Publishing("gpt-4o*", variants))
    for row_id in SNAPSHOTS:
        for suffix in ("", ":nitro", "@preset/p"):
            webui_id = row_id.replace("/", ".") + suffix.replace("@", ":")
            assert published.by_webui_id[webui_id].ref.api_id == row_id + suffix
            assert ModelRef.from_webui(webui_id).api_id == row_id + suffix
            assert published.by_webui_id[webui_id].model is catalog.models[row_id]
