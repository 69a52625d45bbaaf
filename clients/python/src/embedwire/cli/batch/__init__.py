"""The subcommand `embedwire batch`. All modules but `command` and `options` need the extra `embedwire[batch]`."""
