//! Commands about the node.

use bytes::Bytes;

use super::{Action, CommandError, Parsed, Spec, argument};
use crate::clock;
use crate::gather::Gather;
use crate::machine::parse_integer;
use crate::resp::Reply;
use crate::session::Session;

pub(super) const COMMANDS: &[Spec] = &[
    Spec::new("time", 1, &["loading", "stale", "fast"], None, &["@fast"], time),
    Spec::new("wait", 3, &["no_multi"], None, &["@slow", "@connection"], wait),
];

/// By the clock of this node: seconds and microseconds.
fn time(_: &mut Session, _: &[Bytes]) -> Parsed {
    let now = clock::since_epoch();
    let fields = [now.as_secs().to_string(), now.subsec_micros().to_string()];
    Ok(Action::Reply(Reply::Array(fields.map(Reply::text).into())))
}

/// `WAIT replicas timeout`.
fn wait(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let [replicas, timeout] = [argument(arguments, 1)?, argument(arguments, 2)?].map(|text| parse_integer(text));
    replicas.ok_or(CommandError::NotAnInteger)?;
    match timeout {
        None => Err(CommandError::other("ERR timeout is not an integer or out of range")),
        Some(..=-1) => Err(CommandError::other("ERR timeout is negative")),
        Some(_) => Ok(Action::Gather(Gather::Replicas)),
    }
}
