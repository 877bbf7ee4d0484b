"""What is measured on, and what it needs: installs public tools, builds ours, tells versions."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()


class Missing(Exception):
    """Something that can't be had here; the sentence is shown where the figure would stand."""


def log(text):
    print(text, file=sys.stderr, flush=True)


def apt(*packages):
    log(f"installing {' '.join(packages)}")
    command = ["apt-get", "-qq", "-y", "--no-install-recommends", "install", *packages]
    if os.geteuid() != 0:
        command = ["sudo", "-n", "--", *command]
    update = [word if word != "install" else "update" for word in command if word not in packages and word != "--no-install-recommends"]
    for step in (update, command):
        try:
            subprocess.run(step, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        except (OSError, subprocess.CalledProcessError) as error:
            raise Missing(f"{' '.join(packages)} can't be installed: {error}") from error


def tool(name, package):
    """The path of a public tool, which is installed if it is not there."""
    if not shutil.which(name):
        apt(package)
    found = shutil.which(name)
    if not found:
        raise Missing(f"{package} brings no {name}")
    return found


def build(release):
    """The server and the bench client, built; their paths. Without optimization as tests build them, so that after tests
    nothing is left to build."""
    profile = "release" if release else "debug"
    optimized = ["cargo", "build", "--release", "--locked", "-p", "counterpart", "-p", "counterpart-bench"]
    tested = ["cargo", "test", "--no-run", "--quiet", "--locked", "--workspace", "--test", "client", "--test", "serving"]
    subprocess.run(optimized if release else tested, cwd=ROOT, check=True, stdout=sys.stderr)
    return TARGET / profile / "counterpart", TARGET / profile / "counterpart-bench"


def said(*command):
    """The first line that a command says."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    except OSError as error:
        return str(error)
    return ((done.stdout or done.stderr).splitlines() or [""])[0].strip()


def processor():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def memory_gib():
    return round(int(open("/proc/meminfo").readline().split()[1]) / (1 << 20))


def processor_time():
    """Seconds that this machine's processors worked since it started, and seconds that its host kept from it meanwhile (0 without a host)."""
    names = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
    with open("/proc/stat") as file:
        ticks = dict(zip(names, map(int, file.readline().split()[1:])))
    hertz = os.sysconf("SC_CLK_TCK")
    return sum(ticks[name] for name in ("user", "nice", "system", "irq", "softirq")) / hertz, ticks["steal"] / hertz


def stolen_since(before):
    """The share of the processor time asked for since then that the host gave to others."""
    worked, stolen = (now - then for now, then in zip(processor_time(), before))
    return stolen / (worked + stolen) if worked + stolen else 0.0


def describe(binary, directory):
    """The machine and the versions, for the page."""
    mounts = json.loads(subprocess.run(["findmnt", "-J", "-T", directory], capture_output=True, text=True).stdout or "{}")
    fs = (mounts.get("filesystems") or [{}])[0]
    return {
        "processor": f"{os.cpu_count()} × {processor()}",
        "memory": f"{memory_gib()} GiB",
        "disk": f"{fs.get('source', '?')}, {fs.get('fstype', '?')}",
        "system": f"{platform.system()} {platform.release()}",
        "counterpart": said(binary, "version"),
        "commit": said("git", "describe", "--always", "--dirty"),
        "rustc": said("rustc", "--version"),
        "wrk": said(tool("wrk", "wrk"), "--version").split(" [")[0],
    }
