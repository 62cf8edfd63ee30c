# SPDX-License-Identifier: ISC
"""
For bench/run.py: destination domains of which the servers under test look up MX, addresses and TLSA records, and whose
hosts they reach by STARTTLS. A zone with all of them lies below a root of its own, signed where DANE is measured, served
by NSD; each domain has its own MX host at its own address of 127.0.0.0/8, where one bench/sink listens for them all.
Veredus validates in its resolver; Postfix has an Unbound of its own, since it takes another's word for it. What both ask
NSD is counted.
"""

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time

START_LIMIT_S = 30
POSTFIX_RESOLVER = "127.77.0.53"  # port 53: resolv.conf knows no other


def die(text):
    sys.exit(f"run.py: {text}")


def tool(*words, folder, **options):
    done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False, **options)
    if done.returncode != 0:
        die(f"{' '.join(words)}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def is_answering(address, port):
    """Does somebody answer questions about the root there?"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.settimeout(0.2)
        probe.sendto(b"\0\1\1\0\0\1\0\0\0\0\0\0\0\0\2\0\1", (address, port))
        return len(probe.recv(4096)) > 12
    return False


class Outward:
    """The destinations of one round: .sink_arguments, then start(), then what each server is told, .queries(), stop()."""

    def __init__(self, build, folder, out, free_port):
        self.build, self.folder = build, folder
        self.domains, self.dane = out["domains"], out["dane"]
        self.port = 0  # of the receivers
        self.nsd_port = free_port()
        self.processes = []
        self.unbound = None
        self.certificate, self.key = (os.path.join(folder, name) for name in ("receiver.pem", "receiver.key"))
        tool("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key,
             "-out", self.certificate, "-days", "30", "-subj", "/CN=receiver.example", folder=folder)
        self.sink_arguments = ["--certificate", self.certificate, "--key", self.key]

    # -- the zones

    def digest(self):
        public = tool("openssl", "x509", "-in", self.certificate, "-noout", "-pubkey", folder=self.folder)
        return hashlib.sha256(tool("openssl", "pkey", "-pubin", "-outform", "DER", folder=self.folder, input=public)).hexdigest()

    def destinations(self):
        digest = self.digest()
        for number in range(self.domains):
            yield (f"d{number} MX 10 mx.d{number}\nmx.d{number} A 127.1.{number >> 8}.{number & 255}\n"
                   + (f"_{self.port}._tcp.mx.d{number} TLSA 3 1 1 {digest}\n" if self.dane else ""))

    def write(self, origin, records):
        """The zone; with DANE signed, and its DS record returned."""
        name = f"{origin or 'root'}.zone"
        apex = f"ns.{origin}".rstrip(".")
        with open(os.path.join(self.zones, name), "w", encoding="ascii") as file:
            file.write(f"$ORIGIN {origin}.\n$TTL 3600\n@ SOA {apex}. hostmaster.{origin or 'root'}. 1 3600 3600 86400 3600\n"
                       f"@ NS {apex}.\n{apex}. A 127.0.0.1\n" + records)
        if not self.dane:
            return ""
        key = tool("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", "-r", "/dev/urandom", origin or ".", folder=self.zones).decode().strip()
        tool("ldns-signzone", "-o", origin or ".", "-f", name, name, key, folder=self.zones)
        if not origin:
            shutil.copy(os.path.join(self.zones, key + ".key"), self.anchor)
        with open(os.path.join(self.zones, key + ".ds"), encoding="ascii") as file:
            return file.read()

    def tree(self):
        self.zones, self.anchor = os.path.join(self.folder, "zones"), os.path.join(self.folder, "anchor")
        os.makedirs(self.zones)
        with open(self.anchor, "w", encoding="ascii"):
            pass  # stays empty without DANE
        records = "".join(self.destinations())
        for origin in ("sink.example", "example"):
            records = f"{origin}. NS ns.{origin}.\nns.{origin}. A 127.0.0.1\n" + self.write(origin, records)
        self.write("", records)
        for path in (self.anchor, self.key, self.certificate):
            os.chmod(path, 0o644)

    # -- its servers

    def run(self, package, program, configuration, text):
        """A server of build/peers, or an installed one."""
        path = os.path.join(self.folder, configuration)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        home = os.path.join(self.build, "peers", package)
        if not os.path.exists(home + program):
            home = ""
        if not os.path.exists(home + program):
            die(f"no {package}; tests/peers {package} fetches it")
        libraries = f"{home}/usr/lib/x86_64-linux-gnu"
        process = subprocess.Popen(
            [home + program, "-d", "-c", path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=dict(os.environ, LD_LIBRARY_PATH=f"{libraries}:{libraries}/systemd"),
        )
        self.processes.append(process)
        return process

    def wait(self, address, port, what):
        end = time.monotonic() + START_LIMIT_S
        while not is_answering(address, port):
            if self.processes[-1].poll() is not None or time.monotonic() > end:
                die(f"{what} does not start; see {self.folder}")
            time.sleep(0.05)

    def start(self, port):
        """PORT: where the sink listens."""
        self.port = port
        self.tree()
        zones = "".join(f'zone:\n  name: "{name}"\n  zonefile: "{name.strip(".") or "root"}.zone"\n'
                        for name in (".", "example", "sink.example"))
        self.nsd_log = os.path.join(self.folder, "nsd.log")
        self.nsd = self.run("nsd", "/usr/sbin/nsd", "nsd.conf", f"""server:
  ip-address: 127.0.0.1@{self.nsd_port}
  username: ""
  chroot: ""
  zonesdir: "{self.zones}"
  database: ""
  pidfile: "{self.folder}/nsd.pid"
  xfrdfile: "{self.folder}/xfrd.state"
  zonelistfile: "{self.folder}/zone.list"
  logfile: "{self.nsd_log}"
  server-count: 1
  rrl-ratelimit: 0
remote-control:
  control-enable: yes
  control-interface: {self.folder}/nsd.socket
{zones}""")
        self.wait("127.0.0.1", self.nsd_port, "NSD")

    def queries(self):
        """How many questions NSD has got so far."""
        home = os.path.join(self.build, "peers", "nsd")
        control = home + "/usr/sbin/nsd-control"
        if not os.path.exists(control):
            control = "/usr/sbin/nsd-control"
        text = tool(control, "-c", os.path.join(self.folder, "nsd.conf"), "stats_noreset", folder=self.folder,
                    env=dict(os.environ, LD_LIBRARY_PATH=f"{home}/usr/lib/x86_64-linux-gnu")).decode()
        found = [line.split("=")[1] for line in text.splitlines() if line.startswith("num.queries=")]
        if not found:
            die("NSD does not count")
        return int(found[0])

    # -- what the servers under test are told

    def veredus_settings(self):
        """IPv4 alone, as main.cf has it: nobody asks for AAAA records."""
        return (f"resolver {{ forward = {{ 127.0.0.1@{self.nsd_port} }}  trust-anchor = {self.anchor}  prefer = ipv4-only }}\n"
                f"route * {{ to = mx:{self.port}  tls = {'dane' if self.dane else 'may'} }}\n")

    def postfix_settings(self):
        """What bench/postfix.sh appends to main.cf, and the transport table: only there a port can be named for MX hosts."""
        etc = os.path.join(self.folder, "etc")
        os.makedirs(etc, exist_ok=True)
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "postfix", "tls-out-main.cf"), encoding="ascii") as file:
            text = file.read()
        for word, value in (("LEVEL", "dane" if self.dane else "may"), ("DNS", "dnssec" if self.dane else "enabled"),
                            # A connection is kept for the next message where one is likely to come within its 2 seconds.
                            ("CACHED", "static:all" if self.domains <= 200 else "")):
            text = text.replace(f"@{word}@", value)
        with open(os.path.join(etc, "main.cf.more"), "w", encoding="ascii") as file:
            file.write(text)
        with open(os.path.join(etc, "master.cf.more"), "w", encoding="ascii") as file:
            file.write("tlsproxy unix - - n - 0 tlsproxy\n")
        with open(os.path.join(etc, "transport"), "w", encoding="ascii") as file:
            for number in range(self.domains):
                file.write(f"d{number}.sink.example smtp:d{number}.sink.example:{self.port}\n")
        with open(os.path.join(etc, "resolv.conf"), "w", encoding="ascii") as file:
            file.write(f"nameserver {POSTFIX_RESOLVER}\noptions trust-ad edns0\n")
        anchor = f'  trust-anchor-file: "{self.anchor}"\n  module-config: "validator iterator"\n'
        self.unbound = self.run("unbound", "/usr/sbin/unbound", "unbound.conf", f"""server:
  interface: {POSTFIX_RESOLVER}
  access-control: 127.0.0.0/8 allow
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{self.folder}"
  pidfile: "{self.folder}/unbound.pid"
  logfile: "{self.folder}/unbound.log"
  use-syslog: no
  do-not-query-localhost: no
  msg-cache-size: 32m
  rrset-cache-size: 64m
  outgoing-range: 4096
  num-queries-per-thread: 2048
{anchor if self.dane else '  module-config: "iterator"'}
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@{self.nsd_port}
""")
        self.wait(POSTFIX_RESOLVER, 53, "Unbound")

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
