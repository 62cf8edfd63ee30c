# SPDX-License-Identifier: ISC
"""The programs that people send mail with, each with a password over STARTTLS and over TLS from the first byte."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import base64
import email
import email.policy
import re
import select
import shutil
import subprocess
import time
import urllib.parse
import xml.etree.ElementTree

import pki
import veredus as v

LOGIN, SECRET = "ann@example.net", "pass word#1:/@"
# What programs get wrong: dots, blanks at the end, lines that look like a mailbox's.
BODY = "Hello,\n\n.\n..\n.hidden\nFrom the start\n>From the start\n  blanks  \n\ttab\t\n" + "x" * 70 + "\n\n\nthe end\n"


def server(t):
    authority = pki.Pair(t.folder, "authority", host="authority.example")
    os.chmod(authority.certificate, 0o644)
    # s-nail looks for the host as it was written to it among the names.
    pair = pki.Pair(t.folder, "mail.example.net", issuer=authority, also=["IP:127.0.0.1", "DNS:127.0.0.1"])
    port = v.free_port()
    sink = t.sink(f"127.0.0.1:{port}")
    veredus = t.veredus("")
    veredus.sink, veredus.authority = sink, authority.certificate
    veredus.submission, veredus.submissions, users = v.free_port(), v.free_port(), os.path.join(veredus.folder, "users")
    veredus.configure(f"route * {{ to = smtp:[127.0.0.1]:{port} }}\nrelay-from = {{ 198.51.100.0/24 }}\nauth {{ users = {users} }}\n"
                      "submission { show-client = yes }\n"
                      f"listen submission {{ address = 127.0.0.1:{veredus.submission} }}\n"
                      f"listen submissions {{ address = 127.0.0.1:{veredus.submissions} }}\n" + pair.block())
    veredus.command("user", "add", LOGIN, input=SECRET.encode() + b"\n")
    return veredus.start()


def program(name):
    if not shutil.which(name):
        raise v.Skip(name + " is not installed")
    return name


def run(t, argv, text="", **environment):
    done = subprocess.run(argv, input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60 * v.PATIENCE, cwd=t.folder,
                          env=dict(os.environ, HOME=t.folder, **environment))
    v.equal(done.returncode, 0, f"{argv[0]}: {done.stdout.decode(errors='replace')[-1500:]}")


def each_way(t, send):
    """SEND(veredus, port, implicit, subject) by STARTTLS and by TLS; each mail comes once, and as it was written."""
    veredus = server(t)
    wanted = {}
    for port, implicit in (veredus.submission, False), (veredus.submissions, True):
        subject = f"{send.__name__} {'tls' if implicit else 'starttls'}"
        wanted[subject] = send(veredus, port, implicit, subject) or BODY
    arrived = [email.message_from_bytes(content, policy=email.policy.SMTP) for _, content in veredus.sink.wait_mails(len(wanted))]
    veredus.wait_empty()
    v.equal(len(veredus.sink.mails()), len(wanted), "copies")
    for message in arrived:
        subject = message["Subject"].replace("[PATCH] ", "")
        v.check(re.search(r"with ESMTPSA\s+\(using TLSv1\.[23] with cipher ", message["Received"]), message["Received"])
        v.check("[127.0.0.1]" in message["Received"], "no client", message["Received"])
        body = message.get_payload(decode=True).decode().replace("\r\n", "\n")
        v.equal(body, wanted.pop(subject), "the body of " + subject)
    v.check(not wanted, "lost:", wanted.keys())
    v.equal(veredus.stop(), 0, "exit status")


def test_s_nail(t):
    program("s-nail")

    def s_nail(veredus, port, implicit, subject):
        user, password = (urllib.parse.quote(word, safe="") for word in (LOGIN, SECRET))
        words = {"v15-compat": "yes", "mta": f"{'submissions' if implicit else 'submission'}://{user}:{password}@127.0.0.1:{port}",
                 "smtp-auth": "plain", "tls-ca-file": veredus.authority, "tls-verify": "strict", "hostname": "client.example", "from": LOGIN}
        run(t, ["s-nail", "-:/", "-Snosave", "-Ssendwait", "-Ssmtp-use-starttls", "-Stls-ca-no-defaults",
                *(f"-S{key}={value}" for key, value in words.items()), "-s", subject, "rcpt@sink.example"], BODY)
    each_way(t, s_nail)


def test_nodemailer(t):
    program("node")
    if not os.path.isdir("/usr/share/nodejs/nodemailer"):
        raise v.Skip("node-nodemailer is not installed")
    script = """
const [port, secure, user, pass, ca, subject, text] = process.argv.slice(2);
require("nodemailer").createTransport({host: "127.0.0.1", port: +port, secure: secure == "1", requireTLS: true, name: "client.example",
    auth: {user, pass}, tls: {ca: require("fs").readFileSync(ca)}})
    .sendMail({from: user, to: "rcpt@sink.example", subject, text})
    .catch(why => { console.log(why); process.exit(1); });
"""
    path = v.write(t.folder + "/send.js", script)

    def nodemailer(veredus, port, implicit, subject):
        run(t, ["node", path, str(port), str(int(implicit)), LOGIN, SECRET, veredus.authority, subject, BODY], NODE_PATH="/usr/share/nodejs")
    each_way(t, nodemailer)


def test_git_send_email(t):
    program("git")
    if not os.path.exists("/usr/lib/git-core/git-send-email"):
        raise v.Skip("git-email is not installed")

    def git(veredus, port, implicit, subject):
        patch = v.write(t.folder + f"/{int(implicit)}.patch", f"From {'0' * 40} Mon Sep 17 00:00:00 2001\nFrom: Ann <{LOGIN}>\n"
                        f"Date: Sat, 21 Nov 2026 22:05:00 +0000\nSubject: [PATCH] {subject}\n\n{BODY}")
        run(t, ["git", "send-email", f"--from=Ann <{LOGIN}>", "--to=rcpt@sink.example", "--smtp-server=127.0.0.1", f"--smtp-server-port={port}",
                f"--smtp-encryption={'ssl' if implicit else 'tls'}", f"--smtp-user={LOGIN}", f"--smtp-pass={SECRET}", "--smtp-auth=PLAIN",
                f"--smtp-ssl-cert-path={veredus.authority}", "--smtp-domain=client.example", "--confirm=never", "--suppress-cc=all", patch],
            GIT_CONFIG_NOSYSTEM="1", GIT_COMMITTER_NAME="Ann", GIT_COMMITTER_EMAIL=LOGIN, GIT_AUTHOR_NAME="Ann", GIT_AUTHOR_EMAIL=LOGIN)
    each_way(t, git)


def dialog(argv, lines):
    """Says each line once the answer to the one before has come; (what was said, status)."""
    child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    heard = b""
    end = time.monotonic() + 30 * v.PATIENCE
    try:
        for code, line in lines:
            seen = 0
            while not re.search(rb"(?m)^%d .*\n" % code, heard[seen:]):
                more = os.read(child.stdout.fileno(), 65536) if select.select([child.stdout], [], [], 1)[0] else None
                # It may have said its last word and ended.
                v.check(time.monotonic() < end and more != b"", code, "before", line[:40], heard)
                heard += more or b""
            heard = b""
            child.stdin.write(line)
            child.stdin.flush()
        return child.wait(20 * v.PATIENCE)
    finally:
        child.kill()
        child.communicate()


def test_s_client(t):
    program("openssl")

    def s_client(veredus, port, implicit, subject):
        mail = f"From: <{LOGIN}>\nTo: <rcpt@sink.example>\nSubject: {subject}\n\n{BODY}"
        mail = re.sub(r"(?m)^\.", "..", mail)
        token = base64.b64encode(f"\0{LOGIN}\0{SECRET}".encode())
        lines = [(220, b"EHLO client.example\n")] if implicit else [(250, b"EHLO client.example\n")]
        lines += [(250, b"AUTH PLAIN " + token + b"\n"), (235, f"MAIL FROM:<{LOGIN}>\n".encode()), (250, b"RCPT TO:<rcpt@sink.example>\n"),
                  (250, b"DATA\n"), (354, mail.encode() + b".\n"), (250, b"QUIT\n"), (221, b"")]
        status = dialog(["openssl", "s_client", "-quiet", "-crlf", "-connect", f"127.0.0.1:{port}", "-CAfile", veredus.authority,
                         "-verify_ip", "127.0.0.1", "-verify_return_error", *([] if implicit else ["-starttls", "smtp", "-name", "client.example"])],
                        lines)
        v.equal(status, 0, "openssl s_client")
    each_way(t, s_client)


def test_autoconfiguration(t):
    """What examples/config-v1.1.xml tells mail programs is what examples/isp.conf serves."""
    conf = v.read(v.ROOT + "/examples/isp.conf").decode()
    tree = xml.etree.ElementTree.parse(v.ROOT + "/examples/config-v1.1.xml")
    name = re.search(r"(?m)^tls (\S+)", conf)[1]
    ports = {kind: port for kind, port in re.findall(r"(?m)^listen (\w+)\s*\{ address = \*:(\d+)", conf)}
    told = [(s.findtext("hostname"), s.findtext("port"), s.findtext("socketType")) for s in tree.iter("outgoingServer")]
    v.equal(told, [(name, ports["submissions"], "SSL"), (name, ports["submission"], "STARTTLS")])
    v.equal({s.findtext("authentication") for s in tree.iter("outgoingServer")}, {"password-cleartext"})


v.main(globals())
