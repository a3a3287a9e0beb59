"""The only code that runs commands, opens sockets and writes files.

Everything else asks for it through the two protocols of ``port``: a
``Reader`` looks, a ``Writer`` changes. ``machine`` is the real host.
"""
