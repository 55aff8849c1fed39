#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# hello_task.sh BIN MODULE: a cluster of one node in a folder of its own, hello_task on it, and its end.
set -euo pipefail
bin=$1 module=$2
dir=$(mktemp -d "${TMPDIR:-/tmp}/swarm-hello.XXXXXX")
cleanup() {
	"$bin/swarm" stop --dir="$dir/head" --force --timeout=5s >/dev/null 2>&1 || true
	rm -rf "$dir"
}
trap cleanup EXIT
"$bin/swarm" start --head --dir="$dir/head" --bind=127.0.0.1:0 --arena=32M --cpus=1 >/dev/null
"$bin/hello_task" "$module" "$dir/head"
