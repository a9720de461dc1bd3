#!/bin/sh
# Find a Python that there is a lock for, and bring an environment up to date under it:
#     env.sh modern|classic FOLDER [--dev]
# PYTHON names the Python to take; without it, the environment's own is kept, or else the first usable one is taken.
set -eu

kind=$1
folder=$2
here=$(dirname "$0")

# A pyenv shim is there for every version and runs only the selected ones, so a Python counts only when it answers.
usable() {
    version=$("$1" -c 'import sys; print("%d%d" % sys.version_info[:2])' 2>/dev/null) || return 1
    [ -f "$here/$kind-py$version.txt" ]
}

versions=$(cd "$here" && for lock in "$kind"-py*.txt; do
    lock=${lock%.txt}
    echo "3.${lock#*-py3}"
done | paste -s -d ' ' -)

if [ -n "${PYTHON:-}" ]; then
    usable "$PYTHON" || {
        echo "error: PYTHON=$PYTHON ($("$PYTHON" --version 2>&1 | head -n 1)) does not do:" \
            "the $kind environment needs Python $versions (basicsr cannot be installed on 3.13)" >&2
        exit 2
    }
    exec "$PYTHON" "$here/make_env.py" "$@"
fi
for python in "$folder/bin/python" python3.11 python3.12 python3.10 python3 python; do
    if usable "$python"; then
        exec "$python" "$here/make_env.py" "$@"
    fi
done
echo "error: the $kind environment needs Python $versions, and none was found (basicsr cannot be installed on 3.13)." \
    "Install one, or name it: make ... ${PYTHON_VARIABLE:-PYTHON}=/path/to/python" >&2
exit 2
