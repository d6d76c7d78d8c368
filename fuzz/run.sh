#!/bin/bash
# Builds the fuzz targets and runs each for a while: fuzz/run.sh [SECONDS] [TARGET...]   (default: 60, all targets)
#
# Needs neither cargo-fuzz nor a nightly toolchain, only a C++ compiler for libFuzzer itself: the coverage counters come
# from an LLVM pass that the stable compiler has too. Two targets run at a time. New inputs collect in
# fuzz/corpus/TARGET, findings in fuzz/artifacts/TARGET; run the program with such a file to reproduce it. The last line
# is a count.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${1:-60}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for source in targets/*.rs; do targets+=("$(basename "$source" .rs)"); done
fi

host=$(rustc -vV | sed -n 's/^host: //p')
# With --target the flags do not reach build scripts, which have no libFuzzer to link.
CARGO_TARGET_DIR=$PWD/target RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1" \
    cargo build --quiet --locked --release --target "$host"

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
    local target=$1 log=target/$1.log
    mkdir -p "corpus/$target" "artifacts/$target"
    if "target/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
        -artifact_prefix="artifacts/$target/" "corpus/$target" "$seeds/$target/" >"$log" 2>&1 </dev/null; then
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
