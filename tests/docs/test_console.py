"""Commands of a console block, and the comparison of their output."""

import pytest

from tests.docs.console import Command, commands, difference


def test_commands_of_a_session() -> None:
    """A command continues after a backslash and on lines with `> `; the other lines are its output."""
    session = "$ cat a \\\n  b\none\n\ntwo\n$ echo '1\n> 2'\n1\n2\n"
    assert commands(session) == [Command("cat a \\\n  b", "one\n\ntwo\n"), Command("echo '1\n2'", "1\n2\n")]


def test_output_without_a_command() -> None:
    """A session that does not begin with a command is a fault of the page."""
    with pytest.raises(ValueError, match="begins with a command"):
        commands("valid\n")


@pytest.mark.parametrize(
    ("program", "shown", "printed", "agree"),
    [
        ("a", 'took "0.1s", id 0123456789abcdef\n', 'took "0.2s", id ffff456789abcdef  \n', True),
        ("a", "1\n...\n4\n", "1\n2\n3\n4\n", True),
        ("a", "1\n...\n4\n", "1\n2\n3\n", False),
        ("a", "1\n2\n", "2\n1\n", False),
        ("embedwire embed", "1\n2\n", "2\n1\n", True),
        ("embedwire embed", "1\n2\n", "2\n1\n3\n", False),
        ("client.stream(", "1\n...\n", "2\n1\n3\n", True),
        ("client.stream(", "1\n...\n4\n", "2\n1\n3\n", False),
        ("a", "", "1\n", False),
    ],
)
def test_comparison(program: str, shown: str, printed: str, *, agree: bool) -> None:
    """Durations and ids are ignored, and the order of a stream; every other difference is a fault of the page."""
    assert (difference(program, shown, printed) == "") == agree
