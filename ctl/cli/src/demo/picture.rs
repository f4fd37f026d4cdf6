//! The topology, drawn.

use vswitch_api::endpoint::Endpoint;

/// Blanks and lines between the boxes.
const WIRE: &str = "--------";

/// Two containers on one network:
///
/// ```text
///      left                 network demo                right
/// +------------+        +------------------+        +------------+
/// | eth0       |--------| 1   vswitchd   2 |--------| eth0       |
/// | 172.18.0.2 |        | 172.18.0.0/16    |        | 172.18.0.3 |
/// +------------+        +------------------+        +------------+
/// ```
pub(crate) fn topology(left: &Endpoint, right: &Endpoint, subnets: &[String]) -> String {
    let port = |endpoint: &Endpoint| endpoint.port.map(|port| port.to_string()).unwrap_or_default();
    let interface = |endpoint: &Endpoint| endpoint.interface.clone().unwrap_or_default();
    let left_box = Box::new(&left.name, &interface(left), &addresses(left));
    let right_box = Box::new(&right.name, &interface(right), &addresses(right));
    let mut switch_box = Box::new(&format!("network {}", left.network), "0   vswitchd   0", subnets);
    switch_box.lines[0] = between(&port(left), "vswitchd", &port(right), switch_box.width);
    let boxes = [left_box, switch_box, right_box];
    let height = boxes.iter().map(|part| part.lines.len()).max().unwrap_or_default();
    let blank = " ".repeat(WIRE.len());
    let row = |pieces: Vec<String>, between: &str| pieces.join(between).trim_end().to_owned() + "\n";
    let mut picture = row(boxes.iter().map(Box::title).collect(), &blank);
    picture += &row(boxes.iter().map(Box::edge).collect(), &blank);
    for line in 0..height {
        let between = if line == 0 { WIRE } else { &blank };
        picture += &row(boxes.iter().map(|part| part.line(line)).collect(), between);
    }
    picture + &row(boxes.iter().map(Box::edge).collect(), &blank)
}

/// A word in the middle, others at both ends.
fn between(left: &str, middle: &str, right: &str, width: usize) -> String {
    let mut line = format!("{middle:^width$}");
    line.replace_range(..left.len(), left);
    line.replace_range(width - right.len().., right);
    line
}

struct Box {
    title: String,
    lines: Vec<String>,
    width: usize,
}

impl Box {
    fn new(title: &str, first: &str, rest: &[String]) -> Self {
        let lines: Vec<String> = [first.to_owned()].into_iter().chain(rest.iter().cloned()).collect();
        let width = lines.iter().map(String::len).max().unwrap_or_default().max(title.len());
        Box { title: title.to_owned(), lines, width }
    }

    fn title(&self) -> String {
        format!("{:^width$}", self.title, width = self.width + 4)
    }

    fn edge(&self) -> String {
        format!("+{}+", "-".repeat(self.width + 2))
    }

    fn line(&self, number: usize) -> String {
        format!("| {:<width$} |", self.lines.get(number).map_or("", String::as_str), width = self.width)
    }
}

fn addresses(endpoint: &Endpoint) -> Vec<String> {
    let both = [&endpoint.ipv4_address, &endpoint.ipv6_address];
    both.into_iter().flatten().map(|address| bare(address).to_owned()).collect()
}

/// An address without its prefix length.
pub(crate) fn bare(address: &str) -> &str {
    address.split('/').next().unwrap_or(address)
}

#[cfg(test)]
mod tests {
    use vswitch_api::endpoint::EndpointState;

    use std::collections::BTreeMap;

    use super::*;

    fn endpoint(name: &str, address: &str, port: u32) -> Endpoint {
        Endpoint {
            id: String::new(),
            name: name.into(),
            network: "demo".into(),
            network_id: String::new(),
            container_id: None,
            state: EndpointState::Up,
            interface: Some("eth0".into()),
            mac_address: String::new(),
            ipv4_address: Some(format!("{address}/16")),
            ipv6_address: None,
            ipv4_gateway: None,
            ipv6_gateway: None,
            name_servers: Vec::new(),
            mtu: 1500,
            port: Some(port),
            aliases: Vec::new(),
            links: Vec::new(),
            options: BTreeMap::new(),
            violations: Vec::new(),
            engine: None,
            warnings: Vec::new(),
        }
    }

    /// Boxes close, wires meet the ports.
    #[test]
    fn drawing() {
        let picture = topology(
            &endpoint("left", "172.18.0.2", 1),
            &endpoint("right", "172.18.0.3", 2),
            &["172.18.0.0/16".into()],
        );
        let expected = "     \
     left                 network demo                right\n\
+------------+        +------------------+        +------------+\n\
| eth0       |--------| 1   vswitchd   2 |--------| eth0       |\n\
| 172.18.0.2 |        | 172.18.0.0/16    |        | 172.18.0.3 |\n\
+------------+        +------------------+        +------------+\n";
        assert_eq!(picture, expected, "\n{picture}");
    }
}
