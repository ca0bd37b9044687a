"""What a model's row holds, and that an admin's work in it stays (spec section 8)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from openrouter_pipe.catalog import Catalog, Preset
from openrouter_pipe.model_rows import author_of, merge_row, row_fields
from openrouter_pipe.settings import Settings
from openrouter_pipe.virtual_models import Entry, Published, Publishing

PRICES = {"prompt": "0.0000025", "completion": "0.00001"}
ROW: dict[str, Any] = {
    "id": "openai/gpt-4o",
    "name": "OpenAI: GPT-4o",
    "description": "A flagship.",
    "context_length": 128_000,
    "pricing": PRICES,
    "supported_parameters": ["tools"],
    "architecture": {"input_modalities": ["text", "image", "file"]},
}
# What the editor of Open WebUI fills in when it saves a row, whatever was changed there.
FILLED_IN = dict.fromkeys(
    [
        *("file_context", "vision", "file_upload", "web_search", "image_generation", "code_interpreter", "terminal"),
        *("citations", "status_updates", "memory", "builtin_tools"),
    ],
    True,
)


def entry_of(valve: str = "", model_id: str = "", presets: tuple[Preset, ...] = (), **row: Any) -> Entry:
    """The one virtual model that `VARIANT_MODELS` asks for, or the row itself."""
    catalog = Catalog.from_rows([{**ROW, **row}]).with_presets(presets)
    entries = Published(catalog, Publishing("*", valve)).entries
    return next(entry for entry in entries if entry.ref.api_id == (model_id or valve or row.get("id", ROW["id"])))


def fields(entry: Entry, direct_files: bool = False, icon: str | None = None, prefix: str = "") -> dict[str, Any]:
    valves = Settings(NAME_PREFIX=prefix, DIRECT_FILES="supported" if direct_files else "off")
    return row_fields(entry, valves, icon)


def new_row(entry: Entry, direct_files: bool = False, icon: str | None = None, prefix: str = "") -> dict[str, Any]:
    """Name and `meta` of a row that was not there, the marks left out."""
    made = merge_row(fields(entry, direct_files, icon, prefix), "", {})
    assert made
    meta = {key: value for key, value in made[1].items() if key != "openrouter_pipe" and value is not None}
    return {"name": made[0], **meta}


def facts(**row: Any) -> str:
    return str(new_row(entry_of(**row)).get("description", "")).partition("\n")[0]


class Stored:
    """A row as it lies in the database, and what the next syncs make of it."""

    def __init__(self, **row: Any) -> None:
        self.name, self.meta, self.writes = "", {}, 0
        self.sync(**row)
        self.writes = 0

    def sync(self, direct_files: bool = False, icon: str | None = None, **row: Any) -> Stored:
        before = copy.deepcopy(self.meta)
        change = merge_row(fields(entry_of(**row), direct_files, icon), self.name, self.meta)
        assert self.meta == before, "what was read is not changed in place"
        if change:
            self.name, self.meta = change
            self.writes += 1
        return self

    def edit(self, **meta: Any) -> None:
        """Save it as Open WebUI's editor does."""
        capabilities = {**FILLED_IN, **self.meta["capabilities"], **meta.pop("capabilities", {})}
        self.meta = {**copy.deepcopy(self.meta), "voice_avatar": None, "capabilities": capabilities, **meta}


# What a row holds.


def test_a_row_tells_what_the_model_is() -> None:
    assert new_row(entry_of(), prefix="OR: ", icon="data:image/png;base64,AA==") == {
        "name": "OR: OpenAI: GPT-4o",
        "description": "128K context · $2.50 in, $10 out per million tokens\nA flagship.",
        "profile_image_url": "data:image/png;base64,AA==",
        "capabilities": {"usage": True, "vision": True},
    }


@pytest.mark.parametrize(
    ("valve", "tags", "name"),
    [
        ("openai/gpt-4o:nitro", ["Nitro"], "OpenAI: GPT-4o Nitro"),
        ("openai/gpt-4o:free", ["Free"], "OpenAI: GPT-4o Free"),
        ("openai/gpt-4o:nitro@preset/mail", ["Nitro", "Preset"], "OpenAI: GPT-4o Nitro Preset: mail"),
        ("@preset/mail", ["Preset"], "Preset: mail"),
    ],
)
def test_a_virtual_model_inherits_and_is_tagged(valve: str, tags: list[str], name: str) -> None:
    presets = (Preset("mail", "mail", "Writes mail.", ROW["id"]),)
    row = new_row(entry_of(valve, presets=presets))
    assert row["name"] == name
    assert [tag["name"] for tag in row["tags"]] == tags
    assert row["capabilities"] == {"usage": True, "vision": True}
    price = "free" if "Free" in tags else "$2.50 in, $10 out per million tokens"
    assert row["description"] == f"128K context · {price}\n{'Writes mail.' if 'Preset' in tags else 'A flagship.'}"
    assert author_of(entry_of(valve, presets=presets)) == "openai"


@pytest.mark.parametrize(
    ("row_id", "author"), [("~anthropic/claude", "anthropic"), ("gpt-4o", "openrouter"), ("a/b/c", "a")]
)
def test_the_author_whose_icon_it_is(row_id: str, author: str) -> None:
    assert author_of(entry_of(id=row_id)) == author


def test_nothing_is_claimed_of_a_model_that_nothing_is_known_of() -> None:
    row = new_row(entry_of("@preset/mail", presets=(Preset("mail", "mail"),)), direct_files=True)
    assert row == {"name": "Preset: mail", "tags": [{"name": "Preset"}], "capabilities": {"usage": True}}
    assert author_of(entry_of("@preset/mail")) == "openrouter"
    unknown = new_row(entry_of(description=None, context_length=None, pricing={}, supported_parameters=None))
    assert unknown == {"name": "OpenAI: GPT-4o", "capabilities": {"usage": True, "vision": True}}


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"context_length": 1_048_576}, "1M context · $2.50 in, $10 out per million tokens"),
        ({"context_length": 1_500_000, "pricing": {}}, "1.5M context"),
        ({"context_length": 999_999, "pricing": {}}, "1M context"),
        ({"context_length": 4096, "pricing": {"prompt": "0", "completion": "0"}}, "4K context · free"),
        ({"context_length": None, "pricing": {"prompt": "-1", "completion": "-1"}}, "price varies"),
        ({"context_length": None, "pricing": {"prompt": "0.000000075"}}, "$0.075 in per million tokens"),
        ({"pricing": {"completion": 0.0015}}, "128K context · $1500 out per million tokens"),
        ({"context_length": 10**12, "pricing": {"prompt": "1e308"}}, "1e+06M context · $"),
    ],
)
def test_context_and_price_are_one_plain_line(row: dict[str, Any], line: str) -> None:
    text = facts(**row)
    assert text.endswith(line) if line.startswith("$") else text.startswith(line)


def test_abilities_follow_the_catalog() -> None:
    text_only = entry_of(architecture={"input_modalities": ["text"]}, supported_parameters=["temperature"])
    assert new_row(text_only, direct_files=True)["capabilities"] == {
        "usage": True,
        "vision": False,
        "builtin_tools": False,
    }
    router = entry_of(id="openrouter/auto", supported_parameters=[], architecture={})
    assert new_row(router)["capabilities"] == {"usage": True}
    direct = new_row(entry_of(), direct_files=True)
    assert direct["capabilities"] == {"usage": True, "vision": True, "file_context": False}
    assert direct["builtinTools"] == {"files": False}


def test_a_description_can_be_stored_and_comes_back_as_it_is() -> None:
    text = new_row(entry_of(description="One\r\ntwo \x00 half\u2028" + "x" * 9000))["description"]
    assert text.encode("utf-8").decode() == text
    assert "One\ntwo" in text
    assert "\0" not in text
    assert len(text) < 6000


# What happens to it.


def test_the_same_catalog_writes_nothing() -> None:
    stored = Stored()
    stored.edit()
    assert stored.sync().writes == 0


@pytest.mark.parametrize(
    "change",
    [
        {"description": "Mine."},
        {"description": None},
        {"profile_image_url": "/static/favicon.png"},
        {"tags": [{"name": "Team"}]},
        {"capabilities": {"vision": False}},
        {"capabilities": {"builtin_tools": False}},
        {"capabilities": {"usage": False}},
    ],
)
def test_what_an_admin_changes_stays_and_the_rest_follows_the_catalog(change: dict[str, Any]) -> None:
    stored = Stored(icon="data:image/png;base64,AA==", valve="openai/gpt-4o:nitro")
    stored.edit(**change)
    assert stored.sync(icon="data:image/png;base64,AA==", valve="openai/gpt-4o:nitro").writes == 0
    new = {
        "name": "OpenAI: GPT-4o 2",
        "description": "Other.",
        "supported_parameters": ["top_p"],
        "architecture": {"input_modalities": ["text"]},
        "icon": "data:image/png;base64,BB==",
    }
    for _ in range(2):
        stored.sync(valve="openai/gpt-4o:nitro", **new)
    assert stored.writes == 1
    expected = new_row(entry_of("openai/gpt-4o:nitro", **{k: v for k, v in new.items() if k != "icon"}))
    expected = {**expected, "profile_image_url": "data:image/png;base64,BB=="}
    expected["capabilities"] = {**FILLED_IN, **expected["capabilities"], **change.get("capabilities", {})}
    expected |= {key: value for key, value in change.items() if key != "capabilities"}
    assert {key: stored.meta[key] for key in expected if key != "name"} == {
        key: value for key, value in expected.items() if key != "name"
    }
    assert stored.name == "OpenAI: GPT-4o 2 Nitro"


def test_a_name_that_an_admin_gave_stays_even_when_the_catalog_has_it_for_a_while() -> None:
    stored = Stored()
    stored.name = "Our model"
    for name in ("OpenAI: GPT-4o", "Our model", "OpenAI: GPT-4o new"):
        stored.sync(name=name)
        assert stored.name == "Our model"
    assert stored.writes == 0


def test_a_field_that_an_admin_puts_back_is_the_pipes_again() -> None:
    stored = Stored()
    stored.edit(description="Mine.")
    stored.sync(description="Newer.")
    stored.edit(description="128K context · $2.50 in, $10 out per million tokens\nA flagship.")
    assert stored.sync(description="Newer.").meta["description"].endswith("Newer.")


def test_what_a_valve_switched_on_goes_when_it_is_off_again() -> None:
    stored = Stored(direct_files=True, icon="data:image/png;base64,AA==")
    stored.edit()
    stored.sync()
    assert "builtinTools" not in stored.meta, "an empty one would hide the admin's defaults, None would break chats"
    assert stored.meta.get("profile_image_url") is None
    assert "file_context" not in stored.meta["capabilities"]
    stored.edit()
    assert stored.sync(direct_files=True).meta["capabilities"]["file_context"] is False


def test_what_the_pipe_does_not_know_of_is_kept() -> None:
    stored = Stored()
    stored.edit(hidden=True, toolIds=["clock"], builtinTools={"notes": False})
    stored.sync(direct_files=True, description="Other.")
    assert (stored.meta["hidden"], stored.meta["toolIds"]) == (True, ["clock"])
    assert stored.meta["builtinTools"] == {"notes": False, "files": False}
    assert stored.sync().meta["builtinTools"] == {"notes": False}


def test_in_a_row_of_somebody_else_only_what_is_empty_is_filled() -> None:
    stored = Stored()
    stored.name = "Mine"
    stored.meta = {"description": "Mine.", "tags": [], "capabilities": {"vision": True, "builtin_tools": True}}
    for _ in range(2):
        stored.sync(architecture={"input_modalities": ["text"]}, supported_parameters=["top_p"])
    assert stored.writes == 1
    assert (stored.name, stored.meta["description"]) == ("Mine", "Mine.")
    assert stored.meta["capabilities"] == {"vision": True, "builtin_tools": True, "usage": True}


def test_a_bare_row_that_sharing_a_model_made_is_taken_over() -> None:
    stored = Stored()
    stored.name, stored.meta = "OpenAI: GPT-4o", {"description": None, "capabilities": None}
    stored.sync().sync(name="OpenAI: GPT-4o (new)", description="New.")
    assert stored.name == "OpenAI: GPT-4o (new)"
    assert stored.meta["description"].endswith("\nNew.")


@pytest.mark.parametrize(
    "marks", [None, "x", [], {}, {"description": 7, "": None, "a.b.c": "x", "capabilities.": True}]
)
def test_hostile_marks_harm_nothing(marks: object) -> None:
    stored = Stored()
    stored.edit(openrouter_pipe=marks, capabilities={}, tags="x", builtinTools=[1])
    for _ in range(3):
        stored.sync(direct_files=True, description="Other.")
    assert stored.writes <= 1
