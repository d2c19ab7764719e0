//! What the load generator can be told.

use crate::kv::KEY_BYTES;
use clap::{Args, Parser, Subcommand, value_parser};
use std::path::PathBuf;
use std::time::Duration;

/// Writes on their way that a run may have, all clients together: more would only be refused by the nodes.
const ON_THEIR_WAY_MAX: u64 = 1_000_000;

/// Loads three raftyard nodes in this process and reports throughput, latency and cost.
///
/// The nodes talk tarpc over loopback and keep their logs on disk, with every fsync honoured; the state
/// machines are in memory. Each client keeps a fixed number of writes on their way (a closed loop), follows
/// its group's leader, and asks again when a write was refused. Figures go to standard output, progress to
/// standard error.
#[derive(Parser)]
#[command(name = "raftyard-bench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand)]
enum Load {
    /// 48 groups, every write durable on a quorum before it is answered
    Write48(Options),
    /// One group, otherwise the same
    Write1(Options),
}

#[derive(Args)]
struct Options {
    /// Groups, each with a replica on all three nodes [default: 48 or 1, as the load's name says]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=100_000))]
    groups: Option<u64>,
    /// Clients; client i writes to group i modulo the number of groups
    #[arg(long, value_name = "N", default_value_t = 96, value_parser = value_parser!(u64).range(1..=100_000))]
    clients: u64,
    /// Writes that each client keeps on their way
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = value_parser!(u64).range(1..=100_000))]
    depth: u64,
    /// Seconds to measure in each round, after a warm-up of one second
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Rounds, each on a new cluster; with more than one, medians and the spread are reported
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Bytes of a write: 8 of them are the key, the rest is the value
    #[arg(long, value_name = "BYTES", default_value_t = 16, value_parser = value_parser!(u64).range(8..=1 << 20))]
    payload: u64,
    /// Worker threads of each node
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(1..=256))]
    workers: u64,
    /// Threads that run the clients
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(1..=256))]
    client_threads: u64,
    /// An existing directory, on the disk to be measured; what the nodes write in it is removed at the end
    /// [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Write the figures to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) load: &'static str,
    pub(crate) groups: u64,
    pub(crate) clients: u64,
    pub(crate) depth: usize,
    pub(crate) measure: Duration,
    pub(crate) rounds: u64,
    /// Bytes of a value; the payload is that and the key.
    pub(crate) value_bytes: usize,
    pub(crate) workers: usize,
    pub(crate) client_threads: usize,
    pub(crate) data: Option<PathBuf>,
    pub(crate) json: Option<PathBuf>,
}

impl Cli {
    /// # Errors
    ///
    /// What of it does not go together.
    pub(crate) fn plan(self) -> Result<Plan, String> {
        let (load, groups, options) = match self.load {
            Load::Write48(options) => ("write48", 48, options),
            Load::Write1(options) => ("write1", 1, options),
        };
        let on_their_way = options.clients * options.depth;
        if on_their_way > ON_THEIR_WAY_MAX {
            return Err(format!(
                "--clients {} times --depth {} is {on_their_way} writes on their way; {ON_THEIR_WAY_MAX} at most",
                options.clients, options.depth
            ));
        }
        let small = |value: u64| usize::try_from(value).map_err(|_| format!("{value} is too large for this machine"));
        Ok(Plan {
            load,
            groups: options.groups.unwrap_or(groups),
            clients: options.clients,
            depth: small(options.depth)?,
            measure: Duration::from_secs(options.seconds),
            rounds: options.rounds,
            value_bytes: small(options.payload)?.saturating_sub(KEY_BYTES),
            workers: small(options.workers)?,
            client_threads: small(options.client_threads)?,
            data: options.data,
            json: options.json,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn plan(arguments: &str) -> Result<Plan, String> {
        let arguments = ["raftyard-bench"].into_iter().chain(arguments.split_whitespace());
        Cli::try_parse_from(arguments)
            .map_err(|error| error.to_string())
            .and_then(Cli::plan)
    }

    #[test]
    fn a_load_is_what_its_name_says() {
        let (write48, write1) = (plan("write48").unwrap(), plan("write1").unwrap());
        assert_eq!((write48.load, write48.groups), ("write48", 48));
        assert_eq!((write1.load, write1.groups), ("write1", 1));
        assert_eq!(KEY_BYTES + write48.value_bytes, 16);
        assert_eq!(write48.rounds, 1);
    }

    #[test]
    fn options_change_the_load() {
        let plan = plan("write48 --groups 7 --payload 128 --rounds 5 --seconds 2 --depth 3").unwrap();
        assert_eq!((plan.groups, plan.rounds, plan.depth), (7, 5, 3));
        assert_eq!(plan.value_bytes, 120);
        assert_eq!(plan.measure, Duration::from_secs(2));
    }

    #[test]
    fn the_smallest_payload_is_a_key_alone() {
        assert_eq!(plan("write1 --payload 8").unwrap().value_bytes, 0);
    }

    #[test]
    fn values_that_make_no_sense_are_refused_by_name() {
        for (option, value) in [
            ("--payload", "4"),
            ("--payload", "1048577"),
            ("--groups", "0"),
            ("--clients", "0"),
            ("--depth", "0"),
            ("--rounds", "0"),
            ("--seconds", "0"),
            ("--workers", "-1"),
        ] {
            let error = match plan(&format!("write48 {option}={value}")) {
                Err(error) => error,
                Ok(plan) => panic!("{option} {value} was taken: {plan:?}"),
            };
            assert!(error.contains(option) && error.contains(value), "{error}");
        }
        let error = plan("write1 --clients 100000 --depth 100000").unwrap_err();
        assert!(error.contains("--depth 100000"), "{error}");
        assert!(plan("").is_err() && plan("write49").is_err());
    }
}
