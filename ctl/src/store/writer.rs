//! The thread that writes the store, and the patience of those who wait for it.
//!
//! Whoever changes something keeps others from changing anything meanwhile (`controller/desired.rs`). So nobody waits longer than
//! a client would: a change that the disk does not take in time is refused, and undone if the disk takes it after all. Until the
//! disk has answered, further changes are refused at once, and everything that only looks goes on.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{Otherwise, Shared, tables::Writes};

/// The thread, once there is something to write: vswitchd confines itself before it has threads.
#[derive(Debug)]
pub(super) struct Writer {
    thread: Mutex<Option<Thread>>,
    /// The disk does not answer.
    stuck: Arc<AtomicBool>,
    /// Of whoever waits.
    pub(super) patience: Duration,
}

impl Default for Writer {
    fn default() -> Writer {
        Writer { thread: Mutex::default(), stuck: Arc::default(), patience: PATIENCE }
    }
}

#[derive(Debug)]
struct Thread {
    jobs: Sender<Job>,
    handle: JoinHandle<()>,
}

struct Job {
    change: Writes,
    otherwise: Otherwise,
    given_up: Arc<Mutex<bool>>,
    answer: Sender<Result<(), String>>,
}

impl Writer {
    pub(super) fn write(&self, shared: &Arc<Shared>, change: Writes, otherwise: Otherwise) -> Result<(), String> {
        let refuse = |change: Writes| {
            let mut book = shared.book();
            SILENT.clone_into(&mut book.trouble);
            if otherwise == Otherwise::Owe {
                book.owed.extend(change);
            }
            Err(SILENT.to_owned())
        };
        if self.stuck.load(SeqCst) {
            return refuse(change);
        }
        let (given_up, (answer, answered)) = (Arc::<Mutex<bool>>::default(), channel());
        let job = Job { change: change.clone(), otherwise, given_up: Arc::clone(&given_up), answer };
        self.send(shared, job)?;
        if let Ok(result) = answered.recv_timeout(self.patience) {
            return result;
        }
        let mut given_up = lock(&given_up);
        // It may have come just now.
        if let Ok(result) = answered.try_recv() {
            return result;
        }
        *given_up = true;
        self.stuck.store(true, SeqCst);
        tracing::error!("the store {} cannot be written: {SILENT}", shared.path.display());
        refuse(change)
    }

    fn send(&self, shared: &Arc<Shared>, job: Job) -> Result<(), String> {
        let mut held = lock(&self.thread);
        let thread = match &mut *held {
            Some(thread) => thread,
            none => none.insert(start(Arc::clone(shared), Arc::clone(&self.stuck))?),
        };
        thread.jobs.send(job).map_err(|_| "the thread that writes it has ended; restart vswitchd".to_owned())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // Whoever opens the store next finds it closed, unless that would take for ever.
        if let Some(Thread { jobs, handle }) = thread
            && !self.stuck.load(SeqCst)
        {
            drop(jobs);
            let _ = handle.join();
        }
    }
}

fn start(shared: Arc<Shared>, stuck: Arc<AtomicBool>) -> Result<Thread, String> {
    let (jobs, receiver) = channel();
    let thread = thread::Builder::new().name("store".to_owned()).spawn(move || run(&shared, &stuck, &receiver));
    Ok(Thread { jobs, handle: thread.map_err(|error| format!("cannot start a thread: {error}"))? })
}

fn run(shared: &Shared, stuck: &AtomicBool, jobs: &Receiver<Job>) {
    for Job { change, otherwise, given_up, answer } in jobs {
        let abandoned = *lock(&given_up);
        if !abandoned {
            let (result, before) = shared.write(&change, otherwise);
            let given_up = lock(&given_up);
            if *given_up {
                shared.end_refused(&change, otherwise, before);
            } else {
                // Whoever waits holds the other end until it has been told or has given up.
                let _ = answer.send(result);
            }
        }
        if stuck.swap(false, SeqCst) {
            tracing::info!("the store {} can be written again", shared.path.display());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of whoever waits for the disk: less than that of clients.
const PATIENCE: Duration = Duration::from_secs(10);

const SILENT: &str = "the disk does not answer";
