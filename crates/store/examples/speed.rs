//! Measures backup, rebuild and restore of a folder on this machine:
//! `cargo run --release -p carryall-store --example speed -- FOLDER WORKPLACE`.
//!
//! The workplace must be an empty or missing directory; a vault and the restored files go there.

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use carryall_core::{
    key::VaultKeys,
    pack::OpenPack,
    record::{PackKind, PackRecord},
    time::Timestamp,
};
use carryall_store::{
    backup::{self, BackupReport, Context, Request, Unwatched},
    browse::Library,
    catalogue::Catalogue,
    disk::Disk,
    os_disk::OsDisk,
    rebuild::Rebuilder,
    restore::{Plan, Restorer},
    spool::Spool,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(folder), Some(place)) = (arguments.next(), arguments.next()) else {
        return Err("usage: speed FOLDER WORKPLACE".into());
    };
    let folder = std::fs::canonicalize(folder)?;
    let home = place.join("home");
    std::fs::create_dir_all(&home)?;
    let disk: Arc<dyn Disk> = Arc::new(OsDisk);
    let catalogue = Catalogue::open(Arc::clone(&disk), &home.join("catalogue.redb"))?;
    let spool = Spool::open(Arc::clone(&disk), &home.join("spool"), 5 << 30)?;
    let keys = VaultKeys::generate([7; 96]);
    let context = Context {
        disk: &*disk,
        home: &home,
        keys: &keys,
        catalogue: &catalogue,
        spool: &spool,
    };
    for name in ["first backup", "nothing changed"] {
        let report = back_up(&context, &folder)?;
        println!(
            "{name}: {:.3} s, {} files, {} MiB, {} MiB new, {} packs, new snapshot: {}",
            report.took.as_secs_f64(),
            report.counts.files,
            report.counts.bytes >> 20,
            report.counts.new_bytes >> 20,
            report.packs.len(),
            report.is_new,
        );
        for note in &report.notes {
            println!("  {note}");
        }
    }
    println!(
        "catalogue {} KiB, spool {} KiB",
        catalogue.bytes()? >> 10,
        spool.bytes() >> 10
    );
    restore(&context, &place)?;
    println!("peak memory {} MiB", peak_memory().unwrap_or(0) >> 10);
    Ok(())
}

fn back_up(context: &Context<'_>, folder: &Path) -> Result<BackupReport, Box<dyn Error>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let request = Request {
        roots: &[folder.to_path_buf()],
        now: Timestamp(u64::try_from(now.as_millis())?),
        data_shards: &|kind| {
            if kind == PackKind::Metadata {
                1
            } else {
                data_shards()
            }
        },
        previews: true,
        late_bytes: 0,
        workers: 2,
    };
    Ok(backup::run(
        context,
        &request,
        &Unwatched,
        &mut |_: &PackRecord| {},
    )?)
}

/// How packs are cut: by the variable `K`, else in one piece.
fn data_shards() -> u8 {
    let k = std::env::var("K").ok();
    k.and_then(|k| k.parse().ok()).unwrap_or(1)
}

fn restore(context: &Context<'_>, place: &Path) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let library = Library::new(context)?;
    let newest = library.snapshots()?.pop().ok_or("no snapshot")?;
    let record = library.snapshot(newest.snapshot)?;
    let plan = Plan::new(&library, &record, b"/")?;
    let planned = began.elapsed();
    let restorer = Restorer::new(
        plan,
        &place.join("restored"),
        false,
        &context.keys.chunk_key(),
    )?;
    let packs = restorer.needed();
    let prepared = began.elapsed();
    let rebuilder = Rebuilder::new();
    let key = context.keys.chunk_key();
    let (mut making, mut opening, mut writing) = (0.0, 0.0, 0.0);
    for pack in &packs {
        let start = Instant::now();
        let bytes = rebuilder.pack(context, pack.id)?;
        let made = start.elapsed().as_secs_f64();
        let keys = context.keys.pack_keys(pack.epoch).ok_or("no key")?;
        let bytes = bytes.to_vec();
        let start = Instant::now();
        let open = OpenPack::open(&keys, bytes)?;
        let opened = start.elapsed().as_secs_f64();
        let start = Instant::now();
        restorer.feed(&pack.id, &key, &open)?;
        writing += start.elapsed().as_secs_f64();
        making += made;
        opening += opened;
    }
    let start = Instant::now();
    let report = restorer.finish();
    println!(
        "restore: plan {:.3} s, prepare {:.3} s, rebuild {making:.3} s, open {opening:.3} s, \
         write {writing:.3} s, finish {:.3} s; {} files, {} failures",
        planned.as_secs_f64(),
        (prepared - planned).as_secs_f64(),
        start.elapsed().as_secs_f64(),
        report.files,
        report.failures,
    );
    for failed in report.failed.iter().take(10) {
        println!("  {failed}");
    }
    Ok(())
}

/// Returns the most memory that this process has had, in KiB, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
