#!/bin/bash
# The streams of containers in a pod, as kubectl asks for them: [SHIM=/abs/path] [PROGRAMS=/abs/dir] [PAUSELESS=1] cri-streams.sh
#
# exec with input, attach, port-forward and logs. See cri.sh for the variables.
NEEDS='containerd ctr'
. "$(dirname "$0")/pods.sh"
. "$(dirname "$0")/scenario.sh"
. "$here/node.sh"
make_node

pod streams || { fail 'run a pod' "$OUT"; log_tail "$work/containerd.log"; finish; }
container streams server 'mkdir /www; head -c 3000000 /dev/zero | tr "\0" x >/www/file; echo hello >/www/small; exec httpd -f -p 127.0.0.1:8080 -h /www' || fail 'a container' "$OUT"
server=$container
container streams echo 'echo ready; while read -r line; do echo "got $line"; echo "err $line" >&2; [ "$line" != end ] || exit 6; done; exit 9' '.stdin = true' || fail 'a container with input' "$OUT"
reader=$container

# --- exec with streams
# feed FILE COMMAND...: its input stays open until the command has ended by itself.
feed() {
    local code
    rm -f "$work/input" && mkfifo "$work/input"
    exec 7<>"$work/input"
    cat "$1" >&7 &
    STDIN=$work/input run "${@:2}"
    exec 7<&-
}
printf 'one\ntwo\n' >"$work/lines"
feed "$work/lines" crictl exec -i "$server" sh -c 'read a; read b; echo "$b $a"; echo bad >&2; exit 5'
is 'exec with input: both streams and the exit code' "$CODE $(sort <<<"$OUT" | xargs)" '5 bad two one'
head -c 2000000 /dev/urandom | base64 -w0 >"$work/much"
echo >>"$work/much"
size=$(wc -c <"$work/much")
feed "$work/much" crictl exec -i "$server" sh -c "head -c $size | md5sum"
is 'exec: megabytes of input arrive' "$CODE ${OUT%% *}" "0 $(md5sum <"$work/much" | cut -d' ' -f1)"
feed /dev/null crictl exec -i "$server" sh -c 'head -c 2000000 /dev/zero | tr "\0" y; exit 3'
is 'exec: megabytes of output arrive' "$CODE ${#OUT}" '3 2000000'

# --- attach
printf 'a line\nend\n' >"$work/lines"
feed "$work/lines" crictl attach -i "$reader"
like 'attach: input and both streams' "$(sort <<<"$OUT" | xargs)" 'err a line err end got a line got end'
wait_for 10 has_state "$reader" EXITED
is 'attach: the container has ended by what it read' "$(crictl inspect "$reader" | jq -r .status.exitCode)" 6

# --- port-forward, to a server that listens on the loopback address of the pod
crictl port-forward "$pod" 18080:8080 >"$work/forward" 2>&1 &
forward=$!
wait_for 10 grep -q Forwarding "$work/forward"
ends 'port-forward' 0 '^hello$' busybox wget -q -O - http://127.0.0.1:18080/small
is 'port-forward: megabytes' "$(busybox wget -q -O - http://127.0.0.1:18080/file | wc -c)" 3000000
fetch_all() { for i in 1 2 3 4 5 6 7 8; do busybox wget -q -O - http://127.0.0.1:18080/small & done; wait $(jobs -p | grep -v "^\($daemon\|$forward\)\$"); }
is 'port-forward: eight connections at once' "$(fetch_all | grep -c hello)" 8
kill "$forward"
wait "$forward" 2>/dev/null

# --- logs
ends 'logs: what was written before and after the attach' 0 'ready' crictl logs "$reader"
like 'logs: both streams' "$(sort <<<"$OUT" | xargs)" 'err a line err end got a line got end ready'
log=$work/logs/streams.echo.log
is 'logs: each line has its stream' "$(awk '{print $2}' "$log" | sort | uniq -c | xargs)" '2 stderr 3 stdout'
container streams long 'head -c 40000 /dev/zero | tr "\0" z; echo; i=0; while [ $i -lt 2000 ]; do echo "line $i"; i=$((i+1)); done; printf unfinished' || fail 'a third container' "$OUT"
wait_for 30 has_state "$container" EXITED
wait_for 10 grep -q unfinished "$work/logs/streams.long.log"
is 'logs: a long line in parts' "$(grep -c ' P z' "$work/logs/streams.long.log") $(grep -o 'z*$' "$work/logs/streams.long.log" | tr -d '\n' | wc -c)" "$(((40000 - 1) / 16384)) 40000"
is 'logs: every line, and the last one without an end' "$(grep -c ' F line ' "$work/logs/streams.long.log") $(tail -n1 "$work/logs/streams.long.log" | cut -d' ' -f2-)" '2000 stdout P unfinished'
remove_pods streams

[ "$failed" = 0 ] || log_tail "$work/containerd.log" "${LOG_LINES:-20}"
finish
