//! Where a tree is: a socket's path, `unix:PATH`, `tcp:HOST:PORT`, a guest's name, which
//! stands for the socket that is made for it by default, or `@`, which stands for the
//! supervisor.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// Where a guest's tree is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(String),
}

impl Address {
    /// Reads what a user wrote.
    pub fn parse(text: &str) -> Result<Address, String> {
        if text == SUPERVISOR {
            return Address::supervisor();
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Address::Unix(path.into()));
        }
        if let Some(host) = text.strip_prefix("tcp:") {
            return match host.rsplit_once(':') {
                Some((_, port)) if port.parse::<u16>().is_ok() => Ok(Address::Tcp(host.into())),
                _ => Err(format!("{text}: expected tcp:HOST:PORT")),
            };
        }
        if text.contains('/') {
            return Ok(Address::Unix(text.into()));
        }
        if !is_name(text) {
            return Err(format!(
                "{text:?} is no guest's name; a socket's path has a slash, as in ./{text}"
            ));
        }
        Ok(Address::Unix(default_socket(text)))
    }
}

/// What stands for the supervisor.
pub const SUPERVISOR: &str = "@";
/// The variable that says where the supervisor is.
pub const HOST: &str = "ATOLL_HOST";

impl Address {
    /// The supervisor's control tree: where a variable says, or this user's own.
    pub fn supervisor() -> Result<Address, String> {
        match std::env::var(HOST) {
            Ok(text) if text == SUPERVISOR => {
                Err(format!("{HOST} is {SUPERVISOR}, which is itself"))
            }
            Ok(text) if !text.is_empty() => {
                Address::parse(&text).map_err(|why| format!("{HOST}: {why}"))
            }
            _ => Ok(Address::Unix(supervisor_socket())),
        }
    }

    /// Whether it is the supervisor's.
    pub fn is_supervisor(&self) -> bool {
        Address::supervisor().is_ok_and(|a| a == *self)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(host) => write!(f, "tcp:{host}"),
        }
    }
}

/// Whether a text can be the name of a guest.
pub fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// The folder of this user's sockets.
pub fn socket_dir() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if PathBuf::from(&dir).is_dir() => PathBuf::from(dir).join("atoll"),
        _ => {
            let uid = rustix::process::getuid().as_raw();
            std::env::temp_dir().join(format!("atoll-{uid}"))
        }
    }
}

/// The socket of a guest when nobody names another.
pub fn default_socket(name: &str) -> PathBuf {
    socket_dir().join(format!("{name}.sock"))
}

/// The folder of a guest's other sockets, when a shim has it.
pub fn guest_sockets(name: &str) -> PathBuf {
    socket_dir().join("guests").join(name)
}

/// The socket of the supervisor. No guest can have it, for a guest's ends with `.sock`.
pub fn supervisor_socket() -> PathBuf {
    socket_dir().join("supervisor")
}

/// A place to listen at, which must be on this machine: there is no
/// authentication yet, so nobody else may reach a guest's tree.
pub fn loopback(text: &str) -> Result<SocketAddr, String> {
    let host =
        text.strip_prefix("tcp:").ok_or_else(|| format!("{text}: expected tcp:127.0.0.1:PORT"))?;
    let mut found = host.to_socket_addrs().map_err(|e| format!("{text}: {e}"))?;
    match found.find(|a| a.ip().is_loopback()) {
        Some(addr) => Ok(addr),
        None => Err(format!(
            "{text}: only this machine's own addresses (127.0.0.1, [::1]) are served, for there \
             is no authentication"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_path_a_port_or_a_name() {
        let unix = |p: &str| Ok(Address::Unix(p.into()));
        assert_eq!(Address::parse("/run/a.sock"), unix("/run/a.sock"));
        assert_eq!(Address::parse("./a"), unix("./a"));
        assert_eq!(Address::parse("unix:a"), unix("a"));
        assert_eq!(Address::parse("tcp:[::1]:564"), Ok(Address::Tcp("[::1]:564".into())));
        assert_eq!(Address::parse("hello"), Ok(Address::Unix(default_socket("hello"))));
        assert_eq!(Address::parse("@"), unix(supervisor_socket().to_str().unwrap()));
        for bad in ["", "@a", "tcp:host", "tcp:host:x", "Hello", "a.sock"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_loopback_is_listened_on() {
        assert!(loopback("tcp:127.0.0.1:0").is_ok() && loopback("tcp:[::1]:5").is_ok());
        for bad in ["tcp:0.0.0.0:564", "127.0.0.1:564", "tcp:192.0.2.1:564", "tcp:127.0.0.1"] {
            assert!(loopback(bad).is_err(), "{bad}");
        }
    }
}
