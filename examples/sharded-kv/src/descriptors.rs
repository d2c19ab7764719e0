//! How many files the process may have open: each client takes one, and what the node itself needs must not be lacking
//! because of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{NodeConfig, StateKind};
use crate::machine::OPEN_TABLES;

/// What a node keeps for itself: the log's segments, snapshots, ports, and those who knock at the port for nodes.
const RESERVE: usize = 384;

/// What it keeps for each other node.
const PER_PEER: usize = 8;

/// Raises the limit as far as it goes, and has the nodes take no more clients than fit below it.
pub(crate) fn make_fit(configs: &mut [NodeConfig]) {
    let Some(limit) = raise() else { return };
    let share = limit / configs.len().max(1);
    for config in configs {
        let wanted = config.max_clients;
        config.max_clients = wanted.min(clients_max(config, share));
        if config.max_clients < wanted {
            tracing::warn!(
                node = config.node.0,
                open_files = limit,
                max_clients = config.max_clients,
                configured = wanted,
                "the limit of open files (RLIMIT_NOFILE) allows for fewer clients"
            );
        }
    }
}

/// The limit, `None` if there is none.
fn raise() -> Option<usize> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files can't be raised");
            current
        }
    };
    limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The clients for whom `limit` open files leave enough; half of them where that is not so, since some have to be served.
fn clients_max(config: &NodeConfig, limit: usize) -> usize {
    let tables = match config.state {
        StateKind::Memory => 0,
        StateKind::Disk => OPEN_TABLES,
    };
    let reserve = RESERVE + tables + PER_PEER * config.peers.len();
    let for_clients = limit.saturating_sub(reserve).max(limit / 2);
    // One who is served by forwarding may need a connection to each other node.
    let each = if config.proxy { 1 + config.peers.len() } else { 1 };
    (for_clients / each).max(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::*;

    fn config(line: &str) -> NodeConfig {
        let text = format!(
            "cluster = \"c\"\nnode = 1\nlisten_resp = \"127.0.0.1:1\"\nlisten_peer = \"127.0.0.1:2\"\ngroups = 1\n{line}\n\
             [[peers]]\nnode = 2\npeer = \"127.0.0.1:3\"\nresp = \"127.0.0.1:4\"\n"
        );
        NodeConfig::parse(Path::new("node.toml"), &text).unwrap()
    }

    #[test]
    fn clients_leave_the_node_what_it_needs() {
        for (line, limit, clients) in [
            ("", 1_024, 1_024 - RESERVE - PER_PEER),
            ("", 100_000, 100_000 - RESERVE - PER_PEER),
            ("state = \"disk\"", 2_048, 2_048 - RESERVE - PER_PEER - OPEN_TABLES),
            ("proxy = true", 2_000, (2_000 - RESERVE - PER_PEER) / 2),
            ("", 256, 128),
            ("", 1, 1),
        ] {
            assert_eq!(clients_max(&config(line), limit), clients, "{line} {limit}");
        }
    }
}
