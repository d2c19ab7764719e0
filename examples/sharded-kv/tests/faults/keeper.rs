//! A client that sets keys once each: those that were acknowledged have to be there at the end, those that were refused
//! must never be.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::clients::Load;
use crate::links::{Links, Reply};
use crate::random::Random;
use crate::resp::Value;
use crate::system::poll;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Done,
    Refused,
    Unknown,
}

pub(crate) struct Keeper<'a> {
    load: &'a Load,
    random: Random,
    links: Links,
    told: Vec<Told>,
}

impl<'a> Keeper<'a> {
    pub(crate) fn new(load: &'a Load, seed: u64) -> Self {
        Self {
            load,
            random: Random::part(seed, 50),
            links: Links::new(&load.nodes, Duration::from_secs(3), false),
            told: Vec::new(),
        }
    }

    pub(crate) fn run(mut self) -> Self {
        while !self.load.stop.load(Ordering::SeqCst) {
            let n = self.told.len();
            let told = match self.ask(n, &["SET", &key(n), &value(n)]) {
                Reply::Told(reply) if reply == Value::ok() => Told::Done,
                Reply::Told(reply) => {
                    self.load
                        .odd
                        .lock()
                        .unwrap()
                        .push(format!("SET of {} was answered {reply:?}", key(n)));
                    Told::Unknown
                }
                Reply::Moved(_) | Reply::Refused(_) => Told::Refused,
                Reply::Unknown => Told::Unknown,
            };
            self.told.push(told);
            thread::sleep(self.random.millis(5, 40));
        }
        self
    }

    fn ask(&mut self, n: usize, words: &[&str]) -> Reply {
        let command = [words.iter().map(|word| (*word).to_owned()).collect()];
        let mut said = Reply::Unknown;
        for _ in 0..4 {
            let node = self.links.home(n, &mut self.random);
            self.links.exchange(&node, &command, |reply| said = reply);
            self.links.learn(n, &node, &said);
            if !matches!(said, Reply::Moved(_)) {
                break;
            }
        }
        said
    }

    /// Looks for all keys, once everything is well again. Returns how many were acknowledged, and what is wrong.
    pub(crate) fn check(&mut self, deadline: Duration) -> (usize, Vec<String>) {
        let mut wrong = Vec::new();
        for n in 0..self.told.len() {
            let key = key(n);
            let found = poll(deadline, || match self.ask(n, &["GET", &key]) {
                Reply::Told(value) => Some(value),
                _ => None,
            });
            let expected = Value::bulk(&value(n));
            match (self.told[n], found) {
                (_, None) => wrong.push(format!("{key} can't be read")),
                (Told::Done, Some(found)) if found != expected => {
                    wrong.push(format!("{key} was acknowledged, and is {found:?}"));
                }
                (Told::Refused, Some(found)) if found != Value::Null2 => {
                    wrong.push(format!("{key} was refused, and is {found:?}"));
                }
                _ => {}
            }
            if wrong.len() > 20 {
                break;
            }
        }
        (self.told.iter().filter(|told| **told == Told::Done).count(), wrong)
    }
}

fn key(n: usize) -> String {
    format!("once-{n}")
}

fn value(n: usize) -> String {
    format!("value-{n}")
}
