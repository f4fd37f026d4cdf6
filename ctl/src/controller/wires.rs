//! Wires and cuts, in the words of the API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use vswitch_api::wire::{Cut, LinkChange, LinkState, Wire, WireChange};
use vswitch_frame::PortId;
use vswitch_switch::capture::Filter;
use vswitch_switch::lab::{Direction, On, WireReport};
use vswitch_switch::wire::{Change, Kind, Select, WireDrop, words};

use super::Controller;
use crate::agent::protocol::Request;
use crate::error::ControlError;
use crate::ids::Id;

impl Controller {
    /// The wires on which something happens or has happened.
    #[must_use]
    pub fn wires(&self) -> Vec<Wire> {
        let reports = self.inner.switch.wire_reports();
        let state = self.state();
        let names: BTreeMap<PortId, (String, String)> = state
            .endpoints
            .values()
            .filter_map(|one| {
                let network = state.networks.get(&one.endpoint.network).map(|on| on.network.name.clone());
                Some((one.port?, (one.endpoint.name.clone(), network.unwrap_or_default())))
            })
            .collect();
        drop(state);
        let mut wires: Vec<Wire> = reports.into_iter().map(|report| wire(report, &names)).collect();
        wires.sort_by(|a, b| {
            (&a.endpoint, &a.network, b.direction.as_str()).cmp(&(&b.endpoint, &b.network, &a.direction))
        });
        wires
    }

    /// Those that lost something.
    pub(super) fn lossy_wires(&self) -> Vec<Wire> {
        self.wires().into_iter().filter(|wire| !wire.lost.is_empty()).collect()
    }

    /// Changes what happens on wires.
    ///
    /// # Errors
    /// When it makes no sense, or names something unknown or that is not running.
    pub fn change_wires(&self, wish: &WireChange) -> Result<(), ControlError> {
        let directions: &[Direction] = match wish.direction.as_deref() {
            None => &Direction::BOTH,
            Some("up") => &[Direction::Up],
            Some("down") => &[Direction::Down],
            Some(other) => return Err(ControlError::invalid(format!("{other:?} is no direction; say up or down"))),
        };
        let mut sentence = wish.words.clone();
        for (kind, value) in &wish.settings {
            if !Kind::ALL.iter().any(|known| known.name() == kind) {
                let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
                return Err(ControlError::invalid(format!(
                    "{kind:?} is nothing that happens on wires; use {}",
                    kinds.join(", ")
                )));
            }
            sentence.push(kind.clone());
            sentence.extend(value.as_deref().map_or_else(|| vec!["none".to_owned()], words::split));
        }
        let change = Change::parse(&sentence, &compile).map_err(|error| ControlError::invalid(error.to_string()))?;
        let time = wish.time.as_deref().map(time).transpose()?;
        let ports = self.wired(&wish.endpoints)?;
        Ok(self.inner.switch.change_wires(&ports, directions, &change, time)?)
    }

    /// Lets some not hear others.
    ///
    /// # Errors
    /// When it names nobody, or something unknown or that is not running.
    pub fn cut(&self, wish: &Cut) -> Result<(), ControlError> {
        let (from, to) = (self.wired(&wish.from)?, self.wired(&wish.to)?);
        if from == to && from.len() == 1 {
            return Err(ControlError::invalid("nobody can be cut off from itself; name two endpoints"));
        }
        self.inner.switch.cut(&from, &to)?;
        if !wish.one_way {
            self.inner.switch.cut(&to, &from)?;
        }
        Ok(())
    }

    /// Lets all hear each other again, or those of some.
    ///
    /// # Errors
    /// When it names something unknown or that is not running.
    pub fn heal(&self, of: Option<&str>) -> Result<(), ControlError> {
        let ports = of.map(|of| self.wired(&of.split(',').map(str::to_owned).collect::<Vec<_>>())).transpose()?;
        Ok(self.inner.switch.heal(ports.as_deref())?)
    }

    /// Takes the carrier of endpoints' interfaces away, or gives it back.
    ///
    /// # Errors
    /// When it names something unknown or that is not running, or an interface that has none to take.
    pub async fn change_links(&self, wish: &LinkChange) -> Result<(), ControlError> {
        let ports = self.wired(&wish.endpoints)?;
        let ids: Vec<Id> = {
            let state = self.state();
            let meant = state.endpoints.iter().filter(|(_, one)| one.port.is_some_and(|port| ports.contains(&port)));
            meant.map(|(id, _)| id.clone()).collect()
        };
        let up = wish.state == LinkState::Up;
        for id in ids {
            self.ask(Request::EndpointCarrier { endpoint: id.to_string(), up }).await?;
            if let Some(one) = self.turn().endpoints.get_mut(&id) {
                one.unplugged = !up;
            }
        }
        Ok(())
    }

    /// What everything that happens by chance comes from; given another one, it begins again.
    #[must_use]
    pub fn lab_seed(&self, again: Option<u64>) -> u64 {
        self.inner.switch.lab_seed(again)
    }

    /// The ports of endpoints that are meant.
    fn wired(&self, names: &[String]) -> Result<Vec<PortId>, ControlError> {
        let mut ports = Vec::new();
        for name in names {
            match self.captured(name)? {
                On::Ports(of) => ports.extend(of),
                on => {
                    let state = self.state();
                    let of = |one: &&super::state::EndpointState| match on {
                        On::Network(network) => {
                            state.networks.get(&one.endpoint.network).and_then(|on| on.index) == Some(network.index)
                        }
                        _ => true,
                    };
                    ports.extend(state.endpoints.values().filter(of).filter_map(|one| one.port));
                }
            }
        }
        ports.sort_unstable();
        ports.dedup();
        if ports.is_empty() {
            return Err(ControlError::invalid("there is no endpoint here whose wire could change; name some"));
        }
        Ok(ports)
    }
}

/// A filter of a list or of losses.
fn compile(text: &str) -> Result<Select, String> {
    let filter = Filter::new(text).map_err(|error| error.to_string())?;
    Ok(Select { text: text.to_owned(), matches: Arc::new(move |frame: &[u8]| filter.matches(frame)) })
}

fn time(text: &str) -> Result<Duration, ControlError> {
    const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
    let wrong = || ControlError::invalid(format!("{text:?} is no time that a change can last; use 5s, 200ms or 10m"));
    let time = words::time(text).map(Duration::from_nanos).ok_or_else(wrong)?;
    if time.is_zero() || time > LONGEST { Err(wrong()) } else { Ok(time) }
}

fn wire(report: WireReport, names: &BTreeMap<PortId, (String, String)>) -> Wire {
    let WireReport { port, name, direction, impairment, cuts, counters } = report;
    let gone = || name.rsplit_once('@').map_or_else(Default::default, |(a, b)| (a.to_owned(), b.to_owned()));
    let (endpoint, network) = names.get(&port).cloned().unwrap_or_else(gone);
    let lost = WireDrop::ALL.into_iter().map(|reason| (reason.name().to_owned(), counters.lost(reason)));
    Wire {
        endpoint,
        network,
        direction: direction.name().to_owned(),
        settings: impairment.texts.into_iter().map(|(kind, text)| (kind.name().to_owned(), text)).collect(),
        cut_from: cuts.iter().filter_map(|port| Some(names.get(port)?.0.clone())).collect(),
        offered: counters.offered,
        passed: counters.passed,
        lost: lost.filter(|(_, count)| *count > 0).collect(),
        duplicated: counters.duplicated,
        corrupted: counters.corrupted,
        reordered: counters.reordered,
        marked: counters.marked,
        held: counters.held,
    }
}
