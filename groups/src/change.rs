//! What a leader does to get from one configuration to the next.

use crate::effects::Effects;
use crate::group::Group;
use crate::membership_change::{ChangeId, ChangeOutcome, ChangeRefusal, ChangeRequest};

impl Group {
    /// Somebody here wants the membership changed.
    pub(crate) fn on_change(&mut self, id: ChangeId, _change: ChangeRequest, effects: &mut Effects) {
        let leader = self.leader();
        let outcome = ChangeOutcome::Refused(ChangeRefusal::NotLeader { leader });
        effects.memberships.push((id, outcome));
    }
}
