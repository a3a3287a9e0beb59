"""Generated configurations as the real postconf(1) reads them: what was meant, and nothing else."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given

from fuzz.test_policies import tables
from fuzz.through import examples
from lab import Host, Lab
from sysmail.desired import ManagedFile
from sysmail.errors import SysmailError
from sysmail.policy import parse
from sysmail.postfix.lint import candidate
from unit import make

LEAST = 200
READ = """
cd /var/lib/generated
for folder in *; do
    echo "== $folder"
    postconf -c "/var/lib/generated/$folder" -n 2>&1
done
"""


def _generated() -> list[tuple[bytes, bytes]]:
    """main.cf and master.cf of hostile policies that were understood."""
    found: dict[bytes, bytes] = {}

    @examples(3000)
    @given(tables())
    def each(data: dict[Any, Any]) -> None:
        about = make.facts(postfix=make.postfix())
        try:
            files = make.wanted(make.relayed(parse(data, from_ansible=True)), about)[1].files
        except SysmailError:
            return
        texts = {file.path: file.data for file in files}
        found[texts["/etc/postfix/main.cf"]] = texts["/etc/postfix/master.cf"]

    each()
    return list(found.items())


def test_postconf_reads_what_was_meant(lab: Lab) -> None:
    """Hundreds of configurations of hostile policies hold no parameter that was slipped in."""
    host: Host = lab.host("generated", packages=["postfix", "msmtp"])
    try:
        made = _generated()[: LEAST * 2]
        assert len(made) >= LEAST, f"only {len(made)} configurations"
        for number, (main, master) in enumerate(made):
            folder = host.root / f"var/lib/generated/{number}"
            folder.mkdir(parents=True)
            (folder / "main.cf").write_bytes(main)
            (folder / "master.cf").write_bytes(master)
        said = host.run(READ, timeout=300).stdout
        answers = re.split(r"^== (\d+)\n", said, flags=re.MULTILINE)[1:]
        read = dict(zip(answers[::2], answers[1::2], strict=True))
        for number, (main, _) in enumerate(made):
            _compare(main.decode(), read[str(number)])
    finally:
        lab.remove(host)


def _compare(main: str, said: str) -> None:
    """Each parameter as it was meant; postconf(1) leaves out what nothing reads, and says so."""
    file = ManagedFile("/etc/postfix/main.cf", main.encode())
    meant = dict(candidate((file,), make.facts()).main)
    for line in said.splitlines():
        unused = re.search(r"unused parameter: ([^=]+)=", line)
        if unused:
            meant.pop(unused.group(1).strip())
        elif "warning:" not in line:
            name, _, value = line.partition(" =")
            assert meant.pop(name).split() == value.split(), line
    assert not meant, f"{meant}: {said}"
