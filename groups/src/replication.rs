//! How a leader brings its log to its peers: what it sends to each, and what their answers say (paper §5.3).

use crate::effects::{Effects, Load, LoadPurpose};
use crate::entry::Entry;
use crate::group::{Group, Role};
use crate::ids::{LogId, LogIndex, NodeId};
use crate::liveness::SessionId;
use crate::message::Prompt;

impl Group {
    /// Sends each peer what it lacks, as far as its window allows.
    pub(crate) fn replicate(&mut self, effects: &mut Effects) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let (tuning, now) = (&self.config.tuning, self.now);
        leader.peers.retain(|_, progress| !progress.has_left(now));
        let mut appends = Vec::new();
        for (peer, progress) in leader.peers.iter_mut() {
            while progress.may_send(tuning) {
                let (next, last) = (progress.next, progress.end_for(&self.log));
                if next > last && !progress.is_probing() {
                    break;
                }
                let Some(prev) = self.log.id_at(next.prev()) else {
                    if progress.needs_snapshot() {
                        effects.snapshots.push(*peer);
                    }
                    break;
                };
                let (mut entries, bytes) = if next > last {
                    (Vec::new(), 0)
                } else if let Some(cached) = self.log.cached(next, last, tuning.message_bytes_max) {
                    cached
                } else {
                    progress.loading = true;
                    progress.loading_since = Some(now);
                    effects.load.push(Load {
                        purpose: LoadPurpose::Peer(*peer),
                        from: next,
                        through: last,
                        bytes_max: tuning.message_bytes_max,
                    });
                    break;
                };
                if progress.is_witness {
                    entries.iter_mut().for_each(Entry::strip);
                }
                progress.sent(prev.index.plus(entries.len()), bytes);
                progress.commit_sent = self.commit;
                appends.push((*peer, prev, entries));
            }
        }
        for (peer, prev, entries) in appends {
            let commit = self.commit;
            self.send(peer, Prompt::Append { prev, entries, commit }, effects);
        }
    }

    pub(crate) fn on_loaded_for_peer(
        &mut self,
        peer: NodeId,
        from: LogIndex,
        mut entries: Vec<Entry>,
        effects: &mut Effects,
    ) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(progress) = leader.peers.get_mut(&peer) else {
            return;
        };
        if !progress.loading || progress.next != from {
            return;
        }
        if entries.is_empty() {
            return progress.load_failed(self.now);
        }
        progress.loading = false;
        let Some(prev) = self.log.id_at(from.prev()) else {
            return;
        };
        if progress.is_witness {
            entries.iter_mut().for_each(Entry::strip);
        }
        let bytes = entries.iter().map(Entry::size).sum();
        progress.sent(prev.index.plus(entries.len()), bytes);
        let commit = self.commit;
        self.send(peer, Prompt::Append { prev, entries, commit }, effects);
    }

    /// An empty append at the end of what was sent: its answer tells whether something got lost. If that end
    /// is compacted, only a snapshot helps a peer that lost something.
    pub(crate) fn ask_for_end(&mut self, peer: NodeId, effects: &mut Effects) {
        let Role::Leader(leader) = &mut self.role else {
            return;
        };
        let Some(progress) = leader.peers.get_mut(&peer) else {
            return;
        };
        let Some(prev) = self.log.id_at(progress.next.prev()) else {
            if progress.needs_snapshot() {
                effects.snapshots.push(peer);
            }
            return;
        };
        let append = Prompt::Append {
            prev,
            entries: Vec::new(),
            commit: self.commit,
        };
        self.send(peer, append, effects);
    }

    pub(crate) fn on_append_accepted(&mut self, from: NodeId, matched: LogIndex, session: Option<SessionId>) {
        let (base, last) = (self.log.base().index, self.log.last());
        if let Some(progress) = self.progress(from)
            && matched <= last
        {
            progress.accepted(matched, base);
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.stamped(from, session);
        }
    }

    pub(crate) fn on_append_rejected(&mut self, from: NodeId, refused: LogIndex, hint: LogId) {
        let hint = self.log.newest_not_after(hint).index;
        if let Some(progress) = self.progress(from) {
            progress.rejected(refused, hint);
        }
    }
}
