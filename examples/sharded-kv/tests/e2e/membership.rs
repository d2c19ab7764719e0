//! A fourth node comes in and the first one leaves, while clients go on: what they were told stays true.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::{ClusterClient, Connection, Outcome, ServerCluster, Value, eventually, run_to_end};

const GROUPS: u16 = 6;
const CLIENTS: usize = 4;

/// What a client does to keys of its own.
#[derive(Default)]
struct Counts {
    /// Increments of one key that were acknowledged, and those of which nobody knows.
    done: AtomicI64,
    unknown: AtomicI64,
    /// Keys that were set: `set-CLIENT-0` and so on.
    set: AtomicU64,
    /// Commands that ended with an error after every redirection was followed.
    refused: AtomicU64,
}

struct Load {
    clients: Vec<Counts>,
    stop: AtomicBool,
}

impl Load {
    fn start(nodes: &[String]) -> (Arc<Self>, Vec<JoinHandle<()>>) {
        let load = Arc::new(Self {
            clients: (0..CLIENTS).map(|_| Counts::default()).collect(),
            stop: AtomicBool::new(false),
        });
        let threads = (0..CLIENTS).map(|client| {
            let (load, nodes) = (Arc::clone(&load), nodes.to_vec());
            thread::spawn(move || load.run(client, &nodes))
        });
        let threads = threads.collect();
        (load, threads)
    }

    fn run(&self, name: usize, nodes: &[String]) {
        let mut client = ClusterClient::new(nodes);
        let counts = &self.clients[name];
        let counter = format!("count-{name}");
        let mut seen = 0;
        for n in 0_u64.. {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            match client.command(&counter, &["INCR", &counter]) {
                Outcome::Done(Value::Integer(count)) => {
                    assert!(count > seen, "{counter}: {count} after {seen}");
                    seen = count;
                    counts.done.fetch_add(1, Ordering::SeqCst);
                }
                Outcome::Unknown(_) => drop(counts.unknown.fetch_add(1, Ordering::SeqCst)),
                Outcome::Refused(_) => self.refused(counts),
                other => panic!("{other:?}"),
            }
            // The same number until it is acknowledged: to set it twice does no harm.
            let key = format!("set-{name}-{}", counts.set.load(Ordering::SeqCst));
            match client.command(&key, &["SET", &key, &n.to_string()]) {
                Outcome::Done(reply) => {
                    assert_eq!(reply, Value::ok());
                    counts.set.fetch_add(1, Ordering::SeqCst);
                }
                Outcome::Refused(_) => self.refused(counts),
                Outcome::Unknown(_) => {}
            }
            match client.command(&counter, &["GET", &counter]) {
                Outcome::Done(Value::Bulk(count)) => {
                    let count: i64 = String::from_utf8(count).unwrap().parse().unwrap();
                    assert!(count >= seen, "{counter}: read {count} after {seen}");
                    seen = count;
                }
                Outcome::Done(Value::Null2) => assert_eq!(seen, 0),
                Outcome::Refused(_) => self.refused(counts),
                _ => {}
            }
        }
    }

    fn refused(&self, counts: &Counts) {
        counts.refused.fetch_add(1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(5));
    }

    /// Waits until every client got further.
    fn progress(&self, when: &str) {
        let now = || -> Vec<i64> { self.clients.iter().map(|c| c.done.load(Ordering::SeqCst)).collect() };
        let before = now();
        eventually(&format!("every client is served {when}"), || {
            let further = now().into_iter().zip(&before).all(|(now, before)| now > *before + 10);
            further.then_some(())
        });
    }

    /// Ends it, and looks for all that was acknowledged.
    fn check(&self, threads: Vec<JoinHandle<()>>, nodes: &[String]) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in threads {
            thread.join().expect("a client found a fault");
        }
        let mut client = ClusterClient::new(nodes);
        let mut read = |key: &str| {
            eventually(&format!("{key} is read"), || match client.command(key, &["GET", key]) {
                Outcome::Done(value) => Some(value),
                _ => None,
            })
        };
        for (name, counts) in self.clients.iter().enumerate() {
            let count: i64 = read(&format!("count-{name}")).text().parse().unwrap();
            let done = counts.done.load(Ordering::SeqCst);
            let unknown = counts.unknown.load(Ordering::SeqCst);
            assert!(
                (done..=done + unknown).contains(&count),
                "client {name}: {done} increments and {unknown} unknown ones made {count}"
            );
            for n in 0..counts.set.load(Ordering::SeqCst) {
                let key = format!("set-{name}-{n}");
                assert!(matches!(read(&key), Value::Bulk(_)), "{key} was acknowledged");
            }
        }
    }
}

/// The fields of the line that `ctl status` prints for a group.
fn group_line(status: &str, group: usize) -> &str {
    let begin = format!("group {group} ");
    let line = status.lines().find(|line| line.starts_with(&begin));
    line.unwrap_or_else(|| panic!("no group {group}: {status}"))
}

fn groups(status: &str) -> Vec<usize> {
    let groups = status.lines().filter_map(|line| line.strip_prefix("group "));
    groups
        .map(|rest| rest.split(' ').next().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn a_fourth_node_takes_the_place_of_the_first_under_load() {
    let mut cluster = ServerCluster::new(3, GROUPS);
    cluster.start_all();
    let first: Vec<String> = cluster.all_resp();
    let fourth = cluster.add_joining();
    cluster.start(fourth);
    let ready = cluster.wait_ready(fourth);
    assert!(ready.contains(&cluster.resp(fourth)), "{ready}");
    let (load, threads) = Load::start(&first);
    load.progress("at first");

    let id = fourth.to_string();
    let (peer, resp) = (cluster.peer(fourth), cluster.resp(fourth));
    cluster.ctl(2, &["add-node", &id, "--peer", &peer, "--resp", &resp]);
    cluster.ctl(2, &["add-learner", &id, "--all"]);
    // Only a leader says how far the others are.
    eventually("every group has a leader that knows its learner", || {
        let status = cluster.ctl(3, &["status"]);
        assert_eq!(groups(&status).len(), usize::from(GROUPS));
        let knows = |group| {
            let line = group_line(&status, group);
            line.contains("voters=1,2,3 learners=4") && line.contains("progress=")
        };
        groups(&status).into_iter().all(knows).then_some(())
    });
    load.progress("with a learner");
    cluster.ctl(1, &["promote", &id, "--all"]);
    load.progress("with four voters");
    cluster.ctl(4, &["remove", "1"]);
    let status = cluster.ctl(2, &["status"]);
    for group in groups(&status) {
        let line = group_line(&status, group);
        assert!(line.contains("voters=2,3,4") && !line.contains("leader=1 "), "{line}");
    }
    assert!(
        status.contains(&format!("resp={} groups=0", cluster.resp(1))),
        "{status}"
    );
    load.progress("without the first");

    // The picture that clients discover has followed, and is there after restarts.
    for node in [3, fourth, 1] {
        assert!(cluster.terminate(node).success());
        load_goes_on_if(&load, node != 1, node);
        cluster.start(node);
        cluster.wait_ready(node);
    }
    let nodes = |node: usize| {
        let mut connection = Connection::open(&cluster.resp(node)).unwrap();
        connection.command(&["CLUSTER", "NODES"]).unwrap().text()
    };
    for node in [2, 3, fourth] {
        let text = eventually("it knows all leaders", || {
            let text = nodes(node);
            (!text.contains(&format!(" {}@", cluster.resp(1)))).then_some(text)
        });
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains(&format!(" {}@", cluster.resp(fourth))), "{text}");
    }
    // Who asks the node that left is sent to one that knows.
    let mut left = Connection::open(&cluster.resp(1)).unwrap();
    let moved = left.command(&["GET", "count-0"]).unwrap();
    assert!(
        matches!(&moved, Value::Error(text) if text.starts_with("MOVED ")),
        "{moved:?}"
    );
    load.progress("after the restarts");
    let now: Vec<String> = [2, 3, fourth].map(|node| cluster.resp(node)).into();
    load.check(threads, &now);

    // Two of the three are enough, and the new one is one of them.
    cluster.kill(2);
    let mut client = ClusterClient::new(&now);
    eventually("a write is taken", || {
        (client.command("last", &["SET", "last", "1"]) == Outcome::Done(Value::ok())).then_some(())
    });
}

fn load_goes_on_if(load: &Load, wanted: bool, node: usize) {
    if wanted {
        load.progress(&format!("while node {node} is down"));
    }
}

#[test]
fn groups_that_lost_their_quorum_are_rebuilt_from_one_node() {
    let mut cluster = ServerCluster::new(3, GROUPS);
    cluster.start_all();
    let mut client = ClusterClient::new(&cluster.all_resp());
    let keys: Vec<String> = (0..40).map(|n| format!("key-{n}")).collect();
    for key in &keys {
        eventually("the write is taken", || {
            (client.command(key, &["SET", key, "before"]) == Outcome::Done(Value::ok())).then_some(())
        });
    }
    // So that the third node has all of it.
    let mut follower = Connection::open(&cluster.resp(3)).unwrap();
    follower.command(&["READONLY"]).unwrap();
    for key in &keys {
        eventually("it serves what was written", || {
            (follower.command(&["GET", key]).unwrap() == Value::bulk("before")).then_some(())
        });
    }
    let expect = |client: &mut ClusterClient, value: &str| {
        for key in &keys {
            eventually("it is read", || {
                (client.command(key, &["GET", key]) == Outcome::Done(Value::bulk(value))).then_some(())
            });
        }
    };
    let refused = |cluster: &ServerCluster, group: &str, node: &str| {
        let at = cluster.resp(3);
        let output = run_to_end(&["ctl", "--node", &at, "rebuild", group, node]);
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused(&cluster, "1", "3");
    // In the midst of an election nobody does.
    let can_go_on = said.contains("leads it") || said.contains("are enough to elect a leader");
    assert!(said.contains("group 1 is not rebuilt") && can_go_on, "{said}");
    expect(&mut client, "before");
    cluster.kill(1);
    cluster.kill(2);
    for group in groups(&cluster.ctl(3, &["status"])) {
        let said = cluster.ctl(3, &["rebuild", &group.to_string(), "3"]);
        assert!(said.contains("node 3 holds entries up to"), "{said}");
        assert!(said.contains("other members committed are lost"), "{said}");
    }
    let mut alone = ClusterClient::new(&[cluster.resp(3)]);
    expect(&mut alone, "before");
    for key in &keys {
        assert_eq!(alone.command(key, &["SET", key, "after"]), Outcome::Done(Value::ok()));
    }
    // Once more, by who does not know that it was done. What another node brings back is no reason either.
    cluster.start(2);
    eventually("it answers", || Connection::open(&cluster.resp(2)).ok());
    let said = refused(&cluster, "1", "2");
    assert!(said.contains("goes on at node 3 without what node 2 holds"), "{said}");
    for group in groups(&cluster.ctl(3, &["status"])) {
        let said = cluster.ctl(3, &["rebuild", &group.to_string(), "3"]);
        assert!(
            said.contains("it is rebuilt already") && said.contains("voters=2,3"),
            "{said}"
        );
    }
    expect(&mut ClusterClient::new(&[cluster.resp(2), cluster.resp(3)]), "after");

    // One that was lost comes back with what it held, which is no part of the group any more.
    cluster.start(1);
    eventually("it answers", || Connection::open(&cluster.resp(1)).ok());
    cluster.ctl(3, &["join", "1"]);
    let status = cluster.ctl(3, &["status"]);
    for group in groups(&status) {
        let line = group_line(&status, group);
        assert!(line.contains("voters=1,2,3"), "{line}");
    }
    expect(&mut ClusterClient::new(&cluster.all_resp()), "after");
}

/// A client that retries what it is told to retry sees no error when leadership moves.
#[test]
fn leadership_moves_under_load_without_an_error() {
    let mut cluster = ServerCluster::steady(3, 2);
    cluster.start_all();
    let (load, threads) = Load::start(&cluster.all_resp());
    load.progress("at first");
    let before: u64 = load.clients.iter().map(|c| c.refused.load(Ordering::SeqCst)).sum();
    for round in 0..6 {
        let status = cluster.ctl(1, &["status"]);
        for group in groups(&status) {
            let to = (round % 3 + 1).to_string();
            cluster.ctl(2, &["transfer", &group.to_string(), &to]);
            let status = cluster.ctl(3, &["status"]);
            assert!(group_line(&status, group).contains("leader="), "{status}");
        }
        load.progress("after a transfer");
    }
    for counts in &load.clients {
        assert_eq!(counts.unknown.load(Ordering::SeqCst), 0, "every outcome is known");
    }
    let refused: u64 = load.clients.iter().map(|c| c.refused.load(Ordering::SeqCst)).sum();
    assert_eq!(refused, before, "nobody saw more than MOVED");
    load.check(threads, &cluster.all_resp());
}

#[test]
fn ctl_says_what_is_wrong() {
    let mut cluster = ServerCluster::steady(1, 1);
    cluster.start_all();
    let refuse = |words: &[&str]| {
        let at = cluster.resp(1);
        let output = run_to_end(&[&["ctl", "--node", &at], words].concat());
        assert!(!output.status.success(), "{words:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refuse(&["join", "4"]).contains("node 4 is unknown"));
    assert!(refuse(&["promote", "4", "--group", "1"]).contains("is unknown"));
    assert!(refuse(&["remove", "1", "--group", "1"]).contains("at least one voter"));
    assert!(refuse(&["transfer", "77", "1"]).contains("there is no"));
    // What belongs to a group is not destroyed.
    let mut client = ClusterClient::new(&cluster.all_resp());
    assert_eq!(client.command("k", &["SET", "k", "v"]), Outcome::Done(Value::ok()));
    assert!(refuse(&["replace", "1", "1"]).contains("can't take its own place"));
    let mut connection = Connection::open(&cluster.resp(1)).unwrap();
    let mut admin = |words: &[&str]| connection.command(&[&["RAFTYARD", "ADMIN"], words].concat()).unwrap();
    assert!(admin(&["REPLACE", "1", "1", "1"]).is_error("ERR a node can't take its own place"));
    assert!(admin(&["LEAVE", "1"]).is_error("ERR this node is a member of"));
    assert_eq!(admin(&["LEAVE", "1", "1"]), Value::ok(), "it is of that incarnation");
    assert_eq!(client.command("k", &["GET", "k"]), Outcome::Done(Value::bulk("v")));
    let nobody = run_to_end(&["ctl", "--node", "127.0.0.1:1", "status"]);
    assert!(!nobody.status.success());
    let abandoned = cluster.ctl(1, &["abandon"]);
    assert!(abandoned.contains("no change that could be abandoned"), "{abandoned}");
}

/// An election, or a quorum that is lost, is no reason to destroy what is perhaps the last copy.
#[test]
fn a_member_is_not_ended_while_nobody_can_say_whether_it_is_one() {
    let mut cluster = ServerCluster::new(3, 1);
    cluster.start_all();
    let mut client = ClusterClient::new(&cluster.all_resp());
    eventually("a write", || {
        (client.command("k", &["SET", "k", "v"]) == Outcome::Done(Value::ok())).then_some(())
    });
    cluster.kill(2);
    cluster.kill(3);
    let mut connection = Connection::open(&cluster.resp(1)).unwrap();
    eventually("nobody says any more whether it is one", || {
        let reply = connection.command(&["RAFTYARD", "ADMIN", "LEAVE", "1"]).unwrap();
        // If it led, its lease goes on for a while.
        let is_member = reply.is_error("ERR this node is a member of ");
        assert!(is_member || reply.is_error("TRYAGAIN nobody confirms "), "{reply:?}");
        (!is_member).then_some(())
    });
    cluster.start(2);
    cluster.start(3);
    eventually("it is read", || {
        (client.command("k", &["GET", "k"]) == Outcome::Done(Value::bulk("v"))).then_some(())
    });
}

/// The documented way to replace a node whose disk is lost.
#[test]
fn a_node_that_is_gone_for_good_is_replaced() {
    let mut cluster = ServerCluster::new(3, 2);
    cluster.start_all();
    let mut client = ClusterClient::new(&cluster.all_resp());
    eventually("the write is taken", || {
        (client.command("k", &["SET", "k", "v"]) == Outcome::Done(Value::ok())).then_some(())
    });
    // The first one: what comes after it has to be told all the same.
    cluster.kill(1);
    let fourth = cluster.add_joining();
    cluster.start(fourth);
    cluster.wait_ready(fourth);

    let (at, peer, resp) = (cluster.resp(2), cluster.peer(fourth), cluster.resp(fourth));
    let told = run_to_end(&["ctl", "--node", &at, "add-node", "4", "--peer", &peer, "--resp", &resp]);
    let said = String::from_utf8_lossy(&told.stderr);
    assert!(
        !told.status.success() && said.contains("could not be reached: [1]"),
        "{said}"
    );
    cluster.ctl(3, &["replace", "1", "4"]);
    let status = cluster.ctl(fourth, &["status"]);
    for group in groups(&status) {
        let line = group_line(&status, group);
        assert!(line.contains("voters=2,3,4 ") && !line.contains("outgoing="), "{line}");
    }
    // Two of the three that are members now do without the third.
    cluster.kill(2);
    let value = eventually("it is read", || match client.command("k", &["GET", "k"]) {
        Outcome::Done(value) => Some(value),
        _ => None,
    });
    assert_eq!(value, Value::bulk("v"));
}

/// It takes connections and says nothing.
#[test]
fn a_node_that_hangs_is_replaced() {
    let mut cluster = ServerCluster::new(3, 3);
    cluster.start_all();
    let fourth = cluster.add_joining();
    cluster.start(fourth);
    cluster.wait_ready(fourth);
    let (peer, resp) = (cluster.peer(fourth), cluster.resp(fourth));
    cluster.ctl(2, &["add-node", "4", "--peer", &peer, "--resp", &resp]);
    for group in groups(&cluster.ctl(2, &["status"])) {
        cluster.ctl(2, &["transfer", &group.to_string(), "1"]);
    }
    cluster.freeze(1);
    let said = cluster.ctl(2, &["replace", "1", "4"]);
    assert!(said.contains("node 1 still holds its replica"), "{said}");
    for group in 1..=3 {
        assert!(said.contains(&format!("group {group}: voters=2,3,4")), "{said}");
    }
}
