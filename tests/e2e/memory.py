# SPDX-License-Identifier: ISC
"""More mail on its way in than `limits memory` has room for: new mail waits and is refused for now, what was begun is
taken or refused at its end, who is idle is served as ever, and all is as before when it is over."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import time

import veredus as v

MB = 1 << 20
CONFIG = "limits { memory = 4M per-client = 1000 }\nworkers { smtpd = 1 }\n"
FULL = "452 4.3.1"
BODY = (b"x" * 76 + b"\r\n") * 760  # 59 KB: held in memory to its end


def begin(smtp, subject):
    """A message up to its data; the reply to what did not go through."""
    for line, code in ("MAIL FROM:<a@client.example>", "250"), (f"RCPT TO:<{subject}@sink.example>", "250"), ("DATA", "354"):
        reply = smtp.say(line)
        if not reply.startswith(code):
            return reply
    return None


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))


def quick(smtp):
    began = time.monotonic()
    v.check(smtp.say("NOOP").startswith("250"), "NOOP")
    v.check(time.monotonic() - began < 5 * v.PATIENCE, "an idle client waited")


def test_memory(t):
    veredus, sink, _ = v.world(t, config=CONFIG)
    (pid,) = veredus.daemons("smtpd")
    idle = v.Smtp(veredus.port)
    crowd = [v.Smtp(veredus.port) for _ in range(160)]
    before = resident(pid)
    for number, smtp in enumerate(crowd):
        v.equal(begin(smtp, f"m{number}"), None, "while there is room")
    for number, smtp in enumerate(crowd):
        smtp.socket.sendall(v.mail(f"m{number}") + BODY)
        if number % 40 == 0:
            quick(idle)
    # All have said more than there is room for: some keep theirs, the others' was given up. Who has us keep what he says
    # while he waits is one of them.
    greedy = [v.Smtp(veredus.port) for _ in range(12)]
    for smtp in greedy:
        smtp.socket.sendall(b"MAIL FROM:<b@client.example>\r\n" + b"NOOP\r\n" * 9000)
    replies = [smtp.reply() for smtp in greedy]
    v.check(all(reply.startswith((FULL, "421 4.3.1")) for reply in replies), replies)
    v.check(any(reply.startswith("421") for reply in replies), "nobody had to go:", replies)
    for smtp in greedy:
        smtp.socket.close()
    refusal = v.wait(lambda: (lambda r: r if r.startswith("452") else idle.say("RSET") and None)(idle.say("MAIL FROM:<b@client.example>")),
                     10, "new mail is refused")
    v.check(refusal.startswith(FULL), refusal)
    quick(idle)
    late = v.Smtp(veredus.port)
    quick(late)
    if v.PATIENCE == 1:  # a sanitizer has its own ideas of memory
        v.check(resident(pid) - before < 12 * MB, "smtpd grew by", (resident(pid) - before) // MB, "MB")
    taken = set()
    for number, smtp in enumerate(crowd):
        smtp.socket.sendall(b".\r\n")
        reply = smtp.reply()
        v.check(reply.startswith("250") or reply.startswith(FULL), reply)
        if reply.startswith("250"):
            taken.add(f"m{number}@sink.example")
        quick(smtp)
    v.check(10 < len(taken) < 100, len(taken), "of 160 fit")
    # It is over.
    late.send("b@client.example", "late@sink.example", v.mail("late"))
    idle.send("b@client.example", "idle@sink.example", v.mail("idle"))
    taken |= {"late@sink.example", "idle@sink.example"}
    veredus.wait_empty(20)
    arrived = sorted(str(envelope["rcpt"]) for envelope, _ in sink.mails())
    v.equal(len(arrived), len(taken), "arrived, and once")
    v.check(all(any(name in one for one in arrived) for name in taken), taken, arrived)
    for smtp in [idle, late, *crowd]:
        smtp.close()


v.main(globals())
