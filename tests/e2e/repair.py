# SPDX-License-Identifier: ISC
"""What submitted mail looks like when it is handed over, read by an independent parser: Python's email."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import email
import email.policy
import email.utils
import random
import subprocess
import time

import veredus as v
from alone import Daemon, Intake

DATE, ID, FROM = "Date: Sat, 21 Nov 2026 22:05:00 +0000\r\n", "Message-ID: <1@client.example>\r\n", "From: Ann <ann@client.example>\r\n"
BEST = DATE + ID + FROM


class Door:
    """submission with a pickup that hands in whatever it is given."""

    def __init__(self, t, settings=""):
        self.daemon = Daemon(t, "submission", "submission { domain = corp.example " + settings + " }\n")
        self.daemon.begin()
        self.qmgr, self.pickup = self.daemon.peer("qmgr"), self.daemon.peer("pickup")
        self.intake, self.token = Intake(self.qmgr), 0

    def hand(self, content, **more):
        """The message as submitted: (prelude, body), or the refusal. Until submission has heard that the intake is open, it
        asks to come later."""
        end = time.monotonic() + 10 * v.WAITS
        while True:
            said = self.hand_once(content, **more)
            if not isinstance(said, str) or not said.startswith("451 4.3.2") or time.monotonic() > end:
                return said
            self.qmgr.pump(0.1)

    def hand_once(self, content, sender="ann@client.example", recipients=("rcpt@sink.example",), login="uid:1000", **more):
        content = content.encode() if isinstance(content, str) else content
        self.token += 1
        self.pickup.say("handin", token=self.token, sender=sender, recipients=[dict(address=r) for r in recipients],
                        content=content, content_length=len(content), login=login, **more)
        while True:
            self.pickup.pump(0.01)
            self.qmgr.pump(0.01)
            for name, values in self.qmgr.got:
                if name == "submit":
                    self.qmgr.got.clear()
                    self.qmgr.say("settled", id=values["id"], committed=1)
                    self.pickup.expect("handed", token=self.token, taken=1)
                    self.envelope = values["envelope"]
                    return values["prelude"], values["body"]
            for name, values in self.pickup.got:
                if name == "handed" and values["token"] == self.token:
                    self.pickup.got.clear()
                    return f"{values['code']} {values['reply'].decode()}"


def parsed(message):
    return email.message_from_bytes(message[0] + message[1], policy=email.policy.default.clone(raise_on_defect=False))


def addresses(message, name):
    values = [str(value) for value in email.message_from_bytes(message[0]).get_all(name, [])]
    return [a for _, a in email.utils.getaddresses(values)]


def test_what_is_missing(t):
    door = Door(t)
    message = parsed(door.hand("Subject: bare\r\n\r\nhello\r\n"))
    v.equal(addresses((bytes(message), b""), "From"), ["ann@client.example"])
    v.check(abs(email.utils.parsedate_to_datetime(message["Date"]).timestamp() - time.time()) < 60, message["Date"])
    v.check(message["Message-ID"].startswith("<") and message["Message-ID"].endswith(">"), message["Message-ID"])
    for name in "Date", "Message-ID", "From", "Subject":
        v.equal(len(message.get_all(name)), 1, name)
    v.equal(message.defects, [])
    message = parsed(door.hand(BEST + "Bcc: secret@sink.example,\r\n\tother@sink.example\r\n\r\nhello\r\n", sender="bob@client.example"))
    v.equal((message["Bcc"], message["Sender"]), (None, "bob@client.example"))
    v.check(b"secret" not in bytes(message), message)


def test_unqualified(t):
    """Every address has a domain, in the header as in the envelope, and the rest of the field is as it was."""
    door = Door(t)
    message = door.hand(DATE + ID + "From: ann (it is me)\r\nTo: joe, \"Doe, Bob\" <bob>,\r\n\tteam: carl, dan@known.example;\r\n"
                        "Cc: eve@sales\r\n\r\nhello\r\n", sender="ann", recipients=["joe", "eve@sales", "rcpt@sink.example"])
    v.equal(addresses(message, "From"), ["ann@corp.example"])
    v.equal(addresses(message, "To"), ["joe@corp.example", "bob@corp.example", "carl@corp.example", "dan@known.example"])
    v.equal(addresses(message, "Cc"), ["eve@sales.corp.example"])
    v.check(b"(it is me)" in message[0] and b'"Doe, Bob" <bob@corp.example>,\r\n\tteam:' in message[0], message[0])
    for address in b"ann@corp.example", b"joe@corp.example", b"eve@sales.corp.example":
        v.check(address in door.envelope, address, door.envelope)


def test_refused(t):
    """With what code, and what is wrong."""
    door = Door(t, "date = refuse message-id = refuse from = refuse unqualified = refuse")
    for content, code, word in (
            (ID + FROM, "554 5.6.0", "Date"), (DATE + FROM, "554 5.6.0", "Message-ID"), (DATE + ID, "554 5.6.0", "From"),
            (BEST + "To: joe\r\n", "554 5.1.0", "To"), (BEST + FROM, "554 5.6.0", "From"), (BEST + "To: a@b.c d\r\n", "554 5.6.0", "To"),
            (BEST + "Subject: \u00e4\r\n", "550 5.6.9", "SMTPUTF8")):
        said = door.hand(content + "\r\nx\r\n")
        v.check(isinstance(said, str) and said.startswith(code) and word in said, content, said)
    v.check(b"\xc3\xa4" in door.hand(BEST + "Subject: \u00e4\r\n\r\nx\r\n", smtputf8=1)[0], "with SMTPUTF8")
    v.check(door.hand(BEST + "\r\nx\r\n", recipients=["joe"]).startswith("553"), "the envelope")


def signed(t, content):
    """CONTENT in multipart/signed, by openssl."""
    key, certificate = t.folder + "/key.pem", t.folder + "/cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
                    "-subj", "/CN=ann", "-addext", "subjectAltName=email:ann@client.example"], check=True, capture_output=True)
    out = subprocess.run(["openssl", "smime", "-sign", "-text", "-signer", certificate, "-inkey", key, "-crlfeol"],
                         input=content, check=True, capture_output=True).stdout
    return out.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), certificate


def test_signatures_hold(t):
    """S/MIME by openssl's own verifier; of a DKIM signature that every header field it covers and the body are the same."""
    door = Door(t)
    content, certificate = signed(t, b"Dear Joe,\r\n.\r\n trailing blanks  \r\n")
    message = door.hand(b"To: joe\r\nBcc: x@y.example\r\n" + content)
    path = v.write(t.folder + "/mail", message[0] + message[1])
    verified = subprocess.run(["openssl", "smime", "-verify", "-in", path, "-CAfile", certificate, "-purpose", "any"], capture_output=True)
    v.equal(verified.returncode, 0, verified.stderr)
    v.check(b"joe@corp.example" in message[0] and b"Bcc" not in message[0], message[0])
    body = b"".join(bytes([n]) for n in range(1, 256) if n not in (10, 13)) + b"\r\n\r\n"
    signature = b"DKIM-Signature: v=1; a=rsa-sha256; d=client.example; s=x;\r\n h=From:To:Date:Message-ID:Sender; bh=; b=\r\n"
    block = b"From: ann@other.example\r\nTo: joe\r\n"
    message = door.hand(signature + block + b"Cc: eve\r\n\r\n" + body, body_type=1)
    v.check(message[0].endswith(signature + block + b"Cc: eve@corp.example\r\n\r\n"), message[0])
    rest = message[0].replace(signature, b"")
    v.check(b"Date:" not in rest and b"Sender:" not in rest, message[0])
    v.equal(message[1], body)


def words(dice):
    atoms = ["joe", "ann.b", "=?utf-8?q?x?=", "o'neil", '"Doe, J."', '"a \\" b"', "x-1"]
    comment = ["", "", " (c)", " (a (b) c)"]
    name = dice.choice(["", "", dice.choice(["Joe", '"J. Doe"', "=?utf-8?q?J=C3=B6?=", "Joe Doe"])])
    local = dice.choice([a for a in atoms if not a.startswith("=?")])
    address = local + dice.choice(["", "@x.example", "@Y.Example", "@sales"])
    if name or dice.random() < 0.3:
        return f"{name} <{address}>" + dice.choice(comment)
    return address + dice.choice(comment)


def plain(address):
    """The local part without quotes, which Python drops where there is no domain."""
    return (address.rpartition("@")[0] or address).strip('"').replace("\\", "")


def test_lists_of_all_kinds(t):
    """Lists made by chance: Python finds as many addresses, each with a full domain, and none lost."""
    door, dice = Door(t), random.Random(20261121)
    for _ in range(150):
        parts = [words(dice) for _ in range(dice.randint(1, 6))]
        if dice.random() < 0.3:
            parts.append("team: " + ", ".join(words(dice) for _ in range(dice.randint(1, 3))) + ";")
        value = dice.choice([", ", ",\r\n\t", " ,\r\n "]).join(parts)
        before = [a for _, a in email.utils.getaddresses([value.replace("\r\n", "")])]
        message = door.hand(BEST + "To: " + value + "\r\n\r\nx\r\n")
        v.check(not isinstance(message, str), value, message)
        after = [a for _, a in email.utils.getaddresses([email.message_from_bytes(message[0])["To"].replace("\r\n", "")])]
        v.equal([plain(a) for a in before], [plain(a) for a in after], value)
        v.check(all("." in a.rpartition("@")[2] for a in after), value, after)


v.main(globals())
