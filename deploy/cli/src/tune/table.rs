//! What was measured, for people.

use shoal_shared::manifest::Exactness;
use shoal_worker::model::tuning::{Bounds, Choice, Held, Part, Row};
use shoal_worker::model::{Engine, Numbers};

/// Every combination, and whether it may be used.
pub(super) fn in_words(rows: &[Row], agreement: &[Held], promise: (Exactness, &Bounds)) -> String {
    let mut text = format!(
        "\n{:<10} {:<9} {:>8} {:>7} {:>6} {:>9} {:>9} {:>13} {:>10} {:>7}  USABLE\n",
        "PROVIDER", "PRECISION", "SESSIONS", "THREADS", "BATCH", "IMAGES/S", "ONE, MS", "AGREE", "OFF BY", "MB"
    );
    for row in rows {
        let Engine { provider, numbers } = row.of.engine;
        let Some(held) = agreement.iter().find(|held| held.engine == row.of.engine) else { continue };
        let numbers = if numbers == Numbers::File { "as file" } else { numbers.as_str() };
        let (batch, speed) = row.best();
        let alone = row.ms.first().copied().unwrap_or(f64::NAN);
        let agree = format!("{} of {}", held.agreement.agreed, held.agreement.images);
        let usable = held.objection(promise.0, promise.1).map_or("yes".to_owned(), |why| format!("no: {why}"));
        text.push_str(&format!(
            "{:<10} {:<9} {:>8} {:>7} {:>6} {:>9.1} {:>9.2} {:>13} {:>10.2e} {:>7}  {usable}\n",
            provider.as_str(),
            numbers,
            row.of.sessions,
            row.of.threads,
            batch,
            speed,
            alone,
            agree,
            held.agreement.difference,
            row.memory / 1_000_000,
        ));
    }
    text.push_str("\nInference alone, without decoding; in \"one\" every session has an image at the same time.\n");
    text
}

/// What was chosen, and what it gains.
pub(super) fn chosen(choice: &Choice, rows: &[Row]) -> String {
    let part = |part: &Part| {
        let (sessions, threads) = (part.of.sessions, part.of.threads);
        format!("{}, {sessions} x {threads} threads, batches of {}", part.of.engine, part.batch)
    };
    let standard = rows.iter().filter(|row| row.of.engine == Engine::CPU).map(|row| row.best().1).fold(0.0, f64::max);
    let gain = if standard > 0.0 {
        format!(", {:.2} x the standard way at its best", choice.speed() / standard)
    } else {
        String::new()
    };
    let idle = match choice.narrow {
        Some(_) if choice.wide_rows == 0 => "the same".to_owned(),
        Some(_) => part(&Part { batch: choice.wide_rows, ..choice.wide }),
        None => part(&choice.wide),
    };
    format!(
        "idle:       {idle}\nunder load: {}\n            {:.1} images/s{gain}\n",
        part(choice.narrow.as_ref().unwrap_or(&choice.wide)),
        choice.speed()
    )
}
