# SPDX-License-Identifier: ISC
"""Routes with several next hops: their order, their weights, and what makes the next one's turn."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import collections
import json
import re

import hostile as r
import pki
import secure as s
import veredus as v

TIMES = "retry { first = 1h longest = 2h }\n"


def started(t, config):
    anchor = v.write(t.folder + "/anchor", "")
    return t.veredus(TIMES + f"resolver {{ trust-anchor = {anchor} }}\n" + config).start()


def hops(*receivers, weights=()):
    words = [f"smtp:[{v.SINK}]:{x if isinstance(x, int) else x.port}" for x in receivers]
    for i, weight in enumerate(weights):
        words[i] += f"*{weight}"
    return "to = { " + ", ".join(words) + " }"


def relay_of(veredus, address):
    found = veredus.wait_log(rf"to=<{re.escape(address)}>, relay=(\S+?),.* status=(\w+) \((.*?)\)", 20)
    return found.groups()


def test_failover(t):
    """Nobody there, 421 at the greeting and at EHLO, no STARTTLS, a TLS that fails: the next one has the mail."""
    own = pki.Pair(t.folder, "own")
    last = s.Receiver(t, pair=own)
    cases = {
        "refused": (v.free_port((v.SINK,)), ""),
        "greets421": (r.Receiver(t, greeting=b"421 4.3.2 not now\r\n"), ""),
        "greets554": (r.Receiver(t, greeting=b"554 5.7.1 not you\r\n"), ""),
        "ehlo421": (r.Receiver(t, ehlo=b"421 4.3.2 not now\r\n"), ""),
        "closes": (r.Receiver(t, greeting=r.close), ""),
        "notls": (s.Receiver(t), "tls = encrypt"),
        "badtls": (s.Receiver(t, pair=own, star=b"454 4.7.0 no\r\n"), "tls = encrypt"),
    }
    veredus = started(t, "".join(f"route {name}.example {{ {hops(first, last)} {tls} }}\n" for name, (first, tls) in cases.items()))
    v.send_each(veredus, *(f"x@{name}.example" for name in cases))
    for name in cases:
        relay, status, words = relay_of(veredus, f"x@{name}.example")
        v.equal((relay, status), (f"{v.SINK}[{v.SINK}]:{last.port}", "sent"), name + words)
    v.equal(len(last.contents), len(cases), "arrived")
    v.equal(veredus.stop(), 0, "exit status")


def test_order_and_weights(t):
    """The first one has all while it serves. Of three to one each has its share of the connections; the spare one has none."""
    first, second = r.Receiver(t), r.Receiver(t)
    many, few, spare = (r.Receiver(t) for _ in range(3))
    count = 120
    veredus = started(t, f"limits {{ site-messages = 1 }}\nroute order.example {{ {hops(first, second)} }}\n"
                      f"route weight.example {{ {hops(many, few, spare, weights=(3, 1))} }}\n")
    v.send_each(veredus, *(f"{i}@order.example" for i in range(8)), *(f"{i}@weight.example" for i in range(count)))
    veredus.wait_empty(30)
    v.equal((len(first.contents), len(second.contents)), (8, 0), "in order")
    shares = [len(x.contents) for x in (many, few, spare)]
    v.check(sum(shares) == count and shares[2] == 0 and 8 <= shares[1] <= 58, shares)  # 30, five deviations on either side
    v.equal(veredus.stop(), 0, "exit status")


def test_shown(t):
    """veredus route and config show have them as they stand."""
    one, two = r.Receiver(t), r.Receiver(t)
    veredus = started(t, f"route a.example {{ {hops(one, two)} }}\nroute w.example {{ {hops(one, two, weights=(3, 1))} }}\n")
    told = json.loads(veredus.command("route", "x@w.example", "--json"))
    v.equal([(h["name"], h["port"], h["preference"], h["weight"]) for h in told["hosts"]],
            [(v.SINK, one.port, 0, 3), (v.SINK, two.port, 0, 1)])
    told = json.loads(veredus.command("route", "x@a.example", "--json"))
    v.equal([(h["port"], h["preference"], h["weight"]) for h in told["hosts"]], [(one.port, 0, 0), (two.port, 1, 0)])
    text = veredus.command("route", "w.example")
    v.check(f"to = smtp:[{v.SINK}]:{one.port}*3, smtp:[{v.SINK}]:{two.port}*1" in text and f"{v.SINK}:{one.port}, weight 3" in text, text)
    v.check(f"to = {{ smtp:[{v.SINK}]:{one.port}, smtp:[{v.SINK}]:{two.port} }}" in veredus.command("config", "show"), "config show")
    v.equal(collections.Counter(h["tls"] for h in told["hosts"]), {"may": 2})
    v.equal(veredus.stop(), 0, "exit status")


v.main(globals())
