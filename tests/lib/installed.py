# SPDX-License-Identifier: ISC
"""The users, folders and modes of a finished installation, in a mount namespace of this program's own. As root."""
import os
import shutil
import subprocess
import sys

import veredus as v

FIRST = 62000
SPOOL = "/var/spool/veredus"


def enter(names, groups=()):
    """This program again in a namespace that has the users veredus-NAME with their groups, these groups, and two people."""
    if os.environ.get("VEREDUS_USERS"):
        return
    folder = os.path.join(os.environ.get("TMPDIR", "/tmp"), f"veredus-users-{os.getpid()}")
    os.mkdir(folder, 0o755)
    users, group = v.read("/etc/passwd").decode(), v.read("/etc/group").decode()
    for i, name in enumerate(names):
        users += f"veredus-{name}:x:{FIRST + i}:{FIRST + i}::/nonexistent:/usr/sbin/nologin\n"
        group += f"veredus-{name}:x:{FIRST + i}:\n"
    for i, name in enumerate(groups):
        group += f"{name}:x:{FIRST + 500 + i}:\n"
    for i, name in enumerate(("ann", "eve")):
        home = f"{folder}/home-{name}"
        os.mkdir(home, 0o755)
        os.chown(home, FIRST + 800 + i, FIRST + 800 + i)
        users += f"{name}:x:{FIRST + 800 + i}:{FIRST + 800 + i}:{name.title()} Example,,,:{home}:/bin/sh\n"
        group += f"{name}:x:{FIRST + 800 + i}:\n"
    v.write(folder + "/passwd", users)
    v.write(folder + "/group", group)
    os.environ["VEREDUS_USERS"] = folder
    status = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c",
                             'mount --bind "$VEREDUS_USERS/passwd" /etc/passwd && '
                             'mount --bind "$VEREDUS_USERS/group" /etc/group && exec "$@"', "sh",
                             sys.executable, *sys.argv]).returncode
    shutil.rmtree(folder)
    sys.exit(status)


def spool(t):
    """An empty folder of the test's at /var/spool, where the installed postdrop looks."""
    folder = t.folder + "/spool"
    os.makedirs(folder + "/veredus", 0o755)
    subprocess.run(["mount", "--bind", folder, "/var/spool"], check=True)
    t.defer(subprocess.run, ["umount", "-l", "/var/spool"])


def programs(t):
    """A folder sbin as make install leaves it."""
    import grp
    folder = t.folder + "/sbin"
    os.mkdir(folder, 0o755)
    for name in "veredus", "postdrop", "sendmail":
        shutil.copy(v.BUILD + "/" + name, folder + "/" + name)
    os.chown(folder + "/postdrop", 0, grp.getgrnam("veredus-postdrop").gr_gid)
    os.chmod(folder + "/postdrop", 0o2755)
    for name in "mailq", "newaliases":
        os.symlink("veredus", folder + "/" + name)
    return folder
