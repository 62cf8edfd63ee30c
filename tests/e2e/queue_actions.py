# SPDX-License-Identifier: ISC
"""What the veredus command does to queued mail: dry runs, filters that act, export and import, trace."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import json
import re

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
                         (["source=127.0.0.1"], 3), (["sender=*@client.example", "age=1h-"], 3), (["age=1h+"], 0),
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
    veredus.command("queue", "delete", ids[0], status=1)
    veredus.command("queue", "delete", "no-id", status=64)
    veredus.command("queue", "delete", "sneder=x", status=64)


def test_bounce_reports_to_the_sender(t):
    veredus, client, ids = busy_world(t, 1)
    veredus.command("queue", "bounce", ids[0])
    v.wait(lambda: not veredus.listed(), 15, lambda: str(veredus.listed()))
    story = v.wait(lambda: (lambda s: s if "removed" in s else None)(veredus.command("trace", ids[0])), 10, "the story")
    v.check("client=" in story and "status=deferred" in story and "non-delivery notification" in story, story)


def test_ids_on_standard_input(t):
    veredus, _, ids = busy_world(t)
    v.check("2 recipients of 2 messages" in veredus.command("queue", "hold", "-", input=f"{ids[0]}\n{ids[2]}!\n".encode()))
    held = v.wait(lambda: veredus.listed("state=held"), 10, "held messages")
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
