"""What git keeps: nothing that .gitignore names, such as a `.venv` that is a link."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_that_is_ignored_is_committed() -> None:
    listing = ["git", "ls-files", "--cached", "--ignored", "--exclude-from=.gitignore"]
    git = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if git.returncode:
        pytest.skip("not a checkout of git")
    assert git.stdout == "", "git rm --cached"
