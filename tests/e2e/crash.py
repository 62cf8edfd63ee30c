# SPDX-License-Identifier: ISC
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import json
import re
import signal
import subprocess
import time

import veredus as v

# Enough that each kill comes in the midst of them.
MESSAGES, LONG = 20000 // v.PATIENCE, 60000


class Load(v.Process):
    """build/bench/load against Veredus; its accepted numbers in a file."""

    def __init__(self, test, veredus, messages, sessions=20, name="load", *more):
        self.accepted_list = f"{test.folder}/{name}.accepted"
        self.run = name + str(os.getpid())
        super().__init__(test, name, [v.BENCH + "/load", "--to", f"127.0.0.1:{veredus.port}", "--sessions", str(sessions),
                                      "--messages", str(messages), "--run", self.run, "--timeout", "240",
                                      "--accepted-list", self.accepted_list, *more], stderr=subprocess.DEVNULL)

    def accepted(self):
        return {f"{self.run}-{line}" for line in v.read(self.accepted_list).decode().split()}

    def accepted_count(self):
        return v.read(self.accepted_list).count(b"\n") if os.path.exists(self.accepted_list) else 0

    def result(self):
        return json.loads(self.said().strip().splitlines()[-1])


def arrived(sink):
    return v.read(sink.arrived_list).decode().split()


def settle(veredus, sink, load):
    """Every acknowledged message has arrived; how many came more than once."""
    load.wait(260)
    wanted = load.accepted()
    v.check(len(wanted) > 0, "load had nothing accepted:", load.said())

    # Just after a start older segments are still being read: empty counts when it stays so.
    deadline, empty = time.monotonic() + 60 * v.WAITS, 0
    while empty < 4 and time.monotonic() < deadline:
        empty = 0 if veredus.listed() else empty + 1
        time.sleep(0.25)
    v.equal(len(veredus.listed()), 0, "left in the queue: " + veredus.log_text()[-800:])
    counts = sink.result()
    lost = wanted - set(arrived(sink))
    v.equal(len(lost), 0, f"acknowledged and lost: {sorted(lost)[:5]} of {len(wanted)}; {counts}")
    v.equal(counts["corrupt"], 0, "corrupt")
    v.equal(counts["protocol_errors"], 0, "protocol errors")
    print(f"  {len(wanted)} acknowledged, {counts['arrived']} arrived, {counts['duplicates']} duplicates; "
          f"client saw {load.result()}")
    return counts["duplicates"]


def kill_under_load(t, name, kills=4, messages=MESSAGES):
    veredus, sink, _ = v.world(t, config="retry { first = 1s longest = 2s }\nlimits { per-client = 100000 }\n", sink_dump=False)
    load = Load(t, veredus, messages)
    done = 0
    while done < kills and load.alive():
        v.wait(lambda: load.accepted_count() > (done + 1) * 200 or not load.alive(), 30, "accepted mail")
        pids = v.wait(lambda: veredus.daemons(name) or not load.alive(), 45, f"{name} to come back")
        if not load.alive():
            break
        os.kill(pids[0], signal.SIGKILL)
        done += 1
        v.wait(lambda: pids[0] not in veredus.daemons(name), 10, "its end")
        # The more often it dies in a short time, the longer master waits: half a minute at most.
        v.wait(lambda: veredus.daemons(name), 45, f"{name} to be started again: " + veredus.log_text()[-500:])
    v.check(done > 0, "killed nothing: the load was over too soon")
    duplicates = settle(veredus, sink, load)
    # While the logger itself is dead lines go to master's standard error.
    v.wait(lambda: re.search(rf"{name}.*(killed|signal 9|died)", veredus.log_text() + veredus.process.said(10 ** 7)), 15,
           "a line about its end: " + veredus.log_text()[-1000:])
    v.check(veredus.process.alive(), "master ended")
    print(f"  {name} killed {done} times")
    return duplicates


def test_kill_qmgr(t):
    v.equal(kill_under_load(t, "qmgr"), 0, "duplicates when qmgr alone is killed")


@v.slow
def test_kill_qmgr_often(t):
    v.equal(kill_under_load(t, "qmgr", 8, LONG), 0, "duplicates when qmgr alone is killed")


def test_kill_smtpd(t):
    # The client never reads a 250 whose message is durable, and sends it again.
    kill_under_load(t, "smtpd")


def test_kill_smtp_client(t):
    kill_under_load(t, "smtp-client", 2)


def test_kill_resolver(t):
    v.equal(kill_under_load(t, "resolver"), 0, "duplicates")


def test_kill_logger(t):
    v.equal(kill_under_load(t, "logger"), 0, "duplicates")


def test_kill_limits(t):
    v.equal(kill_under_load(t, "limits"), 0, "duplicates")


def test_kill_submission(t):
    v.equal(kill_under_load(t, "submission", 2), 0, "duplicates")


def test_kill_bounce(t):
    v.equal(kill_under_load(t, "bounce", 2), 0, "duplicates")


def kill_all(t, messages, rounds):
    """As a power cut to the processes: recovery finds all that was acknowledged."""
    veredus, sink, _ = v.world(t, config="retry { first = 1s longest = 2s }\n", sink_dump=False)
    load = Load(t, veredus, messages)
    for round_number in range(rounds):
        v.wait(lambda: load.accepted_count() > (round_number + 1) * 300 or not load.alive(), 30, "accepted mail")
        pids = [veredus.process.pid] + [p for group in veredus.daemons().values() for p in group]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        veredus.process.child.wait()
        # A process that is killed holds its sockets until it is gone.
        v.wait(lambda: not any(v.runs(pid) for pid in pids), 20, "the end of all processes")
        veredus.start()
        if not load.alive():
            break
    print(f"  duplicates: {settle(veredus, sink, load)}")


def test_kill_all_at_once(t):
    kill_all(t, MESSAGES, 3)


@v.slow
def test_kill_all_often(t):
    kill_all(t, LONG, 8)


def test_reload_under_load(t):
    """SIGHUP drops no session and refuses no connection."""
    veredus, sink, _ = v.world(t, sink_dump=False)
    load = Load(t, veredus, MESSAGES, 20, "load", "--per-connection", "20")
    idle = v.Smtp(veredus.port)
    for generation in range(3):
        before = load.accepted_count()
        veredus.process.signal(signal.SIGHUP)
        v.wait(lambda: veredus.log_text().count("is in force") > generation, 15, lambda: veredus.log_text()[-1500:])
        v.wait(lambda: load.accepted_count() > before or not load.alive(), 15, "mail after the reload")
    idle.send("sender@client.example", "x@sink.example", v.mail("a session from before"))
    idle.close()
    v.equal(settle(veredus, sink, load), 0, "duplicates")
    result = load.result()
    v.equal((result["accepted"], result["connect_failures"], result["rejected"]), (MESSAGES, 0, {}), "load")
    # A broken file keeps the old state and says so.
    v.write(veredus.conf, "hostnam = x\n")
    veredus.process.signal(signal.SIGHUP)
    veredus.wait_log("reload failed")
    v.check(veredus.greets(), "still serves")


def test_stop_under_load(t):
    """SIGTERM drains: nothing acknowledged is lost, and the next start goes on."""
    veredus, sink, _ = v.world(t, sink_dump=False)
    load = Load(t, veredus, MESSAGES)
    v.wait(lambda: load.accepted_count() > 500 or not load.alive(), 30, "accepted mail")
    v.equal(veredus.stop(), 0, "exit status")
    veredus.start()
    v.equal(settle(veredus, sink, load), 0, "duplicates")


v.main(globals(), 300)
