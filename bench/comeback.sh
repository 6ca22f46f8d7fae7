#!/usr/bin/env bash
# Coming back after a loss: a restore from one friend and from four at once, how soon its first file can be
# used, and one photo of 4 MiB through the mount, all over loopback.
#
#   bench/comeback.sh [MIB [RUNS]]     default: 2048 3; Linux; the mount wants FUSE
#
# CARRYALL is the program (default target/release/carryall), WORK a directory on a real disk with six times
# MIB of room.
set -euo pipefail
mib=${1:-2048}
runs=${2:-3}
program=$(realpath "${CARRYALL:-target/release/carryall}")
work=$(mktemp -d "${WORK:-/tmp}/comeback.XXXXXX")
# Beacons of other runs are not heard.
beacon_port=$((40000 + $$ % 10000))

clean() {
    mountpoint -q "$work/window" 2>/dev/null && umount "$work/window"
    pkill -KILL -f -- "--home $work/" || true
    sleep 0.2
    rm -rf "$work"
}
trap clean EXIT

home() {
    mkdir -p "$work/$1"
    printf 'keep_free = 0\nbind = "loopback"\nport = 0\nbeacon_port = %s\napi_port = 0\nquiet_secs = 3600\nwatch = false\n' \
        "$beacon_port" >"$work/$1/config.toml"
}

at() {
    local name=$1
    shift
    "$program" --home "$work/$name" "$@"
}

run() {
    at "$1" run --json >"$work/$1.log" 2>&1 &
    until at "$1" status --json 2>/dev/null | grep -q '"running":true'; do sleep 0.05; done
}

field() { python3 -c 'import json, sys; print(json.loads(sys.stdin.readlines()[-1])[sys.argv[1]])' "$1"; }

photos() {
    python3 - "$work/photos" "$mib" <<'PYTHON'
import os, random, sys
folder, mib = sys.argv[1], int(sys.argv[2])
os.makedirs(folder)
random = random.Random(7)
for at in range(mib // 4):
    with open(f"{folder}/IMG_{at:05}.jpg", "wb") as file:
        file.write(random.randbytes(4 << 20))
PYTHON
}

# Prints how many seconds after a time the first whole photo lies in a folder.
first_file() {
    python3 - "$1" "$2" <<'PYTHON'
import glob, os, sys, time
while True:
    for path in glob.glob(glob.escape(sys.argv[1]) + "/photos/IMG_*.jpg"):
        if os.stat(path).st_size == 4 << 20:
            print(f"{os.stat(path).st_ctime - float(sys.argv[2]):.2f}")
            raise SystemExit
    time.sleep(0.005)
PYTHON
}

# Prints the clock ticks that the processors were busy, and all of them.
ticks() { awk '/^cpu / { all = 0; for (at = 2; at <= 9; at++) all += $at; print all - $5 - $6, all }' /proc/stat; }

received() { cat /sys/class/net/lo/statistics/rx_bytes; }

# A circle with so many friends whose owner lost everything; the friends' nodes run.
loss() {
    pkill -KILL -f -- "--home $work/" || true
    rm -rf "$work"/{owner,f?}
    home owner
    words=$(at owner init --name owner --json | field words)
    run owner
    for friend in $(seq "$1"); do
        home "f$friend"
        at owner invite "f$friend" --file "$work/invite" --quiet >/dev/null
        at "f$friend" join --file "$work/invite" --quiet >/dev/null
        rm "$work/invite"
        run "f$friend"
    done
    at owner backup --quiet "$work/photos" >/dev/null || [ $? -eq 4 ]
    until at owner status --json | grep -Eq '"bytes_only_here": ?0[,}]'; do sleep 0.2; done
    # Until all have what they should.
    until at owner status --json | grep -Eq '"health_min":([0-9]+),"target":\1[,}]'; do sleep 0.2; done
    pkill -INT -f -- "--home $work/owner run"
    sleep 1
    rm -rf "$work/owner"
}

back() {
    rm -rf "$work/back"
    home back
    printf '%s\n' "$words" | at back recover --nearby --quiet >/dev/null
}

median() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

photos
for friends in 1 4; do
    loss "$friends"
    : >"$work/whole" && : >"$work/first" && : >"$work/busy"
    for _ in $(seq "$runs"); do
        back
        rm -rf "$work/restored"
        sync
        began=$(date +%s.%N)
        before=$(ticks)
        first_file "$work/restored" "$began" >>"$work/first" &
        watcher=$!
        at back restore --quiet --to "$work/restored" >/dev/null
        awk -v a="$began" -v b="$(date +%s.%N)" 'BEGIN { printf "%.2f\n", b - a }' >>"$work/whole"
        echo "$before $(ticks)" | awk '{ printf "%.0f\n", 100 * ($3 - $1) / ($4 - $2) }' >>"$work/busy"
        wait "$watcher"
        diff -rq "$work/photos" "$work/restored/photos"
    done
    whole=$(median <"$work/whole")
    awk -v n="$friends" -v m="$mib" -v s="$whole" -v f="$(median <"$work/first")" -v busy="$(median <"$work/busy")" 'BEGIN {
        printf "from %d: %.2f s, %.0f MiB/s, processors busy %d %%; the first file after %.2f s, with the start of the program\n", n, s, m / s, busy, f }'
    [ "$friends" = 1 ] && one=$whole
done
awk -v one="$one" -v four="$whole" 'BEGIN { printf "four friends at once: %.2f times the speed of one (wanted 1.5, or the disk or the processors full)\n", one / four }'

rm -rf "$work/restored"
back
run back
mkdir -p "$work/window"
at back mount "$work/window" >"$work/mount.log" 2>&1 &
until [ -e "$work/window/latest/photos" ]; do sleep 0.1; done
: >"$work/look" && : >"$work/moved"
# The node hands the photo to the mount over loopback too: that is taken off.
for at in 3 31 47 59 83; do
    photo=$(printf 'photos/IMG_%05d.jpg' "$at")
    before=$(received)
    began=$(date +%s.%N)
    cmp "$work/window/latest/$photo" "$work/$photo"
    awk -v a="$began" -v b="$(date +%s.%N)" 'BEGIN { printf "%.0f\n", 1000 * (b - a) }' >>"$work/look"
    awk -v a="$before" -v b="$(received)" 'BEGIN { printf "%.1f\n", (b - a) / 1048576 - 4 }' >>"$work/moved"
done
echo "a photo of 4 MiB through the mount: $(median <"$work/look") ms (wanted 300), $(median <"$work/moved") MiB moved (wanted 5)"
umount "$work/window"
