//! What each stage between a file and its shards costs on one core.
//!
//! `cargo bench -p carryall-core`; a name as argument picks some: chunk, hash, compress, seal, code,
//! prove, open. Figures are per byte of plain content unless the name says otherwise.
#![allow(clippy::unwrap_used, reason = "a benchmark may stop")]
#![allow(
    missing_docs,
    reason = "criterion's macros make undocumented functions"
)]

use std::hint::black_box;

use carryall_core::{
    chunk::{Chunker, chunk_id},
    compression::{Compressor, Expander},
    key::VaultKeys,
    pack::{OpenPack, PackBuilder, SealedPack, pack_id},
    proof::group_values,
    record::Coding,
    shard::{encode, rebuild, shard_ids},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const MIB: usize = 1 << 20;

fn vault() -> VaultKeys {
    VaultKeys::generate([1; 96])
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    noise
}

/// Words in random order: what zstd shrinks to about a third.
fn text(bytes: usize) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "friend ", "shard ", "disk ", "a ", "the ", "holder ", "of ", "and ", "receipt ", "is ",
        "pack ", "key ", "to ", "circle ", "meets ", "\n",
    ];
    noise(bytes / 4)
        .iter()
        .flat_map(|byte| WORDS[usize::from(byte & 15)].bytes())
        .take(bytes)
        .collect()
}

fn full_pack(vault: &VaultKeys) -> SealedPack {
    let mut builder = PackBuilder::new();
    for raw in noise(15 * MIB).chunks(MIB) {
        let id = chunk_id(&vault.chunk_key(), raw);
        builder.add(id, raw.len(), raw).unwrap();
    }
    builder.seal(&vault.sealing_keys().unwrap(), Vec::new())
}

fn chunk(c: &mut Criterion) {
    let chunker = Chunker::new(&vault());
    let content = noise(64 * MIB);
    let mut group = c.benchmark_group("chunk");
    group.throughput(Throughput::Bytes(content.len() as u64));
    group.bench_function("64 MiB", |b| {
        b.iter(|| {
            let mut rest = &content[..];
            while let Some(length) = chunker.cut(rest, true) {
                rest = &rest[length..];
            }
        });
    });
    group.finish();
}

fn hash(c: &mut Criterion) {
    let (content, key) = (noise(16 * MIB), vault().chunk_key());
    let mut group = c.benchmark_group("hash");
    group.throughput(Throughput::Bytes(content.len() as u64));
    group.bench_function("chunk ids", |b| {
        b.iter(|| {
            for raw in content.chunks(MIB) {
                black_box(chunk_id(&key, raw));
            }
        });
    });
    group.bench_function("pack id", |b| b.iter(|| pack_id(&content)));
    group.bench_function("groups", |b| b.iter(|| group_values(&content)));
    group.finish();
}

fn compress(c: &mut Criterion) {
    let mut compressor = Compressor::new();
    for (name, content) in [
        ("noise, 1 MiB", noise(MIB)),
        ("text, 1 MiB", text(MIB)),
        ("text, 10 KiB", text(10 << 10)),
        ("noise, 10 KiB", noise(10 << 10)),
    ] {
        let mut group = c.benchmark_group("compress");
        group.throughput(Throughput::Bytes(content.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| black_box(compressor.store(&content).len()));
        });
        group.bench_function(format!("{name}, never raw"), |b| {
            b.iter(|| black_box(compressor.again(&content).map(<[u8]>::len)));
        });
        let stored = compressor.store(&content);
        if stored.len() < content.len() {
            let (mut out, mut expander) = (Vec::new(), Expander::new());
            group.bench_function(format!("expand {name}"), |b| {
                b.iter(|| {
                    out.clear();
                    expander.expand(stored, content.len(), &mut out).unwrap();
                });
            });
        }
        group.finish();
    }
}

fn seal(c: &mut Criterion) {
    let vault = vault();
    let (keys, content) = (vault.sealing_keys().unwrap(), noise(15 * MIB));
    let ids: Vec<_> = content
        .chunks(MIB)
        .map(|raw| chunk_id(&vault.chunk_key(), raw))
        .collect();
    let mut builder = PackBuilder::new();
    let mut buffer = Vec::new();
    let mut group = c.benchmark_group("seal");
    group.throughput(Throughput::Bytes(content.len() as u64));
    group.bench_function("pack of 15 MiB", |b| {
        b.iter(|| {
            for (id, raw) in ids.iter().zip(content.chunks(MIB)) {
                builder.add(*id, raw.len(), raw).unwrap();
            }
            buffer = builder.seal(&keys, std::mem::take(&mut buffer)).bytes;
        });
    });
    group.finish();
}

fn open(c: &mut Criterion) {
    let vault = vault();
    let (keys, key) = (vault.sealing_keys().unwrap(), vault.chunk_key());
    let pack = full_pack(&vault);
    let mut group = c.benchmark_group("open");
    group.throughput(Throughput::Bytes(15 * MIB as u64));
    let mut buffer = Vec::new();
    group.bench_function("pack of 15 MiB and all chunks", |b| {
        b.iter(|| {
            buffer.clear();
            buffer.extend_from_slice(&pack.bytes);
            let open = OpenPack::open(&keys, std::mem::take(&mut buffer)).unwrap();
            for position in 0..open.chunks().len() {
                black_box(open.chunk(&key, position).unwrap());
            }
            buffer = open.into_buffer();
        });
    });
    group.finish();
}

fn code(c: &mut Criterion) {
    let pack = full_pack(&vault()).bytes;
    let mut group = c.benchmark_group("code");
    group.throughput(Throughput::Bytes(pack.len() as u64));
    let usual = [1, 4, 8].map(|k| Coding::new(k, pack.len()).unwrap());
    // Twice as many as needed, as others are compared with: see bench/coding.sh.
    let twice = usual[1..].iter().map(|it| Coding { n: 2 * it.k, ..*it });
    for coding in usual.into_iter().chain(twice) {
        let k = coding.k;
        let name = format!("k={k} n={}", coding.n);
        group.bench_function(format!("encode {name}"), |b| {
            b.iter(|| black_box(encode(&pack, &coding).unwrap().len()));
        });
        group.bench_function(format!("shard ids {name}"), |b| {
            b.iter(|| black_box(shard_ids(&pack, &coding).unwrap()));
        });
        group.throughput(Throughput::Bytes(2 * pack.len() as u64));
        group.bench_function(format!("encode on two cores, {name}"), |b| {
            b.iter(|| {
                std::thread::scope(|scope| {
                    for _ in 0..2 {
                        scope.spawn(|| black_box(encode(&pack, &coding).unwrap().len()));
                    }
                });
            });
        });
        group.throughput(Throughput::Bytes(pack.len() as u64));
        let shards = encode(&pack, &coding).unwrap();
        let last: Vec<(u8, &[u8])> = (coding.n - coding.k..coding.n)
            .map(|index| (index, &*shards[usize::from(index)]))
            .collect();
        group.bench_function(format!("rebuild from the last k, {name}"), |b| {
            b.iter(|| {
                let first = [(0, &*shards[0])];
                let some = if k == 1 { &first[..] } else { &last };
                black_box(rebuild(&coding, some, pack.len()).unwrap());
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = stages;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = chunk, hash, compress, seal, code, open
}
criterion_main!(stages);
