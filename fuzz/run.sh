#!/bin/bash
# Builds the fuzz targets and runs each for a while: fuzz/run.sh [--quick] [SECONDS] [TARGET...]   (default: 60, all)
#
#   --quick   what a change is judged by: not optimised, with the dependencies that the workspace has compiled (an eighth
#             of the time to build, a tenth of the runs), from the seeds alone and with the same random numbers each time
#
# Needs neither cargo-fuzz nor a nightly toolchain, only a C++ compiler for libFuzzer itself: the coverage counters come
# from an LLVM pass that the stable compiler has too. Two targets run at a time. New inputs collect in
# fuzz/corpus/TARGET, findings in fuzz/artifacts/TARGET; run the program with such a file to reproduce it. The last line
# is a count.
set -euo pipefail
cd "$(dirname "$0")"

quick=
if [ "${1:-}" = --quick ]; then quick=yes; shift; fi
seconds=${1:-60}
shift || true
targets=("$@")
all=$(basename -s .rs -a targets/*.rs)
if [ ${#targets[@]} -eq 0 ]; then mapfile -t targets <<<"$all"; fi

build() { RUSTC_WRAPPER=$PWD/instrument FUZZ_TARGETS=${all//$'\n'/ } cargo build --quiet --locked "$@"; }
if [ -n "$quick" ]; then
    CARGO_TARGET_DIR=$PWD/../target build
    programs=../target/debug
else
    CARGO_TARGET_DIR=$PWD/target build --release
    programs=target/release
fi

# Real programs' output is the best start: that in seeds/, and the configurations of the suite, with the profiles in them.
# A target without a seed starts from nothing.
seeds=$PWD/target/seeds
rm -rf "$seeds"
for source in targets/*.rs; do mkdir -p "$seeds/$(basename "$source" .rs)"; done
cp -r seeds/. "$seeds/"
find ../spec-tests/corpus -name '*.json' | while read -r file; do
    name=$(realpath --relative-to=../spec-tests/corpus "$file" | tr / _)
    cp "$file" "$seeds/config/$name"
    if command -v jq >/dev/null && jq -ce '.linux.seccomp | objects' "$file" >"$seeds/seccomp/$name" 2>/dev/null; then :; else
        rm -f "$seeds/seccomp/$name"
    fi
done
cp ../runtime/src/linux/seccomp/testdata/*.json "$seeds/seccomp/"
rmdir "$seeds/plan"
ln -s config "$seeds/plan"

fuzz() {
    local target=$1 log=target/$1.log from=("$seeds/$1/")
    mkdir -p "corpus/$target" "artifacts/$target"
    if [ -n "$quick" ]; then from+=(-seed=1); else from=("corpus/$target" "${from[@]}"); fi
    if "$programs/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
        -artifact_prefix="artifacts/$target/" "${from[@]}" >"$log" 2>&1 </dev/null; then
        printf 'ok - %s: %s\n' "$target" "$(grep -E '^Done ' "$log")"
    else
        printf 'not ok - %s\n' "$target"
        tail -n 40 "$log" | sed 's/^/#   /'
        return 1
    fi
}

passed=0 failed=0
pids=()
# reap: waits for the oldest running target.
reap() {
    if wait "${pids[0]}"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    pids=("${pids[@]:1}")
}
for target in "${targets[@]}"; do
    [ ${#pids[@]} -lt 2 ] || reap
    fuzz "$target" &
    pids+=($!)
done
while [ ${#pids[@]} -gt 0 ]; do reap; done
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
