"""The scripted upstream of a case: rules that map requests to answers."""

import dataclasses
import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

from tests.conformance.replies import Reply
from tests.support.upstreams import Visit


@dataclasses.dataclass
class Rule:
    """An answer, and the requests to which it applies."""

    matches: bytes
    times: int
    answer: dict[str, Any]

    @classmethod
    def of(cls, spec: dict[str, Any]) -> "Rule":
        answer = {name: value for name, value in spec.items() if name not in ("for", "times")}
        return cls(spec.get("for", "").encode(), spec.get("times", -1), answer)


class Play:
    """Answers each request by the first rule that applies and is not used up; see README.md.

    Args:
        rules: the rules, as the case has them; without any, each reply answers the inputs of its modality.
        replies: the replies that they name.
        shut_down: ends the server as its operator would, and returns when it has begun to.

    Attributes:
        unexpected: how many requests no rule was for.
        unanswered: requests that got no answer.
    """

    def __init__(
        self, rules: list[dict[str, Any]] | None, replies: dict[str, Reply], shut_down: Callable[[], Awaitable[None]]
    ) -> None:
        if rules is None:
            rules = [{"for": f'name="{reply.modality}', "reply": name} for name, reply in replies.items()]
        self._rules = [Rule.of(rule) for rule in rules]
        self._replies = replies
        self._shut_down = shut_down
        self.unexpected = 0
        self.unanswered: list[Visit] = []

    async def __call__(self, visit: Visit) -> None:
        for rule in self._rules:
            if rule.times and rule.matches in visit.body:
                rule.times -= 1
                await self._answer(visit, rule.answer)
                return
        self.unexpected += 1
        await visit.answer(b"no rule of the case is for this request", 500)

    async def _answer(self, visit: Visit, answer: dict[str, Any]) -> None:
        if "reply" in answer:
            await self._reply(visit, self._replies[answer["reply"]], answer)
        elif "status" in answer:
            body = answer["json"] if "json" in answer else answer.get("text", "").encode()
            await visit.answer(body, answer["status"], **answer.get("headers", {}))
        await self._end(visit, answer)

    async def _reply(self, visit: Visit, reply: Reply, answer: dict[str, Any]) -> None:
        await visit.head(200, len(reply.body), **answer.get("headers", {}))
        sent = reply.ends[answer["segments"] - 1] + 1 if "segments" in answer else len(reply.body)
        await visit.send(reply.body[:sent])
        if answer.get("then") == "shut down and finish":
            await self._shut_down()
            await visit.send(reply.body[sent:])

    async def _end(self, visit: Visit, answer: dict[str, Any]) -> None:
        then = answer.get("then")
        if then == "shut down and hang":
            await self._shut_down()
        if then in ("hang", "shut down and hang"):
            self.unanswered.append(visit)
            await visit.gone()
        elif then == "close":
            visit.writer.close()


def received(visit: Visit) -> dict[str, Any]:
    """Return the parts of a request as cases compare them: texts as they are, files by length and hash."""
    boundary = visit.headers["content-type"].partition("boundary=")[2].encode()
    parts: dict[str, Any] = {}
    for piece in visit.body.split(b"--" + boundary)[1:-1]:
        head, _, content = piece[2:].partition(b"\r\n\r\n")
        content = content[:-2]
        name = re.search(rb'name="([^"]*)"', head)
        file_name = re.search(rb'filename="([^"]*)"', head)
        assert name is not None
        if file_name is None:
            parts[name[1].decode()] = content.decode()
            continue
        media_type = head.partition(b"Content-Type: ")[2]
        parts[name[1].decode()] = {
            "file_name": file_name[1].decode(),
            "media_type": media_type.decode(),
            "length": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    return parts
