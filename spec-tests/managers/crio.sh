#!/bin/bash
# CRI-O with the command line: [RUNTIME=/abs/path] crio.sh
#
# Debian has no CRI-O; crio and pinns are taken from PATH. It is configured by shim/install/crio.conf, exactly as on a
# node, and for what this box lacks: systemd. The client is that of cri.sh.
NEEDS='crio pinns conmon podman'
. "$(dirname "$0")/pods.sh"
for program in crio pinns; do
    found=$(command -v $program) && BOX_OPTIONS+=" --ro $found:/opt/crio/$program"
done
. "$(dirname "$0")/scenario.sh"

prepare_pods /run/crio/crio.sock
PATH=/opt/crio:$PATH
mkdir -p /etc/crio/crio.conf.d /etc/containers
cp "$RUNTIME" /usr/local/bin/wharf
cp /opt/install/crio.conf /etc/crio/crio.conf.d/10-wharf.conf
cat >/etc/crio/crio.conf.d/20-box.conf <<'END'
[crio.runtime]
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
pinns_path = "/opt/crio/pinns"

[crio.image]
pause_image = "docker.io/library/scenario:1"

[crio.network]
plugin_dirs = ["/usr/lib/cni"]
END
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >/etc/containers/policy.json
ends 'import an image' 0 '' podman --storage-driver overlay load -i "$IMAGE_TAR"
crio >"$work/crio.log" 2>&1 &
wait_for 30 crictl version || { log_tail "$work/crio.log"; fail 'CRI-O starts'; finish; }
printf '# %s, client %s\n' "$(crio --version 2>/dev/null | head -n1)" "$(basename "$CRICTL")"

# The containers do not share pids: for that CRI-O runs one more process, with a score that this machine may not set.
cat >"$work/pod.json" <<END
{"metadata": {"name": "pod", "uid": "u1", "namespace": "default"}, "hostname": "pod", "log_directory": "$work/logs",
 "linux": {"cgroup_parent": "/kubepods/pod1", "security_context": {"namespace_options": {"pid": 1}}}}
END
for each in one two; do
    cat >"$work/$each.json" <<END
{"metadata": {"name": "$each"}, "image": {"image": "docker.io/library/scenario:1"}, "command": ["sh", "-c"],
 "args": ["echo out of $each; trap 'exit 3' TERM; while :; do sleep 0.1; done"], "log_path": "$each.log",
 "linux": {"resources": {"memory_limit_in_bytes": 67108864}, "security_context": {"namespace_options": {"pid": 1}}}}
END
done
run crictl runp --runtime wharf "$work/pod.json"
pod=$(tail -n1 <<<"$OUT")
like 'run a pod' "$CODE $pod" '^0 [0-9a-f]{64}$'
[ "$CODE" = 0 ] || { log_tail "$work/crio.log" 20; finish; }
for each in one two; do
    run crictl create "$pod" "$work/$each.json" "$work/pod.json"
    declare "$each=$(tail -n1 <<<"$OUT")"
    ends "start container $each" 0 '' crictl start "${!each}"
    wait_for 10 has_state "${!each}" RUNNING
done
is 'both are containers of wharf' "$(wharf --root /run/wharf list -q | sort)" "$(printf '%s\n' "$one" "$two" | sort)"
ends 'exec' 0 'hello' crictl exec -s "$one" echo hello
ends 'exec of a missing program' '[1-9][0-9]*' 'executable file not found' crictl exec -s "$one" nope
ends 'logs' 0 'out of one' crictl logs "$one"
wait_for 30 both_used
is 'stats of both' "$(both_used)" true
ends 'update of the memory limit' 0 '' crictl update --memory 33554432 "$one"
is 'the limit is set' "$(cat /sys/fs/cgroup/{memory/,}kubepods/pod1/crio-"$one"/memory.{limit_in_bytes,max} 2>/dev/null)" 33554432
ends 'stop' 0 '' crictl stop --timeout 10 "$one"
wait_for 10 has_state "$one" EXITED
is 'it ended by the signal that it was given' "$(crictl inspect "$one" | jq -r .status.exitCode)" 3
ends 'stop the pod' 0 '' crictl stopp "$pod"
ends 'remove the pod' 0 '' crictl rmp "$pod"
is 'nothing is left: no container' "$(wharf --root /run/wharf list -q)" ''
is 'nothing is left: no cgroup' "$(find /sys/fs/cgroup -mindepth 3 -type d -path '*/kubepods/pod1/crio-*' | wc -l)" 0

[ "$failed" = 0 ] || log_tail "$work/crio.log" "${LOG_LINES:-20}"
finish
