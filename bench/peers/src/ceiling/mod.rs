//! What the disk and the cores allow: the same bytes to three logs, each with its thread and its fsyncs, committed by
//! two of three, without Raft, actors, state machines, network and clients. And raftyard, with all of that.

mod log;
mod quorum;

use crate::Failure;
use crate::clients::{self, Shape};
use crate::contest::{self, Run, System};
use crate::results::RoundResult;
use crate::tally::bounded;
use crate::yard::{Kept, Yard};
use clap::ValueEnum;
use log::Medium;
use quorum::Load;
use tempfile::TempDir;

/// A load, named as the load generator names it.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// 48 groups, 16 B
    Write48,
    /// 4,096 groups, 128 B
    Busy4096,
}

impl Name {
    fn load(self) -> (&'static str, Load) {
        match self {
            Self::Write48 => (
                "write48",
                Load {
                    groups: 48,
                    payload: 16,
                    in_flight: 6_144,
                },
            ),
            Self::Busy4096 => (
                "busy4096",
                Load {
                    groups: 4_096,
                    payload: 128,
                    in_flight: 16_384,
                },
            ),
        }
    }
}

/// Measures the loads in `names`, with `in_flight` writes on their way if that is given. raftyard's clients are tasks on
/// `client_threads` threads.
pub(crate) fn run(run: &Run, names: &[Name], in_flight: Option<usize>, client_threads: usize) -> Result<(), Failure> {
    for name in names {
        let (name, mut load) = name.load();
        load.in_flight = in_flight.unwrap_or(load.in_flight);
        let options = [
            ("groups", load.groups.to_string()),
            ("payload", load.payload.to_string()),
            ("in-flight", load.in_flight.to_string()),
            ("client-threads", client_threads.to_string()),
        ];
        let ceiling = |name: &str, medium| System {
            name: name.to_owned(),
            version: crate::machine::commit(),
            durability: "fsynced by 2 of 3 logs",
            measure: Box::new(move || {
                let dir = data(run)?;
                quorum::run(medium, dir.path(), load, &run.timing)
            }),
        };
        let yard = System {
            name: "raftyard".to_owned(),
            version: crate::machine::commit(),
            durability: "fsynced by 2 of 3 nodes and applied; state machines in memory",
            measure: Box::new(move || on_disk(run, load, client_threads)),
        };
        let systems = vec![
            yard,
            ceiling("ceiling-fjall", Medium::Fjall),
            ceiling("ceiling-files", Medium::File),
        ];
        contest::run(run, name, &options, systems, &[])?;
    }
    Ok(())
}

/// A directory for a round, removed when it is dropped.
fn data(run: &Run) -> Result<TempDir, Failure> {
    let dir = TempDir::with_prefix_in("raftyard-peers-", &run.data);
    Ok(dir.map_err(|error| format!("{}: no directory can be made in it: {error}", run.data.display()))?)
}

fn on_disk(run: &Run, load: Load, client_threads: usize) -> Result<RoundResult, Failure> {
    let dir = data(run)?;
    let runtime = crate::runtime(client_threads)?;
    let start = Yard::start(Kept::OnDisk(dir.path()), load.groups as u64, false);
    let yard = bounded(&runtime, &run.timing, "raftyard's groups to start", start)?;
    // As many clients as groups, or two for each of few; each keeps its share on its way.
    let clients = load.groups.max(96).min(load.in_flight);
    let shape = Shape {
        clients,
        depth: (load.in_flight / clients).max(1),
        payload: load.payload,
    };
    let measured = clients::run(&runtime, &yard.groups, shape, &run.timing);
    runtime.block_on(yard.stop());
    measured
}
