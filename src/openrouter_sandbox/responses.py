"""An answer in the form of `/responses`, with the order and the oddities of the recorded stream.

Data-only frames; the reasoning item's `.done` events come after the message's; its id in the final output is not the
streamed one; the top-level `output_text` stays "".
"""

from __future__ import annotations

from json.encoder import encode_basestring
from typing import Any

from openrouter_sandbox.answers import Answer, pieces, shows_reasoning, usage_of
from openrouter_sandbox.calls import Call
from openrouter_sandbox.chat import FORMATS
from openrouter_sandbox.events import MARK, Envelope, dumps, frame, router_metadata, token_id, usage_body

Json = dict[str, Any]

# finish reason -> (status, incomplete_details.reason)
STATUSES: dict[str, tuple[str, str | None]] = {
    "length": ("incomplete", "max_output_tokens"),
    "content_filter": ("incomplete", "content_filter"),
}
# An error's status -> `error.code` and `error_type`.
ERROR_CODES = {429: ("rate_limit_exceeded", "rate_limit_exceeded"), 400: ("invalid_prompt", "invalid_prompt")}
ENCRYPTED = "reasoning.encrypted_content"
# Fields of the request that the result repeats -> what it says when the request does not.
ECHOED: Json = {
    "max_tool_calls": None,
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "max_output_tokens": None,
    "temperature": None,
    "top_p": None,
    "presence_penalty": None,
    "frequency_penalty": None,
    "metadata": {},
    "background": False,
    "truncation": None,
    "instructions": None,
    "reasoning": None,
    "safety_identifier": None,
    "prompt_cache_key": None,
    "user": None,
}


class Stream:
    """Frames with their running `sequence_number`."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def add(self, kind: str, **payload: Any) -> None:
        self.frames.append(frame({"type": kind, **payload, "sequence_number": len(self.frames)}))

    def add_deltas(self, kind: str, deltas: list[str], **payload: Any) -> None:
        """Many deltas of one part; rendered from a template, for speed."""
        head, tail = f"data: {dumps({'type': kind, **payload, 'delta': MARK})[:-1]}".split(dumps(MARK))
        first = len(self.frames)
        self.frames += [
            f'{head}{encode_basestring(delta)}{tail},"sequence_number":{number}}}\n\n'.encode()
            for number, delta in enumerate(deltas, first)
        ]


def render_json(call: Call, answer: Answer, envelope: Envelope) -> Json:
    """The answer to a request without `stream`."""
    return final_result(call, answer, envelope)


def render_stream(call: Call, answer: Answer, envelope: Envelope) -> list[bytes]:
    """All events of a stream, without comments and without `[DONE]`."""
    stream = Stream()
    begun = result(call, answer, envelope, status="in_progress", output=[])
    stream.add("response.created", response=begun)
    stream.add("response.in_progress", response=begun)
    thinks = bool(answer.reasoning) and shows_reasoning(call)
    index = int(thinks)
    if thinks:
        open_reasoning(stream, call, answer, envelope)
    for item in server_tool_items(answer, envelope):
        add_server_tool(stream, item, index)
        index += 1
    if answer.text or not (answer.tool_calls or answer.images):
        add_message(stream, answer, envelope, index)
        index += 1
    if thinks:
        close_reasoning(stream, call, answer, envelope)
    for item in image_items(answer, envelope):
        stream.add(
            "response.output_item.added", output_index=index, item={**item, "status": "in_progress", "result": None}
        )
        stream.add("response.output_item.done", output_index=index, item=item)
        index += 1
    for item in call_items(answer, envelope):
        add_call(stream, item, index)
        index += 1
    end = final_result(call, answer, envelope)
    stream.add(f"response.{end['status']}", response=end)
    return stream.frames


def status_of(answer: Answer) -> tuple[str, str | None]:
    return ("failed", None) if answer.error else STATUSES.get(answer.finish_reason or "", ("completed", None))


def final_result(call: Call, answer: Answer, envelope: Envelope) -> Json:
    """The complete response object, with usage and, where asked for, the routing metadata."""
    status, reason = status_of(answer)
    output: list[Json] = []
    if answer.reasoning and shows_reasoning(call):
        output.append({**reasoning_item(call, answer, envelope), "id": token_id("rs_tmp_", envelope.id + "final")})
    output += server_tool_items(answer, envelope)
    if answer.text or not (answer.tool_calls or answer.images):
        output.append(message_item(answer, envelope))
    output += image_items(answer, envelope) + call_items(answer, envelope)
    end = result(call, answer, envelope, status=status, output=output)
    end["incomplete_details"] = {"reason": reason} if reason else None
    end["completed_at"] = envelope.created if status == "completed" else None
    if answer.error:
        code, kind = ERROR_CODES.get(int(answer.error["code"]), ("server_error", "provider_unavailable"))
        return {**end, "error": {"code": code, "message": answer.error["message"]}, "error_type": kind}
    end["usage"] = usage_body(usage_of(answer, call), chat=False)
    if envelope.metadata:
        end["openrouter_metadata"] = router_metadata(call, answer)
    return end


def result(call: Call, answer: Answer, envelope: Envelope, *, status: str, output: list[Json]) -> Json:
    echoed = {key: call.parameters.get(key, default) for key, default in ECHOED.items()}
    return {
        "object": "response",
        "id": envelope.id,
        "created_at": envelope.created,
        "completed_at": None,
        "model": answer.model,
        "status": status,
        "output": output,
        "output_text": "",
        "error": None,
        "incomplete_details": None,
        **echoed,
        "previous_response_id": None,
        "service_tier": answer.service_tier or "auto",
        "store": False,
    }


def message_item(answer: Answer, envelope: Envelope) -> Json:
    status, _ = status_of(answer)
    return {
        "type": "message",
        "status": "incomplete" if answer.error else status,
        "content": [text_part(answer)],
        "id": token_id("msg_tmp_", envelope.id),
        "role": "assistant",
    }


def text_part(answer: Answer) -> Json:
    return {"type": "output_text", "text": answer.text, "annotations": citations(answer)}


def citations(answer: Answer) -> list[Json]:
    """Citations, flat here where chat nests them."""
    kept = ("url", "title", "start_index", "end_index")
    return [{"type": "url_citation", **{key: note[key] for key in kept if key in note}} for note in answer.annotations]


def add_message(stream: Stream, answer: Answer, envelope: Envelope, index: int) -> None:
    item = message_item(answer, envelope)
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    started = {**item, "status": "in_progress", "content": []}
    stream.add("response.output_item.added", output_index=index, item=started)
    empty = {"type": "output_text", "annotations": [], "text": ""}
    stream.add("response.content_part.added", **place, part=empty)
    stream.add_deltas("response.output_text.delta", pieces(answer), logprobs=[], **place)
    for number, note in enumerate(citations(answer)):
        stream.add("response.output_text.annotation.added", **place, annotation_index=number, annotation=note)
    stream.add("response.output_text.done", **place, text=answer.text, logprobs=[])
    stream.add("response.content_part.done", **place, part=text_part(answer))
    stream.add("response.output_item.done", output_index=index, item=item)


def summarizes(call: Call) -> bool:
    """OpenAI's closed models show a summary; others, and its open ones, show the reasoning itself."""
    return call.author == "openai" and "gpt-oss" not in call.served["id"]


def reasoning_item(call: Call, answer: Answer, envelope: Envelope) -> Json:
    """The finished item; `encrypted_content` only where the request's `include` asks for it."""
    item: Json = {"type": "reasoning", "id": token_id("rs_tmp_", envelope.id), "summary": []}
    if summarizes(call):
        item["summary"] = [{"type": "summary_text", "text": answer.reasoning}]
    else:
        item["content"] = [{"type": "reasoning_text", "text": answer.reasoning}]
    if ENCRYPTED in (call.body.get("include") or []):
        proof = token_id("c2FuZGJveA", str(call.served["id"]), 40)
        if call.author in ("anthropic", "google"):
            item |= {"signature": proof, "format": FORMATS[call.author]}
        else:
            item |= {"encrypted_content": proof, "format": FORMATS.get(call.author, "unknown")}
    return item


def open_reasoning(stream: Stream, call: Call, answer: Answer, envelope: Envelope) -> None:
    item_id = token_id("rs_tmp_", envelope.id)
    said = pieces(Answer(text=answer.reasoning))
    stream.add("response.output_item.added", output_index=0, item={"type": "reasoning", "id": item_id, "summary": []})
    if summarizes(call):
        place = {"item_id": item_id, "output_index": 0, "summary_index": 0}
        stream.add("response.reasoning_summary_part.added", **place, part={"type": "summary_text", "text": ""})
        stream.add_deltas("response.reasoning_summary_text.delta", said, **place)
    else:
        place = {"item_id": item_id, "output_index": 0, "content_index": 0}
        stream.add("response.content_part.added", **place, part={"type": "reasoning_text", "text": ""})
        stream.add_deltas("response.reasoning_text.delta", said, **place)


def close_reasoning(stream: Stream, call: Call, answer: Answer, envelope: Envelope) -> None:
    item = reasoning_item(call, answer, envelope)
    text = answer.reasoning
    if summarizes(call):
        place = {"item_id": item["id"], "output_index": 0, "summary_index": 0}
        stream.add("response.reasoning_summary_text.done", **place, text=text)
        stream.add("response.reasoning_summary_part.done", **place, part=item["summary"][0])
    else:
        place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        stream.add("response.reasoning_text.done", **place, text=text)
        stream.add("response.content_part.done", **place, part=item["content"][0])
    stream.add("response.output_item.done", output_index=0, item=item)


def call_items(answer: Answer, envelope: Envelope) -> list[Json]:
    return [
        {
            "type": "function_call",
            "id": token_id("fc_tmp_", f"{envelope.id}{index}"),
            "call_id": tool.id or token_id("call_", f"{envelope.id}{index}", 24),
            "name": tool.name,
            "arguments": tool.arguments,
            "status": "completed",
        }
        for index, tool in enumerate(answer.tool_calls)
    ]


def add_call(stream: Stream, item: Json, index: int) -> None:
    """A function call, its arguments in one delta as some providers send them."""
    place = {"item_id": item["id"], "output_index": index}
    started = {**item, "arguments": "", "status": "in_progress"}
    stream.add("response.output_item.added", output_index=index, item=started)
    stream.add("response.function_call_arguments.delta", **place, delta=item["arguments"])
    stream.add("response.function_call_arguments.done", **place, name=item["name"], arguments=item["arguments"])
    stream.add("response.output_item.done", output_index=index, item=item)


def server_tool_items(answer: Answer, envelope: Envelope) -> list[Json]:
    """What OpenRouter's own tools did; schemas OutputWebSearchServerToolItem and its like."""
    return [
        {"id": token_id("st_tmp_", f"{envelope.id}{index}"), "status": "completed", **item}
        for index, item in enumerate(answer.server_tools)
    ]


def add_server_tool(stream: Stream, item: Json, index: int) -> None:
    """A server tool at work: its item without results, then with them; OpenAI's web search has events of its own too."""
    place = {"item_id": item["id"], "output_index": index}
    started = {"type": item["type"], "id": item["id"], "status": "in_progress"}
    stream.add("response.output_item.added", output_index=index, item=started)
    if item["type"] == "web_search_call":
        for state in ("in_progress", "searching", "completed"):
            stream.add(f"response.web_search_call.{state}", **place)
    stream.add("response.output_item.done", output_index=index, item=item)


def image_items(answer: Answer, envelope: Envelope) -> list[Json]:
    return [
        {
            "type": "image_generation_call",
            "id": token_id("ig_tmp_", f"{envelope.id}{index}"),
            "status": "completed",
            "result": url.partition("base64,")[2] or url,
        }
        for index, url in enumerate(answer.images)
    ]
