//! Worker threads: poll, receive a burst, process it, send it.
//!
//! A worker blocks only in its poll, which is edge-triggered: a source that became readable stays in the worker's own queues
//! until it was found empty. Sources take [`turns`], so that one that is never empty costs the others a bounded time: the
//! poll is looked at again when a budget is used up, and who has been idle is served first
//! (docs/decisions/0016-turns-and-budgets.md).
//!
//! Before it blocks, a worker looks a few more times (`Settings::spins`) and yields the core in between: waking a sleeping
//! thread costs several times the rest of a round trip. An idle switch uses no CPU: the looks end some 30 us after the
//! last frame (docs/decisions/0002-spin-before-sleep.md). A worker that is never idle yields it once in a while, too: the kernel
//! may give a core to another worker, with others' frames, at its next tick only.

mod turns;

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use vswitch_frame::{FrameBuf, PortId};

use crate::clock::Clock;
use crate::datapath::Datapath;
use crate::overlay::{Inbound, RxContext, Vtep, VtepId};
use crate::pipeline::Pipeline;
use crate::port::{Left, Port, Received};
use crate::supervise::OnEnd;
use crate::sys::burst::Burst;
use turns::{BUDGET, Served, SourceId, Tenure, Turns};

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
    /// Load the newest snapshot.
    Refresh(Sender<()>),
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

/// Commands that may wait in a mailbox; whoever has another one waits.
const MAILBOX: usize = 64;
/// The waker's token; ports have their index plus one, VTEPs theirs plus [`VTEPS`].
const WAKER: Token = Token(0);
/// Above every port's token.
const VTEPS: usize = 1 << 24;
/// Buffers for frames that the router makes during a burst: errors, questions, fragments.
pub const SPARE: usize = 64;

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
            turns: Turns::new(burst),
            time: 0,
            tenure: Tenure::default(),
            burst: Burst::new(burst),
            buffers: std::iter::repeat_with(FrameBuf::new).take(burst + SPARE).collect(),
            inbound: None,
            most: burst,
        };
        let thread = on_end.spawn(&format!("worker-{index}"), move || worker.run())?;
        Ok(Handle { mailbox, waker, thread: Some(thread) })
    }

    /// Puts a command into the mailbox, as soon as there is room. A worker that ended obeys none, and the channel for its
    /// answer is dropped.
    ///
    /// # Errors
    /// The command, when there is no room for so long: it is for the caller to keep, as nobody will obey it.
    pub fn post(&self, command: Command, patience: Duration) -> Result<(), Command> {
        match self.mailbox.send_timeout(command, patience) {
            Ok(()) => self.wake(),
            Err(SendTimeoutError::Timeout(command)) => return Err(command),
            Err(SendTimeoutError::Disconnected(_)) => {}
        }
        Ok(())
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake a worker");
        }
    }

    /// Ends the thread.
    pub fn stop(&mut self) {
        // A worker that ended has no mailbox any more.
        if self.mailbox.send(Command::Stop).is_ok() {
            self.wake();
        }
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
    /// Own sources that may have frames waiting.
    turns: Turns,
    /// When the last burst ended, or the poll said something after it.
    time: u64,
    /// Its time on the core.
    tenure: Tenure,
    burst: Burst,
    /// Those of a burst, and behind them [`SPARE`] for frames that the router makes.
    buffers: Vec<FrameBuf>,
    /// For VTEPs; made when first needed.
    inbound: Option<Box<Inbound>>,
    /// Most frames of a burst.
    most: usize,
}

impl Worker {
    /// Ends when it is told to, or with what was wrong with the poll.
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        let spins = self.pipeline.settings().spins;
        let mut looks = spins;
        loop {
            let idle = self.turns.is_empty();
            let sleeps = idle && looks >= spins && !self.look_again();
            let timeout = if sleeps { None } else { Some(Duration::ZERO) };
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(io::Error::other(format!("its poll failed: {error}"))),
            }
            if events.is_empty() && self.turns.is_empty() {
                looks += 1;
                rustix::thread::sched_yield();
                continue;
            }
            self.time = self.clock.nanos();
            if sleeps || looks > 0 {
                self.tenure.begin(self.time);
            }
            looks = 0;
            for event in &events {
                match source_of(event.token()) {
                    Some(source) => self.turns.arrived(source, self.time),
                    None if self.obey() => {}
                    None => return Ok(()),
                }
            }
            self.take_turns();
            if self.tenure.is_over(self.time) {
                rustix::thread::sched_yield();
                self.tenure.begin(self.clock.nanos());
            }
        }
    }

    /// Serves every light source that waits, then heavy ones until a budget is used up.
    fn take_turns(&mut self) {
        let polled = self.time;
        for _ in 0..self.turns.light() {
            let Some((source, asks)) = self.turns.next_light() else { break };
            self.serve(source, asks);
        }
        while let Some((source, asks)) = self.turns.next_heavy() {
            self.serve(source, asks);
            if self.time.saturating_sub(polled) >= BUDGET {
                break;
            }
        }
        // While others keep the worker busy, nobody waits for it to be idle.
        if !self.turns.is_empty()
            && let Some((source, asks)) = self.turns.next_unsure()
        {
            self.serve(source, asks);
        }
    }

    /// Before the worker sleeps: asks the sources that may not have been emptied. Whether there was anything.
    fn look_again(&mut self) -> bool {
        let mut any = false;
        while let Some((source, asks)) = self.turns.next_unsure() {
            self.time = self.clock.nanos();
            any |= self.serve(source, asks);
        }
        any
    }

    /// Moves one burst of at most `asks` frames; whether there was anything.
    fn serve(&mut self, source: SourceId, asks: usize) -> bool {
        self.pipeline.refresh();
        let start = self.time;
        let received = match source {
            SourceId::Port(id) => self.serve_port(id, asks),
            SourceId::Vtep(id) => self.serve_vtep(id),
        };
        self.time = self.clock.nanos();
        match received {
            Ok(Received { frames, left }) => {
                self.turns.served(source, Served { frames, left, start, now: self.time });
                frames > 0
            }
            Err(error) => {
                tracing::debug!(?source, %error, "cannot receive");
                self.turns.failed(source);
                false
            }
        }
    }

    fn serve_port(&mut self, id: PortId, asks: usize) -> io::Result<Received> {
        let Some(port) = self.pipeline.port(id).filter(|port| port.worker == self.index) else { return Ok(NOTHING) };
        let received = port.receive(&mut self.burst, &mut self.buffers[..asks]);
        let received = received.inspect_err(|_| port.suspect.store(true, Relaxed))?;
        if received.frames > 0 {
            self.pipeline.process(&port, &mut self.buffers, received.frames, Clock::timestamp(self.time));
            self.pipeline.flush(&mut self.burst, &mut self.buffers);
        }
        Ok(received)
    }

    fn serve_vtep(&mut self, id: VtepId) -> io::Result<Received> {
        let Some(plan) = self.pipeline.vtep(id).filter(|plan| plan.vtep.worker == self.index) else {
            return Ok(NOTHING);
        };
        let rx = RxContext {
            pipeline: &mut self.pipeline,
            burst: &mut self.burst,
            buffers: &mut self.buffers,
            most: self.most,
            now: Clock::timestamp(self.time),
        };
        self.inbound.get_or_insert_default().serve(&plan, rx)
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
                        self.turns.forget(SourceId::Vtep(vtep.id));
                        self.forget(vtep.raw_fd());
                    }
                    reply(&done, ());
                }
                Command::LetGo(port, done) => {
                    if port.worker == self.index
                        && let Some(fd) = port.raw_fd()
                    {
                        self.turns.forget(SourceId::Port(port.id));
                        self.forget(fd);
                    }
                    reply(&done, ());
                }
                Command::Refresh(done) => reply(&done, ()),
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

/// Of a source that is gone.
const NOTHING: Received = Received { frames: 0, left: Left::Nothing };

/// Whom an event of the poll is about; `None`: the mailbox.
fn source_of(token: Token) -> Option<SourceId> {
    if let Some(index) = token.0.checked_sub(VTEPS) {
        return Some(SourceId::Vtep(VtepId::new(u16::try_from(index).unwrap_or(u16::MAX))));
    }
    let index = token.0.checked_sub(WAKER.0 + 1)?;
    Some(SourceId::Port(PortId::new(u32::try_from(index).unwrap_or(u32::MAX))))
}

/// Control waits for every answer; if it does not, it is gone.
fn reply<T>(to: &Sender<T>, value: T) {
    let _ = to.send(value);
}
