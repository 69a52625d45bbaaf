"""Rate limits: the policy, the limiter of each credential and modality, and sliding windows."""
