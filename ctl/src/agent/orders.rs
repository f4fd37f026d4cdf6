//! What clients want to be run, from their own mouths.
//!
//! vswitchd parses frames, so it may be somebody else's by now; what it says a client wants proves nothing. So the agent
//! reads the request itself, on the client's own connection, while vswitchd has not read it yet (`MSG_PEEK` takes nothing
//! away). The connection is one that came by a control socket (its address says so, and vswitchd can make no such) and
//! its other end is a process that is not vswitchd. The body of `POST /containers` is kept under the id of the container
//! that vswitchd makes of it, in a folder *beside* the state directory, where vswitchd may write nothing; that of
//! `POST /containers/X/exec` is used once. With `POST /engines/endpoints` comes the descriptor of a network namespace, which
//! the agent takes itself in the same way. Of `POST /networks/create` it takes note which interface of the host the network is to
//! be on.

mod request;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder},
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use vswitch_api::container::{ContainerCreate, ExecRequest};

use super::protocol::{ExecSpec, Failure, FailureKind, Policy, ProcessSpec};
use crate::model::{ContainerSpec, Faults, Wanted, environment, merge_env, parse_container, parse_exec};
use crate::private;
pub(crate) use request::is_order;
use request::{believe, read};

/// A request that a client made.
#[derive(Debug)]
pub(crate) enum Order {
    /// To make a container.
    Create(Box<ContainerCreate>),
    /// To run one more process.
    Exec(ExecRequest),
    /// To make a network, on this interface of the host if any.
    Network(Option<String>),
    /// To attach the network namespace whose descriptor came with the request.
    Namespace(OwnedFd),
}

/// The orders that are kept.
#[derive(Debug)]
pub(crate) struct Orders {
    state_dir: PathBuf,
    /// Of the containers; `None`: there is no place for them, and they last as long as the agent.
    folder: Option<PathBuf>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// Taken, and not yet used.
    taken: BTreeMap<u64, Order>,
    /// Without a folder.
    kept: BTreeMap<String, ContainerCreate>,
    /// Parents that networks may have, without a folder.
    parents: BTreeSet<String>,
}

impl Orders {
    /// Those of containers of this state directory.
    pub(crate) fn of(state_dir: &Path) -> Orders {
        let folder = folder(state_dir);
        let made = prepare(&folder);
        if let Err(error) = &made {
            tracing::error!(
                "cannot keep what clients order in {} ({error}): containers must be created anew after a restart of the \
                 agent; let the user of vswitchd make this folder",
                folder.display()
            );
        }
        Orders { state_dir: state_dir.to_owned(), folder: made.is_ok().then_some(folder), table: Mutex::default() }
    }

    /// For an agent that starts nothing.
    pub(crate) fn none() -> Orders {
        Orders { state_dir: "/".into(), folder: None, table: Mutex::default() }
    }

    /// Reads what the client at the other end of `connection` asks for. `daemon` is vswitchd's own process.
    pub(crate) async fn take(&self, connection: OwnedFd, policy: &Policy, daemon: Option<u32>) -> Result<u64, Failure> {
        believe(&connection, policy, daemon)?;
        let read = tokio::time::timeout(PATIENCE, read(&connection, &policy.images)).await;
        let order = read.unwrap_or_else(|_| {
            Err(refuse("the request did not arrive as a whole; shorten the command, its environment or its mounts"))
        })?;
        let mut table = self.table();
        table.next += 1;
        let number = table.next;
        table.taken.insert(number, order);
        while table.taken.len() > MOST_TAKEN {
            table.taken.pop_first();
        }
        Ok(number)
    }

    /// Keeps a taken order as that of a container.
    pub(crate) fn keep(&self, number: u64, id: &str) -> Result<(), Failure> {
        let Some(Order::Create(order)) = self.table().taken.remove(&number) else { return Err(unknown()) };
        let Some(folder) = &self.folder else {
            self.table().kept.insert(id.to_owned(), *order);
            return Ok(());
        };
        let failed = |error: io::Error| Failure::io("keep the container's order", &error);
        let path = file(folder, id)?;
        let fresh = path.with_extension("new");
        let bytes = serde_json::to_vec(&order).map_err(|error| failed(error.into()))?;
        let write = || -> io::Result<()> {
            private::create(&fresh)?.write_all(&bytes)?;
            // One that is kept already is not replaced: the container is what it was ordered to be.
            rustix::fs::renameat_with(
                rustix::fs::CWD,
                &fresh,
                rustix::fs::CWD,
                &path,
                rustix::fs::RenameFlags::NOREPLACE,
            )?;
            Ok(())
        };
        write().map_err(failed)
    }

    /// Takes note of the parent that a taken order names, which is used up: from now on networks may be on it.
    pub(crate) fn allow_parent(&self, number: u64) -> Result<(), Failure> {
        let mut table = self.table();
        let Some(Order::Network(Some(parent))) = table.taken.remove(&number) else { return Err(unknown()) };
        let mut parents = self.parents(&table);
        if !parents.insert(parent) {
            return Ok(());
        }
        let Some(folder) = &self.folder else {
            table.parents = parents;
            return Ok(());
        };
        let failed = |error: io::Error| Failure::io("keep the order", &error);
        let (path, fresh) = (folder.join(PARENTS), folder.join(PARENTS).with_extension("new"));
        let bytes = serde_json::to_vec(&parents).map_err(|error| failed(error.into()))?;
        let write = || private::create(&fresh)?.write_all(&bytes).and_then(|()| fs::rename(&fresh, &path));
        write().map_err(failed)
    }

    /// Whether a network may be on this interface of the host.
    pub(crate) fn check_parent(&self, interface: &str, policy: &Policy) -> Result<(), Failure> {
        match !policy.ordered || self.parents(&self.table()).contains(interface) {
            true => Ok(()),
            false => Err(refuse(format!(
                "no client has ordered a network on parent {interface} as far as the agent knows; create the network again"
            ))),
        }
    }

    /// Interfaces that clients have named as parents.
    fn parents(&self, table: &Table) -> BTreeSet<String> {
        match &self.folder {
            Some(folder) => fs::read(folder.join(PARENTS)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()),
            None => Some(table.parents.clone()),
        }
        .unwrap_or_default()
    }

    /// The namespace that came with a taken order, which is used up.
    pub(crate) fn namespace(&self, number: u64) -> Result<OwnedFd, Failure> {
        match self.table().taken.remove(&number) {
            Some(Order::Namespace(descriptor)) => Ok(descriptor),
            _ => Err(unknown()),
        }
    }

    /// Forgets that of a container.
    pub(crate) fn drop_kept(&self, id: &str) -> Result<(), Failure> {
        self.table().kept.remove(id);
        let Some(folder) = &self.folder else { return Ok(()) };
        private::remove(&file(folder, id)?).map_err(|error| Failure::io("forget the order", &error))
    }

    /// What a container was ordered to be.
    fn kept(&self, id: &str) -> Result<Wanted, Failure> {
        let order = match &self.folder {
            Some(folder) => fs::read(file(folder, id)?).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()),
            None => self.table().kept.get(id).cloned(),
        };
        parse_container(order.ok_or_else(unknown)?).map_err(|faults| wrong(&faults))
    }

    /// Whether a container was ordered to be in the host's user namespace.
    pub(crate) fn host_users(&self, id: &str) -> bool {
        self.kept(id).is_ok_and(|wanted| wanted.spec.isolation.host_users)
    }

    /// What is started for a container: what its client ordered, with what is vswitchd's to say.
    pub(crate) fn start(&self, id: &str, said: ProcessSpec, policy: &Policy) -> Result<ProcessSpec, Failure> {
        if !policy.ordered {
            return Ok(said);
        }
        let Wanted { network, spec, hostname, .. } = self.kept(id)?;
        if said.sandbox.is_none() && network != HOST_NETWORK {
            return Err(refuse(
                "no client ordered the host's network for this container; create it with --network host",
            ));
        }
        let hostname = hostname.unwrap_or_else(|| said.hostname.clone());
        let env = environment(&spec, &hostname);
        let ContainerSpec {
            command,
            working_dir,
            tty,
            open_stdin,
            stdin_once,
            capabilities,
            isolation,
            profile,
            mounts,
            process,
            ..
        } = spec;
        policy.allows(&capabilities)?;
        // Where output goes is not vswitchd's to say either. In its own folders it can make files, but nothing that leads elsewhere.
        let log = said.log.is_some().then(|| log(&self.state_dir, id)).transpose()?;
        Ok(ProcessSpec {
            command,
            env,
            working_dir,
            tty,
            open_stdin,
            stdin_once,
            capabilities,
            isolation,
            profile,
            mounts,
            options: process,
            hostname,
            log,
            ..said
        })
    }

    /// Where the output of a container goes.
    pub(crate) fn output(&self, id: &str, said: String, policy: &Policy) -> Result<String, Failure> {
        if policy.ordered { log(&self.state_dir, id) } else { Ok(said) }
    }

    /// What is run in a container.
    pub(crate) fn exec(
        &self,
        container: &str,
        number: Option<u64>,
        said: ExecSpec,
        policy: &Policy,
    ) -> Result<ExecSpec, Failure> {
        if !policy.ordered {
            return Ok(said);
        }
        let Wanted { spec: own, hostname, .. } = self.kept(container)?;
        let hostname = hostname.unwrap_or_else(|| container.get(..12).unwrap_or(container).to_owned());
        let taken = number.and_then(|number| self.table().taken.remove(&number));
        let Some(Order::Exec(order)) = taken else { return Err(unknown()) };
        let order = parse_exec(order).map_err(|faults| wrong(&faults))?;
        policy.allows(&own.capabilities)?;
        Ok(ExecSpec {
            command: order.command,
            env: merge_env(&environment(&own, &hostname), order.env),
            working_dir: order.working_dir.unwrap_or(own.working_dir),
            tty: order.tty,
            capabilities: own.capabilities,
            isolation: own.isolation,
            profile: own.profile,
            options: Box::new(own.process.of_exec(&order.user)),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Policy {
    /// Whether a container may have all of these.
    fn allows(&self, capabilities: &[u8]) -> Result<(), Failure> {
        let Some(allowed) = &self.capabilities else { return Ok(()) };
        match capabilities.iter().find(|one| !allowed.contains(one)) {
            Some(one) => Err(refuse(format!(
                "vswitchd was started with --allow-cap, which does not allow capability {}; take it away with --cap-drop",
                crate::model::capability_name(*one)
            ))),
            None => Ok(()),
        }
    }
}

/// Where the orders for containers of `state_dir` are.
pub(crate) fn folder(state_dir: &Path) -> PathBuf {
    let mut name = state_dir.as_os_str().to_owned();
    name.push(".orders");
    name.into()
}

/// Makes a folder that is this user's alone, or finds it so.
pub(super) fn prepare(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let about = fs::symlink_metadata(folder)?;
    // Whoever else could write there could order.
    if !about.is_dir() || about.uid() != rustix::process::geteuid().as_raw() || about.mode() & 0o077 != 0 {
        return Err(io::Error::other("it is not a folder of this user alone"));
    }
    Ok(())
}

/// The file for the output of a container.
fn log(state_dir: &Path, id: &str) -> Result<String, Failure> {
    let path = file(&state_dir.join("logs"), id)?.with_extension("log");
    path.into_os_string().into_string().map_err(|_| refuse("the path of the state directory is no text"))
}

fn file(folder: &Path, id: &str) -> Result<PathBuf, Failure> {
    let plain = !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then(|| folder.join(id)).ok_or_else(|| refuse("the id of a container consists of letters and digits"))
}

fn refuse(sentence: impl Into<String>) -> Failure {
    Failure::new(FailureKind::NotPermitted, sentence)
}

fn unknown() -> Failure {
    refuse(
        "no client has ordered this as far as the agent knows; create the container again, or send the request again",
    )
}

fn wrong(faults: &Faults) -> Failure {
    refuse(faults.to_string())
}

/// The file of parents. No container has such an id.
const PARENTS: &str = "parents.json";

/// The network mode that needs no sandbox.
const HOST_NETWORK: &str = "host";

/// For the rest of a request whose beginning is there.
const PATIENCE: Duration = Duration::from_secs(5);

/// Orders that were taken and not used.
const MOST_TAKEN: usize = 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use rustix::net::{RecvFlags, recv};

    use super::*;
    use crate::model::{Isolation, Mount, Mounts};

    fn policy(sockets: &[&str]) -> Policy {
        Policy { ordered: true, sockets: sockets.iter().map(PathBuf::from).collect(), ..Policy::default() }
    }

    /// A pair of sockets is no client's connection, whoever made it and whatever is said on it; nor is another socket's.
    #[tokio::test]
    async fn forged_connections() {
        let orders = Orders::none();
        let (one, other) = UnixStream::pair().unwrap();
        let request = b"POST /vswitch/v1/containers HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}";
        (&other).write_all(request).unwrap();
        let refused = orders.take(one.into(), &policy(&["/run/v.sock"]), None).await.unwrap_err();
        assert_eq!(refused.kind, FailureKind::NotPermitted);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(request).unwrap();
        let accepted: OwnedFd = listener.accept().unwrap().0.into();
        let copy = || accepted.try_clone().unwrap();
        let own = policy(&[path.to_str().unwrap()]);
        assert!(orders.take(copy(), &policy(&["/elsewhere"]), None).await.is_err());
        assert!(orders.take(copy(), &own, Some(std::process::id())).await.is_err(), "vswitchd's own");
        assert!(orders.take(std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into(), &own, None).await.is_err());
        // With another process as vswitchd, this one is a client; what it sent is still there for vswitchd.
        let number = orders.take(copy(), &own, Some(1)).await.unwrap();
        assert_eq!(recv(&accepted, &mut [0; 512][..], RecvFlags::DONTWAIT).unwrap().0, request.len());
        orders.keep(number, "c1").unwrap();
        assert!(orders.keep(number, "c2").is_err(), "an order counts once");
    }

    /// What is started is what was ordered, whatever vswitchd says; orders outlive the agent and are not replaced.
    #[tokio::test]
    async fn starts_what_was_ordered() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let create = |command: &str, network: &str| {
            let command = vec![command.to_owned()];
            Order::Create(Box::new(ContainerCreate { command, network: network.to_owned(), ..Default::default() }))
        };
        let orders = Orders::of(&state);
        orders.table().taken.extend([(1, create("good", "n")), (2, create("evil", "n")), (3, create("good", "host"))]);
        orders.keep(1, "c1").unwrap();
        assert!(orders.keep(2, "c1").is_err());
        orders.keep(3, "c3").unwrap();
        let said = |sandbox: Option<&str>| ProcessSpec {
            sandbox: sandbox.map(str::to_owned),
            command: vec!["evil".to_owned()],
            env: vec!["LD_PRELOAD=evil".to_owned()],
            working_dir: "/evil".to_owned(),
            capabilities: (0..41).collect(),
            isolation: Isolation { all_calls: true, all_devices: true, host_users: true, ..Isolation::default() },
            mounts: Mounts { list: vec![Mount::parse("/:/mnt").unwrap()], ..Mounts::default() },
            ..ProcessSpec::default()
        };
        let orders = Orders::of(&state);
        let ordered = policy(&[]);
        let started = orders.start("c1", said(Some("s1")), &ordered).unwrap();
        assert_eq!(
            (started.command, started.working_dir, started.isolation, started.mounts),
            (vec!["good".to_owned()], "/".to_owned(), Isolation::default(), Mounts::default())
        );
        assert!(!started.env.is_empty() && !started.env.iter().any(|one| one.contains("evil")), "{:?}", started.env);
        assert_eq!(started.capabilities.len(), 14);
        assert!(orders.start("c1", said(None), &ordered).is_err(), "the host's network was not ordered");
        assert!(orders.start("c3", said(None), &ordered).is_ok());
        assert!(orders.start("c9", said(Some("s1")), &ordered).is_err());
        let none = Policy { capabilities: Some(vec![]), ..ordered.clone() };
        assert!(orders.start("c1", said(Some("s1")), &none).unwrap_err().message.contains("--allow-cap"));
        assert!(orders.start("../c1", said(Some("s1")), &ordered).is_err());
        orders
            .table()
            .taken
            .insert(4, Order::Exec(ExecRequest { command: vec!["more".to_owned()], ..Default::default() }));
        let exec = || ExecSpec { command: vec!["evil".to_owned()], ..ExecSpec::default() };
        assert!(orders.exec("c1", None, exec(), &ordered).is_err());
        assert_eq!(orders.exec("c1", Some(4), exec(), &ordered).unwrap().command, ["more"]);
        assert!(orders.exec("c1", Some(4), exec(), &ordered).is_err(), "an order counts once");
        orders.drop_kept("c1").unwrap();
        assert!(orders.start("c1", said(Some("s1")), &ordered).is_err());
    }

    /// Networks may be on interfaces that a client has named, also after a restart of the agent, and on no other.
    #[test]
    fn parents() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        for orders in [Orders::of(&state), Orders::none()] {
            orders.table().taken.extend([
                (1, Order::Network(Some("eth0".to_owned()))),
                (2, Order::Network(None)),
                (3, Order::Network(Some("eth1".to_owned()))),
            ]);
            let ordered = policy(&[]);
            assert!(
                orders.check_parent("eth0", &ordered).is_err()
                    && orders.check_parent("eth0", &Policy::default()).is_ok()
            );
            orders.allow_parent(1).unwrap();
            assert!(orders.allow_parent(1).is_err() && orders.allow_parent(2).is_err(), "an order counts once");
            orders.allow_parent(3).unwrap();
            assert!(orders.check_parent("eth0", &ordered).is_ok() && orders.check_parent("eth2", &ordered).is_err());
        }
        assert!(Orders::of(&state).check_parent("eth1", &policy(&[])).is_ok());
    }

    /// A folder that others may write is not used.
    #[test]
    fn folders_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir(folder(&state)).unwrap();
        fs::set_permissions(folder(&state), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        assert!(Orders::of(&state).folder.is_none());
    }
}
