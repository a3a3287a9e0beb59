"""Extra parameters under [postfix], on a booted host."""

from __future__ import annotations

from onhost import apply, policy, sysmail

from lab import FreshHost


def test_an_extra_takes_the_place_of_ours(fresh_host: FreshHost) -> None:
    """A parameter that the policy may set is in effect once, also where sysmail has a default."""
    host = fresh_host(packages=["postfix", "msmtp"])
    policy(host, 'admin = "ops@example.org"\n[postfix]\nsmtpd_banner = "hello"\nbiff = "no"\n')
    apply(host)
    assert host.run("postconf -h smtpd_banner").stdout.strip() == "hello"
    assert host.run("postconf -n 2>&1 >/dev/null").stdout == ""
    assert sysmail(host, "plan").status == 0


def test_remove_after_an_edit_that_was_kept(fresh_host: FreshHost) -> None:
    """remove goes all the way back, and the edit that an apply had kept aside stays kept."""
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    main_cf = host.root / "etc/postfix/main.cf"
    edited = main_cf.read_text() + "# mine\n"
    main_cf.write_text(edited)
    apply(host)
    apply(host, "--admin", "other@example.org")
    assert sysmail(host, "remove").status == 0
    kept = [path for path in (host.root / "var/lib/sysmail").rglob("*") if path.is_file()]
    assert [path.read_text() for path in kept] == [edited]
    assert "sysmail" not in main_cf.read_text()
