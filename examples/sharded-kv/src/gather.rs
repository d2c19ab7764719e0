//! Commands on all keys, asked of one group after the other.
//!
//! They concern the groups that this node leads; where it forwards commands, all groups. For them it does not ask others: its
//! replicas' reads are as current as the leaders'. A node that has not a replica of every group can't answer for all.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use futures::future::join_all;
use raftyard::{Consistency, ReadError};
use tokio::time::Instant;

use crate::machine::{Answer, PAGE_BYTES, Query};
use crate::node::Node;
use crate::proxy;
use crate::resp::Reply;

/// Places of keys that one read looks at, at most: the group answers nobody else meanwhile.
const PAGE_MAX: u64 = 4_096;

/// Groups that one `SCAN` looks at, at most.
const GROUPS_MAX: usize = 64;

/// What `KEYS` finds takes so much memory at most, in bytes.
const KEYS_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Bits of a cursor that name the group: there are at most 16,384.
const PLACE_BITS: u32 = 14;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gather {
    /// `DBSIZE`.
    Size,
    /// `RANDOMKEY`.
    Random,
    /// `KEYS pattern`.
    Keys(Bytes),
    /// `SCAN`.
    Scan {
        cursor: Cursor,
        pattern: Option<Bytes>,
        count: u64,
        /// Strings are wanted: there is nothing else.
        strings: bool,
    },
    /// `WAIT`: how many replicas have what this connection wrote, as far as is known. It is a majority without the leader
    /// once a write was answered. Who asks for more would wait in vain, so nobody waits.
    Replicas,
}

/// How far a `SCAN` has come: the group, and the place in it before which it goes on; 0 is before the end. Where keys lie
/// on disk it goes on from a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    place: u16,
    before: u64,
}

impl Cursor {
    pub(crate) fn from_number(number: u64) -> Self {
        let place = number % (1 << PLACE_BITS);
        Self {
            place: u16::try_from(place).unwrap_or_default(),
            before: number >> PLACE_BITS,
        }
    }

    pub(crate) fn number(self) -> u64 {
        (self.before << PLACE_BITS) | u64::from(self.place)
    }
}

/// The groups that are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Led,
    All,
}

impl Node {
    /// What is asked of all keys. Groups that have no leader are waited for until `by`.
    pub(crate) async fn gather(&self, gather: Gather, scope: Scope, by: Instant) -> Reply {
        let reply = match gather {
            Gather::Size => match self.count_keys(scope, by).await {
                Some(count) => Ok(Reply::Integer(count)),
                None => Err(no_count()),
            },
            Gather::Random => self.random_key(scope, by).await,
            Gather::Keys(pattern) => self.keys(&pattern, scope, by).await,
            Gather::Scan { strings: false, .. } => Ok(page(0, vec![])),
            Gather::Scan {
                cursor, pattern, count, ..
            } => self.scan((cursor, count), pattern, scope, by).await,
            Gather::Replicas => Ok(Reply::Integer(self.replicas_of_writes())),
        };
        let reply = reply.unwrap_or_else(|refusal| refusal);
        match scope {
            Scope::Led => reply,
            Scope::All => proxy::final_refusal(reply),
        }
    }

    /// How many keys the groups hold, `None` if one of them did not say.
    pub(crate) async fn count_keys(&self, scope: Scope, by: Instant) -> Option<i64> {
        let counts = self.counts(scope, by).await?;
        Some(counts.into_iter().map(|(_, count)| count).sum())
    }

    async fn counts(&self, scope: Scope, by: Instant) -> Option<Vec<(u16, i64)>> {
        let consistency = match scope {
            Scope::Led => Consistency::Linearizable,
            Scope::All => Consistency::Follower,
        };
        let asked = self.places().filter(|place| self.serves(*place, scope));
        let counts = asked.map(|place| async move { (place, self.ask(place, Query::KeyCount, consistency, by).await) });
        let mut known = Vec::new();
        for (place, count) in join_all(counts).await {
            match count {
                Ok(Answer::Integer(count)) => known.push((place, count)),
                // It is led by another node by now, which counts it.
                Err(ReadError::NotLeader { .. }) if scope == Scope::Led => {}
                Ok(_) | Err(_) => return None,
            }
        }
        Some(known)
    }

    async fn random_key(&self, scope: Scope, by: Instant) -> Result<Reply, Reply> {
        let counts = self.counts(scope, by).await.ok_or_else(no_count)?;
        let sum: u64 = counts.iter().map(|(_, count)| count.unsigned_abs()).sum();
        let Some(mut number) = RandomState::new().hash_one(()).checked_rem(sum) else {
            return Ok(Reply::Null);
        };
        for (place, count) in counts {
            let count = count.unsigned_abs();
            if number < count {
                let answer = self.ask(place, Query::KeyAt(number), Consistency::Follower, by).await;
                return answer.map(Reply::from).map_err(|error| self.refused(place, &error));
            }
            number -= count;
        }
        Ok(Reply::Null)
    }

    /// Every key that is there all the while, once.
    async fn keys(&self, pattern: &Bytes, scope: Scope, by: Instant) -> Result<Reply, Reply> {
        let mut found = Found::default();
        for place in self.places().filter(|place| self.serves(*place, scope)) {
            let mut before = 0;
            loop {
                let keys;
                (before, keys) = self
                    .page(Cursor { place, before }, PAGE_MAX, Some(pattern.clone()), by)
                    .await?;
                found.add(keys)?;
                if before == 0 {
                    break;
                }
            }
        }
        Ok(Reply::Array(found.keys.into_iter().map(Reply::Bulk).collect()))
    }

    async fn scan(
        &self,
        (mut cursor, count): (Cursor, u64),
        pattern: Option<Bytes>,
        scope: Scope,
        by: Instant,
    ) -> Result<Reply, Reply> {
        if cursor.place >= self.shard_map().groups() {
            return Err(Reply::error("ERR invalid cursor"));
        }
        let (mut found, mut bytes) = (Vec::new(), 0);
        let mut left = count.min(PAGE_MAX);
        for _ in 0..GROUPS_MAX {
            // A group that was begun is finished, whoever leads it by now: its keys stand in the same order everywhere.
            if cursor.before == 0 {
                let mut rest = self.places().skip(cursor.place.into());
                match rest.find(|place| self.serves(*place, scope)) {
                    Some(place) => cursor.place = place,
                    None => return Ok(page(0, found)),
                }
            }
            let (before, keys) = self.page(cursor, left, pattern.clone(), by).await?;
            left = left.saturating_sub(keys.len() as u64);
            bytes += keys.iter().map(Bytes::len).sum::<usize>();
            found.extend(keys);
            cursor.before = before;
            if before > 0 {
                break;
            }
            cursor.place += 1;
            if cursor.place >= self.shard_map().groups() {
                return Ok(page(0, found));
            }
            if left == 0 || bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok(page(cursor.number(), found))
    }

    async fn page(
        &self,
        cursor: Cursor,
        count: u64,
        pattern: Option<Bytes>,
        by: Instant,
    ) -> Result<(u64, Vec<Bytes>), Reply> {
        let Cursor { place, before } = cursor;
        let query = Query::Scan { before, count, pattern };
        match self.ask(place, query, Consistency::Follower, by).await {
            Ok(Answer::Page { before, keys }) => Ok((before, keys)),
            Ok(other) => Err(Reply::from(other)),
            Err(error) => Err(self.refused(place, &error)),
        }
    }

    fn places(&self) -> std::ops::Range<u16> {
        0..self.shard_map().groups()
    }

    fn serves(&self, place: u16, scope: Scope) -> bool {
        scope == Scope::All || self.leads(place.into())
    }

    fn refused(&self, place: u16, error: &ReadError) -> Reply {
        self.read_error(*self.shard_map().slots_of(place).start(), error)
    }
}

/// What `KEYS` found. A key that moved meanwhile may come again.
#[derive(Default)]
struct Found {
    keys: HashSet<Bytes>,
    bytes: usize,
}

impl Found {
    fn add(&mut self, keys: Vec<Bytes>) -> Result<(), Reply> {
        for key in keys {
            let bytes = key.len() + size_of::<Bytes>();
            self.bytes += if self.keys.insert(key) { bytes } else { 0 };
        }
        if self.bytes > KEYS_BYTES_MAX {
            let mebibytes = KEYS_BYTES_MAX / 1024 / 1024;
            let text = format!("ERR more than {mebibytes} MiB of keys match, SCAN finds them page by page");
            return Err(Reply::Error(text));
        }
        Ok(())
    }
}

fn no_count() -> Reply {
    Reply::error("TRYAGAIN a group did not tell its number of keys")
}

fn page(cursor: u64, keys: Vec<Bytes>) -> Reply {
    let keys = keys.into_iter().map(Reply::Bulk).collect();
    Reply::Array(vec![Reply::text(cursor.to_string()), Reply::Array(keys)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_numbers_and_0_is_the_beginning() {
        for (place, before) in [(0, 1), (1, 0), (16_383, 0), (16_383, u64::from(u32::MAX)), (5, 1 << 40)] {
            let cursor = Cursor { place, before };
            assert_ne!(cursor.number(), 0);
            assert_eq!(Cursor::from_number(cursor.number()), cursor);
        }
        assert_eq!(Cursor::from_number(0), Cursor { place: 0, before: 0 });
    }

    #[test]
    fn keys_that_take_too_much_memory_are_not_gathered() {
        let longest = Bytes::from(vec![b'k'; 2 * 1024 * 1024]);
        let key = |number: usize| longest.slice(..1024 * 1024 + number);
        let mut found = Found::default();
        for _ in 0..2 {
            assert_eq!(found.add((0..120).map(key).collect()), Ok(()));
        }
        assert_eq!(found.keys.len(), 120);
        let refused = found.add((120..130).map(key).collect());
        assert!(matches!(refused, Err(Reply::Error(text)) if text.contains("SCAN")));
    }
}
