"""What a model's row in Open WebUI should hold, and how it gets there without undoing an admin's work.

A row carries a mark, under one key of its `meta`, of each field as the pipe wrote it. A field that fits its mark follows the
catalog; one that does not is the admin's, for good.
"""

from __future__ import annotations

import hashlib

from .catalog import Model
from .codec import JsonDict, JsonObject, dump_json, mapping
from .direct_files import taken_kinds
from .settings import Settings
from .virtual_models import Entry

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
