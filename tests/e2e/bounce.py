# SPDX-License-Identifier: ISC
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import email
import email.utils
import re
import time

import veredus as v


def parts(content):
    message = email.message_from_bytes(content)
    return message, {p.get_content_type(): p for p in message.walk()}


def test_failure_comes_back(t):
    """RFC 3464: the refused recipient's own reply in a report to the sender, null sender, no bounce for it."""
    veredus, sink, client = v.world(t, ("--reply-for", "bad@sink.example=550 5.1.1 no such user here",))
    smtp = v.Smtp(veredus.port)
    identity = smtp.send("sender@client.example", ["bad@sink.example", "good@sink.example"], v.mail("to be refused"),
                         " RET=HDRS ENVID=abc123", " ORCPT=rfc822;orig@client.example")
    smtp.close()
    envelope, content = client.wait_mails(1)[0]
    v.check("<>" in str(envelope["mail"]) and "sender@client.example" in str(envelope["rcpt"]), envelope)
    message, found = parts(content)
    v.equal(message.get_content_type(), "multipart/report")
    v.equal(message.get_param("report-type"), "delivery-status")
    v.check(message["Auto-Submitted"].startswith("auto-"), message["Auto-Submitted"])
    status = str(found["message/delivery-status"])
    for line in ("Original-Envelope-Id: abc123", "Final-Recipient: rfc822;bad@sink.example", "Action: failed",
                 "Original-Recipient: rfc822;orig@client.example", "Status: 5.1.1", "550 5.1.1 no such user here"):
        v.check(line.replace("; ", ";") in status.replace("; ", ";"), line, "not in", status)
    v.check("good@sink.example" not in status, status)
    v.check("to be refused" in content.decode(), "the original's header")
    sink.wait_mails(1)
    v.wait(lambda: re.search("(?s)status=bounced.*to=<sender@client.example>", veredus.command("trace", identity, status=None)), 10,
           lambda: "the story: " + veredus.command("trace", identity, status=None))
    veredus.wait_empty()


def test_notify_never(t):
    veredus, sink, client = v.world(t, ("--reply-for", "bad@sink.example=550 5.1.1 no"))
    smtp = v.Smtp(veredus.port)
    smtp.send("sender@client.example", "bad@sink.example", v.mail("never"), "", " NOTIFY=NEVER")
    smtp.send("", "bad@sink.example", v.mail("a bounce that bounces"), "", " NOTIFY=NEVER")
    smtp.close()
    veredus.wait_log(r"to=<bad@sink\.example>.*status=bounced")
    veredus.wait_empty()
    v.equal(client.mails(), [])


def test_one_report_for_many(t):
    """What a message owes its sender is gathered: five recipients that fail make one report."""
    refusals = [word for i in range(5) for word in ("--reply-for", f"bad{i}@sink.example=550 5.1.1 no number {i}")]
    veredus, sink, client = v.world(t, refusals)
    smtp = v.Smtp(veredus.port)
    smtp.send("sender@client.example", ["good@sink.example"] + [f"bad{i}@sink.example" for i in range(5)], v.mail("five fail"))
    smtp.close()
    _, content = client.wait_mails(1)[0]
    _, found = parts(content)
    status = str(found["message/delivery-status"])
    for i in range(5):
        v.check(f"bad{i}@sink.example" in status and f"550 5.1.1 no number {i}" in status, i, status)
    veredus.wait_empty()
    v.equal(len(client.mails()), 1, "reports")


def test_double_bounce_to_postmaster(t):
    veredus, sink, client = v.world(t, ("--reply-for", "bad@sink.example=550 5.1.1 no"))
    smtp = v.Smtp(veredus.port)
    smtp.send("", "bad@sink.example", v.mail("from nobody"))
    smtp.close()
    envelope, _ = client.wait_mails(1)[0]
    v.check("postmaster@client.example" in str(envelope["rcpt"]), envelope)
    veredus.wait_empty()


def test_postmaster_is_ourselves(t):
    """Without a setting <postmaster> is at our own name; what has no way from there is held, not bounced."""
    veredus, _, client = v.world(t, start=False)
    text = v.read(veredus.conf).decode()
    v.write(veredus.conf, text.replace("postmaster = postmaster@client.example\n", ""))
    veredus.start()
    smtp = v.Smtp(veredus.port)
    identity = smtp.send("sender@client.example", "postmaster", v.mail("for you"))
    smtp.close()
    v.wait(lambda: [m["recipients"][0]["state"] for m in veredus.listed(f"id={identity}")] == ["held"], 15,
           lambda: f"held mail: {veredus.listed()}")
    v.equal(client.mails(), [])


def test_success_notice(t):
    """The receiver does not offer DSN: we say "relayed" (RFC 3461 5.2.2)."""
    veredus, sink, client = v.world(t, ("--without", "DSN"))
    smtp = v.Smtp(veredus.port)
    smtp.send("sender@client.example", "rcpt@sink.example", v.mail("success"), "", " NOTIFY=SUCCESS")
    smtp.close()
    _, content = client.wait_mails(1)[0]
    v.check("Action: relayed" in str(parts(content)[1]["message/delivery-status"]), content[-2000:])


def test_deferred_then_sent(t):
    """4yz is tried again, and a full round of failures is not lost."""
    veredus, sink, client = v.world(t, ("--reply-rcpt", "450 4.2.1 busy", "--fail-first", "2"),
                                    config="retry { first = 1s longest = 2s }\n")
    smtp = v.Smtp(veredus.port)
    smtp.send("sender@client.example", "rcpt@sink.example", v.mail("later"))
    smtp.close()
    sink.wait_mails(1, 30)
    v.equal(veredus.log_text().count("status=deferred (host" if "(host" in veredus.log_text() else "status=deferred"), 2, "deferrals")
    veredus.wait_empty()
    v.equal(client.mails(), [])


def test_expiry(t):
    veredus, sink, client = v.world(t, ("--reply-rcpt", "450 4.2.1 always busy"),
                                    config="retry { first = 1s longest = 1s expire = 3s notice = 0 }\n")
    smtp = v.Smtp(veredus.port)
    smtp.send("sender@client.example", "rcpt@sink.example", v.mail("expires"))
    smtp.close()
    _, content = client.wait_mails(1, 30)[0]
    v.check("always busy" in content.decode(), content)
    veredus.wait_empty()


def fields(content):
    """The per-recipient fields of a report about one recipient."""
    return parts(content)[1]["message/delivery-status"].get_payload()[1]


def stamp(text):
    return email.utils.parsedate_to_datetime(text).timestamp()


def is_the_attempt(veredus, address, told):
    """Is it the time of the first deferral in the log, give or take a second?"""
    logged = veredus.wait_log(rf"(?m)^\w+ +\d+ ([\d:]+) .*to=<{address}>.*status=deferred")[1]
    return logged in [time.strftime("%H:%M:%S", time.localtime(stamp(told) + late)) for late in (-1, 0, 1, 2)]


def test_expiry_names_the_last_attempt(t):
    """RFC 3464 2.3: the time of the last attempt and who answered it, not the day on which we gave up. The log has the
    report before the end of its message."""
    veredus, sink, client = v.world(t, ("--reply-rcpt", "450 4.2.1 always busy"),
                                    config="retry { first = 1h longest = 1h expire = 4s notice = 0 }\n")
    smtp = v.Smtp(veredus.port)
    identity = smtp.send("sender@client.example", "rcpt@sink.example", v.mail("expires"))
    smtp.close()
    _, content = client.wait_mails(1, 30)[0]
    found, message = fields(content), email.message_from_bytes(content)
    arrival = stamp(parts(content)[1]["message/delivery-status"].get_payload()[0]["Arrival-Date"])
    v.equal(found["Remote-MTA"], "dns; mx.sink.example")
    v.check(is_the_attempt(veredus, "rcpt@sink.example", found["Last-Attempt-Date"]), "last attempt", found["Last-Attempt-Date"])
    v.check(stamp(message["Date"]) - arrival >= 3, "given up", message["Date"])
    v.check("delivery time expired" in found["Diagnostic-Code"], found["Diagnostic-Code"])
    veredus.wait_empty()
    gone = veredus.wait_log(f"{identity}: removed")
    said = re.search(f"{identity}: .*non-delivery notification", veredus.log_text())
    v.check(said and said.start() < gone.start(), veredus.log_text()[-800:])


def test_expiry_of_a_site_that_is_down(t):
    """Nobody answered: no remote MTA, and the time of the last attempt to connect."""
    veredus, _, client = v.world(t, config=f"route down.example {{ to = smtp:[{v.SINK}]:{v.free_port((v.SINK,))} }}\n"
                                 "retry { first = 1h longest = 1h expire = 4s notice = 2s }\n")
    smtp = v.Smtp(veredus.port)
    smtp.send("sender@client.example", "rcpt@down.example", v.mail("expires"))
    smtp.close()
    for _, content in client.wait_mails(2, 30):
        found = fields(content)
        v.equal(found["Remote-MTA"], None, found["Action"])
        v.check(is_the_attempt(veredus, "rcpt@down.example", found["Last-Attempt-Date"]), found["Action"], found["Last-Attempt-Date"])
        v.check("refused" in found["Diagnostic-Code"], found["Diagnostic-Code"])


def test_no_such_domain(t):
    """NXDOMAIN and null MX (RFC 7505: 5.1.10) are permanent."""
    veredus, sink, client = v.world(t)
    smtp = v.Smtp(veredus.port)
    smtp.send("sender@client.example", "x@nosuch.example", v.mail("nowhere"))
    smtp.close()
    _, content = client.wait_mails(1, 30)[0]
    v.check("x@nosuch.example" in content.decode(), content)


v.main(globals())
