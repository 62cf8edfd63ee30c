# SPDX-License-Identifier: ISC
"""Hostile receivers and hostile DNS: each recipient gets the one outcome that is true, no daemon dies, nothing is sent twice."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import email
import email.policy
import re
import struct
import threading
import time

import hostile as r
import veredus as v

STEP = 3 if v.PATIENCE == 1 else 5  # s; who answers at once may have to wait for a processor
TIMEOUTS = (f"timeout {{ connect = {STEP}s greeting = {STEP}s mail = {STEP}s data = {STEP}s block = {STEP}s dot = {STEP}s transaction = 10s }}\n"
            "retry { first = 1h longest = 2h }\n")


def status_of(veredus, address):
    """The delivery lines of a recipient."""
    return re.findall(rf"to=<{re.escape(address)}>.*?dsn=([\d.]+), status=(\w+) \((.*)\)", veredus.log_text())


def settle(veredus, expected, seconds=30):
    """Each of {address: (status, dsn)} has exactly that one outcome."""
    v.wait(lambda: all(status_of(veredus, a) for a in expected), seconds,
           lambda: f"outcomes of {[a for a in expected if not status_of(veredus, a)]}")
    wrong = []
    for address, (status, dsn) in expected.items():
        lines = status_of(veredus, address)
        if len(lines) != 1 or lines[0][1] != status or not re.match(dsn, lines[0][0]):
            wrong.append(f"{address}: {lines}, expected {status} {dsn}")
    v.check(not wrong, "\n".join(wrong))


def sound(veredus):
    died = re.search(r".*(starting it again|channel to \S+ ended).*", veredus.log_text())
    v.check(not died, died and died[0])
    log = v.read(veredus.log)
    v.check(not re.search(rb"[\0-\x09\x0b-\x1f\x7f]", log), "control characters in the log")


def before(t, behaviours, config="", content=None, times=TIMEOUTS):
    """Veredus with a receiver for each of {name: what it says}; a message to each, and what came of it."""
    found = {name: r.Receiver(t, **says) for name, says in behaviours.items()}
    client = t.sink(f"{v.CLIENT}:{v.free_port((v.CLIENT,))}", name="client")
    port = re.search(r":(\d+)", " ".join(client.child.args[client.child.args.index("--listen") + 1:]))[1]
    routes = "".join(f"route {name}.example {{ to = smtp:[{v.SINK}]:{x.port} }}\n" for name, x in found.items())
    veredus = t.veredus(times + config + routes + f"route client.example {{ to = smtp:[{v.CLIENT}]:{port} }}\n").start()
    smtp = v.Smtp(veredus.port)
    for name in behaviours:
        smtp.send("sender@client.example", f"x@{name}.example", content or v.mail(f"to {name}"))
    smtp.close()
    return veredus, client, found


STAGES = ("greeting", "ehlo", "mail", "rcpt", "data", "dot")
DEFERRED, SENT, BOUNCED = "deferred", "sent", "bounced"


def run(t, table, seconds=30, config="", content=None, times=TIMEOUTS):
    """TABLE: {name: (says, status, dsn)}"""
    veredus, client, found = before(t, {name: row[0] for name, row in table.items()}, config, content, times)
    settle(veredus, {f"x@{name}.example": row[1:] for name, row in table.items()}, seconds)
    for name, (_, status, _) in table.items():
        x = found[name]
        v.check(x.endless < 20_000_000, name, "all of it was taken")
        # Nothing that counts as delivered is missing.
        v.check(len(x.contents) == 1 or status != SENT, name, x.contents)
    sound(veredus)
    waits = sorted(name for name, row in table.items() if row[1] == DEFERRED)
    done = [name for name, row in table.items() if row[1] != DEFERRED]
    v.wait(lambda: not any(f"x@{name}.example" in str(veredus.listed()) for name in done), 10, "what is done to leave the queue")
    listed = str(veredus.listed())
    v.check(all(f"x@{name}.example" in listed for name in waits), "what was deferred is queued", listed[:500])
    reports = sum(row[1] == BOUNCED for row in table.values())
    client.wait_mails(reports)
    v.equal(len(client.mails()), reports, "reports")
    return veredus, client, found


TLS_HELLO = b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + bytes(range(32)) * 3 + b"\r\n\0\xff" + b"\x0b" * 16
TLS_ALERT = b"\x15\x03\x03\x00\x02\x02\x28"


def test_malformed_replies(t):
    """Endless, binary, without a code: protocol errors, at each stage; nothing waits and nothing grows."""
    table = {}
    for stage in STAGES:
        code = {"greeting": b"220", "data": b"354"}.get(stage, b"250")
        for name, says in (("lines", r.endless((code + b"-more of it\r\n") * 1000)), ("line", r.endless(code + b" " + b"x" * 60000)),
                           ("zeros", r.endless(b"\0" * 60000)), ("binary", bytes(range(256)) * 20 + b"\r\n"),
                           ("999", b"999 what\r\n"), ("199", b"199 wait\r\n"), ("abc", b"abc def\r\n"), ("600", b"600 x\r\n"),
                           ("empty", b"\r\n"), ("short", b"25\r\n"), ("four", b"2500 x\r\n"), ("minus", b"-50 x\r\n"),
                           ("mixed", code + b"-a\r\n550 b\r\n"), ("nul", code + b" a\0b\r\n"), ("blank", b" 250 Ok\r\n")):
            table[f"{name}.{stage}"] = ({stage: says}, DEFERRED, r"4\.5\.0")
    # TLS that nobody asked for: a record behind the greeting, an alert for a reply.
    table["tls.greeting"] = ({"greeting": r.GOOD["greeting"] + TLS_HELLO}, DEFERRED, r"4\.5\.0")
    table["tls-only.greeting"] = ({"greeting": TLS_HELLO}, DEFERRED, r"4\.")
    table["tls.ehlo"] = ({"ehlo": TLS_ALERT}, DEFERRED, r"4\.")
    table["tls-behind.ehlo"] = ({"ehlo": r.GOOD["ehlo"] + TLS_HELLO + b"\r\n"}, DEFERRED, r"4\.5\.0")
    table["tls.mail"] = ({"mail": TLS_ALERT * 100}, DEFERRED, r"4\.")
    veredus, _, _ = run(t, table)
    pid = veredus.daemons("smtp-client")[0]
    rss = int(re.search(r"VmRSS:\s+(\d+)", v.read(f"/proc/{pid}/status").decode())[1])
    v.check(rss < 40_000 * v.PATIENCE, "smtp-client holds", rss, "KB")


def test_wrong_replies(t):
    """Well-formed, but out of place, out of order, or more than were asked for."""
    def joined(conn):
        conn.send(b"250 Ok\r\n250 Ok\r\n354 Go\r\n")

    early = b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 Go\r\n250 2.0.0 Ok\r\n"
    run(t, {
        "data-at-mail": ({"mail": b"354 Go\r\n"}, DEFERRED, r"4\.5\.0"),
        "data-at-rcpt": ({"rcpt": b"354 Go\r\n"}, DEFERRED, r"4\.5\.0"),
        "ok-at-data": ({"data": b"250 Ok\r\n"}, DEFERRED, r"4\.5\.0"),
        "go-at-dot": ({"dot": b"354 Go\r\n"}, DEFERRED, r"4\.5\.0"),
        "go-at-greeting": ({"greeting": b"354 Go\r\n"}, DEFERRED, r"4\."),
        "unasked-greeting": ({"greeting": r.GOOD["greeting"] + b"250 Ok\r\n"}, DEFERRED, r"4\.5\.0"),
        "unasked-ehlo": ({"ehlo": r.GOOD["ehlo"] + early}, DEFERRED, r"4\.5\.0"),
        "all-at-once": ({"greeting": r.GOOD["greeting"] + r.GOOD["ehlo"] + early}, DEFERRED, r"4\.5\.0"),
        "ok-before-dot": ({"data": b"354 Go\r\n250 2.0.0 Ok\r\n"}, DEFERRED, r"4\.5\.0"),
        "two-dots": ({"dot": b"250 2.0.0 <a> Ok\r\n250 2.0.0 <b> Ok\r\n"}, SENT, r"2\."),
        "lmtp-like": ({"dot": b"250 2.0.0 <a> Ok\r\n550 5.1.1 <b> no\r\n"}, SENT, r"2\."),
        "no-ehlo": ({"ehlo": b"500 5.5.1 what\r\n"}, SENT, r"2\."),
        "no-hello": ({"ehlo": b"500 5.5.1 what\r\n", "helo": b"500 5.5.1 what\r\n"}, DEFERRED, r"4\."),
        "ehlo-later": ({"ehlo": b"450 4.7.1 later\r\n"}, DEFERRED, r"4\.7\.1"),
        "no-greeting": ({"greeting": b"554 5.7.1 no\r\n"}, DEFERRED, r"4\.7\.1"),
        "552-at-rcpt": ({"rcpt": b"552 5.2.2 full\r\n"}, DEFERRED, r"4\.2\.2"),
        "go-for-nobody": ({"rcpt": b"550 5.1.1 no\r\n"}, BOUNCED, r"5\.1\.1"),
        "no-for-nobody": ({"rcpt": b"550 5.1.1 no\r\n", "data": b"554 5.5.1 no\r\n"}, BOUNCED, r"5\.1\.1"),
        "later-for-nobody": ({"rcpt": b"450 4.2.1 no\r\n"}, DEFERRED, r"4\.2\.1"),
        "bare-codes": ({"greeting": b"220\r\n", "ehlo": b"250\r\n", "mail": b"250\r\n", "rcpt": b"250 \r\n", "data": b"354\r\n",
                        "dot": b"250\r\n"}, SENT, r"2\.0\.0"),
        "bare-lf": ({"greeting": b"220 x\n", "ehlo": b"250-x\n250 8BITMIME\n", "dot": b"250 Ok\n"}, SENT, r"2\."),
        "odd-offers": ({"ehlo": b"250-x\r\n250-SIZE 99999999999999999999999\r\n250-SIZE -1\r\n250-LIMITS RCPTMAX=0 MAILMAX=0\r\n"
                                b"250-LIMITS RCPTMAX=99999999999999999999\r\n250-STARTTLS\r\n250-AUTH PLAIN\r\n250-\r\n250-=\r\n"
                                b"250-" + b"X" * 1000 + b"\r\n250 \x1b[2J\r\n"}, SENT, r"2\."),
        "status-is-wrong": ({"dot": b"250 5.0.0 Ok\r\n"}, SENT, r"2\."),
        "status-is-fine": ({"dot": b"550 2.0.0 no\r\n"}, BOUNCED, r"5\."),
        "status-is-long": ({"dot": b"550 5.9999.99999999 no\r\n"}, BOUNCED, r"5\."),
        "joined": ({"mail": b"", "rcpt": b"", "data": joined}, SENT, r"2\."),
        "split": ({"mail": r.drip(b"250-Ok\r\n250 Ok\r\n", 0.005), "dot": r.drip(b"250-a\r\n250 b\r\n", 0.005)}, SENT, r"2\."),
    })


def test_nobody_gets_an_empty_mail(t):
    """354 after all recipients were refused: what follows is an empty content, not the message (RFC 2920 3.1)."""
    _, _, found = run(t, {"refused": ({"rcpt": b"550 5.1.1 no\r\n", "dot": b"554 5.5.1 no valid recipients\r\n"}, BOUNCED, r"5\.1\.1")})
    v.check(found["refused"].contents in ([], [b""]), found["refused"].contents)


def test_broken_off(t):
    """Closed, reset, 421, silence, or a reply behind its time at each stage: deferred, with the stage in the reason; one
    attempt. The times are those of RFC 5321 4.5.3.2 scaled down: a greeting after five minutes is one after STEP seconds."""
    table = {}
    for stage in STAGES:
        table[f"close.{stage}"] = ({stage: r.close}, DEFERRED, r"4\.4\.\d")
        table[f"reset.{stage}"] = ({stage: r.reset}, DEFERRED, r"4\.4\.\d")
        table[f"hang.{stage}"] = ({stage: r.hang}, DEFERRED, r"4\.4\.2")
        table[f"down.{stage}"] = ({stage: b"421 4.3.2 going down\r\n"}, DEFERRED, r"4\.3\.2")
        table[f"half.{stage}"] = ({stage: lambda conn: (conn.send(b"250"), r.close(conn))}, DEFERRED, r"4\.4\.\d")
        table[f"late.{stage}"] = ({stage: r.late(0.5, r.GOOD[stage])}, SENT, r"2\.")
        table[f"too-late.{stage}"] = ({stage: r.late(2 * STEP, r.GOOD[stage])}, DEFERRED, r"4\.4\.2")
        table[f"drip.{stage}"] = ({stage: r.drip(r.GOOD[stage], 0.01)}, SENT, r"2\.")
    table["never.dot"] = ({"dot": r.hang}, DEFERRED, r"4\.4\.2")
    veredus, _, found = run(t, table)
    for name, x in found.items():
        v.equal(x.connections, 1, f"connections to {name}")
    v.check("timed out while waiting for the reply to the final dot" in status_of(veredus, "x@never.dot.example")[0][2], "the reason")


def test_never_done(t):
    """An octet now and then, for ever: the whole job has its end."""
    table = {f"slow.{stage}": ({stage: r.endless(b"2", 0.3)}, DEFERRED, r"4\.") for stage in ("greeting", "ehlo", "mail", "dot")}
    table["slow.lines"] = ({"ehlo": r.endless(b"250-x\r\n", 0.3)}, DEFERRED, r"4\.")
    started = time.monotonic()
    run(t, table, 40)
    v.check(time.monotonic() - started < 30 * v.PATIENCE, "it took", time.monotonic() - started)


def test_large_mail(t):
    """The body of a file, refused, answered, or cut off on its way."""
    def in_midst(reply, then=None):
        def act(conn):
            conn.send(b"354 Go\r\n")
            conn.file.read(100_000)
            conn.send(reply)
            if then:
                then(conn)
        return act

    def not_reading(conn):
        conn.send(b"354 Go\r\n")
        time.sleep(8)
        raise r.Over
    content = v.mail("large", b"a line of a large mail, a little longer than others\r\n" * 200_000)
    run(t, {
        "early-552": ({"data": in_midst(b"552 5.3.4 too large\r\n", r.hang)}, BOUNCED, r"5\.3\.4"),
        "early-451": ({"data": in_midst(b"451 4.3.0 no\r\n", r.hang)}, DEFERRED, r"4\.3\.0"),
        "early-250": ({"data": in_midst(b"250 2.0.0 Ok\r\n")}, DEFERRED, r"4\.5\.0"),
        "early-close": ({"data": in_midst(b"", r.close)}, DEFERRED, r"4\.4\.2"),
        "early-reset": ({"data": in_midst(b"", r.reset)}, DEFERRED, r"4\.4\.2"),
        "not-reading": ({"data": not_reading}, DEFERRED, r"4\.4\.2"),
        "fine": ({}, SENT, r"2\."),
    }, content=content, times=TIMEOUTS.replace("transaction = 10s", "transaction = 60s"))  # the others' tens of MB go beside it


HOSTILE = [
    b"550 5.1.1 \x1b[31mred\x1b]0;title\x07\x08\x08\x7f\x9b31m\r\n",
    b"550 5.1.1 " + b"x" * 600 + b"\r\n",
    b"550-5.1.1 " + b"word " * 120 + b"\r\n550 5.1.1 " + b"y" * 600 + b"\r\n",
    b"".join(b"550-5.1.1 line %d --=_boundary Content-Type: text/html\r\n" % i for i in range(100)) + b"550 5.1.1 end\r\n",
    b"550-5.1.1 \r\n550-5.1.1 Subject: forged\r\n550-5.1.1 .\r\n550 5.1.1 .\r\n",
    b"550 5.1.1 a\rBcc: evil@example.com\rb\r\n",
    b"550 5.1.1 gr\xc3\xbc\xc3\x9fe \xe2\x80\xae\xe2\x80\xa8 \xc2\x85\r\n",
    b"550 5.1.1 \xff\xfe\xc3\r\n",
    b"550 5.1.1 =?utf-8?q?=0D=0ABcc:_evil?= %s%n${run{id}}\t\tx\r\n",
    b"550 5.1.1 " + b"\xc3\xbc" * 300 + b"\r\n",
    b"550 5.1.1\r\n", b"550\r\n", b"550 \x0b\x0c\r\n",
]


def test_reports_of_hostile_replies(t):
    """A report is well-formed whatever the receiver said, and holds no control character of it."""
    table = {f"hostile{i}": ({"rcpt": reply}, BOUNCED, r"5\.[01]\.[01]") for i, reply in enumerate(HOSTILE)}
    _, client, _ = run(t, table)
    for envelope, content in client.mails():
        v.check("<>" in str(envelope["mail"]), envelope)
        v.check(not re.search(rb"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n", content), "raw control characters", content)
        content.decode()
        v.check(not re.search("[\x80-\x9f\u2028\u2029\u202e]", content.decode()), "control characters", content)
        v.check(max(map(len, content.split(b"\r\n"))) <= 998, "a line too long")
        message = email.message_from_bytes(content, policy=email.policy.SMTPUTF8)
        defects = [d for part in message.walk() for d in part.defects]
        v.equal(defects, [], "defects")
        v.equal(message.get_content_type(), "multipart/report")
        v.equal([p.get_content_type() for p in message.iter_parts()][:2], ["text/plain", "message/delivery-status"])
        v.check("Bcc" not in message and message["Subject"] != "forged", message.items())
        status = [p for p in message.walk() if p.get_content_type() in ("message/delivery-status", "message/global-delivery-status")][0]
        fields = status.get_payload()[1]
        v.check(re.match(r"5\.[01]\.[01]$", fields["Status"]) and fields["Action"] == "failed", fields.items())
        v.check(fields["Diagnostic-Code"].startswith("smtp;"), fields.items())


# -- DNS -----------------------------------------------------------------------------------------------

LONG = ".".join(["m" * 63, "n" * 63, "o" * 63, "p" * 51, "long", "example"])[:253]


def answers(ours):
    """What the hostile name server says."""
    def garbage(question, asked):
        return question[:2] + os.urandom(200)

    def malformed(rdata, count=1):
        def packet(question, asked):
            return question[:2] + struct.pack(">HHHHH", 0x8180, 1, count, 0, 0) + asked + b"\xc0\x0c" + \
                struct.pack(">HHIH", 15, 1, 60, len(rdata)) + rdata
        return packet

    def of_another(question, asked):
        return question[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0) + r.wire_name("other.example") + asked[-4:] + \
            b"\xc0\x0c" + struct.pack(">HHIH", 15, 1, 60, 12) + struct.pack(">H", 1) + b"\4evil\3com\0"[:10]

    def truncated(question, asked):
        return question[:2] + struct.pack(">HHHHH", 0x8380, 1, 0, 0, 0) + asked
    table = {
        ("nx.example", r.MX): r.NXDOMAIN, ("nx.example", r.A): r.NXDOMAIN,
        ("servfail.example", r.MX): r.SERVFAIL,
        ("silent.example", r.MX): None,
        ("thousand.example", r.MX): [r.mx(i % 7, f"mx{i}.thousand.example") for i in range(1000)],
        ("addresses.example", r.MX): [r.mx(1, "host.addresses.example")],
        ("host.addresses.example", r.A): [r.a(f"127.0.{3 + i // 250}.{i % 250 + 1}") for i in range(1000)],
        ("loop.example", r.MX): [(r.CNAME, r.wire_name("pool.example"))], ("loop.example", r.A): [(r.CNAME, r.wire_name("pool.example"))],
        ("pool.example", r.MX): [(r.CNAME, r.wire_name("loop.example"))], ("pool.example", r.A): [(r.CNAME, r.wire_name("loop.example"))],
        ("hostloop.example", r.MX): [r.mx(1, "loop.example")],
        ("self.example", r.MX): [r.mx(1, "here.example")], ("here.example", r.A): [r.a("127.0.0.1")],
        ("equal.example", r.MX): [r.mx(5, "here.example"), r.mx(5, "fine.example"), r.mx(9, "fine.example")],
        ("better.example", r.MX): [r.mx(5, "here.example"), r.mx(1, "fine.example")],
        ("null.example", r.MX): [r.mx(0, "")],
        ("nullandmore.example", r.MX): [r.mx(0, ""), r.mx(10, "fine.example")],
        ("long.example", r.MX): [r.mx(1, LONG)], (LONG, r.A): [r.a(v.SINK)],
        ("fine.example", r.A): [r.a(v.SINK)], ("fine.example", r.MX): [r.mx(1, "fine.example")],
        ("garbage.example", r.MX): garbage, ("other-question.example", r.MX): of_another, ("truncated.example", r.MX): truncated,
        ("pointer.example", r.MX): malformed(b"\0\1\xc0\xff"), ("itself.example", r.MX): malformed(b"\0\1\xc0\x30"),
        ("cut.example", r.MX): malformed(b"\0\1\x3fabc"), ("norecord.example", r.MX): malformed(b"\0\1\1a\0", 50),
        ("nomxhost.example", r.MX): [r.mx(1, "nothing.example")],
        ("literal.example", r.MX): [r.mx(1, "127.0.2.1")],
        ("slow.example", r.MX): r.Late(0.6, [r.mx(1, "slow.example")]), ("slow.example", r.A): r.Late(0.6, [r.a(v.SINK)]),
        ("tooslow.example", r.MX): r.Late(60, [r.mx(1, "fine.example")]),
    }

    def answer(name, kind):
        if (name, kind) in table:
            return table[(name, kind)]
        if re.fullmatch(r"mx\d+\.thousand\.example", name) and kind == r.A:
            return [r.a(v.SINK)]
        known = any(name == n for n, _ in table)
        return [] if known else r.NXDOMAIN
    return answer


def test_hostile_dns(t):
    port = v.free_port((v.SINK, "127.0.0.1"))
    receiver = r.Receiver(t, port=port)
    veredus = t.veredus("")
    server = r.NameServer(t, answers(veredus.port))
    veredus.configure(TIMEOUTS + f"resolver {{ forward = {{ 127.0.0.1@{server.port} }} timeout = 4s "
                      f"trust-anchor = {v.write(t.folder + '/anchor', '')} }}\nroute * {{ to = mx:{port} }}\n"
                      f"listen smtp {{ address = 127.0.0.1:{veredus.port} }}\nlisten smtp {{ address = 127.0.0.1:{port} }}\n")
    veredus.start()
    loop = r"4\.4\.[346]"
    expected = {
        "nx": (BOUNCED, r"5\.1\.2"), "servfail": (DEFERRED, r"4\.4\.3"), "silent": (DEFERRED, r"4\.4\.3"), "thousand": (SENT, r"2\."),
        "addresses": (DEFERRED, r"4\.4\.1"), "loop": (DEFERRED, loop), "hostloop": (DEFERRED, loop), "self": (BOUNCED, r"5\.4\.6"),
        "equal": (BOUNCED, r"5\.4\.6"), "better": (SENT, r"2\."), "null": (BOUNCED, r"5\.1\.10"), "nullandmore": (SENT, r"2\."),
        "long": (SENT, r"2\."), "fine": (SENT, r"2\."), "garbage": (DEFERRED, r"4\."), "other-question": (DEFERRED, r"4\."),
        "truncated": (DEFERRED, r"4\."), "pointer": (DEFERRED, r"4\."), "itself": (DEFERRED, r"4\."), "cut": (DEFERRED, r"4\."),
        "norecord": (DEFERRED, r"4\."), "nomxhost": (None, r"[45]\."), "literal": (None, r"[45]\."),
        "slow": (SENT, r"2\."), "tooslow": (DEFERRED, r"4\.4\.3"),
    }
    smtp = v.Smtp(veredus.port)
    for name in expected:
        smtp.send("", f"x@{name}.example", v.mail(f"to {name}"), "", " NOTIFY=NEVER")
    smtp.close()
    # Whose MX is not known yet just waits, in the queue; the others are settled, each once.
    waiting = ("servfail", "silent", "loop", "garbage", "other-question", "truncated", "pointer", "itself", "cut", "norecord", "tooslow")
    settle(veredus, {f"x@{name}.example": row for name, row in expected.items() if row[0] and name not in waiting}, 15)
    v.wait(lambda: all((f"{name}.example", r.MX) in server.asked for name in waiting), 5, "all to be asked for")
    time.sleep(5)
    listed = str(veredus.listed())
    for name in waiting:
        v.check(f"x@{name}.example" in listed, name, "is not queued")
        v.check(all(line[1] == DEFERRED for line in status_of(veredus, f"x@{name}.example")), name)
    sound(veredus)
    sent = [name for name, row in expected.items() if row[0] == SENT]
    v.equal(len(receiver.contents), len(sent), "mails that arrived")
    # The others do not wait for a name server that says nothing.
    smtp = v.Smtp(veredus.port)
    for i in range(20):
        smtp.send("", f"{i}@silent.example", v.mail("silent"), "", " NOTIFY=NEVER")
    started = time.monotonic()
    smtp.send("", "beside@fine.example", v.mail("beside"), "", " NOTIFY=NEVER")
    smtp.close()
    v.wait(lambda: status_of(veredus, "beside@fine.example"), 5, "a good domain beside a silent one")
    v.check(time.monotonic() - started < 3 * v.PATIENCE, time.monotonic() - started)


def next_commands(conn):
    """What follows the dot before it is answered; nothing, if nothing comes for a while: behind the sixth nothing will."""
    conn.socket.settimeout(0)
    end = time.monotonic() + (2 if len(conn.receiver.ahead) == 5 else 20) * v.PATIENCE
    while not (found := conn.file.peek(4)[:4]) and time.monotonic() < end:
        time.sleep(0.01)
    conn.socket.settimeout(60)
    conn.receiver.ahead.append(found)
    return found


def waits_for_the_next(conn):
    next_commands(conn)
    conn.send(b"250 2.0.0 Ok\r\n")


def chokes_on_the_next(conn):
    conn.chokes = not conn.receiver.ahead and next_commands(conn) == b"MAIL"
    conn.send(b"250 2.0.0 Ok\r\n")


def says_no_where_it_choked(conn):
    conn.send(b"503 5.5.0 synchronization error\r\n" if getattr(conn, "chokes", False) else b"250 2.1.0 Ok\r\n")


def test_sent_ahead(t):
    """The next mail's commands come behind the content of the one before; who cannot stand that gets them alone."""
    receivers = {"waits": {"dot": waits_for_the_next}, "chokes": {"dot": chokes_on_the_next, "mail": says_no_where_it_choked}}
    brought = threading.Event()

    def greeting(conn):
        brought.wait(60)  # until all are there
        conn.send(r.GOOD["greeting"])
    found = {name: r.Receiver(t, greeting=greeting, **says) for name, says in receivers.items()}
    routes = "".join(f"route {name}.example {{ to = smtp:[{v.SINK}]:{x.port} }}\n" for name, x in found.items())
    veredus = t.veredus("limits { site-connections = 1 }\n" + routes).start()
    smtp = v.Smtp(veredus.port)
    for name, x in found.items():
        x.ahead = []
        for number in range(6):
            smtp.send("sender@client.example", f"x{number}@{name}.example", v.mail(f"number {number}"))
    smtp.close()
    brought.set()
    settle(veredus, {f"x{number}@{name}.example": (SENT, "2") for name in found for number in range(6)}, 60)
    for name, x in found.items():
        v.equal(len(set(x.contents)), 6, name)
        v.equal(len(x.contents), 6, name)
    v.equal(found["waits"].ahead, [b"MAIL"] * 5 + [b""], "what followed each dot")
    v.equal(found["waits"].connections, 1, "connections")
    v.equal(found["chokes"].ahead[0], b"MAIL")
    sound(veredus)


def test_next_host(t):
    """What ends before the content goes to the next MX at once; the mail arrives there, once."""
    says = {"down": {"mail": b"421 4.3.2 going down\r\n"}, "later": {"mail": b"451 4.7.1 later\r\n"},
            "full": {"rcpt": b"421 4.3.2 going down\r\n"}, "cut": {"mail": r.close}}
    for name, first in says.items():
        port = v.free_port((v.SINK, v.CLIENT))
        primary, secondary = r.Receiver(t, port=port, **first), r.Receiver(t, address=v.CLIENT, port=port)
        table = {("two.example", r.MX): [r.mx(1, "a.example"), r.mx(2, "b.example")],
                 ("a.example", r.A): [r.a(v.SINK)], ("b.example", r.A): [r.a(v.CLIENT)]}
        server = r.NameServer(t, lambda *asked, table=table: table.get(asked, []))
        veredus = t.veredus(TIMEOUTS + f"resolver {{ forward = {{ 127.0.0.1@{server.port} }} timeout = 4s "
                            f"trust-anchor = {v.write(t.folder + '/anchor', '')} }}\nroute * {{ to = mx:{port} }}\n", name=name).start()
        smtp = v.Smtp(veredus.port)
        smtp.send("", "x@two.example", v.mail("two"), "", " NOTIFY=NEVER")
        smtp.close()
        settle(veredus, {"x@two.example": (SENT, r"2\.")}, 15)
        v.equal((primary.connections, len(primary.contents), len(secondary.contents)), (1, 0, 1), name)
        sound(veredus)
        veredus.stop()


v.main(globals())
