# SPDX-License-Identifier: ISC
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import json
import re
import time

import veredus as v


def deferred_world(t):
    """A queue of three messages for a site that refuses for now."""
    veredus, sink, client = v.world(t, ("--reply-for", "busy@sink.example=450 4.2.1 busy"))
    smtp = v.Smtp(veredus.port)
    ids = [smtp.send(f"sender{i}@client.example", "busy@sink.example", v.mail(f"queued {i}", b"body %d\r\n" % i)) for i in range(3)]
    smtp.close()
    v.wait(lambda: veredus.log_text().count("status=deferred") >= 1, 15, "a deferral")
    v.wait(lambda: len(veredus.listed()) == 3, 10, lambda: str(veredus.listed()))
    return veredus, sink, ids


def test_list_show_cat(t):
    veredus, _, ids = deferred_world(t)
    text = veredus.command("queue", "list")
    for identity in ids:
        v.check(identity in text, identity, "not in", text)
    v.equal(len(veredus.listed("sender=sender1@client.example")), 1)
    v.equal(len(veredus.listed("domain=sink.example")), 3)
    v.equal(len(veredus.listed("recipient=other@sink.example")), 0)
    shown = veredus.command("queue", "show", ids[1])
    v.check("busy@sink.example" in shown and "sender1@client.example" in shown, shown)
    content = veredus.command("queue", "cat", ids[1])
    v.check("Subject: queued 1" in content and "body 1" in content and content.startswith("Received: "), content)
    shape = veredus.command("queue", "shape")
    v.check("sink.example" in shape, shape)
    status = veredus.command("status")
    v.check("sink" in status, status)
    json.loads(veredus.command("status", "--json"))


def test_status_tells_each_sites_oldest(t):
    """Of a site and of a domain without a next hop: the age of the oldest mail that waits, and why."""
    dead = v.free_port()
    veredus = t.veredus(f"route dead.example {{ to = smtp:[127.0.0.1]:{dead} }}\nroute unknown.example {{ to = mx }}\n"
                        f"resolver {{ forward = {{ 127.0.0.1@{v.free_port()} }} trust-anchor = {v.write(t.folder + '/anchor', '')} }}\n").start()
    smtp = v.Smtp(veredus.port)
    sent = [time.time()]
    for domain in "dead", "unknown":
        smtp.send("sender@client.example", f"first@{domain}.example", v.mail("first"))
    sent.append(time.time())
    time.sleep(2.5)
    for domain in "dead", "unknown":
        smtp.send("sender@client.example", f"second@{domain}.example", v.mail("second"))
    smtp.close()

    def rows():
        found = {re.sub(r".*:.*", "dead", row["site"]): row for row in json.loads(veredus.command("status", "--json"))["sites"]}
        return found if [row["ready"] for row in found.values()] == [2, 2] and all(row["last_error"] for row in found.values()) else None

    found = v.wait(rows, 40, lambda: "two rows: " + veredus.command("status", "--json"))
    v.equal(sorted(found), ["dead", "domain unknown.example"])
    for name, row in found.items():
        v.check(sent[0] - 1.5 < row["oldest"] < sent[1] + 1.5, name, "oldest", row["oldest"], "sent", sent)
    # Not while one of them is tried again.
    v.wait(lambda: len(re.findall(r"^ +2 .* [\dm]+s  \S.*\n +last error: +\S", veredus.command("status"), re.M)) == 2, 10,
           lambda: veredus.command("status"))


def test_hold_release_delete(t):
    veredus, sink, ids = deferred_world(t)
    v.check("1" in veredus.command("queue", "hold", ids[0]))
    held = v.wait(lambda: veredus.listed("state=held"), 10, "a held message")
    v.equal(len(held), 1)
    v.check(ids[0] in str(held), held)
    veredus.command("queue", "release", ids[0])
    v.wait(lambda: not veredus.listed("state=held"), 10, "release")
    veredus.command("queue", "delete", ids[1])
    v.wait(lambda: len(veredus.listed()) == 2, 10, "one deleted")
    v.check(ids[1] not in str(veredus.listed()), veredus.listed())


def test_queue_outlives_a_restart(t):
    """Read with the daemons down, and again after a start."""
    veredus, sink, ids = deferred_world(t)
    veredus.command("queue", "hold", ids[2])
    v.wait(lambda: veredus.listed("state=held"), 10, "hold")
    v.equal(veredus.stop(), 0, "exit status")
    v.equal(len(veredus.listed()), 3, "messages with the daemons down")
    v.check("Subject: queued 2" in veredus.command("queue", "cat", ids[2]))
    veredus.command("queue", "check")
    veredus.start()
    v.wait(lambda: len(veredus.listed()) == 3, 10, lambda: str(veredus.listed()))
    v.equal(len(veredus.listed("state=held")), 1, "held after the restart")


v.main(globals())
