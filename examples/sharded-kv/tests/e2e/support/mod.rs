//! What the tests share: processes, a RESP client, and a client that follows `MOVED`.

mod cluster;
mod dev;
mod node_config;
mod ports;
mod process;
mod resp;
mod tls;

use std::time::{Duration, Instant};

pub(crate) use cluster::{ClusterClient, Outcome};
pub(crate) use dev::{Dev, VERSIONS};
pub(crate) use node_config::ServerCluster;
pub(crate) use ports::{free_dev_port, free_ports};
pub(crate) use process::{Process, run_to_end};
pub(crate) use resp::{Connection, Value, encode};

/// The options with which keys are in memory, and those with which they are on disk.
pub(crate) const STATES: [&[&str]; 2] = [&[], &["--state", "disk"]];

/// The line of a configuration that puts keys on disk.
pub(crate) const ON_DISK: &str = "state = \"disk\"";

/// Longer than anything here takes, also on a slow and busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(40);

/// An election timeout that no process here is held up for, in milliseconds: for clusters whose leaders stay, in tests of
/// something else. New groups have their leaders at once all the same, unless their nodes start long after each other; but
/// the groups of a leader that is lost wait for so long, and so does the vote of a node that is started again.
pub(crate) const STEADY_MS: u64 = 10_000;

/// Looks until `condition` gives something, and fails with `what` if it does not within [`DEADLINE`].
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
