//! What each group takes of its node, and may take: limits, shares, and an account of what it took.
//!
//! A request is let in or refused on its caller's thread, before it is queued anywhere: so what is refused costs
//! little, and memory is bounded by permits. What is let in is then shared out in fair turns
//! (`worker/fair.rs`, `storage/fair.rs`, `transport/fair.rs`).

mod bucket;
mod limits;
mod overload;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod usage;

pub use limits::GroupLimits;
pub(crate) use overload::Overload;
pub use overload::OverloadReason;
pub use usage::GroupUsage;

use crate::budget::{ByteBudget, BytePermit, Full};
use crate::clock::Clock;
use crate::error::ProposeError;
use bucket::Bucket;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use usage::UsageCell;

/// When to try again where nobody can tell: requests that are on their way are answered after a write to the disk.
const SOON: Duration = Duration::from_millis(10);

/// When to try again after a log was found too long: a snapshot takes longer than that.
const AFTER_COMPACTION: Duration = Duration::from_millis(50);

/// Of a group on one node: shared by its handles and its actor.
pub(crate) struct Tenancy {
    budget: ByteBudget,
    /// Whether anything but the budget can refuse: most groups have no limits, and pay for none.
    is_metered: AtomicBool,
    /// None as long as there are no limits.
    meters: Mutex<Option<Box<Meters>>>,
    weight: AtomicU32,
    /// [`u64::MAX`] for none.
    log_bytes_max: AtomicU64,
    usage: UsageCell,
}

struct Meters {
    limits: GroupLimits,
    proposals: Option<Bucket>,
    bytes: Option<Bucket>,
    /// In nanoseconds of apply time.
    apply: Option<Bucket>,
}

impl Tenancy {
    /// Takes what is asked for out of the node's budget.
    pub(crate) fn new(node: &ByteBudget, limits: GroupLimits, clock: &dyn Clock) -> Self {
        let tenancy = Self {
            budget: node.part(),
            is_metered: AtomicBool::new(false),
            meters: Mutex::default(),
            weight: AtomicU32::new(1),
            log_bytes_max: AtomicU64::new(u64::MAX),
            usage: UsageCell::default(),
        };
        tenancy.set(limits, clock);
        tenancy
    }

    /// For tests of what it does not matter to.
    #[cfg(test)]
    pub(crate) fn unlimited() -> Self {
        let clock = crate::clock::MonotonicClock::default();
        Self::new(&ByteBudget::new(usize::MAX), GroupLimits::default(), &clock)
    }

    pub(crate) fn limits(&self) -> GroupLimits {
        self.meters
            .lock()
            .as_ref()
            .map_or_else(GroupLimits::default, |meters| meters.limits)
    }

    /// Changes the limits. What was let in stays.
    pub(crate) fn set(&self, limits: GroupLimits, clock: &dyn Clock) {
        let now = clock.nanos();
        let mut kept = self.meters.lock();
        let old = kept.take();
        let adjust = |bucket: Option<Bucket>, per_second: Option<u64>| {
            let per_second = per_second?;
            Some(match bucket {
                Some(bucket) => bucket.changed(per_second, limits.burst_ms, now),
                None => Bucket::new(per_second, limits.burst_ms, now),
            })
        };
        // A percent of a second is ten million nanoseconds.
        let apply_nanos = limits.apply_percent_max.map(|percent| u64::from(percent) * 10_000_000);
        let old = old.as_deref();
        let meters = Meters {
            limits,
            proposals: adjust(old.and_then(|old| old.proposals), limits.proposals_per_second),
            bytes: adjust(old.and_then(|old| old.bytes), limits.bytes_per_second),
            apply: adjust(old.and_then(|old| old.apply), apply_nanos),
        };
        let is_metered = meters.proposals.is_some() || meters.bytes.is_some() || meters.apply.is_some();
        self.is_metered
            .store(is_metered || limits.log_bytes_max.is_some(), Ordering::Relaxed);
        *kept = (limits != GroupLimits::default()).then(|| Box::new(meters));
        let (weight, bytes_max) = (limits.effective_weight(), limits.bytes_in_flight_max);
        self.weight.store(weight, Ordering::Relaxed);
        self.budget.set_limit(bytes_max.unwrap_or(usize::MAX), weight);
        self.log_bytes_max
            .store(limits.log_bytes_max.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn weight(&self) -> u32 {
        self.weight.load(Ordering::Relaxed)
    }

    pub(crate) fn log_bytes_max(&self) -> u64 {
        self.log_bytes_max.load(Ordering::Relaxed)
    }

    /// Whether so many commands that count for `counted` bytes together will ever be let in: more than the limits, or the
    /// group's share, at once are not, however idle the node.
    pub(crate) fn check_size(&self, commands: usize, counted: usize) -> Result<(), ProposeError> {
        let most = self.budget.most(commands);
        if counted > most {
            return Err(ProposeError::TooLarge {
                bytes: counted,
                bytes_limit: most,
            });
        }
        Ok(())
    }

    /// Lets a read in, which counts for `counted` bytes while it is on its way.
    pub(crate) fn admit_read(&self, counted: usize) -> Result<BytePermit, Overload> {
        self.acquire(1, counted).inspect_err(|_| self.usage.refused.add(1))
    }

    /// Lets proposals in, all or none: so many commands of `bytes` together, which count for `counted` bytes while
    /// they are on their way.
    pub(crate) fn admit_proposals(
        &self,
        commands: usize,
        bytes: usize,
        counted: usize,
        clock: &dyn Clock,
    ) -> Result<BytePermit, Overload> {
        let admitted = self.acquire(commands, counted).and_then(|permit| {
            if self.is_metered.load(Ordering::Relaxed) {
                // Last, so that what is refused for another reason takes nothing of the rates.
                self.meter(commands as u64, bytes as u64, clock.nanos())?;
            }
            Ok(permit)
        });
        admitted.inspect_err(|_| self.usage.refused.add(1))
    }

    fn acquire(&self, items: usize, counted: usize) -> Result<BytePermit, Overload> {
        self.budget.try_acquire_part(counted, items).map_err(|full| Overload {
            reason: match full {
                Full::Part(limit) => OverloadReason::BytesInFlight(limit),
                Full::Share(limit) => OverloadReason::NodeShare(limit),
                Full::Whole(limit) => OverloadReason::NodeBytes(limit),
            },
            retry_after: SOON,
        })
    }

    /// Takes proposals out of the rates, or out of none of them.
    fn meter(&self, commands: u64, bytes: u64, now: u64) -> Result<(), Overload> {
        let mut meters = self.meters.lock();
        let Some(Meters {
            limits,
            proposals,
            bytes: byte_rate,
            apply,
        }) = meters.as_deref_mut()
        else {
            return Ok(());
        };
        if let Some(limit) = limits.log_bytes_max
            && self.usage.log_bytes.load(Ordering::Relaxed) > limit
        {
            return Err(Overload {
                reason: OverloadReason::LogBytes(limit),
                retry_after: AFTER_COMPACTION,
            });
        }
        let wait = |bucket: &mut Option<Bucket>, cost, reason| {
            let nanos = bucket.as_mut()?.wait_for(cost, now)?;
            let retry_after = Duration::from_nanos(nanos);
            Some(Overload { reason, retry_after })
        };
        let (per_second, bytes_per_second) = (limits.proposals_per_second, limits.bytes_per_second);
        let percent = limits.apply_percent_max.unwrap_or_default();
        let waits = [
            wait(
                proposals,
                commands,
                OverloadReason::ProposalRate(per_second.unwrap_or_default()),
            ),
            wait(
                byte_rate,
                bytes,
                OverloadReason::ByteRate(bytes_per_second.unwrap_or_default()),
            ),
            // What a command will take nobody knows: it is let in unless something is owed.
            wait(apply, 0, OverloadReason::ApplyTime(percent)),
        ];
        if let Some(longest) = waits.into_iter().flatten().max_by_key(|wait| wait.retry_after) {
            return Err(longest);
        }
        proposals.iter_mut().for_each(|bucket| bucket.take(commands));
        byte_rate.iter_mut().for_each(|bucket| bucket.take(bytes));
        Ok(())
    }

    /// Commands were applied, which took so long.
    pub(crate) fn applied(&self, commands: u64, bytes: u64, nanos: u64) {
        self.usage.commands.add(commands);
        self.usage.bytes.add(bytes);
        self.usage.apply_nanos.add(nanos);
        if self.is_metered.load(Ordering::Relaxed)
            && let Some(apply) = self
                .meters
                .lock()
                .as_deref_mut()
                .and_then(|meters| meters.apply.as_mut())
        {
            apply.take(nanos);
        }
    }

    /// The applied part of the log has so many bytes.
    pub(crate) fn set_log_bytes(&self, bytes: u64) {
        self.usage.log_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn usage(&self) -> GroupUsage {
        self.usage.read(self.budget.used())
    }
}
