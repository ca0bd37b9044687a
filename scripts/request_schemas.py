"""Extract strict request schemas from OpenRouter's OpenAPI document.

    python scripts/request_schemas.py openapi.yaml [target.json]

The target (default: the sandbox's `request_schemas.json`) becomes `{"$defs": {name: schema}}` with everything that
`ResponsesRequest` and `ChatRequest` reach. OpenRouter's own document allows unknown keys nearly everywhere, so a
misspelt parameter would pass. Here every object is closed where it is *used*: `unevaluatedProperties: false` beside a
`$ref` or an `allOf` sees the keys of all members, and an object that says something about additional properties itself
keeps its own rule.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

Schema = dict[str, Any]

ROOTS = ("ResponsesRequest", "ChatRequest")
TARGET = Path(__file__).parents[1] / "src" / "openrouter_sandbox" / "request_schemas.json"
REF_PREFIX = "#/components/schemas/"
DROPPED = {"description", "example", "examples", "discriminator", "deprecated", "default", "format"}

BOOLEAN: Schema = {"type": ["boolean", "null"]}
INTEGER: Schema = {"type": ["integer", "null"]}
NUMBER_TEXT: Schema = {"type": ["string", "number"]}
OPEN_OBJECT: Schema = {"type": "object", "additionalProperties": {}}

# Keys that the documentation or recorded traffic uses and the document leaves out: where they go -> what they hold.
ADDED: dict[str, dict[str, Schema]] = {
    "ChatRequest/properties": {
        "audio": {"type": "object", "properties": {"voice": {"type": "string"}, "format": {"type": "string"}}},
        "include_reasoning": BOOLEAN,
        "max_tool_calls": INTEGER,
        "n": INTEGER,
        "preset": {"type": "string"},
        "prompt": {"type": "string"},
        "structured_outputs": BOOLEAN,
        "transforms": {"type": "array", "items": {"type": "string"}},
        "usage": {"type": "object", "properties": {"include": {"type": "boolean"}}},
        "verbosity": {"enum": ["low", "medium", "high", "xhigh", "max", None]},
        "web_search_options": OPEN_OBJECT,
        "x_search_filter": OPEN_OBJECT,
    },
    "ChatRequest/properties/reasoning/properties": {"enabled": BOOLEAN, "exclude": BOOLEAN, "max_tokens": INTEGER},
    "ChatContentImage/properties": {"cache_control": {"$ref": f"{REF_PREFIX}ChatContentCacheControl"}},
    "ChatFunctionTool/anyOf/0/properties": {"eager_input_streaming": BOOLEAN},
    "ResponsesRequest/properties": {"x_search_filter": OPEN_OBJECT},
    # Typed as strings only, while the provider-selection page sends numbers.
    "ProviderPreferences/properties/max_price/properties": dict.fromkeys(
        ("prompt", "completion", "request", "image", "audio"), NUMBER_TEXT
    ),
}

# The Responses API page says that an assistant message in array form needs its status; the document does not.
REQUIRED = {"OutputMessage": ["status"]}


def references(node: Any) -> Iterator[str]:
    """Names of the schemas that a node refers to."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value.removeprefix(REF_PREFIX)
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def closure(schemas: dict[str, Schema], roots: tuple[str, ...]) -> dict[str, Schema]:
    """The root schemas and all that they reach, sorted by name."""
    found: dict[str, Schema] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = schemas[name]
            waiting.extend(references(schemas[name]))
    return dict(sorted(found.items()))


def stripped(node: Any, *, names: bool = False) -> Any:
    """Without what does not constrain; `names`: the keys of this dict are property names, not keywords."""
    if isinstance(node, list):
        return [stripped(value) for value in node]
    if not isinstance(node, dict):
        return node
    return {
        key: stripped(value, names=key == "properties" and not names)
        for key, value in node.items()
        if names or not (key in DROPPED or key.startswith("x-"))
    }


def amended(schemas: dict[str, Schema]) -> dict[str, Schema]:
    """With the keys of ADDED and REQUIRED put in."""
    for place, keys in ADDED.items():
        node: Any = schemas
        for step in place.split("/"):
            node = node[int(step)] if isinstance(node, list) else node[step]
        node.update(keys)
    for name, required in REQUIRED.items():
        schemas[name]["required"] = [*schemas[name]["required"], *required]
    return schemas


def is_closable(node: Schema, schemas: dict[str, Schema]) -> bool:
    """Whether this describes one object with named keys and no rule of its own about other keys."""
    if "$ref" in node:
        return is_closable(schemas[node["$ref"].removeprefix(REF_PREFIX)], schemas)
    if "additionalProperties" in node:
        return False
    members = node.get("allOf", [])
    if any("additionalProperties" in resolved(member, schemas) for member in members):
        return False
    return "properties" in node or any(is_closable(member, schemas) for member in members)


def resolved(node: Schema, schemas: dict[str, Schema]) -> Schema:
    """The schema behind a `$ref`, or the node itself."""
    return schemas[node["$ref"].removeprefix(REF_PREFIX)] if "$ref" in node else node


def closed(node: Any, schemas: dict[str, Schema], *, at_use: bool) -> Any:
    """The node with every object in it closed; `at_use`: close the node itself too.

    Members of an `allOf` describe parts of one object: only what is below them is closed.
    """
    if not isinstance(node, dict):
        return node
    out: Schema = {}
    for key, value in node.items():
        if key == "$ref":
            out[key] = "#/$defs/" + value.removeprefix(REF_PREFIX)
        elif key == "properties":
            out[key] = {name: closed(item, schemas, at_use=True) for name, item in value.items()}
        elif key in ("oneOf", "anyOf", "allOf"):
            out[key] = [closed(item, schemas, at_use=key != "allOf") for item in value]
        elif key in ("items", "additionalProperties"):
            out[key] = closed(value, schemas, at_use=True)
        else:
            out[key] = value
    if at_use and is_closable(node, schemas):
        out["unevaluatedProperties"] = False
    return out


def extract(document: dict[str, Any]) -> dict[str, dict[str, Schema]]:
    """`{"$defs": …}` from a parsed OpenAPI document; a schema there is open at its top and closed below it."""
    schemas = amended(stripped(closure(document["components"]["schemas"], ROOTS), names=True))
    return {"$defs": {name: closed(schema, schemas, at_use=False) for name, schema in schemas.items()}}


def main(arguments: list[str]) -> int:
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    document = yaml.safe_load(Path(arguments[0]).read_text(encoding="utf-8"))
    target = Path(arguments[1]) if len(arguments) == 2 else TARGET
    # One schema per line: compact, and a change of the document shows as a readable difference.
    lines = [
        f"{json.dumps(name)}:{json.dumps(schema, separators=(',', ':'), sort_keys=True)}"
        for name, schema in extract(document)["$defs"].items()
    ]
    target.write_text('{"$defs":{\n' + ",\n".join(lines) + "\n}}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
