//! What is made from the program itself: completions, manual pages, schemas.

use std::{fs, path::Path};

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{
    args::Args,
    exit::{Exit, Failure, Outcome},
    output::Output,
};
use crate::config;

pub(super) fn completions(shell: Shell, out: &Output) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "kennel", &mut script);
    out.bytes(&script)?;
    Ok(Exit::Ok)
}

pub(super) fn man(dir: Option<&Path>, out: &Output) -> Outcome {
    let Some(dir) = dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Args::command()).render(&mut page)?;
        out.bytes(&page)?;
        return Ok(Exit::Ok);
    };
    fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Args::command(), dir))
        .map_err(|error| {
            let dir = dir.display();
            Failure::new(format!("cannot write the manual pages into {dir}: {error}"))
        })?;
    out.note(format_args!("the manual pages are in {}", dir.display()));
    Ok(Exit::Ok)
}

pub(super) fn schema(out: &Output) -> Outcome {
    let schema = config::json_schema();
    out.line(format_args!("{schema:#}"))?;
    Ok(Exit::Ok)
}

pub(super) fn openapi(out: &Output) -> Outcome {
    let document = crate::control::document().to_pretty_json();
    out.line(document.expect("the document is plain data"))?;
    Ok(Exit::Ok)
}
