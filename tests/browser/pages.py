"""What a person does in Open WebUI's pages, and where things are in them. All selectors of these tests are here."""

from __future__ import annotations

import re
from collections.abc import Mapping

from playwright.sync_api import Locator, Page, expect

ANSWER_LIMIT_MS = 20_000  # an answer of the sandbox, and what the page does with it


def sign_in(page: Page, email: str, password: str) -> None:
    """Fill in the form on the sign-in page."""
    page.goto("/auth")
    page.get_by_role("textbox", name="Email").fill(email)
    page.get_by_role("textbox", name="Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(Chat(page).box).to_be_visible()


class ValvesForm:
    """The form with a function's valves, in a dialog."""

    def __init__(self, dialog: Locator) -> None:
        self.dialog = dialog
        button = dialog.page.get_by_role("button", name=re.compile("^(Default|Custom)$"))
        self._rows = dialog.locator("form > div > div").filter(has=button)
        expect(self._rows.first).to_be_visible()

    def labels(self) -> list[str]:
        """The labels of all valves, from top to bottom."""
        return [text.split("\n")[0].strip() for text in self._rows.all_inner_texts()]

    def descriptions(self) -> list[str]:
        """What stands below the valves, from top to bottom."""
        return self._rows.locator("> div:last-child").all_inner_texts()

    def row(self, valve: str) -> Locator:
        """The part of the form that belongs to one valve."""
        label = self.dialog.page.get_by_text(valve, exact=True)
        return self._rows.filter(has=label)

    def field(self, valve: str) -> Locator:
        """The input of a valve, which is there once it is not left at its default."""
        row = self.row(valve)
        default = row.get_by_role("button", name="Default", exact=True)
        if default.is_visible():
            default.click()
        return row.locator("input, textarea, select, [role=switch]").first

    def fill(self, valves: Mapping[str, str]) -> None:
        """Type into fields, choose from lists."""
        for valve, value in valves.items():
            field = self.field(valve)
            if field.evaluate("field => field.tagName") == "SELECT":
                field.select_option(value)
            else:
                field.fill(value)

    def save(self) -> None:
        """Press Save, wait until the page says that it is done, and close the form."""
        self.dialog.get_by_role("button", name="Save", exact=True).click()
        expect(self.dialog.page.get_by_text("Valves updated successfully")).to_be_visible()
        self.dialog.get_by_role("button", name="Close").click()
        expect(self.dialog).to_be_hidden()


def open_valves(page: Page) -> ValvesForm:
    """Click the button for valves: the admin's in the list of functions, a user's own in a chat."""
    page.get_by_role("button", name="Valves", exact=True).click()
    return ValvesForm(page.get_by_role("dialog"))


class Functions:
    """Admin Panel → Functions."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def open(self) -> None:
        """Go there."""
        self.page.goto("/admin/functions")
        expect(self.page.get_by_role("textbox", name="Search Functions")).to_be_visible()

    def paste_new(self, source: str) -> None:
        """Make a new function of this text, with the name and id that the page takes from it."""
        self.page.get_by_role("button", name="Create", exact=True).click()
        editor = self.page.get_by_role("textbox", name="Code Editor")
        expect(editor).to_be_visible()
        self.page.evaluate("text => navigator.clipboard.writeText(text)", source)
        editor.click()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.press("ControlOrMeta+v")
        expect(self.page.get_by_role("textbox", name="Function ID")).not_to_have_value("")
        self.page.get_by_role("button", name="Save & Create").click()
        self.page.get_by_role("dialog").get_by_role("button", name="Confirm").click()
        self.page.wait_for_url("**/admin/functions", timeout=30_000)

    def switch(self) -> Locator:
        """What switches the only function on and off."""
        return self.page.get_by_role("switch", name="Enabled")

    def valves(self) -> ValvesForm:
        """Click the gear beside the function."""
        return open_valves(self.page)


def edit_model(page: Page, model: str) -> None:
    """Settings → Models → this model."""
    page.goto("/admin/settings/models")
    page.get_by_placeholder("Search Models").fill(model)
    expect(page.get_by_role("button", name="Edit", exact=True)).to_have_count(1)
    page.get_by_role("button", name="Edit", exact=True).click()


def describe(page: Page, model: str, text: str) -> None:
    """Settings → Models → this model → Description → Save & Update."""
    edit_model(page, model)
    page.get_by_placeholder("Add a short description about what this model does").fill(text)
    with page.expect_response("**/model/update") as saved:
        page.get_by_role("button", name="Save & Update").click()
    assert saved.value.ok


def grant(page: Page, model: str, user: str) -> None:
    """Settings → Models → this model → Access → Add Access → this user."""
    edit_model(page, model)
    page.get_by_role("button", name="Access", exact=True).click()
    page.get_by_role("button", name="Add Access").click()
    dialog = page.get_by_role("dialog").filter(has_text="Add Access").last
    dialog.get_by_role("checkbox", name=user).check()
    with page.expect_response("**/model/access/update") as saved:
        dialog.get_by_role("button", name="Add", exact=True).click()
    assert saved.value.ok


class Chat:
    """The chat page: the model selector, the input, the messages."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.box = page.locator("#chat-input")
        self.stop = page.get_by_role("button", name="Stop", exact=True)

    def open(self, model_id: str = "") -> None:
        """Begin a new chat, with a model when one is named."""
        self.page.goto(f"/?model={model_id}" if model_id else "/")
        expect(self.box).to_be_visible()

    def search_models(self, text: str) -> Locator:
        """Type into the search field of the selector; what is listed then."""
        self.page.get_by_role("button", name=re.compile("^Select(ed model| a model)")).click()
        self.page.get_by_role("combobox", name="Search In Models").fill(text)
        return self.page.get_by_role("listbox", name="Available models").get_by_role("option")

    def model(self, name: str) -> Locator:
        """One entry of the open selector."""
        return self.page.get_by_role("option", name=f"Select {name} model", exact=True)

    def icon(self, name: str) -> Locator:
        """The picture of that entry."""
        return self.page.get_by_role("img", name=f"{name} profile image", exact=True)

    def show_description(self, name: str) -> Locator:
        """Point at the sign for the description of that entry; the box that appears."""
        self.model(name).locator("[id^=model-description] + div").hover()
        return self.page.locator(".tippy-content").last

    def selected(self, name: str) -> Locator:
        """The selector's button while this model is chosen."""
        return self.page.get_by_role("button", name=f"Selected model: {name}", exact=True)

    def switch_tool_on(self, name: str) -> None:
        """Integrations → Tools → this one."""
        self.page.get_by_role("button", name="Integrations").click()
        self.page.get_by_role("menuitem", name="Tools").click()
        self.page.get_by_role("menuitemcheckbox", name=name).click()
        self.page.keyboard.press("Escape")

    def send(self, text: str) -> Locator:
        """Send a message; the answer that appears."""
        self.box.fill(text)
        self.page.keyboard.press("Enter")
        expect(self.messages().filter(has_text=text).first).to_be_visible()
        return self.messages().last

    def ask(self, text: str) -> Locator:
        """Send a message and wait until its answer is complete."""
        answer = self.send(text)
        self.wait_until_done(answer)
        return answer

    def wait_until_done(self, answer: Locator) -> None:
        """Wait until the answer has its buttons, which it has when nothing more is to come."""
        expect(answer.get_by_role("button", name="Regenerate")).to_be_visible(timeout=ANSWER_LIMIT_MS)

    def messages(self) -> Locator:
        """All messages of the chat, questions and answers."""
        return self.page.get_by_role("log").locator("> [role=listitem]")

    def status_line(self, answer: Locator) -> Locator:
        """The line above the text of an answer."""
        return answer.get_by_role("button", name="Toggle status history")
