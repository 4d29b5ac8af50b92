#!/usr/bin/env python3
"""CPU time of the overlay and of unbound for a million answers, for the same names.

    cargo build --release -p tandem-dns --example overlay
    apt-get install unbound dnsperf
    benches/dns/overlay.py --nodes 10000 --rounds 3

Each server in turn is pinned to core 0, dnsperf and the upstream to core 1. Three loads:

- `hits`: members' names (40 % NAPTR, 30 % SRV, 15 % A, 5 % AAAA, 10 % ENUM, uniformly). The overlay answers from its
  members; `unbound-local` has all the records as local data, `unbound-cache` has had every question once before.
- `forwarded`: names that nobody asked for before, one record each. The overlay and unbound ask the same upstream, another
  unbound with that zone as a redirection; validation is off.
- `again`: a thousand names that an upstream answers, over and over. Unbound has a cache and the overlay has none: the price of
  standing in front.

CPU seconds for a million answers (s/M, user + system) is the figure to trust: a rate falls with whatever else runs.
"""
import argparse
import contextlib
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compare import ROOT, cpu_seconds, enum_line, load, memory_mib, node_lines, number

UNBOUND = """server:
  interface: 127.0.0.1
  port: {port}
  access-control: 127.0.0.0/8 allow
  chroot: ""
  username: ""
  directory: "{dir}"
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
  num-threads: 1
  minimal-responses: no
  do-not-query-localhost: no
  msg-cache-size: 256m
  rrset-cache-size: 256m
  so-rcvbuf: 4m
  outgoing-range: 4096
  num-queries-per-thread: 2048
{more}
remote-control:
  control-enable: no
"""
FORWARD = 'forward-zone:\n  name: "."\n  forward-addr: 127.0.0.1@{upstream}\n'
# The zone of the members is not unbound's own to answer, as `test.` would be by default.
NO_DEFAULT = '  local-zone: "test." nodefault\n'


def records(nodes):
    """All records of the members, with whole names."""
    for k in range(nodes):
        for line in node_lines(k, "TLSA 3 1 1 "):
            owner, rest = line.split(" ", 1)
            yield f"{owner}.ostn.test. 60 {rest}"
        owner, rest = enum_line(k, ".e164.ostn.test.").split(" ", 1)
        yield f"{owner} 60 {rest}"


def upstream_config(nodes):
    """An upstream that has the members' records, and one address for every name in other.test."""
    lines = [NO_DEFAULT, '  local-zone: "ostn.test." static\n', '  local-zone: "other.test." redirect\n',
             '  local-data: "other.test. 300 A 192.0.2.80"\n']
    return "".join(lines + local_data(nodes))


def local_data(nodes):
    return [f"  local-data: '{record}'\n" for record in records(nodes)]


def write_hits(path, nodes):
    random.seed(3263)
    kinds = random.choices(["NAPTR", "SRV", "A", "AAAA", "ENUM"], [40, 30, 15, 5, 10], k=max(200_000, 2 * nodes))
    with open(path, "w") as f:
        for kind in kinds:
            k = random.randrange(nodes)
            f.write({"NAPTR": f"n{k}.ostn.test NAPTR", "SRV": f"_sips._tcp.n{k}.ostn.test SRV",
                     "A": f"sip{1 + k % 2}.n{k}.ostn.test A", "AAAA": f"sip{1 + k % 2}.n{k}.ostn.test AAAA",
                     "ENUM": f"{'.'.join(reversed(number(k)))}.e164.ostn.test NAPTR"}[kind] + "\n")


def write_names(path, count, stem):
    path.write_text("".join(f"{stem}{k}.other.test A\n" for k in range(count)))


def is_up(port, name):
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.3)
        try:
            s.sendto(b"\0\1\1\0\0\1\0\0\0\0\0\0" + question + b"\0\1\0\1", ("127.0.0.1", port))
            reply = s.recv(4096)
            return reply[3] & 15 == 0 and reply[7] >= 1
        except OSError:
            return False


@contextlib.contextmanager
def running(core, command, folder, port):
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(["taskset", "-c", core, *map(str, command)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while not is_up(port, "up.other.test"):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{command[0]} did not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def unbound(folder, port, more):
    folder.mkdir(exist_ok=True)
    (folder / "unbound.conf").write_text(UNBOUND.format(port=port, dir=folder, more=more))
    return ["unbound", "-d", "-c", folder / "unbound.conf"]


def command(name, folder, port, upstream, nodes):
    folder.mkdir(exist_ok=True)
    forward = FORWARD.format(upstream=upstream)
    if name == "overlay":
        return [ROOT / "target/release/examples/overlay", f"127.0.0.1:{port}", f"127.0.0.1:{upstream}", nodes]
    if name == "unbound-local":
        return unbound(folder, port, NO_DEFAULT + '  local-zone: "ostn.test." static\n' + "".join(local_data(nodes)) + forward)
    return unbound(folder, port, NO_DEFAULT + forward)


def measure(name, kind, folder, upstream, queries, port, a):
    with running("0", command(name, folder, port, upstream, a.nodes), folder, port) as process:
        clients = ["-c", "4", "-q", str(a.outstanding)]
        if kind == "forwarded":
            # Each name once: warmed up with others.
            load(port, queries["other names"], 1, clients, "1")
            extra = [*clients, "-n", "1"]
        else:
            extra = clients
            # Every question once, so that a cache has it.
            load(port, queries[kind], 60, [*clients, "-n", "1"], "1")
        before = cpu_seconds(process.pid)
        got = load(port, queries[kind], 60 if kind == "forwarded" else a.seconds, extra, "1")
        got["s_per_m"] = (cpu_seconds(process.pid) - before) / got["answers"] * 1e6
        return got | {"mib": memory_mib(process.pid)}


LOADS = {"hits": ["overlay", "unbound-local", "unbound-cache"], "forwarded": ["overlay", "unbound"],
         "again": ["overlay", "unbound"]}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--nodes", type=int, default=10_000)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=4)
    p.add_argument("--names", type=int, default=200_000, help="names of the load `forwarded`")
    p.add_argument("--outstanding", type=int, default=100, help="questions of dnsperf that wait at a time")
    p.add_argument("--port", type=int, default=21053)
    a = p.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        queries = {kind: work / kind.replace(" ", "-") for kind in ("hits", "forwarded", "again", "other names")}
        write_hits(queries["hits"], a.nodes)
        write_names(queries["forwarded"], a.names, "h")
        write_names(queries["again"], 1000, "again")
        write_names(queries["other names"], a.names, "w")
        upstream = a.port + 1
        (work / "upstream").mkdir()
        with running("1", unbound(work / "upstream", upstream, upstream_config(a.nodes)), work / "upstream", upstream):
            for turn in range(a.rounds):
                for kind, names in LOADS.items():
                    for name in names:
                        with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as folder:
                            got = measure(name, kind, Path(folder), upstream, queries, a.port, a)
                        results.setdefault((kind, name), []).append(got)
                        print(f"round {turn + 1} {kind} {name}: {got['s_per_m']:.2f} s/M", file=sys.stderr)
    print("| load | server | s/M: median (least–most) | lost | octets an answer | MiB |\n|--|--|--|--|--|--|")
    for (kind, name), rows in results.items():
        cost = [row["s_per_m"] for row in rows]
        middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        print(f"| {kind} | {name} | {statistics.median(cost):.2f} ({min(cost):.2f}–{max(cost):.2f}) | "
              f"{sum(row['lost'] for row in rows):.0f} | {middle['octets']:.0f} | {middle['mib']:.0f} |")


if __name__ == "__main__":
    main()
