#!/bin/bash
# Many pods, four at a time, and a SIGKILL for something in every tenth: [PODS=2000] [SEED=N] [SHIM=/abs/path]
# [PROGRAMS=/abs/dir] [PAUSELESS=1] cri-soak.sh
#
# soak.py tells what is killed and what may not be left. See cri.sh for the variables.
NEEDS='containerd ctr'
BOX_TIMEOUT=${LIMIT:-7200}
. "$(dirname "$0")/pods.sh"
. "$(dirname "$0")/scenario.sh"
. "$here/node.sh"
make_node
# A network with room for addresses that containerd loses when it is killed.
sed -i 's,198.51.100.0/24,198.18.0.0/15,' /etc/cni/net.d/10-pods.conflist
stop_containerd
# Not at level debug: the log would be the largest file of all.
/usr/bin/python3 -u "$here/soak.py" $config "${handler:-runc}" "$name" "${PODS:-2000}" "$work/logs" | tee "$work/soak" | sed -u 's/^/# /'
is "${PODS:-2000} pods: nothing is wrong" "$(grep '^wrong' "$work/soak" | head -n 20)" ''
like 'the soak came to its end' "$(cat "$work/soak")" 'pods in [0-9]+ s'
[ "$failed" = 0 ] || {
    # What containerd says about each thing that is left.
    for each in $(grep -oE '[0-9a-f]{64}' <(grep '^wrong' "$work/soak") | sort -u | head -n 3); do grep "$each" "$work/containerd.log" | cut -c1-500 | head -n 60 | sed 's/^/# /'; done
    log_tail "$work/containerd.log" "${LOG_LINES:-20}"
}
finish
