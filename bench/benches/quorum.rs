//! Quorum maths: what a quorum has reached, and where a vote stands.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use raftyard_groups::quorum::{JointQuorum, Majority};
use raftyard_groups::{LogIndex, NodeId, NodeSet};
use std::hint::black_box;
use std::time::Duration;

fn nodes(ids: std::ops::RangeInclusive<u64>) -> NodeSet {
    ids.map(NodeId).collect()
}

/// The last voters are behind, and said no: so nothing is decided by the first answer alone.
fn reached(node: NodeId) -> LogIndex {
    LogIndex(1_000 - black_box(node.0))
}

fn said(node: NodeId) -> Option<bool> {
    Some(!black_box(node.0).is_multiple_of(3))
}

fn quorum(criterion: &mut Criterion) {
    let configurations = [
        ("3", nodes(1..=3), NodeSet::default()),
        ("5", nodes(1..=5), NodeSet::default()),
        ("7", nodes(1..=7), NodeSet::default()),
        ("joint 3+3", nodes(1..=3), nodes(2..=4)),
        ("joint 5+5", nodes(1..=5), nodes(3..=7)),
    ];
    let mut group = criterion.benchmark_group("quorum");
    group.throughput(Throughput::Elements(1));
    for (name, incoming, outgoing) in &configurations {
        let quorum = JointQuorum::new(Majority(incoming), Majority(outgoing));
        group.bench_function(format!("reached/{name}"), |bencher| {
            bencher.iter(|| black_box(&quorum).reached(reached));
        });
        group.bench_function(format!("vote/{name}"), |bencher| {
            bencher.iter(|| black_box(&quorum).vote(said));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = quorum
}
criterion_main!(benches);
