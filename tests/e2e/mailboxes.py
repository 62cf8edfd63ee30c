# SPDX-License-Identifier: ISC
"""Virtual mailboxes, and the whole way of a mail: sent with a password over STARTTLS, delivered to a Maildir and over
LMTP, read back over IMAP and POP3 from a real Dovecot."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import glob
import imaplib
import poplib
import pwd
import random
import re
import signal
import smtplib
import ssl
import time

import dovecot
import pki
import users
import veredus as v

SECRET = "pass word#1"


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


def refused_with(smtp, address):
    """The code, if it is refused."""
    smtp.expect(250, "MAIL FROM:<sender@client.example>")
    reply = smtp.say(f"RCPT TO:<{address}>")
    smtp.expect(250, "RSET")
    return reply[:3]


def test_virtual(t):
    """One user owns all; who has no line is refused, unless a line is for all; paths stay below root; a table that is
    broken or away keeps its mail waiting."""
    need_root()
    root, path = boxes(t), users.machine() + "/mailboxes"
    table(path, "ann@box.example box/ann/\nbob  box/bob\nout@box.example ../../out/\nup@box.example link/up/\n")
    os.symlink(users.machine(), root + "/link")
    everybody = v.write(users.machine() + "/everybody", "@all.example all/ quota=1M\n")
    block = f"{{ mailboxes = {path}  root = {root}  user = vmail }}\n"
    veredus = t.veredus("hostname = relay.example\nroute box.example { to = local }\nroute all.example { to = local }\nroute here.example { to = local }\nretry { first = 1s  longest = 2s }\n"
                        f"virtual box.example {block}virtual all.example {block.replace(path, 'hash:' + everybody)}")
    veredus.demote = {}
    os.chown(veredus.folder, 0, 0)
    veredus.command("table", "make", "hash:" + everybody)
    os.utime(everybody + ".db", (1e9, 1e9))
    veredus.start()
    smtp = v.Smtp(veredus.port)
    refused(smtp, "550 5.1.1 ", "nobody-such@box.example")
    refused(smtp, "451 4.3.5 ", "out@box.example")
    sent = v.mail("virtual", b"From the start\r\n\x80\xff\r\n")
    first = smtp.send("sender@client.example", ["Ann+tag@box.example", "bob@box.example", "\"../../x\"@all.example", "postmaster@all.example"], sent)
    late = smtp.send("sender@client.example", "up@box.example", v.mail("link"))
    content = letters(root + "/box/ann", 1)[0]
    v.check(content.endswith(sent.replace(b"\r\n", b"\n")) and b"\nDelivered-To: Ann+tag@box.example\n" in content, content)
    v.equal(len(letters(root + "/all", 2)), 2)
    v.check(v.read(root + "/all/maildirsize").startswith(b"1048576S\n"), "its quota")
    v.wait(lambda: os.path.exists(root + "/box/bob") and v.read(root + "/box/bob").endswith(b"\n\n"), 10, "bob's mbox")
    veredus.wait_log(first + ": removed")  # now there is no lock, and no name in tmp/, that may go while it is looked at
    vmail = pwd.getpwnam("vmail")
    for where in glob.glob(root + "/box/**", recursive=True) + glob.glob(root + "/all/new/*"):
        v.equal((os.stat(where).st_uid, os.stat(where).st_gid, os.stat(where).st_mode & 0o077), (vmail.pw_uid, vmail.pw_gid, 0), where)
    # An alias's member is looked up in the table, not among aliases and users.
    with open("/etc/aliases", "w") as f:
        f.write("team: ann@box.example\nann: /dev/null\n")
    os.utime("/etc/aliases", (1e9, 1e9))
    smtp.send("sender@client.example", "team@here.example", v.mail("team"))
    v.check(any(b"\nX-Original-To: team@here.example\nDelivered-To: ann@box.example\n" in m for m in letters(root + "/box/ann", 2)), "by the alias")
    # What vmail can't write stays closed, whatever its own folders say.
    veredus.wait_log(late + ".*to=<up@box.example>.*status=deferred .*Permission denied")
    veredus.command("queue", "delete", late)
    os.rename(path, path + ".away")
    refused(smtp, "451 4.3.5 ", "nobody-such@box.example")
    os.rename(path + ".away", path)
    refused(smtp, "550 5.1.1 ", "nobody-such@box.example")
    # The root is never made: where its file system is away, the mail waits.
    os.rename(root, root + ".away")
    waits = smtp.send("sender@client.example", "ann@box.example", v.mail("waits"))
    veredus.wait_log(waits + ".*status=deferred .*No such file")
    v.check(not os.path.exists(root), "made")
    os.rename(root + ".away", root)
    smtp.close()
    letters(root + "/box/ann", 3)
    veredus.wait_empty()
    v.equal(veredus.stop(), 0, "exit status")


ALIASES = r"""/^team$/        ann, ann@box.example
/^owner-team$/  "\boss"
/^made-(.*)$/   $1
/^(aa+)+$/      ann
/^run$/         "|/bin/true"
/^deep$/        team
"""
BOXES = r"""/^(ann|bob)@box\.example$/    shared/   quota=1M
/^member[0-9]+@box\.example$/  many/
/^to-(.*)@box\.example$/       $1/
/^(aa+)+@box\.example$/        slow/
"""


def patterns(t):
    """Veredus with patterns wherever local looks something up, and where its mailboxes are."""
    root, folder = boxes(t), users.machine()
    where = {name: table(f"{folder}/{name}.pcre", text) for name, text in
             (("aliases", ALIASES), ("boxes", BOXES), ("quotas", "/^ann$/ quota=2M\n"))}
    veredus = t.veredus("hostname = relay.example\nroute box.example { to = local }\nroute here.example { to = local }\nretry { first = 1s  longest = 1s }\nlimits { errors = 1000 }\n"
                        f"local {{ mailbox = ~/Maildir/  aliases = pcre:{where['aliases']}  quotas = pcre:{where['quotas']} }}\n"
                        f"virtual box.example {{ mailboxes = pcre:{where['boxes']}  root = {root}  user = vmail }}\n")
    veredus.demote = {}
    os.chown(veredus.folder, 0, 0)
    return veredus, where, root


def checked(veredus, where):
    """What a stranger could choose, and what is no address, is found before any mail comes."""
    said = veredus.command("check")
    for line in (f"aliases: pcre:{where['aliases']}:3: a $ in what chooses a mailbox", f"aliases: pcre:{where['aliases']}:5: no command, file or list",
                 f"mailboxes: pcre:{where['boxes']}:3: a $ in what chooses a mailbox"):
        v.check(line in said, line, said)
    v.equal(said.count("warning: "), 3, said)
    said = veredus.command("newaliases", status=65)
    v.check("6 patterns, with faults" in said and not os.path.exists(where["aliases"] + ".db"), said)


def while_table_is_gone(veredus):
    """It stops answering, then ends: nobody is unknown, nothing is lost, and all is there once it is back."""
    smtp, asking = v.Smtp(veredus.port), v.Smtp(veredus.port)
    smtp.expect(250, "MAIL FROM:<sender@client.example>")
    for to in "ann@box.example", "team@here.example":
        smtp.expect(250, f"RCPT TO:<{to}>")
    table = veredus.daemons("table")[0]
    os.kill(table, signal.SIGSTOP)
    smtp.expect(354, "DATA")
    smtp.socket.sendall(v.mail("gone") + b".\r\n")
    waits = smtp.reply().split()[-1]
    asking.expect(250, "MAIL FROM:<sender@client.example>")
    asking.socket.sendall(b"RCPT TO:<bob@box.example>\r\n")
    v.wait(lambda: [m["queue_name"] for m in veredus.listed()] == ["active"], 5, lambda: f"the mail, under way: {veredus.listed()}")
    time.sleep(0.2)  # until local has asked for both
    os.kill(table, signal.SIGKILL)
    v.check(asking.reply().startswith("451 4.3.5 "), "the table is gone")
    veredus.wait_log(waits + r": to=<ann@box.example>.*dsn=4.3.5, status=deferred")
    asking.close()
    smtp.close()


def test_patterns(t):
    """Aliases, mailboxes and quotas in patterns, which the process table tries: whole addresses, tags, owners; who fits none
    is unknown; nothing of an address chooses a path or a member; what can't be told makes mail wait."""
    need_root()
    veredus, where, root = patterns(t)
    checked(veredus, where)
    veredus.start()
    smtp = v.Smtp(veredus.port)
    for unknown in "nobody-such@box.example", "shared@box.example", "nobody-such@here.example", "xteam@here.example":
        refused(smtp, "550 5.1.1 ", unknown)
    for later in "to-x@box.example", "a" * 40 + "b@box.example", "made-ann@here.example", "run@here.example", "a" * 40 + "b@here.example":
        refused(smtp, "451 4.3.5 ", later)
    veredus.wait_log(re.escape(where["boxes"]) + '.*"to-x@box.example": its value has a \\$')
    veredus.wait_log(re.escape(where["aliases"]) + ": the alias of run: no command, file or list")
    smtp.send("sender@client.example", "deep+x@here.example", v.mail("team"))
    maildir = users.home("ann") + "/Maildir"
    v.check(letters(maildir, 1)[0].startswith(b"Return-Path: <owner-team@here.example>\nX-Original-To: deep+x@here.example\nDelivered-To: ann@here.example\n"), "by the alias")
    v.check(v.read(maildir + "/maildirsize").startswith(b"2097152S\n"), "ann's quota")
    letters(root + "/shared", 1)
    smtp.send("sender@client.example", ["ANN+tag@BOX.example"] + [f"member{i}@box.example" for i in range(20)], v.mail("many"))
    letters(root + "/shared", 2)
    letters(root + "/many", 20)
    v.check(v.read(root + "/shared/maildirsize").startswith(b"1048576S\n"), "its quota")
    while_table_is_gone(veredus)
    letters(root + "/shared", 3)
    letters(maildir, 2)
    table(where["boxes"], BOXES + "/^new@box/ new/\n")
    v.wait(lambda: refused_with(smtp, "new@box.example") == "250", 5, "the new line")
    smtp.send("sender@client.example", "new@box.example", v.mail("new"))
    letters(root + "/new", 1)
    smtp.close()
    veredus.wait_empty()
    v.check("status=bounced" not in veredus.log_text(), veredus.log_text())
    v.equal(veredus.stop(), 0, "exit status")


def store(t, root):
    """Dovecot with IMAP, POP3 and LMTP over the mailboxes in ROOT: .imap, .pop3, .lmtp."""
    core = v.reachable(t, v.peer("dovecot-core", "usr/sbin/dovecot")[:-len("/usr/sbin/dovecot")], "dovecot")
    where = {name: os.path.dirname(v.reachable(t, os.path.dirname(v.peer(package, f"usr/lib/dovecot/{name}")), package) + "/x")
             for package, name in (("dovecot-imapd", "imap"), ("dovecot-pop3d", "pop3"), ("dovecot-lmtpd", "lmtp"))}
    vmail = pwd.getpwnam("vmail")
    names = ("ann@box.example", "ann@store.example")
    passwords = v.write(t.folder + "/mailbox-users", "".join(f"{n}:{{PLAIN}}{SECRET}:{vmail.pw_uid}:{vmail.pw_gid}::{root}/{n}\n" for n in names))
    ports = {"imap": v.free_port(), "pop3": v.free_port()}
    services = "".join(f"""service {name}-login {{
  executable = {where[name]}/{name}-login
  chroot =
  inet_listener {name} {{
    address = 127.0.0.1
    port = {port}
  }}
  inet_listener {name}s {{
    port = 0
  }}
}}
service {name} {{
  executable = {where[name]}/{name}
}}
""" for name, port in ports.items())
    services += "".join(f"service {name} {{\n  executable = {where['imap']}/{name}\n  chroot =\n}}\n"
                        for name in ("imap-urlauth", "imap-urlauth-login", "imap-urlauth-worker", "imap-hibernate"))
    d = dovecot.Dovecot(t, more=f"""passdb {{
  driver = passwd-file
  args = {passwords}
}}
userdb {{
  driver = passwd-file
  args = {passwords}
}}
protocols = imap pop3 lmtp
disable_plaintext_auth = no
mail_location = maildir:~/Maildir
mail_plugins = quota
plugin {{
  quota = maildir:User quota
  quota_rule = *:bytes=8388608
}}
first_valid_uid = 1
postmaster_address = postmaster@store.example
{services}service lmtp {{
  executable = {where["lmtp"]}/lmtp
  unix_listener {t.folder}/lmtp {{
    mode = 0666
  }}
}}
service auth {{
  unix_listener auth-userdb {{
    mode = 0666
  }}
}}
""", mechanisms="plain")
    # It looks for its modules where a package would have put them.
    d.wrap = ["unshare", "-m", "--propagation", "private", "sh", "-c", 'mount -t overlay -o "lowerdir=$0/usr/lib:/usr/lib" overlay /usr/lib && exec "$@"', core]
    d.imap, d.pop3, d.lmtp = ports["imap"], ports["pop3"], t.folder + "/lmtp"
    return d


def bodies():
    """What goes wrong on the way of a mail, and 5 MB of it. No NUL and no bare CR: SMTP has neither (RFC 5321 2.3.8)."""
    chance = random.Random(5321)
    octets = bytes(c for c in range(1, 256) if c not in b"\r\n")
    binary = b"".join(bytes(chance.choice(octets) for _ in range(chance.randrange(300))) + b"\r\n" for _ in range(100))
    return {"dots": b".\r\n..\r\n...\r\n.hidden\r\n\r\n.\r\n", "from": b"From the start\r\n>From there\r\nFrom  \r\n",
            "eight bit": "Gr\u00fc\u00dfe \u20ac\r\n".encode() + b"\x80\xfe\xff\r\n", "long lines": b"x" * 998 + b"\r\n" + b"y" * 998 + b"\r\n",
            "binary": binary, "blanks": b" \t \r\n\r\n\r\n  end  \r\n", "five": (b"0123456789abcdef" * 4 + b"\r\n") * 80000}


def send_all(veredus, authority, sent, to=("ann@box.example", "ann@store.example")):
    context = ssl.create_default_context(cafile=authority)
    with smtplib.SMTP("127.0.0.1", veredus.submission, timeout=60) as smtp:
        smtp.starttls(context=context)
        smtp.login("ann@example.net", SECRET)
        for mail in sent.values():
            v.equal(smtp.sendmail("ann@example.net", list(to), mail, ["BODY=8BITMIME"]), {})


def by_imap(port, name):
    box = imaplib.IMAP4("127.0.0.1", port, timeout=60)
    box.login(name, SECRET)
    box.select(readonly=True)
    numbers = box.search(None, "ALL")[1][0].split()
    found = [box.fetch(n, "(BODY.PEEK[])")[1][0][1] for n in numbers]
    box.logout()
    return found


def by_pop3(port, name):
    poplib._MAXLINE = 65536  # as other programs have it
    box = poplib.POP3("127.0.0.1", port, timeout=60)
    box.user(name)
    box.pass_(SECRET)
    found = [b"\r\n".join(box.retr(n + 1)[1]) + b"\r\n" for n in range(box.stat()[0])]
    box.quit()
    return found


def compare(found, sent, way):
    """Each mail once, its content octet for octet behind header lines of ours."""
    v.equal(len(found), len(sent), way)
    for subject, mail in sent.items():
        mine = [m for m in found if f"Subject: {subject}\r\n".encode() in m]
        v.equal(len(mine), 1, f"{way}: {subject}")
        v.check(mine[0].endswith(mail), f"{way}: {subject} changed on its way:", mine[0][-300:])
        v.check(re.match(rb"Return-Path: <ann@example.net>\r\nDelivered-To: ", mine[0]), way, mine[0][:300])
        v.check(re.search(rb"with ESMTPSA\s", mine[0][:-len(mail)]), way, mine[0][:600])


def test_whole_way(t):
    """Sent on submission; each mail comes to a Maildir of Veredus's and to Dovecot's by LMTP, and both ways of reading
    give what was written."""
    need_root()
    root = boxes(t)
    d = store(t, root).start()
    v.wait(lambda: os.path.exists(d.lmtp), 10, lambda: "Dovecot's LMTP: " + d.process.said() + v.read(d.folder + "/log").decode(errors="replace"))
    authority = pki.Pair(t.folder, "authority", host="authority.example")
    pair = pki.Pair(t.folder, "mail.example.net", issuer=authority, also=["IP:127.0.0.1"])
    path = table(users.machine() + "/mailboxes", "ann@box.example ann@box.example/Maildir/\n")
    veredus = t.veredus("")
    veredus.submission, logins = v.free_port(), os.path.join(veredus.folder, "users")
    veredus.configure(f"route box.example {{ to = local }}\nroute store.example {{ to = lmtp:unix:{d.lmtp} }}\nroute * {{ to = discard }}\n"
                      f"virtual box.example {{ mailboxes = {path}  root = {root}  user = vmail  quota = 8M }}\nauth {{ users = {logins} }}\n"
                      f"listen submission {{ address = 127.0.0.1:{veredus.submission} }}\n" + pair.block())
    veredus.demote = {}
    os.chown(veredus.folder, 0, 0)
    veredus.command("user", "add", "ann@example.net", input=SECRET.encode() + b"\n")
    veredus.start()
    sent = {name: v.mail(name, body).replace(b"From: <sender@client.example>", b"From: <ann@example.net>") for name, body in bodies().items()}
    send_all(veredus, authority.certificate, sent)
    veredus.wait_empty()
    for name in "ann@box.example", "ann@store.example":
        compare(by_imap(d.imap, name), sent, "IMAP " + name)
        compare(by_pop3(d.pop3, name), sent, "POP3 " + name)
    share_quota(veredus, d, f"{root}/ann@box.example/Maildir", sent["five"], authority.certificate)
    v.equal(veredus.stop(), 0, "exit status")


def in_use(maildir):
    """What maildirsize says, and what there is."""
    lines = v.read(maildir + "/maildirsize").decode().splitlines()
    v.equal(lines[0], "8388608S")
    letters = [name for part in ("new", "cur") for name in glob.glob(f"{maildir}/{part}/*")]
    return (tuple(map(sum, zip(*(map(int, line.split()) for line in lines[1:])))),
            (sum(os.path.getsize(name) for name in letters), len(letters)))


def share_quota(veredus, d, maildir, five, authority):
    """Both write the same maildirsize and go by it: 5 MB of 8 are taken."""
    said, real = in_use(maildir)
    v.equal(said, real, "after deliveries")
    send_all(veredus, authority, {"over": five}, ["ann@box.example"])
    veredus.wait_log("to=<ann@box.example>.*dsn=5.2.2, status=bounced .the mailbox is full")
    box = imaplib.IMAP4("127.0.0.1", d.imap, timeout=60)
    box.login("ann@box.example", SECRET)
    status, why = box.append("INBOX", None, None, five)
    v.check(status == "NO" and b"OVERQUOTA" in why[0], status, why)
    box.select()
    box.store(box.search(None, "LARGER 1000000")[1][0], "+FLAGS", "\\Deleted")
    box.expunge()
    box.logout()
    said, real = in_use(maildir)
    v.equal(said, real, "after an expunge by Dovecot")
    send_all(veredus, authority, {"again": five}, ["ann@box.example"])
    veredus.wait_empty()
    said, real = in_use(maildir)
    v.equal(said, real, "after the next delivery")
    v.check(real[0] > 5000000, real)


if v.IS_ROOT:
    users.enter(["vmail", "ann"], ["/etc/aliases"])
v.main(globals())
