# SPDX-License-Identifier: ISC
"""The table process alone: files that change, break, vanish and come back while keys are looked up."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import random
import subprocess
import threading
import time

import frames as f
import veredus as v
from alone import Daemon

FOUND, ABSENT, FAILED = 0, 1, 2  # enum table_verdict
HANDLE_TABLE, ENOENT = 20, 2
QUIET = 0.9  # a file of which nothing was written for a second is taken for whole, also where its writer was held up


class Tables:
    """table, with a master that opens what it asks for."""

    def __init__(self, t, content, settings="", kind="", suffix=""):
        self.path = t.folder + "/senders" + suffix
        self.name = kind + t.folder + "/senders"
        if content is not None:
            self.write(content, age=10)
        self.daemon = Daemon(t, "table", f"submission {{ senders = {self.name} }}\n" + settings)
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
            v.equal(message[1]["table"].decode(), self.name)
            try:
                fd, error = os.open(self.path, os.O_RDONLY), 0
            except FileNotFoundError:
                fd, error = os.open("/dev/null", os.O_RDONLY), ENOENT
            self.daemon.master.say("handle", fd, role=HANDLE_TABLE, index=error, name=self.name)
            os.close(fd)

    def ask(self, key, seconds=10, table=None):
        self.number += 1
        self.peer.say("lookup", query=self.number, table=table or self.name, key=key)
        end = time.monotonic() + seconds * v.WAITS
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
        before, end = self.ask(key), time.monotonic() + seconds * v.WAITS
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


def test_first_look(t):
    """Perhaps it is being written, and nothing was known before: what is there counts, but for local nobody is missing yet."""
    tables = Tables(t, None, f"local {{ aliases = pcre:{t.folder}/senders }}\n", kind="pcre:")
    tables.write(b"/^ann$/ bob\n")
    wrote = time.monotonic()
    v.equal(tables.ask("eve"), (ABSENT, ""))
    tables.peer = tables.daemon.peer("local")
    v.equal(tables.ask("ann"), (FOUND, "bob"))
    said = tables.ask("eve")
    v.check(said == (FAILED, "") or time.monotonic() - wrote > QUIET, said)
    tables.becomes("eve", (ABSENT, ""))


def test_half_written(t):
    """A writer that truncates and takes his time: no answer comes from what is not whole."""
    lines = [b"key%d value\n" % n for n in range(2000)]
    tables = Tables(t, b"".join(lines))
    v.equal(tables.ask("key1999"), (FOUND, "value"))
    stop, began = threading.Event(), time.monotonic()
    wrote, pauses = [began], [0]

    def rewrite():
        while not stop.is_set():
            with open(tables.path, "wb", buffering=0) as file:
                for at in range(0, 2000, 100):
                    file.write(b"".join(lines[at:at + 100]))
                    pauses.append(time.monotonic() - wrote[0])
                    wrote[0] += pauses[-1]
                    time.sleep(0.02)

    writer = threading.Thread(target=rewrite, daemon=True)
    writer.start()
    end = time.monotonic() + 5
    while time.monotonic() < end and (said := tables.ask("key1999")) == (FOUND, "value"):
        pass
    stop.set()
    writer.join()
    v.check(said == (FOUND, "value") or max(pauses) > QUIET, said, "with no pause above", max(pauses))
    v.check(tables.looks <= time.monotonic() - began + 3, tables.looks, "looks in", time.monotonic() - began, "seconds")


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
        tables.peer.say("lookup", query=1000000 + number, table=tables.name, key="ann")
    tables.daemon.lives("a flood of questions")
    tables.peer.close()
    tables.daemon.lives("the one who asked is gone")
    tables.silent, tables.peer = False, tables.daemon.peer("submission")
    v.equal(tables.ask("ann", 10), (FOUND, "1"))


def postmap(t, *words, input=None):
    """Postfix's own tool: (status, what it says)."""
    base = v.peer("postfix", "usr/sbin/postmap")
    folder = t.folder + "/postfix"
    if not os.path.exists(folder):
        os.mkdir(folder)
        v.write(folder + "/main.cf", "compatibility_level = 3.6\nmail_owner = daemon\nsetgid_group = bin\ndefault_privs = nobody\n")
    environment = dict(v.peer_environment("postfix"), MAIL_CONFIG=folder)
    environment["LD_LIBRARY_PATH"] += ":" + os.path.join(os.path.dirname(base), "../lib/postfix")
    done = subprocess.run([base, *words], env=environment, input=input, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=30 * v.PATIENCE)
    return done.returncode, done.stdout.decode(errors="replace")


def command(t, *words, status=0):
    """veredus table, as whoever runs the test."""
    done = subprocess.run([os.path.join(v.BUILD, "veredus"), "table", *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=30 * v.PATIENCE, cwd=t.folder)
    v.equal(done.returncode, status, f"{words} {done.stdout.decode()}")
    return done.stdout.decode()


TEXT = b"".join(b"Key%d@x.example value %d\n" % (n, n) for n in range(3000)) + b"long@x.example " + b"word " * 2000 + b"\n"


def test_files_of_postfix(t):
    """What postmap makes we read, key by key; what we make postmap reads."""
    for kind in "hash", "btree":
        theirs, ours = v.write(f"{t.folder}/theirs-{kind}", TEXT), v.write(f"{t.folder}/ours-{kind}", TEXT)
        v.equal(postmap(t, f"{kind}:{theirs}"), (0, ""))
        # Some pages are freed, and used again.
        v.equal(postmap(t, "-d", "-", f"{kind}:{theirs}", input=b"".join(b"key%d@x.example\n" % n for n in range(0, 3000, 7))), (0, ""))
        v.equal(postmap(t, "-i", f"{kind}:{theirs}", input=b"new@x.example fresh\n"), (0, ""))
        listed = dict(line.split("\t", 1) for line in command(t, "list", f"{kind}:theirs-{kind}").splitlines())
        wanted = {f"key{n}@x.example": f"value {n}" for n in range(3000) if n % 7}
        wanted.update({"new@x.example": "fresh", "long@x.example": ("word " * 2000).strip()})
        v.check(listed == wanted, kind, len(listed), len(wanted))
        v.equal(command(t, "query", f"{kind}:{theirs}.db", "KEY1@x.example"), "value 1\n")
        v.equal(command(t, "query", f"{kind}:{theirs}", "key7@x.example", status=1), "")
        v.equal(command(t, "make", f"{kind}:{ours}"), f"{ours}.db: 3001 keys\n")
        status, said = postmap(t, "-s", f"{kind}:{ours}")
        v.equal(status, 0, said)
        v.check({tuple(line.split("\t", 1)) for line in said.splitlines()} ==
                {(f"key{n}@x.example", f"value {n}") for n in range(3000)} | {("long@x.example", ("word " * 2000).strip())}, kind, len(said))
        v.equal(postmap(t, "-q", "Key5@x.example", f"{kind}:{ours}"), (0, "value 5\n"))
        v.equal(sorted(os.listdir(t.folder)).count(f"ours-{kind}.db"), 1)
        v.check(not [n for n in os.listdir(t.folder) if n.startswith(f"ours-{kind}.db.")], "nothing is left beside it")


def test_rules_as_postfix_has_them(t):
    """Both say the same of each key."""
    cidr = v.write(t.folder + "/nets", "192.0.2.1 one\n192.0.2.0/24 some\n  more\nif 10.0.0.0/8\n!10.2.0.0/16 other\nendif\n2001:db8::/32 six\n")
    for key in "192.0.2.1", "192.0.2.200", "10.1.1.1", "10.2.1.1", "2001:db8::1", "2001:db9::1", "198.51.100.1":
        status, said = postmap(t, "-q", key, f"cidr:{cidr}")
        v.equal(command(t, "query", f"cidr:{cidr}", key, status=status).split(), said.split(), key)


def test_commands_mistakes(t):
    v.write(t.folder + "/bad", b"ann\n")
    v.check("bad:1: a key without a value" in command(t, "make", "hash:bad", status=65), "a broken text")
    v.check(not os.path.exists(t.folder + "/bad.db"), "nothing is made of it")
    v.check("No such file" in command(t, "make", "hash:none", status=65), "no text")
    v.check("nothing is made of them" in command(t, "make", "pcre:bad", status=64), "no such kind of file")
    v.check("is no table" in command(t, "query", "dbm:bad", "x", status=64), "an unknown kind")
    v.check("usage: veredus table query TABLE KEY" in command(t, "query", "bad", status=64), "no key")


def made(t, kind, text):
    """The octets that veredus table make makes of TEXT."""
    v.write(t.folder + "/source", text)
    command(t, "make", f"{kind}:source")
    return v.read(t.folder + "/source.db")


def test_db_changes_under_load(t):
    """A .db that is made anew again and again, and one that is half copied over: each answer is whole."""
    first, second = made(t, "hash", b"ann 1\n" + TEXT), made(t, "hash", b"ann 2\n" + TEXT)
    tables = Tables(t, first, kind="hash:", suffix=".db")
    v.equal(tables.ask("ann"), (FOUND, "1"))
    tables.write(second, path=tables.path + ".new")
    os.rename(tables.path + ".new", tables.path)
    tables.becomes("ann", (FOUND, "2"))
    end, late = time.monotonic() + 2.5, False
    while time.monotonic() < end and not late:
        with open(tables.path, "wb", buffering=0) as file:  # as cp and postmap do
            for at in range(0, len(first), 65536):
                wrote = time.monotonic()
                file.write(first[at:at + 65536])
                said = tables.ask("ann"), tables.ask("KEY17@x.example")
                late = late or time.monotonic() - wrote > QUIET
                v.check(late or said == ((FOUND, "2"), (FOUND, "value 17")), said)
    tables.becomes("ann", (FOUND, "1"))


def test_db_broken(t):
    """Damaged, cut off and hostile files: the old answer stays, or 4.3.5, and the process lives."""
    whole = {"hash": made(t, "hash", TEXT[:TEXT.index(b"Key100@")]), "btree": made(t, "btree", TEXT[:TEXT.index(b"Key100@")])}
    tables = Tables(t, whole["hash"], kind="hash:", suffix=".db")
    v.equal(tables.ask("key1@x.example"), (FOUND, "value 1"))
    chance = random.Random(1)
    damaged = bytearray(whole["hash"])
    for at in range(0, len(damaged), 97):
        damaged[at] = chance.randrange(256)
    for number, (content, says) in enumerate([(whole["hash"][:-100], "cut off"), (b"", "empty"), (whole["btree"], "its kind is btree:"),
                                              (b"\0" * 8192, "no Berkeley DB file"), (bytes(damaged), None)]):
        tables.write(content, age=100 + number)
        time.sleep(1.1)
        v.equal(tables.ask("key1@x.example"), (FOUND, "value 1"), says)
        said = tables.daemon.process.said(8000)
        v.check(says is None or f"{tables.path}: " in said and says in said, says, said)
    tables.daemon.lives("broken files")
    os.unlink(tables.path)
    tables.becomes("key1@x.example", (FAILED, ""))
    tables.write(whole["hash"][:-100], age=10)
    tables.becomes("key1@x.example", (FAILED, ""))
    tables.write(whole["hash"], age=10)
    tables.becomes("key1@x.example", (FOUND, "value 1"))


def test_rules(t):
    """Patterns in the jail; one that takes too long makes mail wait and nothing else."""
    tables = Tables(t, b"/^(.*)@old\\.example$/ ${1}@new.example\n/^(a+)+$/ slow\n", kind="pcre:")
    v.equal(tables.ask("ann@old.example"), (FOUND, "ann@new.example"))
    v.equal(tables.ask("bob@x.example"), (ABSENT, ""))
    v.equal(tables.ask("a" * 40 + "b"), (FAILED, ""))
    v.equal(tables.ask("ann@old.example"), (FOUND, "ann@new.example"))
    tables.write(b"/(/ x\n", age=10)
    time.sleep(1.1)
    v.equal(tables.ask("ann@old.example"), (FOUND, "ann@new.example"))
    v.check(f"{tables.path}:1: in the pattern at character 2: missing closing parenthesis; the table stays as it was"
            in tables.daemon.process.said(4000), tables.daemon.process.said(4000))


def test_check(t):
    """veredus check names each broken line with file and line."""
    path = v.write(t.folder + "/senders", b"ann x\nbob\n\ncarl \xff\n")
    home = t.veredus(f"submission {{ senders = {path} }}\n")
    said = home.command("check", status=1)
    for line in f"senders: {path}:2: a key without a value", f"senders: {path}:4: no UTF-8":
        v.check(line in said, line, said)
    os.unlink(path)
    v.check(f"senders: {path}: No such file" in home.command("check", status=1), "a missing table")
    rules = v.write(t.folder + "/rules", b"/ok/ ann@x.example\n\n/(x)/ $1 nonsense\n/a/ @@\n/(/ y\n")
    plain = v.read(home.conf)
    v.write(home.conf, plain.replace(path.encode(), b"pcre:" + rules.encode()))
    v.check(f"senders: {rules}:5: in the pattern" in home.command("check", status=1), "a broken pattern")
    v.write(rules, b"/ok/ ann@x.example\n\n/(x)/ $1 nonsense\n/a/ @@\n")
    said = home.command("check", status=1)
    v.check(f'senders: {rules}:4: "@@" is ' in said and f"{rules}:3" not in said, said)
    v.write(rules + ".db", b"x" * 4096)
    v.write(home.conf, plain.replace(path.encode(), b"btree:" + rules.encode()))
    v.check(f"senders: {rules}.db: no Berkeley DB file" in home.command("check", status=1), "a broken .db")
    v.write(home.conf, plain.replace(path.encode(), b"dbm:/etc/x"))
    v.check("is no table; write /PATH, text:/PATH, hash:/PATH, btree:/PATH, cidr:/PATH or pcre:/PATH" in home.command("check", status=1), "an unknown kind")


v.main(globals())
