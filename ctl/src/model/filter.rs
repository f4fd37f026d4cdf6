//! Docker's `filters`: what a listing is about. Values of one key are alternatives, all keys must match, and a key that is
//! not there matches everything.

use std::collections::BTreeMap;

use regex::Regex;

use super::Faults;

/// Filters as a client sent them.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    by_key: BTreeMap<String, Vec<Value>>,
}

#[derive(Debug, Clone)]
struct Value {
    text: String,
    /// The text as a pattern, if it is one.
    pattern: Option<Regex>,
}

impl Filters {
    /// Filters with these keys and values, of which only the `known` ones make sense.
    ///
    /// # Errors
    /// When a key is unknown.
    pub fn new(by_key: BTreeMap<String, Vec<String>>, known: &[&str]) -> Result<Self, Faults> {
        if let Some(key) = by_key.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(Faults::one(format!("invalid filter '{key}'; the filters are {}", known.join(", "))));
        }
        let value = |text: String| Value { pattern: Regex::new(&text).ok(), text };
        let values = |values: Vec<String>| values.into_iter().map(value).collect();
        Ok(Filters { by_key: by_key.into_iter().map(|(key, given)| (key, values(given))).collect() })
    }

    /// Whether anything was said of a key.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.values(key).next().is_some()
    }

    /// What was said of a key.
    pub fn values<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.by_key.get(key).into_iter().flatten().map(|value| value.text.as_str())
    }

    /// Whether some value of the key passes `test`.
    #[must_use]
    pub fn any(&self, key: &str, test: impl Fn(&str) -> bool) -> bool {
        !self.has(key) || self.values(key).any(test)
    }

    /// Whether some value of the key is `text`.
    #[must_use]
    pub fn exact(&self, key: &str, text: &str) -> bool {
        self.any(key, |value| value == text)
    }

    /// Whether one of `texts` begins with some value of the key.
    #[must_use]
    pub fn prefix(&self, key: &str, texts: &[&str]) -> bool {
        self.any(key, |value| texts.iter().any(|text| text.starts_with(value)))
    }

    /// Whether some value of the key, as a regular expression, is found in one of `texts`.
    #[must_use]
    pub fn pattern(&self, key: &str, texts: &[&str]) -> bool {
        let found = |value: &Value, text: &str| {
            value.text == text || value.pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
        };
        match self.by_key.get(key).map(Vec::as_slice) {
            None | Some([]) => true,
            Some(values) => values.iter().any(|value| texts.iter().any(|text| found(value, text))),
        }
    }

    /// Whether all values of `label`, `KEY` or `KEY=VALUE` each, and none of `label!` are among the labels.
    #[must_use]
    pub fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &str| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|has| has == value),
            None => labels.contains_key(wanted),
        };
        self.values("label").all(has) && !self.values("label!").any(has)
    }

    /// What a key that says yes or no says, if it is there.
    ///
    /// # Errors
    /// When it says anything else.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, Faults> {
        let mut said = None;
        for value in self.values(key) {
            said = Some(match value {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err(bad_value(key, value)),
            });
        }
        Ok(said)
    }

    /// Refuses values of a key that are none of `allowed`.
    ///
    /// # Errors
    /// The first such value.
    pub fn allow(&self, key: &str, allowed: &[&str]) -> Result<(), Faults> {
        match self.values(key).find(|value| !allowed.contains(value)) {
            Some(value) => Err(bad_value(key, value)),
            None => Ok(()),
        }
    }
}

/// The sentence about a value that makes no sense.
pub fn bad_value(key: &str, value: &str) -> Faults {
    Faults::one(format!("invalid filter '{key}={value}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(pairs: &[(&str, &[&str])]) -> Filters {
        let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let by_key = pairs.iter().map(|(key, values)| ((*key).to_owned(), owned(values))).collect();
        Filters::new(by_key, &["name", "label", "label!", "dangling"]).unwrap()
    }

    /// Names are patterns that may match anywhere; what is no pattern still matches itself; what is absent matches all.
    #[test]
    fn patterns() {
        let name = |pattern: &str, text: &str| filters(&[("name", &[pattern])]).pattern("name", &[text]);
        assert!(name("web", "my-web-1") && name("^web$", "web") && name("w.b", "wob"));
        assert!(!name("^web$", "web1") && !name("db", "web"));
        assert!(name("a(b", "a(b") && !name("a(b", "ab"));
        assert!(filters(&[]).pattern("name", &["x"]) && filters(&[("name", &[])]).pattern("name", &["x"]));
        assert!(filters(&[("name", &["x", "web"])]).pattern("name", &["web"]));
    }

    /// All labels must be there, with their values if any are given, and none of the excluded ones.
    #[test]
    fn labels() {
        let labels = BTreeMap::from([("tier".to_owned(), "front".to_owned()), ("a".to_owned(), String::new())]);
        let has = |pairs: &[(&str, &[&str])]| filters(pairs).labels(&labels);
        assert!(has(&[("label", &["tier"])]) && has(&[("label", &["tier=front", "a"])]));
        assert!(!has(&[("label", &["tier=back"])]) && !has(&[("label", &["tier", "b"])]));
        assert!(has(&[("label!", &["b"])]) && !has(&[("label!", &["tier=front"])]));
    }

    /// Unknown keys and values that make no sense are refused with their names.
    #[test]
    fn refusals() {
        let unknown = Filters::new(BTreeMap::from([("size".to_owned(), Vec::new())]), &["name"]).unwrap_err();
        assert_eq!(unknown.to_string(), "invalid filter 'size'; the filters are name");
        let fault = filters(&[("dangling", &["perhaps"])]).flag("dangling").unwrap_err().to_string();
        assert_eq!(fault, "invalid filter 'dangling=perhaps'");
        assert_eq!(filters(&[("dangling", &["1"])]).flag("dangling").unwrap(), Some(true));
        assert!(filters(&[("name", &["x"])]).allow("name", &["y"]).is_err());
    }
}
