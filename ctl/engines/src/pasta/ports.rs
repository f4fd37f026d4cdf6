//! Which ports lead where: `-t`, `-u` to the namespace, `-T`, `-U` from it.

use std::net::IpAddr;

/// Who listens, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Direction {
    pub(super) protocol: Protocol,
    pub(super) listener: Listener,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listener {
    /// The host, for what is in the namespace.
    Host,
    /// The namespace, for what is on the host's loopback.
    Namespace,
}

/// What is said of all four.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) tcp_in: Wanted,
    pub(super) udp_in: Wanted,
    pub(super) tcp_out: Wanted,
    pub(super) udp_out: Wanted,
}

/// What is said of one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Nothing, which means [`Wanted::Automatic`].
    #[default]
    Unsaid,
    None,
    /// Whatever is listened at on the other side, but for these.
    Automatic(Vec<Range>),
    These(Vec<Forward>),
}

/// Ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
}

/// Ports that lead to as many others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forward {
    /// At this address alone.
    pub(super) at: Option<IpAddr>,
    pub(super) from: Range,
    /// The first of those that it leads to.
    pub(super) to: u16,
}

impl Direction {
    /// The option's letter.
    const fn letter(self) -> char {
        match (self.protocol, self.listener) {
            (Protocol::Tcp, Listener::Host) => 't',
            (Protocol::Udp, Listener::Host) => 'u',
            (Protocol::Tcp, Listener::Namespace) => 'T',
            (Protocol::Udp, Listener::Namespace) => 'U',
        }
    }
}

impl Protocol {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

impl Wanted {
    /// What is left out of whatever is listened at; `None`: that is not asked for.
    pub(super) fn excluded(&self) -> Option<&[Range]> {
        match self {
            Wanted::Unsaid => Some(&[]),
            Wanted::Automatic(excluded) => Some(excluded),
            Wanted::None | Wanted::These(_) => None,
        }
    }

    /// Whether a port was named.
    pub(super) fn names(&self, port: u16) -> bool {
        matches!(self, Wanted::These(forwards) if forwards.iter().any(|one| one.from.contains(port)))
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl Range {
    pub(super) const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    fn parse(text: &str) -> Option<Range> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let range = Range { first: port(first)?, last: port(last)? };
        (range.first <= range.last).then_some(range)
    }
}

impl Ports {
    /// One option's value.
    pub(super) fn take(&mut self, direction: Direction, text: &str) -> Result<(), String> {
        let place = match (direction.protocol, direction.listener) {
            (Protocol::Tcp, Listener::Host) => &mut self.tcp_in,
            (Protocol::Udp, Listener::Host) => &mut self.udp_in,
            (Protocol::Tcp, Listener::Namespace) => &mut self.tcp_out,
            (Protocol::Udp, Listener::Namespace) => &mut self.udp_out,
        };
        let letter = direction.letter();
        let refused = || format!("invalid port specifier '-{letter} {text}'");
        let said = match text {
            "none" => Wanted::None,
            "auto" => Wanted::Automatic(Vec::new()),
            "all" => {
                return Err(format!(
                    "'-{letter} all' would take all of the host's ports, and is not built; name ports, or use '-{letter} auto'"
                ));
            }
            _ => read(text, direction).map_err(|why| why.unwrap_or_else(refused))?,
        };
        *place = match (std::mem::take(place), said) {
            (Wanted::Unsaid, said) => said,
            (Wanted::These(mut before), Wanted::These(more)) => {
                before.extend(more);
                Wanted::These(before)
            }
            (Wanted::Automatic(mut before), Wanted::Automatic(more)) => {
                before.extend(more);
                Wanted::Automatic(before)
            }
            (Wanted::None, Wanted::None) => Wanted::None,
            _ => return Err(format!("'-{letter} {text}' contradicts an option '-{letter}' before it")),
        };
        Ok(())
    }

    /// What the host forwards from the start, as vswitchd takes it.
    pub(super) fn published(&self) -> Vec<String> {
        let of = |wanted: &Wanted, protocol: Protocol| match wanted {
            Wanted::These(forwards) => forwards.iter().map(|one| one.spec(protocol)).collect(),
            _ => Vec::new(),
        };
        let mut all = of(&self.tcp_in, Protocol::Tcp);
        all.extend(of(&self.udp_in, Protocol::Udp));
        all
    }
}

/// `[ADDRESS/]PORTS,…`; `Err(None)`: it makes no sense.
fn read(text: &str, direction: Direction) -> Result<Wanted, Option<String>> {
    let (at, list) = match text.split_once('/') {
        None => (None, text),
        Some((at, _)) if at.contains('%') => {
            return Err(Some(format!(
                "'-{} {text}' names an interface, to which sockets are not bound; name one of its addresses",
                direction.letter()
            )));
        }
        Some((at, list)) => {
            let bare = at.strip_prefix('[').and_then(|at| at.strip_suffix(']')).unwrap_or(at);
            (Some(bare.parse::<IpAddr>().map_err(|_| None)?), list)
        }
    };
    let (mut wanted, mut excluded) = (Vec::new(), Vec::new());
    for part in list.split(',') {
        if let Some(range) = part.strip_prefix('~') {
            excluded.push(Range::parse(range).ok_or(None)?);
            continue;
        }
        let (from, to) = part.split_once(':').map_or((part, part), |(from, to)| (from, to));
        let (from, to) = (Range::parse(from).ok_or(None)?, Range::parse(to).ok_or(None)?);
        if from.last - from.first != to.last - to.first {
            return Err(None);
        }
        wanted.push(Forward { at, from, to: to.first });
    }
    match (wanted.is_empty(), at) {
        (true, None) => Ok(Wanted::Automatic(excluded)),
        (true, Some(_)) => Err(None),
        (false, _) => Ok(Wanted::These(wanted.iter().flat_map(|one| one.without(&excluded)).collect())),
    }
}

impl Forward {
    /// What is left of it.
    fn without(&self, excluded: &[Range]) -> Vec<Forward> {
        let mut left: Vec<Forward> = Vec::new();
        for port in self.from.first..=self.from.last {
            if excluded.iter().any(|range| range.contains(port)) {
                continue;
            }
            match left.last_mut() {
                Some(last) if last.from.last + 1 == port => last.from.last = port,
                _ => left.push(Forward {
                    from: Range { first: port, last: port },
                    to: self.to + (port - self.from.first),
                    ..self.clone()
                }),
            }
        }
        left
    }

    /// As vswitchd takes it.
    fn spec(&self, protocol: Protocol) -> String {
        let at = match self.at {
            None => String::new(),
            Some(IpAddr::V4(address)) => format!("{address}:"),
            Some(IpAddr::V6(address)) => format!("[{address}]:"),
        };
        let Range { first, last } = self.from;
        let to = self.to;
        match last - first {
            0 => format!("{at}{first}:{to}/{}", protocol.word()),
            more => format!("{at}{first}-{last}:{to}-{}/{}", to + more, protocol.word()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: Direction = Direction { protocol: Protocol::Tcp, listener: Listener::Host };
    const UDP: Direction = Direction { protocol: Protocol::Udp, listener: Listener::Host };

    fn published(direction: Direction, texts: &[&str]) -> Result<String, String> {
        let mut ports = Ports::default();
        for text in texts {
            ports.take(direction, text)?;
        }
        Ok(ports.published().join(" "))
    }

    /// Every form of the manual, and podman's, which are always ranges.
    #[test]
    fn forms() {
        for (text, spec) in [
            ("22", "22:22/tcp"),
            ("22:23", "22:23/tcp"),
            ("22,25", "22:22/tcp 25:25/tcp"),
            ("22-24", "22-24:22-24/tcp"),
            ("22-24:32-34", "22-24:32-34/tcp"),
            ("192.0.2.1/22", "192.0.2.1:22:22/tcp"),
            ("2000-2005,~2002-2003", "2000-2001:2000-2001/tcp 2004-2005:2004-2005/tcp"),
            ("192.0.2.1/20-30:120-130,~25", "192.0.2.1:20-24:120-124/tcp 192.0.2.1:26-30:126-130/tcp"),
            ("127.0.0.1/8080-8080:80-80", "127.0.0.1:8080:80/tcp"),
            ("::1/8080-8081:80-81", "[::1]:8080-8081:80-81/tcp"),
            ("[::1]/8080", "[::1]:8080:8080/tcp"),
            ("65535", "65535:65535/tcp"),
            ("none", ""),
        ] {
            assert_eq!(published(TCP, &[text]).as_deref(), Ok(spec), "{text}");
        }
        assert_eq!(published(UDP, &["53", "127.0.0.1/54"]).unwrap(), "53:53/udp 127.0.0.1:54:54/udp");
        let mut ports = Ports::default();
        ports.take(TCP, "~25,~30-31").unwrap();
        let excluded = vec![Range { first: 25, last: 25 }, Range { first: 30, last: 31 }];
        assert_eq!(ports.tcp_in, Wanted::Automatic(excluded));
        ports.take(UDP, "auto").unwrap();
        assert_eq!(ports.udp_in, Wanted::Automatic(Vec::new()));
    }

    /// What makes no sense is refused.
    #[test]
    fn nonsense() {
        for text in [
            "",
            "x",
            "0",
            "65536",
            "-1",
            "80-",
            "80-70",
            "80:90:100",
            "80-81:90",
            "80:90-91",
            "192.0.2.1/",
            "x/80",
            "192.0.2.1/~80",
            "80,",
            "80,,81",
            "~",
            "~x",
            "[::1/80",
        ] {
            let said = published(TCP, &[text]).unwrap_err();
            assert_eq!(said, format!("invalid port specifier '-t {text}'"));
        }
        assert!(published(TCP, &["all"]).unwrap_err().contains("is not built"));
        assert!(published(TCP, &["192.0.2.1%eth0/22"]).unwrap_err().contains("names an interface"));
        assert!(published(TCP, &["none", "80"]).unwrap_err().contains("contradicts"));
        assert!(published(TCP, &["80", "auto"]).unwrap_err().contains("contradicts"));
    }
}
