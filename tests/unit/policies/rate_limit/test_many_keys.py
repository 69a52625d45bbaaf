"""Bounded state for callers' own upstream keys."""

import asyncio
import gc
import itertools
import weakref

import pytest

from embedwire_server.core.errors import UpstreamFailure
from embedwire_server.policies.rate_limit import policy
from tests.support.embed_calls import call, embedded, gathered, limited, start
from tests.support.virtual_time import in_virtual_time, now, settled
from tests.unit.policies.rate_limit.support import OK, Bench

MANY = policy.MAX_LIMITERS + 100


@in_virtual_time
async def test_many_keys() -> None:
    """The number of keys with state is bounded, and the server's own key is never evicted."""
    bench = Bench(script=OK)
    await embedded(bench.limited_upstream, call())
    own = weakref.ref(bench.limiters.of(call()))
    for number in range(MANY):
        await embedded(bench.limited_upstream, call(credential=f"k{number}"))
    count = bench.remembered()

    assert count <= policy.MAX_LIMITERS
    assert own() is not None
    bench.limiters.of(call(credential=f"k{MANY - 1}"))
    assert bench.remembered() == count


@in_virtual_time
async def test_many_keys_that_wait() -> None:
    """Keys with waiting calls are not evicted, whatever their number; afterwards they are."""
    bench = Bench()
    bench.upstream.script = lambda attempt: attempt.fail(limited(60))
    count = policy.MAX_LIMITERS + 10
    await gathered(start(bench.limited_upstream, *[call(credential=f"k{number}") for number in range(count)]))
    waiting = start(bench.limited_upstream, *[call(credential=f"k{number}") for number in range(count)])
    await settled()
    bench.upstream.script = OK
    await gathered(start(bench.limited_upstream, call(credential="new")))
    await gathered(waiting)
    for number in range(50):
        await embedded(bench.limited_upstream, call(credential=f"later{number}"))

    assert bench.remembered() <= policy.MAX_LIMITERS + 11


@pytest.mark.parametrize("hint", [None, 0.01, 60.0])
@in_virtual_time
async def test_invented_keys(hint: float | None) -> None:
    """A host that sends a new key with each request cannot evade the back-off."""
    bench = Bench()
    bench.upstream.script = lambda attempt: attempt.fail(limited(hint))
    keys = itertools.count()

    async def persistent() -> None:
        while now() < 60:
            with pytest.raises(UpstreamFailure):
                await embedded(bench.limited_upstream, call(credential=f"k{next(keys)}"))

    await asyncio.gather(*(persistent() for _ in range(64)))

    assert sum(at < 60 for at in bench.times) < 60 * (policy.MAX_LIMITED_CREDENTIALS + 1) + 64
    assert bench.remembered() <= policy.MAX_LIMITERS


@in_virtual_time
async def test_invented_keys_stop_their_host_only() -> None:
    """While too many keys of one host are in back-off, its older keys and new keys of other hosts are not delayed."""
    bench = Bench(script=OK)
    await embedded(bench.limited_upstream, call(credential="old"))
    bench.upstream.script = lambda attempt: attempt.fail(limited(60))
    await gathered(
        start(
            bench.limited_upstream,
            *[call(credential=f"k{number}") for number in range(policy.MAX_LIMITED_CREDENTIALS + 1)],
        )
    )
    bench.upstream.script = OK
    held = start(bench.limited_upstream, call(credential="new"))
    await gathered(
        start(bench.limited_upstream, call(credential="old"), call(), call(credential="new too", caller=("other", "1")))
    )
    assert now() == 0
    await gathered(held)

    assert 1 <= now() <= 1.2  # not the 60 s back-off of another key


@in_virtual_time
async def test_key_in_back_off_is_evicted_last() -> None:
    """A key in back-off is not evicted before keys that are not."""
    bench = Bench()
    await bench.answered(call(credential="held"), limited(3600))
    bench.upstream.script = OK
    for number in range(MANY):
        await embedded(bench.limited_upstream, call(credential=f"k{number}"))
    [waiting] = start(bench.limited_upstream, call(credential="held"))
    await settled()
    assert not waiting.done()
    waiting.cancel()
    await gathered([waiting])


@in_virtual_time
async def test_evicted_key_leaves_no_timer() -> None:
    """After the last waiting call of a key is cancelled, no timer of a back-off keeps its limiter alive."""
    bench = Bench()
    await bench.answered(call(credential="a"), limited(3600))
    waiting = start(bench.limited_upstream, call(credential="a"))
    await settled()
    waiting[0].cancel()
    await gathered(waiting)
    gc.collect()

    loop: object = asyncio.get_running_loop()
    assert [timer for timer in vars(loop)["_scheduled"] if not timer.cancelled()] == []
