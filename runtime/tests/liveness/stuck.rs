//! A node that can't do anything does not keep promises alive.

use super::dormitory::CALM;
use super::support::{Cluster, Journal, eventually, leader_of, slot};
use raftyard::store::{
    Boot, GroupRecord, LogStore, MemoryLogStore, RecoveredGroup, StoreContents, StoreError, Tombstone,
};
use raftyard::{GroupId, NodeId};
use raftyard_groups::{Entry, LogId, LogIndex, Persist};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Writes only while the gate is not shut.
struct Gated(MemoryLogStore, Arc<AtomicBool>);

impl LogStore for Gated {
    fn boot(&mut self, promise_ms: u64) -> Result<Boot, StoreError> {
        self.0.boot(promise_ms)
    }

    fn recover(&mut self) -> Result<StoreContents, StoreError> {
        self.0.recover()
    }

    fn inspect(&self, group: GroupId) -> Result<RecoveredGroup, StoreError> {
        self.0.inspect(group)
    }

    fn create(&mut self, records: &[GroupRecord]) -> Result<(), StoreError> {
        self.0.create(records)
    }

    fn import(&mut self, record: &GroupRecord, base: LogId) -> Result<(), StoreError> {
        self.0.import(record, base)
    }

    fn destroy(&mut self, groups: &[GroupId]) -> Result<Vec<Tombstone>, StoreError> {
        self.0.destroy(groups)
    }

    fn rebuild(&mut self, record: &GroupRecord) -> Result<(), StoreError> {
        self.0.rebuild(record)
    }

    fn forget(&mut self, group: GroupId) -> Result<RecoveredGroup, StoreError> {
        self.0.forget(group)
    }

    fn write(&mut self, batch: &[Persist]) -> Result<(), StoreError> {
        while self.1.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.0.write(batch)
    }

    fn read(
        &self,
        group: GroupId,
        from: LogIndex,
        through: LogIndex,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.0.read(group, from, through, bytes_max)
    }
}

#[tokio::test]
async fn a_node_whose_disk_hangs_sends_no_heartbeats_until_it_goes_on() {
    let mut cluster = Cluster::closed(3);
    cluster.liveness = CALM;
    let gates: Vec<_> = (0..3).map(|_| Arc::new(AtomicBool::new(false))).collect();
    let mut hosts = Vec::new();
    for id in cluster.ids() {
        let store = Gated(cluster.disk(id), gates[slot(id)].clone());
        hosts.push(cluster.builder(id).log_store(store).open().await.unwrap());
    }
    let mut replicas = Vec::new();
    for host in &hosts {
        let created = host.create_group(GroupId(1), cluster.ids(), Journal::default);
        replicas.push(created.await.unwrap());
    }
    let leader = leader_of(&replicas, &cluster.ids()).await;
    let id = leader.leader().unwrap();
    let sent = |id: NodeId| hosts[slot(id)].metrics().node_heartbeats;
    let other = cluster.ids().into_iter().find(|other| *other != id).unwrap();

    gates[slot(id)].store(true, Ordering::SeqCst);
    let stuck = leader.propose("stuck".to_owned());
    eventually("its heartbeats stop", || {
        let before = (sent(id), sent(other));
        while sent(other) < before.1 + 40 {
            std::thread::yield_now();
        }
        sent(id) == before.0
    })
    .await;
    eventually("another one leads", || {
        replicas
            .iter()
            .zip(cluster.ids())
            .any(|(replica, node)| node != id && replica.leader() == Some(node))
    })
    .await;
    gates[slot(id)].store(false, Ordering::SeqCst);
    stuck.await.ok();
    let before = sent(id);
    eventually("they go on", || sent(id) > before + 40).await;
    for host in hosts {
        host.shutdown().await;
    }
}
