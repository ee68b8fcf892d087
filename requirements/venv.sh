#!/bin/sh
# venv.sh NAME FOLDER: make the environment FOLDER from the pins requirements/NAME-py3X.txt of a Python that is here.
# PYTHON= names the Python; without it the first that has pins and venv is taken. The stamp FOLDER/.ready is written
# last, so a broken installation is tried again.
set -eu
cd "$(dirname "$0")/.."
name=$1 folder=$2

fail() {
    printf 'make: %s\n' "$@" >&2
    exit 1
}

version_of() { # PYTHON: 3.11; "" if it cannot be run
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

pins_of() { # PYTHON: where the pins for its version are, or would be
    echo "requirements/$name-py$(version_of "$1" | tr -d .).txt"
}

packages() { # VERSION...: how this system installs one of them
    for version in "$@"; do
        ! apt-cache show "python$version-venv" >/dev/null 2>&1 || { echo "apt-get install python$version-venv"; return; }
        ! command -v dnf >/dev/null || { echo "dnf install python$version"; return; }
    done
    ! command -v apt-get >/dev/null ||
        set -- "$* (apt-get knows none; after \`apt-get update\` those of Debian 12 and 13, Raspberry Pi OS and Ubuntu 24.04 do)"
    echo "install Python $*; PYTHON= names it if it is not in the PATH"
}

[ -w . ] || fail "this folder belongs to $(stat -c %U .), and you may not write into it" \
    "take a clone of your own: git clone $PWD"

python=
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    [ -f "$(pins_of "$candidate")" ] || continue
    python=$candidate
    ! "$python" -c 'import ensurepip, venv' 2>/dev/null || break
done
versions=$(ls requirements/"$name"-py3*.txt | sed 's/.*-py3\(.*\)\.txt/3.\1/' | tr '\n' ' ')
[ -n "$python" ] || fail "no Python here that $folder can be made with (${PYTHON:-python3}: $("${PYTHON:-python3}" -V 2>&1 || true))" \
    "$(packages $versions)"
"$python" -c 'import ensurepip, venv' 2>/dev/null || fail "$python has no venv" \
    "$(packages "$(version_of "$python")")"

echo "setting up $folder with $("$python" -V) (once, a minute or two)"
"$python" -m venv --clear "$folder"
# --no-deps: everything is pinned, nothing is to be resolved; --no-compile: Python compiles what is used when it is used
"$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes -r "$(pins_of "$python")"
case $name in
demo | dev) "$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ;;
esac
touch "$folder/.ready"
