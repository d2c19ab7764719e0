//! A client that asks whenever it matters most: leaders as soon as they lead, and as long as two say that they do. For
//! what must not be answered then is noticed only then.

use super::{Replica, World, within};
use crate::group::Consistency;
use crate::machine::StateMachine;
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
/// How long a read takes that a lease vouches for, at most: any other is not waited for.
const ATTEMPT: Duration = Duration::from_millis(50);
/// For how long who leads is new.
const NEW: Duration = Duration::from_millis(150);
/// The number of a client that is no other.
const NUMBER: u64 = 254;

type Query<W> = <<W as Workload>::Machine as StateMachine>::Query;

impl<W: Workload> World<W> {
    /// Reads at who began to lead a group just now; and as long as another one says so in a later term, at the older one, once
    /// it wrote at the newer.
    pub(super) async fn ask_who_leads(self: Rc<Self>, group: GroupId) {
        let mut random = Random::new(self.scenario.seed, Purpose::Operator, group.0 << 8);
        let Some(query) = self.query(group, &mut random) else {
            return;
        };
        let mut newest = (0, NodeId(0), Instant::now());
        while !self.is_over() {
            sleep(PAUSE).await;
            if self.rests(group) {
                continue;
            }
            let leading = self.leading(group);
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
            if leading.len() > 1 || newest.2.elapsed() < NEW {
                self.read_at(older, query.clone()).await;
            }
        }
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

    async fn read_at(&self, replica: &Replica<W>, query: Query<W>) {
        let group = replica.id();
        let wanted = self.freshness.borrow().wanted(group, replica.incarnation().0);
        let answer = within(ATTEMPT, replica.read(query, Consistency::Linearizable)).await;
        if let Some(Ok((applied, _))) = answer
            && let Err(what) = Freshness::check(group, wanted, applied)
        {
            self.watchman.violated("lease safety", what);
        }
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
        leading.retain(|replica| replica.incarnation().0 == incarnation && replica.status().role == RoleKind::Leader);
        leading.sort_by_key(|replica| replica.status().term);
        leading
    }
}
