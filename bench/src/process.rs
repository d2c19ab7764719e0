//! What this process took of the machine, as `/proc` says.

use std::fs::read_to_string;
use std::time::Duration;

/// What the names of the clients' threads begin with.
pub(crate) const CLIENT_THREADS: &str = "bench-client";

/// Read at one moment. What is absent the system does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// CPU time of all threads, in user and kernel mode.
    pub(crate) cpu: Option<Duration>,
    /// That of the clients' threads.
    pub(crate) clients_cpu: Option<Duration>,
    /// Times that a thread which waited was woken.
    pub(crate) wakeups: Option<u64>,
}

impl Usage {
    pub(crate) fn read() -> Self {
        let threads = threads();
        let clients = threads.iter().flatten().filter(|thread| thread.is_client);
        Self {
            cpu: read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_time(&stat)),
            clients_cpu: threads.is_some().then(|| clients.map(|thread| thread.cpu).sum()),
            wakeups: threads
                .as_ref()
                .map(|threads| threads.iter().map(|thread| thread.wakeups).sum()),
        }
    }
}

struct Thread {
    is_client: bool,
    cpu: Duration,
    wakeups: u64,
}

/// All threads that run.
fn threads() -> Option<Vec<Thread>> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    // One that ends meanwhile is left out.
    let threads = tasks.flatten().filter_map(|task| {
        let read = |file: &str| read_to_string(task.path().join(file)).ok();
        Some(Thread {
            is_client: read("comm")?.starts_with(CLIENT_THREADS),
            cpu: cpu_time(&read("stat")?)?,
            wakeups: field(&read("status")?, "voluntary_ctxt_switches:")?,
        })
    });
    Some(threads.collect())
}

/// Memory of this process that is in RAM, in bytes; `None` where the system does not tell.
pub(crate) fn resident_bytes() -> Option<u64> {
    let kib = field(&read_to_string("/proc/self/status").ok()?, "VmRSS:")?;
    Some(kib << 10)
}

/// Bytes on the heap, as they were asked for; `None` unless they are counted (feature `heap`).
pub(crate) fn heap_bytes() -> Option<u64> {
    #[cfg(feature = "heap")]
    {
        let counted = stats_alloc::INSTRUMENTED_SYSTEM.stats();
        Some(counted.bytes_allocated.saturating_sub(counted.bytes_deallocated) as u64)
    }
    #[cfg(not(feature = "heap"))]
    None
}

/// The number behind a name in what `/proc/self/status` says.
fn field(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

/// User and system time of a `stat` file.
fn cpu_time(stat: &str) -> Option<Duration> {
    // The command's name, in parentheses, may hold spaces: fields are counted from behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let (user, system) = (ticks()?, ticks()?);
    // The kernel reports in units of 1/100 s on all common systems (USER_HZ).
    Some(Duration::from_millis((user + system) * 10))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added_up() {
        let stat = "71 (raft) yard (x) S 1 71 71 0 -1 4194560 901 0 0 0 250 50 7 9 20 0 14 0 812 0 0";
        assert_eq!(cpu_time(stat), Some(Duration::from_secs(3)));
    }

    #[test]
    fn what_is_no_such_line_tells_nothing() {
        for stat in [
            "",
            "71 (raftyard",
            "71 (a) S 1 2 3",
            "71 (a) S 1 1 1 1 1 1 1 1 1 1 x y 1",
        ] {
            assert_eq!(cpu_time(stat), None, "{stat:?}");
        }
        assert_eq!(field("VmPeak: 12 kB\nVmRSS:\t 34 kB\n", "VmRSS:"), Some(34));
        assert_eq!(field("VmPeak: 12 kB\n", "VmRSS:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_some() {
        let before = Usage::read();
        let (sender, asked) = std::sync::mpsc::channel::<()>();
        let (ready, started) = std::sync::mpsc::channel();
        let client = std::thread::Builder::new().name(format!("{CLIENT_THREADS}-0"));
        let thread = client.spawn(move || {
            // Until it is noticed: the grain is 10 ms.
            while Usage::read().clients_cpu.unwrap().is_zero() {}
            ready.send(()).unwrap();
            asked.recv().ok();
        });
        started.recv().unwrap();
        let after = Usage::read();
        assert!(
            after.clients_cpu.unwrap() > Duration::ZERO,
            "its thread is found by its name"
        );
        assert!(after.cpu.unwrap() >= after.clients_cpu.unwrap());
        assert!(before.cpu.unwrap() < after.cpu.unwrap());
        // Threads that end take their count with them, and other tests have some.
        assert!(after.wakeups.unwrap() > 0);
        assert!(resident_bytes().unwrap() > 1 << 20);
        drop(sender);
        thread.unwrap().join().unwrap();
    }
}
