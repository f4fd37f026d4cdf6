//! Where what waited on wires goes on: to the switch, or to its endpoint. One thread, which starts with the first wire.
//!
//! It sleeps until something is due by a timer of the kernel's, whose resolution the poll's own time limit has not; nothing is delivered
//! early. Everything that comes off wires is delivered here, so that one owner keeps the order.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};
use vswitch_frame::{FrameBuf, Offload, PortId};

use super::wires::{Direction, Injection, PortWire, Wires};
use crate::clock::Clock;
use crate::datapath::Datapath;
use crate::pipeline::{Pipeline, Wish};
use crate::shared::lock;
use crate::supervise::OnEnd;
use crate::sys::burst::Burst;
use crate::timer::Timer;
use crate::worker::SPARE;

/// What delivers.
pub struct Departures {
    datapath: Arc<Datapath>,
    pipeline: Pipeline,
    burst: Burst,
    buffers: Vec<FrameBuf>,
}

/// The running thread.
#[derive(Debug)]
pub(crate) struct DeparturesThread {
    wires: Arc<Wires>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

/// Frames of one direction that are delivered at once.
const BURST: usize = 64;
const WAKER: Token = Token(0);
const TIMER: Token = Token(1);
/// Very long times are as good as never.
const NEVER: Duration = Duration::from_secs(3600);

impl Departures {
    /// For this switch.
    #[must_use]
    pub fn new(datapath: &Arc<Datapath>) -> Departures {
        let pipeline = Pipeline::new(Arc::clone(datapath), datapath.workers + 2);
        let buffers = std::iter::repeat_with(FrameBuf::new).take(BURST + SPARE).collect();
        Departures { datapath: Arc::clone(datapath), pipeline, burst: Burst::new(BURST), buffers }
    }

    /// Delivers everything that is due, and says when something will be again.
    pub fn run(&mut self) -> Option<u64> {
        let wires = Arc::clone(self.datapath.wires());
        loop {
            self.pipeline.refresh();
            let now = wires.now();
            while let Some(injection) = next_injection(&wires) {
                self.inject(injection, now);
            }
            self.datapath.take_back(now);
            let all = self.datapath.all_wires();
            let mut more = false;
            for (port, wire) in &all {
                if wire.next_due() > now {
                    continue;
                }
                for direction in Direction::BOTH {
                    more |= self.deliver(*port, wire, direction, now) == BURST;
                }
            }
            more |= self.replay(now);
            let next = self.datapath.next_due();
            if next.is_none() {
                self.datapath.let_go_of_idle_wires();
            }
            if !more && next.is_none_or(|next| next > wires.now()) {
                return next;
            }
        }
    }

    fn inject(&mut self, injection: Injection, now: u64) {
        let Injection { port, direction, frame, only, done } = injection;
        self.pipeline.refresh();
        self.buffers[0].fill(&frame, Offload::NONE);
        let known = self.pipeline.port(port).and_then(|port| {
            let wish =
                Wish { port: &port, direction, now: Clock::timestamp(now), known: &|number| only.set_only(number) };
            self.pipeline.inject(&wish, &mut self.burst, &mut self.buffers)
        });
        // Whoever does not wait for it any more needs no answer.
        let _ = done.send(known);
    }

    /// Sends what files have now, each file a burst; says whether there may be more.
    fn replay(&mut self, now: u64) -> bool {
        let wires = Arc::clone(self.datapath.wires());
        let replays = lock(&wires.replays).clone();
        let mut more = false;
        for running in replays {
            if running.next_due().is_none_or(|due| due > now) {
                continue;
            }
            let Some(port) = self.pipeline.port(running.port) else {
                running.gone();
                continue;
            };
            let frames = running.take(now, BURST);
            more |= frames.len() == BURST;
            for (buffer, (_, frame)) in self.buffers.iter_mut().zip(&frames) {
                buffer.fill(frame, Offload::NONE);
            }
            self.pipeline.bring(&port, running.direction, &mut self.buffers, frames.len(), Clock::timestamp(now));
            self.pipeline.flush(&mut self.burst, &mut self.buffers);
            running.sent(&frames, wires.now());
        }
        more
    }

    fn deliver(&mut self, port: PortId, wire: &PortWire, direction: Direction, now: u64) -> usize {
        let (held, own) = wire.take(direction, now, BURST);
        let count = held.len();
        let numbers: Vec<u64> = held.iter().map(|held| held.number).chain(own.iter().map(|_| 0)).collect();
        let port = self.pipeline.port(port);
        for (buffer, held) in self.buffers.iter_mut().zip(held) {
            buffer.fill(&held.frame, held.offload);
        }
        for (buffer, own) in self.buffers[count..].iter_mut().zip(own) {
            buffer.fill(own.frame(), own.offload);
        }
        if let Some(port) = port.filter(|_| !numbers.is_empty()) {
            let total = numbers.len();
            match direction {
                Direction::Up => {
                    self.pipeline.process_off_wire(&port, &mut self.buffers, &numbers, Clock::timestamp(now));
                    self.pipeline.flush(&mut self.burst, &mut self.buffers);
                }
                Direction::Down => {
                    self.pipeline.send_off_wire(&port, &mut self.burst, &mut self.buffers[..total], &numbers);
                }
            }
            self.pipeline.show_losses(&port, &wire.delivered(direction, count));
        } else {
            wire.delivered(direction, count);
        }
        count
    }
}

fn next_injection(wires: &Wires) -> Option<Injection> {
    lock(&wires.injections).pop_front()
}

impl DeparturesThread {
    pub(crate) fn start(datapath: &Arc<Datapath>, on_end: &OnEnd) -> io::Result<DeparturesThread> {
        let mut poll = Poll::new()?;
        let timer = Timer::new(poll.registry(), TIMER)?;
        let wires = Arc::clone(datapath.wires());
        let waker = Waker::new(poll.registry(), WAKER)?;
        if wires.waker.set(waker).is_err() {
            return Err(io::Error::other("the wires have a thread already"));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, datapath, of_thread) = (Arc::clone(&stop), Arc::clone(datapath), Arc::clone(&wires));
        let body = move || {
            let mut departures = Departures::new(&datapath);
            let mut events = Events::with_capacity(4);
            while !stopped.load(SeqCst) {
                let next = departures.run().unwrap_or(u64::MAX);
                of_thread.armed.store(next, SeqCst);
                // Something may have come to wait before that was said.
                if datapath.next_due().is_some_and(|due| due < next) {
                    continue;
                }
                timer.set(Duration::from_nanos(next.saturating_sub(of_thread.now())).min(NEVER))?;
                match poll.poll(&mut events, None) {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                    _ => {}
                }
                timer.took_note();
            }
            Ok(())
        };
        let thread = on_end.spawn("wires", body)?;
        Ok(DeparturesThread { wires, stop, thread })
    }

    pub(crate) fn stop(self) {
        self.stop.store(true, SeqCst);
        lock(&self.wires.replays).iter().for_each(|running| running.end());
        self.wires.wake();
        // How it ended was told by itself.
        let _ = self.thread.join();
    }
}
