# SPDX-License-Identifier: ISC
"""Logins that look taken over: what shows it, what becomes of them and of their mail, and how a person settles it."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import base64
import email
import hashlib
import hmac
import json
import signal
import smtplib
import time

import frames as f
import veredus as v
from alone import Daemon
from dovecot import Dovecot

SECRET = "pass word#1"
FROZEN, INVALID = "535 5.7.13", "535 5.7.8 Error: authentication credentials invalid"
DISABLED = "550 5.7.13 Error: user account disabled, ask your postmaster"
# "crypted", by yescrypt
YESCRYPT = "$y$j9T$JsQ5wNAmIQiMS1O3nE6C31$1PgV/tDF/u52EtGmNqpzVDtfqpD0d7S36ahnNznX2n9"
LOOPBACK = bytes(10) + b"\xff\xff\x7f\0\0\1"


class World:
    """Veredus with logins; mail to sink.example arrives, to late.example waits, to slow.example is deferred after a
    second, to full.example is refused there, to none.example here. The postmaster is at client.example."""

    def __init__(self, t, takeover, more="", users=("ann", "bob")):
        port, full, slow, nobody = v.free_port(), v.free_port(), v.free_port(), v.free_port()
        self.veredus = t.veredus("")
        self.sink = t.sink(f"127.0.0.1:{port}")
        t.sink(f"127.0.0.1:{full}", "--reply-rcpt", "550 5.1.1 nobody of that name", name="full")
        t.sink(f"127.0.0.1:{slow}", "--delay-ms", "250", "--reply-dot", "450 4.2.0 later", name="slow")
        self.late = f"127.0.0.1:{nobody}"
        self.test = t
        self.veredus.configure(
            "relay-from = { 198.51.100.0/24 }\n"
            f"route * {{ to = smtp:[127.0.0.1]:{port} }}\nroute late.example {{ to = smtp:[127.0.0.1]:{nobody} }}\n"
            f"route full.example {{ to = smtp:[127.0.0.1]:{full} }}\nroute slow.example {{ to = smtp:[127.0.0.1]:{slow} }}\n"
            f"route none.example {{ to = \"reject: 550 5.1.1 nobody\" }}\n"
            f"auth {{ users = {self.veredus.folder}/users  clear = loopback  smtp = yes }}\n"
            f"takeover {{ {takeover} }}\n" + more)
        for name in users:
            self.veredus.command("user", "add", name, input=SECRET.encode() + b"\n")
        self.veredus.start()

    def auth(self, name, password=SECRET, source=None):
        smtp = v.Smtp(self.veredus.port, source=source)
        return smtp, smtp.say("AUTH PLAIN " + base64.b64encode(f"\0{name}\0{password}".encode()).decode())

    def sign_in(self, name, source=None):
        smtp, reply = self.auth(name, source=source)
        v.check(reply.startswith("235"), name, reply)
        return smtp

    def reply_to_auth(self, *args, **more):
        smtp, reply = self.auth(*args, **more)
        smtp.close()
        return reply

    def send(self, name, recipients, source=None):
        smtp = self.sign_in(name, source)
        id = smtp.send(f"{name}@client.example", recipients, v.mail("from " + name))
        smtp.close()
        return id

    def states(self):
        """{sender: the queue name of what it has there}"""
        found = {}
        for m in self.veredus.listed():
            found.setdefault(m["sender"].split("@")[0], set()).add(m["queue_name"])
        return found

    def notices(self):
        return [email.message_from_bytes(c) for e, c in self.sink.mails() if b"\nAuto-Submitted: auto-generated" in c]

    def user(self, name):
        rows = [json.loads(line) for line in self.veredus.command("user", "list", "--json").splitlines()]
        return next(row for row in rows if row["name"] == name)

    def count(self, pattern):
        return self.veredus.log_text().count(pattern)


def test_frozen_and_released(t):
    """Refused recipients freeze a login: open sessions, new ones, its queue; once told; over restarts; until a person releases it."""
    w = World(t, "then = freeze  refused = { 5/h }  share = 60")
    veredus = w.veredus
    for name in "ann", "bob", "ann":
        w.send(name, "x@late.example")
    idle, under_way = w.sign_in("ann"), w.sign_in("ann")
    under_way.expect(250, "MAIL FROM:<ann@client.example>")
    # Who guesses freezes nobody.
    for n in range(6):
        v.equal(w.reply_to_auth("ann", f"guess{n}", source="127.0.0.66"), INVALID)
    v.check(not w.user("ann")["suspect"], "nobody is suspect")
    with smtplib.SMTP("127.0.0.1", veredus.port) as client:
        client.login("ann", SECRET)
        try:
            client.sendmail("ann@client.example", [f"r{n}@none.example" for n in range(5)], v.mail("spam"))
        except smtplib.SMTPRecipientsRefused as refused:
            v.equal(len(refused.recipients), 5)
        veredus.wait_log(r"limits\[\d+\]: login frozen: login=<ann>, reason=5 of 7 recipients refused in an hour")
        v.wait(lambda: client.mail("ann@client.example") == (550, DISABLED[4:].encode()) or client.rset() and False, 5, "the same session")
    v.equal(under_way.say("RCPT TO:<r@sink.example>"), DISABLED)
    v.equal(idle.say("MAIL FROM:<ann@client.example>"), DISABLED)
    v.wait(lambda: w.reply_to_auth("ann").startswith(FROZEN), 5, "frozen where its owner is")  # checker may hear of it later than smtpd
    v.equal(w.reply_to_auth("ann", "wrong"), INVALID)
    v.equal(w.reply_to_auth("ann", source="127.0.0.9"), INVALID)  # a guesser learns nothing
    veredus.wait_log(r"login failed: client=unknown\[127.0.0.9\], login=<ann>, method=PLAIN, reason=the login is frozen")
    w.send("bob", "r@sink.example")
    v.wait(lambda: w.states() == {"ann": {"hold"}, "bob": {"deferred"}}, 10, lambda: w.states())
    v.wait(lambda: len(w.notices()) == 1, 10, "the postmaster's mail")
    notice = w.notices()[0]
    v.equal((notice["Subject"], notice["To"]), ("Login ann is frozen", "<postmaster@client.example>"))
    v.check("5 of 7 recipients refused in an hour" in notice.get_payload() and "veredus user release" in notice.get_payload(), notice)
    row = w.user("ann")
    v.check(row["frozen"] and row["why"].startswith("5 of 7") and abs(row["since"] - time.time()) < 100, row)
    v.check("frozen since 20" in veredus.command("user", "list") and not w.user("bob")["frozen"], "the list")
    v.equal([(row["name"], row["frozen"]) for row in json.loads(veredus.command("status", "--json"))["logins"]], [("ann", True)])
    v.check("login frozen: login=<ann>" in veredus.command("trace", "ann"), "trace")
    for name, number in ("limits", signal.SIGKILL), ("qmgr", signal.SIGKILL), (None, None):
        if name:
            (pid,) = veredus.daemons(name)
            os.kill(pid, number)
            v.wait(lambda: veredus.daemons(name) not in ([], [pid]), 10, "another " + name)
        else:
            veredus.stop()
            veredus.start()
        v.wait(lambda: w.reply_to_auth("ann") in (INVALID, DISABLED.replace("550", "535").split(",")[0]), 10, "frozen still")
        v.wait(lambda: w.user("ann")["frozen"], 10, "the list")
        v.wait(lambda: w.states() == {"ann": {"hold"}, "bob": {"deferred"}}, 10, lambda: (name, w.states()))
    v.equal((len(w.notices()), w.count("login frozen: login=<ann>")), (1, 1))
    said = veredus.command("user", "release", "ann")
    v.check("ann is released" in said and "released: 2 recipients of 2 messages; 0 not found" in said, said)
    v.wait(lambda: w.states() == {name: {"deferred"} for name in ("ann", "bob")}, 10, lambda: w.states())
    v.wait(lambda: w.reply_to_auth("ann").startswith("235"), 5, "ann again")
    v.check(not w.user("ann")["frozen"] and not w.user("ann")["suspect"], "the list")
    v.check("ann is not frozen" in veredus.command("user", "release", "ann"), "a second time")
    v.wait(lambda: w.count("login=<ann> released by uid") == 1, 5, "the log")
    arrived = t.sink(w.late, name="late")
    veredus.command("queue", "flush")
    v.equal(len(arrived.wait_mails(3)), 3)


def test_old_sessions_stay_out(t):
    """Who signed in before does not come back with a release; a person freezes, purges, and sets a password."""
    w = World(t, "then = off")
    veredus = w.veredus
    for name in ("ann", "bob", "ann"):
        w.send(name, ["x@late.example", "y@late.example"])
    open_session, other = w.sign_in("ann"), w.sign_in("bob")
    v.wait(lambda: w.states() == {"ann": {"deferred"}, "bob": {"deferred"}}, 10, lambda: w.states())
    said = veredus.command("user", "purge", "ann", status=1)
    v.equal(w.states(), {"ann": {"deferred"}, "bob": {"deferred"}})
    v.check(not veredus.command("user", "freeze", "nobody", status=1), "who is that")
    # What is in flight is held when it comes back, and goes on with the rest.
    w.send("ann", "z@slow.example")
    for verb, state in ("freeze", {"hold"}), ("release", {"deferred"}), ("freeze", {"hold"}):
        veredus.command("user", verb, "ann")
        v.wait(lambda: w.states() == {"ann": state, "bob": {"deferred"}}, 10, lambda: (verb, w.states()))
    v.check("is frozen already" in veredus.command("user", "freeze", "ann"), "twice")
    # A person's own holds are not released with it.
    (mine, *_) = [m["queue_id"] for m in veredus.listed() if m["sender"].startswith("bob")]
    veredus.command("queue", "hold", mine)
    veredus.command("user", "passwd", "ann", input=b"another\n")
    v.equal(w.reply_to_auth("ann"), INVALID)
    v.equal(w.reply_to_auth("ann", "another")[:10], FROZEN)
    said = veredus.command("user", "purge", "ann")
    v.check("deleted: 5 recipients of 3 messages; 0 not found" in said, said)
    v.wait(lambda: w.states() == {"bob": {"hold"}}, 10, lambda: w.states())
    v.equal(w.reply_to_auth("ann", "another")[:10], FROZEN)
    veredus.command("user", "release", "ann")
    v.wait(lambda: w.reply_to_auth("ann", "another").startswith("235"), 5, "ann again")
    v.equal(open_session.say("MAIL FROM:<ann@client.example>"), DISABLED)
    other.expect(250, "MAIL FROM:<bob@client.example>")
    veredus.command("user", "freeze", "bob")
    v.wait(lambda: other.say("RCPT TO:<r@sink.example>") == DISABLED, 5, "bob is out")
    veredus.command("user", "release", "bob")
    v.equal(w.states(), {"bob": {"hold"}})
    v.equal((len(w.notices()), w.count("login looks taken over")), (0, 0))


def b64(octets):
    return base64.b64encode(octets).decode()


def scram(port, name, password, source):
    """The reply to a SCRAM-SHA-256 client's proof."""
    def mac(key, text):
        return hmac.digest(key, text, "sha256")
    smtp = v.Smtp(port, source=source)
    bare = f"n={name},r=abcdefghijklmnop"
    reply = smtp.expect(334, "AUTH SCRAM-SHA-256 " + b64(b"n,," + bare.encode()))
    first = base64.b64decode(reply[4:]).decode()
    nonce, salt, rounds = (part[2:] for part in first.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(rounds))
    key = mac(salted, b"Client Key")
    signature = mac(hashlib.sha256(key).digest(), f"{bare},{first},c=biws,r={nonce}".encode())
    proof = bytes(a ^ b for a, b in zip(key, signature))
    reply = smtp.say(b64(f"c=biws,r={nonce},p={b64(proof)}".encode()))
    smtp.close()
    return reply


def guess_both(name, right, ask, rounds=2):
    """The shortest times to refuse the right password of a frozen login and a wrong one, where he never was."""
    took = {right: [], "wrong": []}
    for n, password in enumerate(list(took) * rounds):  # more than two, and the name's attempts wait
        started = time.monotonic()
        v.equal(ask(name, password, f"127.0.1.{n}")[:9], INVALID[:9], f"{name}, {password}")
        took[password].append(time.monotonic() - started)
    return min(took[right]), min(took["wrong"])


def test_a_guess_at_a_frozen_login(t):
    """Who finds the password of a frozen login hears what he hears of a wrong one, as late."""
    w = World(t, "then = off")
    port = w.veredus.port
    v.equal([scram(port, "ann", password, "127.0.0.20")[:3] for password in (SECRET, "wrong")], ["334", "535"])
    w.veredus.command("user", "freeze", "ann")
    v.wait(lambda: w.reply_to_auth("ann")[:3] == "535", 5, "frozen")
    guess_both("ann", SECRET, lambda *who: scram(port, *who))
    # A remembered password costs no hash.
    cats, rights, wrongs = [f"cat{n}" for n in range(6)], [], []
    with open(w.veredus.folder + "/users", "a") as users:
        users.write("".join(f"{cat}:{YESCRYPT}\n" for cat in cats))

    def as_late(cat):
        v.wait(lambda: w.reply_to_auth(cat, "crypted").startswith("235"), 5, cat + "'s line")
        w.veredus.command("user", "freeze", cat)
        v.wait(lambda: w.reply_to_auth(cat, "crypted").startswith(FROZEN), 5, "frozen, and told where he was")
        for times, took in zip((rights, wrongs), guess_both(cat, "crypted", w.reply_to_auth)):
            times.append(took)
        return min(rights) > min(wrongs) / 2
    # What else the machine does makes one or the other longer, but not with each name.
    v.check(any(as_late(cat) for cat in cats), "the right ones took", rights, "wrong ones", wrongs)


def test_a_guess_at_a_frozen_login_of_dovecot(t):
    """The same where Dovecot checks, which itself tells a right password by no delay, and a right proof by its own."""
    users = v.write(os.path.join(t.folder, "dovecot.users"), f"ann:{{PLAIN}}{SECRET}\nbob:{{PLAIN}}{SECRET}\n")
    dovecot = Dovecot(t, mechanisms="plain scram-sha-256", more=f"passdb {{\n  driver = passwd-file\n  args = {users}\n}}\n"
                      "auth_failure_delay = 1 secs").start()
    w = World(t, "then = off", users=())
    text = v.read(w.veredus.conf).decode()
    w.veredus.configure(text.replace(f"users = {w.veredus.folder}/users", f"dovecot = {dovecot.socket}"))
    w.veredus.stop()
    w.veredus.start()
    port = w.veredus.port
    v.wait(lambda: "SCRAM-SHA-256" in v.Smtp(port).say("EHLO x"), 10, "Dovecot's mechanisms")
    for name in "ann", "bob":
        v.check(w.reply_to_auth(name).startswith("235"), name)
        w.veredus.command("user", "freeze", name)
        v.wait(lambda: w.reply_to_auth(name).startswith(FROZEN), 5, "frozen, and told where he was")
    for name, ask, usual in ("ann", lambda *who: scram(port, *who), 1), ("bob", w.reply_to_auth, 5):
        right, wrong = guess_both(name, SECRET, ask, 1)
        v.check(right > min(wrong, 1.6 * usual) / 2, name, "the right one took", right, "a wrong one", wrong)
    w.veredus.wait_log(r"login=<bob>, method=PLAIN, reason=the login is frozen; veredus user list says why, failures=")


def test_signs(t):
    """Many networks, recipients that receivers refuse, messages above the rate: each freezes on its own; exempt ones it does not."""
    w = World(t, "then = freeze  networks = { 4/h }  refused = { 3/h }  limits = { 3/h }  exempt = { *-robot }  exempt-from = { 127.0.7.0/24 }",
              "rate login { messages = { 6/h } }\n", ("ann", "bob", "cat", "shop-robot", "dan"))
    for n in range(4):
        for name, source in ("ann", f"127.1.{n}.1"), ("shop-robot", f"127.1.{n}.1"), ("dan", "127.0.7.1"):
            w.send(name, "r@sink.example", source)
    w.veredus.wait_log("login frozen: login=<ann>, reason=mail from 4 networks in an hour")
    w.send("bob", [f"r{n}@full.example" for n in range(3)])
    w.veredus.wait_log("login frozen: login=<bob>, reason=3 of 3 recipients refused in an hour")
    smtp = w.sign_in("cat")
    for n in range(6):
        smtp.send("cat@client.example", "r@sink.example", v.mail("much"))
    for n in range(3):
        smtp.expect(250, "MAIL FROM:<cat@client.example>")
        smtp.expect(250, "RCPT TO:<r@sink.example>")
        smtp.expect(354, "DATA")
        smtp.socket.sendall(v.mail("more") + b".\r\n")
        v.equal(smtp.reply(), DISABLED if n == 2 else "450 4.7.1 Error: more than 6 messages an hour from this login")
    w.veredus.wait_log("login frozen: login=<cat>, reason=3 messages above its rate in an hour")
    v.wait(lambda: w.user("cat")["frozen"], 5, "the list")
    v.check(not w.user("dan")["suspect"] and not w.user("shop-robot")["suspect"], "exempt")
    v.wait(lambda: len(w.notices()) == 3, 15, lambda: f"a notice each: {len(w.notices())}")


def test_only_told(t):
    """Unless told otherwise nobody is shut out: the log and the postmaster hear of it, once."""
    w = World(t, "networks = { 3/h }")
    for n in range(6):
        w.send("ann", "r@sink.example", f"127.1.{n}.1")
    w.veredus.wait_log("login looks taken over: login=<ann>, reason=mail from 3 networks in an hour")
    v.wait(lambda: len(w.notices()) == 1, 10, "the postmaster's mail")
    v.equal(w.notices()[0]["Subject"], "Login ann looks taken over")
    w.send("ann", "r@sink.example")
    row = w.user("ann")
    v.check(row["suspect"] and not row["frozen"], row)
    v.equal((len(w.notices()), w.count("login looks taken over")), (1, 1))
    w.veredus.command("user", "freeze", "ann")
    v.wait(lambda: w.user("ann")["frozen"], 5, "what a person decides")


def test_a_hostile_worker_is_bounded(t):
    """Whatever a worker says, so many logins an hour are frozen and no more; its neighbours are told of those; a person may do more."""
    daemon = Daemon(t, "limits", "takeover { then = freeze refused = { 2/h } most = 5 }\n")
    daemon.begin()
    smtpd, qmgr, submission = (daemon.peer(kind) for kind in ("smtpd", "qmgr", "submission"))
    v.equal(smtpd.expect("frozen")["logins"], [])
    smtpd.write(b"".join(f.frame("login_note", login=f"login{n}", address=LOOPBACK, refused=3) for n in range(2000)))
    daemon.lives("many notes")
    last = []
    while len(last) < 5:
        last = smtpd.expect("frozen")["logins"]
    v.equal([(row["login"], row["frozen"]) for row in last], [(b"login%d" % n, 1) for n in range(5)])
    qmgr.say("login_settle", query=1, action=1, uid=7, login="more")
    v.equal(qmgr.expect("login_settled")["result"], 0)
    qmgr.say("login_settle", query=2, action=2, uid=7, login="LOGIN0")
    v.equal(qmgr.expect("login_settled", query=2)["result"], 0)
    smtpd.say("login_note", login="login0", address=LOOPBACK, refused=3)
    checker = daemon.peer("checker")
    v.equal([row["login"] for row in checker.expect("frozen")["logins"]], [b"login%d" % n for n in range(1, 5)] + [b"more"])
    first = submission.expect("notice")
    v.equal(first["login"], b"login0")
    submission.say("handed", token=first["token"], taken=1, code=250)
    v.equal(submission.expect("notice")["login"], b"login1")
    for values in (dict(login="\0", action=1), dict(login="", action=1), dict(login="x", action=3)):
        qmgr.say("login_settle", query=9, **values)
        v.check(qmgr.ended(), "against the rules", values)
        qmgr = daemon.peer("qmgr")
    daemon.lives("its neighbours")


def test_many_at_once(t):
    """A thousand logins in one moment are not a thousand lists of up to a thousand."""
    daemon = Daemon(t, "limits", "takeover { then = freeze refused = { 2/h } most = 1000 }\n")
    daemon.begin()
    smtpd, lists, last = daemon.peer("smtpd"), 0, []
    smtpd.write(b"".join(f.frame("login_note", login=f"login{n}", address=LOOPBACK, refused=3) for n in range(1000)))
    while len(last) < 1000:
        last, lists = smtpd.expect("frozen", 10)["logins"], lists + 1
    v.check(lists < 50, "lists:", lists)


v.main(globals())
