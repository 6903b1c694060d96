#!/bin/sh
# The tests that take long: the race detector on what runs concurrently, each fuzz target for a while, and the tests that
# are longer when asked. FUZZ_SECONDS (default 20) is the time for each fuzz target; from 20 on, requests are made up for
# every role and kind of key, a minute each.
set -eu
seconds=${FUZZ_SECONDS:-20}
export CARACAL_DEEP=1
[ "$seconds" -lt 20 ] || export CARACAL_SCHEMATHESIS=deep

# One package at a time: the detector slows everything down, and these run real servers.
go test -race -p 1 -timeout 20m ./authority ./token ./bundle ./child ./extauthz ./gateway ./controlplane/... ./internal/abuse

# The peer of the benchmark is a module of its own.
(cd bench/opa && go build -o /dev/null .)

# Gateways and control planes on a simulated network: 100,000 seeds, or as many as CARACAL_SEED_MINUTES allow (default 60).
CARACAL_SEEDS=${CARACAL_SEEDS:-100000} CARACAL_SEED_MINUTES=${CARACAL_SEED_MINUTES:-60} go test -timeout 24h -run '^TestSimulation' -v ./gateway
go test -timeout 2h -run '^TestModel' -v ./lease

# A target is "package function"; the list is what is in the tree.
grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' . | while read -r file; do
  grep -oE '^func Fuzz[A-Za-z0-9]+' "$file" | while read -r _ target; do
    echo "fuzzing $target in $(dirname "$file") for $seconds s"
    # The Go tool can end a run at its time limit with an error of its own; an input that fails is kept and fails again.
    fuzz() { go test -run '^$' -fuzz "^$target\$" -fuzztime "${seconds}s" "$(dirname "$file")"; }
    fuzz || fuzz
  done
done
echo "deep tests passed"
