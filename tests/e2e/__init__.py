"""Tests of whole servers and clients, over real sockets."""
