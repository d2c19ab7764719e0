//! Where and of what the figures are.

use crate::results::Machine;
use std::fs::read_to_string;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// This machine, with logs below `data`.
pub(crate) fn read(data: &Path) -> Machine {
    let path = data.canonicalize().ok();
    let mounts = read_to_string("/proc/self/mounts").ok();
    Machine {
        cpu_model: read_to_string("/proc/cpuinfo").ok().and_then(|info| {
            let model = info.lines().find_map(|line| line.strip_prefix("model name"))?;
            Some(model.trim_start_matches([' ', '\t', ':']).to_owned())
        }),
        cores: std::thread::available_parallelism().ok().map(usize::from),
        kernel: read_to_string("/proc/sys/kernel/osrelease")
            .ok()
            .map(|release| release.trim().to_owned()),
        data_filesystem: mounts
            .zip(path)
            .and_then(|(mounts, path)| filesystem_of(&path, &mounts)),
    }
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

/// The commit that raftyard is built of, as far as git tells; with `-dirty` if files differ from it.
pub(crate) fn commit() -> String {
    first_line(Command::new("git").args([
        "-C",
        env!("CARGO_MANIFEST_DIR"),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=12",
    ]))
    .unwrap_or_else(|| "unknown".to_owned())
}

/// Now: ISO 8601, UTC, as `date` says it.
pub(crate) fn date() -> String {
    first_line(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])).unwrap_or_else(|| {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("@{}", since_1970.as_secs())
    })
}

/// The first line that a program prints; `None` if it isn't there or fails.
pub(crate) fn first_line(program: &mut Command) -> Option<String> {
    let output = program.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.lines().next()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_tells_the_file_system() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmp/disk xfs rw 0 0\n/dev/c /tmp/disk btrfs rw 0 0\n";
        let of = |path: &str| filesystem_of(Path::new(path), mounts);
        assert_eq!(of("/home/x").as_deref(), Some("ext4"));
        assert_eq!(of("/tmp/disk/x").as_deref(), Some("btrfs"));
        assert_eq!(
            of("/tmpfile").as_deref(),
            Some("ext4"),
            "a name is no prefix of another"
        );
    }

    #[test]
    fn a_program_that_is_not_there_or_fails_says_nothing() {
        assert_eq!(first_line(&mut Command::new("no-such-program-anywhere")), None);
        assert_eq!(first_line(&mut Command::new("false")), None);
        assert_eq!(
            first_line(Command::new("echo").arg("7.0.15")).as_deref(),
            Some("7.0.15")
        );
    }
}
