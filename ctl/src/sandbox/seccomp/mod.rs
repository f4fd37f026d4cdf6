//! The system calls of a container, by a seccomp filter: those that Docker's default profile allows, or what a profile of the
//! user's says ([`profile`]).
//! Read first: seccomp(2), and "Seccomp security profiles for Docker" in Docker's documentation.
//!
//! What is not in the lists of [`calls`] meets EPERM. Two kinds of calls are said not to exist (ENOSYS), so that C libraries
//! take another way: clone3 without CAP_SYS_ADMIN, whose flags a filter cannot see, and calls that are newer than the lists.
//! Programs of another architecture, such as 32-bit ones on a 64-bit host, are killed.

mod calls;
mod names;
mod profile;

use std::{collections::BTreeMap, io};

use rustix::thread::CapabilitySet;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use vswitch_switch::sys::seccomp::{self, Instruction};

use super::capability;
use crate::model::seccomp::SeccompProfile;
use calls::{ALWAYS, LEGACY, NAMESPACES, NEWER, PERSONALITIES, WITH};

/// Filters the calling thread and whatever it starts, as the profile says or else as Docker's default one. The numbers are the
/// container's capabilities; the thread needs CAP_SYS_ADMIN.
pub(super) fn install(capabilities: &[u8], profile: Option<&SeccompProfile>) -> io::Result<()> {
    let programs = match profile {
        Some(profile) => vec![profile::compile(profile, capabilities)?],
        None => built_in(capability::set(capabilities))?,
    };
    for program in programs {
        match seccomp::install(&program) {
            Err(error) if [Some(libc::EINVAL), Some(libc::ENOSYS)].contains(&error.raw_os_error()) => {
                tracing::warn!("this kernel has no seccomp filters: the container's system calls are not restricted");
                return Ok(());
            }
            other => other?,
        }
    }
    Ok(())
}

/// Docker's default profile. Of two answers that are errors the one of the filter that came last counts.
fn built_in(capabilities: CapabilitySet) -> io::Result<Vec<Vec<Instruction>>> {
    let Ok(target) = TargetArch::try_from(std::env::consts::ARCH) else {
        tracing::warn!("no filter of system calls is known for {}: they are not restricted", std::env::consts::ARCH);
        return Ok(Vec::new());
    };
    let programs = [allow_list(capabilities, target), absent(capabilities, target)];
    let instructions =
        |program: BpfProgram| program.iter().map(|one| (one.code, one.jt, one.jf, one.k)).collect::<Vec<Instruction>>();
    programs.into_iter().map(|program| program.map(instructions).map_err(io::Error::other)).collect()
}

fn allow_list(capabilities: CapabilitySet, target: TargetArch) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let administrator = capabilities.contains(CapabilitySet::SYS_ADMIN);
    let unlocked = WITH.iter().filter(|(capability, _)| capabilities.intersects(*capability));
    for &call in ALWAYS.iter().chain(LEGACY).chain(unlocked.flat_map(|(_, calls)| *calls)) {
        // No rule means: whatever the arguments.
        rules.insert(call, Vec::new());
    }
    if !administrator {
        rules.insert(libc::SYS_clone, vec![argument(0, SeccompCmpOp::MaskedEq(NAMESPACES), 0)?]);
    }
    // Virtual machines' sockets reach the hypervisor whatever the network namespace, and those of the kernel's ciphers reach code
    // that few others use.
    let closed = [libc::AF_VSOCK, libc::AF_ALG].map(|family| u64::from(family.unsigned_abs()));
    let closed = closed.map(|family| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family));
    let [vsock, ciphers] = closed;
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(vec![vsock?, ciphers?])?]);
    let personalities = PERSONALITIES.iter().map(|&persona| argument(0, SeccompCmpOp::Eq, persona));
    rules.insert(libc::SYS_personality, personalities.collect::<Result<_, _>>()?);
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(rules, refused, SeccompAction::Allow, target)?.try_into()
}

fn absent(capabilities: CapabilitySet, target: TargetArch) -> Result<BpfProgram, BackendError> {
    let clone3 = (!capabilities.contains(CapabilitySet::SYS_ADMIN)).then_some(libc::SYS_clone3);
    let rules = NEWER.chain(clone3).map(|call| (call, Vec::new())).collect();
    let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, missing, target)?.try_into()
}

fn argument(index: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Filters can be made for every set of capabilities, and no call is in a list twice.
    #[test]
    fn compiles() {
        let target = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        for capabilities in [CapabilitySet::empty(), CapabilitySet::SYS_ADMIN, CapabilitySet::all()] {
            assert!(!allow_list(capabilities, target).unwrap().is_empty());
            assert!(!absent(capabilities, target).unwrap().is_empty());
        }
        let mut all: Vec<_> = ALWAYS.iter().chain(LEGACY).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
