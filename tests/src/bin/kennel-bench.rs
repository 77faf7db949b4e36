//! The benchmarks as a program: see `kennel_tests::bench`, and `docs/benchmarks.md` for the figures.

fn main() -> anyhow::Result<()> {
    kennel_tests::bench::run(std::env::args().skip(1))
}
