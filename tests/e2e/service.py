# SPDX-License-Identifier: ISC
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import re
import signal
import socket
import subprocess

import veredus as v


def test_listen_fds_and_notify(t):
    """systemd-socket-activate holds the port; NOTIFY_SOCKET hears READY, RELOADING and STOPPING."""
    tool = v.peer("systemd", "usr/bin/systemd-socket-activate")
    veredus, sink, _ = v.world(t, start=False)
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    path = t.folder + "/notify"
    notify.bind(path)
    os.chmod(path, 0o777)
    notify.settimeout(20 * v.WAITS)
    package = v.reachable(t, os.path.join(v.PEERS, "systemd"), "peer")
    tool = tool.replace(os.path.join(v.PEERS, "systemd"), package)
    environment = dict(v.peer_environment("systemd", package), NOTIFY_SOCKET=path, ASAN_OPTIONS="detect_leaks=0")
    process = v.Process(t, "activate", [tool, "-l", f"127.0.0.1:{veredus.port}", "-E", f"NOTIFY_SOCKET={path}",
                                        "-E", "ASAN_OPTIONS=detect_leaks=0",
                                        veredus.build + "/veredus", "run", "-c", veredus.conf],
                        env=environment, cwd=veredus.folder, **veredus.demote)
    # The first client starts it and is served.
    client = v.wait(lambda: try_connect(veredus.port), 20, "the port")
    v.check(client.greeting.startswith("220 relay.example"), client.greeting)
    v.check("READY=1" in notify.recv(4096).decode(), "READY=1")
    client.expect(250, "MAIL FROM:<>")
    client.expect(250, "RSET")
    client.send("sender@client.example", "rcpt@sink.example", v.mail("activated"))
    client.close()
    sink.wait_mails(1)
    process.signal(signal.SIGTERM)
    said = ""
    while "STOPPING=1" not in said:
        said += notify.recv(4096).decode()
    v.equal(process.wait(40), 0, "exit status")


def try_connect(port):
    try:
        return v.Smtp(port)
    except (OSError, v.Failure):
        return None


def test_watchdog(t):
    veredus, _, _ = v.world(t, start=False)
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    path = t.folder + "/notify"
    notify.bind(path)
    os.chmod(path, 0o777)
    notify.settimeout(20 * v.WAITS)
    veredus.environment.update(NOTIFY_SOCKET=path, WATCHDOG_USEC="1000000")
    veredus.start()
    said = ""
    while said.count("WATCHDOG=1") < 3 or "READY=1" not in said:
        said += notify.recv(4096).decode() + "\n"


def test_check_says_everything_at_once(t):
    path = v.write(t.folder + "/bad.conf", "hostnam = mail.example\nrelay-from = { 10.0.0.0/33 }\n"
                                           "listen smtp { address = 127.0.0.1:99999 }\nlog = stdout\nlog = syslog\n")
    done = subprocess.run([v.BUILD + "/veredus", "check", "-c", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    text = done.stdout.decode()
    v.equal(done.returncode, 1, text)
    for line, what in (1, "hostname"), (2, "33"), (3, "99999"), (5, "log"):
        v.check(re.search(rf"bad\.conf:{line}:\d+: .*{what}", text), line, what, "not in", text)


def test_second_start_is_refused(t):
    veredus, _, _ = v.world(t)
    done = subprocess.run([veredus.build + "/veredus", "run", "-c", veredus.conf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=30, env=veredus.environment, **veredus.demote)
    v.check(done.returncode != 0, "two on one queue")
    v.check(veredus.greets(), "the first one serves on")


def test_unprivileged_says_so_once(t):
    veredus, _, _ = v.world(t)
    v.check(veredus.daemons("qmgr"), veredus.daemons())
    said = r"(?i)ordinary user|unprivileged|without chroot"
    veredus.wait_log(said)  # it comes behind the line that ends the start
    text = veredus.log_text()
    v.equal(len(re.findall(said, text)), 1, "said once: " + text[:1500])
    for name, pids in veredus.daemons().items():
        for pid in pids:
            status = v.read(f"/proc/{pid}/status").decode()
            v.check("Seccomp:\t2" in status and "NoNewPrivs:\t1" in status, name, status)


v.main(globals())
