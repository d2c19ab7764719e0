//! Which seeds a test runs.

use std::env::{self, VarError};
use std::num::ParseIntError;
use std::ops::Range;

/// The seeds that a test runs: the first `count`. If `RAFTYARD_SEED` is set, that one; and if `RAFTYARD_SEEDS` is, so many,
/// from that one or the first on. A [`Failure`](super::Failure) says so, too.
///
/// # Errors
///
/// One of the two is set, and is no number.
pub fn seeds(count: u64) -> Result<Range<u64>, ParseIntError> {
    let first = number("RAFTYARD_SEED")?;
    let count = number("RAFTYARD_SEEDS")?.unwrap_or(if first.is_some() { 1 } else { count });
    let first = first.unwrap_or(0);
    Ok(first..first.saturating_add(count))
}

fn number(name: &str) -> Result<Option<u64>, ParseIntError> {
    match env::var(name) {
        Ok(text) => text.parse().map(Some),
        // What is no text is no number either.
        Err(VarError::NotUnicode(_)) => "".parse().map(Some),
        Err(VarError::NotPresent) => Ok(None),
    }
}
