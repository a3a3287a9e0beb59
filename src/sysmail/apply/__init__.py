"""Changing a host: as a transaction under a journal, and back again.

Nothing is imported here: who only looks at checkpoints does not load what changes hosts.
"""
