#!/usr/bin/env bash
# The lab: the real program in real network namespaces. bench/lab.sh [short | all | N ...] [--help]
# Wants root, Linux and Python 3; what a scenario wants beside that, it names. See docs/lab.md.
# CARRYALL=path takes that binary instead of building one.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "the lab wants root: it makes network namespaces" >&2; exit 2; }
for tool in python3 ip; do
    command -v "$tool" >/dev/null || { echo "the lab wants $tool, which is missing" >&2; exit 2; }
done
if [ -z "${CARRYALL:-}" ]; then
    cargo build --release --locked --quiet --package carryall-cli
    CARRYALL=${CARGO_TARGET_DIR:-$PWD/target}/release/carryall
fi
export CARRYALL LAB_PREFIX="cl$$"

# Whatever way the lab ends, nothing of it stays: its namespaces are known by their prefix.
sweep() {
    local name
    for name in $(ip netns list | awk -v prefix="$LAB_PREFIX-" 'index($1, prefix) == 1 {print $1}'); do
        ip netns pids "$name" 2>/dev/null | xargs -r kill -KILL 2>/dev/null || true
        ip netns delete "$name" || true
    done
    [ -n "${LAB_KEEP:-}" ] || rm -rf "${LAB_DIR:-/tmp}/$LAB_PREFIX"
}
trap sweep EXIT
trap 'exit 130' INT TERM
code=0
python3 bench/lab "$@" || code=$?
exit "$code"
