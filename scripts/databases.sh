# shellcheck shell=bash
# Sourced by scripts that need the test databases: start_databases starts them
# in a directory of their own on free loopback ports, exports where they are,
# and stops them when the script ends. The script defines step.

free_port() { # free_port FROM: the first port from FROM on where nobody listens
	local port=$1
	while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
	echo "$port"
}

start_databases() {
	step "start PostgreSQL and MariaDB"
	work=$(mktemp -d /tmp/muster-test.XXXXXX)
	chmod 755 "$work"
	export MUSTER_TESTDB_DIR=$work/db
	MUSTER_TESTDB_PGPORT=$(free_port $((20000 + RANDOM % 5000)))
	MUSTER_TESTDB_MYPORT=$(free_port $((26000 + RANDOM % 5000)))
	export MUSTER_TESTDB_PGPORT MUSTER_TESTDB_MYPORT
	trap stop_databases EXIT
	trap 'exit 130' INT TERM
	local environment
	environment=$(scripts/testdb.sh start)
	eval "$environment"
}

stop_databases() {
	scripts/testdb.sh stop || true
	rm -rf "$work"
}
