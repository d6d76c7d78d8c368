#!/bin/bash
# containerd with a runtime underneath, through its command-line client: RUNTIME=/abs/path [NAME=name] containerd.sh
#                                            or with another shim: SHIM=/abs/path [NAME=name] containerd.sh
#
# Without SHIM it is containerd's own runc shim, which calls the runtime as it would call runc.
NEEDS='containerd ctr'
. "$(dirname "$0")/scenario.sh"

image=docker.io/library/scenario:1
# `ctr container create` has no --runc-binary: the shim finds this runtime under the default name, and a custom shim is
# found in the same way.
mkdir "$work/bin"
ln -s "$RUNTIME" "$work/bin/runc"
[ -z "${SHIM:-}" ] || ln -s "$SHIM" "$work/bin/containerd-shim-runc-v2"
PATH=$work/bin:$PATH containerd --config <(
    # cri is off: it needs a CNI configuration and is driven by another client.
    cat <<'END'
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]
END
) --log-level debug >"$work/containerd.log" 2>&1 &
wait_for 20 ctr version || { log_tail "$work/containerd.log"; fail 'containerd starts'; finish; }
printf '# %s, runtime %s: %s\n' "$(containerd --version)" "$NAME" "$("$RUNTIME" --version 2>&1 | head -n1)"
[ -z "${SHIM:-}" ] || printf '# shim: %s\n' "$("$SHIM" -v 2>&1 | tr -s '\n ' ' ')"

options=(--runtime io.containerd.runc.v2 --runc-binary "$RUNTIME")
[ -z "${SHIM:-}" ] || options=(--runtime "$SHIM")
# ctr 1.6 stops copying when the task has ended, and so drops the output of a quick one.
TRIES=4
ctr_run=(ctr run "${options[@]}")

# bash -c 'exec_in "$@"' - OPTIONS ID COMMAND: an exec with an unused id.
exec_in() { ctr task exec --exec-id "e$RANDOM$RANDOM" "$@"; }
export -f exec_in

# ctr's tasks end asynchronously: a killed one is gone a moment later.
status() { ctr task ls | awk -v id="$1" '$1 == id {print $3}'; }
has_status() { [ "$(status "$1")" = "$2" ]; }
remove() { ctr task kill -s KILL "$1" >/dev/null 2>&1; wait_for 10 has_status "$1" STOPPED; ctr task rm "$1" >/dev/null 2>&1; ctr container rm "$1"; }
# All files of all committed layers: names, modes, owners and contents.
hash_layers() { tar --sort=name --numeric-owner -C /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots -c "${layer_dirs[@]}" | sha256sum; }

run ctr images import "$IMAGE_TAR"
is 'import an image of two layers' "$CODE" 0
mapfile -t layer_dirs < <(ls /var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots)
layers=$(hash_layers)
is 'its layers are two snapshots' "$(ctr snapshot ls | grep -c Committed)" 2

# --- run in the foreground
ends 'run: output and exit code 0' 0 '^hello$' "${ctr_run[@]}" --rm "$image" c echo hello
ends 'run: exit code 7' 7 '' "${ctr_run[@]}" --rm "$image" c sh -c 'exit 7'
ends 'run: the upper layer covers the lower one' 0 $'^upper\nsecond$' "${ctr_run[@]}" --rm "$image" c cat /etc/layer /layer2/file
ends 'run: killed from outside by SIGKILL is 137' 137 '' bash -c '(sleep 1; ctr task kill -s KILL c) & exec "$@"' - "${ctr_run[@]}" --rm "$image" c sleep 30
ends 'run: pid 1 in a pid namespace' 0 '^1$' "${ctr_run[@]}" --rm "$image" c sh -c 'echo $$'
# ctr does not close a standard input that ends before the task is made, hence the sleep.
run bash -c '(printf in; sleep 1) | "$@"' - "${ctr_run[@]}" --rm "$image" c cat
is 'run: standard input' "$OUT" in
ends 'run: stderr comes through' 0 '^to stderr$' "${ctr_run[@]}" --rm "$image" c sh -c 'echo to stderr >&2'
ends 'a missing command: error text and code' 1 'exec: "nope": executable file not found in \$PATH' "${ctr_run[@]}" --rm "$image" c nope
run ctr container rm c
ends 'a missing absolute path' 1 '/bin/nope.*no such file or directory' "${ctr_run[@]}" --rm "$image" c /bin/nope
run ctr container rm c
ends 'a command without execute permission' 1 'permission denied' "${ctr_run[@]}" --rm "$image" c /etc/plain
run ctr container rm c
ends 'a missing interpreter is an error' 1 'no such file or directory' "${ctr_run[@]}" --rm "$image" c /bin/badinterp
run ctr container rm c

# --- options that end up in config.json
ends '--env' 0 '^a=b c$' "${ctr_run[@]}" --rm --env 'X=a=b c' "$image" c sh -c 'echo $X'
ends '--cwd' 0 '^/layer2$' "${ctr_run[@]}" --rm --cwd /layer2 "$image" c pwd
ends '--cwd that does not exist is made' 0 '^/new/dir$' "${ctr_run[@]}" --rm --cwd /new/dir "$image" c pwd
ends '--read-only: writing is refused' 1 'Read-only file system' "${ctr_run[@]}" --rm --read-only "$image" c touch /x
ends '--mount bind, read-only' 1 'Read-only file system' "${ctr_run[@]}" --rm --mount "type=bind,src=$work,dst=/mnt,options=rbind:ro" "$image" c touch /mnt/x
ends '--mount tmpfs with a size' 0 '1024' "${ctr_run[@]}" --rm --mount "type=tmpfs,src=tmpfs,dst=/mnt,options=size=1m" "$image" c sh -c 'df -k /mnt | tail -n1'
ends '--memory-limit is in the cgroup' 0 '^67108864$' "${ctr_run[@]}" --rm --memory-limit 67108864 --mount type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro "$image" c sh -c 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes || cat /sys/fs/cgroup/memory.max'
ends '--memory-limit is enforced' 137 '' "${ctr_run[@]}" --rm --memory-limit 16777216 "$image" c sh -c 'tail /dev/zero & wait $!; exit $?'
run "${ctr_run[@]}" -d --pid-file "$work/pid" "$image" c sleep 64
wait_for 5 pgrep -x -f 'sleep 64' # the runtime may answer before the exec
is '--pid-file names the container process' "$(cat "$work/pid")" "$(pgrep -x -f 'sleep 64')"
remove c
ends '--privileged: mounting works' 0 'done' "${ctr_run[@]}" --rm --privileged "$image" c sh -c 'mount -t tmpfs x /tmp && echo done'
ends 'without it, mounting does not' 1 'permission denied|Operation not permitted' "${ctr_run[@]}" --rm "$image" c mount -t tmpfs x /tmp
ends '--seccomp: the default profile lets work' 0 '^Seccomp:	2' "${ctr_run[@]}" --rm --seccomp "$image" c grep Seccomp: /proc/self/status
ends '--seccomp: the default profile refuses keyctl-like calls' 1 'Operation not permitted' "${ctr_run[@]}" --rm --seccomp "$image" c unshare -U true
ends '--allow-new-privs absent: no_new_privs is set' 0 'NoNewPrivs:	1' "${ctr_run[@]}" --rm "$image" c grep NoNewPrivs /proc/self/status
ends '--rootfs: a directory instead of an image' 0 '^/$' bash -c 'mkdir -p /run/scenario/root/bin && cp /bin/busybox /run/scenario/root/bin/ && exec "$@" --rm --rootfs /run/scenario/root c /bin/busybox pwd' - "${ctr_run[@]}"
on_tty "${ctr_run[@]}" --rm --tty "$image" c sh -c 'sleep 0.3; tty; stty size'
like '--tty: a terminal' "$CODE $OUT" '^0 .*/dev/(pts/0|console)'

# --- layers stay as they were
run "${ctr_run[@]}" -d "$image" writer sh -c 'echo written >/layer2/new; echo changed >/etc/layer; rm /layer2/file; sync; sleep 60'
wait_for 10 ctr task exec --exec-id w writer test -e /layer2/new
ends 'a container sees what it wrote' 0 $'^written\nchanged$' bash -c 'exec_in "$@"' - writer cat /layer2/new /etc/layer
is 'the lower layers are unchanged meanwhile' "$(hash_layers)" "$layers"
remove writer
is 'the lower layers are unchanged afterwards' "$(hash_layers)" "$layers"
ends 'what was written is gone with the container' 0 $'^upper\nsecond\nnone$' "${ctr_run[@]}" --rm "$image" c sh -c 'cat /etc/layer /layer2/file; test -e /layer2/new || echo none'

# --- a long-running container
ends 'run -d' 0 '^$' "${ctr_run[@]}" -d "$image" long sh -c 'trap "exit 9" TERM; while :; do sleep 0.1; done'
is 'task ls: RUNNING' "$(status long)" RUNNING
ends 'task exec: output' 0 '^inside$' bash -c 'exec_in "$@"' - long echo inside
ends 'task exec: exit code' 5 '' bash -c 'exec_in "$@"' - long sh -c 'exit 5'
ends 'task exec: same pid namespace' 0 'trap' bash -c 'exec_in "$@"' - long cat /proc/1/cmdline
ends 'task exec: --cwd and --user' 0 $'^/layer2\n1000$' bash -c 'exec_in "$@"' - --cwd /layer2 --user 1000 long sh -c 'pwd; id -u'
ends 'task exec: a missing command' 1 'exec: "nope": executable file not found in \$PATH' bash -c 'exec_in "$@"' - long nope
# The pause: ctr complains if the process ends before it could set the size.
on_tty ctr task exec --exec-id e6 --tty long sh -c 'sleep 0.3; tty'
like 'task exec --tty: a terminal' "$CODE $OUT" '^0 .*/dev/pts/'
ends 'task ps lists its processes' 0 $'^PID .*\n[0-9]+' ctr task ps long
ends 'task metrics: memory and cpu' 0 'memory.usage_in_bytes +[1-9]|memory.usage +[1-9]' ctr task metrics long
like 'task metrics: pids' "$OUT" 'pids.current +[1-9]'
ends 'task pause' 0 '' ctr task pause long
is 'task ls: PAUSED' "$(status long)" PAUSED
ends 'exec in a paused container is refused' 1 'paused|pausing' bash -c 'exec_in "$@"' - long true
ends 'task resume' 0 '' ctr task resume long
is 'task ls: RUNNING again' "$(status long)" RUNNING
ends 'the task runs on after resume' 0 '^on$' bash -c 'exec_in "$@"' - long echo on
ends 'task rm of a running task is refused' 1 'must be stopped|still running|running' ctr task rm long
ends 'task kill with a signal' 0 '' ctr task kill -s TERM long
wait_for 10 has_status long STOPPED
is 'task ls: STOPPED' "$(status long)" STOPPED
ends 'kill of a stopped task: not found' 1 'not found|process already finished|no such process' ctr task kill -s KILL long
ends 'task rm tells the exit code' 0 'exit code 9' ctr task rm long
ends 'container rm' 0 '' ctr container rm long

# --- create, then start; kill --all
ends 'container create' 0 '' ctr container create "$image" two sleep 61
ends 'task start -d' 0 '' ctr task start -d two
run ctr task exec --detach --exec-id s two sleep 62
run ctr task exec --detach --exec-id t two sleep 63
is 'a task and two detached execs run' "$(ctr task ps two | grep -c '^[0-9]')" 3
ends 'task kill --all' 0 '' ctr task kill --all -s KILL two
wait_for 10 has_status two STOPPED
is 'all of them are gone' "$(pgrep -fc '^sleep 6[123]')" 0
ends 'task delete of the killed task tells 137' 0 'exit code 137' ctr task delete two
run ctr container rm two
ends 'task delete --force of a running task' 0 'exit code 137' bash -c 'ctr run -d "$@" && ctr task delete --force f; code=$?; ctr container rm f; exit $code' - "${options[@]}" "$image" f sleep 60

# --- a second container with the name of the first; many at once
ends 'an id can be used again' 0 '^1$' "${ctr_run[@]}" --rm "$image" long echo 1
run bash -c 'for i in $(seq 8); do "$@" --rm docker.io/library/scenario:1 m$i sh -c "echo $i" & done; wait' - "${ctr_run[@]}"
is 'eight at once' "$(sort <<<"$OUT" | tr -d '\n')" 12345678
ends 'nothing is left: no task' 0 $'^TASK +PID +STATUS *$' ctr task ls
is 'nothing is left: no cgroup' "$(find /sys/fs/cgroup -mindepth 2 -type d -path '*/default/*' | wc -l)" 0
is 'nothing is left: no state of the runtime' "$(find /run/containerd/runc -mindepth 2 2>/dev/null | wc -l)" 0
is 'nothing is left: no mount' "$(grep -c /run/containerd/io.containerd.runtime.v2.task /proc/self/mountinfo)" 0

[ "$failed" = 0 ] || log_tail "$work/containerd.log" "${LOG_LINES:-20}"
finish
