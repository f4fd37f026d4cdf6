//! `--format '{{.Name}}\t{{.Driver}}'`: what of Docker's Go templates people really write.
//!
//! `{{.Field}}`, `{{.Outer.Inner}}`, `{{json .Field}}`, `{{json .}}`, text with `\t` and `\n`. A field that is not there is
//! refused with the list of those that are; loops, conditions and functions are refused as well.

use std::str::FromStr;

use serde_json::Value;

use crate::failure::Usage;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field { path: Vec<String>, json: bool },
}

impl FromStr for Template {
    type Err = Usage;

    fn from_str(text: &str) -> Result<Self, Usage> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, inside)) = rest.split_once("{{") {
            let (action, after) = inside
                .split_once("}}")
                .ok_or_else(|| Usage(format!("the format '{text}' opens '{{{{' and does not close it with '}}}}'")))?;
            push_text(&mut pieces, before);
            pieces.push(action.parse()?);
            rest = after;
        }
        push_text(&mut pieces, rest);
        Ok(Template { pieces })
    }
}

impl FromStr for Piece {
    type Err = Usage;

    fn from_str(action: &str) -> Result<Self, Usage> {
        let refuse = || {
            Usage(format!(
                "the format knows '{{{{.Field}}}}' and '{{{{json .Field}}}}' but not '{{{{{action}}}}}'; use --json and a tool \
                 such as jq"
            ))
        };
        let bare = action.trim().trim_start_matches("- ").trim_end_matches(" -").trim();
        let (json, field) = match bare.strip_prefix("json ") {
            Some(field) => (true, field.trim()),
            None => (false, bare),
        };
        let names = field.strip_prefix('.').ok_or_else(refuse)?;
        let path: Vec<String> = names.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let plain = |name: &String| name.chars().all(|letter| letter.is_alphanumeric() || "_-".contains(letter));
        if (path.is_empty() && !names.is_empty()) || !path.iter().all(plain) {
            return Err(refuse());
        }
        Ok(Piece::Field { path, json })
    }
}

impl Template {
    /// The template with the fields of `value` put in.
    pub(crate) fn render(&self, value: &Value) -> Result<String, Usage> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Field { path, json } => text.push_str(&show(look_up(value, path)?, *json)),
            }
        }
        Ok(text)
    }

    /// The columns between the tabs, for a `table` format.
    pub(crate) fn columns(self) -> Vec<Template> {
        let mut columns = vec![Template { pieces: Vec::new() }];
        for piece in self.pieces {
            let Piece::Text(text) = &piece else {
                columns.last_mut().expect("it starts with one").pieces.push(piece);
                continue;
            };
            for (number, part) in text.split('\t').enumerate() {
                if number > 0 {
                    columns.push(Template { pieces: Vec::new() });
                }
                if !part.is_empty() {
                    columns.last_mut().expect("it starts with one").pieces.push(Piece::Text(part.to_owned()));
                }
            }
        }
        columns
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.replace("\\t", "\t").replace("\\n", "\n")));
    }
}

fn look_up<'a>(value: &'a Value, path: &[String]) -> Result<&'a Value, Usage> {
    let mut found = value;
    for (depth, name) in path.iter().enumerate() {
        let fields = found.as_object();
        found = fields.and_then(|fields| fields.get(name)).ok_or_else(|| {
            let wanted = path[..=depth].join(".");
            let known: Vec<_> = fields.into_iter().flatten().map(|(name, _)| format!(".{name}")).collect();
            match known.is_empty() {
                true => {
                    Usage(format!("the format's field '.{wanted}' does not exist: what is before it has no fields"))
                }
                false => {
                    Usage(format!("the format's field '.{wanted}' does not exist; known there are {}", known.join(" ")))
                }
            }
        })?;
    }
    Ok(found)
}

fn show(value: &Value, json: bool) -> String {
    match value {
        Value::String(text) if !json => text.clone(),
        Value::Null if !json => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(format: &str) -> Result<String, String> {
        let value =
            json!({"Name": "n1", "Up": true, "Labels": {"a": "b"}, "None": null, "IPAM": {"Driver": "default"}});
        format.parse::<Template>().and_then(|template| template.render(&value)).map_err(|error| error.0)
    }

    /// Fields, nested fields, escapes and JSON are put in; text around them stays.
    #[test]
    fn substitution() {
        assert_eq!(render(r"<{{.Name}}\t{{ .Up }}>\n").unwrap(), "<n1\ttrue>\n");
        assert_eq!(render("{{.IPAM.Driver}}{{.None}}").unwrap(), "default");
        assert_eq!(render("{{json .Labels}} {{json .Name}}").unwrap(), r#"{"a":"b"} "n1""#);
        assert!(render("{{json .}}").unwrap().contains("IPAM"));
        assert_eq!(render("plain }} text").unwrap(), "plain }} text");
    }

    /// What is not known is refused, and the sentence lists what is.
    #[test]
    fn refusals() {
        assert!(render("{{.Foo}}").unwrap_err().contains("known there are .IPAM .Labels .Name .None .Up"));
        assert!(render("{{.IPAM.X}}").unwrap_err().contains("'.IPAM.X' does not exist; known there are .Driver"));
        assert!(render("{{.Name.X}}").unwrap_err().contains("has no fields"));
        assert!(render("{{.Name").unwrap_err().contains("does not close"));
        for action in ["{{range .Labels}}", "{{Name}}", "{{}}", "{{..}}", "{{.Name | upper}}"] {
            assert!(render(action).unwrap_err().contains("but not"), "{action}");
        }
    }

    /// A table's columns are what the tabs part.
    #[test]
    fn columns() {
        let columns = r"{{.Name}} is\t{{.Up}}\t".parse::<Template>().unwrap().columns();
        let cells: Vec<_> =
            columns.iter().map(|column| column.render(&json!({"Name": "a", "Up": 1})).unwrap()).collect();
        assert_eq!(cells, ["a is", "1", ""]);
    }
}
