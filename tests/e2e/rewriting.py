# SPDX-License-Identifier: ISC
"""Virtual and canonical addresses, masquerading, blind copies and header rules: real tables, a real receiver."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import base64
import email
import time

import veredus as v
from alone import Daemon, Intake

FOUND, ABSENT, FAILED = 0, 1, 2  # enum table_verdict
MAPS = {
    "virtual": "info@virtual.example ann@sink.example, bob@sink.example team@virtual.example\n"
               "team@virtual.example bob@sink.example eve@sink.example\n"
               "loop@virtual.example pool@virtual.example\npool@virtual.example loop@virtual.example\n"
               "tag@virtual.example tagged@sink.example\n"
               "kept@sink.example kept@sink.example copy@sink.example\n"
               "@all.virtual.example @sink.example\n",
    "canonical": "ann@old.example Ann.Smith@new.example\n@gone.example @sink.example\n",
    "senders": "fred@old.example free@new.example\n",
    "bcc-of": "ann.smith@new.example watch@sink.example\n",
    "bcc-to": "vip@sink.example vips@sink.example\n",
}


def server(t, config):
    """Veredus with all of the tables, and its sink."""
    port = v.free_port()
    sink = t.sink(f"127.0.0.1:{port}")
    veredus = t.veredus("")
    veredus.paths = {name: v.write(f"{t.folder}/{name}", text) for name, text in MAPS.items()}
    veredus.configure(config + f"""
route * {{ to = smtp:[127.0.0.1]:{port} }}
auth {{ users = {veredus.folder}/users  clear = loopback  smtp = yes }}
rewrite {{
	canonical = {veredus.paths['canonical']}
	canonical-senders = {veredus.paths['senders']}
	virtual = {veredus.paths['virtual']}
	virtual-domains = {{ virtual.example *.virtual.example }}
	bcc = always@sink.example
	bcc-senders = {veredus.paths['bcc-of']}
	bcc-recipients = {veredus.paths['bcc-to']}
}}
""")
    veredus.command("user", "add", "ann", input=b"secret secret\n")
    return veredus.start(), sink


def arrived(sink, wanted):
    """All that WANTED have got: {address: (RCPT's words, sender, content)}."""
    found = {}

    def all_there():
        for envelope, content in sink.mails():
            for word in envelope["rcpt"]:
                found[word.split()[0].strip("<>")] = (word, str(envelope["mail"]), content)
        return len(found) >= len(wanted)

    v.wait(all_there, 20, lambda: f"{wanted}, there are {sorted(found)}")
    v.equal(sorted(found), sorted(wanted))
    return found


def test_virtual(t):
    veredus, sink = server(t, "relay-from = { 192.0.2.0/24 }\n")
    client = v.Smtp(veredus.port)
    client.expect(250, "MAIL FROM:<who@else.example>")
    client.expect(550, "RCPT TO:<x@sink.example>")  # what was said is what rights are asked about
    client.expect("550 5.1.1", "RCPT TO:<nobody@virtual.example>")
    client.expect("451 4.3.5", "RCPT TO:<loop@virtual.example>")
    client.expect(250, "RCPT TO:<postmaster@virtual.example>")
    client.expect(250, "RSET")
    mail = v.mail("to many")
    client.send("who@else.example", ["INFO@virtual.example", "any.one@all.virtual.example", "tag+x@virtual.example", "team@virtual.example"],
                mail, rcpt_words=" NOTIFY=FAILURE ORCPT=rfc822;said@virtual.example")
    got = arrived(sink, ["always@sink.example", "ann@sink.example", "any.one@sink.example", "bob@sink.example", "eve@sink.example",
                         "tagged+x@sink.example"])
    word = got["ann@sink.example"][0]
    v.check("ORCPT=rfc822;said@virtual.example" in word and "NOTIFY=FAILURE" in word, word)
    v.check("NOTIFY=NEVER" in got["always@sink.example"][0] and "ORCPT" not in got["always@sink.example"][0], got["always@sink.example"][0])
    v.relayed_whole(got["ann@sink.example"][2], mail)


def test_submitted(t):
    veredus, sink = server(t, """
header smtp {
	masquerade = { new.example }
	masquerade-except = { root }
	remove = { X-Originating-IP }
	add = { "X-Relay: one" }
}
""")
    client = v.Smtp(veredus.port)
    client.expect(235, "AUTH PLAIN " + base64.b64encode(b"\0ann\0secret secret").decode())
    head = ("From: Ann <ann@old.example>\r\nTo: x@gone.example, ann@old.example,\r\n\t\"A, B\" <root@host.new.example>\r\n"
            "Cc: fred@old.example, c@host.new.example\r\nX-Originating-IP: [192.0.2.1]\r\nSubject: x\r\n"
            "Date: Sat, 21 Nov 2026 22:05:00 +0000\r\nMessage-ID: <1@client.example>\r\n")
    client.send("ann@old.example", ["x@gone.example", "kept@sink.example", "vip@sink.example"], head.encode() + b"\r\nann@old.example\r\n")
    got = arrived(sink, ["always@sink.example", "copy@sink.example", "kept@sink.example", "vip@sink.example", "vips@sink.example",
                         "watch@sink.example", "x@sink.example"])
    word, sender, content = got["x@sink.example"]
    message = email.message_from_bytes(content)
    v.check("<Ann.Smith@new.example>" in sender, sender)
    v.equal(message["From"], "Ann <Ann.Smith@new.example>")
    v.equal(message["To"], "x@sink.example, Ann.Smith@new.example,\r\n\t\"A, B\" <root@host.new.example>")
    v.equal(message["Cc"], "fred@old.example, c@new.example", "canonical-senders are not for recipients")
    v.equal((message["X-Originating-IP"], message["X-Relay"]), (None, "one"))
    v.check(content.endswith(b"\r\n\r\nann@old.example\r\n"), "the body stays", content)
    for hidden in b"always", b"watch", b"vips", b"copy@":
        v.check(hidden not in content, "told of a blind copy:", content)
    v.check("NOTIFY=NEVER" in got["watch@sink.example"][0] and "NOTIFY" not in word, got)
    client.send("fred@h.new.example", ["signed@sink.example"], (
        "DKIM-Signature: v=1; a=x; d=y; s=z; bh=b; h=From:X-Originating-IP; b=c\r\n" + head).encode() + b"\r\nhi\r\n")
    v.wait(lambda: "signed@sink.example" in str([e for e, _ in sink.mails()]), 20, "the signed mail")
    sender, content = [(str(e["mail"]), c) for e, c in sink.mails() if "signed@sink.example" in str(e["rcpt"])][0]
    message = email.message_from_bytes(content)
    v.check("<fred@new.example>" in sender, sender)
    v.equal((message["From"], message["X-Originating-IP"]), ("Ann <ann@old.example>", "[192.0.2.1]"))
    v.equal(message["Cc"], "fred@old.example, c@new.example")


def test_handed_in(t):
    """What programs hand in whole, and when a table fails."""
    tables = {"/v": {"ann@x.example": "a@sink.example b@sink.example", "@x.example": "@sink.example", "bad@x.example": "no@address@",
                     "a@x.example": "other@sink.example"},  # "none" is no list of letters: any@ is nobody's tag
              "/c": {"uid@old.example": "user@new.example"}}
    daemon = Daemon(t, "submission", "rewrite { virtual = /v  virtual-domains = { x.example }  canonical = /c  bcc = log@sink.example }\n"
                    "header local { masquerade = { corp.example } }\nlocal { separators = none }\n")
    daemon.begin()
    qmgr, pickup, table = (daemon.peer(kind) for kind in ("qmgr", "pickup", "table"))
    Intake(qmgr)
    state = {"token": 0}

    def hand(recipients, sender="uid@old.example", fails=False):
        state["token"] += 1
        content = b"From: uid@old.example\r\nTo: c@host.corp.example\r\n\r\nhello\r\n"
        pickup.say("handin", token=state["token"], sender=sender, recipients=[dict(address=r, notify=4) for r in recipients],
                   content=content, content_length=len(content), login="uid:1000")
        submitted, end = None, time.monotonic() + 10 * v.WAITS
        while time.monotonic() < end:
            for peer in table, qmgr, pickup:
                peer.pump(0.003)
            for _, values in [m for m in table.got if m[0] == "lookup"]:
                value = tables[values["table"].decode()].get(values["key"].decode())
                table.say("looked_up", query=values["query"], verdict=FAILED if fails else ABSENT if value is None else FOUND, value=value or "")
            table.got.clear()
            for name, values in list(qmgr.got):
                if name == "submit":
                    submitted = values
                    qmgr.got.clear()
                    qmgr.say("settled", id=values["id"], committed=1)
            for name, values in pickup.got:
                if name == "handed" and values["token"] == state["token"]:
                    pickup.got.clear()
                    return f"{values['code']} {values['reply'].decode()}", submitted
        raise v.Failure("no answer")

    said, mail = hand(["ann@x.example", "b@sink.example", "any@x.example"])
    for _ in range(50):
        if not said.startswith("451 4.3.2"):
            break
        qmgr.pump(0.1)  # its intake is not open yet
        said, mail = hand(["ann@x.example", "b@sink.example", "any@x.example"])
    v.check(said.startswith("250"), said)
    for address in b"a@sink.example", b"b@sink.example", b"any@sink.example", b"log@sink.example", b"user@new.example":
        v.equal(mail["envelope"].count(address), 1, address)
    v.check(b"From: user@new.example" in mail["prelude"] and b"To: c@corp.example" in mail["prelude"], mail["prelude"])
    v.check(b"log@" not in mail["prelude"], mail["prelude"])
    said, mail = hand(["ann@x.example"], fails=True)
    v.check(said.startswith("451 4.3.5") and not mail, said)
    said, mail = hand(["bad@x.example"])
    v.check(said.startswith("451 4.3.5") and not mail, said)
    said, mail = hand(["plain@sink.example"], sender="")
    v.check(said.startswith("250") and mail["envelope"].count(b"plain@sink.example") == 1, said)
    daemon.lives("rewriting")


v.main(globals())
