#!/bin/bash
# A containerd shim through crashes and restarts: [SHIM=/abs/path] [PROGRAMS=/abs/dir] containerd-shim.sh
#
# containerd.sh covers the usual life cycle (with the same SHIM). Without SHIM it is containerd's own.
NEEDS='containerd ctr'
: "${SHIM:=$(command -v containerd-shim-runc-v2)}"
export SHIM
. "$(dirname "$0")/scenario.sh"

image=docker.io/library/scenario:1
mkdir "$work/bin"
ln -s "$RUNTIME" "$work/bin/runc"
ln -s "$SHIM" "$work/bin/containerd-shim-runc-v2"
cat >"$work/config.toml" <<'END'
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]
END

start_containerd() {
    PATH=$work/bin:$PATH containerd --config "$work/config.toml" --log-level debug >>"$work/containerd.log" 2>&1 &
    daemon=$!
    wait_for 30 ctr version || { log_tail "$work/containerd.log"; fail 'containerd starts'; finish; }
}
stop_containerd() {
    kill -"$1" "$daemon"
    wait "$daemon" 2>/dev/null
}

options=(--runtime "$SHIM")
TRIES=4
ctr_run=(ctr run "${options[@]}")
exec_in() { ctr task exec --exec-id "e$RANDOM$RANDOM" "$@"; }
export -f exec_in
status() { ctr task ls | awk -v id="$1" '$1 == id {print $3}'; }
has_status() { [ "$(status "$1")" = "$2" ]; }
# Processes whose executable is the shim's, and the one of those that serves a container.
shims() { pgrep -f "$(basename "$SHIM") -namespace default" | wc -l; }
shim_of() { pgrep -f "$(basename "$SHIM") -namespace default -id $1 "; }
no_shims() { [ "$(shims)" = 0 ]; }
remove() { ctr task kill -s KILL "$1" >/dev/null 2>&1; wait_for 10 has_status "$1" STOPPED; ctr task rm "$1" >/dev/null 2>&1; ctr container rm "$1"; }

start_containerd
printf '# %s, shim %s\n' "$(containerd --version)" "$("$SHIM" -v 2>&1 | tr -s '\n ' ' ')"
ends 'import an image' 0 '' ctr images import "$IMAGE_TAR"

# --- containerd restarts under running tasks
ends 'run -d' 0 '' "${ctr_run[@]}" -d "$image" one sh -c 'trap "exit 9" TERM; while :; do sleep 0.1; done'
ends 'run -d of a second task' 0 '' "${ctr_run[@]}" -d "$image" two sleep 66
pid=$(ctr task ls | awk '$1 == "one" {print $2}')
stop_containerd TERM
is 'containerd stopped: both containers run on' "$(pgrep -xfc 'sleep 66') $(ls -d "/proc/$pid" 2>/dev/null)" "1 /proc/$pid"
start_containerd
is 'containerd is back: both tasks run' "$(status one) $(status two)" 'RUNNING RUNNING'
is 'the same process' "$(ctr task ls | awk '$1 == "one" {print $2}')" "$pid"
ends 'exec after the restart' 0 '^here$' bash -c 'exec_in "$@"' - one echo here
ends 'metrics after the restart' 0 'pids.current +[1-9]' ctr task metrics one
ends 'pause and resume after the restart' 0 '' bash -c 'ctr task pause one && ctr task resume one'
ends 'a new task after the restart' 0 '^new$' "${ctr_run[@]}" --rm "$image" three echo new

# --- containerd is killed; a task ends meanwhile
stop_containerd KILL
pkill -KILL -xf 'sleep 66'
start_containerd
if [[ $(containerd --version) =~ [[:space:]]v?1\. ]]; then
    wait_for 10 has_status two STOPPED
    is 'a task that ended meanwhile is stopped' "$(status two)" STOPPED
    ends 'its exit code is kept' 0 'exit code 137' ctr task rm two
else
    # containerd 2 deletes it at start-up.
    is_gone() { [ -z "$(status two)" ]; }
    wait_for 10 is_gone
    is 'a task that ended meanwhile is gone' "$(status two)" ''
fi
run ctr container rm two
is 'the other runs on' "$(status one)" RUNNING
ctr task kill -s TERM one
wait_for 10 has_status one STOPPED
ends 'its signal arrives and its exit code too' 0 'exit code 9' ctr task rm one
run ctr container rm one
wait_for 10 no_shims
is 'no shim is left' "$(shims)" 0

# --- attach; ctr passes all other signals on to the task
ends 'a task to attach to' 0 '' "${ctr_run[@]}" -d "$image" att sh -c 'while :; do echo tick; sleep 0.2; done'
run timeout -s KILL 3 ctr task attach att
like 'attach shows what is written' "$OUT" 'tick'
run timeout -s KILL 3 ctr task attach att
like 'attach once more' "$OUT" 'tick'
stop_containerd TERM
start_containerd
run timeout -s KILL 3 ctr task attach att
like 'attach after a restart of containerd' "$OUT" 'tick'
remove att

# --- logs without containerd in between
ends 'log-uri file://' 0 '' "${ctr_run[@]}" -d --log-uri "file://$work/task.log" "$image" log sh -c 'echo out; echo err >&2; while :; do sleep 0.1; done'
wait_for 5 grep -q err "$work/task.log"
is 'both streams are in the file' "$(sort "$work/task.log" | tr '\n' ' ')" 'err out '
remove log
cat >"$work/logger" <<END
#!/bin/sh
trap '' TERM
env | grep ^CONTAINER_ID= >$work/logger.env
exec 5>&-
cat <&3 >$work/logger.out &
cat <&4 >$work/logger.err &
exec 3<&- 4<&-
wait
END
chmod 755 "$work/logger"
ends 'log-uri binary://' 0 '' "${ctr_run[@]}" -d --log-uri "binary://$work/logger" "$image" log sh -c 'echo out; echo err >&2; while :; do sleep 0.1; done'
wait_for 5 grep -q err "$work/logger.err"
is 'the logger has both streams' "$(cat "$work/logger.env" "$work/logger.out" "$work/logger.err" | tr '\n' ' ')" 'CONTAINER_ID=log out err '
remove log

# --- the shim is killed
ends 'run -d' 0 '' "${ctr_run[@]}" -d "$image" orphan sleep 67
kill -KILL "$(shim_of orphan)"
gone() { ! pgrep -xf 'sleep 67' >/dev/null && ! status orphan | grep -q RUNNING; }
wait_for 20 gone
is 'containerd notices and cleans up: no process, no task' "$(pgrep -xfc 'sleep 67') $(status orphan)" '0 '
run ctr container rm orphan
ends 'the id can be used again' 0 '^again$' "${ctr_run[@]}" --rm "$image" orphan echo again

# --- the shim is killed while containerd is away
ends 'run -d' 0 '' "${ctr_run[@]}" -d "$image" orphan sleep 68
stop_containerd KILL
kill -KILL "$(shim_of orphan)"
start_containerd
wait_for 20 bash -c '! pgrep -xf "sleep 68"'
is 'containerd cleans up when it starts' "$(pgrep -xfc 'sleep 68') $(status orphan)" '0 '
run ctr container rm orphan

# --- a task is checkpointed and restored
if ! criu check >/dev/null 2>&1; then
    skip 'checkpoint and restore' "criu does not work here: $(criu check 2>&1 | grep -m1 Error)"
else
    count() { exec_in "$1" cat /count; }
    ends 'run -d' 0 '' "${ctr_run[@]}" -d "$image" saved sh -c 'i=0; while :; do i=$((i + 1)); echo $i >/count; sleep 0.05; done'
    wait_for 10 count saved
    ends 'checkpoint of the task, with its files' 0 '' ctr container checkpoint --task --image --rw saved docker.io/library/saved:1
    is 'it runs on' "$(status saved)" RUNNING
    if [[ $(containerd --version) =~ [[:space:]]v?1\. ]]; then
        skip 'checkpoint of the task alone' 'this client has --image-path for containerd'"'"'s own runtime type only'
    else
        ends 'checkpoint of the task alone' 0 '' ctr task checkpoint --image-path "$work/images" saved
        like 'the images are there' "$(ls "$work/images" 2>&1)" 'inventory.img'
    fi
    before=$(count saved)
    remove saved >/dev/null
    ends 'restore' 0 '' ctr container restore --rw --live back docker.io/library/saved:1
    is 'the restored task runs' "$(status back)" RUNNING
    goes_on() { [ "$(count back)" -gt "$first" ]; }
    first=$(count back)
    is 'it did not begin anew' "$((first > 1 && before > 1))" 1
    wait_for 10 goes_on
    is 'it goes on' "$(($(count back) > first))" 1
    ends 'pause and resume of it' 0 '' bash -c 'ctr task pause back && ctr task resume back'
    ctr task kill -s KILL back
    wait_for 10 has_status back STOPPED
    ends 'its exit code' 0 'exit code 137' ctr task rm back
    run ctr container rm back
fi

# --- many
ends 'a hundred tasks' 0 '' bash -c 'for i in $(seq 100); do "$@" -d docker.io/library/scenario:1 m$i sleep 69 || exit; done' - "${ctr_run[@]}"
is 'a hundred run' "$(ctr task ls | grep -c RUNNING) $(pgrep -xfc 'sleep 69')" '100 100'
stop_containerd TERM
start_containerd
is 'a hundred run after a restart of containerd' "$(ctr task ls | grep -c RUNNING)" 100
# All at once.
run bash -c 'for i in $(seq 100); do exec_in m$i echo yes$i & done; wait'
is 'a hundred execs at once' "$(grep -c '^yes' <<<"$OUT")" 100
run bash -c 'for i in $(seq 100); do ctr task kill -s KILL m$i & done; wait'
none_running() { ! ctr task ls | grep -q RUNNING; }
wait_for 20 none_running
run bash -c 'for i in $(seq 100); do (ctr task rm m$i; ctr container rm m$i) & done; wait'
is 'a hundred are gone' "$(ctr task ls | tail -n +2 | wc -l) $(pgrep -xfc 'sleep 69')" '0 0'

# --- nothing is left
wait_for 20 no_shims
is 'nothing is left: no shim' "$(shims)" 0
is 'nothing is left: no cgroup' "$(find /sys/fs/cgroup -mindepth 2 -type d -path '*/default/*' | wc -l)" 0
is 'nothing is left: no state of the runtime' "$(find /run/containerd/runc -mindepth 2 2>/dev/null | wc -l)" 0
is 'nothing is left: no mount' "$(grep -c /run/containerd/io.containerd.runtime.v2.task /proc/self/mountinfo)" 0
is 'nothing is left: no bundle' "$(find /run/containerd/io.containerd.runtime.v2.task/default -mindepth 1 -maxdepth 1 2>/dev/null | wc -l)" 0

[ "$failed" = 0 ] || log_tail "$work/containerd.log" "${LOG_LINES:-20}"
finish
