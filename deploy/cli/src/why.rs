//! `shoal why`: the bottleneck, in words.

use shoal_shared::attribution::{Advice, Report};

use crate::ask::Gateway;

/// `shoal why`
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    gateway: Gateway,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Asks a gateway and prints its verdict.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let report: Report = options.gateway.get("/api/bottleneck")?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", in_words(&report));
    }
    Ok(())
}

fn in_words(report: &Report) -> String {
    let mut text = format!("bottleneck: {}\n{}\n", report.name.as_str(), report.sentence);
    if !report.advice.is_empty() {
        text.push_str("\nwhat would help:\n");
        report.advice.iter().for_each(|advice| text.push_str(&format!("  {}\n", one_advice(advice))));
    }
    text.push_str("\nin use over the last ten seconds:\n");
    for saturation in &report.saturation {
        let percent = 100.0 * saturation.ratio;
        text.push_str(&format!("  {:<10} {percent:>5.1} %  {}\n", saturation.resource.as_str(), bar(saturation.ratio)));
    }
    if let Some(headroom) = report.headroom {
        text.push_str(&format!("  room for about {headroom:.0} requests/s more\n"));
    }
    if report.situation.computed > 0.0 {
        let total: f64 = report.stages.iter().map(|stage| stage.ms).sum();
        text.push_str(&format!("\na computed prediction takes {total:.1} ms on average:\n"));
        for stage in report.stages.iter().filter(|stage| stage.ms > 0.0) {
            let share = stage.ms / total;
            text.push_str(&format!("  {:<10} {:>9.2} ms  {}\n", stage.stage, stage.ms, bar(share)));
        }
    }
    text
}

/// An advice with what it is worth.
pub(crate) fn one_advice(advice: &Advice) -> String {
    match advice.gain {
        Some(gain) if gain > 1.0 => format!("{}: about {gain:.1} × the throughput", advice.what),
        _ => advice.what.clone(),
    }
}

fn bar(ratio: f64) -> String {
    "█".repeat((ratio.clamp(0.0, 1.0) * 40.0).round() as usize)
}

#[cfg(test)]
mod tests {
    use shoal_shared::attribution::{Situation, Use, attribute};

    use super::*;

    #[test]
    fn says_the_name_the_reason_and_the_numbers() {
        let situation = Situation {
            answered: 9.0,
            inferred: 9.0,
            workers: 1,
            gateway: Use { busy: 0.99, capacity: 1.0 },
            ..Situation::default()
        };
        let text = in_words(&attribute(situation));
        assert!(text.starts_with("bottleneck: gateway\nthe gateway is saturated (99 % busy"), "{text}");
        assert!(text.contains("gateway     99.0 %"), "{text}");
    }
}
