#!/usr/bin/python
# Copyright: the sysmail authors. MIT License (see LICENSE).
"""Runs on the host: hands a request to the tool there, or says that it is not there yet.

Ansible fills in the arguments below and sends this text, over standard input
where pipelining is on. It imports nothing of Ansible's, which would take longer
than all the rest. The tool lies on the host in an archive that is named by its
content; only where that is missing does the action plugin, which has the same
name, send it along. Documentation: sysmail.yml.
"""

import json
import os
import sys

FOLDER = "/usr/local/lib/sysmail"
COMMAND = "/usr/local/bin/sysmail"


def main() -> "None":
    """Print the answer as JSON."""
    # The first is what Ansible replaces; the second makes it do so (module_common.py, jsonargs):
    # <<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>
    arguments = json.loads("<<INCLUDE_ANSIBLE_MODULE_COMPLEX_ARGS>>")
    if sys.version_info < (3, 9):
        answer = failed("sysmail needs Python 3.9 or newer. Set ansible_python_interpreter.")
    elif os.geteuid() != 0:
        answer = failed("sysmail must run as root. Set `become: true`.")
    elif arguments["archive"]:
        answer = with_archive(arguments)
    else:
        answer = ask(arguments)
    sys.stdout.write(json.dumps(answer) + "\n")


def failed(message: "str") -> "dict[str, object]":
    """Return a failure of this module's own."""
    return {"failed": True, "msg": message, "exit_code": 77}


def ask(arguments: "dict") -> "dict[str, object]":
    """Ask the tool on the host, if it is there and nobody but root could have written it."""
    path = f"{FOLDER}/sysmail-{arguments['identity']}.pyz"
    try:
        found = [os.lstat(FOLDER), os.lstat(path)]
    except FileNotFoundError:
        return {"missing": True}
    if any(state.st_uid != 0 or state.st_mode & 0o022 for state in found):
        return {"missing": True}  # it is sent along then, and refused with the reason
    try:
        command = os.readlink(COMMAND)
    except OSError:
        command = "" if os.path.lexists(COMMAND) else FOLDER
    if command.startswith(FOLDER) and command != path:
        return {"missing": True}  # the command is that of another version, or was cut off
    sys.path.insert(0, path)
    from sysmail.door import answer

    return answer(arguments["request"], archive=path)


def with_archive(arguments: "dict") -> "dict[str, object]":
    """Use the archive that came along; unless this is a check, leave it on the host."""
    import base64
    import tempfile

    archive = base64.b64decode(arguments["archive"])
    with tempfile.TemporaryDirectory(prefix="sysmail-") as folder:
        path = f"{folder}/sysmail.pyz"
        with open(path, "wb") as handle:
            handle.write(archive)
        sys.path.insert(0, path)
        from sysmail.door import Archive, answer

        return answer(arguments["request"], new=Archive(archive, arguments["identity"]))


if __name__ == "__main__":
    main()
