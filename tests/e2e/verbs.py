# SPDX-License-Identifier: ISC
"""The veredus command as somebody meets it who does not know it yet: help, wrong words, nothing there, no right to it, a
reader that has left."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import subprocess

import veredus as v

QUEUE_VERBS = ["list", "shape", "show", "cat", "hold", "release", "requeue", "flush", "delete", "bounce", "export", "import", "check"]
STRANGER = 65533


def told(veredus, *words, user=None, config=True, shell=""):
    """(status, what it says on both); SHELL: what its output goes through."""
    argv = [os.path.join(veredus.build, "veredus"), *words] + (["-c", veredus.conf] if config else [])
    demote = dict(veredus.demote, user=user, group=user) if user else veredus.demote
    if shell:  # as under systemd and cron: SIGPIPE does not end it
        argv = ["bash", "-c", f'trap "" PIPE; "$@" | {shell}; exit ${{PIPESTATUS[0]}}', "bash", *argv]
    done = subprocess.run(argv, env=veredus.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=30 * v.PATIENCE, cwd=veredus.folder, **demote)
    return done.returncode, done.stdout.decode(errors="replace")


def check_all(veredus, rows, **more):
    for words, status, text in rows:
        got, said = told(veredus, *words, **more)
        v.check(got == status and text in said, words, ": expected", status, text, "; got", got, said)


def test_help(t):
    veredus = t.veredus("")
    for words in ([], ["config"], ["status"], ["trace"], ["run"], ["check"], ["user"], ["queue"]):
        status, said = told(veredus, *words, "--help", config=False)
        v.check(status == 0 and said.startswith("usage: veredus "), words, said)
    for verb in QUEUE_VERBS:
        status, said = told(veredus, "queue", verb, "--help", config=False)
        v.check(status == 0 and said.startswith(f"usage: veredus queue {verb} "), said)
        v.equal("KEY=VALUE" in said, verb not in ("show", "cat", "import", "check"), verb)
        v.check(f"\n  {verb} " in told(veredus, "queue", "--help", config=False)[1], verb)


def test_wrong_words(t):
    veredus = t.veredus("")
    check_all(veredus, [
        (["staus"], 64, "did you mean veredus status?"), (["queue", "lst"], 64, "did you mean veredus queue list?"),
        (["xyzzy"], 64, "veredus --help names them"), (["queue", "list", "--jsn"], 64, "did you mean --json?"),
        (["-c", "x", "status"], 64, "the verb comes first"), (["--json"], 64, "the verb comes first"),
        (["status", "x"], 64, 'status takes no argument "x"'), (["check", "--json"], 64, "veredus check takes no --json"),
        (["queue", "export", "out", "--json"], 64, "veredus queue export takes no --json; it takes DIR [FILTER]"),
        (["queue", "list", "--yes"], 64, "takes no --yes"), (["queue", "hold", "--yes", "X"], 64, "takes no --yes"),
        (["queue", "list", "example.com"], 64, "is no KEY=VALUE of a filter, such as domain=example.com"),
        (["queue", "list", "domian=x"], 64, "did you mean domain=?"), (["queue", "list", "source=10.0.0.0/33"], 64, "an IPv4 network is /0 to /32"),
        (["queue", "list", "state=lost"], 64, "state= takes ready, deferred, held or report"), (["queue", "list", "age=2"], 64, "2h+ (older)"),
        (["queue", "show"], 64, "usage: veredus queue show ID"), (["queue", "cat"], 64, "usage: veredus queue cat ID"),
        (["queue", "show", "no-id"], 64, '"no-id" is no queue ID'), (["queue", "hold"], 64, "hold what?"), (["queue", "delete"], 64, "delete what?"),
        (["queue", "import"], 64, "usage: veredus queue import DIR"), (["queue", "export", "domain=x"], 64, "usage: veredus queue export DIR"),
        (["trace"], 64, "usage: veredus trace"), (["config"], 64, "usage: veredus config show"),
    ])
    check_all(veredus, [(["status", "-c", "nofile"], 1, "nofile: No such file"), (["queue", "list", "-c"], 64, "-c lacks the file's name"),
                        (["queue", "check", "-c", "."], 1, ".: Is a directory")], config=False)
    if not os.path.exists("/etc/veredus/veredus.conf"):
        check_all(veredus, [(["mailq"], 1, "-c FILE names another one")], config=False)


def test_nothing_there(t):
    """Before the first run, with an empty queue, and with the daemons down."""
    veredus = t.veredus("")
    never = "veredus has not run with this configuration yet"
    check_all(veredus, [(["status"], 69, "is veredus running?"), (["trace", "x@y"], 66, never), (["queue", "list"], 66, never),
                        (["mailq"], 66, never), (["queue", "check"], 66, never), (["queue", "flush"], 66, never), (["queue", "import", "nofolder"], 66, "nofolder: No such")])
    veredus.start()
    os.mkdir(os.path.join(veredus.folder, "empty"))
    check_all(veredus, [
        (["queue", "list"], 0, "Mail queue is empty\n"), (["mailq"], 0, "Mail queue is empty\n"), (["queue", "list", "--json"], 0, ""),
        (["queue", "list", "domain=x"], 0, "nothing in the queue matches"), (["queue", "flush"], 0, "Mail queue is empty"),
        (["queue", "delete", "domain=x"], 0, "nothing in the queue matches"), (["queue", "hold", "-"], 0, "no IDs on standard input"),
        (["queue", "show", "IJALJ6VF29"], 1, "veredus trace IJALJ6VF29 tells whether it was"), (["queue", "delete", "IJALJ6VF29"], 1, "1 not found"),
        (["queue", "export", "out"], 0, "exported: 0 messages"), (["queue", "import", "empty"], 0, "there is no ID.json left to import"),
        (["queue", "import", "veredus.conf"], 66, "veredus.conf: Not a directory"), (["queue", "check"], 0, "fine: "),
        (["trace", "x@y"], 1, "the history knows nothing of it"), (["status"], 0, "intake      open"),
    ])
    v.equal(veredus.stop(), 0)
    down = "is veredus running?"
    check_all(veredus, [(["queue", "list"], 0, "Mail queue is empty"), (["queue", "check"], 0, "fine: "), (["status"], 69, down),
                        (["queue", "hold", "IJALJ6VF29"], 69, down), (["queue", "import", "empty"], 69, down)])


def test_no_right_to_it(t):
    if not v.IS_ROOT:
        raise v.Skip("needs root for another user")
    veredus = t.veredus("").start()
    rights = "only root and the queue's owner may"
    check_all(veredus, [([*words], 77, rights) for words in (("status",), ("queue", "list"), ("mailq",), ("queue", "check"), ("queue", "flush"),
                                                             ("queue", "hold", "IJALJ6VF29"), ("trace", "x@y"), ("queue", "import", "."))], user=STRANGER)
    check_all(veredus, [(["config", "show"], 0, "hostname = relay.example")], user=STRANGER)


def test_a_reader_that_left(t):
    """`| head` has what it wanted: no complaint, and what was begun is done."""
    veredus, _, _ = v.world(t, ("--reply-for", "busy@sink.example=450 4.2.1 later"))
    smtp = v.Smtp(veredus.port)
    for i in range(400):
        smtp.send("a@client.example", "busy@sink.example", v.mail(f"piped {i}"))
    large = smtp.send("a@client.example", "busy@sink.example", v.mail("large", b"0123456789\r\n" * 200000))
    smtp.close()
    v.wait(lambda: len(veredus.listed("state=deferred")) == 401, 30, lambda: str(len(veredus.listed())))
    for words in (["list"], ["list", "--json"], ["cat", large], ["show", large], ["shape"]):
        for reader in "head -1 > /dev/null", "true":
            v.equal(told(veredus, "queue", *words, shell=reader), (0, ""), f"{words} | {reader}")
    v.equal(told(veredus, "trace", large, shell="true"), (0, ""))
    status, said = told(veredus, "queue", "list", shell="cat > /dev/full")
    v.check("cat: " in said, said)
    v.equal(subprocess.run([os.path.join(veredus.build, "veredus"), "queue", "list", "-c", veredus.conf], stdout=open("/dev/full", "w"),
                           stderr=subprocess.DEVNULL, env=veredus.environment, **veredus.demote).returncode, 74, "a full disk behind it")
    told(veredus, "queue", "export", "out")
    v.equal(told(veredus, "queue", "delete", "age=0s+", "--yes", shell="true"), (0, ""))
    v.wait(lambda: not veredus.listed(), 20, "an empty queue")
    v.equal(told(veredus, "queue", "import", "out", shell="true"), (0, ""))
    v.equal(len(veredus.listed()), 401)


v.main(globals())
