//! Errors in CNI's form.

use serde_json::{Value, json};
use vswitch_api::ClientError;

use super::result::Version;

/// The specification's error codes that are used here (section 2, "Error"), and this plug-in's own from 100 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// A version that the plug-in does not speak.
    Version = 1,
    /// A field that means nothing here; the sentence names it with its value.
    Unsupported = 2,
    /// The container is not known.
    Unknown = 3,
    /// Environment variables.
    Environment = 4,
    /// What the kernel refused.
    Io = 5,
    /// What is no configuration.
    Decode = 6,
    /// A configuration that cannot be.
    Config = 7,
    /// There is no vswitchd just now.
    Later = 11,
    /// No container can be added just now.
    Unavailable = 50,
    /// vswitchd refuses; the sentence is its own.
    Refused = 100,
    /// The interface's name is in use.
    Taken = 101,
    /// The container's network is not as it was when it was added.
    Changed = 102,
}

/// What is wrong, in one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CniError {
    pub(super) code: u32,
    pub(super) sentence: String,
}

impl CniError {
    pub(super) fn new(code: Code, sentence: impl Into<String>) -> CniError {
        CniError { code: code as u32, sentence: sentence.into() }
    }

    /// The object for standard output.
    pub(super) fn object(&self, version: Version) -> Value {
        json!({ "cniVersion": version.text(), "code": self.code, "msg": self.sentence })
    }
}

/// What a call of vswitchd came to.
pub(super) fn of_client(error: &ClientError) -> CniError {
    let code = if error.is_unreachable() { Code::Later } else { Code::Refused };
    // Faults of a request may be several lines; an error of CNI is a sentence.
    CniError::new(code, error.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" "))
}
