//! `GET`, `SET` and the other commands on the value of a key.

use bytes::Bytes;

use super::error::quote;
use super::{Action, CommandError, Parsed, Spec, argument, arguments_from, common_slot};
use crate::machine::{Command, Condition, Query, parse_integer};
use crate::session::Session;
use crate::slots::slot_of;

const READ: &[&str] = &["@read", "@string", "@fast"];
const WRITE: &[&str] = &["@write", "@string", "@fast"];
const WRITE_FLAGS: &[&str] = &["write", "denyoom", "fast"];
const READ_FLAGS: &[&str] = &["readonly", "fast"];
const ONE_KEY: Option<(i64, i64, i64)> = Some((1, 1, 1));

pub(super) const COMMANDS: &[Spec] = &[
    Spec {
        name: "get",
        arity: 2,
        flags: READ_FLAGS,
        keys: ONE_KEY,
        categories: READ,
        run: get,
    },
    Spec {
        name: "set",
        arity: -3,
        flags: &["write", "denyoom"],
        keys: ONE_KEY,
        categories: &["@write", "@string", "@slow"],
        run: set,
    },
    Spec {
        name: "incr",
        arity: 2,
        flags: WRITE_FLAGS,
        keys: ONE_KEY,
        categories: WRITE,
        run: |_, arguments| add(arguments, 1),
    },
    Spec {
        name: "decr",
        arity: 2,
        flags: WRITE_FLAGS,
        keys: ONE_KEY,
        categories: WRITE,
        run: |_, arguments| add(arguments, -1),
    },
    Spec {
        name: "incrby",
        arity: 3,
        flags: WRITE_FLAGS,
        keys: ONE_KEY,
        categories: WRITE,
        run: |_, arguments| add(arguments, amount(arguments)?),
    },
    Spec {
        name: "decrby",
        arity: 3,
        flags: WRITE_FLAGS,
        keys: ONE_KEY,
        categories: WRITE,
        run: decrby,
    },
    Spec {
        name: "mget",
        arity: -2,
        flags: READ_FLAGS,
        keys: Some((1, -1, 1)),
        categories: READ,
        run: mget,
    },
    Spec {
        name: "mset",
        arity: -3,
        flags: &["write", "denyoom"],
        keys: Some((1, -1, 2)),
        categories: &["@write", "@string", "@slow"],
        run: mset,
    },
    Spec {
        name: "append",
        arity: 3,
        flags: WRITE_FLAGS,
        keys: ONE_KEY,
        categories: WRITE,
        run: append,
    },
    Spec {
        name: "strlen",
        arity: 2,
        flags: READ_FLAGS,
        keys: ONE_KEY,
        categories: READ,
        run: strlen,
    },
];

fn get(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let key = argument(arguments, 1)?;
    Ok(Action::Read {
        slot: slot_of(key),
        query: Query::Get(key.clone()),
    })
}

/// `SET key value [NX | XX] [GET]`. Expiry is refused rather than ignored.
fn set(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let key = argument(arguments, 1)?;
    let (mut condition, mut get) = (Condition::Always, false);
    for option in arguments_from(arguments, 3) {
        let option = option.to_ascii_uppercase();
        match (option.as_slice(), condition) {
            (b"NX", Condition::Always | Condition::Absent) => condition = Condition::Absent,
            (b"XX", Condition::Always | Condition::Present) => condition = Condition::Present,
            (b"GET", _) => get = true,
            (b"EX" | b"PX" | b"EXAT" | b"PXAT" | b"KEEPTTL", _) => {
                let option = format!("SET option '{}'", quote(&option, 16));
                return Err(CommandError::Unsupported(option));
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    Ok(Action::Write {
        slot: slot_of(key),
        command: Command::Set {
            key: key.clone(),
            value: argument(arguments, 2)?.clone(),
            condition,
            get,
        },
    })
}

fn amount(arguments: &[Bytes]) -> Result<i64, CommandError> {
    parse_integer(argument(arguments, 2)?).ok_or(CommandError::NotAnInteger)
}

fn add(arguments: &[Bytes], delta: i64) -> Parsed {
    let key = argument(arguments, 1)?;
    Ok(Action::Write {
        slot: slot_of(key),
        command: Command::Add {
            key: key.clone(),
            delta,
        },
    })
}

fn decrby(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let delta = amount(arguments)?
        .checked_neg()
        .ok_or(CommandError::DecrementOverflow)?;
    add(arguments, delta)
}

fn mget(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let keys = arguments_from(arguments, 1);
    Ok(Action::Read {
        slot: common_slot(keys)?,
        query: Query::GetMany(keys.to_vec()),
    })
}

fn mset(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let (pairs, rest) = arguments_from(arguments, 1).as_chunks::<2>();
    if !rest.is_empty() {
        return Err(CommandError::Arity("mset".into()));
    }
    Ok(Action::Write {
        slot: common_slot(pairs.iter().map(|[key, _]| key))?,
        command: Command::SetMany {
            pairs: pairs.iter().map(|[key, value]| (key.clone(), value.clone())).collect(),
        },
    })
}

fn append(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let key = argument(arguments, 1)?;
    Ok(Action::Write {
        slot: slot_of(key),
        command: Command::Append {
            key: key.clone(),
            suffix: argument(arguments, 2)?.clone(),
        },
    })
}

fn strlen(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let key = argument(arguments, 1)?;
    Ok(Action::Read {
        slot: slot_of(key),
        query: Query::Length(key.clone()),
    })
}
