"""The metrics show what remains of configured limits, and of the quota that the upstream reports."""

from embedwire_server.config.settings import Settings
from tests.e2e.policies.support import Steps, answered
from tests.support.messages import request, text_input
from tests.support.serving import Scripted, Served, settings_of
from tests.support.upstreams import Visit, reply

AMOUNT, REMAINING = "embedwire_rate_limit_amount", "embedwire_rate_limit_remaining"


def limits(served: Served, modality: str, limit: str) -> tuple[float, float]:
    """Return what remains of a limit, and the limit."""
    return served.metric(REMAINING, modality=modality, limit=limit), served.metric(
        AMOUNT, modality=modality, limit=limit
    )


async def test_configured_limits(scripted: Scripted) -> None:
    """Each call takes one of its modality's requests; before the first, all are left."""
    settings = {"rate_limits_text_requests_per_day": 10, "rate_limits_image_requests_per_minute": 5}
    async with scripted(Steps(), **settings) as (served, _):
        before = limits(served, "text", "text requests per day")
        for _ in range(3):
            await answered(served)

        assert before == (10, 10)
        assert limits(served, "text", "text requests per day") == (7, 10)
        assert limits(served, "image", "image requests per minute") == (5, 5)


async def test_changed_limits(scripted: Scripted) -> None:
    """A limit that a reload changes keeps its usage; one that is gone is not shown any more."""
    settings = {"rate_limits_text_requests_per_day": 10, "rate_limits_image_requests_per_day": 5}
    async with scripted(Steps(), **settings) as (served, upstream):
        await answered(served)
        changed: Settings = settings_of(upstream=upstream.base_url, rate_limits_text_requests_per_day=20)
        served.app.reload(changed)

        assert limits(served, "text", "text requests per day") == (19, 20)
        assert 'limit="image requests per day"' not in served.metrics()


async def test_the_quota_that_the_upstream_reports(scripted: Scripted) -> None:
    """It is that of the last response for the server's own key; that of a caller's key is ignored."""
    left = iter((99, 98, 50))

    async def script(visit: Visit) -> None:
        of_quota = {"limit": "100", "remaining": str(next(left)), "reset": "60"}
        await visit.answer(reply(), 200, **{f"x-ratelimit-{name}": value for name, value in of_quota.items()})

    async with scripted(script, auth_allow_caller_api_keys=True) as (served, _):
        assert REMAINING not in {line.partition("{")[0] for line in served.metrics().splitlines()}
        await answered(served)
        await answered(served)
        own = limits(served, "text", "upstream")
        call = served.stub.CreateEmbedding(request(text_input()), metadata=[("x-upstream-api-key", "key-of-a-caller")])
        assert [message async for message in call]

        assert own == (98, 100)
        assert limits(served, "text", "upstream") == own
