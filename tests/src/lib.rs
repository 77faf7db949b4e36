//! Harness, fakes and measuring tools for Kennel's integration tests.

pub mod bench;
pub mod chaos;
pub mod fake_telegram;
pub mod guest;
pub mod harness;
pub mod held_model;
pub mod irc;
pub mod lanes_sim;
pub mod misbehave;
