//! What can be asked for.

use crate::contest::Run;
use crate::tally::{Interrupt, Timing};
use crate::{Failure, ceiling, kv, machine, memory};
use clap::{Args, Parser, Subcommand, value_parser};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Measures raftyard beside others, in alternating rounds of one run.
#[derive(Parser)]
#[command(name = "raftyard-peers", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    load: Load,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Common {
    /// Rounds; each system is measured once per round
    #[arg(long, global = true, value_name = "N", default_value_t = 5, value_parser = value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Seconds to measure each system in each round, after a warm-up of one second
    #[arg(long, global = true, value_name = "S", default_value_t = 5, value_parser = value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// An existing directory, on the disk to be measured; what is written in it is removed at the end
    /// [default: the system's temporary directory]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Write a file per load and system into this directory, as JSON
    #[arg(long, global = true, value_name = "DIR")]
    json: Option<PathBuf>,
    /// Threads that run the clients [default: one per core]
    #[arg(long, global = true, value_name = "N", value_parser = value_parser!(u16).range(1..=256))]
    client_threads: Option<u16>,
}

#[derive(Subcommand)]
enum Load {
    /// What the disk and the cores allow: no Raft, no actors, no network
    Ceiling(CeilingArgs),
    /// openraft, in memory
    Openraft(OpenraftArgs),
    /// etcd and redis, as servers, beside raftyard-kv
    Kv(KvArgs),
    /// All of them, with their default settings
    All {
        /// The program raftyard-kv [default: the one beside this program]
        #[arg(long, value_name = "FILE")]
        raftyard_kv: Option<PathBuf>,
    },
}

#[derive(Args)]
struct CeilingArgs {
    /// The loads
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [ceiling::Name::Write48, ceiling::Name::Busy4096])]
    loads: Vec<ceiling::Name>,
    /// Writes on their way, all groups together [default: 6,144 for write48, 16,384 for busy4096]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1_000_000))]
    in_flight: Option<u32>,
}

#[derive(Args)]
struct KvArgs {
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = value_parser!(u32).range(1..=9_000))]
    connections: u32,
    /// Numbers of writes that a connection keeps on their way, each measured by itself
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 16], value_parser = value_parser!(u32).range(1..=10_000))]
    depths: Vec<u32>,
    /// Bytes of a write: 8 of them are the key, the rest is the value
    #[arg(long, value_name = "BYTES", default_value_t = 16, value_parser = value_parser!(u32).range(9..=1 << 20))]
    payload: u32,
    /// The program raftyard-kv [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    raftyard_kv: Option<PathBuf>,
}

/// What `all` takes of a load that takes options.
fn defaults<T: Args>() -> Result<T, clap::Error> {
    let command = T::augment_args(clap::Command::new("raftyard-peers"));
    T::from_arg_matches(&command.try_get_matches_from(["raftyard-peers"])?)
}

#[derive(Args)]
struct OpenraftArgs {
    /// Numbers of groups, each measured by itself
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 48, 4096], value_parser = value_parser!(u32).range(1..=100_000))]
    groups: Vec<u32>,
    /// Clients, each with one write at a time, spread over the groups
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = value_parser!(u32).range(1..=1_000_000))]
    clients: u32,
    /// Bytes of a write: 8 of them are the key, the rest is the value
    #[arg(long, value_name = "BYTES", default_value_t = 16, value_parser = value_parser!(u32).range(8..=1 << 20))]
    payload: u32,
}

impl Cli {
    /// Measures what was asked for.
    ///
    /// # Errors
    ///
    /// If that can't be, or a round failed, or the run was interrupted.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let common = self.common;
        let data = common.data.unwrap_or_else(std::env::temp_dir);
        if let Some(json) = &common.json {
            std::fs::create_dir_all(json).map_err(|error| format!("{}: {error}", json.display()))?;
        }
        let machine = machine::read(&data);
        if matches!(machine.data_filesystem.as_deref(), Some("tmpfs" | "ramfs")) {
            eprintln!(
                "warning: {} is in memory, where fsync costs nothing: use --data with a directory on a disk",
                data.display()
            );
        }
        let run = Run {
            rounds: common.rounds,
            timing: Timing {
                warm_up: Duration::from_secs(1),
                measure: Duration::from_secs(common.seconds),
                interrupt: listen()?,
            },
            data,
            json: common.json,
            machine,
        };
        let cores = run.machine.cores.unwrap_or(1);
        let client_threads = common.client_threads.map_or(cores, usize::from);
        match self.load {
            Load::Ceiling(arguments) => arguments.run(&run, client_threads),
            Load::Openraft(arguments) => arguments.run(&run, client_threads),
            Load::Kv(arguments) => arguments.run(&run, client_threads),
            Load::All { raftyard_kv } => {
                // Whether all stores are there shows first: they can be missing, the others can't.
                let kv = KvArgs {
                    raftyard_kv,
                    ..defaults()?
                };
                kv.run(&run, client_threads)?;
                defaults::<CeilingArgs>()?.run(&run, client_threads)?;
                defaults::<OpenraftArgs>()?.run(&run, client_threads)
            }
        }
    }
}

impl CeilingArgs {
    fn run(self, run: &Run, client_threads: usize) -> Result<(), Failure> {
        ceiling::run(run, &self.loads, self.in_flight.map(size).transpose()?, client_threads)
    }
}

impl OpenraftArgs {
    fn run(self, run: &Run, client_threads: usize) -> Result<(), Failure> {
        let (clients, payload) = (size(self.clients)?, size(self.payload)?);
        memory::run(run, &sizes(self.groups)?, clients, payload, client_threads)
    }
}

impl KvArgs {
    fn run(self, run: &Run, client_threads: usize) -> Result<(), Failure> {
        let plan = kv::Plan {
            depths: sizes(self.depths)?,
            connections: size(self.connections)?,
            payload: size(self.payload)?,
            client_threads,
            raftyard_kv: self.raftyard_kv,
        };
        kv::run(run, &plan)
    }
}

fn size(value: u32) -> Result<usize, Failure> {
    Ok(usize::try_from(value).map_err(|_| format!("{value} is too large for this machine"))?)
}

fn sizes(values: Vec<u32>) -> Result<Vec<usize>, Failure> {
    values.into_iter().map(size).collect()
}

/// Set once the process is asked to end.
fn listen() -> Result<Interrupt, Failure> {
    let interrupt = Interrupt::default();
    let set = interrupt.clone();
    let runtime = crate::runtime(1)?;
    std::thread::Builder::new()
        .name("interrupt".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                use tokio::signal::unix::{SignalKind, signal};
                let (Ok(mut interrupt), Ok(mut terminate)) =
                    (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
                else {
                    return;
                };
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            set.store(true, Ordering::Relaxed);
        })?;
    Ok(interrupt)
}
