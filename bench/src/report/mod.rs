//! What was measured, and how it is told: on the terminal, as JSON, as Markdown and as a drawing.
//!
//! A [`Report`] has groups (between two containers, through NAT, …). In a group, several [`Subject`]s do the same
//! [`Work`] round after round; what is claimed are ratios between subjects of the same round. [`Curve`]s show how something
//! grows; [`Figure`]s are single values with a target.

mod distribution;
mod figure;
mod machine;
mod markdown;
mod save;
mod svg;

pub use distribution::{Distribution, PERCENTS};
pub use figure::Figure;
pub use machine::Machine;
pub use save::save;

use serde::Serialize;

/// Everything that one run measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where it ran, and with which versions.
    pub machine: Machine,
    /// The command that repeats it.
    pub command: String,
    /// What several subjects did, by group.
    pub groups: Vec<Group>,
    /// How something grows.
    pub curves: Vec<Curve>,
    /// Single values, by section.
    pub sections: Vec<Section>,
}

/// Work that several subjects did in turn.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// Its title.
    pub title: String,
    /// Who did it, in the order of the tables.
    pub subjects: Vec<Subject>,
    /// What they did.
    pub works: Vec<Work>,
    /// How their times are distributed.
    pub distributions: Vec<Distribution>,
}

/// Who did the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// Its name for people.
    pub name: &'static str,
    /// What it is.
    pub side: Side,
}

/// What a subject is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// vswitch.
    Own,
    /// The kernel's own way.
    Kernel,
    /// A peer in userspace.
    Userspace,
}

impl Side {
    /// Its class in a drawing's style sheet.
    const fn class(self) -> &'static str {
        match self {
            Side::Own => "own",
            Side::Kernel => "kernel",
            Side::Userspace => "userspace",
        }
    }
}

/// One kind of work, and what each subject reached in each round.
#[derive(Debug, Clone, Serialize)]
pub struct Work {
    /// What was done.
    pub title: &'static str,
    /// The unit of all values.
    pub unit: &'static str,
    /// What is better.
    pub better: Better,
    /// By subject, as in the group; by round. A subject that cannot do it has none.
    pub values: Vec<Vec<f64>>,
    /// What vswitch's ratios should be.
    pub goals: Vec<Goal>,
}

/// Which values are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// Larger ones.
    More,
    /// Smaller ones.
    Less,
}

/// What one of vswitch's ratios, or its value, should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "of", content = "bound")]
pub enum Goal {
    /// Ratio to the kernel.
    Kernel(f64),
    /// Ratio to the subject of this index.
    Peer(usize, f64),
    /// The value itself.
    Value(f64),
}

/// How something grows.
#[derive(Debug, Clone, Serialize)]
pub struct Curve {
    /// What is shown.
    pub title: String,
    /// What grows, with its unit.
    pub x: String,
    /// What is measured, with its unit.
    pub y: String,
    /// The points.
    pub points: Vec<(f64, f64)>,
}

/// Single values that belong together.
#[derive(Debug, Clone, Serialize)]
pub struct Section {
    /// Its title.
    pub title: String,
    /// The values.
    pub figures: Vec<Figure>,
}

impl Group {
    /// A group in which nothing was measured yet.
    #[must_use]
    pub fn new(title: impl Into<String>, subjects: Vec<Subject>) -> Group {
        Group { title: title.into(), subjects, works: Vec::new(), distributions: Vec::new() }
    }

    /// Notes what a subject reached in this round.
    pub fn note(&mut self, subject: usize, what: Measure, value: f64) {
        let Measure { title, unit, better, goals } = what;
        let place = self.works.iter().position(|work| work.title == title).unwrap_or_else(|| {
            let values = vec![Vec::new(); self.subjects.len()];
            self.works.push(Work { title, unit, better, values, goals: goals.to_vec() });
            self.works.len() - 1
        });
        self.works[place].values[subject].push(value);
    }

    /// Notes a subject's percentiles of this round, as in [`PERCENTS`].
    pub fn note_distribution(
        &mut self,
        subject: usize,
        (title, unit): (&'static str, &'static str),
        percentiles: Vec<f64>,
    ) {
        let place = self.distributions.iter().position(|known| known.title == title).unwrap_or_else(|| {
            self.distributions.push(Distribution { title, unit, values: vec![Vec::new(); self.subjects.len()] });
            self.distributions.len() - 1
        });
        self.distributions[place].values[subject].push(percentiles);
    }

    /// What a subject reached last in the work of this title; not a number before the first time.
    #[must_use]
    pub fn latest(&self, subject: usize, title: &str) -> f64 {
        let work = self.works.iter().find(|work| work.title == title);
        work.and_then(|work| work.values[subject].last().copied()).unwrap_or(f64::NAN)
    }

    fn side(&self, side: Side) -> impl Iterator<Item = usize> {
        (0..self.subjects.len()).filter(move |&index| self.subjects[index].side == side)
    }

    /// vswitch's place among the subjects.
    #[must_use]
    pub fn own(&self) -> Option<usize> {
        self.side(Side::Own).next()
    }

    /// vswitch's ratio to the kernel in a work, if both did it.
    #[must_use]
    pub fn to_kernel(&self, work: &Work) -> Option<f64> {
        work.ratio(self.own()?, self.side(Side::Kernel).next()?)
    }

    /// The best peer in userspace in a work, and vswitch's ratio to it.
    #[must_use]
    pub fn to_best_peer(&self, work: &Work) -> Option<(&Subject, f64)> {
        let own = self.own()?;
        let peers = self.side(Side::Userspace).filter(|&peer| !work.values[peer].is_empty());
        let best = peers.max_by(|&one, &other| {
            let order = work.median(one).unwrap_or(0.0).total_cmp(&work.median(other).unwrap_or(0.0));
            if work.better == Better::More { order } else { order.reverse() }
        })?;
        Some((&self.subjects[best], work.ratio(own, best)?))
    }

    /// vswitch against the goals of a work.
    #[must_use]
    pub fn judged(&self, work: &Work) -> Vec<Figure> {
        let Some(own) = self.own() else { return Vec::new() };
        let judge = |goal: &Goal| {
            let (name, value, bound, unit) = match *goal {
                Goal::Kernel(bound) => {
                    let kernel = self.side(Side::Kernel).next()?;
                    (format!(" / {}", self.subjects[kernel].name), work.ratio(own, kernel)?, bound, "")
                }
                Goal::Peer(peer, bound) => {
                    (format!(" / {}", self.subjects[peer].name), work.ratio(own, peer)?, bound, "")
                }
                Goal::Value(bound) => (String::new(), work.median(own)?, bound, work.unit),
            };
            let name = format!("{}{name}", work.title);
            let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
            let less = work.better == Better::Less;
            Some(if less {
                Figure::at_most(&name, value, bound, &unit)
            } else {
                Figure::at_least(&name, value, bound, &unit)
            })
        };
        work.goals.iter().filter_map(judge).collect()
    }
}

/// What a value is, for [`Group::note`].
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// What was done.
    pub title: &'static str,
    /// The unit of the value.
    pub unit: &'static str,
    /// What is better.
    pub better: Better,
    /// What vswitch should reach.
    pub goals: &'static [Goal],
}

impl Work {
    /// A subject's median over the rounds.
    #[must_use]
    pub fn median(&self, subject: usize) -> Option<f64> {
        (!self.values[subject].is_empty()).then(|| median(self.values[subject].clone()))
    }

    /// Half the distance between a subject's best and worst round, relative to its median.
    #[must_use]
    pub fn spread(&self, subject: usize) -> Option<f64> {
        let values = &self.values[subject];
        let (low, high) = (values.iter().copied().reduce(f64::min)?, values.iter().copied().reduce(f64::max)?);
        let median = self.median(subject).filter(|median| *median > 0.0)?;
        Some((high - low) / 2.0 / median)
    }

    /// Median over the rounds of one subject's value divided by another's in the same round.
    #[must_use]
    pub fn ratio(&self, of: usize, to: usize) -> Option<f64> {
        let pairs = self.values[of].iter().zip(&self.values[to]).filter(|(_, other)| **other > 0.0);
        let ratios: Vec<f64> = pairs.map(|(own, other)| own / other).collect();
        (!ratios.is_empty()).then(|| median(ratios))
    }
}

/// The median; zero of nothing.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const SPEED: Measure =
        Measure { title: "TCP", unit: "Gbit/s", better: Better::More, goals: &[Goal::Kernel(0.7), Goal::Peer(2, 1.8)] };

    /// A group with the kernel, vswitch and two peers.
    pub(crate) fn group() -> Group {
        let subject = |name, side| Subject { name, side };
        let mut group = Group::new(
            "Between <two>",
            vec![
                subject("bridge", Side::Kernel),
                subject("vswitch", Side::Own),
                subject("ovs", Side::Userspace),
                subject("vde", Side::Userspace),
            ],
        );
        for values in [[20.0, 16.0, 8.0, 2.0], [10.0, 7.0, 5.0, 2.0], [20.0, 15.0, 10.0, 2.0]] {
            for (subject, value) in values.into_iter().enumerate() {
                group.note(subject, SPEED, value);
            }
        }
        group
    }

    /// Odd, even and empty.
    #[test]
    fn medians() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(Vec::new()).abs() < 1e-9);
    }

    /// Ratios are taken round by round; the best peer is the fastest; goals are judged by the ratios they name.
    #[test]
    fn ratios() {
        let group = group();
        let work = &group.works[0];
        assert_eq!(group.works.len(), 1);
        assert!((group.to_kernel(work).unwrap() - 0.75).abs() < 1e-9, "the median of 0.8, 0.7 and 0.75");
        let (best, ratio) = group.to_best_peer(work).unwrap();
        assert_eq!(best.name, "ovs");
        assert!((ratio - 1.5).abs() < 1e-9, "the median of 2, 1.4 and 1.5");
        assert!((work.spread(0).unwrap() - 0.25).abs() < 1e-9);
        let judged = group.judged(work);
        assert_eq!(judged.iter().map(Figure::missed).collect::<Vec<_>>(), [false, true]);
        assert_eq!(judged[1].name, "TCP / ovs");
    }

    /// A subject that cannot do the work has no median and no ratio.
    #[test]
    fn absent() {
        let mut group = group();
        group.works[0].values[3].clear();
        assert_eq!(group.works[0].median(3), None);
        assert_eq!(group.works[0].ratio(1, 3), None);
    }
}
