# SPDX-License-Identifier: ISC
"""MTA-STS (RFC 8461): policies of a test's own HTTPS server, over a DNS tree of its own, and what becomes of mail to real
receivers under them. Policies are at port 443 and receivers at port 25, so all of it runs in a network of its own."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import http.server
import json
import re
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

import hostile
import pki
import secure
import signed
import veredus as v

WEB, NOWEB, SILENT = "127.0.3.1", "127.0.3.2", "127.0.3.3"  # policies; nobody there; somebody who says nothing
ANY_TLS = r"TLSv1\.[23]/TLS_\w+/\w+"
VERIFIED, UNVERIFIED = ANY_TLS + "/verified", ANY_TLS + "/unverified"
TXT = 16


def policy(mode="enforce", mx=("NAME.mx.plain",), max_age=604800, end="\r\n", more=()):
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {name}" for name in mx), f"max_age: {max_age}", *more]
    return "".join(line + end for line in lines)


# -- the policies' server --------------------------------------------------------------------------

class Web:
    """Policies by host: text, or a function of the handler. A certificate by the host's kind."""

    def __init__(self, t, contexts):
        self.files, self.kinds, self.asked, self.contexts = {}, {}, [], contexts
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                self.request = contexts["good"].wrap_socket(self.request, server_side=True)
                super().setup()

            def say(self, content, status=200, type="text/plain", **more):
                content = content.encode()
                self.send_response(status)
                for name, value in {"Content-Type": type, "Content-Length": str(len(content)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def do_GET(self):
                host = self.headers["Host"]
                web.asked.append((host, self.path))
                file = web.files.get(host)
                if self.path != "/.well-known/mta-sts.txt" or file is None:
                    self.say("", 404)
                elif callable(file):
                    file(self)
                else:
                    self.say(file)

            def log_message(self, *words):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads, request_queue_size = True, 256

            def handle_error(self, *words):
                pass  # a client that trusts nobody

        contexts["good"].sni_callback = self.sni
        self.server = Server((WEB, 443), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        t.defer(self.server.server_close)
        t.defer(self.server.shutdown)

    def sni(self, connection, name, _):
        if name in self.kinds:
            connection.context = self.contexts[self.kinds[name]]


def hang(handler):
    try:
        while handler.request.recv(4096):
            pass
    except OSError:
        pass


# -- TXT records that change ------------------------------------------------------------------------

def txt_answer(data, at, records):
    """What a name server says to the question DATA, which ends at AT."""
    out = data[:2] + b"\x85\x80" + struct.pack(">HHHH", 1, len(records), 0, 0) + data[12:at]
    for record in records:
        strings = record if isinstance(record, (list, tuple)) else [record]
        rdata = b"".join(bytes([len(s)]) + s.encode("latin-1") for s in strings)
        out += b"\xc0\x0c" + struct.pack(">HHIH", TXT, 1, 1, len(rdata)) + rdata
    return out


class Texts:
    """Stands in a tree's door: answers about TXT below the unsigned zone come from .records."""

    def __init__(self, door):
        self.door, self.records, self.passes = door, {}, door.meets
        door.meets = self.meets

    def meets(self, data):
        at, labels = 12, []
        while data[at]:
            labels.append(data[at + 1:at + 1 + data[at]].decode(errors="replace").lower())
            at += 1 + data[at]
        kind, = struct.unpack_from(">H", data, at + 1)
        if kind == TXT and ".".join(labels) in self.records:
            self.door.asked.append((".".join(labels), kind))
            return txt_answer(data, at + 5, self.records[".".join(labels)])
        return self.passes(data)


# -- the world -----------------------------------------------------------------------------------------

class Case:
    """FILE: the policy, as text or a function of the web handler. TXTS: records of _mta-sts. HOST: what kind of receiver,
    or several [(name, kind)] in order of preference. WEB: the policy host's certificate; "down", "nowhere"."""

    def __init__(self, file=None, txts=("v=STSv1; id=20260101;",), host="other", web="good", route="", domain=None, tlsa=None, zone="plain"):
        self.file, self.txts, self.host, self.web, self.route, self.domain = file, txts, host, web, route, domain
        self.tlsa, self.zone = tlsa, zone


SENT, PLAIN = ("sent", "2.0.0", "", UNVERIFIED, "dane/default"), ("sent", "2.0.0", "", "none", "dane/default")
NOT_TRUSTED, NOT_NAMED, NOT_IT = "is not trusted", "no mx of the domain's policy names it", "for another name"


def deferred(words, dsn="4.7.5", policy="sts/enforce/20260101"):
    return "deferred", dsn, words, "none", policy


def tested(words, tls=UNVERIFIED):
    return "sent", "2.0.0", "", tls, "sts/testing/20260101", words


OBEYED = deferred(NOT_IT)  # the receiver "other" is not who it should be: an enforced policy keeps mail from it
FITS = ("sent", "2.0.0", "", VERIFIED, "sts/enforce/20260101")


def cases():
    """{name: (Case, what is expected)}."""
    rows = {
        # Modes and receivers.
        "enforce-good": (Case(policy(), host="good"), FITS),
        "enforce-unnamed": (Case(policy(mx=["mx.other.plain"]), host="good"), deferred(NOT_NAMED)),
        "enforce-wildcard": (Case(policy(mx=["*.mx.plain"]), host="good"), FITS),
        "enforce-wildcard-level": (Case(policy(mx=["*.plain"]), host="good"), deferred(NOT_NAMED)),
        "enforce-wildcard-base": (Case(policy(mx=["*.NAME.mx.plain"]), host="good"), deferred(NOT_NAMED)),
        "enforce-case": (Case(policy(mx=["NAME.MX.Plain"]), host="good"), FITS),
        "enforce-expired": (Case(policy(), host="expired"), deferred(NOT_TRUSTED)),
        "enforce-other": (Case(policy(), host="other"), OBEYED),
        "enforce-selfsigned": (Case(policy(), host="selfsigned"), deferred(NOT_TRUSTED)),
        "enforce-stranger": (Case(policy(), host="stranger"), deferred(NOT_TRUSTED)),
        "enforce-common-name": (Case(policy(), host="common"), deferred(NOT_IT)),
        "enforce-clear": (Case(policy(), host="clear"), deferred("does not offer it", "4.7.4")),
        "enforce-refused": (Case(policy(), host="refuses"), deferred("STARTTLS was refused: 454", "4.7.4")),
        "enforce-broken": (Case(policy(), host="breaks"), deferred("handshake failed")),
        "enforce-second": (Case(policy(mx=["b.NAME.hosts.plain"]), host=[("a", "good"), ("b", "byname")]), FITS),
        "enforce-second-tls": (Case(policy(mx=["*.NAME.hosts.plain"]), host=[("a", "clear"), ("b", "byname")]), FITS),
        "testing-good": (Case(policy("testing"), host="good"), tested(None)),
        "testing-unnamed": (Case(policy("testing", mx=["mx.other.plain"]), host="good"), tested(NOT_NAMED)),
        "testing-expired": (Case(policy("testing"), host="expired"), tested(NOT_TRUSTED)),
        "testing-other": (Case(policy("testing"), host="other"), tested(NOT_IT)),
        "testing-selfsigned": (Case(policy("testing"), host="selfsigned"), tested(NOT_TRUSTED)),
        "testing-clear": (Case(policy("testing"), host="clear"), tested("it offers no TLS", "none")),
        "testing-broken": (Case(policy("testing"), host="breaks"), tested("there is no TLS with it", "none")),
        "none-other": (Case(policy("none"), host="other"), SENT),
        "none-clear": (Case(policy("none", mx=[]), host="clear"), PLAIN),
        # The file.
        "file-lf": (Case(policy(end="\n")), OBEYED),
        "file-no-end": (Case(policy().rstrip()), OBEYED),
        "file-unknown": (Case(policy(more=["x-new_one.1: of the future, \u00fc", "Mode: none"])), OBEYED),
        "file-twice": (Case(policy(more=["mode: none", "max_age: 0", "version: STSv2"])), OBEYED),
        "file-age-most": (Case(policy(max_age=31557600)), OBEYED),
        "file-age-large": (Case(policy(max_age=31557601)), SENT),
        "file-age-0": (Case(policy(max_age=0)), SENT),
        "file-age-missing": (Case(policy().replace("max_age", "maximum")), SENT),
        "file-age-words": (Case(policy(max_age="a week")), SENT),
        "file-mode-missing": (Case(policy().replace("mode", "moods")), SENT),
        "file-mode-wrong": (Case(policy("Enforce")), SENT),
        "file-version": (Case(policy().replace("STSv1", "STSv2")), SENT),
        "file-no-mx": (Case(policy(mx=[])), SENT),
        "file-mx-wrong": (Case(policy(mx=["NAME.mx.plain", "mx.*.plain"])), SENT),
        "file-blank-line": (Case(policy().replace("mode", "\r\nmode")), SENT),
        "file-html": (Case(lambda h: h.say(policy(), type="text/html")), SENT),
        "file-charset": (Case(lambda h: h.say(policy(mx=["file-charset.mx.plain"]), type="Text/Plain ; charset=utf-8")), OBEYED),
        "file-404": (Case(lambda h: h.say(policy(), 404)), SENT),
        "file-500": (Case(lambda h: h.say(policy(), 500)), SENT),
        "file-moved": (Case(lambda h: h.say(policy(), 301, Location="https://mta-sts.enforce-good.plain/.well-known/mta-sts.txt")), SENT),
        "file-large": (Case(policy(more=[f"x{i}: {'y' * 60}" for i in range(1100)])), SENT),
        "file-endless": (Case(lambda h: h.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + b"x: y\n" * 100000)), SENT),
        # Its server.
        "web-expired": (Case(policy(), web="expired"), SENT),
        "web-other": (Case(policy(), web="other"), SENT),
        "web-stranger": (Case(policy(), web="stranger"), SENT),
        "web-common-name": (Case(policy(), web="common"), SENT),
        "web-down": (Case(policy(), web="down"), SENT),
        "web-nowhere": (Case(policy(), web="nowhere"), SENT),
        # The record.
        "txt-none": (Case(policy(), txts=()), SENT),
        "txt-two": (Case(policy(), txts=["v=STSv1; id=20260101;", "v=STSv1; id=2;"]), SENT),
        "txt-others": (Case(policy(), txts=["v=spf1 -all", "v=STSv1; id=20260101", "v=STSv2; id=9;"]), OBEYED),
        "txt-strings": (Case(policy(), txts=[("v=STSv1", "; id=2026", "0101;")]), OBEYED),
        "txt-more": (Case(policy(), txts=["v=STSv1 ;\tid=20260101; a_b-c.d=x:y/z ; "]), OBEYED),
        "txt-no-id": (Case(policy(), txts=["v=STSv1; ident=1;"]), SENT),
        "txt-bad-id": (Case(policy(), txts=["v=STSv1; id=2026-01-01;"]), SENT),
        "txt-long-id": (Case(policy(), txts=["v=STSv1; id=" + "1" * 33]), SENT),
        "txt-broken": (Case(policy(), txts=["v=STSv1; id=20260101; broken"]), SENT),
        "txt-version": (Case(policy(), txts=["v=stsv1; id=20260101;"]), SENT),
        # Whose policy it is.
        "sub.enforce-other": (Case(host="other", txts=(), web="nowhere"), SENT),
        "route-no": (Case(policy(), route="sts = no"), SENT),
        "route-may": (Case(policy(), route="tls = may"), (*SENT[:4], "may/route-no-may")),
        "route-dane": (Case(policy(), route="tls = dane"), OBEYED),
        # Of a smart host's, and not of whom the mail is for (RFC 8461 3.4).
        "smart-good": (Case(policy(mx=["elsewhere.plain"]), host="good", route="to = smtp:smart-good.mx.plain"), FITS),
        "smart-good.mx": (Case(policy(mx=["NAME.plain"]), host="good"), deferred(NOT_NAMED)),
        "smart-other": (Case(txts=(), web="nowhere", route="to = smtp:smart-other.mx.plain"), OBEYED),
        "smart-other.mx": (Case(policy(mx=["NAME.plain"])), deferred(NOT_NAMED)),
        "smart-free": (Case(policy(), route="to = smtp:smart-free.mx.plain"), SENT),
        # Beside DANE.
        "dane-alone": (Case(policy(mx=["elsewhere.plain"]), host="other", tlsa="good", zone="signed"),
                       ("sent", "2.0.0", "", ANY_TLS + "/dane-ee", "dane/default")),
        "dane-and-sts": (Case(policy(mx=["NAME.mx.signed"]), host="good", tlsa="good", zone="signed"),
                         ("sent", "2.0.0", "", ANY_TLS + "/dane-ee", "dane/default")),
        "dane-fails": (Case(policy(mx=["NAME.mx.signed"]), host="good", tlsa="wrong", zone="signed"),
                       deferred("matches no TLSA record", policy="dane/default")),
        "dane-unknown": (Case(policy(mx=["NAME.mx.signed"]), host="good", tlsa="lost", zone="signed"),
                         deferred("could not be looked up", policy="dane/default")),
        "dane-useless": (Case(policy(mx=["NAME.mx.signed"]), host="good", tlsa="useless", zone="signed"), FITS),
        "dane-useless-other": (Case(policy(mx=["NAME.mx.signed"]), host="other", tlsa="useless", zone="signed"), OBEYED),
        "dane-none": (Case(policy(mx=["NAME.mx.signed"]), host="good", zone="signed"), FITS),
        "dane-none-other": (Case(policy(mx=["NAME.mx.signed"]), host="other", zone="signed"), OBEYED),
    }
    rows["route-may"] = (rows["route-may"][0], (*SENT[:4], "may/route-may.plain"))
    return rows


def contexts(t, ca, names):
    """{kind: the context of a server of that kind}, for NAMES where it is right."""
    stranger = secure.Authority(t.folder, "stranger", host="Strange Authority")
    pairs = {
        "good": ca.signed("good-" + names[0], "good", names=names),
        "other": ca.signed("other-" + names[0], "other", names=["other.example"]),
        "expired": ca.signed("expired-" + names[0], "expired", names=names, dates=-1),
        "stranger": stranger.signed("stranger-" + names[0], "stranger", names=names),
        "selfsigned": pki.Pair(t.folder, "self-" + names[0], host=names[0], also=["DNS:" + name for name in names]),
    }
    return pairs


def no_tls(conn):
    """A handshake that is none."""
    conn.send(secure.READY)
    conn.socket.recv(4096)
    conn.send(b"no TLS at all\r\n")
    raise hostile.Over


class World:
    """The servers, and a Veredus before them. ROWS: {name: Case}."""

    def __init__(self, t, rows, settings=""):
        self.t, self.rows, self.since = t, rows, 0  # since: where in the log outcomes are looked for
        self.ca = secure.Authority(t.folder, "authority", host="Test Authority")
        os.chmod(self.ca.certificate, 0o644)
        self.pairs = contexts(t, self.ca, ["*.mx.plain", "*.mx.signed"])
        # Without alternative names, the right one as common name: of a receiver, and of a policy's host.
        self.pairs["common"] = self.ca.signed("common", "enforce-common-name.mx.plain", names=[])
        self.receivers, self.addresses = {}, {}
        self.receive()
        web = contexts(t, self.ca, [f"mta-sts.{name}.{case.zone}" for name, case in rows.items()])
        web["common"] = self.ca.signed("webcommon", "mta-sts.web-common-name.plain", names=[])
        self.web = Web(t, {kind: secure.context(pair) for kind, pair in web.items()})
        self.tree = self.make_tree()
        self.texts = Texts(self.tree.door)
        self.routes = ""
        for name, case in rows.items():
            self.publish(name, case)
            if case.route:
                self.routes += f"route {name}.{case.zone} {{ {'' if case.route.startswith('to') else 'to = mx'}  {case.route} }}\n"
            if case.tlsa == "lost":
                self.tree.door.servfail.add((f"_25._tcp.{name}.mx.signed", 52))
        self.veredus = t.veredus(f"resolver {{ forward = {{ {self.tree.forward} }} trust-anchor = {self.tree.anchor} }}\n"
                                 f"tls-authorities = {self.ca.certificate}\nretry {{ first = 1h longest = 2h }}\n{self.routes}{settings}")

    def receive(self):
        """A receiver of each kind, at port 25 of an address of its own."""
        byname = self.ca.signed("byname", "byname", names=[f"b.{name}.hosts.plain" for name in self.rows])
        says = {"clear": {}, "refuses": dict(ehlo=secure.ehlo, star=b"454 4.7.0 TLS is not to be had\r\n"),
                "breaks": dict(ehlo=secure.ehlo, star=no_tls)}
        for i, kind in enumerate([*self.pairs, "byname", *says]):
            self.addresses[kind] = f"127.0.4.{i + 1}"
            pair = byname if kind == "byname" else self.pairs.get(kind)
            self.receivers[kind] = secure.Receiver(self.t, pair=pair, address=self.addresses[kind], port=25, **says.get(kind, {}))

    def tlsa(self, case):
        if case.tlsa in (None, "none"):
            return []
        pair = self.pairs["stranger" if case.tlsa == "wrong" else case.host]
        fields = secure.tlsa(pair, 1 if case.tlsa == "useless" else 3)
        return ["TLSA {usage} {selector} {matching} {}".format(fields["data"].hex(), **fields)]

    def make_tree(self):
        zones = {"plain": "", "signed": ""}
        for name, case in self.rows.items():
            if isinstance(case.host, str):
                hosts = [(f"{name}.mx", case.host)]
            else:
                hosts = [(f"{label}.{name}.hosts", kind) for label, kind in case.host]
            for i, (host, kind) in enumerate(hosts):
                zones[case.zone] += f"{name} MX {10 + i} {host}\n{host} A {self.addresses[kind]}\n"
            zones[case.zone] += "".join(f"_25._tcp.{name}.mx {record}\n" for record in self.tlsa(case))
            if case.web != "nowhere":
                zones[case.zone] += f"mta-sts.{name} A {dict(down=NOWEB, silent=SILENT).get(case.web, WEB)}\n"
            if case.zone == "signed":
                zones["signed"] += "".join(f'_mta-sts.{name} TXT "{text}"\n' for text in case.txts)
        return signed.Tree(self.t, {"plain": signed.Zone(zones["plain"], sign=None), "signed": signed.Zone(zones["signed"])})

    def publish(self, name, case):
        """What the domain says, from now on."""
        host = f"mta-sts.{name}.{case.zone}"
        self.web.files[host] = case.file.replace("NAME", name) if isinstance(case.file, str) else case.file
        self.web.kinds[host] = case.web if case.web in self.web.contexts else "good"
        if case.zone == "plain":
            self.texts.records[f"_mta-sts.{name}.plain"] = list(case.txts)

    def send(self, names, mark=""):
        client = v.Smtp(self.veredus.port)
        for name in names:
            client.send("sender@client.example", f"x{mark}@{name}.{self.rows[name].zone}", v.mail(name))
        client.close()

    def outcome(self, name, mark="", seconds=30):
        """Of the mail with that MARK, or, after a restart, of an older one that was tried again."""
        pattern = rf"to=<x{mark}@{re.escape(name)}\.{self.rows[name].zone}>.* dsn=([\d.]+), status=(\w+) \((.*)\) tls=(\S+) policy=(\S+)"
        return v.wait(lambda: re.search(pattern, self.veredus.log_text()[self.since:]), seconds,
                      lambda: f"{pattern!r}: {self.veredus.log_text()[-2500:]}").groups()

    def differs(self, name, wanted, mark=""):
        """What is wrong with that case, or None."""
        got = self.outcome(name, mark)
        status, dsn, words, tls, under, *log = wanted
        if got[:2] != (dsn, status) or words not in got[2] or not re.fullmatch(tls + "(/resumed)?", got[3]) or got[4] != under:
            return f"{name}: {got}, not {wanted}"
        said = re.findall(rf"TLS to {re.escape(name)}\.mx\.\w+\[[\d.]+\]:25: (.*); used all the same", self.veredus.log_text()[self.since:])
        hint = log[0] if log else None
        if not (said and hint in said[-1] if hint else not said):
            return f"{name}: in the log {said}, not {hint}"
        return None

    def route(self, name):
        return json.loads(self.veredus.command("route", f"x@{name}.{self.rows[name].zone}", "--json", status=None))


def test_cases(t):
    """The table: what a domain publishes, whom its mail meets, and what becomes of it."""
    rows = cases()
    world = World(t, {name: case for name, (case, _) in rows.items()})
    world.veredus.start()
    world.send(rows)
    wrong = [w for name, (_, wanted) in rows.items() if (w := world.differs(name, wanted))]
    print(f"  {len(rows)} cases")
    v.check(not wrong, f"{len(wrong)} of {len(rows)}:\n" + "\n".join(wrong) + "\n" + world.veredus.log_text()[-2000:] if wrong else "")
    # Nothing of it touched a site, and nobody was asked twice.
    log = world.veredus.log_text()
    v.check(not re.search(r"site \S+ is down|SIGSYS|was killed|channel to", log), log[-2000:])
    v.check(world.web.asked.count(("mta-sts.enforce-good.plain", "/.well-known/mta-sts.txt")) == 1, "asked twice, or redirected")
    for kind, receiver in world.receivers.items():
        sent = [name for name, (case, wanted) in rows.items() if case.host == kind and wanted[0] == "sent"]
        if kind not in ("good", "byname", "clear"):
            v.equal(len(receiver.contents), len(sent), f"mails at {kind}")
    # veredus route says the same.
    for name, mode, level in (("enforce-good", "enforce", "sts"), ("enforce-unnamed", "enforce", "none"), ("testing-unnamed", "testing", "may"),
                              ("dane-alone", "enforce", "dane"), ("txt-none", "none", "may"), ("none-other", "none", "may")):
        told = world.route(name)
        v.equal((told["sts"]["mode"], told["hosts"][0]["tls"]), (mode, level), name)
    v.equal(told["sts"]["id"], "20260101")
    v.check("redirected" not in world.route("file-moved")["sts"]["why"], "")
    v.check("status 301" in world.route("file-moved")["sts"]["why"], world.route("file-moved"))
    v.equal(world.route("route-no")["sts"]["asked"], False)
    tried = json.loads(world.veredus.command("route", "x@enforce-good.plain", "--connect", "--json"))["tried"]
    v.check(tried[0]["result"] == "fine" and "/verified" in tried[0]["tls"], "tried under the policy:", tried)
    text = world.veredus.command("route", "x@enforce-good.plain")
    v.check(re.search(r"mta-sts +enforce, id 20260101, fetched \S+ ago, max_age 604800 s; mx enforce-good\.mx\.plain\n", text), text)


SECOND = {
    # name: the case, what is expected of its first mail; what is published then, and of its second mail, after a restart.
    "keeps": (Case(policy()), OBEYED, None, OBEYED),
    "keeps-without-server": (Case(policy()), OBEYED, Case(lambda h: h.say("", 500)), OBEYED),
    "keeps-without-record": (Case(policy()), OBEYED, Case(policy(), txts=()), OBEYED),
    "keeps-with-two-records": (Case(policy()), OBEYED, Case(policy(), txts=["v=STSv1; id=1;", "v=STSv1; id=2;"]), OBEYED),
    "keeps-same-id": (Case(policy()), OBEYED, Case(policy("none")), OBEYED),
    "keeps-when-moved": (Case(policy()), OBEYED, Case(lambda h: h.say("", 302, Location="https://mta-sts.keeps.plain/"), txts=["v=STSv1; id=2"]), OBEYED),
    "keeps-when-broken": (Case(policy()), OBEYED, Case("version: STSv1\n", txts=["v=STSv1; id=2"]), OBEYED),
    "keeps-when-untrusted": (Case(policy()), OBEYED, Case(policy("none"), txts=["v=STSv1; id=2"], web="stranger"), OBEYED),
    "to-none": (Case(policy()), OBEYED, Case(policy("none"), txts=["v=STSv1; id=2"]), SENT),
    "to-testing": (Case(policy()), OBEYED, Case(policy("testing"), txts=["v=STSv1; id=2"]), ("sent", "2.0.0", "", UNVERIFIED, "sts/testing/2", NOT_IT)),
    "to-enforce": (Case(policy("testing")), tested(NOT_IT), Case(policy(), txts=["v=STSv1; id=2"]), deferred(NOT_IT, policy="sts/enforce/2")),
    "to-another-mx": (Case(policy(mx=["elsewhere.plain"]), host="good"), deferred(NOT_NAMED), Case(policy(), txts=["v=STSv1; id=2"]),
                      (*FITS[:4], "sts/enforce/2")),
    "too-old": (Case(policy(max_age=3)), OBEYED, Case(lambda h: h.say("", 500)), SENT),
    "at-last": (Case(policy(), txts=()), SENT, Case(policy()), OBEYED),
}


def test_reports(t):
    """What reports on TLS (RFC 8460) count of it: {name: [(policy type, sessions that went well, result of those that failed)]}."""
    fine, failed = (lambda kind="sts": [(kind, 1, None)]), (lambda result: [("sts", 0, result)])
    wanted = {
        "enforce-good": fine(), "enforce-unnamed": failed("validation-failure"), "enforce-expired": failed("certificate-expired"),
        "enforce-other": failed("certificate-host-mismatch"), "enforce-selfsigned": failed("certificate-not-trusted"),
        "enforce-clear": failed("starttls-not-supported"), "enforce-refused": failed("validation-failure"), "enforce-broken": failed("validation-failure"),
        "testing-good": fine(), "testing-unnamed": failed("validation-failure"), "testing-expired": failed("certificate-expired"),
        "testing-other": failed("certificate-host-mismatch"), "testing-selfsigned": failed("certificate-not-trusted"),
        "testing-clear": failed("starttls-not-supported"), "testing-broken": failed("validation-failure"), "none-other": fine("no-policy-found"),
        "file-404": [*failed("sts-policy-fetch-error"), *fine("no-policy-found")], "file-mode-wrong": [*failed("sts-policy-invalid"), *fine("no-policy-found")],
        "web-expired": [*failed("sts-webpki-invalid"), *fine("no-policy-found")], "dane-and-sts": fine("tlsa"),
    }
    rows = {name: case for name, (case, _) in cases().items() if name in wanted}
    world = World(t, rows, "tlsrpt { contact = tls@sender.example }\n")
    world.veredus.start()
    world.send(rows)
    for name in rows:
        world.outcome(name)
    v.wait(lambda: len(world.veredus.command("tls-report").splitlines()) == len(rows), 10, lambda: world.veredus.command("tls-report"))
    wrong = []
    for name, case in rows.items():
        got, report = [], json.loads(world.veredus.command("tls-report", f"{name}.{case.zone}", "--json"))
        for one in report["policies"]:
            results = [(f["result-type"], f["failed-session-count"]) for f in one.get("failure-details", [])]
            v.equal(one["summary"]["total-failure-session-count"], sum(n for _, n in results), name)
            got.append((one["policy"]["policy-type"], one["summary"]["total-successful-session-count"],
                        results[0][0] if results and results[0][1] == 1 and not results[1:] else results or None))
        if got != wanted[name]:
            wrong.append(f"{name}: {got}, not {wanted[name]}")
        if name == "enforce-good":
            v.equal(report["policies"][0]["policy"], {
                "policy-type": "sts", "policy-domain": "enforce-good.plain", "mx-host": ["enforce-good.mx.plain"],
                "policy-string": ["version: STSv1", "mode: enforce", "max_age: 604800", "mx: enforce-good.mx.plain"]})
    v.check(not wrong, "\n".join(wrong))


def stands_still(world):
    """A fetcher that says nothing, and a qmgr that was just started: after some seconds what is on disk counts."""
    veredus = world.veredus
    (fetcher,), (qmgr,) = veredus.daemons("fetcher"), veredus.daemons("qmgr")
    world.since = len(veredus.log_text())
    os.kill(fetcher, signal.SIGSTOP)
    os.kill(qmgr, signal.SIGKILL)
    v.wait(lambda: "intake is open" in veredus.log_text()[world.since:], 10, "another qmgr")
    began = time.time()
    world.send(["keeps", "too-old"], "3")
    wrong = [w for name, wanted in (("keeps", OBEYED), ("too-old", SENT)) if (w := world.differs(name, wanted, "3"))]
    v.check(not wrong and time.time() - began < 20 * v.PATIENCE, "\n".join(wrong), time.time() - began, veredus.log_text()[world.since:][-3000:])
    veredus.wait_log("fetcher does not answer: of MTA-STS policies count those that are known")
    os.kill(fetcher, signal.SIGCONT)


def test_again(t):
    """What is known outlives a restart, a policy that cannot be had any more, and its record; and goes when it is replaced or
    too old."""
    world = World(t, {name: row[0] for name, row in SECOND.items()})
    veredus = world.veredus.start()
    world.send(SECOND)
    wrong = [w for name, row in SECOND.items() if (w := world.differs(name, row[1]))]
    v.check(not wrong, "\n".join(wrong))
    # The fetcher writes by itself: it is not asked to.
    file = os.path.join(veredus.queue, "fetcher/sts")
    v.wait(lambda: os.path.exists(file) and b"to-another-mx" in v.read(file) and b"keeps.plain" in v.read(file), 10, "the policies on disk")
    v.equal(os.stat(file).st_mode & 0o777, 0o600)
    (pid,) = veredus.daemons("fetcher")
    os.kill(pid, signal.SIGKILL)
    v.wait(lambda: veredus.daemons("fetcher") not in ([], [pid]), 10, "another fetcher")
    veredus.stop()
    for name, (_, _, then, _) in SECOND.items():
        if then:
            world.publish(name, then)
    time.sleep(max(0, 3.2 - (time.time() - os.stat(file).st_mtime)))
    asked, world.since = len(world.web.asked), len(veredus.log_text())
    veredus.start()
    world.send(SECOND, "2")
    wrong = [w for name, row in SECOND.items() if (w := world.differs(name, row[3], "2?"))]
    v.check(not wrong, "\n".join(wrong) + veredus.log_text()[-3000:] if wrong else "")
    again = [host for host, _ in world.web.asked[asked:]]
    for name in "keeps", "keeps-same-id", "keeps-without-server", "keeps-without-record", "keeps-with-two-records":
        v.check(f"mta-sts.{name}.plain" not in again, name, "was fetched again")
    log = veredus.log_text()
    v.check(re.search(r"no new MTA-STS policy of keeps-when-broken\.plain: the policy is none: it has no mode; the known one counts for 60\d+ s more", log),
            log[-3000:])
    v.check(re.search(r"MTA-STS policy of to-enforce\.plain: mode=enforce, id=2, max_age=604800, mx=to-enforce\.mx\.plain\n", log), log[-3000:])
    v.equal(world.route("keeps-when-untrusted")["sts"]["mode"], "enforce")
    v.check("ertificate" in world.route("keeps-when-untrusted")["sts"]["why"], world.route("keeps-when-untrusted"))
    stands_still(world)
    # A cache that is damaged is none, and no reason to stop.
    veredus.stop()
    v.write(file, v.read(file)[:-9] + b"damage!!!", 0o600)
    world.since = len(veredus.log_text())
    veredus.start()
    v.equal(world.differs("keeps-without-server", SENT, "2"), None)


def test_one_beside_others(t):
    """Domains of one MX: one whose policy server hangs, one whose policy nobody fits, and twenty others, who notice nothing."""
    rows = {f"good{i}": Case(policy(mx=["shared.plain"]) if i % 2 else None, txts=("v=STSv1; id=1;",) if i % 2 else ()) for i in range(20)}
    rows.update(hangs=Case(hang), hangs2=Case(hang), broken=Case(policy(mx=["elsewhere.plain"])), testing=Case(policy("testing", mx=["shared.plain"])))
    world = World(t, rows)
    zone = f"{world.tree.folder}/plain.zone"
    text = re.sub(r"(?m)^(\S+) MX 10 .*$", r"\1 MX 10 shared", v.read(zone).decode()) + f"shared A {v.SINK}\n"
    shared = secure.Receiver(t, pair=world.ca.signed("shared", "shared.plain"), address=v.SINK, port=25)
    v.write(zone, text)
    os.kill(int(v.read(f"{world.tree.folder}/nsd.pid")), signal.SIGHUP)
    v.wait(lambda: v.dns_answers(world.tree.nsd, "shared.plain"), 10, "the zone")
    veredus = world.veredus.start()
    for turn in "1", "2":
        began = time.time()
        world.send(rows, turn)
        for name in rows:
            if not name.startswith("hangs") and name != "broken":
                v.equal(world.outcome(name, turn)[1], "sent", name)
        v.check(time.time() - began < 20 * v.PATIENCE, "the others waited", time.time() - began)
    v.equal(world.differs("broken", deferred(NOT_NAMED), "1"), None)
    v.equal(len(shared.contents), 42)
    log = veredus.log_text()
    v.check("@hangs" not in log and " is down:" not in log, log[-2000:])
    # Those of equal policies share connections; those without one share others. Nobody's are mixed.
    policies = {}
    for to, under in re.findall(r"to=<x\d@(\w+)\.plain>.*status=sent.*policy=(\S+)", log):
        policies.setdefault(under, set()).add(to)
    v.equal({under: len(names) for under, names in policies.items()},
            {"sts/enforce/1": 10, "dane/default": 10, "sts/testing/20260101": 1})
    v.check(shared.connections < 42, "no connection was reused", shared.connections)
    told = world.route("hangs")["sts"]
    v.check(told["mode"] == "none" and "takes long" in told["why"], told)


def test_many_hang(t):
    """More servers hang than are asked at once; one that does not is asked all the same, and its policy obeyed."""
    silent = socket.create_server((SILENT, 443), backlog=300)
    t.defer(silent.close)
    world = World(t, {**{f"hangs{i}": Case(web="silent") for i in range(140)}, "good": Case(policy())})
    world.veredus.start()
    world.send([name for name in world.rows if name != "good"])
    v.wait(lambda: sum(name.startswith("mta-sts.hangs") for name, _ in world.tree.door.asked) >= 140, 20, "lookups")
    began = time.time()
    world.send(["good"])
    v.equal(world.differs("good", OBEYED), None)
    v.check(time.time() - began < 25 * v.PATIENCE, "after", time.time() - began)


@v.slow
def test_hanging(t):
    """Who has no policy and cannot have one waits a minute for it, once."""
    world = World(t, {"hangs": Case(hang), "silent": Case(policy())})
    world.tree.door.silent.add(("_mta-sts.silent.plain", TXT))
    del world.texts.records["_mta-sts.silent.plain"]
    world.veredus.start()
    began = time.time()
    world.send(["hangs", "silent"])
    v.equal(world.outcome("silent", seconds=30)[1], "sent")
    v.check(time.time() - began < 30, "the record was waited for", time.time() - began)
    v.equal(world.outcome("hangs", seconds=80)[1], "sent")
    v.check(58 < time.time() - began < 75, "the policy was waited for", time.time() - began)
    began = time.time()
    world.send(["hangs", "silent"], "2")
    v.equal([world.outcome(name, "2", 10)[1] for name in ("hangs", "silent")], ["sent", "sent"])
    v.check(time.time() - began < 5 * v.PATIENCE, "and waited for again")
    v.check("no policy within a minute" in world.route("hangs")["sts"]["why"] or "imed out" in world.route("hangs")["sts"]["why"], world.route("hangs"))


def skip_all(why):
    for name in [name for name in globals() if name.startswith("test_")]:
        def skipped(_):
            raise v.Skip(why)
        globals()[name] = skipped


if os.environ.get("STS_NETWORK"):
    v.main(globals())
elif not v.IS_ROOT:
    skip_all("a network of its own needs root")
elif subprocess.run(["unshare", "--net", "true"], stderr=subprocess.DEVNULL).returncode:
    skip_all("a network of its own is not allowed here")
else:
    os.execvpe("unshare", ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, os.path.abspath(__file__), *sys.argv[1:]],
               dict(os.environ, STS_NETWORK="1"))
v.main(globals())
