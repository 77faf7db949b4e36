//! A group as the sampler reads it.

use super::{Detail, ReadUsage};
use crate::containment::{Group, GroupReader, Reading};

impl ReadUsage for GroupReader {
    fn read(&mut self, detail: Detail) -> Reading {
        match detail {
            Detail::Quick => self.read_quick(),
            Detail::Full => GroupReader::read(self),
        }
    }
}

/// The counters of one life's group, and who is in it.
#[derive(Debug)]
pub struct GroupUsage {
    reader: GroupReader,
    group: Group,
}

impl GroupUsage {
    /// Opens the counters.
    pub fn open(group: &Group) -> std::io::Result<Self> {
        Ok(Self {
            reader: group.reader()?,
            group: group.clone(),
        })
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
