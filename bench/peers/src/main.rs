//! Measures raftyard beside others, in alternating rounds of one run: on the same machine, with the same payload and
//! the same number of operations on their way.
//!
//! - [`ceiling`]: what the disk and the cores allow, without Raft, actors and network.
//! - [`memory`]: openraft, logs in memory, a network of function calls.
//! - [`kv`]: etcd and redis as servers, over the network.

mod ceiling;
mod cli;
mod clients;
mod contest;
mod cpu;
mod kv;
mod machine;
mod memory;
// The form that the load generator's `report` reads: one source, without a dependency on the load generator.
#[path = "../../src/results.rs"]
#[allow(unreachable_pub)]
mod results;
mod table;
mod tally;
mod yard;

use clap::Parser;
use std::error::Error;
use std::process::ExitCode;

/// Why there are no figures.
type Failure = Box<dyn Error + Send + Sync>;

/// The same for all that run in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Nothing listens to spans and events unless it is asked for: some of the measured emit very many.
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_default_env() {
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init();
    }
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// For clients, and for what runs in their process.
fn runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
}
