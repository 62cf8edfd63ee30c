# SPDX-License-Identifier: ISC
"""Who may send from which addresses: submission with a pickup that names the login, and a table of our own making."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import base64
import email
import time

import veredus as v
from alone import Daemon, Intake

SENDERS, ALIASES = "/etc/veredus/senders", "/etc/veredus/aliases"
FOUND, ABSENT, FAILED = 0, 1, 2  # enum table_verdict
DATE, ID = "Date: Sat, 21 Nov 2026 22:05:00 +0000\r\n", "Message-ID: <1@client.example>\r\n"
REFUSED, LATER = "553 5.7.1", "451 4.3.5"


class Door:
    def __init__(self, t, senders=None, aliases=None, settings=""):
        tables = f"senders = {SENDERS} " * (senders is not None) + f"aliases = {ALIASES} " * (aliases is not None)
        self.daemon = Daemon(t, "submission", "submission { " + tables + settings + " }\n")
        self.daemon.begin()
        self.qmgr, self.pickup, self.table = (self.daemon.peer(kind) for kind in ("qmgr", "pickup", "table"))
        self.intake, self.token = Intake(self.qmgr), 0
        self.daemon.lives("its neighbours")
        self.tables = {SENDERS: senders or {}, ALIASES: aliases or {}}

    def look_up(self):
        self.table.pump(0.01)
        for _, values in [m for m in self.table.got if m[0] == "lookup"]:
            table, key = values["table"].decode(), values["key"].decode()
            value = self.tables[table].get(key)
            if value == "failed":
                self.table.say("looked_up", query=values["query"], verdict=FAILED)
            elif value != "silent":
                self.table.say("looked_up", query=values["query"], verdict=ABSENT if value is None else FOUND, value=value or "")
        self.table.got.clear()

    def begin(self, login, sender, author, body="hello\r\n", more=""):
        self.token += 1
        content = (DATE + ID + (f"From: {author}\r\n" if author else "") + more + ("\r\n" + body if body is not None else "")).encode()
        self.pickup.say("handin", token=self.token, sender=sender, recipients=[dict(address="rcpt@sink.example")],
                        content=content, content_length=len(content), login=login)

    def answer(self, seconds=5 * v.WAITS):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look_up()
            self.qmgr.pump(0.005)
            self.pickup.pump(0.005)
            for name, values in self.qmgr.got:
                if name == "submit":
                    self.qmgr.got.clear()
                    self.qmgr.say("settled", id=values["id"], committed=1)
            for name, values in self.pickup.got:
                if name == "handed" and values["token"] == self.token:
                    self.pickup.got.clear()
                    return f"{values['code']} {values['reply'].decode()}"
        raise v.Failure("no answer")

    def hand(self, *args, **more):
        self.begin(*args, **more)
        return self.answer()

    def table_test(self, rows):
        for login, sender, author, wanted in rows:
            said = self.hand(login, sender, author)
            v.check(said.startswith(wanted), login, sender, author, "got:", said)


def test_lists(t):
    door = Door(t, {"uid:1": "ann@x.example, @corp.example .sub.example *-news@y.example", "uid:9": "*", "*": "guest@x.example"})
    door.table_test([
        ("uid:1", "ann@x.example", "ann@x.example", "250"),
        ("uid:1", "any@corp.example", "Ann <ann@x.example>", "250"),
        ("uid:1", "a@b.sub.example", "tech-news@y.example", "250"),
        ("uid:1", "", "ann@x.example", "250"),
        ("uid:1", "bob@x.example", "ann@x.example", REFUSED),
        ("uid:1", "ann@x.example", "bob@x.example", REFUSED),
        ("uid:1", "", "bob@x.example", REFUSED),
        ("uid:1", "ann@x.example", "ann@x.example, bob@x.example", REFUSED),
        ("uid:9", "who@ever.example", "some@body.example", "250"),
        ("uid:2", "guest@x.example", "guest@x.example", "250"),
        ("uid:2", "ann@x.example", "ann@x.example", REFUSED),
    ])
    said = door.hand("uid:1", "ann@x.example", "ann@x.example, Bob <bob@x.example>")
    v.check("<bob@x.example> in From" in said, "it says which one:", said)
    said = door.hand("uid:1", "eve@x.example", "ann@x.example")
    v.check("<eve@x.example> in MAIL FROM" in said, said)
    said = door.hand("uid:1", "ann@x.example", "ann@x.example", more="Sender: eve@x.example\r\n")
    v.check("<eve@x.example> in Sender" in said and said.startswith(REFUSED), said)


def test_no_list(t):
    """Without a table a local user may use any address; with one too, unless he or all have a list."""
    Door(t).table_test([("uid:1", "any@x.example", "other@y.example", "250")])


def test_no_list_of_his(t):
    Door(t, {"uid:7": "ann@x.example"}).table_test([("uid:1", "any@x.example", "other@y.example", "250")])


def test_aliases(t):
    door = Door(t, {"uid:1": "ann@x.example"}, {"sales@x.example": "bob@x.example, ann@x.example", "info@x.example": "bob@x.example",
                                               "root@x.example": "uid:1"})
    door.table_test([
        ("uid:1", "sales@x.example", "Sales <Sales@x.example>", REFUSED),  # keys compare without case: the table's part
        ("uid:1", "sales@x.example", "sales@x.example", "250"),
        ("uid:1", "root@x.example", "ann@x.example", "250"),
        ("uid:1", "info@x.example", "ann@x.example", REFUSED),
        ("uid:1", "none@x.example", "ann@x.example", REFUSED),
    ])


def test_unqualified_and_repaired(t):
    """What is asked about is what goes out."""
    door = Door(t, {"uid:1": "ann@corp.example"}, settings="domain = corp.example duplicates = keep from = keep")
    door.table_test([
        ("uid:1", "ann", "ann", "250"),
        ("uid:1", "ann", "eve", REFUSED),
        ("uid:1", "ann", "ann@corp.example <eve@x.example>", REFUSED),
        ("uid:1", "ann", "ann@corp.example eve@x.example", REFUSED),
        ("uid:1", "ann", "eve@x.example\r\nFrom: ann@corp.example", REFUSED),
        ("uid:1", "ann", "ann@corp.example\r\nFrom: eve@x.example", REFUSED),
        ("uid:1", "ann", "nobody:;", REFUSED),
        ("uid:1", "ann", ",\r\n ".join(f"a{n}@x.example" for n in range(200)), REFUSED),
        ("uid:1", "ann", ",\r\n ".join(["ann@corp.example"] * 200), REFUSED),
    ])


def test_without_a_body(t):
    """A header block that ends with the mail is asked about too."""
    door = Door(t, {"uid:1": "ann@x.example"})
    v.check(door.hand("uid:1", "ann@x.example", "eve@x.example", body=None).startswith(REFUSED), "no body")
    v.check(door.hand("uid:1", "ann@x.example", "ann@x.example", body=None).startswith("250"), "no body")
    v.check(door.hand("uid:1", "ann@x.example", "eve@x.example", body="x" * 70 + "\r\n" + "y\r\n" * 20000).startswith(REFUSED), "a large one")
    v.check(door.hand("uid:1", "ann@x.example", "ann@x.example", body="x" * 70 + "\r\n" + "y\r\n" * 10000).startswith("250"), "a large one")


def test_table_fails(t):
    """Nothing is refused for good, and nothing let through, when rights are not known."""
    door = Door(t, {"uid:1": "failed", "uid:2": "ann@x.example", "uid:3": "silent", "uid:5": None, "*": "failed"},
                {"sales@x.example": "failed"})
    door.table_test([("uid:1", "ann@x.example", "ann@x.example", LATER), ("uid:2", "sales@x.example", "ann@x.example", LATER),
                     ("uid:2", "ann@x.example", "ann@x.example", "250"), ("uid:5", "ann@x.example", "ann@x.example", LATER)])
    door.begin("uid:3", "ann@x.example", "ann@x.example")
    try:
        door.answer(1)
        raise AssertionError("an answer without a table")
    except v.Failure:
        pass
    door.table.close()
    v.check(door.pickup.expect("handed", token=door.token)["reply"].startswith(b"4.3.5"), "table is gone")
    door.daemon.lives("without a table")
    door.begin("uid:2", "ann@x.example", "ann@x.example")
    v.equal(door.pickup.expect("handed", token=door.token)["code"], 451)
    door.table = door.daemon.peer("table")
    door.daemon.lives("a new one")
    v.check(door.hand("uid:2", "ann@x.example", "ann@x.example").startswith("250"), "a new one")


def test_check(t):
    """veredus check names words that allow nothing."""
    path = v.write(t.folder + "/senders", b"ann ann@x.example @x.example\nbob bob .x.example\ncarl dan@\n")
    said = t.veredus(f"submission {{ senders = {path} }}\n").command("check", status=1)
    for line in f'{path}:2: "bob" is no address: it has no @', f'{path}:3: "dan@" is no domain behind the @':
        v.check(line in said, line, "not in", said)


# -- the whole system, over AUTH ---------------------------------------------------------------

SECRET = "pass word#1"


class Server:
    def __init__(self, t, users, senders, more=""):
        self.veredus = t.veredus("")
        self.senders = v.write(t.folder + "/senders", senders)
        port = v.free_port()
        self.sink = t.sink(f"127.0.0.1:{port}")
        self.veredus.configure(
            f"relay-from = {{ 198.51.100.0/24 }}\nroute * {{ to = smtp:[127.0.0.1]:{port} }}\n"
            f"auth {{ users = {self.veredus.folder}/users  clear = loopback  smtp = yes }}\n"
            f"submission {{ senders = {self.senders} }}\n" + more)
        for name in users:
            self.veredus.command("user", "add", name, input=SECRET.encode() + b"\n")
        self.veredus.start()

    def sign_in(self, name):
        smtp = v.Smtp(self.veredus.port)
        smtp.expect(235, "AUTH PLAIN " + base64.b64encode(f"\0{name}\0{SECRET}".encode()).decode())
        return smtp

    def mail(self, name, sender, author):
        """The last reply to it."""
        smtp = self.sign_in(name)
        reply = smtp.say(f"MAIL FROM:<{sender}>")
        if reply.startswith("250"):
            smtp.expect(250, "RCPT TO:<rcpt@sink.example>")
            smtp.expect(354, "DATA")
            smtp.socket.sendall(f"From: {author}\r\nBcc: secret@sink.example\r\nTo: joe\r\n\r\nhello\r\n.\r\n".encode())
            reply = smtp.reply()
        smtp.close()
        return reply

    def becomes(self, wanted, *mail):
        v.wait(lambda: self.mail(*mail).startswith(wanted), 10, lambda: f"{wanted} to {mail}; it is {self.mail(*mail)}")


def test_signed_in(t):
    """Who signs in may send from his own addresses; what he sends is settled; the table changes without a reload."""
    server = Server(t, ["ann", "bob@client.example", "carl"], b"ann ann@client.example .sub.example\n")
    for name, sender, author, wanted in (
            ("ann", "ann@client.example", "ann@client.example", "250"),
            ("ann", "", "Ann <ann@client.example>", "250"),
            ("ann", "x@y.sub.example", "ann@client.example", "250"),
            ("ann", "eve@client.example", "ann@client.example", "553 5.7.1 Error: <eve@client.example> in MAIL FROM is not an address of ann"),
            ("ann", "ann@client.example", "eve@client.example", "553 5.7.1 Error: <eve@client.example> in From is not an address of ann"),
            ("bob@client.example", "bob+list@client.example", "bob@client.example", "250"),
            ("bob@client.example", "ann@client.example", "bob@client.example", REFUSED),
            ("carl", "carl@client.example", "carl@client.example", REFUSED)):
        said = server.mail(name, sender, author)
        v.check(said.startswith(wanted), name, sender, author, said)
    for _, content in server.sink.wait_mails(4):
        message = email.message_from_bytes(content)
        v.check(message["Date"] and message["Message-ID"] and message["Bcc"] is None, content)
        words = message["Received"].split()
        v.equal(message["To"], "joe@" + words[words.index("by") + 1])
        v.check(content.endswith(b"\r\n\r\nhello\r\n"), content)
    time.sleep(1)
    v.write(server.senders + ".new", b"ann eve@client.example\n")
    os.rename(server.senders + ".new", server.senders)
    server.becomes("250", "ann", "eve@client.example", "eve@client.example")
    v.check(server.mail("ann", "ann@client.example", "eve@client.example").startswith(REFUSED), "the old list")
    os.unlink(server.senders)
    server.becomes(LATER, "ann", "eve@client.example", "eve@client.example")
    v.write(server.senders, b"ann eve@client.example\n")
    server.becomes("250", "ann", "eve@client.example", "eve@client.example")
    (pid,) = server.veredus.daemons("table")
    os.kill(pid, 9)
    server.becomes("250", "ann", "eve@client.example", "eve@client.example")


def test_rates_of_a_login(t):
    """Counted for the login, from wherever it comes."""
    server = Server(t, ["ann", "carl"], b"* *\n", "rate login { messages = { 2/d } }\n")
    for name in "ann", "carl":
        for _ in range(2):
            v.check(server.mail(name, "a@client.example", "a@client.example").startswith("250"), name)
        v.equal(server.mail(name, "a@client.example", "a@client.example"), "450 4.7.1 Error: more than 2 messages a day from this login")


def test_refused_attempts_count(t):
    """Mail refused for its sender or its header uses up the rate, and then its refusal is the rate's."""
    server = Server(t, ["ann"], b"ann ann@client.example\n", "rate login { messages = { 4/d } }\n")
    ann, eve, twice = "ann@client.example", "eve@client.example", "ann@client.example\r\nFrom: ann@client.example"
    for sender, author, wanted in (ann, ann, "250"), (eve, ann, REFUSED), (ann, eve, REFUSED), (ann, twice, "554 5.6.0"):
        said = server.mail("ann", sender, author)
        v.check(said.startswith(wanted), sender, author, said)
    for sender, author in (eve, ann), (ann, eve), (ann, twice), (ann, ann):
        v.equal(server.mail("ann", sender, author), "450 4.7.1 Error: more than 4 messages a day from this login", (sender, author))


def test_a_login_named_bounce(t):
    """Reports need no rights and are not counted: a user whose name is theirs does and is."""
    server = Server(t, ["bounce"], b"bounce bounce@client.example\n", "rate login { messages = { 3/d } }\n")
    v.check(server.mail("bounce", "eve@client.example", "bounce@client.example").startswith(REFUSED), "the sender")
    v.check(server.mail("bounce", "bounce@client.example", "eve@client.example").startswith(REFUSED), "the author")
    v.check(server.mail("bounce", "bounce@client.example", "bounce@client.example").startswith("250"), "his own")
    v.check(server.mail("bounce", "bounce@client.example", "bounce@client.example").startswith("450 4.7.1"), "is counted")


v.main(globals())
