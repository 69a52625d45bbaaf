"""Runs promises and prints one line for each: `make chaos`, `make soak`, `make test-system`."""

import argparse
import asyncio
import dataclasses
import json
import sys
import time
from pathlib import Path

import uvloop

from tests.system import (
    broken_answers,
    broken_calls,
    connections,
    endings,
    half_open,
    hints,
    hung_workers,
    labels,
    logs,
    overload,
    quotas,
    restarts,
    retries,
    secrets,
    soak,
)
from tests.system.stage import ALL, Promise, Stage
from tests.system.verdict import Figure, Verdict

FAMILIES = (
    retries,
    hints,
    quotas,
    endings,
    overload,
    half_open,
    restarts,
    hung_workers,
    broken_answers,
    connections,
    broken_calls,
    secrets,
    labels,
    logs,
    soak,
)
DIRECTORY = Path("build/promises")
TRUTH = "metric-truth"
MOST_SECONDS = 1800
MOST_SECONDS_SHORT = 180


@dataclasses.dataclass
class Proof:
    """A promise that was put to the proof."""

    promise: Promise
    stage: Stage
    verdict: Verdict
    seconds: float

    @property
    def line(self) -> str:
        return _line(self.promise.name, self.verdict)


async def prove(promise: Promise, seed: int, *, short: bool) -> Proof:
    """Play one promise; whatever goes wrong in between breaks it."""
    stage = Stage(promise.name, seed, short, DIRECTORY)
    _clear(promise)
    began = time.monotonic()
    try:
        async with asyncio.timeout(MOST_SECONDS_SHORT if short else MOST_SECONDS):
            verdict = await promise.play(stage)
    except Exception as error:  # noqa: BLE001 - the other promises are still to be seen
        verdict = Verdict([Figure(f"!{_innermost(error)!r}", "a result", kept=False)])
    proof = Proof(promise, stage, verdict, time.monotonic() - began)
    if verdict.kept and all(not audit for audit in stage.audits):
        _clear(promise)
    else:
        for number, upstream in enumerate(stage.upstreams):
            upstream.journal.write(DIRECTORY / f"{promise.name}-{number}.journal")
    print(f"{proof.seconds:6.1f} s  {proof.line}", file=sys.stderr, flush=True)  # noqa: T201 - for who waits
    return proof


async def prove_all(promises: list[Promise], seed: int, *, short: bool) -> list[Proof]:
    """One after the other, so that none spoils the figures of another; in short the patient run beside them."""
    beside = [promise for promise in promises if short and promise.patient]
    async with asyncio.TaskGroup() as group:
        patient = [group.create_task(prove(promise, seed, short=short)) for promise in beside]
        proofs = [await prove(promise, seed, short=short) for promise in promises if promise not in beside]
    proofs += [task.result() for task in patient]
    return sorted(proofs, key=lambda proof: promises.index(proof.promise))


def _clear(promise: Promise) -> None:
    """Take away what an earlier experiment, or a good one, has left to look at."""
    for kind in ("log", "journal"):
        for file in DIRECTORY.glob(f"{promise.name}-*.{kind}"):
            file.unlink()


def ordered() -> list[Promise]:
    """The promises in the order of their families."""
    return [promise for family in FAMILIES for promise in ALL.values() if promise.play.__module__ == family.__name__]


def truth(proofs: list[Proof]) -> Verdict:
    """What the metrics said after all of these."""
    verdict = Verdict()
    audits = [(proof.promise.name, audit) for proof in proofs for audit in proof.stage.audits]
    lies = [f"{name}: {audit}" for name, audit in audits if audit]
    verdict.exactly(f"of {len(audits)} audits differ {'; '.join(lies)}".strip(), len(lies), 0)
    return verdict


def report(verdicts: dict[str, Verdict], seed: int) -> bool:
    """Print the lines and write them to a file; whether all are kept."""
    for name, verdict in verdicts.items():
        print(_line(name, verdict))  # noqa: T201 - what the command is for
    facts = {name: {"kept": verdict.kept, **dataclasses.asdict(verdict)} for name, verdict in verdicts.items()}
    DIRECTORY.with_suffix(".json").write_text(json.dumps({"seed": seed, "promises": facts}, indent=1) + "\n")
    return all(verdict.kept for verdict in verdicts.values())


def _line(name: str, verdict: Verdict) -> str:
    figures = "; ".join(f"{figure.text} ({figure.bound})" for figure in verdict.figures)
    return f"{'kept' if verdict.kept else 'broken':6}  {name:22}  {figures}"


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main() -> int:
    parser = argparse.ArgumentParser(prog="promises", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=ALL, help="these promises")
    parser.add_argument("--without", nargs="+", metavar="NAME", choices=ALL, default=(), help="all but these")
    parser.add_argument("--short", action="store_true", help="smaller numbers, for every day")
    parser.add_argument("--seed", type=int, default=4, help="what chance depends on (%(default)s)")
    parser.add_argument("--list", action="store_true", help="say what is promised")
    chosen = parser.parse_args()
    promises = [one for one in ordered() if one.name not in chosen.without and one.name in (chosen.only or ALL)]
    if chosen.list:
        for promise in promises:
            print(f"{promise.name:22}  {promise.sentence}")  # noqa: T201 - what it is for
        return 0
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        proofs = runner.run(prove_all(promises, chosen.seed, short=chosen.short))
    verdicts = {proof.promise.name: proof.verdict for proof in proofs}
    if any(proof.stage.audits for proof in proofs):
        verdicts[TRUTH] = truth(proofs)
    return 0 if report(verdicts, chosen.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
