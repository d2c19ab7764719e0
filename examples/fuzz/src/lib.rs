//! Everything that reads bytes which others wrote, as functions of bytes. `tests/fuzz.rs` hands them mutations of right
//! ones, for seconds, on any toolchain; `fuzz/` hands them to libFuzzer, for hours.

use kv_parts::Reader;
pub use raftyard::fuzzing::Target;

/// All that there is.
pub fn targets() -> impl Iterator<Item = Target> {
    let of_the_store = [kv_parts::COMMANDS, kv_parts::REPLIES, kv_parts::CONFIG].map(|reader| {
        let Reader {
            name,
            read,
            check,
            samples,
        } = reader;
        Target {
            name,
            read,
            check,
            samples,
        }
    });
    raftyard::fuzzing::TARGETS.iter().copied().chain(of_the_store)
}

/// Hands `data` to one target; for libFuzzer.
///
/// # Panics
///
/// If there is none of this name, or if it does not keep what it promises.
pub fn check(name: &str, data: &[u8]) {
    let target = targets().find(|target| target.name == name);
    assert!(target.is_some(), "there is no target {name}");
    if let Some(target) = target {
        (target.check)(data);
    }
}
