"""The pages say what the code does: every valve with its default, every link."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from openrouter_pipe.settings import Settings, UserValves

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
ROW = re.compile(r"^\| `([A-Z_]+)` \| (.*?) ?\| ", re.MULTILINE)


FORMS = {"admin": Settings, "user": UserValves}


def valve_rows(form: str) -> dict[str, str]:
    page = (ROOT / "docs" / "valves.md").read_text(encoding="utf-8")
    admins, _, users = page.partition("## User valves")
    return dict(ROW.findall({"admin": admins, "user": users}[form]))


@pytest.mark.parametrize("form", FORMS)
def test_the_page_has_exactly_the_valves_in_their_order(form: str) -> None:
    assert list(valve_rows(form)) == list(FORMS[form].model_fields)


@pytest.mark.parametrize(
    ("form", "name"),
    [
        (form, name)
        for form, valves in FORMS.items()
        for name, field in valves.model_fields.items()
        if not field.default_factory
    ],
)
def test_the_page_tells_the_default(form: str, name: str) -> None:
    default = FORMS[form].model_fields[name].default
    words = {"True": "on", "False": "off", "": ""}
    assert valve_rows(form)[name] == words.get(str(default), f"`{default}`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def test_every_valve_that_a_page_names_exists() -> None:
    known = {*Settings.model_fields, *UserValves.model_fields}
    environment = {"OPENROUTER_API_KEY", "OPENROUTER_API_BASE_URL", "DATA_DIR", "HTTPS_PROXY", "GLOBAL_LOG_LEVEL"}
    for page in PAGES:
        if page.name in ("development.md", "sandbox.md"):
            continue
        named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)[`=]", page.read_text(encoding="utf-8")))
        assert named <= known | environment, page.name
