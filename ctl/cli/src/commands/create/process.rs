//! What a container's processes are besides their command.

use clap::Args;
use vswitch_api::container::ContainerCreate;

use super::files::size;
use crate::values;

/// Whose they are, what holds for them, how they end and begin again.
#[derive(Debug, Args)]
pub(crate) struct ProcessArgs {
    /// Whose processes they are, by names in the container or by numbers [default: root]
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(super) user: Option<String>,
    /// Further group of that user (repeat for more)
    #[arg(long, value_name = "GROUP")]
    group_add: Vec<String>,
    /// The program, of which COMMAND are the arguments
    #[arg(long, value_name = "PROGRAM")]
    pub(super) entrypoint: Option<String>,
    /// Start it again when it has ended: no, on-failure[:N], always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
    /// The signal that asks it to end [default: TERM]
    #[arg(long, value_name = "SIGNAL")]
    stop_signal: Option<String>,
    /// Seconds that it then has before it is killed, -1 for ever [default: 10]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    stop_timeout: Option<i64>,
    /// Setting of the kernel that belongs to the container's own namespaces (repeat for more)
    #[arg(long = "sysctl", value_name = "KEY=VALUE", value_parser = values::key_value)]
    sysctls: Vec<(String, String)>,
    /// Limit, such as nofile=1024:2048 (repeat for more)
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    ulimits: Vec<String>,
    /// Size of /dev/shm [default: 64m]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    shm_size: Option<u64>,
    /// NIS domain name
    #[arg(long, value_name = "NAME")]
    domainname: Option<String>,
    /// Accepted for Docker's sake: every container has a first process that collects orphans
    #[arg(long, hide = true)]
    init: bool,
}

impl ProcessArgs {
    /// Puts them into a request.
    pub(super) fn fill(self, request: &mut ContainerCreate) {
        request.user = self.user.unwrap_or_default();
        request.group_add = self.group_add;
        request.restart = self.restart.unwrap_or_default();
        request.stop_signal = self.stop_signal.unwrap_or_default();
        request.stop_timeout = self.stop_timeout;
        request.sysctls = self.sysctls.into_iter().collect();
        request.ulimits = self.ulimits;
        request.shm_size = self.shm_size;
        request.domainname = self.domainname.unwrap_or_default();
        if let Some(entrypoint) = self.entrypoint.filter(|program| !program.is_empty()) {
            request.command.insert(0, entrypoint);
        }
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    size(text).ok_or_else(|| "write a size such as 64m or 1g".into())
}
