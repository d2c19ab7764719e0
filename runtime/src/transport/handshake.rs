//! Connections that are refused because of who their other end is, says that it is, or does not prove to be.

use parking_lot::Mutex;
use raftyard_groups::NodeId;
use std::collections::BTreeSet;
use std::io;
use tokio::time::Instant;

/// Reasons that are remembered as reported. Beyond it all are forgotten, and reported again when they come.
const REPORTS_MAX: usize = 1024;

/// How many are reported in a minute: a stranger can make up names for ever.
const REPORTS_PER_MINUTE: usize = 60;

/// Of a name that a stranger gives itself no more characters than this are kept.
const NAME_CHARS_MAX: usize = 64;

/// A name that a stranger gives itself, to be shown and remembered.
pub(crate) fn cut(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
}

/// Why a node does not talk to whoever is at the other end of a connection. "It" is that other end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeRefusal {
    /// Its certificate was issued by nobody that this node trusts.
    #[error("its certificate is of an authority that this node does not trust")]
    UnknownAuthority,
    /// Its certificate is too old.
    #[error("its certificate has expired")]
    Expired,
    /// Its certificate is for later; or a clock is wrong.
    #[error("its certificate is not valid yet")]
    NotYetValid,
    /// It is anonymous.
    #[error("it shows no certificate")]
    NoCertificate,
    /// Its certificate is for something else than a node.
    #[error("its certificate does not name one node of one cluster (raftyard://cluster/node)")]
    NoIdentity,
    /// Its first bytes are not TLS.
    #[error("it does not speak TLS")]
    PlainText,
    /// It is a node of another cluster.
    #[error("it is of cluster {0:?}")]
    Cluster(String),
    /// It is another node than it claims to be, or than was to be reached.
    #[error("it is node {0}")]
    Node(NodeId),
    /// It is no peer of this node: one that this node was not told of, or that was removed.
    #[error("it is not among the peers")]
    UnknownNode,
    /// It meant to reach another node.
    #[error("it meant node {0}")]
    Target(NodeId),
    /// It is of another version.
    #[error("it speaks protocol {0}")]
    Protocol(u16),
    /// It has another disk than when it was met first: its data directory is gone, or is not the one it had.
    #[error("it has another disk than it had: a node whose data directory is gone comes back under a new node id")]
    OtherDisk,
    /// It knows this node by another disk, and refuses it.
    #[error("it knows this node by another disk: a node whose data directory is gone comes back under a new node id")]
    OwnDisk,
    /// It is too slow.
    #[error("it did not end the handshake in time")]
    Deadline,
    /// It was the slowest when too many others came.
    #[error("it had not ended the handshake when too many were under way")]
    Crowded,
    /// It is the one that refuses, and says why.
    #[error("it refuses this node: {0}")]
    Refused(String),
    /// Anything else.
    #[error("the handshake failed: {0}")]
    Other(String),
}

/// A connection that a [`Network`](crate::Network) refused. It travels as the inner error of an [`io::Error`]; who
/// accepts goes on with the next connection at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{peer}: {refusal}")]
pub struct HandshakeError {
    /// The other end, as far as it is known: the address it came from, or the node that was to be reached.
    pub peer: String,
    /// Why.
    pub refusal: HandshakeRefusal,
}

impl HandshakeError {
    /// The refusal that `error` carries, if it is one.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<HandshakeError> for io::Error {
    fn from(error: HandshakeError) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, error)
    }
}

/// Connections refused, by reason ([`HandshakeRefusal`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandshakeCounts {
    /// Certificates of an unknown authority.
    pub unknown_authority: u64,
    /// Certificates outside the time for which they are valid.
    pub expired: u64,
    /// Without a certificate.
    pub no_certificate: u64,
    /// Certificates that name no node.
    pub no_identity: u64,
    /// Not TLS.
    pub plain_text: u64,
    /// Nodes of another cluster.
    pub wrong_cluster: u64,
    /// Nodes that are not the one they say they are, or not the one that was to be reached.
    pub wrong_node: u64,
    /// Nodes that are no peers.
    pub unknown_node: u64,
    /// Nodes that have another disk than they had.
    pub other_disk: u64,
    /// Nodes that refuse this one because it has another disk than it had.
    pub own_disk: u64,
    /// Handshakes that took too long, or, of TLS, were given up for newer ones.
    pub late: u64,
    /// All others.
    pub other: u64,
}

impl HandshakeCounts {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.unknown_authority
            + self.expired
            + self.no_certificate
            + self.no_identity
            + self.plain_text
            + self.wrong_cluster
            + self.wrong_node
            + self.unknown_node
            + self.other_disk
            + self.own_disk
            + self.late
            + self.other
    }

    pub(crate) fn combine(&self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            unknown_authority: with(self.unknown_authority, other.unknown_authority),
            expired: with(self.expired, other.expired),
            no_certificate: with(self.no_certificate, other.no_certificate),
            no_identity: with(self.no_identity, other.no_identity),
            plain_text: with(self.plain_text, other.plain_text),
            wrong_cluster: with(self.wrong_cluster, other.wrong_cluster),
            wrong_node: with(self.wrong_node, other.wrong_node),
            unknown_node: with(self.unknown_node, other.unknown_node),
            other_disk: with(self.other_disk, other.other_disk),
            own_disk: with(self.own_disk, other.own_disk),
            late: with(self.late, other.late),
            other: with(self.other, other.other),
        }
    }

    fn add(&mut self, refusal: &HandshakeRefusal) {
        let count = match refusal {
            HandshakeRefusal::UnknownAuthority => &mut self.unknown_authority,
            HandshakeRefusal::Expired | HandshakeRefusal::NotYetValid => &mut self.expired,
            HandshakeRefusal::NoCertificate => &mut self.no_certificate,
            HandshakeRefusal::NoIdentity => &mut self.no_identity,
            HandshakeRefusal::PlainText => &mut self.plain_text,
            HandshakeRefusal::Cluster(_) => &mut self.wrong_cluster,
            HandshakeRefusal::Node(_) | HandshakeRefusal::Target(_) => &mut self.wrong_node,
            HandshakeRefusal::UnknownNode => &mut self.unknown_node,
            HandshakeRefusal::OtherDisk => &mut self.other_disk,
            HandshakeRefusal::OwnDisk => &mut self.own_disk,
            HandshakeRefusal::Deadline | HandshakeRefusal::Crowded => &mut self.late,
            HandshakeRefusal::Protocol(_) | HandshakeRefusal::Refused(_) | HandshakeRefusal::Other(_) => {
                &mut self.other
            }
        };
        *count += 1;
    }
}

/// Counts refusals and reports each once: who is refused tries again and again.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    counts: HandshakeCounts,
    reported: BTreeSet<(String, String)>,
    /// When this minute began, and how many were reported in it.
    minute: Option<Instant>,
    in_minute: usize,
}

impl Noted {
    /// Whether it is to be reported.
    fn add(&mut self, peer: &str, refusal: &HandshakeRefusal, now: Instant) -> bool {
        self.counts.add(refusal);
        if self
            .minute
            .is_none_or(|began| now.duration_since(began).as_secs() >= 60)
        {
            self.minute = Some(now);
            self.in_minute = 0;
        }
        if self.in_minute >= REPORTS_PER_MINUTE {
            return false;
        }
        if self.reported.len() >= REPORTS_MAX {
            self.reported.clear();
        }
        let is_news = self.reported.insert((peer.to_owned(), refusal.to_string()));
        self.in_minute += usize::from(is_news);
        is_news
    }
}

impl Refusals {
    pub(crate) fn note(&self, peer: &str, refusal: &HandshakeRefusal) {
        let is_news = self.0.lock().add(peer, refusal, Instant::now());
        if is_news {
            tracing::warn!(peer, reason = %refusal, "connection refused, further refusals of this kind are only counted");
        } else {
            tracing::debug!(peer, reason = %refusal, "connection refused");
        }
    }

    pub(crate) fn counts(&self) -> HandshakeCounts {
        self.0.lock().counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_peer_is_reported_once_for_each_reason_and_counted_always() {
        let (mut noted, mut now) = (Noted::default(), Instant::now());
        let other = HandshakeRefusal::Cluster("other".to_owned());
        assert!(noted.add("a", &HandshakeRefusal::Expired, now));
        assert!(!noted.add("a", &HandshakeRefusal::Expired, now));
        assert!(noted.add("b", &HandshakeRefusal::Expired, now));
        assert!(noted.add("a", &other, now));
        assert!(!noted.add("a", &other, now));
        assert_eq!((noted.counts.expired, noted.counts.wrong_cluster), (3, 2));
        assert_eq!(noted.counts.total(), 5);
        for number in 0..3 * REPORTS_MAX {
            now += Duration::from_secs(2);
            assert!(noted.add(&number.to_string(), &other, now));
        }
        assert!(noted.reported.len() <= REPORTS_MAX);
    }

    #[test]
    fn who_makes_up_names_fills_no_log() {
        let (mut noted, now) = (Noted::default(), Instant::now());
        let mut reports = |from: usize, now| {
            let names = (from..from + 1_000).map(|number| number.to_string());
            names
                .filter(|name| noted.add(name, &HandshakeRefusal::Expired, now))
                .count()
        };
        assert_eq!(reports(0, now), REPORTS_PER_MINUTE);
        assert_eq!(reports(1_000, now + Duration::from_secs(59)), 0);
        assert_eq!(reports(2_000, now + Duration::from_secs(60)), REPORTS_PER_MINUTE);
        assert_eq!(noted.counts.expired, 3_000, "all are counted");
        assert_eq!(cut(&"ä".repeat(65)), "ä".repeat(64) + "…");
        assert_eq!(cut(&"ä".repeat(64)), "ä".repeat(64));
    }
}
