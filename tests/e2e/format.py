# SPDX-License-Identifier: ISC
"""A queue that an earlier build left behind, stored in tests/samples: this one reads all of it and delivers it."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import datetime
import tarfile
import time

import clock
import veredus as v

# Then it was made; longer than 30 days no mail is tried.
MADE = datetime.datetime(2026, 11, 21, 23, 0, tzinfo=datetime.timezone.utc)
SAMPLE = os.path.join(v.ROOT, "tests", "samples", "queue-format-1.tar.gz")
# Queue ID: sender, recipients with their states, subject.
QUEUED = {
    "IJALYPM7EO": ("sender@client.example", {"one@dead.example": "ready", "two@dead.example": "ready"}, "waiting"),
    "IJALYPM7EP": ("sender@client.example", {"later@sink.example": "deferred"}, "deferred"),
    "IJALYPM7EQ": ("MAILER-DAEMON", {"null@dead.example": "ready"}, "null sender"),
    "IJALYPM7ER": ("sender@client.example", {"big@dead.example": "ready"}, "large"),
    "IJALYPM7ES": ("sender@client.example", {"held@dead.example": "held"}, "held"),
}


def test_format_1(t):
    port = v.free_port()
    sink = t.sink(f"127.0.0.1:{port}")
    veredus = t.veredus(f"route * {{ to = smtp:[127.0.0.1]:{port} }}\nsegments {{ size = 1M reserve = 1 }}\n"
                        "retry { expire = 30d }\n")
    clock.movable(t, veredus)(MADE.timestamp() + 86400 - time.time())
    os.mkdir(veredus.queue, 0o755)
    with tarfile.open(SAMPLE) as sample:
        sample.extractall(veredus.queue)
    if v.IS_ROOT:
        for folder, _, files in os.walk(veredus.queue):
            for path in [folder] + [os.path.join(folder, name) for name in files]:
                os.chown(path, v.NOBODY, v.NOBODY)
    said = veredus.command("queue", "check")
    v.check("5 live messages with 6 recipients" in said and "0 damaged" in said, said)
    found = {m["queue_id"]: (m["sender"], {r["address"]: r["state"] for r in m["recipients"]}) for m in veredus.listed()}
    # What was deferred is due again by now.
    v.equal({i: (s, set(r)) for i, (s, r) in found.items()}, {i: (s, set(r)) for i, (s, r, _) in QUEUED.items()}, "listed")
    v.equal(found["IJALYPM7ES"][1], {"held@dead.example": "held"}, "held")
    v.check("451 4.7.1 come back later" in veredus.command("queue", "list"), "the last reply")

    veredus.start()
    mails = sink.wait_mails(4)
    arrived = {r: c for envelope, c in mails for r in SENT if r in str(envelope["rcpt"])}
    v.equal(sorted(arrived), sorted(SENT), "arrived")
    v.check(b"\r\nSubject: large\r\n" in arrived["big@dead.example"], "the large one's header")
    v.check(arrived["big@dead.example"].endswith(b"a line of a large body\r\n" * 4000), "the large one's body")
    v.wait(lambda: [m["queue_id"] for m in veredus.listed()] == ["IJALYPM7ES"], 10, lambda: f"what is held alone: {veredus.listed()}")
    veredus.command("queue", "release", "IJALYPM7ES")
    sink.wait_mails(5)


SENT = [r for _, recipients, _ in QUEUED.values() for r, state in recipients.items() if state != "held"]

if v.PATIENCE > 1:
    del test_format_1  # its shim must come first in LD_PRELOAD, and so must the sanitizer

v.main(globals())
