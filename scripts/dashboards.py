"""Asks a real Prometheus, which scrapes a real mesh, every query of every dashboard and alert.

usage: dashboards.py MEDIAMESH PROMETHEUS PHOTOS

Starts the five services as compose/ has them (with a second server of embedding), scrapes them with
compose/prometheus/prometheus.yml, imports PHOTOS, searches, kills servers and starts them again, and then
wants: data for each query of each panel, every metric that an alert names, no rule with an error, and the
alerts of a service that is down. Only names, ports and intervals are replaced by those of the test.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DASHBOARDS = ROOT / "helm/mediamesh/files/dashboards"
RULES = ROOT / "helm/mediamesh/files/rules.yaml"
COMPOSE = ROOT / "compose/prometheus"
CALLED = ["cache", "embedding", "search", "media"]
# Names that nothing here makes: of a pool and a replica of PostgreSQL, of a bucket, and of a Redis for sessions.
# Tests of cargo make them.
RARE = {
    "mediamesh_database_pool_timeouts_total",
    "mediamesh_database_replica_in_use",
    "mediamesh_storage_available",
    "mediamesh_sessions_redis_connected",
}
ADAPTER = ROOT / "helm/mediamesh/files/prometheus-adapter.yaml"


def fail(text):
    print(f"dashboards: {text}", file=sys.stderr)
    sys.exit(1)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(what, seconds, ask):
    """Asks until the answer is not None; a test that waits too long says what for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = ask()
        if answer is not None:
            return answer
        time.sleep(0.2)
    fail(f"{what}: not within {seconds} s")


# all of it is on this host, whatever proxy the environment names
urllib.request.install_opener(urllib.request.build_opener(urllib.request.ProxyHandler({})))


def http(url, key=None, body=None, kind="application/json", timeout=30):
    """Status and bytes of the answer; status 0 where nobody answers."""
    request = urllib.request.Request(url, data=body)
    if body is not None:
        request.add_header("content-type", kind)
    if key:
        request.add_header("authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError:
        return 0, b""


class Mesh:
    """Processes of one host on one data folder."""

    def __init__(self, program, folder):
        self.program, self.folder, self.running = program, folder, {}
        names = [*CALLED, "edge", "embedding-2"]
        self.ports = {name: (free_port(), free_port()) for name in names}
        self.env = {
            # of whoever asks: a setting of theirs, or of the tests, is none of this mesh
            **{name: value for name, value in os.environ.items() if not name.startswith("MEDIAMESH_")},
            "MEDIAMESH_DATA_DIR": str(folder / "data"),
            "MEDIAMESH_IDENTITY__REQUIRED": "true",
            "MEDIAMESH_TELEMETRY__LOG_FORMAT": "json",
            # the queue's depth is read as often, and the test has no ten seconds to wait
            "MEDIAMESH_MEDIA__WORKER__RESCUE_INTERVAL_SECS": "1",
        }
        for name in names:
            self.start(name)

    def start(self, name):
        service = name.split("-")[0]
        web, grpc = self.ports[name]
        line = [self.program, "serve", service, "--listen", f"127.0.0.1:{web}", "--grpc-listen", f"127.0.0.1:{grpc}"]
        # all are configured everywhere, as in compose and chart; who does not call them leaves them idle
        for called in CALLED:
            servers = [server for server in self.ports if server.split("-")[0] == called]
            line += ["--peer", called + "=" + ",".join(f"http://127.0.0.1:{self.ports[s][1]}" for s in servers)]
        log = open(self.folder / f"{name}.log", "ab")
        self.running[name] = subprocess.Popen(line, env=self.env, stdout=log, stderr=log)

    def url(self, name, path):
        return f"http://127.0.0.1:{self.ports[name][0]}{path}"

    def wait(self, name):
        wait_for(f"{name} is ready", 60, lambda: self.ready(name))

    def ready(self, name):
        if self.running[name].poll() is not None:
            fail(f"{name} has ended: {(self.folder / f'{name}.log').read_text()[:1000]}")
        return http(self.url(name, "/health/ready"))[0] == 200 or None

    def kill(self, name):
        self.running[name].kill()
        self.running[name].wait()

    def command(self, *line):
        done = subprocess.run([self.program, *line], env=self.env, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            fail(f"{' '.join(line)}: {done.stderr}")
        return done.stdout

    def stop(self):
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()


class Prometheus:
    def __init__(self, program, folder, mesh, key):
        self.port, self.folder = free_port(), folder
        (folder / "secrets").mkdir()
        (folder / "secrets/api-key").write_text(key)
        for path in (RULES, COMPOSE / "limits.yml"):
            (folder / path.name).write_text(re.sub(r"interval: \w+", "interval: 1s", path.read_text()))
        config = re.sub(r"(scrape|evaluation)_interval: \w+", r"\1_interval: 1s", (COMPOSE / "prometheus.yml").read_text())
        config = re.sub(r"dns_sd_configs:\n((?:      .*\n)+)", lambda found: self.targets(found[1], mesh), config)
        (folder / "prometheus.yml").write_text(config)
        log = open(folder / "prometheus.log", "ab")
        line = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
        line += [f"--web.listen-address=127.0.0.1:{self.port}", "--enable-feature=exemplar-storage"]
        self.process = subprocess.Popen(line, stdout=log, stderr=log)

    @staticmethod
    def targets(block, mesh):
        """Static targets in the place of names, with the label that a look-up would have made."""
        text = "static_configs:\n"
        for name in re.search(r"names: \[(.*)\]", block)[1].split(", "):
            servers = [server for server in mesh.ports if server.split("-")[0] == name]
            addresses = ", ".join(f'"127.0.0.1:{mesh.ports[s][0]}"' for s in servers)
            text += f"      - targets: [{addresses}]\n        labels: {{__meta_dns_name: {name}}}\n"
        return text

    def get(self, path, **query):
        status, body = http(f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(query)}")
        answer = json.loads(body) if body else {"status": "error", "error": "no answer"}
        if status == 0 or answer["status"] != "success":
            return None, answer.get("error")
        return answer["data"], None

    def query(self, expr):
        data, error = self.get("/api/v1/query", query=expr)
        return [] if error else data["result"]

    def values(self, expr, start):
        """Numbers that the query gave since `start`, NaN left out."""
        data, error = self.get("/api/v1/query_range", query=expr, start=start, end=time.time(), step="2")
        if error:
            fail(f"{expr}: {error}")
        return [value for series in data["result"] for _, value in series["values"] if value != "NaN"]


def load(mesh, prometheus, key, photos):
    """Everything that makes a metric."""
    edge = lambda path, body=None, kind="application/json": http(mesh.url("edge", path), key, body, kind)
    web = f"http://127.0.0.1:{mesh.ports['edge'][0]}"
    print(mesh.command("import", str(photos), "--endpoint", web, "--api-key", key).splitlines()[-1])
    items = json.loads(edge("/v1/mediaItems?pageSize=20")[1])["mediaItems"]
    ids = [item["id"] for item in items]

    def search(rounds, start=0):
        for number in range(start, start + rounds):
            for asked in ({"query": f"flower {number % 3}"}, {"examples": [{"mediaItemId": ids[number % len(ids)]}]}):
                edge("/v1/mediaItems:search", json.dumps({**asked, "limit": 5 + number % 4}).encode())
            edge("/v1/mediaItems/" + ids[number % len(ids)])
            edge("/v1/mediaItems/00000000-0000-7000-8000-000000000000")
            edge("/v1/mediaItems?pageSize=5")

    search(20)
    wait_for("jobs are done", 120, lambda: queue_is_empty(edge))
    search(10, 20)
    paged = prometheus.query('ALERTS{severity="page"}')
    if paged:
        fail(f"a healthy mesh pages: {paged}")
    # one of two servers dies under load
    mesh.kill("embedding-2")
    for round_ in range(10):
        search(2, round_)
        edge("/v1/mediaItems:search", json.dumps({"query": f"new words {round_}"}).encode())
        time.sleep(0.3)
    mesh.start("embedding-2")
    # the record freezes and dies with so many calls in flight that its breaker opens and they are not all repeated
    mesh.running["media"].send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(160) as calls:
        for _ in range(160):
            calls.submit(edge, "/v1/mediaItems?pageSize=5")
        time.sleep(2)
        mesh.kill("media")
    # and is away: 5xx; side by side, for each of them waits for a server until it gives up
    with ThreadPoolExecutor(16) as calls:
        for _ in range(32):
            calls.submit(edge, "/v1/mediaItems?pageSize=5")
    return wait_for("the alert MediameshServiceDown is pending", 20, lambda: alerts(prometheus, "MediameshServiceDown"))


def queue_is_empty(edge):
    stats = json.loads(edge("/v1/queue/stats")[1] or "{}")
    counts = [int(stats.get(name, 0)) for name in ("waiting", "active", "delayed")]
    return True if stats and not any(counts) else None


def alerts(prometheus, name):
    return prometheus.query(f'ALERTS{{alertname="{name}"}}') or None


def panels():
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield path.stem, panel["title"], target["expr"].replace("$__rate_interval", "10s")


def registered(name):
    """Whether our program makes a metric of this name at all."""
    words = name.removeprefix("mediamesh_").removesuffix("_total")
    sources = (path for folder in ("libs", "services") for path in (ROOT / folder).rglob("src/**/*.rs"))
    return any(f'"{words}"' in path.read_text() for path in sources)


def adapter():
    """What autoscalers ask by prometheus-adapter, with the labels that they ask for."""
    for expr in re.findall(r"metricsQuery: '(.*)'", ADAPTER.read_text()):
        for component in ["edge", "media", "search"] if "<<" in expr else [""]:
            yield expr.replace("<<.LabelMatchers>>", f'component="{component}"')


def check(prometheus, start):
    wrong = [f"{name}: our program makes no such metric" for name in RARE if not registered(name)]
    asked = 0
    for expr in adapter():
        asked += 1
        if not prometheus.values(expr, start):
            wrong.append(f"autoscaling: no data for {expr}")
    for board, title, expr in panels():
        asked += 1
        if not prometheus.values(expr, start):
            wrong.append(f"{board}, {title}: no data for {expr}")
    names = set(prometheus.get("/api/v1/label/__name__/values")[0])
    rules = [rule for group in prometheus.get("/api/v1/rules")[0]["groups"] for rule in group["rules"]]
    for rule in rules:
        if rule["health"] != "ok":
            wrong.append(f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}")
        wanted = set(re.findall(r"\b(?:mediamesh[_:]\w[\w:]*|process_\w+|tokio_\w+)", rule["query"]))
        for name in wanted - names - RARE:
            wrong.append(f"{rule['name']}: the mesh has no metric {name}")
        if rule["type"] == "recording" and rule["name"] not in names:
            wrong.append(f"{rule['name']}: recorded nothing")
    print(f"{asked} queries of panels and autoscalers and {len(rules)} rules asked: {len(wrong)} faults")
    return wrong


def main():
    program, prometheus_program, photos = sys.argv[1:4]
    folder = Path(tempfile.mkdtemp(prefix="mediamesh-dashboards-"))
    started = []
    try:
        mesh = Mesh(program, folder)
        started.append(mesh.stop)
        for name in mesh.running:
            mesh.wait(name)
        made = mesh.command("keys", "create", "prometheus", "--scope", "admin", "--offline", "--json")
        key = json.loads(made)["secret"]
        start = time.time()
        prometheus = Prometheus(prometheus_program, folder, mesh, key)
        started.append(prometheus.process.terminate)
        servers = len(mesh.running)
        up = lambda: prometheus.query(f'count(up{{job="mediamesh"}} == 1) == {servers}') or None
        wait_for(f"Prometheus scrapes {servers} processes", 30, up)
        load(mesh, prometheus, key, photos)
        # two evaluations after the last call
        time.sleep(5)
        wrong = check(prometheus, start)
        mesh.start("media")
        mesh.wait("media")
        wait_for("Prometheus scrapes media again", 20, up)
    finally:
        for stop in reversed(started):
            stop()
        if not os.environ.get("KEEP"):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(folder)
    for line in wrong:
        print(f"  {line}", file=sys.stderr)
    if wrong:
        sys.exit(1)


main()
