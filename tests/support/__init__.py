"""What the tests share: servers, upstreams, messages, media."""
