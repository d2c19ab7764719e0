//! stub
mod config;
mod effects;
mod entry;
mod ids;
mod input;
mod membership;
mod message;
pub mod quorum;
pub use config::{Recovered, ReplicaConfig, Tuning};
pub use effects::{
    Durable, Effects, Load, LoadPurpose, Persist, PersistSeq, Proposed, ReadOutcome,
};
pub use entry::{Entry, HardState, Payload};
pub use ids::{GroupId, Incarnation, LogId, LogIndex, NodeId, Term};
pub use input::{Input, Moment, ProposalId, ReadId};
pub use membership::{Membership, MembershipError};
pub use message::{Body, Message, Promise, Prompt, ReadRound};
