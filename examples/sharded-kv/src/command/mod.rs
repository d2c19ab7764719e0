//! What clients can ask for. A command is a [`Spec`] in the file of its family: a name, where its keys are, and a function
//! that turns arguments into an [`Action`]. Nothing here talks to a group: carrying actions out is
//! the connection's part, so every command can be tested as a pure function.

mod admin;
mod client;
mod cluster;
mod config;
mod connection;
mod describe;
mod direct;
mod error;
mod expiry;
mod info;
mod keys;
mod keyspace;
mod ranges;
mod server;
mod strings;
mod transaction;

use bytes::Bytes;

pub(crate) use admin::Admin;
pub(crate) use direct::other_groups;
pub(crate) use error::CommandError;

use crate::clock;
use crate::gather::Gather;
use crate::machine::{Answer, Command, Lifetime, LifetimeForm, Query, Response};
use crate::resp::Reply;
use crate::session::Session;
use crate::slots;
use crate::status::Status;
use crate::transaction::Transaction;

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
    /// Read the versions of the keys and watch them.
    Watch { slot: u16, keys: Vec<Bytes> },
    /// The command waits for `EXEC`, unless another node leads the group of its slot.
    Queued { slot: Option<u16> },
    /// Have the group of the slot carry out everything that was queued.
    Transaction { slot: u16, transaction: Transaction },
    /// Ask the groups.
    Gather(Gather),
    /// Have the groups delete all keys.
    Flush,
    /// Carry out what an operator asks.
    Admin(Admin),
    /// Answer with what is known of the node and its cluster.
    Describe(Description),
    /// The same with the number of keys in the groups that this node leads, `None` if it can't be told now.
    Count(CountDescription),
}

impl Action {
    /// Bytes of the values that a write returns, at most.
    pub(crate) fn returned_bytes_max(&self) -> usize {
        match self {
            Self::Write { command, .. } => command.returned_bytes_max(),
            Self::Transaction { transaction, .. } => transaction.command.returned_bytes_max(),
            _ => 0,
        }
    }
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

/// The place of the key of a command that has one.
const ONE_KEY: Option<(i64, i64, i64)> = Some((1, 1, 1));

impl Spec {
    const fn new(
        name: &'static str,
        arity: i64,
        flags: &'static [&'static str],
        keys: Option<(i64, i64, i64)>,
        categories: &'static [&'static str],
        run: fn(&mut Session, &[Bytes]) -> Parsed,
    ) -> Self {
        Self {
            name,
            arity,
            flags,
            keys,
            categories,
            run,
        }
    }

    /// The keys among the arguments, `None` if it has none.
    fn keys_in<'a>(&self, arguments: &'a [Bytes]) -> Option<impl Iterator<Item = &'a Bytes> + use<'a>> {
        let place = |place: i64| usize::try_from(place).unwrap_or(arguments.len() - 1);
        let (first, last, step) = self.keys?;
        let keys = arguments.get(place(first)..=place(last).min(arguments.len() - 1))?;
        Some(keys.iter().step_by(place(step).max(1)))
    }
}

/// All commands, the most frequent first: this is also the order they are looked up in.
fn specs() -> impl Iterator<Item = &'static Spec> {
    strings::COMMANDS
        .iter()
        .chain(keys::COMMANDS)
        .chain(expiry::COMMANDS)
        .chain(ranges::COMMANDS)
        .chain(transaction::COMMANDS)
        .chain(connection::COMMANDS)
        .chain(client::COMMANDS)
        .chain(cluster::COMMANDS)
        .chain(keyspace::COMMANDS)
        .chain(server::COMMANDS)
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
    let done = match find(arguments) {
        // A browser that was tricked into sending an HTTP request here must not reach the lines of its body.
        Ok(None) => return Action::Hang,
        Ok(Some(spec)) if !session.authenticated && !connection::BEFORE_AUTH.contains(&spec.name) => {
            Err(CommandError::NoAuth)
        }
        Ok(Some(spec)) if session.queue.is_some() && !transaction::IMMEDIATE.contains(&spec.name) => {
            return transaction::queue(session, spec, arguments);
        }
        Ok(Some(spec)) => (spec.run)(session, arguments),
        Err(error) => {
            session.abort_transaction();
            Err(error)
        }
    };
    done.unwrap_or_else(|error| Action::Reply(Reply::error(&error)))
}

/// The command that `arguments` call, `None` if they are no command but HTTP.
fn find(arguments: &[Bytes]) -> Result<Option<&'static Spec>, CommandError> {
    let name = arguments.first().ok_or(CommandError::Syntax)?;
    let Some(spec) = spec_named(name) else {
        if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") {
            return Ok(None);
        }
        return Err(CommandError::unknown(arguments));
    };
    if arity_fits(spec.arity, arguments.len()) {
        Ok(Some(spec))
    } else {
        Err(CommandError::Arity(spec.name.to_owned()))
    }
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
            Response::Answer(answer) => Self::from(answer),
            Response::Each(each) => Self::Array(each.into_iter().map(Self::from).collect()),
            Response::Conflict => Self::NullArray,
        }
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        let number = |number: u64| Self::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        match answer {
            Answer::Value(value) => value_reply(value),
            Answer::Values(values) => Self::Array(values.into_iter().map(value_reply).collect()),
            Answer::Integer(number) => Self::Integer(number),
            Answer::Lifetime(lifetime, form) => lifetime_reply(lifetime, form),
            Answer::Kind(there) => Self::status(if there { "string" } else { "none" }),
            Answer::Versions(versions) => Self::Array(versions.into_iter().map(number).collect()),
            Answer::Page { before, keys } => {
                let keys = keys.into_iter().map(Self::Bulk).collect();
                Self::Array(vec![number(before), Self::Array(keys)])
            }
            Answer::Refused(refusal) => Self::error(&refusal),
            Answer::NoRoom => Self::error("ERR there is no room for the reply"),
        }
    }
}

/// What is left is told by this node's clock: the group's time stands still while nobody writes.
fn lifetime_reply(lifetime: Lifetime, form: LifetimeForm) -> Reply {
    let deadline = match lifetime {
        Lifetime::None => return Reply::Integer(-2),
        Lifetime::Endless => return Reply::Integer(-1),
        Lifetime::Until(deadline) => deadline,
    };
    let millis = if form.absolute {
        deadline.0
    } else {
        deadline.since(clock::now())
    };
    let number = if form.millis {
        millis
    } else {
        millis.saturating_add(500) / 1000
    };
    Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
