# SPDX-License-Identifier: ISC
"""Certificates that routes show to receivers: by every kind of key and version, with the keys in the keeper alone."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import re
import ssl
import time

import pki
import secure as s
import veredus as v

DEFERRED, SENT = "deferred", "sent"


class Asking(s.Receiver):
    """Takes mail only from whom AUTHORITY vouches for; subjects: whom it met."""

    def __init__(self, test, pair, authority, most=None, **says):
        self.subjects = []
        c = s.context(pair)
        if most:
            c.maximum_version = most
        c.verify_mode = ssl.CERT_REQUIRED
        c.load_verify_locations(authority.certificate)
        handshake = s.handshake(c)

        def start(conn):
            handshake(conn)
            self.subjects.append(dict(x[0] for x in conn.socket.getpeercert()["subject"])["commonName"])

        super().__init__(test, ehlo=s.ehlo, star=start, **says)


def started(t, config):
    anchor = v.write(t.folder + "/anchor", "")
    return t.veredus(f"retry {{ first = 1s longest = 2s }}\nresolver {{ trust-anchor = {anchor} }}\n" + config).start()


def shown(pair):
    return f"tls-certificate = {pair.certificate} tls-key = {pair.key}"


def test_kinds(t):
    """RSA, ECDSA and Ed25519 in TLS 1.2 and 1.3; another's certificate and none are refused."""
    own = pki.Pair(t.folder, "own")
    ca = s.Authority(t.folder, "authority", host="Test Authority")
    pairs = {kind: ca.signed(kind, f"{kind}.client.example", kind=kind) for kind in ("rsa", "ec", "ed25519")}
    stranger = pki.Pair(t.folder, "stranger")
    for pair in (*pairs.values(), stranger):
        pair.own()
    versions = {"12": ssl.TLSVersion.TLSv1_2, "13": ssl.TLSVersion.TLSv1_3}
    servers = {version: Asking(t, own, ca, most) for version, most in versions.items()}
    routes = "".join(f"route {kind}{version}.example {{ to = smtp:[{v.SINK}]:{server.port} tls = encrypt {shown(pair)} }}\n"
                     for kind, pair in pairs.items() for version, server in servers.items())
    routes += "".join(f"route stranger{version}.example {{ to = smtp:[{v.SINK}]:{server.port} tls = encrypt {shown(stranger)} }}\n"
                      f"route none{version}.example {{ to = smtp:[{v.SINK}]:{server.port} tls = encrypt }}\n" for version, server in servers.items())
    veredus = started(t, routes)
    names = [f"{kind}{version}" for kind in (*pairs, "stranger", "none") for version in versions]
    v.send_each(veredus, *(f"x@{name}.example" for name in names))
    for name in names:
        dsn, status, words, tls, _ = s.line_of(veredus, f"x@{name}.example")
        good = name[:-2] in pairs
        v.equal(status, SENT if good else DEFERRED, name + ": " + words)
        if good:
            v.check(tls.startswith("TLSv1." + name[-1]), name, tls)
    for server in servers.values():
        v.equal(sorted(set(server.subjects)), sorted(pair.host for pair in pairs.values()), "whom it met")
        v.equal(len(server.contents), 3, "arrived")
    # A session, or a connection, of one certificate is no other's.
    for i in range(2):
        v.send_each(veredus, f"{i}@rsa13.example", f"{i}@ec13.example")
        for name in "rsa13", "ec13":
            v.equal(s.line_of(veredus, f"{i}@{name}.example")[1], SENT)
    v.equal(veredus.stop(), 0, "exit status")


def test_keys_in_the_keeper_alone(t):
    """Searched for in the memory of every process, after deliveries in both versions; a keeper that died is missed for a moment."""
    own = pki.Pair(t.folder, "own")
    ca = s.Authority(t.folder, "authority", host="Test Authority")
    pair = ca.signed("rsa", "mail.client.example", kind="rsa")
    pair.own()
    servers = [Asking(t, own, ca, most) for most in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)]
    veredus = started(t, "".join(f"route r{i}.example {{ to = smtp:[{v.SINK}]:{server.port} tls = encrypt {shown(pair)} }}\n"
                                 for i, server in enumerate(servers)))
    for i in range(2):
        v.send_each(veredus, f"x@r{i}.example")
        v.equal(s.line_of(veredus, f"x@r{i}.example")[1], SENT)
    if v.IS_ROOT and v.PATIENCE == 1:  # a sanitizer has its own ideas of memory, and much of it to look through
        everyone = veredus.daemons()
        everyone["master"] = [veredus.process.pid]
        v.check("keeper" in everyone and len(everyone) >= 9, everyone)
        for name, pids in everyone.items():
            for pid in pids:
                met = [what for what, secret in pair.secrets().items() if any(secret in piece for piece in pki.memory(pid))]
                v.check(bool(met) == (name == "keeper"), name, met)
    os.kill(veredus.daemons("keeper")[0], 9)
    time.sleep(0.3)
    for i in range(5):
        v.send_each(veredus, f"again{i}@r1.example")
        v.wait(lambda: re.search(rf"to=<again{i}@r1\.example>.*status=sent", veredus.log_text()), 20, "sent after the keeper died")
    v.equal(veredus.stop(), 0, "exit status")


def test_check(t):
    """veredus check sees a key that fits nothing, and one without its certificate."""
    one, two = pki.Pair(t.folder, "one"), pki.Pair(t.folder, "two")
    for settings, words in ((f"tls-certificate = {one.certificate}", "stand together"), (f"tls-certificate = {one.certificate} tls-key = {two.key}", "does not fit"),
                            (f"tls-certificate = {one.certificate} tls-key = /nowhere", "No such file")):
        veredus = t.veredus(f"route a.example {{ to = mx {settings} }}\n", name=f"v{len(settings)}")
        said = v.subprocess.run([os.path.join(veredus.build, "veredus"), "check", "-c", veredus.conf], capture_output=True, text=True, **veredus.demote)
        v.check(said.returncode == 1 and words in said.stdout + said.stderr, said)


v.main(globals())
