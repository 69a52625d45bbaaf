"""Secrets and content of callers must not be disclosed."""

import asyncio
import json
import re
import subprocess
import sys
from typing import Any

from tests.support.messages import file_input, request, text_input, url_input
from tests.support.ports import NO_SERVER
from tests.support.serving import settings_of
from tests.system.answers import always, good, http
from tests.system.broken_answers import answers
from tests.system.callers import Callers, Metadata, Outcome
from tests.system.experiment import Experiment, guarantee
from tests.system.upstream import Answer, Asked, Ending
from tests.system.verdict import Verdict
from tests.system.watched import EXPLOSIVE

# Canaries in place of secrets: `KEY` is the server's, the others are the caller's.
KEY, OWN_KEY = "canary-key-7391", "canary-ownkey-7391"
TEXT, QUERY, FILE, NAME = "canary-text-7391", "canary-query-7391", b"canary-file-7391", "canary-name-7391"
_SETTINGS: dict[str, Any] = {"upstream": f"http://{NO_SERVER}", "api_key": KEY}
_CANARY = re.compile(r"canary-(\w+)-7391")


def echo(status: int) -> Any:
    """Run an upstream that returns all that it receives, also in member names and headers."""

    def script(asked: Asked) -> Answer:
        heard = (asked.head + asked.body).decode(errors="replace")
        body = json.dumps({"code": "parameter_invalid", "message": heard[:3000], "docs_url": heard[-200:]})
        key = re.search(rb"x-api-key: (\S+)", asked.head, re.IGNORECASE)
        return Answer("echo", [http(status, body.encode(), f"X-RateLimit-Limit: {key[1].decode() if key else ''}")])

    return script


@guarantee("secrets")
async def secrets_are_not_disclosed(experiment: Experiment) -> Verdict:
    """At log level debug, on every path of failure, keys reach no caller, and callers' content no log or metric."""
    scripts = {kind: script for kind, (script, _) in (await answers()).items()}
    scripts |= {f"echo {status}": echo(status) for status in (200, 400, 401, 403, 404, 429, 500, 503)}
    scripts |= {"good": good, "hang": always("hang", Ending.HANG)}
    settings: dict[str, Any] = {
        "key": KEY,
        "log_level": "debug",
        "log_format": "text",
        "auth_allow_caller_api_keys": True,
    }
    async with experiment.environment(good, **settings) as (upstream, server, callers):
        for kind, script in scripts.items():
            upstream.script = script
            await asyncio.gather(*(_everything(callers, kind, metadata) for metadata in ((), _own_key(kind))))
        answered = "\n".join(_answer_text(outcome) for outcome in callers.outcomes)
        public = {"log": server.log.read_text(), "metrics": await server.metrics()}
        public |= {"config": _config(), "repr": repr(settings_of(**_SETTINGS))}
        verdict = Verdict()
        verdict.at_least("calls", len(callers.outcomes), 200)
        verdict.at_least("failures", sum(one.code != "OK" for one in callers.outcomes), 200)
        found = [f"{canary} in the {place}" for place, text in public.items() for canary in set(_CANARY.findall(text))]
        found += [f"{canary} in a reply" for canary in set(_CANARY.findall(answered)) & {"key", "ownkey"}]
        verdict.at_most(f"secrets disclosed {' '.join(found)}".strip(), len(found), 0)
        verdict.at_least("exceptions with secrets in them", public["log"].count("RuntimeError"), 10)
    return verdict


def _own_key(kind: str) -> Metadata:
    return (("x-upstream-api-key", f"{OWN_KEY}-{kind.replace(' ', '-')}"), ("x-request-id", f"bad id {TEXT}"))


async def _everything(callers: Callers, kind: str, metadata: Metadata) -> None:
    """Send each kind of content, in calls that the upstream, the server or the caller ends."""
    url = f"http://media.test/a.png?signature={QUERY}"
    inputs = [text_input(TEXT), url_input("image", url), file_input("image", FILE, NAME), text_input(EXPLOSIVE + TEXT)]
    requests = [request(item, max_retries=0) for item in inputs]
    requests += [request(inputs[0], model=f"{TEXT}"), request(url_input("audio", f"ftp://{QUERY}")), request(*inputs)]
    timeout = 0.3 if "hang" in kind else 10
    calls = [callers.embed(asked, timeout, name=kind, metadata=metadata) for asked in requests]
    await asyncio.gather(*calls, callers.embed(requests[0], name=kind, metadata=metadata, cancel_after=0.01))


def _answer_text(outcome: Outcome) -> str:
    return f"{outcome.message} {outcome.trailers}"


def _config() -> str:
    """Return the output of the command `config`."""
    command = ["env", f"TWELVELABS_API_KEY={KEY}", sys.executable, "-m", "embedwire_server", "config", "show"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
