//! An actor-based multi-group Raft runtime.
//!
//! One process, a [`RaftHost`], hosts replicas of many Raft groups. Each replica is an actor; all of a node
//! share one transport and one storage, so that messages, heartbeats and fsyncs are paid per node and not
//! per group. A [`Group`] is what users hold: they [`propose`](Group::propose) commands to a
//! [`StateMachine`] of their own and [`read`](Group::read) from it.
//!
//! What a group decides is in `raftyard-groups`, which is pure. This crate is where groups live: it has the
//! clock, the threads, the disk and the network, and each of them can be replaced
//! ([`HostBuilder::clock`], [`HostBuilder::placement`], [`HostBuilder::log_store`], [`HostBuilder::network`]).
//!
//! A [`DiskStateMachine`] keeps its state in a store of its own. A [`Client`] asks whichever node leads, and each of its
//! commands is applied once; what makes that so is a [`Session`], which others can have too.
//!
//! With the feature `tls` there is `TlsNetwork`, on which nodes prove to each other who they are; with `sim` the module `sim`,
//! whole clusters on one thread, with simulated time, network and disks.

// For what unit tests share with the tests in `tests/`.
#[cfg(test)]
extern crate self as raftyard;

mod budget;
mod client;
mod clock;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod group;
mod host;
mod inbox;
mod life;
mod limits;
mod liveness;
mod machine;
mod members;
mod membership;
mod memberships;
mod metrics;
mod quarantine;
mod random;
mod registry;
mod router;
mod session;
#[cfg(feature = "sim")]
pub mod sim;
mod snapshot;
mod storage;
pub mod store;
mod tenancy;
mod time;
mod transport;
mod turns;
mod witness;
mod worker;

pub use client::Client;
pub use clock::{Clock, MonotonicClock, RuntimeClock};
pub use error::{
    ChangeError, CreateGroupError, DestroyGroupError, DiskStateError, ExportError, LeaderError, OpenError, PeerError,
    ProgressError, ProposeError, ReadError, RebuildGroupError, TransferError,
};
pub use group::{Consistency, Group};
pub use host::{BoundHost, GroupOptions, HostBuilder, Placement, RaftHost, RebuildReport};
pub use limits::Limits;
pub use liveness::LivenessTuning;
pub use machine::{DiskStateMachine, OnDisk, Record, Replicated, StateMachine};
pub use members::MemberProgress;
pub use metrics::HostMetrics;
pub use quarantine::QuarantineReason;
pub use raftyard_groups::{
    GroupId, Incarnation, LogId, MemberRole, Membership, MembershipChange, MembershipError, MembershipTarget, NodeId,
    PeerMode, RoleKind, Tuning,
};
pub use registry::{GroupStatus, ReplicaState};
pub use session::{RequestId, Resolution, Session, SessionId, SessionLimits};
pub use snapshot::{Compaction, SnapshotError};
pub use tenancy::{GroupLimits, GroupUsage, OverloadReason};
pub use time::Timestamp;
pub use transport::{
    ByteStream, Connection, HandshakeCounts, HandshakeError, HandshakeRefusal, Listener, MemoryNetwork, Network,
    NetworkFuture, SnapshotTransfer, TcpNetwork, TransportError,
};
#[cfg(feature = "tls")]
pub use transport::{TlsError, TlsFiles, TlsNetwork};
pub use witness::Witness;

/// Runs the README's example as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
