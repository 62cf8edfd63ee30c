# SPDX-License-Identifier: ISC
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))

import glob
import re
import subprocess

import veredus as v

DAEMONS = ("bounce", "checker", "fetcher", "keeper", "limits", "local", "logger", "master", "pickup", "qmgr", "resolver", "smtp-client", "smtpd", "submission", "table")


def installed(t, prefix="/usr/local"):
    """make install into a folder; the folder."""
    root = t.folder + "/root"
    done = subprocess.run(["make", "-s", "install", f"DESTDIR={root}", f"PREFIX={prefix}", "BUILD=" + os.path.relpath(v.BUILD, v.ROOT)],
                          cwd=v.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    v.equal(done.returncode, 0, done.stdout.decode()[-1000:])
    return root


def test_files(t):
    root = installed(t, "/opt/veredus")
    found = {os.path.join(folder, name)[len(root):] for folder, _, names in os.walk(root) for name in names}
    wanted = {f"/opt/veredus/libexec/veredus/{name}" for name in DAEMONS}
    wanted |= {"/opt/veredus/sbin/veredus", "/opt/veredus/sbin/mailq", "/opt/veredus/sbin/sendmail", "/opt/veredus/sbin/newaliases", "/opt/veredus/sbin/postdrop", "/opt/veredus/lib/sysusers.d/veredus.conf",
               "/opt/veredus/lib/tmpfiles.d/veredus.conf", "/opt/veredus/share/man/man5/veredus.conf.5"}
    wanted |= {f"/opt/veredus/lib/systemd/system/veredus.{unit}" for unit in ("service", "socket")}
    for section in "18":
        wanted |= {f"/opt/veredus/share/man/man{section}/" + os.path.basename(page) for page in glob.glob(f"{v.ROOT}/*/*.{section}")}
    wanted |= {f"/opt/veredus/share/doc/veredus/examples/{name}.conf" for name in ("relay", "bulk", "isp", "smarthost", "fail2ban-veredus", "local-delivery")}
    wanted |= {"/opt/veredus/share/doc/veredus/examples/config-v1.1.xml"}
    v.equal(wanted - found, set(), "missing")
    v.equal(found - wanted, set(), "there beside them")
    for path in wanted - {"/opt/veredus/sbin/" + name for name in ("mailq", "newaliases")}:
        mode = os.stat(root + path).st_mode & 0o7777
        v.equal(mode, 0o755 if "bin/" in path or "libexec/" in path else 0o644, path)
    text = v.read(root + "/opt/veredus/lib/systemd/system/veredus.service").decode()
    v.check("/opt/veredus/sbin/veredus" in text and "/usr/local" not in text, text)
    done = subprocess.run([root + "/opt/veredus/sbin/veredus", "config", "show"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=30, env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0"))
    v.check(b"/etc/veredus/veredus.conf" in done.stdout, done.returncode, done.stdout[-500:])


def test_units(t):
    """systemd reads the units without a complaint and grades the service as well shut in."""
    tool = v.peer("systemd", "usr/bin/systemd-analyze")
    root = installed(t)
    units = root + "/usr/local/lib/systemd/system"
    # What the units stand on in a whole system.
    v.write(root + "/etc/os-release", "ID=debian\n")
    os.mkdir(root + "/bin")
    v.write(root + "/bin/kill", "#!/bin/sh\n", 0o755)
    for name in "sysinit.target", "basic.target", "shutdown.target", "sockets.target", "system.slice", "-.slice", "network-online.target", \
            "network.target", "multi-user.target", "-.mount", "nss-lookup.target", "systemd-journald.socket":
        os.makedirs(root + "/usr/lib/systemd/system", exist_ok=True)
        kind = {"mount": "[Mount]\nWhat=/dev/root\nWhere=/\n", "socket": "[Socket]\nListenDatagram=/run/log\n"}.get(name.rsplit(".", 1)[1], "")
        v.write(f"{root}/usr/lib/systemd/system/{name}", f"[Unit]\nDescription={name}\nDefaultDependencies=no\n{kind}")
    environment = dict(v.peer_environment("systemd"), SYSTEMD_LOG_LEVEL="info")
    done = subprocess.run([tool, f"--root={root}", "--man=no", "verify", f"{units}/veredus.service", f"{units}/veredus.socket"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, env=environment)
    v.equal((done.returncode, done.stdout.decode().strip()), (0, ""), "systemd-analyze verify")
    done = subprocess.run([tool, f"--root={root}", "--offline=yes", "security", "--no-pager", f"{units}/veredus.service"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, env=environment)
    text = done.stdout.decode()
    grade = re.search(r"Overall exposure level for veredus.service: ([0-9.]+)", text)
    v.check(grade, done.returncode, text[-1500:])
    print(f"  exposure {grade[1]}")
    v.check(float(grade[1]) < 5.0, text)


v.main(globals())
