//! Networks on the LAN of an interface of the host: `--opt parent=eth0`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vswitch_frame::VlanId;
use vswitch_switch::lan::LanMode;

/// What a network on a LAN is like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lan {
    /// The interface; without one there is no LAN, and the containers are among themselves.
    pub parent: Option<Parent>,
    /// How its containers meet each other and the LAN.
    pub meeting: Meeting,
    /// On the LAN all containers have the parent's MAC address (`ipvlan`).
    pub one_mac: bool,
}

/// How containers of a network on a LAN meet: the kernel's words, and one of a bridge's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Meeting {
    /// As the ports of a bridge, of which the LAN is one more.
    Learning,
    /// Here.
    Bridge,
    /// Never.
    Private,
    /// By a switch on the LAN that sends frames back.
    Vepa,
    /// There is one container, which hears everything.
    Passthru,
}

impl Meeting {
    /// From `macvlan_mode`.
    ///
    /// # Errors
    /// One sentence.
    pub fn parse(name: &str, value: &str) -> Result<Meeting, String> {
        match value {
            "" | "bridge" => Ok(Meeting::Bridge),
            "private" => Ok(Meeting::Private),
            "vepa" => Ok(Meeting::Vepa),
            "passthru" => Ok(Meeting::Passthru),
            _ => Err(format!(
                "requested macvlan mode '{value}' is not valid, 'bridge' mode is the macvlan driver default (write \
                 {name}=bridge, private, vepa or passthru)"
            )),
        }
    }

    /// In the words of the switch.
    #[must_use]
    pub const fn mode(self) -> LanMode {
        match self {
            Meeting::Learning => LanMode::Learning,
            Meeting::Bridge => LanMode::Bridge,
            Meeting::Private => LanMode::Private,
            Meeting::Vepa => LanMode::Vepa,
            Meeting::Passthru => LanMode::Passthru,
        }
    }
}

/// An interface of the host, or a VLAN of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Parent {
    /// Its name.
    pub interface: String,
    /// The VLAN, which the switch tags and untags itself.
    pub vlan: Option<VlanId>,
}

impl Parent {
    /// The most bytes of an interface's name.
    const LONGEST_NAME: usize = 15;
}

impl FromStr for Parent {
    type Err = String;

    fn from_str(text: &str) -> Result<Parent, String> {
        let (interface, vlan) = match text.rsplit_once('.') {
            Some((interface, id)) => {
                let vlan = id.parse::<VlanId>().map_err(|fault| {
                    format!("invalid subinterface vlan name {text}, example formatting is eth0.10 ({fault})")
                })?;
                (interface, Some(vlan))
            }
            None => (text, None),
        };
        let good = (1..=Parent::LONGEST_NAME).contains(&interface.len())
            && interface.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'.'));
        match good {
            true => Ok(Parent { interface: interface.to_owned(), vlan }),
            false => Err(format!(
                "invalid parent {text:?}: write the name of an interface such as eth0, or eth0.10 for a VLAN of it"
            )),
        }
    }
}

impl TryFrom<String> for Parent {
    type Error = String;

    fn try_from(text: String) -> Result<Parent, String> {
        text.parse()
    }
}

impl From<Parent> for String {
    fn from(parent: Parent) -> String {
        parent.to_string()
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.interface)?;
        self.vlan.map_or(Ok(()), |vlan| write!(f, ".{vlan}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An interface or a VLAN of one, and every other spelling is refused.
    #[test]
    fn parents() {
        for text in ["eth0", "eth0.50", "br-1234567890ab.4094", "e"] {
            assert_eq!(text.parse::<Parent>().unwrap().to_string(), text);
        }
        for text in ["eth0.0", "eth0.4095", "eth0.", "eth0.x", "eth0.050", "eth0.1.2x"] {
            let refused = text.parse::<Parent>().unwrap_err();
            assert!(refused.contains("example formatting is eth0.10"), "{refused}");
        }
        for text in ["", ".5", "a/b", "eth0:1", "0123456789abcdef", "eth 0", "a.1.2"] {
            assert!(text.parse::<Parent>().unwrap_err().contains("write the name of an interface"), "{text}");
        }
    }
}
