//! Groups that begin with an exported state.

use super::lives::{G, destroy_on_all, fill, lines, steadily_compacting};
use super::support::hooked_snapshots::{self, Fate, HookedSnapshots};
use super::support::hooked_store::{HookedStore, Operation};
use super::support::{Cluster, Journal, eventually, leader_of, propose, read};
use raftyard::store::{LogStore, SnapshotStore, StoreError};
use raftyard::{CreateGroupError, Group, NodeId, SnapshotError, StateMachine, Timestamp};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

async fn import(cluster: &Cluster, id: NodeId, path: &Path) -> Result<Group<Journal>, CreateGroupError> {
    let host = cluster.host(id);
    host.import_group(G, cluster.ids(), path, Journal::default).await
}

#[tokio::test]
async fn what_was_exported_is_what_an_imported_group_begins_with() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state");
    let mut cluster = steadily_compacting(3).await;
    let replicas = cluster.create(1).await;
    let mut expected = lines("before", 15);
    fill(&replicas, &expected).await;
    let leader = leader_of(&replicas, &cluster.ids()).await;
    let last = leader.export(&file).await.unwrap();
    assert!(last.index.0 >= 15 && std::fs::read_dir(dir.path()).unwrap().count() == 1);
    fill(&replicas, &lines("not in it", 3)).await;

    assert!(matches!(
        import(&cluster, NodeId(1), &file).await,
        Err(CreateGroupError::Exists(G))
    ));
    destroy_on_all(&cluster, 1).await;
    // How often it was destroyed on each of them is of no account.
    cluster.create_on(NodeId(3), 1).await;
    cluster.host(NodeId(3)).destroy_group(G).await.unwrap();
    let mut imported = Vec::new();
    for id in cluster.ids() {
        imported.push(import(&cluster, id, &file).await.unwrap());
    }
    assert!(
        imported
            .iter()
            .all(|replica| replica.incarnation() == imported[0].incarnation())
    );
    assert_eq!(read(&imported).await, expected);
    let more = lines("after", 30);
    fill(&imported, &more).await;
    expected.extend(more);
    assert_eq!(read(&imported).await, expected);
    cluster.stop_all().await;
    cluster.open_all().await;
    let replicas = cluster.create(1).await;
    assert_eq!(read(&replicas).await, expected);
    let again = import(&cluster, NodeId(1), &file).await;
    assert!(matches!(again, Err(CreateGroupError::Exists(G))));
    cluster.stop_all().await;
}

/// Members that began with different states, or with none, would each take the other's log for their own.
#[tokio::test]
async fn members_that_imported_different_files_never_meet() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["a", "b"].map(|name| dir.path().join(name));
    let mut cluster = Cluster::start_steady(3).await;
    let replicas = cluster.create(1).await;
    for file in &files {
        propose(&replicas, &file.display().to_string()).await;
        leader_of(&replicas, &cluster.ids()).await.export(file).await.unwrap();
    }
    destroy_on_all(&cluster, 1).await;
    let odd = import(&cluster, NodeId(1), &files[0]).await.unwrap();
    let pair = [
        import(&cluster, NodeId(2), &files[1]).await.unwrap(),
        import(&cluster, NodeId(3), &files[1]).await.unwrap(),
    ];
    propose(&pair, "theirs").await;
    assert_eq!(read(&pair).await.len(), 3);
    assert_ne!(odd.incarnation(), pair[0].incarnation());
    eventually("it applied what it began with", || odd.status().applied == 1).await;
    assert_eq!(odd.leader(), None);
    cluster.stop_all().await;
}

/// A node whose group of one line is in this file, and nowhere else.
async fn exported_and_destroyed(file: &Path) -> Cluster {
    let cluster = Cluster::start(1).await;
    let replicas = cluster.create(1).await;
    propose(&replicas, "line").await;
    replicas[0].export(file).await.unwrap();
    destroy_on_all(&cluster, 1).await;
    cluster
}

#[tokio::test]
async fn a_file_that_is_no_intact_export_of_this_type_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state");
    let mut cluster = exported_and_destroyed(&file).await;
    let intact = std::fs::read(&file).unwrap();
    for at in 0..intact.len() {
        let mut damaged = intact.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&file, damaged).unwrap();
        let refused = import(&cluster, NodeId(1), &file).await;
        assert!(matches!(refused, Err(CreateGroupError::Snapshot(_))), "byte {at}");
    }
    std::fs::write(&file, &intact).unwrap();
    let host = cluster.host(NodeId(1));
    let foreign = host.import_group(G, [NodeId(1)], &file, || Counted).await;
    assert!(matches!(
        foreign,
        Err(CreateGroupError::Snapshot(SnapshotError::Undecodable { .. }))
    ));
    let missing = import(&cluster, NodeId(1), &dir.path().join("missing")).await;
    assert!(matches!(missing, Err(CreateGroupError::Snapshot(_))));
    // Nothing was noted.
    assert_eq!(cluster.disk(NodeId(1)).recover().unwrap().groups, []);
    let imported = [import(&cluster, NodeId(1), &file).await.unwrap()];
    assert_eq!(read(&imported).await, ["line"]);
    cluster.stop_all().await;
}

/// The snapshot that it was to begin with takes no room either.
#[tokio::test]
async fn an_import_that_finds_no_room_for_its_note_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state");
    let mut cluster = exported_and_destroyed(&file).await;
    cluster.stop_all().await;
    let is_full = Arc::new(AtomicBool::new(true));
    let full = is_full.clone();
    let store = HookedStore::new(cluster.disk(NodeId(1)), move |operation| match operation {
        Operation::Import if full.load(Ordering::SeqCst) => Err(StoreError::Full {
            context: "the log".to_owned(),
            source: std::io::ErrorKind::StorageFull.into(),
        }),
        _ => Ok(()),
    });
    let host = cluster.builder(NodeId(1)).log_store(store).open().await.unwrap();
    cluster.put(NodeId(1), host);
    let refused = import(&cluster, NodeId(1), &file).await;
    assert!(matches!(refused, Err(CreateGroupError::Store(StoreError::Full { .. }))));
    let snapshots = cluster.snapshots[0].clone();
    eventually("nothing is left", || snapshots.list().unwrap().is_empty()).await;
    is_full.store(false, Ordering::SeqCst);
    let imported = [import(&cluster, NodeId(1), &file).await.unwrap()];
    assert_eq!(read(&imported).await, ["line"]);
    assert_eq!(snapshots.list().unwrap().len(), 1);
    cluster.stop_all().await;
}

/// What tells lives apart is the checksum of the file that was checked: what is copied must be that one.
#[tokio::test]
async fn a_file_that_is_replaced_between_its_check_and_its_copy_is_not_imported() {
    // Of more pieces than one.
    const BYTES: usize = 300 << 10;
    let dir = tempfile::tempdir().unwrap();
    let [file, other] = ["state", "other"].map(|name| dir.path().join(name));
    let mut cluster = Cluster::start(1).await;
    let replicas = cluster.create(1).await;
    propose(&replicas, &"a".repeat(BYTES)).await;
    replicas[0].export(&file).await.unwrap();
    destroy_on_all(&cluster, 1).await;
    let mut bytes = std::fs::read(&file).unwrap();
    let checked = bytes.len() - 4;
    bytes[checked - 1_000] = b'b';
    let crc = crc32fast::hash(&bytes[..checked]);
    bytes[checked..].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&other, bytes).unwrap();

    cluster.stop_all().await;
    let from = (other, file.clone());
    let hook = move |operation| {
        // The copy is begun: what is written first is nothing.
        if operation == hooked_snapshots::Operation::Write && from.0.exists() {
            std::fs::rename(&from.0, &from.1).unwrap();
        }
        Fate::Done
    };
    let store = HookedSnapshots::new(cluster.snapshots[0].clone(), hook);
    let builder = cluster.builder(NodeId(1)).log_store(cluster.disk(NodeId(1)));
    let host = builder.snapshot_store(store).open().await.unwrap();
    cluster.put(NodeId(1), host);
    let refused = import(&cluster, NodeId(1), &file).await.map(drop);
    assert!(
        matches!(refused, Err(CreateGroupError::Snapshot(SnapshotError::Replaced { .. }))),
        "{refused:?}"
    );
    assert_eq!(cluster.snapshots[0].list().unwrap(), [] as [String; 0]);
    assert_eq!(cluster.disk(NodeId(1)).recover().unwrap().groups, []);
    let imported = [import(&cluster, NodeId(1), &file).await.unwrap()];
    assert_eq!(read(&imported).await[0].find('b').map(|at| at > BYTES / 2), Some(true));
    cluster.stop_all().await;
}

/// Its snapshots are nothing that a journal's bytes could be.
struct Counted;

impl StateMachine for Counted {
    type Command = ();
    type Response = ();
    type Query = ();
    type Answer = ();
    type Snapshot = std::num::NonZeroU8;

    fn apply(&mut self, (): (), _: Timestamp) {}

    fn query(&self, (): ()) {}

    fn snapshot(&self) -> std::num::NonZeroU8 {
        std::num::NonZeroU8::MIN
    }

    fn restore(&mut self, _: std::num::NonZeroU8) {}
}
