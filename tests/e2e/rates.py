# SPDX-License-Identifier: ISC
"""How much one may send: defer, hold, refuse, by network, and what a restart remembers."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import signal
import socket
import time

import frames as f
import veredus as v
from alone import Daemon, Intake

FINE, DEFER, HOLD, REFUSE = range(4)  # enum count_verdict
LOOPBACK, OTHER = bytes(10) + b"\xff\xff\x7f\0\0\1", bytes(10) + b"\xff\xff\xc0\0\2\1"


def send(veredus, recipients="rcpt@sink.example", source=None):
    """The reply to a mail's final dot."""
    smtp = v.Smtp(veredus.port, source=source)
    smtp.expect(250, "MAIL FROM:<sender@client.example>")
    for recipient in [recipients] if isinstance(recipients, str) else recipients:
        smtp.expect(250, f"RCPT TO:<{recipient}>")
    smtp.expect(354, "DATA")
    smtp.socket.sendall(v.mail("counted") + b".\r\n")
    reply = smtp.reply()
    smtp.close()
    return reply


def sends(veredus, count, wanted, **more):
    for _ in range(count):
        reply = send(veredus, **more)
        v.check(reply.startswith(wanted), reply)


def test_defer(t):
    """Messages are deferred above the rate, each network on its own; the log says so."""
    veredus, sink, _ = v.world(t, (), "rate network { messages = { 3/d } }\n")
    sends(veredus, 3, "250 2.0.0")
    said = send(veredus)
    v.equal(said, "450 4.7.1 Error: more than 3 messages a day from this network")
    sends(veredus, 3, "250 2.0.0", source="127.0.0.77")
    sends(veredus, 1, "450 4.7.1", source="127.0.0.77")
    veredus.wait_log(r"reject: END-OF-MESSAGE from .*450 4\.7\.1 Error: more than 3 messages a day")
    sink.wait_mails(6)


def test_refuse_recipients(t):
    """Recipients are counted apart from messages."""
    veredus, _, _ = v.world(t, (), "rate network { messages = { 100/h } recipients = { 5/h, 100/d } above = refuse }\n")
    sends(veredus, 1, "250 2.0.0", recipients=[f"r{n}@sink.example" for n in range(4)])
    v.equal(send(veredus, ["a@sink.example", "b@sink.example"]), "550 5.7.1 Error: more than 5 recipients an hour from this network")
    sends(veredus, 1, "250 2.0.0")
    sends(veredus, 1, "550 5.7.1")


def test_hold(t):
    """What is above the rate is taken, and waits for a person, also after a restart."""
    veredus, sink, _ = v.world(t, (), "rate network { messages = { 2/d } above = hold }\n")
    sends(veredus, 4, "250 2.0.0", recipients=["one@sink.example", "two@sink.example"])
    sink.wait_mails(2)
    held = v.wait(lambda: len(veredus.listed("state=held")) == 2 and veredus.listed("state=held"), 10, "held messages")
    v.equal({m["queue_name"] for m in held}, {"hold"})
    v.check("more than 2 messages a day" in veredus.command("queue", "list", "--json", "state=held"), "the reason")
    veredus.wait_log(r"status=held \(more than 2 messages a day from this network\)")
    veredus.stop()
    veredus.start()
    time.sleep(1)
    v.equal(len(sink.mails()), 2, "mails after a restart")
    veredus.command("queue", "release", "state=held")
    sink.wait_mails(4)
    veredus.wait_empty()


def test_restart(t):
    """A restart forgives nobody, nor does the death of limits."""
    veredus, _, _ = v.world(t, (), "rate network { messages = { 3/d } }\n")
    sends(veredus, 2, "250 2.0.0")
    veredus.stop()
    veredus.start()
    before = time.time()
    sends(veredus, 1, "250 2.0.0")
    sends(veredus, 1, "450 4.7.1")
    time.sleep(1.5)
    v.wait(lambda: os.stat(veredus.queue + "/limits/tallies").st_mtime > before, 10, "the counts on disk")
    (pid,) = veredus.daemons("limits")
    os.kill(pid, signal.SIGKILL)
    v.wait(lambda: veredus.daemons("limits") not in ([], [pid]), 10, "another limits")
    # Until it serves mail goes through uncounted; had it forgotten, three would be let through.
    for _ in range(3):
        time.sleep(0.5)
        if (reply := send(veredus)).startswith("450 4.7.1"):
            return
    raise v.Failure(f"another limits has forgotten: {reply}")


def test_strangers(t):
    """Who may relay and who may not are counted by rates of their own."""
    veredus, _, _ = v.world(t, (), "relay-to = { sink.example }\nrate stranger { messages = { 1/d } above = refuse }\n")
    v.write(veredus.conf, v.read(veredus.conf).replace(b"127.0.0.0/8", b"127.0.0.1/32"))
    veredus.stop()
    veredus.start()
    sends(veredus, 3, "250 2.0.0")
    sends(veredus, 1, "250 2.0.0", source="127.0.0.88")
    sends(veredus, 1, "550 5.7.1", source="127.0.0.88")


def test_limits_stands_still(t):
    """Counts are no reason to lose mail: without an answer it goes through, after a while."""
    veredus, _, _ = v.world(t, (), "rate network { messages = { 100/d } }\n")
    sends(veredus, 1, "250 2.0.0")
    (pid,) = veredus.daemons("limits")
    smtp = v.Smtp(veredus.port)
    os.kill(pid, signal.SIGSTOP)
    t.defer(os.kill, pid, signal.SIGCONT)
    started = time.monotonic()
    smtp.send("sender@client.example", "rcpt@sink.example", v.mail("late"))
    v.check(time.monotonic() - started < 10 * v.PATIENCE, "it took", time.monotonic() - started)
    smtp.close()


def test_refused_behind_a_late_count(t):
    """A client that has closed its half is told that its header is too large once limits has answered, and is gone:
    smtpd must have returned from its session by then."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    port = listener.getsockname()[1]
    daemon = Daemon(t, "smtpd", "limits { header = 256K }\nrate network { messages = { 9/d } }\n",
                    handles=[(f.constant("HANDLE_LISTEN_SMTP"), listener.fileno(), f"127.0.0.1:{port}")])
    listener.close()
    daemon.begin()
    Intake(daemon.peer("qmgr"))
    limits = daemon.peer("limits")
    client = v.Smtp(port)
    for line in "MAIL FROM:<sender@client.example>", "RCPT TO:<rcpt@sink.example>", "DATA":
        client.say(line)
    field = b"X: " + b"a" * 505 + b"\r\n"
    client.socket.sendall(field * (262144 // len(field)) + b".\r\n")  # no room is left for Received
    client.socket.shutdown(socket.SHUT_WR)
    query = limits.expect("count_ask")["query"]
    time.sleep(0.2)  # the end has come by then
    limits.say("count_is", query=query, verdict=FINE)
    v.equal(client.reply(), "552 5.3.4 Error: header too large")
    v.equal(client.file.read(), b"", "behind the refusal")
    daemon.lives("a late count")


def test_by_login(t):
    """Of limits alone: each login on its own, and the strictest answer counts."""
    daemon = Daemon(t, "limits", "rate login { messages = { 2/d } above = hold }\nrate network { recipients = { 10/d } above = refuse }\n"
                    "rate stranger { messages = { 1/d } }\n")
    daemon.begin()
    peers = {kind: daemon.peer(kind) for kind in ("smtpd", "submission")}

    def count(verdict, login="", address=LOOPBACK, trusted=0, recipients=1, kind="submission"):
        peers[kind].say("count_ask", query=7, login=login, address=address, trusted=trusted, recipients=recipients)
        v.equal(peers[kind].expect("count_is", query=7)["verdict"], verdict)

    count(FINE, "ann")
    count(FINE, "ann", OTHER)
    count(HOLD, "ann")
    count(HOLD, "ann", b"")
    count(FINE, "bob", b"")
    count(FINE, "bob", recipients=8)
    count(REFUSE, "bob", recipients=1)
    count(REFUSE, trusted=1)
    count(FINE, trusted=1, address=OTHER, kind="smtpd")
    count(FINE, kind="smtpd")  # a stranger's count is another
    count(DEFER, kind="smtpd")
    count(FINE, "x" * 255, b"")
    count(FINE, "", b"")
    count(FINE, "eve", b"odd", recipients=0xffffffff)
    daemon.lives("an address that is none")


def test_submission_asks(t):
    """What is handed in counts for its login, once its sender has the right."""
    daemon = Daemon(t, "submission", "rate login { messages = { 5/d } }\n")
    daemon.begin()
    qmgr, pickup, limits = (daemon.peer(kind) for kind in ("qmgr", "pickup", "limits"))
    Intake(qmgr)
    content = v.mail("counted")

    def hand(token, verdict, reason=""):
        pickup.say("handin", token=token, sender="ann@client.example", login="uid:7", content=content, content_length=len(content),
                   recipients=[dict(address=f"r{n}@sink.example") for n in range(3)])
        ask = limits.expect("count_ask", login=b"uid:7", recipients=3, address=b"")
        limits.say("count_is", query=ask["query"], verdict=verdict, reason=reason)

    hand(1, FINE)
    qmgr.say("settled", id=qmgr.expect("submit")["id"], committed=1)
    pickup.expect("handed", token=1, taken=1)
    hand(2, DEFER, "too much")
    v.equal(pickup.expect("handed", token=2)["reply"], b"4.7.1 Error: too much")
    hand(3, HOLD, "too much")
    submit = qmgr.expect("submit")
    v.check(f.encode("count_is", reason="too much")[9:] in submit["envelope"], submit["envelope"])
    qmgr.say("settled", id=submit["id"], committed=1)
    pickup.expect("handed", token=3, taken=1)
    pickup.say("handin", token=4, sender="ann@client.example", login="uid:7", content=content, content_length=len(content),
               recipients=[dict(address="r@sink.example")])
    limits.expect("count_ask")
    limits.close()
    qmgr.say("settled", id=qmgr.expect("submit", 10)["id"], committed=1)
    pickup.expect("handed", token=4, taken=1)


v.main(globals())
