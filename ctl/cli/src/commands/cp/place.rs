//! Where a copy goes and what it is called: Docker's rules, which are those of `cp -a`.

use crate::failure::Usage;

/// Where it is unpacked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// A folder that is there.
    pub(super) folder: String,
    /// What the copy is called there; `None`: as its source, or, for the contents of a folder, nothing.
    pub(super) name: Option<String>,
}

/// What is at a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    Nothing,
    Folder,
    Other,
}

impl Place {
    /// Of what is copied to `destination`.
    pub(super) fn new(destination: &str, there: There, source_is_folder: bool) -> Result<Place, Usage> {
        let (folder, name) = split(destination);
        let named = Place { folder: folder.to_owned(), name: Some(name.to_owned()) };
        match there {
            There::Folder => Ok(Place { folder: destination.to_owned(), name: None }),
            There::Other if source_is_folder => {
                Err(Usage(format!("{destination} is no folder, and SRC is one; name another place")))
            }
            There::Nothing if !source_is_folder && destination.ends_with('/') => {
                Err(Usage(format!("there is no folder {destination}; make it first, or leave the last / out")))
            }
            There::Other | There::Nothing => Ok(named),
        }
    }
}

/// A path's folder and last part.
pub(super) fn split(path: &str) -> (&str, &str) {
    let path = match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    };
    match path.rsplit_once('/') {
        None => (".", path),
        Some(("", name)) => ("/", name),
        Some((folder, name)) => (folder, name),
    }
}

/// Whether a source is named as what is in a folder, without the folder.
pub(super) fn is_contents(source: &str) -> bool {
    source == "." || source.ends_with("/.") || source.trim_end_matches('/').is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Into a folder that is there, beside it under a new name, over a file; never a folder over a file.
    #[test]
    fn places() {
        let at = |folder: &str, name: Option<&str>| Place { folder: folder.into(), name: name.map(str::to_owned) };
        assert_eq!(Place::new("/tmp", There::Folder, true).unwrap(), at("/tmp", None));
        assert_eq!(Place::new("/tmp/new/", There::Nothing, true).unwrap(), at("/tmp", Some("new")));
        assert_eq!(Place::new("new", There::Nothing, false).unwrap(), at(".", Some("new")));
        assert_eq!(Place::new("/old", There::Other, false).unwrap(), at("/", Some("old")));
        assert!(Place::new("/old", There::Other, true).unwrap_err().0.contains("is no folder"));
        assert!(Place::new("/tmp/new/", There::Nothing, false).unwrap_err().0.contains("there is no folder"));
        assert!(is_contents("a/.") && is_contents(".") && is_contents("/") && !is_contents("a."));
    }
}
