#!/bin/sh
# Says which tools are missing or too old, a line each, before anything is built. `check-tools.sh test` looks for what
# only the tests need as well.
set -u
missing=0
say() { echo "caracal: $1" >&2; missing=1; }

# older VERSION MINIMUM: whether VERSION is below MINIMUM, number by number.
older() { [ "$1" != "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -t. -k1,1n -k2,2n | head -n 1)" = "$1" ]; }

[ "$(uname -s)" = Linux ] || say "this needs Linux; here is $(uname -s)"
case "$(uname -m)" in
  x86_64 | aarch64 | arm64) ;;
  *) say "Envoy is built for x86-64 and arm64; here is $(uname -m)" ;;
esac

if command -v go >/dev/null 2>&1; then
  version=$(go version 2>/dev/null | sed -E 's/.*go([0-9]+\.[0-9]+).*/\1/')
  if [ -z "$version" ]; then say "$(command -v go) does not run: install Go 1.26 or newer (https://go.dev/dl/)"
  elif older "$version" 1.26; then say "Go 1.26 or newer is needed; $(command -v go) is $version (https://go.dev/dl/)"; fi
else
  say "Go is missing: install Go 1.26 or newer (https://go.dev/dl/)"
fi

if command -v python3 >/dev/null 2>&1; then
  version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
  if [ -z "$version" ]; then say "$(command -v python3) does not run: install Python 3.10 or newer"
  elif older "$version" 3.10; then say "Python 3.10 or newer is needed; $(command -v python3) is $version"
  elif ! python3 -c 'import ensurepip, venv' 2>/dev/null; then say "Python cannot make virtual environments: install python3-venv"; fi
else
  say "Python 3 is missing: install python3, 3.10 or newer"
fi

if [ "${1:-}" = test ]; then
  version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
  if [ -n "$version" ] && older "$version" 3.11; then say "the tests need Python 3.11 or newer; $(command -v python3) is $version"; fi
  version=$(node --version 2>/dev/null | sed 's/^v//')
  if [ -z "$version" ]; then say "Node.js is missing, which the tests need: install Node.js 20 or newer (https://nodejs.org)"
  elif older "$version" 20; then say "the tests need Node.js 20 or newer; $(command -v node) is $version"
  elif ! npm --version >/dev/null 2>&1; then say "npm is missing, which the tests need: install it beside Node.js"; fi
  for tool in bash curl git jq; do
    command -v "$tool" >/dev/null 2>&1 || say "$tool is missing, which the tests need: install it"
  done
fi

exit $missing
