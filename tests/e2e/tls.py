# SPDX-License-Identifier: ISC
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import base64
import re
import resource
import signal
import smtplib
import socket
import ssl
import subprocess
import threading
import time

import pki
import veredus as v

RSA, EC, ED = "rsa.example", "relay.example", "ed.example"


def context(minimum=None, maximum=None):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname = False
    c.verify_mode = ssl.CERT_NONE
    c.minimum_version = minimum or ssl.TLSVersion.TLSv1_2
    if maximum:
        c.maximum_version = maximum
    return c


def world(t, config="", pairs=None, more="", **options):
    """Veredus with the three kinds of keys, and ports for submission."""
    pairs = pairs or [pki.Pair(t.folder, RSA, "rsa"), pki.Pair(t.folder, EC, "ec"), pki.Pair(t.folder, ED, "ed25519")]
    port, submission, submissions = v.free_port(), v.free_port(), v.free_port()
    veredus, sink, client = v.world(t, config=f"listen smtp {{ address = 127.0.0.1:{port} }}\n"
                                    f"listen submission {{ address = 127.0.0.1:{submission} }}\n"
                                    f"listen submissions {{ address = 127.0.0.1:{submissions} }}\n"
                                    + "".join(pair.block(more) for pair in pairs) + config, start=False)
    veredus.port, veredus.submission, veredus.submissions = port, submission, submissions
    veredus.pairs, veredus.sink, veredus.client = pairs, sink, client
    if options.get("start", True):
        veredus.start()
    return veredus


class Tls(v.Smtp):
    """A raw client that has said STARTTLS, or began with TLS."""

    def __init__(self, port, name=EC, c=None, implicit=False, hello="EHLO client.example", session=None):
        c = c or context()
        if implicit:
            self.socket = socket.create_connection(("127.0.0.1", port), 20 * v.PATIENCE)
        else:
            super().__init__(port)
            self.file.close()
            self.socket.sendall(b"STARTTLS\r\n")
            line = b""
            while not line.endswith(b"\n"):
                line += self.socket.recv(1)
            v.check(line.startswith(b"220 2.0.0"), "STARTTLS", line)
        self.socket = c.wrap_socket(self.socket, server_hostname=name, session=session)
        self.file = self.socket.makefile("rb")
        if implicit:
            self.greeting = self.reply()
        if hello:
            self.hello = self.say(hello)
            v.equal(self.hello[:3], "250", hello)


def test_versions_and_keys(t):
    """Every kind of key in both versions, by STARTTLS on 25 and 587 and on 465, each with its own certificate."""
    veredus = world(t)
    for port, implicit in (veredus.port, False), (veredus.submission, False), (veredus.submissions, True):
        for pair in veredus.pairs:
            for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
                client = Tls(port, pair.host, context(version, version), implicit)
                v.check(pair.host.encode() in client.socket.getpeercert(True), "certificate of", pair.host)
                v.check("STARTTLS" not in client.hello, "offered within TLS", client.hello)
                v.equal(client.say("STARTTLS")[:3], "503", "STARTTLS within TLS")
                if port != veredus.port:
                    v.equal(client.say("MAIL FROM:<a@client.example>")[:9], "530 5.7.0", "MAIL without a login")
                client.close()
    client = Tls(veredus.port, None)
    v.check(EC.encode() in client.socket.getpeercert(True), "without SNI the host's own")
    client.close()
    client = Tls(veredus.port, "stranger.example")
    v.check(EC.encode() in client.socket.getpeercert(True), "with a stranger's SNI the host's own")
    client.close()
    for version in "-tls1", "-tls1_1":
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{veredus.submissions}", version, "-cipher", "ALL:@SECLEVEL=0"],
                              input=b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        v.check(b"Cipher is (NONE)" in done.stdout, version, done.stdout[-500:])
    v.equal(veredus.stop(), 0, "exit status")


def test_mail_flows(t):
    """swaks, smtplib and msmtp send over STARTTLS; Received and the log say with what."""
    veredus = world(t)
    done = subprocess.run(["swaks", "--server", f"127.0.0.1:{veredus.port}", "--tls", "--from", "a@client.example", "--to", "b@sink.example",
                           "--body", "x", "--hide-all"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    v.equal(done.returncode, 0, done.stdout.decode())
    with smtplib.SMTP("127.0.0.1", veredus.port, timeout=20) as smtp:
        smtp.starttls(context=context(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2))
        smtp.sendmail("a@client.example", ["b@sink.example"], v.mail("smtplib", b"large\r\n" * 40000))
    mails = [content.decode() for _, content in veredus.sink.wait_mails(2)]
    by = {"smtplib" if "Subject: smtplib" in m else "swaks": m for m in mails}
    v.check(re.search(r"with ESMTPS\r\n\t\(using TLSv1\.3 with cipher TLS_AES_\w+\)\s+id ", by["swaks"]), by["swaks"])
    v.check(re.search(r"with ESMTPS\r\n\t\(using TLSv1\.2 with cipher TLS_ECDHE_\w+\)\s+id ", by["smtplib"]), by["smtplib"][:800])
    veredus.wait_log(r"TLS from unknown\[127\.0\.0\.1\]: TLSv1\.2 with cipher TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, name=none")
    veredus.wait_empty()
    v.equal(veredus.stop(), 0, "exit status")


def test_injection(t):
    """What is sent in clear behind STARTTLS is never run (CVE-2011-0411), and what was said before is forgotten."""
    veredus = world(t)
    client = v.Smtp(veredus.port)
    v.equal(client.say("STARTTLS now")[:9], "501 5.5.4", "an argument")
    client.expect(250, "MAIL FROM:<a@client.example>")
    v.equal(client.say("STARTTLS")[:3], "503", "within a transaction")
    client.expect(250, "RCPT TO:<b@sink.example>")
    v.equal(client.say("STARTTLS")[:3], "503", "behind RCPT")
    client.expect(250, "RSET")
    client.file.close()
    client.socket.sendall(b"STARTTLS\r\nEHLO injected.example\r\nMAIL FROM:<injected@client.example>\r\nRCPT TO:<b@sink.example>\r\n")
    v.equal(client.socket.recv(4096)[:9], b"220 2.0.0", "STARTTLS")
    secured = context().wrap_socket(client.socket, server_hostname=EC)
    secured.sendall(b"RCPT TO:<b@sink.example>\r\n")
    v.equal(secured.recv(4096)[:3], b"503", "nothing of it was run")
    secured.sendall(b"MAIL FROM:<a@client.example>\r\n")
    v.equal(secured.recv(4096)[:3], b"503", "the EHLO in clear is forgotten")
    secured.sendall(b"EHLO client.example\r\n")
    v.equal(secured.recv(4096)[:3], b"250", "EHLO")
    secured.close()
    # In two pieces: what comes behind the 220 is no handshake.
    client = v.Smtp(veredus.port)
    v.equal(client.say("STARTTLS")[:3], "220", "STARTTLS")
    client.socket.sendall(b"MAIL FROM:<injected@client.example>\r\n")
    client.socket.settimeout(10)
    v.check(b"250" not in client.socket.recv(4096), "an answer in clear")
    client = v.Smtp(veredus.port, hello=None)
    v.equal(client.say("STARTTLS")[:3], "503", "before EHLO")
    v.check("injected" not in veredus.log_text(), "something of it was run")
    v.equal(veredus.stop(), 0, "exit status")


def test_keys_are_the_keepers(t):
    """Private keys, searched for in the memory of every process: master, workers, also after reloads and handshakes."""
    if not v.IS_ROOT:
        raise v.Skip("needs root")
    veredus = world(t)

    def handshakes():
        for pair in veredus.pairs:
            for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
                Tls(veredus.port, pair.host, context(version, version)).close()
                Tls(veredus.submissions, pair.host, context(version, version), implicit=True).close()

    def look():
        everyone = veredus.daemons()
        everyone["master"] = [veredus.process.pid]
        v.check(len(everyone) >= 10, everyone)
        for pair in veredus.pairs:
            secrets = pair.secrets()
            v.check(len(secrets) >= 4, secrets.keys())
            for name, pids in everyone.items():
                for pid in pids:
                    found = pki.found_in(pid, secrets)
                    if name != "keeper":
                        v.equal(found, set(), f"of {pair.host} in {name}")
                        continue
                    # The numbers, in OpenSSL's order of octets.
                    v.check(any("reversed" in what or what == "priv" for what in found), pair.host, "not in the keeper:", found)

    handshakes()
    look()
    veredus.process.signal(signal.SIGHUP)
    veredus.wait_log("configuration generation 2 is in force")
    handshakes()
    look()
    v.equal(veredus.stop(), 0, "exit status")


def test_login(t):
    """On 587 and 465 a password opens the door; Received says ESMTPSA."""
    users = t.folder + "/veredus/users"
    veredus = world(t, config=f"auth {{ users = {users} }}\nrelay-from = {{ 192.0.2.1 }}\n")
    veredus.command("user", "add", "alice@client.example", input=b"secret secret\n")
    for port, implicit in (veredus.submission, False), (veredus.submissions, True):
        client = v.wait(lambda: offers_auth(port, implicit), 15, "AUTH offered within TLS")
        v.check("SCRAM-SHA-256-PLUS" in client.hello, client.hello)
        client.expect(235, "AUTH PLAIN " + base64.b64encode(b"\0alice@client.example\0secret secret").decode())
        # A login that is an address may use that and its plus forms, and no other.
        client.send("alice@client.example", "b@sink.example",
                    v.mail(f"login {implicit}").replace(b"<sender@", b"<alice+list@"))
        client.close()
    v.check("AUTH" not in v.Smtp(veredus.submission).say("EHLO client.example"), "AUTH offered in clear")
    for _, content in veredus.sink.wait_mails(2):
        v.check(content.startswith(b"Received: from authenticated-user\r\n\tby "), content[:500])
        v.check(b"with ESMTPSA\r\n\t(using TLSv1.3 with cipher " in content, content[:500])
        v.check(b"127.0.0.1" not in content, "the client's address is told", content[:500])
    v.equal(veredus.stop(), 0, "exit status")


def offers_auth(port, implicit):
    client = Tls(port, implicit=implicit)
    return client if "AUTH " in client.hello else None


def test_check_says_what_is_wrong(t):
    """Unreadable, no PEM, a password, another's key, out of its time, another's name."""
    good, other, named = pki.Pair(t.folder, EC), pki.Pair(t.folder, "other.example"), pki.Pair(t.folder, "named", host="else.example")
    old, young = pki.Pair(t.folder, "old", host=EC), pki.Pair(t.folder, "young", host=EC)
    for pair, begin, end in (old, "20200101000000Z", "20210101000000Z"), (young, "20990101000000Z", "21000101000000Z"):
        dated(t, pair, begin, end)
    locked = t.folder + "/locked.key"
    pki.openssl("pkey", "-in", good.key, "-out", locked, "-aes256", "-passout", "pass:x")
    os.chmod(locked, 0o644)
    weak = t.folder + "/weak"
    pki.openssl("req", "-x509", "-newkey", "rsa:1024", "-nodes", "-keyout", weak + ".key", "-out", weak + ".pem", "-subj", "/CN=x", "-addext",
                f"subjectAltName=DNS:{EC}")
    os.chmod(weak + ".key", 0o644)
    nothing = v.write(t.folder + "/nothing", "no certificate\n")
    veredus = t.veredus("")
    for certificate, key, more, expected, fatal in [
            (good.certificate, good.key, "", None, True),
            (t.folder + "/absent", good.key, "", "certificate: .*absent: No such file", True),
            (good.certificate, t.folder + "/absent", "", "key: .*absent: No such file", True),
            (nothing, good.key, "", "certificate: .*nothing holds no certificate in PEM form", True),
            (good.certificate, nothing, "", "key: .*nothing holds no private key in PEM form", True),
            (good.certificate, locked, "", "key: .*locked.key has a password", True),
            (good.certificate, other.key, "", "key: .*does not fit the certificate", True),
            (named.certificate, named.key, "", "is not for the name relay.example", True),
            (weak + ".pem", weak + ".key", "", "too weak to be used", True),
            (good.certificate, good.key, f"client-ca = {nothing}", "client-ca: .*nothing holds no certificate", True),
            (old.certificate, old.key, "", "has expired", False),
            (young.certificate, young.key, "", "is not valid yet", False)]:
        veredus.configure(f"tls {EC} {{ certificate = {certificate} key = {key} {more} }}\n")
        text = veredus.command("check", status=1 if expected else 0)
        v.check(not expected or re.search(r"veredus\.conf:\d+:\d+: error: .*" + expected, text), expected, text)
        if fatal and expected:
            done = subprocess.run([os.path.join(veredus.build, "veredus"), "run", "-c", veredus.conf], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=60, **veredus.demote)
            v.check(done.returncode and re.search(expected, done.stdout.decode()), "start", done.stdout)
    # Out of its time it serves all the same: a server comes up when nobody looks.
    veredus.configure(old.block())
    veredus.start()
    Tls(veredus.port).close()
    v.equal(veredus.stop(), 0, "exit status")


def dated(t, pair, begin, end):
    """The pair's certificate anew, valid from BEGIN to END."""
    folder = t.folder + "/ca"
    os.makedirs(folder, exist_ok=True)
    v.write(folder + "/index", "")
    v.write(folder + "/conf", f"""[ca]
default_ca = x
[x]
database = {folder}/index
new_certs_dir = {folder}
default_md = sha256
rand_serial = yes
policy = p
x509_extensions = e
[p]
commonName = supplied
[e]
subjectAltName = DNS:{pair.host}
""")
    request = folder + "/request"
    pki.openssl("req", "-new", "-key", pair.key, "-out", request, "-subj", f"/CN={pair.host}")
    pki.openssl("ca", "-batch", "-config", folder + "/conf", "-selfsign", "-keyfile", pair.key, "-in", request, "-out", pair.certificate,
                "-startdate", begin, "-enddate", end, "-notext")


def test_resumption(t):
    """A ticket of one worker is good at another, and at submission; not with a stranger's name."""
    veredus = world(t, config="workers { smtpd = 2 }\n")
    for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
        c = context(version, version)
        first = Tls(veredus.port, c=c)
        v.check(not first.socket.session_reused, "resumed at once")
        session = first.socket.session
        first.close()
        pids = set()
        for _ in range(12):
            again = Tls(veredus.port, c=c, session=session)
            v.check(again.socket.session_reused, version, "not resumed")
            # TLS 1.3: the next connection shows another one (RFC 8446 C.4).
            v.check(version == ssl.TLSVersion.TLSv1_2 or again.socket.session.id != session.id, "no new ticket")
            session = again.socket.session
            again.close()
        again = Tls(veredus.submissions, c=c, session=session, implicit=True)
        v.check(again.socket.session_reused, version, "not resumed at submission")
        again.close()
    v.equal(veredus.stop(), 0, "exit status")


def test_client_certificates(t):
    """Asked for where client-ca stands; verified or not, the log says whose."""
    authority = pki.Pair(t.folder, "authority")
    good, stranger = pki.Pair(t.folder, "alice", issuer=authority, client=True), pki.Pair(t.folder, "mallory", client=True)
    veredus = world(t, more=f"client-ca = {authority.certificate}")
    for pair in good, stranger:
        c = context()
        c.load_cert_chain(pair.certificate, pair.key)
        client = Tls(veredus.port, c=c)
        client.expect(250, "NOOP")
        client.close()
        veredus.wait_log(f"certificate=CN={pair.host}")
    Tls(veredus.port).close()
    # A giant chain ends its own handshake.
    giant = t.folder + "/giant.pem"
    v.write(giant, v.read(good.certificate) + v.read(authority.certificate) * 400)
    c = context()
    c.load_cert_chain(giant, good.key)
    try:
        Tls(veredus.port, c=c)
        raise v.Failure("a giant chain was taken")
    except (OSError, v.Failure) as why:
        v.check("was taken" not in str(why), why)
    Tls(veredus.port).close()
    v.equal(veredus.stop(), 0, "exit status")


def test_protocols_and_renegotiation(t):
    """A browser's ALPN is refused, smtp's is not; renegotiation is refused."""
    veredus = world(t)
    for names, fine in (["smtp"], True), (["h2", "http/1.1"], False), (["imap"], False):
        c = context()
        c.set_alpn_protocols(names)
        try:
            Tls(veredus.submissions, c=c, implicit=True).close()
            v.check(fine, names, "taken")
        except ssl.SSLError as why:
            v.check(not fine and "ALERT" in str(why).upper(), names, why)
    # openssl s_client asks for a new handshake at a line that begins with R.
    shell = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{veredus.submissions}", "-tls1_2"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    t.defer(shell.kill)
    os.set_blocking(shell.stdout.fileno(), False)
    said = bytearray()

    def says(words):
        said.extend(shell.stdout.read() or b"")
        return words in said
    v.wait(lambda: says(b"220 "), 10, lambda: f"the greeting: {said[-600:]}")
    shell.stdin.write(b"R\n")
    shell.stdin.flush()
    v.wait(lambda: says(b"no renegotiation"), 10, lambda: f"its refusal: {said[-600:]}")
    shell.kill()
    shell.wait()
    Tls(veredus.port).close()
    v.equal(veredus.stop(), 0, "exit status")


def test_abuse(t):
    """Thousands of half-finished handshakes, and records of one octet, and a good client is served beside them."""
    veredus = world(t, config="limits { per-client = 100000 }\n")
    many = min(5000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
    hello = client_hello()
    half = []
    t.defer(lambda: [s.close() for s in half])
    started = time.monotonic()
    for i in range(many):
        s = socket.create_connection(("127.0.0.1", veredus.submissions), 20)
        # A third says nothing, a third sends half a hello, a third a whole one and leaves it at that.
        s.sendall([b"", hello[:len(hello) // 2], hello][i % 3])
        half.append(s)
    slowest = 0
    for _ in range(20):
        began = time.monotonic()
        Tls(veredus.submissions, implicit=True).close()
        slowest = max(slowest, time.monotonic() - began)
    print(f"  beside {many} half-finished handshakes ({time.monotonic() - started:.1f} s) a good client took {slowest * 1000:.0f} ms at most")
    v.check(slowest < 10 * v.PATIENCE, "a good client waited", slowest)
    for s in half:
        s.close()
    half.clear()
    # Records of one octet: a mail of 5,000 of them.
    slow = Tls(veredus.port)
    done = threading.Event()
    stop = threading.Event()

    def drip():
        slow.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        slow.expect(250, "MAIL FROM:<a@client.example>")
        slow.expect(250, "RCPT TO:<b@sink.example>")
        slow.expect(354, "DATA")
        for octet in v.mail("drip", b"x" * 60 + b"\r\n") + b"yyyyyyyyyy\r\n" * 400 + b".\r\n":
            slow.socket.send(bytes([octet]))
        v.check(slow.reply().startswith("250"), "drip")
        done.set()

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    while not done.is_set() and thread.is_alive():
        began = time.monotonic()
        Tls(veredus.port).close()
        v.check(time.monotonic() - began < 10 * v.PATIENCE, "a good client waited beside tiny records")
    v.check(done.is_set(), "the slow mail was not taken")
    veredus.sink.wait_mails(1)
    # Not TLS at all, and nonsense behind a good beginning.
    for data in b"EHLO client.example\r\n", b"GET / HTTP/1.0\r\n\r\n", hello + b"\x17\x03\x03\xff\xff" + b"x" * 70000, os.urandom(5000):
        with socket.create_connection(("127.0.0.1", veredus.submissions), 20) as s:
            try:
                s.sendall(data)
                s.settimeout(10)
                while s.recv(4096):
                    pass
            except OSError:
                pass
    Tls(veredus.submissions, implicit=True).close()
    v.equal(veredus.stop(), 0, "exit status")


test_abuse.seconds = 240


def client_hello():
    """What a client sends first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context().wrap_bio(incoming, outgoing, server_hostname=EC).do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


def test_deadline(t):
    """A handshake that stands still is given up."""
    veredus = world(t, config="timeout { handshake = 2s }\n")
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", veredus.submissions), 20) as s:
        v.equal(s.recv(100), b"", "closed")
        v.check(1 < time.monotonic() - began < 8 * v.PATIENCE, "after", time.monotonic() - began)
    client = v.Smtp(veredus.port)
    client.expect(220, "STARTTLS")
    v.equal(client.socket.recv(100), b"", "closed behind STARTTLS")
    veredus.wait_log(r"TLS with unknown\[127.0.0.1\] failed: it took too long")
    v.equal(veredus.stop(), 0, "exit status")


def in_memory(c, session=None, name=EC):
    """A client without a socket: (its object, what it receives, what it sends)."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    return c.wrap_bio(incoming, outgoing, server_hostname=name, session=session), incoming, outgoing


def flights(port, c, session, lines):
    """A whole session on submissions with its lines; every octet that the client sent, a list a flight."""
    sent = []
    client, incoming, outgoing = in_memory(c, session)
    with socket.create_connection(("127.0.0.1", port), 20) as s:
        def step(action):
            while True:
                try:
                    done = action()
                except ssl.SSLWantReadError:
                    done = None
                data = outgoing.read()
                if data:
                    sent.append(data)
                    s.sendall(data)
                if done is not None:
                    return done
                got = s.recv(65536)
                v.check(got, "closed in the middle")
                incoming.write(got)

        step(lambda: client.do_handshake() or True)
        for line in lines:
            v.check(step(lambda: client.read(4096))[:1] in b"23", line)
            step(lambda: client.write(line))
        step(lambda: client.read(4096))
    return sent


def test_tickets_replayed(t):
    """What a client sent is sent again by somebody else: it begins no session and brings no mail. A ticket is good as often as it
    is shown, a spoilt one is no ticket, and beside both a good client is served."""
    veredus = world(t, config="relay-to = { sink.example }\n")
    c = context(ssl.TLSVersion.TLSv1_3)
    first = Tls(veredus.port, c=c)
    first.expect(250, "NOOP")
    session = first.socket.session
    first.close()
    # Without early data (RFC 8446 8) the handshake ends in the client's Finished, which fits one server's random only.
    sent = flights(veredus.submissions, c, session, [b"EHLO client.example\r\n", b"NOOP\r\n", b"QUIT\r\n"])
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", veredus.submissions), 20) as s:
            s.settimeout(10)
            heard = b""
            try:
                s.sendall(b"".join(sent))
                while data := s.recv(65536):
                    heard += data
            except ConnectionError:
                pass
            v.check(heard[:1] in (b"\x16", b"\x15", b""), heard[:40])
    v.wait(lambda: len(re.findall(r"TLS with unknown\[127\.0\.0\.1\] failed: ", veredus.log_text())) == 50, 10, "that none was begun")
    for _ in range(50):
        client = Tls(veredus.submissions, c=c, session=session, implicit=True)
        v.check(client.socket.session_reused, "the ticket again")
        client.close()
    client, incoming, outgoing = in_memory(c, session)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    hello = bytearray(outgoing.read())
    for at in range(len(hello) - 300, len(hello), 7):  # the ticket and its binder stand at the end
        spoilt = bytearray(hello)
        spoilt[at] ^= 0x55
        with socket.create_connection(("127.0.0.1", veredus.submissions), 20) as s:
            s.sendall(spoilt)
            s.settimeout(10)
            v.check(s.recv(100)[:1] in (b"\x16", b"\x15", b""), "a spoilt hello at", at)
    Tls(veredus.submissions, implicit=True).close()
    v.equal(veredus.stop(), 0, "exit status")


def test_floods(t):
    """All at once: hellos of an octet at a time, hellos in records of an octet, giant certificates, new handshakes asked for without end,
    wrong passwords. A good client logs in and sends beside them, and nothing is left of them."""
    users = t.folder + "/veredus/users"
    veredus = world(t, more=f"client-ca = {pki.Pair(t.folder, 'authority').certificate}",
                    config=f"auth {{ users = {users} }}\nrelay-from = {{ 192.0.2.1 }}\nlimits {{ per-client = 100000 }}\ntimeout {{ handshake = 3s }}\n")
    veredus.command("user", "add", "alice@client.example", input=b"secret\n")
    v.wait(lambda: offers_auth(veredus.submission, False), 15, "AUTH offered within TLS")
    giant = pki.Pair(t.folder, "giant", client=True, extensions=["nsComment=" + "x" * 60000])
    end = time.monotonic() + 3 * v.PATIENCE
    counts, trouble = {}, []

    def again(attack, source):
        """ATTACK until the end; that it is thrown out is its lot."""
        while counts.get(attack.__name__, 0) == 0 or time.monotonic() < end:
            try:
                attack(source)
                counts[attack.__name__] = counts.get(attack.__name__, 0) + 1
            except (OSError, v.Failure):
                counts[attack.__name__] = counts.get(attack.__name__, 0) + 1
            except Exception as why:
                trouble.append(repr(why))
                return

    def raw(source):
        return socket.create_connection(("127.0.0.1", veredus.submissions), 20, source_address=(source, 0))

    def drips(source):
        with raw(source) as s:
            for octet in client_hello():
                s.sendall(bytes([octet]))
                time.sleep(0.05)

    def crumbs(source):
        """RFC 8446 5.1: a handshake message may be cut into any number of records."""
        hello = client_hello()[5:]
        with raw(source) as s:
            s.settimeout(10)
            s.sendall(b"".join(b"\x16\x03\x01\0\1" + bytes([octet]) for octet in hello))
            s.recv(4096)

    def gives_giant(source):
        c = context()
        c.load_cert_chain(giant.certificate, giant.key)
        with c.wrap_socket(raw(source), server_hostname=EC) as s:
            s.recv(4096)

    def renews(source):
        # A second hello where renegotiation would be: the handshake's own type within a session of TLS 1.2.
        c = context(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
        with raw(source) as s:
            client, incoming, outgoing = in_memory(c)
            s.settimeout(10)
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    s.sendall(outgoing.read())
                    incoming.write(s.recv(65536))
            s.sendall(outgoing.read() + client_hello() * 20)
            while s.recv(65536):
                pass

    def guesses(source):
        client = Tls(veredus.submissions, implicit=True)
        client.socket.settimeout(2)  # the answer is late; another one comes meanwhile
        for i in range(3):
            client.say("AUTH PLAIN " + base64.b64encode(b"\0eve%d\0x" % i).decode())
        client.socket.close()

    threads = [threading.Thread(target=again, args=(attack, f"127.0.{n}.{i + 1}"), daemon=True)
               for n, attack in enumerate((drips, crumbs, gives_giant, renews, guesses), 1) for i in range(2)]
    for thread in threads:
        thread.start()
    slowest = number = 0
    while time.monotonic() < end:
        began = time.monotonic()
        client = Tls(veredus.submissions, implicit=True)
        client.expect(235, "AUTH PLAIN " + base64.b64encode(b"\0alice@client.example\0secret").decode())
        client.send("alice@client.example", "b@sink.example", v.mail(f"good {number}").replace(b"<sender@", b"<alice@"))
        client.close()
        number += 1
        slowest = max(slowest, time.monotonic() - began)
    for thread in threads:
        thread.join(30)
    print(f"  {number} good mails, the slowest in {slowest * 1000:.0f} ms, beside", counts)
    v.check(not trouble, trouble[:3])
    v.check(len(counts) == 5 and all(counts.values()), counts)
    v.check(slowest < 10 * v.PATIENCE, "a good client waited", slowest)
    veredus.sink.wait_mails(number)
    veredus.wait_log(r"TLS with unknown\[127\.0\.1\.\d\] failed: it took too long")
    v.check(not re.search("SIGSYS|SIGSEGV|SIGABRT|was killed", veredus.log_text()), veredus.log_text()[-1500:])
    v.equal(veredus.stop(), 0, "exit status")


def test_several_kinds_for_one_name(t):
    """RSA, ECDSA and Ed25519 certificates for one name: a client gets the one that it can verify. check refuses two of a kind."""
    pairs = [pki.Pair(t.folder, kind, kind, host=EC) for kind in ("rsa", "ec", "ed25519")]
    veredus = world(t, pairs=pairs)
    served = {ssl.PEM_cert_to_DER_cert(v.read(pair.certificate).decode()): os.path.basename(pair.certificate)[:-4] for pair in pairs}

    def kind_for(version, *words):
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{veredus.submissions}", "-servername", EC, version, *words],
                              input=b"QUIT\r\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        found = re.search(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", done.stdout, re.S)
        return served[ssl.PEM_cert_to_DER_cert(found[0].decode())] if found else done.stdout[-300:].decode()

    def look():
        for version in "-tls1_2", "-tls1_3":
            for sigalgs, kind in (("RSA-PSS+SHA256", "rsa"), ("ECDSA+SHA256", "ec"), ("ed25519", "ed25519"),
                                  ("RSA-PSS+SHA256:ECDSA+SHA256", "ec"), ("ed25519:RSA-PSS+SHA256", "ed25519")):
                v.equal(kind_for(version, "-sigalgs", sigalgs), kind, f"{version} {sigalgs}")
        v.equal(kind_for("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), "rsa", "by the cipher")

    look()
    # A renewal of one of them leaves the others; one of another's kind is not taken.
    old = v.read(pairs[2].certificate)
    renewed = pki.Pair(t.folder, "renewed", "ec", host=EC)
    served[ssl.PEM_cert_to_DER_cert(v.read(renewed.certificate).decode())] = "ec"
    for suffix in ".pem", ".key":
        os.rename(f"{t.folder}/renewed{suffix}", f"{t.folder}/ec{suffix}")
    veredus.process.signal(signal.SIGHUP)
    veredus.wait_log("configuration generation 2 is in force")
    v.wait(lambda: ssl.get_server_certificate(("127.0.0.1", veredus.submissions)).strip() == v.read(pairs[1].certificate).decode().strip(), 10,
           "the renewed certificate")
    look()
    v.check("fine" in veredus.command("check"), "three kinds are fine")
    v.write(pairs[2].certificate, v.read(pairs[1].certificate))
    v.write(pairs[2].key, v.read(pairs[1].key), 0o600)
    pairs[2].own()
    v.check(re.search(r"veredus\.conf:\d+:\d+: error: .*same kind as the one of that name on line \d+", veredus.command("check", status=1)), "two of a kind")
    veredus.process.signal(signal.SIGHUP)
    veredus.wait_log("reload failed, the old configuration stays: .*same kind")
    v.check(old != v.read(pairs[2].certificate), "changed")
    look()
    v.equal(veredus.stop(), 0, "exit status")


def look_once_a_minute(veredus, swap, serves_second, serves_third):
    swap("third", "pem")
    veredus.wait_log("tls relay.example: new files are not taken, the old ones stay: .*does not fit", 75)
    v.check(serves_second(), "after half a renewal")
    swap("third", "key")
    v.wait(serves_third, 75, "the third certificate by itself")


def rotation(t, looks_too):
    """New files are taken at SIGHUP and, if LOOKS_TOO, which takes two minutes to show, at the look once a minute, through a
    swapped link; no session ends, no handshake fails, what is no pair is not taken."""
    old = pki.Pair(t.folder, "old", host=EC)
    new = pki.Pair(t.folder, "new", "rsa", host=EC)
    third = pki.Pair(t.folder, "third", host=EC)
    for suffix in "pem", "key":
        os.symlink(f"{t.folder}/old.{suffix}", f"{t.folder}/live.{suffix}")
    live = type("Live", (), {"host": EC, "block": lambda self, more: f"tls {EC} {{ certificate = {t.folder}/live.pem key = {t.folder}/live.key }}\n"})()
    veredus = world(t, pairs=[live])
    stays = Tls(veredus.port)
    trouble, count, stop = [], [0], threading.Event()

    def load():
        while not stop.is_set():
            try:
                client = Tls(veredus.submissions, implicit=True)
                client.expect(250, "NOOP")
                client.close()
                count[0] += 1
            except Exception as why:  # whatever it is
                trouble.append(repr(why))

    def swap(name, suffix):
        os.symlink(f"{t.folder}/{name}.{suffix}", f"{t.folder}/next")
        os.rename(f"{t.folder}/next", f"{t.folder}/live.{suffix}")

    def serves(pair):
        client = Tls(veredus.port)
        mine = client.socket.getpeercert(True) == ssl.PEM_cert_to_DER_cert(v.read(pair.certificate).decode())
        client.close()
        return mine

    threads = [threading.Thread(target=load, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    v.check(serves(old), "the first certificate")
    swap("new", "pem")  # without its key: no pair
    veredus.process.signal(signal.SIGHUP)
    veredus.wait_log("reload failed, the old configuration stays: .*does not fit")
    v.check(serves(old), "after a bad reload")
    swap("new", "key")
    veredus.process.signal(signal.SIGHUP)
    v.wait(lambda: serves(new), 15, "the second certificate by SIGHUP")
    if looks_too:
        look_once_a_minute(veredus, swap, lambda: serves(new), lambda: serves(third))
    stop.set()
    for thread in threads:
        thread.join(30)
    v.check(not trouble, len(trouble), "of", count[0], trouble[:3])
    print(f"  {count[0]} handshakes meanwhile")
    stays.send("a@client.example", "b@sink.example", v.mail("old session"))
    stays.close()
    v.equal(veredus.stop(), 0, "exit status")


def test_rotation_under_load(t):
    rotation(t, False)


@v.slow
def test_rotation_once_a_minute(t):
    rotation(t, True)


test_rotation_once_a_minute.seconds = 240


def test_keeper_dies(t):
    """Without keeper STARTTLS is 454 and a session goes on; a moment later there is a new one."""
    veredus = world(t)
    stays, plain = Tls(veredus.port), v.Smtp(veredus.port)
    keeper = veredus.daemons("keeper")[0]
    os.kill(keeper, signal.SIGSTOP)
    waits = socket.create_connection(("127.0.0.1", veredus.submissions), 20)
    waits.sendall(client_hello())
    time.sleep(0.3)
    # Other clients' words are heard while a handshake waits for its signature.
    plain.expect(250, "NOOP")
    stays.expect(250, "NOOP")
    os.kill(keeper, signal.SIGKILL)
    v.check(waits.recv(100)[:1] in (b"\x15", b"\x16", b""), "the handshake that waited")
    waits.close()
    v.wait(lambda: veredus.daemons("keeper") not in ([], [keeper]), 20, "a new keeper")

    def secured():
        client = v.Smtp(veredus.port)
        reply = client.say("STARTTLS")
        v.check(reply[:3] in ("220", "454"), reply)
        return reply.startswith("220")

    v.wait(secured, 20, "TLS again")
    Tls(veredus.port, RSA).close()
    stays.send("a@client.example", "b@sink.example", v.mail("session"))
    v.equal(veredus.stop(), 0, "exit status")


if v.PATIENCE > 1:
    del test_keys_are_the_keepers  # a sanitizer has its own ideas of memory, and much of it to look through

v.main(globals())
