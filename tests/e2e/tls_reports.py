# SPDX-License-Identifier: ISC
"""Reports on TLS (RFC 8460): sessions with receivers of all kinds under a signed DNS tree, the day's end, and what
arrives by mail and by HTTPS, counted."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import email
import email.policy
import gzip
import hashlib
import http.server
import json
import re
import ssl
import threading
import time

import alone
import clock
import hostile as r
import pki
import secure as s
import signed
import veredus as v

REPORTS = "127.0.2.20"
DAY = 86400


class Collector:
    """Takes reports by HTTPS; what .status says is the answer to the next."""

    def __init__(self, t, pair):
        self.requests, self.status = [], [200]
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.requests.append((self.path, dict(self.headers), body))
                self.send_response(collector.status.pop(0) if len(collector.status) > 1 else collector.status[0])
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *words):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *words: None
        self.port = self.server.server_address[1]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        t.defer(self.server.server_close)
        t.defer(self.server.shutdown)


class World:
    """Receivers at addresses of their own and one port, a tree that names them, Veredus."""

    def __init__(self, t, rows, more="", routes="", broken=(), config="", reports=True):
        self.t, self.addresses, self.texts = t, {}, {}
        addresses = [f"127.0.2.{30 + i}" for i in range(len(rows))] + [REPORTS]
        self.port = v.free_port(addresses)
        zone, self.receivers = more, {}
        for address, (name, (options, records, _)) in zip(addresses, rows.items()):
            self.receivers[name] = s.Receiver(t, address=address, port=self.port, **options)
            zone += f"{name} MX 10 mx.{name}\nmx.{name} A {address}\n"
            zone += "".join(f"_{self.port}._tcp.mx.{name} {record}\n" for record in records)
        zone += f"reports MX 10 mx.reports\nmx.reports A {REPORTS}\ncollector A 127.0.0.1\n"
        self.addresses = dict(zip(rows, addresses))
        self.sink = t.sink(f"{REPORTS}:{self.port}", name="reports")
        self.tree = signed.Tree(t, {"example": signed.Zone(zone, broken=[(owner.format(self.port), kind) for owner, kind in broken])})
        settings = "tlsrpt { contact = tls@sender.example  organization = \"Sender & Sons\"  internal-hosts = yes }\n" if reports else ""
        self.veredus = t.veredus("retry { first = 1h longest = 2h }\n" + settings + config +
                                 f"resolver {{ forward = {{ {self.tree.forward} }} trust-anchor = {self.tree.anchor} }}\n"
                                 f"{routes.format(self.port)}route * {{ to = mx:{self.port} }}\n")

    def send(self, *names):
        client = v.Smtp(self.veredus.port)
        for name in names:
            before = self.veredus.log_text().count(f"to=<x@{name}.example>")
            client.send("sender@client.example", f"x@{name}.example", v.mail("x"))
            v.wait(lambda: self.veredus.log_text().count(f"to=<x@{name}.example>") > before, 20,
                   lambda: f"an attempt for {name}: {self.veredus.log_text()[-900:]}")
        client.close()


def seconds_to_midnight():
    return DAY - time.time() % DAY


def report_of(content):
    """A mail with a report, taken apart: (message, file's name, the JSON)."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    v.equal(message.get_content_type(), "multipart/report")
    v.equal(message["Content-Type"].params["report-type"], "tlsrpt")
    words, attached = message.iter_parts()
    v.equal(words.get_content_type(), "text/plain")
    v.equal(attached.get_content_type(), "application/tlsrpt+gzip")
    return message, attached.get_filename(), json.loads(gzip.decompress(attached.get_content()))


def asks(name, *targets):
    return f'_smtp._tls.{name} TXT "v=TLSRPTv1; rua={",".join(targets)}"\n'


MAILTO = "mailto:tls%2Dreports@reports.example"


def table(ca):
    """name: receiver, its TLSA records, and (policy type, sessions that went well, [failures]). What was deferred is tried
    again when Veredus starts again."""
    good = ca.signed("good", "mx.good.example")
    named, other = ca.signed("named", "mx.named.example"), ca.signed("other", "somebody.example")
    expired = ca.signed("expired", "mx.expired.example", dates=-1)
    own = lambda pair: f"TLSA 3 1 1 {hashlib.sha256(s.public_key(pair)).hexdigest()}"
    anchor = f"TLSA 2 0 1 {hashlib.sha256(s.der(ca)).hexdigest()}"
    no = "no-policy-found"
    return {
        "good": (dict(pair=good), [own(good), anchor], ("tlsa", 2, [])),
        "named": (dict(pair=named), [anchor], ("tlsa", 1, [])),
        "wrong": (dict(pair=good), [own(named)], ("tlsa", 0, [("certificate-not-trusted", 2)])),
        "other": (dict(pair=other), [anchor], ("tlsa", 0, [("certificate-host-mismatch", 2)])),
        "expired": (dict(pair=expired), [anchor], ("tlsa", 0, [("certificate-expired", 2)])),
        "stripped": ({}, [own(good)], ("tlsa", 0, [("starttls-not-supported", 2)])),
        "useless": (dict(pair=good), ["TLSA 1 0 1 " + "00" * 32], ("tlsa", 0, [("tlsa-invalid", 1)])),
        "bogus": (dict(pair=good), [own(good)], ("tlsa", 0, [("dnssec-invalid", 2)])),
        "required": (dict(pair=good), [], ("tlsa", 0, [("dane-required", 2)])),
        "plain": ({}, [], (no, 0, [("starttls-not-supported", 1)])),
        "refuses": (dict(pair=good, star=b"454 4.7.0 not now\r\n"), [], (no, 0, [("validation-failure", 1)])),
        "breaks": (dict(pair=good, star=lambda c: (c.send(s.READY), r.close(c))), [], (no, 0, [("validation-failure", 1)])),
        "any": (dict(pair=other), [], (no, 1, [])),
        "crowd": (dict(pair=good), [], (no, range(1, 6), [])),  # many mails over few connections
        "silent": (dict(pair=good), [], None),  # asks for nothing
        "twice": (dict(pair=good), [], None),   # has two records
        "may": (dict(pair=good), [], None),     # the route says what TLS it gets
    }


def check_report(world, name, wanted, report, day):
    policy_type, fine, failures = wanted
    start = time.strftime("%Y-%m-%d", time.gmtime(day * DAY))
    v.equal(sorted(report), ["contact-info", "date-range", "organization-name", "policies", "report-id"])
    v.equal((report["organization-name"], report["contact-info"]), ("Sender & Sons", "tls@sender.example"))
    v.equal(report["date-range"], {"start-datetime": start + "T00:00:00Z", "end-datetime": start + "T23:59:59Z"})
    v.equal(len(report["policies"]), 1, report)
    one = report["policies"][0]
    v.equal(one["policy"]["policy-type"], policy_type, name)
    v.equal(one["policy"]["policy-domain"], f"mx.{name}.example" if policy_type == "tlsa" else f"{name}.example", name)
    if isinstance(fine, range):
        v.check(one["summary"]["total-successful-session-count"] in fine, name, one["summary"], fine)
        fine = one["summary"]["total-successful-session-count"]
    v.equal(one["summary"], {"total-successful-session-count": fine, "total-failure-session-count": sum(n for _, n in failures)}, name)
    v.equal([(f["result-type"], f["failed-session-count"]) for f in one.get("failure-details", [])], failures, name)
    for failure in one.get("failure-details", []):
        v.equal(failure["receiving-mx-hostname"], f"mx.{name}.example")
        if failure["result-type"] not in ("dnssec-invalid", "dane-required"):
            v.equal(failure["receiving-ip"], world.addresses[name])
            v.check(failure["sending-mta-ip"].startswith("127."), failure)
        if failure["result-type"] in ("certificate-not-trusted", "validation-failure"):
            v.check(failure["failure-reason-code"], failure)


def test_a_day(t):
    """Every kind of result, each counted; a restart in between; the day's end; mail and HTTPS; no report on reports."""
    ca = s.Authority(t.folder, "authority", host="Test Authority")
    web = ca.signed("collector", "collector.example")
    collector = Collector(t, web)
    rows = table(ca)
    url = f"https://collector.example:{collector.port}/v1/tls?of=good"
    more = asks("good", MAILTO, url) + asks("reports", MAILTO) + asks("may", MAILTO) + asks("twice", MAILTO) + asks("twice", url)
    more += "guest MX 10 mx.crowd\n" + asks("guest", MAILTO)
    more += "".join(asks(name, MAILTO) for name, row in rows.items() if row[2] and name != "good")
    world = World(t, rows, more, "route required.example {{ to = mx:{0} tls = dane-only }}\nroute may.example {{ to = mx:{0} tls = may }}\n",
                  [("_{0}._tcp.mx.bogus.example", "TLSA")], f"tls-authorities = {ca.certificate}\nlimits {{ site-connections = 1 }}\n")
    veredus = world.veredus
    move = clock.movable(t, veredus)
    back = 3600 if seconds_to_midnight() < 120 else 0
    move(-back)
    veredus.start()
    day = int(time.time() - back) // DAY
    world.send(*rows)
    veredus.stop()
    veredus.start()
    world.send("good")
    # A connection counts once for each domain whose mail goes over it.
    client = v.Smtp(veredus.port)
    for n in range(12):
        client.send("sender@client.example", [f"{n}@{name}.example" for name in ("crowd", "guest")], v.mail("x"))
    client.close()
    v.wait(lambda: len(re.findall(r"to=<\d+@(?:crowd|guest).example>.* status=sent", veredus.log_text())) == 24, 20, "the crowd's mail")
    for name in "wrong", "other", "expired", "stripped", "bogus", "required":
        v.wait(lambda: veredus.log_text().count(f"to=<x@{name}.example>") == 2, 20, f"two attempts for {name}")
    lines, there = [], {"good.example: 2 sessions, 0 failed", "wrong.example: 2 sessions, 2 failed"}

    def gathered():  # by smtp-client, for three seconds
        lines[:] = veredus.command("tls-report").splitlines()
        return there <= set(lines) and any(line.startswith("guest.example: ") for line in lines)
    v.wait(gathered, 8, lambda: f"the sessions: {lines}")
    v.check(lines.index("wrong.example: 2 sessions, 2 failed") < lines.index("good.example: 2 sessions, 0 failed"), "the order", lines)
    today = json.loads(veredus.command("tls-report", "Good.Example", "--json"))
    veredus.command("tls-report", "nobody.example", status=1)
    collector.status = [503, 201]
    move((day + 1) * DAY + 5 * 3600 - time.time())
    wanted = {name: row[2] for name, row in rows.items() if row[2]}
    crowd = world.receivers["crowd"].connections
    v.check(crowd < 6, "connections", crowd)
    wanted.update(crowd=("no-policy-found", range(1, crowd + 1), []), guest=("no-policy-found", range(1, crowd + 1), []))
    arrived = world.sink.wait_mails(len(wanted), 30)
    v.wait(lambda: collector.requests, 10, "a report over HTTPS")
    seen = {}
    for envelope, content in arrived:
        message, filename, report = report_of(content)
        name = message["TLS-Report-Domain"].removesuffix(".example")
        v.check(name in wanted and name not in seen, "a report on", name)
        seen[name] = report
        v.equal(filename, f"sender.example!{name}.example!{day * DAY}!{day * DAY + DAY - 1}.json.gz")
        v.equal((message["TLS-Report-Submitter"], message["TLS-Required"]), ("sender.example", "No"))
        v.equal(message["From"].addresses[0].addr_spec, "tls@sender.example")
        v.equal(str(message["Subject"]), f"Report Domain: {name}.example Submitter: sender.example Report-ID: <{report['report-id']}>")
        check_report(world, name, wanted[name], report, day)
    v.equal(sorted(seen), sorted(wanted))
    v.equal(seen["good"]["policies"][0]["policy"]["policy-string"], sorted(row[5:] for row in rows["good"][1]), "TLSA, in order")
    # HTTPS: refused once, and brought again when its time has come; the mail is not.
    path, headers, body = collector.requests[0]
    v.equal((path, headers["Content-Type"]), ("/v1/tls?of=good", "application/tlsrpt+gzip"))
    v.equal(json.loads(gzip.decompress(body)), seen["good"])
    v.equal(today, seen["good"], "what veredus tls-report said of it")
    veredus.wait_log(r"TLS report: domain=good.example, .*collector.example.*, answer 503")
    move((day + 1) * DAY + 6 * 3600 - time.time())
    veredus.wait_log(r"TLS report: domain=good.example, day=[\d-]+, sessions=2, failed=0, to=https://collector.example\S*, answer 201", 20)
    v.equal([r[2] for r in collector.requests], [body, body])
    time.sleep(3)
    v.equal(len(world.sink.mails()), len(wanted), "mails")
    asked = {name for name, kind in world.tree.door.asked if name.startswith("_smtp._tls.")}
    v.check("_smtp._tls.silent.example" in asked and "_smtp._tls.twice.example" in asked, asked)
    v.check("_smtp._tls.may.example" not in asked, "a route's own policy was counted")
    # The reports themselves went there, and are in none.
    move((day + 2) * DAY + 5 * 3600 - time.time())
    time.sleep(5)
    v.equal(len(world.sink.mails()), len(wanted), "reports on reports")
    v.check(not re.search("SIGSYS|was killed", veredus.log_text()), veredus.log_text()[-1500:])


ASKS = f"v=TLSRPTv1; rua=mailto:tls@a.example,https://r.example/tls".encode()
FOUND, TEMPORARY, PERMANENT = 0, 1, 2  # enum hop_verdict


def test_tries_again(t):
    """limits alone, we are its neighbours: lookups, mails and requests that fail are tried again when their time has
    come, what went well is not; a day later it is given up."""
    home = t.veredus("", name="clock")
    move = clock.movable(t, home)
    daemon = alone.Daemon(t, "limits", "tlsrpt { contact = tls@sender.example }\n", environment=home.environment)
    daemon.begin()
    client, resolver, submission, fetcher = (daemon.peer(kind) for kind in ("smtp-client", "resolver", "submission", "fetcher"))
    now = time.time()
    if seconds_to_midnight() < 60:
        now -= 3600
        move(-3600)
    row = dict(policy_domain=b"x", policy=0, result=0, count=3)
    client.say("tls_results", results=[dict(row, domain=name) for name in (b"a.example", b"b.example", b"c.example")])
    daemon.lives("results")
    time.sleep(0.5)
    moved = [(int(now) // DAY + 1) * DAY + 5 * 3600 - time.time()]

    def later(seconds):
        moved[0] += seconds
        move(moved[0])

    def answer(name, **values):
        asked = resolver.expect("txt_ask", 10, name=b"_smtp._tls." + name)
        resolver.say("txt_is", query=asked["query"], **values)

    there = dict(verdict=FOUND, total=1, records=[dict(length=len(ASKS), data=ASKS)])
    later(0)
    answer(b"c.example", verdict=PERMANENT)
    answer(b"b.example", verdict=TEMPORARY)
    answer(b"a.example", verdict=TEMPORARY)
    daemon.lives("too early")
    resolver.got.clear()
    later(240)
    time.sleep(3)
    resolver.pump(0)
    v.equal(resolver.got, [], "asked too early")
    later(120)
    answer(b"b.example", verdict=TEMPORARY)
    answer(b"a.example", **there)
    report = submission.expect("tls_report", 5, domain=b"a.example", to=b"tls@a.example")
    whole = json.loads(gzip.decompress(report["report"]))
    v.equal(whole["policies"][0]["summary"], {"total-successful-session-count": 3, "total-failure-session-count": 0})
    submission.say("handed", token=report["token"], code=451, reply=b"4.3.2 later")
    request = fetcher.expect("fetch", 5, url=b"https://r.example/tls", body=report["report"])
    fetcher.say("fetched", query=request["query"], outcome=0, status=200)
    daemon.lives("once")
    fetcher.got.clear()
    later(601)
    answer(b"b.example", **there)
    answer(b"a.example", **there)
    # b has the same targets: the mail is refused for good there, the request fails for now.
    mails = {m["domain"]: m for m in (submission.expect("tls_report", 5), submission.expect("tls_report", 5))}
    v.equal(sorted(mails), [b"a.example", b"b.example"])
    submission.say("handed", token=mails[b"a.example"]["token"], taken=1, code=250)
    submission.say("handed", token=mails[b"b.example"]["token"], code=554, reply=b"5.1.3 no")
    request = fetcher.expect("fetch", 5)
    v.equal(json.loads(gzip.decompress(request["body"]))["report-id"].split(".")[1], "b", "a.example gets no second request")
    fetcher.say("fetched", query=request["query"], outcome=4, reason=b"no connection")
    daemon.lives("twice")
    resolver.got.clear()
    later(4 * 3600)
    answer(b"b.example", **there)
    request = fetcher.expect("fetch", 5)
    fetcher.say("fetched", query=request["query"], outcome=0, status=500)
    daemon.lives("b once more")
    v.equal([m for m in resolver.got if m[0] == "txt_ask"], [], "asked again for what is done")
    client.say("tls_results", results=[dict(row, domain=b"d.example")])
    time.sleep(0.5)
    later(DAY)
    answer(b"d.example", verdict=PERMANENT)
    v.wait(lambda: "TLS reports for 1 domains were given up after a day" in daemon.process.said(4000), 10, lambda: daemon.process.said(3000))


def test_clock_jumps(t):
    """A clock that was years ahead for a while, and what was counted in that time."""
    home = t.veredus("", name="clock")
    move = clock.movable(t, home)
    daemon = alone.Daemon(t, "limits", "tlsrpt { contact = tls@sender.example }\n", environment=home.environment)
    daemon.begin()
    client, resolver = daemon.peer("smtp-client"), daemon.peer("resolver")
    row = dict(policy_domain=b"x", policy=0, result=0, count=3)
    daemon.lives("neighbours")
    move(3650 * DAY)
    client.say("tls_results", results=[dict(row, domain=b"ahead.example")])
    daemon.lives("results")
    time.sleep(0.5)
    move(0)
    time.sleep(2.5)
    move((int(time.time()) // DAY + 1) * DAY + 5 * 3600 - time.time())
    resolver.expect("txt_ask", 10, name=b"_smtp._tls.ahead.example")


if v.PATIENCE > 1:
    del test_a_day, test_tries_again, test_clock_jumps  # its shim must come first in LD_PRELOAD, and so must the sanitizer
v.main(globals())
