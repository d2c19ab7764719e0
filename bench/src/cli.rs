//! What the load generator can be told.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Loads three raftyard nodes in one process and reports throughput, latency and cost.
#[derive(Parser)]
#[command(name = "raftyard-bench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand)]
enum Load {
    /// 48 groups, every write durable on a quorum before it is answered.
    Write48(Options),
    /// One group, otherwise the same.
    Write1(Options),
}

#[derive(Args, Clone)]
struct Options {
    /// Groups [default: what the load's name says]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    groups: Option<u64>,
    /// Clients, each of which writes to one group
    #[arg(long, default_value_t = 96, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    clients: u64,
    /// Writes that a client keeps on their way
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    depth: u64,
    /// How long to measure, after a warm-up of a second
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Bytes of a write: 8 of them are the key
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(8..=1 << 20))]
    payload: u64,
    /// Worker threads per node
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256))]
    workers: u64,
    /// Threads that run the clients
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=256))]
    client_threads: u64,
    /// Directory for the nodes' data, which is removed at the end [default: a temporary one]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Write the figures to this file too, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What is run.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) load: &'static str,
    pub(crate) groups: u64,
    pub(crate) clients: u64,
    pub(crate) depth: usize,
    pub(crate) measure: Duration,
    pub(crate) payload: usize,
    pub(crate) workers: usize,
    pub(crate) client_threads: usize,
    pub(crate) data: Option<PathBuf>,
    pub(crate) json: Option<PathBuf>,
}

impl Cli {
    pub(crate) fn plan(&self) -> Plan {
        let (load, groups, options) = match &self.load {
            Load::Write48(options) => ("write48", 48, options),
            Load::Write1(options) => ("write1", 1, options),
        };
        let small = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        Plan {
            load,
            groups: options.groups.unwrap_or(groups),
            clients: options.clients,
            depth: small(options.depth),
            measure: Duration::from_secs(options.seconds),
            payload: small(options.payload),
            workers: small(options.workers),
            client_threads: small(options.client_threads),
            data: options.data.clone(),
            json: options.json.clone(),
        }
    }
}
