//! Three processes, one of them killed under load: writes go on, nothing acknowledged is lost, no read goes back in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::{ClusterClient, Connection, DEADLINE, Outcome, ServerCluster, Value, encode, eventually};

const NODES: usize = 3;
const GROUPS: u16 = 12;
const KEYS_PER_GROUP: usize = 2;
const WRITERS: usize = 4;
const KEYS_PER_WRITER: usize = GROUPS as usize * KEYS_PER_GROUP / WRITERS;
const READERS: usize = 2;

/// A key whose value only grows: it has one writer, which writes the next number once the last is acknowledged.
struct Counter {
    key: String,
    acknowledged: AtomicU64,
    /// The most that a finished read has seen.
    seen: AtomicU64,
}

struct Load {
    counters: Vec<Counter>,
    /// The longest time that a writer went without an acknowledgement, in milliseconds.
    gap_ms_max: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    fn start(nodes: &[String]) -> (Arc<Self>, Vec<JoinHandle<()>>) {
        let counter = |key| Counter {
            key,
            acknowledged: AtomicU64::new(0),
            seen: AtomicU64::new(0),
        };
        let load = Arc::new(Self {
            counters: keys_of_all_groups(&nodes[0]).map(counter).collect(),
            gap_ms_max: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let writers = (0..WRITERS).map(|writer| {
            let (load, nodes) = (Arc::clone(&load), nodes.to_vec());
            thread::spawn(move || load.write(writer, &nodes))
        });
        let readers = (0..READERS).map(|_| {
            let (load, nodes) = (Arc::clone(&load), nodes.to_vec());
            thread::spawn(move || load.read(&nodes))
        });
        let threads = writers.chain(readers).collect();
        (load, threads)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn write(&self, writer: usize, nodes: &[String]) {
        let mut client = ClusterClient::new(nodes);
        let mine = &self.counters[writer * KEYS_PER_WRITER..][..KEYS_PER_WRITER];
        while !self.stopped() {
            for counter in mine {
                let next = counter.acknowledged.load(Ordering::SeqCst) + 1;
                let words = ["SET", &counter.key, &next.to_string()];
                let start = Instant::now();
                // A write whose outcome is not known is done again: the same number, so the order stays.
                while client.command(&counter.key, &words) != Outcome::Done(Value::ok()) {
                    if self.stopped() {
                        return;
                    }
                    thread::sleep(Duration::from_millis(5));
                }
                let gap = u64::try_from(start.elapsed().as_millis()).unwrap();
                self.gap_ms_max.fetch_max(gap, Ordering::SeqCst);
                counter.acknowledged.store(next, Ordering::SeqCst);
            }
        }
    }

    fn read(&self, nodes: &[String]) {
        let mut client = ClusterClient::new(nodes);
        while !self.stopped() {
            for counter in &self.counters {
                self.read_one(&mut client, counter);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Reads a counter once. `false`: the cluster could not tell now.
    fn read_one(&self, client: &mut ClusterClient, counter: &Counter) -> bool {
        let acknowledged = counter.acknowledged.load(Ordering::SeqCst);
        let seen = counter.seen.load(Ordering::SeqCst);
        let value = match client.command(&counter.key, &["GET", &counter.key]) {
            Outcome::Done(Value::Null2) => 0,
            Outcome::Done(value) => value.text().parse().unwrap(),
            Outcome::Refused(_) | Outcome::Unknown(_) => return false,
        };
        let key = &counter.key;
        assert!(
            value >= acknowledged,
            "{key}: read {value}, {acknowledged} was acknowledged before"
        );
        assert!(value >= seen, "{key}: read {value}, {seen} was read before");
        counter.seen.fetch_max(value, Ordering::SeqCst);
        true
    }

    /// Waits until every counter has grown.
    fn progress(&self, when: &str) {
        let before: Vec<u64> = self.values().collect();
        eventually(&format!("every key is written {when}"), || {
            self.values()
                .zip(&before)
                .all(|(now, before)| now > *before)
                .then_some(())
        });
    }

    fn values(&self) -> impl Iterator<Item = u64> {
        self.counters.iter().map(|c| c.acknowledged.load(Ordering::SeqCst))
    }
}

/// Keys of every group, so that no leader can be lost without being missed.
fn keys_of_all_groups(address: &str) -> impl Iterator<Item = String> {
    let mut connection = Connection::open(address).unwrap();
    let mut keys: Vec<Vec<String>> = vec![Vec::new(); GROUPS.into()];
    let mut number = 0;
    while keys.iter().any(|keys| keys.len() < KEYS_PER_GROUP) {
        let key = format!("counter-{number}");
        number += 1;
        match connection.command(&["CLUSTER", "KEYSLOT", &key]).unwrap() {
            Value::Integer(slot) => {
                let group = usize::try_from(slot).unwrap() * usize::from(GROUPS) / 16_384;
                if keys[group].len() < KEYS_PER_GROUP {
                    keys[group].push(key);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    keys.into_iter().flatten()
}

/// The node that leads the most slots, as node 1 sees it.
fn busiest(cluster: &ServerCluster) -> usize {
    let mut connection = Connection::open(&cluster.resp(1)).unwrap();
    let text = connection.command(&["CLUSTER", "NODES"]).unwrap().text();
    let slots = |line: &str| -> u32 {
        let ranges = line.split(' ').skip(8).map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            last.parse::<u32>().unwrap() - first.parse::<u32>().unwrap() + 1
        });
        ranges.sum()
    };
    let line = text.lines().max_by_key(|line| slots(line)).unwrap();
    (1..=NODES)
        .find(|node| line.contains(&format!(" {}@", cluster.resp(*node))))
        .unwrap()
}

#[test]
fn a_killed_leader_is_replaced_and_catches_up() {
    let mut cluster = ServerCluster::new(NODES, GROUPS);
    cluster.start_all();
    let (load, threads) = Load::start(&cluster.all_resp());
    load.progress("before the kill");
    let victim = busiest(&cluster);

    load.gap_ms_max.store(0, Ordering::SeqCst);
    cluster.kill(victim);
    load.progress("while a node is down");
    // Twice: what was on its way when the first began may have been written before the kill.
    load.progress("while a node is down");
    let gap = load.gap_ms_max.load(Ordering::SeqCst);
    println!("node {victim} killed; longest wait for a write: {gap} ms");

    cluster.start(victim);
    cluster.wait_ready(victim);
    load.progress("after the restart");

    // With another node gone, nothing is written or read without the one that came back.
    let other = victim % NODES + 1;
    cluster.kill(other);
    load.progress("by the node that came back and the one that stayed");
    load.stop.store(true, Ordering::SeqCst);
    for thread in threads {
        thread.join().unwrap();
    }

    let mut client = ClusterClient::new(&cluster.all_resp());
    for counter in &load.counters {
        eventually(&format!("{} is read", counter.key), || {
            load.read_one(&mut client, counter).then_some(())
        });
    }
}

/// By default it takes a second or so. Half of the time is left for heartbeats that were late before the kill; all that is held up
/// after it makes it longer.
#[test]
fn a_lost_leader_is_missed_after_the_election_timeout_that_is_configured() {
    let mut cluster = ServerCluster::new(NODES, 1);
    cluster.configure("election_timeout_ms = 5000");
    cluster.start_all();
    for node in 1..=NODES {
        let boot = std::fs::read_to_string(cluster.data_dir(node).join("log/boot")).unwrap();
        assert!(boot.contains("\npromise_ms 5000\n"), "{boot}");
    }
    let leader = cluster.leader_of("k");
    let others: Vec<String> = (1..=NODES)
        .filter(|node| *node != leader)
        .map(|node| cluster.resp(node))
        .collect();
    let start = Instant::now();
    cluster.kill(leader);
    let mut client = ClusterClient::new(&others);
    eventually("another leads", || {
        (client.command("k", &["SET", "k", "v"]) == Outcome::Done(Value::ok())).then_some(())
    });
    let missed = start.elapsed();
    assert!(missed > Duration::from_millis(2_500), "{missed:?}");
}

#[test]
fn a_node_alone_says_that_the_cluster_is_down() {
    let mut cluster = ServerCluster::new(NODES, GROUPS);
    cluster.start(1);
    let mut client = eventually("clients are served", || Connection::open(&cluster.resp(1)).ok());
    let mut say = |words: &[&str]| client.command(words).unwrap();
    let down = Value::Error("CLUSTERDOWN Hash slot not served".into());
    assert_eq!(say(&["GET", "k"]), down);
    assert_eq!(say(&["SET", "k", "v"]), down);
    assert_eq!(say(&["CLUSTER", "SLOTS"]), Value::Array(vec![]));
    let info = say(&["CLUSTER", "INFO"]).text();
    assert!(info.contains("cluster_state:fail\r\n"), "{info}");
    assert_eq!(say(&["PING"]), Value::Status("PONG".into()));
    let status = cluster.terminate(1);
    assert_eq!(status.code(), Some(0), "it ends although it never was ready");
}

/// As commands on keys do: an election takes less than a second.
#[test]
fn commands_that_are_not_put_to_a_group_wait_for_an_election_too() {
    let watch = ["WATCH", "k"].as_slice();
    for (proxy, commands) in [
        (false, [watch].as_slice()),
        (
            true,
            &[watch, &["DBSIZE"], &["SCAN", "0"], &["KEYS", "*"], &["RANDOMKEY"]],
        ),
    ] {
        let mut cluster = ServerCluster::with_proxy(NODES, GROUPS, proxy);
        cluster.start(1);
        let mut client = eventually("clients are served", || Connection::open(&cluster.resp(1)).ok());
        for command in commands {
            let start = Instant::now();
            let reply = client.command(command).unwrap();
            assert!(matches!(reply, Value::Error(_)), "there never is a leader: {reply:?}");
            assert!(
                start.elapsed() > Duration::from_secs(1),
                "proxy {proxy}: {command:?} did not wait"
            );
        }
    }
}

/// Each of these commands waits for those before it, and none of them finds a leader.
#[test]
fn a_pipeline_waits_for_an_election_once_and_holds_up_no_reply() {
    let (write, read) = (encode(&["SET", "k", "v"]), encode(&["GET", "k"]));
    let (watch, count) = (encode(&["WATCH", "k"]), encode(&["DBSIZE"]));
    for (proxy, turn) in [(false, [write, read].concat()), (true, [watch, count].concat())] {
        let mut cluster = ServerCluster::with_proxy(NODES, GROUPS, proxy);
        cluster.start(1);
        let mut client = eventually("clients are served", || Connection::open(&cluster.resp(1)).ok());
        let start = Instant::now();
        client.send(&[encode(&["PING"]), turn.repeat(100)].concat()).unwrap();
        assert_eq!(client.receive().unwrap(), Value::Status("PONG".into()));
        for number in 0..200 {
            let reply = client.receive().unwrap();
            let is_refused = reply.is_error("CLUSTERDOWN ") || reply.is_error("TRYAGAIN ");
            assert!(is_refused, "{number}: {reply:?}");
            assert!(start.elapsed() < DEADLINE, "{number} of 200 are answered");
        }
    }
}

/// What a node answers after `READONLY` once it is alone: nothing, unless it may answer what it has.
#[test]
fn a_replica_alone_answers_reads_only_if_they_may_be_stale() {
    for (reads, alone) in [("linearizable", None), ("stale", Some(Value::bulk("v")))] {
        let mut cluster = ServerCluster::new(NODES, 1);
        for node in 1..=NODES {
            let config = format!("reads = \"{reads}\"\n{}", cluster.config(node));
            std::fs::write(cluster.config_path(node), config).unwrap();
        }
        cluster.start_all();
        let mut client = ClusterClient::new(&cluster.all_resp());
        eventually("the write is taken", || {
            (client.command("k", &["SET", "k", "v"]) == Outcome::Done(Value::ok())).then_some(())
        });
        let node = eventually("a replica serves nothing before READONLY", || {
            let node = cluster.leader_of("k") % NODES + 1;
            let mut replica = Connection::open(&cluster.resp(node)).unwrap();
            // Unless it was elected meanwhile.
            replica
                .command(&["GET", "k"])
                .unwrap()
                .is_error("MOVED ")
                .then_some(node)
        });
        let mut replica = Connection::open(&cluster.resp(node)).unwrap();
        replica.command(&["READONLY"]).unwrap();
        eventually("the replica has it", || {
            (replica.command(&["GET", "k"]).unwrap() == Value::bulk("v")).then_some(())
        });
        for other in (1..=NODES).filter(|other| *other != node) {
            cluster.kill(other);
        }
        let mut read = || replica.command(&["GET", "k"]).unwrap();
        match alone {
            Some(value) => assert_eq!(read(), value),
            None => eventually("it serves nothing", || {
                let reply = read();
                // It may have been elected before both were killed: then it answers until its lease is over. Or another one was,
                // and it still names that.
                let codes = ["TRYAGAIN ", "CLUSTERDOWN ", "MOVED "];
                let is_refused = codes.iter().any(|code| reply.is_error(code));
                assert!(is_refused || reply == Value::bulk("v"), "{reply:?}");
                is_refused.then_some(())
            }),
        }
        assert!(matches!(replica.command(&["SET", "k", "w"]).unwrap(), Value::Error(_)));
    }
}
