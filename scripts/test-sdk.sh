#!/bin/sh
# Tests the Python SDK as its users have it: the wheel, on the oldest and the newest supported Python that this machine
# has. Needs bin/caracal.
set -eu
cd "$(dirname "$0")/.."
newest=$(sh scripts/sdk-environment.sh newest)
oldest=$(sh scripts/sdk-environment.sh oldest)
cd sdk/python

"$newest/bin/ruff" format --quiet --check .
"$newest/bin/ruff" check --quiet .
"$newest/bin/python" generate --check
"$newest/bin/mypy" --no-error-summary
rm -rf dist
"$newest/bin/hatchling" build -t wheel > /dev/null

printf '%s\n%s\n' "$oldest" "$newest" | uniq | while read -r home; do
  "$home/bin/python" -m pip install -q --no-deps --no-index --force-reinstall dist/*.whl
  echo "the SDK on $("$home/bin/python" --version)"
  "$home/bin/python" -m pytest < /dev/null
done
