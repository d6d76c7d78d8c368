#!/bin/bash
# Unpacks packages of another Debian release beside this machine's own: unpack.sh SUITE DIR PACKAGE...
#
# Nothing is installed and this machine's apt is not touched: sources, lists and archives are private to the cache
# ($WHARF_CACHE, default /var/cache/wharf-tests), and dependencies are not followed. DIR/.packages lists what is there;
# a DIR that has all of them is left as it is, so only the first call needs a server. Exit code 3 if a package is not
# available.
set -euo pipefail

suite=$1 dir=$2
shift 2
cache=${WHARF_CACHE:-/var/cache/wharf-tests}/apt-$suite
mkdir -p "$dir" "$cache"/{etc,lists/partial,cache/archives/partial}
exec 9>"$cache/lock"
flock 9
touch "$dir/.packages"
missing=()
for package in "$@"; do
    grep -q "^${package}_" "$dir/.packages" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
printf 'deb [signed-by=%s] http://deb.debian.org/debian %s main\n' "$keyring" "$suite" >"$cache/etc/sources.list"
options=(-qq -o "Dir::Etc::sourcelist=$cache/etc/sources.list" -o Dir::Etc::sourceparts=- -o Dir::Etc::preferencesparts=-
    -o "Dir::State::lists=$cache/lists" -o "Dir::Cache=$cache/cache" -o Dir::State::status=/dev/null
    -o APT::Sandbox::User=root -o Acquire::Languages=none)
# Lists of a rolling release age: packages in them may be gone from the server after a few days.
apt-get "${options[@]}" update >"$cache/log" 2>&1 || { cat "$cache/log" >&2; exit 3; }
cd "$cache"
for package in "${missing[@]}"; do
    rm -f "${package}"_*.deb
    apt-get "${options[@]}" download "$package" >"$cache/log" 2>&1 || { cat "$cache/log" >&2; exit 3; }
    dpkg-deb -x "${package}"_*.deb "$dir"
    basename "${package}"_*.deb .deb >>"$dir/.packages"
    rm -f "${package}"_*.deb
done
