//! Commands on all keys: those of the groups that this node leads, or of all groups where it forwards commands.

use bytes::Bytes;

use super::{Action, CommandError, Parsed, Spec, argument, arguments_from};
use crate::gather::{Cursor, Gather};
use crate::glob::PATTERN_BYTES_MAX;
use crate::machine::parse_integer;
use crate::session::Session;

const READ: &[&str] = &["@keyspace", "@read", "@slow"];
/// They concern many groups, and a transaction has one.
const READS: &[&str] = &["readonly", "no_multi"];

/// Keys that `SCAN` looks at unless it is told (as in Redis).
const SCAN_COUNT: u64 = 10;

pub(super) const COMMANDS: &[Spec] = &[
    Spec::new("scan", -2, READS, None, READ, scan),
    Spec::new(
        "keys",
        2,
        READS,
        None,
        &["@keyspace", "@read", "@slow", "@dangerous"],
        keys,
    ),
    Spec::new(
        "dbsize",
        1,
        &["readonly", "fast", "no_multi"],
        None,
        &["@keyspace", "@read", "@fast"],
        |_, _| Ok(Action::Gather(Gather::Size)),
    ),
    Spec::new("randomkey", 1, READS, None, READ, |_, _| {
        Ok(Action::Gather(Gather::Random))
    }),
    Spec::new("flushall", -1, FLUSHES, None, FLUSH, flush),
    Spec::new("flushdb", -1, FLUSHES, None, FLUSH, flush),
];

const FLUSHES: &[&str] = &["write", "no_multi"];
const FLUSH: &[&str] = &["@keyspace", "@write", "@slow", "@dangerous"];

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`.
fn scan(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let cursor = std::str::from_utf8(argument(arguments, 1)?).ok();
    let cursor = cursor.and_then(|cursor| cursor.parse().ok()).map(Cursor::from_number);
    let cursor = cursor.ok_or(CommandError::other("ERR invalid cursor"))?;
    let (mut pattern, mut count, mut strings) = (None, SCAN_COUNT, true);
    let (options, rest) = arguments_from(arguments, 2).as_chunks::<2>();
    if !rest.is_empty() {
        return Err(CommandError::Syntax);
    }
    for [option, value] in options {
        match option.to_ascii_uppercase().as_slice() {
            b"MATCH" => pattern = Some(checked(value)?).filter(|pattern| pattern != "*"),
            b"COUNT" => {
                let number = parse_integer(value).ok_or(CommandError::NotAnInteger)?;
                let number = u64::try_from(number).ok().filter(|number| *number > 0);
                count = number.ok_or(CommandError::Syntax)?;
            }
            b"TYPE" => strings = value.eq_ignore_ascii_case(b"string"),
            _ => return Err(CommandError::Syntax),
        }
    }
    Ok(Action::Gather(Gather::Scan {
        cursor,
        pattern,
        count,
        strings,
    }))
}

/// A pattern that is not too long.
fn checked(pattern: &Bytes) -> Result<Bytes, CommandError> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(CommandError::other("ERR the pattern is longer than 4096 bytes"));
    }
    Ok(pattern.clone())
}

fn keys(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let pattern = checked(argument(arguments, 1)?)?;
    Ok(Action::Gather(Gather::Keys(pattern)))
}

/// `FLUSHALL [ASYNC | SYNC]`: in either case the keys are gone when it is answered.
fn flush(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    match arguments_from(arguments, 1) {
        [] => Ok(Action::Flush),
        [mode] if mode.eq_ignore_ascii_case(b"ASYNC") || mode.eq_ignore_ascii_case(b"SYNC") => Ok(Action::Flush),
        _ => Err(CommandError::Syntax),
    }
}
