//! What clients asked and were told.

use std::fmt;

/// What a unit holds: one or two numbers, 0 where there is no key.
pub(crate) type State = [u64; 2];

/// What can be asked of a unit: some keys in one slot that are read and written together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// Tells the state.
    Read,
    /// Sets the first number; tells nothing.
    Write(u64),
    /// Sets the first number, 0 to remove the key; tells the state before.
    Exchange(u64),
    /// Sets the first number if there is none; tells the state before.
    WriteIfAbsent(u64),
    /// Adds to the numbers; tells the state after.
    Add(State),
}

impl Op {
    /// The state after it, and what it tells.
    pub(crate) fn apply(self, state: State) -> (State, Option<State>) {
        match self {
            Self::Read => (state, Some(state)),
            Self::Write(value) => ([value, state[1]], None),
            Self::Exchange(value) => ([value, state[1]], Some(state)),
            Self::WriteIfAbsent(value) if state[0] == 0 => ([value, state[1]], Some(state)),
            Self::WriteIfAbsent(_) => (state, Some(state)),
            Self::Add(by) => {
                let after = [state[0] + by[0], state[1] + by[1]];
                (after, Some(after))
            }
        }
    }

    /// The value that only this call writes, if there is one.
    pub(crate) fn own_value(self) -> Option<u64> {
        match self {
            Self::Write(value) | Self::Exchange(value) | Self::WriteIfAbsent(value) => (value != 0).then_some(value),
            Self::Read | Self::Add(_) => None,
        }
    }
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It took effect before it was answered, and told this.
    Done(Option<State>),
    /// It may have taken effect, may yet, or never.
    Unknown,
}

/// One call. Those that were refused are in no history: they must not have taken effect.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) client: String,
    /// The node that was asked, the last one if several were.
    pub(crate) node: String,
    pub(crate) unit: usize,
    pub(crate) op: Op,
    /// When it was asked and answered, in microseconds of the run. Meaningless if unknown: it is never over then.
    pub(crate) invoked: u64,
    pub(crate) returned: u64,
    pub(crate) outcome: Outcome,
    /// The call's number among those of its client, and the one after which it must take effect: the last one before it
    /// on the same connection and unit.
    pub(crate) number: u64,
    pub(crate) after: Option<u64>,
}

impl Call {
    pub(crate) fn is_known(&self) -> bool {
        self.outcome != Outcome::Unknown
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |micros: u64| format!("{:>3}.{:06}", micros / 1_000_000, micros % 1_000_000);
        let end = match self.outcome {
            Outcome::Done(_) => seconds(self.returned),
            Outcome::Unknown => "         …".to_owned(),
        };
        let (client, node, op) = (&self.client, &self.node, self.op);
        write!(f, "{} – {end} {client:<14} at {node:<16} {op:?}", seconds(self.invoked))?;
        match self.outcome {
            Outcome::Done(Some(told)) => write!(f, " told {told:?}"),
            Outcome::Done(None) => f.write_str(" done"),
            Outcome::Unknown => f.write_str(" unknown"),
        }
    }
}
