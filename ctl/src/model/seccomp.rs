//! A profile of system calls that a user brings (`--security-opt seccomp=…`), in Docker's form.
//! Read first: "Seccomp security profiles for Docker" in Docker's documentation; seccomp(2), "Filters".

use serde::{Deserialize, Serialize};
use vswitch_switch::kernel::version;

/// What becomes of a container's system calls. It is what was written, checked: which rules hold is decided where the
/// container is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeccompProfile {
    default_action: Action,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default_errno_ret: Option<u16>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_none")]
    architectures: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_none")]
    arch_map: Vec<Architecture>,
    #[serde(default, deserialize_with = "or_none")]
    syscalls: Vec<Rule>,
}

/// What is done with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// The thread ends.
    #[serde(rename = "SCMP_ACT_KILL", alias = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    /// The process ends.
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    /// The process gets SIGSYS.
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    /// It fails.
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    /// A tracer is asked, or else it fails.
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    /// It is done, and written to the kernel's log.
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    /// It is done.
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
}

/// A processor, and those whose programs it runs, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: String,
    #[serde(default, deserialize_with = "or_none")]
    sub_architectures: Vec<String>,
}

/// What is done with some calls, if the container and the arguments are so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(deserialize_with = "or_none")]
    names: Vec<String>,
    action: Option<Action>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u16>,
    #[serde(deserialize_with = "or_none")]
    args: Vec<Argument>,
    #[serde(deserialize_with = "or_none")]
    includes: Container,
    #[serde(deserialize_with = "or_none")]
    excludes: Container,
}

/// What an argument must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Argument {
    /// Its number, from 0.
    pub index: u8,
    /// What it is compared with; for [`Operator::MaskedEq`] the mask.
    pub value: u64,
    /// For [`Operator::MaskedEq`] what must be left of it.
    #[serde(default)]
    pub value_two: u64,
    /// How.
    pub op: Operator,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// Different.
    #[serde(rename = "SCMP_CMP_NE")]
    Ne,
    /// Less.
    #[serde(rename = "SCMP_CMP_LT")]
    Lt,
    /// Less or the same.
    #[serde(rename = "SCMP_CMP_LE")]
    Le,
    /// The same.
    #[serde(rename = "SCMP_CMP_EQ")]
    Eq,
    /// Greater or the same.
    #[serde(rename = "SCMP_CMP_GE")]
    Ge,
    /// Greater.
    #[serde(rename = "SCMP_CMP_GT")]
    Gt,
    /// The same in some bits.
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEq,
}

/// A condition on container and host. What is empty is met.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    #[serde(deserialize_with = "or_none", skip_serializing_if = "Vec::is_empty")]
    arches: Vec<String>,
    #[serde(deserialize_with = "or_none", skip_serializing_if = "Vec::is_empty")]
    caps: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_kernel: Option<String>,
}

/// Where a profile is to hold.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Docker's name of the processor.
    pub arch: &'a str,
    /// Numbers of the container's capabilities.
    pub capabilities: &'a [u8],
    /// Version of the kernel.
    pub kernel: (u32, u32),
}

/// What a call is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What is done.
    pub action: Action,
    /// The error's number, where it fails.
    pub errno: u16,
}

/// A rule that holds.
#[derive(Debug, Clone, Copy)]
pub struct Effective<'a> {
    /// Of the calls.
    pub names: &'a [String],
    /// What becomes of them.
    pub verdict: Verdict,
    /// All must be so; none: always.
    pub args: &'a [Argument],
}

impl SeccompProfile {
    /// The profile that `--security-opt`s name, if it is the last word about system calls.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn of_options(options: &[String]) -> Result<Option<SeccompProfile>, String> {
        let mut values = options.iter().filter_map(|option| option.split_once(['=', ':']));
        let last = values.rfind(|(key, _)| *key == "seccomp");
        last.filter(|(_, text)| is_profile(text)).map(|(_, text)| SeccompProfile::parse(text)).transpose()
    }

    fn parse(text: &str) -> Result<SeccompProfile, String> {
        let bad =
            |why: String| format!("invalid seccomp profile: {why}; write one in the form of Docker's default profile");
        let mut profile: SeccompProfile = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
            return Err(bad("both architectures and archMap are specified".to_owned()));
        }
        for rule in &mut profile.syscalls {
            match (rule.name.is_empty(), rule.names.is_empty()) {
                (false, true) => rule.names.push(std::mem::take(&mut rule.name)),
                (false, false) => return Err(bad(format!("both name and names are specified at {}", rule.name))),
                (true, true) => return Err(bad("a rule names no call".to_owned())),
                (true, false) => {}
            }
            let at = &rule.names[0];
            if rule.action.is_none() {
                return Err(bad(format!("the rule of {at} has no action")));
            }
            if let Some(argument) = rule.args.iter().find(|argument| argument.index > LAST_ARGUMENT) {
                return Err(bad(format!("{at} has no argument {}, only 0 to {LAST_ARGUMENT}", argument.index)));
            }
            for condition in [&rule.includes, &rule.excludes] {
                if let Some(text) = condition.min_kernel.as_deref().filter(|text| version(text).is_none()) {
                    return Err(bad(format!("minKernel {text:?} is no version such as 4.8")));
                }
            }
        }
        Ok(profile)
    }

    /// What becomes of a call that no rule is about.
    #[must_use]
    pub fn otherwise(&self) -> Verdict {
        Verdict { action: self.default_action, errno: self.default_errno_ret.unwrap_or(EPERM) }
    }

    /// Whether it is meant for this processor at all. `arch` is libseccomp's name.
    #[must_use]
    pub fn is_for(&self, arch: &str) -> bool {
        let mut named = self.architectures.iter().chain(self.arch_map.iter().map(|one| &one.architecture)).peekable();
        named.peek().is_none() || named.any(|one| one == arch)
    }

    /// The rules that hold there, in their order.
    pub fn rules<'a>(&'a self, at: Surroundings<'a>) -> impl Iterator<Item = Effective<'a>> {
        self.syscalls.iter().filter(move |rule| rule.includes.all_met(at) && !rule.excludes.any_met(at)).filter_map(
            |rule| {
                let action = rule.action?;
                let verdict = Verdict { action, errno: rule.errno_ret.unwrap_or(EPERM) };
                Some(Effective { names: &rule.names, verdict, args: &rule.args })
            },
        )
    }
}

impl Container {
    /// As Docker: one of the processors, all of the capabilities, and no older kernel.
    fn all_met(&self, at: Surroundings<'_>) -> bool {
        (self.arches.is_empty() || self.arches.iter().any(|arch| arch == at.arch))
            && self.caps.iter().all(|name| has(at, name))
            && self.min_kernel.as_deref().and_then(version).is_none_or(|least| at.kernel >= least)
    }

    /// As Docker: one of them is enough.
    fn any_met(&self, at: Surroundings<'_>) -> bool {
        self.arches.iter().any(|arch| arch == at.arch)
            || self.caps.iter().any(|name| has(at, name))
            || self.min_kernel.as_deref().and_then(version).is_some_and(|least| at.kernel >= least)
    }
}

/// Whether the option's value is a profile and not a word.
pub(super) fn is_profile(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

fn has(at: Surroundings<'_>, name: &str) -> bool {
    super::capability_number(name).is_some_and(|number| at.capabilities.contains(&number))
}

/// Docker writes `null` for an empty list.
fn or_none<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A call has six arguments.
const LAST_ARGUMENT: u8 = 5;

const EPERM: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<SeccompProfile>, String> {
        SeccompProfile::of_options(&[format!("seccomp={text}")])
    }

    const PROFILE: &str = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "comment": "of nobody's concern",
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": null}],
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": null},
            {"name": "mount", "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_LOG", "includes": {"minKernel": "4.8", "arches": ["amd64"]}},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]}
        ]}"#;

    /// Rules hold where their conditions are met, with the errors that they name.
    #[test]
    fn conditions() {
        let profile = parse(PROFILE).unwrap().unwrap();
        assert_eq!(profile.otherwise(), Verdict { action: Action::Errno, errno: 38 });
        assert!(profile.is_for("SCMP_ARCH_X86_64") && !profile.is_for("SCMP_ARCH_AARCH64"));
        let names = |arch, capabilities: &[u8], kernel| {
            let at = Surroundings { arch, capabilities, kernel };
            profile.rules(at).map(|rule| rule.names[0].clone()).collect::<Vec<_>>()
        };
        assert_eq!(names("amd64", &[], (6, 1)), ["read", "clone3", "ptrace", "socket"]);
        assert_eq!(names("amd64", &[21], (4, 7)), ["read", "mount", "socket"]);
        assert_eq!(names("arm64", &[], (6, 1)), ["read", "clone3", "socket"]);
        let stored = serde_json::to_string(&profile).unwrap();
        assert_eq!(serde_json::from_str::<SeccompProfile>(&stored).unwrap(), profile);
    }

    /// The last word counts; words are no profiles; what makes no sense is refused in one sentence.
    #[test]
    fn words_and_refusals() {
        assert_eq!(parse("unconfined").unwrap(), None);
        let last = |text: &str| vec![format!("seccomp={PROFILE}"), format!("seccomp={text}")];
        assert_eq!(SeccompProfile::of_options(&last("builtin")).unwrap(), None);
        for (text, says) in [
            ("{", "EOF"),
            ("{}", "defaultAction"),
            (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#, "SCMP_ACT_NOTIFY"),
            (r#"{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"action": "SCMP_ACT_LOG"}]}"#, "names no call"),
            (r#"{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"names": ["a"]}]}"#, "no action"),
            (
                r#"{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"name": "b", "names": ["a"], "action": "SCMP_ACT_LOG"}]}"#,
                "both name and names",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"name": "b", "action": "SCMP_ACT_LOG",
                    "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#,
                "no argument 6",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_LOG", "syscalls": [{"name": "b", "action": "SCMP_ACT_LOG",
                    "includes": {"minKernel": "new"}}]}"#,
                "minKernel",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_LOG", "architectures": ["x"], "archMap": [{"architecture": "x"}]}"#,
                "both architectures and archMap",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says) && error.contains("invalid seccomp profile"), "{text}: {error}");
        }
    }
}
