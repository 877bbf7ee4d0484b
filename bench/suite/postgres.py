"""PostgreSQL as it is packaged, and a second one that it streams to synchronously; both on a Unix socket."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from .machine import Missing, apt, said
from .servers import ROWS, Failed, wait

PORT = 5491


def programs():
    """The directory of the newest PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


class Postgres:
    def __init__(self, bench):
        if not programs() or not shutil.which("pgbench"):
            apt("postgresql", "postgresql-contrib")
        self.programs = programs()
        if not self.programs:
            raise Missing("PostgreSQL is not packaged for this system")
        self.home = bench.fresh("postgres")
        self.home.mkdir()
        shutil.chown(self.home, "postgres")
        self.bench, self.servers = bench, []
        bench.at_end.append(self.stop)
        self.version = said(str(self.programs / "postgres"), "--version")
        try:
            self.start()
        except (subprocess.CalledProcessError, Failed) as error:
            logs = "".join(path.read_text()[-1000:] for path in self.home.glob("*.log"))
            raise Failed(f"it did not start: {error} {getattr(error, 'stderr', '')} {logs}") from error

    def whom(self):
        """PostgreSQL refuses to run as root; its servers end when this script does, however that is."""
        drop = ["--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        return ["setpriv", *drop, "--pdeathsig=QUIT"]

    def run(self, *command, env=None, check=True):
        return subprocess.run([*self.whom(), *map(str, command)], check=check, capture_output=True, text=True, env={**os.environ, **(env or {})}, cwd=self.home)

    def serve(self, which, port):
        with open(self.home / f"{which}.log", "w") as told:
            process = subprocess.Popen([*self.whom(), str(self.programs / "postgres"), "-D", str(self.home / which)], stdin=subprocess.DEVNULL, stdout=told, stderr=told, cwd=self.home)
        self.servers.append(process)
        ready = [self.programs / "pg_isready", "-q", "-h", self.home, "-p", port]
        wait(lambda: self.run(*ready, check=False).returncode == 0, f"PostgreSQL's {which} server", 60, process)

    def configure(self, which, port, names):
        with open(self.home / which / "postgresql.conf", "a") as file:
            file.write(f"listen_addresses=''\nunix_socket_directories='{self.home}'\nport={port}\n"
                       f"synchronous_standby_names='{names}'\nshared_buffers=256MB\nmax_wal_size=4GB\n")

    def start(self):
        self.run(self.programs / "initdb", "-D", self.home / "first", "-A", "trust")
        self.configure("first", PORT, "*")
        with open(self.home / "first" / "pg_hba.conf", "a") as file:
            file.write("local replication all trust\n")
        self.serve("first", PORT)
        self.sql("set synchronous_commit=local", "create table acc(id int primary key, bal int, filler text)",
                 f"insert into acc select i,0,repeat('x',84) from generate_series(1,{ROWS}) i", "vacuum analyze acc")
        self.run(self.programs / "pg_basebackup", "-h", self.home, "-p", PORT, "-U", "postgres", "-D", self.home / "second", "-R", "-X", "stream", "-c", "fast")
        self.configure("second", PORT + 1, "")
        self.serve("second", PORT + 1)
        self.await_synchronous()
        (self.home / "update.sql").write_text(f"\\set id random(1, {ROWS})\nupdate acc set bal=bal+1 where id=:id;\n")

    def await_synchronous(self):
        """A peer that silently confirmed alone would be no peer."""
        wait(lambda: "sync" in self.sql("select sync_state from pg_stat_replication").split(), "PostgreSQL's second server", 60)

    def sql(self, *statements):
        arguments = [word for statement in statements for word in ("-c", statement)]
        return self.run(self.programs / "psql", "-Atq", "-h", self.home, "-p", PORT, "-U", "postgres", "postgres", *arguments).stdout

    def commits(self, clients, rule="on"):
        """Rate per second, and the median latency in ms (of one client; the mean of more)."""
        for old in self.home.glob("log.*"):
            old.unlink()
        log_each = ["-l", f"--log-prefix={self.home}/log"] if clients == 1 else []
        done = self.run(self.programs / "pgbench" if (self.programs / "pgbench").exists() else "pgbench", "-h", self.home, "-p", PORT, "-U", "postgres", "-n", "-M", "prepared",
                        "-f", self.home / "update.sql", "-c", clients, "-j", 1, "-T", max(1, round(self.bench.seconds)), *log_each, "postgres",
                        env={"PGOPTIONS": f"-c synchronous_commit={rule}"}, check=False)
        if done.returncode:
            raise Failed(f"pgbench: {done.stderr.strip()}")
        rate = float(re.search(r"^tps = ([\d.]+)", done.stdout, re.M)[1])
        latency = float(re.search(r"^latency average = ([\d.]+)", done.stdout, re.M)[1])
        if log_each:
            times = sorted(int(line.split()[2]) for path in self.home.glob("log.*") for line in open(path))
            latency = times[len(times) // 2] / 1000
        return rate, latency

    def stop(self):
        for process in reversed(self.servers):
            process.send_signal(signal.SIGQUIT)
            process.wait()
