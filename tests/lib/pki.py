# SPDX-License-Identifier: ISC
"""Certificates for tests, made by openssl(1), and the numbers within their keys."""
import base64
import os
import re
import subprocess

import veredus as v

KINDS = {"rsa": ["-newkey", "rsa:2048"], "ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
         "ec384": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"], "ed25519": ["-newkey", "ed25519"]}


def openssl(*words, input=None):
    done = subprocess.run(["openssl", *words], input=input, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    if done.returncode:
        raise v.Failure(f"openssl {' '.join(words)}: {done.stderr.decode()[-500:]}")
    return done.stdout


class Pair:
    """FOLDER/NAME.pem and .key."""

    def __init__(self, folder, name, kind="ec", host=None, days=90, issuer=None, client=False, also=(), extensions=()):
        self.certificate, self.key = f"{folder}/{name}.pem", f"{folder}/{name}.key"
        self.host = host or name
        words = ["req", "-x509", *KINDS[kind], "-nodes", "-keyout", self.key, "-out", self.certificate, "-days", str(days),
                 "-subj", f"/CN={self.host}", "-addext", "subjectAltName=" + ",".join([f"DNS:{self.host}", *also])]
        if issuer:
            words += ["-CA", issuer.certificate, "-CAkey", issuer.key, "-addext", "basicConstraints=critical,CA:FALSE"]
        if client:
            words += ["-addext", "extendedKeyUsage=clientAuth"]
        for extension in extensions:
            words += ["-addext", extension]
        openssl(*words)
        self.own()

    def own(self):
        """Readable by those whom root starts the server as."""
        os.chmod(self.key, 0o600)
        if v.IS_ROOT:
            os.chown(self.key, v.NOBODY, v.NOBODY)

    def block(self, more=""):
        return f"tls {self.host} {{ certificate = {self.certificate} key = {self.key} {more} }}\n"

    def secrets(self):
        """{what: bytes} that no process but the keeper may have: the PEM's text, the DER, and the private numbers."""
        pem = v.read(self.key)
        lines = [line for line in pem.splitlines() if not line.startswith(b"-----")]
        found = {"PEM": lines[len(lines) // 2][:48]}
        der = base64.b64decode(b"".join(lines))
        text = openssl("pkey", "-in", self.key, "-noout", "-text").decode()
        for name, value in re.findall(r"^(privateExponent|prime1|prime2|priv):\s*\n((?:\s+[0-9a-f:]+\n)+)", text, re.M):
            number = bytes.fromhex(re.sub(r"[\s:]", "", value)).lstrip(b"\0")
            found[name] = number
            found[name + " reversed"] = number[::-1]
            found["DER of " + name] = der[der.index(number) - 2:][:len(number) + 2]
        return found


def memory(pid):
    """Everything that the process can read of its own memory, a mapping at a time."""
    for line in v.read(f"/proc/{pid}/maps").decode().splitlines():
        span, rights = line.split()[:2]
        if "r" not in rights or line.endswith(("[vvar]", "[vsyscall]")):
            continue
        begin, end = (int(x, 16) for x in span.split("-"))
        if end - begin > 1 << 30:  # a sanitizer's own
            continue
        try:
            with open(f"/proc/{pid}/mem", "rb", 0) as f:
                f.seek(begin)
                left = end - begin
                piece = bytearray()
                while left:
                    got = f.read(min(left, 1 << 24))
                    if not got:
                        break
                    piece += got
                    left -= len(got)
                yield bytes(piece)
        except OSError:
            continue


def found_in(pid, secrets):
    """The names of those secrets that are in the memory of the process."""
    found = set()
    for piece in memory(pid):
        found |= {name for name, value in secrets.items() if value in piece}
    return found
