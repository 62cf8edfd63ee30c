# SPDX-License-Identifier: ISC
"""One real daemon alone: the test is its master and all its neighbours."""
import os
import signal
import socket
import subprocess

import frames as f
import veredus as v

OPEN = 0  # enum intake_state


class Daemon:
    """One daemon whose master and neighbours we are."""

    def __init__(self, test, kind, config="", handles=(), environment=None):
        home = test.veredus(config)
        self.test, self.kind, self.bit = test, kind, f.KINDS[kind]
        for name in "", "queue", "empty", "limits", "fetcher", "history", "control", "maildrop":
            os.mkdir(os.path.join(home.queue, name))
            if v.IS_ROOT:
                os.chown(os.path.join(home.queue, name), v.NOBODY, v.NOBODY)
        ours, theirs = socket.socketpair()
        self.process = v.Process(test, kind, [os.path.join(home.build, kind), "0"], close_fds=False, cwd=home.folder,
                                 preexec_fn=lambda: os.dup2(theirs.fileno(), 3), env=environment or home.environment, **home.demote)
        theirs.close()
        self.folder, self.demote, self.number, self.peers = home.folder, home.demote, 0, []
        self.control = os.path.join(home.queue, "control/socket")
        self.master = f.Peer(ours, "master")
        test.defer(self.end)
        self.master.hello()
        self.master.expect("hello")
        self.master.say("config", generation=1, content=v.read(home.conf))
        for role, fd, name in handles:
            self.master.say("handle", fd, role=role, name=name)

    def begin(self):
        self.master.say("begin", generation=1)
        self.master.expect("ready", 10)

    def end(self):
        for peer in self.peers:
            peer.close()
        self.master.close()
        self.process.wait(10)

    def peer(self, kind, instance=0, hello=True):
        """A fresh channel; it takes the place of an older one to the same neighbour."""
        if kind == "control":
            ours = socket.socket(socket.AF_UNIX)
            ours.connect(self.control)
            return self.use(f.Peer(ours, kind), hello)
        ours, theirs = socket.socketpair()
        for end in ours, theirs:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.master.say("peer", theirs.fileno(), kind=f.KINDS[kind], instance=instance)
        theirs.close()
        return self.use(f.Peer(ours, kind, instance), hello)

    def use(self, peer, hello):
        self.peers.append(peer)
        if hello:
            peer.hello()
        return peer

    def lives(self, what):
        """The same process, and its loop runs."""
        self.number += 1
        self.master.say("ping", number=self.number)
        try:
            self.master.expect("pong", 5, number=self.number)
        except v.Failure:
            status = self.process.child.poll()
            how = "runs" if status is None else f"ended with {status}"
            if status is not None and status < 0:
                how = "was killed by " + signal.Signals(-status).name
            raise v.Failure(f"{what}: {self.kind} does not answer, it {how}: {self.process.said(800)}") from None
        self.master.got.clear()

    def descriptors(self):
        """How many it has open; unknown where its /proc is not ours to read."""
        try:
            return len(os.listdir(f"/proc/{self.process.pid}/fd"))
        except PermissionError:
            return None

    def limit(self, word):
        """As its own user: where root is not almighty it may not, or the new limit does not count."""
        done = subprocess.run(["prlimit", "--pid", str(self.process.pid), word], stderr=subprocess.PIPE, **self.demote)
        v.equal(done.returncode, 0, done.stderr)

    def resident_mb(self):
        for line in v.read(f"/proc/{self.process.pid}/status").decode().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) // 1024
        return 0


class Intake:
    """Plays qmgr's intake towards an engine: leases ids, settles what is submitted."""

    def __init__(self, peer):
        self.peer, self.first = peer, 1000
        peer.say("intake", state=OPEN)
        self.lease()

    def lease(self):
        count = self.peer.expect("lease")["count"]
        self.peer.say("leased", first=self.first, count=count)
        self.first += count

    def settle(self, seconds=5, **values):
        id = self.peer.expect("submit", seconds)["id"]
        self.peer.say("settled", id=id, **(values or dict(committed=1)))
