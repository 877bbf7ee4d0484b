"""What the parts of one commit and one request cost by themselves, as criterion measures them."""

import json
import os
import subprocess

from ..machine import ROOT
from ..result import Line
from ..servers import Failed


def parts(bench):
    home = bench.fresh("criterion")
    command = ["cargo", "bench", "--locked", "--manifest-path", str(ROOT / "bench" / "micro" / "Cargo.toml"), "--bench", "parts", "--", "--warm-up-time", "1",
               "--measurement-time", str(max(1, bench.seconds)), "--noplot"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "CRITERION_HOME": str(home)}, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"bench/micro: {done.stderr.strip()[-2000:]}")
    for file in sorted(home.glob("**/new/estimates.json")):
        about = json.loads((file.parent / "benchmark.json").read_text())
        each = (about.get("throughput") or {}).get("Elements", 1)
        median = json.loads(file.read_text())["median"]["point_estimate"]
        yield Line(f"micro: {about['full_id']}", about["full_id"].replace("/", ": "), "µs", [median / each / 1000])
