"""The configuration: settings, where they come from, how they are checked and read again."""
