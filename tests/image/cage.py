"""Restrictions of the server in its container."""

import asyncio
from pathlib import Path

from tests.image.container import MEMORY_MIB, PROCESSES, SPOOL, UID
from tests.image.stage import Stage, check
from tests.system.verdict import Verdict

_WRITING = f"""
import json, os
def refused(path):
    try:
        open(os.path.join(path, "probe"), "w").close()
    except OSError as error:
        return type(error).__name__ if error.errno not in (13, 30) else ""
    return "written"
paths = ["/", "/etc", "/opt/embedwire/bin", "/root", "/home", "/run", "/tmp", "/usr/bin", "/var/lib", "/var/tmp"]
written = [path for path in paths if refused(path)]
open("{SPOOL}/probe", "w").close()
os.unlink("{SPOOL}/probe")
print(json.dumps([len(paths), written]))
"""


@check("rights")
async def its_rights(stage: Stage) -> Verdict:
    """It runs as an unprivileged user, has no capability and gains none, and can write only to its spool."""
    async with stage.container() as container:
        paths, written = await container.python(_WRITING)
        verdict = Verdict()
        for kind in ("Uid", "Gid", "Groups"):
            verdict.exactly(f"is its {kind.lower()}", " ".join(set(container.status(kind).split())), str(UID))
        masks = {container.status(f"Cap{kind}").lstrip("0") for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
        verdict.exactly("capabilities", " ".join(masks) or "no", "no")
        verdict.exactly("for no new rights", container.status("NoNewPrivs"), "1")
        verdict.exactly("for filtered system calls", container.status("Seccomp"), "2")
        verdict.exactly(f"of {paths} paths can be written {' '.join(written)}".strip(), len(written), 0)
        verdict.exactly("MiB are its limit", int(container.cgroup("memory.max")) >> 20, MEMORY_MIB)
        verdict.exactly("processes are its limit", int(container.cgroup("pids.max")), PROCESSES)
    return verdict


@check("process-1")
async def process_1(stage: Stage) -> Verdict:
    """The server is process 1, without a shell in front of it."""
    async with stage.container() as container:
        command = Path(f"/proc/{container.pid}/cmdline").read_bytes().decode().split("\0")[:-1]
        verdict = Verdict()
        verdict.exactly("is its number inside", container.status("NSpid").split()[-1], "1")
        words = " ".join(Path(word).name for word in command)
        verdict.exactly("is what it runs", words, "python embedwire-server serve")
    return verdict


@check("unasked")
async def it_asks_what_its_upstream_is(stage: Stage) -> Verdict:
    """Without a key and an upstream it does not start, and names the settings to set."""
    ended = await asyncio.to_thread(
        stage.engine.in_container, "run", "--rm", "--network", "host", "--no-healthcheck", stage.image
    )
    verdict = Verdict()
    verdict.exactly("is its exit code", ended.returncode, 2)
    named = [word for word in ("TWELVELABS_API_KEY", "--upstream") if word in ended.stderr]
    verdict.exactly("of two ways out are named", len(named), 2)
    return verdict
