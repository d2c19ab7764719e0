//! Stores over the network: raftyard-kv, etcd and redis, each in processes of its own, under the same writes from the
//! same number of connections.

mod etcd;
mod resp;
mod servers;

use crate::Failure;
use crate::clients::KEY_BYTES;
use crate::contest::{self, Run, System};
use crate::machine::first_line;
use crate::results::RoundResult;
use crate::tally::{Tally, bounded, end};
use servers::{Servers, free_port, loopback};
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::task::JoinSet;

/// How much is on its way.
#[derive(Clone, Copy)]
struct Shape {
    connections: usize,
    /// Writes per connection.
    depth: usize,
    /// Bytes of key and value.
    payload: usize,
    client_threads: usize,
}

/// What a run of stores needs.
pub(crate) struct Plan {
    /// Numbers of writes that a connection keeps on their way, each measured by itself.
    pub(crate) depths: Vec<usize>,
    pub(crate) connections: usize,
    pub(crate) payload: usize,
    pub(crate) client_threads: usize,
    /// The program `raftyard-kv`; by default the one beside this one.
    pub(crate) raftyard_kv: Option<PathBuf>,
}

/// Measures all stores that are there.
pub(crate) fn run(run: &Run, plan: &Plan) -> Result<(), Failure> {
    let ours = match &plan.raftyard_kv {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("raftyard-kv"),
    };
    if first_line(Command::new(&ours).arg("--version")).is_none() {
        return Err(format!(
            "{} does not run: build it with cargo build --release -p sharded-kv, or name it with --raftyard-kv",
            ours.display()
        )
        .into());
    }
    let etcd = first_line(Command::new("etcd").arg("--version"));
    let redis = first_line(Command::new("redis-server").arg("--version"));
    let mut absent = Vec::new();
    for (name, version) in [("etcd", &etcd), ("redis", &redis)] {
        if version.is_none() {
            absent.push(name);
        }
    }
    for &depth in &plan.depths {
        let shape = Shape {
            connections: plan.connections,
            depth,
            payload: plan.payload,
            client_threads: plan.client_threads,
        };
        let options = [
            ("connections", plan.connections.to_string()),
            ("depth", depth.to_string()),
            ("payload", plan.payload.to_string()),
            ("client-threads", plan.client_threads.to_string()),
        ];
        let kv = |groups: u16| {
            let ours = &ours;
            System {
                name: format!("raftyard-kv-{groups}"),
                version: crate::machine::commit(),
                durability: "fsynced by 2 of 3 nodes and applied; state in memory",
                measure: Box::new(move || over_resp(run, shape, raftyard_kv(run, ours, groups)?)),
            }
        };
        let mut systems = vec![kv(16), kv(1)];
        if let Some(version) = &etcd {
            systems.push(System {
                name: "etcd".to_owned(),
                version: version.clone(),
                durability: "fsynced by 2 of 3 members and applied; state on disk, fsynced now and then",
                measure: Box::new(move || over_grpc(run, shape, three_etcd(run)?)),
            });
        }
        if let Some(version) = &redis {
            systems.push(System {
                name: "redis".to_owned(),
                version: version.clone(),
                durability: "fsynced by one server; no replica",
                measure: Box::new(move || over_resp(run, shape, one_redis(run)?)),
            });
        }
        contest::run(run, &format!("kv-set-{depth}"), &options, systems, &absent)?;
    }
    Ok(())
}

/// Three nodes in one process.
fn raftyard_kv(run: &Run, program: &Path, groups: u16) -> Result<Servers, Failure> {
    let mut servers = Servers::new(&run.data)?;
    let port = free_port(&[0, 1, 2, 1_000, 1_001, 1_002])?;
    let data = servers.data.path().join("nodes").display().to_string();
    let arguments = [
        "dev".to_owned(),
        format!("--port={port}"),
        format!("--groups={groups}"),
        format!("--data={data}"),
    ];
    servers.spawn(program, &arguments)?;
    servers.clients = (0..3).map(|node| loopback(port + node)).collect();
    servers.wait(&run.timing)?;
    Ok(servers)
}

/// Three members, each a process, with the settings they have by default.
fn three_etcd(run: &Run) -> Result<Servers, Failure> {
    let mut servers = Servers::new(&run.data)?;
    let port = free_port(&[0, 1, 2, 3, 4, 5])?;
    let (client, peer) = (|member| port + member, |member| port + 3 + member);
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let members = [0, 1, 2].map(|member| format!("m{member}={}", url(peer(member))));
    for member in 0..3 {
        let data = servers.data.path().join(format!("m{member}")).display().to_string();
        let arguments = [
            format!("--name=m{member}"),
            format!("--data-dir={data}"),
            format!("--listen-client-urls={}", url(client(member))),
            format!("--advertise-client-urls={}", url(client(member))),
            format!("--listen-peer-urls={}", url(peer(member))),
            format!("--initial-advertise-peer-urls={}", url(peer(member))),
            format!("--initial-cluster={}", members.join(",")),
            "--initial-cluster-state=new".to_owned(),
        ];
        servers.spawn(Path::new("etcd"), &arguments)?;
    }
    servers.clients = (0..3).map(|member| loopback(client(member))).collect();
    servers.wait(&run.timing)?;
    Ok(servers)
}

/// One server with an append-only file that is fsynced before each answer.
fn one_redis(run: &Run) -> Result<Servers, Failure> {
    let mut servers = Servers::new(&run.data)?;
    let port = free_port(&[0])?;
    let arguments = [
        "--port".to_owned(),
        port.to_string(),
        "--bind".to_owned(),
        "127.0.0.1".to_owned(),
        "--dir".to_owned(),
        servers.data.path().display().to_string(),
        "--appendonly".to_owned(),
        "yes".to_owned(),
        "--appendfsync".to_owned(),
        "always".to_owned(),
        // No dumps beside the append-only file.
        "--save".to_owned(),
        String::new(),
    ];
    servers.spawn(Path::new("redis-server"), &arguments)?;
    servers.clients = vec![loopback(port)];
    servers.wait(&run.timing)?;
    Ok(servers)
}

fn value(shape: Shape) -> Vec<u8> {
    vec![b'v'; shape.payload.saturating_sub(KEY_BYTES)]
}

fn over_resp(run: &Run, shape: Shape, mut servers: Servers) -> Result<RoundResult, Failure> {
    let runtime = crate::runtime(shape.client_threads)?;
    let tally = Tally::new()?;
    let learn = resp::Map::learn(&servers.clients);
    let map = bounded(&runtime, &run.timing, "the servers to take all keys", learn)?;
    let mut clients = JoinSet::new();
    for number in 0..shape.connections {
        let client = resp::Client {
            number,
            connections: shape.connections,
            depth: shape.depth,
            value: value(shape),
            servers: servers.clients.clone(),
            map: map.clone(),
            tally: tally.clone(),
        };
        clients.spawn_on(client.run(), runtime.handle());
    }
    let measured = tally.measure(&run.timing, &servers.ids());
    end(&runtime, clients);
    servers.check()?;
    measured
}

fn over_grpc(run: &Run, shape: Shape, mut servers: Servers) -> Result<RoundResult, Failure> {
    let runtime = crate::runtime(shape.client_threads)?;
    let tally = Tally::new()?;
    let leader = async { Ok(etcd::leader(&servers.clients).await) };
    let server = bounded(&runtime, &run.timing, "etcd to elect a leader", leader)?;
    let mut clients = JoinSet::new();
    for number in 0..shape.connections {
        let client = etcd::Client {
            number,
            depth: shape.depth,
            value: value(shape),
            server,
            tally: tally.clone(),
        };
        clients.spawn_on(client.run(), runtime.handle());
    }
    let measured = tally.measure(&run.timing, &servers.ids());
    end(&runtime, clients);
    servers.check()?;
    measured
}
