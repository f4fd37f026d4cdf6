//! The name server: a thousand names, asked over its own sockets.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use vswitch_ctl::dns::{Client, Dns, Limits, Member, Outlet, Scope, View, Zone};

use crate::report::{Figure, median};

/// Names of one network.
const NAMES: u32 = 1000;
/// Questions on their way when the rate is measured.
const WINDOW: u32 = 32;
/// Questions of the rate.
const QUESTIONS: u32 = 200_000;
/// Questions one after the other, for the time of each.
const SINGLES: u32 = 20_000;

/// Answers a second for local names, the time of one, and whether every name resolves. The server has one thread.
pub fn local_names() -> anyhow::Result<Vec<Figure>> {
    let dns = Dns::start("/etc/resolv.conf".into())?;
    let names: Vec<String> = (0..NAMES).map(|number| format!("container-{number}")).collect();
    let zone = Zone::cell();
    let members = names
        .iter()
        .zip(0..)
        .map(|(name, number)| Member { names: vec![name.as_str()], addresses: vec![address(number).into()] });
    zone.store(Arc::new(Zone::new("net", ["10.0.0.0/16".parse()?].into_iter(), members)));
    let networks = vec![View { name: "net".into(), zone, links: Vec::new() }];
    let scope = Scope { networks, ..Scope::default() };
    let limits = Limits { questions: u32::MAX, ..Limits::default() };
    let (udp, tcp) = (UdpSocket::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let server = udp.local_addr()?;
    let _serving = dns.serve(Client::new(scope, Outlet::Host, limits), udp.into(), tcp.into())?;
    let client = UdpSocket::bind("127.0.0.1:0")?;
    client.connect(server)?;
    client.set_read_timeout(Some(Duration::from_secs(2)))?;
    let questions: Vec<Vec<u8>> = names.iter().map(|name| question(name)).collect();
    let resolved = resolvable(&client, &questions)?;
    let rates = (0..3).map(|_| rate(&client, &questions)).collect::<anyhow::Result<Vec<_>>>()?;
    let micros = singles(&client, &questions)?;
    Ok(vec![
        Figure::at_least("names of a thousand containers that resolve", resolved, f64::from(NAMES), ""),
        Figure::at_least("answers a second, one thread", median(rates), 20_000.0, "/s"),
        Figure::at_most("time of one answer, median", median(micros), 100.0, " us"),
    ])
}

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 2).to_bits() + number)
}

/// A question for the address of a name of one label.
fn question(name: &str) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
    [&[0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, length], name.as_bytes(), &[0, 0, 1, 0, 1]].concat()
}

/// How many names lead to their own address.
fn resolvable(client: &UdpSocket, questions: &[Vec<u8>]) -> anyhow::Result<f64> {
    let mut buffer = [0; 512];
    let mut right = 0;
    for (question, number) in questions.iter().zip(0..) {
        client.send(question)?;
        let length = client.recv(&mut buffer).context("the name server does not answer")?;
        right += u32::from(buffer[..length].ends_with(&address(number).octets()));
    }
    Ok(f64::from(right))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn rate(client: &UdpSocket, questions: &[Vec<u8>]) -> anyhow::Result<f64> {
    let mut buffer = [0; 512];
    let mut next = questions.iter().cycle();
    let mut send = || next.next().map_or(Ok(0), |question| client.send(question));
    let began = Instant::now();
    for _ in 0..WINDOW {
        send()?;
    }
    for answered in 0..QUESTIONS {
        let length = client.recv(&mut buffer).context("the name server lost a question")?;
        ensure!(length > 16, "a reply without an answer");
        if answered + WINDOW < QUESTIONS {
            send()?;
        }
    }
    Ok(f64::from(QUESTIONS) / began.elapsed().as_secs_f64())
}

/// Microseconds of each question, asked one after the other.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn singles(client: &UdpSocket, questions: &[Vec<u8>]) -> anyhow::Result<Vec<f64>> {
    let mut buffer = [0; 512];
    let mut micros = Vec::new();
    for question in questions.iter().cycle().take(usize::try_from(SINGLES)?) {
        let began = Instant::now();
        client.send(question)?;
        client.recv(&mut buffer)?;
        micros.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(micros)
}
