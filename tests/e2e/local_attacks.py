# SPDX-License-Identifier: ISC
"""What users, senders and bad luck try on local delivery: links, lists, addresses, commands, full disks, crashes. The
faults of others that a test is about stand with it. Needs root, on a machine with users of its own."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import glob
import mailbox
import pwd
import random
import re
import signal
import subprocess
import time

import users
import veredus as v


def start(t, config="local { mailbox = ~/Maildir/ }\n", retry="first = 1s  longest = 2s"):
    if not v.IS_ROOT:
        raise v.Skip("needs root")
    veredus = t.veredus(f"route * {{ to = discard }}\nroute here.example {{ to = local }}\nretry {{ {retry} }}\n" + config)
    veredus.demote = {}
    os.chown(veredus.folder, 0, 0)
    return veredus.start()


def aliases(text):
    with open("/etc/aliases", "w") as f:
        f.write(text)
    os.utime("/etc/aliases", (1e9, 1e9))


def send(veredus, to, subject="x", sender="sender@client.example", headers=""):
    smtp = v.Smtp(veredus.port)
    queue_id = smtp.send(sender, to, v.mail(subject, headers=headers))
    smtp.close()
    return queue_id


def fresh(name):
    """The user's home and mailbox, empty. A delivery may still take its own names away; the mailbox goes first, before what
    made it a trick."""
    subprocess.run(["find", users.home(name), "-ignore_readdir_race", "-mindepth", "1", "-delete"], check=True)
    for path in sorted(glob.glob(f"/var/mail/{name}*")):
        subprocess.run(["rm", "-rf", path], check=True)


def letters(name, folder="Maildir"):
    return sorted(glob.glob(f"{users.home(name)}/{folder}/new/*"))


def test_mailbox_links(t):
    """A mailbox that is something else: nothing is written through it, nothing hangs, the mail waits.
    (Postfix CVE-2008-2936, CVE-2008-2937: hard links to links, mailboxes of others; procmail's and mail.local's link races.)"""
    veredus = start(t, "")
    victim = v.write(t.folder + "/victim", b"precious\n", 0o666)
    box = "/var/mail/ann"

    def other_user():
        v.write(box, b"", 0o666)
        os.chown(box, pwd.getpwnam("bob").pw_uid, 8)

    tricks = {
        "a link": lambda: os.symlink(victim, box),
        "a link to nothing": lambda: os.symlink(t.folder + "/made", box),
        "a FIFO": lambda: os.mkfifo(box, 0o666),
        "a folder": lambda: os.mkdir(box, 0o777),
        "another user's": other_user,
        "a second name": lambda: (users.own("/var/mail/ann-other", "ann", b"precious\n"), os.link("/var/mail/ann-other", box)),
    }
    for what, trick in tricks.items():
        fresh("ann")
        trick()
        queue_id = send(veredus, "ann@here.example", what.replace(" ", "-"))
        veredus.wait_log(queue_id + ": to=<ann@here.example>.*dsn=4.2.0, status=deferred")
        v.equal(v.read(victim), b"precious\n", what)
        v.check(not os.path.exists(t.folder + "/made"), what)
        if what == "a second name":
            v.equal(v.read("/var/mail/ann-other"), b"precious\n", what)
        fresh("ann")
        veredus.command("queue", "flush")
        veredus.wait_empty(30)
        v.equal(mailbox.mbox(box)[0]["Subject"], what.replace(" ", "-"))
    v.equal(veredus.stop(), 0, "exit status")


def test_folders_of_others(t):
    """A Maildir or .forward that leads into another user's: what is done is done as the recipient, who may not."""
    veredus = start(t)
    for name in "ann", "bob":
        fresh(name)
    users.own(users.home("bob") + "/Maildir", "bob", mode=0o700)
    os.symlink(users.home("bob") + "/Maildir", users.home("ann") + "/Maildir")
    first = send(veredus, "ann@here.example")
    veredus.wait_log(first + ": to=<ann@here.example>.*dsn=4.2.0, status=deferred .*Permission denied")
    v.equal(os.listdir(users.home("bob") + "/Maildir"), [], "bob's")
    os.remove(users.home("ann") + "/Maildir")
    users.own(users.home("ann") + "/.forward", "ann", f"{users.home('bob')}/file, /etc/cron.d/x, {users.home('ann')}/own\n")
    second = send(veredus, "ann@here.example", "to-files")
    veredus.wait_log(second + ": .*status=deferred .*/etc/cron.d/x: Permission denied")
    veredus.wait_log(second + ": .*status=deferred .*/file: Permission denied")
    v.wait(lambda: os.path.exists(users.home("ann") + "/own"), 10, "her own file")
    v.check(not os.path.exists("/etc/cron.d/x") and not os.path.exists(users.home("bob") + "/file"), "files of others")
    veredus.command("queue", "delete", "--yes", "age=0s+", status=None)
    v.equal(veredus.stop(), 0, "exit status")


def test_group_that_is_lent(t):
    """A Maildir in /var/mail, where the child has the group mail: a user's link in it leads to no folder of that group's."""
    veredus = start(t, "local { mailbox = /var/mail/%u/ }\n")
    fresh("ann")
    target = "/var/mail/shared"
    os.makedirs(target, exist_ok=True)
    os.chown(target, 0, 8)
    os.chmod(target, 0o2775)
    users.own("/var/mail/ann", "ann", mode=0o700)
    for part, before in ("tmp", None), ("new", "tmp"):  # mail is tried again at any moment: no folder may be made between two links
        os.symlink(target, "/var/mail/ann/" + part)
        if before:
            os.remove("/var/mail/ann/" + before)
        queue_id = send(veredus, "ann@here.example")
        veredus.wait_log(queue_id + ": to=<ann@here.example>.*dsn=4.2.0, status=deferred .*not permitted")
        v.equal(os.listdir(target), [], "the group's folder")
    users.own("/var/mail/ann/elsewhere", "ann", mode=0o700)
    os.symlink("elsewhere", "/var/mail/ann/next")
    os.rename("/var/mail/ann/next", "/var/mail/ann/new")
    veredus.command("queue", "flush")
    veredus.wait_empty()
    v.equal(len(os.listdir("/var/mail/ann/elsewhere")), 2)
    fresh("ann")
    v.equal(veredus.stop(), 0, "exit status")


def test_forward_tricks(t):
    """A .forward that is no file of the user's: not read, not waited for, and the mail is in the mailbox.
    (sendmail CVE-1999-0044 and its kin: .forward and :include: read by root, through links, from folders that others write.)"""
    veredus = start(t)
    forward = users.home("ann") + "/.forward"
    secret = v.write(t.folder + "/secret", b"|touch " + t.folder.encode() + b"/pwned\n", 0o600)

    def huge():
        users.own(forward, "ann", b"")
        os.truncate(forward, 1 << 40)

    def home_open():
        users.own(forward, "ann", "bob\n")
        os.chmod(users.home("ann"), 0o777)

    def others():
        users.own(forward, "bob", "bob\n")

    tricks = [lambda: os.symlink(secret, forward), lambda: os.symlink("/dev/zero", forward), lambda: os.mkfifo(forward, 0o666),
              lambda: os.mkdir(forward), huge, home_open, others, lambda: users.own(forward, "ann", b"\"|x\n"),
              lambda: users.own(forward, "ann", b"a\0b, c\n")]
    for name in "ann", "bob":
        fresh(name)
    for i, trick in enumerate(tricks):
        fresh("ann")
        os.chmod(users.home("ann"), 0o755)
        trick()
        send(veredus, "ann@here.example", f"trick-{i}")
        v.wait(lambda: len(letters("ann")) == 1, 10, lambda: f"the letter of trick {i}: {veredus.log_text()[-600:]}")
    os.chmod(users.home("ann"), 0o755)
    fresh("ann")
    veredus.wait_empty()
    v.equal(letters("bob"), [], "bob's")
    v.check(not os.path.exists(t.folder + "/pwned"), "a command of a file that she can't read")
    v.equal(veredus.stop(), 0, "exit status")


def test_addresses(t):
    """Addresses that look like commands, files, lists, options and paths are names of users who are not there.
    (sendmail 5.55's MAIL FROM:<|...>, OpenSMTPD CVE-2020-7247, Exim CVE-2019-10149.)"""
    aliases("")
    veredus = start(t, "local { mailbox = ~/Maildir/ }\nlimits { errors = 100 }\n")
    smtp = v.Smtp(veredus.port)
    smtp.expect(250, "MAIL FROM:<\";touch pwned;\"@client.example>")
    for part in ("|touch /tmp/pwned", "/etc/passwd", ":include:/etc/passwd", "\\\\ann", "-oQ/tmp", "--", "../ann", "..", ".", "*", "%u",
                 "ann:x", "ann;id", "$(id)", "`id`", "${run{id}}", "~ann", "~/x", "~|id", "root\\ "):
        reply = smtp.say(f'RCPT TO:<"{part}"@here.example>')
        v.check(reply[:3] in ("550", "501", "553"), part, reply)
    smtp.expect(250, "RCPT TO:<ann@here.example>")
    smtp.close()
    fresh("ann")
    out = t.folder + "/environment"
    os.chmod(t.folder, 0o777)
    users.own(users.home("ann") + "/.forward", "ann", f"\"|env > {out}; ls -l /proc/self/fd > {out}.fd; cat /proc/self/status > {out}.status; cat > {out}.mail; echo done > {out}.done\"\n")
    send(veredus, "ann@here.example", "() { :;}; touch /tmp/pwned-by-header",
         sender='"() { :;}; touch pwned; \\"$IFS&|<>"@client.example', headers="X-Evil: () { :;}; touch pwned\r\n")
    v.wait(lambda: os.path.exists(out + ".done"), 15, lambda: "the command: " + veredus.log_text()[-600:])
    environment = dict(line.split("=", 1) for line in v.read(out).decode().splitlines() if "=" in line)
    v.equal(sorted(set(environment) - {"PWD", "_", "SHLVL", "OLDPWD"}),
            sorted(["PATH", "HOME", "USER", "LOGNAME", "SHELL", "SENDER", "RECIPIENT", "ORIGINAL_RECIPIENT", "LOCAL", "DOMAIN"]))
    v.check(re.fullmatch(r"[A-Za-z0-9!@%+:,./=_-]*", environment["SENDER"]), environment["SENDER"])
    # ls itself has the folder open as 3.
    v.equal(sorted(set(re.findall(r" (\d+) -> (?!/proc)", v.read(out + ".fd").decode()))), ["0", "1", "2"], "descriptors of a command")
    status = dict(line.split(":\t", 1) for line in v.read(out + ".status").decode().splitlines() if ":\t" in line)
    uid = str(pwd.getpwnam("ann").pw_uid)
    v.equal((set(status["Uid"].split()), set(status["Gid"].split()), set(status["Groups"].split())), ({uid}, {uid}, {uid}))
    v.equal([int(status[k], 16) for k in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")], [0] * 5)
    # 32 and 33 are the C library's own, and nobody can set them; they come from who started the tests.
    v.equal((status["Seccomp"], status["NoNewPrivs"], int(status["SigIgn"], 16) & ~(3 << 31)), ("2", "1", 0))
    veredus.wait_empty()
    v.check(not glob.glob(users.home("ann") + "/pwned*") and not os.path.exists("/tmp/pwned"), "what was never to run")
    fresh("ann")
    v.equal(veredus.stop(), 0, "exit status")


def test_trees_and_circles(t):
    """Lists without end: bounded, and the sender is told; a wide one reaches everybody once."""
    deep = "".join(f"deep{i}: deep{i + 1}\n" for i in range(40)) + "deep40: ann\n"
    double = "".join(f"d{i}: d{i + 1}, d{i + 1}, e{i}\ne{i}: d{i + 1}\n" for i in range(18)) + "d18: bob\n"
    wide = "wide: " + ",\n ".join(f"user{i}@elsewhere.example" for i in range(5000)) + ", ann\n"
    v.write(t.folder + "/self", "self@here.example\n")
    aliases(deep + double + wide + f"self: :include:{t.folder}/self\ninc: :include:{t.folder}/inc\n")
    v.write(t.folder + "/inc", "carol, |touch /tmp/pwned\n")
    for name in "ann", "bob", "carol":
        fresh(name)
    veredus = start(t)
    users.own(users.home("ann") + "/.forward", "ann", "bob\n")
    users.own(users.home("bob") + "/.forward", "bob", "carol\n")
    users.own(users.home("carol") + "/.forward", "carol", "ann\n")
    ids = {name: send(veredus, name + "@here.example", name) for name in ("ann", "deep0", "d0", "self", "inc")}
    veredus.wait_log(ids["deep0"] + ": to=<deep0@here.example>.*dsn=5.2.4, status=bounced .*without end")
    veredus.wait_log(ids["self"] + ": to=<self@here.example>.*dsn=5.4.6, status=bounced", 70)
    veredus.wait_log(ids["ann"] + ": to=<carol@here.example>.*dsn=5.4.6, status=bounced .*loop", 70)
    veredus.wait_log(ids["inc"] + ": to=<inc@here.example>.*dsn=5.7.1, status=bounced .*a command of a list is not allowed")
    veredus.wait_empty()  # d0's way leads over all three
    fresh("bob")
    os.remove(users.home("ann") + "/.forward")
    wide_id = send(veredus, "wide@here.example", "wide")
    v.wait(lambda: len(letters("ann")) == 1, 20, "ann's copy of the wide one")
    v.wait(lambda: f"{wide_id}: removed" in veredus.log_text(), 30, "the end of the wide one")
    back = v.mail("back", headers="Delivered-To: ann@here.example\r\n")
    smtp = v.Smtp(veredus.port)
    again = smtp.send("sender@client.example", "ann@here.example", back)
    smtp.close()
    veredus.wait_log(again + ": to=<ann@here.example>.*dsn=5.4.6, status=bounced .*forwarding loop")
    v.equal(len(letters("ann")), 1, "ann's letters")
    for name in "ann", "bob", "carol":
        fresh(name)
    aliases("")
    v.equal(veredus.stop(), 0, "exit status")


test_trees_and_circles.seconds = 200


def test_commands_of_lists(t):
    """Where commands and files may stand is the configuration's to say; in a list, only if nobody else keeps it."""
    for name in "ann", "bob", "carol":
        fresh(name)
    os.chmod(t.folder, 0o777)
    v.write(t.folder + "/list", f"bob, \"|cat >> {t.folder}/by-list\", {t.folder}/box\n")
    users.own(t.folder + "/others", "carol", f"bob, |echo x > {t.folder}/pwned\n")
    v.write(t.folder + "/again", f"|exit 75; {t.folder}/list\n")
    aliases(f"list: :include:{t.folder}/list\nothers: :include:{t.folder}/others\nagain: :include:{t.folder}/again\n"
            f"cmd: \"|echo x > {t.folder}/pwned\"\n")
    users.own(users.home("ann") + "/.forward", "ann", f":include:{users.home('ann')}/mine\n|cat >> by-forward\n")
    users.own(users.home("ann") + "/mine", "ann", f"|cat >> by-ann\n{users.home('ann')}/file\nann@here.example\n")
    veredus = start(t, "local { mailbox = ~/Maildir/ commands = { forward, include } files = { include } }\n")
    ids = {name: send(veredus, name + "@here.example", name) for name in ("list", "others", "again", "cmd", "ann")}
    for path in t.folder + "/by-list", t.folder + "/box", users.home("ann") + "/by-forward", users.home("ann") + "/by-ann", users.home("ann") + "/file":
        v.wait(lambda: os.path.exists(path) and b"\n\nHello\n" in v.read(path), 10, path)
    v.equal({pwd.getpwuid(os.stat(t.folder + "/" + name).st_uid).pw_name for name in ("by-list", "box")}, {"nobody"})
    veredus.wait_log(ids["others"] + ": .*dsn=5.7.1, status=bounced .*no command or file of the list .* counts for nobody: it belongs to another user")
    veredus.wait_log(ids["cmd"] + ": .*dsn=5.7.1, status=bounced .*a command of an alias is not allowed")
    veredus.wait_log(ids["again"] + ": .*dsn=4.3.0, status=deferred")
    v.write(t.folder + "/again.new", "carol\n")
    os.rename(t.folder + "/again.new", t.folder + "/again")
    veredus.command("queue", "flush")
    v.wait(lambda: len(letters("carol")) == 1, 10, "carol's letter")
    veredus.wait_empty()
    v.equal((len(letters("bob")), len(letters("ann"))), (2, 1), "whole lists")
    v.check(not os.path.exists(t.folder + "/pwned"))
    aliases("")
    v.equal(veredus.stop(), 0, "exit status")


def test_changed_meanwhile(t):
    """A command that its source does not name any more is not run, whatever stands in the queue; the mail goes where the
    source says now."""
    fresh("bob")
    os.chmod(t.folder, 0o777)
    aliases(f"cmd: \"|echo x >> {t.folder}/ran; exit 75\"\n")
    veredus = start(t, retry="first = 1h")
    queue_id = send(veredus, "cmd@here.example")
    veredus.wait_log(queue_id + ": .*dsn=4.3.0, status=deferred")
    aliases("cmd: bob\n")
    ran = v.read(t.folder + "/ran")
    veredus.command("queue", "flush")
    v.wait(lambda: len(letters("bob")) == 1, 10, lambda: "bob's letter: " + veredus.log_text()[-800:])
    v.equal(v.read(t.folder + "/ran"), ran)
    veredus.wait_empty()
    aliases("")
    v.equal(veredus.stop(), 0, "exit status")


def test_slow_command(t):
    """A command that hangs is ended with all that it started, and holds up nobody else's mail."""
    fresh("ann")
    fresh("bob")
    veredus = start(t, "local { mailbox = ~/Maildir/  command-time = 1s }\n")
    users.own(users.home("ann") + "/.forward", "ann", "\"|sh -c 'echo $$ > pid; sleep 1000' & sleep 1000\"\n")
    slow = send(veredus, "ann@here.example")
    send(veredus, "bob@here.example")
    v.wait(lambda: letters("bob"), 5, "bob's letter")
    veredus.wait_log(slow + ": .*status=deferred .*took longer than 1 s")
    path = users.home("ann") + "/pid"  # perhaps of a later attempt: the first may have had no time
    pid = int(v.wait(lambda: os.path.exists(path) and v.read(path), 10, "its number"))
    v.wait(lambda: not v.runs(pid), 10, "the end of what it started")
    fresh("ann")
    veredus.command("queue", "flush")
    veredus.wait_empty()
    v.equal(len(letters("ann")), 1)
    v.equal(veredus.stop(), 0, "exit status")


def test_many_slow_commands(t):
    """A user whose command takes long, for many letters: what is not his share of the children is there for others."""
    for name in "ann", "bob":
        fresh(name)
    veredus = start(t, "local { mailbox = ~/Maildir/  command-time = 100s  deliveries = 4 }\n")
    users.own(users.home("ann") + "/.forward", "ann", "\"|until test -e gate; do sleep 0.1; done\"\n")
    for i in range(6):
        send(veredus, "ann@here.example", f"slow-{i}")
    veredus.wait_log("to=<ann@here.example>.*status=expanded")
    time.sleep(0.5)
    send(veredus, "bob@here.example")
    v.wait(lambda: letters("bob"), 10, "bob's letter")
    users.own(users.home("ann") + "/gate", "ann", "")
    veredus.wait_empty()
    fresh("ann")
    v.equal(veredus.stop(), 0, "exit status")


@v.slow
def test_stopped_children(t):
    """A user who stops the processes that deliver to him: they are killed when their time is over, and take up no place
    of others' for ever."""
    for name in "ann", "bob":
        fresh(name)
    veredus = start(t, "local { mailbox = ~/Maildir/  command-time = 1s  deliveries = 1 }\n")
    users.own(users.home("ann") + "/stop", "ann", "#!/bin/sh\necho $PPID > pid\nkill -STOP $PPID\n", mode=0o755)
    users.own(users.home("ann") + "/.forward", "ann", f"|{users.home('ann')}/stop\n")
    stopped = send(veredus, "ann@here.example")
    path = users.home("ann") + "/pid"
    pid = int(v.wait(lambda: os.path.exists(path) and v.read(path), 5, "the command"))
    v.wait(lambda: not v.runs(pid) or v.read(f"/proc/{pid}/stat").split()[2] == b"T", 5, "its parent, stopped")
    send(veredus, "bob@here.example")
    veredus.wait_log(stopped + ": .*status=deferred .*ended without a word", 20)
    v.wait(lambda: letters("bob"), 5, "bob's letter")
    v.wait(lambda: not v.runs(pid), 5, "its end")
    fresh("ann")
    veredus.command("queue", "flush")
    veredus.wait_empty()
    v.equal(len(letters("ann")), 1)
    v.equal(veredus.stop(), 0, "exit status")


def test_full_disk(t):
    """A disk that fills in the middle of a letter: the mbox is what it was, byte for byte; nothing is lost."""
    veredus = start(t, "", "first = 1h")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=220k,mode=2775,gid=8", "tmpfs", "/var/mail"], check=True)
    t.defer(subprocess.run, ["umount", "/var/mail"])
    body = b"0123456789abcdef\r\n" * 5000  # 90 KB
    smtp = v.Smtp(veredus.port)
    ids = [smtp.send("sender@client.example", "ann@here.example", v.mail(f"mail-{i}", body)) for i in range(4)]
    smtp.close()
    for status in "sent", "deferred .*No space left":
        v.wait(lambda: len(re.findall("to=<ann@here.example>.*status=" + status, veredus.log_text())) == 2, 15, "two that fit, two that don't")
    veredus.wait_log("to=<ann@here.example>.*dsn=4.3.1, status=deferred .*No space left")
    found = mailbox.mbox("/var/mail/ann")
    v.equal(len(found), 2)
    v.check(all(len(m.get_payload()) == 17 * 5000 + 1 or len(m.get_payload()) == 17 * 5000 for m in found), [len(m.get_payload()) for m in found])
    subprocess.run(["mount", "-o", "remount,size=10m", "/var/mail"], check=True)
    veredus.command("queue", "flush")
    veredus.wait_empty()
    v.equal(sorted(m["Subject"] for m in mailbox.mbox("/var/mail/ann")), [f"mail-{i}" for i in range(4)], ids)
    v.equal(veredus.stop(), 0, "exit status")


def story(veredus, name, subjects):
    """What the log has of mails that are missing in NAME's mailbox, and the queue."""
    lines = veredus.log_text().splitlines()
    ids = {re.search(r": (\w+): message-id=", line)[1] for line in lines if any(f"message-id=<{s}@" in line for s in subjects)}
    return sorted(subjects), [line for line in lines if any(f": {i}: " in line for i in ids) and f"<{name}@" in line], veredus.listed()


def test_crashes(t):
    """local, its children and qmgr killed at any instant of deliveries: each letter is there, whole, in a Maildir once; an
    mbox has no broken letter but cut-off copies of whole ones."""
    for name in "ann", "bob", "carol":
        fresh(name)
    os.chmod(t.folder, 0o777)
    aliases("all: ann, bob, carol, box\nowner-all: root\nbox: /var/mail/box\n")
    veredus = start(t, "local { mailbox = ~/Maildir/ quota = 100M }\n")
    chance, count = random.Random(7), 120
    smtp = v.Smtp(veredus.port)
    end = time.monotonic() + 5
    kills = {"local": 0, "child": 0, "qmgr": 0}
    sent = 0
    while sent < count or time.monotonic() < end or sum(kills.values()) < 5:
        if sent < count:
            try:
                smtp.send("sender@client.example", "all@here.example", v.mail(f"mail-{sent}", b"x" * chance.randrange(10, 900) + b"\r\n"))
                sent += 1
            except (v.Failure, OSError):
                smtp = v.Smtp(veredus.port)
        if chance.random() < 0.08 and sum(kills.values()) < 12:
            what = chance.choice(list(kills))
            local = veredus.daemons("local")
            pids = veredus.daemons("qmgr") if what == "qmgr" else local
            try:
                if what == "child":
                    pids = [int(p) for pid in local for p in v.read(f"/proc/{pid}/task/{pid}/children").split()]
                for pid in pids[:1]:
                    os.kill(pid, signal.SIGKILL)
                    kills[what] += 1
            except OSError:
                pass
        time.sleep(0.003)
    smtp.close()
    v.wait(lambda: veredus.daemons("qmgr") and veredus.daemons("local"), 20, "the daemons")

    def empty():
        veredus.command("queue", "release", "--yes", "state=held", status=None)
        veredus.command("queue", "flush", status=None)
        return not veredus.listed()
    v.wait(empty, 60, lambda: f"an empty queue: {str(veredus.listed())[:600]}")
    want = {f"mail-{i}" for i in range(sent)}
    for name in "ann", "bob", "carol":
        subjects = []
        for path in letters(name):
            content = v.read(path)
            v.check(content.startswith(b"Return-Path: <owner-all@here.example>\n"), content[:200])
            v.check(content.endswith(b"x\n") and path.endswith(f",S={len(content)}"), path)
            subjects.append(re.search(rb"\nSubject: (\S+)\n", content)[1].decode())
        if set(subjects) != want:
            raise v.Failure(f"{name}: " + str(story(veredus, name, set(subjects) ^ want)))
        said = sum(int(line.split()[1]) for line in v.read(users.home(name) + "/Maildir/maildirsize").splitlines()[1:])
        v.check(len(subjects) <= said <= len(subjects) + sum(kills.values()) * 3, f"{name}: counted as {said}", len(subjects))
        v.check(len(subjects) - len(want) <= sum(kills.values()) * 3, f"{name}: {len(subjects)} letters of {len(want)}", kills)
    whole = [m["Subject"] for m in mailbox.mbox("/var/mail/box") if m.get_payload().rstrip("\n").endswith("x")]
    v.equal(set(whole), want, "the mbox")
    aliases("")
    v.equal(veredus.stop(), 0, "exit status")


if v.IS_ROOT:
    users.enter(["ann", "bob", "carol"], ["/etc/aliases"])
v.main(globals())
