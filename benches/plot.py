#!/usr/bin/env python3
"""Plots of what the benchmarks wrote down, as SVG, without any package.

    cargo bench -p tandem-zone --bench change -- --json benches/results/change.json
    cargo bench -p tandem-tests --bench publish -- --sizes 1000,100000,1000000 --json benches/results/publish.json
    benches/plot.py            # benches/results/*.json -> docs/plots/*.svg

A result that is not there leaves its plots as they are.
"""
import json
import math
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PLOTS = ROOT / "benches" / "results", ROOT / "docs" / "plots"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 360, 70, 20, 44, 52
COLOURS = ["#1f5fa8", "#c2571a", "#2e7d32", "#7b3fa0"]


def ticks(low, high, log):
    """Round values from `low` to `high`."""
    if log:
        return [10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    step = 10 ** math.floor(math.log10(high / 4))
    step = next(step * m for m in (1, 2, 5, 10) if high / (step * m) <= 6)
    return [step * i for i in range(math.ceil(high / step) + 1)]


def short(value):
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"


class Chart:
    """Lines over logarithmic numbers of nodes, or bars over words."""

    def __init__(self, title, x_label, y_label, y_log=False):
        self.title, self.x_label, self.y_label, self.y_log = title, x_label, y_label, y_log
        self.series, self.limits = [], []

    def line(self, name, points):
        self.series.append((name, sorted(points)))

    def limit(self, name, value):
        self.limits.append((name, value))

    def write(self, path):
        xs = [x for _, points in self.series for x, _ in points]
        ys = [y for _, points in self.series for _, y in points] + [value for _, value in self.limits]
        x_ticks = ticks(min(xs), max(xs), True)
        # Room for the words above the highest point.
        y_ticks = ticks(min(ys), max(ys) * (1 if self.y_log else 1.1), self.y_log)
        log = math.log10

        def x_at(x):
            span = (log(x) - log(x_ticks[0])) / max(1e-9, log(x_ticks[-1]) - log(x_ticks[0]))
            return LEFT + span * (WIDTH - LEFT - RIGHT)

        def y_at(y):
            low, high = y_ticks[0], y_ticks[-1]
            span = (log(y) - log(low)) / (log(high) - log(low)) if self.y_log else (y - low) / (high - low)
            return HEIGHT - BOTTOM - span * (HEIGHT - TOP - BOTTOM)

        out = Svg(self.title)
        out.axes(self.x_label, self.y_label)
        for x in x_ticks:
            out.text(x_at(x), HEIGHT - BOTTOM + 16, short(x), "middle")
        for y in y_ticks:
            out.path(f"M{LEFT} {y_at(y):.1f}H{WIDTH - RIGHT}", "#ddd", 1)
            out.text(LEFT - 6, y_at(y) + 4, short(y), "end")
        for name, value in self.limits:
            out.path(f"M{LEFT} {y_at(value):.1f}H{WIDTH - RIGHT}", "#b00020", 1.2, dash=True)
            out.text(WIDTH - RIGHT - 4, y_at(value) - 5, name, "end", "#b00020")
        for index, (name, points) in enumerate(self.series):
            colour = COLOURS[index % len(COLOURS)]
            steps = " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in points)
            out.parts.append(f'<polyline points="{steps}" fill="none" stroke="{colour}" stroke-width="2"/>')
            for x, y in points:
                out.parts.append(f'<circle cx="{x_at(x):.1f}" cy="{y_at(y):.1f}" r="3.5" fill="{colour}"/>')
                out.text(x_at(x) + (4 if x == min(xs) else 0), y_at(y) - 8, short(float(f"{y:.3g}")), "end" if x == max(xs) else "start" if x == min(xs) else "middle", colour)
            out.legend(index, name, colour)
        out.write(path)


class Svg:
    """A picture being written."""

    def __init__(self, title):
        self.parts = []
        self.text(WIDTH / 2, 18, title, "middle", "#111", 14)

    def text(self, x, y, text, anchor="start", colour="#333", size=11, turn=False):
        turned = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turn else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}"{turned}>{escape(text)}</text>'
        )

    def path(self, data, colour, width, dash=False):
        dashed = ' stroke-dasharray="5 4"' if dash else ""
        self.parts.append(f'<path d="{data}" stroke="{colour}" stroke-width="{width}" fill="none"{dashed}/>')

    def axes(self, x_label, y_label):
        self.path(f"M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}", "#333", 1.2)
        self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_label, "middle")
        self.text(16, (TOP + HEIGHT - BOTTOM) / 2, y_label, "middle", turn=True)

    def legend(self, index, name, colour):
        x = LEFT + 12 + 190 * index
        self.parts.append(f'<rect x="{x}" y="{TOP - 16}" width="10" height="10" fill="{colour}"/>')
        self.text(x + 15, TOP - 7, name)

    def write(self, path):
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            f'font-family="sans-serif"><rect width="100%" height="100%" fill="#fff"/>'
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(head + "\n" + "\n".join(self.parts) + "\n</svg>\n")
        print(path.relative_to(ROOT))


def bars(title, y_label, values, path):
    """One bar a word; those of `tandem` stand out."""
    top = ticks(0.1, max(value for _, value in values), False)
    out = Svg(title)
    out.axes("", y_label)
    height = HEIGHT - TOP - BOTTOM
    for y in top:
        at = HEIGHT - BOTTOM - y / top[-1] * height
        out.path(f"M{LEFT} {at:.1f}H{WIDTH - RIGHT}", "#ddd", 1)
        out.text(LEFT - 6, at + 4, short(y), "end")
    step = (WIDTH - LEFT - RIGHT) / len(values)
    for index, (name, value) in enumerate(values):
        x, tall = LEFT + step * (index + 0.2), value / top[-1] * height
        colour = COLOURS[0] if name.startswith("tandem") else "#9aa5b1"
        out.parts.append(
            f'<rect x="{x:.1f}" y="{HEIGHT - BOTTOM - tall:.1f}" width="{step * 0.6:.1f}" height="{tall:.1f}" fill="{colour}"/>'
        )
        out.text(x + step * 0.3, HEIGHT - BOTTOM - tall - 5, f"{value:.2f}", "middle")
        out.text(x + step * 0.3, HEIGHT - BOTTOM + 16, name, "middle")
    out.write(path)


def results(name):
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def main():
    if rows := results("change"):
        rows = [row for row in rows if row["mib"] > 0]
        memory = Chart("Memory of the index, one number a node", "nodes", "MiB", y_log=True)
        memory.line("MiB", [(row["nodes"], row["mib"]) for row in rows])
        memory.write(PLOTS / "memory.svg")
        each = Chart("Octets a node, its number included", "nodes", "octets")
        each.line("octets a node", [(row["nodes"], row["octets_a_node"]) for row in rows if row["nodes"] >= 10_000])
        each.write(PLOTS / "octets.svg")
    if rows := results("change"):
        change = Chart("Check and publish one change", "nodes", "CPU µs")
        change.line("one change", [(row["nodes"], row["change_us"]) for row in rows])
        change.write(PLOTS / "change.svg")
    if rows := results("publish"):
        latency = Chart("One writer: a durable PUT, its sync included, median", "nodes", "ms")
        one = [row for row in rows if row["writers"] == 1]
        latency.line("PUT", [(row["nodes"], row["median_ms"]) for row in one])
        latency.write(PLOTS / "put-latency.svg")
        rate = Chart("64 writers: durable PUTs a second, median of 3 rounds (3,808 to 16,301)", "nodes", "PUTs/s")
        rate.line("PUTs/s", [(row["nodes"], row["puts_a_second"]) for row in rows if row["writers"] == 64])
        rate.limit("6,500", 6500)
        rate.write(PLOTS / "put-rate.svg")
    if found := results("dns"):
        bars("CPU seconds for a million UDP answers", "s/M", list(found.items()), PLOTS / "dns.svg")


if __name__ == "__main__":
    main()
