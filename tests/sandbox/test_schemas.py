"""The extraction of the strict schemas, and recorded requests against the result where recordings are at hand."""

from __future__ import annotations

import json
from pathlib import Path

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
