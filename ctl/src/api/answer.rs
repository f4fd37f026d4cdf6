//! Refusals as a client sees them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use vswitch_api::ErrorBody;
use vswitch_api::text::printable;

use crate::error::{Class, ControlError};
use crate::model::Faults;

/// A status of 400 or above and its sentence.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
    exit_code: Option<i32>,
}

/// What a handler answers.
pub(super) type Answer<T> = Result<T, Refusal>;

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Refusal { status, message: message.into(), exit_code: None }
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let message = printable(&self.message).into_owned();
        (self.status, Json(ErrorBody { message, exit_code: self.exit_code })).into_response()
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        let status = match error.class() {
            Class::Invalid => StatusCode::BAD_REQUEST,
            Class::Forbidden => StatusCode::FORBIDDEN,
            Class::NotFound => StatusCode::NOT_FOUND,
            Class::Conflict => StatusCode::CONFLICT,
            Class::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Class::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::warn!("refused: {error}");
        }
        let exit_code = match &error {
            ControlError::Command { exit_code, .. } => Some(*exit_code),
            _ => None,
        };
        Refusal { exit_code, ..Refusal::new(status, error.to_string()) }
    }
}

impl From<Faults> for Refusal {
    fn from(faults: Faults) -> Self {
        ControlError::from(faults).into()
    }
}
