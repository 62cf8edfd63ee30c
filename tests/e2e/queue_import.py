# SPDX-License-Identifier: ISC
"""veredus queue export and import: mail that is moved is the mail it was, in all that its recipients have been through;
files that are no such mail are refused by name; and what is broken off leaves nothing behind and loses nothing."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import json
import re
import signal
import subprocess
import threading
import time

import veredus as v

LARGE = b"".join(b"%06d " % i + b"x" * 60 + b"\r\n" for i in range(75000))  # 5 MB
LINE = LARGE.index(b"\n") + 1
SLOWLY = "retry { first = 1h  longest = 2h }\n"


def later(*names):
    """Sink options under which these recipients are deferred."""
    return [w for name in names for w in ("--reply-for", f"{name}@sink.example=450 4.2.1 come back later")]


def run(veredus, *words, status=0):
    """(what a command says, what it says on standard error)"""
    done = subprocess.run([os.path.join(veredus.build, "veredus"), *words, "-c", veredus.conf], env=veredus.environment,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60 * v.WAITS, **veredus.demote)
    said, error = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    if done.returncode != status:
        raise v.Failure(f"veredus {' '.join(words)} ended with {done.returncode}: {(said + error)[-1500:]}")
    return said, error


def shown(veredus, identity):
    """All of a message's state but for what is new after a move: ID, place, numbers of its recipients."""
    whole = json.loads(veredus.command("queue", "show", "--json", identity))
    del whole["queue_id"]
    del whole["recipient_count"]
    for r in whole["recipients"]:
        del r["number"]
    return whole


def empty(veredus):
    veredus.command("queue", "delete", "age=0s+", "--yes")
    v.wait(lambda: not veredus.listed(), 20, lambda: str(veredus.listed()))


def moved(veredus, folder):
    said, error = run(veredus, "queue", "import", folder)
    v.equal(error, "", "warnings of the import")
    return dict(re.findall(r"^(\w+) -> (\w+)$", said, re.M))


def bodies(veredus):
    return sorted(os.listdir(os.path.join(veredus.queue, "queue", "bodies")))


def states(veredus, identity):
    return {r["address"].split("@")[0]: r["state"] for m in veredus.listed("id=" + identity) for r in m["recipients"]}


def settled(veredus, identities):
    return all(r["state"] != "ready" for i in identities for m in veredus.listed("id=" + i) for r in m["recipients"])


def world(t, *names, config=SLOWLY):
    return v.world(t, later(*names), config)


def test_all_kinds_come_back(t):
    veredus, sink, client = world(t, "busy", "b0", "b1", "jürgen", "dsn1", "dsn2", config=SLOWLY)
    smtp = v.Smtp(veredus.port)
    sent = {
        "large": smtp.send("large@client.example", "busy@sink.example", v.mail("large", LARGE)),
        "held": smtp.send("held@client.example", ["b0@sink.example", "b1@sink.example"], v.mail("held")),
        "partly": smtp.send("partly@client.example", ["busy@sink.example", "fine@sink.example", "b1@sink.example"], v.mail("partly")),
        "utf8": smtp.send("jürgen@client.example", "jürgen@sink.example", v.mail("utf8", "Grüße\r\n".encode(), "X-Wer: Jürgen\r\n"),
                          " SMTPUTF8 BODY=8BITMIME"),
        "dsn": smtp.send("dsn@client.example", ["dsn1@sink.example", "dsn2@sink.example"], v.mail("dsn"),
                         " RET=HDRS ENVID=QQ+2B314", " NOTIFY=FAILURE,DELAY ORCPT=rfc822;Other+2Bone@sink.example"),
    }
    smtp.close()
    v.wait(lambda: len(sink.mails()) == 1 and settled(veredus, sent.values()), 20, lambda: str(veredus.listed()))
    veredus.command("queue", "hold", "id=" + sent["held"], "recipient=b1@*")
    v.wait(lambda: "held" in states(veredus, sent["held"]).values(), 10, lambda: str(veredus.listed()))
    before = {name: shown(veredus, i) for name, i in sent.items()}
    content = {name: run(veredus, "queue", "cat", i)[0] for name, i in sent.items()}
    folder = os.path.join(veredus.folder, "out")
    v.equal(run(veredus, "queue", "export", folder)[1], "")
    envelope = json.load(open(os.path.join(folder, sent["dsn"] + ".json")))
    v.equal((envelope["ret"], envelope["body"], envelope["envid"]), ("HDRS", "7BIT", "QQ+2B314"))
    v.equal(envelope["recipients"][0]["notify"], ["FAILURE", "DELAY"])
    v.equal(json.load(open(os.path.join(folder, sent["utf8"] + ".json")))["body"], "8BITMIME")
    empty(veredus)
    v.wait(lambda: not bodies(veredus), 10, lambda: str(bodies(veredus)))
    new = moved(veredus, folder)
    v.equal(set(new), set(sent.values()))

    def all_back():
        for name, old in sent.items():
            v.equal(shown(veredus, new[old]), before[name], name)
            v.equal(run(veredus, "queue", "cat", new[old])[0], content[name], name)

    all_back()
    v.equal(states(veredus, new[sent["partly"]]), {"busy": "deferred", "b1": "deferred"})
    v.equal(states(veredus, new[sent["held"]]), {"b0": "deferred", "b1": "held"})
    v.equal(len(bodies(veredus)), 1)
    v.check("fine" in veredus.command("queue", "check"))
    veredus.wait_log(f"{new[sent['large']]}: from=<large@client.example>, size=")
    veredus.wait_log(f"{new[sent['dsn']]}: message-id=<dsn@client.example>")
    veredus.wait_log(rf"{new[sent['dsn']]}: imported by uid \d+, was {sent['dsn']}")
    # The state is on disk, not only in memory: it outlives all of them.
    v.equal(veredus.stop(), 0)
    all_back()
    veredus.start()
    v.wait(lambda: len(veredus.listed()) == 5, 10, lambda: str(veredus.listed()))
    all_back()
    v.check("fine" in veredus.command("queue", "check"))
    v.equal(len(sink.mails()), 1, "deliveries while all of it waited")
    veredus.command("queue", "release", "state=held")
    v.wait(lambda: states(veredus, new[sent["held"]]) == {"b0": "deferred", "b1": "deferred"}, 10, lambda: str(veredus.listed()))


def test_held_mail_never_goes_out(t):
    """Its receiver takes mail: between being imported and being held it would be gone."""
    veredus, sink, _ = v.world(t, ("--reply-for", "late@sink.example=450 4.2.1 later"), SLOWLY)
    smtp = v.Smtp(veredus.port)
    ids = [smtp.send("a@client.example", "late@sink.example", v.mail(f"held {i}")) for i in range(30)]
    smtp.close()
    v.wait(lambda: len(veredus.listed("state=deferred")) == 30, 15, lambda: str(veredus.listed()))
    veredus.command("queue", "hold", "state=deferred")
    v.wait(lambda: len(veredus.listed("state=held")) == 30, 10, "all held")
    folder = os.path.join(veredus.folder, "out")
    run(veredus, "queue", "export", folder)
    for i in ids:  # another address, which takes mail at once
        path = os.path.join(folder, i + ".json")
        envelope = json.load(open(path))
        envelope["recipients"][0]["address"] = "fine@sink.example"
        json.dump(envelope, open(path, "w"))
    empty(veredus)
    new = moved(veredus, folder)
    v.equal(len(new), 30)
    v.equal(len(veredus.listed("state=held")), 30)
    time.sleep(0.5)
    v.equal(sink.mails(), [])
    veredus.command("queue", "release", "state=held")
    sink.wait_mails(30)
    veredus.wait_empty(10)


def test_moved_mail_keeps_its_age(t):
    veredus, _, client = world(t, "busy", config="retry { first = 1h  longest = 2h  expire = 2h  notice = 0 }\n")
    smtp = v.Smtp(veredus.port)
    young = smtp.send("young@client.example", "busy@sink.example", v.mail("young"))
    old = smtp.send("old@client.example", "busy@sink.example", v.mail("old"))
    smtp.close()
    v.wait(lambda: len(veredus.listed("reply=come back")) == 2, 15, lambda: str(veredus.listed()))
    folder = os.path.join(veredus.folder, "out")
    run(veredus, "queue", "export", folder)
    empty(veredus)
    for identity, age in ((young, 3600), (old, 3 * 3600)):
        path = os.path.join(folder, identity + ".json")
        envelope = json.load(open(path))
        envelope["arrival_us"] -= age * 1000000
        json.dump(envelope, open(path, "w"))
    new = moved(veredus, folder)
    v.equal([m["queue_id"] for m in veredus.listed("age=59m+", "age=61m-")], [new[young]])
    # With a notice so early the age of all is looked at often.
    v.equal(veredus.stop(), 0)
    v.write(veredus.conf, v.read(veredus.conf).replace(b"notice = 0", b"notice = 1s"))
    veredus.start()
    report = v.wait(lambda: [m for e, m in client.mails() if e["rcpt"][0].startswith("<old@")
                             and b"delivery time expired; last: " in m], 60, lambda: str(client.mails()))[0]
    v.check(b"come back later" in report, report)
    v.wait(lambda: [m["queue_id"] for m in veredus.listed("recipient=busy@*")] == [new[young]], 10, lambda: str(veredus.listed()))


def test_owed_reports_move_too(t):
    """What failed is not delivered again: its report is made where it was moved to."""
    veredus, sink, client = v.world(t, ("--reply-for", "gone@sink.example=550 5.1.1 no such user", *later("busy")), SLOWLY)
    smtp = v.Smtp(veredus.port)
    smtp.send("owed@client.example", ["gone@sink.example", "busy@sink.example"], v.mail("owed"))
    smtp.close()
    # Its report waits up to a minute for the other recipient.
    v.wait(lambda: len(veredus.listed("state=report")) == 1 and veredus.listed("state=deferred"), 15, lambda: str(veredus.listed()))
    folder = os.path.join(veredus.folder, "out")
    run(veredus, "queue", "export", folder)
    name = [n for n in os.listdir(folder) if n.endswith(".json")][0]
    envelope = json.load(open(os.path.join(folder, name)))
    owed = [r for r in envelope["recipients"] if r["state"] == "report"][0]
    v.equal((owed["outcome"], owed["owed"], owed["code"]), ("failed", ["failure"], 550))
    empty(veredus)
    v.equal(client.mails(), [])
    new = list(moved(veredus, folder).values())[0]
    v.equal(states(veredus, new), {"gone": "report", "busy": "deferred"})
    veredus.command("queue", "bounce", "id=" + new, "recipient=busy@*")  # now nothing else is left to wait for
    reports = client.wait_mails(1, 90)
    v.check(b"550 5.1.1 no such user" in reports[0][1], reports)
    v.check(b"gone@sink.example" in reports[0][1] and b"busy@sink.example" in reports[0][1], reports)
    veredus.wait_empty(20)
    v.equal(sink.mails(), [])


ENVELOPE = {"queue_id": "IJALJ6VF29", "sender": "a@client.example", "body": "7BIT", "smtputf8": False, "arrival_us": 1795299900123456,
            "recipients": [{"address": "busy@sink.example", "state": "ready", "attempts": 0}]}


def with_recipient(**members):
    return dict(ENVELOPE, recipients=[dict(ENVELOPE["recipients"][0], **members)])


def test_broken_files_are_refused_by_name(t):
    veredus, _, _ = world(t, "busy")
    folder = os.path.join(veredus.folder, "in")
    os.mkdir(folder, 0o777)
    os.chmod(folder, 0o777)
    good = v.mail("good")
    cases = [
        ("a word in its place", dict(ENVELOPE, body="9BIT"), good, r"json: body: is not 7BIT or 8BITMIME"),
        ("a number in its place", dict(ENVELOPE, ret=2), good, "json: ret: is no text"),
        ("binary", dict(ENVELOPE, body="BINARYMIME"), good, "json: body: is not"),
        ("no sender", {k: x for k, x in ENVELOPE.items() if k != "sender"}, good, "json: sender: is missing"),
        ("no recipients", dict(ENVELOPE, recipients=[]), good, "json: recipients: is no list of 1 to 10000"),
        ("no domain", with_recipient(address="busy"), good, r"json: recipients\[0\].address: is no address"),
        ("a command", with_recipient(address="busy@sink.example> X=<"), good, r"recipients\[0\].address: is no address"),
        ("lines", dict(ENVELOPE, helo="a\r\nb"), good, "json: helo: holds a control character"),
        ("UTF-8", with_recipient(address="jürgen@sink.example"), good, r"address: needs .smtputf8.: true"),
        ("notify", with_recipient(notify=["NEVER", "DELAY"]), good, "notify: NEVER stands alone"),
        ("a notify number", with_recipient(notify=4), good, "notify: is no list of NEVER"),
        ("a state", with_recipient(state="lost"), good, "state: is not ready, deferred, held or report"),
        ("no outcome", with_recipient(state="report", owed=["failure"]), good, "outcome: is missing"),
        ("owed wrongly", with_recipient(state="report", outcome="relayed", owed=["failure"]), good, "owed: does not fit"),
        ("owed and waiting", with_recipient(state="held", owed=["failure"]), good, "owed: a recipient that waits"),
        ("envid", dict(ENVELOPE, envid="a b"), good, "envid: holds a blank"),
        ("attempts", with_recipient(attempts=-1), good, "attempts: is no number from 0 to 65535"),
        ("no JSON", b'{"sender":\n  nobody}', good, "json: line 2, column 8: "),
        ("an empty file", b"", good, "json: line 1, column 0: "),
        ("a name twice", b'{"sender": "a@b", "sender": "c@d"}', good, r"json: line 1, column \d+: duplicate"),
        ("a list", b"[]", good, "json: the file: is no object"),
        ("no mail", ENVELOPE, None, "eml: No such file or directory"),
        ("a bare CR", ENVELOPE, v.mail("cr", b"a\rb\r\n"), "eml: holds a bare CR"),
        ("a bare CR far behind", ENVELOPE, v.mail("cr", LARGE + b"a\rb\r\n"), "eml: holds a bare CR"),
        ("a NUL", ENVELOPE, v.mail("nul", b"a\0b\r\n"), "eml: holds a NUL"),
        ("a huge header", ENVELOPE, v.mail("huge", b"", "".join(f"X-{i}: {'y' * 900}\r\n" for i in range(300))), "eml: has a header block above 256 KB"),
    ]
    for number, (what, envelope, content, _) in enumerate(cases):
        v.write(os.path.join(folder, f"c{number:02}.json"), envelope if isinstance(envelope, bytes) else json.dumps(envelope))
        if content is not None:
            v.write(os.path.join(folder, f"c{number:02}.eml"), content)
    os.mkfifo(os.path.join(folder, "fifo.json"))
    os.symlink("/etc/passwd", os.path.join(folder, "link.json"))
    v.write(os.path.join(folder, "links.json"), json.dumps(ENVELOPE))
    os.symlink("/etc/passwd", os.path.join(folder, "links.eml"))
    said, errors = run(veredus, "queue", "import", folder, status=1)
    for number, (what, _, _, wanted) in enumerate(cases):
        v.check(re.search(rf"/c{number:02}\.[^\n]*{wanted}", errors), what, ":", errors)
    for name in "fifo.json", "link.json", "links.eml":
        v.check(f"/{name}: is no plain file" in errors, errors)
    v.check(f"imported: 0 messages, {len(cases) + 3} refused" in said, said)
    v.equal(veredus.listed(), [], "half-imported")
    v.wait(lambda: not bodies(veredus), 10, lambda: str(bodies(veredus)))
    v.equal([n for n in os.listdir(folder) if n.endswith(".done")], [])
    # The socket still serves, and lines of other systems are taken.
    v.write(os.path.join(folder, "last.json"), json.dumps(ENVELOPE))
    v.write(os.path.join(folder, "last.eml"), good.replace(b"\r\n", b"\n"))
    v.check("imported: 1 message, " in run(veredus, "queue", "import", folder, status=1)[0])
    v.check(run(veredus, "queue", "cat", veredus.listed()[0]["queue_id"])[0].encode().replace(b"\r\n", b"\n") == good.replace(b"\r\n", b"\n"))


def many(veredus, count, body=b"small\r\n"):
    folder = os.path.join(veredus.folder, "in")
    os.mkdir(folder, 0o777)
    os.chmod(folder, 0o777)
    for i in range(count):
        v.write(os.path.join(folder, f"m{i:04}.json"), json.dumps(dict(ENVELOPE, sender=f"s{i}@client.example")))
        v.write(os.path.join(folder, f"m{i:04}.eml"), v.mail(f"m{i}", body))
    return folder


def importing(t, veredus, folder):
    """Where others keep the machine busy it comes last: who wants to meet it in the midst of its work does."""
    return v.Process(t, "import", ["nice", "-n", "19", os.path.join(veredus.build, "veredus"), "queue", "import", folder, "-c", veredus.conf],
                     env=veredus.environment, **veredus.demote)


def done(folder):
    return {n[:5] for n in os.listdir(folder) if n.endswith(".json.done")}


def queued(veredus):
    return sorted("m%04d" % int(m["sender"][1:].split("@")[0]) for m in veredus.listed())


def test_an_import_that_is_killed(t):
    """The command dies: what it saw taken is there, and its bodies are gone with it."""
    veredus, _, _ = world(t, "busy")
    folder = many(veredus, 60, LARGE[:30000 * LINE])
    kills = 0
    for _ in range(3):
        child = importing(t, veredus, folder)
        before = len(done(folder))
        v.wait(lambda: len(done(folder)) > before + 3 or not child.alive(), 20, "some of it")
        child.signal(signal.SIGKILL)
        kills += child.wait(10) == -signal.SIGKILL and len(done(folder)) < 60
    v.check(kills, "all was done before it was killed")
    v.wait(lambda: len(bodies(veredus)) == len(veredus.listed()), 10, lambda: f"{bodies(veredus)} {len(veredus.listed())}")
    v.check(done(folder) <= set(queued(veredus)), "missing:", done(folder) - set(queued(veredus)))
    run(veredus, "queue", "import", folder)
    v.equal(len(done(folder)), 60)
    # One message a kill may have come twice: taken, and the command dead before it could say so.
    v.check(60 <= len(queued(veredus)) <= 63 and len(set(queued(veredus))) == 60, queued(veredus))
    v.check("fine" in veredus.command("queue", "check"))


def test_qmgr_is_killed_under_an_import(t):
    veredus, _, _ = world(t, "busy")
    folder = many(veredus, 40, LARGE[:45000 * LINE])
    child = importing(t, veredus, folder)
    v.wait(lambda: len(done(folder)) > 3 and len(bodies(veredus)) > len(done(folder)), 20, "a body on its way")
    os.kill(veredus.daemons("qmgr")[0], signal.SIGKILL)
    child.wait(70)
    v.check(re.search(r"m\d+\.(json: whether it was taken is not known|eml: not imported)", child.said()), child.said())
    v.check(len(done(folder)) < 40)
    v.wait(lambda: veredus.daemons("qmgr"), 15, "another qmgr")
    v.wait(lambda: done(folder) <= set(queued(veredus)), 15, lambda: f"missing: {done(folder) - set(queued(veredus))}")
    v.wait(lambda: len(bodies(veredus)) == len(veredus.listed()), 20, lambda: f"{len(bodies(veredus))} bodies, {len(veredus.listed())} messages")
    v.wait(lambda: "refused" in run(veredus, "queue", "import", folder)[0], 20, "the rest")
    v.equal(len(done(folder)), 40)
    v.check(set(queued(veredus)) == done(folder) and len(queued(veredus)) <= 41, queued(veredus))
    v.check("fine" in veredus.command("queue", "check"))


def test_imported_state_outlives_the_cleaner(t):
    """Its segment is cleaned while it waits: the state that came in its own record moves on with it, replies included."""
    veredus, sink, _ = v.world(t, later("busy"), SLOWLY + "segments { size = 1M }\n", sink_dump=False)
    folder = os.path.join(veredus.folder, "in")
    os.mkdir(folder, 0o777)
    os.chmod(folder, 0o777)
    rows = [{"address": "h@sink.example", "state": "held", "attempts": 7, "code": 451, "dsn": "4.7.1", "reply": "held by ann", "last_attempt_us": 1795299900000000},
            {"address": "d@sink.example", "state": "deferred", "attempts": 2, "code": 450, "dsn": "4.2.2", "reply": "mailbox full",
             "last_attempt_us": 1795299900000000, "next_attempt_us": int((time.time() + 3600) * 1000000), "noticed": True}]
    for i in range(5):
        v.write(os.path.join(folder, f"m{i}.json"), json.dumps(dict(ENVELOPE, recipients=rows)))
        v.write(os.path.join(folder, f"m{i}.eml"), v.mail(f"kept {i}"))
    new = list(moved(veredus, folder).values())
    before = {i: shown(veredus, i) for i in new}
    v.equal([(r["reply"], r["attempts"], r["noticed"]) for r in before[new[0]]["recipients"]], [("held by ann", 7, False), ("mailbox full", 2, True)])
    segment = re.search(r"segment (\w+)", veredus.command("queue", "show", new[0]))[1]

    def stir():
        smtp = v.Smtp(veredus.port)
        for _ in range(40):
            smtp.send("b@client.example", "fine@sink.example", v.mail("stirring", LARGE[:800 * LINE]))
        smtp.close()
        return segment not in veredus.command("queue", "show", new[0])

    v.wait(stir, 60, "the cleaner")
    for _ in range(2):
        for i in new:
            v.equal(shown(veredus, i), before[i], "after cleaning")
        v.check("fine" in veredus.command("queue", "check"))
        v.equal(veredus.stop(), 0)
        veredus.start()
    v.wait(lambda: len(veredus.listed("state=held")) == 5, 10, lambda: str(veredus.listed()))


def test_no_room(t):
    """What is full says so, and takes the rest later."""
    veredus, _, _ = world(t, "busy", config=SLOWLY + "queue-limit = 20\n")
    folder = many(veredus, 30, LARGE[:3000 * LINE])
    said, errors = run(veredus, "queue", "import", folder, status=1)
    v.check("imported: 20 messages, 10 refused" in said, said)
    v.check(errors.count("queue-limit is reached") == 10, errors)
    v.wait(lambda: len(bodies(veredus)) == 20, 10, lambda: str(bodies(veredus)))
    empty(veredus)
    # Gone from the disk; qmgr forgets, and counts, a moment later.
    v.wait(lambda: veredus.log_text().count(": removed") == 20, 10, "qmgr to forget them")
    v.check("imported: 10 messages, 0 refused" in run(veredus, "queue", "import", folder)[0])


def test_two_imports_of_one_folder(t):
    veredus, _, _ = world(t, "busy")
    folder = many(veredus, 40, LARGE[:15000 * LINE])
    (qmgr,) = veredus.daemons("qmgr")
    os.kill(qmgr, signal.SIGSTOP)  # the first one waits for it, however long the second is on its way
    try:
        child = importing(t, veredus, folder)
        v.wait(lambda: re.search(rb"FLOCK .* %d " % child.pid, v.read("/proc/locks")), 20, "the first one's start")
        v.check("another import of this folder runs" in run(veredus, "queue", "import", folder, status=66)[1])
    finally:
        os.kill(qmgr, signal.SIGCONT)
    v.equal(child.wait(60), 0)
    v.equal(len(queued(veredus)), 40)


def test_import_beside_busy_intake(t):
    """It waits for room instead of failing, and engines are not held up by it."""
    veredus, sink, _ = v.world(t, later("busy"), SLOWLY, sink_dump=False)
    folder = many(veredus, 150, LARGE[:4500 * LINE])
    stop = threading.Event()
    sent = []

    def send():
        smtp = v.Smtp(veredus.port)
        while not stop.is_set():
            sent.append(smtp.send("b@client.example", "fine@sink.example", v.mail("beside", LARGE[:800 * LINE])))
        smtp.close()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    said = run(veredus, "queue", "import", folder)[0]
    stop.set()
    for thread in threads:
        thread.join()
    v.check("imported: 150 messages, 0 refused" in said, said[-200:])
    v.check(len(sent) > 20, "beside it only", len(sent))
    v.wait(lambda: len(veredus.listed()) == 150, 30, lambda: str(len(veredus.listed())))


v.main(globals())
