#!/usr/bin/env bash
# Carryall beside restic, on the same data in the same run: bench/tools.sh [DIR] [RUNS] [DATA]
# Needs restic, GNU time and python3. Prints medians of wall seconds and peak MiB, and the ratios
# that docs/performance.md quotes. DIR (default /tmp/carryall-bench) wants 8 GiB. DATA is photos,
# small or both. Replication is timed from the meeting to "safe by proof", beside one plain QUIC stream
# of the same library in the same run.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${1:-/tmp/carryall-bench}
runs=${2:-3}
data=${3:-photos small}
[ -n "${CARRYALL:-}" ] || cargo build --release --quiet --package carryall-cli
carryall=${CARRYALL:-$PWD/target/release/carryall}
[ -n "${STREAM_SPEED:-}" ] || cargo build --release --quiet --package carryall-net --example stream_speed
stream_speed=${STREAM_SPEED:-$PWD/target/release/examples/stream_speed}
mkdir -p "$dir"
bench/data.sh "$dir/data"
export RESTIC_PASSWORD=bench RESTIC_CACHE_DIR=$dir/restic-cache
log=$dir/times
: >"$log"
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

# timed NAME COMMAND...: one line of name, wall seconds, peak KiB; exit codes 3 and 4 are fine.
timed() {
    local name=$1 code=0
    shift
    /usr/bin/time -f "$name %e %M" -o "$dir/one" "$@" >"$dir/out" 2>&1 || code=$?
    case $code in
    0 | 3 | 4) ;;
    *)
        cat "$dir/out" >&2
        echo "$name failed with $code" >&2
        exit 1
        ;;
    esac
    tail -n 1 "$dir/one" >>"$log"
}

# stamped: each line of a node's log with the time at which it came
stamped() {
    python3 -uc 'import sys, time
for line in sys.stdin: print(time.time(), line, end="")'
}

# waits until the owner's status says that everything is safe
until_safe() {
    until "$carryall" --home "$1" status --json | grep -Eq '"bytes_only_here": ?0[,}]'; do sleep 0.1; done
}

for _ in $(seq "$runs"); do
    for what in $data; do
        source=$dir/data/$what
        rm -rf "$dir"/{a,b,a2,repo,restored,restic-restored,invite,invite2} && sync

        restic init --quiet --repo "$dir/repo" >/dev/null
        cat "$source"/* "$source"/*/* >/dev/null 2>&1 || true
        timed "restic-first-$what" restic backup --quiet --repo "$dir/repo" "$source"
        timed "restic-again-$what" restic backup --quiet --repo "$dir/repo" "$source"
        timed "restic-restore-$what" restic restore latest --quiet --repo "$dir/repo" --target "$dir/restic-restored"
        rm -rf "$dir/restic-restored" "$dir/repo" && sync

        for home in a b; do
            mkdir -p "$dir/$home"
            printf 'bind = "loopback"\nbeacon_port = 47999\nkeep_free = 0\n' >"$dir/$home/config.toml"
        done
        "$carryall" --home "$dir/a" init --name owner --json >"$dir/words"
        timed "carryall-first-$what" "$carryall" --home "$dir/a" backup "$source"
        timed "carryall-again-$what" "$carryall" --home "$dir/a" backup
        du -s --block-size=1 "$dir/a" | awk -v name="disk-$what" '{print name, $1 / 1048576, 0}' >>"$log"

        "$carryall" --home "$dir/a" invite friend --file "$dir/invite" --quiet >/dev/null
        /usr/bin/time -f "carryall-owner-node-$what %e %M" -o "$dir/one-a" \
            "$carryall" --home "$dir/a" run --json > >(stamped >"$dir/a.log") 2>&1 &
        until "$carryall" --home "$dir/a" status --json >/dev/null 2>&1; do sleep 0.1; done
        "$carryall" --home "$dir/b" join --file "$dir/invite" --quiet >/dev/null
        /usr/bin/time -f "carryall-friend-node-$what %e %M" -o "$dir/one-b" \
            "$carryall" --home "$dir/b" run --json >"$dir/b.log" 2>&1 &
        until_safe "$dir/a"
        sleep 0.5
        awk -v name="carryall-replicate-$what" '/"type":"met"/ && !placed { met = $1 }
            /"type":"placed"/ { placed = 1 } /"type":"all_safe"/ { print name, $1 - met, 0; exit }' \
            "$dir/a.log" >>"$log"
        pkill -INT -f -- "--home $dir/a run" && sleep 1
        tail -n 1 "$dir/one-a" >>"$log"

        mkdir -p "$dir/a2"
        cp "$dir/a/config.toml" "$dir/a2/config.toml"
        "$carryall" --home "$dir/b" invite back --file "$dir/invite2" --quiet >/dev/null
        python3 -c 'import json,sys; w = json.load(open(sys.argv[1]))["words"]; print(w if isinstance(w, str) else " ".join(w))' "$dir/words" |
            "$carryall" --home "$dir/a2" recover --file "$dir/invite2" --quiet >/dev/null
        timed "carryall-restore-$what" "$carryall" --home "$dir/a2" restore --to "$dir/restored"
        diff -r "$source" "$dir/restored/$what"
        pkill -INT -f -- "--home $dir/b run" && sleep 1
        tail -n 1 "$dir/one-b" >>"$log"
    done
    "$stream_speed" 1024 plain | awk '/plain/ { print "plain-stream-GiB", 1024 / $4, 0 }' >>"$log"
done

python3 - "$log" "$data" <<'PYTHON'
import statistics, sys
rows = {}
for line in open(sys.argv[1]):
    name, wall, peak = line.split()
    rows.setdefault(name, []).append((float(wall), float(peak) / 1024))
median = {name: statistics.median(wall for wall, _ in runs) for name, runs in rows.items()}
print(f"{'':32} {'median s':>9} {'peak MiB':>9}")
for name, runs in sorted(rows.items()):
    print(f"{name:32} {median[name]:9.2f} {max(peak for _, peak in runs):9.0f}")
for work, must in [("first", 0.6), ("again", 0.4), ("restore", 0.8)]:
    for what in sys.argv[2].split():
        ratio = median[f"carryall-{work}-{what}"] / median[f"restic-{work}-{what}"]
        print(f"{work} {what}: {ratio:.2f} of restic's time (at most {must})")
if "photos" in sys.argv[2].split():
    ratio = median["plain-stream-GiB"] / median["carryall-replicate-photos"]
    print(f"replicate photos: {ratio:.2f} of a plain stream's speed (at least 0.30)")
PYTHON
