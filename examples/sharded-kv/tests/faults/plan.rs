//! What goes wrong in a run, and when: drawn beforehand from its seed.

use std::fmt;
use std::time::Duration;

use crate::random::Random;

/// Something that goes wrong for a while. Machines are numbered from 1, as nodes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// kill -9, and a start at the end.
    Kill(usize),
    /// The same for all nodes at once.
    KillAll,
    /// SIGSTOP, and SIGCONT at the end.
    Pause(usize),
    /// SIGTERM, and a start once the process ended by itself and the time is over.
    Restart(usize),
    /// kill -9, the data is removed, and a new node takes the place of this one, which may try to come back meanwhile.
    Wipe(usize),
    /// Nothing passes between the machine and the others.
    Isolate(usize),
    /// Nothing that the machine sends reaches the others.
    Mute(usize),
    /// Nothing that the others send reaches the machine.
    Deafen(usize),
    /// Nothing passes between the two.
    CutLink(usize, usize),
    /// Nothing passes from the first to the second.
    CutOneWay(usize, usize),
    /// So many percent of the machine's packets are lost.
    Loss(usize, u64),
    /// The machine's packets take so many milliseconds.
    Delay(usize, u64),
    /// The machine's disk is full.
    FullDisk(usize),
}

impl Fault {
    /// Its kind, in figures.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Kill(_) => "kill -9",
            Self::KillAll => "kill -9 of all",
            Self::Pause(_) => "pause",
            Self::Restart(_) => "graceful restart",
            Self::Wipe(_) => "wiped and replaced",
            Self::Isolate(_) => "isolated",
            Self::Mute(_) => "mute",
            Self::Deafen(_) => "deaf",
            Self::CutLink(..) => "link cut",
            Self::CutOneWay(..) => "link cut one way",
            Self::Loss(..) => "loss",
            Self::Delay(..) => "delay",
            Self::FullDisk(_) => "full disk",
        }
    }

    /// The directions in which nothing passes, among machines 1 to `machines`.
    pub(crate) fn cuts(self, machines: usize) -> Vec<(usize, usize)> {
        let others = |node: usize| (1..=machines).filter(move |other| *other != node);
        match self {
            Self::Isolate(node) => others(node).flat_map(|other| [(node, other), (other, node)]).collect(),
            Self::Mute(node) => others(node).map(|other| (node, other)).collect(),
            Self::Deafen(node) => others(node).map(|other| (other, node)).collect(),
            Self::CutLink(one, other) => vec![(one, other), (other, one)],
            Self::CutOneWay(from, to) => vec![(from, to)],
            _ => Vec::new(),
        }
    }

    /// What no other fault may use at the same time.
    fn takes(self, nodes: usize) -> Vec<Part> {
        match self {
            Self::Kill(node) | Self::Pause(node) | Self::Restart(node) => vec![Part::Process(node)],
            Self::KillAll => (1..=nodes).map(Part::Process).collect(),
            Self::Wipe(node) => vec![Part::Process(node), Part::Disk(node)],
            Self::Loss(node, _) | Self::Delay(node, _) => vec![Part::Queue(node)],
            Self::FullDisk(node) => vec![Part::Disk(node)],
            // Directions that are cut are counted.
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillAll => f.write_str(self.kind()),
            Self::CutLink(one, other) => write!(f, "{} {one} – {other}", self.kind()),
            Self::CutOneWay(from, to) => write!(f, "{} {from} → {to}", self.kind()),
            Self::Loss(node, percent) => write!(f, "{} {percent}% at {node}", self.kind()),
            Self::Delay(node, millis) => write!(f, "{} {millis} ms at {node}", self.kind()),
            Self::Kill(node)
            | Self::Pause(node)
            | Self::Restart(node)
            | Self::Wipe(node)
            | Self::Isolate(node)
            | Self::Mute(node)
            | Self::Deafen(node)
            | Self::FullDisk(node) => write!(f, "{} {node}", self.kind()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Process(usize),
    Queue(usize),
    Disk(usize),
}

/// What can be made to go wrong on this system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Possible {
    pub(crate) partitions: bool,
    pub(crate) loss: bool,
    pub(crate) delay: bool,
    pub(crate) full_disk: bool,
}

/// A fault from a moment of the run to another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    pub(crate) fault: Fault,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

/// Draws faults for a run of `length` with `nodes` nodes.
pub(crate) fn draw(random: &mut Random, nodes: usize, length: Duration, possible: Possible) -> Vec<Planned> {
    let mut plan: Vec<Planned> = Vec::new();
    // Process, queue and disk of the node that is wiped belong to nobody afterwards.
    let mut wiped = None;
    let mut from = random.millis(200, 1_500);
    while from < length {
        let fault = draw_fault(random, nodes, possible);
        // Mostly around the length of a lease, sometimes much longer.
        let most = if random.one_in(4) { 5_000 } else { 1_500 };
        let to = (from + random.millis(200, most)).min(length);
        let taken = |other: &Planned| {
            let parts = other.fault.takes(nodes);
            other.to + Duration::from_millis(300) > from && fault.takes(nodes).iter().any(|part| parts.contains(part))
        };
        let is_wiped = |part: &Part| matches!(part, Part::Process(node) | Part::Disk(node) if wiped == Some(*node));
        let of_wiped = match fault {
            Fault::Wipe(_) => wiped.is_some(),
            Fault::KillAll => false,
            _ => fault.takes(nodes).iter().any(is_wiped),
        };
        if !of_wiped && !plan.iter().any(taken) {
            if let Fault::Wipe(node) = fault {
                wiped = Some(node);
            }
            plan.push(Planned { fault, from, to });
            from += random.millis(100, 2_000);
        } else {
            // Where little can go wrong, nothing else may be left to at this moment.
            from += Duration::from_millis(10);
        }
    }
    plan
}

fn draw_fault(random: &mut Random, nodes: usize, possible: Possible) -> Fault {
    loop {
        let node = random.place(nodes) + 1;
        let other = (node - 1 + 1 + random.place(nodes - 1)) % nodes + 1;
        let (fault, is_possible) = match random.below(26) {
            0..=3 => (Fault::Kill(node), true),
            4 => (Fault::KillAll, true),
            5..=7 => (Fault::Pause(node), true),
            8 | 9 => (Fault::Restart(node), true),
            10 => (Fault::Wipe(node), true),
            11..=13 => (Fault::Isolate(node), possible.partitions),
            14 => (Fault::Mute(node), possible.partitions),
            15 => (Fault::Deafen(node), possible.partitions),
            16 | 17 => (Fault::CutLink(node, other), possible.partitions),
            18 | 19 => (Fault::CutOneWay(node, other), possible.partitions),
            20 | 21 => (Fault::Loss(node, 2 + random.below(30)), possible.loss),
            22 | 23 => (Fault::Delay(node, 20 + random.below(180)), possible.delay),
            _ => (Fault::FullDisk(node), possible.full_disk),
        };
        if is_possible {
            return fault;
        }
    }
}

/// Every run has faults at the same time. Where links can't be cut that may fail to be, but a plan has an end.
#[test]
fn faults_overlap_and_every_plan_ends() {
    for links in [true, false] {
        let possible = Possible {
            partitions: links,
            loss: links,
            delay: links,
            full_disk: links,
        };
        for seed in 0..2_000 {
            let nodes = if seed % 4 == 0 { 5 } else { 3 };
            let plan = draw(&mut Random::part(seed, 2), nodes, Duration::from_secs(20), possible);
            let overlaps = |one: &Planned, other: &Planned| one.from < other.to && other.from < one.to;
            let pairs = plan.iter().enumerate();
            let count = pairs.map(|(n, one)| plan.iter().skip(n + 1).filter(|other| overlaps(one, other)).count());
            assert!(
                !plan.is_empty() && (!links || count.sum::<usize>() > 0),
                "seed {seed}: {plan:?}"
            );
        }
    }
}
