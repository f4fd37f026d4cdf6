//! Where machines find a port.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// `--listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    /// `stream:PATH`
    Stream(PathBuf),
    /// `dgram:PATH`
    Datagram(PathBuf),
    /// `vde:DIRECTORY`
    Vde(PathBuf),
    /// `udp:LOCAL,REMOTE`
    Udp {
        /// Ours.
        local: SocketAddr,
        /// Theirs.
        remote: SocketAddr,
    },
    /// `fd:NUMBER`
    Descriptor(i32),
}

const FORMS: &str = "write stream:PATH, dgram:PATH, vde:DIRECTORY, udp:LOCAL:PORT,REMOTE:PORT or fd:NUMBER";

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let path = || match rest {
            "" => Err(format!("{kind} needs a path; {FORMS}")),
            path => std::path::absolute(path).map_err(|error| error.to_string()),
        };
        let address = |text: &str| {
            text.parse::<SocketAddr>()
                .map_err(|_| format!("{text:?} is no address with a port, such as 127.0.0.1:10000"))
        };
        match kind {
            "stream" => path().map(Listen::Stream),
            "dgram" => path().map(Listen::Datagram),
            "vde" => path().map(Listen::Vde),
            "udp" => {
                let (local, remote) =
                    rest.split_once(',').ok_or_else(|| format!("udp needs two addresses; {FORMS}"))?;
                let (local, remote) = (address(local)?, address(remote)?);
                if local.is_ipv4() != remote.is_ipv4() {
                    return Err(format!("{local} and {remote} are of different families"));
                }
                Ok(Listen::Udp { local, remote })
            }
            "fd" => match rest.parse() {
                Ok(number) if number >= 0 => Ok(Listen::Descriptor(number)),
                _ => Err(format!("fd needs the number of a descriptor; {FORMS}")),
            },
            _ => Err(FORMS.to_owned()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Stream(path) => write!(f, "stream:{}", path.display()),
            Listen::Datagram(path) => write!(f, "dgram:{}", path.display()),
            Listen::Vde(directory) => write!(f, "vde:{}", directory.display()),
            Listen::Udp { local, remote } => write!(f, "udp:{local},{remote}"),
            Listen::Descriptor(number) => write!(f, "fd:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is well-formed is shown as it was written, with whole paths; all else gets a sentence.
    #[test]
    fn forms() {
        for text in ["stream:/run/vm", "dgram:/run/vm", "vde:/run/vde", "udp:127.0.0.1:1,127.0.0.1:2", "fd:3"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        assert!(matches!("stream:vm".parse::<Listen>(), Ok(Listen::Stream(path)) if path.is_absolute()));
        for text in [
            "",
            "stream",
            "stream:",
            "dgram:",
            "udp:127.0.0.1:1",
            "udp:1,2",
            "udp:127.0.0.1:1,[::1]:2",
            "fd:",
            "fd:-1",
            "fd:x",
        ] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }
}
