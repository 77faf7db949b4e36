//! What holds an agent: its caps, its groups, and the end of all that it started.

pub mod caps;
pub mod reading;

pub use self::{
    caps::{Cap, Caps, Unenforced},
    reading::{Pressure, Reading},
};
