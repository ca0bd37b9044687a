"""Variants and presets as a person meets them: the tables of the spec (1 and 4) and the examples of the seed document."""

from __future__ import annotations

from typing import Any

import pytest

from openrouter_pipe.catalog import Catalog, Preset
from openrouter_pipe.model_ref import ModelRef
from openrouter_pipe.virtual_models import Entry, Published, Publishing

TOOLS = ["tools", "tool_choice", "temperature"]


def row(model_id: str, name: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": model_id,
        "name": name,
        "pricing": {"prompt": "0.000001", "completion": "0.000002"},
        "supported_parameters": TOOLS,
        **fields,
    }


GPT_4O = row(
    "openai/gpt-4o",
    "OpenAI: GPT-4o",
    description="GPT-4o is a model.",
    context_length=128000,
    architecture={"input_modalities": ["text", "image", "file"], "output_modalities": ["text"], "tokenizer": "GPT"},
)
FREE = {"pricing": {"prompt": "0", "completion": "0"}}
ROWS = [
    GPT_4O,
    row("openai/gpt-4o-2024-11-20", "OpenAI: GPT-4o (2024-11-20)"),
    row("openai/gpt-5.2", "OpenAI: GPT-5.2"),
    row("openai/gpt-oss-120b", "OpenAI: gpt-oss-120b"),
    row("anthropic/claude-opus", "Anthropic: Claude Opus"),
    row("anthropic/claude-sonnet-4", "Anthropic: Claude Sonnet 4"),
    row("anthropic/claude-sonnet-4.5", "Anthropic: Claude Sonnet 4.5"),
    row("~anthropic/claude-sonnet-latest", "Anthropic: Claude Sonnet Latest"),
    row("deepseek/deepseek-r1", "DeepSeek: R1"),
    row("deepseek/deepseek-v3.1-terminus", "DeepSeek: DeepSeek V3.1 Terminus"),
    row("meta-llama/llama-3.2-1b-instruct", "Meta: Llama 3.2 1B Instruct", supported_parameters=["temperature"]),
    row("meta-llama/llama-3.2-3b-instruct", "Meta: Llama 3.2 3B Instruct", supported_parameters=["temperature"]),
    row("meta-llama/llama-3.2-3b-instruct:free", "Meta: Llama 3.2 3B Instruct (free)", supported_parameters=[], **FREE),
    row("moonshotai/kimi-k2-0905", "MoonshotAI: Kimi K2 0905"),
    row("qwen/qwen-2.5-7b-instruct", "Qwen: Qwen2.5 7B Instruct", supported_parameters=["temperature"]),
    row("x/y", "X: Y"),
    row("x/y:free", "X: Y (free)", context_length=4096, **FREE),
    row("z/only:free", "Z: Only (free)", **FREE),
]
CATALOG = Catalog.from_rows(ROWS)


def shown(variant_models: str, model_id: str = "*", catalog: Catalog = CATALOG, **valves: str) -> Published:
    return Published(catalog, Publishing(model_id, variant_models, **valves))


def added(published: Published) -> dict[str, str]:
    """The names of the virtual models by their id in Open WebUI, in the order of the list."""
    return {
        entry.webui_id: entry.name for entry in published.entries if entry.ref.api_id not in published.catalog.models
    }


def only(published: Published) -> Entry:
    (entry,) = (entry for entry in published.entries if entry.ref.api_id not in published.catalog.models)
    return entry


# The five tests that the seed document names.


def test_expand_single_variant() -> None:
    published = shown("openai/gpt-4o:exacto")
    assert added(published) == {"openai.gpt-4o:exacto": "OpenAI: GPT-4o Exacto"}
    assert published.problems == ()
    assert len(published.entries) == len(ROWS) + 1


def test_expand_multiple_variants() -> None:
    published = shown("openai/gpt-4o:exacto,openai/gpt-4o:nitro,anthropic/claude-opus:exacto")
    names = [entry.name for entry in published.entries]
    at = names.index("OpenAI: GPT-4o")
    assert names[at : at + 3] == ["OpenAI: GPT-4o", "OpenAI: GPT-4o Exacto", "OpenAI: GPT-4o Nitro"]
    at = names.index("Anthropic: Claude Opus")
    assert names[at + 1] == "Anthropic: Claude Opus Exacto"
    assert len(added(published)) == 3


@pytest.mark.parametrize("tag", ["exacto", "Exacto", "EXACTO", "eXACTo"])
def test_expand_variant_capitalization(tag: str) -> None:
    assert added(shown(f"openai/gpt-4o:{tag}")) == {"openai.gpt-4o:exacto": "OpenAI: GPT-4o Exacto"}


@pytest.mark.parametrize("tag", ["exacto", "nitro", "floor", "online", "free", "thinking", "extended", "beta", "fast"])
def test_api_model_id_with_variant(tag: str) -> None:
    entry = only(shown(f"openai/gpt-4o:{tag}"))
    assert entry.webui_id == f"openai.gpt-4o:{tag}"
    assert entry.ref.api_id == f"openai/gpt-4o:{tag}"
    # The id alone is enough: a worker that has no catalog yet sends the same.
    assert ModelRef.from_webui(entry.webui_id).api_id == f"openai/gpt-4o:{tag}"


@pytest.mark.parametrize("suffix", [":exacto", ":nitro", "@preset/email-copywriter", ":nitro@preset/x", ":free"])
def test_expand_variant_preserves_metadata(suffix: str) -> None:
    model = only(shown(f"openai/gpt-4o{suffix}")).model
    assert model is not None
    assert model is CATALOG.models["openai/gpt-4o"]
    assert only(shown(f"openai/gpt-4o{suffix}")).description == "GPT-4o is a model."
    assert model.context_length == 128000
    assert model.input_modalities == ("text", "image", "file")
    assert model.pricing == {"prompt": "0.000001", "completion": "0.000002"}
    assert model.has_tools


# Spec 1: the three forms.


@pytest.mark.parametrize(
    ("sent", "webui_id", "name"),
    [
        ("openai/gpt-4o:nitro", "openai.gpt-4o:nitro", "OpenAI: GPT-4o Nitro"),
        (
            "openai/gpt-4o@preset/email-copywriter",
            "openai.gpt-4o:preset/email-copywriter",
            "OpenAI: GPT-4o Preset: email-copywriter",
        ),
        ("openai/gpt-4o:nitro@preset/x", "openai.gpt-4o:nitro:preset/x", "OpenAI: GPT-4o Nitro Preset: x"),
        ("@preset/x", "preset/x", "Preset: x"),
        # A name is the describing row's name plus what that row does not already carry.
        ("x/y:free:nitro", "x.y:free:nitro", "X: Y (free) Nitro"),
        ("x/y:free:nitro@preset/Q", "x.y:free:nitro:preset/Q", "X: Y (free) Nitro Preset: Q"),
        ("z/only:free:floor", "z.only:free:floor", "Z: Only (free) Floor"),
        ("openai/gpt-4o:free:nitro", "openai.gpt-4o:free:nitro", "OpenAI: GPT-4o Free Nitro"),
        ("openai/gpt-4o:nitro:exacto", "openai.gpt-4o:nitro:exacto", "OpenAI: GPT-4o Nitro Exacto"),
        ("openai/gpt-4o:exacto:nitro", "openai.gpt-4o:exacto:nitro", "OpenAI: GPT-4o Exacto Nitro"),
        (
            "openai/gpt-4o-2024-11-20:nitro",
            "openai.gpt-4o-2024-11-20:nitro",
            "OpenAI: GPT-4o (2024-11-20) Nitro",
        ),
        (
            "~anthropic/claude-sonnet-latest:nitro",
            "~anthropic.claude-sonnet-latest:nitro",
            "Anthropic: Claude Sonnet Latest Nitro",
        ),
    ],
)
def test_three_forms_of_one_thing(sent: str, webui_id: str, name: str) -> None:
    entry = only(shown(sent))
    assert (entry.ref.api_id, entry.webui_id, entry.name) == (sent, webui_id, name)


def test_a_catalog_model_keeps_its_name() -> None:
    entries = {entry.webui_id: (entry.ref.api_id, entry.name) for entry in shown("").entries}
    assert entries["openai.gpt-4o"] == ("openai/gpt-4o", "OpenAI: GPT-4o")
    assert entries["openai.gpt-4o-2024-11-20"] == ("openai/gpt-4o-2024-11-20", "OpenAI: GPT-4o (2024-11-20)")
    assert entries["x.y:free"] == ("x/y:free", "X: Y (free)")


@pytest.mark.parametrize(
    ("entry", "described_by"),
    [
        ("x/y:nitro", "x/y"),
        ("x/y:free:nitro", "x/y:free"),
        ("x/y:nitro:free", "x/y:free"),
        ("x/y:free@preset/p", "x/y:free"),
        ("x/y:beta", "x/y"),
        ("z/only:free:exacto", "z/only:free"),
    ],
)
def test_the_row_that_describes_a_virtual_model(entry: str, described_by: str) -> None:
    assert only(shown(entry)).model is CATALOG.models[described_by]


# Spec 4: how entries are written.


@pytest.mark.parametrize(
    "text",
    [
        "openai/gpt-4o:nitro",
        " openai / gpt-4o : nitro ",
        "OpenAI/GPT-4O:nitro",
        "openai.gpt-4o:nitro",
        "OPENAI.GPT-4o:NITRO",
        "openai/gpt-4o:nitro,",
        ";;\n,openai/gpt-4o:nitro;\r\n",
        "# mine\nopenai/gpt-4o:nitro # fast, good; openai/gpt-4o:floor",
        "openai/gpt-4o:nitro,openai/gpt-4o:nitro;openai.gpt-4o:Nitro\nopenai/gpt-4o:nitro:nitro",
    ],
)
def test_one_entry_written_in_many_ways(text: str) -> None:
    published = shown(text)
    assert added(published) == {"openai.gpt-4o:nitro": "OpenAI: GPT-4o Nitro"}
    assert published.problems == ()


@pytest.mark.parametrize("separator", [",", ";", "\n", " , ", "\r\n"])
def test_the_specs_own_example(separator: str) -> None:
    entries = (
        "openai/gpt-4o:exacto",
        "anthropic/claude-sonnet-4.5@preset/code-reviewer",
        "x/y:free:nitro",
        "@preset/support",
    )
    published = shown(separator.join(entries))
    assert published.problems == ()
    assert added(published) == {
        "anthropic.claude-sonnet-4.5:preset/code-reviewer": "Anthropic: Claude Sonnet 4.5 Preset: code-reviewer",
        "openai.gpt-4o:exacto": "OpenAI: GPT-4o Exacto",
        "x.y:free:nitro": "X: Y (free) Nitro",
        "preset/support": "Preset: support",
    }
    assert published.entries[-1].webui_id == "preset/support"


PRESETS = (
    Preset("mail", "Mail writer", "Writes mail.", "openai/gpt-4o"),
    Preset("code", "Code reviewer", "", "anthropic/claude-sonnet-4"),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "anthropic/*:nitro",
            ["anthropic.claude-opus:nitro", "anthropic.claude-sonnet-4:nitro", "anthropic.claude-sonnet-4.5:nitro"],
        ),
        ("*:free", []),
        ("x/*:free:nitro", ["x.y:free:nitro"]),
        ("x/*:nitro", ["x.y:nitro", "x.y:free:nitro"]),
        ("openai/gpt-4o@preset/*", ["openai.gpt-4o:preset/code", "openai.gpt-4o:preset/mail"]),
        ("@preset/*", ["preset/code", "preset/mail"]),
        ("x/*:free@preset/*", ["x.y:free:preset/code", "x.y:free:preset/mail"]),
        ("openai/gpt-5.?:floor", ["openai.gpt-5.2:floor"]),
    ],
)
def test_wildcards(text: str, expected: list[str]) -> None:
    published = shown(text, catalog=CATALOG.with_presets(PRESETS))
    assert list(added(published)) == expected
    assert published.problems == ()


# Seed 003, section by section.

LLAMA, QWEN = "meta-llama/llama-3.2-3b-instruct", "qwen/qwen-2.5-7b-instruct"


@pytest.mark.parametrize(
    ("variant_models", "expected"),
    [
        # Configuration; Research
        (
            "openai/gpt-4o:exacto,anthropic/claude-sonnet-4.5:extended,deepseek/deepseek-r1:thinking",
            ["Anthropic: Claude Sonnet 4.5 Extended", "DeepSeek: R1 Thinking", "OpenAI: GPT-4o Exacto"],
        ),
        # Development and testing: what the catalog has already is not added again
        (f"{LLAMA}:free,{QWEN}:free", ["Qwen: Qwen2.5 7B Instruct Free"]),
        # Production
        ("openai/gpt-4o:nitro,anthropic/claude-opus:exacto", ["Anthropic: Claude Opus Exacto", "OpenAI: GPT-4o Nitro"]),
        # Single tags
        ("openai/gpt-oss-120b:exacto", ["OpenAI: gpt-oss-120b Exacto"]),
        ("openai/gpt-5.2:online", ["OpenAI: GPT-5.2 Online"]),
        ("anthropic/claude-opus:nitro", ["Anthropic: Claude Opus Nitro"]),
        # Multi-variant strategy
        (
            "openai/gpt-4o:exacto,openai/gpt-4o:nitro,openai/gpt-4o:online",
            ["OpenAI: GPT-4o Exacto", "OpenAI: GPT-4o Nitro", "OpenAI: GPT-4o Online"],
        ),
        # Presets
        (
            "openai/gpt-4o@preset/email-copywriter,anthropic/claude-sonnet-4@preset/code-reviewer",
            ["Anthropic: Claude Sonnet 4 Preset: code-reviewer", "OpenAI: GPT-4o Preset: email-copywriter"],
        ),
        # Mixing variants and presets
        (
            "openai/gpt-4o:nitro,openai/gpt-4o@preset/email-copywriter,anthropic/claude-opus:exacto",
            [
                "Anthropic: Claude Opus Exacto",
                "OpenAI: GPT-4o Nitro",
                "OpenAI: GPT-4o Preset: email-copywriter",
            ],
        ),
        # "Not supported" there, and supported now
        ("@preset/email-copywriter", ["Preset: email-copywriter"]),
        ("openai/gpt-4o:exacto:nitro", ["OpenAI: GPT-4o Exacto Nitro"]),
        ("*:free", []),
        # Malformed
        ("openai/gpt-4o-exacto", []),
        ("nonexistent/model:exacto", []),
    ],
)
def test_examples_of_the_seed(variant_models: str, expected: list[str]) -> None:
    assert list(added(shown(variant_models)).values()) == expected


@pytest.mark.parametrize(
    ("model_id", "visible"),
    [
        ("*", ["OpenAI: GPT-4o", "OpenAI: GPT-4o Exacto"]),
        ("openai/gpt-4o,anthropic/claude-opus", ["OpenAI: GPT-4o", "OpenAI: GPT-4o Exacto"]),
        ("gpt*", ["OpenAI: GPT-4o", "OpenAI: GPT-4o Exacto"]),
        ("claude*", []),
    ],
)
def test_selecting_a_base_brings_its_variants(model_id: str, visible: list[str]) -> None:
    names = [entry.name for entry in shown("openai/gpt-4o:exacto", model_id).entries]
    assert [name for name in names if name in ("OpenAI: GPT-4o", "OpenAI: GPT-4o Exacto")] == visible


def test_free_variants_of_all_llama_models() -> None:
    valve = f"{LLAMA}:free,meta-llama/llama-3.2-1b-instruct:free"
    assert [entry.webui_id for entry in shown(valve, "meta-llama/*").entries] == [
        "meta-llama.llama-3.2-1b-instruct",
        "meta-llama.llama-3.2-1b-instruct:free",
        "meta-llama.llama-3.2-3b-instruct",
        "meta-llama.llama-3.2-3b-instruct:free",
    ]


def test_only_models_with_tools() -> None:
    valve = f"moonshotai/kimi-k2-0905:exacto,deepseek/deepseek-v3.1-terminus:exacto,{LLAMA}:exacto"
    published = shown(valve, tools_filter="only")
    assert list(added(published).values()) == [
        "DeepSeek: DeepSeek V3.1 Terminus Exacto",
        "MoonshotAI: Kimi K2 0905 Exacto",
    ]
    assert not [entry for entry in published.entries if entry.model is None or not entry.model.has_tools]


def test_free_variants_pass_the_filter_for_free_models() -> None:
    published = shown(f"{QWEN}:free,{QWEN}:nitro,x/y:free:nitro", free_filter="only")
    assert {entry.webui_id for entry in published.entries} == {
        "qwen.qwen-2.5-7b-instruct:free",
        "x.y:free",
        "x.y:free:nitro",
        "z.only:free",
        "meta-llama.llama-3.2-3b-instruct:free",
    }


def test_the_log_says_which_base_is_not_found() -> None:
    (problem,) = shown("nonexistent/model:exacto").problems
    assert "Variant model base not found: nonexistent/model:exacto" in str(problem)


def test_a_missing_colon_is_explained() -> None:
    (problem,) = shown("openai/gpt-4o-exacto").problems
    assert "missing colon" in problem.reason
    assert "openai/gpt-4o:exacto" in problem.hint


def test_a_variant_whose_base_is_not_chosen_is_explained() -> None:
    (problem,) = shown("openai/gpt-4o:exacto", "claude*").problems
    assert "MODEL_ID" in problem.reason
    assert "openai/gpt-4o" in problem.hint
