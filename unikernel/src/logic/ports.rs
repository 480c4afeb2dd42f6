//! The ports of a virtio console as connections: a state machine without a device.
//!
//! VIRTIO 1.2, 5.3.6.2. Control messages and data travel in different queues and
//! are not ordered against each other, so a port's open and close alone cannot
//! tell whose a byte is. What does is that the guest's side of a port is open
//! only while it serves one connection, and that the next client is admitted
//! only while it is shut:
//!
//! 1. The host closes: the connection is over at once. When the device holds
//!    none of its bytes to send any more, the guest says it has shut.
//! 2. The device has read that, and feeds the port no more: what was received
//!    is dropped. The host sees the guest's side shut (QMP `query-chardev`,
//!    `frontend-open`) and admits the next client.
//! 3. The host opens: the guest opens, and a new connection begins.
//!
//! A guest that ends a connection itself takes the same way; the host's close
//! follows its own.

use atoll_runtime::platform::{Conn, Stream};
use heapless::Vec;

/// Ports that are looked after: ids 0 to 3.
pub const PORTS: usize = 4;

const DEVICE_READY: u16 = 0;
const PORT_ADD: u16 = 1;
const PORT_REMOVE: u16 = 2;
const PORT_READY: u16 = 3;
const PORT_OPEN: u16 = 6;
const PORT_NAME: u16 = 7;

/// A control message to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message(pub [u8; 8]);

impl Message {
    fn new(id: u32, event: u16, value: u16) -> Message {
        let ([a, b, c, d], [e, f], [g, h]) =
            (id.to_le_bytes(), event.to_le_bytes(), value.to_le_bytes());
        Message([a, b, c, d, e, f, g, h])
    }

    /// The driver is ready: the device may name its ports.
    pub fn device_ready() -> Message {
        Message::new(0, DEVICE_READY, 1)
    }
}

/// What is to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a control message.
    Send(Message),
    /// Give this port's receive queue its buffers, if it has none yet.
    Fill(usize),
    /// Make the device look at this port's transmit queue: it drops what the
    /// host did not take.
    Kick(usize),
    /// Drop everything that this port has received.
    Drain(usize),
    /// A connection began on a port.
    Opened(usize, Stream, Conn),
    /// The other end closed a connection.
    Closed(Conn),
}

/// At most this many actions follow from one input.
pub type Actions = Vec<Action, 4>;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// The device has not named it.
    #[default]
    Absent,
    /// It is known but has no name that we know.
    Nameless,
    /// No connection; the guest's side is shut.
    Shut,
    /// A connection.
    Open(Conn),
    /// The connection is over; the device may still hold bytes of it to send.
    Leaving,
    /// The device was told that the guest's side has shut.
    Parting,
}

#[derive(Clone, Copy, Debug, Default)]
struct Port {
    phase: Phase,
    stream: Option<Stream>,
    /// The host has opened since the last connection, and not closed again.
    waiting: bool,
}

/// All ports of a device.
#[derive(Debug, Default)]
pub struct Ports {
    ports: [Port; PORTS],
    next: u32,
}

impl Ports {
    /// No ports yet.
    pub fn new() -> Ports {
        Ports::default()
    }

    /// The connection that a port serves now.
    pub fn conn(&self, id: usize) -> Option<Conn> {
        match self.ports.get(id)?.phase {
            Phase::Open(conn) => Some(conn),
            _ => None,
        }
    }

    /// The port that serves a connection, and its stream.
    pub fn find(&self, conn: Conn) -> Option<(usize, Stream)> {
        let (id, port) =
            self.ports.iter().enumerate().find(|(_, p)| p.phase == Phase::Open(conn))?;
        Some((id, port.stream?))
    }

    /// Whether a port is between two connections, so that [`Ports::settle`] is due.
    pub fn unsettled(&self, id: usize) -> bool {
        self.ports.get(id).is_some_and(|p| matches!(p.phase, Phase::Leaving | Phase::Parting))
    }

    /// A control message of the device: a claim. What makes no sense is passed over.
    pub fn message(&mut self, bytes: &[u8]) -> Actions {
        let mut out = Actions::new();
        let Some(([a, b, c, d, e, f, g, h], rest)) = bytes.split_first_chunk() else { return out };
        let id = u32::from_le_bytes([*a, *b, *c, *d]);
        let (event, value) = (u16::from_le_bytes([*e, *f]), u16::from_le_bytes([*g, *h]));
        let taken = |s| self.ports.iter().any(|p| p.stream == Some(s));
        let stream = match (event, rest.strip_suffix(b"\0").unwrap_or(rest)) {
            (PORT_NAME, b"control") if !taken(Stream::Control) => Some(Stream::Control),
            (PORT_NAME, b"host") if !taken(Stream::Host) => Some(Stream::Host),
            _ => None,
        };
        let at = id as usize;
        let Some(port) = self.ports.get_mut(at) else { return out };
        match (event, port.phase) {
            (PORT_ADD, Phase::Absent) => {
                port.phase = Phase::Nameless;
                put(&mut out, Action::Send(Message::new(id, PORT_READY, 1)));
            }
            (PORT_REMOVE, phase) => {
                if let Phase::Open(conn) = phase {
                    put(&mut out, Action::Closed(conn));
                }
                *port = Port::default();
            }
            (PORT_NAME, Phase::Nameless) if stream.is_some() => {
                port.stream = stream;
                port.phase = Phase::Shut;
                put(&mut out, Action::Fill(at));
                self.admit(at, &mut out);
            }
            (PORT_OPEN, _) if value != 0 => {
                port.waiting = true;
                self.admit(at, &mut out);
            }
            (PORT_OPEN, phase) => {
                port.waiting = false;
                if let Phase::Open(conn) = phase {
                    port.phase = Phase::Leaving;
                    put(&mut out, Action::Closed(conn));
                }
                if port.phase == Phase::Leaving {
                    put(&mut out, Action::Kick(at));
                }
            }
            _ => {}
        }
        out
    }

    /// The guest ends a connection.
    pub fn close(&mut self, conn: Conn) {
        if let Some(port) = self.ports.iter_mut().find(|p| p.phase == Phase::Open(conn)) {
            port.phase = Phase::Leaving;
            port.waiting = false;
        }
    }

    /// Goes on between two connections of a port, when the device holds nothing
    /// to send of it (`sent`), or no control message (`told`).
    pub fn settle(&mut self, id: usize, sent: bool, told: bool) -> Actions {
        let mut out = Actions::new();
        let Some(port) = self.ports.get_mut(id) else { return out };
        match port.phase {
            Phase::Leaving if sent => {
                port.phase = Phase::Parting;
                put(&mut out, Action::Send(Message::new(id as u32, PORT_OPEN, 0)));
            }
            Phase::Parting if told => {
                port.phase = Phase::Shut;
                put(&mut out, Action::Drain(id));
                self.admit(id, &mut out);
            }
            _ => {}
        }
        out
    }

    /// Begins a connection on a shut port whose host waits.
    fn admit(&mut self, id: usize, out: &mut Actions) {
        let Some(port) = self.ports.get_mut(id) else { return };
        if let (Phase::Shut, true, Some(stream)) = (port.phase, port.waiting, port.stream) {
            self.next = self.next.wrapping_add(1);
            let conn = Conn(self.next);
            port.phase = Phase::Open(conn);
            put(out, Action::Send(Message::new(id as u32, PORT_OPEN, 1)));
            put(out, Action::Opened(id, stream, conn));
        }
    }
}

fn put(out: &mut Actions, action: Action) {
    // No input causes more than four (the test counts them).
    let _ = out.push(action);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn msg(id: u32, event: u16, value: u16, name: &str) -> std::vec::Vec<u8> {
        let mut bytes = Message::new(id, event, value).0.to_vec();
        bytes.extend_from_slice(name.as_bytes());
        bytes
    }

    fn named() -> Ports {
        let mut ports = Ports::new();
        let ready = ports.message(&msg(2, PORT_ADD, 0, ""));
        assert_eq!(ready.as_slice(), [Action::Send(Message::new(2, PORT_READY, 1))]);
        assert_eq!(ports.message(&msg(2, PORT_NAME, 1, "control\0")).as_slice(), [Action::Fill(2)]);
        ports
    }

    const OPEN: Action = Action::Send(Message([2, 0, 0, 0, 6, 0, 1, 0]));
    const SHUT: Action = Action::Send(Message([2, 0, 0, 0, 6, 0, 0, 0]));

    #[test]
    fn one_connection_follows_another() {
        let mut ports = named();
        for n in 1..4 {
            let opened = ports.message(&msg(2, PORT_OPEN, 1, ""));
            assert_eq!(opened.as_slice(), [OPEN, Action::Opened(2, Stream::Control, Conn(n))]);
            assert_eq!(ports.find(Conn(n)), Some((2, Stream::Control)));
            let closed = ports.message(&msg(2, PORT_OPEN, 0, ""));
            assert_eq!(closed.as_slice(), [Action::Closed(Conn(n)), Action::Kick(2)]);
            assert!(ports.find(Conn(n)).is_none() && ports.unsettled(2));
            assert!(ports.settle(2, false, true).is_empty(), "its bytes are still out");
            assert_eq!(ports.settle(2, true, false).as_slice(), [SHUT]);
            assert!(ports.settle(2, true, false).is_empty(), "the device has not read it");
            assert_eq!(ports.settle(2, true, true).as_slice(), [Action::Drain(2)]);
            assert!(!ports.unsettled(2));
        }
    }

    #[test]
    fn a_host_that_opens_too_early_waits_until_the_old_is_gone() {
        let mut ports = named();
        ports.message(&msg(2, PORT_OPEN, 1, ""));
        ports.message(&msg(2, PORT_OPEN, 0, ""));
        assert!(ports.message(&msg(2, PORT_OPEN, 1, "")).is_empty());
        ports.settle(2, true, true);
        let late = ports.settle(2, true, true);
        assert_eq!(
            late.as_slice(),
            [Action::Drain(2), OPEN, Action::Opened(2, Stream::Control, Conn(2))]
        );
    }

    #[test]
    fn a_guest_that_closes_waits_for_the_host_to_close_and_open() {
        let mut ports = named();
        ports.message(&msg(2, PORT_OPEN, 1, ""));
        ports.close(Conn(1));
        assert!(ports.conn(2).is_none());
        assert!(ports.settle(2, false, true).is_empty(), "the host does not read");
        assert_eq!(ports.message(&msg(2, PORT_OPEN, 0, "")).as_slice(), [Action::Kick(2)]);
        assert_eq!(ports.settle(2, true, true).as_slice(), [SHUT]);
        assert_eq!(ports.settle(2, true, true).as_slice(), [Action::Drain(2)]);
        assert_eq!(
            ports.message(&msg(2, PORT_OPEN, 1, "")).last(),
            Some(&Action::Opened(2, Stream::Control, Conn(2)))
        );
    }

    #[test]
    fn claims_that_make_no_sense_change_nothing() {
        let mut ports = named();
        for bad in [
            msg(9, PORT_ADD, 0, ""),
            msg(u32::MAX, PORT_OPEN, 1, ""),
            msg(2, PORT_ADD, 0, ""),
            msg(2, PORT_NAME, 1, "host"),
            msg(1, PORT_NAME, 1, "host"),
            msg(1, PORT_OPEN, 1, ""),
            msg(2, 77, 1, ""),
            vec![2, 0, 0],
            vec![],
        ] {
            assert!(ports.message(&bad).is_empty(), "{bad:?}");
        }
        ports.message(&msg(3, PORT_ADD, 0, ""));
        assert!(ports.message(&msg(3, PORT_NAME, 1, "control")).is_empty(), "the name is taken");
        assert!(ports.message(&msg(3, PORT_NAME, 1, "lp0")).is_empty());
    }

    #[test]
    fn any_order_of_messages_keeps_connections_apart() {
        // A small pseudo-random walk; what must hold is that each connection
        // ends before the next of its port begins, with a drain between them.
        let (mut ports, mut seed, mut drained, mut last) = (named(), 7u32, true, 0);
        for _ in 0..100_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let actions = match seed >> 29 {
                0..=2 => ports.message(&msg(2, PORT_OPEN, (seed >> 20 & 1) as u16, "")),
                3 => {
                    ports.conn(2).into_iter().for_each(|c| ports.close(c));
                    Actions::new()
                }
                _ => ports.settle(2, seed >> 21 & 1 == 1, seed >> 22 & 1 == 1),
            };
            assert!(actions.len() < 4);
            for action in actions {
                match action {
                    Action::Drain(2) => drained = true,
                    Action::Opened(2, _, Conn(n)) => {
                        assert!(drained && n == last + 1);
                        (drained, last) = (false, n);
                    }
                    _ => {}
                }
            }
        }
        assert!(last > 1000);
    }
}
