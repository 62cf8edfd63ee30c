# SPDX-License-Identifier: ISC
"""The table process alone: files that change, break, vanish and come back while keys are looked up."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import threading
import time

import frames as f
import veredus as v
from alone import Daemon

FOUND, ABSENT, FAILED = 0, 1, 2  # enum table_verdict
HANDLE_TABLE, ENOENT = 20, 2


class Tables:
    """table, with a master that opens what it asks for."""

    def __init__(self, t, content, settings=""):
        self.path = t.folder + "/senders"
        if content is not None:
            self.write(content, age=10)
        self.daemon = Daemon(t, "table", f"submission {{ senders = {self.path} }}\n" + settings)
        self.daemon.begin()
        self.peer, self.number, self.looks, self.silent = self.daemon.peer("submission"), 0, 0, False

    def write(self, content, age=0, path=None):
        v.write(path or self.path, content)
        if age:
            os.utime(path or self.path, (time.time() - age, time.time() - age))

    def serve(self):
        """What master does."""
        self.daemon.master.pump(0.01)
        for message in [m for m in self.daemon.master.got if m[0] == "table_look"]:
            self.daemon.master.got.remove(message)
            self.looks += 1
            if self.silent:
                continue
            v.equal(message[1]["table"].decode(), self.path)
            try:
                fd, error = os.open(self.path, os.O_RDONLY), 0
            except FileNotFoundError:
                fd, error = os.open("/dev/null", os.O_RDONLY), ENOENT
            self.daemon.master.say("handle", fd, role=HANDLE_TABLE, index=error, name=self.path)
            os.close(fd)

    def ask(self, key, seconds=10, table=None):
        self.number += 1
        self.peer.say("lookup", query=self.number, table=table or self.path, key=key)
        end = time.monotonic() + seconds * v.PATIENCE
        while time.monotonic() < end:
            self.serve()
            self.peer.pump(0.01)
            for name, values in self.peer.got:
                if name == "looked_up" and values["query"] == self.number:
                    self.peer.got.clear()
                    return values["verdict"], values["value"].decode()
        raise v.Failure("no answer to a lookup")

    def becomes(self, key, wanted, seconds=5):
        """Until then, nothing but what was known before."""
        before, end = self.ask(key), time.monotonic() + seconds * v.PATIENCE
        while (now := self.ask(key)) != wanted:
            v.equal(now, before, "while the file changes")
            v.check(time.monotonic() < end, key, "stays", now)
            time.sleep(0.1)


def test_lookups(t):
    tables = Tables(t, b"# who\nann ann@x.org @y.org\nBob b@x.org\n  c@x.org\n")
    v.equal(tables.ask("ann"), (FOUND, "ann@x.org @y.org"))
    v.equal(tables.ask("BOB"), (FOUND, "b@x.org c@x.org"))
    v.equal(tables.ask("eve"), (ABSENT, ""))
    v.equal(tables.ask("ann", table=t.folder + "/other"), (FAILED, ""), "a table that nobody configured")
    v.equal(tables.looks, 1, "looks within a second")


def test_changes(t):
    """In place, by rename, and by a file that was there before."""
    tables = Tables(t, b"ann 1\n")
    v.equal(tables.ask("ann"), (FOUND, "1"))
    tables.write(b"ann 2\n")
    tables.becomes("ann", (FOUND, "2"))
    tables.write(b"ann 3\n", path=tables.path + ".new")
    os.rename(tables.path + ".new", tables.path)
    tables.becomes("ann", (FOUND, "3"))
    tables.write(b"bob 1\n", age=3600, path=tables.path + ".new")
    os.rename(tables.path + ".new", tables.path)
    tables.becomes("ann", (ABSENT, ""))


def test_broken_and_missing(t):
    """A broken file changes nothing and the log names the line; a missing one makes mail wait."""
    tables = Tables(t, b"ann 1\n")
    v.equal(tables.ask("ann"), (FOUND, "1"))
    tables.write(b"ann 2\nbob\n", age=10)
    time.sleep(1.1)
    v.equal(tables.ask("ann"), (FOUND, "1"))
    v.check(f"{tables.path}:2: a key without a value; the table stays as it was" in tables.daemon.process.said(4000),
            tables.daemon.process.said(4000))
    tables.write(b"ann 2\n", age=10)
    tables.becomes("ann", (FOUND, "2"))
    os.unlink(tables.path)
    tables.becomes("ann", (FAILED, ""))
    tables.write(b"ann 3\n", age=10)
    tables.becomes("ann", (FOUND, "3"))


def test_never_there_and_broken_at_first(t):
    tables = Tables(t, None)
    v.equal(tables.ask("ann"), (FAILED, ""))
    tables.write(b"ann\n", age=10)
    tables.becomes("ann", (FAILED, ""))
    tables.write(b"ann 1\n", age=10)
    tables.becomes("ann", (FOUND, "1"))


def test_half_written(t):
    """A writer that truncates and takes his time: no answer comes from what is not whole."""
    lines = [b"key%d value\n" % n for n in range(2000)]
    tables = Tables(t, b"".join(lines))
    v.equal(tables.ask("key1999"), (FOUND, "value"))
    stop = threading.Event()

    def rewrite():
        while not stop.is_set():
            with open(tables.path, "wb", buffering=0) as file:
                for at in range(0, 2000, 100):
                    file.write(b"".join(lines[at:at + 100]))
                    time.sleep(0.02)

    writer = threading.Thread(target=rewrite, daemon=True)
    writer.start()
    end = time.monotonic() + 5
    while time.monotonic() < end:
        v.equal(tables.ask("key1999"), (FOUND, "value"))
    stop.set()
    writer.join()
    v.check(tables.looks <= 8, tables.looks, "looks in 6 seconds")


def test_too_large(t):
    tables = Tables(t, b"ann " + b"x" * 5000 + b"\n", "tables { size = 4K }\n")
    v.equal(tables.ask("ann"), (FAILED, ""))
    tables.write(b"ann 1\n", age=10)
    tables.becomes("ann", (FOUND, "1"))


def test_master_is_busy(t):
    """Without an answer from master what was read before is used, and the questions do not pile up."""
    tables = Tables(t, b"ann 1\n")
    v.equal(tables.ask("ann"), (FOUND, "1"))
    tables.silent = True
    time.sleep(1.1)
    v.equal(tables.ask("ann", 10), (FOUND, "1"))
    for number in range(20000):
        tables.peer.say("lookup", query=1000000 + number, table=tables.path, key="ann")
    tables.daemon.lives("a flood of questions")
    tables.peer.close()
    tables.daemon.lives("the one who asked is gone")
    tables.silent, tables.peer = False, tables.daemon.peer("submission")
    v.equal(tables.ask("ann", 10), (FOUND, "1"))


def test_check(t):
    """veredus check names each broken line with file and line."""
    path = v.write(t.folder + "/senders", b"ann x\nbob\n\ncarl \xff\n")
    home = t.veredus(f"submission {{ senders = {path} }}\n")
    said = home.command("check", status=1)
    for line in f"senders: {path}:2: a key without a value", f"senders: {path}:4: no UTF-8":
        v.check(line in said, line, said)
    os.unlink(path)
    v.check(f"senders: {path}: No such file" in home.command("check", status=1), "a missing table")
    v.write(home.conf, v.read(home.conf).replace(path.encode(), b"hash:/etc/x"))
    v.check("is no table; write /PATH or text:/PATH" in home.command("check", status=1), "an unknown kind")


v.main(globals())
