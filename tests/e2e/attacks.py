# SPDX-License-Identifier: ISC
"""A client with a raw socket: what it sends, holds back, or does not read. Beside it a good client is served, no
daemon dies, and nothing arrives that nobody was given a 250 for."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import multiprocessing
import re
import resource
import select
import signal
import socket
import struct
import time

import veredus as v

# Ends of data as one server or another has taken them; CRLF.CRLF alone is one.
ENDS = [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r.\n", b"\n.\r", b"\n\n.\r\n", b"\n\r.\r\n",
        b"\r\n\r.\r\n", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n.\n\r\n", b"\r\n.\r\n\0"[:4] + b"\r\r\n", b"\n.\n\n"]
NUL_ENDS = [b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n.\r\0\n", b"\0\r\n.\n"]
SMUGGLED = (b"MAIL FROM:<evil@client.example>\r\nRCPT TO:<evil@sink.example>\r\nDATA\r\nFrom: <evil@client.example>\r\n"
            b"Subject: smuggled\r\n\r\nevil\r\n")


def site(t, config="", sink_options=(), start=True, **more):
    """Veredus before one sink, without DNS."""
    port = v.free_port((v.SINK,))
    sink = t.sink(f"{v.SINK}:{port}", *sink_options)
    veredus = t.veredus(f"route * {{ to = smtp:[{v.SINK}]:{port} }}\n" + config, **more)
    if start:
        veredus.start()
    return veredus, sink


def sound(veredus):
    """No daemon died, and mail is taken."""
    died = re.search(r".*(starting it again|channel to \S+ ended).*", veredus.log_text())
    v.check(not died, died and died[0])
    smtp = v.Smtp(veredus.port)
    smtp.send("good@client.example", "good@sink.example", v.mail("good"))
    smtp.close()


def raw(port, source=None, receive_buffer=None):
    s = socket.socket()
    if receive_buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if source:
        s.bind((source, 0))
    s.settimeout(20 * v.PATIENCE)
    s.connect(("127.0.0.1", port))
    return s


def rest(s):
    """What comes until the other side closes; a reset that throws replies away fails the test."""
    s.settimeout(25 * v.PATIENCE)
    found = b""
    try:
        while data := s.recv(65536):
            found += data
    except ConnectionResetError:
        found += b"<reset>"
    return found.decode(errors="replace")


def send_all(s, data):
    """Sends while the other side takes it."""
    try:
        s.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass


def status(pid, key):
    return int(re.search(rf"^{key}:\s+(\d+)", v.read(f"/proc/{pid}/status").decode(), re.M)[1])


def smtpd(veredus):
    return veredus.daemons("smtpd")[0]


def start_data(smtp, number):
    smtp.expect(250, f"MAIL FROM:<sender{number}@client.example>")
    smtp.expect(250, f"RCPT TO:<rcpt{number}@sink.example>")


def smuggle(smtp, number, end, chunks):
    """One message with END and commands in it; its reply. One more reply than that is a smuggled command."""
    content = v.mail(f"outer {number}", b"body") + end + SMUGGLED
    start_data(smtp, number)
    if chunks:
        smtp.socket.sendall(b"BDAT %d\r\n" % (len(content) // 2) + content[:len(content) // 2])
        first = smtp.reply()
        if first[0] != "2":
            # Refused early: its LAST is out of order.
            smtp.socket.sendall(b"BDAT %d LAST\r\n" % (len(content) - len(content) // 2) + content[len(content) // 2:])
            v.check(smtp.reply().startswith("503"), "the chunk behind a refused one")
            return first
        smtp.socket.sendall(b"BDAT %d LAST\r\n" % (len(content) - len(content) // 2) + content[len(content) // 2:])
    else:
        smtp.expect(354, "DATA")
        smtp.socket.sendall(content + b".\r\n")
    return smtp.reply()


def smuggling(t, config, accepted):
    veredus, sink = site(t, config)
    number, expected = 0, []
    for chunks in False, True:
        for end in ENDS + NUL_ENDS:
            smtp = v.Smtp(veredus.port)
            reply = smuggle(smtp, number, end, chunks)
            fine = accepted and b"\0" not in end
            v.check(reply.startswith("250 2.0.0 Ok: queued" if fine else "550 5.5.2"), chunks, end, reply)
            v.equal(smtp.say("NOOP"), "250 2.0.0 Ok", f"one reply to {end}")
            smtp.close()
            expected += [number] if fine else []
            number += 1
    sound(veredus)
    mails = sink.wait_mails(len(expected) + 1)
    veredus.wait_empty()
    v.equal(len(sink.mails()), len(expected) + 1, "messages: one each, never two")
    v.check("evil@" not in str([envelope for envelope, _ in mails]), "a smuggled envelope")
    for number in expected:
        found = [content for _, content in mails if b"Subject: outer %d\r\n" % number in content]
        v.equal(len(found), 1, f"outer {number}")
        v.check(b"MAIL FROM:<evil" in found[0] and b"Subject: smuggled" in found[0], found[0])
        v.check(not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", found[0]), "bare CR, LF or NUL leaves", found[0])
    v.equal(sink.result()["protocol_errors"], 0)


def test_smuggling_refused(t):
    smuggling(t, "", False)


def test_smuggling_normalised(t):
    smuggling(t, "bare-newline = normalise\n", True)


def test_bdat_numbers(t):
    """Strict decimal; refused chunks are eaten; sizes that mean for ever end with 421."""
    veredus, sink = site(t, "limits { message = 64K errors = 1000 }\n")
    smtp = v.Smtp(veredus.port)
    for number in ("-1", "+1", "", "18446744073709551616", "18446744073709551615", "9223372036854775808", "9" * 60, "0x10", "1e3",
                   "1.5", "1,5", "\u0663", "5 LAST 5", "5 FIRST", "5LAST", "LAST", "LAST 5", "4294967296x", "%d", "5\tLAST", "-0"):
        for transaction in False, True:
            if transaction:
                start_data(smtp, 0)
            smtp.expect(501, f"BDAT {number}")
            smtp.expect(250, "RSET")
    # Without a transaction its octets are no commands.
    smtp.socket.sendall(b"BDAT 6\r\nQUIT\r\nNOOP\r\n")
    v.check(smtp.reply().startswith("503"), "BDAT out of order")
    v.equal(smtp.reply(), "250 2.0.0 Ok")
    start_data(smtp, 1)
    smtp.socket.sendall(b"BDAT 200000 LAST\r\n" + b"x" * 199998 + b"\r\nNOOP\r\n")
    v.check(smtp.reply()[:3] in ("550", "552"), "too large a chunk")
    v.equal(smtp.reply(), "250 2.0.0 Ok")
    # Nothing, in pieces of nothing; then a whole message in chunks of an octet.
    start_data(smtp, 2)
    content = v.mail("in octets", b"body\r\n")
    smtp.socket.sendall(b"BDAT 0\r\n" * 50 + b"".join(b"BDAT 1\r\n" + bytes([c]) for c in content) + b"BDAT 0 LAST\r\n")
    for _ in range(50 + len(content)):
        v.check(smtp.reply().startswith("250"), "a small chunk")
    v.check(smtp.reply().startswith("250 2.0.0 Ok: queued"), "the last chunk")
    smtp.close()
    for number in "9223372036854775807", "4294967296":
        for transaction in True, False:
            smtp = v.Smtp(veredus.port)
            if transaction:
                start_data(smtp, 3)
            s = smtp.socket
            s.sendall(f"BDAT {number} LAST\r\n".encode())
            for _ in range(40 if transaction else 0):
                send_all(s, (b"x" * 76 + b"\r\n") * 1000)
            said = rest(s)
            v.check(re.match(r"421 |503 ", said), number, said)
            v.equal(len(said.splitlines()), 1, said)
    sound(veredus)
    sink.wait_mails(2)
    veredus.wait_empty()
    v.equal(len(sink.mails()), 2)


def test_endless_data(t):
    """What is refused is eaten, but not for ever; memory does not grow with it."""
    veredus, _ = site(t, "limits { message = 64K }\n")
    pid = smtpd(veredus)
    before = status(pid, "VmRSS")
    for piece in b"x" * 65536, b"x" * 998 + b"\r\n", b"A: b\r\n" * 10000, b"\n" * 65536, b"\r" * 65536, b"\0" * 65536, b".\n" * 30000:
        smtp = v.Smtp(veredus.port)
        start_data(smtp, 0)
        smtp.expect(354, "DATA")
        sent = 0
        try:
            while sent < 20_000_000:
                smtp.socket.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
        v.check(sent < 20_000_000, "it takes everything", piece[:20])
        smtp.socket.close()
    v.check(status(pid, "VmRSS") - before < 4096 * v.PATIENCE, "smtpd grew by", status(pid, "VmRSS") - before, "KB")
    sound(veredus)


def test_long_lines_and_nul(t):
    """One 500 for an over-long command, whose rest is never run; NUL is refused anywhere."""
    veredus, sink = site(t, "limits { errors = 1000 }\n")
    smtp = v.Smtp(veredus.port)
    for length in 2047, 2048, 4096, 65536, 131072, 1_000_000:
        for tail in b"", b"QUIT", b"\nQUIT", b"\rQUIT\r":
            smtp.socket.sendall(b"NOOP " + b"x" * length + tail + b"\r\nHELP\r\n")
            first = smtp.reply()
            v.check(first.startswith("500 5.5.2"), length, tail, first)
            v.check(smtp.reply().startswith("214"), length, tail)
    for line in b"NOOP\0", b"\0", b"MAIL FROM:<a\0@client.example>", b"NO\0OP\0\0\0", b"QUIT\0":
        smtp.socket.sendall(line + b"\r\nHELP\r\n")
        v.check(smtp.reply().startswith("550 5.5.2"), line)
        v.check(smtp.reply().startswith("214"), line)
    for content in b"Subject: x\0\r\n\r\nx\r\n", b"\r\n\0", b"Subject: x\r\n\r\n" + b"x" * 70000 + b"\0\r\n":
        start_data(smtp, 0)
        smtp.expect(354, "DATA")
        smtp.socket.sendall(content + b"\r\n.\r\n")
        reply = smtp.reply()
        v.check(re.match(r"550 5\.5\.2|550 5\.6\.0", reply), content[:30], reply)
    for content in b"x" * 999, b"x" * 10_000_000, b"Subject: " + b"x" * 5_000_000:
        start_data(smtp, 0)
        smtp.expect(354, "DATA")
        smtp.socket.sendall(content + b"\r\n.\r\n")
        v.check(re.match("55[02] ", smtp.reply()), len(content))
    smtp.close()
    sound(veredus)
    sink.wait_mails(1)
    veredus.wait_empty()
    v.equal(len(sink.mails()), 1)


def test_100_000_header_lines(t):
    """552, at once and in bounded memory; many that fit are taken."""
    veredus, sink = site(t, "limits { header = 256K }\n")
    pid = smtpd(veredus)
    before = status(pid, "VmRSS")
    for line in b"A: b\r\n", b"Received: x\r\n", b" \r\n", b"To: <a@b>\r\n\tx\r\n", b":\r\n":
        smtp = v.Smtp(veredus.port)
        start_data(smtp, 0)
        smtp.expect(354, "DATA")
        started = time.monotonic()
        smtp.socket.sendall(b"Subject: x\r\n" + line * 100_000 + b"\r\nx\r\n.\r\n")
        reply = smtp.reply()
        # " " folds on, ":" is no field: the body begins there.
        v.check(reply.startswith("250" if line == b":\r\n" else "552 5.3.4"), line, reply)
        v.check(time.monotonic() - started < 10 * v.PATIENCE, "it took", time.monotonic() - started)
        smtp.close()
    smtp = v.Smtp(veredus.port)
    smtp.send("sender@client.example", "rcpt@sink.example", b"A: b\r\n" * 40_000 + b"\r\nx\r\n")
    smtp.close()
    sink.wait_mails(2)
    v.check(status(pid, "VmRSS") - before < 8192 * v.PATIENCE, "smtpd grew by", status(pid, "VmRSS") - before, "KB")
    sound(veredus)


def test_floods(t):
    """RSET, NOOP, VRFY and nonsense without end: 421, which arrives although more was sent than is read."""
    veredus, _ = site(t)
    for line, most in (b"RSET", 101), (b"NOOP", 101), (b"VRFY a", 101), (b"EHLO x.example", 1010), (b"XYZZY", 21), (b"", 21), (b"HELP", 101):
        s = raw(veredus.port)
        s.recv(512)
        s.sendall(b"EHLO client.example\r\n")
        s.recv(4096)
        send_all(s, (line + b"\r\n") * 50_000)
        said = rest(s)
        v.check("<reset>" not in said, "the 421 was lost", line, said[-200:])
        v.check(said.splitlines()[-1].startswith("421 4.7.0"), line, said[-200:])
        v.check(len(said.splitlines()) <= most, line, len(said.splitlines()))
        s.close()
    sound(veredus)


def flood(port, start, piece, stop, reads=True):
    """A process that sends PIECE without end, reading what comes if it READS, and comes again when it is thrown out."""
    while not stop.is_set():
        try:
            s = raw(port)
            s.sendall(start)
            s.setblocking(False)
            while not stop.is_set():
                readable, writable, _ = select.select([s] if reads else [], [s], [], 0.1)
                if readable and not s.recv(1 << 20):
                    break
                if writable:
                    s.send(piece)
        except OSError:
            pass


def test_work_for_nothing(t):
    """Commands that cost more to answer than to send, from eight clients that never stop: beside them a good one is
    served at once. Repeating the last of a thousand recipients once took 39 seconds from it."""
    veredus, _ = site(t)
    mail = b"EHLO x.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<r@sink.example>\r\n"
    thousand = mail + b"".join(b"RCPT TO:<r%d@sink.example>\r\n" % i for i in range(998))
    floods = {
        "repeated recipients": (thousand, b"RCPT TO:<r997@sink.example>\r\n" * 4000),
        "recipients too many": (thousand, b"".join(b"RCPT TO:<s%d@sink.example>\r\n" % i for i in range(4000))),
        "empty chunks": (mail, b"BDAT 0\r\n" * 12000), "chunks of an octet": (mail, b"BDAT 1\r\nx" * 12000),
        "empty lines": (mail + b"DATA\r\n\r\n", b"\r\n" * 60000), "dots": (mail + b"DATA\r\n\r\n", b"..\r\n" * 30000),
        "header lines": (mail + b"DATA\r\n", b"A:\r\n" * 30000), "long words": (mail, b"X" * 120000),
        "transactions": (b"EHLO x.example\r\n", b"MAIL FROM:<a@client.example>\r\nRSET\r\n" * 3000)}
    for name, (start, piece) in floods.items():
        stop = multiprocessing.Event()
        clients = [multiprocessing.Process(target=flood, args=(veredus.port, start, piece, stop), daemon=True) for _ in range(8)]
        for client in clients:
            client.start()
        worst = 0
        try:
            time.sleep(0.5)
            for i in range(3):
                began = time.monotonic()
                smtp = v.Smtp(veredus.port)
                smtp.send("good@client.example", "good@sink.example", v.mail(f"beside {name}"))
                smtp.close()
                worst = max(worst, time.monotonic() - began)
        finally:
            stop.set()
            for client in clients:
                client.join(2)
                client.kill()
        print(f"  {name}: a good client waited {worst * 1000:.0f} ms", flush=True)
        v.check(worst < 10 * v.PATIENCE, name, "a good client waited", worst)
    sound(veredus)


def test_replies_never_read(t):
    """It stops reading when its replies are not read: what it holds is bounded, and so is how long."""
    veredus, _ = site(t, "limits { idle-commands = 100000 errors = 10000 }\ntimeout { command = 3s }\n")
    pid = smtpd(veredus)
    # An ordinary user may not look at the descriptors of what has shut itself in.
    descriptors = (lambda: len(os.listdir(f"/proc/{pid}/fd"))) if v.IS_ROOT else (lambda: 0)
    before, files = status(pid, "VmRSS"), descriptors()
    flooders = []
    for _ in range(10):
        s = raw(veredus.port, receive_buffer=4096)
        s.recv(512)
        s.setblocking(False)
        taken = 0
        end = time.monotonic() + 0.3
        while taken < 60_000_000 and (not taken or time.monotonic() < end):
            try:
                taken += s.send(b"HELP\r\n" * 10000)
            except BlockingIOError:
                select.select([], [s], [], 0.05)
            except OSError:
                break
        flooders.append((s, taken))
    v.check(all(10_000 < taken < 30_000_000 for _, taken in flooders), "taken:", [taken for _, taken in flooders])
    grown = status(pid, "VmRSS") - before
    # A sanitizer keeps what was freed for a while.
    v.check(grown < 10 * 256 or v.PATIENCE > 1, "smtpd grew by", grown, "KB for 10 clients")
    sound(veredus)
    v.wait(lambda: descriptors() <= files + 1, 20, "the connections to be given up")
    for s, _ in flooders:
        s.close()


def drip(s, octets):
    """The next octet, if there is one."""
    octet = next(octets, None)
    try:
        if octet is not None:
            s.send(bytes([octet]))
    except OSError:
        pass  # the next read tells


def test_drippers(t):
    """An octet at a time, in a command and in data: the step and the whole transaction have their ends."""
    veredus, sink = site(t, "timeout { command = 3s transaction = 10s }\n")
    mail = [("MAIL FROM:<a@client.example>", 250), ("RCPT TO:<b@sink.example>", 250)]
    data = [*mail, ("DATA", 354)]
    started = time.monotonic()
    clients = {}
    for name, before, octets in (("command", [], b"NOOP " + b"x" * 1000), ("data", data, b"x" * 100 * 1000),
                                 ("lines", data, b"\r\n" * 1000), ("nothing", [], b""), ("after mail", mail, b""),
                                 ("in data", data, b""), ("dots", data, b"." * 1000)):
        smtp = v.Smtp(veredus.port)
        for line, code in before:
            smtp.expect(code, line)
        smtp.socket.setblocking(False)
        clients[name] = [smtp.socket, iter(octets)]
    ended = {}
    while len(ended) < len(clients) and time.monotonic() - started < 25 * v.PATIENCE:
        for name, (s, octets) in clients.items():
            if name in ended:
                continue
            try:
                ended[name] = (s.recv(512).decode(), time.monotonic() - started)
            except BlockingIOError:
                drip(s, octets)
            except OSError as why:
                ended[name] = (str(why), time.monotonic() - started)
        time.sleep(0.3)
    for name in clients:
        v.check(name in ended, name, "goes on for ever")
        said, when = ended[name]
        v.check(said.startswith("421 4.4.2"), name, said)
        v.check(when < (20 if name in ("data", "lines", "dots") else 9) * v.PATIENCE, name, when)
    # A slow one that is not too slow is served.
    s = raw(veredus.port)
    s.recv(512)
    for octet in b"EHLO a.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<b@sink.example>\r\nDATA\r\n\r\nslow\r\n.\r\nQUIT\r\n":
        s.sendall(bytes([octet]))
        time.sleep(0.01)
    said = rest(s)
    v.check("250 2.0.0 Ok: queued as " in said, "a slow one:", said)
    sound(veredus)
    sink.wait_mails(2)
    v.equal(len(sink.mails()), 2)


def test_other_protocols(t):
    """A browser, a proxy or a TLS client: 421 or refused, and nothing in the body is run."""
    veredus, sink = site(t)
    commands = SMUGGLED + b".\r\nQUIT\r\n"
    for text in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\nEHLO x.example\r\n",
                 b"CONNECT x:25 HTTP/1.1\r\n\r\n", b"OPTIONS * HTTP/1.1\r\n", b"PUT / HTTP/1.0\r\n", b"HEAD / HTTP/1.0\r\n",
                 b"Host: x\r\n", b"Content-Type: text/plain\r\n", b"Subject: x\r\n"):
        s = raw(veredus.port)
        s.recv(512)
        send_all(s, text + commands * 500)
        said = rest(s)
        v.check(re.fullmatch(r"421 4\.7\.0 [^\n]*\r\n", said), text, said)
        s.close()
    s = raw(veredus.port)
    s.recv(512)
    send_all(s, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(500).replace(b"\n", b"") + b"\n" + commands)
    v.check(re.match("5[05]0 ", rest(s)), "a TLS client")
    sound(veredus)
    sink.wait_mails(1)
    v.equal(len(sink.mails()), 1)


def test_early_talkers(t):
    """Who speaks before the greeting is told so, and nothing of it is run."""
    veredus, sink = site(t)
    pid = smtpd(veredus)
    os.kill(pid, signal.SIGSTOP)
    try:
        talkers = [raw(veredus.port) for _ in range(20)]
        for s in talkers:
            s.sendall(b"EHLO client.example\r\n" + SMUGGLED + b".\r\nQUIT\r\n")
        time.sleep(0.1)
    finally:
        os.kill(pid, signal.SIGCONT)
    for s in talkers:
        v.check(re.fullmatch(r"554 5\.5\.1 [^\n]*\r\n", said := rest(s)), said)
        s.close()
    sound(veredus)
    sink.wait_mails(1)
    v.equal(len(sink.mails()), 1)


def test_early_ends(t):
    """Closed or reset at each stage, half-closed: only what ended with CRLF.CRLF is mail, and a half-closed client hears 250."""
    veredus, sink = site(t)
    lines = [b"EHLO client.example\r\n", b"MAIL FROM:<a@client.example>\r\n", b"RCPT TO:<cut@sink.example>\r\n", b"DATA\r\n",
             b"Subject: cut\r\n", b"\r\n", b"text\r\n", b".", b"\r"]
    for stage in range(len(lines) + 1):
        for way in "close", "reset", "half":
            s = raw(veredus.port)
            s.recv(512)
            s.sendall(b"".join(lines[:stage]))
            time.sleep(0.02)
            if way == "half":
                s.shutdown(socket.SHUT_WR)
                v.check("queued" not in rest(s), stage)
            elif way == "reset":
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
    whole = b"".join(lines[:4]) + b"Subject: whole\r\n\r\ntext\r\n.\r\n"
    for more in b"", b"QUIT\r\n", b"NOOP\r\nNOOP\r\n":
        s = raw(veredus.port)
        s.recv(512)
        s.sendall(whole.replace(b"cut@", b"whole@") + more)
        s.shutdown(socket.SHUT_WR)
        v.check("250 2.0.0 Ok: queued as " in (said := rest(s)), more, said)
        s.close()
    # Its end comes while the body's file is still awaited.
    s = raw(veredus.port)
    s.recv(512)
    s.sendall(b"".join(lines[:3]).replace(b"cut@", b"chunk@") + b"BDAT 70000 LAST\r\n\r\n" + (b"x" * 68 + b"\r\n") * 999 + b"x" * 68)
    s.shutdown(socket.SHUT_WR)
    v.check("250 2.0.0 Ok: queued as " in (said := rest(s)), said)
    s.close()
    sound(veredus)
    mails = sink.wait_mails(5)
    veredus.wait_empty()
    v.equal(sorted(re.search(r"(\w+)@sink", str(envelope["rcpt"]))[1] for envelope, _ in mails), ["chunk", "good"] + ["whole"] * 3)


def crowd(veredus, count, starts=None):
    """COUNT clients: some idle, some in the middle of a command, a transaction, its data."""
    starts = starts or [b"", b"EHLO client.example\r\n", b"EHLO cli", b"EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<b@sink.exam",
              b"EHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<b@sink.example>\r\nDATA\r\nSubject: slow\r\n"]
    clients = []
    for i in range(count):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(("127.0.0.1", veredus.port))
        clients.append((s, starts[i % len(starts)]))
    return clients


def talk(clients, seconds):
    """Lets each say its part once it was greeted; how many were."""
    poll = select.poll()
    waiting = {s.fileno(): (s, start) for s, start in clients}
    greeted = 0
    for number in waiting:
        poll.register(number, select.POLLIN)
    end = time.monotonic() + seconds * v.PATIENCE
    while waiting and time.monotonic() < end:
        for number, _ in poll.poll(200):
            poll.unregister(number)
            s, start = waiting.pop(number)
            try:
                greeted += s.recv(512).startswith(b"220")
                s.send(start)
            except OSError:
                pass
    return greeted


def descriptors_for(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + 200:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count + 200, max(hard, count + 200)))
        except (ValueError, OSError):
            raise v.Skip(f"needs {count + 200} descriptors")


def slow_crowd(t, count, limit=None):
    descriptors_for(count)
    veredus, sink = site(t, start=False)
    if limit:
        veredus.wrap = ["prlimit", f"--nofile={limit}:{limit}"]
    veredus.start()
    pid = smtpd(veredus)
    before = status(pid, "VmRSS")
    clients = crowd(veredus, count)
    greeted = talk(clients, 10 if limit else 30)  # who came when the backlog was full comes again, later each time
    worst = 0
    for i in range(5):
        started = time.monotonic()
        # While nobody has been silent for half a second a newcomer is told 421, and comes again; so does who was silent so long.
        v.wait(lambda: good_mail(veredus, i), 10, "a place for a good client")
        worst = max(worst, time.monotonic() - started)
    grown = status(pid, "VmRSS") - before
    v.check(worst < 10 * v.PATIENCE, "a good client waited", worst)
    sink.wait_mails(5)
    print(f"  {greeted} of {count} greeted, a good client waited {worst * 1000:.0f} ms, smtpd grew by {grown} KB", flush=True)
    for s, _ in clients:
        s.close()
    sound(veredus)
    return greeted, grown


def test_5000_slow_clients(t):
    greeted, grown = slow_crowd(t, 5000)
    v.equal(greeted, 5000, "clients greeted")
    v.check(grown / 5000 < 16 * v.PATIENCE, grown / 5000, "KB a client")


def test_5000_slow_clients_on_256_descriptors(t):
    """More clients than places: the silent ones give theirs to those who come."""
    greeted, _ = slow_crowd(t, 5000, 256)
    v.check(greeted >= 150, "greeted:", greeted)


def test_all_at_once_on_256_descriptors(t):
    """Silent clients more than there are places; and beside them, twice each: floods, endless lines, header lines, data,
    octets, chunks of no size, and replies that are never read. A good client is served, and memory is what 220 places may hold."""
    veredus, sink = site(t, start=False)
    veredus.wrap = ["prlimit", "--nofile=256:256"]
    veredus.start()
    pid = smtpd(veredus)
    before = status(pid, "VmRSS")
    mail = b"EHLO x.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<r@sink.example>\r\n"
    floods = [(b"EHLO x.example\r\n", b"RSET\r\nNOOP\r\n" * 2000, True), (b"", b"x" * 65536, True), (mail + b"DATA\r\n", b"A: b\r\n" * 10000, True),
              (mail + b"DATA\r\n\r\n", b"x" * 65536, True), (mail, b"BDAT 1\r\nx", True), (mail, b"BDAT 0\r\n" * 1000, True),
              (mail, b"BDAT -1\r\nBDAT 99999999999999999999\r\nBDAT 4294967296\r\n", True), (b"", b"HELP\r\n" * 1000, False)]
    stop = multiprocessing.Event()
    clients = [multiprocessing.Process(target=flood, args=(veredus.port, start, piece, stop, reads), daemon=True)
               for start, piece, reads in floods for _ in range(2)]
    silent = crowd(veredus, 400)
    for client in clients:
        client.start()
    worst = 0
    try:
        talk(silent, 1)
        for i in range(5):
            started = time.monotonic()
            v.wait(lambda: good_mail(veredus, i), 20, "a place for a good client")
            worst = max(worst, time.monotonic() - started)
    finally:
        stop.set()
        for client in clients:
            client.join(2)
            client.kill()
    grown = status(pid, "VmRSS") - before
    print(f"  a good client waited {worst * 1000:.0f} ms, smtpd grew by {grown} KB", flush=True)
    v.check(worst < 10 * v.PATIENCE, "a good client waited", worst)
    v.check(grown < 64 * 1024 * v.PATIENCE, "smtpd grew by", grown, "KB")
    for s, _ in silent:
        s.close()
    sink.wait_mails(5)
    sound(veredus)


def good_mail(veredus, number):
    """When places are short a newcomer may be sent away, and comes again."""
    try:
        smtp = v.Smtp(veredus.port)
        smtp.send("good@client.example", f"good{number}@sink.example", v.mail(f"beside {number}"))
        smtp.close()
        return True
    except (OSError, v.Failure):
        return False


def test_10_000_idle_clients(t):
    """Ten thousand that were greeted and say nothing: a few KB each, and a newcomer notices nothing."""
    count = 10_000
    descriptors_for(count)
    veredus, sink = site(t)
    pid = smtpd(veredus)
    before = status(pid, "VmRSS")
    clients = []
    for _ in range(0, count, 500):  # fewer than the port's backlog at a time
        some = crowd(veredus, 500, [b"EHLO client.example\r\n"])
        v.equal(talk(some, 30), 500, "clients greeted")
        clients += some
    grown = status(pid, "VmRSS") - before
    waits = []
    for i in range(20):
        started = time.monotonic()
        smtp = v.Smtp(veredus.port, hello=None)
        waits.append(time.monotonic() - started)
        smtp.expect(250, "EHLO client.example")
        smtp.send("good@client.example", f"good{i}@sink.example", v.mail(f"beside {i}"))
        smtp.close()
    print(f"  {grown / count:.1f} KB each; greeted within {sorted(waits)[10] * 1000:.1f} ms, {max(waits) * 1000:.1f} at most", flush=True)
    v.check(max(waits) < 10 * v.PATIENCE, "a newcomer waited", max(waits))
    v.check(grown / count < 8 * v.PATIENCE, grown / count, "KB a client")
    sink.wait_mails(20)
    for s, _ in clients:
        s.close()
    sound(veredus)


def test_what_a_client_can_hold(t):
    """The most that a transaction can keep in memory: recipients with long ORCPTs, a header and a body up to their
    limits, none of it finished. It is what the limits say, for each of a hundred, and it goes with them."""
    limits = dict(recipients=1000, header=64 * 1024)
    veredus, sink = site(t, "limits { recipients = 1000 header = 64K }\n")
    pid = smtpd(veredus)
    before = status(pid, "VmRSS")
    # An address of 254 octets and an ORCPT of 500; both are kept, with some octets of framing.
    recipient = "x" * 60 + "@" + ".".join(["d" * 63] * 2 + ["e" * 56]) + ".example"
    rcpt = b"".join(b"RCPT TO:<%04d%s> ORCPT=rfc822;%s\r\n" % (i, recipient.encode(), b"y" * 490) for i in range(limits["recipients"]))
    most = limits["recipients"] * (len(rcpt) // limits["recipients"] + 64) + limits["header"] + 64 * 1024 + 64 * 1024
    clients = []
    for _ in range(100):
        smtp = v.Smtp(veredus.port)
        smtp.expect(250, "MAIL FROM:<sender@client.example>")
        smtp.socket.sendall(rcpt)
        replies = [smtp.reply()[:3] for _ in range(limits["recipients"])]
        v.check(replies.count("250") > 500 and set(replies) <= {"250", "452"}, set(replies))
        smtp.expect(354, "DATA")
        smtp.socket.sendall(b"A: b\r\n" * 10_000 + b"\r\n" + (b"z" * 98 + b"\r\n") * 650)
        clients.append(smtp)
    time.sleep(0.5)
    grown = status(pid, "VmRSS") - before
    print(f"  {grown / 100:.0f} KB a client of {most / 1024:.0f} that its limits allow", flush=True)
    v.check(grown < 100 * most / 1024 * v.PATIENCE, "smtpd grew by", grown, "KB, allowed are", 100 * most / 1024)
    v.check(grown > 100 * 400, "they hold nothing:", grown, "KB")
    good = v.Smtp(veredus.port)
    good.send("good@client.example", "good@sink.example", v.mail("beside them"))
    good.close()
    for smtp in clients:
        smtp.file.close()
        smtp.socket.close()
    sound(veredus)
    v.wait(lambda: status(pid, "VmRSS") - before < max(grown / 4, 8192) or v.PATIENCE > 1, 10, "their memory to be given back")


def test_per_client_flood(t):
    """One address gets its share and no more; others do not notice."""
    veredus, _ = site(t, "relay-from = { 127.0.0.1/32 }\nrelay-to = { sink.example }\nlimits { per-client = 5 }\n")
    flood = [raw(veredus.port, "127.0.0.9") for _ in range(300)]
    greetings = [s.recv(512).decode() for s in flood]
    v.equal(sum(g.startswith("220") for g in greetings), 5, "served")
    v.equal(sum(g.startswith("421 4.7.0") for g in greetings), 295, "refused")
    sound(veredus)
    other = v.Smtp(veredus.port, source="127.0.0.10")
    other.send("a@client.example", "b@sink.example", v.mail("another address"))
    other.close()
    for s in flood:
        s.close()
    again = v.wait(lambda: try_once(veredus.port, "127.0.0.9"), 5, "the address to be served again")
    again.close()


def try_once(port, source):
    s = raw(port, source)
    if s.recv(512).startswith(b"220"):
        return s
    s.close()
    return None


MAIL_NONSENSE = [
    ("", 501), ("FROM:", 501), ("FROM", 501), ("FROM:<", 501), ("FROM:>", 501), ("FROM:<<a@b>>", 501), ("FROM:<a@b", 501),
    ("FROM:<a@b>x", 501), ("FROM:<a@b@c>", 501), ("FROM:<@>", 501), ("FROM:<a@>", 501), ("FROM:<@b>", 501), ("FROM:<a b@c>", 501),
    ("FROM:<\"a@b>", 501), ("FROM:<a..b@c.example>", 501), 
    ("FROM:<a@" + "b." * 130 + "example>", 501), ("FROM:<a@b.example> SIZE=-1", 501), ("FROM:<a@b.example> SIZE=", 501),
    ("FROM:<a@b.example> SIZE", 501), ("FROM:<a@b.example> SIZE=1 SIZE=1", 501), ("FROM:<a@b.example> SIZE=99999999999999999999999", 501),
    ("FROM:<a@b.example> SIZE=1e3", 501), ("FROM:<a@b.example> SIZE=9999999999", 552), ("FROM:<a@b.example> BODY=9BIT", 501),
    ("FROM:<a@b.example> BODY=", 501), ("FROM:<a@b.example> BODY=BINARYMIME", None), ("FROM:<a@b.example> RET=BOTH", 501),
    ("FROM:<a@b.example> ENVID=+0D+0A", 501), ("FROM:<a@b.example> ENVID=" + "x" * 101, 501), ("FROM:<a@b.example> ENVID=", 501),
    ("FROM:<a@b.example> AUTH=<>", 555), ("FROM:<a@b.example> REQUIRETLS", 555), ("FROM:<a@b.example> X=Y", 555),
    ("FROM:<a@b.example> =", None), ("FROM:<a@b.example> ;id", None), ("FROM:<a@b.example> NOTIFY=NEVER", 555),
    ("FROM:<\u00e9@b.example>", 553), ("FROM:<$(id)@b.example> SMTPUTF8=1", None)]
RCPT_NONSENSE = [
    ("", 501), ("TO:", 501), ("TO:<>", 501), ("TO:<a>", 501), ("TO:<a@b> <c@d>", None), ("TO:<a@[300.1.1.1]>", 501),
    ("TO:<a@[IPv6:zz]>", 501), ("TO:<a@[127.0.0.1>", 501), ("TO:<a@b.example> NOTIFY=NEVER,SUCCESS", 501),
    ("TO:<a@b.example> NOTIFY=", 501), ("TO:<a@b.example> NOTIFY=X", 501), ("TO:<a@b.example> ORCPT=rfc822", 501),
    ("TO:<a@b.example> ORCPT=rfc822;a+0Ab", 501), ("TO:<a@b.example> ORCPT=rfc822;" + "x" * 600, 501),
    ("TO:<a@b.example> ORCPT=;x", 501), ("TO:<a@b.example> SIZE=1", 555), ("TO:<a@b.example> RRVS=x", 555),
    ("TO:<\u00e9@b.example>", 553), ("TO:<a\tb@c>", 501), ("TO:<" + "x" * 1500 + "@b.example>", 501)]


def test_parameter_nonsense(t):
    veredus, _ = site(t, "limits { errors = 1000 }\n")
    smtp = v.Smtp(veredus.port)
    for rest_of, code in MAIL_NONSENSE:
        reply = smtp.say("MAIL " + rest_of)
        v.check(reply.startswith(str(code) if code else "5"), repr(rest_of[:100]), reply)
        smtp.expect(503, "RCPT TO:<a@sink.example>")
    smtp.expect(250, "MAIL FROM:<a@client.example>")
    for rest_of, code in RCPT_NONSENSE:
        reply = smtp.say("RCPT " + rest_of)
        v.check(reply.startswith(str(code) if code else "5"), repr(rest_of[:100]), reply)
    for line, code in ("DATA", 554), ("DATA x", 501), ("MAIL FROM:<b@client.example>", 503), ("RSET x", 501), ("QUIT x", 501):
        smtp.expect(code, line)
    smtp.close()
    sound(veredus)


def test_1001_recipients(t):
    """The thousand are taken, the next is 452 for another transaction; no end of them is no end of work."""
    veredus, sink = site(t, "limits { recipients = 1000 errors = 20 }\n")
    smtp = v.Smtp(veredus.port)
    smtp.expect(250, "MAIL FROM:<a@client.example>")
    smtp.socket.sendall(b"".join(b"RCPT TO:<r%d@sink.example>\r\n" % i for i in range(1001)))
    replies = [smtp.reply() for _ in range(1001)]
    v.equal([r for r in replies[:1000] if not r.startswith("250 ")], [])
    v.check(replies[1000].startswith("452 4.5.3"), replies[1000])
    smtp.expect(354, "DATA")
    smtp.socket.sendall(v.mail("to a thousand") + b".\r\n")
    v.check(smtp.reply().startswith("250"), "the message")
    smtp.close()
    v.wait(lambda: sum(len(envelope["rcpt"]) for envelope, _ in sink.mails()) == 1000, 20, "a thousand recipients")
    smtp = v.Smtp(veredus.port)
    smtp.expect(250, "MAIL FROM:<a@client.example>")
    send_all(smtp.socket, b"".join(b"RCPT TO:<r%d@sink.example>\r\n" % i for i in range(20_000)))
    said = rest(smtp.socket)
    v.check(said.splitlines()[-1].startswith("421 4.7.0"), said[-200:])
    v.check(len(said.splitlines()) < 2100, len(said.splitlines()))
    sound(veredus)


def test_starttls(t):
    """There is no TLS: not offered, refused, and a session goes on as it was."""
    veredus, sink = site(t)
    smtp = v.Smtp(veredus.port)
    v.check("STARTTLS" not in smtp.say("EHLO client.example").upper(), "offered")
    smtp.socket.sendall(b"STARTTLS\r\nNOOP\r\n")
    v.check(re.match("502 5.5.1|454 4.7.0", smtp.reply()), "STARTTLS")
    v.equal(smtp.reply(), "250 2.0.0 Ok", "what was sent behind it")
    start_data(smtp, 0)
    smtp.expect(502, "STARTTLS")
    smtp.expect(354, "DATA")
    smtp.socket.sendall(v.mail("plain") + b".\r\n")
    v.check(smtp.reply().startswith("250"), "the transaction goes on")
    # What a client says that goes on with TLS all the same is no command.
    smtp.socket.sendall(b"STARTTLS\r\n" + b"\x16\x03\x01\0\xf0\1\0\0\xec\3\3" + b"\x01" * 240 + b"\r\n")
    v.check(smtp.reply().startswith("502"), "STARTTLS")
    v.check(re.match("5[05]0", smtp.reply()), "a ClientHello")
    smtp.close()
    sound(veredus)
    sink.wait_mails(2)
    v.equal(len(sink.mails()), 2)


def test_log_injection(t):
    """Control characters are refused or escaped: a line an event, whatever strangers call themselves."""
    veredus, sink = site(t, "limits { errors = 1000 }\nrelay-from = { 192.0.2.0/24 }\n")
    forged = "veredus/qmgr[1]: 0123456789: removed"
    evil = [b"EHLO a\x1b[31mred", b"EHLO x\rNov 21 00:00:00 host " + forged.encode(), b"EHLO a\x08\x08b", b"EHLO \xff\xfe", b"HELO a\tb",
            b"EHLO [a\x00b]", b"EHLO " + b"x" * 1500, b"EHLO a\xc2\x9b31mb", b"EHLO a\xe2\x80\xa8b"]
    smtp = v.Smtp(veredus.port, hello=None)
    for line in evil:
        smtp.socket.sendall(line + b"\r\n")
        v.check(smtp.reply()[:2] in ("50", "55"), line)
    smtp.expect(250, "EHLO client.example")
    smtp.say("EHLO %s%n%x$(id)`id`")
    for line in (b"MAIL FROM:<a\x1b]0;owned\x07@b.example>", b"MAIL FROM:<a@b\r" + forged.encode() + b">", b"MAIL FROM:<\"a\x0bb\"@c.example>",
                 b"MAIL FROM:<a\xe2\x80\xa8@b.example> SMTPUTF8"):
        smtp.socket.sendall(line + b"\r\n")
        smtp.reply()
        smtp.expect(250, "RSET")
    smtp.expect(250, "MAIL FROM:<\"%s%n$(id)`id`\"@client.example>")
    for line in (b"RCPT TO:<\"" + forged.encode() + b"\"@sink.example>", b"RCPT TO:<a\x1b[2J@sink.example>", b"RCPT TO:<a\x7f@sink.example>",
                 b"RCPT TO:<%s%s%n@sink.example>", b"RCPT TO:<a\xc2\x85b@sink.example>"):
        smtp.socket.sendall(line + b"\r\n")
        reply = smtp.reply()
        v.check(reply.startswith("5") and not re.search(r"[^ -~]", reply), line, reply)
    smtp.close()
    veredus.wait_log(r"reject: RCPT from ")
    time.sleep(0.3)
    log = v.read(veredus.log)
    v.check(not re.search(rb"[\0-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]", log), "control characters in the log",
            re.search(rb".*([\0-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]).*", log))
    for line in log.decode().splitlines():
        v.check(re.match(r"\S.{10,40} veredus(/[a-z/-]+)?\[\d+\]: ", line), "no line of ours:", line)
        v.check(not re.match(r".{10,40} " + re.escape(forged), line), "forged:", line)


v.main(globals())
