"""
title: OpenRouter
author: The OpenRouter pipe authors
version: 0.1.0
license: MIT
description: All of OpenRouter's models, with their variants and presets, as models of their own.
required_open_webui_version: 0.11.1
"""

# Built by scripts/bundle.py from src/openrouter_pipe/: change the modules there, then run `make bundle`.

from __future__ import annotations
import asyncio
import difflib
import fnmatch
import hashlib
import hmac
import importlib
import io
import json
import logging
import math
import os
import random
import re
import secrets
import sys
import time
import traceback
import weakref
from base64 import b64encode
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from collections.abc import Sequence, Set
from contextlib import ExitStack, aclosing, asynccontextmanager, closing, suppress
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from functools import cached_property, lru_cache, partial
from itertools import takewhile
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass
import aiohttp
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.responses import StreamingResponse


# === __init__.py
# The OpenRouter pipe for Open WebUI.

__version__ = "0.1.0"


# === codec.py
# JSON, read by orjson where it is installed, else by the standard library; and what others sent.

try:
    import orjson
except ImportError:  # pragma: no cover - Open WebUI ships orjson
    orjson = None  # type: ignore[assignment]

# An object: one of our own making, and one that is only read.
JsonDict = dict[str, Any]
JsonObject = Mapping[str, Any]
# Not orjson: where more than a hundred levels end at once, it writes past its buffer (3.11.9).
_encode = json.JSONEncoder(ensure_ascii=False, default=str, separators=(",", ":")).encode


def parse_json(text: bytes | str) -> Any:
    """The value in `text`. Raises `ValueError`.

    The standard library also reads NaN (null takes its place), bytes that are not UTF-8, and half of a surrogate pair (a
    provider cut an emoji in two); that could not be stored: a question mark takes its place.
    """
    try:
        return (orjson or json).loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        value = json.loads(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
        return json.loads(dump_json(value), parse_constant=lambda _: None)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dump_json(value: Any) -> bytes:
    """`value` as JSON. Half of a surrogate pair becomes a question mark, what JSON does not have its `str`."""
    return _encode(value).encode("utf-8", "replace")


def mapping(value: object) -> JsonObject:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def dicts(value: object) -> list[JsonDict]:
    """The objects in a list; none when it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def without(value: object, *keys: str) -> JsonDict:
    """A copy of an object without these keys."""
    return {key: inner for key, inner in mapping(value).items() if key not in keys}


def texts(value: object) -> tuple[str, ...]:
    """The texts in a list; none when it is no list."""
    return tuple([item for item in value if isinstance(item, str)]) if isinstance(value, list) else ()


def texts_in(value: object, key: str) -> tuple[str, ...]:
    """The texts under `key` of the objects in a list."""
    return texts([item.get(key) for item in dicts(value)])


def parts_of(messages: object) -> Iterator[JsonDict]:
    """The parts of all messages."""
    return (part for message in dicts(messages) for part in dicts(message.get("content")))


def as_text(value: object) -> str:
    """`value` if it is text, an object or a list as JSON, else nothing: some send objects for JSON text."""
    return value if isinstance(value, str) else dump_json(value).decode() if isinstance(value, dict | list) else ""


def amount_of(value: object) -> float | None:
    """A number that counts something: not negative, not endless; else None."""
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e15 else None


# === model_ref.py
# The grammar of model names.
#
# One name has two spellings:
#
#     OpenRouter (API)                     Open WebUI (after "<function id>.")
#     openai/gpt-4o                        openai.gpt-4o
#     openai/gpt-4o:nitro                  openai.gpt-4o:nitro
#     openai/gpt-4o:nitro@preset/x         openai.gpt-4o:nitro:preset/x
#     @preset/x                            preset/x
#
# Only the first "/" becomes ".", so dots, dates and "~" survive. A name that this would not bring back unchanged (an author
# with a dot, a gateway's id without an author such as `gpt-4.1`) is carried verbatim behind a leading "/".

# Routing tags exist on every model and are never in /models; catalog tags are rows of their own.
# Source: OpenRouter docs, guides/routing/model-variants/overview.
ROUTING_TAGS = ("nitro", "floor", "exacto", "online")
CATALOG_TAGS = ("free", "thinking", "extended", "beta", "batch")

_TAG = re.compile(r"[a-z0-9-]+")
# A preset's; case is kept.
SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
# With such a base the spelling is known to read back.
_USUAL_BASE = re.compile(r"[^/.:]+/[^:]+")
_API_PRESET = "@preset/"
_WEBUI_PRESET = ":preset/"
_VERBATIM = "/"


class ModelRef(NamedTuple):
    """A model name taken apart: `base` (empty when a preset stands alone), variant tags in order, preset slug or None."""

    base: str
    variants: tuple[str, ...] = ()
    preset: str | None = None

    @classmethod
    def from_api(cls, text: str) -> ModelRef:
        """Read OpenRouter's spelling. Never fails: what is not a tag or a preset belongs to the base."""
        return cls(*_split(text, _API_PRESET))

    @classmethod
    def from_webui(cls, text: str) -> ModelRef:
        """Read Open WebUI's spelling (without the function id)."""
        if text.startswith(_VERBATIM):
            return cls.from_api(text[1:])
        # A preset alone is spelled without the colon.
        base, variants, preset = _split(f":{text}" if text.startswith("preset/") else text, _WEBUI_PRESET)
        author, dot, slug = base.partition(".")
        natural = dot and author and "/" not in author
        return cls(f"{author}/{slug}" if natural else base, variants, preset)

    @property
    def api_id(self) -> str:
        """The name as OpenRouter takes it, e.g. `openai/gpt-4o:nitro@preset/x`."""
        name = ":".join((self.base, *self.variants))
        return name if self.preset is None else f"{name}{_API_PRESET}{self.preset}"

    @property
    def webui_id(self) -> str:
        """The name as an Open WebUI model id can carry it; `from_webui` of it is this reference again."""
        natural = ":".join((self.base.replace("/", ".", 1), *self.variants))
        if self.preset is not None:
            natural = f"{natural}{_WEBUI_PRESET}{self.preset}".removeprefix(":")
        reads_back = _USUAL_BASE.fullmatch(self.base) or ModelRef.from_webui(natural) == self
        return natural if reads_back else _VERBATIM + self.api_id

    @property
    def row_ids(self) -> tuple[str, ...]:
        """Ids of the catalog rows that may describe this name, best first.

        All tags (a gateway may list any of them), no routing tags, the catalog tag alone, no tag; never the preset.
        """
        kept = [tag for tag in self.variants if tag not in ROUTING_TAGS]
        of_catalog = [tag for tag in kept if tag in CATALOG_TAGS]
        ids = [":".join((self.base, *tags)) for tags in (self.variants, kept, of_catalog, ())]
        return tuple(dict.fromkeys(ids)) if self.base else ()


def _split(text: str, before_preset: str) -> tuple[str, tuple[str, ...], str | None]:
    """Base, tags and slug. What is not a tag or a preset belongs to the base."""
    head, found, slug = text.rpartition(before_preset)
    preset = slug if found and SLUG.fullmatch(slug) else None
    parts = (text if preset is None else head).split(":")
    start = len(parts)
    while start > 1 and _TAG.fullmatch(parts[start - 1]):
        start -= 1
    base = ":".join(parts[:start])
    return (base, tuple(parts[start:]), preset) if base else (":".join(parts), (), preset)


# === sse.py
# Server-sent events: bytes in, the payload of each event out.
#
# Standard: https://html.spec.whatwg.org/multipage/server-sent-events.html. Only `data` matters here: OpenRouter repeats the
# event's type inside it. Comments (`: OPENROUTER PROCESSING`), other fields and events without any data are skipped.

# An image in base64 may be some ten megabytes; more than this in one event is not an answer.
MAX_EVENT_BYTES = 64 * 1024 * 1024
_EMPTY_LINES = (b"", b"\r")


class EventTooLongError(ValueError):
    """One event grew past `MAX_EVENT_BYTES`."""


class SseDecoder:
    """An incremental decoder. However the bytes are cut, the payloads are the same; the work is linear in the input."""

    def __init__(self) -> None:
        # The pieces of the line that is not complete, the data lines of the event that is not, and the size of both.
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The payloads of the events that `chunk` completes. Raises `EventTooLongError`."""
        *lines, last = chunk.split(b"\n")
        payloads: list[bytes] = []
        if lines:
            lines[0] = b"".join((*self._line, lines[0]))
            self._line = []
        self._line.append(last)
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6 if line[5:6] == b" " else 5 :].removesuffix(b"\r"))
            elif self._data and line in _EMPTY_LINES:
                if payload := b"\n".join(self._data):
                    payloads.append(payload)
                self._data.clear()
        self._size = len(last) if lines and not self._data else self._size + len(chunk)
        if self._size > MAX_EVENT_BYTES:
            # Where lines brought no data, less is kept than came.
            self._size = sum(map(len, self._line)) + sum(map(len, self._data)) + 6 * len(self._data)
            if self._size > MAX_EVENT_BYTES:
                raise EventTooLongError
        return payloads

    def flush(self) -> list[bytes]:
        """The payload of an event whose closing empty line never came (some servers forget it)."""
        return self.feed(b"\n\n")


# === catalog.py
# The catalog: what OpenRouter's `GET /models` says, as immutable rows.

# Open WebUI refuses model ids with white space and ids over 256 characters; some room is left for the function id.
_MAX_ID_LENGTH = 200
# What of a row is used; the rest (benchmarks, links, …) is not kept.
_USED = (
    *("id", "name", "description", "canonical_slug", "context_length", "pricing", "architecture"),
    *("supported_parameters", "reasoning", "has_zdr"),
)


class Model(NamedTuple):
    """One row of the catalog. Its fields are read when asked for; what is unknown or makes no sense is `None` or empty.

    `parse_model` of its `row` is the same model.
    """

    id: str
    name: str
    ref: ModelRef
    row: JsonObject

    @property
    def description(self) -> str:
        """In Markdown."""
        return _text(self.row.get("description"))

    @property
    def canonical_slug(self) -> str:
        """The name by which answers may call the model; the id where the row does not tell."""
        return _text(self.row.get("canonical_slug")) or self.id

    @property
    def context_length(self) -> int | None:
        """How many tokens fit."""
        length = self.row.get("context_length")
        return length if isinstance(length, int) and 0 < length <= 1e12 else None

    @property
    def pricing(self) -> dict[str, str]:
        """US dollars per token or unit, as decimal text, by kind (`prompt`, `completion`, …); "-1": it varies."""
        prices = mapping(self.row.get("pricing")).items()
        return {kind: str(price) for kind, price in prices if kind != "discount" and _is_number(price)}

    @property
    def input_modalities(self) -> tuple[str, ...]:
        """What the model takes: `text`, `image`, `file`, `audio`, `video`."""
        return texts(mapping(self.row.get("architecture")).get("input_modalities"))

    @property
    def output_modalities(self) -> tuple[str, ...]:
        """What the model gives."""
        return texts(mapping(self.row.get("architecture")).get("output_modalities"))

    @property
    def supported_parameters(self) -> frozenset[str]:
        """The request's parameters that at least one provider of the model takes."""
        return frozenset(texts(self.row.get("supported_parameters")))

    @property
    def reasons(self) -> bool | None:
        """Whether the model can reason; None where the row does not tell."""
        supported = self.supported_parameters
        if "reasoning" in supported or mapping(self.row.get("reasoning")):
            return True
        return False if supported else None

    @property
    def reasoning_mandatory(self) -> bool:
        """Whether its reasoning cannot be switched off."""
        return mapping(self.row.get("reasoning")).get("mandatory") is True

    @property
    def efforts(self) -> tuple[str, ...]:
        """The reasoning efforts that the row lists; empty: it does not tell, all are taken."""
        return texts(mapping(self.row.get("reasoning")).get("supported_efforts"))

    @property
    def is_batch(self) -> bool:
        """Whether it takes batches only: it cannot be called in a chat."""
        return "batch" in self.ref.variants

    @property
    def is_router(self) -> bool:
        """Whether it stands for other models."""
        return self.id.startswith(("openrouter/", "~"))

    @property
    def has_zdr(self) -> bool:
        """False where the catalog was asked and has no endpoint with zero data retention for it."""
        return self.row.get("has_zdr") is not False

    @property
    def is_free(self) -> bool:
        """Every price that is given is zero, or the id says `:free`."""
        prices = self.pricing.values()
        return "free" in self.ref.variants or (bool(prices) and not any(map(float, prices)))

    @property
    def has_tools(self) -> bool:
        """Whether the model takes tools; a router or alias that lists nothing passes them on."""
        supported = self.supported_parameters
        return "tools" in supported or (self.is_router and not supported)


# What nothing is known of is judged like a router: it may do everything, and is not free.
UNKNOWN = Model("~", "", ModelRef("~"), {})


class Preset(NamedTuple):
    """A preset of the account: its slug, its own name and description, and the id of the model it names (if any)."""

    slug: str
    name: str
    description: str = ""
    model_id: str | None = None


class Catalog(NamedTuple):
    """The rows of one account at one moment: `models` by id, discovered presets, and how many rows were left out.

    `knows_presets` is false until the account was asked for its presets; until then there are those that rows name.
    """

    models: Mapping[str, Model]
    presets: tuple[Preset, ...] = ()
    left_out: int = 0
    knows_presets: bool = False

    @classmethod
    def from_rows(cls, rows: Iterable[object]) -> Catalog:
        """Read `GET /models` rows. Odd values become "unknown"; a row without an id or without text output is counted."""
        models: dict[str, Model] = {}
        presets: dict[str, Preset] = {}
        left_out = 0
        for row in rows:
            model = parse_model(row)
            if model is None:
                left_out += 1
            elif slug := model.ref.preset:
                name = slug if model.name == model.id else model.name
                presets.setdefault(slug, Preset(slug, name, model.description))
            else:
                models.setdefault(model.id, model)
        return cls(models, tuple(presets.values()), left_out)

    def with_presets(self, presets: Iterable[Preset]) -> Catalog:
        """The same rows with these presets of the account too; of two with one slug the later one counts."""
        by_slug = {preset.slug: preset for preset in (*self.presets, *presets)}
        return self._replace(presets=tuple(by_slug.values()), knows_presets=True)

    def describe(self, ref: ModelRef) -> Model:
        """The row that describes `ref`: without preset and routing tags but with its catalog tag, else the base row."""
        return next(iter(self.rows_of(ref)), UNKNOWN)

    def rows_of(self, ref: ModelRef) -> list[Model]:
        """The rows that may describe `ref`, best first."""
        return [self.models[row_id] for row_id in ref.row_ids if row_id in self.models]


def parse_model(row: object) -> Model | None:
    """One row of `GET /models`; None when it has no usable id or is known to produce no text."""
    row = mapping(row)
    model_id = _text(row.get("id"))
    if not 0 < len(model_id) <= _MAX_ID_LENGTH or not model_id.isprintable() or " " in model_id:
        return None
    model = Model(
        model_id,
        one_line(row.get("name")) or model_id,
        ModelRef.from_api(model_id),
        {key: row[key] for key in _USED if key in row},
    )
    modalities = model.output_modalities
    return None if modalities and "text" not in modalities else model


def parse_preset(row: object) -> Preset | None:
    """One row of `GET /presets` (or the body of `GET /presets/{slug}`); None when it has no slug or is not active."""
    row = mapping(row)
    slug = _text(row.get("slug"))
    if row.get("status") not in ("active", None) or not SLUG.fullmatch(slug):
        return None
    config = mapping(mapping(row.get("designated_version")).get("config"))
    models = filter(None, (_text(config.get("model")), *texts(config.get("models"))))
    return Preset(slug, one_line(row.get("name")) or slug, _text(row.get("description")), next(models, None))


def one_line(value: object) -> str:
    """`value` as one line of printable text (names go into lists and logs); empty when it is not text."""
    text = _text(value)[:500]
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(text.split())


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _is_number(price: object) -> bool:
    with suppress(ValueError):
        return isinstance(price, str | int | float) and math.isfinite(float(str(price)))
    return False


# === cost_line.py
# The status line of an answer: what it cost, how much was read and written, how fast, and who served it.

# Shorter than this, the speed says more about the network than about the model.
_MIN_SECONDS = 0.2
# `-2024-11-20`, `-20250929`: a snapshot of the same model.
_DATE = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|20\d{6})$")
# Tiers that mean: nothing special.
_USUAL_TIERS = {"", "auto", "default", "standard"}


def add_usage(spent: dict[str, float], usage: JsonObject, seconds: float) -> None:
    """Add what one more round of an answer has used to what the others have, both under the names of /chat/completions.

    Also `seconds`, where they tell how fast it was, and how many tokens were written in them: `timed`.
    """
    # The last two names are ours: what upstream may call so is something else.
    told = {**usage, **mapping(usage.get("prompt_tokens_details")), "timed": None, "seconds": None}
    if seconds >= _MIN_SECONDS:
        told |= {"timed": usage.get("completion_tokens"), "seconds": seconds}
    for name, value in told.items():
        amount = amount_of(value)
        if amount is not None:
            spent[name] = spent.get(name, 0.0) + amount


def cost_line(spent: Mapping[str, float], served: JsonObject, asked: ModelRef, model: Model, tier: object) -> str:
    """The line, without what is unknown.

    `served`: what upstream said of the serving (`model`, `provider`, `service_tier`, `openrouter_metadata`); `tier`: the
    service tier that was asked for. Source: OpenRouter docs, guides/features/router-metadata.
    """
    endpoints = mapping(mapping(served.get("openrouter_metadata")).get("endpoints"))
    selected = (found.get("provider") for found in dicts(endpoints.get("available")) if found.get("selected"))
    provider = served.get("provider") or next(selected, None)
    cached = f" ({spent['cached_tokens']:,.0f} cached)" if spent.get("cached_tokens") else ""
    parts = (
        _other_model(served.get("model"), asked, model),
        _other_tier(served.get("service_tier"), tier),
        dollars(spent["cost"]) if "cost" in spent else "",
        f"{spent['prompt_tokens']:,.0f} in{cached}" if spent.get("prompt_tokens") else "",
        f"{spent['completion_tokens']:,.0f} out" if spent.get("completion_tokens") else "",
        f"{spent['timed'] / spent['seconds']:.0f} tok/s" if spent.get("timed") else "",
        one_line(provider)[:60],
    )
    return " · ".join(filter(None, parts))


def dollars(amount: float) -> str:
    """US dollars: two decimals from $1, four from $0.01, two significant digits below."""
    if amount <= 0:
        return "$0"
    decimals = 2 if amount >= 1 else 4 if amount >= 0.01 else min(1 - math.floor(math.log10(amount)), 12)
    return f"${amount:,.{decimals}f}"


def _other_model(answered: object, asked: ModelRef, model: Model) -> str:
    """A warning when another model answered than the chosen one; a router, an alias and a preset alone choose by themselves."""
    name = one_line(answered)[:120]
    if not name or not asked.base or asked.base.startswith(("openrouter/", "~")):
        return ""
    own = (asked.api_id, model.id, model.canonical_slug)
    if name in own or _plain_name(name) in map(_plain_name, own):
        return ""
    return f"⚠ answered by {name}, asked for {asked.api_id}"


def _plain_name(text: str) -> str:
    """The model's name without preset, routing tags and date."""
    ref = ModelRef.from_api(text.lower())
    return ":".join((_DATE.sub("", ref.base), *(tag for tag in ref.variants if tag not in ROUTING_TAGS)))


def _other_tier(served: object, asked: object) -> str:
    got, wanted = one_line(served)[:30], one_line(asked)[:30]
    if not got or got == wanted or {got, wanted} <= _USUAL_TIERS:
        return ""
    return f"service tier {got}" if wanted in _USUAL_TIERS else f"service tier {got}, asked for {wanted}"


# === errors.py
# What goes wrong, and the one line that a person reads.

_MAX_LENGTH = 500
# What looks like a key by itself (of OpenRouter, of providers, in a header, a JSON web token), and a value with a digit in
# it behind a telling name.
_SECRETS = re.compile(
    r"""\b(?:sk|pk|rk|gsk|xai|hf|ghp)[-_][\w-]{6,}|\bAIza[\w-]{20,}
    |\bBearer\s+[^\s"',;}]{8,}|\bBasic\s+[\w+/]{12,}=*|\beyJ[\w-]{1,500}+\.[\w.-]+
    |\b(?:[\w-]{0,40}authorization|x-[\w-]{0,40}key|api[-_ ]?key(?:\ provided)?|(?:set-)?cookie|\w*secret|\w*token|\w*password)
    ["']?\s*[:=]\s*["']?(?:\w+\s+)?(?=[^\s"',;}]{0,200}\d)[^\s"',;}]{8,}""",
    re.IGNORECASE | re.VERBOSE,
)
# Where a stack trace begins, of Python or of JavaScript.
_STACK_TRACE = re.compile(r"Traceback \(most recent|^[ \t]*File \"|\sat (?:\S+ )?\(?\S+:\d+:\d+\)?", re.MULTILINE)

ANY_NUMBER = 1_000_000
BROKE_OFF = "The answer of {whose} broke off before its end. Try again."
# Statuses after which another attempt may help, and how often.
_RETRIES = {**dict.fromkeys((408, 429, 502, 503, 504, 524, 529), ANY_NUMBER), 500: 1}


class PipeError(Exception):
    """An error whose text is the line that a person reads. `max_retries`: how often another attempt may help."""

    # Seconds until then, where upstream says so.
    retry_after = 0.0

    def __init__(self, sentence: str, max_retries: int = 0) -> None:
        super().__init__(plain(sentence))
        self.max_retries = max_retries

    @property
    def happened(self) -> str:
        """What happened, without what to do about it."""
        return str(self).partition(". ")[0]

    def after(self, tries: int) -> PipeError:
        """The same error, its text telling after how many attempts."""
        if tries > 1:
            self.args = (plain(str(self).replace(". ", f"; tried {tries} times. ", 1)),)
        return self


class UpstreamError(PipeError):
    """OpenRouter or a provider refused, before the answer or in the middle of it.

    `status` is what that means (0: unknown), `kind` the same in words, `said` the reason given, `who` gave it;
    `retryable` is what upstream says of it, if that is true or false.
    """

    def __init__(
        self,
        model_id: str,
        status: int = 0,
        kind: str = "",
        said: str = "",
        who: str = "",
        fallback_models: tuple[str, ...] = (),
        retryable: object = None,
        retry_after: float = 0.0,
    ) -> None:
        sentence = _SENTENCES.get(kind) or _SENTENCES.get(status) or _SENTENCES[0]
        happened, _, advice = sentence.partition(". ")
        if fallback_models:
            advice = f"Try {' or '.join(fallback_models[:3])}."
        elif not advice:
            when = f"in {duration(retry_after)}" if retry_after else "in a moment"
            advice = f"Try again {when}, or choose another model."
        line = happened.format(who=who or "OpenRouter", model=plain(model_id)[:120])
        if status not in _SENTENCES:
            line = f"{line} ({status})"
        if said:
            line = f"{line}: {said}"
        # The advice has to survive the cut, and how often it was tried.
        room = _MAX_LENGTH - len(advice) - 25
        line = f"{line.rstrip('.')}." if len(line) <= room else f"{line[: room - 1]}…"
        max_retries = ANY_NUMBER if retryable is True else 0 if retryable is False else _RETRIES.get(status, 0)
        super().__init__(f"{line} {advice}", max_retries)
        self.status = status
        self.kind = kind
        self.retry_after = retry_after


def retry_wait(error: PipeError, tries: int, max_retries: int, max_wait: float, chance: float) -> float:
    """Seconds to wait before another attempt after `tries` of them, endless when there is to be none.

    What upstream asks for is obeyed, or not waited for at all; else the pauses double. `chance` (0 to 1) spreads them, so
    that chats that failed together do not come back together.
    """
    wait = error.retry_after or min(2 ** (tries - 1), max_wait) * (1 + chance) / 2
    return math.inf if wait > max_wait or tries > min(max_retries, error.max_retries) else wait


# Kinds and statuses → what happened, and what to do (nothing: try again). `{who}` is the provider or OpenRouter.
# Source of the kinds: OpenRouter's docs (errors-and-debugging), ApiErrorType.
_SENTENCES: dict[int | str, str] = {
    int(case) if case.isdigit() else case: sentence
    for cases, sentence in {
        "model_not_found": "{who} does not know the model {model}. Choose another model.",
        "wrong_endpoint": "{model} is not served on this endpoint. Set the valve ENDPOINT to auto. Choose another model.",
        "model_deprecated model_unavailable_upstream region_restricted free_variant_ended": (
            "{model} is not offered now. Choose another model."
        ),
        "privacy_restricted": (
            "The privacy settings leave no provider for {model}. Choose another model, or check the valve DATA_COLLECTION "
            "and openrouter.ai/settings/privacy."
        ),
        "constraint_filtered": (
            "The routing settings leave no provider for {model}. Choose another model, or check the chat's parameters and "
            "the PROVIDER valves."
        ),
        "context_length_exceeded token_limit_exceeded string_too_long max_tokens_exceeded 413": (
            "The conversation is too long for {model}. Start a new chat, remove files, or choose a model with a longer "
            "context."
        ),
        "not_an_api": "What answered for {model} is not OpenRouter's API. Check the valve BASE_URL.",
        "400 422": (
            "{who} did not accept the request for {model}. Check the chat's parameters, or choose another model."
        ),
        "401": "{who} did not accept the API key. Check the valve API_KEY.",
        "402": (
            "The OpenRouter account or key has no credit left. Add credits or raise the key's limit on openrouter.ai."
        ),
        "403": "{who} refused the request for {model}. Rephrase the message, or choose another model.",
        "404": "{who} has no endpoint for {model}. Choose another model, or check privacy and routing settings.",
        "429": "{who} is rate-limiting {model}",
        "500": "{who} had an internal error with {model}",
        "502": "{who} gave no valid answer for {model}",
        "503": "No provider is available for {model}",
        "529 capacity_exhausted": "{who} is overloaded and cannot answer for {model}",
        "408 504 524": "{who} took too long for {model}",
        "0": "{who} reported an error for {model}",
    }.items()
    for case in cases.split()
}
# What the message says, for kinds that often come without their name, in refusals of these statuses.
_TOLD_STATUSES = (400, 404, 405, 413, 422)
_TOLD = {
    "context_length_exceeded": r"context.(length|window)|prompt is too long|too many .*tokens",
    "model_not_found": r"not a valid model",
    "wrong_endpoint": r"\b(on|by|use|with) (the )?/?(api/v1/)?(chat/completions|responses)\b",
    "privacy_restricted": r"data policy|privacy",
    "constraint_filtered": r"allowed providers|providers? (have|has) been ignored",
}
# Codes that are text: OpenRouter's ApiErrorType, and what providers send.
_STATUSES = {
    code: status
    for status, codes in {
        "400": "invalid_request invalid_prompt",
        "401": "authentication invalid_api_key",
        "402": "payment_required insufficient_quota",
        "403": "permission_denied content_policy_violation image_content_policy_violation refusal",
        "404": "not_found",
        "408": "timeout",
        "413": "payload_too_large image_too_large",
        "422": "unprocessable",
        "429": "rate_limit_exceeded rate_limit_error",
        "500": "server server_error internal_server_error",
        "502": "provider_unavailable",
        "529": "provider_overloaded overloaded_error",
    }.items()
    for code in codes.split()
}
# Where a message stands, the telling places first.
_ERROR_KEYS = ("message", "detail", "msg", "error")


def read_failure(status: int, body: object, model_id: str, retry_after: float = 0.0) -> UpstreamError:
    """The error in a response body (bytes), an event or an `error` object, in any of the shapes that occur.

    `retry_after`: the seconds that a header asks for. Source: OpenRouter docs, errors-and-debugging and
    responses/error-handling.
    """
    body = _content_of(status, body) if isinstance(body, bytes) else body
    # Some gateways send a list of errors.
    body = next(iter(dicts(body)), body)
    error = mapping(mapping(body).get("error") or body)
    # The further inside, the more it tells, unless that is null.
    parts = (body, error, error.get("metadata"), error.get("availability"))
    told = {key: value for part in parts for key, value in mapping(part).items() if value is not None}
    # Many errors of /responses have the code "server_error", and their type beside it.
    kinds = [told.get("error_type"), error.get("code"), told.get("code"), told.get("type")]
    codes = (status, *(code for code in kinds if isinstance(code, int)), told.get("http_status"), *kinds)
    status = next(filter(None, map(_status_of, codes)), 0)
    # Why moderation or a guardrail said no.
    refused = ", ".join(texts(told.get("reasons")) + texts(told.get("patterns")))
    message = _innermost(error) or _innermost(body)
    reason = _innermost(told.get("raw")) or _clean(refused or mapping(told.get("constraint")).get("detail"))
    said = message if reason in message else ": ".join(filter(None, (message, reason)))
    known = (kind for kind in texts(kinds) if kind in _SENTENCES)
    meant = (
        kind for kind, words in _TOLD.items() if status in _TOLD_STATUSES and re.search(words, said, re.IGNORECASE)
    )
    return UpstreamError(
        model_id,
        status,
        next(known, None) or next(meant, ""),
        said,
        who=_clean(told.get("provider_name"))[:60],
        fallback_models=tuple(filter(None, map(_clean, texts(told.get("fallback_models"))))),
        retryable=told.get("retryable"),
        retry_after=retry_after or amount_of(told.get("retry_after") or told.get("retry_after_seconds")) or 0.0,
    )


def duration(seconds: float) -> str:
    """`20 s`, `5 min`, `3 h`, rounded up."""
    size, unit = (3_600, "h") if seconds > 5_400 else (60, "min") if seconds > 90 else (1, "s")
    return f"{math.ceil(seconds / size)} {unit}"


def plain(text: str) -> str:
    """One printable line of at most 500 characters, without anything that looks like a key."""
    return one_line(_SECRETS.sub("…", text[:20_000]))


def _content_of(status: int, body: bytes) -> object:
    """A body as JSON. What is none becomes an error: a web page, plain text, or what cannot be read (it is not shown)."""
    try:
        content = parse_json(body)
        is_api = status >= 400 or not mapping(content).keys().isdisjoint(_ERROR_KEYS)
    except ValueError:
        text = body.decode("utf-8", "replace").lstrip()
        is_page, is_readable = text.startswith("<"), text[:1] not in "{[\ufeff" and "\ufffd" not in text
        content = {"message": "a web page came back" if is_page else text if is_readable else ""}
        is_api = status >= 400 and not (is_page and status in (404, 405))
    return content if is_api else {**mapping(content), "error_type": "not_an_api"}


def _innermost(value: object) -> str:
    """The message somewhere inside: `metadata.raw` and `message` are text, often JSON with the true reason further in."""
    for _ in range(6):
        if isinstance(value, dict):
            value = next(filter(None, map(value.get, _ERROR_KEYS)), None)
        elif isinstance(value, list):
            value = next(iter(value), None)
        elif isinstance(value, str) and value.lstrip().startswith(("{", "[")):
            try:
                value = parse_json(value)
            except ValueError:
                break
    return _clean(value)


def _clean(value: object) -> str:
    """The same without stack traces; empty when it is not text."""
    text = value[:20_000] if isinstance(value, str) else ""
    return plain(_STACK_TRACE.split(text, maxsplit=1)[0]).rstrip(" :")


def _status_of(code: object) -> int:
    status = _STATUSES.get(str(code), str(code))
    return int(status) if re.fullmatch("[4-9][0-9]{2}", status) else 0


# === parameters.py
# The parameters of a request: one table of where each goes, and which models take it.

Endpoint = Literal["responses", "chat_completions"]

# On both endpoints, and whatever the model.
_EVERYWHERE = (
    "max_tool_calls stop_server_tools_when provider models route plugins service_tier trace metadata session_id user "
    "modalities image_config cache_control prompt_cache_key prompt_cache_options"
)
# Name → the place on each endpoint (empty: none; `a.b` is field `b` of object `a`), and what has to be in a row's
# `supported_parameters` (one of these; empty: all models take it). `{}` is the name. What is not here is not sent.
# Source: OpenRouter's OpenAPI document, ChatRequest and ResponsesRequest.
PARAMETERS = {
    name: {"chat_completions": chat.format(name), "responses": responses.format(name), "needs": needs.format(name)}
    for names, chat, responses, needs in (
        ("temperature top_p top_k frequency_penalty presence_penalty top_logprobs", "{}", "{}", "{}"),
        ("min_p top_a repetition_penalty seed logit_bias logprobs prediction stop", "{}", "", "{}"),
        ("web_search_options include_reasoning", "{}", "", "{}"),
        ("max_tokens max_completion_tokens", "{}", "max_output_tokens", "{}"),
        ("response_format", "{}", "text.format", "response_format structured_outputs"),
        ("verbosity", "{}", "text.verbosity", "{}"),
        ("tools tool_choice parallel_tool_calls", "{}", "{}", "tools"),
        (_EVERYWHERE, "{}", "{}", ""),
        ("reasoning reasoning_effort", "reasoning", "reasoning", ""),
        ("preset transforms audio usage", "{}", "", ""),
        ("safety_identifier truncation", "", "{}", ""),
    )
    for name in names.split()
}
# Two names of one thing; which one a model takes its row says.
LENGTHS = ("max_tokens", "max_completion_tokens")
_CHOICES = ("auto", "none", "required")
# Server tools that /chat/completions refuses. Source: OpenRouter's OpenAPI document, ChatFunctionTool.
_RESPONSES_ONLY = ("openrouter:apply_patch", "openrouter:shell", "openrouter:tool_search")
# What sends a request to /chat/completions; an answer is as good without the two.
_CHAT_ONLY = {name for name, places in PARAMETERS.items() if not places["responses"]} - {"include_reasoning", "usage"}


def read_parameters(body: JsonObject, model: Model) -> JsonDict:
    """The parameters of the request that make sense and that the model takes."""
    supported = model.supported_parameters
    asked: JsonDict = {}
    if given := [name for name in LENGTHS if body.get(name) is not None]:
        # Under the name that the row lists.
        name = max((given[-1], *LENGTHS), key=supported.__contains__)
        body = {**body, **dict.fromkeys(LENGTHS), name: body[given[-1]]}
    for name in filter(PARAMETERS.__contains__, body):
        convert, needs = _CONVERTERS.get(name), PARAMETERS[name]["needs"].split()
        value = convert(body[name]) if convert else body[name]
        refused = supported and needs and supported.isdisjoint(needs)
        if value is not None and not refused:
            asked[name] = value
    return asked


def needs_chat(asked: JsonObject) -> bool:
    """Whether only /chat/completions has what they ask for."""
    return "audio" in asked.get("modalities", ()) or not _CHAT_ONLY.isdisjoint(asked)


def place_parameters(asked: JsonObject, endpoint: Endpoint) -> JsonDict:
    """The fields of the body, as far as the endpoint has a place for the parameters."""
    fields: JsonDict = {}
    for name, value in asked.items():
        outer, _, inner = PARAMETERS[name][endpoint].partition(".")
        if adapt := _ADAPTED[endpoint].get(name):
            # What is then empty would be refused.
            value = adapt(value) or None
        if outer and value is not None:
            fields[outer] = {**fields.get(outer, {}), inner: value} if inner else value
    if "tools" not in fields:
        # There is nothing to choose from.
        fields.pop("tool_choice", None)
        fields.pop("parallel_tool_calls", None)
    return fields


def left_out(body: JsonObject, fields: JsonObject, endpoint: Endpoint) -> tuple[str, ...]:
    """The names of the parameters in `body` that have not become one of the fields."""
    sent = {*fields, *(LENGTHS if not fields.keys().isdisjoint(LENGTHS) else ())}
    asked = [name for name in body if name in PARAMETERS and body[name] is not None]
    return tuple([name for name in asked if PARAMETERS[name][endpoint].partition(".")[0] not in sent])


def _logit_bias(value: object) -> dict[str, float] | None:
    """Open WebUI hands it over as text, `50256:-100, 198:5`."""
    if isinstance(value, dict):
        return value or None
    try:
        pairs = (pair.split(":") for pair in str(value).split(",") if pair.strip())
        return {str(int(token)): max(-100.0, min(100.0, float(weight))) for token, weight in pairs} or None
    except ValueError:
        return None


def _preset(value: object) -> str | None:
    """`slug` or `@preset/slug`."""
    slug = as_text(value).strip().removeprefix("@preset/")
    return f"@preset/{slug}" if SLUG.fullmatch(slug) else None


def _function_of(tool: JsonObject) -> JsonDict:
    """The function in a definition or a choice, nested (as Open WebUI sends it) or flat; empty when there is none."""
    function = mapping(tool.get("function", tool)) if tool.get("type") == "function" else {}
    known = ("name", "description", "parameters", "strict")
    return {key: function[key] for key in known if function.get(key) is not None}


def _for_chat(tool: JsonObject) -> JsonObject | None:
    """A definition or a choice as /chat/completions takes it; None when it has no place there."""
    if function := _function_of(tool):
        return {"type": "function", "function": function}
    kind = str(tool.get("type"))
    return tool if kind.startswith(("openrouter:", "web_search")) and kind not in _RESPONSES_ONLY else None


def _for_responses(tool: JsonObject) -> JsonObject | None:
    """The same for /responses, where a function is flat, and its `parameters` are required even where it has none."""
    if function := _function_of(tool):
        return {"type": "function", "parameters": None, **function}
    return None if tool.get("type") == "function" else tool


def _choice_for_responses(choice: object) -> object:
    # OpenRouter's own tools cannot be chosen there.
    tool = mapping(choice)
    own = str(tool.get("type")).startswith("openrouter:")
    return choice if choice in _CHOICES else None if own else without(_for_responses(tool), "parameters")


# What a parameter has to be. The effort is read with `reasoning`.
_CONVERTERS: dict[str, Callable[[Any], object]] = {
    "reasoning_effort": lambda value: None,
    "logit_bias": _logit_bias,
    "preset": _preset,
    "stop": lambda value: value or None,
    "modalities": lambda value: list(texts(value)) or None,
    "provider": mapping,
    "response_format": lambda value: mapping(value) or None,
}
# What an endpoint has in another shape, or only in part.
_ADAPTED: dict[Endpoint, dict[str, Callable[[Any], Any]]] = {
    "responses": {
        # The schema is not nested here.
        "response_format": lambda value: without({**value, **mapping(value.get("json_schema"))}, "json_schema"),
        "modalities": lambda value: [kind for kind in value if kind != "audio"],
        "tools": lambda value: list(filter(None, map(_for_responses, dicts(value)))),
        "tool_choice": _choice_for_responses,
        # Here it is sent, and then not shown.
        "reasoning": lambda value: without(value, "exclude"),
    },
    "chat_completions": {
        "tools": lambda value: list(filter(None, map(_for_chat, dicts(value)))),
        "tool_choice": lambda value: value if value in _CHOICES else _for_chat(mapping(value)),
        "reasoning": lambda value: without(value, "context", "mode"),
    },
}


# === problems.py
# What is wrong with a setting or an entry of one: collected as data, logged once, shown to the admin.

log = logging.getLogger("openrouter_pipe")

# Longer texts are cut, so that a pasted book costs a moment, not a minute.
MAX_ENTRIES = 5_000
_MAX_ENTRY_LENGTH = 256
MAX_HINTS = 50
# What of a list valve is not meant: comments, and spaces within a line.
_NOT_MEANT = re.compile(r"#[^\r\n]*|[^\S\r\n]+")


def log_surprise(what: str) -> None:
    """Log the exception that is handled, as text: Open WebUI may show the values of an exception's variables."""
    log.error("%s\n%s", what, traceback.format_exc())


class Problem(NamedTuple):
    """One thing an admin should know: the valve, the entry as written, the reason, and what to do about it."""

    valve: str
    entry: str
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        text = ": ".join(filter(None, (self.valve, self.reason, self.entry)))
        return one_line(f"{text} ({self.hint})" if self.hint else text)


@lru_cache(maxsize=64)
def split_entries(text: str) -> tuple[str, ...]:
    """The distinct entries of a list valve, in order.

    Entries stand between commas, semicolons or line ends; `#` starts a comment to the end of the line; spaces do not count.
    """
    written = filter(None, re.split(r"[,;\r\n]", _NOT_MEANT.sub("", text)))
    # No id is as long as an entry that had to be cut.
    return tuple(dict.fromkeys(entry[:_MAX_ENTRY_LENGTH] for entry in written))[:MAX_ENTRIES]


def has_wildcard(text: str) -> bool:
    """Whether `text` is a pattern."""
    return "*" in text or "?" in text


# === reasoning.py
# Reasoning: how much is asked for, and carrying it unchanged from one round of a conversation to the next.
#
# Open WebUI keeps `reasoning_details` (of /chat/completions) with each answer and hands them back. /responses has `reasoning`
# items instead: `details_of` and `reasoning_items` are each other's inverse.
# Source: OpenRouter docs, guides/best-practices/reasoning-tokens.

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
# Type of a readable detail → its field; the list in a reasoning item of /responses, and the type there.
_READABLE = {
    "reasoning.summary": ("summary", "summary", "summary_text"),
    "reasoning.text": ("text", "content", "reasoning_text"),
}
# What a detail is kept for.
_CONTENTS = ("text", "summary", "data", "signature", "result")
# Open WebUI drops details of this format without a signature; where none is to be expected, a stand-in keeps them.
_SIGNED_FORMAT = "anthropic-claude-v1"
_STAND_IN = {"signature": "not signed"}


def choose_reasoning(
    asked: JsonObject, model: Model, enabled: bool, default_effort: str, least: bool
) -> tuple[JsonDict | None, bool, bool]:
    """What to send as `reasoning` (None: nothing), whether to show what comes back, and whether the model is to think.

    Decided from what was asked, the row and the valves; `least` wants as little as can be. Not `enabled` (the admin's
    switch): effort `none`, or where reasoning is mandatory the lowest effort, unseen.
    """
    reasons = model.reasons
    if reasons is False:
        return None, enabled, False
    if not enabled:
        asked = {"reasoning": {"effort": "none", "exclude": True}}
    elif least:
        # A model that may not reason might refuse what nobody has asked for.
        asked, default_effort = {"reasoning": {"effort": "none"}} if reasons else {}, "default"
    parameters = {key: value for key, value in mapping(asked.get("reasoning")).items() if value is not None}
    # The more exact statement holds; `reasoning_effort` is free text in Open WebUI.
    wanted = [parameters.pop("effort", None)]
    if "max_tokens" not in parameters:
        wanted.append(asked.get("reasoning_effort"))
        if "enabled" not in parameters:
            wanted.append(default_effort)
    efforts = [effort for value in wanted if (effort := as_text(value).strip().lower()) in EFFORTS]
    if parameters.get("enabled") is False and model.reasoning_mandatory:
        del parameters["enabled"]
        efforts = ["none"]
    if efforts:
        parameters["effort"] = nearest_effort(efforts[0], model)
    off = parameters.get("effort") == "none" or parameters.get("enabled") is False
    shown = parameters.get("exclude") is not True and asked.get("include_reasoning") is not False
    return parameters or None, shown, bool(reasons or parameters) and not off


def nearest_effort(effort: str, model: Model) -> str:
    """The closest effort that the row lists, the lower one of two; `none` is allowed unless reasoning is mandatory."""
    mandatory = model.reasoning_mandatory
    if effort == "none" and not mandatory:
        return effort
    listed = model.efforts
    allowed = [known for known in EFFORTS if known in listed and not (mandatory and known == "none")]
    return min(allowed or EFFORTS[1:], key=lambda known: abs(EFFORTS.index(known) - EFFORTS.index(effort)))


class DetailsCollector:
    """Puts streamed `reasoning_details` together, by index and type; opaque ones come whole."""

    def __init__(self) -> None:
        self.details: list[JsonDict] = []
        self._streaming: dict[tuple[int | None, str], JsonDict] = {}

    def add(self, details: object, whole: bool = False) -> str:
        """Take the fragments of one event, or the details of a `whole` answer; returns their readable text."""
        told: list[str] = []
        for detail in _valid_details(details):
            field = _READABLE.get(detail["type"], ("",))[0]
            place, text = (detail.get("index"), field), detail.get(field) or ""
            known = self._streaming.get(place)
            if known and field and not whole:
                known |= {key: value for key, value in detail.items() if value and key != field}
                known[field] = (known.get(field) or "") + text
            elif detail not in self.details:
                self._streaming[place] = known = dict(detail)
                self.details.append(known)
            told.append(text)
        return ("\n\n" if whole else "").join(filter(None, told))


def kept_details(details: Iterable[JsonDict]) -> list[JsonDict]:
    """The details that say something, as Open WebUI keeps them: each with an index of its own."""
    kept: list[JsonDict] = []
    for detail in _valid_details(list(details)):
        if any(map(detail.get, _CONTENTS)):
            # A text without its signature is half a text, and would be refused upstream: Open WebUI may drop it.
            never_signed = detail["type"] != "reasoning.text" and not detail.get("signature")
            stand_in = _STAND_IN if never_signed and detail.get("format") == _SIGNED_FORMAT else {}
            kept.append({**detail, **stand_in, "index": len(kept)})
    return kept


def replayed_details(details: object) -> list[JsonDict]:
    """The details of a message as they came from upstream."""
    return [
        {key: value for key, value in detail.items() if {key: value} != _STAND_IN} for detail in _valid_details(details)
    ]


def details_of(item: JsonObject) -> list[JsonDict]:
    """The details that stand for one `reasoning` item of /responses."""
    signature, data = item.get("signature"), item.get("encrypted_content")
    common = {key: item[key] for key in ("id", "format") if item.get(key)}
    if (signature or data) and common.get("format") == _SIGNED_FORMAT:
        # With its proof an item is complete, and none of it may get lost.
        common |= _STAND_IN
    details: list[JsonDict] = [
        {"type": kind, field: text, **common}
        for kind, (field, place, _) in _READABLE.items()
        for text in texts_in(item.get(place), "text")
    ]
    if signature:
        if not details or details[-1]["type"] != "reasoning.text":
            details.append({"type": "reasoning.text", **common})
        details[-1]["signature"] = signature
    if data:
        details.append({"type": "reasoning.encrypted", "data": data, **common})
    return details


def reasoning_items(details: Iterable[JsonObject]) -> list[JsonDict]:
    """The `reasoning` items of /responses for the details of one message; those that share an id are one item."""
    items: list[JsonDict] = []
    for detail in details:
        field, place, part = _READABLE.get(detail["type"], ("", "", ""))
        new = {key: detail[key] for key in ("id", "format", "signature") if detail.get(key)}
        if detail.get("data") is not None:
            new["encrypted_content"] = detail["data"]
        elif not field:
            # A server tool's call has no place in such an item.
            continue
        if not items or not _continues(items[-1], new):
            items.append({"type": "reasoning", "summary": []})
        items[-1].update(new)
        if detail.get(field) is not None:
            items[-1].setdefault(place, []).append({"type": part, "text": detail[field]})
    return items


def _valid_details(details: object) -> list[JsonDict]:
    """What of them is one of OpenRouter's details, with nothing of another type in it."""
    return [
        detail
        for detail in dicts(details)
        if str(detail.get("type")).startswith("reasoning.")
        and isinstance(detail.get("index"), int | None)
        and all(isinstance(detail.get(key), str | None) for key in (*_CONTENTS, "id", "format"))
    ]


def _continues(item: JsonObject, new: JsonObject) -> bool:
    """Whether `new` belongs to the item before: the same id, and no second proof."""
    # /chat/completions leaves ids out, of all details of an item or of all but the last: then an item ends with its proof.
    proofs = item.keys() & {"signature", "encrypted_content"}
    if "id" in item and "id" in new:
        return bool(item["id"] == new["id"]) and proofs.isdisjoint(new)
    return not proofs


# === selection.py
# Which models the entries of a list valve mean.

class NameIndex:
    """Names of models by each spelling that an entry is matched against."""

    def __init__(self, api_ids: Iterable[str]) -> None:
        self._api_ids = tuple(api_ids)

    def match(self, entry: str) -> set[str]:
        """The API ids that an entry means, whether it has a `!` or not."""
        text = entry.lstrip("!").lower()
        if text == "*":
            return set(self._api_ids)
        # fnmatch's patterns cannot backtrack without end; only "[" has to lose its meaning.
        spellings = fnmatch.filter(self._spelled, text.replace("[", "[[]")) if has_wildcard(text) else [text]
        return {api_id for spelling in spellings for api_id in self._spelled.get(spelling, ())}

    def similar(self, entry: str) -> str:
        """`did you mean a, b?` for up to three names that look like `entry`; empty when none does."""
        text = entry.lstrip("!").lower()
        names = [spelling for spelling in self._spelled if ("/" in spelling) == ("/" in text)]
        alike = [api_id for name in difflib.get_close_matches(text, names, n=5) for api_id in self._spelled[name]]
        found = dict.fromkeys(api_id for api_id in alike if not api_id.endswith(":batch"))
        return f"did you mean {', '.join([*found][:3])}?" if found else ""

    @cached_property
    def _spelled(self) -> dict[str, list[str]]:
        """The API ids by `openai/gpt-4o`, `openai.gpt-4o` and `gpt-4o`, in lower case."""
        spelled: dict[str, list[str]] = {}
        for api_id in self._api_ids:
            name = api_id.lower()
            for spelling in {name, name.replace("/", ".", 1), name.partition("/")[2] or name}:
                spelled.setdefault(spelling, []).append(api_id)
        return spelled


# === deltas.py
# What an answer is made of, whatever the endpoint: a stream of deltas, neighbours of a field merged.

# A piece of the answer, as in a chat chunk. It has one field: of several Open WebUI would read the calls first, and show them
# above what led to them.
Delta = JsonDict
_PRIVATE = "The provider keeps this reasoning private."
# How the base64 of a picture begins, for those that come without saying what they are.
_IMAGE_KINDS = {"i": "png", "/": "jpeg", "R": "gif", "U": "webp"}
# `/responses` name → chat name. Source: OpenRouter's OpenAPI document, Usage and ChatUsage.
_USAGE_NAMES = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
    "upstream_inference_input_cost": "upstream_inference_prompt_cost",
    "upstream_inference_output_cost": "upstream_inference_completions_cost",
}
# What an answer tells about who gives it. Source: OpenRouter docs, router-metadata.
_SERVED = ("model", "provider", "service_tier", "openrouter_metadata")


class AnswerReader:
    """Collects what upstream events add to one answer, so that what arrived in one network read leaves together."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.usage: JsonDict | None = None
        self.error: JsonObject | None = None
        self.done = False
        # What server tools do: the place of an output item, the item, and whether it is done.
        self.statuses: list[tuple[object, JsonObject, bool]] = []
        # What of `_SERVED` upstream has told.
        self.served: JsonDict = {}
        # The calls by upstream's index and by id, the latest one also by neither: the index in what leaves, name and arguments.
        self._calls: dict[object, tuple[int, dict[str, str]]] = {}
        # What was not taken yet: fields, each with the values that came one after the other.
        self._fields: list[tuple[str, list[Any]]] = []
        self._reasoned = self._answered = False
        self._sources: set[str] = set()
        self._images: set[str] = set()

    @property
    def ended(self) -> bool:
        """Whether upstream said that the answer is complete, or failed."""
        return self.done or self.finish_reason is not None

    @property
    def has_calls(self) -> bool:
        """Whether a tool was called, so that another round follows."""
        return bool(self._calls)

    def feed(self, payload: bytes) -> None:
        """Read one event. What is not JSON, or not of a known shape, adds nothing, nor what comes after the end."""
        if self.done or payload.strip() == b"[DONE]":
            self.done = True
            return
        try:
            event = parse_json(payload)
        except ValueError:
            return
        if isinstance(event, dict):
            self.read(event)

    def take(self) -> list[Delta]:
        """The deltas since the last call."""
        fields, self._fields = self._fields, []
        return [{field: _joined(field, values)} for field, values in fields]

    def close(self) -> list[Delta]:
        """What is left to say at the end: the reasoning details, once, for the next round."""
        self._explain_silence()
        for detail in kept_details(self._details()):
            self._add("reasoning_details", detail)
        if self._calls and self.finish_reason in (None, "stop"):
            self.finish_reason = "tool_calls"
        return self.take()

    def read(self, event: JsonObject) -> None:
        """Read one event, or an answer that did not come as a stream."""
        raise NotImplementedError

    def _details(self) -> Iterable[JsonDict]:
        raise NotImplementedError

    def _fail(self, error: object) -> None:
        """The upstream gave up: nothing worth waiting for comes after that."""
        self.error = error if isinstance(error, dict) else {"message": str(error)}
        self.done = True

    def _note_served(self, source: JsonObject) -> None:
        """Keep what is told about who answers; the latest word holds."""
        self.served |= {key: source[key] for key in _SERVED if source.get(key)}

    def _note_usage(self, usage: object) -> None:
        if isinstance(usage, dict):
            self.usage = chat_usage(usage)

    def _explain_silence(self) -> None:
        """Give details without a readable word something to stand beside: Open WebUI keeps them in a block of reasoning."""
        self._answered = True
        if not self._reasoned and kept_details(self._details()):
            self._add_reasoning(_PRIVATE)

    def _add_text(self, text: object) -> None:
        if isinstance(text, str) and text:
            if not self._answered:
                self._explain_silence()
            self._add("content", text)

    def _add_reasoning(self, text: object) -> None:
        if isinstance(text, str) and text:
            self._reasoned = True
            self._add("reasoning_content", text)

    def _add_call(
        self, place: object, call_id: object, name: object, arguments: object, *, whole: bool = False
    ) -> None:
        """Add a fragment of a tool call, or a `whole` call of which parts may have come.

        `place` is upstream's index of the call. Without one (None), the id tells which it is; without either, it is the latest.
        """
        call_id, name, arguments = as_text(call_id), as_text(name), as_text(arguments)
        key = call_id if place is None else place
        call = self._calls.get(key)
        # Gateways to Gemini give all calls of an answer the same index.
        another = key == "" if not call_id else self._calls.get(call_id) is not call
        if call is None or (another and name and not whole):
            if not (call_id or name or arguments):
                return
            if not self._answered:
                self._explain_silence()
            # Providers repeat ids, or give none.
            unique = call_id if call_id and call_id not in self._calls else f"call_{secrets.token_hex(12)}"
            index, function = self._calls[""][0] + 1 if self._calls else 0, {"name": name, "arguments": arguments}
            self._calls |= dict.fromkeys((place, call_id, unique, ""), (index, function))
            self._add("tool_calls", {"index": index, "id": unique, "type": "function", "function": function.copy()})
        else:
            index, known = call
            if whole:
                arguments = arguments[len(known["arguments"]) :] if arguments.startswith(known["arguments"]) else ""
            # The name is sent once: clients join what they get of it.
            function = {"arguments": arguments} if known["name"] or not name else {"name": name, "arguments": arguments}
            if any(function.values()):
                known |= {key: known[key] + text for key, text in function.items()}
                self._add("tool_calls", {"index": index, "function": function})

    def _add_annotation(self, annotation: JsonObject) -> None:
        """A web page as a source, once, in the nested form of /chat/completions."""
        citation = mapping(annotation.get("url_citation", annotation))
        url = citation.get("url")
        if annotation.get("type") == "url_citation" and isinstance(url, str) and url and url not in self._sources:
            self._sources.add(url)
            # Open WebUI shows the title; an empty one would be a source without a name.
            citation = {**citation, "title": citation.get("title") or url}
            citation.pop("type", None)
            self._add("annotations", {"type": "url_citation", "url_citation": citation})

    def _add_image(self, image: object) -> None:
        """A picture, once: an address, a data URL, or base64 without its head."""
        if not isinstance(image, str) or not image:
            return
        if not image.startswith(("data:", "http://", "https://")):
            image = f"data:image/{_IMAGE_KINDS.get(image[0], 'png')};base64,{image}"
        if image not in self._images:
            self._add("images", {"type": "image_url", "image_url": {"url": image}, "index": len(self._images)})
            self._images.add(image)

    def _add(self, field: str, value: object) -> None:
        if not self._fields or self._fields[-1][0] != field:
            self._fields.append((field, []))
        self._fields[-1][1].append(value)


def chat_usage(usage: JsonObject) -> JsonDict:
    """A usage object of either endpoint under the names of `/chat/completions`."""
    return {
        _USAGE_NAMES.get(key, key): chat_usage(value) if isinstance(value, dict) else value
        for key, value in usage.items()
    }


def has_answer(delta: Delta) -> bool:
    """Whether it brings something besides reasoning."""
    return not delta.keys().isdisjoint(("content", "tool_calls", "images"))


def merge_deltas(deltas: Iterable[Delta]) -> Delta:
    """All deltas as one."""
    whole: dict[str, list[Any]] = {}
    for delta in deltas:
        for field, value in delta.items():
            whole.setdefault(field, []).extend([value] if isinstance(value, str) else value)
    return {field: _joined(field, values) for field, values in whole.items()}


def _joined(field: str, values: list[Any]) -> object:
    """The values of a field as one: texts joined, and the fragments of calls, which clients expect once in a chunk."""
    if field != "tool_calls":
        return "".join(values) if isinstance(values[0], str) else values
    calls: dict[int, JsonDict] = {}
    for fragment in values:
        call = calls.setdefault(fragment["index"], {**fragment, "function": {}})
        for key, text in fragment["function"].items():
            call["function"][key] = call["function"].get(key, "") + text
    return list(calls.values())


def index_of(source: JsonObject, key: str) -> int | None:
    """The index that upstream gives; None for what is none."""
    value = source.get(key)
    return value if isinstance(value, int) else None


# === messages.py
# Open WebUI's messages → what each endpoint takes, with the same meaning on either.

_SYSTEM_ROLES = ("system", "developer")
# Role → the kinds of parts that its messages can hold.
# Source: OpenRouter's OpenAPI document, ChatSystemMessage and FunctionCallOutputItem.
_HOLDS = {
    **dict.fromkeys((*_SYSTEM_ROLES, "assistant"), ("text",)),
    "tool": ("text", "image_url", "file"),
    "user": ("text", "image_url", "file", "input_audio", "video_url"),
}


def chat_messages(messages: object) -> list[JsonDict]:
    """The messages for `/chat/completions`, made valid: an odd role is the user's, and who says nothing is left out.

    That each call has a result, and each result a call, is Open WebUI's work (`sanitize_tool_pairs`).
    """
    read = list(map(_read_message, dicts(messages)))
    # Some providers count their calls anew in each round, others refuse an id that comes twice.
    ids: dict[str, str] = {}
    for number, message in enumerate(read):
        for call in message.get("tool_calls", ()):
            ids[call["id"]] = call["id"] = f"{call['id']}_{number}" if call["id"] in ids else call["id"]
        if message["role"] == "tool":
            message["tool_call_id"] = ids.get(message["tool_call_id"], message["tool_call_id"])
    kept = [
        message
        for message in read
        if message["role"] == "user" or any(message[key] for key in message.keys() - {"role"})
    ]
    # Without any message the request would be refused.
    return kept or [{"role": "user", "content": ""}]


def responses_input(messages: object) -> tuple[str, list[JsonDict]]:
    """`instructions` (the system messages at the start) and the input items for `/responses`."""
    read = chat_messages(messages)
    # Without any input the request would be refused: the last message is input, whosever it is.
    leading = list(takewhile(lambda message: message["role"] in _SYSTEM_ROLES, read[:-1]))
    items = [item for message in read[len(leading) :] for item in _items_of(message)]
    for number, item in enumerate(items):
        if item["type"] == "reasoning":
            # The id is required.
            item.setdefault("id", f"rs_{number}")
    return "\n\n".join(_text_of(message["content"]) for message in leading), items


def has_cache_control(messages: object) -> bool:
    """Whether a part has its own `cache_control`, which only `/chat/completions` understands."""
    return any(part.get("cache_control") for part in parts_of(messages))


def _read_message(message: JsonDict) -> JsonDict:
    role = str(message.get("role"))
    role = role if role in _HOLDS else "user"
    content = message.get("content") or message.get("refusal")
    if not isinstance(content, str):
        parts = filter(None, map(_read_part, dicts(content)))
        content = [part for part in parts if part["type"] in _HOLDS[role]] or ""
    read: JsonDict = {"role": role, "content": content}
    if role == "tool":
        read["tool_call_id"] = as_text(message.get("tool_call_id"))
    if role == "assistant":
        calls = [call for call in map(_read_call, dicts(message.get("tool_calls"))) if call["function"]["name"]]
        details = replayed_details(message.get("reasoning_details"))
        read |= {"tool_calls": calls} if calls else {}
        read |= {"reasoning_details": details} if details else {}
    return read


def _read_call(call: JsonDict) -> JsonDict:
    function = mapping(call.get("function"))
    name, arguments = as_text(function.get("name")), as_text(function.get("arguments")) or "{}"
    return {"id": as_text(call.get("id")), "type": "function", "function": {"name": name, "arguments": arguments}}


def _read_part(part: JsonDict) -> JsonDict | None:
    """A part as /chat/completions has it, its type also the name of its field; of other kinds the text is kept."""
    match part:
        case {"type": "image_url" | "input_image", "image_url": str(url)}:
            # So Open WebUI hands over a tool's picture.
            known: JsonDict = {"type": "image_url", "image_url": {"url": url}}
        case (
            {"type": "image_url" as kind, "image_url": {"url": str()}}
            | {"type": "file" as kind, "file": {"file_data": str()} | {"file_id": str()}}
            | {"type": "input_audio" as kind, "input_audio": {"data": str(), "format": str()}}
            | {"type": "video_url" as kind, "video_url": {"url": str()}}
        ):
            known = {"type": kind, kind: part[kind]}
        case {"text": str(text)} if text:
            known = {"type": "text", "text": text}
        case _:
            return None
    marks = ("cache_control", "prompt_cache_breakpoint")
    return known | {key: part[key] for key in marks if part.get(key)}


def _items_of(message: JsonDict) -> list[JsonDict]:
    role, content = message["role"], message["content"]
    if role == "assistant":
        # Reasoning before the text and the calls that it led to.
        items = reasoning_items(message.get("reasoning_details", ()))
        calls = message.get("tool_calls", ())
        # Reasoning has to be followed by something, even where that is nothing.
        if content or not calls:
            items.append({"type": "message", "role": role, "content": _text_of(content)})
        return items + [{"type": "function_call", "call_id": call["id"], **call["function"]} for call in calls]
    if role == "tool":
        output = content if isinstance(content, str) else [_input_part(part) for part in content]
        return [{"type": "function_call_output", "call_id": message["tool_call_id"], "output": output}]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [{"type": "message", "role": role, "content": [_input_part(part) for part in parts]}]


def _input_part(part: JsonDict) -> JsonDict:
    value = part[part["type"]]
    match part["type"]:
        case "image_url":
            # `detail` is required here.
            return {"type": "input_image", "image_url": value["url"], "detail": value.get("detail") or "auto"}
        case "file":
            file = dict(value)
            if str(file.get("file_data")).startswith("http"):
                file["file_url"] = file.pop("file_data")
            return {"type": "input_file", **file}
        case "input_audio":
            return {"type": "input_audio", "input_audio": value}
        case "video_url":
            return {"type": "input_video", "video_url": value["url"]}
    return without(part, "cache_control") | {"type": "input_text"}


def _text_of(content: str | list[JsonDict]) -> str:
    return content if isinstance(content, str) else "\n\n".join(part["text"] for part in content)


# === virtual_models.py
# The published list: what `MODEL_ID`, `VARIANT_MODELS` and the filters make of the catalog, and why the rest is missing.

_DEPRECATED = ("online", "thinking", "extended")
# An entry of VARIANT_MODELS: a base or a pattern for it, tags, a preset.
_ENTRY = re.compile(rf"([^:@]*)((?::[A-Za-z0-9-]+)*)(?:@preset/(\*|{SLUG.pattern}))?")
_NO_PRESET = Preset("", "")


class Publishing(NamedTuple):
    """The valves that decide what is published; equal values give the same list."""

    model_id: str = "*"
    variant_models: str = ""
    free_filter: str = "all"
    tools_filter: str = "all"
    zdr_only: bool = False

    @property
    def wants_presets(self) -> bool:
        """Whether a wildcard asks for the presets of the account."""
        return any(entry.endswith("@preset/*") for entry in split_entries(f"{self.model_id}\n{self.variant_models}"))

    def filter_against(self, model: Model, ref: ModelRef) -> str:
        """The filter valve that leaves out `ref`, which `model` describes; empty: none does. `:free` in a name is free."""
        if self.zdr_only and not model.has_zdr:
            return "ZDR"
        if self.free_filter != "all":
            is_free = "free" in ref.variants or model.is_free
            if is_free == (self.free_filter == "exclude"):
                return "FREE_MODEL_FILTER"
        if self.tools_filter != "all" and model.has_tools == (self.tools_filter == "exclude"):
            return "TOOL_CALLING_FILTER"
        return ""


class Entry(NamedTuple):
    """One published model, and the row that describes it (`UNKNOWN` for a preset without a model)."""

    ref: ModelRef
    name: str
    model: Model
    description: str
    webui_id: str


def _read_entry(entry: str) -> tuple[str, tuple[str, ...], str]:
    """A base or a pattern for it, the tags with the catalog tag first, and a slug or `*`; each may be empty.

    Raises `ValueError` with a reason and a hint when the entry cannot mean anything.
    """
    parts = _ENTRY.fullmatch(entry)
    if parts is None:
        reason = "not written like model:variant, model@preset/slug or @preset/slug"
        raise ValueError(reason, "variants have letters, digits and dashes; slugs dots and underscores too")
    base, written, slug = parts.groups("")
    tags = written.lower().split(":")[1:]
    if not tags and not slug:
        model, _, tag = base.rpartition("-")
        hint = f"{model}:{tag.lower()}" if tag.lower() in (*ROUTING_TAGS, *CATALOG_TAGS) else f"e.g. {base}:nitro"
        raise ValueError("no variant and no preset (missing colon?)", hint)
    of_catalog = dict.fromkeys(tag for tag in tags if tag in CATALOG_TAGS)
    if len(of_catalog) > 1:
        raise ValueError(f"one model cannot be both :{' and :'.join(of_catalog)}")
    return base, tuple(dict.fromkeys((*of_catalog, *tags))), slug


class Published:
    """What the valves make of the catalog: the list that Open WebUI is shown. Made once, then only read.

    `entries` in order, and by their id in Open WebUI; what is wrong with the valves; which valve leaves out what, by API id.
    """

    def __init__(self, catalog: Catalog, publishing: Publishing) -> None:
        self.catalog, self.publishing = catalog, publishing
        self.left_out: dict[str, str] = {}
        self._rows = NameIndex(catalog.models)
        self._bases = NameIndex(model.ref.base for model in catalog.models.values())
        self._presets = {preset.slug: preset for preset in sorted(catalog.presets, key=lambda it: it.name.casefold())}
        self._selected: set[str] = set()
        self._tries = 0
        # The valve and the entry that are being read.
        self._at = ("MODEL_ID", "*")
        self._problems: list[Problem] = []
        # By API id, each with its place.
        self._listed: dict[str, tuple[tuple[bool, str, str], Entry]] = {}
        written = split_entries(publishing.model_id)
        excludes = [entry for entry in written if entry.startswith("!")]
        for entry in self._select([entry for entry in written if not entry.startswith("!")], excludes):
            self._add("MODEL_ID", entry, catalog.models.keys())
        for entry in split_entries(publishing.variant_models):
            self._add("VARIANT_MODELS", entry, self._selected)
        self._exclude(excludes)
        self.problems = tuple(self._problems)
        # Rows by name, each followed by its virtual models in the order written, presets alone at the end.
        self.entries = tuple(entry for _, entry in sorted(self._listed.values(), key=itemgetter(0)))
        self.by_webui_id = {entry.webui_id: entry for entry in self.entries}

    def refuse(self, ref: ModelRef) -> None:
        """Raise the error that says why `ref` is not published, naming the valve that leaves it out.

        While a wildcard waits for the account's presets, a preset passes on whatever is published.
        """
        if self.publishing.wants_presets and not self.catalog.knows_presets:
            ref = ref._replace(preset=None)
        if not any(ref) or ref.webui_id in self.by_webui_id:
            return
        name = ref.api_id
        if name not in self.left_out and ref.base and self.catalog.describe(ref) is UNKNOWN:
            hint = self._rows.similar(ref.base) or "choose another model."
            raise PipeError(f"OpenRouter's list has no model {name}: {hint}")
        valve = self.left_out.get(name, "VARIANT_MODELS")
        raise PipeError(f"{name} is not offered here: the valve {valve} leaves it out. An admin can change that.")

    def _select(self, includes: list[str], excludes: list[str]) -> list[str]:
        """List the rows that entries of `MODEL_ID` mean; returns the entries that name virtual models.

        Batch rows cannot be called in a chat: they need to be named exactly.
        """
        # As one of several, "auto" is the name of a model (openrouter/auto) like any other.
        if [entry.lower() for entry in includes] in ([], ["auto"]):
            includes = ["*"]
        models = self.catalog.models.values()
        batch = {model.id for model in models if model.is_batch}
        virtual = []
        for entry in includes:
            if "@" in entry or not set(ROUTING_TAGS).isdisjoint(entry.lower().split(":")[1:]):
                virtual.append(entry)
            elif found := self._rows.match(entry) - (batch if has_wildcard(entry) else set()):
                self._selected |= found
            else:
                self._at = ("MODEL_ID", entry)
                self._report("matches no model", like=entry)
        for entry in excludes:
            self._selected -= self._rows.match(entry)
        self._at = ("MODEL_ID", "*")
        for model in models:
            self._publish(model.ref, [model], _NO_PRESET, self._selected)
        return virtual

    def _add(self, valve: str, entry: str, eligible: Set[str]) -> None:
        """Expand one entry that names virtual models. One of the rows that may describe them has to be `eligible`."""
        if self._tries > MAX_ENTRIES:
            return
        self._at = (valve, entry)
        try:
            base, tags, slug = _read_entry(entry)
        except ValueError as error:
            self._report(*error.args)
            return
        # A written preset is named by its slug.
        presets = [self._presets.get(slug, _NO_PRESET)._replace(slug=slug, name=slug)]
        if slug == "*":
            presets = [*self._presets.values()]
        found = self._find(base, tags, eligible) if base or tags else {ModelRef(""): []}
        for ref, rows in found.items():
            for preset in presets:
                self._tries += 1
                if self._tries > MAX_ENTRIES:
                    self._report(f"too many virtual models: only the first {MAX_ENTRIES} count")
                    return
                self._publish(ModelRef(ref.base, ref.variants, preset.slug or None), rows, preset, eligible)

    def _exclude(self, entries: list[str]) -> None:
        """Take away the virtual models that entries with `!` name; report those entries that name nothing at all."""
        names = NameIndex((*self._listed, *self.left_out))
        for entry in entries:
            matches = names.match(entry)
            for api_id in matches:
                self._listed.pop(api_id, None)
                self.left_out.setdefault(api_id, "MODEL_ID")
            if not matches:
                self._at = ("MODEL_ID", entry)
                self._report("matches no model", like=entry)

    def _find(self, base: str, tags: tuple[str, ...], eligible: Set[str]) -> dict[ModelRef, list[Model]]:
        """The names that an entry stands for, without its preset, each with the rows that may describe it.

        A wildcard stands for each eligible model, with a catalog tag for those that have such a row.
        """
        is_pattern = has_wildcard(base)
        if is_pattern:
            refs = [self.catalog.models[row_id].ref for row_id in sorted(self._rows.match(base) & eligible)]
        else:
            refs = [ModelRef(name) for name in sorted(self._bases.match(base))]
        needed = set(tags).intersection(CATALOG_TAGS if is_pattern else ())
        found: dict[ModelRef, list[Model]] = {}
        for ref in refs:
            ref = ModelRef(ref.base, tuple(dict.fromkeys((*ref.variants, *tags))))
            rows = self.catalog.rows_of(ref)
            if rows and not rows[0].is_batch and needed.issubset(rows[0].ref.variants):
                found[ref] = rows
        if found:
            ref, rows = next(iter(found.items()))
            self._note_doubtful_tags(tags, ref, rows[0])
        elif is_pattern:
            self._report("matches no selected model")
        else:
            self._report("Variant model base not found", like=base)
        return found

    def _note_doubtful_tags(self, tags: tuple[str, ...], ref: ModelRef, model: Model) -> None:
        for tag in tags if ref != model.ref else ():
            if tag in _DEPRECATED:
                reason = f"variant :{tag} is deprecated"
            elif tag in (*ROUTING_TAGS, *model.ref.variants):
                continue
            else:
                reason = f"the catalog has no {ref.base}:{tag}" if tag in CATALOG_TAGS else f"unknown variant :{tag}"
            self._report(reason, "listed all the same, but OpenRouter may refuse it")

    def _publish(self, ref: ModelRef, rows: list[Model], preset: Preset, eligible: Set[str]) -> None:
        """List one model, or note which valve leaves it out. Without rows the preset's own model describes it."""
        api_id, hint = ref.api_id, ""
        if api_id in self._listed:
            return
        if not rows:
            described = ModelRef.from_api(preset.model_id or "")
            model = self.catalog.describe(described)
            place, words = (True, preset.name.casefold(), api_id), []
        else:
            model, described = rows[0], ref
            anchor = ([row for row in rows if row.id in self._listed] or rows)[0]
            place = (False, anchor.name.casefold(), anchor.id)
            # The row's name plus what that row does not already carry.
            words = [model.name, *[tag.capitalize() for tag in ref.variants if tag not in model.ref.variants]]
            if eligible.isdisjoint([row.id for row in rows]):
                # A base that MODEL_ID leaves out takes its variants along.
                hint = f"{model.id} has to be selected there"
        if valve := "MODEL_ID" if hint else self.publishing.filter_against(model, described):
            self.left_out[api_id] = valve
            # What a wildcard brings is left out without a word.
            if not has_wildcard(self._at[1]):
                self._report(f"left out by {valve}", hint)
            return
        words += [f"Preset: {preset.name}"] if preset.name else []
        entry = Entry(ref, " ".join(words), model, preset.description or model.description, ref.webui_id)
        self._listed[api_id] = (place, entry)

    def _report(self, reason: str, hint: str = "", like: str = "") -> None:
        """Add a problem. `like` is a name that nothing has: the hint is then what it may have meant."""
        if like and len(self._problems) < MAX_HINTS:
            hint = self._rows.similar(like)
        self._problems.append(Problem(*self._at, reason, hint))


# === chat_stream.py
# Answers of `/chat/completions`, streamed or whole, read into deltas.

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


# === chunks.py
# What leaves the pipe: `chat.completion.chunk` events, or one `chat.completion`.

DONE = b"data: [DONE]\n\n"


class ChunkWriter:
    """Writes one answer. Each call gives exactly one complete event, as Open WebUI reads them one by one."""

    def __init__(self, model_id: str) -> None:
        self._envelope = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": model_id}

    def delta(self, delta: Delta) -> bytes:
        """The event for one delta."""
        return self._event([{"index": 0, "delta": delta, "finish_reason": None}])

    def finish(self, reason: str) -> bytes:
        """The event that ends the answer."""
        return self._event([{"index": 0, "delta": {}, "finish_reason": reason}])

    def usage(self, usage: JsonObject) -> bytes:
        """The usage event. Once for each upstream call: Open WebUI adds them up."""
        return self._event([], usage=usage)

    def completion(self, deltas: Iterable[Delta], reason: str, usage: JsonObject | None) -> JsonDict:
        """The answer as one `chat.completion` object."""
        message = {"role": "assistant", "content": "", **merge_deltas(deltas)}
        for call in message.get("tool_calls", ()):
            del call["index"]
        answer = {
            **self._envelope,
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        }
        return {**answer, "usage": dict(usage)} if usage else answer

    def _event(self, choices: list[JsonDict], **more: object) -> bytes:
        return b"data: %b\n\n" % dump_json(
            {**self._envelope, "object": "chat.completion.chunk", "choices": choices, **more}
        )


def error_body(message: str) -> JsonDict:
    """An error as Open WebUI shows it: without `choices`, or it would be overlooked."""
    return {"error": {"message": message}}


def error_event(message: str) -> bytes:
    """An error as one event of a stream."""
    return b"data: %b\n\n" % dump_json(error_body(message))


# === responses_stream.py
# Answers of `/responses`, streamed or whole, read into deltas; the status lines of server tools.

# Server tool → what it is doing, what it has done.
_TOOL_WORDS = {
    "web_search": ("Searching the web", "Searched the web"),
    "web_fetch": ("Reading a page", "Read a page"),
    "file_search": ("Searching files", "Searched files"),
    "code_interpreter": ("Running code", "Ran code"),
    "image_generation": ("Making an image", "Made an image"),
}
# Which output item an event belongs to. Its id may be another one at the end.
_PLACE = "output_index"
_LINKS = ("https://", "http://")
_INCOMPLETE_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}


class ResponsesReader(AnswerReader):
    """Reads `/responses` events. What of an item was not streamed is added when it is done."""

    def __init__(self) -> None:
        super().__init__()
        # What is known of the output items, by place: the index under which they were streamed.
        self._items: dict[object, JsonObject] = {}
        # The places of those that were streamed or are done.
        self._told: set[object] = set()
        # Where the latest text and reasoning came from: item and part.
        self._latest: dict[str, tuple[object, object]] = {}
        self._reasoning_type = ""

    def _details(self) -> Iterable[JsonDict]:
        return [
            detail for item in self._items.values() if item.get("type") == "reasoning" for detail in details_of(item)
        ]

    def read(self, event: JsonObject) -> None:
        """Read an event, or a whole response object: it says the same as the event that closes a stream."""
        kind = event.get("type")
        if kind is None:
            kind = "response.completed" if "output" in event else "error" if event.get("error") else ""
        if handler := self._handlers.get(str(kind)):
            handler(self, event)

    def _text(self, event: JsonObject) -> None:
        self._say("message", index_of(event, _PLACE), None, event.get("delta"))

    def _reasoning(self, event: JsonObject) -> None:
        # A model may stream its reasoning and a summary of it: the first to come is shown.
        self._reasoning_type = self._reasoning_type or event["type"]
        if event["type"] == self._reasoning_type:
            part = event.get("content_index", event.get("summary_index"))
            self._say("reasoning", index_of(event, _PLACE), part, event.get("delta"))

    def _say(self, kind: str, place: object, part: object, text: object) -> None:
        """Add text of an item of this type; an empty line parts it from that of another item or part."""
        if not isinstance(text, str) or not text:
            return
        add = self._add_text if kind == "message" else self._add_reasoning
        if self._latest.get(kind) != (place, part):
            if kind in self._latest:
                add("\n\n")
            self._latest[kind] = (place, part)
            self._told.add(place)
            self._items.setdefault(place, {"type": kind})
        add(text)

    def _item(self, event: JsonObject) -> None:
        done = event["type"] == "response.output_item.done"
        self._read_item(index_of(event, _PLACE), mapping(event.get("item")), done)

    def _arguments(self, event: JsonObject) -> None:
        self._add_call(index_of(event, _PLACE), None, None, event.get("delta"))

    def _annotation(self, event: JsonObject) -> None:
        self._add_annotation(mapping(event.get("annotation")))

    def _read_item(self, place: object, item: JsonObject, done: bool) -> None:
        """Add what no event has streamed of an output item."""
        self._items[place] = item
        kind, tool = item.get("type"), _server_tool(item)
        if kind == "function_call":
            self._add_call(place, item.get("call_id"), item.get("name"), item.get("arguments"), whole=True)
        if tool == "image_generation":
            self._add_image(item.get("imageUrl") or item.get("result") or item.get("imageB64"))
        for part in dicts(item.get("content")):
            for annotation in dicts(part.get("annotations")):
                self._add_annotation(annotation)
        if tool:
            self.statuses.append((place, item, done))
        if not done or place in self._told:
            return
        self._told.add(place)
        content = texts_in(item.get("content"), "text")
        if kind == "message":
            self._say(kind, place, None, "".join((*content, *texts_in(item.get("content"), "refusal"))))
        elif kind == "reasoning":
            for number, text in enumerate(content or texts_in(item.get("summary"), "text")):
                self._say(kind, place, number, text)

    def _close(self, event: JsonObject) -> None:
        response = self._note(event)
        if response.get("error") or response.get("status") == "failed":
            self._refuse(event)
            return
        # Indices and items' ids may be others here than in the stream: what was told of a type is all of it. Calls have ids
        # that stay, by which the rest of one is found.
        told, has_calls = {str(self._items[place].get("type")) for place in self._told}, self.has_calls
        for number, item in enumerate(dicts(response.get("output"))):
            if has_calls and item.get("type") == "function_call":
                self._read_item(None, item, done=True)
            elif str(item.get("type")) not in told:
                self._read_item(f"end {number}", item, done=True)
        reason = mapping(response.get("incomplete_details")).get("reason")
        self.finish_reason = _INCOMPLETE_REASONS.get(str(reason), "stop")
        self.done = True

    def _note(self, event: JsonObject) -> JsonObject:
        """Keep what the response in an event (or beside an error) tells beside its output; returns it."""
        response = mapping(event.get("response")) or event
        self._note_served(response)
        self._note_usage(response.get("usage"))
        return response

    def _refuse(self, event: JsonObject) -> None:
        failed = self._note(event)
        # What went wrong stands in the error, or beside it.
        beside = {key: failed[key] for key in ("error_type", "code", "message") if key in failed}
        error = failed.get("error") or {}
        self._fail({**beside, **error} if isinstance(error, dict) else error)

    _handlers: ClassVar[dict[str, Callable[[ResponsesReader, JsonObject], object]]] = {
        "response.created": _note,
        "response.output_text.delta": _text,
        "response.refusal.delta": _text,
        "response.reasoning_text.delta": _reasoning,
        "response.reasoning_summary_text.delta": _reasoning,
        "response.output_item.added": _item,
        "response.output_item.done": _item,
        "response.function_call_arguments.delta": _arguments,
        "response.output_text.annotation.added": _annotation,
        "response.completed": _close,
        "response.incomplete": _close,
        "response.failed": _refuse,
        "response.error": _refuse,
        "error": _refuse,
    }


def tool_status(item: JsonObject, done: bool) -> JsonDict:
    """The status line of a server tool at work, or done; Open WebUI draws it with its links."""
    tool = _server_tool(item)
    # A page that is fetched stands beside the action, or there is none.
    action = {**item, **mapping(item.get("action"))}
    queries = texts([action.get("query"), *texts(action.get("queries"))])
    found = texts([action.get("url"), *texts_in(action.get("sources"), "url")])
    urls = list(dict.fromkeys(url for url in found if url.startswith(_LINKS)))
    name = tool.replace("_", " ")
    doing, did = _TOOL_WORDS.get(tool, (f"Using {name}", f"Used {name}"))
    words = f"{doing} failed" if item.get("status") == "failed" else did if done else doing
    query = next(filter(None, queries), "")
    about = ": ".join(filter(None, (words, query or next(iter(urls), ""))))
    links = {"action": "web_search", "urls": urls, "query": query} if urls else {}
    return {"description": about, "done": done, **links}


def _server_tool(item: JsonObject) -> str:
    """The name of a server tool, OpenRouter's or the maker's own; empty for an item of another type."""
    kind = str(item.get("type"))
    name = kind.removeprefix("openrouter:").removesuffix("_call")
    return name if name in _TOOL_WORDS or kind.startswith("openrouter:") else ""


# === settings.py
# The valves that an admin and each user set.

_DEFAULT_BASE_URL = "https://openrouter.ai/api/v1"
# No user name or password: they would be sent in the header that carries the key.
_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?", re.IGNORECASE)
_KEY = re.compile(r"[!-~]{1,1000}")
_HEADER_TEXT = "^[ -~]{0,500}$"
_COST_DISPLAY = "`status`: a line with cost, tokens and provider above each answer. `off`: none."
_DENY = "`deny`: only providers that do not store or train on what is sent."
_FIRST = "Which provider of a model comes first, e.g. by `price`."
_PASSWORD: JsonDict = {"input": {"type": "password"}}

Filter = Literal["all", "only", "exclude"]
Effort = Literal["default", "none", "minimal", "low", "medium", "high", "xhigh", "max"]
Sort = Literal["default", "price", "throughput", "latency"]
Variant = Literal["none", "nitro", "floor", "exacto", "online", "free", "thinking", "extended", "beta"]


def _valve(default: Any, description: str, **more: Any) -> Any:
    """A field of the form: its default, and what stands below it."""
    return Field(default, description=description, **more)


class _Tolerant(BaseModel):
    """Settings of which a value that does not fit counts as the default and is reported."""

    # The form shows the names that the docs and the log have.
    model_config = ConfigDict(defer_build=True, str_strip_whitespace=True, field_title_generator=lambda name, _: name)
    _misfits: list[Problem] = []
    _unused: JsonDict = {}

    def __init__(self, **values: Any) -> None:
        # Open WebUI builds them before every list and chat; if that raised, the pipe would be dead.
        try:
            super().__init__(**values)
        except ValidationError as error:
            reasons = {str(detail["loc"][0]): detail["msg"] for detail in error.errors()}
            unused = {name: values.pop(name) for name in reasons}
            super().__init__(**values)
            self._unused = unused
            self._misfits = [Problem(name, "", why, "the default is used") for name, why in reasons.items()]

    def model_dump(self, **options: Any) -> JsonDict:
        """With what does not fit, so that it is stored, seen in the form, and reported."""
        return super().model_dump(**options) | self._unused


class Settings(_Tolerant):
    """The admin's settings."""

    # --- Connection
    API_KEY: str = Field(
        default_factory=lambda: os.getenv("OPENROUTER_API_KEY", "").strip(),
        description="Your OpenRouter key (https://openrouter.ai/settings/keys), e.g. `sk-or-v1-…`. "
        "Default: the environment variable `OPENROUTER_API_KEY`.",
        json_schema_extra=_PASSWORD,
        repr=False,
    )
    BASE_URL: str = Field(
        default_factory=lambda: os.getenv("OPENROUTER_API_BASE_URL", "").strip(),
        description="Address of the API, e.g. `https://eu.openrouter.ai/api/v1`, or of a gateway like it. "
        f"Default: `OPENROUTER_API_BASE_URL`, else `{_DEFAULT_BASE_URL}`.",
    )
    CONNECT_TIMEOUT_SECONDS: int = _valve(10, "How long to wait for a connection, e.g. `10`.", ge=1, le=86_400)
    READ_TIMEOUT_SECONDS: int = _valve(
        300, "The longest silence before an answer counts as broken off, e.g. `300`; at least `1`.", ge=1, le=86_400
    )
    MAX_RETRIES: int = _valve(
        2, "How often a request that failed before its first word is sent again; `0`: never.", ge=0, le=10
    )
    RETRY_MAX_WAIT_SECONDS: int = _valve(
        30,
        "The longest pause before that, e.g. `30`; when more is asked for, the error comes at once.",
        ge=0,
    )
    HTTP_REFERER: str = _valve(
        "https://openwebui.com/",
        "The site in OpenRouter's rankings, e.g. `https://chat.example.com/`.",
        pattern=_HEADER_TEXT,
    )
    APP_TITLE: str = _valve(
        "Open WebUI", "The name on OpenRouter's activity page, e.g. `Our chat`.", pattern=_HEADER_TEXT
    )

    # --- Catalog
    MODEL_ID: str = _valve(
        "*",
        "Models to list: ids and patterns, separated by commas; `!` excludes, `*` means all. "
        "E.g. `openai/*, anthropic/*, *:free, !*preview*`.",
    )
    VARIANT_MODELS: str = _valve(
        "",
        "Variants and presets to list as models of their own, e.g. "
        "`openai/gpt-4o:nitro, anthropic/*:floor, openai/gpt-4o@preset/email-copywriter, @preset/*`.",
    )
    FREE_MODEL_FILTER: Filter = _valve("all", "List `only` free models, or `exclude` them.")
    TOOL_CALLING_FILTER: Filter = _valve("all", "List `only` models that can call tools, or `exclude` them.")
    ZDR: Literal["off", "filter", "enforce"] = _valve(
        "off", "Zero data retention. `filter`: list only models with it. `enforce`: also send nowhere else."
    )
    MODEL_CATALOG_REFRESH_SECONDS: int = _valve(
        3600, "How old the list of models may grow, e.g. `3600`; at least `60`.", ge=60
    )
    NEW_MODEL_ACCESS: Literal["admins", "public"] = _valve(
        "admins", "Who sees a new model: `admins`, until one grants it to others, or all (`public`)."
    )
    MODEL_ICONS: Literal["brand", "monogram", "off"] = _valve(
        "brand", "The models' pictures: the maker's logo (`brand`), its initials (`monogram`), or none."
    )
    ICON_URL: str = _valve(
        "https://unpkg.com/@lobehub/icons-static-png@1.97.1/light/{name}.png",
        "Where the logos come from, e.g. `https://logos.example.com/{name}.png`; `{name}` is the maker's.",
        pattern=r"^https?://\S{1,500}$",
    )
    UPDATE_MODEL_METADATA: bool = _valve(
        True,
        "Keep the models' names, icons, abilities, … up to date; what an admin has changed stays. "
        "Off: nothing is written, and only admins see the models.",
    )
    NAME_PREFIX: Annotated[str, StringConstraints(strip_whitespace=False)] = _valve(
        "", "Text in front of every model's name, e.g. `OR: `.", pattern=r"^\PC{0,100}$"
    )
    STATUS_MODEL: bool = _valve(True, "List `OpenRouter: Status`, which tells admins how this pipe is doing.")

    # --- Requests
    ENDPOINT: Literal["auto", "responses", "chat_completions"] = _valve(
        "auto",
        "`auto`: `/responses`, or `/chat/completions` where only that will do. "
        "A fixed one leaves out what it cannot carry.",
    )
    ENABLE_REASONING: bool = _valve(
        True, "Let models think before they answer. Off: as little as they can, and not shown."
    )
    REASONING_EFFORT: Effort = _valve("default", "How much models think, unless the chat says it, e.g. `low`.")
    PROVIDER_SORT: Sort = _valve("default", _FIRST)
    PROVIDER_ORDER: str = _valve("", "Providers to try first, in order, e.g. `anthropic, amazon-bedrock`.")
    PROVIDER_ONLY: str = _valve("", "The only providers allowed, e.g. `azure, google-vertex`.")
    PROVIDER_IGNORE: str = _valve("", "Providers never to use, e.g. `deepinfra`.")
    ALLOW_FALLBACKS: bool = _valve(True, "Let OpenRouter try another provider when the first one fails.")
    REQUIRE_PARAMETERS: bool = _valve(False, "Use only providers that support all of a request, e.g. its JSON schema.")
    FALLBACK_MODELS: str = _valve(
        "", "Models that answer when the chosen one cannot, in order, e.g. `openai/gpt-4o-mini`."
    )
    DATA_COLLECTION: Literal["default", "allow", "deny"] = _valve("default", _DENY)
    PROMPT_CACHING: bool = _valve(True, "Cache conversations for Anthropic models; others do it themselves.")
    CONTEXT_COMPRESSION: Literal["default", "on", "off"] = _valve(
        "default", "Shorten the middle of a too long conversation. `default`: as OpenRouter does it."
    )
    DIRECT_FILES: Literal["off", "supported"] = _valve(
        "off", "`supported`: PDFs, audio and video go to models that take them, not through retrieval."
    )
    SEND_USER_ID: bool = _valve(False, "Let OpenRouter tell users apart, by a pseudonym (never the name or the id).")

    # --- Display
    COST_DISPLAY: Literal["status", "off"] = _valve("status", _COST_DISPLAY)
    STREAM_INTERVAL_MS: int = _valve(
        25, "The least time between two updates of an answer, e.g. `25`; `0`: none.", ge=0, le=10_000
    )

    @property
    def api_key(self) -> str:
        """The key; empty where what is set can be none."""
        return self.API_KEY if _KEY.fullmatch(self.API_KEY) else ""

    @property
    def base_url(self) -> str:
        """The address, without a slash at its end; empty where what is set can be none."""
        url = self.BASE_URL or _DEFAULT_BASE_URL
        url = (url if "://" in url else f"https://{url}").rstrip("/")
        return url if _URL.fullmatch(url) else ""

    @property
    def publishing(self) -> Publishing:
        """What decides on the list of models."""
        return Publishing(
            self.MODEL_ID, self.VARIANT_MODELS, self.FREE_MODEL_FILTER, self.TOOL_CALLING_FILTER, self.ZDR != "off"
        )

    @property
    def provider(self) -> JsonDict:
        """The `provider` object; what is at its default is not in it."""
        provider: JsonDict = {
            "order": list(split_entries(self.PROVIDER_ORDER)),
            "only": list(split_entries(self.PROVIDER_ONLY)),
            "ignore": list(split_entries(self.PROVIDER_IGNORE)),
            "sort": self.PROVIDER_SORT,
            "allow_fallbacks": "default" if self.ALLOW_FALLBACKS else False,
            "require_parameters": self.REQUIRE_PARAMETERS or "default",
            "data_collection": self.DATA_COLLECTION,
        }
        return {key: value for key, value in provider.items() if value not in ([], "default")}

    @property
    def privacy(self) -> JsonDict:
        """What of the `provider` object no request may override."""
        denied = {"data_collection": "deny"} if self.DATA_COLLECTION == "deny" else {}
        return denied | ({"zdr": True} if self.ZDR == "enforce" else {})

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the values, the lists of models apart."""
        wrong = [*self._misfits]
        if not self.api_key:
            why = "it holds characters that no key has" if self.API_KEY else "no key is set"
            wrong.append(Problem("API_KEY", "", f"{why}, so no models are listed"))
        if not self.base_url:
            hint = f"it looks like {_DEFAULT_BASE_URL}, without a user name"
            wrong.append(Problem("BASE_URL", "", "not the address of an API", hint))
        return tuple(wrong)


class UserValves(_Tolerant):
    """What each user may set. Privacy can only be tightened."""

    API_KEY: str = _valve(
        "",
        "Your own OpenRouter key, e.g. `sk-or-v1-…`: your chats are then paid by your account.",
        json_schema_extra=_PASSWORD,
        repr=False,
    )
    PREFERRED_VARIANT: Variant = _valve(
        "none",
        "A variant for models that have none, e.g. `nitro`: the fastest provider, `floor`: the cheapest. "
        "From `free` on: only where the model has it.",
    )
    REASONING_EFFORT: Effort = _valve("default", "How much models think, e.g. `low`.")
    PROVIDER_SORT: Sort = _valve("default", _FIRST)
    DATA_COLLECTION: Literal["default", "deny"] = _valve("default", _DENY)
    ZDR: bool = _valve(False, "Only endpoints with zero data retention.")
    COST_DISPLAY: Literal["default", "status", "off"] = _valve("default", _COST_DISPLAY)

    def over(self, valves: Settings) -> Settings:
        """The valves that this user's chats run with."""
        own = {**vars(self), "ZDR": "enforce" if self.ZDR else "", "PREFERRED_VARIANT": ""}
        changes = {name: value for name, value in own.items() if value not in ("", "default")}
        return valves.model_copy(update=changes) if changes else valves


# === status_report.py
# What the status model answers: the state of the pipe, in Markdown.

_MAX_SHOWN = 100
_MARKUP = re.compile(r"([\\`*_\[\]<>~|#$])")
_ESCAPED = r"\\\1"
_BATCH = "batch models, which cannot be called in a chat"
_USED_KEYS = {"usage": "in all", "usage_daily": "today", "usage_weekly": "this week", "usage_monthly": "this month"}


def status_report(
    version: str,
    key: JsonObject | str,
    published: Published | None,
    fetched_at: float,
    problems: Iterable[Problem],
    errors: Sequence[tuple[float, str]],
    now: float,
) -> str:
    """The report, section by section.

    `key` is the `data` of `GET /key`, or the sentence that says why there is none; `errors`: when, and what a person was told.
    Times are Unix times in seconds.
    """
    sections = {
        "Key": [_unmarked(key)] if isinstance(key, str) else _key_lines(key),
        "Models": ["no model is known yet"] if published is None else _model_lines(published, now - fetched_at),
        "Problems": [_unmarked(str(problem)) for problem in problems],
        "Last errors": [f"{duration(now - at)} ago: {_unmarked(text)}" for at, text in reversed(errors)],
    }
    if published and published.publishing.wants_presets:
        sections["Presets"] = _preset_lines(published)
    return "\n\n".join((f"**OpenRouter pipe {version}**", *(_section(*section) for section in sections.items())))


def _section(title: str, lines: list[str]) -> str:
    if len(lines) > _MAX_SHOWN:
        lines = [*lines[:_MAX_SHOWN], f"… and {len(lines) - _MAX_SHOWN} more"]
    return "\n- ".join((f"### {title}", *(lines or ["none"])))


def _key_lines(key: JsonObject) -> list[str]:
    """Source: OpenRouter's OpenAPI document, `GET /key`."""
    used = [f"{_dollars(key[name])} {words}" for name, words in _USED_KEYS.items() if name in key]
    limit, resets = key.get("limit"), one_line(key.get("limit_reset"))
    resetting = f", resets {_unmarked(resets)}" if resets else ""
    left = f"{_dollars(limit)}, {_dollars(key.get('limit_remaining'))} left{resetting}"
    return [
        # OpenRouter's own label is the key's two ends.
        f"label: {_MARKUP.sub(_ESCAPED, one_line(key.get('label'))[:60]) or '-'}",
        f"used: {', '.join(used) or '-'}",
        f"limit: {'none' if amount_of(limit) is None else left}",
    ]


def _model_lines(published: Published, age: float) -> list[str]:
    models, listed = published.catalog.models, len(published.entries)
    rows = sum(entry.ref.api_id in models for entry in published.entries)
    left_out = Counter(
        # Whatever the valves say, unless one is named.
        _BATCH if api_id in models and models[api_id].is_batch else f"left out by `{valve}`"
        for api_id, valve in published.left_out.items()
    )
    counts = {
        "listed": listed,
        "of the catalog": f"{rows} of {len(models)}",
        "variants and presets": listed - rows,
        **left_out,
        "rows that cannot chat (no text output, or no id)": published.catalog.left_out,
    }
    return [f"catalog fetched {duration(age)} ago", *(f"{what}: {count}" for what, count in counts.items() if count)]


def _preset_lines(published: Published) -> list[str]:
    if not published.catalog.knows_presets:
        return ["not fetched yet"]
    return [
        f"`@preset/{preset.slug}`: {_unmarked(preset.name)}"
        + (f", on {_unmarked(preset.model_id)}" if preset.model_id else "")
        for preset in published.catalog.presets
    ]


def _dollars(value: object) -> str:
    amount = amount_of(value)
    return "?" if amount is None else dollars(amount)


def _unmarked(text: str) -> str:
    """One line in which nothing is markup or a key."""
    return _MARKUP.sub(_ESCAPED, plain(text))


# === direct_files.py
# A chat's files for a model that takes them itself: which go as they are, which as text, and in which message.

# Of all files that go as they are together, before base64 adds a third; of the text of one file.
MAX_FILE_BYTES = 25_000_000
MAX_FILE_TEXT = 400_000
_CHAT_AUDIO = ("flac", "m4a", "ogg", "aac", "aiff")
# Ending of the name → the modality in the model's row, and the format (audio) or the content type.
# Source: OpenRouter docs, guides/overview/multimodal/{pdfs,audio,videos}.
_KINDS = {
    "pdf": ("file", "application/pdf"),
    **{ending: ("audio", ending) for ending in ("mp3", "wav", *_CHAT_AUDIO)},
    **{ending: ("video", f"video/{ending}") for ending in ("mp4", "mpeg", "mov", "webm")},
}
Kinds = Mapping[str, tuple[str, str]]


def taken_kinds(model: Model, settings: Settings) -> Kinds | None:
    """The endings of files that go to a model as they are; None: leave all to Open WebUI.

    Empty for an unknown model: its row may tell Open WebUI to leave the files alone, so their texts have to be sent.
    """
    inputs = model.input_modalities
    # /responses knows two formats of audio. Source: OpenRouter's OpenAPI document, InputAudio.
    never = _CHAT_AUDIO if settings.ENDPOINT == "responses" else ()
    kinds = {ending: kind for ending, kind in _KINDS.items() if kind[0] in inputs and ending not in never}
    return kinds if settings.DIRECT_FILES == "supported" and (kinds or model is UNKNOWN) else None


def file_kind(kinds: Kinds, name: str, content_type: object) -> tuple[str, str] | None:
    """Modality and format of a file that goes as it is."""
    kind = kinds.get(name.rpartition(".")[2].lower())
    # A recording (.webm) can be audio alone.
    return kind if kind and str(content_type or "application").startswith(("application", kind[0])) else None


def file_part(kind: tuple[str, str], name: str, data: bytes) -> JsonDict:
    """The part of a message that holds a file as it is."""
    modality, form = kind
    text = b64encode(data).decode()
    url = f"data:{form};base64,{text}"
    field, value = {
        "file": ("file", {"filename": name, "file_data": url}),
        "audio": ("input_audio", {"data": text, "format": form}),
        "video": ("video_url", {"url": url}),
    }[modality]
    return {"type": field, field: value}


def text_part(name: str, text: str) -> tuple[JsonDict, bool]:
    """The part of a message that holds a file's text, and whether that is all of it."""
    is_whole = 0 < len(text) <= MAX_FILE_TEXT
    # Without a word the model would make the content up.
    note = "" if is_whole else "\n[Not all of this file is here.]"
    return {"type": "text", "text": f'<file name="{name}">\n{text[:MAX_FILE_TEXT]}{note}\n</file>'}, is_whole


def is_in_messages(item: JsonObject) -> bool:
    """Whether an entry of the chat's files is a picture (or a folder of a terminal), which Open WebUI sends itself."""
    content_type = str(item.get("content_type"))
    is_picture = content_type.startswith("image/") and not content_type.startswith("image/svg")
    return is_picture or item.get("type") in ("image", "filesystem")


def with_files(messages: object, files: Mapping[str, JsonDict]) -> list[JsonDict]:
    """A copy of the messages with the files (part by id), each in the message that it came with, else in the first one.

    From turn to turn it has to stay where it is, or the provider's prompt cache is of no use.
    """
    copies = [dict(message) for message in dicts(messages)]
    users = [message for message in copies if message.get("role") == "user"]
    for message in users:
        content = message.get("content")
        message["content"] = [{"type": "text", "text": content}] if isinstance(content, str) else dicts(content)
    for file_id, part in files.items() if users else ():
        # Open WebUI names them at its start (`<attached_files>`).
        named = (message for message in users if f'id="{file_id}"' in str(message["content"][:1]))
        next(named, users[0])["content"].append(part)
    return copies


def has_chat_audio(messages: object) -> bool:
    """Whether a message holds audio in a format that only `/chat/completions` takes."""
    return any(mapping(part.get("input_audio")).get("format") in _CHAT_AUDIO for part in parts_of(messages))


# === transport.py
# HTTP: one shared session, time limits, and nothing left open when the pipe is dropped.

_MAX_JSON_BYTES = 64 * 1024 * 1024
_SHORTEST_KEY = 12
# What reading an answer raises when it breaks off; the second is what aiohttp does where it runs without its C extension.
BROKEN = (aiohttp.ClientError, aiohttp.http.HttpProcessingError, OSError)


class Transport:
    """Sends requests. One session for all chats, made on first use, closed by itself when its owner is dropped."""

    def __init__(self) -> None:
        # How many answers are being read.
        self.running = 0
        self._session: aiohttp.ClientSession | None = None

    async def get_json(self, settings: Settings, path: str, seconds: float) -> object:
        """The body of a GET, parsed. Raises `PipeError`, for a refusal an `UpstreamError`."""
        async with self.send(settings, path, path, total=seconds) as response:
            try:
                return parse_json(await read_body(response, settings, seconds))
            except ValueError:
                told = f"{settings.base_url} does not answer like OpenRouter (no JSON came back). Check the valve BASE_URL."
                raise PipeError(told) from None

    async def get_bytes(self, url: str, limit: int) -> tuple[int, bytes]:
        """Status and body of a GET of any address, without the key. Never raises: 0 is no answer; too long is empty.

        Who calls it limits the time.
        """
        body = bytearray()
        try:
            async with self._open_session().get(url, max_redirects=3, proxy=_proxy_for(url)) as response:
                while len(body) <= limit and (piece := await response.content.readany()):
                    body += piece
                return response.status, bytes(body) if len(body) <= limit else b""
        except (*BROKEN, ValueError):
            return 0, b""

    @asynccontextmanager
    async def send(
        self, settings: Settings, path: str, asked: str, body: JsonObject | None = None, total: float | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send `body`, or a GET; inside the block the answer can be read. Raises `PipeError`, for a refusal `UpstreamError`.

        Leaving the block early closes the connection, so that the upstream stops working (and billing). A refusal
        names what was `asked` for. `total`: seconds until the end of the answer; without it `next_bytes` limits the reading.
        """
        base_url = settings.base_url
        if not base_url:
            raise PipeError("The valve BASE_URL does not hold the address of an API. An admin can correct it.")
        connect, seconds = settings.CONNECT_TIMEOUT_SECONDS, total or settings.READ_TIMEOUT_SECONDS
        failed: PipeError | None = None
        try:
            # Headers may come byte by byte.
            async with asyncio.timeout(connect + seconds):
                response = await self._open_session().request(
                    "POST" if body else "GET",
                    base_url + path,
                    data=dump_json(body) if body else None,
                    headers=_headers(settings),
                    # Not `sock_read`: aiohttp would set a timer anew with all that comes.
                    timeout=aiohttp.ClientTimeout(total=total, connect=connect),
                    allow_redirects=False,
                    proxy=_proxy_for(base_url),
                )
        except (*BROKEN, ValueError) as error:
            failed = connection_failed(error, settings, seconds)
        # Not inside: aiohttp's errors hold the request with its key, and would go along as the context of this one.
        if failed:
            raise failed
        with closing(response):
            if response.status >= 400:
                body_read = await read_body(response, settings, seconds)
                raise read_failure(
                    response.status, body_read, asked, _retry_after(response.headers.get("Retry-After", ""))
                )
            self.running += 1
            try:
                yield response
            finally:
                self.running -= 1

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ttl_dns_cache=300)
            self._session = aiohttp.ClientSession(
                connector=connector,
                # What upstream wants remembered of one user's request must not go along with another's.
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            weakref.finalize(self, _close_session, self._session, connector, asyncio.get_running_loop())
        return self._session


@lru_cache
def _proxy_for(url: str) -> str | None:
    """The environment's proxy for an address: companies reach the internet through one.

    aiohttp's `trust_env` would ask for it in threads at each request (0.4 ms), and fail where a `.netrc` names the host.
    """
    address = urlsplit(url)
    proxy = getproxies().get(address.scheme)
    if not proxy or proxy_bypass(address.hostname or ""):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _retry_after(header: str) -> float:
    """The seconds in a `Retry-After` header: a number or a date; 0 where there is none."""
    try:
        seconds = float(header) if header[:1].isdigit() else parsedate_to_datetime(header).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0
    # A longer wait is as good as none.
    return min(max(0.0, seconds), 1e7)


def connection_failed(error: BaseException, settings: Settings, seconds: float) -> PipeError:
    """The error for a connection that could not be made or fell silent, `seconds` being the limit for that."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        told = f"did not answer within {settings.CONNECT_TIMEOUT_SECONDS} s. Try again."
    elif isinstance(error, TimeoutError):
        told = f"was silent for {seconds:.0f} s, so the request was ended. Try again."
    else:
        told = f"cannot be reached ({_cause_of(error)}). Check the network and the valve BASE_URL."
    return PipeError(f"{_host(settings)} {told}", ANY_NUMBER)


def _cause_of(error: BaseException) -> str:
    # The texts of these quote what came, whatever that was.
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status}"
    if isinstance(error, aiohttp.ClientResponseError):
        return "what came back is not HTTP"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection"
    inner = getattr(error, "os_error", None) or error
    return getattr(inner, "strerror", None) or str(inner) or type(error).__name__


def _host(settings: Settings) -> str:
    return settings.base_url.split("/")[2]


async def next_bytes(response: aiohttp.ClientResponse, seconds: float) -> bytes:
    """What of the body has come, or comes within so many seconds; nothing at its end. Raises `TimeoutError`, or `BROKEN`."""
    content = response.content
    # `read_nowait` loses what came before the connection broke.
    read = getattr(content, "_read_nowait", content.read_nowait)
    if content.total_bytes and (here := read(-1)):
        return bytes(here)
    try:
        # After garbage between two chunks aiohttp waits for ever, or is surprised.
        async with asyncio.timeout(seconds):
            return await content.readany()
    except RuntimeError:
        raise aiohttp.ClientConnectionError from None


async def read_body(response: aiohttp.ClientResponse, settings: Settings, seconds: float) -> bytes:
    """The whole body, unless it breaks off; nothing of one that is absurdly long. Of a refusal, what came in `seconds`."""
    body, failed = bytearray(), None
    try:
        async with asyncio.timeout(seconds if response.status >= 400 else None):
            while chunk := await next_bytes(response, seconds):
                body += chunk
                if len(body) > _MAX_JSON_BYTES:
                    return b""
    except TimeoutError as error:
        failed = connection_failed(error, settings, seconds)
    except BROKEN:
        failed = PipeError(BROKE_OFF.format(whose=_host(settings)), ANY_NUMBER)
    if failed and response.status < 400:
        raise failed
    return without_key(bytes(body), key_forms(settings))


def key_forms(settings: Settings) -> set[bytes]:
    """The key as upstream may quote it; none where it is so short that it is no secret (`none`, `openrouter`)."""
    key = settings.api_key.encode()
    # JSON may have a backslash before a slash, and JSON in JSON up to three.
    return {key.replace(b"/", b"\\" * count + b"/") for count in range(4) if len(key) >= _SHORTEST_KEY}


def without_key(data: bytes, forms: set[bytes]) -> bytes:
    """What upstream sent, without the key: some gateways quote the one they refuse, and not every key looks like one."""
    for form in forms:
        data = data.replace(form, b"\xe2\x80\xa6")
    return data


def _headers(settings: Settings) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "HTTP-Referer": settings.HTTP_REFERER,
        "X-OpenRouter-Title": settings.APP_TITLE,
        "X-Title": settings.APP_TITLE,
        "X-OpenRouter-Metadata": "enabled",
        "Authorization": f"Bearer {settings.api_key}",
    }
    return {name: value for name, value in headers.items() if value}


def _close_session(
    session: aiohttp.ClientSession, connector: aiohttp.TCPConnector, loop: asyncio.AbstractEventLoop
) -> None:
    """Close the session of a pipe that was dropped, from whichever thread."""
    session.detach()
    # aiohttp's public close() is a coroutine; this is the part of it that closes the sockets.
    if loop.is_running():
        loop.call_soon_threadsafe(connector._close)
    else:
        connector._close()


# === model_rows.py
# What a model's row in Open WebUI should hold, and how it gets there without undoing an admin's work.
#
# A row carries a mark, under one key of its `meta`, of each field as the pipe wrote it. A field that fits its mark follows the
# catalog; one that does not is the admin's, for good.

_MARKS = "openrouter_pipe"
# The name, beside the keys of `meta`.
_NAME = "(name)"
_GROUPS = ("capabilities", "builtinTools")


def author_of(entry: Entry) -> str:
    """Whose icon a model gets: the author of the row that describes it."""
    author, slash, _ = entry.model.id.partition("/")
    return author.lstrip("~") if slash else "openrouter"


def row_fields(entry: Entry, settings: Settings, icon: str | None) -> JsonDict:
    """What the row of a published model should hold, by path in its `meta`.

    None: unknown, or as Open WebUI has it anyway, so that the admin's defaults for all models hold.
    """
    model, ref = entry.model, entry.ref
    inputs = model.input_modalities
    is_free = "free" in ref.variants or model.is_free
    lacks_tools = model.supported_parameters and not model.has_tools
    is_direct = taken_kinds(model, settings)
    tags = {"Free": is_free, **{tag.capitalize(): True for tag in ref.variants}, "Preset": ref.preset}
    text = f"{_facts_of(model, is_free)}\n{entry.description}".strip()[:5_000]
    return {
        _NAME: settings.NAME_PREFIX + entry.name,
        # As every database takes it, and every browser gives it back.
        "description": "\n".join(text.replace("\0", "").splitlines()) or None,
        "profile_image_url": icon,
        "tags": [{"name": tag} for tag, applies in tags.items() if applies] or None,
        "capabilities.usage": True,
        "capabilities.vision": "image" in inputs if inputs else None,
        "capabilities.builtin_tools": False if lacks_tools else None,
        # Neither retrieval nor tools that look into files: the model reads them itself.
        "capabilities.file_context": False if is_direct else None,
        "builtinTools.files": False if is_direct else None,
    }


def merge_row(wanted: JsonObject, name: str, meta: JsonObject) -> tuple[str, JsonDict] | None:
    """The name and `meta` that a stored row should get (a new one: of `""` and `{}`); None: nothing is to be changed.

    Of a row without marks, which somebody else made, only what is empty is filled in.
    """
    known = mapping(meta.get(_MARKS))
    marks = dict(known)
    row: JsonDict = {**meta, _NAME: name, **{group: dict(mapping(meta.get(group))) for group in _GROUPS}}
    for path, target in wanted.items():
        group, _, key = path.rpartition(".")
        place = row[group] if group else row
        value = place.get(key)
        if path in known:
            if value == target or _mark_of(value) != known[path]:
                continue
        elif target is None:
            continue
        # Open WebUI's editor fills in what is on by default, whatever an admin came to change.
        elif value not in (None, "", []) and not (value is True and group if known else value == target):
            marks[path] = ""
            continue
        place[key], marks[path] = target, _mark_of(target)
        if target is None:
            del place[key], marks[path]
    if marks == known or not set(marks.values()) - {""}:
        return None
    # An empty group would hide the admin's defaults; chats fail at one that is None (`is_builtin_tool_enabled` of 0.12.4).
    row = {key: value for key, value in row.items() if value or key not in _GROUPS}
    return str(row.pop(_NAME)), {**row, _MARKS: marks}


def _mark_of(value: object) -> bool | str:
    """What stands for a value: short, since all rows are sent with each list of models."""
    return value if isinstance(value, bool) else hashlib.sha256(dump_json(value)).hexdigest()[:10]


def _facts_of(model: Model, is_free: bool) -> str:
    """`128K context · $2.50 in, $10 out per million tokens`; what is unknown is left out."""
    facts, prices, words = [], model.pricing, {"prompt": "in", "completion": "out"}
    amounts = [f"{_per_million(prices[kind])} {word}" for kind, word in words.items() if kind in prices]
    if length := model.context_length:
        # 128000 → 128K, 1048576 → 1M
        size = f"{(length + 500) // 1_000}K" if length < 999_500 else f"{length / 1e6:.2g}M"
        facts.append(f"{size} context")
    if is_free:
        facts.append("free")
    elif any(price.startswith("-") for price in prices.values()):
        facts.append("price varies")
    elif amounts:
        facts.append(f"{', '.join(amounts)} per million tokens")
    return " · ".join(facts)


def _per_million(price: str) -> str:
    """US dollars per token → `$2.50`, `$10`, `$0.075` for a million of them."""
    amount = float(price) * 1_000_000
    return max(f"${amount:.4g}", f"${amount:.2f}".removesuffix(".00"), key=len)


# === requests.py
# One chat's request: which endpoint, and the JSON body.

ENDPOINT_PATHS: dict[Endpoint, str] = {"responses": "/responses", "chat_completions": "/chat/completions"}
# What a title does not need, and what would cost money or time.
_NOT_FOR_TASKS = ("tools", "plugins", "web_search_options", "modalities", "audio")
_COMPRESSION = "context-compression"
# Open WebUI gives its tasks few tokens (an emoji: 4); reasoning that cannot be switched off would use them up.
_TASK_REASONING_TOKENS = 2_000


class ChatContext(NamedTuple):
    """Who asks, where, and for which task of Open WebUI; empty when unknown. `secret` keys the pseudonyms."""

    chat_id: str = ""
    user_id: str = ""
    secret: str = ""
    task: str = ""

    def __repr__(self) -> str:
        return f"ChatContext({self.chat_id!r}, {self.user_id!r}, task={self.task!r})"


class UpstreamRequest(NamedTuple):
    """A request ready to be sent, what was left out of it, and what becomes of the answer."""

    endpoint: Endpoint
    body: JsonDict
    left_out: tuple[str, ...]
    model: Model
    shows_reasoning: bool
    is_task: bool


def build_request(
    body: JsonObject,
    ref: ModelRef,
    model: Model,
    settings: Settings,
    context: ChatContext,
    served_on: Endpoint | None = None,
) -> UpstreamRequest:
    """The request for what Open WebUI hands over (`body`, which stays as it is).

    `served_on`: the only endpoint that is known to serve it.
    """
    is_task, messages = bool(context.task), body.get("messages")
    if is_task:
        body = without(body, *_NOT_FOR_TASKS)
        # `:online` is a plugin in the form of a variant.
        ref = ref._replace(variants=tuple([tag for tag in ref.variants if tag != "online"]))
    asked = read_parameters(body, model)
    has_breakpoints = has_cache_control(messages)
    wants_chat = has_breakpoints or needs_chat(asked) or has_chat_audio(messages)
    fixed = served_on if settings.ENDPOINT == "auto" else settings.ENDPOINT
    endpoint: Endpoint = fixed or ("chat_completions" if wants_chat else "responses")
    with_preset = ref.preset is not None or "preset" in asked
    if ref.preset is not None:
        asked.pop("preset", None)
    elif "preset" in asked and endpoint == "responses":
        ref = ModelRef.from_api(ref.api_id + asked.pop("preset"))
    enabled, effort, provider = settings.ENABLE_REASONING, settings.REASONING_EFFORT, settings.provider
    if with_preset:
        # What the valves add would override the preset's own settings.
        enabled, effort, provider = True, "default", {}
    else:
        _add_by_valves(asked, ref, model, settings, has_breakpoints and endpoint == "chat_completions", is_task)
    ids = {"session_id": context.chat_id, "user": context.user_id if settings.SEND_USER_ID else ""}
    for name, text in ids.items():
        if text:
            asked.setdefault(name, pseudonym(context.secret, text))
    provider = {**provider, **asked.get("provider", {}), **settings.privacy}
    reasoning, shown, thinks = choose_reasoning(body, model, enabled, effort, least=is_task)
    asked |= {"provider": provider or None, "reasoning": reasoning}
    if not shown and asked.get("include_reasoning"):
        del asked["include_reasoning"]
    if is_task and thinks:
        asked |= {name: asked[name] + _TASK_REASONING_TOKENS for name in LENGTHS if isinstance(asked.get(name), int)}
    fields = place_parameters(asked, endpoint)
    conversation = _conversation(messages, endpoint, thinks)
    whole = {"model": ref.api_id, "stream": bool(body.get("stream")), **fields, **conversation}
    return UpstreamRequest(endpoint, whole, left_out(body, fields, endpoint), model, shown, is_task)


def pseudonym(secret: str, text: str) -> str:
    """A stable stand-in for an id, not to be traced back to it."""
    return hmac.new(secret.encode(), text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:32]


def _conversation(messages: object, endpoint: Endpoint, thinks: bool) -> JsonDict:
    if endpoint == "chat_completions":
        return {"messages": chat_messages(messages)}
    instructions, items = responses_input(messages)
    fields: JsonDict = {"input": items}
    if instructions:
        fields["instructions"] = instructions
    if thinks:
        # The endpoint is stateless: what the model needs to go on thinking comes back encrypted, and is handed in again.
        fields["include"] = ["reasoning.encrypted_content"]
    return fields


def _add_by_valves(
    asked: JsonDict,
    ref: ModelRef,
    model: Model,
    settings: Settings,
    has_breakpoints: bool,
    is_task: bool,
) -> None:
    """Add what the request does not say."""
    if fallbacks := split_entries(settings.FALLBACK_MODELS):
        asked.setdefault("models", list(dict.fromkeys((ref.api_id, *fallbacks))))
    if settings.PROMPT_CACHING and not has_breakpoints and ref.base.startswith(("anthropic/", "~anthropic/")):
        asked.setdefault("cache_control", {"type": "ephemeral"})
    if is_task:
        return
    # A model that paints does so only when asked; one that does nothing else is not in the catalog.
    # Source: OpenRouter docs, guides/overview/multimodal/image-generation.
    if not model.is_router and "image" in model.output_modalities:
        asked.setdefault("modalities", ["image", "text"])
    plugins = dicts(asked.get("plugins"))
    if settings.CONTEXT_COMPRESSION != "default" and _COMPRESSION not in texts_in(plugins, "id"):
        asked["plugins"] = [*plugins, {"id": _COMPRESSION, "enabled": settings.CONTEXT_COMPRESSION == "on"}]


# === webui.py
# The only room that knows Open WebUI.
#
# Its modules are looked up among those already loaded, never imported: inside Open WebUI they are there, and outside of it
# (tests, tools) importing `open_webui.env` would end the process when no secret is configured.

_NOT_SENT = (
    "Not sent as a whole: {}. What you may read is sent: up to 25 MB of files, 400,000 characters of each text, and of "
    "knowledge what is set to “Using Entire Document”."
)
# By the id of the answer. Open WebUI makes an answer in one task, and hands over a new copy of its metadata in each tool round.
_ROUNDS: ContextVar[dict[str, JsonDict]] = ContextVar("openrouter_pipe_rounds")
_EVERYBODY = {"principal_type": "user", "principal_id": "*", "permission": "read"}


def data_directory() -> Path | None:
    """The folder for the pipe's files inside Open WebUI's data directory; None outside of Open WebUI."""
    directory = _loaded("env", "DATA_DIR")
    return Path(directory) / "openrouter_pipe" if directory else None


def host_secret() -> str:
    """Open WebUI's own secret, which keys pseudonyms; empty outside of Open WebUI."""
    return str(_loaded("env", "WEBUI_SECRET_KEY") or "")


def shared_by_rounds(metadata: JsonObject) -> JsonDict:
    """What the tool rounds of one answer keep for each other, by name; `metadata` is Open WebUI's."""
    answers = _ROUNDS.get(None)
    if answers is None:
        _ROUNDS.set(answers := {})
    message_id = str(metadata.get("message_id") or "")
    return answers.setdefault(message_id, {}) if message_id else {}


def redis_client() -> Any:
    """Open WebUI's own connection to Redis; None where it has none."""
    return _app_state("redis")


def function_id_of(pipe: object) -> str | None:
    """The id under which Open WebUI runs this very instance; None where it does not (outside, or no longer)."""
    running = dict(_app_state("FUNCTIONS") or {})
    return next((str(function_id) for function_id, instance in running.items() if instance is pipe), None)


def _app_state(name: str) -> Any:
    return getattr(getattr(_loaded("main", "app"), "state", None), name, None)


def _loaded(module: str, name: str) -> Any:
    """What Open WebUI has under this name; None outside of it."""
    return getattr(sys.modules.get(f"open_webui.{module}"), name, None)


async def stored_rows() -> JsonDict:
    """All rows of models by id, read with two queries. Raises whatever the database does, as do the next two."""
    return {row.id: row for row in await _loaded("models.models", "Models").get_all_models()}


async def stored_row(model_id: str) -> Any:
    """One of them as it is now, or None."""
    return await _loaded("models.models", "Models").get_model_by_id(model_id)


async def write_row(model_id: str, row: Any, name: str, meta: JsonObject, is_public: bool) -> None:
    """Change name and `meta` of a model's row and nothing else; or add one (`row` is None), which is an admin's."""
    models = _loaded("models.models", "Models")
    form = partial(_loaded("models.models", "ModelForm"), id=model_id, name=name, meta=meta)
    if row:
        # Before 0.12 what is not named goes back to its default.
        await models.update_model_by_id(model_id, form(params=row.params.model_dump(), is_active=row.is_active))
    else:
        owner = await _loaded("models.users", "Users").get_super_admin_user()
        grants = [_EVERYBODY] if is_public else []
        await models.insert_new_model(form(params={}, access_grants=grants), owner.id)


async def read_chat_files(kinds: Kinds, metadata: JsonObject, user_id: str, rounds: JsonDict) -> tuple[JsonDict, str]:
    """The chat's files that are not left to Open WebUI: their parts by id, and a line about what is not sent.

    `rounds` keeps what was read for the answer's next tool round. Never raises.
    """
    if "files" in rounds:
        return rounds["files"], ""
    row: object = metadata
    for key in ("model", "info", "meta", "capabilities"):
        row = mapping(row).get(key)
    # By the same switch Open WebUI has put the texts of the files into the messages, or has not.
    is_retrieved = mapping(row).get("file_context", True)
    parts: JsonDict = {}
    missing, room = [], MAX_FILE_BYTES
    for number, item in enumerate(dicts(metadata.get("files"))):
        # The address that the web page gives an upload is its id.
        file_id, is_upload = str(item.get("id") or item.get("url") or number), item.get("type", "file") == "file"
        if file_id in parts or is_in_messages(item) or (is_retrieved and not is_upload):
            continue
        name, text = str(item.get("name") or "file"), ""
        try:
            text, record = await _read_text(file_id, item, is_upload, user_id)
            if record:
                name, meta = record.filename, mapping(record.meta)
                kind, size = file_kind(kinds, name, meta.get("content_type")), meta.get("size") or 0
                if kind and size <= room and not (is_retrieved and text):
                    parts[file_id] = await asyncio.to_thread(_stored_part, kind, record)
                    room -= size
        except Exception:  # noqa: BLE001 - Open WebUI's database and storage raise errors of many libraries
            log_surprise("A file of a chat could not be read")
        if file_id not in parts and not is_retrieved:
            parts[file_id], is_whole = text_part(name, text)
            missing += [] if is_whole else [name]
    rounds["files"] = parts
    return parts, _NOT_SENT.format(", ".join(missing)[:300]) if missing else ""


async def _read_text(file_id: str, item: JsonDict, is_upload: bool, user_id: str) -> tuple[str, Any]:
    """The text of a file, a page, a note, …, as far as this user may read it; of an upload also its record."""
    user = await _loaded("models.users", "Users").get_user_by_id(user_id)
    # Without what the web page says is in it: so Open WebUI looks itself, and whether this user may.
    item = {"type": "file", "id": file_id, "context": "full"} if is_upload else dict(item)
    if not user or (item.get("type") in ("collection", "folder") and item.get("context") != "full"):
        return "", None
    get_sources = _loaded("retrieval.utils", "get_sources_from_items")
    sources = await get_sources(None, [item], [], None, 0, None, 0, 0.0, 0.0, False, full_context=True, user=user)
    text = "\n\n".join(str(text) for source in sources for text in source["document"] if text)
    return text, await _loaded("models.files", "Files").get_file_by_id(file_id) if is_upload and sources else None


def _stored_part(kind: tuple[str, str], record: Any) -> JsonDict:
    path = _loaded("storage.provider", "Storage").get_file(record.path)
    return file_part(kind, record.filename, Path(path).read_bytes())


# === attempt.py
# One request sent upstream, and its answer read.

_READERS: dict[Endpoint, type[AnswerReader]] = {"responses": ResponsesReader, "chat_completions": ChatReader}
# How long the usage is waited for, which may come after the end; and the last bytes, which free the connection.
_AFTER_END_SECONDS = 3.0
_DRAIN_SECONDS = 0.1
# With more answers at once than this, each is updated less often: they share Open WebUI's one thread.
_CROWD = 50


class Attempt:
    """One request. `reader` knows what has come of its answer, `seconds` is how long it came."""

    def __init__(self, transport: Transport, settings: Settings, request: UpstreamRequest) -> None:
        self.reader = _READERS[request.endpoint]()
        self._transport = transport
        self._settings = settings
        self._request = request
        # Not a variable of a function: those may be shown with an error.
        self._key_forms = key_forms(settings)
        self._model_id = str(request.body["model"])
        self._decoder = SseDecoder()
        # By a clock that only runs forward, as is `_until`: when the rest is no longer waited for.
        self._began = self._latest = 0.0
        self._until = math.inf

    @property
    def seconds(self) -> float:
        """From the first piece of the answer to the latest."""
        return self._latest - self._began

    async def batches(self) -> AsyncGenerator[list[Delta], None]:
        """The deltas of each network read, of which there may be none. Raises `PipeError` when it fails or breaks off."""
        path = ENDPOINT_PATHS[self._request.endpoint]
        async with self._transport.send(self._settings, path, self._model_id, self._request.body) as response:
            if response.content_type == "text/event-stream":
                while await self._read_more(response):
                    if (deltas := self._take()) or self.reader.statuses:
                        began = time.monotonic()
                        yield deltas
                        # What arrives meanwhile waits in the buffer and leaves as one piece.
                        pause = self._settings.STREAM_INTERVAL_MS / 1000 * max(1.0, self._transport.running / _CROWD)
                        if pause and not self.reader.ended:
                            await asyncio.sleep(max(0.0, pause - (time.monotonic() - began)))
            else:
                await self._read_whole(response)
            yield self._take()
        if self.reader.error is not None:
            raise read_failure(0, {"error": self.reader.error}, self._model_id)
        if not self.reader.ended:
            raise PipeError(BROKE_OFF.format(whose=self._model_id), ANY_NUMBER)

    def _take(self) -> list[Delta]:
        if deltas := self.reader.take():
            self._latest = time.monotonic()
            self._began = self._began or self._latest
        return deltas

    async def _read_more(self, response: aiohttp.ClientResponse) -> bool:
        """Read what has come of a stream, or wait for it; whether more may come."""
        reader, silence = self.reader, float(self._settings.READ_TIMEOUT_SECONDS)
        if reader.ended:
            # In all: comments may go on.
            now = time.monotonic()
            self._until = min(self._until, now + (_DRAIN_SECONDS if reader.done else _AFTER_END_SECONDS))
            silence = self._until - now
        try:
            chunk = await next_bytes(response, silence)
            payloads = self._decoder.feed(chunk) if chunk else self._decoder.flush()
        except EventTooLongError:
            text = f"The answer of {self._model_id} holds a piece that is too large to show. Choose another model."
            raise PipeError(text) from None
        except TimeoutError as error:
            if not reader.ended:
                raise connection_failed(error, self._settings, silence) from None
            return False
        except BROKEN:
            # The reader knows whether the end had come already; if not, that is the error.
            return False
        for payload in payloads:
            reader.feed(without_key(payload, self._key_forms))
        return bool(chunk)

    async def _read_whole(self, response: aiohttp.ClientResponse) -> None:
        """Read an answer that is not a stream, and so complete."""
        body = await read_body(response, self._settings, self._settings.READ_TIMEOUT_SECONDS)
        try:
            answer = mapping(parse_json(body))
        except ValueError:
            answer = {}
        if answer.get("error") or not answer.keys() & {"choices", "output"}:
            raise read_failure(0, body, self._model_id)
        self.reader.read(answer)
        self.reader.done = True


# === shared.py
# What the workers of one Open WebUI share: JSON in its data directory, in its Redis as well where it has one; locks.

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

# A worker that dies must not keep the others out for ever.
_LOCK_SECONDS = 120
LOOK_AGAIN_SECONDS = 0.1


async def read_shared(name: str) -> JsonObject:
    """The object kept under `name`; an empty one when there is none."""
    return await asyncio.to_thread(_parse_copy, await _redis("get", name), name)


async def write_shared(name: str, content: JsonObject) -> None:
    """Keep `content` under `name`; what was there is replaced in one step. Files are readable by their user only."""
    text = await asyncio.to_thread(dump_json, content)
    await _redis("set", name, text, ex=30 * 86_400)
    if directory := data_directory():
        await asyncio.to_thread(_replace_file, directory / name, text)


@asynccontextmanager
async def shared_lock(name: str) -> AsyncIterator[None]:
    """Lets in one worker at a time, of all machines or of this one; the others wait.

    Where files cannot be locked (Windows, some network disks) all get in: what they do has to bear that.
    """
    while (locked := await _redis("set", name, "locked", nx=True, ex=_LOCK_SECONDS)) is None:  # noqa: ASYNC110 - across processes
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
    try:
        with ExitStack() as held:
            while not (locked or _lock_file(name, held)):  # noqa: ASYNC110 - as above
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
            yield
    finally:
        await _redis("delete", name)


async def _redis(command: str, name: str, *values: object, **options: object) -> Any:
    """What Open WebUI's Redis answers; False where there is none, or no answer."""
    if client := redis_client():
        try:
            # A Redis that is down is tried again by its client for much longer than a chat may wait.
            async with asyncio.timeout(1):
                return await getattr(client, command)(f"openrouter_pipe:{name}", *values, **options)
        except Exception as error:  # noqa: BLE001 - Redis fails in many ways, and there is the disk
            log.debug("Redis: %s failed: %s", command, type(error).__name__)
    return False


def _lock_file(name: str, held: ExitStack) -> bool:
    """Lock a file, where that can be, until `held` is closed; false while another worker has it."""
    if fcntl and (directory := data_directory()):
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = held.enter_context((directory / f"{name}.lock").open("wb"))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held.close()
            return False
        except OSError:
            pass
    return True


def _parse_copy(content: bytes | str | None, name: str) -> JsonObject:
    with suppress(OSError, ValueError):
        if not content and (directory := data_directory()):
            content = (directory / name).read_bytes()
        return mapping(parse_json(content or b""))
    return {}


def _replace_file(path: Path, content: bytes) -> None:
    part = path.with_suffix(f".{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.touch(mode=0o600)
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        log.warning("%s cannot be stored in %s: %s", path.name, path.parent, error.strerror)
        with suppress(OSError):
            part.unlink()


# === answer.py
# One chat's answer: sends the request, reads what comes back, and writes it for Open WebUI.

_EMPTY = {
    "length": "{model} used up its token limit before it wrote any text. Raise max_tokens or ask for less reasoning.",
    "content_filter": "The provider's content filter withheld the answer of {model}. Rephrase the message.",
}
SURPRISE = "The OpenRouter pipe met something it does not know. Open WebUI's log has the details. Try again."
# Stands in for reasoning that is not shown, where its details have to be kept.
_HIDDEN = {"reasoning_content": "The reasoning is hidden."}
_EMPTY_OTHERWISE = "{model} sent an empty answer. Try again, or choose another model."
Emitter = Callable[[JsonDict], Awaitable[object]]


class Answer:
    """The answer to one request. Use `events` or `completion`, once.

    `requests` gives the request, and then the one for the other endpoint, where there is a choice. `model_id` is Open
    WebUI's name of the model, `emit` shows status lines in the chat (None: nobody looks), `rounds` is the same for all tool
    rounds of the answer, `note` takes what a person was told went wrong.
    """

    def __init__(
        self,
        transport: Transport,
        settings: Settings,
        requests: Iterator[UpstreamRequest],
        model_id: str,
        emit: Emitter | None,
        rounds: JsonDict,
        note: Callable[[str], None],
    ) -> None:
        self._transport = transport
        self._settings = settings
        self._requests = requests
        self._request = next(requests)
        self._emit = emit
        self._rounds = rounds
        self._note = note
        self._error = ""
        # Server tools whose status line still says that they work, by place; empty: no longer.
        self._working: dict[object, JsonObject] = {}
        self._writer = ChunkWriter(model_id)

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The answer as server-sent events. An error is the last event before `[DONE]`; what was shown before stays."""
        async with self._ending(), aclosing(self._deltas()) as deltas:
            async for delta in deltas:
                yield self._writer.delta(delta)
        reason, usage = self._reader.finish_reason or "stop", self._reader.usage
        yield error_event(self._error) if self._error else self._writer.finish(reason)
        if usage:
            yield self._writer.usage(usage)
        yield DONE

    async def completion(self) -> JsonDict:
        """The answer as one `chat.completion` object, or as an `error` object."""
        async with self._ending(), aclosing(self._deltas()) as shown:
            deltas = [delta async for delta in shown]
        if self._error:
            return error_body(self._error)
        if self._request.is_task:
            # A task wants one text; a model that thought until its tokens were used up has at least said that.
            whole = merge_deltas(deltas)
            deltas = [{"content": whole.get("content") or whole.get("reasoning_content", "")}]
        return self._writer.completion(deltas, self._reader.finish_reason or "stop", self._reader.usage)

    @asynccontextmanager
    async def _ending(self) -> AsyncIterator[None]:
        """Makes of what is raised inside the line that a person reads, and shows the last status lines."""
        try:
            yield
        except PipeError as error:
            self._error = str(error)
            self._note(self._error)
        except Exception:  # noqa: BLE001 - Open WebUI would lose what was already shown
            log_surprise("An answer could not be read")
            self._error = SURPRISE
        finally:
            await self._end_tools()
        await self._tell_cost()

    async def _deltas(self) -> AsyncGenerator[Delta, None]:
        """The deltas to show, of the first attempt that shows any. Raises `PipeError` when there is none, or it breaks off."""
        started, tries = time.monotonic(), 1
        while True:
            attempt = Attempt(self._transport, self._settings, self._request)
            self._reader = attempt.reader
            answered = shown = False
            try:
                async with aclosing(attempt.batches()) as batches:
                    async for deltas in batches:
                        answered = answered or any(map(has_answer, deltas))
                        await self._tell_tools()
                        for delta in self._visible(deltas):
                            shown = True
                            yield delta
                self._refuse_nothing(answered, shown)
            except PipeError as error:
                if shown:
                    raise
                wrong = isinstance(error, UpstreamError) and error.kind == "wrong_endpoint"
                if wrong and (other := next(self._requests, None)):
                    self._request = other
                else:
                    await self._pause(error, tries, time.monotonic() - started)
                    tries += 1
            else:
                for delta in self._visible(self._reader.close()):
                    yield delta
                return
            finally:
                if usage := self._reader.usage:
                    add_usage(self._rounds.setdefault("spent", {}), usage, attempt.seconds)

    def _refuse_nothing(self, answered: bool, shown: bool) -> None:
        """Raise the `PipeError` for an answer with nothing in it, or one that was cut before its first word."""
        cut = _EMPTY.get(self._reader.finish_reason or "")
        if not answered and (not shown or (cut and not self._request.is_task)):
            raise PipeError((cut or _EMPTY_OTHERWISE).format(model=self._request.body["model"]), 0 if cut else 1)

    async def _pause(self, error: PipeError, tries: int, elapsed: float) -> None:
        """Tell the person who waits, and wait. Raises the error when another attempt would not help, or come too late."""
        settings, chance = self._settings, random.random()  # noqa: S311 - nothing to guess
        wait = retry_wait(error, tries, settings.MAX_RETRIES, settings.RETRY_MAX_WAIT_SECONDS, chance)
        if elapsed + wait > settings.READ_TIMEOUT_SECONDS:
            raise error.after(tries)
        try:
            await self.show(f"{error.happened}. Trying again in {math.ceil(wait)} s.", done=False)
            await asyncio.sleep(wait)
        finally:
            # Also after Stop: a status that is never done would shimmer for ever.
            await self.show(f"{error.happened}.")

    def _visible(self, deltas: list[Delta]) -> list[Delta]:
        """What of the deltas is shown: all, or all but the reasoning (which a task may need when there is nothing else)."""
        if self._request.shows_reasoning or (self._request.is_task and not self._request.body["stream"]):
            return deltas
        # With calls the next round must bring the details back, or some providers refuse it; they are kept, not shown.
        hidden = {"reasoning_content"} if self._reader.has_calls else {"reasoning_content", "reasoning_details"}
        return [
            _HIDDEN | delta if "reasoning_details" in delta else delta for delta in deltas if not hidden & delta.keys()
        ]

    async def _tell_tools(self) -> None:
        statuses, self._reader.statuses = self._reader.statuses, []
        for place, item, done in statuses:
            self._working[place] = {} if done else item
            await self.show(**tool_status(item, done))

    async def _end_tools(self) -> None:
        """A status that is never done would shimmer for ever, also after Stop or an error."""
        await self._tell_tools()
        failed = self._error or not self._reader.ended
        for item in filter(None, self._working.values()):
            await self.show(**tool_status({**item, "status": "failed"} if failed else item, done=True))

    async def _tell_cost(self) -> None:
        """After the answer's last round, show what all its rounds have used."""
        if self._settings.COST_DISPLAY == "off" or self._reader.has_calls:
            return
        request, spent = self._request, self._rounds.get("spent", {})
        asked, tier = ModelRef.from_api(request.body["model"]), request.body.get("service_tier")
        try:
            line = cost_line(spent, self._reader.served, asked, request.model, tier)
        except Exception:  # noqa: BLE001 - the answer is here, and must get its end
            log_surprise("The cost of an answer could not be told")
        else:
            await self.show(line)

    async def show(self, description: str, done: bool = True, **more: object) -> None:
        """Show a status line, unless it is empty; one that is not done shimmers."""
        if self._emit is None or self._request.is_task or not description:
            return
        try:
            await self._emit({"type": "status", "data": {"description": description, "done": done, **more}})
        except Exception as error:  # noqa: BLE001 - a status line that cannot be shown must not cost the answer
            log.debug("A status line could not be shown: %s", type(error).__name__)


# === catalog_store.py
# The cached catalog: memory, then what the workers share, then the network.
#
# A stale copy beats a failure, and nobody waits for a refresh.

_LIST_WAITS_SECONDS = 5.0
# Storing the catalog can wait; what waits for the list cannot.
_STORE_AFTER_SECONDS = 0.05
_FETCH_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 600.0
_PRESETS_PER_PAGE = 100
_MAX_PRESETS = 2_000
_PRESETS_AT_ONCE = 4
# Of a gateway without such a path.
_NO_SUCH_PATH = (404, 405, 501)


class CatalogStore:
    """Keeps the catalog of the account in use. A change of `API_KEY` or `BASE_URL`, or whether ZDR matters, is another one."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._account = _Account(transport, "")

    @property
    def fetched_at(self) -> float:
        """When the catalog was fetched (Unix time); 0: never."""
        return self._account.fetched_at

    def problems(self) -> list[Problem]:
        """Why the catalog or the presets could not be fetched, as of now."""
        return [Problem("", "", self._account.problem)] if self._account.problem else []

    async def catalog_for_list(self, settings: Settings) -> Catalog | None:
        """The catalog for the model list. Waits for the network, 5 s at most, only when nothing at all is known."""
        catalog = await self.catalog_for_chat(settings)
        account = self._account
        if catalog is None and account.key:
            await account.wait()
        return account.catalog

    async def catalog_for_chat(self, settings: Settings) -> Catalog | None:
        """The catalog from memory or the shared copy, None when unknown. A refresh that is due starts in the background."""
        key = ""
        if settings.api_key and settings.base_url:
            text = f"{settings.base_url}\0{settings.api_key}\0{settings.publishing.zdr_only}"
            key = hashlib.sha256(text.encode()).hexdigest()[:16]
        if self._account.key != key:
            self._account = _Account(self._transport, key)
        account = self._account
        if key:
            if not account.reading.done():
                # Never raises: what keeps the copy from being read may have passed when it is fetched.
                await asyncio.wait({account.reading})
            account.refresh(settings)
        return account.catalog


class _Account:
    """What is known of one account, and its refresh: never two at once, with growing pauses after failures."""

    # As of the latest call.
    _settings: Settings

    def __init__(self, transport: Transport, key: str) -> None:
        self.key = key
        self.catalog: Catalog | None = None
        self.fetched_at = 0.0
        self.problem = ""
        self._transport = transport
        self._name = f"catalog-{key}.json"
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._pause = 0.0
        # By the clock of the event loop.
        self._next_try = 0.0

    @cached_property
    def reading(self) -> asyncio.Task[None]:
        """Takes the copy that an earlier run or another worker left, once."""
        return asyncio.create_task(self._take_copy())

    def refresh(self, settings: Settings) -> None:
        """Fetch in the background when that is due, unless it is under way or failed a moment ago."""
        self._settings, loop = settings, asyncio.get_running_loop()
        if self._is_due() and loop.time() >= self._next_try and (self._task is None or self._task.done()):
            self._tried.clear()
            self._task = loop.create_task(self._run())

    def _is_due(self) -> bool:
        known, age = self.catalog, time.time() - self.fetched_at
        has_all = known and (known.knows_presets or not self._settings.publishing.wants_presets)
        # A time in the future means that the clock was set back since: fetch again rather than never.
        return not (has_all and 0 <= age < self._settings.MODEL_CATALOG_REFRESH_SECONDS)

    async def _take_copy(self) -> None:
        """Take the shared copy, unless what is known is newer."""
        content = await read_shared(self._name)
        copy = await asyncio.to_thread(_catalog_in, content) if content else None
        if copy and copy[1] >= self.fetched_at:
            self.catalog, self.fetched_at = copy

    async def wait(self) -> None:
        """Wait until the rows are here or cannot be had; after 5 s nobody waits any more, and the refresh goes on."""
        try:
            async with asyncio.timeout(_LIST_WAITS_SECONDS):
                # Another worker's rows are here before its presets are.
                while not (self._tried.is_set() or self.catalog):
                    try:
                        await asyncio.wait_for(self._tried.wait(), LOOK_AGAIN_SECONDS)
                    except TimeoutError:
                        await self._take_copy()
        except TimeoutError:
            self._tried.set()
            late = f"the models have not come within {_LIST_WAITS_SECONDS:g} s; they are listed once they have"
            self.problem = self.problem or late

    async def _run(self) -> None:
        problem = ""
        try:
            async with shared_lock("catalog"):
                # Another worker may have been faster.
                await self._take_copy()
                if self._is_due():
                    await self._fetch()
        except PipeError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - nobody awaits this task: a surprise has to be told all the same
            log_surprise("Refreshing the catalog failed")
            problem = f"refreshing the catalog failed ({type(error).__name__})"
        self.problem = problem
        self._pause = min(2 * self._pause or _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS) if problem else 0.0
        self._next_try = asyncio.get_running_loop().time() + self._pause
        self._tried.set()

    async def _fetch(self) -> None:
        catalog = await self._fetch_rows()
        self.fetched_at = time.time()
        known = self.catalog or catalog
        # The presets of the last time stay until they are here anew.
        await self._keep(catalog.with_presets(known.presets) if known.knows_presets else catalog)
        if self._settings.publishing.wants_presets:
            await self._keep(catalog.with_presets(await self._fetch_presets(known.presets)))

    async def _keep(self, catalog: Catalog) -> None:
        if self.catalog is None:
            # What a list has waited for in vain is here now.
            self.problem = ""
        self.catalog = catalog
        self._tried.set()
        await asyncio.sleep(_STORE_AFTER_SECONDS)
        content = {
            "fetched_at": self.fetched_at,
            "rows": [model.row for model in catalog.models.values()],
            "presets": catalog.presets,
            "left_out": catalog.left_out,
            "knows_presets": catalog.knows_presets,
        }
        await write_shared(self._name, content)

    async def _get(self, path: str) -> Any:
        """The `data` of a GET, empty where it has none; None where there is no such path."""
        try:
            return mapping(await self._transport.get_json(self._settings, path, _FETCH_SECONDS)).get("data", ())
        except UpstreamError as error:
            if error.status in _NO_SUCH_PATH:
                return None
            raise

    async def _fetch_rows(self) -> Catalog:
        """The models that this key may use, and which of them have an endpoint with zero data retention, if that matters."""
        rows = await self._get("/models/user")
        if rows is None:
            rows = await self._get("/models")
        if self._settings.publishing.zdr_only:
            ids = {*texts_in(await self._get("/models?zdr=true"), "id")}
            rows = [{**row, "has_zdr": str(row.get("id")) in ids} for row in dicts(rows)]
        catalog = await asyncio.to_thread(Catalog.from_rows, dicts(rows))
        if not any(model.has_zdr for model in catalog.models.values()):
            where = self._settings.base_url
            raise PipeError(f"{where} sent no list of models that can be used. Check the valve BASE_URL.")
        return catalog

    async def _fetch_presets(self, known: Iterable[Preset]) -> Iterable[Preset]:
        """The active presets of the account, each with the model that its own page names; what does not come is as `known`."""
        rows: list[object] = []
        for offset in range(0, _MAX_PRESETS, _PRESETS_PER_PAGE):
            found = await self._get(f"/presets?offset={offset}&limit={_PRESETS_PER_PAGE}")
            if not isinstance(found, list):
                return known
            rows += found
            if len(found) < _PRESETS_PER_PAGE:
                break
        gate = asyncio.Semaphore(_PRESETS_AT_ONCE)
        models = {preset.slug: preset.model_id for preset in known}

        async def with_model(preset: Preset) -> Preset:
            page = None
            async with gate:
                with suppress(PipeError):
                    page = await self._get(f"/presets/{preset.slug}")
            return parse_preset(page) or preset._replace(model_id=models.get(preset.slug))

        return await asyncio.gather(*map(with_model, filter(None, map(parse_preset, rows))))


def _catalog_in(content: JsonObject) -> tuple[Catalog, float] | None:
    """The stored catalog and when it was fetched; None when it is no good copy."""
    with suppress(ValueError, KeyError, TypeError):
        models = Catalog.from_rows(content["rows"]).models
        presets = tuple(Preset(*row) for row in content["presets"])
        if models:
            return Catalog(models, presets, content["left_out"], content["knows_presets"]), float(content["fetched_at"])
    return None


# === icons.py
# A model's icon: its author's logo, fetched once by the server, or a monogram drawn here.

# Author -> logo, where that is not the author without hyphens.
_OTHER_NAMES = (
    "01-ai:yi allenai:ai2 amazon:nova arcee-ai:arcee bytedance-seed:bytedance ibm-granite:ibm inclusionai:antgroup "
    "meituan:longcat meta-llama:meta mistralai:mistral moonshotai:moonshot rekaai:reka stepfun-ai:stepfun "
    "thudm:chatglm xiaomi:xiaomimimo"
)
_LOGO_NAMES = dict(pair.split(":") for pair in _OTHER_NAMES.split())
# Drawn four times larger than shown: Pillow draws hard edges.
_SIZE = (256, 256)
_LOGO_SECONDS = 5.0


async def icons_for(transport: Transport, authors: Iterable[str], settings: Settings) -> dict[str, str]:
    """The icons of these authors, PNG data URLs. Fetches logos for 5 s at most."""
    if settings.MODEL_ICONS == "off":
        return {}
    names = {author: _LOGO_NAMES.get(author, author.replace("-", "")) for author in authors}
    logos = await _logos(transport, {*names.values()}, settings.ICON_URL) if settings.MODEL_ICONS == "brand" else {}
    return await asyncio.to_thread(lambda: {author: logos.get(names[author]) or monogram(author) for author in names})


async def _logos(transport: Transport, names: set[str], template: str) -> dict[str, str]:
    """The logos, by name, of this address. One that is not there (`""`) is asked for again on another day."""
    day = int(time.time() // 86_400)
    stored = await read_shared("icons.json")
    kept = mapping(stored.get("logos")) if stored.get("address") == template else {}
    logos = {name: icon for name, icon in kept.items() if icon or stored.get("day") == day}
    found: dict[str, str] = {}
    due = names - logos.keys()
    queue = iter(due)
    with suppress(TimeoutError):
        async with asyncio.timeout(_LOGO_SECONDS):
            await asyncio.gather(*(_fetch(transport, queue, template, found) for _ in range(4)))
    if due:
        # Where nobody answers, the rows do not wait again today.
        logos |= found or dict.fromkeys(due, "")
        await write_shared("icons.json", {"address": template, "day": day, "logos": logos})
    return logos


async def _fetch(transport: Transport, names: Iterator[str], template: str, logos: dict[str, str]) -> None:
    """Get logos, in colour if there is such a one. What gave no answer, or an error, is left out."""
    for name in names:
        for file in (f"{name}-color", name):
            url = template.replace("{name}", quote(file, errors="replace"))
            status, body = await transport.get_bytes(url, 512 * 1024)
            icon = await asyncio.to_thread(_logo_tile, body) if status == 200 else ""
            if icon:
                break
        if status in (200, 404):
            logos[name] = icon


def monogram(author: str) -> str:
    """One or two letters on the author's colour, as a PNG data URL."""
    first, *others = re.findall("[a-z0-9]+", author.lower()) or ["?"]
    letters = f"{first[0]}{others[0][0]}".upper() if others else first[:2].capitalize()
    hue = hashlib.sha256(ascii(author).encode()).digest()[0] * 360 // 256
    mark = _pillow("Image").new("RGBA", _SIZE)
    font = _pillow("ImageFont").load_default(128)
    _pillow("ImageDraw").Draw(mark).text((128, 128), letters, "white", font, anchor="mm")
    # Dark enough for white letters, whatever the hue.
    return _tile(mark, f"hsl({hue}, 65%, 28%)")


def _pillow(module: str) -> Any:
    # Not at the top: Pillow takes milliseconds to load.
    return importlib.import_module(f"PIL.{module}")


def _tile(mark: Any, colour: str) -> str:
    """`mark` in the middle of a rounded square, as a PNG data URL of about 1 kB: each model's row has one."""
    tile = _pillow("Image").new("RGBA", _SIZE)
    _pillow("ImageDraw").Draw(tile).rounded_rectangle((0, 0, 255, 255), 64, colour)
    tile.alpha_composite(mark, ((256 - mark.width) // 2, (256 - mark.height) // 2))
    file = io.BytesIO()
    tile.resize((64, 64)).quantize(64).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"


def _logo_tile(body: bytes) -> str:
    """A logo on white, which black ones need in a dark theme; empty where `body` is no PNG of a sane size."""
    try:
        # Opening reads no more than the size.
        logo = _pillow("Image").open(io.BytesIO(body), formats=["PNG"])
        if max(logo.size) > 2048:
            return ""
        logo = logo.convert("RGBA")
        # Nothing is left of a picture without a visible dot, which is an error below.
        logo = logo.crop(logo.getbbox() or (0, 0, 0, 0))
        # It fits the circle that Open WebUI cuts out.
        scale = 224 / math.hypot(*logo.size)
        return _tile(logo.resize([max(1, round(side * scale)) for side in logo.size]), "white")
    except Exception:  # noqa: BLE001 - a broken file makes Pillow raise whatever it likes
        return ""


# === row_keeper.py
# Keeps the rows of the published models up to date, in the background and by one worker at a time.

_LIST_WAITS_FOR_ROWS_SECONDS = 1.0
_PAUSE_SECONDS = 30.0
_Work = tuple[Published, Settings]


class RowKeeper:
    """Writes rows when the list or the valves are not those that were written last."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._wanted: _Work | None = None
        self._done: _Work | None = None
        self._task: asyncio.Task[None] | None = None
        # By a clock that only runs forward.
        self._next_try = 0.0

    async def keep(self, pipe: object, published: Published, settings: Settings) -> None:
        """Start what there is to do. The list that a change of valves made new waits for it, 1 s at most."""
        before, function_id = self._wanted, function_id_of(pipe)
        if not settings.UPDATE_MODEL_METADATA:
            self._wanted = None
        # To compare two lists by what is in them would take long.
        elif before is None or before[0] is not published or before[1] != settings:
            self._wanted = (published, settings)
        if not self._wanted or self._wanted is self._done or not function_id:
            return
        if self._task is None and time.monotonic() >= self._next_try:
            self._task = asyncio.create_task(self._run(function_id))
        if self._task and before and before is not self._wanted and before[0].catalog is published.catalog:
            await asyncio.wait({self._task}, timeout=_LIST_WAITS_FOR_ROWS_SECONDS)

    async def _run(self, function_id: str) -> None:
        try:
            while (work := self._wanted) and work is not self._done:
                async with shared_lock("model-rows"):
                    await self._write(function_id, work)
        except Exception as error:  # noqa: BLE001 - a database fails in many ways, and nobody awaits this task
            log.warning("Rows of models could not be written: %s: %.300s", type(error).__name__, error)
            self._next_try = time.monotonic() + _PAUSE_SECONDS
        finally:
            self._task = None

    async def _write(self, function_id: str, work: _Work) -> None:
        """Write what differs, unless other work is wanted meanwhile."""
        published, settings = work
        icons = await icons_for(self._transport, map(author_of, published.entries), settings)
        stored = await stored_rows()
        failure: Exception | None = None
        for entry in published.entries:
            model_id = f"{function_id}.{entry.webui_id}"
            try:
                fields = row_fields(entry, settings, icons.get(author_of(entry)))
                if _change(fields, stored.get(model_id)):
                    # An admin may have saved it a moment ago.
                    row = await stored_row(model_id)
                    if change := _change(fields, row):
                        await write_row(model_id, row, *change, is_public=settings.NEW_MODEL_ACCESS == "public")
            except Exception as error:  # noqa: BLE001 - one row must not cost the others theirs
                failure = error
            await asyncio.sleep(0)
            if work is not self._wanted:
                return
        if failure:
            raise failure
        self._done = work


def _change(fields: JsonObject, row: Any) -> tuple[str, JsonDict] | None:
    """Name and `meta` that a row should get, if they differ; never for a workspace model that has this id."""
    if row is None:
        return merge_row(fields, "", {})
    return None if row.base_model_id else merge_row(fields, row.name, row.meta.model_dump())


# === pipe.py
# `class Pipe`: what Open WebUI calls. Wiring only.

_MAX_LOGGED_PROBLEMS = 50
_REMEMBERED_ERRORS = 20
_STATUS_ID = "status"
_KEY_SECONDS = 5.0
# How long a model's other endpoint is remembered.
_ENDPOINT_SECONDS = 3_600.0


class Pipe:
    """OpenRouter in Open WebUI. One instance serves all chats of a worker, so it holds nothing of a single one."""

    Valves = Settings
    UserValves = UserValves

    def __init__(self) -> None:
        self.valves = Settings()
        self._transport = Transport()
        self._store = CatalogStore(self._transport)
        self._rows = RowKeeper(self._transport)
        self._published: Published | None = None
        self._publishing = asyncio.Lock()
        # What the list was made of, and the list.
        self._list: tuple[Published | None, Settings | None, list[dict[str, str]]] = (None, None, [])
        self._logged: tuple[Problem, ...] = ()
        self._endpoints: dict[str, tuple[Endpoint, float]] = {}
        self._errors: deque[tuple[float, str]] = deque(maxlen=_REMEMBERED_ERRORS)

    async def pipes(self) -> list[dict[str, str]]:
        """The models that Open WebUI lists: `id` (without the function id) and `name`. Never raises."""
        try:
            settings = self.valves
            published = await self._publish(settings, await self._store.catalog_for_list(settings))
            self._log_new(self._problems(settings, published))
            if published:
                await self._rows.keep(self, published, settings)
            return self._entries(published, settings)
        except Exception:  # noqa: BLE001
            # Open WebUI awaits every pipe's list in turn: this must not cost the others theirs.
            log_surprise("The list of models could not be made")
            return []

    async def pipe(
        self,
        body: JsonDict,
        __user__: JsonObject | None = None,
        __chat_id__: str | None = None,
        __task__: str | None = None,
        __event_emitter__: Emitter | None = None,
        __metadata__: JsonObject | None = None,
    ) -> StreamingResponse | JsonDict | str:
        """Answer one chat: a stream of `chat.completion.chunk` events, or one `chat.completion` object.

        The status model answers with a text, of which Open WebUI makes either.
        """
        user, task, streaming = __user__ or {}, __task__ or "", body.get("stream")
        try:
            webui_id = body["model"].partition(".")[2]
            if webui_id == _STATUS_ID:
                return await self._tell_status(user, task)
            secret = host_secret() or self.valves.API_KEY
            context = ChatContext(__chat_id__ or "", user.get("id", ""), secret, task)
            answer = await self._answer(body, webui_id, user, context, __event_emitter__, __metadata__ or {})
            if not streaming:
                return await answer.completion()
            return StreamingResponse(answer.events(), media_type="text/event-stream")
        except PipeError as error:
            message = str(error)
            self._note(message)
        except Exception:  # noqa: BLE001
            # Open WebUI would show the bare exception, or lose the message.
            log_surprise("A chat could not be started")
            message = SURPRISE
        if not streaming:
            return error_body(message)
        return StreamingResponse(iter((error_event(message), DONE)), media_type="text/event-stream")

    async def _answer(
        self,
        body: JsonObject,
        webui_id: str,
        user: JsonObject,
        context: ChatContext,
        emit: Emitter | None,
        metadata: JsonObject,
    ) -> Answer:
        # The list and what may be called of it are the admin's, whoever asks.
        own, listing = user.get("valves") or UserValves(), self.valves
        settings = own.over(listing)
        if not settings.api_key:
            raise PipeError("No usable OpenRouter key is set. An admin can set the valve API_KEY of this function.")
        ref, model = await self._resolve(webui_id, listing, own.PREFERRED_VARIANT)
        rounds = shared_by_rounds(metadata)
        kinds = None if context.task else taken_kinds(model, settings)
        files, line = ({}, "") if kinds is None else await read_chat_files(kinds, metadata, context.user_id, rounds)
        body = {**body, "messages": with_files(body.get("messages"), files)} if files else body
        build = partial(build_request, body, ref, model, settings, context)

        def requests() -> Iterator[UpstreamRequest]:
            """The request, and the one for the other endpoint; that it was needed is remembered for a while."""
            served_on, until = self._endpoints.get(ref.api_id, (None, 0.0))
            request = build(served_on if time.monotonic() < until else None)
            log.debug(
                "endpoint: %s, api_model_id: %s, left out: %s",
                request.endpoint,
                request.body["model"],
                request.left_out,
            )
            yield request
            if settings.ENDPOINT == "auto":
                other: Endpoint = "responses" if request.endpoint == "chat_completions" else "chat_completions"
                self._endpoints[ref.api_id] = (other, time.monotonic() + _ENDPOINT_SECONDS)
                yield build(other)

        answer = Answer(self._transport, settings, requests(), body["model"], emit, rounds, self._note)
        await answer.show(line)
        return answer

    async def _resolve(self, webui_id: str, settings: Settings, preferred: str) -> tuple[ModelRef, Model]:
        """The model meant by an id, and its row. The published list decides where it is known; else the id is enough."""
        ref = ModelRef.from_webui(webui_id)
        if not any(ref):
            raise PipeError("No model is chosen. Choose one in the model selector.")
        published = await self._publish(settings, await self._store.catalog_for_chat(settings))
        listed = published.by_webui_id if published else {}
        entry = listed.get(ref.webui_id)
        if published and not entry:
            published.refuse(ref)
        if preferred != "none" and ref == ModelRef(ref.base):
            wanted = ref._replace(variants=(preferred,))
            if preferred in ROUTING_TAGS or wanted.webui_id in listed:
                ref, entry = wanted, listed.get(wanted.webui_id, entry)
        return ref, entry.model if entry else UNKNOWN

    async def _tell_status(self, user: JsonObject, task: str) -> str:
        if user.get("role") != "admin":
            raise PipeError("The status model answers admins only. Choose another model.")
        if task:
            # A title, tags: there is nothing to say about it.
            return "{}"
        settings = self.valves
        published = await self._publish(settings, await self._store.catalog_for_list(settings))
        key: JsonObject | str = "none"
        if settings.api_key:
            try:
                key = mapping(mapping(await self._transport.get_json(settings, "/key", _KEY_SECONDS)).get("data"))
            except PipeError as error:
                key = str(error)
        problems, at = self._problems(settings, published), self._store.fetched_at
        return status_report(__version__, key, published, at, problems, self._errors, time.time())

    def _problems(self, settings: Settings, published: Published | None) -> tuple[Problem, ...]:
        return (*settings.problems(), *self._store.problems(), *(published.problems if published else ()))

    def _note(self, error: str) -> None:
        self._errors.append((time.time(), error))

    async def _publish(self, settings: Settings, catalog: Catalog | None) -> Published | None:
        """The published list for these valves, made anew in a thread when something has changed."""
        if not catalog:
            return None
        publishing = settings.publishing
        # Once for all who ask at once.
        async with self._publishing:
            known = self._published
            if not known or known.catalog is not catalog or known.publishing != publishing:
                known = self._published = await asyncio.to_thread(Published, catalog, publishing)
            return known

    def _entries(self, published: Published | None, settings: Settings) -> list[dict[str, str]]:
        """The list, the status model last: Open WebUI opens a new chat with the first one."""
        if self._list[0] is not published or self._list[1] != settings:
            prefix, shown = settings.NAME_PREFIX, published.entries if published else ()
            entries = [{"id": entry.webui_id, "name": prefix + entry.name} for entry in shown]
            if settings.STATUS_MODEL:
                why = "ask it why" if settings.api_key else "set the valve API_KEY"
                status = "OpenRouter: Status" if published else f"OpenRouter: Status (no models: {why})"
                entries.append({"id": _STATUS_ID, "name": prefix + status})
            self._list = (published, settings, entries)
        return self._list[2]

    def _log_new(self, problems: tuple[Problem, ...]) -> None:
        told, rest = problems[:_MAX_LOGGED_PROBLEMS], len(problems) - _MAX_LOGGED_PROBLEMS
        if rest > 0:
            told += (Problem("", "", f"… and {rest} more problems"),)
        for problem in told:
            if problem not in self._logged:
                log.warning("%s", plain(str(problem)))
        self._logged = told
