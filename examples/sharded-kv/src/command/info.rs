//! `INFO [section …]`.

use std::fmt::Write;

use bytes::Bytes;

use super::{Action, Parsed, Spec, arguments_from};
use crate::resp::Reply;
use crate::session::Session;
use crate::status::{COMPATIBLE_VERSION, SERVER_NAME, Status};

pub(super) const COMMANDS: &[Spec] = &[Spec {
    name: "info",
    arity: -1,
    flags: &["loading", "stale", "no_multi"],
    keys: None,
    categories: &["@slow", "@dangerous"],
    run: info,
}];

/// The sections in the order they are shown.
const SECTIONS: [&str; 6] = ["Server", "Clients", "Stats", "Replication", "Cluster", "Keyspace"];

fn info(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let names = arguments_from(arguments, 1);
    let everything = names.is_empty()
        || names.iter().any(|name| {
            ["all", "everything", "default"]
                .iter()
                .any(|all| name.eq_ignore_ascii_case(all.as_bytes()))
        });
    let wanted: Vec<&'static str> = SECTIONS
        .into_iter()
        .filter(|section| everything || names.iter().any(|name| name.eq_ignore_ascii_case(section.as_bytes())))
        .collect();
    // Only the key space has to be asked of the groups.
    if wanted.contains(&"Keyspace") {
        Ok(Action::Count(Box::new(move |status, keys| {
            Reply::Verbatim(text(&wanted, status, keys))
        })))
    } else {
        Ok(Action::Describe(Box::new(move |status| {
            Reply::Verbatim(text(&wanted, status, None))
        })))
    }
}

fn text(wanted: &[&str], status: &Status, keys: Option<i64>) -> String {
    let mut text = String::new();
    for section in wanted {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        // Writing to a string can't fail.
        let _ = write!(text, "# {section}\r\n");
        for (name, value) in fields(section, status, keys) {
            let _ = write!(text, "{name}:{value}\r\n");
        }
    }
    text
}

fn fields(section: &str, status: &Status, keys: Option<i64>) -> Vec<(&'static str, String)> {
    let topology = &status.topology;
    match section {
        "Server" => {
            let me = topology.member(topology.me());
            vec![
                ("redis_version", COMPATIBLE_VERSION.into()),
                ("server_name", SERVER_NAME.into()),
                ("raftyard_version", env!("CARGO_PKG_VERSION").into()),
                ("redis_mode", "cluster".into()),
                ("process_id", std::process::id().to_string()),
                ("tcp_port", me.map_or(0, |me| me.resp.port).to_string()),
                ("uptime_in_seconds", status.uptime.as_secs().to_string()),
            ]
        }
        "Clients" => vec![
            ("connected_clients", status.clients.to_string()),
            ("maxclients", status.clients_max.to_string()),
        ],
        "Stats" => vec![
            ("total_connections_received", status.connections.to_string()),
            ("total_commands_processed", status.commands.to_string()),
            ("rejected_connections", status.rejected.to_string()),
            ("acl_access_denied_auth", status.access_refusals.to_string()),
            ("tls_handshakes_failed", status.tls_failures.to_string()),
            ("raft_peers_refused", status.peers_refused.to_string()),
        ],
        "Replication" => {
            let led = |leader: &&Option<_>| **leader == Some(topology.me());
            // The role that `CLUSTER` shows.
            let master = topology.master_of(topology.me(), &topology.led_ranges(&status.leaders));
            let mut fields = vec![("role", if master.is_some() { "slave" } else { "master" }.into())];
            if let Some(master) = master {
                fields.push(("master_host", master.resp.host.clone()));
                fields.push(("master_port", master.resp.port.to_string()));
                fields.push(("master_link_status", "up".into()));
            }
            fields.push(("connected_slaves", "0".into()));
            fields.push(("raft_groups", status.leaders.len().to_string()));
            fields.push(("raft_groups_led", status.leaders.iter().filter(led).count().to_string()));
            fields
        }
        "Cluster" => vec![("cluster_enabled", "1".into())],
        // Redis shows no line for a database without keys.
        _ => keys
            .filter(|keys| *keys > 0)
            .map(|keys| ("db0", format!("keys={keys},expires=0,avg_ttl=0")))
            .into_iter()
            .collect(),
    }
}
