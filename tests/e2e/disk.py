# SPDX-License-Identifier: ISC
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import subprocess
import time

import veredus as v


def test_full_disk(t):
    """A small file system fills up: 452, deliveries go on, nothing acknowledged is lost, mail is taken again."""
    if not v.IS_ROOT:
        raise v.Skip("mounting a small file system needs root")
    folder = t.folder + "/small"
    os.mkdir(folder)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0777", "veredus-test", folder], stderr=subprocess.DEVNULL).returncode:
        raise v.Skip("mount is not allowed here")
    t.defer(subprocess.run, ["umount", "-l", folder])
    veredus, sink, _ = v.world(t, ("--reply-rcpt", "450 4.2.1 wait", "--fail-first", "100000"), start=False, sink_dump=True,
                               config=f"queue = {folder}/queue\nsegments {{ size = 1M reserve = 2 }}\n"
                                      "retry { first = 1s longest = 2s }\nhistory { size = 1M }\n")
    veredus.queue = folder + "/queue"
    veredus.start()
    client = v.Smtp(veredus.port)
    acknowledged = {}
    body = (b"x" * 76 + b"\r\n") * 400
    refused = None
    for i in range(2000):
        reply = client.say(f"MAIL FROM:<sender@client.example>")
        if reply.startswith("250"):
            client.expect(250, f"RCPT TO:<r{i}@sink.example>")
            client.expect(354, "DATA")
            content = v.mail(f"full {i}", body)
            client.socket.sendall(content + b".\r\n")
            reply = client.reply()
            if reply.startswith("250"):
                acknowledged[f"r{i}@sink.example"] = content
                continue
        refused = reply
        break
    v.check(refused and refused.startswith("452 4.3.1"), "expected 452 4.3.1, got", refused, len(acknowledged))
    client.expect(250, "RSET")
    v.check(len(acknowledged) > 20, len(acknowledged))
    print(f"  {len(acknowledged)} acknowledged before {refused}")
    time.sleep(1)
    # The receiver takes mail now: the reserve lets outcomes be written.
    options = [f"{v.SINK}:{veredus.sink_port}"]
    sink.stop()
    second = t.sink(options, name="second")
    veredus.command("queue", "flush", status=None)
    arrived = {}
    v.wait(lambda: len(second.mails()) >= len(acknowledged), 60,
           lambda: f"{len(second.mails())} of {len(acknowledged)}: {veredus.log_text()[-1500:]}")
    for envelope, content in second.mails():
        for address in acknowledged:
            if address in str(envelope["rcpt"]):
                arrived[address] = content
    v.equal(set(arrived), set(acknowledged), "arrived")
    for address, content in acknowledged.items():
        v.relayed_whole(arrived[address], content)
    veredus.wait_empty()

    def takes():
        return v.Smtp(veredus.port).say("MAIL FROM:<sender@client.example>").startswith("250")
    v.wait(takes, 20, "mail to be taken again")


def test_log_on_a_full_disk(t):
    """A log that cannot be written stops nothing."""
    veredus, sink, _ = v.world(t, config="log = /dev/full\n")
    client = v.Smtp(veredus.port)
    for i in range(5):
        client.send("sender@client.example", "rcpt@sink.example", v.mail(f"no log {i}"))
    client.close()
    sink.wait_mails(5)
    story = v.wait(lambda: "status=sent" in veredus.command("trace", "no.log.4@client.example", status=None), 10, "trace without a log")
    v.check(story)


def test_torn_tail(t):
    """A last record cut short by a crash is dropped; all before it are there."""
    veredus, sink, _ = v.world(t, ("--reply-rcpt", "450 4.2.1 wait"), config="retry { first = 1h }\n")
    client = v.Smtp(veredus.port)
    ids = [client.send("sender@client.example", f"r{i}@sink.example", v.mail(f"torn {i}")) for i in range(30)]
    client.close()
    v.wait(lambda: len(veredus.listed()) == 30, 10, "30 queued")
    import signal
    pids = [veredus.process.pid] + [p for group in veredus.daemons().values() for p in group]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    veredus.process.child.wait()
    # Rubbish behind the last record of the segment last written, as a torn write leaves it.
    newest, last = None, 0
    for where, _, files in os.walk(veredus.queue + "/queue"):
        for name in files:
            path = os.path.join(where, name)
            content = v.read(path).rstrip(b"\0")
            if b"Subject: torn 29" in content:
                newest, last = path, len(content)
    v.check(newest, "the segment that holds the last message")
    with open(newest, "r+b") as f:
        f.seek(last + (-last) % 8)
        f.write(b"\x5a" * 100)
    veredus.start()
    v.wait(lambda: len(veredus.listed()) == 30, 20, lambda: str(len(veredus.listed())))
    listed = str(veredus.listed())
    for identity in ids:
        v.check(identity in listed, identity, "is lost")


v.main(globals())
