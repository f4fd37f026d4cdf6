//! What vswitchd cannot do without. A thread or a task that panics, or whose poll fails, would leave half of it dead and the
//! rest saying that all is well; so its end is the process's end, with a sentence and exit code 1. Containers and their agent
//! go on, and the next vswitchd takes them up.

use std::future::Future;
use std::io::{self, Write};

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};
use vswitch_switch::supervise::{OnEnd, ThreadEnded, said};

/// For threads of vswitchd: their end is the process's.
#[must_use]
pub fn on_end() -> OnEnd {
    OnEnd::new(|ended| end_process(ended))
}

/// Starts a task whose panic is the process's end; it may be aborted, and may end.
pub fn spawn(runtime: &Handle, name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    spawn_fallible(runtime, name, async {
        task.await;
        Ok(())
    })
}

/// The same for a task that may fail, which is the process's end, too.
pub fn spawn_fallible(
    runtime: &Handle,
    name: &'static str,
    task: impl Future<Output = io::Result<()>> + Send + 'static,
) -> AbortHandle {
    let task = runtime.spawn(task);
    let abort = task.abort_handle();
    runtime.spawn(watch(name, task));
    abort
}

async fn watch(name: &'static str, task: JoinHandle<io::Result<()>>) {
    let reason = match task.await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => format!("it panicked: {}", said(&*panic)),
            // It was aborted.
            Err(_) => return,
        },
    };
    end_process(&ThreadEnded { thread: name.to_owned(), reason });
}

/// Nothing is put in order: what is half done may be what was wrong, and a start finds its way from anywhere.
fn end_process(ended: &ThreadEnded) -> ! {
    // Nobody may be left who reads it.
    let _ = writeln!(io::stderr(), "vswitchd: {ended}; containers go on running, start vswitchd again");
    std::process::exit(1)
}

#[cfg(test)]
#[allow(clippy::panic, reason = "what these tests start fails by panicking")]
mod tests {
    use super::*;
    use std::process::Command;

    /// Says to the test's own program, started once more, to do what ends it.
    const CHILD: &str = "VSWITCH_TEST_VITAL";

    /// What the test `name` of this program says, and its exit code, when it is told to die.
    fn died(name: &str) -> (String, Option<i32>) {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "--nocapture", &format!("vital::tests::{name}")]).env(CHILD, "1");
        let output = child.output().unwrap();
        (String::from_utf8(output.stderr).unwrap(), output.status.code())
    }

    /// The end of a thread ends the process with a sentence and exit code 1.
    #[test]
    fn a_thread() {
        if std::env::var_os(CHILD).is_some() {
            let thread = on_end().spawn("worker-0", || Err(io::Error::other("its poll failed: EBADF"))).unwrap();
            thread.join().unwrap();
            panic!("still here");
        }
        let (said, code) = died("a_thread");
        assert!(
            said.contains("vswitchd: the thread worker-0 ended: its poll failed: EBADF; containers go on"),
            "{said}"
        );
        assert_eq!(code, Some(1));
    }

    /// So does a task's panic; one that was aborted and one that has ended do not.
    #[test]
    fn a_task() {
        if std::env::var_os(CHILD).is_some() {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
            spawn(runtime.handle(), "aborted", std::future::pending()).abort();
            spawn(runtime.handle(), "ended", async {});
            spawn(runtime.handle(), "names", async { panic!("no zone") });
            runtime.block_on(std::future::pending::<()>());
        }
        let (said, code) = died("a_task");
        assert!(said.contains("vswitchd: the thread names ended: it panicked: no zone; containers go on"), "{said}");
        assert_eq!(code, Some(1));
    }

    /// So does the failure of a task that may fail.
    #[test]
    fn a_failing_task() {
        if std::env::var_os(CHILD).is_some() {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
            spawn_fallible(runtime.handle(), "control", async { Err(io::Error::other("EBADF")) });
            runtime.block_on(std::future::pending::<()>());
        }
        let (said, code) = died("a_failing_task");
        assert!(said.contains("vswitchd: the thread control ended: EBADF; containers go on"), "{said}");
        assert_eq!(code, Some(1));
    }
}
