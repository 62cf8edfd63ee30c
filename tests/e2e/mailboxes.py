# SPDX-License-Identifier: ISC
"""Virtual mailboxes: a table, and one user who owns them all."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import glob
import pwd

import users
import veredus as v

def need_root():
    if not v.IS_ROOT:
        raise v.Skip("needs root")


def table(path, content):
    """Written in one go, and long ago: a table is believed when it is not fresh."""
    v.write(path + ".new", content)
    os.utime(path + ".new", (1e9, 1e9))
    os.replace(path + ".new", path)
    return path


def boxes(t):
    return users.own(os.path.join(users.machine(), "home", "vmail", "boxes"), "vmail", mode=0o700)


def letters(path, count):
    v.wait(lambda: len(glob.glob(path + "/new/*")) >= count, 20, f"{count} in {path}")
    v.equal(len(glob.glob(path + "/new/*")), count, path)
    return [v.read(name) for name in sorted(glob.glob(path + "/new/*"))]


def refused(smtp, code, address):
    smtp.expect(250, "MAIL FROM:<sender@client.example>")
    reply = smtp.expect(int(code[:3]), f"RCPT TO:<{address}>")
    v.check(reply.startswith(code), reply)
    smtp.expect(250, "RSET")


def test_virtual(t):
    """One user owns all; who has no line is refused, unless a line is for all; paths stay below root; a table that is
    broken or away keeps its mail waiting."""
    need_root()
    root, path = boxes(t), users.machine() + "/mailboxes"
    table(path, "ann@box.example box/ann/\nbob  box/bob\n@all.example all/\nout@box.example ../../out/\nup@box.example link/up/\n")
    os.symlink(users.machine(), root + "/link")
    block = f"{{ mailboxes = {path}  root = {root}  user = vmail }}\n"
    veredus = t.veredus("hostname = relay.example\nroute box.example { to = local }\nroute all.example { to = local }\nretry { first = 1s  longest = 2s }\n"
                        f"virtual box.example {block}virtual all.example {block}")
    veredus.demote = {}
    os.chown(veredus.folder, 0, 0)
    veredus.start()
    smtp = v.Smtp(veredus.port)
    refused(smtp, "550 5.1.1 ", "nobody-such@box.example")
    refused(smtp, "451 4.3.0 ", "out@box.example")
    sent = v.mail("virtual", b"From the start\r\n\x80\xff\r\n")
    smtp.send("sender@client.example", ["Ann+tag@box.example", "bob@box.example", "\"../../x\"@all.example", "postmaster@all.example"], sent)
    late = smtp.send("sender@client.example", "up@box.example", v.mail("link"))
    content = letters(root + "/box/ann", 1)[0]
    v.check(content.endswith(sent.replace(b"\r\n", b"\n")) and b"\nDelivered-To: Ann+tag@box.example\n" in content, content)
    v.equal(len(letters(root + "/all", 2)), 2)
    v.wait(lambda: os.path.exists(root + "/box/bob") and v.read(root + "/box/bob").endswith(b"\n\n"), 10, "bob's mbox")
    vmail = pwd.getpwnam("vmail")
    for where in glob.glob(root + "/box/**", recursive=True) + glob.glob(root + "/all/new/*"):
        v.equal((os.stat(where).st_uid, os.stat(where).st_gid, os.stat(where).st_mode & 0o077), (vmail.pw_uid, vmail.pw_gid, 0), where)
    # What vmail can't write stays closed, whatever its own folders say.
    veredus.wait_log(late + ".*to=<up@box.example>.*status=deferred .*Permission denied")
    veredus.command("queue", "delete", late)
    os.rename(path, path + ".away")
    refused(smtp, "451 4.3.0 ", "nobody-such@box.example")
    os.rename(path + ".away", path)
    refused(smtp, "550 5.1.1 ", "nobody-such@box.example")
    # The root is never made: where its file system is away, the mail waits.
    os.rename(root, root + ".away")
    waits = smtp.send("sender@client.example", "ann@box.example", v.mail("waits"))
    veredus.wait_log(waits + ".*status=deferred .*No such file")
    v.check(not os.path.exists(root), "made")
    os.rename(root + ".away", root)
    smtp.close()
    letters(root + "/box/ann", 2)
    veredus.wait_empty()
    v.equal(veredus.stop(), 0, "exit status")


if v.IS_ROOT:
    users.enter(["vmail"])
v.main(globals())
