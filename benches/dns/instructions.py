#!/usr/bin/env python3
"""Guards the cost of the UDP hot path: counts the instructions of an answer under Valgrind and compares with stored figures.

    apt-get install valgrind
    benches/dns/instructions.py             # fails if an answer costs over 5 % more, or less, than instructions.txt says
    benches/dns/instructions.py --update    # writes instructions.txt: commit it with the change that explains it

No clock is read, so a busy machine does not matter. Each count is divided by that of a fixed piece of plain code in the same
program (`reference` in crates/dns/benches/hot_path.rs), which takes out part of what a compiler changes; with another
compiler than the one that made the figures, 15 % are allowed. Less is a failure, too, so that a gain is written down
before it can be lost again.
"""
import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STORED = Path(__file__).with_name("instructions.txt")
KINDS = ["NAPTR", "SRV", "A", "AAAA", "ENUM", "NX"]
QUERIES = 6400
TOLERANCE, OTHER_COMPILER = 0.05, 0.15


def build():
    """The bench's path."""
    command = ["cargo", "bench", "--no-run", "--locked", "-p", "tandem-dns", "--features", "measuring", "--bench", "hot_path",
               "--message-format", "json"]
    out = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    built = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return next(b["executable"] for b in built if b.get("executable") and b["target"]["name"] == "hot_path")


def count(program, kind, *more):
    """Instructions for one answer."""
    with tempfile.NamedTemporaryFile() as scratch:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={scratch.name}", "--toggle-collect=*measured*",
                   program, "--nodes", "1000", "--rounds", "1", "--queries", str(QUERIES), "--kind", kind, *more]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return int(re.search(r"Collected : (\d+)", text).group(1)) / QUERIES


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--update", action="store_true", help="write instructions.txt")
    a = p.parse_args()
    program = build()
    compiler = subprocess.run(["rustc", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[1]
    reference = count(program, "reference")
    measured = {}
    for source, more in (("files", []), ("registered", ["--registered"])):
        for kind in KINDS:
            measured[f"{source} {kind}"] = count(program, kind, *more)
    if a.update:
        lines = [f"compiler {compiler}", f"reference {reference:.0f}"]
        lines += [f"{name} {cost / reference:.3f} {cost:.0f}" for name, cost in measured.items()]
        STORED.write_text("# Instructions of one UDP answer: as a multiple of the reference's, and as counted. "
                          "See instructions.py.\n" + "\n".join(lines) + "\n")
    stored = dict(line.rsplit(" ", 2)[:2] for line in STORED.read_text().splitlines() if line.count(" ") == 3)
    made_by = re.search(r"^compiler (\S+)", STORED.read_text(), re.M).group(1)
    tolerance = TOLERANCE if made_by == compiler else OTHER_COMPILER
    failed = False
    for name, cost in measured.items():
        change = cost / reference / float(stored[name]) - 1
        failed |= abs(change) > tolerance
        print(f"{name}: {cost:.0f} instructions, {change:+.1%}{'' if abs(change) <= tolerance else '  <-- too far off'}")
    if failed:
        sys.exit(f"more than {tolerance:.0%} away from {STORED.name}: mend it, or explain it and run with --update")


if __name__ == "__main__":
    main()
