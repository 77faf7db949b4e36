//! Reads the group that holds a life.

use std::io;

use super::{Detail, ReadUsage};
use crate::containment::{Group, GroupReader, Reading};

/// A group's counters, and who is in it.
#[derive(Debug)]
pub struct GroupUsage {
    group: Group,
    reader: GroupReader,
}

impl GroupUsage {
    /// Opens the counters.
    pub fn new(group: Group) -> io::Result<Self> {
        let reader = group.reader()?;
        Ok(Self { group, reader })
    }
}

impl ReadUsage for GroupUsage {
    fn read(&mut self, detail: Detail) -> Reading {
        ReadUsage::read(&mut self.reader, detail)
    }

    fn members(&mut self) -> Option<Vec<i32>> {
        Some(self.group.members())
    }
}

/// Of the fleet, whose members nobody asks for.
impl ReadUsage for GroupReader {
    fn read(&mut self, detail: Detail) -> Reading {
        match detail {
            Detail::Quick => self.read_quick(),
            Detail::Full => GroupReader::read(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        process::{Command, Stdio},
    };

    use kennel_shared::ids::{AgentId, Generation};

    use super::*;
    use crate::containment::{BackendKind, Caps, Containment};

    /// On the backend that every host has.
    #[test]
    fn a_group_tells_what_its_processes_use() {
        let mut containment = Containment::with(BackendKind::BestEffort).unwrap();
        let instance = format!("test-usage-{}", std::process::id());
        containment.prepare(&instance, &Caps::default()).unwrap();
        let agent = AgentId::new("held").unwrap();
        let group = containment
            .create(&agent, Generation(1), &Caps::default())
            .unwrap();
        // It has filled its buffer before it writes, and then waits for a reader: its memory is known and stays.
        // Of less the kernel may say nothing at all, since it counts pages by processor, in batches.
        #[expect(clippy::disallowed_methods, reason = "a process that is no agent")]
        let mut child = Command::new("dd")
            .args(["if=/dev/zero", "bs=16M", "count=1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        group.enter(pid).unwrap();
        let mut output = child.stdout.take().unwrap();
        output.read_exact(&mut [0]).unwrap();

        let mut usage = GroupUsage::new(group).unwrap();
        let (reading, members) = (usage.read(Detail::Full), usage.members());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(members, Some(vec![pid]));
        assert!(
            reading.memory > Some(8 << 20) && reading.cpu_us.is_some(),
            "{reading:?}"
        );
        assert_eq!(
            usage.read(Detail::Quick).memory.unwrap_or(0),
            0,
            "it has ended"
        );
        containment.release().unwrap();
    }
}
