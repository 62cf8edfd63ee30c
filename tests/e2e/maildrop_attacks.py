# SPDX-License-Identifier: ISC
"""What users of the machine try at postdrop(1), the maildrop and pickup, in an installation with its users and modes."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import glob
import grp
import pwd
import re
import resource
import signal
import socket
import stat
import struct
import subprocess
import time

import installed
import veredus as v

USERS = ("smtpd", "submission", "keeper", "bounce", "resolver", "smtp-client", "qmgr", "limits", "pickup", "logger", "checker", "table",
         "fetcher", "local", "pam", "master")
MAILDROP = installed.SPOOL + "/maildrop"
HATCH = installed.SPOOL + "/hatch"


def frame(tag, value):
    return tag + struct.pack("<I", len(value)) + value


def mail(sender=b"ann@x.example", to=(b"bob@x.example",), content=b"Subject: x\r\n\r\nbody\r\n", end=frame(b"E", b"\0")):
    pieces = [content[i:i + 65536] for i in range(0, len(content), 65536)]
    return (frame(b"B", b"veredus 1") + frame(b"S", sender) + b"".join(frame(b"R", b"\0" + a) for a in to)
            + b"".join(frame(b"C", piece) for piece in pieces) + end)


class Machine:
    def __init__(self, t, start=True, config=""):
        if not v.IS_ROOT:
            raise v.Skip("needs root")
        installed.spool(t)
        self.t = t
        self.sbin = installed.programs(t)
        port = v.free_port()
        self.sink = t.sink(f"127.0.0.1:{port}")
        self.veredus = t.veredus(f"queue = {installed.SPOOL}\nroute * {{ to = smtp:[127.0.0.1]:{port} }}\n" + config)
        self.veredus.queue = installed.SPOOL
        self.veredus.demote = {}
        os.chown(self.veredus.folder, 0, 0)
        self.veredus.start()
        if not start:
            self.veredus.stop()

    def postdrop(self, *words, user="ann", input=b"", env=None, before=None, **more):
        """(status, what was said)"""
        who = pwd.getpwnam(user)
        done = subprocess.run([self.sbin + "/postdrop", *words], input=input, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=60 * v.PATIENCE, user=who.pw_uid, group=who.pw_gid, extra_groups=[], env=env or {}, preexec_fn=before,
                              cwd="/", **more)
        return done.returncode, done.stdout.decode(errors="replace")

    def drop(self, **more):
        status, said = self.postdrop(**more)
        v.check(status == 0 and re.fullmatch("[0-9a-f]{16}\n", said), status, said)

    def files(self):
        return sorted(name for name in os.listdir(MAILDROP) if name != "corrupt")

    def arrived(self, count):
        self.sink.wait_mails(count)
        v.wait(lambda: not self.files(), 10, lambda: f"an empty maildrop: {self.files()}")
        return self.sink.mails()

    def still_serves(self):
        """Behind all that was tried the next mail goes its way."""
        before = len(self.sink.mails())
        self.drop(input=mail(), user="eve")
        self.sink.wait_mails(before + 1)

    def plant(self, name, content=b"", uid=None, mode=0o404):
        """What who has broken postdrop could leave; the name's user owns it unless said."""
        path, beside = MAILDROP + "/" + name, "/var/spool/planted"
        v.write(beside, content)
        os.chmod(beside, mode)
        os.chown(beside, int(name.split("-")[1]) if uid is None else uid, grp.getgrnam("veredus-postdrop").gr_gid)
        os.rename(beside, path)
        return path


def file_of(content=b"Subject: x\r\n\r\nbody\r\n", fields=None, lengths=None, sender=b"ann@x.example", flags=0, sum=0):
    fields = frame(b"S", sender) + frame(b"R", b"\0bob@x.example") if fields is None else fields
    told = lengths or (len(fields), len(content))
    return b"VERDROP\1" + struct.pack("<IIQQQ", told[0], flags, told[1] | sum << 32, int(time.time() * 1e6), 7) + fields + content


def test_modes(t):
    """Nobody reads the folder's names, or another's mail; postdrop has the group alone. (CVE-2009-2939, CVE-2020-8793)"""
    m = Machine(t, start=False)
    st = os.stat(MAILDROP)
    v.equal((oct(st.st_mode & 0o7777), st.st_uid, st.st_gid),
            (oct(0o1730), pwd.getpwnam("veredus-pickup").pw_uid, grp.getgrnam("veredus-postdrop").gr_gid))
    m.drop(input=mail())
    name, = m.files()
    ann = pwd.getpwnam("ann").pw_uid
    v.check(name.startswith(f"m-{ann}-"), name)
    st = os.stat(MAILDROP + "/" + name)
    v.equal((st.st_uid, oct(st.st_mode & 0o7777), st.st_gid), (ann, oct(0o404), grp.getgrnam("veredus-postdrop").gr_gid))
    for words in (["ls", MAILDROP], ["cat", MAILDROP + "/" + name], ["rm", "-f", MAILDROP + "/" + name], ["touch", MAILDROP + "/m-1-1"],
                  ["ln", MAILDROP + "/" + name, "/tmp/veredus-link"], ["mv", MAILDROP, MAILDROP + "2"]):
        for user in "ann", "eve":
            who = pwd.getpwnam(user)
            done = subprocess.run(words, user=who.pw_uid, group=who.pw_gid, extra_groups=[], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            v.check(done.returncode != 0, user, words, done.stdout)
    # With the group alone (postdrop broken): another's mail is neither read nor removed, nor are names seen.
    group = grp.getgrnam("veredus-postdrop").gr_gid
    for words in ["ls", MAILDROP], ["cat", MAILDROP + "/" + name], ["rm", "-f", MAILDROP + "/" + name]:
        done = subprocess.run(words, user=pwd.getpwnam("eve").pw_uid, group=group, extra_groups=[], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        v.check(done.returncode != 0, "with the group", words, done.stdout)
    v.equal(m.files(), [name])
    m.veredus.start()
    m.arrived(1)
    v.check(f"(from uid:{ann})" in m.sink.mails()[0][1].decode(), m.sink.mails())
    m.veredus.wait_log(rf"pickup\[\d+\]: \w+: uid={ann} from=<ann@x.example>")


def open_files(pid):
    """What its descriptors are, as far as they are still there."""
    found = []
    for path in glob.glob(f"/proc/{pid}/fd/*"):
        try:
            found.append(os.readlink(path))
        except OSError:
            continue
    return found


def test_environment_and_descriptors(t):
    """What the caller leaves to a setgid program. (CVE-2008-3889, CVE-2010-3856, CVE-2020-28012, CVE-2023-4911)"""
    m = Machine(t)
    library = v.write(t.folder + "/evil.so", b"not a library", 0o755)
    status, said = m.postdrop(input=mail(), env={"LD_PRELOAD": library, "LD_LIBRARY_PATH": t.folder, "TMPDIR": t.folder, "MALLOC_CHECK_": "3",
                                                 "GLIBC_TUNABLES": "glibc.malloc.check=3:=3", "LD_AUDIT": library, "NAME": "x" * 100000,
                                                 "MAIL_CONFIG": t.folder, "VEREDUS_SPOOL": t.folder, "TZ": "../../" + library})
    v.equal(status, 0, said)
    # A descriptor of somebody's: it does not reach the maildrop, and none of ours takes the place of standard error.
    for closed in (1,), (2,), (1, 2), (0,), (0, 1, 2):
        before = len(os.listdir(MAILDROP))

        def close(which=closed):
            for fd in which:
                os.close(fd)
        who = pwd.getpwnam("ann")
        child = subprocess.Popen([m.sbin + "/postdrop"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 user=who.pw_uid, group=who.pw_gid, extra_groups=[], preexec_fn=close)
        try:
            child.communicate(mail(), timeout=30)
        except BrokenPipeError:
            pass
        v.equal(child.wait(30) == 0, 0 not in closed, closed)
    found = m.arrived(4)
    v.check(all(content.endswith(b"Subject: x\r\n\r\nbody\r\n") for _, content in found), found)
    # All of what was open is closed, and none of its rights can be had by a debugger or a core.
    child = subprocess.Popen([m.sbin + "/postdrop"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, close_fds=False,
                             user=who.pw_uid, group=who.pw_gid, extra_groups=[], env={"LOUD": "1"})
    v.wait(lambda: any(path.startswith(MAILDROP + "/") for path in open_files(child.pid)), 10, lambda: f"its file: {open_files(child.pid)}")
    v.equal(len(os.listdir(f"/proc/{child.pid}/fd")), 5, "descriptors: three, the folder, the file")
    v.check(os.stat(f"/proc/{child.pid}/mem").st_uid == 0, "is dumpable")
    fields = dict(line.split(":\t", 1) for line in v.read(f"/proc/{child.pid}/status").decode().splitlines() if ":\t" in line)
    v.equal((fields["NoNewPrivs"], set(fields["Uid"].split())), ("1", {str(who.pw_uid)}))
    child.communicate(mail())
    m.arrived(5)


def test_no_other_folder(t):
    """The setgid program writes to the one place that it was built for. (CVE-2020-28007, CVE-2020-28014)"""
    m = Machine(t)
    os.mkdir(t.folder + "/mine", 0o777)
    status, said = m.postdrop("-d", t.folder + "/mine", input=mail())
    v.equal(status, 77, said)
    for words in ["-c", "/etc/shadow"], ["-d"], ["--help"], ["-d", t.folder + "/mine", "x"]:
        status, said = m.postdrop(*words, input=mail())
        v.check(status in (64, 77), words, status, said)
    v.equal(m.files(), [])
    v.equal(os.listdir(t.folder + "/mine"), [])
    m.still_serves()


def test_frames(t):
    """What is no mail is refused, and nothing of it is left. (CVE-2020-28015, CVE-2020-28021, CVE-2020-7247: what an envelope may hold)"""
    m = Machine(t)
    begin = frame(b"B", b"veredus 1")
    for what in (b"", b"x", b"B", begin, begin + frame(b"S", b"a"), mail(end=b""), mail()[:-1], mail() + b"x", mail(to=()),
                 mail(to=[b"a"] * 1001), mail(sender=b"a\nb"), mail(to=[b"a\r\nRCPT TO:<eve>"]), mail(to=[b"a\0b"]), mail(sender=b"x" * 321),
                 mail(to=[b""]), begin + b"S\xff\xff\xff\xff" + b"x" * 1000, begin + frame(b"R", b"\0a"), mail(end=frame(b"E", b"\xff")),
                 b"\0" * 100000, os.urandom(4000)):
        status, said = m.postdrop(input=what)
        v.check(status == 65 and said.startswith("postdrop: "), what[:60], status, said)
    v.equal(m.files(), [])
    # Addresses that mean something to a shell or an option parser are addresses.
    m.drop(input=mail(sender=b"-oQ/tmp@x.example", to=[b"--@x.example", b"|id@x.example", b"`id`@x.example", b"../../etc@x.example"]))
    m.arrived(1)


def test_sizes_and_numbers(t):
    """One user's mails are bounded, whatever he does; others' go on. (CVE-2020-28009, CVE-2005-1513: input without an end)"""
    m = Machine(t, start=False)
    ann = pwd.getpwnam("ann").pw_uid
    for i in range(4095):
        os.mknod(f"{MAILDROP}/m-{ann}-{i}", 0o600 | stat.S_IFREG)
    m.drop(input=mail())
    v.check(f"m-{ann}-4095" in m.files(), "the slot that was free")
    status, said = m.postdrop(input=mail())
    v.check(status == 75 and "too many mails of yours" in said, status, said)
    m.drop(input=mail(), user="eve")
    for i in range(4095):
        os.remove(f"{MAILDROP}/m-{ann}-{i}")
    # Limits that the caller sets are his own: too small a file is an error, and leaves nothing.
    before = m.files()
    status, said = m.postdrop(input=mail(content=b"x" * 200000), before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000)))
    v.check(status not in (0, -signal.SIGXFSZ) and "large" in said, status, said)
    v.equal(m.files(), before)
    # Ended in the middle: nothing is left, but of SIGKILL a name, of which pickup knows that it is no mail.
    for number in signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL:
        who = pwd.getpwnam("ann")
        child = subprocess.Popen([m.sbin + "/postdrop"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 user=who.pw_uid, group=who.pw_gid, extra_groups=[],
                                 preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
        child.stdin.write(mail()[:-10])
        child.stdin.flush()
        v.wait(lambda: len(m.files()) > len(before), 10, "a file")
        os.kill(child.pid, number)
        child.communicate()
        v.equal(len(m.files()) - len(before), 1 if number == signal.SIGKILL else 0, number)
    left, = set(m.files()) - set(before)
    v.equal(oct(os.stat(MAILDROP + "/" + left).st_mode & 0o7777), oct(0o600))
    os.utime(MAILDROP + "/" + left, (1, time.time() - 2 * 86400))
    m.veredus.start()
    m.arrived(2)
    m.veredus.wait_log("removed " + left)


def test_room(t):
    """A mail for which there was room when it began leaves the disk's last part to others all the same."""
    m = Machine(t, start=False)
    of = f"size=20m,nr_inodes=200,mode=1730,uid={pwd.getpwnam('veredus-pickup').pw_uid},gid={grp.getgrnam('veredus-postdrop').gr_gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", of, "tmpfs", MAILDROP], check=True)
    t.defer(subprocess.run, ["umount", "-l", MAILDROP])
    status, said = m.postdrop(input=mail(content=b"x" * 20_500_000))
    v.check(status == 75 and "No space left" in said, status, said)
    v.equal(m.files(), [])
    m.drop(input=mail(content=b"x" * 15_000_000))
    # Nor do many that are small leave no file to others.
    for i in range(190):
        os.mknod(f"{MAILDROP}/m-{i}-0", 0o600 | stat.S_IFREG)
    status, said = m.postdrop(input=mail())
    v.check(status == 75 and "no room for mail" in said, status, said)
    for i in range(3):
        os.remove(f"{MAILDROP}/m-{i}-0")
    m.drop(input=mail())


def test_hostile_files(t):
    """Whatever lies in the maildrop, pickup opens mail alone, and says what it moved away.
    (CVE-2008-2936, CVE-2020-8793 and the links of 2015 in OpenSMTPD's offline folder, CVE-2020-28008)"""
    m = Machine(t, start=False)
    ann, eve = pwd.getpwnam("ann").pw_uid, pwd.getpwnam("eve").pw_uid
    secret = v.write(t.folder + "/secret", b"Subject: x\r\n\r\nTOP SECRET\r\n", 0o600)
    hostile = {
        f"m-{ann}-0": lambda p: os.symlink(secret, p),
        f"m-{ann}-1": lambda p: os.mkfifo(p, 0o666),
        f"m-{ann}-2": lambda p: os.mkdir(p, 0o777),
        f"m-{ann}-3": lambda p: os.mknod(p, 0o666 | stat.S_IFCHR, os.makedev(1, 5)),  # /dev/zero
        f"m-{ann}-4": lambda p: os.link(m.plant(f"m-{ann}-40", file_of()), p),
        f"m-{ann}-5": lambda p: m.plant(f"m-{ann}-5", file_of(), uid=eve),  # in another's name
        f"m-{ann}-6": lambda p: m.plant(f"m-{ann}-6", b"x"),
        f"m-{ann}-7": lambda p: m.plant(f"m-{ann}-7", b"\0" * 5000),
        f"m-{ann}-8": lambda p: m.plant(f"m-{ann}-8", file_of(lengths=(0xffffffff, 5))),
        f"m-{ann}-9": lambda p: m.plant(f"m-{ann}-9", file_of(lengths=(40, 1 << 62))),
        f"m-{ann}-10": lambda p: m.plant(f"m-{ann}-10", file_of(fields=frame(b"S", b"a\nb") + frame(b"R", b"\0x"))),
        f"m-{ann}-11": lambda p: m.plant(f"m-{ann}-11", file_of(fields=frame(b"R", b"\0x"))),
        f"m-{ann}-12": lambda p: os.truncate(m.plant(f"m-{ann}-12", file_of()), 1 << 40),  # a sparse giant
        f"m-{ann}-13": lambda p: m.plant(f"m-{ann}-13", file_of(flags=4, sum=1)),
        f"m-{ann}-14": lambda p: m.plant(f"m-{ann}-14", file_of(b"x" * 65536, flags=4, sum=1)),
        f"m-{ann}-4096": lambda p: m.plant(f"m-{ann}-4096", file_of()),
        "m-01-0": lambda p: m.plant("m-01-0", file_of()),
        "core": lambda p: v.write(p, file_of(), 0o666),
        ".hidden": lambda p: v.write(p, file_of(), 0o666),
        "-rf": lambda p: v.write(p, file_of(), 0o666),
        "a\nb": lambda p: v.write(p, file_of(), 0o666),
        "x" * 255: lambda p: v.write(p, file_of(), 0o666),
    }
    for name, make in hostile.items():
        make(MAILDROP + "/" + name)
    m.plant(f"m-{eve}-17", file_of(b"Subject: good\r\n\r\nbody\r\n"))
    m.veredus.start()
    mails = m.sink.wait_mails(1)
    v.wait(lambda: set(m.files()) <= {f"m-{ann}-2"}, 10, lambda: f"all moved: {m.files()}")
    v.equal([b"good" in content for _, content in mails], [True], "what was sent")
    m.still_serves()
    v.check(not any(b"SECRET" in content for _, content in m.sink.mails()), "told")
    v.equal(v.read(secret), b"Subject: x\r\n\r\nTOP SECRET\r\n")
    v.check(len(os.listdir(MAILDROP + "/corrupt")) >= len(hostile) - 1, os.listdir(MAILDROP + "/corrupt"))
    def said():
        return re.findall(r"warning: .*|pickup\[\d+\]: (\S+ in the maildrop is no mail: .*)", m.veredus.log_text())
    v.wait(lambda: any("symbolic link" in line for line in said()) or len(said()) >= 10, 5, lambda: f"the log's lines: {said()}")
    log = m.veredus.log_text()
    v.check("a\nb in the maildrop" not in log, "a line of another's making")
    pid, = m.veredus.daemons("pickup")
    v.check(v.runs(pid))


def test_swapped_while_it_is_read(t):
    """Files that become links, FIFOs and devices from one moment to the next. (CVE-2008-2936, CVE-2020-28008)"""
    m = Machine(t)
    ann = pwd.getpwnam("ann").pw_uid
    secret = v.write(t.folder + "/spool/secret", file_of(b"Subject: x\r\n\r\nTOP SECRET\r\n"), 0o600)
    end = time.monotonic() + 3
    kinds = (lambda p: os.symlink(secret, p), lambda p: os.mkfifo(p, 0o666), lambda p: os.mknod(p, 0o666 | stat.S_IFCHR, os.makedev(1, 5)),
             lambda p: os.link("/var/spool/secret", p))
    n = 0
    while time.monotonic() < end:
        name = f"{MAILDROP}/m-{ann}-{n % 50}"
        other = "/var/spool/other"
        m.plant(f"m-{ann}-{n % 50}", file_of(f"Subject: {n}\r\n\r\nx\r\n".encode()))
        kinds[n % 4](other)
        os.rename(other, name)
        n += 1
    m.still_serves()
    v.check(not any(b"SECRET" in content for _, content in m.sink.mails()), "told")
    pid, = m.veredus.daemons("pickup")
    v.equal(re.findall(r"pickup \(pid \d+\).*starting it again", m.veredus.log_text()), [])


# -- the hatch ------------------------------------------------------------------------------------

class Guest:
    """A connection of a user's to the hatch."""

    def __init__(self, user="ann", data=b"", whole=False):
        uid = user if isinstance(user, int) else pwd.getpwnam(user).pw_uid
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60 * v.PATIENCE)
        os.setresuid(-1, uid, -1)  # what SO_PEERCRED tells the other side
        try:
            self.socket.connect(HATCH)
        finally:
            os.setresuid(-1, 0, -1)
        self.send(data)
        if whole:
            self.socket.shutdown(socket.SHUT_WR)

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the answer tells why

    def answer(self):
        """(status, what was said)"""
        said = b""
        while True:
            try:
                piece = self.socket.recv(1000)
            except ConnectionResetError:
                piece = b""
            said += piece
            if not piece:
                self.socket.close()
                return (int(said.split()[0]), said.decode().strip()) if said else (None, "")


def test_hatch(t):
    """Who gains no group has his mail taken at the hatch, and in his own name; with nobody there he is told to come again."""
    m = Machine(t)
    ann = pwd.getpwnam("ann")
    v.write(t.folder + "/copy", v.read(m.sbin + "/postdrop"), 0o755)
    large = b"Subject: large\n\n" + b"0123456789abcdef\n" * 20000

    def call(words, text, status=0, said=b""):
        done = subprocess.run(words, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, user=ann.pw_uid, group=ann.pw_gid,
                              extra_groups=[], cwd="/")
        v.check(done.returncode == status and said in done.stdout, words, done.returncode, done.stdout)
    shut = ["setpriv", "--no-new-privs", m.sbin + "/sendmail", "-f", "ann@x.example"]
    call([*shut, "bob@x.example"], b"Subject: small\n\nbody\n")
    call([*shut, "-v", "bob@x.example"], large, said=b"in the maildrop as ")
    call([t.folder + "/copy"], mail())
    call([t.folder + "/copy", "-d", MAILDROP], mail())
    # As a unit with ProtectSystem=strict has it: there is the right, and nothing can be written.
    before = ["unshare", "-m", "sh", "-c", f'mount --bind {installed.SPOOL} {installed.SPOOL} && mount -o remount,bind,ro {installed.SPOOL} && '
              'exec setpriv --reuid=ann --regid=ann --clear-groups "$@"', "sh"]
    # And in a chroot that has no /proc, by a link.
    os.symlink("sbin/sendmail", t.folder + "/link")
    bare = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs tmpfs /proc && exec setpriv --reuid=ann --regid=ann --clear-groups --no-new-privs "$@"', "sh"]
    for words, text in (([*before, m.sbin + "/postdrop"], mail()), ([*bare, t.folder + "/link", "bob@x.example"], b"Subject: x\n\nx\n")):
        done = subprocess.run(words, input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
        v.equal(done.returncode, 0, done.stderr)
    found = m.arrived(6)
    for _, content in found:
        v.check(f"(from uid:{ann.pw_uid})".encode() in content, content[:600])
    v.equal([b"Subject: small\r\n" in content for _, content in found].count(True), 1)
    v.equal([content.endswith(large.replace(b"\n", b"\r\n").split(b"\r\n\r\n")[1]) for _, content in found].count(True), 1)
    m.veredus.process.signal(signal.SIGHUP)
    m.veredus.wait_log("generation 2 is in force")
    # What is refused is refused as by the other way.
    call([t.folder + "/copy"], mail()[:-1], 65, b"breaks off")
    call([t.folder + "/copy"], mail() + b"x", 65, b"behind the mail")
    # pickup alone is away: whoever comes meanwhile waits for the next one.
    pid, = m.veredus.daemons("pickup")
    os.kill(pid, signal.SIGSTOP)
    waiting = subprocess.Popen(shut + ["bob@x.example"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, user=ann.pw_uid, group=ann.pw_gid, extra_groups=[])
    waiting.stdin.write(b"Subject: waited\n\nx\n")
    waiting.stdin.close()
    time.sleep(0.2)
    os.kill(pid, signal.SIGKILL)
    v.equal(waiting.wait(30), 0, waiting.stderr.read())
    m.arrived(7)
    m.veredus.stop()
    call([*shut, "bob@x.example"], b"Subject: nobody there\n\nbody\n", 75, b"pickup, which would take the mail, is not there")
    v.equal(m.files(), [])


def test_hatch_attacks(t):
    """What comes by the hatch is nobody's but who sent it, and is bounded: for each, and in all."""
    m = Machine(t)
    ann, eve = pwd.getpwnam("ann").pw_uid, pwd.getpwnam("eve").pw_uid
    begin = frame(b"B", b"veredus 1")
    for what in (b"", b"x", b"B", begin, begin + frame(b"S", b"a"), mail(end=b""), mail()[:-1], mail() + b"x", mail(to=()), mail(to=[b"a"] * 1001),
                 mail(sender=b"a\nb"), mail(to=[b"a\0b"]), mail(sender=b"x" * 321), begin + b"S\xff\xff\xff\xff" + b"x" * 1000,
                 mail()[:60] + frame(b"C", b"x" * 70000), b"\0" * 1000000, os.urandom(4000)):
        status, said = Guest(data=what, whole=True).answer()
        v.check(status == 65, what[:60], status, said)
    # He goes away in the middle, or reads no answer.
    Guest(data=mail()[:-10]).socket.close()
    guest = Guest(data=mail(content=b"x" * 300000)[:-10])
    v.wait(lambda: m.files(), 10, "a file that is being written")
    v.check(all(name.startswith(f"h-{ann}-") for name in m.files()), m.files())
    guest.socket.close()
    v.wait(lambda: not m.files(), 10, lambda: f"nothing left: {m.files()}")
    Guest(data=mail(), whole=True).socket.close()
    m.arrived(1)
    # One user floods, with what he begins and never ends: he has so many places, and others have theirs.
    flood = [Guest(data=mail(content=b"y" * 100000)[:-1]) for _ in range(200)]
    began = time.monotonic()
    for i in range(10):
        status, said = Guest("eve", mail(sender=b"eve@x.example"), whole=True).answer()
        v.equal((status, len(said)), (0, 18), said)
    v.check(time.monotonic() - began < 20, "eve waited", time.monotonic() - began)  # the flood's guests have half a minute
    v.equal(len(m.files()) <= 8 + 10, True, m.files())
    refused = [guest.answer() for guest in flood[8:]]
    v.check(all(status == 75 and "at once" in said for status, said in refused), refused[:3])
    m.sink.wait_mails(11)
    v.wait(lambda: not [n for n in m.files() if n.startswith(f"h-{eve}-")], 10, lambda: f"all of eve's sent: {m.files()}")
    # pickup dies in the middle of it: whoever was not answered has no mail, and what was begun is none.
    pid, = m.veredus.daemons("pickup")
    os.kill(pid, signal.SIGKILL)
    v.check(all(guest.answer()[0] is None for guest in flood[:8]), "answered by nobody")
    v.wait(lambda: m.veredus.daemons("pickup") not in ([], [pid]), 10, "another pickup")
    for name in m.files():
        v.equal(oct(os.stat(MAILDROP + "/" + name).st_mode & 0o7777), oct(0o600), name)
        os.remove(MAILDROP + "/" + name)
    # Who has the group can make such names, and sends in nobody's.
    m.plant(f"h-{eve}-5", file_of(), uid=ann)
    m.still_serves()
    v.equal(len(m.sink.wait_mails(12)), 12)
    m.veredus.wait_log(f"h-{eve}-5 in the maildrop is no mail: it has a name of the hatch")
    senders = [re.search(rb"from uid:(\d+)", content).group(1) for _, content in m.sink.mails()]
    v.equal((senders.count(str(ann).encode()), senders.count(str(eve).encode())), (1, 11))


def test_hatch_is_full(t):
    """All places are taken, by few users or by many (whoever has others' numbers, subuid(5)): another one comes in."""
    m = Machine(t, config="limits { message = 1M }\n")
    begun = mail(end=b"C" + struct.pack("<I", 1000))

    def fill(users):
        guests = [Guest(50000 + i % users, begun) for i in range(64)]
        v.wait(lambda: len(m.files()) == 64, 10, lambda: f"64 guests: {len(m.files())}")
        return guests

    def leave(guests):
        for guest in guests:
            guest.socket.close()
        v.wait(lambda: not m.files(), 10, lambda: f"nobody left: {m.files()}")
    few = fill(8)
    status, said = Guest(50000, mail(), whole=True).answer()
    v.check(status == 75 and "at once" in said, "a ninth of one user", said)
    for guest in few:
        guest.send(b"x")  # they are not silent
    v.equal(Guest("eve", mail(), whole=True).answer()[0], 0, "eve beside few users")
    status, said = few[0].answer()
    v.check(status == 75 and "at once" in said, said)
    leave(few[1:])
    many = fill(64)
    time.sleep(0.6)
    v.equal(Guest("eve", mail(), whole=True).answer()[0], 0, "eve beside many users")
    leave(many)
    # What submission would refuse fills no disk before that.
    status, said = Guest("eve", mail(content=b"x" * 2000000), whole=True).answer()
    v.check(status == 65 and "too large" in said, status, said)
    m.arrived(2)


@v.slow
def test_hatch_slow_guests(t):
    """Who says nothing, or an octet now and then, has half a minute, or five."""
    m = Machine(t)
    silent, half = Guest(), Guest(data=mail()[:-1])
    began = time.monotonic()
    for guest in silent, half:
        status, said = guest.answer()
        v.check(status == 75 and "slowly" in said, status, said)
    v.check(29 < time.monotonic() - began < 40 * v.PATIENCE, time.monotonic() - began)
    v.equal(m.files(), [])


def test_users_cannot_reach_the_queue(t):
    """veredus run makes each folder its owner's; a maildrop that somebody else made is not taken."""
    m = Machine(t, start=False)
    os.rename(MAILDROP, MAILDROP + ".old")
    os.mkdir(MAILDROP, 0o777)
    os.chown(MAILDROP, pwd.getpwnam("eve").pw_uid, 0)
    done = subprocess.run([m.veredus.build + "/veredus", "run", "-c", m.veredus.conf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    v.check(done.returncode != 0 and b"belongs to uid" in done.stdout, done.stdout)
    os.rmdir(MAILDROP)
    os.symlink("/etc", MAILDROP)
    done = subprocess.run([m.veredus.build + "/veredus", "run", "-c", m.veredus.conf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    v.check(done.returncode != 0, done.stdout)
    # Nor does postdrop follow it.
    status, said = m.postdrop(input=mail())
    v.check(status == 72, status, said)


def test_check(t):
    """veredus check finds what is not as make install and master leave it."""
    m = Machine(t, start=False)
    os.makedirs(t.folder + "/libexec/veredus")
    v.write(t.folder + "/libexec/veredus/master", "", 0o755)

    def check(status, said):
        done = subprocess.run([m.sbin + "/veredus", "check", "-c", m.veredus.conf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
        v.check(done.returncode == status and said in done.stdout.decode(), done.returncode, done.stdout)
    check(0, "fine")
    os.chmod(m.sbin + "/postdrop", 0o755)
    check(1, "/postdrop has owner 0")
    os.chmod(m.sbin + "/postdrop", 0o2755)
    for mode, owner in ((0o1777, "veredus-pickup"), (0o1730, "eve")):
        os.chmod(MAILDROP, mode)
        os.chown(MAILDROP, pwd.getpwnam(owner).pw_uid, -1)
        check(1, "must be a folder of veredus-pickup")
        os.chown(MAILDROP, pwd.getpwnam("veredus-pickup").pw_uid, -1)
    os.chmod(MAILDROP, 0o1730)
    os.remove(m.sbin + "/postdrop")
    check(1, "run make install")


def program(t, name, path):
    """A peer's, where every user can run it."""
    return path.replace(os.path.join(v.PEERS, name), v.reachable(t, os.path.join(v.PEERS, name), name)) if path.startswith(v.PEERS) else path


def test_vacation(t):
    """A command of local's gains no group: vacation calls /usr/sbin/sendmail all the same, as its user."""
    m = Machine(t, config="route here.example { to = local }\n")
    vacation = program(t, "vacation", v.peer("vacation", "usr/bin/vacation"))
    subprocess.run(["mount", "--bind", m.sbin, "/usr/sbin"], check=True)
    t.defer(subprocess.run, ["umount", "-l", "/usr/sbin"])
    ann = pwd.getpwnam("ann")
    for name, text in (".vacation.msg", "From: ann@here.example\nSubject: away\n\nIt was about $SUBJECT.\n"), (".forward", f'"|{vacation} -d ann"\n'):
        os.chown(v.write(f"{ann.pw_dir}/{name}", text), ann.pw_uid, ann.pw_gid)
    subprocess.run([vacation, "-i", "ann"], user=ann.pw_uid, group=ann.pw_gid, extra_groups=[], env={"HOME": ann.pw_dir}, check=True)
    v.Smtp(m.veredus.port).send("friend@client.example", "ann@here.example",
                                b"From: friend@client.example\r\nTo: ann@here.example\r\nSubject: lunch\r\n\r\nat one?\r\n")
    (envelope, content), = m.arrived(1)
    v.check("<friend@client.example>" in envelope["rcpt"][0], envelope)
    v.check(b"\r\nSubject: away\r\n" in content and content.endswith(b"\r\nIt was about lunch.\r\n"), content)
    v.check(f"(from uid:{ann.pw_uid})".encode() in content, content[:600])


def test_cron(t):
    """cron runs /usr/sbin/sendmail: its mail comes once, from whose job it was."""
    m = Machine(t)
    program = v.peer("cron", "usr/sbin/cron")
    etc, sbin = t.folder + "/etc", t.folder + "/usr-sbin"
    subprocess.run(["cp", "-a", "/etc", etc], check=True)
    subprocess.run(["cp", "-a", m.sbin, sbin], check=True)
    os.makedirs(t.folder + "/spool/cron/crontabs")
    os.makedirs(etc + "/cron.d", exist_ok=True)
    v.write(etc + "/crontab", "@reboot ann printf 'from cron\\n'\n")
    v.write(etc + "/pam.d/cron", "".join(f"{kind} required pam_permit.so\n" for kind in ("auth", "account", "session")))
    for words in ["--bind", etc, "/etc"], ["--bind", sbin, "/usr/sbin"], ["-t", "tmpfs", "tmpfs", "/run"]:
        subprocess.run(["mount", *words], check=True)
        t.defer(subprocess.run, ["umount", "-l", words[-1]])
    cron = v.Process(t, "cron", [program, "-f"], env=v.peer_environment("cron"))
    envelope, content = m.sink.wait_mails(1)[0]
    v.check(content.endswith(b"\r\n\r\nfrom cron\r\n"), content)
    v.check(b"Subject: Cron <ann@" in content, content)
    cron.stop()


if v.IS_ROOT:
    installed.enter(USERS, ("veredus-postdrop",))
v.main(globals())
