#!/usr/bin/env python3
"""A whole zone by AXFR over TCP, Tandem beside Knot: wall time, the server's CPU time and its memory.

    cargo build --release -p tandem
    apt-get install knot
    benches/dns/transfer.py --nodes 1000000 --rounds 3

The nodes (two targets with IPv4 and IPv6, a key and a number each) are put into Tandem's store as it would have written them,
since a million calls would take longer than everything else here. Knot loads the zone as Tandem exports it, so both send the
same records. Each round asks both in turn, the server pinned to core 0, the reader to core 1; the reader counts octets and
records and looks at nothing else.
"""
import argparse
import json
import os
import signal
import socket
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path

from compare import HEAD, ROOT, cpu_seconds

PORT = 20153
WIDTH = 7
NAME = b"\4ostn\4test\0"
KNOT = """server:
    listen: 127.0.0.1@{port}
    rundir: {dir}
    tcp-workers: 1
    udp-workers: 1
    background-workers: 1
database:
    storage: {dir}
acl:
  - id: here
    address: 127.0.0.1
    action: transfer
zone:
  - domain: ostn.test
    file: {dir}/ostn.test.txt
    acl: here
    zonefile-sync: -1
    journal-content: none
"""
TANDEM = "[[dns.transfer]]\nzone = \"*\"\nnetworks = [\"127.0.0.1\"]\n"


def start(command, folder, ready, seconds):
    log = open(folder / "log", "a")
    process = subprocess.Popen(["taskset", "-c", "0", *map(str, command)], stdout=log, stderr=log)
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"{command[0]} did not start: {(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.1)
    return process


def stop(process):
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def start_tandem(folder, port):
    command = [ROOT / "target/release/tandem", "serve", "--config", folder / "tandem.toml", "--data-dir", folder / "data",
               "--zones", folder / "zones", "--dns", f"127.0.0.1:{port}", "--api", f"127.0.0.1:{port + 1}"]
    begin = time.monotonic()
    process = start(command, folder, lambda: (folder / "data/run.json").exists(), 300)
    print(f"tandem ready after {time.monotonic() - begin:.1f} s", file=sys.stderr)
    return process


def register(folder, port):
    """Node 0, by a call."""
    node = {"targets": [{"host": f"sip{host}.n{0:0{WIDTH}}.ostn.test", "port": 5061, "priority": 10 * host,
                         "addresses": [f"10.0.0.{host}", f"2001:db8::{host}"]} for host in (1, 2)],
            "numbers": [{"e164": f"+88351{0:0{WIDTH}}"}], "keys": [{"holder": "node", "sha256": "ab" * 32}]}
    connection = HTTPConnection("127.0.0.1", port + 1)
    token = (folder / "data/admin.token").read_text().strip()
    connection.request("PUT", f"/v1/nodes/n{0:0{WIDTH}}.ostn.test", json.dumps(node),
                       {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 201:
        sys.exit(f"PUT: {answer.status} {text}")


def multiply(folder, nodes):
    """Copies node 0 in the store under other names and numbers."""
    with sqlite3.connect(folder / "data/tandem.db") as store:
        found = store.execute("SELECT * FROM node")
        columns = [column[0] for column in found.description]
        first = dict(zip(columns, found.fetchone()))
        key, domain, document = first["sort_key"], first["domain"], first["document"]
        zero = f"{0:0{WIDTH}}"

        def rows():
            for k in range(1, nodes):
                this = f"{k:0{WIDTH}}"
                pair = f"{10 + k % 3}.{k >> 16 & 255}.{k >> 8 & 255}"
                text = document.replace("n" + zero, "n" + this).replace("88351" + zero, "88351" + this)
                text = text.replace("10.0.0", pair).replace("2001:db8::", f"2001:db8:{k >> 16:x}:{k & 65535:x}::")
                row = first | {"sort_key": key.replace(zero.encode(), this.encode()),
                               "domain": domain.replace(zero, this), "document": text}
                yield [row[column] for column in columns]

        store.executemany(f"INSERT INTO node VALUES ({', '.join('?' * len(columns))})", rows())


def soa_end(port):
    """The numbers at the end of the SOA record: what a transfer ends with."""
    query = struct.pack(">6H", 7, 0, 1, 0, 0, 0) + NAME + struct.pack(">2H", 6, 1)
    with socket.create_connection(("127.0.0.1", port), 5) as s:
        s.sendall(struct.pack(">H", len(query)) + query)
        length = struct.unpack(">H", s.recv(2, socket.MSG_WAITALL))[0]
        answer = s.recv(length, socket.MSG_WAITALL)
    counts = struct.unpack(">4H", answer[4:12])
    if answer[3] & 15 or counts[1] != 1:
        raise OSError("no SOA")
    # Question, then owner (a pointer), type, class, TTL, length, data.
    at = 12 + len(NAME) + 4 + 10
    length = struct.unpack(">H", answer[at:at + 2])[0]
    return answer[at + 2 + length - 20:at + 2 + length]


def has_soa(port):
    try:
        return bool(soa_end(port))
    except (OSError, struct.error):
        return False


def status(pid, key):
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split(key + ":")[1].split()[0]) / 1024


def transfer(pid, port):
    """One AXFR: seconds, CPU seconds, octets, messages, records, resident MiB before and at most."""
    end = soa_end(port)
    query = struct.pack(">6H", 8, 0, 1, 0, 0, 0) + NAME + struct.pack(">2H", 252, 1)
    os.sched_setaffinity(0, {1})
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    rss, cpu, begin = status(pid, "VmRSS"), cpu_seconds(pid), time.monotonic()
    octets = messages = records = 0
    with socket.create_connection(("127.0.0.1", port), 60) as s:
        s.sendall(struct.pack(">H", len(query)) + query)
        buffer, have = bytearray(1 << 20), 0
        view, done = memoryview(buffer), False
        while not done:
            got = s.recv_into(view[have:])
            if not got:
                sys.exit("the connection ended before the transfer")
            octets += got
            have += got
            at = 0
            while have - at >= 2:
                length = buffer[at] << 8 | buffer[at + 1]
                if have - at < 2 + length:
                    break
                if buffer[at + 5] & 15:
                    sys.exit(f"refused: rcode {buffer[at + 5] & 15}")
                records += buffer[at + 8] << 8 | buffer[at + 9]
                messages += 1
                at += 2 + length
                done = messages > 1 and buffer[at - 20:at] == end
            buffer[:have - at] = buffer[at:have]
            have -= at
    return {"s": time.monotonic() - begin, "cpu": cpu_seconds(pid) - cpu, "octets": octets, "messages": messages,
            "records": records, "rss": rss, "peak": status(pid, "VmHWM")}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--nodes", type=int, default=1_000_000)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--servers", default="tandem,knot")
    a = p.parse_args()
    servers = a.servers.split(",")
    with tempfile.TemporaryDirectory(prefix="bench-transfer-") as work:
        folder = Path(work)
        (folder / "zones").mkdir()
        (folder / "tandem.toml").write_text(TANDEM)
        for zone in ("ostn.test", "e164.ostn.test"):
            extra = "ns1 IN A 127.0.0.1\n" if zone == "ostn.test" else ""
            (folder / "zones" / f"{zone}.zone").write_text(HEAD + extra)
        running = {}
        try:
            first = start_tandem(folder, PORT)
            register(folder, PORT)
            stop(first)
            multiply(folder, a.nodes)
            running["tandem"] = (start_tandem(folder, PORT), PORT)
            if "knot" in servers:
                export = [ROOT / "target/release/tandem", "zone", "export", "ostn.test", "--output",
                          folder / "ostn.test.txt"]
                # It finds the service by the data folder.
                subprocess.run(export, check=True, stdout=subprocess.DEVNULL, cwd=folder)
                (folder / "knot.conf").write_text(KNOT.format(port=PORT + 10, dir=folder))
                knot = start(["knotd", "-c", folder / "knot.conf"], folder, lambda: has_soa(PORT + 10), 600)
                running["knot"] = (knot, PORT + 10)
            results = {}
            for turn in range(a.rounds):
                for name in servers:
                    process, port = running[name]
                    got = transfer(process.pid, port)
                    results.setdefault(name, []).append(got)
                    print(f"round {turn + 1} {name}: {got}", file=sys.stderr)
        finally:
            for process, _ in running.values():
                stop(process)
    print("| server | seconds: median (least–most) | CPU seconds | records | MB | messages | MiB before | at most |")
    print("|--|--|--|--|--|--|--|--|")
    for name, rows in results.items():
        column = {key: [row[key] for row in rows] for key in rows[0]}
        spread = [f"{statistics.median(column[key]):.2f} ({min(column[key]):.2f}–{max(column[key]):.2f})" for key in ("s", "cpu")]
        print(f"| {name} | {spread[0]} | {spread[1]} | {max(column['records']):,} | {max(column['octets']) / 1e6:.0f} | "
              f"{max(column['messages']):,} | {column['rss'][0]:.0f} | {max(column['peak']):.0f} |")


if __name__ == "__main__":
    main()
