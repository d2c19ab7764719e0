//! How much memory a transaction takes, known before it begins: some bytes of commands can load, and make, any amount of
//! values.

use std::collections::HashMap;
use std::convert::Infallible;

use super::MAX_VALUE_BYTES;
use super::command::{Command, Operation};
use super::touched::Touched;

/// Whether the values that a transaction needs and makes may have more than `bytes_max` together. It follows from the
/// command and the state alone, by `length`, which tells the length of a key's value (0: it is not there): all replicas have to
/// refuse the same, wherever their keys are. Commands alone are never too heavy.
pub(super) fn is_too_heavy(command: &Command, bytes_max: usize, length: impl Fn(&[u8]) -> usize) -> bool {
    let Command::Transaction { operations, .. } = command else {
        return false;
    };
    let mut values = Values(HashMap::new());
    for operation in operations {
        let Ok::<_, Infallible>(()) = operation.touched(&mut |touched| {
            if let Touched::Value(key) = touched {
                values.put(key, length(key));
            }
            Ok(())
        });
        if let Operation::Write(command) = operation {
            values.write(command);
        }
    }
    values.0.into_values().fold(0, usize::saturating_add) > bytes_max
}

/// The longest value that each key may have had.
struct Values<'a>(HashMap<&'a [u8], usize>);

impl<'a> Values<'a> {
    fn write(&mut self, command: &'a Command) {
        match command {
            Command::Set { key, value, .. } => self.put(key, value.len()),
            Command::SetMany { pairs } | Command::SetManyAbsent { pairs } => {
                pairs.iter().for_each(|(key, value)| self.put(key, value.len()));
            }
            Command::Append { key, suffix } => self.put(key, self.length(key) + suffix.len()),
            Command::SetRange { key, offset, part } => {
                let offset = usize::try_from(*offset).unwrap_or(usize::MAX);
                self.put(key, offset.saturating_add(part.len()));
            }
            Command::Rename { from, to, .. } | Command::Copy { from, to, .. } => self.put(to, self.length(from)),
            _ => {}
        }
    }

    /// What would be too long is refused.
    fn put(&mut self, key: &'a [u8], length: usize) {
        if length <= MAX_VALUE_BYTES {
            let longest = self.0.entry(key).or_default();
            *longest = (*longest).max(length);
        }
    }

    fn length(&self, key: &[u8]) -> usize {
        self.0.get(key).copied().unwrap_or_default()
    }
}
