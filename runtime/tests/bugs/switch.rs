//! Which bug is put back: the one that `RAFTYARD_BUG` names, if any. Only the copy that `.ci/bugs runtime` makes has it.

use std::sync::OnceLock;

/// Whether this bug is put back.
pub(crate) fn on(name: &str) -> bool {
    static BUG: OnceLock<Option<String>> = OnceLock::new();
    BUG.get_or_init(|| std::env::var("RAFTYARD_BUG").ok()).as_deref() == Some(name)
}
