//! Files of frames that are sent again, in the words of the API.

use std::net::IpAddr;

use vswitch_api::frame::{ReplayQuery, Replayed as ApiReplayed};
use vswitch_frame::ethernet::HEADER_LEN;
use vswitch_frame::{MacAddr, PortId};
use vswitch_switch::SwitchError;
use vswitch_switch::capture::{FileFrame, FrameReader, Mapping, Side};
use vswitch_switch::lab::{Direction, Neighbourhood, Pace, Replay, ReplayStop, Replayed};

use super::Controller;
use super::frames::LONGEST;
use crate::error::ControlError;

/// A replay that is under way.
#[derive(Debug)]
pub struct Replaying {
    replay: Replay,
    endpoint: String,
    file: FrameReader,
    mapping: Mapping,
    side: Option<Side>,
    /// The time of the frame before, which one without a time has, too.
    latest: u64,
    left_out: ApiReplayed,
}

/// How many times as fast, or slow.
const FASTEST: f64 = 1000.0;
const SLOWEST: f64 = 0.001;

impl Controller {
    /// Begins to send the frames of a file.
    ///
    /// # Errors
    /// When the wish makes no sense, names something unknown or that is not running, or too many replays run.
    pub fn replay(&self, query: &ReplayQuery) -> Result<Replaying, ControlError> {
        let port = self.one_port(&query.endpoint)?;
        let pace = match (query.speed.as_deref(), query.at_once == Some(true)) {
            (Some(_), true) => return Err(ControlError::invalid("frames are sent at a speed or at once, not both")),
            (None, true) => Pace::AtOnce,
            (None, false) => Pace::Thousandths(1000),
            (Some(text), false) => Pace::Thousandths(speed(text)?),
        };
        let side = query.side.as_deref().map(side).transpose()?;
        let mapping = self.mapping(port, query)?;
        let direction = if query.towards == Some(true) { Direction::Down } else { Direction::Up };
        let replay = self.inner.switch.replay(port, direction, pace).map_err(|error| match error {
            SwitchError::TooManyReplays => ControlError::Conflict(error.to_string()),
            other => other.into(),
        })?;
        Ok(Replaying {
            replay,
            endpoint: query.endpoint.clone(),
            file: FrameReader::default(),
            mapping,
            side,
            latest: 0,
            left_out: ApiReplayed::default(),
        })
    }

    fn mapping(&self, port: PortId, query: &ReplayQuery) -> Result<Mapping, ControlError> {
        let mut mapping = Mapping::default();
        mapping.fix_checksums = query.fix_checksums == Some(true);
        for pair in query.map.iter().flat_map(|text| text.split(',')).filter(|pair| !pair.is_empty()) {
            let wrong = || {
                ControlError::invalid(format!(
                    "{pair:?} maps nothing; write OLD=NEW, OLD an IP or MAC address of the file, NEW one of the same kind, \
                     an endpoint, or gateway"
                ))
            };
            let (old, new) = pair.split_once('=').ok_or_else(wrong)?;
            let (old_mac, old_address) = (old.parse::<MacAddr>().ok(), old.parse::<IpAddr>().ok());
            match (old_mac, old_address, new.parse::<MacAddr>(), new.parse::<IpAddr>()) {
                (Some(old), _, Ok(new), _) => mapping.mac(old, new),
                (_, Some(old), _, Ok(new)) if old.is_ipv4() == new.is_ipv4() => mapping.address(old, new),
                (None, None, ..) | (.., Ok(_), _) | (.., Ok(_)) => return Err(wrong()),
                _ => {
                    let v4 = old_address.is_none_or(|address| address.is_ipv4());
                    let (mac, address) = self.station(port, new, v4)?;
                    if let Some(old) = old_mac {
                        mapping.mac(old, mac);
                    }
                    if let Some(old) = old_address {
                        mapping.station(old, mac);
                        let absent =
                            || ControlError::invalid(format!("{new} has no address of the family of {old}; name one"));
                        mapping.address(old, address.ok_or_else(absent)?);
                    }
                }
            }
        }
        Ok(mapping)
    }

    /// Who is meant by a name: by its MAC address, and its address of a family.
    fn station(&self, port: PortId, name: &str, v4: bool) -> Result<(MacAddr, Option<IpAddr>), ControlError> {
        let around = |port| self.around(port).ok_or_else(|| ControlError::NotRunning(name.to_owned()));
        if name == "gateway" {
            let around: Neighbourhood = around(port)?;
            let gateway = around.gateway.as_ref();
            let none = || ControlError::invalid("the endpoint's network has no gateway; name an address instead");
            return Ok((gateway.ok_or_else(none)?.mac, around.gateway_address(v4)));
        }
        let around = around(self.one_port(name)?)?;
        let none = || ControlError::invalid(format!("{name} has no MAC address of its own; name one instead"));
        Ok((around.own_mac().ok_or_else(none)?, around.own_address(v4)))
    }
}

impl Replaying {
    /// What ends it from elsewhere.
    #[must_use]
    pub fn stop(&self) -> ReplayStop {
        self.replay.stop()
    }

    /// Takes the next bytes of the file; waits while much is to be sent before them.
    ///
    /// # Errors
    /// When it is no file of frames, or nothing is sent any more.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), ControlError> {
        self.file.push(piece);
        while let Some(frame) = self.file.next_frame().map_err(|error| ControlError::invalid(error.to_string()))? {
            self.frame(frame)?;
        }
        Ok(())
    }

    /// Waits until everything is sent.
    ///
    /// # Errors
    /// When the file ends too early, or the endpoint went before.
    pub fn finish(self) -> Result<ApiReplayed, ControlError> {
        let Replaying { replay, endpoint, file, left_out, .. } = self;
        file.finish().map_err(|error| ControlError::invalid(error.to_string()))?;
        let Replayed { frames, bytes, time, late, gone } = replay.finish();
        if gone {
            return Err(went(&endpoint));
        }
        let [late_median_ns, late_p99_ns, late_p999_ns, late_max_ns] = late;
        Ok(ApiReplayed {
            frames,
            bytes,
            time_ns: time,
            late_median_ns,
            late_p99_ns,
            late_p999_ns,
            late_max_ns,
            ..left_out
        })
    }

    fn frame(&mut self, frame: FileFrame) -> Result<(), ControlError> {
        let FileFrame { nanos, mut frame, cut } = frame;
        let nanos = nanos.unwrap_or(self.latest);
        self.latest = nanos;
        if self.side.is_some_and(|side| !side.sent(&frame)) {
            self.left_out.other_side += 1;
        } else if cut {
            self.left_out.cut += 1;
        } else if !(HEADER_LEN..=LONGEST).contains(&frame.len()) {
            self.left_out.unfit += 1;
        } else {
            if !self.mapping.is_empty() {
                self.mapping.apply(&mut frame);
            }
            if !self.replay.push(&frame, nanos) {
                return Err(went(&self.endpoint));
            }
        }
        Ok(())
    }
}

fn went(endpoint: &str) -> ControlError {
    ControlError::Conflict(format!("{endpoint} went before all frames were sent"))
}

/// Thousandths of the file's own speed.
fn speed(text: &str) -> Result<u64, ControlError> {
    let number = text.strip_suffix('x').unwrap_or(text).parse::<f64>().ok();
    let fit = number.filter(|number| (SLOWEST..=FASTEST).contains(number));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 1 and a million")]
    let thousandths = fit.map(|number| (number * 1000.0).round() as u64);
    thousandths.ok_or_else(|| {
        ControlError::invalid(format!("{text:?} is no speed; use a number from {SLOWEST}x to {FASTEST}x, such as 2x"))
    })
}

fn side(text: &str) -> Result<Side, ControlError> {
    let address = text.parse().map(Side::Address).ok();
    address.or_else(|| text.parse().map(Side::Mac).ok()).ok_or_else(|| {
        ControlError::invalid(format!("{text:?} is no side of a conversation; name the IP or MAC address that sends"))
    })
}
