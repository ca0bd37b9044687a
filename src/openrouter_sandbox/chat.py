"""An answer in the form of `/chat/completions`, as recorded."""

from __future__ import annotations

from typing import Any

from openrouter_sandbox.answers import Answer, pieces, shows_reasoning, usage_of
from openrouter_sandbox.calls import Call
from openrouter_sandbox.events import MARK, Envelope, delta_frames, frame, router_metadata, token_id, usage_body

Json = dict[str, Any]

# The three recorded forms of `choices` in the chunk that carries the usage.
USAGE_FORMS = ("no_choices", "empty_delta", "repeat_finish")
NATIVE_REASONS = {
    "openai": {"stop": "completed", "length": "max_output_tokens"},
    "anthropic": {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"},
    "google": {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"},
}
FORMATS = {"openai": "openai-responses-v1", "anthropic": "anthropic-claude-v1", "google": "google-gemini-v1"}


def render_json(call: Call, answer: Answer, envelope: Envelope) -> Json:
    """The answer to a request without `stream`."""
    message: Json = {"role": "assistant", "content": answer.text, "refusal": None, "reasoning": None}
    if answer.reasoning and shows_reasoning(call):
        message |= {"reasoning": answer.reasoning, "reasoning_details": whole_details(call, answer)}
    if answer.tool_calls:
        message["tool_calls"] = [tool_call(answer, index, envelope) for index in range(len(answer.tool_calls))]
    message |= media(answer)
    choice = {"index": 0, "logprobs": None, **finish(call, answer), "message": message}
    return {
        **head(answer, envelope, "chat.completion"),
        "choices": [choice],
        **ending(call, answer, envelope),
    }


def render_stream(call: Call, answer: Answer, envelope: Envelope) -> list[bytes]:
    """All events of a stream, without comments and without `[DONE]`."""
    text = pieces(answer)
    said = delta_frames(chunk(answer, envelope, {"content": MARK}), text)
    shown = bool(answer.reasoning) and shows_reasoning(call)
    frames = [frame(chunk(answer, envelope, {"content": ""}))]
    if shown:
        frames += [frame(chunk(answer, envelope, delta)) for delta in reasoning_deltas(call, answer)]
    frames += said[:1]
    if shown and signature(call):
        # Recorded: the signature comes late, when the text has already begun.
        frames.append(frame(chunk(answer, envelope, {"content": "", "reasoning_details": [signature(call)]})))
    frames += said[1:]
    if media(answer):
        frames.append(frame(chunk(answer, envelope, {"content": "", **media(answer)})))
    frames += [frame(chunk(answer, envelope, delta)) for delta in tool_deltas(answer, envelope)]
    if answer.error:
        return [*frames, frame({**chunk(answer, envelope, {"content": ""}, "error"), "error": answer.error})]
    end = finish(call, answer)
    frames.append(frame(chunk(answer, envelope, {"content": ""}, **end)))
    last = {"no_choices": None, "empty_delta": {}, "repeat_finish": end}[envelope.usage_form]
    usage: Json = {"choices": []} if last is None else chunk(answer, envelope, {"content": ""}, **last)
    frames.append(frame({**head(answer, envelope), **usage, **ending(call, answer, envelope)}))
    return frames


def head(answer: Answer, envelope: Envelope, kind: str = "chat.completion.chunk") -> Json:
    return {
        "id": envelope.id,
        "provider": answer.provider,
        "model": answer.model,
        "object": kind,
        "created": envelope.created,
    }


def chunk(
    answer: Answer,
    envelope: Envelope,
    delta: Json,
    finish_reason: str | None = None,
    native_finish_reason: str | None = None,
) -> Json:
    choice = {
        "index": 0,
        "delta": {"role": "assistant", **delta},
        "finish_reason": finish_reason,
        "native_finish_reason": native_finish_reason,
        "logprobs": None,
    }
    return {**head(answer, envelope), "choices": [choice]}


def finish(call: Call, answer: Answer) -> dict[str, str]:
    reason = answer.finish_reason or "stop"
    native = NATIVE_REASONS.get(call.author, {}).get(reason, reason)
    return {"finish_reason": reason, "native_finish_reason": native}


def ending(call: Call, answer: Answer, envelope: Envelope) -> Json:
    end: Json = {"service_tier": answer.service_tier, "usage": usage_body(usage_of(answer, call), chat=True)}
    if envelope.metadata:
        end["openrouter_metadata"] = router_metadata(call, answer)
    return end


def media(answer: Answer) -> Json:
    """Images and citations, in the message or in a delta of their own."""
    found: Json = {}
    if answer.images:
        found["images"] = [
            {"type": "image_url", "image_url": {"url": url}, "index": index} for index, url in enumerate(answer.images)
        ]
    if answer.annotations:
        found["annotations"] = [{"type": "url_citation", "url_citation": note} for note in answer.annotations]
    return found


def detail(call: Call, text: str) -> Json:
    """One fragment of `reasoning_details`; fragments of one index belong together."""
    kind = "summary" if call.author == "openai" else "text"
    return {
        "type": f"reasoning.{kind}",
        kind: text,
        "format": FORMATS.get(call.author, "unknown"),
        "index": 0,
    }


def signature(call: Call) -> Json | None:
    """What proves the reasoning to its own provider: OpenAI's encrypted blob, Anthropic's and Google's signature."""
    if call.author not in FORMATS:
        return None
    proof = token_id("c2FuZGJveA", str(call.served["id"]), 40)
    if call.author == "openai":
        # Recorded: the index of the summary again, and an id that the summary does not have.
        blob = {"type": "reasoning.encrypted", "data": proof, "format": FORMATS["openai"]}
        return {**blob, "id": token_id("rs_", str(call.served["id"])), "index": 0}
    return {"type": "reasoning.text", "signature": proof, "format": FORMATS[call.author], "index": 0}


def reasoning_deltas(call: Call, answer: Answer) -> list[Json]:
    said = pieces(Answer(text=answer.reasoning))
    return [{"content": "", "reasoning": text, "reasoning_details": [detail(call, text)]} for text in said]


def whole_details(call: Call, answer: Answer) -> list[Json]:
    whole, proof = detail(call, answer.reasoning or ""), signature(call)
    if proof and proof["type"] == whole["type"]:
        return [{**whole, **proof}]
    return [whole, proof] if proof else [whole]


def tool_call(answer: Answer, index: int, envelope: Envelope) -> Json:
    tool = answer.tool_calls[index]
    return {
        "index": index,
        "id": tool.id or token_id("call_", f"{envelope.id}{index}", 24),
        "type": "function",
        "function": {"name": tool.name, "arguments": tool.arguments},
    }


def tool_deltas(answer: Answer, envelope: Envelope) -> list[Json]:
    """For each call: its name, then its arguments in two pieces."""
    deltas: list[Json] = []
    for index, tool in enumerate(answer.tool_calls):
        first = tool_call(answer, index, envelope)
        first["function"] = {"name": tool.name, "arguments": ""}
        half = len(tool.arguments) // 2
        rest = [tool.arguments[:half], tool.arguments[half:]]
        deltas.append({"content": None, "tool_calls": [first]})
        deltas += [
            {"tool_calls": [{"index": index, "type": "function", "function": {"arguments": piece}}]}
            for piece in rest
            if piece
        ]
    return deltas
