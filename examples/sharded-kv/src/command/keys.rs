//! `DEL`, `EXISTS`, `DBSIZE`: commands on keys whatever their values.

use bytes::Bytes;

use super::{Action, Parsed, Spec, arguments_from, common_slot};
use crate::machine::{Command, Query};
use crate::resp::Reply;
use crate::session::Session;

pub(super) const COMMANDS: &[Spec] = &[
    Spec {
        name: "del",
        arity: -2,
        flags: &["write"],
        keys: Some((1, -1, 1)),
        categories: &["@keyspace", "@write", "@slow"],
        run: del,
    },
    Spec {
        name: "exists",
        arity: -2,
        flags: &["readonly", "fast"],
        keys: Some((1, -1, 1)),
        categories: &["@keyspace", "@read", "@fast"],
        run: exists,
    },
    Spec {
        name: "dbsize",
        arity: 1,
        flags: &["readonly", "fast"],
        keys: None,
        categories: &["@keyspace", "@read", "@fast"],
        run: |_, _| {
            Ok(Action::Count(Box::new(|_, count| match count {
                Some(count) => Reply::Integer(count),
                None => Reply::error("TRYAGAIN a group did not tell its number of keys"),
            })))
        },
    },
];

fn del(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let keys = arguments_from(arguments, 1);
    Ok(Action::Write {
        slot: common_slot(keys)?,
        command: Command::Delete { keys: keys.to_vec() },
    })
}

fn exists(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let keys = arguments_from(arguments, 1);
    Ok(Action::Read {
        slot: common_slot(keys)?,
        query: Query::Exists(keys.to_vec()),
    })
}
