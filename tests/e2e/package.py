# SPDX-License-Identifier: ISC
"""The Debian package: built from a clean copy of the tree, then installed, used, upgraded, removed and purged by dpkg in
a root that is this machine's own with a layer above it. Nothing of that reaches this machine; what the layer has at the
end is what the package left."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import glob
import re
import shutil
import subprocess

import veredus as v

NAME = "mail.here.example"
# What dpkg, adduser, systemd's helpers and the loader keep for themselves.
THEIRS = r"/(var/lib/dpkg|var/cache|var/log/(dpkg\.log|alternatives\.log|apt)|etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|etc/\.pwd\.lock|" \
         r"etc/ld\.so\.cache|etc/systemd/system/multi-user\.target\.wants$|var/lib/(man-db|systemd|apt)|root|home|proc|dev|run|tmp|sys)"
# Any mail server's: Debian's policy has them outlive each.
SHARED = {"/etc/aliases", "/etc/mailname", "/var/mail/ann"}


def build(t):
    """The package's file."""
    if not shutil.which("dpkg-buildpackage") or not shutil.which("dh"):
        raise v.Skip("no dpkg-buildpackage or no dh")
    tree = t.folder + "/veredus"
    shutil.copytree(v.ROOT, tree, ignore=lambda folder, _: {"build", ".git", "corpus"} if folder == v.ROOT or folder.endswith("/fuzz") else set())
    environment = {key: value for key, value in os.environ.items() if key not in ("CFLAGS", "LDFLAGS", "MAKEFLAGS", "MAKELEVEL", "BUILD")}
    done = subprocess.run(["dpkg-buildpackage", "-b", "-us", "-uc"], cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=500,
                          env=dict(environment, DEB_BUILD_OPTIONS=f"noautodbgsym parallel={os.cpu_count()}", DEB_CFLAGS_SET="-O2"))
    v.equal(done.returncode, 0, done.stdout.decode()[-2000:])
    found = glob.glob(t.folder + "/veredus_*.deb")
    v.equal(len(found), 1, found)
    return found[0]


def newer(t, package):
    """The same, as a later version; the file."""
    folder, later = t.folder + "/newer", t.folder + "/veredus_later.deb"
    subprocess.run(["dpkg-deb", "-R", package, folder], check=True)
    control = v.read(folder + "/DEBIAN/control").decode()
    v.write(folder + "/DEBIAN/control", re.sub(r"(?m)^Version: .*", r"\g<0>+later", control))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", folder, later], check=True, stdout=subprocess.DEVNULL)
    return later


class Root:
    """This machine's files with a layer above them, in namespaces of its own: loopback alone, no process but its own."""

    def __init__(self, t):
        self.folder = t.folder + "/root"
        os.mkdir(self.folder)
        enter = f"""set -e
mount -t tmpfs tmpfs {self.folder}
mkdir -p {self.folder}/up {self.folder}/work {self.folder}/all
mount -t overlay overlay -o lowerdir=/,upperdir={self.folder}/up,workdir={self.folder}/work {self.folder}/all
cd {self.folder}/all
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
ip link set lo up
hostname {NAME}
echo ready
exec sleep infinity"""
        self.process = subprocess.Popen(["unshare", "-mnpuf", "--kill-child", "--propagation", "private", "sh", "-c", enter],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        t.defer(self.process.wait)
        t.defer(self.process.kill)
        said = self.process.stdout.readline()
        v.equal(said, b"ready\n", "the layered root")
        self.child = int(v.read(f"/proc/{self.process.pid}/task/{self.process.pid}/children").split()[0])
        # The first person of a Debian machine, for whom root's mail is.
        self.run("sed -i '/^[^:]*:[^:]*:1000:/d' /etc/passwd; useradd -u 1000 -M -d /nonexistent ann")
        self.run(f"printf '127.0.0.1 localhost\\n127.0.1.1 {NAME} mail\\n' >/etc/hosts; rm -f /etc/aliases /etc/mailname")

    def argv(self, command):
        return ["nsenter", f"--target={self.child}", "-m", "-n", "-p", "-u", "chroot", self.folder + "/all",
                "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "sh", "-c", command]

    def run(self, command, status=0, input=b""):
        done = subprocess.run(self.argv(command), input=input, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=150)
        text = done.stdout.decode(errors="replace")
        v.check(done.returncode == status, command, "ended with", done.returncode, text[-1500:])
        return text

    def serve(self, t):
        log = open(t.folder + "/serve.log", "ab")
        server = subprocess.Popen(self.argv("echo $$ >/run/pid; exec /usr/sbin/veredus run"), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        v.wait(lambda: subprocess.run(self.argv("veredus status"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT).returncode == 0, 20,
               lambda: "no answer: " + v.read(t.folder + "/serve.log").decode()[-1500:])
        return server

    def stop(self, server):
        self.run("kill $(cat /run/pid)")
        v.equal(server.wait(30), 0, "veredus run")

    def left(self):
        """What the layer has beside folders that are this machine's too, and the text of the accounts."""
        found = set()
        for folder, folders, files in os.walk(f"/proc/{self.child}/root{self.folder}/up"):
            for name in files + [name for name in folders if not os.listdir(os.path.join(folder, name))]:
                found.add(os.path.join(folder, name).split("/root/up", 1)[1])
        accounts = self.run("sort /etc/passwd /etc/group /etc/shadow /etc/gshadow; dpkg-statoverride --list")
        return {path for path in found if not re.match(THEIRS, path) and not os.path.isdir(path)}, accounts


def from_cron(root, to, text):
    """As cron calls it."""
    root.run(f"exec setpriv --reuid=ann --regid=ann --clear-groups env -i HOME=/nonexistent LOGNAME=ann SHELL=/bin/sh PATH=/usr/bin:/bin "
             f"/usr/sbin/sendmail -FCronDaemon -i -B8BITMIME -oem {to}", input=f"From: root (Cron Daemon)\nTo: {to}\nSubject: {text}\n\n{text}\n".encode())


def box(root):
    return root.run("cat /var/mail/ann 2>/dev/null; true")


def installed(root):
    """What other packages stand on, with owners and modes."""
    said = root.run("stat -c '%n %U %G %a' /usr/sbin/postdrop /etc/veredus/veredus.conf; readlink -f /usr/lib/sendmail /usr/bin/mailq /usr/bin/newaliases; "
                    "cat /etc/mailname; dpkg-query -W -f '${Provides}\\n' veredus; newaliases; dpkg --verify veredus")
    v.equal(said.splitlines(), ["/usr/sbin/postdrop root veredus-postdrop 2755", "/etc/veredus/veredus.conf root root 644"] +
            ["/usr/sbin/sendmail", "/usr/sbin/veredus", "/usr/sbin/veredus", NAME, "mail-transport-agent", "/etc/aliases: 4 aliases"])
    v.check("fine" in root.run("veredus check"), root.run("veredus check"))
    users = set(re.findall(r"^u (\S+)", v.read(v.ROOT + "/examples/veredus.sysusers").decode(), re.M))
    v.equal(set(re.findall(r"^(veredus-\S+?):", root.run("cat /etc/passwd"), re.M)), users)


@v.slow
def test_life(t):
    if not v.IS_ROOT:
        raise v.Skip("not root")
    package = build(t)
    later = newer(t, package)
    root = Root(t)
    before = root.left()
    shutil.copy(package, f"/proc/{root.child}/root{root.folder}/all/tmp/first.deb")
    shutil.copy(later, f"/proc/{root.child}/root{root.folder}/all/tmp/later.deb")

    # With the daemons down, and then with them.
    root.run("dpkg -i /tmp/first.deb")
    installed(root)
    from_cron(root, "ann", "while nobody serves")
    v.check("nobody serves" not in box(root), box(root))
    server = root.serve(t)
    v.wait(lambda: "\nwhile nobody serves\n" in box(root), 20, "the first mail")
    root.run("python3 -c 'import smtplib; smtplib.SMTP(\"127.0.0.1\").sendmail(\"ann@localhost\", \"postmaster@" + NAME + "\", \"Subject: x\\n\\nby SMTP\")'")
    v.wait(lambda: "\nby SMTP\n" in box(root), 20, "a mail by SMTP")
    from_cron(root, "far@elsewhere.example", "for later")
    v.wait(lambda: "far@elsewhere.example" in root.run("mailq"), 20, "a mail that waits")
    root.stop(server)

    # An upgrade keeps the queue, what is in the maildrop, the configuration as it is now, and an administrator's mode.
    from_cron(root, "ann", "before the upgrade")
    root.run("echo '# mine' >>/etc/veredus/veredus.conf")
    root.run("dpkg -i /tmp/later.deb")
    installed(root)
    v.check(root.run("dpkg-query -W veredus").strip().endswith("+later"), root.run("dpkg-query -W veredus"))
    v.check("# mine" in root.run("cat /etc/veredus/veredus.conf"), "the configuration was written anew")
    server = root.serve(t)
    v.wait(lambda: "\nbefore the upgrade\n" in box(root), 20, "the mail from before the upgrade")
    v.check("far@elsewhere.example" in root.run("mailq"), root.run("mailq"))
    root.stop(server)

    # Removed it keeps what it had; installed again it has that.
    root.run("dpkg -r veredus")
    root.run("test ! -e /usr/sbin/sendmail && test -e /etc/veredus/veredus.conf && test -d /var/spool/veredus/maildrop && getent passwd veredus-qmgr")
    root.run("dpkg -i /tmp/first.deb")
    installed(root)
    server = root.serve(t)
    v.check("far@elsewhere.example" in root.run("mailq"), root.run("mailq"))
    root.stop(server)
    v.equal(box(root).count("Subject: "), 3, box(root))

    root.run("dpkg -P veredus")
    files, accounts = root.left()
    v.equal(files - before[0] - SHARED, set(), "left behind")
    root.run(f"test -s /etc/aliases && grep -q {NAME} /etc/mailname")
    v.equal(accounts, before[1], "accounts")


test_life.seconds = 600
v.main(globals())
