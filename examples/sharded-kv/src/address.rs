//! Where a node is reached: a host and a port.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// `host:port`, the host being an IP address (IPv6 in brackets) or a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HostPort {
    /// Without brackets, as Redis clients want it.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error("{0:?} is not host:port")]
    NoPort(String),
    #[error("{0:?}: the port must be 1 to 65535")]
    Port(String),
    #[error("{0:?}: the host must be an IP address or a name of letters, digits, '-', '.' and '_'")]
    Host(String),
}

impl HostPort {
    /// Whether the host is the address that stands for all of the machine's addresses, which nobody can connect to.
    pub(crate) fn is_unspecified(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| AddressError::NoPort(text.to_owned()))?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| AddressError::Port(text.to_owned()))?;
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let is_host = match bracketed {
            Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
        };
        if !is_host {
            return Err(AddressError::Host(text.to_owned()));
        }
        Ok(Self {
            host: bracketed.unwrap_or(host).to_owned(),
            port,
        })
    }
}

/// As it is written in a configuration, IPv6 in brackets.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in ["127.0.0.1:7001", "kv-1.example:1", "[::1]:65535", "host_a:80"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        assert_eq!("[::1]:80".parse::<HostPort>().unwrap().host, "::1");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, error) in [
            ("7001", "\"7001\" is not host:port"),
            ("host:", "\"host:\": the port must be 1 to 65535"),
            ("host:0", "\"host:0\": the port must be 1 to 65535"),
            ("host:65536", "\"host:65536\": the port must be 1 to 65535"),
        ] {
            assert_eq!(text.parse::<HostPort>().unwrap_err().to_string(), error);
        }
        for text in [":80", "::1:80", "a b:80", "[x]:80", "h\r\n:80"] {
            let error = text.parse::<HostPort>().unwrap_err();
            assert_eq!(error, AddressError::Host(text.to_owned()));
        }
    }

    #[test]
    fn unspecified_addresses() {
        for (text, unspecified) in [
            ("0.0.0.0:1", true),
            ("[::]:1", true),
            ("127.0.0.1:1", false),
            ("host:1", false),
        ] {
            assert_eq!(text.parse::<HostPort>().unwrap().is_unspecified(), unspecified);
        }
    }
}
