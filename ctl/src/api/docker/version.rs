//! API versions. Docker's clients put `/vX.YY` before their paths; one implementation serves all that it knows, and
//! refuses others in Docker's words.

use axum::http::{HeaderValue, Uri};
use axum::response::Response;
use vswitch_api::{DOCKER_API_VERSION, DOCKER_MIN_API_VERSION};

use crate::api::answer::Refusal;

/// The path behind the version, if there is a version.
///
/// # Errors
/// When the version is older or newer than what is spoken.
pub(crate) fn negotiate(uri: &Uri) -> Result<Option<Uri>, Refusal> {
    let Some((asked, rest)) = split(uri) else { return Ok(None) };
    let number = |text: &str| parse(text).unwrap_or_default();
    if number(asked) > number(DOCKER_API_VERSION) {
        return Err(Refusal::bad(format!(
            "client version {asked} is too new. Maximum supported API version is {DOCKER_API_VERSION}"
        )));
    }
    if number(asked) < number(DOCKER_MIN_API_VERSION) {
        return Err(Refusal::bad(format!(
            "client version {asked} is too old. Minimum supported API version is {DOCKER_MIN_API_VERSION}, please \
             upgrade your client to a newer version"
        )));
    }
    Ok(rest.parse().ok())
}

/// Headers by which clients learn of the version, on every answer.
pub(super) async fn announce(mut response: Response) -> Response {
    let headers = [
        ("api-version", DOCKER_API_VERSION),
        ("docker-experimental", "false"),
        ("ostype", "linux"),
        ("server", concat!("vswitch/", env!("CARGO_PKG_VERSION"), " (linux)")),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether a path's first segment is a version, spoken or not.
pub(crate) fn negotiable(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|version| parse(version).is_some())
}

/// `1.47` and `/networks` of `/v1.47/networks`.
fn split(uri: &Uri) -> Option<(&str, &str)> {
    let rest = uri.path_and_query()?.as_str().strip_prefix("/v")?;
    let slash = rest.find('/')?;
    let (version, rest) = rest.split_at(slash);
    parse(version).map(|_| (version, rest))
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let digits = |text: &str| (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(());
    let (major, minor) = version.split_once('.')?;
    digits(major)?;
    digits(minor)?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only a version prefix is taken off, and only one that is spoken.
    #[test]
    fn prefixes() {
        let rest = |text: &str| negotiate(&text.parse().unwrap()).map(|uri| uri.map(|uri| uri.to_string()));
        assert_eq!(rest("/v1.47/networks?filters=%7B%7D").unwrap().as_deref(), Some("/networks?filters=%7B%7D"));
        assert_eq!(rest("/v1.24/_ping").unwrap().as_deref(), Some("/_ping"));
        assert_eq!(rest(&format!("/v{DOCKER_API_VERSION}/info")).unwrap().as_deref(), Some("/info"));
        for kept in ["/networks", "/v1./networks", "/v1.x/networks", "/v1.47", "/vswitch/v1/stats", "/v1/networks"] {
            assert_eq!(rest(kept).unwrap(), None, "{kept}");
        }
        for refused in ["/v1.23/networks", "/v1.99/networks", "/v2.0/networks", "/v0.9/_ping"] {
            assert!(rest(refused).is_err(), "{refused}");
        }
    }
}
