//! Which segments are lost.

use crate::impairment::{Listed, Model, Which};
use crate::lost::WireDrop;
use crate::random::Stream;

/// The state of a loss model, and its chance.
#[derive(Debug)]
pub(crate) struct Chance {
    /// For losses, so that models that are alike in the end draw alike.
    loss: Stream,
    /// For changes of state.
    change: Stream,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Received; also the good state.
    Good,
    /// Received within a burst.
    Between,
    /// Lost within a burst; also the bad state.
    Bad,
    /// Lost alone.
    Alone,
}

impl Chance {
    pub(crate) const fn new(loss: Stream, change: Stream) -> Chance {
        Chance { loss, change, state: State::Good }
    }

    /// Whether the next segment is lost.
    pub(crate) fn next(&mut self, model: &Model) -> Option<WireDrop> {
        match *model {
            Model::Bernoulli(p) => self.loss.happens(p).then_some(WireDrop::Loss),
            Model::GilbertElliott { p, r, bad, good } => {
                let turns = self.change.happens(if self.state == State::Bad { r } else { p });
                self.state = match (self.state == State::Bad, turns) {
                    (true, false) | (false, true) => State::Bad,
                    _ => State::Good,
                };
                let (share, reason) =
                    if self.state == State::Bad { (bad, WireDrop::Burst) } else { (good, WireDrop::Loss) };
                self.loss.happens(share).then_some(reason)
            }
            Model::FourStates { p13, p31, p32, p23, p14 } => {
                let u = self.change.unit();
                self.state = match self.state {
                    State::Good if u < p13 => State::Bad,
                    State::Good if u < p13 + p14 => State::Alone,
                    State::Good | State::Alone => State::Good,
                    State::Bad if u < p31 => State::Good,
                    State::Bad if u < p31 + p32 => State::Between,
                    State::Bad => State::Bad,
                    State::Between if u < p23 => State::Bad,
                    State::Between => State::Between,
                };
                match self.state {
                    State::Bad => Some(WireDrop::Burst),
                    State::Alone => Some(WireDrop::Loss),
                    State::Good | State::Between => None,
                }
            }
        }
    }
}

impl Model {
    /// Losses of this share that are as alike to the one before as `correlation` says, from 0 to 1: two states whose
    /// stationary share and whose autocorrelation are just these. (netem's own blending changes the share.)
    #[must_use]
    pub fn correlated(share: f64, correlation: f64) -> Model {
        if correlation <= 0.0 {
            return Model::Bernoulli(share);
        }
        let p = share * (1.0 - correlation);
        Model::GilbertElliott { p, r: (1.0 - share) * (1.0 - correlation), bad: 1.0, good: 0.0 }
    }
}

impl Listed {
    /// Whether the frame with this number, counted from one, is lost.
    pub(crate) fn has(&self, number: u64) -> bool {
        match &self.which {
            Which::Every(n) => number.is_multiple_of(*n),
            Which::Ranges(ranges) => {
                let at = ranges.partition_point(|&(_, last)| last < number);
                ranges.get(at).is_some_and(|&(first, _)| first <= number)
            }
        }
    }
}
