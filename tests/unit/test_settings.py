"""Whatever is stored in a valve, a chat goes on with what can be used, and the admin is told about the rest."""

from __future__ import annotations

import json
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openrouter_pipe.settings import Settings, UserValves

NAMES = sorted(Settings.model_fields)
SECRET = "sk-or-v1-0123456789abcdef"
GARBAGE: list[Any] = [
    *("", "   ", "x" * 1_000_000, "😀" * 50, "\x00\x1b[31m\r\n", "\ud800", "; DROP TABLE", "nan", "-1", "1e999", "٣"),
    *(None, True, 0, -1, 10**30, 0.5, float("nan"), float("inf")),
    *([], ["a"], {}, {"a": 1}, [[[]]]),
]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", SECRET)


def settings_of(**values: object) -> Settings:
    return Settings(**values)


# --- Garbage


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", GARBAGE, ids=lambda value: repr(value)[:20])
def test_garbage_in_a_valve_never_raises(name: str, value: object) -> None:
    settings = settings_of(**{name: value})
    assert settings.CONNECT_TIMEOUT_SECONDS >= 1
    assert settings.READ_TIMEOUT_SECONDS >= 1
    assert settings.MODEL_CATALOG_REFRESH_SECONDS >= 60
    assert 0 <= settings.STREAM_INTERVAL_MS <= 10_000
    assert settings.HTTP_REFERER.isascii()
    assert all(len(str(problem)) < 1000 for problem in settings.problems())
    assert len(settings.problems()) <= 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [{"a": 1}, [[]]], ids=repr)
def test_a_value_of_a_wrong_type_is_reported_and_the_default_is_used(name: str, value: object) -> None:
    settings = settings_of(**{name: value})
    assert name in [problem.valve for problem in settings.problems()]
    assert getattr(Settings(**{name: value}), name) == getattr(Settings(), name)


def test_all_valves_wrong_at_once() -> None:
    settings = settings_of(**{name: [1] for name in NAMES})
    assert {problem.valve for problem in settings.problems()} == set(NAMES)
    assert settings_of().problems() == ()


@given(st.dictionaries(st.sampled_from(NAMES), st.none() | st.booleans() | st.integers() | st.floats() | st.text()))
def test_any_mixture(values: dict[str, Any]) -> None:
    settings = settings_of(**values)
    assert len({**settings.provider, **settings.privacy}) + len(settings.problems()) < 100


@pytest.mark.parametrize("name", [*NAMES, "NOT_A_VALVE"])
def test_one_wrong_value_does_not_cost_the_others(name: str) -> None:
    settings = settings_of(**{"NAME_PREFIX": "OR: ", "FALLBACK_MODELS": "a/b", name: [1]})
    assert ("" if name == "NAME_PREFIX" else "OR: ") == settings.NAME_PREFIX
    assert ("" if name == "FALLBACK_MODELS" else "a/b") == settings.FALLBACK_MODELS


def test_what_does_not_fit_is_stored_all_the_same_and_reported_from_then_on() -> None:
    """Open WebUI stores this dump when an admin saves the form, and makes the valves from it before each list."""
    stored = settings_of(MAX_RETRIES="many", ZDR="Enforce", STREAM_INTERVAL_MS=40).model_dump(exclude_unset=True)
    assert stored == {"MAX_RETRIES": "many", "ZDR": "Enforce", "STREAM_INTERVAL_MS": 40}
    again = settings_of(**stored)
    assert [problem.valve for problem in again.problems()] == ["MAX_RETRIES", "ZDR"]
    assert (again.MAX_RETRIES, again.ZDR, again.STREAM_INTERVAL_MS) == (2, "off", 40)
    assert settings_of().model_dump(exclude_unset=True) == {}


# --- Secrets


@pytest.mark.parametrize(
    "value", [f"{SECRET} x", f"{SECRET}\x00", f"é{SECRET}", [SECRET], {"key": SECRET}, SECRET * 100]
)
def test_a_key_is_never_in_a_problem(value: object) -> None:
    settings = settings_of(API_KEY=value)
    assert "API_KEY" in [problem.valve for problem in settings.problems()]
    assert settings.api_key in ("", Settings().API_KEY)
    for problem in settings.problems():
        assert "0123456789" not in repr(problem) + str(problem)


def test_a_password_in_an_address_is_never_in_a_problem() -> None:
    for address in ("https://admin:hunter22@gate way/api/v1", "https://admin:hunter22@gateway/api/v1"):
        settings = settings_of(BASE_URL=address)
        assert settings.base_url == ""
        (problem,) = settings.problems()
        assert "user name" in problem.hint
        assert "hunter22" not in repr(problem)


def test_a_key_is_not_in_the_repr_of_the_settings() -> None:
    assert SECRET not in repr(settings_of(API_KEY=SECRET))


# --- The form that the admin sees


def test_every_valve_has_a_description_and_a_default() -> None:
    schema = Settings.model_json_schema()
    for name in NAMES:
        assert len(schema["properties"][name]["description"]) > 20
        assert name not in schema.get("required", [])
    assert json.dumps(schema)


@pytest.mark.parametrize("form", [Settings, UserValves])
def test_each_default_fits_its_own_valve(form: type[Settings | UserValves]) -> None:
    defaults = {name: field.get_default(call_default_factory=True) for name, field in form.model_fields.items()}
    valves = form(**defaults)
    assert not valves._misfits
    assert {name: getattr(valves, name) for name in defaults} == defaults


def test_the_key_is_a_password_field_of_plain_text() -> None:
    assert Settings.model_fields["API_KEY"].annotation is str
    assert Settings.model_json_schema()["properties"]["API_KEY"]["input"] == {"type": "password"}


def test_choices_are_literals_and_each_is_accepted() -> None:
    choices = {
        name: get_args(field.annotation)
        for name, field in Settings.model_fields.items()
        if get_origin(field.annotation) is Literal
    }
    assert choices["ENDPOINT"] == ("auto", "responses", "chat_completions")
    assert {"FREE_MODEL_FILTER", "TOOL_CALLING_FILTER", "PROVIDER_SORT", "CONTEXT_COMPRESSION"} <= choices.keys()
    for name, values in choices.items():
        assert all(settings_of(**{name: value}).problems() == () for value in values)


def test_defaults_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", SECRET)
    monkeypatch.setenv("OPENROUTER_API_BASE_URL", "https://gateway.test/v1/")
    assert (settings_of().api_key, settings_of().base_url) == (SECRET, "https://gateway.test/v1")
    monkeypatch.delenv("OPENROUTER_API_KEY")
    monkeypatch.delenv("OPENROUTER_API_BASE_URL")
    assert (settings_of().api_key, settings_of().base_url) == ("", "https://openrouter.ai/api/v1")


# --- What is read from them


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://openrouter.ai/api/v1/", "https://openrouter.ai/api/v1"),
        (" http://127.0.0.1:8080/api/v1 ", "http://127.0.0.1:8080/api/v1"),
        ("eu.openrouter.ai/api/v1", "https://eu.openrouter.ai/api/v1"),
        ("HTTPS://Gateway.test", "HTTPS://Gateway.test"),
        ("", "https://openrouter.ai/api/v1"),
        ("https://x.test/@team/v1", "https://x.test/@team/v1"),
        ("ftp://x.test", ""),
        ("https://", ""),
        ("https://x.test/a b", ""),
        ("https://x.test/a?b=c", ""),
        ("no address", ""),
    ],
)
def test_the_address(text: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENROUTER_API_BASE_URL", raising=False)
    settings = settings_of(BASE_URL=text)
    assert settings.base_url == url
    assert bool(settings.problems()) == (not url)


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ({"API_KEY": f" {SECRET}\n"}, "api_key", SECRET),
        ({"READ_TIMEOUT_SECONDS": 0}, "READ_TIMEOUT_SECONDS", 300),
        ({"READ_TIMEOUT_SECONDS": 1}, "READ_TIMEOUT_SECONDS", 1),
        ({"READ_TIMEOUT_SECONDS": "45"}, "READ_TIMEOUT_SECONDS", 45),
        ({"MODEL_CATALOG_REFRESH_SECONDS": 59}, "MODEL_CATALOG_REFRESH_SECONDS", 3600),
        ({"STREAM_INTERVAL_MS": 0}, "STREAM_INTERVAL_MS", 0),
        ({"STREAM_INTERVAL_MS": -5}, "STREAM_INTERVAL_MS", 25),
        ({"PROVIDER_ORDER": "a, b"}, "provider", {"order": ["a", "b"]}),
        ({"PROVIDER_SORT": "default", "ALLOW_FALLBACKS": True, "REQUIRE_PARAMETERS": False}, "provider", {}),
        ({"DATA_COLLECTION": "deny"}, "privacy", {"data_collection": "deny"}),
        ({"DATA_COLLECTION": "allow"}, "privacy", {}),
        ({"HTTP_REFERER": "https://é.test"}, "HTTP_REFERER", "https://openwebui.com/"),
        ({"HTTP_REFERER": ""}, "HTTP_REFERER", ""),
        ({"APP_TITLE": "Line\nbreak"}, "APP_TITLE", "Open WebUI"),
        ({"APP_TITLE": " Our chat\n"}, "APP_TITLE", "Our chat"),
        ({"NAME_PREFIX": "OR: "}, "NAME_PREFIX", "OR: "),
        ({"NAME_PREFIX": "OR:\x1b[31m"}, "NAME_PREFIX", ""),
    ],
)
def test_a_value_is_read(values: dict[str, Any], name: str, expected: object) -> None:
    assert getattr(settings_of(**values), name) == expected
