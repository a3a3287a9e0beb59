"""The steps of a plan in words, with diffs that never show a secret. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Union

from sysmail.discreet import discreet
from sysmail.msmtp import MSMTPRC
from sysmail.plan import (
    DownloadPackages,
    InstallPackages,
    RemoveFile,
    Requeue,
    Retire,
    Service,
    Step,
    Submission,
    Timer,
    WriteFile,
)
from sysmail.report import StepResult

__all__ = ["describe"]

_BACK = " (the distribution does not let both live: the way back installs it again)"

_LATER = " (Postfix cannot be installed beside it: a relay later needs the repository)"

_SERVICE_SUMMARY = {
    "enable": "start Postfix at boot",
    "restart": "start Postfix with this configuration",
    "reload": "let Postfix read this configuration",
}


def describe(step: Step) -> StepResult:
    """A step as part of a report, with a diff that never shows a secret."""
    if isinstance(step, (DownloadPackages, InstallPackages)):
        return _describe_packages(step)
    if isinstance(step, WriteFile):
        verb = "write" if step.before is None else "change"
        return StepResult(f"file {step.file.path}", f"{verb} {step.file.path}", diff=_diff(step))
    if isinstance(step, RemoveFile):
        return StepResult(f"file {step.path}", f"remove {step.path}")
    if isinstance(step, Service):
        return StepResult(f"service {step.action}", _SERVICE_SUMMARY[step.action])
    if isinstance(step, (Submission, Retire, Requeue)):
        return _describe_mail(step)
    if isinstance(step, Timer):
        does = {"start": "let the watch run every 5 minutes", "stop": "end the watch"}
        return StepResult(f"watch {step.action}", does[step.action])
    return StepResult("policy", "record the policy that is in force")


def _describe_packages(step: Union[DownloadPackages, InstallPackages]) -> StepResult:
    if isinstance(step, DownloadPackages):
        both = ", ".join((*step.names, *step.replaced))
        return StepResult("packages download", f"download {both}, so that both ways are open")
    place = f" in place of {', '.join(step.replaced)}" if step.replaced else ""
    note = ""
    if "postfix" in step.replaced:
        note = _BACK
    elif "msmtp-mta" in step.names:
        note = _LATER
    return StepResult("packages", f"install {', '.join(step.names)}{place}{note}")


def _describe_mail(step: Union[Submission, Retire, Requeue]) -> StepResult:
    if isinstance(step, Submission):
        verb = {"start": "let msmtpd take", "stop": "let msmtpd no longer take"}[step.action]
        return StepResult(
            f"submission {step.action}",
            f"{verb} mail on {' and '.join(step.listen)} port {step.port}",
        )
    if isinstance(step, Retire):
        mail = f"the {step.waiting} messages of the queue" if step.waiting else "what waits"
        return StepResult("queue retire", f"let {mail} leave through Mailu, then stop Postfix")
    return StepResult("queue requeue", "let waiting mail try the new way")


def _former(path: str, data: bytes, known: Collection[str]) -> list[str]:
    """What was there before, as far as it may be shown; ``known`` are lines that will be there."""
    if path == MSMTPRC and not data.startswith(b"# Written by sysmail"):
        # A password stands there in the clear, under more than one keyword (msmtp(1)).
        return ["(the former content is not shown, it may hold a password; it is kept)"]
    return discreet(data.decode("utf-8", "replace"), known)


def _diff(step: WriteFile) -> str:
    file, before = step.file, step.before
    if file.secret:
        return "(secret, not shown)\n"
    text = file.data.decode("utf-8", "replace")
    known = frozenset(text.splitlines())
    old = _former(file.path, before.data, known) if before is not None else []
    # What was adopted of theirs is in the new content too, and is shown the same way.
    new = discreet(text, known)
    import difflib  # only where something changes

    lines = list(difflib.unified_diff(old, new, file.path, file.path, lineterm="", n=2))
    if not lines and before is not None:
        lines = [
            (
                f"mode {before.mode:04o} owner {before.uid}:{before.gid}"
                f" -> mode {file.mode:04o} owner {file.uid}:{file.gid}"
            )
        ]
    return "".join(line + "\n" for line in lines)
