//! Units of keys, and how each kind of call on one is said in RESP.

use crate::history::{Op, State};
use crate::random::Random;
use crate::resp::Value;

/// Units of each kind: so many that every group has some.
const REGISTERS: usize = 16;
const COUNTERS: usize = 8;
const PAIRS: usize = 8;

pub(crate) const UNITS: usize = REGISTERS + COUNTERS + PAIRS;

/// Keys in one slot that are read and written together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One key that is set.
    Register,
    /// One key that is incremented.
    Counter,
    /// Two keys that are incremented.
    Pair,
}

fn kind(unit: usize) -> Kind {
    if unit < REGISTERS {
        Kind::Register
    } else if unit < REGISTERS + COUNTERS {
        Kind::Counter
    } else {
        Kind::Pair
    }
}

/// How clients call a unit.
pub(crate) fn name(unit: usize) -> String {
    keys(unit).join(" and ")
}

fn keys(unit: usize) -> Vec<String> {
    match kind(unit) {
        Kind::Register => vec![format!("register-{unit}")],
        Kind::Counter => vec![format!("counter-{unit}")],
        Kind::Pair => vec![format!("{{pair-{unit}}}.a"), format!("{{pair-{unit}}}.b")],
    }
}

/// Draws a unit and what to ask of it. `value` is one that nobody else writes; `single` allows no transactions.
pub(crate) fn draw(random: &mut Random, value: u64, single: bool) -> (usize, Op) {
    let unit = random.place(if single { REGISTERS + COUNTERS } else { UNITS });
    (unit, draw_op(random, unit, value))
}

fn draw_op(random: &mut Random, unit: usize, value: u64) -> Op {
    match kind(unit) {
        _ if random.one_in(3) => Op::Read,
        Kind::Register => match random.below(8) {
            0 => Op::Exchange(0),
            1 => Op::Exchange(value),
            2 | 3 => Op::WriteIfAbsent(value),
            _ => Op::Write(value),
        },
        Kind::Counter => Op::Add([1, 0]),
        Kind::Pair => Op::Add([1, random.below(2)]),
    }
}

/// A call that changes the unit and tells what is there.
pub(crate) fn update(unit: usize, value: u64) -> Op {
    match kind(unit) {
        Kind::Register => Op::Exchange(value),
        Kind::Counter | Kind::Pair => Op::Add([1, 0]),
    }
}

/// The commands for a call; the reply to the last one tells what came of it. `transaction` asks for one where a single
/// command does as well.
pub(crate) fn commands(unit: usize, op: Op, transaction: bool) -> Vec<Vec<String>> {
    let (keys, value) = (keys(unit), op.own_value().unwrap_or_default().to_string());
    let key = keys[0].as_str();
    let all: Vec<Vec<&str>> = match (kind(unit), op) {
        (Kind::Pair, Op::Read) => vec![vec!["MGET", key, &keys[1]]],
        (_, Op::Read) => vec![vec!["GET", key]],
        (_, Op::Write(_)) => vec![vec!["SET", key, &value]],
        (_, Op::Exchange(0)) => vec![vec!["GETDEL", key]],
        (_, Op::Exchange(_)) if transaction => {
            vec![vec!["MULTI"], vec!["GET", key], vec!["SET", key, &value], vec!["EXEC"]]
        }
        (_, Op::Exchange(_)) => vec![vec!["SET", key, &value, "GET"]],
        (_, Op::WriteIfAbsent(_)) => vec![vec!["SET", key, &value, "NX", "GET"]],
        (Kind::Pair, Op::Add(by)) => {
            let second = if by[1] == 0 { "GET" } else { "INCR" };
            vec![vec!["MULTI"], vec!["INCR", key], vec![second, &keys[1]], vec!["EXEC"]]
        }
        (_, Op::Add(_)) => vec![vec!["INCR", key]],
    };
    let owned = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect();
    all.into_iter().map(owned).collect()
}

/// What the reply to the last command tells; an error if it is no possible answer.
pub(crate) fn told(unit: usize, op: Op, reply: &Value) -> Result<Option<State>, String> {
    let told = match (op, reply) {
        (Op::Write(_), Value::Status(status)) if status == "OK" => return Ok(None),
        (Op::Write(_), _) => None,
        (_, Value::Array(values)) if kind(unit) == Kind::Pair => match &values[..] {
            [first, second] => number(first).zip(number(second)).map(|(first, second)| [first, second]),
            _ => None,
        },
        // Of a transaction, GET and SET.
        (Op::Exchange(_), Value::Array(values)) => match &values[..] {
            [before, set] if *set == Value::Status("OK".into()) => number(before).map(|number| [number, 0]),
            _ => None,
        },
        (_, value) => number(value).map(|number| [number, 0]),
    };
    told.map(Some)
        .ok_or_else(|| format!("{op:?} of {} was answered {reply:?}", name(unit)))
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Null2 => Some(0),
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::Bulk(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}
