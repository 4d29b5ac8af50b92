#!/usr/bin/env python3
"""Import, backup, start and memory of the real program with many nodes.

    cargo build --release
    benches/scale/scale.py --nodes 1000000

Writes a file of nodes (two targets with IPv4 and IPv6, a key and a number each), imports it into a fresh service, imports
it again, exports it, starts the service anew and asks until the node's own zone and the ENUM zone give the right answers; then
backs it up while one client publishes without a pause, and restores the backup into another folder.
CPU seconds (user + system) are the figure to trust: other times fall with whatever else the machine does. `--json FILE`
writes the figures down.
"""
import argparse
import atexit
import hashlib
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TANDEM = ROOT / "target" / "release" / "tandem"
TICKS = os.sysconf("SC_CLK_TCK")
START_WAIT = 600


def write_nodes(path, count):
    with open(path, "w") as f:
        for k in range(count):
            domain = f"n{k}.ostn.test"
            targets = []
            for host in (1, 2):
                n = 2 * k + host - 1
                v4, v6 = f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}", f"2001:db8:{k >> 16:x}:{k & 0xffff:x}::{host}"
                name = f"sip{host}.{domain}"
                targets.append({"host": name, "port": 5061, "priority": 10 * host, "addresses": [v4, v6]})
            keys = [{"holder": "node", "sha256": hashlib.sha256(b"%d" % k).hexdigest()}]
            numbers = [{"e164": f"+88351{k:08d}"}]
            f.write(json.dumps({"domain": domain, "targets": targets, "keys": keys, "numbers": numbers}) + "\n")


class Service:
    def __init__(self, data):
        command = [TANDEM, "serve", "--zones", ROOT / "zones", "--data-dir", data]
        command += ["--dns", "127.0.0.1:0", "--api", "127.0.0.1:0"]
        self.begun = time.monotonic()
        self.log = open(data.parent / "log", "a")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        atexit.register(self.process.kill)
        for line in self.process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "dns":
                host, _, port = rest.rpartition(":")
                self.dns = (host, int(port))
            if word == "api":
                self.api = rest
            if word == "ready":
                return
        sys.exit(f"the service did not start: see {self.log.name}")

    def cpu(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def mib(self, name):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) / 1024
        return 0

    def ask(self, name, kind):
        """The number of answers, and the whole message."""
        question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
        query = struct.pack("!6H", 7, 0, 1, 0, 0, 0) + question + struct.pack("!2H", kind, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(5)
            s.sendto(query, self.dns)
            answer = s.recv(4096)
        return struct.unpack("!H", answer[6:8])[0], answer

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.log.close()


def check(service, k):
    """The NAPTR of a node and the one of its number are right."""
    count, answer = service.ask(f"n{k}.ostn.test", 35)
    assert count == 1 and b"SIPS+D2T" in answer, answer
    count, answer = service.ask(".".join(reversed(f"88351{k:08d}")) + ".e164.ostn.test", 35)
    assert count == 1 and f"!^.*$!sip:+88351{k:08d}@n{k}.ostn.test!".encode() in answer, answer


def tandem(data, *args, **more):
    begun = time.monotonic()
    done = subprocess.run([TANDEM, *args, "--data-dir", data], stderr=subprocess.PIPE, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"tandem {args[0]} failed: {done.stderr.strip().splitlines()[-2:]}")
    return time.monotonic() - begun


class Publisher(threading.Thread):
    """Publishes one node again and again, and keeps how long each PUT took, in seconds."""

    def __init__(self, service, data):
        super().__init__()
        self.url = f"{service.api}/v1/nodes/publisher.ostn.test"
        self.token = (data / "admin.token").read_text().strip()
        self.ended, self.times = threading.Event(), []

    def run(self):
        fields = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        while not self.ended.is_set():
            address = f"203.0.113.{len(self.times) % 250}"
            target = {"host": "sip.publisher.ostn.test", "port": 5061, "addresses": [address]}
            body = json.dumps({"targets": [target]}).encode()
            begun = time.monotonic()
            with urllib.request.urlopen(urllib.request.Request(self.url, body, fields, method="PUT")) as answer:
                answer.read()
            self.times.append(time.monotonic() - begun)

    def end(self):
        self.ended.set()
        self.join()
        slowest, times = max(self.times), sorted(self.times)
        return {"puts": len(times), "median_ms": round(times[len(times) // 2] * 1e3, 2), "max_ms": round(slowest * 1e3, 1)}


def cpu_of_children():
    done = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.ru_utime + done.ru_stime


def back_up_and_restore(service, data, folder, rows):
    """Both are done by the command itself, so that its own time counts and not the service's."""
    for name, command in (("backup", ("backup", folder / "backup")), ("restore", ("restore", folder / "backup"))):
        publisher = Publisher(service, data)
        publisher.start()
        before = cpu_of_children()
        seconds = tandem(data if name == "backup" else folder / "restored", *command, stdout=subprocess.DEVNULL)
        rows[name] = {"s": round(seconds, 2), "cpu_s": round(cpu_of_children() - before, 2), **publisher.end()}
        print(f"{name}: {seconds:.1f} s, {rows[name]['cpu_s']:.1f} CPU s; PUTs meanwhile: {rows[name]['puts']}, "
              f"median {rows[name]['median_ms']} ms, slowest {rows[name]['max_ms']} ms")
    rows["backup_mib"] = round((folder / "backup").stat().st_size / 1024**2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        data, lines = folder / "data", folder / "nodes.ndjson"
        write_nodes(lines, args.nodes)
        rows = {"nodes": args.nodes}
        service = Service(data)

        def measure(name, run):
            before = service.cpu()
            seconds = run()
            cpu = service.cpu() - before
            rows[name] = {"s": round(seconds, 2), "cpu_s": round(cpu, 2), "nodes_a_second": round(args.nodes / seconds)}
            print(f"{name}: {seconds:.1f} s, {cpu:.1f} CPU s of the service, {args.nodes / seconds:.0f} nodes/s")

        quiet = {"stdout": subprocess.DEVNULL}
        measure("import", lambda: tandem(data, "import", lines, **quiet))
        check(service, args.nodes - 1)
        measure("again", lambda: tandem(data, "import", lines, **quiet))
        with open(folder / "out.ndjson", "wb") as out:
            measure("export", lambda: tandem(data, "export", stdout=out))
        rows["rss_mib_after_import"] = round(service.mib("VmRSS"))
        service.stop()
        service = Service(data)
        for k in (0, args.nodes // 2, args.nodes - 1):
            check(service, k)
        rows["start"] = {"s": round(time.monotonic() - service.begun, 2), "cpu_s": round(service.cpu(), 2)}
        rows["rss_mib"], rows["peak_mib"] = round(service.mib("VmRSS")), round(service.mib("VmHWM"))
        print(f"start to right answers: {rows['start']['s']:.1f} s, {rows['start']['cpu_s']:.1f} CPU s")
        print(f"memory: {rows['rss_mib']} MiB, at most {rows['peak_mib']} MiB since the start")
        # Last: a start keeps what those publications changed, for transfers.
        back_up_and_restore(service, data, folder, rows)
        service.stop()
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
