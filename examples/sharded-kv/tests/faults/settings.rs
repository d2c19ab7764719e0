//! What the environment says of how to run.

use std::env;
use std::time::{Duration, SystemTime};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// `RAFTYARD_RUNS`: how many runs.
    pub(crate) runs: u64,
    /// `RAFTYARD_SEED`: the seed of the first run; the others have those that follow it. Drawn if not given.
    pub(crate) seed: u64,
    /// `RAFTYARD_SECONDS`: how long faults come in each run.
    pub(crate) length: Duration,
    /// `RAFTYARD_JOBS`: how many clusters run at the same time.
    pub(crate) jobs: u64,
    /// `RAFTYARD_NETWORK=loopback`: without namespaces, although there might be some.
    pub(crate) loopback: bool,
}

impl Settings {
    pub(crate) fn read() -> Self {
        let number = |name: &str| env::var(name).ok().map(|text| text.parse().expect("a number"));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Self {
            runs: number("RAFTYARD_RUNS").unwrap_or(10),
            seed: number("RAFTYARD_SEED").unwrap_or(now.as_secs() % 1_000_000 * 1000),
            length: Duration::from_secs(number("RAFTYARD_SECONDS").unwrap_or(20)),
            jobs: number("RAFTYARD_JOBS").unwrap_or(5),
            loopback: env::var("RAFTYARD_NETWORK").is_ok_and(|network| network == "loopback"),
        }
    }
}
