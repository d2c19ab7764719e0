//! One run: a cluster under faults and clients, then what must hold of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::clients::{Client, Kind, Load};
use crate::cluster::{Cluster, Setup};
use crate::history::{Call, Op};
use crate::keeper::Keeper;
use crate::linearizability::{Verdict, check, that_count};
use crate::nemesis::{self, Damage, Happened, Progress};
use crate::plan::{self, Planned, Possible};
use crate::random::Random;
use crate::system::{own_dir, poll, root};
use crate::unavailability::Unavailability;
use crate::units;

/// Until a cluster without faults serves every key, and does again once all are over; a node may have to be replaced, on
/// a busy machine.
pub(crate) const WELL: Duration = Duration::from_secs(90);

/// Calls that are shown before the first one that has no place, and behind it.
const SHOWN: usize = 25;

const CLIENTS: [Kind; 9] = [
    Kind::Single,
    Kind::Single,
    Kind::Single,
    Kind::Transactions,
    Kind::Transactions,
    Kind::Replicas,
    Kind::Replicas,
    Kind::Pipeline,
    Kind::Pipeline,
];

/// What a run showed.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) done: usize,
    pub(crate) unknown: usize,
    pub(crate) refused: u64,
    pub(crate) kept: usize,
    /// Units for which the search took too long.
    pub(crate) undecided: usize,
    /// From the end of the last fault until every unit was written.
    pub(crate) well_after: Duration,
    /// What kept it from being written before.
    pub(crate) last_failure: String,
    /// And until a wiped node was replaced.
    pub(crate) whole_after: Duration,
    pub(crate) unavailable: Unavailability,
}

/// Runs it. The error says all that is known of what went wrong.
pub(crate) fn run(seed: u64, length: Duration, possible: Possible, loopback: bool) -> Result<Figures, String> {
    let dir = own_dir().join(format!("run-{seed}"));
    fs::create_dir_all(&dir).unwrap();
    let setup = Setup::draw(&mut Random::part(seed, 1));
    let plan = plan::draw(&mut Random::part(seed, 2), setup.nodes, length, possible);
    let planned = plan
        .iter()
        .map(|one| format!("{:>7?} – {:>7?} {}\n", one.from, one.to, one.fault));
    fs::write(dir.join("plan.txt"), planned.collect::<String>()).unwrap();
    let mut run = Run {
        seed,
        setup,
        dir: dir.clone(),
        damage: Damage::default(),
        figures: Figures::default(),
        wrong: Vec::new(),
    };
    // In a thread of its own, which moves to where clients are.
    thread::scope(|scope| {
        scope.spawn(|| run.go(&plan, loopback)).join().unwrap();
    });
    if run.wrong.is_empty() {
        let _ = fs::remove_dir_all(dir);
        return Ok(run.figures);
    }
    Err(run.explain())
}

struct Run {
    seed: u64,
    setup: Setup,
    dir: PathBuf,
    damage: Damage,
    figures: Figures,
    wrong: Vec<String>,
}

impl Run {
    fn go(&mut self, plan: &[Planned], loopback: bool) {
        let mut cluster = Cluster::start(self.setup, &format!("{}", self.seed), &self.dir, loopback);
        let network = Arc::clone(&cluster.network);
        network.enter_as_client();
        let load = Load {
            nodes: cluster.all_resp(),
            start: Instant::now(),
            stop: AtomicBool::new(false),
            odd: Mutex::new(Vec::new()),
        };
        let progress = Progress::default();
        let (operator, random) = (cluster.operator(), Random::part(self.seed, 3));
        let mut closer = Client::new(&load, Kind::Hasty, 99, self.seed);
        cluster.tend();
        self.expect("at the start", WELL, || all_written(&mut closer));
        if !self.wrong.is_empty() {
            return;
        }
        let begin = load.micros();
        let (mut calls, mut keeper) = thread::scope(|scope| {
            let clients = CLIENTS.iter().zip(0..).map(|(kind, number)| {
                let client = Client::new(&load, *kind, number, self.seed);
                let network = &network;
                scope.spawn(move || {
                    network.enter_as_client();
                    client.run()
                })
            });
            let clients: Vec<_> = clients.collect();
            let keeper = Keeper::new(&load, self.seed);
            let keeper = scope.spawn(|| {
                network.enter_as_client();
                keeper.run()
            });
            let operating = scope.spawn(|| {
                network.enter_as_client();
                nemesis::operate(&operator, &load, &progress, random);
            });
            let nemesis = scope.spawn(|| nemesis::run(&mut cluster, plan, &load, &progress));
            while !progress.healed.load(Ordering::SeqCst) && !nemesis.is_finished() {
                thread::sleep(Duration::from_millis(20));
            }
            let healed = Instant::now();
            closer.last_failure.clear();
            self.expect("once all faults were over", WELL, || all_written(&mut closer));
            self.figures.well_after = healed.elapsed();
            self.figures.last_failure = closer.last_failure.clone();
            self.expect("a wiped node is replaced", WELL, || progress.is_whole());
            self.figures.whole_after = healed.elapsed();
            load.stop.store(true, Ordering::SeqCst);
            let mut calls = Vec::new();
            for client in clients {
                let client = client.join().unwrap();
                self.figures.refused += client.refused;
                calls.extend(client.calls);
            }
            self.damage = nemesis.join().unwrap();
            operating.join().unwrap();
            (calls, keeper.join().unwrap())
        });
        if self.wrong.is_empty() {
            for unit in 0..units::UNITS {
                self.expect("at the end", WELL, || closer.ask(unit, Op::Read));
            }
            let (kept, wrong) = keeper.check(WELL);
            self.figures.kept = kept;
            self.wrong.extend(wrong);
        }
        calls.append(&mut closer.calls);
        self.wrong.append(&mut load.odd.lock().unwrap());
        self.wrong.append(&mut self.damage.complaints);
        self.wrong.extend(cluster.panics());
        self.figures.unavailable = Unavailability::of(&calls, &self.damage.happened, begin);
        self.judge(&calls);
    }

    fn expect(&mut self, when: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
        if poll(deadline, || condition().then_some(())).is_none() {
            self.wrong.push(format!("not within {deadline:?}: {when}"));
        }
    }

    fn judge(&mut self, calls: &[Call]) {
        self.figures.done = calls.iter().filter(|call| call.is_known()).count();
        self.figures.unknown = calls.len() - self.figures.done;
        for unit in 0..units::UNITS {
            let of_unit = that_count(calls.iter().filter(|call| call.unit == unit).cloned());
            match check(&of_unit) {
                Verdict::Linearizable => {}
                Verdict::Undecided => self.figures.undecided += 1,
                Verdict::Not(order) => {
                    let name = units::name(unit);
                    let path = self.dir.join(format!("history-{unit}.txt"));
                    let (all, shown) = describe(&of_unit, &order);
                    fs::write(&path, all).unwrap();
                    let file = path.file_name().unwrap().to_string_lossy().into_owned();
                    self.wrong.push(format!(
                        "{name} is not linearizable; all of its calls are in {file}\n{shown}"
                    ));
                }
            }
        }
    }

    /// Keeps what the nodes wrote, but their data, and says what is known.
    fn explain(&self) -> String {
        let kept = root().join(format!("failed-{}", self.seed));
        let _ = fs::remove_dir_all(&kept);
        let place = if fs::rename(&self.dir, &kept).is_ok() {
            &kept
        } else {
            &self.dir
        };
        let mut text = format!("seed {}: {:?}\n", self.seed, self.setup);
        for Happened { fault, from, to } in &self.damage.happened {
            writeln!(text, "  {} – {} {fault}", seconds(*from), seconds(*to)).unwrap();
        }
        let mut said: BTreeMap<&str, usize> = BTreeMap::new();
        for wrong in &self.wrong {
            *said.entry(wrong).or_default() += 1;
        }
        for (wrong, times) in said {
            writeln!(text, "{times} × {wrong}").unwrap();
        }
        writeln!(text, "logs of the nodes: {}", place.display()).unwrap();
        let _ = fs::write(Path::new(place).join("failure.txt"), &text);
        text
    }
}

fn seconds(micros: u64) -> String {
    format!("{:>3}.{:03}", micros / 1_000_000, micros / 1000 % 1000)
}

/// Tries to write every unit.
pub(crate) fn all_written(client: &mut Client) -> bool {
    (0..units::UNITS).all(|unit| client.update(unit))
}

/// All calls on a unit, and those around the first one that has no place in the longest order that was found.
fn describe(calls: &[Call], order: &[usize]) -> (String, String) {
    let mut positions: Vec<usize> = (0..calls.len()).collect();
    positions.sort_by_key(|at| calls[*at].invoked);
    let lines: Vec<String> = positions
        .iter()
        .map(|at| match order.iter().position(|placed| placed == at) {
            Some(place) => format!("{place:>5} {}", calls[*at]),
            None => format!("    - {}", calls[*at]),
        })
        .collect();
    let stuck = positions
        .iter()
        .position(|at| calls[*at].is_known() && !order.contains(at));
    let stuck = stuck.unwrap_or_default();
    let shown = &lines[stuck.saturating_sub(SHOWN)..(stuck + SHOWN).min(lines.len())];
    (lines.join("\n"), shown.join("\n"))
}
