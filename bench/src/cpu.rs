//! CPU time of this process.

use std::time::Duration;

/// CPU time that all threads of this process took so far, in user and kernel mode; `None` where the system
/// does not tell (it is read from `/proc`).
pub(crate) fn used() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name, in parentheses, may hold spaces: fields are counted from behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // The kernel reports in units of 1/100 s on all common systems (USER_HZ).
    Some(Duration::from_millis(ticks * 10))
}
