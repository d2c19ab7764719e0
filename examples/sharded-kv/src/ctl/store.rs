//! `store`: what is on a node's disk, without the node.

use std::error::Error;
use std::path::PathBuf;

use clap::Subcommand;

use crate::state;

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Says what is whole and what is damaged, and what the next start would make of it. Changes nothing. Ends with 0 if
    /// all is whole, 1 if something is damaged, 2 if that can't be told.
    Check {
        /// The node's data directory.
        dir: PathBuf,
    },
}

/// Looks at a data directory; returns what the process ends with. `say` is told what was found.
pub(crate) fn look(command: &StoreCommand, mut say: impl FnMut(&str)) -> u8 {
    let StoreCommand::Check { dir } = command;
    let mut can_not_tell = |error: &dyn Error| {
        say(&format!("can't tell: {error}"));
        2
    };
    let logs = match raftyard::store::check(dir) {
        Ok(logs) => logs,
        Err(error) => return can_not_tell(&error),
    };
    let keys = match state::check_disk(dir, &logs) {
        Ok(keys) => keys,
        Err(error) => return can_not_tell(&error),
    };
    say(&logs.to_string());
    let mut is_whole = logs.is_whole();
    if let Some(keys) = keys {
        say(&keys.to_string());
        is_whole &= keys.is_whole();
    }
    u8::from(!is_whole)
}
