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
mod arguments;
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
mod number_file;
mod pipeline;
mod process;
mod proxy;
#[cfg(test)]
mod random;
mod replies;
mod resp;
mod server;
mod session;
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

use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::access::{Password, PasswordError};
use crate::arguments::{Arguments, Mode};
use crate::certificates::{CertificateError, Wanted};
use crate::config::{ConfigError, NodeConfig};
use crate::ctl::{Ctl, CtlError};
use crate::dev::DevError;
use crate::dial::Dial;
use crate::launch::{FailedError, StartError};
use crate::tls::{Connector, TlsFileError};

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
    #[error(transparent)]
    Dev(#[from] DevError),
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
    let (mut configs, is_dev) = match mode {
        Mode::Dev(dev) => {
            dev.check()?;
            let configs = dev.configs()?;
            dev.claim()?;
            (configs, true)
        }
        Mode::Server { config } => (vec![NodeConfig::load(&config)?], false),
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
            let command = match command {
                Ctl::Store { command } => return Ok(ctl::store::look(&command, process::announce).into()),
                Ctl::Cluster(command) => command,
            };
            let node = node.ok_or(RunError::NoNode)?;
            let dial = Dial {
                tls: ca.as_deref().map(Connector::open).transpose()?,
                password: operators_password(password_file.as_deref())?,
                groups: None,
                connections_left: None,
            };
            let asked = ctl::run(&node, &dial, command, process::announce);
            process::runtime()?.block_on(asked)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    descriptors::make_fit(&mut configs);
    process::runtime()?.block_on(process::run_nodes(&configs, is_dev))?;
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
