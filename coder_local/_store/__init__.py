"""The store: one writer, readers that never wait for it, one transaction for everything that belongs together.

An answered command has survived `kill -9` and a power cut (`synchronous=FULL`): the answer follows the commit.
"""
