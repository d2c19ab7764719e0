//! What clients can ask for. A command is a [`Spec`] in the file of its family: a name, where its keys are, and a function
//! that turns arguments into an [`Action`]. Nothing here talks to a group: carrying actions out is
//! the connection's part, so every command can be tested as a pure function.

mod client;
mod cluster;
mod config;
mod connection;
mod describe;
mod direct;
mod error;
mod info;
mod keys;
mod strings;

use bytes::Bytes;

pub(crate) use error::CommandError;

use crate::machine::{Answer, Command, Query, Response};
use crate::resp::Reply;
use crate::session::Session;
use crate::slots;
use crate::status::Status;

/// What is to be done for a command.
pub(crate) enum Action {
    /// Answer at once.
    Reply(Reply),
    /// Answer, then close the connection.
    Close(Reply),
    /// Close the connection without a word.
    Hang,
    /// Have the group of the slot apply the command.
    Write { slot: u16, command: Command },
    /// Have the group of the slot answer the query.
    Read { slot: u16, query: Query },
    /// Answer with what is known of the node and its cluster.
    Describe(Description),
    /// The same with the number of keys in the groups that this node leads, `None` if it can't be told now.
    Count(CountDescription),
}

/// A reply made of what is known.
pub(crate) type Description = Box<dyn FnOnce(&Status) -> Reply + Send>;

/// A reply made of what is known and the number of keys.
pub(crate) type CountDescription = Box<dyn FnOnce(&Status, Option<i64>) -> Reply + Send>;

/// What a command's function makes of its arguments.
type Parsed = Result<Action, CommandError>;

/// One command.
struct Spec {
    /// In lower case.
    name: &'static str,
    /// How many arguments it takes with its name; negative: at least so many.
    arity: i64,
    flags: &'static [&'static str],
    /// First key, last key (-1: the last argument) and step between keys.
    keys: Option<(i64, i64, i64)>,
    categories: &'static [&'static str],
    run: fn(&mut Session, &[Bytes]) -> Parsed,
}

/// All commands, the most frequent first: this is also the order they are looked up in.
fn specs() -> impl Iterator<Item = &'static Spec> {
    strings::COMMANDS
        .iter()
        .chain(keys::COMMANDS)
        .chain(connection::COMMANDS)
        .chain(client::COMMANDS)
        .chain(cluster::COMMANDS)
        .chain(config::COMMANDS)
        .chain(describe::COMMANDS)
        .chain(info::COMMANDS)
        .chain(direct::COMMANDS)
}

fn spec_named(name: &[u8]) -> Option<&'static Spec> {
    specs().find(|spec| spec.name.as_bytes().eq_ignore_ascii_case(name))
}

/// What is to be done for the command in `arguments`, its name being the first of them.
pub(crate) fn parse(session: &mut Session, arguments: &[Bytes]) -> Action {
    try_parse(session, arguments).unwrap_or_else(|error| Action::Reply(Reply::error(&error)))
}

fn try_parse(session: &mut Session, arguments: &[Bytes]) -> Parsed {
    let Some(name) = arguments.first() else {
        return Err(CommandError::Syntax);
    };
    let Some(spec) = spec_named(name) else {
        // A browser that was tricked into sending an HTTP request here must not reach the lines of its body.
        if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") {
            return Ok(Action::Hang);
        }
        return Err(CommandError::unknown(arguments));
    };
    if !arity_fits(spec.arity, arguments.len()) {
        return Err(CommandError::Arity(spec.name.to_owned()));
    }
    (spec.run)(session, arguments)
}

fn arity_fits(arity: i64, count: usize) -> bool {
    let wanted = usize::try_from(arity.unsigned_abs()).unwrap_or(usize::MAX);
    if arity < 0 { count >= wanted } else { count == wanted }
}

/// The argument at `place`.
fn argument(arguments: &[Bytes], place: usize) -> Result<&Bytes, CommandError> {
    arguments.get(place).ok_or(CommandError::Syntax)
}

/// The arguments from `place` on.
fn arguments_from(arguments: &[Bytes], place: usize) -> &[Bytes] {
    arguments.get(place..).unwrap_or_default()
}

/// The slot that all `keys` have.
fn common_slot<'a>(keys: impl IntoIterator<Item = &'a Bytes>) -> Result<u16, CommandError> {
    let mut keys = keys.into_iter().map(|key| slots::slot_of(key));
    let slot = keys.next().ok_or(CommandError::Syntax)?;
    if keys.all(|other| other == slot) {
        Ok(slot)
    } else {
        Err(CommandError::CrossSlot)
    }
}

/// Takes `name subcommand …` apart: the subcommand in upper case, checked against `table` of names and arities
/// (counted with both words).
fn subcommand(
    name: &'static str,
    table: &[(&'static str, i64)],
    arguments: &[Bytes],
) -> Result<&'static str, CommandError> {
    let word = argument(arguments, 1)?;
    let Some((found, arity)) = table
        .iter()
        .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(word))
    else {
        return Err(CommandError::unknown_subcommand(name, word));
    };
    if !arity_fits(*arity, arguments.len()) {
        let name = format!("{name}|{}", found.to_ascii_lowercase());
        return Err(CommandError::Arity(name));
    }
    Ok(found)
}

/// A value that may not be there.
fn value_reply(value: Option<Bytes>) -> Reply {
    value.map_or(Reply::Null, Reply::Bulk)
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        match response {
            Response::Ok => Self::OK,
            Response::Unchanged => Self::Null,
            Response::Value(value) => value_reply(value),
            Response::Integer(number) => Self::Integer(number),
            Response::Refused(refusal) => Self::error(&refusal),
        }
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Value(value) => value_reply(value),
            Answer::Values(values) => Self::Array(values.into_iter().map(value_reply).collect()),
            Answer::Integer(number) => Self::Integer(number),
        }
    }
}

#[cfg(test)]
mod tests;
