# SPDX-License-Identifier: ISC
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import glob
import re
import signal
import subprocess

import veredus as v


def heed_sigint():
    """What a shell starts in the background ignores it, and so would all that we start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def demo(**environment):
    return subprocess.Popen([v.ROOT + "/demo"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            start_new_session=True, preexec_fn=heed_sigint, env=dict(os.environ, VEREDUS_BUILD=v.BUILD, ASAN_OPTIONS="detect_leaks=0",
                                                             DEMO_PORT=str(v.free_port()), **environment))


def tells(said):
    for text in "queued as", "status=sent", "Subject: through Veredus", "Received: from client.example", "Hello Bob":
        v.check(text in said, text, "not in", said)


def test_demo_once(t):
    """./demo as a person runs it, ending after its message."""
    process = demo(DEMO_ONCE="1")
    said = process.communicate(timeout=240)[0].decode(errors="replace")
    v.equal(process.returncode, 0, said)
    tells(said)


def test_make_alone(t):
    """What ./demo starts is built by make without a target; here it lies there already."""
    said = subprocess.run(["make", "-n", "BUILD=" + t.folder], cwd=v.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60).stdout.decode()
    for program in "veredus", "sendmail", "bench/sink":
        v.check(f"LD {t.folder}/{program}\"" in said, program)


def session(leader):
    """What still runs of what LEADER started."""
    found = []
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            fields = v.read(stat).decode(errors="replace").rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(stat.split("/")[2])
    return found


def test_demo_until_ctrl_c(t):
    """It serves, and Ctrl-C ends all that it started."""
    process = demo()
    t.defer(process.stdout.close)
    t.defer(process.kill)
    said = ""
    while "Ctrl-C ends it all" not in said:
        line = process.stdout.readline().decode(errors="replace")
        v.check(line, "it ended:", said)
        said += line
    tells(said)
    v.check(len(session(process.pid)) > 10, session(process.pid))
    client = v.Smtp(int(re.search(r"serves on 127\.0\.0\.1:(\d+)", said)[1]))
    client.send("alice@client.example", "carol@demo.example", v.mail("one more"))
    client.close()
    folder = re.search(r"/tmp/veredus-demo\.\w+", said)[0]
    v.wait(lambda: len(glob.glob(folder + "/arrived/*.json")) == 2, 15, "the second message")
    os.killpg(process.pid, signal.SIGINT)
    v.equal(process.wait(60), 130, "exit status")
    v.wait(lambda: not session(process.pid), 5, lambda: f"the end of {session(process.pid)}")
    v.check(not os.path.exists(folder), folder, "is still there")


v.main(globals(), 250)
