//! What the program is told when it is called.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::address::HostPort;
use crate::ctl::Ctl;
use crate::dev::Dev;

/// A sharded, replicated key-value store that Redis clients use as a Redis Cluster.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) mode: Mode,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Run a whole cluster in this process, on the loopback address.
    ///
    /// Node i (from 1) serves Redis clients on PORT + i - 1 and the other nodes on PORT + 1000 + i - 1, and keeps its
    /// data in DIR/node-i.
    Dev(Dev),
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
