//! `--format '{{.Name}}\t{{.Driver}}'`: what of Go's templates people write at Docker.
//!
//! Fields, `json`, `len`, `index`, `join`, `split`, `upper`, `lower`, `title`, `print`, `println`, `printf`; `eq`, `ne`, `lt`, `le`,
//! `gt`, `ge`, `and`, `or`, `not`; `range`, `if`, `with`, `else`, `end`; variables, pipes, brackets, `{{-` and `-}}`. A field that
//! is not there is refused with the list of those that are.

mod evaluate;
mod functions;
mod parse;

use std::str::FromStr;

use serde_json::Value;

use crate::failure::Usage;
use evaluate::Scope;
use parse::Node;

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    nodes: Vec<Node>,
}

impl FromStr for Template {
    type Err = Usage;

    fn from_str(text: &str) -> Result<Self, Usage> {
        Ok(Template { nodes: parse::parse(text)? })
    }
}

impl Template {
    /// The template with the fields of `value` put in.
    pub(crate) fn render(&self, value: &Value) -> Result<String, Usage> {
        let mut text = String::new();
        Scope::new(value).render(&self.nodes, value, &mut text)?;
        Ok(text)
    }

    /// The columns between the tabs, for a `table` format.
    pub(crate) fn columns(self) -> Vec<Template> {
        let mut columns = vec![Template { nodes: Vec::new() }];
        for node in self.nodes {
            let Node::Text(text) = &node else {
                columns.last_mut().expect("it starts with one").nodes.push(node);
                continue;
            };
            for (number, part) in text.split('\t').enumerate() {
                if number > 0 {
                    columns.push(Template { nodes: Vec::new() });
                }
                if !part.is_empty() {
                    columns.last_mut().expect("it starts with one").nodes.push(Node::Text(part.to_owned()));
                }
            }
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(format: &str) -> Result<String, String> {
        let value = json!({"Name": "n1", "Up": true, "Labels": {"a": "b", "com.x": "y"}, "None": null, "Count": 3,
            "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.0.0.0/8"}, {"Subnet": "fd::/8"}]}, "Empty": []});
        format.parse::<Template>().and_then(|template| template.render(&value)).map_err(|error| error.0)
    }

    /// Fields, nested fields, escapes and JSON are put in; text around them stays.
    #[test]
    fn substitution() {
        assert_eq!(render(r"<{{.Name}}\t{{ .Up }}>\n").unwrap(), "<n1\ttrue>\n");
        assert_eq!(render("{{.IPAM.Driver}}{{.None}}").unwrap(), "default");
        assert_eq!(render("{{json .Labels.a}} {{json .Name}}").unwrap(), r#""b" "n1""#);
        assert!(render("{{json .}}").unwrap().contains("IPAM"));
        assert_eq!(render("plain }} text").unwrap(), "plain }} text");
        assert_eq!(
            render("{{.Labels}} {{.IPAM.Config}}").unwrap(),
            "map[a:b com.x:y] [map[Subnet:10.0.0.0/8] map[Subnet:fd::/8]]"
        );
    }

    /// Loops, conditions, variables and functions as Docker's manual has them.
    #[test]
    fn actions() {
        for (format, shown) in [
            ("{{range.IPAM.Config}}{{.Subnet}} {{end}}", "10.0.0.0/8 fd::/8 "),
            ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "a=b;com.x=y;"),
            ("{{range $i, $one := .IPAM.Config}}{{$i}}{{$one.Subnet}}{{end}}", "010.0.0.0/81fd::/8"),
            ("{{range .Empty}}x{{else}}none{{end}}", "none"),
            ("{{index .Labels \"com.x\"}}{{index .Labels \"no\"}}", "y"),
            ("{{(index .IPAM.Config 1).Subnet}}", "fd::/8"),
            ("{{with index .IPAM.Config 0}}{{.Subnet}}{{end}}", "10.0.0.0/8"),
            ("{{if .Up}}up{{else}}down{{end}}", "up"),
            ("{{if eq .Name \"x\"}}a{{else if and .Up (gt .Count 2)}}b{{end}}", "b"),
            ("{{if not .Empty}}empty{{end}} {{len .IPAM.Config}} {{len .Name}}", "empty 2 2"),
            ("{{.Name | upper | printf \"%s-%d\"}}", "N1-%!d(MISSING)"),
            ("{{printf \"%s=%v %q\" .Name .Count .Name}}", "n1=3 \"n1\""),
            ("{{join (split \"a b\" \" \") \",\"}}{{title .Name}}", "a,bN1"),
            ("a {{- .Name -}}  b {{/* a remark */}}{{\"}}\"}}", "an1b }}"),
            ("{{range .IPAM.Config}}{{$.Name}}{{end}}", "n1n1"),
            ("{{$x := .Name}}{{$x}}", "n1"),
        ] {
            assert_eq!(render(format).unwrap(), shown, "{format}");
        }
    }

    /// What is not known is refused, and the sentence lists what is.
    #[test]
    fn refusals() {
        assert!(render("{{.Foo}}").unwrap_err().contains("known there are .Count .Empty .IPAM"));
        assert!(render("{{.IPAM.X}}").unwrap_err().contains("'.X' does not exist; known there are .Config .Driver"));
        assert!(render("{{.Name.X}}").unwrap_err().contains("has no fields"));
        assert!(render("{{.Name").unwrap_err().contains("does not close"));
        assert!(render("{{range .Labels}}").unwrap_err().contains("{{end}}"));
        assert!(render("{{end}}").unwrap_err().contains("{{end}}"));
        assert!(render("{{index .Empty 3}}").unwrap_err().contains("3"));
        for action in ["{{Name}}", "{{}}", "{{..}}", "{{.Name | shout}}", "{{template \"x\"}}", "{{$y}}", "{{(.Name}}"]
        {
            assert!(render(action).is_err(), "{action}");
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
