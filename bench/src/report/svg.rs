//! A report as one drawing: bars for each work, curves for what grows.
//!
//! The drawing has a style sheet of its own that follows the reader's light or dark background, which is why no plotting
//! library makes it. Values stand beside their bars, so that colour is never the only sign.

use std::fmt::Write as _;

use super::markdown::short;
use super::{Better, Curve, Group, Report, Work};

pub(super) const WIDTH: f64 = 860.0;
const PANEL: f64 = 420.0;
const LABEL: f64 = 150.0;
const BAR: f64 = 14.0;
const STEP: f64 = 19.0;
const TITLE: f64 = 26.0;
const HEADING: f64 = 40.0;
const PLOT: f64 = 150.0;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1f2328}.h{font-size:16px;font-weight:600}.t{font-weight:600}\
    .own{fill:#0a7d4f}.kernel{fill:#8c959f}.userspace{fill:#c2762d}.line{fill:none;stroke:#0a7d4f;stroke-width:2}\
    .l-kernel{stroke:#8c959f}.l-userspace{stroke:#c2762d}\
    .dot{fill:#0a7d4f}.axis{stroke:#8c959f;stroke-width:1}.v{font-variant-numeric:tabular-nums}.m{fill:#59636e}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.own{fill:#3fb983}.kernel{fill:#768390}.userspace{fill:#e0984f}\
    .line{stroke:#3fb983}.l-kernel{stroke:#768390}.l-userspace{stroke:#e0984f}.dot{fill:#3fb983}.m{fill:#9198a1}}";

impl Report {
    /// The drawing.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut body = String::new();
        let mut y = 10.0;
        for group in &self.groups {
            heading(&mut body, &mut y, &group.title);
            // Where everybody has zero there is nothing to draw.
            let drawn = |work: &&Work| rows(work).any(|subject| work.median(subject) != Some(0.0));
            let panels: Vec<_> = group.works.iter().filter(drawn).map(|work| (bars_height(work), work)).collect();
            for pair in panels.chunks(2) {
                for (column, (_, work)) in (0u8..).zip(pair) {
                    bars(&mut body, f64::from(column) * (PANEL + 20.0), y, group, work);
                }
                y += pair.iter().map(|(height, _)| *height).fold(0.0, f64::max) + 14.0;
            }
            for distribution in &group.distributions {
                distribution.draw(&mut body, (0.0, y), group);
                y += super::distribution::DRAWN;
            }
        }
        if !self.curves.is_empty() {
            heading(&mut body, &mut y, "How it grows");
        }
        for pair in self.curves.chunks(2) {
            for (column, one) in (0u8..).zip(pair) {
                curve(&mut body, f64::from(column) * (PANEL + 20.0), y, one);
            }
            y += PLOT + 92.0;
        }
        let _ = write!(
            body,
            "<text class='m' x='0' y='{:.0}'>{} · {} cores, Linux {} · green vswitch, grey kernel, orange userspace peers</text>",
            y + 14.0,
            escaped(&self.machine.date),
            self.machine.cores,
            escaped(&self.machine.kernel)
        );
        let height = y + 26.0;
        format!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='-10 0 {:.0} {height:.0}' role='img'>\
             <title>vswitch beside its peers</title><style>{STYLE}</style>{body}</svg>\n",
            WIDTH + 20.0
        )
    }
}

fn heading(out: &mut String, y: &mut f64, title: &str) {
    let _ = write!(out, "<text class='h' x='0' y='{:.0}'>{}</text>", *y + 18.0, escaped(title));
    *y += HEADING;
}

fn rows(work: &Work) -> impl Iterator<Item = usize> {
    (0..work.values.len()).filter(|&subject| !work.values[subject].is_empty())
}

fn bars_height(work: &Work) -> f64 {
    rows(work).fold(TITLE, |height, _| height + STEP)
}

/// One bar for each subject that did the work.
fn bars(out: &mut String, x: f64, y: f64, group: &Group, work: &Work) {
    let less = if work.better == Better::Less { ", less is better" } else { "" };
    let _ = write!(
        out,
        "<text class='t' x='{x:.0}' y='{:.0}'>{} <tspan class='m'>({}{less})</tspan></text>",
        y + 12.0,
        escaped(work.title),
        escaped(work.unit)
    );
    let most = rows(work).filter_map(|subject| work.median(subject)).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let mut at = y + TITLE;
    for subject in rows(work) {
        let value = work.median(subject).unwrap_or(0.0);
        let length = (value / most * (PANEL - LABEL - 70.0)).max(1.0);
        let class = group.subjects[subject].side.class();
        let _ = write!(
            out,
            "<text x='{x:.0}' y='{:.1}'>{}</text><rect class='{class}' x='{:.1}' y='{at:.1}' width='{length:.1}' \
             height='{BAR}' rx='2'/><text class='v' x='{:.1}' y='{:.1}'>{}</text>",
            at + 11.5,
            escaped(group.subjects[subject].name),
            x + LABEL,
            x + LABEL + length + 6.0,
            at + 11.5,
            short(value)
        );
        at += STEP;
    }
}

/// A curve over a logarithmic x axis; the y axis starts at zero.
fn curve(out: &mut String, x: f64, y: f64, curve: &Curve) {
    let _ = write!(
        out,
        "<text class='t' x='{x:.0}' y='{:.0}'>{} <tspan class='m'>({})</tspan></text>",
        y + 12.0,
        escaped(&curve.title),
        escaped(&curve.y)
    );
    let (left, top, width) = (x + 10.0, y + TITLE + 14.0, PANEL - 60.0);
    let logs = || curve.points.iter().map(|(value, _)| value.max(1.0).ln());
    let (low, high) = (logs().fold(f64::INFINITY, f64::min), logs().fold(0.0, f64::max));
    let span = if high > low { high - low } else { 1.0 };
    let most = curve.points.iter().map(|(_, value)| *value).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let place =
        |&(at, value): &(f64, f64)| (left + (at.max(1.0).ln() - low) / span * width, top + PLOT - value / most * PLOT);
    let line: Vec<String> = curve.points.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let bottom = top + PLOT;
    let _ = write!(
        out,
        "<line class='axis' x1='{left:.1}' y1='{bottom:.1}' x2='{:.1}' y2='{bottom:.1}'/><polyline class='line' points='{}'/>",
        left + width,
        line.join(" ")
    );
    for point in &curve.points {
        let (px, py) = place(point);
        let _ = write!(
            out,
            "<circle class='dot' cx='{px:.1}' cy='{py:.1}' r='3'/><text class='v' text-anchor='middle' x='{px:.1}' \
             y='{:.1}'>{}</text><text class='m' text-anchor='middle' x='{px:.1}' y='{:.1}'>{}</text>",
            py - 7.0,
            short(point.1),
            bottom + 15.0,
            short(point.0)
        );
    }
    let _ = write!(out, "<text class='m' x='{left:.1}' y='{:.1}'>{}</text>", bottom + 30.0, escaped(&curve.x));
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::super::tests::group;
    use super::super::{Machine, Report};
    use super::*;

    /// Every subject has a bar as long as its share of the longest one, texts are escaped, and both backgrounds have colours.
    #[test]
    fn bars_are_to_scale() {
        let curve =
            Curve { title: "Grows".into(), x: "n".into(), y: "ns".into(), points: vec![(1e3, 5.0), (1e6, 10.0)] };
        let report = Report {
            machine: Machine::here(),
            command: String::new(),
            groups: vec![group()],
            curves: vec![curve],
            sections: Vec::new(),
        };
        let text = report.svg();
        let widths: Vec<f64> = text
            .split("<rect ")
            .skip(1)
            .map(|bar| bar.split("width='").nth(1).and_then(|rest| rest.split('\'').next()).unwrap().parse().unwrap())
            .collect();
        assert_eq!(widths.len(), 4);
        assert!(
            (widths[1] / widths[0] - 0.75).abs() < 0.01 && (widths[3] / widths[0] - 0.1).abs() < 0.01,
            "{widths:?}"
        );
        assert_eq!(text.matches("<circle").count(), 2);
        assert!(text.contains("Between &lt;two&gt;") && text.contains("prefers-color-scheme:dark"));
        assert_eq!(text.matches("<text").count(), text.matches("</text>").count());
    }
}
