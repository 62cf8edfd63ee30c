# SPDX-License-Identifier: ISC
"""A real Dovecot's auth service for tests."""
import grp
import os
import pwd
import signal

import veredus as v


class Dovecot:
    """Dovecot's auth service alone, at .socket: with one users file, or with MECHANISMS and what MORE says."""

    def __init__(self, t, users=None, mechanisms="plain login scram-sha-256", more=""):
        program = v.peer("dovecot-core", "usr/sbin/dovecot")
        self.wrap = []  # a command that starts it
        self.test, self.home = t, program[:-len("/usr/sbin/dovecot")]
        if self.home:
            self.home = v.reachable(t, self.home, "dovecot")
        self.folder = os.path.join(t.folder, "dovecot.run")
        os.mkdir(self.folder, 0o755)
        self.socket = os.path.join(self.folder, "auth")
        lib = self.home + "/usr/lib/dovecot"
        self.libraries = f"{lib}:{self.home}/usr/lib/x86_64-linux-gnu:{lib}/modules/old-stats"
        passwords = f"passdb {{\n  driver = passwd-file\n  args = {users}\n}}"
        user, group = ("nobody", "nogroup") if v.IS_ROOT else (pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name)
        self.conf = v.write(os.path.join(self.folder, "dovecot.conf"), f"""base_dir = {self.folder}/base
state_dir = {self.folder}/state
libexec_dir = {lib}
log_path = {self.folder}/log
import_environment = TZ LD_LIBRARY_PATH={self.libraries}
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
protocols =
ssl = no
auth_mechanisms = {mechanisms}
auth_failure_delay = 0
{more or passwords}
service auth {{
  chroot =
  unix_listener {self.socket} {{
    mode = 0666
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service config {{
  executable = config -c {self.folder}/dovecot.conf
}}
""")

    def start(self):
        if os.path.exists(self.socket):
            os.remove(self.socket)
        self.process = v.Process(self.test, "dovecot", [*self.wrap, self.home + "/usr/bin/doveconf", "-c", self.conf, "-f", "service=master", "-m", "master",
                                                        "-p", "-e", self.home + "/usr/sbin/dovecot", "-F"],
                                 env=dict(os.environ, LD_LIBRARY_PATH=self.libraries))
        v.wait(lambda: os.path.exists(self.socket) or not self.process.alive(), 10,
               lambda: "Dovecot: " + self.process.said() + v.read(self.folder + "/log").decode(errors="replace"))
        self.test.defer(self.end)
        return self

    def end(self):
        """Its processes are one group, and the service that answers would outlive its master."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.stop()
