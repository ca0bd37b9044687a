"""Request bodies against the strict schemas, and one readable sentence about what is wrong."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from importlib import resources
from typing import Any

import jsonschema_rs

from openrouter_sandbox.errors import ApiError

# The keys that tell the members of a union apart.
SELECTORS = ("type", "role", "id")
REQUIRED_SELECTORS = ("type", "role")
# Errors of a member that was not meant at all.
MISMATCHES = ("type", "enum", "const")
UNKNOWN_KEYS = ("unevaluatedProperties", "additionalProperties")
LONGEST_REASON = 160

Path = list[str | int]


@functools.cache
def validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    """The compiled validator of `ChatRequest` or `ResponsesRequest`."""
    text = resources.files(__package__).joinpath("request_schemas.json").read_text(encoding="utf-8")
    root = {"$ref": f"#/$defs/{schema}", "unevaluatedProperties": False, **json.loads(text)}
    return jsonschema_rs.Draft202012Validator(root)


def check_schema(schema: str, body: dict[str, Any]) -> None:
    """Raise 400 with the path of the first offending field."""
    if validator(schema).is_valid(body):
        return
    error = most_telling(validator(schema).iter_errors(body))
    path, reason = explained(error)
    raise ApiError(400, f"Invalid input at '{dotted(path)}': {reason}")


def most_telling(errors: Iterable[Any]) -> Any:
    """The deepest error. A failing part makes its parents call all of their keys unknown: that is only an echo."""
    leaves = [leaf(error) for error in errors]
    return max(leaves, key=lambda error: (len(error.instance_path), error.kind.name not in UNKNOWN_KEYS))


def leaf(error: Any) -> Any:
    """Of a union's error, the error of the member that was most likely meant."""
    branches = getattr(error.kind, "context", None)
    if not branches:
        return error
    depth = len(error.instance_path)

    def likelihood(branch: Iterable[Any]) -> tuple[bool, int, bool]:
        told = most_telling(branch)
        selected = not any(is_selector(item, depth) for item in branch)
        return selected, len(told.instance_path), told.kind.name not in MISMATCHES

    told = most_telling(max(filter(None, branches), key=likelihood))
    vague = len(told.instance_path) == depth and told.kind.name in MISMATCHES
    return error if vague or is_selector(told, depth) else told


def is_selector(error: Any, depth: int) -> bool:
    """Whether the error only says that another member of the union was meant."""
    if error.kind.name == "required":
        return len(error.instance_path) == depth and error.kind.property in REQUIRED_SELECTORS
    return len(error.instance_path) == depth + 1 and error.instance_path[-1] in SELECTORS


def explained(error: Any) -> tuple[Path, str]:
    """Where and why; the reason never carries a whole (possibly huge) value."""
    path: Path = list(error.instance_path)
    kind = error.kind
    if kind.name in UNKNOWN_KEYS:
        return [*path, kind.unexpected[0]], "unknown field"
    if kind.name == "required":
        return [*path, kind.property], "required"
    reason = str(error.message)
    if getattr(kind, "context", None):
        reason = "no allowed form of this field matches"
    return path, reason if len(reason) <= LONGEST_REASON else "…" + reason[-LONGEST_REASON:]


def dotted(path: Path) -> str:
    """`["input", 0, "content"]` -> `input[0].content`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
