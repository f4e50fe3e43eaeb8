//! `shoal scale`: a number of workers by a person's word, until `auto`.

use std::str::FromStr;

use anyhow::{bail, ensure};
use shoal_nats::supervision::Supervision;
use shoal_shared::names::ModelName;

use crate::connect::NatsOptions;
use crate::fleet::is_silent;

/// `shoal scale`
#[derive(clap::Args)]
pub struct Options {
    /// Number of workers, or `auto`: the policy decides again
    to: To,
    /// The model; not needed when there is only one
    #[arg(long)]
    model: Option<ModelName>,
    #[command(flatten)]
    nats: NatsOptions,
}

#[derive(Debug, Clone, Copy)]
enum To {
    Fixed(usize),
    Auto,
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(To::Auto),
            number => number.parse().map(To::Fixed).map_err(|_| "must be a number of workers, or `auto`".into()),
        }
    }
}

/// Writes the order into the fleet's record; its leader follows within a second.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let bus = options.nats.connect("shoal-scale").await?;
    let supervision = Supervision::open(&bus).await?;
    let model = the_fleet(&supervision, options.model).await?;
    let record = supervision.read(&model).await?.record;
    ensure!(!record.members.is_empty(), "no supervisor runs workers of `{model}`: see `shoal-worker fleet --help`");
    if record.members.values().all(|member| is_silent(member).is_some()) {
        println!("No supervisor of `{model}` has been heard of lately: `shoal fleet status`");
    }
    let fixed = match options.to {
        To::Auto => None,
        To::Fixed(workers) => {
            let max = record.max;
            ensure!(
                workers <= max,
                "{workers} workers of `{model}`: its supervisors allow at most {max}; more with `--max` of `shoal up` (or [worker.scaling] max)"
            );
            Some(workers)
        }
    };
    supervision.change(&model, |record| record.fixed = fixed).await?;
    match fixed {
        Some(workers) => println!("{model}: {workers} workers until `shoal scale auto`"),
        None => println!("{model}: as many workers as the policy decides"),
    }
    Ok(())
}

/// The fleet that is meant.
pub(crate) async fn the_fleet(supervision: &Supervision, named: Option<ModelName>) -> anyhow::Result<ModelName> {
    if let Some(model) = named {
        return Ok(model);
    }
    let mut live = Vec::new();
    for model in supervision.models().await? {
        if !supervision.read(&model).await?.record.members.is_empty() {
            live.push(model);
        }
    }
    match &live[..] {
        [] => bail!("no supervisor has reported: start one with `shoal up` or `shoal-worker fleet`"),
        [one] => Ok(one.clone()),
        several => {
            let names: Vec<&str> = several.iter().map(ModelName::as_str).collect();
            bail!("there are several fleets: say which with --model: {}", names.join(", "))
        }
    }
}
