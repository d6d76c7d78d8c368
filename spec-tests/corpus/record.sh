#!/bin/sh
# A runtime that keeps what its caller passed, then becomes runc. capture.sh gives it to the managers.
#
# Into $RECORD (default /run/record): LABEL.json, the bundle's config.json, with LABEL taken from the file `label`;
# LABEL.process.json, the process of an exec; and a line `LABEL ARGV` in `argv`. The first of a label wins.
record=${RECORD:-/run/record}
read -r label <"$record/label"
# No lock is needed: a single write of one line is not torn.
printf '%s %s\n' "$label" "$*" >>"$record/argv"

bundle=. process='' verb=''
previous=''
for argument in "$@"; do
    case $previous in
        --bundle | -b) bundle=$argument ;;
        --process | -p) process=$argument ;;
    esac
    case $argument in
        --bundle=*) bundle=${argument#*=} ;;
        --process=*) process=${argument#*=} ;;
        create | run | exec | restore) verb=${verb:-$argument} ;;
    esac
    previous=$argument
done
case $verb in
    create | run) [ -e "$record/$label.json" ] || cp "$bundle/config.json" "$record/$label.json" ;;
    exec) [ -z "$process" ] || [ -e "$record/$label.process.json" ] || cp "$process" "$record/$label.process.json" ;;
esac
exec /usr/sbin/runc "$@"
