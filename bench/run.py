#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""
Measures Postfix, the bare loop and Veredus by turns in one run, on one file system, with logging on.

    bench/run.py [--servers postfix,loop,veredus] [--scenarios main,lone] [--rounds 3] [--syscalls] [--scale 1.0]

Each server is started afresh for each round of each scenario, with its queue in a folder of its own; bench/load.c sends,
bench/sink.c verifies that every accepted message arrives exactly once and unchanged: a round in which one does not
counts as failed and fails the run. Reported are medians over the rounds: delivered messages/s (first send to last
arrival), CPU microseconds a message (utime and stime of all the server's processes, /proc/PID/stat), the 50th and 99th
percentile from sending a message to its arrival, the most memory, and the ratios. --syscalls adds one round under strace -c -f.
Prints a table and writes build/bench/results.json. Postfix (bench/postfix.sh) needs root.
"""

import argparse
import contextlib
import json
import os
import platform
import pwd
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
import mailboxes
import outward
import secure
from scenarios import DEFAULT_SCENARIOS, SCENARIOS

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
MEMORY_FILE_SYSTEMS = {"tmpfs", "ramfs", "devtmpfs", "overlay"}
START_LIMIT_S = 30
OFFERED = ["--with", "CHUNKING"]  # by all receivers, as by Postfix' smtpd and Exim; who sends need not use it


def die(text):
    sys.exit(f"run.py: {text}")


def file_system_of(path):
    """The type of the file system that holds path, from the longest mount point that is a prefix of it."""
    path = os.path.realpath(path)
    best = ("", "")
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        for line in mounts:
            left, right = line.split(" - ", 1)
            point = left.split()[4]
            if (path + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best[0]):
                best = (point, right.split()[0])
    return best[1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def processes_of(*masters):
    """The pids of the masters and all their descendants."""
    children = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                with open(f"/proc/{name}/stat", encoding="latin-1") as stat:
                    parent = int(stat.read().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(name))
    found, todo = [], list(masters)
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def cpu_us_of(*masters):
    """CPU of the whole trees; what ended children used is in their parents' cutime and cstime."""
    ticks = 0
    for pid in processes_of(*masters):
        with contextlib.suppress(OSError, IndexError):
            with open(f"/proc/{pid}/stat", encoding="latin-1") as stat:
                ticks += sum(int(field) for field in stat.read().rsplit(")", 1)[1].split()[11:15])
    return ticks * TICK_US


def memory_kb_of(*masters):
    """Proportional set size of the whole trees."""
    total = 0
    for pid in processes_of(*masters):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/smaps_rollup", encoding="latin-1") as rollup:
                total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total


class PeakMemory:
    """The most that the tree of a server took, looked at every second: Postfix has most of its processes at the end."""

    def __init__(self, *masters):
        self.masters, self.most_kb, self.ended = masters, 0, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.ended.wait(1):
            self.most_kb = max(self.most_kb, memory_kb_of(*self.masters))

    def kb(self):
        self.ended.set()
        self.thread.join()
        return max(self.most_kb, memory_kb_of(*self.masters))


def wait_for_greeting(port, process):
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end:
        if process is not None and process.poll() is not None:
            die(f"{process.args[0]} ended at its start with status {process.returncode}")
        with contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", port), timeout=2) as probe:
                if probe.recv(200).startswith(b"220"):
                    probe.sendall(b"QUIT\r\n")
                    probe.recv(200)
                    return
        time.sleep(0.05)
    die(f"nobody greets on port {port}")


class Server:
    """One server under test; subclasses say how it starts. pid is the master of its processes."""

    name = ""

    def __init__(self, build, folder, port, sink_ports, slow_ms):
        self.build, self.folder, self.port, self.slow_ms = build, folder, port, slow_ms
        # One next hop, or one for each of the domains dN.sink.example.
        self.sink_port, self.sink_ports = sink_ports[0], sink_ports
        self.process = None
        self.pid = 0
        self.secure = None  # with TLS: its certificate, its users, its ports
        self.outward = None  # with destinations to be looked up: their DNS
        self.mailboxes = None  # with mailboxes here, or behind LMTP

    def masters(self):
        """Whose processes do its work: its own, and those that it asks for logins."""
        return [self.pid] + ([self.secure.dovecot.process.pid] if self.secure and self.secure.dovecot else []) + (
            [self.outward.unbound.pid] if self.outward and self.outward.unbound else [])

    def entry(self, scenario):
        """Where the load goes."""
        name = scenario.get("tls", {}).get("entry", "smtp")
        return f"127.0.0.1:{self.port if name == 'smtp' else self.secure.ports[name]}"

    def environment(self):
        environment = dict(os.environ)
        if self.slow_ms:
            environment["LD_PRELOAD"] = os.path.join(self.build, "bench", "slowsync.so")
            environment["SLOWSYNC_MS"] = self.slow_ms
        return environment

    def run(self, command, **options):
        self.output = open(os.path.join(self.folder, "output"), "wb")
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output, env=self.environment(), **options
        )
        self.pid = self.process.pid

    def start(self):
        self.launch()
        wait_for_greeting(self.port, self.process)
        if self.secure:
            self.secure.wait_for_login()

    def stop(self):
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.close()


class Loop(Server):
    name = "loop"

    def launch(self):
        self.run([
            os.path.join(self.build, "bench", "loop"), "--listen", f"127.0.0.1:{self.port}",
            "--next-hop", f"127.0.0.1:{self.sink_port}", "--file", os.path.join(self.folder, "queue"),
        ])


class Postfix(Server):
    name = "postfix"

    def script(self, *arguments):
        environment = dict(os.environ)
        if self.slow_ms:
            environment["POSTFIX_PRELOAD"] = os.path.join(self.build, "bench", "slowsync.so")
            environment["SLOWSYNC_MS"] = self.slow_ms
        subprocess.run([os.path.join(HERE, "postfix.sh"), *arguments], check=True, timeout=300, env=environment)

    def launch(self):
        os.makedirs(os.path.join(self.folder, "etc"), exist_ok=True)
        with open(os.path.join(self.folder, "etc", "transport"), "w", encoding="ascii") as file:
            for number, port in enumerate(self.sink_ports[1:]):
                file.write(f"d{number}.sink.example smtp:[127.0.0.1]:{port}\n")
        if self.secure:
            self.secure.postfix_settings()
        if self.outward:
            self.outward.postfix_settings()
        if self.mailboxes:
            self.mailboxes.postfix_settings()
        self.script("start", self.folder, str(self.port), f"[127.0.0.1]:{self.sink_port}")
        with open(os.path.join(self.folder, "master.pid"), encoding="ascii") as file:
            self.pid = int(file.read())

    def stop(self):
        self.script("stop", self.folder)


class Veredus(Server):
    name = "veredus"

    def launch(self):
        queue = os.path.join(self.folder, "queue")
        configuration = os.path.join(self.folder, "veredus.conf")
        os.makedirs(queue, exist_ok=True)
        with open(configuration, "w", encoding="ascii") as file:
            file.write(
                "hostname = veredus.example\n"
                f"queue = {queue}\n"
                "relay-from = { 127.0.0.0/8 }\n"
                f"listen smtp {{ address = 127.0.0.1:{self.port} }}\n"
                + (self.outward.veredus_settings() if self.outward else
                   self.mailboxes.veredus_settings() if self.mailboxes else
                   f"route * {{ to = smtp:[127.0.0.1]:{self.sink_port} }}\n")
                + "".join(
                    f"route d{number}.sink.example {{ to = smtp:[127.0.0.1]:{port} }}\n"
                    for number, port in enumerate(self.sink_ports[1:])
                ) +
                "limits { per-client = 20000 }\n"
                + (self.secure.veredus_settings() if self.secure else "") +
                f"log = {os.path.join(self.folder, 'log')}\n"
            )
        identity = self.identity(queue, configuration)
        if self.secure:
            self.secure.add_user(configuration, identity)
        command = [os.path.join(self.build, "veredus"), "run", "-c", configuration]
        self.run(self.mailboxes.veredus_command(command) if self.mailboxes else command, **identity)

    def identity(self, *paths):
        """Root without Veredus' users: it then runs as nobody, as any ordinary user may."""
        if os.getuid() != 0 or (self.mailboxes and self.mailboxes.root):
            return {}
        with contextlib.suppress(KeyError):
            pwd.getpwnam("veredus-qmgr")
            return {}
        nobody = pwd.getpwnam("nobody")
        for path in (self.folder, *paths):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


SERVERS = {"postfix": Postfix, "loop": Loop, "veredus": Veredus}


class Strace:
    """Counts the system calls of all of a server's processes while it is attached."""

    def __init__(self, server):
        self.path = os.path.join(server.folder, "strace")
        command = ["strace", "-f", "-c", "-o", self.path]
        for pid in processes_of(*server.masters()):
            command += ["-p", str(pid)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)

    def total(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        with open(self.path, encoding="ascii") as file:
            for line in file:
                if line.rstrip().endswith(" total"):
                    return int(line.split()[3])
        die("strace gave no total")


def start_sink(build, folder, arguments, ports, address="127.0.0.1", program="sink"):
    """The sink and its ports; each given one is 0 for any."""
    ready = os.path.join(folder, "sink.ready")
    command = [os.path.join(build, "bench", program), "--ready-file", ready, *arguments]
    for port in ports:
        command += ["--listen", f"{address}:{port}"]
    sink = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    end = time.monotonic() + START_LIMIT_S
    while not os.path.exists(ready):
        if sink.poll() is not None or time.monotonic() > end:
            die("the sink does not start")
        time.sleep(0.01)
    with open(ready, encoding="ascii") as file:
        return sink, [int(line.rsplit(":", 1)[1]) for line in file if ":" in line]


@contextlib.contextmanager
def serving(options, name, scenario, sink_arguments):
    """A sink and a server in a folder of their own; both are gone afterwards."""
    folder = tempfile.mkdtemp(prefix=f"{name}-", dir=options.folder)
    os.chmod(folder, 0o755)
    ports = [0] * (scenario.get("destinations", 0) + 1)
    out = outward.Outward(options.build, folder, scenario["out"], free_port) if "out" in scenario else None
    sink_arguments = sink_arguments + scenario.get("sink", []) + (out.sink_arguments if out else [])
    boxes = mailboxes.Mailboxes(options.build, folder, scenario["boxes"]) if "boxes" in scenario else None
    if boxes:
        program, words = boxes.program()
        sink, sink_ports = start_sink(options.build, folder, sink_arguments + words, [], program=program)[0], [0]
        boxes.ready()
    else:
        sink, sink_ports = start_sink(options.build, folder, OFFERED + sink_arguments, ports, "0.0.0.0" if out else "127.0.0.1")
    server = SERVERS[name](options.build, folder, free_port(), sink_ports, scenario.get("slow_ms"))
    server.outward, server.mailboxes = out, boxes
    if "tls" in scenario:
        server.secure = secure.Secure(options.build, folder, scenario["tls"]["key"], free_port)
    try:
        if out:
            out.start(sink_ports[0])
        server.start()
        yield server, sink
    finally:
        server.stop()
        if server.secure:
            server.secure.stop()
        if out:
            out.stop()
        if sink.poll() is None:
            sink.kill()
        sink.wait()
        if boxes and not options.keep:
            options.litter.append(folder)  # ext4 is slow in making files where it has just removed thousands
        elif not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def load_command(options, server, scenario, *arguments):
    words = [os.path.join(options.build, "bench", "load"), "--to", server.entry(scenario), *arguments, *scenario.get("load", [])]
    return words + (secure.load_arguments(scenario["tls"]) if "tls" in scenario else [])


def run_load(options, server, scenario, *arguments):
    load = subprocess.run(load_command(options, server, scenario, *arguments), stdout=subprocess.PIPE, check=False)
    return json.loads(load.stdout)


def measure_mail(options, name, scenario, strace=False):
    messages = max(10, int(scenario["messages"][name] * options.scale))
    if strace:
        messages = min(messages, 2000)
    limit = str(options.timeout)
    with serving(options, name, scenario, ["--expect", str(messages), "--timeout", limit]) as (server, sink):
        tracer = Strace(server) if strace else None
        memory = PeakMemory(*server.masters())
        cpu_us = cpu_us_of(*server.masters())
        asked = server.outward.queries() if server.outward else 0
        sent = run_load(options, server, scenario, "--messages", str(messages), "--timeout", limit)
        got = json.loads(sink.communicate()[0])
        time.sleep(0.2)  # the last outcomes are recorded and logged after the last arrival
        cpu_us = cpu_us_of(*server.masters()) - cpu_us
        memory_kb = memory.kb()
        asked = server.outward.queries() - asked if server.outward else 0
        calls = tracer.total() if tracer else None
    seconds = (got["last_arrival_ns"] - sent["first_send_ns"]) / 1e9
    good = (
        sent["accepted"] == messages == got["arrived"]
        and not (got["duplicates"] or got["corrupt"] or got["missing"] or got["protocol_errors"])
    )
    result = {
        "messages": messages,
        "good": good,
        "delivered_per_s": got["arrived"] / seconds if seconds > 0 else 0,
        "accepted_per_s": sent["messages_per_s"],
        "cpu_us": cpu_us / max(1, got["arrived"]),
        "memory_mb": memory_kb / 1024,
        "arrival_p50_ms": got["latency_p50_ms"],
        "arrival_p99_ms": got["latency_p99_ms"],
        "reply_p50_ms": sent["dot_to_250_p50_ms"],
        "reply_p99_ms": sent["dot_to_250_p99_ms"],
    }
    if "out" in scenario:
        result.update(dns_queries=asked / messages, handshakes=got["handshakes"] / messages, resumed=got["resumed"] / messages)
    if strace:
        result = {"good": good, "system_calls": calls / messages}
    if not good:
        result["load"], result["sink"] = sent, got
    return result


def measure_idle(options, name, scenario):
    clients = max(10, int(scenario["idle"] * options.scale))
    with serving(options, name, scenario, ["--timeout", str(options.timeout)]) as (server, _):
        before_kb = memory_kb_of(*server.masters())
        load = subprocess.Popen(
            load_command(options, server, scenario, "--idle", str(clients), "--hold-ms", "4000", "--timeout",
                         str(options.timeout)),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        load.stderr.readline()  # all clients are connected now
        after_kb = memory_kb_of(*server.masters())
        result = json.loads(load.communicate()[0])
    result["kb_per_client"] = (after_kb - before_kb) / max(1, result["greeted"])
    result["good"] = result["greeted"] == clients and result["new_missed"] == 0
    return result


def measure_handshakes(options, name, scenario):
    """Connections with TLS and, for what the rest of them costs, as many without."""
    count = max(100, int(scenario["handshakes"] * options.scale))
    words = ["--only-connect", "--sessions", "50", "--sources", "50", "--timeout", str(options.timeout), "--messages"]
    plain = {}  # the port where no TLS begins by itself
    with serving(options, name, scenario, ["--timeout", str(options.timeout)]) as (server, _):
        for way in (scenario, plain):  # processes are started, tickets handed out
            run_load(options, server, way, *words, "200")
        cpu_us = [cpu_us_of(*server.masters())]
        sent = run_load(options, server, scenario, *words, str(count))
        time.sleep(0.2)
        cpu_us.append(cpu_us_of(*server.masters()))
        run_load(options, server, plain, *words, str(count))
        time.sleep(0.2)
        cpu_us.append(cpu_us_of(*server.masters()))
    resumes = "--resume" in scenario.get("load", [])
    tls_us, plain_us = (cpu_us[1] - cpu_us[0]) / max(1, sent["handshakes"]), (cpu_us[2] - cpu_us[1]) / count
    return {
        "handshakes": sent["handshakes"],
        "resumed": sent["resumed"],
        # The first connection of each of the 50 sessions has no ticket yet.
        "good": sent["accepted"] == count and (sent["resumed"] >= count - 50 if resumes else not sent["resumed"]),
        "tls": sent["tls"],
        "handshakes_per_s": sent["messages_per_s"],
        "cpu_us": tls_us,
        "plain_us": plain_us,
        "handshake_us": tls_us - plain_us,
        "greet_p50_ms": sent["dot_to_250_p50_ms"],
        "greet_p99_ms": sent["dot_to_250_p99_ms"],
    }


def command(options, server, *words):
    """The veredus command on the server's queue; what it says as JSON, where it does."""
    done = subprocess.run(
        [os.path.join(options.build, "veredus"), *words, "-c", os.path.join(server.folder, "veredus.conf")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=options.timeout,
    )
    if done.returncode:
        return {}
    return json.loads(done.stdout) if "--json" in words else {"text": done.stdout.decode()}


def fill(options, server, messages):
    load = subprocess.run(
        [os.path.join(options.build, "bench", "load"), "--to", f"127.0.0.1:{server.port}", "--messages", str(messages),
         "--timeout", str(options.timeout), "--sessions", "50"],
        stdout=subprocess.PIPE, check=False,
    )
    return json.loads(load.stdout)


def qmgr_kb(server):
    for pid in processes_of(server.pid):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/cmdline", encoding="latin-1") as line, open(f"/proc/{pid}/status", encoding="latin-1") as status:
                if "qmgr" in line.read().split("\0")[0]:
                    return next(int(row.split()[1]) for row in status if row.startswith("VmRSS:"))
    return 0


def slope(rates):
    """What the straight line through all of them loses from its first to its last, as a share of the first."""
    middle, mean = (len(rates) - 1) / 2, statistics.mean(rates)
    rise = sum((i - middle) * (r - mean) for i, r in enumerate(rates)) / sum((i - middle) ** 2 for i in range(len(rates)))
    return -rise * (len(rates) - 1) / (mean - rise * middle)


def measure_queued(options, name, scenario):
    """Accepts against a dead next hop, dies, comes back, and delivers it all."""
    part = max(100, int(scenario["queued"] * options.scale) // 10)
    result = {"messages": 10 * part}
    with serving(options, name, scenario, ["--timeout", "1"]) as (server, nothing):
        nothing.wait()
        rates = [fill(options, server, part)["messages_per_s"] for _ in range(10)]
        result.update(accepted_first=statistics.median(rates[:3]), accepted_last=statistics.median(rates[-3:]),
                      accepted_slope=slope(rates), qmgr_mb=qmgr_kb(server) / 1024)
        print("    accepted/s by tenths: " + " ".join(f"{rate:.0f}" for rate in rates))
        for pid in processes_of(server.pid)[1:]:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        server.process.kill()
        server.process.wait()
        start = time.monotonic()
        server.start()
        # As a client would: again after a 451.
        while fill(options, server, 1)["accepted"] != 1 and time.monotonic() < start + options.timeout:
            time.sleep(0.05)
        result["first_mail_s"] = time.monotonic() - start
        while command(options, server, "status", "--json").get("loading", True) and time.monotonic() < start + options.timeout:
            time.sleep(0.02)
        result.update(loaded_s=time.monotonic() - start, qmgr_again_mb=qmgr_kb(server) / 1024)
        expected = 10 * part + 1
        sink, _ = start_sink(options.build, server.folder, [*OFFERED, "--expect", str(expected), "--timeout", str(options.timeout)],
                             [server.sink_port])
        start = time.monotonic()
        command(options, server, "queue", "flush")
        got = json.loads(sink.communicate()[0])
        result["drained_per_s"] = got["arrived"] / (time.monotonic() - start)
    result["good"] = got["arrived"] >= expected and not (got["duplicates"] or got["corrupt"])
    return result


def medians(rounds):
    keys = [key for key, value in rounds[0].items() if isinstance(value, (int, float)) and not isinstance(value, bool)]
    summary = {key: statistics.median(one[key] for one in rounds) for key in keys}
    summary["good"] = all(one["good"] for one in rounds)
    return summary


def ratios(summaries):
    """What Veredus, or else the loop, is to the others."""
    result = {}
    for name in ("veredus", "loop"):
        for other in ("postfix", "loop"):
            mine, theirs = summaries.get(name), summaries.get(other)
            if name == other or not mine or not theirs:
                continue
            if "handshake_us" in theirs:
                result[f"{name}/{other}"] = {
                    key: mine[key] / theirs[key] for key in ("handshakes_per_s", "cpu_us", "handshake_us") if theirs[key]
                }
            if not theirs.get("delivered_per_s"):
                continue
            result[f"{name}/{other}"] = {
                "delivered_per_s": mine["delivered_per_s"] / theirs["delivered_per_s"],
                "cpu_us": mine["cpu_us"] / theirs["cpu_us"] if theirs["cpu_us"] else 0,
            }
    return result


def run_scenario(options, key):
    scenario = SCENARIOS[key]
    measure = (measure_idle if "idle" in scenario else measure_queued if "queued" in scenario else
               measure_handshakes if "handshakes" in scenario else measure_mail)
    servers = [name for name in options.servers
               if name in scenario.get("messages", options.servers) and not (name == "loop" and "tls" in scenario)]
    rounds = {name: [] for name in servers}
    for number in range(options.rounds):
        # Another order each round: what the one before leaves behind (dirty pages, TIME_WAIT) meets each in turn.
        turn = number % max(1, len(servers))
        for name in servers[turn:] + servers[:turn]:
            print(f"  {key} round {number + 1}: {name} ...", end="", flush=True, file=sys.stderr)
            one = measure(options, name, scenario)
            rounds[name].append(one)
            print(" ok" if one["good"] else f" NOT GOOD {one}", file=sys.stderr)
    summaries = {name: medians(rounds[name]) for name in servers}
    if options.syscalls and measure == measure_mail:
        for name in servers:
            print(f"  {key} strace: {name}", file=sys.stderr)
            summaries[name]["system_calls"] = measure_mail(options, name, scenario, strace=True)["system_calls"]
    return {"text": scenario["text"], "median": summaries, "ratios": ratios(summaries), "rounds": rounds}


def print_mail(result):
    print(f"{'':10}{'delivered/s':>12}{'CPU us/msg':>12}{'calls/msg':>11}{'arrival p50':>13}{'p99 ms':>10}"
          f"{'250 p50':>10}{'p99 ms':>10}{'MB':>10}")
    for name, row in result["median"].items():
        calls = f"{row['system_calls']:.1f}" if "system_calls" in row else "-"
        print(f"{name:10}{row['delivered_per_s']:12.0f}{row['cpu_us']:12.1f}{calls:>11}{row['arrival_p50_ms']:13.2f}"
              f"{row['arrival_p99_ms']:10.2f}{row['reply_p50_ms']:10.3f}{row['reply_p99_ms']:10.3f}{row['memory_mb']:10.1f}"
              f"{'' if row['good'] else '  NOT GOOD'}")
        if "dns_queries" in row:
            print(f"{'':10}  a message: {row['dns_queries']:.2f} DNS queries, {row['handshakes']:.3f} TLS handshakes, "
                  f"{row['resumed']:.3f} of them resumed")
    for pair, ratio in result["ratios"].items():
        print(f"{pair}: {ratio['delivered_per_s']:.2f} times the messages/s, {ratio['cpu_us']:.4f} of the CPU a message")


def print_idle(result):
    print(f"{'':10}{'greeted':>10}{'new p50 ms':>12}{'worst ms':>10}{'KB a client':>13}")
    for name, row in result["median"].items():
        new = f"{row['greet_p50_ms']:.2f}" if row["new_greeted"] else "none"
        print(f"{name:10}{row['greeted']:10.0f}{new:>12}{row['greet_worst_ms']:10.2f}{row['kb_per_client']:13.1f}")


def print_handshakes(result):
    print(f"{'':10}{'handshakes/s':>13}{'CPU us, whole':>15}{'without TLS':>13}{'handshake':>11}{'p50':>9}{'p99 ms':>9}")
    for name, row in result["median"].items():
        print(f"{name:10}{row['handshakes_per_s']:13.0f}{row['cpu_us']:15.0f}{row['plain_us']:13.0f}{row['handshake_us']:11.0f}"
              f"{row['greet_p50_ms']:9.2f}{row['greet_p99_ms']:9.2f}{'' if row['good'] else '  NOT GOOD'}")
    for pair, ratio in result["ratios"].items():
        print(f"{pair}: {ratio['handshakes_per_s']:.2f} times the handshakes/s, {ratio['cpu_us']:.3f} of the CPU a connection, "
              f"{ratio.get('handshake_us', 0):.3f} of what TLS adds")


def print_queued(result):
    for name, row in result["median"].items():
        print(f"{name}: {row['messages']:.0f} queued; accepted {row['accepted_first']:.0f}/s at first, "
              f"{row['accepted_last']:.0f}/s at last ({-row['accepted_slope']:+.0%} along the line through all); "
              f"qmgr {row['qmgr_mb']:.0f} MB, after the restart "
              f"{row['qmgr_again_mb']:.0f} MB; first mail {row['first_mail_s']:.2f} s, all loaded {row['loaded_s']:.2f} s "
              f"after the start; drained at {row['drained_per_s']:.0f}/s{'' if row['good'] else '  NOT GOOD'}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("--servers", default="postfix,loop,veredus")
    parser.add_argument("--scenarios", default=",".join(DEFAULT_SCENARIOS), help=", ".join(SCENARIOS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the numbers of messages and clients")
    parser.add_argument("--syscalls", action="store_true", help="one more round under strace -c -f")
    parser.add_argument("--timeout", type=int, default=180, help="seconds for one measurement")
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--folder", help="where the queues lie (BUILD/bench/run); a real file system")
    parser.add_argument("--keep", action="store_true", help="leave queues and logs where they are")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    options.folder = os.path.abspath(options.folder or os.path.join(options.build, "bench", "run"))
    options.servers = options.servers.split(",")
    options.scenarios = options.scenarios.split(",")
    for name in options.servers:
        if name not in SERVERS:
            die(f"no server '{name}'; there are {', '.join(SERVERS)}")
    for name in options.scenarios:
        if name not in SCENARIOS:
            die(f"no scenario '{name}'; there are {', '.join(SCENARIOS)}")
    if "postfix" in options.servers and os.getuid() != 0:
        die("Postfix needs root; --servers loop,veredus does not")
    if options.rounds < 1 or options.scale <= 0:
        die("--rounds and --scale are above zero")
    return options


def main():
    options = arguments()
    options.litter = []
    os.makedirs(options.folder, exist_ok=True)
    kind = file_system_of(options.folder)
    if kind in MEMORY_FILE_SYSTEMS:
        die(f"{options.folder} lies on {kind}: a sync there costs nothing; give a folder on a disk")
    os.environ.setdefault("POSTFIX_PACKAGE", os.path.join(options.build, "peers", "postfix"))
    results = {
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "file_system": kind},
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rounds": options.rounds,
        "scale": options.scale,
        "scenarios": {},
    }
    good = True
    path = os.path.join(options.build, "bench", "results.json")
    for key in options.scenarios:
        result = run_scenario(options, key)
        results["scenarios"][key] = result
        print(f"\n{key}: {result['text']} (median of {options.rounds}, {kind})")
        (print_idle if "idle" in SCENARIOS[key] else print_queued if "queued" in SCENARIOS[key] else
         print_handshakes if "handshakes" in SCENARIOS[key] else print_mail)(result)
        # No Postfix serves 10,000 clients with a process each: that it does not is the figure, not a fault of the run.
        good = good and all(row["good"] for name, row in result["median"].items()
                            if not ("idle" in SCENARIOS[key] and name == "postfix"))
        with open(path, "w", encoding="ascii") as file:
            json.dump(results, file, indent=1)
    for folder in options.litter:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{path}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
