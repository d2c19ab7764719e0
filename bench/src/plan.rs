//! What is run.

use raftyard::Consistency;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Its name.
    pub(crate) load: &'static str,
    pub(crate) work: Work,
    pub(crate) cluster: ClusterPlan,
    pub(crate) clients: ClientPlan,
    pub(crate) measure: Duration,
    pub(crate) rounds: u64,
    pub(crate) data: Option<PathBuf>,
    pub(crate) json: Option<PathBuf>,
}

/// What is done to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Write,
    Read(Consistency),
    /// One write at a time, beside what it can't do without.
    Latency,
    /// One group asks for so many times its share, beside others.
    HotTenant {
        times: u64,
    },
    /// Nothing.
    Idle,
    /// A node is lost.
    Failover,
    /// A replica that has nothing is fed a state of this size, beside writes to other groups.
    Snapshot {
        mib: u64,
    },
}

/// Nodes and groups.
#[derive(Clone, Debug)]
pub(crate) struct ClusterPlan {
    pub(crate) nodes: u64,
    /// Groups that the load is about.
    pub(crate) groups: u64,
    /// Groups beside them, of which nobody wants anything.
    pub(crate) sleepers: u64,
    /// Worker threads of each node.
    pub(crate) workers: usize,
    pub(crate) network: NetworkKind,
    pub(crate) store: StoreKind,
    /// Bytes of snapshots that a node sends per second.
    pub(crate) send_bytes_per_second: u64,
    /// Entries before a snapshot's end that stay in the log; the runtime's default if not set.
    pub(crate) tail_entries: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NetworkKind {
    /// tarpc over TCP on the loopback interface
    Tcp,
    /// tarpc over pipes in memory
    Memory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum StoreKind {
    /// Logs in segments on disk, every fsync honoured
    Disk,
    /// Logs in memory: nothing is durable
    Memory,
}

/// Who asks, and how.
#[derive(Clone, Debug)]
pub(crate) struct ClientPlan {
    pub(crate) kind: ClientKind,
    /// Threads that run the clients.
    pub(crate) threads: usize,
    /// Operations on their way, of all clients together. Without a rate.
    pub(crate) in_flight: u64,
    /// Writes that are asked together, at most.
    pub(crate) batch: usize,
    /// Operations per second: an open loop.
    pub(crate) rate: Option<u64>,
    pub(crate) value_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ClientKind {
    /// Tasks of a tokio runtime beside the nodes
    Tasks,
    /// Threads that block while they wait
    Threads,
    /// Closures that run on the nodes' own worker threads when a batch is answered, and ask the next
    Workers,
}

impl Plan {
    /// Every setting that changes what is measured, by its name on the command line.
    pub(crate) fn options(&self) -> BTreeMap<String, String> {
        let (cluster, clients) = (&self.cluster, &self.clients);
        let mut options = vec![
            ("nodes", cluster.nodes.to_string()),
            ("groups", cluster.groups.to_string()),
            ("workers", cluster.workers.to_string()),
            ("network", name_of(&cluster.network)),
            ("store", name_of(&cluster.store)),
        ];
        // It takes as long as it takes.
        if self.work != Work::Failover {
            options.push(("seconds", self.measure.as_secs().to_string()));
        }
        if cluster.sleepers > 0 {
            options.push(("sleepers", cluster.sleepers.to_string()));
        }
        if !matches!(self.work, Work::Idle | Work::Failover) {
            options.push(("clients", name_of(&clients.kind)));
            options.push(("client-threads", clients.threads.to_string()));
            options.push(("value-bytes", clients.value_bytes.to_string()));
            options.push(match clients.rate {
                Some(rate) => ("rate", rate.to_string()),
                None => ("in-flight", clients.in_flight.to_string()),
            });
        }
        match self.work {
            Work::Read(consistency) => options.push(("consistency", format!("{consistency:?}").to_lowercase())),
            Work::Write | Work::Latency => options.push(("batch", clients.batch.to_string())),
            Work::HotTenant { times } => {
                options.push(("batch", clients.batch.to_string()));
                options.push(("times", times.to_string()));
            }
            Work::Snapshot { mib } => {
                let per_second = cluster.send_bytes_per_second >> 20;
                options.push(("batch", clients.batch.to_string()));
                options.push(("mib", mib.to_string()));
                options.push(("send-mib-per-second", per_second.to_string()));
            }
            Work::Idle | Work::Failover => {}
        }
        options
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

/// As on the command line.
fn name_of(value: &impl clap::ValueEnum) -> String {
    let name = value.to_possible_value();
    name.map(|name| name.get_name().to_owned()).unwrap_or_default()
}
