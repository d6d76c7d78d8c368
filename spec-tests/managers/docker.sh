#!/bin/bash
# Docker Engine with a runtime underneath: RUNTIME=/abs/path [NAME=name] docker.sh
#
# The runtime is added as `tested` (Docker reserves the name runc) and is the default, so that the builder uses it too.
# With SHIM=/abs/path, containerd finds that shim in place of its own; the shim gets the runtime's path as BinaryName.
NEEDS='containerd dockerd docker-init'
. "$(dirname "$0")/scenario.sh"

# Debian's client by its path: another docker may come first.
docker=/usr/bin/docker
export DOCKER_BUILDKIT=0 DOCKER_CONFIG=$work/client DOCKER_HOST=unix:///run/docker.sock
image=scenario:1
cd "$work" || exit 125

mkdir bin
[ -z "${SHIM:-}" ] || ln -s "$SHIM" bin/containerd-shim-runc-v2
PATH=$work/bin:$PATH

start_daemon() {
    dockerd --host "$DOCKER_HOST" --add-runtime "tested=$RUNTIME" --default-runtime tested \
        --exec-opt native.cgroupdriver=cgroupfs --bip 172.30.0.1/24 --shutdown-timeout 3 "$@" >>"$work/dockerd.log" 2>&1 &
    daemon=$!
    wait_for 30 "$docker" version || { log_tail "$work/dockerd.log"; fail "Docker starts ($*)"; finish; }
}

stop_daemon() {
    kill -TERM "$daemon"
    wait "$daemon"
}

# dr OPTIONS IMAGE COMMAND: a container in the foreground that is removed when it ends.
dr=("$docker" run --rm --pull never)
inspect() { "$docker" inspect --format "$2" "$1" 2>&1; }
state_is() { [ "$(inspect "$1" '{{.State.Status}}')" = "$2" ]; }
# Prints a file of the container's cgroup as the container sees it: v1 name first, v2 name second.
group_file() { printf 'cat /sys/fs/cgroup/%s 2>/dev/null || cat /sys/fs/cgroup/%s' "$1" "$2"; }
remove() { "$docker" rm -f "$@" >/dev/null 2>&1; }

# privileged WHAT WANTED: judges the OUT of a privileged run, which asks for every capability. The runtime spec asks for
# a warning about one that the machine lacks; runc and crun refuse, which does not count as a failure of this scenario.
privileged() {
    local bounding
    bounding=0x$(awk '/CapBnd/{print $2}' /proc/self/status)
    if [[ $CODE = 0 && $OUT =~ ^$2$ ]]; then
        pass "$1"
    elif [[ $NAME =~ ^(runc|crun)$ ]] && (((bounding & 1 << 24) == 0)) && [[ $OUT == *'not permitted'* ]]; then
        skip "$1" "this machine lacks CAP_SYS_RESOURCE and $NAME refuses to go on without"
    else
        fail "$1" "$CODE $OUT"
    fi
}

start_daemon
printf '# Docker %s, runtime %s: %s\n' "$("$docker" version --format '{{.Server.Version}}')" "$NAME" "$("$RUNTIME" --version 2>&1 | head -n1)"
is 'info names the runtime as the default' "$("$docker" info --format '{{.DefaultRuntime}}')" tested
ends 'load an image' 0 'scenario:1' "$docker" load -i "$IMAGE_TAR"

# --- run
ends 'run: output and exit code 0' 0 '^hello$' "${dr[@]}" "$image" echo hello
ends 'run: exit code 7' 7 '^$' "${dr[@]}" "$image" sh -c 'exit 7'
ends 'run: stdout and stderr apart' 0 '^out$' bash -c '"$@" 2>/dev/null' - "${dr[@]}" "$image" sh -c 'echo out; echo err >&2'
ends 'run -i: standard input' 0 '^piped$' bash -c 'echo piped | "$@"' - "${dr[@]}" -i "$image" cat
on_tty "${dr[@]}" -it "$image" sh -c 'tty; echo $TERM'
like 'run -it: a terminal' "$CODE $OUT" $'^0 /dev/(pts/0|console)\nxterm'
on_tty sh -c "stty rows 33 cols 77; exec $docker run --rm -it $image sh -c 'sleep 1; stty size'"
like 'run -it: the size of the terminal' "$CODE $OUT" '^0 33 77'
# The client's own terminal is raw: without these carriage returns the lines form a staircase.
on_tty sh -c "$docker run --rm -it $image printf 'a\\nb\\n' | od -An -c"
like 'run -it: each line begins at the left' "$CODE $OUT" '^0 +a +\\r +\\n +b +\\r +\\n'
ends 'run: pid 1, own hostname' 0 $'^1\nboat$' "${dr[@]}" --hostname boat "$image" sh -c 'echo $$; hostname'
ends 'run --domainname' 0 '^sea$' "${dr[@]}" --domainname sea "$image" sh -c 'cat /proc/sys/kernel/domainname'
ends 'run -e, -w' 0 $'^a b\n/new/dir$' "${dr[@]}" -e 'X=a b' -w /new/dir "$image" sh -c 'echo "$X"; pwd'
ends 'exit code 127: no such program' 127 'exec: "nope": executable file not found in \$PATH' "${dr[@]}" "$image" nope
ends 'exit code 127: no such path' 127 'no such file or directory' "${dr[@]}" "$image" /bin/nope
ends 'exit code 126: no permission' 126 'permission denied' "${dr[@]}" "$image" /etc/plain
# runc has answered before the exec, so Docker sees a program that ended with 1; a runtime that waits for the exec gives
# 127.
ends 'no such interpreter' '1|127' 'no such file or directory' "${dr[@]}" "$image" /bin/badinterp
ends 'exit code 125: a bad option of the daemon' 125 'invalid' "${dr[@]}" --sysctl bad.name=1 "$image" true
ends 'a signal reaches pid 1 through the client' 143 '' bash -c '"$@" & p=$!; sleep 2; kill -TERM $p; wait $p' - "${dr[@]}" --init "$image" sleep 30

# --- users, capabilities, seccomp, limits
ends '--user by name: groups of the image' 0 '^1000 1000 (1000 10|10 1000|10)$' "${dr[@]}" --user app "$image" sh -c 'echo $(id -u) $(id -g) $(grep Groups: /proc/self/status | cut -f2)'
ends '--user by number, --group-add' 0 '^5 6 .*\<77\>' "${dr[@]}" --user 5:6 --group-add 77 "$image" sh -c 'echo $(id -u) $(id -g) $(id -G)'
ends '--cap-drop ALL: no capability' 0 'CapBnd:	0000000000000000' "${dr[@]}" --cap-drop ALL "$image" grep CapBnd /proc/self/status
ends '--cap-drop CHOWN: chown is refused' 1 'Operation not permitted' "${dr[@]}" --cap-drop CHOWN "$image" chown 5 /etc/layer
ends '--cap-add SYS_TIME: the bit is set' 0 '^00000000aa0425fb|^00000000aa[0-9a-f]*' "${dr[@]}" --cap-add SYS_TIME "$image" sh -c 'grep CapEff /proc/self/status | cut -f2'
ends 'the default capabilities' 0 '^00000000a80425fb$' "${dr[@]}" "$image" sh -c 'grep CapEff /proc/self/status | cut -f2'
ends 'the default seccomp profile filters' 0 'Seccomp:	2' "${dr[@]}" "$image" grep Seccomp: /proc/self/status
ends 'the default seccomp profile refuses unshare' 1 'Operation not permitted' "${dr[@]}" "$image" unshare -U true
cat >"$work/no-mkdir.json" <<'END'
{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32","SCMP_ARCH_AARCH64","SCMP_ARCH_ARM"],
"syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}
END
ends 'a custom seccomp profile: mkdir fails, touch does not' 0 $'No space left on device\ndone$' "${dr[@]}" --security-opt "seccomp=$work/no-mkdir.json" "$image" sh -c 'mkdir /x 2>&1; touch /y && echo done'
ends 'seccomp=unconfined' 0 'Seccomp:	0' "${dr[@]}" --security-opt seccomp=unconfined "$image" grep Seccomp: /proc/self/status
ends 'no-new-privileges' 0 'NoNewPrivs:	1' "${dr[@]}" --security-opt no-new-privileges "$image" grep NoNewPrivs /proc/self/status
ends '--ulimit' 0 $'^100\n200$' "${dr[@]}" --ulimit nofile=100:200 "$image" sh -c 'ulimit -S -n; ulimit -H -n'
ends '--sysctl' 0 $'^1234\n1$' "${dr[@]}" --sysctl kernel.msgmax=1234 --sysctl net.ipv4.ip_forward=1 "$image" sh -c 'cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward'
ends '--oom-score-adj' 0 '^500$' "${dr[@]}" --oom-score-adj 500 "$image" cat /proc/self/oom_score_adj
ends 'masked and read-only paths' 1 'Read-only file system' "${dr[@]}" "$image" sh -c 'test ! -s /proc/kcore || exit 3; echo x >/proc/sys/kernel/domainname'
ends '--read-only' 1 'Read-only file system' "${dr[@]}" --read-only "$image" touch /x
ends '--read-only --tmpfs: only that is writable' 0 'size=2048k.*rw|rw.*size=2048k' "${dr[@]}" --read-only --tmpfs /tmp:rw,size=2m "$image" sh -c 'touch /tmp/x && grep " /tmp " /proc/mounts'
ends '--shm-size' 0 '4096' "${dr[@]}" --shm-size 4m "$image" sh -c 'df -k /dev/shm | tail -n1'
ends '--device' 0 '^crw.* 10, 229 .*/dev/boat' "${dr[@]}" --device /dev/fuse:/dev/boat "$image" ls -l /dev/boat
ends 'a device that was not given is refused' 1 'Operation not permitted' "${dr[@]}" "$image" sh -c 'mknod /tmp/x c 10 229 && cat /tmp/x'
ends '--init: docker-init is pid 1' 0 '^docker-init$' "${dr[@]}" --init "$image" cat /proc/1/comm
run "${dr[@]}" --privileged "$image" sh -c 'mount -t tmpfs x /tmp && test -c /dev/fuse && echo yes'
privileged '--privileged: mounts and all devices' yes

# --- mounts
mkdir -p bind/sub shared
echo data >bind/file
ends '-v' 0 '^data$' "${dr[@]}" -v "$work/bind:/mnt" "$image" sh -c 'cat /mnt/file && echo new >/mnt/new'
is '-v: what was written is outside' "$(cat bind/new)" new
ends '-v :ro' 1 'Read-only file system' "${dr[@]}" -v "$work/bind:/mnt:ro" "$image" touch /mnt/x
ends '-v of a file' 0 '^data$' "${dr[@]}" -v "$work/bind/file:/etc/layer:ro" "$image" cat /etc/layer
ends '--mount type=tmpfs' 0 'noexec' "${dr[@]}" --mount type=tmpfs,dst=/mnt,tmpfs-size=1m "$image" sh -c 'grep " /mnt " /proc/mounts'
"$docker" volume create vol >/dev/null
ends 'a volume takes the content of the image' 0 '^second$' "${dr[@]}" -v vol:/layer2 "$image" cat /layer2/file
mount -t tmpfs shared shared && mount --make-shared shared && mkdir shared/{in,out}
run "${dr[@]}" --cap-add SYS_ADMIN -v "$work/shared:/mnt:rshared" "$image" sh -c 'mount -t tmpfs inner /mnt/in && touch /mnt/in/here'
is '-v :rshared: a mount of the container is seen outside' "$CODE $(ls shared/in)" '0 here'
umount shared/in 2>/dev/null
run "$docker" run -d --name slave -v "$work/shared:/mnt:rslave" "$image" sleep 60
mount -t tmpfs outer shared/out && touch shared/out/there
ends '-v :rslave: a mount outside is seen in the container' 0 '^there$' "$docker" exec slave ls /mnt/out
umount shared/out
remove slave
run "$docker" run -d --name private -v "$work/shared:/mnt" "$image" sleep 60
mount -t tmpfs outer shared/out && touch shared/out/there
ends '-v: private by default' 0 '^$' "$docker" exec private ls /mnt/out
umount shared/out
remove private

# --- resources
ends '-m is in the cgroup' 0 '^67108864$' "${dr[@]}" -m 64m "$image" sh -c "$(group_file memory/memory.limit_in_bytes memory.max)"
ends '--cpus is in the cgroup' 0 '^(50000|50000 100000)$' "${dr[@]}" --cpus 0.5 "$image" sh -c "$(group_file cpu/cpu.cfs_quota_us cpu.max)"
ends '--cpu-shares is in the cgroup' 0 '^(512|20|59)$' "${dr[@]}" --cpu-shares 512 "$image" sh -c "$(group_file cpu/cpu.shares cpu.weight)"
ends '--cpuset-cpus is in the cgroup' 0 '^0$' "${dr[@]}" --cpuset-cpus 0 "$image" sh -c "$(group_file cpuset/cpuset.cpus cpuset.cpus)"
ends '--pids-limit is in the cgroup' 0 '^33$' "${dr[@]}" --pids-limit 33 "$image" sh -c "$(group_file pids/pids.max pids.max)"
ends '--cgroup-parent' 0 '' "${dr[@]}" --cgroup-parent /boats "$image" true
run "$docker" run --name oom -m 16m --memory-swap 16m "$image" tail /dev/zero
is 'out of memory: killed, and reported as such' "$CODE $(inspect oom '{{.State.OOMKilled}} {{.State.ExitCode}}')" '137 true 137'
remove oom
run "$docker" run -d --name bomb --pids-limit 20 "$image" sh -c 'b() { b | b & }; b; while :; do sleep 1; b 2>/dev/null; done'
sleep 2
run "$docker" exec bomb true # may itself be refused; then the next lines still hold
count=$("$docker" stats --no-stream --format '{{.PIDs}}' bomb)
if [ "$count" -ge 2 ] && [ "$count" -le 21 ]; then pass 'a fork bomb is bounded'; else fail 'a fork bomb is bounded' "$count processes"; fi
ends 'a fork bomb can be killed' 0 '' timeout 20 "$docker" rm -f bomb

# --- a long-running container
run "$docker" run -d --name long -m 64m "$image" sh -c 'trap "echo got TERM; exit 9" TERM; echo started; echo warn >&2; while :; do sleep 0.1; done'
like 'run -d prints the id' "$CODE $OUT" '^0 [0-9a-f]{64}$'
is 'state: running' "$(inspect long '{{.State.Status}}')" running
is 'the pid is that of pid 1' "$(awk '/NSpid/{print $NF}' "/proc/$(inspect long '{{.State.Pid}}')/status")" 1
ends 'exec: output and exit code' 4 '^inside$' "$docker" exec long sh -c 'echo inside; exit 4'
ends 'exec -i' 0 '^piped$' bash -c 'echo piped | "$@"' - "$docker" exec -i long cat
ends 'exec -u -w -e' 0 $'^1000\n/layer2\ny$' "$docker" exec -u app -w /layer2 -e X=y long sh -c 'id -u; pwd; echo $X'
ends 'exec -e: an empty HOME is that of the user' 0 '^/root$' "$docker" exec -e HOME= long sh -c 'echo $HOME'
on_tty "$docker" exec -it long tty
like 'exec -it: a terminal' "$CODE $OUT" '^0 /dev/pts/'
# The capabilities are all there (21 is CAP_SYS_ADMIN); the container's seccomp filter stays in force.
run "$docker" exec --privileged long sh -c 'grep CapEff /proc/self/status'
privileged 'exec --privileged' '.*[2367abef][0-9a-f]{5}'
# Docker 20.10 gives 126 for both.
ends 'exec: exit code 127' '126|127' 'executable file not found in \$PATH' "$docker" exec long nope
ends 'exec: exit code 126' 126 'permission denied' "$docker" exec long /etc/plain
ends 'exec -d' 0 '^$' "$docker" exec -d long sleep 71
wait_for 5 bash -c "$docker top long | grep 'sleep 71'"
ends 'top' 0 'UID.*sleep 71' "$docker" top long
ends 'top with columns of its own' 0 'PID.*COMMAND' "$docker" top long -o pid,comm
ends 'logs' 0 '^(started.warn|warn.started)$' "$docker" logs long
ends 'stats --no-stream' 0 '^[1-9][0-9.]*[KM]iB / 64MiB [1-9]' "$docker" stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' long
ends 'pause' 0 '' "$docker" pause long
is 'state: paused' "$(inspect long '{{.State.Status}}')" paused
ends 'exec in a paused container is refused' 1 'paused' "$docker" exec long true
ends 'unpause' 0 '' "$docker" unpause long
ends 'it runs on' 0 '^on$' "$docker" exec long echo on
ends 'update -m' 0 '' "$docker" update -m 48m --memory-swap 48m --cpus 0.4 --pids-limit 44 long
ends 'update is in the cgroups' 0 $'^50331648\n(40000|40000 100000)\n44$' "$docker" exec long sh -c "$(group_file memory/memory.limit_in_bytes memory.max); $(group_file cpu/cpu.cfs_quota_us cpu.max); $(group_file pids/pids.max pids.max)"
ends 'cp into it' 0 '' "$docker" cp bind/file long:/tmp/copied
ends 'cp out of it' 0 '' "$docker" cp long:/tmp/copied copied
is 'cp: the content' "$(cat copied)" data
ends 'diff' 0 'A /tmp/copied' "$docker" diff long
ends 'kill -s USR1 to a process that would die of it' 0 '' "$docker" kill -s WINCH long
is 'it lives on' "$(inspect long '{{.State.Status}}')" running
ends 'stop' 0 '' "$docker" stop -t 10 long
is 'stop sent TERM and the trap ran' "$(inspect long '{{.State.ExitCode}}') $("$docker" logs long 2>&1 | tail -n1)" '9 got TERM'
ends 'start again' 0 '' "$docker" start long
ends 'restart' 0 '' "$docker" restart -t 5 long
ends 'exec after restart' 0 '^again$' "$docker" exec long echo again
ends 'rm -f' 0 '' "$docker" rm -f long
run "$docker" run -d --name deaf "$image" sh -c 'trap "" TERM; while :; do sleep 0.1; done'
ends 'stop of a container deaf to TERM' 0 '' "$docker" stop -t 1 deaf
is 'it was killed' "$(inspect deaf '{{.State.ExitCode}} {{.State.OOMKilled}}')" '137 false'
remove deaf

# --- policies
run "$docker" run -d --name again --restart on-failure:2 "$image" sh -c 'exit 3'
wait_for 20 bash -c "[ \"\$($docker inspect --format '{{.RestartCount}} {{.State.Status}}' again)\" = '2 exited' ]"
is '--restart on-failure:2' "$(inspect again '{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}')" '2 exited 3'
remove again
run "$docker" run -d --name health --health-cmd 'test -e /ok' --health-interval 500ms --health-retries 2 "$image" sleep 60
wait_for 10 bash -c "[ \"\$($docker inspect --format '{{.State.Health.Status}}' health)\" = unhealthy ]"
is 'healthcheck: unhealthy' "$(inspect health '{{.State.Health.Status}}')" unhealthy
run "$docker" exec health touch /ok
wait_for 10 bash -c "[ \"\$($docker inspect --format '{{.State.Health.Status}}' health)\" = healthy ]"
is 'healthcheck: healthy' "$(inspect health '{{.State.Health.Status}}')" healthy
remove health
since=$(date +%s)
run "$docker" run --name died "$image" sh -c 'exit 42'
ends 'events: die with the exit code' 0 '^42$' "$docker" events --since "$since" --until "$(($(date +%s) + 1))" --filter container=died --filter event=die --format '{{.Actor.Attributes.exitCode}}'
remove died
run "$docker" run -d --name waited "$image" sh -c 'sleep 1; exit 6'
ends 'wait' 0 '^6$' "$docker" wait waited
remove waited
run "$docker" create --name unborn "$image" true
ends 'rm of a created container' 0 '' "$docker" rm unborn

# --- namespaces and network
run "$docker" run -d --name server -p 127.0.0.1:8080:80 "$image" sh -c 'mkdir /www; echo page >/www/index.html; httpd -f -p 80 -h /www'
ends 'network: the bridge' 0 '^page$' "${dr[@]}" "$image" sh -c "for i in 1 2 3 4 5; do wget -qO- http://$(inspect server '{{.NetworkSettings.IPAddress}}')/ && exit; sleep 0.5; done; exit 1"
ends 'network: a published port' 0 '^page$' busybox wget -qO- http://127.0.0.1:8080/
ends '--network container:' 0 '^page$' "${dr[@]}" --network container:server "$image" wget -qO- http://127.0.0.1/
ends '--network none' 0 '^lo$' "${dr[@]}" --network none "$image" ls /sys/class/net
ends '--network host' 0 'box0' "${dr[@]}" --network host "$image" ls /sys/class/net
ends '--pid container:' 0 'httpd' "${dr[@]}" --pid container:server "$image" cat /proc/1/cmdline
ends '--pid host' 0 'dockerd' "${dr[@]}" --pid host "$image" ps
ends '--ipc container:, --uts host' 0 '^box$' bash -c "$docker run -d --name ipc --ipc shareable $image sleep 60 >/dev/null && $docker run --rm --ipc container:ipc --uts host $image hostname"
remove server ipc

# --- build with the tested runtime
mkdir build
cat >build/Dockerfile <<'END'
FROM scenario:1
ENV GREETING=ahoy
WORKDIR /made
COPY file /made/
RUN echo $GREETING >greeting && echo sailor:x:7:7::/:/bin/sh >>/etc/passwd
USER sailor
RUN id -un >/tmp/who
HEALTHCHECK --interval=1s CMD true
CMD ["cat", "/made/greeting", "/made/file", "/tmp/who"]
END
cp bind/file build/
ends 'build: RUN, COPY, USER' 0 'Successfully built' "$docker" build --network none -t built build
ends 'run what was built' 0 $'^ahoy\ndata\nsailor$' "${dr[@]}" built
printf 'FROM scenario:1\nRUN exit 5\n' >build/Dockerfile
ends 'build: a failing RUN' 5 'returned a non-zero code: 5' "$docker" build --network none build
printf 'FROM scratch\nADD root.tar /\nRUN ["/bin/busybox", "touch", "/x"]\n' >build/Dockerfile
tar -C build -cf build/root.tar --transform 's,^.*/,bin/,' "$(command -v busybox)" 2>/dev/null
ends 'build: FROM scratch' 0 'Successfully built' "$docker" build --network none build
run "$docker" run --name source "$image" touch /committed
ends 'commit' 0 'sha256:' "$docker" commit source committed
ends 'run what was committed' 0 '/committed' "${dr[@]}" committed ls /committed
remove source

# --- nothing is left
run bash -c "$docker container prune -f; $docker ps -aq"
unlike 'no container is left' "$OUT" '^[0-9a-f]{12}$'
is 'no cgroup of a container is left' "$(find /sys/fs/cgroup -mindepth 3 -type d -path '*/docker/*' | wc -l)" 0
is 'no state of the runtime is left' "$(find /run/docker/runtime-* /run/containerd/runc -mindepth 2 2>/dev/null | wc -l)" 0
stop_daemon

# --- user namespaces: another daemon, since this is a setting of the whole daemon
useradd -r dockremap 2>/dev/null
echo dockremap:100000:65536 >/etc/subuid
echo dockremap:100000:65536 >/etc/subgid
start_daemon --userns-remap default
ends 'userns-remap: load' 0 'scenario:1' "$docker" load -i "$IMAGE_TAR"
ends 'userns-remap: the map' 0 '^ +0 +100000 +65536$' "${dr[@]}" "$image" cat /proc/self/uid_map
ends 'userns-remap: root inside, files of root' 0 $'^0\n0$' "${dr[@]}" "$image" sh -c 'id -u; stat -c %u /etc/layer'
run "$docker" run -d --name mapped "$image" sleep 60
is 'userns-remap: another uid outside' "$(stat -c %u "/proc/$(inspect mapped '{{.State.Pid}}')")" 100000
ends 'userns-remap: exec' 0 '^0$' "$docker" exec mapped id -u
ends 'userns-remap: sysctl of the network namespace' 0 '^1$' "${dr[@]}" --sysctl net.ipv4.ip_forward=1 "$image" cat /proc/sys/net/ipv4/ip_forward
on_tty "${dr[@]}" -it "$image" tty
like 'userns-remap: a terminal' "$CODE $OUT" '^0 /dev/(pts/0|console)'
ends 'userns-remap: limits' 0 '^33$' "${dr[@]}" --pids-limit 33 "$image" sh -c "$(group_file pids/pids.max pids.max)"
remove mapped
stop_daemon

[ "$failed" = 0 ] || grep -E 'level=(error|warning|fatal)' "$work/dockerd.log" | tail -n "${LOG_LINES:-20}" | sed 's/^/# /'
finish
