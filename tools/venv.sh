#!/bin/sh
# Make .venv with the first Python >= 3.11 that really runs: a version manager's shim can be on the PATH and fail.
# A .venv that works is kept. BASE_PYTHON=... names another interpreter.
set -eu

usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

if usable .venv/bin/python; then
  .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
  exit 0
fi

without_venv=
for python in ${BASE_PYTHON:-} python3.13 python3.12 python3.11 python3 python python3.14 \
  "$HOME"/.pyenv/versions/3.1[1-9]*/bin/python; do
  usable "$python" || continue
  if "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    exec "$python" -m venv --clear .venv
  fi
  without_venv=$python
done

if [ -n "$without_venv" ]; then
  echo "$without_venv cannot make virtual environments. On Debian or Ubuntu: apt-get install python3-venv" >&2
else
  echo "No Python 3.11 or newer was found. On Debian or Ubuntu: apt-get install python3 python3-venv" >&2
fi
exit 1
