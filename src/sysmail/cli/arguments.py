"""The arguments of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn, Optional

from sysmail import __version__
from sysmail.errors import UsageError
from sysmail.policy import KEYS

__all__ = ["COMMANDS", "parse_arguments", "policy_flags"]

COMMANDS = {
    "plan": "what apply would change, and why (exit 0: nothing, 2: changes)",
    "apply": "bring the policy into force and prove it",
    "prove": "check every promise on this host (exit 0, 1 broken, 3 unknown)",
    "status": "route, queue and what left lately",
    "trace": "what happened to a message (exit 0 delivered, 1 failed, 3 waiting or unknown)",
    "watch": "one run of the watch: tell, not by mail, when something is wrong",
    "queue": "list, show ID, release ID, delete ID, flush",
    "rollback": "back to how the host was before the last apply",
    "remove": "back to how the host was before the first apply",
    "recover": "undo what was cut off, as every command does first, and a unit at boot",
    "try": "show it on this host with real mail, and put the host back",
}

_EPILOG = """\
Without --policy, /etc/sysmail/policy.toml or policy.json is read if it is there.
Exit codes: 64 for bad usage or a bad policy, 77 when not permitted.
"""


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ours: code 64, and nothing printed here."""

    def error(self, message: str) -> NoReturn:
        raise UsageError("usage", message, f"see `{self.prog} --help`")


_SWITCHES = {
    "status": ("--prometheus", "print metrics for node_exporter's textfile collector"),
    "watch": ("--quiet", "print nothing when all is well"),
}


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments as a namespace with ``command``. UsageError for what cannot be used."""
    parser = _Parser(
        prog="sysmail",
        description="Outbound mail on localhost:25, and the proof that it works.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"sysmail {__version__}")
    _common(parser, top=True)
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", parser_class=_Parser, prog="sysmail"
    )
    # Where the first word is a command, nobody asks for the others: each parser takes its time.
    named = argv[:1] if argv and argv[0] in COMMANDS else COMMANDS
    for name in named:
        summary = COMMANDS[name]
        sub = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        if name in argv:  # what is not named is not parsed
            _common(sub, top=False)
            _own(sub, name)
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        raise UsageError("usage", "no command was given", "see `sysmail --help`")
    return arguments


def _own(sub: argparse.ArgumentParser, name: str) -> None:
    """The arguments of one command alone."""
    if name in _SWITCHES:
        switch, said = _SWITCHES[name]
        sub.add_argument(switch, action="store_true", help=said)
    if name in ("plan", "apply"):
        sub.add_argument(
            "--adopt", action="store_true", help="replace a mail server that is there already"
        )
    if name == "apply":
        sub.add_argument(
            "--acknowledge-losses",
            action="store_true",
            help="notices that were lost up to now are known",
        )
    if name == "trace":
        sub.add_argument("id", metavar="ID", help="queue id, Message-ID or recipient")
        sub.add_argument(
            "--log",
            metavar="FILE",
            default="",
            help="look in this log and those rotated from it",
        )
    if name == "prove":
        sub.add_argument(
            "--to",
            metavar="ADDRESS",
            default="",
            help="also send a message there through every entrance, and follow each",
        )
        sub.add_argument(
            "--arrival",
            action="store_true",
            help="also look for these messages in the login's mailbox, and remove them",
        )
        sub.add_argument(
            "--bounce",
            action="store_true",
            help="also send messages that must fail, and follow the notices to admin",
        )
        _deliverability(sub)
    if name in ("rollback", "remove"):
        sub.add_argument(
            "--force", action="store_true", help="also over files that were edited since"
        )
    if name == "queue":
        sub.add_argument(
            "action",
            nargs="?",
            default="list",
            choices=("list", "show", "release", "delete", "flush"),
        )
        sub.add_argument("ids", nargs="*", metavar="ID", help="queue ids, or all")


def _deliverability(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--deliverability",
        action="store_true",
        help="also check port 25, reverse DNS, SPF, DKIM, DMARC and blocklists (next hop direct)",
    )
    parser.add_argument(
        "--address",
        metavar="IP",
        action="append",
        default=[],
        help="the address that others see, behind NAT; one of each family",
    )
    parser.add_argument(
        "--dkim-selector",
        metavar="SELECTOR",
        action="append",
        default=[],
        help="a selector that mail is signed with, where it cannot be found out",
    )


def _common(parser: argparse.ArgumentParser, top: bool) -> None:
    """Options that may stand before or after the command."""
    absent: object = "" if top else argparse.SUPPRESS
    parser.add_argument("--policy", metavar="FILE", default=absent, help="the policy to use")
    parser.add_argument(
        "--json",
        action="store_true",
        default=False if top else argparse.SUPPRESS,
        help="print the report as JSON",
    )
    group = parser.add_argument_group("keys of the policy")
    for key in KEYS:
        if key.flag:
            group.add_argument(
                key.flag,
                dest=f"key_{key.name}",
                metavar=key.name.upper(),
                default=None if top else argparse.SUPPRESS,
                help=key.doc.partition(". ")[0],
            )


def policy_flags(arguments: argparse.Namespace) -> dict[str, Optional[object]]:
    """The keys of the policy that were given as flags, by dotted name."""
    return {
        name[len("key_") :]: value
        for name, value in vars(arguments).items()
        if name.startswith("key_") and value is not None
    }
