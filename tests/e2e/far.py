# SPDX-License-Identifier: ISC
"""Several mails under way on one connection to a receiver that is far away (RFC 2920, RFC 3030)."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import collections
import re
import select
import signal
import socket
import threading
import time

import far
import hostile as r
import veredus as v

ONE = "limits { site-connections = 1 }\n"


def statuses(veredus):
    """{recipient: [(dsn, status)]} of the log."""
    found = collections.defaultdict(list)
    for to, dsn, status in re.findall(r"to=<([^>]*)>.*?dsn=([\d.]+), status=(\w+)", veredus.log_text()):
        found[to].append((dsn, status))
    return found


def bring(veredus, mails):
    """[(recipients, content)], all of them before the first is on its way for long."""
    client = v.Smtp(veredus.port)
    for to, content in mails:
        client.send("sender@client.example", to, content, "", " NOTIFY=NEVER")
    client.close()


def copies(sink, sent):
    arrived = [content for _, content in sink.mails()]
    return [sum(a.endswith(content) for a in arrived) for content in sent]


def settled(veredus, wanted):
    """Waits until WANTED holds of the statuses: the queue may be empty before the last line is in the log."""
    v.wait(lambda: wanted(statuses(veredus)), 10, lambda: f"outcomes: {statuses(veredus)}")


def test_some_are_refused(t):
    """What is refused is refused to one recipient of one mail, however many are under way."""
    port = v.free_port((v.SINK,))
    refused = {"no@far.example": "550 5.1.1 nobody", "later@far.example": "450 4.2.1 busy"}
    options = [word for to, reply in refused.items() for word in ("--reply-for", f"{to}={reply}")]
    sink = t.sink(f"{v.SINK}:{port}", "--with", "CHUNKING", *options)
    away = far.Far(t, (v.SINK, port), 0.06, rb"250 2\.1\.5 ", speaks=False)  # an idle connection would not wait for mail that comes late
    veredus = t.veredus(ONE + "retry { first = 1h longest = 2h }\n" + f"route * {{ to = smtp:[{v.SINK}]:{away.port} }}\n").start()
    turns = [["ok{}"], ["no"], ["ok{}", "no"], ["later"], ["no", "later"], ["later", "ok{}"]]
    mails = [([f"{to.format(i)}@far.example" for to in turns[i % 6]], v.mail(f"number {i}")) for i in range(36)]
    bring(veredus, mails)
    away.speaks.set()
    expected = collections.Counter(("550" if "no@" in to else "450" if "later@" in to else "250") for tos, _ in mails for to in tos)

    def counted():
        found = collections.Counter()
        for to, outcomes in statuses(veredus).items():
            for dsn, status in outcomes:
                want = ("5.1.1", "bounced") if "no@" in to else ("4.2.1", "deferred") if "later@" in to else ("2.0.0", "sent")
                v.equal((dsn, status), want, to)
                found["550" if "no@" in to else "450" if "later@" in to else "250"] += 1
        return found
    v.wait(lambda: sum(counted().values()) >= sum(expected.values()), 20, "all outcomes")
    v.equal(counted(), expected, "outcomes")
    good = [content for tos, content in mails if any("ok" in to for to in tos)]
    v.equal(copies(sink, good), [1] * len(good))
    v.equal(len(sink.mails()), len(good), "mails with nobody to take them")
    result = sink.result()
    v.equal((result["connections"], result["protocol_errors"]), (1, 0), result)


def greets_late(brought):
    def greeting(conn):
        brought.wait(60)
        r.late(0.05, r.GOOD["greeting"])(conn)
    return greeting


def on_their_way(conn):
    """How many mails have come behind the one that is read."""
    come = conn.file.peek()
    if select.select([conn.socket], [], [], 0)[0]:
        come += conn.socket.recv(65536, socket.MSG_PEEK)
    return come.count(b"MAIL FROM:")


def test_what_is_put_off(t):
    """Who refuses MAIL behind another mail is asked again, with that alone; recipients that are too many come later."""
    mails, rcpts = [], []
    before = [["w0@far.example"], ["w1@far.example"], ["w2@far.example"]]  # from which it is known that many can go
    third = len(before) + 3

    def mail(conn):
        mails.append(conn.line)
        if len(mails) == third - 2:
            v.wait(lambda: on_their_way(conn) >= 3, 10, "the others on their way")
        conn.send(b"503 5.5.1 out of step\r\n" if len(mails) in (third, third + 1) else b"250 2.1.0 Ok\r\n")

    def rcpt(conn):
        rcpts.append(conn.line)
        late = b"late" in conn.line and rcpts.count(conn.line) == 1
        conn.send(b"452 4.5.3 too many\r\n" if late else b"250 2.1.5 Ok\r\n")

    def bdat(conn):
        refused = len(mails) in (third, third + 1)
        conn.send(b"503 5.5.1 MAIL first\r\n" if refused else b"250 2.0.0 Ok\r\n")
    ehlo = r.late(0.05, b"250-far.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n")
    brought = threading.Event()
    x = r.Receiver(t, greeting=greets_late(brought), ehlo=ehlo, mail=mail, rcpt=rcpt, bdat=bdat)
    veredus = t.veredus(ONE + f"route * {{ to = smtp:[{v.SINK}]:{x.port} }}\n").start()
    tos = before + [["a@far.example"], ["b@far.example", "late@far.example"], ["c@far.example"], ["d@far.example"], ["e@far.example"]]
    sent = [(to, v.mail(f"number {i}")) for i, to in enumerate(tos)]
    bring(veredus, sent)
    brought.set()
    veredus.wait_empty(20)
    settled(veredus, lambda found: found == {to: [("2.0.0", "sent")] for some in tos for to in some})
    count = [sum(c.endswith(content) for c in x.contents) for _, content in sent]
    v.equal(count, [1, 1, 1] + [1, 2, 2, 2, 1], "how often each was sent: once more what was refused, or has another recipient")
    v.equal(x.connections, 1, "connections")


def test_cut(t):
    """A connection that breaks loses nothing: what it leaves unanswered comes once more, and then one by one."""
    port = v.free_port((v.SINK,))
    sink = t.sink(f"{v.SINK}:{port}", "--with", "CHUNKING")
    away = far.Far(t, (v.SINK, port), 0.06, rb"250 2\.1\.5 ", cuts={0: 5}, speaks=False)  # between RCPT and BDAT
    veredus = t.veredus(ONE + "retry { first = 1s longest = 1s }\n" + f"route * {{ to = smtp:[{v.SINK}]:{away.port} }}\n").start()
    sent = [v.mail(f"number {i}") for i in range(30)]
    bring(veredus, [([f"x{i}@far.example"], content) for i, content in enumerate(sent)])
    away.speaks.set()
    veredus.wait_empty(30)
    found = copies(sink, sent)
    v.check(all(1 <= n <= 2 for n in found), "copies", found)
    v.check(found.count(2) <= 8, "copies", found)
    first, *others = away.conversations
    v.check(2 <= first.most <= 8 and others and all(c.most == 1 for c in others), [c.most for c in away.conversations])
    settled(veredus, lambda found: len(found) == 30 and all(o[-1][1] == "sent" and len(o) <= 2 for o in found.values()))


def test_cut_when_full(t):
    """A connection that breaks with as many under way as there may be: its slot has lost all of them, and asks for others."""
    port = v.free_port((v.SINK,))
    sink = t.sink(f"{v.SINK}:{port}", "--with", "CHUNKING")
    away = far.Far(t, (v.SINK, port), 0.2, rb"250 2\.1\.5 ", cuts={0: 7}, speaks=False)  # with a mail whose RCPT is answered
    veredus = t.veredus(ONE + "retry { first = 1s longest = 1s }\n" + f"route * {{ to = smtp:[{v.SINK}]:{away.port} }}\n").start()
    sent = [v.mail(f"number {i}") for i in range(18)]
    bring(veredus, [([f"x{i}@far.example"], content) for i, content in enumerate(sent)])
    away.speaks.set()
    veredus.wait_empty(15)
    v.equal(away.conversations[0].most, 8, "under way")
    v.check(all(1 <= n <= 2 for n in copies(sink, sent)), copies(sink, sent))


def test_qmgr_is_killed(t):
    """What is under way belongs to the next qmgr, too: none is lost, and none comes twice. A stop waits for it."""
    port = v.free_port((v.SINK,))
    sink = t.sink(f"{v.SINK}:{port}", "--away-ms", "300", "--with", "CHUNKING")
    veredus = t.veredus(ONE + "retry { first = 1s longest = 1s }\n" + f"route * {{ to = smtp:[{v.SINK}]:{port} }}\n").start()
    sent = [v.mail(f"number {i}") for i in range(40)]
    bring(veredus, [([f"x{i}@far.example"], content) for i, content in enumerate(sent)])
    sink.wait_mails(3)  # the others on the connection have arrived as well, or are on their way; no reply has come
    os.kill(veredus.daemons("qmgr")[0], signal.SIGKILL)
    sink.wait_mails(20)
    veredus.stop()
    veredus.start()
    veredus.wait_empty(20)
    v.equal(copies(sink, sent), [1] * 40)
    v.check(all(outcome == ("2.0.0", "sent") for outcomes in statuses(veredus).values() for outcome in outcomes), statuses(veredus))


def test_slow_itself(t):
    """A receiver that takes its time for each mail does them one after the other: it gets no heap of them."""
    port = v.free_port((v.SINK,))
    sink = t.sink(f"{v.SINK}:{port}", "--delay-ms", "80", "--with", "CHUNKING")
    away = far.Far(t, (v.SINK, port), 0, rb"250 2\.1\.5 ")
    veredus = t.veredus(ONE + f"route * {{ to = smtp:[{v.SINK}]:{away.port} }}\n").start()
    sent = [v.mail(f"number {i}") for i in range(10)]
    bring(veredus, [([f"x{i}@far.example"], content) for i, content in enumerate(sent)])
    veredus.wait_empty(15)
    v.equal(copies(sink, sent), [1] * len(sent))
    v.check(away.conversations[0].most <= 3, "under way", [c.most for c in away.conversations])


def test_nothing_is_taken(t):
    """A receiver that reads no more, and drips out a reply that never ends, has the time of a block, and no more."""
    def serve(connection):
        try:
            connection.sendall(b"220 far.example\r\n")
            connection.recv(1000)
            connection.sendall(b"250 far.example\r\n")
            for _ in range(3):
                connection.recv(1000)
                connection.sendall(b"354 go on\r\n" if _ == 2 else b"250 ok\r\n")
            while True:
                connection.sendall(b"2")
                time.sleep(0.2)
        except OSError:
            pass  # it was left
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.bind((v.SINK, 0))
    listener.listen()
    v.accept(t, listener, serve)
    veredus = t.veredus("timeout { block = 1s }\nretry { first = 1h longest = 2h }\n"
                        f"route * {{ to = smtp:[{v.SINK}]:{listener.getsockname()[1]} }}\n").start()
    bring(veredus, [(["x@far.example"], v.mail("large", b"0123456789abcdef\r\n" * 500000))])
    veredus.wait_log(r"status=deferred \(timed out while sending the content\)", 10)


v.main(globals())
