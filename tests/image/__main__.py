"""Builds the image, runs every check, and prints one line for each: `make image-test`."""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

import uvloop

from tests.image import base, cage, calls, contents, life
from tests.image.engine import Engine
from tests.image.stage import ALL, REPOSITORY, Check, Stage
from tests.system.verdict import Figure, Verdict

FAMILIES = (contents, cage, calls, life)
DIRECTORY = Path("build/image")
IMAGE = "localhost/embedwire:test"
MOST_SECONDS = 300


def build(engine: Engine) -> Stage:
    """Build the base and the image, each if it is missing or its recipe changed."""
    dockerfile = REPOSITORY / "Dockerfile"
    name = base.name_in(dockerfile)
    origin = base.ensure(engine, name)
    began = time.monotonic()
    words = ("--isolation", "chroot", "--pull-never", "--format", "docker", "--tag", IMAGE, REPOSITORY)
    engine.buildah("bud", *words, seconds=900)
    return Stage(engine, IMAGE, name, origin, time.monotonic() - began)


async def put(check: Check, stage: Stage) -> bool:
    """Run one check and print its result; an exception fails it."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(MOST_SECONDS):
            verdict = await check.look(stage)
    except Exception as error:  # noqa: BLE001 - the other checks still run
        verdict = Verdict([Figure(f"!{error!r}", "a result", kept=False)])
    figures = "; ".join(f"{figure.text} ({figure.bound})" for figure in verdict.figures)
    kept = "kept" if verdict.kept else "broken"
    print(f"{kept:6}  {check.name:18}  {time.monotonic() - began:5.1f} s  {figures}", flush=True)  # noqa: T201 - the output of the command
    return verdict.kept


async def put_all(checks: list[Check], stage: Stage) -> int:
    """Run the checks one by one; return the number of failed ones."""
    return sum([not await put(check, stage) for check in checks])


def ordered() -> list[Check]:
    """Return the checks in the order of their families."""
    return [check for family in FAMILIES for check in ALL.values() if check.look.__module__ == family.__name__]


def main() -> int:
    parser = argparse.ArgumentParser(prog="image", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=ALL, help="these checks")
    parser.add_argument("--list", action="store_true", help="say what is checked")
    chosen = parser.parse_args()
    checks = [check for check in ordered() if check.name in (chosen.only or ALL)]
    if chosen.list:
        for check in checks:
            print(f"{check.name:18}  {check.sentence}")  # noqa: T201 - the output of the command
        return 0
    if os.geteuid() != 0:
        parser.error("needs root, as debootstrap and the mounts of a store do")
    engine = Engine.on(DIRECTORY.absolute())
    try:
        stage = build(engine)
        print(f"base: {stage.base}, from {stage.origin}; store: {engine.driver}", flush=True)  # noqa: T201 - the output of the command
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            failed = runner.run(put_all(checks, stage))
    finally:
        engine.clear()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
