#!/bin/bash
# Measures containerd shims through containerd and ctr: SHIM=/abs/path RUNTIME=/abs/path [ROUNDS=20] ctr-figures.sh
#
# Compares SHIM with containerd's own, which uses runc and crun. Prints markdown. RUNTIME is not called: scenarios need
# one.
NEEDS='containerd ctr runc crun'
self=$(dirname "$(realpath "$0")")
: "${FIGURES:=$self/../target/release/ctr-figures}"
BOX_OPTIONS="--ro $self --ro $(realpath "$FIGURES" 2>/dev/null):/opt/ctr-figures"
BOX_TIMEOUT=900
. "$self/../spec-tests/managers/scenario.sh"

# crun 1.8 refuses hosts with both versions.
umount /sys/fs/cgroup/unified 2>/dev/null
containerd --config <(
    cat <<'END'
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]
END
) >"$work/containerd.log" 2>&1 &
wait_for 20 ctr version || { log_tail "$work/containerd.log"; exit 1; }
ctr images import "$IMAGE_TAR" >/dev/null || exit 1
go=$(command -v containerd-shim-runc-v2)
/opt/ctr-figures --rounds "${ROUNDS:-20}" "wharf=$SHIM" "Go+runc=$go,$(command -v runc)" "Go+crun=$go,$(command -v crun)" || {
    log_tail "$work/containerd.log"
    exit 1
}
