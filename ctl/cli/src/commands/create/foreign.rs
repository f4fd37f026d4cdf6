//! Options of `docker run` that vswitch has not: those that can be left out are, with one warning; the others say what to type.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::failure::Usage;

/// What of them was given.
#[derive(Debug, Clone, Default)]
pub(crate) struct ForeignArgs {
    /// Nothing of them holds.
    ignored: Vec<&'static str>,
    /// Why the command line cannot be carried out.
    refused: Option<String>,
}

/// Whether an option takes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Value,
    Flag,
}

use Kind::{Flag, Value};

/// Those of control groups.
const LIMITS: [(&str, Kind); 28] = [
    ("blkio-weight", Value),
    ("blkio-weight-device", Value),
    ("cgroup-parent", Value),
    ("cpu-count", Value),
    ("cpu-percent", Value),
    ("cpu-period", Value),
    ("cpu-quota", Value),
    ("cpu-rt-period", Value),
    ("cpu-rt-runtime", Value),
    ("cpu-shares", Value),
    ("cpus", Value),
    ("cpuset-cpus", Value),
    ("cpuset-mems", Value),
    ("device-cgroup-rule", Value),
    ("device-read-bps", Value),
    ("device-read-iops", Value),
    ("device-write-bps", Value),
    ("device-write-iops", Value),
    ("io-maxbandwidth", Value),
    ("io-maxiops", Value),
    ("kernel-memory", Value),
    ("memory", Value),
    ("memory-reservation", Value),
    ("memory-swap", Value),
    ("memory-swappiness", Value),
    ("oom-kill-disable", Flag),
    ("oom-score-adj", Value),
    ("pids-limit", Value),
];

/// Those of images and of what runs them.
const IMAGES: [(&str, Kind); 14] = [
    ("disable-content-trust", Flag),
    ("health-cmd", Value),
    ("health-interval", Value),
    ("health-retries", Value),
    ("health-start-interval", Value),
    ("health-start-period", Value),
    ("health-timeout", Value),
    ("isolation", Value),
    ("no-healthcheck", Flag),
    ("platform", Value),
    ("pull", Value),
    ("quiet", Flag),
    ("runtime", Value),
    ("storage-opt", Value),
];

/// Those that would change what the container is, and what to type instead.
const REFUSED: [(&str, &str); 9] = [
    ("log-driver", "output is kept as json-file keeps it; --log-opt max-size=… bounds it"),
    ("device", "--privileged gives all devices"),
    ("gpus", "--privileged gives all devices"),
    ("pid", "a container has processes of its own, and 'vswitchctl exec' enters them"),
    ("ipc", "share a folder with -v instead"),
    ("uts", "name the host with --hostname"),
    ("cgroupns", "containers have one of their own"),
    ("volumes-from", "name the volumes with -v NAME:CONTAINER"),
    ("volume-driver", "the only driver is local"),
];

/// Values of those that mean what is so in any case.
const AS_IT_IS: [&str; 5] = ["", "private", "local", "shareable", "json-file"];

impl ForeignArgs {
    /// Refuses what cannot be, and says what to warn of.
    pub(super) fn check(&self) -> anyhow::Result<Option<String>> {
        if let Some(sentence) = &self.refused {
            return Err(Usage(sentence.clone()).into());
        }
        let names: Vec<String> = self.ignored.iter().map(|name| format!("--{name}")).collect();
        let warning = format!(
            "{} left out: vswitch has no images to pull and no control groups; limit vswitchd itself, with 'systemd-run --scope -p \
             MemoryMax=1G vswitchd' or 'ulimit'",
            names.join(", ")
        );
        Ok((!names.is_empty()).then_some(warning))
    }
}

impl FromArgMatches for ForeignArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = ForeignArgs::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for (name, kind) in LIMITS.into_iter().chain(IMAGES) {
            let given = match kind {
                Value => matches.contains_id(name),
                Flag => matches.get_flag(name),
            };
            if given {
                self.ignored.push(name);
            }
        }
        for (name, instead) in REFUSED {
            let mut values = matches.get_many::<String>(name).into_iter().flatten();
            if let Some(value) = values.find(|value| !AS_IT_IS.contains(&value.as_str())) {
                self.refused = Some(format!("--{name} {value} is not possible here: {instead}"));
            }
        }
        Ok(())
    }
}

impl Args for ForeignArgs {
    fn augment_args(mut command: Command) -> Command {
        for (name, kind) in LIMITS.into_iter().chain(IMAGES) {
            let arg = Arg::new(name).long(name).hide(true);
            let arg = match name {
                "memory" => arg.short('m'),
                "cpu-shares" => arg.short('c'),
                "quiet" => arg.short('q'),
                _ => arg,
            };
            command = command.arg(match kind {
                Value => arg.action(ArgAction::Append),
                Flag => arg.action(ArgAction::SetTrue),
            });
        }
        for (name, _) in REFUSED {
            command = command.arg(Arg::new(name).long(name).hide(true).action(ArgAction::Append));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &[&str]) -> ForeignArgs {
        let command = ForeignArgs::augment_args(Command::new("x"));
        ForeignArgs::from_arg_matches(&command.get_matches_from([&["x"], words].concat())).unwrap()
    }

    /// What means nothing is warned of once; what would mean something is refused; what is so in any case is neither.
    #[test]
    fn options() {
        let warning =
            given(&["-m", "1g", "--cpus=2", "--pull", "always", "--no-healthcheck"]).check().unwrap().unwrap();
        for name in ["--memory", "--cpus", "--pull", "--no-healthcheck"] {
            assert!(warning.contains(name), "{warning}");
        }
        assert_eq!(given(&["--ipc", "private", "--pid=", "--log-driver", "json-file"]).check().unwrap(), None);
        for words in [["--pid", "host"], ["--device", "/dev/fuse"]] {
            assert!(given(&words).check().unwrap_err().to_string().contains("is not possible here"));
        }
    }
}
