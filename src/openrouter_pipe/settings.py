"""The valves that an admin and each user set, and the frozen `Settings` that one request runs with."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, ModelWrapValidatorHandler, PrivateAttr, ValidationError, model_validator

from .problems import MAX_ENTRY_LENGTH, Problem, split_entries
from .virtual_models import Publishing

_DEFAULT_BASE_URL = "https://openrouter.ai/api/v1"
# No user name or password: they would be sent in the header that carries the key.
_URL = re.compile(r"(?=\S{1,500}$)https?://[^/?#@\x00-\x1f]+(?:/[^?#\x00-\x1f]*)?", re.IGNORECASE)
_KEY = re.compile(r"[\x21-\x7e]{1,1000}")
_HEADER_TEXT = re.compile(r"[\x20-\x7e]{1,500}")
_NOT_ASCII = "only plain ASCII letters and signs can be sent"
_LONGEST_WAIT_SECONDS = 86_400
# What of the admin's valves a user's own ones replace.
_USERS_CHOICE = ("API_KEY", "REASONING_EFFORT", "PROVIDER_SORT", "DATA_COLLECTION", "COST_DISPLAY")

_DEFAULT_ICON_URL = "https://unpkg.com/@lobehub/icons-static-png@1.97.1/light/{name}.png"

Filter = Literal["all", "only", "exclude"]
Effort = Literal["default", "none", "minimal", "low", "medium", "high", "xhigh", "max"]
Sort = Literal["default", "price", "throughput", "latency"]


class _Tolerant(BaseModel):
    """Valves in which a value that does not fit counts as its default and is reported: a chat must go on."""

    _rejected: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _replace_unusable(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        # Open WebUI builds the valves before every list and every chat; if that raised, the pipe would be dead.
        try:
            return handler(data)
        except ValidationError as error:
            if not isinstance(data, dict):
                raise
            rejected = {str(detail["loc"][0]): str(detail["msg"]) for detail in error.errors() if detail["loc"]}
            valves = handler({key: value for key, value in data.items() if key not in rejected})
            valves._rejected.update(rejected)
            return valves

    def problems(self) -> tuple[Problem, ...]:
        """What was wrong with the stored values."""
        return tuple(
            Problem(valve, "", f"the stored value does not fit ({why})", "the default is used")
            for valve, why in self._rejected.items()
        )


class Valves(_Tolerant):
    """The admin's settings."""

    # --- Connection
    API_KEY: str = Field(
        default_factory=lambda: os.environ.get("OPENROUTER_API_KEY", ""),
        description="Your OpenRouter key, e.g. `sk-or-v1-…` (https://openrouter.ai/settings/keys). "
        "Default: the environment variable `OPENROUTER_API_KEY`.",
        json_schema_extra={"input": {"type": "password"}},
    )
    BASE_URL: str = Field(
        default_factory=lambda: os.environ.get("OPENROUTER_API_BASE_URL", "") or _DEFAULT_BASE_URL,
        description=f"Address of the API. Default: `OPENROUTER_API_BASE_URL`, else `{_DEFAULT_BASE_URL}`. "
        "E.g. `https://eu.openrouter.ai/api/v1`, or a gateway that speaks the same language.",
    )
    CONNECT_TIMEOUT_SECONDS: int = Field(10, description="How long to wait for a connection, e.g. `10`.")
    READ_TIMEOUT_SECONDS: int = Field(
        300, description="The longest silence in an answer before it counts as broken off, e.g. `300`."
    )
    MAX_RETRIES: int = Field(
        2, description="How often a request that failed before its first word is sent again, e.g. `2`. `0`: never."
    )
    RETRY_MAX_WAIT_SECONDS: int = Field(
        30,
        description="The longest pause before that, e.g. `30`. When upstream asks for more, the error comes at once.",
    )
    HTTP_REFERER: str = Field(
        "https://openwebui.com/",
        description="The site that OpenRouter's rankings credit, e.g. `https://chat.example.com/`.",
    )
    APP_TITLE: str = Field("Open WebUI", description="The name that OpenRouter's activity page shows, e.g. `Our chat`.")

    # --- Catalog
    MODEL_ID: str = Field(
        "*",
        description="Which models to list: ids and patterns, separated by commas or new lines, `!` excludes. "
        "E.g. `openai/*, anthropic/*, *:free, !*preview*`. `*` means all.",
    )
    VARIANT_MODELS: str = Field(
        "",
        description="Variants and presets to list as models of their own, e.g. `openai/gpt-4o:nitro, "
        "anthropic/*:floor, openai/gpt-4o@preset/email-copywriter, @preset/*`.",
    )
    FREE_MODEL_FILTER: Filter = Field("all", description="List `all` models, `only` free ones, or `exclude` free ones.")
    TOOL_CALLING_FILTER: Filter = Field(
        "all", description="List `all` models, `only` those that can call tools, or `exclude` those."
    )
    ZDR: Literal["off", "filter", "enforce"] = Field(
        "off",
        description="Zero data retention. `filter`: list only models that have such an endpoint. "
        "`enforce`: also let no request go to another one. Cannot be overridden.",
    )
    MODEL_CATALOG_REFRESH_SECONDS: int = Field(
        3600,
        description="How old the list of models may grow before it is fetched again in the background, e.g. `3600`.",
    )
    NEW_MODEL_ACCESS: Literal["admins", "public"] = Field(
        "admins",
        description="Who sees a model that is new: only `admins`, until one grants it to others, or everybody (`public`). "
        "Models that are there already keep their access.",
    )
    MODEL_ICONS: Literal["brand", "monogram", "off"] = Field(
        "brand",
        description="The models' pictures. `brand`: the logo of the maker, fetched once by the server. "
        "`monogram`: its initials, drawn here.",
    )
    ICON_URL: str = Field(
        _DEFAULT_ICON_URL,
        description=f"Where the logos come from, `{{name}}` being the maker's, e.g. `{_DEFAULT_ICON_URL}`.",
    )
    UPDATE_MODEL_METADATA: bool = Field(
        True,
        description="Keep name, description, icon, tags and abilities of the models up to date in Open WebUI. "
        "What an admin has changed stays. Off: nothing is written, and only admins see the models.",
    )
    NAME_PREFIX: str = Field("", description="Text in front of every model's name, e.g. `OR: `.")
    STATUS_MODEL: bool = Field(
        True, description="List `OpenRouter: Status` for admins: a model that answers with the state of this pipe."
    )

    # --- Requests
    ENDPOINT: Literal["auto", "responses", "chat_completions"] = Field(
        "auto",
        description="Which of OpenRouter's endpoints to use. `auto`: `/responses`, and `/chat/completions` for "
        "what only that can do. A fixed endpoint leaves out what it cannot carry.",
    )
    ENABLE_REASONING: bool = Field(
        True,
        description="Let models think before they answer. Off: no reasoning, and where a model cannot do without, "
        "as little as possible and not shown.",
    )
    REASONING_EFFORT: Effort = Field(
        "default",
        description="How much models think, unless the chat says otherwise. `default`: as the model does by itself.",
    )
    PROVIDER_SORT: Sort = Field(
        "default", description="How OpenRouter orders the providers of a model, e.g. `price`: the cheapest first."
    )
    PROVIDER_ORDER: str = Field("", description="Providers to try first, in order, e.g. `anthropic, amazon-bedrock`.")
    PROVIDER_ONLY: str = Field("", description="The only providers allowed, e.g. `azure, google-vertex`.")
    PROVIDER_IGNORE: str = Field("", description="Providers never to use, e.g. `deepinfra`.")
    ALLOW_FALLBACKS: bool = Field(True, description="Let OpenRouter try another provider when the first one fails.")
    REQUIRE_PARAMETERS: bool = Field(
        False, description="Use only providers that support every parameter of the request, e.g. a JSON schema."
    )
    FALLBACK_MODELS: str = Field(
        "", description="Models that answer when the chosen one cannot, in order, e.g. `openai/gpt-4o-mini`."
    )
    DATA_COLLECTION: Literal["default", "allow", "deny"] = Field(
        "default",
        description="`deny`: only providers that do not store or train on what is sent. Cannot be overridden.",
    )
    PROMPT_CACHING: bool = Field(
        True, description="Cache the conversation for Anthropic models (others do it themselves)."
    )
    CONTEXT_COMPRESSION: Literal["default", "on", "off"] = Field(
        "default",
        description="Shorten the middle of a conversation that is too long. `default`: OpenRouter's own rule.",
    )
    DIRECT_FILES: Literal["off", "supported"] = Field(
        "off",
        description="`supported`: PDFs, audio and video of a chat go straight to models that take them, "
        "instead of through Open WebUI's retrieval.",
    )
    SEND_USER_ID: bool = Field(
        False,
        description="Send a pseudonym of the user (never the name or the id), so that OpenRouter can tell users apart.",
    )

    # --- Display
    COST_DISPLAY: Literal["status", "off"] = Field(
        "status", description="`status`: a line with cost, tokens, speed and provider above each answer. `off`: none."
    )
    STREAM_INTERVAL_MS: int = Field(
        25,
        description="The least time between two updates of a streamed answer, in milliseconds. `0`: every one at once.",
    )


class UserValves(_Tolerant):
    """What each user may set for their own chats. Privacy can only be tightened."""

    API_KEY: str = Field(
        "",
        description="Your own OpenRouter key, e.g. `sk-or-v1-…`: your chats are then paid by your account.",
        json_schema_extra={"input": {"type": "password"}},
    )
    PREFERRED_VARIANT: Literal["none", "nitro", "floor", "exacto", "online", "free", "thinking", "extended", "beta"] = (
        Field(
            "none",
            description="A variant for models that have none, e.g. `nitro`: the fastest provider, `floor`: the cheapest. "
            "`free` and those after it count only where the model has that variant.",
        )
    )
    REASONING_EFFORT: Effort = Field("default", description="How much models think, e.g. `low`.")
    PROVIDER_SORT: Sort = Field("default", description="Which provider of a model comes first, e.g. `throughput`.")
    DATA_COLLECTION: Literal["default", "deny"] = Field(
        "default", description="`deny`: only providers that do not store or train on what you send."
    )
    ZDR: bool = Field(False, description="Only endpoints with zero data retention.")
    COST_DISPLAY: Literal["default", "status", "off"] = Field(
        "default", description="`status`: a line with cost, tokens and provider above each answer. `off`: none."
    )

    def over(self, valves: Valves) -> Valves:
        """The valves that this user's chats run with."""
        own = {name: getattr(self, name).strip() for name in _USERS_CHOICE}
        changes = {name: value for name, value in own.items() if value not in ("", "default")}
        return valves.model_copy(update=changes | ({"ZDR": "enforce"} if self.ZDR else {}))


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything one list or one chat needs to know of the valves, cleaned and immutable. Times are in seconds."""

    api_key: str = field(repr=False)
    base_url: str
    connect_timeout: int
    read_timeout: int
    max_retries: int
    retry_max_wait: int
    http_referer: str
    app_title: str
    publishing: Publishing
    refresh_seconds: int
    new_model_access: str
    model_icons: str
    icon_url: str
    update_model_metadata: bool
    name_prefix: str
    status_model: bool
    endpoint: str
    enable_reasoning: bool
    reasoning_effort: str
    provider: Mapping[str, Any]
    privacy: Mapping[str, Any]
    fallback_models: tuple[str, ...]
    prompt_caching: bool
    context_compression: str
    direct_files: bool
    send_user_id: bool
    shows_cost: bool
    stream_interval: float
    problems: tuple[Problem, ...]

    @classmethod
    def from_valves(cls, valves: Valves) -> Settings:
        """Read the valves. Never raises: what cannot be used is left out and reported in `problems`."""
        problems = list(valves.problems())
        return cls(
            api_key=_matching("API_KEY", valves.API_KEY, _KEY, "it holds characters that no key has", problems),
            base_url=_base_url(valves.BASE_URL, problems),
            connect_timeout=_between(1, valves.CONNECT_TIMEOUT_SECONDS),
            read_timeout=_between(1, valves.READ_TIMEOUT_SECONDS),
            max_retries=_between(0, valves.MAX_RETRIES, 10),
            retry_max_wait=_between(0, valves.RETRY_MAX_WAIT_SECONDS),
            http_referer=_matching("HTTP_REFERER", valves.HTTP_REFERER, _HEADER_TEXT, _NOT_ASCII, problems),
            app_title=_matching("APP_TITLE", valves.APP_TITLE, _HEADER_TEXT, _NOT_ASCII, problems),
            publishing=Publishing(
                valves.MODEL_ID,
                valves.VARIANT_MODELS,
                valves.FREE_MODEL_FILTER,
                valves.TOOL_CALLING_FILTER,
                valves.ZDR != "off",
            ),
            refresh_seconds=_between(60, valves.MODEL_CATALOG_REFRESH_SECONDS),
            new_model_access=valves.NEW_MODEL_ACCESS,
            model_icons=valves.MODEL_ICONS,
            icon_url=_matching("ICON_URL", valves.ICON_URL, _URL, "not an address of pictures", problems),
            update_model_metadata=valves.UPDATE_MODEL_METADATA,
            name_prefix="".join(char for char in valves.NAME_PREFIX[:100] if char.isprintable()),
            status_model=valves.STATUS_MODEL,
            endpoint=valves.ENDPOINT,
            enable_reasoning=valves.ENABLE_REASONING,
            reasoning_effort=valves.REASONING_EFFORT,
            provider=_provider(valves, problems),
            privacy=_privacy(valves),
            fallback_models=_words("FALLBACK_MODELS", valves.FALLBACK_MODELS, problems),
            prompt_caching=valves.PROMPT_CACHING,
            context_compression=valves.CONTEXT_COMPRESSION,
            direct_files=valves.DIRECT_FILES != "off",
            send_user_id=valves.SEND_USER_ID,
            shows_cost=valves.COST_DISPLAY != "off",
            stream_interval=_between(0, valves.STREAM_INTERVAL_MS, 10_000) / 1000,
            problems=tuple(problems),
        )


def _matching(valve: str, text: str, pattern: re.Pattern[str], reason: str, problems: list[Problem]) -> str:
    """The value of a valve, or nothing where it does not fit; it may be a secret, so that no problem quotes it."""
    value = text.strip()
    if not value or pattern.fullmatch(value):
        return value
    problems.append(Problem(valve, "", reason, "it is not used"))
    return ""


def _base_url(text: str, problems: list[Problem]) -> str:
    url = text.strip() or _DEFAULT_BASE_URL
    url = (url if "://" in url[:20] else f"https://{url}").rstrip("/")
    reason = "an address with a user name in it cannot be used" if "@" in url else "not the address of an API"
    return _matching("BASE_URL", url, _URL, f"{reason}, which is e.g. {_DEFAULT_BASE_URL}", problems)


def _provider(valves: Valves, problems: list[Problem]) -> dict[str, Any]:
    """The `provider` object of the valves; what is at its default is not in it."""
    provider = {
        "order": list(_words("PROVIDER_ORDER", valves.PROVIDER_ORDER, problems)),
        "only": list(_words("PROVIDER_ONLY", valves.PROVIDER_ONLY, problems)),
        "ignore": list(_words("PROVIDER_IGNORE", valves.PROVIDER_IGNORE, problems)),
        "sort": valves.PROVIDER_SORT,
        "allow_fallbacks": valves.ALLOW_FALLBACKS,
        "require_parameters": valves.REQUIRE_PARAMETERS,
        "data_collection": valves.DATA_COLLECTION,
    }
    defaults = {"allow_fallbacks": True, "require_parameters": False}
    return {key: value for key, value in provider.items() if value not in ([], "default", defaults.get(key))}


def _privacy(valves: Valves) -> dict[str, Any]:
    """What of `provider` no request may override."""
    privacy: dict[str, Any] = {"data_collection": "deny"} if valves.DATA_COLLECTION == "deny" else {}
    return {**privacy, "zdr": True} if valves.ZDR == "enforce" else privacy


def _words(valve: str, text: str, problems: list[Problem]) -> tuple[str, ...]:
    words, too_many = split_entries(valve, text)
    problems += too_many
    return tuple(word for word in words if word.isprintable() and len(word) <= MAX_ENTRY_LENGTH)


def _between(least: int, value: int, most: int = _LONGEST_WAIT_SECONDS) -> int:
    return max(least, min(value, most))
