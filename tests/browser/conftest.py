"""A Chromium in front of a real Open WebUI, into which an administrator has pasted the pipe."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from browser.pages import Functions
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright
from webui.conftest import BUILT, SandboxControl, sandbox, sandbox_process  # noqa: F401 (fixtures)
from webui_server import OpenWebUI

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
VIEWPORT = {"width": 1280, "height": 800}
IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
IMAGE_LIMIT = 150_000  # bytes
LIMIT_MS = 15_000  # for one step of a page


class Account(NamedTuple):
    email: str
    password: str
    name: str


ADMIN = Account("admin@example.com", "admin-password", "Admin")
USER = Account("ada@example.com", "user-password", "Ada")
# No model is asked for titles and the like: a rule of the sandbox is for the chat that a test sends.
NO_TASKS = ("ENABLE_TITLE_GENERATION", "ENABLE_TAGS_GENERATION", "ENABLE_FOLLOW_UP_GENERATION")
VALVES = {
    "API_KEY": "sk-or-v1-sandbox",
    "VARIANT_MODELS": "openai/gpt-4o:nitro, openai/gpt-4o@preset/email-copywriter, @preset/*",
    "MODEL_ICONS": "monogram",  # no logos from elsewhere
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", action="store_true", help="renew docs/images")


def find_chromium() -> str | None:
    """The browser's path. It is asked for its version, for there are packages that only tell where to get it."""
    for path in filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        if subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0:
            return path
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A failed test says where its picture lies."""
    report = yield
    pages = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Page)]
    if report.failed and pages and "tmp_path" in item.funcargs:
        path = item.funcargs["tmp_path"] / "page.png"
        with contextlib.suppress(Error):
            pages[0].screenshot(path=path)
            report.sections.append(("The page", str(path)))
    return report


@pytest.fixture(scope="session")
def chromium_path() -> str:
    if path := find_chromium():
        return path
    pytest.skip("there is no Chromium on this machine (apt-get install chromium)")


@pytest.fixture(scope="session")
def webui(chromium_path: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenWebUI]:
    """Open WebUI with two accounts, an administrator's and an ordinary one."""
    settings = dict.fromkeys(NO_TASKS, "False")
    with OpenWebUI(tmp_path_factory.mktemp("browser-webui"), auth=True, env=settings) as server:
        server.sign_in(*ADMIN)
        server.request("POST", "/api/v1/users/user/settings/update", {"ui": {"showChangelog": False}})
        server.request("POST", "/api/v1/auths/add", {**USER._asdict(), "role": "user"})
        yield server


@pytest.fixture(scope="session")
def renews_images(request: pytest.FixtureRequest) -> bool:
    """Whether this run is for the pictures in the docs. The option is only known when this folder is named."""
    return bool(request.config.getoption("--screenshots", default=False))


@pytest.fixture
def take_picture(admin: Page, renews_images: bool, tmp_path: Path) -> Callable[[str], None]:
    """Take the picture of this name for the docs: really with `--screenshots`, else into a temporary folder."""

    def take(name: str) -> None:
        expect(admin.locator("[data-sonner-toast]")).to_have_count(0)
        path = (IMAGES if renews_images else tmp_path) / f"{name}.png"
        picture = Image.open(io.BytesIO(admin.screenshot(animations="disabled", caret="hide")))
        picture.convert("RGB").quantize(255, dither=Image.Dither.NONE).save(path, optimize=True)
        assert path.stat().st_size < IMAGE_LIMIT
        assert (IMAGES / path.name).exists(), "new: run with --screenshots"

    return take


@pytest.fixture(scope="module")
def chromium(chromium_path: str) -> Iterator[Browser]:
    """The browser. Not for the whole session: while Playwright runs, no other event loop can be started."""
    expect.set_options(timeout=LIMIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path, args=ARGUMENTS)
        yield browser
        browser.close()


def new_context(chromium: Browser, webui: OpenWebUI, token: str | None = None, scale: int = 1) -> BrowserContext:
    """A browser window of its own, signed in with a token when there is one; `scale` is dots per pixel."""
    storage = [{"origin": webui.url, "localStorage": [{"name": "token", "value": token}]}] if token else []
    context = chromium.new_context(
        base_url=webui.url,
        device_scale_factor=scale,
        locale="en-US",
        permissions=["clipboard-read", "clipboard-write"],
        storage_state={"cookies": [], "origins": storage},  # type: ignore[typeddict-item]
        viewport=VIEWPORT,  # type: ignore[arg-type]
    )
    context.set_default_timeout(LIMIT_MS)
    return context


@pytest.fixture(scope="module")
def admin_context(chromium: Browser, webui: OpenWebUI, renews_images: bool) -> Iterator[BrowserContext]:
    token = webui.client.headers["Authorization"].removeprefix("Bearer ")
    context = new_context(chromium, webui, token, scale=2 if renews_images else 1)
    yield context
    context.close()


@pytest.fixture
def stranger(chromium: Browser, webui: OpenWebUI) -> Iterator[Page]:
    """A page of somebody who has not signed in."""
    context = new_context(chromium, webui)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def pipe_id(admin_context: BrowserContext, webui: OpenWebUI, sandbox_process: SandboxControl) -> str:  # noqa: F811
    """The id of the pipe, after the administrator has pasted, set and switched it on; once for all modules."""
    if not webui.request("GET", "/api/v1/functions/"):
        page = admin_context.new_page()
        functions = Functions(page)
        functions.open()
        functions.paste_new(BUILT.read_text(encoding="utf-8"))
        form = functions.valves()
        form.fill({**VALVES, "BASE_URL": sandbox_process.base_url})
        form.save()
        functions.switch().click()
        expect(functions.switch()).to_be_checked()
        page.close()
    (row,) = webui.request("GET", "/api/v1/functions/")
    return str(row["id"])


@pytest.fixture
def admin(
    admin_context: BrowserContext,
    pipe_id: str,
    sandbox: SandboxControl,  # noqa: F811
    tmp_path: Path,
) -> Iterator[Page]:
    """A new page of the administrator, with the pipe installed and no rules in the sandbox."""
    page = admin_context.new_page()
    yield page
    page.close()
