"""Scripted behaviour: a `Rule` changes what an accepted request gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from openrouter_sandbox.answers import Answer
from openrouter_sandbox.chat import USAGE_FORMS


@dataclass
class Rule:
    """Matches by `path` (a part of the URL's path) and `model` (exactly as sent), `times` times (None: always).

    The first rule of the list that matches is used. It never makes a wrong request pass: key and body are checked
    before. Durations are seconds.

    - `status`, `headers`, `body` (dict, str or bytes): another answer. A status without a body gets OpenRouter's own.
    - `delay_seconds`: silence before the headers.
    - `first_event_delay_seconds`: silence between the first comment and the first event.
    - `pace_seconds`: between events. `keepalive_seconds`: a comment this often during that waiting.
    - `chunk_bytes`: bytes per network write, so that events break anywhere.
    - `cut_after_events`: the connection breaks after so many events; without a stream, before the answer.
    - `raw`: written to the socket with no HTTP around it, `pace_seconds` apart; then the connection is closed, or cut if
      `cut_after_events` is given.
    - `events`: a stream's bytes, written as they are instead of the answer.
    - `hang`: after the last event, or the last of `raw`, nothing happens, for ever.
    - `answer`: what is said. `usage_form`: `choices` of chat's usage chunk: no_choices, empty_delta, repeat_finish.
    """

    path: str | None = None
    model: str | None = None
    times: int | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | str | bytes | None = None
    delay_seconds: float = 0.0
    first_event_delay_seconds: float = 0.0
    pace_seconds: float = 0.0
    keepalive_seconds: float | None = None
    chunk_bytes: int | None = None
    cut_after_events: int | None = None
    events: Sequence[bytes | str] | None = None
    raw: Sequence[bytes | str] | None = None
    hang: bool = False
    answer: Answer | None = None
    usage_form: str = "no_choices"
    used: int = 0

    def __post_init__(self) -> None:
        if self.usage_form not in USAGE_FORMS:
            raise ValueError(f"usage_form must be one of {', '.join(USAGE_FORMS)}")

    @classmethod
    def from_json(cls, data: Any) -> Rule:
        """From a JSON object of the same fields; unknown ones are a ValueError."""
        if not isinstance(data, dict):
            raise ValueError("a rule is a JSON object")  # noqa: TRY004 (one kind of error for the caller)
        unknown = set(data) - {item.name for item in fields(cls)} | set(data) & {"used"}
        if unknown:
            raise ValueError(f"unknown rule fields: {', '.join(sorted(unknown))}")
        answer = Answer.from_json(data["answer"]) if data.get("answer") is not None else None
        return cls(**{**data, "answer": answer})

    @property
    def replaces(self) -> bool:
        """Whether something else than the usual is answered."""
        return self.status is not None or self.body is not None or self.raw is not None

    def matches(self, path: str, model: str | None) -> bool:
        if self.times is not None and self.used >= self.times:
            return False
        return (self.path is None or self.path in path) and (self.model is None or self.model == model)


def take_rule(rules: list[Rule], path: str, model: str | None) -> Rule:
    """The first matching rule, counted as used; a rule without effects where none matches."""
    for rule in rules:
        if rule.matches(path, model):
            rule.used += 1
            return rule
    return Rule()
