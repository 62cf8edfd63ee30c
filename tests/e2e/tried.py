# SPDX-License-Identifier: ISC
"""veredus route --connect: what is met at each host, by its real policy, and that nothing of a mail is ever said."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import json
import re
import time

import hostile as r
import secure as s
import veredus as v

INSIDE = b"250-receiver.example\r\n250-SIZE 1000000\r\n250-8BITMIME\r\n250 REQUIRETLS\r\n"


def ehlo(conn):
    conn.send(INSIDE if isinstance(conn.socket, s.ssl.SSLSocket) else s.OFFER)


def test_tried(t):
    """A table: what a host does, the policy, and what is told."""
    ca = s.Authority(t.folder, "authority", host="Test Authority")
    good, other = ca.signed("good", "mx.good.example"), ca.signed("other", "mx.other.example")
    tls = s.Receiver(t, pair=good, ehlo=ehlo)
    wrong, plain = s.Receiver(t, pair=other), s.Receiver(t)
    away = v.free_port((v.SINK,))
    refuses, declines = s.Receiver(t, greeting=b"554 5.7.1 not you\r\n"), s.Receiver(t, pair=good, star=b"454 4.7.0 not now\r\n")
    broken = s.Receiver(t, pair=good, star=lambda c: (c.send(s.READY), c.send(b"\x15\x03\x01\x00\x02\x02\x28"), c.until_closed()))
    relay = s.Receiver(t, pair=good, ehlo=lambda c: c.send(s.PLAIN.replace(b"250 ", b"250-AUTH PLAIN\r\n250 ") if isinstance(c.socket, s.ssl.SSLSocket) else s.OFFER))
    login = f" login = ann password-file = {v.write(t.folder + '/password', 'secret')}"
    verify = "tls = verify tls-names = { mx.good.example }"
    table = {  # name: port, policy, result, words, TLS
        "good": (tls.port, verify, "fine", "", r"TLSv1\.3/\w+/x25519/verified"),
        "may": (tls.port, "tls = may", "fine", "", r"TLSv1\.3/\w+/x25519/unverified"),
        "clear": (plain.port, "tls = may", "fine", "", ""),
        "other": (wrong.port, verify, "tls-failed", "for another name", ""),
        "lacks": (plain.port, "tls = encrypt", "tls-failed", "does not offer it", ""),
        "away": (away, "", "unreachable", "Connection refused", ""),
        "refuses": (refuses.port, "", "refused", "554 5.7.1 not you", ""),
        "declines": (declines.port, "tls = may", "clear", "454 4.7.0 not now", ""),
        "login": (relay.port, verify + login, "fine", "the login was not tried", r"TLSv1\.3/\w+/x25519/verified"),
        "nologin": (tls.port, verify + login, "refused", "it offers no login", r"TLSv1\.3/\w+/x25519/verified(/resumed)?"),
        "family": (plain.port, "source = six", "untried", "the source has no address of its kind", ""),
        "broken": (broken.port, "tls = may", "clear", "TLS handshake failed", ""),
    }
    anchor = v.write(t.folder + "/anchor", "")
    policies = v.write(t.folder + "/policies", "table.example verify names=mx.other.example\n")
    veredus = t.veredus(f"resolver {{ trust-anchor = {anchor} }}\ntls-authorities = {ca.certificate}\ntls-policies = {policies}\nsource six {{ ipv6 = ::1 }}\n"
                        + "".join(f"route {name}.example {{ to = smtp:[{v.SINK}]:{port} {policy} }}\n" for name, (port, policy, *_) in table.items())
                        + f"route table.example {{ to = {{ smtp:[{v.SINK}]:{tls.port}, smtp:[{v.SINK}]:{away}, smtp:[{v.SINK}]:{wrong.port} }} }}\n").start()
    for name, (port, _, result, words, used) in table.items():
        told = json.loads(veredus.command("route", f"x@{name}.example", "--connect", "--json", status=result not in ("fine", "clear")))["tried"]
        v.equal([(h["port"], h["result"]) for h in told], [(port, result)], name)
        v.check(words in told[0]["why"] and re.fullmatch(used, told[0]["tls"]), name, told)
    told = json.loads(veredus.command("route", "good.example", "--connect", "--json"))["tried"][0]
    v.equal((told["offers"], told["names"], told["subject"], told["issuer"]), (["receiver.example", "SIZE 1000000", "8BITMIME", "REQUIRETLS"], "mx.good.example",
                                                                              "CN=mx.good.example", "CN=Test Authority"))
    v.check(89 * 86400 < told["until"] - time.time() < 91 * 86400 and told["took_us"] > 0, told)
    # The policy of the table counts, and all hosts are tried.
    told = json.loads(veredus.command("route", "table.example", "--connect", "--json"))["tried"]
    v.equal([(h["port"], h["result"]) for h in told], [(tls.port, "tls-failed"), (away, "unreachable"), (wrong.port, "fine")])
    text = veredus.command("route", "table.example", "--connect")
    v.check(re.search(rf"{wrong.port}: takes mail \(\d+ ms\)\n +TLS +TLSv1.3\S*/verified\S*\n +certificate +CN=mx.other.example\n", text), text)
    # The same for mail with REQUIRETLS.
    for name, result, words, level in (("good", "fine", "", "verified"), ("may", "tls-failed", "there is no name", "none"), ("clear", "tls-failed", "there is no name", "none"),
                                       ("login", "refused", "does not offer REQUIRETLS: the mail comes back", "verified")):
        told = json.loads(veredus.command("route", f"x@{name}.example", "--requiretls", "--connect", "--json", status=result != "fine"))
        v.equal(([h["tls"] for h in told["hosts"]], [h["result"] for h in told["tried"]], told["requiretls"]), ([level], [result], True), name)
        v.check(words in told["tried"][0]["why"], told)
    text = veredus.command("route", "may.example", "--requiretls")
    v.check(re.search(r"^requiretls +to hosts that prove their name", text, re.M) and "mail comes back (5.7.10)" in text, text)
    shown = veredus.command("route", "good.example")
    v.check("\ntried" not in shown, "without --connect nothing is tried", shown)
    said = [c for x in (tls, wrong, relay, plain, refuses, declines, broken) for c in x.commands if c.split()[0].upper() not in (b"EHLO", b"STARTTLS", b"QUIT")]
    v.equal(said, [], "said to receivers")
    v.equal(veredus.stop(), 0, "exit status")


def test_bounded(t):
    """One that hangs costs its time and no more; who asks may leave; a worker that dies is said."""
    hangs = r.Receiver(t, greeting=r.hang)
    anchor = v.write(t.folder + "/anchor", "")
    veredus = t.veredus(f"resolver {{ trust-anchor = {anchor} }}\nworkers {{ smtp-client = 1 }}\nroute * {{ to = smtp:[{v.SINK}]:{hangs.port} }}\n"
                        "route no.example { to = discard }\n").start()
    v.equal(veredus.command("route", "no.example", "--connect").count("tried"), 0)
    began = time.monotonic()
    told = json.loads(veredus.command("route", "a.example", "--connect", "--json", status=1))["tried"]
    v.check(told[0]["result"] == "refused" and "too long" in told[0]["why"] and 9 < time.monotonic() - began < 20 * v.PATIENCE, told, time.monotonic() - began)
    asking = v.subprocess.Popen([os.path.join(veredus.build, "veredus"), "route", "a.example", "--connect", "-c", veredus.conf], stdout=v.subprocess.DEVNULL,
                                stderr=v.subprocess.PIPE, text=True, **veredus.demote)
    v.wait(lambda: hangs.connections == 2, 10, "connected")
    os.kill(veredus.daemons("smtp-client-0")[0] if "smtp-client-0" in veredus.daemons() else veredus.daemons("smtp-client")[0], 9)
    v.check("smtp-client ended meanwhile" in asking.communicate(timeout=60)[1], "said")

    def connects():
        """Who asks when the next worker is not there yet is told so at once."""
        asking = v.subprocess.Popen(again, stdout=v.subprocess.DEVNULL, stderr=v.subprocess.PIPE, text=True, **veredus.demote)
        v.wait(lambda: hangs.connections == 3 or asking.poll() is not None, 20, "connected")
        asking.kill()
        said = asking.communicate()[1]
        v.check(hangs.connections == 3 or "no smtp-client runs" in said, said)
        return hangs.connections == 3
    again = asking.args
    v.wait(connects, 20, "another worker")
    v.equal(veredus.stop(), 0, "exit status")


v.main(globals())
