#!/bin/sh
# Prints the directory of a Python environment with what sdk/python/requirements.txt pins, and makes it where it is
# missing: of the oldest or the newest supported Python that this machine has. Usage: sdk-environment.sh oldest|newest
set -eu
cd "$(dirname "$0")/.."

# interpreters: each supported Python on this machine, oldest first, as "version path".
interpreters() {
  for minor in 10 11 12 13 14 15; do
    for python in "python3.$minor" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"3.$minor".*/bin/python python3; do
      "$python" -c "import sys; v = sys.version_info; v[:2] == (3, $minor) and print('%d.%d' % v[:2], sys.executable)" 2>/dev/null || true
    done | head -n 1
  done
}

found=$(interpreters)
[ -n "$found" ] || { echo "caracal: there is no Python 3.10 or newer" >&2; exit 1; }
case "$1" in
  oldest) chosen=$(echo "$found" | head -n 1) ;;
  *) chosen=$(echo "$found" | tail -n 1) ;;
esac
version=${chosen%% *}
python=${chosen#* }
pins=$("$python" -c 'import hashlib; print(hashlib.sha256(open("sdk/python/requirements.txt", "rb").read()).hexdigest()[:12])')
home=$PWD/.tools/sdk-$version-$pins

if [ ! -e "$home/.complete" ]; then
  echo "making the SDK's environment of Python $version" >&2
  rm -rf "$home"
  mkdir -p "$PWD/.tools"
  "$python" -m venv "$home" >&2 || { echo "caracal: $python cannot make a virtual environment: install python3-venv" >&2; exit 1; }
  "$home/bin/python" -m pip install -q --require-hashes --only-binary :all: -r sdk/python/requirements.txt >&2
  touch "$home/.complete"
fi
echo "$home"
