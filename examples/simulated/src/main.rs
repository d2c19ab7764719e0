//! A state machine of one's own on simulated clusters: nodes that crash, disks that fail, networks that split. What
//! its clients are told must be what it would have answered alone.

use raftyard::sim::{Kind, Random, Simulation, Workload};
use raftyard::{StateMachine, Timestamp};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

/// A house of a few seats: who takes one that is free gets it.
#[derive(Clone, Default, Serialize, Deserialize)]
struct House {
    /// Who has each seat.
    seats: [Option<u64>; 8],
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Wish {
    Take { seat: usize, guest: u64 },
    Leave { seat: usize },
}

impl StateMachine for House {
    type Command = Wish;
    type Response = bool;
    type Query = ();
    type Answer = Vec<u64>;
    type Snapshot = House;

    fn apply(&mut self, wish: Wish, _: Timestamp) -> bool {
        let (Wish::Take { seat, .. } | Wish::Leave { seat }) = wish;
        let Some(seat) = self.seats.get_mut(seat) else {
            return false;
        };
        match wish {
            Wish::Take { guest, .. } => seat.is_none() && seat.replace(guest).is_none(),
            Wish::Leave { .. } => seat.take().is_some(),
        }
    }

    fn query(&self, (): ()) -> Vec<u64> {
        self.seats.iter().flatten().copied().collect()
    }

    fn snapshot(&self) -> House {
        self.clone()
    }

    fn restore(&mut self, house: House) {
        *self = house;
    }
}

/// What guests do.
#[derive(Clone)]
struct Evening;

impl Workload for Evening {
    type Machine = House;

    fn machine(&self) -> House {
        House::default()
    }

    fn next(&mut self, random: &mut Random) -> Kind<House> {
        let seat = usize::try_from(random.below(8)).unwrap_or(0);
        match random.below(4) {
            0 => Kind::Read(()),
            1 => Kind::Propose(Wish::Leave { seat }),
            _ => Kind::Propose(Wish::Take {
                seat,
                guest: random.number(),
            }),
        }
    }
}

fn main() -> ExitCode {
    let simulation = Simulation::new(Evening).nodes(3).groups(2);
    for seed in 1..=5 {
        match simulation.run(seed) {
            Ok(report) => println!(
                "seed {seed}: {} answers, {} elections",
                report.answers, report.elections
            ),
            Err(failure) => {
                println!("{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
