//! `DEL`, `EXISTS`, `RENAME` and the other commands on keys whatever their values.

use bytes::Bytes;

use super::{Action, CommandError, ONE_KEY, Parsed, Spec, argument, arguments_from, common_slot};
use crate::machine::{Command, Query, parse_integer};
use crate::session::Session;
use crate::slots::slot_of;

const READ: &[&str] = &["@keyspace", "@read", "@fast"];
const READS: &[&str] = &["readonly", "fast"];
const ALL: Option<(i64, i64, i64)> = Some((1, -1, 1));
const TWO: Option<(i64, i64, i64)> = Some((1, 2, 1));

pub(super) const COMMANDS: &[Spec] = &[
    Spec::new("del", -2, &["write"], ALL, &["@keyspace", "@write", "@slow"], del),
    Spec::new("exists", -2, READS, ALL, READ, exists),
    Spec::new(
        "unlink",
        -2,
        &["write", "fast"],
        ALL,
        &["@keyspace", "@write", "@fast"],
        del,
    ),
    Spec::new("touch", -2, READS, ALL, READ, exists),
    Spec::new("type", 2, READS, ONE_KEY, READ, kind),
    Spec::new(
        "rename",
        3,
        &["write"],
        TWO,
        &["@keyspace", "@write", "@slow"],
        |_, a| rename(a, false),
    ),
    Spec::new(
        "renamenx",
        3,
        &["write", "fast"],
        TWO,
        &["@keyspace", "@write", "@fast"],
        |_, a| rename(a, true),
    ),
    Spec::new(
        "copy",
        -3,
        &["write", "denyoom"],
        TWO,
        &["@keyspace", "@write", "@slow"],
        copy,
    ),
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

fn kind(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let key = argument(arguments, 1)?;
    Ok(Action::Read {
        slot: slot_of(key),
        query: Query::Kind(key.clone()),
    })
}

fn rename(arguments: &[Bytes], if_absent: bool) -> Parsed {
    let (from, to) = (argument(arguments, 1)?, argument(arguments, 2)?);
    Ok(Action::Write {
        slot: common_slot([from, to])?,
        command: Command::Rename {
            from: from.clone(),
            to: to.clone(),
            if_absent,
        },
    })
}

/// `COPY from to [DB 0] [REPLACE]`.
fn copy(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let (from, to) = (argument(arguments, 1)?, argument(arguments, 2)?);
    let mut replace = false;
    let mut options = arguments_from(arguments, 3).iter();
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"REPLACE") {
            replace = true;
        } else if option.eq_ignore_ascii_case(b"DB")
            && let Some(database) = options.next()
        {
            match parse_integer(database) {
                Some(0) => {}
                Some(_) => {
                    let text = "ERR Copying to another database is not allowed in cluster mode";
                    return Err(CommandError::other(text));
                }
                None => return Err(CommandError::NotAnInteger),
            }
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let slot = common_slot([from, to])?;
    if from == to {
        let text = "ERR source and destination objects are the same";
        return Err(CommandError::other(text));
    }
    Ok(Action::Write {
        slot,
        command: Command::Copy {
            from: from.clone(),
            to: to.clone(),
            replace,
        },
    })
}
