//! System calls, by a seccomp filter. Read first: seccomp(2).

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use vswitch_api::version::SystemCalls;

use super::Mode;
use super::calls::{Argument, Check, Checks, FREE, LEGACY, NARROWED};

/// Installs the filter for the calling thread and those that it starts.
pub(super) fn install(mode: Mode) -> Result<SystemCalls, Error> {
    let Ok(target) = TargetArch::try_from(std::env::consts::ARCH) else {
        tracing::warn!("no filter of system calls is known for {}: they are not restricted", std::env::consts::ARCH);
        return Ok(SystemCalls::Unrestricted);
    };
    let (action, answer) = match mode {
        Mode::Off => return Ok(SystemCalls::Unrestricted),
        Mode::Refuse => (SeccompAction::Errno(errno(libc::EPERM)), SystemCalls::Refused),
        Mode::Kill => (SeccompAction::KillProcess, SystemCalls::Fatal),
    };
    let [allowed, fallback] = [allow_list(target, action)?, older_clone(target)?];
    // In this order: the list has no call that installs another filter.
    match seccompiler::apply_filter(&fallback).and_then(|()| seccompiler::apply_filter(&allowed)) {
        Err(Error::Seccomp(error)) if [Some(libc::EINVAL), Some(libc::ENOSYS)].contains(&error.raw_os_error()) => {
            tracing::warn!("this kernel has no seccomp filters: vswitchd's system calls are not restricted");
            Ok(SystemCalls::Unrestricted)
        }
        other => other.map(|()| answer),
    }
}

/// Everything that is not in the lists of `calls` meets `action`.
fn allow_list(target: TargetArch, action: SeccompAction) -> Result<BpfProgram, Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for &call in FREE.iter().chain(LEGACY) {
        // No rule means: whatever the arguments.
        rules.insert(call, Vec::new());
    }
    for (call, alternatives) in NARROWED {
        for checks in *alternatives {
            rules.entry(*call).or_default().push(rule(checks)?);
        }
    }
    Ok(SeccompFilter::new(rules, action, SeccompAction::Allow, target)?.try_into()?)
}

/// A filter cannot see the flags of clone3, which are in memory: the C library is told that there is none, and takes
/// clone, whose flags are seen. The stricter answer of two filters counts.
fn older_clone(target: TargetArch) -> Result<BpfProgram, Error> {
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let missing = SeccompAction::Errno(errno(libc::ENOSYS));
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, missing, target)?.try_into()?)
}

/// All of `checks` must hold.
fn rule(checks: &Checks) -> Result<SeccompRule, Error> {
    let conditions = checks.iter().map(|(index, check)| {
        let (length, operator, value) = match *check {
            Check::Is(Argument::Value(value)) => (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value),
            Check::Is(Argument::OwnProcess) => {
                (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, u64::from(std::process::id()))
            }
            Check::Masked { mask, value } => (SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(mask), value),
            Check::Null => (SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0),
        };
        SeccompCondition::new(*index, length, operator, value)
    });
    Ok(SeccompRule::new(conditions.collect::<Result<_, _>>()?)?)
}

const fn errno(number: i32) -> u32 {
    number.unsigned_abs()
}
