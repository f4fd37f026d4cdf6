//! VLANs of a bridge. Read first: IEEE 802.1Q clauses 6.9 and 8.6; the rules of access, trunk and native are those of Linux's
//! `vlan_filtering` and of every vendor's switch.
//!
//! Inside, a frame says itself which VLAN it is in: none of a tag is [`DEFAULT`], which also the network's gateway is in; else its
//! outer tag names it. Ports that say nothing of VLANs are in the default one. [`classify`] brings a frame into that form as it
//! comes in, [`dress`] into its port's as it leaves. So that a tag inside another one never counts as the outer one, a frame of the
//! default VLAN that has a second tag is refused.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vswitch_frame::vlan::VlanTag;
use vswitch_frame::{DropReason, EtherType, FrameBuf, VlanId};

/// The VLAN of frames without a tag, as far as nobody says otherwise (IEEE 802.1Q table 9-2).
const DEFAULT: u16 = 1;

/// What a port has to do with VLANs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortVlan {
    /// It is in one, and knows nothing of tags.
    Access(VlanId),
    /// It is in several, told apart by tags.
    Trunk {
        /// The one whose frames have no tag here.
        native: Option<VlanId>,
        /// The others.
        tagged: VlanSet,
    },
    /// It is in one, and the tags of its frames are its own business (QinQ).
    Tunnel(VlanId),
}

/// A set of VLANs: `10,20-29`, or `all`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VlanSet(Vec<(VlanId, VlanId)>);

/// The text is no set of VLANs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write VLAN ids from 1 to 4094, such as 10,20-29, or all")]
pub struct VlanSetFault;

/// What is done to a frame on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edit {
    Keep,
    Untag,
    Tag(VlanTag),
}

impl PortVlan {
    /// The VLAN of frames that come without a tag.
    #[must_use]
    pub const fn untagged(&self) -> Option<VlanId> {
        match self {
            PortVlan::Access(vlan) | PortVlan::Tunnel(vlan) => Some(*vlan),
            PortVlan::Trunk { native, .. } => *native,
        }
    }

    /// The VLANs that are named one by one, or in short ranges.
    pub(super) fn named(&self) -> Vec<u16> {
        let mut named: Vec<u16> = self.untagged().map(VlanId::value).into_iter().collect();
        if let PortVlan::Trunk { tagged, .. } = self {
            let short = tagged.0.iter().filter(|(first, last)| last.value() - first.value() < 16);
            named.extend(short.flat_map(|(first, last)| first.value()..=last.value()));
        }
        named
    }
}

impl VlanSet {
    /// Whether a VLAN is in it.
    #[must_use]
    pub fn contains(&self, vlan: VlanId) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&vlan))
    }
}

/// Brings a frame that came in by a port into the form that it has inside.
pub(super) fn classify(port: Option<&PortVlan>, buffer: &mut FrameBuf) -> Result<(), DropReason> {
    const REFUSED: Result<(), DropReason> = Err(DropReason::VlanFiltered);
    let tag = tag(buffer);
    let untagged = port.map_or(Some(DEFAULT), |port| port.untagged().map(VlanId::value));
    match (port, tag) {
        (Some(PortVlan::Tunnel(_)), _) | (_, None) => {
            let Some(vlan) = untagged else { return REFUSED };
            if vlan != DEFAULT && !buffer.insert_vlan(VlanTag { tpid: EtherType::VLAN, tci: vlan }) {
                return Err(DropReason::Malformed);
            }
        }
        // A priority alone: it stays where there is a tag to be in.
        (_, Some(tag)) if tag.vid() == 0 => {
            let Some(vlan) = untagged else { return REFUSED };
            buffer.remove_vlan();
            if vlan != DEFAULT && !buffer.insert_vlan(VlanTag { tci: tag.tci | vlan, ..tag }) {
                return Err(DropReason::Malformed);
            }
        }
        (port, Some(tag)) => {
            let Ok(vlan) = VlanId::new(tag.vid()) else { return REFUSED };
            let known = untagged == Some(tag.vid())
                || matches!(port, Some(PortVlan::Trunk { tagged, .. }) if tagged.contains(vlan));
            if !known {
                return REFUSED;
            }
            if tag.vid() == DEFAULT {
                buffer.remove_vlan();
            }
        }
    }
    let is_default = !buffer_is_in_other(port, tag);
    if is_default && self::tag(buffer).is_some() { REFUSED } else { Ok(()) }
}

/// Whether a frame that was let in is in another VLAN than the default one, by its tag or by its port's.
fn buffer_is_in_other(port: Option<&PortVlan>, came_with: Option<VlanTag>) -> bool {
    let untagged = port.and_then(PortVlan::untagged).map_or(DEFAULT, VlanId::value);
    match came_with {
        Some(tag) if tag.vid() != 0 && !matches!(port, Some(PortVlan::Tunnel(_))) => tag.vid() != DEFAULT,
        _ => untagged != DEFAULT,
    }
}

/// What is done to a frame of a VLAN (0: of the default one) so that a port can send it.
pub(super) fn dress(port: Option<&PortVlan>, vlan: u16) -> Result<Edit, DropReason> {
    let id = if vlan == 0 { DEFAULT } else { vlan };
    let untagged = port.map_or(Some(DEFAULT), |port| port.untagged().map(VlanId::value));
    if untagged == Some(id) {
        return Ok(if vlan == 0 { Edit::Keep } else { Edit::Untag });
    }
    match port {
        Some(PortVlan::Trunk { tagged, .. }) if VlanId::new(id).is_ok_and(|id| tagged.contains(id)) => Ok(match vlan {
            0 => Edit::Tag(VlanTag { tpid: EtherType::VLAN, tci: DEFAULT }),
            _ => Edit::Keep,
        }),
        _ => Err(DropReason::VlanFiltered),
    }
}

/// The outer tag of a frame.
pub(crate) fn tag(buffer: &FrameBuf) -> Option<VlanTag> {
    let bytes: [u8; 4] = buffer.frame().get(12..16)?.try_into().ok()?;
    let [a, b, c, d] = bytes;
    let tpid = EtherType(u16::from_be_bytes([a, b]));
    tpid.is_vlan_tag().then_some(VlanTag { tpid, tci: u16::from_be_bytes([c, d]) })
}

impl FromStr for VlanSet {
    type Err = VlanSetFault;

    fn from_str(text: &str) -> Result<VlanSet, VlanSetFault> {
        let text = if text == "all" { "1-4094" } else { text };
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some((first, last))
        };
        let ranges: Option<Vec<(VlanId, VlanId)>> = text.split(',').map(range).collect();
        Ok(VlanSet(ranges.ok_or(VlanSetFault)?))
    }
}

impl fmt::Display for VlanSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self
            .0
            .iter()
            .map(|(first, last)| match (first.value(), last.value()) {
                (1, 4094) => "all".to_owned(),
                (first, last) if first == last => first.to_string(),
                (first, last) => format!("{first}-{last}"),
            })
            .collect();
        f.write_str(&texts.join(","))
    }
}

impl TryFrom<String> for VlanSet {
    type Error = VlanSetFault;

    fn try_from(text: String) -> Result<VlanSet, VlanSetFault> {
        text.parse()
    }
}

impl From<VlanSet> for String {
    fn from(set: VlanSet) -> String {
        set.to_string()
    }
}

#[cfg(test)]
mod tests {
    use vswitch_frame::Offload;

    use super::*;

    fn id(vlan: u16) -> VlanId {
        VlanId::new(vlan).unwrap()
    }

    fn trunk(native: Option<u16>, tagged: &str) -> PortVlan {
        PortVlan::Trunk { native: native.map(id), tagged: tagged.parse().unwrap() }
    }

    /// A frame with these tags, the outer one first.
    fn tagged(tags: &[u16]) -> FrameBuf {
        let mut frame = vec![2; 12];
        tags.iter().for_each(|tci| frame.extend([0x81, 0, tci.to_be_bytes()[0], tci.to_be_bytes()[1]]));
        frame.extend([0x88, 0xb5, 1, 2, 3, 4]);
        FrameBuf::from_frame(&frame, Offload::NONE)
    }

    /// The tags of a frame.
    fn tags(buffer: &FrameBuf) -> Vec<u16> {
        let tags = buffer.frame()[12..].chunks(4).take_while(|chunk| chunk[..2] == [0x81, 0]);
        tags.map(|chunk| u16::from_be_bytes([chunk[2], chunk[3]])).collect()
    }

    /// L20-L26: what a frame is inside, by the kind of port and the tags that it comes with; `None`: refused.
    #[test]
    fn on_the_way_in() {
        let access = PortVlan::Access(id(10));
        let tunnel = PortVlan::Tunnel(id(100));
        let native = trunk(Some(10), "20-29");
        for (port, came, inside) in [
            (None, &[][..], Some(&[][..])),
            (None, &[0x6000], Some(&[])),
            (None, &[1], Some(&[])),
            (None, &[10], None),
            (None, &[1, 20], None),
            (None, &[0, 20], None),
            (Some(&access), &[], Some(&[10])),
            (Some(&access), &[0x6000], Some(&[0x600a])),
            (Some(&access), &[0xa00a], Some(&[0xa00a])),
            (Some(&access), &[20], None),
            (Some(&access), &[1], None),
            (Some(&access), &[4095], None),
            (Some(&native), &[], Some(&[10])),
            (Some(&native), &[25], Some(&[25])),
            (Some(&native), &[25, 7], Some(&[25, 7])),
            (Some(&native), &[30], None),
            (Some(&native), &[1], None),
            (Some(&trunk(None, "20")), &[], None),
            (Some(&trunk(None, "20")), &[0x6000], None),
            (Some(&trunk(None, "all")), &[1], Some(&[])),
            (Some(&trunk(None, "all")), &[1, 20], None),
            (Some(&tunnel), &[], Some(&[100])),
            (Some(&tunnel), &[20], Some(&[100, 20])),
            (Some(&tunnel), &[20, 30], Some(&[100, 20, 30])),
        ] {
            let mut buffer = tagged(came);
            let verdict = classify(port, &mut buffer);
            assert_eq!(verdict.is_ok().then(|| tags(&buffer)).as_deref(), inside, "{port:?} {came:?}");
        }
    }

    /// What a frame is on each kind of port; `None`: not there.
    #[test]
    fn on_the_way_out() {
        let access = PortVlan::Access(id(10));
        let add = Edit::Tag(VlanTag { tpid: EtherType::VLAN, tci: 1 });
        for (port, vlan, edit) in [
            (None, 0, Some(Edit::Keep)),
            (None, 10, None),
            (Some(&access), 0, None),
            (Some(&access), 10, Some(Edit::Untag)),
            (Some(&access), 20, None),
            (Some(&PortVlan::Access(id(1))), 0, Some(Edit::Keep)),
            (Some(&PortVlan::Tunnel(id(10))), 10, Some(Edit::Untag)),
            (Some(&trunk(Some(1), "10")), 0, Some(Edit::Keep)),
            (Some(&trunk(Some(10), "20")), 0, None),
            (Some(&trunk(Some(10), "20")), 10, Some(Edit::Untag)),
            (Some(&trunk(Some(10), "20")), 20, Some(Edit::Keep)),
            (Some(&trunk(Some(10), "20")), 30, None),
            (Some(&trunk(None, "1-5")), 0, Some(add)),
        ] {
            assert_eq!(dress(port, vlan).ok(), edit, "{port:?} {vlan}");
        }
    }

    /// Sets go round; nonsense is none.
    #[test]
    fn sets() {
        for text in ["10", "10,20-29", "all", "1-4093"] {
            assert_eq!(text.parse::<VlanSet>().unwrap().to_string(), text);
        }
        for text in ["", "0", "4095", "5-4", "1-4095", "10,", "a", "10-", "1,-2"] {
            assert!(text.parse::<VlanSet>().is_err(), "{text}");
        }
        let set: VlanSet = "10,20-29".parse().unwrap();
        assert_eq!([9, 10, 19, 20, 29, 30].map(|vlan| set.contains(id(vlan))), [false, true, false, true, true, false]);
    }
}
