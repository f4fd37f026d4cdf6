//! The functions of templates, and how values are written.

use std::cmp::Ordering;

use serde_json::Value;

use crate::failure::Usage;

const KNOWN: [&str; 20] = [
    "json", "len", "index", "join", "split", "upper", "lower", "title", "print", "println", "printf", "eq", "ne", "lt",
    "le", "gt", "ge", "and", "or", "not",
];

/// Whether there is a function of this name.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// What a function comes to.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, Usage> {
    let wrong = || {
        let given = arguments.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        Usage(format!("the format's function {name} cannot take {}", if given.is_empty() { "nothing" } else { &given }))
    };
    let text = |place: usize| arguments.get(place).and_then(Value::as_str).ok_or_else(wrong);
    let one = || if let [one] = arguments { Ok(one) } else { Err(wrong()) };
    match name {
        "json" => Ok(one()?.to_string().into()),
        "len" => match one()? {
            Value::String(text) => Ok(text.len().into()),
            Value::Array(list) => Ok(list.len().into()),
            Value::Object(fields) => Ok(fields.len().into()),
            Value::Null => Ok(0.into()),
            _ => Err(wrong()),
        },
        "index" => {
            let (value, places) = arguments.split_first().ok_or_else(wrong)?;
            places.iter().try_fold(value.clone(), |value, place| index(&value, place).ok_or_else(wrong))
        }
        "join" => match arguments {
            [Value::Array(list), Value::String(between)] => {
                Ok(list.iter().map(show).collect::<Vec<_>>().join(between).into())
            }
            [Value::Null, _] => Ok(String::new().into()),
            _ => Err(wrong()),
        },
        "split" => Ok(text(0)?.split(text(1)?).map(Value::from).collect::<Vec<_>>().into()),
        "upper" => Ok(text(0)?.to_uppercase().into()),
        "lower" => Ok(text(0)?.to_lowercase().into()),
        "title" => {
            let mut letters = text(0)?.chars();
            Ok(letters
                .next()
                .map(|first| first.to_uppercase().chain(letters).collect::<String>())
                .unwrap_or_default()
                .into())
        }
        "print" => Ok(arguments.iter().map(show).collect::<String>().into()),
        "println" => Ok((arguments.iter().map(show).collect::<Vec<_>>().join(" ") + "\n").into()),
        "printf" => Ok(format_as(text(0)?, &arguments[1..]).into()),
        "eq" => {
            let (first, rest) = arguments.split_first().filter(|(_, rest)| !rest.is_empty()).ok_or_else(wrong)?;
            Ok(rest.iter().any(|other| compare(first, other) == Some(Ordering::Equal)).into())
        }
        "ne" | "lt" | "le" | "gt" | "ge" => {
            let [a, b] = arguments else { return Err(wrong()) };
            let order = compare(a, b);
            Ok(match name {
                "ne" => order != Some(Ordering::Equal),
                "lt" => order == Some(Ordering::Less),
                "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                "gt" => order == Some(Ordering::Greater),
                _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            }
            .into())
        }
        "and" => Ok(arguments.iter().find(|one| !is_true(one)).or(arguments.last()).ok_or_else(wrong)?.clone()),
        "or" => Ok(arguments.iter().find(|one| is_true(one)).or(arguments.last()).ok_or_else(wrong)?.clone()),
        "not" => Ok((!is_true(one()?)).into()),
        _ => Err(wrong()),
    }
}

/// A member of a list or a map; a map has nothing where it has no such key.
fn index(value: &Value, place: &Value) -> Option<Value> {
    match (value, place) {
        (Value::Array(list), Value::Number(place)) => list.get(usize::try_from(place.as_u64()?).ok()?).cloned(),
        (Value::Object(fields), Value::String(key)) => Some(fields.get(key).cloned().unwrap_or(Value::Null)),
        (Value::Null, Value::String(_)) => Some(Value::Null),
        _ => None,
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => (a == b).then_some(Ordering::Equal),
    }
}

/// Go's idea of something.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// As Go prints it.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(show).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}:{}", show(value))).collect();
            fields.sort();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

/// `%s`, `%v`, `%d`, `%q` and `%%`.
fn format_as(format: &str, arguments: &[Value]) -> String {
    let mut arguments = arguments.iter();
    let mut text = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        match letters.next() {
            Some('%') | None => text.push('%'),
            Some(verb) => match arguments.next() {
                Some(Value::String(inside)) if verb == 'q' => text.push_str(&Value::String(inside.clone()).to_string()),
                Some(value) => text.push_str(&show(value)),
                None => text.push_str(&format!("%!{verb}(MISSING)")),
            },
        }
    }
    text
}
