# SPDX-License-Identifier: ISC
"""Receivers with STARTTLS, by the book and otherwise."""
import functools
import hashlib
import os
import re
import socket
import ssl
import threading

import hostile as r
import pki
import veredus as v

PLAIN = b"250-receiver.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
OFFER = PLAIN.replace(b"250 8BITMIME", b"250-STARTTLS\r\n250 8BITMIME")
READY = b"220 2.0.0 Ready\r\n"


class Authority(pki.Pair):
    """Signs others."""

    def signed(self, name, host=None, kind="ec", days=90, names=None, dates=None, ca=False):
        """FOLDER/NAME.pem with the chain behind it, and .key."""
        pair = object.__new__(pki.Pair)
        base = os.path.join(os.path.dirname(self.certificate), name)
        pair.host, pair.certificate, pair.key = host or name, base + ".pem", base + ".key"
        pki.openssl("req", *pki.KINDS[kind][:1], *pki.KINDS[kind][1:], "-nodes", "-new", "-keyout", pair.key, "-out", base + ".csr",
                    "-subj", f"/CN={pair.host}")
        names = [pair.host] if names is None else names
        extensions = "basicConstraints=critical,CA:" + ("TRUE" if ca else "FALSE") + "\n"
        if names:
            extensions += "subjectAltName=" + ",".join("DNS:" + n for n in names) + "\n"
        v.write(base + ".ext", extensions)
        words = ["x509", "-req", "-in", base + ".csr", "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-extfile", base + ".ext",
                 "-out", pair.certificate]
        # A certificate of the past: openssl x509 of Debian 12 knows days only.
        pki.openssl(*words, "-days", str(dates if dates is not None else days))
        v.write(pair.certificate, v.read(pair.certificate) + v.read(self.certificate))
        os.chmod(pair.key, 0o644)
        return pair


@functools.cache
def der(pair):
    return pki.openssl("x509", "-in", pair.certificate, "-outform", "DER")


@functools.cache
def public_key(pair):
    return pki.openssl("pkey", "-pubin", "-outform", "DER", input=pki.openssl("x509", "-in", pair.certificate, "-noout", "-pubkey"))


def tlsa(pair, usage, selector=1, matching=1, spoil=False):
    """A record's fields, as resolver tells them."""
    data = public_key(pair) if selector else der(pair)
    data = [data, hashlib.sha256(data).digest(), hashlib.sha512(data).digest()][matching]
    if spoil:
        data = data[:-1] + bytes([data[-1] ^ 1])
    return dict(usage=usage, selector=selector, matching=matching, data=data)


def context(pair, most=None):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(pair.certificate, pair.key)
    if most:
        c.set_ciphers("ALL:@SECLEVEL=0")
        c.minimum_version = ssl.TLSVersion.TLSv1
        c.maximum_version = most
    return c


def handshake(c):
    """Answers STARTTLS, and goes on within TLS."""
    asked = {}

    def sni(_, name, __):
        asked[threading.get_ident()] = name
    c.sni_callback = sni

    def act(conn):
        asked.pop(threading.get_ident(), None)
        conn.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conn.send(READY)
        conn.file.close()
        try:
            conn.socket = c.wrap_socket(conn.socket, server_side=True)
        except (OSError, ssl.SSLError) as why:
            conn.receiver.broken.append(str(why))
            raise r.Over from None
        conn.file = conn.socket.makefile("rb")
        conn.receiver.secured.append(dict(version=conn.socket.version(), name=asked.get(threading.get_ident()),
                                          reused=conn.socket.session_reused))
    return act


def ehlo(conn):
    """STARTTLS is offered in the clear; within TLS something else, which counts only there."""
    conn.send(PLAIN if isinstance(conn.socket, ssl.SSLSocket) else OFFER)


class Receiver(r.Receiver):
    """secured: the handshakes that were done; broken: those that were not; ways: for each MAIL, whether it came in TLS."""

    def __init__(self, test, pair=None, most=None, **says):
        self.secured, self.broken, self.ways = [], [], []
        mail = says.pop("mail", r.GOOD["mail"])

        def on_mail(conn):
            self.ways.append(isinstance(conn.socket, ssl.SSLSocket))
            conn.send(mail)
            return mail

        if pair:
            says = dict(dict(ehlo=ehlo, star=handshake(context(pair, most))), **says)
        super().__init__(test, mail=on_mail, **says)


def line_of(veredus, address, status=r"\w+", seconds=20):
    """(dsn, status, reply, tls, policy) of the first delivery to a recipient that has come to that status."""
    return veredus.wait_log(rf"to=<{re.escape(address)}>.* dsn=([\d.]+), status=({status}) \((.*)\) tls=(\S+) policy=(\S+)", seconds).groups()
