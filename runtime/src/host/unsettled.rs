//! Groups of which only the storage knows what is on disk: their replicas were ended, or it was asked to change what is there
//! and nobody may have waited for the answer.

use super::Node;
use super::destroy::Ended;
use crate::store::{RecoveredGroup, Refusal, StoreError};
use raftyard_groups::{GroupId, Incarnation};

impl Node {
    /// What the disk holds of a group may be another thing from now on than what was known of it: who wants to know asks
    /// ([`Node::settle`]). `incarnation`: of the replica that is there in any case.
    pub(super) fn unsettle(&self, group: GroupId, incarnation: Option<Incarnation>) {
        self.unsettled.lock().insert(group, incarnation);
        self.recovered.lock().remove(&group);
    }

    /// This is what the disk holds of a group.
    pub(super) fn found(&self, found: RecoveredGroup) {
        let group = found.record.group;
        self.recovered.lock().insert(group, Box::new(found));
        self.unsettled.lock().remove(&group);
    }

    /// The disk holds nothing of it any more.
    pub(super) fn forget_found(&self, group: GroupId) {
        self.recovered.lock().remove(&group);
        self.unsettled.lock().remove(&group);
    }

    /// Finds out what the disk holds of a group, if that is not known; whoever calls this has reserved the group. The
    /// storage answers after all that it was asked before, so nothing that was under way changes it any more. What is read
    /// while a write waits for room would be too old: then it is not known yet.
    pub(super) async fn settle(&self, group: GroupId) -> Result<Result<(), StoreError>, Ended> {
        if !self.unsettled.lock().contains_key(&group) {
            return Ok(Ok(()));
        }
        let found = self.look_up(group).await?;
        if !self.unsettled.lock().contains_key(&group) {
            // What it was asked to note it has noted, or not, and said so.
            return Ok(Ok(()));
        }
        match found {
            Ok(found) => self.found(found),
            Err(StoreError::Refused {
                reason: Refusal::UnknownGroup,
                ..
            }) => self.forget_found(group),
            Err(error) => return Ok(Err(error)),
        }
        Ok(Ok(()))
    }
}
