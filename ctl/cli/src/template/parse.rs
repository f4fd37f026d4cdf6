//! From text to nodes.

use serde_json::Value;

use crate::failure::Usage;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    Show(Pipeline),
    If { condition: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    With { value: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    Range { over: Pipeline, each: Vec<Node>, otherwise: Vec<Node> },
}

/// Commands, each of which gets what the one before it came to as its last argument.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipeline {
    /// Variables that get the value: of a range's place and value, or one.
    pub(super) names: Vec<String>,
    pub(super) commands: Vec<Vec<Term>>,
}

/// A word of a command.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Term {
    /// A function.
    Function(String),
    /// A number, a text, true, false or nil.
    Literal(Value),
    /// `.A.B`.
    Field(Vec<String>),
    /// `$x.A`.
    Variable(String, Vec<String>),
    /// `(…).A`.
    Bracket(Pipeline, Vec<String>),
}

/// Takes a template apart.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, Usage> {
    let mut pieces = Pieces { rest: text, trim: false };
    let (nodes, end) = block(&mut pieces)?;
    match end {
        None => Ok(nodes),
        Some(word) => Err(Usage(format!("the format has a '{{{{{word}}}}}' without a range, if or with before it"))),
    }
}

enum Piece {
    Text(String),
    Action(String),
}

/// Text and actions in turn.
struct Pieces<'a> {
    rest: &'a str,
    /// The action before took the white space behind it.
    trim: bool,
}

impl Pieces<'_> {
    fn next(&mut self) -> Result<Option<Piece>, Usage> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let Some(inside) = self.rest.strip_prefix("{{") else {
            let end = self.rest.find("{{").unwrap_or(self.rest.len());
            let (mut text, rest) = self.rest.split_at(end);
            if std::mem::take(&mut self.trim) {
                text = text.trim_start();
            }
            if rest.starts_with("{{- ") {
                text = text.trim_end();
            }
            self.rest = rest;
            return Ok(Some(Piece::Text(text.replace("\\t", "\t").replace("\\n", "\n"))));
        };
        let open = || Usage(format!("the format opens '{{{{' and does not close it with '}}}}': {}", self.rest));
        let end = end_of_action(inside).ok_or_else(open)?;
        let action = &inside[..end];
        self.rest = &inside[end + 2..];
        let action = action.strip_prefix("- ").unwrap_or(action);
        self.trim = action.ends_with(" -");
        Ok(Some(Piece::Action(action.strip_suffix(" -").unwrap_or(action).trim().to_owned())))
    }
}

/// Where `}}` is that is in no text.
fn end_of_action(inside: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, letter) in inside.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if letter == '\\' => escaped = true,
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if matches!(letter, '"' | '`') => quote = Some(letter),
            None if inside[at..].starts_with("}}") => return Some(at),
            None => {}
        }
    }
    None
}

/// Nodes up to the end, or to a word that ends a block.
fn block(pieces: &mut Pieces<'_>) -> Result<(Vec<Node>, Option<String>), Usage> {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next()? {
        let action = match piece {
            Piece::Text(text) => {
                if !text.is_empty() {
                    nodes.push(Node::Text(text));
                }
                continue;
            }
            Piece::Action(action) => action,
        };
        if action.starts_with("/*") {
            continue;
        }
        let (word, rest) = action.split_at(action.find(|letter: char| !letter.is_alphabetic()).unwrap_or(action.len()));
        match word {
            "end" | "else" => return Ok((nodes, Some(action))),
            "if" | "with" | "range" => nodes.push(conditional(word, rest, pieces)?),
            _ => nodes.push(Node::Show(pipeline(&action)?)),
        }
    }
    Ok((nodes, None))
}

/// `if`, `with` or `range`, to its end.
fn conditional(word: &str, head: &str, pieces: &mut Pieces<'_>) -> Result<Node, Usage> {
    let unclosed = || Usage(format!("the format's '{word}' has no '{{{{end}}}}'"));
    let value = pipeline(head)?;
    let (then, end) = block(pieces)?;
    let otherwise = match end.ok_or_else(unclosed)?.as_str() {
        "end" => Vec::new(),
        "else" => {
            let (otherwise, end) = block(pieces)?;
            if end.as_deref() != Some("end") {
                return Err(unclosed());
            }
            otherwise
        }
        more => match more.strip_prefix("else ").and_then(|more| more.trim().split_once(' ')) {
            // Its end is ours, too.
            Some((word @ ("if" | "with"), head)) => vec![conditional(word, head, pieces)?],
            _ => return Err(Usage(format!("the format does not know '{{{{{more}}}}}'"))),
        },
    };
    Ok(match word {
        "if" => Node::If { condition: value, then, otherwise },
        "with" => Node::With { value, then, otherwise },
        _ => Node::Range { over: value, each: then, otherwise },
    })
}

fn pipeline(text: &str) -> Result<Pipeline, Usage> {
    let tokens = tokens(text)?;
    let mut at = 0;
    let parsed = pipeline_of(&tokens, &mut at, text)?;
    if at == tokens.len() { Ok(parsed) } else { Err(unknown(text)) }
}

fn unknown(text: &str) -> Usage {
    Usage(format!(
        "the format does not know '{{{{{text}}}}}'; it knows fields such as '{{{{.Field}}}}', range, if, with, index, json, len, join \
         and their like; use --json and a tool such as jq for more"
    ))
}

/// A word of an action.
#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// Quoted.
    Text(String),
    /// `|`, `(`, `)`, `,` and `:=`.
    Sign(&'static str),
    /// Anything else.
    Word(String),
}

fn tokens(text: &str) -> Result<Vec<Token>, Usage> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some(sign) = ["|", "(", ")", ",", ":="].into_iter().find(|sign| rest.starts_with(sign)) {
            tokens.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else if first == '`' {
            let (inside, after) = rest[1..].split_once('`').ok_or_else(|| unknown(text))?;
            tokens.push(Token::Text(inside.to_owned()));
            rest = after;
        } else if first == '"' {
            // Go's escapes are JSON's, as far as anybody uses them.
            let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            let inside = stream.next().and_then(Result::ok).ok_or_else(|| unknown(text))?;
            let end = stream.byte_offset();
            tokens.push(Token::Text(inside));
            rest = &rest[end..];
        } else {
            let ends = |letter: char| letter.is_whitespace() || "|(),\"`".contains(letter);
            let end = rest.find(ends).unwrap_or(rest.len()).max(1);
            let end = rest[..end].find(":=").unwrap_or(end);
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        // What follows a bracket without a space is a field of it.
        if tokens.last() == Some(&Token::Sign(")")) && rest.starts_with('.') {
            continue;
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

fn pipeline_of(tokens: &[Token], at: &mut usize, text: &str) -> Result<Pipeline, Usage> {
    let mut names = Vec::new();
    if let Some(assigned) = tokens[*at..].iter().position(|token| *token == Token::Sign(":=")) {
        for token in &tokens[*at..*at + assigned] {
            match token {
                Token::Word(word) if word.starts_with('$') && word.len() > 1 => names.push(word[1..].to_owned()),
                Token::Sign(",") => {}
                _ => return Err(unknown(text)),
            }
        }
        *at += assigned + 1;
    }
    let mut commands = vec![Vec::new()];
    while let Some(token) = tokens.get(*at) {
        *at += 1;
        let term = match token {
            Token::Sign("|") => {
                commands.push(Vec::new());
                continue;
            }
            Token::Sign(")") => {
                *at -= 1;
                break;
            }
            Token::Sign("(") => {
                let inner = pipeline_of(tokens, at, text)?;
                if tokens.get(*at) != Some(&Token::Sign(")")) {
                    return Err(unknown(text));
                }
                *at += 1;
                let fields = match tokens.get(*at) {
                    Some(Token::Word(word)) if word.starts_with('.') && word.len() > 1 => {
                        *at += 1;
                        path(word, text)?
                    }
                    _ => Vec::new(),
                };
                Term::Bracket(inner, fields)
            }
            Token::Sign(_) => return Err(unknown(text)),
            Token::Text(inside) => Term::Literal(Value::String(inside.clone())),
            Token::Word(word) => word_term(word, text)?,
        };
        if let Some(command) = commands.last_mut() {
            command.push(term);
        }
    }
    if commands.iter().any(Vec::is_empty) { Err(unknown(text)) } else { Ok(Pipeline { names, commands }) }
}

fn word_term(word: &str, text: &str) -> Result<Term, Usage> {
    if word.starts_with('.') {
        return Ok(Term::Field(path(word, text)?));
    }
    if let Some(rest) = word.strip_prefix('$') {
        let (name, fields) = rest.split_once('.').map_or((rest, None), |(name, fields)| (name, Some(fields)));
        let fields = fields.map(|fields| path(&format!(".{fields}"), text)).transpose()?;
        return Ok(Term::Variable(name.to_owned(), fields.unwrap_or_default()));
    }
    match word {
        "true" | "false" => Ok(Term::Literal(Value::Bool(word == "true"))),
        "nil" => Ok(Term::Literal(Value::Null)),
        _ => match serde_json::from_str::<serde_json::Number>(word) {
            Ok(number) => Ok(Term::Literal(Value::Number(number))),
            Err(_) if super::functions::is_known(word) => Ok(Term::Function(word.to_owned())),
            Err(_) => Err(unknown(text)),
        },
    }
}

/// The names in `.A.B`; none in `.`.
fn path(word: &str, text: &str) -> Result<Vec<String>, Usage> {
    if word == "." {
        return Ok(Vec::new());
    }
    let plain =
        |name: &str| !name.is_empty() && name.chars().all(|letter| letter.is_alphanumeric() || "_-".contains(letter));
    let names: Vec<&str> = word[1..].split('.').collect();
    if !names.iter().all(|name| plain(name)) {
        return Err(unknown(text));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}
