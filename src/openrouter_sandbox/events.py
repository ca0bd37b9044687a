"""Server-sent events and the pieces that both renderers share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Any

from openrouter_sandbox.answers import Answer, Usage
from openrouter_sandbox.calls import Call

COMMENT = b": OPENROUTER PROCESSING\n\n"
DONE = b"data: [DONE]\n\n"
MARK = "\x00"


@dataclass(frozen=True)
class Envelope:
    """What belongs to one generation but not to its content: id, unix seconds, opt-in metadata, usage chunk's form."""

    id: str
    created: int
    metadata: bool = False
    usage_form: str = "no_choices"


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def frame(value: Any) -> bytes:
    """One event: a `data:` line and no `event:` line, as recorded on both endpoints."""
    return f"data: {dumps(value)}\n\n".encode()


def delta_frames(template: dict[str, Any], deltas: Iterable[str]) -> list[bytes]:
    """One event per delta from a template that holds MARK where the text goes: about 1 µs each."""
    head, tail = f"data: {dumps(template)}\n\n".split(dumps(MARK))
    return [f"{head}{encode_basestring(delta)}{tail}".encode() for delta in deltas]


def token_id(prefix: str, seed: str, length: int = 11) -> str:
    """An id like `msg_tmp_8cjof4f6zpw`, the same for the same seed."""
    return prefix + hashlib.sha256((prefix + seed).encode()).hexdigest()[:length]


def router_metadata(call: Call, answer: Answer) -> dict[str, Any]:
    """`openrouter_metadata`, sent on request only; page "Router Metadata"."""
    return {
        "requested": call.body.get("model") or call.name.text,
        "strategy": "direct",
        "region": "iad",
        "summary": f"available=1, selected={answer.provider}",
        "attempt": 1,
        "is_byok": False,
        "endpoints": {
            "total": 1,
            "available": [{"provider": answer.provider, "model": answer.model, "selected": True}],
        },
    }


def usage_body(usage: Usage, *, chat: bool) -> dict[str, Any]:
    """The usage object in the words of one endpoint; page "Usage Accounting"."""
    given, written = ("prompt", "completion") if chat else ("input", "output")
    charged = ("prompt", "completions") if chat else ("input", "output")
    media = {"audio_tokens": 0, "video_tokens": 0} if chat else {}
    return {
        f"{given}_tokens": usage.prompt,
        f"{written}_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "cost": usage.cost,
        "is_byok": False,
        f"{given}_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0, **media},
        f"{written}_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            **({"image_tokens": 0, "audio_tokens": 0} if chat else {}),
        },
        "cost_details": {
            "upstream_inference_cost": None,
            f"upstream_inference_{charged[0]}_cost": round(usage.prompt_cost, 12),
            f"upstream_inference_{charged[1]}_cost": round(usage.completion_cost, 12),
        },
    }
