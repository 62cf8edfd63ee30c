# SPDX-License-Identifier: ISC
"""Routes of senders: by whose relay mail goes, under whose login, and what becomes of it when the relay is another or none."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import base64
import json
import re
import signal

import hostile as r
import veredus as v

TIMES = "retry { first = 1s longest = 1s }\n"
AUTH = b"250-receiver.example\r\n250-AUTH PLAIN\r\n250-PIPELINING\r\n250 8BITMIME\r\n"


class Relay(r.Receiver):
    """Notes (login, sender, recipient) of each recipient that it is offered; a connection has one login."""

    def __init__(self, t, **says):
        self.met = []
        super().__init__(t, **{"ehlo": AUTH, "auth": self.log_in, "mail": self.sender, "rcpt": self.recipient, **says})

    def log_in(self, conn):
        v.check(not hasattr(conn, "login"), "a second login")
        conn.login = base64.b64decode(conn.line.split()[2]).decode().split("\0")[1]
        conn.send(b"235 2.7.0 in\r\n")

    def sender(self, conn):
        conn.sender = re.search(rb"<(.*?)>", conn.line)[1].decode()
        conn.send(b"250 2.1.0 Ok\r\n")

    def recipient(self, conn):
        self.met.append((getattr(conn, "login", None), conn.sender, re.search(rb"<(.*?)>", conn.line)[1].decode()))
        conn.send(b"250 2.1.5 Ok\r\n")


def route(t, name, relay, login):
    """A relay on this machine: a password in the clear is for such alone."""
    path = v.write(f"{t.folder}/secret.{login}", f"pw-{login}\n", 0o600)
    if v.IS_ROOT:
        os.chown(path, v.NOBODY, v.NOBODY)
    return f"route {name} {{ to = smtp:[{v.SINK}]:{relay.port}  login = {login}  password-file = {path}  tls = may }}\n"


def sent(veredus, sender, recipient, source=None):
    client = v.Smtp(veredus.port, source=source)
    identity = client.send(sender, recipient, v.mail("from " + sender.replace("@", " at ")))
    client.close()
    return identity


def met(*relays, count):
    v.wait(lambda: sum(len(x.met) for x in relays) >= count, 20, lambda: f"{count} recipients: {[x.met for x in relays]}")
    return [sorted(x.met) for x in relays]


def reload(veredus, config, generation):
    veredus.configure(config)
    veredus.process.signal(signal.SIGHUP)
    veredus.wait_log(f"generation {generation} is in force")


def test_whose_relay(t):
    """Two relays, of which one has two logins; what a domain's own route says goes first; reports; strangers."""
    one, two, rest = Relay(t), Relay(t), Relay(t)
    own = Relay(t, rcpt=b"550 5.1.1 no such user\r\n")
    # Of more than 256 the passwords are opened when they are needed.
    routes = "".join(route(t, f"@n{i}", two, "other") for i in range(260)) + route(t, "@one", one, "login1") + route(t, "@two", two, "login2") + route(t, "@other", one, "login3")
    veredus = t.veredus(TIMES + routes + f"route own.example {{ to = smtp:[{v.SINK}]:{own.port} }}\nroute * {{ to = smtp:[{v.SINK}]:{rest.port} }}\n"
                        "sender one.example { route = @one }\nsender x@one.example { route = @other }\nsender .two.example { route = @two }\n"
                        "sender <> { route = @two }\nrelay-from = { 127.0.0.1 }\nrelay-to = { far.example }\n").start()
    for sender in "a@one.example", "x@one.example", "a@sub.two.example", "a@else.example", "b@one.example":
        sent(veredus, sender, "r@far.example")
    sent(veredus, "a@one.example", "r@own.example")           # comes back, to route *, by the route of reports
    sent(veredus, "c@one.example", "r@far.example", "127.0.0.9")  # anybody can say that
    got = met(one, two, rest, count=7)
    v.equal(got[0], [("login1", "a@one.example", "r@far.example"), ("login1", "b@one.example", "r@far.example"), ("login3", "x@one.example", "r@far.example")])
    v.equal(got[1], [("login2", "", "a@one.example"), ("login2", "a@sub.two.example", "r@far.example")])
    v.equal(got[2], [(None, "a@else.example", "r@far.example"), (None, "c@one.example", "r@far.example")])
    veredus.wait_empty()
    sites = {s["site"] for s in json.loads(veredus.command("status", "--json"))["sites"]}
    v.check({f"[{v.SINK}]:{x.port}{login}" for x, login in ((one, "/login1"), (one, "/login3"), (two, "/login2"), (rest, ""), (own, ""))} <= sites, sites)
    veredus.wait_log(r"to=<r@far\.example>.*status=sent .* policy=may/@one\n")
    v.equal(veredus.stop(), 0, "exit status")


def test_it_stays(t):
    """Over a restart, and when the relay moves; without its route mail waits, and goes nowhere else."""
    first, second, rest = Relay(t, rcpt=b"450 4.2.1 not now\r\n"), Relay(t), Relay(t)
    rule, default = "sender one.example { route = @one }\n", f"route * {{ to = smtp:[{v.SINK}]:{rest.port} }}\n"
    veredus = t.veredus(TIMES + route(t, "@one", first, "login1") + rule + default).start()
    identity = sent(veredus, "a@one.example", "r@far.example")
    veredus.wait_log(rf"{identity}: to=<r@far\.example>.*status=deferred \(450 4\.2\.1 not now\)")
    v.equal(json.loads(veredus.command("queue", "show", identity, "--json"))["route"], "@one")
    v.equal([len(veredus.listed(f"site={v.SINK}")), len(veredus.listed("site=far.example"))], [1, 0], "where it is for")
    veredus.stop()
    before = len(first.commands)
    veredus.start()
    v.wait(lambda: any(c.startswith(b"RCPT") for c in first.commands[before:]), 20, lambda: f"it goes there again: {first.commands[before:]}")
    # A name that is gone: neither to route *, nor back.
    reload(veredus, TIMES + default, 2)
    veredus.wait_log(r"no next hop for far\.example now: there is no route @one, by which its sender had it go")
    v.wait(lambda: "there is no route @one" in veredus.command("queue", "list"), 5, lambda: veredus.command("queue", "list"))
    veredus.stop()
    said = veredus.log_text().count("there is no route @one")
    veredus.start()
    v.wait(lambda: veredus.log_text().count("there is no route @one") > said, 20, "the same after a restart")
    reload(veredus, TIMES + route(t, "@one", second, "login9") + default, 2)
    v.equal(met(second, rest, count=1), [[("login9", "a@one.example", "r@far.example")], []])
    veredus.wait_empty()
    v.equal(veredus.stop(), 0, "exit status")


def offered(veredus, sender):
    """The reply to a message of that sender."""
    client = v.Smtp(veredus.port)
    client.expect(250, f"MAIL FROM:<{sender}>")
    client.expect(250, "RCPT TO:<r@far.example>")
    client.expect(354, "DATA")
    reply = client.say("Subject: x\r\n\r\nx\r\n.")
    client.close()
    return reply


def look(veredus, two):
    """What veredus route says of a sender, and tries."""
    def told(*words, **more):
        return json.loads(veredus.command("route", "r@far.example", "--json", *words, **more))
    plain, bob = told(), told("--from", "bob@block.example")
    v.equal((plain["route"]["pattern"], "sender" in plain), ("*", False))
    v.equal((bob["route"]["pattern"], bob["sender"]), ("@one", {"by": "sender", "key": "bob@block.example", "source": "", "route": "@one"}))
    v.equal(bob["site"]["name"].split("/")[1], "login1")
    v.equal(told("--from", "Ann@Block.Example", "--login", "carol")["sender"]["key"], "ann@block.example")
    carol = told("--from", "x@customer1.example", "--login", "carol", "--connect")
    v.equal((carol["sender"]["by"], carol["sender"]["key"], carol["tried"][0]["port"], carol["source"]), ("sender-routes", "login:carol", two.port, "a"))
    v.equal(told("--from", "<>")["sender"], {"by": "sender-routes", "key": "<>", "source": "", "route": "@one"})
    v.equal(told("--from", "x@nobody.example")["sender"], {"by": "", "key": "", "source": "", "route": ""})
    text = veredus.command("route", "r@far.example", "--from", "a@customer1.example")
    v.check(re.search(r"^sender +route = @one, source = a; sender-routes customer1\.example\nroute +@one { to = smtp:\S+ }, line \d+ of ", text, re.M)
            and re.search(r"^login +login1$", text, re.M), text)
    veredus.command("route", "r@far.example", "--login", "x", status=64)  # of which sender?


def test_table(t):
    """Five thousand senders in a table that changes without a reload; the most exact goes first; what is broken takes no mail."""
    one, two, rest = Relay(t), Relay(t), Relay(t)
    own = Relay(t, rcpt=b"550 5.1.1 no such user\r\n")
    table = t.folder + "/senders"
    rows = "".join(f"customer{i}.example route=@{'one' if i % 2 else 'two'} source=a\n" for i in range(5000))
    v.write(table, rows + "ann@block.example route=@two\nblock.example route=@two\n.far.example source=a\n<> route=@one\nlogin:carol route=@two source=a\n")
    veredus = t.veredus(TIMES + route(t, "@one", one, "login1") + route(t, "@two", two, "login2") + f"route * {{ to = smtp:[{v.SINK}]:{rest.port} }}\n"
                        f"source a {{ ipv4 = 127.0.3.1 }}\nsender-routes = {table}\nsender block.example {{ route = @one }}\nsender bob@block.example {{ route = @one }}\n"
                        f"route own.example {{ to = smtp:[{v.SINK}]:{own.port} }}\n")
    veredus.start()
    for sender in "a@customer4999.example", "a@customer4998.example", "ann@block.example", "bob@block.example", "eve@block.example", "a@x.far.example", "":
        sent(veredus, sender, "r@far.example")
    got = met(one, two, rest, count=7)
    v.equal(got[0], [("login1", s, "r@far.example") for s in ("", "a@customer4999.example", "bob@block.example")])
    v.equal(got[1], [("login2", s, "r@far.example") for s in ("a@customer4998.example", "ann@block.example", "eve@block.example")])
    v.equal(got[2], [(None, "a@x.far.example", "r@far.example")])
    veredus.wait_log(r"to=<r@far\.example>.* policy=may/@two source=a\n")
    sent(veredus, "ann@block.example", "r@own.example")  # comes back, by what the table says of <>
    v.wait(lambda: ("login1", "", "ann@block.example") in one.met, 15, lambda: f"the report: {one.met}")
    look(veredus, two)
    refused = "451 4.3.5 Error: the sender's route can't be looked up now, try again later"
    # What there is not; then something else; then the table is gone, and comes back.
    v.write(table, "bad.example route=@nobody\n")
    said = veredus.command("check", status=1)
    v.check(f'sender-routes: {table}:1: "route=@nobody" names nothing that there is' in said, said)
    v.wait(lambda: offered(veredus, "a@bad.example") == refused, 15, "the entry is seen")
    veredus.command("route", "r@far.example", "--from", "a@bad.example", status=1)
    v.write(table, "bad.example route=@two\n")
    v.wait(lambda: offered(veredus, "a@bad.example").startswith("250"), 15, "the new entry")
    v.wait(lambda: ("login2", "a@bad.example", "r@far.example") in two.met, 15, lambda: f"by it: {two.met}")
    v.equal(offered(veredus, "a@other.example")[:3], "250")
    os.unlink(table)
    os.kill(veredus.daemons()["table"][0], signal.SIGKILL)
    v.wait(lambda: offered(veredus, "a@other.example") == refused, 15, "without a table")
    v.write(table, "other.example route=@one\n")
    v.wait(lambda: offered(veredus, "a@other.example").startswith("250"), 15, "the table is back")
    v.wait(lambda: ("login1", "a@other.example", "r@far.example") in one.met, 15, lambda: f"by it: {one.met}")
    veredus.wait_empty()
    v.equal(veredus.stop(), 0, "exit status")


def test_policies(t):
    """The table of destinations' policies: over a sender's route to mx where it says more of them, and never over a relay."""
    policies = v.write(t.folder + "/policies", "bank.example encrypt\n* dane-only\n")
    senders = ("d", "@direct"), ("s", "@strict"), ("r", "@relay")
    veredus = t.veredus(f"resolver {{ forward = {{ 127.0.0.1@{v.free_port()} }}  timeout = 1s }}\ntls-policies = {policies}\n"
                        f"route @direct {{ to = mx }}\nroute @strict {{ to = mx  tls = may }}\nroute @relay {{ to = smtp:[{v.SINK}]:25 }}\n"
                        + "".join(f"sender {name}.example {{ route = {route} }}\n" for name, route in senders)).start()
    wanted = {"d": ("bank.example", "*"), "s": ("bank.example", None), "r": (None, None)}
    for name, keys in wanted.items():
        for domain, key in zip(("bank.example", "else.example"), keys):
            told = json.loads(veredus.command("route", domain, "--from", f"x@{name}.example", "--json", status=None))
            v.equal(told["tls_table"] and told["tls_table"]["key"], key, f"{name} to {domain}: {told}")
            v.equal(told["tls"], {"bank.example": "encrypt", "*": "dane-only", None: "may" if name == "s" else "dane"}[key])
    v.equal(veredus.stop(), 0, "exit status")


if __name__ == "__main__":
    v.main(globals())
