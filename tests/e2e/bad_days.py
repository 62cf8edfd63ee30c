# SPDX-License-Identifier: ISC
"""Bad days: disks that fill, fail and rot, receivers that never confirm, floods and dead sites beside good mail. What
was acknowledged arrives whole or is held, and never twice but where a 250 was not read."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import fcntl
import glob
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import hostile as r
import veredus as v

LATER = b"450 4.2.1 come back later\r\n"
QUICK = "retry { first = 1s longest = 2s }\n"
NEVER = " NOTIFY=NEVER"
EXT4_IOC_SHUTDOWN, NOLOGFLUSH = 0x8004587D, 2


def quietly(*argv):
    return subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def mounted(t, *options, name="small"):
    """A mount point that anyone may write to."""
    if not v.IS_ROOT:
        raise v.Skip("mounting a file system needs root")
    folder = os.path.join(t.folder, name)
    os.mkdir(folder)
    if quietly("mount", *options, folder):
        raise v.Skip("mount is not allowed here")
    t.defer(quietly, "umount", "-l", folder)
    os.chmod(folder, 0o777)
    return folder


def relay(t, config="", folder=None, start=True, **receivers):
    """Veredus before a receiver for each of {name: what it says}; x.NAME.example goes there."""
    found = {name: r.Receiver(t, **says) for name, says in receivers.items()}
    routes = "".join(f"route {name}.example {{ to = smtp:[{v.SINK}]:{x.port} }}\n" for name, x in found.items())
    if folder:
        config += f"queue = {folder}/queue\nsegments {{ size = 1M reserve = 2 }}\nhistory {{ size = 1M }}\n"
    veredus = t.veredus(config + routes)
    if folder:
        veredus.queue = folder + "/queue"
    if start:
        veredus.start()
    return (veredus, *found.values())


def submit(client, recipient, content):
    """One transaction with a recipient and no reports: the reply that ended it, "" when the connection was closed."""
    try:
        for line, code in (("MAIL FROM:<sender@client.example>", "250"), (f"RCPT TO:<{recipient}>{NEVER}", "250"), ("DATA", "354")):
            reply = client.say(line)
            if not reply.startswith(code):
                return reply
        client.socket.sendall(content + b".\r\n")
        return client.reply()
    except (OSError, v.Failure):
        return ""


def mails(receiver):
    """What arrived; an empty content is the end of a transaction whose recipients were refused (RFC 2920 3.1)."""
    return [content for content in list(receiver.contents) if content]


def subjects(receiver):
    return [re.search(rb"^Subject: (.*)\r$", content, re.M)[1].decode() for content in mails(receiver)]


def arrive_whole(receiver, contents, seconds=30, veredus=None):
    """Each of {subject: content} arrived, once, as it was sent."""
    v.wait(lambda: len(mails(receiver)) >= len(contents), seconds,
           lambda: f"{len(contents)} mails, {len(mails(receiver))} came"
           + (f"; {veredus.command('status')} {veredus.listed()} {veredus.log_text()[-3000:]}" if veredus else ""))
    found = subjects(receiver)
    v.equal(sorted(found), sorted(contents), "what arrived")
    for subject, content in zip(found, mails(receiver)):
        v.relayed_whole(content, contents[subject])


def takes_mail(veredus):
    try:
        client = v.Smtp(veredus.port)
        reply = client.say("MAIL FROM:<sender@client.example>")
        client.close()
        return reply.startswith("250")
    except (OSError, v.Failure):
        return False


def kill_all(veredus):
    for pid in [veredus.process.pid] + [p for group in veredus.daemons().values() for p in group]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    veredus.process.child.wait()


def alive(veredus):
    """No daemon died."""
    died = re.search(r".*starting it again.*", veredus.log_text())
    v.check(not died, died and died[0])


# -- the peers of these tests ---------------------------------------------------------------------------

def test_receiver_ends(t):
    """A receiver that ended takes no connection, above all none that was made to the next one."""
    first = v.Test("first_receiver")
    old = r.Receiver(first)
    number = old.listener.fileno()
    with socket.create_connection((v.SINK, old.port)) as s:
        v.check(s.recv(100).startswith(b"220"), "no greeting")
    first.end(keep=False)
    new = r.Receiver(t)
    v.equal(new.listener.fileno(), number, "the descriptor's number")
    # Stopped and continued, whoever waits in the kernel waits anew, by number.
    subprocess.run(["sh", "-c", f"kill -STOP {os.getpid()}; sleep 0.2; kill -CONT {os.getpid()}"], check=True)
    for _ in range(4):
        with socket.create_connection((v.SINK, new.port)) as s:
            v.check(s.recv(100).startswith(b"220"), "no greeting")
    v.equal((old.connections, new.connections), (1, 4), "connections")
    with socket.socket() as s:
        v.check(s.connect_ex((v.SINK, old.port)), "the old port still listens")


# -- the disk -----------------------------------------------------------------------------------------

def test_inodes_out(t):
    """Large bodies need a file each: 452 at once, deliveries go on, nothing acknowledged is lost."""
    folder = mounted(t, "-t", "tmpfs", "-o", "size=100m,nr_inodes=150,mode=0777", "veredus-test")
    veredus, x = relay(t, QUICK, folder, x={"rcpt": LATER})
    client = v.Smtp(veredus.port)
    line = b"x" * 76 + b"\r\n"
    acknowledged, refused = {}, None
    for i in range(200):
        content = v.mail(f"inode {i}", b"%d " % i + line * 1500)
        started = time.monotonic()
        reply = submit(client, f"r{i}@x.example", content)
        v.check(time.monotonic() - started < 10 * v.PATIENCE, "a reply that took", time.monotonic() - started, reply)
        if not reply.startswith("250"):
            refused = reply
            break
        acknowledged[f"inode {i}"] = content
    v.check(refused and refused.startswith("452 4.3.1"), "expected 452 4.3.1, got", refused, len(acknowledged))
    v.check(os.statvfs(folder).f_ffree <= 3, "inodes left", os.statvfs(folder).f_ffree)  # somebody may have replaced a file since
    v.check(os.statvfs(folder).f_bavail > 1000, "it was the space that ran out")
    print(f"  {len(acknowledged)} acknowledged before {refused}")
    client.close()
    x.says["rcpt"] = r.GOOD["rcpt"]
    arrive_whole(x, acknowledged)
    veredus.wait_empty()
    v.wait(lambda: takes_mail(veredus), 20, "mail to be taken again")
    client = v.Smtp(veredus.port)
    v.check(submit(client, "again@x.example", v.mail("again", line * 1500)).startswith("250"), "a large mail again")
    client.close()
    alive(veredus)


def test_io_error(t):
    """The disk goes away: no 250, no delivery begins; after a remount all that was acknowledged is delivered."""
    image = os.path.join(t.folder, "image")
    with open(image, "wb") as f:
        f.truncate(64 << 20)
    if not shutil.which("mkfs.ext4") or quietly("mkfs.ext4", "-q", "-F", image):
        raise v.Skip("no mkfs.ext4")
    folder = mounted(t, "-o", "loop", image)
    veredus, x = relay(t, "retry { first = 1s longest = 1s }\n", folder, x={"rcpt": LATER})
    client = v.Smtp(veredus.port)
    acknowledged, refused = {}, set()
    for i in range(40):
        # Every fourth one has a body file.
        content = v.mail(f"io {i}", b"%d " % i + (b"x" * 70 + b"\r\n") * (1500 if i % 4 == 0 else 10))
        v.check(submit(client, f"r{i}@x.example", content).startswith("250"), i)
        acknowledged[f"io {i}"] = content
    sent = threading.Event()

    def go_on():
        # In the midst of it the disk fails.
        for i in range(40, 2000):
            content = v.mail(f"io {i}", b"%d\r\n" % i)
            reply = submit(client, f"r{i}@x.example", content)
            if reply.startswith("250"):
                acknowledged[f"io {i}"] = content
            elif reply:
                refused.add(f"io {i}")
            if not reply.startswith("250"):
                sent.reply = reply
                break
        sent.set()
    threading.Thread(target=go_on, daemon=True).start()
    time.sleep(0.2)
    where = os.open(folder, os.O_RDONLY)
    fcntl.ioctl(where, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
    os.close(where)
    v.check(sent.wait(15 * v.PATIENCE), "no reply from a failed disk")
    v.check(re.match("$|4[25]1 |452 ", sent.reply), sent.reply)
    print(f"  {len(acknowledged)} acknowledged before {sent.reply!r}")
    for i in range(3):
        try:
            client = v.Smtp(veredus.port)
        except (OSError, v.Failure):
            continue
        reply = submit(client, "late@x.example", v.mail("late"))
        v.check(not reply.startswith("250"), "taken without a disk", reply)
        v.check(re.match("$|451 |452 |421 ", reply), reply)
        refused.add("late") if reply else None
    # What is under way ends; then there is not one more attempt, though the receiver would take all.
    time.sleep(0.5)
    x.says["rcpt"] = r.GOOD["rcpt"]
    before = len(mails(x))
    time.sleep(4)
    during = subjects(x)
    print(f"  {len(during)} delivered while the disk was gone, {before} of them at once")
    v.check(len(during) - before <= 2, len(during) - before, "deliveries began whose outcome could not be kept")
    lines = veredus.log_text().count("\n")
    v.check(veredus.process.alive(), "master ended")
    time.sleep(1)
    v.check(veredus.log_text().count("\n") - lines < 100, "the log fills", veredus.log_text()[-1000:])
    kill_all(veredus)
    v.wait(lambda: quietly("umount", folder) == 0, 10, "umount")
    # Another test's namespace may still have the mount, and with it the file system that has failed: a copy is another one.
    shutil.copyfile(image, image + ".again")
    v.equal(quietly("mount", "-o", "loop", image + ".again", folder), 0, "mount")
    veredus.start()
    v.wait(lambda: set(acknowledged) <= set(subjects(x)), 40,
           lambda: f"all acknowledged; missing {sorted(set(acknowledged) - set(subjects(x)))[:9]}: {veredus.log_text()[-800:]}")
    veredus.wait_empty()
    found = subjects(x)
    v.check(not refused & set(found), "refused with a reply, and delivered:", refused & set(found))
    doubles = {s for s in found if found.count(s) > 1}
    v.check(doubles <= set(during), "duplicates beyond those of the failure:", doubles - set(during))
    for subject, content in zip(found, mails(x)):
        if subject in acknowledged:
            v.relayed_whole(content, acknowledged[subject])


def test_read_only_at_start(t):
    """A clear error, little of it, and all is there once the file system can be written again."""
    folder = mounted(t, "-t", "tmpfs", "-o", "size=64m,mode=0777", "veredus-test")
    veredus, x = relay(t, QUICK, folder, x={"rcpt": LATER})
    client = v.Smtp(veredus.port)
    acknowledged = {f"ro {i}": v.mail(f"ro {i}", b"%d\r\n" % i) for i in range(10)}
    for subject, content in acknowledged.items():
        v.check(submit(client, "r@x.example", content).startswith("250"), subject)
    client.close()
    v.equal(veredus.stop(), 0, "exit status")
    x.says["rcpt"] = r.GOOD["rcpt"]
    v.equal(quietly("mount", "-o", "remount,ro", folder), 0, "remount")
    lines = veredus.log_text().count("\n")
    process = v.Process(t, "read-only", [os.path.join(veredus.build, "veredus"), "run", "-c", veredus.conf], cwd=veredus.folder,
                        env=veredus.environment, **veredus.demote)
    end = time.monotonic() + 5
    while time.monotonic() < end and process.alive():
        if veredus.greets(1):
            client = v.Smtp(veredus.port)
            reply = submit(client, "r@x.example", v.mail("never"))
            v.check(not reply.startswith("250"), "taken on a read-only file system", reply)
        time.sleep(0.2)

    def heard():
        return process.said(10 ** 6) + "\n".join(veredus.log_text().split("\n")[lines:])
    v.wait(lambda: re.search(r"(?i)read-only", heard()), 10, lambda: f"it to say why: {heard()}")
    said = heard()
    print("  " + ("still runs" if process.alive() else f"ended with {process.child.returncode}") + ": " + said.strip()[-300:])
    v.check(said.count("\n") < 60, "the log fills", said[-2000:])
    v.check(process.alive() or process.child.returncode > 0, "a failed start with status 0")
    v.equal(mails(x), [], "delivered what can't be recorded")
    process.stop()
    v.equal(quietly("mount", "-o", "remount,rw", folder), 0, "remount")
    veredus.start()
    arrive_whole(x, acknowledged, veredus=veredus)
    veredus.wait_empty()


def test_out_of_descriptors(t):
    """While qmgr can't open a file mail waits; it is neither held nor lost, and goes when it can again."""
    veredus, x = relay(t, QUICK, x={"rcpt": LATER})
    client = v.Smtp(veredus.port)
    contents = {}
    for i in range(4):
        # In files; and small ones, which a restart leaves on disk alone.
        contents[f"fd {i}"] = v.mail(f"fd {i}", (b"x" * 70 + b"\r\n") * (1500 if i % 2 else 5))
        v.check(submit(client, "r@x.example", contents[f"fd {i}"]).startswith("250"), i)
    client.close()
    v.wait(lambda: len(veredus.listed("state=deferred")) == 4, 10, lambda: str(veredus.listed()))
    veredus.stop()
    veredus.start()
    pid = veredus.daemons("qmgr")[0]

    def descriptors(soft):
        subprocess.run(["prlimit", f"--pid={pid}", f"--nofile={soft}:"], check=True, **veredus.demote)
    before = re.search(r"Max open files +(\d+)", v.read(f"/proc/{pid}/limits").decode())[1]
    descriptors(3)
    veredus.wait_log("too few descriptors")
    time.sleep(0.5)
    x.says["rcpt"] = r.GOOD["rcpt"]
    time.sleep(3)
    v.equal(mails(x), [], "delivered without a file")
    v.equal(veredus.listed("state=held"), [], "held")
    said = veredus.log_text().count("too few descriptors")
    v.equal(said, 1, "the log fills")
    descriptors(before)
    arrive_whole(x, contents, veredus=veredus)
    veredus.wait_empty()
    alive(veredus)


def test_corrupt_segment(t):
    """Bits rot in content and in an envelope: the others arrive, these are held or reported, nothing broken is delivered."""
    veredus, x = relay(t, QUICK, x={"rcpt": LATER})
    client = v.Smtp(veredus.port)
    sent = {f"rot {i:02}": v.mail(f"rot {i:02}", b"mark-%02d " % i + b"y" * 500 + b"\r\n") for i in range(30)}
    for subject, content in sent.items():
        v.check(submit(client, f"r-{subject[-2:]}@x.example", content).startswith("250"), subject)
    client.close()
    kill_all(veredus)
    flipped = 0
    for where, _, files in os.walk(veredus.queue + "/queue"):
        for name in files:
            path = os.path.join(where, name)
            content = v.read(path)
            for mark, octets in ((b"mark-12 ", 40), (b"r-17@x.example", 3), (b"mark-25 ", 1)):
                at = content.find(mark)
                if b"Subject: rot" in content and at >= 0:
                    with open(path, "r+b") as f:
                        f.seek(at)
                        f.write(bytes(octet ^ 0x55 for octet in content[at:at + octets]))
                    flipped += 1
    v.equal(flipped, 3, "places found and damaged")
    said = veredus.command("queue", "check", status=1)
    v.check("damaged" in said and re.search(r"[1-9]\d* damaged places", said), said)
    x.says["rcpt"] = r.GOOD["rcpt"]
    veredus.start()
    damaged = {"rot 12", "rot 17", "rot 25"}
    v.wait(lambda: set(sent) - damaged <= set(subjects(x)), 30, lambda: f"the others: {subjects(x)}")
    time.sleep(2)
    found = subjects(x)
    v.equal(len(found), len(set(found)), "doubles")
    for subject, content in zip(found, mails(x)):
        v.relayed_whole(content, sent[subject])
    v.check(not damaged & set(found), "delivered though damaged", damaged & set(found))
    # Those that arrived leave the queue a moment later.
    v.wait(lambda: all(m["queue_name"] == "hold" for m in veredus.listed()), 10, lambda: f"only held ones: {veredus.listed()}")
    listed = veredus.listed()
    reports = re.findall(r"queue damage: .*", veredus.log_text())
    print(f"  {len(found)} arrived, {len(listed)} held, {len(reports)} reports: {reports[:1]}")
    v.check(len(listed) + len(reports) >= 3, "damage that nobody hears of", listed, reports)
    # Its segment is kept beside the queue, for whoever wants to look.
    v.check(glob.glob(veredus.queue + "/queue/damaged/*") or "damaged" in veredus.command("queue", "check", status=None), "nothing is kept")
    client = v.Smtp(veredus.port)
    client.send("sender@client.example", "after@x.example", v.mail("after"))
    client.close()
    v.wait(lambda: "after" in subjects(x), 10, "new mail")
    alive(veredus)


def test_queue_limit(t):
    """452 when it is reached, and open again once the queue drained."""
    veredus, x = relay(t, QUICK + "queue-limit = 30\n", x={"rcpt": LATER})
    client = v.Smtp(veredus.port)
    acknowledged, refused = {}, ""
    for i in range(60):
        content = v.mail(f"limit {i}")
        reply = submit(client, f"r{i}@x.example", content)
        if not reply.startswith("250"):
            refused = reply
            break
        acknowledged[f"limit {i}"] = content
    v.check(refused.startswith("452 4.3.1"), refused)
    v.check(29 <= len(acknowledged) <= 31, len(acknowledged))
    v.check(not takes_mail(veredus), "a new client is let in")
    x.says["rcpt"] = r.GOOD["rcpt"]
    arrive_whole(x, acknowledged)
    v.wait(lambda: takes_mail(veredus), 10, "mail to be taken again")
    client.expect(250, "RSET")
    v.check(submit(client, "after@x.example", v.mail("after")).startswith("250"), "the same client")
    client.close()
    v.wait(lambda: "after" in subjects(x), 10, "mail after it")
    alive(veredus)


# -- crashes and receivers -------------------------------------------------------------------------------

def test_three_crashes_in_flight(t):
    """What was in flight at three crashes of smtp-client is held, tells so, and goes on when a person releases it."""
    veredus, x, good = relay(t, QUICK, x={"dot": r.hang}, good={})
    client = v.Smtp(veredus.port)
    identity = client.send("sender@client.example", "r@x.example", v.mail("in flight"))
    for crash in range(3):
        v.wait(lambda: len(mails(x)) > crash, 20, lambda: f"attempt {crash + 1}: {veredus.log_text()[-800:]}")
        pid = v.wait(lambda: veredus.daemons("smtp-client"), 10, "smtp-client")[0]
        os.kill(pid, signal.SIGKILL)
        v.wait(lambda: pid not in veredus.daemons("smtp-client"), 10, "its end")
        client.send("sender@client.example", "r@good.example", v.mail(f"good {crash}"))
        # What is under way at the next crash, and was only just taken, would come twice.
        v.wait(lambda: len(veredus.listed()) == 1, 20, lambda: f"the good one's end: {veredus.listed()}")
    held = v.wait(lambda: veredus.listed("state=held"), 20, lambda: f"held: {veredus.listed()}")
    v.equal([m["queue_id"] for m in held], [identity])
    veredus.wait_log("three crashes")
    v.wait(lambda: len(mails(good)) == 3, 20, lambda: f"good mail beside it: {subjects(good)}")
    time.sleep(3)
    v.equal(len(mails(x)), 3, "attempts")
    x.says["dot"] = r.GOOD["dot"]
    veredus.command("queue", "release", identity)
    v.wait(lambda: len(mails(x)) == 4, 10, "it is delivered")
    veredus.wait_empty(10)
    v.equal(sorted(subjects(good)), ["good 0", "good 1", "good 2"])


def test_never_confirmed(t):
    """Receivers that accept and never say so: deferred each time, never lost or returned; good mail does not wait."""
    veredus, x, good = relay(t, QUICK + "timeout { dot = 2s }\n", x={"dot": r.hang}, good={})
    client = v.Smtp(veredus.port)
    for i in range(5):
        client.send("sender@client.example", f"r{i}@x.example", v.mail(f"unsure {i}"))
        client.send("sender@client.example", f"r{i}@good.example", v.mail(f"good {i}"))
    started = time.monotonic()
    v.wait(lambda: len(mails(good)) == 5, 5, "good mail beside it")
    took = time.monotonic() - started
    last = max(m.start() for m in re.finditer("to=<r.@good.example>.*status=sent", veredus.wait_log(r"(?s)(to=<r.@good.example>[^\n]*status=sent.*){5}").string))
    v.check(took < 2 * v.PATIENCE or "@x.example" not in veredus.log_text()[:last], "good mail waited", took)
    v.wait(lambda: len(mails(x)) >= 10, 20, lambda: f"another attempt: {subjects(x)}")
    v.equal(len(veredus.listed()), 5, "in the queue")
    v.wait(lambda: len(re.findall(r"dsn=4\.4\.2, status=deferred \(.*final dot", veredus.log_text())) >= 5, 5, "the reason")
    x.says["dot"] = r.GOOD["dot"]
    v.wait(lambda: len(re.findall("to=<r.@x.example>.*status=sent", veredus.log_text())) == 5, 20, "all to be sent")
    veredus.wait_empty(10)
    v.check("status=bounced" not in veredus.log_text() and "notification" not in veredus.log_text(), "a report")
    alive(veredus)


# -- floods and dead sites ----------------------------------------------------------------------------------

def test_ten_beside_20000(t):
    """At a site that takes mail, ten connections of 200 ms a message, a sender of ten does not wait behind one of 20,000
    recipients: 0.6 to 0.8 s on a busy machine, of which 0.4 s are two messages one after the other on a connection."""
    veredus, x = relay(t, "limits { site-connections = 10 }\n", x={"dot": r.late(0.2, r.GOOD["dot"])})
    client = v.Smtp(veredus.port)
    for i in range(200):
        client.socket.sendall(b"MAIL FROM:<list@client.example>\r\n" +
                              b"".join(b"RCPT TO:<r%d-%d@x.example>%s\r\n" % (i, k, NEVER.encode()) for k in range(100)) + b"DATA\r\n")
        replies = [client.reply() for _ in range(102)]
        v.check(all(w.startswith("250") for w in replies[:-1]) and replies[-1].startswith("354"), [w for w in replies if w[:3] != "250"])
        client.socket.sendall(v.mail(f"list {i}") + b".\r\n")
        v.check(client.reply().startswith("250"), i)
    client.close()
    few = v.Smtp(veredus.port, source="127.9.9.9")
    started = time.monotonic()
    for i in range(10):
        few.send("few@client.example", f"few{i}@x.example", v.mail(f"few {i}"))
    before = sum(s.startswith("list") for s in subjects(x))
    few.close()
    v.wait(lambda: sum(s.startswith("few") for s in subjects(x)) == 10, 10, lambda: f"the ten: {subjects(x)[-20:]}")
    took = time.monotonic() - started
    order = subjects(x)
    lists = [s.startswith("list") for s in order[:max(i for i, s in enumerate(order) if s.startswith("few"))]]
    waiting, meanwhile = 200 - sum(lists), sum(lists) - before
    print(f"  ten waited {took:.2f} s, and for {meanwhile} others; {waiting} messages of 100 recipients still wait")
    v.check(took < 2 or meanwhile <= 50, "the ten waited", took, "and for", meanwhile)
    v.check(waiting > 50, "the others were done already:", waiting)
    alive(veredus)


def test_dead_site_with_a_third(t):
    """A site that takes connections and says nothing has a third of the mail: the rest does not wait, and the log is not filled."""
    port = v.free_port((v.SINK,))
    sink = t.sink(f"{v.SINK}:{port}", dump=False)
    silent = r.Receiver(t, greeting=r.hang)
    refused = v.free_port((v.SINK,))
    veredus = t.veredus("timeout { greeting = 2s }\nretry { first = 2s longest = 4s }\n"
                        f"route d0.sink.example {{ to = smtp:[{v.SINK}]:{silent.port} }}\n"
                        f"route d1.sink.example {{ to = smtp:[{v.SINK}]:{refused} }}\n"
                        f"route * {{ to = smtp:[{v.SINK}]:{port} }}\n").start()
    count = 6000
    started = time.monotonic()
    load = v.Process(t, "load", [v.BENCH + "/load", "--to", f"127.0.0.1:{veredus.port}", "--sessions", "20", "--messages", str(count),
                                 "--domains", "6", "--timeout", "60"], stderr=subprocess.DEVNULL)
    load.wait(60)

    def total():
        return int(re.search(r"TOTAL +(\d+)", veredus.command("queue", "shape"))[1])
    v.wait(lambda: total() == count // 3, 20, lambda: f"the good ones, {total()} wait")
    took = time.monotonic() - started
    print(f"  {count - count // 3} arrived in {took:.1f} s beside {total()} for dead sites; {silent.connections} connections to the silent one")
    v.check(took < 15 * v.PATIENCE, "the good ones took", took)
    v.check(silent.connections <= 60, "connections to a dead site:", silent.connections)
    time.sleep(4)
    about = [line for line in veredus.log_text().split("\n") if re.search(r"site .* is down|connect to|@d[01]\.sink", line)]
    v.check(1 < len(about) < 200, len(about), "lines about dead sites", about[:3])
    v.check(silent.connections <= 80, "connections to a dead site:", silent.connections)
    result = sink.result()
    v.equal((result["arrived"], result["duplicates"]), (count - count // 3, 0), "arrived, duplicates")
    alive(veredus)


# -- DNSSEC ------------------------------------------------------------------------------------------------

def test_bogus_signature(t):
    """An MX set whose signature is wrong is no answer: mail waits; its neighbours in the same zone are reached."""
    if not shutil.which("ldns-signzone") or not shutil.which("ldns-keygen"):
        raise v.Skip("no ldns-signzone (ldnsutils)")
    port = v.free_port((v.SINK,))
    receiver = r.Receiver(t, port=port)
    forward = t.zone(f"fine MX 10 mx\nbogus MX 10 mx\nmx A {v.SINK}\n")
    folder = t.folder + "/dns"
    made = subprocess.run(["ldns-keygen", "-a", "ECDSAP256SHA256", "-k", "-r", "/dev/urandom", "example"], cwd=folder,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    key = made.stdout.decode().strip()
    v.check(key, made.stderr)
    # Signed with its new serial: whether a name is not there is proven by the SOA record's signature, too.
    unsigned = v.read(folder + "/zone").decode().replace(" 1 60 60 60 60", " 2 60 60 60 60")
    v.write(folder + "/zone", unsigned + "signed A 127.0.0.1\n")
    done = subprocess.run(["ldns-signzone", "-o", "example", "-f", "zone.signed", "zone", key], cwd=folder, stderr=subprocess.PIPE)
    v.equal(done.returncode, 0, done.stderr)
    text = v.read(folder + "/zone.signed").decode()
    broken, count = re.subn(r"(?m)^(bogus\.example\.\s.*RRSIG\s+MX .* )(\S{20})", lambda m: m[1] + m[2][::-1], text)
    v.equal(count, 1, "signatures broken")
    v.write(folder + "/zone", broken)
    os.kill(int(v.read(folder + "/nsd.pid")), signal.SIGHUP)
    # Unbound is not asked before: it would keep that there is none.
    nsd_port = int(re.search(r"ip-address: .*@(\d+)", v.read(folder + "/nsd.conf").decode())[1])
    v.wait(lambda: v.dns_answers(nsd_port, "signed.example"), 10, "the signed zone")
    anchor = v.write(t.folder + "/anchor", v.read(f"{folder}/{key}.key"))
    veredus = t.veredus(f"resolver {{ forward = {{ {forward} }} trust-anchor = {anchor} timeout = 10s }}\n{QUICK}"
                        f"route * {{ to = mx:{port} }}\n").start()
    client = v.Smtp(veredus.port)
    client.send("sender@client.example", "r@bogus.example", v.mail("bogus"))
    client.send("sender@client.example", "r@fine.example", v.mail("fine"))
    v.wait(lambda: subjects(receiver) == ["fine"], 10, "the neighbour")
    reason = v.wait(lambda: re.search(r".*bogus.*", str(veredus.listed("state=deferred"))) or
                    re.search(r".*bogus\.example.*(?:deferred|DNS|domain).*", veredus.log_text()), 20,
                    lambda: f"deferred: {veredus.listed()} {veredus.log_text()[-500:]}")[0]
    print(f"  {reason[:300]}")
    time.sleep(2)
    v.equal(subjects(receiver), ["fine"], "what arrived")
    v.check("r@bogus.example" in str(veredus.listed()), "it waits")
    alive(veredus)


# -- a process that stands still --------------------------------------------------------------------------------

@v.slow
def test_stopped_qmgr(t):
    """A qmgr that stands still is ended by the watchdog; what it had taken is delivered by the next."""
    veredus, x = relay(t, QUICK, x={"rcpt": LATER})
    client = v.Smtp(veredus.port)
    client.send("sender@client.example", "r@x.example", v.mail("before"))
    v.wait(lambda: veredus.listed("state=deferred"), 10, "deferred")
    x.says["rcpt"] = r.GOOD["rcpt"]
    pid = veredus.daemons("qmgr")[0]
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    v.wait(lambda: veredus.daemons("qmgr") not in ([], [pid]), 90, "another qmgr")
    print(f"  another one after {time.monotonic() - started:.0f} s")
    v.check("has not answered for a minute" in veredus.log_text())
    v.wait(lambda: takes_mail(veredus), 15, "mail to be taken")
    v.Smtp(veredus.port).send("sender@client.example", "r@x.example", v.mail("after"))
    v.wait(lambda: sorted(subjects(x)) == ["after", "before"], 20, lambda: f"both: {subjects(x)}")
    veredus.wait_empty(10)


@v.slow
def test_stopped_smtp_client(t):
    """The same of the only smtp-client, whose channel is nowhere near full: its jobs go out by the next one, once."""
    veredus, x = relay(t, QUICK, x={})
    client = v.Smtp(veredus.port)
    client.send("sender@client.example", "r@x.example", v.mail("before"))
    veredus.wait_empty(10)
    (pid,) = veredus.daemons("smtp-client")
    os.kill(pid, signal.SIGSTOP)
    t.defer(lambda: v.runs(pid) and os.kill(pid, signal.SIGCONT))
    started = time.monotonic()
    for i in range(3):
        client.send("sender@client.example", "r@x.example", v.mail(f"meanwhile {i}"))
    v.wait(lambda: veredus.daemons("smtp-client") not in ([], [pid]), 90, "another smtp-client")
    print(f"  another one after {time.monotonic() - started:.0f} s")
    v.check(f"(pid {pid}) has not answered for a minute" in veredus.log_text(), veredus.log_text()[-2000:])
    veredus.wait_empty(20)
    v.equal(sorted(subjects(x)), ["before"] + [f"meanwhile {i}" for i in range(3)], "what arrived")


test_stopped_qmgr.seconds = test_stopped_smtp_client.seconds = 180
v.main(globals(), 90)
