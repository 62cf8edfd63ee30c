# SPDX-License-Identifier: ISC
"""TLS towards receivers: what each policy demands, what is sent in the clear and what never is, and what the log says of it."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import hashlib
import re
import ssl
import subprocess
import time

import hostile as r
import pki
import secure as s
import signed
import veredus as v
from alone import Daemon

TIMES = f"timeout {{ handshake = {3 * v.PATIENCE}s }}\nretry {{ first = 1h longest = 2h }}\n"
DEFERRED, SENT = "deferred", "sent"
CLEAR, ANY = "none", r"TLSv1\.[23]/TLS_\w+/\w+"


def authority(t):
    return s.Authority(t.folder, "authority", host="Test Authority")


def started(t, routes, config="", forward=""):
    anchor = v.write(t.folder + "/anchor", "")
    return t.veredus(TIMES + f"resolver {{ forward = {{ {forward} }} trust-anchor = {anchor} }}\n" + config + routes).start()


def garbage(conn):
    conn.send(s.READY)
    time.sleep(0.1)
    conn.send(b"\x15\x03\x01\x00\x02\x02\x28")
    conn.until_closed()


def injected(conn):
    """An answer in the clear to what will be asked within TLS (the mirror of CVE-2011-0411)."""
    conn.send(s.READY + b"250-receiver.example\r\n250 SIZE 1\r\n")
    conn.until_closed()


def test_policies(t):
    """A table: what the receiver does, the route, and the outcome with its code, its words and the TLS that the log names."""
    ca = authority(t)
    own = pki.Pair(t.folder, "own", host="mx.good.example")  # signed by itself
    good = ca.signed("good", "mx.good.example")
    star, other = ca.signed("star", "*.good.example"), ca.signed("other", "mx.other.example")
    unnamed = ca.signed("unnamed", "mx.good.example", names=[])
    expired = ca.signed("expired", "mx.good.example", dates=-1)
    names = "tls-names = { mx.good.example }"
    digest, key = (hashlib.sha256(f(own)).hexdigest() for f in (s.der, s.public_key))
    colons = ":".join(digest[i:i + 2] for i in range(0, 64, 2)).upper()
    old = dict(pair=own, most=ssl.TLSVersion.TLSv1_1)
    refuses = dict(pair=own, star=b"454 4.7.0 TLS not available due to local problem\r\n")
    helo = dict(ehlo=b"502 5.5.1 what?\r\n")
    table = {
        # name: receiver, route, status, dsn, reply, tls, was MAIL said in the clear
        "may-without": ({}, "tls = may", SENT, "2.0.0", "", CLEAR, True),
        "may-with": (dict(pair=own), "tls = may", SENT, "2.0.0", "", ANY + "/unverified", False),
        "may-helo": (helo, "tls = may", SENT, "2.0.0", "", CLEAR, True),
        "may-refused": (refuses, "tls = may", SENT, "2.0.0", "", CLEAR, True),
        "may-garbage": (dict(pair=own, star=garbage), "tls = may", SENT, "2.0.0", "", CLEAR, True),
        "may-closes": (dict(pair=own, star=r.close), "tls = may", SENT, "2.0.0", "", CLEAR, True),
        "may-hangs-up": (dict(pair=own, star=lambda c: (c.send(s.READY), r.close(c))), "tls = may", SENT, "2.0.0", "", CLEAR, True),
        "may-hangs": (dict(pair=own, star=lambda c: (c.send(s.READY), r.hang(c))), "tls = may", SENT, "2.0.0", "", CLEAR, True),
        "may-old": (old, "tls = may", SENT, "2.0.0", "", CLEAR, True),
        "may-injected": (dict(pair=own, star=injected), "tls = may", DEFERRED, r"4\.5\.0", "a reply that was not asked for", CLEAR, None),
        "default-without": ({}, "", SENT, "2.0.0", "", CLEAR, True),
        "default-with": (dict(pair=own), "", SENT, "2.0.0", "", ANY + "/unverified", False),
        "dane-unsigned": (dict(pair=own), "tls = dane", SENT, "2.0.0", "", ANY + "/unverified", False),
        "encrypt-with": (dict(pair=own), "tls = encrypt", SENT, "2.0.0", "", ANY + "/unverified", False),
        "encrypt-without": ({}, "tls = encrypt", DEFERRED, r"4\.7\.4", "TLS is required, but the receiver does not offer it", CLEAR, None),
        "encrypt-helo": (helo, "tls = encrypt", DEFERRED, r"4\.7\.4", "does not offer it", CLEAR, None),
        "encrypt-refused": (refuses, "tls = encrypt", DEFERRED, r"4\.7\.4", "STARTTLS was refused: 454 4.7.0", CLEAR, None),
        "encrypt-garbage": (dict(pair=own, star=garbage), "tls = encrypt", DEFERRED, r"4\.7\.5", "TLS handshake failed", CLEAR, None),
        "encrypt-hangs": (dict(pair=own, star=lambda c: (c.send(s.READY), r.hang(c))), "tls = encrypt", DEFERRED, r"4\.7\.5", "too long", CLEAR, None),
        "encrypt-old": (old, "tls = encrypt", DEFERRED, r"4\.7\.5", "TLS handshake failed", CLEAR, None),
        "verify-good": (dict(pair=good), "tls = verify " + names, SENT, "2.0.0", "", ANY + "/verified", False),
        "verify-1.2": (dict(pair=good, most=ssl.TLSVersion.TLSv1_2), "tls = verify " + names, SENT, "2.0.0", "", r"TLSv1\.2/TLS_ECDHE\w+/\w+/verified", False),
        "verify-star": (dict(pair=star), "tls = verify " + names, SENT, "2.0.0", "", ANY + "/verified", False),
        "verify-below": (dict(pair=good), "tls = verify tls-names = { elsewhere.example, *.good.example }", SENT, "2.0.0", "", ANY + "/verified", False),
        "verify-other": (dict(pair=other), "tls = verify " + names, DEFERRED, r"4\.7\.5", "for another name", CLEAR, None),
        "verify-unnamed": (dict(pair=unnamed), "tls = verify " + names, DEFERRED, r"4\.7\.5", "for another name", CLEAR, None),
        "verify-own": (dict(pair=own), "tls = verify " + names, DEFERRED, r"4\.7\.5", "not trusted: self", CLEAR, None),
        "verify-expired": (dict(pair=expired), "tls = verify " + names, DEFERRED, r"4\.7\.5", "not trusted: certificate has expired", CLEAR, None),
        "verify-without": ({}, "tls = verify " + names, DEFERRED, r"4\.7\.4", "does not offer it", CLEAR, None),
        "finger-good": (dict(pair=own), f"tls = fingerprint tls-fingerprints = {{ {colons} }}", SENT, "2.0.0", "", ANY + "/fingerprint", False),
        "finger-key": (dict(pair=own), f"tls = fingerprint tls-fingerprints = {{ {'0' * 64}, {key} }}", SENT, "2.0.0", "", ANY + "/fingerprint", False),
        "finger-other": (dict(pair=good), f"tls = fingerprint tls-fingerprints = {{ {digest}, {key} }}", DEFERRED, r"4\.7\.5", "another one", CLEAR, None),
    }
    receivers = {name: s.Receiver(t, **row[0]) for name, row in table.items()}
    veredus = started(t, "".join(f"route {name}.example {{ to = smtp:[{v.SINK}]:{receivers[name].port} {row[1]} }}\n" for name, row in table.items()),
                      f"tls-authorities = {ca.certificate}\n")
    v.send_each(veredus, *(f"x@{name}.example" for name in table))
    wrong = []
    for name, (_, route, status, dsn, words, tls, clear) in table.items():
        got = s.line_of(veredus, f"x@{name}.example")
        origin = f"{name}.example" if "tls = " in route else "default"
        policy = re.match(r"tls = (\S+)|", route)[1] or "dane"
        if not (re.fullmatch(dsn, got[0]) and got[1] == status and words in got[2] and re.fullmatch(tls, got[3]) and got[4] == f"{policy}/{origin}"):
            wrong.append(f"{name}: {got}")
        want = [] if clear is None else [not clear]
        if receivers[name].ways != want or len(receivers[name].contents) != len(want):
            wrong.append(f"{name}: MAIL in TLS: {receivers[name].ways}, expected {want}; {len(receivers[name].contents)} arrived")
    v.check(not wrong, "\n".join(wrong))
    log = veredus.log_text()
    for name, why in (("may-refused", "STARTTLS|454 4.7.0 TLS not available"), ("may-garbage", "TLS handshake failed"), ("may-hangs", "it took too long"),
                      ("may-hangs-up", "TLS handshake failed"), ("may-old", "TLS handshake failed")):
        v.check(re.search(rf"TLS to \S*:{receivers[name].port}: .*({why}).*; sent without TLS", log), name, "was not said")
    v.equal([w for w in re.findall(r".*(?:starting it again|is down).*", log) if "a reply that was not asked for" not in w], [], "sites")
    v.equal(veredus.stop(), 0, "exit status")


def test_failure_is_the_domains(t):
    """Beside a domain whose policy can't be kept another one is served at the same host, over a connection of its own."""
    plain = s.Receiver(t)
    to = f"to = smtp:[{v.SINK}]:{plain.port}"
    veredus = started(t, f"route strict.example {{ {to} tls = encrypt }}\nroute good.example {{ {to} tls = may }}\n")
    for i in range(3):
        v.send_each(veredus, "a@strict.example")
        v.equal(s.line_of(veredus, "a@strict.example")[:2], ("4.7.4", DEFERRED))
        v.send_each(veredus, f"b{i}@good.example")
        v.equal(s.line_of(veredus, f"b{i}@good.example")[1], SENT)
    log = veredus.log_text()
    v.check(not re.search(r"site .* is down|connect to ", log), re.findall(r".*(?:is down|connect to).*", log))
    # The domain waits as a whole: one attempt, not one for each message.
    v.equal(len(re.findall(r"to=<a@strict\.example>", log)), 1, "attempts")
    v.wait(lambda: len(veredus.listed()) == 3, 10, lambda: f"three in the queue: {veredus.listed()}")
    v.equal(veredus.stop(), 0, "exit status")


def test_reuse_and_resumption(t):
    """A connection goes on under its policy and never under another; nor does a session."""
    own = pki.Pair(t.folder, "own")
    server = s.Receiver(t, pair=own)
    to = f"to = smtp:[{v.SINK}]:{server.port}"
    veredus = started(t, f"route a.may.example {{ {to} tls = may }}\nroute b.may.example {{ {to} tls = may }}\nroute enc.example {{ {to} tls = encrypt }}\n"
                      f"route fin.example {{ {to} tls = fingerprint tls-fingerprints = {{ {hashlib.sha256(s.der(own)).hexdigest()} }} }}\n")

    def to_one(address):
        v.send_each(veredus, address)
        return s.line_of(veredus, address)[3]

    first = to_one("1@a.may.example")
    v.check(first.endswith("/unverified"), first)
    # Idle connections are closed after two seconds, which a machine may stand still; the next ones go on with what was agreed.
    for i in range(2, 6):
        for domain in "a", "b":
            got = to_one(f"{i}@{domain}.may.example")
            v.equal(got.removesuffix("/resumed"), first, "over the same connection")
    v.check(server.connections <= 1 + server.commands.count(b"QUIT\r\n"), "connections under one policy", server.connections)
    before = server.connections
    v.check(not to_one("6@enc.example").endswith("resumed"), "a session of another policy")
    v.equal(server.connections, before + 1, "another policy's own")
    v.check(not to_one("7@fin.example").endswith("resumed"), "a session of another policy")
    v.equal(server.connections, before + 2, "another policy's own")
    v.wait(lambda: server.commands.count(b"QUIT\r\n") == server.connections, 10, "QUIT")
    for address in "8@a.may.example", "9@enc.example", "10@fin.example":
        v.check(to_one(address).endswith("/resumed"), address, "was not resumed", server.secured)
    reused = [x["reused"] for x in server.secured]
    v.check(reused.count(False) == 3 and reused[-3:] == [True] * 3, "sessions", reused)
    v.equal({x["name"] for x in server.secured}, {None}, "an address asked for as a name")
    v.check(all(server.ways), "MAIL in the clear")
    # Other files: what was agreed with the old certificate is worth nothing to the fingerprint of another.
    v.equal(veredus.stop(), 0, "exit status")


def test_next_host(t):
    """By MX: a host that does not do what the policy wants is passed over; names asked for are those of DNS; nobody takes all."""
    ca = authority(t)
    port = v.free_port((v.SINK, v.CLIENT))
    forward = t.zone(f"""two MX 10 mx.one
two MX 20 mx.two
mx.one A {v.SINK}
mx.two A {v.CLIENT}
named MX 10 mx.two
""")
    plain = s.Receiver(t, address=v.SINK, port=port)
    safe = s.Receiver(t, pair=ca.signed("safe", "named.example", names=["named.example", "mx.two.example"]), address=v.CLIENT, port=port)
    host = f"to = smtp:mx.two.example:{port}"
    veredus = started(t, f"route two.example {{ to = mx:{port} tls = encrypt }}\nroute named.example {{ to = mx:{port} tls = verify }}\n"
                      f"route host.example {{ {host} tls = verify }}\nroute far.example {{ {host} tls = dane-only }}\n",
                      f"tls-authorities = {ca.certificate}\n", forward)
    v.send_each(veredus, "a@two.example", "b@named.example", "c@host.example", "d@far.example")
    v.check(s.line_of(veredus, "a@two.example")[3].endswith("/unverified"))
    for address in "b@named.example", "c@host.example":
        got = s.line_of(veredus, address)
        v.check(got[1] == SENT and got[3].endswith("/verified"), got)
    got = s.line_of(veredus, "d@far.example")
    v.check(got[:2] == ("4.7.5", DEFERRED) and "not signed by DNSSEC" in got[2], got)
    v.equal(plain.ways, [], "MAIL to the host without TLS")
    v.equal({x["name"] for x in safe.secured}, {"mx.two.example"}, "names asked for")
    v.equal(veredus.stop(), 0, "exit status")


def test_postfix(t):
    """A real Postfix: encrypted, verified, and by its key; the second connection is resumed; what arrives is whole."""
    if not v.IS_ROOT:
        raise v.Skip("starting an unpacked Postfix needs root")
    v.peer("postfix", "usr/lib/postfix/sbin/master")
    environment = dict(os.environ, POSTFIX_PACKAGE=v.reachable(t, os.path.join(v.PEERS, "postfix"), "peer"))
    ca = authority(t)
    pair = ca.signed("postfix.example")
    out, port = v.free_port((v.SINK,)), v.free_port()
    sink, folder = t.sink(f"{v.SINK}:{out}"), t.folder + "/postfix"
    script = os.path.join(v.ROOT, "bench/postfix.sh")
    t.defer(subprocess.run, ["sh", script, "stop", folder])
    subprocess.run(["sh", script, "start", folder, str(port), f"[{v.SINK}]:{out}"], check=True, timeout=60, env=environment)
    # Its smtpd is started by the first client, and reads this then.
    with open(folder + "/etc/main.cf", "a") as f:
        f.write(f"smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {pair.certificate}\nsmtpd_tls_key_file = {pair.key}\nsmtpd_tls_received_header = yes\n")
    key = hashlib.sha256(s.public_key(pair)).hexdigest()
    to = f"to = smtp:[127.0.0.1]:{port}"
    veredus = started(t, f"route enc.example {{ {to} tls = encrypt }}\nroute ver.example {{ {to} tls = verify tls-names = {{ postfix.example }} }}\n"
                      f"route fin.example {{ {to} tls = fingerprint tls-fingerprints = {{ {key} }} }}\n",
                      f"tls-authorities = {ca.certificate}\nlimits {{ site-messages = 1 }}\n")
    for turn in "1", "2":
        for domain, proof in ("enc", "unverified"), ("ver", "verified"), ("fin", "fingerprint"):
            v.send_each(veredus, f"{turn}@{domain}.example", subject=f"{turn} to {domain}")
            got = s.line_of(veredus, f"{turn}@{domain}.example")
            v.check(got[1] == SENT and re.fullmatch(ANY + "/" + proof + ("/resumed" if turn == "2" else ""), got[3]), got)
    large = v.mail("large", b"0123456789" * 8 + b"\r\n" * 1 + b".\r\n" * 300000)
    client = v.Smtp(veredus.port)
    client.send("sender@client.example", "3@ver.example", large)
    client.close()
    got = s.line_of(veredus, "3@ver.example", seconds=40)
    v.check(got[1] == SENT and got[3].endswith("/verified/resumed"), got)
    mails = [content for _, content in sink.wait_mails(7, 40)]
    v.equal(len([content for content in mails if content.endswith(large)]), 1, "whole large mails")
    v.check(all(b"using TLSv1.3 with cipher" in content for content in mails), mails[0][:1200])
    v.equal(veredus.stop(), 0, "exit status")


def test_signed(t):
    """From a signed DNS tree to the log line, through all daemons: the default policy."""
    ca = authority(t)
    good, port = ca.signed("good", "mx.ta.example"), v.free_port((v.SINK, v.CLIENT))
    safe = s.Receiver(t, pair=good, address=v.SINK, port=port)
    plain = s.Receiver(t, address=v.CLIENT, port=port)
    records = {"example": "", "plain": ""}

    def domain(name, address, *found, zone="example"):
        records[zone] += f"{name} MX 10 mx.{name}\nmx.{name} A {address}\n" + "".join(
            f"_{port}._tcp.mx.{name} TLSA {r['usage']} {r['selector']} {r['matching']} {r['data'].hex()}\n" for r in found)

    key, spoiled = s.tlsa(good, 3), s.tlsa(good, 3, spoil=True)
    table = {
        "ee.example": (SENT, "2.0.0", ANY + "/dane-ee(/resumed)?", ""),
        "ta.example": (SENT, "2.0.0", ANY + "/dane-ta", ""),
        "spoiled.example": (DEFERRED, "4.7.5", CLEAR, "matches no TLSA record"),
        "unusable.example": (SENT, "2.0.0", ANY + "/unverified", ""),
        "unusable-clear.example": (DEFERRED, "4.7.4", CLEAR, "does not offer it"),
        "stripped.example": (DEFERRED, "4.7.4", CLEAR, "does not offer it"),
        "bogus.example": (DEFERRED, "4.7.5", CLEAR, "could not be looked up"),
        "none.example": (SENT, "2.0.0", CLEAR, ""),
        "second.example": (SENT, "2.0.0", ANY + "/dane-ee(/resumed)?", ""),
        "x.plain": (SENT, "2.0.0", CLEAR, ""),
    }
    domain("ee", v.SINK, key)
    domain("ta", v.SINK, s.tlsa(ca, 2, 0))
    domain("spoiled", v.SINK, spoiled)
    domain("unusable", v.SINK, dict(key, usage=1))
    domain("unusable-clear", v.CLIENT, dict(key, usage=1))
    domain("stripped", v.CLIENT, key)
    domain("bogus", v.SINK, key)
    domain("none", v.CLIENT)
    records["example"] += "second MX 10 mx.stripped\nsecond MX 20 mx.ee\n"
    domain("x", v.CLIENT, spoiled, zone="plain")
    tree = signed.Tree(t, {"example": signed.Zone(records["example"], broken=[(f"_{port}._tcp.mx.bogus.example", "TLSA")]),
                           "plain": signed.Zone(records["plain"], sign=None)})
    veredus = t.veredus(TIMES + f"resolver {{ forward = {{ {tree.forward} }} trust-anchor = {tree.anchor} }}\nroute * {{ to = mx:{port} }}\n").start()
    v.send_each(veredus, *("a@" + name for name in table))
    for name, (status, dsn, tls, words) in table.items():
        got = s.line_of(veredus, "a@" + name)
        v.check(got[:2] == (dsn, status) and re.fullmatch(tls, got[3]) and words in got[2] and got[4] == "dane/default", name, got)
    v.equal((safe.ways, plain.ways), ([True] * 4, [False] * 2), "MAIL in TLS")
    v.check("is down" not in veredus.log_text(), "a policy held up a site")
    v.equal(veredus.stop(), 0, "exit status")


# -- DANE: smtp-client alone, its resolver and its qmgr are we --------------------------------------

RELAYED, TO_DEFER, DOMAIN = 1, 3, 4
NONE, USABLE, UNUSABLE, FAILED = range(4)
INSECURE, SECURE, BOGUS = range(3)
BASE = "mx.good.example"


class Client:
    """A real smtp-client; each case is a domain of its own with the hosts that it is told."""

    def __init__(self, t, config=""):
        self.daemon = Daemon(t, "smtp-client", TIMES + config)
        self.daemon.begin()
        self.qmgr, self.resolver, self.number = self.daemon.peer("qmgr"), self.daemon.peer("resolver"), 0

    def deliver(self, domain, hosts, wanted=1):
        """The outcome of one message to the domain: (kind, dsn, reply, scope)."""
        self.number += 1
        n, body = self.number, b"Hello\r\n"
        self.qmgr.say("job", slot=n, job=n, id=n, site="s", hop=f"h{n}", how=0, target=domain, port=25, domain=domain, sender="s@client.example",
                      recipients=[dict(number=0, address=f"x@{domain}")], prelude=b"Subject: x\r\n\r\n", body=body, body_length=len(body))
        asked = self.resolver.expect("hosts_ask", 5, target=domain.encode())
        v.equal(asked["tlsa_wanted"], wanted, "TLSA records wanted")
        self.resolver.say("hosts_are", query=asked["query"], lifetime_s=0, hosts=[dict(h, preference=i) for i, h in enumerate(hosts)])
        got = self.qmgr.expect("outcome", 10, job=n)
        self.qmgr.say("recorded", job=n)
        self.qmgr.say("slot_close", slot=n)
        self.qmgr.expect("slot_done", 5, slot=n)
        return got["recipients"][0]["kind"], got["recipients"][0]["dsn"].decode(), got["recipients"][0]["reply"].decode(), got["scope"]


def host(receiver, state=USABLE, records=(), dnssec=SECURE, base=BASE, name=BASE):
    return dict(name=name, address=b"\0" * 10 + b"\xff\xff" + bytes([127, 0, 2, 1]), port=receiver.port, dnssec=dnssec, tlsa_state=state,
                tlsa_base=base if state == USABLE else "", tlsa=list(records))


def test_dane(t):
    """A table: what DNS says, what the receiver shows, and the outcome. Nothing is ever said in the clear where there are records."""
    ca, stranger = authority(t), s.Authority(t.folder, "stranger", host="Test Authority")
    good, other = ca.signed("good", BASE), ca.signed("other", "mx.other.example")
    domain, expired = ca.signed("domain", "case.example"), ca.signed("expired", BASE, dates=-1)
    own, rsa = pki.Pair(t.folder, "own", host="anything.example"), ca.signed("rsa", BASE, kind="rsa")
    plain, to = s.Receiver(t), {p.certificate: s.Receiver(t, pair=p) for p in (good, other, domain, expired, own, rsa)}
    broken = s.Receiver(t, pair=good, star=garbage)
    old = s.Receiver(t, pair=good, most=ssl.TLSVersion.TLSv1_1)
    table = []  # name, hosts, kind, dsn, words, who may have got it

    def case(name, hosts, kind, dsn, words="", tls=True):
        table.append((name, hosts if isinstance(hosts, list) else [hosts], kind, dsn, words, tls))

    def shown(pair, *records, **more):
        return host(to[pair.certificate], records=records, **more)

    for usage in 2, 3:
        for selector in 0, 1:
            for matching in 0, 1, 2:
                kind = f"{usage}{selector}{matching}"
                of = ca if usage == 2 else good
                case("good" + kind, shown(good, s.tlsa(of, usage, selector, matching)), RELAYED, "2.0.0")
                case("spoiled" + kind, shown(good, s.tlsa(of, usage, selector, matching, spoil=bool(matching)) if matching else
                                             s.tlsa(stranger, usage, selector, 0)), TO_DEFER, "4.7.5", "matches no TLSA record")
                if matching == 1:
                    case("rsa" + kind, shown(rsa, s.tlsa(ca if usage == 2 else rsa, usage, selector)), RELAYED, "2.0.0")
    for pair, usage3, usage2 in (other, True, False), (expired, True, False), (domain, True, True), (own, True, None):
        name = os.path.basename(pair.certificate)[:-4]
        case(name + "3", shown(pair, s.tlsa(pair, 3)), RELAYED, "2.0.0")  # neither names nor dates count
        if usage2 is not None:
            words = "certificate has expired" if pair is expired else "another name"
            case(name + "2", shown(pair, s.tlsa(ca, 2)), RELAYED if usage2 else TO_DEFER, "2.0.0" if usage2 else "4.7.5", "" if usage2 else words)
    case("self2", shown(own, s.tlsa(own, 2), base="anything.example"), TO_DEFER, "4.7.5", "matches no TLSA record")  # no anchor but a leaf
    case("rollover", shown(good, s.tlsa(other, 3), s.tlsa(stranger, 2), s.tlsa(good, 3)), RELAYED, "2.0.0")
    case("rollover-missed", shown(good, s.tlsa(other, 3), s.tlsa(stranger, 2)), TO_DEFER, "4.7.5", "matches no TLSA record")
    case("unusable-beside", shown(good, dict(usage=1, selector=1, matching=1, data=b"x" * 32), dict(usage=3, selector=1, matching=9, data=b"x"),
                                  s.tlsa(good, 3)), RELAYED, "2.0.0")
    for name, record in ("pkix", dict(usage=1, selector=1, matching=1, data=b"x" * 32)), ("selector", dict(usage=3, selector=7, matching=1, data=b"x" * 32)), (
            "matching", dict(usage=3, selector=1, matching=9, data=b"x" * 32)), ("short", dict(usage=3, selector=1, matching=1, data=b"x" * 31)), (
            "no-der", dict(usage=3, selector=0, matching=0, data=b"x" * 31)), ("empty", dict(usage=3, selector=1, matching=0, data=b"")):
        case("only-" + name, shown(own, record), RELAYED, "2.0.0")
        case("clear-" + name, host(plain, records=[record]), TO_DEFER, "4.7.4", "does not offer it")
    case("unusable", host(to[own.certificate], UNUSABLE), RELAYED, "2.0.0")
    case("unusable-clear", host(plain, UNUSABLE), TO_DEFER, "4.7.4", "does not offer it")
    case("unusable-broken", host(broken, UNUSABLE), TO_DEFER, "4.7.5", "TLS handshake failed")
    case("failed", host(to[good.certificate], FAILED), TO_DEFER, "4.7.5", "could not be looked up")
    case("state-9", host(to[good.certificate], 9), TO_DEFER, "4.7.5", "could not be looked up")
    case("bogus", host(to[good.certificate], NONE, dnssec=BOGUS), TO_DEFER, "4.7.5", "bogus")
    case("none-clear", host(plain, NONE), RELAYED, "2.0.0", tls=False)
    case("none-broken", host(broken, NONE), RELAYED, "2.0.0", tls=False)
    case("insecure", host(plain, NONE, dnssec=INSECURE), RELAYED, "2.0.0", tls=False)
    case("none-tls", host(to[own.certificate], NONE), RELAYED, "2.0.0")
    case("stripped", host(plain, records=[s.tlsa(good, 3)]), TO_DEFER, "4.7.4", "does not offer it")
    case("broken", host(broken, records=[s.tlsa(good, 3)]), TO_DEFER, "4.7.5", "TLS handshake failed")
    case("old", host(old, records=[s.tlsa(good, 3)]), TO_DEFER, "4.7.5", "TLS handshake failed")
    case("second", [shown(other, s.tlsa(good, 3)), host(plain, records=[s.tlsa(good, 3)]), host(plain, FAILED), shown(good, s.tlsa(good, 3))], RELAYED, "2.0.0")
    case("none-of-two", [host(plain, FAILED), shown(other, s.tlsa(good, 3))], TO_DEFER, "4.7.5", "could not be looked up")
    case("alias", shown(good, s.tlsa(good, 3), base="real.good.example"), RELAYED, "2.0.0")
    client, everyone, wrong = Client(t), [plain, broken, old, *to.values()], []
    for name, hosts, kind, dsn, words, tls in table:
        for x in everyone:
            del x.ways[:], x.secured[:]
        got = client.deliver("case.example" if "domain" in name else name + ".case.example", hosts)
        ways = [way for x in everyone for way in x.ways]
        scope = 0 if kind == RELAYED else DOMAIN
        if got[:2] != (kind, dsn) or words not in got[2] or got[3] != scope or ways != ([tls] if kind == RELAYED else []):
            wrong.append(f"{name}: {got}, MAIL in TLS: {ways}")
        if name == "alias":
            v.equal([x["name"] for x in to[good.certificate].secured], ["real.good.example"], "name asked for")
    v.check(not wrong, "\n".join(wrong))
    v.check(len(table) >= 60, len(table), "cases")
    said = client.daemon.process.said(100000)
    v.check(re.search(r"dane-ee", said) and re.search(r"dane-ta", said), "the log names the proofs", said[-2000:])


def test_dane_only(t):
    good = pki.Pair(t.folder, "good", host=BASE)
    plain, safe = s.Receiver(t), s.Receiver(t, pair=good)
    client = Client(t, "route only.example { to = mx tls = dane-only }\nroute may.example { to = mx tls = may }\n")
    for hosts, kind, dsn, words in [(host(safe, records=[s.tlsa(good, 3)]), RELAYED, "2.0.0", ""), (host(safe, UNUSABLE), TO_DEFER, "4.7.5", "none of its TLSA"),
                                    (host(safe, NONE), TO_DEFER, "4.7.5", "has no TLSA records"), (host(safe, FAILED), TO_DEFER, "4.7.5", "looked up"),
                                    (host(safe, NONE, dnssec=INSECURE), TO_DEFER, "4.7.5", "not signed"),
                                    (host(safe, records=[s.tlsa(good, 3, spoil=True)]), TO_DEFER, "4.7.5", "matches no TLSA record")]:
        got = client.deliver("only.example", [hosts])
        v.check(got[:2] == (kind, dsn) and words in got[2] and got[3] == (0 if kind == RELAYED else DOMAIN), hosts, got)
    # Who said may has decided that records do not matter.
    v.equal(client.deliver("may.example", [host(plain, FAILED)], wanted=0)[:2], (RELAYED, "2.0.0"))
    v.equal(len(safe.ways), 1, "MAIL")


v.main(globals())
