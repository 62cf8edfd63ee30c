# SPDX-License-Identifier: ISC
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import subprocess

import veredus as v


def test_demo_once(t):
    """./demo as a person runs it, ending after its message."""
    if os.path.basename(v.BUILD) != "build":
        raise v.Skip("the demonstration runs build/")
    done = subprocess.run([v.ROOT + "/demo"], env=dict(os.environ, DEMO_ONCE="1", DEMO_PORT=str(v.free_port())), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=240)
    said = done.stdout.decode(errors="replace")
    v.equal(done.returncode, 0, said)
    for text in "queued as", "status=sent", "Subject: through Veredus", "Received: from client.example", "Hello Bob":
        v.check(text in said, text, "not in", said)


v.main(globals(), 250)
