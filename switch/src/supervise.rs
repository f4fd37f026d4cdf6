//! Threads that the switch cannot do without. When one ends that nobody asked to, whoever started the switch is told at once:
//! without a worker half of the ports are dead, without the ticker nothing expires, and everything else looks well.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

/// A thread that ended without being asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadEnded {
    /// Its name.
    pub thread: String,
    /// What was in its way.
    pub reason: String,
}

impl fmt::Display for ThreadEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the thread {} ended: {}", self.thread, self.reason)
    }
}

/// Who is told of a thread's end, on that thread.
#[derive(Clone)]
pub struct OnEnd(Arc<dyn Fn(&ThreadEnded) + Send + Sync>);

impl OnEnd {
    /// Calls `told`.
    #[must_use]
    pub fn new(told: impl Fn(&ThreadEnded) + Send + Sync + 'static) -> OnEnd {
        OnEnd(Arc::new(told))
    }

    /// Writes it to the log, and nothing else.
    #[must_use]
    pub fn log() -> OnEnd {
        OnEnd::new(|ended| tracing::error!("{ended}"))
    }

    /// Starts a thread whose end is told unless it is `Ok`, which says that it was asked to.
    ///
    /// # Errors
    /// When there is no thread left.
    pub fn spawn(
        &self,
        name: &str,
        body: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let (told, thread) = (self.clone(), name.to_owned());
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // What the body held is dropped, and nobody looks at it again.
            let reason = match catch_unwind(AssertUnwindSafe(body)) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => format!("it panicked: {}", said(panic.as_ref())),
            };
            (told.0)(&ThreadEnded { thread, reason });
        })
    }
}

impl fmt::Debug for OnEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnEnd")
    }
}

/// What a panic says.
#[must_use]
pub fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

#[cfg(test)]
#[allow(clippy::panic, reason = "the threads of these tests fail by panicking")]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;

    /// A panic and an error are told, with the thread's name and what it said; an end that was asked for is not.
    #[test]
    fn ends_are_told() {
        let (sender, told) = unbounded();
        let on_end = OnEnd::new(move |ended| sender.send(ended.to_string()).unwrap());
        let spawn = |name, body: fn() -> io::Result<()>| on_end.spawn(name, body).unwrap().join().unwrap();
        spawn("one", || Err(io::Error::other("the poll failed")));
        spawn("two", || panic!("no such port: {}", 7));
        spawn("three", || Ok(()));
        drop(on_end);
        let told: Vec<String> = told.iter().collect();
        assert_eq!(
            told,
            ["the thread one ended: the poll failed", "the thread two ended: it panicked: no such port: 7"]
        );
    }
}
