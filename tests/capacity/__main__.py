"""`make capacity`: simulate, print the table, and write it into the page."""

import logging
import sys

import structlog

from tests.capacity import table

if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))  # 1,000 servers log
    lines = list(table.rows())
    sys.stdout.write("\n".join([*lines, ""]))
    table.write(lines)
