//! The words of `tc qdisc … netem` (tc-netem(8)), for those who come from there.
//!
//! They mean here what they mean there, with a few exceptions, on purpose: what is correlated keeps the share that is asked for, jitter does
//! not reorder unless `reorder` or a jitter without `rate` asks for it as there (so jitter has `order by-arrival`), `pareto` only adds, and a `seed`
//! belongs to the lab. What would say nothing is refused, as what is not known is.

use crate::distribution::Distribution;
use crate::impairment::{
    Area, Corrupt, Duplicate, Impairment, Jitter, Kind, Loss, Model, Order, Queue, Rate, Reorder, ReorderBy, Size,
};
use crate::units;
use crate::words::{Change, WordError};

/// Reads one line of netem's options. All kinds that netem knows are set, as `tc` does it.
///
/// # Errors
/// The first word that is wrong; its place is for the caller to say.
pub fn parse(text: &str) -> Result<Change, WordError> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut line = Line { words: &words, at: 0 };
    let mut to = Impairment::default();
    let mut distribution = None;
    let mut ecn = false;
    let mut gap = None;
    let mut early: Option<(f64, f64)> = None;
    while let Some(word) = line.next() {
        match word {
            "delay" | "latency" => line.delay(&mut to)?,
            "distribution" => distribution = Some(line.distribution()?),
            "loss" | "drop" => line.loss(&mut to)?,
            "ecn" => ecn = true,
            "duplicate" => {
                let (probability, correlation) = (line.share()?, line.correlation()?);
                to.duplicate = Some(Duplicate { probability, correlation, spacing: 0 });
            }
            "corrupt" => {
                let (probability, correlation) = (line.share()?, line.correlation()?);
                to.corrupt = Some(Corrupt { probability, correlation, bits: 1, area: Area::Any, fix_checksum: false });
            }
            "reorder" => {
                early = Some((line.share()?, line.correlation()?));
            }
            "gap" => gap = Some(line.whole("a distance in packets")?),
            "rate" => line.rate(&mut to)?,
            "limit" => {
                let size = Size::Packets(line.whole("a number of packets")?);
                to.queue = Some(Queue::of(size));
            }
            _ => {
                line.at -= 1;
                return Err(line.wrong(
                    "no word of tc's netem that is known here: delay, distribution, loss, ecn, duplicate, corrupt, reorder, gap, rate, limit",
                ));
            }
        }
    }
    if distribution.is_some() && to.jitter.is_none() {
        return Err(line.wrong("a jitter behind the delay, without which a distribution says nothing"));
    }
    if ecn && to.loss.is_none() {
        return Err(line.wrong("a loss, without which ecn marks nothing"));
    }
    if let Some(jitter) = &mut to.jitter {
        jitter.distribution = distribution.unwrap_or(Distribution::Uniform);
        if to.rate.is_none() {
            to.order = Order::ByArrival;
        }
    }
    if let Some(loss) = &mut to.loss {
        loss.ecn = ecn;
    }
    // There, these jump over the delay of the others; here, the others come later than these.
    if let Some((early, correlation)) = early.or(gap.map(|_| (1.0, 0.0))) {
        let Some(delay) = to.delay else {
            return Err(line
                .wrong("a delay, without which netem reorders nothing; or, instead, 'reorder 5% by 3' without netem"));
        };
        let at_least = gap.unwrap_or(1).saturating_sub(1);
        let probability = 1.0 - early;
        to.reorder = Some(Reorder { probability, correlation, at_least, by: ReorderBy::Time(delay) });
        to.delay = None;
    }
    let kinds =
        Kind::ALL.into_iter().filter(|kind| !matches!(kind, Kind::Drop | Kind::Blackhole | Kind::Mtu)).collect();
    for (kind, set) in [
        (Kind::Delay, to.delay.is_some()),
        (Kind::Jitter, to.jitter.is_some()),
        (Kind::Loss, to.loss.is_some()),
        (Kind::Duplicate, to.duplicate.is_some()),
        (Kind::Corrupt, to.corrupt.is_some()),
        (Kind::Reorder, to.reorder.is_some()),
        (Kind::Rate, to.rate.is_some()),
        (Kind::Queue, to.queue.is_some()),
    ] {
        if set {
            to.texts.insert(kind, format!("netem '{text}'"));
        }
    }
    if to.order == Order::ByArrival {
        to.texts.insert(Kind::Order, "by-arrival".to_owned());
    }
    Ok(Change { clears: false, kinds, to })
}

struct Line<'l> {
    words: &'l [&'l str],
    at: usize,
}

impl<'l> Line<'l> {
    fn next(&mut self) -> Option<&'l str> {
        let word = self.words.get(self.at)?;
        self.at += 1;
        Some(word)
    }

    fn wrong(&self, wanted: &str) -> WordError {
        let found =
            self.words.get(self.at).map_or_else(|| "which ends too early".to_owned(), |word| format!("{word:?}"));
        WordError { position: self.at + 1, found, wanted: wanted.to_owned() }
    }

    fn try_read<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let value = self.words.get(self.at).and_then(|word| read(word))?;
        self.at += 1;
        Some(value)
    }

    fn read<T>(&mut self, read: impl Fn(&str) -> Option<T>, wanted: &str) -> Result<T, WordError> {
        self.try_read(read).ok_or_else(|| self.wrong(wanted))
    }

    fn whole(&mut self, wanted: &str) -> Result<u64, WordError> {
        self.read(|word| word.parse().ok(), wanted)
    }

    fn share(&mut self) -> Result<f64, WordError> {
        self.read(units::share, "a share from 0% to 100%")
    }

    /// How alike each is to the one before, if that is said. As with tc, a number alone is a share, too.
    fn correlation(&mut self) -> Result<f64, WordError> {
        let Some(correlation) = self.try_read(units::share) else { return Ok(0.0) };
        if correlation >= 1.0 {
            self.at -= 1;
            return Err(self.wrong("a correlation below 100%"));
        }
        Ok(correlation)
    }

    fn delay(&mut self, to: &mut Impairment) -> Result<(), WordError> {
        // As with tc, a number alone is of microseconds.
        let read = |word: &str| units::time(word).or_else(|| units::time(&format!("{word}us")));
        to.delay = Some(self.read(read, "a time, such as 100ms")?);
        if let Some(spread) = self.try_read(read) {
            let correlation = self.correlation()?;
            to.jitter = Some(Jitter { spread, distribution: Distribution::Uniform, correlation });
        }
        Ok(())
    }

    fn distribution(&mut self) -> Result<Distribution, WordError> {
        let read = |word: &str| match word {
            "uniform" => Some(Distribution::Uniform),
            "normal" => Some(Distribution::Normal),
            "pareto" => Some(Distribution::Pareto),
            _ => None,
        };
        self.read(read, "uniform, normal or pareto; or, without netem, 'jitter T table FILE' with any other")
    }

    fn loss(&mut self, to: &mut Impairment) -> Result<(), WordError> {
        let word = self.try_read(|word| match word {
            "random" | "state" | "gemodel" => Some(word.to_owned()),
            _ => None,
        });
        let model = match word.as_deref() {
            Some("state") => {
                let p13 = self.share()?;
                let p31 = self.try_read(units::share).unwrap_or(1.0 - p13);
                let p32 = self.try_read(units::share).unwrap_or(0.0);
                let p23 = self.try_read(units::share).unwrap_or(1.0);
                let p14 = self.try_read(units::share).unwrap_or(0.0);
                if p13 + p14 > 1.0 || p31 + p32 > 1.0 {
                    return Err(self.wrong("shares out of one state that are no more than 100% together"));
                }
                Model::FourStates { p13, p31, p32, p23, p14 }
            }
            Some("gemodel") => {
                let p = self.share()?;
                let r = self.try_read(units::share).unwrap_or(1.0 - p);
                let bad = self.try_read(units::share).unwrap_or(1.0);
                let good = self.try_read(units::share).unwrap_or(0.0);
                Model::GilbertElliott { p, r, bad, good }
            }
            _ => {
                let share = self.share()?;
                Model::correlated(share, self.correlation()?)
            }
        };
        to.loss = Some(Loss { model, per_flow: false, ecn: false, of: None });
        Ok(())
    }

    fn rate(&mut self, to: &mut Impairment) -> Result<(), WordError> {
        let bits = self.read(units::rate, "a rate, such as 10mbit")?;
        let overhead = self.try_read(|word| word.parse().ok().filter(|n| (-1000..=1000).contains(n))).unwrap_or(0);
        let cell = self.try_read(|word| word.parse().ok().filter(|n| *n <= 65_535)).unwrap_or(0);
        let cell_overhead = self.try_read(|word| word.parse().ok().filter(|n| *n <= 1000)).unwrap_or(0);
        to.rate = Some(Rate::Steady { bits, overhead, cell, cell_overhead });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of tc's manual mean here what they mean there.
    #[test]
    fn lines() {
        let to = parse("delay 100ms 10ms 25% distribution normal loss gemodel 1% 10% 70% 0.1% limit 5000").unwrap().to;
        assert_eq!(to.delay, Some(100_000_000));
        let jitter = to.jitter.unwrap();
        assert_eq!((jitter.spread, jitter.distribution, jitter.correlation), (10_000_000, Distribution::Normal, 0.25));
        assert_eq!(to.loss.unwrap().model, Model::GilbertElliott { p: 0.01, r: 0.1, bad: 0.7, good: 0.001 });
        assert_eq!((to.queue.unwrap().size, to.order), (Size::Packets(5000), Order::ByArrival));
        let to = parse("rate 5kbit 20 100 5 loss 0.3% ecn duplicate 1% corrupt 0.1%").unwrap().to;
        assert_eq!(to.rate, Some(Rate::Steady { bits: 5000, overhead: 20, cell: 100, cell_overhead: 5 }));
        assert!(to.loss.unwrap().ecn && to.duplicate.is_some() && to.corrupt.is_some());
        assert_eq!(parse("loss 10 delay 1000").unwrap().to.delay, Some(1_000_000));
        let to = parse("delay 10ms reorder 25% 50% gap 5").unwrap().to;
        let by = ReorderBy::Time(10_000_000);
        assert_eq!(to.reorder, Some(Reorder { probability: 0.75, correlation: 0.5, at_least: 4, by }));
        let to = parse("duplicate 1% 25% corrupt 2% 50").unwrap().to;
        assert_eq!(
            parse("delay 10ms gap 5").unwrap().to.reorder.map(|it| (it.probability, it.at_least)),
            Some((0.0, 4))
        );
        assert_eq!((to.duplicate.unwrap().correlation, to.corrupt.unwrap().correlation), (0.25, 0.5));
    }

    /// What tc would refuse is refused.
    #[test]
    fn wrong() {
        for text in [
            "delay",
            "delay fast",
            "loss 200%",
            "loss state 60% 0% 0% 0% 50%",
            "reorder 5%",
            "slot 5ms",
            "rate 5",
            "duplicate 1% 100%",
            "loss 1% 100%",
            "delay 5ms 1ms 100%",
            "delay 5ms 1ms distribution paretonormal",
            "gap 5",
            "ecn",
            "delay 5ms distribution normal",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
