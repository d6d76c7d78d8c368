#!/bin/bash
# Proves that a box leaves nothing behind: compares the machine before and after one that was filled, and one that was
# killed.
work=$(mktemp -d)
here=$(dirname "$(realpath "$0")")
. "$here/tap.sh"
trap 'rm -rf "$work"' EXIT
if [ "$(id -u)" != 0 ]; then
    skip 'a box leaves nothing' 'needs root'
    echo "$passed passed, $failed failed, $skipped skipped"
    exit 0
fi

# Others may use the machine in the meantime: only what belongs to this test, or cannot be another's, is compared.
groups_of_boxes() { find /sys/fs/cgroup -type d -name 'wharf-box-*' 2>/dev/null | grep -E "wharf-box-($1)-" || true; }
snapshot() {
    cat /proc/self/mountinfo
    ip -o link
    ip route
    hostname
    find /etc /opt -xdev -printf '%p %s %m %T@\n' 2>/dev/null | sort
    ls -d /run/docker* /run/containerd* /var/lib/docker /var/lib/containerd /tmp/marker.$$ 2>&1
    cat /proc/self/cgroup
}
before=$(snapshot)

filler='
    mount -t tmpfs x /mnt && mkdir /mnt/here
    ip link add leftover type bridge
    hostname elsewhere
    touch /tmp/marker.'$$' /etc/marker /opt/marker
    for group in /sys/fs/cgroup/*/; do mkdir "$group/one" "$group/one/two" && echo $$ >"$group/one/two/cgroup.procs"; done 2>/dev/null
    sleep 3061 & setsid sleep 3061 &
    mkdir /sys/fs/cgroup/freezer/cold 2>/dev/null && {
        sleep 3061 & echo $! >/sys/fs/cgroup/freezer/cold/cgroup.procs; echo FROZEN >/sys/fs/cgroup/freezer/cold/freezer.state; }
'
run "$here/box.sh" -- bash -c "$filler"' ls -d /mnt/here /etc/marker; exit 7'
is 'the command runs, its exit code comes out' "$CODE $OUT" $'7 /etc/marker\n/mnt/here'
is 'afterwards the machine is as before' "$(snapshot)" "$before"
is 'its processes are gone, the frozen one too' "$(pgrep -fc '^sleep 3061$')" 0

"$here/box.sh" -- bash -c "$filler sleep 3061" >/dev/null 2>&1 </dev/null &
box=$!
wait_for 10 bash -c '[ "$(pgrep -fc "^sleep 3061$")" -ge 3 ]'
# Three or four: the frozen one may have been caught before its exec.
like 'a box with a frozen process runs' "$(pgrep -fc '^sleep 3061$')" '^[34]$'
is 'its cgroups are there' "$([ -n "$(groups_of_boxes $box)" ] && echo yes)" yes
kill -TERM "$box"
wait "$box"
is 'SIGTERM ends it' $? 143
is 'afterwards the machine is as before' "$(snapshot)" "$before"
is 'its processes are gone' "$(pgrep -fc '^sleep 3061$')" 0
is 'its cgroups are gone' "$(groups_of_boxes $box)" ''

run "$here/box.sh" --timeout 1 -- sleep 3061
is '--timeout ends it with 124' "$CODE" 124
ends 'standard input comes through' 0 '^in$' bash -c "echo in | $here/box.sh -- cat"
ends '--ro shows a path, read-only' 1 'Read-only file system' "$here/box.sh" --ro "$work:/data" -- touch /data/x
ends '--rw shows a path, writable' 0 '' "$here/box.sh" --rw "$work:/data" -- touch /data/x
is '--rw: it is there outside' "$(ls "$work/x")" "$work/x"
ends 'pid 1, own network, own groups' 0 $'^1\nbox0\n0$' "$here/box.sh" -- bash -c 'cat /proc/1/comm >/dev/null && ps -o pid= -p 1 | tr -d " "; ls /sys/class/net | grep box0; grep -c wharf-box /proc/self/cgroup || true'
ends 'no way out of the network' 1 'Destination Host Unreachable|unreachable|100% packet loss|No route' timeout 20 "$here/box.sh" -- busybox ping -c 1 -W 1 192.0.2.254
finish
