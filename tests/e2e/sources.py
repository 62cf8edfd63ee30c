# SPDX-License-Identifier: ISC
"""Sources: from which address mail leaves, under what name, and that each has limits of its own."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import json
import re
import signal
import threading

import hostile as r
import veredus as v

A, B = "127.0.3.1", "127.0.3.2"
SOURCES = f"source a {{ ipv4 = {A}  ipv6 = ::1  helo = a.mail.example }}\nsource b {{ ipv4 = {B} }}\npool out {{ sources = {{ a*3, b }} }}\n"


def sent(veredus, sender, recipient):
    client = v.Smtp(veredus.port)
    identity = client.send(sender, recipient, v.mail("from " + sender.replace("@", " at ")))
    client.close()
    return identity


def came(sink):
    """{recipient: (address, name)} of what arrived."""
    return {re.search(r"<(.*?)>", envelope["rcpt"][0])[1]: (envelope["peer"].rsplit(":", 1)[0].strip("[]"), envelope["helo"]) for envelope, _ in sink.mails()}


def test_route_and_sender(t):
    """The route of that name, then the sender, then route *; each address with its name, and families apart."""
    port = v.free_port((v.SINK,))
    sink = t.sink([f"{v.SINK}:{port}", f"[::1]:{port}"])
    to, six = f"to = smtp:[{v.SINK}]:{port}", f"to = smtp:[::1]:{port}"
    veredus = t.veredus(SOURCES + f"sender news.example {{ source = a }}\nsender one@news.example {{ source = b }}\n"
                        f"route * {{ {to} }}\nroute fixed.example {{ {to} source = b }}\n"
                        f"route six.example {{ {six} source = a }}\nroute onlyfour.example {{ {six} source = b }}\n").start()
    wanted = {"plain@d.example": ("x@y.example", "127.0.0.1", "relay.example"), "news@d.example": ("x@news.example", A, "a.mail.example"),
              "one@d.example": ("one@news.example", B, "relay.example"), "fixed@fixed.example": ("x@news.example", B, "relay.example"),
              "six@six.example": ("x@y.example", "::1", "a.mail.example")}
    ids = {recipient: sent(veredus, sender, recipient) for recipient, (sender, _, _) in wanted.items()}
    sink.wait_mails(len(wanted))
    v.equal(came(sink), {recipient: row[1:] for recipient, row in wanted.items()})
    veredus.wait_log(rf"{ids['news@d.example']}: to=<news@d.example>, .*status=sent .* policy=\S+ source=a\n")
    veredus.wait_log(rf"{ids['plain@d.example']}: to=<plain@d.example>, .* policy=\S+\n")
    # No host that the source can reach: it waits, and says why.
    sent(veredus, "x@y.example", "z@onlyfour.example")
    veredus.wait_log(r"to=<z@onlyfour.example>.*dsn=4\.4\.4, status=deferred \(source b has no IPv6 address, and the receiver's hosts have no others\).* source=b")
    v.check("source      b\n" in veredus.command("route", "x@fixed.example"), "veredus route names it")
    v.wait(lambda: "source=a" in veredus.command("trace", "news@d.example", status=None), 10, "the line in the history")


def test_a_pool_shares_by_weight(t):
    """1,000 messages over a pool of 3 to 1; each stays with its source while it is tried again, and over a restart."""
    MANY = 40  # none of them from b: one time in 100,000
    port = v.free_port((v.SINK,))
    sink = t.sink(f"{v.SINK}:{port}")
    met, served = {}, threading.Event()

    def rcpt(conn):
        """'Not now' until the test lets it; notes from where."""
        met.setdefault(conn.line.decode(), []).append(conn.socket.getpeername()[0])
        conn.send(b"250 2.1.5 Ok\r\n" if served.is_set() else b"450 4.2.1 not now\r\n")

    slow = r.Receiver(t, rcpt=rcpt)
    veredus = t.veredus(SOURCES + f"route * {{ to = smtp:[{v.SINK}]:{port} source = out }}\n"
                        f"route slow.example {{ to = smtp:[{v.SINK}]:{slow.port} }}\nsender x.example {{ source = out }}\nretry {{ first = 1s longest = 1s }}\n").start()
    client = v.Smtp(veredus.port)
    for i in range(1000):
        client.send("s@y.example", f"r{i}@d.example", v.mail(f"m{i}"))
    for i in range(MANY):
        client.send("s@x.example", f"r{i}@slow.example", v.mail(f"s{i}"))
    client.close()
    found = [address for address, _ in came_all(sink, 1000)]
    share = found.count(A)
    v.check(share + found.count(B) == 1000 and 690 <= share <= 810, "of 1,000 from a:", share)
    v.wait(lambda: len(met) == MANY and all(len(x) > 1 for x in met.values()), 20, lambda: f"two attempts each: {met}")
    shown = json.loads(veredus.command("queue", "show", veredus.listed("recipient=r0@slow.example")[0]["queue_id"], "--json"))
    v.equal(shown["source"], "out", "what queue show says")
    veredus.stop()
    before = {name: len(x) for name, x in met.items()}
    veredus.start()
    served.set()
    v.wait(lambda: all(len(x) > before[name] for name, x in met.items()), 30, lambda: f"an attempt each: {met}")
    v.check(all(len(set(x)) == 1 for x in met.values()), "a message keeps its source", met)
    v.check({A, B} == {x[0] for x in met.values()}, "both were used", met)
    veredus.wait_empty()


def came_all(sink, count):
    """(address, name) of each mail, one of several recipients counted once."""
    sink.wait_mails(count, 60)
    return list(came(sink).values())


def test_one_source_is_refused(t):
    """A receiver that has enough of one address takes mail from the other; a reload moves what waits."""
    def greeting(conn):
        conn.send(b"421 4.7.0 too much mail from you\r\n" if conn.socket.getpeername()[0] == A else r.GOOD["greeting"])

    receiver = r.Receiver(t, greeting=greeting)
    sender = f"sender bad.example {{ source = a }}\nsender good.example {{ source = b }}\nroute * {{ to = smtp:[{v.SINK}]:{receiver.port} }}\nretry {{ first = 1h longest = 1h }}\n"
    veredus = t.veredus(SOURCES + sender).start()
    client = v.Smtp(veredus.port)
    for i in range(40):
        client.send("s@bad.example" if i % 2 else "s@good.example", f"r{i}@d.example", v.mail(f"m{i}"))
    client.close()
    v.wait(lambda: len(receiver.contents) == 20, 20, lambda: f"what the other source sends: {len(receiver.contents)}")
    veredus.wait_log(r"site \S+ source=a is down: .*421 4\.7\.0 too much mail from you")

    def sites(source):
        return [s for s in json.loads(veredus.command("status", "--json"))["sites"] if s["site"].endswith(" source=" + source)]
    # The last outcome comes after the mail.
    v.wait(lambda: [s["ready"] for s in sites("a")] == [20] and any(s["relayed"] == 20 for s in sites("b")), 10, lambda: f"the sites: {sites('a')} {sites('b')}")
    v.check("421 4.7.0 too much mail" in veredus.command("queue", "list"), "queue list says why")
    # The name means another address now.
    veredus.configure(SOURCES.replace(A, "127.0.3.3") + sender)
    veredus.process.signal(signal.SIGHUP)
    v.wait(lambda: len(receiver.contents) == 40, 20, lambda: f"what waited: {len(receiver.contents)} {veredus.log_text()[-800:]}")
    veredus.wait_empty()


def test_an_address_that_is_not_here(t):
    """veredus check warns of it, mail from it waits and says why, and other mail flows."""
    port = v.free_port((v.SINK,))
    sink = t.sink(f"{v.SINK}:{port}")
    gone = "source gone { ipv4 = 192.0.2.77  ipv6 = ::1 }\nsender gone.example { source = gone }\n"
    veredus = t.veredus(SOURCES + gone + f"route * {{ to = smtp:[{v.SINK}]:{port} }}\nretry {{ first = 1h longest = 1h }}\n")
    veredus.start()
    v.check(re.search(r":\d+:1: warning: source gone: no mail can leave from 192\.0\.2\.77 now: Cannot assign requested address", veredus.process.said()),
            "what veredus check says, and veredus run:", veredus.process.said())
    identity = sent(veredus, "s@gone.example", "g@d.example")
    sent(veredus, "s@x.example", "x@d.example")
    sink.wait_mails(1)
    why = r"source gone: no connection can be made from 192\.0\.2\.77: Cannot assign requested address"
    veredus.wait_log(rf"{identity}: to=<g@d.example>.*dsn=4\.3\.5, status=deferred \({why}\)")
    veredus.wait_log(rf"site \S+ source=gone is down: {why}")
    v.check(re.search(why, veredus.command("queue", "list")), "queue list says why")
    v.wait(lambda: len(veredus.listed()) == 1, 10, lambda: f"one in the queue: {veredus.listed()}")
    # With another address for it, it goes.
    veredus.configure(SOURCES + gone.replace("192.0.2.77", A) + f"route * {{ to = smtp:[{v.SINK}]:{port} }}\n")
    veredus.process.signal(signal.SIGHUP)
    sink.wait_mails(2)
    v.equal(came(sink)["g@d.example"][0], A)


def test_not_on_this_machine(t):
    """A source of an outside address stops no mail for a mail store, or a filter, that is on this machine."""
    filter = r.Receiver(t)
    store = r.Receiver(t, lhlo=r.GOOD["ehlo"])
    veredus = t.veredus(f"source out {{ ipv4 = 192.0.2.77  helo = out.mail.example }}\nsource near {{ ipv4 = {A} }}\nsender * {{ source = out }}\n"
                        "sender near.example { source = near }\nretry { first = 1h longest = 1h }\n"
                        f"route store.example {{ to = lmtp:[{v.SINK}]:{store.port} }}\nroute * {{ to = smtp:[{v.SINK}]:{filter.port} }}\n").start()
    for sender in "s@x.example", "s@near.example":
        for recipient in f"{sender[2:6]}@store.example", f"{sender[2:6]}@d.example":
            sent(veredus, sender, recipient)
    veredus.wait_empty()
    said = [veredus.wait_log(rf"to=<{who}>, .*status=sent .* policy=\S+( source=\S+)?\n")[1] for who in ("x.ex@store.example", "x.ex@d.example", "near@store.example", "near@d.example")]
    v.equal(said, [None, None, None, " source=near"])
    v.equal({c for c in filter.commands if c.startswith(b"EHLO")}, {b"EHLO relay.example\r\n"})
    v.equal((len(store.contents), len(filter.contents)), (2, 2))


if __name__ == "__main__":
    v.main(globals())
