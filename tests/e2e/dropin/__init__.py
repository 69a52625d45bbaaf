"""Tests of the drop-in; the official SDK, on the same sandbox, is the judge of what it returns and raises."""
