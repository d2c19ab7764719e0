//! The log stores under the loads that decide their design: through [`LogStore`], as the storage actor uses it.
//!
//! `cargo bench -p raftyard-bench --bench store` measures; CPU time, recovery and disk use are printed first, each alone
//! by its name: `-- cpu`.
#![allow(missing_docs)]
#![allow(clippy::panic, reason = "a bench that does not do what it says must not report")]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use raftyard::store::{GroupRecord, LogStore, MemoryLogStore, SegmentLogStore, StoreIdentity};
use raftyard_groups::{
    Entry, GroupId, Incarnation, LogBase, LogId, LogIndex, Membership, NodeId, Payload, Persist, PersistSeq, Term,
};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What one flush holds.
#[derive(Clone, Copy)]
struct Load {
    groups: u64,
    /// Of each group.
    entries: u64,
    /// Of each entry.
    bytes: usize,
    /// Logs are compacted once they have this many entries.
    entries_max: u64,
}

const FLUSHES: [(&str, Load); 3] = [
    ("1 group x 64 x 16 B", load(1, 64, 16)),
    ("48 groups x 64 x 16 B", load(48, 64, 16)),
    ("4096 groups x 1 x 128 B", load(4096, 1, 128)),
];

const fn load(groups: u64, entries: u64, bytes: usize) -> Load {
    Load {
        groups,
        entries,
        bytes,
        entries_max: 128 * entries,
    }
}

fn must<T>(result: Result<T, impl std::fmt::Display>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

fn identity() -> StoreIdentity {
    StoreIdentity {
        cluster: "bench".to_owned(),
        node: NodeId(1),
    }
}

fn on_disk(dir: &Path) -> Box<dyn LogStore> {
    Box::new(must(SegmentLogStore::open(dir, &identity())))
}

fn members() -> Membership {
    must(Membership::of_voters([NodeId(1), NodeId(2), NodeId(3)]))
}

/// Appends to all groups of a store.
struct Appender {
    store: Box<dyn LogStore>,
    load: Load,
    membership: Arc<Membership>,
    body: Bytes,
    /// Last index of every log.
    last: u64,
    seq: u64,
}

impl Appender {
    fn new(mut store: Box<dyn LogStore>, load: Load) -> Self {
        let record = |group| GroupRecord {
            group: GroupId(group),
            incarnation: Incarnation(1),
            membership: members(),
            is_witness: false,
        };
        let records: Vec<GroupRecord> = (0..load.groups).map(record).collect();
        must(store.recover());
        must(store.create(&records));
        Self {
            store,
            load,
            membership: Arc::new(members()),
            body: Bytes::from(vec![b'x'; load.bytes]),
            last: 0,
            seq: 0,
        }
    }

    /// The next entries of these groups.
    fn batch(&mut self, groups: std::ops::Range<u64>) -> Vec<Persist> {
        let first = self.last + 1;
        (self.last, self.seq) = (self.last + self.load.entries, self.seq + 1);
        let entry = |index| Entry {
            index: LogIndex(index),
            term: Term(1),
            payload: Payload::Command(self.body.clone()),
        };
        let of_group = |group| {
            let entries = (first..=self.last).map(entry).collect();
            let mut persist = Persist::new(GroupId(group), PersistSeq(self.seq), None, entries);
            // Not all of them at the same time.
            let turn = (first / self.load.entries + group) * self.load.entries;
            if first > self.load.entries_max && turn.is_multiple_of(self.load.entries_max) {
                persist.base = Some(LogBase::Compacted(LogId::new(1, first - 1)));
                persist.membership = Some(self.membership.clone());
            }
            persist
        };
        groups.map(of_group).collect()
    }

    /// Time of so many writes, without that of making and dropping what is written.
    fn measure(&mut self, iterations: u64) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..iterations {
            let batch = self.batch(0..self.load.groups);
            let start = Instant::now();
            let written = self.store.write(&batch);
            took += start.elapsed();
            must(written);
        }
        took
    }
}

/// Whether a bench is to run: all of them, or those that are named.
fn is_wanted(name: &str) -> bool {
    let mut named = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .peekable();
    named.peek().is_none() || named.any(|argument| argument == name)
}

/// Criterion's `--test` runs each bench once, to see that it works.
fn is_trial() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// CPU time of this thread, in nanoseconds; none where the system does not say.
fn cpu_ns() -> Option<u64> {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    schedule.split(' ').next()?.parse().ok()
}

/// CPU time of a flush, which a busy machine or disk does not change.
fn cpu(_: &mut Criterion) {
    if !is_wanted("cpu") {
        return;
    }
    for (name, load) in FLUSHES {
        let dir = must(tempfile::tempdir());
        let mut appender = Appender::new(on_disk(dir.path()), load);
        let rounds = if is_trial() { 2 } else { 400 };
        let mut took = Vec::new();
        for _ in 0..rounds {
            let batch = appender.batch(0..load.groups);
            let start = cpu_ns();
            must(appender.store.write(&batch));
            took.extend(cpu_ns().zip(start).map(|(end, start)| end - start));
        }
        took.sort_unstable();
        if let Some(median) = took.get(took.len() / 2) {
            println!(
                "cpu: {name}: {} us per flush, {} ns per entry",
                median / 1000,
                median / (load.groups * load.entries)
            );
        }
    }
}

fn flushes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    for (name, load) in FLUSHES {
        group.throughput(Throughput::Elements(load.groups * load.entries));
        let mut memory = Appender::new(Box::new(MemoryLogStore::new()), load);
        group.bench_function(format!("memory/{name}"), |bencher| {
            bencher.iter_custom(|iterations| memory.measure(iterations));
        });
        let dir = must(tempfile::tempdir());
        let mut disk = Appender::new(on_disk(dir.path()), load);
        group.bench_function(format!("disk/{name}"), |bencher| {
            bencher.iter_custom(|iterations| disk.measure(iterations));
        });
    }
    group.finish();
}

/// A slow follower is sent what was written long ago, beside 47 other groups.
fn read_back(criterion: &mut Criterion) {
    let load = Load {
        entries_max: u64::MAX / 128,
        ..load(48, 64, 128)
    };
    let dir = must(tempfile::tempdir());
    let mut appender = Appender::new(on_disk(dir.path()), load);
    for _ in 0..256 {
        let batch = appender.batch(0..load.groups);
        must(appender.store.write(&batch));
    }
    let mut group = criterion.benchmark_group("store");
    group.throughput(Throughput::Bytes(1 << 20));
    group.bench_function("disk/read 1 MiB of one group", |bencher| {
        let mut from = 1;
        bencher.iter(|| {
            let read = appender
                .store
                .read(GroupId(7), LogIndex(from), LogIndex(u64::MAX), 1 << 20);
            from = from % 8_000 + 100;
            must(read)
        });
    });
    group.finish();
}

/// Opening a store with 10,000 groups and a million entries, each group's written one at a time; or less, to see that
/// it works.
fn recovery(_: &mut Criterion) {
    if !is_wanted("recovery") {
        return;
    }
    let (groups, rounds) = if is_trial() { (100, 10) } else { (10_000, 100) };
    let load = Load {
        groups,
        entries: 1,
        bytes: 16,
        entries_max: u64::MAX,
    };
    let dir = must(tempfile::tempdir());
    let mut appender = Appender::new(on_disk(dir.path()), load);
    for _ in 0..rounds {
        let batch = appender.batch(0..groups);
        must(appender.store.write(&batch));
    }
    drop(appender);
    let start = Instant::now();
    let found = must(on_disk(dir.path()).recover());
    println!(
        "recovery: {} groups, {} entries, {} MiB in {:.2} s",
        found.groups.len(),
        groups * rounds,
        size(dir.path()) >> 20,
        start.elapsed().as_secs_f64()
    );
}

/// Ten million writes to logs that are compacted, beside groups that wrote once.
fn disk_use(_: &mut Criterion) {
    if !is_wanted("disk_use") {
        return;
    }
    let load = load(100, 64, 100);
    let dir = must(tempfile::tempdir());
    let mut appender = Appender::new(on_disk(dir.path()), load);
    let everyone = appender.batch(0..100);
    must(appender.store.write(&everyone));
    let (mut largest, mut writes) = (0, 0);
    let start = Instant::now();
    let all = if is_trial() { 10_000 } else { 10_000_000 };
    while writes < all {
        let busy = appender.batch(0..50);
        must(appender.store.write(&busy));
        writes += 50 * load.entries;
        if writes % 16_000 == 0 {
            largest = largest.max(size(dir.path()));
        }
    }
    println!(
        "disk use: {writes} writes in {:.1} s, at most {} MiB on disk, up to {} MiB needed",
        start.elapsed().as_secs_f64(),
        largest >> 20,
        (50 * load.entries_max * 105) >> 20
    );
}

/// Bytes that the files below a directory take.
fn size(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else {
        return 0;
    };
    let below = std::fs::read_dir(path).into_iter().flatten().flatten();
    metadata.len() * u64::from(metadata.is_file()) + below.map(|entry| size(&entry.path())).sum::<u64>()
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = cpu, recovery, disk_use, flushes, read_back
}
criterion_main!(benches);
