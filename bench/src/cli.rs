//! What the load generator can be told.

use crate::plan::{ClientKind, ClientPlan, ClusterPlan, NetworkKind, Plan, StoreKind, Work};
use crate::soak::SoakPlan;
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use raftyard::Consistency;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Operations that a run may have on their way: more would only be refused by the nodes.
const IN_FLIGHT_MAX: u64 = 1_000_000;

/// Loads raftyard nodes in this process and reports throughput, latency and cost.
///
/// Unless told otherwise three nodes talk tarpc over loopback and keep their logs on disk, with every fsync
/// honoured; the state machines are in memory. Figures go to standard output, progress to standard error.
#[derive(Parser)]
#[command(name = "raftyard-bench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Writes to one group, each durable on a quorum before it is answered
    Write1(WriteArgs),
    /// Writes to 48 groups
    Write48(WriteArgs),
    /// Writes of 128 bytes to 4,096 groups
    Busy4096(WriteArgs),
    /// Writes to 48 groups beside groups of which nobody wants anything
    Sleepers {
        /// Groups that sleep
        #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = value_parser!(u64).range(1..=1_000_000))]
        sleepers: u64,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// One client that writes to one group, one write at a time, beside an fsync, a call to another node and the way
    /// to another thread and back, each alone
    Latency(RunArgs),
    /// One group asks for many times its share, to which it is limited, beside groups that ask for theirs
    HotTenant {
        /// Times its share
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u64).range(1..=1_000))]
        times: u64,
        /// Writes per second of the other groups, all together; the share is what each of them gets of it
        #[arg(long, value_name = "N", default_value_t = 9_400, value_parser = value_parser!(u64).range(1..=10_000_000))]
        rate: u64,
        #[command(flatten)]
        run: RunArgs,
    },
    /// Nothing but groups of which nobody wants anything: CPU, memory, messages
    Idle(RunArgs),
    /// Reads
    Read {
        /// How current the answers must be
        #[arg(long, value_enum, default_value_t = ConsistencyArg::Linearizable)]
        consistency: ConsistencyArg,
        #[command(flatten)]
        run: RunArgs,
        #[command(flatten)]
        clients: ClientArgs,
    },
    /// The node that leads a third of the groups is lost: how long until every group is led again
    Failover(RunArgs),
    /// A replica that has nothing is fed a large state beside writes to other groups
    Snapshot {
        /// Size of the state, in MiB
        #[arg(long, value_name = "MIB", default_value_t = 1_024, value_parser = value_parser!(u64).range(1..=1 << 16))]
        mib: u64,
        /// How fast a node sends snapshots, in MiB per second
        #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = value_parser!(u64).range(1..=1 << 16))]
        send_mib_per_second: u64,
        #[command(flatten)]
        write: WriteArgs,
    },
    /// Many groups that are written, left alone, destroyed and created again while nodes restart; the replicas are
    /// compared at the end
    Soak(SoakArgs),
    /// Makes one HTML page with plots of what runs left
    Report {
        /// Files that runs wrote with --json, or directories of such
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Directory that the page, report.html, is written to; made if it is not there
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct WriteArgs {
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    clients: ClientArgs,
    /// Writes that a client asks together (`Group::propose_many`), at most; 1 asks each alone
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = value_parser!(u64).range(1..=100_000))]
    batch: u64,
}

#[derive(Args)]
pub(crate) struct RunArgs {
    /// Seconds to measure in each round
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Rounds, each on a new cluster; with more than one, medians and the spread are reported
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Nodes, each with a replica of every group
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u64).range(1..=9))]
    nodes: u64,
    /// Groups [default: as the load's name says; read 48, idle and failover 10,000, snapshot 48]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=1_000_000))]
    groups: Option<u64>,
    /// Worker threads of each node
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(1..=256))]
    workers: u64,
    /// How the nodes are connected
    #[arg(long, value_enum, default_value_t = NetworkKind::Tcp)]
    network: NetworkKind,
    /// Where logs are kept
    #[arg(long, value_enum, default_value_t = StoreKind::Disk)]
    store: StoreKind,
    /// An existing directory, on the disk to be measured; what the nodes write in it is removed at the end
    /// [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Write the figures to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Args)]
pub(crate) struct ClientArgs {
    /// Closed loop: operations on their way, all clients together [default: 1,024 for one group, 128 per group of
    /// up to 48, 6,144 or 2 per group of more]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=IN_FLIGHT_MAX))]
    in_flight: Option<u64>,
    /// Open loop: operations per second, whatever becomes of those before. Latencies count from when an operation
    /// was due
    #[arg(long, value_name = "N", conflicts_with = "in_flight", value_parser = value_parser!(u64).range(1..=10_000_000))]
    rate: Option<u64>,
    /// Where the clients run
    #[arg(long, value_enum, default_value_t = ClientKind::Tasks)]
    clients: ClientKind,
    /// Threads that run the clients
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(1..=256))]
    client_threads: u64,
    /// Bytes of a value; a key of 8 bytes comes on top [default: 16, busy4096 128]
    #[arg(long, value_name = "BYTES", value_parser = value_parser!(u64).range(0..=1 << 20))]
    value_bytes: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ConsistencyArg {
    /// The leader answers: by its lease, or after it made sure that it leads (ReadIndex)
    Linearizable,
    /// A follower asks the leader how far it has to be, and answers
    Follower,
    /// A follower answers with what it has
    Stale,
}

#[derive(Args)]
pub(crate) struct SoakArgs {
    /// Groups, each with a replica on all three nodes
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = value_parser!(u64).range(1..=100_000))]
    groups: u64,
    /// Minutes
    #[arg(long, value_name = "M", default_value_t = 30, value_parser = value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Chooses what happens [default: the time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Worker threads of each node
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u64).range(1..=256))]
    workers: u64,
    /// An existing directory; what the nodes write in it is removed at the end
    /// [default: the system's temporary directory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl SoakArgs {
    fn plan(self) -> Result<SoakPlan, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(SoakPlan {
            groups: self.groups,
            duration: Duration::from_secs(self.minutes * 60),
            seed: self.seed.unwrap_or(now.as_secs()),
            workers: usize::try_from(self.workers).map_err(|_| "too many workers for this machine")?,
            data: self.data,
        })
    }
}

/// What there is to do.
pub(crate) enum Task {
    Run(Box<Plan>),
    Soak(SoakPlan),
    Report { files: Vec<PathBuf>, out: PathBuf },
}

impl Cli {
    /// # Errors
    ///
    /// What of it does not go together.
    pub(crate) fn task(self) -> Result<Task, String> {
        let nobody = || ClientArgs {
            in_flight: Some(1),
            rate: None,
            clients: ClientKind::Tasks,
            client_threads: 1,
            value_bytes: None,
        };
        let write = |load, groups, value_bytes, args: WriteArgs| {
            plan(
                load,
                Work::Write,
                (groups, value_bytes),
                args.run,
                args.clients,
                args.batch,
            )
        };
        let plan = match self.command {
            Command::Write1(args) => write("write1", 1, 16, args),
            Command::Write48(args) => write("write48", 48, 16, args),
            Command::Busy4096(args) => write("busy4096", 4_096, 128, args),
            Command::Sleepers { sleepers, write: args } => write("sleepers", 48, 16, args).map(|mut plan| {
                plan.cluster.sleepers = sleepers;
                plan
            }),
            Command::Latency(run) => plan("latency", Work::Latency, (1, 16), run, nobody(), 1),
            Command::HotTenant { times, rate, run } => {
                let paced = ClientArgs {
                    in_flight: None,
                    rate: Some(rate),
                    ..nobody()
                };
                plan("hot-tenant", Work::HotTenant { times }, (48, 16), run, paced, 16)
            }
            Command::Idle(run) => plan("idle", Work::Idle, (10_000, 16), run, nobody(), 1),
            Command::Read {
                consistency,
                run,
                clients,
            } => {
                let consistency = match consistency {
                    ConsistencyArg::Linearizable => Consistency::Linearizable,
                    ConsistencyArg::Follower => Consistency::Follower,
                    ConsistencyArg::Stale => Consistency::Stale,
                };
                plan("read", Work::Read(consistency), (48, 16), run, clients, 1)
            }
            Command::Failover(run) => plan("failover", Work::Failover, (10_000, 16), run, nobody(), 1),
            Command::Snapshot {
                mib,
                send_mib_per_second,
                write,
            } => {
                let work = Work::Snapshot { mib };
                plan("snapshot", work, (48, 16), write.run, write.clients, write.batch).map(|mut plan| {
                    plan.cluster.send_bytes_per_second = send_mib_per_second << 20;
                    plan.cluster.tail_entries = Some(crate::load::tail_entries(mib));
                    plan
                })
            }
            Command::Soak(soak) => return soak.plan().map(Task::Soak),
            Command::Report { files, out } => return Ok(Task::Report { files, out }),
        }?;
        Ok(Task::Run(Box::new(plan)))
    }
}

fn plan(
    load: &'static str,
    work: Work,
    (groups, value_bytes): (u64, u64),
    run: RunArgs,
    clients: ClientArgs,
    batch: u64,
) -> Result<Plan, String> {
    let small = |value: u64| usize::try_from(value).map_err(|_| format!("{value} is too large for this machine"));
    let groups = run.groups.unwrap_or(groups);
    let enough = match groups {
        1 => 1_024,
        2..=48 => 128 * groups,
        // Not fewer than with fewer groups: what more groups cost is to be seen, not what fewer clients do.
        _ => (2 * groups).clamp(128 * 48, IN_FLIGHT_MAX),
    };
    let in_flight = clients.in_flight.unwrap_or(enough);
    if clients.rate.is_some() && clients.clients != ClientKind::Tasks {
        return Err("--rate needs --clients tasks: the others wait for answers before they ask again".to_owned());
    }
    if matches!(work, Work::Read(_)) && clients.clients == ClientKind::Workers {
        return Err("reads are asked by --clients tasks or threads".to_owned());
    }
    if matches!(work, Work::HotTenant { .. }) && groups < 2 {
        return Err("one group alone has no others beside it".to_owned());
    }
    if matches!(work, Work::Latency) && run.store == StoreKind::Memory {
        return Err("with --store memory no write waits for an fsync".to_owned());
    }
    if matches!(work, Work::Failover | Work::Snapshot { .. }) && run.nodes < 3 {
        return Err(format!("with --nodes {} nobody can be missing", run.nodes));
    }
    if matches!(work, Work::Read(Consistency::Follower | Consistency::Stale)) && run.nodes < 2 {
        return Err("with --nodes 1 there is no follower".to_owned());
    }
    Ok(Plan {
        load,
        work,
        cluster: ClusterPlan {
            nodes: run.nodes,
            groups,
            sleepers: 0,
            workers: small(run.workers)?,
            network: run.network,
            store: run.store,
            ..ClusterPlan::default()
        },
        clients: ClientPlan {
            kind: clients.clients,
            threads: small(clients.client_threads)?,
            in_flight,
            batch: small(batch)?,
            rate: clients.rate,
            value_bytes: small(clients.value_bytes.unwrap_or(value_bytes))?,
        },
        measure: Duration::from_secs(run.seconds),
        rounds: run.rounds,
        data: run.data,
        json: run.json,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    fn plan(arguments: &str) -> Result<Plan, String> {
        let arguments = ["raftyard-bench"].into_iter().chain(arguments.split_whitespace());
        let task = Cli::try_parse_from(arguments)
            .map_err(|error| error.to_string())
            .and_then(Cli::task);
        match task? {
            Task::Run(plan) => Ok(*plan),
            Task::Soak(_) | Task::Report { .. } => Err("no run".to_owned()),
        }
    }

    #[test]
    fn a_load_is_what_its_name_says() {
        for (arguments, load, groups, sleepers, value_bytes, in_flight) in [
            ("write1", "write1", 1, 0, 16, 1_024),
            ("write48", "write48", 48, 0, 16, 6_144),
            ("write48 --groups 10", "write48", 10, 0, 16, 1_280),
            ("write48 --groups 100", "write48", 100, 0, 16, 6_144),
            ("write48 --groups 10000", "write48", 10_000, 0, 16, 20_000),
            ("busy4096", "busy4096", 4_096, 0, 128, 8_192),
            ("sleepers --sleepers 100000", "sleepers", 48, 100_000, 16, 6_144),
            ("read", "read", 48, 0, 16, 6_144),
            ("latency", "latency", 1, 0, 16, 1),
        ] {
            let plan = plan(arguments).unwrap();
            assert_eq!((plan.load, plan.cluster.groups), (load, groups));
            assert_eq!((plan.cluster.sleepers, plan.cluster.nodes), (sleepers, 3));
            let clients = &plan.clients;
            assert_eq!((clients.value_bytes, clients.in_flight), (value_bytes, in_flight));
            assert_eq!(
                (plan.cluster.store, plan.cluster.network),
                (StoreKind::Disk, NetworkKind::Tcp)
            );
        }
        assert_eq!(plan("failover").unwrap().cluster.groups, 10_000);
        assert_eq!(plan("snapshot").unwrap().work, Work::Snapshot { mib: 1_024 });
        assert_eq!(
            plan("read --consistency stale").unwrap().work,
            Work::Read(Consistency::Stale)
        );
    }

    #[test]
    fn options_change_the_load_and_are_told() {
        let arguments = "write48 --groups 7 --value-bytes 128 --rounds 5 --seconds 2 --in-flight 3 --clients threads \
                         --network memory --store memory --batch 4";
        let plan = plan(arguments).unwrap();
        assert_eq!((plan.cluster.groups, plan.rounds), (7, 5));
        assert_eq!(plan.measure, Duration::from_secs(2));
        let options = plan.options();
        for (name, value) in [
            ("groups", "7"),
            ("value-bytes", "128"),
            ("seconds", "2"),
            ("in-flight", "3"),
            ("clients", "threads"),
            ("network", "memory"),
            ("store", "memory"),
            ("batch", "4"),
        ] {
            assert_eq!(options.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(!options.contains_key("rate"));
    }

    #[test]
    fn values_that_make_no_sense_are_refused_by_name() {
        for (option, value) in [
            ("--value-bytes", "1048577"),
            ("--groups", "0"),
            ("--in-flight", "0"),
            ("--batch", "0"),
            ("--rounds", "0"),
            ("--seconds", "0"),
            ("--workers", "-1"),
            ("--clients", "fibers"),
        ] {
            let error = match plan(&format!("write48 {option}={value}")) {
                Err(error) => error,
                Ok(plan) => panic!("{option} {value} was taken: {plan:?}"),
            };
            assert!(error.contains(option) && error.contains(value), "{error}");
        }
        for arguments in [
            "",
            "write49",
            "write1 --rate 10 --in-flight 3",
            "write1 --rate 10 --clients threads",
            "read --clients workers",
            "failover --nodes 2",
            "hot-tenant --groups 1",
            "latency --store memory",
            "read --nodes 1 --consistency follower",
            "report",
        ] {
            assert!(plan(arguments).is_err(), "{arguments}");
        }
    }
}
