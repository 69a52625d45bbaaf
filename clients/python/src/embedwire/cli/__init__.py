"""The command `embedwire`: embeds, lists models, draws similarities. Needs the extra `embedwire[cli]`."""
