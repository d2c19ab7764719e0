//! A node's configuration.

use super::Reader;
use crate::address::HostPort;
use crate::config::{ConfigError, NodeConfig};
use std::path::Path;

/// `node.toml`.
pub const CONFIG: Reader = Reader {
    name: "kv_config",
    read: |data| parse(data).is_some_and(|parsed| parsed.is_ok()),
    check,
    samples: || {
        let short = "cluster = 'c'\nnode = 7\nlisten_resp = '127.0.0.1:1'\nlisten_peer = '[::1]:2'\ngroups = 1";
        let example = include_str!("../../node.example.toml");
        // Comments would keep mutations from what matters.
        let lines = example.lines().filter(|line| !line.starts_with('#'));
        vec![short.into(), lines.collect::<Vec<_>>().join("\n").into()]
    },
};

/// None if it is no text, or names a file, which would be read.
fn parse(data: &[u8]) -> Option<Result<NodeConfig, ConfigError>> {
    let text = std::str::from_utf8(data).ok()?;
    let names_file = text.contains("password_file") || text.contains("\\u") || text.contains("\\U");
    (!names_file).then(|| NodeConfig::parse(Path::new("node.toml"), text))
}

fn check(data: &[u8]) {
    match parse(data) {
        None => {}
        Some(Err(error)) => {
            let text = error.to_string();
            assert!(
                text.starts_with("node.toml: ") && !text.contains('\n'),
                "no line about the file: {text:?}"
            );
        }
        Some(Ok(config)) => {
            assert!(config.node.0 > 0 && config.workers > 0 && config.max_clients > 0 && config.snapshot_entries > 0);
            let resp = config.peers.iter().flat_map(|peer| [&peer.peer, &peer.resp]);
            for address in resp.chain([&config.listen_resp, &config.listen_peer, &config.announce_resp]) {
                assert_eq!(address.to_string().parse::<HostPort>().as_ref(), Ok(address));
            }
            let mut nodes: Vec<_> = config.peers.iter().map(|peer| peer.node).collect();
            nodes.push(config.node);
            nodes.sort_unstable();
            assert!(
                nodes.windows(2).all(|pair| pair.first() != pair.last()),
                "a node is there twice: {nodes:?}"
            );
        }
    }
}
