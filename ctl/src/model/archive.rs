//! `docker cp` as commands of the container: what is copied is read and written by programs of the container itself, with its
//! rights, in its tree, so that no path of it means anything outside. vswitchd and its agent both say which commands these are.

use vswitch_api::container::ExecRequest;

/// What is done with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveAction {
    /// One line about it: size, mode and time, and where a link leads.
    Look,
    /// The same, and a tar archive behind it.
    Fetch,
    /// A tar archive at standard input is unpacked there.
    Store,
}

/// The command for a path of a container.
///
/// # Errors
/// A sentence when it is no path.
pub fn archive_command(action: ArchiveAction, query: &str) -> Result<ExecRequest, String> {
    let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')).map(decoded);
    let path = value("path").flatten().filter(|path| !path.is_empty() && !path.contains('\0'));
    let path = path.ok_or("say which path of the container: ?path=/…")?;
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    let owners = value("copyUIDGID").flatten().is_some_and(|text| matches!(text.as_str(), "1" | "true"));
    let script = match action {
        ArchiveAction::Look => LOOK.to_owned(),
        ArchiveAction::Fetch => format!("{LOOK} && exec tar -C \"$(dirname \"$1\")\" -cf - -- \"$(basename \"$1\")\""),
        ArchiveAction::Store if owners => "exec tar -C \"$1\" -xpf -".to_owned(),
        ArchiveAction::Store => "exec tar -C \"$1\" -xpof -".to_owned(),
    };
    let command = ["/bin/sh", "-c", &script, "docker-cp", &path].map(str::to_owned).to_vec();
    Ok(ExecRequest { command, working_dir: Some("/".to_owned()), ..ExecRequest::default() })
}

/// Size, raw mode, time; the target on a line of its own.
const LOOK: &str = "stat -c '%s %f %Y' -- \"$1\" && { readlink -- \"$1\" || echo; }";

/// `%2F` and `+`; `None` when it is no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
                rest = &tail[2..];
                u8::from_str_radix(digits, 16).ok()?
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths are taken out of a query, decoded and absolute, and are no part of the script.
    #[test]
    fn commands() {
        let command = archive_command(ArchiveAction::Look, "x=1&path=%2Ftmp%2Fa+b%3B").unwrap().command;
        assert_eq!(command[3..], ["docker-cp", "/tmp/a b;"]);
        assert_eq!(archive_command(ArchiveAction::Store, "path=etc").unwrap().command[4], "/etc");
        for wrong in ["", "path=", "path=%00", "path=%f", "other=/x"] {
            assert!(archive_command(ArchiveAction::Fetch, wrong).is_err(), "{wrong}");
        }
    }
}
