"""Answers of `/chat/completions`, streamed or whole, read into deltas."""

from __future__ import annotations

from collections.abc import Iterable

from .codec import JsonDict, JsonObject, dicts, mapping, texts_in
from .deltas import AnswerReader, index_of
from .reasoning import DetailsCollector


class ChatReader(AnswerReader):
    """Reads `chat.completion.chunk` events; a whole `chat.completion` is one chunk with a `message`."""

    def __init__(self) -> None:
        super().__init__()
        self._collected = DetailsCollector()

    def _details(self) -> Iterable[JsonDict]:
        return self._collected.details

    def read(self, event: JsonObject) -> None:
        """Read a chunk, or a `chat.completion`."""
        usage = event.get("usage")
        self._note_usage(usage)
        # Who answers is in every chunk: the first and the last ones tell it all.
        if usage or not self.served or "openrouter_metadata" in event:
            self._note_served(event)
        choices = dicts(event.get("choices"))
        if choices:
            self._read_choice(choices[0])
        # Mid-stream errors come beside `choices` with finish_reason "error" (or null, as recorded).
        if error := event.get("error") or (self.finish_reason == "error" and {"message": ""}):
            self._fail(_with_provider(error, event.get("provider")))

    def _read_choice(self, choice: JsonObject) -> None:
        delta = choice.get("delta")
        whole = not isinstance(delta, dict)
        # Beside a delta, a message would be a summary of what has been said.
        message = mapping(choice.get("message") if whole else delta)
        details = message.get("reasoning_details")
        detailed = self._collected.add(details, whole) if details else ""
        # `reasoning`, `reasoning_content` and the details say the same: one of them is shown.
        self._add_reasoning(message.get("reasoning") or message.get("reasoning_content") or detailed)
        content = message.get("content")
        self._add_text("".join(texts_in(content, "text")) if isinstance(content, list) else content)
        self._add_text(message.get("refusal"))
        for number, call in enumerate(dicts(message.get("tool_calls"))):
            function = mapping(call.get("function"))
            index = number if whole else index_of(call, "index")
            self._add_call(index, call.get("id"), function.get("name"), function.get("arguments"))
        for annotation in dicts(message.get("annotations")):
            self._add_annotation(annotation)
        for image in dicts(message.get("images")):
            self._add_image(mapping(image.get("image_url")).get("url"))
        if isinstance(reason := choice.get("finish_reason"), str):
            self.finish_reason = reason


def _with_provider(error: object, provider: object) -> object:
    """The error as elsewhere: the provider's name inside, not beside it."""
    if not isinstance(error, dict) or not isinstance(provider, str):
        return error
    return {**error, "metadata": {"provider_name": provider, **mapping(error.get("metadata"))}}
