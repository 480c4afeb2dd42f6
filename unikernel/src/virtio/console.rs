//! The console device with many ports (VIRTIO 1.2, 5.3): the guest's streams.
//!
//! The ports are found by their names. Which connection a byte belongs to is
//! decided in [`crate::logic::ports`]; this carries out what is decided there.
//! The device's interrupts are off while the guest runs, which looks at the
//! queues itself, and on while it sleeps, for what it waits for.

use core::sync::atomic::{Ordering, fence};

use atoll_runtime::platform::{Conn, Signal, Stream};
use heapless::Deque;
use virtio_drivers::transport::Transport;

use super::queue::{BUFFERS, Rx, Tx};
use super::{Features, Registers};
use crate::arch::{ioapic, time};
use crate::logic::ports::{Action, Actions, Message, PORTS, Ports};

/// Control messages are 8 bytes and a name.
const CONTROL: usize = 64;
/// Buffers that are sent from, and the probe.
const SENDING: usize = 5;

/// The two directions of a port.
struct Lane {
    rx: Rx,
    tx: Tx,
    /// It was reported that there is something to read.
    told: bool,
    /// Less was accepted than given.
    short: bool,
}

/// The device.
pub(crate) struct Console {
    registers: Registers,
    control_rx: Rx,
    control_tx: Tx,
    lanes: [Option<Lane>; PORTS],
    ports: Ports,
    signals: Deque<Signal, 16>,
    /// Bytes of a port's buffers in each direction.
    buffers: usize,
    /// The TSC when the first bytes went out on `control`; 0 before.
    pub(crate) first_reply: u64,
}

impl Console {
    /// Sets the device up. It names its ports, and says who waits, at once or later.
    pub(crate) fn start(
        mut registers: Registers,
        line: u8,
        buffers: usize,
    ) -> Result<Console, &'static str> {
        const MEMORY: &str = "there is no memory for the console's queues: give the machine more";
        let features = registers.begin_init(Features::VERSION_1 | Features::MULTIPORT);
        if !features.contains(Features::VERSION_1 | Features::MULTIPORT) {
            return Err(
                "the console has no ports: give QEMU -global virtio-mmio.force-legacy=false",
            );
        }
        let most = registers.read_config_space::<u32>(4).unwrap_or(0) as usize;
        let mut control_rx = Rx::new(&mut registers, 2).ok_or(MEMORY)?;
        let mut control_tx = Tx::new(&mut registers, 3).ok_or(MEMORY)?;
        let mut lanes = [const { None }; PORTS];
        // Port 0 is for a system console, which is not a stream of ours.
        for (id, lane) in lanes.iter_mut().enumerate().take(most).skip(1) {
            let queue = 2 * id as u16 + 2;
            let rx = Rx::new(&mut registers, queue).ok_or(MEMORY)?;
            let tx = Tx::new(&mut registers, queue + 1).ok_or(MEMORY)?;
            *lane = Some(Lane { rx, tx, told: false, short: false });
        }
        registers.finish_init();
        if !control_rx.fill(&mut registers, BUFFERS, CONTROL) || !control_tx.equip(BUFFERS, 8) {
            return Err(MEMORY);
        }
        ioapic::route(line);
        control_tx.write(&mut registers, &Message::device_ready().0);
        control_tx.flush(&mut registers);
        let (ports, signals) = (Ports::new(), Deque::new());
        Ok(Console {
            registers,
            control_rx,
            control_tx,
            lanes,
            ports,
            signals,
            buffers,
            first_reply: 0,
        })
    }

    /// The next signal. When there is none, everything sent so far is on its way.
    pub(crate) fn poll(&mut self) -> Option<Signal> {
        self.turn();
        if let Some(signal) = self.signals.pop_front() {
            return Some(signal);
        }
        for (id, lane) in self.lanes.iter_mut().enumerate() {
            let (Some(conn), Some(lane)) = (self.ports.conn(id), lane) else { continue };
            if !lane.told && lane.rx.ready() {
                lane.told = true;
                return Some(Signal::Readable(conn));
            }
            if lane.short && lane.tx.room() {
                lane.short = false;
                return Some(Signal::Writable(conn));
            }
        }
        self.flush();
        None
    }

    /// Whether [`Console::poll`] may have something. Changes nothing.
    pub(crate) fn due(&self) -> bool {
        let lane = |(id, lane): (usize, &Option<Lane>)| {
            lane.as_ref().is_some_and(|l| {
                let between = self.ports.unsettled(id);
                let open = self.ports.conn(id).is_some();
                (open && !l.told && l.rx.ready())
                    || ((between || l.short) && l.tx.returned())
                    || (between && self.control_tx.returned())
            })
        };
        !self.signals.is_empty()
            || self.control_rx.ready()
            || self.lanes.iter().enumerate().any(lane)
    }

    /// Turns the device's interrupts on, for what is waited for, or off.
    pub(crate) fn listen(&mut self, on: bool) {
        self.control_rx.listen(on);
        let mut between = false;
        for (id, lane) in self.lanes.iter_mut().enumerate() {
            let Some(lane) = lane else { continue };
            let unsettled = self.ports.unsettled(id);
            between |= unsettled;
            lane.rx.listen(on && !lane.told);
            lane.tx.listen(on && (lane.short || unsettled));
        }
        self.control_tx.listen(on && between);
        // What was just written must be seen by the device before the queues are
        // looked at for the last time, or both sides wait for each other.
        fence(Ordering::SeqCst);
    }

    /// Tells the device that its interrupt was seen.
    pub(crate) fn acknowledge(&mut self) {
        self.registers.ack_interrupt();
    }

    /// Takes received bytes.
    pub(crate) fn recv(&mut self, conn: Conn, out: &mut [u8]) -> usize {
        let Some((id, _)) = self.ports.find(conn) else { return 0 };
        let Some(Some(lane)) = self.lanes.get_mut(id) else { return 0 };
        let n = lane.rx.read(&mut self.registers, out);
        if n < out.len() {
            lane.told = false;
        }
        n
    }

    /// Accepts bytes to send.
    pub(crate) fn send(&mut self, conn: Conn, bytes: &[u8]) -> usize {
        let Some((id, stream)) = self.ports.find(conn) else { return bytes.len() };
        let Some(Some(lane)) = self.lanes.get_mut(id) else { return bytes.len() };
        let n = lane.tx.write(&mut self.registers, bytes);
        lane.short |= n < bytes.len();
        if stream == Stream::Control && self.first_reply == 0 {
            self.first_reply = time::tsc();
        }
        n
    }

    /// Ends a connection; what was sent on it still goes out.
    pub(crate) fn close(&mut self, conn: Conn) {
        self.flush();
        self.ports.close(conn);
    }

    /// Everything sent so far is on its way.
    pub(crate) fn flush(&mut self) {
        for lane in self.lanes.iter_mut().flatten() {
            lane.tx.flush(&mut self.registers);
        }
    }

    /// Reads the device's messages and does what follows from them.
    fn turn(&mut self) {
        while let Some(actions) =
            self.control_rx.message(&mut self.registers, |m| self.ports.message(m))
        {
            self.act(actions);
        }
        for id in 0..PORTS {
            while self.ports.unsettled(id) {
                let Some(Some(lane)) = self.lanes.get_mut(id) else { break };
                let (sent, told) = (lane.tx.settled(), self.control_tx.settled());
                let actions = self.ports.settle(id, sent, told);
                if actions.is_empty() {
                    break;
                }
                self.act(actions);
                self.control_tx.flush(&mut self.registers);
            }
        }
        self.control_tx.flush(&mut self.registers);
    }

    fn act(&mut self, actions: Actions) {
        for action in actions {
            match action {
                Action::Send(Message(bytes)) => {
                    if self.control_tx.write(&mut self.registers, &bytes) < bytes.len() {
                        log::warn!("console: the device takes no control messages");
                    }
                }
                Action::Fill(id) => self.fill(id),
                Action::Kick(id) => {
                    if let Some(Some(lane)) = self.lanes.get_mut(id) {
                        lane.tx.kick(&mut self.registers);
                    }
                }
                Action::Drain(id) => {
                    if let Some(Some(lane)) = self.lanes.get_mut(id) {
                        lane.rx.drain(&mut self.registers);
                    }
                }
                Action::Opened(id, stream, conn) => {
                    self.control_tx.flush(&mut self.registers);
                    if let Some(Some(lane)) = self.lanes.get_mut(id) {
                        (lane.told, lane.short) = (false, false);
                        lane.rx.poke(&mut self.registers);
                    }
                    self.signal(Signal::Opened(stream, conn));
                }
                Action::Closed(conn) => self.signal(Signal::Closed(conn)),
            }
        }
    }

    fn fill(&mut self, id: usize) {
        let Some(Some(lane)) = self.lanes.get_mut(id) else { return };
        // QEMU hands over at most 4 KiB at a time.
        let size = (self.buffers / BUFFERS).clamp(512, 4096);
        let there = lane.rx.fill(&mut self.registers, self.buffers / size, size)
            && lane.tx.equip(SENDING, self.buffers / (SENDING - 1));
        if !there {
            log::error!("console: no memory for the buffers of port {id}");
        }
    }

    fn signal(&mut self, signal: Signal) {
        if self.signals.push_back(signal).is_err() {
            // A host that opens and closes faster than the guest looks; what it
            // loses is a connection that is closed again.
            log::warn!("console: too many connections at once");
        }
    }
}
