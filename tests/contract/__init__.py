"""The contract: likely additions of later versions are compatible, and an old protoc compiles it."""
