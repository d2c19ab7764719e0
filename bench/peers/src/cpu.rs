//! CPU time of processes.

use std::time::Duration;

/// CPU time that all threads of these processes took so far, in user and kernel mode; `None` where the system does
/// not tell, or one of them has ended.
pub(crate) fn used(processes: &[u32]) -> Option<Duration> {
    processes.iter().map(|id| of(*id)).sum()
}

fn of(process: u32) -> Option<Duration> {
    parse(&std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

fn parse(stat: &str) -> Option<Duration> {
    // The command's name, in parentheses, may hold spaces: fields are counted from behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let (user, system) = (ticks()?, ticks()?);
    // The kernel reports in units of 1/100 s on all common systems (USER_HZ).
    Some(Duration::from_millis((user + system) * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added_up() {
        let stat = "71 (redis) server (x) S 1 71 71 0 -1 4194560 901 0 0 0 250 50 7 9 20 0 14 0 812 0 0";
        assert_eq!(parse(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse("71 (a) S 1 2 3"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_used_some_and_one_that_never_was_has_not() {
        let me = std::process::id();
        assert!(used(&[me, me]).is_some());
        assert_eq!(used(&[me, u32::MAX]), None);
    }
}
