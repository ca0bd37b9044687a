"""Answers as plain data: what is said, before either endpoint puts it into its own form."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass, fields, replace
from typing import Any

from openrouter_sandbox.calls import Call
from openrouter_sandbox.names import Row
from openrouter_sandbox.refusals import CHARACTERS_PER_TOKEN, tokens

WORDS_PER_DELTA = 3
LONGEST_QUOTE = 300
LONGEST_SYSTEM = 60
LONGEST_VALUE = 80
# Not among the parameters that an answer tells back: shown apart, or long and of no interest to a reader.
TOLD_ELSEWHERE = {"messages", "input", "instructions", "model", "stream", "stream_options", "preset", "tools"}
IDENTITY = {"user", "session_id", "trace", "metadata", "safety_identifier", "prompt_cache_key"}
LIMIT_KEYS = ("max_output_tokens", "max_completion_tokens", "max_tokens")
# One transparent pixel.
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    "AAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PROVIDERS = {
    "anthropic": "Anthropic",
    "deepseek": "DeepSeek",
    "google": "Google AI Studio",
    "mistralai": "Mistral",
    "moonshotai": "Moonshot AI",
    "openai": "OpenAI",
    "perplexity": "Perplexity",
    "poolside": "Poolside",
    "x-ai": "xAI",
    "z-ai": "Z.AI",
}


@dataclass(frozen=True)
class ToolCall:
    """A call of a function; `arguments` is JSON text, as the model wrote it."""

    name: str
    arguments: str = "{}"
    id: str | None = None


@dataclass(frozen=True)
class Answer:
    """One answer. What is None is filled in from the call (`complete`).

    `deltas`: the number of pieces the text is streamed in (None: three words each); without a text, so many numbered
    words. `reasoning`: "" for none. `finish_reason`: chat's words (stop, length, tool_calls, content_filter).
    `images`: data URLs. `annotations`: citations `{url, title, content, start_index, end_index}`.
    `server_tools`: finished items of OpenRouter's own tools, `{"type": "openrouter:web_search", "action": {"type":
    "search", "query": "…", "sources": [{"type": "url", "url": "…"}]}}`; /responses shows them before the text,
    /chat/completions does not show them at all.
    `provider`, `model`: who answers, where that shall differ from the catalog row. `service_tier`: as reported.
    `error`: `{code, message, metadata?}`; the provider fails after the text (without a stream: 200 with an error body).
    """

    text: str | None = None
    deltas: int | None = None
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    images: tuple[str, ...] = ()
    annotations: tuple[dict[str, Any], ...] = ()
    server_tools: tuple[dict[str, Any], ...] = ()
    finish_reason: str | None = None
    model: str | None = None
    provider: str | None = None
    service_tier: str | None = None
    error: dict[str, Any] | None = None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Answer:
        """From a JSON object of the same fields; unknown ones are a ValueError."""
        unknown = set(data) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown answer fields: {', '.join(sorted(unknown))}")
        calls = tuple(ToolCall(**call) for call in data.get("tool_calls", ()))
        lists = {key: tuple(data.get(key, ())) for key in ("images", "annotations", "server_tools")}
        return cls(**{**data, **lists, "tool_calls": calls})


@dataclass(frozen=True)
class Usage:
    """Token counts of the sandbox's four-character tokens, and dollars by the row's prices."""

    prompt: int
    completion: int
    reasoning: int
    prompt_cost: float
    completion_cost: float

    @property
    def cost(self) -> float:
        return round(self.prompt_cost + self.completion_cost, 12)


def complete(answer: Answer, call: Call) -> Answer:
    """The answer with every open field filled in and `max_tokens` obeyed."""
    text = answer.text
    if text is None:
        silent = bool(answer.tool_calls or answer.images)
        text = numbered_words(answer.deltas) if answer.deltas else "" if silent else told_text(call)
    reasoning = answer.reasoning
    if reasoning is None:
        reasoning = f"The request asks {call.name.model} for an answer. I tell what arrived." if reasons(call) else ""
    limit = next((call.parameters[key] for key in LIMIT_KEYS if call.parameters.get(key)), None)
    cut = limit is not None and len(text) > limit * CHARACTERS_PER_TOKEN
    natural = "length" if cut else "tool_calls" if answer.tool_calls else "stop"
    return replace(
        answer,
        text=text[: limit * CHARACTERS_PER_TOKEN] if cut and limit else text,
        reasoning=reasoning,
        images=answer.images or ((PIXEL,) if draws(call) else ()),
        finish_reason=answer.finish_reason or natural,
        model=answer.model or str(call.served.get("canonical_slug") or call.served["id"]),
        provider=answer.provider or PROVIDERS.get(call.author, "DeepInfra"),
        service_tier=answer.service_tier or call.parameters.get("service_tier"),
    )


def draws(call: Call) -> bool:
    """Whether a picture was asked for; a model without picture output was refused before."""
    return "image" in (call.parameters.get("modalities") or [])


def numbered_words(count: int) -> str:
    """`word0000 word0001 …`, all of one length: a lost, doubled or swapped delta shows."""
    return "".join(f"word{number:04d} " for number in range(count))


def pieces(answer: Answer) -> list[str]:
    """The text cut into deltas."""
    text = answer.text or ""
    if not answer.deltas:
        return re.findall(rf"(?:\s*\S+){{1,{WORDS_PER_DELTA}}}\s*", text) or [text] * bool(text)
    count = min(answer.deltas, len(text))
    edges = [len(text) * number // count for number in range(count + 1)] if count else [0]
    return [text[start:end] for start, end in itertools.pairwise(edges)]


def told_text(call: Call) -> str:
    """What arrived, as one line, or as a JSON object where the request asks for JSON."""
    facts = told_facts(call)
    if wants_json(call.parameters):
        return json.dumps({"message": "Hello from the OpenRouter sandbox.", **facts}, ensure_ascii=False)
    quoted = {"you_wrote", "system"}
    told = [f'{key}: "{value}"' if key in quoted else f"{key}: {value}" for key, value in facts.items()]
    return "Hello from the OpenRouter sandbox. " + " · ".join(told).replace("you_wrote", "You wrote", 1)


def told_facts(call: Call) -> dict[str, str]:
    """The parts of `told_text`, those that have something to say."""
    told = call.conversation
    config = call.preset["designated_version"]["config"] if call.preset else {}
    system = "\n".join(filter(None, [preset_prompt(call), told.system]))
    facts = {
        "you_wrote": clipped(told.last_user, LONGEST_QUOTE),
        "attachments": ", ".join(f"{count} {kind}" for kind, count in told.attachments),
        "endpoint": call.endpoint,
        "model": call.name.model,
        "preset": preset_note(call),
        "from the preset": told_parameters({key: value for key, value in config.items() if key not in call.body}),
        "parameters": told_parameters(call.body),
        "tools": ", ".join(tool_name(tool) for tool in call.body.get("tools", [])),
        "system": clipped(system, LONGEST_SYSTEM),
    }
    return {key: value for key, value in facts.items() if value or key == "you_wrote"}


def preset_prompt(call: Call) -> str:
    return (call.preset["designated_version"].get("system_prompt") or "") if call.preset else ""


def preset_note(call: Call) -> str:
    if call.preset:
        return f"{call.preset['slug']} (applied)"
    field = call.body.get("preset")
    return f'{field} (not applied: the field needs "@preset/{field}")' if field else ""


def told_parameters(values: dict[str, Any]) -> str:
    """`temperature=0.2, provider={"sort":"price"}`, in the order sent."""
    told = ((key, value) for key, value in values.items() if key not in TOLD_ELSEWHERE | IDENTITY)
    return ", ".join(f"{key}={clipped(compact(value), LONGEST_VALUE)}" for key, value in told)


def tool_name(tool: dict[str, Any]) -> str:
    return str(tool.get("name") or tool.get("function", {}).get("name") or tool["type"])


def compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def clipped(text: str, longest: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else line[:longest] + "…"


def wants_json(parameters: dict[str, Any]) -> bool:
    """Whether `response_format` (chat) or `text.format` (responses) asks for JSON."""
    form = parameters.get("response_format") or (parameters.get("text") or {}).get("format") or {}
    return str(form.get("type", "")).startswith("json")


def reasons(call: Call) -> bool:
    """Whether the model reasons on this request; page "Reasoning Tokens"."""
    row, parameters = call.served, call.parameters
    ability = row.get("reasoning") or {}
    if not ability and "reasoning" not in (row.get("supported_parameters") or []):
        return False
    asked = parameters.get("reasoning") or {}
    effort = asked.get("effort") or parameters.get("reasoning_effort")
    if ability.get("mandatory"):
        return True
    if effort == "none" or asked.get("enabled") is False:
        return False
    wanted = effort or asked.get("max_tokens") or asked.get("enabled") or parameters.get("include_reasoning")
    return bool(wanted or ability.get("default_enabled"))


def shows_reasoning(call: Call) -> bool:
    """Whether the reasoning is part of the answer; it is paid for either way."""
    excluded = (call.parameters.get("reasoning") or {}).get("exclude")
    return not excluded and call.parameters.get("include_reasoning") is not False


def usage_of(answer: Answer, call: Call) -> Usage:
    """Tokens and dollars of a complete answer."""
    prompt = max(1, tokens(call.conversation.characters + len(preset_prompt(call))))
    reasoning = tokens(len(answer.reasoning or ""))
    said = len(answer.text or "") + sum(len(tool.name) + len(tool.arguments) for tool in answer.tool_calls)
    completion = reasoning + tokens(said)
    prompt_price, completion_price = prices(call.served, prompt)
    return Usage(prompt, completion, reasoning, prompt * prompt_price, completion * completion_price)


def prices(row: Row, prompt_tokens: int) -> tuple[float, float]:
    """Dollars per prompt and per completion token; missing and variable ("-1") prices charge nothing."""
    pricing = dict(row.get("pricing") or {})
    for override in pricing.get("overrides") or []:
        if prompt_tokens >= override.get("min_prompt_tokens", float("inf")):
            pricing |= override
    return max(0.0, float(pricing.get("prompt") or 0)), max(0.0, float(pricing.get("completion") or 0))
