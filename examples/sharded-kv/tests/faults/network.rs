//! The machines' network: a namespace for each machine, and one for the router between them, where clients are too.
//! Where the system has no namespaces for us, all machines share its loopback, and no link can be cut.
//!
//! The router drops what goes from one machine to another by a rule of its own for each direction, silently. Clients
//! reach every machine whose process runs: a node that is cut off from the others and answers them is the worst case.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::ports::free_ports;
use crate::system::{making, namespace, run};

const PEER_PORT: u16 = 8000;
const RESP_PORT: u16 = 7000;

/// Loss as a filter on what a machine sends: `ld rand; jge #threshold, pass; drop; pass`. `{}` is the threshold of 2³².
const LOSS: &str = "4,32 0 0 4294963256,53 1 0 {},6 0 0 2,6 0 0 0";

/// What the system can do for us.
#[derive(Debug, Clone)]
pub(crate) struct Abilities {
    /// Why there are no namespaces, if there are none.
    pub(crate) namespaces: Result<(), String>,
    /// How packets are delayed and lost.
    pub(crate) delay: Result<Delay, String>,
    pub(crate) loss: Result<Loss, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delay {
    Netem,
    /// A token bucket: packets queue, and are lost where the queue ends.
    Bucket,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    Netem,
    /// A filter on what comes from a machine.
    Filter,
}

/// Tries it out, once per process.
pub(crate) fn abilities() -> &'static Abilities {
    static ABILITIES: OnceLock<Abilities> = OnceLock::new();
    ABILITIES.get_or_init(Abilities::find)
}

impl Abilities {
    /// None of it.
    pub(crate) fn none(why: &str) -> Self {
        Self {
            namespaces: Err(why.to_owned()),
            delay: Err(why.to_owned()),
            loss: Err(why.to_owned()),
        }
    }

    fn find() -> Self {
        let probe = namespace("probe");
        let namespaces = {
            let _making = making();
            let forward = || fs::write("/proc/sys/net/ipv4/ip_forward", "1").map_err(|error| error.to_string());
            ip(&format!("netns add {probe}"))
                .and_then(|()| ip(&format!("-n {probe} link add name one type veth peer name two")))
                .and_then(|()| ip(&format!("-n {probe} rule add iif one to 10.77.1.2 blackhole")))
                .and_then(|()| inside(&probe, forward))
        };
        let tc = |words: &str| namespaces.clone().and_then(|()| tc(&probe, words));
        let netem = tc("qdisc replace dev one root netem delay 1ms 1ms loss 1%");
        let delay = match &netem {
            Ok(()) => Ok(Delay::Netem),
            Err(_) => tc("qdisc replace dev one root tbf rate 1mbit burst 4kb latency 100ms").map(|()| Delay::Bucket),
        };
        let loss = match &netem {
            Ok(()) => Ok(Loss::Netem),
            Err(_) => tc("qdisc add dev two clsact")
                .and_then(|()| lose(&probe, "two", 5))
                .map(|()| Loss::Filter),
        };
        let _ = ip(&format!("netns delete {probe}"));
        Self {
            namespaces,
            delay,
            loss,
        }
    }
}

fn ip(words: &str) -> Result<(), String> {
    run(&["ip"].into_iter().chain(words.split(' ')).collect::<Vec<_>>())
}

/// Runs a command of `tc` in a namespace.
fn tc(space: &str, words: &str) -> Result<(), String> {
    let words: Vec<&str> = ["tc", "-n", space].into_iter().chain(words.split(' ')).collect();
    run(&words)
}

fn lose(space: &str, device: &str, percent: u64) -> Result<(), String> {
    let filter = LOSS.replace("{}", &(percent * (1 << 32) / 100).to_string());
    let words = [
        "tc",
        "-n",
        space,
        "filter",
        "add",
        "dev",
        device,
        "ingress",
        "bpf",
        "direct-action",
        "bytecode",
    ];
    run(&[&words[..], &[&filter]].concat())
}

/// Does something in a network namespace, in a thread of its own.
fn inside<T: Send>(space: &str, what: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(space);
            what()
        });
        thread.join().unwrap()
    })
}

/// Moves the thread into a network namespace; so are its child processes.
fn enter(space: &str) {
    let file = File::open(format!("/run/netns/{space}")).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

/// The network of a cluster. Machines are numbered from 1.
pub(crate) enum Network {
    Namespaces { name: String, machines: usize },
    Loopback { resp: Vec<u16>, peer: Vec<u16> },
}

impl Network {
    /// Makes it; `name` tells it from those of other clusters of this process.
    pub(crate) fn new(name: &str, machines: usize, loopback: bool) -> Self {
        if loopback || abilities().namespaces.is_err() {
            let mut resp = free_ports(machines * 2);
            let peer = resp.split_off(machines);
            return Self::Loopback { resp, peer };
        }
        let network = Self::Namespaces {
            name: name.to_owned(),
            machines,
        };
        let _making = making();
        let router = network.router();
        ip(&format!("netns add {router}")).unwrap();
        inside(&router, || fs::write("/proc/sys/net/ipv4/ip_forward", "1")).unwrap();
        ip(&format!("-n {router} link set lo up")).unwrap();
        for machine in 1..=machines {
            network.connect(machine).unwrap();
        }
        network
    }

    fn connect(&self, machine: usize) -> Result<(), String> {
        let (router, space) = (self.router(), self.space(machine));
        let (device, address, gateway) = (device(machine), address(machine), format!("10.77.{machine}.1"));
        ip(&format!("netns add {space}"))?;
        ip(&format!(
            "-n {router} link add {device} type veth peer name eth0 netns {space}"
        ))?;
        ip(&format!("-n {router} addr add {gateway}/24 dev {device}"))?;
        ip(&format!("-n {router} link set {device} up"))?;
        ip(&format!("-n {space} addr add {address}/24 dev eth0"))?;
        ip(&format!("-n {space} link set lo up"))?;
        ip(&format!("-n {space} link set eth0 up"))?;
        ip(&format!("-n {space} route add default via {gateway}"))?;
        if abilities().loss == Ok(Loss::Filter) {
            tc(&router, &format!("qdisc add dev {device} clsact"))?;
        }
        Ok(())
    }

    fn router(&self) -> String {
        self.named("router")
    }

    fn space(&self, machine: usize) -> String {
        self.named(&machine.to_string())
    }

    fn named(&self, part: &str) -> String {
        match self {
            Self::Namespaces { name, .. } => namespace(&format!("{name}-{part}")),
            Self::Loopback { .. } => String::new(),
        }
    }

    /// Does something on a machine.
    pub(crate) fn on<T: Send>(&self, machine: usize, what: impl FnOnce() -> T + Send) -> T {
        match self {
            Self::Namespaces { .. } => inside(&self.space(machine), what),
            Self::Loopback { .. } => what(),
        }
    }

    /// Moves the thread to where clients are.
    pub(crate) fn enter_as_client(&self) {
        if let Self::Namespaces { .. } = self {
            enter(&self.router());
        }
    }

    pub(crate) fn resp(&self, machine: usize) -> String {
        match self {
            Self::Namespaces { .. } => format!("{}:{RESP_PORT}", address(machine)),
            Self::Loopback { resp, .. } => format!("127.0.0.1:{}", resp[machine - 1]),
        }
    }

    pub(crate) fn peer(&self, machine: usize) -> String {
        match self {
            Self::Namespaces { .. } => format!("{}:{PEER_PORT}", address(machine)),
            Self::Loopback { peer, .. } => format!("127.0.0.1:{}", peer[machine - 1]),
        }
    }

    /// What `from` sends to `to` gets lost from now on.
    pub(crate) fn cut(&self, from: usize, to: usize) {
        self.rule("add", from, to).unwrap();
    }

    pub(crate) fn mend(&self, from: usize, to: usize) {
        self.rule("delete", from, to).unwrap();
    }

    fn rule(&self, what: &str, from: usize, to: usize) -> Result<(), String> {
        let (router, device, address) = (self.router(), device(from), address(to));
        ip(&format!("-n {router} rule {what} iif {device} to {address} blackhole"))
    }

    /// `percent` of what the machine sends gets lost from now on, and with netem of what is sent to it; 0 ends it.
    pub(crate) fn set_loss(&self, machine: usize, percent: u64) {
        let (router, device) = (self.router(), device(machine));
        let done = match abilities().loss {
            Ok(Loss::Netem) => self.set_netem(machine, &format!("loss {percent}%"), percent == 0),
            Ok(Loss::Filter) if percent == 0 => tc(&router, &format!("filter delete dev {device} ingress")),
            Ok(Loss::Filter) => lose(&router, &device, percent),
            Err(_) => Ok(()),
        };
        done.unwrap();
    }

    /// What the machine sends and what is sent to it takes about so long from now on; 0 ends it. A token bucket lets
    /// through what would queue for so long, and loses the rest.
    pub(crate) fn set_delay(&self, machine: usize, millis: u64) {
        let done = match abilities().delay {
            Ok(Delay::Netem) => self.set_netem(machine, &format!("delay {millis}ms {}ms", millis / 4), millis == 0),
            Ok(Delay::Bucket) => {
                let bucket = format!("tbf rate 400kbit burst 4kb latency {millis}ms");
                self.set_queue(machine, &bucket, millis == 0)
            }
            Err(_) => Ok(()),
        };
        done.unwrap();
    }

    fn set_netem(&self, machine: usize, how: &str, ends: bool) -> Result<(), String> {
        self.set_queue(machine, &format!("netem {how}"), ends)
    }

    fn set_queue(&self, machine: usize, queue: &str, ends: bool) -> Result<(), String> {
        for (space, device) in [
            (self.router(), device(machine)),
            (self.space(machine), "eth0".to_owned()),
        ] {
            if ends {
                tc(&space, &format!("qdisc delete dev {device} root"))?;
            } else {
                tc(&space, &format!("qdisc replace dev {device} root {queue}"))?;
            }
        }
        Ok(())
    }
}

fn device(machine: usize) -> String {
    format!("m{machine}")
}

fn address(machine: usize) -> String {
    format!("10.77.{machine}.2")
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Self::Namespaces { machines, .. } = self {
            for space in (1..=*machines)
                .map(|machine| self.space(machine))
                .chain([self.router()])
            {
                let _ = ip(&format!("netns delete {space}"));
            }
        }
    }
}
