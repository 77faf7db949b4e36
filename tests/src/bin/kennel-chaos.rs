//! Kills, stops and restarts at random, and counts what is lost: see `kennel_tests::chaos`.

use kennel_tests::chaos::{Options, run};

fn main() -> anyhow::Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run(options))
}
