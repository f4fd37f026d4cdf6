//! Mermaid flowcharts. Read first: <https://mermaid.js.org/syntax/flowchart.html>.

use super::plan::Graph;

/// The graph as a flowchart.
pub(super) fn write(graph: &Graph) -> String {
    let mut text = String::from("flowchart LR\n");
    if let Some(uplink) = &graph.uplink {
        text += &format!("  outside([outside])\n  uplink[{}]\n  outside --- uplink\n", label(uplink.iter()));
    }
    for (place, network) in graph.networks.iter().enumerate() {
        let lines = std::iter::once(&network.name).chain(&network.details);
        text += &format!("  network{place}[[{}]]\n", label(lines));
        if network.outside {
            text += &format!("  uplink --- network{place}\n");
        }
    }
    for peering in &graph.peerings {
        let [a, b] = peering.networks;
        text += &format!("  network{a} ===|{}| network{b}\n", label(peering.allow.iter()));
    }
    for (place, member) in graph.members.iter().enumerate() {
        let lines = std::iter::once(&member.name).chain(&member.details);
        text += &format!("  member{place}({})\n", label(lines));
    }
    for link in &graph.links {
        let on = if link.details.is_empty() { String::new() } else { format!("|{}|", label(link.details.iter())) };
        text += &format!("  network{} ---{on} member{}\n", link.network, link.member);
    }
    for (place, member) in graph.members.iter().enumerate().filter(|(_, member)| !member.ports.is_empty()) {
        let from = if graph.uplink.is_some() { "uplink".to_owned() } else { format!("member{place}") };
        text += &format!("  {from} -.->|{}| member{place}\n", label(member.ports.iter()));
    }
    text
}

/// Lines as a quoted string; what would end it, or be taken for markup, is written as an entity.
fn label<'a>(lines: impl Iterator<Item = &'a String>) -> String {
    let escape = |line: &String| {
        line.chars().fold(String::new(), |text, letter| match letter {
            '#' => text + "#35;",
            '"' => text + "#quot;",
            '<' => text + "#lt;",
            '>' => text + "#gt;",
            '&' => text + "#amp;",
            '`' => text + "#96;",
            letter if letter.is_control() => text + " ",
            letter => text + letter.encode_utf8(&mut [0; 4]),
        })
    };
    format!("\"{}\"", lines.map(escape).collect::<Vec<_>>().join("<br/>"))
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Link, Member, Net, Peering};
    use super::*;

    /// Nodes, links with labels, published ports as dotted arrows; hostile names stay within their quotes.
    #[test]
    fn language() {
        let graph = Graph {
            uplink: Some(vec!["uplink sockets".into()]),
            networks: vec![Net { name: "a\"]<b>#".into(), details: vec!["bridge".into()], outside: true }],
            members: vec![Member { name: "web".into(), details: Vec::new(), ports: vec!["0.0.0.0:80->80/tcp".into()] }],
            links: vec![
                Link { network: 0, member: 0, details: vec!["eth0".into(), "10.0.0.2".into()] },
                Link { network: 0, member: 0, details: Vec::new() },
            ],
            peerings: vec![Peering { networks: [0, 0], allow: vec!["tcp/80".into()] }],
        };
        let expected = r#"flowchart LR
  outside([outside])
  uplink["uplink sockets"]
  outside --- uplink
  network0[["a#quot;]#lt;b#gt;#35;<br/>bridge"]]
  uplink --- network0
  network0 ===|"tcp/80"| network0
  member0("web")
  network0 ---|"eth0<br/>10.0.0.2"| member0
  network0 --- member0
  uplink -.->|"0.0.0.0:80-#gt;80/tcp"| member0
"#;
        assert_eq!(write(&graph), expected);
    }
}
