//! Container processes: starting, signalling, collecting.
//!
//! A namespace can be left or entered by a thread only, so each start has a thread of its own that moves, spawns and
//! ends. Children are collected one by one by number, never "any child", for the standard library waits for its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use rustix::{
    process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, pidfd_send_signal, waitpid},
    thread::{ThreadNameSpaceType, move_into_thread_name_spaces},
};
use tokio::sync::{Notify, oneshot};
use vswitch_switch::sys::{
    namespace::{Unshare, unshare},
    signals,
};

use super::{
    data::Data,
    files::{self, Files},
    freezer,
    network::{self, Answer},
    orders,
    orphans::Orphans,
    output::{Attach, Outputs, Shape},
    pidfd,
    protocol::{ExecSpec, Failure, FailureKind, ProcessSpec, Reply},
    survivors::{self, Survivor},
    users::{self, Spawned},
    wire::Channel,
};
use crate::logfile::Limit;
use crate::sandbox::{
    exit_code,
    message::{Control, InitOrder, StageOrder, Status, command, drive_stage, signal_to_init},
};

/// Every process that vswitchd asked for and has not forgotten.
#[derive(Debug)]
pub(crate) struct Processes {
    settings: Settings,
    table: Mutex<Table>,
    /// Folders that no container may see, beside those of the agent.
    hidden: Mutex<BTreeSet<PathBuf>>,
    outputs: Outputs,
    data: Data,
    /// A process of an earlier agent ended; the kernel tells that to its parent only, which this agent is not.
    orphan_ended: Arc<Notify>,
    orphans: Orphans,
}

/// What is the same for all.
#[derive(Debug)]
pub(crate) struct Settings {
    /// No container may see it, and their first processes name it.
    pub(crate) state_dir: PathBuf,
    /// Containers end when the agent does.
    pub(crate) ephemeral: bool,
    /// Soft limit of open descriptors.
    pub(crate) open_files: Option<u64>,
    /// Homes of the host's users.
    pub(crate) homes: Vec<PathBuf>,
}

#[derive(Debug, Default)]
struct Table {
    processes: BTreeMap<String, State>,
    /// Children that never became a process of vswitchd's, still to be collected.
    failed: Vec<Pid>,
}

#[derive(Debug)]
enum State {
    Starting,
    Running(Arc<Process>),
    Exited(i32),
}

#[derive(Debug)]
struct Process {
    pid: Pid,
    /// Of a child of an earlier agent. One of this agent keeps its number until it is collected, and there may be thousands.
    orphan: Option<OwnedFd>,
    /// vswitchd knows that it runs, so that it may hear of its end.
    announced: std::sync::atomic::AtomicBool,
    /// Of a container's first process.
    init: Option<Init>,
}

#[derive(Debug)]
struct Init {
    /// As long as it is to hear of vswitchd, or of the end of this agent.
    channel: Mutex<Option<Channel>>,
    /// Id of the sandbox whose network namespace it has; `None`: the host's, which an agent may not be able to enter.
    sandbox: Option<String>,
    /// What /etc/hosts and /etc/resolv.conf were written to be; not known of one that an earlier agent started.
    files: Mutex<Option<Files>>,
}

impl Processes {
    /// None yet.
    pub(crate) fn new(settings: Settings) -> Processes {
        Processes {
            data: Data::of(&settings.state_dir),
            settings,
            table: Mutex::default(),
            outputs: Outputs::default(),
            hidden: Mutex::default(),
            orphan_ended: Arc::default(),
            orphans: Orphans::default(),
        }
    }

    /// Volumes, and what containers change.
    pub(crate) fn data(&self) -> &Data {
        &self.data
    }

    /// Hides folders from the containers that are started from now on; those that were named before stay hidden.
    pub(crate) fn hide(&self, folders: Vec<PathBuf>) -> Answer {
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner).extend(folders);
        DONE
    }

    fn hidden(&self) -> Vec<PathBuf> {
        let more = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        let own = [self.settings.state_dir.clone(), orders::folder(&self.settings.state_dir)];
        own.into_iter().chain(more.iter().cloned()).collect()
    }

    /// Starts a container in a network namespace (`None`: the host's network), and in the user namespace that it belongs to
    /// if that is not the agent's.
    pub(crate) async fn start(
        &self,
        id: &str,
        spec: ProcessSpec,
        netns: Option<OwnedFd>,
        owner: Option<(u32, u32)>,
        streams: Vec<OwnedFd>,
    ) -> Answer {
        self.reserve(id)?;
        let made = streams.is_empty();
        let log = spec.log.as_deref().map(|log| (Path::new(log), spec.log_limit));
        let shape = Shape { tty: spec.tty, input: spec.open_stdin, input_once: spec.stdin_once };
        let streams = match self.streams(id, streams, Some((shape, log))) {
            Ok(streams) => streams,
            Err(failure) => return self.settle(id, Err(failure)),
        };
        let (spec, layer) = match self.data.prepare(id, spec, owner) {
            Ok(prepared) => prepared,
            Err(failure) => return self.settle(id, Err(failure)),
        };
        let order = InitOrder {
            spec,
            hidden: self.hidden(),
            data: self.data.folder().to_owned(),
            layer,
            homes: self.settings.homes.clone(),
            mounted: owner.is_some(),
            ephemeral: self.settings.ephemeral,
            open_files: self.settings.open_files,
        };
        let sandbox = order.spec.sandbox.clone();
        let (hosts, resolv_conf) = (order.spec.etc_hosts.clone(), order.spec.etc_resolv_conf.clone());
        let files = hosts.zip(resolv_conf).map(|(hosts, resolv_conf)| Files { hosts, resolv_conf });
        let arguments = survivors::arguments(&self.settings.state_dir, id, sandbox.as_deref());
        let started = async {
            let (spawned, stage) = match (&netns, owner) {
                (Some(netns), Some(_)) => {
                    let (spawned, stage) = in_time(users::start_init(&order, arguments, netns, &streams[0])).await?;
                    (spawned, Some(stage))
                }
                _ => (spawn_container(netns, arguments).await?, None),
            };
            if let Some(stage) = stage
                && let Err(failure) = in_time(stage.mount(&spawned)).await
            {
                return Err(self.abandon(spawned.0, failure));
            }
            if let Some(owner) = owner {
                users::give(&streams, owner, made);
            }
            let (pid, _, socket) = spawned;
            match in_time(drive_init(socket, &order, streams)).await {
                Ok(channel) => {
                    let init = Some(Init { channel: Mutex::new(Some(channel)), sandbox, files: Mutex::new(files) });
                    Ok(Process { pid, orphan: None, announced: false.into(), init })
                }
                Err(failure) => Err(self.abandon(pid, failure)),
            }
        };
        self.settle(id, started.await)
    }

    /// Starts one more process in a container.
    pub(crate) async fn exec(
        &self,
        id: &str,
        container: &str,
        exec: ExecSpec,
        streams: Vec<OwnedFd>,
        attach: Option<Attach>,
    ) -> Answer {
        let failed = |error: std::io::Error| Failure::io("attach a client", &error);
        let client = attach.map(|attach| self.outputs.attach(id, attach, false)).transpose().map_err(failed)?;
        let input = attach.is_some_and(|attach| attach.input);
        let made = streams.is_empty();
        let shape = (client.is_some() || exec.tty).then_some(Shape { tty: exec.tty, input, input_once: true });
        let streams = self.streams(id, streams, shape.map(|shape| (shape, None)))?;
        let inside = self.running(container).filter(|process| process.init.is_some());
        let inside = inside.ok_or_else(|| Failure::no_process(container))?;
        self.reserve(id)?;
        // The host's network an agent may not be able to enter, and need not.
        let network = inside.init.as_ref().is_some_and(|init| init.sandbox.is_some());
        let owner = users::owner_inside(inside.pid).map_err(|error| Failure::io("enter the container", &error));
        let order =
            StageOrder { exec, open_files: self.settings.open_files, network, users: matches!(owner, Ok(Some(_))) };
        let gone = Failure::no_process(container);
        let first = self.descriptor(container, &inside).and_then(|first| Ok((first.try_clone()?, first)));
        let spawned = on_thread(move || {
            // The rest is entered by the stage itself, since its program is none of the container's.
            let entered = first.and_then(|(first, copy)| {
                move_into_thread_name_spaces(first.as_fd(), ThreadNameSpaceType::PROCESS_ID)?;
                Ok(copy)
            });
            let first = entered.map_err(|error| match error.raw_os_error() {
                Some(number) if number == rustix::io::Errno::SRCH.raw_os_error() => gone,
                _ => Failure::io("enter the container", &error),
            })?;
            Ok((spawn(&["sandbox-init", "--exec"].map(OsString::from))?, first))
        });
        let started = async {
            if let Some(owner) = owner? {
                users::give(&streams, owner, made);
            }
            let ((pid, _, socket), first) = spawned.await?;
            match in_time(drive_stage(socket, &order, streams, Some(first.as_fd()))).await {
                Ok(()) => Ok(Process { pid, orphan: None, announced: false.into(), init: None }),
                Err(failure) => Err(self.abandon(pid, failure)),
            }
        };
        let started = started.await;
        if started.is_err() {
            self.outputs.finish(id).await;
        }
        let (reply, _) = self.settle(id, started)?;
        Ok((reply, client.into_iter().collect()))
    }

    /// Has a client take part in the streams of a container, now or when it begins.
    pub(crate) fn attach(&self, id: &str, attach: Attach) -> Answer {
        let begun = matches!(self.table().processes.get(id), Some(State::Running(_)));
        let client = self.outputs.attach(id, attach, begun).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::new(
                FailureKind::Gone,
                "the container's streams are those of the client that started it, so nobody else can attach; start it in the \
                 background",
            ),
            _ => Failure::io("attach a client", &error),
        })?;
        Ok((Reply::Attached, vec![client]))
    }

    /// Holds all processes of a container still, or lets them go on.
    pub(crate) async fn freeze(&self, id: &str, frozen: bool) -> Answer {
        let process = self.running(id).filter(|process| process.init.is_some());
        let process = process.ok_or_else(|| Failure::no_process(id))?;
        let done = freezer::freeze(number(process.pid), frozen).await;
        if done.is_err() && frozen {
            let _ = freezer::freeze(number(process.pid), false).await;
        }
        done.map_err(|error| Failure::io("hold the container's processes still", &error))?;
        DONE
    }

    /// Changes the size of a terminal.
    pub(crate) fn resize(&self, id: &str, size: (u16, u16)) -> Answer {
        let resized = self.outputs.resize(id, size);
        resized.map_err(|_| Failure::new(FailureKind::Gone, "the process has no terminal of vswitchd's"))?;
        DONE
    }

    /// Lets go of the clients that wait for a process that will not begin.
    pub(crate) fn give_up(&self, id: &str) {
        self.outputs.give_up(id);
    }

    /// Takes over a process that an earlier agent started.
    pub(crate) fn adopt(&self, survivor: Survivor) {
        let Survivor { id, pid: number, pidfd, sandbox } = survivor;
        let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) else { return };
        let init = Some(Init { channel: Mutex::default(), sandbox, files: Mutex::default() });
        if let Err(error) = self.orphans.watch(&pidfd, &self.orphan_ended) {
            tracing::error!("the end of process {number} will not be noticed: {error}");
        }
        let process = Process { pid, orphan: Some(pidfd), announced: true.into(), init };
        self.table().processes.insert(id, State::Running(Arc::new(process)));
    }

    /// Waits until a process of an earlier agent has ended.
    pub(crate) async fn orphan_ended(&self) {
        self.orphan_ended.notified().await;
    }

    /// Tells that vswitchd has been told that a process runs. From here on a container outlives its agent.
    pub(crate) async fn announce(&self, id: &str) {
        let Some(process) = self.running(id) else { return };
        process.announced.store(true, std::sync::atomic::Ordering::Relaxed);
        let Some(init) = &process.init else { return };
        let held = || init.channel.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(channel) = held().take() else { return };
        if let Err(error) = channel.send(&Control::Announced, &[]).await {
            tracing::debug!("process {id} has ended already: {error}");
        }
        // From now on only an ephemeral one listens, for the end of this agent.
        if self.settings.ephemeral {
            *held() = Some(channel);
        }
    }

    /// Sends a signal; one that ended already needs none.
    pub(crate) async fn signal(&self, id: &str, number: i32) -> Answer {
        if Signal::from_named_raw(number).is_none() {
            return Err(Failure::other(format!("there is no signal {number}; name one between 1 and 31")));
        }
        let process = match self.table().processes.get(id) {
            Some(State::Running(process)) => Arc::clone(process),
            Some(_) => return DONE,
            None => return Err(Failure::no_process(id)),
        };
        // A container's init hands on what it is sent, some of it by another number.
        let number = if process.init.is_some() { signal_to_init(number) } else { number };
        match self.descriptor(id, &process).and_then(|pidfd| signals::send(pidfd, number)) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => DONE,
            Err(error) => Err(Failure::io("send the signal", &error)),
            Ok(()) => DONE,
        }
    }

    /// Replaces the text of a running container's files in /etc.
    pub(crate) fn replace_files(&self, id: &str, hosts: String, resolv_conf: String) -> Answer {
        let process = self.running(id).ok_or_else(|| Failure::no_process(id))?;
        let Some(init) = &process.init else { return Err(Failure::no_process(id)) };
        let new = Files { hosts, resolv_conf };
        let mut last = init.files.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != Some(&new) {
            let pidfd = self.descriptor(id, &process).map_err(|_| Failure::no_process(id))?;
            let alive = || !pidfd::ended(&pidfd);
            let replaced = files::replace(number(process.pid), last.as_ref(), &new, alive);
            replaced.map_err(|error| Failure::io("replace the container's own /etc files", &error))?;
            *last = Some(new);
        }
        DONE
    }

    /// Goes on with the output of a container that an earlier agent started.
    pub(crate) fn resume_output(&self, id: &str, log: &str, limit: Limit) -> Answer {
        let resumed = self.outputs.resume(id, Path::new(log), limit);
        resumed.map_err(|error| Failure::io("go on with the container's output", &error))?;
        DONE
    }

    /// Waits until what an ended process wrote can be read.
    pub(crate) async fn finish_output(&self, id: &str) {
        self.outputs.finish(id).await;
    }

    /// Forgets an ended process.
    pub(crate) fn forget(&self, id: &str) -> Answer {
        let mut table = self.table();
        if let Some(State::Exited(_)) = table.processes.get(id) {
            table.processes.remove(id);
        }
        DONE
    }

    /// Ids and process numbers of those that run.
    pub(crate) fn list_running(&self) -> Vec<(String, u32)> {
        let table = self.table();
        let running = table.processes.iter().filter_map(|(id, state)| match state {
            State::Running(process) => Some((id.clone(), number(process.pid))),
            _ => None,
        });
        running.collect()
    }

    /// Ids and exit statuses of those that ended.
    pub(crate) fn list_exited(&self) -> Vec<(String, i32)> {
        let table = self.table();
        let exited = table.processes.iter().filter_map(|(id, state)| match state {
            State::Exited(code) => Some((id.clone(), *code)),
            _ => None,
        });
        exited.collect()
    }

    /// Collects children that ended; returns those that vswitchd should hear of.
    pub(crate) fn reap(&self) -> Vec<(String, i32)> {
        let mut table = self.table();
        table.failed.retain(|&pid| matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None)));
        let mut ended = Vec::new();
        for (id, state) in &mut table.processes {
            let State::Running(process) = state else { continue };
            if !process.announced.load(std::sync::atomic::Ordering::Relaxed) {
                continue;
            }
            if let Some(code) = process.collect() {
                *state = State::Exited(code);
                ended.push((id.clone(), code));
            }
        }
        ended
    }

    /// Kills every process and waits until they are gone.
    pub(crate) async fn clear(&self) -> Result<(), Failure> {
        for _ in 0..PATIENCE.0 {
            {
                let mut table = self.table();
                table.processes.retain(|_, state| match state {
                    State::Running(process) => {
                        process.kill();
                        process.collect().is_none()
                    }
                    State::Starting => true,
                    State::Exited(_) => false,
                });
                table.failed.retain(|&pid| matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None)));
                if table.processes.is_empty() && table.failed.is_empty() {
                    return Ok(());
                }
            }
            tokio::time::sleep(PATIENCE.1).await;
        }
        let left: Vec<String> = self.list_running().into_iter().map(|(_, pid)| pid.to_string()).collect();
        Err(Failure::other(format!("some processes do not end though they were killed: {}", left.join(", "))))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self, id: &str) -> Option<Arc<Process>> {
        match self.table().processes.get(id) {
            Some(State::Running(process)) => Some(Arc::clone(process)),
            _ => None,
        }
    }

    /// A descriptor of a process that runs.
    fn descriptor(&self, id: &str, process: &Arc<Process>) -> std::io::Result<OwnedFd> {
        if let Some(pidfd) = &process.orphan {
            return pidfd.try_clone();
        }
        // Nobody is collected while this is held, so that the number is still its own.
        let table = self.table();
        match table.processes.get(id) {
            Some(State::Running(one)) if Arc::ptr_eq(one, process) => Ok(pidfd_open(process.pid, PidfdFlags::empty())?),
            _ => Err(rustix::io::Errno::SRCH.into()),
        }
    }

    fn reserve(&self, id: &str) -> Result<(), Failure> {
        let mut table = self.table();
        match table.processes.get(id) {
            Some(State::Starting | State::Running(_)) => {
                Err(Failure::new(FailureKind::Exists, format!("process {id} runs already; stop it first")))
            }
            _ => {
                table.processes.insert(id.to_owned(), State::Starting);
                Ok(())
            }
        }
    }

    fn settle(&self, id: &str, started: Result<Process, Failure>) -> Answer {
        let mut table = self.table();
        match started {
            Ok(process) => {
                let pid = number(process.pid);
                table.processes.insert(id.to_owned(), State::Running(Arc::new(process)));
                Ok((Reply::Started { pid }, Vec::new()))
            }
            Err(failure) => {
                table.processes.remove(id);
                Err(failure)
            }
        }
    }

    /// Leaves a child that did not become a process to be collected.
    fn abandon(&self, pid: Pid, failure: Failure) -> Failure {
        let _ = kill_process(pid, Signal::KILL);
        self.table().failed.push(pid);
        failure
    }

    /// Standard input, output and error.
    fn streams(
        &self,
        id: &str,
        streams: Vec<OwnedFd>,
        shape: Option<(Shape, Option<(&Path, Limit)>)>,
    ) -> Result<[OwnedFd; 3], Failure> {
        if !streams.is_empty() {
            let wrong = |given: Vec<OwnedFd>| {
                Failure::other(format!("a process needs three streams, not {}; pass input, output, error", given.len()))
            };
            return <[OwnedFd; 3]>::try_from(streams).map_err(wrong);
        }
        let failed = |error: std::io::Error| Failure::io("open the process's streams", &error);
        if let Some((shape, log)) = shape {
            return self.outputs.open(id, shape, log).map_err(failed);
        }
        let null = File::options().read(true).write(true).open("/dev/null").map_err(failed)?;
        let (output, errors) = (null.try_clone().map_err(failed)?, null.try_clone().map_err(failed)?);
        Ok([null.into(), output.into(), errors.into()])
    }
}

impl Process {
    /// Call it only while nobody else may collect it.
    fn kill(&self) {
        // It may have ended.
        let _ = match &self.orphan {
            Some(pidfd) => pidfd_send_signal(pidfd, Signal::KILL),
            None => kill_process(self.pid, Signal::KILL),
        };
    }

    /// The exit status, once it has ended.
    fn collect(&self) -> Option<i32> {
        if let Some(pidfd) = &self.orphan {
            return pidfd::ended(pidfd).then_some(UNKNOWN);
        }
        match waitpid(Some(self.pid), WaitOptions::NOHANG) {
            Ok(Some((_, status))) => Some(exit_code(status)),
            _ => None,
        }
    }
}

/// Exit status of a process whose parent, an earlier agent, did not live to learn it: as if killed, as Docker has it of
/// containers whose shim was.
const UNKNOWN: i32 = 137;

const DONE: Answer = Ok((Reply::Done, Vec::new()));

/// How often, and how far apart, killed processes are looked for.
const PATIENCE: (u32, Duration) = (1000, Duration::from_millis(5));

/// Waits for the start of a command, which may hang in a file system that does not answer.
async fn in_time<T>(start: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(START_PATIENCE, start).await.unwrap_or_else(|_| {
        let seconds = START_PATIENCE.as_secs();
        Err(Failure::other(format!("the command did not start within {seconds} s; see what its file system waits for")))
    })
}

/// Shorter than vswitchd's patience with the agent, so that nothing starts that vswitchd has given up.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// Runs `work` on a thread of its own, which may leave namespaces.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let failed = || Failure::other("a thread of the agent ended early; see agent.log");
    let (sender, result) = oneshot::channel();
    let spawned = thread::Builder::new().name("spawn".to_owned()).spawn(move || drop(sender.send(work())));
    spawned.map_err(|error| Failure::io("start a thread", &error))?;
    result.await.map_err(|_| failed())?
}

/// Starts the first process of a container in the agent's own user namespace.
async fn spawn_container(netns: Option<OwnedFd>, arguments: Vec<OsString>) -> Result<Spawned, Failure> {
    on_thread(move || {
        if let Some(netns) = netns {
            network::enter(netns.as_fd()).map_err(|error| Failure::io("enter the sandbox", &error))?;
        }
        unshare(Unshare::Container).map_err(|error| Failure::io("make the container's namespaces", &error))?;
        spawn(&arguments)
    })
    .await
}

/// Starts one of the stages in the calling thread's namespaces.
fn spawn(arguments: &[OsString]) -> Result<Spawned, Failure> {
    let failed = |error: std::io::Error| Failure::io("start the container's init", &error);
    let (mut command, socket) = command(arguments).map_err(failed)?;
    let child = command.spawn().map_err(failed)?;
    let pid = Pid::from_child(&child);
    // Nobody has collected it yet, so that the number is still its own.
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
    Ok((pid, pidfd, socket))
}

/// Sends an init its order and waits until the command runs.
async fn drive_init(socket: OwnedFd, order: &InitOrder, streams: [OwnedFd; 3]) -> Result<Channel, Failure> {
    let failed = |error: std::io::Error| Failure::io("start the container", &error);
    let channel = Channel::new(socket).map_err(failed)?;
    let [input, output, errors] = &streams;
    channel.send(order, &[input.as_fd(), output.as_fd(), errors.as_fd()]).await.map_err(failed)?;
    drop(streams);
    while let Some((bytes, _)) = channel.receive().await.map_err(failed)? {
        match serde_json::from_slice(&bytes) {
            // It has begun before its order came.
            Ok(Status::Waiting) => {}
            Ok(Status::Ready) => return Ok(channel),
            Ok(Status::Failed(failure)) => return Err(failure),
            Err(error) => return Err(failed(error.into())),
        }
    }
    Err(Failure::other("the container's init ended early; see agent.log in the state directory"))
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}
