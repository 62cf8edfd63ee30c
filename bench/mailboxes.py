# SPDX-License-Identifier: ISC
"""
For bench/run.py: mailboxes on this machine, and a mail store behind LMTP. Users exist only in a mount namespace, in copies of
/etc/passwd and /etc/group: u0, u1, ... with a home each, and vmail, who owns all virtual mailboxes. Maildirs are made
beforehand, so that both servers find the same; bench/boxes.c watches and verifies them, bench/sink.c the LMTP socket.
"""

import os
import sys

FIRST_ID = 63000  # of the users; those of Veredus' daemons are below
DAEMONS = ["smtpd", "submission", "keeper", "bounce", "resolver", "smtp-client", "qmgr", "limits", "logger", "checker", "table",
           "fetcher", "local", "pickup", "pam", "postdrop"]
DOMAIN = "sink.example"


def make_maildir(path, owner):
    for folder in (path, *(os.path.join(path, name) for name in ("tmp", "new", "cur"))):
        os.makedirs(folder)
        os.chown(folder, owner, owner)
        os.chmod(folder, 0o700)


class Mailboxes:
    """Where one round's mail ends: .start_receiver, then what each server is told."""

    def __init__(self, build, folder, boxes):
        self.build, self.folder = build, folder
        self.kind, self.count = boxes["kind"], boxes.get("users", 0)
        self.root, self.socket = os.path.join(folder, "mail"), os.path.join(folder, "lmtp.sock")
        if self.kind == "lmtp":
            self.root = ""
            return
        if os.getuid() != 0:
            sys.exit("run.py: deliveries to several users need root")
        os.mkdir(self.root, 0o755)
        if self.kind == "virtual":
            os.chown(self.root, FIRST_ID, FIRST_ID)
        for number in range(self.count):
            owner = FIRST_ID if self.kind == "virtual" else FIRST_ID + 1 + number
            home = os.path.join(self.root, f"u{number}")
            if self.kind == "users":
                os.mkdir(home, 0o755)
                os.chown(home, owner, owner)
            make_maildir(home if self.kind == "virtual" else os.path.join(home, "Maildir"), owner)

    def program(self):
        """What receives, and its arguments."""
        if self.kind == "lmtp":
            return "sink", ["--lmtp", "--listen", self.socket]
        return "boxes", [self.root]

    def ready(self):
        if self.kind == "lmtp":
            os.chmod(self.socket, 0o666)

    def write(self, name, text, mode="w"):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, mode, encoding="ascii") as file:
            file.write(text)
        return path

    def users(self):
        """Lines of passwd, and of group."""
        users = [("vmail", FIRST_ID, self.root)]
        users += [(f"u{n}", FIRST_ID + 1 + n, os.path.join(self.root, f"u{n}")) for n in range(self.count)]
        return ("".join(f"{name}:x:{uid}:{uid}::{home}:/bin/sh\n" for name, uid, home in users),
                "".join(f"{name}:x:{uid}:\n" for name, uid, _ in users))

    # -- Veredus

    def veredus_settings(self):
        if self.kind == "lmtp":
            return f"route * {{ to = lmtp:unix:{self.socket} }}\n"
        text = f"route {DOMAIN} {{ to = local }}\nlocal {{ mailbox = ~/Maildir/  aliases = {self.write('aliases', '')} }}\n"
        if self.kind == "virtual":
            table = self.write("mailboxes", "".join(f"u{n}@{DOMAIN} u{n}/\n" for n in range(self.count)))
            os.utime(table, (1e9, 1e9))  # long ago: a fresh table may not be whole yet
            text += f"virtual {DOMAIN} {{ mailboxes = {table}  root = {self.root}  user = vmail }}\n"
        return text

    def veredus_command(self, words):
        """As root, where its daemons' users are: they and the recipients are different people."""
        if self.kind == "lmtp":
            return words
        users, groups = self.users()
        for number, name in enumerate(DAEMONS):
            users += f"veredus-{name}:x:{FIRST_ID - 100 + number}:{FIRST_ID - 100 + number}::/nonexistent:/usr/sbin/nologin\n"
            groups += f"veredus-{name}:x:{FIRST_ID - 100 + number}:\n"
        for name, text in (("passwd", users), ("group", groups)):
            with open(f"/etc/{name}", encoding="ascii") as file:
                present = file.read()
            self.write(name, present + text)
        script = f'mount --bind {self.folder}/passwd /etc/passwd && mount --bind {self.folder}/group /etc/group && exec "$@"'
        return ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh", *words]

    # -- Postfix

    def postfix_settings(self):
        """What bench/postfix.sh appends to main.cf, master.cf, passwd and group."""
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "postfix", f"{self.kind}-main.cf"), encoding="ascii") as file:
            text = file.read()
        for word, value in (("ROOT", self.root), ("SOCKET", self.socket), ("DOMAIN", DOMAIN), ("DIR", self.folder),
                            ("OWNER", FIRST_ID)):
            text = text.replace(f"@{word}@", str(value))
        self.write("etc/main.cf.more", text)
        service = {"virtual": "virtual", "users": "local", "lmtp": "lmtp"}[self.kind]
        privileged = "-" if self.kind == "lmtp" else "n"
        # 20 processes, as Postfix would run for one destination: 50 and 200 delivered less, here.
        processes = "-" if self.kind == "lmtp" else 20
        self.write("etc/master.cf.more", f"{service} unix - {privileged} n - {processes} {service}\n")
        self.write("etc/mailboxes", "".join(f"u{n}@{DOMAIN} u{n}/\n" for n in range(self.count)))
        for name, lines in zip(("passwd", "group"), self.users()):
            self.write(f"etc/{name}.more", lines)
