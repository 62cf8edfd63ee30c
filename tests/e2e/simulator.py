# SPDX-License-Identifier: ISC
"""The simulator finds a disk that lies, and says with how little it can be shown again."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import re
import subprocess

import veredus as v

SIM = os.path.join(v.BUILD, "sim")


def sim(*words):
    """(status, what it printed)."""
    done = subprocess.run([SIM, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=150 * v.PATIENCE)
    return done.returncode, done.stdout


def broken(text):
    found = re.findall(r"^BROKEN: seed \d+, step \d+: (.*) \(\d+\)$", text, re.M)
    v.check(found, text)
    return found[-1]


def test_shrinks_what_breaks(t):
    """A sync that keeps nothing is planted among some dozens of faults. It shows only if the machine crashes before
    the next sync of that file, so not with every seed."""
    for seed in range(42, 80):
        status, text = sim(f"seed={seed}", "hours=0.03", "plant=lie", "shrink=20")
        if status:
            break
    v.equal(status, 1, text)
    line = re.search(r"^the smallest that still breaks: make sim (.*)$", text, re.M)
    v.check(line, text)
    words = [word.lower() for word in line[1].split()]
    only = [word for word in words if word.startswith("only=")]
    v.check(only and len(only[0].split(",")) < 10, line[1])
    # What happened last stands before it, the fault that was planted and the crash among it.
    events = text[text.rindex("faults:"):]
    v.check("sync lies" in events and "crash of the machine" in events, events)
    # The line alone says it all.
    status, again = sim(*words, "shrink=0")
    v.equal(status, 1, again)
    v.equal(broken(again), broken(text), "the promise")
    v.equal(sim(*words, "shrink=0")[1].split("BROKEN")[1], again.split("BROKEN")[1], "run twice")
    # And none of it is too much: without the lie, or without the crash, nothing breaks.
    if "there was no time for more" in text:
        return
    for left in only[0][5:].split(","):
        rest = [n for n in only[0][5:].split(",") if n != left]
        fewer = [w for w in words if not w.startswith("only=")] + ["only=" + (",".join(rest) or "none")]
        status, said = sim(*fewer, "shrink=0")
        v.equal(status, 0, f"without fault {left}: {said}")


v.main(globals(), 400)
