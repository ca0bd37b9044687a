"""What an administrator does and sees: the function, its valves, who may use a model."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, get_args

from browser.conftest import USER, VALVES
from browser.pages import Chat, Functions, ValvesForm, grant, sign_in
from playwright.sync_api import Page, expect
from webui.conftest import SandboxControl
from webui_server import OpenWebUI

from openrouter_pipe.settings import Settings


def choices(valve: str) -> tuple[Any, ...]:
    """The values that a valve allows, when it is one of a few."""
    return get_args(Settings.model_fields[valve].annotation)


def form_of(admin: Page) -> ValvesForm:
    functions = Functions(admin)
    functions.open()
    return functions.valves()


def test_the_pasted_file_is_a_pipe_with_its_name_and_version(admin: Page, webui: OpenWebUI, pipe_id: str) -> None:
    functions = Functions(admin)
    functions.open()
    expect(admin.get_by_role("link", name="OpenRouter", exact=True)).to_be_visible()
    expect(admin.get_by_text("pipe", exact=True)).to_be_visible()
    expect(admin.get_by_text(re.compile(r"^v\d+\.\d+\.\d+"))).to_be_visible()
    assert webui.request("GET", f"/api/v1/functions/id/{pipe_id}")["type"] == "pipe"


def test_the_form_has_every_valve_in_the_order_of_the_docs(admin: Page) -> None:
    # tests/unit/test_docs.py compares the class with the page
    assert form_of(admin).labels() == list(Settings.model_fields)


def test_what_was_filled_in_is_kept_and_the_key_is_masked(
    admin: Page, webui: OpenWebUI, pipe_id: str, take_picture: Callable[[str], None]
) -> None:
    form = form_of(admin)
    key = form.field("API_KEY")
    expect(key).to_have_value(VALVES["API_KEY"])
    expect(key).to_have_css("-webkit-text-security", "disc")
    expect(form.field("VARIANT_MODELS")).to_have_value(VALVES["VARIANT_MODELS"])
    expect(form.field("VARIANT_MODELS")).to_have_css("-webkit-text-security", "none")
    form.row("BASE_URL").get_by_role("button", name="Custom").click()  # as nearly everybody has it; not saved
    take_picture("valves")
    stored = webui.request("GET", f"/api/v1/functions/id/{pipe_id}/valves")
    assert {name for name, value in stored.items() if value is not None} == {*VALVES, "BASE_URL"}


def test_choices_are_selects_and_switches_are_switches(admin: Page) -> None:
    form = form_of(admin)
    selects = [valve for valve in Settings.model_fields if choices(valve)]
    assert len(selects) > 5
    for valve in selects:
        assert form.field(valve).locator("option").all_inner_texts() == list(choices(valve))
    expect(form.row("ALLOW_FALLBACKS")).not_to_contain_text("Enabled")
    form.field("ALLOW_FALLBACKS")
    expect(form.row("ALLOW_FALLBACKS")).to_contain_text("Enabled")


def test_every_valve_says_what_it_is_for(admin: Page) -> None:
    form = form_of(admin)
    for valve, description in zip(Settings.model_fields, form.descriptions(), strict=True):
        assert len(description) > 20, valve
        assert "`" not in description, f"{valve}: markdown is shown as text"
    link = form.row("API_KEY").get_by_role("link", name="https://openrouter.ai/settings/keys")
    expect(link).to_have_attribute("href", "https://openrouter.ai/settings/keys")


def test_a_user_sees_and_uses_exactly_what_was_granted(admin: Page, stranger: Page, sandbox: SandboxControl) -> None:
    grant(admin, "OpenAI: GPT-4o Nitro", USER.name)
    sign_in(stranger, USER.email, USER.password)
    chat = Chat(stranger)
    listed = chat.search_models("")
    expect(chat.model("OpenAI: GPT-4o Nitro")).to_be_visible()
    expect(listed).to_have_count(1)
    chat.model("OpenAI: GPT-4o Nitro").click()
    expect(chat.ask("May I?")).to_contain_text("Hello from the OpenRouter sandbox")
    assert [request["body"]["model"] for request in sandbox.chats()] == ["openai/gpt-4o:nitro"]
