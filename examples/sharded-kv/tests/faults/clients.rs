//! Clients of several kinds, each a thread with its own connections, which write down what they asked and were told.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::history::{Call, Op, Outcome};
use crate::links::{Links, Reply};
use crate::random::Random;
use crate::units;

/// `MOVED` that is followed for one call.
const REDIRECTIONS_MAX: usize = 4;

/// What the clients of a run share.
pub(crate) struct Load {
    pub(crate) nodes: Vec<String>,
    pub(crate) start: Instant,
    pub(crate) stop: AtomicBool,
    /// Replies that no call could have.
    pub(crate) odd: Mutex<Vec<String>>,
}

impl Load {
    pub(crate) fn micros(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One command at a time.
    Single,
    /// The same, with transactions wherever they do.
    Transactions,
    /// Reads at any node, after `READONLY`.
    Replicas,
    /// Many commands at once.
    Pipeline,
    /// One command at a time, and gives up soon. It does only what it is told.
    Hasty,
}

pub(crate) struct Client<'a> {
    load: &'a Load,
    name: String,
    kind: Kind,
    random: Random,
    links: Links,
    /// Told from those of other clients by its upper half.
    value: u64,
    pub(crate) calls: Vec<Call>,
    pub(crate) refused: u64,
    /// The last call that was not answered, and what was said instead.
    pub(crate) last_failure: String,
}

impl<'a> Client<'a> {
    pub(crate) fn new(load: &'a Load, kind: Kind, number: u64, seed: u64) -> Self {
        let mut random = Random::part(seed, 100 + number);
        // Some give up before a node says that it does not know, some after.
        let patience = match kind {
            Kind::Hasty => 700,
            _ => [700, 3_000, 8_000][random.place(3)],
        };
        let patience = Duration::from_millis(patience);
        Self {
            load,
            name: format!("{kind:?}-{number}").to_lowercase(),
            kind,
            random,
            links: Links::new(&load.nodes, patience, kind == Kind::Replicas),
            value: (number + 1) << 32,
            calls: Vec::new(),
            refused: 0,
            last_failure: String::new(),
        }
    }

    /// Asks until it is told to stop.
    pub(crate) fn run(mut self) -> Self {
        while !self.load.stopped() {
            match self.kind {
                Kind::Hasty => break,
                Kind::Pipeline => self.pipeline(),
                Kind::Replicas => {
                    let unit = self.random.place(units::UNITS);
                    let node = self.links.any(&mut self.random);
                    self.ask_at(&node, unit, Op::Read);
                }
                Kind::Single | Kind::Transactions => {
                    let value = self.next_value();
                    let (unit, op) = units::draw(&mut self.random, value, false);
                    self.ask(unit, op);
                }
            }
            thread::sleep(self.random.millis(3, 30));
        }
        self
    }

    fn next_value(&mut self) -> u64 {
        self.value += 1;
        self.value
    }

    /// Changes the unit and tells whether that was answered.
    pub(crate) fn update(&mut self, unit: usize) -> bool {
        let value = self.next_value();
        self.ask(unit, units::update(unit, value))
    }

    /// Asks the node that leads the unit's group; whether it was answered.
    pub(crate) fn ask(&mut self, unit: usize, op: Op) -> bool {
        for _ in 0..REDIRECTIONS_MAX {
            let node = self.links.home(unit, &mut self.random);
            match self.ask_at(&node, unit, op) {
                Reply::Moved(_) => {}
                reply => return matches!(reply, Reply::Told(_)),
            }
        }
        false
    }

    fn ask_at(&mut self, node: &str, unit: usize, op: Op) -> Reply {
        let commands = units::commands(unit, op, self.kind == Kind::Transactions);
        let invoked = self.load.micros();
        let mut replies = Vec::new();
        self.links.exchange(node, &commands, |reply| replies.push(reply));
        let returned = self.load.micros();
        let last = replies.pop().unwrap();
        // A transaction is refused because one of its commands was.
        let moved = replies.into_iter().find(|reply| matches!(reply, Reply::Moved(_)));
        let reply = match last {
            Reply::Refused(_) => moved.unwrap_or(last),
            last => last,
        };
        self.links.learn(unit, node, &reply);
        if let Reply::Refused(_) | Reply::Unknown = reply {
            self.last_failure = format!("{} at {node}: {reply:?}", units::name(unit));
        }
        self.note(node, unit, op, (invoked, returned), &reply, None);
        reply
    }

    /// Sends calls on units that live on one node, all at once.
    fn pipeline(&mut self) {
        let first = units::draw(&mut self.random, 0, true).0;
        let node = self.links.home(first, &mut self.random);
        let mut asked = Vec::new();
        let many = self.random.below(12) + 2;
        for _ in 0..many {
            let value = self.next_value();
            let (unit, op) = units::draw(&mut self.random, value, true);
            let home = self.links.home(unit, &mut self.random);
            if home == node || self.random.one_in(8) {
                asked.push((unit, op));
                // Often more than one on the same unit, whose order is then to be kept.
                if self.random.one_in(2) {
                    asked.push((unit, Op::Read));
                }
            }
        }
        let commands: Vec<_> = asked
            .iter()
            .flat_map(|(unit, op)| units::commands(*unit, *op, false))
            .collect();
        let invoked = self.load.micros();
        let mut replies = Vec::new();
        let load = self.load;
        self.links
            .exchange(&node, &commands, |reply| replies.push((reply, load.micros())));
        let base = self.next_number();
        for (at, ((unit, op), (reply, returned))) in asked.iter().zip(replies).enumerate() {
            self.links.learn(*unit, &node, &reply);
            // The last one before it on the unit whose outcome is known.
            let mut before = self.calls.iter().rev().take_while(|call| call.number >= base);
            let before = before.find(|call| call.unit == *unit && call.is_known());
            let (number, after) = (base + u64::try_from(at).unwrap(), before.map(|call| call.number));
            self.note(&node, *unit, *op, (invoked, returned), &reply, Some((number, after)));
        }
    }

    fn next_number(&self) -> u64 {
        self.calls.last().map_or(0, |call| call.number + 1)
    }

    fn note(
        &mut self,
        node: &str,
        unit: usize,
        op: Op,
        (invoked, returned): (u64, u64),
        reply: &Reply,
        order: Option<(u64, Option<u64>)>,
    ) {
        let outcome = match reply {
            Reply::Told(value) => match units::told(unit, op, value) {
                Ok(told) => Outcome::Done(told),
                Err(odd) => {
                    self.load.odd.lock().unwrap().push(odd);
                    Outcome::Unknown
                }
            },
            Reply::Unknown => Outcome::Unknown,
            Reply::Moved(_) | Reply::Refused(_) => {
                self.refused += 1;
                return;
            }
        };
        let (number, after) = order.unwrap_or((self.next_number(), None));
        self.calls.push(Call {
            client: self.name.clone(),
            node: node.to_owned(),
            unit,
            op,
            invoked,
            returned,
            outcome,
            number,
            after,
        });
    }
}
