//! `RAFTYARD …`: what nodes say to each other where they speak to each other as clients.

use super::{Action, Parsed, Spec, subcommand};
use crate::resp::Reply;

pub(super) const COMMANDS: &[Spec] = &[Spec {
    name: "raftyard",
    arity: -2,
    flags: &["noscript", "loading", "stale", "fast"],
    keys: None,
    categories: &["@fast", "@connection"],
    run: |session, arguments| -> Parsed {
        subcommand("raftyard", &[("DIRECT", 2)], arguments)?;
        // A command that was forwarded once is not forwarded again, so that none can go round in circles.
        session.direct = true;
        Ok(Action::Reply(Reply::OK))
    },
}];
