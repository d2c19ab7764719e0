//! What the groups of a soak keep.

use raftyard::{StateMachine, Timestamp};
use serde::{Deserialize, Serialize};

/// How many commands were applied, and a digest of them in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    digest: u64,
}

impl StateMachine for Tally {
    type Command = u64;
    type Response = u64;
    type Query = ();
    type Answer = Self;
    type Snapshot = Self;

    fn apply(&mut self, command: u64, _: Timestamp) -> u64 {
        self.count += 1;
        // An odd factor and a rotation: no command is lost in the digest, nor is their order.
        self.digest = (self.digest ^ command)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
        self.count
    }

    fn query(&self, (): ()) -> Self {
        *self
    }

    fn snapshot(&self) -> Self {
        *self
    }

    fn restore(&mut self, snapshot: Self) {
        *self = snapshot;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(commands: &[u64]) -> Tally {
        let mut tally = Tally::default();
        for command in commands {
            tally.apply(*command, Timestamp(0));
        }
        tally
    }

    #[test]
    fn commands_and_their_order_tell_tallies_apart() {
        assert_eq!(after(&[1, 2, 3]), after(&[1, 2, 3]));
        assert_ne!(after(&[1, 2, 3]), after(&[1, 3, 2]));
        assert_ne!(after(&[1, 2, 3]), after(&[1, 2, 4]));
        assert_ne!(after(&[0]), after(&[0, 0]));
    }
}
