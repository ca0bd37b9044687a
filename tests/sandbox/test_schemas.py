"""The extraction of the strict schemas, and recorded requests against the result where recordings are at hand."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import request_schemas

from openrouter_sandbox.calls import SCHEMAS
from openrouter_sandbox.validation import validator

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "fixtures"

TEXT = {"type": "string"}
SCHEMA = {
    "A": {
        "properties": {
            "kind": TEXT | {"description": "gone", "x-thing": 1},
            "part": {"$ref": "#/components/schemas/Part"},
            "wide": {
                "allOf": [{"$ref": "#/components/schemas/Part"}, {"properties": {"more": TEXT}, "type": "object"}]
            },
            "either": {"anyOf": [{"$ref": "#/components/schemas/Part"}, {"type": "null"}]},
            "list": {"items": {"$ref": "#/components/schemas/Part"}, "type": "array"},
            "free": {"additionalProperties": {}, "type": "object"},
            "description": TEXT,
        },
        "type": "object",
    },
    "Part": {"properties": {"name": TEXT}, "type": "object"},
    "Unused": {"type": "object"},
}


@pytest.fixture(scope="module")
def small():
    schemas = request_schemas.stripped(request_schemas.closure(SCHEMA, ("A",)), names=True)
    assert list(schemas) == ["A", "Part"]
    definitions = {key: request_schemas.closed(item, schemas, at_use=False) for key, item in schemas.items()}
    assert "gone" not in str(definitions)
    root = {"$ref": "#/$defs/A", "unevaluatedProperties": False, "$defs": definitions}
    return jsonschema_rs.Draft202012Validator(root)


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ({"kind": "x", "description": "a property by this name stays"}, True),
        ({"description": 1}, False),
        ({"kidn": "x"}, False),
        ({"part": {"name": "x"}}, True),
        ({"part": {"nmae": "x"}}, False),
        ({"wide": {"name": "x", "more": "y"}}, True),
        ({"wide": {"name": "x", "mroe": "y"}}, False),
        ({"either": None}, True),
        ({"either": {"nmae": "x"}}, False),
        ({"list": [{"name": "x"}]}, True),
        ({"list": [{"nmae": "x"}]}, False),
        ({"free": {"anything": 1}}, True),
    ],
)
def test_objects_are_closed_where_they_are_used(small, value, valid):
    assert small.is_valid(value) is valid


def test_the_packaged_schemas_are_compact_and_complete():
    path = Path(request_schemas.TARGET)
    assert path.stat().st_size < 250_000
    definitions = json.loads(path.read_text(encoding="utf-8"))["$defs"]
    assert set(SCHEMAS.values()) <= set(definitions)
    assert "description" not in definitions["ProviderPreferences"]


FUNCTION = {"name": "now", "description": "x", "parameters": {"type": "object"}, "strict": True}
CHAT: dict[str, Any] = {
    "model": "a/b",
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "x"},
                {"type": "image_url", "image_url": {"url": "u", "detail": "auto"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:"}},
                {"type": "input_audio", "input_audio": {"data": "AA", "format": "mp3"}},
                {"type": "video_url", "video_url": {"url": "u"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "reasoning_details": [{"type": "reasoning.text", "text": "x", "signature": "s", "index": 0}],
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "now", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "1"},
    ],
    "tools": [{"type": "function", "function": FUNCTION}, {"type": "openrouter:web_search", "parameters": {}}],
    "tool_choice": {"type": "function", "function": {"name": "now"}},
    "provider": {"sort": {"by": "price", "partition": "none"}, "max_price": {"prompt": 1}, "only": ["a"]},
    "plugins": [{"id": "web", "max_results": 3}, {"id": "file-parser", "pdf": {"engine": "native"}}],
    "reasoning": {"effort": "low", "exclude": True},
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
    "stream_options": {"include_usage": True},
    "usage": {"include": True},
    "audio": {"voice": "alloy", "format": "mp3"},
    "cache_control": {"type": "ephemeral"},
}
RESPONSES: dict[str, Any] = {
    "model": "a/b",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "x"},
                {"type": "input_image", "image_url": "u", "detail": "auto"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:"},
                {"type": "input_audio", "input_audio": {"data": "AA", "format": "mp3"}},
                {"type": "input_video", "video_url": "u"},
            ],
        },
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "x"}], "encrypted_content": "e"},
        {"type": "function_call", "id": "f", "call_id": "c", "name": "now", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "1"}]},
        {
            "type": "message",
            "role": "assistant",
            "id": "m",
            "status": "completed",
            "content": [{"type": "output_text", "text": "x", "annotations": []}],
        },
    ],
    "tools": [{"type": "function", **FUNCTION}, {"type": "openrouter:web_search", "parameters": {"max_results": 1}}],
    "tool_choice": {"type": "function", "name": "now"},
    "text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "provider": {"sort": {"by": "price", "partition": "none"}, "max_price": {"prompt": 1}},
    "plugins": [{"id": "context-compression", "enabled": True}],
    "stop_server_tools_when": [{"type": "step_count_is", "step_count": 3}],
    "cache_control": {"type": "ephemeral"},
}
# JSON Schemas inside a request are anyone's.
OPEN_KEYS = ("parameters", "schema")


def objects(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a body that has a fixed set of keys, with its path."""
    if isinstance(node, dict):
        yield path, node
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if key not in OPEN_KEYS or (isinstance(node, dict) and str(node.get("type")).startswith("openrouter:")):
            yield from objects(value, f"{path}/{key}")


@pytest.mark.parametrize(("schema", "body"), [("ChatRequest", CHAT), ("ResponsesRequest", RESPONSES)])
def test_one_unknown_key_anywhere_is_refused(schema, body):
    assert [error.message for error in validator(schema).iter_errors(body)] == []
    paths = [path for path, _ in objects(body)]
    assert len(paths) > 20
    for number, path in enumerate(paths):
        spoilt = copy.deepcopy(body)
        [item for _, item in objects(spoilt)][number]["tpyo"] = 1
        assert not validator(schema).is_valid(spoilt), path


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="no recordings beside the checkout")
def test_recorded_requests_are_accepted():
    paths = sorted(
        path
        for folder in ("real_chat", "real_responses", "real_errors")
        for path in RECORDINGS.glob(f"{folder}/*.request.json")
    )
    assert paths
    for path in paths:
        body = json.loads(path.read_text(encoding="utf-8"))
        schema = "ChatRequest" if "messages" in body else "ResponsesRequest"
        assert [error.message for error in validator(schema).iter_errors(body)] == [], path.name
