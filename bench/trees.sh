#!/usr/bin/env bash
# Difficult trees, full size, through a real friend: bench/trees.sh [DIR]
# 100,000 small files, a file of 6 GiB, names that are not UTF-8, contain newlines or have 255 bytes,
# symlink loops, hard links, a sparse file, a FIFO, a socket, an unreadable file (unless root), names
# that differ in case only. Backs up, replicates, deletes, recovers, restores and compares.
# DIR (default /tmp/carryall-trees) wants 30 GiB.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${1:-/tmp/carryall-trees}
[ -n "${CARRYALL:-}" ] || cargo build --release --quiet --package carryall-cli
carryall=${CARRYALL:-$PWD/target/release/carryall}
rm -rf "$dir"
mkdir -p "$dir/a" "$dir/b" "$dir/a2"
for home in a b a2; do
    printf 'bind = "loopback"\nbeacon_port = 47998\nkeep_free = 0\n' >"$dir/$home/config.toml"
done
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

python3 - "$dir/source" <<'PYTHON'
import os, random, socket, sys
root, random = os.fsencode(sys.argv[1]), random.Random(2)
path = lambda *parts: os.path.join(root, *parts)
for at in range(100_000):
    folder = path(b"many", b"%03d" % (at // 1000))
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, b"file %d" % at), "wb") as file:
        file.write(random.randbytes(random.randint(0, 600)))
block = random.randbytes(1 << 20)
with open(path(b"huge.bin"), "wb") as file:
    for at in range(6 << 10):
        file.write(at.to_bytes(8, "little") + block[8:])
os.makedirs(path(b"odd", b"empty"))
for name in [b"\xff\xfe not UTF-8", b"two\nlines", b"n" * 255, b"Case", b"case", b" ", b"-rf", b"\x1b[31mred"]:
    with open(path(b"odd", name), "wb") as file:
        file.write(name)
os.symlink(b"loop-b", path(b"odd", b"loop-a"))
os.symlink(b"loop-a", path(b"odd", b"loop-b"))
os.symlink(b"/nowhere/\xff", path(b"odd", b"dangling"))
os.symlink(b"..", path(b"odd", b"up"))
with open(path(b"odd", b"linked"), "wb") as file:
    file.write(random.randbytes(300_000))
os.link(path(b"odd", b"linked"), path(b"odd", b"linked again"))
with open(path(b"odd", b"sparse"), "wb") as file:
    file.truncate(200 << 20)
    file.seek(100 << 20)
    file.write(b"an island")
os.mkfifo(path(b"odd", b"fifo"))
socket.socket(socket.AF_UNIX).bind(os.fsdecode(path(b"odd", b"socket")))
os.chmod(path(b"odd", b"Case"), 0o4711)
os.utime(path(b"odd", b"case"), ns=(1, 123_456_789_123_456_789))
os.utime(path(b"odd", b"up"), ns=(1, 987_654_321), follow_symlinks=False)
PYTHON
if [ "$(id -u)" != 0 ]; then
    echo secret >"$dir/source/odd/unreadable"
    chmod 0 "$dir/source/odd/unreadable"
fi

"$carryall" --home "$dir/a" init --name owner --json >"$dir/words"
echo "== backup"
/usr/bin/time -f "%e s, %M KiB at the peak" "$carryall" --home "$dir/a" backup "$dir/source" || echo "exit code $?"
echo "== again, nothing changed"
/usr/bin/time -f "%e s, %M KiB at the peak" "$carryall" --home "$dir/a" backup || echo "exit code $?"
"$carryall" --home "$dir/a" invite friend --file "$dir/invite" --quiet >/dev/null
"$carryall" --home "$dir/a" run --json >"$dir/a.log" 2>&1 &
owner=$!
until "$carryall" --home "$dir/a" status --json >/dev/null 2>&1; do sleep 0.2; done
"$carryall" --home "$dir/b" join --file "$dir/invite" --quiet >/dev/null
"$carryall" --home "$dir/b" run --json >"$dir/b.log" 2>&1 &
until "$carryall" --home "$dir/a" status --json | grep -Eq '"bytes_only_here": ?0[,}]'; do sleep 1; done
"$carryall" --home "$dir/a" status
kill -INT $owner
wait $owner || true
mv "$dir/source" "$dir/original"
rm -rf "$dir/a"

echo "== recover and restore"
"$carryall" --home "$dir/b" invite back --file "$dir/invite2" --quiet >/dev/null
python3 -c 'import json,sys; w = json.load(open(sys.argv[1]))["words"]; print(w if isinstance(w, str) else " ".join(w))' "$dir/words" |
    "$carryall" --home "$dir/a2" recover --file "$dir/invite2" --quiet >/dev/null
/usr/bin/time -f "%e s, %M KiB at the peak" "$carryall" --home "$dir/a2" restore --to "$dir/restored" || echo "exit code $?"

python3 - "$dir/original" "$dir/restored/source" <<'PYTHON'
import filecmp, os, stat, sys
one, two = map(os.fsencode, sys.argv[1:])
def facts(root):
    found, links = {}, {}
    for folder, folders, files in os.walk(root):
        for name in folders + files + [b""]:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            kind = stat.S_IFMT(info.st_mode)
            if kind in (stat.S_IFIFO, stat.S_IFSOCK) or name == b"unreadable":
                continue
            size = info.st_size if kind == stat.S_IFREG else 0
            target = os.readlink(path) if kind == stat.S_IFLNK else b""
            first = links.setdefault(info.st_ino, path[len(root):]) if kind == stat.S_IFREG else b""
            mode = 0 if kind == stat.S_IFLNK else info.st_mode
            found[path[len(root):].rstrip(b"/")] = (kind, mode, info.st_mtime_ns, size, target, info.st_nlink if kind == stat.S_IFREG else 0)
    return found
a, b = facts(one), facts(two)
wrong = [name for name in a.keys() | b.keys() if a.get(name) != b.get(name)]
for name in wrong[:10]:
    print(name, a.get(name), b.get(name))
for name, (kind, *_) in a.items():
    if kind == stat.S_IFREG and name in b and not filecmp.cmp(one + name, two + name, shallow=False):
        wrong.append(name)
        print("content differs:", name)
blocks = os.lstat(two + b"/odd/sparse").st_blocks * 512
print(f"{len(a)} entries, {len(wrong)} differ; the sparse file takes {blocks >> 10} KiB")
sys.exit(bool(wrong) or blocks > 16 << 20)
PYTHON
rm -rf "$dir"
