"""Checks the guarantees and prints one line for each: `make chaos`, `make soak`, `make test-system`."""

import argparse
import asyncio
import dataclasses
import json
import sys
import time
from pathlib import Path

import uvloop

from tests.system import (
    assets,
    batch,
    batch_load,
    batch_tasks,
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
    proxied_restarts,
    quotas,
    redis_faults,
    restarts,
    result_cache,
    retries,
    secrets,
    shared_quotas,
    soak,
)
from tests.system.experiment import ALL, Experiment, Guarantee
from tests.system.verdict import Figure, Verdict

FAMILIES = (
    retries,
    hints,
    quotas,
    shared_quotas,
    redis_faults,
    result_cache,
    endings,
    overload,
    half_open,
    restarts,
    proxied_restarts,
    hung_workers,
    assets,
    broken_answers,
    connections,
    broken_calls,
    secrets,
    labels,
    logs,
    batch,
    batch_tasks,
    batch_load,
    soak,
)
DIRECTORY = Path("build/guarantees")
TRUTH = "metric-truth"
MOST_SECONDS = 1800
MOST_SECONDS_SHORT = 600  # generous: a busy machine is no fault


@dataclasses.dataclass
class Result:
    """A guarantee that was checked."""

    guarantee: Guarantee
    experiment: Experiment
    verdict: Verdict
    seconds: float

    @property
    def line(self) -> str:
        return _line(self.guarantee.name, self.verdict)


async def check(guarantee: Guarantee, seed: int, *, short: bool) -> Result:
    """Run the experiment of one guarantee; an exception in it breaks the guarantee."""
    experiment = Experiment(guarantee.name, seed, short, DIRECTORY)
    _clear(guarantee)
    began = time.monotonic()
    try:
        async with asyncio.timeout(MOST_SECONDS_SHORT if short else MOST_SECONDS):
            verdict = await guarantee.run(experiment)
    except Exception as error:  # noqa: BLE001 - the other guarantees are checked all the same
        verdict = Verdict([Figure(f"!{_innermost(error)!r}", "a result", kept=False)])
    result = Result(guarantee, experiment, verdict, time.monotonic() - began)
    if verdict.kept and all(not audit for audit in experiment.audits):
        _clear(guarantee)
    else:
        for number, upstream in enumerate(experiment.upstreams):
            upstream.journal.write(DIRECTORY / f"{guarantee.name}-{number}.journal")
    print(f"{result.seconds:6.1f} s  {result.line}", file=sys.stderr, flush=True)  # noqa: T201 - progress
    return result


async def check_all(guarantees: list[Guarantee], seed: int, *, short: bool) -> list[Result]:
    """Check one after the other, since they load the machine; with `short`, those that wait run concurrently."""

    async def checked(guarantee: Guarantee) -> Result:
        return await check(guarantee, seed, short=short)

    patient = [guarantee for guarantee in guarantees if short and guarantee.patient]
    together = [guarantee for guarantee in guarantees if short and guarantee.together]
    async with asyncio.TaskGroup() as group:
        beside = [group.create_task(checked(guarantee)) for guarantee in patient]
        results = await asyncio.gather(*map(checked, together))
        results += [await checked(one) for one in guarantees if one not in patient and one not in together]
    results += [task.result() for task in beside]
    return sorted(results, key=lambda result: guarantees.index(result.guarantee))


def _clear(guarantee: Guarantee) -> None:
    """Remove the logs and journals of an earlier or a successful experiment."""
    for kind in ("log", "journal"):
        for file in DIRECTORY.glob(f"{guarantee.name}-*.{kind}"):
            file.unlink()


def ordered() -> list[Guarantee]:
    """The guarantees in the order of their families."""
    return [
        guarantee for family in FAMILIES for guarantee in ALL.values() if guarantee.run.__module__ == family.__name__
    ]


def truth(results: list[Result]) -> Verdict:
    """Return whether the metrics were right after all of these experiments."""
    verdict = Verdict()
    audits = [(result.guarantee.name, audit) for result in results for audit in result.experiment.audits]
    lies = [f"{name}: {audit}" for name, audit in audits if audit]
    verdict.exactly(f"of {len(audits)} audits differ {'; '.join(lies)}".strip(), len(lies), 0)
    return verdict


def report(verdicts: dict[str, Verdict], seed: int) -> bool:
    """Print the lines and write them to a file; return whether all guarantees are kept."""
    for name, verdict in verdicts.items():
        print(_line(name, verdict))  # noqa: T201 - the output of the command
    facts = {name: {"kept": verdict.kept, **dataclasses.asdict(verdict)} for name, verdict in verdicts.items()}
    DIRECTORY.with_suffix(".json").write_text(json.dumps({"seed": seed, "guarantees": facts}, indent=1) + "\n")
    return all(verdict.kept for verdict in verdicts.values())


def _line(name: str, verdict: Verdict) -> str:
    figures = "; ".join(f"{figure.text} ({figure.bound})" for figure in verdict.figures)
    return f"{'kept' if verdict.kept else 'broken':6}  {name:22}  {figures}"


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.system", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=ALL, help="check only these")
    parser.add_argument("--without", nargs="+", metavar="NAME", choices=ALL, default=(), help="leave these out")
    parser.add_argument("--short", action="store_true", help="smaller numbers, without the large ones")
    parser.add_argument("--seed", type=int, default=4, help="seed of the random numbers (%(default)s)")
    parser.add_argument("--list", action="store_true", help="list the guarantees")
    chosen = parser.parse_args()
    guarantees = [one for one in ordered() if one.name not in chosen.without and one.name in (chosen.only or ALL)]
    guarantees = [one for one in guarantees if not (chosen.short and one.large)]
    if chosen.list:
        for guarantee in guarantees:
            print(f"{guarantee.name:22}  {guarantee.sentence}")  # noqa: T201 - the output of the command
        return 0
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        results = runner.run(check_all(guarantees, chosen.seed, short=chosen.short))
    verdicts = {result.guarantee.name: result.verdict for result in results}
    if any(result.experiment.audits for result in results):
        verdicts[TRUTH] = truth(results)
    return 0 if report(verdicts, chosen.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
