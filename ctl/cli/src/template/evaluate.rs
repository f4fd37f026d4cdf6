//! From nodes and a value to text.

use serde_json::Value;

use super::functions::{call, is_true, show};
use super::parse::{Node, Pipeline, Term};
use crate::failure::Usage;

/// Variables, of which the last of a name counts.
#[derive(Debug)]
pub(super) struct Scope {
    variables: Vec<(String, Value)>,
}

impl Scope {
    /// With `$`.
    pub(super) fn new(root: &Value) -> Scope {
        Scope { variables: vec![(String::new(), root.clone())] }
    }

    /// Writes nodes, with `dot` as what `.` is.
    pub(super) fn render(&mut self, nodes: &[Node], dot: &Value, text: &mut String) -> Result<(), Usage> {
        let depth = self.variables.len();
        for node in nodes {
            match node {
                Node::Text(piece) => text.push_str(piece),
                Node::Show(pipeline) => {
                    let value = self.evaluate(pipeline, dot)?;
                    if let [name] = &pipeline.names[..] {
                        self.variables.push((name.clone(), value));
                    } else {
                        text.push_str(&show(&value));
                    }
                }
                Node::If { condition, then, otherwise } => {
                    let (value, inner) = (self.evaluate(condition, dot)?, self.variables.len());
                    self.variables.extend(condition.names.iter().map(|name| (name.clone(), value.clone())));
                    self.render(if is_true(&value) { then } else { otherwise }, dot, text)?;
                    self.variables.truncate(inner);
                }
                Node::With { value, then, otherwise } => {
                    let (found, inner) = (self.evaluate(value, dot)?, self.variables.len());
                    self.variables.extend(value.names.iter().map(|name| (name.clone(), found.clone())));
                    if is_true(&found) {
                        self.render(then, &found, text)?;
                    } else {
                        self.render(otherwise, dot, text)?;
                    }
                    self.variables.truncate(inner);
                }
                Node::Range { over, each, otherwise } => {
                    let members = members(self.evaluate(over, dot)?)?;
                    if members.is_empty() {
                        self.render(otherwise, dot, text)?;
                    }
                    for (place, value) in members {
                        let inner = self.variables.len();
                        match &over.names[..] {
                            [] => {}
                            [name] => self.variables.push((name.clone(), value.clone())),
                            [first, second, ..] => {
                                self.variables.extend([(first.clone(), place), (second.clone(), value.clone())]);
                            }
                        }
                        self.render(each, &value, text)?;
                        self.variables.truncate(inner);
                    }
                }
            }
        }
        self.variables.truncate(depth);
        Ok(())
    }

    fn evaluate(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Usage> {
        let mut last: Option<Value> = None;
        for command in &pipeline.commands {
            let (first, rest) = command.split_first().ok_or_else(|| Usage("the format has an empty action".into()))?;
            let mut arguments = rest.iter().map(|term| self.term(term, dot)).collect::<Result<Vec<_>, _>>()?;
            arguments.extend(last.take());
            last = Some(match first {
                Term::Function(name) => call(name, &arguments)?,
                value if arguments.is_empty() => self.term(value, dot)?,
                _ => return Err(Usage("the format gives arguments to something that is no function".into())),
            });
        }
        Ok(last.unwrap_or_default())
    }

    fn term(&self, term: &Term, dot: &Value) -> Result<Value, Usage> {
        match term {
            Term::Function(name) => call(name, &[]),
            Term::Literal(value) => Ok(value.clone()),
            Term::Field(path) => look_up(dot, path),
            Term::Bracket(pipeline, path) => look_up(&self.evaluate(pipeline, dot)?, path),
            Term::Variable(name, path) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) = found.ok_or_else(|| Usage(format!("the format's variable ${name} is not set")))?;
                look_up(value, path)
            }
        }
    }
}

/// What a range goes over: places and values, in order.
fn members(value: Value) -> Result<Vec<(Value, Value)>, Usage> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => Ok(list.into_iter().enumerate().map(|(place, value)| (place.into(), value)).collect()),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
        }
        other => Err(Usage(format!("the format's range needs a list or a map, not {other}"))),
    }
}

fn look_up(value: &Value, path: &[String]) -> Result<Value, Usage> {
    let mut found = value;
    for name in path {
        let fields = found.as_object();
        found = fields.and_then(|fields| fields.get(name)).ok_or_else(|| {
            let mut known: Vec<_> = fields.into_iter().flatten().map(|(name, _)| format!(".{name}")).collect();
            known.sort();
            let what = match known.is_empty() {
                true => "what is before it has no fields".to_owned(),
                false => format!("known there are {}", known.join(" ")),
            };
            Usage(format!("the format's field '.{name}' does not exist; {what}"))
        })?;
    }
    Ok(found.clone())
}
