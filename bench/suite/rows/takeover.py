"""Taking over: failover, promotion, and starting after a kill."""

import json
import signal
import threading
import time

from ..result import Line, at_most
from ..servers import Failed, wait

WRITERS = 4
FAILOVERS = 10


def failure(connection, body):
    """Why this write failed, if it did: a statement's code, or whatever else is no answer to it."""
    try:
        connection.request("POST", "/v2/pipeline", body, {"content-type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode()
        if response.status != 200:
            return f"status {response.status}: {text}"
        result = json.loads(text)["results"][0]
        return None if result["type"] == "ok" else result["error"].get("code") or text
    except Exception as reason:  # Whatever it is, no client would call it an answer.
        connection.close()  # The next request connects again.
        return repr(reason)


class Writers:
    """Clients that write to the principal, and go where they are sent when it is the other one."""

    def __init__(self, servers):
        self.servers, self.stop = servers, threading.Event()
        self.confirmed, self.sent_on, self.failed = [], 0, []
        self.threads = [threading.Thread(target=self.write) for _ in range(WRITERS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def write(self):
        connections, turn = [server.connect() for server in self.servers], 0
        body = json.dumps({"requests": [{"type": "execute", "stmt": {"sql": "update acc set bal=bal+1 where id=1"}}, {"type": "close"}]})
        while not self.stop.is_set():
            why = failure(connections[turn], body)
            if why is None:
                self.confirmed.append(time.monotonic())
            elif why == "READ_ONLY_MIRROR":
                self.sent_on += 1
                turn = 1 - turn
            else:
                self.failed.append(why)
        for connection in connections:
            connection.close()

    def gap_ms(self):
        """The longest time without a confirmed write."""
        times = sorted(self.confirmed)
        if len(times) < 2:
            raise Failed(f"nothing was written around a failover: {self.failed[:1]}")
        return max(later - earlier for earlier, later in zip(times, times[1:])) * 1e3


def failover(bench):
    principal, mirror = bench.pair()
    gaps, failed, sent_on = [], [], 0
    for _ in range(2 if bench.quick else FAILOVERS):
        with Writers([principal, mirror]) as writers:
            time.sleep(0.5)
            bench.cli("failover", "--server", principal.url)
            time.sleep(0.3)
        gaps.append(writers.gap_ms())
        failed.append(len(writers.failed))
        sent_on += writers.sent_on
        principal, mirror = mirror, principal
        principal.await_state()
    yield Line("failover", f"planned failover: longest time without a confirmed write, {WRITERS} clients", "ms", gaps, goal=at_most(50),
               note=f"each of {len(gaps)} failovers is a round")
    yield Line("failover-failed", "the same: requests that failed", "requests", [max(failed)], goal=at_most(0),
               note=f"the most of one failover; {sent_on} in all were answered with the new principal's address")


def promote(bench):
    spent = []
    for _ in range(bench.rounds):
        principal, mirror = bench.pair()
        principal.stop(signal.SIGKILL)
        mirror.await_state("DISCONNECTED")
        begun = time.monotonic()
        bench.cli("promote", "--yes", "--server", mirror.url)
        mirror.sql("update acc set bal=bal+1 where id=1")
        spent.append((time.monotonic() - begun) * 1e3)
        mirror.remove()
    yield Line("promote", "promote: command to first confirmed write", "ms", spent, goal=at_most(200), note="the command's own start included")


def restart(bench):
    target = (16 if bench.quick else 64) << 20
    spent = []
    for _ in range(bench.rounds):
        # No checkpoint in between, so that all of it has to be redone.
        server = bench.filled(bench.server("alone", "--checkpoint-bytes", "1GiB"))
        before = server.status()["journal"]["bytes"]
        server.sql("create table big(x blob)")
        while server.status()["journal"]["bytes"] < before + target // 2:
            server.sql("insert into big select randomblob(10000) from acc limit 100")
        while server.status()["journal"]["bytes"] < before + target:
            server.script("update acc set bal=bal+1 where id=abs(random())%100000+1;" * 1000)
        server.stop(signal.SIGKILL)
        spent.append(server.start())
        wait(lambda: server.status()["serves_reads"], "serving after a start")
        server.remove()
    yield Line("restart", f"start after `kill -9` with {target >> 20} MiB of journal to redo", "s", spent, goal=None if bench.quick else at_most(1),
               note="half of it one-row updates, half blobs")
