//! `cp`: files between a container and here, as tar archives that the daemon reads and writes.
//!
//! `place` says what the copy is called and where it goes; `fetch` unpacks here what comes out of a container, `store` packs what goes
//! into one.

mod fetch;
mod place;
mod store;

use clap::Args;
use vswitch_api::Client;

use crate::failure::Usage;
use crate::{output, units};

const EXAMPLES: &str = "\
Examples:
  vswitchctl cp web:/etc/hosts .             out of a container
  vswitchctl cp page.html web:/srv/          into one
  vswitchctl cp web:/var/log/. logs          what is in a folder, without the folder
  vswitchctl cp web:/srv - | tar -t          an archive on standard output; '-' as SRC takes one

The container runs, and has sh, stat and tar: its own programs read and write its files.";

/// Arguments of `cp`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CpArgs {
    /// Keep the numbers of users and groups
    #[arg(short, long)]
    archive: bool,
    /// Copy what a symbolic link SRC leads to
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Say nothing about what was done
    #[arg(short, long)]
    quiet: bool,
    /// CONTAINER:PATH, a path here, or - for an archive on standard input
    #[arg(value_name = "SRC", allow_hyphen_values = true)]
    source: String,
    /// CONTAINER:PATH, a path here, or - for an archive on standard output
    #[arg(value_name = "DEST", allow_hyphen_values = true)]
    destination: String,
}

/// One side of a copy.
enum Side<'a> {
    Here(&'a str),
    In(&'a str, &'a str),
}

impl Side<'_> {
    /// As Docker reads it: what begins with `/` or `.` is a path here, whatever colons it has.
    fn parse(text: &str) -> Side<'_> {
        match text.split_once(':') {
            Some((container, path)) if !container.is_empty() && !text.starts_with(['/', '.']) => {
                Side::In(container, path)
            }
            _ => Side::Here(text),
        }
    }
}

/// What was copied: where to, and how much; nothing is said of archives on standard streams.
type Copied = Option<(String, u64)>;

impl CpArgs {
    pub(crate) async fn run(self, client: &Client) -> anyhow::Result<()> {
        let copied = match (Side::parse(&self.source), Side::parse(&self.destination)) {
            (Side::In(container, path), Side::Here(here)) => {
                fetch::run(client, container, path, here, &self).await?.map(|bytes| (here.to_owned(), bytes))
            }
            (Side::Here(here), Side::In(container, path)) => {
                let bytes = store::run(client, here, container, path, &self).await?;
                bytes.map(|bytes| (format!("{container}:{path}"), bytes))
            }
            (Side::In(..), Side::In(..)) => {
                return Err(Usage("copying between containers is not supported; copy to here first".into()).into());
            }
            (Side::Here(_), Side::Here(_)) => {
                return Err(Usage("name a container on one side, as CONTAINER:PATH".into()).into());
            }
        };
        self.tell(copied);
        Ok(())
    }

    fn tell(&self, copied: Copied) {
        if let Some((place, bytes)) = copied.filter(|_| !self.quiet) {
            output::note(&format!("Successfully copied {} to {place}", units::bytes(bytes)));
        }
    }
}

/// A container's path, behind a link where that is asked for.
async fn followed(client: &Client, container: &str, path: &str) -> String {
    match client.container_path(container, path).await {
        Ok(stat) if stat.is_link() && !stat.link_target.is_empty() => {
            if stat.link_target.starts_with('/') {
                return stat.link_target;
            }
            let (folder, _) = place::split(path);
            format!("{}/{}", folder.trim_end_matches('/'), stat.link_target)
        }
        // What is wrong with it is said by the call that needs it.
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Containers are named in front of a colon, unless it is plainly a path.
    #[test]
    fn sides() {
        assert!(matches!(Side::parse("web:/etc"), Side::In("web", "/etc")));
        assert!(matches!(Side::parse("web:"), Side::In("web", "")));
        for here in ["/a:b", "./a:b", "../a:b", "file", "-", ":x"] {
            assert!(matches!(Side::parse(here), Side::Here(text) if text == here), "{here}");
        }
    }
}
