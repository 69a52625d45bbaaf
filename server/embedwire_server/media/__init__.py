"""Media content: memory accounting, uploads spooled to disk, audio duration."""
