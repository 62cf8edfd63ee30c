#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""
Measures sendmail(1): calls a second, each with a mail of 2 KB, by Postfix and Veredus in turns, with logging on.

    bench/calls.py [--calls 400] [--callers 1,8] [--rounds 3]

A caller is a shell that calls one after the other, as root, with the configuration of its server named by -C; the sink
counts what arrives. calls/s: until the last call has ended, each mail being safe on disk then; arrived/s: until the last
mail has arrived. CPU: of the calls themselves, and of the server's processes. Needs root, as Postfix does.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import types

sys.dont_write_bytecode = True
import run

MAIL = "Subject: call\n\n" + ("x" * 63 + "\n") * 31


class Postfix(run.Postfix):
    """Its sendmail hands postdrop an environment of its own making, in which the unpacked libraries are not found."""

    def launch(self):
        os.makedirs(os.path.join(self.folder, "etc"), exist_ok=True)
        with open(os.path.join(self.folder, "etc", "main.cf.more"), "w", encoding="ascii") as file:
            file.write("export_environment = TZ MAIL_CONFIG LANG LD_LIBRARY_PATH\n")
        super().launch()


run.SERVERS["postfix"] = Postfix


def command(server):
    """The words that make one call, within the server's view of the machine."""
    if server.name == "veredus":
        return [], f"{server.build}/sendmail -C {server.folder}/veredus.conf"
    package = os.path.join(run.ROOT, "build/peers/postfix")
    libraries = f"{package}/usr/lib/postfix:{package}/usr/lib/x86_64-linux-gnu:{package}/lib/x86_64-linux-gnu"
    return (["nsenter", f"--mount=/proc/{server.pid}/ns/mnt", "env", f"LD_LIBRARY_PATH={libraries}"],
            f"{package}/usr/sbin/sendmail -C {server.folder}/etc")


def children_us():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) * 1e6


def measure(options, name, callers):
    each = options.calls // callers
    with run.serving(options, name, {}, ["--expect", str(each * callers), "--timeout", "120"]) as (server, sink):
        mail = os.path.join(server.folder, "mail")
        with open(mail, "w", encoding="ascii") as file:
            file.write(MAIL)
        before, call = command(server)
        loop = f"n=0; while [ $n -lt {each} ]; do {call} -i -f from@load.example to@sink.example <{mail} || exit 1; n=$((n + 1)); done"
        server_us, calls_us, start = run.cpu_us_of(*server.masters()), children_us(), time.monotonic()
        shells = [subprocess.Popen([*before, "sh", "-c", loop]) for _ in range(callers)]
        failed = sum(shell.wait() != 0 for shell in shells)
        called = time.monotonic() - start
        calls_us = children_us() - calls_us
        got = json.loads(sink.communicate()[0])
        arrived = time.monotonic() - start
        server_us = run.cpu_us_of(*server.masters()) - server_us
    total = each * callers
    return {"calls_per_s": total / called, "arrived_per_s": total / arrived, "call_us": calls_us / total, "server_us": server_us / total,
            "good": not failed and got["other"] == total}


def main():
    parser = argparse.ArgumentParser(description=__doc__.strip().split("\n")[0])
    parser.add_argument("--servers", default="postfix,veredus")
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--callers", default="1,8")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--build", default=os.path.join(run.ROOT, "build"))
    given = parser.parse_args()
    build = os.path.abspath(given.build)
    options = types.SimpleNamespace(build=build, folder=os.path.join(build, "bench", "run"), keep=False, litter=[], calls=given.calls)
    os.makedirs(options.folder, exist_ok=True)
    good = True
    for callers in map(int, given.callers.split(",")):
        rounds = {name: [] for name in given.servers.split(",")}
        for _ in range(given.rounds):
            for name, rows in rounds.items():
                rows.append(measure(options, name, callers))
        print(f"{callers} callers      calls/s  arrived/s  CPU us a call  and of the server")
        for name, rows in rounds.items():
            row = {key: statistics.median(r[key] for r in rows) for key in rows[0]}
            fine = all(r["good"] for r in rows)
            good = good and fine
            print(f"{name:10}{row['calls_per_s']:13.0f}{row['arrived_per_s']:11.0f}{row['call_us']:15.0f}{row['server_us']:19.0f}"
                  f"{'' if fine else '  NOT GOOD'}", flush=True)
    sys.exit(not good)


if __name__ == "__main__":
    main()
