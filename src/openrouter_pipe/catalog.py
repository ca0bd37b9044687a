"""The catalog: what OpenRouter's `GET /models` says, as immutable rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from .codec import JsonObject, mapping, texts
from .model_ref import SLUG, ModelRef

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
