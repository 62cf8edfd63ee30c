# SPDX-License-Identifier: ISC
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import re
import shutil
import signal
import socket
import struct
import subprocess
import time

import far
import veredus as v


def swaks(port, *words):
    done = subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(port), *words], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=60)
    return done.returncode, done.stdout.decode(errors="replace")


def test_swaks_through_mx(t):
    """A real client, a real zone with an MX: what arrives is what was sent behind our Received."""
    veredus, sink, _ = v.world(t)
    sent = v.mail("by swaks", b"one\r\n.\r\n..two\r\n\r\nthree\r\n")
    path = v.write(t.folder + "/mail", sent.replace(b"\r\n", b"\n"))
    status, said = swaks(veredus.port, "--from", "sender@client.example", "--to", "rcpt@sink.example,two@sink.example",
                         "--helo", "client.example", "--data", "@" + path)
    v.equal(status, 0, said)
    identity = re.search(r"queued as (\w+)", said)[1]
    envelope, content = sink.wait_mails(1)[0]
    added = v.relayed_whole(content.rstrip(b"\r\n") + b"\r\n", sent.rstrip(b"\r\n") + b"\r\n")
    v.check(identity in added and "relay.example" in added and "client.example" in added, added)
    v.check("sender@client.example" in str(envelope["mail"]), envelope)
    v.check(all(a in str(envelope["rcpt"]) for a in ("rcpt@sink.example", "two@sink.example")), envelope)
    v.equal(len(sink.mails()), 1, "one transaction for two recipients of one site")
    veredus.wait_empty(15)


def test_unknown_domains_of_one_next_hop(t):
    """Domains that nobody asked for yet, behind one host: the first mail to them goes in one transaction."""
    veredus, sink, _ = v.world(t, start=False)
    with open(veredus.conf, "a", encoding="ascii") as conf:
        conf.write(f"route .fixed.example {{ to = smtp:mx.sink.example:{veredus.sink_port} }}\n")
    veredus.start()
    client = v.Smtp(veredus.port)
    fixed = [f"a@d{i}.fixed.example" for i in range(5)]
    client.send("sender@client.example", fixed, v.mail("fixed"))
    sink.wait_mails(1)
    client.send("sender@client.example", [f"a@d{i}.many.example" for i in range(5)], v.mail("by MX"))
    client.close()
    veredus.wait_empty(15)
    v.equal(sorted(len(envelope["rcpt"]) for envelope, _ in sink.mails()), [5, 5], "recipients of each transaction")


def test_msmtp(t):
    if not shutil.which("msmtp"):
        raise v.Skip("msmtp is not installed")
    veredus, sink, _ = v.world(t)
    sent = v.mail("by msmtp", b"x" * 500 + b"\r\n.dot\r\n")
    done = subprocess.run(["msmtp", "--host=127.0.0.1", f"--port={veredus.port}", "--from=sender@client.example",
                           "--domain=client.example", "--auth=off", "--tls=off", "rcpt@sink.example"],
                          input=sent.replace(b"\r\n", b"\n"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    v.equal(done.returncode, 0, done.stdout)
    v.relayed_whole(sink.wait_mails(1)[0][1], sent)


def test_bytes_stay(t):
    """8-bit text, long lines, dots, an empty body, 5 MB: byte for byte."""
    veredus, sink, _ = v.world(t)
    bodies = [b"", b".\r\n", b"..\r\n.a\r\n", bytes(range(128, 256)) * 7 + b"\r\n", b"y" * 998 + b"\r\n",
              b"z" * 65530 and b"".join(b"line %d of a large one\r\n" % i for i in range(2800)),
              b"".join(b"%09d 5 MB of it, a little at a time, and then some more of that\r\n" % i for i in range(75000))]
    client = v.Smtp(veredus.port)
    sent = {}
    for i, body in enumerate(bodies):
        sent[f"{i}@sink.example"] = v.mail(f"bytes {i}", body)
        client.send("sender@client.example", f"{i}@sink.example", sent[f"{i}@sink.example"], " BODY=8BITMIME")
    client.close()
    got = {}
    for envelope, content in sink.wait_mails(len(bodies), 40):
        address = re.search(r"\d@sink\.example", str(envelope["rcpt"]))[0]
        v.check(address not in got, "twice:", address)
        got[address] = v.relayed_whole(content, sent[address])
    v.equal(len(got), len(bodies))
    v.equal(sink.result()["protocol_errors"], 0)


def test_relay_denied(t):
    """Nobody relays unless said; relay-to is taken from anyone."""
    veredus, sink, _ = v.world(t, config="relay-from = { 192.0.2.0/24 }\nrelay-to = { sink.example }\n")
    client = v.Smtp(veredus.port)
    client.expect(250, "MAIL FROM:<sender@client.example>")
    for address in "x@elsewhere.example", "x@[127.0.0.1]", "x%elsewhere.example@other.example", "x@sub.sink.example":
        client.expect("550 5.7.1", f"RCPT TO:<{address}>")
    client.expect(250, "RCPT TO:<x@SINK.example>")
    client.expect(250, "RSET")
    client.send("sender@client.example", "x@sink.example", v.mail("allowed"))
    client.close()
    sink.wait_mails(1)
    veredus.wait_log(r"NOQUEUE: reject: RCPT from .*550 5\.7\.1.*to=<x@elsewhere\.example>")


def test_client_names(t):
    """What a client is called stands in Received and in the log, if the name leads back to its address. The greeting waits
    for no name server, mail for none longer than some seconds."""
    forward = t.zone("good A 127.0.0.9\nliar A 127.0.0.99", silent=None, **{
        "127_in-addr_arpa": "9.0.0 PTR good.example.\n10.0.0 PTR liar.example.\n11.0.0 PTR x.silent."})
    port = v.free_port()
    sink = t.sink(f"127.0.0.1:{port}")
    config = (f"route * {{ to = smtp:[127.0.0.1]:{port} }}\n"
              f"resolver {{ forward = {{ {forward} }} trust-anchor = {v.write(t.folder + '/anchor', '')} %s }}\n")
    veredus = t.veredus(config % "").start()

    def sends(source, subject):
        began = time.monotonic()
        client = v.Smtp(veredus.port, source=source)
        greeted = time.monotonic() - began
        identity = client.send("a@client.example", "b@sink.example", v.mail(subject))
        took = time.monotonic() - began
        client.close()
        os.kill(veredus.daemons("resolver")[0], signal.SIGCONT)
        content = v.wait(lambda: [c for _, c in sink.mails() if subject.encode() in c], 15, subject)[0]
        return greeted, took, identity, content.split(b"\r\n")[0].decode()

    for i, (source, name) in enumerate((("127.0.0.9", "good.example"), ("127.0.0.10", None), ("127.0.0.12", None), ("127.0.0.1", None),
                                        ("127.0.0.9", "good.example"))):
        greeted, took, identity, received = sends(source, f"name {i}")
        v.equal(received, f"Received: from client.example ({name + ' ' if name else ''}[{source}])", source)
        veredus.wait_log(rf"{identity}: client={name or 'unknown'}\[{source}\]\n")
        v.check(took < 2 * v.PATIENCE, source, "took", took)
    # Its name servers say nothing: greeted at once, and the mail waits a little, once.
    greeted, took, identity, received = sends("127.0.0.11", "silence")
    v.equal(received, "Received: from client.example ([127.0.0.11])", "without a name")
    v.check(greeted < 1 * v.PATIENCE and 2 < took < 8 * v.PATIENCE, "greeted", greeted, "took", took)
    v.check(sends("127.0.0.11", "again")[1] < 1 * v.PATIENCE, "waited again")
    veredus.configure(config % "client-names = no")
    veredus.process.signal(signal.SIGHUP)
    veredus.wait_log("generation 2 is in force")
    v.equal(sends("127.0.0.9", "unasked")[3], "Received: from client.example ([127.0.0.9])", "not looked up")
    # Without resolver there is no name, and mail goes on.
    veredus.configure(config % "")
    veredus.process.signal(signal.SIGHUP)
    veredus.wait_log("generation 3 is in force")
    os.kill(veredus.daemons("resolver")[0], signal.SIGSTOP)
    greeted, took, identity, received = sends("127.0.0.13", "no resolver")
    v.check(greeted < 1 * v.PATIENCE and took < 8 * v.PATIENCE, "greeted", greeted, "took", took)
    v.equal(received, "Received: from client.example ([127.0.0.13])", "without a resolver")
    v.equal(veredus.stop(), 0, "exit status")


def test_segments(t):
    """Who says all that PIPELINING allows in one piece has each answer in one, and the end with the last of them."""
    veredus, sink, _ = v.world(t)
    turns = (b"", b"EHLO client.example\r\n", b"MAIL FROM:<a@client.example>\r\nRCPT TO:<b@sink.example>\r\nDATA\r\n",
             v.mail("in few pieces") + b".\r\nQUIT\r\n")
    with socket.create_connection(("127.0.0.1", veredus.port), 20) as connection:
        for turn in turns:
            connection.sendall(turn)
            v.check(connection.recv(4096).endswith(b"\r\n"), turn)
        v.equal(connection.recv(4096), b"", "behind QUIT")
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    v.equal(struct.unpack_from("I", info, 152), (len(turns),), "segments with data")  # tcpi_data_segs_in
    sink.wait_mails(1)


def test_smuggling(t):
    """Only CRLF.CRLF ends data; what is no CRLF is refused."""
    veredus, sink, _ = v.world(t)
    for end in b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\r\n\0.\r\n":
        client = v.Smtp(veredus.port)
        client.expect(250, "MAIL FROM:<a@client.example>")
        client.expect(250, "RCPT TO:<b@sink.example>")
        client.expect(354, "DATA")
        client.socket.sendall(b"Subject: x\r\n\r\nbody" + end + b"MAIL FROM:<evil@client.example>\r\n\r\n.\r\n")
        reply = client.reply()
        v.check(reply.startswith("550 5.5.2") or reply.startswith("5"), end, reply)
        client.close()
    v.equal(sink.mails(), [])


def test_to_postfix(t):
    """A real Postfix takes what we send, and hands it on to the sink; from far away several mails in one go."""
    if not v.IS_ROOT:
        raise v.Skip("starting an unpacked Postfix needs root")
    v.peer("postfix", "usr/lib/postfix/sbin/master")
    environment = dict(os.environ, POSTFIX_PACKAGE=v.reachable(t, os.path.join(v.PEERS, "postfix"), "peer"))
    out, port = v.free_port((v.SINK,)), v.free_port()
    sink = t.sink(f"{v.SINK}:{out}")
    script = os.path.join(v.ROOT, "bench/postfix.sh")
    folder = t.folder + "/postfix"
    t.defer(subprocess.run, ["sh", script, "stop", folder])
    t.logs.append(("postfix", folder + "/log/mail.log"))
    subprocess.run(["sh", script, "start", folder, str(port), f"[{v.SINK}]:{out}"], check=True, timeout=60, env=environment)
    away = far.Far(t, ("127.0.0.1", port), 0.06, rb"250 2\.0\.0 Ok: \d+ bytes queued", speaks=False)
    veredus = t.veredus("limits { site-connections = 1 }\n" + f"route far.example {{ to = smtp:[{v.SINK}]:{away.port} }}\n"
                        f"route * {{ to = smtp:[127.0.0.1]:{port} }}\n").start()
    sent = [v.mail(f"to postfix {i}", b".line\r\n" * (1 + i * 200) + b"RSET\r\nMAIL FROM:<evil@client.example>\r\n") for i in range(20)]
    from_afar = [content.replace(b"to postfix", b"from afar") for content in sent + sent]
    from_afar = [content + b"%d\r\n" % i for i, content in enumerate(from_afar)]
    client = v.Smtp(veredus.port)
    for content in sent:
        client.send("sender@client.example", ["a@sink.example", "b@sink.example"], content)
    for content in from_afar:
        client.send("sender@client.example", ["a@far.example", "b@far.example"], content)
    client.close()
    away.speaks.set()
    arrived = [content for _, content in sink.wait_mails(60, 40)]
    v.equal(len(away.conversations), 1, "connections from afar")
    v.check(4 <= away.conversations[0].most <= 8, "under way at once", away.conversations[0].most)
    for content in sent + from_afar:
        whole = [a for a in arrived if a.endswith(content)]
        v.equal(len(whole), 1, "copies through Postfix")
        v.check(b"relay.example" in whole[0][:-len(content)], whole[0][:600])
    veredus.wait_log(r"status=sent \(250 2\.0\.0 Ok: .*queued as ")


def test_log_is_read_by_pflogsumm(t):
    tool = v.peer("pflogsumm", "usr/sbin/pflogsumm")
    veredus, sink, _ = v.world(t, ("--reply-for", "bad@sink.example=550 5.1.1 no such user",
                                   "--reply-for", "later@sink.example=450 4.2.1 busy"),
                               config="relay-from = { 127.0.0.1/32 }\n")
    client = v.Smtp(veredus.port)
    for i in range(3):
        client.send("sender@client.example", f"good{i}@sink.example", v.mail(f"good {i}"))
    client.send("sender@client.example", "bad@sink.example", v.mail("bad"))
    client.send("sender@client.example", "later@sink.example", v.mail("later"))
    client.close()
    denied = v.Smtp(veredus.port, source="127.0.0.9")
    denied.expect(250, "MAIL FROM:<sender@client.example>")
    denied.expect("550 5.7.1", "RCPT TO:<x@sink.example>")
    denied.close()
    veredus.wait_log(r"to=<bad@sink\.example>.*status=bounced")
    veredus.wait_log(r"to=<later@sink\.example>.*status=deferred")
    veredus.wait_log(r"to=<sender@client\.example>.*status=sent")
    veredus.stop()
    done = subprocess.run(["perl", tool, "--syslog-name=veredus", veredus.log], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60)
    text = done.stdout.decode()
    for count, what in (4, "delivered"), (1, "deferred"), (1, "bounced"), (1, "rejected"):
        v.check(re.search(rf"^\s+{count}\s+{what}\b", text, re.M), count, what, "not in", text[:1500], veredus.log_text()[-3000:])
    v.check(re.search(r"^\s+[56]\s+received", text, re.M), text[:600])


def test_trace(t):
    """The whole story after delivery, by queue ID, Message-ID and address."""
    veredus, sink, _ = v.world(t)
    client = v.Smtp(veredus.port)
    identity = client.send("sender@client.example", "rcpt@sink.example", v.mail("traced"))
    client.close()
    sink.wait_mails(1)
    veredus.wait_log(rf"{identity}: removed")
    for word in identity, "<traced@client.example>", "traced@client.example", "rcpt@sink.example", "sender@client.example":
        story = lambda: veredus.command("trace", word, status=None)
        v.wait(lambda: all(part in story() for part in (identity, "status=sent", "removed", "from=<sender@client.example>")), 10,
               lambda: word + story())
    v.check(identity not in veredus.command("trace", "nobody@sink.example", status=None))


def test_trace_without_a_log(t):
    """With log = none no line is written anywhere, and trace tells the same story: delivered, deferred, failed and
    reported, refused."""
    veredus, sink, client_sink = v.world(t, ("--reply-for", "bad@sink.example=550 5.1.1 no such user",
                                             "--reply-for", "later@sink.example=450 4.2.1 busy"),
                                         config="log = none\nrelay-from = { 127.0.0.1/32 }\n")
    client = v.Smtp(veredus.port)
    good = client.send("sender@client.example", "good@sink.example", v.mail("good"))
    bad = client.send("sender@client.example", "bad@sink.example", v.mail("bad"))
    later = client.send("sender@client.example", "later@sink.example", v.mail("later"))
    client.close()
    denied = v.Smtp(veredus.port, source="127.0.0.9")
    denied.expect(250, "MAIL FROM:<stranger@client.example>")
    denied.expect("550 5.7.1", "RCPT TO:<x@elsewhere.example>")
    denied.close()
    sink.wait_mails(1)
    client_sink.wait_mails(1)
    wanted = {
        good: [rf"{good}: client=unknown\[127", rf"{good}: message-id=<good@client.example>", rf"{good}: from=<sender@client.example>, size=\d+, nrcpt=1",
               rf"{good}: to=<good@sink.example>, relay=\S+, delay=.*dsn=2.*status=sent \(250 ", rf"{good}: removed"],
        bad: [rf"{bad}: client=", rf"{bad}: to=<bad@sink.example>, .*dsn=5.1.1, status=bounced \(.*no such user", rf"{bad}: sender \S+ notification: \w+",
              r"to=<sender@client.example>, .*status=sent", rf"{bad}: removed"],
        later: [rf"{later}: client=", rf"{later}: to=<later@sink.example>, .*dsn=4.2.1, status=deferred \(.*busy"],
        "127.0.0.9": [r"reject: RCPT from unknown\[127.0.0.9\]: 550 5.7.1 .*from=<stranger@client.example> to=<x@elsewhere.example>"],
    }
    for word, lines in wanted.items():
        story = lambda word=word: veredus.command("trace", word, status=None)
        for line in lines:
            v.wait(lambda: re.search(line, story()), 10, lambda: f"{line} in: {story()}")
    # A log that is switched on is written from then on.
    v.write(veredus.conf, v.read(veredus.conf).decode().replace("log = none", f"log = {veredus.log}"))
    veredus.process.signal(signal.SIGHUP)
    veredus.wait_log("configuration generation 2 is in force")
    v.check(good not in veredus.log_text(), veredus.log_text())
    v.write(veredus.conf, v.read(veredus.conf).decode().replace(f"log = {veredus.log}", "log = none"))
    veredus.process.signal(signal.SIGHUP)
    count = iter(range(100))

    def unlogged():
        written, subject = os.path.getsize(veredus.log), f"unlogged {next(count)}"
        client = v.Smtp(veredus.port)
        client.send("sender@client.example", "good@sink.example", v.mail(subject))
        client.close()
        v.wait(lambda: "status=sent" in veredus.command("trace", subject.replace(" ", ".") + "@client.example", status=None), 10, "the story")
        return os.path.getsize(veredus.log) == written

    v.wait(unlogged, 10, "the log to be switched off")
    said = veredus.process.said(10 ** 6)
    v.check(good not in said and "status=" not in said, "nothing on standard output", said)


def test_json_log(t):
    veredus, sink, _ = v.world(t, config="log-format = json\n")
    client = v.Smtp(veredus.port)
    identity = client.send("sender@client.example", "rcpt@sink.example", v.mail("json"))
    client.close()
    veredus.wait_log(r'"event":"removed"')
    veredus.wait_log(r'"event":"delivery".*\n')
    import json
    rows = [json.loads(line) for line in veredus.log_text().splitlines(keepends=True) if line.endswith("\n")]
    story = {row["event"]: row for row in rows if row.get("id") == identity}
    v.equal(story["delivery"]["to"], "rcpt@sink.example")
    v.equal(story["delivery"]["status"], "sent")
    v.equal(story["queued"]["from"], "sender@client.example")


v.main(globals())
