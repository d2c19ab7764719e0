//! Server processes: started on ports of their own with data in a temporary directory, and stopped when dropped.

use crate::Failure;
use crate::tally::Timing;
use std::fs::File;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long servers may take until they accept connections.
const START: Duration = Duration::from_secs(60);

/// Below the ports that outgoing connections get, so that none of them takes one in the meantime.
const PORTS: std::ops::Range<u16> = 21_000..31_000;

/// Processes that serve one store.
pub(super) struct Servers {
    children: Vec<Child>,
    pub(super) data: TempDir,
    /// Where clients connect.
    pub(super) clients: Vec<SocketAddr>,
}

impl Servers {
    /// None yet. `parent` has to be there.
    pub(super) fn new(parent: &Path) -> Result<Self, Failure> {
        let data = TempDir::with_prefix_in("raftyard-peers-", parent);
        Ok(Self {
            children: Vec::new(),
            data: data.map_err(|error| format!("{}: no directory can be made in it: {error}", parent.display()))?,
            clients: Vec::new(),
        })
    }

    /// Starts a process; what it prints goes to a file in its data directory, which the error shows if it ends.
    ///
    /// # Errors
    ///
    /// If it can't be started.
    pub(super) fn spawn(&mut self, program: &Path, arguments: &[String]) -> Result<(), Failure> {
        let log = File::create(self.log(self.children.len()))?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        self.children.push(child);
        Ok(())
    }

    fn log(&self, number: usize) -> std::path::PathBuf {
        self.data.path().join(format!("output-{number}"))
    }

    /// Their process ids.
    pub(super) fn ids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    /// Waits until all addresses in `clients` accept connections.
    ///
    /// # Errors
    ///
    /// If that takes too long, a process has ended, or the run was interrupted.
    pub(super) fn wait(&mut self, timing: &Timing) -> Result<(), Failure> {
        let start = Instant::now();
        for address in self.clients.clone() {
            while TcpStream::connect(address).is_err() {
                timing.check()?;
                self.check()?;
                if start.elapsed() > START {
                    return Err(format!("nobody accepts connections on {address}").into());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// Whether all processes still run.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        for (number, child) in self.children.iter_mut().enumerate() {
            if let Some(status) = child.try_wait()? {
                let log =
                    std::fs::read_to_string(self.data.path().join(format!("output-{number}"))).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                return Err(format!("a server ended with {status}: {}", last.join(" | ")).into());
            }
        }
        Ok(())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // Their data is removed next: there is nothing to be shut down in order.
        for child in &mut self.children {
            if let Err(error) = child.kill().and_then(|()| child.wait())
                && error.kind() != ErrorKind::InvalidInput
            {
                eprintln!("warning: process {} can't be stopped: {error}", child.id());
            }
        }
    }
}

/// A port such that it and those at `offsets` from it are free on the loopback address.
///
/// # Errors
///
/// If there is none.
pub(super) fn free_port(offsets: &[u16]) -> Result<u16, Failure> {
    // Programs that run at the same time begin elsewhere.
    let start = u16::try_from(std::process::id() % 900).unwrap_or_default() * 10;
    let mut ports = PORTS.map(|port| PORTS.start + (port - PORTS.start + start) % (PORTS.end - PORTS.start));
    ports
        .find(|port| {
            let bound: Vec<_> = offsets
                .iter()
                .map_while(|offset| TcpListener::bind(("127.0.0.1", port.checked_add(*offset)?)).ok())
                .collect();
            bound.len() == offsets.len()
        })
        .ok_or_else(|| "no free ports on the loopback address".into())
}

/// A port on the loopback address.
pub(super) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_not_free() {
        let port = free_port(&[0, 1, 1000]).unwrap();
        let _taken = TcpListener::bind(loopback(port + 1)).unwrap();
        assert_ne!(free_port(&[0, 1, 1000]).unwrap(), port);
        assert!(PORTS.contains(&port));
    }

    #[test]
    fn processes_end_with_who_started_them_and_their_end_is_noticed() {
        let parent = tempfile::tempdir().unwrap();
        let mut servers = Servers::new(parent.path()).unwrap();
        servers.spawn(Path::new("sleep"), &["600".to_owned()]).unwrap();
        servers.check().unwrap();
        let id = servers.ids()[0];
        assert!(Path::new(&format!("/proc/{id}")).exists());
        drop(servers);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);

        let mut servers = Servers::new(parent.path()).unwrap();
        let script = ["-c".to_owned(), "echo no such option; exit 3".to_owned()];
        servers.spawn(Path::new("sh"), &script).unwrap();
        servers.children[0].wait().unwrap();
        let error = servers.check().unwrap_err().to_string();
        assert!(error.contains("no such option") && error.contains('3'), "{error}");
    }
}
