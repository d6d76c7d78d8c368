#!/bin/bash
# Runs a command in a private box: a machine of its own as far as a container manager can see.
#
#   box.sh [--root DIR] [--ro PATH[:INSIDE]]... [--rw PATH[:INSIDE]]... [--timeout SECONDS] [--] COMMAND [ARG]...
#
# New mount, pid, network, ipc, uts and cgroup namespaces. The root is an overlay over the machine's own (or over --root
# DIR, for example a debootstrapped one) whose changes stay in memory; /run, /tmp and the managers' storage are tmpfs;
# /dev has its own nodes; every cgroup hierarchy of the machine is mounted again with a fresh group as its root; a
# bridge named box0 is the only network, and it leads nowhere. When COMMAND ends, everything that it started is killed
# and the groups are removed, so mounts, links, groups, processes and files outside are as they were (box-test.sh proves
# it).
#
# --ro and --rw show a host path inside (files of the overlay can be hidden by the tmpfs mounts, or be on another
# mount). The exit code is COMMAND's; 124 after --timeout (default 600), 125 if the box itself could not be made.
set -euo pipefail

die() { printf 'box: %s\n' "$*" >&2; exit 125; }

# Prints "V1-OR-V2 NAMES MOUNTPOINT OWN-GROUP" for each cgroup hierarchy that is mounted here.
hierarchies() {
    awk '$(NF-2) == "cgroup" || $(NF-2) == "cgroup2" {print $(NF-2), $5, $NF}' /proc/self/mountinfo |
    while read -r type at options; do
        if [ "$type" = cgroup2 ]; then
            printf 'v2 - %s %s\n' "$at" "$(sed -n 's/^0:://p' /proc/self/cgroup)"
        else
            # The hierarchy's line in /proc/self/cgroup is the one whose names are all in the mount's options.
            while IFS=: read -r _ names group; do
                [ -n "$names" ] || continue
                case ",$options," in *",$names,"*) printf 'v1 %s %s %s\n' "$names" "$at" "$group"; break ;; esac
            done </proc/self/cgroup
        fi
    done
}

# Both sides need it: a frozen v1 group does not die, so waiting for it would take for ever.
thaw_below() {
    find "$1" -name freezer.state -exec sh -c 'for f; do echo THAWED >"$f"; done' sh {} + 2>/dev/null || true
}

# --- inside: pid 1 of the box -----------------------------------------------------------------------------------------

inside() {
    local stage=$1 lower=$2 shares=$3
    shift 3
    mount --make-rprivate /
    mount -t tmpfs -o mode=700 box "$stage"
    mkdir "$stage/upper" "$stage/work" "$stage/root"
    mount -t overlay -o "lowerdir=$lower,upperdir=$stage/upper,workdir=$stage/work" box "$stage/root"
    local new=$stage/root
    fill_dev "$new/dev"
    for dir in run tmp var/tmp var/log var/lib/docker var/lib/containerd var/lib/containers root; do
        mkdir -p "$new/$dir"
        mount -t tmpfs -o mode=755 box "$new/$dir"
    done
    chmod 1777 "$new/tmp" "$new/var/tmp"
    mkdir -p "$new/run/lock"

    local how from to
    while IFS=$'\t' read -r how from to; do
        [ -n "$how" ] || continue
        mkdir -p "$new$(dirname "$to")"
        if [ -d "$from" ]; then mkdir -p "$new$to"; else [ -e "$new$to" ] || : >"$new$to"; fi
        mount --bind "$from" "$new$to"
        [ "$how" = rw ] || mount -o remount,bind,ro "$new$to"
    done <"$shares"

    # The machine's cgroup mounts are read before the pivot and mounted after it: then they show this namespace's root.
    local groups
    groups=$(hierarchies)
    local cwd=$PWD
    mkdir -p "$new/run/old"
    cd "$new"
    pivot_root . run/old
    mount -t proc -o nosuid,nodev,noexec proc /proc
    mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
    mount_groups "$groups"
    umount -l /run/old
    rmdir /run/old

    hostname box
    ip link set lo up
    ip link add box0 type bridge
    ip addr add 192.0.2.1/24 dev box0
    ip link set box0 up
    ip route add default via 192.0.2.254 dev box0

    cd "$cwd" 2>/dev/null || cd /
    export WHARF_BOX=1 HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    unset XDG_RUNTIME_DIR DOCKER_HOST DOCKER_CONFIG CONTAINER_HOST CONTAINERS_CONF CONTAINERD_ADDRESS
    # A shell as pid 1 reaps the managers' orphans.
    local code=0
    "$@" || code=$?
    thaw_below /sys/fs/cgroup
    exit "$code"
}

fill_dev() {
    mount -t tmpfs -o mode=755,nosuid box "$1"
    local name major minor
    while read -r name major minor; do
        mkdir -p "$(dirname "$1/$name")"
        mknod -m 666 "$1/$name" c "$major" "$minor"
    done <<<'null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
fuse 10 229
net/tun 10 200'
    mkdir "$1/pts" "$1/shm" "$1/mqueue"
    mount -t devpts -o newinstance,mode=620,ptmxmode=666,gid=5 devpts "$1/pts"
    mount -t tmpfs -o mode=1777,nosuid,nodev box "$1/shm"
    mount -t mqueue mqueue "$1/mqueue"
    ln -s pts/ptmx "$1/ptmx"
    ln -s /proc/self/fd "$1/fd"
    ln -s /proc/self/fd/0 "$1/stdin"
    ln -s /proc/self/fd/1 "$1/stdout"
    ln -s /proc/self/fd/2 "$1/stderr"
}

mount_groups() {
    local version names at group name
    if ! grep -q '^v1' <<<"$1"; then
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        enable_controllers /sys/fs/cgroup
        return
    fi
    mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
    while read -r version names at group; do
        at=/sys/fs/cgroup/$(basename "$at")
        mkdir "$at"
        if [ "$version" = v2 ]; then
            mount -t cgroup2 cgroup2 "$at"
            enable_controllers "$at"
            continue
        fi
        case $names in
            name=*) mount -t cgroup -o "none,$names" cgroup "$at" ;;
            *) mount -t cgroup -o "$names" cgroup "$at"
                for name in ${names//,/ }; do
                    [ -e "/sys/fs/cgroup/$name" ] || ln -s "$(basename "$at")" "/sys/fs/cgroup/$name"
                done ;;
        esac
    done <<<"$1"
}

# A v2 group with processes of its own cannot enable controllers for its children, so pid 1 moves aside first.
enable_controllers() {
    mkdir "$1/init"
    echo 1 >"$1/init/cgroup.procs"
    local c
    for c in $(cat "$1/cgroup.controllers"); do
        echo "+$c" >"$1/cgroup.subtree_control" 2>/dev/null || true
    done
}

# --- outside ----------------------------------------------------------------------------------------------------------

make_groups() {
    local version names at group file
    while read -r version names at group; do
        group=$at${group%/}/$box
        mkdir "$group"
        made+=("$group")
        for file in cpuset.cpus cpuset.mems; do
            [ "$version" = v1 ] && [ -e "$group/$file" ] || continue
            [ -n "$(cat "$group/$file")" ] || cat "$group/../$file" >"$group/$file"
        done
        # Bounds what a fork bomb that escaped its container's limit can do to the machine.
        [ ! -e "$group/pids.max" ] || echo 8192 >"$group/pids.max"
    done < <(hierarchies)
}

remove_groups() {
    local group try
    for group in "${made[@]}"; do thaw_below "$group"; done
    for group in "${made[@]}"; do
        for try in $(seq 50); do
            find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
            [ -d "$group" ] || continue 2
            # The kernel releases a killed task a moment after its exit was reported.
            sleep 0.1
        done
        printf 'box: cannot remove %s after %s tries\n' "$group" "$try" >&2
    done
}

clean_up() {
    trap - EXIT INT TERM HUP
    [ -z "$watch" ] || kill "$watch" 2>/dev/null || true
    if [ -n "$init" ]; then
        kill -KILL "$init" 2>/dev/null || true
        wait "$init" 2>/dev/null || true
    fi
    remove_groups
    rm -f "$stage.shares"
    rmdir "$stage" 2>/dev/null || true
}

# Kills process $1 after $2 seconds, unless it is told to end first; takes its own sleep with it.
watch_over() {
    local sleeper
    trap 'kill "$sleeper"; exit' TERM
    sleep "$2" &
    sleeper=$!
    wait "$sleeper"
    kill -KILL "$1"
    printf 'box: killed after %s s\n' "$2" >&2
}

outside() {
    local lower=/ timeout=600 shares=''
    while [ $# -gt 0 ]; do
        case $1 in
            --root) lower=$(realpath -e "$2"); shift 2 ;;
            --timeout) timeout=$2; shift 2 ;;
            --ro | --rw)
                local from=${2%%:*} to=${2#*:}
                shares+="${1#--}"$'\t'"$(realpath -e "$from")"$'\t'"$(realpath -sm "$to")"$'\n'
                shift 2 ;;
            --) shift; break ;;
            -*) die "unknown option $1" ;;
            *) break ;;
        esac
    done
    [ $# -gt 0 ] || die "no command"
    [ "$(id -u)" = 0 ] || die "must be root"

    local self
    self=$(realpath "$0")
    box=wharf-box-$$-$RANDOM
    made=() init='' watch=''
    stage=$(mktemp -d "${TMPDIR:-/tmp}/$box.XXXX")
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    printf '%s' "$shares" >"$stage.shares"
    make_groups

    # The subshell enters the groups, and the cgroup namespace is made there, so that they are its root. stdin is passed
    # by number: a background job would get /dev/null.
    (
        for group in "${made[@]}"; do echo "$BASHPID" >"$group/cgroup.procs"; done
        exec unshare --mount --pid --net --ipc --uts --cgroup --fork --kill-child --propagation private \
            bash "$self" --inside "$stage" "$lower" "$stage.shares" "$@"
    ) <&0 &
    init=$!
    local code=0
    watch_over "$init" "$timeout" &
    watch=$!
    { wait "$init" || code=$?; } 2>/dev/null # bash would announce a killed job here
    if ! kill "$watch" 2>/dev/null && [ "$code" = 137 ]; then
        code=124
    fi
    init='' watch=''
    exit "$code"
}

if [ "${1:-}" = --inside ]; then
    shift
    inside "$@"
fi
outside "$@"
