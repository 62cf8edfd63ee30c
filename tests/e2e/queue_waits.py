# SPDX-License-Identifier: ISC
"""Why mail waits: a site that is down and a domain without a next hop are known to qmgr alone, and the command asks it."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import json
import re
import signal
import time

import hostile as r
import veredus as v


def waiting_world(t):
    """Mail that a site took time over, mail for one that nobody listens for, and for a domain that DNS fails for."""
    port = v.free_port((v.SINK, "127.0.0.1"))
    dead = v.free_port(("127.0.0.1",))
    names = {("slow.example", r.MX): [r.mx(1, "mx.slow.example")], ("mx.slow.example", r.A): [r.a(v.SINK)], ("dns.example", r.MX): r.SERVFAIL}
    server = r.NameServer(t, lambda name, kind: names.get((name, kind), []))
    sink = t.sink(f"{v.SINK}:{port}", "--reply-for", "busy@slow.example=450 4.2.1 mailbox busy")
    veredus = t.veredus(f"resolver {{ forward = {{ 127.0.0.1@{server.port} }} timeout = 10s trust-anchor = {v.write(t.folder + '/anchor', '')} }}\n"
                        f"route dead.example {{ to = smtp:[127.0.0.1]:{dead} }}\nroute * {{ to = mx:{port} }}\n"
                        "retry { first = 10m  longest = 1h }\n").start()
    smtp = v.Smtp(veredus.port)
    ids = {name: smtp.send(f"to-{name}@client.example", [f"{w}.example" for w in words], v.mail(name))
           for name, words in (("slow", ["busy@slow"]), ("dead", ["a@dead", "b@dead"]), ("dns", ["x@dns"]), ("both", ["busy@slow", "c@dead"]))}
    smtp.close()
    veredus.wait_log("site .*is down", 20)
    veredus.wait_log("no next hop for dns.example now", 30)
    v.wait(lambda: len(veredus.listed("reply=mailbox busy")) == 2, 15, lambda: str(veredus.listed()))
    return veredus, sink, ids, f"[127.0.0.1]:{dead}"


def by_address(messages):
    return {r["address"]: r for m in messages for r in m["recipients"]}


def test_list_and_show_say_why(t):
    veredus, _, ids, site = waiting_world(t)
    text = veredus.command("queue", "list")
    down = rf"\(site {re.escape(site)} is down: Connection refused; next attempt in \d+m\d\ds\)"
    v.equal(len(re.findall(down, text)), 3, text)
    v.check(re.search(r"\(no next hop for dns\.example: .+; next attempt in \d+.*\)", text), text)
    v.equal(len(re.findall(r"said: 450 4\.2\.1 mailbox busy\)", text)), 2, text)
    v.check(ids["dead"] + "*" not in text, text)
    listed = veredus.listed()
    v.equal({m["queue_name"] for m in listed}, {"deferred"}, listed)
    found = by_address(listed)
    v.equal(found["a@dead.example"]["state"], "deferred")
    v.equal(found["a@dead.example"]["delay_reason"], f"site {site} is down: Connection refused")
    v.equal(found["a@dead.example"]["waits_for_site"], site)
    v.check(0 < found["a@dead.example"]["next_attempt"] - time.time() < 1200, found)
    v.equal((found["x@dns.example"]["waits_for_site"], found["x@dns.example"]["state"]), ("", "deferred"))
    v.check("waits_for_site" not in found["busy@slow.example"], found)
    shown = veredus.command("queue", "show", ids["both"])
    v.check(re.search(rf"c@dead\.example\n  state      deferred, 0 attempts\n  waits      site {re.escape(site)} is down: Connection refused; next attempt in", shown), shown)
    v.equal(shown.count("  waits "), 1, shown)
    waits = {r["address"]: r.get("waits") for r in json.loads(veredus.command("queue", "show", "--json", ids["both"]))["recipients"]}
    v.equal(waits, {"busy@slow.example": None, "c@dead.example": {"site": site, "error": "Connection refused",
                                                                  "reason": f"site {site} is down: Connection refused"}})


def test_filters_know_it(t):
    veredus, _, ids, site = waiting_world(t)
    for words, wanted in ((["state=ready"], []), (["state=deferred"], ["slow", "dead", "dns", "both"]), (["reply=connection REFUSED"], ["dead", "both"]),
                          (["reply=" + site], ["dead", "both"]), (["reply=no next hop"], ["dns"]), (["state=deferred", "domain=dead.example"], ["dead", "both"]),
                          (["state=deferred", "id=" + ids["dns"]], ["dns"]), (["reply=busy"], ["slow", "both"]), (["site=127.0.0.0/8"], ["dead", "both"]),
                          (["site=10.0.0.0/8"], [])):
        v.equal({m["queue_id"] for m in veredus.listed(*words)}, {ids[n] for n in wanted}, words)
    # And acting on them: those recipients alone.
    v.check("held: 3 recipients of 2 messages" in veredus.command("queue", "hold", "reply=refused"))
    found = v.wait(lambda: (lambda f: f if f["c@dead.example"]["state"] == "held" else None)(by_address(veredus.listed())), 10, "held")
    v.equal([a for a, r in found.items() if r["state"] == "held"], ["a@dead.example", "b@dead.example", "c@dead.example"])
    v.check("waits_for_site" not in found["a@dead.example"], found)


def test_down_and_silent(t):
    """With the daemons down the disk is what is known; a qmgr that stands still keeps nobody waiting for long."""
    veredus, _, ids, _ = waiting_world(t)
    qmgr = veredus.daemons("qmgr")[0]
    os.kill(qmgr, signal.SIGSTOP)
    try:
        began = time.monotonic()
        found = by_address(veredus.listed())
        v.check(time.monotonic() - began < 5 + 7 * v.WAITS, "it took", time.monotonic() - began)
    finally:
        os.kill(qmgr, signal.SIGCONT)
    v.equal((found["a@dead.example"]["state"], found["busy@slow.example"]["state"]), ("ready", "deferred"))
    v.equal(veredus.stop(), 0)
    found = by_address(veredus.listed())
    v.equal((found["a@dead.example"]["state"], found["busy@slow.example"]["state"]), ("ready", "deferred"))
    v.equal(len(veredus.listed("state=deferred")), 2)


def test_many_domains(t):
    """More than fit into one question."""
    dead = v.free_port(("127.0.0.1",))
    veredus = t.veredus(f"route * {{ to = smtp:[127.0.0.1]:{dead} }}\nlimits {{ recipients = 3000 }}\nretry {{ first = 10m }}\n").start()
    smtp = v.Smtp(veredus.port)
    smtp.send("a@client.example", [f"x@d{i}.example" for i in range(2500)], v.mail("many"))
    smtp.close()
    veredus.wait_log("site .*is down", 20)
    v.wait(lambda: all(r["state"] == "deferred" for r in by_address(veredus.listed()).values()), 20, lambda: str(veredus.listed())[:300])
    v.equal(len([r for r in by_address(veredus.listed("reply=refused")).values() if r["waits_for_site"]]), 2500)


v.main(globals())
