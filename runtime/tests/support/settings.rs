//! What the environment says of how a random test runs.

use std::time::{SystemTime, UNIX_EPOCH};

/// A number from the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// What `RAFTYARD_SEED` says, or a new one each time. Printed, so that it can be given.
pub(crate) fn seed() -> u64 {
    let seed = number("RAFTYARD_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos())
    });
    println!("RAFTYARD_SEED={seed}");
    seed
}
