//! A disk that was full is used again once there is room, wherever the keys are.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use crate::clients::{Client, Kind, Load};
use crate::cluster::{Cluster, Setup};
use crate::disk::Disk;
use crate::links::{Links, Reply};
use crate::plan::Fault;
use crate::random::Random;
use crate::run::{WELL, write_all};
use crate::system::{own_dir, poll};
use crate::units;

/// So long writes come while the disk is full.
const FULL: Duration = Duration::from_secs(3);

/// What is written then, in keys of 16 KiB: more than a log has room for already.
const KEYS: usize = 60;

fn a_node_is_back_once_there_is_room(on_disk: bool) {
    let dir = own_dir().join(format!("room-{on_disk}"));
    std::fs::create_dir_all(&dir).unwrap();
    if !Disk::can_be_filled(&dir.join("probe")) {
        println!("nothing may be mounted here: NO DISK IS FULL");
        return;
    }
    let setup = Setup {
        nodes: 3,
        on_disk,
        proxy: false,
        stale: false,
        snapshot_entries: 1_000,
        wiped_starts: false,
    };
    let mut cluster = Cluster::start(setup, "room", &dir, true);
    let load = Load {
        nodes: cluster.all_resp(),
        start: Instant::now(),
        stop: AtomicBool::new(false),
        odd: Mutex::new(Vec::new()),
    };
    let mut client = Client::new(&load, Kind::Hasty, 0, 1);
    let mut written = |cluster: &mut Cluster, deadline| {
        let mut left = (0..units::UNITS).collect();
        let found = poll(deadline, || {
            let complaints = cluster.tend();
            assert_eq!(complaints, Vec::<String>::new());
            write_all(&mut client, &mut left).then_some(())
        });
        assert!(found.is_some(), "not all keys are written, keys on disk: {on_disk}");
    };
    written(&mut cluster, WELL);

    cluster.begin(Fault::FullDisk(1));
    let begin = Instant::now();
    let mut links = Links::new(&load.nodes, Duration::from_secs(1), false);
    for key in 0..KEYS {
        write(&mut links, key);
        assert_eq!(cluster.tend(), Vec::<String>::new());
    }
    while begin.elapsed() < FULL {
        written(&mut cluster, WELL);
    }
    cluster.end(Fault::FullDisk(1), None);
    if !on_disk {
        assert!(cluster.has_said(1, "finds no room"), "the disk was not full");
        assert!(!cluster.has_ended(1), "it waits for room");
    }
    // Now no key is written without the node whose disk was full.
    cluster.begin(Fault::Kill(2));
    written(&mut cluster, WELL);
    assert_eq!(cluster.panics(), Vec::<String>::new());
    drop(cluster);
    let _ = std::fs::remove_dir_all(dir);
    let _ = std::fs::remove_dir(own_dir());
}

/// Tries to.
fn write(links: &mut Links, key: usize) {
    let command = [vec!["SET".to_owned(), format!("ballast-{key}"), "x".repeat(16 << 10)]];
    let mut random = Random::new(7);
    for _ in 0..3 {
        let node = links.home(key, &mut random);
        let mut said = Reply::Unknown;
        links.exchange(&node, &command, |reply| said = reply);
        links.learn(key, &node, &said);
        if matches!(said, Reply::Told(_)) {
            return;
        }
    }
}

#[test]
fn nodes_are_back_once_there_is_room() {
    // At the same time: most of it is waiting.
    thread::scope(|scope| {
        let both = [false, true].map(|on_disk| scope.spawn(move || a_node_is_back_once_there_is_room(on_disk)));
        for one in both {
            one.join().unwrap();
        }
    });
}
