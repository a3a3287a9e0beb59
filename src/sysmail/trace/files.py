"""A mail log in files: the current one, and what was rotated away from it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Optional

from sysmail.errors import HostError
from sysmail.host.port import Found, Reader
from sysmail.logline import LogLine, parse
from sysmail.trace.events import certificate, read, tls
from sysmail.trace.log import LIMIT, SHOWN, Named
from sysmail.trace.naming import Mention, mentions, needles
from sysmail.trace.story import stories

__all__ = ["COMPRESSED", "FileLog", "rotated"]

NEAR = 1 << 26
"""Bytes that are looked through from a known place before the whole file is."""

LATELY = 1 << 24
"""Bytes at the end of a log in which messages are looked for first."""

PROCESS = 1 << 22
"""Bytes before a delivery in which the TLS session of its process is looked for."""

SESSION_LINES = 200
COMPRESSED = (".gz", ".xz", ".bz2", ".zst")


def rotated(reader: Reader, path: str) -> list[str]:
    """A log and what was rotated away from it, the newest first.

    By logrotate's numbers or dates, by postfix-logrotate's dates (postconf(5),
    maillog_file_rotate_suffix); by their times where the names do not tell.
    """
    folder, _, base = path.rpartition("/")
    rows: list[tuple[float, float, str]] = []
    for name in reader.names(folder):
        match = re.fullmatch(re.escape(base) + r"[.-]([\d.T:-]+?)(?:\.(?:gz|xz|bz2|zst))?", name)
        state = reader.state(f"{folder}/{name}", content=False) if match else None
        if match is None or state is None or state.kind != "file" or not state.size:
            continue
        digits = re.sub(r"\D", "", match.group(1))
        is_date = len(digits) >= 8
        turn = -float(digits.ljust(14, "0")[:14]) if is_date else float(digits or 0)
        rows.append((turn, -state.mtime, f"{folder}/{name}"))
    there = reader.link(path) is not None
    return ([path] if there else []) + [name for _, _, name in sorted(rows)]


class FileLog:
    """The files of one log."""

    def __init__(self, reader: Reader, path: str) -> None:
        """Find what there is."""
        self._reader = reader
        self.name = path
        self.unread: dict[str, HostError] = {}
        self._paths = rotated(reader, path) or [path]
        now = reader.now()
        states = [reader.state(reader.link(p) or p, content=False) for p in self._paths]
        # A stamp without a year is no later than the file.
        self._latest = [min(now, s.mtime) if s is not None and s.mtime else now for s in states]

    def of(self, queue_id: str) -> list[LogLine]:
        """The lines that name a queue id, back to the beginning of its newest message."""
        # Behind the program, or what RFC 5424 has there; not every word that looks like one.
        text = [f"{before} {queue_id}".encode() for before in (":", "-", "]")]
        # What somebody asks for is most often of late.
        near = list(islice(self._backwards(0, text, None, LATELY), LIMIT))
        lines = [line for line in reversed(near) if _names(line, queue_id)]
        if any(story.entrance is not None for story in stories(lines, queue_id)[-1:]):
            return lines
        lines = []
        for turn in range(len(self._paths)):
            told = stories(lines, queue_id)[-1:]
            if told and told[0].message_id:
                # Its entrance, if it has one, is just before the Message-ID that began a file.
                before = list(self._backwards(turn, text, None, PROCESS))
                return [line for line in reversed(before) if _names(line, queue_id)] + lines
            here = deque(self._forwards(turn, text), LIMIT)
            lines = [line for line in here if _names(line, queue_id)] + lines
            if any(story.entrance is not None for story in stories(lines, queue_id)[-1:]):
                break
        return lines[-LIMIT:]

    def naming(self, text: str) -> Named:
        """What names a recipient or a Message-ID, the newest first."""
        wanted = [each.encode() for each in needles(text)]
        found: list[Mention] = []
        for turn, path in enumerate(self._paths):
            near = list(islice(mentions(self._backwards(turn, wanted, None, LATELY), text), LIMIT))
            state = self._reader.state(self._reader.link(path) or path, content=False)
            rest = state is not None and state.size > LATELY and not path.endswith(COMPRESSED)
            if rest and not _enough([*found, *near]):
                whole = deque(mentions(self._forwards(turn, wanted), text), LIMIT)
                near, rest = list(reversed(whole)), False
            found += near
            if len(found) >= LIMIT or _enough(found):
                older = rest or turn + 1 < len(self._paths) or len(found) >= LIMIT
                return Named(tuple(found[:LIMIT]), complete=not older)
        return Named(tuple(found), complete=True)

    def lately(self, texts: Sequence[str], since: float) -> list[LogLine]:
        """The lines since a moment that hold one of the texts; at most so far back as LATELY."""
        wanted = [text.encode() for text in texts]
        found: list[LogLine] = []
        for turn in reversed(range(len(self._paths[:2]))) if wanted else ():
            if turn and self._paths[turn].endswith(COMPRESSED):
                continue
            # Of what is being written nothing may be missing.
            back = self._reader.search_back(self._paths[turn], wanted, None, LATELY)
            near = list(islice(self._parsed(turn, back), LIMIT))
            # Stamps without fractions are up to a second early.
            found += [line for line in reversed(near) if line.time >= int(since)]
        return found

    def around(
        self, queue_ids: Sequence[str], near: Sequence[LogLine], *, notices: bool = False
    ) -> list[LogLine]:
        """Every line of these messages: back to where each begins, and on to where each ends."""
        if not queue_ids or not near:
            return []
        texts = [f" {queue_id}: ".encode() for queue_id in queue_ids]
        first = min(line.place for line in near)
        wanted = _Wanted(queue_ids, {line.queue_id: line.place for line in near}, notices=notices)
        # On first: only what did not begin since has to be looked for before.
        after = self._on_to_ends(texts, first, wanted)
        before = self._back_to_beginnings(texts, first, wanted)
        return [*reversed(before), *after]

    def _back_to_beginnings(
        self, texts: Sequence[bytes], first: tuple[int, int], wanted: _Wanted
    ) -> list[LogLine]:
        """Newest first, without the line at ``first``."""
        found: list[LogLine] = []
        turn = -first[0]
        end: Optional[int] = first[1]
        while turn < len(self._paths) and not wanted.all_began():
            for line in self._backwards(turn, texts, end, 1 << 62):
                found.append(line)
                wanted.begins(line)
                if len(found) >= LIMIT or wanted.all_began():
                    return found
            turn, end = turn + 1, None
        return found

    def _on_to_ends(
        self, texts: Sequence[bytes], first: tuple[int, int], wanted: _Wanted
    ) -> list[LogLine]:
        found: list[LogLine] = []
        turn, start = -first[0], first[1]
        while turn >= 0:
            for begin, end in ((start, start + NEAR), (start + NEAR, None)):
                for line in self._forwards(turn, texts, begin, end):
                    found.append(line)
                    wanted.begins(line)
                    wanted.ends(line)
                    if len(found) >= LIMIT or wanted.all_ended():
                        return found
            turn, start = turn - 1, 0
        return found

    def session(self, program: str, pid: int, place: tuple[int, int], time: float) -> list[LogLine]:
        """The lines about the last TLS session of a process before that place."""
        del time
        texts = [f" {program}[{pid}]: ".encode(), f" {program} {pid} ".encode()]
        turn, offset = -place[0], place[1]
        before = self._backwards(turn, texts, offset, PROCESS)
        if offset < PROCESS and turn + 1 < len(self._paths):
            before = chain(before, self._backwards(turn + 1, texts, None, PROCESS - offset))
        found: list[LogLine] = []
        for line in islice(before, SESSION_LINES):
            if found:
                # The certificate that it showed is told in the line before.
                return [line, *found] if certificate(line.text) is not None else found
            if tls(line.text) is not None:
                found.append(line)
        return found

    def successor(self, queue_id: str, near: LogLine) -> list[LogLine]:
        """The line of pickup(8) that gave a requeued message its next queue id."""
        text = f" orig_id={queue_id}".encode()
        turn, start = -near.place[0], near.place[1]
        while turn >= 0:
            for line in self._forwards(turn, [text], start):
                return [line]
            turn, start = turn - 1, 0
        return []

    def _forwards(
        self, turn: int, texts: Sequence[bytes], start: int = 0, end: Optional[int] = None
    ) -> Iterator[LogLine]:
        found = self._parsed(turn, self._reader.search(self._paths[turn], texts, start, end))
        return self._readable(turn, found)

    def _backwards(
        self, turn: int, texts: Sequence[bytes], end: Optional[int], reach: int
    ) -> Iterator[LogLine]:
        found = self._parsed(turn, self._reader.search_back(self._paths[turn], texts, end, reach))
        return self._readable(turn, found)

    def _readable(self, turn: int, found: Iterator[LogLine]) -> Iterator[LogLine]:
        """As far as a file can be read; HostError where none of them can."""
        try:
            yield from found
        except HostError as error:
            self.unread[self._paths[turn]] = error
            if len(self.unread) == len(self._paths):
                raise

    def _parsed(self, turn: int, found: Iterator[Found]) -> Iterator[LogLine]:
        for each in found:
            text = each.line.decode("utf-8", "replace")
            line = parse(text, self._latest[turn], (-turn, each.offset))
            if line is not None:
                yield line


class _Wanted:
    """Which messages have begun, and which have ended, in the lines seen so far.

    ``known`` is where each is named: it begins there or before, and ends there
    or later; what stands on the other side is another use of its queue id.
    """

    def __init__(
        self, queue_ids: Sequence[str], known: Mapping[str, tuple[int, int]], *, notices: bool
    ) -> None:
        self._known = known
        self._notices = notices
        self._unbegun = set(queue_ids)
        self._unended = set(queue_ids)

    def begins(self, line: LogLine) -> None:
        known = self._known.get(line.queue_id, line.place)
        if (
            line.queue_id in self._unbegun
            and line.place <= known
            and _begins(line, notice=self._notices)
        ):
            self._unbegun.discard(line.queue_id)

    def ends(self, line: LogLine) -> None:
        known = self._known.get(line.queue_id, line.place)
        if line.place >= known and read(line.daemon, line.text).kind in ("removed", "deleted"):
            self._unended.discard(line.queue_id)

    def all_began(self) -> bool:
        return not self._unbegun

    def all_ended(self) -> bool:
        return not self._unended


def _begins(line: LogLine, *, notice: bool) -> bool:
    """Whether a message begins with a line: one that Postfix made itself, with its Message-ID."""
    kind = read(line.daemon, line.text).kind
    return kind in ("pickup", "client") or (notice and kind == "message-id")


def _names(line: LogLine, queue_id: str) -> bool:
    if line.queue_id == queue_id:
        return True
    event = read(line.daemon, line.text)
    return event.kind == "notice" and event.facts["child"] == queue_id


def _enough(found: Sequence[Mention]) -> bool:
    """Whether these are of so many messages as are told; what was refused has no queue id."""
    return len({each.line.queue_id for each in found} - {"NOQUEUE"}) >= SHOWN
