//! The workspace's own rules: who may import whom, where `unsafe` may stand, how long a file may be, what lies at the
//! top. Each rule is a function over text, and each is also shown a violation that it has to catch.

#![allow(clippy::unwrap_used, reason = "a test that cannot read the workspace has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Package, its folder, and the workspace packages that it may import. `None`: all.
const PACKAGES: [(&str, &str, Option<&[&str]>); 12] = [
    ("vswitch-frame", "switch/frame", Some(&[])),
    ("vswitch-capture", "switch/capture", Some(&["vswitch-frame"])),
    ("vswitch-wire", "switch/wire", Some(&["vswitch-frame"])),
    ("vswitch-nat", "nat", Some(&["vswitch-frame"])),
    ("vswitch-tunnel", "tunnel", Some(&["vswitch-frame"])),
    (
        "vswitch-switch",
        "switch",
        Some(&["vswitch-frame", "vswitch-capture", "vswitch-wire", "vswitch-nat", "vswitch-tunnel"]),
    ),
    ("vswitch-api", "ctl/api", Some(&["vswitch-frame"])),
    ("vswitch-ctl", "ctl", Some(&["vswitch-api", "vswitch-switch", "vswitch-frame"])),
    ("vswitch-cli", "ctl/cli", Some(&["vswitch-api", "vswitch-frame"])),
    ("vswitch-engines", "ctl/engines", Some(&["vswitch-api"])),
    ("vswitch-tests", "tests", None),
    ("vswitch-bench", "bench", None),
];

/// Packages that a package may not name in its manifest, not even for its tests.
const BANNED_PACKAGES: [(&str, &[&str]); 6] = [
    ("vswitch-capture", &["libc", "rustix", "nix", "socket2", "mio", "tokio", "rtnetlink"]),
    ("vswitch-wire", &["libc", "rustix", "nix", "socket2", "mio", "tokio", "rtnetlink"]),
    ("vswitch-frame", &["libc", "rustix", "nix", "socket2", "mio", "tokio", "rtnetlink"]),
    ("vswitch-nat", &["libc", "rustix", "nix", "socket2", "mio", "tokio", "rtnetlink"]),
    ("vswitch-tunnel", &["libc", "rustix", "nix", "socket2", "mio", "tokio", "rtnetlink"]),
    ("vswitch-switch", &["tokio", "axum", "hyper", "async-std", "smol"]),
];

/// Paths and words that do not belong into a pure engine: sockets and clocks. Addresses of `std::net` are fine.
const BANNED_IN_ENGINES: [&str; 13] = [
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "ToSocketAddrs",
    "std::os::fd",
    "std::fs",
    "std::thread",
    "time::Instant",
    "Instant::now",
    "SystemTime",
];

/// What may lie at the top of the repository. Hidden entries are free.
const TOP_LEVEL: [&str; 11] =
    ["Cargo.toml", "Cargo.lock", "README.md", "switch", "nat", "tunnel", "ctl", "tests", "bench", "docs", "target"];

/// Licence texts, which by custom lie at the top.
const LICENCES: [&str; 3] = ["LICENSE", "LICENSE-MIT", "LICENSE-APACHE"];

/// Longest source file, in lines.
const LONGEST_FILE: usize = 800;

/// The one folder that may use `unsafe`.
const UNSAFE_FOLDER: &str = "switch/src/sys";

// ------------------------------------------------------------------------------------------------ the rules

/// Edges between workspace packages, development and build edges included, that the table does not allow.
fn forbidden_edges(metadata: &Value) -> Vec<String> {
    let allowed: BTreeMap<&str, Option<&[&str]>> = PACKAGES.iter().map(|(name, _, to)| (*name, *to)).collect();
    let mut faults = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some(to) = allowed.get(name) else {
            faults.push(format!("{name} is not in the table of packages"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let target = dependency["name"].as_str().unwrap();
            let ours = target.starts_with("vswitch-") || dependency["path"].is_string();
            if ours && target != name && to.is_some_and(|to| !to.contains(&target)) {
                faults.push(format!("{name} may not import {target}"));
            }
        }
    }
    faults
}

/// External packages that a package must never depend on, and packages that lie in the wrong folder.
fn forbidden_packages(metadata: &Value) -> Vec<String> {
    let root = metadata["workspace_root"].as_str().unwrap();
    let mut faults = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let names: BTreeSet<&str> =
            package["dependencies"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
        let banned = BANNED_PACKAGES.iter().filter(|(of, _)| *of == name).flat_map(|(_, banned)| banned.iter());
        faults.extend(banned.filter(|one| names.contains(**one)).map(|one| format!("{name} may not depend on {one}")));
        if let Some((_, folder, _)) = PACKAGES.iter().find(|(of, ..)| *of == name) {
            let wanted = format!("{root}/{folder}/Cargo.toml");
            if package["manifest_path"].as_str() != Some(&wanted) {
                faults.push(format!("{name} does not lie in {folder}"));
            }
        }
    }
    faults
}

/// Lines of `source` that use `unsafe`; `path` is relative to the repository.
fn forbidden_unsafe(path: &str, source: &str) -> Vec<String> {
    if path.starts_with(&format!("{UNSAFE_FOLDER}/")) {
        return Vec::new();
    }
    let code = code_only(source);
    lines_with_word(&code, "unsafe").map(|line| format!("{path}:{line}: unsafe belongs into {UNSAFE_FOLDER}")).collect()
}

/// The fault of a file that is too long.
fn too_long(path: &str, source: &str) -> Vec<String> {
    let lines = source.lines().count();
    if lines > LONGEST_FILE {
        vec![format!("{path} has {lines} lines, more than {LONGEST_FILE}: split it")]
    } else {
        Vec::new()
    }
}

/// Sockets, clocks and other ways to the outside world in a pure engine's source.
fn impure(path: &str, source: &str) -> Vec<String> {
    let engine = ["switch/frame/src/", "switch/capture/src/", "switch/wire/src/", "nat/src/", "tunnel/src/"]
        .iter()
        .any(|folder| path.starts_with(folder));
    if !engine {
        return Vec::new();
    }
    let code = code_only(source);
    let mut faults: Vec<String> = BANNED_IN_ENGINES
        .iter()
        .flat_map(|banned| lines_with_word(&code, banned).map(move |line| (line, *banned)))
        // smoltcp's type of the same name is a number that the caller gives.
        .filter(|(line, _)| !code.lines().nth(line - 1).is_some_and(|line| line.contains("smoltcp::time::Instant")))
        .map(|(line, banned)| format!("{path}:{line}: a pure engine may not use {banned}"))
        .collect();
    // `use std::time::{Duration, Instant};` names the clock without its path.
    let grouped = code.match_indices("std::time::{").filter(|(at, _)| {
        let group = &code[*at..];
        let end = group.find('}').unwrap_or(group.len());
        lines_with_word(&group[..end], "Instant").next().is_some()
    });
    faults.extend(grouped.map(|_| format!("{path}: a pure engine may not use std::time::Instant")));
    faults
}

/// Where frames are parsed: at ingress, and out of a tunnel. Everybody else is given what was found there.
const PARSES: [&str; 3] = ["switch/frame/src/", "tunnel/src/decap.rs", "tunnel/src/inner_offload.rs"];

/// Places of the data path that parse a frame once more, tests aside.
fn parses_again(path: &str, source: &str) -> Vec<String> {
    let data_path = ["switch/", "nat/src/", "tunnel/src/"].iter().any(|folder| path.starts_with(folder));
    if !data_path || path.contains("/tests") || PARSES.iter().any(|place| path.starts_with(place)) {
        return Vec::new();
    }
    let code = code_only(source);
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = lines_with_word(code, "Headers::parse");
    lines.map(|line| format!("{path}:{line}: take a Packet instead of parsing the frame again")).collect()
}

/// Entries at the top of the repository that have no place there.
fn stray_entries(entries: &[String]) -> Vec<String> {
    entries
        .iter()
        .filter(|one| {
            let name = one.as_str();
            !name.starts_with('.') && !TOP_LEVEL.contains(&name) && !LICENCES.contains(&name)
        })
        .map(|one| format!("{one} has no place at the top of the repository"))
        .collect()
}

// ------------------------------------------------------------------------------------------------ reading

/// `source` without comments and the insides of string literals, line by line as before.
fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skip = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment_length(rest),
            '"' => string_length(rest),
            'r' if raw_string_length(rest).is_some() && !ends_in_word(&code) => {
                raw_string_length(rest).unwrap_or_default()
            }
            '\'' => char_length(rest),
            other => {
                code.push(other);
                rest = &rest[other.len_utf8()..];
                continue;
            }
        };
        code.push(' ');
        code.extend(rest[..skip].chars().filter(|one| *one == '\n'));
        rest = &rest[skip..];
    }
    code
}

/// Block comments nest.
fn block_comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, one) in text.char_indices().skip(1) {
        match one {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string_length(text: &str) -> Option<usize> {
    let hashes = text[1..].bytes().take_while(|one| *one == b'#').count();
    let open = 1 + hashes;
    if text.as_bytes().get(open) != Some(&b'"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    Some(text[open + 1..].find(&close).map_or(text.len(), |at| open + 1 + at + close.len()))
}

/// The length of a character literal, or 1 for the quote of a lifetime.
fn char_length(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => {
            text[2..].char_indices().skip(1).find(|(_, one)| *one == '\'').map_or(1, |(at, _)| at + 3)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

fn ends_in_word(code: &str) -> bool {
    code.chars().next_back().is_some_and(|one| one.is_alphanumeric() || one == '_' || one == 'b')
}

/// Numbers of the lines of `code` in which `word` stands by itself.
fn lines_with_word<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_word = |one: char| one.is_alphanumeric() || one == '_';
    code.lines().enumerate().filter_map(move |(index, line)| {
        line.match_indices(word)
            .any(|(at, _)| !line[..at].ends_with(is_word) && !line[at + word.len()..].starts_with(is_word))
            .then_some(index + 1)
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Path relative to the repository and text of every Rust file outside `target` and hidden folders.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = PACKAGES.iter().map(|(_, folder, _)| root.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                if !name.starts_with('.') && name != "target" {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                let relative = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.push((relative, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found.dedup();
    assert!(found.len() > 20, "only {} source files were found", found.len());
    found
}

fn all_sources(rule: impl Fn(&str, &str) -> Vec<String>) -> Vec<String> {
    sources().iter().flat_map(|(path, source)| rule(path, source)).collect()
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

// ------------------------------------------------------------------------------------------------ the workspace

/// No package imports a workspace package that the design does not allow it.
#[test]
fn edges() {
    none(&forbidden_edges(&metadata()));
}

/// Pure engines name no system package, the switch no async runtime, and each package lies in its folder.
#[test]
fn packages() {
    let metadata = metadata();
    none(&forbidden_packages(&metadata));
    assert_eq!(metadata["packages"].as_array().unwrap().len(), PACKAGES.len());
}

/// `unsafe` stands nowhere but in the switch's system call wrappers.
#[test]
fn unsafe_code() {
    none(&all_sources(forbidden_unsafe));
}

/// No source file is so long that nobody reads it to the end.
#[test]
fn file_lengths() {
    none(&all_sources(too_long));
}

/// A frame is parsed once.
#[test]
fn frames_are_parsed_once() {
    none(&all_sources(parses_again));
}

/// Pure engines open no sockets and read no clock.
#[test]
fn engines_are_pure() {
    none(&all_sources(impure));
}

/// Nothing lies at the top of the repository that has no place there.
#[test]
fn top_level() {
    let names = fs::read_dir(root()).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap());
    none(&stray_entries(&names.collect::<Vec<_>>()));
}

// ------------------------------------------------------------------------------------------------ the rules' own tests

/// A workspace of one package with one dependency, as cargo metadata shows it.
fn one_package(name: &str, folder: &str, dependency: &str, kind: Option<&str>) -> Value {
    serde_json::json!({
        "workspace_root": "/w",
        "packages": [{
            "name": name,
            "manifest_path": format!("/w/{folder}/Cargo.toml"),
            "dependencies": [{"name": dependency, "kind": kind}],
        }],
    })
}

/// A forbidden edge is caught, also one that only tests use; an allowed one is not.
#[test]
fn catches_edges() {
    let plain = one_package("vswitch-frame", "switch/frame", "vswitch-switch", None);
    assert_eq!(forbidden_edges(&plain), ["vswitch-frame may not import vswitch-switch"]);
    let dev = one_package("vswitch-cli", "ctl/cli", "vswitch-ctl", Some("dev"));
    assert_eq!(forbidden_edges(&dev), ["vswitch-cli may not import vswitch-ctl"]);
    let stranger = one_package("vswitch-extra", "extra", "serde", None);
    assert_eq!(forbidden_edges(&stranger), ["vswitch-extra is not in the table of packages"]);
    none(&forbidden_edges(&one_package("vswitch-ctl", "ctl", "vswitch-switch", None)));
    none(&forbidden_edges(&one_package("vswitch-tests", "tests", "vswitch-ctl", None)));
}

/// A forbidden external package and a package in the wrong folder are caught.
#[test]
fn catches_packages() {
    let nat = one_package("vswitch-nat", "nat", "libc", None);
    assert_eq!(forbidden_packages(&nat), ["vswitch-nat may not depend on libc"]);
    let switch = one_package("vswitch-switch", "switch", "tokio", Some("dev"));
    assert_eq!(forbidden_packages(&switch), ["vswitch-switch may not depend on tokio"]);
    let moved = one_package("vswitch-nat", "engines/nat", "serde", None);
    assert_eq!(forbidden_packages(&moved), ["vswitch-nat does not lie in nat"]);
    none(&forbidden_packages(&one_package("vswitch-switch", "switch", "libc", None)));
}

/// `unsafe` is caught in code, and not in comments, strings, longer words or the folder that may use it.
#[test]
fn catches_unsafe() {
    let block = "fn f() {\n    unsafe { g() }\n}\n";
    assert_eq!(forbidden_unsafe("ctl/src/a.rs", block), ["ctl/src/a.rs:2: unsafe belongs into switch/src/sys"]);
    assert_eq!(forbidden_unsafe("switch/src/system.rs", "unsafe fn f() {}").len(), 1);
    assert_eq!(forbidden_unsafe("a.rs", "let c = '\"'; unsafe {}; let d = '\\''; unsafe {}").len(), 1);
    assert_eq!(forbidden_unsafe("a.rs", "fn f<'a>(x: &'a str) { unsafe {} }").len(), 1);
    none(&forbidden_unsafe("switch/src/sys/packet.rs", block));
    none(&forbidden_unsafe("a.rs", "#![forbid(unsafe_code)] // unsafe\n/* unsafe /* unsafe */ unsafe */"));
    none(&forbidden_unsafe("a.rs", "let a = \"unsafe \\\" unsafe\"; let b = r#\"unsafe \" unsafe\"#;"));
}

/// A file over the limit is caught, one at the limit is not.
#[test]
fn catches_long_files() {
    assert_eq!(too_long("a.rs", &"x\n".repeat(LONGEST_FILE + 1)).len(), 1);
    none(&too_long("a.rs", &"x\n".repeat(LONGEST_FILE)));
}

/// A socket or clock in an engine is caught; addresses, durations and other packages' sockets are not.
#[test]
fn catches_impurity() {
    let clock = "use std::time::{Duration, Instant};";
    assert_eq!(impure("nat/src/a.rs", clock), ["nat/src/a.rs: a pure engine may not use std::time::Instant"]);
    assert_eq!(impure("switch/frame/src/a.rs", "std::time::Instant::now()").len(), 2);
    assert_eq!(impure("tunnel/src/a.rs", "use std::net::{IpAddr, UdpSocket};").len(), 1);
    none(&impure("nat/src/a.rs", "use std::{net::IpAddr, time::Duration}; // no Instant::now here"));
    none(&impure("switch/src/clock.rs", clock));
}

/// Parsing a frame again is caught in the data path, and not where frames come in, in tests or elsewhere.
#[test]
fn catches_parsing_again() {
    let parses = "fn f() { Headers::parse(frame); }\n";
    assert_eq!(parses_again("switch/src/a.rs", parses).len(), 1);
    assert_eq!(parses_again("nat/src/a.rs", parses).len(), 1);
    none(&parses_again("switch/frame/src/admit.rs", parses));
    none(&parses_again("bench/src/a.rs", parses));
    none(&parses_again("nat/src/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{parses}}}\n")));
}

/// A stray file at the top is caught; what belongs there is not.
#[test]
fn catches_stray_entries() {
    let entries = [".ci", "Cargo.toml", "target", "LICENSE-MIT", "scripts"].map(str::to_owned);
    assert_eq!(stray_entries(&entries), ["scripts has no place at the top of the repository"]);
}
