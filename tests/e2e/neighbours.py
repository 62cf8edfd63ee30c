# SPDX-License-Identifier: ISC
"""Walls between processes: we are master and all neighbours of one real daemon, and one neighbour is hostile.
Whatever it says, only its own channel ends, or what it said is ignored; the daemon goes on and serves the others."""
import errno
import glob
import os
import pwd
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import signal
import socket
import struct
import threading
import time

import frames as f
import pki
import veredus as v
from alone import Daemon, Intake, OPEN

ENDS, LIVES = True, False
FOUND, TEMPORARY, PERMANENT = 0, 1, 2  # enum hop_verdict
MX, HOST = 0, 1  # enum hop_how
RELAYED, DELIVERED, DEFERRED, FAILED, HELD, EXPANDED = 1, 2, 3, 4, 5, 6  # enum outcome_kind
SITE, NOBODY = 3, 5  # enum failure_scope
HOLD, RELEASE, DELETE, FLUSH = 1, 2, 4, 5  # enum queue_action
LISTEN_SMTP, LISTEN_CONTROL, LOG, USERS, TABLE = 1, 4, 5, 12, 20  # enum handle_role
TLS_CERTIFICATE, TLS_KEY, POLICIES = 14, 16, 29
SCRAM, EXTERNAL, PLAIN, LOGIN, OAUTHBEARER = 2, 4, 8, 16, 32  # enum sasl_mechanism
GOOD, WRONG = 0, 1  # enum auth_verdict
REFUSED, BUSY, NO_HOST, NO_SERVER = 1, 2, 3, 4  # enum fetch_outcome
LOOPBACK = bytes(10) + b"\xff\xff\x7f\0\0\1"
PRELUDE, BODY = b"Subject: walls\r\n\r\n", b"Hello\r\n"


# -- what no channel takes ---------------------------------------------------------------------

def too_long(name):
    """Payloads of a message with one thing out of its bounds: (what, payload)."""
    message = f.MESSAGES[name]
    fine = f.encode(name)
    yield "cut", fine[:-1]
    yield "one byte too many", fine + b"x"
    for kind, field, bound, record in message.fields:
        if kind == "TEXTF":
            yield f"{field} too long", f.encode(name, **{field: b"x" * (bound + 1)})
            at = len(f.put(message.fields[:[m[1] for m in message.fields].index(field)], {}))
            yield f"{field} longer than the frame", fine[:at] + b"\xff\xff\xff\xff" + fine[at + 4:]
        elif kind == "LIST":
            yield f"too many {field}", f.encode(name, **{field: [{}] * (bound + 1)})
            at = len(f.put(message.fields[:[m[1] for m in message.fields].index(field)], {}))
            yield f"{field} that are not there", fine[:at] + struct.pack("<II", 1, 0) + fine[at + 8:]
            yield f"2^32 {field}", fine[:at] + struct.pack("<II", 0xffffffff, 0) + fine[at + 8:]


def bad_frames(to, kind):
    """(what, bytes, descriptors) that end a channel on which hello was said."""
    null = os.open("/dev/null", os.O_RDONLY)
    for number in 0, len(f.MESSAGES) + 1, 0xffff:
        yield f"type {number}", f.raw(number), []
    hello = f.MESSAGES["hello"]
    for length in 1 << 31, 0xffffffff, f.FRAME_MAX + 1:
        yield f"length {length}", f.raw(hello.number, length=length), []
    yield "unknown flags", f.raw(hello.number, b"", 0x8002), []
    yield "hello again", f.frame("hello", schema=f.SCHEMA), []
    for message in f.MESSAGES.values():
        if message.name == "hello":
            continue
        allowed = message.origin & f.KINDS[kind] and message.to & f.KINDS[to]
        if not allowed:
            yield f"{message.name}, which is not its to send", f.frame(message.name), []
            yield f"{message.name} with a descriptor", f.frame(message.name, True), [null]
            continue
        for what, payload in too_long(message.name):
            needs = message.descriptor == "FD_ALWAYS"
            yield f"{message.name}: {what}", f.raw(message.number, payload, f.FLAG_FD if needs else 0), [null] * needs
        if message.descriptor == "FD_NEVER":
            yield f"{message.name} with a descriptor", f.frame(message.name, True), [null]
        else:
            yield f"{message.name} without its descriptor", f.frame(message.name, True), []
    os.close(null)


def stray_descriptors(peer):
    """A thousand beside frames that take none."""
    null = os.open("/dev/null", os.O_RDONLY)
    start = f.raw(f.MESSAGES["hello"].number, length=f.FRAME_MAX)
    for byte in range(1000):
        if not peer.write(start[byte:byte + 1] or b"x", [null]):
            break
    os.close(null)


def descriptors_at_once(peer):
    null = os.open("/dev/null", os.O_RDONLY)
    for _ in range(4):
        peer.write(f.raw(f.MESSAGES["hello"].number, length=64)[:1], [null] * 250)
    os.close(null)


def one_stray_descriptor(peer):
    """It comes with a whole frame that says nothing of it."""
    null = os.open("/dev/null", os.O_RDONLY)
    peer.write(f.raw(f.MESSAGES["hello"].number, length=f.FRAME_MAX)[:4], [null])
    peer.write(f.raw(f.MESSAGES["hello"].number, length=f.FRAME_MAX)[4:] + b"x" * 8)
    peer.socket.shutdown(socket.SHUT_WR)
    os.close(null)


def common(daemon, kind, instance, serves):
    """What every daemon does with every neighbour."""
    daemon.lives("start")
    peer = daemon.peer(kind, instance)
    peer.expect("hello")
    daemon.lives("open")
    before = daemon.descriptors()

    def ends(what, peer):
        v.check(peer.ended(), f"{daemon.kind} goes on with {kind} after: {what}")
        daemon.lives(f"{kind}: {what}")
        peer.close()

    for what, data, fds in bad_frames(daemon.kind, kind):
        peer = daemon.peer(kind, instance)
        peer.write(data, fds)
        ends(what, peer)
    for message in f.MESSAGES.values():
        peer = daemon.peer(kind, instance, hello=False)
        peer.write(f.frame(message.name))  # hello itself: of another schema
        ends(f"{message.name} in the place of a hello", peer)
    peer = daemon.peer(kind, instance, hello=False)
    peer.say("hello", schema=f.SCHEMA + 1)
    ends("another schema", peer)
    for flood in stray_descriptors, descriptors_at_once, one_stray_descriptor:
        peer = daemon.peer(kind, instance)
        flood(peer)
        ends(flood.__name__, peer)
    serves()
    v.wait(lambda: before is None or daemon.descriptors() <= before, 10,
           lambda: f"{before} descriptors of {daemon.kind} as before {kind}; it has {daemon.descriptors()}")


def run_cases(daemon, kind, instance, cases, serves):
    """Each case on a channel of its own: (what, function of the peer, ENDS or LIVES)."""
    for what, act, end in cases:
        try:
            run_case(daemon, kind, instance, act, end)
        except (v.Failure, OSError) as why:
            raise v.Failure(f"{daemon.kind}, hostile {kind}, {what}: {why}; {daemon.process.said(400)}") from why
        try:
            serves()
        except (v.Failure, OSError) as why:
            raise v.Failure(f"{daemon.kind} serves no more after {kind}: {what}: {why}; {daemon.process.said(400)}") from why


def run_case(daemon, kind, instance, act, end):
    peer = daemon.peer(kind, instance)
    peer.expect("hello")
    act(peer)
    if end:
        v.check(peer.ended(), "its channel goes on")
    daemon.lives("case")
    peer.pump(0)
    v.check(peer.over == end, "its channel ended")
    peer.close()


def says(name, fd=None, /, **values):
    return lambda peer: peer.say(name, fd, **values)


def test_another_build(t):
    """A peer whose messages differ in a field, a bound or a descriptor is refused by its hello."""
    daemon, text = Daemon(t, "limits"), f.source("messages.def")
    daemon.begin()
    daemon.peer("smtpd").expect("hello")
    for old, new in ("U32(pid)", "U64(pid)"), ("TEXTF(reason, 200)", "TEXTF(reason, 201)"), ("PEER_TABLE, FD_NEVER", "PEER_TABLE, FD_MAYBE"):
        v.check(old in text, old)
        peer = daemon.peer("smtpd", hello=False)
        peer.say("hello", schema=f.schema(text.replace(old, new, 1)), epoch=1, generation=1, pid=1)
        v.check(peer.ended(), new)
    v.wait(lambda: "another schema" in daemon.process.said(2000), 5, lambda: daemon.process.said(2000))
    daemon.peer("smtpd").expect("hello")
    daemon.lives("another build")


# -- limits --------------------------------------------------------------------------------------

def test_limits(t):
    daemon = Daemon(t, "limits", "".join(f"rate {who} {{ messages = {{ 1000000/d }} }}\n" for who in ("login", "stranger", "network"))
                    + "tlsrpt { contact = tls@sender.example }\n")
    daemon.begin()
    honest = daemon.peer("smtpd")
    session = iter(range(1, 1 << 20))

    def serves():
        number = next(session)
        honest.say("client_open", session=number, address=LOOPBACK)
        v.equal(honest.expect("client_verdict", session=number)["count"], 1, "connections of the client")
        honest.say("client_close", session=number)

    def twice(peer):
        for _ in range(2):
            peer.say("client_open", session=7, address=LOOPBACK)

    def others(peer):
        for number in range(0, 2000):
            peer.say("client_close", session=number)

    def kept(peer):
        """What it holds when it ends is given back."""
        for number in range(200):
            peer.say("client_open", session=number, address=LOOPBACK)
        peer.say("client_open", session=0, address=LOOPBACK)

    def many_logins(peer):
        """Memory has a bound, whoever is counted."""
        for start in range(0, 150000, 5000):
            peer.write(b"".join(f.frame("count_ask", query=n, login=f"login{n}", address=os.urandom(16)) for n in range(start, start + 5000)))
            for _ in range(5000):
                peer.expect("count_is")
        daemon.lives("flood")
        v.check(daemon.resident_mb() < 120 * v.PATIENCE ** 2, "memory:", daemon.resident_mb(), "MB")

    common(daemon, "smtpd", 1, serves)
    run_cases(daemon, "smtpd", 1, [
        ("an address of 15 bytes", says("client_open", session=1, address=b"x" * 15), ENDS),
        ("no address", says("client_open", session=1), ENDS),
        ("a session twice", twice, ENDS),
        ("the end of others' sessions", others, LIVES),
        ("a flood of logins", many_logins, LIVES),
        ("sessions left open", kept, ENDS),
    ], serves)

    def told(**more):
        row = dict(domain=b"a.example", policy_domain=b"a.example", result=1, count=1)
        return says("tls_results", results=[dict(row, **more)])

    def many_domains(peer):
        """Memory has a bound, whatever is told."""
        text = b"x" * 4095 + b"\n"
        for start in range(0, 20000, 200):
            peer.say("tls_results", results=[dict(domain=f"d{n}.example", policy_text=text, result=n % 2, count=1 << 31)
                                             for n in range(start, start + 200)])
        daemon.lives("flood")
        v.check(daemon.resident_mb() < 200 * v.PATIENCE ** 2, "memory:", daemon.resident_mb(), "MB")

    common(daemon, "smtp-client", 0, serves)
    run_cases(daemon, "smtp-client", 0, [
        ("what is right", told(), LIVES),
        ("no domain", told(domain=b""), ENDS),
        ("a domain with a line end", told(domain=b"a\r\n.example"), ENDS),
        ("a domain with a NUL", told(domain=b"a\0.example"), ENDS),
        ("a result that is none", told(result=12), ENDS),
        ("a policy that is none", told(policy=3), ENDS),
        ("a policy without line ends", told(policy_text=b"x"), ENDS),
        ("a reason with a NUL", told(reason=b"a\0b"), ENDS),
        ("half an address", told(receiver=b"x" * 8, own=b"x" * 16), ENDS),
        ("an address without the other", told(own=b"x" * 16), ENDS),
        ("a flood of domains", many_domains, LIVES),
    ], serves)
    ours = 1 << 63
    for kind, name, fields in (("resolver", "txt_is", dict(verdict=0, total=1, records=[dict(length=3, data=b"v=x")])),
                               ("submission", "handed", dict(taken=1)), ("fetcher", "fetched", dict(status=200))):
        key = "token" if name == "handed" else "query"
        run_cases(daemon, kind, 0, [("answers to nothing", lambda p: [p.say(name, **{key: number}, **fields)
                                                                      for number in (0, 1, ours, ours | 255, (1 << 64) - 1)], LIVES)], serves)


# -- keeper --------------------------------------------------------------------------------------

VERIFY = b" " * 64 + b"TLS 1.3, server CertificateVerify\0"
ECDSA = 0x0403


def test_keeper(t):
    """It signs handshakes, for whoever asks, and hangs up on everything else."""
    pair = pki.Pair(t.folder, "relay.example")
    certificate, key = os.open(pair.certificate, os.O_RDONLY), os.open(pair.key, os.O_RDONLY)
    for fd in certificate, key:
        t.defer(os.close, fd)
    daemon = Daemon(t, "keeper", pair.block(), [(TLS_CERTIFICATE, certificate, "c"), (TLS_KEY, key, "k")])
    daemon.begin()
    honest = daemon.peer("smtpd")
    given = honest.expect("certificate")
    v.check(given["chain"] == v.read(pair.certificate) and given["name"] == b"relay.example", given)
    number = iter(range(1, 1 << 20))
    public = v.write(t.folder + "/public", pki.openssl("x509", "-in", pair.certificate, "-noout", "-pubkey"))

    def serves():
        query, text = next(number), VERIFY + os.urandom(32)
        honest.say("sign", query=query, key=given["key"], scheme=ECDSA, text=text)
        signature = honest.expect("signature", query=query)["signature"]
        path = v.write(t.folder + "/signature", signature)
        v.check(b"Verified OK" in pki.openssl("dgst", "-sha256", "-verify", public, "-signature", path, input=text), "signature")

    def refused(peer):
        """No such key, another kind's scheme: an empty signature."""
        for key, scheme in (given["key"] + 1, ECDSA), (0, ECDSA), (given["key"], 0x0804):
            peer.say("sign", query=5, key=key, scheme=scheme, text=VERIFY + bytes(32))
            v.equal(peer.expect("signature", query=5)["signature"], b"", "signature")

    def unread(peer):
        peer.socket.setblocking(False)
        try:
            peer.socket.send(f.frame("sign", query=1, key=given["key"], scheme=ECDSA, text=VERIFY + bytes(32)) * 3000)
        except OSError:
            pass

    def bad(text, scheme=ECDSA):
        return says("sign", query=1, key=given["key"], scheme=scheme, text=text)

    serves()
    common(daemon, "submission", 0, serves)
    run_cases(daemon, "submission", 0, [
        ("a hash alone", bad(bytes(32)), ENDS),
        ("nothing", bad(b""), ENDS),
        ("a client's text", bad(VERIFY.replace(b"server", b"client") + bytes(32)), ENDS),
        ("a transcript too short", bad(VERIFY + bytes(31)), ENDS),
        ("octets behind it", bad(VERIFY + bytes(33)), ENDS),
        ("a certificate to sign", bad(b"\x30\x82\x01\x0a" + bytes(200)), ENDS),
        ("PKCS1 in TLS 1.3", bad(VERIFY + bytes(32), 0x0401), ENDS),
        ("SHA-1", bad(VERIFY + bytes(32), 0x0203), ENDS),
        ("a key exchange in a group that is none", bad(bytes(64) + b"\3\0\x10\x41\4" + bytes(64)), ENDS),
        ("explicit curves", bad(bytes(64) + b"\1\0\x17\x41\4" + bytes(64)), ENDS),
        ("keys that are not there", refused, LIVES),
        ("answers that are not read", unread, LIVES),
    ], serves)
    v.check(daemon.resident_mb() < 100 * v.PATIENCE ** 2, "memory:", daemon.resident_mb(), "MB")


# -- checker -------------------------------------------------------------------------------------

def test_checker(t):
    # "crypted"
    line = b"ann:{CRYPT}$y$j9T$JsQ5wNAmIQiMS1O3nE6C31$1PgV/tDF/u52EtGmNqpzVDtfqpD0d7S36ahnNznX2n9\n"
    users = os.open(v.write(os.path.join(t.folder, "users"), line), os.O_RDONLY)
    t.defer(os.close, users)
    daemon = Daemon(t, "checker", f"auth {{ users = {t.folder}/users }}\n")
    daemon.begin()
    daemon.master.expect("handle_ask", role=USERS)
    daemon.master.say("handle_none", role=USERS, why="not yet")
    honest = daemon.peer("smtpd")
    number = iter(range(1, 1 << 20))

    def begin(peer, exchange, **more):
        peer.say("auth_begin", **dict(dict(exchange=exchange, mechanism=PLAIN, has_initial=1, initial=b"\0ann\0crypted",
                                           address=LOOPBACK), **more))

    def serves():
        exchange = next(number)
        daemon.master.say("handle", users, role=USERS, name=b"users")
        begin(honest, exchange)
        v.equal(honest.expect("auth_done", exchange=exchange)["verdict"], GOOD, "the login")
        daemon.master.say("handle_none", role=USERS, why="gone")

    def twice(peer):
        begin(peer, 7)
        begin(peer, 7)

    def early(peer):
        begin(peer, 7)
        peer.say("auth_step", exchange=7, response=b"x")

    def left(peer):
        """Exchanges under way when it ends."""
        for exchange in range(40):
            begin(peer, exchange, mechanism=LOGIN, has_initial=0, initial=b"")

    def garbage(peer):
        for exchange in range(20):
            begin(peer, exchange, initial=bytes(range(exchange)) * 50)
            begin(peer, 100 + exchange, mechanism=SCRAM, initial=b"n,a=x,n=" + b"=2C" * exchange * 100 + b",r=\0")
            begin(peer, 200 + exchange, mechanism=EXTERNAL, identity=b"\0" * 300, initial=b"\xff" * 300)

    common(daemon, "smtpd", 1, serves)
    run_cases(daemon, "smtpd", 1, [
        ("an address of 15 bytes", lambda peer: begin(peer, 1, address=b"x" * 15), ENDS),
        ("two mechanisms", lambda peer: begin(peer, 1, mechanism=PLAIN | LOGIN), ENDS),
        ("no mechanism", lambda peer: begin(peer, 1, mechanism=0), ENDS),
        ("a mechanism that is none", lambda peer: begin(peer, 1, mechanism=128), ENDS),
        ("a response that it says is none", lambda peer: begin(peer, 1, has_initial=0), ENDS),
        ("an exchange twice", twice, ENDS),
        ("a step before the challenge", early, ENDS),
        ("a step of another's exchange", says("auth_step", exchange=1, response=b"x"), ENDS),
        ("the end of others' exchanges", lambda peer: [peer.say("auth_cancel", exchange=n) for n in range(2000)], LIVES),
        ("exchanges left open", left, LIVES),
        ("garbage", garbage, LIVES),
    ], serves)

    def relay(peer, query, **more):
        peer.say("relay_begin", **dict(dict(query=query, route="*", fingerprint=1, mechanisms=PLAIN, safety=2), **more))
    common(daemon, "smtp-client", 1, serves)
    run_cases(daemon, "smtp-client", 1, [
        ("a login at a relay twice", lambda peer: [relay(peer, 7), relay(peer, 7)], ENDS),
        ("a safety that is none", lambda peer: relay(peer, 1, safety=3), ENDS),
        ("a route with a NUL", lambda peer: relay(peer, 1, route=b"a\0b"), ENDS),
        ("a step before there is something to answer", lambda peer: [relay(peer, 1), peer.say("relay_step", query=1, challenge=b"x")], ENDS),
        ("the end of others' logins", lambda peer: [peer.say("relay_heard", query=n, outcome=n % 5) for n in range(2000)], LIVES),
        ("logins at relays left open", lambda peer: [relay(peer, n, binding=b"x" * 64, mechanisms=0xffff) for n in range(2000)], LIVES),
    ], serves)


def test_checker_of_tokens(t):
    """Its fetcher answers what it was not asked, or never, or is gone."""
    daemon = Daemon(t, "checker", "auth { introspection = https://idp.example/ }\n")
    daemon.begin()
    honest, number = daemon.peer("smtpd"), iter(range(1, 1 << 20))

    def begin(exchange, token):
        honest.say("auth_begin", exchange=exchange, mechanism=OAUTHBEARER, has_initial=1,
                   initial=b"n,,\1auth=Bearer " + token + b"\1\1", address=bytes(10) + b"\xff\xff\x7f" + struct.pack(">I", exchange)[1:])

    def serves():
        fetcher = daemon.peer("fetcher")
        daemon.lives("another fetcher")
        exchange = next(number)
        begin(exchange, b"t%d" % exchange)
        asked = fetcher.expect("fetch", url=b"https://idp.example/")
        v.equal((asked["method"], asked["purpose"], asked["body"]), (1, 0, b"token=t%d&token_type_hint=access_token" % exchange))
        fetcher.say("fetched", query=asked["query"], status=200, body=b'{"active":true,"username":"ann"}')
        v.equal(honest.expect("auth_done", exchange=exchange)["verdict"], GOOD, "the login")

    def garbage(peer):
        """To the question that it is asked."""
        for status, body in ((0, b""), (200, b"{"), (200, b'{"active":true,"username":"\xff"}'), (200, b"[" * 60000),
                             (200, b'{"active":true,"username":"a b"}'),
                             (200, b'{"active":true,"active":true,"username":"ann"}'), (65535, b"x" * 65536)):
            exchange = next(number)
            begin(exchange, b"g%d" % exchange)
            asked = peer.expect("fetch")
            peer.got.clear()
            peer.say("fetched", query=asked["query"], outcome=0, status=status, body=body)
            if b"a b" in body:
                honest.expect("auth_challenge", exchange=exchange)
                honest.say("auth_step", exchange=exchange, response=b"\1")
            v.check(honest.expect("auth_done", exchange=exchange)["verdict"] != GOOD, body[:40])

    def gone():
        peer, exchange = daemon.peer("fetcher"), next(number)
        daemon.lives("a fetcher")
        begin(exchange, b"never")
        peer.expect("fetch")
        peer.close()
        v.check(honest.expect("auth_done", exchange=exchange)["verdict"] not in (GOOD, WRONG), "without a fetcher")

    serves()
    run_cases(daemon, "fetcher", 0, [
        ("answers to nothing", lambda p: [p.say("fetched", query=n, status=200, body=b'{"active":true,"username":"root"}')
                                          for n in range(2000)], LIVES),
        ("an outcome that is none", says("fetched", query=1, outcome=255), LIVES),
        ("garbage", garbage, LIVES),
    ], serves)
    gone()
    serves()


def test_fetcher(t):
    """Asks for nothing but what is configured, and of nobody but the resolver where it is."""
    port = v.free_port()
    url = b"https://idp.example:%d/introspect" % port
    daemon = Daemon(t, "fetcher", f"auth {{ introspection = {url.decode()} }}\ntlsrpt {{ contact = tls@sender.example }}\n")
    daemon.begin()
    resolver, honest, number = daemon.peer("resolver"), daemon.peer("checker", 1), iter(range(1, 1 << 20))
    peers = {"resolver": resolver, "checker": honest}

    def fetch(peer, query, **more):
        peer.say("fetch", **dict(dict(query=query, method=1, url=url, answer_max=1000, limit_ms=20000, body=b"token=x"), **more))

    def serves(replaced):
        def serve():
            if replaced == "resolver":
                peers["resolver"] = daemon.peer("resolver")
                daemon.lives("resolver")
            query = next(number)
            peers["resolver"].got.clear()
            fetch(honest, query)
            asked = peers["resolver"].expect("hosts_ask", target=b"idp.example", port=port)
            peers["resolver"].say("hosts_are", query=asked["query"], hosts=[dict(name=b"idp.example", address=LOOPBACK, port=port)])
            got = honest.expect("fetched", query=query)
            v.equal(got["outcome"], NO_SERVER, got["reason"])
        return serve

    def refused(**more):
        def act(peer):
            fetch(peer, 7, **more)
            v.equal(peer.expect("fetched", query=7)["outcome"], REFUSED, more)
        return act

    def odd_fields(peer):
        """Those would become lines of a header."""
        for name, value in (b"A\r\nB", b"x"), (b"A", b"x\r\nB: y"), (b"A: x\nB", b"y"), (b"", b"x\0"):
            peers["resolver"].got.clear()
            fetch(peer, 8, fields=[dict(name=name, value=value)])
            asked = peers["resolver"].expect("hosts_ask")
            peers["resolver"].say("hosts_are", query=asked["query"], hosts=[dict(name=b"idp.example", address=LOOPBACK, port=port)])
            v.equal(peer.expect("fetched", query=8)["outcome"], REFUSED, (name, value))
            peer.got.clear()

    def flood(peer):
        for query in range(400):
            fetch(peer, query, limit_ms=60000)
        for _ in range(400 - 256):
            v.equal(peer.expect("fetched")["outcome"], BUSY)
        for _ in range(256):
            peers["resolver"].expect("hosts_ask")

    common(daemon, "checker", 0, serves("checker"))
    run_cases(daemon, "checker", 0, [
        ("another address", refused(url=url + b"2"), LIVES),
        ("an address without TLS", refused(url=url.replace(b"https", b"http")), LIVES),
        ("another method", refused(method=0), LIVES),
        ("a method that is none", refused(method=77), LIVES),
        ("a purpose that is none", lambda p: fetch(p, 1, purpose=9), ENDS),
        ("an answer without end", lambda p: fetch(p, 1, answer_max=1 << 31), ENDS),
        ("no time", lambda p: fetch(p, 1, limit_ms=0), ENDS),
        ("all the time in the world", lambda p: fetch(p, 1, limit_ms=(1 << 32) - 1), ENDS),
        ("fields with line ends", odd_fields, LIVES),
        ("a flood", flood, LIVES),
    ], serves("checker"))
    def policies(peer):
        """Domains that can have none are answered at once; about the others the resolver is asked."""
        for domain in b"", b".", b"a..b", b"[192.0.2.1]", b"\0", b"\xff.example", b"a b.example", b"../x", b"x" * 64 + b".example", b"a." * 127 + b"b":
            peer.say("sts_ask", query=5, domain=domain)
            v.equal(peer.expect("sts_is", query=5)["mode"], 0, domain)
            peer.got.clear()
        peers["resolver"].got.clear()
        peer.say("sts_ask", query=6, domain="b\u00fccher.example".encode())
        asked = peers["resolver"].expect("txt_ask", name=b"_mta-sts.xn--bcher-kva.example")["query"]
        text = b"v=STSv1; id=1;"
        peers["resolver"].say("txt_is", query=asked, verdict=FOUND, total=17, records=[dict(length=len(text), data=text)])
        v.check(b"more than are read" in peer.expect("sts_is", query=6)["why"], "taken from a list that was cut")
        peer.say("sts_ask", query=7, domain=b"cut.example")
        asked = peers["resolver"].expect("txt_ask", name=b"_mta-sts.cut.example")["query"]
        peers["resolver"].say("txt_is", query=asked, verdict=FOUND, total=1, records=[dict(length=2000, data=text)])
        v.check(b"too long" in peer.expect("sts_is", query=7)["why"], "taken from a record that was cut")

    def asks_and_leaves(peer):
        for n in range(500):
            peer.say("sts_ask", query=n, domain=f"d{n}.example".encode())
        daemon.lives("policies")

    common(daemon, "qmgr", 0, serves("qmgr"))
    run_cases(daemon, "qmgr", 0, [
        ("odd domains", policies, LIVES),
        ("policies that nobody waits for", asks_and_leaves, LIVES),
        ("too many policies at once", lambda p: p.write(b"".join(f.frame("sts_ask", query=n, domain=b"e%d.example" % n) for n in range(9000))), ENDS),
    ], serves("qmgr"))
    report = dict(purpose=2, fields=[dict(name=b"Content-Type", value=b"application/tlsrpt+gzip")], body=b"\x1f\x8b\x08" + bytes(20))

    def internal(address):
        """A report's target names a host that is one of our own."""
        def act(peer):
            peers["resolver"].got.clear()
            fetch(peer, 9, **report)
            asked = peers["resolver"].expect("hosts_ask")
            peers["resolver"].say("hosts_are", query=asked["query"], hosts=[dict(name=b"idp.example", address=address, port=port)])
            v.equal(peer.expect("fetched", query=9)["outcome"], NO_HOST, address)
        return act

    def of_report(**more):
        return refused(**dict(report, **more))

    run_cases(daemon, "limits", 0, [
        ("a token's request", refused(), LIVES),
        ("a report without TLS", of_report(url=b"http://idp.example/"), LIVES),
        ("a report that is looked at", of_report(method=0), LIVES),
        ("a report that is none", of_report(body=b"x" * 40), LIVES),
        ("a report of another kind", of_report(fields=[dict(name=b"Content-Type", value=b"text/html")]), LIVES),
        ("a report with a cookie", of_report(fields=report["fields"] + [dict(name=b"Cookie", value=b"x")]), LIVES),
        ("a report to ourselves", internal(LOOPBACK), LIVES),
        ("a report to a neighbour", internal(bytes(10) + b"\xff\xff\x0a\1\2\3"), LIVES),
        ("a report to a neighbour by IPv6", internal(b"\xfd" + bytes(15)), LIVES),
    ], serves("limits"))
    run_cases(daemon, "checker", 0, [("a report that is not its", of_report(), LIVES)], serves("checker"))
    run_cases(daemon, "resolver", 0, [
        ("records never asked for", lambda p: [p.say("txt_is", query=n, total=1, records=[dict(length=15, data=b"v=STSv1; id=1;x")]) for n in range(2000)], LIVES),
        ("answers to nothing", lambda p: [p.say("hosts_are", query=n, hosts=[dict(address=LOOPBACK)]) for n in range(2000)], LIVES),
        ("addresses of a wrong length", says("hosts_are", query=1, hosts=[dict(address=b"x" * 15)] * 64), LIVES),
    ], serves("resolver"))

def test_fetcher_trusts_nobody(t):
    """Without certificates in tls-authorities no policy is fetched, and no domain is told of a failure that is ours."""
    daemon = Daemon(t, "fetcher", "tlsrpt { contact = tls@sender.example }\n")
    daemon.begin()
    resolver, qmgr, limits = daemon.peer("resolver"), daemon.peer("qmgr"), daemon.peer("limits")
    daemon.lives("neighbours")
    qmgr.say("sts_ask", query=1, domain=b"a.example")
    text = b"v=STSv1; id=1;"
    resolver.say("txt_is", query=resolver.expect("txt_ask", 5)["query"], verdict=FOUND, total=1, lifetime_s=60,
                 records=[dict(length=len(text), data=text)])
    v.equal(qmgr.expect("sts_is", 5)["why"], b"tls-authorities has no certificates")
    limits.never("tls_results", 0.5, "counted what is our own lack")
    v.check("a.example" not in daemon.process.said(2000), "said for each domain")


def test_fetcher_reports_hang(t):
    """Servers that strangers name for reports, and that say nothing, hold up no login."""
    port = v.free_port()
    silent = socket.create_server(("127.0.0.1", 0), backlog=64)
    t.defer(silent.close)
    daemon = Daemon(t, "fetcher", f"auth {{ introspection = https://idp.example:{port}/ }}\n"
                                  "tlsrpt { contact = tls@sender.example  internal-hosts = yes }\n")
    daemon.begin()
    resolver, checker, limits = daemon.peer("resolver"), daemon.peer("checker", 1), daemon.peer("limits")
    daemon.lives("neighbours")

    def fetch(peer, at, **more):
        peer.say("fetch", query=1, method=1, answer_max=1000, limit_ms=20000, **more)
        asked = resolver.expect("hosts_ask")
        resolver.say("hosts_are", query=asked["query"], hosts=[dict(name=b"x.example", address=LOOPBACK, port=at)])
        resolver.got.clear()

    at = silent.getsockname()[1]
    for n in range(32):
        fetch(limits, at, purpose=2, url=b"https://r%d.example:%d/" % (n, at), body=b"\x1f\x8b\x08" + bytes(20),
              fields=[dict(name=b"Content-Type", value=b"application/tlsrpt+gzip")])
    daemon.lives("reports")
    fetch(checker, port, url=b"https://idp.example:%d/" % port, body=b"token=x")
    v.equal(checker.expect("fetched", 5, query=1)["outcome"], NO_SERVER)


# -- logger --------------------------------------------------------------------------------------

def test_logger(t):
    path = os.path.join(t.folder, "lines")
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    daemon = Daemon(t, "logger", handles=[(LOG, log, path)])
    os.close(log)
    honest = daemon.peer("qmgr")
    daemon.begin()
    number = iter(range(1, 1 << 20))

    def event(peer, *values, what=1, **more):
        return peer.say("event", what=what, wall=int(time.time() * 1e6), values=[dict(text=text) for text in values], **more)

    def serves():
        word, before = f"honest-{next(number)}-words", os.path.getsize(path)
        event(honest, word)
        v.wait(lambda: word.encode() in since(before), 5, "a line of " + word)

    def since(size):
        """What was written behind it: the rest of a flood may come behind a word."""
        with open(path, "rb") as lines:
            lines.seek(size)
            return lines.read()

    def insane(peer):
        peer.say("event", what=1, wall=(1 << 64) - 1, id=(1 << 64) - 1, values=[dict(text=b"\0\r\n\x1b]0;\xff" * 200)] * 16)
        peer.say("event", what=50)
        event(peer, "x\nNov 21 00:00:00 host veredus/qmgr[1]: forged", what=1)

    def flood(peer):
        until = time.monotonic() + 1
        piece = f.frame("event", what=1, wall=1, values=[dict(text=b"\x01" * 2048)] * 5) * 20
        while time.monotonic() < until:
            peer.write(piece)
        peer.say("event_lost", count=(1 << 64) - 1)

    common(daemon, "smtpd", 0, serves)
    run_cases(daemon, "smtpd", 0, [
        ("an unknown kind", says("event", what=255), ENDS),
        ("a kind that is a gap", says("event", what=0), ENDS),
        ("insane values", insane, LIVES),
        ("a flood", flood, LIVES),
    ], serves)
    content = v.read(path)
    v.check(b"\nNov 21 00:00:00 host" not in content and b"\0" not in content and b"\x1b" not in content, "lines of its own making")
    v.check(daemon.resident_mb() < 100 * v.PATIENCE ** 2, "memory after the flood:", daemon.resident_mb(), "MB")


def test_logger_with_a_target_that_stands_still(t):
    """Lines that nobody takes are counted and dropped; the loop goes on, and its memory has a bound."""
    reader, writer = os.pipe()
    t.defer(os.close, reader)
    daemon = Daemon(t, "logger", handles=[(LOG, writer, "stdout")])
    os.close(writer)
    daemon.begin()
    peer = daemon.peer("smtpd")
    piece = f.frame("event", what=1, wall=1, values=[dict(text=b"\x01" * 2048)]) * 100
    for _ in range(100):  # 10,000
        peer.write(piece)
        daemon.lives("flood")
    v.check(not peer.ended(0.05), "its channel ended")
    v.check(daemon.resident_mb() < 100 * v.PATIENCE ** 2, "memory:", daemon.resident_mb(), "MB")


# -- table ---------------------------------------------------------------------------------------

def test_table(t):
    path = v.write(t.folder + "/senders", b"ann ann@client.example\n")
    os.utime(path, (0, 0))
    rules = v.write(t.folder + "/aliases", b"/^ann$/ bob\n/^(made)$/ $1\n")
    os.utime(rules, (0, 0))
    local = "pcre:" + rules
    daemon = Daemon(t, "table", f"submission {{ senders = {path} }}\nlocal {{ aliases = {local} }}\n")
    daemon.begin()
    peers = {kind: daemon.peer(kind) for kind in ("smtpd", "submission")}
    number = iter(range(1 << 20, 1 << 30))

    def answer_to(peer, query):
        """It, and before it master's part, where it is asked."""
        end = time.monotonic() + 5 * v.WAITS
        while time.monotonic() < end and not any(n == "looked_up" and values["query"] == query for n, values in peer.got):
            daemon.master.pump(0.005)
            if any(name == "table_look" for name, _ in daemon.master.got):
                name = daemon.master.expect("table_look")["table"].decode()
                fd = os.open(name.removeprefix("pcre:"), os.O_RDONLY)
                daemon.master.say("handle", fd, role=TABLE, name=name)
                os.close(fd)
            peer.pump(0.005)
        return peer.expect("looked_up", query=query)

    def serves(replaced):
        def serve():
            peers[replaced] = daemon.peer(replaced)
            for peer in peers.values():
                mine = next(number)
                peer.say("lookup", query=mine, table=path, key="ann")
                v.equal(answer_to(peer, mine)["value"], b"ann@client.example")
        return serve

    def asks(verdict, **values):
        def act(peer):
            peer.say("lookup", **dict(dict(query=7, table=path, key="ann"), **values))
            v.equal(answer_to(peer, 7)["verdict"], verdict)
        return act

    for kind in peers:
        common(daemon, kind, 0, serves(kind))
    run_cases(daemon, "smtpd", 0, [
        ("a file that is no table", asks(2, table="/etc/passwd"), LIVES),
        ("a path beside the table", asks(2, table=path + "/../senders"), LIVES),
        ("no table", asks(2, table=""), LIVES),
        ("garbage as a key", asks(1, key=bytes(range(256)) * 2), LIVES),
        ("no key", asks(1, key=""), LIVES),
        ("the same question often", lambda p: [p.say("lookup", query=7, table=path, key="ann") for _ in range(1000)], LIVES),
        ("a table of local's", asks(2, table=local), LIVES),
    ], serves("smtpd"))
    run_cases(daemon, "local", 0, [
        ("its own", asks(0, table=local, key="ann"), LIVES),
        ("what it has to put together", asks(2, table=local, key="made"), LIVES),
        ("a table of others", asks(2), LIVES),
    ], serves("smtpd"))


# -- bounce --------------------------------------------------------------------------------------

def owed(number, **more):
    return dict(dict(report=number, id=7, to="sender@client.example", prelude=PRELUDE, body=BODY, recipients=[
        dict(address="rcpt@sink.example", action=1, code=550, dsn="5.1.1", reply="no such user", relay="mx[127.0.0.1]:25")]), **more)


def test_bounce(t):
    daemon = Daemon(t, "bounce")
    daemon.begin()
    peers = {"qmgr": daemon.peer("qmgr"), "submission": daemon.peer("submission")}
    number = iter(range(1 << 20, 1 << 30))

    def serves(replaced):
        def serve():
            peers[replaced] = daemon.peer(replaced)
            mine = next(number)
            peers["qmgr"].say("report", **owed(mine))
            mail = peers["submission"].expect("handin", report=mine)
            v.check(b"no such user" in mail["content"] and b"\n" not in mail["content"].replace(b"\r\n", b""), mail)
            peers["submission"].say("handed", token=mail["token"], taken=1, id=9, code=250)
        return serve

    def largest(peer):
        peer.say("report", report=1 << 50, to=b"x" * 512, envid=b"\r\n" * 100, prelude=b"A: b\r\n" * 43000, body=b"\r\n" * 32768, recipients=[
            dict(address=b"a" * 512, orcpt=b"rfc822;" + b"+0A" * 197, action=1, code=65535, dsn=b"5" * 11,
                 reply=b"\r\n.\r\n" * 100, relay=b"\0" * 320, attempt_wall=(1 << 64) - 1)] * 850)

    def insane(peer):
        for action in 0, 1, 2, 3, 4, 5, 255:
            peer.say("report", report=action, to="a@b>\r\nRCPT TO:<c@d", double_bounce=255, ret=255, smtputf8=255, arrival_wall=(1 << 64) - 1,
                     prelude=b"\0\n\r.\r\n", body=b"\xff\n.\n", body_cut=255, recipients=[dict(action=action, address=b"\r\n", reply=b"\n.\n")])
        peer.say("report", report=3)

    def flood(peer):
        """More than are kept: it is read no more until the door answers."""
        try:
            for i in range(200):
                peer.write(f.frame("report", **owed(i, body=b"x\r\n" * 20000)), seconds=0.5)
        except v.Failure:
            return
        raise v.Failure("all of it was read")

    def answers(peer):
        for token in range(0, 1000):
            peer.say("handed", token=token, taken=255, code=65535, reply=b"\r\n" * 256)

    common(daemon, "qmgr", 0, serves("qmgr"))
    common(daemon, "submission", 0, serves("submission"))
    run_cases(daemon, "qmgr", 0, [
        ("the largest report", largest, LIVES),
        ("insane reports", insane, LIVES),
        ("the same report twice", lambda p: [p.say("report", **owed(5)) for _ in range(2)], LIVES),
        ("a flood", flood, LIVES),
    ], serves("qmgr"))
    run_cases(daemon, "submission", 0, [("answers never asked for", answers, LIVES)], serves("submission"))
    v.check(daemon.resident_mb() < 150 * v.PATIENCE ** 2, "memory:", daemon.resident_mb(), "MB")


# -- pickup --------------------------------------------------------------------------------------

def test_pickup(t):
    daemon = Daemon(t, "pickup")
    daemon.begin()
    maildrop = os.path.join(daemon.folder, "queue", "maildrop")
    doors = [daemon.peer("submission")]
    uid = v.NOBODY if v.IS_ROOT else os.getuid()
    slots = iter(range(4096))

    def drop(subject="x", sender=b"ann@x.example"):
        """A mail, as postdrop leaves one; the file."""
        fields = b"".join(tag + struct.pack("<I", len(value)) + value for tag, value in ((b"S", sender), (b"R", b"\0bob@x.example")))
        content = f"Subject: {subject}\r\n\r\nbody\r\n".encode()
        path, beside = f"{maildrop}/m-{uid}-{next(slots)}", daemon.folder + "/planted"
        v.write(beside, b"VERDROP\1" + struct.pack("<IIQQQ", len(fields), 0, len(content), int(time.time() * 1e6), 7) + fields + content, 0o404)
        os.chown(beside, uid, -1)
        os.rename(beside, path)
        return path

    def serves():
        doors[0] = daemon.peer("submission")
        path = drop("good")
        mail = doors[0].expect("handin")
        v.equal((mail["login"], mail["sender"]), (f"uid:{uid}".encode(), b"ann@x.example"))
        doors[0].say("handed", token=mail["token"], taken=1, id=9, code=250)
        v.wait(lambda: not os.path.exists(path), 5, "its file to go")

    def answers(peer):
        for token in range(0, 2000):
            peer.say("handed", token=token, taken=255, code=65535, reply=b"\r\n" * 256)

    def never(peer):
        """Refused for now: it stays, and is brought again."""
        path = drop("later")
        for _ in range(2):
            mail = peer.expect("handin", 10)
            peer.say("handed", token=mail["token"], taken=0, code=451, reply=b"4.3.2 later")
        mail = peer.expect("handin", 10)
        v.check(os.path.exists(path), "its file is gone")
        peer.say("handed", token=mail["token"], taken=1, code=250)

    def refuses(peer):
        """Refused for good: a report, with words that are no line of it; refused too, it is put aside."""
        path = drop("refused")
        mail = peer.expect("handin")
        peer.say("handed", token=mail["token"], taken=0, code=65535, reply=b"5.0.0 \r\nBcc: <eve@x.example>\r\n\0" * 15)
        report = peer.expect("handin")
        v.equal(report["sender"], b"")
        v.check(b"\nBcc" not in report["content"] and b"\n" not in report["content"].replace(b"\r\n", b""), report["content"])
        v.check(os.path.exists(path), "its file is gone")
        peer.say("handed", token=report["token"], taken=0, code=550, reply=b"5.7.1 no")
        v.wait(lambda: not os.path.exists(path), 5, "its file to go")
        v.check(len(os.listdir(maildrop + "/corrupt")) == 1, "nothing was kept")

    common(daemon, "submission", 0, serves)
    run_cases(daemon, "submission", 0, [
        ("answers never asked for", answers, LIVES),
        ("not now", never, LIVES),
        ("never", refuses, LIVES),
    ], serves)


# -- resolver ------------------------------------------------------------------------------------

def test_resolver(t):
    daemon = Daemon(t, "resolver", f"resolver {{ forward = {{ 127.0.0.1@{v.free_port()} }}  timeout = 2s"
                                   f"  trust-anchor = {v.write(t.folder + '/anchor', '')} }}\n")
    daemon.begin()
    honest = daemon.peer("smtp-client")
    number = iter(range(1, 1 << 20))

    def serves():
        query = next(number)
        honest.say("hosts_ask", query=query, how=2, target="192.0.2.7", port=25)
        v.equal(honest.expect("hosts_are", query=query)["verdict"], FOUND, "verdict")

    def insane(name):
        def ask(peer):
            for target in b"", b".", b"..", b"." * 255, b"\0", b"a" * 255, b"\xff.example", b"[::", b"999.999.999.999", b"a..b", b"-" * 63, b"1" * 64 + b".x":
                for how in range(5):
                    peer.say(name, query=1, how=how, target=target, port=0)
        return ask

    def insane_names(peer):
        for name in b"", b".", b"a..b", b"." * 255, b"\0", b"a" * 255, b"\xff.example", b"_" * 64 + b".x":
            peer.say("txt_ask", query=3, name=name)
            v.equal(peer.expect("txt_is")["total"], 0, name)

    def unread(name, /, **values):
        """Questions by the thousand, answers never read."""
        def ask(peer):
            peer.socket.setblocking(False)
            data = f.frame(name, **values) * 3000
            try:
                peer.socket.send(data)
            except OSError:
                pass
        return ask

    ptr = dict(query=9, address=LOOPBACK)
    common(daemon, "qmgr", 0, serves)
    common(daemon, "smtpd", 0, serves)
    common(daemon, "smtp-client", 1, serves)
    for name, kind in ("site_ask", "qmgr"), ("path_ask", "qmgr"), ("hosts_ask", "smtp-client"):
        run_cases(daemon, kind, 1, [
            ("a mailbox here", says(name, how=5, target="x"), ENDS),
            ("no way at all", says(name, how=255, target="x"), ENDS),
            ("insane targets", insane(name), LIVES),
            ("unread answers", unread(name, how=MX, target="a.example"), LIVES),
        ], serves)
    run_cases(daemon, "smtpd", 1, [
        ("an address of 4 bytes", says("name_ask", address=b"\x7f\0\0\1"), ENDS),
        ("no address", says("name_ask"), ENDS),
        ("unread answers", unread("name_ask", **ptr), LIVES),
    ], serves)
    run_cases(daemon, "fetcher", 0, [
        ("names that are none", insane_names, LIVES),
        ("unread answers", unread("txt_ask", name="_mta-sts.a.example"), LIVES),
    ], serves)
    v.check(daemon.resident_mb() < 150 * v.PATIENCE ** 2, "memory:", daemon.resident_mb(), "MB")


REVERSE = r"""
1 PTR fine.example.
2 PTR liar.example.
3 PTR elsewhere.example.
3 PTR nowhere.example.
3 PTR several.example.
5 PTR nowhere.example.
6 PTR "a b".example.
6 PTR under_score.example.
6 PTR .
7 CNAME 7.0/25
7.0/25 PTR delegated.example.
8 PTR alias.example.
9 PTR broken.silent.
10 CNAME 11
11 CNAME 10
12 PTR v6only.example.
""" + "\n".join(f"13 PTR m{i}.example." for i in range(200))
FORWARD = r"""
fine A 192.0.2.1
liar A 192.0.2.99
elsewhere A 192.0.2.99
several A 192.0.2.98
several A 192.0.2.3
delegated A 192.0.2.7
alias CNAME fine8
fine8 A 192.0.2.8
under_score A 192.0.2.6
six AAAA 2001:db8::1
four AAAA 2001:db8::99
v6only AAAA 2001:db8::1
""" + "\n".join(f"m{i} A 192.0.2.13" for i in range(200))


def test_names_of_clients(t):
    """name_ask against real zones: a name counts only when it leads back to the client's address."""
    forward = t.zone(FORWARD, silent=None, **{
        "2_0_192_in-addr_arpa": REVERSE,
        "8_b_d_0_1_0_0_2_ip6_arpa": "\n".join(f"{n}." + ".".join("0" * 23) + f" PTR {name}.example." for n, name in ((1, "six"), (2, "four")))})
    daemon = Daemon(t, "resolver", f"resolver {{ forward = {{ {forward} }}  timeout = 3s"
                                   f"  trust-anchor = {v.write(t.folder + '/anchor', '')} }}\n")
    daemon.begin()
    smtpd = daemon.peer("smtpd")
    v4 = lambda last: bytes(10) + b"\xff\xff" + bytes((192, 0, 2, last))
    v6 = lambda last: bytes.fromhex(f"20010db8{last:024x}")

    def known(query, address):
        """The answer; name servers that were held up for all of the time are asked again."""
        for _ in range(5):
            values = smtpd.expect("name_is", query=query)
            if values["verdict"] != TEMPORARY:
                break
            time.sleep(2)
            smtpd.say("name_ask", query=query, address=address)
        return values

    wanted = [
        (v4(1), FOUND, "fine.example"), (v4(2), FOUND, ""), (v4(3), FOUND, "several.example"), (v4(4), FOUND, ""), (v4(5), FOUND, ""),
        (v4(6), FOUND, "under_score.example"), (v4(7), FOUND, "delegated.example"), (v4(8), FOUND, "alias.example"), (v4(12), FOUND, ""),
        (v6(1), FOUND, "six.example"), (v6(2), FOUND, ""), (v6(3), FOUND, "")]
    for query, (address, verdict, name) in enumerate(wanted, 1):
        smtpd.say("name_ask", query=query, address=address)
    for query, (address, verdict, name) in enumerate(wanted, 1):
        values = known(query, address)
        v.equal((values["verdict"], values["name"].decode()), (verdict, name), socket.inet_ntop(socket.AF_INET6, address))
    # Of two hundred names a few are tried, and one of them is right.
    smtpd.say("name_ask", query=100, address=v4(13))
    v.check(known(100, v4(13))["name"].endswith(b".example"), "one of many")
    # A loop of names, and a name whose servers say nothing, are no answer: within the time, and for now.
    for query, last in (101, 10), (102, 9):
        smtpd.say("name_ask", query=query, address=v4(last))
    for query in 101, 102:
        values = smtpd.expect("name_is", 8, query=query)
        v.equal((values["verdict"], values["name"]), (TEMPORARY, b""), query)
    # A client that is asked about many times at once gets as many answers.
    for query in range(1000, 1200):
        smtpd.say("name_ask", query=query, address=v4(1))
    for query in range(1000, 1200):
        v.equal(smtpd.expect("name_is", query=query)["name"], b"fine.example")
    daemon.lives("after all")


# -- smtpd ---------------------------------------------------------------------------------------

def files(t):
    """Descriptors that are no file with content: (what, make)."""
    def pipe():
        end, other = os.pipe()
        t.defer(os.close, other)
        return end

    def pipe_in():
        other, end = os.pipe()
        os.set_blocking(end, False)
        try:
            while True:
                os.write(end, b"x" * 65536)
        except BlockingIOError:
            os.set_blocking(end, True)
        t.defer(os.close, other)
        return end

    def pair():
        end, other = socket.socketpair()
        t.defer(other.close)
        return end.detach()

    return [("a pipe", pipe), ("a full pipe", pipe_in), ("a socket", pair), ("a folder", lambda: os.open(t.folder, os.O_RDONLY)),
            ("a device", lambda: os.open("/dev/full", os.O_RDWR))]


def empty(t):
    """A file that can't be written."""
    return os.open(v.write(t.folder + "/empty", b""), os.O_RDONLY)


def given(make, use):
    """USE with a descriptor of MAKE's, closed after it."""
    def act(peer):
        fd = make()
        try:
            use(peer, fd)
        finally:
            os.close(fd)
    return act


def submit_of(peer, client):
    client.expect(250, "MAIL FROM:<sender@client.example>")
    client.expect(250, "RCPT TO:<rcpt@sink.example>")
    client.expect(354, "DATA")
    client.socket.sendall(v.mail("walls") + b".\r\n")
    return peer.expect("submit")["id"]


def test_smtpd(t):
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    port = listener.getsockname()[1]
    daemon = Daemon(t, "smtpd", handles=[(LISTEN_SMTP, listener.fileno(), f"127.0.0.1:{port}")])
    listener.close()
    daemon.begin()

    def let_in(limits):
        """Everybody, until the channel ends."""
        try:
            while True:
                limits.say("client_verdict", allowed=1, session=limits.expect("client_open")["session"])
        except (v.Failure, OSError, ValueError):
            pass

    def serves():
        qmgr, limits = daemon.peer("qmgr"), daemon.peer("limits")
        intake = Intake(qmgr)
        daemon.lives("peers")
        threading.Thread(target=let_in, args=(limits,), daemon=True).start()
        client = v.Smtp(port)
        id = submit_of(qmgr, client)
        qmgr.say("settled", id=id, committed=1)
        v.check("queued as" in client.reply(), "reply")
        client.close()
        qmgr.close()
        limits.close()
        v.check(intake.first > 1000, "leased")

    def unasked_lease(peer):
        Intake(peer)
        peer.say("leased", first=1, count=1)

    def bad_lease(first, count):
        def act(peer):
            peer.expect("lease")
            peer.say("leased", first=first, count=count)
        return act

    def with_client(act, reply=None):
        """ACT with a client's mail that waits for its verdict."""
        def run(peer):
            Intake(peer)
            daemon.lives("leased")
            client = v.Smtp(port)
            id = submit_of(peer, client)
            act(peer, id)
            if reply:
                line = client.reply()
                v.check(line.startswith(reply) and "\n" not in line and "\r" not in line, "reply:", line)
                client.close()
            else:
                client.socket.close()
        return run

    def large_to(make):
        """A large body for which qmgr hands out something that is no file."""
        def run(peer):
            Intake(peer)
            daemon.lives("leased")
            client = v.Smtp(port)
            client.expect(250, "MAIL FROM:<sender@client.example>")
            client.expect(250, "RCPT TO:<rcpt@sink.example>")
            client.expect(354, "DATA")
            client.socket.sendall(v.mail("large", b"x" * 70 + b"\r\n") + (b"y" * 70 + b"\r\n") * 2000 + b".\r\n")
            id = peer.expect("body_open")["id"]
            fd = make()
            peer.say("body_file", fd, id=id)
            os.close(fd)
            reply = client.reply()
            v.check(reply[:3] in ("451", "452"), "reply:", reply)
            client.close()
        return run

    def file_unasked(peer, id):
        fd = os.open("/dev/null", os.O_WRONLY)
        peer.say("body_file", fd, id=id)
        os.close(fd)

    def injected(peer, id):
        peer.say("settled", id=id, code=451, dsn="4.0.0\r\n250", reply="no\r\n250 2.0.0 Ok: queued as FORGED")

    def twice(peer, id):
        for _ in range(3):
            peer.say("settled", id=id, committed=1)

    serves()
    common(daemon, "qmgr", 0, serves)
    common(daemon, "limits", 0, serves)
    common(daemon, "resolver", 0, serves)
    common(daemon, "table", 0, serves)
    limits = daemon.peer("limits")
    limits.close()  # nobody is asked from here on but in serves()
    run_cases(daemon, "qmgr", 0, [
        ("ids never asked for", unasked_lease, ENDS),
        ("no ids", bad_lease(5, 0), ENDS),
        ("id 0", bad_lease(0, 5), ENDS),
        ("too many ids", bad_lease(1, 0xffffffff), ENDS),
        ("ids past the last one", bad_lease((1 << 64) - 2, 4096), ENDS),
        ("an intake state that is none", says("intake", state=200), ENDS),
        ("a verdict never asked for", says("settled", id=77, committed=1), LIVES),
        ("a file never asked for", says("body_file", id=77), LIVES),
        ("a file for a message without one", with_client(file_unasked), ENDS),
        ("a verdict with lines of its own", with_client(injected, "451"), LIVES),
        ("a verdict without sense", with_client(lambda p, id: p.say("settled", id=id, code=65535, dsn="9", reply=b"\0"), "451"), LIVES),
        ("a refusal that says 250", with_client(lambda p, id: p.say("settled", id=id, code=250, dsn="2.0.0", reply="Ok"), "451"), LIVES),
        ("a verdict three times", with_client(twice, "250"), LIVES),
        *((f"{what} for a large body", large_to(make), ENDS) for what, make in files(t)),
        ("a file that can't be written", large_to(lambda: empty(t)), LIVES),
    ], serves)
    run_cases(daemon, "limits", 0, [
        ("verdicts on others", lambda p: [p.say("client_verdict", session=n << 32 | n % 7, allowed=n % 2) for n in range(2000)], LIVES),
        ("a verdict on no session", says("client_verdict", session=(1 << 64) - 1, allowed=255), LIVES),
    ], serves)
    sources = iter(f"127.7.0.{n}" for n in range(2, 250))

    def called(name, verdict=FOUND, good=False):
        """What a client is called, and what then stands in its mail's Received."""
        def run(peer):
            qmgr, source = daemon.peer("qmgr"), next(sources)
            Intake(qmgr)
            daemon.lives("leased")
            client = v.Smtp(port, source=source)
            query = peer.expect("name_ask")["query"]
            peer.say("name_is", query=query + 1, name="another.example")
            peer.say("name_is", query=query, verdict=verdict, name=name)
            client.expect(250, "MAIL FROM:<sender@client.example>")
            client.expect(250, "RCPT TO:<rcpt@sink.example>")
            client.expect(354, "DATA")
            client.socket.sendall(v.mail("named") + b".\r\n")
            line = qmgr.expect("submit")["prelude"].split(b"\r\n")[0].decode()
            v.equal(line, f"Received: from client.example ({name + ' ' if good else ''}[{source}])", "Received")
            client.socket.close()
            qmgr.close()
        return run

    run_cases(daemon, "resolver", 0, [
        ("a name", called("fine.example", good=True), LIVES),
        *((f"a name that is none: {name}", called(name), LIVES)
          for name in ("a.example\r\nX-Forged: yes", "a example", "a..example", ".a", "a.example.", "(a)", "a[127.0.0.1]", "\0", "x" * 255)),
        ("a name and a failure", called("fine.example", TEMPORARY), LIVES),
        ("a verdict that is none", called("fine.example", 200), LIVES),
        ("names never asked for", lambda p: [p.say("name_is", query=n, name="fine.example") for n in range(2000)], LIVES),
    ], serves)
    common(daemon, "keeper", 0, serves)

    def certificates(**more):
        def act(peer):
            for _ in range(3):
                peer.say("certificate", **dict(dict(name="a.example", key=1, chain=b"nonsense"), **more))
                peer.say("certificates_end", count=1)
        return act

    pair = pki.Pair(t.folder, "relay.example")
    chain = v.read(pair.certificate)
    run_cases(daemon, "keeper", 0, [
        ("certificates that are none", certificates(), LIVES),
        ("a chain without end", certificates(chain=(chain * 1000)[:262144]), LIVES),
        ("a CA that is none", certificates(chain=chain, client_ca=b"x" * 262144), LIVES),
        ("a minimum that is none", certificates(chain=chain, minimum=200), LIVES),
        ("a name without sense", certificates(chain=chain, name=b"\0\xff*.."), LIVES),
        ("300 certificates", lambda p: [p.say("certificate", name="a.example", key=n, chain=chain) for n in range(300)], ENDS),
        ("signatures never asked for", lambda p: [p.say("signature", query=n, signature=b"x" * 1024) for n in range(2000)], LIVES),
        ("ticket keys of a wrong length", says("ticket_keys", keys=[dict(name=b"x", cipher=b"y", mac=b"z")]), LIVES),
        ("no ticket keys", says("ticket_keys"), LIVES),
    ], serves)
    run_cases(daemon, "checker", 0, [
        ("mechanisms that are none", says("auth_offer", mechanisms=255), LIVES),
        ("a good verdict on nobody", says("auth_done", exchange=1 << 32, verdict=GOOD, login=b"root"), LIVES),
        ("challenges for nobody",
         lambda p: [p.say("auth_challenge", exchange=n << 32 | n % 7, challenge=b"x" * 9000) for n in range(200)], LIVES),
    ], serves)


# -- submission ----------------------------------------------------------------------------------

def handin(**more):
    content = v.mail("walls")
    return dict(dict(token=1, report=0, sender="", recipients=[dict(address="rcpt@sink.example")], content=content,
                     content_length=len(content)), **more)


def test_submission(t):
    daemon = Daemon(t, "submission", "tlsrpt { contact = tls@sender.example }\n")
    daemon.begin()
    peers = {"qmgr": daemon.peer("qmgr"), "bounce": daemon.peer("bounce"), "pickup": daemon.peer("pickup")}
    intakes = [Intake(peers["qmgr"])]
    tokens = iter(range(1 << 20, 1 << 30))

    def serves(replaced):
        def serve():
            if replaced == "qmgr":
                peers["qmgr"] = daemon.peer("qmgr")
                intakes.append(Intake(peers["qmgr"]))
            elif replaced in ("bounce", "pickup"):
                peers[replaced] = daemon.peer(replaced)
            daemon.lives("peers")
            peers["qmgr"].got.clear()
            token = next(tokens)
            bringer = "pickup" if replaced == "pickup" else "bounce"
            peers[bringer].say("handin", **handin(token=token, login="uid:1000" if bringer == "pickup" else ""))
            id = peers["qmgr"].expect("submit")["id"]
            peers["qmgr"].say("settled", id=id, committed=1)
            v.equal(peers[bringer].expect("handed", token=token)["taken"], 1, "taken")
        return serve

    def refused(fd=None, **more):
        def act(peer):
            values = handin(**more)
            peer.say("handin", fd, **values)
            v.equal(peer.expect("handed", token=values["token"])["taken"], 0, "taken")
        return act

    def refused_file(peer, fd):
        peer.say("handin", fd, **handin(content=b"", content_length=1000))
        v.equal(peer.expect("handed", token=1)["taken"], 0, "taken")

    def shorter(peer):
        fd = os.open(v.write(t.folder + "/short", v.mail("short")), os.O_RDONLY)
        refused_file(peer, fd)
        os.close(fd)

    def flood(peer):
        for token in range(400):
            peer.say("handin", **handin(token=token))
        for _ in range(100):  # more than the door holds at once are refused, with an answer
            v.equal(peer.expect("handed")["taken"], 0, "taken")
        daemon.lives("flood")
        answered, end = 100, time.monotonic() + 20 * v.WAITS
        while answered < 400:
            v.check(time.monotonic() < end, "of 400 it answered", answered)
            while any(name == "submit" for name, _ in peers["qmgr"].got):
                intakes[-1].settle()
            peers["qmgr"].pump(0.01)
            peer.pump(0.01)
            answered += sum(name == "handed" for name, _ in peer.got)
            peer.got.clear()

    def both(peer):
        fd = os.open("/dev/null", os.O_RDONLY)
        peer.say("handin", fd, **handin())
        os.close(fd)

    def no_report(peer):
        peer.say("handin", **handin(login="uid:1000", report=5, token=77))
        mail = peers["qmgr"].expect("submit")
        v.equal(mail["report"], 0, "whose report it is")
        peers["qmgr"].say("settled", id=mail["id"], committed=1)
        peer.expect("handed", token=77)

    def again(peer):
        """A pickup that was restarted brings what the one before had brought: it is queued once."""
        door = peers["qmgr"]
        peer.say("handin", **handin(login="uid:1000", number=99, token=1))
        mail = door.expect("submit")
        other = daemon.peer("pickup")  # in its place, before the verdict
        other.say("handin", **handin(login="uid:1000", number=99, token=5))
        daemon.lives("again")
        door.say("settled", id=mail["id"], committed=1)
        v.equal(other.expect("handed", token=5)["id"], mail["id"])
        other.say("handin", **handin(login="uid:1000", number=99, token=6))
        v.equal(other.expect("handed", token=6)["id"], mail["id"])
        other.say("handin", **handin(login="uid:1001", number=99, token=7))  # it is another user's, and another mail
        mail = door.expect("submit")
        door.say("settled", id=mail["id"], committed=1)
        v.equal(other.expect("handed", token=7)["id"], mail["id"])
        # What was refused is taken when it comes again.
        other.say("handin", **handin(login="uid:1000", number=98, token=8, content=b""))
        v.equal(other.expect("handed", token=8)["taken"], 0)
        other.say("handin", **handin(login="uid:1000", number=98, token=9))
        mail = door.expect("submit")
        door.say("settled", id=mail["id"], committed=1)
        v.equal(other.expect("handed", token=9)["taken"], 1)

    serves("")()
    common(daemon, "qmgr", 0, serves("qmgr"))
    common(daemon, "bounce", 0, serves("bounce"))
    common(daemon, "limits", 0, serves(""))
    common(daemon, "resolver", 0, serves(""))
    common(daemon, "table", 0, serves(""))

    def report(**more):
        return dict(dict(token=1, to=b"tls@a.example", domain=b"a.example", report_id=b"1.a.example@sender.example", begin_s=0, end_s=86399,
                         report=b"\x1f\x8b" * 1000), **more)

    def a_report(peer):
        peers["qmgr"].got.clear()
        peer.say("tls_report", **report())
        got = peers["qmgr"].expect("submit")
        peers["qmgr"].say("settled", id=got["id"], committed=1)
        v.equal(peer.expect("handed", token=1)["taken"], 1, "taken")
        text = got["prelude"] + got["body"]
        v.check(b"TLS-Required: No\r\n" in text and b"From: <tls@sender.example>\r\n" in text and b"To: <tls@a.example>" in text, text)
        v.check(max(len(line) for line in text.split(b"\r\n")) < 100, "a long line")

    def reports(peer):
        peers["qmgr"].got.clear()
        for token in range(25000):
            peer.say("tls_report", **report(token=token, report=b""))
        v.equal(peer.expect("handed", token=24999)["reply"], b"4.3.2 too many reports in this hour", "reports without end")
        v.check(len(peers["qmgr"].got) < 20000, "all were taken")
        daemon.lives("a full door")
        for _ in range(256):  # what the door holds at once
            intakes[-1].settle()
        daemon.lives("an empty door")

    run_cases(daemon, "limits", 0, [
        ("a report", a_report, LIVES),
        ("another header", says("tls_report", **report(domain=b"a.example\r\nBcc: x@y.example")), ENDS),
        ("another header by its number", says("tls_report", **report(report_id=b"x>\r\n\r\n<y")), ENDS),
        ("a domain with a NUL", says("tls_report", **report(domain=b"a\0.example")), ENDS),
        ("no domain", says("tls_report", **report(domain=b"")), ENDS),
        ("nobody", says("tls_report", **report(to=b"")), ENDS),
        ("another line", says("tls_report", **report(to=b"x\r\nBcc: y@a.example")), ENDS),
        ("reports without end", reports, LIVES),
    ], serves(""))
    run_cases(daemon, "bounce", 0, [
        ("no recipients", refused(recipients=[]), LIVES),
        ("recipients that are none", refused(recipients=[dict(address=b"a@b>\r\nRCPT TO:<c@d", notify=255)]), LIVES),
        ("a sender that is none", refused(sender=b"\r\n\0"), LIVES),
        ("no content", refused(content=b""), LIVES),
        ("bare line feeds", refused(content=b"Subject: x\n\nbody\n.\n"), LIVES),
        ("NUL", refused(content=b"Subject: x\r\n\r\n\0\r\n"), LIVES),
        ("garbage", refused(content=bytes(range(256)) * 1000, smtputf8=255, body_type=255), LIVES),
        ("content twice", both, ENDS),
        ("a file shorter than said", shorter, LIVES),
        *((f"{what} as content", given(make, lambda p, fd: p.say("handin", fd, **handin(content=b"", content_length=9))), ENDS)
          for what, make in files(t)),
        ("an empty file as content", given(lambda: empty(t), refused_file), LIVES),
        ("a flood", flood, LIVES),
    ], serves("bounce"))
    common(daemon, "pickup", 0, serves("pickup"))
    run_cases(daemon, "pickup", 0, [
        *((f"the login {login}", says("handin", **handin(login=login)), ENDS)
          for login in (b"", b"ann", b"uid:", b"uid:-1", b"uid:4294967296", b"UID:1", b"uid:1\r\nBcc: x", b"bounce")),
        ("an ENVID that is none", refused(login="uid:1000", envid=b"a\r\nb"), LIVES),
        ("a RET that is none", refused(login="uid:1000", ret=255), LIVES),
        ("a NOTIFY that is none", refused(login="uid:1000", recipients=[dict(address="rcpt@sink.example", notify=255)]), LIVES),
        ("a sender that is none", refused(login="uid:1000", sender=b"\r\n\0"), LIVES),
        ("a report in its name", no_report, LIVES),
        ("the same mail again", again, ENDS),
    ], serves("pickup"))
    peers["qmgr"] = daemon.peer("qmgr")
    intakes.append(Intake(peers["qmgr"]))
    run_cases(daemon, "qmgr", 0, [
        ("ids past the last one", lambda p: (p.expect("lease"), p.say("leased", first=(1 << 64) - 2, count=4096)), ENDS),
        ("a verdict never asked for", says("settled", id=77, committed=1), LIVES),
        ("a file never asked for", says("body_file", id=77), LIVES),
        ("an intake state that is none", says("intake", state=5), ENDS),
    ], serves("qmgr"))


# -- local ---------------------------------------------------------------------------------------

def test_local(t):
    """qmgr's word alone runs no command and writes no file; a user is looked up and nothing else."""
    user = pwd.getpwuid(v.NOBODY if v.IS_ROOT else os.geteuid()).pw_name
    box = t.folder + "/box"
    os.mkdir(box)
    os.chmod(box, 0o777)
    aliases = v.write(t.folder + "/aliases", b"list: one@sink.example, two@sink.example\n")
    patterns = f"pcre:{t.folder}/mailboxes"
    daemon = Daemon(t, "local", f"route here.example {{ to = local }}\nroute box.example {{ to = local }}\nlocal {{ mailbox = {box}/%u/  aliases = {aliases} }}\n"
                    f"virtual box.example {{ mailboxes = {patterns}  root = {box}  user = {user} }}\n")
    daemon.begin()
    peers = {kind: daemon.peer(kind) for kind in ("qmgr", "smtpd", "submission", "table")}
    numbers = iter(range(1, 1 << 20))

    def job(number, **more):
        recipient = dict(number=0, address=f"{user}@here.example".encode())
        recipient.update(more.pop("recipient", {}))
        values = dict(slot=number, job=number, id=number, site=":local", hop=":local", how=5, domain="here.example",
                      sender="sender@client.example", recipients=[recipient], prelude=PRELUDE, body=BODY)
        values.update(more)
        values.setdefault("body_length", len(values["body"]))
        return values

    def outcome(peer, number, kind):
        got = peer.expect("outcome", job=number)
        v.equal(got["recipients"][0]["kind"], kind, f"outcome {got}")
        peer.say("recorded", job=number)

    def serves(replaced):
        def serve():
            if replaced:
                peers[replaced] = daemon.peer(replaced)
            daemon.lives("peers")
            number = next(numbers)
            peers["qmgr"].say("job", **job(number))
            outcome(peers["qmgr"], number, DELIVERED)
            v.equal(len(glob.glob(f"{box}/{user}/new/*.V{number:016x}R0.*")), 1, "its letter")
            peers["qmgr"].say("slot_close", slot=number)
            peers["qmgr"].expect("slot_done", slot=number)
            for kind in "smtpd", "submission":
                for address, verdict in (f"{user}+x@here.example", 0), ("list@here.example", 0), ("nobody-such@here.example", 1):
                    peers[kind].say("user_ask", query=number, address=address)
                    v.equal(peers[kind].expect("user_is", query=number)["verdict"], verdict, address)
                by_table(peers["table"], 0, peers[kind])
        return serve

    def by_table(table, wanted, asking=None, **more):
        """What table says, and what comes of it."""
        number, asking = next(numbers), asking or peers["smtpd"]
        asking.say("user_ask", query=number, address="ann@box.example")
        asked = table.expect("lookup", table=patterns.encode(), key=b"ann@box.example")
        table.say("looked_up", **dict(dict(query=asked["query"], verdict=0, value="ann/"), **more))
        v.equal(asking.expect("user_is", query=number)["verdict"], wanted, str(more)[:100])

    def says(wanted, **more):
        return lambda table: by_table(table, wanted, **more)

    def gives(kind, **more):
        def act(peer):
            number = next(numbers)
            peer.say("job", **job(number, **more))
            outcome(peer, number, kind)
            v.check(not os.path.exists(t.folder + "/box/pwned"), "a command was run")
        return act

    def twice(peer):
        number = next(numbers)
        for _ in range(2):
            peer.say("job", **job(number))

    def asks(address):
        def act(peer):
            peer.say("user_ask", query=7, address=address)
            v.equal(peer.expect("user_is", query=7)["verdict"], 1)
        return act

    pwned = f"touch {box}/pwned"
    for kind in peers:
        common(daemon, kind, 0, serves(kind))
    run_cases(daemon, "qmgr", 0, [
        ("a job of smtp-client's", lambda p: p.say("job", **job(next(numbers), how=HOST)), ENDS),
        ("nobody", lambda p: p.say("job", **job(next(numbers), recipients=[])), ENDS),
        ("no header", lambda p: p.say("job", **job(next(numbers), prelude=b"")), ENDS),
        ("a length that lies", lambda p: p.say("job", **job(next(numbers), body_length=1 << 40)), ENDS),
        ("a line end in an address", lambda p: p.say("job", **job(next(numbers), recipient=dict(address=b"a\n@here.example"))), ENDS),
        ("a line end in the sender", lambda p: p.say("job", **job(next(numbers), sender=b"a\nb@x")), ENDS),
        ("a job twice", twice, ENDS),
        ("the end of a job that was never", lambda p: p.say("recorded", job=1 << 40), ENDS),
        ("the end of a slot that was never", lambda p: (p.say("slot_close", slot=77), p.expect("slot_done", slot=77)), LIVES),
        ("a command that no alias has", gives(EXPANDED, recipient=dict(target=f"|{pwned}".encode())), LIVES),
        ("a command that no .forward has", gives(EXPANDED, recipient=dict(target=f"~|{pwned}".encode())), LIVES),
        ("a file that no alias has", gives(EXPANDED, recipient=dict(target=f"{box}/pwned".encode())), LIVES),
        ("a list that no alias has", gives(EXPANDED, recipient=dict(target=b":include:/etc/passwd")), LIVES),
        ("a target that is none", gives(FAILED, recipient=dict(target=b"xyz")), LIVES),
        ("root", gives(FAILED, recipient=dict(address=b"root@here.example")), LIVES),
        ("a path for a name", gives(FAILED, recipient=dict(address=b"\"../../x\"@here.example")), LIVES),
    ], serves("qmgr"))
    run_cases(daemon, "smtpd", 0, [
        ("garbage", asks(bytes(range(1, 255)) * 2), LIVES),
        ("nothing", asks(b""), LIVES),
        ("a path", asks(b"../etc@here.example"), LIVES),
        ("questions without end", lambda p: [p.say("user_ask", query=i, address="x@here.example") for i in range(1000)], LIVES),
    ], serves("smtpd"))
    run_cases(daemon, "table", 0, [
        ("a verdict that is none", says(2, verdict=99), LIVES),
        ("a path out of root", says(2, value="../ann/"), LIVES),
        ("a path that is none", says(2, value="/etc/passwd"), LIVES),
        ("nothing, found", says(2, value=""), LIVES),
        ("the longest value", says(2, value=b"x" * 16384), LIVES),
        ("a line end", says(2, value="ann\n/"), LIVES),
        ("answers that nobody waits for", lambda p: [p.say("looked_up", query=1 << 40, value="x") for _ in range(1000)], LIVES),
        ("a question", lambda p: p.say("lookup", query=1, table=patterns, key="x"), ENDS),
    ], serves("table"))


# -- smtp-client ---------------------------------------------------------------------------------

def sink_thread(t):
    """A receiver that takes everything; its port and what it took."""
    server = socket.create_server(("127.0.0.1", 0))
    taken = []

    def serve(client):
        with client, client.makefile("rb") as lines:
            client.sendall(b"220 sink\r\n")
            for line in lines:
                word = line[:4].upper()
                client.sendall(b"354 go\r\n" if word == b"DATA" else b"250 fine\r\n")
                if word == b"DATA":
                    content = b""
                    for line in lines:
                        if line == b".\r\n":
                            taken.append(content)
                            client.sendall(b"250 taken\r\n")
                            break
                        content += line
                elif word == b"QUIT":
                    return

    def quiet(client):
        try:
            serve(client)
        except OSError:
            pass

    port = server.getsockname()[1]
    v.accept(t, server, quiet)
    return port, taken


def test_smtp_client(t):
    port, taken = sink_thread(t)
    daemon = Daemon(t, "smtp-client")
    daemon.begin()
    peers = {"qmgr": daemon.peer("qmgr"), "resolver": daemon.peer("resolver")}
    numbers = iter(range(1, 1 << 20))
    host = dict(name="sink.example", address=LOOPBACK, port=port)

    def job(number, **more):
        values = dict(slot=number, job=number, id=number, site=f"s{number}", hop=f"h{number}", how=HOST, target=f"t{number}.example", port=port,
                      domain="sink.example", sender="sender@client.example", recipients=[dict(number=0, address="rcpt@sink.example")],
                      prelude=PRELUDE, body=BODY)
        values.update(more)
        values.setdefault("body_length", len(values["body"]))
        return values

    def answer(number):
        query = peers["resolver"].expect("hosts_ask", target=f"t{number}.example".encode())["query"]
        peers["resolver"].say("hosts_are", query=query, lifetime_s=60, hosts=[host])

    def outcome(peer, number, kind=None):
        got = peer.expect("outcome", job=number)
        peer.say("recorded", job=number)
        if kind:
            v.equal(got["recipients"][0]["kind"], kind, f"outcome {got}")
        return got

    def serves(replaced):
        def serve():
            if replaced:
                peers[replaced] = daemon.peer(replaced)
            daemon.lives("peers")
            peers["resolver"].got.clear()
            number, before = next(numbers), len(taken)
            peers["qmgr"].say("job", **job(number))
            answer(number)
            outcome(peers["qmgr"], number, RELAYED)
            v.equal(len(taken), before + 1, "mails taken")
            peers["qmgr"].say("slot_close", slot=number)
            peers["qmgr"].expect("slot_done", slot=number)
        return serve

    def came_to_an_end(peer, number):
        """Until there is an outcome, or its channel's end: some jobs end before a host is looked up for them."""
        end = time.monotonic() + 5 * v.WAITS
        while time.monotonic() < end and not peer.over:
            peers["resolver"].pump(0.01)
            if any(name == "hosts_ask" and values["target"] == f"t{number}.example".encode() for name, values in peers["resolver"].got):
                answer(number)
            peer.pump(0.01)
            if any(name == "outcome" for name, _ in peer.got):
                return True
        return False

    def spoiled(kinds=(DEFERRED, FAILED), fd=None, **more):
        """A job whose content can't go out: it is not relayed and nothing of it arrives."""
        def act(peer, fd=fd):
            number, before = next(numbers), len(taken)
            daemon.lives("job")
            peers["resolver"].got.clear()
            peer.say("job", fd, **job(number, **more))
            came_to_an_end(peer, number)
            got = outcome(peer, number)
            v.check(got["recipients"][0]["kind"] in kinds, "outcome", got)
            v.equal(len(taken), before, "mails taken")
        return act

    def from_file(peer, fd):
        number, before = next(numbers), len(taken)
        peers["resolver"].got.clear()
        peer.say("job", fd, **job(number, body=b"", body_length=100000))
        if came_to_an_end(peer, number):
            v.check(outcome(peer, number)["recipients"][0]["kind"] in (DEFERRED, FAILED), "outcome")
        else:
            v.check(peer.over, "neither an outcome nor the end")
        v.equal(len(taken), before, "mails taken")

    def short_file(peer):
        fd = os.open(v.write(t.folder + "/short", b"x\r\n" * 1000), os.O_RDONLY)
        from_file(peer, fd)
        os.close(fd)

    def lost_file(peer):
        """The daemon has no descriptor left to take it."""
        fd = os.open(v.write(t.folder + "/lost", BODY), os.O_RDONLY)
        daemon.limit("--nofile=0:")
        try:
            unasked(body=b"", body_length=len(BODY))(peer, fd)
        finally:
            daemon.limit("--nofile=1024:")
            os.close(fd)

    def unasked(**more):
        """No receiver is asked, and the outcome says so."""
        def act(peer, fd=None):
            number = next(numbers)
            peer.say("job", fd, **job(number, **more))
            got = outcome(peer, number)
            v.equal((got["scope"], got["recipients"][0]["kind"]), (NOBODY, DEFERRED if fd else FAILED), got)
        return act

    def relayed_nul(peer):
        """NUL is no line end: it may go out, but never alone as a line's end."""
        number = next(numbers)
        peers["resolver"].got.clear()
        peer.say("job", **job(number, body=b"a\0b\r\n"))
        answer(number)
        outcome(peer, number)

    def twice(peer):
        number = next(numbers)
        for _ in range(2):
            peer.say("job", **job(number))

    def crowd(peer):
        """More than one ahead on a slot."""
        first = next(numbers)
        for _ in range(4):
            peer.say("job", **job(next(numbers), slot=first))

    def finished_twice(peer):
        number = next(numbers)
        peers["resolver"].got.clear()
        peer.say("job", **job(number))
        answer(number)
        outcome(peer, number)
        peer.say("recorded", job=number)

    serves("")()
    common(daemon, "qmgr", 0, serves("qmgr"))
    common(daemon, "resolver", 0, serves("resolver"))
    common(daemon, "limits", 0, serves("limits"))
    run_cases(daemon, "qmgr", 0, [
        ("recorded, though nothing was", says("recorded", job=99999), ENDS),
        ("recorded twice", finished_twice, ENDS),
        ("the end of slots that are none", lambda p: [p.say("slot_close", slot=n) for n in (0, 5, 0xffffffff)], LIVES),
        ("a job twice", twice, ENDS),
        ("jobs beyond the one ahead", crowd, ENDS),
        ("a job for nobody", says("job", **job(1 << 30, recipients=[])), ENDS),
        ("no way to deliver", says("job", **job(1 << 30, how=255)), ENDS),
        ("another length than its body", says("job", **job(1 << 30, body_length=3)), ENDS),
        ("no header", says("job", **job(1 << 30, prelude=b"")), ENDS),
        ("bare line feeds", spoiled(body=b"a\n.\nMAIL FROM:<x>\n"), LIVES),
        ("a bare end of data", spoiled(body=b"a\r\n.\nb\r\n"), LIVES),
        ("a bare CR", spoiled(body=b"a\rb\r\n"), LIVES),
        ("a bare line feed in its header", spoiled(prelude=b"A: b\n\n"), LIVES),
        ("no end of line", spoiled(body=b"abc"), LIVES),
        ("NUL", relayed_nul, LIVES),
        ("commands in a recipient", spoiled((FAILED,), recipients=[dict(number=0, address=b"a@b>\r\nDATA\r\n")]), LIVES),
        ("commands in the sender", spoiled((FAILED,), sender=b"a@b>\r\nDATA\r\n"), LIVES),
        ("nobody whom it could be sent to", unasked(recipients=[dict(number=0, address=b"a b@c")]), LIVES),
        ("a file that can't be taken", lost_file, LIVES),
        ("a file shorter than said", short_file, LIVES),
        ("an empty file", given(lambda: empty(t), from_file), LIVES),
        *((f"{what} as content", given(make, from_file), ENDS) for what, make in files(t)),
    ], serves("qmgr"))
    def asked(**values):
        """A job waits for hosts and gets these."""
        def act(peer):
            number = next(numbers)
            peers["qmgr"].say("job", **job(number))
            query = peer.expect("hosts_ask", target=f"t{number}.example".encode())["query"]
            peer.say("hosts_are", **dict(dict(query=query, lifetime_s=60), **values))
            outcome(peers["qmgr"], number)
        return act

    run_cases(daemon, "resolver", 0, [
        ("an answer never asked for", says("hosts_are", query=12345), ENDS),
        ("no hosts", asked(), LIVES),
        ("insane hosts", asked(verdict=0, hosts=[dict(name=b"\r\n\0", address=a, port=0) for a in (b"", b"x" * 3, b"x" * 15, bytes(15) + b"\1")] * 16), LIVES),
        ("an insane failure", asked(verdict=255, code=65535, dsn=b"\r\n\0", reason=b"\r\n" * 128, lifetime_s=0xffffffff), LIVES),
        ("a failure with hosts", asked(verdict=2, code=1, hosts=[host] * 64), LIVES),
    ], serves("resolver"))
    common(daemon, "checker", 0, serves(""))
    run_cases(daemon, "checker", 0, [
        ("words for a login that is none", says("relay_say", query=12345, mechanism=PLAIN, has_response=1, response=b"x"), ENDS),
        ("the end of a login that is none", says("relay_done", query=12345), ENDS),
    ], serves(""))


# -- qmgr ----------------------------------------------------------------------------------------

class Qmgr:
    """qmgr with honest neighbours: two engines (smtpd and submission), two workers, a resolver, bounce."""

    def __init__(self, t, sts="no", more=""):
        self.daemon = Daemon(t, "qmgr", f"retry {{ first = 1h }}\nroute * {{ to = mx  sts = {sts} }}\n" + more)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.daemon.control)
        os.chmod(self.daemon.control, 0o777)
        listener.listen()
        listener.setblocking(False)
        self.daemon.master.say("handle", listener.fileno(), role=LISTEN_CONTROL, name="control")
        listener.close()
        self.peers = {}
        for kind in "smtpd", "submission", "resolver", "bounce", "smtp-client":
            self.renew(kind)
        self.daemon.begin()
        self.peers["smtpd"].expect("intake", 20, state=OPEN)
        self.ids, self.domains = [], iter(range(1, 1 << 20))

    def renew(self, kind):
        self.peers[kind] = self.daemon.peer(kind)
        if kind == "smtp-client":
            self.peers[kind].say("in_flight_end")

    def id(self):
        """A fresh one, leased to the honest smtpd."""
        if not self.ids:
            self.ids = leased(self.peers["smtpd"], 500)
        return self.ids.pop()

    def submit(self, domain):
        id = self.id()
        self.peers["smtpd"].say("submit", **mail_of(id, domain))
        v.equal(self.peers["smtpd"].expect("settled", id=id)["committed"], 1, "committed")
        return id

    def site(self, domain, **more):
        query = self.peers["resolver"].expect("site_ask", target=domain.encode())["query"]
        self.peers["resolver"].say("site_is", **dict(dict(query=query, site=domain, hop=domain, lifetime_s=600), **more))

    def domain(self):
        return f"d{next(self.domains)}.example"

    def deliver(self, worker, id):
        """The job of that message goes its honest way."""
        job = worker.expect("job", 10, id=id)  # another worker's is waited for, some seconds
        worker.say("outcome", **outcome_of(job))
        worker.expect("recorded", job=job["job"])
        worker.say("slot_done", slot=job["slot"])

    def serves(self):
        domain = self.domain()
        id = self.submit(domain)
        self.site(domain)
        self.deliver(self.peers["smtp-client"], id)
        for peer in self.peers.values():
            peer.got.clear()

    def serves_with(self, kind):
        def serve():
            if kind:
                self.renew(kind)
                if kind == "smtpd":
                    self.ids = []
            self.daemon.lives("peers")
            self.serves()
        return serve


def leased(peer, count):
    peer.say("lease", count=count)
    answer = peer.expect("leased")
    return list(range(answer["first"], answer["first"] + answer["count"]))


def mail_of(id, domain="sink.example", **more):
    return dict(dict(id=id, envelope=f.envelope([f"rcpt@{domain}"]), prelude=PRELUDE, body=BODY, body_length=len(BODY)), **more)


def outcome_of(job, kind=RELAYED, number=0, /, **more):
    return dict(dict(slot=job["slot"], job=job["job"], id=job["id"], relay="sink[127.0.0.1]:25",
                     recipients=[dict(number=number, kind=kind, code=250, dsn="2.0.0", reply="taken")]), **more)


def test_qmgr_engines(t):
    qmgr = Qmgr(t)
    daemon, others = qmgr.daemon, qmgr.serves_with("")
    others()

    def lent(act):
        """ACT with ids of its own."""
        return lambda peer: act(peer, leased(peer, 50))

    def submits(*mails):
        return lambda peer: [peer.say("submit", **m) for m in mails]

    def own(**more):
        return lent(lambda peer, ids: peer.say("submit", **mail_of(ids[0], "hostile.example", **more)))

    def refused(peer, id):
        values = peer.expect("settled", id=id)
        v.check(not values["committed"] and 400 <= values["code"] < 500, values)

    def twice(peer, ids):
        peer.say("submit", **mail_of(ids[0], "twice.example"))
        peer.expect("settled", id=ids[0], committed=1)
        peer.say("submit", **mail_of(ids[0], "twice.example"))

    def twice_at_once(peer, ids):
        peer.write(f.frame("submit", **mail_of(ids[0], "twice.example")) * 2)

    def after_delivery(peer, ids):
        domain = qmgr.domain()
        peer.say("submit", **mail_of(ids[0], domain))
        peer.expect("settled", id=ids[0], committed=1)
        qmgr.site(domain)
        qmgr.deliver(qmgr.peers["smtp-client"], ids[0])
        daemon.lives("delivered")
        peer.say("submit", **mail_of(ids[0], domain))

    def file_unopened(peer, ids):
        peer.say("submit", **mail_of(ids[0], body=b"", body_length=100000, body_in_file=1))
        refused(peer, ids[0])

    def file_shorter(peer, ids):
        peer.say("body_open", id=ids[0])
        fd = peer.expect("body_file", id=ids[0])["fd"]
        os.write(fd, b"x\r\n" * 100)
        os.close(fd)
        peer.say("submit", **mail_of(ids[0], body=b"", body_length=100000, body_in_file=1))
        refused(peer, ids[0])

    def file_and_inline(peer, ids):
        """The same id by both ways while a thread looks at the file."""
        peer.say("body_open", id=ids[0])
        fd = peer.expect("body_file", id=ids[0])["fd"]
        os.write(fd, b"x" * 70000)
        os.close(fd)
        large = f.frame("submit", **mail_of(ids[0], body=b"", body_length=70000, body_in_file=1))
        peer.write(large + f.frame("submit", **mail_of(ids[0])) + large)

    def opened_twice(peer, ids):
        peer.write(f.frame("body_open", id=ids[0]) * 5 + f.frame("body_drop", id=ids[0]) * 5)

    def opened_all(peer, ids):
        """And the files never taken."""
        for _ in range(40):
            if not peer.write(b"".join(f.frame("body_open", id=id) for id in ids), seconds=1):
                return
        for id in ids:
            peer.say("body_drop", id=id)
        daemon.lives("files")

    def endless(peer, ids):
        """Answers that nobody reads."""
        try:
            for _ in range(50):
                peer.write(f.frame("in_doubt", id=ids[0]) * 1000 + f.frame("in_doubt_end"), seconds=0.3)
        except v.Failure:
            pass

    def doubts(peer):
        for id in others_ids:
            peer.say("in_doubt", id=id)
        peer.say("in_doubt_end", count=0)
        for id in others_ids:
            refused(peer, id)

    def sparse(peer, ids):
        peer.say("submit", **mail_of(ids[0], envelope=f.envelope([b"a@" + b"b" * 300, b"@", b"\0\r\n", b"\xff@\xff", "x"], sender=b"\r\n\0")))
        peer.expect("settled", id=ids[0], committed=1)

    others_ids = [qmgr.id() for _ in range(20)]
    waiting = qmgr.submit("waits.example")
    common(daemon, "smtpd", 1, others)
    common(daemon, "submission", 1, others)
    run_cases(daemon, "smtpd", 1, [
        ("an id never leased", submits(mail_of(1 << 60)), ENDS),
        ("id 0", submits(mail_of(0)), ENDS),
        ("the last id of all", submits(mail_of((1 << 64) - 1)), ENDS),
        ("another engine's id", submits(mail_of(others_ids[0])), ENDS),
        ("another engine's id that is in use", submits(mail_of(waiting)), ENDS),
        ("an id twice", lent(twice), ENDS),
        ("an id twice at once", lent(twice_at_once), ENDS),
        ("an id again after its delivery", lent(after_delivery), ENDS),
        ("a report's number", own(report=1), ENDS),
        ("no envelope", own(envelope=b""), ENDS),
        ("an envelope of garbage", own(envelope=bytes(range(256)) * 100), ENDS),
        ("no recipients", own(envelope=f.envelope([])), ENDS),
        ("a recipient without an address", own(envelope=f.envelope([""])), ENDS),
        ("too many recipients", own(envelope=f.envelope(["a@b"] * 10001)), ENDS),
        ("another length than its body", own(body_length=5), ENDS),
        ("a body both ways", own(body_in_file=1), ENDS),
        ("a body a third way", own(body_in_file=2), ENDS),
        ("addresses that are none", lent(sparse), LIVES),
        ("a file never opened", lent(file_unopened), LIVES),
        ("a file shorter than said", lent(file_shorter), LIVES),
        ("an id by both ways", lent(file_and_inline), ENDS),
        ("a file never leased", says("body_open", id=1 << 60), ENDS),
        ("another engine's file", says("body_open", id=others_ids[0]), ENDS),
        ("a message that is not its own dropped", says("body_drop", id=waiting), ENDS),
        ("a file opened again and again", lent(opened_twice), LIVES),
        ("files opened and never taken", lent(opened_all), LIVES),
        ("no ids", says("lease"), ENDS),
        ("more ids than there may be", says("lease", count=65537), ENDS),
        ("doubts about others' ids", doubts, LIVES),
        ("doubts without end", lent(endless), LIVES),
    ], others)
    run_cases(daemon, "submission", 1, [
        ("a report that nobody owes", lent(lambda p, ids: (p.say("submit", **mail_of(ids[0], report=12345)), refused(p, ids[0]))), LIVES),
    ], others)
    v.check(daemon.resident_mb() < 300 * v.PATIENCE ** 2, "memory:", daemon.resident_mb(), "MB")


def test_a_channel_that_broke_costs_no_copy(t):
    """A worker whose channel to qmgr broke, and nothing else: what it delivered meanwhile counts when it says so."""
    qmgr = Qmgr(t)
    worker, domain = qmgr.peers["smtp-client"], qmgr.domain()
    done, going = qmgr.submit(domain), qmgr.submit(domain)
    qmgr.site(domain)
    jobs = {id: worker.expect("job", id=id) for id in (done, going)}
    worker.close()
    qmgr.daemon.lives("the channel ended")
    worker = qmgr.peers["smtp-client"] = qmgr.daemon.peer("smtp-client")
    worker.say("in_flight", slot=jobs[going]["slot"], job=jobs[going]["job"], id=going, recipients=[dict(number=0)])
    worker.say("outcome", **outcome_of(jobs[done], RELAYED))
    worker.say("in_flight_end", count=1)
    worker.expect("recorded", job=jobs[done]["job"])
    worker.say("outcome", **outcome_of(jobs[going], RELAYED))
    worker.expect("recorded", job=jobs[going]["job"])
    qmgr.daemon.lives("both")
    worker.never("job", 0.5, "handed out once more")


def test_qmgr_deliverers(t):
    qmgr = Qmgr(t)
    daemon, others = qmgr.daemon, qmgr.serves_with("")
    honest = qmgr.peers["smtp-client"]
    others()

    def with_job(act, ends=False):
        """ACT of a second worker while the honest one delivers; then its outcome still counts."""
        def run(peer):
            domain = qmgr.domain()
            id = qmgr.submit(domain)
            qmgr.site(domain)
            job = honest.expect("job", id=id)
            act(peer, job)
            v.check(not ends or peer.ended(), "its channel goes on")
            daemon.lives("thief")
            honest.say("outcome", **outcome_of(job, DEFERRED))
            honest.expect("recorded", job=job["job"])
            honest.say("slot_done", slot=job["slot"])
            # Deferred by the honest one, it is still there.
            qmgr.peers["smtpd"].say("in_doubt", id=id)
            qmgr.peers["smtpd"].say("in_doubt_end", count=1)
            v.equal(qmgr.peers["smtpd"].expect("settled", id=id)["committed"], 1, "the message is still queued")
        return run

    def with_own(act):
        """ACT of the hostile worker on a job that it was handed; afterwards the message is delivered by the honest one."""
        def run(peer):
            peer.say("in_flight_end")
            daemon.lives("told")
            qmgr.peers["smtp-client"].close()
            daemon.lives("alone")
            domain = qmgr.domain()
            id = qmgr.submit(domain)
            qmgr.site(domain)
            job = peer.expect("job", id=id)
            act(peer, job)
            daemon.lives("outcome")
            over = peer.ended()
            peer.socket.shutdown(socket.SHUT_RDWR)
            daemon.lives("closed")
            qmgr.renew("smtp-client")
            nonlocal honest
            honest = qmgr.peers["smtp-client"]
            qmgr.deliver(honest, id)
            v.check(over, "its channel goes on")
        return run

    def greedy(peer, job):
        """Wants one job more than a slot may have."""
        for _ in range(7):
            peer.say("want", slot=job["slot"])
        daemon.lives("seven ahead")
        peer.expect("job", id=qmgr.submit(job["domain"].decode()), slot=job["slot"])
        peer.say("want", slot=job["slot"])

    def own_kind(kind, **more):
        return with_own(lambda peer, job: peer.say("outcome", **outcome_of(job, kind, **more)))

    def steal_waiting(peer):
        """A message that no worker was handed: told as in flight, and as relayed."""
        domain = qmgr.domain()
        id = qmgr.submit(domain)
        daemon.lives("submitted")
        peer.say("in_flight", slot=1, job=1 << 40, id=id, recipients=[dict(number=0)])
        peer.say("outcome", slot=1, job=1 << 40, id=id, recipients=[dict(number=0, kind=RELAYED, code=250, dsn="2.0.0")])
        peer.expect("recorded", job=1 << 40)
        qmgr.site(domain)
        qmgr.deliver(honest, id)

    def insane_flight(peer):
        known = qmgr.submit("waits.example")
        peer.say("in_flight", slot=(1 << 32) - 1, job=0, id=known, recipients=[dict(number=n) for n in (5, (1 << 32) - 1)])
        peer.say("in_flight", slot=0, job=7, id=12345, recipients=[])
        peer.say("in_flight", slot=0, job=7, id=known, recipients=[])

    def foreign(peer):
        for n in (0, 1, 2, 500, (1 << 32) - 1):
            peer.say("want", slot=n)
            peer.say("slot_done", slot=n, unused_job=n)
            peer.say("job_back", job=n)
        for n in (0, 1, (1 << 64) - 1):
            peer.say("outcome", slot=n & 0xff, job=n, id=n, recipients=[dict(number=0, kind=FAILED)])

    def too_late(peer):
        peer.say("in_flight_end")
        peer.say("in_flight", slot=1, job=5, id=5, recipients=[dict(number=0)])

    def thief(name, **values):
        return lambda peer, job: peer.say(name, **{k: job[w] if isinstance(w, str) else w for k, w in values.items()})

    common(daemon, "smtp-client", 1, others)
    run_cases(daemon, "smtp-client", 1, [
        ("in flight after their end", too_late, ENDS),
        ("jobs in flight that can't be", insane_flight, LIVES),
        ("a message that was handed to nobody", steal_waiting, LIVES),
        ("slots and jobs of nobody", foreign, LIVES),
        ("another's slot wanted", with_job(thief("want", slot="slot")), LIVES),
        ("another's slot given back", with_job(thief("slot_done", slot="slot", unused_job="job")), LIVES),
        ("another's job given back", with_job(thief("job_back", job="job")), LIVES),
        ("another's outcome", with_job(lambda peer, job: peer.say("outcome", **outcome_of(job)), True), ENDS),
        ("another's job in flight", with_job(thief("in_flight", slot="slot", job="job", id="id")), LIVES),
        ("another's recipients as a job of its own", with_job(lambda peer, job: (
            peer.say("in_flight", slot=9, job=1 << 41, id=job["id"], recipients=[dict(number=0)]),
            peer.say("outcome", **outcome_of(job, job=1 << 41)))), LIVES),
        ("no kind", own_kind(0), ENDS),
        ("held by a worker", own_kind(HELD), ENDS),
        ("a kind that is none", own_kind(255), ENDS),
        ("a scope that is none", own_kind(DEFERRED, scope=99), ENDS),
        ("another message's outcome", own_kind(RELAYED, id=5), ENDS),
        ("more jobs than a slot may have", with_own(greedy), ENDS),
    ], others)

    def unknown_recipient(peer):
        """It names one that the message has not: the real one goes back to be delivered."""
        peer.say("in_flight_end")
        qmgr.peers["smtp-client"].close()
        daemon.lives("alone")
        domain = qmgr.domain()
        id = qmgr.submit(domain)
        qmgr.site(domain)
        job = peer.expect("job", id=id)
        peer.say("outcome", **outcome_of(job, RELAYED, 4000000000))
        peer.expect("recorded", job=job["job"])
        peer.say("want", slot=job["slot"])
        qmgr.deliver(peer, id)
        qmgr.renew("smtp-client")

    run_cases(daemon, "smtp-client", 1, [("an unknown recipient", unknown_recipient, LIVES)], others)


def test_qmgr_hop_of_a_job(t):
    """What is read from disk first goes to the hop that it began for, though the slot has had a job for another since."""
    qmgr = Qmgr(t, more="limits { site-connections = 1 }\n")
    worker = qmgr.peers["smtp-client"]

    def submitted(hop):
        domain = qmgr.domain()
        id = qmgr.submit(domain)
        qmgr.site(domain, site="shared", hop=hop)
        return id
    first = submitted("one")
    job = worker.expect("job", id=first)
    slot = job["slot"]
    worker.say("job_back", job=job["job"])  # its content is on disk alone now
    second = submitted("two")
    worker.write(f.frame("want", slot=slot) * 2)
    jobs = [worker.expect("job") for _ in range(2)]
    v.equal({j["id"]: (j["slot"], j["hop"]) for j in jobs}, {first: (slot, b"one"), second: (slot, b"two")})
    for j in jobs:
        worker.say("outcome", **outcome_of(j))
        worker.expect("recorded", job=j["job"])


def test_qmgr_worker_returns(t):
    """A channel ends between two that live: what its worker has in flight, and what it did meanwhile, goes to nobody
    again; what it never began goes out anew. A worker that is another process has nothing."""
    qmgr = Qmgr(t)
    daemon, resolver = qmgr.daemon, qmgr.peers["resolver"]
    qmgr.serves()
    worker = qmgr.peers["smtp-client"]
    jobs = {}
    for name in "running", "done", "unread":
        domain = qmgr.domain()
        id = qmgr.submit(domain)
        qmgr.site(domain)
        jobs[name] = worker.expect("job", id=id)

    def queued(name):
        qmgr.peers["smtpd"].say("in_doubt", id=jobs[name]["id"])
        qmgr.peers["smtpd"].say("in_doubt_end", count=1)
        return qmgr.peers["smtpd"].expect("settled", id=jobs[name]["id"])["committed"]

    def tell(peer, name):
        peer.say("in_flight", slot=jobs[name]["slot"], job=jobs[name]["job"], id=jobs[name]["id"], recipients=[dict(number=0)])

    worker.say("site_is")  # it may not say that
    v.check(worker.ended(), "its channel goes on")
    daemon.lives("rule")
    worker = qmgr.peers["smtp-client"] = daemon.peer("smtp-client")
    tell(worker, "running")
    worker.say("outcome", **outcome_of(jobs["done"]))
    worker.say("in_flight_end", count=1)
    worker.expect("recorded", job=jobs["done"]["job"])
    again = worker.expect("job", 2, id=jobs["unread"]["id"])
    v.check(again["job"] != jobs["unread"]["job"], "the old job's number")
    v.equal((queued("running"), queued("done"), queued("unread")), (1, 0, 1), "queued")
    jobs["unread"] = again
    # And once more, before what runs is done.
    worker.say("site_is")
    v.check(worker.ended(), "its channel goes on")
    worker = qmgr.peers["smtp-client"] = daemon.peer("smtp-client")
    tell(worker, "unread")
    worker.say("outcome", **outcome_of(jobs["running"]))
    worker.say("in_flight_end", count=1)
    worker.expect("recorded", job=jobs["running"]["job"])
    worker.say("outcome", **outcome_of(jobs["unread"]))
    worker.expect("recorded", job=jobs["unread"]["job"])
    time.sleep(4)
    worker.never("job", 0.1, "jobs for the second time")
    v.equal((queued("running"), queued("unread")), (0, 0), "queued")
    # Its successor never heard of the job, and gets it at once. The machine may stand still for once.
    took = []
    while not took or (took[-1] > 2 and len(took) < 3):
        domain = qmgr.domain()
        id = qmgr.submit(domain)
        qmgr.site(domain)
        worker.expect("job", id=id)
        worker.close()
        daemon.lives("closed")
        began, process = time.monotonic(), len(took) + 1
        worker = qmgr.peers["smtp-client"] = daemon.peer("smtp-client", hello=False)
        worker.say("hello", schema=f.SCHEMA, epoch=process, generation=1, pid=process)
        worker.say("in_flight_end")
        qmgr.deliver(worker, id)
        took.append(time.monotonic() - began)
    v.check(took[-1] < 2 * v.PATIENCE, "each successor waited", took)
    qmgr.serves()


def test_qmgr_worker_returns_late(t):
    """A worker whose channel was gone so long that its jobs were given up, and that lives all the same: while nobody
    else has them, what it has in flight and what it did meanwhile counts."""
    qmgr = Qmgr(t)
    qmgr.serves()
    worker = qmgr.peers["smtp-client"]
    jobs = {}
    for name in "running", "done":
        domain = qmgr.domain()
        id = qmgr.submit(domain)
        qmgr.site(domain)
        jobs[name] = worker.expect("job", id=id)
    worker.close()
    time.sleep(4)
    worker = qmgr.peers["smtp-client"] = qmgr.daemon.peer("smtp-client")
    running, done = jobs["running"], jobs["done"]
    worker.say("in_flight", slot=running["slot"], job=running["job"], id=running["id"], recipients=[dict(number=0)])
    worker.say("outcome", **outcome_of(done))
    worker.say("in_flight_end", count=1)
    worker.expect("recorded", job=done["job"])
    worker.say("outcome", **outcome_of(running))
    worker.expect("recorded", job=running["job"])
    worker.never("job", 1, "handed out once more")
    qmgr.serves()


def test_qmgr_worker_never_through(t):
    """A worker that never says that it has told of all it has: after 5 s it settles nothing that it was not handed."""
    qmgr = Qmgr(t)
    silent = qmgr.daemon.peer("smtp-client", 1)
    silent.expect("hello")
    qmgr.serves()
    time.sleep(5.5 + v.PATIENCE)
    domain = qmgr.domain()
    id = qmgr.submit(domain)
    silent.say("in_flight", slot=1, job=1 << 40, id=id, recipients=[dict(number=0)])
    for job in 1 << 40, 1 << 41:
        silent.say("outcome", slot=1, job=job, id=id, recipients=[dict(number=0, kind=RELAYED, code=250, dsn="2.0.0")])
        silent.expect("recorded", job=job)
    silent.say("in_flight_end")
    silent.close()  # else the job may be its own
    qmgr.site(domain)
    qmgr.deliver(qmgr.peers["smtp-client"], id)
    qmgr.serves()


def test_qmgr_nobody_was_asked(t):
    """An outcome of a job for which no receiver was asked brings no site up that was down."""
    qmgr = Qmgr(t)
    control, worker, domain = qmgr.daemon.peer("control"), qmgr.peers["smtp-client"], qmgr.domain()
    qmgr.serves()

    def try_it(kind, **more):
        control.say("act", request=1, action=FLUSH)
        job = worker.expect("job", id=id)
        worker.say("outcome", **outcome_of(job, kind, **more))
        worker.expect("recorded", job=job["job"])
        worker.say("slot_done", slot=job["slot"])

    def error():
        control.say("status_ask", request=1, sites=10)
        return [site["last_error"] for site in control.expect("status_is")["sites"] if site["site"] == domain.encode()]

    id = qmgr.submit(domain)
    qmgr.site(domain)
    try_it(DEFERRED, scope=SITE)
    v.check(error()[0], "the site is down")
    try_it(DEFERRED, scope=NOBODY)
    v.check(error()[0], "the site came up")
    try_it(DEFERRED)
    v.equal(error(), [b""], "what holds up the site that answered")
    qmgr.serves()


def submit_large(qmgr, domain):
    """A message whose body lies in a file; its id."""
    id, smtpd = qmgr.id(), qmgr.peers["smtpd"]
    smtpd.say("body_open", id=id)
    fd = smtpd.expect("body_file", id=id)["fd"]
    os.write(fd, b"x" * 70000)
    os.close(fd)
    smtpd.say("submit", **mail_of(id, domain, body=b"", body_length=70000, body_in_file=1))
    v.equal(smtpd.expect("settled", id=id)["committed"], 1, "committed")
    return id


def queue_folder(qmgr):
    return os.path.join(os.path.dirname(qmgr.daemon.control), "../queue")


def test_qmgr_releases_without_descriptors(t):
    """A release is carried out when there is a descriptor again to read the message with."""
    qmgr = Qmgr(t)
    qmgr.serves()
    control, domain = qmgr.daemon.peer("control"), qmgr.domain()
    id = qmgr.submit(domain)

    def act(action):
        control.say("act", request=1, action=action, targets=[dict(id=id, recipient=0xffffffff)])
        v.equal(control.expect("acted")["changed"], 1, "changed")

    act(HOLD)
    qmgr.daemon.limit("--nofile=0:")
    act(RELEASE)
    qmgr.daemon.lives("released")
    time.sleep(0.5)
    qmgr.daemon.limit("--nofile=1024:")
    qmgr.site(domain)
    qmgr.deliver(qmgr.peers["smtp-client"], id)
    qmgr.serves()


def test_qmgr_bodies_dropped_at_once(t):
    """A file that is made and dropped in one breath does not stay."""
    qmgr = Qmgr(t)
    peer, folder = qmgr.peers["smtpd"], os.path.join(queue_folder(qmgr), "bodies")
    for _ in range(4):
        ids = leased(peer, 250)
        for id in ids:
            peer.write(f.frame("body_open", id=id) + f.frame("body_drop", id=id))
        for id in ids:
            file = peer.expect("body_file", id=id)["fd"]
            if file is not None:
                os.close(file)
    qmgr.ids = []
    v.wait(lambda: not os.listdir(folder), 3, lambda: f"no file left, of {len(os.listdir(folder))}")
    qmgr.serves()


def test_qmgr_misses_a_file(t):
    """What is not there any more can't be read: the message is held, and not looked for without end."""
    qmgr = Qmgr(t)
    qmgr.serves()
    control = qmgr.daemon.peer("control")

    def held():
        control.say("status_ask", request=1)
        return control.expect("status_is")["held"]

    for count, lost in enumerate(("bodies", "segments"), 1):
        domain = qmgr.domain()
        submit_large(qmgr, domain)
        folder = os.path.join(queue_folder(qmgr), lost)
        names = os.listdir(folder)
        for name in names:
            os.rename(os.path.join(folder, name), os.path.join(t.folder, name))
        qmgr.site(domain)
        v.wait(lambda: held() == count, 3, "a held recipient")
        for name in names:
            os.rename(os.path.join(t.folder, name), os.path.join(folder, name))
    qmgr.serves()


def test_qmgr_owes_a_report_of_what_is_lost(t):
    """The record that says whom to tell is gone: who failed is held for a person, and nothing is looked for without end."""
    qmgr = Qmgr(t)
    qmgr.serves()
    control, worker, domain = qmgr.daemon.peer("control"), qmgr.peers["smtp-client"], qmgr.domain()
    id = qmgr.submit(domain)
    qmgr.site(domain)
    job = worker.expect("job", id=id)
    folder = os.path.join(queue_folder(qmgr), "segments")
    names = os.listdir(folder)
    for name in names:
        os.rename(os.path.join(folder, name), os.path.join(t.folder, name))
    worker.say("outcome", **outcome_of(job, FAILED))
    worker.expect("recorded", job=job["job"])
    worker.say("slot_done", slot=job["slot"])

    def held():
        control.say("status_ask", request=1)
        return control.expect("status_is")["held"]

    v.wait(held, 3, "a held recipient")
    for name in names:
        os.rename(os.path.join(t.folder, name), os.path.join(folder, name))
    control.say("act", request=1, action=DELETE, targets=[dict(id=id, recipient=0xffffffff)])
    v.equal(control.expect("acted")["changed"], 1, "deleted")
    v.equal(held(), 0, "held")
    qmgr.serves()


def test_qmgr_deletes_what_it_cannot_read(t):
    """Deleted while its content is being read, which then fails: it goes, as it would have from any other way back."""
    qmgr = Qmgr(t)
    qmgr.serves()
    control, smtpd = qmgr.daemon.peer("control"), qmgr.peers["smtpd"]
    domain = qmgr.domain()
    id = submit_large(qmgr, domain)
    folder = os.path.join(queue_folder(qmgr), "segments")
    pipes = [os.path.join(folder, name) for name in os.listdir(folder)]
    for path in pipes:
        os.rename(path, os.path.join(t.folder, os.path.basename(path)))
        os.mkfifo(path)
        os.chmod(path, 0o666)
    qmgr.site(domain)

    def flies():
        control.say("status_ask", request=1)
        return control.expect("status_is")["in_flight"]

    v.wait(flies, 3, "a job")
    control.say("act", request=1, action=4, targets=[dict(id=id, recipient=0xffffffff)])
    v.equal(control.expect("acted")["later"], 1, "recipients in flight")

    def let_go():
        """Who reads it is told that this can't be done."""
        for path in pipes:
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                return True
            except OSError:
                pass
        return False

    v.wait(let_go, 3, "a reader")
    for path in pipes:
        os.rename(os.path.join(t.folder, os.path.basename(path)), path)

    def queued():
        smtpd.say("in_doubt", id=id)
        smtpd.say("in_doubt_end", count=1)
        return smtpd.expect("settled", id=id)["committed"]

    v.wait(lambda: not queued(), 3, "its end")
    qmgr.serves()


def test_qmgr_policies(t):
    """MTA-STS policies: a domain is known when resolver and fetcher have answered, in either order; what a fetcher does that is
    away, mute or insane."""
    qmgr = Qmgr(t, sts="yes")
    daemon, worker = qmgr.daemon, qmgr.peers["smtp-client"]
    fetcher = qmgr.peers["fetcher"] = daemon.peer("fetcher")
    policy = dict(mode=2, id=b"7", mx=b"*.example", max_age_s=1000, left_s=900, lifetime_s=600)

    def ask(domain=None):
        domain = domain or qmgr.domain()
        return domain, qmgr.submit(domain)

    def known(domain, **more):
        query = fetcher.expect("sts_ask", domain=domain.encode())["query"]
        fetcher.say("sts_is", **dict(policy, query=query, **more))

    def job(id, seconds=5):
        got = worker.expect("job", seconds, id=id)
        worker.say("outcome", **outcome_of(got))
        worker.say("slot_done", slot=got["slot"])
        return got

    def disk(error=errno.ENOENT):
        """What master says of fetcher's file: nothing is kept there."""
        daemon.master.expect("handle_ask", 8, role=POLICIES)
        daemon.master.say("handle", null, role=POLICIES, index=error, name=b"sts")

    null = os.open("/dev/null", os.O_RDONLY)
    t.defer(os.close, null)
    # In either order; not before both are there.
    domain, id = ask()
    known(domain)
    daemon.lives("policies")
    worker.never("job", 0.3, "sent before its site was known")
    qmgr.site(domain)
    got = job(id)
    v.equal((got["sts_mode"], got["sts_id"], got["sts_mx"], got["sts_max_age_s"]), (2, b"7", b"*.example", 1000))
    v.check(got["hop"].startswith(domain.encode() + b" sts=enforce:"), got["hop"])
    key = got["hop"].partition(b" ")[2]
    domain, id = ask()
    qmgr.site(domain)
    worker.never("job", 0.3, "sent before its policy was known")
    known(domain, id=b"8", max_age_s=5)
    got = job(id)
    v.equal((got["sts_id"], got["hop"].partition(b" ")[2]), (b"8", key), "the same hosts, another key")
    domain, id = ask()
    qmgr.site(domain)
    known(domain, mode=1, mx=b"*.example")
    v.check(job(id)["hop"].partition(b" ")[2] not in (key, b""), "testing shares connections with what is enforced")
    domain, id = ask()
    qmgr.site(domain)
    known(domain, mode=0, mx=b"", id=b"")
    got = job(id)
    v.equal((got["sts_mode"], got["hop"]), (0, domain.encode()))
    # What is local, the route alone says, and no resolver, whoever else is asked.
    local = daemon.peer("local")
    local.say("in_flight_end")
    domain, id = ask()
    qmgr.site(domain, site=":local", hop=":local")
    known(domain)
    local.never("job", 0.5, "resolver sent it to local")
    local.close()
    # Insane, and never asked for.
    for mode, mx in (255, b""), (3, b"x" * 4096):
        domain, id = ask()
        qmgr.site(domain)
        known(domain, mode=mode, mx=mx, lifetime_s=0xffffffff, left_s=0xffffffff, max_age_s=0xffffffff)
        v.equal(job(id)["sts_mode"], 0)
    for query in 0, 1, 1 << 63, (1 << 64) - 1:
        fetcher.say("sts_is", **dict(policy, query=query))
    daemon.lives("answers to nothing")
    v.check(not fetcher.over, "its channel ended")
    # Mute: then it is away, and mail goes on after some seconds; one that comes is asked.
    before = time.monotonic()
    domain, id = ask()
    qmgr.site(domain)
    fetcher.expect("sts_ask", domain=domain.encode())
    fetcher.close()
    disk()
    v.equal(job(id, 10)["sts_mode"], 0)
    v.check(3 < time.monotonic() - before < 5 + 5 * v.WAITS, "waited", time.monotonic() - before)
    domain, id = ask()
    qmgr.site(domain)
    fetcher = qmgr.peers["fetcher"] = daemon.peer("fetcher")
    known(domain)
    v.equal(job(id)["sts_mode"], 2)
    # It looks for one, and takes its time; it says nothing at all, and its file is none.
    (domain, id), (silent, then) = ask(), ask()
    qmgr.site(domain)
    qmgr.site(silent)
    query = fetcher.expect("sts_ask", domain=domain.encode())["query"]
    fetcher.say("sts_heard", query=query)
    for other in 0, query, query + 5, (1 << 64) - 1:
        fetcher.say("sts_heard", query=other)
    disk(0)
    v.equal(job(then)["sts_mode"], 0)
    worker.never("job", 0.3, "sent before its policy was known")
    fetcher.say("sts_is", **dict(policy, query=query))
    v.equal(job(id)["sts_mode"], 2)
    # What is known counts on while it is away.
    domain, id = ask()
    qmgr.site(domain, lifetime_s=5)
    known(domain, lifetime_s=1)
    v.equal(job(id)["sts_mode"], 2)
    fetcher.close()
    time.sleep(5.5)
    _, id = ask(domain)
    qmgr.site(domain)
    disk(errno.EACCES)
    v.equal(job(id, 10)["sts_mode"], 2)
    # veredus route, with a fetcher and without.
    person = daemon.peer("control")
    person.say("route_ask", request=1, address="a@b.example")
    qmgr.peers["resolver"].say("path_is", query=qmgr.peers["resolver"].expect("path_ask", target=b"b.example")["query"])
    told = person.expect("route_is", request=1)
    v.equal((told["sts_asked"], told["sts_mode"], told["sts_why"]), (1, 0, b"the fetcher does not run"))
    fetcher = daemon.peer("fetcher")
    person.say("route_ask", request=2, address="a@c.example")
    qmgr.peers["resolver"].say("path_is", query=qmgr.peers["resolver"].expect("path_ask", target=b"c.example")["query"])
    known("c.example")
    told = person.expect("route_is", request=2)
    v.equal((told["sts_mode"], told["sts_id"], told["sts_mx"]), (2, b"7", b"*.example"))


def test_qmgr_others(t):
    qmgr = Qmgr(t)
    daemon = qmgr.daemon
    qmgr.serves()

    def asked(**values):
        """A domain's site is answered insanely; it must wait or end, the daemon goes on."""
        def act(peer):
            domain = qmgr.domain()
            qmgr.submit(domain)
            query = peer.expect("site_ask", target=domain.encode())["query"]
            peer.say("site_is", **dict(dict(query=query, lifetime_s=1), **values))
            for _ in range(3):  # and again, when nothing is asked
                peer.say("site_is", **dict(dict(query=query, lifetime_s=1), **values))
            daemon.lives("site")
        return act

    def routed(**values):
        """veredus route is answered insanely: it is told that, and the daemon goes on."""
        def act(peer):
            person = daemon.peer("control")
            person.say("route_ask", request=3, address="a@b.example")
            query = peer.expect("path_ask", target=b"b.example")["query"]
            for _ in range(3):
                peer.say("path_is", query=query, **values)
            v.equal(person.expect("route_is", request=3)["domain"], b"b.example")
            person.close()
        return act

    wild = dict(name=b"\r\n" * 127, use=255, alias=b"\xff" * 255, dnssec=255, addresses=[dict(address=b"x")] * 16, tlsa_state=255, tlsa_asked=255,
                tlsa=[dict(usage=255, fault=255, length=0xffffffff, data=b"\0" * 256)] * 32)
    common(daemon, "resolver", 0, qmgr.serves_with("resolver"))
    common(daemon, "bounce", 0, qmgr.serves_with("bounce"))
    run_cases(daemon, "resolver", 0, [
        ("an answer never asked for", lambda p: [p.say("site_is", query=n, site="x", hop="x") for n in (0, 1, (1 << 64) - 1)], LIVES),
        ("no site", asked(), LIVES),
        ("insane names", asked(site=b"\0\r\n" * 85, hop=b"\xff" * 320, lifetime_s=0xffffffff), LIVES),
        ("an insane failure", asked(verdict=255, code=65535, dsn=b"\r\n\0", reason=b"\r\n" * 128, lifetime_s=0), LIVES),
        ("a failure for good without words", asked(verdict=PERMANENT), LIVES),
        ("a path never asked for", lambda p: [p.say("path_is", query=n) for n in (0, 1, (1 << 64) - 1)], LIVES),
        ("insane hosts", routed(verdict=255, code=65535, dsn=b"\r\n\0", site=b"\0" * 255, origin=255, dnssec=255, hosts=[wild] * 20), LIVES),
    ], qmgr.serves_with("resolver"))
    common(daemon, "control", 0, qmgr.serves)
    queued = qmgr.submit("waits.example")

    def killed(peer):
        """Who imported a file comes again and does not know that it was taken; then with the file as it is now."""
        ids = []
        for key in 7, 7, 8, 0, 0:
            other = daemon.peer("control")
            other.say("import", request=1, envelope=f.envelope(["a@waits.example"]), prelude=PRELUDE, body=BODY, body_length=len(BODY), key=key)
            ids.append(other.expect("imported", request=1)["id"])
            other.close()
        v.check(0 not in ids and ids[0] == ids[1] and len(set(ids)) == 4, ids)

    def gone_at_once(request):
        """Who imports is gone when it is committed."""
        def act(peer):
            peer.say("import", request=request, envelope=f.envelope(["a@waits.example"]), prelude=PRELUDE, body=BODY, body_length=len(BODY))
            peer.close()
            peer.over = True
            daemon.lives("import")
            time.sleep(0.05)
        return act

    def file_of(peer):
        """Asks for a file for a body until there is room."""
        for _ in range(100):
            peer.say("import_open", request=1)
            given = peer.expect("import_file", request=1)
            if given["fd"] is not None:
                os.close(given["fd"])
                return
            time.sleep(0.05)
        raise v.Failure("no file for a body")

    def opened(act, after=lambda: None):
        def whole(peer):
            file_of(peer)
            act(peer)
            after()
        return whole

    def no_bodies():
        v.wait(lambda: not os.listdir(os.path.join(os.path.dirname(daemon.control), "..", "queue", "bodies")), 5, "no body left")

    def wrong_state(**values):
        return says("import", request=2, envelope=f.envelope(["a@waits.example"]), prelude=PRELUDE,
                    states=[dict(dict(number=0, kind=5), **values)])

    def two_imports(peer):
        both = b"".join(f.frame("import", request=n, envelope=f.envelope(["a@waits.example"]), prelude=PRELUDE) for n in (1, 2))
        peer.write(both)

    def unread(peer):
        try:
            for _ in range(20):
                peer.write(f.frame("status_ask", request=1, sites=65535) * 1000, seconds=0.2)
        except v.Failure:
            pass

    def all_actions(peer):
        for action in range(1, 7):
            peer.say("act", request=action, action=action, targets=[dict(id=n, recipient=n) for n in range(500)] +
                     [dict(id=queued, recipient=77)] * 500)
            v.equal(peer.expect("acted", request=action)["changed"], 0, "changed")

    run_cases(daemon, "control", 0, [
        ("insane addresses", lambda p: [p.say("route_ask", address=a) for a in (b"", b"@", b"a@", b"\0", b"\r\n", b"\xff" * 512, b"." * 255, b"x" * 512, b'"' * 99)], LIVES),
        ("no action", says("act", action=0), ENDS),
        ("an unknown action", says("act", action=7), ENDS),
        ("actions on what is not there", all_actions, LIVES),
        ("a malformed import", says("import", request=1), ENDS),
        ("an import without a number", says("import", envelope=f.envelope(["a@waits.example"]), prelude=PRELUDE), ENDS),
        ("two imports at once", two_imports, ENDS),
        ("an import again", killed, LIVES),
        ("a state of nobody", wrong_state(number=1), ENDS),
        ("a state twice", says("import", request=2, envelope=f.envelope(["a@waits.example"]), prelude=PRELUDE,
                               states=[dict(number=0, kind=5)] * 2), ENDS),
        ("a settled state", wrong_state(kind=1), ENDS),
        ("a state that is none", wrong_state(kind=99), ENDS),
        ("a state with qmgr's own flags", wrong_state(flags=0x10), ENDS),
        ("a state that is owed wrongly", wrong_state(kind=4, flags=8), ENDS),
        ("a state of the far future", wrong_state(kind=3, next_wall=1 << 63), ENDS),
        ("a body in a file that it has not", says("import", request=2, envelope=f.envelope(["a@waits.example"]), prelude=PRELUDE,
                                                  body_in_file=1, body_length=5), ENDS),
        ("a file without a number", says("import_open"), ENDS),
        ("a second file", opened(says("import_open", request=2), no_bodies), ENDS),
        ("a file and a body inline", opened(says("import", request=2, envelope=f.envelope(["a@waits.example"]), prelude=PRELUDE), no_bodies), ENDS),
        ("a file and gone", opened(lambda peer: (peer.close(), setattr(peer, "over", True)), no_bodies), ENDS),
        ("a file shorter than said", opened(lambda peer: (
            peer.say("import", request=2, envelope=f.envelope(["a@waits.example"]), prelude=PRELUDE, body_in_file=1, body_length=1 << 40),
            v.equal(peer.expect("imported", request=2)["id"], 0))), LIVES),
        ("a file given up", opened(says("import_drop", request=2), no_bodies), LIVES),
        ("a file given up that it has not", says("import_drop", request=2), ENDS),
        ("what waits, of domains that are none", lambda peer: (
            peer.say("waits_ask", request=3, domains=[dict(domain=b"\0\r\n" * 85)] * 1000),
            v.equal(peer.expect("waits_are", request=3)["waits"], [])), LIVES),
        ("an import and gone", gone_at_once(1), ENDS),
        ("an import without a number and gone", gone_at_once(0), ENDS),
        ("answers never read", unread, LIVES),
    ], qmgr.serves)
    v.check(daemon.resident_mb() < 300 * v.PATIENCE ** 2, "memory:", daemon.resident_mb(), "MB")
    run_cases(daemon, "bounce", 0, [
        ("failures of reports that nobody owes", lambda p: [p.say("report_failed", report=n, reason=b"\r\n\0" * 85) for n in range(100)], LIVES),
    ], qmgr.serves_with("bounce"))


v.main(globals())
