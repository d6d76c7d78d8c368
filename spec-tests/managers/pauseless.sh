#!/bin/bash
# Scenarios with pods that have no pause container: RUNTIME=/path [SHIM=/path] pauseless.sh [SCENARIO...]
#
# That needs containerd 2.x, so that of a newer Debian is unpacked into target/ (SUITE, default sid; PROGRAMS=/abs/dir takes
# another one). systemd-cri.sh runs in the machine of spec-tests/vm, the others in a box. Default: cri.sh cri-pods.sh
# cri-streams.sh. Prints the failures and the total of each; where the packages cannot be had, all are skipped.
set -uo pipefail
here=$(dirname "$(realpath "$0")")
tree=$(realpath "$here/../..")
RUNTIME=$(realpath -e "${RUNTIME:?path of the runtime}") || exit 125
SHIM=$(realpath -e "${SHIM:-$(dirname "$RUNTIME")/containerd-shim-wharf-v2}") || exit 125
# Below the tree, which the machine sees.
programs=${PROGRAMS:-$tree/target/containerd-${SUITE:-sid}}
if [ -z "${PROGRAMS:-}" ] && ! said=$(timeout 60 "$here/unpack.sh" "${SUITE:-sid}" "$programs" containerd 2>&1); then
    printf 'ok 1 - pods without a pause container # SKIP containerd of Debian %s cannot be had: %s\n' "${SUITE:-sid}" "$(tail -n1 <<<"$said")"
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
fi
[ $# -gt 0 ] || set -- cri.sh cri-pods.sh cri-streams.sh
code=0
for scenario; do
    machine=()
    [ "$scenario" != systemd-cri.sh ] || machine=("$here/../vm/machine.sh" --memory 2048 --timeout 900 --)
    log=$tree/target/pauseless-$scenario.txt
    "${machine[@]}" env RUNTIME="$RUNTIME" SHIM="$SHIM" PAUSELESS=1 PROGRAMS="$programs" "$here/$scenario" >"$log" 2>&1 || { code=1; grep -A5 '^not ok' "$log"; }
    printf '%s, %s: %s\n' "$scenario" "$("$programs/usr/bin/containerd" --version | awk '{print "containerd", $3}')" "$(grep -E '^[0-9]+ passed, ' "$log" || { code=1; tail -n 3 "$log"; })"
    grep -q '^[0-9]* passed, ' "$log" || code=1
done
exit $code
