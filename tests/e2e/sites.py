# SPDX-License-Identifier: ISC
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import json
import re

import veredus as v

DOMAINS = 1000
LIMIT = 7


def relay(t, records, config):
    """A receiver that takes 8 ms for each reply, so that connections pile up if nothing limits them."""
    port = v.free_port((v.SINK,))
    forward = t.zone(f"a.mx A {v.SINK}\nb.mx A {v.SINK}\n{records}\n")
    sink = t.sink(f"{v.SINK}:{port}", "--delay-ms", "8", dump=False)
    anchor = v.write(t.folder + "/anchor", "")
    veredus = t.veredus(f"resolver {{ forward = {{ {forward} }} trust-anchor = {anchor} }}\n"
                        f"route * {{ to = mx:{port} }}\nlimits {{ per-client = 1000 site-connections = 50 }}\n"
                        # A burst of a thousand questions may cost one its answer.
                        "retry { first = 1s longest = 2s }\n" + config)
    return veredus.start(), sink


def send_to_each(veredus, domain):
    """One message to a recipient in each of the domains."""
    client = v.Smtp(veredus.port)
    for i in range(DOMAINS):
        client.send("sender@client.example", f"user@{domain.format(i)}", v.mail(f"to {i}"))
    client.close()


def one_site(t, veredus, sink, name, limit):
    """All of it went through one site, over no more connections than its limit."""
    status = {}

    def through():
        status.update(json.loads(veredus.command("status", "--json")))
        return status["recipients"] == 0

    v.wait(through, 60, lambda: f"an empty queue: {status}")
    sites = {re.sub(r":\d+$", "", s["site"]): s for s in status["sites"]}
    v.equal(list(sites), [name], "sites")
    v.equal(sites[name]["relayed"], DOMAINS, "relayed")
    counted = sink.result()
    v.equal(counted["other"], DOMAINS, "arrived")
    v.check(counted["connections_peak"] <= limit, "connections at once:", counted["connections_peak"])
    v.check(counted["connections_peak"] > 1, "connections at once:", counted["connections_peak"])


def test_domains_behind_the_same_mx(t):
    """1,000 domains, one pair of MX names: one site, named by the set, and the common limit."""
    records = "\n".join(f"d{i}.many MX 10 a.mx\nd{i}.many MX {10 + i % 2} b.mx" for i in range(DOMAINS))
    veredus, sink = relay(t, records, "")
    send_to_each(veredus, "d{}.many.example")
    one_site(t, veredus, sink, "a.mx.example,b.mx.example", 50)


def test_tenants_of_one_provider(t):
    """1,000 domains, each with an MX name of its own at one provider: the configured site and its limit."""
    records = "\n".join(f"d{i}.tenants MX 10 d{i}-tenants.mail.provider" for i in range(DOMAINS))
    veredus, sink = relay(t, records + f"\n*.mail.provider A {v.SINK}",
                          f"site provider {{ mx = {{ *.mail.provider.example }} connections = {LIMIT} }}\n")
    send_to_each(veredus, "d{}.tenants.example")
    one_site(t, veredus, sink, "provider", LIMIT)


def test_a_rate_is_smooth(t):
    """600 messages a minute are ten a second, with at most a second's worth at once."""
    records = "d0.slow MX 10 a.mx"
    veredus, sink = relay(t, records, "site slow { mx = { a.mx.example } rate = 600 }\n")
    client = v.Smtp(veredus.port)
    for i in range(40):
        client.send("sender@client.example", "user@d0.slow.example", v.mail(f"slow {i}"))
    client.close()
    veredus.wait_empty(30)

    def times():
        return [int(h) * 3600 + int(m) * 60 + int(s)
                for h, m, s in re.findall(r"(?m)^\w+ +\d+ (\d+):(\d+):(\d+) .*status=sent", veredus.log_text())]
    v.wait(lambda: len(times()) >= 40, 10, lambda: f"40 lines in the log, {len(times())} are there")
    v.equal(len(times()), 40, "sent")
    took = (times()[-1] - times()[0]) % 86400
    v.check(took >= 2, "all of it in", took, "s")


if __name__ == "__main__":
    v.main(globals())
