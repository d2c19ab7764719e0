//! Replicas that wait to be added to a group, and witnesses.

use super::create::{Reservation, Wanted};
use super::{GroupOptions, RaftHost};
use crate::error::CreateGroupError;
use crate::group::Group;
use crate::machine::{DiskStateMachine, OnDisk, StateMachine, Typed};
use crate::witness::{Witness, WitnessMachine};
use raftyard_groups::{GroupId, NodeId};
use std::io;

impl RaftHost {
    /// Starts a replica of a group that goes on elsewhere: it knows nothing, waits to be added by a
    /// [`change_membership`](Group::change_membership) at the leader, and learns who the others are from the log, or
    /// from a snapshot. If there is a replica on disk already, whether it joined or was there from the beginning,
    /// that one is started, whoever belongs to the group by now.
    ///
    /// It has to be of the incarnation that the group has. By default that is the one that was destroyed here last,
    /// whose replica comes back, or the first; [`GroupOptions::incarnation`] says it where groups were destroyed,
    /// imported or rebuilt.
    ///
    /// # Errors
    ///
    /// [`CreateGroupError`], as [`RaftHost::create_group`].
    pub async fn join_group<S: StateMachine>(
        &self,
        group: GroupId,
        options: GroupOptions,
        machine: impl FnOnce() -> S,
    ) -> Result<Group<S>, CreateGroupError> {
        let reserved = Reservation::of_new(&self.0, group)?;
        let machine = Box::new(Typed::new(machine()));
        let wanted = Wanted::joining(group, &options, false);
        let found = reserved.node.recover_or_note(wanted).await?;
        self.start(found, machine, options.run).await
    }

    /// As [`RaftHost::join_group`], with a state machine that keeps its state on disk, as
    /// [`RaftHost::create_disk_group`].
    ///
    /// # Errors
    ///
    /// [`CreateGroupError`], as [`RaftHost::create_disk_group`].
    pub async fn join_disk_group<S: DiskStateMachine>(
        &self,
        group: GroupId,
        options: GroupOptions,
        open: impl FnOnce() -> io::Result<S>,
    ) -> Result<Group<OnDisk<S>>, CreateGroupError> {
        let wanted = Wanted::joining(group, &options, false);
        self.start_on_disk(wanted, options.run, open).await
    }

    /// As [`RaftHost::join_group`], as a witness: it waits to be added with
    /// [`MembershipChange::add_witness`](crate::MembershipChange::add_witness), votes and acknowledges then, and
    /// holds no state.
    ///
    /// # Errors
    ///
    /// [`CreateGroupError`], as [`RaftHost::create_group`].
    pub async fn join_witness(
        &self,
        group: GroupId,
        options: GroupOptions,
    ) -> Result<Group<Witness>, CreateGroupError> {
        let reserved = Reservation::of_new(&self.0, group)?;
        let wanted = Wanted::joining(group, &options, true);
        let found = reserved.node.recover_or_note(wanted).await?;
        let machine = Box::new(WitnessMachine(Witness));
        self.start(found, machine, options.run).await
    }

    /// As [`RaftHost::create_group_with`], on a member that is one of the group's [`GroupOptions::witnesses`].
    ///
    /// # Errors
    ///
    /// [`CreateGroupError`], as [`RaftHost::create_group`].
    pub async fn create_witness(
        &self,
        group: GroupId,
        members: impl IntoIterator<Item = NodeId>,
        options: GroupOptions,
    ) -> Result<Group<Witness>, CreateGroupError> {
        let wanted = Wanted::creating(&self.0, group, members, &options, true)?;
        let reserved = Reservation::of_new(&self.0, group)?;
        let found = reserved.node.recover_or_note(wanted).await?;
        let machine = Box::new(WitnessMachine(Witness));
        self.start(found, machine, options.run).await
    }

    /// The groups that this node's disk holds a replica of, running or not, sorted.
    #[must_use]
    pub fn stored_groups(&self) -> Vec<GroupId> {
        let running = self.0.registry.iter().map(|slot| *slot.key());
        let mut groups: Vec<GroupId> = running.collect();
        groups.extend(self.0.recovered.lock().keys());
        let unsettled = self.0.unsettled.lock();
        let there = unsettled.iter().filter(|(_, incarnation)| incarnation.is_some());
        groups.extend(there.map(|(group, _)| group));
        drop(unsettled);
        groups.sort_unstable();
        groups.dedup();
        groups
    }
}
