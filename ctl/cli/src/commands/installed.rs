//! What an `install` of this program leaves on a host, and its `uninstall` takes back: files that say whose they are, and
//! names by which the helper is called. What somebody else wrote is neither replaced nor removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use vswitch_api::endpoint::Endpoint;
use vswitch_api::engine::EngineKey;

use crate::output;
use crate::table::Table;

/// For whom.
#[derive(Debug, Args)]
pub(crate) struct ScopeArgs {
    /// For this user (the default, unless it is root)
    #[arg(long, conflicts_with = "system")]
    user: bool,
    /// For everybody on this host; root's containers and those of users alike
    #[arg(long)]
    system: bool,
}

impl ScopeArgs {
    /// For everybody.
    pub(super) fn is_system(&self) -> bool {
        self.system || (!self.user && rustix::process::geteuid().is_root())
    }
}

/// Begins the files that `engine podman install` writes.
pub(super) const HEADER: &str =
    "# Written by 'vswitchctl engine podman install'; 'vswitchctl engine podman uninstall' removes it.";

/// Whose a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Nobody,
    Ours,
    SomebodyElse,
}

/// A file of an installation.
#[derive(Debug)]
pub(super) struct OwnFile {
    path: PathBuf,
    /// Whether a text was written by us.
    is_ours: fn(&str) -> bool,
}

impl OwnFile {
    pub(super) fn new(path: PathBuf, is_ours: fn(&str) -> bool) -> OwnFile {
        OwnFile { path, is_ours }
    }

    /// One that begins with [`HEADER`] if it is ours.
    pub(super) fn with_header(path: PathBuf) -> OwnFile {
        OwnFile::new(path, |text| text.starts_with(HEADER))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn owner(&self) -> anyhow::Result<Owner> {
        match fs::read_to_string(&self.path) {
            Ok(text) if (self.is_ours)(&text) => Ok(Owner::Ours),
            Ok(_) => Ok(Owner::SomebodyElse),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Owner::Nobody),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", self.path.display())),
        }
    }

    /// Whether it is there; refuses to say of a file that somebody else wrote.
    pub(super) fn is_there(&self) -> anyhow::Result<bool> {
        match self.owner()? {
            Owner::Ours => Ok(true),
            Owner::Nobody => Ok(false),
            Owner::SomebodyElse => bail!("{} is not of vswitch; move it away first", self.path.display()),
        }
    }

    /// Writes it, as a whole or not at all.
    pub(super) fn write(&self, text: &str) -> anyhow::Result<()> {
        let write = || {
            let folder = self.path.parent().unwrap_or(Path::new("."));
            fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            io::Write::write_all(&mut file, text.as_bytes())?;
            // Engines of other users read it.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            file.as_file().set_permissions(mode)?;
            file.persist(&self.path)?;
            io::Result::Ok(())
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Removes it if it is ours. Whether it was there.
    pub(super) fn remove(&self) -> anyhow::Result<bool> {
        if self.owner()? != Owner::Ours {
            return Ok(false);
        }
        fs::remove_file(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))?;
        Ok(true)
    }
}

/// Names in a folder by which the helper is called.
#[derive(Debug)]
pub(super) struct Links {
    folder: PathBuf,
    names: &'static [&'static str],
}

impl Links {
    pub(super) fn new(folder: PathBuf, names: &'static [&'static str]) -> Links {
        Links { folder, names }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.names.iter().map(|name| self.folder.join(name))
    }

    /// Whether all lead somewhere.
    pub(super) fn are_there(&self) -> bool {
        self.paths().all(|link| link.is_file())
    }

    /// Makes them.
    pub(super) fn make(&self) -> anyhow::Result<()> {
        let program = program("vswitch-engine")?;
        fs::create_dir_all(&self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        for link in self.paths() {
            match fs::symlink_metadata(&link) {
                Ok(about) if !about.is_symlink() => bail!("{} is not of vswitch; move it away first", link.display()),
                Ok(_) => fs::remove_file(&link).with_context(|| format!("cannot replace {}", link.display()))?,
                Err(_) => {}
            }
            let linked = std::os::unix::fs::symlink(&program, &link);
            linked.with_context(|| format!("cannot make {}", link.display()))?;
        }
        Ok(())
    }

    /// Removes them, and their folder if nobody put something else there. Whether there were any.
    pub(super) fn remove(&self) -> anyhow::Result<bool> {
        let mut removed = false;
        for link in self.paths().filter(|link| link.is_symlink()) {
            fs::remove_file(&link).with_context(|| format!("cannot remove {}", link.display()))?;
            removed = true;
        }
        let _ = fs::remove_dir(&self.folder);
        Ok(removed)
    }
}

/// A folder of this user's: what a variable names, or one below the home directory.
pub(super) fn user_folder(variable: &str, below: &str) -> anyhow::Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(variable).or_else(|| set("HOME").map(|home| home.join(below))).context("set HOME to your home directory")
}

/// A program that is installed beside this one.
pub(super) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find where this program is")?;
    let program = own.with_file_name(name);
    if !program.is_file() {
        bail!("there is no {}, which engines need; install it beside vswitchctl", program.display());
    }
    Ok(program)
}

/// The endpoints of engines' containers.
pub(super) fn print_endpoints(endpoints: &[Endpoint], wanted: impl Fn(&EngineKey) -> bool) -> anyhow::Result<()> {
    let mut table = Table::new(["ENGINE", "CONTAINER ID", "NAME", "INTERFACE", "NETWORK", "ADDRESS"]);
    let mut any = false;
    for one in endpoints {
        let Some(key) = one.engine.as_ref().filter(|key| wanted(key)) else { continue };
        let address = one.ipv4_address.as_ref().or(one.ipv6_address.as_ref());
        let address = address.map(String::as_str).unwrap_or_default();
        table.row([&key.engine, output::short(&key.container), &one.name, &key.interface, &one.network, address]);
        any = true;
    }
    match any {
        true => output::print(&table.render())?,
        false => output::print("No container of an engine is on the switch.\n")?,
    }
    Ok(())
}
