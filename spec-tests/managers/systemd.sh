#!/bin/bash
# Podman, containerd and Docker on a machine with systemd and cgroup v2, each with the driver that makes systemd manage
# the cgroups (Podman with the other one too), Podman and Docker also with user namespaces and as a user.
#
#   RUNTIME=/path/to/wharf spec-tests/managers/systemd.sh [podman|podman-user|podman-auto|podman-keep-id|ctr|docker|docker-remap|docker-shim|docker-user|nested]...
#
# As root on a machine that may be filled: spec-tests/vm/machine.sh --memory 2048 -- env RUNTIME=... THIS boots one. SHIM is the
# shim of docker-shim (default: the one beside the runtime), COUNT (default 50) how many containers each manager runs in a
# row before it is checked that nothing of them is left.
set -u
. "$(dirname "$(realpath "$0")")/on-systemd.sh"

# Podman as root or as a user with a systemd instance: podman WHO DRIVER [USERNS]
podman() {
    local who=$1 driver=$2 userns=${3:-} pid what="podman, $1, $2${3:+, --userns $3}" as=(env) group uid=0
    [ "$who" = root ] || as=("$work/as-user")
    # A user has no right to Podman's own parent, so Podman leaves the path to the runtime.
    case $who,$driver in
        root,systemd) group="/machine.slice/libpod-[0-9a-f]{64}$scope" ;;
        user,systemd) group="/user@1000.service/user.slice/libpod-[0-9a-f]{64}$scope" ;;
        root,cgroupfs) group='0::/libpod_parent/libpod-[0-9a-f]{64}' ;;
        user,cgroupfs) group='/user@1000.service/app.slice/[0-9a-f]{64}' ;;
    esac
    [ "$userns" != keep-id ] || uid=1000
    local p=("${as[@]}" podman --runtime "$RUNTIME" --cgroup-manager "$driver" --log-level error)
    local run=("${p[@]}" run --network none ${userns:+--userns "$userns"})
    "${as[@]}" podman load -qi "$work/image.tar" >/dev/null
    ends "$what: run" 3 '^hello$' "${run[@]}" --rm "$image" sh -c 'echo hello; exit 3'
    run "${run[@]}" -d --name long -m 64m --cpus 0.5 --pids-limit 50 "$image" sleep 600
    is "$what: run -d" "$CODE" 0
    pid=$("${as[@]}" podman inspect -f '{{.State.Pid}}' long)
    like "$what: the cgroup" "$(cat "/proc/$pid/cgroup")" "$group\$"
    is "$what: limits" "$(limits "$pid")" '67108864 50000 100000 50'
    if [ -n "$userns" ]; then like "$what: a user namespace" "$(cat "/proc/$pid/uid_map")" '^ +0 +[1-9]'; fi
    ends "$what: exec" 4 "^in $uid\$" "${p[@]}" exec long sh -c 'echo in $(id -u); exit 4'
    ends "$what: stats" 0 '[0-9.]+[kM]B / 67.11MB [1-9]' "${p[@]}" stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' long
    ends "$what: pause" 0 '' "${p[@]}" pause long
    is "$what: frozen" "$(of cgroup.freeze "$pid")" 1
    ends "$what: unpause" 0 '' "${p[@]}" unpause long
    is "$what: thawed" "$(of cgroup.freeze "$pid")" 0
    ends "$what: update" 0 '' "${p[@]}" update --cpus 0.4 -m 48m long
    is "$what: updated limits" "$(limits "$pid")" '50331648 40000 100000 50'
    systemctl daemon-reload
    [ "$who" = root ] || "${as[@]}" systemctl --user daemon-reload
    is "$what: daemon-reload takes nothing away" "$(limits "$pid")" '50331648 40000 100000 50'
    ends "$what: devices after daemon-reload" 0 '^1$' "${p[@]}" exec long sh -c 'echo x >/dev/null && head -c1 /dev/zero | wc -c'
    ends "$what: rm -f" 0 '' "${p[@]}" rm -f -t 1 long
    # conmon takes the first change of memory.events for the kill, and checks again only when the container ends, when
    # systemd may already have removed the scope.
    run "${run[@]}" -d --name oom -m 16m --memory-swap 16m "$image" sh -c 'tail /dev/zero; echo $? >/tmp/code; sleep 600'
    wait_for 20 "${p[@]}" exec oom test -s /tmp/code
    ends "$what: the process that was killed" 0 '^137$' "${p[@]}" exec oom cat /tmp/code
    run "${p[@]}" kill oom
    run "${p[@]}" wait oom
    is "$what: OOM kill is reported" "$("${as[@]}" podman inspect -f '{{.State.OOMKilled}}' oom)" true
    ends "$what: rm of the one that was killed" 0 '' "${p[@]}" rm -f -t 0 oom
    if [ "$who,$driver,$userns" = user,systemd, ]; then
        ends "$what: --userns auto" 0 '^ +0 +[0-9]+ +[0-9]+$' "${run[@]}" --rm --userns auto "$image" cat /proc/self/uid_map
        ends "$what: --group-add keep-groups" 0 '' "${run[@]}" --rm --group-add keep-groups "$image" true
    fi
    many "$what" "${run[@]}" --rm "$image" true
}

# wharf in a container: nested WHO. Podman's container may do what a user namespace allows; there are inner ones of both
# kinds.
nested() {
    local who=$1 kind what as=(env) bundle
    [ "$who" = root ] || as=("$work/as-user")
    "${as[@]}" podman load -qi "$work/image.tar" >/dev/null
    local p=("${as[@]}" podman --runtime "$RUNTIME" run --rm --network none --privileged -v "$RUNTIME:/wharf:ro" -v "$work/nested-$who:/b")
    for kind in '' --rootless; do
        bundle=$work/nested-$who/bundle$kind
        mkdir -p "$bundle/rootfs/bin"
        cp "$(command -v busybox)" "$bundle/rootfs/bin/sh"
        (cd "$bundle" && "$RUNTIME" spec $kind && jq '.process.terminal = false | .process.args = ["sh", "-c", "echo $$; exit 5"]' config.json >new && mv new config.json)
        if [ -n "$kind" ]; then jq '(.linux.uidMappings, .linux.gidMappings)[0].hostID = 0' "$bundle/config.json" >"$bundle/new" && mv "$bundle/new" "$bundle/config.json"; fi
        [ "$who" = root ] || chown -R user:user "$work/nested-$who"
        what="nested, $who, spec $kind"
        ends "$what: run" 5 '^1$' "${p[@]}" "$image" /wharf --root /tmp/state run --bundle "/b/bundle$kind" inner
        jq '.process.args = ["sleep", "600"]' "$bundle/config.json" >"$bundle/new" && mv "$bundle/new" "$bundle/config.json"
        ln -sf sh "$bundle/rootfs/bin/sleep"
        ends "$what: detach, exec, pause, kill, delete" 0 '^6 running paused running stopped$' "${p[@]}" "$image" sh -ec '
            bundle=$1
            w() { /wharf --root /tmp/state "$@"; }
            status() { w state inner | sed -n "s/.*\"status\": *\"\([a-z]*\)\".*/\1/p"; }
            w run -d --bundle "$bundle" inner </dev/null >/dev/null
            code=0; w exec inner sh -c "exit 6" || code=$?
            out="$code $(status)"
            if w pause inner 2>/tmp/why; then out="$out $(status)"; w resume inner; else grep -q cgroup /tmp/why && out="$out paused"; fi
            out="$out $(status)"
            w kill inner KILL
            until [ "$(status)" = stopped ]; do :; done
            out="$out $(status)"
            w delete inner
            echo "$out"' - "/b/bundle$kind"
    done
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
    like 'ctr: the cgroup' "$(cat "/proc/$pid/cgroup")" "/system.slice/ctr-long$scope\$"
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
    # If a container ends with the kill, containerd may miss the event.
    run ctr run -d --runc-binary "$RUNTIME" --runc-systemd-cgroup --cgroup system.slice:ctr:oom --memory-limit 16777216 "$image" oom sh -c 'tail /dev/zero; sleep 600'
    if wait_for 20 grep -q /tasks/oom "$work/events"; then pass 'ctr: OOM kill is reported'; else fail 'ctr: OOM kill is reported' "$(tail -n 20 "$work/events")"; fi
    ends 'ctr: delete of a running one' 0 '' ctr task delete -f oom
    run ctr container rm oom
    many ctr "${run[@]}" --rm "$image" one true
}

# engine [OPTION-OF-DOCKERD]...: Docker, in the way that $manager names.
engine() {
    local pid what="$manager${1:+, $*}" runtime='{"path": "'$RUNTIME'"}' group=/system.slice mapped=$#
    local d=(docker) dockerd=(dockerd --bridge none --iptables=false --ip6tables=false)
    case $manager in
        # Such a shim learns of the driver only from the path of the cgroup.
        docker-shim) runtime='{"runtimeType": "'$SHIM'"}' ;;
        docker-user)
            printf '#!/bin/bash\nPATH=$PATH:/sbin:/usr/sbin exec bash %s "$@"\n' "$rootless" >"$work/rootless"
            chmod 755 "$work/rootless"
            d=("$work/as-user" docker --host unix:///run/user/1000/docker.sock)
            dockerd=("$work/as-user" "$work/rootless" --bridge none --iptables=false --ip6tables=false)
            group=/user@1000.service/user.slice mapped=1 ;;
    esac
    echo '{"runtimes": {"wharf": '"$runtime"'}}' >"$work/daemon.json"
    daemon "${d[@]}" info -- "${dockerd[@]}" --config-file "$work/daemon.json" --default-runtime wharf \
        --exec-opt native.cgroupdriver=systemd --storage-driver overlay2 "$@" || return
    "${d[@]}" load -qi "$work/image.tar" >/dev/null
    is "$what: the driver" "$("${d[@]}" info -f '{{.CgroupDriver}} {{.CgroupVersion}}' 2>/dev/null)" 'systemd 2'
    local run=("${d[@]}" run --network none)
    ends "$what: run" 3 '^hello$' "${run[@]}" --rm "$image" sh -c 'echo hello; exit 3'
    run "${run[@]}" -d --name long -m 64m --cpus 0.5 --pids-limit 50 "$image" sleep 600
    is "$what: run -d" "$CODE" 0
    pid=$("${d[@]}" inspect -f '{{.State.Pid}}' long)
    like "$what: the cgroup" "$(cat "/proc/$pid/cgroup")" "$group/docker-[0-9a-f]+$scope\$"
    is "$what: limits" "$(limits "$pid")" '67108864 50000 100000 50'
    if [ "$mapped" -gt 0 ]; then like "$what: a user namespace" "$(cat "/proc/$pid/uid_map")" '^ +0 +[1-9]'; fi
    ends "$what: exec" 4 '^in$' "${d[@]}" exec long sh -c 'echo in; exit 4'
    ends "$what: stats" 0 '[0-9.]+[kKM]iB / 64MiB [1-9]' "${d[@]}" stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' long
    ends "$what: pause" 0 '' "${d[@]}" pause long
    is "$what: frozen" "$(of cgroup.freeze "$pid")" 1
    ends "$what: unpause" 0 '' "${d[@]}" unpause long
    ends "$what: update" 0 '' "${d[@]}" update --cpus 0.4 -m 48m --memory-swap 48m long
    is "$what: updated limits" "$(limits "$pid")" '50331648 40000 100000 50'
    systemctl daemon-reload
    [ "$manager" != docker-user ] || "$work/as-user" systemctl --user daemon-reload
    is "$what: daemon-reload takes nothing away" "$(limits "$pid")" '50331648 40000 100000 50'
    ends "$what: stop" 0 '' "${d[@]}" stop -t 1 long
    ends "$what: start again" 0 '' "${d[@]}" start long
    ends "$what: rm -f" 0 '' "${d[@]}" rm -f long
    run "${run[@]}" -d --name oom -m 16m --memory-swap 16m "$image" sh -c 'tail /dev/zero; sleep 600'
    saw_oom() { [ "$("${d[@]}" inspect -f '{{.State.OOMKilled}}' oom)" = true ]; }
    wait_for 20 saw_oom
    is "$what: OOM kill is reported" "$("${d[@]}" inspect -f '{{.State.OOMKilled}}' oom)" true
    run "${d[@]}" rm -f oom
    many "$what" "${run[@]}" --rm "$image" true
    # The next one uses the same socket.
    if [ "$manager" = docker-user ]; then kill "$(cat /run/user/1000/docker.pid)"; else kill "${daemons[-1]}"; fi
    wait "${daemons[-1]}"
}

[ $# -gt 0 ] || set -- podman podman-user podman-auto podman-keep-id ctr docker docker-remap docker-shim docker-user nested
for manager; do
    case $manager in
        podman)
            podman root systemd
            podman root cgroupfs ;;
        podman-user)
            podman user systemd
            podman user cgroupfs ;;
        podman-auto)
            # The owner of the ranges.
            for file in /etc/subuid /etc/subgid; do grep -q ^containers: $file || echo containers:200000:262144 >>$file; done
            podman root systemd auto ;;
        podman-keep-id) podman user systemd keep-id ;;
        docker-user)
            rootless=$(command -v dockerd-rootless.sh || echo /usr/share/docker.io/contrib/dockerd-rootless.sh)
            if [ -e "$rootless" ] && command -v rootlesskit >/dev/null; then engine; else skip "$manager" 'there is no dockerd-rootless.sh'; fi ;;
        nested)
            nested root
            nested user ;;
        ctr) ctr ;;
        docker) engine ;;
        docker-shim) if [ -x "$SHIM" ]; then engine; else skip "$manager" "there is no $SHIM"; fi ;;
        docker-remap) engine --userns-remap user ;;
        *) echo "unknown manager $manager" >&2; exit 2 ;;
    esac
done
finish
