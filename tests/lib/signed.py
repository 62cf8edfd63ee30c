# SPDX-License-Identifier: ISC
"""A DNS tree of the test's own: a signed root and zones below it, served by NSD on loopback, signed by ldns-signzone.

  tree = signed.Tree(t, {"example": signed.Zone(text), "plain": signed.Zone(text, sign=None)})
  resolver { forward = { tree.forward }  trust-anchor = tree.anchor }

Before NSD stands a door that passes everything on, writes down what was asked, and can leave out answers, or say
SERVFAIL, for names that a test gives it."""
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import threading
import time

import veredus as v

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "MX": 15, "TXT": 16, "AAAA": 28, "DS": 43, "DNSKEY": 48, "TLSA": 52}


class Zone:
    """TEXT: records below the origin, without SOA and NS. SIGN: "nsec", "nsec3", "optout", None (not signed). DS: how
    the parent vouches for it: True, False (not at all: insecure), "wrong" (for another key), "unknown" (in an
    algorithm that nobody knows). BROKEN, EXPIRED: (owner, type) of signatures that are wrong, or of last year."""

    def __init__(self, text, sign="nsec", ds=True, broken=(), expired=()):
        self.text, self.sign, self.ds, self.broken, self.expired = text, sign, ds, broken, expired
        self.key = None


def tool(*words, folder):
    done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    v.equal(done.returncode, 0, f"{' '.join(words)}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode()


def signature(text, owner, kind):
    """The lines of the signatures over that set."""
    found = re.findall(rf"(?m)^{re.escape(owner)}\.\s+\d+\s+IN\s+RRSIG\s+{kind}\s.*$", text)
    v.check(found, "no signature over", owner, kind)
    return found


class Tree:
    def __init__(self, test, zones):
        for name in "ldns-signzone", "ldns-keygen":
            if not shutil.which(name):
                raise v.Skip(f"no {name} (ldnsutils)")
        self.folder = os.path.join(test.folder, "tree")
        os.mkdir(self.folder)
        self.zones = {"": Zone(""), **zones}
        for origin, zone in self.zones.items():
            if zone.sign:
                zone.key = tool("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", "-r", "/dev/urandom", origin or ".", folder=self.folder).strip()
        for origin in sorted(self.zones, key=lambda name: -len(name)):
            self.write(origin, self.zones[origin])
        self.anchor = v.write(os.path.join(test.folder, "anchor"), v.read(f"{self.folder}/{self.zones[''].key}.key"))
        self.start(test)

    def file(self, origin):
        return f"{origin or 'root'}.zone"

    def children(self, origin):
        """Zones whose parent is ORIGIN."""
        return [name for name in self.zones if name and max(
            (other for other in self.zones if other != name and (not other or name.endswith("." + other))), key=len) == origin]

    def delegation(self, name):
        zone = self.zones[name]
        text = f"{name}. NS ns.{name}.\nns.{name}. A 127.0.0.1\n"
        if not zone.sign or not zone.ds:
            return text
        ds = v.read(f"{self.folder}/{zone.key}.ds").decode().strip()
        if zone.ds == "wrong":
            ds = ds[:-8] + ds[-8:].translate(str.maketrans("0123456789abcdef", "123456789abcdef0"))
        elif zone.ds == "unknown":
            ds = re.sub(r"(DS\s+\d+) 13 ", r"\1 253 ", ds)
        return text + ds + "\n"

    def sign(self, origin, zone, to, *options):
        kind = {"nsec": (), "nsec3": ("-n",), "optout": ("-n", "-p")}[zone.sign]
        tool("ldns-signzone", *kind, *options, "-o", origin or ".", "-f", to, self.file(origin), zone.key, folder=self.folder)
        return v.read(f"{self.folder}/{to}").decode()

    def write(self, origin, zone):
        ns = f"ns.{origin}".rstrip(".")
        text = (f"$ORIGIN {origin}.\n$TTL 300\n@ SOA {ns}. hostmaster.{origin or 'root'}. 1 300 300 300 60\n@ NS {ns}.\n{ns}. A 127.0.0.1\n"
                + zone.text + "".join(self.delegation(name) for name in self.children(origin)))
        v.write(f"{self.folder}/{self.file(origin)}", text)
        if not zone.sign:
            return
        signed = self.sign(origin, zone, "new")
        if zone.expired:
            old = self.sign(origin, zone, "old", "-i", time.strftime("%Y%m%d", time.gmtime(time.time() - 400 * 86400)),
                            "-e", time.strftime("%Y%m%d", time.gmtime(time.time() - 370 * 86400)))
        for owner, kind in zone.expired:
            for now, then in zip(signature(signed, owner, kind), signature(old, owner, kind)):
                signed = signed.replace(now, then)
        for owner, kind in zone.broken:
            for line in signature(signed, owner, kind):
                words = line.rsplit(None, 1)
                signed = signed.replace(line, f"{words[0]} {words[1][20:40]}{words[1][:20]}{words[1][40:]}")
        v.write(f"{self.folder}/{self.file(origin)}", signed)

    def start(self, test):
        self.nsd = v.free_port()
        v.write(f"{self.folder}/nsd.conf", f"""server:
  ip-address: 127.0.0.1@{self.nsd}
  username: ""
  chroot: ""
  zonesdir: "{self.folder}"
  database: ""
  pidfile: "{self.folder}/nsd.pid"
  xfrdfile: "{self.folder}/xfrd.state"
  zonelistfile: "{self.folder}/zone.list"
  server-count: 1
  rrl-ratelimit: 0
remote-control:
  control-enable: no
""" + "".join(f"zone:\n  name: {origin or '.'}\n  zonefile: {self.file(origin)}\n" for origin in self.zones))
        v.Process(test, "nsd", [v.peer("nsd", "usr/sbin/nsd"), "-d", "-c", f"{self.folder}/nsd.conf"], env=v.peer_environment("nsd"))
        v.wait(lambda: v.dns_answers(self.nsd, "ns"), 15, "the name server")
        self.door = Door(test, self.nsd)
        self.forward = f"127.0.0.1@{self.door.port}"


def framed(stream):
    """A message with its length before it."""
    head = stream.read(2)
    return head + stream.read(struct.unpack(">H", head)[0])


class Door(threading.Thread):
    """Passes questions on to a name server at PORT. SILENT, SERVFAIL: sets of (name, type) to which it does not, or so."""

    def __init__(self, test, nsd):
        super().__init__(daemon=True)
        self.nsd, self.asked, self.silent, self.servfail, self.over = nsd, [], set(), set(), False
        self.port = v.free_port()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", self.port))
        self.tcp = socket.create_server(("127.0.0.1", self.port))
        self.up = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.up.connect(("127.0.0.1", nsd))
        self.waiting, self.number = {}, 0
        test.defer(self.end)
        self.start()

    def end(self):
        self.over = True
        self.join(2)
        for s in self.udp, self.tcp, self.up:
            s.close()

    def count(self, name, kind):
        return self.asked.count((name, TYPES[kind]))

    def meets(self, data):
        """What to answer at once: b"" nothing, None: it is passed on."""
        at, labels = 12, []
        while data[at]:
            labels.append(data[at + 1:at + 1 + data[at]].decode(errors="replace").lower())
            at += 1 + data[at]
        question = (".".join(labels), struct.unpack_from(">H", data, at + 1)[0])
        self.asked.append(question)
        if question in self.silent:
            return b""
        if question in self.servfail:
            return data[:2] + b"\x81\x82" + b"\0\1\0\0\0\0\0\0" + data[12:at + 5]
        return None

    def question(self):
        data, client = self.udp.recvfrom(4096)
        answer = self.meets(data)
        if answer is None:
            self.number = (self.number + 1) & 0xffff
            self.waiting[self.number] = client, data[:2]
            self.up.send(struct.pack(">H", self.number) + data[2:])
        elif answer:
            self.udp.sendto(answer, client)

    def answer(self):
        data = self.up.recv(65536)
        client, number = self.waiting.pop(struct.unpack(">H", data[:2])[0], (None, b""))
        if client:
            self.udp.sendto(number + data[2:], client)

    def stream(self, client):
        """Questions over TCP; several may come over one connection."""
        with client, socket.create_connection(("127.0.0.1", self.nsd), 5) as up:
            down, above = client.makefile("rb"), up.makefile("rb")
            while not self.over:
                data = framed(down)
                answer = self.meets(data[2:])
                if answer is None:
                    up.sendall(data)
                    answer = framed(above)
                elif answer:
                    answer = struct.pack(">H", len(answer)) + answer
                client.sendall(answer)

    def streams(self, client):
        try:
            client.settimeout(30)
            self.stream(client)
        except (OSError, IndexError, struct.error):
            pass  # it has left

    def run(self):
        while not self.over:
            for s in select.select([self.udp, self.up, self.tcp], [], [], 0.2)[0]:
                try:
                    if s is self.tcp:
                        threading.Thread(target=self.streams, args=(self.tcp.accept()[0],), daemon=True).start()
                    else:
                        (self.question if s is self.udp else self.answer)()
                except (OSError, IndexError, struct.error):
                    pass
