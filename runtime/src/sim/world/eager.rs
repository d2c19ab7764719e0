//! A client that asks whenever it matters most: leaders as soon as they lead, and as long as two say that they do. For
//! what must not be answered then is noticed only then.

use super::{Replica, World, within};
use crate::group::Consistency;
use crate::machine::StateMachine;
use crate::registry::ReplicaState;
use crate::sim::properties::{Freshness, Kind};
use crate::sim::random::{Purpose, Random};
use crate::sim::workload::Workload;
use raftyard_groups::{GroupId, NodeId, RoleKind};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

/// How often it is looked at who leads.
const PAUSE: Duration = Duration::from_millis(10);
/// How long it waits for an answer. It asks on meanwhile.
const ATTEMPT: Duration = Duration::from_millis(1_000);
/// For how long who leads is new.
const NEW: Duration = Duration::from_millis(150);
/// The number of a client that is no other.
const NUMBER: u64 = 254;

/// What a leader that is deposed may take longer than its own clock says.
const SLACK: Duration = Duration::from_secs(1);

/// Since when another replica leads in a later term than this one.
#[derive(Clone, Copy)]
struct Since {
    node: NodeId,
    term: u64,
    began: Instant,
}

type Query<W> = <<W as Workload>::Machine as StateMachine>::Query;

impl<W: Workload> World<W> {
    /// Reads at who began to lead a group just now, and at its followers; and as long as another one says so in a later term, at
    /// the older one, once it wrote at the newer.
    pub(super) async fn ask_who_leads(self: Rc<Self>, group: GroupId) {
        let mut random = Random::new(self.scenario.seed, Purpose::Operator, group.0 << 8);
        let Some(query) = self.query(group, &mut random) else {
            return;
        };
        let mut newest = (0, NodeId(0), Instant::now());
        let mut older_since = None;
        let (mut changes, mut look_until) = (0, Instant::now());
        while !self.is_over() {
            sleep(PAUSE).await;
            let now = Instant::now();
            let changed = self.watchman.changes_of_leader(group);
            if changed != changes || self.rests(group) {
                (changes, look_until) = (changed, now + NEW);
            }
            // To ask everybody each time would be a tenth of all the work of a world.
            if now >= look_until.max(newest.2 + NEW) && older_since.is_none() {
                continue;
            }
            let leading = self.leading(group);
            older_since = self.steps_down(leading.first().filter(|_| leading.len() > 1), older_since);
            if self.rests(group) {
                continue;
            }
            let (Some(older), Some(newer)) = (leading.first(), leading.last()) else {
                continue;
            };
            let (term, node) = (newer.status().term, newer.node());
            if (term, node) != (newest.0, newest.1) {
                newest = (term, node, Instant::now());
                if leading.len() > 1 {
                    spawn_local(self.clone().write_once(newer.clone(), random.number()));
                }
            }
            let is_new = newest.2.elapsed() < NEW;
            if leading.len() > 1 || is_new {
                self.ask(older, &query, Consistency::Linearizable);
            }
            if is_new && let Some(any) = random.pick(&self.replicas(group)) {
                self.ask(any, &query, Consistency::Follower);
            }
        }
    }

    /// Sees to it that a leader steps down once another leads, who can hear no quorum: that may take as long as it may be without
    /// hearing one. Returns which it is, and since when.
    fn steps_down(&self, older: Option<&Replica<W>>, since: Option<Since>) -> Option<Since> {
        let replica = older?;
        let (node, term, now) = (replica.node(), replica.status().term, Instant::now());
        let since = since.filter(|since| (since.node, since.term) == (node, term) && !self.threads.is_held(node));
        let began = since.map_or(now, |since| since.began);
        let bound = Duration::from_millis(self.settings.tuning.election_timeout_ms * 3) + SLACK;
        if now - began > bound {
            let (group, bound) = (replica.id(), bound.as_millis());
            let what =
                format!("{node} says that it leads {group} in {term}, {bound} ms after another did in a later term");
            self.watchman.violated("liveness", what);
        }
        Some(Since { node, term, began })
    }

    async fn write_once(self: Rc<Self>, leader: Replica<W>, draw: u64) {
        let mut random = Random::new(draw, Purpose::Client, 0);
        // What is drawn may be a read.
        for _ in 0..4 {
            if self.is_over() || self.write(&leader, &mut random, NUMBER).await {
                return;
            }
        }
    }

    /// Reads, and looks at the answer when it comes.
    fn ask(self: &Rc<Self>, replica: &Replica<W>, query: &Query<W>, consistency: Consistency) {
        let (world, replica, query) = (self.clone(), replica.clone(), query.clone());
        let group = replica.id();
        let wanted = self.freshness.borrow().wanted(group, replica.incarnation().0);
        spawn_local(async move {
            let answer = within(ATTEMPT, replica.read(query, consistency)).await;
            if let Some(Ok((applied, _))) = answer
                && let Err(what) = Freshness::check(group, wanted, applied)
            {
                world.watchman.violated("lease safety", what);
            }
        });
    }

    /// Something to read. What is answered does not matter, but how old it is.
    fn query(&self, group: GroupId, random: &mut Random) -> Option<Query<W>> {
        let mut groups = self.groups.borrow_mut();
        let workload = &mut groups.get_mut(&group)?.workload;
        (0..100).find_map(|_| match workload.next(random) {
            Kind::Read(query) => Some(query),
            Kind::Propose(_) => None,
        })
    }

    /// Who says that it leads, from the oldest term to the newest.
    fn leading(&self, group: GroupId) -> Vec<Replica<W>> {
        let incarnation = self.incarnation(group);
        let mut leading = self.replicas(group);
        leading.retain(|replica| {
            let status = replica.status();
            let leads = status.role == RoleKind::Leader && status.state == ReplicaState::Running;
            leads && replica.incarnation().0 == incarnation
        });
        leading.sort_by_key(|replica| replica.status().term);
        leading
    }
}
