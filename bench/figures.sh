#!/bin/bash
# Measures everything that docs/performance.md shows, and writes it there: an hour on a machine with nothing else to do.
#
#   bench/figures.sh [PART]...
#
#       bench      the runtimes beside each other, and a virtual machine: tables and chart
#       library    the library in a program of its own
#       shim       containerd shims beside each other, at 1, 20 and 100 pods
#       ctr        the same through containerd and ctr, and the way to the first instruction
#       pods       what pods cost a node, by the calls of a kubelet, at 1, 20 and 100 pods
#       namespaces ways to keep the namespaces of pods
#
# Default: all of them. As root on a Debian machine (spec-tests/setup.sh). The runtimes are this machine's crun and runc, and
# those of Debian's unstable release where its server is reached; `pods` needs its containerd, too.
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/.."
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(bench library shim ctr pods namespaces)
for part in "${parts[@]}"; do
    [[ $part =~ ^(bench|library|shim|ctr|pods|namespaces)$ ]] || { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
done

release=target/x86_64-unknown-linux-musl/release
cargo build --release --target x86_64-unknown-linux-musl -p wharf-shim
cargo build --release -p wharf-bench --bins
wharf=$release/wharf shim=$release/containerd-shim-wharf-v2
runtimes=("crun=$(command -v crun)")
mapfile -t newer < <(spec-tests/managers/peers.sh || echo 'figures.sh: the runtimes of unstable cannot be had' >&2)
for one in "${newer[@]}"; do runtimes+=("$(basename "$one")=$one"); done
runtimes+=("runc=$(command -v runc)")

for part in "${parts[@]}"; do
    printf '=== %s\n' "$part"
    case $part in
        bench) target/release/bench "wharf=$wharf" "${runtimes[@]}" --machine --into docs/performance.md --chart bench/figures/bench.svg --json target/bench.json ;;
        library) target/release/embedder --into docs/performance.md ;;
        shim)
            go=$(command -v containerd-shim-runc-v2)@1.6
            target/release/shim-figures --hide-unified --pods 1,20,100 --into docs/performance.md \
                "wharf=$shim" "Go+runc=$go,$(command -v runc)" "Go+crun=$go,$(command -v crun)"
            ;;
        ctr)
            SHIM=$shim RUNTIME=$wharf bench/ctr-figures.sh >target/ctr-figures.md
            target/release/ctr-figures --put target/ctr-figures.md --into docs/performance.md
            ;;
        pods)
            programs=${WHARF_CACHE:-/var/cache/wharf-tests}/containerd-sid
            spec-tests/managers/unpack.sh sid "$programs" containerd
            SHIM=$shim RUNTIME=$wharf PROGRAMS=$programs bench/pod-figures.sh >target/pod-figures.md
            target/release/pod-figures --put target/pod-figures.md --into docs/performance.md
            ;;
        namespaces) target/release/pod-namespaces --into docs/performance.md ;;
    esac
done
# The README repeats some of them.
UPDATE_GENERATED=1 cargo test --quiet -p wharf-spec-tests --lib pages
