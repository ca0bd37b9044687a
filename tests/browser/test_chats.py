"""Chats as a person has them: finding a model, watching the answer come, stopping it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from browser.pages import Chat
from playwright.sync_api import Page, expect
from polling import eventually
from webui.conftest import SandboxControl
from webui_server import OpenWebUI

TOOL = '''
class Tools:
    def weather(self, city: str) -> str:
        """
        The weather of a city.
        :param city: its name
        """
        return f"17 degrees and rain in {city}"
'''


@pytest.fixture
def chat(admin: Page) -> Chat:
    return Chat(admin)


@pytest.fixture
def weather(webui: OpenWebUI) -> Iterator[str]:
    """A tool that somebody wrote in the workspace; its name."""
    form = {"id": "weather", "name": "Weather", "content": TOOL, "meta": {"description": "The weather of a city"}}
    webui.request("POST", "/api/v1/tools/create", form)
    yield "Weather"
    webui.request("DELETE", "/api/v1/tools/id/weather/delete")


def test_a_variant_is_found_by_its_name_and_answers(chat: Chat, sandbox: SandboxControl) -> None:
    chat.open()
    chat.search_models("gpt-4o nitro")
    chat.model("OpenAI: GPT-4o Nitro").click()
    expect(chat.selected("OpenAI: GPT-4o Nitro")).to_be_visible()
    answer = chat.ask("Which model are you?")
    expect(answer).to_contain_text("OpenAI: GPT-4o Nitro")
    expect(answer).to_contain_text('You wrote: "Which model are you?"')
    assert [request["body"]["model"] for request in sandbox.chats()] == ["openai/gpt-4o:nitro"]


def test_presets_are_found_under_their_names(chat: Chat) -> None:
    chat.open()
    chat.search_models("preset")
    expect(chat.model("OpenAI: GPT-4o Preset: email-copywriter")).to_be_visible()


def test_the_answer_is_read_while_it_comes(chat: Chat, sandbox: SandboxControl, pipe_id: str) -> None:
    sandbox.rule(pace_seconds=0.1, answer={"text": "It begins " + "and goes on " * 10 + "to the end."})
    chat.open(f"{pipe_id}.openai.gpt-4o")
    answer = chat.send("Tell me.")
    expect(answer).to_contain_text("It begins and goes on and goes on and")
    assert "to the end." not in answer.inner_text()
    expect(chat.stop).to_be_visible()
    expect(answer).to_contain_text("to the end.")
    chat.wait_until_done(answer)
    expect(chat.stop).to_be_hidden()


def test_thoughts_are_folded_and_can_be_opened(chat: Chat, sandbox: SandboxControl, pipe_id: str) -> None:
    sandbox.rule(answer={"text": "It is 4.", "reasoning": "Two and two make four."})
    chat.open(f"{pipe_id}.openai.gpt-5")
    answer = chat.ask("How much is 2 + 2?")
    expect(answer).to_contain_text("It is 4.")
    expect(answer).not_to_contain_text("Two and two make four.")
    answer.get_by_role("button", name=re.compile("^Thought for")).click()
    expect(answer).to_contain_text("Two and two make four.")


def test_a_tool_is_called_and_can_be_looked_at(chat: Chat, sandbox: SandboxControl, pipe_id: str, weather: str) -> None:
    call = {"name": "weather", "arguments": '{"city": "Lund"}', "id": "call_1"}
    sandbox.rule(model="openai/gpt-5", times=1, answer={"text": "", "reasoning": "Ask the tool.", "tool_calls": [call]})
    sandbox.rule(model="openai/gpt-5", times=1, answer={"text": "Take an umbrella."})
    chat.open(f"{pipe_id}.openai.gpt-5")
    chat.switch_tool_on(weather)
    answer = chat.ask("What is the weather in Lund?")
    expect(answer).to_contain_text("Take an umbrella.")
    answer.get_by_text("Explored").click()
    expect(answer.get_by_role("button", name=re.compile("^Thought for")).first).to_be_visible()
    answer.get_by_text("View Result from weather").click()
    expect(answer).to_contain_text("17 degrees and rain in Lund")


def test_stop_ends_the_answer_here_and_upstream(chat: Chat, sandbox: SandboxControl, pipe_id: str) -> None:
    sandbox.rule(pace_seconds=0.05, answer={"deltas": 2000})
    chat.open(f"{pipe_id}.openai.gpt-4o")
    answer = chat.send("Count.")
    expect(answer).to_contain_text(re.compile(r"(\w+\W+){5}"))
    assert sandbox.open_streams() == 1
    chat.stop.click()
    chat.wait_until_done(answer)
    assert eventually(lambda: sandbox.open_streams() == 0, limit_seconds=2), "the upstream goes on writing"
    shown = answer.locator("p").last.inner_text()
    chat.page.reload()
    expect(chat.messages().last.locator("p").last).to_have_text(shown)


def test_a_failure_is_told_in_the_chat(chat: Chat, sandbox: SandboxControl, pipe_id: str) -> None:
    sandbox.rule(model="openai/gpt-4o", status=402)
    chat.open(f"{pipe_id}.openai.gpt-4o")
    answer = chat.send("Anybody?")
    expect(answer).to_contain_text("has no credit left")
