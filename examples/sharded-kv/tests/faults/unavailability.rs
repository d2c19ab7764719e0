//! How long keys could not be written, by what was wrong meanwhile.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::history::{Call, Op};
use crate::nemesis::Happened;
use crate::units::UNITS;

/// For so long after it ended a fault may be the reason, in microseconds.
const AFTERMATH: u64 = 1_000_000;

#[derive(Debug, Clone, Copy, Default)]
struct Worst {
    times: usize,
    any: u64,
    alone: u64,
}

/// The longest times without a write to a unit that was acknowledged, by kind of fault: during it, and during it alone.
#[derive(Debug, Default)]
pub(crate) struct Unavailability(BTreeMap<&'static str, Worst>);

impl Unavailability {
    pub(crate) fn of(calls: &[Call], happened: &[Happened], begin: u64) -> Self {
        let mut found: BTreeMap<&'static str, Worst> = BTreeMap::new();
        for one in happened {
            found.entry(one.fault.kind()).or_default().times += 1;
        }
        for unit in 0..UNITS {
            let written = calls
                .iter()
                .filter(|call| call.unit == unit && call.op != Op::Read && call.is_known());
            let mut ends: Vec<u64> = written.map(|call| call.returned).filter(|end| *end >= begin).collect();
            ends.push(begin);
            ends.sort_unstable();
            for gap in ends.windows(2) {
                let (from, to) = (gap[0], gap[1]);
                let during: Vec<_> = happened
                    .iter()
                    .filter(|one| one.from < to && one.to + AFTERMATH > from)
                    .map(|one| one.fault.kind())
                    .collect();
                for kind in &during {
                    let worst = found.entry(kind).or_default();
                    worst.any = worst.any.max(to - from);
                    if during.len() == 1 {
                        worst.alone = worst.alone.max(to - from);
                    }
                }
            }
        }
        Self(found)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (kind, worst) in &other.0 {
            let sum = self.0.entry(kind).or_default();
            sum.times += worst.times;
            sum.any = sum.any.max(worst.any);
            sum.alone = sum.alone.max(worst.alone);
        }
    }
}

impl fmt::Display for Unavailability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |micros: u64| Duration::from_micros(micros).as_secs_f64();
        writeln!(f, "longest time without a write to one key, in seconds")?;
        writeln!(
            f,
            "{:<20} {:>6} {:>14} {:>8}",
            "fault", "times", "among others", "alone"
        )?;
        for (kind, worst) in &self.0 {
            let (any, alone) = (seconds(worst.any), seconds(worst.alone));
            write!(f, "{kind:<20} {:>6} {any:>14.2} ", worst.times)?;
            if worst.alone == 0 {
                writeln!(f, "{:>8}", "-")?;
            } else {
                writeln!(f, "{alone:>8.2}")?;
            }
        }
        Ok(())
    }
}
