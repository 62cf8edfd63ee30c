# SPDX-License-Identifier: ISC
"""A machine with users of its own: /etc/passwd, /etc/group and more of /etc as the test wants them, in a mount
namespace that this program and what it starts alone see. Needs root."""
import os
import shutil
import subprocess
import sys
import tempfile

import veredus as v

DAEMONS = ["smtpd", "submission", "keeper", "bounce", "resolver", "smtp-client", "qmgr", "limits", "logger", "checker", "table",
           "fetcher", "local", "pickup", "pam"]
FIRST_UID = 61000


def enter(names, more=()):
    """This program again, where NAMES are users with homes (home()), beside those of a finished installation; MORE:
    files of /etc that start out empty."""
    if os.environ.get("VEREDUS_MACHINE"):
        return
    folder = tempfile.mkdtemp(prefix="veredus-machine-")
    os.chmod(folder, 0o755)
    os.mkdir(folder + "/home", 0o755)
    os.mkdir(folder + "/mail", 0o755)
    shutil.chown(folder + "/mail", 0, "mail")
    os.chmod(folder + "/mail", 0o2775)
    users, groups = v.read("/etc/passwd").decode(), v.read("/etc/group").decode()
    for i, name in enumerate(DAEMONS):
        if f"\nveredus-{name}:" in users:
            continue
        users += f"veredus-{name}:x:{62000 + i}:{62000 + i}::/nonexistent:/usr/sbin/nologin\n"
        groups += f"veredus-{name}:x:{62000 + i}:\n"
    if "\nveredus-postdrop:" not in groups:
        groups += "veredus-postdrop:x:62100:\n"
    for i, name in enumerate(names):
        uid = FIRST_UID + i
        users += f"{name}:x:{uid}:{uid}::{folder}/home/{name}:/bin/sh\n"
        groups += f"{name}:x:{uid}:\n"
        os.mkdir(f"{folder}/home/{name}", 0o755)
        os.chown(f"{folder}/home/{name}", uid, uid)
    v.write(folder + "/passwd", users)
    v.write(folder + "/group", groups)
    mounts = [("passwd", "/etc/passwd"), ("group", "/etc/group"), ("mail", "/var/mail")]
    for path in more:
        name = os.path.basename(path)
        v.write(f"{folder}/{name}", "")
        if not os.path.exists(path):
            open(path, "a").close()  # stays: to remove it would pull it from under a test beside this one
        mounts.append((name, path))
    os.environ["VEREDUS_MACHINE"] = folder
    binds = " && ".join(f'mount --bind "$VEREDUS_MACHINE/{name}" {path}' for name, path in mounts)
    status = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", binds + ' && exec "$@"', "sh",
                             sys.executable, *sys.argv]).returncode
    shutil.rmtree(folder, ignore_errors=True)
    sys.exit(status)


def machine():
    return os.environ["VEREDUS_MACHINE"]


def home(name):
    return f"{machine()}/home/{name}"


def own(path, name, content=None, mode=0o644):
    """A file or folder that NAME owns."""
    import pwd
    user = pwd.getpwnam(name)
    if content is None:
        os.makedirs(path, exist_ok=True)
        os.chmod(path, 0o755 if mode == 0o644 else mode)
    else:
        v.write(path, content, mode)
    os.chown(path, user.pw_uid, user.pw_gid)
    return path
