//! What dockerd's documentation and moby's own tests say of requests and options: rows in `moby.txt`.

use std::process::Command;

use serde_json::Value;
use vswitch_tests::{Vswitch, guard, http, run};

/// The rows; how they are written stands at their beginning.
const ROWS: &str = include_str!("moby.txt");

/// Requests and command lines of Docker's clients are answered as dockerd answers them.
#[test]
fn rows() {
    guard(|| {
        let (mut tried, mut alike, mut wrong) = (0, 0, Vec::new());
        for part in ROWS.split("\n@ ").skip(1) {
            let (args, rows) = part.split_once('\n').unwrap();
            let vs = Vswitch::with(&args.split_whitespace().collect::<Vec<_>>());
            for row in rows.lines().filter(|row| !row.is_empty() && !row.starts_with('#')) {
                tried += 1;
                let (row, differs) = match row.strip_prefix("? ") {
                    Some(row) => (row.split("  # ").next().unwrap_or_default(), true),
                    None => (row, false),
                };
                match (answer(&vs, row), differs) {
                    (Ok(()), false) => alike += 1,
                    (Err(_), true) => {}
                    (Ok(()), true) => wrong.push(format!("{row}\n      is as dockerd's by now; take its ? away")),
                    (Err(got), false) => wrong.push(format!("{row}\n      {got}")),
                }
            }
            vs.terminate();
        }
        assert!(wrong.is_empty(), "{} of {tried} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
        assert!(alike > 400 && tried - alike < 20, "{alike} of {tried}");
    });
}

/// Tries a row; what came instead.
fn answer(vs: &Vswitch, row: &str) -> Result<(), String> {
    let (asked, expected) = row.split_once(" -> ").expect("ASKED -> STATUS [ANSWER]");
    let (statuses, pattern) = expected.split_once(' ').unwrap_or((expected, ""));
    let (status, text) = if let Some(line) = asked.strip_prefix("docker ") {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", format!("unix://{}", vs.socket().display())).args(words(line));
        let output = run(&mut command);
        (i64::from(output.code), format!("{}{}", output.stdout, output.stderr))
    } else {
        let mut parts = asked.splitn(3, ' ');
        let (method, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let answer = http::request(&vs.socket(), method, path, parts.next());
        (i64::from(answer.status), answer.body)
    };
    let as_expected = statuses.split('|').any(|one| one.parse() == Ok(status));
    let shown = || format!("{status} {}", text.chars().take(600).collect::<String>());
    if !as_expected {
        return Err(shown());
    }
    if pattern.is_empty() {
        return Ok(());
    }
    let pattern: Value = serde_json::from_str(pattern).unwrap_or_else(|error| panic!("{row}: {error}"));
    match &pattern {
        Value::String(part) => {
            if text.contains(part.as_str()) {
                Ok(())
            } else {
                Err(shown())
            }
        }
        pattern => {
            let value = serde_json::from_str(&text).map_err(|_| shown())?;
            holds(pattern, Some(&value)).map_err(|place| format!("{place} in {}", shown()))
        }
    }
}

/// Whether a pattern holds; where it does not.
fn holds(pattern: &Value, value: Option<&Value>) -> Result<(), String> {
    let differs = || Err(format!("{pattern} is {}", value.map_or("missing".to_owned(), Value::to_string)));
    match (pattern, value) {
        (Value::String(any), Some(_)) if any == "*" => Ok(()),
        (Value::String(part), Some(Value::String(text)))
            if part.strip_prefix('~').is_some_and(|part| text.contains(part)) =>
        {
            Ok(())
        }
        (Value::Object(fields), Some(Value::Object(values))) => fields.iter().try_for_each(|(name, pattern)| {
            holds(pattern, values.get(name)).map_err(|place| format!("{name}: {place}"))
        }),
        (Value::Array(patterns), Some(Value::Array(values))) if patterns.len() == values.len() => {
            patterns.iter().zip(values).try_for_each(|(pattern, value)| holds(pattern, Some(value)))
        }
        (pattern, Some(value)) if pattern == value => Ok(()),
        _ => differs(),
    }
}

/// Words as a shell has them, as far as single quotes go.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted) = (Vec::new(), false);
    for (index, piece) in line.split('\'').enumerate() {
        quoted = index % 2 == 1;
        if quoted {
            words.push(piece.to_owned());
        } else {
            words.extend(piece.split_whitespace().map(str::to_owned));
        }
    }
    assert!(!quoted, "a quotation ends in {line}");
    words
}
