//! Leaders that others may have deposed: asked at once, for a lease that is not over is noticed only then.

use super::{Replica, World, within};
use crate::group::Consistency;
use crate::sim::properties::{Freshness, Kind};
use crate::sim::random::{Purpose, Random};
use crate::sim::workload::Workload;
use raftyard_groups::{GroupId, RoleKind};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::sleep;

/// How often it is looked at who leads.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a read takes that a lease vouches for, at most: any other is not waited for.
const ATTEMPT: Duration = Duration::from_millis(50);

impl<W: Workload> World<W> {
    /// Reads at whoever says that it leads a group, as long as another one says so in a later term.
    pub(super) async fn ask_who_is_deposed(self: Rc<Self>, group: GroupId) {
        let mut random = Random::new(self.scenario.seed, Purpose::Operator, group.0 << 8);
        while !self.is_over() {
            sleep(PAUSE).await;
            let Some(deposed) = self.deposed(group) else {
                continue;
            };
            let kind = match self.groups.borrow_mut().get_mut(&group) {
                Some(group) => group.workload.next(&mut random),
                None => return,
            };
            let Kind::Read(query) = kind else {
                continue;
            };
            let wanted = self.freshness.borrow().wanted(group, deposed.incarnation().0);
            let answer = within(ATTEMPT, deposed.read(query, Consistency::Linearizable)).await;
            if let Some(Ok((applied, _))) = answer
                && let Err(what) = Freshness::check(group, wanted, applied)
            {
                self.watchman.violated("lease safety", what);
            }
        }
    }

    /// Who says that it leads, in the oldest term of several that do.
    fn deposed(&self, group: GroupId) -> Option<Replica<W>> {
        let incarnation = self.incarnation(group);
        let mut leading = self.replicas(group);
        leading.retain(|replica| replica.incarnation().0 == incarnation && replica.status().role == RoleKind::Leader);
        let oldest = leading.iter().min_by_key(|replica| replica.status().term)?;
        (leading.len() > 1).then(|| oldest.clone())
    }
}
