# SPDX-License-Identifier: ISC
"""Master: any daemon restarted alone, back-off, ports and workers at a reload, its own sudden end, hurried stops."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import signal
import socket
import time

import veredus as v

DAEMONS = ("logger", "resolver", "limits", "qmgr", "bounce", "submission", "smtp-client", "smtpd")


def test_each_daemon_alone(t):
    """A daemon that dies is there again, no other one is restarted, and mail goes through."""
    veredus, sink, _ = v.world(t)
    for count, name in enumerate(DAEMONS):
        before = veredus.daemons()
        os.kill(before[name][0], signal.SIGKILL)
        v.wait(lambda: veredus.daemons(name) not in ([], before[name]), 10, "a new " + name)
        v.wait(lambda: try_mail(veredus, f"after {name}"), 15, "mail taken after the death of " + name)
        sink.wait_mails(count + 1)
        after = veredus.daemons()
        v.equal({k: p for k, p in after.items() if k != name}, {k: p for k, p in before.items() if k != name}, name)


def try_mail(veredus, subject):
    try:
        client = v.Smtp(veredus.port)
        client.send("sender@client.example", "rcpt@sink.example", v.mail(subject))
        client.close()
        return True
    except (OSError, v.Failure):
        return False


def test_back_off(t):
    """At once for the first death, then later and later; the port answers all the while."""
    veredus, _, _ = v.world(t)
    waits = []
    for _ in range(3):
        v.wait(lambda: veredus.daemons("bounce"), 10, "bounce")
        pid = veredus.daemons("bounce")[0]
        os.kill(pid, signal.SIGKILL)
        waits.append(int(veredus.wait_log(rf"bounce \(pid {pid}\) was killed by SIGKILL; starting it again in (\d+) s").group(1)))
        v.check(veredus.greets(), "the port")
    v.equal(waits, [0, 1, 2], "seconds of waiting")


def test_reload_changes_ports_and_workers(t):
    veredus, _, _ = v.world(t)
    text = v.read(veredus.conf).decode()
    first, other = veredus.daemons("smtpd"), v.free_port()
    v.write(veredus.conf, text + f"listen smtp {{ address = 127.0.0.1:{other} }}\nworkers {{ smtpd = 3  smtp-client = 2 }}\n")
    veredus.process.signal(signal.SIGHUP)
    veredus.wait_log("configuration generation 2 is in force")
    v.equal({name: len(pids) for name, pids in veredus.daemons().items()},
            {name: {"smtpd": 3, "smtp-client": 2}.get(name, 1) for name in DAEMONS}, "workers")
    v.check(first[0] in veredus.daemons("smtpd"), "the first worker goes on")
    socket.create_connection(("127.0.0.1", other), 5).close()
    # A port that cannot be had leaves everything as it is.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        v.write(veredus.conf, text + f"listen smtp {{ address = 127.0.0.1:{taken.getsockname()[1]} }}\n")
        veredus.process.signal(signal.SIGHUP)
        veredus.wait_log("reload failed, the old configuration stays: .*cannot listen")
        socket.create_connection(("127.0.0.1", other), 5).close()
    v.write(veredus.conf, text)
    veredus.process.signal(signal.SIGHUP)
    veredus.wait_log("configuration generation 3 is in force")
    v.wait(lambda: len(veredus.daemons("smtpd")) == 1 and len(veredus.daemons("smtp-client")) == 1, 15, "fewer workers")
    v.check(veredus.greets(), "the port that stays")
    try:
        socket.create_connection(("127.0.0.1", other), 5).close()
        raise v.Failure("the port that was removed still answers")
    except ConnectionRefusedError:
        pass


def test_master_killed_ends_all(t):
    """Nobody outlives master, and the next start has nobody in its way."""
    veredus, sink, _ = v.world(t)
    pids = [pid for pids in veredus.daemons().values() for pid in pids]
    v.equal(len(pids), len(DAEMONS), veredus.daemons())
    veredus.process.signal(signal.SIGKILL)
    v.wait(lambda: not any(v.runs(pid) for pid in pids), 10, "the end of all daemons")
    veredus.start()
    v.check(try_mail(veredus, "again"), "mail after the restart")
    sink.wait_mails(1)


def test_limits_stand_still(t):
    """A limits daemon that hangs keeps nobody from being greeted."""
    veredus, sink, _ = v.world(t)
    (pid,) = veredus.daemons("limits")
    os.kill(pid, signal.SIGSTOP)
    t.defer(os.kill, pid, signal.SIGCONT)
    client = v.Smtp(veredus.port)
    client.send("sender@client.example", "rcpt@sink.example", v.mail("meanwhile"))
    client.close()
    sink.wait_mails(1)
    os.kill(pid, signal.SIGCONT)


def test_second_signal_hurries(t):
    """A delivery that hangs holds the first SIGTERM up for its drain time; a second one ends everything now."""
    veredus, _, _ = v.world(t, config="timeout { drain = 60s  drain-dot = 60s }\n")
    client = v.Smtp(veredus.port)
    client.say("EHLO client.example")
    client.say("MAIL FROM:<sender@client.example>")
    client.say("RCPT TO:<rcpt@sink.example>")
    client.say("DATA")
    veredus.process.signal(signal.SIGTERM)
    time.sleep(1)
    begun = time.monotonic()
    veredus.process.signal(signal.SIGTERM)
    v.equal(veredus.process.wait(20), 0, "exit status")
    v.check(time.monotonic() - begun < 10 * v.PATIENCE, "took", time.monotonic() - begun)


v.main(globals())
