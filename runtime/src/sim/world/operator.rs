//! Faults, as they happen, and what operators do to groups.

use super::{Phase, Replica, World, within};
use crate::error::{CreateGroupError, DestroyGroupError};
use crate::host::GroupOptions;
use crate::life::Life;
use crate::sim::disk::Failure;
use crate::sim::random::{Purpose, Random};
use crate::sim::scenario::{Fault, Step};
use crate::sim::threads::Duty;
use crate::sim::workload::Workload;
use raftyard_groups::{GroupId, Incarnation, MembershipChange, NodeId};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long an operator waits for what may never come.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How often an operator looks whether it can go on.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

impl<W: Workload> World<W> {
    /// One thing happens, and ends.
    pub(super) async fn happen(self: Rc<Self>, step: Step) {
        let Step { lasts, fault, .. } = step;
        self.trace.line(format!("fault: {fault}"));
        let faults = match fault {
            Fault::Leader { group, what, draw } => self.faults_of_leader(group, what, draw).await,
            fault => vec![fault],
        };
        futures::future::join_all(faults.into_iter().map(|fault| self.befall(fault, lasts))).await;
    }

    async fn befall(self: &Rc<Self>, fault: Fault, lasts: Duration) {
        let until = Instant::now() + lasts;
        match fault {
            Fault::Crash { node, silent } => {
                if self.end(node, silent) {
                    self.restart(node, lasts).await;
                }
            }
            Fault::Rot { node, draw } => {
                if self.end(node, true) {
                    self.rot(node, draw);
                    sleep(lasts).await;
                    self.start_in_vain(node, draw).await;
                    self.start(node).await;
                    self.make_good(node).await;
                }
            }
            Fault::CrashAt {
                node,
                operations,
                of_files,
                silent,
            } => {
                let Some(vital) = self.vital(node).filter(|vital| !vital.is_dead()) else {
                    return;
                };
                vital.light_fuse(operations, of_files, silent);
                let given_up = Instant::now() + Duration::from_secs(3);
                while !vital.is_dead() && Instant::now() < given_up && !self.is_calm() {
                    sleep(Duration::from_millis(10)).await;
                }
                if !self.is_calm() {
                    self.end(node, silent);
                    self.restart(node, lasts).await;
                }
            }
            Fault::CrashAll => {
                for node in self.ids() {
                    self.end(node, true);
                }
                sleep(lasts).await;
                for node in self.ids() {
                    self.start(node).await;
                }
            }
            Fault::Pause { node } => self.threads.hold(node, until, |_| true),
            Fault::Stall { node } => self.threads.hold(node, until, |duty| duty == Duty::Storage),
            Fault::FailDisk { node, sync, silent } => {
                let Some(disk) = self.disk(node) else {
                    return;
                };
                disk.fail(Some(if sync { Failure::Sync } else { Failure::Write }));
                sleep(lasts).await;
                disk.fail(None);
                if self.is_store_failed(node) {
                    self.end(node, silent);
                    self.restart(node, Duration::ZERO).await;
                }
            }
            Fault::FillDisk { node, room } => {
                let Some(disk) = self.disk(node) else {
                    return;
                };
                disk.fill(Some(room));
                sleep(lasts).await;
                disk.fill(None);
                if self.is_store_failed(node) {
                    self.end(node, false);
                }
                // One that found no room to start, too.
                self.start(node).await;
            }
            Fault::Split { side } => {
                let others: Vec<NodeId> = self.ids().into_iter().filter(|node| !side.contains(node)).collect();
                let ways = side
                    .iter()
                    .flat_map(|a| others.iter().flat_map(|b| [(*a, *b), (*b, *a)]));
                self.cut(ways.collect(), lasts).await;
            }
            Fault::CutAll => {
                let ids = self.ids();
                let ways = ids.iter().flat_map(|from| ids.iter().map(|to| (*from, *to)));
                self.cut(ways.filter(|(from, to)| from != to).collect(), lasts).await;
            }
            Fault::CutOneWay { from, to } => self.cut(vec![(from, to)], lasts).await,
            Fault::Mute { node } => {
                let ways = self.others(node).map(|other| (node, other));
                self.cut(ways.collect(), lasts).await;
            }
            Fault::Deafen { node } => {
                let ways = self.others(node).map(|other| (other, node));
                self.cut(ways.collect(), lasts).await;
            }
            Fault::Slow { node, by_ms } => {
                for other in self.others(node) {
                    self.network.slow(node, other, by_ms, until);
                    self.network.slow(other, node, by_ms, until);
                }
            }
            Fault::Lose { node, permille } => {
                for other in self.others(node) {
                    self.network.lose(node, other, permille, until);
                    self.network.lose(other, node, permille, until);
                }
            }
            Fault::Reset { a, b } => self.network.reset(a, b),
            Fault::Drift { node, permille } => {
                if let Some(node) = self.nodes.borrow().get(&node) {
                    node.clock.drift(permille);
                }
            }
            Fault::Jump { node, by_ms } => {
                if let Some(node) = self.nodes.borrow().get(&node) {
                    node.clock.jump(by_ms);
                }
            }
            // Looked up before.
            Fault::Leader { .. } => {}
            Fault::Rest { group } => self.rest(group, until),
            Fault::Transfer { group, to } => {
                if let Some(leader) = self.leader(group) {
                    within(PATIENCE, leader.transfer_leadership(to)).await;
                }
            }
            Fault::Replace { group, draw } => {
                if self.reserve(group) {
                    self.replace(group, draw).await;
                    self.release(group);
                }
            }
            Fault::Recreate { group } => {
                if self.reserve(group) {
                    self.recreate(group).await;
                    self.release(group);
                }
            }
        }
    }

    pub(super) fn is_calm(&self) -> bool {
        self.phase.get() >= Phase::Calm
    }

    fn others(&self, node: NodeId) -> impl Iterator<Item = NodeId> + use<W> {
        self.ids().into_iter().filter(move |other| *other != node)
    }

    async fn restart(&self, node: NodeId, after: Duration) {
        sleep(after).await;
        self.start(node).await;
    }

    async fn cut(&self, ways: Vec<(NodeId, NodeId)>, lasts: Duration) {
        for (from, to) in &ways {
            self.network.cut(*from, *to);
        }
        sleep(lasts).await;
        if !self.is_calm() {
            for (from, to) in ways {
                self.network.mend(from, to);
            }
        }
    }

    /// Ends all that disturbs, and lets all nodes run.
    pub(super) async fn calm_down(self: &Rc<Self>) {
        self.phase.set(Phase::Calm);
        self.trace.line("everything heals");
        self.network.heal();
        self.threads.release();
        for node in self.nodes.borrow().values() {
            node.disk.fail(None);
            node.disk.fill(None);
            node.clock.drift(0);
            if let Some(vital) = &node.vital {
                vital.put_out();
            }
        }
        self.tend().await;
        let world = self.clone();
        tokio::task::spawn_local(async move {
            while !world.is_done() {
                sleep(PAUSE).await;
                world.tend().await;
            }
        });
    }

    /// Starts what is down.
    async fn tend(&self) {
        for node in self.ids() {
            let is_down = self.vital(node).is_none_or(|vital| vital.is_dead());
            if is_down || self.is_store_failed(node) {
                self.end(node, false);
                self.start(node).await;
            }
        }
    }

    /// True for one at a time.
    pub(super) fn reserve(&self, group: GroupId) -> bool {
        let mut groups = self.groups.borrow_mut();
        groups
            .get_mut(&group)
            .is_some_and(|group| !std::mem::replace(&mut group.is_busy, true))
    }

    pub(super) fn release(&self, group: GroupId) {
        if let Some(group) = self.groups.borrow_mut().get_mut(&group) {
            group.is_busy = false;
        }
    }

    /// Lets a node take the place of a member; or, if there is no other, a member leave and come back.
    async fn replace(&self, group: GroupId, draw: u64) {
        let mut random = Random::new(draw, Purpose::Operator, 0);
        let Some(leader) = self.leader(group) else {
            return;
        };
        let voters: Vec<NodeId> = leader.status().membership.voters().collect();
        let Some(old) = random.pick(&voters).copied() else {
            return;
        };
        let others: Vec<NodeId> = self.ids().into_iter().filter(|node| !voters.contains(node)).collect();
        // Some see what became of it only when they ask for the next.
        let patience = match random.chance(700) {
            true => PATIENCE,
            false => Duration::from_millis(random.below(500)),
        };
        match random.pick(&others).copied() {
            Some(new) => {
                // A change would wait for one that is not there.
                let change = MembershipChange::replace(old, new);
                let is_there = self.join(group, new).await;
                if is_there && random.chance(500) {
                    // Some let it catch up first, and look again later.
                    self.change(group, MembershipChange::add_learner(new), patience).await;
                    sleep(Duration::from_millis(random.below(1_500))).await;
                }
                // A change that was under way before may have come to its end: then this one would only take a member away.
                let is_voter = |leader: Replica<W>| leader.status().membership.voters().any(|voter| voter == new);
                let is_there = is_there && !self.leader(group).is_some_and(is_voter);
                if is_there && self.change(group, change, patience).await && random.chance(700) {
                    self.destroy(group, old).await;
                }
            }
            None => {
                // Of two, one that is damaged waits for the other, which can't be elected without it.
                let left_min = if self.scenario.rots() { 3 } else { 2 };
                if voters.len() > left_min && self.change(group, MembershipChange::remove(old), PATIENCE).await {
                    self.destroy(group, old).await;
                    if self.join(group, old).await {
                        self.change(group, MembershipChange::add_voter(old), patience).await;
                    }
                }
            }
        }
    }

    /// Whether the node has a replica that can be added.
    pub(super) async fn join(&self, group: GroupId, node: NodeId) -> bool {
        let Some((host, vital)) = self.host(node).zip(self.vital(node)) else {
            return false;
        };
        let incarnation = self.incarnation(group);
        let options = GroupOptions::default().incarnation(Incarnation(incarnation));
        let machine = self.machine(node, group, incarnation);
        // A node that ends meanwhile may never answer.
        match within(PATIENCE, host.join_group(group, options, || machine)).await {
            Some(Ok(replica)) => {
                self.runs(node, &vital, replica);
                true
            }
            Some(Err(CreateGroupError::Exists(_))) => true,
            Some(Err(error)) => {
                self.trace.line(format!("{node} can't join {group}: {error}"));
                false
            }
            None => false,
        }
    }

    /// Whether the change was made for sure.
    async fn change(&self, group: GroupId, change: MembershipChange, patience: Duration) -> bool {
        let Some(leader) = self.leader(group) else {
            return false;
        };
        match within(patience, leader.change_membership(change)).await {
            Some(Ok(membership)) => {
                self.trace.line(format!("{group} is of {membership}"));
                true
            }
            Some(Err(error)) => {
                self.trace.line(format!("{group} was not changed: {error}"));
                false
            }
            None => false,
        }
    }

    /// Destroys a node's replica; whether it is gone for sure.
    pub(super) async fn destroy(&self, group: GroupId, node: NodeId) -> bool {
        let Some(host) = self.host(node) else {
            return false;
        };
        let is_gone = match within(PATIENCE, host.destroy_group(group)).await {
            Some(Ok(()) | Err(DestroyGroupError::Unknown(_))) => true,
            Some(Err(error)) => {
                self.trace.line(format!("{node} can't destroy {group}: {error}"));
                false
            }
            None => false,
        };
        if is_gone && let Some(state) = self.nodes.borrow_mut().get_mut(&node) {
            state.replicas.remove(&group);
            self.freshness.borrow_mut().forget(node, |other| other == group);
        }
        is_gone
    }

    /// Destroys a group on every node, and creates it again.
    async fn recreate(&self, group: GroupId) {
        let mut next = 1;
        let is_there = |node: NodeId| {
            let host = self.host(node);
            host.is_some_and(|host| host.stored_groups().contains(&group))
        };
        loop {
            for node in self.ids() {
                while !self.destroy(group, node).await {
                    sleep(PAUSE).await;
                }
                if let Some(host) = self.host(node) {
                    next = host.next_incarnation(group).0.max(next);
                }
            }
            // Meanwhile a disk may have rotted, and forgotten that it was destroyed.
            if !self.ids().into_iter().any(is_there) {
                break;
            }
        }
        let incarnation = Incarnation(self.incarnation(group));
        self.watchman.over(Life { group, incarnation });
        self.trace
            .line(format!("{group} {incarnation} is destroyed everywhere"));
        if let Some(state) = self.groups.borrow_mut().get_mut(&group) {
            state.incarnation = next.max(incarnation.0 + 1);
        }
        self.create(group).await;
        self.trace.line(format!("{group} is created again"));
    }
}
