"""What an operator wants of a host's mail, as plain values that cannot change.

A :class:`Policy` is only ever made by :mod:`sysmail.policy.load`, which has
checked every value by then; nothing here checks anything again. Durations are
whole seconds, sizes are bytes, and a text that is not set is ``""``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

__all__ = ["Alert", "Hop", "Limits", "Policy", "Queue", "Secret"]

_HIDDEN = "***"


class Secret:
    """A password that shows itself only to who asks for it by :meth:`reveal`.

    ``str``, ``repr`` and formatting give ``***``; JSON and pickle refuse it. So
    a log line, a diff or a traceback cannot tell it by accident.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the password itself."""
        return self._value

    def __repr__(self) -> str:
        return _HIDDEN

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return _HIDDEN

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._value)

    def __deepcopy__(self, _memo: object) -> Secret:
        # dataclasses.asdict() copies what it finds; a copy that is the same object tells nothing.
        return self

    def __reduce__(self) -> str:
        message = "a Secret is never written anywhere"
        raise TypeError(message)


@dataclass(frozen=True)
class Hop:
    """A server that mail is handed to: Mailu or another provider's smarthost.

    ``host`` is a name, or an IP address where no TLS is used. ``tls`` is
    ``implicit``, ``starttls`` or ``none``. At most one of the three sources of
    the password is set, and only together with ``username``. ``ca_file`` is
    ``""`` for the system's trust store.
    """

    host: str
    port: int = 465
    tls: str = "implicit"
    username: str = ""
    password_file: str = ""
    password_command: tuple[str, ...] = field(default=(), repr=False)
    password: Optional[Secret] = field(default=None, repr=False)
    ca_file: str = ""


@dataclass(frozen=True)
class Queue:
    """How long mail waits, in seconds; ``warn_after`` is 0 for no warning."""

    lifetime: int = 5 * 86400
    warn_after: int = 3600
    retry_every: int = 60


@dataclass(frozen=True)
class Alert:
    """Ways to tell somebody that mail itself is broken, and when; both may be unset.

    Many a chat service's webhook address is its own password, hence not in the
    ``repr``. ``command`` is a program and its arguments, run without a shell.
    ``oldest`` and ``proof_age`` are seconds, ``queue`` messages.
    """

    webhook: str = field(default="", repr=False)
    format: str = "json"
    telegram_chat: str = ""
    ca_file: str = ""
    command: tuple[str, ...] = field(default=(), repr=False)
    oldest: int = 3600
    queue: int = 1000
    proof_age: int = 7 * 86400

    @property
    def is_set(self) -> bool:
        """Whether anybody is told."""
        return bool(self.webhook or self.command)


@dataclass(frozen=True)
class Limits:
    """Bounds on what is accepted; ``message_size`` in bytes.

    ``runaway`` are the messages that one user or client may submit in ten minutes, 0 for any.
    """

    message_size: int = 50_000_000
    runaway: int = 1000


@dataclass(frozen=True)
class Policy:
    """Everything an operator can say about a host's outbound mail.

    ``route`` is ``auto``, ``mailu`` or ``relay``; ``next_hop`` is ``mailu``,
    ``smarthost``, ``direct``, ``hold``, or ``""`` for the default that follows
    from the rest. ``postfix`` holds extra main.cf parameters sorted by name;
    ``dict(policy.postfix)`` makes a mapping of it.
    """

    admin: str = ""
    hostname: str = ""
    sender: str = ""
    route: str = "auto"
    next_hop: str = ""
    mailu: Optional[Hop] = None
    smarthost: Optional[Hop] = None
    queue: Queue = Queue()
    alert: Alert = Alert()
    limits: Limits = Limits()
    postfix: tuple[tuple[str, str], ...] = ()
