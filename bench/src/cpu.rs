//! CPU time of this process.

use std::time::Duration;

/// CPU time that all threads of this process took so far, in user and kernel mode; `None` where the system
/// does not tell (it is read from `/proc`).
pub(crate) fn used() -> Option<Duration> {
    parse(&std::fs::read_to_string("/proc/self/stat").ok()?)
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
        let stat = "71 (raft) yard (x) S 1 71 71 0 -1 4194560 901 0 0 0 250 50 7 9 20 0 14 0 812 0 0";
        assert_eq!(parse(stat), Some(Duration::from_secs(3)));
    }

    #[test]
    fn what_is_no_such_line_tells_nothing() {
        for stat in [
            "",
            "71 (raftyard",
            "71 (a) S 1 2 3",
            "71 (a) S 1 1 1 1 1 1 1 1 1 1 x y 1",
        ] {
            assert_eq!(parse(stat), None, "{stat:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_used_some() {
        assert!(used().is_some());
    }
}
