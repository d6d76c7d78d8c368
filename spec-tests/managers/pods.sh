# What the scenarios with pods share, sourced by them before scenario.sh: the client, a network, states.
# shellcheck shell=bash
#
# In:  CRICTL=/abs/path of crictl (default: from PATH, or else the part of it in crictl.py, which needs python3-grpcio)
# Out: BOX_OPTIONS; prepare_pods SOCKET, to be called in the box; pod_network; state ID, has_state ID STATE
[ -n "${CRICTL:=$(command -v crictl)}" ] || CRICTL=$(dirname "$(realpath "${BASH_SOURCE[0]}")")/crictl.py
export CRICTL
if [ "${CRICTL##*.}" = py ] && ! /usr/bin/python3 -c 'import grpc, google.protobuf' 2>/dev/null; then
    printf 'ok 1 - %s # SKIP there is neither crictl nor python3-grpcio (spec-tests/setup.sh installs it)\n' "$(basename "$0")"
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
fi
BOX_OPTIONS="--ro $CRICTL:/opt/client/$(basename "$CRICTL") --ro $(dirname "$(realpath "${BASH_SOURCE[0]}")")/streams.py:/opt/client/streams.py"

# Puts crictl for a socket into PATH, and a bridge for pods where CNI looks for networks.
prepare_pods() {
    mkdir -p "$work/bin" "$work/logs" /etc/cni/net.d
    printf '#!/bin/sh\nexec %s --runtime-endpoint %s "$@"\n' "/opt/client/$(basename "$CRICTL")" "unix://$1" >"$work/bin/crictl"
    chmod 755 "$work/bin/crictl"
    # Without a file it warns in the middle of its output.
    : >/etc/crictl.yaml
    PATH=$work/bin:$PATH
    pod_network
}

# The only network that CNI finds.
pod_network() {
    mkdir -p /etc/cni/net.d
    rm -f /etc/cni/net.d/*
    cat >/etc/cni/net.d/10-pods.conflist <<'END'
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "pods0", "isGateway": true, "ipam":
    {"type": "host-local", "ranges": [[{"subnet": "198.51.100.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
END
}

state() { crictl inspect "$1" | jq -r .status.state; }
has_state() { [ "$(state "$1")" = "CONTAINER_$2" ]; }

# Whether both containers of a pod have used memory and CPU.
both_used() { crictl stats -o json | jq -e '(.stats | length) == 2 and all(.stats[]; (.memory.workingSetBytes.value // "0" | tonumber) > 0 and (.cpu.usageCoreNanoSeconds.value // "0" | tonumber) > 0)'; }
