//! `raftyard-kv`: a sharded, replicated key-value store that Redis clients use as a Redis Cluster.
//!
//! The way of a command: [`server`] accepts, [`connection`] receives, [`resp`] finds the command in the bytes,
//! [`command`] says what is to be done, [`node`] puts it to the group that holds the key's slot ([`slots`]), the group's
//! state machine ([`machine`], in memory or on disk: [`state`]) answers, and [`pipeline`] keeps the replies in order. With
//! the setting `proxy`, a command on a group that another node leads goes there ([`proxy`], [`upstream`]). Commands on all
//! keys ask every group ([`gather`]), transactions are put together per connection ([`transaction`]), and [`expiry`] lets
//! keys expire when nobody writes.

mod access;
mod address;
mod admin;
mod bell;
mod certificates;
mod clock;
mod command;
mod config;
mod connection;
mod ctl;
mod descriptors;
mod dev;
mod dial;
mod expiry;
mod gather;
mod glob;
mod hosting;
mod launch;
mod machine;
mod node;
mod nodes_file;
mod pipeline;
mod proxy;
#[cfg(test)]
mod random;
mod replies;
mod resp;
mod server;
mod session;
mod shard_file;
mod slots;
mod state;
mod status;
mod stream;
mod tls;
mod topology;
mod transaction;
mod upstream;
mod wire;
mod writes;

use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::access::{Password, PasswordError};
use crate::address::HostPort;
use crate::certificates::{CertificateError, Wanted};
use crate::config::{ConfigError, DEFAULT_DATA_DIR, NodeConfig, Reads, StateKind};
use crate::ctl::{Ctl, CtlError};
use crate::dev::DevCluster;
use crate::dial::Dial;
use crate::launch::{FailedError, RunningNode, StartError};
use crate::slots::{SLOT_COUNT, ShardMap};
use crate::tls::{Connector, TlsFileError};

/// Days for which the certificates of `dev --tls` are valid.
const DEV_DAYS: u32 = 30;

/// A sharded, replicated key-value store that Redis clients use as a Redis Cluster.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Run a whole cluster in this process, on the loopback address.
    ///
    /// Node i (from 1) serves Redis clients on PORT + i - 1 and the other nodes on PORT + 1000 + i - 1, and keeps its
    /// data in DIR/node-i.
    Dev {
        /// Number of nodes.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
        nodes: u16,
        /// Number of Raft groups that share the 16,384 slots; can't be changed once there is data.
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=i64::from(SLOT_COUNT)))]
        groups: u16,
        /// Where data is kept.
        #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR)]
        data: PathBuf,
        /// RESP port of node 1.
        #[arg(long, default_value_t = 7001, value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,
        /// Where keys and values are: in memory, or on disk, for more than fits into memory; can't be changed once there
        /// is data.
        #[arg(long, value_enum, default_value_t)]
        state: StateKind,
        /// Forward commands to the leader of the key's group instead of answering MOVED, for clients that know nothing of
        /// clusters.
        #[arg(long)]
        proxy: bool,
        /// What reads answer after READONLY: as current as at the leader, or what the replica has.
        #[arg(long, value_enum, default_value_t)]
        reads: Reads,
        /// Speak TLS with clients and between nodes, with certificates in DIR/certs that are made at each start; clients
        /// trust DIR/certs/ca.pem.
        #[arg(long)]
        tls: bool,
        /// What clients have to say first (AUTH): the line in this file.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Run one node of a cluster.
    Server {
        /// The node's configuration; node.example.toml describes it.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Ask a running cluster about itself, or change who belongs to it.
    Ctl {
        /// Where any of its nodes serves clients; all commands but `store` need it.
        #[arg(long, value_name = "HOST:PORT")]
        node: Option<HostPort>,
        /// The password that the nodes ask of clients: the line in this file; otherwise what RAFTYARD_PASSWORD says, if it
        /// is set.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Speak TLS, with nodes whose certificate is of the authority in this file and names their host.
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
        #[command(subcommand)]
        command: Ctl,
    },
    /// Write certificates for the nodes of a cluster, from an authority of its own.
    ///
    /// DIR gets ca.pem and ca-key.pem (unless they are there), and node-N.pem and node-N-key.pem for each node, which serve
    /// both between nodes and for clients. Give it again to renew them or to add nodes. Who has ca-key.pem can be any node.
    Cert {
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Their ids.
        #[arg(long, value_delimiter = ',', required = true, value_parser = clap::value_parser!(u64).range(1..))]
        nodes: Vec<u64>,
        /// The `cluster` of their configuration.
        #[arg(long, default_value = "raftyard")]
        cluster: String,
        /// Host names and addresses at which clients reach the nodes, beside localhost.
        #[arg(long, value_delimiter = ',')]
        hosts: Vec<String>,
        /// How long the nodes' certificates are valid.
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
}

/// Why the process ends before it is asked to.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Ctl(#[from] CtlError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("RAFTYARD_PASSWORD is empty or too long")]
    PasswordVariable,
    #[error(transparent)]
    TlsFile(#[from] TlsFileError),
    #[error("--port {port}: the ports of {nodes} nodes would be above 65535")]
    Ports { port: u16, nodes: u16 },
    #[error("--groups {0} is not between 1 and {SLOT_COUNT}")]
    Groups(u16),
    #[error("--node is missing: which cluster?")]
    NoNode,
    #[error("can't start: {0}")]
    Process(io::Error),
    #[error(transparent)]
    Failed(#[from] FailedError),
}

/// Of small objects that one thread allocates and another one frees there are many.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "info,tarpc=warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    match run(arguments.mode) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("raftyard-kv: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mode: Mode) -> Result<ExitCode, RunError> {
    let (mut configs, dev) = match mode {
        Mode::Dev {
            nodes,
            groups,
            data,
            port,
            state,
            proxy,
            reads,
            tls,
            password_file,
        } => {
            let certificates = tls.then(|| data.join("certs"));
            if let Some(dir) = &certificates {
                let wanted = Wanted {
                    cluster: dev::CLUSTER,
                    nodes: &(1..=u64::from(nodes)).collect::<Vec<_>>(),
                    hosts: &[],
                    days: DEV_DAYS,
                };
                certificates::write(dir, &wanted)?;
            }
            let cluster = DevCluster {
                nodes,
                shard_map: ShardMap::new(groups).ok_or(RunError::Groups(groups))?,
                data,
                port,
                state,
                proxy,
                reads,
                certificates,
                password: password_file.as_deref().map(Password::read).transpose()?,
            };
            let configs = cluster.configs().ok_or(RunError::Ports { port, nodes })?;
            (configs, true)
        }
        Mode::Cert {
            out,
            nodes,
            cluster,
            hosts,
            days,
        } => {
            let wanted = Wanted {
                cluster: &cluster,
                nodes: &nodes,
                hosts: &hosts,
                days,
            };
            certificates::write(&out, &wanted)?;
            return Ok(ExitCode::SUCCESS);
        }
        Mode::Ctl {
            node,
            password_file,
            ca,
            command,
        } => {
            if let Ctl::Store { command } = command {
                return Ok(ctl::store(&command, announce).into());
            }
            let node = node.ok_or(RunError::NoNode)?;
            let dial = Dial {
                tls: ca.as_deref().map(Connector::open).transpose()?,
                password: operators_password(password_file.as_deref())?,
                groups: None,
            };
            let asked = ctl::run(&node, &dial, command, announce);
            runtime()?.block_on(asked)?;
            return Ok(ExitCode::SUCCESS);
        }
        Mode::Server { config } => (vec![NodeConfig::load(&config)?], false),
    };
    descriptors::make_fit(&mut configs);
    runtime()?.block_on(run_nodes(&configs, dev))?;
    Ok(ExitCode::SUCCESS)
}

fn operators_password(file: Option<&Path>) -> Result<Option<Password>, RunError> {
    if let Some(file) = file {
        return Ok(Some(Password::read(file)?));
    }
    let variable = std::env::var_os("RAFTYARD_PASSWORD");
    let password = variable.map(|text| Password::new(text.as_bytes()).ok_or(RunError::PasswordVariable));
    password.transpose()
}

fn runtime() -> Result<tokio::runtime::Runtime, RunError> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    built.map_err(RunError::Process)
}

/// Runs the nodes until the process is asked to end, or one of them can't go on.
async fn run_nodes(configs: &[NodeConfig], dev: bool) -> Result<(), RunError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Process)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Process)?;
    let mut nodes = Vec::new();
    let start = async {
        for config in configs {
            nodes.push(RunningNode::start(config).await?);
        }
        Ok::<_, StartError>(())
    };
    // A start may take long, and what it has opened needs no farewell.
    let started = tokio::select! {
        started = start => Some(started),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    match started {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            stop(nodes).await;
            return Err(error.into());
        }
        None => {
            tracing::info!("asked to end before the start was over, shutting down");
            stop(nodes).await;
            return Ok(());
        }
    }
    let serve = async {
        for node in &nodes {
            node.ready().await;
            announce(&node.describe());
        }
        if let (true, Some(config)) = (dev, configs.first()) {
            let groups = config.shard_map.groups();
            announce(&format!("cluster ready nodes={} groups={groups}", nodes.len()));
        }
        std::future::pending::<()>().await;
    };
    let mut failures: FuturesUnordered<_> = nodes.iter().map(RunningNode::failed).collect();
    let outcome = tokio::select! {
        () = serve => Ok(()),
        Some(failure) = failures.next() => {
            tracing::error!(error = %failure, "shutting down");
            Err(failure.into())
        }
        _ = interrupt.recv() => {
            tracing::info!("interrupted, shutting down");
            Ok(())
        }
        _ = terminate.recv() => {
            tracing::info!("terminated, shutting down");
            Ok(())
        }
    };
    drop(failures);
    stop(nodes).await;
    outcome
}

/// Lets every node answer its clients while all groups still have their quorum, then stops the nodes.
async fn stop(mut nodes: Vec<RunningNode>) {
    join_all(nodes.iter_mut().map(RunningNode::stop_serving)).await;
    join_all(nodes.into_iter().map(RunningNode::shutdown)).await;
}

/// Reports to whoever started the process, who may not listen any more.
fn announce(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}");
    let _ = stdout.flush();
}
