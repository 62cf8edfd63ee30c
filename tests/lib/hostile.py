# SPDX-License-Identifier: ISC
"""Receivers and name servers that do what they should not. A receiver is a table: what it says at each stage."""
import socket
import struct
import threading
import time

import veredus as v

GOOD = {
    "greeting": b"220 receiver.example ESMTP\r\n", "ehlo": b"250-receiver.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
    "helo": b"250 receiver.example\r\n", "mail": b"250 2.1.0 Ok\r\n", "rcpt": b"250 2.1.5 Ok\r\n", "data": b"354 Go ahead\r\n",
    "dot": b"250 2.0.0 Ok\r\n", "bdat": b"250 2.0.0 Ok\r\n",
    "rset": b"250 2.0.0 Ok\r\n", "quit": b"221 2.0.0 Bye\r\n"}


class Over(Exception):
    pass


def hang(conn):
    conn.until_closed()


def close(conn):
    raise Over


def reset(conn):
    conn.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise Over


def late(seconds, reply):
    def act(conn):
        time.sleep(seconds)
        conn.send(reply)
    return act


def drip(reply, pause):
    def act(conn):
        for octet in reply:
            conn.send(bytes([octet]))
            time.sleep(pause)
    return act


def endless(piece, pause=0):
    """Goes on until nobody takes it; twenty megabytes are too many."""
    def act(conn):
        conn.receiver.endless = 0
        while conn.receiver.endless < 20_000_000:
            conn.send(piece)
            conn.receiver.endless += len(piece)
            time.sleep(pause)
        raise Over
    return act


class Conversation:
    def __init__(self, receiver, connection):
        self.receiver, self.socket = receiver, connection
        connection.settimeout(60)
        self.file = connection.makefile("rb")

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            raise Over from None

    def until_closed(self):
        try:
            while self.socket.recv(65536):
                pass
        except OSError:
            pass
        raise Over

    def act(self, stage):
        says = self.receiver.says[stage]
        if callable(says):
            says(self)
        else:
            self.send(says)
        return says

    def content(self):
        lines = []
        while (line := self.file.readline()) != b".\r\n":
            if not line:
                raise Over
            lines.append(line[1:] if line.startswith(b".") else line)
        self.receiver.contents.append(b"".join(lines))

    def run(self):
        self.act("greeting")
        while line := self.file.readline(4096):
            verb = line[:4].decode(errors="replace").strip().lower()
            self.line = line
            self.receiver.commands.append(line)
            if verb == "bdat":
                self.receiver.contents.append(self.file.read(int(line.split()[1])))
            if verb not in self.receiver.says:
                self.send(b"500 5.5.1 what?\r\n")
                continue
            said = self.act(verb)
            if verb == "data" and not (isinstance(said, bytes) and not said.startswith(b"3")):
                self.content()
                self.act("dot")
            elif verb == "quit":
                return


class Receiver:
    """Listens at v.SINK and a port of its own."""

    def __init__(self, test, address=v.SINK, port=0, **says):
        self.says = dict(GOOD, **says)
        self.contents, self.commands, self.endless, self.served = [], [], 0, []
        self.listener = socket.create_server((address, port), backlog=100)
        self.port = self.listener.getsockname()[1]
        v.accept(test, self.listener, self.serve)

    @property
    def connections(self):
        return len(self.served)

    def serve(self, connection):
        self.served.append(connection)
        conversation = Conversation(self, connection)
        try:
            conversation.run()
        except (Over, OSError):
            pass
        conversation.file.close()
        conversation.socket.close()  # TLS, if it was begun; the other one has no descriptor then
        connection.close()


# -- DNS ------------------------------------------------------------------------------------------

A, CNAME, MX = 1, 5, 15
NXDOMAIN, SERVFAIL = 3, 2


def wire_name(name):
    return b"".join(bytes([len(word)]) + word.encode() for word in name.split(".") if word) + b"\0"


def mx(preference, name):
    return MX, struct.pack(">H", preference) + (name if isinstance(name, bytes) else wire_name(name))


def a(address):
    return A, socket.inet_aton(address)


class Late:
    """An answer that comes so many seconds later."""

    def __init__(self, seconds, answer):
        self.seconds, self.answer = seconds, answer


class NameServer:
    """ANSWER(name, type) gives a list of (type, rdata), an rcode, None for silence, one of these Late, or a function
    of the whole question that gives the packet."""

    def __init__(self, test, answer):
        self.answer = answer
        self.tcp = None
        while not self.tcp:  # some connection may have the number that UDP has free
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.udp.bind(("127.0.0.1", 0))
            self.port = self.udp.getsockname()[1]
            try:
                self.tcp = socket.create_server(("127.0.0.1", self.port), backlog=100)
            except OSError:
                self.udp.close()
        self.asked = []
        self.ended = False
        v.in_thread(test, self.udp, self.serve_udp)
        v.accept(test, self.tcp, self.serve_connection)
        test.defer(setattr, self, "ended", True)

    def reply(self, question, limit, send):
        """Sends the packet, now or later."""
        found, packet_of = self.find(question, limit)
        if isinstance(found, Late):
            timer = threading.Timer(found.seconds, self.send_late, (send, packet_of, found.answer))
            timer.daemon = True
            timer.start()
        elif (packet := packet_of(found)) is not None:
            send(packet)

    @staticmethod
    def send_late(send, packet_of, answer):
        try:
            send(packet_of(answer))
        except OSError:
            pass

    def find(self, question, limit):
        at, words = 12, []
        while question[at]:
            words.append(question[at + 1:at + 1 + question[at]].decode(errors="replace").lower())
            at += 1 + question[at]
        kind = struct.unpack(">H", question[at + 1:at + 3])[0]
        name, asked = ".".join(words), question[12:at + 5]
        self.asked.append((name, kind))
        return self.answer(name, kind), lambda found: self.packet(question, asked, found, limit)

    @staticmethod
    def packet(question, asked, found, limit):
        if found is None:
            return None
        if callable(found):
            return found(question, asked)
        rcode, records = (found, []) if isinstance(found, int) else (0, found)
        body = b"".join((b"\xc0\x0c" if len(r) == 2 else wire_name(r[2])) + struct.pack(">HHIH", r[0], 1, 60, len(r[1])) + r[1]
                        for r in records)
        packet = question[:2] + struct.pack(">HHHHH", 0x8180 | rcode, 1, len(records), 0, 0) + asked + body
        if len(packet) > limit:
            packet = question[:2] + struct.pack(">HHHHH", 0x8380, 1, 0, 0, 0) + asked
        return packet

    def serve_udp(self):
        while not self.ended:
            try:
                question, peer = self.udp.recvfrom(4096)
                self.reply(question, 1232, lambda packet, peer=peer: self.udp.sendto(packet, peer))
            except (OSError, IndexError, struct.error):
                pass

    def serve_connection(self, connection):
        connection.settimeout(20)
        try:
            with connection, connection.makefile("rb") as file:
                while len(size := file.read(2)) == 2:
                    self.reply(file.read(struct.unpack(">H", size)[0]), 65535,
                               lambda packet: connection.sendall(struct.pack(">H", len(packet)) + packet))
        except (OSError, IndexError, struct.error):
            pass
