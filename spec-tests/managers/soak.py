#!/usr/bin/python3
"""Creates and removes pods through containerd's CRI plugin, some at a time, and kills something in every tenth.

    soak.py CONTAINERD-CONFIG HANDLER SHIM-NAME PODS LOG-DIRECTORY

Called by cri-soak.sh, in its box. What is killed (by SIGKILL, at a random moment of the pod's life): the shim, what holds
the pod, a process of a container, or containerd itself, which is then started again. Whatever fails in a pod is what a
kubelet would see; it stops and removes the pod, until both succeed. Prints each thing that is wrong as `wrong: ...`, and
ends with 1 if there was any. The environment may set SEED, AT_ONCE (4), ODDS (10: one pod in ten is hit) and VICTIMS.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import grpc

sys.dont_write_bytecode = True
import crictl

CONFIG, HANDLER, SHIM, PODS, LOGS = sys.argv[1:6]
PODS, AT_ONCE, ODDS = int(PODS), int(os.environ.get("AT_ONCE", "4")), int(os.environ.get("ODDS", "10"))
VICTIMS = os.environ.get("VICTIMS", "shim holder container containerd").split()
SEED = int(os.environ.get("SEED", str(int(time.time()))))
IMAGE = "docker.io/library/scenario:1"
SOCKET = "/run/containerd/containerd.sock"
chance = random.Random(SEED)
lock = threading.Lock()
counts = {"shim": 0, "holder": 0, "container": 0, "containerd": 0, "nothing": 0}
failures = {}
wrong = []
# Pods that are never hit: their shims show what a long life does to them.
residents = {}


def complain(text):
    with lock:
        wrong.append(text)
    print(f"wrong: {text}", flush=True)


class Daemon:
    """containerd, started again whenever it was killed."""

    def __init__(self):
        self.changing = threading.Lock()
        self.process = None
        self.start()

    def start(self):
        log = open("/run/scenario/containerd.log", "ab")
        self.process = subprocess.Popen(["containerd", "--config", CONFIG], stdout=log, stderr=log)
        for _ in range(600):
            try:
                crictl.call("Version", "VersionResponse", seconds=5)
                return
            except grpc.RpcError:
                time.sleep(0.1)
        complain("containerd does not start")

    def hit(self):
        with self.changing:
            self.process.kill()
            self.process.wait()
            self.start()


def of_process(pid):
    """Resident memory in kB and the number of descriptors."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            size = [int(line.split()[1]) for line in file if line.startswith("VmRSS")]
        return (size or [0])[0], len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0, 0


def processes():
    """(pid, command line, name, parent) of each process here."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    words = file.read().replace(b"\0", b" ").decode(errors="replace")
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    name, rest = file.read().split("(", 1)[1].rsplit(")", 1)
                yield int(entry), words, name, int(rest.split()[1])
            except OSError:
                pass


def shim_of(pod):
    return [pid for pid, words, _, _ in processes() if f"{SHIM} -namespace k8s.io" in words and f"-id {pod}" in words]


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Pod:
    """One pod, as a kubelet sees it."""

    def __init__(self, number, prefix="soak"):
        self.name = f"{prefix}{number}"
        self.id = None
        self.pids = []
        # Which kind of pod, and what is killed when: one choice for all, so that a seed repeats it.
        with lock:
            self.kind = chance.choice(["plain", "plain", "shared", "users"] if HANDLER != "runc" else ["plain", "shared"])
            self.victim = chance.choice(VICTIMS) if number % ODDS == ODDS - 1 else None
            self.delay = chance.random()
        namespaces = {"network": 0, "pid": 0 if self.kind == "shared" else 1, "ipc": 0}
        if self.kind == "users":
            maps = [{"host_id": 1000000, "container_id": 0, "length": 65536}]
            namespaces["userns_options"] = {"mode": 0, "uids": maps, "gids": maps}
        security = {"namespace_options": namespaces}
        self.config = {
            "metadata": {"name": self.name, "uid": self.name, "namespace": "default", "attempt": 0},
            "hostname": self.name,
            "log_directory": LOGS,
            "linux": {"cgroup_parent": f"/kubepods/pod{self.name}", "security_context": security},
        }
        self.container = {
            "metadata": {"name": "one", "attempt": 0},
            "image": {"image": IMAGE},
            "command": ["sh", "-c", 'trap "exit 0" TERM; echo ready; while :; do sleep 1 & wait $!; done'],
            "log_path": f"{self.name}.log",
            "linux": {"security_context": security},
        }

    def start(self):
        config = crictl.json_format.ParseDict(self.config, crictl.CLASSES["PodSandboxConfig"]())
        request = {"config": config, "runtime_handler": HANDLER}
        self.id = crictl.call("RunPodSandbox", "PodSandboxId", "RunPodSandboxRequest", **request).pod_sandbox_id

    def add(self, name, attempt=0):
        """Creates and starts a container; returns its id."""
        self.container["metadata"] = {"name": name, "attempt": attempt}
        config = crictl.json_format.ParseDict(self.config, crictl.CLASSES["PodSandboxConfig"]())
        container = crictl.json_format.ParseDict(self.container, crictl.CLASSES["ContainerConfig"]())
        request = {"pod_sandbox_id": self.id, "config": container, "sandbox_config": config}
        made = crictl.call("CreateContainer", "ContainerId", "CreateContainerRequest", **request).container_id
        crictl.call("StartContainer", "Nothing", "ContainerId", container_id=made)
        return made

    def live(self):
        self.start()
        one = self.add("one")
        if self.kind == "shared":
            self.add("two")
        done = crictl.call("ExecSync", "ExecSyncResponse", "ExecSyncRequest", container_id=one, cmd=["hostname"])
        if done.stdout.decode().strip() != self.name:
            raise ValueError(f"exec answers {done.exit_code} {done.stdout!r} {done.stderr!r}")

    def remove(self):
        """Stops and removes it, until both succeed."""
        reason, end = None, time.time() + 300
        while time.time() < end:
            try:
                crictl.call("StopPodSandbox", "Nothing", "PodSandboxId", pod_sandbox_id=self.id)
                crictl.call("RemovePodSandbox", "Nothing", "PodSandboxId", pod_sandbox_id=self.id)
                return
            except grpc.RpcError as error:
                reason = error
                time.sleep(0.5)
        complain(f"{self.name} ({self.kind}, {self.victim} killed) cannot be removed: {reason.code().name} {reason.details()}")

    def be_hit(self, daemon):
        """Kills what is to be killed."""
        victim, hit = self.victim, []
        if victim == "containerd":
            daemon.hit()
            hit = [0]
        elif self.id:
            shims = shim_of(self.id)
            children = [(pid, name) for pid, _, name, parent in processes() if parent in shims]
            if victim == "shim":
                hit = shims
            elif victim == "holder":
                # The shim itself where no other process holds the pod; of a pause container it is the oldest child.
                holders = [pid for pid, name in children if name == "wharf-pod"]
                hit = holders or (shims if HANDLER.endswith("pauseless") else sorted(pid for pid, _ in children)[:1])
            else:
                hit = [pid for pid, name in children if name != "wharf-pod"][-1:]
            kill(hit)
        with lock:
            counts[victim if hit else "nothing"] += 1


def once(number, daemon):
    """The life of one pod."""
    pod = Pod(number)
    hitter = None
    if pod.victim:
        hitter = threading.Timer(pod.delay, pod.be_hit, [daemon])
        hitter.start()
    try:
        pod.live()
        if hitter:
            hitter.join()
    except (grpc.RpcError, ValueError) as error:
        text = f"{error.code().name}: {error.details()}" if isinstance(error, grpc.RpcError) else str(error)
        with lock:
            failures.setdefault(pod.victim or "none", []).append(f"{pod.name} ({pod.kind}): {text}")
        if hitter:
            hitter.join()
    if pod.id:
        pod.remove()


def exercise(attempt):
    """A container of each resident comes and goes."""
    for pod in residents.values():
        for _ in range(240):
            try:
                dismiss(pod)
                made = pod.add("visitor", attempt)
                crictl.call("StopContainer", "Nothing", "StopContainerRequest", container_id=made, timeout=5)
                crictl.call("RemoveContainer", "Nothing", "ContainerId", container_id=made)
                break
            except grpc.RpcError as error:
                # containerd was killed in between: the name may be taken now.
                attempt += 10000
                last = error
                time.sleep(0.5)
        else:
            complain(f"no container in the resident pod {pod.name}: {last.code().name} {last.details()}")


def dismiss(pod):
    """Removes visitors of a pod that stayed when containerd was killed."""
    for each in crictl.call("ListContainers", "ListContainersResponse").containers:
        if each.pod_sandbox_id == pod.id and each.metadata.name == "visitor":
            crictl.call("StopContainer", "Nothing", "StopContainerRequest", container_id=each.id, timeout=0)
            crictl.call("RemoveContainer", "Nothing", "ContainerId", container_id=each.id)


def pods_here():
    return [item.id for item in crictl.call("ListPodSandbox", "ListPodSandboxResponse").items]


def listed(path, depth):
    """Files and directories at a depth below a path."""
    found = [path]
    for _ in range(depth):
        found = [os.path.join(at, entry) for at in found if os.path.isdir(at) for entry in os.listdir(at)]
    return found


def where(pid):
    """What a process that should not be there is at: for the report."""
    told = []
    for file in ("wchan", "stack", "status"):
        try:
            with open(f"/proc/{pid}/{file}", encoding="utf-8") as text:
                told.extend(line.strip() for line in text if file != "status" or line.startswith(("PPid", "State", "NSpid", "Threads")))
        except OSError as error:
            told.append(f"{file}: {error.strerror}")
    files = []
    try:
        files = [f"{each}={os.readlink(f'/proc/{pid}/fd/{each}')}" for each in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        pass
    return " | ".join(["", *told, *files])


def left():
    """What is left of pods that are all removed, and whose it is."""
    mine, others = [], []
    for pid, words, name, _ in processes():
        if f"{SHIM} -namespace" in words or name == "wharf-pod" or "trap " in words:
            mine.append(f"process {pid} {name}: {words}{where(pid)}")
    for root, _, _ in os.walk("/sys/fs/cgroup"):
        if "/kubepods/pod" in root and len(root.split("/kubepods/")[1].split("/")) > 1:
            mine.append(f"cgroup {root}")
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            at = line.split(" ")[4]
            if "/run/containerd/io.containerd" in at or at.startswith("/run/containerd/runc"):
                mine.append(f"mount {at}")
            elif at.startswith(("/run/netns/", "/run/containerd/", "/var/lib/containerd/")):
                others.append(f"mount {at}")
    mine.extend(f"state {path}" for path in listed("/run/containerd/runc", 2))
    mine.extend(f"socket {path}" for path in listed("/run/containerd/s", 1))
    for base in ("/run/containerd", "/var/lib/containerd"):
        for each in listed(base, 1):
            if each.endswith((".runtime.v2.task", ".sandbox.controller.v1.shim")):
                mine.extend(f"bundle {path}" for path in listed(each, 2))
    others.extend(f"address {path}" for path in listed("/var/lib/cni/networks/pods", 1) if path.split("/")[-1][:1].isdigit())
    return mine, others


def main():
    daemon = Daemon()
    print(f"seed {SEED}", flush=True)
    begin = time.time()
    for kind in ("plain", "shared", "users"):
        pod = Pod(0, kind)
        pod.kind, pod.victim = kind, None
        pod.live()
        residents[kind] = pod
    shims = {kind: shim_of(pod.id)[0] for kind, pod in residents.items()}
    exercise(0)
    before = {kind: of_process(pid) for kind, pid in shims.items()}
    numbers = iter(range(PODS))
    samples = []

    def work():
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                once(number, daemon)
            except Exception as error:  # the others go on, and it counts
                complain(f"soak{number}: {error!r}")
            if number % 50 == 49:
                exercise(number)
                samples.append(of_process(daemon.process.pid))
                rates = f"{(number + 1) / (time.time() - begin):.1f} pods/s"
                print(f"{number + 1} pods, {rates}; containerd {samples[-1]}; shims {[of_process(pid) for pid in shims.values()]}", flush=True)

    workers = [threading.Thread(target=work) for _ in range(AT_ONCE)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    exercise(PODS)
    after = {kind: of_process(pid) for kind, pid in shims.items()}
    print(f"killed: {json.dumps(counts)}")
    print(f"{PODS} pods in {time.time() - begin:.0f} s")
    for victim, texts in failures.items():
        print(f"failed where {victim} was to be killed: {len(texts)}, for example {texts[0][:300]}")
    for kind, pid in shims.items():
        (size, files), (later, more) = before[kind], after[kind]
        print(f"shim of a resident pod ({kind}): {size} -> {later} kB, {files} -> {more} descriptors")
        if not later or later > size * 1.25 + 512 or more > files + 2:
            complain(f"the shim of the resident pod {kind} grows, or is gone")
    # As a kubelet, which removes what it does not know: pods whose creation failed in between.
    for _ in range(60):
        rest = pods_here()
        if not rest:
            break
        for pod in rest:
            stray = Pod(0, "stray")
            stray.id = pod
            stray.remove()
    for _ in range(90):
        mine, others = left()
        if not mine:
            break
        time.sleep(0.5)
    for each in mine:
        complain(f"left: {each}")
    print(f"left of containerd's own (CNI addresses, network namespaces, snapshots): {len(others)} {others[:3]}")
    half = [files for _, files in samples[: len(samples) // 2]] or [0]
    print(f"containerd: {samples[:1]} first, {samples[-1:]} last; most descriptors {max(files for _, files in samples or [(0, 0)])}")
    if samples and samples[-1][1] > max(half) + 20:
        complain(f"containerd has {samples[-1][1]} descriptors, it had at most {max(half)} in the first half")
    daemon.process.terminate()
    daemon.process.wait()
    return bool(wrong)


crictl.channel = grpc.insecure_channel(f"unix://{SOCKET}", options=[("grpc.min_reconnect_backoff_ms", 1000), ("grpc.max_reconnect_backoff_ms", 1000), ("grpc.initial_reconnect_backoff_ms", 200)])
sys.exit(main())
