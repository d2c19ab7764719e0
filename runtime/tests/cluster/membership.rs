//! Groups whose members change while they are in use.

use super::support::{Cluster, Journal, PATIENCE, eventually, slot};
use parking_lot::Mutex;
use raftyard::store::LogStore;
use raftyard::{
    ChangeError, Compaction, Consistency, CreateGroupError, Group, GroupId, GroupOptions, GroupStatus, MemberRole,
    Membership, MembershipChange, MembershipError, NodeId, PeerMode, QuarantineReason, ReplicaState, RoleKind, Tuning,
    Witness,
};
use raftyard_groups::{LogIndex, Payload};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const GROUP: GroupId = GroupId(1);

/// A cluster, and one group that lives on some of its nodes.
struct Yard {
    cluster: Cluster,
    first: Vec<NodeId>,
    replicas: Replicas,
}

/// By node; none where no replica runs.
type Replicas = Arc<Mutex<Vec<Option<Group<Journal>>>>>;

fn ids(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn quick() -> Tuning {
    Tuning {
        election_timeout_ms: 200,
        heartbeat_interval_ms: 40,
        ..Tuning::default()
    }
}

impl Yard {
    /// `nodes` nodes, of which `first` are the group's first members.
    async fn new(nodes: usize, first: &[u64], compaction: Compaction) -> Self {
        let mut cluster = Cluster::closed(nodes);
        cluster.tuning = quick();
        cluster.compaction = compaction;
        cluster.open_all().await;
        let yard = Self {
            cluster,
            first: ids(first),
            replicas: Arc::new(Mutex::new(vec![None; nodes])),
        };
        for id in yard.first.clone() {
            yard.create(id).await;
        }
        yard
    }

    fn put(&self, id: NodeId, replica: Group<Journal>) {
        self.replicas.lock()[slot(id)] = Some(replica);
    }

    /// One of the first members, or what is on disk.
    async fn create(&self, id: NodeId) {
        let created = self
            .cluster
            .host(id)
            .create_group(GROUP, self.first.clone(), Journal::default);
        self.put(id, created.await.unwrap());
    }

    async fn join(&self, id: u64) {
        let id = NodeId(id);
        let joined = self
            .cluster
            .host(id)
            .join_group(GROUP, GroupOptions::default(), Journal::default);
        self.put(id, joined.await.unwrap());
    }

    /// Ends a node.
    async fn stop(&mut self, id: NodeId) {
        self.replicas.lock()[slot(id)] = None;
        self.cluster.stop(id).await;
    }

    /// Starts a node on what its disk holds of the group.
    async fn restart(&mut self, id: NodeId) {
        self.cluster.open(id).await;
        self.join(id.0).await;
    }

    fn replica(&self, id: u64) -> Group<Journal> {
        self.replicas.lock()[slot(NodeId(id))].clone().expect("it runs")
    }

    fn status(&self, id: u64) -> GroupStatus {
        self.replica(id).status()
    }

    fn running(&self) -> Vec<Group<Journal>> {
        self.replicas.lock().iter().flatten().cloned().collect()
    }

    async fn leader(&self) -> (NodeId, Group<Journal>) {
        let mut found = None;
        eventually("a replica leads", || {
            let replicas = self.replicas.lock().clone();
            let mut replicas = self.cluster.ids().into_iter().zip(replicas);
            found = replicas.find_map(|(id, replica)| {
                let replica = replica.filter(|replica| replica.leader() == Some(id))?;
                Some((id, replica))
            });
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Lets `id` lead.
    async fn lead(&self, id: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (leader, replica) = self.leader().await;
            if leader == NodeId(id) {
                return;
            }
            assert!(Instant::now() < deadline, "it never leads");
            replica.transfer_leadership(NodeId(id)).await.ok();
        }
    }

    /// Asks whoever leads until the change is made. (To ask again does no harm.)
    async fn change(&self, change: MembershipChange) -> Arc<Membership> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (_, leader) = self.leader().await;
            match leader.change_membership(change.clone()).await {
                Ok(membership) => return membership,
                Err(ChangeError::Invalid(error)) => panic!("{error}"),
                Err(error) => assert!(Instant::now() < deadline, "never made: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn fill(&self, lines: std::ops::Range<usize>) {
        for n in lines {
            super::support::propose(&self.running(), &n.to_string()).await;
        }
    }

    async fn read(&self) -> Vec<String> {
        super::support::read(&self.running()).await
    }

    /// Waits until the replicas on these nodes have the same state as the leader.
    async fn alike(&self, members: &[u64]) {
        let (_, leader) = self.leader().await;
        let applied = leader.status().applied;
        for id in members {
            let replica = self.replica(*id);
            eventually("a member applied all", || replica.status().applied >= applied).await;
        }
    }
}

/// A client that proposes lines of its own and reads, wherever somebody leads.
struct Load {
    end: Arc<AtomicBool>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
    /// How many lines were acknowledged so far.
    count: Arc<AtomicU64>,
}

impl Load {
    fn start(yard: &Yard, clients: u64) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let clients = (0..clients)
            .map(|client| tokio::spawn(Self::client(client, yard.replicas.clone(), end.clone(), count.clone())))
            .collect();
        Self { end, clients, count }
    }

    async fn client(name: u64, replicas: Replicas, end: Arc<AtomicBool>, count: Arc<AtomicU64>) -> Vec<String> {
        let (mut acknowledged, mut seen) = (Vec::new(), 0);
        for n in 0_usize.. {
            if end.load(Ordering::Relaxed) {
                break;
            }
            let node = n % replicas.lock().len();
            let Some(replica) = replicas.lock()[node].clone() else {
                tokio::task::yield_now().await;
                continue;
            };
            if replica.status().role != RoleKind::Leader {
                tokio::time::sleep(Duration::from_micros(200)).await;
                continue;
            }
            let line = format!("{name}-{n}");
            if replica.propose(line.clone()).await.is_ok() {
                acknowledged.push(line);
                count.fetch_add(1, Ordering::Relaxed);
            }
            if n % 7 == 0
                && let Ok(lines) = replica.read((), Consistency::Linearizable).await
            {
                assert!(lines.len() >= seen, "a read went back in time");
                seen = lines.len();
                let lines: BTreeSet<&String> = lines.iter().collect();
                assert!(
                    acknowledged.iter().all(|line| lines.contains(line)),
                    "a read missed a line"
                );
            }
        }
        acknowledged
    }

    /// Lets some more be acknowledged.
    async fn goes_on(&self) {
        let before = self.count.load(Ordering::Relaxed);
        eventually("the load goes on", || self.count.load(Ordering::Relaxed) > before + 20).await;
    }

    /// Ends it: all that was acknowledged is there, once.
    async fn check(self, yard: &Yard) {
        self.end.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        for client in self.clients {
            acknowledged.extend(client.await.expect("a client found a fault"));
        }
        let lines = yard.read().await;
        let once: BTreeSet<&String> = lines.iter().collect();
        assert_eq!(once.len(), lines.len(), "a line was applied twice");
        let lost: Vec<_> = acknowledged.iter().filter(|line| !once.contains(line)).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
    }
}

fn voters(membership: &Membership) -> Vec<u64> {
    membership.voters().map(|node| node.0).collect()
}

fn often() -> Compaction {
    Compaction {
        entries: 20,
        tail_entries: 3,
        ..Compaction::default()
    }
}

#[tokio::test]
async fn a_group_grows_from_one_to_five_and_shrinks_back_under_load() {
    for compaction in [Compaction::default(), often()] {
        let mut yard = Yard::new(5, &[1], compaction).await;
        let load = Load::start(&yard, 3);
        let voter = Some(MemberRole::Voter);
        for (new, all) in [([2, 3], vec![1, 2, 3]), ([4, 5], vec![1, 2, 3, 4, 5])] {
            for id in new {
                yard.join(id).await;
            }
            let both = MembershipChange::new()
                .set(NodeId(new[0]), voter)
                .set(NodeId(new[1]), voter);
            assert_eq!(voters(&*yard.change(both).await), all);
            load.goes_on().await;
            yard.alike(&all).await;
        }
        for (gone, left) in [([1, 4], vec![2, 3, 5]), ([2, 3], vec![5])] {
            let both = MembershipChange::remove(NodeId(gone[0])).set(NodeId(gone[1]), None);
            assert_eq!(voters(&*yard.change(both).await), left);
            load.goes_on().await;
        }
        for id in [1, 2, 3, 4] {
            yard.cluster.host(NodeId(id)).destroy_group(GROUP).await.unwrap();
            yard.replicas.lock()[slot(NodeId(id))] = None;
        }
        load.goes_on().await;
        load.check(&yard).await;
        yard.cluster.stop_all().await;
    }
}

#[tokio::test]
async fn a_node_takes_the_place_of_another_in_one_change() {
    let mut yard = Yard::new(4, &[1, 2, 3], Compaction::default()).await;
    let load = Load::start(&yard, 2);
    yard.join(4).await;
    // The one that is replaced is gone already, as it is when that is needed.
    let (leader, _) = yard.leader().await;
    let gone = ids(&[1, 2, 3]).into_iter().find(|id| *id != leader).unwrap();
    yard.stop(gone).await;
    let membership = yard.change(MembershipChange::replace(gone, NodeId(4))).await;
    assert!(membership.is_voter(NodeId(4)) && !membership.contains(gone));
    load.goes_on().await;
    // Alone with the new one, the leader is a quorum.
    let (leader, _) = yard.leader().await;
    let third = ids(&[1, 2, 3]).into_iter().find(|id| *id != leader && *id != gone);
    if leader != NodeId(4) {
        yard.stop(third.unwrap()).await;
    }
    load.goes_on().await;
    load.check(&yard).await;
    yard.cluster.stop_all().await;
}

/// Fault 43.
#[tokio::test]
async fn a_leader_that_is_removed_steps_down_and_idles() {
    let mut yard = Yard::new(3, &[1, 2, 3], Compaction::default()).await;
    let load = Load::start(&yard, 2);
    for round in 0..2 {
        let (leader, replica) = yard.leader().await;
        let membership = yard.change(MembershipChange::remove(leader)).await;
        assert!(!membership.contains(leader), "round {round}");
        eventually("it knows that it is no member", || replica.status().member.is_none()).await;
        eventually("it does not lead", || replica.status().role == RoleKind::Follower).await;
        yard.replicas.lock()[slot(leader)] = None;
        load.goes_on().await;
        let refused = replica.change_membership(MembershipChange::add_voter(leader)).await;
        assert!(matches!(refused, Err(ChangeError::NotLeader { .. })), "{refused:?}");
    }
    load.check(&yard).await;
    let (_, last) = yard.leader().await;
    let alone = last
        .change_membership(MembershipChange::remove(last.leader().unwrap()))
        .await;
    assert_eq!(alone, Err(ChangeError::Invalid(MembershipError::NoVoters)));
    yard.cluster.stop_all().await;
}

/// Fault 44.
#[tokio::test]
async fn a_learner_comes_in_through_a_snapshot_and_is_promoted() {
    let mut yard = Yard::new(4, &[1, 2, 3], often()).await;
    yard.fill(0..160).await;
    let (leader, replica) = yard.leader().await;
    eventually("the log was compacted", || {
        yard.cluster.on_disk(leader, 1).base.index.0 > 100
    })
    .await;
    yard.join(4).await;
    let joined = yard.replica(4);
    assert!(joined.membership().is_empty() && joined.status().member.is_none());
    let membership = yard.change(MembershipChange::add_learner(NodeId(4))).await;
    assert_eq!(membership.role_of(NodeId(4)), Some(MemberRole::Learner));
    eventually("it applied all", || joined.status().applied >= replica.status().applied).await;
    let metrics = yard.cluster.host(NodeId(4)).metrics();
    assert!(metrics.snapshots_installed >= 1, "{metrics:?}");
    let progress = replica.progress().await.unwrap();
    assert_eq!(progress.len(), 3, "{progress:?}");
    assert!(joined.progress().await.unwrap().is_empty(), "it does not lead");
    let replicating = || async {
        let progress = replica.progress().await.unwrap();
        progress
            .iter()
            .all(|peer| peer.mode == PeerMode::Replicating && peer.snapshot.is_none())
    };
    let deadline = Instant::now() + PATIENCE;
    while !replicating().await {
        assert!(Instant::now() < deadline, "the snapshot never ends");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        voters(&*yard.change(MembershipChange::promote(NodeId(4))).await),
        [1, 2, 3, 4]
    );
    yard.lead(4).await;
    yard.fill(160..165).await;
    assert_eq!(yard.read().await, (0..165).map(|n| n.to_string()).collect::<Vec<_>>());
    yard.cluster.stop_all().await;
}

/// Fault 40: what the old leader was asked while it was cut off never counts, what the new one is asked does.
#[tokio::test]
async fn a_change_during_a_partition_is_the_majoritys() {
    let mut yard = Yard::new(5, &[1, 2, 3], Compaction::default()).await;
    yard.join(4).await;
    yard.join(5).await;
    yard.fill(0..10).await;
    let (old, replica) = yard.leader().await;
    yard.cluster.isolate(old);
    let asked = replica.change_membership(MembershipChange::add_learner(NodeId(5)));
    yard.replicas.lock()[slot(old)] = None;
    let membership = yard.change(MembershipChange::replace(old, NodeId(4))).await;
    assert!(!membership.contains(old) && !membership.contains(NodeId(5)));
    yard.fill(10..20).await;
    assert!(asked.await.is_err_and(|error| error.may_yet_happen()));
    yard.cluster.heal(old);
    yard.fill(20..30).await;
    assert_eq!(
        *yard.leader().await.1.membership(),
        *membership,
        "nothing came of the other"
    );
    assert_eq!(yard.read().await.len(), 30);
    yard.cluster.stop_all().await;
}

/// Fault 42, while nodes catch up, with everybody stopped in between.
#[tokio::test]
async fn a_change_that_waits_for_a_node_outlives_its_leader_and_restarts() {
    let mut yard = Yard::new(4, &[1, 2, 3], often()).await;
    yard.fill(0..30).await;
    let (leader, replica) = yard.leader().await;
    // Node 4 does not run the group yet.
    let asked = replica.change_membership(MembershipChange::add_voter(NodeId(4)));
    eventually("it is preparing", || replica.membership().next().is_some()).await;
    let busy = replica.change_membership(MembershipChange::remove(NodeId(2))).await;
    assert_eq!(busy, Err(ChangeError::Busy));
    yard.fill(30..60).await;
    yard.stop(leader).await;
    assert!(asked.await.is_err_and(|error| error.may_yet_happen()));
    yard.fill(60..90).await;
    assert!(yard.leader().await.1.membership().next().is_some(), "it is in the log");
    for id in yard.first.clone() {
        yard.stop(id).await;
    }
    for id in yard.first.clone() {
        yard.restart(id).await;
    }
    yard.fill(90..100).await;
    yard.join(4).await;
    let joined = yard.replica(4);
    eventually("it votes", || joined.status().member == Some(MemberRole::Voter)).await;
    let done = || {
        let replicas = yard.running();
        replicas
            .iter()
            .all(|replica| voters(&replica.membership()) == [1, 2, 3, 4] && !replica.membership().is_changing())
    };
    eventually("the change is made", done).await;
    assert_eq!(yard.read().await.len(), 100);
    yard.cluster.stop_all().await;
}

#[tokio::test]
async fn a_change_can_be_abandoned_while_it_waits() {
    let yard = Yard::new(4, &[1, 2, 3], Compaction::default()).await;
    yard.fill(0..5).await;
    let (_, leader) = yard.leader().await;
    assert_eq!(leader.abandon_change().await, Err(ChangeError::NotPreparing));
    let before = leader.membership();
    let asked = leader.change_membership(MembershipChange::replace(NodeId(1), NodeId(4)));
    eventually("it is preparing", || leader.membership().next().is_some()).await;
    assert_eq!(leader.abandon_change().await, Ok(before));
    assert_eq!(asked.await, Err(ChangeError::Abandoned));
    let unknown = leader.change_membership(MembershipChange::add_voter(NodeId(9))).await;
    assert_eq!(unknown, Err(ChangeError::UnknownPeer(NodeId(9))));
    let mut cluster = yard.cluster;
    cluster.stop_all().await;
}

/// Fault 42: both halves of the joint configuration are needed, and one is away; then everybody restarts.
#[tokio::test]
async fn a_joint_configuration_is_completed_after_everybody_restarted() {
    let mut yard = Yard::new(5, &[1, 2, 3], Compaction::default()).await;
    yard.join(4).await;
    yard.join(5).await;
    yard.fill(0..20).await;
    yard.lead(1).await;
    for id in [4, 5] {
        yard.change(MembershipChange::add_learner(NodeId(id))).await;
    }
    yard.alike(&[4, 5]).await;
    yard.lead(1).await;
    for id in [4, 5] {
        yard.cluster.isolate(NodeId(id));
    }
    let change = ids(&[4, 5]).into_iter().fold(MembershipChange::new(), |change, id| {
        change.set(id, Some(MemberRole::Voter))
    });
    let change = ids(&[2, 3]).into_iter().fold(change, |change, id| change.set(id, None));
    let leader = yard.replica(1);
    let asked = leader.change_membership(change);
    eventually("it is joint on disk", || {
        let found = yard.cluster.on_disk(NodeId(1), 1).memberships;
        found.last().is_some_and(|(_, newest)| newest.is_joint())
    })
    .await;
    for id in yard.cluster.ids() {
        yard.stop(id).await;
    }
    drop(asked);
    for id in [4, 5] {
        yard.cluster.heal(NodeId(id));
    }
    for id in yard.cluster.ids() {
        yard.restart(id).await;
    }
    let ended = || {
        [1, 4, 5]
            .iter()
            .all(|id| voters(&yard.replica(*id).membership()) == [1, 4, 5])
    };
    eventually("the new configuration is alone", || {
        ended() && !yard.replica(1).membership().is_joint()
    })
    .await;
    // Those who left have no say any more.
    for id in [2, 3] {
        yard.stop(NodeId(id)).await;
    }
    yard.fill(20..30).await;
    assert_eq!(yard.read().await.len(), 30);
    yard.cluster.stop_all().await;
}

#[tokio::test]
async fn the_membership_outlives_restarts_and_compaction() {
    let mut yard = Yard::new(4, &[1, 2, 3], often()).await;
    yard.join(4).await;
    yard.change(MembershipChange::replace(NodeId(1), NodeId(4))).await;
    yard.change(MembershipChange::add_learner(NodeId(1))).await;
    yard.fill(0..150).await;
    for id in [2, 3, 4] {
        eventually("the log no longer holds the changes", || {
            let found = yard.cluster.on_disk(NodeId(id), 1);
            found.base.index.0 > 60 && found.memberships.len() == 1
        })
        .await;
    }
    for id in yard.cluster.ids() {
        yard.stop(id).await;
    }
    for id in yard.cluster.ids() {
        yard.restart(id).await;
        let membership = yard.replica(id.0).membership();
        assert_eq!(voters(&membership), [2, 3, 4], "as soon as it runs");
        assert_eq!(membership.role_of(NodeId(1)), Some(MemberRole::Learner));
    }
    yard.fill(150..155).await;
    assert_eq!(yard.read().await.len(), 155);
    yard.cluster.stop_all().await;
}

#[tokio::test]
async fn what_is_on_disk_says_who_belongs_whatever_the_caller_names() {
    let mut yard = Yard::new(3, &[1, 2], Compaction::default()).await;
    yard.join(3).await;
    yard.change(MembershipChange::add_voter(NodeId(3))).await;
    yard.fill(0..5).await;
    for id in yard.cluster.ids() {
        yard.stop(id).await;
        yard.cluster.open(id).await;
    }
    let host = yard.cluster.host(NodeId(1)).clone();
    let other = host.create_group(GROUP, ids(&[1, 2, 3]), Journal::default).await;
    assert!(
        matches!(other, Err(CreateGroupError::OtherMembers { .. })),
        "not its first members"
    );
    let witness = host.join_witness(GROUP, GroupOptions::default()).await;
    assert!(matches!(witness, Err(CreateGroupError::OtherKind(GROUP))));
    yard.create(NodeId(1)).await;
    yard.create(NodeId(2)).await;
    // One that joined never knew the first members: any will do.
    let joined = yard
        .cluster
        .host(NodeId(3))
        .create_group(GROUP, ids(&[3]), Journal::default)
        .await;
    yard.put(NodeId(3), joined.unwrap());
    assert_eq!(voters(&yard.replica(3).membership()), [1, 2, 3]);
    assert_eq!(yard.cluster.host(NodeId(3)).stored_groups(), [GROUP]);
    yard.fill(5..10).await;
    yard.cluster.stop_all().await;
}

/// Fault 41 in part, and thesis §4.2.3: it asks for votes, and nobody minds.
#[tokio::test]
async fn a_node_that_was_removed_while_it_was_away_disturbs_nobody() {
    let mut yard = Yard::new(4, &[1, 2, 3, 4], Compaction::default()).await;
    yard.fill(0..10).await;
    yard.lead(1).await;
    yard.stop(NodeId(4)).await;
    yard.change(MembershipChange::remove(NodeId(4))).await;
    yard.fill(10..20).await;
    // Until then the leader would tell it.
    let deadline = Instant::now() + PATIENCE;
    while yard
        .replica(1)
        .progress()
        .await
        .unwrap()
        .iter()
        .any(|peer| peer.node == NodeId(4))
    {
        assert!(Instant::now() < deadline, "it is never given up");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = yard.status(1);
    yard.restart(NodeId(4)).await;
    let away = yard.replica(4);
    eventually("it tries to be elected", || {
        away.status().role == RoleKind::PreCandidate
    })
    .await;
    yard.fill(20..60).await;
    // Several times as long as it takes to campaign.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let after = yard.status(1);
    assert_eq!((after.term, after.role), (before.term, RoleKind::Leader));
    assert_eq!(away.status().applied.max(20), 20, "it gets nothing any more");
    yard.cluster.stop_all().await;
}

/// It acknowledged entries, and forgot them. So it must not help anyone to be elected who lacks them.
#[tokio::test]
async fn a_node_that_was_removed_and_destroyed_can_come_back() {
    let mut yard = Yard::new(3, &[1, 2, 3], often()).await;
    let load = Load::start(&yard, 2);
    for _ in 0..3 {
        load.goes_on().await;
        yard.change(MembershipChange::remove(NodeId(3))).await;
        yard.cluster.host(NodeId(3)).destroy_group(GROUP).await.unwrap();
        load.goes_on().await;
        yard.join(3).await;
        yard.change(MembershipChange::add_voter(NodeId(3))).await;
        yard.alike(&[3]).await;
    }
    load.check(&yard).await;
    yard.cluster.stop_all().await;
}

async fn create_with_witness(cluster: &Cluster) -> (Vec<Group<Journal>>, Group<Witness>) {
    let options = || GroupOptions::default().witnesses([NodeId(3)]);
    let mut full = Vec::new();
    for id in ids(&[1, 2]) {
        let host = cluster.host(id);
        let created = host.create_group_with(GROUP, ids(&[1, 2, 3]), options(), Journal::default);
        full.push(created.await.unwrap());
    }
    let host = cluster.host(NodeId(3));
    let mistaken = host
        .create_group_with(GROUP, ids(&[1, 2, 3]), options(), Journal::default)
        .await;
    assert!(matches!(mistaken, Err(CreateGroupError::OtherKind(GROUP))));
    let witness = host.create_witness(GROUP, ids(&[1, 2, 3]), options()).await;
    (full, witness.unwrap())
}

#[tokio::test]
async fn a_witness_stands_in_for_a_full_replica_that_is_down_and_holds_no_state() {
    let mut cluster = Cluster::closed(3);
    cluster.tuning = quick();
    cluster.compaction = often();
    cluster.open_all().await;
    let (full, witness) = create_with_witness(&cluster).await;
    for n in 0..10 {
        super::support::propose(&full, &n.to_string()).await;
    }
    assert_eq!(witness.status().member, Some(MemberRole::Witness));
    let leader = super::support::leader_of(&full, &ids(&[1, 2])).await.clone();
    let down = ids(&[1, 2])
        .into_iter()
        .find(|id| leader.leader() != Some(*id))
        .unwrap();
    cluster.stop(down).await;
    for n in 10..15 {
        super::support::propose(std::slice::from_ref(&leader), &n.to_string()).await;
    }
    let held = cluster
        .disk(NodeId(3))
        .read(GROUP, LogIndex(1), LogIndex(u64::MAX), usize::MAX);
    let held = held.unwrap();
    assert!(!held.is_empty());
    assert!(
        held.iter().all(|entry| !matches!(entry.payload, Payload::Command(_))),
        "{held:?}"
    );
    let transfer = leader.transfer_leadership(NodeId(3)).await;
    assert!(transfer.is_err(), "a witness never leads");

    // It was away, and what it missed is compacted: it gets a snapshot, without state.
    cluster.open(down).await;
    let full_again = {
        let options = GroupOptions::default().witnesses([NodeId(3)]);
        let host = cluster.host(down);
        host.create_group_with(GROUP, ids(&[1, 2, 3]), options, Journal::default)
            .await
            .unwrap()
    };
    let full = vec![leader, full_again];
    cluster.stop(NodeId(3)).await;
    for n in 15..175 {
        super::support::propose(&full, &n.to_string()).await;
    }
    for id in ids(&[1, 2]) {
        eventually("the log was compacted", || cluster.on_disk(id, 1).base.index.0 > 100).await;
    }
    cluster.open(NodeId(3)).await;
    let witness = cluster
        .host(NodeId(3))
        .join_witness(GROUP, GroupOptions::default())
        .await
        .unwrap();
    let applied = full[0].status().commit;
    eventually("it is up to date", || witness.status().commit >= applied).await;
    assert!(cluster.host(NodeId(3)).metrics().snapshots_installed >= 1);
    assert_eq!(super::support::read(&full).await.len(), 175);
    cluster.stop_all().await;
}

#[tokio::test]
async fn a_replica_that_its_group_takes_for_another_kind_stops() {
    let mut yard = Yard::new(4, &[1, 2], often()).await;
    yard.fill(0..10).await;
    let host = yard.cluster.host(NodeId(3));
    let witness = host.join_witness(GROUP, GroupOptions::default()).await.unwrap();
    yard.join(4).await;
    // Its log will lack no command from now on, but would lack those of before had it been a witness already.
    let change = MembershipChange::add_learner(NodeId(3));
    yard.change(change).await;
    let stopped = |state| state == ReplicaState::Quarantined(QuarantineReason::OtherKind);
    eventually("the witness stops", || stopped(witness.status().state)).await;
    // One with a state machine, to which no commands are sent.
    let (_, leader) = yard.leader().await;
    let asked = tokio::spawn(async move { leader.change_membership(MembershipChange::add_witness(NodeId(4))).await });
    eventually("the full replica stops", || stopped(yard.status(4).state)).await;
    asked.abort();
    assert_eq!(yard.read().await.len(), 10, "the others go on");
    yard.cluster.stop_all().await;
}

#[tokio::test]
async fn a_witness_joins_a_group_that_runs() {
    let yard = Yard::new(3, &[1, 2], often()).await;
    yard.fill(0..50).await;
    let witness = yard
        .cluster
        .host(NodeId(3))
        .join_witness(GROUP, GroupOptions::default())
        .await
        .unwrap();
    let membership = yard.change(MembershipChange::add_witness(NodeId(3))).await;
    assert_eq!(membership.role_of(NodeId(3)), Some(MemberRole::Witness));
    eventually("it knows what it is", || {
        witness.status().member == Some(MemberRole::Witness)
    })
    .await;
    let (leader, replica) = yard.leader().await;
    let other = ids(&[1, 2]).into_iter().find(|id| *id != leader).unwrap();
    let mut yard = yard;
    yard.stop(other).await;
    yard.fill(50..60).await;
    let full = replica.change_membership(MembershipChange::add_voter(NodeId(3))).await;
    assert_eq!(
        full,
        Err(ChangeError::Invalid(MembershipError::WitnessMustLeave(NodeId(3))))
    );
    yard.cluster.stop_all().await;
}
