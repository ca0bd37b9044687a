"""`make fuzz`: random and damaged inputs for what reads foreign text. Ends with 1 at the first finding.

    python scripts/fuzz.py [sse errors messages valves] [--inputs N | --seconds S] [--seed N] [--jobs N]

Input number i of a run is made from the number `seed + i` and nothing else, so each can be made again. Every 10,000th number
is a family instead: one piece again and again, of 1, 2, 4 and 8 times a size, where the time may not outgrow the size.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import re
import secrets
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from random import Random
from types import FrameType
from typing import NamedTuple

from fuzz_targets import TARGETS, Case

BLOCK = 5_000
FAMILY = 10_000
# CPU seconds after which an input is no longer waited for (twice that, if it has just begun): far more than any needs.
TICK_SECONDS = 5.0
SHRINK_SECONDS = 5.0
# A family: its smallest size, how much more than in proportion the largest may cost, and what is too short to be measured.
SIZE = 2_000
TOLERANCE = 3.0
NOISE_SECONDS = 0.005


class TooSlowError(Exception):
    """One input took too long, or the time outgrew the input."""


class Finding(NamedTuple):
    """What went wrong: the number that makes the input, the input made small, and the error."""

    number: int
    case: str
    error: str


class Done(NamedTuple):
    """One block of inputs done."""

    inputs: int
    seconds: float
    families: int
    worst_ratio: float
    finding: Finding | None


class _Watch:
    """Ends an input that takes too long: at each tick of CPU time another one has to be at work."""

    def __init__(self) -> None:
        self.at_work = self.seen = 0

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        if self.at_work == self.seen:
            raise TooSlowError(f"still at work after {TICK_SECONDS:g} s")
        self.seen = self.at_work


_watch = _Watch()


def checked(name: str, case: Case) -> Exception | None:
    """What the check of one input raises."""
    _watch.at_work += 1
    try:
        TARGETS[name].check(case)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        return error
    return None


def growth(name: str, make: Callable[[int], Case]) -> tuple[float, Exception | None]:
    """How much more time eight times the input takes, in units of eight times the time; and an error if it is too much."""
    ratio = 0.0
    # A busy machine may spoil a measurement, but not each of them.
    for _ in range(5):
        times = []
        for factor in (1, 2, 4, 8):
            case, runs = make(SIZE * factor), []
            for _ in range(3):
                # Many patterns would not fit into what is remembered of them, few would.
                re.purge()
                # The process's own clock ticks coarsely while a timer of CPU time is set.
                began = time.thread_time()
                if error := checked(name, case):
                    return ratio, error
                runs.append(time.thread_time() - began)
            times.append(min(runs))
        ratio = times[-1] / (8 * times[0] + NOISE_SECONDS)
        if ratio < TOLERANCE:
            return ratio, None
    listed = ", ".join(f"{seconds * 1e3:.1f}" for seconds in times)
    return ratio, TooSlowError(f"1, 2, 4, 8 times the input takes {listed} ms")


def run_block(name: str, first: int, count: int) -> Done:
    """The inputs `first` to `first + count - 1`, until one of them finds something."""
    signal.signal(signal.SIGVTALRM, _watch)
    signal.setitimer(signal.ITIMER_VIRTUAL, TICK_SECONDS, TICK_SECONDS)
    try:
        return _run(name, first, count)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _run(name: str, first: int, count: int) -> Done:
    target, rng, families, worst, began = TARGETS[name], Random(), 0, 0.0, time.monotonic()  # noqa: S311 - nothing to guess
    for number in range(first, first + count):
        rng.seed(number)
        if number % FAMILY == 0:
            make = target.repeat(rng)
            ratio, error = growth(name, make)
            families, worst = families + 1, max(worst, ratio)
            case = make(SIZE if isinstance(error, TooSlowError) else 100)
        else:
            case = target.make(rng)
            error = checked(name, case)
        if error is not None:
            finding = Finding(
                number, repr(shrunk(name, case, error))[:2_000], f"{type(error).__name__}: {error}"[:1_000]
            )
            return Done(number - first + 1, time.monotonic() - began, families, worst, finding)
    return Done(count, time.monotonic() - began, families, worst, None)


def shrunk(name: str, case: Case, error: Exception) -> Case:
    """The input with all taken out of its texts that the same kind of error does not need."""
    if isinstance(error, TooSlowError):
        return case
    deadline = time.monotonic() + SHRINK_SECONDS
    for place, part in enumerate(case):
        size = len(part) // 2 if isinstance(part, (str, bytes)) else 0
        while size:
            start = 0
            while start < len(case[place]) and time.monotonic() < deadline:
                text = case[place]
                tried = (*case[:place], text[:start] + text[start + size :], *case[place + 1 :])
                if type(checked(name, tried)) is type(error):
                    case = tried
                else:
                    start += size
            size //= 2
    return case


@dataclass
class Progress:
    """How far one target has come."""

    name: str
    started: int = 0
    inputs: int = 0
    seconds: float = 0.0
    families: int = 0
    worst_ratio: float = 0.0

    def add(self, done: Done) -> None:
        """Count a block."""
        self.inputs += done.inputs
        self.seconds += done.seconds
        self.families += done.families
        self.worst_ratio = max(self.worst_ratio, done.worst_ratio)

    def __str__(self) -> str:
        speed = self.inputs / max(self.seconds, 1e-9)
        return (
            f"{self.name:9}{self.inputs:>12,} inputs in {self.seconds:,.0f} s ({speed:,.0f}/s), "
            f"{self.families:,} families, the steepest grew {self.worst_ratio:.2f} times as fast as its input"
        )


def fuzz(names: list[str], seed: int, inputs: int | None, seconds: float, jobs: int) -> int:
    """Run all targets side by side, so many processes at a time; prints what was done, and returns the exit code."""
    targets = {name: Progress(name) for name in names}
    running: dict[Future[Done], tuple[str, int, int]] = {}

    def wanting() -> list[Progress]:
        # By seconds: the time of a block that is under way is not known, but that it is under way.
        def worth(target: Progress) -> float:
            under_way = target.started - target.inputs
            return target.seconds + under_way * target.seconds / max(target.inputs, 1) + under_way / 1e9

        left = [it for it in targets.values() if (it.started < inputs if inputs else worth(it) < seconds)]
        return sorted(left, key=worth)

    # "fork" shares the grammar and the catalogs, and what a test has broken on purpose.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        while (waiting := wanting()) or running:
            while waiting and len(running) < jobs:
                target = waiting[0]
                count = min(BLOCK, inputs - target.started) if inputs else BLOCK
                block = (target.name, seed + target.started, count)
                running[pool.submit(run_block, *block)] = block
                target.started += count
                waiting = wanting()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name, first, count = running.pop(future)
                try:
                    done = future.result()
                except BrokenProcessPool:
                    # Not each block whose process is gone is the one that killed it.
                    print(f"A process died. Again: {_again(name, first, count)}")
                    return 1
                targets[name].add(done)
                if found := done.finding:
                    pool.shutdown(cancel_futures=True)
                    print(f"{name}: {found.error}\n  input: {found.case}\n  again: {_again(name, found.number, 1)}")
                    return 1
    print(f"seed {seed}", *targets.values(), sep="\n")
    return 0


def _again(name: str, first: int, count: int) -> str:
    return f'make fuzz ARGS="{name} --seed {first} --inputs {count}"'


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all of them without")
    parser.add_argument("--inputs", type=int, help="how many inputs for each target")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="without --inputs: how long each target is worked on"
    )
    parser.add_argument("--seed", type=int, help="what the inputs are made from; another one each time without")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args(arguments)
    if unknown := set(options.targets) - TARGETS.keys():
        parser.error(f"no target {', '.join(unknown)}")
    seed = secrets.randbelow(10**9) * FAMILY if options.seed is None else options.seed
    gc.freeze()
    return fuzz(options.targets or list(TARGETS), seed, options.inputs, options.seconds, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
