#!/bin/sh
# The tests that take long, stage by stage; the stages that are named, or all of them:
#   race        the race detector on what runs concurrently (RACE_PACKAGES, all of it unless told)
#   long        more mutants, longer histories, and requests made up for every role and kind of key
#   simulation  gateways and control planes under faults from 100,000 seeds, or as many as CARACAL_SEED_MINUTES allow (60);
#               CARACAL_SEEDS is another number; and the deep model of the rules
#   faults      real processes under faults from a seed, for three minutes
#   clients     all clients through the proxy port, those of public registries too; wants wget, java, cargo and mvn
#   fuzz        each fuzz target for FUZZ_SECONDS (20)
set -eu

race() {
  # One package at a time: the detector slows everything down, and these run real servers.
  # shellcheck disable=SC2086 # a list of packages
  go test -race -p 1 -timeout 40m ${RACE_PACKAGES:-./authority ./token ./bundle ./lease ./child ./extauthz ./gateway ./controlplane/... ./internal/abuse}
}

long() {
  CARACAL_DEEP=1 go test -p 1 -timeout 40m ./internal/abuse ./controlplane
  CARACAL_DEEP=1 CARACAL_SCHEMATHESIS=deep go test -timeout 40m -run Schemathesis ./controlplane/api
  # The peer of the benchmarks is a module of its own, which nothing else compiles.
  (cd bench/opa && go build -o /dev/null .)
}

simulation() {
  CARACAL_DEEP=1 CARACAL_SEEDS=${CARACAL_SEEDS:-100000} CARACAL_SEED_MINUTES=${CARACAL_SEED_MINUTES:-60} \
    go test -timeout 24h -run '^TestSimulation' -v ./gateway
  CARACAL_DEEP=1 go test -timeout 2h -run '^TestModel' -v ./lease
}

faults() {
  CARACAL_DEEP=1 go test -timeout 30m -run '^(TestRandomFaults|TestABuild)' -v ./e2e/revocation
}

clients() {
  CARACAL_DEEP=1 go test -timeout 30m -count=1 -v ./e2e/clients
}

fuzz() {
  seconds=${FUZZ_SECONDS:-20}
  # A target is "package function"; the list is what is in the tree.
  grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' . | while read -r file; do
    grep -oE '^func Fuzz[A-Za-z0-9]+' "$file" | while read -r _ target; do
      echo "fuzzing $target in $(dirname "$file") for $seconds s"
      # The Go tool can end a run at its time limit with an error of its own; an input that fails is kept and fails again.
      once() { go test -run '^$' -fuzz "^$target\$" -fuzztime "${seconds}s" "$(dirname "$file")"; }
      once || once
    done
  done
}

[ $# -gt 0 ] || set -- race long simulation faults clients fuzz
for stage in "$@"; do
  case $stage in
    race | long | simulation | faults | clients | fuzz) "$stage" ;;
    *) echo "there is no stage $stage" >&2; exit 2 ;;
  esac
done
echo "deep tests passed: $*"
