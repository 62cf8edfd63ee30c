# SPDX-License-Identifier: ISC
"""A wall clock that a test can move."""
import os
import shutil
import struct
import subprocess

import veredus as v


def movable(t, veredus):
    """Gives VEREDUS a wall clock of its own; what moves it, by seconds from the true time."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        raise v.Skip("no compiler")
    path = v.write(t.folder + "/jump", bytes(8))
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", f'-DJUMP_FILE="{path}"', "-o", t.folder + "/jump.so",
                    os.path.join(v.ROOT, "tests/lib/jump.c")], check=True)
    veredus.environment["LD_PRELOAD"] = t.folder + "/jump.so"

    def move(seconds):
        with open(path, "r+b") as f:
            f.write(struct.pack("<q", int(seconds * 1e6)))
    return move
