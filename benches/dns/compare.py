#!/usr/bin/env python3
"""CPU time of DNS servers for a million answers, side by side over one zone of SIP nodes.

    cargo build --release
    apt-get install gdnsd dnsperf            # and, if wanted: nsd knot
    benches/dns/compare.py --servers tandem,gdnsd --nodes 100000 --rounds 3

Every round starts each server in turn, pinned to core 0, and loads it with dnsperf from core 1 over loopback: 40 % NAPTR,
30 % SRV, 15 % A, 5 % AAAA, 5 % ENUM, 5 % names that do not exist, uniformly over the nodes. `tandem` serves the nodes as
master files like the others; `tandem-nodes` serves the same nodes as registrations, put in over HTTP first.
CPU seconds for a million answers (s/M, user + system) is the figure to trust: a rate falls with whatever else runs.
"""
import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
HEAD = "$TTL 60\n@ IN SOA ns1.ostn.test. hostmaster.ostn.test. 1 3600 600 604800 30\n@ IN NS ns1.ostn.test.\n"


def number(k):
    return f"88351{k:08d}"


def addresses(k):
    for host in (1, 2):
        n = 2 * k + host - 1
        yield host, f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", f"2001:db8:{k >> 16:x}:{k & 0xffff:x}::{host}"


def node_lines(k, tlsa):
    n, pin = f"n{k}", hashlib.sha256(b"%d" % k).hexdigest()
    yield f'{n} IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.{n}.ostn.test.'
    for host, v4, v6 in addresses(k):
        yield f"_sips._tcp.{n} IN SRV {10 * host} 0 5061 sip{host}.{n}.ostn.test."
        yield f"sip{host}.{n} IN A {v4}"
        yield f"sip{host}.{n} IN AAAA {v6}"
        yield f"_5061._tcp.sip{host}.{n} IN {tlsa}{pin}"


def enum_line(k, origin=""):
    name = ".".join(reversed(number(k)))
    return f'{name}{origin} IN NAPTR 100 10 "u" "E2U+sip" "!^.*$!sip:+{number(k)}@n{k}.ostn.test!" .'


def write_zones(folder, nodes, one_file=False, tlsa="TLSA 3 1 1 "):
    """The zone and its ENUM zone; in one file for servers that take no zone inside another."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ("ostn.test" if one_file else "ostn.test.zone"), "w") as f:
        f.write(HEAD + "ns1 IN A 127.0.0.1\n")
        if not one_file:
            f.write("e164 IN NS ns1\n")
        for k in range(nodes):
            f.writelines(line + "\n" for line in node_lines(k, tlsa))
            if one_file:
                f.write(enum_line(k, ".e164") + "\n")
    if not one_file:
        with open(folder / "e164.ostn.test.zone", "w") as f:
            f.write(HEAD)
            f.writelines(enum_line(k) + "\n" for k in range(nodes))


def write_queries(path, nodes, count=500_000):
    rng = random.Random(1)
    kinds = rng.choices(["NAPTR", "SRV", "A", "AAAA", "ENUM", "NX"], [40, 30, 15, 5, 5, 5], k=count)
    with open(path, "w") as f:
        for kind in kinds:
            k = rng.randrange(nodes)
            name = {
                "NAPTR": f"n{k}.ostn.test NAPTR", "SRV": f"_sips._tcp.n{k}.ostn.test SRV",
                "A": f"sip{1 + k % 2}.n{k}.ostn.test A", "AAAA": f"sip{1 + k % 2}.n{k}.ostn.test AAAA",
                "ENUM": f"{'.'.join(reversed(number(k)))}.e164.ostn.test NAPTR", "NX": f"x{k}.ostn.test NAPTR",
            }[kind]
            f.write(name + "\n")


GDNSD = "options => {{\n listen => 127.0.0.1:{port}\n run_dir => {dir}/run\n state_dir => {dir}/state\n udp_threads => 1\n tcp_threads => 1\n}}\n"
NSD = """server:
  server-count: 1
  ip-address: 127.0.0.1@{port}
  username: ""
  database: ""
  zonesdir: "{dir}/zones"
  xfrdir: "{dir}"
  pidfile: "{dir}/nsd.pid"
  xfrdfile: "{dir}/xfrd.state"
  zonelistfile: "{dir}/zone.list"
  rrl-ratelimit: 0
zone:
  name: ostn.test
  zonefile: ostn.test.zone
zone:
  name: e164.ostn.test
  zonefile: e164.ostn.test.zone
"""
KNOT = """server:
    listen: 127.0.0.1@{port}
    rundir: {dir}
    udp-workers: 1
    tcp-workers: 1
database:
    storage: {dir}
template:
  - id: default
    storage: {dir}/zones
    zonefile-sync: -1
    journal-content: none
zone:
  - domain: ostn.test
    file: ostn.test.zone
  - domain: e164.ostn.test
    file: e164.ostn.test.zone
"""


def prepare(name, folder, port, nodes):
    """Writes what the server needs; returns its command."""
    zones = folder / "zones"
    if name == "gdnsd":
        for part in ("run", "state"):
            (folder / part).mkdir()
        write_zones(zones, nodes, one_file=True, tlsa="TYPE52 \\# 35 030101")
        (folder / "config").write_text(GDNSD.format(port=port, dir=folder))
        return ["gdnsd", "-c", folder, "start"]
    if name == "tandem-nodes":
        zones.mkdir()
        for zone in ("ostn.test", "e164.ostn.test", "peers.ostn.test"):
            extra = "ns1 IN A 127.0.0.1\n" if zone == "ostn.test" else ""
            (zones / f"{zone}.zone").write_text(HEAD + extra)
    else:
        write_zones(zones, nodes)
    if name == "nsd":
        (folder / "nsd.conf").write_text(NSD.format(port=port, dir=folder))
        return ["nsd", "-d", "-c", folder / "nsd.conf"]
    if name == "knot":
        (folder / "knot.conf").write_text(KNOT.format(port=port, dir=folder))
        return ["knotd", "-c", folder / "knot.conf"]
    if not name.startswith("tandem"):
        sys.exit(f"unknown server {name}: tandem, tandem-nodes, gdnsd, nsd, knot")
    return [ROOT / "target/release/tandem", "serve", "--data-dir", folder / "data", "--zones", zones,
            "--dns", f"127.0.0.1:{port}", "--api", f"127.0.0.1:{port + 1}"]


def publish(folder, port, nodes):
    """Registers the nodes over HTTP, 32 at a time."""
    token = (folder / "data/admin.token").read_text().strip()

    def some(first):
        connection = HTTPConnection("127.0.0.1", port + 1)
        for k in range(first, nodes, 32):
            targets = [{"host": f"sip{host}.n{k}.ostn.test", "port": 5061, "priority": 10 * host, "addresses": [v4, v6]}
                       for host, v4, v6 in addresses(k)]
            body = {"targets": targets, "numbers": [{"e164": "+" + number(k)}],
                    "keys": [{"holder": "node", "sha256": hashlib.sha256(b"%d" % k).hexdigest()}]}
            connection.request("PUT", f"/v1/nodes/n{k}.ostn.test", json.dumps(body),
                               {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status not in (200, 201):
                sys.exit(f"PUT n{k}: {answer.status} {text}")

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(some, range(32)))


def answers(port, k):
    """Whether the server answers for the last node."""
    name = b"".join(bytes([len(label)]) + label.encode() for label in f"sip1.n{k}.ostn.test".split(".")) + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.2)
        try:
            s.sendto(b"\0\1\0\0\0\1\0\0\0\0\0\0" + name + b"\0\1\0\1", ("127.0.0.1", port))
            reply = s.recv(4096)
            return reply[3] & 15 == 0 and reply[7] == 1
        except OSError:
            return False


def family(pid):
    """The process and all its descendants."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            pass
    found = [pid]
    for p in found:
        found += [child for child, parent in parents.items() if parent == p]
    return found


def cpu_seconds(pid):
    total = 0
    for p in family(pid):
        try:
            fields = Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return total / TICKS


def memory_mib(pid):
    text = "".join(Path(f"/proc/{p}/smaps_rollup").read_text() for p in family(pid))
    return sum(int(kib) for kib in re.findall(r"^Pss:\s+(\d+)", text, re.M)) / 1024


def load(port, queries, seconds, extra):
    out = subprocess.run(["taskset", "-c", "1", "dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", queries,
                          "-l", str(seconds), *extra], capture_output=True, text=True, check=True).stdout
    got = {key: float(re.search(pattern, out).group(1)) for key, pattern in
           (("answers", r"completed: +(\d+)"), ("lost", r"lost: +(\d+)"), ("octets", r"response (\d+)"))}
    return got


def measure(name, nodes, queries, seconds, port, extra):
    folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
    log = open(folder / "log", "w")
    process = subprocess.Popen(["taskset", "-c", "0", *map(str, prepare(name, folder, port, nodes))], stdout=log,
                               stderr=log, env={**os.environ, "RUST_LOG": "warn"})
    try:
        probe = None if name == "tandem-nodes" else nodes - 1
        deadline = time.monotonic() + 300
        while not (answers(port, probe) if probe is not None else (folder / "data/run.json").exists()):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{name} did not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)
        if name == "tandem-nodes":
            publish(folder, port, nodes)
            assert answers(port, nodes - 1)
        started = cpu_seconds(process.pid)
        load(port, queries, 1, extra)
        before = cpu_seconds(process.pid)
        got = load(port, queries, seconds, extra)
        got["s_per_m"] = (cpu_seconds(process.pid) - before) / got["answers"] * 1e6
        got |= {"mib": memory_mib(process.pid), "start_cpu_s": started}
        return got
    finally:
        for pid in family(process.pid):
            os.kill(pid, signal.SIGTERM)
        process.wait(30)
        shutil.rmtree(folder)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--servers", default="tandem,tandem-nodes,gdnsd", help="of tandem, tandem-nodes, gdnsd, nsd, knot")
    p.add_argument("--nodes", type=int, default=100_000)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=4)
    p.add_argument("--port", type=int, default=20053)
    p.add_argument("--tcp", action="store_true", help="pipelined TCP instead of UDP")
    p.add_argument("--edns", action="store_true", help="queries with EDNS")
    a = p.parse_args()
    extra = ["-m", "tcp", "-c", "20", "-q", "200"] if a.tcp else ["-c", "4", "-q", "200"]
    extra += ["-e"] if a.edns else []
    with tempfile.TemporaryDirectory() as work:
        queries = f"{work}/queries"
        write_queries(queries, a.nodes)
        results = {}
        for turn in range(a.rounds):
            for at, name in enumerate(a.servers.split(",")):
                got = measure(name, a.nodes, queries, a.seconds, a.port + 10 * at, extra)
                results.setdefault(name, []).append(got)
                print(f"round {turn + 1} {name}: {got['s_per_m']:.2f} s/M", file=sys.stderr)
    print("| server | s/M: median (least–most) | lost | octets an answer | MiB | start CPU s |\n|--|--|--|--|--|--|")
    for name, rows in results.items():
        column = {key: [row[key] for row in rows] for key in rows[0]}
        cost = column["s_per_m"]
        print(f"| {name} | {statistics.median(cost):.2f} ({min(cost):.2f}–{max(cost):.2f}) | {sum(column['lost']):.0f} | "
              f"{statistics.median(column['octets']):.0f} | {statistics.median(column['mib']):.0f} | "
              f"{statistics.median(column['start_cpu_s']):.1f} |")


if __name__ == "__main__":
    main()
