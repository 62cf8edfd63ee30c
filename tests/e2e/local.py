# SPDX-License-Identifier: ISC
"""Mail into the mailboxes of this machine's users, by Veredus as it is started by root, on a machine with users of its
own; and started by an ordinary user, for that user alone."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import glob
import mailbox
import pwd
import re
import socket
import subprocess
import time

import users
import veredus as v

BODY = b"Hello\r\nFrom the start\r\n>From there\r\n.\r\n..\r\n\x80\xff bytes\r\n\r\nend\r\n"


def start(t, config="", **more):
    """As root, with ann, bob and carol."""
    veredus = t.veredus("hostname = relay.example\nroute here.example { to = local }\n" + config, **more)
    veredus.demote = {}
    os.chown(veredus.folder, 0, 0)
    return veredus.start()


def in_mailbox(sent, address, sender="sender@client.example", original=None):
    """What SENT is in a mailbox: its header lines, and the content behind those that were added."""
    head = f"Return-Path: <{sender}>\n"
    if original:
        head += f"X-Original-To: {original}\n"
    return (head + f"Delivered-To: {address}\n").encode(), sent.replace(b"\r\n", b"\n")


def is_delivered(found, sent, address, **more):
    head, content = in_mailbox(sent, address, **more)
    v.check(found.startswith(head), "its head:", found[:400])
    v.check(found.endswith(content), "changed on its way:", found[-600:])
    added = found[len(head):-len(content)]
    v.check(re.fullmatch(rb"Received: [^\n]*\n(?:[ \t][^\n]*\n)*", added), "added", added)


def maildir(path, count, seconds=20):
    """The COUNT files of its new/, by their names."""
    v.wait(lambda: len(glob.glob(path + "/new/*")) >= count, seconds, lambda: f"{count} in {path}: {os.listdir(os.path.dirname(path))}")
    found = sorted(glob.glob(path + "/new/*"))
    v.equal(len(found), count, path)
    # A letter is linked into new/ before its name in tmp/ goes.
    v.wait(lambda: not os.listdir(path + "/tmp"), 5, lambda: f"an empty tmp: {os.listdir(path + '/tmp')}")
    return found


def need_root():
    if not v.IS_ROOT:
        raise v.Skip("needs root")


def test_maildir(t):
    """Octet for octet, small and large, once for each recipient; its files are the recipient's own."""
    need_root()
    veredus = start(t, "local { mailbox = ~/Maildir/ }\nsource a { ipv4 = 127.0.0.1 }\nsender * { source = a }\n")
    small, large = v.mail("small", BODY, "Return-Path: <forged@x.example>\r\nContent-Length: 5\r\n"), v.mail("large", b"0123456789abcdef\r\n" * 20000)
    smtp = v.Smtp(veredus.port)
    ids = [smtp.send("sender@client.example", ["ann@here.example", "BOB+tag@here.example"], small),
           smtp.send("", "ann@here.example", large)]
    smtp.expect(250, "MAIL FROM:<sender@client.example>")
    reply = smtp.expect(550, "RCPT TO:<nobody-of-that-name@here.example>")
    v.check(reply.startswith("550 5.1.1 "), reply)
    smtp.expect(550, "RCPT TO:<\"../ann\"@here.example>")
    smtp.expect(250, "RCPT TO:<carol@here.example>")
    smtp.close()
    expected = re.sub(rb"(?:Return-Path|Content-Length):[^\n]*\n", b"", small)
    found = maildir(users.home("ann") + "/Maildir", 2)
    contents = sorted(map(v.read, found), key=len)
    is_delivered(contents[0], expected, "ann@here.example")
    is_delivered(contents[1], large, "ann@here.example", sender="")
    bob = maildir(users.home("bob") + "/Maildir", 1)
    is_delivered(v.read(bob[0]), expected, "BOB+tag@here.example")
    for path in found:
        st = os.stat(path)
        v.equal((st.st_uid, st.st_gid, st.st_mode & 0o777), (pwd.getpwnam("ann").pw_uid,) * 2 + (0o600,), path)
        v.check(path.endswith(f",S={st.st_size}"), path)
    veredus.wait_empty()
    veredus.wait_log(ids[0] + r": to=<ann@here.example>, relay=local, delay=[0-9.]+, delays=[0-9./]+, dsn=2.0.0, status=sent \(delivered to maildir\)")
    v.equal(veredus.stop(), 0, "exit status")


def test_mbox(t):
    """/var/mail/%u: appended with From_ lines, quoted, readable by others' readers; made with the folder's group."""
    need_root()
    veredus = start(t)
    path = users.machine() + "/mail/carol"
    sent = [v.mail(f"mail {i}", BODY) for i in range(4)]
    v.write(path, b"From old Sat Nov 21 22:05:00 2026\nSubject: cut")  # a letter that was cut off
    os.chown(path, pwd.getpwnam("carol").pw_uid, 8)
    os.chmod(path, 0o600)
    gone = subprocess.Popen(["true"])
    gone.wait()
    users.own(path + ".lock", "carol", f"{gone.pid} {socket.gethostname()}\n")  # of a delivery that was killed
    smtp = v.Smtp(veredus.port)
    for content in sent:
        smtp.send("sender@client.example", ["carol@here.example", "ann@here.example"], content)
    smtp.close()
    veredus.wait_empty()
    found = mailbox.mbox(path)
    v.equal(len(found), 5, v.read(path))
    subjects = sorted(m["Subject"] for m in found)
    v.equal(subjects, ["cut", "mail 0", "mail 1", "mail 2", "mail 3"])
    for letter in list(found)[1:]:
        body = letter.get_payload(decode=False)
        v.check("\n>From the start\n>>From there\n.\n..\n" in "\n" + body, body)
        v.equal(letter["Delivered-To"], "carol@here.example")
    raw = v.read(path)
    for i in range(4):
        v.check(sent[i].split(b"\r\n\r\n", 1)[0].replace(b"\r\n", b"\n") in raw, "its header", i)
    st = os.stat(users.machine() + "/mail/ann")
    v.equal((st.st_uid, st.st_mode & 0o777), (pwd.getpwnam("ann").pw_uid, 0o600), "made for ann")
    v.equal(glob.glob(users.machine() + "/mail/*.lock"), [], "locks")
    v.check("is locked" not in veredus.log_text(), "a lock of nobody was waited for")
    v.equal(veredus.stop(), 0, "exit status")


def aliases(text):
    """/etc/aliases, written in one go, and long ago: so it is believed at once."""
    with open("/etc/aliases", "w") as f:
        f.write(text)
    os.utime("/etc/aliases", (1e9, 1e9))


def delivered_to(path, count):
    """The Delivered-To and X-Original-To of each letter in the Maildir, sorted."""
    found = []
    for name in maildir(path, count):
        head = v.read(name).split(b"\n\n", 1)[0].decode(errors="replace").split("\n")
        found.append(tuple(next((line.split(": ", 1)[1] for line in head if line.startswith(word + ": ")), None)
                           for word in ("Delivered-To", "X-Original-To")))
    return sorted(found)


def test_aliases(t):
    """Lists, nested, circular and doubled; each mailbox gets one copy, each outcome one record."""
    need_root()
    v.write(users.machine() + "/members", "# a list\ncarol, bob@here.example\n\"Ann Example\" <ann@here.example>\nout@sink.example\n")
    aliases("""# comment
postmaster: root
root: ann
Team: ann, BOB,
    carol, "team-file"
team-file: :include:%s/members
ann: ann, bob
loop-a: loop-b
loop-b: loop-a
broken: "ann
file: "/var/mail/filed"
""" % users.machine())
    veredus, sink, client = v.world(t, start=False, config="hostname = relay.example\nroute here.example { to = local }\nlocal { mailbox = ~/Aliased/ }\n")
    veredus.demote = {}
    os.chown(veredus.folder, 0, 0)
    veredus.start()
    smtp = v.Smtp(veredus.port)
    sent = v.mail("to the team", BODY)
    smtp.send("sender@client.example", ["team@here.example", "ann@here.example"], sent)
    smtp.send("sender@client.example", "postmaster@here.example", v.mail("to postmaster", BODY))
    smtp.send("sender@client.example", "loop-a@here.example", v.mail("round and round", BODY))
    smtp.send("sender@client.example", "file@here.example", v.mail("to a file", BODY))
    smtp.expect(250, "MAIL FROM:<>")
    smtp.expect(451, "RCPT TO:<broken@here.example>")
    smtp.expect(550, "RCPT TO:<nobody-such@here.example>")
    smtp.close()
    home = users.home
    v.equal(delivered_to(home("carol") + "/Aliased", 1), [("carol@here.example", "team@here.example")])
    v.equal(delivered_to(home("ann") + "/Aliased", 2),
            [("ann@here.example", "postmaster@here.example"), ("ann@here.example", "team@here.example")])
    # Once for the team, whose list and member name him again, and once as ann's second mailbox.
    v.equal(sorted(to.lower() for to, _ in delivered_to(home("bob") + "/Aliased", 2)), ["bob@here.example"] * 2)
    envelope, content = sink.wait_mails(1)[0]
    v.check(len(envelope["rcpt"]) == 1 and "out@sink.example" in str(envelope["rcpt"]), envelope)
    v.relayed_whole(content, sent)
    report = client.wait_mails(1)[0][1].decode(errors="replace")
    v.check("loop-a@here.example" in report and "5.1.1" in report, report)
    v.wait(lambda: os.path.exists("/var/mail/filed"), 10, "the file")
    v.equal(pwd.getpwuid(os.stat("/var/mail/filed").st_uid).pw_name, "nobody")
    veredus.wait_empty()
    # Broken while its mail waits: nobody is called unknown, and the mail is there when it is mended.
    aliases("broken: |exit-75\n")
    smtp = v.Smtp(veredus.port)
    waits = smtp.send("sender@client.example", "broken@here.example", v.mail("waits", BODY))
    smtp.close()
    veredus.wait_log(waits + ".*status=deferred")
    aliases("broken: \"bob\n")
    veredus.command("queue", "flush")
    veredus.wait_log(waits + ".*dsn=4.3.5, status=deferred .*aliases of broken@here.example")
    aliases("broken: bob\n")
    veredus.command("queue", "flush")
    veredus.wait_empty()
    v.equal(len(maildir(home("bob") + "/Aliased", 3)), 3)
    v.equal(veredus.stop(), 0, "exit status")


def postalias(t, table):
    """Postfix's own tool."""
    base, folder = v.peer("postfix", "usr/sbin/postalias"), t.folder + "/postfix"
    if not os.path.exists(folder):
        os.mkdir(folder)
        v.write(folder + "/main.cf", "compatibility_level = 3.6\nmail_owner = daemon\nsetgid_group = bin\ndefault_privs = nobody\n")
    environment = dict(v.peer_environment("postfix"), MAIL_CONFIG=folder)
    environment["LD_LIBRARY_PATH"] += ":" + os.path.join(os.path.dirname(base), "../lib/postfix")
    done = subprocess.run([base, table], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30 * v.PATIENCE)
    v.equal((done.returncode, done.stdout), (0, b""), table)


def test_files_of_postalias(t):
    """Aliases of Berkeley DB as Postfix's postalias makes them, and newaliases; one that is damaged keeps mail waiting."""
    need_root()
    text = v.write(t.folder + "/aliases", "Team: ann,\n# not bob\n  \"|cat > %s/by-team\", \\bob\nowner-team: root\n\"odd name\": carol\n" % t.folder)
    os.chmod(t.folder, 0o777)
    for kind in "btree", "hash":
        postalias(t, f"{kind}:{text}")
    os.utime(text + ".db", (1e9, 1e9))
    veredus = start(t, f"local {{ mailbox = ~/Postalias/ aliases = hash:{text} }}\nretry {{ first = 1s longest = 2s }}\n")
    smtp = v.Smtp(veredus.port)
    smtp.send("sender@client.example", ["tEAM+x@here.example", '"odd name"@here.example'], v.mail("by postalias", BODY))
    for name in "ann", "bob":
        v.equal(heads(users.home(name) + "/Postalias", 1), [("owner-team@here.example", "by postalias")])
    v.equal(heads(users.home("carol") + "/Postalias", 1), [("sender@client.example", "by postalias")])
    v.wait(lambda: os.path.exists(t.folder + "/by-team"), 10, "the command")
    v.write(text, "later: carol\nteam: ann\n# c\n  , carol\n")
    said = veredus.command("newaliases")
    v.check(f"{text}.db: 2 keys" in said, said)
    os.utime(text + ".db", (1e9, 1e9))
    smtp.send("", ["later@here.example", "team@here.example"], v.mail("by newaliases", BODY))
    v.equal(heads(users.home("carol") + "/Postalias", 2)[0], ("", "by newaliases"))
    content = v.read(text + ".db")
    smtp.expect(250, "MAIL FROM:<>")

    def asked_at_once():
        """The reply while the mended file was written just now, which it is for a second."""
        v.write(text + ".db", content[:4096] + b"\xff" * 4096)
        os.utime(text + ".db", (1e9, 1e9))
        smtp.expect(451, "RCPT TO:<team@here.example>")
        smtp.expect(451, "RCPT TO:<nobody-such@here.example>")
        began = time.monotonic()
        v.write(text + ".db", content)
        reply = smtp.say("RCPT TO:<nobody-such@here.example>")
        return time.monotonic() - began < 0.9 and reply[:3]
    v.equal(v.wait(asked_at_once, 5, "an answer within a second"), "451")
    os.utime(text + ".db", (1e9, 1e9))
    smtp.expect(250, "RCPT TO:<team@here.example>")
    smtp.close()
    v.equal(veredus.stop(), 0, "exit status")


def heads(path, count):
    """Return-Path and Subject of each letter in the Maildir, sorted."""
    found = []
    for name in maildir(path, count):
        head = v.read(name).split(b"\n\n", 1)[0].decode(errors="replace")
        found.append((re.search(r"^Return-Path: <(.*)>$", head, re.M)[1], re.search(r"^Subject: (.*)$", head, re.M)[1]))
    return sorted(found)


def test_owners(t):
    """A list's members get its mail from its owner, who hears what can't be delivered; nobody else does."""
    need_root()
    aliases("""postmaster: bob
list: ann, no-such-member, out@sink.example, inner, "|cat > %s/archive"
owner-list: carol
inner: far@sink.example, deep@sink.example
owner-inner: carol
lost: no-such-member
owner-lost: no-such-owner
circle: list, :include:%s/circle
owner-circle: circle
""" % (t.folder, t.folder))
    os.chmod(t.folder, 0o777)
    v.write(t.folder + "/circle", "circle@here.example\n")
    veredus, sink, client = v.world(t, start=False, config="hostname = relay.example\npostmaster = bob@here.example\nroute here.example { to = local }\nlocal { mailbox = ~/Owned/ separators = +- }\n")
    veredus.demote = {}
    os.chown(veredus.folder, 0, 0)
    veredus.start()
    smtp = v.Smtp(veredus.port)
    first = smtp.send("sender@client.example", ["list+x@here.example", "direct@sink.example", "bob@here.example"], v.mail("to all", BODY), " RET=FULL ENVID=mine")
    home = users.home
    # One content, a transaction for each sender: the message's, the list's, and the list's in the list.
    sent = {e["mail"].split(">")[0] + ">": sorted(re.search("<(.*?)>", r)[1] for r in e["rcpt"]) for e, _ in sink.wait_mails(3)}
    v.equal({k.split("<")[1]: r for k, r in sent.items()},
            {"sender@client.example>": ["direct@sink.example"], "owner-list@here.example>": ["out@sink.example"],
             "owner-inner@here.example>": ["deep@sink.example", "far@sink.example"]})
    v.check(all("ENVID" not in e["mail"] for e, _ in sink.mails() if "owner-" in e["mail"]), sink.mails())
    v.equal(heads(home("ann") + "/Owned", 1), [("owner-list@here.example", "to all")])
    v.equal(heads(home("bob") + "/Owned", 1), [("sender@client.example", "to all")])
    v.wait(lambda: os.path.exists(t.folder + "/archive") and b"Return-Path: <owner-list@here.example>" in v.read(t.folder + "/archive"), 10, "the archive")
    report = v.read(maildir(home("carol") + "/Owned", 1)[0]).decode(errors="replace")
    v.check("no-such-member@here.example" in report and report.startswith("Return-Path: <>\nX-Original-To: owner-list@here.example\n"), report)
    v.check("mine" not in report, report)
    veredus.wait_log(first + ": to=<list\\+x@here.example>.*status=expanded .alias expanded to 6, from owner-list@here.example")
    # What the owner can't have is the postmaster's; a notification to a list stays one.
    smtp.send("sender@client.example", "lost@here.example", v.mail("lost", BODY))
    v.equal(heads(home("bob") + "/Owned", 2)[0][0], "", "to the postmaster")
    smtp.send("", "inner@here.example", v.mail("of a machine", BODY))
    v.check(any(e["mail"].startswith("<>") and len(e["rcpt"]) == 2 for e, _ in sink.wait_mails(4)), sink.mails())
    # Who asked hears that the list has it, and of nobody behind it.
    smtp.send("asks@client.example", "inner@here.example", v.mail("asks", BODY), rcpt_words=" NOTIFY=SUCCESS ORCPT=rfc822;x@y.example")
    envelope, report = client.wait_mails(1)[0]
    v.check(b"Action: delivered" in report and b"inner@here.example" in report and b"far@" not in report, report)
    v.check(not any("NOTIFY" in r or "ORCPT" in r for e, _ in sink.wait_mails(5) if "owner-" in e["mail"] for r in e["rcpt"]), sink.mails())
    smtp.send("sender@client.example", "circle@here.example", v.mail("round", BODY))
    veredus.wait_log("to=<circle@here.example>.*status=expanded")
    veredus.wait_empty()
    v.equal(len(client.mails()), 1, client.mails())
    smtp.close()
    v.equal(veredus.stop(), 0, "exit status")


def test_forward(t):
    """Files, commands and addresses of a .forward, as the user; what others may write does not count."""
    need_root()
    home = users.home
    aliases("pipe: \"|cat > %s/as-nobody; id -un >> %s/as-nobody\"\nodd: \"|echo no such person; exit 67\"\nlater: |false-program\n" % ((t.folder,) * 2))
    os.chmod(t.folder, 0o777)
    users.own(home("ann") + "/.forward", "ann", "\\ann, bob@here.example\n\"|cat >> command; env | sort >> command; id -un >> command\"\n%s/file\n" % home("ann"))
    users.own(home("carol") + "/.forward", "carol", "bob\n", 0o666)
    veredus = start(t, "local { mailbox = ~/Forwarded/ }\n")
    smtp = v.Smtp(veredus.port)
    smtp.send("\"$(touch pwned);`id`\"@client.example", "ann+tag@here.example", v.mail("forwarded", BODY))
    smtp.send("sender@client.example", "carol@here.example", v.mail("unsafe", BODY))
    smtp.send("sender@client.example", "pipe@here.example", v.mail("piped", BODY))
    smtp.send("", "odd@here.example", v.mail("refused", BODY))
    later = smtp.send("sender@client.example", "later@here.example", v.mail("later", BODY))
    smtp.close()
    v.equal(delivered_to(home("ann") + "/Forwarded", 1), [("ann+tag@here.example", None)])
    v.equal(delivered_to(home("bob") + "/Forwarded", 1), [("bob@here.example", "ann+tag@here.example")])
    v.equal(delivered_to(home("carol") + "/Forwarded", 1), [("carol@here.example", None)])
    said = v.wait(lambda: os.path.exists(home("ann") + "/command") and v.read(home("ann") + "/command").endswith(b"ann\n") and v.read(home("ann") + "/command"), 20, "the command").decode(errors="replace")
    v.check(said.startswith("From "), said[:200])
    v.check("\nRECIPIENT=ann+tag@here.example\n" in said and "\nHOME=" + home("ann") in said, said[-800:])
    v.check("\nSENDER=__touch_pwned_____id__@client.example\n" in said.replace('"', "_") or "\nSENDER=" in said, said[-800:])
    v.check("$(" not in said.split("\nSENDER=")[1].split("\n")[0], "the sender in the environment")
    v.check(not os.path.exists(home("ann") + "/pwned"))
    v.wait(lambda: os.path.exists(home("ann") + "/file") and [m["Subject"] for m in mailbox.mbox(home("ann") + "/file")] == ["forwarded"], 10, "the file")
    nobody = v.wait(lambda: os.path.exists(t.folder + "/as-nobody") and v.read(t.folder + "/as-nobody").endswith(b"nobody\n"), 10, "the alias's command")
    veredus.wait_log("to=<carol@here.example>.*status=sent .*forward does not count: others than its owner may write it")
    veredus.wait_log("to=<odd@here.example>.*dsn=5.1.1, status=bounced .*ended with 67 .user unknown.: no such person")
    veredus.wait_log("to=<later@here.example>.*dsn=4.3.5, status=deferred .*ended with 127")
    v.check(later in [m["queue_id"] for m in veredus.listed()], veredus.listed())
    v.equal(veredus.stop(), 0, "exit status")


def test_quota(t):
    """Deliveries at once never put more into a mailbox than there is room for; each has his own quota; a folder that is
    there is chosen by a tag."""
    need_root()
    aliases("")
    quotas = v.write(t.folder + "/quotas", "ann quota-messages=7\nbob quota=6K\n")
    home = users.home
    users.own(home("ann") + "/.forward", "ann", "\\ann\n")
    for folder in "", "/.lists", "/.Trash", "/.lists/new", "/.lists/cur", "/.lists/tmp":
        users.own(home("ann") + "/Held" + folder, "ann", mode=0o700)
    users.own(home("carol") + "/Held", "carol", mode=0o700)
    users.own(home("carol") + "/Held/maildirsize", "carol", "1C\n0 0\n")
    os.symlink("/tmp", home("ann") + "/Held/.out")
    veredus = start(t, f"local {{ mailbox = ~/Held/ quotas = {quotas} folders = yes }}\n")
    smtp = [v.Smtp(veredus.port) for _ in range(5)]
    ids = [s.send("", ["ann@here.example", "bob@here.example"], v.mail(f"{i}", (b"x" * 98 + b"\r\n") * 10)) for i in range(2) for s in smtp]
    for address in "ann+lists", "ann+out", "ann+Trash", '"ann+../../x"', "carol", "carol":
        ids.append(smtp[0].send("", address + "@here.example", v.mail("a tag")))
    v.wait(lambda: all(i in veredus.log_text() and f"{i}: removed" in veredus.log_text() or f"{i}: to=<" in veredus.log_text() for i in ids), 20, "the deliveries")
    veredus.wait_log(r"to=<carol@here.example>.*dsn=5.2.2, status=bounced .the mailbox is full")
    v.wait(lambda: len(re.findall(r"to=<\"?(?:ann|bob|carol)[^>]*>, relay=local.*status=(?:sent|bounced)", veredus.log_text())) == 26, 20, "all")
    found = [len(glob.glob(home("ann") + "/Held" + f + "/new/*")) for f in ("", "/.lists", "/.Trash")]
    v.check(sum(found) == 7 and found[1] <= 1 and found[2] == 0, found)
    size = sum(os.path.getsize(p) for p in glob.glob(home("bob") + "/Held/new/*"))
    v.check(4500 < size <= 6144, "bob's", size)
    v.equal(v.read(home("bob") + "/Held/maildirsize").split(b"\n")[0], b"6144S")
    v.equal(len(glob.glob(home("carol") + "/Held/new/*")), 1, "carol's own quota")
    # Away with one: there is room again, and now it is counted.
    os.remove(glob.glob(home("ann") + "/Held/new/*")[0])
    v.write(quotas, "ann quota-messages=7 quota=1M\n")
    smtp[0].send("", "ann+lists@here.example", v.mail("again"))
    v.wait(lambda: sum(len(glob.glob(home("ann") + "/Held" + f + "/new/*")) for f in ("", "/.lists")) == 7, 10, "ann's seventh")
    v.write(quotas, "ann much\n")
    waits = smtp[0].send("", "ann@here.example", v.mail("waits"))
    veredus.wait_log(waits + ": .*dsn=4.3.5, status=deferred .the table of quotas")
    for s in smtp:
        s.close()
    v.equal(veredus.stop(), 0, "exit status")


def test_walls(t):
    """local has the two capabilities and no root; a child has none, and no descriptor but its own. Who leaves the
    machine is unknown at once, although users are remembered."""
    need_root()
    veredus = start(t, "local { mailbox = ~/Maildir/ }\n")
    pid = veredus.daemons("local")[0]
    fields = dict(line.split(":\t", 1) for line in v.read(f"/proc/{pid}/status").decode().splitlines() if ":\t" in line)
    v.equal(set(fields["Uid"].split()), {str(pwd.getpwnam("veredus-local").pw_uid)}, "uid")
    v.equal(set(fields["Gid"].split()), {str(pwd.getpwnam("veredus-local").pw_gid)}, "gid")
    v.equal((fields["CapPrm"], fields["CapEff"]), ("00000000000000c0",) * 2, "setgid and setuid")
    v.equal([int(fields[k], 16) for k in ("CapInh", "CapBnd", "CapAmb")], [0, 0, 0])
    v.equal((fields["Seccomp"], fields["NoNewPrivs"]), ("2", "1"))
    smtp, all_users = v.Smtp(veredus.port), v.read("/etc/passwd").decode()
    smtp.expect(250, "MAIL FROM:<sender@client.example>")
    smtp.expect(250, "RCPT TO:<carol@here.example>")
    for content, code in ((all_users.replace("\ncarol:", "\ncarola:"), 550), (all_users, 250)):
        with open("/etc/passwd", "r+", encoding="ascii") as f:  # in place: it is a mount
            f.write(content)
            f.truncate()
        smtp.expect(code, "RCPT TO:<carol@here.example>")
    smtp.close()
    v.equal(veredus.stop(), 0, "exit status")


def test_stop(t):
    """What waits for a child when local ends goes back to the queue as if it had never left it, and is done later; each
    once. Several letters of one user go together."""
    need_root()
    log = users.own(users.home("bob") + "/calls", "bob", b"")
    users.own(users.home("bob") + "/.forward", "bob", f"\"|test -s {log} && sleep 1; echo x >>{log}\"\n")
    veredus = start(t, "local { mailbox = ~/Maildir/  deliveries = 1 }\n")
    smtp = v.Smtp(veredus.port)
    for number in range(6):
        smtp.send("sender@client.example", "bob@here.example", v.mail(f"slow-{number}"))
    v.wait(lambda: v.read(log), 10, "the first")
    ids = [smtp.send("sender@client.example", "carol@here.example", v.mail(f"carol-{number}")) for number in range(20)]
    smtp.close()
    begun = time.monotonic()
    v.equal(veredus.stop(), 0, "exit status")
    v.check(time.monotonic() - begun < 3 * v.WAITS, "it waited for what it need not do")
    v.check(len(v.read(log)) < 12, "all was done before the end")
    users.own(users.home("bob") + "/.forward", "bob", f"|echo x >>{log}\n")
    veredus.start()
    maildir(users.home("carol") + "/Maildir", len(ids))
    veredus.wait_empty()
    v.equal(v.read(log), b"x\n" * 6)
    os.unlink(users.home("bob") + "/.forward")
    v.equal(veredus.stop(), 0, "exit status")


def test_ordinary_user(t):
    """Started by an ordinary user: that user's mail, nobody else's."""
    user = pwd.getpwuid(v.NOBODY if v.IS_ROOT else os.geteuid()).pw_name
    folder = users.own(t.folder + "/boxes", user) if v.IS_ROOT else t.folder
    veredus = t.veredus(f"route here.example {{ to = local }}\nlocal {{ mailbox = {folder}/%u-%d/ }}\n").start()
    sent = v.mail("mine", BODY)
    smtp = v.Smtp(veredus.port)
    smtp.send("sender@client.example", f"{user}@here.example", sent)
    smtp.expect(250, "MAIL FROM:<sender@client.example>")
    smtp.expect(550, "RCPT TO:<games@here.example>")
    smtp.expect(550, "RCPT TO:<root@here.example>")
    smtp.close()
    is_delivered(v.read(maildir(f"{folder}/{user}-here.example", 1)[0]), sent, f"{user}@here.example")
    veredus.wait_empty()
    v.equal(veredus.stop(), 0, "exit status")


if v.IS_ROOT:
    users.enter(["ann", "bob", "carol"], ["/etc/aliases"])
v.main(globals())
