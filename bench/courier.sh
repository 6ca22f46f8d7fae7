#!/usr/bin/env bash
# A disk carried between two homes in two network namespaces without any link, on ext4, exFAT and FAT32 in
# a loop-mounted image: time per leg against `cp` of the same bytes with a sync, then the disk pulled out at
# random moments, and in the end all files brought back from the friend and compared.
#
#   bench/courier.sh [MIB [PULLS [FILESYSTEM...]]]     default: 4096 50 ext4 exfat vfat; needs root
#
# CARRYALL is the program (default target/release/carryall), WORK a directory on a real disk.
set -euo pipefail
mib=${1:-4096}
pulls=${2:-50}
shift $(($# < 2 ? $# : 2))
systems=("$@")
[ ${#systems[@]} -gt 0 ] || systems=(ext4 exfat vfat)
program=$(realpath "${CARRYALL:-target/release/carryall}")
work=$(mktemp -d "${WORK:-/tmp}/courier.XXXXXX")
node=
loop=
# They get to know each other in one namespace; from then on each is in its own, with nothing but loopback.
spaces="courier$$"
declare -A space=([ada]=both [bo]=both)

# Ends what this script started, whatever happens.
clean() {
    [ -z "$node" ] || kill -9 "$node" 2>/dev/null || true
    umount -l "$work/disk" 2>/dev/null || true
    [ -z "$loop" ] || losetup -d "$loop" 2>/dev/null || true
    for at in both ada bo; do ip netns delete "$spaces-$at" 2>/dev/null || true; done
    rm -rf "$work"
}
trap clean EXIT

now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f", b - a }'; }
cold() { sync; echo 3 >/proc/sys/vm/drop_caches 2>/dev/null || true; }

format() {
    case $1 in
    ext4) mkfs.ext4 -q -F "$work/image" ;;
    exfat) mkfs.exfat "$work/image" >/dev/null ;;
    vfat) mkfs.vfat -F 32 "$work/image" >/dev/null ;;
    esac
}

# The kernel's own driver where it has one, FUSE for exFAT where it hasn't.
plug() {
    loop=$(losetup --show -f "$work/image")
    if ! mount -t "$1" "$loop" "$work/disk" 2>/dev/null; then
        [ "$1" = exfat ] && mount.exfat-fuse "$loop" "$work/disk" >/dev/null 2>&1
    fi
}

unplug() {
    umount "$work/disk" || umount -l "$work/disk"
    # FUSE lets go of the device a moment later.
    for _ in $(seq 50); do losetup -d "$loop" 2>/dev/null && break || sleep 0.1; done
    loop=
}

home() {
    mkdir -p "$work/$1"
    printf 'keep_free = 0\nbind = "loopback"\nport = 0\nbeacon_port = %s\napi_port = 0\nquiet_secs = 3600\nwatch = false\n' \
        "$2" >"$work/$1/config.toml"
}

at() { nsenter --net="/run/netns/$spaces-${space[$1]}" "$program" --home "$work/$1" --json "${@:2}"; }

ask() { at "$@" 2>>"$work/errors" || [ $? -eq 4 ]; }

start() {
    nsenter --net="/run/netns/$spaces-${space[$1]}" "$program" --home "$work/$1" --json run --path "$work/disk" \
        >>"$work/$1.log" 2>>"$work/errors" &
    node=$!
}

await() {
    for _ in $(seq 300); do
        "$@" && return
        kill -0 "$node" 2>/dev/null || break
        sleep 0.1
    done
    echo "waited in vain for: $*; the last words were:" >&2
    tail -3 "$work/errors" >&2
    exit 1
}

stop() {
    kill "$node" 2>/dev/null || true
    wait "$node" 2>/dev/null || true
    node=
}

# Runs a home's node with the disk plugged in until it says that it is safe to unplug.
visit() {
    local before
    before=$(grep -c courier_synced "$work/$1.log" 2>/dev/null || true)
    start "$1"
    until [ "$(grep -c courier_synced "$work/$1.log" || true)" -gt "${before:-0}" ]; do
        kill -0 "$node" 2>/dev/null || { echo "the node ended"; tail -3 "$work/errors"; exit 1; }
        sleep 0.05
    done
}

safe() { ask ada status | tail -1 | grep -q '"safe":true'; }

offered() { ask ada friends | grep -q '"offered_to_me":1099511627776'; }

# Two members who know each other; from then on they are apart, and only one of them is switched on.
pair() {
    rm -rf "$work/ada" "$work/bo" "$work/ada.log" "$work/bo.log"
    touch "$work/ada.log" "$work/bo.log"
    home ada 47911
    home bo 47911
    space=([ada]=both [bo]=both)
    ask ada init --name ada >/dev/null
    start ada
    await test -e "$work/ada/api.json"
    ask ada invite bo | sed -n 's/.*"link":"\([^"]*\)".*/\1/p' | tail -1 >"$work/link"
    ask bo join --name bo --file "$work/link" >/dev/null
    ask bo friends offer ada 1TiB >/dev/null
    # Once more together, so that ada hears of the offer.
    local other=$node
    start bo
    await offered
    stop
    node=$other
    stop
    space=([ada]=ada [bo]=bo)
    met=$(meetings)
    ask ada backup "$work/files" >/dev/null
}

meetings() { grep -c '"type":"met"' "$work/ada.log" || true; }

# Fails if anything went over a network since they got to know each other.
alone() { [ "$(meetings)" = "$met" ] || { echo "they met"; exit 1; }; }

# Ada's files are gone: what the courier brought to bo, and nothing else, brings them back.
restore() {
    mv "$work/files" "$work/lost"
    space=([ada]=both [bo]=both)
    start bo
    local other=$node
    start ada
    await offered
    ask ada restore --to "$work/back" >/dev/null
    stop
    node=$other
    stop
    diff -r "$work/lost" "$work/back/files" >/dev/null || { echo "what came back differs"; exit 1; }
    rm -rf "$work/back"
    mv "$work/lost" "$work/files"
}

share() { awk -v cp="$1" -v leg="$2" 'BEGIN { printf "%.0f %%", 100 * cp / leg }'; }

for at in both ada bo; do
    ip netns add "$spaces-$at"
    ip -n "$spaces-$at" link set lo up
done
mkdir -p "$work/files" "$work/disk" "$work/copy"
for at in $(seq $((mib / 64))); do
    head -c $((64 << 20)) /dev/urandom >"$work/files/$at.bin"
done
truncate -s $(((mib * 5 / 4 + 512) << 20)) "$work/image"
echo "| file system | leg | cp and sync, s | carryall, s | of cp |"
echo "|---|---|---|---|---|"
for system in "${systems[@]}"; do
    format "$system"
    if ! plug "$system"; then
        losetup -d "$loop"
        loop=
        echo "| $system | can't be mounted here | | | |"
        continue
    fi
    unplug
    # What the same bytes take by hand, the same way: files to disk, disk to another directory.
    format "$system"
    plug "$system"
    cold
    from=$(now); cp -r "$work/files" "$work/disk/files"; sync; to=$(since "$from")
    unplug; plug "$system"; cold
    from=$(now); cp -r "$work/disk/files" "$work/copy/"; sync; back=$(since "$from")
    rm -rf "$work/copy/files"
    unplug

    pair
    format "$system"
    plug "$system"
    ask ada courier init "$work/disk" --name disk >/dev/null
    cold
    from=$(now); visit ada; first=$(since "$from"); stop
    unplug; plug "$system"; cold
    from=$(now); visit bo; second=$(since "$from"); stop
    unplug; plug "$system"; cold
    from=$(now); visit ada; third=$(since "$from"); stop
    safe || { echo "not safe on $system"; exit 1; }
    alone
    unplug
    echo "| $system | to the disk | $to | $first | $(share "$to" "$first") |"
    echo "| $system | from the disk | $back | $second | $(share "$back" "$second") |"
    echo "| $system | back at home, until safe | | $third | |"
    restore

    [ "$pulls" -gt 0 ] || continue
    pair
    format "$system"
    plug "$system"
    ask ada courier init "$work/disk" --name disk >/dev/null
    for at in $(seq "$pulls"); do
        who=$([ $((RANDOM % 2)) = 0 ] && echo ada || echo bo)
        start "$who"
        sleep "$((RANDOM % 3)).$((RANDOM % 1000))"
        case $((at % 3)) in
        0) kill -9 "$node"; wait "$node" 2>/dev/null || true; node= ;;
        1) umount -l "$work/disk"; stop ;;
        2) losetup -d "$loop" 2>/dev/null || true; stop ;;
        esac
        umount -l "$work/disk" 2>/dev/null || true
        for _ in $(seq 50); do losetup -d "$loop" 2>/dev/null || true; losetup "$loop" >/dev/null 2>&1 || break; sleep 0.1; done
        loop=
        plug "$system"
    done
    for who in ada bo ada; do visit "$who"; stop; done
    safe || { echo "not safe after $pulls pulls on $system"; exit 1; }
    alone
    unplug
    restore
    echo "| $system | after $pulls pulls | | safe, and all came back | |"
done
