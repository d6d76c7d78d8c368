#!/bin/bash
# Measures what pods cost a node, by CRI calls of a containerd 2.x: SHIM=/abs/path RUNTIME=/abs/path [PROGRAMS=/abs/dir]
# [RUNC=/abs/path] [CRUN=/abs/path] pod-figures.sh [OPTION]...
#
# Compares SHIM without and with a pause container with containerd's own shim, which uses runc and crun. Prints markdown.
# RUNTIME is not called: scenarios need one. PROGRAMS has the containerd, where that of this machine is older
# (spec-tests/managers/unpack.sh sid DIR containerd). The options are those of the program pod-figures; with NAME=HANDLER
# among them, only those handlers are measured.
NEEDS='containerd ctr runc crun'
self=$(dirname "$(realpath "$0")")
if [ -z "${WHARF_BOX:-}" ]; then
    # The newest of both, where they can be had: older ones refuse the configurations of a containerd 2.x.
    mapfile -t newer < <("$self/../spec-tests/managers/peers.sh" || echo 'pod-figures.sh: the runtimes of unstable cannot be had' >&2)
    : "${CRUN:=${newer[0]:-$(command -v crun)}}" "${RUNC:=${newer[1]:-$(command -v runc)}}"
    export CRUN RUNC
    # Their libraries are beside them.
    BOX_OPTIONS="--ro $self --ro $(realpath -e "${FIGURES:-$self/../target/release/pod-figures}"):/opt/pod-figures --ro $(dirname "$RUNC") --ro $(dirname "$CRUN")"
fi
BOX_TIMEOUT=${BOX_TIMEOUT:-2400}
. "$self/../spec-tests/managers/scenario.sh"

# crun 1.8 refuses hosts with both versions.
umount /sys/fs/cgroup/unified 2>/dev/null
"$here/image.sh" "$work/pause.tar" docker.io/library/pause:1 sleep infinity
mkdir -p "$work/bin" "$work/cni" /etc/cni/net.d /etc/containerd
cp "$SHIM" "$work/bin/containerd-shim-wharf-v2"
PATH=$work/bin:$PATH
# containerd brings the loopback up by itself; the network beside it costs nothing.
rm -f /etc/cni/net.d/*
echo '{"cniVersion": "1.0.0", "name": "nothing", "plugins": [{"type": "nothing"}]}' >/etc/cni/net.d/10-nothing.conflist
cat >"$work/cni/nothing" <<'END'
#!/bin/sh
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": "'"$CNI_NETNS"'"}],
    "ips": [{"interface": 0, "address": "198.51.100.2/24"}]}'
[ "$CNI_COMMAND" != VERSION ] || echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}'
END
chmod 755 "$work/cni/nothing"
cat >/etc/containerd/config.toml <<END
version = 3
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.nri.v1.nri"]

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "docker.io/library/pause:1"

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["$work/cni"]
use_internal_loopback = true

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.wharf-pauseless]
runtime_type = "io.containerd.wharf.v2"
sandboxer = "shim"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.wharf]
runtime_type = "io.containerd.runc.v2"
runtime_path = "$work/bin/containerd-shim-wharf-v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = "$RUNC"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.crun]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.crun.options]
BinaryName = "$CRUN"
END
containerd --log-level info >"$work/containerd.log" 2>&1 &
wait_for 30 ctr version || { log_tail "$work/containerd.log"; exit 1; }
for tar in "$IMAGE_TAR" "$work/pause.tar"; do ctr -n k8s.io images import "$tar" >/dev/null || exit 1; done
printf -- '- %s\n' "$(containerd --version | cut -d' ' -f1-3)" "$("$RUNC" --version | head -n1)" "$("$CRUN" --version | head -n1)"
echo
entries=(wharf=wharf-pauseless 'wharf + pause=wharf' 'Go + runc=runc' 'Go + crun=crun')
[[ "$*" != *=* ]] || entries=()
/opt/pod-figures "$@" "${entries[@]}" || {
    log_tail "$work/containerd.log"
    exit 1
}
