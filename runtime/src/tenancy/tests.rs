//! What is let in, and what is refused and why.

use super::*;
use crate::clock::Hand;

fn tenancy(limits: GroupLimits, clock: &Hand) -> (ByteBudget, Tenancy) {
    let node = ByteBudget::new(1 << 20);
    let tenancy = Tenancy::new(&node, limits, clock);
    (node, tenancy)
}

/// How many of a hundred proposals of 10 bytes are let in at once, and why no more are.
fn flood(tenancy: &Tenancy, clock: &Hand) -> (usize, Option<Overload>) {
    let mut refusal = None;
    let admitted = (0..100).filter(|_| match tenancy.admit_proposals(1, 10, 266, clock) {
        Ok(_) => true,
        Err(overload) => {
            refusal = Some(overload);
            false
        }
    });
    (admitted.count(), refusal)
}

#[test]
fn each_rate_refuses_what_exceeds_it_and_the_hint_holds() {
    let clock = Hand::default();
    let of_proposals = GroupLimits {
        proposals_per_second: Some(20),
        ..GroupLimits::default()
    };
    let of_bytes = GroupLimits {
        bytes_per_second: Some(200),
        ..GroupLimits::default()
    };
    let reasons = [OverloadReason::ProposalRate(20), OverloadReason::ByteRate(200)];
    for (limits, reason) in [of_proposals, of_bytes].into_iter().zip(reasons) {
        let (_, tenancy) = tenancy(limits, &clock);
        let (admitted, refusal) = flood(&tenancy, &clock);
        let refusal = refusal.unwrap();
        assert_eq!((admitted, refusal.reason), (20, reason));
        assert_eq!(refusal.retry_after.as_millis(), 50);
        clock.pass(51);
        assert_eq!(flood(&tenancy, &clock).0, 1);
        assert_eq!(tenancy.usage().refused, 80 + 99);
        tenancy.set(GroupLimits::default(), &clock);
        assert_eq!(flood(&tenancy, &clock).0, 100, "it may be lifted while it runs");
    }
}

#[test]
fn what_one_limit_refuses_takes_nothing_of_another() {
    let clock = Hand::default();
    let limits = GroupLimits {
        proposals_per_second: Some(50),
        bytes_per_second: Some(100),
        bytes_in_flight_max: Some(600),
        ..GroupLimits::default()
    };
    let (node, tenancy) = tenancy(limits, &clock);
    let held: Vec<_> = (0..3).map(|_| tenancy.admit_proposals(1, 10, 266, &clock)).collect();
    assert_eq!(
        held[2].as_ref().err().map(|overload| overload.reason),
        Some(OverloadReason::BytesInFlight(600))
    );
    assert_eq!((node.used(), tenancy.usage().bytes_in_flight), (532, 532));
    drop(held);
    assert_eq!(node.used(), 0);
    assert_eq!(flood(&tenancy, &clock).0, 8, "bytes for ten, of which two were taken");
    // The bytes are back; of the 50 proposals a second only those that were let in are gone.
    clock.pass(1_000);
    assert_eq!(flood(&tenancy, &clock).0, 10);
    assert_eq!(node.used(), 0, "what is refused holds nothing");
}

#[test]
fn what_never_fits_is_told_apart_from_what_does_not_fit_now() {
    let clock = Hand::default();
    let (_, tenancy) = tenancy(GroupLimits::default(), &clock);
    let too_large = |bytes, bytes_limit| Err(ProposeError::TooLarge { bytes, bytes_limit });
    assert_eq!(tenancy.check_size(1, (1 << 20) + 1), too_large((1 << 20) + 1, 1 << 20));
    assert_eq!(tenancy.check_size(1, 1 << 20), Ok(()));
    assert!(tenancy.admit_proposals(1, 1 << 19, 1 << 20, &clock).is_ok());
    tenancy.set(
        GroupLimits {
            bytes_in_flight_max: Some(600),
            ..GroupLimits::default()
        },
        &clock,
    );
    assert_eq!(tenancy.check_size(1, 601), too_large(601, 600));
    let held = tenancy.admit_proposals(1, 344, 600, &clock);
    assert!(held.is_ok());
    assert_eq!(tenancy.check_size(1, 600), Ok(()), "it does not fit now");
    assert!(tenancy.admit_proposals(1, 344, 600, &clock).is_err());
}

#[test]
fn who_applies_too_long_waits_until_its_share_has_come() {
    let clock = Hand::default();
    let limits = GroupLimits {
        apply_percent_max: Some(10),
        burst_ms: 100,
        ..GroupLimits::default()
    };
    let (_, tenancy) = tenancy(limits, &clock);
    assert_eq!(flood(&tenancy, &clock).0, 100);
    tenancy.applied(100, 3_400, 60_000_000);
    let refusal = flood(&tenancy, &clock).1.unwrap();
    assert_eq!(refusal.reason, OverloadReason::ApplyTime(10));
    assert_eq!(refusal.retry_after.as_millis(), 500, "10 of the 60 ms were there");
    clock.pass(501);
    assert_eq!(flood(&tenancy, &clock).0, 100);
    let usage = tenancy.usage();
    assert_eq!((usage.commands, usage.bytes), (100, 3_400));
    assert_eq!(usage.apply_time, Duration::from_millis(60));
}

#[test]
fn a_log_that_is_too_long_refuses_until_it_is_compacted() {
    let clock = Hand::default();
    let limits = GroupLimits {
        log_bytes_max: Some(1_000),
        ..GroupLimits::default()
    };
    let (_, tenancy) = tenancy(limits, &clock);
    tenancy.set_log_bytes(1_000);
    assert_eq!(flood(&tenancy, &clock).0, 100);
    tenancy.set_log_bytes(1_001);
    let (admitted, refusal) = flood(&tenancy, &clock);
    assert_eq!(
        (admitted, refusal.unwrap().reason),
        (0, OverloadReason::LogBytes(1_000))
    );
    assert!(tenancy.admit_read(256).is_ok(), "reads make no log longer");
    tenancy.set_log_bytes(500);
    assert_eq!(flood(&tenancy, &clock).0, 100);
}
