"""What makes the models look native: icon, description, cost; the status model; each user's own valves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browser.conftest import VALVES
from browser.pages import Chat, describe, open_valves
from playwright.sync_api import Page, expect
from polling import eventually
from webui.conftest import SandboxControl
from webui_server import OpenWebUI

from openrouter_pipe.settings import UserValves

NITRO = "OpenAI: GPT-4o Nitro"
QUESTION = "How do I round a float in Python?"
ANSWER = """Use the built-in `round`:

```python
round(3.14159, 2)  # 3.14
```

Halves go to the nearest even digit, so `round(0.5)` is `0`. For money, take `decimal.Decimal`.
"""


@pytest.fixture
def chat(admin: Page, webui: OpenWebUI) -> Chat:
    """The chat page, once the models have their rows."""
    assert eventually(lambda: any("info" in model for model in webui.models(refresh=False)), limit_seconds=20)
    return Chat(admin)


@pytest.fixture
def stored_valves(webui: OpenWebUI, pipe_id: str) -> Iterator[dict[str, Any]]:
    """The valves as they are, which they are again after the test."""
    valves = webui.request("GET", f"/api/v1/functions/id/{pipe_id}/valves")
    yield valves
    webui.set_valves(pipe_id, valves)


@pytest.fixture
def own_valves(webui: OpenWebUI, pipe_id: str) -> Iterator[None]:
    """The administrator's own valves as a user, which the test may change."""
    yield
    webui.request("POST", f"/api/v1/functions/id/{pipe_id}/valves/user/update", {})


def test_the_selector_shows_icons_and_descriptions(chat: Chat, take_picture: Callable[[str], None]) -> None:
    chat.open()
    chat.search_models("gpt-4o")
    expect(chat.model(NITRO)).to_have_accessible_description(re.compile(r"128K context · \$2\.50 in, \$10 out"))
    icon = chat.page.request.get(chat.icon(NITRO).get_attribute("src") or "", max_redirects=0)
    assert icon.body().startswith(b"\x89PNG"), "its own, and no redirect to Open WebUI's"
    expect(chat.show_description(NITRO)).to_contain_text("multimodal flagship")
    take_picture("selector")


def test_what_an_admin_writes_in_the_page_stays_and_all_else_follows(
    chat: Chat, webui: OpenWebUI, pipe_id: str, stored_valves: dict[str, Any]
) -> None:
    model_id = f"{pipe_id}.openai.gpt-4o-mini"

    def row() -> dict[str, Any]:
        return next(row for row in webui.request("GET", "/api/v1/models/all") if row["id"] == model_id)

    describe(chat.page, "OpenAI: GPT-4o-mini", "For quick questions.")
    assert row()["meta"]["capabilities"]["file_context"] is True, "the page saves more than what was changed in it"
    webui.set_valves(pipe_id, {**stored_valves, "NAME_PREFIX": "OR: ", "DIRECT_FILES": "supported"})
    webui.models()
    assert eventually(lambda: row()["name"] == "OR: OpenAI: GPT-4o-mini")
    assert row()["meta"]["description"] == "For quick questions."
    assert row()["meta"]["capabilities"]["file_context"] is False


def test_the_cost_stands_with_the_answer(
    chat: Chat, sandbox: SandboxControl, pipe_id: str, take_picture: Callable[[str], None]
) -> None:
    sandbox.rule(model="openai/gpt-5", pace_seconds=0.01, answer={"text": ANSWER, "reasoning": "The built-in round."})
    chat.open(f"{pipe_id}.openai.gpt-5")
    answer = chat.ask(QUESTION)
    expect(chat.status_line(answer)).to_have_text(re.compile(r"\$0\.\d+ · \d+ in · \d+ out.* · OpenAI"))
    chat.page.mouse.move(0, 0)
    take_picture("chat")
    chat.page.reload()
    expect(chat.status_line(chat.messages().last)).to_contain_text("$0.")


def test_the_status_model_tells_what_is_wrong(
    chat: Chat,
    webui: OpenWebUI,
    pipe_id: str,
    stored_valves: dict[str, Any],
    take_picture: Callable[[str], None],
) -> None:
    variants = "openai/gpt-4o:nitro, openai/gpt-4q:nitro"
    webui.set_valves(pipe_id, {**stored_valves, "VARIANT_MODELS": variants})
    chat.open()
    chat.search_models("status")
    chat.model("OpenRouter: Status").click()
    answer = chat.ask("How are you?")
    for heading in ("Key", "Models", "Problems", "Last errors"):
        expect(answer.get_by_role("heading", name=heading, exact=True)).to_be_visible()
    problem = answer.get_by_role("listitem").filter(has_text="VARIANT_MODELS")
    expect(problem).to_contain_text("openai/gpt-4q:nitro")
    expect(problem).to_contain_text("did you mean openai/gpt-4o")
    expect(answer).not_to_contain_text(VALVES["API_KEY"])
    chat.messages().first.scroll_into_view_if_needed()
    take_picture("status")


def test_a_user_has_valves_of_their_own(chat: Chat, sandbox: SandboxControl, pipe_id: str, own_valves: None) -> None:
    chat.open(f"{pipe_id}.openai.gpt-4o")
    form = open_valves(chat.page)
    assert form.labels() == list(UserValves.model_fields)
    expect(form.field("API_KEY")).to_have_css("-webkit-text-security", "disc")
    form.fill({"API_KEY": "sk-or-v1-my-own", "PREFERRED_VARIANT": "floor", "COST_DISPLAY": "off"})
    form.save()
    answer = chat.ask("Hello?")
    expect(chat.status_line(answer)).to_have_count(0)
    (request,) = sandbox.chats()
    assert request["body"]["model"] == "openai/gpt-4o:floor"
    assert request["headers"]["Authorization"] == "Bearer sk-or-v1-my-own"
