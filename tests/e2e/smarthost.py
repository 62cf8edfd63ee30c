# SPDX-License-Identifier: ISC
"""Logins at relays: passwords and tokens at real ones, what is refused, and where the secrets are."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import base64
import http.server
import json
import re
import secrets
import signal
import smtplib
import ssl
import subprocess
import threading
import time
import urllib.parse

import pki
import secure as s
import veredus as v
from dovecot import Dovecot

LOGIN = "ann@client.example"
AGAIN = "retry { first = 1s longest = 1s }\n"
ONCE = "retry { first = 1h longest = 2h }\n"
SCRAMS = "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"
CLIENT, CLIENT_SECRET = "client one", "client&secret=%1"


def line_of(veredus, address, seconds=20):
    """(relay, dsn, status, reply, tls, policy) of the first delivery of a recipient."""
    return veredus.wait_log(rf"to=<{re.escape(address)}>, relay=(\S+), .* dsn=([\d.]+), status=(\w+) \((.*)\) tls=(\S+) policy=(\S+)", seconds).groups()


def send(veredus, *recipients, subject="x"):
    client = v.Smtp(veredus.port)
    for recipient in recipients:
        client.send("sender@client.example", recipient, v.mail(subject))
    client.close()


class World:
    """An authority, a relay's certificate, a password, and files with it that the daemons' master can read."""

    def __init__(self, t):
        self.t = t
        self.ca = s.Authority(t.folder, "authority", host="Test Authority")
        os.chmod(self.ca.certificate, 0o644)
        self.pair = self.ca.signed("relay", "relay.example")
        self.password = "pw-" + secrets.token_hex(16)
        self.secret("password", self.password)

    def path(self, name):
        return os.path.join(self.t.folder, "secret." + name)

    def secret(self, name, value):
        path = v.write(self.path(name), value + "\n", 0o600)
        if v.IS_ROOT:
            os.chown(path, v.NOBODY, v.NOBODY)
        return path

    def route(self, domain, to, mechanisms=None, more="", login=LOGIN, tls="tls-names = { relay.example }"):
        words = f"mechanisms = {{ {mechanisms} }}" if mechanisms else ""
        secret = "" if "token-endpoint" in more else f"password-file = {self.path('password')}"
        return f"route {domain} {{ to = {to}  login = {login}  {secret}\n  {tls} {words} {more} }}\n"

    def started(self, routes, config=AGAIN, forward=""):
        anchor = v.write(self.t.folder + "/anchor", "")
        return self.t.veredus(f"{config}resolver {{ forward = {{ {forward} }} trust-anchor = {anchor} }}\ntls-authorities = {self.ca.certificate}\n{routes}").start()


def no_secret_in(text, *hidden):
    for secret in hidden:
        for form in (secret, urllib.parse.quote_plus(secret), *(base64.b64encode(b"x" * n + secret.encode()).decode()[4:-4] for n in range(3))):
            v.check(form not in text, "a secret stands in the log:", form)


def test_at_veredus(t):
    """Each mechanism at another Veredus, on 587 and 465; with SCRAM no process but the checker has the password."""
    world = World(t)
    relay = t.veredus("", name="relay")
    submission, submissions = v.free_port(), v.free_port()
    users = os.path.join(relay.folder, "users")
    relay.configure(f"relay-from = {{ 198.51.100.0/24 }}\nroute * {{ to = discard }}\nauth {{ users = {users} }}\n"
                    f"listen smtp {{ address = 127.0.0.1:{relay.port} }}\n"
                    f"listen submission {{ address = 127.0.0.1:{submission} }}\nlisten submissions {{ address = 127.0.0.1:{submissions} }}\n"
                    f"tls relay.example {{ certificate = {world.pair.certificate}  key = {world.pair.key} }}\nsubmission {{ unqualified = keep }}\n")
    relay.command("user", "add", LOGIN, input=world.password.encode() + b"\n")
    table = v.write(os.path.join(relay.folder, "senders"), f"{LOGIN} *\n")
    relay.configure(v.read(relay.conf).decode().replace("submission { unq", f"submission {{ senders = {table}  unq"))
    relay.start()
    port = {"scram": f"smtp:[127.0.0.1]:{submission}", "smtps": f"smtps:[127.0.0.1]:{submissions}"}
    routes = (world.route("plus.example", port["scram"]) + world.route("bare.example", port["scram"], "SCRAM-SHA-256")
              + world.route("first.example", port["smtps"]))
    veredus = world.started(routes)
    v.wait(lambda: "SCRAM-SHA-256" in offered(submission), 15, "AUTH at the relay")
    for domain, mechanism in ("plus", SCRAMS[0]), ("bare", SCRAMS[1]), ("first", SCRAMS[0]):
        send(veredus, f"x@{domain}.example", subject=domain)
        got = line_of(veredus, f"x@{domain}.example")
        v.equal(got[2], "sent", f"{domain}: {got} {relay.log_text()[-800:]}")
        v.check(re.search(r"/verified(/resumed)?$", got[4]), got)
        v.equal(got[5], "verify/default", "policy")
        relay.wait_log(rf"sasl_method={re.escape(mechanism)}, sasl_username={re.escape(LOGIN)}\n")
    look = {"word": world.password.encode(), "base64": base64.b64encode(b"\0" + LOGIN.encode() + b"\0" + world.password.encode())}

    def holders():
        everyone = dict(veredus.daemons(), master=[veredus.process.pid])
        v.check(len(everyone) >= 8 and "checker" in everyone, everyone)
        return {name for name, pids in everyone.items() for pid in pids if pki.found_in(pid, look)}
    if v.IS_ROOT:
        v.equal(holders(), {"checker"}, "who has the password in memory")
    # With PLAIN and LOGIN it is wiped when it has been said.
    veredus.configure(v.read(veredus.conf).decode() + world.route("plain.example", port["scram"], "PLAIN") + world.route("login.example", port["smtps"], "LOGIN"))
    veredus.process.signal(signal.SIGHUP)
    veredus.wait_log("generation 2 is in force")
    for domain, mechanism in ("plain", "PLAIN"), ("login", "LOGIN"):
        send(veredus, f"x@{domain}.example", subject=domain)
        got = line_of(veredus, f"x@{domain}.example")
        v.equal(got[2], "sent", f"{domain}: {got} {veredus.log_text()[-600:]}")
        relay.wait_log(rf"sasl_method={mechanism}, sasl_username={re.escape(LOGIN)}\n")
    if v.IS_ROOT:
        v.equal(holders(), {"checker"}, "who has the password in memory after PLAIN and LOGIN")
    route = veredus.command("route", "x@first.example", "--connect")
    v.check(re.search(rf"^login +{LOGIN}$", route, re.M) and "TLS from the first octet" in route and re.search(rf"^site +\S+/{LOGIN}$", route, re.M), route)
    no_secret_in(veredus.log_text() + relay.log_text(), world.password)
    v.equal(veredus.stop(), 0, "exit status")


def offered(port):
    context = ssl._create_unverified_context()
    with smtplib.SMTP("127.0.0.1", port, timeout=20 * v.PATIENCE) as smtp:
        smtp.starttls(context=context)
        smtp.ehlo()
        return smtp.esmtp_features.get("auth", "")


class Server:
    """An authorization server: /token gives access tokens (RFC 6749), /introspect says of whom they are (RFC 7662)."""

    def __init__(self, t, pair=None, port=0):
        self.refresh, self.good, self.asked, self.lifetime, self.rotates, self.answer = "refresh-" + secrets.token_hex(8), set(), [], 3600, False, None
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode(), strict_parsing=True))
                status, answer = server.token(form) if self.path == "/token" else (200, server.known(form["token"]))
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *words):
                pass
        http.server.ThreadingHTTPServer.allow_reuse_address = True
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.http.daemon_threads = True
        self.http.handle_error = lambda *words: None
        self.port = self.http.server_address[1]
        if pair:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.certificate, pair.key)
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()
        self.ended = False
        t.defer(self.end)

    def end(self):
        if not self.ended:
            self.http.shutdown()
            self.http.server_close()
        self.ended = True

    def known(self, token):
        return {"active": True, "username": LOGIN} if token in self.good else {"active": False}

    def token(self, form):
        self.asked.append(form)
        if self.answer:
            return self.answer
        if (form["client_id"], form.get("client_secret")) != (CLIENT, CLIENT_SECRET):
            return 401, {"error": "invalid_client"}
        if form["grant_type"] == "refresh_token" and form["refresh_token"] != self.refresh:
            return 400, {"error": "invalid_grant", "error_description": "it is\nrevoked"}
        token = "at-" + secrets.token_hex(40)
        self.good.add(token)
        given = {"access_token": token, "token_type": "bearer", "expires_in": self.lifetime}
        if self.rotates:
            self.refresh = given["refresh_token"] = "refresh-" + secrets.token_hex(8)
        return 200, given


def token_words(world, server, more=""):
    """What a route has for tokens, behind its files."""
    world.secret("refresh", server.refresh)
    world.secret("client", CLIENT_SECRET)
    return (f"token-endpoint = https://127.0.0.1:{server.port}/token  client-id = \"{CLIENT}\"  client-secret-file = {world.path('client')}\n"
            f"  refresh-token-file = {world.path('refresh')} {more}")


def https(world):
    """A certificate for the server at 127.0.0.1."""
    return pki.Pair(world.t.folder, "idp.example", issuer=world.ca, also=("IP:127.0.0.1",))


def test_at_postfix_and_dovecot(t):
    """All that a real Postfix offers with a real Dovecot behind it, by password and by token."""
    if not v.IS_ROOT:
        raise v.Skip("starting an unpacked Postfix needs root")
    v.peer("postfix", "usr/lib/postfix/sbin/master")
    world = World(t)
    server, idp = Server(t), Server(t, https(world))
    server.good = idp.good  # Dovecot asks without TLS
    users = v.write(t.folder + "/dovecot.users", f"{LOGIN}:{{PLAIN}}{world.password}\n")
    os.chmod(users, 0o644)
    oauth2 = v.write(t.folder + "/oauth2.conf", f"introspection_mode = post\nusername_attribute = username\n"
                     f"introspection_url = http://127.0.0.1:{server.port}/introspect\nactive_attribute = active\nactive_value = true\n")
    dovecot = Dovecot(t, mechanisms="plain login scram-sha-1 scram-sha-256 oauthbearer xoauth2", more=f"""
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {oauth2}
}}
passdb {{
  driver = passwd-file
  mechanisms = plain login scram-sha-1 scram-sha-256
  args = scheme=PLAIN username_format=%u {users}
}}
""").start()
    out, port = v.free_port((v.SINK,)), v.free_port()
    sink, folder = t.sink(f"{v.SINK}:{out}"), t.folder + "/postfix"
    environment = dict(os.environ, POSTFIX_PACKAGE=v.reachable(t, os.path.join(v.PEERS, "postfix"), "peer"))
    script = os.path.join(v.ROOT, "bench/postfix.sh")
    t.defer(subprocess.run, ["sh", script, "stop", folder])
    subprocess.run(["sh", script, "start", folder, str(port), f"[{v.SINK}]:{out}"], check=True, timeout=60, env=environment)
    # Its smtpd is started by the first client, and reads this then. Nothing twice: each process complains of that to
    # postlogd, which complains to itself, and sometimes waits for ever.
    text = re.sub(r"(?m)^(mynetworks|smtpd_relay_restrictions) =.*\n", "", v.read(folder + "/etc/main.cf").decode())
    with open(folder + "/etc/main.cf", "w") as f:
        f.write(text + f"""smtpd_tls_security_level = may
smtpd_tls_cert_file = {world.pair.certificate}
smtpd_tls_key_file = {world.pair.key}
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {dovecot.socket}
broken_sasl_auth_clients = yes
mynetworks = 192.0.2.1/32
smtpd_relay_restrictions = permit_sasl_authenticated, reject
""")
    to = f"smtp:[127.0.0.1]:{port}"
    by_password = "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN"
    by_token = "OAUTHBEARER", "XOAUTH2"
    words = token_words(world, idp)
    routes = "".join(world.route(f"{name.lower()}.example", to, name, words if name in by_token else "") for name in by_password + by_token)
    veredus = world.started(routes + world.route("best.example", to) + f"route none.example {{ to = {to} }}\n")

    def postfix_log():  # its postlogd makes it, at its own time
        path = folder + "/log/mail.log"
        return v.read(path).decode() if os.path.exists(path) else ""
    for name in by_password + by_token + ("best",):
        send(veredus, f"x@{name.lower()}.example", subject=name)
        got = line_of(veredus, f"x@{name.lower()}.example")
        v.equal(got[2], "sent", f"{name}: {got} {postfix_log()[-1500:]}")
        want = "SCRAM-SHA-256" if name == "best" else name
        v.wait(lambda: re.search(rf"sasl_method={want}, sasl_username={re.escape(LOGIN)}\n", postfix_log()), 10,
               lambda: name + postfix_log()[-1500:])
    sink.wait_mails(7, 30)
    send(veredus, "x@none.example")
    v.equal(line_of(veredus, "x@none.example")[2], "bounced", "without a login")
    v.equal(len(idp.asked), 2, "token requests, one a route")
    no_secret_in(veredus.log_text(), world.password, idp.refresh, CLIENT_SECRET, *idp.good)
    v.equal(veredus.stop(), 0, "exit status")


def ehlo(mechanisms):
    def act(conn):
        conn.send(s.PLAIN.replace(b"250 8", b"250-AUTH " + mechanisms.encode() + b"\r\n250 8") if isinstance(conn.socket, ssl.SSLSocket) else s.OFFER)
    return act


def says(*replies):
    """Answers AUTH, and each response to a challenge, with the next of them."""
    def act(conn):
        for i, reply in enumerate(replies):
            if i:
                conn.receiver.commands.append(conn.file.readline())
            conn.send(reply if isinstance(reply, bytes) else reply(conn))
    return act


def challenge(text):
    return b"334 " + base64.b64encode(text.encode()) + b"\r\n"


def first_of(iterations):
    """A SCRAM server's first message, for the nonce that the client sent."""
    def reply(conn):
        nonce = re.search(r"r=([^,]+)", base64.b64decode(conn.receiver.commands[-1].split()[2]).decode())[1]
        return challenge(f"r={nonce}server,s={base64.b64encode(b'salt' * 4).decode()},i={iterations}")
    return reply


def test_refused(t):
    """A table: what the relay says to the login, and what becomes of the mail: it is never lost for it, and tried no more than once."""
    world = World(t)
    table = {
        # name: mechanisms, what AUTH is answered with, dsn, words
        "wrong": ("PLAIN", says(b"535 5.7.8 no such thing\r\n"), "4.7.8", "535 5.7.8 no such thing"),
        "bare": ("PLAIN LOGIN", says(b"535 no\r\n"), "4.7.8", "535 no"),
        "weak": ("PLAIN", says(b"534 5.7.9 too weak\r\n"), "4.7.9", "534"),
        "crypt": ("PLAIN", says(b"538 no\r\n"), "4.7.11", "538"),
        "shift": ("PLAIN", says(b"432 4.7.12 change it\r\n"), "4.7.12", "432"),
        "later": ("PLAIN", says(b"454 4.7.0 later\r\n"), "4.7.0", "454 4.7.0 later"),
        "busy": ("PLAIN", says(b"421 4.3.2 closing\r\n"), "4.3.2", "421"),
        "odd": ("PLAIN", says(b"550 go away\r\n"), "4.7.0", "550 go away"),
        "none": ("CRAM-MD5 GSSAPI", says(b"535 what\r\n"), "4.7.4", "offers no login"),
        "more": ("PLAIN", says(b"334 \r\n", b"235 2.7.0 in\r\n"), "4.7.0", "goes on behind the password"),
        "binary": ("LOGIN", says(b"334 %%%\r\n"), "4.5.0", "no base64"),
        "long": ("LOGIN", says(b"334 " + b"QUFB" * 4000 + b"\r\n"), "4.5.0", "malformed"),
        "early": ("SCRAM-SHA-256", says(b"235 2.7.0 in\r\n"), "4.7.0", "without proving itself"),
        "liar": ("SCRAM-SHA-256", says(first_of(4096), challenge("v=" + base64.b64encode(b"x" * 32).decode())), "4.7.0", "has not proved that it knows"),
        "cheap": ("SCRAM-SHA-256", says(first_of(1)), "4.7.0", "less than 4096"),
        "dear": ("SCRAM-SHA-1", says(first_of(4000000000)), "4.7.0", "more than 1000000"),
    }
    relays = {name: s.Receiver(t, pair=world.pair, ehlo=ehlo(row[0]), auth=row[1]) for name, row in table.items()}
    good = says(b"235 2.7.0 in\r\n")
    relays["ends"] = s.Receiver(t, pair=world.pair, ehlo=ehlo("PLAIN"), auth=good, mail=b"530 5.7.0 log in\r\n")
    table["ends"] = None, None, "4.7.0", "530 5.7.0 log in"
    stranger = pki.Pair(t.folder, "stranger", host="relay.example")
    relays["fake"] = s.Receiver(t, pair=stranger, ehlo=ehlo("PLAIN"), auth=good)
    table["fake"] = None, None, "4.7.5", "not trusted"
    relays["clear"] = s.Receiver(t, ehlo=s.PLAIN.replace(b"250 8", b"250-AUTH PLAIN\r\n250 8"), auth=good)
    table["clear"] = None, None, "4.7.4", "TLS is required"
    world.secret("none", "")
    routes = "".join(world.route(f"{name}.example", f"smtp:[{v.SINK}]:{relay.port}") for name, relay in relays.items())
    relays["lost"] = s.Receiver(t, pair=world.pair, ehlo=ehlo("PLAIN"), auth=good)
    routes += world.route("lost.example", f"smtp:[{v.SINK}]:{relays['lost'].port}").replace(world.path("password"), world.path("none"))
    table["lost"] = None, None, "4.7.0", "there is no password"
    veredus = world.started(routes, ONCE)
    send(veredus, *(f"{n}@{name}.example" for n in "ab" for name in table))
    wrong = []
    for name, (_, _, dsn, words) in table.items():
        got = line_of(veredus, f"a@{name}.example", 30)
        if got[1:3] != (dsn, "deferred") or words not in got[3]:
            wrong.append(f"{name}: {got}")
    v.check(not wrong, "\n".join(wrong))
    log = veredus.log_text()
    v.check(re.search(rf"smtp-client\[\d+\]: warning: login to \S+:{relays['wrong'].port} as <{LOGIN}> failed: 535 5.7.8 no such thing\n", log), log[-2500:])
    given_up = "more", "binary", "liar", "cheap", "dear"
    for name in given_up:  # what is given up in the middle is said to be
        v.wait(lambda: b"*\r\n" in relays[name].commands, 10, lambda: f"a star: {name}: {relays[name].commands}")
    for name in relays:
        v.equal(b"*\r\n" in relays[name].commands, name in given_up, f"{name}: {relays[name].commands}")
    for name, relay in relays.items():
        tried = [c for c in relay.commands if c.startswith(b"AUTH")]
        v.check(len(tried) <= 2, name, tried)  # a site's first window has two connections
    for name in "fake", "clear":
        v.check(not any(b"AUTH" in c for c in relays[name].commands), name, relays[name].commands)
    v.check(not any(relay.contents for relay in relays.values()), "mail was taken")
    site = json.loads(veredus.command("status", "--json"))
    v.check("535 5.7.8 no such thing" in json.dumps(site), "the status does not say why")
    no_secret_in(log, world.password)
    v.equal(veredus.stop(), 0, "exit status")


def test_password_changes(t):
    """The file is read anew when a password was refused: at once, without a reload; and one that was not there is found later."""
    world = World(t)

    def judge(conn):
        said = base64.b64decode(conn.receiver.commands[-1].split()[2]).decode()
        return b"235 2.7.0 in\r\n" if said == f"\0{LOGIN}\0right" else b"535 5.7.8 no\r\n"
    relay = s.Receiver(t, pair=world.pair, ehlo=ehlo("PLAIN"), auth=says(judge))
    veredus = world.started(world.route("*", f"smtp:[{v.SINK}]:{relay.port}"))
    send(veredus, "a@one.example")
    v.equal(line_of(veredus, "a@one.example")[1:3], ("4.7.8", "deferred"))
    world.secret("password", "right")
    veredus.wait_log(r"to=<a@one\.example>.*status=sent")
    v.equal([len([c for c in relay.commands if c.startswith(b"AUTH")])], [len(set(re.findall(r"to=<a@one.example>.*status=deferred", veredus.log_text()))) + 2], "attempts")
    # In the clear, but to this machine only, and only when it is said.
    local = s.Receiver(t, address="127.0.0.1", ehlo=s.PLAIN.replace(b"250 8", b"250-AUTH PLAIN\r\n250 8"), auth=says(judge))
    veredus.configure(v.read(veredus.conf).decode() + world.route("local.example", f"smtp:[127.0.0.1]:{local.port}", tls="tls = may"))
    veredus.process.signal(signal.SIGHUP)
    veredus.wait_log("generation 2 is in force")
    send(veredus, "b@local.example")
    v.equal(line_of(veredus, "b@local.example")[2], "sent")
    # A checker that dies is asked again.
    os.kill(veredus.daemons("checker")[0], 9)
    v.wait(lambda: local.commands.count(b"QUIT\r\n"), 10, "QUIT")
    send(veredus, "c@local.example")
    veredus.wait_log(r"to=<c@local\.example>.*status=sent")
    v.equal(veredus.stop(), 0, "exit status")


def test_reload_within_a_login(t):
    """The route changes while its relay has said 334: a fault of ours, which waits for no retry and is not the relay's."""
    world = World(t)
    reloaded = []

    def first(conn):
        if not reloaded:
            reloaded.append(veredus.configure(v.read(veredus.conf).decode().replace("{ LOGIN }", "{ LOGIN PLAIN }")))
            veredus.process.signal(signal.SIGHUP)
            veredus.wait_log("generation 2 is in force")
        return b"334 VXNlciBOYW1lAA==\r\n"
    relay = s.Receiver(t, pair=world.pair, ehlo=ehlo("LOGIN"), auth=says(first, b"334 UGFzc3dvcmQA\r\n", b"235 2.7.0 in\r\n"))
    veredus = world.started(world.route("*", f"smtp:[{v.SINK}]:{relay.port}", "LOGIN"), ONCE)
    send(veredus, "a@one.example")
    v.equal(line_of(veredus, "a@one.example")[1:4], ("4.3.0", "deferred", "the configuration has changed meanwhile"))
    veredus.wait_log(r"to=<a@one\.example>.*status=sent", 15)
    veredus.wait_empty(10)
    v.equal(veredus.stop(), 0, "exit status")


def test_tokens(t):
    """Refresh before the end, once for all; another one after a refusal; a refresh token that rotates, also over a restart; an endpoint that is down."""
    world = World(t)
    pair = https(world)
    server = Server(t, pair)
    refused = []

    def judge(conn):
        command = conn.receiver.commands[-1].split()
        said = base64.b64decode(command[2] if len(command) > 2 else command[0]).decode()
        token = re.fullmatch(rf"(?:user={LOGIN}|n,a={LOGIN},)\x01auth=Bearer ([\w.~+/-]+=*)\x01\x01", said)[1]
        if token in server.good:
            return b"235 2.7.0 in\r\n"
        refused.append(token)
        conn.send(challenge('{"status":"400","schemes":"Bearer","scope":"https://mail.example/"}'))
        answer = conn.file.readline()
        return b"535 5.7.8 bad token\r\n" if answer == (b"\r\n" if b"user=" in said.encode() else b"AQ==\r\n") else b"501 what\r\n"

    def serve(conn):
        command = conn.receiver.commands[-1].split()
        if len(command) == 2:  # a long one comes behind a challenge
            conn.send(b"334 \r\n")
            conn.receiver.commands.append(conn.file.readline())
        conn.send(judge(conn))
    google, standard = (s.Receiver(t, pair=world.pair, ehlo=ehlo("LOGIN PLAIN " + name), auth=serve) for name in ("XOAUTH2", "OAUTHBEARER"))
    words = token_words(world, server)
    routes = (world.route("x.example", f"smtp:[{v.SINK}]:{google.port}", more=words)
              + world.route("o.example", f"smtp:[{v.SINK}]:{standard.port}", more=words)
              + world.route("own.example", f"smtp:[{v.SINK}]:{google.port}", more=words.split("refresh-token-file")[0] + 'token-scope = "https://mail.example/.default"'))
    veredus = world.started(routes, AGAIN + "limits { site-messages = 1 }\n")

    def sent(address):
        send(veredus, address)
        veredus.wait_log(rf"to=<{re.escape(address)}>.*status=sent")
    send(veredus, *(f"{i}@x.example" for i in range(8)))
    for i in range(8):
        veredus.wait_log(rf"to=<{i}@x\.example>.*status=sent")
    v.equal(len(server.asked), 1, "one request for many connections")
    v.equal(server.asked[0], {"grant_type": "refresh_token", "refresh_token": server.refresh, "client_id": CLIENT, "client_secret": CLIENT_SECRET})
    sent("9@o.example")
    sent("9@own.example")
    v.equal(server.asked[-1], {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": CLIENT_SECRET, "scope": "https://mail.example/.default"})
    # Revoked before its time: refused, fetched anew, and in on the same connection.
    for domain, relay in ("x", google), ("o", standard):
        server.good.clear()
        count, before = len(server.asked), relay.connections
        sent(f"10@{domain}.example")
        v.equal((len(server.asked), relay.connections), (count + 1, before + 1), "after a revocation")
    v.equal(len(refused), 2)
    # It lives for a moment: asked for each time; and each time the refresh token is another one.
    server.lifetime, server.rotates = 1, True
    server.good.clear()
    sent("11@x.example")
    veredus.wait_log(r"route x\.example: the server gave another refresh token; it is kept")
    time.sleep(1.2)
    count, rotated = len(server.asked), server.refresh
    sent("12@x.example")
    v.equal((len(server.asked), server.asked[-1]["refresh_token"]), (count + 1, rotated))
    v.equal(veredus.stop(), 0, "exit status")
    state = [name for name in os.listdir(veredus.queue) if name.startswith("token.")]
    v.check(state and all(os.stat(os.path.join(veredus.queue, name)).st_mode & 0o77 == 0 for name in state), state)
    veredus.start()
    rotated = server.refresh
    sent("13@x.example")
    v.equal(server.asked[-1]["refresh_token"], rotated, "after a restart")
    # The endpoint is down, then it wants another refresh token, which a person puts there.
    port = server.port
    server.end()
    time.sleep(1.2)
    send(veredus, "14@x.example")
    v.equal(line_of(veredus, "14@x.example")[1:3], ("4.7.0", "deferred"))
    v.check("the token-endpoint cannot be asked" in line_of(veredus, "14@x.example")[3], line_of(veredus, "14@x.example"))
    old, server = server, Server(t, pair, port)
    veredus.wait_log(r"to=<14@x\.example>.*no access token: invalid_grant: it is revoked", 30)
    v.check(re.search(r"warning: login to \S+ as <\S+> failed: no access token", veredus.log_text()), veredus.log_text()[-900:])
    world.secret("refresh", server.refresh)
    veredus.wait_log(r"to=<14@x\.example>.*status=sent", 30)
    no_secret_in(veredus.log_text(), CLIENT_SECRET, server.refresh, old.refresh, rotated, *server.good, *old.good)
    v.equal(veredus.stop(), 0, "exit status")


def test_check(t):
    """What veredus check says of logins."""
    world = World(t)
    veredus = t.veredus("")

    def said(routes, status=1, authorities=world.ca.certificate):
        veredus.configure(f"tls-authorities = {authorities}\n{routes}")
        done = subprocess.run([os.path.join(veredus.build, "veredus"), "check", "-c", veredus.conf], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=30 * v.PATIENCE, **veredus.demote)
        v.equal(done.returncode, status, done.stdout.decode())
        return done.stdout.decode()
    example = said(v.read(v.ROOT + "/examples/smarthost.conf").decode().replace("/var/spool/veredus", veredus.queue), 0)
    v.equal(len(re.findall("warning: .*No such file", example)), example.count("warning: "), example)
    host = "smtp:relay.example:587"
    for routes, words in (
            (world.route("*", host, tls="tls = may"), "could send the password in the clear"),
            (world.route("*", host, tls="tls = dane"), "could send the password in the clear"),
            (world.route("*", "mx"), "smtp:HOST or smtps:HOST only"),
            (world.route("*", host, "XOAUTH2"), "with a password they are SCRAM"),
            (world.route("*", host, more="client-id = x"), "need token-endpoint"),
            (f"route * {{ to = {host}  login = x }}", "needs password-file or token-endpoint"),
            (f"route * {{ to = {host}  login = x  token-endpoint = https://h.example/ }}", "token-endpoint needs client-id")):
        text = said(routes)
        v.check(words in text, words, text)
    for routes, words in (
            (world.route("*", host, tls="tls = encrypt"), "goes to whoever answers"),
            (world.route("*", host).replace(world.path("password"), world.path("absent")), "No such file"),
            (f"route * {{ to = {host}  password-file = /x }}", "does nothing without login")):
        text = said(routes, 0)
        v.check("warning" in text and words in text, words, text)
    v.check("error: tls-authorities: /absent: No such file" in said("", authorities="/absent"))
    os.chmod(world.path("password"), 0o644)
    v.check("can be read by others than its owner (mode 644)" in said(world.route("*", host), 0))
    world.secret("password", "")
    v.check("its first line is empty" in said(world.route("*", host), 0))
    world.secret("password", "x")
    v.check("warning" not in said(world.route("*", host) + f"route b.example {{ to = {{ smtps:a.example*3, smtps:[192.0.2.1]*1 }} tls = encrypt }}\n", 0))


v.main(globals())
