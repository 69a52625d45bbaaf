"""The command `embedwire`, with the subcommands embed, models and plot. Needs the extra `embedwire[cli]`."""
