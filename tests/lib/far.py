# SPDX-License-Identifier: ISC
"""A receiver that is far away: a relay of octets in front of one that is near."""
import queue
import re
import socket
import threading
import time

import veredus as v


class Conversation:
    def __init__(self, far, connection):
        self.far, self.client = far, connection
        self.server = socket.create_connection(far.target)
        self.sent = self.answered = self.most = 0
        self.due = queue.Queue()
        far.conversations.append(self)  # before any of them asks which one it is
        for act in (self.there, self.listen, self.back):
            threading.Thread(target=act, daemon=True).start()

    def close(self):
        for s in self.client, self.server:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # its peer was first

    def there(self):
        """What the client says; it counts the contents that are on their way."""
        tail = b""
        try:
            while data := self.client.recv(65536):
                self.sent += len(re.findall(rb"\nBDAT ", tail + data)) - len(re.findall(rb"\nBDAT ", tail))
                tail = (tail + data)[-5:]
                self.most = max(self.most, self.sent - self.answered)
                self.server.sendall(data)
        except OSError:
            pass
        self.close()

    def listen(self):
        try:
            while data := self.server.recv(65536):
                self.due.put((time.monotonic() + self.far.seconds, data))
        except OSError:
            pass
        self.due.put((time.monotonic() + self.far.seconds, b""))

    def back(self):
        """The replies, late; the connection is cut behind the first that takes a mail and leaves so many under way."""
        self.far.speaks.wait(120)
        while True:
            at, data = self.due.get()
            time.sleep(max(0, at - time.monotonic()))
            cut = self.far.cuts.get(self.far.conversations.index(self))
            for line in data.splitlines(keepends=True):
                is_taken = re.match(self.far.taken, line) is not None
                self.answered += is_taken
                try:
                    self.client.sendall(line)
                except OSError:
                    data = b""
                if cut and is_taken and self.sent - self.answered >= cut:
                    data = b""
                    break
            if not data:
                self.close()
                return


class Far:
    """Listens at v.SINK, SECONDS away from TARGET. TAKEN: what it says to a content; CUTS: {connection: with how many under way}.
    Not SPEAKS: it is silent until that is set, so that all mails can be there when the first one goes."""

    def __init__(self, test, target, seconds, taken, cuts=(), speaks=True):
        self.target, self.seconds, self.taken, self.cuts = target, seconds, taken, dict(cuts)
        self.conversations = []
        self.speaks = threading.Event()
        if speaks:
            self.speaks.set()
        self.listener = socket.create_server((v.SINK, 0), backlog=100)
        self.port = self.listener.getsockname()[1]
        v.accept(test, self.listener, lambda connection: Conversation(self, connection))
        test.defer(lambda: [c.close() for c in self.conversations])
