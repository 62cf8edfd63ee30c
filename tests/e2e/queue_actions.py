# SPDX-License-Identifier: ISC
"""What the veredus command does to queued mail: dry runs, filters that act, export and import, trace."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import json
import re
import signal
import threading
import time

import hostile
import veredus as v


def busy_world(t, count=3):
    veredus, sink, client = v.world(t, ("--reply-for", "busy@sink.example=450 4.2.1 come back later"))
    smtp = v.Smtp(veredus.port)
    ids = [smtp.send(f"sender{i}@client.example", "busy@sink.example", v.mail(f"queued {i}", b"body %d\r\n" % i)) for i in range(count)]
    smtp.close()
    v.wait(lambda: sum("450" in str(m) for m in veredus.listed("state=deferred")) == count, 15, lambda: str(veredus.listed()))
    return veredus, client, ids


def test_filters_find_by_what_is_known(t):
    veredus, _, ids = busy_world(t)
    for words, count in ((["reply=COME BACK"], 3), (["reply=gone"], 0), (["site=mx.sink.example"], 3), (["site=*.client.example"], 0),
                         (["source=127.0.0.1"], 3), (["source=127.0.0.0/8"], 3), (["source=10.0.0.0/8"], 0), (["sender=*@client.example", "age=1h-"], 3), (["age=1h+"], 0),
                         (["id=" + ids[1].lower()], 1), (["sender=sender2@*", "recipient=busy@sink.example"], 1)):
        v.equal(len(veredus.listed(*words)), count, words)
    first = veredus.listed("id=" + ids[0])[0]
    v.equal(first["queue_name"], "deferred")
    v.equal(first["sender"], "sender0@client.example")
    v.equal(first["recipients"][0]["address"], "busy@sink.example")
    v.check("come back later" in first["recipients"][0]["delay_reason"], first)
    v.check(first["arrival_time"] > 1700000000 and first["message_size"] > 100, first)
    v.check(re.search(r"TOTAL +3 +3", veredus.command("queue", "shape")))
    v.check(re.search(r"oldest +\d+", veredus.command("status")))


def test_delete_of_many_is_rehearsed(t):
    veredus, _, ids = busy_world(t)
    said = veredus.command("queue", "delete", "domain=sink.example", status=2)
    for identity in ids:
        v.check(identity in said, said)
    v.equal(len(veredus.listed()), 3, "after the rehearsal")
    v.check("3 recipients of 3 messages" in veredus.command("queue", "delete", "domain=sink.example", "--yes"))
    v.wait(lambda: not veredus.listed(), 10, "an empty queue")
    # Gone from the disk; qmgr forgets it a moment later.
    v.wait(lambda: "1 not found" in veredus.command("queue", "delete", ids[0], status=None), 10, "nothing to delete")
    veredus.command("queue", "delete", ids[0], status=1)
    veredus.command("queue", "delete", "no-id", status=64)
    veredus.command("queue", "delete", "sneder=x", status=64)


def test_bounce_reports_to_the_sender(t):
    veredus, client, ids = busy_world(t, 1)
    veredus.command("queue", "bounce", ids[0])
    v.wait(lambda: not veredus.listed(), 15, lambda: str(veredus.listed()))
    story = v.wait(lambda: (lambda s: s if "removed" in s and "non-delivery notification" in s else None)(veredus.command("trace", ids[0])),
                   10, lambda: "the story: " + veredus.command("trace", ids[0]))
    v.check("client=" in story and "status=deferred" in story, story)


def test_actions_on_mail_in_flight(t):
    """Said to be done when it is done: what is in flight is deleted or held when its attempt ends undelivered, and not
    at all when it is delivered."""
    names = "deferred", "refused", "taken", "kept", "cut"
    receivers = {}
    gate = threading.Event()

    def waits(reply):
        def act(conn):
            gate.wait(55 * v.PATIENCE)
            conn.send(reply)
        return act
    said = {"deferred": b"450 4.2.1 later\r\n", "refused": b"550 5.1.1 no\r\n", "taken": b"250 2.0.0 Ok\r\n", "kept": b"450 4.2.1 later\r\n"}
    for name in names:
        receivers[name] = hostile.Receiver(t, dot=waits(said[name]) if name in said else hostile.hang)
    client = hostile.Receiver(t)
    veredus = t.veredus("retry { first = 1s longest = 1s }\n" + "".join(
        f"route {name}.example {{ to = smtp:[{v.SINK}]:{r.port} }}\n" for name, r in [*receivers.items(), ("client", client)])).start()
    smtp = v.Smtp(veredus.port)
    ids = {name: smtp.send("sender@client.example", f"r@{name}.example", v.mail(name)) for name in names}
    smtp.close()
    v.wait(lambda: all(r.contents for r in receivers.values()), 10, "all in flight")
    for name in names:
        verb = "hold" if name == "kept" else "delete"
        said = veredus.command("queue", verb, ids[name])
        v.check(": 0 recipients of 1 message" in said and "1 more in flight" in said, said)
    answer = json.loads(veredus.command("queue", "delete", "--json", ids["cut"]))
    v.equal((answer["recipients"], answer["in_flight"]), (0, 1), answer)
    gate.set()
    for name, status in ("deferred", "deferred"), ("refused", "bounced"), ("taken", "sent"), ("kept", "deferred"):
        veredus.wait_log(f"to=<r@{name}.example>.*status={status}")
    # The last one comes back without an outcome.
    os.kill(veredus.daemons("smtp-client")[0], signal.SIGKILL)
    v.wait(lambda: {(m["queue_id"], m["queue_name"]) for m in veredus.listed()} == {(ids["kept"], "hold")}, 20, lambda: str(veredus.listed()))
    time.sleep(1.5)
    for name, r in receivers.items():
        v.equal(len(r.contents), 1, "attempts for " + name)
    v.equal(client.contents, [], "reports")


def test_ids_on_standard_input(t):
    veredus, _, ids = busy_world(t)
    v.check("2 recipients of 2 messages" in veredus.command("queue", "hold", "-", input=f"{ids[0]}\n{ids[2]}!\n".encode()))
    v.wait(lambda: len(veredus.listed("state=held")) == 2, 10, "held messages")
    held = veredus.listed("state=held")
    v.equal({m["queue_id"] for m in held}, {ids[0], ids[2]})
    v.equal({m["queue_name"] for m in held}, {"hold"})


def test_export_and_import(t):
    veredus, _, ids = busy_world(t)
    folder = os.path.join(veredus.folder, "out")
    before = {i: veredus.command("queue", "cat", i) for i in ids}
    v.check("exported: 3 messages" in veredus.command("queue", "export", folder))
    envelope = json.load(open(os.path.join(folder, ids[1] + ".json")))
    v.equal(envelope["sender"], "sender1@client.example")
    v.equal([r["address"] for r in envelope["recipients"]], ["busy@sink.example"])
    v.equal(open(os.path.join(folder, ids[1] + ".eml"), newline="").read(), before[ids[1]])
    veredus.command("queue", "delete", "age=0s+", "--yes")
    v.wait(lambda: not veredus.listed(), 10, "an empty queue")
    said = veredus.command("queue", "import", folder)
    moved = dict(re.findall(r"^(\w+) -> (\w+)$", said, re.M))
    v.equal(set(moved), set(ids))
    v.wait(lambda: len(veredus.listed()) == 3, 10, lambda: str(veredus.listed()))
    for old, new in moved.items():
        v.equal(veredus.command("queue", "cat", new), before[old], "content")
    v.equal(veredus.listed("id=" + moved[ids[2]])[0]["sender"], "sender2@client.example")
    # Started again it finds nothing left to do.
    v.check("imported: 0 messages, 0 refused" in veredus.command("queue", "import", folder))
    v.check("fine" in veredus.command("queue", "check"))


v.main(globals())
