//! `MULTI`, `EXEC`, `DISCARD`, `WATCH`, `UNWATCH`. Between `MULTI` and `EXEC` commands are kept as they came, checked as far
//! as Redis does; `EXEC` makes one log entry of them.

use bytes::Bytes;

use super::{Action, CommandError, Parsed, Spec, arguments_from, common_slot, find, parse};
use crate::machine::{Command, Operation, Refusal, Version};
use crate::resp::Reply;
use crate::session::Session;
use crate::transaction::{self, Part, Queue, Transaction, Weight};

const FLAGS: &[&str] = &["noscript", "loading", "stale", "fast"];
const CATEGORIES: &[&str] = &["@fast", "@transaction"];

pub(super) const COMMANDS: &[Spec] = &[
    Spec::new("multi", 1, FLAGS, None, CATEGORIES, multi),
    Spec::new(
        "exec",
        1,
        &["noscript", "loading", "stale"],
        None,
        &["@slow", "@transaction"],
        exec,
    ),
    Spec::new("discard", 1, FLAGS, None, CATEGORIES, discard),
    Spec::new("watch", -2, FLAGS, Some((1, -1, 1)), CATEGORIES, watch),
    Spec::new("unwatch", 1, FLAGS, None, CATEGORIES, unwatch),
];

/// What is done at once after `MULTI` too.
pub(super) const IMMEDIATE: &[&str] = &["multi", "exec", "discard", "watch", "quit", "reset"];

fn multi(session: &mut Session, _: &[Bytes]) -> Parsed {
    if session.queue.is_some() {
        return Err(CommandError::other("ERR MULTI calls can not be nested"));
    }
    session.queue = Some(Queue::default());
    Ok(Action::Reply(Reply::OK))
}

fn discard(session: &mut Session, _: &[Bytes]) -> Parsed {
    if session.queue.take().is_none() {
        return Err(CommandError::other("ERR DISCARD without MULTI"));
    }
    session.watched = transaction::Watched::default();
    Ok(Action::Reply(Reply::OK))
}

fn unwatch(session: &mut Session, _: &[Bytes]) -> Parsed {
    session.watched = transaction::Watched::default();
    Ok(Action::Reply(Reply::OK))
}

fn watch(session: &mut Session, arguments: &[Bytes]) -> Parsed {
    if session.queue.is_some() {
        return Err(CommandError::other("ERR WATCH inside MULTI is not allowed"));
    }
    let keys = arguments_from(arguments, 1);
    let slot = common_slot(keys)?;
    if session.watched.slot.is_some_and(|watched| watched != slot) {
        return Err(CommandError::CrossSlot);
    }
    if !session.watched.has_room(keys) {
        return Err(CommandError::other("ERR too many watched keys"));
    }
    let keys = keys.to_vec();
    Ok(Action::Watch { slot, keys })
}

/// Takes a command in after `MULTI`. An error dooms the transaction.
pub(super) fn queue(session: &mut Session, spec: &Spec, arguments: &[Bytes]) -> Action {
    let slot = if spec.flags.contains(&"no_multi") {
        Err(CommandError::other("ERR Command not allowed inside a transaction"))
    } else {
        let slot = spec.keys_in(arguments).map(common_slot).transpose();
        slot.and_then(|slot| match session.queue.as_mut().map(|queue| queue.push(arguments)) {
            Some(false) => Err(CommandError::other("ERR the transaction is too large")),
            _ => Ok(slot),
        })
    };
    match slot {
        Ok(slot) => Action::Queued { slot },
        Err(error) => {
            session.abort_transaction();
            Action::Reply(Reply::error(&error))
        }
    }
}

/// Whatever comes of it, nothing is queued or watched after it.
fn exec(session: &mut Session, _: &[Bytes]) -> Parsed {
    let Some(queue) = session.queue.take() else {
        return Err(CommandError::other("ERR EXEC without MULTI"));
    };
    let watched = std::mem::take(&mut session.watched);
    let Some(commands) = queue.into_commands() else {
        let text = "EXECABORT Transaction discarded because of previous errors.";
        return Err(CommandError::other(text));
    };
    assemble(session, watched.slot, watched.keys, commands)
}

/// `RAFTYARD EXEC …`: a transaction that another node assembled. All its commands are on keys.
pub(super) fn forwarded(session: &mut Session, arguments: &[Bytes]) -> Parsed {
    let (watched, commands) = transaction::unpack(arguments).ok_or(CommandError::Syntax)?;
    let slot = match watched.len() {
        0 => None,
        _ => Some(common_slot(watched.iter().map(|(key, _)| key))?),
    };
    for command in &commands {
        let spec = find(command)?.ok_or(CommandError::Syntax)?;
        if spec.keys.is_none() || spec.flags.contains(&"no_multi") || IMMEDIATE.contains(&spec.name) {
            return Err(CommandError::Syntax);
        }
    }
    assemble(session, slot, watched, commands)
}

/// Whether a command has no keys, so that its node carries it out itself.
fn is_without_keys(command: &[Bytes]) -> bool {
    matches!(find(command), Ok(Some(spec)) if spec.keys.is_none())
}

fn assemble(
    session: &mut Session,
    watched_slot: Option<u16>,
    watched: Vec<(Bytes, Version)>,
    commands: Vec<Vec<Bytes>>,
) -> Parsed {
    let mut slot = watched_slot;
    let (mut operations, mut asked, mut replies) = (vec![], vec![], vec![]);
    let mut weight = Weight::default();
    for command in commands {
        if is_without_keys(&command) && weight.is_full() {
            replies.push(Part::Known(Reply::error(&Refusal::RepliesTooLong)));
            continue;
        }
        let (of_command, operation) = match parse(session, &command) {
            Action::Write { slot, command } => (slot, Operation::Write(command)),
            Action::Read { slot, query } => (slot, Operation::Read(query)),
            other => {
                replies.push(match other {
                    Action::Reply(reply) => Part::Known(weight.with(reply)),
                    Action::Describe(describe) => Part::Described(describe),
                    _ => Part::Known(Reply::error("ERR Command not allowed inside a transaction")),
                });
                continue;
            }
        };
        if *slot.get_or_insert(of_command) != of_command {
            return Err(CommandError::CrossSlot);
        }
        operations.push(operation);
        asked.push(command);
        replies.push(Part::Asked);
    }
    let Some(slot) = slot else {
        return Ok(Action::Describe(Box::new(|status| {
            let replies = transaction::template(replies, || status.clone());
            transaction::fill(replies, Reply::Array(vec![]))
        })));
    };
    let transaction = Transaction {
        forwarded: transaction::pack(&watched, &asked),
        command: Command::Transaction { watched, operations },
        replies,
    };
    Ok(Action::Transaction { slot, transaction })
}
