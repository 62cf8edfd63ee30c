# SPDX-License-Identifier: ISC
"""What bench/run.py measures: a row a scenario."""

# messages: how many each server gets, about ten seconds' worth at its speed; load, sink: further arguments. tls: the key's
# kind, where clients come in (smtp and submission: STARTTLS; submissions: TLS from the first octet) and whether they log in.
# boxes: where mail ends that is not for another server (bench/mailboxes.py).
SCENARIOS = {
    "main": {
        "text": "2 KB, 50 persistent sessions",
        "messages": {"postfix": 8000, "loop": 200000, "veredus": 200000},
        "load": ["--sessions", "50"],
    },
    "one-per-connection": {
        "text": "2 KB, 50 clients, a connection a message",
        "messages": {"postfix": 8000, "loop": 100000, "veredus": 100000},
        "load": ["--sessions", "50", "--per-connection", "1", "--sources", "50"],
    },
    "slow-sync-50": {
        "text": "fdatasync 5 ms slower, 50 sessions",
        "messages": {"postfix": 6000, "loop": 40000, "veredus": 40000},
        "load": ["--sessions", "50"],
        "slow_ms": "5",
    },
    "slow-sync-500": {
        "text": "fdatasync 5 ms slower, 500 sessions",
        "messages": {"postfix": 6000, "loop": 150000, "veredus": 150000},
        "load": ["--sessions", "500"],
        "slow_ms": "5",
    },
    "lone": {
        "text": "2 KB, one client, one after the other",
        "messages": {"postfix": 500, "loop": 10000, "veredus": 10000},
        "load": ["--lone"],
    },
    "5MB": {
        "text": "5 MB, 10 sessions",
        "messages": {"postfix": 100, "loop": 200, "veredus": 200},
        "load": ["--sessions", "10", "--size", str(5 << 20)],
    },
    "slow-receivers": {
        "text": "receivers that take 100 ms for each reply, 200 destinations",
        "messages": {"postfix": 10000, "veredus": 80000},
        "load": ["--sessions", "50", "--domains", "200"],
        "sink": ["--delay-ms", "100"],
        "destinations": 200,
    },
    "idle10k": {
        "text": "10,000 idle clients, then new ones",
        "idle": 10000,
    },
    "million": {
        "text": "1,000,000 messages for a next hop that is dead, a restart, and then it takes them",
        "queued": 1000000,
        "messages": {"veredus": 1000000},
    },
    "lmtp": {
        "text": "2 KB, 50 sessions, to an LMTP server behind a UNIX socket",
        "messages": {"postfix": 8000, "veredus": 100000},
        "load": ["--sessions", "50"],
        "boxes": {"kind": "lmtp"},
    },
    "tls": {
        "text": "2 KB, 50 persistent sessions on submissions, TLS 1.3, logged in",
        "messages": {"postfix": 6000, "veredus": 80000},
        "load": ["--sessions", "50"],
        "tls": {"key": "ecdsa", "entry": "submissions", "login": True},
    },
    "tls-one-per-connection": {
        "text": "2 KB, 50 clients, a full handshake and a login a message",
        "messages": {"postfix": 800, "veredus": 10000},
        "load": ["--sessions", "50", "--per-connection", "1", "--sources", "50"],
        "tls": {"key": "ecdsa", "entry": "submissions", "login": True},
    },
    "tls-relay-one-per-connection": {
        "text": "2 KB, 50 clients of the own network, STARTTLS on 25 with a full handshake a message, no login",
        "messages": {"postfix": 3000, "veredus": 10000},
        "load": ["--sessions", "50", "--per-connection", "1", "--sources", "50"],
        "tls": {"key": "ecdsa", "entry": "smtp"},
    },
    "tls-handshakes-full": {
        "text": "full handshakes, ECDSA P-256: connect, TLS 1.3, greeting, QUIT",
        "handshakes": 4000,
        "tls": {"key": "ecdsa", "entry": "submissions"},
    },
    "tls-handshakes-full-rsa": {
        "text": "full handshakes, RSA-2048: connect, TLS 1.3, greeting, QUIT",
        "handshakes": 3000,
        "tls": {"key": "rsa", "entry": "submissions"},
    },
    "tls-handshakes-resumed": {
        "text": "handshakes with a ticket: connect, TLS 1.3, greeting, QUIT",
        "handshakes": 4000,
        "load": ["--resume"],
        "tls": {"key": "ecdsa", "entry": "submissions"},
    },
    "tls-idle": {
        "text": "4,000 idle clients, logged in over TLS, then new ones",
        "idle": 4000,
        "tls": {"key": "ecdsa", "entry": "submissions", "login": True},
    },
}


def maildir_scenarios():
    """Mail to Maildirs: of virtual users that have one owner, or of users of the machine."""
    for name, kind, users, text in (("maildir", "virtual", 100, "Maildirs of 100 virtual users of one owner"),
                                    ("maildir-users", "users", 100, "Maildirs of 100 users of the machine"),
                                    ("maildir-user", "users", 1, "the Maildir of one user of the machine")):
        yield name, {
            "text": f"2 KB, 50 sessions, to {text}",
            "messages": {"postfix": 4000, "veredus": 20000},
            "load": ["--sessions", "50", "--users", str(users)],
            "boxes": {"kind": kind, "users": users},
        }


def out_scenarios():
    """Mail out by MX and STARTTLS: to so many domains, with DANE or without, to receivers that are near or answer 100 ms
    after what they were sent, in a handshake, too."""
    messages = {  # about ten seconds' worth each; to 5,000 domains the same for both: each one's first costs the most
        ("near", 1): (4000, 60000), ("near", 200): (3000, 40000), ("near", 5000): (15000, 15000),
        ("far", 1): (1500, 20000), ("far", 200): (3000, 40000), ("far", 5000): (45000, 45000),
    }
    for (place, domains), (postfix, veredus) in messages.items():
        for dane in (False, True):
            yield f"out-{domains}{'-dane' if dane else ''}-{place}", {
                "text": f"out by MX and TLS{' with DANE' if dane else ''} to {domains} domain{'s' if domains > 1 else ''}"
                        + (", 100 ms away" if place == "far" else ""),
                "messages": {"postfix": postfix, "veredus": veredus},
                "load": ["--sessions", "50", "--domains", str(domains)],
                "sink": ["--away-ms", "100"] if place == "far" else [],
                "out": {"domains": domains, "dane": dane},
            }


SCENARIOS.update(maildir_scenarios())
SCENARIOS.update(out_scenarios())
DEFAULT_SCENARIOS = [
    "main", "one-per-connection", "slow-sync-50", "slow-sync-500", "lone", "slow-receivers", "5MB", "idle10k", "million",
    *dict(maildir_scenarios()), "lmtp",
    "tls", "tls-one-per-connection", "tls-relay-one-per-connection", "tls-handshakes-full", "tls-handshakes-full-rsa",
    "tls-handshakes-resumed", "tls-idle", *dict(out_scenarios()),
]
