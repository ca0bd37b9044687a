"""JSON that others sent, and JSON for others: whatever is in it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from openrouter_pipe.codec import dump_json, parse_json

SOURCE = Path(__file__).parents[2] / "src"


@pytest.mark.parametrize("odd", ["NaN", "[1e999]", '{"a": -Infinity}'])
def test_what_is_no_number_is_null(odd: str) -> None:
    value = parse_json(f'{{"content": "x", "odd": {odd}}}')
    assert dump_json(value).count(b"null") == 1
    assert value["content"] == "x"


def test_half_an_emoji_is_a_question_mark() -> None:
    assert dump_json({"a": "x\ud83d"}) == b'{"a":"x?"}'
    assert dump_json("😀é") == '"😀é"'.encode()


def test_what_json_does_not_have_is_written_all_the_same() -> None:
    assert dump_json([{1}, 10**30, math.pi]) == b'["{1}",1000000000000000000000000000000,3.141592653589793]'


def test_deep_nesting_does_not_write_past_a_buffer() -> None:
    program = """
from openrouter_pipe.codec import dump_json
deep = []
for _ in range(250):
    deep = [deep]
for length in range(0, 2100, 20):
    dump_json(["x" * length, *[deep] * 20])
"""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONMALLOC": "debug"}
    run = subprocess.run([sys.executable, "-c", program], env=environment, cwd=SOURCE, capture_output=True, check=False)
    assert (run.returncode, run.stderr) == (0, b"")
