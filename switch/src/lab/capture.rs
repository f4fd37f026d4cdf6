//! Where copies of frames become a file that others read.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use vswitch_capture::describe::describe;
use vswitch_capture::pcapng::{self, Direction, Flags, Interface, Record, Section, Statistics};
use vswitch_frame::PacketMut;
use vswitch_frame::offload::{Offload, complete_checksum};
use vswitch_frame::segment::segment;

use super::tap::{CaptureSpec, Copied, Message, Place, Shared, Super, Tap};
use crate::clock;
use crate::datapath::Datapath;
use crate::port::Label;

/// What comes out of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A pcapng file.
    Pcapng,
    /// One line a frame.
    Text,
}

/// The end of a capture at which files are written. Dropping it ends the capture.
#[derive(Debug)]
pub struct Capture {
    datapath: Arc<Datapath>,
    shared: Arc<Shared>,
    receiver: Receiver<Message>,
    spec: CaptureSpec,
    begun: bool,
    ended: bool,
    /// Frames that may still be written.
    left: u64,
    interfaces: Vec<Seen>,
    /// Places in `interfaces`, by the port's label and the place.
    known: HashMap<(usize, Place), usize>,
    /// Frames lost so far, and of these the ones that the statistics have told of.
    lost: u64,
    told: u64,
    /// A finished segment.
    scratch: Vec<u8>,
}

/// Ends a capture from elsewhere.
#[derive(Debug, Clone)]
pub struct CaptureStop(Arc<Shared>);

/// A place of a port that frames were seen at.
#[derive(Debug)]
struct Seen {
    label: Arc<Label>,
    name: String,
    frames: u64,
}

/// About as many bytes are handed out at a time.
const CHUNK: usize = 64 << 10;
/// How long a capture may have lost frames before its file says so.
const TELL_LOSSES: Duration = Duration::from_secs(1);

impl CaptureStop {
    pub(super) fn of(shared: &Arc<Shared>) -> CaptureStop {
        CaptureStop(Arc::clone(shared))
    }

    /// Ends the capture: what waits is still handed out.
    pub fn stop(&self) {
        self.0.close();
    }
}

impl Capture {
    pub(crate) fn new(datapath: &Arc<Datapath>, spec: CaptureSpec) -> (Tap, Capture) {
        let (tap, receiver) = Tap::new(&spec);
        let capture = Capture {
            datapath: Arc::clone(datapath),
            shared: Arc::clone(&tap.shared),
            receiver,
            left: spec.count.unwrap_or(u64::MAX),
            spec,
            begun: false,
            ended: false,
            interfaces: Vec::new(),
            known: HashMap::new(),
            lost: 0,
            told: 0,
            scratch: Vec::new(),
        };
        (tap, capture)
    }

    /// What ends it from elsewhere.
    #[must_use]
    pub fn stop(&self) -> CaptureStop {
        CaptureStop(Arc::clone(&self.shared))
    }

    /// The next bytes, as soon as there are any; nothing at the end. The first ones come at once.
    pub fn next_bytes(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        if !self.begun {
            self.begun = true;
            self.begin(&mut out);
        }
        while out.len() < CHUNK && !self.ended {
            match self.next_message(out.is_empty()) {
                Next::Frame(copied) => {
                    self.shared.taken(&copied);
                    self.write(&mut out, copied);
                }
                Next::Losses => self.tell(&mut out),
                Next::Nothing => break,
                Next::End => {
                    self.ended = true;
                    self.shared.close();
                    self.tell(&mut out);
                }
            }
        }
        (!out.is_empty()).then_some(out)
    }

    fn next_message(&self, wait: bool) -> Next {
        if self.left == 0 {
            return Next::End;
        }
        let received = match self.receiver.try_recv() {
            Err(TryRecvError::Empty) if self.shared.is_closed() => return Next::End,
            Err(TryRecvError::Empty) if !wait => return Next::Nothing,
            Err(TryRecvError::Empty) => self.receiver.recv_timeout(TELL_LOSSES),
            Err(TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
            Ok(message) => Ok(message),
        };
        match received {
            Ok(Message::Frame(copied)) => Next::Frame(copied),
            Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => Next::End,
            Ok(Message::Steps { .. }) | Err(RecvTimeoutError::Timeout) => Next::Losses,
        }
    }

    fn begin(&self, out: &mut Vec<u8>) {
        if self.spec.format == Format::Text {
            return;
        }
        let application = concat!("vswitch ", env!("CARGO_PKG_VERSION"));
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy();
        let reason = self.spec.reason.map_or_else(String::new, |reason| format!("dropped for {reason}"));
        pcapng::section(out, &Section { application, host: &host, comment: &reason });
    }

    fn write(&mut self, out: &mut Vec<u8>, mut copied: Copied) {
        let lost = self.shared.lost.swap(0, Relaxed);
        self.lost += lost;
        if self.spec.format == Format::Text {
            self.told = self.lost;
        }
        let interface = self.interface(out, &copied);
        self.interfaces[interface].frames += 1;
        let mut offload = copied.offload;
        let mut writer = Writer { out, spec: &self.spec, interface, name: &self.interfaces[interface].name, lost };
        let mut frame = std::mem::take(&mut copied.frame);
        if self.spec.super_frames == Super::Segments && offload != Offload::NONE {
            // A frame that came in was not checked yet.
            let checked = PacketMut::admit(&mut frame, offload).map(|packet| packet.view().offload()).ok();
            if let Some(checked) = checked {
                offload = checked;
                complete(&mut frame, &mut offload);
            }
            if checked.is_some() && offload.gso.is_some() {
                let Ok(packet) = PacketMut::admit(&mut frame, offload) else { return };
                if let Ok(segments) = segment(&packet.view()) {
                    self.scratch.resize(segments.max_len(), 0);
                    for index in 0..segments.count() {
                        if self.left == 0 {
                            return;
                        }
                        self.left -= 1;
                        let length = segments.write(index, &mut self.scratch);
                        writer.frame(&copied, &self.scratch[..length], length, Offload::NONE);
                    }
                    return;
                }
            }
        }
        self.left -= 1;
        writer.frame(&copied, &frame, copied.original_len, offload);
    }

    /// Where frames of this port and place are written, which is said when the first one comes.
    fn interface(&mut self, out: &mut Vec<u8>, copied: &Copied) -> usize {
        // The label is held below, so that its address stays its own.
        let key = (Arc::as_ptr(&copied.label).addr(), copied.place);
        if let Some(index) = self.known.get(&key) {
            return *index;
        }
        let index = self.interfaces.len();
        let label = Arc::clone(&copied.label);
        let name = format!("{}/{}", label.name, copied.place.name());
        if self.spec.format == Format::Pcapng {
            let snapshot = self.datapath.snapshot();
            let network = snapshot.network(label.network).map(|network| network.config.name.as_str());
            let what = match copied.place {
                Place::Up => "into the switch",
                Place::Drop => "dropped by the switch",
                Place::Down => "out of the switch",
            };
            let description = format!("{what}, network {}", network.unwrap_or("gone"));
            let addresses = label.addresses();
            let mac = label.identity.map(|identity| identity.mac);
            let filter = &self.spec.filter_text;
            pcapng::interface(
                out,
                &Interface { name: &name, description: &description, filter, mac, addresses: &addresses },
            );
            if label.identity.is_some() && !self.interfaces.iter().any(|seen| Arc::ptr_eq(&seen.label, &label)) {
                pcapng::names(out, &label.name, &addresses, mac);
            }
        }
        self.interfaces.push(Seen { label, name, frames: 0 });
        self.known.insert(key, index);
        index
    }

    /// Says how many frames there were, if that is news or the end.
    fn tell(&mut self, out: &mut Vec<u8>) {
        self.lost += self.shared.lost.swap(0, Relaxed);
        if self.lost == self.told && !self.ended {
            return;
        }
        if self.spec.format == Format::Text {
            if self.lost > self.told {
                let lost = self.lost - self.told;
                out.extend(format!("# {lost} frames were lost here: they came faster than they were read\n").bytes());
            }
        } else {
            let nanos = clock::wall_nanos();
            for (interface, seen) in (0..).zip(&self.interfaces) {
                // Which place a lost frame was at is not known: the first one has them all.
                let lost = if interface == 0 { self.lost } else { 0 };
                let received = seen.frames + lost;
                pcapng::statistics(out, &Statistics { interface, nanos, received, lost });
            }
        }
        self.told = self.lost;
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.shared.close();
        self.datapath.remove_tap(&self.shared);
    }
}

enum Next {
    Frame(Copied),
    /// A while without frames.
    Losses,
    Nothing,
    End,
}

/// Finishes a checksum that is no super-frame's.
fn complete(frame: &mut [u8], offload: &mut Offload) {
    if offload.gso.is_none() {
        complete_checksum(frame, offload);
    }
}

struct Writer<'w> {
    out: &'w mut Vec<u8>,
    spec: &'w CaptureSpec,
    interface: usize,
    name: &'w str,
    /// Frames that were lost before the next one that is written.
    lost: u64,
}

impl Writer<'_> {
    fn frame(&mut self, copied: &Copied, frame: &[u8], original_len: usize, offload: Offload) {
        let lost = std::mem::take(&mut self.lost);
        let told = copied.why.map(|why| format!("drop {why}"));
        if self.spec.format == Format::Text {
            return self.line(copied, frame, told.as_deref(), lost);
        }
        let direction = if copied.place == Place::Down { Direction::Out } else { Direction::In };
        let flags = Flags { direction, checksum_partial: offload.checksum.is_some(), segmented: offload.gso.is_some() };
        let record = Record {
            interface: u32::try_from(self.interface).unwrap_or(u32::MAX),
            nanos: copied.nanos,
            frame: &frame[..frame.len().min(self.spec.snap_len)],
            original_len,
            flags,
            id: copied.number,
            lost,
            dropped: copied.why.is_some(),
            comment: told.as_deref(),
        };
        pcapng::packet(self.out, &record);
    }

    fn line(&mut self, copied: &Copied, frame: &[u8], told: Option<&str>, lost: u64) {
        let mut line = String::new();
        if lost > 0 {
            let _ = writeln!(line, "# {lost} frames were lost here: they came faster than they were read");
        }
        let seconds = copied.nanos / 1_000_000_000 % 86_400;
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let micros = copied.nanos / 1000 % 1_000_000;
        let what = describe(frame);
        let told = told.map_or_else(String::new, |told| format!("  {told}"));
        let name = self.name;
        let number = copied.number;
        // Writing to a String cannot fail.
        let _ = writeln!(line, "{hours:02}:{minutes:02}:{seconds:02}.{micros:06}Z #{number} {name} {what}{told}");
        self.out.extend(line.bytes());
    }
}
