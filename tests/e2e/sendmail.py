# SPDX-License-Identifier: ISC
"""sendmail(1) as programs call it, postdrop(1) and pickup, of a server that an ordinary user runs."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import email
import email.policy
import glob
import re
import shutil
import signal
import smtplib
import stat
import subprocess
import threading
import time

import veredus as v

# sysexits.h
USAGE, DATAERR, NOINPUT, UNAVAILABLE, TEMPFAIL, CONFIG = 64, 65, 66, 69, 75, 78


class Machine:
    """A server whose mail all goes to one sink, and its sendmail as a program of that name."""

    def __init__(self, t, config="", start=True, sink_options=()):
        port = v.free_port()
        self.t = t
        self.sink = t.sink(f"127.0.0.1:{port}", *sink_options)
        self.veredus = t.veredus(f"route * {{ to = smtp:[127.0.0.1]:{port} }}\n" + config)
        self.path = os.path.join(self.veredus.folder, "sendmail")
        v.write(self.path, f'#!/bin/sh\nexec {self.veredus.build}/sendmail -C {self.veredus.conf} "$@"\n', 0o755)
        self.maildrop = self.veredus.queue + "/maildrop"
        if start:
            self.veredus.start()

    def call(self, *words, input=b"", status=0, said=None, **options):
        done = subprocess.run([self.path, *words], input=input, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60 * v.PATIENCE,
                              env=self.veredus.environment, **self.veredus.demote, **options)
        text = (done.stdout + done.stderr).decode(errors="replace")
        v.check(done.returncode == status, words, "ended with", done.returncode, "and not", status, text[-600:])
        if said:
            v.check(re.search(said, text), words, "said", text[-600:])
        return done.stdout.decode(errors="replace")

    def waiting(self):
        return [name for name in os.listdir(self.maildrop) if name != "corrupt"]

    def arrived(self, count, seconds=20):
        """What came, parsed; each once."""
        self.sink.wait_mails(count, seconds)
        v.wait(lambda: not self.waiting(), 10, lambda: f"an empty maildrop: {self.waiting()}")
        self.veredus.wait_empty()
        mails = self.sink.mails()
        v.equal(len(mails), count, "mails at the sink")
        return [(envelope, email.message_from_bytes(content, policy=email.policy.SMTP), content) for envelope, content in mails]


def recipients(envelope):
    return sorted(word.split()[0].strip("<>") for word in envelope["rcpt"])


def sender(envelope):
    return envelope["mail"].split()[0].strip("<>")


def test_header_and_envelope(t):
    m = Machine(t, "submission { domain = x.example }\n")
    user = "nobody" if v.IS_ROOT else __import__("pwd").getpwuid(os.getuid()).pw_name
    m.call("ann@x.example", input=b"no header\n")
    (envelope, mail, content), = m.arrived(1)
    v.equal((sender(envelope), recipients(envelope)), (user + "@x.example", ["ann@x.example"]))
    for field in "Date", "Message-ID", "From":
        v.check(mail[field], "no", field)
    v.equal(content.split(b"\r\n\r\n", 1)[1], b"no header\r\n")
    v.check(f"(from uid:{v.NOBODY if v.IS_ROOT else os.getuid()})" in mail["Received"], mail["Received"])
    uid = v.NOBODY if v.IS_ROOT else os.getuid()
    m.veredus.wait_log(rf"veredus/pickup\[\d+\]: \w+: uid={uid} from=<{user}>, maildrop=[0-9a-f]{{16}}")

    m.call("-t", "-f", "ann@x.example", "-F", "Ann\nBcc: eve@x.example", "also@x.example", input=b"""To: bob@x.example,
 "Carol C." <carol@X.Example>
Cc: root
BCC: blind@x.example
Subject: hidden

body
.
not sent
""")
    envelope, mail, content = m.arrived(2)[1]
    v.equal(sender(envelope), "ann@x.example")
    v.equal(recipients(envelope), ["also@x.example", "blind@x.example", "bob@x.example", "carol@x.example", "root@x.example"])
    v.check(b"blind" not in content and b"not sent" not in content and "Bcc" not in mail, content)
    v.equal(mail["From"], '"AnnBcc: eve@x.example" <ann@x.example>')
    v.equal(mail["Cc"], "root@x.example")

    m.call("-t", "-i", "-f", "<>", input=b"Resent-From: me@x.example\r\nResent-To: r@x.example\r\nReceived: by x; y\r\n"
           b"Resent-From: old@x.example\r\nResent-To: old@x.example\r\nFrom: a@x.example\r\nTo: b@x.example\r\n\r\n.\r\nkept\rlines\0\r\n")
    envelope, mail, content = m.arrived(3)[2]
    v.equal((sender(envelope), recipients(envelope)), ("", ["r@x.example"]))
    v.check(content.endswith(b"\r\n\r\n.\r\nkept\r\nlines\r\n"), content)

    long = "x" * 998 + "é" * 700
    m.call("-i", "-B8BITMIME", "a@x.example", input=f"From: =?x?= <a@x.example>\nSubject: long\n\n{long}\n".encode())
    envelope, mail, content = m.arrived(4)[3]
    body = content.split(b"\r\n\r\n", 1)[1]
    v.check(max(map(len, body.split(b"\r\n"))) <= 998, "a line is too long")
    v.equal(body.replace(b"\r\n ", b"").decode(), long + "\r\n", "folded without loss")
    v.check("BODY=8BITMIME" in envelope["mail"], envelope)

    m.call("-t", input="Subject: Grüße aus Köln\nTo: Jörg <joerg@x.example>\n\nHallo, Jörg\n".encode())
    envelope, mail, content = m.arrived(5)[4]
    v.equal((mail["Subject"], str(mail["To"])), ("Grüße aus Köln", "Jörg <joerg@x.example>"))
    v.check("SMTPUTF8" not in envelope["mail"] and content.split(b"\r\n\r\n")[0].isascii(), content)

    m.call("-N", "never", "-V", "id+1", "-R", "hdrs", "--", "-odd@x.example", "|/bin/sh@x.example", "`id`@x.example", "$IFS@x.example",
           input=b"Subject: odd\n\nx\n")
    envelope = m.arrived(6)[5][0]
    v.equal(recipients(envelope), sorted(["-odd@x.example", "|/bin/sh@x.example", "`id`@x.example", "$IFS@x.example"]))


def test_errors(t):
    """What cannot be sent is said at once, and nothing of it is left."""
    m = Machine(t, "limits { message = 1M }\n")
    m.call(input=b"x\n", status=USAGE, said="to whom")
    m.call("-t", input=b"Subject: x\n\nx\n", status=USAGE, said="no recipient in the header")
    m.call("-t", input=b"To: a b c\n\nx\n", status=DATAERR, said="the field To")
    m.call("a@x.example", input=b"", status=NOINPUT, said="no mail")
    m.call("", input=b"x\n", status=DATAERR, said="no address")
    m.call("a@x.example\nRCPT TO:<b@x.example>", input=b"x\n", status=DATAERR, said="no list of addresses")
    m.call("a@" + "x" * 400, input=b"x\n", status=DATAERR, said="too long|no address|that is none")
    m.call("-f", "a b c", "a@x.example", input=b"x\n", status=DATAERR, said="-f")
    m.call("a@x.example", input=b"Subject: " + b"x" * 2000 + b"\n\nx\n", status=DATAERR, said="line 1 of the header")
    m.call("a@x.example", input=b"X: y\n" * 40000, status=DATAERR, said="header is larger")
    m.call("a@x.example", input=b"Content-Type: \xff\xfe\n\nx\n", status=DATAERR, said="neither ASCII nor UTF-8")
    m.call("a@x.example", input=b"\n" + b"x\n" * 600000, status=DATAERR, said="larger than 1048576")
    m.call(*(f"u{i}@x.example" for i in range(1001)), input=b"x\n", status=DATAERR, said="1000 recipients")
    m.call("-bt", status=USAGE, said="veredus route")
    m.call("-bd", status=USAGE, said="veredus run")
    m.call("-z", status=USAGE, said="unknown option -z")
    m.call("--help", status=USAGE, said="usage: sendmail")
    # Without an end.
    with open("/dev/zero", "rb") as zero:
        done = subprocess.run([m.path, "a@x.example"], stdin=zero, stderr=subprocess.PIPE, timeout=60 * v.PATIENCE, env=m.veredus.environment,
                              **m.veredus.demote)
    v.equal(done.returncode, DATAERR, done.stderr)
    closed = subprocess.run(["sh", "-c", f"exec {m.path} a@x.example <&-"], stderr=subprocess.PIPE, timeout=60, **m.veredus.demote)
    v.equal(closed.returncode, NOINPUT, closed.stderr)
    # Without postdrop, and without the command, beside it.
    os.mkdir(m.veredus.folder + "/alone")
    alone = shutil.copy(m.veredus.build + "/sendmail", m.veredus.folder + "/alone/sendmail")
    for words, text in (["a@x.example"], b"x\n"), (["a@x.example"], b"x\n" * 100000), (["-v", "a@x.example"], b"x\n"), (["-bp"], b""):
        done = subprocess.run([alone, *words], input=text, stderr=subprocess.PIPE, timeout=60, env=m.veredus.environment, **m.veredus.demote)
        v.check(done.returncode == UNAVAILABLE and b"No such file" in done.stderr, words, done)
    v.equal(m.waiting(), [], "left in the maildrop")
    v.equal(m.sink.mails(), [], "sent")
    # With all three of them closed a mail from a pipe is sent all the same, and none of ours is written into it.
    subprocess.run(["sh", "-c", f"printf 'Subject: x\\n\\nx\\n' | {m.path} a@x.example >&- 2>&-"], timeout=60, **m.veredus.demote)
    m.arrived(1)


def test_modes(t):
    aliases = v.write(t.folder + "/aliases", "root: ann\nbob: carol, dave\n")
    m = Machine(t, f"local {{ aliases = {aliases} }}\n")
    said = m.call("-bs", input=b"HELO me\nMAIL FROM:<a@x.example>\nRCPT TO:<b@x.example>\nRCPT TO:<c@x.example>\nDATA\n"
                  b"Subject: by SMTP\n\n..dot\n.\nNOOP\nMAIL FROM:<a@x.example>\nRCPT TO:<b@\nQUIT\n")
    v.equal([line[:3] for line in said.splitlines()], ["220", "250", "250", "250", "250", "354", "250", "250", "250", "501", "221"], said)
    (envelope, mail, content), = m.arrived(1)
    v.equal(recipients(envelope), ["b@x.example", "c@x.example"])
    v.check(content.endswith(b"Subject: by SMTP\r\n\r\n.dot\r\n"), content)
    v.equal(mail.get_all("Received")[0].count("uid:"), 1)
    # Broken off in the middle: nothing was sent.
    m.call("-bs", input=b"HELO me\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\nSubject: half\r\n\r\nhalf\r\n")
    v.check("Mail queue is empty" in m.call("-bp") or True)
    m.call("-bp")
    m.call("-q")
    m.call("-bi", said="aliases: 2 aliases")
    v.write(aliases, "root: ann\nno colon here\n")
    m.call("-bi", status=DATAERR, said="aliases:2: ")
    good = v.read(m.veredus.conf)
    v.write(m.veredus.conf, good.replace(b"aliases = ", b"aliases = regexp:"))
    m.call("-bi", status=CONFIG, said='error: aliases: "regexp:.*is no table')
    v.write(m.veredus.conf, good)
    v.write(aliases, "")
    m.call("-v", "a@x.example", input=b"Subject: said\n\nx\n", said=r"in the maildrop as [0-9a-f]{16}")
    m.call("-bv", "a@x.example", said="x.example")
    m.arrived(2)
    for name, program in ("mailq", "veredus"), ("newaliases", "veredus"), ("mailq", "sendmail"), ("newaliases", "sendmail"):
        folder = os.path.join(m.veredus.folder, "by_" + program)
        os.makedirs(folder, exist_ok=True)
        link = os.path.join(folder, name)
        os.symlink(m.veredus.build + "/" + program, link)
        done = subprocess.run([link, "-c", m.veredus.conf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                              env=m.veredus.environment, **m.veredus.demote)
        v.equal(done.returncode, 0, done.stdout)


def test_down_and_up(t):
    """What is handed in with all daemons down is kept, and sent once they are up."""
    m = Machine(t)
    v.equal(m.veredus.stop(), 0)
    for i in range(30):
        m.call("a@x.example", input=f"Subject: {i}\n\n".encode() + (b"large\n" * 40000 if i == 7 else b"x\n"))
    v.equal(len(m.waiting()), 30)
    # One that breaks off, and one whose writer was killed, are no mails.
    child = subprocess.Popen([m.path, "a@x.example"], stdin=subprocess.PIPE, **m.veredus.demote)
    child.stdin.write(b"Subject: half\n\n" + b"x\n" * 100000)
    child.stdin.flush()
    v.wait(lambda: len(m.waiting()) == 31, 10, "a file that is being written")
    child.kill()
    child.wait()
    v.wait(lambda: len(m.waiting()) == 30, 10, "its end")
    m.veredus.start()
    found = m.arrived(30)
    v.equal(sorted(int(mail["Subject"]) for _, mail, _ in found), list(range(30)))


def test_refused(t):
    """What submission refuses goes back to its sender; what cannot go back is kept, and said."""
    m = Machine(t)
    m.call("-f", "ann@x.example", "a@x.example", "b@x.example", input=b"From: ann@x.example\nFrom: bob@x.example\nSubject: two\n\nbody\n")
    (envelope, mail, content), = m.arrived(1)
    v.equal((sender(envelope), recipients(envelope)), ("", ["ann@x.example"]))
    v.equal(mail.get_content_type(), "multipart/report")
    parts = list(mail.iter_parts())
    v.equal([part.get_content_type() for part in parts], ["text/plain", "message/delivery-status", "message/rfc822"])
    v.check("more than one From field" in parts[0].get_content(), content)
    v.equal([part["Final-Recipient"] for part in parts[1].get_payload()[1:]], ["rfc822; a@x.example", "rfc822; b@x.example"])
    v.check(b"Subject: two\r\n\r\nbody\r\n" in content, content)
    m.veredus.wait_log("refused: maildrop=[0-9a-f]{16}, .*from=<ann@x.example>: 554 .*; returned to its sender")
    m.call("-f", "<>", "a@x.example", input=b"From: ann@x.example\nFrom: bob@x.example\n\nbody\n")
    m.veredus.wait_log("refused: .*from=<>: 554 .*; moved to the folder corrupt")
    v.wait(lambda: len(os.listdir(m.maildrop + "/corrupt")) == 1, 5, "a file in corrupt")
    v.check(b"body" in v.read(glob.glob(m.maildrop + "/corrupt/*")[0]))


def hand_in(m, stopping, sent):
    i = 0
    while not stopping.is_set():
        subject = f"{threading.get_ident()}.{i}"
        size = 90000 if i % 10 == 9 else 10
        done = subprocess.run([m.path, "a@x.example"], input=f"Subject: {subject}\n\n".encode() + b"x" * 60 + b"\n" * size, timeout=60,
                              stderr=subprocess.PIPE, env=m.veredus.environment, **m.veredus.demote)
        v.equal(done.returncode, 0, done.stderr)
        sent.append(subject)
        i += 1


def test_killed(t):
    """kill -9 of pickup, submission and qmgr while mail comes: none is lost, and few come twice."""
    m = Machine(t)
    stopping, sent = threading.Event(), []
    threads = [threading.Thread(target=hand_in, args=(m, stopping, sent)) for _ in range(2)]
    for thread in threads:
        thread.start()
    kills = 0
    try:
        for name in ("pickup", "submission", "qmgr", "pickup", "submission"):
            before = len(sent)
            v.wait(lambda: len(sent) >= before + 15, 30, "mail handed in")
            for pid in v.wait(lambda: m.veredus.daemons(name), 20, name):
                os.kill(pid, signal.SIGKILL)
                kills += 1
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    v.equal(kills, 5)
    wanted = set(sent)

    def all_there():
        subjects = [email.message_from_bytes(content)["Subject"] for _, content in m.sink.mails()]
        return wanted <= set(subjects) and subjects
    subjects = v.wait(all_there, 90, "all mail")
    v.wait(lambda: not m.waiting(), 60, lambda: f"an empty maildrop: {m.waiting()}")
    m.veredus.wait_empty()
    subjects = [email.message_from_bytes(content)["Subject"] for _, content in m.sink.mails()]
    twice = len(subjects) - len(set(subjects))
    print(f"  {len(sent)} mails, {kills} kills, {twice} twice")
    v.check(twice <= 16 * kills, twice, "came twice")


# -- callers ------------------------------------------------------------------------------------

BODY = "Hello,\n\n.\n..\n.hidden\nFrom the start\n\ttab\n" + "x" * 70 + "\n\nthe end\n"


def run(m, argv, text="", **environment):
    done = subprocess.run(argv, input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60 * v.PATIENCE,
                          cwd=m.veredus.folder, env=dict(m.veredus.environment, HOME=m.veredus.folder, **environment), **m.veredus.demote)
    v.equal(done.returncode, 0, f"{argv[0]}: {done.stdout.decode(errors='replace')[-1500:]}")


def has(name):
    if not shutil.which(name):
        raise v.Skip(name + " is not installed")


def by_s_nail(m):
    has("s-nail")
    run(m, ["s-nail", "-:/", "-Snosave", "-Ssendwait", f"-Smta={m.path}", "-s", "by_s_nail", "-b", "blind@x.example", "-r", "ann@x.example",
            "bob@x.example"], BODY)
    return ["blind@x.example", "bob@x.example"]


def by_git(m):
    if not os.path.exists("/usr/lib/git-core/git-send-email"):
        raise v.Skip("git-email is not installed")
    patch = v.write(m.veredus.folder + "/a.patch", f"From {'0' * 40} Mon Sep 17 00:00:00 2001\nFrom: Ann <ann@x.example>\n"
                    f"Date: Sat, 21 Nov 2026 22:05:00 +0000\nSubject: [PATCH] by_git\n\n{BODY}")
    run(m, ["git", "send-email", "--from=Ann <ann@x.example>", "--to=bob@x.example", "--bcc=blind@x.example", f"--smtp-server={m.path}",
            "--envelope-sender=ann@x.example", "--confirm=never", "--suppress-cc=all", patch], GIT_CONFIG_NOSYSTEM="1",
        GIT_COMMITTER_NAME="Ann", GIT_COMMITTER_EMAIL="ann@x.example", GIT_AUTHOR_NAME="Ann", GIT_AUTHOR_EMAIL="ann@x.example")
    return ["blind@x.example", "bob@x.example"]


def by_perl(m):
    has("perl")
    script = """
open(my $mail, '|-', $ARGV[0], '-t', '-oi', '-fann@x.example') or die;
print $mail "From: ann\\@x.example\\nTo: bob\\@x.example\\nBcc: blind\\@x.example\\nSubject: by_perl\\n\\n", $ARGV[1];
close $mail or die "status $?";
"""
    run(m, ["perl", "-e", script, m.path, BODY])
    return ["blind@x.example", "bob@x.example"]


def by_python(m):
    """As Debian's reportbug does: -t -oi, and blind copies in the header."""
    script = """
import subprocess, sys
from email.message import EmailMessage
message = EmailMessage()
message["From"], message["To"], message["Bcc"], message["Subject"] = "ann@x.example", "bob@x.example", "blind@x.example", "by_python"
message.set_content(sys.argv[2])
subprocess.run([sys.argv[1], "-t", "-oi", "-f", "ann@x.example"], input=message.as_bytes(), check=True)
"""
    run(m, ["/usr/bin/python3", "-c", script, m.path, BODY])
    return ["blind@x.example", "bob@x.example"]


def by_python_bs(m):
    """smtplib over a pair of sockets that are -bs's standard input and output."""
    script = """
import smtplib, socket, subprocess, sys
ours, theirs = socket.socketpair()
child = subprocess.Popen([sys.argv[1], "-bs"], stdin=theirs, stdout=theirs)
theirs.close()
class Pair(smtplib.SMTP):
    def _get_socket(self, *rest):
        return ours
smtp = Pair("here")
smtp.sendmail("ann@x.example", ["bob@x.example", "blind@x.example"],
              "From: ann@x.example\\nTo: bob@x.example\\nSubject: by_python_bs\\n\\n" + sys.argv[2])
smtp.quit()
ours.close()
sys.exit(child.wait())
"""
    run(m, ["/usr/bin/python3", "-c", script, m.path, BODY])
    return ["blind@x.example", "bob@x.example"]


def by_php(m):
    program = v.peer("php8.2-cli", "usr/bin/php8.2")
    base = v.reachable(m.t, os.path.dirname(os.path.dirname(os.path.dirname(program))), "php") if program.startswith(v.PEERS) else "/"
    script = '$ok = mail("bob@x.example", "by_php", $argv[1], "From: ann@x.example\\r\\nBcc: blind@x.example", "-fann@x.example"); exit($ok ? 0 : 1);'
    run(m, [base.rstrip("/") + "/usr/bin/php8.2", "-n", "-d", f"sendmail_path={m.path} -t -i", "-r", script, BODY],
        LD_LIBRARY_PATH=f"{base}/usr/lib/x86_64-linux-gnu" if base != "/" else "")
    return ["blind@x.example", "bob@x.example"]


def by_mutt(m):
    program = v.peer("mutt", "usr/bin/mutt")
    base = v.reachable(m.t, os.path.dirname(os.path.dirname(os.path.dirname(program))), "mutt") if program.startswith(v.PEERS) else "/"
    run(m, [base.rstrip("/") + "/usr/bin/mutt", "-n", "-F", "/dev/null", "-e", f"set sendmail='{m.path} -oem -oi' copy=no from=ann@x.example "
            "use_envelope_from=yes realname=Ann", "-s", "by_mutt", "-b", "blind@x.example", "--", "bob@x.example"], BODY,
        LD_LIBRARY_PATH=f"{base}/usr/lib/x86_64-linux-gnu" if base != "/" else "", TERM="dumb")
    return ["blind@x.example", "bob@x.example"]


def by_logrotate(m):
    """It runs what /usr/bin/mail is, which runs sendmail."""
    has("s-nail")
    program = v.peer("logrotate", "usr/sbin/logrotate")
    base = v.reachable(m.t, os.path.dirname(os.path.dirname(os.path.dirname(program))), "logrotate") if program.startswith(v.PEERS) else "/"
    folder = m.veredus.folder
    command = v.write(folder + "/mail", f'#!/bin/sh\nexec s-nail -:/ -Snosave -Ssendwait -Smta={m.path} -r ann@x.example "$@"\n', 0o755)
    log = v.write(folder + "/by_logrotate", BODY)
    rules = v.write(folder + "/rules", f"{log} {{\n rotate 0\n size 1\n mail bob@x.example\n}}\n")
    for path in log, rules:
        os.chown(path, *[m.veredus.demote["user"]] * 2) if m.veredus.demote else None
    run(m, [base.rstrip("/") + "/usr/sbin/logrotate", "-s", folder + "/state", "-m", command, rules],
        LD_LIBRARY_PATH=f"{base}/usr/lib/x86_64-linux-gnu" if base != "/" else "")
    return ["bob@x.example"]


def test_callers(t):
    """Each program's mail comes once, to whom it was written, and as it was written, with nobody told of blind copies."""
    m = Machine(t)
    wanted, skipped = {}, []
    for caller in by_s_nail, by_git, by_perl, by_python, by_python_bs, by_php, by_mutt, by_logrotate:
        try:
            wanted[caller.__name__] = caller(m)
        except v.Skip as why:
            skipped.append(str(why))
    for envelope, mail, content in m.arrived(sum(1 if name != "by_git" else 1 for name in wanted)):
        name = os.path.basename(mail["Subject"].replace("[PATCH] ", "")).split(".")[0]
        v.equal(recipients(envelope), wanted.pop(name), name)
        v.equal(sender(envelope), "ann@x.example", name)
        v.check(b"blind@" not in content, name, "tells of blind copies", content[:800])
        v.equal(mail.get_payload(decode=True).decode().replace("\r\n", "\n").rstrip("\n"), BODY.rstrip("\n"), name)
    v.equal(wanted, {}, "lost")
    if skipped:
        raise v.Skip("; ".join(skipped))


v.main(globals())
