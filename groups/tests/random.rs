//! Random schedules of a simulated cluster: lost, doubled, late and reordered messages, partitions, slow disks,
//! crashes that lose what was not synced, and replicas that come back with nothing of what they held; some groups
//! also change their membership over and over. The safety checks run after every step. In the end the cluster is
//! healed and must get on: one log for all, a proposal committed, a read served.
//!
//! `RAFTYARD_SEED=7 cargo test -p raftyard-groups --test random` runs one seed again;
//! `RAFTYARD_SEEDS=100000` runs more of them, `RAFTYARD_SEED_FROM=2000` begins with that one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use raftyard_groups::{
    ChangeOutcome, ChangeRequest, Input, LogIndex, MemberRole, Membership, MembershipChange, NodeId, Proposed, ReadId,
    ReadOutcome, Tuning,
};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use support::cluster::{Cluster, Trace};
use support::rng::{Seed, TestRng, seeds};

/// Lines shown of what happened before a failure.
const TRACE_LINES: usize = 120;

struct Schedule {
    rng: TestRng,
    cluster: Cluster,
    reads: u64,
    sessions: bool,
    /// Replicas of which nobody knows what they promised: they vote only once their node has started anew, or the
    /// others'.
    lost: BTreeSet<NodeId>,
    /// Those that come and go as witnesses; none if the membership never changes.
    witness: Option<NodeId>,
    /// The one that forgets all now and then, though it is a voter: of three and more, another one still holds
    /// what was committed. Where the membership changes, those forget that have left.
    forgets: Option<NodeId>,
}

impl Schedule {
    fn new(seed: u64, voters: u64, changes: bool) -> Self {
        let mut rng = TestRng::new(seed);
        let mut pick = |values: &[usize]| values[rng.position(values.len())];
        let usual = Tuning::default();
        let tuning = Tuning {
            message_bytes_max: pick(&[1, 60, usual.message_bytes_max]),
            inflight_messages_max: pick(&[1, 3, usual.inflight_messages_max]),
            inflight_bytes_max: pick(&[1, 100, usual.inflight_bytes_max]),
            cache_bytes_max: pick(&[0, 100, usual.cache_bytes_max]),
            apply_bytes_max: pick(&[1, 60, usual.apply_bytes_max]),
            ..usual
        };
        // Some groups have a learner, some a joint configuration.
        let all = (1..=voters).map(NodeId);
        let membership = match rng.below(6) {
            0 => Membership::new(all, [], [NodeId(voters + 1)]),
            1 => Membership::new(all, [1, voters, voters + 1].map(NodeId), []),
            _ => Membership::of_voters(all),
        };
        let mut cluster = Cluster::new(&membership.expect("a membership"), tuning, seed);
        let mut witness = None;
        if changes {
            let first = cluster.ids().last().map_or(0, |id| id.0) + 1;
            for id in first..first + 3 {
                cluster.join(NodeId(id));
            }
            witness = Some(NodeId(first + 2));
        }
        for id in cluster.ids() {
            cluster.node_mut(id).priority = [0, 0, 0, 1, 2][rng.position(5)];
        }
        let forgets = (!changes && voters > 2 && rng.chance(30)).then(|| NodeId(1 + rng.below(voters)));
        // Half of them on nodes that have sessions.
        let sessions = seed % 2 == 1;
        if sessions {
            cluster.beats.are_on = true;
            for id in cluster.ids() {
                cluster.start_liveness(id, 1);
            }
        }
        Self {
            rng,
            sessions,
            lost: BTreeSet::new(),
            cluster,
            reads: 0,
            witness,
            forgets,
        }
    }

    fn any_node(&mut self) -> NodeId {
        let ids = self.cluster.ids();
        ids[self.rng.position(ids.len())]
    }

    /// The leader more often than not.
    fn likely_leader(&mut self) -> NodeId {
        match self.cluster.leader() {
            Some(leader) if self.rng.chance(70) => leader,
            _ => self.any_node(),
        }
    }

    fn act(&mut self) {
        match self.rng.below(100) {
            0..45 => self.deliver(),
            45..57 => {
                let millis = [1, 30, 100, 100, 300, 700][self.rng.position(6)];
                self.cluster.pass(millis, false);
            }
            57..67 => {
                let id = self.likely_leader();
                let commands = ["a", "bb", "a command of some length"];
                let count = 1 + self.rng.position(3);
                self.cluster.propose(id, &commands[..count]);
            }
            67..73 => {
                let id = self.likely_leader();
                let forwarded = self.rng.chance(50);
                self.read(id, forwarded);
            }
            73..85 => self.disk(),
            85..89 => {
                let id = self.any_node();
                match self.cluster.is_up(id) {
                    true => {
                        let durable = self.rng.position(3);
                        self.cluster.crash(id, durable);
                    }
                    false => self.cluster.start(id),
                }
            }
            89..93 => self.partition(),
            93..95 => self.compact(),
            95..97 => self.depose(),
            97 => {
                let id = self.likely_leader();
                let to = self.rng.chance(50).then(|| self.any_node());
                if self.cluster.is_up(id) {
                    self.cluster.transfer(id, to);
                }
            }
            98 => {
                let id = self.any_node();
                self.cluster.step(id, Input::Campaign);
            }
            _ => {
                self.cluster.settle();
            }
        }
        if self.witness.is_some() && self.rng.chance(12) {
            self.change();
        }
        if self.rng.chance(4) {
            self.forget();
        }
        if self.rng.chance(50) {
            self.snapshots();
        }
        if self.sessions && self.rng.chance(15) {
            self.disturb_nodes();
        }
    }

    /// Nodes stand still and go on, their messages come late, and replicas start anew while their nodes live.
    fn disturb_nodes(&mut self) {
        let (id, other) = (self.any_node(), self.any_node());
        match self.rng.below(12) {
            0 => drop(self.cluster.beats.frozen.insert(id)),
            1 => self.cluster.thaw(id),
            2 => self.cluster.hold_beats((id, other)),
            3 => self.cluster.free_beats((id, other)),
            4 if self.cluster.is_up(id) => {
                let lost = self.rng.chance(30);
                self.cluster.reload(id, lost);
                self.lost.extend(lost.then_some(id));
            }
            5 if self.cluster.is_up(id) => self.cluster.resign(id),
            6 | 7 => {
                let millis = [600, 1_500, 3_000][self.rng.position(3)];
                self.cluster.pass(millis, true);
            }
            8 => self.cluster.now = self.cluster.now.plus(700),
            _ => self.cluster.pass(300, true),
        }
    }

    /// A replica is destroyed and comes back in the same life of the group.
    fn forget(&mut self) {
        let id = self.any_node();
        let has_left = self.witness.is_some() && !self.cluster.safety.membership().contains(id);
        if let Some(id) = self.forgets.or(has_left.then_some(id)) {
            self.cluster.come_back(id);
        }
    }

    /// A few nodes come, go, or change what they are.
    fn change(&mut self) {
        let id = self.likely_leader();
        if !self.cluster.is_up(id) {
            return;
        }
        if self.rng.chance(15) {
            self.cluster.change(id, ChangeRequest::Abandon);
            return;
        }
        let mut change = MembershipChange::new();
        for _ in 0..=self.rng.below(3) {
            let node = self.any_node();
            let role = if self.witness == Some(node) {
                [None, Some(MemberRole::Witness)][self.rng.position(2)]
            } else {
                [
                    None,
                    Some(MemberRole::Learner),
                    Some(MemberRole::Voter),
                    Some(MemberRole::Voter),
                ][self.rng.position(4)]
            };
            change = change.set(node, role);
        }
        self.cluster.change(id, ChangeRequest::Change(change));
        if self.rng.chance(30) {
            self.cluster.settle();
        }
    }

    /// The leader is cut off, with somebody or alone; the others have the time to elect another.
    fn depose(&mut self) {
        let Some(leader) = self.cluster.leader() else {
            return;
        };
        let with = self.any_node();
        let is_cut_off = |id: &NodeId| *id == leader || *id == with;
        let (one, other): (Vec<NodeId>, Vec<NodeId>) = self.cluster.ids().into_iter().partition(is_cut_off);
        self.cluster.network.cut_between(&one, &other);
        self.cluster.propose(leader, &["perhaps", "lost"]);
        self.cluster.propose(leader, &["perhaps"]);
        self.deliver();
        self.cluster.now = self.cluster.now.plus(1_300);
        if let Some(id) = other.first() {
            self.cluster.step(*id, Input::Campaign);
            self.cluster.settle();
        }
        if self.rng.chance(70) {
            self.cluster.network.heal();
        }
    }

    fn read(&mut self, id: NodeId, forwarded: bool) {
        self.reads += 1;
        if self.cluster.is_up(id) {
            self.cluster.read(id, ReadId(self.reads), forwarded);
        }
    }

    /// One message, mostly the next of its link, sometimes another; it may be lost, doubled, or come late.
    fn deliver(&mut self) {
        for _ in 0..=self.rng.below(4) {
            let links = self.cluster.network.busy_links();
            if links.is_empty() {
                return;
            }
            let link = links[self.rng.position(links.len())];
            let queue = self.cluster.network.queue(link);
            let position = match self.rng.chance(15) {
                true => self.rng.position(queue.len()),
                false => 0,
            };
            let message = queue.remove(position).expect("it is there");
            match self.rng.below(20) {
                0 => {}
                1 => {
                    queue.push_back(message.clone());
                    self.cluster.hand_over(message);
                }
                _ => self.cluster.hand_over(message),
            }
        }
    }

    fn disk(&mut self) {
        let id = self.any_node();
        let (what, flips) = (self.rng.below(3), self.rng.chance(30));
        let fails = self.rng.chance(20);
        let node = self.cluster.node_mut(id);
        let held = match what {
            0 => &mut node.hold_fsync,
            1 => &mut node.hold_apply,
            _ => &mut node.hold_load,
        };
        *held ^= flips;
        match what {
            0 => self.cluster.fsync(id, 1),
            1 => self.cluster.apply(id),
            _ => self.cluster.load(id, fails),
        }
    }

    fn partition(&mut self) {
        if self.rng.chance(50) {
            return self.cluster.network.heal();
        }
        let ids = self.cluster.ids();
        let (one, other): (Vec<NodeId>, Vec<NodeId>) = ids.into_iter().partition(|_| self.rng.chance(50));
        if self.rng.chance(70) {
            return self.cluster.network.cut_between(&one, &other);
        }
        for a in one {
            for b in &other {
                self.cluster.network.cut((a, *b));
            }
        }
    }

    fn compact(&mut self) {
        let id = self.any_node();
        if self.cluster.is_up(id) {
            let applied = self.cluster.group(id).applied().0;
            let through = LogIndex(applied.saturating_sub(self.rng.below(3)));
            self.cluster.compact(id, through);
        }
    }

    /// Snapshots that were asked for are sent, or not; those on their way arrive, once, twice, late, or never.
    fn snapshots(&mut self) {
        for (from, to) in std::mem::take(&mut self.cluster.snapshots) {
            if !self.cluster.is_up(from) {
                continue;
            }
            match self.cluster.newest_snapshot(from, to) {
                Some(snapshot) if self.rng.chance(80) => self.cluster.sent_snapshots.push(snapshot),
                _ => self.cluster.step(from, Input::SnapshotDone { to, through: None }),
            }
        }
        for snapshot in std::mem::take(&mut self.cluster.sent_snapshots) {
            match self.rng.below(10) {
                0..3 => self.cluster.sent_snapshots.push(snapshot),
                3 => {
                    self.cluster.sent_snapshots.push(snapshot.clone());
                    self.cluster.receive_snapshot(snapshot);
                }
                4 => {
                    let (from, to) = (snapshot.from, snapshot.to);
                    self.cluster.step(from, Input::SnapshotDone { to, through: None });
                }
                _ => self.cluster.receive_snapshot(snapshot),
            }
        }
    }

    /// Everything works again: the cluster must get on.
    fn heal(&mut self) {
        self.cluster.network.heal();
        self.cluster.calm_beats();
        for id in std::mem::take(&mut self.lost) {
            self.cluster.crash(id, usize::MAX);
        }
        for id in self.cluster.ids() {
            if !self.cluster.is_up(id) {
                self.cluster.start(id);
            }
            let node = self.cluster.node_mut(id);
            (node.hold_fsync, node.hold_apply, node.hold_load) = (false, false, false);
            let queued = self.cluster.node(id).writes.len();
            self.cluster.fsync(id, queued);
            self.cluster.apply(id);
            while !self.cluster.node(id).loads.is_empty() {
                self.cluster.load(id, false);
            }
        }
        for _ in 0..40 {
            self.snapshots();
            let leader = self.cluster.leader();
            let is_settled = leader.is_some_and(|id| !self.cluster.group(id).membership().is_changing());
            if is_settled && self.cluster.all_equal() {
                return;
            }
            self.cluster.pass(500, true);
        }
        let cluster = &self.cluster;
        let groups: Vec<String> = cluster
            .ids()
            .into_iter()
            .map(|id| cluster.group(id).to_string())
            .collect();
        let peers = cluster.leader().map(|leader| cluster.group(leader).describe_peers());
        panic!("the healed cluster does not get on: {groups:#?} {peers:#?}");
    }

    /// Where a leader of a lower priority hands over in the midst of it, it is tried again.
    fn gets_on(&mut self, tries: u32) {
        // A transfer that is under way holds proposals until it comes to its end; a leader of a lower priority
        // than another starts one by itself.
        // On nodes that have just started nobody votes at first: such a one is tried again.
        self.cluster.pass(if self.sessions { 12_000 } else { 4_000 }, true);
        let leader = self.cluster.leader().expect("a leader");
        let proposal = self.cluster.propose(leader, &["last"]);
        let Some(Proposed::Appended { first, .. }) = self.cluster.proposed.get(&proposal).copied() else {
            panic!("the leader refuses a proposal");
        };
        self.cluster.settle();
        self.read(leader, false);
        let on_leader = ReadId(self.reads);
        let members = Vec::from_iter(self.cluster.group(leader).membership().nodes());
        let any = members[self.rng.position(members.len())];
        self.read(any, true);
        self.cluster.pass(300, true);
        if self.sessions && tries > 0 && self.cluster.leader() != Some(leader) {
            return self.gets_on(tries - 1);
        }
        assert!(self.cluster.all_equal(), "a proposal does not reach everyone");
        assert!(
            self.cluster.group(leader).commit() >= first,
            "a proposal does not commit"
        );
        for read in [on_leader, ReadId(self.reads)] {
            let read = self.cluster.reads.get(&read);
            assert!(
                matches!(read, Some(ReadOutcome::Ready { index }) if *index >= first),
                "a read is not served, or not fresh: {read:?}"
            );
        }
    }

    /// Nothing is left to be said: all members sleep, and go on sleeping.
    fn sleeps(&mut self) {
        self.cluster.pass(60_000, true);
        let leader = self.cluster.leader().expect("a leader");
        for id in self.cluster.group(leader).membership().nodes() {
            let group = self.cluster.group(id);
            let peers = self.cluster.group(leader).describe_peers();
            let sessions = self.cluster.describe_sessions();
            assert!(group.is_asleep(), "{group} does not sleep: {peers:#?} {sessions:#?}");
        }
    }

    fn run(&mut self) {
        if self.witness.is_some() && self.rng.chance(70) {
            // It needs a leader to get anywhere.
            self.cluster.step(NodeId(1), Input::Campaign);
            self.cluster.settle();
        }
        for _ in 0..=self.rng.below(160) {
            self.act();
        }
        self.heal();
        self.gets_on(5);
        if self.sessions {
            self.sleeps();
        }
    }
}

/// What became of the changes of membership that were asked for.
fn run(seed: u64, voters: u64, changes: bool) -> Vec<ChangeOutcome> {
    let all = || {
        let mut schedule = Schedule::new(seed, voters, changes);
        schedule.run();
        schedule.cluster.changes.into_values().collect()
    };
    if let Ok(outcomes) = catch_unwind(AssertUnwindSafe(all)) {
        return outcomes;
    }
    // Once more, to tell what happened before.
    let mut schedule = Schedule::new(seed, voters, changes);
    schedule.cluster.trace = Some(Vec::new());
    let outcome = catch_unwind(AssertUnwindSafe(|| schedule.run()));
    let trace = schedule.cluster.trace.take().unwrap_or_default();
    for line in &trace[trace.len().saturating_sub(TRACE_LINES)..] {
        let (Trace::Message(line) | Trace::Event(line)) = line;
        eprintln!("{line}");
    }
    resume_unwind(outcome.expect_err("the same seed fails again"));
}

fn run_all(voters: u64, count: u64, changes: bool) -> Vec<ChangeOutcome> {
    let mut outcomes = Vec::new();
    let count = std::env::var("RAFTYARD_SEEDS").map_or(count, |seeds| seeds.parse().expect("a number"));
    for seed in seeds("RAFTYARD_SEED", count) {
        let _seed = Seed {
            variable: "RAFTYARD_SEED",
            seed,
        };
        outcomes.extend(run(seed, voters, changes));
    }
    outcomes
}

#[test]
fn three_voters_stay_safe_and_get_on() {
    run_all(3, 2_000, false);
}

#[test]
fn five_voters_stay_safe_and_get_on() {
    run_all(5, 800, false);
}

#[test]
fn few_voters_stay_safe_and_get_on() {
    run_all(1, 200, false);
    run_all(2, 300, false);
    run_all(4, 300, false);
}

#[test]
fn memberships_change_and_groups_stay_safe_and_get_on() {
    let outcomes = run_all(3, 600, true);
    run_all(1, 200, true);
    run_all(2, 150, true);
    run_all(4, 150, true);
    if std::env::var_os("RAFTYARD_SEED").is_none() && std::env::var_os("RAFTYARD_SEEDS").is_none() {
        // Else the schedules would test nothing.
        let count = |is_one: fn(&ChangeOutcome) -> bool| outcomes.iter().filter(|outcome| is_one(outcome)).count();
        assert!(count(|outcome| matches!(outcome, ChangeOutcome::Done { .. })) > 200);
        assert!(count(|outcome| matches!(outcome, ChangeOutcome::SteppedDown { .. })) > 100);
        assert!(count(|outcome| matches!(outcome, ChangeOutcome::Abandoned)) > 5);
    }
}
