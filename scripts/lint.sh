#!/usr/bin/env bash
# Runs golangci-lint, which it builds once from the version in tools/go.mod.
#
#   scripts/lint.sh run ./...
#   scripts/lint.sh fmt ./...
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(cd tools && go list -m -f '{{.Version}}' github.com/golangci/golangci-lint/v2)
tool=$PWD/.tools/golangci-lint-$version
if [ ! -x "$tool" ]; then
	echo "lint: building golangci-lint $version (about a minute, once)" >&2
	mkdir -p .tools
	(cd tools && go build -o "$tool.new" github.com/golangci/golangci-lint/v2/cmd/golangci-lint)
	mv "$tool.new" "$tool"
fi
exec "$tool" "$@"
