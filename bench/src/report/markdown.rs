//! A report as Markdown.

use std::fmt::Write as _;

use super::{Better, Group, Report, Section, Work};

impl Report {
    /// The whole report; it shows the drawing of the same name.
    #[must_use]
    pub fn markdown(&self, drawing: &str) -> String {
        let machine = &self.machine;
        let mut out = format!(
            "# vswitch beside its peers, {}\n\n![bars and curves of these tables]({drawing})\n\n",
            machine.date
        );
        let _ = writeln!(
            out,
            "Measured on {} cores of {}, {} GiB, {}, Linux {}, by\n\n```sh\n{}\n```\n",
            machine.cores, machine.processor, machine.memory_gib, machine.system, machine.kernel, self.command
        );
        out.push_str(
            "Every subject did the same work in the same run, in turn. A value is the median over the rounds, with half the \
             distance between the best and the worst round behind it; a ratio is the median of the rounds' ratios. \
             Machines differ: the ratios are what to go by.\n",
        );
        for group in &self.groups {
            table(&mut out, group);
        }
        for curve in &self.curves {
            let _ = writeln!(out, "\n## {}\n\n| {} | {} |\n|---:|---:|", curve.title, curve.x, curve.y);
            for (x, y) in &curve.points {
                let _ = writeln!(out, "| {} | {} |", short(*x), short(*y));
            }
        }
        for section in &self.sections {
            figures(&mut out, section);
        }
        out.push_str("\n## Versions\n\n");
        for (name, version) in &machine.versions {
            let _ = writeln!(out, "- {name}: {version}");
        }
        out
    }
}

fn table(out: &mut String, group: &Group) {
    let _ = writeln!(out, "\n## {}\n", group.title);
    let names: Vec<&str> = group.subjects.iter().map(|subject| subject.name).collect();
    let _ = writeln!(out, "| | {} | to the kernel | to the best peer |", names.join(" | "));
    let _ = writeln!(out, "|---|{}---:|---:|", "---:|".repeat(names.len()));
    for work in &group.works {
        let cells: Vec<String> = (0..names.len()).map(|subject| cell(work, subject)).collect();
        let less = if work.better == Better::Less { " (less is better)" } else { "" };
        let ratio = |ratio: Option<f64>| ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        let peer = group.to_best_peer(work).map(|(_, ratio)| ratio);
        let _ = writeln!(
            out,
            "| {}, {}{less} | {} | {} | {} |",
            work.title,
            work.unit,
            cells.join(" | "),
            ratio(group.to_kernel(work)),
            ratio(peer)
        );
    }
    for distribution in &group.distributions {
        distribution.markdown(out, group);
    }
    let judged: Vec<_> = group.works.iter().flat_map(|work| group.judged(work)).collect();
    if !judged.is_empty() {
        figures(out, &Section { title: format!("{}: goals", group.title), figures: judged });
    }
}

fn figures(out: &mut String, section: &Section) {
    let _ = writeln!(out, "\n## {}\n\n| | | goal | |\n|---|---:|---:|---|", section.title);
    for figure in &section.figures {
        let (goal, met) = figure
            .target
            .as_ref()
            .map_or(("", ""), |(goal, met)| (goal.as_str(), if *met { "met" } else { "**missed**" }));
        let _ = writeln!(out, "| {} | {} | {goal} | {met} |", figure.name.trim(), figure.shown);
    }
}

fn cell(work: &Work, subject: usize) -> String {
    let Some(median) = work.median(subject) else { return "–".to_owned() };
    match work.spread(subject) {
        Some(spread) if spread >= 0.005 => format!("{} ± {:.0} %", short(median), 100.0 * spread),
        _ => short(median),
    }
}

/// A number with about three digits.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.3} M", value / 1e6).replace(".000", ""),
        size if size >= 100.0 || size.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::group;
    use super::super::{Curve, Machine};
    use super::*;

    /// Medians with their spread, both ratios, goals, curves and versions are all there.
    #[test]
    fn everything_is_told() {
        let curve = Curve { title: "Grows".into(), x: "n".into(), y: "ns".into(), points: vec![(1000.0, 12.3)] };
        let report = Report {
            machine: Machine::here(),
            command: "bench/run".into(),
            groups: vec![group()],
            curves: vec![curve],
            sections: Vec::new(),
        };
        let text = report.markdown("latest.svg");
        assert!(text.contains("| TCP, Gbit/s | 20 ± 25 % | 15 ± 30 % | 8 ± 31 % | 2 | 0.75 | 1.50 |"), "{text}");
        assert!(text.contains("| TCP / ovs | 1.50 | >= 1.8 | **missed** |"), "{text}");
        assert!(
            text.contains("| 1000 | 12.3 |") && text.contains("bench/run") && text.contains("- vswitch: "),
            "{text}"
        );
    }

    /// Numbers are short and keep three digits.
    #[test]
    fn numbers() {
        let shown: Vec<String> = [1_000_000.0, 161_234.0, 15.73, 0.756, 8.0, 2.5e6].into_iter().map(short).collect();
        assert_eq!(shown, ["1 M", "161234", "15.7", "0.76", "8", "2.500 M"]);
    }
}
