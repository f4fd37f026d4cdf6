//! Graphviz. Read first: <https://graphviz.org/doc/info/lang.html>.

use super::plan::Graph;

/// The graph in the DOT language.
pub(super) fn write(graph: &Graph) -> String {
    let mut text = String::from(
        "graph vswitch {\n  graph [rankdir=LR];\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n  \
         edge [fontname=\"sans-serif\", fontsize=10];\n",
    );
    if let Some(uplink) = &graph.uplink {
        text += "  outside [shape=ellipse];\n";
        text += &format!("  uplink [label={}];\n  outside -- uplink;\n", label(uplink.iter()));
    }
    for (place, network) in graph.networks.iter().enumerate() {
        let lines = std::iter::once(&network.name).chain(&network.details);
        text += &format!("  network{place} [label={}, style=filled, fillcolor=\"#dbe9f6\"];\n", label(lines));
        if network.outside {
            text += &format!("  uplink -- network{place};\n");
        }
    }
    for peering in &graph.peerings {
        let ([a, b], label) = (peering.networks, label(peering.allow.iter()));
        text += &format!("  network{a} -- network{b} [label={label}, style=bold];\n");
    }
    for (place, member) in graph.members.iter().enumerate() {
        let lines = std::iter::once(&member.name).chain(&member.details);
        text += &format!("  member{place} [label={}];\n", label(lines));
    }
    for link in &graph.links {
        let label = label(link.details.iter());
        text += &format!("  network{} -- member{} [label={label}];\n", link.network, link.member);
    }
    for (place, member) in graph.members.iter().enumerate().filter(|(_, member)| !member.ports.is_empty()) {
        // A published port without a way out leads nowhere: it is shown all the same, at the container alone.
        let from = if graph.uplink.is_some() { "uplink".to_owned() } else { format!("member{place}") };
        let label = label(member.ports.iter());
        text += &format!("  {from} -- member{place} [label={label}, style=dashed, constraint=false];\n");
    }
    text + "}\n"
}

/// Lines as a quoted string, in which only quotes and backslashes mean something.
fn label<'a>(lines: impl Iterator<Item = &'a String>) -> String {
    let escaped = lines.map(|line| {
        let plain = line.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
        plain.collect::<String>().replace('\\', "\\\\").replace('"', "\\\"")
    });
    format!("\"{}\"", escaped.collect::<Vec<_>>().join("\\n"))
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Link, Member, Net, Peering};
    use super::*;

    /// Everything that is linked is declared, and hostile names stay within their quotes.
    #[test]
    fn language() {
        let graph = Graph {
            uplink: Some(vec!["uplink packet:eth1".into(), "10.9.0.1/24".into()]),
            networks: vec![Net { name: "a\"b\\\n".into(), details: vec!["bridge".into()], outside: true }],
            members: vec![Member {
                name: "web".into(),
                details: Vec::new(),
                ports: vec!["0.0.0.0:8080->80/tcp".into()],
            }],
            links: vec![Link { network: 0, member: 0, details: vec!["eth0".into(), "10.0.0.2".into()] }],
            peerings: vec![Peering { networks: [0, 0], allow: vec!["tcp/80".into(), "icmp".into()] }],
        };
        let text = write(&graph);
        for line in [
            "  uplink [label=\"uplink packet:eth1\\n10.9.0.1/24\"];",
            "  network0 [label=\"a\\\"b\\\\ \\nbridge\", style=filled, fillcolor=\"#dbe9f6\"];",
            "  uplink -- network0;",
            "  network0 -- network0 [label=\"tcp/80\\nicmp\", style=bold];",
            "  network0 -- member0 [label=\"eth0\\n10.0.0.2\"];",
            "  uplink -- member0 [label=\"0.0.0.0:8080->80/tcp\", style=dashed, constraint=false];",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        assert!(text.starts_with("graph vswitch {\n") && text.ends_with("}\n"), "{text}");
    }
}
