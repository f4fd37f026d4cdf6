//! The graph drawn with letters:
//!
//! ```text
//! outside
//!     │
//! ┌───┴─────────────────────┐
//! │ uplink packet:eth1      │
//! │ 10.9.0.1/24             │
//! └───┬─────────────────────┘
//!     │   ┌─────────────────────┐       ┌────────────────────────┐
//!     └───┤ shop                ├───┬───┤ db                     │
//!         │ bridge              │   │   │ eth0 172.18.0.2        │
//!         │ 172.18.0.0/16       │   │   └────────────────────────┘
//!         │ gateway 172.18.0.1  │   │   ┌────────────────────────┐
//!         └─────────────────────┘   └───┤ web                    │
//!                                       │ eth0 172.18.0.3        │
//!                                       │ 0.0.0.0:8080->80/tcp   │
//!                                       └────────────────────────┘
//! ```

use unicode_width::UnicodeWidthStr;

use super::plan::{Graph, Link};

/// What lines are drawn with.
#[derive(Debug)]
pub(super) struct Pen {
    across: &'static str,
    down: &'static str,
    /// Upper left, upper right, lower left, lower right.
    corners: [&'static str; 4],
    /// A line that another leaves: to the right, to the left, downwards, upwards.
    tees: [&'static str; 4],
}

/// The letters that are made for it.
pub(super) const LINES: Pen =
    Pen { across: "─", down: "│", corners: ["┌", "┐", "└", "┘"], tees: ["├", "┤", "┬", "┴"] };

/// Letters that every terminal has.
pub(super) const ASCII: Pen = Pen { across: "-", down: "|", corners: ["+", "+", "+", "+"], tees: ["+", "+", "+", "+"] };

/// Columns before the trunk, and between it and the networks.
const STEM: usize = 4;
/// Columns between a network and what joins its members, and from there to them.
const ARM: usize = 3;

/// The drawing, each line ended.
pub(super) fn draw(graph: &Graph, pen: &Pen) -> String {
    let mut lines = Vec::new();
    if let Some(uplink) = &graph.uplink {
        lines.push("outside".to_owned());
        lines.push(format!("{}{}", " ".repeat(STEM), pen.down));
        let mut frame = frame(pen, uplink, 0);
        let tail = frame.len() - 1;
        frame[0] = with_letter(&frame[0], STEM, pen.tees[3]);
        frame[tail] = with_letter(&frame[tail], STEM, pen.tees[2]);
        lines.extend(frame);
    }
    let titles: Vec<Vec<String>> = graph
        .networks
        .iter()
        .map(|network| std::iter::once(&network.name).chain(&network.details).map(|line| printable(line)).collect())
        .collect();
    // All of one width, so that the members stand in one column.
    let width = titles.iter().flatten().map(|line| line.width()).max().unwrap_or_default();
    let last_outside = graph.networks.iter().rposition(|network| network.outside);
    for (place, title) in titles.iter().enumerate() {
        let trunk =
            Trunk { joins: graph.networks[place].outside, goes_on: last_outside.is_some_and(|last| place < last) };
        let members: Vec<_> = graph.links.iter().filter(|link| link.network == place).collect();
        lines.extend(row(graph, pen, &frame(pen, title, width), &members, trunk));
        if place + 1 < titles.len() {
            lines.push(if trunk.goes_on { format!("{}{}", " ".repeat(STEM), pen.down) } else { String::new() });
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// The line down the left side, at one network.
#[derive(Debug, Clone, Copy)]
struct Trunk {
    joins: bool,
    goes_on: bool,
}

/// A network on the left, its members one below the other on the right.
fn row(graph: &Graph, pen: &Pen, network: &[String], members: &[&Link], trunk: Trunk) -> Vec<String> {
    let mut right: Vec<String> = Vec::new();
    // Lines at which a member's name stands.
    let mut doors = Vec::new();
    for link in members {
        doors.push(right.len() + 1);
        right.extend(frame(pen, &member(graph, link), 0));
    }
    let blank = " ".repeat(network[0].width());
    let (first, last) = (1, doors.last().copied().unwrap_or_default());
    (0..network.len().max(right.len()))
        .map(|line| {
            let mut left = network.get(line).cloned().unwrap_or_else(|| blank.clone());
            let mut there = right.get(line).cloned().unwrap_or_default();
            if line == first && trunk.joins {
                left = with_letter(&left, 0, pen.tees[1]);
            }
            if line == first && !members.is_empty() {
                left = with_letter(&left, left.width() - 1, pen.tees[0]);
            }
            let door = doors.contains(&line);
            if door {
                there = with_letter(&there, 0, pen.tees[1]);
            }
            format!("{}{left}{}{there}", stem(pen, line, trunk), bus(pen, line, door, first, last))
        })
        .collect()
}

/// The trunk, and the way from it to a network.
fn stem(pen: &Pen, line: usize, trunk: Trunk) -> String {
    let (before, after) = (" ".repeat(STEM), STEM - 1);
    match (line, trunk.joins, trunk.goes_on) {
        (1, true, true) => format!("{before}{}{}", pen.tees[0], pen.across.repeat(after)),
        (1, true, false) => format!("{before}{}{}", pen.corners[2], pen.across.repeat(after)),
        (0, true, _) | (_, _, true) => format!("{before}{}{}", pen.down, " ".repeat(after)),
        _ => " ".repeat(STEM + 1 + after),
    }
}

/// What joins a network and its members, at one line.
fn bus(pen: &Pen, line: usize, door: bool, first: usize, last: usize) -> String {
    let (blank, arm) = (" ".repeat(ARM), pen.across.repeat(ARM));
    match line {
        line if line == first && last == first => format!("{arm}{}{arm}", pen.across),
        line if line == first && last > first => format!("{arm}{}{arm}", pen.tees[2]),
        line if door && line == last => format!("{blank}{}{arm}", pen.corners[2]),
        _ if door => format!("{blank}{}{arm}", pen.tees[0]),
        line if line > first && line < last => format!("{blank}{}{blank}", pen.down),
        _ => format!("{blank} {blank}"),
    }
}

fn member(graph: &Graph, link: &Link) -> Vec<String> {
    let member = &graph.members[link.member];
    let mut lines = vec![printable(&member.name)];
    lines.extend((!link.details.is_empty()).then(|| link.details.join(" ")));
    lines.extend(member.details.iter().map(|line| printable(line)));
    lines.extend(member.ports.iter().cloned());
    let elsewhere = graph.links.iter().filter(|other| other.member == link.member && other.network != link.network);
    lines.extend(elsewhere.map(|other| format!("also on {}", printable(&graph.networks[other.network].name))));
    lines
}

/// A box around lines, at least so wide.
fn frame(pen: &Pen, lines: &[String], width: usize) -> Vec<String> {
    let width = lines.iter().map(|line| line.width()).max().unwrap_or_default().max(width);
    let edge = |left: &str, right: &str| format!("{left}{}{right}", pen.across.repeat(width + 2));
    let [upper_left, upper_right, lower_left, lower_right] = pen.corners;
    let inside = lines
        .iter()
        .map(|line| format!("{down} {line}{blank} {down}", down = pen.down, blank = " ".repeat(width - line.width())));
    std::iter::once(edge(upper_left, upper_right)).chain(inside).chain([edge(lower_left, lower_right)]).collect()
}

/// The line with the letter in that column replaced. Only letters of width one are before it in practice; a wider one
/// moves the place.
fn with_letter(line: &str, column: usize, letter: &str) -> String {
    let mut seen = 0;
    let mut text = String::with_capacity(line.len());
    for old in line.chars() {
        let width = unicode_width::UnicodeWidthChar::width(old).unwrap_or_default();
        if seen == column {
            text.push_str(letter);
        } else {
            text.push(old);
        }
        seen += width;
    }
    text
}

fn printable(line: &str) -> String {
    line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Member, Net};
    use super::*;

    fn net(name: &str, details: &[&str], outside: bool) -> Net {
        Net { name: name.into(), details: details.iter().map(|&one| one.into()).collect(), outside }
    }

    fn member(name: &str, ports: &[&str]) -> Member {
        Member { name: name.into(), details: Vec::new(), ports: ports.iter().map(|&one| one.into()).collect() }
    }

    fn link(network: usize, member: usize, details: &[&str]) -> Link {
        Link { network, member, details: details.iter().map(|&one| one.into()).collect() }
    }

    fn shop() -> Graph {
        Graph {
            uplink: Some(vec!["uplink packet:eth1".into(), "10.9.0.1/24".into()]),
            networks: vec![
                net("front", &["bridge", "172.18.0.0/16"], true),
                net("shop", &["bridge"], true),
                net("näher 店", &["no way out"], false),
            ],
            members: vec![member("db", &[]), member("web", &["0.0.0.0:8080->80/tcp"]), member("x", &[])],
            links: vec![
                link(0, 1, &["eth0", "172.18.0.3"]),
                link(1, 0, &["eth0", "172.19.0.2"]),
                link(1, 1, &["eth1", "172.19.0.3"]),
                link(1, 2, &[]),
            ],
            peerings: Vec::new(),
        }
    }

    /// Trunk, boxes and arms meet, members of several networks say so, wide letters keep their room.
    #[test]
    fn lines_meet() {
        let expected = "\
outside
    │
┌───┴────────────────┐
│ uplink packet:eth1 │
│ 10.9.0.1/24        │
└───┬────────────────┘
    │   ┌───────────────┐       ┌──────────────────────┐
    ├───┤ front         ├───────┤ web                  │
    │   │ bridge        │       │ eth0 172.18.0.3      │
    │   │ 172.18.0.0/16 │       │ 0.0.0.0:8080->80/tcp │
    │   └───────────────┘       │ also on shop         │
    │                           └──────────────────────┘
    │
    │   ┌───────────────┐       ┌─────────────────┐
    └───┤ shop          ├───┬───┤ db              │
        │ bridge        │   │   │ eth0 172.19.0.2 │
        └───────────────┘   │   └─────────────────┘
                            │   ┌──────────────────────┐
                            ├───┤ web                  │
                            │   │ eth1 172.19.0.3      │
                            │   │ 0.0.0.0:8080->80/tcp │
                            │   │ also on front        │
                            │   └──────────────────────┘
                            │   ┌───┐
                            └───┤ x │
                                └───┘

        ┌───────────────┐
        │ näher 店      │
        │ no way out    │
        └───────────────┘
";
        let drawn = draw(&shop(), &LINES);
        assert_eq!(drawn, expected, "\n{drawn}");
    }

    /// With --ascii there is nothing but ASCII, apart from names, in the same places.
    #[test]
    fn ascii() {
        let mut graph = shop();
        graph.networks.pop();
        let (drawn, lines) = (draw(&graph, &ASCII), draw(&graph, &LINES));
        assert!(drawn.is_ascii(), "{drawn}");
        let widths = |text: &str| text.lines().map(|line| line.chars().count()).collect::<Vec<_>>();
        assert_eq!(widths(&drawn), widths(&lines));
    }

    /// Nothing at all is an empty drawing.
    #[test]
    fn nothing() {
        assert_eq!(draw(&Graph::default(), &LINES), "");
    }
}
