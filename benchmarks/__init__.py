"""Benchmarks of the gateway, its peers and its lower bound: `make bench`.

Everything runs on loopback. The measured program is pinned to core 0; load, upstream and this process share core 1.
The upstream is a compiled program that answers with canned replies. A rate counts correct answers only.
"""
