"""Rate limiting: the policy, a rate limiter per credential and modality, and sliding windows."""
