//! `MULTI` and `WATCH`: what a connection keeps of them, and how commands become one log entry.

use std::cell::LazyCell;

use bytes::Bytes;

use crate::command::Description;
use crate::machine::{Command, Refusal, Version};
use crate::resp::Reply;
use crate::status::Status;

/// Bytes of the commands of a transaction at most, with what it costs to hold them: about what fits into a log entry.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// Their arguments at most: with the watched keys, no more than a command may have, as which they are forwarded.
const ARGUMENTS_MAX: usize = 60_000;

/// Keys that a connection watches at most, and their bytes.
const WATCHED_MAX: usize = 1_000;
const WATCHED_BYTES_MAX: usize = 1024 * 1024;

/// The commands since `MULTI`.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    commands: Vec<Vec<Bytes>>,
    bytes: usize,
    arguments: usize,
    aborted: bool,
}

impl Queue {
    /// Takes a command in; false if there is no room for it. It is copied, so that it does not keep the whole read buffer
    /// alive.
    pub(crate) fn push(&mut self, arguments: &[Bytes]) -> bool {
        self.arguments += arguments.len() + 1;
        self.bytes += arguments
            .iter()
            .map(|argument| argument.len() + size_of::<Bytes>())
            .sum::<usize>();
        let fits = self.arguments <= ARGUMENTS_MAX && self.bytes <= BYTES_MAX;
        if fits && !self.aborted {
            let copies = arguments.iter().map(|argument| Bytes::copy_from_slice(argument));
            self.commands.push(copies.collect());
        }
        fits
    }

    /// Something was wrong: `EXEC` will refuse.
    pub(crate) fn abort(&mut self) {
        self.aborted = true;
        self.commands = Vec::new();
    }

    /// How many commands wait.
    pub(crate) fn len(&self) -> usize {
        self.commands.len()
    }

    /// The commands, `None` if they are not to be carried out.
    pub(crate) fn into_commands(self) -> Option<Vec<Vec<Bytes>>> {
        (!self.aborted).then_some(self.commands)
    }
}

/// The keys that a connection watches, with the versions they had. All have one slot.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Watched {
    pub(crate) slot: Option<u16>,
    pub(crate) keys: Vec<(Bytes, Version)>,
}

impl Watched {
    /// Whether there is room for `keys` too.
    pub(crate) fn has_room(&self, keys: &[Bytes]) -> bool {
        let watched = self.keys.iter().map(|(key, _)| key.len());
        let bytes = keys.iter().map(Bytes::len).chain(watched).sum::<usize>();
        self.keys.len() + keys.len() <= WATCHED_MAX && bytes <= WATCHED_BYTES_MAX
    }

    /// Watches `keys` too. One that is watched already was seen earlier.
    pub(crate) fn add(&mut self, slot: u16, keys: &[Bytes], versions: &[Version]) {
        self.slot = Some(slot);
        for (key, version) in keys.iter().zip(versions) {
            if !self.keys.iter().any(|(watched, _)| watched == key) {
                self.keys.push((Bytes::copy_from_slice(key), *version));
            }
        }
    }
}

/// What `EXEC` makes of the commands.
pub(crate) struct Transaction {
    /// [`Command::Transaction`].
    pub(crate) command: Command,
    /// As another node is told it.
    pub(crate) forwarded: Vec<Bytes>,
    pub(crate) replies: Vec<Part>,
}

/// The reply to one command of a transaction.
pub(crate) enum Part {
    Known(Reply),
    Described(Description),
    /// The next one that the group gives.
    Asked,
}

/// The replies to those commands of a transaction that its node carries out itself take so much memory at most, in bytes,
/// beside the last of them.
const REPLIES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The memory that they take.
#[derive(Debug, Default)]
pub(crate) struct Weight(usize);

impl Weight {
    pub(crate) fn is_full(&self) -> bool {
        self.0 > REPLIES_BYTES_MAX
    }

    /// Counts a reply.
    pub(crate) fn with(&mut self, reply: Reply) -> Reply {
        self.0 += reply.weight();
        reply
    }
}

/// The replies to the commands of a transaction, without those that the group gives.
pub(crate) type Template = Vec<Option<Reply>>;

/// What is known already.
pub(crate) fn template(parts: Vec<Part>, status: impl FnOnce() -> Status) -> Template {
    let status = LazyCell::new(status);
    let mut weight = Weight::default();
    let known = |part| match part {
        Part::Known(reply) => Some(weight.with(reply)),
        Part::Described(_) if weight.is_full() => Some(Reply::error(&Refusal::RepliesTooLong)),
        Part::Described(describe) => Some(weight.with(describe(&status))),
        Part::Asked => None,
    };
    parts.into_iter().map(known).collect()
}

/// The reply to `EXEC`, given that of the group.
pub(crate) fn fill(template: Template, reply: Reply) -> Reply {
    match reply {
        Reply::Array(given) => {
            let mut given = given.into_iter();
            let missing = || Reply::error("ERR the group gave no reply");
            let replies = template.into_iter();
            Reply::Array(
                replies
                    .map(|known| known.or_else(|| given.next()).unwrap_or_else(missing))
                    .collect(),
            )
        }
        // A watched key was changed; another node can't tell it apart from any other null.
        Reply::Null => Reply::NullArray,
        other => other,
    }
}

/// The arguments with which a node asks another to carry out a transaction; [`unpack`] reads them.
pub(crate) fn pack(watched: &[(Bytes, Version)], commands: &[Vec<Bytes>]) -> Vec<Bytes> {
    let number = |number: u64| Bytes::from(number.to_string());
    let mut packed = vec![Bytes::from_static(b"RAFTYARD"), Bytes::from_static(b"EXEC")];
    packed.push(number(watched.len() as u64));
    for (key, version) in watched {
        packed.extend([key.clone(), number(*version)]);
    }
    for command in commands {
        packed.push(number(command.len() as u64));
        packed.extend(command.iter().cloned());
    }
    packed
}

/// A transaction as it is forwarded: what is watched, and the commands.
pub(crate) type Unpacked = (Vec<(Bytes, Version)>, Vec<Vec<Bytes>>);

/// What stands behind the name in [`pack`]'s arguments; `None` if it is something else.
pub(crate) fn unpack(arguments: &[Bytes]) -> Option<Unpacked> {
    fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
        std::str::from_utf8(text).ok()?.parse().ok()
    }
    let (count, rest) = arguments.split_first()?;
    let (pairs, mut rest) = rest.split_at_checked(number::<usize>(count)?.checked_mul(2)?)?;
    let (pairs, _) = pairs.as_chunks::<2>();
    let watched = pairs.iter().map(|[key, version]| Some((key.clone(), number(version)?)));
    let watched = watched.collect::<Option<_>>()?;
    let mut commands = Vec::new();
    while let Some((count, tail)) = rest.split_first() {
        let (command, tail) = tail.split_at_checked(number(count)?)?;
        commands.push(command.to_vec());
        rest = tail;
    }
    Some((watched, commands))
}
