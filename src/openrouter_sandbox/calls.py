"""From a request body to a checked `Call`: which row answers, which preset applies, and every refusal on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from openrouter_sandbox import refusals
from openrouter_sandbox.errors import ApiError
from openrouter_sandbox.names import (
    PRESET_MARK,
    ModelName,
    Preset,
    Row,
    find_preset,
    find_row,
    parse_name,
    serving_row,
)
from openrouter_sandbox.reading import Conversation, read_conversation
from openrouter_sandbox.validation import check_schema

SCHEMAS = {"/responses": "ResponsesRequest", "/chat/completions": "ChatRequest"}


@dataclass(frozen=True)
class Call:
    """One accepted request.

    `name`: the model asked for, a preset's model where the name is a preset alone. `row`: the row that describes it;
    `served`: the row that answers (differs for routers and `~` aliases). `preset`: the preset that was applied.
    `parameters`: the preset's config under the request's own keys (page "Presets": the request wins, shallow merge).
    """

    endpoint: str
    body: dict[str, Any]
    name: ModelName
    row: Row
    served: Row
    preset: Preset | None
    parameters: dict[str, Any]
    conversation: Conversation

    @property
    def author(self) -> str:
        return str(self.served["id"]).partition("/")[0]


def read_call(endpoint: str, body: Any, catalog: list[Row], presets: list[Preset]) -> Call:
    """The call that a parsed body makes on `/responses` or `/chat/completions`, or an ApiError."""
    if not isinstance(body, dict):
        raise ApiError(400, "Invalid input: the body must be a JSON object")
    check_schema(SCHEMAS[endpoint], body)
    refusals.check_body(body)
    names = [parse_name(text) for text in requested_models(body)]
    preset = applied_preset(names, body, presets)
    config = (preset or {}).get("designated_version", {}).get("config", {})
    name, row = choose_row(with_preset_models(names, config), catalog)
    call = Call(
        endpoint=endpoint,
        body=body,
        name=name,
        row=row,
        served=serving_row(row, catalog),
        preset=preset,
        parameters={**config, **body},
        conversation=read_conversation(body),
    )
    refusals.check_model(row, call.parameters, call.conversation)
    refusals.check_tool_pairs(call.conversation)
    return call


def requested_models(body: dict[str, Any]) -> list[str]:
    """`model`, then the `models` to fall back on, each once."""
    names = [body.get("model"), *body.get("models", [])]
    found = list(dict.fromkeys(name for name in names if name))
    if not found:
        raise ApiError(400, "No models provided")
    return found


def applied_preset(names: list[ModelName], body: dict[str, Any], presets: list[Preset]) -> Preset | None:
    """The preset named in the first model name, or in chat's `preset` field.

    The field works with its `@preset/` prefix only (so recorded traffic; the documentation shows a bare slug, which is
    accepted and does nothing).
    """
    if names[0].preset is not None:
        return find_preset(names[0].preset, presets)
    field = body.get("preset", "")
    return find_preset(field.removeprefix(PRESET_MARK), presets) if field.startswith(PRESET_MARK) else None


def with_preset_models(names: list[ModelName], config: dict[str, Any]) -> list[ModelName]:
    """The names, with a preset alone (`@preset/slug`) replaced by the models of its config."""
    if names[0].model:
        return names
    models = [config["model"]] if config.get("model") else config.get("models", [])
    if not models:
        raise ApiError(400, "No models provided")
    return [parse_name(model) for model in models] + names[1:]


def choose_row(names: list[ModelName], catalog: list[Row]) -> tuple[ModelName, Row]:
    """The first name that has a row; an id that OpenRouter has never heard of is refused anywhere in the list."""
    found: list[tuple[ModelName, Row]] = []
    failures: list[ApiError] = []
    for name in names:
        try:
            found.append((name, find_row(name, catalog)))
        except ApiError as error:
            if error.status == 400:
                raise
            failures.append(error)
    if not found:
        raise failures[0]
    return found[0]
