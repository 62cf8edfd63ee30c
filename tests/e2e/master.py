# SPDX-License-Identifier: ISC
"""Master: any daemon restarted alone, back-off, ports and workers at a reload, its own sudden end, hurried stops."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import signal
import socket
import threading
import time

import veredus as v

DAEMONS = ("logger", "resolver", "limits", "fetcher", "table", "qmgr", "bounce", "submission", "pickup", "smtp-client", "smtpd")


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
    v.wait(lambda: refuses(other), 5, "the end of the port that was removed")


def refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port), 20).close()
        return False
    except ConnectionRefusedError:
        return True


def test_reload_while_it_starts(t):
    """What is asked for before all daemons are there is done, and said."""
    veredus, _, _ = v.world(t, start=False)
    veredus.process = v.Process(t, "run", [veredus.build + "/veredus", "run", "-c", veredus.conf], cwd=veredus.folder,
                                env=veredus.environment, **veredus.demote)
    veredus.wait_log("limits is pid")
    veredus.process.signal(signal.SIGHUP)
    veredus.wait_log("configuration generation 2 is in force")
    v.equal(veredus.starts(), 1, "starts")


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


WHOLE = (b"EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<b@sink.example>\r\nDATA\r\n", v.mail("first") + b".\r\nQUIT\r\n")


def test_nobody_is_told_to_wait_at_a_start(t):
    """The first client, who is there before qmgr has said that it takes mail, is served and hears no 451."""
    veredus, sink, _ = v.world(t, start=False)
    for round in range(5):
        veredus.process = v.Process(t, f"run{round}", [veredus.build + "/veredus", "run", "-c", veredus.conf], cwd=veredus.folder,
                                    env=veredus.environment, **veredus.demote)
        s = v.wait(lambda: connect(veredus.port), 20, "the port")
        s.settimeout(20 * v.WAITS)
        file = s.makefile("rb")
        file.readline()
        s.sendall(WHOLE[0])
        codes = [line[:4] for line in iter(file.readline, b"") if line[3:4] == b" " and (line[:3] != b"354" or s.sendall(WHOLE[1]) is None)]
        v.equal(codes, [b"250 ", b"250 ", b"250 ", b"354 ", b"250 ", b"221 "], f"start {round}")
        s.close()
        v.equal(veredus.stop(), 0, "exit status")
    v.check(" 451 " not in veredus.log_text(), veredus.log_text()[-1000:])
    veredus.start()
    sink.wait_mails(5)


def connect(port):
    try:
        return socket.create_connection(("127.0.0.1", port), 1)
    except OSError:
        return None


class Talker(threading.Thread):
    """Sends mail after mail; its replies by what they answer."""

    def __init__(self, veredus, number):
        super().__init__(daemon=True)
        self.veredus, self.number, self.over = veredus, number, False
        self.replies, self.taken = [], set()

    def run(self):
        try:
            smtp = v.Smtp(self.veredus.port)
            while not self.over:
                self.mail(smtp, f"{self.number}.{len(self.replies)}")
            smtp.close()
        except (OSError, v.Failure) as why:
            self.replies.append(("connection", str(why)))

    def mail(self, smtp, subject):
        for what, line in (("MAIL", "MAIL FROM:<a@client.example>"), ("RCPT", "RCPT TO:<b@sink.example>"), ("DATA", "DATA")):
            reply = smtp.say(line)
            self.replies.append((what, reply))
            if reply[0] not in "23":
                smtp.say("RSET")
                return
        smtp.socket.sendall(v.mail(subject) + b".\r\n")
        reply = smtp.reply()
        self.replies.append(("dot", reply))
        if reply.startswith("250"):
            self.taken.add(subject)


def test_qmgr_alone_is_missed_by_nobody(t):
    """While qmgr is started again MAIL and DATA wait for it. What was on its way in at its death may be 451: it is
    sent again. Only a qmgr that stays away is told of, after ten seconds."""
    veredus, sink, _ = v.world(t)
    talkers = [Talker(veredus, i) for i in range(20)]
    for talker in talkers:
        talker.start()
    for _ in range(3):
        done = sum(len(talker.taken) for talker in talkers)
        v.wait(lambda: sum(len(talker.taken) for talker in talkers) > done + 100, 20, "mail taken")
        (pid,) = v.wait(lambda: veredus.daemons("qmgr"), 10, "qmgr")
        os.kill(pid, signal.SIGKILL)
        v.wait(lambda: veredus.daemons("qmgr") not in ([], [pid]), 10, "a new qmgr")
    for talker in talkers:
        talker.over = True
    for talker in talkers:
        talker.join(30 * v.WAITS)
        v.check(not talker.is_alive(), "a client hangs", talker.replies[-3:])
    replies = [pair for talker in talkers for pair in talker.replies]
    refused = [pair for pair in replies if pair[1][0] not in "23"]
    v.equal([pair for pair in refused if pair[0] != "dot"], [], "refused before their end of data")
    v.check(len(refused) <= 3 * len(talkers), len(refused), "refused at their end of data", refused[:3])
    taken = set().union(*(talker.taken for talker in talkers))
    print(f"  {len(taken)} taken, {len(refused)} of {len(replies)} replies were a refusal, at the end of data", flush=True)
    v.wait(lambda: {text.split("Subject: ")[1].split("\r\n")[0] for _, content in sink.mails()
                    for text in [content.decode()]} >= taken, 30, "all that was taken")
    stays_away(veredus)


def stays_away(veredus):
    early, late = v.Smtp(veredus.port), v.Smtp(veredus.port)
    (pid,) = veredus.daemons("qmgr")
    veredus.process.signal(signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        begun = time.monotonic()
        time.sleep(0.2)
        early.expect("451 4.3.2", "MAIL FROM:<a@client.example>")
        v.check(8 < time.monotonic() - begun < 10 + 10 * v.PATIENCE, "it said so after", time.monotonic() - begun)
        begun = time.monotonic()
        late.expect("451 4.3.2", "MAIL FROM:<a@client.example>")
        v.check(time.monotonic() - begun < 8, "who comes later is told at once", time.monotonic() - begun)
    finally:
        veredus.process.signal(signal.SIGCONT)
    v.wait(lambda: veredus.daemons("qmgr") not in ([], [pid]), 20, "a new qmgr")
    v.wait(lambda: late.say("MAIL FROM:<a@client.example>").startswith("250"), 10, "mail taken again")


def test_second_signal_hurries(t):
    """A delivery that hangs holds the first SIGTERM up for its drain time; a second one ends everything now."""
    veredus, _, _ = v.world(t, config="timeout { drain = 60s  drain-dot = 60s }\n")
    client = v.Smtp(veredus.port)
    client.say("EHLO client.example")
    client.say("MAIL FROM:<sender@client.example>")
    client.say("RCPT TO:<rcpt@sink.example>")
    client.say("DATA")
    veredus.process.signal(signal.SIGTERM)
    v.wait(lambda: refuses(veredus.port), 10, "the first signal's effect")  # two at once are one
    time.sleep(0.5)
    v.check(veredus.process.alive(), "the delivery was not waited for")
    begun = time.monotonic()
    veredus.process.signal(signal.SIGTERM)
    v.equal(veredus.process.wait(20), 0, "exit status")
    v.check(time.monotonic() - begun < 10 * v.WAITS, "took", time.monotonic() - begun)


v.main(globals())
