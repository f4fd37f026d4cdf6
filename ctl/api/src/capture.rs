//! Captured frames: `/vswitch/v1/capture`.

use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

/// Which frames are captured, and what they are written as.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct CaptureQuery {
    /// A container, `container@network`, an attached endpoint or a network, by name or id; `all` or nothing: every port.
    pub on: Option<String>,
    /// A filter in tcpdump's language.
    pub filter: Option<String>,
    /// Where: `up` (into the switch), `drop`, `down` (out of it), several with commas. Without it everywhere, and with a reason `drop`.
    pub at: Option<String>,
    /// Only frames that are dropped for this reason, by its name in the statistics.
    pub reason: Option<String>,
    /// Bytes of each frame that are kept.
    pub snaplen: Option<u32>,
    /// Super-frames as they cross the switch; otherwise as the packets that they stand for.
    pub frames: Option<bool>,
    /// End after so many frames.
    pub count: Option<u64>,
    /// `pcapng`, or `text` for one line a frame.
    pub format: Option<String>,
}
