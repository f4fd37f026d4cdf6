//! Ports: where frames come from and go to.

mod memory;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::AtomicBool;

use vswitch_frame::{DropReason, FrameBuf, PortId};

pub use memory::{MemoryDevice, MemoryFrame, MemoryPeer, Offloads, memory_link};

use crate::counters::{Cells, PortCounters};
use crate::shared::wide;
use crate::sys::burst::Burst;
use crate::sys::{packet, tap};
use crate::{PortConfig, PortDevice};

/// A port in a snapshot.
#[derive(Debug)]
pub struct Port {
    /// Its index in the snapshot.
    pub id: PortId,
    /// What control said.
    pub config: PortConfig,
    /// The worker that receives from it.
    pub worker: usize,
    /// What all workers counted on it.
    pub counters: PortCounters,
    /// Receiving or sending failed in a way that may mean that the interface is gone.
    pub suspect: AtomicBool,
    device: PortDevice,
}

impl Port {
    /// A port whose frames `worker` receives and that `senders` threads count on.
    #[must_use]
    pub fn new(id: PortId, config: PortConfig, device: PortDevice, worker: usize, senders: usize) -> Self {
        let suspect = AtomicBool::new(false);
        Port { id, config, worker, counters: PortCounters::new(senders), suspect, device }
    }

    /// `packet`, `tap` or `memory`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.device {
            PortDevice::Packet(_) => "packet",
            PortDevice::Tap(_) => "tap",
            PortDevice::Memory(_) => "memory",
        }
    }

    /// Whether the interface behind the port is gone for good.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match &self.device {
            PortDevice::Packet(socket) => packet::is_gone(socket.as_fd()),
            PortDevice::Tap(_) => self.suspect.load(std::sync::atomic::Ordering::Relaxed),
            PortDevice::Memory(_) => false,
        }
    }

    /// What becomes readable when a frame waits.
    #[must_use]
    pub fn raw_fd(&self) -> RawFd {
        self.fd().as_raw_fd()
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.device {
            PortDevice::Packet(fd) | PortDevice::Tap(fd) => fd.as_fd(),
            PortDevice::Memory(device) => device.fd(),
        }
    }

    /// Receives up to `buffers.len()` frames without waiting and returns how many came; fewer than asked for says that
    /// nothing more waits. A buffer whose frame made no sense is empty.
    ///
    /// # Errors
    /// What the kernel says; "nothing there" is `Ok(0)`.
    #[inline]
    pub fn receive(&self, burst: &mut Burst, buffers: &mut [FrameBuf]) -> io::Result<usize> {
        match &self.device {
            PortDevice::Packet(socket) => burst.receive(socket.as_fd(), buffers),
            PortDevice::Tap(fd) => receive_each(buffers, |buffer| tap::receive(fd.as_fd(), buffer)),
            PortDevice::Memory(device) => Ok(device.receive(buffers)),
        }
    }

    /// Sends the frames that `indices` names, in order, and counts them on `cells`.
    #[inline]
    pub fn send(&self, burst: &mut Burst, buffers: &mut [FrameBuf], indices: &[u16], cells: &Cells) {
        match &self.device {
            PortDevice::Packet(socket) => {
                self.send_rest(indices, buffers, cells, |rest, buffers| burst.send(socket.as_fd(), buffers, rest));
            }
            PortDevice::Tap(fd) => self.send_rest(indices, buffers, cells, |rest, buffers| {
                tap::send(fd.as_fd(), &mut buffers[usize::from(rest[0])]).map(|()| 1)
            }),
            PortDevice::Memory(device) => self.send_rest(indices, buffers, cells, |rest, buffers| {
                device.send(&mut buffers[usize::from(rest[0])]).map(|()| 1)
            }),
        }
    }

    /// Calls `send` until every frame is sent or dropped with a reason.
    fn send_rest(
        &self,
        indices: &[u16],
        buffers: &mut [FrameBuf],
        cells: &Cells,
        mut send: impl FnMut(&[u16], &mut [FrameBuf]) -> io::Result<usize>,
    ) {
        let mut rest = indices;
        while !rest.is_empty() {
            let (done, dropped) = match send(rest, buffers) {
                Ok(sent) => {
                    let bytes: usize = rest[..sent].iter().map(|&index| buffers[usize::from(index)].len()).sum();
                    cells.sent(wide(sent), wide(bytes));
                    (sent, None)
                }
                Err(error) => match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
                    Some(rustix::io::Errno::INTR) => (0, None),
                    // The queue has no room: neither has it for what follows.
                    Some(rustix::io::Errno::AGAIN) => (rest.len(), Some(DropReason::EgressFull)),
                    Some(rustix::io::Errno::NOBUFS) => (1, Some(DropReason::EgressFull)),
                    // This frame is refused; the next may be taken.
                    Some(rustix::io::Errno::INVAL | rustix::io::Errno::MSGSIZE) => (1, Some(DropReason::EgressError)),
                    _ => {
                        self.suspect.store(true, std::sync::atomic::Ordering::Relaxed);
                        (rest.len(), Some(DropReason::EgressError))
                    }
                },
            };
            if let Some(reason) = dropped {
                cells.dropped(reason, wide(done));
            }
            rest = &rest[done..];
        }
    }
}

/// Receives frame by frame; `receive` says whether the frame made sense.
fn receive_each(
    buffers: &mut [FrameBuf],
    mut receive: impl FnMut(&mut FrameBuf) -> io::Result<bool>,
) -> io::Result<usize> {
    for (count, buffer) in buffers.iter_mut().enumerate() {
        match receive(buffer) {
            Ok(true) => {}
            Ok(false) => buffer.truncate(0),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(count);
            }
            Err(error) if count == 0 => return Err(error),
            Err(_) => return Ok(count),
        }
    }
    Ok(buffers.len())
}
