//! How the agent starts.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use rustix::{
    fs::FlockOperation,
    process::{Resource, Rlimit, getrlimit, set_child_subreaper, setrlimit},
};
use tokio::{net::unix::pipe, sync::mpsc};
use vswitch_switch::sys::descriptors::close_on_exec;

use super::{
    client::READY,
    foreign::{self, HelperSpawner},
    key::Key,
    network::Network,
    orders::{self, Orders},
    processes::{Processes, Settings},
    resolv::Mirror,
    server::{self, Agent},
    socket,
    survivors::{self, Survivor},
    user,
};
use crate::{private, sandbox::message::FIRST_FREE};

/// The hidden subcommand `agent`.
#[derive(Debug, Parser)]
#[command(name = "vswitchd agent")]
struct Args {
    /// Directory of the socket.
    #[arg(long, required_unless_present_any = ["helper_spawner", "foreign"])]
    state_dir: Option<PathBuf>,
    /// Take everything down when the connection to vswitchd ends.
    #[arg(long)]
    ephemeral: bool,
    /// Remove the directory in the end.
    #[arg(long)]
    temporary: bool,
    /// An interface of the host that may be opened as a way out.
    #[arg(long)]
    uplink: Vec<String>,
    /// Start helpers for foreign user namespaces.
    #[arg(long)]
    helper_spawner: bool,
    /// Be such a helper.
    #[arg(long)]
    foreign: bool,
}

/// `vswitchd agent ARGS`: runs the agent. Must be called before the process has a second thread.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(std::iter::once(OsString::from("vswitchd agent")).chain(args)) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    crate::log::begin_agent();
    if let Err(error) = close_on_exec(FIRST_FREE) {
        tracing::warn!("cannot close inherited descriptors: {error}");
    }
    let ran = match args.state_dir {
        _ if args.helper_spawner => foreign::spawner_main().map_err(|error| error.to_string()),
        _ if args.foreign => foreign::helper_main().map_err(|error| error.to_string()),
        Some(state_dir) => {
            let ran = run(&state_dir, args.ephemeral, args.uplink);
            if args.temporary
                && let Err(error) = fs::remove_dir_all(&state_dir)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!("{} stays: {error}", state_dir.display());
            }
            ran
        }
        None => Err("the agent needs --state-dir".to_owned()),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            tracing::error!("{sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(state_dir: &Path, ephemeral: bool, uplinks: Vec<String>) -> Result<(), String> {
    match prepare(state_dir, ephemeral) {
        Ok(prepared) => prepared.serve(uplinks),
        Err(sentence) => {
            // To vswitchd, which waits for it.
            let _ = io::stdout().write_all(sentence.as_bytes());
            Err(sentence)
        }
    }
}

/// All that is done while there is one thread.
struct Prepared {
    state_dir: PathBuf,
    listener: OwnedFd,
    key: Key,
    spawner: Option<HelperSpawner>,
    settings: Settings,
    rootless: bool,
    survivors: Vec<Survivor>,
    /// Held while the agent lives.
    _lock: File,
}

fn prepare(state_dir: &Path, ephemeral: bool) -> Result<Prepared, String> {
    let failed = |what: &str, error: io::Error| format!("cannot {what} in {}: {error}", state_dir.display());
    // Neither the terminal nor the session of vswitchd is the agent's. Fails only for a leader of a session.
    let _ = rustix::process::setsid();
    let lock = lock(state_dir).map_err(|error| failed("lock the agent's file", error))?;
    let limit = getrlimit(Resource::Nofile);
    // A descriptor for each sandbox, three for each process.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let mut survivors = survivors::find(state_dir);
    let open_files = raised.ok().and(limit.current);
    let rootless = user::is_ordinary();
    let settings = Settings { ephemeral, open_files, state_dir: state_dir.to_owned(), homes: user::homes() };
    let spawner = if rootless {
        // From outside of the agent's user namespace, so before it is entered.
        let spawner = HelperSpawner::start().map_err(|error| failed("start the agent's helper spawner", error))?;
        // Where the containers are that survived an earlier agent.
        let joined = survivors.first().is_some_and(|survivor| {
            let joined = user::join(survivor.pid);
            joined.inspect_err(|error| tracing::error!("cannot reach the surviving containers: {error}")).is_ok()
        });
        if !joined {
            survivors.clear();
            user::enter()?;
        }
        Some(spawner)
    } else {
        // The parents of containers in user namespaces of their own end at once.
        if let Err(error) = set_child_subreaper(Some(rustix::process::getpid())) {
            tracing::warn!("cannot inherit processes: {error}");
        }
        None
    };
    let key = Key::make(state_dir).map_err(|error| failed("write the agent's key", error))?;
    let listener = socket::listen(state_dir).map_err(|error| failed("listen", error))?;
    Ok(Prepared { state_dir: state_dir.to_owned(), listener, key, spawner, settings, rootless, survivors, _lock: lock })
}

impl Prepared {
    fn serve(self, uplinks: Vec<String>) -> Result<(), String> {
        let Prepared { state_dir, listener, key, spawner, settings, rootless, survivors, _lock } = self;
        let say = |text: &str| {
            let mut stdout = io::stdout();
            let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
            // vswitchd reads until the end.
            let null = File::options().write(true).open("/dev/null");
            let _ = null.map(rustix::stdio::dup2_stdout);
        };
        let (lost, lost_endpoints) = mpsc::unbounded_channel();
        let network = Network::start(lost.clone()).map_err(|error| {
            let sentence = match error.kind() {
                io::ErrorKind::PermissionDenied if rootless => user::forbidden(&error),
                _ => format!("cannot make a network namespace: {error}"),
            };
            say(&sentence);
            sentence
        })?;
        let ephemeral = settings.ephemeral;
        let processes = Processes::new(settings);
        processes.data().finish_removals();
        let agent = Agent::new(network, processes, spawner, lost, rootless, ephemeral)
            .with_uplinks(uplinks)
            .with_key(key)
            .with_orders(Orders::of(&state_dir));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let served = runtime.block_on(async {
            let listener = server::Listener::new(listener)?;
            agent.adopt(survivors).await;
            Mirror::make(&state_dir).follow()?;
            let starter = ephemeral.then(starter).transpose()?;
            say(READY);
            server::serve(agent, Some(listener), None, starter, lost_endpoints).await
        });
        let _ = fs::remove_file(state_dir.join(socket::NAME));
        let _ = fs::remove_dir(orders::folder(&state_dir));
        served.map_err(|error: io::Error| error.to_string())
    }
}

/// The pipe that ends with the vswitchd that started this agent. What the agent starts does not inherit it.
fn starter() -> io::Result<pipe::Receiver> {
    let held = rustix::io::fcntl_dupfd_cloexec(io::stdin(), FIRST_FREE.cast_signed())?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    pipe::Receiver::from_owned_fd(held)
}

/// One agent for a state directory.
fn lock(state_dir: &Path) -> io::Result<File> {
    let file = private::append_to(&state_dir.join("agent.lock"))?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}
