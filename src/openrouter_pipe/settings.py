"""The valves that an admin and each user set."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from .codec import JsonDict
from .problems import Problem, split_entries
from .virtual_models import Publishing

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
