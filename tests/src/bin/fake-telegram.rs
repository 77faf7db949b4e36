//! The fake Telegram server as a program, for clients that are not Rust and for demonstrations.
//!
//! `fake-telegram [--listen ADDRESS] [--bot TOKEN=USERNAME]…` prints its root URL as the only line on standard
//! output and serves until it is killed, or until standard input ends if `--until-eof` is given. Everything else
//! is asked for through `/control/…` (see `kennel_tests::fake_telegram`).

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, bail};
use kennel_tests::fake_telegram::FakeTelegram;

struct Options {
    listen: SocketAddr,
    bots: Vec<(String, String)>,
    until_eof: bool,
}

fn options() -> anyhow::Result<Options> {
    let mut options = Options {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        bots: Vec::new(),
        until_eof: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{word} needs a value"))
        };
        match word.as_str() {
            "--listen" => {
                options.listen = value()?.parse().context("--listen takes ADDRESS:PORT")?;
            }
            "--bot" => {
                let bot = value()?;
                let (token, name) = bot.split_once('=').context("--bot takes TOKEN=USERNAME")?;
                options.bots.push((token.to_owned(), name.to_owned()));
            }
            "--until-eof" => options.until_eof = true,
            _ => bail!("unknown option {word}; there are --listen, --bot and --until-eof"),
        }
    }
    Ok(options)
}

fn main() -> anyhow::Result<()> {
    let options = options()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let fake = FakeTelegram::start_on(options.listen)
            .await
            .with_context(|| format!("cannot listen on {}", options.listen))?;
        for (token, name) in &options.bots {
            fake.add_bot(token, name);
        }
        writeln!(std::io::stdout(), "{}", fake.url())?;
        if !options.until_eof {
            std::future::pending::<()>().await;
        }
        // Reading blocks, so it has a thread of its own; it ends with the input.
        let (done_tx, done_rx) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let ended = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            done_tx.send(ended)
        });
        done_rx.await??;
        Ok(())
    })
}
