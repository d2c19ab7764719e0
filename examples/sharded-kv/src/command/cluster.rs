//! `CLUSTER …`: how clients discover who leads which slots.
//!
//! A slot belongs to the node that leads its group; a slot whose group has no known leader belongs to nobody.
//!
//! To Redis clients a node is either a master, with slots of its own, or a replica. So a node that leads any group is a master
//! and nothing else, although it holds replicas of all other groups: clients that find a node in both roles take it for a
//! replica altogether, and send its keys elsewhere. A node that leads nothing is a replica, so that clients know of it when
//! it has to take over: of every range where several masters can be named, and where only one can, of the first one. While
//! no group has a known leader there is nobody to be a replica of, and every node is a master without slots.

use bytes::Bytes;

use super::{Action, Parsed, Spec, argument, subcommand};
use crate::resp::Reply;
use crate::session::Session;
use crate::slots::{SLOT_COUNT, slot_of};
use crate::status::Status;
use crate::topology::{LedRange, Member};

pub(super) const COMMANDS: &[Spec] = &[Spec {
    name: "cluster",
    arity: -2,
    flags: &["loading", "stale"],
    keys: None,
    categories: &["@slow"],
    run: cluster,
}];

const SUBCOMMANDS: &[(&str, i64)] = &[
    ("SLOTS", 2),
    ("SHARDS", 2),
    ("NODES", 2),
    ("INFO", 2),
    ("MYID", 2),
    ("KEYSLOT", 3),
];

fn cluster(_: &mut Session, arguments: &[Bytes]) -> Parsed {
    let describe: fn(&Status) -> Reply = match subcommand("cluster", SUBCOMMANDS, arguments)? {
        "SLOTS" => slots,
        "SHARDS" => shards,
        "NODES" => nodes,
        "INFO" => info,
        "MYID" => |status| Reply::text(status.topology.my_name()),
        _ => {
            let slot = slot_of(argument(arguments, 2)?);
            return Ok(Action::Reply(Reply::Integer(slot.into())));
        }
    };
    Ok(Action::Describe(Box::new(describe)))
}

fn ranges(status: &Status) -> Vec<LedRange> {
    status.topology.led_ranges(&status.leaders)
}

/// The range's leader, then the replicas.
fn holders<'a>(status: &'a Status, ranges: &'a [LedRange], range: &LedRange) -> impl Iterator<Item = &'a Member> {
    let topology = &status.topology;
    let replicas = topology
        .members()
        .iter()
        .filter(|member| topology.master_of(member.node, ranges).is_some());
    topology.member(range.leader).into_iter().chain(replicas)
}

/// An entry per range: first slot, last slot, then host, port and name of each holder, the leader first.
fn slots(status: &Status) -> Reply {
    let ranges = ranges(status);
    let entry = |range: &LedRange| {
        let holder = |member: &Member| {
            Reply::Array(vec![
                Reply::text(&member.resp.host),
                Reply::Integer(member.resp.port.into()),
                Reply::text(&member.name),
            ])
        };
        let bounds = [range.first, range.last].map(|slot| Reply::Integer(slot.into()));
        Reply::Array(
            bounds
                .into_iter()
                .chain(holders(status, &ranges, range).map(holder))
                .collect(),
        )
    };
    Reply::Array(ranges.iter().map(entry).collect())
}

/// An entry per range: its bounds and the holders with their roles.
fn shards(status: &Status) -> Reply {
    let field = |name: &str, value: Reply| (Reply::text(name), value);
    let ranges = ranges(status);
    let entry = |range: &LedRange| {
        let holder = |member: &Member| {
            let leads = member.node == range.leader;
            Reply::Map(vec![
                field("id", Reply::text(&member.name)),
                field("port", Reply::Integer(member.resp.port.into())),
                field("ip", Reply::text(&member.resp.host)),
                field("endpoint", Reply::text(&member.resp.host)),
                field("role", Reply::text(if leads { "master" } else { "replica" })),
                field("replication-offset", Reply::Integer(0)),
                field("health", Reply::text("online")),
            ])
        };
        let bounds = [range.first, range.last].map(|slot| Reply::Integer(slot.into()));
        Reply::Map(vec![
            field("slots", Reply::Array(bounds.into())),
            field(
                "nodes",
                Reply::Array(holders(status, &ranges, range).map(holder).collect()),
            ),
        ])
    };
    Reply::Array(ranges.iter().map(entry).collect())
}

/// A line per node: name, address, flags, its master if it is a replica, and the slots it leads.
fn nodes(status: &Status) -> Reply {
    let (topology, ranges) = (&status.topology, ranges(status));
    let line = |member: &Member| {
        let (role, master) = match topology.master_of(member.node, &ranges) {
            Some(master) => ("slave", master.name.as_str()),
            None => ("master", "-"),
        };
        let myself = if member.node == topology.me() { "myself," } else { "" };
        let mut line = format!(
            "{} {}:{}@{} {myself}{role} {master} 0 0 {} connected",
            member.name, member.resp.host, member.resp.port, member.peer_port, member.node.0,
        );
        for range in ranges.iter().filter(|range| range.leader == member.node) {
            line.push_str(&match range {
                LedRange { first, last, .. } if first == last => format!(" {first}"),
                LedRange { first, last, .. } => format!(" {first}-{last}"),
            });
        }
        line.push('\n');
        line
    };
    Reply::Verbatim(topology.members().iter().map(line).collect())
}

/// `cluster_state` is `ok` while every slot has a known leader.
fn info(status: &Status) -> Reply {
    let ranges = ranges(status);
    let led: u32 = ranges.iter().map(|range| u32::from(range.last - range.first) + 1).sum();
    let members = status.topology.members();
    let leading = members
        .iter()
        .filter(|member| ranges.iter().any(|range| range.leader == member.node));
    let state = if led == u32::from(SLOT_COUNT) { "ok" } else { "fail" };
    let epoch_max = members.iter().map(|member| member.node.0).max().unwrap_or(0);
    let fields = [
        ("cluster_state", state.to_owned()),
        ("cluster_slots_assigned", SLOT_COUNT.to_string()),
        ("cluster_slots_ok", led.to_string()),
        ("cluster_slots_pfail", "0".into()),
        ("cluster_slots_fail", (u32::from(SLOT_COUNT) - led).to_string()),
        ("cluster_known_nodes", members.len().to_string()),
        ("cluster_size", leading.count().to_string()),
        ("cluster_current_epoch", epoch_max.to_string()),
        ("cluster_my_epoch", status.topology.me().0.to_string()),
    ];
    let text = fields.map(|(name, value)| format!("{name}:{value}\r\n"));
    Reply::Verbatim(text.concat())
}
