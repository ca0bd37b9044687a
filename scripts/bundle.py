"""Build `openrouter_pipe.py`, the one file that Open WebUI loads, from the modules of `src/openrouter_pipe/`.

`bundle.py` writes it, `bundle.py --check` compares. The modules stand in order of dependency, word for word; only
imports and module docstrings move. docs/development.md has the rules that make this work; breaking one stops the build.
"""

from __future__ import annotations

import ast
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import built_file_rules

ROOT, NAME = Path(__file__).resolve().parent.parent, "openrouter_pipe"
FILE_NAMES = {"__name__", "__file__", "__package__", "__spec__", "__loader__", "__path__", "__doc__", "__all__"}
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
CLOSED = (*SCOPES, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class BundleError(Exception):
    """A rule is broken: file, line, what to do."""


@dataclass
class Module:
    """One module of the package, taken apart. An "external" is an import of one name, as `from typing import Any`."""

    path: Path
    source: str
    docstring: str = ""
    body: str = ""  # what stays: all but the docstring and the imports, word for word
    asks: list[tuple[str, str, int]] = field(default_factory=list)  # module of the package, name, line
    externals: set[str] = field(default_factory=set)
    type_externals: set[str] = field(default_factory=set)  # those under `if TYPE_CHECKING:`
    binds: list[tuple[str, int, str]] = field(default_factory=list)  # name, line, external that binds it or ""
    moved: set[int] = field(default_factory=set)  # numbers of the lines that are not in the body

    def error(self, line: int, text: str) -> BundleError:
        """The complaint about one line of this module."""
        return BundleError(f"{self.path}:{line}: {text}")


def imports_of(node: ast.AST) -> list[tuple[str, str]]:
    """What an import statement imports, one `(external, name that it binds)` each; nothing for other statements."""
    if not isinstance(node, ast.Import | ast.ImportFrom):
        return []
    start = f"from {'.' * node.level}{node.module or ''} " if isinstance(node, ast.ImportFrom) else ""
    return [(f"{start}import {ast.unparse(name)}", name.asname or name.name.split(".")[0]) for name in node.names]


def tops_of(node: ast.AST) -> set[str]:
    """The top-level packages that an import statement imports from; `""` for a relative one."""
    return {external.split()[1].split(".")[0] for external, _ in imports_of(node)}


def bound(node: ast.AST) -> Iterator[tuple[str, int, str]]:
    """The names that a statement binds in the scope it stands in: name, line, external or `""`."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from ((name, node.lineno, external) for external, name in imports_of(node))
        return
    stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    if name := getattr(node, "id" if stored else "name", None):
        yield name, getattr(node, "lineno", 1), ""
    if not isinstance(node, CLOSED):
        for child in ast.iter_child_nodes(node):
            yield from bound(child)


def take_import(module: Module, node: ast.stmt, types_only: bool) -> None:
    """File an import from the module's top: into `asks` for the package's own, into the externals for others."""
    tops, names = tops_of(node), [alias.name for alias in getattr(node, "names", [])]
    if not tops or "open_webui" in tops:
        raise module.error(node.lineno, "import it in a function of webui.py" if tops else "only imports stand here")
    if not tops & {"", NAME} and "*" not in names:
        module.binds += bound(node)
        (module.type_externals if types_only else module.externals).update(dict(imports_of(node)))
        return
    source = getattr(node, "module", None) or ("__init__" if names == ["__version__"] else ".")
    plain = isinstance(node, ast.ImportFrom) and node.level == 1 and not any(alias.asname for alias in node.names)
    if types_only or not plain or "." in source or "*" in names:
        raise module.error(node.lineno, f"write `from .module import name`, at the top, not `{ast.unparse(node)}`")
    module.asks += [(source, name, node.lineno) for name in names]


def check_kept(module: Module, node: ast.stmt) -> None:
    """Raise on an import in a statement that keeps its place."""
    ours = isinstance(node, SCOPES) and module.path.name == "webui.py"
    for inner in ast.walk(node):
        if tops := tops_of(inner):
            fallback = isinstance(node, ast.Try) and not tops & {"", NAME, "open_webui"}
            if not (fallback or (ours and tops == {"open_webui"})):
                raise module.error(inner.lineno, "imports stand at the top, open_webui's in functions of webui.py")  # type: ignore[attr-defined]


def read_module(path: Path) -> Module:
    """Take one module apart and check the rules that it can break alone."""
    module = Module(path, path.read_text(encoding="utf-8"))
    for at, text in built_file_rules.rewritten_texts(module.source):
        raise module.error(at, f"Open WebUI rewrites the text `{text}` wherever it stands: word it otherwise")
    tree, lines, in_body = ast.parse(module.source, path), module.source.split("\n"), False
    for name in (node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in FILE_NAMES):
        raise module.error(name.lineno, f"`{name.id}` means something else in the built file: do without it")
    module.docstring = ast.get_docstring(tree) or ""
    for node in tree.body:
        docstring = node is tree.body[0] and bool(module.docstring)
        types_only = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not (docstring or types_only or tops_of(node)):
            check_kept(module, node)
            in_body = in_body or not isinstance(node, ast.Try)
            module.binds += bound(node)
            continue
        rest = lines[(node.end_lineno or 0) - 1].encode()[node.end_col_offset :].strip()
        if node.col_offset or (rest and not rest.startswith(b"#")):
            raise module.error(node.lineno, "two statements on one line: give each its own")
        if in_body:
            raise module.error(node.lineno, "an import after code: move it to the top of the module")
        module.moved.update(range(node.lineno, (node.end_lineno or 0) + 1))
        for statement in [*node.body, *node.orelse] if isinstance(node, ast.If) else [] if docstring else [node]:
            take_import(module, statement, types_only)
    if tree.body and path.stem != "__init__" and "from __future__ import annotations" not in module.externals:
        raise module.error(1, "add `from __future__ import annotations`: the built file has it for all modules")
    module.body = "\n".join(line for at, line in enumerate(lines, 1) if at not in module.moved).strip("\n")
    return module


def in_order(modules: dict[str, Module]) -> list[Module]:
    """The modules sorted so that each comes after those it imports from, always in the same order."""
    owner: dict[str, tuple[Module, str]] = {}
    for module in modules.values():
        for name, line, external in module.binds:
            other, other_external = owner.setdefault(name, (module, external))
            if other is not module and (not external or external != other_external):
                raise module.error(line, f"`{name}` is bound in {other.path.name} too: names are unique in the package")
        for source, name, line in module.asks:
            target = modules.get(source, module)
            if target is module or name not in {bind for bind, at, _ in target.binds if at not in target.moved}:
                raise module.error(line, f"{source}.py does not define `{name}`: import it from where it is defined")
    needs = {name: sorted({ask[0] for ask in module.asks}) for name, module in modules.items()}
    try:
        return [modules[name] for name in TopologicalSorter(needs).static_order()]
    except CycleError as error:
        raise modules[error.args[1][0]].error(1, f"modules import in a circle: {' <- '.join(error.args[1])}") from None


def statements(externals: set[str]) -> list[str]:
    """The import statements for these externals: sorted, the standard library's first, names of one module together."""
    names: dict[tuple[int, str], list[str]] = {}
    for external in sorted(externals):
        start, _, name = external.rpartition("import ")
        top = external.split()[1].split(".")[0]
        names.setdefault(((top != "__future__") + (top not in sys.stdlib_module_names), start), []).append(name)
    lines: list[str] = []
    for (_, start), found in sorted(names.items()):
        wrapped = textwrap.wrap(", ".join(found).replace(" as ", "\0as\0"), 80) if start else found
        lines += [f"{start}import {line.rstrip(',')}".replace("\0", " ") for line in wrapped]
    return lines


def build(package: Path, version: str) -> str:
    """The text of the built file; `version` is the project's and must be the one in the package's `__init__.py`."""
    modules = in_order({path.stem: read_module(path) for path in sorted(package.glob("*.py"))})
    if not modules or modules[0].path.stem != "__init__" or modules[0].body != f'__version__ = "{version}"':
        raise BundleError(
            f'{package}/__init__.py:1: only a docstring and `__version__ = "{version}"` (pyproject.toml\'s)'
        )
    parts = [built_file_rules.write_frontmatter(version)]
    parts += statements(externals := {external for module in modules for external in module.externals})
    types = statements({external for module in modules for external in module.type_externals} - externals)
    parts += ["", "if TYPE_CHECKING:", *(f"    {line}" for line in types)] if types else []
    for module in modules:
        about = [f"# {line}".rstrip() for line in module.docstring.split("\n")]
        parts += ["", "", f"# === {module.path.name}", *about, "", module.body]
    text = "\n".join([*parts, ""])
    if found := built_file_rules.problems(text, version):
        raise BundleError(f"the built file would not do: {found[0]}")
    return text


def main(arguments: list[str]) -> None:
    """Write the file, or with `--check` compare it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    target = ROOT / f"{NAME}.py"
    try:
        text = build(ROOT / "src" / NAME, version)
    except (BundleError, SyntaxError) as error:
        sys.exit(f"bundle: {error}")
    if arguments != ["--check"]:
        target.write_text(text, encoding="utf-8")
    elif not target.exists() or target.read_text(encoding="utf-8") != text:
        sys.exit(f"bundle: {target.name} is not what src/{NAME}/ builds: run `make bundle` and commit it")


if __name__ == "__main__":
    main(sys.argv[1:])
