# SPDX-License-Identifier: ISC
"""Logins by PAM, with libpam and modules as they are, and a service of the test's own."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import base64
import glob
import re
import time

import veredus as v

# "crypted", by yescrypt
YESCRYPT = "$y$j9T$JsQ5wNAmIQiMS1O3nE6C31$1PgV/tDF/u52EtGmNqpzVDtfqpD0d7S36ahnNznX2n9"
SERVICE = """auth [success=ignore default=1] pam_succeed_if.so quiet user in {odd}
auth requisite pam_exec.so quiet {script}
auth required pam_pwdfile.so pwdfile={users}
account [success=1 default=ignore] pam_succeed_if.so quiet user != gone
account required pam_debug.so acct=perm_denied
account required pam_permit.so
"""


def attempt(veredus, name, password, source=None, how="PLAIN"):
    smtp = v.Smtp(veredus.port, source=source)
    smtp.socket.settimeout(60 * v.PATIENCE)
    started = time.monotonic()
    if how == "PLAIN":
        reply = smtp.say("AUTH PLAIN " + base64.b64encode(f"\0{name}\0{password}".encode()).decode())
    else:
        smtp.expect(334, "AUTH LOGIN")
        smtp.expect(334, base64.b64encode(name.encode()).decode())
        reply = smtp.say(base64.b64encode(password.encode()).decode())
    smtp.close()
    return reply[:9], time.monotonic() - started


def test_pam(t):
    """pam_pwdfile says who, the account who may not; a module that crashes or hangs costs one check, and no process."""
    if not glob.glob("/lib/*/security/pam_pwdfile.so"):
        raise v.Skip("needs libpam-pwdfile")
    folder = os.path.join(t.folder, "services")
    os.mkdir(folder, 0o755)
    users = v.write(folder + "/users", "".join(f"{name}:{YESCRYPT}\n" for name in ("ann", "gone", "crash", "slow")))
    script = v.write(folder + "/script", f"#!/bin/sh\nenv > {t.folder}/environment\n"
                     "[ \"$PAM_USER\" != crash ] || kill -9 $PPID\nexec sleep 1\n", 0o755)
    v.write(t.folder + "/environment", "", 0o666)
    v.write(folder + "/relay", SERVICE.format(odd="crash:slow", script=script, users=users))
    veredus = t.veredus("relay-from = { 198.51.100.0/24 }\nroute * { to = discard }\n"
                        f"auth {{ pam = relay  pam-folder = {folder}  clear = loopback  smtp = yes  workers = 2 }}\n").start()
    v.wait(lambda: "AUTH PLAIN LOGIN\n" in v.Smtp(veredus.port).say("EHLO x") + "\n", 10, "the mechanisms")
    for how in "PLAIN", "LOGIN":
        v.equal(attempt(veredus, "ann", "crypted", how=how)[0], "235 2.7.0", how)
        v.equal(attempt(veredus, "ann", "wrong", how=how)[0], "535 5.7.8", how)
    v.equal(attempt(veredus, "ann", "", "127.0.0.2")[0], "535 5.7.8", "no password")
    v.equal(attempt(veredus, "gone", "crypted", "127.0.0.2")[0], "535 5.7.1", "denied by the account")
    v.equal(attempt(veredus, "gone", "wrong", "127.0.0.2")[0], "535 5.7.8", "denied, and wrong")
    # Failures are told at the same marks, whoever they are of.
    sources = (f"127.0.{n}.3" for n in range(1, 250))

    def at_the_first_mark(name):
        """Later ones are for a machine that stood still."""
        reply, took = attempt(veredus, name, "wrong", next(sources))
        v.check(reply == "535 5.7.8" and took > 0.45, name, reply, took)
        return took < 1 * v.PATIENCE
    for name in "ann", "nobody":
        v.wait(lambda: at_the_first_mark(name), 5, f"{name}, told at the first mark")
    for i in range(3):  # more than there are processes
        v.equal(attempt(veredus, "crash", "crypted", f"127.0.0.{4 + i}")[0], "454 4.7.0", "a module that crashes")
    reply, took = attempt(veredus, "slow", "crypted", "127.0.0.7")
    v.check(reply == "235 2.7.0" and took > 0.9, "a slow module", reply, took)
    again = [attempt(veredus, "ann", "crypted", "127.0.0.8") for _ in range(3)]
    v.check(all(reply == "235 2.7.0" for reply, _ in again) and min(took for _, took in again) < 0.4 * v.PATIENCE, "remembered", again)
    # Frozen, the right password where he never was is a wrong one, in time as well, remembered or not.
    veredus.command("user", "freeze", "ann")
    v.wait(lambda: attempt(veredus, "ann", "crypted")[0] == "535 5.7.1", 10, "frozen, and told where he was")
    reply, took = attempt(veredus, "ann", "crypted", "127.0.0.9")
    v.check(reply == "535 5.7.8" and took > 0.45, "a right guess at a frozen login", reply, took)
    log = veredus.log_text()
    v.check(re.search(r"login=<ann>, method=PLAIN, reason=PAM: wrong password, or no such user, failures=\d", log), log[-1500:])
    v.check(re.search(r"login=<gone>, method=PLAIN, reason=disabled: PAM's account says so", log), log[-1500:])
    v.check("PAM_RHOST=127.0.0.7\n" in v.read(t.folder + "/environment").decode(), "whom the modules see")
    v.check(not re.search("crypted|SIGSYS|was killed", log), log[-1500:])
    # A service that is not there is nobody's fault.
    veredus.configure(v.read(veredus.conf).decode().replace("pam = relay", "pam = none"))
    before = veredus.daemons("checker")
    veredus.process.signal(1)
    v.wait(lambda: veredus.daemons("checker") not in ([], before), 10, "another checker")
    v.wait(lambda: "AUTH" in v.Smtp(veredus.port).say("EHLO x"), 10, "AUTH to be offered")
    v.equal(attempt(veredus, "ann", "crypted", "127.0.0.9")[0][:3] in ("454", "535"), True, "without a service")


v.main(globals())
