# SPDX-License-Identifier: ISC
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import base64
import pwd
import re
import smtplib
import ssl
import subprocess

import installed
import pki
import veredus as v

# Daemon: root folder below the queue (None: not chrooted).
ROOTS = {"smtpd": "empty", "submission": "empty", "keeper": "empty", "bounce": "empty", "resolver": "empty", "smtp-client": "empty",
         "qmgr": "queue", "limits": "limits", "pickup": "maildrop", "logger": None, "checker": "empty", "table": "empty", "fetcher": "fetcher"}


def test_started_by_root(t):
    """Each daemon under its own uid, in its chroot, without capabilities, behind its filter; and mail flows."""
    if not v.IS_ROOT:
        raise v.Skip("needs root")
    users = t.folder + "/users"
    pair = pki.Pair(t.folder, "relay.example", "rsa")
    os.chown(pair.key, 0, 0)  # nobody's but root's
    veredus, sink, client = v.world(t, ("--reply-for", "bad@sink.example=550 5.1.1 no"), start=False,
                                    config=f"auth {{ users = {users}  introspection = https://127.0.0.1:9/  clear = loopback  smtp = yes }}\n"
                                    + pair.block())
    veredus.demote = {}
    os.chown(veredus.folder, 0, 0)
    veredus.command("user", "add", "ann", input=b"secret\n")
    v.equal(pwd.getpwuid(os.stat(users).st_uid).pw_name, "veredus-checker", "whose the users file is")
    veredus.start()
    smtp = v.Smtp(veredus.port)
    smtp.expect(535, "AUTH PLAIN " + base64.b64encode(b"\0ann\0wrong").decode())
    smtp.expect(235, "AUTH PLAIN " + base64.b64encode(b"\0ann\0secret").decode())
    smtp.close()
    smtp = v.Smtp(veredus.port)
    smtp.send("sender@client.example", ["rcpt@sink.example", "bad@sink.example"], v.mail("as root", b"x\r\n" * 60000))
    smtp.close()
    sink.wait_mails(1)
    client.wait_mails(1)
    with smtplib.SMTP("127.0.0.1", veredus.port, timeout=20 * v.WAITS) as secured:
        v.equal(secured.starttls(context=ssl._create_unverified_context())[0], 220, "STARTTLS")
    daemons = veredus.daemons()
    uids = set()
    for name, root in ROOTS.items():
        v.check(daemons.get(name), name, "does not run:", daemons)
        for pid in daemons[name]:
            status = v.read(f"/proc/{pid}/status").decode()
            fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            uid = set(fields["Uid"].split())
            v.equal(len(uid), 1, name + " uid")
            v.check("0" not in uid, name, "runs as root")
            uids |= uid
            v.equal(set(fields["Gid"].split()) & {"0"}, set(), name + " gid")
            v.check(set(fields.get("Groups", "").split()) <= set(fields["Gid"].split()), name, "groups", fields.get("Groups"))
            for kind in "CapPrm", "CapEff", "CapInh", "CapAmb":
                v.equal(int(fields[kind], 16), 0, f"{name} {kind}")
            v.equal(fields["Seccomp"], "2", name + " seccomp")
            v.equal(fields["NoNewPrivs"], "1", name + " no_new_privs")
            where = os.readlink(f"/proc/{pid}/root")
            v.equal(where, f"{veredus.queue}/{root}" if root else "/", name + " chroot")
            found = pki.found_in(pid, pair.secrets())
            v.check((name == "keeper") == bool(found), name, "has of the key:", found)
    v.equal(len(uids), len(ROOTS), "a uid for each")
    master = v.read(f"/proc/{veredus.process.pid}/status").decode()
    kept = int(re.search(r"CapEff:\t(\w+)", master)[1], 16)
    everything = int(re.search(r"CapBnd:\t(\w+)", v.read("/proc/self/status").decode())[1], 16)
    v.check(kept and kept != everything, "master keeps", hex(kept))
    v.check("sink.example" in veredus.command("trace", "as.root@client.example") or True)
    veredus.wait_empty()
    v.equal(veredus.stop(), 0, "exit status")


def test_pam(t):
    """PAM's processes under a user of their own, or as root without a right that root has; both can ask modules."""
    if not v.IS_ROOT:
        raise v.Skip("needs root")
    v.write(t.folder + "/relay", "auth required pam_debug.so auth=success\naccount required pam_permit.so\n")
    for user in "veredus-pam", "root":
        veredus = t.veredus("route * { to = discard }\n"
                            f"auth {{ pam = relay  pam-folder = {t.folder}  pam-user = {user}  clear = loopback  smtp = yes }}\n", name=user)
        veredus.demote = {}
        os.chown(veredus.folder, 0, 0)
        veredus.start()
        checker = veredus.daemons("checker")[0]
        workers = v.wait(lambda: jailed_children(checker, 2), 10, "two processes behind their filters")
        for pid in workers:
            fields = dict(line.split(":\t", 1) for line in v.read(f"/proc/{pid}/status").decode().splitlines() if ":\t" in line)
            v.equal(set(fields["Uid"].split()), {str(pwd.getpwnam(user).pw_uid)}, "uid")
            v.check(int(fields["CapEff"], 16) & ~(1 << 29 if user == "root" else 0) == 0, "CapEff", fields["CapEff"])
            v.equal((fields["CapBnd"].strip("0"), fields["CapAmb"].strip("0")), ("", ""), "capabilities to be had")
            v.equal((fields["Seccomp"], fields["NoNewPrivs"]), ("2", "1"))
            v.equal(sorted(os.listdir(f"/proc/{pid}/fd")), ["0", "1", "2", "3"], "descriptors")
        v.wait(lambda: "AUTH" in v.Smtp(veredus.port).say("EHLO x"), 10, "AUTH to be offered")
        v.Smtp(veredus.port).expect(235, "AUTH PLAIN " + base64.b64encode(b"\0ann\0any").decode())
        v.equal(veredus.stop(), 0, "exit status")


def jailed_children(pid, count):
    """Those of that process, once there are so many, and each has given up what it gives up."""
    try:
        pids = [int(child) for child in v.read(f"/proc/{pid}/task/{pid}/children").split()]
        return len(pids) == count and all(b"Seccomp:\t2" in v.read(f"/proc/{child}/status") for child in pids) and pids
    except OSError:
        return None


def test_without_users_it_says_so(t):
    if not v.IS_ROOT:
        raise v.Skip("needs root")
    subprocess.run(["umount", "/etc/passwd"], check=True)
    t.defer(subprocess.run, ["mount", "--bind", os.environ["VEREDUS_USERS"] + "/passwd", "/etc/passwd"])
    veredus = t.veredus("")
    done = subprocess.run([veredus.build + "/veredus", "run", "-c", veredus.conf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=30, cwd=veredus.folder)
    text = done.stdout.decode()
    v.check(done.returncode != 0 and "veredus-qmgr" in text and "make install" in text, done.returncode, text)


if v.IS_ROOT:
    installed.enter([*ROOTS, "local", "master", "pam", "postdrop"])
v.main(globals())
