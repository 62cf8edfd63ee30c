# SPDX-License-Identifier: ISC
"""DANE (RFC 7672): what a mail's hosts and their TLSA records are found to be, asked with `veredus route` over a signed
DNS tree, a root of its own above it, on loopback."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import hashlib
import json
import re
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import alone
import pki
import secure
import signed
import veredus as v

TIMEOUT = 3  # resolver { timeout }, s
ADDRESS = "192.0.2.1"


def certificate(t):
    """{selector: DER} of one certificate: the whole, and its public key."""
    pair = pki.Pair(t.folder, "receiver", host="mx.example")
    return [pki.openssl("x509", "-in", pair.certificate, "-outform", "DER"),
            pki.openssl("pkey", "-pubin", "-outform", "DER", input=pki.openssl("x509", "-in", pair.certificate, "-noout", "-pubkey"))]


DIGESTS = {0: lambda data: data, 1: lambda data: hashlib.sha256(data).digest(), 2: lambda data: hashlib.sha512(data).digest()}


def tlsa(usage, selector, matching, data):
    return f"TLSA {usage} {selector} {matching} {data.hex()}"


class Table:
    """The cases: what stands in the zones for each, and what veredus route must say."""

    def __init__(self, der):
        self.der, self.cases, self.zones = der, [], {}
        self.sha = tlsa(3, 1, 1, DIGESTS[1](der[1]))
        self.broken, self.expired = [], []

    def case(self, name, records="", domain=None, **wanted):
        self.zones.setdefault("example", "")
        self.zones["example"] += records + "\n" if records else ""
        self.cases.append((name, domain or name + ".example", wanted))

    def host(self, name, *records, base=None, domain=None, **wanted):
        """One MX host with one address, and those TLSA records."""
        text = f"{name} MX 10 mx.{name}\nmx.{name} A {ADDRESS}\n" + "".join(f"_25._tcp.mx.{name} {r}\n" for r in records)
        self.case(name, text, **dict(dict(mx="secure", host="secure", base=f"mx.{name}.example" if base is None else base), **wanted))


def records(table):
    """Each usage, selector and matching type, and what is wrong with others."""
    der = table.der
    for usage in range(4):
        for selector in range(2):
            for matching in range(3):
                good = usage > 1
                table.host(f"u{usage}s{selector}m{matching}", tlsa(usage, selector, matching, DIGESTS[matching](der[selector])),
                           tlsa="usable" if good else "unusable", usable=int(good), faults=[] if good else ["usages 0 and 1"])
    digest = DIGESTS[1](der[1])
    for name, values, fault in (("usage4", (4, 1, 1), "unknown usage"), ("usage255", (255, 1, 1), "unknown usage"),
                                ("selector2", (3, 2, 1), "unknown selector"), ("selector255", (2, 255, 1), "unknown selector"),
                                ("matching3", (3, 1, 3), "unknown matching"), ("matching255", (2, 0, 255), "unknown matching")):
        table.host(name, tlsa(*values, digest), tlsa="unusable", usable=0, faults=[fault])
    for name, values, data in (("short256", (3, 1, 1), digest[:31]), ("long256", (3, 1, 1), digest + b"\0"), ("short512", (2, 0, 2), digest),
                               ("noder", (3, 0, 0), b"no certificate"), ("cutder", (2, 0, 0), der[0][:-1]), ("longder", (3, 1, 0), der[1] + b"\0")):
        table.host(name, tlsa(*values, data), tlsa="unusable", usable=0, faults=["its data"])
    # Larger than what is held: never taken for a set that is of no use.
    huge = b"\x30\x82" + (8000).to_bytes(2, "big") + bytes(8000)
    table.host("huge", tlsa(3, 0, 0, huge), tlsa="failed", usable=0, faults=["more than is held"])
    table.host("hugeandgood", tlsa(3, 0, 0, huge), table.sha, tlsa="usable", usable=1, faults=["more than is held"])
    # Rollover, and sets of several kinds.
    other = tlsa(3, 1, 1, hashlib.sha256(b"the next key").digest())
    table.host("rollover", table.sha, other, tlsa="usable", usable=2)
    table.host("threeof", table.sha, other, tlsa(2, 0, 1, DIGESTS[1](der[0])), tlsa="usable", usable=3)
    table.host("mixed", tlsa(1, 0, 1, DIGESTS[1](der[0])), table.sha, tlsa(9, 9, 9, digest), tlsa="usable", usable=1,
               faults=["usages 0 and 1", "unknown usage"])
    table.host("alluseless", tlsa(1, 0, 1, DIGESTS[1](der[0])), tlsa(3, 7, 1, digest), tlsa="unusable", usable=0)
    table.host("seventeen", *(tlsa(3, 1, 1, hashlib.sha256(bytes([i])).digest()) for i in range(17)), tlsa="usable", usable=16)


def denials(table):
    table.host("nsec", base="", tlsa="none", asked=True)
    table.host("nodata", 'TXT "no TLSA here"', base="", tlsa="none", asked=True)
    table.host("wildtlsa", base=None, tlsa="usable", usable=1)
    table.zones["example"] += f"*._tcp.mx.wildtlsa {table.sha}\n"
    table.case("wildmx", f"*.wildmx MX 10 mx.wildmx\nmx.wildmx A {ADDRESS}\n_25._tcp.mx.wildmx {table.sha}", domain="any.wildmx.example",
               mx="secure", host="secure", tlsa="usable", base="mx.wildmx.example")
    for origin, sign in ("nsec3", "nsec3"), ("optout", "optout"):
        table.zones[origin] = (f"@ MX 10 mx\nmx A {ADDRESS}\nfull MX 10 mx.full\nmx.full A {ADDRESS}\n_25._tcp.mx.full {table.sha}\n"
                               f'half MX 10 mx.half\nmx.half A {ADDRESS}\n_25._tcp.mx.half TXT "no TLSA"\n')
        secure = dict(mx="secure", host="secure")
        # RFC 5155 section 12.2.1: what an opt-out span denies is not proven to be absent.
        table.case(origin, domain=origin, tlsa="none", base="", asked=True, **secure)
        table.case(origin + "_there", domain=f"full.{origin}", tlsa="usable", base=f"mx.full.{origin}", **secure)
        table.case(origin + "_nodata", domain=f"half.{origin}", tlsa="none", base="", asked=True, **secure)


def states(table):
    """Secure, insecure, bogus and failing, at each step."""
    sha = table.sha
    plain = f"@ MX 10 mx\nmx A {ADDRESS}\n_25._tcp.mx {sha}\nalias CNAME mx.rollover.example.\nrecords {sha}\n"
    table.zones.update(plain=plain, wrongds=plain, unknownds=plain)
    table.case("insecure_mx", domain="plain", mx="insecure", host="insecure", tlsa="none", asked=False, unasked="_25._tcp.mx.plain")
    table.case("unknown_algorithm", domain="unknownds", mx="insecure", host="insecure", tlsa="none", asked=False, unasked="_25._tcp.mx.unknownds")
    table.case("wrong_ds", domain="wrongds", verdict="temporary", dsn="4.4.3", mx="bogus", reason="MX lookup failed: DNSSEC validation failed")
    table.case("insecure_host", "tosecure MX 10 mx.plain.", domain="tosecure.example", mx="secure", host="insecure", tlsa="none", asked=False,
               unasked="_25._tcp.mx.plain")
    table.case("mx_insecure_host_secure", domain="viaplain", mx="insecure", host="secure", tlsa="none", asked=False, unasked="_25._tcp.mx.viaplainhost.example")
    table.zones["viaplain"] = "@ MX 10 mx.viaplainhost.example.\n"
    table.zones["example"] += f"mx.viaplainhost A {ADDRESS}\n_25._tcp.mx.viaplainhost {sha}\n"
    for what, kind in ("bogus", table.broken), ("expired", table.expired):
        said = "DNSSEC validation failed"
        table.host(f"{what}mx", sha, verdict="temporary", dsn="4.4.3", mx="bogus", host=None, base="", reason=said, hosts=0)
        kind.append((f"{what}mx.example", "MX"))
        table.host(f"{what}tlsa", sha, tlsa="failed", usable=0, tlsa_why=said)
        kind.append((f"_25._tcp.mx.{what}tlsa.example", "TLSA"))
        table.host(f"{what}address", sha, verdict="temporary", dsn="4.4.3", mx="secure", host="bogus", base="", reason=said)
        kind.append((f"mx.{what}address.example", "A"))
        table.host(f"{what}denial", tlsa="failed", tlsa_why=said)
        kind.append((f"mx.{what}denial.example", "NSEC"))
    table.host("servfail", sha, tlsa="failed", tlsa_why="SERVFAIL")
    table.host("servfailbase", sha, verdict="temporary", dsn="4.4.3", mx="secure", host="insecure", base="", reason="address lookup failed: SERVFAIL")
    # One family bogus, the other fine: the host is reached over that, and DANE holds.
    table.host("onefamily", sha, tlsa="usable", usable=1, why="DNSSEC validation failed")
    table.zones["example"] += "mx.onefamily AAAA 2001:db8::1\n"
    table.broken.append(("mx.onefamily.example", "AAAA"))
    table.zones["example"] += f"late MX 10 mx.late\nmx.late A {ADDRESS}\n_25._tcp.mx.late {sha}\n"
    table.zones["example"] += f"silent MX 10 mx.silent\nsilent MX 20 mx.rollover\nmx.silent A {ADDRESS}\n_25._tcp.mx.silent {sha}\n"
    # Two hosts: one is skipped, the other stands.
    table.case("twohosts", f"twohosts MX 10 mx.bogustlsa\ntwohosts MX 20 mx.rollover\ntwohosts MX 30 mx.plain.", mx="secure", each=[
        ("mx.bogustlsa.example", "failed"), ("mx.rollover.example", "usable"), ("mx.plain", "none")])
    table.case("nullmx", "nullmx MX 0 .", verdict="permanent", dsn="5.1.10", mx="secure", hosts=0)
    table.case("nosuch", verdict="permanent", dsn="5.1.2", mx="secure", hosts=0)
    table.case("implicit", f"implicit A {ADDRESS}\n_25._tcp.implicit {sha}", mx="secure", host="secure", origin="itself, without MX",
               tlsa="usable", base="implicit.example")
    table.case("sixfour", f"sixfour MX 10 mx.sixfour\nmx.sixfour A {ADDRESS}\nmx.sixfour AAAA 2001:db8::2\n_25._tcp.mx.sixfour {sha}",
               mx="secure", host="secure", tlsa="usable", base="mx.sixfour.example")


def aliases(table):
    """RFC 7672 section 2.2.2: the end of the CNAMEs first, then the name in the MX."""
    sha, there = table.sha, dict(mx="secure", host="secure", tlsa="usable", usable=1)

    def alias(name, text, base, **wanted):
        table.case(name, f"{name} MX 10 mx.{name}\n{text}", **dict(dict(there, base=base), **wanted))

    alias("cnameend", f"mx.cnameend CNAME end.cnameend\nend.cnameend A {ADDRESS}\n_25._tcp.end.cnameend {sha}", "end.cnameend.example",
          alias="end.cnameend.example")
    alias("cnamefirst", f"mx.cnamefirst CNAME end.cnamefirst\nend.cnamefirst A {ADDRESS}\n_25._tcp.mx.cnamefirst {sha}",
          "mx.cnamefirst.example")
    alias("cnameboth", f"mx.cnameboth CNAME end.cnameboth\nend.cnameboth A {ADDRESS}\n_25._tcp.end.cnameboth {sha}\n"
                       f"_25._tcp.mx.cnameboth {sha}\n_25._tcp.mx.cnameboth {tlsa(3, 1, 1, bytes(32))}", "end.cnameboth.example")
    alias("cnamenone", f"mx.cnamenone CNAME end.cnamenone\nend.cnamenone A {ADDRESS}", "", tlsa="none", usable=0, asked=True)
    alias("cnamechain", f"mx.cnamechain CNAME a.cnamechain\na.cnamechain CNAME b.cnamechain\nb.cnamechain CNAME mx.full.nsec3.\n",
          "mx.full.nsec3", alias="mx.full.nsec3")
    alias("cnameinsecure", f"mx.cnameinsecure CNAME mx.plain.\n_25._tcp.mx.cnameinsecure {sha}", "mx.cnameinsecure.example", host="insecure",
          alias="mx.plain", unasked="_25._tcp.mx.plain")
    alias("cnameinsecurenone", f"mx.cnameinsecurenone CNAME mx.plain.", "", host="insecure", tlsa="none", usable=0, asked=True)
    alias("cnamebogus", f"mx.cnamebogus CNAME end.cnamebogus\nend.cnamebogus A {ADDRESS}\n_25._tcp.mx.cnamebogus {sha}", "", verdict="temporary",
          dsn="4.4.3", host="bogus", tlsa="none", usable=0)
    table.broken.append(("mx.cnamebogus.example", "CNAME"))
    alias("cnameendfails", f"mx.cnameendfails CNAME mx.bogustlsa\n_25._tcp.mx.cnameendfails {sha}", "mx.bogustlsa.example", tlsa="failed", usable=0)
    # The records' own name may be an alias (RFC 6698 section 3): to what is secure, and to what is not.
    alias("tlsaalias", f"mx.tlsaalias A {ADDRESS}\n_25._tcp.mx.tlsaalias CNAME dane.tlsaalias\ndane.tlsaalias {sha}", "mx.tlsaalias.example")
    alias("tlsatoplain", f"mx.tlsatoplain A {ADDRESS}\n_25._tcp.mx.tlsatoplain CNAME records.plain.", "", tlsa="none", usable=0, asked=True,
          tlsa_why="not secure")
    table.case("mxalias", f"mxalias CNAME rollover", mx="secure", host="secure", tlsa="usable", base="mx.rollover.example", usable=2)
    table.case("insecurealias", domain="wholealias", mx="insecure", host="insecure", tlsa="none", asked=False)
    table.zones["wholealias"] = "@ MX 10 alias\nalias CNAME mx.rollover.example.\n"


def routes(table):
    """Next hops that the configuration names; what they are in the file."""
    text = ""

    def route(name, to, **wanted):
        nonlocal text
        text += f"route {name}.routed {{ to = {to} }}\n"
        table.case("route_" + name, domain=f"{name}.routed", **wanted)

    route("port", "smtp:mx.port.example:2626", mx="insecure", origin="route", host="secure", tlsa="usable", base="mx.port.example",
          unasked="_25._tcp.mx.port.example")
    table.zones["example"] += f"mx.port A {ADDRESS}\n_2626._tcp.mx.port {table.sha}\n_25._tcp.mx.port {tlsa(1, 1, 1, bytes(32))}\n"
    route("host", "smtp:mx.rollover.example", origin="route", host="secure", tlsa="usable", base="mx.rollover.example")
    route("plainhost", "smtp:mx.plain", origin="route", host="insecure", tlsa="none", asked=False, unasked="_25._tcp.mx.plain")
    route("plainalias", "smtp:alias.plain", origin="route", host="insecure", tlsa="none", asked=False)
    route("literal", "smtp:[192.0.2.9]", origin="route", tlsa="none", asked=False)
    route("lmtp", "lmtp:mx.rollover.example:24", origin="route", tlsa="none", asked=False)
    table.case("mxport", f"mxport MX 10 mx.port", mx="secure", host="secure", tlsa="usable", base="mx.port.example")
    text += "route mxport.example { to = mx:2626 }\nroute gone.routed { to = \"reject: no longer here\" }\nroute away.routed { to = discard }\n"
    return text


def ask(veredus, address):
    """What veredus route says."""
    done = subprocess.run([os.path.join(veredus.build, "veredus"), "route", "--json", address, "-c", veredus.conf], env=veredus.environment,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60 * v.PATIENCE, **veredus.demote)
    v.check(done.stdout, f"veredus route {address}: {done.returncode} {done.stderr.decode()}")
    return done.returncode, json.loads(done.stdout)


def differences(status, got, wanted, door):
    """What veredus route says otherwise than WANTED."""
    host = (got["hosts"] or [{}])[0]
    set_ = host.get("tlsa", {"state": None, "base": None, "records": [], "asked": False, "why": ""})
    verdict = wanted.get("verdict", "found")
    seen = dict(verdict=got["verdict"], status=status, dsn=got["dsn"], mx=got["dnssec"], origin=got["origin"], hosts=len(got["hosts"]),
                host=host.get("dnssec"), alias=host.get("alias"), tlsa=set_["state"], base=set_["base"] or "", asked=set_["asked"],
                usable=sum(r["usable"] for r in set_["records"]))
    expected = dict(verdict=verdict, status=int(verdict != "found"), **{k: w for k, w in wanted.items() if k in seen and k != "verdict"})
    wrong = [f"{k}: {seen[k]!r}, not {w!r}" for k, w in expected.items() if w is not None and seen[k] != w]
    for key, text in ("reason", got["reason"]), ("tlsa_why", set_["why"]), ("why", host.get("why", "")):
        if wanted.get(key, "") not in text:
            wrong.append(f"{key}: {text!r} says nothing of {wanted[key]!r}")
    faults = sorted(r["why"] for r in set_["records"] if not r["usable"])
    for fault in wanted.get("faults", []):
        if not any(fault in f for f in faults):
            wrong.append(f"no record is {fault!r}: {faults}")
    if "each" in wanted and [(h["name"], h["tlsa"]["state"]) for h in got["hosts"]] != wanted["each"]:
        wrong.append(f"hosts: {[(h['name'], h['tlsa']['state']) for h in got['hosts']]}")
    if "unasked" in wanted and door.count(wanted["unasked"], "TLSA"):
        wrong.append(f"{wanted['unasked']} TLSA was asked for")
    return wrong


def table_tree(t, table):
    kinds = {"nsec3": dict(sign="nsec3"), "optout": dict(sign="optout"), "plain": dict(sign=None), "viaplain": dict(sign=None),
             "wholealias": dict(sign=None), "wrongds": dict(ds="wrong"), "unknownds": dict(ds="unknown"),
             "example": dict(broken=table.broken, expired=table.expired)}
    tree = signed.Tree(t, {origin: signed.Zone(text, **kinds[origin]) for origin, text in table.zones.items()})
    tree.door.servfail |= {("_25._tcp.mx.servfail.example", 52), ("mx.servfailbase.example", 1), ("mx.servfailbase.example", 28)}
    return tree


def test_table(t):
    """Each case as veredus route --json tells it."""
    table = Table(certificate(t))
    for fill in records, denials, states, aliases:
        fill(table)
    config = routes(table)
    tree = table_tree(t, table)
    veredus = t.veredus(f"resolver {{ forward = {{ {tree.forward} }} trust-anchor = {tree.anchor} timeout = {TIMEOUT}s }}\n{config}").start()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda case: ask(veredus, "someone@" + case[1]), table.cases))
    wrong = [f"{name}: {'; '.join(bad)}" for (name, _, wanted), (status, got) in zip(table.cases, answers)
             for bad in [differences(status, got, wanted, tree.door)] if bad]
    print(f"  {len(table.cases)} cases, {len(tree.door.asked)} questions")
    v.check(not wrong, f"{len(wrong)} of {len(table.cases)} cases:\n" + "\n".join(wrong))
    v.check("starting it again" not in veredus.log_text(), veredus.log_text())
    unanswered(tree, veredus)
    ended_meanwhile(tree, veredus)
    people(veredus)


def unanswered(tree, veredus):
    """A TLSA question without an answer ends with the resolver's timeout, and is a failure of that host alone."""
    tree.door.silent.add(("_25._tcp.mx.silent.example", 52))
    status, got = ask(veredus, "someone@silent.example")
    why = got["hosts"][0]["tlsa"]["why"]  # libunbound may give up before the resolver does
    v.check(why in ("timed out", "SERVFAIL"), why)
    v.equal((status, [(h["name"], h["tlsa"]["state"], h["tlsa"]["why"], h["used"]) for h in got["hosts"]]),
            (0, [("mx.silent.example", "failed", why, True), ("mx.rollover.example", "usable", "", True)]), "without an answer")


def people(veredus):
    """The same, for people to read."""
    for address, status, said in (
            ("someone@mixed.example", 0, ["domain      mixed.example\n", "route       * { to = mx }, since no route block says otherwise\n",
                                          "next hop    mixed.example; MX, secure; port 25\n", "site        mx.mixed.example\n", "limits      50 connections",
                                          "        10  mx.mixed.example; addresses secure: 192.0.2.1\n", "TLSA  usable, below mx.mixed.example\n", "tls         dane\n",
                                          "TLS   required, with a certificate that one of these records fits\n",
                                          "  3 1 1 ", "of no use: usages 0 and 1 are not for SMTP\n"]),
            ("x@plain", 0, ["MX, insecure", "TLSA  not asked for: the MX set is not secure\n"]),
            ("bogusmx.example", 1, ["MX, bogus", "verdict     tried again later: 451 4.4.3 bogusmx.example: MX lookup failed: DNSSEC validation failed"]),
            ("x@port.routed", 0, ["route       port.routed { to = smtp:mx.port.example:2626 }, line ", "next hop    mx.port.example; port 2626\n"]),
            ("x@gone.routed", 1, ["route       gone.routed { to = reject: no longer here }, line ", "none: returned to the sender"]),
            ("x@away.routed", 0, ["none: discarded"])):
        got = veredus.command("route", address, status=status)
        v.check(all(text in got for text in said), f"veredus route {address}: {got}; missing: {[text for text in said if text not in got]}")
    for words, status, said in ((("route",), 64, "usage: veredus route"), (("route", "a@b", "c@d"), 64, "usage"), (("route", "a@"), 1, "it is no address"),
                                (("route", "@b"), 1, "it is no address"), (("route", ""), 1, "neither an address nor a domain"), (("route", "x" * 600), 64, "512")):
        done = subprocess.run([os.path.join(veredus.build, "veredus"), *words, "-c", veredus.conf], env=veredus.environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=60 * v.PATIENCE, **veredus.demote)
        v.check(done.returncode == status and said in done.stdout.decode(), words, done.returncode, done.stdout.decode())


def ended_meanwhile(tree, veredus):
    """A resolver that dies with the question: that is said, and the next question is answered by another one."""
    said, question = [], ("_25._tcp.mx.late.example", 52)
    tree.door.silent.add(question)
    asked = threading.Thread(target=lambda: said.append(subprocess.run(
        [os.path.join(veredus.build, "veredus"), "route", "late.example", "-c", veredus.conf], env=veredus.environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60 * v.PATIENCE, **veredus.demote)))
    pid = veredus.daemons("resolver")[0]
    asked.start()
    v.wait(lambda: question in tree.door.asked, 10, "the question")
    os.kill(pid, signal.SIGKILL)
    asked.join()
    v.check(said[0].returncode == 1 and b"the resolver ended meanwhile" in said[0].stdout, said)
    v.wait(lambda: veredus.command("route", "mixed.example", status=None).count("TLSA  usable"), 10, "an answer of the next one")


NONE, USABLE, UNUSABLE, FAILED = range(4)  # enum tlsa_state


def test_hosts(t):
    """What smtp-client is told: the usable records with each address, and bounds for what somebody's zone can make of that."""
    der = certificate(t)
    digest, next_one = (hashlib.sha256(data).digest() for data in (der[1], b"the next key"))
    text = f"rollover MX 10 mx\nmx A {ADDRESS}\nmx AAAA 2001:db8::1\nmx A 192.0.2.2\n" + "".join(
        f"_25._tcp.mx {r}\n" for r in (tlsa(1, 1, 1, digest), tlsa(3, 1, 1, digest), tlsa(3, 1, 2, hashlib.sha512(der[1]).digest())))
    text += f"useless MX 10 mx.useless\nmx.useless A {ADDRESS}\n_25._tcp.mx.useless {tlsa(3, 1, 9, digest)}\n"
    text += f"fails MX 10 mx.fails\nmx.fails A {ADDRESS}\n_25._tcp.mx.fails {tlsa(3, 1, 1, digest)}\n"
    large = [b"\x30\x82" + (4000).to_bytes(2, "big") + bytes([i]) * 4000 for i in range(2)]
    for i in range(8):
        text += f"large MX 10 mx{i}.large\n" + "".join(f"mx{i}.large A 192.0.2.{i * 8 + j}\n" for j in range(8))
        text += "".join(f"_25._tcp.mx{i}.large {tlsa(3, 0, 0, data)}\n" for data in large)
    tree = signed.Tree(t, {"example": signed.Zone(text, broken=[("_25._tcp.mx.fails.example", "TLSA")])})
    daemon = alone.Daemon(t, "resolver", f"resolver {{ forward = {{ {tree.forward} }} trust-anchor = {tree.anchor} timeout = 5s }}\n")
    daemon.begin()
    client = daemon.peer("smtp-client")

    def hosts(target, wanted=1, how=0):
        client.say("hosts_ask", query=1, how=how, target=target, port=25, tlsa_wanted=wanted)
        return client.expect("hosts_are", 10)["hosts"]

    want = [dict(usage=3, selector=1, matching=1, data=digest), dict(usage=3, selector=1, matching=2, data=hashlib.sha512(der[1]).digest())]
    got = hosts("rollover.example")
    v.equal([(h["name"], h["dnssec"], h["tlsa_state"], h["tlsa_base"], h["tlsa"]) for h in got], [(b"mx.example", 1, USABLE, b"mx.example", want)] * 3)
    v.equal([(h["dnssec"], h["tlsa_state"], h["tlsa"]) for h in hosts("rollover.example", wanted=0)], [(1, NONE, [])] * 3, "not wanted")
    v.equal([(h["tlsa_state"], h["tlsa"]) for h in hosts("mx.example", how=1)], [(USABLE, want)] * 3, "a route's host")
    for target, state in ("useless.example", UNUSABLE), ("fails.example", FAILED):
        v.equal([(h["tlsa_state"], h["tlsa"]) for h in hosts(target)], [(state, [])], target)
    got = hosts("large.example")
    v.equal([h["tlsa_state"] for h in got], [USABLE] * 8 + [FAILED] * 56, "64 KB of records, and no more")
    v.equal({len(h["tlsa"]) for h in got[:8]}, {2})
    # A thousand such answers at once, out of the cache: 70 MB that wait with who asked.
    before = daemon.resident_mb()
    for _ in range(1000):
        client.say("hosts_ask", query=2, how=0, target="large.example", port=25, tlsa_wanted=1)
    daemon.lives("a thousand questions")
    v.check(daemon.resident_mb() - before < 40 * v.PATIENCE ** 2, "memory:", before, daemon.resident_mb())
    for _ in range(1000):
        client.expect("hosts_are", 10, query=2)
    v.check(not client.over, "the channel ended")
    v.equal([h["tlsa_state"] for h in hosts("useless.example")], [UNUSABLE], "afterwards")


def test_deliveries(t):
    """Mail to real receivers by what the tree says: what is authenticated, encrypted, sent in the clear, and kept; and
    veredus route said so before."""
    ca = secure.Authority(t.folder, "authority", host="Test Authority")
    good, other = ca.signed("good", "mx.ta.example"), ca.signed("other", "mx.other.example")
    any_tls = r"TLSv1\.[23]/TLS_\w+/\w+"
    useless, lost = tlsa(1, 1, 1, hashlib.sha256(secure.public_key(good)).digest()), "could not be looked up"

    def of(pair, usage, selector=1):
        r = secure.tlsa(pair, usage, selector)
        return tlsa(r["usage"], r["selector"], r["matching"], r["data"])

    ee = of(good, 3)
    rows = {
        # name: certificate (None: no STARTTLS), TLSA records, what route says, status, dsn, reply, tls
        "ee": (good, [ee], "dane", "sent", "2.0.0", "", any_tls + "/dane-ee"),
        "ta": (good, [of(ca, 2, 0)], "dane", "sent", "2.0.0", "", any_tls + "/dane-ta"),
        "rollover": (good, [of(other, 3), ee], "dane", "sent", "2.0.0", "", any_tls + "/dane-ee"),
        "mismatch": (other, [ee], "dane", "deferred", "4.7.5", "matches no TLSA record", "none"),
        "stripped": (None, [ee], "dane", "deferred", "4.7.4", "does not offer it", "none"),
        "useless": (good, [useless], "encrypted", "sent", "2.0.0", "", any_tls + "/unverified"),
        "uselessclear": (None, [useless], "encrypted", "deferred", "4.7.4", "does not offer it", "none"),
        "nothing": (None, [], "may", "sent", "2.0.0", "", "none"),
        "nothingtls": (good, [], "may", "sent", "2.0.0", "", any_tls + "/unverified"),
        "bogus": (good, [ee], "none", "deferred", "4.7.5", lost + ": DNSSEC validation failed", "none"),
        "servfail": (good, [ee], "none", "deferred", "4.7.5", lost + ": SERVFAIL", "none"),
        "alias": (good, [ee], "dane", "sent", "2.0.0", "", any_tls + "/dane-ee"),
        "only": (good, [], "none", "deferred", "4.7.5", "it has no TLSA records", "none"),
    }
    servers = {name: secure.Receiver(t, pair=row[0]) for name, row in rows.items()}
    text, routes = "", ""
    for name, (_, records_, *_) in rows.items():
        host = f"end.{name}" if name == "alias" else f"mx.{name}"
        text += f"{name} MX 10 mx.{name}\n{host} A {v.SINK}\n" + (f"mx.{name} CNAME {host}\n" if name == "alias" else "")
        text += "".join(f"_{servers[name].port}._tcp.{host} {record}\n" for record in records_)
        routes += f"route {name}.example {{ to = mx:{servers[name].port} {'tls = dane-only' if name == 'only' else ''} }}\n"
    plain = secure.Receiver(t)
    routes += f"route plain {{ to = mx:{plain.port} }}\n"
    bogus = f"_{servers['bogus'].port}._tcp.mx.bogus.example"
    tree = signed.Tree(t, {"example": signed.Zone(text, broken=[(bogus, "TLSA")]),
                           "plain": signed.Zone(f"@ MX 10 mx\nmx A {v.SINK}\n_{plain.port}._tcp.mx {ee}\n", sign=None)})
    tree.door.servfail.add((f"_{servers['servfail'].port}._tcp.mx.servfail.example", 52))
    veredus = t.veredus(f"resolver {{ forward = {{ {tree.forward} }} trust-anchor = {tree.anchor} }}\nretry {{ first = 1h longest = 2h }}\n{routes}").start()
    client = v.Smtp(veredus.port)
    for domain in [*(name + ".example" for name in rows), "plain"]:
        client.send("sender@client.example", f"x@{domain}", v.mail(domain))
    client.close()
    rows["plain"] = None, [], "may", "sent", "2.0.0", "", "none"
    wrong = []
    for name, (_, _, level, status, dsn, words, tls) in rows.items():
        domain = name if name == "plain" else name + ".example"
        got = veredus.wait_log(rf"to=<x@{re.escape(domain)}>.* dsn=([\d.]+), status=(\w+) \((.*)\) tls=(\S+) policy=").groups()
        told = ask(veredus, domain)[1]["hosts"][0]["tls"]
        if got[:2] != (dsn, status) or words not in got[2] or not re.fullmatch(tls, got[3]) or told != level:
            wrong.append(f"{name}: {got}; veredus route: {told}")
        server = servers.get(name, plain)
        if len(server.contents) != (status == "sent") or (status == "sent" and server.ways != [tls != "none"]):
            wrong.append(f"{name}: {len(server.contents)} arrived, in TLS: {server.ways}")
    v.check(not wrong, "\n".join(wrong))


def test_other_forms(t):
    """With an anchor a certificate may be for the domain, in A-labels, or for where its CNAMEs end, when those are secure; a route
    and its policy count for the domain in whatever form a recipient writes it."""
    ca = secure.Authority(t.folder, "authority", host="Test Authority")
    end, uni = ca.signed("end", "end.example"), ca.signed("uni", "xn--mller-kva.example")
    hello = b"250-receiver.example\r\n250-SMTPUTF8\r\n250 8BITMIME\r\n"

    def ehlo(conn):
        conn.send(hello if isinstance(conn.socket, secure.ssl.SSLSocket) else hello.replace(b"SMTPUTF8", b"STARTTLS"))

    servers = {name: secure.Receiver(t, pair=pair, ehlo=ehlo) for name, pair in (("cname", end), ("far", end), ("dane", uni), ("verify", uni))}
    anchor = secure.tlsa(ca, 2, 0)
    anchor = tlsa(anchor["usage"], anchor["selector"], anchor["matching"], anchor["data"])
    below = {name: f"_{server.port}._tcp.mx {anchor}\n" for name, server in servers.items()}
    tree = signed.Tree(t, {
        "example": signed.Zone(f"mx A {v.SINK}\nend MX 10 mx\ncname CNAME end\nfar CNAME end.plain.\nxn--mller-kva MX 10 mx\n" + below["cname"] + below["far"]
                               + below["dane"]),
        "plain": signed.Zone("end MX 10 mx.example.\n", sign=None)})
    ports = {name: server.port for name, server in servers.items()}
    # One route and one port a case: they are told apart by the port, and by what is demanded.
    for config, rows in (
            (f"route cname.example {{ to = mx:{ports['cname']} }}\nroute far.example {{ to = mx:{ports['far']} tls = dane }}\n"
             f"route xn--mller-kva.example {{ to = mx:{ports['dane']} }}\n",
             (("cname.example", "sent", "dane-ta", "cname"), ("far.example", "sent", "unverified", "far"), ("m\u00fcller.example", "sent", "dane-ta", "dane"))),
            (f"tls-authorities = {ca.certificate}\nroute xn--mller-kva.example {{ to = mx:{ports['verify']} tls = verify }}\n",
             (("m\u00fcller.example", "sent", "verified", "verify"), ("xn--mller-kva.example", "sent", "verified", "verify")))):
        veredus = t.veredus(f"resolver {{ forward = {{ {tree.forward} }} trust-anchor = {tree.anchor} }}\nretry {{ first = 1h longest = 2h }}\n{config}",
                            name="v" + rows[0][3]).start()
        for domain, status, proof, server in rows:
            before = len(servers[server].contents)
            client = v.Smtp(veredus.port)
            client.send("sender@client.example", f"x@{domain}", v.mail("x"), mail_words="" if domain.isascii() else " SMTPUTF8")
            client.close()
            v.wait(lambda: len(servers[server].contents) == before + 1, 10, lambda: (domain, re.findall(r"to=<.*", veredus.log_text())))
            said = veredus.wait_log(rf"to=<x@{re.escape(domain)}>.*")[0]
            v.check(re.search(rf"status={status}.* tls=\S+/{proof}(/resumed)? ", said), domain, said)
        v.equal(json.loads(veredus.command("route", rows[-1][0], "--json"))["domain"].isascii(), True, "in A-labels")
        v.equal(veredus.stop(), 0, "exit status")


# -- another program's verdict -----------------------------------------------------------------------

def inside():
    """In a network of our own, where a validating resolver may have port 53: posttls-finger meets the table's hosts."""
    t = v.Test("finger")
    try:
        for words in (["ip", "link", "set", "lo", "up"], ["ip", "address", "add", ADDRESS + "/32", "dev", "lo"],
                      ["mount", "--bind", v.write(t.folder + "/resolv.conf", "nameserver 127.0.0.1\noptions edns0 trust-ad timeout:5\n"),
                       os.path.realpath("/etc/resolv.conf")]):
            subprocess.run(words, check=True)
        table = Table(certificate(t))
        for fill in records, denials, states, aliases:
            fill(table)
        pair = object.__new__(pki.Pair)
        pair.certificate, pair.key = t.folder + "/receiver.pem", t.folder + "/receiver.key"
        secure.Receiver(t, pair=pair, address=ADDRESS, port=25)
        tree = table_tree(t, table)
        v.write(t.folder + "/unbound.conf", f"""server:
  interface: 127.0.0.1@53
  username: ""
  chroot: ""
  directory: "{t.folder}"
  pidfile: "{t.folder}/unbound.pid"
  use-syslog: no
  do-daemonize: no
  do-not-query-localhost: no
  module-config: "validator iterator"
  trust-anchor-file: "{tree.anchor}"
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: {tree.forward}
""")
        v.Process(t, "unbound", [v.peer("unbound", "usr/sbin/unbound"), "-d", "-c", t.folder + "/unbound.conf"], env=v.peer_environment("unbound"))
        v.wait(lambda: v.dns_answers(53, "ns"), 10, "the resolver")
        v.write(t.folder + "/main.cf", f"myhostname = client.example\nmail_owner = daemon\nsetgid_group = mail\nqueue_directory = {t.folder}\n")
        cases = [case for case in table.cases if case[0] not in UNLIKE and case[2].get("verdict", "found") != "permanent"]
        with ThreadPoolExecutor(4) as pool:
            verdicts = list(pool.map(lambda case: finger(t, case[1]), cases))
        print(json.dumps([[name, wanted.get("tlsa") if wanted.get("verdict", "found") == "found" else "no next hop", verdict, said]
                          for (name, _, wanted), (verdict, said) in zip(cases, verdicts)]))
    finally:
        t.end(keep=False)


# It tries one of several hosts, holds more, and takes TLSA records of hosts of an insecure MX set for what they are
# worth, as RFC 7672 section 2.2.1 allows.
UNLIKE = ("twohosts", "huge", "hugeandgood", "seventeen", "mx_insecure_host_secure")


def finger(t, domain):
    """What posttls-finger finds, in our words."""
    base = v.peer("postfix", "usr/sbin/posttls-finger")
    environment = dict(v.peer_environment("postfix"), MAIL_CONFIG=t.folder)
    environment["LD_LIBRARY_PATH"] += ":" + os.path.join(os.path.dirname(base), "../lib/postfix")
    done = subprocess.run([base, "-a", "ipv4", "-c", "-l", "dane", "-t", "10", domain], env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60 * v.PATIENCE)
    said = done.stdout.decode(errors="replace")
    for verdict, pattern in (("usable", "Matched DANE|Verified TLS connection|no matching DANE TLSA|hostname mismatch"), ("failed", "TLSA lookup error"),
                             ("no next hop", "Name service error"), ("unusable", "unsupported TLSA|unusable TLSA|reserved private-use"),
                             ("none", "TLS connection established")):
        if re.search(pattern, said):
            return verdict, said
    return "?", said


def test_posttls_finger(t):
    """Postfix's own tool comes to the same verdict on each host."""
    if not v.IS_ROOT:
        raise v.Skip("a network of its own needs root")
    v.peer("postfix", "usr/sbin/posttls-finger")
    if subprocess.run(["unshare", "--net", "--mount", "true"], stderr=subprocess.DEVNULL).returncode:
        raise v.Skip("a network of its own is not allowed here")
    done = subprocess.run(["unshare", "--net", "--mount", "--propagation", "private", sys.executable, os.path.abspath(__file__), "inside"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=100 * v.PATIENCE)
    v.equal(done.returncode, 0, f"{done.stdout[-2000:].decode()} {done.stderr[-2000:].decode()}")
    rows = json.loads(done.stdout.decode().splitlines()[-1])
    wrong = [f"{name}: {theirs}, not {ours}: {said}" for name, ours, theirs, said in rows if ours != theirs]
    print(f"  {len(rows)} cases")
    v.check(not wrong, f"{len(wrong)} of {len(rows)}:\n" + "\n".join(wrong))


if sys.argv[1:] == ["inside"]:
    inside()
else:
    v.main(globals())
