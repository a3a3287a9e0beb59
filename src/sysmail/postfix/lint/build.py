"""What Postfix cannot read, does not know, or does not have in this build."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from sysmail.postfix.lint.candidate import Candidate, Finding, seconds
from sysmail.postfix.lint.maps import FILE_SUFFIX, Table, tables

__all__ = ["RULES", "files_read", "indexed_tables"]

# postconf(1) of any version that sysmail takes prints far more: fewer are not the whole list.
_FEWEST = 400

# Types that every build has from Postfix 3.4 on (DATABASE_README).
_ALWAYS = frozenset(
    (
        *("cidr", "environ", "fail", "inline", "internal", "pipemap", "proxy", "randmap", "regexp"),
        *("socketmap", "static", "tcp", "texthash", "unionmap", "unix"),
    )
)
_NAMES_MAPS = re.compile(r".*(_maps|_checks|_database|_command_filter|_reply_filter)$")

# Parameters of a transport in master.cf, by what follows its name (postconf(5), transport_…).
_OF_TRANSPORT = re.compile(
    r"_(destination_(concurrency_(limit|failed_cohort_limit|(posi|nega)tive_feedback)"
    r"|recipient_limit|rate_delay)|initial_destination_concurrency|transport_rate_delay"
    r"|delivery_slot_(cost|discount|loan)|minimum_delivery_slots|(extra_)?recipient_limit"
    r"|recipient_refill_(limit|delay)|time_limit)$"
)
# A default of yes or no, or a number, and still other words are taken.
_OTHER_WORDS = re.compile(
    r".*_feedback|smtpd_forbid_bare_newline|.*_service_name|.*_transport|compatibility_level"
    r"|.*_version|.*_tcp_port|smtpd_tls_ask_ccert|smtp_tls_enable_rpk|.*_format"
)


def _unreadable(given: Candidate) -> Iterator[Finding]:
    """A line without ``=``, or a service without its eight columns, stops all of Postfix."""
    for line in given.odd:
        yield Finding(
            "line-not-readable",
            line.partition(":")[0],
            f"Postfix cannot read the line `{line.partition(': ')[2]}`, and does not start",
            "correct or remove that line",
        )


def _circular(given: Candidate) -> Iterator[Finding]:
    """A value that names itself stops every program of Postfix."""
    for name in given.main:
        if given.circular(name):
            yield Finding(
                "value-names-itself",
                name,
                "its value names itself, and no program of Postfix can start",
                f"write the value of {name} itself",
            )


def _twice(given: Candidate) -> Iterator[Finding]:
    """The last entry wins, and the one above it is what a reader sees."""
    for name in given.twice:
        yield Finding(
            "set-twice",
            name,
            "it is set twice, and the first value is not in force",
            "remove one of the two",
        )


def _unknown_names(given: Candidate) -> Iterator[Finding]:
    """A misspelt parameter: Postfix uses the default of the one that was meant."""
    postfix = given.facts.postfix
    if not given.settled or postfix is None or len(postfix.parameters) < _FEWEST:
        return
    # A name that only the main.cf in force has is no name that Postfix knows.
    used = {each for name in given.main for each in given.references(name)}
    for name in given.main:
        if name in postfix.parameters or name in used or _of_transport(given, name):
            continue
        near = difflib.get_close_matches(name[:60], list(postfix.parameters), n=1, cutoff=0.8)
        guess = f"did you mean {near[0]}?" if near else "look it up in postconf(5)"
        yield Finding(
            "unknown-parameter",
            name,
            "this Postfix has no such parameter: what it was to change stays at its default",
            f"correct the name, or remove it; {guess}",
        )


def _of_transport(given: Candidate, name: str) -> bool:
    found = _OF_TRANSPORT.search(name)
    transports = {service.name for service in given.services if service.kind == "unix"}
    return found is not None and name[: found.start()] in transports


def _undefined_references(given: Candidate) -> Iterator[Finding]:
    """``$name`` of something that does not exist is an empty text."""
    postfix = given.facts.postfix
    if not given.settled or postfix is None or len(postfix.parameters) < _FEWEST:
        return
    for name, value in given.main.items():
        if _takes_macros(name):
            continue
        for each in given.references(name):
            if each not in given.main and each not in postfix.parameters:
                yield Finding(
                    "unknown-reference",
                    name,
                    f"${each} in its value `{value[:60]}` is no parameter: it stands for nothing",
                    f"correct ${each}, or write the value itself",
                )


def _takes_macros(name: str) -> bool:
    """Values with macros of a program of their own: of pipe(8), milters, bounces and replies."""
    return "macro" in name or name.endswith(("_footer", "_reply", "_command", "_code", "_template"))


def _values(given: Candidate) -> Iterator[Finding]:
    """A number, a time or yes/no that is none: the program that reads it ends at its start."""
    postfix = given.facts.postfix
    if postfix is None:
        return
    for name in given.main:
        default = postfix[name] if name not in postfix.own else ""
        kind = _kind(name, default)
        value = given[name]
        if kind and "$" not in value and not _is_of(kind, value):
            yield Finding(
                "value-not-readable",
                name,
                f"`{value[:60]}` is not {kind}: the programs that read it end at their start, and "
                "mail stays where it is",
                f"write {kind}; the default is {default}",
            )


def _kind(name: str, default: str) -> str:
    if _OTHER_WORDS.fullmatch(name):
        return ""
    if default in ("yes", "no"):
        return "yes or no"
    if re.fullmatch("[0-9]{1,10}[smhdw]", default):
        return "a time"
    return "a whole number" if re.fullmatch("-?[0-9]{1,10}", default) else ""


def _is_of(kind: str, value: str) -> bool:
    if kind == "yes or no":
        return value.lower() in ("yes", "no")
    if kind == "a time":
        return 0 <= seconds(value, "s") < 2**31
    return re.fullmatch("-?[0-9]{1,10}", value) is not None and abs(int(value)) < 2**31


def _map_types(given: Candidate) -> Iterator[Finding]:
    """A type that this build lacks: the program that opens the table ends, and mail stays."""
    postfix = given.facts.postfix
    known = set(postfix.map_types) if postfix is not None and given.settled else set()
    if not known:
        return
    for name, table in _named(given):
        if table.kind not in known | _ALWAYS:
            yield Finding(
                "map-type-not-there",
                name,
                f"this build of Postfix has no tables of type {table.kind} (postconf -m): what "
                "reads it ends, and mail is deferred or refused",
                "use a type that `postconf -m` lists, such as regexp or texthash, or install the "
                f"package of your distribution that brings {table.kind}",
            )
    kind = given["default_database_type"] if "default_database_type" in given.main else ""
    if kind and kind not in known:
        yield Finding(
            "map-type-not-there",
            "default_database_type",
            f"this build of Postfix has no tables of type {kind} (postconf -m)",
            "remove it: the build's own default is right",
        )


def _map_files(given: Candidate) -> Iterator[Finding]:
    """A table whose file is not there: the program that opens it ends, and mail stays."""
    for name, table in _named(given):
        path = _file(table)
        if path and path not in given.tables and path in given.missing:
            made = "" if path == table.name else f"; `postmap {table.kind}:{table.name}` makes it"
            yield Finding(
                "map-file-missing",
                name,
                f"there is no {path}: what reads it ends, and mail is deferred or refused",
                f"write that file, or remove {name}{made}",
            )


def files_read(given: Candidate) -> Iterator[str]:
    """The files of the tables that main.cf and master.cf name."""
    for _, table in _named(given):
        path = _file(table)
        if path:
            yield path


def indexed_tables(given: Candidate) -> Iterator[tuple[Table, str]]:
    """The tables that postmap(1) makes an index of, each with that index's path."""
    found = {table: _file(table) for _, table in _named(given)}
    return ((table, path) for table, path in found.items() if path and path != table.name)


def _file(table: Table) -> str:
    known = table.kind in FILE_SUFFIX and table.name.startswith("/")
    return table.name + FILE_SUFFIX[table.kind] if known else ""


def _named(given: Candidate) -> Iterator[tuple[str, Table]]:
    """Every table, with the parameter that names it."""
    values = [(name, given[name]) for name in given.main]
    values += [pair for service in given.services for pair in service.options.items()]
    for name, value in values:
        sure = _NAMES_MAPS.match(name) is not None and "transport" not in name
        # Elsewhere `smtp:[host]` or `unix:/run/socket` may stand: only known types count there.
        for table in tables(value):
            for each in table.each():
                if sure or each.kind in FILE_SUFFIX:
                    yield name, each


RULES = (
    _unreadable,
    _circular,
    _twice,
    _unknown_names,
    _undefined_references,
    _values,
    _map_types,
    _map_files,
)
