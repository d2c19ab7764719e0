//! After everything healed, every group gets on within a bounded time.

use super::{Replica, World, within};
use crate::group::Consistency;
use crate::registry::ReplicaState;
use crate::sim::properties::{Freshness, Kind, Outcome};
use crate::sim::random::{Purpose, Random};
use crate::sim::workload::Workload;
use raftyard_groups::GroupId;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a group may take to get on, once nothing disturbs any more.
const BOUND: Duration = Duration::from_secs(40);
/// How often it is looked at.
const PAUSE: Duration = Duration::from_millis(50);
const ATTEMPT: Duration = Duration::from_secs(5);
/// The number of a client that is no other.
const NUMBERS: u64 = 255;

impl<W: Workload> World<W> {
    /// Lets every group get on, all at the same time.
    pub(super) async fn get_on(self: &Rc<Self>) {
        let groups: Vec<GroupId> = self.groups.borrow().keys().copied().collect();
        let gets_on = async |group| {
            self.settled(group).await;
            self.written(group, 0).await;
            self.alike(group).await;
        };
        self.all_within_bound(&groups, gets_on, "after everything healed").await;
    }

    /// Lets all these groups do something at the same time; which has to be done within the bound.
    pub(super) async fn all_within_bound(&self, groups: &[GroupId], what: impl AsyncFn(GroupId), when: &str) {
        let end = Instant::now() + BOUND;
        let waiting = groups.iter().map(|group| tokio::time::timeout_at(end, what(*group)));
        let done = futures::future::join_all(waiting).await;
        for (group, _) in groups.iter().zip(done).filter(|(_, done)| done.is_err()) {
            let standing: Vec<String> = self.replicas(*group).iter().map(standing::<W>).collect();
            let (standing, bound) = (standing.join("; "), BOUND.as_secs());
            let what = format!("{group} did not get on within {bound} s {when}: {standing}");
            self.watchman.violated("liveness", what);
        }
    }

    /// Until nobody changes it any more.
    async fn settled(&self, group: GroupId) {
        while self.groups.borrow().get(&group).is_some_and(|group| group.is_busy) {
            sleep(PAUSE).await;
        }
    }

    /// Until a command was applied. `round` draws which.
    pub(super) async fn written(&self, group: GroupId, round: u64) {
        let mut random = Random::new(self.scenario.seed, Purpose::Operator, round << 32 | group.0);
        loop {
            sleep(PAUSE).await;
            if let Some(leader) = self.leader(group)
                && self.write(&leader, &mut random, NUMBERS).await
            {
                return;
            }
        }
    }

    /// Has a replica apply something, as a client of its own; whether it answered so.
    pub(super) async fn write(&self, leader: &Replica<W>, random: &mut Random, client: u64) -> bool {
        let (group, incarnation) = (leader.id(), leader.incarnation().0);
        let kind = match self.groups.borrow_mut().get_mut(&group) {
            Some(group) => group.workload.next(random),
            None => return false,
        };
        let Kind::Propose(command) = kind.clone() else {
            return false;
        };
        let noted = self.note(group, incarnation, group.0 << 8 | client, kind);
        let asked = (self.tick(), incarnation, command);
        match within(ATTEMPT, leader.propose(asked)).await {
            Some(Ok((applied, response))) => {
                self.freshness.borrow_mut().answered(group, incarnation, applied);
                self.settle(noted, Some(Outcome::Response(response)));
                true
            }
            Some(Err(error)) if !error.may_have_happened() => {
                self.settle(noted, None);
                false
            }
            _ => false,
        }
    }

    /// Until all members have applied what their leader had committed.
    async fn alike(&self, group: GroupId) {
        let commit = loop {
            match self.leader(group) {
                Some(leader) => break leader.status().commit,
                None => sleep(PAUSE).await,
            }
        };
        loop {
            if let Some(leader) = self.leader(group) {
                let members = leader.status().membership.nodes();
                let replicas = self.replicas(group);
                let has_applied = |member| {
                    let replica = replicas.iter().find(|replica| replica.node() == member);
                    replica.is_some_and(|replica| replica.status().applied >= commit)
                };
                // A change that was begun is ended, whoever began it; and who was removed leads no more.
                let status = leader.status();
                let is_changed = !status.membership.is_joint() && members.contains(&leader.node());
                if is_changed && members.into_iter().all(has_applied) {
                    return;
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Asks once more whatever was read: nothing that was acknowledged may be missing at the end.
    pub(super) async fn read_all_again(&self) {
        let groups: Vec<GroupId> = self.groups.borrow().keys().copied().collect();
        for group in groups {
            let incarnation = self.incarnation(group);
            let reads: Vec<Kind<W::Machine>> = match self.groups.borrow().get(&group) {
                Some(state) => {
                    let histories = state.histories.range((incarnation, 0)..=(incarnation, u64::MAX));
                    let is_read = |kind: &&Kind<W::Machine>| matches!(kind, Kind::Read(_));
                    let newest = histories.filter_map(|(_, calls)| {
                        let mut kinds = calls.iter().rev().flatten().map(|call| &call.kind);
                        kinds.find(is_read).cloned()
                    });
                    newest.collect()
                }
                None => Vec::new(),
            };
            for kind in reads {
                let (Kind::Read(query), Some(leader)) = (kind.clone(), self.leader(group)) else {
                    continue;
                };
                let wanted = self.freshness.borrow().wanted(group, incarnation);
                let noted = self.note(group, incarnation, group.0 << 8 | NUMBERS, kind);
                let outcome = match within(ATTEMPT, leader.read(query, Consistency::Linearizable)).await {
                    Some(Ok((applied, answer))) => {
                        if let Err(what) = Freshness::check(group, wanted, applied) {
                            self.watchman.violated("lease safety", what);
                        }
                        Some(Outcome::Answer(answer))
                    }
                    _ => None,
                };
                self.settle(noted, outcome);
            }
        }
    }
}

fn standing<W: Workload>(replica: &Replica<W>) -> String {
    let status = replica.status();
    let node = replica.node();
    let (role, term, commit, applied) = (status.role, status.term, status.commit, status.applied);
    let (life, membership) = (replica.incarnation(), &status.membership);
    let mut standing = format!("{node} {life} {role:?} in t{term}, commit {commit}, applied {applied}, {membership}");
    for (is_so, what) in [
        (status.asleep, "asleep"),
        (status.damaged, "damaged"),
        (status.newer.is_some(), "outdated"),
    ] {
        if is_so {
            standing.push_str(", ");
            standing.push_str(what);
        }
    }
    if let ReplicaState::Quarantined(reason) = status.state {
        standing.push_str(&format!(", stopped: {reason}"));
    }
    standing
}
