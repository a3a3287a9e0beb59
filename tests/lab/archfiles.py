"""Texts of the `arch` base and its packages, written as Arch has them, not copied from it."""

from __future__ import annotations

OS_RELEASE = """\
NAME="Arch Linux"
PRETTY_NAME="Arch Linux"
ID=arch
BUILD_ID=rolling
"""

PACMAN_CONF = """\
[options]
Architecture = auto
HoldPkg = pacman glibc
SigLevel = Never
LocalFileSigLevel = Never

[core]
Server = file:///srv/pacman
"""

# Arch does these after every transaction that brings units; a booted host needs it, a chroot not.
RELOAD_HOOK = """\
[Trigger]
Type = Path
Operation = Install
Operation = Upgrade
Operation = Remove
Target = usr/lib/systemd/system/*

[Action]
Description = Reloading system manager configuration...
When = PostTransaction
Exec = /bin/sh -c 'if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi'
"""

POSTFIX_UNIT = """\
[Unit]
Description=Postfix mail transport agent
After=network.target

[Service]
Type=forking
PIDFile=/var/spool/postfix/pid/master.pid
ExecStart=/usr/sbin/postfix start
ExecStop=/usr/sbin/postfix stop
ExecReload=/usr/sbin/postfix reload
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""

# What upstream's installation would have filled in, with the places that the programs have here.
POSTFIX_PLACES = {
    "sendmail_path": "/usr/bin/sendmail",
    "newaliases_path": "/usr/bin/newaliases",
    "mailq_path": "/usr/bin/mailq",
    "setgid_group": "postdrop",
    "html_directory": "no",
    "manpage_directory": "/usr/share/man",
    "sample_directory": "/etc/postfix",
    "readme_directory": "/usr/share/doc/postfix",
    "command_directory": "/usr/bin",
    "mail_owner": "postfix",
    "queue_directory": "/var/spool/postfix",
    "meta_directory": "/etc/postfix",
    "shlib_directory": "/usr/lib/postfix",
}

POSTFIX_ALIASES = """\
# See aliases(5). Not used before alias_maps names it.
postmaster: root
MAILER-DAEMON: postmaster
"""

POSTFIX_INSTALL = """\
post_install() {
  getent group postfix >/dev/null || groupadd -r -g 73 postfix
  getent group postdrop >/dev/null || groupadd -r -g 75 postdrop
  getent passwd postfix >/dev/null ||
    useradd -r -u 73 -d /var/spool/postfix -g postfix -s /usr/sbin/nologin postfix
  install -d -o root -g root -m 755 /var/spool/postfix
  install -d -o postfix -g postfix -m 700 /var/lib/postfix
  postfix -c /etc/postfix set-permissions >/dev/null 2>&1
  for f in postdrop postqueue; do
    chgrp postdrop /usr/bin/$f && chmod 2755 /usr/bin/$f
  done
}
post_upgrade() { post_install; }
"""
