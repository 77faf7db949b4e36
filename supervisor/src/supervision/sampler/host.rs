//! The machine, by `sysinfo`.

use sysinfo::{MemoryRefreshKind, System};
use tracing::warn;

/// The machine at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct HostSample {
    /// Cores.
    pub cpus: u64,
    /// All cores together over the last beat; 100 is one full core.
    pub cpu_percent: f64,
    /// Memory in all, in bytes.
    pub memory_total: u64,
    /// Memory that programs could still get, in bytes.
    pub memory_available: u64,
    /// The load averages of 1, 5 and 15 minutes.
    pub load: [f64; 3],
}

/// Looks at the machine.
pub(super) struct Host {
    system: Option<System>,
}

impl Host {
    pub(super) fn new() -> Self {
        let system = System::new()
            .inspect_err(|error| warn!(%error, "the host cannot be sampled; status shows none"))
            .ok();
        Self { system }
    }

    pub(super) fn read(&mut self) -> HostSample {
        let Some(system) = &mut self.system else {
            return HostSample::default();
        };
        system.refresh_cpu_usage();
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let cpus = system.cpus().len();
        let load =
            System::load_average().map_or([0.0; 3], |load| [load.one, load.five, load.fifteen]);
        HostSample {
            cpus: cpus as u64,
            #[expect(clippy::cast_precision_loss, reason = "no machine has so many cores")]
            cpu_percent: f64::from(system.global_cpu_usage()) * cpus as f64,
            memory_total: system.total_memory(),
            memory_available: system.available_memory(),
            load,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cores_and_memory() {
        let host = Host::new().read();
        assert!(host.cpus >= 1, "{host:?}");
        assert!(
            host.memory_total > host.memory_available && host.memory_available > 0,
            "{host:?}"
        );
    }
}
