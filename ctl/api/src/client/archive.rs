//! Files of containers as tar archives. These are Docker's paths.

use std::io;

use hyper::{HeaderMap, Method};
use tokio::sync::mpsc;

use super::Client;
use super::containers::ContainerOutput;
use super::transport::escape;
use crate::ClientError;
use crate::docker::archive::{PathStat, STAT_HEADER};

impl Client {
    /// What a path of a running container is.
    ///
    /// # Errors
    /// As every call: see [`ClientError`]. A refusal has no sentence here, only its status.
    pub async fn container_path(&self, container: &str, path: &str) -> Result<PathStat, ClientError> {
        let response = self.call(Method::HEAD, archive(container, path)).response().await?;
        self.path_stat(response.headers())
    }

    /// A path of a running container and what is below it, as a tar archive.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn container_archive(
        &self,
        container: &str,
        path: &str,
    ) -> Result<(PathStat, ContainerOutput), ClientError> {
        let response = self.call(Method::GET, archive(container, path)).response().await?;
        let stat = self.path_stat(response.headers())?;
        Ok((stat, ContainerOutput::new(self.clone(), response.into_body())))
    }

    /// Unpack a tar archive in a folder of a running container; what comes out is root's, unless it is to keep its `owners`.
    ///
    /// # Errors
    /// As every call: see [`ClientError`].
    pub async fn unpack_in_container(
        &self,
        container: &str,
        folder: &str,
        owners: bool,
        pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    ) -> Result<(), ClientError> {
        let path = archive(container, folder) + &format!("&noOverwriteDirNonDir=true&copyUIDGID={owners}");
        self.call(Method::PUT, path).pieces(pieces).patience(None).done().await
    }

    fn path_stat(&self, headers: &HeaderMap) -> Result<PathStat, ClientError> {
        let value = headers.get(STAT_HEADER).and_then(|value| base64(value.as_bytes()));
        let stat = value.and_then(|json| serde_json::from_slice(&json).ok());
        stat.ok_or_else(|| self.broken(&"an answer without what the path is"))
    }
}

fn archive(container: &str, path: &str) -> String {
    format!("/containers/{}/archive?path={}", escape(container), escape(path))
}

/// RFC 4648, decoded; padding is not asked for.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let mut bytes = Vec::with_capacity(end * 3 / 4);
    for four in text[..end].chunks(4) {
        let mut word = 0u32;
        for letter in four {
            let digit = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            word = word << 6 | u32::from(digit);
        }
        let word = word << (6 * (4 - four.len()));
        bytes.extend_from_slice(&word.to_be_bytes()[1..four.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decoded as the RFC's examples; what is none of its letters is refused.
    #[test]
    fn decoding() {
        for (plain, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(text.as_bytes()).as_deref(), Some(plain.as_bytes()));
        }
        assert_eq!(base64(b"Zm 9"), None);
    }
}
