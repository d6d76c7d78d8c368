#!/bin/bash
# Runs the conformance suite in the test machine: systemd, D-Bus, pure cgroup v2 by default.
#
#   suite.sh RUNTIME [WAY]... [-- CONFORMANCE-OPTION...]
#
#       cgroupfs    as root, cgroups by cgroupfs
#       systemd     as root, with --systemd-cgroup
#       user        as a normal user with a systemd instance, cgroups by cgroupfs
#       session     as a normal user in a login session, with --systemd-cgroup
#       hybrid, v1  as root, with --systemd-cgroup, on a machine with that kind of cgroups (see machine.sh)
#
# Default: the first three. RUNTIME must be below this working tree, or a name in the machine's PATH (runc, crun). Prints the
# failures, the skips and, last, the total of all ways as `N passed, M failed, K skipped`.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
tree=$(realpath "$here/../..")
suite=${CONFORMANCE:-$tree/target/debug/conformance}
die() { printf 'suite.sh: %s\n' "$*" >&2; exit 2; }

[ $# -ge 1 ] || die 'usage: suite.sh RUNTIME [cgroupfs|systemd|user|session|hybrid|v1]... [-- CONFORMANCE-OPTION...]'
runtime=$1
shift
[[ $runtime != */* ]] || runtime=$(realpath -e "$runtime")
ways=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do ways+=("$1"); shift; done
[ "${1:-}" != -- ] || shift
[ ${#ways[@]} -gt 0 ] || ways=(cgroupfs systemd user)
[ -x "$suite" ] || die "$suite is missing: cargo build -p wharf-spec-tests"

# try WAY [OPTION]...: the suite in a separate machine.
try() {
    local way=$1 machine=() options=()
    shift
    case $way in
        cgroupfs) ;;
        systemd) options=(--systemd-cgroup) ;;
        user) machine=(--user) ;;
        session) machine=(--session) options=(--systemd-cgroup) ;;
        hybrid | v1) machine=(--cgroups "$way") options=(--systemd-cgroup) ;;
    esac
    exec "$here/machine.sh" --timeout 1200 "${machine[@]}" -- "$suite" --runtime "$runtime" "${options[@]}" "$@" >"$tree/target/vm-$way.txt" 2>&1
}

for way in "${ways[@]}"; do
    [[ $way =~ ^(cgroupfs|systemd|user|session|hybrid|v1)$ ]] || die "unknown way $way"
done
# A machine has one processor, so they run side by side.
"$here/image.sh"
machines=()
trap 'kill "${machines[@]}" 2>/dev/null; exit 143' INT TERM
for way in "${ways[@]}"; do
    try "$way" "$@" &
    machines+=($!)
done

passed=0 failed=0 skipped=0 broken=0
for number in "${!ways[@]}"; do
    way=${ways[number]} code=0
    log=$tree/target/vm-$way.txt
    wait "${machines[number]}" || code=$?
    sed -n '/^failures:/q; /^FAIL/p; /^SKIP/p' "$log"
    total=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n1 || true)
    if [ -z "$total" ]; then
        tail -n 20 "$log"
        printf '%s: the suite did not end (exit code %d)\n' "$way" "$code"
        broken=1
        continue
    fi
    printf '%s: %s after %d s\n' "$way" "$(tr ',' ';' <<<"$total")" "$SECONDS"
    read -r p f s < <(sed -E 's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped.*/\1 \2 \3/' <<<"$total")
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
printf '%d passed, %d failed, %d skipped\n' "$passed" $((failed + broken)) "$skipped"
[ $((failed + broken)) = 0 ]
