//! stub
use std::process::ExitCode;
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {}
impl DemoArgs {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        Ok(ExitCode::SUCCESS)
    }
}
pub(crate) mod worker {
    #[derive(Debug, clap::Subcommand)]
    pub(crate) enum WorkerCommand {
        Ping,
    }
    impl WorkerCommand {
        pub(crate) fn run(self) -> anyhow::Result<()> {
            Ok(())
        }
    }
}
