"""What an answer is made of, whatever the endpoint: a stream of `Delta`s, neighbours merged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .codec import parse_json

_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Delta:
    """A piece of the answer. In one delta the reasoning comes before the text."""

    reasoning: str = ""
    text: str = ""


class AnswerReader:
    """Collects what upstream events add to one answer. Endpoints differ in `_read_event` only.

    Fed with event payloads; `take()` gives what has come since the last call, so that everything that arrived in one
    network read leaves as one piece.
    """

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] | None = None
        self.error: Mapping[str, Any] | None = None
        self.done = False
        self._deltas: list[Delta] = []
        self._half = ""

    @property
    def ended(self) -> bool:
        """Whether upstream said that the answer is complete (or that it failed)."""
        return self.done or self.finish_reason is not None or self.error is not None

    def feed(self, payload: bytes) -> None:
        """Read one event. What is not JSON, or not of a known shape, adds nothing."""
        if payload.strip() == b"[DONE]":
            self.done = True
            return
        try:
            event = parse_json(payload)
        except ValueError:
            return
        if isinstance(event, dict):
            self._read_event(event)

    def take(self) -> list[Delta]:
        """The deltas since the last call."""
        deltas, self._deltas = self._deltas, []
        return deltas

    def read_whole(self, answer: Mapping[str, Any]) -> None:
        """Read an answer that did not come as a stream."""
        raise NotImplementedError

    def _read_event(self, event: dict[str, Any]) -> None:
        raise NotImplementedError

    def _fail(self, error: object) -> None:
        """The upstream gave up. Nothing worth waiting for comes after that."""
        self.error = error if isinstance(error, dict) else {"message": str(error)}
        self.done = True

    def _add_text(self, text: object) -> None:
        if isinstance(text, str) and text:
            self._last().text += self._whole_characters(text)

    def _add_reasoning(self, text: object) -> None:
        if isinstance(text, str) and text:
            last = self._last()
            if last.text:
                last = Delta()
                self._deltas.append(last)
            last.reasoning += self._whole_characters(text)

    def _whole_characters(self, text: str) -> str:
        """`text` without half characters, which nobody could store: an emoji may arrive in two halves (UTF-16 surrogates)."""
        if text.isascii() and not self._half:
            return text
        text, self._half = self._half + text, ""
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _SURROGATES.search(text) else text

    def _last(self) -> Delta:
        if not self._deltas:
            self._deltas.append(Delta())
        return self._deltas[-1]
