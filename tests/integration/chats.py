"""Chats of the package against the sandbox, and what a person got to see of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import StreamingResponse

from openrouter_pipe.pipe import Pipe
from openrouter_pipe.settings import Settings
from openrouter_sandbox import Answer, Rule, Sandbox

ENDPOINTS = {"responses": "/responses", "chat_completions": "/chat/completions"}
MODEL = "fn.openai.gpt-4o"
TEXT = "One two three four five six seven eight nine ten eleven twelve. Zwölf 😀!"
LIMIT_SECONDS = 5
# What a test may put here: less than the second that a valve can have.
SHORT_LIMITS: dict[str, Any] = {}


def left_tasks(before: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """Tasks of the pipe; the sandbox's own are the server's business."""
    return [task for task in asyncio.all_tasks() - before if "src/openrouter_pipe/" in repr(task)]


def valves(sandbox: Sandbox, endpoint: str, **more: object) -> Settings:
    defaults = {"API_KEY": "sk-or-v1-secret123", "BASE_URL": sandbox.base_url, "ENDPOINT": endpoint, "MAX_RETRIES": 0}
    made = Settings(**{**defaults, "STREAM_INTERVAL_MS": 0, "READ_TIMEOUT_SECONDS": 1, **more})
    return made.model_copy(update=SHORT_LIMITS)


@dataclass
class Told:
    """What a person got to see of one answer."""

    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    usage: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    def read(self, item: bytes) -> None:
        """Take one item of a stream: exactly one complete event."""
        assert item.startswith(b"data: ")
        assert item.endswith(b"\n\n")
        assert item.count(b"\n") == 2
        content = item[6:-2]
        if content == b"[DONE]":
            self.kinds.append("done")
            return
        event = json.loads(content)
        if "error" in event:
            assert "choices" not in event
            self.errors.append(event["error"]["message"])
            self.kinds.append("error")
            return
        assert event["object"] == "chat.completion.chunk"
        assert event["model"] == MODEL
        if "usage" in event:
            self.usage.append(event["usage"])
            self.kinds.append("usage")
        for choice in event["choices"]:
            self.text += choice["delta"].get("content", "")
            self.reasoning += choice["delta"].get("reasoning_content", "")
            self.finish_reason = choice["finish_reason"] or self.finish_reason
            self.kinds.append("finish" if choice["finish_reason"] else "delta")


async def open_stream(pipe: Pipe, content: str = "Hi", **body: object) -> AsyncGenerator[bytes, None]:
    answer = await pipe.pipe(chat_body(content, stream=True, **body))
    assert isinstance(answer, StreamingResponse)
    return answer.body_iterator  # type: ignore[return-value]


def chat_body(content: str = "Hi", **body: object) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **body}


async def ask(pipe: Pipe, streaming: bool, **body: object) -> Told:
    """One chat, within a time limit."""
    told = Told()
    async with asyncio.timeout(LIMIT_SECONDS):
        if streaming:
            async for item in await open_stream(pipe, **body):
                told.read(item)
            assert told.kinds[-1] == "done"
            assert told.kinds.count("done") == 1
            return told
        answer = await pipe.pipe(chat_body(stream=False, **body))
    assert isinstance(answer, dict)
    if "error" in answer:
        assert answer.keys() == {"error"}
        return Told(errors=[answer["error"]["message"]])
    message = answer["choices"][0]["message"]
    assert (answer["object"], answer["model"]) == ("chat.completion", MODEL)
    return Told(
        message["content"],
        message.get("reasoning_content", ""),
        answer["choices"][0]["finish_reason"],
        [answer["usage"]] if "usage" in answer else [],
    )


async def text_and_error(answer: StreamingResponse | dict[str, Any] | str) -> tuple[str, str]:
    """What a pipe has returned, read to its end: the text and the error."""
    if isinstance(answer, str):
        return answer, ""
    if isinstance(answer, dict):
        return (
            ("", answer["error"]["message"]) if "error" in answer else (answer["choices"][0]["message"]["content"], "")
        )
    text = error = ""
    async for part in answer.body_iterator:
        event = json.loads(bytes(part)[6:]) if bytes(part) != b"data: [DONE]\n\n" else {}
        error += event.get("error", {}).get("message", "")
        text += "".join(choice["delta"].get("content", "") for choice in event.get("choices", ()))
    return text, error


async def works(pipe: Pipe, sandbox: Sandbox, streaming: bool) -> None:
    """The next chat is answered as if nothing had been.

    It may meet a connection that is being closed at this very moment: one retry, as an admin has by default, is for that.
    """
    pipe.valves = pipe.valves.model_copy(update={"MAX_RETRIES": 1, "RETRY_MAX_WAIT_SECONDS": 0})
    sandbox.rules[:] = [Rule(answer=Answer(text=TEXT))]
    told = await ask(pipe, streaming)
    assert (told.text, told.errors, told.finish_reason) == (TEXT, [], "stop"), told
