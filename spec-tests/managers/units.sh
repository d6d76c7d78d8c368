#!/bin/bash
# Podman's containers as units of systemd (Quadlet, podman-systemd.unit(5)) and pods in slices, as root and as a user.
#
#   RUNTIME=/path/to/wharf spec-tests/managers/units.sh [root|user]...
#
# As root on a machine that may be filled: spec-tests/vm/machine.sh --memory 2048 -- env RUNTIME=... THIS boots one.
set -u
. "$(dirname "$(realpath "$0")")/on-systemd.sh"

# The machine's own programs, in an image without libraries: lets a container report that it is ready.
notify='/machine/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 --library-path /machine/lib/x86_64-linux-gnu:/machine/lib/x86_64-linux-gnu/systemd /machine/bin/systemd-notify'

# As "$work/as-user".
cat >"$work/as-root" <<'END2'
#!/bin/bash
exec "$@"
END2
chmod 755 "$work/as-root"

units() {
    local who=$1 as=("$work/as-$1") podman systemctl dir top slice pid group
    if [ "$who" = root ]; then
        systemctl=(systemctl) dir=/etc/containers/systemd top=/system.slice slice=/machine.slice
    else
        systemctl=("${as[@]}" systemctl --user) dir=/home/user/.config/containers/systemd
        top=/user.slice/user-1000.slice/user@1000.service/app.slice slice=/user.slice/user-1000.slice/user@1000.service/user.slice
    fi
    podman=("${as[@]}" podman --runtime "$RUNTIME" --cgroup-manager systemd --log-level error)
    "${podman[@]}" load -qi "$work/image.tar" >/dev/null
    mkdir -p "$dir"
    cat >"$dir/web.container" <<END2
[Container]
Image=$image
GlobalArgs=--runtime $RUNTIME --log-level error
PodmanArgs=--memory 64m --pids-limit 50
Network=none
Exec=sh -c 'trap "exit 0" TERM; while :; do sleep 0.1; done'
[Service]
Restart=on-failure
END2
    cat >"$dir/ready.container" <<END2
[Container]
Image=$image
GlobalArgs=--runtime $RUNTIME --log-level error
Network=none
Notify=true
Volume=/usr:/machine:ro
Exec=sh -c 'until [ -e /tmp/go ]; do sleep 0.1; done; $notify --ready --status=served; sleep 600'
END2
    [ "$who" = root ] || chown -R user:user /home/user/.config
    "${systemctl[@]}" daemon-reload

    ends "$who: start" 0 '' "${systemctl[@]}" start web
    is "$who: the unit is active" "$("${systemctl[@]}" is-active web)" active
    pid=$("${podman[@]}" inspect -f '{{.State.Pid}}' systemd-web)
    group=$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
    like "$who: the container is below its unit" "$group" "^$top/web.service/libpod-payload-[0-9a-f]+\$"
    is "$who: limits" "$(of memory.max "$pid") $(of pids.max "$pid")" '67108864 50'
    is "$who: the main process is conmon" "$(cat "/proc/$("${systemctl[@]}" show -P MainPID web)/comm")" conmon
    ends "$who: exec" 0 '^in$' "${podman[@]}" exec systemd-web echo in
    "${systemctl[@]}" daemon-reload
    is "$who: daemon-reload takes nothing away" "$(of memory.max "$pid") $(of pids.max "$pid")" '67108864 50'
    ends "$who: restart" 0 '' "${systemctl[@]}" restart web
    unlike "$who: it is another process" "$("${podman[@]}" inspect -f '{{.State.Pid}}' systemd-web)" "^$pid\$"
    pid=$("${podman[@]}" inspect -f '{{.State.Pid}}' systemd-web)
    run "${podman[@]}" kill systemd-web
    restarted() { [ "$("${systemctl[@]}" show -P NRestarts web)" = 1 ] && [ "$("${systemctl[@]}" is-active web)" = active ]; }
    if wait_for 20 restarted; then pass "$who: systemd starts it again when it was killed"; else fail "$who: systemd starts it again when it was killed" "$("${systemctl[@]}" status web)"; fi
    ends "$who: stop" 0 '' "${systemctl[@]}" stop web
    is "$who: the container is gone" "$("${podman[@]}" ps -aq)" ''
    is "$who: the unit did not fail" "$("${systemctl[@]}" is-active web)" inactive

    # It is ready when the container itself says so.
    "${systemctl[@]}" start --no-block ready
    wait_for 20 "${podman[@]}" exec systemd-ready true
    is "$who: not ready before it says so" "$("${systemctl[@]}" is-active ready)" activating
    run "${podman[@]}" exec systemd-ready touch /tmp/go
    is_ready() { [ "$("${systemctl[@]}" is-active ready)" = active ]; }
    wait_for 20 is_ready
    is "$who: ready" "$("${systemctl[@]}" is-active ready) $("${systemctl[@]}" show -P StatusText ready)" 'active served'
    ends "$who: stop it" 0 '' "${systemctl[@]}" stop ready
    rm "$dir"/*.container
    "${systemctl[@]}" daemon-reload
    "${systemctl[@]}" reset-failed ready 2>/dev/null

    # A pod has a slice, and its containers scopes in it.
    ends "$who: a pod with a limit" 0 '^[0-9a-f]{64}$' "${podman[@]}" pod create --name pod --network none --memory 128m
    ends "$who: a container in it" 0 '^[0-9a-f]{64}$' "${podman[@]}" run -d --pod pod --name one -m 64m "$image" sleep 600
    ends "$who: another" 0 '^[0-9a-f]{64}$' "${podman[@]}" run -d --pod pod --name two "$image" sleep 600
    pid=$("${podman[@]}" inspect -f '{{.State.Pid}}' one)
    group=$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
    like "$who: the slice of the pod" "$group" "^$slice/([^/]+/)*[^/]*libpod_pod_[0-9a-f]+\\.slice/libpod-[0-9a-f]+$scope\$"
    is "$who: the limits of pod and container" "$(cat "/sys/fs/cgroup${group%%.slice/libpod-*}.slice/memory.max") $(of memory.max "$pid")" '134217728 67108864'
    ends "$who: they share what a pod shares" 0 '^pod$' "${podman[@]}" exec two hostname
    ends "$who: pause the pod" 0 '' "${podman[@]}" pod pause pod
    is "$who: both are paused" "$("${podman[@]}" ps -a --filter name=one --filter name=two --format '{{.State}}' | sort -u)" paused
    ends "$who: go on" 0 '' "${podman[@]}" pod unpause pod
    ends "$who: remove the pod" 0 '' "${podman[@]}" pod rm -f -t 0 pod
    nothing_is_left "$who"
}

[ $# -gt 0 ] || set -- root user
for who; do units "$who"; done
finish
