//! What a command or a query looks at, known before it does: where keys lie on disk, they are loaded first.

use super::command::{Command, Operation, Query};

/// What is looked at or changed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Touched<'a> {
    /// Whether the key is there, until when, and its version.
    Key(&'a [u8]),
    /// Its value too.
    Value(&'a [u8]),
    /// Keys that have expired, as many as one [`Command::Purge`] removes at most.
    Due,
}

impl Command {
    /// Calls `touch` with all that the command may touch, until that fails.
    pub(super) fn touched<'a, E, F>(&'a self, touch: &mut F) -> Result<(), E>
    where
        F: FnMut(Touched<'a>) -> Result<(), E>,
    {
        match self {
            Self::Set { key, get: true, .. } => touch(Touched::Value(key)),
            Self::Set { key, .. } => touch(Touched::Key(key)),
            // A key that gets another deadline is written anew, with its value.
            Self::Add { key, .. }
            | Self::Append { key, .. }
            | Self::Take { key }
            | Self::GetAndExpire { key, .. }
            | Self::Expire { key, .. }
            | Self::Persist { key }
            | Self::SetRange { key, .. }
            | Self::AddDecimal { key, .. } => touch(Touched::Value(key)),
            Self::Delete { keys } => keys.iter().try_for_each(|key| touch(Touched::Key(key))),
            Self::SetMany { pairs } | Self::SetManyAbsent { pairs } => {
                pairs.iter().try_for_each(|(key, _)| touch(Touched::Key(key)))
            }
            Self::Rename { from, to, .. } | Self::Copy { from, to, .. } => {
                touch(Touched::Value(from))?;
                touch(Touched::Key(to))
            }
            // The keys are deleted whatever they are.
            Self::Flush => Ok(()),
            Self::Purge => touch(Touched::Due),
            Self::Transaction { watched, operations } => {
                watched.iter().try_for_each(|(key, _)| touch(Touched::Key(key)))?;
                operations.iter().try_for_each(|operation| operation.touched(touch))
            }
        }
    }
}

impl Operation {
    /// As [`Command::touched`].
    pub(super) fn touched<'a, E, F>(&'a self, touch: &mut F) -> Result<(), E>
    where
        F: FnMut(Touched<'a>) -> Result<(), E>,
    {
        match self {
            Self::Write(command) => command.touched(touch),
            Self::Read(query) => query.touched(touch),
        }
    }
}

impl Query {
    /// Calls `touch` with the keys that the query names, until that fails. None is named by those that concern all keys,
    /// which no transaction holds.
    pub(super) fn touched<'a, E, F>(&'a self, touch: &mut F) -> Result<(), E>
    where
        F: FnMut(Touched<'a>) -> Result<(), E>,
    {
        match self {
            Self::Get(key) | Self::Length(key) | Self::Range { key, .. } => touch(Touched::Value(key)),
            Self::GetMany(keys) => keys.iter().try_for_each(|key| touch(Touched::Value(key))),
            Self::Kind(key) | Self::Lifetime { key, .. } => touch(Touched::Key(key)),
            Self::Exists(keys) | Self::Versions(keys) => keys.iter().try_for_each(|key| touch(Touched::Key(key))),
            Self::KeyCount | Self::Scan { .. } | Self::KeyAt(_) => Ok(()),
        }
    }
}
