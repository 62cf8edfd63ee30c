# SPDX-License-Identifier: ISC
"""Frames between processes, for tests that play one: the codec is read out of lib/messages.def, so that the
schema stays written once. A frame is a u32 length, u16 type, u16 flags and the fields, little endian; a
descriptor travels beside its frame's first byte.

  encode("settled", id=7, committed=1)       a payload; fields not named are 0, empty or no items
  frame("settled", id=7)                     the whole frame
  Peer(socket, "qmgr")                       one end of a channel: say(), expect(), ended()"""
import array
import os
import re
import select
import socket
import struct
import time

import veredus as v

LIB = os.path.join(v.ROOT, "lib")
HEADER = struct.Struct("<IHH")
FLAG_FD = 1
NUMBERS = {"U8": "<B", "U16": "<H", "U32": "<I", "U64": "<Q"}


def source(name):
    return re.sub(r"/\*.*?\*/", "", v.read(os.path.join(LIB, name)).decode(), flags=re.S)


def constant(name):
    """A plain number among the headers: of an enum, or #defined."""
    for header in "message.h", "peer.h", "envelope.h":
        found = re.search(rf"\b{name}\s*=?\s*([\d *]+)u?\b", source(header))
        if found:
            return eval(found.group(1))  # "2 * 1024 * 1024"
    raise v.Failure(f"no number for {name}")


# Kinds as numbers: {"smtpd": 2, ...}.
KINDS = {name.lower().replace("_", "-"): 1 << int(bit)
         for name, bit in re.findall(r"PEER_(\w+) = 1 << (\d+)", source("peer.h"))}
FRAME_MAX = constant("FRAME_MAX_BYTES")


def rows(text):
    """What stands there, one (word, [part]) a line: MESSAGE, ["hello", "PEER_ALL", ...]."""
    return [(word, [" ".join(part.split()) for part in rest.split(",")])
            for word, rest in re.findall(r"^(\w+)\s*\((.*?)\)\s*$", text, re.M)]


def schema(text):
    """As message_schema() in lib/message.c."""
    number = 2166136261
    for byte in "".join(f"{word}({','.join(parts)})" for word, parts in rows(text)).encode():
        number = (number ^ byte) * 16777619 & 0xffffffff
    return number


SCHEMA = schema(source("messages.def"))


class Message:
    def __init__(self, name, number, origin, to, descriptor):
        self.name, self.number, self.origin, self.to, self.descriptor = name, number, origin, to, descriptor
        self.fields = []  # (kind, name, bound, record)


def kind_set(text):
    """The set behind "PEER_SMTPD | PEER_SUBMISSION"."""
    names = {"PEER_" + name.upper().replace("-", "_"): bit for name, bit in KINDS.items()}
    names["PEER_ALL"] = sum(KINDS.values())
    text = re.sub(r"\b(ENGINES|DAEMONS|TLS_SPEAKERS)\b", lambda m: "(" + DEFINES[m[1]] + ")", text)
    return eval(text, {}, names)


def parse():
    text = source("messages.def")
    DEFINES.update(re.findall(r"#define (\w+) \((.*)\)", text))
    messages, records, fields = {}, {}, None
    for word, parts in rows(text):
        if word == "MESSAGE":
            messages[parts[0]] = m = Message(parts[0], len(messages) + 1, kind_set(parts[1]), kind_set(parts[2]), parts[3])
            fields = m.fields
        elif word == "RECORD":
            fields = records[parts[0]] = []
        elif word in NUMBERS:
            fields.append((word, parts[0], 0, None))
        elif word == "TEXTF":
            fields.append((word, parts[0], int(parts[1]), None))
        elif word == "LIST":
            fields.append((word, parts[1], int(parts[2]), parts[0]))
    return messages, records


DEFINES = {}
MESSAGES, RECORDS = parse()
BY_NUMBER = {m.number: m for m in MESSAGES.values()}


def as_bytes(value):
    return value.encode() if isinstance(value, str) else value


def put(fields, values):
    out = b""
    for kind, name, _, record in fields:
        value = values.get(name)
        if kind in NUMBERS:
            out += struct.pack(NUMBERS[kind], value or 0)
        elif kind == "TEXTF":
            value = as_bytes(value or b"")
            out += struct.pack("<I", len(value)) + value
        else:
            items = b"".join(put(RECORDS[record], item) for item in value or [])
            out += struct.pack("<II", len(value or []), len(items)) + items
    return out


def encode(name, /, **values):
    """Without a look at the bounds: that is the reader's duty."""
    unknown = set(values) - {f[1] for f in MESSAGES[name].fields}
    v.check(not unknown, name, "has no", unknown)
    return put(MESSAGES[name].fields, values)


def raw(number, payload=b"", flags=0, length=None):
    return HEADER.pack(len(payload) if length is None else length, number, flags) + payload


def frame(name, fd=False, /, **values):
    return raw(MESSAGES[name].number, encode(name, **values), FLAG_FD if fd else 0)


def take(fields, data, at):
    values = {}
    for kind, name, bound, record in fields:
        if kind in NUMBERS:
            values[name] = struct.unpack_from(NUMBERS[kind], data, at)[0]
            at += struct.calcsize(NUMBERS[kind])
            continue
        if kind == "LIST":
            count = struct.unpack_from("<I", data, at)[0]
            at += 4
            v.check(count <= bound, name, "holds", count)
        length = struct.unpack_from("<I", data, at)[0]
        at += 4
        part = data[at:at + length]
        v.check(len(part) == length, name, "is cut")
        at += length
        if kind == "TEXTF":
            v.check(length <= bound, name, "has", length, "bytes")
            values[name] = part
        else:
            values[name], inner = [], 0
            for _ in range(count):
                item, inner = take(RECORDS[record], part, inner)
                values[name].append(item)
            v.equal(inner, len(part), name)
    return values, at


def decode(number, payload):
    message = BY_NUMBER[number]
    values, at = take(message.fields, payload, 0)
    v.equal(at, len(payload), message.name)
    return message.name, values


# Envelopes: the tags of lib/envelope.c.
TAGS = {name.lower(): int(n) for name, n in re.findall(r"TAG_(\w+) = (\d+)", source("envelope.c"))}


def envelope(recipients, sender="sender@client.example", submitter="net:127.0.0.1", **fields):
    def text(value):
        return struct.pack("<I", len(value)) + as_bytes(value)

    def field(tag, value):
        return struct.pack("<H", TAGS[tag]) + text(value)

    out = field("sender", sender) + field("submitter", submitter)
    out += field("arrival", struct.pack("<Q", int(time.time() * 1e6)))
    for name, value in fields.items():
        out += field(name, value)
    for address in recipients:
        out += field("recipient", text(address) + text("") + text("") + b"\0")
    return out


class Peer:
    """Our end of a channel to a daemon, played as a process of KIND."""

    def __init__(self, ours, kind, instance=0):
        self.socket, self.kind, self.instance = ours, kind, instance
        self.inbox, self.fds, self.got, self.over = b"", [], [], False
        ours.setblocking(False)

    def write(self, data, fds=(), seconds=10):
        """Bytes as they are; False when the other end closed meanwhile."""
        end = time.monotonic() + seconds * v.WAITS
        view = memoryview(data)
        while len(view) or fds:
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                n = self.socket.sendmsg([view[:1 << 20]], control)
                fds = ()
                view = view[n:]
            except BlockingIOError:
                if time.monotonic() > end:
                    raise v.Failure(f"what {self.kind} sends is not read") from None
                self.pump(0)
                select.select([], [self.socket], [], 0.05)
            except OSError:
                return False
        return True

    def say(self, name, fd=None, /, **values):
        return self.write(frame(name, fd is not None, **values), [fd] if fd is not None else ())

    def hello(self, **values):
        return self.say("hello", **dict(schema=SCHEMA, epoch=id(self), generation=1, pid=os.getpid(), **values))

    def pump(self, seconds):
        """Reads what is there, or comes within that time."""
        if self.over or not select.select([self.socket], [], [], seconds)[0]:
            return
        try:
            data, control, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(64 * 4))
        except BlockingIOError:
            return
        except OSError:
            data, control = b"", []
        for level, kind, cmsg in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self.fds += array.array("i", cmsg[:len(cmsg) // 4 * 4])
        self.over = not data
        self.inbox += data
        while len(self.inbox) >= HEADER.size:
            length, number, flags = HEADER.unpack_from(self.inbox)
            if len(self.inbox) < HEADER.size + length:
                break
            name, values = decode(number, self.inbox[HEADER.size:HEADER.size + length])
            values["fd"] = self.fds.pop(0) if flags & FLAG_FD else None
            self.got.append((name, values))
            self.inbox = self.inbox[HEADER.size + length:]

    def expect(self, name, seconds=5, /, **wanted):
        """The next message of that name whose fields are as wanted; earlier ones of other names stay."""
        end = time.monotonic() + seconds * v.WAITS
        while True:
            for i, (got, values) in enumerate(self.got):
                if got == name and all(values[k] == w for k, w in wanted.items()):
                    del self.got[i]
                    return values
            left = end - time.monotonic()
            if self.over or left < 0:
                raise v.Failure(f"{self.kind} got no {name} {wanted}: "
                                f"{'its channel ended' if self.over else 'too late'}; got {str(self.got)[:300]}")
            self.pump(left)

    def never(self, name, seconds, why):
        """No message of that name is there, or comes in all that time, though the channel is there."""
        end = time.monotonic() + seconds * v.PATIENCE
        while True:
            came = [values for got, values in self.got if got == name]
            v.check(not came, why, f"{self.kind} got {name}: {str(came)[:300]}")
            v.check(not self.over, f"{self.kind} got no {name}: its channel ended")
            left = end - time.monotonic()
            if left < 0:
                return
            self.pump(left)

    def ended(self, seconds=5):
        """Did the other side end the channel within that time?"""
        end = time.monotonic() + seconds * v.WAITS
        while not self.over and time.monotonic() < end:
            self.pump(max(0, end - time.monotonic()))
        return self.over

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)  # a thread that still waits on it would keep it open
        except OSError:
            pass
        self.socket.close()
        for fd in self.fds + [values["fd"] for _, values in self.got if values["fd"] is not None]:
            os.close(fd)
        self.fds, self.got = [], []
