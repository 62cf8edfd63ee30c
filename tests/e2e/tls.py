# SPDX-License-Identifier: ISC
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import re
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
                              input=b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
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
                    # Numbers are kept as OpenSSL keeps them; the files' text is wiped.
                    v.check(any("reversed" in what or what == "priv" for what in found), pair.host, "not in the keeper:", found)
                    v.check("PEM" not in found, "PEM of", pair.host, "in the keeper")

    handshakes()
    look()
    veredus.process.signal(signal.SIGHUP)
    veredus.wait_log("configuration generation 2 is in force")
    handshakes()
    look()
    v.equal(veredus.stop(), 0, "exit status")


v.main(globals())
