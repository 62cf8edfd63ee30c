# SPDX-License-Identifier: ISC
"""testssl.sh, which tries what is known against TLS, on 465 and by STARTTLS on 587: nothing above LOW. All that it judges but
what needs the internet (revocation, CAA); what it merely lists (which programs would agree on what, each cipher by itself) is
left out. It takes minutes, so this is one of the slow suites."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import concurrent.futures
import json
import shutil
import subprocess

import pki
import veredus as v

NAME = "mail.example.net"


def server(t):
    """Veredus as examples/isp.conf has it, with an RSA and an ECDSA certificate as an authority would make them."""
    authority = pki.Pair(t.folder, "authority", "rsa", host="authority.example")
    pairs = [pki.Pair(t.folder, kind, kind, host=NAME, days=90, issuer=authority, extensions=(
        "crlDistributionPoints=URI:http://crl.example.net/authority.crl", "extendedKeyUsage=serverAuth",
        "keyUsage=critical,digitalSignature" + (",keyEncipherment" if kind == "rsa" else ""))) for kind in ("rsa", "ec")]
    veredus = t.veredus("")
    veredus.authority, users = authority, os.path.join(veredus.folder, "users")
    veredus.submission, veredus.submissions = v.free_port(), v.free_port()
    veredus.configure(f"hostname = {NAME}\nroute * {{ to = discard }}\nauth {{ users = {users} }}\nlimits {{ errors = 1000 }}\n"
                      f"listen submission {{ address = 127.0.0.1:{veredus.submission} }}\n"
                      f"listen submissions {{ address = 127.0.0.1:{veredus.submissions} }}\n" + "".join(pair.block() for pair in pairs))
    veredus.command("user", "add", "ann", input=b"secret\n")
    return veredus.start()


def findings(t, veredus, port, *words):
    """[(severity, id, what)] of one run."""
    out = f"{t.folder}/{port}.json"
    done = subprocess.run(["testssl", "--jsonfile", out, "--ip", "127.0.0.1", "--nodns", "none", "--add-ca", veredus.authority.certificate,
                           "--warnings", "off", "--color", "0", "--quiet",
                           "--protocols", "--std", "--pfs", "--server-preference", "--server-defaults", "--vulnerable", *words, f"{NAME}:{port}"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=500, cwd=t.folder)
    v.check(os.path.exists(out), done.stdout[-1500:])
    found = [(f["severity"], f["id"], f["finding"]) for f in json.loads(v.read(out))]
    v.check(len(found) > 100, "it ended early:", found[-5:], done.stdout[-1500:])
    return found


@v.slow
def test_testssl(t):
    if not shutil.which("testssl"):
        raise v.Skip("testssl.sh is not installed")
    veredus = server(t)
    ways = (veredus.submissions,), (veredus.submission, "--starttls", "smtp")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda way: (way[0], findings(t, veredus, *way)), ways))
    for port, found in runs:
        for finding in found:
            if finding[0] in ("LOW", "WARN"):
                print(" ", *finding)
        v.equal([f for f in found if f[0] in ("MEDIUM", "HIGH", "CRITICAL", "FATAL")], [], f"above LOW at {port}")
        by = {identity: what for _, identity, what in found}
        v.check("server" in by["cipher_order"], by["cipher_order"])
    v.equal(veredus.stop(), 0, "exit status")


test_testssl.seconds = 900

v.main(globals())
