//! What is on disk of a group while nobody knows: whoever asked for a change gave up, or found no room in between.

use super::lives::{G, lines, often};
use super::support::hooked_store::{Gate, HookedStore, Operation};
use super::support::memory_journal::MemoryDisk;
use super::support::{Cluster, eventually, propose, slot};
use raftyard::{NodeId, RaftHost};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The disk forgets a log whose snapshot is lost, and whoever asked for that gives up. The next one has a state that the
/// log would have gone on from, and must not acknowledge what is not there any more.
#[tokio::test]
async fn a_log_that_is_forgotten_while_nobody_waits_is_not_taken_for_what_it_was() {
    let mut cluster = Cluster::closed(3);
    cluster.compaction = often();
    cluster.open_all().await;
    let disks: Vec<MemoryDisk> = cluster.ids().iter().map(|_| MemoryDisk::default()).collect();
    let create = async |host: RaftHost, disk: MemoryDisk| {
        let members = (1..=3).map(NodeId);
        host.create_disk_group(G, members, || Ok(disk.open())).await
    };
    let mut replicas = Vec::new();
    for (id, disk) in cluster.ids().into_iter().zip(&disks) {
        replicas.push(create(cluster.host(id).clone(), disk.clone()).await.unwrap());
    }
    for line in lines("line", 60) {
        propose(&replicas, &line).await;
    }
    let away = NodeId(3);
    eventually("its log begins where its state has applied all", || {
        cluster.on_disk(away, G.0).base.index.0 > 0
    })
    .await;
    replicas.remove(slot(away));
    cluster.stop(away).await;

    let (asked, gate) = (Arc::new(AtomicU64::new(0)), Arc::new(Gate::default()));
    let hook = {
        let (asked, gate) = (asked.clone(), gate.clone());
        move |operation: Operation<'_>| {
            if matches!(operation, Operation::Forget) {
                asked.fetch_add(1, Ordering::SeqCst);
                gate.pass();
            }
            Ok(())
        }
    };
    let store = HookedStore::new(cluster.disk(away), hook);
    let host = cluster.builder(away).log_store(store).open().await.unwrap();
    cluster.put(away, host.clone());
    gate.close();
    let creating = tokio::spawn(create(host.clone(), MemoryDisk::default()));
    eventually("the store is asked", || asked.load(Ordering::SeqCst) == 1).await;
    creating.abort();
    assert!(creating.await.is_err_and(|error| error.is_cancelled()));
    assert_eq!(host.stored_groups(), [G], "it is there, whatever is left of it");
    let again = tokio::spawn(create(host.clone(), disks[slot(away)].clone()));
    gate.open();
    let back = again.await.unwrap().unwrap();
    eventually("it waits for its peers", || host.metrics().replicas_damaged == 1).await;
    eventually("they repair it", || !back.status().damaged).await;
    assert!(cluster.on_disk(away, G.0).last.0 >= 60);
    drop((host, back));
    cluster.stop_all().await;
}
