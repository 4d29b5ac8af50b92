#!/usr/bin/env python3
"""CPU time of DNS servers for a million answers, side by side over one zone of SIP nodes.

    cargo build --release
    cargo build --release -p tandem-dns --features measuring --examples     # for echo, and --overload
    apt-get install gdnsd dnsperf            # and, if wanted: nsd knot bind9
    benches/dns/compare.py --servers echo,tandem,gdnsd --nodes 100000 --rounds 3

Every round starts each server in turn, pinned to core 0, and loads it with dnsperf from core 1 over loopback: 40 % NAPTR,
30 % SRV, 15 % A, 5 % AAAA, 5 % ENUM, 5 % names that do not exist, uniformly over the nodes. `tandem` serves the nodes as
master files like the others; `tandem-nodes` serves the same nodes as registrations, put in over HTTP first. `echo` looks
nothing up and sends every query back at 160 octets, in batches of 64: no server with the same system calls can cost less.
`--overload` first finds the capacity (what a core can answer at that cost), then sends twice as much for as long, and tells
what was still answered; "of capacity" is what it answered for each second that it had the core, so that a busy machine does
not count. `--flood` asks for names that do not exist, each only once.
CPU seconds for a million answers (s/M, user + system) is the figure to trust: a rate falls with whatever else runs.
"""
import argparse
import hashlib
import itertools
import json
import os
import random
import re
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


def write_queries(path, nodes, count=500_000, zipf=False, flood=False):
    rng = random.Random(1)
    if flood:
        path.write_text("".join(f"x{rng.getrandbits(48):x}.ostn.test NAPTR\n" for _ in range(count)))
        return
    # Rank r is asked for in proportion to 1/r; ranks fall on nodes at random.
    order = rng.sample(range(nodes), nodes)
    weights = list(itertools.accumulate(1 / (r + 1) for r in range(nodes)))
    picks = (order[r] for r in rng.choices(range(nodes), cum_weights=weights, k=count)) if zipf else \
        (rng.randrange(nodes) for _ in range(count))
    kinds = rng.choices(["NAPTR", "SRV", "A", "AAAA", "ENUM", "NX"], [40, 30, 15, 5, 5, 5], k=count)
    with open(path, "w") as f:
        for kind, k in zip(kinds, picks):
            name = {
                "NAPTR": f"n{k}.ostn.test NAPTR", "SRV": f"_sips._tcp.n{k}.ostn.test SRV",
                "A": f"sip{1 + k % 2}.n{k}.ostn.test A", "AAAA": f"sip{1 + k % 2}.n{k}.ostn.test AAAA",
                "ENUM": f"{'.'.join(reversed(number(k)))}.e164.ostn.test NAPTR", "NX": f"x{k}.ostn.test NAPTR",
            }[kind]
            f.write(name + "\n")


GDNSD = "options => {{\n listen => 127.0.0.1:{port}\n run_dir => {dir}/run\n state_dir => {dir}/state\n udp_threads => {threads}\n tcp_threads => {threads}\n}}\n"
NSD = """server:
  server-count: {threads}
  reuseport: yes
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
    udp-workers: {threads}
    tcp-workers: {threads}
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


TSIG = "YmVuY2htYXJrLXNlY3JldC1vZi0zMi1vY3RldHMhISE="
BIND = """options {{
  directory "{dir}/zones";
  listen-on port {port} {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
  pid-file "{dir}/named.pid";
  session-keyfile "{dir}/session.key";
  recursion no;
  minimal-responses no-auth;
}};
controls {{ }};
zone "ostn.test" {{ type primary; file "ostn.test.zone"; }};
zone "e164.ostn.test" {{ type primary; file "e164.ostn.test.zone"; }};
"""


def prepare(name, folder, port, nodes, threads):
    """Writes what the server needs; returns its command."""
    zones = folder / "zones"
    if name == "echo":
        return [ROOT / "target/release/examples/echo", f"127.0.0.1:{port}", 160]
    if name == "gdnsd":
        for part in ("run", "state"):
            (folder / part).mkdir()
        write_zones(zones, nodes, one_file=True, tlsa="TYPE52 \\# 35 030101")
        (folder / "config").write_text(GDNSD.format(port=port, dir=folder, threads=threads))
        return ["gdnsd", "-c", folder, "start"]
    if name == "tandem-nodes":
        zones.mkdir()
        for zone in ("ostn.test", "e164.ostn.test", "peers.ostn.test"):
            extra = "ns1 IN A 127.0.0.1\n" if zone == "ostn.test" else ""
            (zones / f"{zone}.zone").write_text(HEAD + extra)
    else:
        write_zones(zones, nodes)
    if name == "nsd":
        (folder / "nsd.conf").write_text(NSD.format(port=port, dir=folder, threads=threads))
        return ["nsd", "-d", "-c", folder / "nsd.conf"]
    if name == "knot":
        (folder / "knot.conf").write_text(KNOT.format(port=port, dir=folder, threads=threads))
        return ["knotd", "-c", folder / "knot.conf"]
    if name == "bind":
        (folder / "named.conf").write_text(BIND.format(port=port, dir=folder))
        return ["named", "-g", "-c", folder / "named.conf", "-n", threads, "-U", threads]
    if not name.startswith("tandem"):
        sys.exit(f"unknown server {name}: echo, tandem, tandem-nodes, gdnsd, nsd, knot, bind")
    (folder / "tandem.toml").write_text(
        f'version = 1\n[dns]\nudp_threads = {threads}\n'
        f'[[dns.tsig]]\nname = "bench.test"\nalgorithm = "hmac-sha256"\nsecret_file = "{folder}/tsig"\n')
    (folder / "tsig").write_text(TSIG + "\n")
    (folder / "tsig").chmod(0o600)
    return [ROOT / "target/release/tandem", "serve", "--config", folder / "tandem.toml", "--data-dir", folder / "data",
            "--zones", zones, "--dns", f"127.0.0.1:{port}", "--api", f"127.0.0.1:{port + 1}"]


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


def answers(name, port, k):
    """Whether the server answers for the last node."""
    owner = b"".join(bytes([len(label)]) + label.encode() for label in f"sip1.n{k}.ostn.test".split(".")) + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.2)
        try:
            s.sendto(b"\0\1\0\0\0\1\0\0\0\0\0\0" + owner + b"\0\1\0\1", ("127.0.0.1", port))
            reply = s.recv(4096)
            return name == "echo" or (reply[3] & 15 == 0 and reply[7] == 1)
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


def load(port, queries, seconds, extra, cores):
    out = subprocess.run(["taskset", "-c", cores, "dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", queries,
                          "-l", str(seconds), *extra], capture_output=True, text=True, check=True).stdout
    got = {key: float(re.search(pattern, out).group(1)) for key, pattern in
           (("answers", r"completed: +(\d+)"), ("lost", r"lost: +(\d+)"), ("octets", r"response (\d+)"))}
    return got


def datagrams():
    """UDP datagrams sent by this machine so far."""
    names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Udp:"))
    return int(values[names.index("OutDatagrams")])


def overload(pid, port, queries, seconds, capacity):
    """Sends at twice the capacity; what was sent and answered, and the server's seconds on its core."""
    before, began = cpu_seconds(pid), datagrams()
    blast = [ROOT / "target/release/examples/blast", f"127.0.0.1:{port}", queries, str(seconds), str(2 * capacity)]
    sent = int(subprocess.run(["taskset", "-c", "1", *blast], capture_output=True, text=True, check=True).stdout)
    time.sleep(0.2)
    return {"sent": sent / seconds, "answered": (datagrams() - began - sent) / seconds,
            "busy": (cpu_seconds(pid) - before) / seconds}


def measure(name, folder, queries, port, a):
    extra = ["-m", "tcp", "-c", "20", "-q", "200"] if a.tcp else ["-c", str(4 * a.threads), "-q", str(200 * a.threads)]
    extra += ["-e"] if a.edns else []
    extra += ["-E", "10:0123456789abcdef"] if a.cookie else []
    extra += ["-y", f"hmac-sha256:bench.test:{TSIG}"] if a.tsig else []
    extra += ["-T", str(a.threads)] if a.threads > 1 else []
    # With one thread the server has a core for itself; with more, all share all.
    server_core, load_core = ("0", "1") if a.threads == 1 else (f"0-{a.threads - 1}",) * 2
    log = open(folder / "log", "w")
    command = ["taskset", "-c", server_core, *map(str, prepare(name, folder, port, a.nodes, a.threads))]
    process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "RUST_LOG": "warn"})
    try:
        is_ready = (lambda: (folder / "data/run.json").exists()) if name == "tandem-nodes" else \
            (lambda: answers(name, port, a.nodes - 1))
        deadline = time.monotonic() + 300
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{name} did not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)
        if name == "tandem-nodes":
            publish(folder, port, a.nodes)
            assert answers(name, port, a.nodes - 1)
        started = cpu_seconds(process.pid)
        load(port, queries, 1, extra, load_core)
        before = cpu_seconds(process.pid)
        got = load(port, queries, a.seconds, extra, load_core)
        got["s_per_m"] = (cpu_seconds(process.pid) - before) / got["answers"] * 1e6
        got |= {"mib": memory_mib(process.pid), "start_cpu_s": started}
        if a.overload:
            got |= overload(process.pid, port, queries, a.seconds, 1e6 / got["s_per_m"])
        return got
    finally:
        for pid in family(process.pid):
            os.kill(pid, signal.SIGTERM)
        process.wait(30)


def show(results, with_overload):
    head = "| server | s/M: median (least–most) | lost | octets an answer | MiB | start CPU s |"
    head += " sent/s | answered/s | of capacity | busy |" if with_overload else ""
    print(head + "\n" + "|--" * (head.count("|") - 1) + "|")
    for name, rows in results.items():
        column = {key: [row[key] for row in rows] for key in rows[0]}
        middle = {key: statistics.median(values) for key, values in column.items()}
        cost = column["s_per_m"]
        line = (f"| {name} | {middle['s_per_m']:.2f} ({min(cost):.2f}–{max(cost):.2f}) | {sum(column['lost']):.0f} | "
                f"{middle['octets']:.0f} | {middle['mib']:.0f} | {middle['start_cpu_s']:.1f} |")
        if with_overload:
            # What it answers in a second on its core, whatever else runs there.
            share = statistics.median(row["answered"] / row["busy"] * row["s_per_m"] / 1e6 for row in rows)
            line += f" {middle['sent']:.0f} | {middle['answered']:.0f} | {share:.0%} | {middle['busy']:.0%} |"
        print(line)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--servers", default="echo,tandem,tandem-nodes,gdnsd",
                   help="of echo, tandem, tandem-nodes, gdnsd, nsd, knot, bind")
    p.add_argument("--nodes", type=int, default=100_000)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=4)
    p.add_argument("--port", type=int, default=20053)
    p.add_argument("--threads", type=int, default=1, help="of the server; with more than one nothing is pinned apart")
    p.add_argument("--tcp", action="store_true", help="pipelined TCP instead of UDP")
    p.add_argument("--edns", action="store_true", help="queries with EDNS")
    p.add_argument("--cookie", action="store_true", help="with a client cookie (tandem only)")
    p.add_argument("--tsig", action="store_true", help="signed (tandem only)")
    p.add_argument("--zipf", action="store_true", help="few nodes are asked for often, as in life")
    p.add_argument("--flood", action="store_true", help="names that do not exist, each once")
    p.add_argument("--overload", action="store_true", help="then twice what a core can answer")
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as work:
        queries = Path(work) / "queries"
        write_queries(queries, a.nodes, zipf=a.zipf, flood=a.flood)
        results = {}
        for turn in range(a.rounds):
            for at, name in enumerate(a.servers.split(",")):
                with tempfile.TemporaryDirectory(prefix=f"bench-{name}-") as folder:
                    got = measure(name, Path(folder), queries, a.port + 10 * at, a)
                results.setdefault(name, []).append(got)
                print(f"round {turn + 1} {name}: {got['s_per_m']:.2f} s/M", file=sys.stderr)
    show(results, a.overload)


if __name__ == "__main__":
    main()
