//! Worker threads: poll, receive a burst, process it, send it.
//!
//! A worker blocks only in its poll, which is edge-triggered: a port that became readable stays in the worker's own queue
//! until a receive comes back short, which says that it was drained. Ports in the queue take turns, one burst each.
//!
//! Before it blocks, a worker looks a few more times (`Settings::spins`) and yields the core in between: waking a sleeping
//! thread costs several times the rest of a round trip. An idle switch uses no CPU: the looks end some 30 us after the
//! last frame (docs/decisions/0002-spin-before-sleep.md).

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use vswitch_frame::{FrameBuf, PortId};

use crate::clock::Clock;
use crate::datapath::Datapath;
use crate::overlay::{Inbound, Vtep, VtepId, Works};
use crate::pipeline::Pipeline;
use crate::port::Port;
use crate::supervise::OnEnd;
use crate::sys::burst::Burst;

/// What control asks of a worker. Each is answered on the channel that comes with it, between two bursts.
#[derive(Debug)]
pub enum Command {
    /// Receive from this port.
    Watch(Arc<Port>, Sender<io::Result<()>>),
    /// Receive from this VTEP.
    WatchVtep(Arc<Vtep>, Sender<io::Result<()>>),
    /// Load the newest snapshot; stop watching this VTEP if it is one of the worker's own.
    LetGoVtep(Arc<Vtep>, Sender<()>),
    /// Load the newest snapshot; stop watching this port if it is one of the worker's own.
    LetGo(Arc<Port>, Sender<()>),
    /// End the thread.
    Stop,
}

/// Control's side of a worker.
#[derive(Debug)]
pub struct Handle {
    mailbox: Sender<Command>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

/// Commands that may wait in a mailbox.
const MAILBOX: usize = 1024;
/// The waker's token; ports have their index plus one, VTEPs theirs plus [`VTEPS`].
const WAKER: Token = Token(0);
/// Above every port's token.
const VTEPS: usize = 1 << 24;
/// Bursts between two looks at the poll while ports are busy.
const TURNS: usize = 16;
/// Buffers for frames that the router makes during a burst: errors, questions, fragments.
pub const SPARE: usize = 64;
/// The least number of frames asked for at once.
const MIN_BURST: usize = 8;

impl Handle {
    /// Starts worker `index`.
    ///
    /// # Errors
    /// When there is no poll or thread left.
    pub fn start(datapath: &Arc<Datapath>, index: usize, on_end: &OnEnd) -> io::Result<Handle> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let (mailbox, commands) = bounded(MAILBOX);
        let burst = datapath.settings.burst.clamp(1, usize::from(u16::MAX) - SPARE);
        let mut worker = Worker {
            index,
            clock: datapath.clock(),
            pipeline: Pipeline::new(Arc::clone(datapath), index),
            poll,
            commands,
            ready: VecDeque::new(),
            queued: [Vec::new(), Vec::new()],
            burst: Burst::new(burst),
            buffers: std::iter::repeat_with(FrameBuf::new).take(burst + SPARE).collect(),
            inbound: None,
            most: burst,
            asked: MIN_BURST.min(burst),
        };
        let thread = on_end.spawn(&format!("worker-{index}"), move || worker.run())?;
        Ok(Handle { mailbox, waker, thread: Some(thread) })
    }

    /// Puts a command into the mailbox.
    pub fn post(&self, command: Command) {
        // The worker ends only by Stop, after which control posts nothing.
        if self.mailbox.send(command).is_ok()
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "cannot wake a worker");
        }
    }

    /// Ends the thread.
    pub fn stop(&mut self) {
        self.post(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // How it ended was told by itself.
            let _ = thread.join();
        }
    }
}

struct Worker {
    index: usize,
    clock: Clock,
    pipeline: Pipeline,
    poll: Poll,
    commands: Receiver<Command>,
    /// Own sources that may have frames waiting, by token, in turn.
    ready: VecDeque<Token>,
    /// Which tokens are in `ready`: those of ports, those of VTEPs.
    queued: [Vec<bool>; 2],
    burst: Burst,
    /// Those of a burst, and behind them [`SPARE`] for frames that the router makes.
    buffers: Vec<FrameBuf>,
    /// For VTEPs; made when first needed.
    inbound: Option<Box<Inbound>>,
    /// Most frames of a burst.
    most: usize,
    /// How many frames the next receive asks for: twice what came last, so that a lone frame costs little.
    asked: usize,
}

impl Worker {
    /// Ends when it is told to, or with what was wrong with the poll.
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        let spins = self.pipeline.settings().spins;
        let mut looks = spins;
        loop {
            let sleeps = self.ready.is_empty() && looks >= spins;
            let timeout = if sleeps { None } else { Some(Duration::ZERO) };
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(io::Error::other(format!("its poll failed: {error}"))),
            }
            if events.is_empty() && self.ready.is_empty() {
                looks += 1;
                rustix::thread::sched_yield();
                continue;
            }
            looks = 0;
            for event in &events {
                if event.token() == WAKER {
                    if !self.obey() {
                        return Ok(());
                    }
                } else {
                    self.queue(event.token());
                }
            }
            for _ in 0..TURNS {
                let Some(source) = self.ready.pop_front() else { break };
                *self.queued(source) = false;
                self.pipeline.refresh();
                let more = match source.0.checked_sub(VTEPS) {
                    Some(index) => self.serve_vtep(VtepId::new(u16::try_from(index).unwrap_or(u16::MAX))),
                    None => self.serve(PortId::new(u32::try_from(source.0 - 1).unwrap_or(u32::MAX))),
                };
                if more {
                    self.queue(source);
                }
            }
        }
    }

    fn queue(&mut self, source: Token) {
        let queued = self.queued(source);
        if !*queued {
            *queued = true;
            self.ready.push_back(source);
        }
    }

    /// Whether a source is in `ready`.
    fn queued(&mut self, source: Token) -> &mut bool {
        let (kind, index) = source.0.checked_sub(VTEPS).map_or((0, source.0), |index| (1, index));
        let flags = &mut self.queued[kind];
        if flags.len() <= index {
            flags.resize(index + 1, false);
        }
        &mut flags[index]
    }

    /// Moves one burst; `true` when more may wait.
    fn serve(&mut self, id: PortId) -> bool {
        let Some(port) = self.pipeline.port(id).filter(|port| port.worker == self.index) else { return false };
        let asked = self.asked;
        let received = match port.receive(&mut self.burst, &mut self.buffers[..asked]) {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(port = %id, %error, "cannot receive");
                port.suspect.store(true, Relaxed);
                return false;
            }
        };
        self.asked = (2 * received).clamp(MIN_BURST.min(self.most), self.most);
        if received > 0 {
            self.pipeline.process(&port, &mut self.buffers, received, self.clock.now());
            self.pipeline.flush(&mut self.burst, &mut self.buffers);
        }
        received == asked
    }

    /// The same for a VTEP.
    fn serve_vtep(&mut self, id: VtepId) -> bool {
        let Some(plan) = self.pipeline.vtep(id).filter(|plan| plan.vtep.worker == self.index) else { return false };
        let works = Works {
            pipeline: &mut self.pipeline,
            burst: &mut self.burst,
            buffers: &mut self.buffers,
            most: self.most,
            now: self.clock.now(),
        };
        self.inbound.get_or_insert_default().serve(&plan, works).unwrap_or_else(|error| {
            tracing::debug!(vtep = %id, %error, "cannot receive");
            false
        })
    }

    /// Empties the mailbox; `false` when the thread shall end.
    fn obey(&mut self) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            self.pipeline.refresh();
            match command {
                Command::Watch(port, done) => {
                    let token = Token(port.id.index() + 1);
                    reply(&done, port.raw_fd().map_or(Ok(()), |fd| self.watch(fd, token)));
                }
                Command::WatchVtep(vtep, done) => {
                    reply(&done, self.watch(vtep.raw_fd(), Token(VTEPS + vtep.id.index())));
                }
                Command::LetGoVtep(vtep, done) => {
                    if vtep.worker == self.index {
                        self.forget(vtep.raw_fd());
                    }
                    reply(&done, ());
                }
                Command::LetGo(port, done) => {
                    if port.worker == self.index
                        && let Some(fd) = port.raw_fd()
                    {
                        self.forget(fd);
                    }
                    reply(&done, ());
                }
                Command::Stop => return false,
            }
        }
        true
    }

    fn watch(&self, fd: RawFd, token: Token) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)
    }

    fn forget(&self, fd: RawFd) {
        if let Err(error) = self.poll.registry().deregister(&mut SourceFd(&fd)) {
            tracing::debug!(%error, "cannot stop watching a descriptor");
        }
    }
}

/// Control waits for every answer; if it does not, it is gone.
fn reply<T>(to: &Sender<T>, value: T) {
    let _ = to.send(value);
}
