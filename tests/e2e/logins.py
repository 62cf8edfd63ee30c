# SPDX-License-Identifier: ISC
"""AUTH with real clients, the users file as it changes, and those who guess."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import base64
import concurrent.futures
import re
import shutil
import smtplib
import ssl
import statistics
import subprocess
import time

import pki
import veredus as v
from dovecot import Dovecot

SECRET = "pass word#1"
MAIL = b"From: a@client.example\r\nSubject: logged in\r\n\r\nhello\r\n"
# "crypted", by yescrypt
YESCRYPT = "$y$j9T$JsQ5wNAmIQiMS1O3nE6C31$1PgV/tDF/u52EtGmNqpzVDtfqpD0d7S36ahnNznX2n9"


def server(t, more="", users={"ann": SECRET}, sink=True):
    """Veredus with AUTH in the clear on loopback, and its sink."""
    veredus = t.veredus("")
    veredus.users = os.path.join(veredus.folder, "users")
    route = "discard"
    if sink:
        port = v.free_port()
        veredus.sink = t.sink(f"127.0.0.1:{port}")
        route = f"smtp:[127.0.0.1]:{port}"
    veredus.configure(f"relay-from = {{ 198.51.100.0/24 }}\nroute * {{ to = {route} }}\n"
                      f"auth {{ users = {veredus.users}  clear = loopback  smtp = yes {more} }}\n")
    for name, password in users.items():
        veredus.command("user", "add", name, input=password.encode() + b"\n")
    return veredus.start()


def plain(name, password):
    return base64.b64encode(f"\0{name}\0{password}".encode()).decode()


def attempt(veredus, name, password, source=None):
    """The reply to one login, and how long it took."""
    smtp = v.Smtp(veredus.port, source=source)
    smtp.socket.settimeout(60 * v.PATIENCE)
    started = time.monotonic()
    reply = smtp.say("AUTH PLAIN " + plain(name, password))
    took = time.monotonic() - started
    smtp.file.close()
    smtp.socket.close()
    return reply, took


def swaks(veredus, how, password):
    return ["swaks", "--server", "127.0.0.1", "--port", str(veredus.port), "--from", "a@client.example", "--to", "x@sink.example",
            "--auth", how, "--auth-user", "ann", "--auth-password", password, "--timeout", "60"]


def msmtp(veredus, how, password):
    return ["msmtp", "--host=127.0.0.1", f"--port={veredus.port}", "--auth=" + how, "--user=ann", "--tls=off", "--timeout=60",
            "--passwordeval=printf %s " + "'" + password + "'", "--from=a@client.example", "x@sink.example"]


def curl(veredus, how, password):
    mail = v.write(os.path.join(veredus.test.folder, "curl.eml"), MAIL)
    return ["curl", "-sS", "--max-time", "60", f"smtp://127.0.0.1:{veredus.port}", "--user", "ann:" + password,
            "--login-options", "AUTH=" + how, "--mail-from", "a@client.example", "--mail-rcpt", "x@sink.example", "-T", mail]


def gsasl(veredus, how, password):
    return ["gsasl", "--smtp", f"--connect=127.0.0.1:{veredus.port}", "-m", how, "-a", "ann", "-z", "", "-p", password,
            "--no-starttls"]


def run(argv):
    if not shutil.which(argv[0]):
        raise v.Skip(argv[0] + " is not installed")
    return subprocess.run(argv, input=MAIL if argv[0] == "msmtp" else b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=60 * v.PATIENCE)


def test_clients(t):
    """Each logs in with the right password and sends, and is turned away with a wrong one."""
    veredus = server(t)
    sent = 0
    for client, how in ((swaks, "PLAIN"), (swaks, "LOGIN"), (msmtp, "plain"), (msmtp, "login"), (msmtp, "scram-sha-256"),
                        (curl, "PLAIN"), (curl, "LOGIN"), (gsasl, "PLAIN"), (gsasl, "LOGIN"), (gsasl, "SCRAM-SHA-256")):
        done = run(client(veredus, how, SECRET))
        v.equal(done.returncode, 0, f"{client.__name__} {how}: {done.stdout.decode(errors='replace')[-800:]}")
        if client is gsasl:
            v.check(b"235 2.7.0" in done.stdout, done.stdout)
        else:
            sent += 1
        done = run(client(veredus, how, "wrong"))
        v.check(done.returncode != 0, client.__name__, how, "sent with a wrong password")
        v.check(client is msmtp or client is curl or b"535 5.7.8" in done.stdout, done.stdout)
    with smtplib.SMTP("127.0.0.1", veredus.port, timeout=60 * v.PATIENCE) as python:
        try:
            python.login("ann", "wrong")
            raise v.Failure("smtplib logged in with a wrong password")
        except smtplib.SMTPAuthenticationError as e:
            v.equal(e.smtp_code, 535)
    with smtplib.SMTP("127.0.0.1", veredus.port, timeout=60 * v.PATIENCE) as python:
        v.equal(python.login("ann", SECRET)[0], 235)
        python.sendmail("a@client.example", ["x@sink.example"], MAIL)
    sent += 1
    mails = veredus.sink.wait_mails(sent)
    v.equal(len(mails), sent)
    for _, content in mails:
        v.check(b" with ESMTPA id " in content, content)
        v.check(b"ann" not in content, "who logged in is named in the mail:", content)
    veredus.wait_log(r"client=unknown\[127\.0\.0\.1\], sasl_method=SCRAM-SHA-256, sasl_username=ann")
    veredus.wait_log(r"veredus/checker\[\d+\]: login failed: client=unknown\[127\.0\.0\.1\], login=<ann>, method=PLAIN, "
                     r"reason=wrong password, failures=\d")
    log = veredus.log_text()
    # The filter for fail2ban that comes with it finds them.
    filters = re.findall(r"^(?:failregex =)?\s+(veredus/checker.*)$", v.read(v.ROOT + "/examples/fail2ban-veredus.conf").decode(), re.M)
    v.equal(len(filters), 2)
    found = [re.search(f.replace("<HOST>", r"(?P<host>[0-9a-f.:]+)"), line) for f in filters for line in log.splitlines()]
    v.equal({m["host"] for m in found if m}, {"127.0.0.1"})
    v.equal(len([m for m in found if m]), log.count("login failed: "))
    for word in SECRET, plain("ann", SECRET), base64.b64encode(SECRET.encode()).decode():
        v.check(word not in log, "a password stands in the log")


def test_no_relaying_before(t):
    veredus = server(t, sink=False)
    smtp = v.Smtp(veredus.port)
    smtp.expect(250, "MAIL FROM:<a@client.example>")
    smtp.expect(550, "RCPT TO:<x@sink.example>")
    smtp.expect(250, "RSET")
    smtp.expect(535, "AUTH PLAIN " + plain("ann", "wrong"))
    smtp.expect(250, "MAIL FROM:<a@client.example>")
    smtp.expect(550, "RCPT TO:<x@sink.example>")
    smtp.expect(250, "RSET")
    smtp.expect(235, "AUTH PLAIN " + plain("ANN", SECRET))
    smtp.expect(503, "AUTH PLAIN " + plain("ann", SECRET))
    smtp.expect(250, "MAIL FROM:<a@client.example> AUTH=<>")
    smtp.expect(250, "RCPT TO:<x@sink.example>")
    # Who acts for another has no right to it.
    smtp = v.Smtp(veredus.port)
    smtp.expect(535, "AUTH PLAIN " + base64.b64encode(b"bob\0ann\0" + SECRET.encode()).decode())
    smtp.expect(235, "AUTH PLAIN " + base64.b64encode(b"ann\0ann\0" + SECRET.encode()).decode())


def test_users_file(t):
    """Each change is seen by the next who logs in."""
    veredus = server(t, users={}, sink=False)

    def logs_in(name, password):
        return attempt(veredus, name, password)[0][:9]
    veredus.wait_log("nobody can log in: .*users: No such file")
    v.equal(logs_in("ann", "one"), "454 4.7.0", "without a file")
    veredus.command("user", "add", "ann", input=b"one\n")
    v.equal(os.stat(veredus.users).st_mode & 0o777, 0o600)
    v.equal(logs_in("ann", "one"), "235 2.7.0", "a new user")
    for words, said in (("add", "ann"), "ann is there already"), (("passwd", "eve"), "eve is not in the users file"):
        done = subprocess.run([os.path.join(veredus.build, "veredus"), "user", *words, "-c", veredus.conf], input=b"",
                              stderr=subprocess.PIPE, timeout=30, env=veredus.environment, **veredus.demote)
        v.check(done.returncode == 1 and said in done.stderr.decode(), "asks for no password in vain")
    veredus.command("user", "passwd", "ann", input=b"two\n")
    v.equal(logs_in("ann", "one"), "535 5.7.8", "the old password")
    v.equal(logs_in("ann", "two"), "235 2.7.0", "the new password")
    veredus.command("user", "disable", "ann")
    v.equal(logs_in("ann", "two"), "535 5.7.1", "disabled")
    v.check("disabled" in veredus.command("user", "list"))
    veredus.command("user", "enable", "ann")
    v.equal(logs_in("ann", "two"), "235 2.7.0", "enabled")
    v.check("SCRAM" in v.Smtp(veredus.port).say("EHLO x"))
    # Changed in place, with a hash of another kind and a line that is none.
    with open(veredus.users, "a") as f:
        f.write(f"# more\nbroken line\ncarl:{{CRYPT}}{YESCRYPT}\nnear:{{CRYPT}}{YESCRYPT}::::::allow_nets=192.0.2.0/24\n")
    v.equal(logs_in("carl", "crypted"), "235 2.7.0", "yescrypt")
    v.equal(logs_in("near", "crypted"), "535 5.7.8", "allow_nets")
    veredus.wait_log(r"users:3: it is not name:")
    reply = v.Smtp(veredus.port).say("EHLO x")
    v.check("AUTH PLAIN LOGIN" in reply and "SCRAM" not in reply, "SCRAM, which not all can do:", reply)
    with open(veredus.users, "a") as f:
        f.write(f"ANN:{{CRYPT}}{YESCRYPT}\nodd:{{MD5}}x\n")
    os.chmod(veredus.users, 0o644)
    said = veredus.command("check")
    for line in r":3:1: it is not name:", r":6:1: a user of that name stands on line 1", r":7:5: its password scheme", \
            r": can be read or written by others":
        v.check(re.search(r"conf:\d+:1: warning: users: \S*/users" + line, said), line, said)
    v.equal(logs_in("ann", "two"), "235 2.7.0", "the first of the two")
    os.chmod(veredus.users, 0o600)
    veredus.wait_log(r"login=<near>.* reason=not from this address")
    os.remove(veredus.users)
    v.equal(logs_in("carl", "crypted"), "454 4.7.0", "the file is gone")


def test_remembered(t):
    """A program that logs in for each mail costs one hash."""
    veredus = server(t, users={}, sink=False)
    v.write(veredus.users, f"carl:{{CRYPT}}{YESCRYPT}\n", 0o600)
    if v.IS_ROOT:
        os.chown(veredus.users, v.NOBODY, v.NOBODY)
    first = attempt(veredus, "carl", "crypted")
    v.equal(first[0][:3], "235", first)
    times = [attempt(veredus, "carl", "crypted") for _ in range(20)]
    v.check(all(reply.startswith("235") for reply, _ in times), times)
    # What else the machine does makes it only longer.
    v.check(min(took for _, took in times) < first[1] / 2, "no faster than the first:", first[1], times)


def test_no_name_is_told(t):
    """Failing takes the same time whether there is such a user or not, and hears the same."""
    names = ("ann", "nobody"), ("bob", "nemo"), ("carl", "none")
    veredus = server(t, users={known: SECRET for known, _ in names}, sink=False)

    def take(name, i):
        reply, took = attempt(veredus, name, f"x{i}", source=f"127.0.{len(name)}.{i + 1}")
        v.equal(reply, "535 5.7.8 Error: authentication credentials invalid")
        return took
    attempt(veredus, "warm", "up")
    known = unknown = 1e9
    for i in range(4):  # a fifth attempt would wait
        for pair in names:
            # What else the machine does makes it only longer.
            known, unknown = min(known, take(pair[0], i)), min(unknown, take(pair[1], i))
    v.check(known < unknown * 2.5 and unknown < known * 2.5, "known", known, "unknown", unknown)
    veredus.wait_log("login=<nobody>, method=PLAIN, reason=no such user, failures=4")

    # SCRAM: a salt for everybody, and the same one each time.
    def salt(name):
        smtp = v.Smtp(veredus.port)
        reply = smtp.say("AUTH SCRAM-SHA-256 " + base64.b64encode(f"n,,n={name},r=abcdefgh".encode()).decode())
        return re.search(r"s=(.*)", base64.b64decode(reply[4:]).decode())[1]
    v.equal(salt("nobody"), salt("nobody"))
    v.check(salt("nobody") != salt("nobody2") and len(salt("nobody")) == len(salt("ann")))
    # Who comes and goes changes nothing of it, and nor does a restart.
    stays = {name: salt(name) for name in ("nobody", "nobody2", "nobody3")}
    veredus.command("user", "add", "dora", input=b"another\n")
    lines = v.read(veredus.users).splitlines(True)
    v.write(veredus.users, lines[-1], 0o600)
    v.equal(attempt(veredus, "dora", "another", source="127.0.9.1")[0][:3], "235")
    v.equal({name: salt(name) for name in stays}, stays, "after all others have gone")
    veredus.stop()
    veredus.start()
    v.equal({name: salt(name) for name in stays}, stays, "after a restart")
    key = os.stat(veredus.queue + "/checker.key")
    v.equal((key.st_size, key.st_mode & 0o777), (32, 0o600))


def test_guessing(t):
    """A thousand guesses at one name, from two hundred addresses, and its owner comes in where he always does."""
    veredus = server(t, users={"ann": SECRET, "bob": SECRET, "cat": SECRET}, sink=False)
    owner = ("ann", SECRET, "127.0.0.2")
    v.equal(attempt(veredus, *owner)[0][:3], "235")
    seen, slowed = [], []

    def guesser(i):
        # One connection with five guesses, whatever the answers are.
        smtp = v.Smtp(veredus.port, source=f"127.1.{i}.1")
        smtp.socket.settimeout(100 * v.PATIENCE)
        for j in range(5):
            reply = smtp.say("AUTH PLAIN " + plain("ann", f"guess {i} {j}"))
            seen.append(reply[:9])
        smtp.file.close()
        smtp.socket.close()
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        running = [pool.submit(guesser, i) for i in range(200)]
        while not all(f.done() for f in running):
            reply, took = attempt(veredus, *owner)
            v.equal(reply[:3], "235", "the owner while others guess")
            slowed.append(took)
            time.sleep(0.2)
        for f in running:
            f.result()
    v.equal(len(seen), 1000)
    v.check(set(seen) <= {"535 5.7.8", "454 4.7.0"}, set(seen))
    # The machine may stand still for a moment, twice; who has to wait, waits each time.
    v.check(sorted(slowed)[-3:][0] < 2 * v.PATIENCE, "the owner waited", slowed)
    # From elsewhere he waits a little, and is not locked out.
    reply, took = attempt(veredus, "ann", SECRET, "127.0.0.3")
    v.equal(reply[:3], "235", "the owner from elsewhere")
    v.check(0.5 < took < 20 * v.PATIENCE, "waited", took)
    # Other users of the first guesser's network pay for nobody else's name.
    tried = [attempt(veredus, name, SECRET, "127.0.0.4") for name in ("bob", "cat")]
    v.check(all(reply.startswith("235") for reply, _ in tried) and min(took for _, took in tried) < 1 * v.PATIENCE, tried)


def test_one_client_guesses(t):
    """Ten failures end a connection; more connections get slower and slower, and then nowhere."""
    veredus = server(t, users={"ann": SECRET, "bob": SECRET}, sink=False)
    v.equal(attempt(veredus, "bob", SECRET, "127.0.0.9")[0][:3], "235")
    smtp = v.Smtp(veredus.port, source="127.0.0.9")
    smtp.socket.settimeout(60 * v.PATIENCE)
    started = time.monotonic()
    for i in range(9):
        v.equal(smtp.say("AUTH PLAIN " + plain(f"name{i}", "x"))[:9], "535 5.7.8")
    v.check(smtp.say("AUTH PLAIN " + plain("ann", "x")).startswith("421 4.7.0"))
    v.check(time.monotonic() - started > 5, "ten guesses took only", time.monotonic() - started)
    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        replies = list(pool.map(lambda i: attempt(veredus, "ann", f"y{i}", "127.0.0.9")[0][:9], range(30)))
    v.check(replies.count("454 4.7.0") >= 20, replies)
    # Bob sits in the same network, has logged in from there before, and does so still.
    reply, took = attempt(veredus, "bob", SECRET, "127.0.0.9")
    v.check(reply.startswith("235") and took < 10 * v.PATIENCE, reply, took)


def test_who_hangs_up_has_guessed(t):
    """A client that does not wait for the answer is counted like one that was wrong."""
    veredus = server(t, sink=False)
    v.equal(attempt(veredus, "ann", "wrong", "127.0.0.5")[0][:9], "535 5.7.8")

    def hang_up():
        smtp = v.Smtp(veredus.port, source="127.0.0.5")
        smtp.socket.sendall(b"AUTH PLAIN " + plain("ann", "guess").encode() + b"\r\n")
        smtp.file.close()
        smtp.socket.close()
        time.sleep(0.05)
        return re.search("reason=the client went away before the answer, failures=[4-9]", veredus.log_text())
    v.wait(hang_up, 10, "guesses")


def test_flood(t):
    """Floods of logins with slow hashes, half-finished exchanges and garbage; a good client is served on."""
    veredus = server(t, users={}, sink=False)
    v.write(veredus.users, f"carl:{{CRYPT}}{YESCRYPT}\ndora:{{CRYPT}}{YESCRYPT}\n", 0o600)
    if v.IS_ROOT:
        os.chown(veredus.users, v.NOBODY, v.NOBODY)
    v.equal(attempt(veredus, "carl", "crypted")[0][:3], "235")
    end = time.monotonic() + 5 * v.PATIENCE
    sent = [0]

    def flooder(i):
        n = 0
        while time.monotonic() < end:
            try:
                smtp = v.Smtp(veredus.port, source=f"127.2.{i}.{n % 250 + 1}")
                n += 1
                smtp.socket.settimeout(30 * v.PATIENCE)
                if i % 3 == 0:
                    smtp.say("AUTH PLAIN " + plain(f"carl{n}", "x" * (n % 700)))
                elif i % 3 == 1:
                    smtp.say("AUTH LOGIN")
                    smtp.say(base64.b64encode(os.urandom(500)).decode())
                else:
                    smtp.socket.sendall(b"AUTH PLAIN\r\n" + b"A" * 20000 + b"\r\n*\r\nAUTH LOGIN =\r\n*\r\n")
                sent[0] += 1
                smtp.file.close()
                smtp.socket.close()
            except (OSError, v.Failure):
                pass
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        running = [pool.submit(flooder, i) for i in range(24)]
        took = []
        while time.monotonic() < end:
            reply, seconds = attempt(veredus, "carl", "crypted")
            v.equal(reply[:3], "235", "a good client in the flood")
            took.append(seconds)
        for f in running:
            f.result()
    v.check(sent[0] > 100, "no flood:", sent[0])
    v.check(statistics.median(took) < 1 * v.PATIENCE, "the good client waited", took)
    reply, seconds = attempt(veredus, "dora", "crypted")
    v.equal(reply[:3], "235", "after the flood")
    v.check(not re.search("SIGSYS|daemon_died|was killed", veredus.log_text()), veredus.log_text()[-1500:])


def test_checker_dies(t):
    """Who was in the middle hears 454, and the next one logs in."""
    veredus = server(t, sink=False)
    smtp = v.Smtp(veredus.port)
    smtp.expect(334, "AUTH LOGIN")
    os.kill(veredus.daemons("checker")[0], 9)
    veredus.wait_log("checker .* was killed by SIGKILL")
    smtp.expect(454, base64.b64encode(b"ann").decode())
    v.wait(lambda: "AUTH" in v.Smtp(veredus.port).say("EHLO x"), 10, "AUTH to be offered again")
    v.equal(attempt(veredus, "ann", SECRET)[0][:3], "235")
    smtp.expect(235, "AUTH PLAIN " + plain("ann", SECRET))


def test_reload(t):
    """Without an auth block nothing is offered and no checker runs; a reload brings it."""
    veredus = t.veredus("route * { to = discard }\n").start()
    v.check("AUTH" not in v.Smtp(veredus.port).say("EHLO x"))
    v.check("checker" not in veredus.daemons())
    users = os.path.join(veredus.folder, "users")
    veredus.configure(f"route * {{ to = discard }}\nauth {{ users = {users}  clear = loopback  smtp = yes }}\n")
    veredus.command("user", "add", "ann", input=SECRET.encode() + b"\n")
    veredus.process.signal(1)
    veredus.wait_log("generation 2 is in force")
    v.wait(lambda: "AUTH" in v.Smtp(veredus.port).say("EHLO x"), 10, "AUTH to be offered")
    v.wait(lambda: attempt(veredus, "ann", SECRET)[0][:3] == "235", 5, "ann in")
    veredus.configure("route * { to = discard }\n")
    veredus.process.signal(1)
    veredus.wait_log("generation 3 is in force")
    v.check("AUTH" not in v.Smtp(veredus.port).say("EHLO x"))
    v.wait(lambda: "checker" not in veredus.daemons(), 15, "the checker's end")


def over_tls(t, more=""):
    """Submission with TLS, ann in its users file."""
    pair = pki.Pair(t.folder, "relay.example", "ec", also=["IP:127.0.0.1"])
    veredus = t.veredus("")
    veredus.pair, veredus.submission, veredus.submissions = pair, v.free_port(), v.free_port()
    users = os.path.join(veredus.folder, "users")
    veredus.configure(f"relay-from = {{ 198.51.100.0/24 }}\nroute * {{ to = discard }}\nauth {{ users = {users} }}\n"
                      f"listen submission {{ address = 127.0.0.1:{veredus.submission} }}\n"
                      f"listen submissions {{ address = 127.0.0.1:{veredus.submissions} }}\n" + pair.block(more))
    veredus.command("user", "add", "ann", input=SECRET.encode() + b"\n")
    return veredus.start()


def test_channel_binding(t):
    """SCRAM-SHA-256-PLUS of GNU SASL's client, and what a client hears over TLS."""
    veredus = over_tls(t)
    for mechanism in "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN":
        for password in SECRET, "wrong":
            done = run(["gsasl", "--smtp", f"--connect=127.0.0.1:{veredus.submission}", "-m", mechanism, "-a", "ann", "-z", "",
                        "-p", password, f"--x509-ca-file={veredus.pair.certificate}", *([] if "PLUS" in mechanism else ["--no-cb"])])
            text = done.stdout.decode(errors="replace")
            v.check(("235 2.7.0" if password == SECRET else "535 5.7.8") in text, mechanism, password, text[-1200:])
    veredus.wait_log("login=<ann>, method=SCRAM-SHA-256-PLUS, reason=")
    context = ssl.create_default_context(cafile=veredus.pair.certificate)
    with smtplib.SMTP("127.0.0.1", veredus.submission, timeout=60 * v.PATIENCE) as clear:
        clear.ehlo()
        v.check("auth" not in clear.esmtp_features, "AUTH in the clear")
        v.equal(clear.docmd("AUTH", "PLAIN " + plain("ann", SECRET))[0], 538)
        v.equal(clear.docmd("MAIL", "FROM:<a@client.example>")[0], 530)
    with smtplib.SMTP("127.0.0.1", veredus.submission, timeout=60 * v.PATIENCE) as smtp:
        context.check_hostname = False
        smtp.starttls(context=context)
        smtp.ehlo()
        v.equal(smtp.esmtp_features["auth"].split(), ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"])
        v.equal(smtp.docmd("MAIL", "FROM:<a@client.example>")[0], 530)
        # RFC 5802 6: "y" is what a client says from whom somebody hid that we can bind.
        v.equal(smtp.docmd("AUTH", "SCRAM-SHA-256 " + base64.b64encode(b"y,,n=ann,r=abcdefghijkl").decode())[0], 535)
        v.equal(smtp.login("ann", SECRET)[0], 235)
        v.equal(smtp.sendmail("a@client.example", ["x@sink.example"], MAIL), {})
    veredus.wait_log("reason=channel binding was hidden from the client")


def test_external(t):
    """A certificate of the client's that names a user logs him in, and nobody else."""
    ca = pki.Pair(t.folder, "ca", "ec", host="ca.example")
    os.chmod(ca.certificate, 0o644)
    veredus = over_tls(t, f"client-ca = {ca.certificate}")
    others = pki.Pair(t.folder, "otherca", "ec", host="ca.example")

    def login(name, issuer, response):
        context = ssl.create_default_context(cafile=veredus.pair.certificate)
        context.check_hostname = False
        if issuer:
            pair = pki.Pair(t.folder, f"{name}-{os.path.basename(issuer.certificate)}", "ec", host=name, issuer=issuer, client=True)
            os.chmod(pair.key, 0o600)
            context.load_cert_chain(pair.certificate, pair.key)
        with smtplib.SMTP("127.0.0.1", veredus.submission, timeout=60 * v.PATIENCE) as smtp:
            smtp.starttls(context=context)
            smtp.ehlo()
            return "EXTERNAL" in smtp.esmtp_features["auth"], smtp.docmd("AUTH", "EXTERNAL " + response)[0]
    v.equal(login("ann", ca, "="), (True, 235), "his own")
    v.equal(login("ann", ca, base64.b64encode(b"ann").decode()), (True, 235), "named")
    v.equal(login("ann", ca, base64.b64encode(b"bob").decode()), (True, 535), "another's name")
    v.equal(login("eve", ca, "="), (True, 535), "of nobody")
    v.equal(login("ann", others, "="), (False, 504), "of another authority")
    v.equal(login("ann", None, "="), (False, 504), "without a certificate")


def test_dovecot(t):
    """Dovecot's own auth service decides, with the very users file that veredus user writes; it may come and go."""
    veredus = t.veredus("route * { to = discard }\n")
    users = os.path.join(veredus.folder, "users")
    dovecot = Dovecot(t, users)
    veredus.configure(f"relay-from = {{ 198.51.100.0/24 }}\nroute * {{ to = discard }}\nauth {{ users = {users} }}\n")
    veredus.command("user", "add", "ann", input=SECRET.encode() + b"\n")
    with open(users, "a") as f:
        f.write(f"carl:{{CRYPT}}{YESCRYPT}\n")
    os.chmod(users, 0o644)
    veredus.configure("relay-from = { 198.51.100.0/24 }\nroute * { to = discard }\n"
                      f"auth {{ dovecot = {dovecot.socket}  clear = loopback  smtp = yes }}\n")
    veredus.start()
    veredus.wait_log("nobody can log in: .*auth: No such file")
    v.check("AUTH" not in v.Smtp(veredus.port).say("EHLO x"), "offered before Dovecot was there")
    dovecot.start()
    v.wait(lambda: "AUTH SCRAM-SHA-256 PLAIN LOGIN" in v.Smtp(veredus.port).say("EHLO x"), 15, "Dovecot's mechanisms")
    for client, how in (gsasl, "PLAIN"), (gsasl, "LOGIN"), (msmtp, "scram-sha-256"), (swaks, "LOGIN"):
        done = run(client(veredus, how, SECRET))
        v.equal(done.returncode, 0, f"{client.__name__} {how}: {done.stdout.decode(errors='replace')[-800:]} {veredus.log_text()[-500:]}")
        done = run(client(veredus, how, "wrong"))
        v.check(done.returncode != 0, client.__name__, how, "with a wrong password")
    v.equal(attempt(veredus, "carl", "crypted")[0][:3], "235", "another kind of hash")
    v.equal(attempt(veredus, "nobody", "x")[0][:9], "535 5.7.8")
    veredus.wait_log(r"login failed: client=unknown\[127\.0\.0\.1\], login=<ann>, method=SCRAM-SHA-256, reason=Dovecot: ")
    # In the middle of an exchange it goes away.
    smtp = v.Smtp(veredus.port)
    smtp.expect(334, "AUTH SCRAM-SHA-256 " + base64.b64encode(b"n,,n=ann,r=abcdefghijkl").decode())
    dovecot.end()
    veredus.wait_log("nobody can log in: Dovecot closed the connection")
    smtp.expect(454, base64.b64encode(b"c=biws,r=abc,p=AAAA").decode())
    v.equal(attempt(veredus, "ann", SECRET)[0][:9], "454 4.7.0")
    dovecot.start()
    v.wait(lambda: attempt(veredus, "ann", SECRET)[0].startswith("235"), 15, "Dovecot to be found again")


v.main(globals())
