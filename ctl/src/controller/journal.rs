//! The flows' journal: written while vswitchd runs, read when it starts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use vswitch_frame::NetworkIndex;
use vswitch_switch::nat::table::{FlowFilter, FlowRecord, Leg};

use super::Controller;
use crate::clock::Moment;
use crate::ids::Id;
use crate::model::Owner;
use crate::uplink::journal;

/// How often flows are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// After this many looks that found nothing new they are written all the same: timers are in the journal, too.
const MOST_SKIPPED: u32 = 30;

/// Of more flows than this only assured ones are written down, and no more than this many.
const MOST_FLOWS: usize = 1 << 18;

/// Writing may take this part of the time: a million flows are written less often than once a second.
const SHARE: u32 = 20;

impl Controller {
    /// Writes the flows down once a second if they have changed, until the agent is gone.
    pub(super) async fn keep_journal(self) {
        if self.inner.uplink.is_none() || self.inner.ephemeral {
            return;
        }
        let (mut last, mut skipped, mut pause) = (None, 0, EVERY);
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.agent_closed() => return,
            }
            let controller = self.clone();
            let force = skipped >= MOST_SKIPPED;
            let written = tokio::task::spawn_blocking(move || controller.write_journal(last, force)).await;
            let Ok((fingerprint, wrote, took)) = written else { return };
            last = fingerprint;
            skipped = if wrote { 0 } else { skipped + 1 };
            pause = EVERY.max(took * SHARE);
        }
    }

    /// Writes down now what is not yet, for a stop that leaves containers running.
    pub fn save(&self) {
        self.close_store();
        if self.inner.uplink.is_some() && !self.inner.ephemeral {
            let _ = self.write_journal(None, true);
        }
    }

    /// Writes unless `last` says that nothing has changed. Answers the new fingerprint, whether it wrote, and how long it
    /// took.
    fn write_journal(&self, last: Option<u64>, force: bool) -> (Option<u64>, bool, Duration) {
        let clock = vswitch_switch::Clock::start();
        let start = clock.now();
        let mut records = self.inner.switch.flows(&FlowFilter::default());
        if records.len() > MOST_FLOWS {
            records.retain(|record| record.assured);
            records.truncate(MOST_FLOWS);
        }
        let fingerprint = Some(journal::fingerprint(&records));
        let empty = records.is_empty() && last.is_none();
        let wrote = !empty && (force || fingerprint != last);
        let mut result = Ok(());
        if wrote {
            let networks: BTreeMap<NetworkIndex, Id> = {
                let state = self.state();
                state.networks.values().filter_map(|on| Some((on.index?, on.network.id.clone()))).collect()
            };
            result = journal::save(&self.inner.state_dir, Moment::now(), &networks, &records);
        }
        if let Err(error) = result {
            tracing::warn!("cannot write down the flows ({error}); their connections would not survive a crash");
        }
        (fingerprint, wrote, clock.now().since(start))
    }

    /// Lets the connections of a former run go on: those of networks and endpoints that are still there.
    pub(super) fn restore_flows(&self) {
        if self.inner.uplink.is_none() {
            return;
        }
        let (networks, addresses) = {
            let state = self.state();
            let networks: BTreeMap<Id, NetworkIndex> =
                state.networks.values().filter_map(|on| Some((on.network.id.clone(), on.index?))).collect();
            let living = state.endpoints.values().filter(|one| match &one.endpoint.owner {
                Owner::Container(id) => state.containers.get(id).is_some_and(|one| one.container.running()),
                Owner::Attached(_) | Owner::Host => true,
                Owner::Machine => false,
            });
            let places = living.filter_map(|one| Some((state.networks.get(&one.endpoint.network)?.index?, one)));
            let addresses: BTreeSet<(NetworkIndex, IpAddr)> = places
                .flat_map(|(network, one)| one.endpoint.addresses().map(move |address| (network, address)))
                .collect();
            (networks, addresses)
        };
        let loaded = match journal::load(&self.inner.state_dir, Moment::now(), &networks) {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::warn!(
                    "the flows in {} cannot be used ({error}); connections through the uplink begin anew",
                    self.inner.state_dir.join(journal::FILE).display()
                );
                return;
            }
        };
        let ours = |record: &FlowRecord| {
            // What comes in one direction leaves where those of the other come from.
            let is_living =
                |from, address| matches!(from, Leg::Inside(network) if addresses.contains(&(network, address)));
            let [egress, ingress] = record.egress;
            is_living(ingress, record.original.source()) || is_living(egress, record.reply.source())
        };
        let records: Vec<FlowRecord> = loaded.records.into_iter().filter(ours).collect();
        if loaded.skipped > 0 {
            tracing::warn!(lines = loaded.skipped, "some flows of the former run could not be read");
        }
        if let Some(restored) = self.inner.switch.restore_flows(&records).filter(|_| !records.is_empty()) {
            tracing::info!(restored = restored.restored, refused = restored.refused, "flows go on");
        }
    }
}
