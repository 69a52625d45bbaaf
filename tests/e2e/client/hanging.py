"""An upstream that does not answer some texts."""

from tests.support.upstreams import ScriptedHttpServer, Visit, reply


async def hang(visit: Visit) -> None:
    """Never answer a text that begins with "slow"."""
    if b"slow" in visit.body:
        await visit.gone()
    else:
        await visit.answer(reply())


def slow(upstream: ScriptedHttpServer) -> list[Visit]:
    """The requests that are not answered."""
    return [visit for visit in upstream.visits if b"slow" in visit.body]
