"""Answers of `/chat/completions`, streamed or whole, read into deltas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .codec import dicts, mapping
from .deltas import AnswerReader, place_of


class ChatReader(AnswerReader):
    """Reads `chat.completion.chunk` events; a whole `chat.completion` reads as one chunk with a `message`."""

    def read_whole(self, answer: Mapping[str, Any]) -> None:
        """Read a `chat.completion` object."""
        self._read_event(answer)

    def _read_event(self, event: Mapping[str, Any]) -> None:
        if isinstance(usage := event.get("usage"), dict):
            self.usage = usage
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if isinstance(choice, dict):
            self._read_choice(choice)
        # Mid-stream errors come beside `choices` with finish_reason "error" (or null, as recorded).
        if error := event.get("error") or (self.finish_reason == "error" and {"message": ""}):
            self._fail(_with_provider(error, event.get("provider")))

    def _read_choice(self, choice: Mapping[str, Any]) -> None:
        message = choice.get("delta")
        if not isinstance(message, dict):
            # Beside a delta it would be a summary of what has been said.
            message = choice.get("message")
        if isinstance(message, dict):
            # `reasoning`, `reasoning_content` and the details say the same: one of them is shown.
            details = message.get("reasoning_details")
            told = self._details.add(details) if message is choice.get("delta") else self._details.add_whole(details)
            self._add_reasoning(message.get("reasoning") or message.get("reasoning_content") or told)
            self._add_text(_content_text(message.get("content")))
            self._add_text(message.get("refusal"))
            for number, call in enumerate(dicts(message.get("tool_calls"))):
                self._read_call(call, number if "message" in choice else None)
            for annotation in dicts(message.get("annotations")):
                self._add_annotation(annotation)
            for image in dicts(message.get("images")):
                url = image.get("image_url")
                self._add_image(url.get("url") if isinstance(url, dict) else url)
        if isinstance(reason := choice.get("finish_reason"), str):
            self.finish_reason = reason

    def _read_call(self, call: Mapping[str, Any], number: int | None) -> None:
        function = mapping(call.get("function"))
        place = place_of(call.get("index"))
        self._add_call(
            self._calls.add(
                number if place is None else place, call.get("id"), function.get("name"), function.get("arguments")
            )
        )


def _with_provider(error: object, provider: object) -> object:
    """The error as `/responses` and HTTP bodies have it: the provider's name inside, not beside it."""
    if not isinstance(error, dict) or not isinstance(provider, str):
        return error
    return {**error, "metadata": {"provider_name": provider, **mapping(error.get("metadata"))}}


def _content_text(content: object) -> object:
    """`content` is text; some providers send a list of parts."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content
