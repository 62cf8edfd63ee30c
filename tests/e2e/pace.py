# SPDX-License-Identifier: ISC
"""The pace of intake: one client sends message after message, and how long each takes says whether qmgr reads on."""
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import json
import time

import veredus as v

SITE = "site one { mx = mx.sink.example  connections = 1 }\nretry { first = 10m }\n"


def sent(smtp, count, recipient="a@sink.example"):
    """Sends so many; the milliseconds that each took, from its dot to its 250."""
    took = []
    for i in range(count):
        smtp.expect(250, "MAIL FROM:<a@client.example>")
        smtp.expect(250, f"RCPT TO:<{recipient}>")
        smtp.expect(354, "DATA")
        began = time.monotonic()
        smtp.socket.sendall(v.mail(f"paced {i}") + b".\r\n")
        reply = smtp.reply()
        v.check(reply.startswith("250 "), reply)
        took.append((time.monotonic() - began) * 1000)
    return took


def least(times):
    """What a message takes when nothing else on this machine is in its way: a pause of qmgr's is in all of them."""
    return statistics.quantiles(times, n=10)[0]


def ready(veredus):
    return json.loads(veredus.command("status", "--json"))["ready"]


def world(t, delay_ms, config=""):
    """One connection to a receiver that takes so long over each reply."""
    return v.world(t, ("--delay-ms", str(delay_ms)), SITE + config, sink_dump=False)


def test_backlog_slows_intake_and_is_over(t):
    veredus, sink, _ = world(t, 5)
    smtp = v.Smtp(veredus.port)
    sent(smtp, 5)  # the site takes mail: it counts
    veredus.wait_empty(10)
    quick = least(sent(smtp, 40))
    slow = []

    def paced():
        # Above 200 ready it stands still for 10 ms after each look: a lone client waits for that.
        slow[:] = sent(smtp, 40)
        return least(slow) > 5 and least(slow) > 2 * quick

    v.wait(paced, 60, lambda: f"not paced: {quick:.1f} ms at first, {least(slow):.1f} ms with {ready(veredus)} ready")
    v.check(ready(veredus) > 100, "paced with", ready(veredus), "ready")
    # It never stands still: each of them was taken.
    v.check(max(slow) < 10000 * v.PATIENCE, "one took", max(slow), "ms")
    v.wait(lambda: ready(veredus) < 50, 60, lambda: f"{ready(veredus)} ready")
    v.wait(lambda: ready(veredus) < 50 and least(sent(smtp, 20)) < least(slow) / 2, 60, lambda: "still paced with the backlog gone")
    smtp.close()


def test_deferred_mail_does_not_count(t):
    """300 that a receiver deferred, and 300 for a site that is down."""
    dead = v.free_port(("127.0.0.1",))
    veredus, sink, _ = v.world(t, ("--reply-for", "busy@sink.example=450 4.2.1 later"),
                               f"retry {{ first = 10m }}\nroute dead.example {{ to = smtp:[127.0.0.1]:{dead} }}\n", sink_dump=False)
    smtp = v.Smtp(veredus.port)
    alone = least(sent(smtp, 300, "busy@sink.example")[:60])
    sent(smtp, 300, "a@dead.example")
    v.wait(lambda: len(veredus.listed("state=deferred")) == 600, 30, lambda: str(veredus.listed())[:500])
    took = least(sent(smtp, 60))
    v.check(took < max(5 * v.PATIENCE, 2 * alone), f"{took:.1f} ms beside 600 that wait, {alone:.1f} ms without them")
    smtp.close()


def test_a_slow_site_does_not_count(t):
    """Its receiver takes 100 ms over a reply: to hold mail back would not make it faster."""
    veredus, sink, _ = world(t, 100)
    smtp = v.Smtp(veredus.port)
    sent(smtp, 3)
    veredus.wait_empty(20)
    times = sent(smtp, 320)
    v.check(ready(veredus) > 200, ready(veredus), "ready")
    took, alone = least(times[-60:]), least(times[:60])
    v.check(took < max(5 * v.PATIENCE, 2 * alone), f"{took:.1f} ms, at first {alone:.1f} ms")
    smtp.close()


v.main(globals())
