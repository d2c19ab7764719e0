//! The commands of golden scripts. Nodes are named `n1`, `n2`, …; indexes are numbers; ids are `index@term`.
//!
//! | command | what happens |
//! | --- | --- |
//! | `cluster 3 [learners=n4] [outgoing=n1,n4] [witnesses=n3] [message_bytes=…] …` | replicas with empty disks start |
//! | `cluster 3 preferred=n2,n3` | … of which `n2` has the highest priority, `n3` the next |
//! | `cluster 3 sessions=on` | … on nodes that exchange heartbeats, whose messages arrive at once while time passes |
//! | `cluster 3 lease_reads=false` | … whose leaders read by no lease |
//! | `join n4` | a replica starts that knows nothing of the group and waits to be added |
//! | `log n1 1 1 4 [term=5] [vote=n2]` | starts a replica whose disk held entries of these terms |
//! | `log n1 from=n2 through=4` | starts a replica whose disk holds the first entries of another's |
//! | `campaign n1` · `tick n1` | it campaigns now · its deadline comes |
//! | `elect n1` | it campaigns and everything is delivered; only the result is shown |
//! | `wait 700ms` | time passes, nobody ticks |
//! | `advance 700ms` · `run 700ms` | time passes with ticks · and every message is delivered at once |
//! | `propose n1 a b` | commands in one batch |
//! | `read n1 r1` · `read-anywhere n2 r1` | a linearizable read at the leader · that a follower may serve |
//! | `transfer n1 [n2]` | another replica shall lead |
//! | `full n1` | its node's disk has no room: another replica shall lead |
//! | `change n1 n4=voter n5=learner n6=witness n2=leaves` | the membership shall change |
//! | `abandon n1` | the change under way shall be given up |
//! | `deliver [n1 n2 [count]]` | what is on its way now (on one link) arrives, nothing that this causes |
//! | `talk n1 n2` | the same on both links between them, in turn, until both are empty |
//! | `settle` | messages are delivered until none is on its way; they are counted, not shown |
//! | `drop`, `duplicate`, `reorder`, `delay`, `late` `n1 n2` | the link loses, doubles, reverses, puts aside, brings what was put aside |
//! | `cut n1 \| n2 n3` · `cut n1 > n2` · `heal` | both ways · one way · all links again |
//! | `hold fsync n1` · `fsync n1 [count]` · `free fsync n1` | writes queue · some become durable · all do, at once again |
//! | the same with `apply` and `load`; `fail load n1` | … a load finds nothing |
//! | `crash n1 [count]` · `restart n1` | unsynced writes are lost, but for the first `count` |
//! | `compact n1 7` | it takes a snapshot, and its log up to there is dropped |
//! | `snapshot n1 n3` · `snapshot n1 n3 failed` | its newest snapshot arrives, and it is told so · or does not |
//! | `prepare n1 n3` · `arrive` | a snapshot is on its way from now on · it arrives |
//! | `status` · `peers n1` · `logs` | what each replica is · what a leader knows · terms in memory, on disk, applied |
//! | `members` | the configuration in force at each replica, and the one it knows to be committed if that is another |
//! | `hold beats n1 n2` · `free beats n1 n2` | what one node says to the other of its life is put aside · arrives |
//! | `freeze n1` · `thaw n1` | a node stands still, while its clock goes on · goes on |
//! | `reload n1 [lost]` | its replica starts anew in the same life of the node · and nobody knows what it promised |
//! | `resign n1` | the replica stops leading |
//! | `sessions` · `promises` | what each node grants and believes · what each replica promised, and who holds a lease |
//! | `inject n1 n2 term=3 append …` | a message that nobody sent, see `inject.rs` |

use super::cluster::{Cluster, Trace};
use super::{entries_of_terms, inject};
use raftyard_groups::{
    ChangeRequest, HardState, Input, LogId, LogIndex, MemberRole, Membership, MembershipChange, NodeId, Payload,
    ReadId, Term, Tuning,
};
use std::collections::BTreeMap;

#[derive(Default)]
pub(crate) struct Script {
    cluster: Option<Cluster>,
}

/// A command's words, without those of the form `name=value`.
pub(crate) struct Args<'a> {
    words: Vec<&'a str>,
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Args<'a> {
    fn parse(line: &'a str) -> Self {
        let (named, words) = line
            .split_whitespace()
            .partition::<Vec<_>, _>(|word| word.contains('='));
        Self {
            words,
            named: named.into_iter().filter_map(|word| word.split_once('=')).collect(),
        }
    }

    pub(crate) fn word(&self, position: usize) -> &'a str {
        self.words
            .get(position)
            .unwrap_or_else(|| panic!("word {position} is missing"))
    }

    pub(crate) fn node(&self, position: usize) -> NodeId {
        node(self.word(position))
    }

    fn link(&self) -> (NodeId, NodeId) {
        (self.node(1), self.node(2))
    }

    fn count(&self, position: usize, default: usize) -> usize {
        self.words.get(position).map_or(default, |word| parse(word))
    }

    pub(crate) fn named<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.named.get(name).map(|value| parse(value))
    }

    fn nodes(&self, name: &str) -> Vec<NodeId> {
        let list = self.named.get(name).copied().unwrap_or_default();
        list.split(',').filter(|word| !word.is_empty()).map(node).collect()
    }

    fn millis(&self) -> u64 {
        let word = self.word(1);
        match word.strip_suffix("ms") {
            Some(millis) => parse(millis),
            None => 1_000 * parse::<u64>(word.trim_end_matches('s')),
        }
    }
}

pub(crate) fn parse<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("{word} is not a number"))
}

pub(crate) fn node(word: &str) -> NodeId {
    NodeId(parse(word.trim_start_matches('n')))
}

impl Script {
    /// Runs one command; returns what it printed.
    pub(crate) fn run(&mut self, line: &str) -> Vec<String> {
        let args = Args::parse(line);
        if args.word(0) == "cluster" {
            self.cluster = Some(start(&args));
            return Vec::new();
        }
        let cluster = self.cluster.as_mut().expect("a script starts its cluster first");
        cluster.trace = Some(Vec::new());
        let printed = command(cluster, &args, line);
        let mut quiet = None;
        if matches!(args.word(0), "settle" | "run") {
            quiet = Some(0);
        }
        let mut lines = Vec::new();
        for trace in cluster.trace.take().unwrap_or_default() {
            match (trace, &mut quiet) {
                (Trace::Message(_), Some(count)) => *count += 1,
                (Trace::Message(line), None) | (Trace::Event(line), _) => lines.push(line),
            }
        }
        if let Some(count) = quiet.filter(|count| *count > 0) {
            lines.push(format!("({count} messages sent)"));
        }
        lines.extend(printed);
        lines
    }
}

fn start(args: &Args<'_>) -> Cluster {
    let voters = (1..=parse(args.word(1))).map(NodeId);
    let membership = Membership::new(voters, args.nodes("outgoing"), args.nodes("learners"))
        .and_then(|membership| membership.with_witnesses(args.nodes("witnesses")))
        .expect("a membership");
    let usual = Tuning::default();
    let tuning = Tuning {
        message_bytes_max: args.named("message_bytes").unwrap_or(usual.message_bytes_max),
        inflight_messages_max: args.named("inflight_messages").unwrap_or(usual.inflight_messages_max),
        inflight_bytes_max: args.named("inflight_bytes").unwrap_or(usual.inflight_bytes_max),
        cache_bytes_max: args.named("cache_bytes").unwrap_or(usual.cache_bytes_max),
        apply_bytes_max: args.named("apply_bytes").unwrap_or(usual.apply_bytes_max),
        lease_reads: args.named("lease_reads").unwrap_or(usual.lease_reads),
        ..usual
    };
    let mut cluster = Cluster::new(&membership, tuning, 1);
    if args.named::<String>("sessions").is_some() {
        cluster.beats.are_on = true;
        for id in cluster.ids() {
            cluster.start_liveness(id, 1);
        }
    }
    for (priority, id) in (1..).zip(args.nodes("preferred").into_iter().rev()) {
        cluster.crash(id, 0);
        cluster.node_mut(id).priority = priority;
        cluster.start(id);
    }
    cluster
}

fn command(cluster: &mut Cluster, args: &Args<'_>, line: &str) -> Vec<String> {
    match args.word(0) {
        "log" => set_log(cluster, args),
        "campaign" => cluster.step(args.node(1), Input::Campaign),
        "tick" => {
            let id = args.node(1);
            cluster.now = cluster.now.max(cluster.group(id).deadline());
            cluster.step(id, Input::Tick);
        }
        "elect" => {
            cluster.elect(args.node(1));
            cluster.trace = None;
            return vec![cluster.group(args.node(1)).to_string()];
        }
        "wait" => cluster.now = cluster.now.plus(args.millis()),
        "advance" => cluster.pass(args.millis(), false),
        "run" => cluster.pass(args.millis(), true),
        "propose" => {
            cluster.propose(args.node(1), &args.words[2..]);
        }
        "read" | "read-anywhere" => {
            for read in &args.words[2..] {
                let read = ReadId(parse(read.trim_start_matches('r')));
                cluster.read(args.node(1), read, args.word(0) == "read-anywhere");
            }
        }
        "transfer" => cluster.transfer(args.node(1), args.words.get(2).map(|word| node(word))),
        "full" => cluster.step(args.node(1), Input::HandOver),
        "change" => {
            let change = args.named.iter().fold(MembershipChange::new(), |change, (who, role)| {
                change.set(node(who), member_role(role))
            });
            cluster.change(args.node(1), ChangeRequest::Change(change));
        }
        "abandon" => {
            cluster.change(args.node(1), ChangeRequest::Abandon);
        }
        "join" => cluster.join(args.node(1)),
        "deliver" if args.words.len() > 1 => {
            let waiting = cluster.network.queue(args.link()).len();
            for _ in 0..args.count(3, waiting) {
                assert!(cluster.deliver_one(args.link()), "nothing is on its way: {line}");
            }
        }
        "deliver" => {
            cluster.deliver_round();
        }
        "talk" => {
            let (one, other) = args.link();
            while cluster.deliver_one((one, other)) || cluster.deliver_one((other, one)) {}
        }
        "settle" => {
            cluster.settle();
        }
        "freeze" => {
            cluster.beats.frozen.insert(args.node(1));
        }
        "thaw" => cluster.thaw(args.node(1)),
        "reload" => {
            cluster.reload(args.node(1), args.words.len() > 2);
            return vec![cluster.group(args.node(1)).to_string()];
        }
        "resign" => cluster.resign(args.node(1)),
        "sessions" => return cluster.describe_sessions(),
        "promises" => return cluster.describe_promises(),
        "hold" if args.word(1) == "beats" => cluster.hold_beats((args.node(2), args.node(3))),
        "free" if args.word(1) == "beats" => cluster.free_beats((args.node(2), args.node(3))),
        "drop" | "duplicate" | "reorder" | "delay" | "late" => disturb(cluster, args),
        "cut" => cut(cluster, args),
        "heal" => cluster.network.heal(),
        "hold" | "free" | "fail" | "fsync" | "apply" | "load" => hold_or_free(cluster, args),
        "crash" => cluster.crash(args.node(1), args.count(2, 0)),
        "damage" => cluster.damage(args.node(1), args.count(2, 0)),
        "restart" => {
            cluster.start(args.node(1));
            return vec![cluster.group(args.node(1)).to_string()];
        }
        "compact" => {
            cluster.compact(args.node(1), LogIndex(parse(args.word(2))));
        }
        "snapshot" if args.words.len() > 3 => {
            let (id, to) = args.link();
            cluster.step(id, Input::SnapshotDone { to, through: None });
        }
        "snapshot" => {
            let (id, to) = args.link();
            let snapshot = cluster.newest_snapshot(id, to).expect("it has a snapshot");
            cluster.receive_snapshot(snapshot);
        }
        "prepare" => {
            let (id, to) = args.link();
            let snapshot = cluster.newest_snapshot(id, to).expect("it has a snapshot");
            cluster.sent_snapshots.push(snapshot);
        }
        "arrive" => {
            let snapshot = cluster.sent_snapshots.remove(0);
            cluster.receive_snapshot(snapshot);
        }
        "inject" => cluster.hand_over(inject::message(args)),
        "status" => return status(cluster),
        "peers" => return cluster.group(args.node(1)).describe_peers(),
        "logs" => return logs(cluster),
        "members" => return members(cluster),
        other => panic!("no such command: {other}"),
    }
    Vec::new()
}

fn set_log(cluster: &mut Cluster, args: &Args<'_>) {
    let id = args.node(1);
    let terms: Vec<u64> = args.words[2..].iter().map(|word| parse(word)).collect();
    cluster.crash(id, 0);
    let entries = match args.nodes("from").first() {
        Some(from) => cluster.node(*from).disk.entries[..args.named("through").expect("how far")].to_vec(),
        None => entries_of_terms(&terms),
    };
    let disk = &mut cluster.node_mut(id).disk;
    let last_term = entries.last().map(|entry| entry.term.0);
    disk.entries = entries;
    disk.base = LogId::ZERO;
    disk.snapshots.clear();
    disk.hard = HardState {
        term: Term(args.named("term").or(last_term).unwrap_or_default()),
        vote: args.nodes("vote").first().copied(),
    };
    cluster.start(id);
}

fn disturb(cluster: &mut Cluster, args: &Args<'_>) {
    let link = args.link();
    let queue = cluster.network.queue(link);
    assert!(args.word(0) == "late" || !queue.is_empty(), "nothing is on its way");
    match args.word(0) {
        "drop" => drop(queue.drain(..args.count(3, queue.len()))),
        "duplicate" => queue.extend(queue.clone()),
        "reorder" => queue.make_contiguous().reverse(),
        "delay" => {
            let late = std::mem::take(queue);
            cluster.network.late.entry(link).or_default().extend(late);
        }
        _ => {
            let late = cluster.network.late.remove(&link).expect("something was put aside");
            late.into_iter().for_each(|message| cluster.hand_over(message));
        }
    }
}

fn cut(cluster: &mut Cluster, args: &Args<'_>) {
    let sides: Vec<&str> = args.words[1..].to_vec();
    let at = sides
        .iter()
        .position(|word| matches!(*word, "|" | ">"))
        .expect("two sides");
    let (one, other): (Vec<_>, Vec<_>) = (
        sides[..at].iter().copied().map(node).collect(),
        sides[at + 1..].iter().copied().map(node).collect(),
    );
    if sides[at] == "|" {
        return cluster.network.cut_between(&one, &other);
    }
    for a in &one {
        for b in &other {
            cluster.network.cut((*a, *b));
        }
    }
}

fn hold_or_free(cluster: &mut Cluster, args: &Args<'_>) {
    let verb = args.word(0);
    if matches!(verb, "hold" | "free") {
        let node = cluster.node_mut(args.node(2));
        let held = match args.word(1) {
            "fsync" => &mut node.hold_fsync,
            "apply" => &mut node.hold_apply,
            "load" => &mut node.hold_load,
            other => panic!("{other} can't be held"),
        };
        *held = verb == "hold";
    }
    if verb == "hold" {
        return;
    }
    let (what, id) = if verb == "free" || verb == "fail" {
        (args.word(1), args.node(2))
    } else {
        (verb, args.node(1))
    };
    match what {
        "fsync" => {
            let all = cluster.node(id).writes.len();
            let count = if verb == "fsync" { args.count(2, all) } else { all };
            cluster.fsync(id, count.min(all));
        }
        "apply" => cluster.apply(id),
        _ => cluster.load(id, verb == "fail"),
    }
}

fn status(cluster: &Cluster) -> Vec<String> {
    let line = |id| match &cluster.node(id).group {
        Some(group) => group.to_string(),
        None => format!("{id} down"),
    };
    cluster.ids().into_iter().map(line).collect()
}

fn member_role(word: &str) -> Option<MemberRole> {
    match word {
        "voter" => Some(MemberRole::Voter),
        "learner" => Some(MemberRole::Learner),
        "witness" => Some(MemberRole::Witness),
        "leaves" => None,
        other => panic!("{other} is no role"),
    }
}

fn members(cluster: &Cluster) -> Vec<String> {
    let line = |id| match &cluster.node(id).group {
        Some(group) if group.membership() == group.committed_membership() => format!("{id} {}", group.membership()),
        Some(group) => format!(
            "{id} {} committed: {}",
            group.membership(),
            group.committed_membership()
        ),
        None => format!("{id} down"),
    };
    cluster.ids().into_iter().map(line).collect()
}

fn logs(cluster: &Cluster) -> Vec<String> {
    let line = |id: NodeId| {
        let node = cluster.node(id);
        let memory = match &node.group {
            Some(_) => {
                let terms = cluster.log_terms(id);
                let terms = terms
                    .iter()
                    .map(|term| term.map_or("-".to_owned(), |term| term.to_string()));
                terms.collect::<Vec<_>>().join(" ")
            }
            None => "down".to_owned(),
        };
        let compacted = (0..node.disk.base.index.0).map(|_| "-".to_owned());
        let held = node.disk.entries.iter().map(|entry| entry.term.0.to_string());
        let disk: Vec<String> = compacted.chain(held).collect();
        let applied: Vec<String> = node.applied.iter().map(|entry| name(&entry.payload)).collect();
        let (disk, applied) = (disk.join(" "), applied.join(" "));
        format!("{id} log [{memory}] disk [{disk}] applied [{applied}]")
    };
    cluster.ids().into_iter().map(line).collect()
}

fn name(payload: &Payload) -> String {
    match payload {
        Payload::Noop => "noop".to_owned(),
        Payload::Command(bytes) => bytes.escape_ascii().to_string(),
        Payload::Membership(membership) => format!("({membership})"),
    }
}
