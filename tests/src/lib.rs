//! Harness, fakes and measuring tools for Kennel's integration tests.

pub mod fake_telegram;
