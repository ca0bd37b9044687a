"""`scripts/bundle.py`: tiny packages in, one file out; every house rule broken once."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import built_file_rules
import bundle
import pytest

FUTURE = "from __future__ import annotations\n"
VERSION = "1.2.3"


def package(folder: Path, **modules: str) -> Path:
    """Write a package of these modules; `__init__` and the future import come by themselves."""
    target = folder / "openrouter_pipe"
    target.mkdir()
    (target / "__init__.py").write_text(modules.pop("__init__", f'"""About."""\n\n__version__ = "{VERSION}"\n'))
    for name, text in modules.items():
        (target / f"{name}.py").write_text(text if text.startswith('"""') or FUTURE in text else FUTURE + text)
    return target


def built(folder: Path, **modules: str) -> str:
    """The file built from these modules."""
    return bundle.build(package(folder, **modules), VERSION)


def complaint(folder: Path, **modules: str) -> str:
    """What the build says about these modules, without the folder."""
    target = package(folder, **modules)
    with pytest.raises(bundle.BundleError) as caught:
        bundle.build(target, VERSION)
    text = str(caught.value)
    assert text.startswith(f"{target}/"), text
    return text.removeprefix(f"{target}/")


def load(text: str) -> types.ModuleType:
    """Execute the text as Open WebUI does: in a fresh module that has a name of its own."""
    module = types.ModuleType("function_some_id_0123")
    sys.modules[module.__name__] = module
    try:
        exec(text, module.__dict__)
    finally:
        del sys.modules[module.__name__]
    return module


# --- what comes out


def test_first_line_is_three_quotes_and_open_webui_reads_the_frontmatter(tmp_path: Path) -> None:
    text = built(tmp_path, pipe="class Pipe: ...\n")
    assert text.split("\n")[0] == '"""'
    manifest = built_file_rules.read_frontmatter(text)
    assert manifest["title"] == "OpenRouter"
    assert manifest["version"] == VERSION
    assert manifest["required_open_webui_version"] == "0.11.1"
    assert "requirements" not in manifest


def test_modules_stand_after_what_they_import_and_the_file_runs(tmp_path: Path) -> None:
    text = built(
        tmp_path,
        a_last="from .m_middle import MIDDLE\n\nLAST = MIDDLE + 1\n",
        m_middle="from .z_first import FIRST\n\nMIDDLE = FIRST + 1\n",
        z_first="FIRST = 1\n",
    )
    assert text.index("FIRST = 1") < text.index("MIDDLE = FIRST") < text.index("LAST = MIDDLE")
    assert load(text).LAST == 3


def test_unrelated_modules_are_sorted_by_name_and_the_output_is_always_the_same(tmp_path: Path) -> None:
    modules = {name: f"{name.upper()} = 1\n" for name in ("delta", "alpha", "charlie", "bravo")}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first = built(tmp_path / "one", **modules)
    second = built(tmp_path / "two", **dict(reversed(modules.items())))
    assert first == second
    places = [first.index(f"{name} = 1") for name in ("ALPHA", "BRAVO", "CHARLIE", "DELTA")]
    assert places == sorted(places)


def test_comments_and_docstrings_are_kept_word_for_word(tmp_path: Path) -> None:
    body = (
        "# A comment above: keeps its reason.\n"
        "TABLE = {'odd':   1,  # with odd   spaces\n"
        "         'quotes': \"both\"}\n\n\n"
        "def ask(x: int) -> str:\n"
        '    """What it is for.\n\n'
        "      * an indented line\n"
        '    """\n'
        "    return f'{x!r:>5}'  # trailing\n"
    )
    text = built(tmp_path, pipe='"""A room.\n\n    drawn -> here\nend\n"""\n\n' + FUTURE + "\n" + body)
    assert body in text
    assert "# === pipe.py\n# A room.\n#\n#     drawn -> here\n# end\n" in text


def test_external_imports_are_merged_and_sorted(tmp_path: Path) -> None:
    text = built(
        tmp_path,
        a="import re\nfrom typing import Any\nimport aiohttp\n\nA: Any = re, aiohttp\n",
        b="import re\nfrom typing import (\n    Any,  # noqa\n    Final,\n)\nimport os.path as p\n\nB: Any = p\n",
    )
    imports = [line for line in text.split("\n") if line.startswith(("import ", "from "))]
    assert imports == [
        "from __future__ import annotations",
        "import os.path as p",
        "import re",
        "from typing import Any, Final",
        "import aiohttp",
    ]


def test_a_long_list_of_names_is_several_statements(tmp_path: Path) -> None:
    names = ["AsyncIterator", "Awaitable", "Callable as Call", "Iterable", "Iterator", "Mapping", "Sequence", "Sized"]
    text = built(tmp_path, a=f"from collections.abc import {', '.join(names)}\n\nUSED = Call\n")
    assert max(map(len, text.split("\n"))) <= 120
    assert load(text).USED is load(text).Call


def test_imports_for_types_only_are_merged_into_one_block(tmp_path: Path) -> None:
    start = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from collections.abc import "
    text = built(tmp_path, a=start + "Iterator\n\nA = 1\n", b=start + "Mapping\n\nB = 2\n")
    assert text.count("if TYPE_CHECKING:") == 1
    assert "if TYPE_CHECKING:\n    from collections.abc import Iterator, Mapping\n" in text
    assert load(text).B == 2


def test_a_module_may_try_one_library_and_fall_back_on_another(tmp_path: Path) -> None:
    text = built(
        tmp_path,
        codec="try:\n    import no_such_library as _json\nexcept ImportError:\n    import json as _json\n",
        use="import json\nfrom .codec import _json\n\nSAME = json is _json\n",
    )
    assert load(text).SAME


def test_open_webui_is_imported_inside_functions_of_webui(tmp_path: Path) -> None:
    text = built(
        tmp_path, webui="def rows() -> object:\n    from open_webui.models.models import Models\n    return Models\n"
    )
    assert "    from open_webui.models.models import Models\n" in text


def test_dataclasses_and_pydantic_models_find_their_types(tmp_path: Path) -> None:
    text = built(
        tmp_path,
        rows="from dataclasses import dataclass\n\n\n@dataclass(frozen=True, slots=True)\nclass Row:\n    id: str\n",
        valves=(
            "from pydantic import BaseModel, Field\nfrom .rows import Row\n\n\n"
            "class Valves(BaseModel):\n    ROWS: list[Row] = Field(default_factory=list)\n"
            "    SECONDS: int | None = None\n"
        ),
    )
    assert load(text).Valves(SECONDS="3").SECONDS == 3


def test_a_module_can_ask_for_the_version(tmp_path: Path) -> None:
    assert load(built(tmp_path, status="from . import __version__\n\nTEXT = __version__\n")).TEXT == VERSION


def test_names_inside_functions_and_comprehensions_are_free(tmp_path: Path) -> None:
    text = built(
        tmp_path,
        a="row = [value for value in (1, 2)]\n",
        b="def value(row: int) -> int:\n    total = row\n    return total\n",
    )
    assert load(text).value(4) == 4


# --- every rule broken once: (modules, what the message says)

BROKEN = {
    "import of a module": ({"a": "A = 1\n", "b": "from . import a\n"}, "b.py:2: write `from .module import name`"),
    "alias": ({"a": "A = 1\n", "b": "from .a import A as B\n"}, "b.py:2: write `from .module import name`"),
    "two levels": ({"b": "from ..a import A\n"}, "b.py:2: write `from .module import name`"),
    "subpackage": ({"b": "from .a.c import A\n"}, "b.py:2: write `from .module import name`"),
    "star": ({"a": "A = 1\n", "b": "from .a import *\n"}, "b.py:2: write `from .module import name`"),
    "external star": ({"b": "from os import *\n"}, "b.py:2: write `from .module import name`"),
    "absolute": ({"b": "from openrouter_pipe.a import A\n"}, "b.py:2: write `from .module import name`"),
    "absolute module": ({"b": "import openrouter_pipe.a\n"}, "b.py:2: write `from .module import name`"),
    "ours in TYPE_CHECKING": (
        {"a": "A = 1\n", "b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import A\n"},
        "b.py:4: write `from .module import name`",
    ),
    "code in TYPE_CHECKING": (
        {"b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    B = int\n"},
        "b.py:4: only imports stand here",
    ),
    "inside a function": ({"b": "def f():\n    import re\n"}, "b.py:3: imports stand at the top"),
    "ours inside a function": (
        {"a": "A = 1\n", "b": "def f():\n    from .a import A\n"},
        "b.py:3: imports stand at the top",
    ),
    "inside a condition": ({"b": "if 1:\n    import re\n"}, "b.py:3: imports stand at the top"),
    "ours in a try": (
        {"a": "A = 1\n", "b": "try:\n    from .a import A\nexcept ImportError:\n    A = 2\n"},
        "b.py:3: imports stand at the top",
    ),
    "open_webui at the top": ({"webui": "import open_webui.env\n"}, "webui.py:2: import it in a function of webui.py"),
    "open_webui elsewhere": ({"b": "def f():\n    import open_webui\n"}, "b.py:3: imports stand at the top"),
    "open_webui in a try": (
        {"webui": "try:\n    import open_webui\nexcept ImportError:\n    pass\n"},
        "webui.py:3: imports stand at the top",
    ),
    "after code": ({"b": "B = 1\nimport re\n"}, "b.py:3: an import after code"),
    "on one line": ({"b": "import re; import json\n"}, "b.py:2: two statements on one line"),
    "circle": (
        {"a": "from .b import B\nA = 1\n", "b": "from .a import A\nB = 1\n"},
        "py:1: modules import in a circle: ",
    ),
    "same name twice": ({"a": "NAME = 1\n", "b": "def NAME(): ...\n"}, "b.py:2: `NAME` is bound in a.py too"),
    "name of an import": ({"a": "import re\n", "b": "re = 1\n"}, "b.py:2: `re` is bound in a.py too"),
    "import over a name": ({"a": "re = 1\n", "b": "import re\n"}, "b.py:2: `re` is bound in a.py too"),
    "one name, two imports": (
        {"a": "from os import path\n", "b": "from sys import path\n"},
        "b.py:2: `path` is bound in a.py too",
    ),
    "loop variable": (
        {"a": "for x in (): ...\n", "b": "with open('') as x: ...\n"},
        "b.py:2: `x` is bound in a.py too",
    ),
    "own name imported": ({"a": "A = 1\n", "b": "from .a import A\nA = 2\n"}, "b.py:3: `A` is bound in a.py too"),
    "not defined there": ({"a": "A = 1\n", "b": "from .a import B\n"}, "b.py:2: a.py does not define `B`"),
    "passed on": (
        {"a": "A = 1\n", "b": "from .a import A\n", "c": "from .b import A\n"},
        "c.py:2: b.py does not define `A`",
    ),
    "no such module": ({"b": "from .a import A\n"}, "b.py:2: a.py does not define `A`"),
    "__name__": ({"b": "import logging\n\nlog = logging.getLogger(__name__)\n"}, "b.py:4: `__name__` means something"),
    "__file__": ({"b": "def f():\n    return __file__\n"}, "b.py:3: `__file__` means something"),
    "__package__": ({"b": "B = __package__\n"}, "b.py:2: `__package__` means something"),
    "__all__": ({"b": "__all__ = ['B']\n"}, "b.py:2: `__all__` means something"),
    "no future import": ({"b": '"""Doc."""\n\nB = 1\n'}, "b.py:1: add `from __future__ import annotations`"),
    "rewritten text": ({"b": '# B\nB = "take it from mainland"\n'}, "b.py:3: Open WebUI rewrites the text `from main`"),
    "code in __init__": ({"__init__": f'__version__ = "{VERSION}"\nX = 1\n'}, "__init__.py:1: only a docstring"),
    "other version": ({"__init__": '"""About."""\n__version__ = "9"\n'}, "__init__.py:1: only a docstring"),
    "import in __init__": (
        {"__init__": f'from .a import A\n__version__ = "{VERSION}"\n', "a": "A = 1\n"},
        "__init__.py:1: only a docstring",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rule_stops_the_build_with_file_and_line(tmp_path: Path, case: str) -> None:
    modules, message = BROKEN[case]
    assert message in complaint(tmp_path, **modules)


def test_too_large_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(bundle.BundleError, match=f"bytes, and the limit is {built_file_rules.LIMIT}"):
        built(tmp_path, a=f"A = '{'x' * built_file_rules.LIMIT}'\n")


# --- the command


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one module, that the command works on."""
    (tmp_path / "src").mkdir()
    package(tmp_path / "src", pipe="class Pipe: ...\n")
    (tmp_path / "pyproject.toml").write_text(f'[project]\nversion = "{VERSION}"\n')
    monkeypatch.setattr(bundle, "ROOT", tmp_path)
    return tmp_path


def test_check_fails_until_the_file_is_built_and_again_after_an_edit(project: Path) -> None:
    with pytest.raises(SystemExit, match="run `make bundle`"):
        bundle.main(["--check"])
    bundle.main([])
    bundle.main(["--check"])
    with (project / "openrouter_pipe.py").open("a") as file:
        file.write("# edited by hand\n")
    with pytest.raises(SystemExit, match="run `make bundle`"):
        bundle.main(["--check"])


def test_the_command_says_in_one_line_what_is_wrong(project: Path) -> None:
    (project / "src/openrouter_pipe/pipe.py").write_text("def broken(:\n")
    with pytest.raises(SystemExit, match=r"bundle: invalid syntax \(pipe.py, line 1\)"):
        bundle.main([])
    assert not (project / "openrouter_pipe.py").exists()
