//! A filter made of a profile that a user brings.
//!
//! A program is a chain of blocks, one for each call, which end with a verdict. Conditions of one rule must all be met, but
//! those on the same argument are alternatives, as with Docker. Rules with conditions are asked before those without.
//! Two things are not left to the profile: calls of other numberings (32-bit programs, x32) are not judged by their numbers
//! here, so those programs are killed; and where calls are refused by default, those that are newer than the profile's
//! newest do not exist (ENOSYS), as with runc, since C libraries take a refusal for an answer.

use std::{collections::BTreeMap, io};

use vswitch_switch::kernel;
use vswitch_switch::sys::seccomp::Instruction;

use super::names;
use crate::model::seccomp::{Action, Argument, Operator, SeccompProfile, Surroundings, Verdict};

/// The filter of a profile for a container with these capabilities.
pub(super) fn compile(profile: &SeccompProfile, capabilities: &[u8]) -> io::Result<Vec<Instruction>> {
    let Some(processor) = PROCESSOR.filter(|processor| profile.is_for(processor.libseccomp)) else {
        return Err(io::Error::other("the seccomp profile is for other processors than this one"));
    };
    let at = Surroundings { arch: processor.docker, capabilities, kernel: kernel::running() };
    let mut calls: BTreeMap<u32, Call> = BTreeMap::new();
    for rule in profile.rules(at) {
        let numbers = rule.names.iter().filter_map(|name| u32::try_from(names::number(name)?).ok());
        for number in numbers {
            calls.entry(number).or_default().add(rule.args, rule.verdict);
        }
    }
    let newest = calls.keys().last().copied();
    let otherwise = profile.otherwise();
    let mut program = vec![
        (LOAD, 0, 0, ARCH),
        (IS, 1, 0, processor.audit),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, NUMBER),
        (IS_LEAST, 0, 1, X32),
        (RETURN, 0, 0, KILL_PROCESS),
    ];
    if let Some(newest) = newest.filter(|_| !matches!(otherwise.action, Action::Allow | Action::Log)) {
        program.extend([(IS_MORE, 0, 1, newest), (RETURN, 0, 0, ERRNO | ENOSYS)]);
    }
    for (number, call) in calls {
        let block = call.block(otherwise);
        match u8::try_from(block.len()) {
            Ok(length) => program.push((IS, 0, length, number)),
            Err(_) => {
                program.extend([(IS, 1, 0, number), (JUMP, 0, 0, u32::try_from(block.len()).unwrap_or(u32::MAX))]);
            }
        }
        program.extend(block);
    }
    program.push(verdict(otherwise));
    if program.len() > LONGEST {
        return Err(io::Error::other("the seccomp profile is too long for the kernel; leave some of its rules out"));
    }
    Ok(program)
}

/// What becomes of one call.
#[derive(Debug, Default)]
struct Call {
    conditional: Vec<(Vec<Argument>, Verdict)>,
    always: Option<Verdict>,
}

impl Call {
    fn add(&mut self, args: &[Argument], verdict: Verdict) {
        let repeated = |one: &Argument| args.iter().filter(|other| other.index == one.index).count() > 1;
        match args {
            [] => self.always = self.always.or(Some(verdict)),
            _ if args.iter().any(repeated) => {
                self.conditional.extend(args.iter().map(|argument| (vec![*argument], verdict)));
            }
            _ => self.conditional.push((args.to_vec(), verdict)),
        }
    }

    fn block(&self, otherwise: Verdict) -> Vec<Instruction> {
        let mut block = Vec::new();
        for (args, then) in &self.conditional {
            let mut rule: Vec<Step> = args.iter().flat_map(|argument| condition(*argument)).collect();
            rule.push(Step::Do(verdict(*then)));
            let length = rule.len();
            block.extend(rule.into_iter().enumerate().map(|(at, step)| step.at(length - at - 1)));
        }
        block.push(verdict(self.always.unwrap_or(otherwise)));
        block
    }
}

/// An instruction of a condition, before its place is known.
#[derive(Debug, Clone, Copy)]
enum Step {
    Do(Instruction),
    /// Goes so far if the comparison holds, and so far if not.
    If(u16, u32, To, To),
}

/// Where to go.
#[derive(Debug, Clone, Copy)]
enum To {
    /// So many steps further.
    Skip(u8),
    /// Behind the rule.
    Fail,
}

impl Step {
    /// With `left` steps of the rule behind it.
    fn at(self, left: usize) -> Instruction {
        // A rule has at most six conditions of at most six steps.
        let to = |to| match to {
            To::Skip(steps) => steps,
            To::Fail => u8::try_from(left).unwrap_or(u8::MAX),
        };
        match self {
            Step::Do(instruction) => instruction,
            Step::If(code, value, yes, no) => (code, to(yes), to(no), value),
        }
    }
}

/// Falls through when it is met. Arguments have 64 bits and are compared in halves.
fn condition(argument: Argument) -> Vec<Step> {
    use Step::{Do, If};
    use To::{Fail, Skip};
    let Argument { index, value, value_two, op } = argument;
    let low = ARGUMENTS + 8 * u32::from(index);
    let (load_high, load_low) = (Do((LOAD, 0, 0, low + 4)), Do((LOAD, 0, 0, low)));
    let (high, rest) = halves(value);
    match op {
        Operator::Eq => vec![load_high, If(IS, high, Skip(0), Fail), load_low, If(IS, rest, Skip(0), Fail)],
        Operator::Ne => vec![load_high, If(IS, high, Skip(0), Skip(2)), load_low, If(IS, rest, Fail, Skip(0))],
        Operator::Gt | Operator::Ge => {
            let code = if op == Operator::Gt { IS_MORE } else { IS_LEAST };
            vec![
                load_high,
                If(IS_MORE, high, Skip(3), Skip(0)),
                If(IS, high, Skip(0), Fail),
                load_low,
                If(code, rest, Skip(0), Fail),
            ]
        }
        Operator::Lt | Operator::Le => {
            let code = if op == Operator::Lt { IS_LEAST } else { IS_MORE };
            vec![
                load_high,
                If(IS_MORE, high, Fail, Skip(0)),
                If(IS, high, Skip(0), Skip(2)),
                load_low,
                If(code, rest, Fail, Skip(0)),
            ]
        }
        Operator::MaskedEq => {
            let (wanted_high, wanted_low) = halves(value_two);
            vec![
                load_high,
                Do((MASK, 0, 0, high)),
                If(IS, wanted_high, Skip(0), Fail),
                load_low,
                Do((MASK, 0, 0, rest)),
                If(IS, wanted_low, Skip(0), Fail),
            ]
        }
    }
}

fn halves(value: u64) -> (u32, u32) {
    let bytes = value.to_be_bytes();
    let half = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    (half(0), half(4))
}

fn verdict(verdict: Verdict) -> Instruction {
    let errno = u32::from(verdict.errno.min(MOST_ERRNO));
    let value = match verdict.action {
        Action::KillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::KillProcess => KILL_PROCESS,
        Action::Trap => libc::SECCOMP_RET_TRAP,
        Action::Errno => ERRNO | errno,
        Action::Trace => libc::SECCOMP_RET_TRACE | errno,
        Action::Log => libc::SECCOMP_RET_LOG,
        Action::Allow => libc::SECCOMP_RET_ALLOW,
    };
    (RETURN, 0, 0, value)
}

/// The processor's names and number.
struct Processor {
    libseccomp: &'static str,
    docker: &'static str,
    /// linux/audit.h.
    audit: u32,
}

#[cfg(target_arch = "x86_64")]
const PROCESSOR: Option<Processor> =
    Some(Processor { libseccomp: "SCMP_ARCH_X86_64", docker: "amd64", audit: 0xc000_003e });
#[cfg(target_arch = "aarch64")]
const PROCESSOR: Option<Processor> =
    Some(Processor { libseccomp: "SCMP_ARCH_AARCH64", docker: "arm64", audit: 0xc000_00b7 });
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const PROCESSOR: Option<Processor> = None;

// linux/bpf_common.h: load a word, compare with a constant, mask, jump, return.
const LOAD: u16 = 0x20;
const IS: u16 = 0x15;
const IS_MORE: u16 = 0x25;
const IS_LEAST: u16 = 0x35;
const MASK: u16 = 0x54;
const JUMP: u16 = 0x05;
const RETURN: u16 = 0x06;

// Where `struct seccomp_data` has the call's number, the processor and the arguments, least significant half first.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Numbers from here on are x32's. Other processors have none so great.
const X32: u32 = 0x4000_0000;

const KILL_PROCESS: u32 = libc::SECCOMP_RET_KILL_PROCESS;
const ERRNO: u32 = libc::SECCOMP_RET_ERRNO;
const ENOSYS: u32 = libc::ENOSYS.unsigned_abs();

/// The kernel's greatest error number.
const MOST_ERRNO: u16 = 4095;

/// Instructions of a program (`BPF_MAXINSNS`).
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program says of a call, by the rules of linux/filter.h.
    fn run(program: &[Instruction], number: u32, args: [u64; 6]) -> u32 {
        let audit = PROCESSOR.unwrap().audit;
        let word = |offset: u32| match offset {
            NUMBER => number,
            ARCH => audit,
            _ => {
                let (high, low) = halves(args[usize::try_from((offset - ARGUMENTS) / 8).unwrap()]);
                if (offset - ARGUMENTS).is_multiple_of(8) { low } else { high }
            }
        };
        let (mut at, mut value) = (0, 0);
        loop {
            let (code, yes, no, operand) = program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { yes } else { no });
            match code {
                LOAD => value = word(operand),
                MASK => value &= operand,
                IS => at += jump(value == operand),
                IS_MORE => at += jump(value > operand),
                IS_LEAST => at += jump(value >= operand),
                JUMP => at += usize::try_from(operand).unwrap(),
                RETURN => return operand,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn compiled(rules: &str) -> Vec<Instruction> {
        let text = format!(r#"seccomp={{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": {rules}}}"#);
        compile(&SeccompProfile::of_options(&[text]).unwrap().unwrap(), &[]).unwrap()
    }

    /// Every comparison is that of 64-bit numbers, at both sides of every border.
    #[test]
    fn comparisons() {
        let around = [0, 1, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, 0x5_0000_0007, u64::MAX - 1, u64::MAX];
        let numbers: Vec<u64> =
            around.iter().flat_map(|&one| [one.wrapping_sub(1), one, one.wrapping_add(1)]).collect();
        let read = u32::try_from(libc::SYS_read).unwrap();
        type Holds = fn(u64, u64) -> bool;
        let operators: [(&str, Holds); 7] = [
            ("NE", |a, b| a != b),
            ("LT", |a, b| a < b),
            ("LE", |a, b| a <= b),
            ("EQ", |a, b| a == b),
            ("GE", |a, b| a >= b),
            ("GT", |a, b| a > b),
            ("MASKED_EQ", |a, b| a & b == 0x5_0000_0007 & b),
        ];
        for (name, holds) in operators {
            for &value in &numbers {
                let two = 0x5_0000_0007 & value;
                let program = compiled(&format!(
                    r#"[{{"names": ["read"], "action": "SCMP_ACT_ALLOW",
                        "args": [{{"index": 3, "value": {value}, "valueTwo": {two}, "op": "SCMP_CMP_{name}"}}]}}]"#
                ));
                for &argument in &numbers {
                    let allowed = run(&program, read, [9, 9, 9, argument, 9, 9]) == libc::SECCOMP_RET_ALLOW;
                    assert_eq!(allowed, holds(argument, value), "{argument:#x} {name} {value:#x}");
                }
            }
        }
    }

    /// Conditions on several arguments must all be met, on the same one any; several rules are alternatives; what no rule is about
    /// is refused, and what is newer than all of them does not exist.
    #[test]
    fn rules() {
        let program = compiled(
            r#"[
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}]},
            {"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 5, "op": "SCMP_CMP_EQ"}]},
            {"names": ["write", "no_such_call"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]},
            {"names": ["close"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77},
            {"names": ["close"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 3, "op": "SCMP_CMP_EQ"}]},
            {"names": ["clone3"], "action": "SCMP_ACT_KILL_PROCESS"}]"#,
        );
        let says = |call: libc::c_long, args: &[u64]| {
            let mut all = [0; 6];
            all[..args.len()].copy_from_slice(args);
            run(&program, u32::try_from(call).unwrap(), all)
        };
        let (allow, refuse) = (libc::SECCOMP_RET_ALLOW, ERRNO | 1);
        assert_eq!([says(libc::SYS_read, &[1, 2]), says(libc::SYS_read, &[1, 3])], [allow, refuse]);
        assert_eq!([says(libc::SYS_read, &[5]), says(libc::SYS_read, &[2, 2])], [libc::SECCOMP_RET_LOG, refuse]);
        assert_eq!([1, 2, 3].map(|first| says(libc::SYS_write, &[first])), [allow, allow, refuse]);
        assert_eq!([says(libc::SYS_close, &[3]), says(libc::SYS_close, &[4])], [allow, ERRNO | 77]);
        assert_eq!(says(libc::SYS_clone3, &[]), KILL_PROCESS);
        assert_eq!([says(libc::SYS_getpid, &[]), says(libc::SYS_clone3 + 1, &[])], [refuse, ERRNO | ENOSYS]);
        assert_eq!(run(&program, X32, [0; 6]), KILL_PROCESS);
    }

    /// More conditions than a jump can be long, and more rules than a program can be.
    #[test]
    fn long_profiles() {
        let rule = |value: usize| {
            format!(
                r#"{{"names": ["read"], "action": "SCMP_ACT_ALLOW",
                    "args": [{{"index": 0, "value": {value}, "op": "SCMP_CMP_EQ"}}]}}"#
            )
        };
        let rules = |count| format!("[{}]", (0..count).map(rule).collect::<Vec<_>>().join(","));
        let program = compiled(&rules(100));
        let read = u32::try_from(libc::SYS_read).unwrap();
        assert_eq!(run(&program, read, [99, 0, 0, 0, 0, 0]), libc::SECCOMP_RET_ALLOW);
        assert_eq!(run(&program, read, [100, 0, 0, 0, 0, 0]), ERRNO | 1);
        assert_eq!(run(&program, read + 1, [99, 0, 0, 0, 0, 0]), ERRNO | ENOSYS);
        let text = format!(r#"seccomp={{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}}"#, rules(2000));
        let profile = SeccompProfile::of_options(&[text]).unwrap().unwrap();
        assert!(compile(&profile, &[]).unwrap_err().to_string().contains("too long"));
    }
}
