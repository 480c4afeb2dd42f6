//! Event channels: `/dev/xen/evtchn`.
//!
//! A descriptor gets the events of all ports that were bound through it. Linux masks a
//! port when it has told of an event; [`EvtChn::unmask`] lets the next one come.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use super::ioctl::call;

const DEVICE: &str = "/dev/xen/evtchn";
const GROUP: u8 = b'E';

/// A port of this domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port(pub u32);

/// An open device. Its ports are unbound when it is dropped.
#[derive(Debug)]
pub struct EvtChn {
    device: File,
}

impl EvtChn {
    /// Opens the device, never to block in a read.
    pub fn open() -> io::Result<EvtChn> {
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let device = OpenOptions::new().read(true).write(true).custom_flags(flags).open(DEVICE);
        Ok(EvtChn { device: device.map_err(|e| super::gntdev::named(DEVICE, &e))? })
    }

    /// Binds a port to one that a domain left open for us.
    pub fn bind_interdomain(&self, domid: u16, port: u32) -> io::Result<Port> {
        self.call(1, &mut [u32::from(domid), port]).map(Port)
    }

    /// Unbinds it.
    pub fn unbind(&self, port: Port) -> io::Result<()> {
        self.call(3, &mut [port.0]).map(drop)
    }

    /// Sends an event.
    pub fn notify(&self, port: Port) -> io::Result<()> {
        self.call(4, &mut [port.0]).map(drop)
    }

    fn call<const N: usize>(&self, number: u8, words: &mut [u32; N]) -> io::Result<u32> {
        // SAFETY: `struct ioctl_evtchn_*` of these numbers is `N` words, which are read alone.
        unsafe { call(&self.device, GROUP, number, size_of::<[u32; N]>(), words) }
    }

    /// The next port that has had an event, which is masked now.
    pub fn pending(&self) -> io::Result<Option<Port>> {
        let mut port = [0; 4];
        match (&self.device).read(&mut port) {
            Ok(4) => Ok(Some(Port(u32::from_ne_bytes(port)))),
            Ok(n) => Err(io::Error::other(std::format!("{DEVICE}: {n} bytes are no port"))),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Takes one event, and lets the next come. Only one: the other end of a port can send
    /// them faster than they are taken, and whoever took all would do nothing else.
    pub fn acknowledge(&self) -> io::Result<()> {
        self.pending()?.map_or(Ok(()), |port| self.unmask(port))
    }

    /// Lets a port's next event come.
    pub fn unmask(&self, port: Port) -> io::Result<()> {
        (&self.device).write_all(&port.0.to_ne_bytes())
    }
}

impl AsFd for EvtChn {
    /// Readable when a port has had an event.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    /// A device, and the kernel's end of it.
    fn device() -> (EvtChn, UnixStream) {
        let (device, kernel) = UnixStream::pair().unwrap();
        device.set_nonblocking(true).unwrap();
        (EvtChn { device: File::from(OwnedFd::from(device)) }, kernel)
    }

    #[test]
    fn a_storm_of_events_is_taken_one_at_a_time() {
        let (evtchn, mut kernel) = device();
        // Each time that the port is unmasked its next event is there already.
        for _ in 0..3 {
            kernel.write_all(&7u32.to_ne_bytes()).unwrap();
        }
        for left in [2, 1, 0] {
            evtchn.acknowledge().unwrap();
            let mut unmasked = [0; 4];
            kernel.read_exact(&mut unmasked).unwrap();
            assert_eq!(u32::from_ne_bytes(unmasked), 7);
            kernel.set_nonblocking(true).unwrap();
            assert!(kernel.read(&mut unmasked).is_err(), "more than one, and {left} are left");
            kernel.set_nonblocking(false).unwrap();
        }
        evtchn.acknowledge().unwrap();
        assert_eq!(evtchn.pending().unwrap(), None);
    }
}
