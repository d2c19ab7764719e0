//! Which bug is put back. `.ci/bugs` adds this to its copy of the core; the core itself has no such thing.

use std::sync::OnceLock;

/// Whether `RAFTYARD_BUG` names this bug.
pub(crate) fn on(bug: &str) -> bool {
    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| std::env::var("RAFTYARD_BUG").ok());
    chosen.as_deref() == Some(bug)
}
