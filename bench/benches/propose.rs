//! A write from the proposal to its answer, through the whole runtime: three nodes, one group.
//!
//! In memory: connected in memory, logs in memory. On disk: tarpc over loopback, logs on disk, every fsync
//! honoured.
#![allow(missing_docs)]
#![allow(clippy::panic, reason = "a bench that does not do what it says must not report")]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use raftyard::Group;
use raftyard_bench::{Cluster, Kv, Put};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Writes on their way.
const DEPTHS: [usize; 2] = [1, 256];

fn must<T>(result: Result<T, impl std::fmt::Display>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// Time of so many writes, with up to `depth` of them on their way.
async fn write(leader: &Group<Kv>, iterations: u64, depth: usize) -> Duration {
    let value = Bytes::from_static(b"a value.");
    let mut waiting = VecDeque::with_capacity(depth);
    let start = Instant::now();
    for key in 0..iterations {
        if waiting.len() == depth
            && let Some(outcome) = waiting.pop_front()
        {
            must(outcome.await);
        }
        waiting.push_back(leader.propose(Put::new(key % 1_000, value.clone())));
    }
    for outcome in waiting {
        must(outcome.await);
    }
    start.elapsed()
}

fn bench(criterion: &mut Criterion, runtime: &Runtime, name: &str, cluster: &Cluster) {
    let mut group = criterion.benchmark_group("propose");
    group.throughput(Throughput::Elements(1));
    for depth in DEPTHS {
        group.bench_function(format!("{name}/{depth} in flight"), |bencher| {
            bencher.iter_custom(|iterations| {
                // Asked each time: the leader may have moved since.
                let Some(leader) = cluster.leader(0) else {
                    panic!("the group has no leader");
                };
                runtime.block_on(write(leader, iterations, depth))
            });
        });
    }
    group.finish();
    runtime.block_on(cluster.stop());
}

fn propose(criterion: &mut Criterion) {
    let runtime = must(tokio::runtime::Builder::new_current_thread().enable_all().build());
    let cluster = must(runtime.block_on(Cluster::in_memory(1)));
    bench(criterion, &runtime, "in memory", &cluster);

    let data = must(tempfile::tempdir());
    let cluster = must(runtime.block_on(Cluster::on_disk(data.path(), 1, 1)));
    bench(criterion, &runtime, "on disk", &cluster);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));
    targets = propose
}
criterion_main!(benches);
