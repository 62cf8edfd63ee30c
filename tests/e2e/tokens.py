# SPDX-License-Identifier: ISC
"""Logins by OAuth tokens: asked about at an authorization server of the test's own, and at a real Dovecot's."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import base64
import http.server
import json
import re
import shutil
import smtplib
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse

import pki
import veredus as v
from dovecot import Dovecot

MAIL = b"From: a@client.example\r\nSubject: by token\r\n\r\nhello\r\n"
GOOD, OTHER, DEAD = "good.token-1~x+/==", "other-token", "dead-token"
CLIENT, SECRET = "veredus at work", "client%secret+1"


class Provider:
    """An authorization server's introspection endpoint (RFC 7662): what .tokens says, or .answer in its place."""

    def __init__(self, t, pair=None, address="127.0.0.1"):
        self.tokens, self.requests, self.answer = {}, [], None
        provider = self

        class Server(http.server.ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                provider.requests.append((self.path, dict(self.headers), body))
                token = urllib.parse.parse_qs(body, strict_parsing=True)["token"][0]
                status, content, more = provider.answer or (200, json.dumps(provider.tokens.get(token, {"active": False})), {})
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(content.encode())
                except OSError:
                    pass  # it was too much

            def log_message(self, *words):
                pass
        self.server = Server((address, 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *words: None  # a client that trusts nobody
        self.port = self.server.server_address[1]
        if pair:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.certificate, pair.key)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        t.defer(self.server.server_close)
        t.defer(self.server.shutdown)


def bearer(token, name=""):
    header = f"n,{'a=' + name if name else ''},"
    return base64.b64encode(f"{header}\1host=mx\1port=25\1auth=Bearer {token}\1\1".encode()).decode()


def xoauth2(token, name="ann"):
    return base64.b64encode(f"user={name}\1auth=Bearer {token}\1\1".encode()).decode()


def login(veredus, mechanism, response, source=None):
    """What a client hears in the end, and the error before it."""
    smtp = v.Smtp(veredus.port, source=source)
    smtp.socket.settimeout(30 * v.PATIENCE)
    reply, error = smtp.say(f"AUTH {mechanism} {response}"), None
    if reply.startswith("334"):
        error = base64.b64decode(reply[4:]).decode()
        reply = smtp.say("AQ==" if mechanism == "OAUTHBEARER" else "")
    smtp.close()
    return reply[:9], error


def world(t, settings=""):
    """Veredus with tokens, and its provider, idp.example."""
    ca = pki.Pair(t.folder, "ca", "ec", host="ca.example")
    pair = pki.Pair(t.folder, "idp.example", "ec", issuer=ca)
    os.chmod(ca.certificate, 0o644)
    provider = Provider(t, pair)
    veredus = t.veredus("")
    forward = t.zone("idp A 127.0.0.1\n")
    secret = v.write(os.path.join(veredus.folder, "secret"), SECRET + "\n", 0o600)
    if v.IS_ROOT:
        os.chown(secret, v.NOBODY, v.NOBODY)
    veredus.configure(f"relay-from = {{ 198.51.100.0/24 }}\nroute * {{ to = discard }}\nresolver {{ forward = {{ {forward} }}  trust-anchor = {t.folder}/none }}\n"
                      f"auth {{ introspection = https://idp.example:{provider.port}/introspect?x\n  introspection-client = \"{CLIENT}\"\n"
                      f"  introspection-secret-file = {secret}\n  introspection-ca = {ca.certificate}\n"
                      f"  clear = loopback  smtp = yes {settings} }}\n")
    provider.tokens = {GOOD: {"active": True, "username": "ann", "scope": "mail smtp", "aud": ["mx", "imap"],
                              "exp": int(time.time()) + 3600},
                       OTHER: {"active": True, "username": "bob"}}
    return veredus, provider


def no_secret_in(text, *secrets):
    for secret in secrets:
        for form in (secret, urllib.parse.quote_plus(secret), base64.b64encode(secret.encode()).decode().rstrip("=")[:-2]):
            v.check(form not in text, "a secret stands in the log:", form)


def test_clients(t):
    """curl, msmtp and a client by hand, right and wrong; what the provider is asked, and what is logged."""
    veredus, provider = world(t)
    veredus.start()
    v.wait(lambda: "AUTH OAUTHBEARER XOAUTH2\n" in v.Smtp(veredus.port).say("EHLO x") + "\n", 10, "the mechanisms")
    mail = v.write(os.path.join(t.folder, "mail"), MAIL)

    def curl(how, token):
        return ["curl", "-sS", "--max-time", "20", f"smtp://127.0.0.1:{veredus.port}", "--user", "ann:", "--oauth2-bearer", token,
                "--login-options", "AUTH=" + how, "--mail-from", "a@client.example", "--mail-rcpt", "x@sink.example", "-T", mail]

    def msmtp(how, token):
        return ["msmtp", "--host=127.0.0.1", f"--port={veredus.port}", "--auth=" + how.lower(), "--user=ann", "--tls=off", "--timeout=20",
                "--passwordeval=printf %s " + "'" + token + "'", "--from=a@client.example", "x@sink.example"]
    for client, how in (curl, "OAUTHBEARER"), (curl, "XOAUTH2"), (msmtp, "OAUTHBEARER"), (msmtp, "XOAUTH2"):
        if not shutil.which(client.__name__):
            continue
        for token, good in (GOOD, True), (DEAD, False), (OTHER, False):
            done = subprocess.run(client(how, token), input=MAIL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60 * v.PATIENCE)
            v.equal(done.returncode == 0, good, f"{client.__name__} {how} {token}: {done.stdout.decode(errors='replace')[-500:]} "
                    + veredus.log_text()[-600:])
    path, headers, body = provider.requests[0]
    v.equal(path, "/introspect?x")
    v.equal(urllib.parse.parse_qs(body), {"token": [GOOD], "token_type_hint": ["access_token"]})
    v.equal(headers["Content-Type"], "application/x-www-form-urlencoded")
    user, password = base64.b64decode(headers["Authorization"].split()[1]).decode().split(":")
    v.equal((urllib.parse.unquote_plus(user), urllib.parse.unquote_plus(password)), (CLIENT, SECRET))
    v.equal(sum(GOOD in urllib.parse.unquote(body) for _, _, body in provider.requests), 1, "a good token is asked about once")
    veredus.wait_log(r"sasl_method=OAUTHBEARER, sasl_username=ann")
    veredus.wait_log(r"login failed: .* login=<ann>, method=XOAUTH2, reason=the token is not active, failures=\d")
    veredus.wait_log(r"login=<ann>, method=\w+, reason=the token is another's, failures=")
    no_secret_in(veredus.log_text(), GOOD, OTHER, DEAD, SECRET)


def test_exchange(t):
    """What is said in what order, to the letter, and what is refused before anybody is asked."""
    veredus, provider = world(t, settings="introspection-scope = \"smtp\"  introspection-audience = mx")
    veredus.start()
    v.equal(login(veredus, "OAUTHBEARER", bearer(GOOD)), ("235 2.7.0", None), "without a name")
    v.equal(login(veredus, "OAUTHBEARER", bearer(GOOD, "ANN")), ("235 2.7.0", None))
    v.equal(login(veredus, "OAUTHBEARER", bearer(GOOD, "b=3Dob")), ("535 5.7.8", '{"status":"invalid_token","scope":"smtp"}'))
    v.equal(login(veredus, "XOAUTH2", xoauth2(DEAD)), ("535 5.7.8", '{"status":"401","schemes":"bearer","scope":"smtp"}'))
    provider.tokens["noscope"] = dict(provider.tokens[GOOD], scope="smtps mail")
    provider.tokens["elsewhere"] = dict(provider.tokens[GOOD], aud="imap")
    provider.tokens["old"] = dict(provider.tokens[GOOD], exp=int(time.time()) - 1)
    provider.tokens["nobody"] = {key: value for key, value in provider.tokens[GOOD].items() if key != "username"}
    v.equal(login(veredus, "OAUTHBEARER", bearer("noscope"), "127.0.0.2"),
            ("535 5.7.8", '{"status":"insufficient_scope","scope":"smtp"}'))
    for token in "elsewhere", "old", "nobody":
        v.equal(login(veredus, "OAUTHBEARER", bearer(token), "127.0.0.3")[0], "535 5.7.8", token)
    asked = len(provider.requests)
    v.equal(login(veredus, "OAUTHBEARER", base64.b64encode(b"n,,\1auth=Basic YTpi\1\1").decode(), "127.0.0.4")[0], "535 5.7.8")
    for response in b"\1", b"n,,\1auth=Bearer x\1", b"p=tls-exporter,,\1auth=Bearer x\1\1", b"n,,auth=Bearer x\1\1":
        v.equal(login(veredus, "OAUTHBEARER", base64.b64encode(response).decode(), "127.0.0.4"), ("501 5.5.2", None), response)
    v.equal(login(veredus, "XOAUTH2", base64.b64encode(b"auth=Bearer x\1\1").decode(), "127.0.0.5"), ("501 5.5.2", None))
    v.equal(len(provider.requests), asked, "asked about what is no token")
    # Without an initial response; and who hangs up on the error has failed all the same.
    smtp = v.Smtp(veredus.port, source="127.0.0.6")
    v.equal(smtp.say("AUTH OAUTHBEARER"), "334 ")
    smtp.expect(334, bearer(DEAD))
    smtp.expect(501, "*")
    veredus.wait_log(r"login=<>, method=OAUTHBEARER, reason=the token is not active, failures=1\n")
    v.equal(smtp.say("AUTH XOAUTH2"), "334 ")
    smtp.expect(235, xoauth2(GOOD))


def test_provider_fails(t):
    """Nobody is turned away for good while the provider cannot answer; no redirect is followed, no stranger trusted."""
    veredus, provider = world(t)
    veredus.start()

    def fails(why, source):
        v.equal(login(veredus, "OAUTHBEARER", bearer(GOOD), source), ("454 4.7.0", None), why)
        veredus.wait_log(f"method=OAUTHBEARER, reason={why}")
    elsewhere = Provider(t)
    provider.answer = 302, "", {"Location": f"http://127.0.0.1:{elsewhere.port}/introspect"}
    fails("the introspection server answers 302", "127.0.0.2")
    v.equal(elsewhere.requests, [], "redirected")
    provider.answer = 200, "x" * 70000, {}
    fails("the introspection server cannot be asked: the answer is too large", "127.0.0.3")
    provider.answer = 200, '{"active":"true"}', {}
    fails("the introspection server's answer is none", "127.0.0.4")
    provider.answer = 401, "{}", {}
    v.write(os.path.join(veredus.folder, "secret"), "another\n", 0o600)
    fails("the introspection server answers 401", "127.0.0.5")
    provider.answer = None
    v.equal(login(veredus, "OAUTHBEARER", bearer(GOOD)), ("235 2.7.0", None))
    password = base64.b64decode(provider.requests[-1][1]["Authorization"].split()[1]).decode().split(":")[1]
    v.equal(password, "another", "the secret was read anew")
    # Another authority's name for itself; the fetcher is another one by then.
    before = veredus.daemons("fetcher")
    stranger = pki.Pair(t.folder, "stranger", "ec", host="ca.example")
    os.chmod(stranger.certificate, 0o644)
    config = v.read(veredus.conf).decode()
    veredus.configure(re.sub(r"introspection-ca = \S+", "introspection-ca = " + stranger.certificate, config))
    veredus.process.signal(1)
    veredus.wait_log("generation 2 is in force")
    v.wait(lambda: veredus.daemons("fetcher") not in ([], before), 10, "another fetcher")
    provider.tokens["second"] = provider.tokens[GOOD]
    v.wait(lambda: login(veredus, "OAUTHBEARER", bearer("second"))[0] == "454 4.7.0" and
           re.search("cannot be asked: .*[cC]ertificate", veredus.log_text()), 10, lambda: veredus.log_text()[-900:])
    v.check(not re.search("SIGSYS|was killed", veredus.log_text()), veredus.log_text()[-1500:])
    v.equal(login(veredus, "OAUTHBEARER", bearer(GOOD))[0], "454 4.7.0", "remembered from another authority's time")
    # A secret that is taken out of the configuration is sent to nobody.
    veredus.configure(re.sub(r"introspection-(secret-file|client) = \S+( at work\")?", "", config))
    veredus.process.signal(1)
    veredus.wait_log("generation 3 is in force")
    v.wait(lambda: login(veredus, "OAUTHBEARER", bearer(GOOD))[0] == "235 2.7.0", 10, "a login without a secret")
    v.check("Authorization" not in provider.requests[-1][1], "the old secret was sent", provider.requests[-1])
    # Without introspection there is no fetcher.
    veredus.configure("relay-from = { 198.51.100.0/24 }\nroute * { to = discard }\n")
    veredus.process.signal(1)
    v.wait(lambda: "fetcher" not in veredus.daemons(), 15, "the fetcher's end")


def test_address_in_place_of_a_name(t):
    """An introspection server that is named by its address, of either kind."""
    ca = pki.Pair(t.folder, "ca", "ec", host="ca.example")
    pair = pki.Pair(t.folder, "idp.example", "ec", issuer=ca, also=("IP:127.0.0.1", "IP:::1"))
    os.chmod(ca.certificate, 0o644)
    veredus = t.veredus("")
    start = veredus.start
    for address, host in ("127.0.0.1", "127.0.0.1"), ("::1", "[::1]"):
        provider = Provider(t, pair, address)
        provider.tokens = {GOOD: {"active": True, "username": "ann"}}
        veredus.configure("relay-from = { 198.51.100.0/24 }\nroute * { to = discard }\n"
                          f"auth {{ introspection = https://{host}:{provider.port}/  introspection-ca = {ca.certificate}\n"
                          "  clear = loopback  smtp = yes }\n")
        start()
        start = lambda: (veredus.process.signal(1), veredus.wait_log("generation 2 is in force"))
        v.wait(lambda: login(veredus, "OAUTHBEARER", bearer(GOOD))[0] == "235 2.7.0", 10, lambda: host + veredus.log_text()[-900:])
        v.equal(len(provider.requests), 1, host)


def test_beside_a_users_file(t):
    """Passwords and tokens, each by its own."""
    veredus, provider = world(t)
    users = os.path.join(veredus.folder, "users")
    veredus.configure(v.read(veredus.conf).decode().replace("auth {", f"auth {{ users = {users} "))
    veredus.command("user", "add", "ann", input=b"word\n")
    veredus.start()
    v.wait(lambda: "AUTH SCRAM-SHA-256 PLAIN LOGIN OAUTHBEARER XOAUTH2" in v.Smtp(veredus.port).say("EHLO x"), 10, "the mechanisms")
    smtp = v.Smtp(veredus.port)
    smtp.expect(235, "AUTH PLAIN " + base64.b64encode(b"\0ann\0word").decode())
    v.equal(login(veredus, "XOAUTH2", xoauth2(GOOD)), ("235 2.7.0", None))
    os.kill(veredus.daemons("fetcher")[0], 9)
    provider.tokens["later"] = provider.tokens[GOOD]
    v.wait(lambda: login(veredus, "XOAUTH2", xoauth2("later"))[0] == "235 2.7.0", 10, "the next fetcher")


def test_dovecot(t):
    """A real Dovecot with its oauth2 passdb decides; and by a client's certificate (EXTERNAL)."""
    provider = Provider(t)
    provider.tokens = {GOOD: {"active": True, "username": "ann"}}
    oauth2 = v.write(os.path.join(t.folder, "oauth2.conf"), f"introspection_mode = post\nusername_attribute = username\n"
                     f"introspection_url = http://127.0.0.1:{provider.port}/introspect\nactive_attribute = active\nactive_value = true\n")
    dovecot = Dovecot(t, mechanisms="plain oauthbearer xoauth2 external", more=f"""auth_ssl_username_from_cert = yes
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {oauth2}
}}
passdb {{
  driver = static
  mechanisms = external
  args = nopassword
}}
""").start()
    veredus = t.veredus("")
    submission = v.free_port()
    ca = pki.Pair(t.folder, "ca", "ec", host="ca.example")
    os.chmod(ca.certificate, 0o644)
    pair = pki.Pair(t.folder, "localhost", "ec")
    client = pki.Pair(t.folder, "ann", "ec", issuer=ca, client=True)
    veredus.configure("relay-from = { 198.51.100.0/24 }\nroute * { to = discard }\n"
                      f"listen smtp {{ address = 127.0.0.1:{veredus.port} }}\n"
                      f"listen submission {{ address = 127.0.0.1:{submission} }}\n{pair.block(f'client-ca = {ca.certificate}')}"
                      f"auth {{ dovecot = {dovecot.socket}  clear = loopback  smtp = yes }}\n")
    veredus.start()
    v.wait(lambda: "AUTH PLAIN LOGIN OAUTHBEARER XOAUTH2" in v.Smtp(veredus.port).say("EHLO x"), 15, "Dovecot's mechanisms")
    for mechanism, make in ("OAUTHBEARER", lambda token: bearer(token, "ann")), ("XOAUTH2", xoauth2):
        v.equal(login(veredus, mechanism, make(GOOD)), ("235 2.7.0", None), f"{mechanism}: {veredus.log_text()[-500:]}")
        reply, error = login(veredus, mechanism, make(DEAD), "127.0.0.2")
        v.equal((reply, "status" in json.loads(error)), ("535 5.7.8", True), error)
    veredus.wait_log(r"login=<ann>, method=XOAUTH2, reason=Dovecot: the token was refused, failures=2\n")
    no_secret_in(veredus.log_text(), GOOD, DEAD)

    def external(response):
        context = ssl._create_unverified_context()
        context.load_cert_chain(client.certificate, client.key)
        with smtplib.SMTP("127.0.0.1", submission, timeout=20 * v.PATIENCE) as smtp:
            smtp.starttls(context=context)
            smtp.ehlo()
            v.check("EXTERNAL" in smtp.esmtp_features["auth"], smtp.esmtp_features)
            return smtp.docmd("AUTH", "EXTERNAL " + response)[0]
    os.chmod(client.key, 0o600)
    v.equal(external("="), 235, veredus.log_text()[-500:])
    v.equal(external(base64.b64encode(b"ann").decode()), 235)
    v.equal(external(base64.b64encode(b"bob").decode()), 535)


v.main(globals())
