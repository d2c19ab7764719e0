//! `RAFTYARD …`: what nodes say to each other where they speak to each other as clients, and what operators
//! say to them.

use bytes::Bytes;

use super::admin::admin;
use super::transaction::forwarded;
use super::{Action, CommandError, Parsed, Spec, argument, arguments_from, subcommand};
use crate::machine::{Command, parse_integer};
use crate::resp::Reply;
use crate::session::Session;
use crate::slots::SLOT_COUNT;

pub(super) const COMMANDS: &[Spec] = &[Spec::new(
    "raftyard",
    -2,
    &["noscript", "loading", "stale", "fast", "no_multi"],
    None,
    &["@fast", "@connection"],
    raftyard,
)];

const SUBCOMMANDS: &[(&str, i64)] = &[("ADMIN", -3), ("DIRECT", -2), ("EXEC", -3), ("FLUSH", 3)];

fn raftyard(session: &mut Session, arguments: &[Bytes]) -> Parsed {
    match subcommand("raftyard", SUBCOMMANDS, arguments)? {
        "ADMIN" => admin(arguments_from(arguments, 1)),
        "EXEC" => forwarded(session, arguments_from(arguments, 2)),
        // The group of a slot.
        "FLUSH" => {
            let slot = parse_integer(argument(arguments, 2)?).and_then(|slot| u16::try_from(slot).ok());
            let slot = slot.filter(|slot| *slot < SLOT_COUNT).ok_or(CommandError::Syntax)?;
            let command = Command::Flush;
            Ok(Action::Write { slot, command })
        }
        // A command that was forwarded once is not forwarded again, so that none can go round in circles. A node says
        // how many groups it has: with another number it looks for keys elsewhere.
        _ => {
            session.direct = true;
            let Some(groups) = arguments.get(2) else {
                return Ok(Action::Reply(Reply::OK));
            };
            let groups = parse_integer(groups).ok_or(CommandError::NotAnInteger)?;
            Ok(Action::Describe(Box::new(move |status| {
                match other_groups(groups, status.leaders.len()) {
                    None => Reply::OK,
                    Some(refusal) => Reply::Error(refusal),
                }
            })))
        }
    }
}

/// What to say to who means a cluster with so many groups, if this node is of one with another number.
pub(crate) fn other_groups(meant: i64, own: usize) -> Option<String> {
    let is_same = usize::try_from(meant) == Ok(own);
    (!is_same).then(|| format!("ERR this node has groups = {own}, the cluster has {meant}"))
}
