//! Ports without a kernel behind them: for tests, simulations and benchmarks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustix::event::{EventfdFlags, eventfd};
use vswitch_frame::{FrameBuf, Offload, offload, segment};

/// A frame as it crosses a memory link: its bytes and the work left undone.
pub type MemoryFrame = (Box<[u8]>, Offload);

/// What the peer of a memory link takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offloads {
    /// Frames as they are, with their [`Offload`].
    Carried,
    /// Only finished frames: the port segments and completes checksums in software.
    Finished,
}

/// The switch's end of a memory link.
#[derive(Debug)]
pub struct MemoryDevice {
    offloads: Offloads,
    incoming: Receiver<MemoryFrame>,
    outgoing: Sender<MemoryFrame>,
    ready: Arc<OwnedFd>,
}

/// The other end of a memory link: sends into the switch and receives from it.
#[derive(Debug)]
pub struct MemoryPeer {
    outgoing: Sender<MemoryFrame>,
    incoming: Receiver<MemoryFrame>,
    ready: Arc<OwnedFd>,
}

/// A link that holds up to `capacity` frames in each direction.
///
/// # Errors
/// When the kernel has no descriptor left for the event that wakes the worker.
pub fn memory_link(capacity: usize, offloads: Offloads) -> io::Result<(MemoryDevice, MemoryPeer)> {
    let (to_switch, from_peer) = bounded(capacity);
    let (to_peer, from_switch) = bounded(capacity);
    let ready = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let device = MemoryDevice { offloads, incoming: from_peer, outgoing: to_peer, ready: Arc::clone(&ready) };
    Ok((device, MemoryPeer { outgoing: to_switch, incoming: from_switch, ready }))
}

impl MemoryPeer {
    /// Sends a frame into the switch; `false` when the link is full.
    #[must_use]
    pub fn send(&self, frame: &[u8], offload: Offload) -> bool {
        let sent = self.outgoing.try_send((frame.into(), offload)).is_ok();
        // The counter of an eventfd saturates only after 2^64 - 2 unread wake-ups; readability is all that matters.
        let _ = rustix::io::write(&*self.ready, &1u64.to_ne_bytes());
        sent
    }

    /// A frame from the switch, if one waits.
    #[must_use]
    pub fn try_receive(&self) -> Option<MemoryFrame> {
        self.incoming.try_recv().ok()
    }

    /// A frame from the switch, waiting at most `timeout`.
    #[must_use]
    pub fn receive(&self, timeout: Duration) -> Option<MemoryFrame> {
        self.incoming.recv_timeout(timeout).ok()
    }
}

impl MemoryDevice {
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }

    pub(super) fn receive(&self, buffers: &mut [FrameBuf]) -> usize {
        let mut count = 0;
        for buffer in buffers {
            let Ok((frame, offload)) = self.incoming.try_recv() else { break };
            if frame.len() > vswitch_frame::buffer::MAX_FRAME_LEN {
                buffer.receive_area();
            } else {
                buffer.fill(&frame, offload);
            }
            count += 1;
        }
        count
    }

    /// `WouldBlock` when the link is full, `BrokenPipe` when the peer is gone, `InvalidInput` for a super-frame that
    /// cannot be segmented.
    pub(super) fn send(&self, buffer: &mut FrameBuf) -> io::Result<()> {
        if self.offloads == Offloads::Carried {
            return self.push(buffer.frame().into(), buffer.offload);
        }
        if buffer.offload.gso.is_none() {
            // The buffer may go to other ports as well, which get the frame as it was.
            let mut finished: Box<[u8]> = buffer.frame().into();
            offload::complete_checksum(&mut finished, &mut buffer.offload.clone());
            return self.push(finished, Offload::NONE);
        }
        let invalid = |_| io::Error::from(rustix::io::Errno::INVAL);
        let segments = segment::segment(&buffer.packet()).map_err(invalid)?;
        let mut out = vec![0; segments.max_len()];
        for index in 0..segments.count() {
            let length = segments.write(index, &mut out);
            self.push(out[..length].into(), Offload::NONE)?;
        }
        Ok(())
    }

    fn push(&self, frame: Box<[u8]>, offload: Offload) -> io::Result<()> {
        self.outgoing.try_send((frame, offload)).map_err(|error| {
            io::Error::from(match error {
                TrySendError::Full(_) => rustix::io::Errno::AGAIN,
                TrySendError::Disconnected(_) => rustix::io::Errno::PIPE,
            })
        })
    }
}
