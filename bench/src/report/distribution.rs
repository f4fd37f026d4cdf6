//! How long the slow ones take: percentiles of several subjects.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Group, markdown::short, median};

/// What is shown of a distribution, in percent; closer and closer to all.
pub const PERCENTS: [f64; 8] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99];

/// Percentiles that several subjects reached in turn.
#[derive(Debug, Clone, Serialize)]
pub struct Distribution {
    /// What was done.
    pub title: &'static str,
    /// The unit of all values.
    pub unit: &'static str,
    /// By subject, as in the group; by round; by percentile, as in [`PERCENTS`].
    pub values: Vec<Vec<Vec<f64>>>,
}

impl Distribution {
    /// A subject's values by percentile, medians over the rounds.
    fn medians(&self, subject: usize) -> Option<Vec<f64>> {
        let rounds = &self.values[subject];
        let at = |place: usize| median(rounds.iter().filter_map(|round| round.get(place).copied()).collect());
        (!rounds.is_empty()).then(|| (0..PERCENTS.len()).map(at).collect())
    }

    fn all(&self) -> impl Iterator<Item = (usize, Vec<f64>)> {
        (0..self.values.len()).filter_map(|subject| Some((subject, self.medians(subject)?)))
    }

    pub(super) fn markdown(&self, out: &mut String, group: &Group) {
        let percents: Vec<String> = PERCENTS.iter().map(|percent| format!("{percent} %")).collect();
        let _ = writeln!(out, "\n{}, {}:\n\n| | {} |", self.title, self.unit, percents.join(" | "));
        let _ = writeln!(out, "|---|{}", "---:|".repeat(percents.len()));
        for (subject, values) in self.all() {
            let values: Vec<String> = values.into_iter().map(short).collect();
            let _ = writeln!(out, "| {} | {} |", group.subjects[subject].name, values.join(" | "));
        }
    }

    /// One line for each subject, with its name at its end; both axes are logarithmic.
    pub(super) fn draw(&self, out: &mut String, (x, y): (f64, f64), group: &Group) {
        const NAMES: f64 = 120.0;
        let lines: Vec<_> = self.all().collect();
        let all = || lines.iter().flat_map(|(_, values)| values).map(|value| value.max(0.1).log10());
        let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
        let span = (high - low).max(0.1);
        let (left, top) = (x + 40.0, y + 40.0);
        let width = super::svg::WIDTH - 40.0 - NAMES;
        let tail = |percent: f64| -(1.0 - percent / 100.0).log10();
        let (first, last) = (tail(PERCENTS[0]), tail(PERCENTS[PERCENTS.len() - 1]));
        let across = |percent: f64| left + (tail(percent) - first) / (last - first) * width;
        let up = |value: f64| top + HEIGHT - (value.max(0.1).log10() - low) / span * HEIGHT;
        let _ = write!(
            out,
            "<text class='t' x='{x:.0}' y='{:.0}'>{} <tspan class='m'>({}, by percentile, less is better)</tspan></text>",
            y + 12.0,
            self.title,
            self.unit
        );
        for percent in PERCENTS {
            let at = across(percent);
            let _ = write!(
                out,
                "<line class='axis' x1='{at:.1}' y1='{:.1}' x2='{at:.1}' y2='{:.1}'/>\
                 <text class='m' text-anchor='middle' x='{at:.1}' y='{:.1}'>{percent} %</text>",
                top + HEIGHT,
                top + HEIGHT + 5.0,
                top + HEIGHT + 20.0
            );
        }
        let mut power = low.ceil();
        while power <= high {
            let at = up(10f64.powf(power));
            let _ = write!(
                out,
                "<line class='axis' x1='{left:.1}' y1='{at:.1}' x2='{:.1}' y2='{at:.1}' stroke-dasharray='2 4'/>\
                 <text class='m' text-anchor='end' x='{:.1}' y='{:.1}'>{}</text>",
                left + width,
                left - 5.0,
                at + 4.0,
                short(10f64.powf(power))
            );
            power += 1.0;
        }
        let mut ends: Vec<_> = lines.iter().map(|(subject, values)| (up(values[values.len() - 1]), *subject)).collect();
        ends.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut lowest = f64::NEG_INFINITY;
        for (end, subject) in ends {
            // Names keep clear of each other.
            lowest = end.max(lowest + 14.0);
            let name = group.subjects[subject].name;
            let _ = write!(out, "<text x='{:.1}' y='{:.1}'>{name}</text>", left + width + 6.0, lowest + 4.0);
        }
        for (subject, values) in &lines {
            let class = group.subjects[*subject].side.class();
            let points: Vec<String> = PERCENTS
                .iter()
                .zip(values)
                .map(|(percent, value)| format!("{:.1},{:.1}", across(*percent), up(*value)))
                .collect();
            let _ = write!(out, "<polyline class='line l-{class}' points='{}'/>", points.join(" "));
        }
    }
}

/// Of the plot itself.
const HEIGHT: f64 = 220.0;
/// Of everything that is drawn of a distribution.
pub(super) const DRAWN: f64 = HEIGHT + 90.0;

#[cfg(test)]
mod tests {
    use super::super::tests::group;
    use super::*;

    /// Medians over the rounds, a line and a name for each subject that was measured, none for others.
    #[test]
    fn lines_and_rows() {
        let group = group();
        let round = |factor: f64| PERCENTS.iter().map(|percent| percent * factor).collect::<Vec<_>>();
        let values = vec![vec![round(1.0), round(3.0), round(2.0)], vec![round(10.0)], vec![], vec![]];
        let distribution = Distribution { title: "Round trip", unit: "us", values };
        assert_eq!(distribution.medians(0).unwrap()[0], 100.0);
        assert_eq!(distribution.medians(2), None);
        let (mut drawn, mut table) = (String::new(), String::new());
        distribution.draw(&mut drawn, (0.0, 0.0), &group);
        distribution.markdown(&mut table, &group);
        assert_eq!(drawn.matches("<polyline").count(), 2);
        assert!(
            drawn.contains(">bridge</text>") && drawn.contains(">vswitch</text>") && !drawn.contains(">ovs</text>")
        );
        assert!(table.contains("| bridge | 100 | 150 |"), "{table}");
    }
}
