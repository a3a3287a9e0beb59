"""The watch: what is wrong, who is told and when, and what that looks like on the wire.

Everything here is a pure function of plain data; ``commands.watch`` looks at the
host, and ``host`` posts and runs.
"""
