# SPDX-License-Identifier: ISC
"""What end-to-end tests stand on: Veredus started from a configuration in a temporary folder, real peers
beside it on loopback, and a runner for the test_ functions of a file. Only processes started here are ended."""
import functools
import glob
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.dont_write_bytecode = True

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("VEREDUS_BUILD", os.path.join(ROOT, "build")))
PEERS = os.path.join(ROOT, "build", "peers")
BENCH = os.path.join(BUILD, "bench")
IS_ROOT = os.geteuid() == 0
NOBODY = 65534
# Under a sanitizer everything is slower.
PATIENCE = 4 if "asan" in os.path.basename(BUILD) else 1
# What is waited for comes at once, or late where others keep the machine busy, or never.
WAITS = max(PATIENCE, 3)
LOG_LINES = 15  # of each log, where a test failed


class Skip(Exception):
    """What the test needs is not here."""


class Failure(Exception):
    pass


def check(condition, *what):
    if not condition:
        raise Failure(" ".join(str(w) for w in what) or "check failed")


def equal(got, want, what=""):
    if got != want:
        raise Failure(f"{what}: got {str(got)[:600]!r}, expected {str(want)[:600]!r}")


def wait(condition, seconds, what):
    """The first true value of condition(), or a failure after so many seconds."""
    end = time.monotonic() + seconds * WAITS
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"not within {seconds * WAITS} s: {what() if callable(what) else what}")
        time.sleep(0.02)


# Below those that the kernel gives to clients: they stay free while a server is down for a moment.
PORTS = range(10000, 32000, 250)


@functools.cache
def ports():
    """Our share of the ports, one after the other, as long as we live: who is given one binds it only a moment later, and
    until then it looks free to all others. A share is whose socket has its name; the kernel takes it back."""
    for first in random.sample(PORTS, len(PORTS)):
        share = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            share.bind(f"\0veredus-tests-ports-{first}")
            return share, itertools.cycle(range(first, first + PORTS.step))
        except OSError:
            share.close()
    raise Failure("no ports left")


def free_port(addresses=("127.0.0.1",)):
    """A TCP and UDP port that is free at each of the addresses, and given to nobody else."""
    for port in itertools.islice(ports()[1], 2 * PORTS.step):
        try:
            for address in addresses:
                for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
                    with socket.socket(socket.AF_INET, kind) as probe:
                        probe.bind((address, port))
            return port
        except OSError:
            continue
    raise Failure("no free port")


def in_thread(test, listening, loop):
    """Runs LOOP, which waits on that socket until it fails, in a thread that ends with the test. Closed alone, the
    socket would stay open as long as the thread waits in the kernel; and a wait that the kernel takes up again has only
    the descriptor's number, which by then may be another test's socket: its mail would be taken here."""
    thread = threading.Thread(target=loop, daemon=True)

    def end():
        try:
            listening.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # a UDP socket has no peer, and wakes up all the same
        thread.join(10)
        listening.close()
        check(not thread.is_alive(), "a thread still waits on a closed socket")
    test.defer(end)
    thread.start()


def accept(test, listener, serve):
    """SERVE(connection) in a thread for each that connects, until the test ends."""
    def loop():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()
    in_thread(test, listener, loop)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, content, mode=0o644):
    with open(path, "wb") as f:
        f.write(content if isinstance(content, bytes) else content.encode())
    os.chmod(path, mode)
    return path


def peer(*parts):
    """A file of an unpacked package, or of an installed one."""
    for base in glob.glob(os.path.join(PEERS, parts[0])) + ["/"]:
        path = os.path.join(base, *parts[1:])
        if os.path.exists(path):
            return path
    raise Skip(f"{parts[0]} is not unpacked (tests/peers)")


def peer_environment(name, folder=None):
    base = os.path.join(folder or os.path.join(PEERS, name), "usr/lib/x86_64-linux-gnu")
    return dict(os.environ, LD_LIBRARY_PATH=f"{base}:{base}/systemd")


def reachable(test, folder, name, wanted=lambda path: True):
    """FOLDER, or a copy of it in the test's own where nobody, as whom root starts things, cannot reach it. WANTED says
    which of its files the copy has."""
    path = folder
    while IS_ROOT and path != "/":
        if not os.stat(path).st_mode & 0o001:
            copy = os.path.join(test.folder, name)
            if not os.path.isdir(copy):
                shutil.copytree(folder, copy, symlinks=True, ignore=lambda where, names: [
                    n for n in names if not wanted(os.path.join(where, n))])
                os.chmod(copy, 0o755)
            return copy
        path = os.path.dirname(path)
    return folder


def runs(pid):
    """Is there such a process, and no zombie?"""
    try:
        return read(f"/proc/{pid}/stat").rsplit(b")", 1)[1].split()[0] != b"Z"
    except OSError:
        return False


class Process:
    """A child in a session of its own, its output in a file."""

    def __init__(self, test, name, argv, **options):
        self.name = name
        self.output = os.path.join(test.folder, name + ".out")
        self.stdout = open(self.output, "ab")
        self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.stdout,
                                      stderr=options.pop("stderr", subprocess.STDOUT), start_new_session=True, **options)
        self.pid = self.child.pid
        test.defer(self.stop)

    def alive(self):
        return self.child.poll() is None

    def signal(self, number):
        if self.alive():
            os.kill(self.pid, number)

    def wait(self, seconds):
        try:
            return self.child.wait(seconds * WAITS)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} did not end within {seconds * WAITS} s: {self.said()}") from None

    def stop(self, seconds=10):
        self.signal(signal.SIGTERM)
        try:
            self.child.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.stdout.close()
        return self.child.returncode

    def said(self, most=3000):
        return read(self.output).decode(errors="replace")[-most:]


class Sink(Process):
    """build/bench/sink: receives, checks, and keeps what arrives in .mails()."""

    def __init__(self, test, listen, *options, dump=True, name="sink"):
        self.dump = os.path.join(test.folder, name + ".mail")
        self.arrived_list = os.path.join(test.folder, name + ".arrived")
        ready = os.path.join(test.folder, name + ".ready")
        argv = [os.path.join(BENCH, "sink"), "--timeout", "900", "--ready-file", ready, "--arrived-list", self.arrived_list]
        for address in listen:
            argv += ["--listen", address]
        if dump:
            argv += ["--dump", self.dump]
        super().__init__(test, name, argv + list(options), stderr=subprocess.DEVNULL)
        wait(lambda: os.path.exists(ready) or not self.alive(), 10, "the sink")
        check(self.alive(), "the sink did not start")
        os.remove(ready)

    def mails(self):
        """[(envelope, content)] in order of arrival."""
        found = []
        for path in sorted(glob.glob(os.path.join(self.dump, "*.json"))):
            envelope = json.loads(read(path))
            found.append((envelope, read(path[:-5] + ".eml")))
        return found

    def wait_mails(self, count, seconds=20):
        wait(lambda: len(glob.glob(os.path.join(self.dump, "*.json"))) >= count, seconds,
             lambda: f"{count} mails at {self.name}, there are {len(self.mails())}")
        return self.mails()

    def result(self):
        """Ends it; what it counted."""
        self.stop()
        return json.loads(read(self.output).decode().strip().splitlines()[-1])


class Veredus:
    """Veredus run by `veredus run`; as root it is started as nobody."""

    def __init__(self, test, config, name="veredus", user=NOBODY):
        self.test, self.name = test, name
        self.port = free_port()
        self.folder = os.path.join(test.folder, name)
        os.mkdir(self.folder, 0o755)
        self.log = os.path.join(self.folder, "log")
        self.conf = os.path.join(self.folder, "veredus.conf")
        self.queue = os.path.join(self.folder, "queue")
        self.demote = dict(user=user, group=user, extra_groups=[]) if IS_ROOT else {}
        self.build = reachable(test, BUILD, "build", lambda path: os.path.dirname(path) == BUILD and os.path.isfile(path) and os.access(path, os.X_OK))
        self.environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")
        self.wrap = []  # a command that starts it
        self.configure(config)
        if IS_ROOT:
            os.chown(self.folder, user, user)
        self.process = None
        test.logs.append((name, self.log))

    def configure(self, config):
        """Writes the configuration: CONFIG, and each setting that it does not name itself."""
        lines = {
            "hostname": "relay.example",
            "postmaster": "postmaster@client.example",
            "queue": self.queue,
            "relay-from": "{ 127.0.0.0/8 }",
            "log": self.log,
            "listen": f"smtp {{ address = 127.0.0.1:{self.port} }}",
        }
        for word in lines:
            if re.search(rf"^{word}[\s=]", config, re.M):
                lines[word] = None
        self.logs = lines["log"] is not None
        text = "".join(f"{key} {'' if key == 'listen' else '= '}{value}\n" for key, value in lines.items() if value)
        write(self.conf, text + config)

    def start(self, seconds=20):
        before = self.starts()
        self.process = Process(self.test, self.name + ".run", [*self.wrap, os.path.join(self.build, "veredus"), "run", "-c", self.conf],
                               cwd=self.folder, env=self.environment, **self.demote)
        wait(lambda: self.takes_mail(before) or not self.process.alive(), seconds,
             lambda: "a ready Veredus: " + self.process.said() + self.log_text()[-1500:])
        check(self.process.alive(), "Veredus ended:", self.process.said())
        return self

    def greets(self, seconds=10 * WAITS):
        try:
            with socket.create_connection(("127.0.0.1", self.port), seconds) as s:
                return s.recv(512).startswith(b"220")
        except OSError:
            return False

    def starts(self):
        return len(re.findall('started: veredus|"event":"started"', self.log_text()))

    def takes_mail(self, starts):
        """Its log says that all daemons are ready; without a log it answers MAIL."""
        if self.logs or os.path.exists(self.log):
            return self.starts() > starts
        return self.greets() and Smtp(self.port).say("MAIL FROM:<>").startswith("250")

    def stop(self):
        return self.process.stop(45)

    def command(self, *words, input=None, seconds=30, status=0):
        done = subprocess.run([os.path.join(self.build, "veredus"), *words, "-c", self.conf], input=input, env=self.environment,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=seconds * WAITS, **self.demote)
        if status is not None and done.returncode != status:
            raise Failure(f"veredus {' '.join(words)} ended with {done.returncode}: "
                          f"{(done.stdout + done.stderr).decode(errors='replace')[-1500:]}")
        return done.stdout.decode(errors="replace")

    def listed(self, *filters):
        """The queue as veredus queue list --json says it."""
        text = self.command("queue", "list", "--json", *filters).strip()
        if not text:
            return []
        try:
            whole = json.loads(text)
            return whole if isinstance(whole, list) else whole.get("messages", [whole])
        except json.JSONDecodeError:
            return [json.loads(line) for line in text.split("\n")]

    def wait_empty(self, seconds=60):
        wait(lambda: not self.listed(), seconds, lambda: f"an empty queue; listed: {str(self.listed())[:800]}")

    def daemons(self, name=None):
        """{name: [pids]} of master's children, or the pids of one name."""
        found = {}
        for stat in glob.glob("/proc/[0-9]*/stat"):
            try:
                fields = read(stat).rsplit(b")", 1)[1].split()
                if int(fields[1]) == self.process.pid and fields[0] != b"Z":
                    pid = stat.split("/")[2]
                    program = os.path.basename(read(f"/proc/{pid}/cmdline").split(b"\0")[0].decode())
                    program = program.removeprefix("veredus-")
                    found.setdefault(program, []).append(int(pid))
            except (OSError, IndexError):
                continue
        return found.get(name, []) if name else found

    def log_text(self):
        return read(self.log).decode(errors="replace") if os.path.exists(self.log) else ""

    def wait_log(self, pattern, seconds=15):
        return wait(lambda: re.search(pattern, self.log_text()), seconds,
                    lambda: f"log line {pattern!r}; the log ends in: {self.log_text()[-1500:]} {self.process.said()[-500:]}")


class Smtp:
    """A raw SMTP client."""

    def __init__(self, port, address="127.0.0.1", source=None, hello="EHLO client.example"):
        self.socket = socket.create_connection((address, port), 20 * WAITS, source_address=source and (source, 0))
        self.file = self.socket.makefile("rb")
        self.greeting = self.reply()
        if hello:
            equal(self.say(hello)[:3], "250", hello)

    def reply(self):
        lines = []
        while True:
            line = self.file.readline(4096)
            if not line:
                raise Failure(f"connection closed after {lines}")
            lines.append(line.decode(errors="replace").rstrip("\r\n"))
            if line[3:4] != b"-":
                return "\n".join(lines)

    def say(self, line):
        self.socket.sendall(line.encode() + b"\r\n")
        return self.reply()

    def expect(self, code, line):
        reply = self.say(line)
        check(reply.startswith(str(code)), f"{line}: {reply}")
        return reply

    def send(self, sender, recipients, content, mail_words="", rcpt_words=""):
        """One transaction; the queue ID. CONTENT has CRLF lines."""
        self.expect(250, f"MAIL FROM:<{sender}>{mail_words}")
        for recipient in [recipients] if isinstance(recipients, str) else recipients:
            self.expect(250, f"RCPT TO:<{recipient}>{rcpt_words}")
        self.expect(354, "DATA")
        self.socket.sendall(re.sub(rb"(?m)^\.", b"..", content) + b".\r\n")
        reply = self.reply()
        check(reply.startswith("250 2.0.0 Ok: queued as "), "end of data:", reply)
        return reply.split()[-1]

    def close(self):
        try:
            self.say("QUIT")
        except (OSError, Failure):
            pass
        self.file.close()
        self.socket.close()


def send_each(veredus, *recipients, subject="x"):
    """A mail to each of them, over one connection."""
    client = Smtp(veredus.port)
    for recipient in recipients:
        client.send("sender@client.example", recipient, mail(subject))
    client.close()


class Test:
    """What a test function gets: a folder, peers, and the order to end them all."""

    def __init__(self, name):
        self.name = name
        self.folder = tempfile.mkdtemp(prefix="veredus-" + name[:20] + "-")
        os.chmod(self.folder, 0o755)
        self.deferred, self.logs = [], []

    def defer(self, function, *arguments):
        self.deferred.append((function, arguments))

    def show_logs(self):
        """The ends of what was logged, by whom a test names in .logs as (name, path)."""
        for name, path in self.logs:
            lines = read(path).decode(errors="replace").splitlines() if os.path.exists(path) else []
            print("\n".join(f"  {name}: {line[:300]}" for line in lines[-LOG_LINES:]))

    def end(self, keep):
        for function, arguments in reversed(self.deferred):
            try:
                function(*arguments)
            except Exception:  # the others must end as well
                traceback.print_exc()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def sink(self, listen, *options, **more):
        return Sink(self, [listen] if isinstance(listen, str) else listen, *options, **more)

    def veredus(self, config, **more):
        return Veredus(self, config, **more)

    def zone(self, records, name="example", **more):
        """NSD with a zone, and MORE of them (a dot as _), and Unbound before it; what stands in resolver { forward }.
        The servers of a zone that is None say nothing."""
        nsd_port, port = free_port(), free_port()
        silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        silent.bind(("127.0.0.1", 0))
        self.defer(silent.close)
        zones = {name: records, **{other.replace("_", "."): text for other, text in more.items()}}
        stubs = {origin: nsd_port if text is not None else silent.getsockname()[1] for origin, text in zones.items()}
        zones = {origin: text for origin, text in zones.items() if text is not None}
        # Where no zone here says what they are called, 127.0.0.2 and its kin have no name.
        reverse = '  local-zone: "127.in-addr.arpa." nodefault\n' if any(o.endswith("127.in-addr.arpa") for o in zones) else ""
        folder = os.path.join(self.folder, "dns")
        os.mkdir(folder)
        for i, (origin, text) in enumerate(zones.items()):
            write(f"{folder}/zone{i or ''}", f"$ORIGIN {origin}.\n$TTL 60\n@ SOA ns hostmaster 1 60 60 60 60\n@ NS ns\n"
                                       f"ns A 127.0.0.1\n{text}\n")
        write(f"{folder}/nsd.conf", f"""server:
  ip-address: 127.0.0.1@{nsd_port}
  username: ""
  chroot: ""
  zonesdir: "{folder}"
  database: ""
  pidfile: "{folder}/nsd.pid"
  xfrdfile: "{folder}/xfrd.state"
  zonelistfile: "{folder}/zone.list"
  server-count: 1
remote-control:
  control-enable: no
""" + "".join(f"zone:\n  name: {origin}\n  zonefile: zone{i or ''}\n" for i, origin in enumerate(zones)))
        write(f"{folder}/unbound.conf", f"""server:
  interface: 127.0.0.1@{port}
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: "{folder}/unbound.pid"
  use-syslog: no
  do-daemonize: no
  do-not-query-localhost: no
  module-config: "iterator"
  unblock-lan-zones: yes
{reverse}remote-control:
  control-enable: no
""" + "".join(f"stub-zone:\n  name: {origin}\n  stub-addr: 127.0.0.1@{at}\n" for origin, at in stubs.items()))
        Process(self, "nsd", [peer("nsd", "usr/sbin/nsd"), "-d", "-c", f"{folder}/nsd.conf"], env=peer_environment("nsd"))
        Process(self, "unbound", [peer("unbound", "usr/sbin/unbound"), "-d", "-c", f"{folder}/unbound.conf"],
                env=peer_environment("unbound"))
        wait(lambda: dns_answers(port, f"ns.{name}"), 15, "the name servers")
        return f"127.0.0.1@{port}"


def dns_answers(port, name):
    """Does the server answer an A query with an answer?"""
    question = b"".join(bytes([len(w)]) + w.encode() for w in name.split(".")) + b"\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.3)
        try:
            s.sendto(b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + question, ("127.0.0.1", port))
            answer = s.recv(1024)
            return answer[3] & 15 == 0 and answer[6:8] != b"\0\0"
        except OSError:
            return False


def mail(subject, body=b"Hello\r\n", headers=""):
    """A whole mail with CRLF lines."""
    return (f"From: <sender@client.example>\r\nTo: <rcpt@sink.example>\r\nSubject: {subject}\r\n"
            f"Date: Sat, 21 Nov 2026 22:05:00 +0000\r\nMessage-ID: <{subject.replace(' ', '.')}@client.example>\r\n"
            f"{headers}\r\n").encode() + body


def relayed_whole(arrived, sent):
    """What arrived is what was sent behind whole header lines of ours; those lines."""
    check(arrived.endswith(sent), f"changed on its way: {arrived[:1500]!r}")
    added = arrived[:len(arrived) - len(sent)].decode()
    for line in added.split("\r\n")[:-1]:
        check(re.match(r"[A-Za-z-]+: |[ \t]", line), "added line", line)
    check(added.startswith("Received: ") and added.endswith("\r\n"), "added", added)
    return added


# Two receivers on loopback addresses of their own, so that neither is us.
SINK, CLIENT = "127.0.2.1", "127.0.2.2"


def world(test, sink_options=(), config="", start=True, sink_dump=True):
    """Zone example with sink.example and client.example at one port, their sinks, and Veredus.
    Returns (veredus, sink, client)."""
    port = free_port((SINK, CLIENT))
    forward = test.zone(f"""sink MX 10 mx.sink
mx.sink A {SINK}
client MX 10 mx.client
mx.client A {CLIENT}
*.many MX 10 mx.sink
""")
    sink = test.sink(f"{SINK}:{port}", *sink_options, dump=sink_dump)
    client = test.sink(f"{CLIENT}:{port}", name="client")
    veredus = test.veredus(f"resolver {{ forward = {{ {forward} }} trust-anchor = {write(test.folder + '/anchor', '')} }}\n"
                           f"route * {{ to = mx:{port} }}\n" + config)
    veredus.sink_port = port
    if start:
        veredus.start()
    return veredus, sink, client


class Timeout(Exception):
    pass


def alarm(*_):
    raise Timeout("the test took too long")


def slow(test):
    """Marks a test that takes minutes: `tests/run --slow` runs these and no others."""
    test.slow = True
    return test


def main(names, seconds=120):
    """Runs the test_ functions of NAMES (globals()), or the slow ones of them; one line each."""
    wanted, slowly = sys.argv[1:], bool(os.environ.get("SLOW"))
    failed = 0
    signal.signal(signal.SIGALRM, alarm)
    for name, function in list(names.items()):
        if not name.startswith("test_") or (wanted and name not in wanted) or (not wanted and getattr(function, "slow", False) != slowly):
            continue
        test = Test(name[5:])
        started = time.monotonic()
        signal.alarm(int(getattr(function, "seconds", seconds) * PATIENCE))
        try:
            function(test)
            result = "ok"
        except Skip as why:
            result = f"SKIPPED ({why})"
        except Exception as why:
            failed += 1
            if not isinstance(why, (Failure, Timeout)):
                traceback.print_exc(file=sys.stdout)
            else:
                frame = traceback.extract_tb(why.__traceback__)
                print("  at", " < ".join(f"{os.path.basename(f.filename)}:{f.lineno}" for f in reversed(frame)))
            result = "FAILED " + str(why).replace("\n", "\n  ")
            test.show_logs()
        signal.alarm(0)
        test.end(keep=result.startswith("FAILED") and os.environ.get("KEEP"))
        print(f"{result.split(' ', 1)[0]} {name} {time.monotonic() - started:.1f}s {result.partition(' ')[2]}".rstrip(), flush=True)
    sys.exit(1 if failed else 0)
