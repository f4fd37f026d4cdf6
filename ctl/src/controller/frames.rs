//! Single frames, in the words of the API: injected, traced, expected.

use std::time::Duration;

use vswitch_api::frame::{
    ExpectQuery, Expected as ApiExpected, FrameRequest, SeenFrame, Story as ApiStory, TraceEnd, TraceQuery, TraceStep,
};
use vswitch_frame::PortId;
use vswitch_frame::ethernet::HEADER_LEN;
use vswitch_switch::SwitchError;
use vswitch_switch::capture::Filter;
use vswitch_switch::lab::{
    Direction, End, Expectation, Expected, Neighbourhood, On, Outcome, Places, Seen, Story, Told, Tracer,
};
use vswitch_switch::wire::words;

use super::endpoints::identity;
use super::state::EndpointState;
use super::{Controller, packets};
use crate::error::ControlError;

/// Longest frames that are injected: an IP packet and its headers.
pub(super) const LONGEST: usize = 65_535 + 18;
/// How long a frame is followed, and waited for, unless something is said.
const PATIENCE: Duration = Duration::from_secs(2);
const WITHIN: Duration = Duration::from_secs(1);
/// And at most.
const MOST: Duration = Duration::from_secs(3600);

impl Controller {
    /// Injects a frame, or says what would become of it.
    ///
    /// # Errors
    /// When it makes no sense, or names something unknown or that is not running.
    pub fn trace_frame(&self, wish: &FrameRequest) -> Result<ApiStory, ControlError> {
        let port = self.one_port(&wish.endpoint)?;
        let frame = match (&wish.hex, &wish.packet) {
            (Some(hex), None) => bytes(hex)?,
            (None, Some(packet)) => {
                let around = self.around(port).ok_or_else(|| ControlError::NotRunning(wish.endpoint.clone()))?;
                packets::build(packet, wish.towards, &around)?
            }
            _ => return Err(ControlError::invalid("say what the frame is, by hex or by packet, and not by both")),
        };
        if !(HEADER_LEN..=LONGEST).contains(&frame.len()) {
            return Err(ControlError::invalid(format!(
                "a frame of {} bytes cannot be: it has {HEADER_LEN} to {LONGEST}, with its Ethernet header",
                frame.len()
            )));
        }
        let direction = if wish.towards { Direction::Down } else { Direction::Up };
        let patience = wish.within.as_deref().map_or(Ok(PATIENCE), time)?;
        let story = match (wish.dry_run, direction) {
            (true, Direction::Up) => self.inner.switch.foresee(port, &frame),
            (true, Direction::Down) => {
                return Err(ControlError::invalid(
                    "nothing decides on a frame that is sent towards an endpoint; a dry run is of one that it sends",
                ));
            }
            (false, direction) => self.inner.switch.inject(port, direction, &frame, patience),
        };
        let story = story.map_err(refused)?;
        Ok(ApiStory { direction: direction.name().to_owned(), dry_run: wish.dry_run, ..told(story) })
    }

    /// Hears the steps of frames from now on.
    ///
    /// # Errors
    /// When it makes no sense, names something unknown or that is not running, or too many look.
    pub fn trace_live(&self, query: &TraceQuery) -> Result<Tracer, ControlError> {
        let on = self.captured(query.on.as_deref().unwrap_or("all"))?;
        self.inner.switch.trace(on, filter(query.filter.as_deref())?).map_err(refused)
    }

    /// Looks for frames from now on.
    ///
    /// # Errors
    /// When it makes no sense, names something unknown or that is not running, or too many look.
    pub fn expect(&self, query: &ExpectQuery) -> Result<Expectation, ControlError> {
        let on = self.captured(query.on.as_deref().unwrap_or("all"))?;
        let places = match query.at.as_deref() {
            Some(text) => text.parse().map_err(|error| ControlError::invalid(format!("{error}")))?,
            None => Places::DOWN,
        };
        let filter_text = query.filter.clone().unwrap_or_default();
        let expected = Expected {
            filter: filter(Some(&filter_text))?,
            filter_text,
            count: query.count.unwrap_or(1),
            within: query.within.as_deref().map_or(Ok(WITHIN), time)?,
        };
        self.inner.switch.expect(on, places, expected).map_err(refused)
    }

    /// What came, in the words of the API.
    #[must_use]
    pub fn expected(&self, outcome: Outcome) -> ApiExpected {
        let Outcome { met, matched, count, others, nearest, injected } = outcome;
        ApiExpected {
            met,
            count,
            matched: matched.into_iter().map(|frame| seen(frame, Vec::new())).collect(),
            others,
            nearest: nearest.into_iter().map(|(frame, differs)| seen(frame, differs)).collect(),
            injected: injected.into_iter().map(told).collect(),
            seed: self.lab_seed(None),
        }
    }

    /// Who is at a port and around it, also where the switch itself does not care.
    pub(super) fn around(&self, port: PortId) -> Option<Neighbourhood> {
        let mut around = self.inner.switch.neighbourhood(port)?;
        let state = self.state();
        let own = state.endpoints.values().find(|one| one.port == Some(port))?;
        around.own = identity(&own.endpoint, true);
        let on = |one: &&EndpointState| one.endpoint.network == own.endpoint.network && one.port != Some(port);
        around.others.extend(state.endpoints.values().filter(on).filter_map(|one| identity(&one.endpoint, true)));
        Some(around)
    }

    pub(super) fn one_port(&self, name: &str) -> Result<PortId, ControlError> {
        let several = || {
            ControlError::invalid(format!("{name:?} is not one endpoint; name one, as CONTAINER or CONTAINER@NETWORK"))
        };
        match self.captured(name)? {
            On::Ports(ports) => match ports[..] {
                [port] => Ok(port),
                _ => Err(several()),
            },
            On::All | On::Network(_) => Err(several()),
        }
    }
}

fn refused(error: SwitchError) -> ControlError {
    match error {
        SwitchError::TooManyCaptures | SwitchError::NoDryRun(_) => ControlError::Conflict(error.to_string()),
        other => other.into(),
    }
}

/// A filter; none selects everything.
fn filter(text: Option<&str>) -> Result<Filter, ControlError> {
    Filter::new(text.unwrap_or_default()).map_err(|error| ControlError::invalid(error.to_string()))
}

fn time(text: &str) -> Result<Duration, ControlError> {
    let time = words::time(text).map(Duration::from_nanos).filter(|time| *time <= MOST);
    time.ok_or_else(|| {
        ControlError::invalid(format!("{text:?} is no time to wait; use 500ms, 2s or 1m, at most an hour"))
    })
}

/// Bytes of `02 00:5e...`.
fn bytes(hex: &str) -> Result<Vec<u8>, ControlError> {
    let mut digits = Vec::new();
    for (at, c) in hex.chars().enumerate().filter(|(_, c)| !c.is_whitespace() && *c != ':') {
        let wrong = || {
            ControlError::invalid(format!(
                "the frame's bytes are wrong at character {}: {c:?} is no hexadecimal digit",
                at + 1
            ))
        };
        digits.push(c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or_else(wrong)?);
    }
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(ControlError::invalid("the frame's bytes end in the middle of one; each has two digits"));
    }
    Ok(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// A story in the words of the API.
pub(crate) fn told(story: Story) -> ApiStory {
    let Story { number, port, steps, ends, complete } = story;
    let step = |Told { step, text }| TraceStep { step, text };
    let end = |End { place, port, frame, reason }| TraceEnd { place: place.name().to_owned(), port, frame, reason };
    ApiStory {
        number,
        port,
        direction: "up".to_owned(),
        dry_run: false,
        steps: steps.into_iter().map(step).collect(),
        ends: ends.into_iter().map(end).collect(),
        complete,
    }
}

fn seen(frame: Seen, differs_in: Vec<String>) -> SeenFrame {
    let Seen { number, place, port, frame, line, reason } = frame;
    let hex = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    SeenFrame { number, place: place.name().to_owned(), port, frame: line, hex, reason, differs_in }
}
