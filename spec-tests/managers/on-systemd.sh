# What scenarios on a machine with systemd and cgroup v2 share, sourced by them: the image, a user with a systemd
# instance, daemons, and checks for leftovers of containers.
# shellcheck shell=bash disable=SC2034  # variables of the scenarios
#
# In:  RUNTIME=/path/to/wharf, SHIM=/path (default: the one beside the runtime), COUNT (default 50)
# Out: the functions below; work; image; "$work/as-user" COMMAND... calls a program as a service of the systemd of "user"
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
RUNTIME=$(realpath -e "${RUNTIME:?path of the runtime}")
SHIM=${SHIM:-$(dirname "$RUNTIME")/containerd-shim-wharf-v2}
COUNT=${COUNT:-50}
work=$(mktemp -d)
. "$here/tap.sh"
[ "$(id -u)" = 0 ] && [ -d /run/systemd/system ] && [ -e /sys/fs/cgroup/cgroup.controllers ] || {
    skip 'managers with systemd' 'needs root, systemd and cgroup v2'
    echo "$passed passed, $failed failed, $skipped skipped"
    exit 0
}
"$here/image.sh" "$work/image.tar"
# conmon writes a file in its working directory.
cd "$work"
image=docker.io/library/scenario:1
modprobe -a overlay bridge veth 2>/dev/null || true
daemons=()
trap 'kill "${daemons[@]}" 2>/dev/null; rm -rf "$work"' EXIT

# Calls a program as a service of the systemd of the user "user".
chmod 755 "$work"
cat >"$work/as-user" <<'END'
#!/bin/bash
exec setpriv --reuid=user --regid=user --init-groups env -i HOME=/home/user USER=user LOGNAME=user PATH="$PATH" \
    XDG_RUNTIME_DIR=/run/user/1000 DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus \
    systemd-run --user --quiet --collect --wait --pipe --working-directory=/ --property=Delegate=yes --property=KillMode=process \
    --setenv=HOME --setenv=USER --setenv=LOGNAME --setenv=PATH --setenv=XDG_RUNTIME_DIR --setenv=DBUS_SESSION_BUS_ADDRESS -- "$@"
END
chmod 755 "$work/as-user"
# When a session of this user ends, as that of systemctl --machine, the user's systemd must not end.
loginctl enable-linger user
systemctl start user@1000.service

# Traces of containers outside of the manager's own records.
scopes() {
    local instance
    for instance in --system '--user --machine=user@.host'; do
        systemctl $instance list-units --all --no-legend --plain 'libpod-*' 'docker-*' 'cri-*' 'ctr-*' 'wharf-*' | grep -v conmon | awk '{print $1}'
    done
}
failed_units() { systemctl --failed --no-legend --plain; systemctl --user --machine=user@.host --failed --no-legend --plain; }
no_scopes() { [ -z "$(scopes)" ]; }
groups() {
    find /sys/fs/cgroup -type d -regextype posix-extended \( -regex '.*/((libpod|docker|cri-containerd)-)?[0-9a-f]{64}(\.scope)?' -o -name 'ctr-*' \)
}
mounts() { awk '$5 ~ /merged$|rootfs$/ {print $5}' /proc/self/mountinfo; }

nothing_is_left() {
    wait_for 10 no_scopes
    is "$1: no unit is left" "$(scopes)" ''
    is "$1: no cgroup is left" "$(groups)" ''
    is "$1: no mount is left" "$(mounts)" ''
    is "$1: systemctl --failed is empty" "$(failed_units)" ''
}

# A file of the cgroup of a process: of FILE PID.
of() { cat "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$2/cgroup")/$1"; }
# The end of the path of a cgroup that systemd made, with the group below the scope that some runtimes make.
scope='\.scope(/container)?'
limits() { printf '%s %s %s' "$(of memory.max "$1")" "$(of cpu.max "$1")" "$(of pids.max "$1")"; }

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

