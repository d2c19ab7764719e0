//! Whether a cluster gets on once nothing goes wrong any more: one log for all, a proposal committed, a read
//! served. What is safe but stuck for ever is found here.

use super::support::cluster::Cluster;
use super::world::ELECTION_TIMEOUT_MS;
use raftyard_groups::{Input, Moment, Proposed, ReadId, ReadOutcome};

const READ: ReadId = ReadId(1_000);

/// Heals `cluster` and panics if it stays stuck.
pub(crate) fn check(mut cluster: Cluster) {
    // A moment that is in nobody's past.
    cluster.now = Moment(1_000 * ELECTION_TIMEOUT_MS);
    cluster.network.heal();
    cluster.calm_beats();
    for id in cluster.ids() {
        cluster.node_mut(id).hold_fsync = false;
        let queued = cluster.node(id).writes.len();
        cluster.fsync(id, queued);
    }
    // Promises have to end before others are elected, and who was refused waits longer.
    let tries = if cluster.beats.are_on { 60 } else { 20 };
    for _ in 0..tries {
        arrive(&mut cluster);
        if cluster.leader().is_some() && cluster.all_equal() {
            return serves(&mut cluster);
        }
        cluster.pass(ELECTION_TIMEOUT_MS / 2, true);
    }
    let groups: Vec<String> = cluster
        .ids()
        .into_iter()
        .map(|id| cluster.group(id).to_string())
        .collect();
    let peers = cluster.leader().map(|leader| cluster.group(leader).describe_peers());
    panic!("the healed cluster does not get on: {groups:#?} {peers:#?}");
}

/// Messages and snapshots arrive, those that are on their way and those that are asked for.
fn arrive(cluster: &mut Cluster) {
    cluster.settle();
    for (from, to) in std::mem::take(&mut cluster.snapshots) {
        match cluster.newest_snapshot(from, to) {
            Some(snapshot) => cluster.sent_snapshots.push(snapshot),
            None => cluster.step(from, Input::SnapshotDone { to, through: None }),
        }
    }
    for snapshot in std::mem::take(&mut cluster.sent_snapshots) {
        cluster.receive_snapshot(snapshot);
    }
    cluster.settle();
}

fn serves(cluster: &mut Cluster) {
    // A transfer that is under way holds proposals until it comes to its end.
    cluster.pass(2 * ELECTION_TIMEOUT_MS, true);
    let leader = cluster.leader().expect("a leader");
    let proposal = cluster.propose(leader, &["last"]);
    let Some(Proposed::Appended { first, .. }) = cluster.proposed.get(&proposal).copied() else {
        panic!("the leader refuses a proposal");
    };
    cluster.settle();
    cluster.read(leader, READ, false);
    cluster.pass(ELECTION_TIMEOUT_MS / 2, true);
    assert!(
        cluster.all_equal() && cluster.group(leader).commit() >= first,
        "a proposal does not reach everyone"
    );
    let read = cluster.reads.get(&READ);
    assert!(
        matches!(read, Some(ReadOutcome::Ready { index }) if *index >= first),
        "a read is not served, or not fresh: {read:?}"
    );
}
