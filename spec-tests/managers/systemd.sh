#!/bin/bash
# Podman, containerd and Docker on a machine with systemd and cgroup v2, each with the driver that makes systemd manage
# the cgroups (Podman with the other one too).
#
#   RUNTIME=/path/to/wharf spec-tests/managers/systemd.sh [podman|ctr|docker]...
#
# As root on a machine that may be filled: spec-tests/vm/machine.sh --memory 2048 -- env RUNTIME=... THIS boots one. COUNT
# (default 50) is how many containers each manager runs in a row before it is checked that nothing of them is left.
# shellcheck disable=SC2034  # tap.sh uses $work
set -u
here=$(dirname "$(realpath "$0")")
RUNTIME=$(realpath -e "${RUNTIME:?path of the runtime}")
COUNT=${COUNT:-50}
work=$(mktemp -d)
. "$here/tap.sh"
[ "$(id -u)" = 0 ] && [ -d /run/systemd/system ] && [ -e /sys/fs/cgroup/cgroup.controllers ] || {
    skip 'managers with systemd' 'needs root, systemd and cgroup v2'
    echo "$passed passed, $failed failed, $skipped skipped"
    exit 0
}
"$here/image.sh" "$work/image.tar"
# conmon writes a file where it is called.
cd "$work"
image=docker.io/library/scenario:1
modprobe -a overlay bridge veth 2>/dev/null || true
daemons=()
trap 'kill "${daemons[@]}" 2>/dev/null; rm -rf "$work"' EXIT

# What is there of containers outside of the manager's own books.
scopes() { systemctl list-units --all --no-legend --plain 'libpod-*' 'docker-*' 'cri-*' 'ctr-*' 'wharf-*' | grep -v conmon | awk '{print $1}'; }
groups() { find /sys/fs/cgroup -type d \( -name 'libpod-[0-9a-f]*' -o -name 'docker-[0-9a-f]*' -o -name 'ctr-*' \) | grep -v conmon; }
mounts() { awk '$5 ~ /merged$|rootfs$/ {print $5}' /proc/self/mountinfo; }

nothing_is_left() {
    wait_for 10 bash -c "[ -z \"\$(systemctl list-units --all --no-legend --plain 'libpod-*' 'docker-*' 'ctr-*' | grep -v conmon)\" ]"
    is "$1: no unit is left" "$(scopes)" ''
    is "$1: no cgroup is left" "$(groups)" ''
    is "$1: no mount is left" "$(mounts)" ''
    is "$1: systemctl --failed is empty" "$(systemctl --failed --no-legend --plain | awk '{print $1}')" ''
}

# of FILE PID: a file of the cgroup of a process.
of() { cat "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$2/cgroup")/$1"; }

podman() {
    local driver=$1 p pid
    p=(podman --runtime "$RUNTIME" --cgroup-manager "$driver" --log-level error)
    local run=("${p[@]}" run --network none)
    command podman load -qi "$work/image.tar" >/dev/null
    ends "podman, $driver: run" 3 '^hello$' "${run[@]}" --rm "$image" sh -c 'echo hello; exit 3'
    run "${run[@]}" -d --name long -m 64m --cpus 0.5 --pids-limit 50 "$image" sleep 600
    is "podman, $driver: run -d" "$CODE" 0
    pid=$(command podman inspect -f '{{.State.Pid}}' long)
    like "podman, $driver: the cgroup" "$(cat "/proc/$pid/cgroup")" "$([ "$driver" = systemd ] && echo 'machine.slice/libpod-[0-9a-f]*\.scope' || echo 'libpod_parent/libpod-')"
    is "podman, $driver: limits" "$(of memory.max "$pid") $(of cpu.max "$pid") $(of pids.max "$pid")" '67108864 50000 100000 50'
    ends "podman, $driver: exec" 4 '^in$' "${p[@]}" exec long sh -c 'echo in; exit 4'
    ends "podman, $driver: stats" 0 '[0-9.]+[kM]B / 67.11MB [1-9]' "${p[@]}" stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' long
    ends "podman, $driver: pause" 0 '' "${p[@]}" pause long
    is "podman, $driver: frozen" "$(of cgroup.freeze "$pid")" 1
    ends "podman, $driver: unpause" 0 '' "${p[@]}" unpause long
    ends "podman, $driver: update" 0 '' "${p[@]}" update --cpus 0.4 -m 48m long
    is "podman, $driver: updated limits" "$(of memory.max "$pid") $(of cpu.max "$pid")" '50331648 40000 100000'
    systemctl daemon-reload
    is "podman, $driver: daemon-reload takes nothing away" "$(of memory.max "$pid") $(of cpu.max "$pid") $(of pids.max "$pid")" '50331648 40000 100000 50'
    ends "podman, $driver: devices after daemon-reload" 0 '^1$' "${p[@]}" exec long sh -c 'echo x >/dev/null && head -c1 /dev/zero | wc -c'
    ends "podman, $driver: rm -f" 0 '' "${p[@]}" rm -f -t 1 long
    # The shell lives on for a moment: with its last process systemd takes the scope away, and the count that conmon reads.
    run "${run[@]}" --name oom -m 16m --memory-swap 16m "$image" sh -c 'tail /dev/zero; code=$?; sleep 1; exit $code'
    is "podman, $driver: OOM kill is reported" "$CODE $(command podman inspect -f '{{.State.OOMKilled}}' oom)" '137 true'
    run "${p[@]}" rm -f oom
    many "podman, $driver" "${run[@]}" --rm "$image" true
}

# many WHAT COMMAND...: COUNT times.
many() {
    local what=$1 i wrong=0
    shift
    for ((i = 0; i < COUNT; i++)); do
        run "$@"
        [ "$CODE" = 0 ] || { wrong=$((wrong + 1)); printf '%s\n' "$OUT" >"$work/wrong"; }
    done
    if [ "$wrong" = 0 ]; then pass "$what: $COUNT containers"; else fail "$what: $COUNT containers" "$wrong failed: $(cat "$work/wrong")"; fi
    nothing_is_left "$what"
}

# daemon READY-COMMAND -- COMMAND...
daemon() {
    local ready=()
    while [ "$1" != -- ]; do ready+=("$1"); shift; done
    shift
    "$@" >"$work/$(basename "$1").log" 2>&1 &
    daemons+=($!)
    wait_for 60 "${ready[@]}" || { fail "$1 comes up" "$(tail -n 20 "$work/$(basename "$1").log")"; return 1; }
}

ctr() {
    local c pid
    daemon command ctr version -- containerd || return
    c=(ctr)
    command ctr image import "$work/image.tar" >/dev/null 2>&1
    local run=(ctr run --runc-binary "$RUNTIME" --runc-systemd-cgroup --cgroup system.slice:ctr:one)
    ends 'ctr: run' 3 '^hello$' "${run[@]}" --rm "$image" one sh -c 'echo hello; exit 3'
    run ctr run --runc-binary "$RUNTIME" --runc-systemd-cgroup --cgroup system.slice:ctr:long -d --memory-limit 67108864 "$image" long sleep 600
    is 'ctr: run -d' "$CODE" 0
    pid=$(command ctr task ls | awk '$1 == "long" {print $2}')
    like 'ctr: the cgroup' "$(cat "/proc/$pid/cgroup")" '/system.slice/ctr-long.scope$'
    is 'ctr: limit' "$(of memory.max "$pid")" 67108864
    is 'ctr: the limit is a property' "$(systemctl show -P MemoryMax ctr-long.scope)" 67108864
    ends 'ctr: exec' 4 '^in$' ctr task exec --exec-id x long sh -c 'echo in; exit 4'
    ends 'ctr: metrics' 0 'memory' ctr task metrics long
    ends 'ctr: pause' 0 '' ctr task pause long
    is 'ctr: frozen' "$(of cgroup.freeze "$pid")" 1
    ends 'ctr: resume' 0 '' ctr task resume long
    run "$RUNTIME" --root /run/containerd/runc/default update --memory 50331648 long
    is 'update: limit and property' "$CODE $(of memory.max "$pid") $(systemctl show -P MemoryMax ctr-long.scope)" '0 50331648 50331648'
    run ctr task kill -s KILL long
    wait_for 10 bash -c "[ ! -e /proc/$pid ]"
    ends 'ctr: delete' '0|137' '' ctr task delete long
    run ctr container rm long
    command ctr events >"$work/events" &
    daemons+=($!)
    run ctr run --rm --runc-binary "$RUNTIME" --runc-systemd-cgroup --cgroup system.slice:ctr:oom --memory-limit 16777216 "$image" oom sh -c 'tail /dev/zero; code=$?; sleep 1; exit $code'
    is 'ctr: a process is killed for lack of memory' "$CODE" 137
    if wait_for 10 grep -q /tasks/oom "$work/events"; then pass 'ctr: OOM kill is reported'; else fail 'ctr: OOM kill is reported' "$(tail -n 20 "$work/events")"; fi
    many ctr "${run[@]}" --rm "$image" one true
}

docker() {
    local pid
    daemon command docker info -- dockerd --add-runtime "wharf=$RUNTIME" --default-runtime wharf --exec-opt native.cgroupdriver=systemd \
        --bridge none --iptables=false --ip6tables=false --storage-driver overlay2 || return
    command docker load -qi "$work/image.tar" >/dev/null
    is 'docker: the driver' "$(command docker info -f '{{.CgroupDriver}} {{.CgroupVersion}}')" 'systemd 2'
    local run=(docker run --network none)
    ends 'docker: run' 3 '^hello$' "${run[@]}" --rm "$image" sh -c 'echo hello; exit 3'
    run "${run[@]}" -d --name long -m 64m --cpus 0.5 --pids-limit 50 "$image" sleep 600
    is 'docker: run -d' "$CODE" 0
    pid=$(command docker inspect -f '{{.State.Pid}}' long)
    like 'docker: the cgroup' "$(cat "/proc/$pid/cgroup")" '/system.slice/docker-[0-9a-f]+\.scope$'
    is 'docker: limits' "$(of memory.max "$pid") $(of cpu.max "$pid") $(of pids.max "$pid")" '67108864 50000 100000 50'
    ends 'docker: exec' 4 '^in$' docker exec long sh -c 'echo in; exit 4'
    ends 'docker: stats' 0 '[0-9.]+[kKM]iB / 64MiB [1-9]' docker stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' long
    ends 'docker: pause' 0 '' docker pause long
    is 'docker: frozen' "$(of cgroup.freeze "$pid")" 1
    ends 'docker: unpause' 0 '' docker unpause long
    ends 'docker: update' 0 '' docker update --cpus 0.4 -m 48m --memory-swap 48m long
    is 'docker: updated limits' "$(of memory.max "$pid") $(of cpu.max "$pid")" '50331648 40000 100000'
    systemctl daemon-reload
    is 'docker: daemon-reload takes nothing away' "$(of memory.max "$pid") $(of cpu.max "$pid") $(of pids.max "$pid")" '50331648 40000 100000 50'
    ends 'docker: stop' 0 '' docker stop -t 1 long
    ends 'docker: start again' 0 '' docker start long
    ends 'docker: rm -f' 0 '' docker rm -f long
    # The shell lives on for a moment: of a container that ends with the kill, containerd may miss the event.
    run "${run[@]}" --name oom -m 16m --memory-swap 16m "$image" sh -c 'tail /dev/zero; code=$?; sleep 1; exit $code'
    is 'docker: OOM kill is reported' "$CODE $(command docker inspect -f '{{.State.OOMKilled}}' oom)" '137 true'
    run docker rm -f oom
    many docker "${run[@]}" --rm "$image" true
}

[ $# -gt 0 ] || set -- podman ctr docker
for manager; do
    case $manager in
        podman)
            podman systemd
            podman cgroupfs ;;
        ctr) ctr ;;
        docker) docker ;;
        *) echo "unknown manager $manager" >&2; exit 2 ;;
    esac
done
finish
