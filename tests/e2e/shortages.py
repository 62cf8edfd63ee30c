# SPDX-License-Identifier: ISC
"""What a daemon needs and does not get: descriptors, memory, a clock that goes on. Each daemon in turn, beside the
others, which have it. Nothing that was acknowledged is lost, nothing arrives twice, and all goes on when it is over."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import re
import subprocess
import threading
import time

import clock
import hostile as r
import veredus as v

CONFIG = "retry { first = 1s longest = 2s }\nlimits { per-client = 100000 }\n"
LARGE = (b"x" * 76 + b"\r\n") * 2000


def limit(veredus, pid, word):
    """Sets a soft limit of a running daemon, as the user that it runs as may; the hard one stays."""
    done = subprocess.run(["prlimit", "--pid", str(pid), word], stderr=subprocess.PIPE, **veredus.demote)
    v.equal(done.returncode, 0, done.stderr)


def descriptors(pid):
    return {int(number) for number in os.listdir(f"/proc/{pid}/fd")}


class Talker(threading.Thread):
    """Sends small and large mail until it is told to stop, over a new connection now and then; what was taken."""

    def __init__(self, veredus, name):
        super().__init__(daemon=True)
        self.veredus, self.name, self.over = veredus, name, False
        self.taken, self.replies = set(), {}

    def run(self):
        number = 0
        while not self.over:
            try:
                smtp = v.Smtp(self.veredus.port)
                for _ in range(5):
                    if self.over:
                        break
                    number += 1
                    self.mail(smtp, f"{self.name}.{number}", LARGE if number % 3 == 0 else b"small\r\n")
                smtp.close()
            except (OSError, v.Failure):
                time.sleep(0.05)

    def mail(self, smtp, subject, body):
        for line in "MAIL FROM:<a@client.example>", f"RCPT TO:<{subject}@sink.example> NOTIFY=NEVER", "DATA":
            reply = smtp.say(line)
            if reply[0] not in "23":
                self.replies[reply[:9]] = self.replies.get(reply[:9], 0) + 1
                smtp.say("RSET")
                return
        smtp.socket.sendall(v.mail(subject, body) + b".\r\n")
        reply = smtp.reply()
        self.replies[reply[:9]] = self.replies.get(reply[:9], 0) + 1
        if reply.startswith("250"):
            self.taken.add(subject)


def beside_load(t, veredus, sink, act, seconds=2):
    """Runs ACT with ten clients at work, and lets them go on after it for as long; all that was taken arrives, once."""
    talkers = [Talker(veredus, f"t{i}") for i in range(10)]
    for talker in talkers:
        talker.start()
    time.sleep(0.5)
    act()
    time.sleep(seconds)
    for talker in talkers:
        talker.over = True
    for talker in talkers:
        talker.join(30 * v.WAITS)
        v.check(not talker.is_alive(), "a client hangs", talker.replies)
    taken = set().union(*(talker.taken for talker in talkers))
    refused = {}
    for talker in talkers:
        for reply, count in talker.replies.items():
            refused[reply] = refused.get(reply, 0) + count
    v.check(taken, "nothing was taken", refused)
    v.check(not any(reply[0] == "5" for reply in refused), "for good:", refused)
    arrived = lambda: [re.search(r"(t\d+\.\d+)@", str(envelope["rcpt"]))[1] for envelope, _ in sink.mails()]
    v.wait(lambda: set(arrived()) >= taken, 40, lambda: f"{sorted(taken - set(arrived()))[:9]} of {len(taken)}; {veredus.log_text()[-1500:]}")
    veredus.wait_empty()
    return taken, arrived(), refused


def starve_of_descriptors(t, name, spare):
    """NAME has SPARE descriptors more than it holds now, for two seconds, and then all it wants."""
    veredus, sink, _ = v.world(t, config=CONFIG)
    (pid,) = veredus.daemons(name)

    def act():
        number = max(descriptors(pid)) + 1 + spare
        limit(veredus, pid, f"--nofile={number}:")
        time.sleep(2)
        if pid in veredus.daemons(name):
            limit(veredus, pid, "--nofile=1024:")

    taken, arrived, refused = beside_load(t, veredus, sink, act)
    doubles = len(arrived) - len(set(arrived))
    restarts = len(re.findall(rf"{name} \(pid.*starting it again", veredus.log_text()))
    print(f"  {name} with {spare} to spare: {len(taken)} taken and arrived, {doubles} twice, {restarts} restarts; {refused}", flush=True)
    v.check(not re.search(r"SIGSYS|SIGABRT|SIGSEGV", veredus.log_text()), veredus.log_text()[-1500:])
    v.equal(doubles, 0, "twice")
    v.equal(restarts, 0, "restarts")
    others = re.findall(r"(\S+) \(pid \d+\).*starting it again", veredus.log_text())
    v.equal(others, [], "others that died")


def make(function, *arguments):
    return lambda t: function(t, *arguments)


for daemon in "smtpd", "qmgr", "smtp-client", "resolver", "limits", "logger":
    name = f"test_descriptors_of_{daemon.replace('-', '_')}"
    globals()[name + "_0"] = make(starve_of_descriptors, daemon, 0)
    globals()[name + "_3"] = v.slow(make(starve_of_descriptors, daemon, 3))


# -- memory ---------------------------------------------------------------------------------------------------

def starve_of_memory(t, name):
    """NAME may have no more memory than it holds: it ends, and the next one goes on."""
    veredus, sink, _ = v.world(t, config=CONFIG)
    (pid,) = veredus.daemons(name)

    def act():
        size = int(re.search(r"VmSize:\s+(\d+)", v.read(f"/proc/{pid}/status").decode())[1])
        limit(veredus, pid, f"--as={size << 10}:")
        v.wait(lambda: pid not in veredus.daemons(name), 20, f"the end of {name}")
        v.wait(lambda: veredus.daemons(name), 20, "the next one")

    taken, arrived, refused = beside_load(t, veredus, sink, act)
    doubles = len(arrived) - len(set(arrived))
    print(f"  {name} without memory: {len(taken)} taken and arrived, {doubles} twice; {refused}", flush=True)
    veredus.wait_log(rf"{name}\S* \(pid {pid}\) ended with status 75; starting it again")
    v.check(not re.search(r"SIGSYS|SIGABRT|SIGSEGV", veredus.log_text()), veredus.log_text()[-1500:])
    return doubles


def test_memory_of_qmgr(t):
    v.equal(starve_of_memory(t, "qmgr"), 0, "twice")


def test_memory_of_smtpd(t):
    starve_of_memory(t, "smtpd")


if v.PATIENCE > 1:
    del test_memory_of_qmgr, test_memory_of_smtpd  # a sanitizer has its own ideas of memory


# -- the clock ------------------------------------------------------------------------------------------------

def test_clock_jumps(t):
    """The wall clock is set forward by forty days and back by eighty while mail waits: it is tried on as before, it
    does not expire, it is in the log, and what comes in meanwhile is delivered. Nobody gets a report."""
    receiver, reports = r.Receiver(t, rcpt=b"450 4.2.1 come back later\r\n"), r.Receiver(t)
    veredus = t.veredus("retry { first = 1s longest = 1s expire = 20m notice = 30s }\n"
                        f"route client.example {{ to = smtp:[{v.SINK}]:{reports.port} }}\nroute * {{ to = smtp:[{v.SINK}]:{receiver.port} }}\n")
    move = clock.movable(t, veredus)
    veredus.start()
    began, first = time.monotonic(), time.time()
    smtp = v.Smtp(veredus.port)
    smtp.send("sender@client.example", "waits@sink.example", v.mail("waits"))
    tries = lambda: veredus.log_text().count("status=deferred")
    v.wait(lambda: tries() >= 2, 10, "two attempts")
    for days in 40, -40, 0:
        move(days * 86400)
        before = tries()
        v.wait(lambda: tries() >= before + 3, 10, f"three more attempts at {days} days")
        smtp.send("sender@client.example", f"at{days}@sink.example", v.mail(f"at {days}"))
        v.wait(lambda: f"to=<at{days}@sink.example>" in veredus.log_text(), 5, "an attempt for new mail")
    days = [time.strftime("%b %e", time.localtime(at + 40 * 86400)) for at in (first, time.time())]
    v.check(any(day in veredus.log_text() for day in days), "the shim moved no clock:", days)
    veredus.wait_log("clock")
    receiver.says["rcpt"] = r.GOOD["rcpt"]
    veredus.wait_empty(10)
    subjects = sorted(re.search(rb"Subject: (.*)\r", content)[1].decode() for content in receiver.contents if content)
    v.equal(subjects, ["at -40", "at 0", "at 40", "waits"])
    # Had it taken half a minute, a notice would be right.
    slow = time.monotonic() - began > 28
    v.check(all(slow and b"Action: delayed" in content for content in reports.contents), "reports", reports.contents)
    smtp.close()


if v.PATIENCE > 1:
    del test_clock_jumps  # its shim must come first in LD_PRELOAD, and so must the sanitizer
v.main(globals())
