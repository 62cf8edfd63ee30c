# SPDX-License-Identifier: ISC
"""
For bench/run.py: a certificate and a login, and how each server is told of them. Both servers get the same files: the key
(ECDSA P-256, or RSA-2048) and the users file with one SCRAM-SHA-256 verifier, which `veredus user add` makes and
Dovecot's auth service reads for Postfix. Version, cipher and group are the client's choice (bench/load_tls.h).
"""

import contextlib
import os
import shutil
import signal
import smtplib
import ssl
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
HOST = "relay.example"
LOGIN, PASSWORD = "bench@load.example", "a-password-of-25-octets.."
KEYS = {"ecdsa": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["rsa:2048"]}
START_LIMIT_S = 30


class Secure:
    """What one server needs beside its plain port: .certificate, .key, .users, .ports by the entry's name."""

    def __init__(self, build, folder, kind, free_port):
        self.build, self.folder = build, folder
        self.certificate, self.key, self.users = (os.path.join(folder, name) for name in ("cert.pem", "key.pem", "users"))
        self.ports = {"submission": free_port(), "submissions": free_port()}
        self.dovecot = None
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", *KEYS[kind], "-nodes", "-keyout", self.key, "-out", self.certificate,
             "-days", "30", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"],
            check=True, timeout=60, stderr=subprocess.DEVNULL,
        )
        os.chmod(self.key, 0o600)

    # -- Veredus

    def veredus_settings(self):
        return (
            f"listen submission {{ address = 127.0.0.1:{self.ports['submission']} }}\n"
            f"listen submissions {{ address = 127.0.0.1:{self.ports['submissions']} }}\n"
            f"tls {HOST} {{ certificate = {self.certificate}  key = {self.key} }}\n"
            f"auth {{ users = {self.users} }}\n"
        )

    def add_user(self, configuration, identity):
        """`identity` is whom Veredus runs as, as subprocess takes it: then the files are that user's."""
        if identity:
            os.chown(self.key, identity["user"], identity["group"])
        subprocess.run(
            [os.path.join(self.build, "veredus"), "user", "add", LOGIN, "-c", configuration], check=True, timeout=60,
            input=PASSWORD.encode() + b"\n", stdout=subprocess.DEVNULL, **identity,
        )

    # -- Postfix

    def postfix_settings(self):
        """What bench/postfix.sh appends to main.cf and master.cf; starts Dovecot's auth service."""
        configuration = os.path.join(self.folder, "users.conf")
        with open(configuration, "w", encoding="ascii") as file:
            file.write(f"hostname = {HOST}\nqueue = {self.folder}/none\nauth {{ users = {self.users} }}\n"
                       "listen smtp { address = 127.0.0.1:1 }\n")
        self.add_user(configuration, {})
        os.chmod(self.users, 0o644)
        self.dovecot = Dovecot(self.build, os.path.join(self.folder, "dovecot"), self.users)
        chain = os.path.join(self.folder, "chain.pem")
        with open(chain, "w", encoding="ascii", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            for name in (self.key, self.certificate):
                with open(name, encoding="ascii") as part:
                    file.write(part.read())
        os.makedirs(os.path.join(self.folder, "etc"), exist_ok=True)
        for name in ("main.cf", "master.cf"):
            with open(os.path.join(HERE, "postfix", "tls-" + name), encoding="ascii") as file:
                text = file.read()
            for word, value in (("CHAIN", chain), ("AUTH", self.dovecot.socket), ("SUBMISSION", self.ports["submission"]),
                                ("SUBMISSIONS", self.ports["submissions"])):
                text = text.replace(f"@{word}@", str(value))
            with open(os.path.join(self.folder, "etc", name + ".more"), "w", encoding="ascii") as file:
                file.write(text)

    # -- both

    def wait_for_login(self):
        """Until a client can log in; so both have computed the hash once."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        end, why = time.monotonic() + START_LIMIT_S, None
        while time.monotonic() < end:
            try:
                with smtplib.SMTP_SSL("127.0.0.1", self.ports["submissions"], timeout=5, context=context) as smtp:
                    smtp.login(LOGIN, PASSWORD)
                    return
            except (OSError, smtplib.SMTPException) as error:
                why = error
                time.sleep(0.1)
        sys.exit(f"run.py: nobody can log in: {why}")

    def stop(self):
        if self.dovecot:
            self.dovecot.stop()


class Dovecot:
    """Dovecot's auth service alone, from build/peers or installed; .socket is what Postfix asks."""

    def __init__(self, build, folder, users):
        self.folder, self.socket = folder, os.path.join(folder, "auth")
        home = os.path.join(build, "peers", "dovecot-core")
        if not os.path.exists(home + "/usr/sbin/dovecot"):
            home = ""
        if not shutil.which(home + "/usr/sbin/dovecot"):
            sys.exit("run.py: no Dovecot; tests/peers dovecot-core fetches it")
        os.makedirs(folder, exist_ok=True)
        library = home + "/usr/lib/dovecot"
        libraries = f"{library}:{home}/usr/lib/x86_64-linux-gnu:{library}/modules/old-stats"
        configuration = os.path.join(folder, "dovecot.conf")
        with open(os.path.join(HERE, "postfix", "dovecot.conf"), encoding="ascii") as file:
            text = file.read()
        for word, value in (("DIR", folder), ("LIBRARY", library), ("LIBRARIES", libraries), ("USERS", users),
                            ("USER", "nobody"), ("GROUP", "nogroup")):
            text = text.replace(f"@{word}@", value)
        with open(configuration, "w", encoding="ascii") as file:
            file.write(text)
        self.process = subprocess.Popen(
            [home + "/usr/bin/doveconf", "-c", configuration, "-f", "service=master", "-m", "master", "-p", "-e",
             home + "/usr/sbin/dovecot", "-F"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            env=dict(os.environ, LD_LIBRARY_PATH=libraries),
        )
        end = time.monotonic() + START_LIMIT_S
        while not os.path.exists(self.socket):
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit(f"run.py: Dovecot does not start; see {folder}/log")
            time.sleep(0.02)

    def stop(self):
        """Its processes are one group of their own, and may outlive their master."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def load_arguments(scenario):
    """What bench/load is told of a scenario's TLS."""
    words = ["--tls", "starttls" if scenario["entry"] in ("smtp", "submission") else "implicit"]
    if scenario.get("login"):
        words += ["--auth", f"{LOGIN}:{PASSWORD}"]
    return words
