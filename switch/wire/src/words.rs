//! What happens on a wire, in words: `delay 50ms jitter 5ms normal loss 1%`.

use std::sync::Arc;

use crate::distribution::Distribution;
use crate::impairment::{
    Area, Blackhole, Corrupt, Discipline, Duplicate, Impairment, Jitter, Kind, Listed, Loss, Model, Mtu, Order,
    Overflow, Queue, Rate, Reorder, ReorderBy, Select, Size, TooLong, Which,
};
use crate::units;

/// What is to become different.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Change {
    /// Nothing of what was stays.
    pub clears: bool,
    /// These are taken over from `to`.
    pub kinds: Vec<Kind>,
    /// With these settings.
    pub to: Impairment,
}

/// A word that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("word {position}, {found}: {wanted}")]
pub struct WordError {
    /// Which one, counted from one.
    pub position: usize,
    /// As it was written, or that it is missing.
    pub found: String,
    /// What would be right.
    pub wanted: String,
}

/// Turns the text of a filter into one.
pub type Compile<'c> = &'c dyn Fn(&str) -> Result<Select, String>;

/// Longest lists of numbers.
const LONGEST: usize = 1 << 20;
/// Longest packets that a limit makes sense for, and shortest.
const MTUS: std::ops::RangeInclusive<u64> = 68..=65_535;

impl Change {
    /// Reads words; a filter is one of them.
    ///
    /// # Errors
    /// The first word that is wrong.
    pub fn parse(words: &[String], compile: Compile<'_>) -> Result<Change, WordError> {
        let mut words = Words { words, at: 0, compile };
        let mut change = Change::default();
        if words.words.is_empty() {
            return Err(words.wrong(KINDS));
        }
        while let Some(word) = words.next() {
            let start = words.at;
            if word == "none" {
                change = Change { clears: true, ..Change::default() };
                continue;
            }
            if word == "netem" {
                let text = words.need("the words of tc in quotes, such as 'delay 100ms 10ms'")?;
                let netem = crate::netem::parse(text).map_err(|error| WordError { position: words.at, ..error })?;
                for kind in netem.kinds {
                    change.take(kind, &netem.to);
                }
                continue;
            }
            let (kind, word_itself) = match word {
                "every" | "first" => (Kind::Drop, true),
                word => match Kind::ALL.into_iter().find(|kind| kind.name() == word) {
                    Some(kind) => (kind, false),
                    None => {
                        words.at -= 1;
                        return Err(words.wrong(KINDS));
                    }
                },
            };
            if word_itself {
                words.at -= 1;
            }
            let start = start - usize::from(word_itself);
            let mut to = Impairment::default();
            if !words.is("none") {
                words.set(kind, &mut to)?;
                to.texts.insert(kind, text(&words.words[start..words.at]));
            }
            change.take(kind, &to);
        }
        change.check()?;
        Ok(change)
    }

    fn take(&mut self, kind: Kind, to: &Impairment) {
        self.to.take_over(kind, to);
        if !self.kinds.contains(&kind) {
            self.kinds.push(kind);
        }
    }

    /// What contradicts itself.
    fn check(&self) -> Result<(), WordError> {
        let wrong = |found: &str, wanted: &str| {
            Err(WordError { position: 1, found: format!("{found:?}"), wanted: wanted.to_owned() })
        };
        if let Some(Blackhole { length: Some(length), every: Some(every) }) = self.to.blackhole
            && length >= every
        {
            return wrong(
                "blackhole",
                "it is over before it begins again; a longer 'every', or 'blackhole' alone for always",
            );
        }
        Ok(())
    }
}

const KINDS: &str = "one of delay, jitter, order, loss, drop, every, first, blackhole, duplicate, corrupt, reorder, rate, \
                     queue, mtu, netem, or none";

/// Words as they are shown, with quotes where they are needed and long lists made short.
fn text(words: &[String]) -> String {
    let shown = words.iter().map(|word| {
        let numbers = word.split(',').count();
        if numbers > 16 {
            format!("({numbers} numbers)")
        } else if word.is_empty() || word.contains(char::is_whitespace) {
            format!("'{word}'")
        } else {
            word.clone()
        }
    });
    shown.collect::<Vec<String>>().join(" ")
}

/// Nanoseconds of `50ms`, `2s` or `100us`.
#[must_use]
pub fn time(text: &str) -> Option<u64> {
    units::time(text)
}

/// Takes a text apart at spaces, but not within quotes.
#[must_use]
pub fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

struct Words<'w> {
    words: &'w [String],
    at: usize,
    compile: Compile<'w>,
}

impl<'w> Words<'w> {
    fn peek(&self) -> Option<&'w str> {
        self.words.get(self.at).map(String::as_str)
    }

    fn next(&mut self) -> Option<&'w str> {
        let word = self.peek()?;
        self.at += 1;
        Some(word)
    }

    fn need(&mut self, wanted: &str) -> Result<&'w str, WordError> {
        self.next().ok_or_else(|| self.wrong(wanted))
    }

    /// Takes the next word if it is this one.
    fn is(&mut self, word: &str) -> bool {
        let is = self.peek() == Some(word);
        self.at += usize::from(is);
        is
    }

    /// What is wrong with the next word.
    fn wrong(&self, wanted: &str) -> WordError {
        let found = self.peek().map_or_else(|| "which is missing".to_owned(), |word| format!("{word:?}"));
        WordError { position: self.at + 1, found, wanted: wanted.to_owned() }
    }

    fn read<T>(&mut self, read: impl Fn(&str) -> Option<T>, wanted: &str) -> Result<T, WordError> {
        let value = self.peek().and_then(read).ok_or_else(|| self.wrong(wanted))?;
        self.at += 1;
        Ok(value)
    }

    fn try_read<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let value = self.peek().and_then(read)?;
        self.at += 1;
        Some(value)
    }

    fn time(&mut self) -> Result<u64, WordError> {
        self.read(units::time, "a time, such as 50ms, 2s or 100us")
    }

    fn share(&mut self) -> Result<f64, WordError> {
        self.read(units::share, "a share from 0% to 100%")
    }

    fn number(&mut self, least: u64, most: u64) -> Result<u64, WordError> {
        let wanted = format!("a number from {least} to {most}");
        self.read(|word| word.parse().ok().filter(|number| (least..=most).contains(number)), &wanted)
    }

    fn of(&mut self) -> Result<Option<Select>, WordError> {
        if !self.is("of") {
            return Ok(None);
        }
        let text = self.need("a filter in tcpdump's language, in quotes")?;
        let compiled = (self.compile)(text);
        compiled.map(Some).map_err(|wanted| {
            self.at -= 1;
            self.wrong(&wanted)
        })
    }

    fn set(&mut self, kind: Kind, to: &mut Impairment) -> Result<(), WordError> {
        match kind {
            Kind::Delay => to.delay = Some(self.time()?),
            Kind::Jitter => to.jitter = Some(self.jitter()?),
            Kind::Order => {
                to.order = if self.is("by-arrival") {
                    Order::ByArrival
                } else if self.is("keep") {
                    Order::Keep
                } else {
                    return Err(self.wrong("keep or by-arrival"));
                }
            }
            Kind::Loss => to.loss = Some(self.loss()?),
            Kind::Drop => to.listed = Some(self.listed()?),
            Kind::Blackhole => {
                let length = self.try_read(units::time);
                let every = if length.is_some() && self.is("every") { Some(self.time()?) } else { None };
                to.blackhole = Some(Blackhole { length, every });
            }
            Kind::Duplicate => {
                let probability = self.share()?;
                let correlation = self.correlation()?;
                let spacing = if self.is("after") { self.time()? } else { 0 };
                to.duplicate = Some(Duplicate { probability, correlation, spacing });
            }
            Kind::Corrupt => to.corrupt = Some(self.corrupt()?),
            Kind::Reorder => {
                let probability = self.share()?;
                let correlation = self.correlation()?;
                let by = if self.is("by") { self.reorder_by()? } else { ReorderBy::Places(1) };
                to.reorder = Some(Reorder { probability, correlation, at_least: 0, by });
            }
            Kind::Rate => to.rate = Some(self.rate()?),
            Kind::Queue => to.queue = Some(self.queue()?),
            Kind::Mtu => {
                let bytes = u32::try_from(self.number(*MTUS.start(), *MTUS.end())?).unwrap_or(u32::MAX);
                let silent = self.is("silent");
                let too_long = if !silent && self.is("icmp") { TooLong::Icmp } else { TooLong::Silent };
                to.mtu = Some(Mtu { bytes, too_long });
            }
        }
        Ok(())
    }

    fn jitter(&mut self) -> Result<Jitter, WordError> {
        let spread = self.time()?;
        let names = [
            ("uniform", Distribution::Uniform),
            ("normal", Distribution::Normal),
            ("lognormal", Distribution::LogNormal),
            ("pareto", Distribution::Pareto),
            ("exponential", Distribution::Exponential),
        ];
        let named = names.into_iter().find(|(name, _)| self.is(name)).map(|(_, distribution)| distribution);
        let distribution = match named {
            Some(distribution) => distribution,
            None if self.is("table") => Distribution::Table(self.table()?),
            None => Distribution::Uniform,
        };
        let correlation = self.correlation()?;
        Ok(Jitter { spread, distribution, correlation })
    }

    /// How alike each is to the one before.
    fn correlation(&mut self) -> Result<f64, WordError> {
        if !self.is("correlation") {
            return Ok(0.0);
        }
        self.read(|word| units::share(word).filter(|share| *share < 1.0), "a correlation from 0% and below 100%")
    }

    /// Quantiles, sorted; in units of the jitter.
    fn table(&mut self) -> Result<Arc<[f64]>, WordError> {
        let wanted = "at least two numbers with commas, each a quantile in units of the jitter";
        let value = |word: &str| word.parse::<f64>().ok().filter(|value| value.is_finite() && value.abs() < 1e6);
        let read = |word: &str| {
            let values: Option<Vec<f64>> = word.split(',').take(LONGEST).map(value).collect();
            values.filter(|values| values.len() > 1)
        };
        let mut values = self.read(read, wanted)?;
        values.sort_by(f64::total_cmp);
        Ok(values.into())
    }

    fn loss(&mut self) -> Result<Loss, WordError> {
        let model = if self.is("burst") {
            let [p, r, bad, good] = self.named(["p", "r", "bad", "good"], [None, None, Some(1.0), Some(0.0)])?;
            Model::GilbertElliott { p, r, bad, good }
        } else if self.is("state") {
            let names = ["p13", "p31", "p32", "p23", "p14"];
            let start = self.at;
            let [p13, p31, p32, p23, p14] = self.named(names, [None, Some(-1.0), Some(0.0), Some(1.0), Some(0.0)])?;
            let p31 = if p31 < 0.0 { 1.0 - p13 } else { p31 };
            if p13 + p14 > 1.0 || p31 + p32 > 1.0 {
                self.at = start;
                return Err(self.wrong(
                    "probabilities out of one state that are no more than 100% together (p13 + p14, p31 + p32)",
                ));
            }
            Model::FourStates { p13, p31, p32, p23, p14 }
        } else {
            let share = self.share()?;
            let correlation = self.correlation()?;
            Model::correlated(share, correlation)
        };
        let mut loss = Loss { model, per_flow: false, ecn: false, of: None };
        loop {
            if self.is("per-flow") {
                loss.per_flow = true;
            } else if self.is("ecn") {
                loss.ecn = true;
            } else {
                loss.of = self.of()?;
                return Ok(loss);
            }
        }
    }

    /// `name=share` in any order; those without a default must be there.
    fn named<const N: usize>(&mut self, names: [&str; N], defaults: [Option<f64>; N]) -> Result<[f64; N], WordError> {
        let mut values = defaults;
        while let Some((name, value)) = self.peek().and_then(|word| word.split_once('=')) {
            let Some(index) = names.iter().position(|known| *known == name) else {
                return Err(self.wrong(&format!("one of {} with = and a share", names.join(", "))));
            };
            values[index] =
                Some(units::share(value).ok_or_else(|| self.wrong("a share from 0% to 100% behind the ="))?);
            self.at += 1;
        }
        let missing = (0..N).find(|&index| values[index].is_none());
        if let Some(index) = missing {
            return Err(self.wrong(&format!("{}=SHARE, such as {0}=1%", names[index])));
        }
        Ok(values.map(|value| value.unwrap_or(0.0)))
    }

    fn listed(&mut self) -> Result<Listed, WordError> {
        let which = if self.is("every") {
            Which::Every(self.number(1, u64::MAX)?)
        } else if self.is("first") {
            Which::Ranges(vec![(1, self.number(1, u64::MAX)?)])
        } else {
            Which::Ranges(self.read(ranges, "numbers from 1 with commas, such as 1,3,5-7; or every N; or first N")?)
        };
        Ok(Listed { which, of: self.of()? })
    }

    fn corrupt(&mut self) -> Result<Corrupt, WordError> {
        let (probability, correlation) = (self.share()?, self.correlation()?);
        let mut corrupt = Corrupt { probability, correlation, bits: 1, area: Area::Payload, fix_checksum: false };
        loop {
            if self.is("bits") {
                corrupt.bits = u32::try_from(self.number(1, 4096)?).unwrap_or(1);
            } else if self.is("payload") {
                corrupt.area = Area::Payload;
            } else if self.is("header") {
                corrupt.area = Area::Header;
            } else if self.is("any") {
                corrupt.area = Area::Any;
            } else if self.is("fix-checksum") {
                corrupt.fix_checksum = true;
            } else {
                return Ok(corrupt);
            }
        }
    }

    fn reorder_by(&mut self) -> Result<ReorderBy, WordError> {
        if let Some(time) = self.try_read(units::time) {
            return Ok(ReorderBy::Time(time));
        }
        let places = self.read(
            |word| word.parse().ok().filter(|n| (1..=10_000).contains(n)),
            "places, such as 3, or a time, such as 5ms",
        );
        places.map(ReorderBy::Places)
    }

    fn rate(&mut self) -> Result<Rate, WordError> {
        if self.is("trace") {
            let wanted = "milliseconds that rise, with commas, of which the last is not 0";
            let read = |word: &str| {
                let moments: Option<Vec<u64>> = word.split(',').take(LONGEST).map(|word| word.parse().ok()).collect();
                moments.filter(|moments| {
                    moments.is_sorted() && moments.last().is_some_and(|last| (1..=86_400_000).contains(last))
                })
            };
            return Ok(Rate::Trace(self.read(read, wanted)?.into()));
        }
        let bits = self.read(units::rate, "a rate, such as 10mbit, 1gbit or 56kbit")?;
        let (mut overhead, mut cell) = (0, 0);
        loop {
            if self.is("overhead") {
                let read = |word: &str| word.parse().ok().filter(|bytes| (-1000..=1000).contains(bytes));
                overhead = self.read(read, "bytes from -1000 to 1000")?;
            } else if self.is("cell") {
                cell = u32::try_from(self.number(1, 65_535)?).unwrap_or(0);
            } else {
                return Ok(Rate::Steady { bits, overhead, cell, cell_overhead: 0 });
            }
        }
    }

    fn queue(&mut self) -> Result<Queue, WordError> {
        let mut queue = Queue::of(self.size()?);
        loop {
            if self.is("head") {
                queue.overflow = Overflow::Head;
            } else if self.is("tail") {
                queue.overflow = Overflow::Tail;
            } else if self.is("priority") {
                queue.discipline = Discipline::Priority;
            } else if self.is("ecn-above") {
                queue.ecn_above = Some(self.size()?);
            } else {
                return Ok(queue);
            }
        }
    }

    fn size(&mut self) -> Result<Size, WordError> {
        let read = |word: &str| {
            let packets = || word.strip_suffix('p').and_then(|number| number.parse().ok()).map(Size::Packets);
            units::bytes(word).map(Size::Bytes).or_else(|| units::time(word).map(Size::Time)).or_else(packets)
        };
        self.read(read, "a length of the queue: 64k (bytes), 50ms (at the rate) or 100p (packets)")
    }
}

/// `1,3,5-7`, in order and without overlaps.
fn ranges(text: &str) -> Option<Vec<(u64, u64)>> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let range: (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        (range.0 >= 1 && range.0 <= range.1).then_some(range)
    };
    let mut ranges: Vec<(u64, u64)> = text.split(',').take(LONGEST).map(range).collect::<Option<_>>()?;
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(text: &str) -> Result<Select, String> {
        if text.contains("wrong") {
            return Err("the filter is wrong at character 3".to_owned());
        }
        Ok(Select { text: text.to_owned(), matches: Arc::new(|_| true) })
    }

    fn parse(text: &str) -> Result<Change, WordError> {
        Change::parse(&split(text), &compile)
    }

    /// Each kind is read with all that belongs to it, and only what is named changes.
    #[test]
    fn kinds() {
        let change = parse(
            "delay 50ms jitter 5ms normal loss burst p=1% r=10% per-flow of 'udp port 443' rate 10mbit overhead 4 queue 50ms head \
             ecn-above 10k mtu 1400 icmp duplicate 1% after 2ms corrupt 1% bits 3 any fix-checksum reorder 5% by 3 \
             drop 1,3,5-7 blackhole 2s every 10s order by-arrival",
        );
        let change = change.unwrap();
        assert_eq!(change.kinds.len(), Kind::ALL.len());
        let to = change.to;
        assert_eq!(to.delay, Some(50_000_000));
        assert_eq!(to.jitter.unwrap().distribution, Distribution::Normal);
        let loss = to.loss.unwrap();
        assert_eq!(loss.model, Model::GilbertElliott { p: 0.01, r: 0.1, bad: 1.0, good: 0.0 });
        assert!(loss.per_flow && loss.of.unwrap().text == "udp port 443");
        assert_eq!(to.queue.unwrap().ecn_above, Some(Size::Bytes(10_240)));
        assert_eq!(to.listed.unwrap().which, Which::Ranges(vec![(1, 1), (3, 3), (5, 7)]));
        assert_eq!(to.texts[&Kind::Loss], "burst p=1% r=10% per-flow of 'udp port 443'");
        let mut now = Impairment::default();
        now.change(&parse("delay 50ms loss 1%").unwrap());
        now.change(&parse("loss none rate 1mbit").unwrap());
        assert_eq!((now.delay, now.loss.is_none(), now.rate.is_some()), (Some(50_000_000), true, true));
        now.change(&parse("none").unwrap());
        assert!(now.is_none());
    }

    /// A change for a time takes back what it changed, but not what somebody else changed since.
    #[test]
    fn taken_back() {
        let mut now = Impairment::default();
        now.change(&parse("delay 50ms loss 1%").unwrap());
        let before = now.clone();
        now.change(&parse("delay 90ms loss 5% rate 1mbit").unwrap());
        let applied = now.clone();
        now.change(&parse("loss 7%").unwrap());
        now.take_back(&before, &applied);
        assert_eq!(now.texts.values().collect::<Vec<_>>(), ["50ms", "7%"]);
    }

    /// Numbers stand for themselves with `every` and `first`; a filter may follow.
    #[test]
    fn lists() {
        assert_eq!(parse("every 10").unwrap().to.listed.unwrap().which, Which::Every(10));
        let first = parse("first 2 of 'tcp port 80'").unwrap();
        assert_eq!(first.to.texts[&Kind::Drop], "first 2 of 'tcp port 80'");
        assert_eq!(parse("drop 7,2-4,3-5").unwrap().to.listed.unwrap().which, Which::Ranges(vec![(2, 5), (7, 7)]));
    }

    /// What is wrong is named with its place and what would be right.
    #[test]
    fn wrong() {
        for (text, position, found, wanted) in [
            ("", 1, "missing", "one of delay"),
            ("dely 50ms", 1, "\"dely\"", "one of delay"),
            ("delay", 2, "missing", "a time"),
            ("delay 50", 2, "\"50\"", "a time"),
            ("loss 1% delay -5ms", 4, "\"-5ms\"", "a time"),
            ("loss 101%", 2, "\"101%\"", "0% to 100%"),
            ("loss burst p=1%", 4, "missing", "r=SHARE"),
            ("loss burst p=1% q=2%", 4, "\"q=2%\"", "one of p, r"),
            ("loss state p13=60% p14=50%", 3, "p13=60%", "no more than 100%"),
            ("loss 1% correlation 100%", 4, "100%", "below 100%"),
            ("duplicate 1% correlation 100%", 4, "100%", "below 100%"),
            ("corrupt 1% correlation", 4, "missing", "below 100%"),
            ("reorder 1% correlation x", 4, "\"x\"", "below 100%"),
            ("drop 0", 2, "\"0\"", "numbers from 1"),
            ("drop 7-5", 2, "\"7-5\"", "numbers from 1"),
            ("every 0", 2, "\"0\"", "a number from 1"),
            ("first 2 of 'wrong filter'", 4, "\"wrong filter\"", "character 3"),
            ("rate 0bit", 2, "\"0bit\"", "a rate"),
            ("rate trace 5,3", 3, "\"5,3\"", "that rise"),
            ("rate trace 0", 3, "\"0\"", "not 0"),
            ("queue 5", 2, "\"5\"", "length of the queue"),
            ("mtu 20", 2, "\"20\"", "from 68"),
            ("jitter 5ms table 1", 4, "\"1\"", "two numbers"),
            ("reorder 5% by 0", 4, "\"0\"", "places"),
            ("blackhole 10s every 2s", 1, "blackhole", "begins again"),
            ("netem 'delay 5ms foo'", 2, "\"foo\"", "tc"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.position, position, "{text}: {error}");
            assert!(error.found.contains(found) && error.wanted.contains(wanted), "{text}: {error}");
        }
    }
}
