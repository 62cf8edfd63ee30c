# SPDX-License-Identifier: ISC
"""REQUIRETLS and TLS-Required: No (RFC 8689), from a client over two Veredus to a mail store, over a signed DNS tree."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import json
import re
import ssl

import hostile as r
import pki
import secure as s
import signed
import veredus as v

NO = "TLS-Required: No\r\n"


class Client(v.Smtp):
    """An SMTP client within TLS."""

    def __init__(self, port):
        super().__init__(port)
        self.expect(220, "STARTTLS")
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
        self.file.close()
        self.socket = c.wrap_socket(self.socket)
        self.file = self.socket.makefile("rb")
        self.offer = self.say("EHLO client.example")


def offers(word="REQUIRETLS"):
    """What a receiver offers within TLS, beside STARTTLS in the clear."""
    def ehlo(conn):
        conn.send(s.PLAIN.replace(b"250-PIPELINING", b"250-PIPELINING\r\n250-" + word.encode()) if isinstance(conn.socket, ssl.SSLSocket) else s.OFFER)
    return ehlo


class World:
    """Receivers at addresses of their own and one port, a zone that names them, and Veredus with a certificate."""

    def __init__(self, t):
        self.t, self.ca = t, s.Authority(t.folder, "authority", host="Test Authority")
        self.port, self.receivers, self.records = v.free_port(), {}, {"example": "", "plain": ""}

    def receiver(self, name, pair="own", mx=None, tlsa=None, zone="example", **says):
        """A receiver mx.NAME.ZONE; PAIR: "good" (signed), "own" (by itself), "other" (signed for another name), None: no TLS."""
        host = f"mx.{name}.{zone}"
        address = f"127.0.4.{len(self.receivers) + 1}"
        made = {"good": lambda: self.ca.signed(name, host), "own": lambda: pki.Pair(self.t.folder, name, host=host),
                "other": lambda: self.ca.signed(name, "mx.other.example")}[pair]() if pair else None
        self.receivers[name] = s.Receiver(self.t, made, address=address, port=self.port, **says)
        text = f"{name} MX 10 mx.{name}\nmx.{name} A {address}\n"
        if tlsa is not None:
            fields = s.tlsa(made, 3, spoil=tlsa)
            text += f"_{self.port}._tcp.mx.{name} TLSA 3 1 1 {fields['data'].hex()}\n"
        self.records[zone] += text

    def start(self, config="", name="veredus", **more):
        if name == "veredus":
            self.tree = signed.Tree(self.t, {"example": signed.Zone(self.records["example"]), "plain": signed.Zone(self.records["plain"], sign=None)})
        own = pki.Pair(self.t.folder, name, host=f"{name}.test")
        veredus = self.t.veredus(f"resolver {{ forward = {{ {self.tree.forward} }} trust-anchor = {self.tree.anchor} }}\n"
                                 f"tls-authorities = {self.ca.certificate}\nretry {{ first = 1h longest = 2h }}\n" + own.block() + config, name=name, **more)
        return veredus

    def commands(self, name):
        """The MAIL commands that a receiver got."""
        return [line.decode().strip() for line in self.receivers[name].commands if line.upper().startswith(b"MAIL")]


def test_table(t):
    """What a receiver has, what the sender asked for, and the outcome; nobody is shown a mail whom the sender did not mean."""
    w = World(t)
    clear = dict(ehlo=lambda conn: conn.send(s.PLAIN if isinstance(conn.socket, ssl.SSLSocket) else s.OFFER.replace(b"250-PIPELINING", b"250-REQUIRETLS")))
    SENT, BOUNCED, DEFERRED = "sent", "bounced", "deferred"
    required, optional = "requiretls/message", "optional/message"
    table = {
        # name: receiver, what is asked, dsn, status, words, tls, policy
        "chain": (dict(pair="good", ehlo=offers()), "req", "2.0.0", SENT, "", "/verified", required),
        "dane": (dict(pair="own", tlsa=False, ehlo=offers()), "req", "2.0.0", SENT, "", "/dane-ee", required),
        "lower": (dict(pair="good", ehlo=offers("requiretls")), "req", "2.0.0", SENT, "", "/verified", required),
        "both": (dict(pair="good", ehlo=offers()), "req no", "2.0.0", SENT, "", "/verified", required),
        "unwanted": (dict(pair="good", ehlo=offers()), "", "2.0.0", SENT, "", "/unverified", "dane/default"),
        "nooffer": (dict(pair="good"), "req", "5.7.30", BOUNCED, "REQUIRETLS support required", "none", required),
        "clearoffer": (dict(pair="good", **clear), "req", "5.7.30", BOUNCED, "REQUIRETLS support required", "none", required),
        "nostarttls": (dict(pair=None), "req", "5.7.10", BOUNCED, "TLS is required, but the receiver does not offer it", "none", required),
        "badname": (dict(pair="other", ehlo=offers()), "req", "5.7.10", BOUNCED, "for another name", "none", required),
        "untrusted": (dict(pair="own", ehlo=offers()), "req no", "5.7.10", BOUNCED, "not trusted", "none", required),
        "badtlsa": (dict(pair="good", tlsa=True, ehlo=offers()), "req", "5.7.10", BOUNCED, "matches no TLSA record", "none", required),
        "unsigned": (dict(pair="good", zone="plain", ehlo=offers()), "req", "5.7.10", BOUNCED, "neither DNSSEC nor MTA-STS vouches", "none", required),
        "notnow": (dict(pair="good", star=b"454 4.7.0 not now\r\n"), "req", "4.7.4", DEFERRED, "STARTTLS was refused", "none", required),
        "optional": (dict(pair="own", tlsa=True), "no", "2.0.0", SENT, "", "/unverified", optional),
        "optplain": (dict(pair=None), "no", "2.0.0", SENT, "", "none", optional),
        "optbroken": (dict(pair="own", tlsa=False, star=r.close), "no", "2.0.0", SENT, "", "none", optional),
        "twice": (dict(pair="own", tlsa=True), "no no", "4.7.5", DEFERRED, "matches no TLSA record", "none", "dane/default"),
        "ours": (dict(pair=None), "no", "4.7.4", DEFERRED, "TLS is required", "none", optional),
    }
    for name, row in table.items():
        w.receiver(name, **row[0])
    w.receiver("sender", pair="good", ehlo=offers())
    w.records["example"] += "second MX 10 mx.nooffer\nsecond MX 20 mx.chain\n"
    table["second"] = (dict(zone="example"), "req", "2.0.0", SENT, "", "/verified", required)
    veredus = w.start(f"route * {{ to = mx:{w.port} }}\nroute ours.example {{ to = mx:{w.port} tls = encrypt }}\n").start()
    client = Client(veredus.port)
    v.check("250-REQUIRETLS" in client.offer and "STARTTLS" not in client.offer, client.offer)
    for name, (receiver, asks, *_) in table.items():
        client.send("from@sender.example", f"x@{name}.{receiver.get('zone', 'example')}", v.mail("to " + name, headers=NO * asks.split().count("no")),
                    " REQUIRETLS RET=FULL" if "req" in asks else "")
    client.expect(501, "MAIL FROM:<a@b.example> REQUIRETLS=YES")
    client.close()
    wrong, lines = [], {name: s.line_of(veredus, f"x@{name}.{row[0].get('zone', 'example')}") for name, row in table.items()}
    for name, (receiver, asks, dsn, status, words, tls, policy) in table.items():
        got = lines[name]
        if not (got[:2] == (dsn, status) and words in got[2] and got[3].removesuffix("/resumed").endswith(tls) and got[4] == policy):
            wrong.append(f"{name}: {got}")
        if name == "second":
            continue
        mails = w.commands(name)
        if len(mails) != (status == SENT) + (name == "chain") or any(("REQUIRETLS" in m) != ("req" in asks) for m in mails):
            wrong.append(f"{name}: {mails}")
    v.check(not wrong, "\n".join(wrong))
    # Each failure comes back, its body left out whatever RET says, and asks for the same protection.
    failed = [name for name, row in table.items() if row[3] == BOUNCED]
    sender = w.receivers["sender"]
    v.wait(lambda: len(sender.contents) == len(failed), 20, lambda: f"{len(failed)} reports: {len(sender.contents)}")
    v.check(all(m.startswith("MAIL FROM:<> ") and m.endswith(" REQUIRETLS") for m in w.commands("sender")), w.commands("sender"))
    for content in sender.contents:
        v.check(b"text/rfc822-headers" in content and b"\r\nHello\r\n" not in content and b"Subject: to " in content, content[-1500:])
    v.check(any(b"Status: 5.7.30" in c for c in sender.contents) and any(b"Status: 5.7.10" in c for c in sender.contents), "both codes")
    queued = lambda: sorted(m["recipients"][0]["address"] for m in veredus.listed())
    v.wait(lambda: queued() == ["x@notnow.example", "x@ours.example", "x@twice.example"], 10, lambda: f"what is to stay: {queued()}")
    v.check("is down" not in veredus.log_text(), "what a mail asks for held up a site")
    # In the clear it is neither offered nor taken; who heeds no header heeds none.
    plain = v.Smtp(veredus.port)
    v.check("REQUIRETLS" not in plain.say("EHLO c.example"), "offered in the clear")
    plain.expect("555 5.5.4", "MAIL FROM:<a@b.example> REQUIRETLS")
    plain.close()
    v.equal(veredus.stop(), 0)
    veredus.configure("heed-tls-required = no\n" + re.sub(r"(?m)^(hostname|postmaster|queue|relay-from|log|listen) .*\n", "", v.read(veredus.conf).decode()))
    veredus.start()
    client = v.Smtp(veredus.port)
    client.send("from@sender.example", "y@optional.example", v.mail("unheeded", headers=NO))
    client.close()
    v.equal(s.line_of(veredus, "y@optional.example")[:2], ("4.7.5", DEFERRED))


def test_a_report_gets_through(t):
    """A report whose way back knows no REQUIRETLS is sent as well as can be, and is not lost."""
    w = World(t)
    w.receiver("nooffer", pair="good")
    w.receiver("back", pair="own")
    w.receiver("clear", pair=None)
    veredus = w.start(f"route * {{ to = mx:{w.port} }}\n").start()
    client = Client(veredus.port)
    for sender in "back", "clear":
        client.send(f"from@{sender}.example", "x@nooffer.example", v.mail("lost " + sender), " REQUIRETLS")
    client.close()
    for sender in "back", "clear":
        v.wait(lambda: w.receivers[sender].contents, 20, "the report")
        v.check("REQUIRETLS" not in w.commands(sender)[0], w.commands(sender))
        v.check(b"Subject: lost " in w.receivers[sender].contents[0] and b"\r\nHello\r\n" not in w.receivers[sender].contents[0], "redacted")
    veredus.wait_empty()


def test_two_veredus(t):
    """One hands over to the other, which delivers to a mail store here; the wish survives a restart, export and import."""
    w = World(t)
    seen = []

    def mail(conn):
        seen.append(conn.line.decode().strip())
        conn.send(r.GOOD["mail"])

    store = r.Receiver(t, lhlo=s.PLAIN, mail=mail, address="127.0.4.200")
    w.records["example"] += "b MX 10 mx.b\nmx.b A 127.0.4.100\nlate MX 10 mx.late\nmx.late A 127.0.4.101\n"
    second_port = v.free_port(("127.0.4.100",))
    w.port = second_port
    w.receiver("nooffer", pair="good")
    first = w.start(f"route * {{ to = mx:{second_port} }}\n")
    pair = w.ca.signed("b", "mx.b.example")
    pair.own = pki.Pair.own.__get__(pair)
    pair.own()
    second = t.veredus(f"hostname = mx.b.example\nlisten smtp {{ address = {{ 127.0.0.1:{0} 127.0.4.100:{second_port} }} }}\n".replace(
        "127.0.0.1:0", f"127.0.0.1:{v.free_port()}") + f"relay-to = {{ b.example }}\nresolver {{ forward = {{ {w.tree.forward} }} trust-anchor = {w.tree.anchor} }}\n"
        f"tls mx.b.example {{ certificate = {pair.certificate} key = {pair.key} }}\nroute b.example {{ to = lmtp:[127.0.4.200]:{store.port} }}\n", name="second").start()
    first.start()
    client = Client(first.port)
    client.send("from@sender.example", "x@b.example", v.mail("through"), " REQUIRETLS")
    held = client.send("from@sender.example", "x@late.example", v.mail("late"), " REQUIRETLS")
    client.close()
    got = s.line_of(first, "x@b.example")
    v.check(got[:2] == ("2.0.0", "sent") and got[3].endswith("/verified") and got[4] == "requiretls/message", got)
    v.wait(lambda: store.contents, 20, lambda: "the mail in the store: " + second.log_text()[-1500:])
    v.check(b"with ESMTPS" in store.contents[0], store.contents[0][:800])
    # The other one had it as such, and said nothing of it to a store that does not know it.
    v.check(" REQUIRETLS" not in seen[0], seen)
    v.equal(s.line_of(second, "x@b.example")[1], "sent")
    # Its host is away: kept over a restart, shown, exported and imported.
    v.equal(s.line_of(first, "x@late.example")[1], "deferred")
    v.check(re.search(r"^tls +required$", first.command("queue", "show", held), re.M), first.command("queue", "show", held))
    first.stop()
    first.start()
    v.equal(json.loads(first.command("queue", "show", held, "--json"))["tls"], "required")
    out = os.path.join(first.folder, "out")
    first.command("queue", "export", out)
    v.equal(json.loads(v.read(f"{out}/{held}.json"))["tls"], "required")
    first.command("queue", "delete", f"id={held}", "--yes")
    first.wait_empty()
    late = s.Receiver(t, w.ca.signed("late", "mx.late.example"), address="127.0.4.101", port=second_port)
    first.command("queue", "import", out)
    first.command("queue", "flush")
    v.wait(lambda: len(re.findall(r"to=<x@late.example>.*5\.7\.30, status=bounced", first.log_text())) == 1, 20, lambda: "the end of it: " + first.log_text()[-1500:])
    v.equal([line for line in late.commands if line.startswith(b"MAIL")], [])


if __name__ == "__main__":
    v.main(globals())
