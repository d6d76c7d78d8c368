#!/bin/bash
# Podman and Buildah with a runtime underneath: RUNTIME=/abs/path [NAME=name] podman.sh
NEEDS='podman conmon buildah'
. "$(dirname "$0")/scenario.sh"

cd "$work" || exit 125
# This box has neither systemd nor a journal; images must not be looked for elsewhere.
cat >/etc/containers/containers.conf <<'END'
[containers]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
pull_policy = "never"
image_copy_tmp_dir = "/tmp"
END
cat >/etc/containers/storage.conf <<'END'
[storage]
driver = "overlay"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
END
podman=(podman --runtime "$RUNTIME")
p() { podman --runtime "$RUNTIME" "$@"; }
pr=("${podman[@]}" run --rm)
image=docker.io/library/scenario:1
inspect() { p inspect --format "$2" "$1" 2>&1; }
group_file() { printf 'cat /sys/fs/cgroup/%s 2>/dev/null || cat /sys/fs/cgroup/%s' "$1" "$2"; }
remove() { p rm -f -t 0 "$@" >/dev/null 2>&1; }

ends 'load an image' 0 'scenario:1' "${podman[@]}" load -i "$IMAGE_TAR"
printf '# Podman %s, runtime %s: %s\n' "$(p version --format '{{.Client.Version}}')" "$NAME" "$("$RUNTIME" --version 2>&1 | head -n1)"
ends 'info: the runtime and its version' 0 "$RUNTIME" "${podman[@]}" info --format '{{.Host.OCIRuntime.Path}} {{.Host.OCIRuntime.Version}}'

# --- the file for users
install "$RUNTIME" /usr/local/bin/wharf
mkdir -p /etc/containers/containers.conf.d
cp /opt/install/podman-containers.conf /etc/containers/containers.conf.d/wharf.conf
ends 'containers.conf: the runtime is the default' 0 '^/usr/local/bin/wharf$' podman info --format '{{.Host.OCIRuntime.Path}}'
ends 'containers.conf: a container runs' 0 '^hello$' podman run --rm "$image" echo hello
rm /etc/containers/containers.conf.d/wharf.conf

# --- run
ends 'run: output and exit code 0' 0 '^hello$' "${pr[@]}" "$image" echo hello
ends 'run: exit code 7' 7 '^$' "${pr[@]}" "$image" sh -c 'exit 7'
ends 'run: stdout and stderr apart' 0 '^out$' bash -c '"$@" 2>/dev/null' - "${pr[@]}" "$image" sh -c 'echo out; echo err >&2'
ends 'run -i: standard input' 0 '^piped$' bash -c 'echo piped | "$@"' - "${pr[@]}" -i "$image" cat
on_tty "${pr[@]}" -it "$image" sh -c 'tty; echo $TERM'
like 'run -it: a terminal' "$CODE $OUT" $'^0 /dev/pts/0\nxterm'
on_tty sh -c "stty rows 33 cols 77; exec ${pr[*]} -it $image sh -c 'sleep 1; stty size'"
like 'run -it: the size of the terminal' "$CODE $OUT" '^0 33 77'
ends 'run: pid 1, own hostname' 0 $'^1\nboat$' "${pr[@]}" --hostname boat "$image" sh -c 'echo $$; hostname'
ends 'run -e: an empty HOME is that of the user' 0 '^/home/app$' "${pr[@]}" --user app -e HOME= "$image" sh -c 'echo $HOME'
ends 'run -e, -w' 0 $'^a b\n/layer2$' "${pr[@]}" -e 'X=a b' -w /layer2 "$image" sh -c 'echo "$X"; pwd'
ends 'exit code 127: no such program' 127 'executable file.*not found in \$PATH' "${pr[@]}" "$image" nope
ends 'exit code 127: no such path' 127 'no such file or directory|No such file or directory|not found in \$PATH' "${pr[@]}" "$image" /bin/nope
ends 'exit code 126: no permission' 126 '[Pp]ermission denied' "${pr[@]}" "$image" /etc/plain
# A runtime that notices at `start` makes Podman exit with 126; one that does not leaves the error to the process.
ends 'no such interpreter' '1|126|127' '[Nn]o such file or directory' "${pr[@]}" "$image" /bin/badinterp
ends 'exit code 125: an image that is not there' 125 'nowhere' "${pr[@]}" localhost/nowhere true
ends 'a signal through the client' 143 '' bash -c '"$@" & p=$!; sleep 2; kill -TERM $p; wait $p' - "${pr[@]}" --init "$image" sleep 30

# --- users, capabilities, seccomp, limits
ends '--user by name' 0 '^1000 1000 .*10' "${pr[@]}" --user app "$image" sh -c 'echo $(id -u) $(id -g) $(id -G)'
ends '--cap-drop all' 0 'CapBnd:	0000000000000000' "${pr[@]}" --cap-drop all "$image" grep CapBnd /proc/self/status
ends '--cap-add' 0 'CapEff:	[0-9a-f]*2[0-9a-f]{6}$' "${pr[@]}" --cap-add sys_time "$image" grep CapEff /proc/self/status
ends 'the default seccomp profile filters' 0 'Seccomp:	2' "${pr[@]}" "$image" grep Seccomp: /proc/self/status
cat >"$work/no-mkdir.json" <<'END'
{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}
END
ends 'a custom seccomp profile' 0 $'No space left on device\ndone$' "${pr[@]}" --security-opt "seccomp=$work/no-mkdir.json" "$image" sh -c 'mkdir /x 2>&1; touch /y && echo done'
ends 'no-new-privileges' 0 'NoNewPrivs:	1' "${pr[@]}" --security-opt no-new-privileges "$image" grep NoNewPrivs /proc/self/status
# With a single limit, Podman adds a process limit above what this machine allows, hence the second.
ends '--ulimit' 0 $'^100\n200$' "${pr[@]}" --ulimit nofile=100:200 --ulimit nproc=1000:1000 "$image" sh -c 'ulimit -S -n; ulimit -H -n'
ends '--sysctl' 0 '^1234$' "${pr[@]}" --sysctl kernel.msgmax=1234 "$image" cat /proc/sys/kernel/msgmax
ends '--security-opt mask and unmask' 0 '^0$' "${pr[@]}" --security-opt mask=/layer2 "$image" sh -c 'ls /layer2 | wc -l'
ends '--read-only' 1 'Read-only file system' "${pr[@]}" --read-only "$image" touch /x
ends '--read-only: /tmp is a tmpfs' 0 'tmpfs' "${pr[@]}" --read-only "$image" sh -c 'touch /tmp/x && grep " /tmp " /proc/mounts'
ends '--init' 0 'catatonit|podman-init' "${pr[@]}" --init "$image" cat /proc/1/comm
ends '--device' 0 '^crw.* 10, 229 .*/dev/boat' "${pr[@]}" --device /dev/fuse:/dev/boat "$image" ls -l /dev/boat
ends '--timezone and --umask' 0 '^0027$' "${pr[@]}" --umask 0027 "$image" sh -c umask
ends '--privileged' 0 '^yes$' "${pr[@]}" --privileged "$image" sh -c 'mount -t tmpfs x /tmp && echo yes'
mkdir -p bind
echo data >bind/file
ends '-v, -v :ro' 1 $'^data\n.*Read-only file system' "${pr[@]}" -v "$work/bind:/mnt:ro" "$image" sh -c 'cat /mnt/file; touch /mnt/x'
ends '-v :U changes the owner' 0 '^1000$' "${pr[@]}" --user 1000 -v "$work/bind:/mnt:U" "$image" stat -c %u /mnt/file
ends '--tmpfs' 0 'size=1024k' "${pr[@]}" --tmpfs /mnt:size=1m "$image" grep ' /mnt ' /proc/mounts
ends '--preserve-fds' 0 '^handed$' bash -c 'exec 3<<<handed; exec "$@"' - "${pr[@]}" --preserve-fds 1 "$image" sh -c 'cat <&3'
ends '--passwd-entry, --annotation' 0 '' "${pr[@]}" --annotation a.b/c=d "$image" true

# --- resources
ends '-m is in the cgroup' 0 '^67108864$' "${pr[@]}" -m 64m "$image" sh -c "$(group_file memory/memory.limit_in_bytes memory.max)"
ends '--cpus is in the cgroup' 0 '^(50000|50000 100000)$' "${pr[@]}" --cpus 0.5 "$image" sh -c "$(group_file cpu/cpu.cfs_quota_us cpu.max)"
ends '--pids-limit is in the cgroup' 0 '^33$' "${pr[@]}" --pids-limit 33 "$image" sh -c "$(group_file pids/pids.max pids.max)"
# Podman 4 writes 0 for it, with a specification version older than the one that made 0 a limit.
ends '--pids-limit -1 is no limit' 0 $'^max\nchild$' "${pr[@]}" --pids-limit -1 "$image" sh -c "$(group_file pids/pids.max pids.max); (echo child)"
# Whether OOMKilled is true depends on conmon alone, and conmon 2.1.6 misses it on cgroup v1 with any runtime.
ends 'out of memory: killed' 137 '' "${pr[@]}" -m 16m --memory-swap 16m "$image" tail /dev/zero

# --- a long-running container
run "${podman[@]}" run -d --name long -m 64m "$image" sh -c 'trap "echo got TERM; exit 9" TERM; echo started; while :; do sleep 0.1; done'
like 'run -d prints the id' "$CODE $OUT" '^0 [0-9a-f]{64}$'
is 'inspect: running, with this runtime' "$(inspect long '{{.State.Status}} {{.OCIRuntime}}')" "running $RUNTIME"
ends 'exec: output and exit code' 4 '^inside$' "${podman[@]}" exec long sh -c 'echo inside; exit 4'
ends 'exec -i' 0 '^piped$' bash -c 'echo piped | "$@"' - "${podman[@]}" exec -i long cat
ends 'exec -u -w -e' 0 $'^1000\n/layer2\ny$' "${podman[@]}" exec -u app -w /layer2 -e X=y long sh -c 'id -u; pwd; echo $X'
on_tty "${podman[@]}" exec -it long tty
like 'exec -it: a terminal' "$CODE $OUT" '^0 /dev/pts/'
ends 'exec: exit code 127' 127 'executable file.*not found in \$PATH' "${podman[@]}" exec long nope
ends 'exec: exit code 126' 126 '[Pp]ermission denied' "${podman[@]}" exec long /etc/plain
ends 'exec --privileged' 0 '^yes$' "${podman[@]}" exec --privileged long sh -c 'mount -t tmpfs x /tmp && echo yes'
ends 'exec -d' 0 '^[0-9a-f]{64}$' "${podman[@]}" exec -d long sleep 71
ends 'top' 0 'sleep 71' "${podman[@]}" top long
ends 'logs' 0 '^started$' "${podman[@]}" logs long
ends 'stats' 0 '^[1-9][0-9.]*[kM]B / 67.11MB [1-9]' "${podman[@]}" stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' long
ends 'pause' 0 '' "${podman[@]}" pause long
is 'inspect: paused' "$(inspect long '{{.State.Status}}')" paused
ends 'exec in a paused container is refused' 255 'running|paused' "${podman[@]}" exec long true
ends 'unpause' 0 '' "${podman[@]}" unpause long
ends 'update' 0 '' "${podman[@]}" update --cpus 0.4 -m 48m long
ends 'update is in the cgroups' 0 $'^50331648\n(40000|40000 100000)$' "${podman[@]}" exec long sh -c "$(group_file memory/memory.limit_in_bytes memory.max); $(group_file cpu/cpu.cfs_quota_us cpu.max)"
ends 'cp in and out' 0 '^data$' bash -c '"$@" cp bind/file long:/tmp/copied && "$@" cp long:/tmp/copied - | tar -xO' - "${podman[@]}"
ends 'kill with a harmless signal' 0 '' "${podman[@]}" kill -s WINCH long
is 'it lives on' "$(inspect long '{{.State.Status}}')" running
ends 'stop' 0 '' "${podman[@]}" stop -t 10 long
is 'stop sent TERM and the trap ran' "$(inspect long '{{.State.ExitCode}}') $(p logs long | tail -n1)" '9 got TERM'
ends 'start again' 0 '' "${podman[@]}" start long
ends 'restart' 0 '' "${podman[@]}" restart -t 5 long
ends 'exec after restart' 0 '^again$' "${podman[@]}" exec long echo again
ends 'rm of a running container is refused' 2 'running|state' "${podman[@]}" rm long
ends 'rm -f' 0 '' "${podman[@]}" rm -f -t 1 long
run "${podman[@]}" run -d --name deaf "$image" sh -c 'trap "" TERM; while :; do sleep 0.1; done'
run "${podman[@]}" stop -t 1 deaf
is 'stop kills what is deaf to TERM' "$(inspect deaf '{{.State.ExitCode}}')" 137
remove deaf
run "${podman[@]}" run -d --name killed "$image" sleep 60
ends 'kill' 0 '' "${podman[@]}" kill killed
ends 'wait' 0 '^137$' "${podman[@]}" wait killed
remove killed
run "${podman[@]}" create --name unborn "$image" true
ends 'init makes the container, nothing runs' 0 '' "${podman[@]}" init unborn
is 'inspect: initialized' "$(inspect unborn '{{.State.Status}}')" initialized
ends 'rm of it' 0 '' "${podman[@]}" rm -f unborn
run "${podman[@]}" run -d --name again --restart on-failure:2 "$image" sh -c 'exit 3'
wait_for 20 bash -c "[ \"\$(podman inspect --format '{{.RestartCount}} {{.State.Status}}' again)\" = '2 exited' ]"
is '--restart on-failure:2' "$(inspect again '{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}')" '2 exited 3'
remove again
run "${podman[@]}" run -d --name health --health-cmd 'test -e /ok' --health-interval disable "$image" sleep 60
ends 'healthcheck run: unhealthy' 1 'unhealthy|^$' "${podman[@]}" healthcheck run health
run "${podman[@]}" exec health touch /ok
ends 'healthcheck run: healthy' 0 '^$' "${podman[@]}" healthcheck run health
remove health

# --- pods and namespaces
ends 'pod create' 0 '' "${podman[@]}" pod create --name pod --hostname harbour --infra-command '/bin/sleep 600' --infra-image "$image"
run "${podman[@]}" run -d --pod pod --name web "$image" sh -c 'mkdir /www; echo page >/www/index.html; httpd -f -p 80 -h /www'
is 'a first member runs' "$CODE" 0
ends 'a second member reaches it on localhost' 0 '^page$' "${pr[@]}" --pod pod "$image" sh -c 'for i in 1 2 3 4 5; do wget -qO- http://127.0.0.1/ && exit; sleep 0.5; done; exit 1'
is 'they share the network namespace' "$(p exec web readlink /proc/self/ns/net)" "$(p run --rm --pod pod "$image" readlink /proc/self/ns/net)"
ends 'they share the host name' 0 '^harbour$' "${podman[@]}" exec web hostname
unlike 'they do not share the pid namespace' "$(p run --rm --pod pod "$image" ps)" httpd
ends 'pod pause' 0 '' "${podman[@]}" pod pause pod
ends 'pod unpause' 0 '' "${podman[@]}" pod unpause pod
ends 'pod stop' 0 '' "${podman[@]}" pod stop -t 1 pod
ends 'pod start' 0 '' "${podman[@]}" pod start pod
ends 'pod rm' 0 '' "${podman[@]}" pod rm -f -t 1 pod
run "${podman[@]}" pod create --name pids --share pid,net,ipc,uts --infra-command '/bin/sleep 600' --infra-image "$image"
run "${podman[@]}" run -d --pod pids --name mate "$image" sleep 72
ends 'a pod with a shared pid namespace' 0 'sleep 72' "${pr[@]}" --pod pids "$image" ps
run "${podman[@]}" pod rm -f -t 0 pids
ends '--network none' 0 '^lo$' "${pr[@]}" --network none "$image" ls /sys/class/net
ends '--network host' 0 'box0' "${pr[@]}" --network host "$image" ls /sys/class/net
ends '--pid host, --ipc host, --uts host' 0 '^box$' "${pr[@]}" --pid host --ipc host --uts host "$image" hostname
ends 'the default network: an address' 0 'inet 10\.' "${pr[@]}" "$image" ip addr show eth0
ends '-p' 0 $'\npage$' bash -c '"$@" && for i in 1 2 3 4 5 6; do busybox wget -qO- http://127.0.0.1:8080/ && exit; sleep 0.5; done; exit 1' - "${podman[@]}" run -d --quiet --name server -p 127.0.0.1:8080:80 -v "$work/bind:/www" "$image" sh -c 'echo page >/www/index.html; httpd -f -p 80 -h /www; sleep 60'
remove server
echo containers:200000:262144 >/etc/subuid
echo containers:200000:262144 >/etc/subgid
ends '--userns auto' 0 '^ +0 +[23][0-9]{5} +[0-9]+$' "${pr[@]}" --userns auto "$image" cat /proc/self/uid_map
ends '--uidmap' 0 $'^ +0 +100000 +1000$' "${pr[@]}" --uidmap 0:100000:1000 --gidmap 0:100000:1000 "$image" cat /proc/self/uid_map
ends '--userns auto: a sysctl, a limit, a terminal' 0 '^1$' "${pr[@]}" -t --userns auto -m 64m --sysctl net.ipv4.ip_forward=1 "$image" cat /proc/sys/net/ipv4/ip_forward

# --- build
mkdir build
cat >build/Dockerfile <<'END'
FROM docker.io/library/scenario:1
ENV GREETING=ahoy
WORKDIR /made
COPY file /made/
RUN echo $GREETING >greeting && echo sailor:x:7:7::/:/bin/sh >>/etc/passwd
USER sailor
RUN id -un >/tmp/who
CMD ["cat", "/made/greeting", "/made/file", "/tmp/who"]
END
echo data >build/file
ends 'build' 0 'COMMIT built' "${podman[@]}" build --isolation oci --network none -t built build
ends 'run what was built' 0 $'^ahoy\ndata\nsailor$' "${pr[@]}" built
printf 'FROM docker.io/library/scenario:1\nRUN exit 5\n' >build/Dockerfile
ends 'build: a failing RUN' '5|125' 'exit status 5' "${podman[@]}" build --isolation oci --network none build
ends 'buildah: from, run, commit' 0 'bywater' bash -c 'c=$(buildah from docker.io/library/scenario:1) && buildah run --runtime "$0" --isolation oci --network none $c sh -c "echo bywater >/made" && buildah run --runtime "$0" --isolation oci --network none $c cat /made && buildah commit -q $c bywater && buildah rm $c' "$RUNTIME"
ends 'buildah run: exit code' 6 '' bash -c 'c=$(buildah from docker.io/library/scenario:1) && buildah run --runtime "$0" --isolation oci --network none $c sh -c "exit 6"; code=$?; buildah rm $c >/dev/null; exit $code' "$RUNTIME"
on_tty bash -c "c=\$(buildah from docker.io/library/scenario:1) && buildah run -t --runtime $RUNTIME --isolation oci --network none \$c tty; buildah rm \$c >/dev/null"
like 'buildah run -t: a terminal' "$CODE $OUT" '^0 .*/dev/(pts/0|console)'

# --- nothing is left
is 'no container is left' "$(p ps -aq | wc -l)" 0
# Podman itself leaves the groups of pods and of conmon.
is 'no cgroup of a container is left' "$(find /sys/fs/cgroup -type d -name 'libpod-[0-9a-f]*' | grep -v -- -conmon | wc -l)" 0
is 'no state of the runtime is left' "$(find "/run/$(basename "$RUNTIME")" -mindepth 1 2>/dev/null | wc -l)" 0
finish
