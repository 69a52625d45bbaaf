"""Shutdown and rolling restart."""

import asyncio
import itertools
import json
import sys
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.messages import request, url_input
from tests.support.ports import held_port
from tests.system.answers import segments, slow
from tests.system.callers import Callers, Outcome, closed_loop, names
from tests.system.experiment import Experiment, guarantee
from tests.system.replicas import Replica
from tests.system.server import SERVICE
from tests.system.upstream import Answer
from tests.system.verdict import Verdict

STREAMS, SEGMENTS = 100, 12
DRAIN_DELAY = 1.0
_ROUND_ROBIN = ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]}))


@guarantee("sigterm")
async def streams_outlive_the_signal(experiment: Experiment) -> Verdict:
    """After SIGTERM all running streams complete, an open health Watch delays nothing, and the exit code is 0."""
    seconds = experiment.scaled(6.0, 3.0)
    answer = Answer("200", segments(SEGMENTS, seconds))
    async with (
        experiment.upstream(lambda _: answer) as upstream,
        experiment.server(
            upstream.base_url,
            concurrency_inputs_per_modality=STREAMS,
            shutdown_grace_period=30,
            shutdown_delay=DRAIN_DELAY,
        ) as server,
        Callers.connected(server.target) as callers,
    ):
        watch = asyncio.create_task(_watched(server.target))
        streams = [asyncio.create_task(_stream(callers, name)) for name in names(STREAMS)]
        for name in names(STREAMS):
            await upstream.journal.arrival(f"http://media.test/{name}")
        began = time.monotonic()
        exit_ = asyncio.create_task(server.terminate(30))
        await asyncio.sleep(DRAIN_DELAY + 0.5)
        late = await callers.embed("late", 5)
        outcomes = await asyncio.gather(*streams)
        code = await exit_
        took = time.monotonic() - began
        complete = sum(one.code == "OK" and one.segments == SEGMENTS and one.is_answered_once for one in outcomes)
        longest = max(outcome.seconds for outcome in outcomes)
        verdict = Verdict()
        verdict.exactly(f"of {STREAMS} streams complete", complete, STREAMS)
        verdict.exactly("exit code", code, 0)
        verdict.at_most("s to the exit", took, longest + DRAIN_DELAY + 1, "{:.2f}")
        verdict.exactly("for a late call", late.code, "UNAVAILABLE")
        verdict.exactly("watched", await watch, ["SERVING", "NOT_SERVING"])
    return verdict


async def _stream(callers: Callers, name: str) -> Outcome:
    return await callers.embed(request(url_input("audio", f"http://media.test/{name}")), name=name)


async def _watched(target: str) -> list[str]:
    """Return the statuses that a health Watch receives until it ends."""
    async with grpc.aio.insecure_channel(target) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        status = health_pb2.HealthCheckResponse.ServingStatus
        return [status.Name(answer.status) async for answer in watch]


@guarantee("rolling-restart")
async def replicas_restart_under_load(experiment: Experiment) -> Verdict:
    """While two replicas are restarted one by one, a round-robin client that waits for ready ones sees no failure."""
    with held_port() as first, held_port() as second:
        return await _restarted_under_load(experiment, [first, second])


async def _restarted_under_load(experiment: Experiment, ports: list[int]) -> Verdict:
    least = experiment.scaled(10_000, 1_500)
    rounds = experiment.scaled(3, 1)
    target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    async with experiment.upstream(slow(0.02)) as upstream, Callers.connected(target, 2, _ROUND_ROBIN) as callers:
        replicas = [Replica(experiment, upstream.base_url, port, shutdown_delay=0.5) for port in ports]
        try:
            for replica in replicas:
                await replica.start()
            restarting = asyncio.create_task(_restart_one_by_one(replicas, rounds))
            load = itertools.takewhile(
                lambda _: len(callers.outcomes) < least or not restarting.done(), names(sys.maxsize)
            )
            await closed_loop(load, 12, lambda name: callers.embed(name, 30, wait_for_ready=True))
            await restarting
        finally:
            for replica in replicas:
                await replica.kill()
    verdict, count = Verdict(), len(callers.outcomes)
    failed = [f"{one.code} {one.reason} {one.message}" for one in callers.outcomes if one.code != "OK"]
    verdict.exactly(f"of {count} calls failed {' '.join(sorted(set(failed)))}".strip(), len(failed), 0)
    verdict.exactly("calls answered once", sum(one.is_answered_once for one in callers.outcomes), count)
    verdict.exactly("exit codes", [code for replica in replicas for code in replica.codes], [0] * 2 * rounds)
    return verdict


async def _restart_one_by_one(replicas: list[Replica], rounds: int) -> None:
    for _ in range(rounds):
        for replica in replicas:
            await asyncio.sleep(0.5)
            await replica.restart()
            await asyncio.sleep(1.0)  # a rollout waits until clients have found the new one
