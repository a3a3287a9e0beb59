"""python3 -m lab build | clean | shell [--base NAME] [--packages NAME ...]

Run from the folder tests/, as root.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from . import ansible
from .bases import RECIPES, layers
from .clean import clean
from .lab import Lab
from .machine import LabError
from .packages import missing
from .preinstalled import OFTEN
from .releases import NotOfferedError


def main() -> int:
    """Do what the arguments say; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m lab", description="The test lab.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build what is not there: base systems, layers, Ansible")
    commands.add_parser("clean", help="take away what killed test runs left behind")
    shell = commands.add_parser(
        "shell", help="boot a host with DNS and an MX, and look around in it"
    )
    shell.add_argument("--base", choices=list(RECIPES), default="debian")
    shell.add_argument("--packages", nargs="*", default=[], help="installed before it boots")
    shell.add_argument("command_line", nargs="*", help="run this and not a shell (after --)")
    chosen = parser.parse_args()
    if wants := missing():
        print("the lab needs: " + "; ".join(wants), file=sys.stderr)
        return 1
    try:
        if chosen.command == "build":
            _build()
        elif chosen.command == "clean":
            for name in clean():
                print(f"removed {name}")
        else:
            return _shell(chosen.base, chosen.packages, chosen.command_line)
    except LabError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


def _build() -> None:
    for base in RECIPES:
        try:
            print(layers(base)[0])
        except NotOfferedError as problem:
            print(f"{base} cannot be built, its tests will be skipped: {problem}", file=sys.stderr)
    with Lab() as lab:
        for base, packages in OFTEN:
            lab.host("build", base, packages=packages, boot=False)
            print(f"{base} with {' '.join(packages)}")
    for series in ansible.series():
        print(ansible.environment(series))
    print(ansible.collections())


def _shell(base: str, packages: list[str], command_line: list[str]) -> int:
    with Lab() as lab:
        host = lab.host("shell", base, packages=packages)
        print(f"{host.fqdn} {host.address} {host.address6}; sysmail is in /opt/sysmail", flush=True)
        argv = host.argv(command_line or ["bash", "-il"])
        return subprocess.run(argv, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
