//! Commands on parts of values, and on values that are numbers with a point.

use bytes::Bytes;

use super::{Action, CommandError, ONE_KEY, Parsed, Spec, argument};
use crate::machine::{Command, Query, parse_decimal, parse_integer};
use crate::session::Session;
use crate::slots::slot_of;

const READ: &[&str] = &["@read", "@string", "@slow"];
const WRITE: &[&str] = &["@write", "@string", "@slow"];
const READS: &[&str] = &["readonly"];
const WRITES: &[&str] = &["write", "denyoom"];

pub(super) const COMMANDS: &[Spec] = &[
    Spec::new("getrange", 4, READS, ONE_KEY, READ, getrange),
    Spec::new("substr", 4, READS, ONE_KEY, READ, getrange),
    Spec::new("setrange", 4, WRITES, ONE_KEY, WRITE, setrange),
    Spec::new(
        "incrbyfloat",
        3,
        &["write", "denyoom", "fast"],
        ONE_KEY,
        &["@write", "@string", "@fast"],
        incrbyfloat,
    ),
];

fn integer(arguments: &[Bytes], place: usize) -> Result<i64, CommandError> {
    parse_integer(argument(arguments, place)?).ok_or(CommandError::NotAnInteger)
}

fn getrange(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let key = argument(arguments, 1)?;
    Ok(Action::Read {
        slot: slot_of(key),
        query: Query::Range {
            key: key.clone(),
            start: integer(arguments, 2)?,
            end: integer(arguments, 3)?,
        },
    })
}

fn setrange(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let key = argument(arguments, 1)?;
    let offset = u64::try_from(integer(arguments, 2)?);
    Ok(Action::Write {
        slot: slot_of(key),
        command: Command::SetRange {
            key: key.clone(),
            offset: offset.map_err(|_| CommandError::other("ERR offset is out of range"))?,
            part: argument(arguments, 3)?.clone(),
        },
    })
}

fn incrbyfloat(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let (key, delta) = (argument(arguments, 1)?, argument(arguments, 2)?);
    if parse_decimal(delta).is_none() {
        return Err(CommandError::other("ERR value is not a valid float"));
    }
    Ok(Action::Write {
        slot: slot_of(key),
        command: Command::AddDecimal {
            key: key.clone(),
            delta: delta.clone(),
        },
    })
}
