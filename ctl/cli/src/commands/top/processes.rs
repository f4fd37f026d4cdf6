//! `top CONTAINER`.

use vswitch_api::Client;

use crate::output;
use crate::table::Table;

/// One table, as ps has it.
pub(super) async fn run(client: &Client, container: &str, options: &str, json: bool) -> anyhow::Result<()> {
    let found = client.container_processes(container, options).await?;
    if json {
        return output::json(&found);
    }
    let mut table = Table::new(found.titles);
    for process in found.processes {
        table.row(process);
    }
    Ok(output::print(&table.render())?)
}
