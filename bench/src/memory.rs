//! Memory of this process.

/// Bytes that this process has in memory; `None` where the system does not tell (it is read from `/proc`).
pub(crate) fn resident() -> Option<u64> {
    parse(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn parse(status: &str) -> Option<u64> {
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = resident.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let status = "Name:\traftyard\nVmPeak:\t   99 kB\nVmRSS:\t    2048 kB\nThreads:\t3\n";
        assert_eq!(parse(status), Some(2 << 20));
        assert_eq!(parse("VmPeak:\t 99 kB\n"), None);
    }
}
