#!/bin/bash
# Pods as a kubelet makes them, through containerd's CRI plugin: [SHIM=/abs/path] [PROGRAMS=/abs/dir] [PAUSELESS=1] [STREAMING=1] cri.sh
#
# With SHIM, shim/install/install.sh configures containerd with the files beside it, exactly as on a node; otherwise
# containerd's own shim serves the pods. With PAUSELESS, which needs containerd 2.x, pods have no container that holds
# them, and there is no image for one. With STREAMING as well, streams go over the shim's socket instead of FIFOs.
NEEDS='containerd ctr'
. "$(dirname "$0")/pods.sh"
. "$(dirname "$0")/scenario.sh"

. "$here/node.sh"

"$here/image.sh" "$work/pause.tar" docker.io/library/pause:1 sleep infinity
prepare_pods /run/containerd/containerd.sock

# --- the node: containerd as a distribution leaves it, a network, and the runtime from the installer
ln -sf "$RUNTIME" "$work/bin/runc"
configure_containerd
if [ -n "${SHIM:-}" ]; then
    prepare_installer
    cp $config "$work/before.toml"
    ends 'the installer adds the runtime' 0 'containerd has the runtime wharf' "$work/install/install.sh"
    is 'the installer restarts containerd' "$(cat "$work/systemctl.log")" 'restart containerd'
    is 'the rest of the configuration is as it was' "$(diff "$work/before.toml" $config | grep -c '^<')" 0
    ends 'the installer finds it there the second time' 0 'has the runtime already' "$work/install/install.sh"
    is 'and leaves everything alone' "$(wc -l <"$work/systemctl.log")" 1
    # Like the DaemonSet: the root of the node is mounted somewhere, and its process 1 is visible.
    mkdir -p "$work/node/usr/local/bin" "$work/node/etc/containerd"
    cp "$work/before.toml" "$work/node$config"
    ends 'the installer, as the DaemonSet calls it' 0 'containerd has the runtime wharf' "$work/install/install.sh" "$work/node"
    is 'it writes what the node has' "$(diff $config "$work/node$config")" ''
    is 'it restarts containerd on the node' "$(wc -l <"$work/systemctl.log")" 2
    if [ -n "${STREAMING:-}" ]; then
        sed -i "s/^\( *\)sandboxer = .shim.$/&\n\1io_type = 'streaming'/" $config
        is 'streams go over the socket of the shim' "$(grep -c 'io_type' $config)" 1
    fi
    ends 'the programs are there' 0 'wharf' "$work/node/usr/local/bin/containerd-shim-wharf-v2" -v
fi

start_containerd
printf '# %s, client %s\n' "$(containerd --version)" "$(basename "$CRICTL")"
import_images

# --- one pod with two containers
cat >"$work/pod.json" <<END
{"metadata": {"name": "pod", "uid": "u1", "namespace": "default", "attempt": 0}, "hostname": "pod",
 "log_directory": "$work/logs", "linux": {"cgroup_parent": "/kubepods/pod1", "security_context": {"namespace_options": {"pid": 1}}, "sysctls": {"net.ipv4.ip_unprivileged_port_start": "79"}}}
END
container() {
    cat >"$work/$1.json" <<END
{"metadata": {"name": "$1", "attempt": 0}, "image": {"image": "$image"}, "command": ["sh", "-c"], "args": ["$2"],
 "envs": [{"key": "WHO", "value": "$1"}], "log_path": "$1.log", "mounts": [{"container_path": "/shared", "host_path": "$work/shared"}],
 "linux": {"security_context": {"namespace_options": {"pid": 1}}, "resources": {"memory_limit_in_bytes": 67108864, "cpu_shares": 512}}}
END
}
mkdir -p "$work/shared"
container one 'echo out of $WHO; echo err of $WHO >&2; echo hello >/shared/file; httpd -p 80 -h /shared; trap \"exit 3\" TERM; while :; do sleep 0.1; done'
container two 'echo out of $WHO; until [ -e /shared/go ]; do sleep 0.1; done; exit 4'
run crictl runp ${handler:+--runtime "$handler"} "$work/pod.json"
pod=$(tail -n1 <<<"$OUT")
like 'run a pod' "$CODE $pod" '^0 [0-9a-f]{64}$'
[ "$CODE" = 0 ] || { log_tail "$work/containerd.log" 20; finish; }
ends 'the pod is ready' 0 SANDBOX_READY crictl inspectp -o json "$pod"
is 'it has an address' "$(crictl inspectp -o json "$pod" | jq -r .status.network.ip | cut -d. -f1-3)" 198.51.100
for each in one two; do
    run crictl create "$pod" "$work/$each.json" "$work/pod.json"
    declare "$each=$(tail -n1 <<<"$OUT")"
    like "create container $each" "$CODE ${!each}" '^0 [0-9a-f]{64}$'
    is 'it is created' "$(state "${!each}")" CONTAINER_CREATED
    ends "start container $each" 0 '' crictl start "${!each}"
    wait_for 10 has_state "${!each}" RUNNING
    is 'it runs' "$(state "${!each}")" CONTAINER_RUNNING
done
is 'one shim for the pod and both containers' "$(shims)" 1
[ -z "${PAUSELESS:-}" ] || is 'its only children are the two containers' "$(pgrep -cP "$(pgrep -f "$name -namespace k8s.io")")" 2
[ -z "$handler" ] || is "and none of containerd's own" "$(pgrep -fc 'containerd-shim-runc-v2 -namespace')" 0

# --- what a kubelet asks and does
ends 'exec' 0 '^two$' crictl exec -s "$two" sh -c 'echo $WHO'
ends 'exec: the exit code' '1|7' '' crictl exec -s "$one" sh -c 'exit 7'
ends 'exec of a missing program' '[1-9][0-9]*' 'executable file not found|no such file' crictl exec -s "$one" nope
ends 'both share the network: a server in one is reached from the other' 0 '^hello$' crictl exec -s "$two" wget -q -O - http://127.0.0.1/file
ends 'the host name is that of the pod' 0 '^pod$' crictl exec -s "$one" hostname
ends 'the sysctl of the pod' 0 '^79$' crictl exec -s "$two" cat /proc/sys/net/ipv4/ip_unprivileged_port_start
ends 'logs: both streams' 0 'out of one' crictl logs "$one"
like 'logs: both streams' "$OUT" 'err of one'
wait_for 30 both_used
is 'stats: memory and CPU of both' "$(both_used)" true
ends 'update of the memory limit' 0 '' crictl update --memory 33554432 "$one"
limit=$(cat /sys/fs/cgroup/memory/kubepods/pod1/"$one"/memory.limit_in_bytes /sys/fs/cgroup/kubepods/pod1/"$one"/memory.max 2>/dev/null)
is 'the limit is set' "$limit" 33554432
bash -c 'for i in $(seq 20); do crictl exec -s "$1" echo "yes$i" & done; wait' - "$one" >"$work/output" 2>&1
is 'twenty execs at once' "$(grep -c '^yes' "$work/output")" 20

# --- containerd stops and starts again
stop_containerd
start_containerd
is 'after a restart of containerd both run' "$(state "$one") $(state "$two")" 'CONTAINER_RUNNING CONTAINER_RUNNING'
is 'in the same shim' "$(shims)" 1
ends 'exec after the restart' 0 '^again$' crictl exec -s "$one" echo again

# --- one container ends and is restarted, as by a kubelet
touch "$work/shared/go"
wait_for 10 has_state "$two" EXITED
is 'a container ends by itself' "$(state "$two") $(crictl inspect "$two" | jq -r .status.exitCode)" 'CONTAINER_EXITED 4'
ends 'the other does not' 0 '^here$' crictl exec -s "$one" echo here
ends 'remove it' 0 '' crictl rm "$two"
rm "$work/shared/go"
sed 's/"attempt": 0/"attempt": 1/' "$work/two.json" >"$work/again.json"
run crictl create "$pod" "$work/again.json" "$work/pod.json"
again=$(tail -n1 <<<"$OUT")
ends 'start it once more in the same pod' 0 '' crictl start "$again"
is 'still one shim' "$(shims)" 1
ends 'stop' 0 '' crictl stop --timeout 10 "$one"
is 'it ended by the signal that it was given' "$(crictl inspect "$one" | jq -r .status.exitCode)" 3

# --- streams: much, both ways, with a terminal, of containers that end at once
run bash -c 'printf "one\ntwo\n" | crictl exec -i "$1" head -n 1' - "$again"
is 'exec with input' "$CODE $OUT" '0 one'
head -c 4000000 /dev/urandom >"$work/random"
run bash -c 'crictl exec -i "$1" sh -c "head -c 4000000 | md5sum" <"$2"' - "$again" "$work/random"
is 'four megabytes of input arrive' "$CODE ${OUT%% *}" "0 $(md5sum <"$work/random" | cut -d' ' -f1)"
run bash -c 'crictl exec -i "$1" sh -c "exit 6" <"$2" 2>/dev/null; echo "code $?"' - "$again" "$work/random"
like 'a process that does not read them ends all the same' "$OUT" 'code [16]'
run bash -c 'crictl exec "$1" sh -c "head -c 9000000 /dev/zero; echo err >&2; exit 6" 2>"$2" | wc -c; cat "$2"; exit ${PIPESTATUS[0]}' - "$again" "$work/err"
like 'nine megabytes of output arrive, and errors apart' "$OUT" "^9000000.err"
run bash -c 'printf "typed\n" | crictl exec -i -t "$1" sh -c "tty; read line; echo read \$line" 2>&1' - "$again"
like 'exec with a terminal' "$OUT" '/dev/pts/.*read typed'
container talk 'while read line; do echo got $line; [ $line = end ] && exit 5; done'
container tick 'i=0; while :; do i=$((i + 1)); echo tick $i; sleep 0.1; done'
container much 'i=0; while [ $i -lt 60000 ]; do i=$((i + 1)); echo line $i of many that go to the log of this container; done'
jq '. + {stdin: true}' "$work/talk.json" >"$work/talks.json"
run crictl create "$pod" "$work/talks.json" "$work/pod.json"
talk=$(tail -n1 <<<"$OUT")
ends 'a container with input' 0 '' crictl start "$talk"
run bash -c 'printf "hello\nend\n" | crictl attach -i "$1"' - "$talk"
like 'attach: it answers' "$OUT" 'got hello.*got end'
wait_for 10 has_state "$talk" EXITED
is 'attach: it has read everything' "$(crictl inspect "$talk" | jq -r .status.exitCode)" 5
ends 'and the log has it, too' 0 'got end' crictl logs "$talk"
run crictl create "$pod" "$work/much.json" "$work/pod.json"
much=$(tail -n1 <<<"$OUT")
ends 'a container that writes much' 0 '' crictl start "$much"
wait_for 60 has_state "$much" EXITED
is 'its log has every line' "$(grep -c ' stdout F line [0-9]* of many' "$work/logs/much.log") $(tail -n1 "$work/logs/much.log" | cut -d' ' -f5)" '60000 60000'
lost=0
for i in $(seq 10); do
    container "short$i" "echo last words of $i"
    run crictl create "$pod" "$work/short$i.json" "$work/pod.json"
    short=$(tail -n1 <<<"$OUT")
    crictl start "$short" >/dev/null
    wait_for 10 has_state "$short" EXITED
    grep -q "last words of $i" "$work/logs/short$i.log" || lost=$((lost + 1))
done
is 'the last words of short containers are in their logs' "$lost lost" '0 lost'
run crictl create "$pod" "$work/tick.json" "$work/pod.json"
tick=$(tail -n1 <<<"$OUT")
ends 'a container that goes on writing' 0 '' crictl start "$tick"
ticks() { grep -c ' stdout F tick' "$work/logs/tick.log"; }
ticked() { [ "$(ticks)" -gt "$1" ]; }
wait_for 10 ticked 3
stop_containerd
start_containerd
wait_for 10 ticked "$(($(ticks) + 10))"
is 'its log goes on after a restart of containerd' "$? $(state "$tick")" '0 CONTAINER_RUNNING'
ends 'so do execs' 0 '^through$' crictl exec -s "$tick" echo through
ends 'stop it' 0 '' crictl stop --timeout 0 "$tick"

# --- two pods: one of them in the host's network and pid namespaces
cat >"$work/host.json" <<END
{"metadata": {"name": "host", "uid": "u2", "namespace": "default", "attempt": 0}, "log_directory": "$work/logs",
 "linux": {"cgroup_parent": "/kubepods/pod2", "security_context": {"namespace_options": {"network": 2, "pid": 0}}}}
END
sed 's/"pid": 1/"network": 2, "pid": 0/' "$work/two.json" >"$work/shared.json"
# Before 2.3, containerd itself ends with a panic when such a pod has no pause container: it takes the missing configuration for one.
network=host
if [ -n "${PAUSELESS:-}" ] && older_than 2 3; then
    network=pod
    sed -i 's/"network": 2, //' "$work/host.json" "$work/shared.json"
fi
run crictl runp ${handler:+--runtime "$handler"} "$work/host.json"
other=$(tail -n1 <<<"$OUT")
like "a second pod, on the network of the $network" "$CODE $other" '^0 [0-9a-f]{64}$'
is 'each pod has its shim' "$(shims)" 2
run crictl create "$other" "$work/shared.json" "$work/host.json"
third=$(tail -n1 <<<"$OUT")
ends 'a container in it' 0 '' crictl start "$third"
[ $network = pod ] || ends 'it sees the interfaces of the host' 0 'box0' crictl exec -s "$third" ip link
ends 'and the processes of its pod' 0 'sleep' crictl exec -s "$third" ps

# --- everything is removed while a container still runs
for one in "$pod" "$other"; do
    ends 'stop a pod with a running container' 0 '' crictl stopp "$one"
    ends 'remove the pod' 0 '' crictl rmp "$one"
done
wait_for 20 no_shims
is 'nothing is left: no shim' "$(shims)" 0
is 'nothing is left: no container, no pod' "$(crictl ps -a -o json | jq '.containers // [] | length') $(crictl pods -o json | jq '.items // [] | length')" '0 0'
is 'nothing is left: no cgroup' "$(find /sys/fs/cgroup -mindepth 3 -type d -path '*/kubepods/pod*' | grep -c /pod./)" 0
is 'nothing is left: no state of the runtime' "$(find /run/containerd/runc -mindepth 2 2>/dev/null | wc -l)" 0
is 'nothing is left: no mount' "$(grep -c /run/containerd/io.containerd.runtime.v2.task /proc/self/mountinfo)" 0

[ "$failed" = 0 ] || log_tail "$work/containerd.log" "${LOG_LINES:-20}"
finish
