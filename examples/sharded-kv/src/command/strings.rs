//! `GET`, `SET` and the other commands on the value of a key.

use bytes::Bytes;

use super::expiry::{Unit, positive_expiry};
use super::{Action, CommandError, ONE_KEY, Parsed, Spec, argument, arguments_from, common_slot};
use crate::machine::{Command, Condition, Expiry, Query, parse_integer};
use crate::session::Session;
use crate::slots::slot_of;

const READ: &[&str] = &["@read", "@string", "@fast"];
const WRITE: &[&str] = &["@write", "@string", "@fast"];
const WRITE_FLAGS: &[&str] = &["write", "denyoom", "fast"];
const READ_FLAGS: &[&str] = &["readonly", "fast"];
const SLOW_WRITE: &[&str] = &["@write", "@string", "@slow"];
const SLOW_WRITE_FLAGS: &[&str] = &["write", "denyoom"];
const MANY_KEYS: Option<(i64, i64, i64)> = Some((1, -1, 1));
const PAIRS: Option<(i64, i64, i64)> = Some((1, -1, 2));

pub(super) const COMMANDS: &[Spec] = &[
    Spec::new("get", 2, READ_FLAGS, ONE_KEY, READ, get),
    Spec::new("set", -3, SLOW_WRITE_FLAGS, ONE_KEY, SLOW_WRITE, set),
    Spec::new("incr", 2, WRITE_FLAGS, ONE_KEY, WRITE, |_, a| add(a, 1)),
    Spec::new("decr", 2, WRITE_FLAGS, ONE_KEY, WRITE, |_, a| add(a, -1)),
    Spec::new("incrby", 3, WRITE_FLAGS, ONE_KEY, WRITE, |_, a| add(a, amount(a)?)),
    Spec::new("decrby", 3, WRITE_FLAGS, ONE_KEY, WRITE, decrby),
    Spec::new("mget", -2, READ_FLAGS, MANY_KEYS, READ, mget),
    Spec::new("mset", -3, SLOW_WRITE_FLAGS, PAIRS, SLOW_WRITE, mset),
    Spec::new("append", 3, WRITE_FLAGS, ONE_KEY, WRITE, append),
    Spec::new("strlen", 2, READ_FLAGS, ONE_KEY, READ, strlen),
    Spec::new("setnx", 3, WRITE_FLAGS, ONE_KEY, WRITE, |_, a| set_absent(a, "setnx")),
    Spec::new("msetnx", -3, SLOW_WRITE_FLAGS, PAIRS, SLOW_WRITE, |_, a| {
        set_absent(a, "msetnx")
    }),
    Spec::new("getset", 3, WRITE_FLAGS, ONE_KEY, WRITE, getset),
];

fn get(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let key = argument(arguments, 1)?;
    Ok(Action::Read {
        slot: slot_of(key),
        query: Query::Get(key.clone()),
    })
}

/// `SET key value [NX | XX] [GET] [EX number | PX number | EXAT number | PXAT number | KEEPTTL]`.
fn set(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let key = argument(arguments, 1)?;
    let (mut condition, mut get, mut expiry) = (Condition::Always, false, Expiry::Never);
    let mut expires: Option<(Vec<u8>, &Bytes)> = None;
    let mut options = arguments_from(arguments, 3).iter();
    while let Some(option) = options.next() {
        let option = option.to_ascii_uppercase();
        match (option.as_slice(), condition) {
            (b"NX", Condition::Always | Condition::Absent) => condition = Condition::Absent,
            (b"XX", Condition::Always | Condition::Present) => condition = Condition::Present,
            (b"GET", _) => get = true,
            (b"KEEPTTL", _) if expires.is_none() => expiry = Expiry::Keep,
            (b"EX" | b"PX" | b"EXAT" | b"PXAT", _) if expiry == Expiry::Never => {
                // The same one twice is Redis's way too: the last counts.
                if expires.is_some_and(|(other, _)| other != option) {
                    return Err(CommandError::Syntax);
                }
                expires = Some((option, options.next().ok_or(CommandError::Syntax)?));
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    if let Some((option, number)) = expires {
        let unit = Unit::of_option(&option).ok_or(CommandError::Syntax)?;
        expiry = positive_expiry(number, unit, "set")?;
    }
    Ok(Action::Write {
        slot: slot_of(key),
        command: Command::Set {
            key: key.into(),
            value: argument(arguments, 2)?.into(),
            condition,
            get,
            expiry,
        },
    })
}

fn getset(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let key = argument(arguments, 1)?;
    Ok(Action::Write {
        slot: slot_of(key),
        command: Command::Set {
            key: key.into(),
            value: argument(arguments, 2)?.into(),
            condition: Condition::Always,
            get: true,
            expiry: Expiry::Never,
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

/// The keys and values from the second argument on, and the slot of all keys.
fn pairs(arguments: &[Bytes], command: &str) -> Result<(u16, Vec<(Bytes, Bytes)>), CommandError> {
    let (pairs, rest) = arguments_from(arguments, 1).as_chunks::<2>();
    if !rest.is_empty() {
        return Err(CommandError::Arity(command.into()));
    }
    let slot = common_slot(pairs.iter().map(|[key, _]| key))?;
    Ok((
        slot,
        pairs.iter().map(|[key, value]| (key.clone(), value.clone())).collect(),
    ))
}

fn mset(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let (slot, pairs) = pairs(arguments, "mset")?;
    let command = Command::SetMany { pairs };
    Ok(Action::Write { slot, command })
}

fn set_absent(arguments: &[Bytes], command: &str) -> Parsed {
    let (slot, pairs) = pairs(arguments, command)?;
    let command = Command::SetManyAbsent { pairs };
    Ok(Action::Write { slot, command })
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
