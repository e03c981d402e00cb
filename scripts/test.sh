#!/usr/bin/env bash
# Everything that must hold before a change lands: static checks, generated
# files, and all tests with the race detector on SQLite, PostgreSQL and
# MariaDB. A skipped test is a failure.
#
# It installs the database servers if they are missing and it is root, starts
# them in a directory of its own on free loopback ports, and stops them again
# whatever happens.
#
#   scripts/test.sh                    everything
#   scripts/test.sh ./internal/store   the tests of some packages only
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }
fail() { printf 'test: %s\n' "$*" >&2; exit 1; }

# Packages of Debian and what of them is needed.
install_missing() {
	local missing=()
	command -v mariadbd >/dev/null && command -v mariadb-install-db >/dev/null || missing+=(mariadb-server)
	compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
	command -v openssl >/dev/null || missing+=(openssl)
	command -v cc >/dev/null || missing+=(gcc libc6-dev)
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail "please install: ${missing[*]}"
	step "install ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q
	apt-get install -q -y --no-install-recommends "${missing[@]}"
}

. scripts/databases.sh

# modernc.org/sqlite is only right with the very libc that it was built for.
check_libc() {
	local have want
	have=$(go list -m -f '{{.Version}}' modernc.org/libc)
	want=$(awk '$1 == "modernc.org/libc" {print $2} $1 == "require" && $2 == "modernc.org/libc" {print $3}' \
		"$(go list -m -f '{{.GoMod}}' modernc.org/sqlite)")
	[ "$have" = "$want" ] || fail "modernc.org/libc is $have, but modernc.org/sqlite wants $want: go get modernc.org/libc@$want"
}

static_checks() {
	step "go mod tidy, modernc.org/libc"
	go mod tidy -diff || fail "go.mod or go.sum is not tidy: go mod tidy"
	check_libc
	step "go vet"
	go vet ./...
	step "lint"
	scripts/lint.sh run ./...
}

# The output of `go test -v` is long. Shown are the go command's own lines for
# each package, and all that a failed package said; skipped tests are listed
# at the end and fail the run.
summarize() {
	awk '
		/^[ \t]*--- SKIP/ { skipped = skipped "\n" $0; reason = 1 }
		/^ok[ \t]/ { print; fflush(); said = ""; next }
		/^\?[ \t]/ || /^[ \t].*\[no test files\]/ || /coverage: 0.0% of statements$/ { print; fflush(); said = ""; next }
		/^FAIL[ \t]/ { printf "%s", said; print; fflush(); said = ""; failed = 1; next }
		/^[ \t]*=== (RUN|PAUSE|CONT|NAME)/ || /^[ \t]*--- PASS/ || /^(PASS|FAIL)$/ { next }
		{ said = said $0 "\n" }
		END {
			printf "%s", said
			if (skipped != "") { print "\nskipped tests, which count as failures:" skipped; exit 3 }
			exit failed
		}'
}

run_tests() {
	step "go test -race $*"
	set +e
	CGO_ENABLED=1 go test -race -v -count=1 -timeout 20m "$@" 2>&1 | summarize
	local status=("${PIPESTATUS[@]}")
	set -e
	[ "${status[0]}" = 0 ] || fail "tests failed"
	[ "${status[1]}" = 0 ] || fail "tests were skipped"
}

install_missing
[ $# -gt 0 ] || static_checks
start_databases
run_tests "${@:-./...}"
printf '\nall checks passed in %d s\n' "$SECONDS"
