# SPDX-License-Identifier: ISC
"""LMTP over a UNIX socket, which master connects, to a real Dovecot: a reply for each recipient."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import glob
import re
import socket

import dovecot
import veredus as v

BODY = b"Hello\r\n.\r\n..\r\nFrom here\r\n\x80\xff\r\nend\r\n"


def store(t):
    """Dovecot with ann and bob, whose mailboxes are in .boxes, and its LMTP socket."""
    if not v.IS_ROOT:
        raise v.Skip("needs root")
    program = v.peer("dovecot-lmtpd", "usr/lib/dovecot/lmtp")
    folder = os.path.dirname(v.reachable(t, os.path.dirname(program), "lmtpd") + "/lmtp")
    boxes = t.folder + "/boxes"
    os.mkdir(boxes, 0o777)
    os.chmod(boxes, 0o777)
    uid, gid = v.NOBODY, v.NOBODY
    users = v.write(t.folder + "/users", "".join(f"{name}:{{PLAIN}}x:{uid}:{gid}::{boxes}/{name}\n" for name in ("ann@store.example", "bob@store.example")))
    core = v.reachable(t, v.peer("dovecot-core", "usr/sbin/dovecot")[:-len("/usr/sbin/dovecot")], "dovecot")
    d = dovecot.Dovecot(t, more=f"""passdb {{
  driver = passwd-file
  args = {users}
}}
userdb {{
  driver = passwd-file
  args = {users}
}}
protocols = lmtp
mail_location = maildir:~/Maildir
first_valid_uid = 1
postmaster_address = postmaster@store.example
service lmtp {{
  executable = {folder}/lmtp
  unix_listener {t.folder}/lmtp {{
    mode = 0666
  }}
}}
service auth {{
  unix_listener auth-userdb {{
    mode = 0666
  }}
}}
""")
    # It looks for its modules where a package would have put them.
    d.wrap = ["unshare", "-m", "--propagation", "private", "sh", "-c", 'mount -t overlay -o "lowerdir=$0/usr/lib:/usr/lib" overlay /usr/lib && exec "$@"', core]
    d.boxes, d.lmtp = boxes, t.folder + "/lmtp"
    return d


def test_dovecot(t):
    """Both are told apart: who is there has it octet for octet, who is not is refused; large mail as well; and a store
    that is away gets its mail when it is back."""
    d = store(t)
    d.start()
    veredus = t.veredus(f"route store.example {{ to = lmtp:unix:{d.lmtp} }}\nroute * {{ to = discard }}\nretry {{ first = 1s  longest = 2s }}\n").start()
    small, large = v.mail("small", BODY), v.mail("large", b"0123456789abcdef\r\n" * 20000)
    smtp = v.Smtp(veredus.port)
    ids = [smtp.send("sender@client.example", ["ann@store.example", "nobody-such@store.example", "bob@store.example"], small),
           smtp.send("sender@client.example", "ann@store.example", large)]
    smtp.close()
    found = v.wait(lambda: len(glob.glob(d.boxes + "/ann*/Maildir/new/*")) == 2 and sorted(map(v.read, glob.glob(d.boxes + "/ann*/Maildir/new/*")), key=len), 20,
                   lambda: "ann's mail: " + veredus.log_text()[-1500:] + v.read(d.folder + "/log").decode(errors="replace")[-1500:])
    for content, sent in zip(found, (small, large)):
        v.check(content.replace(b"\r\n", b"\n").endswith(sent.replace(b"\r\n", b"\n")), "changed on its way", content[-300:])
        v.check(content.startswith(b"Return-Path: <sender@client.example>"), content[:200])
    v.wait(lambda: glob.glob(d.boxes + "/bob*/Maildir/new/*"), 10, "bob's mail")
    veredus.wait_log(ids[0] + f": to=<ann@store.example>, relay={d.lmtp}, .*status=sent")
    veredus.wait_log(ids[0] + ": to=<nobody-such@store.example>.*dsn=5.1.1, status=bounced")
    veredus.wait_log(ids[0] + ": to=<bob@store.example>.*status=sent")
    d.end()
    smtp = v.Smtp(veredus.port)
    later = smtp.send("sender@client.example", "bob@store.example", v.mail("later"))
    smtp.close()
    veredus.wait_log(later + r": to=<bob@store.example>.*status=deferred \(.*(refused|No such)")
    d.start()
    v.wait(lambda: len(glob.glob(d.boxes + "/bob*/Maildir/new/*")) == 2, 20, "bob's second mail")
    veredus.wait_log(later + ": to=<bob@store.example>.*status=sent")
    v.equal(veredus.stop(), 0, "exit status")


def test_silent_stores(t):
    """One that takes the connection and says nothing, and one that takes none, hold up their own mail alone."""
    silent, full = t.folder + "/silent", t.folder + "/full"
    kept = []
    for path, backlog in ((silent, 5), (full, 0)):
        s = socket.socket(socket.AF_UNIX)
        s.bind(path)
        s.listen(backlog)
        os.chmod(path, 0o777)
        t.defer(s.close)
    for _ in range(2):
        s = socket.socket(socket.AF_UNIX)
        s.setblocking(False)
        try:
            s.connect(full)
        except BlockingIOError:
            pass
        kept.append(s)
    veredus = t.veredus(f"route silent.example {{ to = lmtp:unix:{silent} }}\nroute full.example {{ to = lmtp:unix:{full} }}\nroute * {{ to = discard }}\n"
                        "timeout { greeting = 1s }\n").start()
    smtp = v.Smtp(veredus.port)
    ids = [smtp.send("sender@client.example", f"x@{name}.example", v.mail(name)) for name in ("silent", "full", "other")]
    smtp.close()
    veredus.wait_log(ids[0] + f": to=<x@silent.example>, relay={silent}, .*status=deferred")
    veredus.wait_log(ids[1] + ": to=<x@full.example>.*status=deferred .*(temporarily unavailable|Resource)")
    veredus.wait_log(ids[2] + ": removed")
    v.equal(veredus.stop(), 0, "exit status")


v.main(globals())
