"""What Open WebUI does with the text of a function, and so what the built file must look like; used by `bundle.py`."""

from __future__ import annotations

import re

REWRITTEN = tuple(f"from {name}" for name in ("utils", "apps", "main", "config"))
FRONTMATTER = {
    "title": "OpenRouter",
    "author": "The OpenRouter pipe authors",
    "version": "",  # from the package's `__version__`
    "license": "MIT",
    "description": "All of OpenRouter's models, with their variants and presets, as models of their own.",
    "required_open_webui_version": "0.11.1",
}
ORIGIN = "# Built by scripts/bundle.py from src/openrouter_pipe/: change the modules there, then run `make bundle`."
LIMIT = 200_000  # bytes: what an admin can still paste, and read


def rewritten_texts(text: str) -> list[tuple[int, str]]:
    """Where (line, text) Open WebUI would replace something: plainly by text, in strings and comments too."""
    return [
        (number, wanted) for number, line in enumerate(text.split("\n"), 1) for wanted in REWRITTEN if wanted in line
    ]


def write_frontmatter(version: str) -> str:
    """How the built file starts: a docstring, which Open WebUI shows to an admin, and a line on where it comes from."""
    lines = [f"{key}: {value}" for key, value in {**FRONTMATTER, "version": version}.items()]
    return "\n".join(['"""', *lines, '"""', "", ORIGIN, ""])


def read_frontmatter(text: str) -> dict[str, str]:
    """The manifest as Open WebUI reads it: `key: value` lines from a first line of three quotes to the next such."""
    lines = text.splitlines()
    if not lines or lines[0] != '"""':
        return {}
    found = {}
    for line in lines[1:]:
        if '"""' in line:
            break
        if match := re.match(r"^\s*([a-z_]+):\s*(.*)\s*$", line, re.IGNORECASE):
            found[match[1].strip()] = match[2].strip()
    return found


def problems(text: str, version: str) -> list[str]:
    """All that would go wrong with this text as a function of Open WebUI, one sentence each."""
    found = [
        f"line {line}: Open WebUI rewrites the text `{word}`: word it otherwise" for line, word in rewritten_texts(text)
    ]
    if not text.startswith('"""\n'):
        found.append('the first line must be exactly `"""`, or Open WebUI finds no frontmatter')
    if (manifest := read_frontmatter(text)) != {**FRONTMATTER, "version": version}:
        found.append(f"Open WebUI reads the frontmatter as {manifest}: it is not the table in built_file_rules.py")
    if (size := len(text.encode())) >= LIMIT:
        found.append(f"{size} bytes, and the limit is {LIMIT}: something has to go")
    try:
        compile(text, "openrouter_pipe.py", "exec", dont_inherit=True)
    except SyntaxError as error:
        found.append(f"line {error.lineno}: it does not compile: {error.msg}")
    return found
