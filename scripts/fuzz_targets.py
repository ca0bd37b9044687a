"""What `fuzz.py` throws at the pipe: a grammar of inputs, and for each target what has to hold whatever comes in.

An input is a tuple of texts, bytes and numbers, so that it can be printed, made smaller and tried again.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

from openrouter_pipe import sse
from openrouter_pipe.catalog import Catalog, Preset
from openrouter_pipe.codec import dump_json
from openrouter_pipe.errors import PipeError, read_failure
from openrouter_pipe.messages import chat_messages, responses_input
from openrouter_pipe.model_ref import ModelRef
from openrouter_pipe.virtual_models import Published, Publishing

Case = tuple[Any, ...]

_ODD = (
    *("\u0000", "\ud800", "\udfff\ud800", "\u202e", "\u2028", "\u0085", "\u200b", "\ufeff", "é", "😀", "\r\n", "\t"),
    *("\x1b[31m", "\\", '"', "'", "%s", "{who}"),
)
_KEYS = (
    *("sk-or-v1-0123456789abcdef0123456789abcdef", "Bearer abcdefgh12345678", "AIzaSyA1234567890abcdefghijklmno"),
    *("eyJhbGciOi.eyJzdWIi.c2ln", "api_key=abc123def456", "password: hunter2hunter2", "x-goog-api-key: q1w2e3r4t5"),
    *("Set-Cookie: session=0a1b2c3d4e", "Authorization: Basic dXNlcjpwYXNzd29yZA=="),
)
# What must not be in a line, written again from the shapes above.
_KEY_SHAPED = re.compile(r"\b(?:sk-or|sk|gsk)-\w[\w-]{7,}|\bAIza\w{20,}|\bBearer [a-z]*\d\w{8,}|\beyJ\w+\.\w+")
# Pieces that, many times in a row, may cost more than their length.
_TIRING = (
    *(
        "a-",
        "x-",
        "eyJ-",
        "token=",
        "authorization-",
        "secret:",
        "sk-",
        " ",
        "\n",
        "\t",
        " at ",
        " at x:1",
        "a",
        "1",
        "é",
    ),
    *(
        'File "',
        "Bearer ",
        "too many ",
        "Traceback ",
        "\\",
        '"',
        "\u0000",
        "😀",
        ".",
        "/",
        ":",
        "@",
        "*",
        "*a",
        "?",
        "#",
        "!",
    ),
    *(
        "[",
        "{",
        "\r",
        "data:",
        "data: x\n",
        ": c\n",
        "x/y:nitro",
        "@preset/",
        "preset/*",
        "%",
        "\u2028",
        "cookie=",
        "<",
    ),
)

# Rule → alternatives; `<rule>` stands for one of another rule. What comes often is written often.
_GRAMMAR: dict[str, Sequence[str]] = {
    # JSON of any kind.
    "any": (
        *("null", "true", "false", "0", "-1", "429", '"429"', "4.5", "-0.0", "9" * 30, "[]", "{}", '""'),
        *(
            "[null]",
            '{"":{}}',
            "[<any>,<any>]",
            '{"a":<any>,"a":<any>}',
            "<text>",
            "<text>",
            "[<text>]",
            "<part>",
            "<rare>",
        ),
        *("5", '"x"', "7", '"c1"', "null"),
    ),
    "rare": (
        *(
            "1e999",
            "9" * 400,
            "[[[[[[[[[]]]]]]]]]",
            "[<any>,<any>,<any>]",
            '{"text":<any>,"error":<any>}',
            "-1e-999",
            "9" * 5_000,
        ),
        *("[" * depth + "]" * depth for depth in (250, 900)),
        '{"a":' * 300 + "1" + "}" * 300,
    ),
    "text": ('"<word>"', '"<word> <word>"', '"<word> <key>"', '"<json>"', '"<trace>"', '"<word>\\n<word>"', '"<word>"'),
    "word": (
        *("a", "Hi", "Rate limit", "openai/gpt-4o", "not a valid model", "context length", "privacy", "x.y:1:2"),
        *(json.dumps(odd)[1:-1] for odd in _ODD),
        *('{"error":', "[1", "sk-", "message", "<p>", "0", " ", "type", "Bearer", "<b>no</b>".replace("<", "\\u003c")),
    ),
    "key": tuple(key.replace('"', "") for key in _KEYS),
    "trace": ("\\n\\tat x (y.js:1:2)", 'Traceback (most recent call last)\\n  File \\"x\\"', "<word>\\n at f"),
    "json": (
        '{\\"error\\":{\\"message\\":\\"<word> <key>\\"}}',
        '[{\\"detail\\":\\"<word>\\"}]',
        '{\\"message\\":\\"<word>',
    ),
    # Errors.
    "code": ("400", "401", "404", "429", "500", '"429"', '"rate_limit_exceeded"', '"model_not_found"', "<any>"),
    "said": ("<text>", "<text>", "<text>", "<any>", "<error>"),
    "error": (
        '{"error":{"code":<code>,"message":<said>}}',
        '{"error":{"code":<code>,"message":<said>,"metadata":{"provider_name":<said>,"raw":<said>,"error_type":<code>}}}',
        '{"error":{"code":<code>,"metadata":{"reasons":[<said>,<text>],"patterns":<any>,"retry_after":<any>}}}',
        '{"error":{"message":<said>,"availability":{"code":<code>,"http_status":<code>,"retryable":<any>}}}',
        '{"error":{"availability":{"retry_after":<any>,"fallback_models":[<said>,<text>],"constraint":{"detail":<said>}}}}',
        *(
            '[{"error":<said>},<any>]',
            '{"detail":<said>,"msg":<any>}',
            '{"type":<code>,"code":<code>,"message":<said>}',
        ),
        *(
            '{"error":<any>,"error":<said>}',
            '{"error":<error>}',
            "<any>",
            "<html><body><word></body></html>",
            "<word>: <key>",
        ),
    ),
    # Conversations.
    "role": ('"user"', '"user"', '"assistant"', '"assistant"', '"system"', '"tool"', '"developer"', "<any>"),
    "content": ("<text>", "<text>", "<text>", "[<part>,<part>]", "[<part>]", "<any>"),
    "part": (
        *('{"type":"text","text":<text>}', '{"type":"text","text":<text>,"cache_control":<any>}', '{"text":<text>}'),
        *('{"type":"image_url","image_url":{"url":<text>}}', '{"type":"input_image","image_url":<text>}', "{}"),
        *(
            '{"type":"file","file":{"file_data":<text>,"filename":<any>}}',
            '{"type":"video_url","video_url":{"url":<any>}}',
        ),
        *('{"type":"input_audio","input_audio":{"data":"AA==","format":<text>}}', '{"type":<any>,"text":<any>}'),
    ),
    "id": ('"c1"', '"c1"', '"c2"', '""', '"c1_2"', "<any>"),
    "call": (
        '{"id":<id>,"type":"function","function":{"name":"f","arguments":<text>}}',
        '{"id":<id>,"function":{"name":<text>,"arguments":<any>}}',
        '{"id":<id>,"function":<any>}',
    ),
    "detail": (
        *('{"type":"reasoning.text","text":<text>,"signature":<text>,"index":0}', '{"type":<any>,"text":<any>}'),
        *(
            '{"type":"reasoning.encrypted","data":<text>,"id":<id>}',
            '{"type":"reasoning.summary","summary":<any>,"id":<id>}',
        ),
    ),
    "message": (
        *('{"role":<role>,"content":<content>}', '{"role":<role>,"content":<content>}'),
        '{"role":"assistant","content":<content>,"tool_calls":[<call>,<call>]},{"role":"tool","tool_call_id":<id>,"content":<content>}',
        '{"role":"assistant","content":<content>,"reasoning_details":[<detail>,<detail>],"tool_calls":<any>}',
        *('{"role":"tool","tool_call_id":<id>,"content":<content>}', '{"role":"assistant","refusal":<any>}', "<any>"),
    ),
    "messages": (
        "[<message>]",
        "[<message>,<message>]",
        "[<message>,<message>,<message>,<message>]",
        "[<message>]",
        "<any>",
    ),
    # Streams: bytes as Latin-1.
    "line": (
        *(
            "data: <word>",
            "data:<word>",
            'data: {"a":"<word>"}',
            "data:",
            "data: ",
            "data",
            ": c",
            "event: e",
            "id: 1",
            "retry: 5",
        ),
        *("data: [DONE]", "database: x", " data: x", "data : x", "data::", "\ufeffdata: x", "", "", "", "\r", "<word>"),
    ),
    "end": ("\n", "\n", "\n\n", "\n\n", "\r\n", "\r\n\r\n", "\r", "\n\r", ""),
    "stream": (
        *("<line><end>", "<line><end><line><end><line><end>", "<stream><stream>", "<stream>data: x\n\n"),
        *("<line>\n<line>\n\n<line>\r\n\r\n: c\n\n<line><end><line>", "<line><end><line><end>"),
    ),
    # Valves.
    "base": (
        *(
            "openai/gpt-4o",
            "openai.gpt-4o",
            "OpenAI/GPT-4O",
            "gpt-4o",
            "x/y",
            "q/w",
            "*",
            "x/*",
            "*gpt*",
            "?/?",
            "z/only",
            "a.b/c",
        ),
        *("", "x", "x/y/z", "gpt-4.1", "~a/latest", "<raw>", "**a*?*", "nobody/nothing", "[x]/y", "x/[!a]", "/x", "x/"),
    ),
    "tag": (
        "nitro",
        "free",
        "floor",
        "online",
        "thinking",
        "batch",
        "NITRO",
        "fast",
        "",
        "no way",
        "<raw>",
        "*",
        "a_b",
    ),
    "slug": ("x", "Mail-1.0", "*", "", ".x", "x/y", "unknown", "<raw>", "X_y"),
    "entry": (
        *(
            "<base>",
            "<base>",
            "<base>:<tag>",
            "<base>:<tag>",
            "<base>:<tag>:<tag>",
            "<base>@preset/<slug>",
            "@preset/<slug>",
        ),
        *("<base>:<tag>@preset/<slug>", "<base>@<slug>", "!<base>", "!<base>:<tag>", "#<base>", "auto", "<raw>", "!"),
    ),
    "between": (",", ",", ";", "\n", "\r\n", " , ", " ", ",,", "#", "\u2028"),
    "entries": ("", "*", "<entry>", "<entry>", "<entry><between><entry>", "<entries><between><entry><between><entry>"),
    "raw": (*_ODD, "<", ">", "*" * 40, "?" * 300, "a" * 300, ":" * 9, "@" * 5, "/" * 9),
}
# Each alternative taken apart: texts, and the names of rules at odd places.
_RULES = {
    name: [re.split(rf"<({'|'.join(_GRAMMAR)})>", alternative) for alternative in alternatives]
    for name, alternatives in _GRAMMAR.items()
}
_DEEPEST = 8


def grow(rule: str, random: Callable[[], float], depth: int = 0) -> str:
    """A text of the grammar. Deep down nothing but the first alternative is taken."""
    alternatives = _RULES[rule]
    parts = alternatives[int(random() * len(alternatives)) if depth < _DEEPEST else 0]
    if len(parts) == 1:
        return parts[0]
    return "".join([grow(part, random, depth + 1) if place % 2 else part for place, part in enumerate(parts)])


def mutate(text: str, random: Callable[[], float], odd: Sequence[str]) -> str:
    """The text with one to four small harms: cut off, taken out, doubled, spliced, or something odd put in."""
    for _ in range(1 + int(random() * 4)):
        start = int(random() * (len(text) + 1))
        end = start + int(random() * random() * 30)
        kind = int(random() * 6)
        if kind == 0:
            text = text[:start] + text[end:]
        elif kind == 1:
            text = text[:end] + text[start:]
        elif kind == 2 and random() < 0.3:
            text = text[:start]
        elif kind == 3:
            text = text[:start] + chr(int(random() * 256)) + text[start + 1 :]
        elif kind == 4:
            text = text[start:end] + text
        else:
            text = text[:start] + odd[int(random() * len(odd))] + text[start:]
    return text


class Target(NamedTuple):
    """One thing to fuzz: `make` an input, `check` it (an exception is a finding), and `repeat` a piece `n` times in it."""

    make: Callable[[Random], Case]
    check: Callable[[Any], None]
    repeat: Callable[[Random], Callable[[int], Case]]


def _harmed(text: str, random: Callable[[], float], chance: float) -> str:
    """The text, by `chance` mutated, and now and then a long one."""
    if random() < chance:
        text = mutate(text, random, _ODD)
        if random() < 0.002:
            start = int(random() * len(text))
            text = text[:start] + text[start : start + 30] * int(random() * 3_000) + text[start:]
    return text


def _tiring(rng: Random) -> str:
    return "".join(rng.choice(_TIRING) for _ in range(rng.choice((1, 1, 1, 2, 3))))


# --- The decoder of server-sent events


def make_stream(rng: Random) -> Case:
    """The bytes, where to cut them (as shares of the whole), and the limit for one event (0: the usual one)."""
    random = rng.random
    data = _harmed(grow("stream", random), random, 0.4).encode("utf-8", "surrogatepass")
    cuts = tuple([random() for _ in range(int(random() * 6))])
    return data, cuts, int(random() * 60) if random() < 0.1 else 0


def check_stream(case: tuple[bytes, tuple[float, ...], int]) -> None:
    """However it is cut, the payloads are those of the standard; only what is longer than the limit is refused."""
    data, shares, limit = case
    expected, longest = standard_payloads(data)
    cuts = sorted([int(share * len(data)) for share in shares])
    pieces = [data[start:end] for start, end in pairwise((0, *cuts, len(data)))]
    usual, sse.MAX_EVENT_BYTES = sse.MAX_EVENT_BYTES, limit or sse.MAX_EVENT_BYTES
    try:
        for chunks in ([data], pieces):
            decoder = sse.SseDecoder()
            try:
                payloads = [payload for chunk in chunks for payload in decoder.feed(chunk)] + decoder.flush()
            except sse.EventTooLongError:
                assert longest > sse.MAX_EVENT_BYTES, "refused, and not too long"
            else:
                assert payloads == expected, f"{payloads} instead of {expected}"
    finally:
        sse.MAX_EVENT_BYTES = usual


def standard_payloads(data: bytes) -> tuple[list[bytes], int]:
    """The standard's algorithm over complete input (the last event needs no empty line), and the size of its longest event."""
    payloads: list[bytes] = []
    lines: list[bytes] = []
    size = longest = 0
    for line in re.split(rb"\r?\n", data + b"\n\n"):
        longest = max(longest, size + len(line) + 2)
        if line.startswith(b"data:"):
            size += len(line) + 2
            lines.append(line[5:].removeprefix(b" "))
        elif not line:
            if payload := b"\n".join(lines):
                payloads.append(payload)
            lines = []
        size = size if lines else 0
    return payloads, longest


def repeat_stream(rng: Random) -> Callable[[int], Case]:
    """One piece again and again, read in network reads of one size."""
    piece, start, end = _tiring(rng), *(grow("stream", rng.random) for _ in range(2))
    size = rng.choice((100, 1_000, 4_096))

    def make(n: int) -> Case:
        data = f"{start}{piece * (n * 8)}{end}".encode("utf-8", "surrogatepass")
        return data, tuple(at / len(data) for at in range(size, len(data), size)), 0

    return make


# --- The error extractor

_STATUSES = (0, 200, 200, 200, 200, 400, 401, 402, 404, 408, 413, 422, 429, 500, 503, 529, 999, -1, 10**30)
_MODELS = (
    "openai/gpt-4o",
    "x/y:free@preset/z",
    "",
    "a" * 700,
    "{model}",
    "\u0000a\ud800\n",
    "sk-or-v1-0123456789abcdef",
)


def make_error(rng: Random) -> Case:
    """The HTTP status, the body, and the model that was asked for."""
    random = rng.random
    text = _harmed(grow("error", random), random, 0.4)
    model = _MODELS[int(random() * random() * len(_MODELS))]
    return _STATUSES[int(random() * len(_STATUSES))], text.encode("utf-8", "surrogatepass"), model


def check_error(case: tuple[int, bytes, str]) -> None:
    """One printable line of at most 500 characters without a key, whether it is a body or (200) comes in a stream."""
    status, body, model = case
    told: object = body
    if status == 200:
        with contextlib.suppress(ValueError, RecursionError):
            told = {"error": json.loads(body)}
    error = read_failure(status, told, model)
    line = str(error if len(body) % 4 else error.after(3))
    assert 0 < len(line) <= 500, f"{len(line)} characters"
    assert line.isprintable(), f"not printable: {line!r}"
    assert not (shown := _KEY_SHAPED.search(line)), f"shows a key: {shown}"
    assert 0 <= error.retry_after < 1e15, "an endless wait"


def repeat_error(rng: Random) -> Callable[[int], Case]:
    """One piece again and again, somewhere in a body: as it is, or in a text."""
    piece = _tiring(rng)
    before, _, after = rng.choice(
        (
            "|",
            '{"error":{"message":"|"}}',
            '{"error":{"metadata":{"raw":"|"}}}',
            '{"error":{"metadata":{"reasons":["|"]}}}',
            "<p>|",
        )
    ).partition("|")
    inside = json.dumps(piece)[1:-1] if before.endswith('"') else piece

    def make(n: int) -> Case:
        return 400, f"{before}{inside * (n // len(piece))}{after}".encode("utf-8", "surrogatepass"), "x/y"

    return make


# --- The message converter

_PARTS = {"text", "image_url", "file", "input_audio", "video_url"}
_ITEM_TYPES = {"message", "reasoning", "function_call", "function_call_output"}
_ITEM_PARTS = {"input_text", "input_image", "input_file", "input_audio", "input_video"}


def make_messages(rng: Random) -> Case:
    """JSON of a request's `messages`."""
    random = rng.random
    return (_harmed(grow("messages", random), random, 0.1),)


def check_messages(case: tuple[str]) -> None:
    """What comes out has the right shape on both endpoints, all that was said is in it, what came in is as it was."""
    try:
        given, before = json.loads(case[0]), json.loads(case[0])
    except (ValueError, RecursionError):
        given = before = case[0]
    messages = chat_messages(given)
    instructions, items = responses_input(given)
    assert given == before or "NaN" in case[0], "what came in was changed"
    assert messages
    assert items
    dump_json(messages)
    dump_json(items)
    _check_chat(messages)
    said = [instructions]
    for item in items:
        assert item["type"] in _ITEM_TYPES, item
        assert item["type"] != "function_call_output" or isinstance(item["call_id"], str), item
        if item["type"] in ("message", "function_call_output"):
            content = item["content"] if item["type"] == "message" else item["output"]
            said += _texts(content, _ITEM_PARTS)
    wanted = list(_said(given))
    _in_order(wanted, [text for message in messages for text in _texts(message["content"], _PARTS)])
    _in_order(wanted, said)


def _check_chat(messages: list[dict[str, Any]]) -> None:
    for message in messages:
        assert message["role"] in ("system", "developer", "user", "assistant", "tool"), message
        assert message["role"] != "tool" or isinstance(message["tool_call_id"], str), message
        for call in message.get("tool_calls", ()):
            assert isinstance(call["id"], str), call
            assert call["function"]["name"], call
            assert isinstance(call["function"]["arguments"], str), call
        for detail in message.get("reasoning_details", ()):
            assert detail["type"].startswith("reasoning."), detail


def _texts(content: object, types: set[str]) -> list[str]:
    """The texts of a message's content, which is text or a list of parts of known types."""
    if isinstance(content, str):
        return [content]
    assert isinstance(content, list), content
    assert all(part["type"] in types for part in content), content
    return [part["text"] for part in content if "text" in part]


def _said(given: object) -> Iterator[str]:
    """The texts in ordinary messages, in order."""
    for message in given if isinstance(given, list) else ():
        if not isinstance(message, dict) or message.get("role") not in ("system", "user", "assistant", "tool"):
            continue
        content = message.get("content")
        if isinstance(content, str):
            yield content
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
                yield part["text"]


def _in_order(wanted: list[str], said: list[str]) -> None:
    whole, at = "\u0001".join(said), 0
    for text in wanted:
        found = whole.find(text, at)
        assert found >= 0, f"lost: {text[:200]!r}"
        at = found + len(text)


def repeat_messages(rng: Random) -> Callable[[int], Case]:
    """One message again and again, or one piece in a message."""
    message, piece = grow("message", rng.random), json.dumps(_tiring(rng))[1:-1]
    many = rng.random() < 0.7

    def make(n: int) -> Case:
        if many:
            return ("[" + ",".join([message] * (n // (len(message) // 20 + 1) // 10 + 1)) + "]",)
        return ('[{"role":"user","content":[{"type":"text","text":"' + piece * n + '"}]}]',)

    return make


# --- The parsers of `MODEL_ID` and `VARIANT_MODELS`


def _catalogs() -> list[Catalog]:
    """Small catalogs of all kinds: usual names, odd names, presets, none."""
    usual = [
        "openai/gpt-4o",
        "openai/gpt-4o:batch",
        "x/y",
        "x/y:free",
        "q/w",
        "q/w:thinking",
        "z/only:free",
        "~a/latest",
    ]
    odd = [
        "gpt-4.1",
        "a.b/c",
        "/x",
        "x/",
        "@preset/own",
        "x/y/z",
        "a:b:c/d",
        "x/[!a]",
        "é/😀",
        "preset/x",
        "x@y",
        "X/Y",
        "x.y",
    ]
    made = []
    for ids in (usual[:4], odd[:4], usual, odd, [], usual + odd, [f"a{n % 7}/m{n}" for n in range(60)]):
        rows = [{"id": row_id, "supported_parameters": ["tools"] * (place % 2)} for place, row_id in enumerate(ids)]
        catalog = Catalog.from_rows(rows)
        made += [catalog, catalog.with_presets([Preset("x", "X"), Preset("Mail-1.0", "Mail", "", "x/y")])]
    return made


CATALOGS = _catalogs()
_FILTERS = ("all", "all", "only", "exclude")


def make_valves(rng: Random) -> Case:
    """Which catalog, `MODEL_ID`, `VARIANT_MODELS`, both filters."""
    random = rng.random
    # The small ones more often, for speed.
    number = int(random() * random() * random() * len(CATALOGS))
    model_id, variants = (_harmed(grow("entries", random), random, 0.2) for _ in range(2))
    return number, model_id, variants, _FILTERS[int(random() * 4)], _FILTERS[int(random() * 4)]


def check_valves(case: tuple[int, str, str, str, str]) -> None:
    """Every name of the list leads back to its model, every problem is a line, and what is not listed is refused politely."""
    number, model_id, variants, free, tools = case
    published = Published(CATALOGS[number], Publishing(model_id, variants, free, tools))
    seen = set()
    for ref, name, _, _, webui_id in published.entries:
        assert ModelRef.from_webui(webui_id) == ref, f"{webui_id!r} does not lead back to {ref}"
        assert webui_id.isprintable(), webui_id
        assert " " not in webui_id, webui_id
        assert name.isprintable(), name
        seen.add(webui_id)
    assert len(seen) == len(published.entries), "a name twice"
    assert len(published.problems) < 20_000, "too many problems"
    for problem in published.problems[:200]:
        line = str(problem)
        assert line.isprintable(), line
        assert len(line) < 1_000, line
    for name in [*published.left_out][:1] + [variants[:80]] * (len(variants) % 4 == 1):
        ref = ModelRef.from_api(name)
        with contextlib.suppress(PipeError):
            published.refuse(ref)
            assert ref.webui_id in seen or published.publishing.wants_presets, f"{name!r} may be called unlisted"


def repeat_valves(rng: Random) -> Callable[[int], Case]:
    """Many entries alike but different, or one piece again and again in one of them."""
    entry, between, piece = grow("entry", rng.random), rng.choice((",", "\n", ";")), _tiring(rng)
    many, place, number = rng.random() < 0.7, rng.random() < 0.5, rng.choice((0, 2, 3, 8))

    def make(n: int) -> Case:
        text = between.join(f"{entry}{at}" for at in range(n // 20)) if many else piece * n
        return (number, text, "", "all", "all") if place else (number, "*", text, "all", "all")

    return make


TARGETS = {
    "sse": Target(make_stream, check_stream, repeat_stream),
    "errors": Target(make_error, check_error, repeat_error),
    "messages": Target(make_messages, check_messages, repeat_messages),
    "valves": Target(make_valves, check_valves, repeat_valves),
}
