//! Commands on when keys expire.

use bytes::Bytes;
use raftyard::Timestamp;

use super::error::quote;
use super::{Action, CommandError, ONE_KEY, Parsed, Spec, argument, arguments_from};
use crate::clock;
use crate::machine::{Command, ExpireCondition, Expiry, LifetimeForm, Query, parse_integer};
use crate::session::Session;
use crate::slots::slot_of;

const KEY_READ: &[&str] = &["@keyspace", "@read", "@fast"];
const KEY_WRITE: &[&str] = &["@keyspace", "@write", "@fast"];
const STRING_WRITE: &[&str] = &["@write", "@string", "@slow"];
const READS: &[&str] = &["readonly", "fast"];
const WRITES: &[&str] = &["write", "fast"];
const SETS: &[&str] = &["write", "denyoom"];

pub(super) const COMMANDS: &[Spec] = &[
    Spec::new("expire", -3, WRITES, ONE_KEY, KEY_WRITE, |_, a| {
        expire(a, "expire", SECONDS)
    }),
    Spec::new("ttl", 2, READS, ONE_KEY, KEY_READ, |_, a| lifetime(a, false, false)),
    Spec::new("pexpire", -3, WRITES, ONE_KEY, KEY_WRITE, |_, a| {
        expire(a, "pexpire", MILLIS)
    }),
    Spec::new("pttl", 2, READS, ONE_KEY, KEY_READ, |_, a| lifetime(a, false, true)),
    Spec::new("expireat", -3, WRITES, ONE_KEY, KEY_WRITE, |_, a| {
        expire(a, "expireat", UNIX_SECONDS)
    }),
    Spec::new("pexpireat", -3, WRITES, ONE_KEY, KEY_WRITE, |_, a| {
        expire(a, "pexpireat", UNIX_MILLIS)
    }),
    Spec::new("expiretime", 2, READS, ONE_KEY, KEY_READ, |_, a| {
        lifetime(a, true, false)
    }),
    Spec::new("pexpiretime", 2, READS, ONE_KEY, KEY_READ, |_, a| {
        lifetime(a, true, true)
    }),
    Spec::new("persist", 2, WRITES, ONE_KEY, KEY_WRITE, persist),
    Spec::new("setex", 4, SETS, ONE_KEY, STRING_WRITE, |_, a| {
        set_for(a, "setex", SECONDS)
    }),
    Spec::new("psetex", 4, SETS, ONE_KEY, STRING_WRITE, |_, a| {
        set_for(a, "psetex", MILLIS)
    }),
    Spec::new("getex", -2, WRITES, ONE_KEY, &["@write", "@string", "@fast"], getex),
    Spec::new("getdel", 2, WRITES, ONE_KEY, &["@write", "@string", "@fast"], getdel),
];

/// What a number that says when a key expires counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    millis: i64,
    /// From the Unix epoch on, not from now.
    absolute: bool,
}

const SECONDS: Unit = Unit {
    millis: 1000,
    absolute: false,
};
const MILLIS: Unit = Unit {
    millis: 1,
    absolute: false,
};
const UNIX_SECONDS: Unit = Unit {
    millis: 1000,
    absolute: true,
};
const UNIX_MILLIS: Unit = Unit {
    millis: 1,
    absolute: true,
};

impl Unit {
    /// That of an option of `SET` and `GETEX`, in upper case.
    pub(super) fn of_option(option: &[u8]) -> Option<Self> {
        match option {
            b"EX" => Some(SECONDS),
            b"PX" => Some(MILLIS),
            b"EXAT" => Some(UNIX_SECONDS),
            b"PXAT" => Some(UNIX_MILLIS),
            _ => None,
        }
    }
}

fn invalid(command: &str) -> CommandError {
    CommandError::Other(format!("ERR invalid expire time in '{command}' command"))
}

/// The expiry that `text` says. What is past, however long, is the beginning of time.
fn expiry(text: &[u8], unit: Unit, command: &str) -> Result<Expiry, CommandError> {
    let number = parse_integer(text).ok_or(CommandError::NotAnInteger)?;
    let millis = number.checked_mul(unit.millis).ok_or_else(|| invalid(command))?;
    let now = i64::try_from(clock::now().0).unwrap_or(i64::MAX);
    if !unit.absolute && millis.checked_add(now).is_none() {
        return Err(invalid(command));
    }
    Ok(match u64::try_from(millis) {
        Ok(millis) if unit.absolute => Expiry::At(Timestamp(millis)),
        Ok(millis) if millis > 0 => Expiry::After(millis),
        _ => Expiry::At(Timestamp(0)),
    })
}

/// The same where only what is positive is allowed.
pub(super) fn positive_expiry(text: &[u8], unit: Unit, command: &str) -> Result<Expiry, CommandError> {
    match parse_integer(text) {
        Some(..=0) => Err(invalid(command)),
        _ => expiry(text, unit, command),
    }
}

/// `EXPIRE key number [NX | XX | GT | LT …]` and its relatives.
fn expire(arguments: &[Bytes], command: &str, unit: Unit) -> Parsed {
    let key = argument(arguments, 1)?;
    let mut condition = ExpireCondition::default();
    for option in arguments_from(arguments, 3) {
        match option.to_ascii_uppercase().as_slice() {
            b"NX" => condition.if_none = true,
            b"XX" => condition.if_some = true,
            b"GT" => condition.if_later = true,
            b"LT" => condition.if_earlier = true,
            _ => {
                let text = format!("ERR Unsupported option {}", quote(option, 64));
                return Err(CommandError::Other(text));
            }
        }
    }
    let ExpireCondition {
        if_none,
        if_some,
        if_later,
        if_earlier,
    } = condition;
    if if_none && (if_some || if_later || if_earlier) {
        let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
        return Err(CommandError::other(text));
    }
    if if_later && if_earlier {
        let text = "ERR GT and LT options at the same time are not compatible";
        return Err(CommandError::other(text));
    }
    Ok(Action::Write {
        slot: slot_of(key),
        command: Command::Expire {
            key: key.clone(),
            expiry: expiry(argument(arguments, 2)?, unit, command)?,
            condition,
        },
    })
}

fn lifetime(arguments: &[Bytes], absolute: bool, millis: bool) -> Parsed {
    let key = argument(arguments, 1)?;
    Ok(Action::Read {
        slot: slot_of(key),
        query: Query::Lifetime {
            key: key.clone(),
            form: LifetimeForm { absolute, millis },
        },
    })
}

fn persist(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let key = argument(arguments, 1)?;
    Ok(Action::Write {
        slot: slot_of(key),
        command: Command::Persist { key: key.clone() },
    })
}

/// `SETEX key number value`.
fn set_for(arguments: &[Bytes], command: &str, unit: Unit) -> Parsed {
    let key = argument(arguments, 1)?;
    let expiry = positive_expiry(argument(arguments, 2)?, unit, command)?;
    Ok(Action::Write {
        slot: slot_of(key),
        command: Command::set(key.into(), argument(arguments, 3)?.into(), expiry),
    })
}

/// `GETEX key [EX number | PX number | EXAT number | PXAT number | PERSIST]`.
fn getex(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let key = argument(arguments, 1)?;
    let (slot, key) = (slot_of(key), key.clone());
    let expiry = match arguments_from(arguments, 2) {
        [] => {
            let query = Query::Get(key);
            return Ok(Action::Read { slot, query });
        }
        [option] if option.eq_ignore_ascii_case(b"PERSIST") => Expiry::Never,
        [option, number] => {
            let unit = Unit::of_option(&option.to_ascii_uppercase()).ok_or(CommandError::Syntax)?;
            positive_expiry(number, unit, "getex")?
        }
        _ => return Err(CommandError::Syntax),
    };
    let command = Command::GetAndExpire { key, expiry };
    Ok(Action::Write { slot, command })
}

fn getdel(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let key = argument(arguments, 1)?;
    Ok(Action::Write {
        slot: slot_of(key),
        command: Command::Take { key: key.clone() },
    })
}
