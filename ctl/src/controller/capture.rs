//! Captures, in the words of the API.

use vswitch_api::capture::CaptureQuery;
use vswitch_frame::PortId;
use vswitch_switch::SwitchError;
use vswitch_switch::capture::Filter;
use vswitch_switch::lab::{Capture, CaptureSpec, Format, On, Places, Super};

use super::{Controller, State};
use crate::error::ControlError;

/// Bytes of a frame that are kept unless something else is said: all of any frame.
const WHOLE: u32 = 262_144;

impl Controller {
    /// Begins a capture, and says what comes out of it.
    ///
    /// # Errors
    /// When the question makes no sense, names something unknown or that is not running, or there are too many captures.
    pub fn capture(&self, query: &CaptureQuery) -> Result<(Capture, Format), ControlError> {
        let invalid = |error: &dyn std::fmt::Display| ControlError::invalid(error.to_string());
        let filter_text = query.filter.clone().unwrap_or_default();
        let filter = Filter::new(&filter_text).map_err(|error| invalid(&error))?;
        let reason = query.reason.as_deref().map(str::parse).transpose().map_err(|error| invalid(&error))?;
        let places = match query.at.as_deref() {
            Some(text) => text.parse().map_err(|error| invalid(&error))?,
            None if reason.is_some() => Places::DROP,
            None => Places::ALL,
        };
        let format = match query.format.as_deref() {
            None | Some("pcapng") => Format::Pcapng,
            Some("text") => Format::Text,
            Some(other) => {
                return Err(ControlError::invalid(format!("{other:?} is no format of captures; use pcapng or text")));
            }
        };
        let snap_len = query.snaplen.unwrap_or(WHOLE);
        if !(1..=WHOLE).contains(&snap_len) {
            return Err(ControlError::invalid(format!(
                "{snap_len} bytes of a frame cannot be kept; use a number from 1 to {WHOLE}"
            )));
        }
        if query.count == Some(0) {
            return Err(ControlError::invalid("a capture of no frames would be over at once; ask for 1 or more"));
        }
        let spec = CaptureSpec {
            on: self.captured(query.on.as_deref().unwrap_or("all"))?,
            places,
            filter,
            filter_text,
            reason,
            snap_len: usize::try_from(snap_len).unwrap_or(usize::MAX),
            super_frames: if query.frames == Some(true) { Super::Whole } else { Super::Segments },
            count: query.count,
            format,
        };
        let capture = self.inner.switch.capture(spec).map_err(|error| match error {
            SwitchError::TooManyCaptures => ControlError::Conflict(error.to_string()),
            other => other.into(),
        })?;
        Ok((capture, format))
    }

    /// The ports that are meant: of a container, of it on one network, of an endpoint, of a network, all.
    pub(super) fn captured(&self, text: &str) -> Result<On, ControlError> {
        if text == "all" {
            return Ok(On::All);
        }
        let state = self.state();
        let ports = match (state.container(text), state.endpoint(text), text.rsplit_once('@')) {
            (Ok(one), ..) => one.endpoints.iter().filter_map(|id| state.endpoints.get(id)?.port).collect(),
            (_, Ok(one), _) => one.port.into_iter().collect(),
            (.., Some((container, network))) => on_network(&state, container, network)?,
            (Err(error @ ControlError::Ambiguous { .. }), ..) => return Err(error),
            _ => {
                let index = match state.network(text) {
                    Ok(on) => on.index,
                    Err(ControlError::NetworkNotFound(_)) => {
                        return Err(ControlError::EndpointNotFound(text.to_owned()));
                    }
                    Err(error) => return Err(error),
                };
                let kept = index.and_then(|index| self.inner.switch.network(index));
                let absent = || ControlError::invalid(format!("network {text} is not on the switch: it has no frames"));
                return kept.map(On::Network).ok_or_else(absent);
            }
        };
        if ports.is_empty() { Err(ControlError::NotRunning(text.to_owned())) } else { Ok(On::Ports(ports)) }
    }
}

fn on_network(state: &State, container: &str, network: &str) -> Result<Vec<PortId>, ControlError> {
    let id = state.container(container)?.container.id.clone();
    let on = state.network(network)?;
    let not_there = || ControlError::NotConnected { container: container.to_owned(), network: on.network.name.clone() };
    let endpoint = state.endpoint_of(&id, &on.network.id).ok_or_else(not_there)?;
    Ok(endpoint.port.into_iter().collect())
}
