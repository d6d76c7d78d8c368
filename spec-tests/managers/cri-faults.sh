#!/bin/bash
# Pods whose daemon, shim, holder or process is killed: [SHIM=/abs/path] [PROGRAMS=/abs/dir] [PAUSELESS=1] cri-faults.sh
#
# Each time a kubelet must be told, and what it does then (it stops and removes the pod and makes another one) must leave
# nothing. See cri.sh for the variables.
NEEDS='containerd ctr'
BOX_TIMEOUT=600
. "$(dirname "$0")/pods.sh"
. "$(dirname "$0")/scenario.sh"
. "$here/node.sh"
make_node
wait_loop='trap "exit 0" TERM; while :; do sleep 0.1; done'
shared='.linux.security_context.namespace_options.pid = 0'
pid_of() { crictl inspect "$1" | jq -r .info.pid; }
# The process that holds a pod: that of the pause container, the shim's child for it, or the shim itself.
holder_of() {
    if [ -z "${PAUSELESS:-}" ]; then crictl inspectp -o json "$1" | jq -r .info.pid; else pgrep -x wharf-pod -P "$shim" || echo "$shim"; fi
}
gone() { for each; do [ ! -e "/proc/$each" ] || return 1; done; }
exit_code() { crictl inspect "$1" | jq -r .status.exitCode; }

# --- twenty pods, made four at a time; every fifth shares its processes
one_pod() {
    local amend=.
    [ $(($1 % 5)) != 0 ] || amend=$shared
    pod "many$1" "$amend" && container "many$1" one "$wait_loop" && printf '%s %s\n' "$pod" "$container" >"$work/many"
}
for first in 1 5 9 13 17; do
    makers=()
    for i in 0 1 2 3; do
        # Each with files of its own.
        (mkdir "$work/maker$((first + i))"; work=$work/maker$((first + i)); one_pod $((first + i))) &
        makers+=($!)
    done
    wait "${makers[@]}"
done
mapfile -t pods < <(cat "$work"/maker*/many | cut -d' ' -f1)
mapfile -t containers < <(cat "$work"/maker*/many | cut -d' ' -f2)
is 'twenty pods run' "${#pods[@]} $(shims)" '20 20'
all_pods() { crictl pods -o json | jq -r '[.items[].state] | group_by(.) | map("\(length) \(.[0])") | join(" ")'; }
all_containers() { crictl ps -o json -a | jq -r '[.containers[].state] | group_by(.) | map("\(length) \(.[0])") | join(" ")'; }
all_shims() { pgrep -f "$name -namespace k8s.io" | sort | xargs; }
before=$(all_shims) running=20
for signal in TERM KILL; do
    victim=${containers[running - 1]}
    pid=$(pid_of "$victim")
    stop_containerd $signal
    kill -KILL "$pid"
    wait_for 10 gone "$pid"
    start_containerd
    wait_for 10 has_state "$victim" EXITED
    running=$((running - 1))
    is "SIG$signal to containerd under twenty pods: all are ready" "$(all_pods)" '20 SANDBOX_READY'
    is "SIG$signal to containerd: their containers run, but for those that ended meanwhile" "$(all_containers)" "$((20 - running)) CONTAINER_EXITED $running CONTAINER_RUNNING"
    # When it starts, it forgets shims whose only container has ended, and with them the exit code.
    like "SIG$signal to containerd: it hears that the one ended" "$(exit_code "$victim")" '^(137|255)$'
    is "SIG$signal to containerd: the shims are the same" "$(all_shims)" "$before"
    for i in 0 4 9; do ends "SIG$signal to containerd: exec in a pod" 0 '^here$' crictl exec -s "${containers[i]}" echo here; done
done
remove_all() { for each in "${pods[@]:$1:10}"; do crictl stopp "$each" && crictl rmp "$each" || echo "$each failed"; done; }
remove_all 0 >"$work/removed.0" 2>&1 & remover=$!
remove_all 10 >"$work/removed.10" 2>&1
wait "$remover"
is 'all are removed' "$(cat "$work"/removed.*)" ''
wait_for 20 no_shims
nothing_is_left 'twenty pods'

# victim AMEND: makes a pod with a container whose processes are in $victims.
victim() {
    pod victim "$1" && container victim one "$wait_loop" || { fail 'a pod to be hit' "$OUT"; log_tail "$work/containerd.log"; finish; }
    shim=$(shim_of "$pod") holder=$(holder_of "$pod") process=$(pid_of "$container")
}
# What a kubelet is told about a pod that broke, and what it does: with the same name, another attempt.
broken() {
    local first=$pod
    wait_for 20 pod_has_state "$pod" NOTREADY
    is "$1: the pod is not ready" "$(pod_state "$pod")" SANDBOX_NOTREADY
    wait_for 20 has_state "$container" EXITED
    like "$1: its container has ended" "$(state "$container") $(exit_code "$container")" "^CONTAINER_EXITED (137|255)$"
    wait_for 20 gone "$process"
    if gone "$process"; then pass "$1: its process is gone"; else fail "$1: its process is gone" "$(cat "/proc/$process/status")"; fi
    # A new one is made while the old one is there.
    pod again '.metadata.name = "victim" | .metadata.attempt = 1' && container again one "$wait_loop" || fail "$1: another pod" "$OUT"
    ends "$1: stop it" 0 '' crictl stopp "$first"
    ends "$1: stop it once more" 0 '' crictl stopp "$first"
    ends "$1: remove it" 0 '' crictl rmp "$first"
    ends "$1: the pod in its place works" 0 '^here$' crictl exec -s "$container" echo here
    remove_pods "$1"
}

for amend in . "$shared"; do
    kind='a pod'
    [ "$amend" = . ] || kind='a pod with shared processes'
    victim "$amend"
    kill -KILL "$process"
    wait_for 20 has_state "$container" EXITED
    is "$kind, its container killed: the pod is ready" "$(exit_code "$container") $(pod_state "$pod")" '137 SANDBOX_READY'
    container victim next "$wait_loop" || fail "$kind: another container in it" "$OUT"
    process=$(pid_of "$container")
    kill -KILL "$shim"
    broken "$kind, its shim killed"

    victim "$amend"
    stop_containerd KILL
    kill -KILL "$shim"
    start_containerd
    broken "$kind, its shim killed while containerd is away"

    [ "$holder" != "$shim" ] || continue
    victim "$amend"
    kill -KILL "$holder"
    broken "$kind, its holder killed"
    victim "$amend"
    stop_containerd TERM
    kill -KILL "$holder"
    start_containerd
    broken "$kind, its holder killed while containerd is away"
done

[ "$failed" = 0 ] || log_tail "$work/containerd.log" "${LOG_LINES:-20}"
finish
