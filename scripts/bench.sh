#!/usr/bin/env bash
# Runs the Go benchmarks, with databases of its own for those that compare
# databases:
#
#   scripts/bench.sh PATTERN BENCHTIME [PACKAGE...]
set -euo pipefail
cd "$(dirname "$0")/.."
step() { printf '\n== %s\n' "$*"; }
. scripts/databases.sh
pattern=${1:-.} time=${2:-1s}
shift $(($# < 2 ? $# : 2))
start_databases
go test -run '^$' -bench "$pattern" -benchmem -benchtime "$time" "${@:-./...}"
