"""The plan of a batch: `--dry-run`."""
