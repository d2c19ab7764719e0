//! Appends to the log stores, one batch and one fsync each: through [`LogStore`], as the storage actor does.
#![allow(missing_docs)]
#![allow(clippy::panic, reason = "a bench that does not do what it says must not report")]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use raftyard::store::{FjallLogStore, GroupRecord, LogStore, MemoryLogStore, StoreError, StoreIdentity};
use raftyard_groups::{Entry, GroupId, Incarnation, LogIndex, Membership, NodeId, Payload, Persist, PersistSeq, Term};
use std::time::{Duration, Instant};

/// Groups, and entries of each in a batch.
const BATCHES: [(u64, u64); 2] = [(1, 64), (48, 8)];

/// Entries that a group's log in memory may reach before it is begun anew.
const MEMORY_ENTRIES_MAX: u64 = 1 << 14;

fn must<T>(result: Result<T, impl std::fmt::Display>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// Appends to all groups of a store.
struct Appender<S> {
    store: S,
    groups: u64,
    /// Last index of every log.
    last: u64,
    seq: u64,
    entries_max: u64,
}

impl<S: LogStore> Appender<S> {
    fn new(mut store: S, groups: u64, entries_max: u64) -> Self {
        let membership = must(Membership::of_voters([NodeId(1), NodeId(2), NodeId(3)]));
        let record = |group| GroupRecord {
            group,
            incarnation: Incarnation(1),
            membership: membership.clone(),
            is_witness: false,
        };
        let records: Vec<GroupRecord> = (0..groups).map(GroupId).map(record).collect();
        must(store.recover());
        must(store.create(&records));
        Self {
            store,
            groups,
            last: 0,
            seq: 0,
            entries_max,
        }
    }

    /// The next entries of every group. Begins the logs anew once they are long enough.
    fn next_batch(&mut self, entries: u64) -> Result<Vec<Persist>, StoreError> {
        if self.last + entries > self.entries_max {
            self.last = 0;
            let first = self.batch(1);
            self.store.write(&first)?;
        }
        Ok(self.batch(entries))
    }

    fn batch(&mut self, entries: u64) -> Vec<Persist> {
        let first = self.last + 1;
        (self.last, self.seq) = (self.last + entries, self.seq + 1);
        let entry = |index| Entry {
            index: LogIndex(index),
            term: Term(1),
            payload: Payload::Command(Bytes::from_static(b"16 bytes of load")),
        };
        (0..self.groups)
            .map(|group| {
                let entries = (first..=self.last).map(entry).collect();
                Persist::new(GroupId(group), PersistSeq(self.seq), None, entries)
            })
            .collect()
    }

    /// Time of so many writes, without that of making and dropping what is written.
    fn measure(&mut self, iterations: u64, entries: u64) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..iterations {
            let batch = must(self.next_batch(entries));
            let start = Instant::now();
            let written = self.store.write(&batch);
            took += start.elapsed();
            must(written);
        }
        took
    }
}

fn log_store(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log_store");
    for (groups, entries) in BATCHES {
        let load = format!("{groups} groups x {entries} entries");
        group.throughput(Throughput::Elements(groups * entries));
        let mut memory = Appender::new(MemoryLogStore::new(), groups, MEMORY_ENTRIES_MAX);
        group.bench_function(format!("memory/{load}"), |bencher| {
            bencher.iter_custom(|iterations| memory.measure(iterations, entries));
        });
        let dir = must(tempfile::tempdir());
        let identity = StoreIdentity {
            cluster: "bench".to_owned(),
            node: NodeId(1),
        };
        let store = must(FjallLogStore::open(dir.path(), &identity));
        let mut fjall = Appender::new(store, groups, u64::MAX);
        group.bench_function(format!("fjall/{load}"), |bencher| {
            bencher.iter_custom(|iterations| fjall.measure(iterations, entries));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = log_store
}
criterion_main!(benches);
