"""The status page is read as lines of text."""

from tests.incidents import status_page

PAGE = """
<dl><dt>Uptime</dt><dd>{uptime} s</dd></dl>
<table><caption>Calls</caption>
<thead><tr><th>Reason</th><th>1 min</th><th>5 min</th></tr></thead>
<tbody><tr><th>OK</th><td>7</td><td>{calls}</td></tr>{rows}</tbody></table>
"""


def test_lines() -> None:
    """Rows of tables have the names of their columns; empty cells are left out."""
    page = PAGE.format(uptime=3, calls="\N{EN DASH}", rows="<tr><th>OVERLOADED</th><td>1</td><td>2</td></tr>")
    assert status_page.lines(page) == ["Uptime: 3 s", "OK: 1 min 7", "OVERLOADED: 1 min 1, 5 min 2"]


def test_news() -> None:
    """Lines that existed before are left out, and of lines that differ in numbers only, the first is kept."""
    before = status_page.lines(PAGE.format(uptime=3, calls=8, rows=""))
    failures = "".join(f"<tr><th>12:00:{second}</th><td>{second:016x}</td><td>x</td></tr>" for second in (10, 11))
    now = status_page.lines(PAGE.format(uptime=9, calls=8, rows=failures))
    assert status_page.news(before, now) == ["12:00:10: 1 min 000000000000000a, 5 min x"]


def test_other_numbers_are_last() -> None:
    """A line that has only other numbers comes after a new one."""
    now = ["OK: 1 min 9", "OVERLOADED: 1 min 1"]
    assert status_page.news(["OK: 1 min 7"], now) == ["OVERLOADED: 1 min 1", "OK: 1 min 9"]
