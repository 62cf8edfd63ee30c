#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Draws what `build/sim scenario outage|fairness` prints: plot.py FIGURES.tsv PLOT.svg"""

import sys

WIDTH, LEFT, RIGHT = 820, 70, 20
BLUE, RED, GREY = "#1f5fa8", "#b3261e", "#999999"


def text(x, y, what, anchor="middle", size=12, extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" {extra}>{what}</text>'


def line(x1, y1, x2, y2, colour="#dddddd", extra=""):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" {extra}/>'


def write(path, parts, height):
    with open(path, "w") as out:
        out.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">\n')
        out.write(f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n')
        out.write("\n".join(parts) + "\n</svg>\n")


def read(path):
    rows = [l.rstrip("\n").split("\t") for l in open(path) if l.strip() and l[0] != "#"]
    return [dict(zip(rows[0], r)) for r in rows[1:]]


def round_up(value):
    step = 1
    while step * 10 < value:
        step *= 10
    for factor in (1, 2, 3, 4, 5, 6, 8, 10):
        if step * factor >= value:
            return step * factor
    return step * 10


def curves(rows, top, title, names, last):
    """One panel over the hours: a line for each column."""
    height = 130
    most = round_up(max(float(r[n]) * f for r in rows for n, f, _, _ in names) or 1)
    x = lambda h: LEFT + h / last * (WIDTH - LEFT - RIGHT)
    y = lambda v: top + height - v / most * height
    parts = [text(LEFT, top - 8, title, "start", 13)]
    for i in range(5):
        parts += [line(LEFT, y(most * i / 4), WIDTH - RIGHT, y(most * i / 4)),
                  text(LEFT - 6, y(most * i / 4) + 4, f"{most * i / 4:g}", "end", 11)]
    for at, (name, factor, colour, label) in enumerate(names):
        points = " ".join(f"{x(float(r['hours'])):.1f},{y(float(r[name]) * factor):.1f}" for r in rows)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(text(WIDTH - RIGHT, top - 8 - 0 * at, "", "end"))
        parts.append(text(WIDTH - RIGHT - 130 * (len(names) - 1 - at), top - 8, label, "end", 12, f'fill="{colour}"'))
    return parts


def outage(rows, path):
    last = float(rows[-1]["hours"])
    x = lambda h: LEFT + h / last * (WIDTH - LEFT - RIGHT)
    dead = [float(r["hours"]) for r in rows if r["phase"] == "dead"]
    begin, end = dead[0] - 1 / 6, dead[-1]
    parts = [f'<rect x="{x(begin):.1f}" y="22" width="{x(end) - x(begin):.1f}" height="556" fill="#f6e9e8"/>',
             text((x(begin) + x(end)) / 2, 17, "a site with a third of the mail is dead", size=12, extra=f'fill="{RED}"')]
    parts += curves(rows, 50, "other mail taken, a second", [("others_taken", 1 / 600, BLUE, "")], last)
    parts += curves(rows, 240, "wait of the other mail, ms",
                    [("wait_median_ms", 1, BLUE, "median"), ("wait_99_ms", 1, GREY, "99 %")], last)
    parts += curves(rows, 430, "queued, thousands", [("queued", 1 / 1000, RED, "")], last)
    for h in range(0, int(last) + 1, 2):
        parts.append(text(x(h), 596, h, size=11))
    parts.append(text(WIDTH / 2, 614, "hours"))
    write(path, parts, 622)


def fairness(rows, path):
    top, height, most = 50, 240, 1200
    groups = []
    for r in rows:
        key = (r["connections"], r["ten"])
        if key not in [g[0] for g in groups]:
            groups.append((key, []))
        groups[-1][1].append(float(r["wait_ms"]))
    y = lambda v: top + height - min(v, most) / most * height
    wide = (WIDTH - LEFT - RIGHT) / len(groups)
    parts = [text(LEFT, 22, "wait of each of ten messages behind a million of another submitter at the same site, ms",
                  "start", 13)]
    for v in range(0, most + 1, 200):
        parts += [line(LEFT, y(v), WIDTH - RIGHT, y(v), RED if v == 1000 else "#dddddd"),
                  text(LEFT - 6, y(v) + 4, v, "end", 11)]
    for g, ((connections, ten), waits) in enumerate(groups):
        left = LEFT + g * wide + 12
        bar = (wide - 24) / len(waits)
        for i, wait in enumerate(waits):
            parts.append(f'<rect x="{left + i * bar:.1f}" y="{y(wait):.1f}" width="{bar - 1.5:.1f}" '
                         f'height="{top + height - y(wait):.1f}" fill="{BLUE}"/>')
        middle = LEFT + (g + 0.5) * wide
        parts += [text(middle, top + height + 18, f"{connections} connections"),
                  text(middle, top + height + 34, "ten at once" if ten == "once" else "one every 3 s")]
    write(path, parts, top + height + 46)


def main():
    rows = read(sys.argv[1])
    (outage if "hours" in rows[0] else fairness)(rows, sys.argv[2])


main()
