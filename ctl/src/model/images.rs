//! Images: names for directories of the host that become the root directory of containers. The operator gives them
//! (`--image NAME=DIR`); there is no registry and there are no layers.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name and its directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Without Docker's default registry and tag; [`ANY`] is every name that no other image has.
    name: String,
    directory: PathBuf,
}

/// The name of the image for all other names.
const ANY: &str = "*";

/// What Docker thinks in front of a name.
const DEFAULT_REGISTRY: [&str; 4] = ["docker.io/library/", "index.docker.io/library/", "docker.io/", "library/"];

/// What Docker thinks behind a name.
const DEFAULT_TAG: &str = ":latest";

/// In front of an image's id.
const DIGEST: &str = "sha256:";

/// Digits of an image's id that are worth looking at.
const SHORTEST_ID: usize = 6;

/// Why an image makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Not `NAME=DIR`.
    #[error("--image {0:?} makes no sense; write NAME=DIR with an absolute DIR, or '*=DIR' for all other names")]
    Shape(String),
    /// The same name twice.
    #[error("--image names {0} twice; leave one of them out")]
    Twice(String),
    /// No such directory.
    #[error("--image {0}: {1} is no directory; name the root directory that containers of this image are to have")]
    Directory(String, String),
}

impl FromStr for Image {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Image, ImageError> {
        let shape = || ImageError::Shape(text.to_owned());
        let (name, directory) = text.split_once('=').ok_or_else(shape)?;
        Image::new(name, directory).map_err(|_| shape())
    }
}

impl Image {
    fn new(name: &str, directory: &str) -> Result<Image, ImageError> {
        let shape = || ImageError::Shape(format!("{name}={directory}"));
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
        let plain =
            name == ANY || (!name.is_empty() && name.bytes().all(letters) && !name.starts_with(['-', ':', '/']));
        let absolute = directory.starts_with('/') && !directory.split('/').any(|part| part == "..");
        if !plain || !absolute || directory.contains('\0') {
            return Err(shape());
        }
        let directory = Path::new(directory).components().collect();
        Ok(Image { name: bare(name).to_owned(), directory })
    }

    /// A directory without a name of its own.
    #[must_use]
    pub fn nameless(directory: &Path) -> Image {
        Image { name: ANY.to_owned(), directory: directory.to_owned() }
    }

    /// Whether this is its id, or the beginning of it.
    #[must_use]
    pub fn has_id(&self, text: &str) -> bool {
        let digits = text.strip_prefix(DIGEST).unwrap_or(text);
        let hexadecimal = digits.len() >= SHORTEST_ID && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        hexadecimal && self.id()[DIGEST.len()..].starts_with(digits)
    }

    /// Its name as Docker shows it, tag included; `None`: it has no name of its own.
    #[must_use]
    pub fn tag(&self) -> Option<String> {
        (self.name != ANY).then(|| tagged(&self.name))
    }

    /// Root directory of its containers.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// `sha256:` and 64 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        id_of(&self.directory)
    }
}

/// All images of a daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images(Vec<Image>);

impl Images {
    /// Takes `NAME=DIR`s.
    ///
    /// # Errors
    /// For the first that makes no sense, is there twice, or whose directory is missing.
    pub fn parse(texts: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Images, ImageError> {
        let mut images = Images::default();
        for text in texts {
            let image: Image = text.as_ref().parse()?;
            if images.0.iter().any(|other| other.name == image.name) {
                return Err(ImageError::Twice(image.name));
            }
            if !image.directory.is_dir() {
                return Err(ImageError::Directory(image.name, image.directory.display().to_string()));
            }
            images.0.push(image);
        }
        Ok(images)
    }

    /// All of them, as given.
    pub fn iter(&self) -> impl Iterator<Item = &Image> {
        self.0.iter()
    }

    /// The image that a client means: a name with or without registry, tag and digest, or an id or the beginning of one.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<&Image> {
        let name = text.split('@').next().unwrap_or(text);
        let name = bare(name);
        let untagged = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name);
        let named = |wanted: &str| self.0.iter().find(|image| image.name == wanted);
        named(name).or_else(|| named(untagged)).or_else(|| self.by_id(text)).or_else(|| named(ANY))
    }

    fn by_id(&self, text: &str) -> Option<&Image> {
        self.0.iter().find(|image| image.has_id(text))
    }
}

/// The id of the image that a directory is, whatever its names.
#[must_use]
pub fn id_of(directory: &Path) -> String {
    // It names a directory and protects nothing, so any function that scatters will do.
    let word = |number: u64| {
        let mut hasher = DefaultHasher::new();
        (number, directory).hash(&mut hasher);
        hasher.finish()
    };
    format!("{DIGEST}{:016x}{:016x}{:016x}{:016x}", word(0), word(1), word(2), word(3))
}

/// A name as Docker writes it in full.
#[must_use]
pub fn tagged(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains([':', '@']) { name.to_owned() } else { format!("{name}{DEFAULT_TAG}") }
}

/// A name without what Docker thinks around it.
pub(super) fn bare(name: &str) -> &str {
    let name = name.strip_suffix(DEFAULT_TAG).unwrap_or(name);
    DEFAULT_REGISTRY.iter().find_map(|registry| name.strip_prefix(registry)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names are found as Docker finds them, ids by their beginning, and `*` has what is left.
    #[test]
    fn finds() {
        let images = Images::parse(["busybox=/usr", "redis:7=/etc", "host:5000/x=/var"]).unwrap();
        for (text, directory) in [
            ("busybox", Some("/usr")),
            ("busybox:latest", Some("/usr")),
            ("docker.io/library/busybox:1.36", Some("/usr")),
            ("busybox@sha256:00", Some("/usr")),
            ("redis:7", Some("/etc")),
            ("redis:6", None),
            ("redis", None),
            ("host:5000/x", Some("/var")),
            ("nothing", None),
        ] {
            assert_eq!(images.find(text).map(Image::directory), directory.map(Path::new), "{text}");
        }
        let id = images.find("redis:7").unwrap().id();
        assert_eq!(id.len(), 71);
        for text in [&id, &id[7..], &id[7..19]] {
            assert_eq!(images.find(text).unwrap().directory(), Path::new("/etc"), "{text}");
        }
        let all = Images::parse(["*=/", "busybox=/usr"]).unwrap();
        assert_eq!(all.find("busybox").unwrap().directory(), Path::new("/usr"));
        assert_eq!(all.find("x/y:z").unwrap().directory(), Path::new("/"));
        assert_eq!(
            (all.find("x").unwrap().tag(), all.find("busybox").unwrap().tag()),
            (None, Some("busybox:latest".into()))
        );
    }

    /// What makes no sense is refused with a sentence.
    #[test]
    fn refusals() {
        for text in ["busybox", "=/usr", "busybox=usr", "busybox=/usr/../etc", "a b=/usr", "-x=/usr"] {
            assert!(Images::parse([text]).unwrap_err().to_string().contains("write NAME=DIR"), "{text}");
        }
        assert!(
            Images::parse(["a=/usr", "docker.io/library/a:latest=/etc"]).unwrap_err().to_string().contains("twice")
        );
        assert!(Images::parse(["a=/no/such"]).unwrap_err().to_string().contains("is no directory"));
    }
}
