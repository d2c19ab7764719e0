//! Raft in memory: openraft beside raftyard. No disk, no serialised bytes between the replicas of the one, frames over
//! in-memory connections between the nodes of the other.

mod peer;

use crate::Failure;
use crate::clients::{self, Shape};
use crate::contest::{self, Run, System};
use crate::results::RoundResult;
use crate::tally::bounded;
use crate::yard::{Kept, Yard};
use futures::{StreamExt, TryStreamExt, stream};
use peer::OpenraftGroup;
use std::time::Duration;
use tokio::runtime::Runtime;

/// The release that `Cargo.toml` names.
const OPENRAFT: &str = "0.10.0-alpha.37";

/// Groups of openraft that start at once.
const STARTING: usize = 64;

/// Measures each number of groups in `groups` with `clients` clients of one write at a time, on `client_threads` threads.
pub(crate) fn run(
    run: &Run,
    groups: &[usize],
    clients: usize,
    payload: usize,
    client_threads: usize,
) -> Result<(), Failure> {
    for &groups in groups {
        let shape = Shape {
            clients,
            depth: 1,
            payload,
        };
        let options = [
            ("groups", groups.to_string()),
            ("clients", clients.to_string()),
            ("depth", "1".to_owned()),
            ("payload", payload.to_string()),
            ("client-threads", client_threads.to_string()),
        ];
        let yard = |name: &str, plain| System {
            name: name.to_owned(),
            version: crate::machine::commit(),
            durability: "none: in memory of three nodes",
            measure: Box::new(move || {
                let runtime = crate::runtime(client_threads)?;
                let start = Yard::start(Kept::InMemory, groups as u64, plain);
                let yard = bounded(&runtime, &run.timing, "raftyard's groups to start", start)?;
                let measured = clients::run(&runtime, &yard.groups, shape, &run.timing);
                runtime.block_on(yard.stop());
                measured
            }),
        };
        let peer = System {
            name: "openraft".to_owned(),
            version: OPENRAFT.to_owned(),
            durability: "none: in memory of three replicas",
            measure: Box::new(move || {
                let runtime = crate::runtime(client_threads)?;
                of_openraft(runtime, run, groups, shape)
            }),
        };
        let systems = vec![yard("raftyard", false), yard("raftyard-plain", true), peer];
        contest::run(run, &format!("memory{groups}"), &options, systems, &[])?;
    }
    Ok(())
}

fn of_openraft(runtime: Runtime, run: &Run, groups: usize, shape: Shape) -> Result<RoundResult, Failure> {
    let config = peer::config()?;
    // A few at a time: elections of all at once would outlast their own timeouts.
    let started = bounded(&runtime, &run.timing, "openraft's groups to start", async {
        let starting = (0..groups).map(|number| tokio::spawn(OpenraftGroup::start(number, config.clone())));
        let started = stream::iter(starting).buffer_unordered(STARTING);
        started.map(|group| group?).try_collect::<Vec<_>>().await
    })?;
    let measured = clients::run(&runtime, &started, shape, &run.timing);
    // Its replicas are tasks, and nothing of them is kept: they end with the threads that run them.
    runtime.shutdown_timeout(Duration::from_secs(10));
    measured
}
