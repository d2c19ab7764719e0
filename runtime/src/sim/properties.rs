//! What must always hold: one file each.

mod durability;
mod election_safety;
mod exactly_once;
mod leader_completeness;
mod lease_safety;
mod linearizability;
mod log_matching;
mod resurrection;
mod state_machine_safety;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;

pub(super) use exactly_once::Once;
pub(super) use lease_safety::Freshness;
pub use linearizability::Kind;
pub(super) use linearizability::{Call, Outcome, Verdict, check as check_history};

use super::shadow::Shadow;
use super::watch::Event;
use raftyard_groups::{NodeId, Payload};

/// Something that must hold whatever happens.
pub(super) trait Property: Send {
    /// What it is called in the literature.
    fn name(&self) -> &'static str;

    /// Sees what happened on a node; an error says in what it does not hold.
    fn check(&mut self, node: NodeId, event: &Event<'_>, disks: &Shadow) -> Result<(), String>;
}

/// Those that are checked as things happen.
pub(super) fn all() -> Vec<Box<dyn Property>> {
    vec![
        Box::new(election_safety::ElectionSafety::default()),
        Box::new(log_matching::LogMatching::default()),
        Box::new(leader_completeness::LeaderCompleteness::default()),
        Box::new(state_machine_safety::StateMachineSafety::default()),
        Box::new(durability::Durability::default()),
        Box::new(resurrection::NoResurrection::default()),
    ]
}

/// A number that tells payloads apart.
fn fingerprint(payload: &Payload) -> u64 {
    let hash = |bytes: &[u8]| u64::from(crc32fast::hash(bytes)) | (bytes.len() as u64) << 32;
    match payload {
        Payload::Noop => 1,
        Payload::Command(command) => hash(command),
        Payload::Membership(membership) => hash(membership.to_string().as_bytes()) | 1 << 63,
    }
}
