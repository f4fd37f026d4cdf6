//! `pasta`, which podman starts for each container of an ordinary user's, and rootlesskit for its namespace. Read first: passt(1).
//!
//! What carries the frames is a vswitchd of its own ([`crate::island`]), and the namespace gets what the host has: its address, its
//! routes, its interface's name ([`plan::mimic`]); or an endpoint on a network of the user's vswitchd (`--vswitch-network`).
//!
//! The program that was called ends when everything is there, and leaves one in the background ([`IN_BACKGROUND`]), which has
//! none of the caller's descriptors: callers read what it says to its end. That one ends with the namespace.

pub(crate) mod command;
mod inside;
mod options;
mod plan;
mod ports;
mod relay;
mod text;
mod upstream;
mod watch;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use vswitch_api::Client;
use vswitch_api::engine::{EngineAttach, EngineKey, EnginePorts};

pub(crate) use self::command::{INNER, OUTER};
use self::command::{Running, Waiting};
use self::options::{Options, Parsed, Target};
pub(crate) use self::relay::RELAY;
use self::relay::{Heard, Relay};
use self::watch::Netns;
use crate::island::Island;
use crate::{ENDING, daemon, descriptors, ended_by, original};

pub(crate) const NAME: &str = "pasta";

/// What this program is called by itself, to be `pasta` in the background.
pub(crate) const IN_BACKGROUND: &str = "pasta-in-background";

/// What the one in the background says when everything is there.
const READY: u8 = b'1';

/// Runs it.
pub(crate) fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let show = |text: &str| match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    };
    let options = match options::parse(&arguments) {
        Ok(Parsed::Help) => return show(text::HELP),
        Ok(Parsed::Version) => return show(text::VERSION),
        Ok(Parsed::Run(options)) => options,
        Err(sentence) => return fail(&anyhow::anyhow!(sentence)),
    };
    if let Err(why) = daemon::program() {
        return original::hand_over(NAME, &format!("{why:#}"), &arguments);
    }
    // One with a command is its command to whoever called.
    let stays = options.foreground || matches!(options.target, Target::Command(_));
    let done = if stays { run(*options, None) } else { start(&arguments) };
    done.unwrap_or_else(|error| fail(&error))
}

/// Runs the process that looks after ports in the namespace.
pub(crate) fn main_of_relay() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let user = arguments.next().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    let Ok(Parsed::Run(options)) = options::parse(&arguments) else { return ExitCode::FAILURE };
    relay::main(&options, Path::new(&user)).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// Runs what [`start`] has started.
pub(crate) fn main_in_background() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let done = || {
        let Ok(Parsed::Run(options)) = options::parse(&arguments) else { bail!("this is for {NAME} alone to call") };
        let [] = descriptors::take([]).context("cannot close what the caller has left open")?;
        // What is told the caller's terminal or its process group is none of this one's.
        let _ = rustix::process::setsid();
        let _ = rustix::thread::set_name(c"pasta");
        let ready = PipeWriter::from(io::stdout().as_fd().try_clone_to_owned()?);
        run(*options, Some(ready))
    };
    done().unwrap_or_else(|error| fail(&error))
}

/// As pasta says it: callers look for its name before what getopt_long(3) says.
fn fail(error: &anyhow::Error) -> ExitCode {
    // Nobody is there to be told.
    let _ = writeln!(io::stderr(), "{NAME}: {error:#}");
    ExitCode::FAILURE
}

/// Starts the one in the background, and waits until it is ready.
fn start(arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    let (mut ready, theirs) = io::pipe()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0(IN_BACKGROUND).args(arguments).stdin(Stdio::null()).stdout(theirs);
    let mut child = command.spawn().context("cannot start a process in the background")?;
    // Its end of the pipe is its own alone.
    drop(command);
    let mut said = [0];
    match ready.read(&mut said) {
        Ok(1) if said == [READY] => Ok(ExitCode::SUCCESS),
        _ => {
            let status = child.wait()?;
            // It has said why.
            std::process::exit(status.code().filter(|code| *code != 0).unwrap_or(1));
        }
    }
}

/// Does it, until it is told to end or the namespace is gone. `ready` hears when everything is there.
fn run(mut options: Options, ready: Option<PipeWriter>) -> anyhow::Result<ExitCode> {
    let pid_file = options.pid_file.as_deref().map(|path| create(path, "PID file")).transpose()?;
    let log = options.log_file.as_deref().map(|path| create(path, "log file")).transpose()?;
    let mut command = None;
    if let Target::Command(words) = &options.target {
        let waiting = Waiting::new(words)?;
        options.target = Target::Pid(i32::try_from(waiting.pid())?);
        command = Some(waiting);
    }
    let options = &options;
    let (netns, file) = Netns::open(&options.target, options.outlives_netns)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let place = Place::of(options, &netns)?;
    runtime.block_on(async {
        // Whoever ends it while it begins ends what it has started with it.
        let kinds = if command.is_some() { &ENDING[..2] } else { &ENDING };
        let told = ended_by(kinds)?;
        // A terminal's interrupt is for the command to take.
        let _interrupt = signal(SignalKind::interrupt())?;
        let mut place = place;
        let client = place.client.clone();
        let wish = place.wish.clone();
        let serve = async {
            client.attach_for_engine(&wish, file.as_fd()).await?;
            // What is held open does not go; the process that gets it ends with this one.
            let relay = match relay::is_needed(options) {
                true => Some(relay::start(options, file)?),
                false => {
                    drop(file);
                    None
                }
            };
            if let Some(mut file) = pid_file {
                file.set_len(0).context("cannot write the PID file")?;
                writeln!(file, "{}", std::process::id()).context("cannot write the PID file")?;
            }
            let_go(ready, log.as_ref()).context("cannot say that the network is ready")?;
            let mut running = command.map(Waiting::start).transpose()?;
            let code = tokio::select! {
                code = ended(&mut running) => code,
                () = netns.gone() => if running.is_some() { ended(&mut running).await } else { 0 },
                () = follow(&client, &wish.key, relay) => 0,
            };
            anyhow::Ok(ExitCode::from(code))
        };
        let done = tokio::select! {
            () = told => Ok(ExitCode::SUCCESS),
            () = place.ended() => Err(anyhow::anyhow!("vswitchd ended by itself")),
            served = serve => served,
        };
        place.leave().await;
        done
    })
}

/// Ends when there is a command no more, with what it ended with: at once where there was none.
async fn ended(running: &mut Option<Running>) -> u8 {
    match running {
        Some(running) => running.ended().await,
        None => std::future::pending().await,
    }
}

/// Lets those ports of the host lead in that are listened at inside; without end.
async fn follow(client: &Client, key: &EngineKey, relay: Option<(Relay, mpsc::Receiver<Heard>)>) {
    let Some((relay, mut heard)) = relay else { return std::future::pending().await };
    let mut leases = BTreeMap::new();
    while let Some(heard) = heard.recv().await {
        let wanted = heard.ports();
        leases.retain(|port, _| wanted.contains(port));
        for (port, protocol) in wanted {
            if leases.contains_key(&(port, protocol)) {
                continue;
            }
            let wish = EnginePorts {
                engine: key.engine.clone(),
                container: key.container.clone(),
                address: None,
                publish: vec![format!("{port}:{port}/{protocol}")],
            };
            // One that the host has itself, or may not have, leads nowhere, as with pasta.
            if let Ok(lease) = client.lease_for_engine(&wish).await {
                leases.insert((port, protocol), lease);
            }
        }
    }
    drop(relay);
    // It was killed; what is there already stays.
    std::future::pending::<()>().await;
}

/// What carries the frames.
struct Place {
    client: Client,
    wish: EngineAttach,
    /// A vswitchd of its own; otherwise it is the user's.
    island: Option<Island>,
}

impl Place {
    fn of(options: &Options, netns: &Netns) -> anyhow::Result<Place> {
        if let Some(network) = &options.network {
            let client = daemon::client()?;
            let wish = plan::join(options, network, &format!("pasta-{}", netns.inode()));
            return Ok(Place { client, wish, island: None });
        }
        if let Some(interface) = options.template.as_deref().filter(|name| !upstream::exists(name)) {
            bail!("invalid interface name {interface}: the host has none of this name");
        }
        let (v4, v6) = upstream::look(options.template.as_deref()).context("cannot see what the host has")?;
        let plan = plan::mimic(options, (v4.as_ref(), v6.as_ref())).map_err(anyhow::Error::msg)?;
        let (errors, theirs) = io::pipe()?;
        let island = Island::start(&["--uplink".to_owned(), plan.uplink], theirs.into());
        let said = pass_on(errors)?;
        if island.is_err() {
            // What it has said is on its way.
            let _ = said.join();
        }
        let island = island?;
        Ok(Place { client: island.client().clone(), wish: plan.attach, island: Some(island) })
    }

    /// Ends when a vswitchd of its own has ended by itself.
    async fn ended(&mut self) {
        match &mut self.island {
            Some(island) => island.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Takes the endpoint away that is on somebody else's network.
    async fn leave(self) {
        if self.island.is_none() {
            // It is gone by itself where the namespace is.
            let _ = self.client.detach_for_engine(&self.wish.key).await;
        }
    }
}

/// Lets what vswitchd says go wherever standard error does by then.
fn pass_on(mut errors: PipeReader) -> io::Result<JoinHandle<()>> {
    let pass = move || {
        let mut text = [0; 1024];
        while let Ok(length @ 1..) = errors.read(&mut text) {
            let _ = io::stderr().write_all(&text[..length]);
        }
    };
    std::thread::Builder::new().name("errors".to_owned()).spawn(pass)
}

/// What is there stays until there is something to write, which another one that runs may have written.
fn create(path: &Path, what: &str) -> anyhow::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    file.with_context(|| format!("couldn't open {what} {}", path.display()))
}

/// Says that everything is there, and gives up what the caller reads to its end.
fn let_go(ready: Option<PipeWriter>, log: Option<&File>) -> io::Result<()> {
    let Some(mut ready) = ready else { return Ok(()) };
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    if let Some(log) = log {
        log.set_len(0)?;
    }
    rustix::stdio::dup2_stderr(log.unwrap_or(&null))?;
    rustix::process::chdir("/")?;
    ready.write_all(&[READY])
}
