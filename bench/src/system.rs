//! What figures are of, and where and when: without it they say nothing.

use crate::output::DataDir;
use crate::results::Machine;
use std::fs::read_to_string;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// This machine, with what `data` is on.
pub(crate) fn machine(data: &DataDir) -> Machine {
    let path = data.path().canonicalize().ok();
    Machine {
        cpu_model: read_to_string("/proc/cpuinfo").ok().and_then(|info| cpu_model(&info)),
        cores: std::thread::available_parallelism().ok().map(usize::from),
        kernel: read_to_string("/proc/sys/kernel/osrelease")
            .ok()
            .map(|release| release.trim().to_owned()),
        data_filesystem: read_to_string("/proc/self/mounts")
            .ok()
            .zip(path)
            .and_then(|(mounts, path)| filesystem_of(&path, &mounts)),
    }
}

/// Now, ISO 8601.
pub(crate) fn date() -> String {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    iso_8601(since_1970.as_secs())
}

/// The commit of the sources that this was built from, with `-dirty` if there are changes beside it; `unknown`
/// where git does not tell.
pub(crate) fn commit() -> String {
    let described = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"])
        .args(["--abbrev=12", "--exclude=*"])
        .stderr(Stdio::null())
        .output();
    let told = described.ok().filter(|output| output.status.success());
    let commit = told.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    commit.unwrap_or_else(|| "unknown".to_owned())
}

fn cpu_model(cpuinfo: &str) -> Option<String> {
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(model.trim_start_matches([' ', '\t', ':']).to_owned())
}

/// Type of the file system that is mounted nearest above `path`, the last one where several are on one point.
fn filesystem_of(path: &Path, mounts: &str) -> Option<String> {
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((Path::new(fields.next()?), fields.next()?))
    });
    let above = mounted.filter(|(point, _)| path.starts_with(point));
    let nearest = above.max_by_key(|(point, _)| point.components().count())?;
    Some(nearest.1.to_owned())
}

/// Seconds since 1970 in the proleptic Gregorian calendar.
fn iso_8601(seconds: u64) -> String {
    let (mut days, time) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [
        31,
        28 + u64::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    format!(
        "{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
        days + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(iso_8601(seconds), date);
        }
    }

    #[test]
    fn the_nearest_mount_tells_the_file_system() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/disk xfs rw 0 0\n/dev/c /tmp/disk btrfs rw 0 0\n";
        let of = |path: &str| filesystem_of(Path::new(path), mounts);
        assert_eq!(of("/home/x").as_deref(), Some("ext4"));
        assert_eq!(of("/tmp/x").as_deref(), Some("tmpfs"));
        assert_eq!(of("/tmp/disk/x").as_deref(), Some("btrfs"));
        assert_eq!(
            of("/tmpfile").as_deref(),
            Some("ext4"),
            "a name is no prefix of another"
        );
    }

    #[test]
    fn the_cpu_is_named_where_the_system_names_it() {
        let info = "processor\t: 0\nmodel name\t: Some CPU: 2.5 GHz\nmodel name\t: Other\n";
        assert_eq!(cpu_model(info).as_deref(), Some("Some CPU: 2.5 GHz"));
        assert_eq!(cpu_model("processor : 0\nCPU part : 0xd0c\n"), None);
    }
}
