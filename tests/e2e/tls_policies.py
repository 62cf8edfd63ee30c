# SPDX-License-Identifier: ISC
"""TLS policies out of a table: which entry counts, what it demands, and that a broken table sends nothing."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import hashlib
import json
import re
import subprocess
import time

import pki
import secure as s
import veredus as v

TIMES = "retry { first = 1s longest = 2s }\n"
ANY = r"TLSv1\.[23]/\S+"


def started(t, table, config):
    anchor = v.write(t.folder + "/anchor", "")
    path = v.write(t.folder + "/policies", table)
    return t.veredus(TIMES + f"resolver {{ trust-anchor = {anchor} }}\ntls-policies = {path}\n" + config).start(), path


def test_which_counts(t):
    """A table: the domain, what stands for it, what is done and under which policy."""
    ca = s.Authority(t.folder, "authority", host="Test Authority")
    pair = ca.signed("good", "mx.good.example")
    safe, plain = s.Receiver(t, pair=pair), s.Receiver(t)
    digest = hashlib.sha256(s.der(pair)).hexdigest()
    cases = {  # domain: (receiver has TLS, status, dsn, tls, policy)
        "exact.example": (True, "sent", r"2\.0\.0", ANY + "/unverified", "encrypt/table"),
        "must.example": (False, "deferred", r"4\.7\.4", "none", "encrypt/table"),
        "a.below.example": (False, "deferred", r"4\.7\.4", "none", "encrypt/table"),
        "b.a.below.example": (False, "deferred", r"4\.7\.4", "none", "encrypt/table"),
        "near.below.example": (False, "sent", r"2\.0\.0", "none", "may/table"),
        "own.below.example": (False, "sent", r"2\.0\.0", "none", "may/own.below.example"),  # the more exact one has its own
        "same.example": (False, "deferred", r"4\.7\.4", "none", "encrypt/table"),  # of two that are alike the table
        "verify.example": (True, "sent", r"2\.0\.0", ANY + "/verified", "verify/table"),
        "other.example": (True, "deferred", r"4\.7\.5", "none", "verify/table"),
        "finger.example": (True, "sent", r"2\.0\.0", ANY + "/fingerprint", "fingerprint/table"),
        "none.example": (False, "sent", r"2\.0\.0", "none", "dane/default"),
        "route.rest": (False, "sent", r"2\.0\.0", "none", "may/.rest"),
    }
    table = f"""# domain policy
exact.example encrypt
must.example	encrypt
.below.example encrypt
near.below.example may
same.example encrypt
verify.example verify names=elsewhere.example,
  mx.good.example
other.example verify names=*.elsewhere.example
finger.example fingerprint fingerprints={'0' * 64},{digest}
"""
    tls = {"own.below.example": "tls = may", "same.example": "tls = may"}
    routes = "".join(f"route {name} {{ to = smtp:[{v.SINK}]:{(safe if row[0] else plain).port} {tls.get(name, '')} }}\n"
                     for name, row in cases.items() if name != "route.rest")
    veredus, path = started(t, table, f"tls-authorities = {ca.certificate}\nroute .rest {{ to = smtp:[{v.SINK}]:{plain.port} tls = may }}\n" + routes)
    v.send_each(veredus, *(f"x@{name}" for name in cases))
    wrong = []
    for name, (_, status, dsn, tls, policy) in cases.items():
        got = s.line_of(veredus, f"x@{name}")
        if not (got[1] == status and re.fullmatch(dsn, got[0]) and re.fullmatch(tls, got[3]) and got[4] == policy):
            wrong.append(f"{name}: {got}")
    v.check(not wrong, "\n".join(wrong))
    told = json.loads(veredus.command("route", "b.a.below.example", "--json"))
    v.equal((told["tls"], told["tls_table"]), ("encrypt", {"key": ".below.example", "row": "encrypt", "why": ""}))
    v.equal(json.loads(veredus.command("route", "none.example", "--json"))["tls_table"], None)
    text = veredus.command("route", "verify.example")
    v.check(re.search(r"^tls +verify; tls-policies, verify.example: verify names=elsewhere.example,? mx.good.example$", text, re.M), text)
    v.equal(veredus.stop(), 0, "exit status")


def test_broken(t):
    """What can't be read is no leave to send in the clear: that mail waits, and goes once the table is whole, without a reload."""
    plain = s.Receiver(t)
    veredus, path = started(t, "good.example may\n", f"route * {{ to = smtp:[{v.SINK}]:{plain.port} }}\n")
    v.write(path, "good.example may\nbad.example verfy\nfinger.example fingerprint\n")
    said = subprocess.run([os.path.join(veredus.build, "veredus"), "check", "-c", veredus.conf], capture_output=True, text=True, **veredus.demote)
    v.equal(said.returncode, 1, "check of a broken table")
    said = said.stdout + said.stderr
    v.check(all(f"{path}:{n}: " in said for n in (2, 3)), said)
    time.sleep(1.1)  # a file that is being written is not read
    v.send_each(veredus, "x@good.example", "x@bad.example", "x@finger.example")
    v.equal(s.line_of(veredus, "x@good.example")[1::3], ("sent", "may/table"))
    for name in "bad.example", "finger.example":
        veredus.wait_log(rf"{name}.*tls-policies: {name}: ")
        told = json.loads(veredus.command("route", name, "--json", status=1))
        v.check(told["tls_table"]["why"], told)
    v.equal(len(plain.contents), 1, "sent although the policy is not known")
    v.write(path, "good.example may\nbad.example may\n*  encrypt\n")
    v.equal(s.line_of(veredus, "x@bad.example", "sent", 40)[4], "may/table")
    v.equal(s.line_of(veredus, "x@finger.example")[:2], ("4.7.4", "deferred"))
    os.rename(path, path + ".away")
    v.send_each(veredus, "x@late.example")
    veredus.wait_log(r"late\.example.*tls-policies: late\.example: the table can't be read")
    v.equal(len(plain.contents), 2, "sent without its table")
    v.write(path, "* may\n")
    v.equal(s.line_of(veredus, "x@late.example", "sent", 40)[4], "may/table")
    v.equal(veredus.stop(), 0, "exit status")


def test_connections(t):
    """Domains under the same words share a connection; under other words they do not."""
    own = pki.Pair(t.folder, "own")
    safe = s.Receiver(t, pair=own)
    veredus, _ = started(t, "a.example encrypt\nb.example encrypt\nc.example may\n", f"route * {{ to = smtp:[{v.SINK}]:{safe.port} }}\n")
    for name in "a.example", "b.example":
        v.send_each(veredus, f"x@{name}")
        v.equal(s.line_of(veredus, f"x@{name}")[1], "sent")
    # One that was idle for two seconds is closed.
    v.check(safe.connections <= 1 + safe.commands.count(b"QUIT\r\n"), "under one policy", safe.connections)
    before = safe.connections
    v.send_each(veredus, "x@c.example")
    v.equal(s.line_of(veredus, "x@c.example")[4], "may/table")
    v.equal(safe.connections, before + 1, "under another")
    v.equal(veredus.stop(), 0, "exit status")


v.main(globals())
