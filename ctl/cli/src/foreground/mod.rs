//! A process that has the caller's standard streams, or a terminal of its own that mirrors the caller's.
//!
//! Without a terminal the process gets our very descriptors, so nothing of its input or output passes through us; we
//! forward signals. With one, we make a pty, hand over its subordinate side and carry bytes between it and our
//! terminal, which is in raw mode meanwhile, so that Ctrl-C and the like reach the process as keys.
//!
//! With `-i -t` the agent keeps the terminal instead, and we are connected with it (`attached`): it can be left and come back to.

mod attached;
mod signals;
mod terminal;

use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use vswitch_api::client::{Session, Streams};
use vswitch_api::container::ExecRequest;
use vswitch_api::stdio::StdioEvent;
use vswitch_api::{Client, ClientError};

use crate::{failure, output};
pub(crate) use attached::{Attachment, LeaveArgs, attach};
use signals::Signals;
use terminal::Terminal;
pub(crate) use terminal::TtyArgs;

/// This many requests to end mean it (Docker's number).
const PATIENCE: u32 = 3;
/// How long a daemon may be away before we give up on the container's exit status.
const RESTART_TIME: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// What to bring to the foreground.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Job<'a> {
    /// Start this created container.
    Start(&'a str),
    /// Run one more process in this container.
    Exec(&'a str, &'a ExecRequest),
}

/// Run the job to its end; its exit status.
pub(crate) async fn run(client: &Client, job: Job<'_>, tty: bool) -> anyhow::Result<ExitCode> {
    // Listen before anything runs, so that no signal ends us in between.
    let mut signals = Signals::listen()?;
    let mut terminal = tty.then(Terminal::open).transpose()?;
    let mut session = match &terminal {
        Some(terminal) => job.open(client, Streams::all(terminal.subordinate()?)).await?,
        None => {
            let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
            let streams = Streams { stdin: stdin.as_fd(), stdout: stdout.as_fd(), stderr: stderr.as_fd() };
            job.open(client, streams).await?
        }
    };
    if let Some(terminal) = &mut terminal {
        terminal.begin()?;
    }
    let end = follow(client, job, &mut session, &mut signals, terminal.as_ref()).await;
    if let Some(terminal) = terminal {
        terminal.end().await;
    }
    Ok(match end? {
        End::Status(status) => exit_code(status),
        End::Failed { message, exit_code: status } => {
            output::complain(&message);
            exit_code(status)
        }
    })
}

/// How it ended, as far as we are concerned.
enum End {
    Status(i32),
    Failed { message: String, exit_code: i32 },
}

async fn follow(
    client: &Client,
    job: Job<'_>,
    session: &mut Session,
    signals: &mut Signals,
    terminal: Option<&Terminal>,
) -> Result<End, ClientError> {
    let mut process = None;
    let mut asked_to_end = 0;
    // Those that came while there was nobody yet to have them.
    let mut held = Vec::new();
    loop {
        tokio::select! {
            event = session.next() => match event? {
                Some(StdioEvent::Started { pid }) => {
                    process = Some(pid);
                    for signal in held.drain(..) {
                        job.forward(client, signal, pid).await;
                    }
                }
                Some(StdioEvent::Exited { exit_code }) => return Ok(End::Status(exit_code)),
                Some(StdioEvent::Failed { message, exit_code }) => return Ok(End::Failed { message, exit_code }),
                None => return job.outlive(client).await,
            },
            signal = signals.next() => match terminal {
                Some(terminal) if signal == Signal::WINCH => terminal.resize(),
                None if signal == Signal::WINCH => {}
                // The pty closes behind us, which is a hangup for the process.
                Some(_) => return Ok(End::Status(128 + signal.as_raw())),
                None => {
                    asked_to_end += u32::from(signal == Signal::INT || signal == Signal::TERM);
                    let signal = if asked_to_end >= PATIENCE { Signal::KILL } else { signal };
                    match process {
                        Some(process) => job.forward(client, signal, process).await,
                        None => held.push(signal),
                    }
                }
            },
        }
    }
}

impl Job<'_> {
    async fn open(self, client: &Client, streams: Streams<'_>) -> Result<Session, ClientError> {
        match self {
            Job::Start(container) => client.start_container_with(container, streams).await,
            Job::Exec(container, request) => client.exec_with(container, request, streams).await,
        }
    }

    /// Pass a signal on. A process that has just ended needs none.
    async fn forward(self, client: &Client, signal: Signal, process: u32) {
        match self {
            Job::Start(container) => {
                if let Err(error) = client.kill_container(container, signal.as_raw()).await {
                    output::note(&format!("warning: the signal was not passed on: {error}"));
                }
            }
            Job::Exec(..) => {
                let process = i32::try_from(process).ok().and_then(Pid::from_raw);
                let _ = process.map(|process| rustix::process::kill_process(process, signal));
            }
        }
    }

    /// The daemon went away. A container outlives it: ask the next daemon.
    async fn outlive(self, client: &Client) -> Result<End, ClientError> {
        let Job::Start(container) = self else {
            return Ok(End::Failed {
                message: "vswitchd went away before the command had ended; its exit status is not known".into(),
                exit_code: failure::DAEMON.into(),
            });
        };
        output::note("warning: vswitchd went away; the container lives on, waiting for vswitchd to come back");
        let deadline = crate::clock::instant() + RESTART_TIME;
        loop {
            match client.wait_container(container).await {
                Ok(status) => return Ok(End::Status(status.exit_code)),
                Err(refused @ ClientError::Refused { .. }) => return Err(refused),
                Err(error) if crate::clock::instant() >= deadline => return Err(error),
                Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }
}

/// A process's exit status as ours.
pub(crate) fn exit_code(status: i32) -> ExitCode {
    let [low, ..] = status.to_le_bytes();
    ExitCode::from(low)
}
