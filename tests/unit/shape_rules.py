"""The rules of the source's shape, each a function from one module to what is wrong with it.

They read the source's syntax tree and never import it, so they hold for a
module that cannot even be imported yet. A rule returns sentences, none if the
module keeps it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

SOURCE = Path(__file__).resolve().parents[2] / "src" / "sysmail"

MAX_LINES = 400

PURE = (
    "sysmail.deliverability",
    "sysmail.describe",
    "sysmail.desired",
    "sysmail.discreet",
    "sysmail.distro",
    "sysmail.errors",
    "sysmail.facts.model",
    "sysmail.facts.parse",
    "sysmail.msmtp",
    "sysmail.msmtpd",
    "sysmail.neighbours",
    "sysmail.plan",
    "sysmail.policy",
    "sysmail.postfix",
    "sysmail.report",
    "sysmail.route",
    "sysmail.takeover",
    "sysmail.takeover_exim",
    "sysmail.takeover_names",
    "sysmail.takeover_postfix",
    "sysmail.want",
    "sysmail.watch",
)
"""Functions of plain data: the same arguments give the same result, and nothing else happens."""

PURE_STDLIB = set(
    """__future__ abc base64 binascii bisect calendar collections contextlib copy dataclasses
    difflib email.headerregistry email.message email.policy enum fnmatch functools hashlib heapq
    html ipaddress itertools json keyword math numbers operator posixpath re shlex string textwrap
    types typing unicodedata urllib.parse""".split()
)

DNS_ASKER = "sysmail.host.resolver"
DNS_IMPORTS = {"dns"}

TOML_READER = "sysmail.policy.text"
TOML_IMPORTS = {"sys", "tomllib", "tomli"}

# Public modules of Python 3.9 that 3.13 still has.
STDLIB = set(
    """abc argparse array ast asyncio atexit base64 binascii bisect builtins bz2 calendar cmath cmd
    code codecs codeop collections colorsys compileall concurrent configparser contextlib
    contextvars copy copyreg csv ctypes curses dataclasses datetime dbm decimal difflib dis doctest
    email encodings ensurepip enum errno faulthandler fcntl filecmp fileinput fnmatch fractions
    ftplib functools gc genericpath getopt getpass gettext glob graphlib grp gzip hashlib heapq hmac
    html http idlelib imaplib importlib inspect io ipaddress itertools json keyword linecache locale
    logging lzma mailbox marshal math mimetypes mmap modulefinder multiprocessing netrc ntpath
    nturl2path numbers opcode operator optparse os pathlib pdb pickle pickletools pkgutil platform
    plistlib poplib posix posixpath pprint profile pstats pty pwd py_compile pyclbr pydoc queue
    quopri random re readline reprlib resource rlcompleter runpy sched secrets select selectors
    shelve shlex shutil signal site smtplib socket socketserver sqlite3 ssl stat statistics string
    stringprep struct subprocess symtable sys sysconfig syslog tabnanny tarfile tempfile termios
    textwrap threading time timeit token tokenize trace traceback tracemalloc tty types typing
    unicodedata unittest urllib uuid venv warnings wave weakref webbrowser wsgiref xml xmlrpc zipapp
    zipfile zipimport zlib zoneinfo __future__""".split()
)

# What a checkpoint says is read by proofs; these take a Reader and cannot write.
APPLY_READS = {"sysmail.apply.checkpoint.Store", "sysmail.apply.checkpoint.HOME"}

HOST_ONLY = set(
    """asyncio ctypes fcntl ftplib http imaplib mmap multiprocessing poplib posix pty select
    selectors shelve shutil smtplib socket socketserver sqlite3 ssl subprocess syslog tempfile
    urllib.request webbrowser xmlrpc""".split()
)
"""Modules that run programs, speak over the network, or write files."""

OS_CHANGES = set(
    """chdir chmod chown chroot copy_file_range dup2 execv execve execvp execvpe fchmod fchown fork
    forkpty fsync fdatasync ftruncate kill killpg lchown link lockf makedev makedirs mkdir mkfifo
    mknod open pipe popen posix_spawn posix_spawnp pwrite putenv remove removedirs removexattr
    rename renames replace rmdir sendfile setegid seteuid setgid setgroups setuid setxattr spawnl
    spawnv symlink sync system truncate umask unlink unsetenv utime write writev""".split()
)

STREAMS = {"sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__"}

CODE = re.compile("[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name, its text and its syntax tree."""

    name: str
    text: str
    tree: ast.Module

    def inside(self, *packages: str) -> bool:
        """Tell whether the module is one of the packages or stands within one."""
        return any(self.name == p or self.name.startswith(p + ".") for p in packages)


Rule = Callable[[Module], "list[str]"]


def module(name: str, text: str) -> Module:
    """Make a module of a source text."""
    return Module(name, text, ast.parse(text))


def modules() -> Iterator[Module]:
    """Yield every module of the source."""
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield module(name, path.read_text(encoding="utf-8"))


def imports(found: Module) -> Iterator[str]:
    """Yield the full name of all that a module imports, also within functions."""
    for node in ast.walk(found.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (node.module or "")
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def is_in(name: str, names: set[str]) -> bool:
    """Tell whether an imported name is one of the modules, or something within one."""
    parts = name.split(".")
    return any(".".join(parts[:length]) in names for length in range(1, len(parts) + 1))


def calls(found: Module) -> Iterator[tuple[str, ast.Call]]:
    """Yield every call of a name or of an attribute of a name: ``open``, ``os.rename``."""
    for node in ast.walk(found.tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def only_the_host_acts(found: Module) -> list[str]:
    """Only sysmail.host runs programs, opens sockets and writes."""
    if found.inside("sysmail.host"):
        return []
    wrong = [f"imports {name}" for name in imports(found) if is_in(name, HOST_ONLY)]
    for name in imports(found):
        head, _, last = name.rpartition(".")
        if head == "os" and last in OS_CHANGES:
            wrong.append(f"imports {name}")
        if head == "pathlib" and not last.startswith("Pure"):
            wrong.append(f"imports {name}: only its Pure… classes cannot write")
        if name in {"pathlib", "io.open", "io.FileIO"}:
            wrong.append(f"imports {name}")
    # A reader that closed the pipe: standard output is turned to /dev/null, as Python advises.
    own = {"os.open", "os.dup2"} if found.inside("sysmail.cli") else set()
    for name, call in calls(found):
        if name.startswith("os.") and name[3:] in OS_CHANGES and name not in own:
            wrong.append(f"calls {name}")
        if name in {"open", "io.open"} and _may_write(call):
            wrong.append("opens a file to write")
        if name in {"__import__", "importlib.import_module", "eval", "exec"}:
            wrong.append(f"calls {name}, which hides what is imported")
    return wrong


def _may_write(call: ast.Call) -> bool:
    mode: ast.expr | None = call.args[1] if len(call.args) > 1 else None
    for keyword in call.keywords:
        mode = keyword.value if keyword.arg == "mode" else mode
    if mode is None:
        return False
    # A mode that is not written out may be any.
    return not (isinstance(mode, ast.Constant) and set(str(mode.value)) <= set("rbt"))


def pure_stays_pure(found: Module) -> list[str]:
    """A pure module imports what is pure, opens nothing, and asks for no time and no luck."""
    if not found.inside(*PURE):
        return []
    allowed = PURE_STDLIB | {*PURE, "sysmail.host.port"}
    if found.name == TOML_READER:
        allowed |= TOML_IMPORTS
    wrong = [
        f"imports {name}, which is not pure" for name in imports(found) if not is_in(name, allowed)
    ]
    wrong += [
        f"calls {name}" for name, _ in calls(found) if name in {"open", "input", "eval", "exec"}
    ]
    return wrong


def only_the_cli_prints(found: Module) -> list[str]:
    """Only sysmail.cli prints or uses the standard streams; nothing logs by itself."""
    if found.inside("sysmail.cli", "sysmail.__main__"):
        return []
    wrong = [f"calls {name}" for name, _ in calls(found) if name in {"print", "pprint.pprint"}]
    wrong += [f"imports {name}" for name in imports(found) if is_in(name, {"logging", "warnings"})]
    for node in ast.walk(found.tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in STREAMS:
            wrong.append(f"uses {ast.unparse(node)}")
    return wrong


def nothing_waits_by_the_clock_of_the_day(found: Module) -> list[str]:
    """A deadline is of ``elapsed``: a clock that is set back would let it wait for hours."""
    parts = [n for n in ast.walk(found.tree) if isinstance(n, (ast.Assign, ast.Compare))]
    return [
        f"line {node.lineno}: {text}"
        for node, text in ((node, ast.unparse(node)) for node in parts)
        if "deadline" in text and (".now()" in text or "time.time()" in text)
    ]


def prove_only_reads(found: Module, writers: frozenset[str] = frozenset({"Writer"})) -> list[str]:
    """sysmail.prove knows the reading half of the port, and nothing that changes a host."""
    if not found.inside("sysmail.prove"):
        return []
    wrong = []
    for name in imports(found):
        head, _, last = name.rpartition(".")
        if is_in(name, {"sysmail.apply"}) and name not in APPLY_READS:
            wrong.append(f"imports {name}, which changes hosts")
        elif is_in(name, {"sysmail.host"}) and not is_in(name, {"sysmail.host.port"}):
            wrong.append(f"imports {name}: only types of sysmail.host.port are for it")
        elif head == "sysmail.host.port" and last in writers:
            wrong.append(f"imports {name}, which writes")
        elif name in {"sysmail.host.port", "sysmail.host.port.*"}:
            wrong.append("imports the whole port: name the types")
    return wrong


def only_the_standard_library(found: Module) -> list[str]:
    """Nothing is imported but sysmail itself and what Python 3.9 to 3.13 have."""
    allowed = STDLIB | {"sysmail"} | (TOML_IMPORTS if found.name == TOML_READER else set())
    allowed |= DNS_IMPORTS if found.name == DNS_ASKER else set()
    wrong = [f"imports {name}" for name in imports(found) if not is_in(name, allowed)]
    return [text for text in wrong if text != "imports sysmail"]


def files_stay_small(found: Module) -> list[str]:
    """No file has more than 400 lines."""
    lines = found.text.count("\n")
    return [f"has {lines} lines"] if lines > MAX_LINES else []


def modules_say_what_they_are(found: Module) -> list[str]:
    """Every module begins with a docstring."""
    return [] if ast.get_docstring(found.tree) else ["has no docstring"]


def all_is_what_is_exported(found: Module, used: frozenset[str] = frozenset()) -> list[str]:
    """Where there is an ``__all__``, it is what the module exports, no more and no less.

    A class or function without an underscore is exported. A constant, and what a
    package's ``__init__`` takes from its own parts, is where another module
    imports it: ``used`` holds the full names of all that is imported.
    """
    stated: set[str] | None = None
    public: set[str] = set()
    constants: set[str] = set()
    imported: set[str] = set()
    for node in found.tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            public.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {target.id for target in targets if isinstance(target, ast.Name)}
            constants |= names
            if "__all__" in names and node.value is not None:
                stated = set(ast.literal_eval(node.value))
        elif isinstance(node, ast.ImportFrom):
            names = {alias.asname or alias.name for alias in node.names}
            inner = (node.module or "").startswith(found.name + ".")
            (constants if inner else imported).update(names)
    if stated is None:
        return []
    public = {name for name in public if not name.startswith("_")}
    public |= {name for name in constants if f"{found.name}.{name}" in used and name[0] != "_"}
    return [f"exports {name} without saying so" for name in sorted(public - stated)] + [
        f"says it exports {name}, which it does not define"
        for name in sorted(stated - public - constants - imported)
    ]


def everything_imported() -> frozenset[str]:
    """Return the full names of all that any module of the source imports."""
    return frozenset(name for found in modules() for name in imports(found))


def errors_are_complete(found: Module) -> list[str]:
    """An error that is made has a code of lower-case words, and says what to do next."""
    wrong = []
    for name, call in calls(found):
        last = name.rpartition(".")[2]
        if last not in ERRORS:
            continue
        given = dict(zip(("code", "message", "remedy"), call.args))
        given.update({keyword.arg: keyword.value for keyword in call.keywords if keyword.arg})
        where = f"line {call.lineno}: {last}"
        for part in ("code", "message", "remedy"):
            value = given.get(part)
            if value is None and not any(isinstance(arg, ast.Starred) for arg in call.args):
                wrong.append(f"{where} has no {part}")
            elif isinstance(value, ast.Constant) and not str(value.value or "").strip():
                wrong.append(f"{where} has an empty {part}")
        code = given.get("code")
        if isinstance(code, ast.Constant) and not CODE.fullmatch(str(code.value)):
            wrong.append(f"{where} has the code {code.value!r}")
    return wrong


def _error_classes() -> frozenset[str]:
    tree = ast.parse((SOURCE / "errors.py").read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.ClassDef))


def writer_types() -> frozenset[str]:
    """Return the types of sysmail.host.port that can write: Writer, and what is made of it."""
    path = SOURCE / "host" / "port.py"
    found = {"Writer"}
    if path.exists():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                bases = {ast.unparse(base) for base in node.bases}
                found |= {node.name} if bases & found else set()
    return frozenset(found)


ERRORS = _error_classes()
