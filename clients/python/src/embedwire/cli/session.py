"""What `embed` and `plot` have in common: the call that their options describe."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from embedwire.cli import terminal
from embedwire.cli.call import Outcome, Request, Shower, connected, follow
from embedwire.cli.inputs import Given, Opening
from embedwire.cli.progress import Watch
from embedwire.inputs import Truncate


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The call of one command.

    Attributes:
        given: the inputs.
        start_offset: for audio.
        truncate: for texts.
        model: its name.
        timeout: seconds for everything.
        max_retries: as in `CallOptions`.
        target: the server.
        tls: whether to speak TLS.
        tls_ca: roots to trust; implies TLS.
        token: for the server.
    """

    given: Sequence[Given]
    start_offset: float | None
    truncate: Truncate | None
    model: str
    timeout: float | None
    max_retries: int | None
    target: str
    tls: bool
    tls_ca: Path | None
    token: str | None = dataclasses.field(repr=False)

    def perform(self, shower: Shower, screen: terminal.Screen) -> Outcome:
        """Make the call, with progress below whatever the screen shows.

        Raises:
            BadParameter: an option cannot be used.
        """
        with contextlib.ExitStack() as stack:
            watch = Watch(terminal.progress(screen), is_brief=terminal.is_piped())
            opening = Opening(stack, watch.sent, self.truncate, self.start_offset)
            request = Request(self.model, opening.inputs(self.given), self.names, self.max_retries)
            watch.expect(len(self.given), opening.files, opening.bytes)
            client = stack.enter_context(
                connected(self.target, self.tls_ca, self.token, self.timeout, tls=self.tls),
            )
            with watch:
                return follow(client, request, shower, watch)

    @property
    def names(self) -> list[str]:
        """What people call each input."""
        return [each.name for each in self.given]
