#!/usr/bin/env bash
# Measures a server of its own under simulated load, on one database:
#
#   scripts/bench-server.sh [sqlite|postgres|mysql] [devices]
#
# postgres and mysql use the servers of scripts/testdb.sh. Prints what
# `muster sim load` prints for idle, drain and storm. DATA=DIR starts from a copy
# of an embedded database (one without users), to measure among its hosts.
set -euo pipefail
kind=${1:-sqlite}
devices=${2:-2000}
root=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d)
muster=$dir/muster
(cd "$root" && go build -o "$muster" ./cmd/muster)
port=$((20000 + RANDOM % 10000))
pids=()
cleanup() {
	for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done
	wait 2>/dev/null || true
	rm -rf "$dir"
}
trap cleanup EXIT

export HOME=$dir MUSTER_CLIENT_CONFIG=$dir/client.yml
"$muster" sim apns --dir "$dir/apns" --listen "127.0.0.1:$((port + 1))" --wake-listen "127.0.0.1:$((port + 2))" >"$dir/apns.out" &
pids+=($!)
export MUSTER_LIMITS_ENROLLMENTS_PER_HOUR=1000000 MUSTER_LIMITS_COMMAND_TARGETS=200000
export MUSTER_APPLE_APNS_URL=https://127.0.0.1:$((port + 1)) MUSTER_APPLE_APNS_ROOT_CA_FILE=$dir/apns/root.pem
# What a server does by itself would count into every figure.
export MUSTER_DESIRED_PAUSED=true MUSTER_REFETCH_PAUSED=true MUSTER_RENEWAL_PAUSED=true
export MUSTER_DATA_DIR=$dir/data MUSTER_SERVER_ADDRESS=127.0.0.1:$port
[ -z "${DATA:-}" ] || cp -r "$DATA" "$MUSTER_DATA_DIR"
dbpid=0
if [ "$kind" != sqlite ]; then
	eval "$("$root/scripts/testdb.sh" start)"
	tdir=${MUSTER_TESTDB_DIR:-/tmp/muster-testdb}
	name=bench_$$
	MUSTER_PRIVATE_KEY=$(openssl rand -base64 32)
	export MUSTER_PRIVATE_KEY
	if [ "$kind" = postgres ]; then
		dbpid=$(head -n1 "$tdir/pg/postmaster.pid")
		psql -q "$MUSTER_TEST_POSTGRES" -c "CREATE DATABASE $name"
		export MUSTER_DATABASE_URL=${MUSTER_TEST_POSTGRES/\/postgres\?/\/$name?}
	else
		dbpid=$(cat "$tdir/my/pid")
		mariadb --no-defaults --socket="$tdir/my/s" -e "CREATE DATABASE $name CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
		export MUSTER_DATABASE_URL=${MUSTER_TEST_MYSQL/%\/mysql/\/$name}
	fi
fi
for _ in $(seq 50); do [ -s "$dir/apns/root.pem" ] && break; sleep 0.1; done
env -u MUSTER_CLIENT_CONFIG -u MUSTER_TEST_POSTGRES -u MUSTER_TEST_MYSQL -u MUSTER_TESTDB_DIR "$muster" serve >"$dir/server.log" 2>&1 &
server=$!
pids+=("$server")
for _ in $(seq 100); do curl -fs "http://127.0.0.1:$port/healthz" >/dev/null 2>&1 && break; sleep 0.1; done
curl -fs "http://127.0.0.1:$port/healthz" >/dev/null || { cat "$dir/server.log"; exit 1; }
echo "== $kind, memory after the start: $(awk '/^VmRSS/ {print int($2 / 1024)}' "/proc/$server/status") MiB"
export MUSTER_CLIENT_CONFIG=$dir/client.yml
"$muster" config set --address "http://127.0.0.1:$port"
echo 'Bench-password-1' >"$dir/password"
"$muster" setup --email bench@example.com --name Bench --org-name Bench --password-file "$dir/password" 2>/dev/null
"$muster" apns upload --cert "$dir/apns/push.pem" --key "$dir/apns/push.key" >/dev/null
url=$("$muster" apple-mdm enrollments create --name bench -o json | sed -n 's/.*"enroll_url": "\([^"]*\)".*/\1/p')
for scenario in ${SCENARIOS:-idle drain storm}; do
	echo "== $kind, $scenario, $devices devices"
	"$muster" sim load --server "http://127.0.0.1:$port" --enroll-profile-url "$url" --scenario "$scenario" --devices "$devices" --settle 0 \
		--server-pid "$server" --database-pid "$dbpid" 2>"$dir/load.err" || { cat "$dir/load.err"; exit 1; }
done
