"""What Open WebUI 0.12 makes of a pipe's stream, and what it hands over in the next round: its rules, written down again.

Follows `stream_body_handler` (utils/middleware.py) and `convert_output_to_messages` (utils/misc.py), as far as a pipe's
chunks go. What Open WebUI would trip over, fails here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

Item = dict[str, Any]


class HostModel:
    """One answer, as Open WebUI shows and stores it: `output` is the list of items, in the order on the page."""

    def __init__(self) -> None:
        self.output: list[Item] = []
        self.usages: list[Item] = []
        self.errors: list[str] = []
        self.sources: list[Item] = []
        self.images: list[str] = []
        self.finish_reason: str | None = None
        self.ended = False
        self._calls: dict[int, Item] = {}

    def read(self, event: bytes) -> None:
        """Take one item of the stream."""
        assert event.startswith(b"data: ")
        assert event.endswith(b"\n\n")
        assert event.count(b"\n") == 2
        assert not self.ended
        if event == b"data: [DONE]\n\n":
            self.ended = True
            return
        chunk = json.loads(event[6:])
        if "usage" in chunk:
            assert isinstance(chunk["usage"], dict)
            self.usages.append(chunk["usage"])
        if "error" in chunk:
            assert not chunk.get("choices"), "an error beside choices is overlooked"
            self.errors.append(chunk["error"]["message"])
            return
        for choice in chunk["choices"]:
            self.finish_reason = choice["finish_reason"] or self.finish_reason
            self._delta(choice["delta"])

    @property
    def text(self) -> str:
        """The text of all messages."""
        return "".join(item["text"] for item in self.output if item["type"] == "message")

    @property
    def reasoning(self) -> str:
        """The text of all reasoning blocks."""
        return "".join(item["text"] for item in self.output if item["type"] == "reasoning")

    @property
    def details(self) -> list[Item]:
        """The reasoning details, as stored."""
        return [detail for item in self.output for detail in item.get("details", ())]

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Name and arguments of each call."""
        return [(item["name"], item["arguments"]) for item in self.output if item["type"] == "function_call"]

    @property
    def call_ids(self) -> list[str]:
        """The ids of the calls."""
        return [item["call_id"] for item in self.output if item["type"] == "function_call"]

    def next_messages(self, results: Mapping[str, str]) -> list[Item]:
        """The messages that this round adds: the assistant's, and the result of each call (by its name)."""
        texts = [item["text"].strip() for item in self.output if item["type"] == "message" and item["text"].strip()]
        message: Item = {"role": "assistant", "content": "\n".join(texts)}
        calls = [item for item in self.output if item["type"] == "function_call"]
        if calls:
            message["tool_calls"] = [
                {
                    "id": item["call_id"],
                    "type": "function",
                    "function": {"name": item["name"], "arguments": item["arguments"]},
                }
                for item in calls
            ]
        # What has this format and no signature is not handed over again.
        kept = [
            detail
            for detail in self.details
            if detail.get("format") != "anthropic-claude-v1" or detail.get("signature")
        ]
        if kept:
            message["reasoning_details"] = kept
        return [
            message,
            *({"role": "tool", "tool_call_id": item["call_id"], "content": results[item["name"]]} for item in calls),
        ]

    def _delta(self, delta: Item) -> None:
        for annotation in delta.get("annotations", ()):
            if annotation.get("type") == "url_citation" and "url_citation" in annotation:
                citation = annotation["url_citation"]
                self.sources.append({"url": citation.get("url", ""), "name": citation.get("title", "")})
        # Calls first, then images, reasoning and text: the order within one chunk is not ours to choose.
        for call in delta.get("tool_calls", ()):
            self._call(call)
        for image in delta.get("images", ()):
            url = image["image_url"]["url"]
            assert image["type"] == "image_url"
            assert url.startswith("http") or re.match(r"data:image/\w+;base64,", url)
            self.images.append(url)
        self._reasoning(delta.get("reasoning_content"), delta.get("reasoning_details") or [])
        if text := delta.get("content"):
            assert isinstance(text, str)
            if not self.output or self.output[-1]["type"] != "message":
                self.output.append({"type": "message", "text": ""})
            self.output[-1]["text"] += text

    def _call(self, call: Item) -> None:
        assert type(call["index"]) is int
        known = self._calls.get(call["index"])
        if known is None:
            assert call["id"]
            assert call["id"] not in self.call_ids
            known = {"type": "function_call", "call_id": call["id"], "name": "", "arguments": ""}
            self._calls[call["index"]] = known
            self.output.append(known)
        known["name"] = call["function"].get("name") or known["name"]
        known["arguments"] += call["function"]["arguments"]

    def _reasoning(self, text: str | None, details: list[Item]) -> None:
        block = next((item for item in reversed(self.output) if item["type"] == "reasoning"), None)
        said = [number for number, item in enumerate(self.output) if item["type"] == "message"]
        has_content = any(detail.get("text") or detail.get("summary") or detail.get("data") for detail in details)
        if not text and not (details and (block or has_content)):
            return
        if not ((details and not text) or said):
            block = self.output[-1] if self.output and self.output[-1]["type"] == "reasoning" else None
        if block is None:
            block = {"type": "reasoning", "text": "", "details": []}
            self.output.insert(said[0] if said else len(self.output), block)
        block["text"] += text or ""
        for detail in details:
            self._merge(block["details"], detail)

    def _merge(self, stored: list[Item], detail: Item) -> None:
        """By index alone: two details with the same one become one."""
        index = detail.get("index")
        known = next((other for other in stored if other.get("index") == index), None) if type(index) is int else None
        if known is None:
            stored.append(dict(detail))
            return
        for key, value in detail.items():
            both = key in ("text", "summary") and isinstance(known.get(key), str)
            known[key] = known[key] + value if both else value
