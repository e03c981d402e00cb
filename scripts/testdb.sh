#!/usr/bin/env bash
# Starts a PostgreSQL and a MariaDB for the tests on loopback, in a folder of
# their own, and prints the environment that points the tests at them:
#
#   eval "$(scripts/testdb.sh start)"
#   scripts/testdb.sh stop
#
# Nothing is kept: durability is off. Needs root or a user who may run both
# servers, and the packages postgresql and mariadb-server.
set -euo pipefail

dir=${MUSTER_TESTDB_DIR:-/tmp/muster-testdb}
pgport=${MUSTER_TESTDB_PGPORT:-54329}
myport=${MUSTER_TESTDB_MYPORT:-33069}

say() { printf 'testdb: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

pgbin() {
	local d
	for d in /usr/lib/postgresql/*/bin; do [ -x "$d/initdb" ] && echo "$d" && return; done
	dirname "$(command -v initdb 2>/dev/null)" 2>/dev/null || fail "PostgreSQL's server is missing: apt-get install postgresql"
}

as() { # as USER COMMAND...: run as another user when we are root
	local user=$1
	shift
	if [ "$(id -u)" = 0 ]; then setpriv --reuid="$user" --regid="$user" --clear-groups -- "$@"; else "$@"; fi
}

start_postgres() {
	local bin
	bin=$(pgbin)
	if [ ! -d "$dir/pg" ]; then
		mkdir -p "$dir/pg"
		[ "$(id -u)" = 0 ] && chown postgres: "$dir/pg"
		as postgres "$bin/initdb" -D "$dir/pg" -U muster --auth=trust -E UTF8 --locale=C.UTF-8 >"$dir/initdb.log" 2>&1 || fail "initdb failed: $dir/initdb.log"
	fi
	as postgres "$bin/pg_ctl" -D "$dir/pg" -s -w -l "$dir/pg/server.log" \
		-o "-p $pgport -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=300" \
		start >/dev/null || fail "PostgreSQL did not start: $dir/pg/server.log"
}

start_mariadb() {
	command -v mariadbd >/dev/null || fail "MariaDB's server is missing: apt-get install mariadb-server"
	local user
	user=$([ "$(id -u)" = 0 ] && echo mysql || id -un)
	if [ ! -d "$dir/my" ]; then
		mkdir -p "$dir/my"
		[ "$(id -u)" = 0 ] && chown mysql: "$dir/my"
		mariadb-install-db --no-defaults --user="$user" --datadir="$dir/my" --auth-root-authentication-method=normal --skip-test-db \
			>"$dir/mariadb-install.log" 2>&1 || fail "mariadb-install-db failed: $dir/mariadb-install.log"
	fi
	as "$user" mariadbd --no-defaults --datadir="$dir/my" --port="$myport" --bind-address=127.0.0.1 --socket="$dir/my/s" \
		--pid-file="$dir/my/pid" --skip-grant-tables --innodb-flush-log-at-trx-commit=0 --innodb-flush-method=nosync \
		--max-connections=300 >"$dir/mariadb.log" 2>&1 &
	for _ in $(seq 100); do
		mariadb --no-defaults --socket="$dir/my/s" -e 'SELECT 1' >/dev/null 2>&1 && return
		sleep 0.1
	done
	fail "MariaDB did not start: $dir/mariadb.log"
}

running() { [ -s "$1" ] && kill -0 "$(head -n1 "$1")" 2>/dev/null; }

case "${1:-}" in
start)
	mkdir -p "$dir"
	chmod 755 "$dir"
	running "$dir/pg/postmaster.pid" || start_postgres
	running "$dir/my/pid" || start_mariadb
	echo "export MUSTER_TEST_POSTGRES='postgres://muster@127.0.0.1:$pgport/postgres?sslmode=disable'"
	echo "export MUSTER_TEST_MYSQL='mysql://root@127.0.0.1:$myport/mysql'"
	say "PostgreSQL on port $pgport and MariaDB on port $myport are ready"
	;;
stop)
	if running "$dir/pg/postmaster.pid"; then as postgres "$(pgbin)/pg_ctl" -D "$dir/pg" -s -m immediate stop; fi
	if running "$dir/my/pid"; then
		pid=$(cat "$dir/my/pid")
		kill "$pid"
		for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
	fi
	rm -rf "$dir"
	;;
*) fail "usage: scripts/testdb.sh start|stop" ;;
esac
