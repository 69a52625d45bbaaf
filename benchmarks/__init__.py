"""The gateway side by side with its peers and its floor: `make bench`.

Everything runs on loopback. What is measured is pinned to core 0; the load, the upstream and this process share core 1.
The upstream is a compiled program that answers with canned replies. A rate counts correct answers only.
"""
