# Checks and their count, sourced by the scenarios: one line `ok N - what` or `not ok N - what` per check, and at the
# end `N passed, M failed, K skipped`.
# shellcheck shell=bash

passed=0 failed=0 skipped=0
OUT='' CODE=0

pass() { passed=$((passed + 1)); printf 'ok %d - %s\n' $((passed + failed + skipped)) "$1"; }

# fail WHAT [DETAIL]: the detail is printed below, as comment lines.
fail() {
    failed=$((failed + 1))
    printf 'not ok %d - %s\n' $((passed + failed + skipped)) "$1"
    [ -z "${2:-}" ] || printf '%s\n' "$2" | head -c 4000 | sed 's/^/#   /'
}

skip() { skipped=$((skipped + 1)); printf 'ok %d - %s # SKIP %s\n' $((passed + failed + skipped)) "$1" "$2"; }

# run COMMAND...: never ends the script; sets OUT (stdout and stderr, without carriage returns and NULs) and CODE. A
# minute is more than any single step here takes, so a hanging step only fails itself. The output goes through a file:
# anything that a hanging step leaves behind would hold a pipe open.
run() {
    CODE=0
    timeout --kill-after=5 60 "$@" >"$work/output" 2>&1 <"${STDIN:-/dev/null}" || CODE=$?
    OUT=$(tr -d '\r\0' <"$work/output")
}

# is WHAT GOT WANT
is() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "got:  $2"$'\n'"want: $3"; fi; }

# like WHAT GOT ERE
like() { if [[ $2 =~ $3 ]]; then pass "$1"; else fail "$1" "got:  $2"$'\n'"want a match of: $3"; fi; }

unlike() { if [[ ! $2 =~ $3 ]]; then pass "$1"; else fail "$1" "got:  $2"$'\n'"want no match of: $3"; fi; }

# ends WHAT WANTED-CODE-ERE WANTED-OUTPUT-ERE COMMAND...: both the exit code and the output must match. TRIES is for a
# client that may lose output: with the right code and no output at all the command is repeated.
ends() {
    local what=$1 code=$2 ere=$3 try
    shift 3
    for ((try = 0; try < ${TRIES:-1}; try++)); do
        run "$@"
        [[ $CODE =~ ^($code)$ && -z $OUT && ! $OUT =~ $ere ]] || break
    done
    if [[ $CODE =~ ^($code)$ ]] && [[ $OUT =~ $ere ]]; then
        pass "$what"
    else
        fail "$what" "command: $*"$'\n'"exit code $CODE, want $code"$'\n'"output: $OUT"$'\n'"want a match of: $ere"
    fi
}

# on_tty COMMAND...: runs it on a terminal, under script(1); OUT and CODE as for run. script echoes the end of its own
# input into the terminal, so it gets endless input.
on_tty() {
    local quoted
    printf -v quoted '%q ' "$@"
    [ -p "$work/endless" ] || mkfifo "$work/endless"
    exec 8<>"$work/endless"
    STDIN=$work/endless run script -qec "$quoted" /dev/null
    exec 8<&-
}

# wait_for SECONDS COMMAND...: polls, since it waits for programs that offer nothing to wait on.
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

# finish: the total; exits with 0 only if nothing failed and something passed.
finish() {
    printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
    [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
    exit
}
