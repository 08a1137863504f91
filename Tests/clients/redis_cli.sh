#!/bin/bash
# redis-cli PORT: strings, RESP3, pipes, a transaction, a message, scans.
set -euo pipefail
port=$1
cli() { redis-cli -p "$port" "$@"; }
expect() {
    [[ "$1" == "$2" ]] || { echo "expected <$2>, got <$1>" >&2; exit 1; }
}

expect "$(cli ping)" PONG
expect "$(cli set cli:k 'a value')" OK
expect "$(cli get cli:k)" "a value"
expect "$(cli -3 hset cli:h f 1 g 2)" 2
expect "$(cli -3 --csv hget cli:h g)" '"2"'
expect "$(printf 'MULTI\nINCR cli:n\nINCR cli:n\nEXEC\n' | cli | tail -n 1)" 2
expect "$(printf '*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n' | cli --pipe | tail -n 1)" \
    "errors: 0, replies: 2"
for number in 1 2 3; do cli set "cli:scan:$number" x >/dev/null; done
expect "$(cli --scan --pattern 'cli:scan:*' | sort | tr '\n' ' ')" "cli:scan:1 cli:scan:2 cli:scan:3 "
messages=$(mktemp)
trap 'rm -f "$messages"' EXIT
timeout 10 redis-cli -p "$port" subscribe cli:news >"$messages" &
listener=$!
for _ in $(seq 100); do
    [[ "$(cli pubsub numsub cli:news | tail -n 1)" == 1 ]] && break
    sleep 0.05
done
expect "$(cli publish cli:news hello)" 1
for _ in $(seq 100); do
    grep -q hello "$messages" && break
    sleep 0.05
done
kill "$listener"
expect "$(tail -n 1 "$messages")" hello
