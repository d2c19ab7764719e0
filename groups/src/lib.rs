//! What a Raft group decides.
//!
//! This crate is the consensus core of raftyard: Raft as in the paper (Ongaro and Ousterhout, "In Search of
//! an Understandable Consensus Algorithm", extended version) and the thesis (Ongaro 2014), with pre-vote,
//! check-quorum, pipelining, ReadIndex and leases, leadership transfers and priorities, membership changes by joint
//! consensus, witnesses, compaction and snapshots. It is pure: [`Group::step`] takes an [`Input`] and says in
//! [`Effects`] what it wants sent, written, applied and read. It has no clock, no I/O, no thread and no
//! randomness of its own: its dependencies, and what of std it names, are checked (`.ci/purity`).
//!
//! What may leave before a write is durable and what only after is in the types: a [`Prompt`] is sent at
//! once, a [`Promise`] travels inside the [`Persist`] it speaks of and comes out of it only by
//! [`Persist::into_durable`].
//!
//! Entry bodies live here only while they are needed: until they are durable, applied and sent, or, where they
//! exceed what [`Tuning`] allows for, until they are durable. Terms of all indexes are answered from memory, from
//! one record per leadership. What has to be sent or applied later is asked for ([`Load`]).
//!
//! Which nodes live is known per pair of nodes, not per group ([`Liveness`]); a group is handed what is known
//! ([`Sessions`]) with every step. Where there are sessions, a leader reads from its own state without asking anybody,
//! and a group in which everything is said sleeps. Without sessions leaders send heartbeats of their own, and reads
//! take a round (ReadIndex).
//!
//! Left out, because others do it: batching over groups, timers, the wire and the disk.

mod candidate;
mod change;
mod config;
mod display;
mod effects;
mod entry;
mod fingerprint;
mod follower;
mod group;
mod handover;
mod ids;
mod input;
#[cfg(debug_assertions)]
mod invariants;
mod leader;
mod lease;
mod liveness;
mod log;
mod membership;
mod membership_change;
mod membership_target;
mod memberships;
mod message;
mod node_map;
mod node_set;
mod patience;
mod peers;
mod progress;
mod promise;
pub mod quorum;
mod reads;
mod replication;
mod resign;
mod rng;
mod sleep;
mod snapshot;
mod status;
mod transfer;

pub use candidate::Outlook;
pub use config::{Recovered, ReplicaConfig, Tuning};
pub use effects::{
    Durable, Effects, Load, LoadPurpose, LogBase, Persist, PersistSeq, Proposed, ReadOutcome, TransferOutcome,
    TransferRefusal,
};
pub use entry::{Entry, HardState, Payload};
pub use group::{Group, RoleKind};
pub use ids::{GroupId, Incarnation, LogId, LogIndex, NodeId, Term};
pub use input::{Input, Moment, ProposalId, ReadId, TransferId};
pub use liveness::{
    Belief, Grant, Liveness, LivenessConfig, LivenessEffects, NodeIncarnation, NodeMessage, PairEvent, Probation,
    ReplyId, SessionId, Sessions, start_wait_ms,
};
pub use membership::{Membership, MembershipError};
pub use membership_change::{ChangeId, ChangeOutcome, ChangeRefusal, ChangeRequest, MemberRole, MembershipChange};
pub use membership_target::MembershipTarget;
pub use message::{Body, Message, Promise, Prompt, ReadRequest, ReadRound};
pub use node_set::NodeSet;
pub use peers::{PeerMode, PeerProgress};
pub use promise::PromiseRecord;
