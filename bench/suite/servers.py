"""Servers of ours on loopback, and the bench client. Everything that is started here ends with the script: each process
is in `Bench.started`, and asks the kernel to be ended with its parent, should that be killed."""

import contextlib
import ctypes
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from .machine import ROOT, tool

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
TABLE = "create table acc(id integer primary key, bal int, filler text)"
ROWS = 100_000


def fill(rows=ROWS, table="acc"):
    return f"with recursive n(i) as (select 1 union all select i+1 from n where i<{rows}) insert into {table} select i,0,hex(randomblob(42)) from n"


def end_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Failed(Exception):
    """A measurement that could not be taken."""


def wait(condition, what, seconds=120, process=None):
    """Waits for a state, with a deadline; the seconds it took."""
    begun = time.monotonic()
    while not condition():
        if process and process.poll() is not None:
            raise Failed(f"{what}: the process ended with {process.returncode}")
        if time.monotonic() - begun > seconds:
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(0.002)
    return time.monotonic() - begun


def wrk_saw(done):
    """Rate per second and median latency in ms; a request that failed in any way fails the measurement."""
    text = done.stdout
    if done.returncode or "failed:" in done.stderr or "Non-2xx" in text or "Socket errors" in text:
        raise Failed(f"wrk: {done.stderr.strip()} {text.strip()}")
    number, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", text).groups()
    milliseconds = float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]), milliseconds


class Bench:
    """One run: where it is, with which programs, for how long."""

    def __init__(self, binary, client, seconds, rounds, quick=False):
        self.binary, self.client = str(binary), str(client)
        self.seconds, self.rounds, self.quick = seconds, rounds, quick
        self.directory = Path(tempfile.mkdtemp(prefix="counterpart-bench-"))
        self.directory.chmod(0o755)  # PostgreSQL runs as somebody else.
        self.started, self.at_end, self.names = [], [], 0
        self.versions, self.failed = {}, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end_all()
        shutil.rmtree(self.directory)

    def end_all(self):
        """Ends what was started, and removes its files: no row finds another one's servers beside it."""
        for end in reversed(self.at_end):
            end()
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
        self.started, self.at_end = [], []
        for path in self.directory.iterdir():
            self.forget(path)

    def spawn(self, *command, **options):
        process = subprocess.Popen([str(word) for word in command], preexec_fn=end_with_parent, **options)
        self.started.append(process)
        return process

    def turns(self, sides, warm_up=True, rounds=None):
        """Takes each side's figure by turns, A B A B …; the figures by side. What is warm only later would count against
        whoever comes first, so a round goes before."""
        for side in sides.values() if warm_up and not self.quick else ():
            side()
        seen = {name: [] for name in sides}
        for _ in range(rounds or self.rounds):
            for name, side in sides.items():
                seen[name].append(side())
        return seen

    def half_rate(self, principal):
        """Half of the commits per second that 32 clients get."""
        return self.measure("load", url=principal.url, work="update", clients=32, seconds=self.seconds)["rate"] / 2

    @contextlib.contextmanager
    def writing(self, principal, rate):
        """Commits at that rate, as long as the block runs."""
        load = self.begin("load", url=principal.url, work="update", clients=32, rate=rate, until_told=True)
        try:
            yield
            if load.poll() is not None:
                raise Failed(f"the load beside a measurement ended with {load.returncode}")
            # Its input ends, and with it the load. What it saw fail fails the measurement beside it.
            self.finish(load)
        finally:
            load.kill()
            load.wait()

    def forget(self, path):
        """Removes a file or a directory that is no longer needed."""
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    def fresh(self, name):
        """A path that nobody had before."""
        self.names += 1
        return self.directory / f"{name}{self.names}"

    def cli(self, *arguments):
        done = subprocess.run([self.binary, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"counterpart {' '.join(map(str, arguments))}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def measure(self, what, **options):
        """One call of the bench client, and what it saw; requests that failed fail the measurement."""
        return self.finish(self.begin(what, **options))

    def begin(self, what, **options):
        words = [self.client, what]
        for name, value in options.items():
            if value is not None and value is not False:
                words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
        return self.spawn(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def finish(self, process):
        out, _ = process.communicate()
        if process.returncode:
            raise Failed(f"{' '.join(process.args[1:])} ended with {process.returncode}")
        seen = json.loads(out.splitlines()[-1])
        if seen.get("failed"):
            raise Failed(f"{' '.join(process.args[1:])}: {seen['failed']} requests failed, the first with: {seen['failure']}")
        return seen

    def wrk_command(self, url, work, clients, seconds):
        script = ROOT / "bench" / "suite" / "requests.lua"
        return list(map(str, [tool("wrk", "wrk"), "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "--latency", "-s", script, url, "--", work]))

    def wrk(self, url, work, clients):
        """Rate per second and median latency in ms, of one wrk thread."""
        command = self.wrk_command(url, work, clients, self.seconds)
        return wrk_saw(subprocess.run(command, capture_output=True, text=True))

    def server(self, name, *options):
        return Server(self, self.fresh(name), options)

    def pair(self, *options, rows=ROWS):
        """A synchronized pair with the table; principal and mirror."""
        principal = self.filled(self.server("principal", *options), rows)
        mirror = self.server("mirror", *options)
        principal.mirror_to(mirror)
        return principal, mirror

    def filled(self, server, rows=ROWS):
        server.sql(TABLE)
        server.sql(fill(rows))
        return server


class Server:
    """One `counterpart serve`."""

    def __init__(self, bench, path, options=()):
        self.bench, self.path, self.options = bench, path, options
        self.ports = ("127.0.0.1:0", "127.0.0.1:0")
        self.start()

    @property
    def data(self):
        return f"{self.path}.data"

    def start(self):
        """Starts it; the seconds until it served."""
        ready = Path(f"{self.path}.ready")
        ready.unlink(missing_ok=True)
        begun = time.monotonic()
        self.process = self.bench.spawn(
            self.bench.binary, "serve", "--data", self.data, "--listen", self.ports[0], "--partner-listen", self.ports[1],
            "--ready-file", ready, "--log-level", "error", "--statement-timeout", "10m", *self.options)
        wait(ready.exists, "the server's start", process=self.process)
        spent = time.monotonic() - begun
        told = json.loads(ready.read_text())
        self.ports = (told["listen"], told["partner_listen"])
        self.url = told["client_url"]
        return spent

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait()

    def remove(self):
        """Ends it for good, with its data."""
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.data)

    def connect(self):
        return http.client.HTTPConnection(self.ports[0], timeout=600)

    def ask(self, request, connection=None, database=None):
        connection = connection or self.connect()
        path = f"/db/{database}/v2/pipeline" if database else "/v2/pipeline"
        connection.request("POST", path, json.dumps({"requests": [request, {"type": "close"}]}), {"content-type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        result = answer["results"][0] if "results" in answer else {"type": "error", "error": answer}
        if result["type"] != "ok":
            raise Failed(f"the server refused: {result['error']}")
        return result["response"].get("result")

    def sql(self, sql, connection=None, database=None):
        return self.ask({"type": "execute", "stmt": {"sql": sql}}, connection, database)

    def script(self, sql, connection=None):
        self.ask({"type": "sequence", "sql": sql}, connection)

    def value(self, sql):
        return int(self.sql(sql)["rows"][0][0]["value"])

    def size(self):
        return self.value("select page_count*page_size from pragma_page_count, pragma_page_size")

    def status(self):
        connection = self.connect()
        connection.request("GET", "/api/v1/status")
        return json.loads(connection.getresponse().read())

    def states(self):
        return [partner["state"] for partner in self.status()["mirroring"]["partners"]]

    def await_state(self, state="SYNCHRONIZED", seconds=300):
        return wait(lambda: self.states() == [state], state, seconds)

    def await_applied(self, principal):
        """Until this mirror shows all that `principal` has."""
        def shows():
            status = self.status()
            return status["serves_reads"] and status["applied"] >= principal.status()["journal"]["commit"]
        return wait(shows, "applying", 300)

    def mirror_to(self, mirror, wait_for=True):
        self.bench.cli("mirror", "start", "--principal", self.url, "--mirror", mirror.url, "--yes", *([] if wait_for else ["--no-wait"]))
        if wait_for:
            self.await_state()

    def memory_mib(self, which="VmRSS"):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith(which + ":"):
                return int(line.split()[1]) / 1024
        raise Failed(f"no {which} of the server")

    def forget_peak(self):
        """Makes VmHWM the peak from now on."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def cpu_seconds(self):
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def sent_bytes(self):
        """Bytes that this server has sent to partners over the connections that are open now."""
        port = self.ports[1].rsplit(":", 1)[1]
        out = subprocess.run([tool("ss", "iproute2"), "-tinHO", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
        return sum(int(n) for n in re.findall(r"bytes_sent:(\d+)", out))

