//! The demo's containers and the workers in them.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rustix::pipe::PipeFlags;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use vswitch_api::Client;
use vswitch_api::client::{Session, Streams};
use vswitch_api::container::{ContainerCreate, ExecRequest};
use vswitch_api::endpoint::Endpoint;
use vswitch_api::stdio::StdioEvent;

use super::worker::understand;

/// How long a worker may take beyond the time that it measures.
const PATIENCE: Duration = Duration::from_secs(10);

/// A container that runs a worker of ours.
#[derive(Debug)]
pub(crate) struct Container {
    client: Client,
    name: String,
    output: BufReader<pipe::Receiver>,
    session: Session,
}

impl Container {
    /// Start a container on `network` whose process is this worker, with these ports published.
    pub(crate) async fn start(
        client: &Client,
        name: &str,
        network: &str,
        publish: &[String],
        worker: &[&str],
    ) -> anyhow::Result<Self> {
        let command = command(worker)?;
        // A container has these folders of its own, and finds this program there only if it is shared.
        let program = command.first().filter(|path| path.starts_with("/tmp/") || path.starts_with("/run/"));
        let request = ContainerCreate {
            name: Some(name.to_owned()),
            hostname: Some(name.to_owned()),
            volumes: program.map(|path| format!("{path}:{path}:ro")).into_iter().collect(),
            command,
            env: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".into()],
            network: network.to_owned(),
            publish: publish.to_vec(),
            ..ContainerCreate::default()
        };
        client.create_container(&request).await?;
        let (output, input) = pipe()?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let streams = Streams { stdin: null.as_fd(), stdout: input.as_fd(), stderr: input.as_fd() };
        let mut session = client.start_container_with(name, streams).await?;
        started(&mut session).await?;
        Ok(Container { client: client.clone(), name: name.to_owned(), output, session })
    }

    /// Wait for a line of the container's own worker.
    pub(crate) async fn hears<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let mut line = String::new();
        tokio::select! {
            read = tokio::time::timeout(PATIENCE, self.output.read_line(&mut line)) => {
                read.with_context(|| format!("container {} is silent", self.name))??;
                understand(&line)
            }
            event = self.session.next() => bail!("container {} ended early ({:?})", self.name, event?),
        }
    }

    /// Run one more worker in the container; what it measured.
    pub(crate) async fn measure<T: DeserializeOwned>(&self, worker: &[&str]) -> anyhow::Result<T> {
        let request =
            ExecRequest { command: command(worker)?, working_dir: Some("/".into()), ..ExecRequest::default() };
        let (mut output, input) = pipe()?;
        let (mut complaint, errors) = pipe()?;
        let null = File::open("/dev/null")?;
        let streams = Streams { stdin: null.as_fd(), stdout: input.as_fd(), stderr: errors.as_fd() };
        let mut session = self.client.exec_with(&self.name, &request, streams).await?;
        drop((input, errors));
        started(&mut session).await?;
        let (mut said, mut complained) = (String::new(), String::new());
        let read = async {
            tokio::try_join!(output.read_to_string(&mut said), complaint.read_to_string(&mut complained))?;
            session.next().await.map_err(anyhow::Error::from)
        };
        let event = tokio::time::timeout(PATIENCE, read).await;
        match event.with_context(|| format!("'{}' in container {} hangs", worker.join(" "), self.name))?? {
            Some(StdioEvent::Exited { exit_code: 0 }) => understand(&said),
            _ => Err(anyhow!("in container {}: {}", self.name, complained.trim().trim_start_matches("error: "))),
        }
    }

    /// Its endpoint.
    pub(crate) async fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let container = self.client.container(&self.name).await?;
        container.endpoints.into_iter().next().with_context(|| format!("container {} is on no network", self.name))
    }

    /// End it and remove it.
    pub(crate) async fn remove(self) -> anyhow::Result<()> {
        Ok(self.client.remove_container(&self.name, true).await?)
    }
}

async fn started(session: &mut Session) -> anyhow::Result<()> {
    match session.next().await? {
        Some(StdioEvent::Started { .. }) => Ok(()),
        Some(StdioEvent::Failed { message, .. }) => Err(anyhow!(message)),
        Some(StdioEvent::Exited { exit_code }) => {
            Err(anyhow!("the demo's worker ended at once with status {exit_code}"))
        }
        None => Err(anyhow!("vswitchd went away")),
    }
}

/// This program once more, as a worker.
fn command(worker: &[&str]) -> anyhow::Result<Vec<String>> {
    let own = std::env::current_exe()?.into_os_string().into_string();
    let own =
        own.map_err(|path| anyhow!("the demo's own path must be text (UTF-8), which {} is not", path.display()))?;
    Ok([&own, "demo-worker"].into_iter().chain(worker.iter().copied()).map(str::to_owned).collect())
}

fn pipe() -> anyhow::Result<(BufReader<pipe::Receiver>, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    Ok((BufReader::new(pipe::Receiver::from_owned_fd(reader)?), writer))
}
