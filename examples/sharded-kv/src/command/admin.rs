//! `RAFTYARD ADMIN …`: what operators ask of a node, through `raftyard-kv ctl`.

use bytes::Bytes;
use raftyard::{GroupId, Incarnation, MembershipChange, NodeId};

use super::{Action, CommandError, Parsed, argument, subcommand};
use crate::address::HostPort;
use crate::config::PeerConfig;
use crate::machine::parse_integer;

/// What an operator asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admin {
    /// A line per group that this node hosts.
    Status,
    /// A line per node that this one knows.
    Nodes,
    /// Where a node of a cluster with so many groups is found.
    SetNode(PeerConfig, i64),
    /// Host a replica that waits to be added, of a cluster with so many groups.
    Join(GroupId, Incarnation, i64),
    /// End a replica that was removed; or, if the group goes on in this incarnation, one of an earlier.
    Leave(GroupId, Option<Incarnation>),
    /// Change who belongs to a group that this node leads.
    Change(GroupId, MembershipChange),
    /// Give up the change under way, while its nodes catch up.
    Abandon(GroupId),
    /// Make a group of its own of this replica, after a quorum was lost for good.
    Rebuild(GroupId),
    /// Let another node lead.
    Transfer(GroupId, NodeId),
}

const SUBCOMMANDS: &[(&str, i64)] = &[
    ("STATUS", 2),
    ("NODES", 2),
    ("SETNODE", 6),
    ("JOIN", 5),
    ("LEAVE", -3),
    ("ADDLEARNER", 4),
    ("ADDVOTER", 4),
    ("REMOVE", 4),
    ("REPLACE", 5),
    ("ABANDON", 3),
    ("REBUILD", 3),
    ("TRANSFER", 4),
];

/// `arguments` begin with `ADMIN`.
pub(super) fn admin(arguments: &[Bytes]) -> Parsed {
    let number = |place| positive(argument(arguments, place)?);
    let node = |place| number(place).map(NodeId);
    let group = || number(2).map(GroupId);
    let groups = |place| parse_integer(argument(arguments, place)?).ok_or(CommandError::NotAnInteger);
    let admin = match subcommand("admin", SUBCOMMANDS, arguments)? {
        "STATUS" => Admin::Status,
        "NODES" => Admin::Nodes,
        "SETNODE" => {
            let peer = PeerConfig {
                node: node(2)?,
                peer: address(argument(arguments, 3)?)?,
                resp: address(argument(arguments, 4)?)?,
            };
            Admin::SetNode(peer, groups(5)?)
        }
        "JOIN" => Admin::Join(group()?, Incarnation(number(3)?), groups(4)?),
        "LEAVE" => {
            let later = arguments.get(3).map(positive).transpose()?.map(Incarnation);
            Admin::Leave(group()?, later)
        }
        "ADDLEARNER" => Admin::Change(group()?, MembershipChange::add_learner(node(3)?)),
        "ADDVOTER" => Admin::Change(group()?, MembershipChange::add_voter(node(3)?)),
        "REMOVE" => Admin::Change(group()?, MembershipChange::remove(node(3)?)),
        "REPLACE" if node(3)? == node(4)? => {
            return Err(CommandError::other("ERR a node can't take its own place"));
        }
        "REPLACE" => Admin::Change(group()?, MembershipChange::replace(node(3)?, node(4)?)),
        "ABANDON" => Admin::Abandon(group()?),
        "REBUILD" => Admin::Rebuild(group()?),
        _ => Admin::Transfer(group()?, node(3)?),
    };
    Ok(Action::Admin(admin))
}

fn positive(word: &Bytes) -> Result<u64, CommandError> {
    parse_integer(word)
        .and_then(|number| u64::try_from(number).ok())
        .ok_or(CommandError::NotAnInteger)
}

fn address(word: &Bytes) -> Result<HostPort, CommandError> {
    let text = std::str::from_utf8(word).map_err(|_| CommandError::Syntax)?;
    let address: HostPort = text
        .parse()
        .map_err(|error| CommandError::Other(format!("ERR {error}")))?;
    if address.is_unspecified() {
        return Err(CommandError::Other(format!("ERR nobody can connect to {address}")));
    }
    Ok(address)
}
