//! The streams of processes for which no client brought its own: what they write goes into bounded files and to whoever is
//! attached, and what those send comes to their standard input.
//!
//! A container writes into pipes, or into a terminal, and one thread carries what comes out: a piece of each container's at a
//! time into [`logfile`](crate::logfile)'s files, so that whatever a container prints, and however full or slow the disk is,
//! the files are bounded and no request waits for them; and, as with Docker, to each client that is attached, for the
//! slowest of which the container waits.
//!
//! The pipes have names, and the container has them open in both directions: when an agent is killed, the container is not (it
//! waits once a pipe is full), and the next agent finds the pipes by their names and goes on. A terminal and standard input
//! end with the agent that made them.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use futures_util::future::select_all;
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, mknodat},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    pipe::{PipeFlags, pipe_with},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{
            OwnedReadHalf, OwnedWriteHalf,
            pipe::{Receiver, Sender},
        },
    },
    sync::{Mutex as AsyncMutex, mpsc, oneshot},
};

use super::terminal;
use crate::clock::Moment;
use crate::logfile::{Limit, Writer, errors_fifo, fifo};
use crate::logline::{Stream, encode};
use crate::private;

/// All streams that are carried.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// To the thread, once there is one.
    jobs: Option<mpsc::UnboundedSender<Job>>,
    /// By process.
    running: BTreeMap<String, Running>,
    /// Clients of processes that have not begun yet.
    waiting: BTreeMap<String, Vec<Client>>,
}

#[derive(Debug)]
struct Running {
    commands: mpsc::UnboundedSender<Command>,
    terminal: Option<Arc<OwnedFd>>,
}

/// What a process's streams are like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// All three are a terminal.
    pub(crate) tty: bool,
    /// Standard input is what clients send; without, there is none.
    pub(crate) input: bool,
    /// It ends with that of a client.
    pub(crate) input_once: bool,
}

/// Which streams a client takes part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attach {
    /// What it sends is standard input.
    pub input: bool,
    /// It gets standard output, or the terminal's.
    pub output: bool,
    /// It gets standard error.
    pub errors: bool,
}

/// Someone who is attached: one end of a stream. What the client sends is standard input; what it gets are Docker's frames
/// (stream, three zeros, length, bytes), or plain bytes of a terminal.
#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    attach: Attach,
}

enum Command {
    Attach(Client),
    /// Take what is there, end and answer.
    End(oneshot::Sender<()>),
}

impl Outputs {
    /// Standard input, output and error for a process. What it writes goes into `log`, too, if that is given.
    pub(crate) fn open(&self, process: &str, shape: Shape, log: Option<(&Path, Limit)>) -> io::Result<[OwnedFd; 3]> {
        let writer = log.map(|(path, limit)| (Writer::new(path.to_owned(), limit), limit.max_bytes));
        if shape.tty {
            let (kept, given) = terminal::open()?;
            let input = (kept.try_clone()?, false);
            let job =
                Parts { sources: vec![(Stream::Output, kept.try_clone()?)], writer, input: Some(input), framed: false };
            self.carry(process, job, Some(kept))?;
            return Ok([given.try_clone()?, given.try_clone()?, given]);
        }
        let pipe = |name: fn(&Path) -> std::path::PathBuf| match log {
            Some((path, _)) => named(&name(path)).or_else(|error| {
                tracing::warn!(
                    "the output of {process} would not survive this agent: no pipe {}: {error}",
                    path.display()
                );
                anonymous()
            }),
            None => anonymous(),
        };
        let ((output, to_output), (errors, to_errors)) = (pipe(fifo)?, pipe(errors_fifo)?);
        let (input, from_input) = if shape.input {
            let (from, to) = pipe_with(PipeFlags::CLOEXEC)?;
            fcntl_setfl(&to, fcntl_getfl(&to)? | OFlags::NONBLOCK)?;
            (Some((to, shape.input_once)), from)
        } else {
            (None, File::open("/dev/null")?.into())
        };
        let sources = vec![(Stream::Output, output), (Stream::Errors, errors)];
        self.carry(process, Parts { sources, writer, input, framed: true }, None)?;
        Ok([from_input, to_output, to_errors])
    }

    /// Goes on with the output of a process that an earlier agent started. Without pipes there is nothing to do.
    pub(crate) fn resume(&self, process: &str, log: &Path, limit: Limit) -> io::Result<()> {
        if self.table().running.contains_key(process) {
            return Ok(());
        }
        let mut sources = Vec::new();
        for (stream, path) in [(Stream::Output, fifo(log)), (Stream::Errors, errors_fifo(log))] {
            match open_reader(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                reader => sources.push((stream, reader?)),
            }
        }
        if sources.is_empty() {
            return Ok(());
        }
        let writer = Some((Writer::new(log.to_owned(), limit), limit.max_bytes));
        self.carry(process, Parts { sources, writer, input: None, framed: true }, None)
    }

    /// Attaches a client, now or when the process begins. Answers the client's end.
    pub(crate) fn attach(&self, process: &str, attach: Attach, begun: bool) -> io::Result<OwnedFd> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let client = Client { socket: ours, attach };
        let mut table = self.table();
        if begun {
            let job = table.running.get(process);
            let sent = job.is_some_and(|job| job.commands.send(Command::Attach(client)).is_ok());
            return if sent { Ok(theirs) } else { Err(io::ErrorKind::NotFound.into()) };
        }
        let waiting = table.waiting.entry(process.to_owned()).or_default();
        if waiting.len() == MOST_WAITING {
            return Err(io::Error::other("too many clients wait for this container"));
        }
        waiting.push(client);
        Ok(theirs)
    }

    /// Lets go of the clients that wait for a process that will not begin.
    pub(crate) fn give_up(&self, process: &str) {
        self.table().waiting.remove(process);
    }

    /// Changes the size of a process's terminal, if it has one of ours.
    pub(crate) fn resize(&self, process: &str, size: (u16, u16)) -> io::Result<()> {
        let terminal = self.table().running.get(process).and_then(|job| job.terminal.clone());
        terminal::resize(&terminal.ok_or(io::ErrorKind::NotFound)?, size)
    }

    /// Waits until what an ended process wrote is in its file and with its clients.
    pub(crate) async fn finish(&self, process: &str) {
        let Some(job) = self.table().running.remove(process) else { return };
        let (done, finished) = oneshot::channel();
        // One that ended by itself is finished, too.
        if job.commands.send(Command::End(done)).is_ok() && tokio::time::timeout(PATIENCE, finished).await.is_err() {
            tracing::warn!("the output of {process} is not written yet; the disk or a client is slow");
        }
    }

    fn carry(&self, process: &str, parts: Parts, terminal: Option<OwnedFd>) -> io::Result<()> {
        let mut table = self.table();
        let (commands, receiver) = mpsc::unbounded_channel();
        for client in table.waiting.remove(process).unwrap_or_default() {
            // Its receiver is at hand.
            let _ = commands.send(Command::Attach(client));
        }
        let running = Running { commands, terminal: terminal.map(Arc::new) };
        let mut job = Job { parts, commands: receiver };
        if let Some(jobs) = &table.jobs {
            match jobs.send(job) {
                Ok(()) => {
                    table.running.insert(process.to_owned(), running);
                    return Ok(());
                }
                Err(refused) => job = refused.0,
            }
        }
        let jobs = start()?;
        // It has just begun to listen.
        let _ = jobs.send(job);
        table.jobs = Some(jobs);
        table.running.insert(process.to_owned(), running);
        Ok(())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the thread.
fn start() -> io::Result<mpsc::UnboundedSender<Job>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (jobs, mut receiver) = mpsc::unbounded_channel::<Job>();
    thread::Builder::new().name("outputs".to_owned()).spawn(move || {
        runtime.block_on(async {
            while let Some(job) = receiver.recv().await {
                tokio::spawn(job.run());
            }
        });
    })?;
    Ok(jobs)
}

/// The agent's ends of a process's streams.
struct Parts {
    sources: Vec<(Stream, OwnedFd)>,
    /// With the size of its files.
    writer: Option<(Writer, u64)>,
    /// Where standard input comes from, and whether it ends with that of a client.
    input: Option<(OwnedFd, bool)>,
    /// Output and errors are apart.
    framed: bool,
}

struct Job {
    parts: Parts,
    commands: mpsc::UnboundedReceiver<Command>,
}

impl Job {
    async fn run(self) {
        let Job { parts, mut commands } = self;
        let begun = || -> io::Result<_> {
            let sources = parts.sources.into_iter();
            let sources = sources.map(|(stream, from)| Ok((stream, Receiver::from_file_unchecked(from.into())?)));
            let input = parts.input.map(|(to, once)| {
                Ok::<_, io::Error>(Input { to: AsyncMutex::new(Some(Sender::from_file_unchecked(to.into())?)), once })
            });
            Ok((sources.collect::<io::Result<Vec<_>>>()?, input.transpose()?))
        };
        let (sources, input) = match begun() {
            Ok(begun) => begun,
            Err(error) => return tracing::warn!("the streams of a container are lost: {error}"),
        };
        let mut carrier = Carrier {
            sources,
            writer: parts.writer,
            input: input.map(Arc::new),
            framed: parts.framed,
            clients: Vec::new(),
        };
        loop {
            tokio::select! {
                // Attached before anything is written: who came before the start misses nothing.
                biased;
                command = commands.recv() => match command {
                    Some(Command::Attach(client)) => carrier.attach(client),
                    Some(Command::End(done)) => {
                        carrier.take_the_rest().await;
                        drop(carrier);
                        // By now whoever asked may be gone.
                        let _ = done.send(());
                        return;
                    }
                    None => return,
                },
                index = readable(&carrier.sources) => carrier.turn(index).await,
            }
        }
    }
}

/// Waits for the first source that has something, or has ended.
async fn readable(sources: &[(Stream, Receiver)]) -> usize {
    if sources.is_empty() {
        return std::future::pending().await;
    }
    select_all(sources.iter().map(|(_, source)| Box::pin(source.readable()))).await.1
}

struct Carrier {
    sources: Vec<(Stream, Receiver)>,
    writer: Option<(Writer, u64)>,
    input: Option<Arc<Input>>,
    framed: bool,
    clients: Vec<(Attach, OwnedWriteHalf)>,
}

impl Carrier {
    fn attach(&mut self, client: Client) {
        let stream = UnixStream::from_std(client.socket.into());
        let Ok(stream) = stream.inspect_err(|error| tracing::warn!("cannot attach a client: {error}")) else { return };
        let (from, to) = stream.into_split();
        if client.attach.input
            && let Some(input) = &self.input
        {
            tokio::spawn(Arc::clone(input).carry(from));
        }
        self.clients.push((client.attach, to));
    }

    /// One piece of one source.
    async fn turn(&mut self, index: usize) {
        // Not kept: most containers are silent most of the time, and there may be thousands.
        let mut piece = vec![0; PIECE];
        let (stream, source) = &self.sources[index];
        let stream = *stream;
        match source.try_read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if let Some((writer, _)) = &mut self.writer {
                    writer.rest();
                }
            }
            // A terminal that nobody has open any more ends with an error.
            Ok(0) | Err(_) => drop(self.sources.remove(index)),
            Ok(count) => {
                self.pass_on(stream, &piece[..count]).await;
                // The other one has its turn before this has another.
                self.sources.rotate_left(1);
            }
        }
    }

    /// What an ended process has left in its pipes.
    async fn take_the_rest(&mut self) {
        let mut piece = vec![0; PIECE];
        for (stream, source) in std::mem::take(&mut self.sources) {
            for _ in 0..LAST_TURNS {
                // The runtime may not have heard yet that there is something.
                match rustix::io::read(&source, &mut piece[..]) {
                    Ok(0) | Err(_) => break,
                    Ok(count) => self.pass_on(stream, &piece[..count]).await,
                }
            }
        }
    }

    async fn pass_on(&mut self, stream: Stream, bytes: &[u8]) {
        if let Some((writer, most)) = &mut self.writer {
            writer.append(&encode(stream, Moment::now(), bytes, *most));
        }
        let wants = |attach: Attach| match stream {
            Stream::Output => attach.output,
            Stream::Errors => attach.errors,
        };
        let framed = if self.framed { frame(stream, bytes) } else { Vec::new() };
        let sent = if self.framed { &framed[..] } else { bytes };
        let mut index = 0;
        while let Some((attach, client)) = self.clients.get_mut(index) {
            if wants(*attach) && client.write_all(sent).await.is_err() {
                self.clients.swap_remove(index);
            } else {
                index += 1;
            }
        }
    }
}

/// Docker's frame around what one stream says.
pub(crate) fn frame(stream: Stream, bytes: &[u8]) -> Vec<u8> {
    let number = match stream {
        Stream::Output => 1,
        Stream::Errors => 2,
    };
    let mut framed = Vec::with_capacity(bytes.len() + 8);
    for piece in bytes.chunks(u32::MAX as usize) {
        framed.extend_from_slice(&[number, 0, 0, 0]);
        framed.extend_from_slice(&u32::try_from(piece.len()).unwrap_or(u32::MAX).to_be_bytes());
        framed.extend_from_slice(piece);
    }
    framed
}

/// Standard input.
struct Input {
    /// `None`: it has ended.
    to: AsyncMutex<Option<Sender>>,
    /// It ends with that of a client.
    once: bool,
}

impl Input {
    /// Until a client sends no more.
    async fn carry(self: Arc<Self>, mut from: OwnedReadHalf) {
        let mut piece = vec![0; PIECE];
        while let Ok(count @ 1..) = from.read(&mut piece).await {
            if self.write(&piece[..count]).await.is_err() {
                break;
            }
        }
        if self.once {
            self.to.lock().await.take();
        }
    }

    async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut held = self.to.lock().await;
        held.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write_all(bytes).await
    }
}

/// A pipe that the next agent can find: its reading end, and one for the container.
fn named(path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    private::remove(path)?;
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    // Also for reading, so that there is a reader even while there is no agent.
    let writer = OpenOptions::new().read(true).write(true).open(path)?;
    Ok((open_reader(path)?, writer.into()))
}

fn open_reader(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::Fifo {
        return Err(io::Error::other("it is no pipe"));
    }
    Ok(file)
}

fn anonymous() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&reader, fcntl_getfl(&reader)? | OFlags::NONBLOCK)?;
    Ok((reader, writer))
}

/// Bytes that are carried at a time.
const PIECE: usize = 64 << 10;

/// Pieces that a pipe may still hold when its process has ended: as many as fit into the largest.
const LAST_TURNS: usize = 1 << 20 >> 16;

/// For the disk, and clients, to take the last of an output.
const PATIENCE: Duration = Duration::from_secs(2);

/// Clients of one process that has not begun.
const MOST_WAITING: usize = 64;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::logline::Decoder;

    const ALL: Attach = Attach { input: true, output: true, errors: true };

    fn text(log: &Path) -> String {
        let mut decoder = Decoder::default();
        let records = decoder.take(&std::fs::read(log).unwrap());
        records.iter().map(|record| String::from_utf8_lossy(&record.text)).collect()
    }

    /// What is written comes into the file; an agent that ends leaves the pipes usable, and the next one goes on.
    #[tokio::test]
    async fn carries_and_resumes() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("c.log");
        let outputs = Outputs::default();
        let opened = outputs.open("c", Shape::default(), Some((&log, Limit::default()))).unwrap();
        let [_input, output, errors] = opened.map(File::from);
        let mut output = output;
        output.write_all(b"one\n").unwrap();
        outputs.finish("c").await;
        assert_eq!(text(&log), "one\n");
        // Nobody reads now.
        output.write_all(b"two\n").unwrap();
        let next = Outputs::default();
        next.resume("c", &log, Limit::default()).unwrap();
        output.write_all(b"three\n").unwrap();
        drop((output, errors));
        next.finish("c").await;
        assert_eq!(text(&log), "one\ntwo\nthree\n");
        next.resume("gone", &directory.path().join("gone.log"), Limit::default()).unwrap();
    }

    /// Where no pipe can have a name, and no file be written, a container starts nevertheless.
    #[tokio::test]
    async fn never_fails() {
        let outputs = Outputs::default();
        let nowhere = Path::new("/proc/none/c.log");
        let [_, pipe, _] = outputs.open("c", Shape::default(), Some((nowhere, Limit::default()))).unwrap();
        let mut pipe = File::from(pipe);
        pipe.write_all(&vec![0; 1 << 20]).unwrap();
        drop(pipe);
        outputs.finish("c").await;
    }

    /// Every client gets everything from where it came, by stream, and what one sends is standard input until it ends; a
    /// terminal has one stream.
    #[tokio::test]
    async fn clients() {
        let outputs = Outputs::default();
        let early = outputs.attach("c", ALL, false).unwrap();
        let shape = Shape { input: true, input_once: true, tty: false };
        let [mut input, mut output, mut errors] = outputs.open("c", shape, None).unwrap().map(File::from);
        output.write_all(b"out").unwrap();
        let mut early = std::os::unix::net::UnixStream::from(early);
        let mut got = [0; 11];
        early.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"\x01\0\0\0\0\0\0\x03out");
        let late = outputs.attach("c", Attach { input: false, output: false, errors: true }, true).unwrap();
        early.write_all(b"hello").unwrap();
        early.shutdown(std::net::Shutdown::Write).unwrap();
        let mut said = String::new();
        input.read_to_string(&mut said).unwrap();
        assert_eq!(said, "hello");
        output.write_all(b"not for the late").unwrap();
        errors.write_all(b"err").unwrap();
        drop((output, errors));
        outputs.finish("c").await;
        let mut got = Vec::new();
        File::from(late).read_to_end(&mut got).unwrap();
        assert_eq!(got, b"\x02\0\0\0\0\0\0\x03err");
        assert!(outputs.attach("c", ALL, true).is_err());
        let [_, terminal, _] = outputs.open("t", Shape { tty: true, ..Shape::default() }, None).unwrap();
        let mut client = std::os::unix::net::UnixStream::from(outputs.attach("t", ALL, true).unwrap());
        outputs.resize("t", (11, 22)).unwrap();
        assert_eq!(rustix::termios::tcgetwinsize(&terminal).unwrap().ws_col, 22);
        client.write_all(b"echo\n").unwrap();
        let mut got = [0; 6];
        client.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"echo\r\n");
        drop(terminal);
        outputs.finish("t").await;
    }
}
