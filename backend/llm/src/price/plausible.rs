//! What no row of a price table can mean.

use super::PriceRow;

/// What is wrong with one row of a table, the worst first.
pub(super) fn faults(rows: &[PriceRow], place: usize) -> Vec<String> {
    let row = &rows[place];
    let rates = &row.rates;
    let mut faults = Vec::new();
    if row.provider.trim().is_empty() || row.model.trim().is_empty() {
        faults.push("it needs a provider and a model".to_owned());
    }
    if row.source.trim().is_empty() {
        faults.push("it needs a source".to_owned());
    }
    let batch = [("batch_input", rates.batch_input), ("batch_output", rates.batch_output)];
    for (name, _) in
        rates.columns().into_iter().chain(batch).filter(|(_, rate)| rate.is_some_and(|rate| rate < 0))
    {
        faults.push(format!("{name} is negative"));
    }
    if let Some(earlier) = rows[..place].iter().find(|earlier| earlier.same_key(row)) {
        let how = if earlier.rates == row.rates { "" } else { ", with other prices" };
        faults.push(format!("it is there twice{how}"));
    }
    let above = |name: &str, rate: Option<i64>, of: &str, most: i64| {
        rate.filter(|rate| *rate > most).map(|_| format!("{name} is above {of}"))
    };
    faults.extend(above("cache_read", Some(rates.cache_read), "input", rates.input));
    faults.extend(above("batch_input", rates.batch_input, "input", rates.input));
    faults.extend(above("batch_output", rates.batch_output, "output", rates.output));
    if rates.cache_write_1h.is_some_and(|hour| hour < rates.cache_write) {
        faults.push("cache_write_1h is below cache_write".to_owned());
    }
    faults.extend(cheaper_step(rows, place));
    faults
}

/// What of a row for long prompts is cheaper than in the row for the next shorter ones: a reservation is made for the longest
/// prompt that there may be, and must be enough for a shorter one.
pub(super) fn cheaper_step(rows: &[PriceRow], place: usize) -> Option<String> {
    let row = &rows[place];
    let shorter = rows.iter().filter(|one| one.names_the_same(row) && one.prompt_above < row.prompt_above);
    let below = shorter.max_by_key(|one| one.prompt_above)?;
    let pairs = row.rates.columns().into_iter().zip(below.rates.columns());
    let cheaper = |(name, rate): (&str, Option<i64>), (_, before): (&str, Option<i64>)| {
        (rate? < before?).then(|| format!("{name} is below that of shorter prompts"))
    };
    pairs.into_iter().find_map(|(rate, before)| cheaper(rate, before))
}
